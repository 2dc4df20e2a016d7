"""Where link layer and network part: Ethernet headers off what the guest sends, and on what it gets.

A guest's frame is one of three things. An IP packet for somewhere else loses its header and goes into the ring of
packets, without the padding of short frames. What a neighbour answers (ARP, neighbour discovery, DHCP) goes whole into
another ring. The rest is dropped and counted as an Ethernet station would: not for us, tagged for another network, of
no type that is spoken here.

What goes the other way needs the guest's hardware address. It is learnt from the frames the guest sends, so that one
with a static address is served at once; a packet for an address that never spoke is left to the caller.
"""

from __future__ import annotations

from ..compiled.memory import copy, i64_native, i64_native_field, put_i64_native, put_i64_native_field, u8
from ..compiled.registry import BYTES, I64, entry, kernel
from ..rings.frame_ring import (
    cause,
    commit,
    count,
    descriptor,
    find_room,
    flags,
    flow,
    frame_id,
    frame_len,
    frame_off,
    release,
    t_ns,
)
from ..wire import ethernet, icmpv6, ipv4, ipv6, udp
from ..wire.ndp import REDIRECT

NEIGHBOURS = 16
"""Addresses that are remembered with their hardware address; the oldest goes first."""
ROW = 32
TABLE = 128
STATE_SIZE = TABLE + NEIGHBOURS * ROW
V4_MAPPED = 0xFFFF << 32
DHCP_SERVER_PORT = 67

get_mac_hi, get_mac_lo = i64_native_field(0), i64_native_field(8)
get_learnt, put_learnt = i64_native_field(16), put_i64_native_field(16)
row_hi, put_row_hi = i64_native_field(0), put_i64_native_field(0)
row_lo, put_row_lo = i64_native_field(8), put_i64_native_field(8)
row_mac_hi, put_row_mac_hi = i64_native_field(16), put_i64_native_field(16)
row_mac_lo, put_row_mac_lo = i64_native_field(24), put_i64_native_field(24)

PACKETS_UP, PACKETS_DOWN, SHORT, NOT_FOR_US, VLAN, TYPE, NO_IP, FRAMES_UP, BYTES_UP = range(24, 96, 8)
COUNTERS = {
    "packets_up": PACKETS_UP,
    "packets_down": PACKETS_DOWN,
    "ethernet-short": SHORT,
    "not-for-us": NOT_FOR_US,
    "vlan": VLAN,
    "ethernet-type": TYPE,
    "no-ip": NO_IP,
    "frames_up": FRAMES_UP,
    "bytes_up": BYTES_UP,
}
"""What is counted, and at which cell: packets each way, drops by reason, the guest's frames and their bytes."""


@kernel(I64(BYTES, I64, I64))
def _count(state, cell, number):
    put_i64_native(state, cell, i64_native(state, cell) + number)
    return 0


@kernel(I64(BYTES, I64, I64))
def find(state, hi, lo):
    """Offset of an address's row, or -1. IPv4 addresses are mapped ones (``::ffff:a.b.c.d``)."""
    for i in range(min(get_learnt(state, 0), NEIGHBOURS)):
        at = TABLE + i * ROW
        if row_lo(state, at) == lo and row_hi(state, at) == hi:
            return at
    return -1


@kernel(I64(BYTES, I64, I64, I64, I64))
def learn(state, hi, lo, mac_hi, mac_lo):
    """Remember where an address lives; 0 when that cannot be: a group has no such address, nobody none."""
    if mac_hi & 0x0100 or hi == 0 and (lo == 0 or lo == V4_MAPPED):
        return 0
    at = find(state, hi, lo)
    if at < 0:
        learnt = get_learnt(state, 0)
        at = TABLE + (learnt % NEIGHBOURS) * ROW
        put_row_hi(state, at, hi)
        put_row_lo(state, at, lo)
        put_learnt(state, 0, learnt + 1)
    put_row_mac_hi(state, at, mac_hi)
    put_row_mac_lo(state, at, mac_lo)
    return 1


@kernel(I64(BYTES, I64, I64))
def answered_here(frames, at, size):
    """Whether the IP packet at ``at`` is for the neighbour: DHCP, or neighbour discovery."""
    if u8(frames, at) >> 4 == 4:
        header = (ipv4.get_version_ihl(frames, at) & 15) * 4
        if ipv4.get_protocol(frames, at) != ipv4.UDP or ipv4.get_fragment(frames, at) & ipv4.OFFSET_MASK:
            return 0
        return 1 if size >= header + udp.HEADER_SIZE and udp.get_dstport(frames, at + header) == DHCP_SERVER_PORT else 0
    if ipv6.get_next_header(frames, at) != ipv4.ICMPV6 or size <= ipv6.HEADER_SIZE:
        return 0
    kind = u8(frames, at + ipv6.HEADER_SIZE)
    return 1 if icmpv6.ROUTER_SOLICIT <= kind <= REDIRECT else 0


@kernel(I64(BYTES, I64, I64))
def packet_size(frames, at, size):
    """Bytes of the IP packet at ``at`` that ``size`` bytes hold, padding left out; 0 when there is none."""
    if size < 1:
        return 0
    version = u8(frames, at) >> 4
    if version == 4 and size >= ipv4.HEADER_SIZE:
        said = ipv4.get_total_length(frames, at)
        return size if said < ipv4.HEADER_SIZE else min(size, said)
    if version == 6 and size >= ipv6.HEADER_SIZE:
        return min(size, ipv6.HEADER_SIZE + ipv6.get_payload_length(frames, at))
    return 0


@kernel(I64(BYTES, I64, I64, BYTES))
def sort(frames, at, size, state):
    """What becomes of the frame at ``at``: bytes of its header when it holds a packet for somewhere else, 0 when it is
    answered here, the negative cell of a counter when it is dropped."""
    head = ethernet.HEADER_SIZE
    if size < head:
        return -SHORT
    if ethernet.get_dst_hi(frames, at) & 0x0100 == 0:
        ours = ethernet.get_dst_hi(frames, at) == get_mac_hi(state, 0)
        if not ours or ethernet.get_dst_lo(frames, at) != get_mac_lo(state, 0):
            return -NOT_FOR_US
    kind = ethernet.get_type(frames, at)
    if kind == ethernet.TYPE_VLAN:
        # A priority tag belongs to the untagged network, any other to one we are not on.
        if size < head + ethernet.VLAN_TAG_SIZE or ethernet.get_vlan_tci(frames, at) & 0x0FFF != 0:
            return -VLAN
        kind = ethernet.get_vlan_type(frames, at)
        head += ethernet.VLAN_TAG_SIZE
    if kind == ethernet.TYPE_ARP:
        return 0
    if kind != ethernet.TYPE_IPV4 and kind != ethernet.TYPE_IPV6:
        return -TYPE
    length = packet_size(frames, at + head, size - head)
    if length == 0:
        return -NO_IP
    return 0 if answered_here(frames, at + head, length) else head


@entry
@kernel(I64(BYTES, BYTES, BYTES, BYTES, I64))
def strip(frames, packets, rest, state, most):
    """Part up to ``most`` of the guest's frames into IP packets and what is answered here.

    Returns how many were taken; stops when the ring that the next one needs is full.
    """
    taken = 0
    available = min(count(frames), most)
    while taken < available:
        d = descriptor(frames, taken)
        at, size = frame_off(frames, d), frame_len(frames, d)
        head = sort(frames, at, size, state)
        if head < 0:
            _count(state, -head, 1)
        else:
            target = rest if head == 0 else packets
            length = size if head == 0 else packet_size(frames, at + head, size - head)
            to = find_room(target, length)
            if to < 0:
                break
            copy(target, to, frames, at + head, length)
            commit(
                target, to, length, t_ns(frames, d), frame_id(frames, d), flow(frames, d), cause(frames, d),
                flags(frames, d),
            )  # fmt: skip
        if head > 0:
            mac_hi, mac_lo = ethernet.get_src_hi(frames, at), ethernet.get_src_lo(frames, at)
            if u8(frames, at + head) >> 4 == 4:
                learn(state, 0, V4_MAPPED | ipv4.get_src(frames, at + head), mac_hi, mac_lo)
            else:
                learn(state, ipv6.get_src_hi(frames, at + head), ipv6.get_src_lo(frames, at + head), mac_hi, mac_lo)
            _count(state, PACKETS_UP, 1)
        _count(state, FRAMES_UP, 1)
        _count(state, BYTES_UP, size)
        taken += 1
    release(frames, taken)
    return taken


WAIT, STRANGER = 1 << 32, 2 << 32
"""Beside the number that :func:`wrap` took: it stopped for want of room, or at a packet for an address that never
spoke."""


@entry
@kernel(I64(BYTES, BYTES, BYTES, I64))
def wrap(packets, frames, state, most):
    """Up to ``most`` IP packets to frames for the guest; returns how many were taken, and why it stopped."""
    taken = 0
    why = 0
    available = min(count(packets), most)
    while taken < available:
        d = descriptor(packets, taken)
        at, size = frame_off(packets, d), frame_len(packets, d)
        if packet_size(packets, at, size) == 0:
            _count(state, NO_IP, 1)
            taken += 1
            continue
        kind = ethernet.TYPE_IPV4
        mac_hi, mac_lo = 0, 0
        if u8(packets, at) >> 4 == 4:
            dst = ipv4.get_dst(packets, at)
            hi, lo = 0, V4_MAPPED | dst
            if dst == 0xFFFFFFFF:
                mac_hi, mac_lo = 0xFFFF, 0xFFFFFFFF
            elif dst >> 28 == 14:  # RFC 1112 section 6.4
                mac_hi, mac_lo = 0x0100, 0x5E000000 | (dst & 0x7FFFFF)
        else:
            kind = ethernet.TYPE_IPV6
            hi, lo = ipv6.get_dst_hi(packets, at), ipv6.get_dst_lo(packets, at)
            if (hi >> 56) & 0xFF == 0xFF:  # RFC 2464 section 7
                mac_hi, mac_lo = 0x3333, lo & 0xFFFFFFFF
        if mac_hi == 0 and mac_lo == 0:
            row = find(state, hi, lo)
            if row < 0:
                why = STRANGER
                break
            mac_hi, mac_lo = row_mac_hi(state, row), row_mac_lo(state, row)
        to = find_room(frames, size + ethernet.HEADER_SIZE)
        if to < 0:
            why = WAIT
            break
        ethernet.put_dst_hi(frames, to, mac_hi)
        ethernet.put_dst_lo(frames, to, mac_lo)
        ethernet.put_src_hi(frames, to, get_mac_hi(state, 0))
        ethernet.put_src_lo(frames, to, get_mac_lo(state, 0))
        ethernet.put_type(frames, to, kind)
        copy(frames, to + ethernet.HEADER_SIZE, packets, at, size)
        commit(
            frames, to, size + ethernet.HEADER_SIZE, t_ns(packets, d), frame_id(packets, d), flow(packets, d),
            cause(packets, d), flags(packets, d),
        )  # fmt: skip
        _count(state, PACKETS_DOWN, 1)
        taken += 1
    release(packets, taken)
    return taken + why


@entry
@kernel(I64(BYTES, I64, I64, I64, I64))
def note(state, hi, lo, mac_hi, mac_lo):
    """:func:`learn`, for what Python heard."""
    return learn(state, hi, lo, mac_hi, mac_lo)
