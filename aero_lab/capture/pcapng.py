"""pcapng and classic pcap files, written in blocks by compiled loops. (:mod:`.pcap_reader` reads them.)

What is written (little-endian, the layout of the original's tracer): a section header, one interface a capture point
(Ethernet, nanosecond times), one enhanced packet block a frame with its direction in ``epb_flags`` (outbound leaves the
guest) and its identity in ``epb_packetid``, which Wireshark shows as ``frame.packet_id``. The same capture gives the
same bytes. A tunnel message that holds no frame (PING, ERROR) is an empty packet whose comment says its kind and
length. Meta is the section's comment as JSON. Drops are in interface statistics. What came from a file keeps the
interfaces and options of that file; times become nanoseconds, big-endian numbers little-endian.

Format: draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..compiled.memory import copy, u8, u16, u32
from ..compiled.registry import BYTES, I64, READ_ONLY, entry, kernel
from ..errors import UsageError
from . import schema as s
from . import segment as seg
from .access import load_field, put_u8, put_u16le, put_u32le, put_u64le, u16le
from .capture import Block, Capture, Interface
from .columns import index_cap_len, index_frame_id, index_frame_len, index_message_len, index_off, index_t_ns
from .pcap_scan import INBOUND, INTERFACE, OPT_COMMENT, OPT_FLAGS, OPT_PACKET_ID, OUTBOUND, PACKET, SECTION, STATISTICS
from .sink import Sink

ORDER = 0x1A2B3C4D
ETHERNET = 1
SNAPLEN = 65535
OPT_DROP_COUNT, OPT_QUEUE = 4, 6
COMMENT = b"tunnel message kind=%03d length=%010d bytes"
COMMENT_SIZE = len(COMMENT % (0, 0))
TUNNEL_DESCRIPTION = "Frames inside tunnel messages: each message was %d bytes longer"
WRITE_BATCH = 4096
"""Frames encoded into one buffer before it goes to the file."""
CUSTOM, CUSTOM_BINARY, CUSTOM_PRIVATE, CUSTOM_PRIVATE_BINARY = 2988, 2989, 19372, 19373
"""Options that begin with somebody's enterprise number."""
LINK_SLOTS = 8
"""Places for link layers a point in the table of interfaces."""
PCAP_NS, PCAP_RECORD = 0xA1B23C4D, 16

index_flags, index_opt_len, index_opt_off = load_field(40, 4), load_field(44, 4), load_field(48, 8)
index_interface, index_swapped = load_field(56, 2), load_field(58, 1)


@kernel(I64(READ_ONLY, READ_ONLY, I64, BYTES, I64, I64))
def _options(data, index, d, out, to, write):
    """Options that the frame's packet had in its file, but for those that are written anew; returns their size.

    They go to ``to`` of ``out`` when ``write`` says so.
    """
    at = index_opt_off(index, d)
    end = at + index_opt_len(index, d)
    swapped = index_swapped(index, d)
    ours = 1 if u8(index, d + 38) != seg.KIND_FRAME else 0
    size = 0
    while at + 4 <= end:
        code = u16(data, at) if swapped else u16le(data, at)
        width = u16(data, at + 2) if swapped else u16le(data, at + 2)
        padded = 4 + ((width + 3) & ~3)
        if at + 4 + width > end:
            break
        if code == OPT_COMMENT and ours:  # a message without a frame says itself in its first comment
            ours = 0
        elif code != OPT_FLAGS and code != OPT_PACKET_ID:
            if write:
                put_u16le(out, to, code)
                put_u16le(out, to + 2, width)
                for i in range(width, padded - 4):
                    put_u8(out, to + 4 + i, 0)
                copy(out, to + 4, data, at + 4, width)
                number = code == OPT_QUEUE or code == CUSTOM or code == CUSTOM_BINARY
                number = number or code == CUSTOM_PRIVATE or code == CUSTOM_PRIVATE_BINARY
                if swapped and number and width >= 4:
                    put_u32le(out, to + 4, u32(data, at + 4))
                elif swapped and code == OPT_DROP_COUNT and width == 8:
                    put_u32le(out, to + 4, u32(data, at + 8))
                    put_u32le(out, to + 8, u32(data, at + 4))
                to += padded
            size += padded
        at += padded
    return size


@kernel(I64(READ_ONLY, READ_ONLY, I64, BYTES))
def _packet_size(data, index, d, out):
    """Length of the packet block of the frame at descriptor ``d``. (``out`` is not touched.)"""
    size = 32 + ((index_cap_len(index, d) + 3) & ~3)
    if index_opt_len(index, d):
        size += _options(data, index, d, out, 0, 0)
    if index_flags(index, d) != 0 or u8(index, d + 37) < s.UNKNOWN_DIRECTION:
        size += 8
    if index_frame_id(index, d) != 0:
        size += 12
    if u8(index, d + 38) != seg.KIND_FRAME:
        size += 4 + ((COMMENT_SIZE + 3) & ~3)
    return size + (4 if size > 32 + ((index_cap_len(index, d) + 3) & ~3) else 0)


@entry
@kernel(I64(READ_ONLY, READ_ONLY, I64, I64, I64, BYTES))
def packets_size(data, index, start, step, number, out):
    """Bytes that :func:`put_packets` will write. (``out`` is not touched.)"""
    total = 0
    for i in range(number):
        total += _packet_size(data, index, start + step * i, out)
    return total


@kernel(I64(BYTES, I64, I64, I64))
def _put_decimal(out, at, value, digits):
    for i in range(digits):
        put_u8(out, at + digits - 1 - i, 48 + value % 10)
        value //= 10
    return at + digits


@entry
@kernel(I64(READ_ONLY, READ_ONLY, I64, I64, I64, READ_ONLY, READ_ONLY, BYTES))
def put_packets(data, index, start, step, number, interfaces, comment, out):
    """Encode frames as packet blocks. Returns the bytes written.

    ``interfaces`` has two bytes for each point and link: the interface of frames that come from no file.
    """
    at = 0
    for i in range(number):
        d = start + step * i
        captured, kind, direction = index_cap_len(index, d), u8(index, d + 38), u8(index, d + 37)
        size = _packet_size(data, index, d, out)
        now = index_t_ns(index, d)
        put_u32le(out, at, PACKET)
        put_u32le(out, at + 4, size)
        which = index_interface(index, d) - 1
        if which < 0:
            which = u16le(interfaces, 2 * (LINK_SLOTS * u8(index, d + 36) + u8(index, d + 39)))
        put_u32le(out, at + 8, which)
        put_u32le(out, at + 12, now >> 32)
        put_u32le(out, at + 16, now)
        put_u32le(out, at + 20, captured)
        put_u32le(out, at + 24, index_frame_len(index, d))
        copy(out, at + 28, data, index_off(index, d), captured)
        to = at + 28 + captured
        while (to - at) & 3:
            put_u8(out, to, 0)
            to += 1
        if kind != seg.KIND_FRAME:
            put_u16le(out, to, 1)
            put_u16le(out, to + 2, COMMENT_SIZE)
            copy(out, to + 4, comment, 0, COMMENT_SIZE)
            _put_decimal(out, to + 4 + 20, kind, 3)
            _put_decimal(out, to + 4 + 31, index_message_len(index, d), 10)
            to += 4 + COMMENT_SIZE
            while (to - at) & 3:
                put_u8(out, to, 0)
                to += 1
        if index_opt_len(index, d):
            to += _options(data, index, d, out, to, 1)
        flags = index_flags(index, d)
        if flags != 0 or direction < s.UNKNOWN_DIRECTION:
            way = 0 if direction >= s.UNKNOWN_DIRECTION else INBOUND if direction else OUTBOUND
            put_u32le(out, to, 0x00040002)
            put_u32le(out, to + 4, (flags & ~3) | way)
            to += 8
        if index_frame_id(index, d) != 0:
            put_u32le(out, to, 0x00080005)
            put_u64le(out, to + 4, index_frame_id(index, d))
            to += 12
        if to - at < size - 4:
            put_u32le(out, to, 0)
        put_u32le(out, at + size - 4, size)
        at += size
    return at


def option(code: int, value: bytes) -> bytes:
    """An option of a block, padded."""
    return struct.pack("<HH", code, len(value)) + value + b"\0" * (-len(value) % 4)


def block(kind: int, body: bytes) -> bytes:
    """A block around a body whose length is a multiple of 4."""
    return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)


def _section(capture: Capture) -> bytes:
    options = b""
    if capture.meta:
        text = json.dumps(capture.meta, sort_keys=True, separators=(",", ":"), default=str).encode()
        if len(text) > 65535:
            raise UsageError(f"the meta of a capture file may have 65535 bytes, not {len(text)}")
        options += option(1, text)
    for code, value in capture.section:
        options += option(code, value)
    if not any(code == 4 for code, _ in capture.section):
        options += option(4, b"aero_lab")
    return block(SECTION, struct.pack("<IHHq", ORDER, 1, 0, -1) + options + option(0, b""))


def _interface(interface: Interface) -> bytes:
    options = b"".join(option(code, value) for code, value in interface.options) + option(9, b"\x09") + option(0, b"")
    return block(INTERFACE, struct.pack("<HHI", interface.link, 0, interface.snap) + options)


def _interfaces(capture: Capture, rows: np.ndarray, framing: int) -> tuple[list[Interface], np.ndarray]:
    """The interfaces of a file: those that the capture's own file had, and one for each point and link layer of frames
    that come from none; and where the kernel finds the number of the latter."""
    interfaces, numbers = list(capture.interfaces), np.zeros(LINK_SLOTS * len(s.POINTS), "<u2")
    made = rows[rows["interface"] == 0]
    seen = set() if interfaces and not len(made) else {(s.POINT_OF["nic"], 0), (s.POINT_OF["tunnel"], 0)}
    pairs = np.unique(made["point"].astype(np.int64) << 8 | made["link"]).tolist()
    for point, link in sorted(seen | {(pair >> 8, pair & 255) for pair in pairs}):
        if link not in s.LINKS:
            raise UsageError("frames of an unknown link layer that come from no file cannot be written")
        options = [(2, s.POINTS[point].encode())]
        if s.POINTS[point] == "tunnel":
            options.append((3, (TUNNEL_DESCRIPTION % framing).encode()))
        numbers[LINK_SLOTS * point + link] = len(interfaces)
        interfaces.append(Interface(s.LINKS[link][1], capture.snap or SNAPLEN, tuple(options)))
    if len(interfaces) > 65535:
        raise UsageError(f"a capture file can have 65535 interfaces, not {len(interfaces)}")
    return interfaces, numbers.view(np.uint8)


def parts(blocks: Iterable[Block]) -> Iterator[Block]:
    """The same frames in blocks of :data:`WRITE_BATCH` at most."""
    for held in blocks:
        for first in range(0, held.count, WRITE_BATCH):
            start = held.start + held.step * first
            yield Block(held.data, held.index, start, held.step, min(WRITE_BATCH, held.count - first))


def write_capture_pcapng(path: str | Path, capture: Capture) -> Path:
    """Write a capture to ``path``, with interfaces for ``nic`` and ``tunnel`` and for other points that saw frames.

    A name that ends in ``.gz`` or ``.zst`` is packed so.
    """
    rows = capture.descriptors()
    plain = rows[(rows["message_len"] > 0) & (rows["kind"] == seg.KIND_FRAME) & (rows["interface"] == 0)]
    extra = np.unique(plain["message_len"].astype(np.int64) - plain["frame_len"])
    if len(extra) > 1:
        raise UsageError("a capture file can say one length of tunnel framing; this capture has several")
    framing = int(extra[0]) if len(extra) else seg.MESSAGE_HEADER
    interfaces, numbers = _interfaces(capture, rows, framing)
    with Sink(path) as sink:
        sink.write(_section(capture))
        for interface in interfaces:
            sink.write(_interface(interface))
        for part in parts(capture.blocks):
            sink.write(packets(part, numbers))
        missing = sum(capture.drops.values())
        if missing:
            sink.write(statistics(capture.drops, len(rows) + missing, int(rows["t_ns"].max()) if len(rows) else 0))
    return Path(path)


def stream_head(meta: dict[str, Any], points: Iterable[str], snap: int) -> tuple[bytes, np.ndarray]:
    """How a file begins whose frames are still to come, and the interfaces' numbers for :func:`packets`."""
    capture, rows = Capture(meta=meta, snap=snap), np.zeros(len(s.POINTS), s.INDEX)
    for row, point in zip(rows, points):
        row["point"] = s.POINT_OF[point]
    interfaces, numbers = _interfaces(capture, rows, seg.MESSAGE_HEADER)
    return _section(capture) + b"".join(map(_interface, interfaces)), numbers


_COMMENT = np.frombuffer(COMMENT % (0, 0), np.uint8)
_NOTHING = np.zeros(0, np.uint8)


def packets(part: Block, numbers: np.ndarray) -> memoryview:
    """Packet blocks of a block of frames; ``numbers`` as :func:`put_packets` wants them."""
    where = (part.data, part.index, part.start, part.step, part.count)
    out = np.empty(int(packets_size(*where, _NOTHING)), np.uint8)
    put_packets(*where, numbers, _COMMENT, out)
    return out.data


def statistics(drops: dict[str, int], received: int, now: int) -> bytes:
    """An interface statistics block: what was dropped, in all and by reason."""
    options = option(1, json.dumps(drops, sort_keys=True).encode())
    options += (
        option(4, struct.pack("<q", received)) + option(5, struct.pack("<q", sum(drops.values()))) + option(0, b"")
    )
    return block(STATISTICS, struct.pack("<III", 0, (now >> 32) & 0xFFFFFFFF, now & 0xFFFFFFFF) + options)


@entry
@kernel(I64(READ_ONLY, READ_ONLY, I64, I64, I64, BYTES))
def put_records(data, index, start, step, number, out):
    """Encode frames as records of a classic pcap file with nanosecond times. Returns the bytes written."""
    at = 0
    for i in range(number):
        d = start + step * i
        captured, now = index_cap_len(index, d), index_t_ns(index, d)
        put_u32le(out, at, now // 1_000_000_000)
        put_u32le(out, at + 4, now % 1_000_000_000)
        put_u32le(out, at + 8, captured)
        put_u32le(out, at + 12, index_frame_len(index, d))
        copy(out, at + PCAP_RECORD, data, index_off(index, d), captured)
        at += PCAP_RECORD + captured
    return at


def write_capture_pcap(path: str | Path, capture: Capture) -> Path:
    """Write a capture as a classic pcap file with nanosecond times: one link layer, no names, directions or
    comments."""
    rows = capture.descriptors()
    links = {capture.interfaces[which - 1].link for which in np.unique(rows["interface"]).tolist() if which}
    links |= {s.LINKS[link][1] for link in np.unique(rows["link"][rows["interface"] == 0]).tolist()}
    if len(links) > 1:
        raise UsageError(f"a pcap file has one link layer; this capture has types {', '.join(map(str, sorted(links)))}")
    if len(rows) and not 0 <= int(rows["t_ns"].min()) <= int(rows["t_ns"].max()) < 1_000_000_000 << 32:
        raise UsageError("a pcap file tells times from 1970 to 2106; this capture has others")
    link = links.pop() if links else ETHERNET
    with Sink(path) as sink:
        sink.write(struct.pack("<IHHiIII", PCAP_NS, 2, 4, 0, 0, capture.snap or 262144, link))
        for part in parts(capture.blocks):
            sizes = part.descriptors()["cap_len"]
            out = np.empty(int(sizes.sum(dtype=np.int64)) + PCAP_RECORD * part.count, np.uint8)
            put_records(part.data, part.index, part.start, part.step, part.count, out)
            sink.write(out.data)
    return Path(path)
