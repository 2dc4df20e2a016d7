"""pcapng and classic pcap files, plain or packed with gzip or zstd, read whole or window by window.

What is read: both byte orders, sections of differing order, any time resolution and offset, enhanced, simple and
obsolete packet blocks with their options; other blocks are skipped. Of classic pcap the microsecond, nanosecond and
"modified" (Kuznetzov's) kinds. A file that breaks off gives what came before, and the warning says where. The kernels
of :mod:`.pcap_scan` go over the packets; this does what is rare.

Formats: draft-ietf-opsawg-pcapng, draft-ietf-opsawg-pcap.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .. import limits
from ..bounds import CAPTURE_READ_BYTES, CAPTURE_WINDOW, PCAP_SNAP_MAX
from ..errors import UsageError
from . import pcap_scan as scan
from . import schema as s
from .capture import Block, Capture, Interface
from .pcapng import COMMENT_SIZE, ORDER, SNAPLEN
from .source import Source, open_source

PCAP_US, PCAP_NS, PCAP_MODIFIED = 0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34
PCAPS = {PCAP_US: (1000, 16), PCAP_NS: (1, 16), PCAP_MODIFIED: (1000, 24)}
"""Nanoseconds of a tick, and bytes in front of a packet, by magic number."""
PCAP_HEADER = 24
LINKTYPE_MASK = 0xFFFF
"""Bits of a classic pcap file's network field that are the link type; the others tell of frame check sequences, or are
reserved."""
SHORTEST = 28
"""Bytes of the shortest pcapng file: a section header."""
BATCH_ROWS = 1 << 16
_COMMENT = re.compile(rb"tunnel message kind=(\d+) length=(\d+) bytes")
_DESCRIPTION = re.compile(r"each message was (\d+) bytes longer")
_WHY = {
    scan.BAD_LENGTH: "its length is impossible",
    scan.BAD_TRAILER: "the lengths before and behind it differ",
    scan.BAD_PACKET: "its packet is larger than the block",
    scan.BAD_INTERFACE: "it names an interface that there is not",
}
_U64_OPTIONS, _U32_OPTIONS = (8, 13, 16, 17), (10,)
"""Options of an interface that are numbers: speeds and the counter of the file system; the time zone."""


class PcapReader:
    """Reads one file; :meth:`blocks` gives its frames, what is known of the file stands in the attributes."""

    def __init__(self, source: Source, name: str):
        self._source, self._name = source, name
        self._data = np.empty(0, np.uint8)
        self._end = 0
        self._base = 0
        self._final = False
        self._keep = False
        self._state = np.zeros(64, np.uint8)
        self._numbers = self._state.view(np.int64)
        self._table = np.zeros(scan.INTERFACE_SIZE * limits.CAPTURE_INTERFACES, np.uint8)
        self._count = 0
        self._order = "<"
        self._pcap: tuple[int, int, int, int] | None = None
        self.rows = 0
        self.meta: dict[str, Any] = {}
        self.drops: dict[str, int] = {}
        self.undissected: dict[str, int] = {}
        self.interfaces: list[Interface] = []
        self.section: tuple[tuple[int, bytes], ...] = ()
        self.snap = 0
        self.warning: str | None = None

    # The window -----------------------------------------------------------------------------------------------------

    @property
    def _at(self) -> int:
        return int(self._numbers[0])

    @property
    def position(self) -> int:
        """Bytes of the (unpacked) file that were gone over."""
        return self._base + self._at

    def hold(self, data: np.ndarray) -> None:
        """Take all of a file that is in memory as the one window."""
        self._data, self._end, self._final = data, len(data), True

    def _fill(self, need: int, window: int) -> bool:
        """Have at least ``need`` bytes from the position on; False when the file ends before."""
        if self._final:
            return self._end - self._at >= need
        left = self._end - self._at
        size = max(window, need)
        if self._keep or len(self._data) < size:
            data = np.empty(size, np.uint8)
        else:
            data = self._data
        data[:left] = self._data[self._at : self._end]
        wanted = len(data) - left
        got = self._source.read_into(data[left:])
        self._final = got < wanted
        if self._keep and self._final:
            data = data[: left + got].copy()  # a small file must not hold a whole window
        self._base += self._at
        self._data, self._end = data, left + got
        self._numbers[0] = 0
        return self._end >= need

    # Packets --------------------------------------------------------------------------------------------------------

    def blocks(self, rows: int = BATCH_ROWS, window: int = CAPTURE_WINDOW, keep: bool = False) -> Iterator[Block]:
        """The frames, ``rows`` at most at once. Without ``keep`` a block's arrays are used again for the next one."""
        self._keep = keep
        if not self._begin(window):
            return
        index = np.empty(0, np.uint8)
        while True:
            if keep or not len(index):
                index = np.zeros(s.INDEX_SIZE * rows, np.uint8)
            self._numbers[1] = 0
            why = self._scan(index)
            done = int(self._numbers[1])
            if done:
                self._messages(index[: s.INDEX_SIZE * done].view(s.INDEX))
                self.rows += done
                part = index[: s.INDEX_SIZE * done].copy() if keep and done < rows // 2 else index
                yield Block(self._data, part, 0, s.INDEX_SIZE, done)
            if why == scan.RARE:
                if not self._rare(window):
                    break
            elif why == scan.MORE_DATA or (why == scan.DONE and not self._final):
                need = int(self._numbers[3])
                if not self._fill(need, window):
                    self._broken("cut", f"it needs {need:,} bytes and there are {self._end - self._at:,}")
                    break
            elif why != scan.MORE_ROOM:
                if why != scan.DONE:
                    self._broken("corrupt", _WHY[why])
                break
        self._finish()

    def _scan(self, index: np.ndarray) -> int:
        swapped = int(self._order == ">")
        if self._pcap is None:
            return scan.scan_pcapng(self._data, self._end, swapped, self._table, self._count, index, self._state)
        return scan.scan_pcap(self._data, self._end, swapped, *self._pcap, index, self._state)

    def _broken(self, how: str, why: str) -> None:
        what = "block" if self._pcap is None else "packet"
        where = "unpacked byte" if self._source.packing else "byte"
        self.warning = f"the file is {how} at {where} {self.position}, in {what} {int(self._numbers[2]) + 1}: {why}"

    def _finish(self) -> None:
        if self._source.error:
            also = f"; {self.warning}" if self.warning else ""
            packed = f" after {self._base + self._end} unpacked bytes" if self._source.packing else ""
            self.warning = f"{self._source.error}{packed}{also}"
        self._end_section()

    def _end_section(self) -> None:
        """Count what came by interfaces whose link layer is not dissected."""
        if self._pcap is not None:
            self._undissected(self.interfaces[0].link, self.rows)
        counts = self._table.view(np.int64).reshape(-1, scan.INTERFACE_SIZE // 8)[:, 3]
        for number in range(self._count):
            self._undissected(self.interfaces[number - self._count].link, int(counts[number]))
        self._count = 0

    def _undissected(self, linktype: int, number: int) -> None:
        if number and linktype not in s.LINK_OF:
            name = f"link type {linktype}"
            self.undissected[name] = self.undissected.get(name, 0) + number

    def _messages(self, rows: np.ndarray) -> None:
        """Kind and length of tunnel messages without a frame, from their comments."""
        for i in np.flatnonzero(rows["kind"]).tolist():
            at = int(rows["off"][i])
            match = _COMMENT.match(self._data[at : at + COMMENT_SIZE].tobytes())
            rows["kind"][i] = 0
            if match:
                rows["kind"][i], rows["message_len"][i] = int(match[1]) & 255, int(match[2]) & 0xFFFFFFFF

    # What is rare ---------------------------------------------------------------------------------------------------

    def _begin(self, window: int) -> bool:
        """Tell the kind of file; False when it ends inside its header."""
        self._fill(window, window)
        magic = self._data[: min(4, self._end)].tobytes()
        if magic == struct.pack("<I", scan.SECTION):
            if self._end >= SHORTEST or self._source.error:
                return True
            raise UsageError(f"{self._name}: not a pcapng or pcap file (it has {self._end} bytes)")
        for order in "<>":
            for kind, (factor, header) in PCAPS.items():
                if magic == struct.pack(order + "I", kind):
                    return self._begin_pcap(order, factor, header)
        if self._source.error:
            raise UsageError(f"{self._name}: {self._source.error}, before any capture")
        raise UsageError(f"{self._name}: not a pcapng or pcap file")

    def _begin_pcap(self, order: str, factor: int, header: int) -> bool:
        self._order = order
        if self._end < PCAP_HEADER:
            self.warning = f"the file is cut at byte {self._end}, inside its header"
            return False
        snap, network = struct.unpack(order + "II", self._data[16:24].tobytes())
        linktype = network & LINKTYPE_MASK
        most = min(max(snap, PCAP_SNAP_MAX), limits.CAPTURE_BLOCK)
        self._pcap = (factor, header, most, s.LINK_OF.get(linktype, s.OTHER_LINK))
        self.interfaces = [Interface(linktype, snap)]
        self.snap = snap if snap < SNAPLEN else 0
        self._numbers[0] = PCAP_HEADER
        return True

    def _rare(self, window: int) -> bool:
        """Take in a section header, interface or statistics block; False when it is broken."""
        if not self._fill(12, window):
            self._broken("cut", "it needs 12 bytes")
            return False
        raw = self._data[self._at : self._at + 12].tobytes()
        if struct.unpack(self._order + "I", raw[:4])[0] == scan.SECTION:
            orders = [o for o in "<>" if struct.unpack(o + "I", raw[8:12])[0] == ORDER]
            if not orders:
                self._broken("corrupt", "a section header without its byte-order magic")
                return False
            self._end_section()
            self._order = orders[0]
        kind, size = struct.unpack(self._order + "II", raw[:8])
        if size < 12 or size % 4 or size > limits.CAPTURE_BLOCK:
            self._broken("corrupt", _WHY[scan.BAD_LENGTH])
            return False
        if not self._fill(size, window):
            self._broken("cut", f"it needs {size:,} bytes and there are {self._end - self._at:,}")
            return False
        body = self._data[self._at + 8 : self._at + size - 4].tobytes()
        if self._data[self._at + size - 4 : self._at + size].tobytes() != struct.pack(self._order + "I", size):
            self._broken("corrupt", _WHY[scan.BAD_TRAILER])
            return False
        if kind == scan.SECTION:
            self._section(self._options(body[16:]))
        elif kind == scan.INTERFACE:
            if len(body) < 8 or self._count >= limits.CAPTURE_INTERFACES or len(self.interfaces) >= 65535:
                self._broken("corrupt", "an interface too short, or one too many")
                return False
            self._interface(body)
        elif len(body) >= 12:
            self._statistics(self._options(body[12:]))
        self._numbers[0] += size
        self._numbers[2] += 1
        return True

    def _options(self, raw: bytes) -> list[tuple[int, bytes]]:
        """Options of a block, in order."""
        out, at = [], 0
        while at + 4 <= len(raw):
            code, size = struct.unpack_from(self._order + "HH", raw, at)
            if code == 0 or at + 4 + size > len(raw):
                break
            out.append((code, raw[at + 4 : at + 4 + size]))
            at += 4 + size + (-size % 4)
        return out

    def _section(self, options: list[tuple[int, bytes]]) -> None:
        """Options of a section header: the first comment that is ours is the meta; later sections add comments."""
        kept = []
        for code, value in options:
            if code == 1 and not self.meta and (meta := _json_object(value)):
                self.meta = meta
            elif (code, value) != (4, b"aero_lab") and (code == 1 or not self.interfaces):
                kept.append((code, value))
        self.section += tuple(kept)

    def _interface(self, body: bytes) -> None:
        linktype, _, snap = struct.unpack_from(self._order + "HHI", body)
        kept, first = [], {}
        for code, value in self._options(body[8:]):
            first.setdefault(code, value)
            if self._order == ">" and code in _U64_OPTIONS + _U32_OPTIONS:
                value = value[::-1]
            if code not in (9, 14):  # resolution and offset: times are ns now
                kept.append((code, value))
        name = first.get(2, b"").decode("utf-8", "replace")
        match = _DESCRIPTION.search(first.get(3, b"").decode("utf-8", "replace")) if name == "tunnel" else None
        resolution = first.get(9, b"\x06")[:1] or b"\x06"
        offset = first.get(14, b"")
        seconds = struct.unpack(self._order + "q", offset)[0] if len(offset) == 8 else 0
        seconds = max(-(1 << 32), min(seconds, 1 << 32))
        self.interfaces.append(Interface(linktype, snap, tuple(kept)))
        row = struct.pack(
            "<BBBBBxxxqIIq", s.LINK_OF.get(linktype, s.OTHER_LINK), s.POINT_OF.get(name, 0),
            min(int(match[1]), 255) if match else 0, resolution[0] >> 7, resolution[0] & 127, seconds, snap,
            len(self.interfaces), 0,
        )  # fmt: skip
        at = scan.INTERFACE_SIZE * self._count
        self._table[at : at + scan.INTERFACE_SIZE] = np.frombuffer(row, np.uint8)
        self._count += 1
        if 0 < snap < SNAPLEN:
            self.snap = snap

    def _statistics(self, options: list[tuple[int, bytes]]) -> None:
        found = dict(options[::-1])
        named = _json_object(found.get(1, b""))
        if named and all(isinstance(v, int) for v in named.values()):
            self.drops.update({str(k): v for k, v in named.items()})
        elif len(found.get(5, b"")) == 8:
            (dropped,) = struct.unpack(self._order + "q", found[5])
            if dropped > 0:
                self.drops["dropped"] = self.drops.get("dropped", 0) + dropped


def _json_object(text: bytes) -> dict[str, Any]:
    """What a comment says when it is a JSON object, else nothing."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _load(reader: PcapReader, most_bytes: int, keep_window: bool) -> Capture:
    blocks, held, data = [], 0, None
    for block in reader.blocks(window=8 * CAPTURE_WINDOW, keep=True):
        held += len(block.index) + (0 if block.data is data else len(block.data))
        data = block.data
        if held > most_bytes and not keep_window or len(blocks) * BATCH_ROWS * s.INDEX_SIZE > most_bytes:
            reader.warning = (
                f"stopped at byte {reader.position}, after {reader.rows - block.count} frames: the whole file takes "
                f"more than {most_bytes:,} bytes of memory; iter_capture reads it in parts"
            )
            break
        blocks.append(block)
    return Capture(
        tuple(blocks), reader.meta, reader.drops, reader.snap, reader.warning, tuple(reader.interfaces), reader.section,
        reader.undissected,
    )  # fmt: skip


def load_pcap(path: str | Path, most_bytes: int = CAPTURE_READ_BYTES) -> Capture:
    """Read a pcapng or pcap file, plain or packed (gzip, zstd), as a :class:`.capture.Capture`, bytes and all.

    Interfaces named ``nic``, ``tunnel``, ``egress`` are those points, others ``nic``. A file that breaks off is read as
    far as it goes, and so is one that would take more than ``most_bytes`` of memory; ``Capture.warning`` says where.

    Raises :class:`~aero_lab.errors.UsageError` when the file is neither.
    """
    source = open_source(path)
    try:
        reader = PcapReader(source, str(path))
        return _load(reader, most_bytes, False)
    finally:
        source.close()


def parse_pcap(data: np.ndarray | bytes, name: str = "these bytes", most_bytes: int = CAPTURE_READ_BYTES) -> Capture:
    """:func:`load_pcap` from memory."""
    source = open_source(data)
    reader = PcapReader(source, name)
    if not source.packing:
        reader.hold(np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data)
    return _load(reader, most_bytes, not source.packing)
