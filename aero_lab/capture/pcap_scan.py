"""The compiled loops that describe the packets of a pcapng or pcap file and leave the frames where they lie.

They go over what of a file is in memory and stop, with the position in ``state``, where the index is full, where a
block reaches beyond what is there, and at what is rare (Python reads section headers, interfaces and statistics).

Formats: draft-ietf-opsawg-pcapng, draft-ietf-opsawg-pcap.
"""

from __future__ import annotations

from .. import limits
from ..compiled.memory import u8, u16, u32
from ..compiled.registry import BYTES, I64, READ_ONLY, entry, kernel
from . import schema as s
from . import segment as seg
from .access import put_u64le, u16le, u32le, u64le

SECTION, INTERFACE, OBSOLETE_PACKET, SIMPLE_PACKET, STATISTICS, PACKET = 0x0A0D0D0A, 1, 2, 3, 5, 6
OUTBOUND, INBOUND = 2, 1
OPT_END, OPT_COMMENT, OPT_FLAGS, OPT_PACKET_ID = 0, 1, 2, 5

INTERFACE_SIZE = 32
"""Row of the interface table: link (:data:`.schema.LINKS`), point, framing, resolution (0 decimal, 1 binary), its
exponent; at 8 the offset in seconds, at 16 the snap length (4 bytes), at 20 its number in the capture + 1 (4 bytes), at
24 the packets it had."""
DONE, MORE_ROOM, RARE, MORE_DATA, BAD_LENGTH, BAD_TRAILER, BAD_PACKET, BAD_INTERFACE = range(8)
"""Why a scan stopped: everything described; the index is full; a section, interface or statistics block; the file goes
on beyond what is there; or the block is corrupt: an impossible length, two lengths that differ, a packet larger than
its block, a packet of an interface that there is not."""
STATE_POSITION, STATE_ROWS, STATE_BLOCKS, STATE_NEED = 0, 8, 16, 24
"""Where the scan is, rows described, blocks passed (or records), and bytes wanted from the position on."""
LATEST = 1 << 62
"""Times beyond this (the year 2116) are taken for this: what goes wrong in a file must not overflow here."""


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
        if exponent > 32:
            ticks >>= min(exponent - 32, 62)
            exponent = 32
        seconds = min(ticks >> exponent, LATEST // 1_000_000_000)
        rest = ticks & ((1 << exponent) - 1)
        return (seconds + offset) * 1_000_000_000 + ((rest * 1_000_000_000) >> exponent)
    factor = 1
    for _ in range(min(abs(9 - exponent), 18)):
        factor *= 10
    if exponent > 9:
        return min(ticks // factor, LATEST) + offset * 1_000_000_000
    return min(ticks, LATEST // factor) * factor + offset * 1_000_000_000


@kernel(I64(BYTES, I64, I64, I64, I64, I64, I64, I64, I64, I64, I64, I64))
def _put_row(index, row, now, off, captured, size, identity, point, flags, message_len, link, interface):
    d = s.INDEX_SIZE * row
    way = flags & 3
    seg.put_t_ns(index, d, now)
    seg.put_off(index, d, off)
    seg.put_cap_len(index, d, captured)
    seg.put_frame_len(index, d, size)
    seg.put_frame_id(index, d, identity)
    seg.put_message_len(index, d, message_len)
    seg.put_point(index, d, point)
    seg.put_direction(index, d, 0 if way == OUTBOUND else 1 if way == INBOUND else s.UNKNOWN_DIRECTION)
    seg.put_kind(index, d, 0)
    seg.put_link(index, d, link)
    seg.put_flags(index, d, flags)
    seg.put_opt_len(index, d, 0)
    seg.put_opt_off(index, d, 0)
    seg.put_interface(index, d, interface)
    return 0


@entry
@kernel(I64(READ_ONLY, I64, I64, BYTES, I64, BYTES, BYTES))
def scan_pcapng(data, end, swapped, interfaces, count, index, state):
    """Describe packets from the position in ``state`` on, of the blocks that lie before ``end``; returns why it
    stopped."""
    at = u64le(state, STATE_POSITION)
    row = u64le(state, STATE_ROWS)
    blocks = u64le(state, STATE_BLOCKS)
    room = len(index) // s.INDEX_SIZE
    why, need = DONE, 0
    while at < end:
        if at + 12 > end:
            why, need = MORE_DATA, 12
            break
        kind = _u32(data, at, swapped)
        size = _u32(data, at + 4, swapped)
        if kind == SECTION or kind == INTERFACE or kind == STATISTICS:
            why = RARE
            break
        if size < 12 or size & 3 or size > limits.CAPTURE_BLOCK:
            why = BAD_LENGTH
            break
        if at + size > end:
            why, need = MORE_DATA, size
            break
        if _u32(data, at + size - 4, swapped) != size:
            why = BAD_TRAILER
            break
        if kind == PACKET or kind == OBSOLETE_PACKET or kind == SIMPLE_PACKET:
            if row == room:
                why = MORE_ROOM
                break
            if size < (16 if kind == SIMPLE_PACKET else 32):
                why = BAD_PACKET
                break
            which, ticks, stop = 0, 0, at + size - 4
            if kind == SIMPLE_PACKET:
                off, options = at + 12, stop
                length = _u32(data, at + 8, swapped)
                captured = 0
            else:
                which = _u32(data, at + 8, swapped) if kind == PACKET else _u16(data, at + 8, swapped)
                ticks = ((_u32(data, at + 12, swapped) & 0x7FFFFFFF) << 32) | _u32(data, at + 16, swapped)
                captured, length = _u32(data, at + 20, swapped), _u32(data, at + 24, swapped)
                off = at + 28
                options = off + ((captured + 3) & ~3)
                if options > stop:
                    why = BAD_PACKET
                    break
            if which >= count:
                why = BAD_INTERFACE
                break
            f = INTERFACE_SIZE * which
            if kind == SIMPLE_PACKET:  # it has neither time nor captured length: the snap length cut it
                snap, now = u32le(interfaces, f + 16), 0
                captured = min(length, size - 16)
                if snap:
                    captured = min(captured, snap)
            else:
                now = nanoseconds(ticks, u8(interfaces, f + 3), u8(interfaces, f + 4), u64le(interfaces, f + 8))
            flags, identity, comment, kept = 0, 0, 0, 0
            first = options
            while options + 4 <= stop:
                code, width = _u16(data, options, swapped), _u16(data, options + 2, swapped)
                if code == OPT_END or options + 4 + width > stop:
                    break
                if code == OPT_FLAGS and width == 4:
                    flags = _u32(data, options + 4, swapped)
                elif code == OPT_PACKET_ID and width == 8 and kind == PACKET:
                    low, high = _u32(data, options + 4, swapped), _u32(data, options + 8, swapped)
                    if swapped:
                        low, high = high, low
                    identity = ((high & 0x7FFFFFFF) << 32) | low
                else:
                    kept = 1
                    if code == OPT_COMMENT and comment == 0:
                        comment = options
                options += 4 + ((width + 3) & ~3)
            framing = u8(interfaces, f + 2)
            length = max(length, captured)
            number = u32le(interfaces, f + 20) | (swapped << 16)
            message_len = framing + length if framing else 0
            point, link = u8(interfaces, f + 1), u8(interfaces, f)
            _put_row(index, row, now, off, captured, length, identity, point, flags, message_len, link, number)
            d = s.INDEX_SIZE * row
            if kept:
                seg.put_opt_off(index, d, first)
                seg.put_opt_len(index, d, min(options, stop) - first)
            if comment and captured == 0 and framing:
                seg.put_off(index, d, comment + 4)
                seg.put_kind(index, d, seg.KIND_UNKNOWN)
            put_u64le(interfaces, f + 24, u64le(interfaces, f + 24) + 1)
            row += 1
        blocks += 1
        at += size
    put_u64le(state, STATE_POSITION, at)
    put_u64le(state, STATE_ROWS, row)
    put_u64le(state, STATE_BLOCKS, blocks)
    put_u64le(state, STATE_NEED, need)
    return why


@entry
@kernel(I64(READ_ONLY, I64, I64, I64, I64, I64, I64, BYTES, BYTES))
def scan_pcap(data, end, swapped, factor, header, most, link, index, state):
    """The same for a classic pcap file: ``factor`` ns are one tick, ``header`` bytes stand before each packet, and one
    with more than ``most`` bytes is corrupt."""
    at = u64le(state, STATE_POSITION)
    row = u64le(state, STATE_ROWS)
    blocks = u64le(state, STATE_BLOCKS)
    room = len(index) // s.INDEX_SIZE
    why, need = DONE, 0
    while at < end:
        if at + header > end:
            why, need = MORE_DATA, header
            break
        captured, length = _u32(data, at + 8, swapped), _u32(data, at + 12, swapped)
        if captured > most:
            why = BAD_LENGTH
            break
        if at + header + captured > end:
            why, need = MORE_DATA, header + captured
            break
        if row == room:
            why = MORE_ROOM
            break
        now = _u32(data, at, swapped) * 1_000_000_000 + _u32(data, at + 4, swapped) * factor
        _put_row(index, row, now, at + header, captured, max(length, captured), 0, 0, 0, 0, link, 1)
        row += 1
        blocks += 1
        at += header + captured
    put_u64le(state, STATE_POSITION, at)
    put_u64le(state, STATE_ROWS, row)
    put_u64le(state, STATE_BLOCKS, blocks)
    put_u64le(state, STATE_NEED, need)
    return why
