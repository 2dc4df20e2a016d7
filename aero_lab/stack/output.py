"""Building frames in place, in the transmit ring: link header, IP header, checksums.

Every sender asks :func:`room_for` first and gets an offset in the ring or -1; it writes headers and payload there and
publishes with :func:`finish`. Nothing is built twice and nothing is copied on the way out.
"""

from ..compiled.memory import copy, ones_complement_sum, put_u8, put_u16, put_u32
from ..compiled.registry import BYTES, I64, kernel
from ..rings.frame_ring import (
    HEAD_BYTES,
    arena_size,
    commit,
    count,
    get_tail_bytes,
    has_room,
    load_acquire,
    reserve,
    slots,
)
from ..wire import ethernet, ipv4, ipv6
from .drops import Count, Drop
from .world import W_T, drop, random32

HEADROOM_SHIFT = 5
"""Connections leave a ring's size shifted right by this to others; nothing in a ring of less than 32 frames."""


@kernel(I64(W_T, BYTES, I64))
def room_for(W, tx, size):
    """Offset for a frame of ``size`` bytes counted from the link header, or -1. On a bare IP medium the link header is
    left out."""
    if W.ethernet == 0:
        size -= 14
    return reserve(tx, size)


@kernel(I64(BYTES, I64))
def leaves_headroom(tx, size):
    """1 when the ring takes a frame of ``size`` bytes of a connection and still has room for what cannot wait, else 0.

    A connection without room waits and loses nothing. An ARP or ND answer, an ICMP message, a datagram, a reset is
    lost, so a thirty-second of the ring is theirs: downloads that keep it full must not silence name service.
    """
    waiting = count(tx)
    if waiting == 0:
        return has_room(tx, size)
    if waiting + (slots(tx, 0) >> HEADROOM_SHIFT) >= slots(tx, 0):
        return 0
    used = get_tail_bytes(tx, 0) - load_acquire(tx, HEAD_BYTES)
    if used + size + (arena_size(tx, 0) >> HEADROOM_SHIFT) > arena_size(tx, 0):
        return 0
    return has_room(tx, size)


@kernel(I64(W_T, BYTES, I64))
def room_for_segment(W, tx, size):
    """As :func:`room_for`, for a segment of a connection."""
    if W.ethernet == 0:
        size -= 14
    return reserve(tx, size) if leaves_headroom(tx, size) else -1


@kernel(I64(W_T, BYTES, I64, I64, I64, I64))
def put_ethernet(W, tx, at, mac_hi, mac_lo, ethertype):
    """Write the link header, if there is one; returns the offset behind it."""
    if W.ethernet == 0:
        return at
    ethernet.put_dst_hi(tx, at, mac_hi)
    ethernet.put_dst_lo(tx, at, mac_lo)
    ethernet.put_src_hi(tx, at, W.mac_hi)
    ethernet.put_src_lo(tx, at, W.mac_lo)
    ethernet.put_type(tx, at, ethertype)
    return at + 14


@kernel(I64(W_T, BYTES, I64, I64, I64, I64, I64, I64, I64, I64, I64, I64))
def put_ip(W, tx, at, src_hi, src_lo, dst_hi, dst_lo, protocol, length, ttl, tos, fragment):
    """Write an IPv4 or IPv6 header for ``length`` bytes of payload; returns the offset behind it.

    ``fragment`` is the IPv4 flags-and-offset word; the family follows from the destination. The identification counts
    up with every IPv4 packet, also where DF makes it meaningless (RFC 6864): fingerprints of some systems show exactly
    that.
    """
    if dst_hi == 0 and (dst_lo >> 32) == 0xFFFF:
        ipv4.put_version_ihl(tx, at, 0x45)
        ipv4.put_tos(tx, at, tos)
        ipv4.put_total_length(tx, at, 20 + length)
        W.ip_id = (W.ip_id + 1) & 0xFFFF
        ipv4.put_id(tx, at, W.ip_id)
        ipv4.put_fragment(tx, at, fragment)
        ipv4.put_ttl(tx, at, ttl)
        ipv4.put_protocol(tx, at, protocol)
        ipv4.put_checksum(tx, at, 0)
        ipv4.put_src(tx, at, src_lo)
        ipv4.put_dst(tx, at, dst_lo)
        ipv4.put_checksum(tx, at, 0xFFFF ^ ones_complement_sum(tx, at, 20))
        return at + 20
    ipv6.put_version_class_flow(tx, at, 0x60000000 | (tos << 20))
    ipv6.put_payload_length(tx, at, length)
    ipv6.put_next_header(tx, at, protocol)
    ipv6.put_hop_limit(tx, at, ttl)
    ipv6.put_src_hi(tx, at, src_hi)
    ipv6.put_src_lo(tx, at, src_lo)
    ipv6.put_dst_hi(tx, at, dst_hi)
    ipv6.put_dst_lo(tx, at, dst_lo)
    return at + 40


@kernel(I64(I64, I64))
def words(hi, lo):
    """Sum of an address's 16-bit words; of the four bytes of an IPv4 address when it is mapped."""
    if hi == 0 and (lo >> 32) == 0xFFFF:
        return ((lo >> 16) & 0xFFFF) + (lo & 0xFFFF)
    total = ((hi >> 48) & 0xFFFF) + ((hi >> 32) & 0xFFFF) + ((hi >> 16) & 0xFFFF) + (hi & 0xFFFF)
    return total + ((lo >> 48) & 0xFFFF) + ((lo >> 32) & 0xFFFF) + ((lo >> 16) & 0xFFFF) + (lo & 0xFFFF)


@kernel(I64(BYTES, I64, I64, I64, I64, I64, I64, I64))
def transport_sum(buffer, at, length, src_hi, src_lo, dst_hi, dst_lo, protocol):
    """One's-complement sum over pseudo header and transport bytes: 0xFFFF when the checksum in them is right."""
    total = words(src_hi, src_lo) + words(dst_hi, dst_lo) + protocol + length
    total += ones_complement_sum(buffer, at, length)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return total


@kernel(I64(BYTES, I64, I64, I64, I64, I64, I64, I64))
def transport_checksum(buffer, at, length, src_hi, src_lo, dst_hi, dst_lo, protocol):
    """Checksum to put into a transport header whose checksum field is zero (RFC 9293 section 3.1, RFC 8200 section
    8.1)."""
    return 0xFFFF ^ transport_sum(buffer, at, length, src_hi, src_lo, dst_hi, dst_lo, protocol)


@kernel(I64(W_T, BYTES, I64, I64, I64, I64, I64))
def finish(W, tx, at, size, flow, cause, now):
    """Publish the frame of ``size`` bytes (counted with a link header) built at ``at``; gives 1."""
    if W.ethernet == 0:
        size -= 14
    W.frame_seq = W.frame_seq + 2
    commit(tx, at, size, now, W.frame_seq, flow, cause, 0)
    W.counts[Count.FRAMES_OUT] = W.counts[Count.FRAMES_OUT] + 1
    W.counts[Count.BYTES_OUT] = W.counts[Count.BYTES_OUT] + size
    return 1


@kernel(I64(W_T, BYTES, BYTES, I64, I64, I64, I64, I64, I64, I64, I64, I64, I64, I64, I64))
def send_packet(W, tx, buf, at, size, protocol, src_hi, src_lo, dst_hi, dst_lo, mac_hi, mac_lo, ttl, cause, now):
    """Send ``size`` bytes of ``buf``, a whole transport message, in one packet or in as many fragments as the MTU asks
    for.

    1, or 0 when the ring is full; fragments already out then are lost work, as on any link.
    """
    family4 = dst_hi == 0 and (dst_lo >> 32) == 0xFFFF
    ip_size = 20 if family4 else 40
    ethertype = ethernet.TYPE_IPV4 if family4 else ethernet.TYPE_IPV6
    if ip_size + size <= W.mtu:
        start = room_for(W, tx, 14 + ip_size + size)
        if start < 0:
            return drop(W, Drop.TX_FULL)
        here = put_ethernet(W, tx, start, mac_hi, mac_lo, ethertype)
        body = put_ip(W, tx, here, src_hi, src_lo, dst_hi, dst_lo, protocol, size, ttl, 0, 0)
        copy(tx, body, buf, at, size)
        return finish(W, tx, start, 14 + ip_size + size, -1, cause, now)
    extra = 0 if family4 else 8
    most = (W.mtu - ip_size - extra) & ~7
    identity = W.ip_id
    token = random32(W)
    skip = 0
    while skip < size:
        length = min(most, size - skip)
        more = 1 if skip + length < size else 0
        start = room_for(W, tx, 14 + ip_size + extra + length)
        if start < 0:
            return drop(W, Drop.TX_FULL)
        here = put_ethernet(W, tx, start, mac_hi, mac_lo, ethertype)
        if family4:
            W.ip_id = identity  # put_ip counts it up: every fragment gets the same number
            fragment = (more << 13) | (skip >> 3)
            body = put_ip(W, tx, here, src_hi, src_lo, dst_hi, dst_lo, protocol, length, ttl, 0, fragment)
        else:
            body = put_ip(W, tx, here, src_hi, src_lo, dst_hi, dst_lo, ipv6.FRAGMENT, 8 + length, ttl, 0, 0)
            put_u8(tx, body, protocol)
            put_u8(tx, body + 1, 0)
            put_u16(tx, body + 2, skip | more)
            put_u32(tx, body + 4, token)
            body += 8
        copy(tx, body, buf, at + skip, length)
        finish(W, tx, start, 14 + ip_size + extra + length, -1, cause, now)
        skip += length
    return 1
