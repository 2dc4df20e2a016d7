"""IPv6 on the LAN: advertisements, name server, and flows, when it is switched on."""

from __future__ import annotations

import pytest
from scapy.layers.inet6 import ICMPv6ND_RA, ICMPv6NDOptMTU, ICMPv6NDOptPrefixInfo, ICMPv6NDOptRDNSS
from scapy.layers.l2 import Ether

from aero_lab.limits import NEVER, SECOND
from aero_lab.wire import icmpv6, ndp
from aero_lab.wire.address import IP6_ALL_ROUTERS, ip, link_local, multicast_mac
from aero_lab.wire.ethernet import TYPE_IPV6, Ethernet
from aero_lab.wire.ipv6 import Ipv6

from .bench import GUEST_MAC, VirtualBench

GATEWAY6 = ip("fd00:aee0::2")


def solicitation(hop_limit: int = 255) -> bytes:
    source = link_local(GUEST_MAC)
    message = ndp.RouterSolicit((ndp.source_link(GUEST_MAC),)).emit(source, IP6_ALL_ROUTERS)
    packet = Ipv6(source, IP6_ALL_ROUTERS, icmpv6.PROTOCOL, message, hop_limit=hop_limit).emit()
    return Ethernet(multicast_mac(IP6_ALL_ROUTERS), GUEST_MAC, TYPE_IPV6, packet).emit()


def adverts(b: VirtualBench, now: int, *frames: bytes) -> list[bytes]:
    for raw in frames:
        b.lan.rx.push(raw)
    b.lan.step(now)
    return [f.data for f in b.lan.tx.pop_many(64) if f.data[12:14] == b"\x86\xdd" and f.data[54] == 134]


def test_advertisement_as_scapy_reads_it():
    b = VirtualBench(gateway6=GATEWAY6)
    (raw,) = adverts(b, 0)
    packet = Ether(raw)
    assert (packet.dst, packet["IPv6"].src, packet["IPv6"].dst) == ("33:33:00:00:00:01", "fe80::ff:fe00:1", "ff02::1")
    assert packet["IPv6"].hlim == 255
    advert = packet[ICMPv6ND_RA]
    assert (advert.routerlifetime, advert.M, advert.O) == (1800, 0, 0)
    prefix = packet[ICMPv6NDOptPrefixInfo]
    assert (prefix.prefix, prefix.prefixlen, prefix.A, prefix.L) == ("fd00:aee0::", 64, 1, 1)
    assert packet[ICMPv6NDOptMTU].mtu == 1500
    assert packet[ICMPv6NDOptRDNSS].dns == ["fd00:aee0::2"]


def test_solicitations_are_answered_but_never_twice_in_three_seconds():
    b = VirtualBench(gateway6=GATEWAY6)
    assert len(adverts(b, 0)) == 1
    assert adverts(b, SECOND, solicitation(), solicitation()) == []
    assert b.lan.router6.poll_at() == 3 * SECOND
    assert len(adverts(b, 3 * SECOND)) == 1
    assert len(adverts(b, 10 * SECOND, solicitation())) == 1
    assert b.lan.router6.poll_at() == 610 * SECOND, "and now and then unasked"


def test_solicitations_from_beyond_the_link_are_none():
    b = VirtualBench(gateway6=GATEWAY6)
    adverts(b, 0)
    assert adverts(b, 10 * SECOND, solicitation(hop_limit=64)) == []


def test_without_an_address_there_is_no_router():
    b = VirtualBench()
    assert adverts(b, 0, solicitation()) == []
    assert b.lan.router6.poll_at() == NEVER


@pytest.mark.parametrize("target", ["fd00:aee0::2", "fd00:aee0::3", "2001:db8::1", "::1"])
def test_what_is_not_public_is_refused_over_ipv6_too(target):
    b = VirtualBench(gateway6=GATEWAY6)
    b.guest.stack.set_address(
        (*b.guest.stack.addresses, (ip("fd00:aee0::99"), 64)), router4=ip("10.0.2.2"), router6=link_local(b.config.mac)
    )
    client = b.guest.open((ip(target), 80))
    b.run(lambda: client.reason is not None, 3)
    assert not client.established
    assert all(row["reason"].startswith("denied-") for row in b.lan_rows())
