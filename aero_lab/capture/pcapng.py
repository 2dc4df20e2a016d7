"""pcapng files, written in blocks by a compiled loop. (:mod:`.pcap_reader` reads them.)

What is written (little-endian, the layout of the original's tracer): a section header, one interface a capture point
(Ethernet, nanosecond times), one enhanced packet block a frame with its direction in ``epb_flags`` (outbound leaves the
guest) and its identity in ``epb_packetid``, which Wireshark shows as ``frame.packet_id``. The same capture gives the
same bytes. A tunnel message that holds no frame (PING, ERROR) is an empty packet whose comment says its kind and
length. Meta is the section's comment as JSON. Drops are in interface statistics.

Format: draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np

from ..compiled.memory import copy, u8
from ..compiled.registry import BYTES, I64, READ_ONLY, entry, kernel
from ..errors import UsageError
from . import schema as s
from . import segment as seg
from .access import put_u8, put_u16le, put_u32le, put_u64le
from .capture import Capture
from .columns import index_cap_len, index_frame_id, index_frame_len, index_message_len, index_off, index_t_ns

SECTION, INTERFACE, STATISTICS, PACKET = 0x0A0D0D0A, 1, 5, 6
ORDER = 0x1A2B3C4D
ETHERNET = 1
SNAPLEN = 65535
OUTBOUND, INBOUND = 2, 1
COMMENT = b"tunnel message kind=%03d length=%010d bytes"
COMMENT_SIZE = len(COMMENT % (0, 0))
TUNNEL_DESCRIPTION = "Frames inside tunnel messages: each message was %d bytes longer"
WRITE_BATCH = 4096
"""Frames encoded into one buffer before it goes to the file."""


@kernel(I64(READ_ONLY, I64))
def _packet_size(index, d):
    """Length of the packet block of the frame at descriptor ``d``."""
    size = 32 + ((index_cap_len(index, d) + 3) & ~3)
    if u8(index, d + 37) < s.UNKNOWN_DIRECTION:
        size += 8
    if index_frame_id(index, d) != 0:
        size += 12
    if u8(index, d + 38) != seg.KIND_FRAME:
        size += 4 + ((COMMENT_SIZE + 3) & ~3)
    return size + (4 if size > 32 + ((index_cap_len(index, d) + 3) & ~3) else 0)


@entry
@kernel(I64(READ_ONLY, I64, I64, I64))
def packets_size(index, start, step, number):
    """Bytes that :func:`put_packets` will write."""
    total = 0
    for i in range(number):
        total += _packet_size(index, start + step * i)
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
    """Encode frames as packet blocks; ``interfaces`` has the interface of each point. Returns the bytes written."""
    at = 0
    for i in range(number):
        d = start + step * i
        captured, kind, direction = index_cap_len(index, d), u8(index, d + 38), u8(index, d + 37)
        size = _packet_size(index, d)
        now = index_t_ns(index, d)
        put_u32le(out, at, PACKET)
        put_u32le(out, at + 4, size)
        put_u32le(out, at + 8, u8(interfaces, u8(index, d + 36)))
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
        if direction < s.UNKNOWN_DIRECTION:
            put_u32le(out, to, 0x00040002)
            put_u32le(out, to + 4, INBOUND if direction else OUTBOUND)
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


def _preamble(capture: Capture, points: list[int], framing: int) -> bytes:
    """Section header and interfaces."""
    options = b""
    if capture.meta:
        text = json.dumps(capture.meta, sort_keys=True, separators=(",", ":"), default=str).encode()
        if len(text) > 65535:
            raise UsageError(f"the meta of a capture file may have 65535 bytes, not {len(text)}")
        options += option(1, text)
    options += option(4, b"aero_lab") + option(0, b"")
    out = block(SECTION, struct.pack("<IHHq", ORDER, 1, 0, -1) + options)
    for point in points:
        options = option(2, s.POINTS[point].encode())
        if s.POINTS[point] == "tunnel":
            options += option(3, (TUNNEL_DESCRIPTION % framing).encode())
        options += option(9, b"\x09") + option(0, b"")
        out += block(INTERFACE, struct.pack("<HHI", ETHERNET, 0, capture.snap or SNAPLEN) + options)
    return out


def write_pcapng(path: str | Path, capture: Capture) -> Path:
    """Write a capture to ``path``, with interfaces for ``nic`` and ``tunnel`` and for other points that saw frames."""
    rows = capture.descriptors()
    seen = set(np.unique(rows["point"]).tolist()) | {s.POINT_OF["nic"], s.POINT_OF["tunnel"]}
    points = sorted(seen)
    plain = rows[(rows["message_len"] > 0) & (rows["kind"] == seg.KIND_FRAME)]
    extra = np.unique(plain["message_len"].astype(np.int64) - plain["frame_len"])
    if len(extra) > 1:
        raise UsageError("a capture file can say one length of tunnel framing; this capture has several")
    framing = int(extra[0]) if len(extra) else seg.MESSAGE_HEADER
    interfaces = np.zeros(len(s.POINTS), np.uint8)
    for number, point in enumerate(points):
        interfaces[point] = number
    comment = np.frombuffer(COMMENT % (0, 0), np.uint8)
    path = Path(path)
    with path.open("wb") as file:
        file.write(_preamble(capture, points, framing))
        for held in capture.blocks:
            for first in range(0, held.count, WRITE_BATCH):
                number = min(WRITE_BATCH, held.count - first)
                start = held.start + held.step * first
                out = np.empty(int(packets_size(held.index, start, held.step, number)), np.uint8)
                put_packets(held.data, held.index, start, held.step, number, interfaces, comment, out)
                file.write(out.data)
        missing = sum(capture.drops.values())
        if missing:
            last = int(rows["t_ns"].max()) if len(rows) else 0
            received, dropped = struct.pack("<q", len(rows) + missing), struct.pack("<q", missing)
            options = option(1, json.dumps(capture.drops, sort_keys=True).encode())
            options += option(4, received) + option(5, dropped) + option(0, b"")
            file.write(block(STATISTICS, struct.pack("<III", 0, last >> 32, last & 0xFFFFFFFF) + options))
    return path
