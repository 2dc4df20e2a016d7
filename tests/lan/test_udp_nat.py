"""The UDP NAT: symmetric, bounded, idle flows end."""

from __future__ import annotations

from aero_lab.lan.config import LanConfig
from aero_lab.lan.dns import DnsServer
from aero_lab.lan.flows import FlowTable
from aero_lab.lan.policy import Policy
from aero_lab.lan.udp_nat import UdpNat
from aero_lab.limits import NEVER, SECOND
from aero_lab.wire import icmp
from aero_lab.wire.address import ip
from aero_lab.wire.ipv4 import Ipv4

from .fakes import FakeEgress, FakeStack

GUEST = (ip("10.0.2.15"), 40000)
PUBLIC = (ip("8.8.8.8"), 53)
LAB, LOOPBACK = (ip("203.0.113.11"), 7), (ip("127.0.0.1"), 7777)


class Bench:
    def __init__(self, **config):
        self.config = LanConfig(forward_udp={LAB: LOOPBACK}, **config)
        self.table, self.stack, self.egress = FlowTable(), FakeStack(), FakeEgress()
        dns = DnsServer(self.config, lambda *_: None, lambda *_: None)
        self.nat = UdpNat(self.config, self.table, dns, self.stack)
        self.nat.egress = self.egress


def test_flow_is_opened_once_and_answers_bear_the_address_aimed_at():
    b = Bench()
    b.nat.outbound(GUEST, LAB, b"one", 1)
    b.nat.outbound(GUEST, LAB, b"two", 2)
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
        b.nat.outbound(guest, target, b"", 1)
    assert len(b.nat) == 3


def test_idle_flows_end_and_both_directions_keep_them_alive():
    b = Bench()
    b.nat.outbound(GUEST, PUBLIC, b"", 0)
    b.nat.outbound(GUEST, LAB, b"", 10 * SECOND)
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
    b.nat.outbound(GUEST, PUBLIC, b"again", 120 * SECOND)
    assert b.egress.calls[-1] == ("send_datagram", 3, b"again")


def test_no_idle_time_means_never():
    b = Bench(udp_idle=0)
    b.nat.outbound(GUEST, PUBLIC, b"", 0)
    b.nat.tick(10**18)
    assert len(b.nat) == 1 and b.nat.poll_at() == NEVER


def test_flows_beyond_the_limit_are_dropped_and_counted():
    b = Bench(max_udp=2)
    for port in range(5):
        b.nat.outbound((GUEST[0], 1000 + port), PUBLIC, b"x", 1)
    assert len(b.nat) == 2
    assert b.nat.counters["limit"] == 3


def test_chatter_is_denied_quietly():
    b = Bench(policy=Policy(allow_private=True))
    for target in (
        "224.0.0.252",
        "239.255.255.250",
        "255.255.255.255",
        "10.0.2.255",
        "10.0.2.2",
        "0.0.0.0",
        "ff02::1:3",
    ):
        b.nat.outbound(GUEST, (ip(target), 5355), b"who", 1)
    assert b.egress.calls == [] and len(b.table) == 0 and b.stack.icmp == []
    assert sum(b.nat.counters.values()) == 7


def test_port_policy_holds_for_forwards_too():
    b = Bench(policy=Policy(udp_ports=frozenset({53})))
    b.nat.outbound(GUEST, LAB, b"x", 1)
    b.nat.outbound(GUEST, PUBLIC, b"x", 1)
    assert [call[0] for call in b.egress.calls] == ["open_udp", "send_datagram"]
    assert b.nat.counters["denied-port"] == 1


def test_refused_is_told_to_the_guest_as_port_unreachable():
    b = Bench()
    b.nat.outbound(GUEST, LAB, b"anyone", 1)
    b.nat.failed(1, "refused", 2)
    (src, dst, kind, code, rest, quoted) = b.stack.icmp[0]
    assert (src, dst, kind, code, rest) == (LAB[0], GUEST[0], icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, 0)
    packet = Ipv4.parse(quoted)
    assert (packet.src, packet.dst, packet.protocol) == (GUEST[0], LAB[0], 17)
    assert packet.payload[:4] == GUEST[1].to_bytes(2, "big") + LAB[1].to_bytes(2, "big")
    assert [r.reason for r in b.table.ended] == ["refused"]
    assert ("close", 1) not in b.egress.calls
    b.nat.inbound(1, b"late", 3)
    assert b.stack.sent == []


def test_unreachable_is_told_by_the_router():
    b = Bench()
    b.nat.outbound(GUEST, PUBLIC, b"", 1)
    b.nat.failed(1, "unreachable", 2)
    assert b.stack.icmp[0][:4] == (b.config.gateway, GUEST[0], icmp.UNREACHABLE, icmp.HOST_UNREACHABLE)


def test_drops_are_counted_on_both_sides():
    b = Bench()
    b.egress.dropping = True
    b.nat.outbound(GUEST, PUBLIC, b"x", 1)
    b.stack.full = True
    b.nat.inbound(1, b"y", 2)
    assert b.nat.counters == {"egress-dropped": 1, "no-room-to-guest": 1}
    row = b.table.rows()[0]
    assert (row["datagrams_up"], row["datagrams_down"]) == (0, 0)


def test_close_all():
    b = Bench()
    b.nat.outbound(GUEST, PUBLIC, b"x", 1)
    b.nat.close_all("lan-closed", 2)
    assert len(b.nat) == 0 and b.egress.calls[-1] == ("close", 1)
