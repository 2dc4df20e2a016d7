"""The dissector: frame bytes to columns, one pass, compiled.

It reads what a header says only after checking that its bytes were captured, takes lengths from the frame's real length
(a snap length may have cut it) and never beyond it, and leaves a column empty when its bytes are missing or contradict
themselves; nothing raises. What the values mean stands in :mod:`.schema`; they agree with ``tshark -T fields``, first
occurrence, for the frame's own headers (tshark also reports the headers quoted inside ICMP errors, this does not).
"""

from __future__ import annotations

from ..compiled.memory import u8, u16, u32
from ..compiled.registry import BYTES, I64, READ_ONLY, entry, kernel
from ..wire import arp, ethernet, icmp, icmpv6, ipv4, ipv6, tcp, udp
from . import schema as s
from .access import load_field, put_u8, put_u16le, put_u32le, put_u64le, u32le
from .tables import has_space, intern

MAC, FLOW, IPV4, IPV6 = 4, 8, 12, 13
"""Tags of keys in the table of names: MAC addresses, conversations, IP addresses of both versions."""
NAMES_A_FRAME = 5
MAX_EXTENSION_HEADERS = 8
MAX_DHCP_OPTIONS = 64
LOOPBACK_HEADER, SLL_HEADER, SLL2_HEADER = 4, 16, 20
AF_INET, AF_INET6_LINUX, AF_INET6_BSD, AF_INET6_FREEBSD, AF_INET6_DARWIN = 2, 10, 24, 28, 30
"""Address families in BSD loopback headers: IPv6 has a number of its own in each system."""
DHCP_OPTIONS, DHCP_COOKIE, DHCP_MESSAGE_TYPE = 240, 0x63825363, 53
PORT_DNS, PORT_DHCP_SERVER, PORT_DHCP_CLIENT, PORT_MDNS, PORT_LLMNR = 53, 67, 68, 5353, 5355

index_t_ns, index_off, index_frame_id = load_field(0, 8), load_field(8, 8), load_field(24, 8)
index_cap_len, index_frame_len, index_message_len = load_field(16, 4), load_field(20, 4), load_field(32, 4)

A_TIME, A_ID, A_HAS = s.AT["frame_time"], s.AT["frame_id"], s.AT["has"]
A_LEN, A_CAP, A_MESSAGE, A_IP_LEN = s.AT["frame_len"], s.AT["cap_len"], s.AT["message_len"], s.AT["ip_len"]
A_SEQ, A_ACK, A_SACK_LE, A_SACK_RE = s.AT["tcp_seq"], s.AT["tcp_ack"], s.AT["sack_le"], s.AT["sack_re"]
A_TSVAL, A_TSECR = s.AT["tsval"], s.AT["tsecr"]
A_ETH_SRC, A_ETH_DST, A_IP_SRC, A_IP_DST = s.AT["eth_src"], s.AT["eth_dst"], s.AT["ip_src"], s.AT["ip_dst"]
A_ARP_SRC, A_ARP_DST, A_FLOW = s.AT["arp_src"], s.AT["arp_dst"], s.AT["flow_id"]
A_TYPE, A_VLAN, A_IP_ID, A_FRAG = s.AT["eth_type"], s.AT["vlan_id"], s.AT["ip_id"], s.AT["ip_frag"]
A_SRCPORT, A_DSTPORT, A_FLAGS, A_WINDOW = s.AT["srcport"], s.AT["dstport"], s.AT["tcp_flags"], s.AT["tcp_window_size"]
A_TCP_LEN, A_MSS, A_UDP_LEN, A_IDENT = s.AT["tcp_len"], s.AT["mss"], s.AT["udp_length"], s.AT["icmp_ident"]
A_ECHO_SEQ, A_OPCODE, A_DNS_ID = s.AT["icmp_seq"], s.AT["arp_opcode"], s.AT["dns_id"]
A_POINT, A_DIRECTION, A_KIND, A_SIDE = s.AT["point"], s.AT["direction"], s.AT["kind"], s.AT["side"]
A_GROUP, A_VERSION, A_PROTO, A_TTL = s.AT["group"], s.AT["ip_version"], s.AT["ip_proto"], s.AT["ip_ttl"]
A_DSFIELD, A_IP_FLAGS, A_HDR_LEN, A_WSCALE = s.AT["ip_dsfield"], s.AT["ip_flags"], s.AT["tcp_hdr_len"], s.AT["wscale"]
A_SACK_COUNT, A_ICMP_TYPE, A_ICMP_CODE = s.AT["sack_count"], s.AT["icmp_type"], s.AT["icmp_code"]
A_DHCP, A_DNS_RESPONSE = s.AT["dhcp_type"], s.AT["dns_response"]


@kernel(I64(READ_ONLY, I64, I64, BYTES, I64, I64))
def _tcp_options(data, at, end, out, rows, row):
    """Read TCP options from ``at`` to ``end``, first of each kind; returns the bits of what was found."""
    has = 0
    while at < end:
        kind = u8(data, at)
        if kind == tcp.OPT_END:
            break
        if kind == tcp.OPT_NOP:
            at += 1
            continue
        if at + 2 > end:
            break
        size = u8(data, at + 1)
        if size < 2 or at + size > end:
            break
        if kind == tcp.OPT_MSS and size == 4 and not has & s.HAS_MSS:
            put_u16le(out, rows * A_MSS + 2 * row, u16(data, at + 2))
            has |= s.HAS_MSS
        elif kind == tcp.OPT_WSCALE and size == 3 and not has & s.HAS_WSCALE:
            put_u8(out, rows * A_WSCALE + row, u8(data, at + 2))
            has |= s.HAS_WSCALE
        elif kind == tcp.OPT_SACK_PERMITTED and size == 2:
            has |= s.HAS_SACK_PERM
        elif kind == tcp.OPT_SACK and size >= 10 and (size - 2) & 7 == 0 and not has & s.HAS_SACK:
            put_u8(out, rows * A_SACK_COUNT + row, (size - 2) >> 3)
            put_u32le(out, rows * A_SACK_LE + 4 * row, u32(data, at + 2))
            put_u32le(out, rows * A_SACK_RE + 4 * row, u32(data, at + 6))
            has |= s.HAS_SACK
        elif kind == tcp.OPT_TIMESTAMPS and size == 10 and not has & s.HAS_TIMESTAMP:
            put_u32le(out, rows * A_TSVAL + 4 * row, u32(data, at + 2))
            put_u32le(out, rows * A_TSECR + 4 * row, u32(data, at + 6))
            has |= s.HAS_TIMESTAMP
        at += size
    return has


@kernel(I64(READ_ONLY, I64, I64))
def _dhcp_type(data, at, end):
    """DHCP message type of the BOOTP message from ``at`` to ``end``, or -1."""
    if at + DHCP_OPTIONS > end or u32(data, at + DHCP_OPTIONS - 4) != DHCP_COOKIE:
        return -1
    at += DHCP_OPTIONS
    for _ in range(MAX_DHCP_OPTIONS):
        if at >= end or u8(data, at) == 255:
            return -1
        if u8(data, at) == 0:
            at += 1
            continue
        if at + 2 > end or at + 2 + u8(data, at + 1) > end:
            return -1
        if u8(data, at) == DHCP_MESSAGE_TYPE and u8(data, at + 1) == 1:
            return u8(data, at + 2)
        at += 2 + u8(data, at + 1)
    return -1


@kernel(I64(BYTES, BYTES, I64, I64, I64, I64, I64, I64, I64))
def _flow(names, out, rows, row, src, srcport, dst, dstport, kind):
    """Number the conversation between two ends and note which end sent; ``kind`` is the guest's number and protocol."""
    if src > dst or (src == dst and srcport > dstport):
        src, dst = dst, src
        srcport, dstport = dstport, srcport
        put_u8(out, rows * A_SIDE + row, 1)
    number = intern(names, (kind << 32) | (srcport << 16) | dstport, (src << 32) | dst, FLOW)
    put_u32le(out, rows * A_FLOW + 4 * row, number)
    return s.HAS_FLOW


@kernel(I64(READ_ONLY, I64, I64, I64, I64, BYTES, I64, I64))
def _transport(data, at, end, captured, proto, out, rows, row):
    """Columns of the transport header at ``at`` of a packet that ends at ``end``; returns what was found."""
    has = 0
    room = min(end, captured) - at
    if proto == ipv4.TCP or proto == ipv4.UDP:
        if room < 4:
            return 0
        put_u16le(out, rows * A_SRCPORT + 2 * row, u16(data, at))
        put_u16le(out, rows * A_DSTPORT + 2 * row, u16(data, at + 2))
        has |= s.HAS_PORTS
    if proto == ipv4.TCP:
        if room < tcp.HEADER_SIZE:
            return has
        size = (tcp.get_data_offset(data, at) >> 4) * 4
        if size < tcp.HEADER_SIZE or at + size > end:
            return has
        put_u32le(out, rows * A_SEQ + 4 * row, tcp.get_seq(data, at))
        put_u32le(out, rows * A_ACK + 4 * row, tcp.get_ack(data, at))
        flags = ((tcp.get_data_offset(data, at) & 0x0F) << 8) | tcp.get_flags(data, at)
        put_u16le(out, rows * A_FLAGS + 2 * row, flags)
        put_u16le(out, rows * A_WINDOW + 2 * row, tcp.get_window(data, at))
        put_u8(out, rows * A_HDR_LEN + row, size)
        put_u16le(out, rows * A_TCP_LEN + 2 * row, end - at - size)
        has |= s.HAS_TCP
        if size > tcp.HEADER_SIZE:
            has |= _tcp_options(data, at + tcp.HEADER_SIZE, min(at + size, captured), out, rows, row)
    elif proto == ipv4.UDP:
        if room < udp.HEADER_SIZE:
            return has
        srcport, dstport = udp.get_srcport(data, at), udp.get_dstport(data, at)
        put_u16le(out, rows * A_UDP_LEN + 2 * row, udp.get_length(data, at))
        has |= s.HAS_UDP
        if udp.get_length(data, at) < udp.HEADER_SIZE or at + udp.get_length(data, at) > end:
            return has
        stop = min(at + udp.get_length(data, at), captured)
        at += udp.HEADER_SIZE
        low, high = min(srcport, dstport), max(srcport, dstport)
        if (
            low == PORT_DNS
            or high == PORT_DNS
            or low == PORT_MDNS
            or high == PORT_MDNS
            or high == PORT_LLMNR
            or low == PORT_LLMNR
        ):
            if at + 12 <= stop:
                put_u16le(out, rows * A_DNS_ID + 2 * row, u16(data, at))
                put_u8(out, rows * A_DNS_RESPONSE + row, u8(data, at + 2) >> 7)
                has |= s.HAS_DNS
        elif low == PORT_DHCP_SERVER or high == PORT_DHCP_CLIENT:
            kind = _dhcp_type(data, at, stop)
            if kind >= 0:
                put_u8(out, rows * A_DHCP + row, kind)
                has |= s.HAS_DHCP
    elif proto == ipv4.ICMP or proto == ipv4.ICMPV6:
        if room < icmp.HEADER_SIZE:
            return 0
        kind = icmp.get_type(data, at)
        put_u8(out, rows * A_ICMP_TYPE + row, kind)
        put_u8(out, rows * A_ICMP_CODE + row, icmp.get_code(data, at))
        has |= s.HAS_ICMP
        if proto == ipv4.ICMP:
            echo = kind == icmp.ECHO_REQUEST or kind == icmp.ECHO_REPLY
        else:
            echo = kind == icmpv6.ECHO_REQUEST or kind == icmpv6.ECHO_REPLY
        if echo:
            put_u16le(out, rows * A_IDENT + 2 * row, u16(data, at + 4))
            put_u16le(out, rows * A_ECHO_SEQ + 2 * row, u16(data, at + 6))
            has |= s.HAS_ECHO
    return has


@kernel(I64(READ_ONLY, I64, I64, I64, BYTES, I64, I64, BYTES, I64))
def _ip(data, at, end, captured, out, rows, row, names, guest):
    """Columns of the IP packet at ``at`` of a frame that ends at ``end``, whose bytes were kept up to ``captured``."""
    version = u8(data, at) >> 4 if at < captured else 0
    proto, offset = 0, 0
    if version == 4:
        if at + ipv4.HEADER_SIZE > captured:
            return 0
        size = (ipv4.get_version_ihl(data, at) & 15) * 4
        total = ipv4.get_total_length(data, at)
        put_u32le(out, rows * A_IP_LEN + 4 * row, total)
        if size < ipv4.HEADER_SIZE or (total < size and total > 0):
            return 0
        if total > 0:  # 0: segmentation was left to the NIC, the frame is the packet
            end = min(end, at + total)
        src = intern(names, 0, ipv4.get_src(data, at), IPV4)
        dst = intern(names, 0, ipv4.get_dst(data, at), IPV4)
        put_u8(out, rows * A_TTL + row, ipv4.get_ttl(data, at))
        put_u8(out, rows * A_DSFIELD + row, ipv4.get_tos(data, at))
        put_u16le(out, rows * A_IP_ID + 2 * row, ipv4.get_id(data, at))
        fragment = ipv4.get_fragment(data, at)
        offset = fragment & ipv4.OFFSET_MASK
        put_u16le(out, rows * A_FRAG + 2 * row, offset)
        put_u8(out, rows * A_IP_FLAGS + row, fragment >> 13)
        proto = ipv4.get_protocol(data, at)
        has = s.HAS_IP | s.HAS_IPV4 | s.HAS_FRAGMENT | s.HAS_PROTO
        at += size
    elif version == 6:
        if at + ipv6.HEADER_SIZE > captured:
            return 0
        total = ipv6.get_payload_length(data, at)
        put_u32le(out, rows * A_IP_LEN + 4 * row, total + ipv6.HEADER_SIZE)
        if total > 0:
            end = min(end, at + ipv6.HEADER_SIZE + total)
        src = intern(names, ipv6.get_src_hi(data, at), ipv6.get_src_lo(data, at), IPV6)
        dst = intern(names, ipv6.get_dst_hi(data, at), ipv6.get_dst_lo(data, at), IPV6)
        put_u8(out, rows * A_TTL + row, ipv6.get_hop_limit(data, at))
        put_u8(out, rows * A_DSFIELD + row, (ipv6.get_version_class_flow(data, at) >> 20) & 0xFF)
        has = s.HAS_IP
        proto = ipv6.get_next_header(data, at)
        at += ipv6.HEADER_SIZE
        for _ in range(MAX_EXTENSION_HEADERS):
            if proto == ipv6.FRAGMENT:
                if at + 8 > min(end, captured):
                    break
                fragment = u16(data, at + 2)
                if not has & s.HAS_FRAGMENT:
                    put_u16le(out, rows * A_FRAG + 2 * row, fragment >> 3)
                    put_u8(out, rows * A_IP_FLAGS + row, fragment & 1)
                offset |= fragment >> 3
                has |= s.HAS_FRAGMENT
                proto = u8(data, at)
                at += 8
                if offset:
                    break
            elif proto == ipv6.HOP_BY_HOP or proto == ipv6.ROUTING or proto == ipv6.DESTINATION:
                if at + 8 > min(end, captured):
                    break
                proto = u8(data, at)
                at += 8 * (1 + u8(data, at + 1))
            else:
                break
        has |= s.HAS_PROTO
    else:
        return 0
    put_u8(out, rows * A_VERSION + row, version)
    put_u8(out, rows * A_PROTO + row, proto)
    put_u32le(out, rows * A_IP_SRC + 4 * row, src)
    put_u32le(out, rows * A_IP_DST + 4 * row, dst)
    if offset:
        return has
    has |= _transport(data, at, end, captured, proto, out, rows, row)
    if has & s.HAS_PORTS:
        has |= _flow(names, out, rows, row, src, u16(data, at), dst, u16(data, at + 2), (guest << 8) | proto)
    elif proto != ipv4.TCP and proto != ipv4.UDP:
        ident = u16(data, at + 4) if has & s.HAS_ECHO else 0
        has |= _flow(names, out, rows, row, src, ident, dst, ident, (guest << 8) | proto)
    return has


@kernel(I64(READ_ONLY, I64, I64, I64, I64, BYTES, I64, I64, BYTES, I64))
def _network(data, kind, at, captured, end, out, rows, row, names, guest):
    """Columns of what follows the link header: ``kind`` is the EtherType of what is at ``at``."""
    has = 0
    for _ in range(2):
        if (kind == ethernet.TYPE_VLAN or kind == ethernet.TYPE_QINQ) and at + ethernet.VLAN_TAG_SIZE <= captured:
            if kind == ethernet.TYPE_VLAN and not has & s.HAS_VLAN:
                put_u16le(out, rows * A_VLAN + 2 * row, u16(data, at) & 0x0FFF)
                has |= s.HAS_VLAN
            kind = u16(data, at + 2)
            at += ethernet.VLAN_TAG_SIZE
    if kind == ethernet.TYPE_IPV4 or kind == ethernet.TYPE_IPV6:
        has |= _ip(data, at, end, captured, out, rows, row, names, guest)
    elif kind == ethernet.TYPE_ARP and at + 8 <= captured:
        put_u16le(out, rows * A_OPCODE + 2 * row, arp.get_op(data, at))
        has |= s.HAS_ARP
        if (
            at + arp.SIZE <= captured
            and arp.get_htype(data, at) == 1
            and arp.get_ptype(data, at) == ethernet.TYPE_IPV4
            and arp.get_lengths(data, at) == 0x0604
        ):
            put_u32le(out, rows * A_ARP_SRC + 4 * row, intern(names, 0, arp.get_spa(data, at), IPV4))
            put_u32le(out, rows * A_ARP_DST + 4 * row, intern(names, 0, arp.get_tpa(data, at), IPV4))
            has |= s.HAS_ARP_IP
    return has


@kernel(I64(READ_ONLY, I64, I64, I64, BYTES, I64, I64, BYTES))
def _frame(data, at, captured, end, out, rows, row, names):
    """Columns of the Ethernet frame at ``at``; returns what was found."""
    if at + ethernet.HEADER_SIZE > captured:
        return 0
    dst_hi = ethernet.get_dst_hi(data, at)
    src = intern(names, 0, (ethernet.get_src_hi(data, at) << 32) | ethernet.get_src_lo(data, at), MAC)
    dst = intern(names, 0, (dst_hi << 32) | ethernet.get_dst_lo(data, at), MAC)
    put_u32le(out, rows * A_ETH_SRC + 4 * row, src)
    put_u32le(out, rows * A_ETH_DST + 4 * row, dst)
    put_u8(out, rows * A_GROUP + row, (dst_hi >> 8) & 1)
    has = s.HAS_ETHERNET
    kind = ethernet.get_type(data, at)
    if kind < 1536:  # 802.3: a length, then LLC
        return has
    put_u16le(out, rows * A_TYPE + 2 * row, kind)
    direction = u8(out, rows * A_DIRECTION + row)
    guest = src + 1 if direction == 0 else dst + 1 if direction == 1 else 0
    at += ethernet.HEADER_SIZE
    return has | s.HAS_TYPE | _network(data, kind, at, captured, end, out, rows, row, names, guest)


@kernel(I64(READ_ONLY, I64, I64, I64, I64, BYTES, I64, I64, BYTES))
def _other_link(data, link, at, captured, end, out, rows, row, names):
    """The same for frames of the other link layers: the network header and what follows; no link addresses."""
    kind, size = 0, 0
    if link == s.RAW_IP:
        kind = ethernet.TYPE_IPV4  # the packet says its version itself
    elif link == s.NULL or link == s.LOOP:
        size = LOOPBACK_HEADER
        if at + size <= captured:
            family = u32(data, at)  # of NULL in the order of the machine that captured
            if link == s.NULL and family > 0xFFFF:
                family = u32le(data, at)
            if family == AF_INET or family == AF_INET6_LINUX or family == AF_INET6_BSD:
                kind = ethernet.TYPE_IPV4
            elif family == AF_INET6_FREEBSD or family == AF_INET6_DARWIN:
                kind = ethernet.TYPE_IPV4
    elif link == s.LINUX_SLL:
        size = SLL_HEADER
        if at + size <= captured:
            kind = u16(data, at + 14)
    elif link == s.LINUX_SLL2:
        size = SLL2_HEADER
        if at + size <= captured:
            kind = u16(data, at)
    return _network(data, kind, at + size, captured, end, out, rows, row, names, 0)


@entry
@kernel(I64(READ_ONLY, READ_ONLY, I64, I64, I64, BYTES, I64, I64, BYTES))
def dissect(data, index, start, step, number, out, rows, row, names):
    """Dissect frames into raw columns.

    Descriptors are at ``start + step * i`` of ``index``, the bytes they point to in ``data``. Frame ``i`` becomes row
    ``row + i`` of ``out``, zeroed and ``rows`` rows long. Returns how many were done: fewer than ``number`` when
    ``names`` must grow first.
    """
    for i in range(number):
        if not has_space(names, NAMES_A_FRAME):
            return i
        d = start + step * i
        off, captured, size = index_off(index, d), index_cap_len(index, d), index_frame_len(index, d)
        to = row + i
        put_u64le(out, rows * A_TIME + 8 * to, index_t_ns(index, d))
        put_u64le(out, rows * A_ID + 8 * to, index_frame_id(index, d))
        put_u32le(out, rows * A_LEN + 4 * to, size)
        put_u32le(out, rows * A_CAP + 4 * to, captured)
        put_u32le(out, rows * A_MESSAGE + 4 * to, index_message_len(index, d))
        put_u8(out, rows * A_POINT + to, u8(index, d + 36))
        put_u8(out, rows * A_DIRECTION + to, u8(index, d + 37))
        put_u8(out, rows * A_KIND + to, u8(index, d + 38))
        link = u8(index, d + 39)
        if link == s.ETHERNET:
            has = _frame(data, off, off + captured, off + size, out, rows, to, names)
        else:
            has = _other_link(data, link, off, off + captured, off + size, out, rows, to, names)
        if index_message_len(index, d) > 0:
            has |= s.HAS_MESSAGE
        if index_frame_id(index, d) != 0:
            has |= s.HAS_ID
        if u8(index, d + 37) < s.UNKNOWN_DIRECTION:
            has |= s.HAS_DIRECTION
        put_u32le(out, rows * A_HAS + 4 * to, has)
    return number
