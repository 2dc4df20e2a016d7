"""IPv6 on the LAN: advertisements, name server, and flows, when it is switched on."""

from __future__ import annotations

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_RA, ICMPv6NDOptMTU, ICMPv6NDOptPrefixInfo, ICMPv6NDOptRDNSS
from scapy.layers.l2 import Ether

from aero_lab.limits import NEVER, SECOND
from aero_lab.wire import icmpv6, ndp
from aero_lab.wire.address import (
    IP6_ALL_ROUTERS,
    IP6_ANY,
    ip,
    ip_text,
    link_local,
    mac_text,
    multicast_mac,
    solicited_node,
)
from aero_lab.wire.ethernet import TYPE_IPV6, Ethernet
from aero_lab.wire.frame import icmp_frame
from aero_lab.wire.ipv6 import Ipv6

from .bench import GUEST_MAC, VirtualBench

GATEWAY6 = ip("fd00:aee0::2")


def solicitation(hop_limit: int = 255, source: bytes | None = None) -> bytes:
    source = source if source is not None else link_local(GUEST_MAC)
    options = (ndp.source_link(GUEST_MAC),) if any(source) else ()
    message = ndp.RouterSolicit(options).emit(source, IP6_ALL_ROUTERS)
    packet = Ipv6(source, IP6_ALL_ROUTERS, icmpv6.PROTOCOL, message, hop_limit=hop_limit).emit()
    return Ethernet(multicast_mac(IP6_ALL_ROUTERS), GUEST_MAC, TYPE_IPV6, packet).emit()


def answers(b: VirtualBench, now: int, kind: int, *frames: bytes) -> list[bytes]:
    for raw in frames:
        b.lan.rx.push(raw)
    b.lan.step(now)
    return [f.data for f in b.lan.tx.pop_many(64) if f.data[12:14] == b"\x86\xdd" and f.data[54] == kind]


def adverts(b: VirtualBench, now: int, *frames: bytes) -> list[bytes]:
    return answers(b, now, icmpv6.ROUTER_ADVERT, *frames)


def groups(frames: list[bytes]) -> list[bool]:
    """Which of them went to all nodes."""
    return [frame[:2] == b"\x33\x33" for frame in frames]


@pytest.mark.parametrize("source", [link_local(GUEST_MAC), IP6_ANY], ids=["to the asker", "to all"])
def test_advertisement_as_scapy_reads_it(source):
    b = VirtualBench(gateway6=GATEWAY6)
    (raw,) = adverts(b, 0, solicitation(source=source))
    packet = Ether(raw)
    to = (mac_text(GUEST_MAC), ip_text(source)) if any(source) else ("33:33:00:00:00:01", "ff02::1")
    assert (packet.dst, packet["IPv6"].dst, packet["IPv6"].src) == (*to, "fe80::ff:fe00:1")
    assert packet["IPv6"].hlim == 255
    checksum = packet[ICMPv6ND_RA].cksum
    del packet[ICMPv6ND_RA].cksum
    assert Ether(bytes(packet))[ICMPv6ND_RA].cksum == checksum
    advert = packet[ICMPv6ND_RA]
    assert (advert.routerlifetime, advert.M, advert.O) == (1800, 0, 0)
    prefix = packet[ICMPv6NDOptPrefixInfo]
    assert (prefix.prefix, prefix.prefixlen, prefix.A, prefix.L) == ("fd00:aee0::", 64, 1, 1)
    assert (prefix.validlifetime, prefix.preferredlifetime) == (86400, 14400)
    assert packet[ICMPv6NDOptMTU].mtu == 1500
    assert packet[ICMPv6NDOptRDNSS].dns == ["fd00:aee0::2"]
    assert packet[ICMPv6NDOptRDNSS].lifetime == 1800


def test_who_does_not_ask_is_told_soon_and_then_now_and_then():
    b = VirtualBench(gateway6=GATEWAY6)
    assert adverts(b, 0) == []
    assert b.lan.poll_at(0) <= 16 * SECOND
    assert groups(adverts(b, 16 * SECOND)) == [True]
    assert b.lan.router6.poll_at() == 616 * SECOND
    assert groups(adverts(b, 616 * SECOND)) == [True]


def test_askers_are_answered_at_once_but_a_flood_of_questions_is_not():
    b = VirtualBench(gateway6=GATEWAY6)
    found = adverts(b, SECOND, *[solicitation()] * 50)
    assert groups(found) == [False] * 4 + [True], "a few straight to the asker, then one for all"
    assert b.lan.router6.poll_at() == 4 * SECOND
    assert groups(adverts(b, 2 * SECOND, *[solicitation()] * 50)) == [False], "one more a second"
    assert groups(adverts(b, 4 * SECOND)) == [True], "never two to all within three seconds"
    assert b.lan.router6.poll_at() == 604 * SECOND


def test_askers_without_an_address_hear_what_all_hear():
    b = VirtualBench(gateway6=GATEWAY6)
    assert groups(adverts(b, 0, *[solicitation(source=IP6_ANY)] * 3)) == [True]
    assert adverts(b, SECOND, solicitation(source=IP6_ANY)) == []
    assert groups(adverts(b, 3 * SECOND)) == [True]


def solicit_neighbour(target: bytes, source: bytes) -> bytes:
    group = solicited_node(target)
    message = ndp.NeighbourSolicit(target, (ndp.source_link(GUEST_MAC),) if any(source) else ())
    return icmp_frame(GUEST_MAC, multicast_mac(group), source, group, message)


def test_the_gateway_defends_its_own_addresses_and_claims_no_others():
    b = VirtualBench(gateway6=GATEWAY6)
    for own in (GATEWAY6, link_local(b.config.mac)):
        (raw,) = answers(b, 0, icmpv6.NEIGHBOUR_ADVERT, solicit_neighbour(own, IP6_ANY))
        packet = Ether(raw)
        assert (packet.dst, packet["IPv6"].dst) == ("33:33:00:00:00:01", "ff02::1"), "duplicate address detection"
        assert (packet[ICMPv6ND_NA].tgt, packet[ICMPv6ND_NA].S, packet[ICMPv6ND_NA].R) == (ip_text(own), 0, 1)
    (raw,) = answers(b, 0, icmpv6.NEIGHBOUR_ADVERT, solicit_neighbour(GATEWAY6, link_local(GUEST_MAC)))
    assert (Ether(raw).dst, Ether(raw)[ICMPv6ND_NA].S) == (mac_text(GUEST_MAC), 1)
    for source in (IP6_ANY, link_local(GUEST_MAC)):
        assert not answers(b, 0, icmpv6.NEIGHBOUR_ADVERT, solicit_neighbour(ip("fd00:aee0::99"), source))


def test_solicitations_from_beyond_the_link_are_none():
    b = VirtualBench(gateway6=GATEWAY6)
    assert adverts(b, 10 * SECOND, solicitation(hop_limit=64)) == []
    assert b.lan.counters["lan.nd-hop-limit"] == 1


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
