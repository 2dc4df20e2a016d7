"""The whole machine in one file, and back.

::

    "AEROPC" 0D 0A | version u16 | header size u32 | digest, 32 bytes | header | chunk | chunk | ...

All numbers are little-endian. The digest (BLAKE2b) is over everything behind it. The header is JSON compressed with
zstd: every field of processor, board and network cards by its name, with its shape and its bytes, the frames that wait
in the cards' rings, what else the machine knows, which pages of memory are in the file, and how long each chunk is. A
chunk is up to 256 pages that are not all zeros, compressed with zstd. Pages that are not there are zeros.

A later version refuses what it does not know by the version number, and reads what it does by the names. Decoded code
and the contents of the TLB are not saved: both are made again from memory, by the machine that was saved as well.

A file is hostile input: sizes, counts, names and shapes are checked before anything is believed, and no more memory is
taken than the machine itself needs.
"""

from __future__ import annotations

import base64
import hashlib
import json
import mmap
import os
import struct
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import zstandard

from ..compiled.pages import pages
from ..compiled.records import new_records
from ..compiled.registry import PLAIN
from ..cpu import state
from ..errors import UsageError
from . import cards_image
from .board import BOARD, HOST, INSTRUCTIONS, OUTSIDE
from .checks import check_board, check_cpu
from .limits import (
    CONSOLE_KEPT,
    PAGE,
    RAM_LEAST,
    RAM_MOST,
    SNAPSHOT_CHUNK,
    SNAPSHOT_HEADER,
    SNAPSHOT_LEVEL,
)
from .run import FRACTION, REFRESH

if TYPE_CHECKING:
    from .machine import Machine

Path = str | os.PathLike
MAGIC, VERSION = b"AEROPC\r\n", 2
_HEAD = struct.Struct("<8sHI32s")
DAMAGE = (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError, zstandard.ZstdError)
"""What the libraries make of a description that is not what it says; none of it may reach the user as it is."""
_DERIVED = frozenset(("ns_base", "ns_icount", "tlb"))
"""Fields of the processor that a digest leaves out: two say together what the time is, in more than one way, and the
TLB repeats what memory says."""


# Records as fields ----------------------------------------------------------------------------------------------------
def _fields(records: Any, dtype: np.dtype) -> dict[str, np.ndarray]:
    """Copies of all fields of one record."""
    record = state.row(records)
    kinds: Any = dtype.fields
    return {
        name: np.array(getattr(record, name), dtype=kinds[name][0].base).reshape(kinds[name][0].shape)
        for name in dtype.names or ()
    }


def _set_fields(records: Any, dtype: np.dtype, values: dict[str, np.ndarray]) -> None:
    """Set fields of one record from :func:`_fields`."""
    record = state.row(records)
    for name in dtype.names or ():
        if not PLAIN:
            records[name][0] = values[name]
        else:
            setattr(record, name, values[name].tolist())


def _pack(values: dict[str, np.ndarray]) -> dict[str, Any]:
    packed: dict[str, Any] = {}
    for name, value in values.items():
        if value.ndim == 0:
            packed[name] = int(value)
        else:
            packed[name] = [value.dtype.str, list(value.shape), base64.b64encode(value.tobytes()).decode()]
    return packed


def _unpack(packed: Any, like: np.dtype | dict[str, np.ndarray], what: str) -> dict[str, np.ndarray]:
    """Fields from :func:`_pack`, which must be those of ``like``: a record's type, or other fields."""
    if isinstance(like, dict):
        like = np.dtype([(name, value.dtype, value.shape) for name, value in like.items()])
    kinds: Any = like.fields
    names = like.names or ()
    if not isinstance(packed, dict) or set(packed) != set(names):
        raise UsageError(f"the fields of the {what} are not those of this version")
    values = {}
    for name in names:
        kind = kinds[name][0]
        value = packed[name]
        if kind.shape == ():
            values[name] = np.array(value, dtype=kind) if isinstance(value, int) else None
        else:
            text, shape, data = value
            raw = base64.b64decode(data, validate=True)
            fits = text == kind.base.str and tuple(shape) == kind.shape and len(raw) == kind.itemsize
            values[name] = np.frombuffer(raw, kind.base).reshape(kind.shape) if fits else None
        if values[name] is None:
            raise UsageError(f"field {name!r} of the {what} is not what it was in this version")
    return values


# Pages ----------------------------------------------------------------------------------------------------------------
def touched(ram: np.ndarray) -> np.ndarray:
    """Numbers of the pages that are not all zeros."""
    found = []
    step = 4096 * PAGE  # a bounded piece at a time
    for start in range(0, len(ram), step):
        part = ram[start : start + step].view(np.uint64).reshape(-1, PAGE // 8)
        # Most pages are told by their first words; the others are looked at whole.
        likely = np.flatnonzero(part[:, :8].any(axis=1))
        rest = np.setdiff1d(np.arange(len(part)), likely, assume_unique=True)
        rest = rest[part[rest].any(axis=1)]
        found.append(np.union1d(likely, rest) + start // PAGE)
    return np.concatenate(found)


def _rows(ram: np.ndarray) -> np.ndarray:
    return ram.reshape(-1, PAGE)


def _forget(machine: Machine) -> None:
    """Drop what the processor keeps of memory: TLB and decoded code. Whoever goes on from here, the machine itself or a
    copy of it, begins with neither, and so all go on alike."""
    core = machine.core
    tracing = machine.tracing
    core.code = new_records(state.CODE_DTYPE, 1)
    core.blocks = new_records(state.BLOCK_DTYPE, len(core.blocks), dense=True)
    core.insns = new_records(state.INSN_DTYPE, len(core.insns), dense=True)
    tlb = state.row(core.cpu).tlb
    for at in range(len(tlb)) if PLAIN else (slice(None),):
        tlb[at] = -1
    machine.tracing = tracing


# Saving ---------------------------------------------------------------------------------------------------------------
def _describe(machine: Machine) -> dict[str, Any]:
    return {
        "cpu": _pack(_fields(machine.core.cpu, state.CPU_DTYPE)),
        "board": _pack(_fields(machine.bus.records, BOARD)),
        "nics": cards_image.describe(machine, _pack, _fields),
        "machine": {
            "clock": machine.clock,
            "seed": machine.seed,
            "rate": machine.rate,
            "ended": machine._ended,
            "printed": machine.console.size,
            "text": base64.b64encode(machine.console.since(0)).decode(),
        },
    }


def save(machine: Machine, path: Path) -> int:
    """Write ``machine`` to ``path``; the size of the file. An older file is replaced only by a whole new one."""
    with machine._standing():
        _forget(machine)
        description = _describe(machine)
        which = touched(machine.ram)
        rows = _rows(machine.ram)
        groups = [which[at : at + SNAPSHOT_CHUNK] for at in range(0, len(which), SNAPSHOT_CHUNK)]

        def compress(group: np.ndarray) -> bytes:
            return zstandard.ZstdCompressor(level=SNAPSHOT_LEVEL).compress(rows[group].tobytes())

        with ThreadPoolExecutor(2) as pool:
            chunks = list(pool.map(compress, groups))
    present = np.isin(np.arange(len(machine.ram) // PAGE), which)
    description["ram"] = {
        "bytes": len(machine.ram),
        "pages": base64.b64encode(np.packbits(present).tobytes()).decode(),
        "chunks": [len(chunk) for chunk in chunks],
    }
    header = zstandard.ZstdCompressor().compress(json.dumps(description).encode())
    digest = hashlib.blake2b(header, digest_size=32)
    for chunk in chunks:
        digest.update(chunk)
    return _replace(path, [_HEAD.pack(MAGIC, VERSION, len(header), digest.digest()), header, *chunks])


def _replace(path: Path, parts: list[bytes]) -> int:
    name = os.fspath(path)
    beside = f"{name}.{os.getpid()}.part"
    try:
        with open(beside, "wb") as file:
            file.writelines(parts)
        os.replace(beside, name)
    except OSError as error:
        if os.path.exists(beside):
            os.unlink(beside)
        raise UsageError(f"{name}: the snapshot cannot be written: {error.strerror or error}") from None
    return sum(len(part) for part in parts)


# Loading --------------------------------------------------------------------------------------------------------------
def load(kind: type[Machine], path: Path, clock: str | None = None) -> Machine:
    """The machine in file ``path``. :class:`UsageError` for anything that is not a whole snapshot of this version."""
    name = os.fspath(path)
    if clock not in (None, "instructions", "host"):
        raise UsageError(f"clock must be 'instructions' or 'host', not {clock!r}")
    try:
        with open(name, "rb") as file:
            if os.fstat(file.fileno()).st_size < _HEAD.size:
                raise UsageError("it is too short")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole, memoryview(whole) as data:
                return _load(kind, data, clock)
    except OSError as error:
        raise UsageError(f"{name}: the snapshot cannot be read: {error.strerror or error}") from None
    except UsageError as error:
        raise UsageError(f"{name} is no machine that can be loaded: {error}") from None
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
        OverflowError,
        zstandard.ZstdError,
    ) as error:
        raise UsageError(f"{name} is no machine that can be loaded: its description is damaged ({error})") from None


def _load(kind: type[Machine], data: memoryview, clock: str | None) -> Machine:
    magic, version, size, digest = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise UsageError("it is not a snapshot")
    if version != VERSION:
        raise UsageError(f"it has version {version}, this program reads version {VERSION}")
    if size > SNAPSHOT_HEADER or size > len(data) - _HEAD.size:
        raise UsageError("it is cut off")
    with data[_HEAD.size :] as body:
        if hashlib.blake2b(body, digest_size=32).digest() != digest:
            raise UsageError("it is damaged or cut off (its digest is wrong)")
    with data[_HEAD.size : _HEAD.size + size] as header:
        description = json.loads(_expand(header, SNAPSHOT_HEADER))
    memory = description["ram"]
    ram_bytes, sizes = memory["bytes"], memory["chunks"]
    if not isinstance(ram_bytes, int) or not RAM_LEAST <= ram_bytes <= RAM_MOST or ram_bytes % PAGE:
        raise UsageError("its memory has a size that no machine has")
    bits = base64.b64decode(memory["pages"], validate=True)
    count = ram_bytes // PAGE
    if len(bits) != (count + 7) // 8:
        raise UsageError("its map of pages does not fit its memory")
    which = np.flatnonzero(np.unpackbits(np.frombuffer(bits, np.uint8))[:count])
    groups = [which[at : at + SNAPSHOT_CHUNK] for at in range(0, len(which), SNAPSHOT_CHUNK)]
    whole = all(isinstance(s, int) and s > 0 for s in sizes) and sum(sizes) == len(data) - _HEAD.size - size
    if len(sizes) != len(groups) or not whole:
        raise UsageError("its memory is not complete")
    cpu = _unpack(description["cpu"], state.CPU_DTYPE, "processor")
    board = _unpack(description["board"], BOARD, "board")
    check_cpu(cpu, ram_bytes)
    check_board(board)
    nics = cards_image.restore(description["nics"], board, _unpack, _set_fields)
    ram = pages(ram_bytes)
    rows = _rows(ram)
    starts = np.cumsum([_HEAD.size + size, *sizes])

    def expand(number: int) -> None:
        group = groups[number]
        with data[starts[number] : starts[number + 1]] as chunk:
            raw = _expand(chunk, len(group) * PAGE)
        if len(raw) != len(group) * PAGE:
            raise UsageError("a piece of its memory has another size than it must")
        _put_pages(rows, group, np.frombuffer(raw, np.uint8).reshape(-1, PAGE))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(expand, range(len(groups))))
    about = description["machine"]
    machine = _revive(kind, ram, cpu, board, clock or about["clock"], about["seed"], about["rate"], about["ended"])
    machine._cards.nics.extend(nics)
    machine.console.restore(base64.b64decode(about["text"], validate=True)[-CONSOLE_KEPT:], int(about["printed"]))
    return machine


def _expand(data: memoryview, most: int) -> bytes:
    """Decompress one zstd frame that says how large it is; a larger one than ``most`` is not begun."""
    if not 0 <= zstandard.frame_content_size(data) <= most:
        raise UsageError("a part of it is larger than it may be")
    return zstandard.ZstdDecompressor().decompress(data, max_output_size=most)


def _put_pages(rows: np.ndarray, which: np.ndarray, values: np.ndarray) -> None:
    """Copy pages to their places, neighbours together."""
    breaks = np.flatnonzero(np.diff(which) != 1) + 1
    at = 0
    for stop in [*breaks.tolist(), len(which)]:
        first = which[at]
        rows[first : first + stop - at] = values[at:stop]
        at = stop


def _revive(
    kind: type[Machine],
    ram: np.ndarray,
    cpu: dict[str, np.ndarray],
    board: dict[str, np.ndarray],
    clock: str,
    seed: int,
    rate: float,
    ended: str | None,
) -> Machine:
    """A machine of these parts, with nothing decoded."""
    if clock not in ("instructions", "host"):
        raise UsageError("its clock is none that there is")
    machine = kind.__new__(kind)
    machine.clock, machine.seed, machine.rate = clock, int(seed), float(rate)
    machine._build(ram)
    _set_fields(machine.core.cpu, state.CPU_DTYPE, cpu)
    _set_fields(machine.bus.records, BOARD, board)
    _forget(machine)
    machine.bus.row.mode = HOST if clock == "host" else INSTRUCTIONS
    if clock == "instructions":
        _settle_clock(machine)
    machine._ended = ended
    machine._core_access(REFRESH)
    return machine


def _settle_clock(machine: Machine) -> None:
    """Go on by the instruction count, from the time it is, at the machine's rate."""
    c = state.row(machine.core.cpu)
    mult = round(machine.rate * (1 << FRACTION))
    if int(c.ns_mult) != mult:
        c.ns_base, c.ns_icount, c.ns_mult = machine.now, machine.icount, mult


# Copies and digests ---------------------------------------------------------------------------------------------------
def fork(machine: Machine) -> Machine:
    """A second machine in the state of the first; see :meth:`Machine.fork`."""
    with machine._standing():
        _forget(machine)
        ram = pages(len(machine.ram))
        which = touched(machine.ram)
        rows, source = _rows(ram), _rows(machine.ram)
        for start in range(0, len(which), SNAPSHOT_CHUNK):
            group = which[start : start + SNAPSHOT_CHUNK]
            _put_pages(rows, group, source[group])
        other = _revive(
            type(machine), ram, _fields(machine.core.cpu, state.CPU_DTYPE), _fields(machine.bus.records, BOARD),
            machine.clock, machine.seed, machine.rate, machine._ended,
        )  # fmt: skip
        other._cards.nics.extend(cards_image.copy(machine, _fields, _set_fields))
        other.console.restore(machine.console.since(0), machine.console.size)
    return other


def _hashed(values: dict[str, np.ndarray], left_out: Iterable[str]) -> bytes:
    return b"".join(name.encode() + b"=" + value.tobytes() for name, value in values.items() if name not in left_out)


def state_hash(machine: Machine) -> str:
    """A digest of processor, board and memory; see :meth:`Machine.state_hash`."""
    with machine._standing():
        cpu = _fields(machine.core.cpu, state.CPU_DTYPE)
        digest = hashlib.blake2b(digest_size=16)
        digest.update(_hashed(cpu, state.VOLATILE | _DERIVED))
        part = (int(cpu["icount"]) - int(cpu["ns_icount"])) * int(cpu["ns_mult"]) & ((1 << FRACTION) - 1)
        digest.update(f"time={machine.now}+{part}".encode())
        digest.update(_hashed(_fields(machine.bus.records, BOARD), OUTSIDE))
        digest.update(cards_image.digest(machine, _fields))
        which = touched(machine.ram)
        digest.update(which.tobytes())
        rows = _rows(machine.ram)
        for start in range(0, len(which), SNAPSHOT_CHUNK):
            digest.update(rows[which[start : start + SNAPSHOT_CHUNK]].tobytes())
    return digest.hexdigest()
