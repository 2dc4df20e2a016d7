"""Values hold only what can be sent: everything else is refused with one clear line."""

from __future__ import annotations

import pytest

from aero_lab.errors import UsageError
from aero_lab.limits import GROUP_RECORDS_MAX, IPV6_EXTENSIONS_MAX, ND_OPTIONS_MAX
from aero_lab.wire import ipv6, ndp
from aero_lab.wire.arp import REPLY, Arp
from aero_lab.wire.ethernet import Ethernet, Vlan
from aero_lab.wire.icmp import Icmp
from aero_lab.wire.icmpv6 import Icmpv6
from aero_lab.wire.ipv4 import Ipv4
from aero_lab.wire.ipv6 import Ipv6
from aero_lab.wire.multicast import GroupRecord, IgmpReport, MldReport
from aero_lab.wire.tcp import Tcp
from aero_lab.wire.udp import Udp

A, B, M = bytes(4), b"\1" * 4, bytes(6)
A6, B6 = bytes(16), b"\1" * 16
ALERT = ipv6.Options(0, (ipv6.ROUTER_ALERT,))
CASES = [
    lambda: Ethernet(b"abc", M, 0x800),
    lambda: Ethernet(M, "02:00:00:00:00:01", 0x800),  # type: ignore[arg-type]
    lambda: Ethernet(M, M, 0x10000),
    lambda: Ethernet(M, M, 0x8100),
    lambda: Ethernet(M, M, 0x800, tags=(Vlan(1),) * 3),
    lambda: Vlan(4096),
    lambda: Vlan(1, priority=8),
    lambda: Vlan(1, tpid=0x9100),
    lambda: Arp(1, M, A, M, A6),
    lambda: Arp(-1, M, A, M, A),
    lambda: Ipv4(A, A6, 17),
    lambda: Ipv4(A, B, 256),
    lambda: Ipv4(A, B, 17, ttl=-1),
    lambda: Ipv4(A, B, 17, offset=4),
    lambda: Ipv4(A, B, 17, offset=65536),
    lambda: Ipv4(A, B, 17, bytes(65516)),
    lambda: Ipv4(A, B, 17, options=((7, bytes(39)),)),
    lambda: Ipv4(A, B, 17, options=((0, b""),)),
    lambda: Ipv4(A, B, 17, options=((1, b"x"),)),
    lambda: Ipv4(A, B, 17, bytes(100)).fragments(27),
    lambda: Ipv6(A, B6, 17),
    lambda: Ipv6(A6, B6, 17, flow_label=1 << 20),
    lambda: Ipv6(A6, B6, 17, bytes(65536)),
    lambda: Ipv6(A6, B6, ipv6.DESTINATION, b"\x3b\0\1\4\0\0\0\0"),
    lambda: Ipv6(A6, B6, 17, extensions=(ipv6.Fragment(0, False, 1), ALERT)),
    lambda: Ipv6(A6, B6, 17, extensions=(ipv6.Fragment(8, False, 1), ipv6.Options(60))),
    lambda: Ipv6(A6, B6, 17, extensions=(ipv6.Options(60),) * (IPV6_EXTENSIONS_MAX + 1)),
    lambda: Ipv6(A6, B6, 17, bytes(2000), extensions=(ipv6.Fragment(0, True, 1),)).fragments(1280, 2),
    lambda: Ipv6(A6, B6, 17, bytes(2000)).fragments(50, 2),
    lambda: ipv6.Options(43),
    lambda: ipv6.Options(60, ((0, b"x"),)),
    lambda: ipv6.Options(60, ((5, bytes(256)),)),
    lambda: ipv6.Options(60, ((5, bytes(255)),) * 8),
    lambda: ipv6.Routing(0, 0, bytes(8)),
    lambda: ipv6.Routing(256, 0, bytes(4)),
    lambda: ipv6.Fragment(12, False, 1),
    lambda: ipv6.Fragment(8, False, 1 << 32),
    lambda: Udp(65536, 1),
    lambda: Udp(1, 1, bytes(65528)),
    lambda: Udp(1, 1).emit(A6, B6, checksum=False),
    lambda: Tcp(1, 1, seq=1 << 32),
    lambda: Tcp(1, 1, flags=1 << 12),
    lambda: Tcp(1, 1, window=-1),
    lambda: Icmp(256),
    lambda: Icmp(8, rest=1 << 32),
    lambda: Icmp.echo_request(1 << 16, 0),
    lambda: Icmpv6(1, 256),
    lambda: Icmpv6.echo_request(-1, 0),
    lambda: ndp.LinkAddress(3, M),
    lambda: ndp.source_link(b"abc"),
    lambda: ndp.Prefix(A6, 129),
    lambda: ndp.Rdnss(1, ()),
    lambda: ndp.Rdnss(1, (A,)),
    lambda: ndp.RawOption(14, bytes(5)),
    lambda: ndp.RawOption(1, bytes(6)),  # has a type of its own
    lambda: ndp.Mtu(-1),
    lambda: ndp.RouterAdvert(hop_limit=256),
    lambda: ndp.RouterSolicit((ndp.Mtu(1500),) * (ND_OPTIONS_MAX + 1)),
    lambda: ndp.NeighbourSolicit(b"\xff" * 16),
    lambda: ndp.NeighbourSolicit(A),
    lambda: ndp.NeighbourAdvert(A6, flags=1),
    lambda: ndp.Redirect(A6, A),
    lambda: GroupRecord(4, M),
    lambda: GroupRecord(4, A, (A6,)),
    lambda: GroupRecord(4, A, aux=b"abc"),
    lambda: IgmpReport.join(A6),
    lambda: MldReport.join(A),
    lambda: IgmpReport((GroupRecord(4, A),) * (GROUP_RECORDS_MAX + 1)),
]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_refused(number):
    with pytest.raises(UsageError) as caught:
        CASES[number]()
    assert str(caught.value) and "\n" not in str(caught.value)


def test_arp_kinds():
    request = Arp.request(b"\2" * 6, A, B)
    assert request.reply(M) == Arp(REPLY, M, B, b"\2" * 6, A)
    assert Arp.probe(M, B).spa == bytes(4) and Arp.announcement(M, B).tpa == Arp.announcement(M, B).spa == B


def test_options_are_padded_to_eight_bytes():
    assert ipv6.Options(60).emit(59) == bytes((59, 0, 1, 4, 0, 0, 0, 0))
    assert ipv6.Options(0, (ipv6.ROUTER_ALERT,)).emit(58) == bytes((58, 0, 5, 2, 0, 0, 1, 0))
    assert ipv6.Options(60, ((30, b"abc"),)).emit(59) == bytes((59, 0, 30, 3)) + b"abc\0"


def test_neighbour_discovery_options_by_kind():
    value = ndp.NeighbourSolicit(A6, (ndp.Mtu(1500), ndp.source_link(b"abcdef")))
    assert value.link_address(1) == b"abcdef" and value.link_address(2) is None
    assert value.option(5) == ndp.Mtu(1500) and value.option(14) is None
    odd = ndp.NeighbourSolicit(A6, (ndp.RawOption(1, bytes(14)), ndp.source_link(b"abcdef")))
    assert odd.link_address(1) == b"abcdef"
    assert ndp.RouterAdvert(options=(ndp.Prefix(A6),)).prefixes == (ndp.Prefix(A6),)


def test_options_with_the_copied_bit_go_into_every_fragment():
    record_route, alert = (7, bytes(5)), (148, b"\0\0")
    pieces = Ipv4(A, B, 17, bytes(range(100)), options=(record_route, alert), df=True).fragments(60)
    assert [piece.options for piece in pieces] == [(record_route, alert), *[(alert,)] * (len(pieces) - 1)]
    assert all(len(piece.emit()) <= 60 and not piece.df for piece in pieces)
    assert b"".join(piece.payload for piece in pieces) == bytes(range(100))
    assert [piece.offset for piece in pieces] == [0, 24, 56, 88]


def test_a_fragment_is_cut_further():
    pieces = Ipv4(A, B, 17, bytes(64), mf=True, offset=800).fragments(52)
    assert [(piece.offset, piece.mf) for piece in pieces] == [(800, True), (832, True)]


def test_errors_quote_what_fits():
    packet = Ipv4(A, B, 17, bytes(2000)).emit()
    assert len(Ipv4(A, B, 1, Icmp.unreachable(3, packet).emit()).emit()) == 576
    assert Icmp.unreachable(3, packet).is_error and not Icmp.echo_request(1, 1).is_error
    packet6 = Ipv6(A6, B6, 17, bytes(2000)).emit()
    assert len(Ipv6(A6, B6, 58, Icmpv6.packet_too_big(1280, packet6).emit(A6, B6)).emit()) == 1280
    assert Icmpv6.unreachable(1, packet6).is_error and not Icmpv6.echo_request(1, 1).is_error
    assert Icmp.time_exceeded(packet, 1).quoted().dst == B
    assert Icmpv6.time_exceeded(packet6).quoted().dst == B6
