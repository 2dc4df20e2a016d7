"""Whole frames: taken apart into values, told in one line, and built.

For tests, notebooks and guests' chatter. The stack's per-frame path uses kernels instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import Malformed, UsageError
from . import dhcp, dns, icmp, icmpv6, ipv4, ipv6, multicast, ndp, rdata, tcp, udp
from .address import IP4_IGMP_ROUTERS, IP6_MLDV2_ROUTERS, ip_text, mac_text, multicast_mac
from .arp import REQUEST, Arp
from .base import Buffer
from .dhcp import Dhcp
from .dns import DnsMessage
from .ethernet import TYPE_ARP, TYPE_IPV4, TYPE_IPV6, Ethernet, Vlan
from .icmp import Icmp
from .icmpv6 import Icmpv6
from .ipv4 import Ipv4
from .ipv6 import Ipv6
from .multicast import IgmpReport, MldReport
from .ndp import NdMessage, NeighbourAdvert, NeighbourSolicit, RouterAdvert, RouterSolicit
from .tcp import Tcp, flags_text
from .udp import Udp

DNS_PORTS = (dns.PORT, dns.LLMNR_PORT, dns.MDNS_PORT, 137)
"""UDP ports whose payload has the format of DNS; 137 is the NetBIOS name service."""
DHCP_PORTS = (dhcp.SERVER_PORT, dhcp.CLIENT_PORT)


@dataclass(frozen=True, slots=True)
class Broken:
    """Where a dissection ended, and why."""

    reason: str
    """Reason of the :class:`Malformed` that was raised."""
    detail: str
    data: bytes
    """The bytes that could not be read."""


Value = (
    Ethernet
    | Arp
    | Ipv4
    | Ipv6
    | Icmp
    | Icmpv6
    | NdMessage
    | MldReport
    | IgmpReport
    | Tcp
    | Udp
    | Dhcp
    | DnsMessage
    | Broken
)


def dissect(frame: Buffer, medium: str = "ethernet", verify: bool = True) -> list[Value]:
    """The values of a frame, outermost first, as far as they can be read; never raises for bad bytes.

    A layer that is malformed ends the list with a :class:`Broken`. What nobody here understands, and fragments, stay in
    the payload of the last value. ``medium`` is ``"ethernet"`` or ``"ip"``; ``verify=False`` skips the checksums.
    """
    if medium not in ("ethernet", "ip"):
        raise UsageError(f'medium must be "ethernet" or "ip", not {medium!r}')
    out: list[Value] = []
    rest: Buffer = frame
    try:
        for value in _ethernet(frame, verify) if medium == "ethernet" else _ip(frame, verify):
            out.append(value)
            rest = getattr(value, "payload", b"")
    except Malformed as error:
        detail = str(error).partition(": ")[2]
        out.append(Broken(error.reason, detail, bytes(rest)))
    return out


def _ethernet(frame: Buffer, verify: bool) -> Iterator[Value]:
    ethernet = Ethernet.parse(frame)
    yield ethernet
    if ethernet.type == TYPE_ARP:
        yield Arp.parse(ethernet.payload)
    elif ethernet.type == TYPE_IPV4:
        yield from _ipv4(ethernet.payload, verify)
    elif ethernet.type == TYPE_IPV6:
        yield from _ipv6(ethernet.payload, verify)


def _ip(packet: Buffer, verify: bool) -> Iterator[Value]:
    if not len(packet):
        raise Malformed("ip-short")
    version = packet[0] >> 4
    if version == 4:
        yield from _ipv4(packet, verify)
    elif version == 6:
        yield from _ipv6(packet, verify)
    else:
        raise Malformed("ip-version", str(version))


def _ipv4(packet: Buffer, verify: bool) -> Iterator[Value]:
    ip = Ipv4.parse(packet, verify)
    yield ip
    if ip.is_fragment:
        return
    if ip.protocol == icmp.PROTOCOL:
        yield Icmp.parse(ip.payload, verify)
    elif ip.protocol == multicast.IGMP_PROTOCOL:
        if multicast.IgmpView(ip.payload).type == multicast.IGMP_V3_REPORT:
            yield IgmpReport.parse(ip.payload, verify)
    else:
        yield from _transport(ip.protocol, ip.payload, ip.src, ip.dst, verify)


def _ipv6(packet: Buffer, verify: bool) -> Iterator[Value]:
    ip = Ipv6.parse(packet)
    yield ip
    if ip.is_fragment:
        return
    src, dst = (ip.src, ip.dst) if verify else (None, None)
    if ip.next_header == icmpv6.PROTOCOL:
        kind = icmpv6.Icmpv6View(ip.payload).type
        if kind in ndp.MESSAGES:
            yield ndp.parse(ip.payload, src, dst, ip.hop_limit)
        elif kind == multicast.MLD_V2_REPORT:
            yield MldReport.parse(ip.payload, src, dst)
        else:
            yield Icmpv6.parse(ip.payload, src, dst)
    else:
        yield from _transport(ip.next_header, ip.payload, ip.src, ip.dst, verify)


def _transport(protocol: int, data: bytes, src: bytes, dst: bytes, verify: bool) -> Iterator[Value]:
    ends = (src, dst) if verify else (None, None)
    if protocol == tcp.PROTOCOL:
        yield Tcp.parse(data, *ends)
    elif protocol == udp.PROTOCOL:
        datagram = Udp.parse(data, *ends)
        yield datagram
        ports = (datagram.srcport, datagram.dstport)
        if any(port in DHCP_PORTS for port in ports):
            yield Dhcp.parse(datagram.payload)
        elif any(port in DNS_PORTS for port in ports):
            yield DnsMessage.parse(datagram.payload)


def ip_packet(
    src: bytes, dst: bytes, protocol: int, payload: bytes, ttl: int = 64, id: int = 0, df: bool = True, tos: int = 0
) -> Ipv4 | Ipv6:
    """A packet of the family of its addresses; IPv6 has no use for ``id`` and ``df``."""
    if len(src) == 4:
        return Ipv4(src, dst, protocol, payload, ttl=ttl, id=id, df=df, tos=tos)
    return Ipv6(src, dst, protocol, payload, hop_limit=ttl, traffic_class=tos)


def ip_frame(src_mac: bytes, dst_mac: bytes, packet: Ipv4 | Ipv6, tags: tuple[Vlan, ...] = ()) -> bytes:
    """Frame that carries a packet."""
    kind = TYPE_IPV4 if isinstance(packet, Ipv4) else TYPE_IPV6
    return Ethernet(dst_mac, src_mac, kind, packet.emit(), tags).emit()


def udp_frame(
    src_mac: bytes,
    dst_mac: bytes,
    src: bytes,
    dst: bytes,
    srcport: int,
    dstport: int,
    payload: bytes = b"",
    **ip_fields,
) -> bytes:
    """Frame with a UDP datagram; ``ip_fields`` as :func:`ip_packet` takes them."""
    data = Udp(srcport, dstport, payload).emit(src, dst)
    return ip_frame(src_mac, dst_mac, ip_packet(src, dst, udp.PROTOCOL, data, **ip_fields))


def tcp_frame(src_mac: bytes, dst_mac: bytes, src: bytes, dst: bytes, segment: Tcp, **ip_fields) -> bytes:
    """Frame with a TCP segment; ``ip_fields`` as :func:`ip_packet` takes them."""
    return ip_frame(src_mac, dst_mac, ip_packet(src, dst, tcp.PROTOCOL, segment.emit(src, dst), **ip_fields))


def icmp_frame(
    src_mac: bytes, dst_mac: bytes, src: bytes, dst: bytes, message: Icmp | Icmpv6 | NdMessage, **ip_fields
) -> bytes:
    """Frame with an ICMP or ICMPv6 message; neighbour discovery gets its hop limit of 255."""
    if isinstance(message, Icmp):
        return ip_frame(src_mac, dst_mac, ip_packet(src, dst, icmp.PROTOCOL, message.emit(), **ip_fields))
    if not isinstance(message, Icmpv6):
        ip_fields = {"ttl": ndp.HOP_LIMIT, **ip_fields}
    return ip_frame(src_mac, dst_mac, ip_packet(src, dst, icmpv6.PROTOCOL, message.emit(src, dst), **ip_fields))


def arp_frame(packet: Arp, dst_mac: bytes = b"\xff" * 6) -> bytes:
    """Frame with an ARP packet from its sender; broadcast unless told otherwise."""
    return Ethernet(dst_mac, packet.sha, TYPE_ARP, packet.emit()).emit()


def igmp_frame(src_mac: bytes, src: bytes, report: IgmpReport, id: int = 0) -> bytes:
    """Frame with an IGMPv3 report: TTL 1 and router alert, to all IGMPv3 routers (RFC 3376 section 4)."""
    packet = Ipv4(
        src,
        IP4_IGMP_ROUTERS,
        multicast.IGMP_PROTOCOL,
        report.emit(),
        ttl=1,
        id=id,
        tos=0xC0,
        options=(ipv4.ROUTER_ALERT,),
    )
    return ip_frame(src_mac, multicast_mac(IP4_IGMP_ROUTERS), packet)


def mld_frame(src_mac: bytes, src: bytes, report: MldReport) -> bytes:
    """Frame with an MLDv2 report: hop limit 1 and router alert, to all MLDv2 routers (RFC 3810 section 5)."""
    alert = ipv6.Options(ipv6.HOP_BY_HOP, (ipv6.ROUTER_ALERT,))
    data = report.emit(src, IP6_MLDV2_ROUTERS)
    packet = Ipv6(src, IP6_MLDV2_ROUTERS, icmpv6.PROTOCOL, data, hop_limit=1, extensions=(alert,))
    return ip_frame(src_mac, multicast_mac(IP6_MLDV2_ROUTERS), packet)


def summary(frame: Buffer, medium: str = "ethernet", verify: bool = True) -> str:
    """One line about a frame: its ends, its innermost protocol and what that says.

    As in ``"10.0.2.15:49152 > 10.0.2.2:53 DNS query A files.lab"``.
    """
    values = dissect(frame, medium, verify)
    src = dst = ""
    for value in values:
        if isinstance(value, Ethernet):
            src, dst = mac_text(value.src), mac_text(value.dst)
        elif isinstance(value, Ipv4 | Ipv6):
            src, dst = ip_text(value.src), ip_text(value.dst)
        elif isinstance(value, Tcp | Udp):
            left, right = (f"[{src}]", f"[{dst}]") if ":" in src else (src, dst)
            src, dst = f"{left}:{value.srcport}", f"{right}:{value.dstport}"
    return f"{src} > {dst} {describe(values[-1])}" if src else describe(values[-1])


def describe(value: Value) -> str:
    """What one value says, in a few words."""
    match value:
        case Broken():
            return f"malformed: {value.reason}"
        case Ethernet():
            return f"Ethernet type 0x{value.type:04x} len={len(value.payload)}"
        case Arp():
            if value.op == REQUEST:
                return f"ARP who has {ip_text(value.tpa)}? tell {ip_text(value.spa)}"
            return f"ARP {ip_text(value.spa)} is at {mac_text(value.sha)}"
        case Ipv4():
            piece = f" fragment {value.offset}+{len(value.payload)}" if value.is_fragment else ""
            return f"IPv4 protocol {value.protocol}{piece}"
        case Ipv6():
            return f"IPv6 protocol {value.next_header}{' fragment' if value.is_fragment else ''}"
        case Icmp() | Icmpv6():
            return _describe_icmp(value)
        case NeighbourSolicit():
            return f"ND who has {ip_text(value.target)}?"
        case NeighbourAdvert():
            return f"ND {ip_text(value.target)} is here"
        case RouterSolicit():
            return "ND router solicitation"
        case RouterAdvert():
            names = ", ".join(f"{ip_text(each.prefix)}/{each.prefix_len}" for each in value.prefixes)
            return f"ND router advertisement {names}".rstrip()
        case ndp.Redirect():
            return f"ND redirect {ip_text(value.destination)} to {ip_text(value.target)}"
        case MldReport() | IgmpReport():
            name = "MLDv2" if isinstance(value, MldReport) else "IGMPv3"
            return f"{name} report {', '.join(ip_text(record.group) for record in value.records)}".rstrip()
        case Tcp():
            ack = f" ack={value.ack}" if value.flags & tcp.ACK else ""
            return f"TCP [{flags_text(value.flags)}] seq={value.seq}{ack} win={value.window} len={len(value.payload)}"
        case Udp():
            return f"UDP len={len(value.payload)}"
        case Dhcp():
            kind = value.message_type or 0
            return f"DHCP {dhcp.TYPE_NAMES[kind] if kind < len(dhcp.TYPE_NAMES) else kind}".rstrip()
        case DnsMessage():
            return _describe_dns(value)


def _describe_icmp(value: Icmp | Icmpv6) -> str:
    name = "ICMP" if isinstance(value, Icmp) else "ICMPv6"
    requests, replies = (icmp.ECHO_REQUEST, icmpv6.ECHO_REQUEST), (icmp.ECHO_REPLY, icmpv6.ECHO_REPLY)
    number = isinstance(value, Icmpv6)
    if value.type in (requests[number], replies[number]):
        what = "request" if value.type == requests[number] else "reply"
        return f"{name} echo {what} id={value.ident} seq={value.seq} len={len(value.payload)}"
    return f"{name} type {value.type} code {value.code}"


def _describe_dns(value: DnsMessage) -> str:
    asked = " ".join(f"{rdata.TYPE_NAMES.get(each.type, each.type)} {each.name}" for each in value.questions)
    if not value.is_response:
        return f"DNS query {asked}".rstrip()
    answers = ", ".join(_rdata_text(record) for record in value.answers)
    result = dns.RCODE_NAMES[value.rcode] if value.rcode < len(dns.RCODE_NAMES) else str(value.rcode)
    return f"DNS answer {asked} {answers or result}".replace("  ", " ")


def _rdata_text(record: dns.Record) -> str:
    if record.type in (rdata.A, rdata.AAAA) and isinstance(record.rdata, bytes) and len(record.rdata) in (4, 16):
        return ip_text(record.rdata)
    return record.rdata if isinstance(record.rdata, str) else rdata.TYPE_NAMES.get(record.type, str(record.type))
