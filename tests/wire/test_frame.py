"""Whole frames: every builder is taken apart again, summaries read as they should, fragments stay unread."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aero_lab.errors import UsageError
from aero_lab.wire import dhcp, dns, frame, icmpv6, ipv4, ipv6, ndp, rdata, tcp
from aero_lab.wire.address import MAC_BROADCAST, ip, mac, solicited_node
from aero_lab.wire.arp import Arp
from aero_lab.wire.dhcp import Dhcp
from aero_lab.wire.dns import DnsMessage, Record
from aero_lab.wire.ethernet import Ethernet, Vlan
from aero_lab.wire.frame import Broken, describe, dissect, summary
from aero_lab.wire.icmp import Icmp
from aero_lab.wire.icmpv6 import Icmpv6
from aero_lab.wire.ipv4 import Ipv4
from aero_lab.wire.ipv6 import Ipv6
from aero_lab.wire.multicast import IgmpReport, MldReport
from aero_lab.wire.tcp import Tcp, TcpOptions
from aero_lab.wire.udp import Udp

from . import strategies as s

GUEST, LAN = mac("02:00:00:00:00:15"), mac("02:00:00:00:00:01")
A, B = ip("10.0.2.15"), ip("10.0.2.2")
A6, B6 = ip("fe80::15"), ip("fe80::2")

QUERY = DnsMessage.query(7, "files.lab")
ANSWER = QUERY.reply(answers=(Record("files.lab", dns.A, dns.IN, 60, ip("203.0.113.1")),))
CNAME = QUERY.reply(answers=(Record("files.lab", dns.CNAME, dns.IN, 60, "www.lab"),))
SOLICIT = ndp.NeighbourSolicit(B6, (ndp.source_link(GUEST),))
ADVERT = ndp.RouterAdvert(options=(ndp.Prefix(ip("fd00:aee0::")), ndp.Mtu(1500), ndp.Rdnss(600, (B6,))))
DISCOVER = Dhcp(dhcp.BOOT_REQUEST, 1, GUEST, (dhcp.u8_option(53, 1),))
TEXTS = [
    (
        frame.arp_frame(Arp.request(GUEST, A, B)),
        f"{GUEST.hex(':')} > ff:ff:ff:ff:ff:ff ARP who has 10.0.2.2? tell 10.0.2.15",
    ),
    (
        frame.arp_frame(Arp.request(GUEST, A, B).reply(LAN), GUEST),
        "02:00:00:00:00:01 > 02:00:00:00:00:15 ARP 10.0.2.2 is at 02:00:00:00:00:01",
    ),
    (frame.udp_frame(GUEST, LAN, A, B, 49152, 53, QUERY.emit()), "10.0.2.15:49152 > 10.0.2.2:53 DNS query A files.lab"),
    (
        frame.udp_frame(LAN, GUEST, B, A, 53, 49152, ANSWER.emit()),
        "10.0.2.2:53 > 10.0.2.15:49152 DNS answer A files.lab 203.0.113.1",
    ),
    (
        frame.udp_frame(LAN, GUEST, B, A, 53, 4, CNAME.emit()),
        "10.0.2.2:53 > 10.0.2.15:4 DNS answer A files.lab www.lab",
    ),
    (
        frame.udp_frame(LAN, GUEST, B, A, 53, 4, QUERY.reply(dns.NXDOMAIN).emit()),
        "10.0.2.2:53 > 10.0.2.15:4 DNS answer A files.lab NXDOMAIN",
    ),
    (
        frame.udp_frame(GUEST, MAC_BROADCAST, bytes(4), b"\xff" * 4, 68, 67, DISCOVER.emit(300)),
        "0.0.0.0:68 > 255.255.255.255:67 DHCP DISCOVER",
    ),
    (frame.udp_frame(GUEST, LAN, A, B, 1, 9, b"abc"), "10.0.2.15:1 > 10.0.2.2:9 UDP len=3"),
    (
        frame.tcp_frame(GUEST, LAN, A, B, Tcp(1, 80, 5, flags=tcp.SYN, options=TcpOptions(mss=1460))),
        "10.0.2.15:1 > 10.0.2.2:80 TCP [SYN] seq=5 win=65535 len=0",
    ),
    (
        frame.tcp_frame(GUEST, LAN, A6, B6, Tcp(1, 80, 5, 6, tcp.PSH | tcp.ACK, payload=b"GET")),
        "[fe80::15]:1 > [fe80::2]:80 TCP [PSH, ACK] seq=5 ack=6 win=65535 len=3",
    ),
    (
        frame.icmp_frame(GUEST, LAN, A, B, Icmp.echo_request(1, 2, b"abc")),
        "10.0.2.15 > 10.0.2.2 ICMP echo request id=1 seq=2 len=3",
    ),
    (
        frame.icmp_frame(LAN, GUEST, B6, A6, Icmpv6.echo_request(1, 2).echo_reply()),
        "fe80::2 > fe80::15 ICMPv6 echo reply id=1 seq=2 len=0",
    ),
    (frame.icmp_frame(LAN, GUEST, B, A, Icmp.unreachable(3, bytes(28))), "10.0.2.2 > 10.0.2.15 ICMP type 3 code 3"),
    (frame.icmp_frame(GUEST, LAN, A6, solicited_node(B6), SOLICIT), "fe80::15 > ff02::1:ff00:2 ND who has fe80::2?"),
    (frame.icmp_frame(LAN, GUEST, B6, A6, ndp.NeighbourAdvert(B6)), "fe80::2 > fe80::15 ND fe80::2 is here"),
    (frame.icmp_frame(GUEST, LAN, A6, ip("ff02::2"), ndp.RouterSolicit()), "fe80::15 > ff02::2 ND router solicitation"),
    (
        frame.icmp_frame(LAN, GUEST, B6, ip("ff02::1"), ADVERT),
        "fe80::2 > ff02::1 ND router advertisement fd00:aee0::/64",
    ),
    (frame.icmp_frame(LAN, GUEST, B6, A6, ndp.Redirect(B6, A6)), "fe80::2 > fe80::15 ND redirect fe80::15 to fe80::2"),
    (
        frame.igmp_frame(GUEST, A, IgmpReport.join(ip("224.0.0.252"))),
        "10.0.2.15 > 224.0.0.22 IGMPv3 report 224.0.0.252",
    ),
    (frame.mld_frame(GUEST, A6, MldReport.join(ip("ff02::1:3"))), "fe80::15 > ff02::16 MLDv2 report ff02::1:3"),
    (Ethernet(LAN, GUEST, 0x88CC, b"lldp").emit(), "02:00:00:00:00:15 > 02:00:00:00:00:01 Ethernet type 0x88cc len=4"),
    (frame.ip_frame(GUEST, LAN, Ipv4(A, B, 47, b"gre")), "10.0.2.15 > 10.0.2.2 IPv4 protocol 47"),
    (
        frame.ip_frame(GUEST, LAN, Ipv4(A, B, 17, b"x" * 8, offset=1480)),
        "10.0.2.15 > 10.0.2.2 IPv4 protocol 17 fragment 1480+8",
    ),
    (
        frame.ip_frame(GUEST, LAN, Ipv6(A6, B6, 17, b"x", extensions=(ipv6.Fragment(8, False, 1),))),
        "fe80::15 > fe80::2 IPv6 protocol 17 fragment",
    ),
    (b"short", "malformed: ethernet-short"),
    (frame.udp_frame(GUEST, LAN, A, B, 68, 67, b"x"), "10.0.2.15:68 > 10.0.2.2:67 malformed: dhcp-short"),
    (frame.ip_frame(GUEST, LAN, Ipv4(A, B, 6, b"x")), "10.0.2.15 > 10.0.2.2 malformed: tcp-short"),
]


@pytest.mark.parametrize("data, text", TEXTS, ids=[text for _, text in TEXTS])
def test_summary(data, text):
    assert summary(data) == text


def test_layers_in_order():
    data = frame.udp_frame(GUEST, LAN, A, B, 49152, 53, QUERY.emit(), ttl=128, id=9, df=False)
    ethernet, packet, datagram, message = dissect(data)
    assert ethernet == Ethernet(LAN, GUEST, 0x0800, packet.emit())
    assert packet == Ipv4(A, B, 17, datagram.emit(A, B), ttl=128, id=9)
    assert datagram == Udp(49152, 53, QUERY.emit())
    assert message == QUERY


@given(s.tcps, s.ends)
def test_any_segment_comes_back(segment, ends):
    for medium, cut in (("ethernet", 0), ("ip", 14)):
        values = dissect(frame.tcp_frame(GUEST, LAN, *ends, segment)[cut:], medium)
        assert values[-1] == segment and not isinstance(values[0], Broken)


@given(st.one_of(s.icmpv6s.filter(lambda each: each.type not in (*ndp.MESSAGES, 143)), s.icmps))
def test_any_icmp_comes_back(message):
    ends = (A, B) if isinstance(message, Icmp) else (A6, B6)
    assert dissect(frame.icmp_frame(GUEST, LAN, *ends, message))[-1] == message


def test_neighbour_discovery_travels_with_a_hop_limit_of_255():
    packet = dissect(frame.icmp_frame(GUEST, LAN, A6, solicited_node(B6), SOLICIT))[1]
    assert isinstance(packet, Ipv6) and packet.hop_limit == 255
    off_link = frame.icmp_frame(GUEST, LAN, A6, solicited_node(B6), SOLICIT, ttl=64)
    assert describe(dissect(off_link)[-1]) == "malformed: nd-hop-limit"


def test_reports_carry_router_alert():
    packet = dissect(frame.igmp_frame(GUEST, A, IgmpReport()))[1]
    assert isinstance(packet, Ipv4) and (packet.ttl, packet.options) == (1, (ipv4.ROUTER_ALERT,))
    packet = dissect(frame.mld_frame(GUEST, A6, MldReport()))[1]
    assert isinstance(packet, Ipv6) and packet.hop_limit == 1
    assert packet.extensions == (ipv6.Options(ipv6.HOP_BY_HOP, (ipv6.ROUTER_ALERT,)),)


def test_other_versions_of_igmp_stay_unread():
    packet = Ipv4(A, ip("224.0.0.1"), 2, bytes((0x11, 100, 0, 0, 0, 0, 0, 0)))
    assert dissect(frame.ip_frame(GUEST, LAN, packet))[1:] == [packet]


def test_tagged_frames_are_read():
    packet = Ipv4(A, B, 17, Udp(1, 2, b"x").emit(A, B))
    values = dissect(frame.ip_frame(GUEST, LAN, packet, (Vlan(7, tpid=0x88A8), Vlan(9, priority=3))))
    assert values[0].vlan_id == 9 and values[2] == Udp(1, 2, b"x")


def test_a_broken_layer_keeps_its_bytes_and_reason():
    data = bytearray(frame.udp_frame(GUEST, LAN, A, B, 1, 2, b"payload"))
    data[-1] ^= 1
    *whole, last = dissect(data)
    assert [type(each) for each in whole] == [Ethernet, Ipv4]
    assert isinstance(last, Broken) and last.reason == "udp-checksum" and last.data == bytes(data[34:])
    assert dissect(data, verify=False)[-1] == Udp(1, 2, b"payloae")


def test_atomic_fragments_are_whole():
    """RFC 6946: offset 0 and no more to come."""
    datagram = Udp(1, 2, b"x").emit(A6, B6)
    packet = Ipv6(A6, B6, 17, datagram, extensions=(ipv6.Fragment(0, False, 1),))
    assert dissect(packet.emit(), "ip")[-1] == Udp(1, 2, b"x")


def test_medium_is_checked():
    with pytest.raises(UsageError, match="medium"):
        dissect(b"", "token ring")


def test_dns_without_questions_has_a_text():
    assert describe(DnsMessage(1)) == "DNS query"
    assert describe(DnsMessage(1, dns.QR | 9)) == "DNS answer 9"
    assert describe(DnsMessage(1, dns.QR, answers=(Record("a", rdata.MX, 1, 0, rdata.Mx(1, "b")),))) == "DNS answer MX"
    assert describe(Dhcp(1, 1)) == "DHCP" and describe(Dhcp(1, 1, options=((53, b"\x63"),))) == "DHCP 99"
    assert describe(Icmpv6(icmpv6.PACKET_TOO_BIG, rest=1280)) == "ICMPv6 type 2 code 0"
