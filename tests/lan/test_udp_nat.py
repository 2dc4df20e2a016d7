"""The UDP NAT: symmetric, bounded, idle flows end."""

from __future__ import annotations

import pytest

from aero_lab.lan.config import LanConfig
from aero_lab.lan.dns import DnsServer
from aero_lab.lan.flows import FlowTable
from aero_lab.lan.policy import Policy
from aero_lab.lan.udp_nat import UdpNat
from aero_lab.limits import NEVER, SECOND
from aero_lab.stack import Datagram
from aero_lab.wire import icmp
from aero_lab.wire.address import ip
from aero_lab.wire.ipv4 import Ipv4
from aero_lab.wire.ipv6 import Ipv6

from .fakes import FakeEgress, FakeStack

GUEST = (ip("10.0.2.15"), 40000)
PUBLIC = (ip("8.8.8.8"), 53)
LAB, LOOPBACK = (ip("203.0.113.11"), 7), (ip("127.0.0.1"), 7777)


def datagram(guest, target, payload, group=False):
    return Datagram(*guest, *target, payload, 64, b"", group)


class Bench:
    def __init__(self, **config):
        self.config = LanConfig(forward_udp={LAB: LOOPBACK}, **config)
        self.table, self.stack, self.egress = FlowTable(), FakeStack(), FakeEgress()
        dns = DnsServer(self.config, lambda *_: None, lambda *_: None)
        self.nat = UdpNat(self.config, self.table, dns, self.stack)
        self.nat.egress = self.egress

    def out(self, guest, target, payload, now, group=False):
        self.nat.outbound(datagram(guest, target, payload, group), now)


def test_flow_is_opened_once_and_answers_bear_the_address_aimed_at():
    b = Bench()
    b.out(GUEST, LAB, b"one", 1)
    b.out(GUEST, LAB, b"two", 2)
    assert b.egress.calls == [
        ("open_udp", 1, *LOOPBACK),
        ("send_datagram", 1, b"one"),
        ("send_datagram", 1, b"two"),
    ]
    b.nat.inbound(1, b"answer", 3)
    assert b.stack.sent == [(*LAB, *GUEST, b"answer")]
    row = b.table.rows()[0]
    assert (row["datagrams_up"], row["datagrams_down"], row["bytes_up"], row["bytes_down"]) == (2, 1, 6, 6)


def test_each_guest_port_and_each_remote_is_a_flow_of_its_own():
    b = Bench()
    for guest, target in [(GUEST, PUBLIC), ((GUEST[0], 40001), PUBLIC), (GUEST, (PUBLIC[0], 54)), (GUEST, PUBLIC)]:
        b.out(guest, target, b"", 1)
    assert len(b.nat) == 3


def test_idle_flows_end_and_both_directions_keep_them_alive():
    b = Bench()
    b.out(GUEST, PUBLIC, b"", 0)
    b.out(GUEST, LAB, b"", 10 * SECOND)
    assert b.nat.poll_at() == 60 * SECOND
    b.nat.inbound(1, b"", 50 * SECOND)
    assert b.nat.poll_at() == 70 * SECOND
    b.nat.tick(70 * SECOND - 1)
    assert len(b.nat) == 2
    b.nat.tick(70 * SECOND)
    assert [r.reason for r in b.table.ended] == ["idle"]
    assert 1 in b.nat and 2 not in b.nat
    b.nat.tick(110 * SECOND)
    assert len(b.nat) == 0
    assert b.nat.poll_at() == NEVER
    assert [call for call in b.egress.calls if call[0] == "close"] == [("close", 2), ("close", 1)]
    b.out(GUEST, PUBLIC, b"again", 120 * SECOND)
    assert b.egress.calls[-1] == ("send_datagram", 3, b"again")


def test_no_idle_time_means_never():
    b = Bench(udp_idle=0)
    b.out(GUEST, PUBLIC, b"", 0)
    b.nat.tick(10**18)
    assert len(b.nat) == 1 and b.nat.poll_at() == NEVER


def test_flows_beyond_the_limit_are_dropped_and_counted():
    b = Bench(max_udp=2)
    for port in range(5):
        b.out((GUEST[0], 1000 + port), PUBLIC, b"x", 1)
    assert len(b.nat) == 2
    assert b.nat.counters["limit"] == 3


@pytest.mark.parametrize(
    ("target", "port"),
    [
        ("224.0.0.252", 5355),  # LLMNR
        ("ff02::1:3", 5355),
        ("239.255.255.250", 1900),  # SSDP
        ("ff02::c", 1900),
        ("224.0.0.251", 5353),  # mDNS
        ("255.255.255.255", 67),
        ("10.0.2.255", 137),  # NetBIOS
        ("0.0.0.0", 9),
    ],
)
def test_chatter_is_no_flow_and_gets_no_answer(target, port):
    b = Bench(policy=Policy(allow_private=True))
    b.out(GUEST, (ip(target), port), b"who", 1)
    assert b.egress.calls == [] and len(b.table) == 0
    assert b.stack.icmp == b.stack.errors == [], "an error must not answer what was sent to a group"
    assert b.nat.counters == {"chatter": 1}


def test_what_arrived_by_group_is_chatter_whatever_its_address():
    b = Bench()
    b.out(GUEST, PUBLIC, b"x", 1, group=True)
    assert b.nat.counters == {"chatter": 1} and b.egress.calls == b.stack.errors == []


@pytest.mark.parametrize(
    ("target", "why", "how"),
    [
        (("192.168.1.1", 53), "private", "prohibited"),
        (("169.254.169.254", 80), "metadata", "prohibited"),
        (("fd00::1", 80), "private", "prohibited"),
        (("8.8.8.8", 54), "port", "prohibited"),
        (("10.0.2.2", 161), "gateway", "port-unreachable"),
    ],
)
def test_what_the_policy_forbids_is_told_to_the_guest(target, why, how):
    b = Bench(policy=Policy(udp_ports=frozenset({53, 80, 161})))
    where = (ip(target[0]), target[1])
    b.out(GUEST, where, b"x", 1)
    assert b.stack.errors == [(*where, how)]
    assert b.nat.counters == {f"denied-{why}": 1}
    assert b.egress.calls == [] and len(b.table) == 0


def test_port_policy_holds_for_forwards_too():
    b = Bench(policy=Policy(udp_ports=frozenset({53})))
    b.out(GUEST, LAB, b"x", 1)
    b.out(GUEST, PUBLIC, b"x", 1)
    assert [call[0] for call in b.egress.calls] == ["open_udp", "send_datagram"]
    assert b.nat.counters["denied-port"] == 1


V6_GUEST, V6_LAB = (ip("fd00:aee0::15"), 40000), (ip("2606:4700::1111"), 53)


@pytest.mark.parametrize(
    ("why", "v4", "v6"),
    [
        ("refused", (3, 3), (1, 4)),
        ("unreachable", (3, 1), (1, 3)),
        ("timeout", (3, 1), (1, 3)),
        ("net-unreachable", (3, 0), (1, 0)),
        ("denied", (3, 13), (1, 1)),
    ],
)
@pytest.mark.parametrize("family", [4, 6])
def test_an_error_is_told_to_the_guest_in_its_kind_and_the_flow_goes_on(family, why, v4, v6):
    b = Bench(gateway6=ip("fd00:aee0::2"))
    guest, target, own = (GUEST, LAB, b.config.gateway) if family == 4 else (V6_GUEST, V6_LAB, b.config.gateway6)
    b.out(guest, target, b"anyone", 1)
    b.nat.undeliverable(1, why, 2)
    (src, dst, kind, code, rest, quoted) = b.stack.icmp[0]
    assert (src, dst, rest) == (target[0] if why == "refused" else own, guest[0], 0)
    assert (kind, code) == (v4 if family == 4 else v6)
    packet = Ipv4.parse(quoted) if family == 4 else Ipv6.parse(quoted)
    assert (packet.src, packet.dst) == (guest[0], target[0])
    assert packet.payload[:4] == guest[1].to_bytes(2, "big") + target[1].to_bytes(2, "big")
    assert len(b.nat) == 1 and b.table.rows()[0]["state"] == why
    b.nat.inbound(1, b"late, but here", 3)
    assert len(b.stack.sent) == 1 and b.table.rows()[0]["state"] == "open"


def test_a_flow_that_only_an_error_answered_ends_with_its_reason_and_makes_room():
    b = Bench(max_udp=2)
    b.out(GUEST, PUBLIC, b"", 0)
    b.out(GUEST, LAB, b"", 1)
    b.nat.undeliverable(2, "refused", 2)
    b.out((GUEST[0], 1), LAB, b"", 3)
    assert [(r.flow, r.reason) for r in b.table.ended] == [(2, "refused")]
    assert 1 in b.nat and 3 in b.nat
    b.out((GUEST[0], 2), LAB, b"", 3)
    assert b.nat.counters["limit"] == 1, "a scan costs no flow that is in use"
    b.nat.undeliverable(1, "unreachable", 4)
    b.nat.tick(100 * SECOND)
    assert sorted(r.reason for r in b.table.ended) == ["idle", "refused", "unreachable"]


def test_a_flow_that_cannot_be_had_is_told_and_gone():
    b = Bench()
    b.out(GUEST, PUBLIC, b"x", 1)
    b.nat.failed(1, "net-unreachable", 2)
    assert b.stack.icmp[0][:4] == (b.config.gateway, GUEST[0], icmp.UNREACHABLE, icmp.NET_UNREACHABLE)
    assert [r.reason for r in b.table.ended] == ["net-unreachable"]
    assert ("close", 1) not in b.egress.calls
    b.nat.inbound(1, b"late", 3)
    b.nat.undeliverable(1, "refused", 3)
    assert b.stack.sent == [] and len(b.stack.icmp) == 1


def test_drops_are_counted_on_both_sides():
    b = Bench()
    b.egress.dropping = True
    b.out(GUEST, PUBLIC, b"x", 1)
    b.stack.full = True
    b.nat.inbound(1, b"y", 2)
    assert b.nat.counters == {"egress-dropped": 1, "no-room-to-guest": 1}
    row = b.table.rows()[0]
    assert (row["datagrams_up"], row["datagrams_down"]) == (0, 0)


def test_close_all():
    b = Bench()
    b.out(GUEST, PUBLIC, b"x", 1)
    b.nat.close_all("lan-closed", 2)
    assert len(b.nat) == 0 and b.egress.calls[-1] == ("close", 1)
