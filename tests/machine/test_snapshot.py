"""Files of machines: small, exact, and refused in one line when they are anything else."""

from __future__ import annotations

import hashlib
import json
import tracemalloc

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.errors import UsageError
from aero_lab.machine.firmware import Bar
from aero_lab.machine.limits import CONSOLE_KEPT, PAGE
from aero_lab.machine.machine import Machine
from aero_lab.machine.snapshot import _HEAD, MAGIC, VERSION, touched

from .guest import DATA, machine, printer, ticker, word

MS = 1_000_000


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A machine in the middle of its work, and its file."""
    m = ticker()
    m.run(ns=20 * MS)
    path = tmp_path_factory.mktemp("snapshot") / "machine"
    m.save(path)
    return m, path.read_bytes()


def refused(path, data: bytes, match: str) -> None:
    path.write_bytes(data)
    with pytest.raises(UsageError, match=match) as error:
        Machine.load(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


def rebuilt(data: bytes, change) -> bytes:
    """The file with its description changed and a digest that is right."""
    _, _, size, _ = _HEAD.unpack_from(data)
    header, rest = data[_HEAD.size : _HEAD.size + size], data[_HEAD.size + size :]
    description = json.loads(zstandard.ZstdDecompressor().decompress(header))
    changed = change(description)
    description = description if changed is None else changed
    return sealed(zstandard.ZstdCompressor().compress(json.dumps(description).encode()), rest)


def sealed(header: bytes, rest: bytes, version: int = VERSION) -> bytes:
    digest = hashlib.blake2b(header + rest, digest_size=32).digest()
    return _HEAD.pack(MAGIC, version, len(header), digest) + header + rest


def test_it_goes_on_as_if_it_had_never_been_away(saved, tmp_path):
    m, data = saved
    (tmp_path / "m").write_bytes(data)
    other = Machine.load(tmp_path / "m")
    assert other.state_hash() == m.state_hash() and other.now == m.now
    whole = ticker()
    whole.run(ns=50 * MS)
    other.run(ns=30 * MS)
    assert other.state_hash() == whole.state_hash() and word(other, DATA + 4) == word(whole, DATA + 4)


def test_only_touched_pages_are_in_it(tmp_path):
    m = machine("f4", ram_mb=64)
    m.run()
    size = m.save(tmp_path / "a")
    assert size == (tmp_path / "a").stat().st_size < 20_000
    rng = np.random.default_rng(1)
    m.write(32 << 20, rng.integers(0, 256, 100 * PAGE, np.uint8).tobytes())
    assert 100 * PAGE < m.save(tmp_path / "b") < 101 * PAGE + 20_000
    assert set(touched(m.ram)) >= set(range(8192, 8292))
    other = Machine.load(tmp_path / "b")
    assert np.array_equal(other.ram, m.ram) and list(tmp_path.glob("*.part")) == []


@given(
    places=st.lists(
        st.tuples(st.integers(0, (2 << 20) - 1), st.integers(1, 255)),
        max_size=20,
    )
)
@settings(max_examples=25)
def test_touched_pages_are_those_that_are_not_zero(places):
    ram = np.zeros(2 << 20, np.uint8)
    for at, value in places:
        ram[at] = value
    assert touched(ram).tolist() == sorted({at // PAGE for at, _ in places})


def test_the_console_its_end_and_a_pending_key_come_along(tmp_path):
    m = machine(printer(b"some text"))
    m.run()
    m.save(tmp_path / "m")
    other = Machine.load(tmp_path / "m")
    assert other.console.text == "some text" and other.console.size == 9 and other.console.read() == b""
    assert other.run() == "halted"
    m.console.restore(bytes(CONSOLE_KEPT), 10 * CONSOLE_KEPT)
    m.save(tmp_path / "m")
    assert Machine.load(tmp_path / "m").console.size == 10 * CONSOLE_KEPT


def test_another_clock_can_take_over(saved, tmp_path):
    m, data = saved
    (tmp_path / "m").write_bytes(data)
    other = Machine.load(tmp_path / "m", clock="host")
    assert other.clock == "host" and other.now == m.now
    other.run(instructions=1000, timeout=30)
    assert other.now >= m.now
    other.save(tmp_path / "h")
    back = Machine.load(tmp_path / "h", clock="instructions")
    before = back.now
    back.run(ns=MS)
    assert back.now == before + MS
    with pytest.raises(UsageError, match="clock must be"):
        Machine.load(tmp_path / "m", clock="sundial")


def test_a_plugged_function_waits_for_its_body(tmp_path):
    class Five:
        def read(self, bar, offset, size):
            return 5

        def write(self, bar, offset, size, value):
            pass

    m = machine("a1 000000e0 a3 00800000 a1 000000e0 a3 04800000 f4")
    at = m.plug(Five(), 5, vendor=1, product=2, class_code=0, bars=(Bar(4096),))
    m.bus.write(0, 0xCF8, 0x80002804, 4)
    m.bus.write(0, 0xCFC, 7, 2)
    m.save(tmp_path / "m")
    other = Machine.load(tmp_path / "m")
    other.run(instructions=2)
    assert other.plug(Five(), 5, vendor=1, product=2, class_code=0) == at
    assert other.run() == "halted"
    assert (word(other, DATA), word(other, DATA + 4)) == (0xFFFFFFFF, 5)


def test_files_that_are_no_machines(saved, tmp_path):
    _, data = saved
    path = tmp_path / "bad"
    refused(path, b"", "too short")
    refused(path, b"MZ" + data[2:], "not a snapshot")
    refused(path, b"\x7fELF" * 100, "not a snapshot")
    refused(path, data[:-1], "digest")
    refused(path, data + b"\0", "digest")
    refused(path, data[: _HEAD.size + 10], "cut off")
    for at in (_HEAD.size, _HEAD.size + 1000, len(data) - 1):
        refused(path, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], "digest")
    _, _, size, _ = _HEAD.unpack_from(data)
    refused(path, sealed(data[_HEAD.size : _HEAD.size + size], data[_HEAD.size + size :], VERSION + 1), "version 3")
    with pytest.raises(UsageError, match="cannot be read"):
        Machine.load(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="cannot be read"):
        Machine.load(tmp_path)
    with pytest.raises(UsageError, match="cannot be written"):
        machine("f4").save(tmp_path / "no" / "where")


def lie(*path, value):
    """A change that sets one entry of the description."""

    def change(description):
        target = description
        for name in path[:-1]:
            target = target[name]
        target[path[-1]] = value

    return change


LIES = [
    (lie("ram", "bytes", value=1 << 40), "size that no machine has"),
    (lie("ram", "bytes", value=-4096), "size that no machine has"),
    (lie("ram", "bytes", value="many"), "size that no machine has"),
    (lie("ram", "bytes", value=4 << 20), "does not fit"),
    (lie("ram", "pages", value="!!"), "damaged"),
    (lie("ram", "pages", value=""), "does not fit"),
    (lie("ram", "chunks", value=[1, 2, 3]), "not complete"),
    (lie("ram", "chunks", value=[]), "not complete"),
    (lie("ram", "chunks", value=None), "damaged"),
    (lie("cpu", "eip", value="zero"), "damaged|eip"),
    (lie("cpu", "eip", value=1 << 80), "damaged"),
    (lie("cpu", "gpr", value=["<i8", [16], ""]), "gpr"),
    (lie("cpu", "gpr", value=["<i8", [1 << 40], "AAAA"]), "gpr"),
    (lie("cpu", "gpr", value=7), "damaged"),
    (lie("cpu", "rip", value=0), "fields of the processor"),
    (lie("board", value={}), "fields of the board"),
    (lie("machine", "clock", value="sundial"), "clock"),
    (lie("machine", "text", value=5), "damaged"),
    (lie("cpu", "ram_size", value=1 << 30), "another size"),
    (lambda d: [], "damaged"),
    (lambda d: None if d.pop("ram") else None, "damaged"),
]


@pytest.mark.parametrize("number", range(len(LIES)))
def test_descriptions_that_lie(saved, tmp_path, number):
    change, match = LIES[number]
    refused(tmp_path / "bad", rebuilt(saved[1], change), match)


def test_numbers_that_index_are_checked(saved, tmp_path):
    """Board fields that kernels index with: a file must not make them reach outside their arrays."""
    for field, value in (("kbc_data", 1 << 40), ("pci_count", 10_000), ("out_tail", -5), ("uart_rx_count", 99)):
        path = tmp_path / "m"
        path.write_bytes(rebuilt(saved[1], lie("board", field, value=value)))
        with pytest.raises(UsageError, match=field):
            Machine.load(path)


def test_a_bomb_is_not_unpacked(saved, tmp_path):
    """A header or a chunk that would grow beyond its bound is refused before memory is taken for it."""
    bomb = zstandard.ZstdCompressor().compress(bytes(256 << 20))
    tracemalloc.start()
    try:
        refused(tmp_path / "a", sealed(bomb, b""), "larger than")
        data = saved[1]
        _, _, size, _ = _HEAD.unpack_from(data)
        rest = len(data) - _HEAD.size - size

        def swap(description):
            assert sum(description["ram"]["chunks"]) == rest
            description["ram"]["chunks"] = [len(bomb)]

        changed = rebuilt(data, swap)
        _, _, size, _ = _HEAD.unpack_from(changed)
        refused(tmp_path / "b", sealed(changed[_HEAD.size : _HEAD.size + size], bomb), "larger than|not complete")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20
