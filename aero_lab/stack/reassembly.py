"""Reassembly of IPv4 and IPv6 fragments (RFC 791, RFC 815, RFC 8200 section 4.5), compiled and bounded.

Theory of operation
-------------------
Fragments are hostile until shown otherwise: they are the one input that makes a host keep bytes for a stranger. So
everything has a fixed size: :data:`SLOTS` datagrams, each with its own region of the byte arena, each of at most
:data:`FRAGMENTS` pieces, at most :data:`PER_SOURCE` from one sender. A slot is free, or filling (``HELD``), or refused
(``REFUSED``: its key is kept so that later pieces of a bad datagram go the way of the earlier ones), or expired and
waiting for its ICMP message (``EXPIRED``), or whole (``WHOLE``) until the caller releases it.

A region of the arena, :data:`REGION` bytes::

    0             HEADROOM - header      HEADROOM
    | scratch     | header of the first  | payload of the datagram at its own offsets ...
                    fragment

so that a fragment is copied once, to where it belongs, whatever the order of arrival, and the whole packet lies in
one piece when the last byte is in. The list of intervals is kept sorted and unmerged: an *exact duplicate* (same
place, same end, same bytes) is then told from an *overlap*. Duplicates are ignored (RFC 8200 allows it); an overlap
condemns the whole datagram, pieces still to come included (RFC 5722; RFC 8900 section 4.5 for IPv4). So do two
different ends, a piece beyond the end, and mixed ECN marks (RFC 3168 section 5.3). A piece that is bad by itself
(not a multiple of 8 and not the last, empty, reaching beyond 65,535) is dropped alone.

When the table is full the oldest datagram makes room. A datagram not complete within :data:`TIMEOUT` is forgotten;
when its first fragment had arrived the caller is given a slot to quote in a *time exceeded, code 1* message.

Kernels return ``slot >= 0`` (whole), :data:`HELD_BACK` or ``-2 - reason``.
"""

from __future__ import annotations

import numpy as np

from ..compiled.memory import copy, ones_complement_sum, put_u8, u8, u16_field, u32_field
from ..compiled.registry import BYTES, I64, VOID, kernel, record_type
from ..limits import (
    NEVER,
    REASSEMBLY_FRAGMENTS,
    REASSEMBLY_HEADER,
    REASSEMBLY_PER_SOURCE,
    REASSEMBLY_SLOTS,
    REASSEMBLY_TIMEOUT,
)
from ..wire import ipv4, ipv6

SLOTS, FRAGMENTS = REASSEMBLY_SLOTS, REASSEMBLY_FRAGMENTS
PER_SOURCE, TIMEOUT = REASSEMBLY_PER_SOURCE, REASSEMBLY_TIMEOUT
get_fragment_offset = u16_field(2)
"""IPv6 fragment header: offset in bytes, with *more fragments* as its lowest bit."""
get_fragment_ident = u32_field(4)

HEADROOM = 2 * REASSEMBLY_HEADER
"""Bytes of a region in front of the payload: the header, and as much again to move it in."""
REGION = HEADROOM + 65536
ATOMIC = SLOTS
"""The extra slot in which an IPv6 packet that came in a single fragment is handed over (RFC 6946)."""
ARENA_SIZE = (SLOTS + 1) * REGION

FREE, HELD, REFUSED, EXPIRED, WHOLE = 0, 1, 2, 3, 4
HELD_BACK = -1
"""Returned for a fragment that was kept while others are missing."""

REASONS = (
    "fragment-malformed",  # not a fragment, or no room for its own headers
    "fragment-unaligned",  # more fragments follow, but the length is no multiple of 8
    "fragment-empty",
    "fragment-too-long",  # would reach beyond 65,535 bytes
    "fragment-overlap",
    "fragment-end-conflict",  # a second, different end, or bytes beyond the end
    "fragment-duplicate",
    "fragment-too-many",
    "fragment-refused",  # belongs to a datagram refused before
    "fragment-header-long",  # extension headers in front longer than we keep
    "fragment-header-chain",  # first fragment without the whole header chain, or fragments inside fragments (RFC 7112)
    "fragment-ecn",
    "fragment-timeout",  # from here on counted once a datagram
    "fragment-evicted",
    "fragment-source-limit",
)
"""Reason words in the order of the counters in ``R.drops`` and of the return values ``-2 - reason``."""
(
    MALFORMED,
    UNALIGNED,
    EMPTY,
    TOO_LONG,
    OVERLAP,
    END_CONFLICT,
    DUPLICATE,
    TOO_MANY,
    ALREADY_REFUSED,
    HEADER_LONG,
    HEADER_CHAIN,
    ECN,
    TIMED_OUT,
    EVICTED,
    SOURCE_LIMIT,
) = range(len(REASONS))

_per_slot = (np.int64, (SLOTS,))
_per_packet = (np.int64, (SLOTS + 1,))
REASSEMBLY = np.dtype(
    [
        ("state", *_per_slot),
        ("src_hi", *_per_slot),
        ("src_lo", *_per_slot),
        ("dst_hi", *_per_slot),
        ("dst_lo", *_per_slot),
        ("ident", *_per_slot),  # identification; IPv4 adds protocol << 32 and 1 << 40, so that families never meet
        ("born", *_per_slot),
        ("deadline", *_per_slot),
        ("total", *_per_slot),  # payload length, -1 until the last fragment came
        ("received", *_per_slot),  # payload bytes held
        ("header", *_per_slot),  # header length of the first fragment, 0 until it came
        ("next_header", *_per_slot),  # IPv6: from the first fragment
        ("patch", *_per_slot),  # IPv6: where in the header the number of the fragment header stands
        ("ecn", *_per_slot),  # bit set of the ECN codepoints seen
        ("count", *_per_slot),
        ("starts", np.int64, (SLOTS * FRAGMENTS,)),
        ("ends", np.int64, (SLOTS * FRAGMENTS,)),
        ("offset", *_per_packet),  # of the whole (or expired) packet, in the arena
        ("length", *_per_packet),
        ("used", np.int64),
        ("fragments", np.int64),
        ("reassembled", np.int64),
        ("problem", np.int64),  # IPv6 parameter problem for the last drop: code << 16 | pointer, or -1
        ("drops", np.int64, (len(REASONS),)),
    ],
    align=True,
)
"""The whole state of reassembly but for the bytes; a zeroed record is ready for use."""
RECORD = record_type(REASSEMBLY)


@kernel(I64(RECORD, I64))
def drop(R, reason):
    """Count a drop; returns the value that says so."""
    R.drops[reason] += 1
    return -2 - reason


@kernel(VOID(RECORD, I64))
def release(R, slot):
    """Free a slot that was returned whole or by :func:`next_report`. Other numbers are ignored."""
    if 0 <= slot < SLOTS and R.state[slot] != FREE:
        R.state[slot] = FREE
        R.used -= 1


@kernel(I64(RECORD))
def next_deadline(R):
    """Time at which :func:`expire` has work, or ``NEVER``."""
    least = NEVER
    if R.used > 0:
        for slot in range(SLOTS):
            if (R.state[slot] == HELD or R.state[slot] == REFUSED) and R.deadline[slot] < least:
                least = R.deadline[slot]
    return least


@kernel(I64(RECORD, I64))
def expire(R, now):
    """Forget the datagrams whose time is up; returns how many. Some may then wait in :func:`next_report`."""
    number = 0
    if R.used == 0:
        return number
    for slot in range(SLOTS):
        state = R.state[slot]
        if (state != HELD and state != REFUSED) or R.deadline[slot] > now:
            continue
        number += 1
        if state == HELD:
            R.drops[TIMED_OUT] += 1
            if R.header[slot] > 0:
                R.state[slot] = EXPIRED
                extra = 0 if (R.ident[slot] >> 40) else 8  # the fragment header stands between header and payload
                R.offset[slot] = slot * REGION + HEADROOM - R.header[slot] - extra
                R.length[slot] = R.header[slot] + extra + R.ends[slot * FRAGMENTS]
                continue
        release(R, slot)
    return number


@kernel(I64(RECORD))
def next_report(R):
    """An expired slot whose first fragment had arrived, or -1.

    ``R.length[slot]`` bytes at ``R.offset[slot]`` of the arena are that fragment as it came, to be quoted in an ICMP
    *time exceeded, fragment reassembly* (code 1; RFC 792, RFC 4443 section 3.3). :func:`release` it afterwards.
    """
    if R.used > 0:
        for slot in range(SLOTS):
            if R.state[slot] == EXPIRED:
                return slot
    return -1


@kernel(I64(RECORD, I64, I64, I64, I64, I64, I64))
def find_slot(R, src_hi, src_lo, dst_hi, dst_lo, ident, now):
    """The slot of a datagram, made anew when it has none; the oldest datagram (first of its own sender) makes room."""
    free = victim = own_victim = -1
    own = 0
    for slot in range(SLOTS):
        if R.state[slot] == FREE:
            if free < 0:
                free = slot
            continue
        if R.src_lo[slot] == src_lo and R.src_hi[slot] == src_hi:
            if (
                R.ident[slot] == ident
                and R.dst_lo[slot] == dst_lo
                and R.dst_hi[slot] == dst_hi
                and (R.state[slot] == HELD or R.state[slot] == REFUSED)
            ):
                if R.deadline[slot] > now:
                    return slot
                # Overdue but not yet swept: this is a new datagram under an old number.
                if R.state[slot] == HELD:
                    R.drops[TIMED_OUT] += 1
                release(R, slot)
                if free < 0:
                    free = slot
                continue
            own += 1
            if own_victim < 0 or R.born[slot] < R.born[own_victim]:
                own_victim = slot
        if victim < 0 or R.born[slot] < R.born[victim]:
            victim = slot
    if own >= PER_SOURCE:
        R.drops[SOURCE_LIMIT] += 1
        release(R, own_victim)
        free = own_victim
    elif free < 0:
        R.drops[EVICTED] += 1
        release(R, victim)
        free = victim
    R.state[free] = HELD
    R.used += 1
    R.src_hi[free] = src_hi
    R.src_lo[free] = src_lo
    R.dst_hi[free] = dst_hi
    R.dst_lo[free] = dst_lo
    R.ident[free] = ident
    R.born[free] = now
    R.deadline[free] = now + TIMEOUT
    R.total[free] = -1
    R.received[free] = 0
    R.header[free] = 0
    R.ecn[free] = 0
    R.count[free] = 0
    return free


@kernel(I64(RECORD, I64, I64))
def refuse(R, slot, reason):
    """Condemn a datagram: what came is forgotten, what still comes until its timeout is dropped."""
    R.state[slot] = REFUSED
    R.count[slot] = 0
    return drop(R, reason)


@kernel(I64(RECORD, BYTES, I64, BYTES, I64, I64, I64, I64, I64))
def insert(R, arena, slot, buf, at, start, end, more, ecn):
    """Put the payload bytes ``[start, end)``, which stand at ``buf[at]``, in their place.

    Returns ``slot`` when the payload is complete, :data:`HELD_BACK`, or ``-2 - reason``.
    """
    base = slot * FRAGMENTS
    count = R.count[slot]
    position = count
    while position > 0 and R.starts[base + position - 1] >= start:
        position -= 1
    if position < count and R.starts[base + position] == start and R.ends[base + position] == end:
        # The last fragment is the one that ends at the total; a copy that differs in that is a conflict.
        last = 1 if R.total[slot] == end else 0
        if last == more:
            return refuse(R, slot, END_CONFLICT)
        held = slot * REGION + HEADROOM + start
        for i in range(end - start):
            if u8(arena, held + i) != u8(buf, at + i):
                return refuse(R, slot, OVERLAP)
        return drop(R, DUPLICATE)
    if position > 0 and R.ends[base + position - 1] > start:
        return refuse(R, slot, OVERLAP)
    if position < count and R.starts[base + position] < end:
        return refuse(R, slot, OVERLAP)
    total = R.total[slot]
    if total >= 0 and (more == 0 or end > total):
        return refuse(R, slot, END_CONFLICT)
    if more == 0 and count > 0 and R.ends[base + count - 1] > end:
        return refuse(R, slot, END_CONFLICT)
    if count >= FRAGMENTS:
        return refuse(R, slot, TOO_MANY)
    # RFC 3168 section 5.3: not-ECT and any ECT or CE in one datagram do not go together.
    R.ecn[slot] |= 1 << ecn
    if R.ecn[slot] & 1 and R.ecn[slot] != 1:
        return refuse(R, slot, ECN)
    moving = count
    while moving > position:
        R.starts[base + moving] = R.starts[base + moving - 1]
        R.ends[base + moving] = R.ends[base + moving - 1]
        moving -= 1
    R.starts[base + position] = start
    R.ends[base + position] = end
    R.count[slot] = count + 1
    if more == 0:
        R.total[slot] = end
    copy(arena, slot * REGION + HEADROOM + start, buf, at, end - start)
    R.received[slot] += end - start
    # Intervals do not overlap and none lies beyond the end, so a sum that fits means no gap, first fragment included.
    return slot if R.received[slot] == R.total[slot] else HELD_BACK


@kernel(I64(RECORD, BYTES, BYTES, I64, I64, I64))
def reassemble_v4(R, arena, buf, off, length, now):
    """Take one IPv4 fragment of ``length`` bytes (its total length, already checked against the frame) at ``buf[off]``.

    Returns a slot when the datagram is whole (``R.length[slot]`` bytes at ``R.offset[slot]`` of the arena: a packet
    with the first fragment's header, its length, fragment field, ECN and checksum put right), else :data:`HELD_BACK`
    or ``-2 - reason``. Header and header checksum have been verified by the caller.
    """
    R.fragments += 1
    R.problem = -1
    if length < ipv4.HEADER_SIZE:
        return drop(R, MALFORMED)
    header = (ipv4.get_version_ihl(buf, off) & 15) * 4
    field = ipv4.get_fragment(buf, off)
    more = 1 if field & ipv4.FLAG_MF else 0
    start = (field & ipv4.OFFSET_MASK) * 8
    size = length - header
    if header < ipv4.HEADER_SIZE or size < 0 or (more == 0 and start == 0):
        return drop(R, MALFORMED)
    if size == 0:
        return drop(R, EMPTY)
    if more and size & 7:
        return drop(R, UNALIGNED)
    if header + start + size > 65535:
        return drop(R, TOO_LONG)
    ident = (1 << 40) | (ipv4.get_protocol(buf, off) << 32) | ipv4.get_id(buf, off)
    slot = find_slot(R, 0, ipv4.get_src(buf, off), 0, ipv4.get_dst(buf, off), ident, now)
    if R.state[slot] == REFUSED:
        return drop(R, ALREADY_REFUSED)
    result = insert(R, arena, slot, buf, off + header, start, start + size, more, ipv4.get_tos(buf, off) & 3)
    if result < HELD_BACK:
        return result
    if start == 0:
        R.header[slot] = header
        copy(arena, slot * REGION + HEADROOM - header, buf, off, header)
    if result == HELD_BACK:
        return result
    header = R.header[slot]
    if header + R.total[slot] > 65535:
        return refuse(R, slot, TOO_LONG)
    at = slot * REGION + HEADROOM - header
    ipv4.put_total_length(arena, at, header + R.total[slot])
    ipv4.put_fragment(arena, at, ipv4.get_fragment(arena, at) & ~(ipv4.FLAG_MF | ipv4.OFFSET_MASK))
    if R.ecn[slot] & 8:
        ipv4.put_tos(arena, at, ipv4.get_tos(arena, at) | 3)
    ipv4.put_checksum(arena, at, 0)
    ipv4.put_checksum(arena, at, ones_complement_sum(arena, at, header) ^ 0xFFFF)
    R.offset[slot] = at
    R.length[slot] = header + R.total[slot]
    R.state[slot] = WHOLE
    R.reassembled += 1
    return slot


@kernel(I64(BYTES, I64, I64, I64))
def chain_complete(buf, at, end, kind):
    """Whether the header chain that starts at ``at`` with header ``kind`` ends inside ``[at, end)`` (RFC 7112).

    1 when the upper-layer header is there too; 0 when it is cut off or another fragment header lies in it.
    """
    for _ in range(8):
        if kind == ipv6.HOP_BY_HOP or kind == ipv6.ROUTING or kind == ipv6.DESTINATION:
            if at + 8 > end:
                return 0
            kind, at = u8(buf, at), at + 8 + 8 * u8(buf, at + 1)
            continue
        if kind == ipv6.FRAGMENT:
            return 0
        need = 0
        if kind == ipv4.TCP:
            need = 20
        elif kind == ipv4.UDP or kind == ipv4.ICMPV6:
            need = 8
        return 1 if at + need <= end else 0
    return 0


@kernel(I64(RECORD, BYTES, BYTES, I64, I64, I64))
def reassemble_v6(R, arena, buf, off, length, now):
    """Take one IPv6 packet with a fragment header: ``length`` bytes (40 + payload length, checked) at ``buf[off]``.

    As :func:`reassemble_v4`; the whole packet stands without fragment header, next header and payload length
    put right. An *atomic* fragment (offset 0, no more) is handed over at once in slot :data:`ATOMIC`. After a drop
    ``R.problem`` is -1 or the code and pointer of the parameter problem RFC 8200 asks for (``code << 16 | pointer``).
    """
    R.fragments += 1
    R.problem = -1
    if length < ipv6.HEADER_SIZE + 8:
        return drop(R, MALFORMED)
    patch = 6  # where the number of the header at hand stands
    kind = ipv6.get_next_header(buf, off)
    header = ipv6.HEADER_SIZE
    while kind == ipv6.HOP_BY_HOP or kind == ipv6.ROUTING or kind == ipv6.DESTINATION:
        if header + 16 > length:
            return drop(R, MALFORMED)
        patch = header
        kind = u8(buf, off + header)
        header += 8 + 8 * u8(buf, off + header + 1)
    if kind != ipv6.FRAGMENT or header + 8 > length:
        return drop(R, MALFORMED)
    if header + 8 > REASSEMBLY_HEADER:
        return drop(R, HEADER_LONG)
    fragment = off + header
    field = get_fragment_offset(buf, fragment)
    more = field & 1
    start = field & 0xFFF8
    at = header + 8
    size = length - at
    if size == 0:
        return drop(R, EMPTY)
    if more and size & 7:
        R.problem = 4  # code 0, pointer at the payload length
        return drop(R, UNALIGNED)
    if header - ipv6.HEADER_SIZE + start + size > 65535:
        R.problem = header + 2  # code 0, pointer at the fragment offset
        return drop(R, TOO_LONG)
    if start == 0 and chain_complete(buf, off + at, off + length, u8(buf, fragment)) == 0:
        R.problem = 3 << 16  # RFC 7112: code 3, first fragment has incomplete header chain
        return drop(R, HEADER_CHAIN)
    if start == 0 and more == 0:
        slot = ATOMIC
        base = slot * REGION + HEADROOM - header
        copy(arena, base, buf, off, header)
        copy(arena, slot * REGION + HEADROOM, buf, off + at, size)
        next_header = u8(buf, fragment)
    else:
        ident = get_fragment_ident(buf, fragment)
        src_hi, src_lo = ipv6.get_src_hi(buf, off), ipv6.get_src_lo(buf, off)
        dst_hi, dst_lo = ipv6.get_dst_hi(buf, off), ipv6.get_dst_lo(buf, off)
        slot = find_slot(R, src_hi, src_lo, dst_hi, dst_lo, ident, now)
        if R.state[slot] == REFUSED:
            return drop(R, ALREADY_REFUSED)
        ecn = (ipv6.get_version_class_flow(buf, off) >> 20) & 3
        result = insert(R, arena, slot, buf, off + at, start, start + size, more, ecn)
        if result < HELD_BACK:
            return result
        if start == 0:
            R.header[slot] = header
            R.next_header[slot] = u8(buf, fragment)
            R.patch[slot] = patch
            copy(arena, slot * REGION + HEADROOM - at, buf, off, at)
        if result == HELD_BACK:
            return result
        header, patch, next_header, size = R.header[slot], R.patch[slot], R.next_header[slot], R.total[slot]
        if header - ipv6.HEADER_SIZE + size > 65535:
            R.problem = header + 2
            return refuse(R, slot, TOO_LONG)
        base = slot * REGION + HEADROOM - header
        # Move the header up over the fragment header, by way of the scratch space.
        copy(arena, slot * REGION, arena, base - 8, header)
        copy(arena, base, arena, slot * REGION, header)
        if R.ecn[slot] & 8:
            word = ipv6.get_version_class_flow(arena, base)
            ipv6.put_version_class_flow(arena, base, word | (3 << 20))
        R.state[slot] = WHOLE
    put_u8(arena, base + patch, next_header)
    ipv6.put_payload_length(arena, base, header - ipv6.HEADER_SIZE + size)
    R.offset[slot] = base
    R.length[slot] = header + size
    R.reassembled += 1
    return slot
