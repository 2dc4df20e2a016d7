"""What a card does to frames for the driver: checksum insertion and TCP (or UDP) segmentation, over IPv4 and IPv6.

All of it works in place. A card gathers a frame from guest memory straight into the room it reserved in its ring and
lets these kernels finish it there, so the bytes are copied once. For segmentation the card copies the headers in front
of each piece of payload; :func:`segment_count` says beforehand how many pieces there are, or that it cannot be done,
and :func:`fix_segment` makes a segment of each. A card whose ring is full stops between two segments and goes on with
the next later; nothing here remembers anything.

Offsets are counted from the frame's first byte; only ``frame`` itself is a place in the buffer. They come from
descriptors that a guest wrote: nothing about them is believed.
"""

from __future__ import annotations

from ..compiled.memory import ones_complement_sum, put_u16
from ..compiled.registry import BYTES, I64, VOID, kernel
from ..wire import ethernet, ipv4, ipv6, tcp, udp
from ..wire.checksum import fold
from .limits import SEGMENTS_MOST

IPV6, UDP = 1, 2
"""Bits of ``kind``: IPv6 and not IPv4, UDP and not TCP."""

ONLY_FIRST = tcp.CWR
"""Flags that only the first segment keeps: the window was reduced once (RFC 3168 6.1.2)."""
ONLY_LAST = tcp.FIN | tcp.PSH
"""Flags that only the last segment keeps: they speak of the end of the data."""


@kernel(I64(BYTES, I64, I64, I64, I64, I64, I64))
def put_checksum(buffer, frame, size, start, end, at, is_udp):
    """Store the Internet checksum of the bytes ``start`` to ``end`` (exclusive) of a frame of ``size`` bytes at ``at``.

    What stands at ``at`` is part of the sum: a driver leaves the sum of the pseudo header there. In UDP a checksum of
    zero means none, so its other spelling is stored (RFC 768). Returns 1, or 0 when it does not fit into the frame.
    """
    if start < 0 or start > end or end > size or at < 0 or at + 2 > size:
        return 0
    checksum = ones_complement_sum(buffer, frame + start, end - start) ^ 0xFFFF
    if is_udp and checksum == 0:
        checksum = 0xFFFF
    put_u16(buffer, frame + at, checksum)
    return 1


@kernel(I64(BYTES, I64, I64))
def network_offset(buffer, frame, size):
    """Where the IP header of a frame of at least 14 bytes begins, behind up to two VLAN tags."""
    at = ethernet.HEADER_SIZE
    for _ in range(2):
        kind = ethernet.get_type(buffer, frame + at - ethernet.HEADER_SIZE)
        if kind != ethernet.TYPE_VLAN and kind != ethernet.TYPE_QINQ or at + ethernet.VLAN_TAG_SIZE > size:
            return at
        at += ethernet.VLAN_TAG_SIZE
    return at


@kernel(I64(BYTES, I64, I64))
def checksum_sound(buffer, frame, size):
    """1 when a frame of at least 14 bytes holds an unfragmented TCP or UDP packet whose checksum is right; IPv6
    extension headers are not looked behind, as by most cards."""
    l3 = network_offset(buffer, frame, size)
    kind = ethernet.get_type(buffer, frame + l3 - ethernet.HEADER_SIZE)
    ip = frame + l3
    if kind == ethernet.TYPE_IPV4 and size >= l3 + ipv4.HEADER_SIZE:
        header = 4 * (ipv4.get_version_ihl(buffer, ip) & 15)
        length = ipv4.get_total_length(buffer, ip) - header
        protocol = ipv4.get_protocol(buffer, ip)
        if ipv4.get_version_ihl(buffer, ip) >> 4 != 4 or header < ipv4.HEADER_SIZE:
            return 0
        if ipv4.get_fragment(buffer, ip) & (ipv4.FLAG_MF | ipv4.OFFSET_MASK):
            return 0
    elif kind == ethernet.TYPE_IPV6 and size >= l3 + ipv6.HEADER_SIZE:
        header = ipv6.HEADER_SIZE
        length = ipv6.get_payload_length(buffer, ip)
        protocol = ipv6.get_next_header(buffer, ip)
        if ipv6.get_version_class_flow(buffer, ip) >> 28 != 6:
            return 0
    else:
        return 0
    least = tcp.HEADER_SIZE if protocol == tcp.PROTOCOL else udp.HEADER_SIZE
    if protocol != tcp.PROTOCOL and protocol != udp.PROTOCOL or length < least or l3 + header + length > size:
        return 0
    if protocol == udp.PROTOCOL and udp.get_checksum(buffer, ip + header) == 0:
        return 0
    if kind == ethernet.TYPE_IPV4:
        total = ones_complement_sum(buffer, ip + 12, 8)
    else:
        total = ones_complement_sum(buffer, ip + 8, 32)
    total += protocol + length + ones_complement_sum(buffer, ip + header, length)
    return 1 if fold(total) == 0xFFFF else 0


@kernel(I64(I64, I64, I64, I64, I64, I64, I64))
def segment_count(size, l3, l4, header, mss, kind, most):
    """Into how many frames a packet of ``size`` bytes goes with ``mss`` bytes of payload in each; 0: it cannot be done.

    ``l3`` and ``l4`` are where the IP and the transport header begin, ``header`` the length of all headers, ``most``
    the largest frame that a card sends. A packet without payload is one frame.
    """
    least_l3 = ipv6.HEADER_SIZE if kind & IPV6 else ipv4.HEADER_SIZE
    least_l4 = udp.HEADER_SIZE if kind & UDP else tcp.HEADER_SIZE
    if mss <= 0 or l3 < 0 or l4 < l3 + least_l3 or header < l4 + least_l4 or header > size:
        return 0
    payload = size - header
    if header + min(payload, mss) > most:
        return 0
    number = max(1, (payload + mss - 1) // mss)
    return number if number <= SEGMENTS_MOST else 0


@kernel(VOID(BYTES, I64, I64, I64, I64, I64, I64, I64, I64))
def fix_segment(buffer, frame, size, l3, l4, kind, index, number, mss):
    """Make the ``index``-th of ``number`` segments of the ``size`` bytes at ``frame``: the packet's headers, and the
    segment's payload behind them. :func:`segment_count` has said yes.

    The transport checksum is made from the addresses in the IP header; what the driver left in its place is nothing.
    """
    ip = frame + l3
    transport = frame + l4
    length = size - l4
    if kind & IPV6:
        ipv6.put_payload_length(buffer, ip, size - l3 - ipv6.HEADER_SIZE)
        total = ones_complement_sum(buffer, ip + 8, 32)
    else:
        ipv4.put_total_length(buffer, ip, size - l3)
        ipv4.put_id(buffer, ip, ipv4.get_id(buffer, ip) + index & 0xFFFF)
        ipv4.put_checksum(buffer, ip, 0)
        ipv4.put_checksum(buffer, ip, ones_complement_sum(buffer, ip, l4 - l3) ^ 0xFFFF)
        total = ones_complement_sum(buffer, ip + 12, 8)
    if kind & UDP:
        udp.put_length(buffer, transport, length)
        udp.put_checksum(buffer, transport, 0)
        total += udp.PROTOCOL + length
    else:
        flags = tcp.get_flags(buffer, transport)
        if index > 0:
            flags &= ~ONLY_FIRST
        if index < number - 1:
            flags &= ~ONLY_LAST
        tcp.put_flags(buffer, transport, flags)
        tcp.put_seq(buffer, transport, tcp.get_seq(buffer, transport) + index * mss & 0xFFFFFFFF)
        tcp.put_checksum(buffer, transport, 0)
        total += tcp.PROTOCOL + length
    checksum = fold(total + ones_complement_sum(buffer, transport, length)) ^ 0xFFFF
    if kind & UDP:
        udp.put_checksum(buffer, transport, checksum if checksum else 0xFFFF)
    else:
        tcp.put_checksum(buffer, transport, checksum)
