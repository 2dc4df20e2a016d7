"""Differential tests against scapy: it builds the same bytes, and each reads what the other built."""

from __future__ import annotations

from socket import AF_INET6, inet_pton

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.wire import dhcp as our_dhcp
from aero_lab.wire import dns as our_dns
from aero_lab.wire import ipv4, ipv6, multicast, ndp, rdata, tcp
from aero_lab.wire.address import ip_text, mac_text
from aero_lab.wire.arp import Arp
from aero_lab.wire.ethernet import Ethernet
from aero_lab.wire.icmp import Icmp
from aero_lab.wire.icmpv6 import Icmpv6
from aero_lab.wire.udp import Udp

from . import strategies as s

scapy_layers = pytest.importorskip("scapy.layers.all", reason="scapy is not installed")
from scapy.layers import dhcp as sc_dhcp  # noqa: E402
from scapy.layers import dns as sc_dns  # noqa: E402
from scapy.layers import inet as sc4  # noqa: E402
from scapy.layers import inet6 as sc6  # noqa: E402
from scapy.layers import l2 as sc2  # noqa: E402
from scapy.packet import Raw  # noqa: E402

A4, B4 = bytes((10, 0, 2, 15)), bytes((10, 0, 2, 2))
A6, B6 = bytes.fromhex("fe80" + "00" * 13 + "01"), bytes.fromhex("fe80" + "00" * 13 + "02")
few = settings(max_examples=60)


def between(payload, src: bytes, dst: bytes) -> bytes:
    """Bytes of a scapy transport layer as it stands between two addresses, checksum filled in."""
    if len(src) == 4:
        return bytes(sc4.IP(src=ip_text(src), dst=ip_text(dst)) / payload)[20:]
    return bytes(sc6.IPv6(src=ip_text(src), dst=ip_text(dst)) / payload)[40:]


@few
@given(s.ethernets.filter(lambda each: each.type >= 0x600))
def test_ethernet(value):
    kinds = [tag.tpid for tag in value.tags] + [value.type]
    packet = sc2.Ether(dst=mac_text(value.dst), src=mac_text(value.src), type=kinds[0])
    for tag, following in zip(value.tags, kinds[1:]):
        layer = sc2.Dot1Q if tag.tpid == 0x8100 else sc2.Dot1AD
        packet /= layer(prio=tag.priority, dei=int(tag.drop_eligible), vlan=tag.id, type=following)
    built = bytes(packet / Raw(value.payload))
    assert built == value.emit()
    assert Ethernet.parse(built) == value


@few
@given(s.arps)
def test_arp(value):
    packet = sc2.ARP(
        op=value.op,
        hwsrc=mac_text(value.sha),
        psrc=ip_text(value.spa),
        hwdst=mac_text(value.tha),
        pdst=ip_text(value.tpa),
    )
    assert bytes(packet) == value.emit()
    seen = sc2.ARP(value.emit())
    assert (seen.op, seen.hwsrc, seen.psrc) == (value.op, mac_text(value.sha), ip_text(value.spa))
    assert Arp.parse(bytes(packet)) == value


@few
@given(s.ipv4s)
def test_ipv4(value):
    options = b"".join(b"\1" if kind == 1 else bytes((kind, 2 + len(data))) + data for kind, data in value.options)
    flags = value.rb * 4 + value.df * 2 + value.mf
    packet = sc4.IP(
        src=ip_text(value.src),
        dst=ip_text(value.dst),
        proto=value.protocol,
        ttl=value.ttl,
        id=value.id,
        tos=value.tos,
        flags=flags,
        frag=value.offset // 8,
        options=[Raw(option) for option in split_options(options)],
    )
    built = bytes(packet / Raw(value.payload))
    assert built == value.emit()
    assert ipv4.Ipv4.parse(built) == value
    seen = sc4.IP(value.emit())
    assert (seen.src, seen.dst, seen.proto, seen.ttl) == (packet.src, packet.dst, value.protocol, value.ttl)
    assert (int(seen.flags), seen.frag, seen.len) == (flags, value.offset // 8, value.buffer_len())


def split_options(data: bytes) -> list[bytes]:
    out = []
    while data:
        size = 1 if data[0] == 1 else data[1]
        out.append(data[:size])
        data = data[size:]
    return out


@few
@given(st.integers(1, 3000), st.integers(60, 700))
def test_ipv4_fragments(size, mtu):
    """The pieces go together again; scapy cuts at the same places."""
    payload = bytes(i % 251 for i in range(size))
    whole = ipv4.Ipv4(A4, B4, 17, payload, id=77)
    pieces = whole.fragments(mtu)
    assert all(len(piece.emit()) <= mtu for piece in pieces)
    theirs = sc4.fragment(sc4.IP(bytes(whole.emit())), fragsize=(mtu - 20) & ~7) if len(pieces) > 1 else []
    assert [bytes(piece.payload) for piece in theirs] == [piece.payload for piece in pieces if len(pieces) > 1]
    together = bytearray(len(payload))
    for piece in pieces:
        together[piece.offset : piece.offset + len(piece.payload)] = piece.payload
    assert bytes(together) == payload
    assert [piece.mf for piece in pieces] == [True] * (len(pieces) - 1) + [False]


def scapy_understands(value: ipv6.Ipv6) -> bool:
    """It takes the data of any routing header for addresses."""
    return all(len(each.data) % 16 == 4 for each in value.extensions if isinstance(each, ipv6.Routing))


@few
@given(s.ipv6s.filter(scapy_understands))
def test_ipv6(value):
    seen = sc6.IPv6(value.emit())
    assert (inet_pton(AF_INET6, seen.src), inet_pton(AF_INET6, seen.dst)) == (value.src, value.dst)
    assert (seen.hlim, seen.tc, seen.fl) == (value.hop_limit, value.traffic_class, value.flow_label)
    assert seen.plen == value.buffer_len() - 40
    layer, kinds = seen, []
    while layer.payload and hasattr(layer, "nh"):
        kinds.append(layer.nh)
        layer = layer.payload
    assert kinds[: len(value.extensions)] == [each.kind for each in value.extensions]


def test_ipv6_chain():
    theirs = (
        sc6.IPv6(src=ip_text(A6), dst=ip_text(B6), hlim=7, tc=3, fl=5)
        / sc6.IPv6ExtHdrHopByHop(options=[sc6.RouterAlert(value=0)])
        / sc6.IPv6ExtHdrRouting(addresses=[ip_text(B6)], type=0, segleft=1)
        / sc6.IPv6ExtHdrDestOpt(options=[sc6.HBHOptUnknown(otype=0x1E, optdata=b"xyz")])
        / sc6.IPv6ExtHdrFragment(offset=0, m=1, id=99, nh=17)
        / Raw(b"payload!")
    )
    ours = ipv6.Ipv6(
        A6,
        B6,
        17,
        b"payload!",
        hop_limit=7,
        traffic_class=3,
        flow_label=5,
        extensions=(
            ipv6.Options(ipv6.HOP_BY_HOP, (ipv6.ROUTER_ALERT,)),
            ipv6.Routing(0, 1, bytes(4) + B6),
            ipv6.Options(ipv6.DESTINATION, ((0x1E, b"xyz"),)),
            ipv6.Fragment(0, True, 99),
        ),
    )
    parsed = ipv6.Ipv6.parse(bytes(theirs))
    assert parsed == ours
    assert parsed.emit() == bytes(theirs)
    assert parsed.fragment == ipv6.Fragment(0, True, 99) and parsed.is_fragment


@given(st.binary(min_size=1232, max_size=5000), st.integers(1280, 1500))
@settings(max_examples=30)
def test_ipv6_fragments(payload, mtu):
    whole = ipv6.Ipv6(A6, B6, 17, payload)
    pieces = whole.fragments(mtu, 42)
    assert all(len(piece.emit()) <= mtu for piece in pieces)
    if len(pieces) > 1:
        together = sc6.defragment6([sc6.IPv6(piece.emit()) for piece in pieces])
        assert bytes(together)[40:] == payload


@few
@given(s.udps, s.ends)
def test_udp(value, ends):
    built = between(sc4.UDP(sport=value.srcport, dport=value.dstport) / Raw(value.payload), *ends)
    assert built == value.emit(*ends)
    assert Udp.parse(built, *ends) == value


def scapy_options(options: tcp.TcpOptions) -> list:
    named = {
        tcp.OPT_MSS: ("MSS", options.mss),
        tcp.OPT_WSCALE: ("WScale", options.wscale),
        tcp.OPT_SACK_PERMITTED: ("SAckOK", b""),
        tcp.OPT_SACK: ("SAck", tuple(edge for pair in options.sack for edge in pair)),
        tcp.OPT_TIMESTAMPS: ("Timestamp", options.timestamps),
        tcp.OPT_NOP: ("NOP", None),
        tcp.OPT_END: ("EOL", None),
    }
    return [named[kind] for kind in options.layout]


@few
@given(
    s.tcps.filter(lambda each: not each.options.unknown and each.options.timestamps != (0, 0) and each.flags < 0x200),
    s.ends,
)
def test_tcp(value, ends):
    packet = sc4.TCP(
        sport=value.srcport,
        dport=value.dstport,
        seq=value.seq,
        ack=value.ack,
        flags=value.flags,
        window=value.window,
        urgptr=value.urgent,
        options=scapy_options(value.options),
    )
    built = between(packet / Raw(value.payload), *ends)
    assert built == value.emit(*ends)
    assert tcp.Tcp.parse(built, *ends) == value
    seen = sc4.TCP(value.emit(*ends))
    assert [each[0] for each in seen.options if each[0] != "EOL"] == [
        each[0] for each in scapy_options(value.options) if each[0] != "EOL"
    ]
    assert (seen.seq, seen.ack, int(seen.flags), seen.window) == (value.seq, value.ack, value.flags, value.window)


@few
@given(s.u16, s.u16, s.payloads)
def test_icmp_echo(ident, seq, payload):
    ours = Icmp.echo_request(ident, seq, payload)
    assert bytes(sc4.ICMP(type=8, id=ident, seq=seq) / Raw(payload)) == ours.emit()
    assert bytes(sc4.ICMP(type=0, id=ident, seq=seq) / Raw(payload)) == ours.echo_reply().emit()
    assert Icmp.parse(bytes(sc4.ICMP(type=8, id=ident, seq=seq) / Raw(payload))) == ours
    ours6 = Icmpv6.echo_request(ident, seq, payload)
    theirs6 = sc6.ICMPv6EchoRequest(id=ident, seq=seq, data=payload)
    assert between(theirs6, A6, B6) == ours6.emit(A6, B6)
    assert Icmpv6.parse(between(theirs6, A6, B6), A6, B6) == ours6


def test_icmp_errors():
    packet = ipv4.Ipv4(A4, B4, 17, Udp(1, 2, b"x" * 40).emit(A4, B4)).emit()
    ours = Icmp.unreachable(4, packet, mtu=1400)
    assert bytes(sc4.ICMP(type=3, code=4, nexthopmtu=1400) / Raw(packet)) == ours.emit()
    assert sc4.ICMP(ours.emit()).nexthopmtu == 1400
    packet = ipv6.Ipv6(A6, B6, 17, Udp(1, 2, b"x" * 40).emit(A6, B6)).emit()
    ours6 = Icmpv6.packet_too_big(1300, packet)
    assert between(sc6.ICMPv6PacketTooBig(mtu=1300) / Raw(packet), A6, B6) == ours6.emit(A6, B6)


def scapy_nd_option(option: ndp.NdOption):
    match option:
        case ndp.LinkAddress(kind=1):
            return sc6.ICMPv6NDOptSrcLLAddr(lladdr=mac_text(option.mac))
        case ndp.LinkAddress():
            return sc6.ICMPv6NDOptDstLLAddr(lladdr=mac_text(option.mac))
        case ndp.Prefix():
            return sc6.ICMPv6NDOptPrefixInfo(
                prefixlen=option.prefix_len,
                L=option.flags >> 7,
                A=option.flags >> 6 & 1,
                R=option.flags >> 5 & 1,
                res1=option.flags & 31,
                validlifetime=option.valid,
                preferredlifetime=option.preferred,
                prefix=ip_text(option.prefix),
            )
        case ndp.Mtu():
            return sc6.ICMPv6NDOptMTU(mtu=option.mtu)
        case ndp.Rdnss():
            return sc6.ICMPv6NDOptRDNSS(lifetime=option.lifetime, dns=[ip_text(each) for each in option.addresses])
    return Raw(bytes((option.kind, (2 + len(option.data)) // 8)) + option.data)


def scapy_nd(value: ndp.NdMessage):
    match value:
        case ndp.RouterSolicit():
            packet = sc6.ICMPv6ND_RS()
        case ndp.RouterAdvert():
            packet = sc6.ICMPv6ND_RA(
                chlim=value.hop_limit,
                M=value.flags >> 7,
                O=value.flags >> 6 & 1,
                H=value.flags >> 5 & 1,
                prf=value.flags >> 3 & 3,
                P=value.flags >> 2 & 1,
                res=value.flags & 3,
                routerlifetime=value.lifetime,
                reachabletime=value.reachable_ms,
                retranstimer=value.retrans_ms,
            )
        case ndp.NeighbourSolicit():
            packet = sc6.ICMPv6ND_NS(tgt=ip_text(value.target))
        case ndp.NeighbourAdvert():
            bits = value.flags >> 29
            packet = sc6.ICMPv6ND_NA(tgt=ip_text(value.target), R=bits >> 2, S=bits >> 1 & 1, O=bits & 1)
        case _:
            packet = sc6.ICMPv6ND_Redirect(tgt=ip_text(value.target), dst=ip_text(value.destination))
    for option in value.options:
        packet /= scapy_nd_option(option)
    return packet


@few
@given(s.nd_messages)
def test_neighbour_discovery(value):
    built = between(scapy_nd(value), A6, B6)
    assert built == value.emit(A6, B6)
    assert ndp.parse(built) == value


@few
@given(s.mld_reports)
def test_mld(value):
    theirs = sc6.ICMPv6MLReport2(
        records=[
            sc6.ICMPv6MLDMultAddrRec(
                rtype=each.type,
                dst=ip_text(each.group),
                sources=[ip_text(source) for source in each.sources],
                auxdata=each.aux,
                auxdata_len=len(each.aux) // 4,
            )
            for each in value.records
        ],
        records_number=len(value.records),
    )
    built = between(theirs, A6, B6)
    if any(each.aux for each in value.records):
        return  # scapy counts auxiliary data in bytes, RFC 3810 section 5.2.6 in words
    assert built == value.emit(A6, B6)
    assert multicast.MldReport.parse(built, A6, B6) == value


@few
@given(s.igmp_reports)
def test_igmp(value):
    igmp = pytest.importorskip("scapy.layers.igmp", reason="this scapy has no IGMPv3 layer")
    theirs = igmp.IGMPv3_MR(
        records=[
            igmp.IGMPv3_MR_Group(
                rtype=each.type,
                maddr=ip_text(each.group),
                srcaddrs=[ip_text(source) for source in each.sources],
            )
            for each in value.records
        ],
    )
    if any(each.aux for each in value.records):
        return  # scapy has no auxiliary data here
    assert bytes(theirs) == value.emit()
    assert multicast.IgmpReport.parse(bytes(theirs)) == value


@few
@given(s.dhcps)
def test_dhcp(value):
    seen = sc_dhcp.BOOTP(value.emit())
    assert (seen.op, seen.xid, seen.secs, int(seen.flags)) == (value.op, value.xid, value.secs, value.flags)
    assert (seen.yiaddr, seen.siaddr) == (ip_text(value.yiaddr), ip_text(value.siaddr))
    assert seen.chaddr[:6] == value.chaddr
    built = sc_dhcp.BOOTP(
        op=value.op,
        hops=value.hops,
        xid=value.xid,
        secs=value.secs,
        flags=value.flags,
        ciaddr=ip_text(value.ciaddr),
        yiaddr=ip_text(value.yiaddr),
        siaddr=ip_text(value.siaddr),
        giaddr=ip_text(value.giaddr),
        chaddr=value.chaddr,
        sname=value.sname,
        file=value.file,
    ) / sc_dhcp.DHCP(options=[(code, data) for code, data in value.options] + ["end"])
    assert our_dhcp.Dhcp.parse(bytes(built)) == value
    assert bytes(built) == value.emit()


def test_dhcp_discover_of_scapy():
    theirs = sc_dhcp.BOOTP(chaddr=b"\2\0\0\0\0\x11", xid=9) / sc_dhcp.DHCP(
        options=[
            ("message-type", "discover"),
            ("requested_addr", "10.0.2.15"),
            ("hostname", b"win7"),
            ("lease_time", 86400),
            ("param_req_list", [1, 15, 3, 6]),
            "end",
        ]
    )
    ours = our_dhcp.Dhcp.parse(bytes(theirs))
    assert ours.message_type == our_dhcp.DISCOVER
    assert ours.address(our_dhcp.OPT_REQUESTED_IP) == A4
    assert ours.text(our_dhcp.OPT_HOST_NAME) == "win7"
    assert ours.number(our_dhcp.OPT_LEASE_TIME) == 86400
    assert ours.option(our_dhcp.OPT_PARAMETER_LIST) == bytes((1, 15, 3, 6))


def test_dns_of_scapy():
    theirs = sc_dns.DNS(
        id=5,
        qr=1,
        rd=1,
        ra=1,
        qd=[sc_dns.DNSQR(qname="www.files.lab", qtype="A")],
        an=[
            sc_dns.DNSRR(rrname="www.files.lab", type="CNAME", ttl=9, rdata="files.lab"),
            sc_dns.DNSRR(rrname="files.lab", type="A", ttl=9, rdata="203.0.113.1"),
            sc_dns.DNSRRMX(rrname="files.lab", ttl=9, preference=5, exchange="mail.files.lab"),
            sc_dns.DNSRRSRV(rrname="_x._tcp.lab", ttl=9, priority=1, weight=2, port=3, target="files.lab"),
        ],
        ar=[sc_dns.DNSRROPT(rclass=1232)],
    )
    for packet in (theirs, sc_dns.dns_compress(theirs.copy())):
        ours = our_dns.DnsMessage.parse(bytes(packet))
        assert ours.questions == (our_dns.Question("www.files.lab"),)
        assert [each.rdata for each in ours.answers] == [
            "files.lab",
            bytes((203, 0, 113, 1)),
            rdata.Mx(5, "mail.files.lab"),
            rdata.Srv(1, 2, 3, "files.lab"),
        ]
        assert ours.edns is not None and ours.edns.udp_size == 1232
        seen = sc_dns.DNS(ours.emit())
        assert (seen.id, seen.qr, seen.ancount) == (5, 1, 4)
        assert seen.an[1].rdata == "203.0.113.1" and seen.an[0].rdata == b"files.lab."
