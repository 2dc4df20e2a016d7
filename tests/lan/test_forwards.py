"""Forwards from the host to the guest, move by move."""

from __future__ import annotations

import pytest

from aero_lab.audit import Audit
from aero_lab.bounds import FORWARD_CONNECT, LAN_FORWARDS
from aero_lab.errors import UsageError
from aero_lab.lan.config import LanConfig
from aero_lab.lan.dns import DnsServer
from aero_lab.lan.flows import FlowTable
from aero_lab.lan.forwards import Forwards
from aero_lab.lan.tcp_nat import TcpNat
from aero_lab.lan.udp_nat import UdpNat
from aero_lab.limits import NEVER, SECOND
from aero_lab.stack import Datagram
from aero_lab.wire.address import ip
from aero_lab.wire.dhcp import Dhcp

from .bench import VirtualBench
from .fakes import FakeEgress, FakeStack

GUEST, GATEWAY, LOOPBACK, PEER = ip("10.0.2.15"), ip("10.0.2.2"), ip("127.0.0.1"), (ip("127.0.0.1"), 5555)


class Bench:
    def __init__(self, **config):
        self.config = LanConfig(**config)
        self.audit = Audit()
        self.table, self.stack, self.egress = FlowTable(), FakeStack(), FakeEgress()
        dns = DnsServer(self.config, lambda *_: None, lambda *_: None)
        self.tcp = TcpNat(self.config, self.table, dns, self.stack)
        self.udp = UdpNat(self.config, self.table, dns, self.stack)
        self.forwards = Forwards(self.tcp, self.udp, lambda: GUEST, self.audit.source(0))
        self.tcp.egress = self.udp.egress = self.forwards.egress = self.egress

    def open(self, protocol="tcp", port=80):
        return self.forwards.open(protocol, (LOOPBACK, 0), port, 1)

    def come(self, forward, peer=PEER):
        flow = self.forwards.accepted(forward.number, peer, 10)
        return flow, self.stack.connections[-1] if self.stack.connections else None

    def ended(self):
        return [record.reason for record in self.table.ended]


def test_a_connection_is_asked_of_the_guest_and_read_only_after_its_answer():
    b = Bench()
    forward = b.open()
    assert forward.host == (LOOPBACK, 40001)
    flow, conn = b.come(forward)
    assert conn.remote == (GUEST, 80) and conn.local[0] == GATEWAY, "the guest sees the gateway"
    assert b.tcp.room(flow) == 0 and ("credit", flow) not in b.egress.calls
    b.tcp.established(conn, 20)
    assert ("credit", flow) in b.egress.calls
    conn.room = 1 << 20
    assert b.tcp.room(flow) == 1 << 20
    b.tcp.data(flow, memoryview(b"GET"), 30)
    assert conn.written == b"GET"
    conn.inbox += b"page"
    b.tcp.readable(conn, 40)
    assert b.egress.taken[flow] == b"page"
    (row,) = b.table.rows()
    assert (row["direction"], row["state"], row["outside"]) == ("in", "open", "127.0.0.1:5555")
    assert (row["guest"], row["bytes_down"], row["bytes_up"]) == ("10.0.2.15:80", 3, 4)
    assert row["ack_policy"] is None


@pytest.mark.parametrize(
    ("said", "noted"),
    [("refused", "refused"), ("reset", "refused"), ("timeout", "timeout"), ("unreachable", "unreachable")],
)
def test_a_guest_that_says_no_resets_the_peer(said, noted):
    b = Bench()
    flow, conn = b.come(b.open())
    b.tcp.closed(conn, said, 20)
    assert b.egress.calls[-1] == ("reset", flow)
    assert b.ended() == [noted]
    assert b.tcp.poll_at() == NEVER


def test_a_guest_that_says_nothing_is_given_up():
    b = Bench()
    flow, conn = b.come(b.open())
    assert b.tcp.poll_at() == 10 + FORWARD_CONNECT
    b.tcp.tick(9 + FORWARD_CONNECT)
    assert len(b.tcp) == 1
    b.tcp.tick(10 + FORWARD_CONNECT)
    assert b.egress.calls[-1] == ("reset", flow)
    assert conn.calls == [("abort",)] and b.ended() == ["timeout"]


def test_half_close_both_ways_and_mirroring_is_none_of_it():
    b = Bench(ack_policy="mirror")
    flow, conn = b.come(b.open())
    b.tcp.established(conn, 20)
    assert conn.released is None
    b.tcp.eof(flow, 30)
    assert conn.calls == [("shutdown",)]
    conn.inbox += b"answer"
    b.tcp.readable(conn, 40)
    b.tcp.end_of_stream(conn, 50)
    assert b.egress.taken[flow] == b"answer"
    assert b.egress.calls[-2:] == [("shutdown", flow), ("close", flow)]
    assert b.ended() == ["closed"]


def test_what_comes_from_outside_leaves_the_guest_half_of_the_flows():
    b = Bench(max_tcp=8, max_udp=4)
    tcp, udp = b.open(), b.open("udp")
    numbers = [b.come(tcp, (LOOPBACK, 6000 + i))[0] for i in range(6)]
    assert [n is not None for n in numbers] == [True] * 4 + [False] * 2
    assert b.tcp.counters["limit"] == 2
    numbers = [b.come(udp, (LOOPBACK, 6000 + i))[0] for i in range(3)]
    assert [n is not None for n in numbers] == [True, True, False]
    b.tcp.closed(b.stack.connections[0], "refused", 20)
    assert b.come(tcp)[0] is not None, "an ended flow makes room"


def test_no_slot_turns_the_peer_away():
    b = Bench()
    b.stack.slots = 0
    assert b.come(b.open())[0] is None
    assert b.tcp.counters["no-slot"] == 1 and len(b.table) == 0


def guest_datagram(target, payload, port=53):
    return Datagram(GUEST, port, *target, payload, 64, b"")


def test_each_udp_peer_is_a_port_of_the_gateway():
    b = Bench()
    forward = b.open("udp", 53)
    one, two = (b.come(forward, (LOOPBACK, port))[0] for port in (6001, 6002))
    b.udp.inbound(one, b"question 1", 20)
    b.udp.inbound(two, b"question 2", 21)
    (_, port1, _, _, _), (_, port2, _, _, _) = b.stack.sent
    assert b.stack.sent == [
        (GATEWAY, port1, GUEST, 53, b"question 1"),
        (GATEWAY, port2, GUEST, 53, b"question 2"),
    ]
    assert port1 != port2
    b.udp.outbound(guest_datagram((GATEWAY, port2), b"answer 2"), 30)
    assert b.egress.calls[-1] == ("send_datagram", two, b"answer 2")
    assert [row["direction"] for row in b.table.rows()] == ["in", "in"]
    b.udp.outbound(guest_datagram((GATEWAY, port2), b"from elsewhere", port=54), 40)
    assert b.stack.errors == [(GATEWAY, port2, "port-unreachable")], "only what was asked may answer"
    b.udp.tick(30 + 60 * SECOND)
    assert b.ended() == ["idle", "idle"]


def test_the_guests_port_unreachable_ends_the_peers_flow():
    b = Bench()
    flow, _ = b.come(b.open("udp", 53))
    b.udp.inbound(flow, b"x", 20)
    _, port, _, _, _ = b.stack.sent[0]
    assert not b.udp.unreachable_guest((GATEWAY, port), (GUEST, 54), 30)
    assert b.udp.unreachable_guest((GATEWAY, port), (GUEST, 53), 30)
    assert b.ended() == ["refused"] and b.egress.calls[-1] == ("close", flow)


def test_closing_a_forward_takes_nobody_in_and_ends_udp_only():
    b = Bench()
    tcp, udp, other = b.open(), b.open("udp", 53), b.open("udp", 54)
    b.come(tcp)
    b.come(udp)
    b.come(other)
    for _ in range(2):
        b.forwards.close(tcp, 20)
        b.forwards.close(udp, 20)
    assert [call for call in b.egress.calls if call[0] == "unlisten"] == [("unlisten", 1), ("unlisten", 2)]
    assert len(b.tcp) == 1 and len(b.udp) == 1 and b.ended() == ["closed"]
    assert b.forwards.accepted(tcp.number, PEER, 30) is None
    assert [(r["reason"], r["protocol"]) for r in b.audit.rows()] == [
        ("opened", "tcp"),
        ("opened", "udp"),
        ("opened", "udp"),
        ("closed", "tcp"),
        ("closed", "udp"),
    ]


@pytest.mark.parametrize(
    ("protocol", "host_port", "port", "complaint"),
    [
        ("sctp", 0, 80, "tcp or udp"),
        ("tcp", 0, 0, "guest's port must be 1 to 65535"),
        ("tcp", 0, 65536, "guest's port must be 1 to 65535"),
        ("tcp", -1, 80, "host's port must be 0 to 65535"),
        ("tcp", 70000, 80, "host's port must be 0 to 65535"),
    ],
)
def test_wrong_forwards_are_one_line(protocol, host_port, port, complaint):
    b = Bench()
    with pytest.raises(UsageError, match=complaint):
        b.forwards.open(protocol, (LOOPBACK, host_port), port, 1)
    assert len(b.forwards) == 0


def test_their_number_is_bounded():
    b = Bench()
    for _ in range(LAN_FORWARDS):
        b.open()
    with pytest.raises(UsageError, match="already"):
        b.open()
    b.forwards.close_all(5)
    assert len(b.forwards) == 0


def test_the_guest_is_where_its_lease_or_else_its_own_word_says():
    b = VirtualBench()
    assert b.lan.guest_address() == GUEST, "before it has said anything"
    static = ip("10.0.2.77")
    b.guest.stack.set_address(((static, 24),), router4=GATEWAY)
    for _ in range(3):
        b.guest.stack.udp_send(static, 9, GATEWAY, 99, b"", b.now)
        b.run_for(0.1)
    assert b.lan.guest_address() == static
    b.lan.dhcp.handle(Dhcp(1, 7, b"\2\0\0\0\0\x99", ((53, b"\3"), (50, GUEST), (54, GATEWAY))).emit())
    assert b.lan.dhcp.leased_to is not None and b.lan.guest_address() == GUEST
