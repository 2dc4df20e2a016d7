"""From a frame to its transport: Ethernet, ARP, IPv4 and IPv6 on the way in.

A frame is looked at once, in place. Each layer checks its lengths before it reads, counts what it refuses under a
:class:`.drops.Drop` reason, and leaves what the next layer needs in ``W.pkt_*`` and ``W.seg_*``. TCP is dealt with here
and now; UDP datagrams and ICMP messages that are Python's business are copied whole into the *up* ring.
"""

from ..compiled.memory import copy, ones_complement_sum, u8
from ..compiled.registry import BYTES, I64, kernel
from ..rings.frame_ring import commit, reserve
from ..wire import arp, ethernet, icmp, icmpv6, ipv4, ipv6, tcp, udp
from .drops import Count, Drop
from .icmp import error_arrived4, error_arrived6, neighbour_message, send_error, send_icmp
from .neighbours import CAUSE_ARP, learn
from .output import finish, put_ethernet, room_for, transport_sum
from .reassembly import RECORD, reassemble_v4, reassemble_v6
from .reassembly import release as release_datagram
from .tcp_input import tcp_arrived
from .tcp_options import parse_options
from .world import OWN4, OWN6, ROLE_GATEWAY, ROLE_GUEST, SEGS_T, TCBS_T, V4_MAPPED, W_T, count, drop

UP_UDP, UP_ICMP, UP_ARP = 1, 2, 3
"""What a record of the up ring is: its ``flags``. ``flow`` is the offset of the transport header in it."""
MAX_EXTENSIONS = 8
CAUSE_ICMP = 10


@kernel(I64(W_T, BYTES, BYTES, I64, I64, I64, I64, I64))
def hand_up(W, up, buf, at, size, transport, kind, now):
    """Copy a packet for Python."""
    offset = reserve(up, size)
    if offset < 0:
        return drop(W, Drop.UP_FULL)
    copy(up, offset, buf, at, size)
    commit(up, offset, size, now, 0, transport, W.pkt_group, kind)
    return 1


@kernel(I64(W_T, BYTES, BYTES, BYTES, I64, I64, I64))
def arp_arrived(W, tx, up, buf, at, size, now):
    """RFC 826; a reply goes out for own addresses only. A guest's Python sees every ARP packet (RFC 5227 conflicts)."""
    count(W, Count.ARP_IN)
    if size < arp.SIZE:
        return drop(W, Drop.ARP_SHORT)
    if arp.get_htype(buf, at) != 1 or arp.get_ptype(buf, at) != 0x0800 or arp.get_lengths(buf, at) != 0x0604:
        return drop(W, Drop.ARP_FORMAT)
    op = arp.get_op(buf, at)
    if op != arp.REQUEST and op != arp.REPLY:
        return drop(W, Drop.ARP_FORMAT)
    sender, target = arp.get_spa(buf, at), arp.get_tpa(buf, at)
    mac_hi, mac_lo = arp.get_sha_hi(buf, at), arp.get_sha_lo(buf, at)
    own = 0
    ours = 0
    for k in range(OWN4):
        if k < W.own4_n:
            if W.own4[k] == target:
                own = 1
            if W.own4[k] == sender:
                ours = 1
    if sender != 0 and ours == 0:
        learn(W, 0, V4_MAPPED | sender, mac_hi, mac_lo, now)
    if W.role == ROLE_GUEST:
        hand_up(W, up, buf, at, arp.SIZE, 0, UP_ARP, now)
    if op != arp.REQUEST or own == 0:
        return 0
    start = room_for(W, tx, 14 + arp.SIZE)
    if start < 0:
        return drop(W, Drop.TX_FULL)
    body = put_ethernet(W, tx, start, mac_hi, mac_lo, ethernet.TYPE_ARP)
    arp.put_htype(tx, body, 1)
    arp.put_ptype(tx, body, 0x0800)
    arp.put_lengths(tx, body, 0x0604)
    arp.put_op(tx, body, arp.REPLY)
    arp.put_sha_hi(tx, body, W.mac_hi)
    arp.put_sha_lo(tx, body, W.mac_lo)
    arp.put_spa(tx, body, target)
    arp.put_tha_hi(tx, body, mac_hi)
    arp.put_tha_lo(tx, body, mac_lo)
    arp.put_tpa(tx, body, sender)
    count(W, Count.ARP_OUT)
    return finish(W, tx, start, 14 + arp.SIZE, -1, CAUSE_ARP, now)


@kernel(I64(W_T, TCBS_T, SEGS_T, BYTES, BYTES, BYTES, I64))
def tcp_packet(W, tcb, segs, heap, tx, buf, now):
    """Check and parse a TCP segment into ``W.seg_*``."""
    at, size = W.pkt_l4, W.pkt_l4_len
    if size < tcp.HEADER_SIZE:
        return drop(W, Drop.TCP_SHORT)
    header = (tcp.get_data_offset(buf, at) >> 4) * 4
    if header < tcp.HEADER_SIZE or header > size:
        return drop(W, Drop.TCP_DATA_OFFSET)
    if W.pkt_group:
        return drop(W, Drop.TCP_BROADCAST)
    if transport_sum(buf, at, size, W.seg_src_hi, W.seg_src_lo, W.seg_dst_hi, W.seg_dst_lo, 6) != 0xFFFF:
        return drop(W, Drop.TCP_CHECKSUM)
    W.seg_sport = tcp.get_srcport(buf, at)
    W.seg_dport = tcp.get_dstport(buf, at)
    if W.seg_sport == 0 or W.seg_dport == 0:
        return drop(W, Drop.TCP_PORT_ZERO)
    if W.seg_sport == W.seg_dport and W.seg_src_lo == W.seg_dst_lo and W.seg_src_hi == W.seg_dst_hi:
        return drop(W, Drop.TCP_LAND)
    flags = tcp.get_flags(buf, at)
    if flags & (tcp.SYN | tcp.FIN) == tcp.SYN | tcp.FIN or flags & (tcp.SYN | tcp.RST) == tcp.SYN | tcp.RST:
        return drop(W, Drop.TCP_FLAGS)
    reason = parse_options(W, buf, at + 20, at + header)
    if reason != 0:
        return drop(W, reason)
    W.seg_flags = flags
    W.seg_seq = tcp.get_seq(buf, at)
    W.seg_ack = tcp.get_ack(buf, at)
    W.seg_wnd = tcp.get_window(buf, at)
    W.seg_data = at + header
    W.seg_len = size - header
    return tcp_arrived(W, tcb, segs, heap, tx, buf, now)


@kernel(I64(W_T, BYTES, BYTES, I64))
def udp_packet(W, up, buf, now):
    """Check a UDP datagram and hand it up. A zero checksum is "none" in IPv4 and malformed in IPv6 (RFC 8200 section
    8.1)."""
    at, size = W.pkt_l4, W.pkt_l4_len
    if size < udp.HEADER_SIZE:
        return drop(W, Drop.UDP_SHORT)
    length = udp.get_length(buf, at)
    if length < udp.HEADER_SIZE or length > size:
        return drop(W, Drop.UDP_LENGTH)
    checksum = udp.get_checksum(buf, at)
    if checksum == 0:
        if W.seg_family == 6:
            return drop(W, Drop.UDP_CHECKSUM)
    elif transport_sum(buf, at, length, W.seg_src_hi, W.seg_src_lo, W.seg_dst_hi, W.seg_dst_lo, 17) != 0xFFFF:
        return drop(W, Drop.UDP_CHECKSUM)
    count(W, Count.DATAGRAMS_IN)
    return hand_up(W, up, buf, W.pkt_off, at - W.pkt_off + length, at - W.pkt_off, UP_UDP, now)


@kernel(I64(W_T, TCBS_T, SEGS_T, BYTES, BYTES, BYTES, I64))
def icmp4_packet(W, tcb, segs, tx, up, buf, now):
    """ICMP: echo to an own address is answered here, errors about TCP go to the connection, the rest up."""
    at, size = W.pkt_l4, W.pkt_l4_len
    if size < icmp.HEADER_SIZE:
        return drop(W, Drop.ICMP_SHORT)
    if ones_complement_sum(buf, at, size) != 0xFFFF:
        return drop(W, Drop.ICMP_CHECKSUM)
    count(W, Count.ICMP_IN)
    kind = icmp.get_type(buf, at)
    if kind == icmp.ECHO_REQUEST and W.pkt_own:
        if W.pkt_group:
            return drop(W, Drop.ICMP_QUOTE)  # RFC 1122 section 3.2.2.6 allows silence to broadcasts
        return send_icmp(
            W,
            tx,
            buf,
            at + 8,
            size - 8,
            icmp.ECHO_REPLY,
            0,
            icmp.get_rest(buf, at),
            W.seg_dst_hi,
            W.seg_dst_lo,
            W.seg_src_hi,
            W.seg_src_lo,
            CAUSE_ICMP,
            now,
        )
    elif kind == icmp.UNREACHABLE or kind == icmp.TIME_EXCEEDED or kind == icmp.PARAMETER_PROBLEM:
        if error_arrived4(W, tcb, segs, buf) != 0:
            return 0
    return hand_up(W, up, buf, W.pkt_off, W.pkt_len, at - W.pkt_off, UP_ICMP, now)


@kernel(I64(W_T, TCBS_T, SEGS_T, BYTES, BYTES, BYTES, I64))
def icmp6_packet(W, tcb, segs, tx, up, buf, now):
    """ICMPv6 likewise, neighbour discovery included; router messages go up."""
    at, size = W.pkt_l4, W.pkt_l4_len
    if size < icmp.HEADER_SIZE:
        return drop(W, Drop.ICMP_SHORT)
    if transport_sum(buf, at, size, W.seg_src_hi, W.seg_src_lo, W.seg_dst_hi, W.seg_dst_lo, 58) != 0xFFFF:
        return drop(W, Drop.ICMP_CHECKSUM)
    count(W, Count.ICMP_IN)
    kind = icmp.get_type(buf, at)
    if kind == icmpv6.ECHO_REQUEST and W.pkt_own:
        if W.pkt_group:
            return drop(W, Drop.ICMP_QUOTE)
        return send_icmp(
            W,
            tx,
            buf,
            at + 8,
            size - 8,
            icmpv6.ECHO_REPLY,
            0,
            icmp.get_rest(buf, at),
            W.seg_dst_hi,
            W.seg_dst_lo,
            W.seg_src_hi,
            W.seg_src_lo,
            CAUSE_ICMP,
            now,
        )
    elif kind == icmpv6.NEIGHBOUR_SOLICIT or kind == icmpv6.NEIGHBOUR_ADVERT:
        if neighbour_message(W, tx, buf, now) == 1:
            return 0
    elif kind < 128:
        if error_arrived6(W, tcb, segs, buf) != 0:
            return 0
    return hand_up(W, up, buf, W.pkt_off, W.pkt_len, at - W.pkt_off, UP_ICMP, now)


@kernel(I64(W_T, TCBS_T, SEGS_T, BYTES, BYTES, BYTES, BYTES, I64))
def transport_arrived(W, tcb, segs, heap, tx, up, buf, now):
    """A whole packet, parsed into ``W.pkt_*``: a gateway acts as the last router for foreign addresses, then the
    transports."""
    if W.pkt_own == 0 and W.seg_ttl <= 1:
        drop(W, Drop.IP_TTL)
        return send_error(W, tx, buf, 11 if W.seg_family == 4 else 3, 0, 0, now)
    protocol = W.pkt_protocol
    if protocol == 6:
        return tcp_packet(W, tcb, segs, heap, tx, buf, now)
    if protocol == 17:
        return udp_packet(W, up, buf, now)
    if protocol == 1 and W.seg_family == 4:
        return icmp4_packet(W, tcb, segs, tx, up, buf, now)
    if protocol == 58 and W.seg_family == 6:
        return icmp6_packet(W, tcb, segs, tx, up, buf, now)
    drop(W, Drop.IP_PROTOCOL)
    if W.seg_family == 4:
        if protocol == 2:
            return 0  # IGMP: nothing to do, nothing to complain about
        return send_error(W, tx, buf, icmp.UNREACHABLE, icmp.PROTOCOL_UNREACHABLE, 0, now)
    if protocol == ipv6.NO_NEXT:
        return 0
    return send_error(W, tx, buf, icmpv6.PARAMETER_PROBLEM, 1, 40, now)


@kernel(I64(W_T, I64))
def source_allowed4(W, src):
    """Whether an IPv4 source address may be one: not ours, not multicast, broadcast or loopback (RFC 1122 section
    3.2.1.3)."""
    if src >> 28 == 14 or src == 0xFFFFFFFF or src >> 24 == 127:
        return 0
    for k in range(OWN4):
        if k < W.own4_n:
            host = W.own4_mask[k] ^ 0xFFFFFFFF
            # A link of two (RFC 3021) has no broadcast address.
            if W.own4[k] == src or host > 1 and src == (W.own4[k] | host) & 0xFFFFFFFF:
                return 0
    return 1


@kernel(I64(W_T, I64))
def destination4(W, dst):
    """1 own address, 2 group (broadcast or multicast), 0 foreign."""
    if dst == 0xFFFFFFFF or dst >> 28 == 14:
        return 2
    for k in range(OWN4):
        if k < W.own4_n:
            if W.own4[k] == dst:
                return 1
            host = W.own4_mask[k] ^ 0xFFFFFFFF
            if host > 1 and dst == (W.own4[k] & W.own4_mask[k]) | host:
                return 2
    return 0


@kernel(I64(W_T, BYTES, I64, I64, I64))
def parse4(W, buf, at, size, now):
    """Check an IPv4 header and note what it says. 1 whole packet, 2 fragment, 0 dropped."""
    if size < ipv4.HEADER_SIZE:
        return drop(W, Drop.IPV4_SHORT)
    version = ipv4.get_version_ihl(buf, at)
    if version >> 4 != 4:
        return drop(W, Drop.IPV4_VERSION)
    header = (version & 15) * 4
    if header < ipv4.HEADER_SIZE or header > size:
        return drop(W, Drop.IPV4_HEADER_LENGTH)
    length = ipv4.get_total_length(buf, at)
    if length < header or length > size:
        return drop(W, Drop.IPV4_TOTAL_LENGTH)
    if ones_complement_sum(buf, at, header) != 0xFFFF:
        return drop(W, Drop.IPV4_CHECKSUM)
    src, dst = ipv4.get_src(buf, at), ipv4.get_dst(buf, at)
    if source_allowed4(W, src) == 0:
        return drop(W, Drop.IPV4_SOURCE)
    if header > 20:
        option = at + 20
        end = at + header
        while option < end:
            kind = u8(buf, option)
            if kind == 0:
                break
            if kind == 1:
                option += 1
                continue
            if option + 2 > end or u8(buf, option + 1) < 2 or option + u8(buf, option + 1) > end:
                return drop(W, Drop.IPV4_HEADER_LENGTH)
            if kind == 131 or kind == 137:  # loose and strict source routes are never followed (RFC 7126)
                return drop(W, Drop.IPV4_SOURCE_ROUTE)
            option += u8(buf, option + 1)
    own = destination4(W, dst)
    if own == 2:
        W.pkt_group = 1
    protocol = ipv4.get_protocol(buf, at)
    if own == 0 and W.role != ROLE_GATEWAY:
        bootp = W.own4_n == 0 and protocol == 17 and length >= header + 8 and udp.get_dstport(buf, at + header) == 68
        if not bootp:
            return drop(W, Drop.NOT_FOR_US)
        own = 1
    W.pkt_own = 1 if own else 0
    W.seg_family = 4
    W.seg_src_hi = 0
    W.seg_src_lo = V4_MAPPED | src
    W.seg_dst_hi = 0
    W.seg_dst_lo = V4_MAPPED | dst
    W.seg_ecn = ipv4.get_tos(buf, at) & 3
    W.seg_ttl = ipv4.get_ttl(buf, at)
    W.pkt_off = at
    W.pkt_len = length
    W.pkt_l4 = at + header
    W.pkt_l4_len = length - header
    W.pkt_protocol = protocol
    if ipv4.get_fragment(buf, at) & (ipv4.FLAG_MF | ipv4.OFFSET_MASK):
        return 2
    return 1


@kernel(I64(W_T, BYTES, I64, I64, I64))
def parse6(W, buf, at, size, now):
    """Check an IPv6 header and walk its extension headers. 1 whole packet, 2 fragment, 0 dropped, -1 - pointer unknown
    option."""
    if size < ipv6.HEADER_SIZE:
        return drop(W, Drop.IPV6_SHORT)
    if ipv6.get_version_class_flow(buf, at) >> 28 != 6:
        return drop(W, Drop.IPV6_VERSION)
    length = ipv6.get_payload_length(buf, at)
    if 40 + length > size:
        return drop(W, Drop.IPV6_LENGTH)
    src_hi, src_lo = ipv6.get_src_hi(buf, at), ipv6.get_src_lo(buf, at)
    dst_hi, dst_lo = ipv6.get_dst_hi(buf, at), ipv6.get_dst_lo(buf, at)
    if (src_hi >> 56) & 0xFF == 0xFF or src_hi == 0 and src_lo == 1:
        return drop(W, Drop.IPV6_SOURCE)
    own = 0
    for k in range(OWN6):
        if k < W.own6_n:
            if W.own6_hi[k] == src_hi and W.own6_lo[k] == src_lo:
                return drop(W, Drop.IPV6_SOURCE)
            if W.own6_hi[k] == dst_hi and W.own6_lo[k] == dst_lo:
                own = 1
    if (dst_hi >> 56) & 0xFF == 0xFF:
        W.pkt_group = 1
        own = 1
    if own == 0 and (W.role != ROLE_GATEWAY or (dst_hi >> 54) & 0x3FF == 0x3FA):
        return drop(W, Drop.NOT_FOR_US)
    W.pkt_own = own
    W.seg_family = 6
    W.seg_src_hi, W.seg_src_lo = src_hi, src_lo
    W.seg_dst_hi, W.seg_dst_lo = dst_hi, dst_lo
    W.seg_ecn = (ipv6.get_version_class_flow(buf, at) >> 20) & 3
    W.seg_ttl = ipv6.get_hop_limit(buf, at)
    W.pkt_off = at
    W.pkt_len = 40 + length
    following = ipv6.get_next_header(buf, at)
    here = at + 40
    end = at + 40 + length
    for i in range(MAX_EXTENSIONS + 1):
        if following == ipv6.FRAGMENT:
            if here + 8 > end:
                return drop(W, Drop.IPV6_EXTENSION)
            W.pkt_l4 = here
            W.pkt_l4_len = 0  # what is behind is not a transport header yet
            W.pkt_protocol = following
            return 2
        if following != ipv6.HOP_BY_HOP and following != ipv6.ROUTING and following != ipv6.DESTINATION:
            break
        if i == MAX_EXTENSIONS or following == ipv6.HOP_BY_HOP and i > 0 or here + 8 > end:
            return drop(W, Drop.IPV6_EXTENSION)
        span = 8 * (u8(buf, here + 1) + 1)
        if here + span > end:
            return drop(W, Drop.IPV6_EXTENSION)
        if following == ipv6.ROUTING and u8(buf, here + 3) != 0:  # segments left: not a router for anyone
            return drop(W, Drop.IPV6_EXTENSION)
        following = u8(buf, here)
        here += span
    W.pkt_protocol = following
    W.pkt_l4 = here
    W.pkt_l4_len = end - here
    if src_hi == 0 and src_lo == 0 and following != 58:
        return drop(W, Drop.IPV6_SOURCE)
    return 1


@kernel(I64(W_T, BYTES, I64))
def learn_sender(W, buf, now):
    """A gateway learns where a checked packet's source lives from the frame that carried it; the usual frame is from
    the usual guest."""
    hi, lo = W.seg_src_hi, W.seg_src_lo
    at = W.pkt_link
    mac_hi, mac_lo = ethernet.get_src_hi(buf, at), ethernet.get_src_lo(buf, at)
    if W.last_lo == lo and W.last_hi == hi and W.last_mac_lo == mac_lo and W.last_mac_hi == mac_hi:
        return 0
    if hi == 0 and (lo == V4_MAPPED or lo == 0):  # 0.0.0.0 and :: speak before they have an address
        return 0
    W.last_hi, W.last_lo, W.last_mac_hi, W.last_mac_lo = hi, lo, mac_hi, mac_lo
    return learn(W, hi, lo, mac_hi, mac_lo, now)


@kernel(I64(W_T, TCBS_T, SEGS_T, BYTES, BYTES, BYTES, BYTES, I64, I64, I64, RECORD, BYTES, I64))
def ip_arrived(W, tcb, segs, heap, tx, up, buf, at, size, v6, R, arena, now):
    """An IPv6 (``v6`` 1) or IPv4 packet."""
    whole = parse6(W, buf, at, size, now) if v6 else parse4(W, buf, at, size, now)
    if whole == 0:
        return 0
    if W.pkt_link >= 0 and W.role == ROLE_GATEWAY:
        learn_sender(W, buf, now)
    if whole == 1:
        return transport_arrived(W, tcb, segs, heap, tx, up, buf, now)
    if v6:
        slot = reassemble_v6(R, arena, buf, at, W.pkt_len, now)
        if R.problem >= 0 and slot < -1:
            send_error(W, tx, buf, icmpv6.PARAMETER_PROBLEM, R.problem >> 16, R.problem & 0xFFFF, now)
    else:
        slot = reassemble_v4(R, arena, buf, at, W.pkt_len, now)
    if slot < 0:
        return 0 if slot == -1 else drop(W, Drop.FRAGMENT)
    count(W, Count.REASSEMBLED)
    group = W.pkt_group
    if v6:
        whole = parse6(W, arena, R.offset[slot], R.length[slot], now)
    else:
        whole = parse4(W, arena, R.offset[slot], R.length[slot], now)
    W.pkt_group = W.pkt_group | group
    if whole == 1:
        transport_arrived(W, tcb, segs, heap, tx, up, arena, now)
    release_datagram(R, slot)
    return 1


@kernel(I64(W_T, TCBS_T, SEGS_T, BYTES, BYTES, BYTES, BYTES, I64, I64, RECORD, BYTES, I64))
def frame_arrived(W, tcb, segs, heap, tx, up, buf, at, size, R, arena, now):
    """One frame of the receive ring: ``size`` bytes at ``at`` (a bare IP packet on an IP medium)."""
    W.counts[Count.FRAMES_IN] = W.counts[Count.FRAMES_IN] + 1
    W.counts[Count.BYTES_IN] = W.counts[Count.BYTES_IN] + size
    W.pkt_group = 0
    W.pkt_l4_len = 0
    W.pkt_link = -1
    if W.ethernet == 0:
        v6 = 1 if size > 0 and u8(buf, at) >> 4 == 6 else 0
        return ip_arrived(W, tcb, segs, heap, tx, up, buf, at, size, v6, R, arena, now)
    W.pkt_link = at
    if size < ethernet.HEADER_SIZE:
        return drop(W, Drop.ETHERNET_SHORT)
    dst_hi = ethernet.get_dst_hi(buf, at)
    if dst_hi & 0x0100:
        W.pkt_group = 1
    elif dst_hi != W.mac_hi or ethernet.get_dst_lo(buf, at) != W.mac_lo:
        return drop(W, Drop.NOT_FOR_US)
    kind = ethernet.get_type(buf, at)
    header = 14
    if kind == ethernet.TYPE_VLAN:
        if size < 18:
            return drop(W, Drop.ETHERNET_SHORT)
        if ethernet.get_vlan_tci(buf, at) & 0x0FFF != 0:
            return drop(W, Drop.VLAN)  # a priority tag belongs to the untagged LAN, any other to one we are not on
        kind = ethernet.get_vlan_type(buf, at)
        header = 18
    if kind == ethernet.TYPE_IPV4 or kind == ethernet.TYPE_IPV6:
        v6 = 1 if kind == ethernet.TYPE_IPV6 else 0
        return ip_arrived(W, tcb, segs, heap, tx, up, buf, at + header, size - header, v6, R, arena, now)
    if kind == ethernet.TYPE_ARP:
        return arp_arrived(W, tx, up, buf, at + header, size - header, now)
    return drop(W, Drop.ETHERNET_TYPE)
