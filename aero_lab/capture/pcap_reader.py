"""pcapng and classic pcap files, described by compiled loops that leave the frames where they lie.

What is read: both byte orders, sections of differing order, any time resolution, enhanced, simple and obsolete packet
blocks; other blocks are skipped. A file that breaks off gives what came before and says where in ``Capture.warning``.
The kernel goes over the blocks and stops at what is rare: Python reads section headers, interfaces and statistics.

Formats: draft-ietf-opsawg-pcapng, draft-ietf-opsawg-pcap.
"""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

from .. import limits
from ..compiled.memory import u8, u16, u32
from ..compiled.registry import BYTES, I64, READ_ONLY, entry, kernel
from ..errors import UsageError
from . import schema as s
from . import segment as seg
from .access import put_u64le, u16le, u32le, u64le
from .capture import Block, Capture
from .pcapng import (
    COMMENT_SIZE,
    ETHERNET,
    INBOUND,
    INTERFACE,
    ORDER,
    OUTBOUND,
    PACKET,
    SECTION,
    SNAPLEN,
    STATISTICS,
)

OBSOLETE_PACKET, SIMPLE_PACKET = 2, 3
PCAP_US, PCAP_NS = 0xA1B2C3D4, 0xA1B23C4D
_COMMENT = re.compile(rb"tunnel message kind=(\d+) length=(\d+) bytes")
_DESCRIPTION = re.compile(r"each message was (\d+) bytes longer")
INTERFACE_SIZE = 32
"""Row of the interface table: whether Ethernet, point, framing, resolution (0 decimal, 1 binary), its exponent, and
at 8 the offset in seconds."""
DONE, MORE_ROOM, RARE, BROKEN = 0, 1, 2, 3
STATE_POSITION, STATE_ROWS, STATE_STATUS, STATE_SKIPPED, STATE_DROPS = 0, 8, 16, 24, 32


@kernel(I64(READ_ONLY, I64, I64))
def _u16(data, at, swapped):
    return u16(data, at) if swapped else u16le(data, at)


@kernel(I64(READ_ONLY, I64, I64))
def _u32(data, at, swapped):
    return u32(data, at) if swapped else u32le(data, at)


@kernel(I64(I64, I64, I64, I64))
def nanoseconds(ticks, binary, exponent, offset):
    """Time of ``ticks`` of 10^-exponent (or 2^-exponent) seconds, plus ``offset`` seconds, in nanoseconds."""
    if binary:
        if exponent > 62:
            return offset * 1_000_000_000
        seconds = ticks >> exponent
        rest = ticks - (seconds << exponent)
        if exponent > 32:
            rest >>= exponent - 32
            exponent = 32
        return (seconds + offset) * 1_000_000_000 + ((rest * 1_000_000_000) >> exponent)
    factor = 1
    for _ in range(min(abs(9 - exponent), 18)):
        factor *= 10
    return (ticks * factor if exponent <= 9 else ticks // factor) + offset * 1_000_000_000


@kernel(I64(BYTES, I64, I64, I64, I64, I64, I64, I64, I64, I64))
def _put_row(index, row, now, off, captured, size, identity, point, direction, message_len):
    d = s.INDEX_SIZE * row
    seg.put_t_ns(index, d, now)
    seg.put_off(index, d, off)
    seg.put_cap_len(index, d, captured)
    seg.put_frame_len(index, d, size)
    seg.put_frame_id(index, d, identity)
    seg.put_message_len(index, d, message_len)
    seg.put_point(index, d, point)
    seg.put_direction(index, d, direction)
    seg.put_kind(index, d, 0)
    return 0


@entry
@kernel(I64(READ_ONLY, I64, READ_ONLY, I64, BYTES, BYTES))
def scan_pcapng(data, swapped, interfaces, count, index, state):
    """Describe packets from the position in ``state`` on, to a full index, a rare block or the end; returns why."""
    at = u64le(state, STATE_POSITION)
    row = u64le(state, STATE_ROWS)
    room = len(index) // s.INDEX_SIZE
    why = DONE
    while at < len(data):
        if at + 12 > len(data):
            why = BROKEN
            break
        kind = _u32(data, at, swapped)
        size = _u32(data, at + 4, swapped)
        if kind == SECTION or kind == INTERFACE or kind == STATISTICS:
            why = RARE
            break
        if size < 12 or size & 3 or size > limits.CAPTURE_BLOCK or at + size > len(data):
            why = BROKEN
            break
        if _u32(data, at + size - 4, swapped) != size:
            why = BROKEN
            break
        if kind == PACKET or kind == OBSOLETE_PACKET or kind == SIMPLE_PACKET:
            if row == room:
                why = MORE_ROOM
                break
            if size < (16 if kind == SIMPLE_PACKET else 32):
                why = BROKEN
                break
            which, now, options = 0, 0, at + size - 4
            if kind == SIMPLE_PACKET:
                length = _u32(data, at + 8, swapped)
                captured = min(length, size - 16)
                off = at + 12
            else:
                which = _u32(data, at + 8, swapped) if kind == PACKET else _u16(data, at + 8, swapped)
                ticks = (_u32(data, at + 12, swapped) << 32) | _u32(data, at + 16, swapped)
                captured, length = _u32(data, at + 20, swapped), _u32(data, at + 24, swapped)
                off = at + 28
                options = off + ((captured + 3) & ~3)
                if options > at + size - 4:
                    why = BROKEN
                    break
                if which < count:
                    f = INTERFACE_SIZE * which
                    now = nanoseconds(ticks, u8(interfaces, f + 3), u8(interfaces, f + 4), u64le(interfaces, f + 8))
            if which >= count or not u8(interfaces, INTERFACE_SIZE * which):
                put_u64le(state, STATE_SKIPPED, u64le(state, STATE_SKIPPED) + 1)
                at += size
                continue
            direction, identity, comment = s.UNKNOWN_DIRECTION, 0, 0
            while options + 4 <= at + size - 4:
                code, width = _u16(data, options, swapped), _u16(data, options + 2, swapped)
                if code == 0 or options + 4 + width > at + size - 4:
                    break
                if code == 2 and width == 4:
                    flags = _u32(data, options + 4, swapped) & 3
                    direction = 0 if flags == OUTBOUND else 1 if flags == INBOUND else s.UNKNOWN_DIRECTION
                elif code == 5 and width == 8 and kind == PACKET:
                    low, high = _u32(data, options + 4, swapped), _u32(data, options + 8, swapped)
                    identity = (high << 32) | low if not swapped else (low << 32) | high
                elif code == 1 and comment == 0:
                    comment = options
                options += 4 + ((width + 3) & ~3)
            f = INTERFACE_SIZE * which
            framing = u8(interfaces, f + 2)
            length = max(length, captured)
            _put_row(
                index,
                row,
                now,
                off,
                captured,
                length,
                identity,
                u8(interfaces, f + 1),
                direction,
                framing + length if framing else 0,
            )
            if comment and captured == 0 and framing:
                seg.put_off(index, s.INDEX_SIZE * row, comment + 4)
                seg.put_kind(index, s.INDEX_SIZE * row, seg.KIND_UNKNOWN)
            row += 1
        at += size
    put_u64le(state, STATE_POSITION, at)
    put_u64le(state, STATE_ROWS, row)
    return why


@entry
@kernel(I64(READ_ONLY, I64, I64, BYTES, BYTES))
def scan_pcap(data, swapped, factor, index, state):
    """Describe packets of a classic pcap file from the position in ``state`` on; ``factor`` ns are one tick."""
    at = u64le(state, STATE_POSITION)
    row = u64le(state, STATE_ROWS)
    room = len(index) // s.INDEX_SIZE
    why = DONE
    while at < len(data):
        if at + 16 > len(data):
            why = BROKEN
            break
        captured, length = _u32(data, at + 8, swapped), _u32(data, at + 12, swapped)
        if captured > limits.CAPTURE_BLOCK or at + 16 + captured > len(data):
            why = BROKEN
            break
        if row == room:
            why = MORE_ROOM
            break
        now = _u32(data, at, swapped) * 1_000_000_000 + _u32(data, at + 4, swapped) * factor
        _put_row(index, row, now, at + 16, captured, max(length, captured), 0, 0, s.UNKNOWN_DIRECTION, 0)
        row += 1
        at += 16 + captured
    put_u64le(state, STATE_POSITION, at)
    put_u64le(state, STATE_ROWS, row)
    return why


class _Reader:
    """Reads one file: the kernels describe the packets, this does what is rare."""

    def __init__(self, data: np.ndarray):
        self.data = data
        self.index = np.zeros(s.INDEX_SIZE * max(16, len(data) // 128), np.uint8)
        self.state = np.zeros(64, np.uint8)
        self.interfaces = np.zeros(INTERFACE_SIZE * limits.CAPTURE_INTERFACES, np.uint8)
        self.count = 0
        self.order = "<"
        self.meta: dict[str, Any] = {}
        self.drops: dict[str, int] = {}
        self.snap = 0
        self.warning: str | None = None

    @property
    def position(self) -> int:
        return int(self.state[:8].view(np.int64)[0])

    @position.setter
    def position(self, value: int) -> None:
        self.state[:8] = np.frombuffer(np.int64(value).tobytes(), np.uint8)

    def capture(self) -> Capture:
        rows = int(self.state[8:16].view(np.int64)[0])
        index = self.index[: s.INDEX_SIZE * rows]
        self._messages(index.view(s.INDEX))
        skipped = int(self.state[24:32].view(np.int64)[0])
        drops = dict(self.drops)
        if skipped:
            drops["not-ethernet"] = skipped
        return Capture((Block(self.data, index, 0, s.INDEX_SIZE, rows),), self.meta, drops, self.snap, self.warning)

    def _messages(self, rows: np.ndarray) -> None:
        """Kind and length of tunnel messages without a frame, from their comments."""
        for i in np.flatnonzero(rows["kind"]).tolist():
            at = int(rows["off"][i])
            match = _COMMENT.match(self.data[at : at + COMMENT_SIZE].tobytes())
            rows["kind"][i], rows["message_len"][i] = 0, rows["message_len"][i]
            if match:
                rows["kind"][i], rows["message_len"][i] = int(match[1]) & 255, int(match[2]) & 0xFFFFFFFF

    def _grow(self) -> None:
        self.index = np.concatenate([self.index, np.zeros_like(self.index)])

    def pcap(self, order: str, factor: int) -> Capture:
        if len(self.data) < 24:
            self.warning = "the file ends inside its header"
            return self.capture()
        (link,) = struct.unpack(order + "I", self.data[20:24].tobytes())
        if link & 0x0FFFFFFF != ETHERNET:
            raise UsageError(f"the capture's link type is {link & 0x0FFFFFFF}; only Ethernet (1) is read")
        self.position = 24
        while (why := scan_pcap(self.data, int(order == ">"), factor, self.index, self.state)) == MORE_ROOM:
            self._grow()
        if why == BROKEN:
            self.warning = f"the file is cut or corrupt at byte {self.position}"
        return self.capture()

    def pcapng(self) -> Capture:
        while True:
            why = scan_pcapng(self.data, int(self.order == ">"), self.interfaces, self.count, self.index, self.state)
            if why == MORE_ROOM:
                self._grow()
            elif why == DONE:
                return self.capture()
            elif why == BROKEN or not self._rare():
                self.warning = f"the file is cut or corrupt at byte {self.position}"
                return self.capture()

    def _rare(self) -> bool:
        """Take in a section header, interface or statistics block; False when it is broken."""
        at, data = self.position, self.data
        if at + 12 > len(data):
            return False
        raw = data[at : at + 12].tobytes()
        if struct.unpack(self.order + "I", raw[:4])[0] == SECTION:
            orders = [o for o in "<>" if struct.unpack(o + "I", raw[8:12])[0] == ORDER]
            if not orders:
                return False
            self.order, self.count = orders[0], 0
        kind, size = struct.unpack(self.order + "II", raw[:8])
        if size < 12 or size % 4 or size > limits.CAPTURE_BLOCK or at + size > len(data):
            return False
        body = data[at + 8 : at + size - 4].tobytes()
        if kind == SECTION:
            comment = dict(self._options(body[16:])).get(1)
            if comment is not None:
                self._take_meta(comment)
        elif kind == INTERFACE:
            if len(body) < 8 or self.count >= limits.CAPTURE_INTERFACES:
                return False
            self._interface(body)
        elif len(body) >= 12:
            self._statistics(dict(self._options(body[12:])))
        self.position = at + size
        return True

    def _options(self, raw: bytes) -> list[tuple[int, bytes]]:
        """Options of a block, the first of each code last, so that ``dict`` keeps it."""
        out, at = [], 0
        while at + 4 <= len(raw):
            code, size = struct.unpack_from(self.order + "HH", raw, at)
            if code == 0 or at + 4 + size > len(raw):
                break
            out.append((code, raw[at + 4 : at + 4 + size]))
            at += 4 + size + (-size % 4)
        return out[::-1]

    def _take_meta(self, comment: bytes) -> None:
        try:
            meta = json.loads(comment)
        except (ValueError, RecursionError):
            meta = None
        self.meta = meta if isinstance(meta, dict) else {"comment": comment.decode("utf-8", "replace")}

    def _interface(self, body: bytes) -> None:
        link, _, snap = struct.unpack_from(self.order + "HHI", body)
        options = dict(self._options(body[8:]))
        name = options.get(2, b"").decode("utf-8", "replace")
        match = _DESCRIPTION.search(options.get(3, b"").decode("utf-8", "replace")) if name == "tunnel" else None
        resolution = options.get(9, b"\x06")[:1] or b"\x06"
        offset = options.get(14, b"")
        seconds = struct.unpack(self.order + "q", offset)[0] if len(offset) == 8 else 0
        seconds = max(-(1 << 33), min(seconds, 1 << 33))
        row = struct.pack(
            "<BBBBBxxxq16x", link == ETHERNET, s.POINT_OF.get(name, 0), min(int(match[1]), 255) if match else 0,
            resolution[0] >> 7, resolution[0] & 127, seconds,
        )  # fmt: skip
        at = INTERFACE_SIZE * self.count
        self.interfaces[at : at + INTERFACE_SIZE] = np.frombuffer(row, np.uint8)
        self.count += 1
        if snap != SNAPLEN:
            self.snap = snap

    def _statistics(self, options: dict[int, bytes]) -> None:
        try:
            named = json.loads(options.get(1, b"null"))
        except (ValueError, RecursionError):
            named = None
        if isinstance(named, dict) and all(isinstance(v, int) for v in named.values()):
            self.drops.update({str(k): v for k, v in named.items()})
        elif len(options.get(5, b"")) == 8:
            (dropped,) = struct.unpack(self.order + "q", options[5])
            if dropped > 0:
                self.drops["dropped"] = self.drops.get("dropped", 0) + dropped


def read_pcap(path: str | Path) -> Capture:
    """Read a pcapng or pcap file. Interfaces named ``nic``, ``tunnel``, ``egress`` are those points, others ``nic``.

    Raises :class:`~aero_lab.errors.UsageError` when the file is neither. A file that breaks off is read as far as it
    goes; ``Capture.warning`` says where.
    """
    return parse_pcap(np.fromfile(path, np.uint8), str(path))


def parse_pcap(data: np.ndarray | bytes, name: str = "these bytes") -> Capture:
    """:func:`read_pcap` from memory."""
    array = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data
    magic = array[:4].tobytes()
    reader = _Reader(array)
    if magic == struct.pack("<I", SECTION):
        return reader.pcapng()
    for order in "<>":
        for kind, factor in ((PCAP_US, 1000), (PCAP_NS, 1)):
            if magic == struct.pack(order + "I", kind):
                return reader.pcap(order, factor)
    raise UsageError(f"{name}: not a pcapng or pcap file")
