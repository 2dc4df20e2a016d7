"""ICMP and ICMPv6: echo, errors in both directions, neighbour discovery (RFC 792, RFC 1122, RFC 1191, RFC 4443, RFC
4861)."""

from ..compiled.memory import copy, ones_complement_sum
from ..compiled.registry import BYTES, I64, kernel
from ..limits import SECOND
from ..wire import ethernet, icmp, icmpv6, ipv4, ipv6, tcp
from .connections import close_slot, lookup
from .drops import Count, Drop
from .neighbours import learn, put_link_option, resolve
from .output import finish, put_ethernet, put_ip, room_for, send_packet, transport_checksum
from .recovery import mark_lost
from .states import State
from .tcp_options import update_mss
from .world import (
    C_T,
    OWN6,
    R_UNREACHABLE,
    SEG_LOST,
    SEG_SACKED,
    SEGS_T,
    TCBS_T,
    V4_MAPPED,
    W_T,
    count,
    drop,
    unwrap,
    want_output,
)

CAUSE_ARP, CAUSE_ICMP = 7, 10
ERRORS_PER_SECOND = 100
"""Errors a stack sends a second (RFC 1812 section 4.3.2.8 and RFC 4443 section 2.4 (f) ask for a limit; the number is
ours)."""
QUOTE_V4, QUOTE_V6 = 548, 1232
"""Bytes quoted at most: the whole message stays within 576 (RFC 1812 section 4.3.2.3) and 1280 bytes (RFC 4443 section
2.4 (c))."""


@kernel(I64(BYTES, I64, I64, I64, I64, I64, I64, I64, I64, I64, I64))
def put_icmp(buf, at, size, kind, code, rest, src_hi, src_lo, dst_hi, dst_lo, family4):
    """Write the eight header bytes of a message of ``size`` bytes in all, checksum included."""
    icmp.put_type(buf, at, kind)
    icmp.put_code(buf, at, code)
    icmp.put_checksum(buf, at, 0)
    icmp.put_rest(buf, at, rest)
    if family4:
        icmp.put_checksum(buf, at, 0xFFFF ^ ones_complement_sum(buf, at, size))
    else:
        icmp.put_checksum(buf, at, transport_checksum(buf, at, size, src_hi, src_lo, dst_hi, dst_lo, 58))
    return 0


@kernel(I64(W_T, BYTES, BYTES, I64, I64, I64, I64, I64, I64, I64, I64, I64, I64, I64))
def send_icmp(W, tx, buf, at, size, kind, code, rest, src_hi, src_lo, dst_hi, dst_lo, cause, now):
    """Send one ICMP message of the destination's family with ``size`` bytes of ``buf`` behind its eight header bytes.

    What does not fit one packet is sent in fragments; its header is then written into ``buf``, in the eight bytes
    before ``at``. 1, or 0 when there is no room or no link address.
    """
    family4 = 1 if dst_hi == 0 and (dst_lo >> 32) == 0xFFFF else 0
    ip_size = 20 if family4 else 40
    mac_hi, mac_lo = 0, 0
    if W.ethernet:
        if not family4 and (dst_hi >> 56) & 0xFF == 0xFF:
            mac_hi, mac_lo = 0x3333, dst_lo & 0xFFFFFFFF
        else:
            i = resolve(W, tx, dst_hi, dst_lo, now)
            if i < 0:
                return drop(W, Drop.NEIGHBOUR_UNRESOLVED)
            mac_hi, mac_lo = W.n_mac_hi[i], W.n_mac_lo[i]
    protocol = 1 if family4 else 58
    ttl = 255 if not family4 and kind >= 133 else W.ttl
    total = 8 + size
    count(W, Count.ICMP_OUT)
    if ip_size + total > W.mtu:
        if total > 65535 - 20:
            return drop(W, Drop.UDP_TOO_BIG)
        put_icmp(buf, at - 8, total, kind, code, rest, src_hi, src_lo, dst_hi, dst_lo, family4)
        return send_packet(
            W, tx, buf, at - 8, total, protocol, src_hi, src_lo, dst_hi, dst_lo, mac_hi, mac_lo, ttl, cause, now
        )
    start = room_for(W, tx, 14 + ip_size + total)
    if start < 0:
        return drop(W, Drop.TX_FULL)
    here = put_ethernet(W, tx, start, mac_hi, mac_lo, ethernet.TYPE_IPV4 if family4 else ethernet.TYPE_IPV6)
    message = put_ip(W, tx, here, src_hi, src_lo, dst_hi, dst_lo, protocol, total, ttl, 0, 0)
    copy(tx, message + 8, buf, at, size)
    put_icmp(tx, message, total, kind, code, rest, src_hi, src_lo, dst_hi, dst_lo, family4)
    return finish(W, tx, start, 14 + ip_size + total, -1, cause, now)


@kernel(I64(W_T, I64))
def own_address6(W, scope_hi):
    """Index of the own IPv6 address to speak from: a link-local one to a link-local peer, else a wider one."""
    best = 0
    link_local = (scope_hi >> 54) & 0x3FF == 0x3FA
    for k in range(OWN6):
        if k < W.own6_n and ((W.own6_hi[k] >> 54) & 0x3FF == 0x3FA) == link_local:
            return k
    return best


@kernel(I64(W_T, BYTES, BYTES, I64, I64, I64, I64))
def send_error(W, tx, buf, kind, code, rest, now):
    """Answer the packet in ``W.pkt_*`` with an ICMP error, where an error is allowed (RFC 1122 section 3.2.2, RFC 4443
    section 2.4 (e))."""
    if W.pkt_group:
        return drop(W, Drop.ICMP_QUOTE)
    if W.seg_family == 4:
        if W.pkt_protocol == 1 and W.pkt_l4_len > 0:
            t = icmp.get_type(buf, W.pkt_l4)
            if t != icmp.ECHO_REQUEST and t != icmp.ECHO_REPLY:
                return drop(W, Drop.ICMP_QUOTE)
        if W.own4_n == 0:
            return drop(W, Drop.ICMP_QUOTE)
    elif W.pkt_protocol == 58 and W.pkt_l4_len > 0 and icmp.get_type(buf, W.pkt_l4) < 128:
        return drop(W, Drop.ICMP_QUOTE)
    if now - W.icmp_at >= SECOND:
        W.icmp_at = now
        W.icmp_tokens = ERRORS_PER_SECOND
    if W.icmp_tokens <= 0:
        return drop(W, Drop.ICMP_RATE)
    W.icmp_tokens = W.icmp_tokens - 1
    src_hi, src_lo = W.seg_dst_hi, W.seg_dst_lo
    if W.pkt_own == 0:
        if W.seg_family == 4:
            src_hi, src_lo = 0, V4_MAPPED | W.own4[0]
        elif W.own6_n > 0:
            k = own_address6(W, W.seg_src_hi)
            src_hi, src_lo = W.own6_hi[k], W.own6_lo[k]
    size = min(W.pkt_len, QUOTE_V4 if W.seg_family == 4 else QUOTE_V6)
    return send_icmp(
        W, tx, buf, W.pkt_off, size, kind, code, rest, src_hi, src_lo, W.seg_src_hi, W.seg_src_lo, CAUSE_ICMP, now
    )


@kernel(I64(W_T, C_T, SEGS_T, I64))
def lower_path_mtu(W, c, segs, mtu):
    """A packet of the connection was too big: send smaller ones, and what is too big in flight again (RFC 1191, RFC
    8201)."""
    floor = 552 if c.family == 4 else 1280
    mtu = max(mtu, floor)
    if mtu >= c.pmtu:
        return 0
    c.pmtu = mtu
    update_mss(W, c)
    base = c.slot * W.segq
    for k in range(c.head, c.tail):
        i = base + (k & W.segq_mask)
        s = segs[i]
        if s.end - s.seq > c.mss + 1 and s.flags & (SEG_SACKED | SEG_LOST) == 0:
            mark_lost(c, segs, i)
    want_output(W, c)
    return 1


@kernel(I64(W_T, TCBS_T, SEGS_T, BYTES, I64, I64, I64, I64, I64))
def tcp_error(W, tcb, segs, buf, at, local_hi, local_lo, remote_hi, remote_lo):
    """The connection that an ICMP error quotes, when its sequence number proves that it saw our segment; else -1 (RFC
    5927)."""
    slot = lookup(W, tcb, remote_hi, remote_lo, tcp.get_dstport(buf, at), local_hi, local_lo, tcp.get_srcport(buf, at))
    if slot < 0:
        return -1
    c = tcb[slot]
    seq = unwrap(tcp.get_seq(buf, at), c.snd_una)
    if c.state == State.SYN_PENDING or seq < c.snd_una or seq > c.snd_nxt:
        return -1
    return slot


@kernel(I64(W_T, TCBS_T, I64))
def hard_error(W, tcb, slot):
    """Unreachable ends an attempt to connect; on a connection that stands it is only advice (RFC 1122 section 4.2.3.9,
    RFC 5461)."""
    if tcb[slot].state == State.SYN_SENT:
        return close_slot(W, tcb, slot, R_UNREACHABLE)
    return 0


@kernel(I64(W_T, TCBS_T, SEGS_T, BYTES))
def error_arrived4(W, tcb, segs, buf):
    """An ICMP error about one of our packets. 1 when it was TCP's and is dealt with, 0 when Python should hear of it,
    -1 dropped."""
    at = W.pkt_l4
    quote = at + 8
    size = W.pkt_l4_len - 8
    if size < 28 or ipv4.get_version_ihl(buf, quote) >> 4 != 4:
        drop(W, Drop.ICMP_QUOTE)
        return -1
    header = (ipv4.get_version_ihl(buf, quote) & 15) * 4
    if header < 20 or size < header + 8:
        drop(W, Drop.ICMP_QUOTE)
        return -1
    if ipv4.get_protocol(buf, quote) != 6:
        return 0
    slot = tcp_error(
        W,
        tcb,
        segs,
        buf,
        quote + header,
        0,
        V4_MAPPED | ipv4.get_src(buf, quote),
        0,
        V4_MAPPED | ipv4.get_dst(buf, quote),
    )
    if slot < 0:
        drop(W, Drop.ICMP_QUOTE)
        return -1
    if icmp.get_type(buf, at) == icmp.UNREACHABLE:
        if icmp.get_code(buf, at) == icmp.FRAGMENTATION_NEEDED:
            mtu = icmp.get_rest(buf, at) & 0xFFFF
            if mtu == 0:  # a router from before RFC 1191: halve, roughly as its table of plateaus does
                mtu = ipv4.get_total_length(buf, quote) >> 1
            lower_path_mtu(W, tcb[slot], segs, mtu)
        else:
            hard_error(W, tcb, slot)
    return 1


@kernel(I64(W_T, TCBS_T, SEGS_T, BYTES))
def error_arrived6(W, tcb, segs, buf):
    """The same for ICMPv6."""
    at = W.pkt_l4
    quote = at + 8
    if W.pkt_l4_len < 8 + 40 + 8:
        drop(W, Drop.ICMP_QUOTE)
        return -1
    if ipv6.get_next_header(buf, quote) != 6:
        return 0
    slot = tcp_error(
        W,
        tcb,
        segs,
        buf,
        quote + 40,
        ipv6.get_src_hi(buf, quote),
        ipv6.get_src_lo(buf, quote),
        ipv6.get_dst_hi(buf, quote),
        ipv6.get_dst_lo(buf, quote),
    )
    if slot < 0:
        drop(W, Drop.ICMP_QUOTE)
        return -1
    if icmp.get_type(buf, at) == icmpv6.PACKET_TOO_BIG:
        lower_path_mtu(W, tcb[slot], segs, icmp.get_rest(buf, at))
    elif icmp.get_type(buf, at) == icmpv6.UNREACHABLE:
        hard_error(W, tcb, slot)
    return 1


@kernel(I64(W_T, BYTES, BYTES, I64))
def neighbour_message(W, tx, buf, now):
    """Neighbour solicitation and advertisement (RFC 4861 section 7). Returns 1 when handled, 0 when Python should see
    it too."""
    at = W.pkt_l4
    kind = icmp.get_type(buf, at)
    if W.pkt_l4_len < 24 or W.seg_ttl != 255 or icmp.get_code(buf, at) != 0:
        drop(W, Drop.ND_FORMAT)
        return 1
    target_hi = icmpv6.get_target_hi(buf, at)
    target_lo = icmpv6.get_target_lo(buf, at)
    if (target_hi >> 56) & 0xFF == 0xFF:
        drop(W, Drop.ND_FORMAT)
        return 1
    # Options: type, length in units of 8 bytes (zero is malformed), value.
    link = -1
    option = at + 24
    end = at + W.pkt_l4_len
    while option + 8 <= end:
        units = icmp.get_code(buf, option)
        if units == 0 or option + 8 * units > end:
            drop(W, Drop.ND_FORMAT)
            return 1
        wanted = icmpv6.OPT_SOURCE_LINK if kind == icmpv6.NEIGHBOUR_SOLICIT else icmpv6.OPT_TARGET_LINK
        if icmp.get_type(buf, option) == wanted:
            link = option
        option += 8 * units
    if kind == icmpv6.NEIGHBOUR_SOLICIT:
        own = -1
        for k in range(OWN6):
            if k < W.own6_n and W.own6_hi[k] == target_hi and W.own6_lo[k] == target_lo:
                own = k
        if own < 0:
            return 0
        unspecified = W.seg_src_hi == 0 and W.seg_src_lo == 0
        if unspecified:  # duplicate address detection: answer to all nodes
            to_hi, to_lo = (0xFF02 - 0x10000) << 48, 1
            mac_hi, mac_lo = 0x3333, 1
        else:
            to_hi, to_lo = W.seg_src_hi, W.seg_src_lo
            if link >= 0:
                # The address stands 2 bytes into the option, where an Ethernet header starts 2 bytes in too.
                learn(W, to_hi, to_lo, ethernet.get_dst_hi(buf, link + 2), ethernet.get_dst_lo(buf, link + 2), now)
            mac_hi, mac_lo = 0, 0
            if W.ethernet:
                i = resolve(W, tx, to_hi, to_lo, now)
                if i < 0:
                    return 1
                mac_hi, mac_lo = W.n_mac_hi[i], W.n_mac_lo[i]
        start = room_for(W, tx, 14 + 40 + 32)
        if start < 0:
            drop(W, Drop.TX_FULL)
            return 1
        here = put_ethernet(W, tx, start, mac_hi, mac_lo, ethernet.TYPE_IPV6)
        message = put_ip(W, tx, here, target_hi, target_lo, to_hi, to_lo, 58, 32, 255, 0, 0)
        icmp.put_type(tx, message, icmpv6.NEIGHBOUR_ADVERT)
        icmp.put_code(tx, message, 0)
        icmp.put_checksum(tx, message, 0)
        answer = icmpv6.FLAG_OVERRIDE
        if not unspecified:
            answer |= icmpv6.FLAG_SOLICITED
        if W.role == 0:
            answer |= icmpv6.FLAG_ROUTER
        icmp.put_rest(tx, message, answer)
        icmpv6.put_target_hi(tx, message, target_hi)
        icmpv6.put_target_lo(tx, message, target_lo)
        put_link_option(W, tx, message + 24, icmpv6.OPT_TARGET_LINK)
        icmp.put_checksum(tx, message, transport_checksum(tx, message, 32, target_hi, target_lo, to_hi, to_lo, 58))
        count(W, Count.ARP_OUT)
        finish(W, tx, start, 14 + 40 + 32, -1, CAUSE_ARP, now)
        return 1
    for k in range(OWN6):
        if k < W.own6_n and W.own6_hi[k] == target_hi and W.own6_lo[k] == target_lo:
            return 0  # somebody claims an address of ours: Python's business
    if link >= 0:
        learn(W, target_hi, target_lo, ethernet.get_dst_hi(buf, link + 2), ethernet.get_dst_lo(buf, link + 2), now)
    return 0
