"""The link layer by itself answers what a neighbour answers, and nothing of that travels."""

from __future__ import annotations

import random
from typing import Any

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RA, ICMPv6ND_RS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

from aero_lab.bounds import EDGE_ASKED, EDGE_HELD
from aero_lab.lan.config import LanConfig
from aero_lab.lan.edge import LinkEdge
from aero_lab.limits import NEVER, SECOND
from aero_lab.rings import FrameRing
from aero_lab.wire.address import ip, mac

GATEWAY, GUEST = "02:00:00:00:00:01", "52:54:00:00:00:0f"
GATEWAY6 = "fd00:aee0::2"


class Bench:
    def __init__(self, **config):
        self.out, self.into = FrameRing(64, 1 << 17), FrameRing(64, 1 << 17)
        self.edge = LinkEdge(LanConfig(gateway6=ip(GATEWAY6), **config), self.out, self.into, random.Random(1), 0)

    def guest(self, *packets, now: int = 0) -> list[Any]:
        """The guest sends; what it hears."""
        for packet in packets:
            assert self.out.push(bytes(packet), now)
        self.edge.step(now)
        return [Ether(frame.data) for frame in self.into.pop_many(64)]

    def world(self, *packets, now: int = 0) -> list[Any]:
        """Packets come for the guest; what it hears."""
        for packet in packets:
            assert self.edge.down.push(bytes(packet), now, 7)
        self.edge.step(now)
        return [Ether(frame.data) for frame in self.into.pop_many(64)]

    @property
    def up(self) -> list[bytes]:
        return [packet.data for packet in self.edge.up.pop_many(64)]


def frame(payload, dst: str = GATEWAY) -> Ether:
    return Ether(src=GUEST, dst=dst) / payload


def test_arp_is_answered_for_the_gateway_and_for_nobody_else():
    b = Bench()
    (reply,) = b.guest(frame(ARP(op=1, hwsrc=GUEST, psrc="10.0.2.15", pdst="10.0.2.2"), "ff:ff:ff:ff:ff:ff"))
    assert (reply[ARP].op, reply[ARP].hwsrc, reply[ARP].psrc, reply.dst) == (2, GATEWAY, "10.0.2.2", GUEST)
    assert b.guest(frame(ARP(op=1, hwsrc=GUEST, psrc="10.0.2.15", pdst="10.0.2.77"), "ff:ff:ff:ff:ff:ff")) == []
    assert b.up == []


def test_neighbour_discovery_is_answered_here():
    b = Bench()
    source = "fe80::5054:ff:fe00:f"
    solicit = IPv6(src=source, dst="ff02::1:ff00:2", hlim=255) / ICMPv6ND_NS(tgt=GATEWAY6)
    (advert,) = b.guest(frame(solicit / ICMPv6NDOptSrcLLAddr(lladdr=GUEST), "33:33:ff:00:00:02"))
    assert (advert[ICMPv6ND_NA].tgt, advert[IPv6].dst) == (GATEWAY6, source)
    probe = IPv6(src="::", dst="ff02::1:ff00:f", hlim=255) / ICMPv6ND_NS(tgt=source)  # is my address free?
    assert b.guest(frame(probe, "33:33:ff:00:00:0f")) == []
    asks = IPv6(src=source, dst="ff02::2", hlim=255) / ICMPv6ND_RS() / ICMPv6NDOptSrcLLAddr(lladdr=GUEST)
    (router,) = b.guest(frame(asks, "33:33:00:00:00:02"))
    assert router[ICMPv6ND_RA].routerlifetime == 1800
    assert b.up == []


def test_a_lease_is_given_here():
    b = Bench()
    asks = IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67)
    asks /= BOOTP(chaddr=mac(GUEST), xid=5) / DHCP(options=[("message-type", "discover"), "end"])
    heard = b.guest(frame(asks, "ff:ff:ff:ff:ff:ff"))
    assert [(each.dst, each[BOOTP].yiaddr) for each in heard] == [
        ("ff:ff:ff:ff:ff:ff", "10.0.2.15"), (GUEST, "10.0.2.15"),
    ]  # fmt: skip
    assert b.up == []


def test_packets_travel_without_header_tag_and_padding():
    b = Bench()
    packet = IP(src="10.0.2.15", dst="203.0.113.9") / UDP(sport=5, dport=53) / Raw(b"ab")
    assert b.guest(bytes(frame(packet)) + bytes(30), frame(Dot1Q(vlan=0, prio=5) / packet)) == []
    assert b.up == [bytes(packet)] * 2
    assert b.guest(frame(Dot1Q(vlan=5) / packet), frame(packet, "52:54:00:00:00:99")) == []
    assert b.up == []
    assert b.edge.counters["edge.vlan"] == b.edge.counters["edge.not-for-us"] == 1


def test_a_guest_with_a_static_address_is_known_by_what_it_sends():
    b = Bench()
    b.guest(frame(IP(src="10.0.2.99", dst="203.0.113.9") / UDP()))
    (heard,) = b.world(IP(src="203.0.113.9", dst="10.0.2.99") / UDP())
    assert (heard.dst, heard.src, heard[IP].src) == (GUEST, GATEWAY, "203.0.113.9")


@pytest.mark.parametrize("family", [4, 6])
def test_who_never_spoke_is_asked_for_and_then_gets_what_waited(family):
    b = Bench()
    if family == 4:
        packets = [IP(src="10.0.2.2", dst="10.0.2.15", id=i) / UDP() for i in range(3)]
        says = frame(ARP(op=2, hwsrc=GUEST, psrc="10.0.2.15", hwdst=GATEWAY, pdst="10.0.2.2"))
    else:
        packets = [IPv6(src=GATEWAY6, dst="fd00:aee0::f", fl=i) / UDP() for i in range(3)]
        says = IPv6(src="fd00:aee0::f", dst="fe80::ff:fe00:1", hlim=255)
        says = frame(says / ICMPv6ND_NA(tgt="fd00:aee0::f", S=1, O=1) / b"\2\1" / bytes(mac(GUEST)))
        says = Ether(bytes(says))
        del says[IPv6].plen
        del says[ICMPv6ND_NA].cksum
    (asked,) = b.world(*packets)
    if family == 4:
        assert (asked[ARP].op, asked[ARP].pdst, asked.dst) == (1, "10.0.2.15", "ff:ff:ff:ff:ff:ff")
    else:
        assert (asked[ICMPv6ND_NS].tgt, asked[IPv6].dst) == ("fd00:aee0::f", "ff02::1:ff00:f")
    assert b.edge.poll_at(0) <= SECOND
    heard = b.guest(says, now=SECOND // 2)
    assert [bytes(each.payload) for each in heard] == [bytes(packet) for packet in packets]
    assert all(each.dst == GUEST for each in heard)
    assert b.world(*packets, now=SECOND)[0].dst == GUEST


def test_who_does_not_answer_is_asked_three_times_and_then_given_up():
    b = Bench()
    packet = IP(src="10.0.2.2", dst="10.0.2.15") / UDP()
    asked = [len([each for each in b.world(now=0) if ARP in each])]
    asked += [len([e for e in b.world(packet, now=0) if ARP in e])]
    for second in range(1, 6):
        asked.append(len([each for each in b.world(now=second * SECOND) if ARP in each]))
    assert asked == [0, 1, 1, 1, 0, 0, 0]
    assert b.edge.counters["edge.neighbour-unresolved"] == 1


def test_what_waits_for_strangers_is_bounded():
    b = Bench()
    for i in range(EDGE_HELD + 3):
        b.world(IP(src="10.0.2.2", dst="10.0.2.15", id=i) / UDP())
    for i in range(EDGE_ASKED + 3):
        b.world(IP(src="10.0.2.2", dst=f"10.0.3.{i}") / UDP())
    assert b.edge.counters["edge.neighbour-unresolved"] == 3 + 4
    heard = b.guest(frame(IP(src="10.0.2.15", dst="10.0.2.2") / UDP()))
    assert [each[IP].id for each in heard if IP in each] == list(range(3, EDGE_HELD + 3))


def test_frames_that_are_none_are_dropped_and_counted():
    b = Bench()
    for raw in (b"\0" * 5, b"\xff" * 13, bytes(frame(Raw(b"x")))[:14], bytes(frame(ARP()))[:20]):
        assert b.out.push(raw, 0)
    b.edge.step(0)
    assert b.up == [] and len(b.into) == 0
    counted = b.edge.counters
    assert counted["edge.ethernet-short"] == 2 and counted["stack.drop.arp-short"] == 1
    assert b.edge.poll_at(0) > 0


def test_with_nothing_to_do_it_sleeps():
    b = Bench()
    b.edge.step(0)
    assert 0 < b.edge.poll_at(0) <= 16 * SECOND < NEVER  # until the first advertisement
