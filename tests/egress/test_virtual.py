"""VirtualEgress: the contract that HostEgress keeps, kept in virtual time."""

from __future__ import annotations

import random

import pytest

from aero_lab.clock import Scheduler, VirtualClock
from aero_lab.egress.contract import Answer
from aero_lab.egress.virtual import VirtualEgress
from aero_lab.limits import MS, SECOND
from aero_lab.link import Link
from aero_lab.services.catalogue import CATALOGUE, RECORDS, Offer, make_services
from aero_lab.services.content import content_bytes
from aero_lab.services.far_end import FarEnd
from aero_lab.services.zone import own_soa
from aero_lab.wire import dns
from aero_lab.wire.address import ip
from aero_lab.wire.dns import Record

from .recording import RecordingSink

FILES, ECHO, SINK, SOURCE = (ip(f"203.0.113.{n}") for n in (10, 11, 12, 13))
FILES6, ECHO6 = ip("2001:db8:113::10"), ip("2001:db8:113::11")


class Bench:
    def __init__(self, link=None, far=None, connections=16, mtu=1500):
        rng = random.Random(1)
        self.sink = RecordingSink()
        self.far = far or FarEnd(rng, 0, mtu=mtu, max_connections=connections)
        self.egress = VirtualEgress(self.sink, rng, 0, self.far, link, mtu, max_connections=connections)
        self.scheduler = Scheduler(VirtualClock())
        self.scheduler.add(self.egress)

    @property
    def now(self):
        return self.scheduler.clock.now()

    def run(self, until, seconds=60):
        return self.scheduler.run(until, self.now + round(seconds * SECOND))

    def open(self, flow=1, where=(ECHO, 7)):
        self.egress.open_tcp(flow, *where, self.now)
        assert self.run(lambda: self.sink.told("opened", flow))


def test_open_takes_a_round_trip():
    b = Bench(Link(rtt="80ms"))
    b.open()
    assert b.now == 80 * MS


def test_data_both_ways_and_half_close():
    b = Bench()
    b.open()
    assert b.egress.send(1, [memoryview(b"hel"), memoryview(b"lo")], b.now) == 5
    assert b.run(lambda: b.sink.received[1] == b"hello")
    b.egress.shutdown(1, b.now)
    assert b.run(lambda: b.sink.told("eof", 1))
    b.egress.close(1, b.now)
    b.run(lambda: False, 200)
    assert b.egress.stack.open_connections == b.far.stack.open_connections == b.far.sessions == 0


def test_reading_is_bounded_by_room_and_goes_on_with_credit():
    b = Bench(Link(rtt="10ms"))
    b.sink.rooms[1] = 5000
    b.open(where=(SOURCE, 19))
    b.run(lambda: False, 10)
    assert len(b.sink.received[1]) == 5000
    assert b.far.stack.flows()[0]["bytes_out"] < 2 * 262144 + 5000, "the far end stands before a closed window"
    for _ in range(5):
        b.sink.rooms[1] = 100_000
        b.egress.credit(1, b.now)
        before = len(b.sink.received[1])
        assert b.run(lambda before=before: len(b.sink.received[1]) == before + 100_000)
    assert bytes(b.sink.received[1]) == content_bytes(len(b.sink.received[1]))
    b.egress.reset(1, b.now)
    b.run(lambda: False, 1)
    assert b.far.sessions == 0


def test_sending_is_cut_short_and_drained_tells():
    b = Bench(Link(rtt="10ms"))
    b.open(where=(SINK, 9))
    whole = memoryview(content_bytes(3_000_000))
    state = {"at": b.egress.send(1, [whole], b.now)}
    assert 0 < state["at"] < len(whole)

    def more(flow, now):
        state["at"] += b.egress.send(flow, [whole[state["at"] :]], now)

    b.sink.on_drained = more
    assert b.run(lambda: state["at"] == len(whole))
    b.egress.shutdown(1, b.now)
    assert b.run(lambda: b.sink.told("eof", 1))
    assert b.far.services.stream["sink"].received == 3_000_000


@pytest.mark.parametrize(
    ("where", "why"),
    [((ECHO, 8), "refused"), ((ip("203.0.113.99"), 80), "unreachable"), ((ip("2001:db8::1"), 80), "unreachable")],
)
def test_failures_are_told_once_and_free_the_number(where, why):
    b = Bench()
    b.egress.open_tcp(1, *where, 0)
    assert b.sink.calls == []
    assert b.run(lambda: bool(b.sink.calls), 200)
    assert b.sink.calls == [("failed", 1, why)]
    b.open(1)


def test_silence_is_a_timeout():
    b = Bench(Link(loss=1.0))
    b.egress.open_tcp(1, ECHO, 7, 0)
    assert b.run(lambda: bool(b.sink.calls), 600)
    assert b.sink.calls == [("failed", 1, "timeout")]


def test_no_slot_is_a_failure_not_an_exception():
    b = Bench(connections=1)
    b.open(1)
    b.egress.open_tcp(2, ECHO, 7, b.now)
    b.run(lambda: False, 1)
    assert ("failed", 2, "unreachable") in b.sink.calls


def test_reset_by_the_world():
    b = Bench()
    b.open()
    next(iter(b.far._joints.values())).conn.abort(b.now)
    assert b.run(lambda: b.sink.told("reset", 1))
    assert b.egress.send(1, [memoryview(b"x")], b.now) == 0


def test_unread_data_is_delivered_after_both_ends_closed():
    b = Bench()
    b.sink.rooms[1] = 10
    b.open()
    b.egress.send(1, [memoryview(b"0123456789abcdef")], b.now)
    b.egress.shutdown(1, b.now)
    b.run(lambda: False, 200)
    assert b.sink.received[1] == b"0123456789" and not b.sink.told("eof", 1)
    b.sink.rooms[1] = 100
    b.egress.credit(1, b.now)
    assert b.run(lambda: b.sink.told("eof", 1))
    assert b.sink.received[1] == b"0123456789abcdef"


def test_udp_names_and_echo():
    b = Bench(Link(rtt="20ms"))
    b.egress.open_udp(1, ECHO, 7, 0)
    assert b.egress.send_datagram(1, b"ping", 0)
    b.egress.resolve(2, "files.lab", "A", 0)
    b.egress.resolve(3, "files.lab", "AAAA", 0)
    b.egress.resolve(4, "nowhere.lab", "A", 0)
    assert b.egress.echo(5, FILES, b"payload", 0) is None
    assert b.run(lambda: len(b.sink.calls) == 4 and bool(b.sink.datagrams[1]), 5)
    assert b.sink.datagrams[1] == [b"ping"]
    assert ("resolved", 2, Answer.of("files.lab", (FILES,), 60)) in b.sink.calls
    assert ("resolved", 3, Answer.of("files.lab", (FILES6,), 60)) in b.sink.calls
    assert ("resolved", 4, Answer("nxdomain", (), own_soa("lab", 60))) in b.sink.calls
    assert ("echoed", 5, FILES, b"payload") in b.sink.calls
    b.egress.close(1, b.now)
    assert not b.egress.send_datagram(1, b"x", b.now)


def test_every_type_of_name_the_lab_has():
    b = Bench()
    expected = {
        ("www.lab", "A"): [RECORDS[0], Record("files.lab", dns.A, dns.IN, 60, FILES)],
        ("www.lab", "CNAME"): [RECORDS[0]],
        ("lab", "TXT"): [RECORDS[1]],
        ("lab", "MX"): [RECORDS[2]],
        ("_ntp._udp.lab", "SRV"): [RECORDS[3]],
        ("10.113.0.203.in-addr.arpa", "PTR"): [
            Record("10.113.0.203.in-addr.arpa", dns.PTR, dns.IN, 60, "files.lab"),
        ],
    }
    for query, (name, rtype) in enumerate(expected):
        b.egress.resolve(query, name, rtype, 0)
    assert b.run(lambda: len(b.sink.calls) == len(expected), 5)
    for query, records in enumerate(expected.values()):
        assert ("resolved", query, Answer("ok", tuple(records))) in b.sink.calls


def test_lookups_that_are_not_answered_fail():
    b = Bench(Link(loss=1.0))
    b.egress.resolve(1, "files.lab", "A", 0)
    assert b.run(lambda: bool(b.sink.calls), 10)
    assert b.sink.calls == [("resolved", 1, Answer("servfail"))]
    assert b.now == 2 * SECOND


def test_udp_refused():
    b = Bench()
    b.egress.open_udp(1, ECHO, 1234, 0)
    b.egress.send_datagram(1, b"anyone?", 0)
    assert b.run(lambda: bool(b.sink.calls), 5)
    assert b.sink.calls == [("undeliverable", 1, "refused")]
    assert b.egress.send_datagram(1, b"still the same flow", b.now)


def test_ipv6_is_the_same_world():
    b = Bench(Link(rtt="20ms"))
    b.open(where=(ECHO6, 7))
    assert b.egress.send(1, [memoryview(b"hello")], b.now) == 5
    assert b.run(lambda: b.sink.received[1] == b"hello")
    b.egress.open_udp(2, ECHO6, 7, b.now)
    assert b.egress.send_datagram(2, b"ping", b.now)
    assert b.egress.echo(3, FILES6, b"payload", b.now) is None
    b.egress.open_tcp(4, FILES6, 81, b.now)
    b.egress.open_tcp(5, ip("2001:db8:113::99"), 80, b.now)
    b.egress.open_udp(6, ECHO6, 1234, b.now)
    b.egress.send_datagram(6, b"anyone?", b.now)
    b.egress.open_udp(7, ip("2001:db8:113::99"), 7, b.now)
    b.egress.send_datagram(7, b"anyone?", b.now)
    expected = {
        ("echoed", 3, FILES6, b"payload"),
        ("failed", 4, "refused"),
        ("failed", 5, "unreachable"),
        ("undeliverable", 6, "refused"),
        ("undeliverable", 7, "unreachable"),
    }
    assert b.run(lambda: expected <= set(b.sink.calls) and b.sink.datagrams[2] == [b"ping"], 5)


def test_a_world_too_narrow_for_ipv6_says_so():
    b = Bench(mtu=1000)
    b.egress.open_tcp(1, ECHO6, 7, 0)
    b.egress.open_udp(2, ECHO6, 7, 0)
    assert b.egress.echo(3, ECHO6, b"", 0) == "unreachable"
    assert b.run(lambda: set(b.sink.calls) == {("failed", 1, "unreachable"), ("failed", 2, "unreachable")}, 5)


def test_a_world_of_ones_own():
    class Shout:
        """Answers in capitals."""

        def datagram(self, payload, source, now):
            return payload.upper()

    catalogue = (*CATALOGUE, Offer("shout.lab", ip("203.0.113.30"), udp={5: "shout"}))
    services = make_services(catalogue=catalogue[:-1])
    services.datagram["shout"] = Shout()
    b = Bench(far=FarEnd(random.Random(2), 0, services, catalogue, max_connections=4))
    b.egress.open_udp(1, ip("203.0.113.30"), 5, 0)
    b.egress.send_datagram(1, b"hello", 0)
    assert b.run(lambda: b.sink.datagrams[1] == [b"HELLO"], 5)
