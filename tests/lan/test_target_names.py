"""Host names in the forward map: looked up at use, IPv4 first, one lookup for all who ask, above the address policy."""

from __future__ import annotations

import pytest

from aero_lab.bounds import NAT_NAME_DATAGRAMS, NAT_NAMES_PENDING
from aero_lab.egress.contract import Answer
from aero_lab.lan.config import LanConfig
from aero_lab.lan.dns import DnsServer
from aero_lab.lan.flows import FlowTable
from aero_lab.lan.policy import Policy
from aero_lab.lan.target_names import TargetNames
from aero_lab.lan.tcp_nat import TcpNat
from aero_lab.lan.udp_nat import UdpNat
from aero_lab.limits import NEVER, SECOND
from aero_lab.services import identity_forwards, names
from aero_lab.stack import Datagram
from aero_lab.wire.address import ip

from .bench import VirtualBench
from .fakes import FakeConnection, FakeEgress, FakeStack

GUEST, WEB, OTHER = (ip("10.0.2.15"), 40000), (ip("203.0.113.80"), 80), (ip("203.0.113.81"), 80)
INTERNAL, INTERNAL6 = ip("192.168.7.7"), ip("fd00::7")


class Bench:
    def __init__(self, timeout=2 * SECOND, **config):
        forwards = {WEB: ("web.internal", 8080), OTHER: ("web.internal", 9090)}
        self.config = LanConfig(forward_tcp=forwards, forward_udp=forwards, **config)
        self.table, self.stack, self.egress = FlowTable(), FakeStack(), FakeEgress()
        self.asked = []
        self.names = TargetNames(lambda query, *rest: self.asked.append((query, *rest)), timeout)
        dns = DnsServer(self.config, lambda *_: None, lambda *_: None)
        self.tcp = TcpNat(self.config, self.table, dns, self.stack, self.names)
        self.udp = UdpNat(self.config, self.table, dns, self.stack, self.names)
        self.tcp.egress = self.udp.egress = self.egress

    def answer(self, *addresses, at=5):
        query, name, rtype, _ = self.asked[-1]
        self.names.resolved(query, Answer.of(name, addresses, 60) if addresses else Answer("nodata"), at)

    def syn(self, target=WEB):
        conn = FakeConnection(local=target)
        self.tcp.syn(conn, 1)
        return conn

    def datagram(self, payload, target=WEB):
        self.udp.outbound(Datagram(*GUEST, *target, payload, 64, b""), 1)


def test_a_connection_waits_for_the_name_and_goes_where_it_leads():
    b = Bench()
    conn = b.syn()
    assert b.egress.calls == [] and conn.calls == []
    assert b.asked == [(-1, "web.internal", "A", 1)]
    assert b.table.rows()[0]["outside"] == "web.internal:8080"
    b.answer(INTERNAL)
    assert b.egress.calls == [("open_tcp", 1, INTERNAL, 8080)], "the operator named it: private is no objection"
    assert b.table.rows()[0]["outside"] == "192.168.7.7:8080"
    b.tcp.opened(1, 6)
    assert conn.calls == [("accept",)]


def test_one_lookup_serves_all_and_nothing_is_remembered():
    b = Bench()
    b.syn()
    b.syn(OTHER)
    b.datagram(b"x")
    assert len(b.asked) == 1
    b.answer(INTERNAL)
    assert [call[:1] + call[2:] for call in b.egress.calls[:2]] == [
        ("open_tcp", INTERNAL, 8080),
        ("open_tcp", INTERNAL, 9090),
    ]
    assert b.egress.calls[2:] == [("open_udp", 3, INTERNAL, 8080), ("send_datagram", 3, b"x")]
    b.syn()
    assert len(b.asked) == 2, "what a name means may change"


def test_ipv6_when_there_is_no_ipv4():
    b = Bench()
    b.syn()
    b.answer()
    assert b.asked[-1][1:3] == ("web.internal", "AAAA")
    b.answer(INTERNAL6)
    assert b.egress.calls == [("open_tcp", 1, INTERNAL6, 8080)]


def test_a_name_that_leads_nowhere_is_unreachable():
    b = Bench()
    conn = b.syn()
    b.datagram(b"x")
    b.answer()
    b.answer()
    assert conn.calls == [("refuse", "host-unreachable")]
    assert [r.reason for r in b.table.ended] == ["unreachable", "unreachable"]
    assert b.stack.icmp[0][2:4] == (3, 1)
    assert len(b.names) == 0 and b.names.counters["names-failed"] == 1


def test_silence_is_a_failure_in_time_and_a_late_answer_nothing():
    b = Bench()
    conn = b.syn()
    assert b.names.poll_at() == 1 + 2 * SECOND
    b.names.tick(2 * SECOND)
    assert conn.calls == []
    b.names.tick(1 + 2 * SECOND)
    assert conn.calls == [("refuse", "host-unreachable")]
    assert b.names.poll_at() == NEVER
    b.answer(INTERNAL)
    assert b.egress.calls == []
    b.syn()
    b.names.resolved(-1, Answer.of("web.internal", (INTERNAL,), 60), 9)
    assert b.egress.calls == [], "an answer to the first lookup is none to the second"
    assert Bench(timeout=0).names.poll_at() == NEVER


def test_a_guest_that_gave_up_meanwhile_costs_nothing():
    b = Bench()
    conn = b.syn()
    b.tcp.closed(conn, "reset", 2)
    b.answer(INTERNAL)
    assert b.egress.calls == [("reset", 1)]


def test_port_rules_hold_before_any_lookup():
    b = Bench(policy=Policy(tcp_ports=frozenset({443}), udp_ports=frozenset()))
    conn = b.syn()
    b.datagram(b"x")
    assert b.asked == [] and conn.calls == [("refuse", "reset")]
    assert b.stack.errors == [(*WEB, "prohibited")]


def test_datagrams_wait_in_bounded_number_and_go_out_in_order():
    b = Bench()
    for i in range(NAT_NAME_DATAGRAMS + 3):
        b.datagram(b"%d" % i)
    assert b.udp.counters["name-not-known-yet"] == 3
    b.answer(INTERNAL)
    assert [call[2] for call in b.egress.calls[1:]] == [b"%d" % i for i in range(NAT_NAME_DATAGRAMS)]
    b.datagram(b"later")
    assert b.egress.calls[-1] == ("send_datagram", 1, b"later")


def test_names_at_once_are_bounded():
    found = []
    lookups = TargetNames(lambda *_: None, SECOND)
    for i in range(NAT_NAMES_PENDING + 2):
        lookups.find(f"host{i}", lambda address, now: found.append(address), 1)
    assert len(lookups) == NAT_NAMES_PENDING and found == [None, None]
    assert lookups.counters["names-limit"] == 2


@pytest.mark.parametrize("name", ["files.lab", "nowhere.lab"])
def test_through_the_whole_lan(name):
    tcp, udp = identity_forwards()
    b = VirtualBench(names=names(), forward_tcp={**tcp, WEB: (name, 80)}, forward_udp={**udp, OTHER: ("echo.lab", 7)})
    client = b.guest.open(WEB, b"GET /ncsi.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    b.run(lambda: client.reason is not None or client.ended, 10)
    row = b.lan_rows()[0]
    if name == "files.lab":
        assert client.got.endswith(b"Microsoft NCSI")
        assert row["outside"] == "203.0.113.10:80" and row["target"] == "203.0.113.80:80"
    else:
        assert not client.established and row["reason"] == "unreachable"
    b.guest.stack.udp_send(GUEST[0], GUEST[1], *OTHER, b"hello", b.now)
    assert b.run(lambda: bool(b.guest.datagrams), 5)
    assert (b.guest.datagrams[0].src, b.guest.datagrams[0].payload) == (OTHER[0], b"hello")
