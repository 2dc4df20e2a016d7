"""Where the headers of a frame end: what a recorder keeps of it when it is told to keep headers only.

Kept are the Ethernet header with its tags, ARP whole, IP headers with their options and extensions, and then of TCP the
header with its options, of UDP the header (of DNS also its twelve bytes of identifier, flags and counts, not the
names), of ICMP the first 8 bytes, of neighbour discovery also the target address. Of anything else, nothing: DHCP
messages, packets quoted in ICMP errors, later fragments, other protocols.
"""

from __future__ import annotations

from ..compiled.memory import u8, u16
from ..compiled.registry import I64, READ_ONLY, entry, kernel
from ..wire import arp, ethernet, icmpv6, ipv4, ipv6, tcp, udp
from .columns import MAX_EXTENSION_HEADERS, PORT_DNS, PORT_LLMNR, PORT_MDNS
from .schema import RAW_IP

ICMP_KEPT, DNS_KEPT, DISCOVERY_KEPT = 8, 12, 24


@kernel(I64(READ_ONLY, I64, I64, I64))
def _transport_end(data, at, end, proto):
    """Where the transport header at ``at`` ends, of a frame that ends at ``end``."""
    if proto == ipv4.TCP:
        size = tcp.HEADER_SIZE
        if at + size <= end:
            size = max(size, (tcp.get_data_offset(data, at) >> 4) * 4)
        return at + size
    if proto == ipv4.UDP:
        if at + udp.HEADER_SIZE <= end:
            src, dst = udp.get_srcport(data, at), udp.get_dstport(data, at)
            if src == PORT_DNS or dst == PORT_DNS or src == PORT_MDNS or dst == PORT_MDNS:
                return at + udp.HEADER_SIZE + DNS_KEPT
            if src == PORT_LLMNR or dst == PORT_LLMNR:
                return at + udp.HEADER_SIZE + DNS_KEPT
        return at + udp.HEADER_SIZE
    if proto == ipv4.ICMPV6 and at < end and icmpv6.ROUTER_SOLICIT <= u8(data, at) <= icmpv6.NEIGHBOUR_ADVERT:
        return at + DISCOVERY_KEPT
    if proto == ipv4.ICMP or proto == ipv4.ICMPV6:
        return at + ICMP_KEPT
    return at


@entry
@kernel(I64(READ_ONLY, I64, I64, I64))
def headers_size(data, start, size, link):
    """How many of the ``size`` bytes of the frame at ``start`` are headers. ``link`` is what it begins with:
    :data:`.schema.ETHERNET` or :data:`.schema.RAW_IP`."""
    end = start + size
    if link == RAW_IP:
        at = start
        if size < 1:
            return size
        kind = ethernet.TYPE_IPV6 if u8(data, at) >> 4 == 6 else ethernet.TYPE_IPV4
    else:
        at = start + ethernet.HEADER_SIZE
        if at > end:
            return size
        kind = u16(data, at - 2)
        for _ in range(2):
            if (kind == ethernet.TYPE_VLAN or kind == ethernet.TYPE_QINQ) and at + ethernet.VLAN_TAG_SIZE <= end:
                kind = u16(data, at + 2)
                at += ethernet.VLAN_TAG_SIZE
    if kind == ethernet.TYPE_ARP:
        at += arp.SIZE
    elif kind == ethernet.TYPE_IPV4 and at + ipv4.HEADER_SIZE <= end:
        offset, proto = ipv4.get_fragment(data, at) & ipv4.OFFSET_MASK, ipv4.get_protocol(data, at)
        at += max(ipv4.HEADER_SIZE, (ipv4.get_version_ihl(data, at) & 15) * 4)
        if offset == 0:
            at = _transport_end(data, at, end, proto)
    elif kind == ethernet.TYPE_IPV6 and at + ipv6.HEADER_SIZE <= end:
        proto = ipv6.get_next_header(data, at)
        at += ipv6.HEADER_SIZE
        offset = 0
        for _ in range(MAX_EXTENSION_HEADERS):
            if at + 8 > end or offset:
                break
            if proto == ipv6.FRAGMENT:
                offset = u16(data, at + 2) >> 3
                proto = u8(data, at)
                at += 8
            elif proto == ipv6.HOP_BY_HOP or proto == ipv6.ROUTING or proto == ipv6.DESTINATION:
                proto = u8(data, at)
                at += 8 * (1 + u8(data, at + 1))
            else:
                break
        if offset == 0 and at <= end:
            at = _transport_end(data, at, end, proto)
    elif kind == ethernet.TYPE_IPV4 or kind == ethernet.TYPE_IPV6:
        at = end  # a header that is cut
    return min(size, at - start)
