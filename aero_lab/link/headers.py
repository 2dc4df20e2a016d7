"""What a router sees of a frame on a link: the flow it belongs to, and the two bits of ECN (RFC 3168).

Only where frames are packets is there anything to see: a *medium* is what frames begin with. Messages of a tunnel show
nothing of what is in them; their flow is the one that their descriptor names, and no mark can be put on them.
"""

from __future__ import annotations

from ..compiled.memory import put_u8, put_u16, u8, u16
from ..compiled.registry import BYTES, I64, kernel
from ..limits import VLAN_TAGS_MAX
from ..wire import ethernet, ipv4, ipv6
from .cells import get_flow, get_len, get_medium, get_off
from .flight import MASK32

MESSAGE, IP, ETHERNET = range(3)
MEDIA = {"message": MESSAGE, "ip": IP, "ethernet": ETHERNET}
"""By the name under which :meth:`aero_lab.link.Link.build` takes them."""

NOT_ECT, CE = 0, 3
"""Codepoints of ECN: the sender does not take part; congestion experienced."""
MIX = 0x45D9F3B
"""An odd multiplier of 27 bits: with a number of 32 the product stays below 2^63."""
PORTS = (ipv4.TCP, ipv4.UDP, 132)  # 132: SCTP
TCP, UDP, SCTP = PORTS


@kernel(I64(BYTES, I64, I64))
def ip_at(pipe, s, e):
    """Where the IP header of the entry at ``e`` begins, or -1 when there is none that is whole."""
    medium = get_medium(pipe, s)
    if medium == MESSAGE:
        return -1
    at = get_off(pipe, e)
    end = at + get_len(pipe, e)
    if medium == ETHERNET:
        if end - at < ethernet.HEADER_SIZE:
            return -1
        kind = ethernet.get_type(pipe, at)
        tags = 0
        while tags < VLAN_TAGS_MAX and (kind == ethernet.TYPE_VLAN or kind == ethernet.TYPE_QINQ):
            at += ethernet.VLAN_TAG_SIZE
            if end - at < ethernet.HEADER_SIZE:
                return -1
            kind = ethernet.get_type(pipe, at)
            tags += 1
        if kind != ethernet.TYPE_IPV4 and kind != ethernet.TYPE_IPV6:
            return -1
        at += ethernet.HEADER_SIZE
    if end - at < ipv4.HEADER_SIZE:
        return -1
    first = u8(pipe, at)
    if first >> 4 == 4:
        size = 4 * (first & 15)
        return at if ipv4.HEADER_SIZE <= size <= end - at else -1
    return at if first >> 4 == 6 and end - at >= ipv6.HEADER_SIZE else -1


@kernel(I64(I64, I64))
def mix(mixed, word):
    """Stir a word of up to 32 bits into a hash of 32."""
    mixed = ((mixed ^ (word & MASK32)) * MIX) & MASK32
    return mixed ^ (mixed >> 15)


@kernel(I64(BYTES, I64, I64, I64))
def flow_hash(pipe, s, e, seed):
    """32 bits that are the same for all frames of a flow: addresses, protocol and, where they can be seen, ports."""
    at = ip_at(pipe, s, e)
    if at < 0:
        flow = get_flow(pipe, e)
        return mix(mix(mix(seed, flow), flow >> 32), 0)
    end = get_off(pipe, e) + get_len(pipe, e)
    if u8(pipe, at) >> 4 == 4:
        protocol = ipv4.get_protocol(pipe, at)
        first, last = at + 12, at + 20
        ports = at + 4 * (u8(pipe, at) & 15)
        if ipv4.get_fragment(pipe, at) & (ipv4.FLAG_MF | ipv4.OFFSET_MASK):
            ports = end  # pieces of one packet belong together, and only the first has ports
    else:
        protocol = ipv6.get_next_header(pipe, at)
        first, last = at + 8, at + 40
        ports = at + ipv6.HEADER_SIZE
    mixed = mix(seed, protocol)
    while first < last:
        mixed = mix(mixed, u16(pipe, first))
        first += 2
    if (protocol == TCP or protocol == UDP or protocol == SCTP) and end - ports >= 4:
        mixed = mix(mix(mixed, u16(pipe, ports)), u16(pipe, ports + 2))
    return mixed


@kernel(I64(BYTES, I64, I64))
def mark_ce(pipe, s, e):
    """Mark the entry at ``e`` as having met congestion; 0 when it has no header or its sender takes no part in ECN."""
    at = ip_at(pipe, s, e)
    if at < 0:
        return 0
    word = u16(pipe, at)  # version, header length, DSCP, ECN; or version, traffic class, flow label
    shift = 0 if word >> 12 == 4 else 4
    ecn = (word >> shift) & 3
    if ecn == NOT_ECT:
        return 0
    if ecn == CE:
        return 1
    marked = word | CE << shift
    put_u8(pipe, at + 1, marked & 0xFF)
    if shift == 0:
        # RFC 1624: HC' = ~(~HC + ~m + m').
        total = (~ipv4.get_checksum(pipe, at) & 0xFFFF) + (~word & 0xFFFF) + marked
        total = (total & 0xFFFF) + (total >> 16)
        total = (total & 0xFFFF) + (total >> 16)
        put_u16(pipe, at + 10, ~total & 0xFFFF)
    return 1
