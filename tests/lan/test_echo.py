"""ICMP echo to the world: replies, routers on the way, and an honest no where the host allows none of it."""

from __future__ import annotations

import pytest

from aero_lab.limits import ECHO_PENDING, ECHO_TIMEOUT, SECOND
from aero_lab.wire import icmp
from aero_lab.wire.address import ip
from aero_lab.wire.ipv4 import Ipv4
from aero_lab.wire.ipv6 import Ipv6

from .bench import GATEWAY, GATEWAY6, GUEST, GUEST6, VirtualBench
from .test_careless_proxies import errors

PUBLIC, PUBLIC6 = ip("8.8.8.8"), ip("2606:4700::1111")
FAMILIES = pytest.mark.parametrize("family", [4, 6])


class Bench:
    """A guest that pings, in front of an egress that says what the test wants."""

    def __init__(self, family: int, answer: str | None = None, **config):
        self.b = VirtualBench(gateway6=GATEWAY6, **config)
        self.own, self.target, self.gateway = (GUEST, PUBLIC, GATEWAY) if family == 4 else (GUEST6, PUBLIC6, GATEWAY6)
        self.asked: list[tuple] = []

        def echo(query, address, payload, now, ttl=64):
            self.asked.append((query, address, payload, ttl))
            return answer

        self.b.lan.egress.echo = echo  # type: ignore[method-assign]

    def ping(self, payload=b"are you there"):
        b = self.b
        while not b.guest.stack.icmp_echo(self.own, self.target, 7, 9, payload, b.now):
            b.run_for(0.01)
        b.run_for(0.1)

    def told(self):
        self.b.run_for(0.1)
        return errors(self.b)


@FAMILIES
@pytest.mark.parametrize(
    ("why", "v4", "v6"),
    [
        ("denied", (3, 13), (1, 1)),
        ("net-unreachable", (3, 0), (1, 0)),
        ("unreachable", (3, 1), (1, 3)),
    ],
)
def test_an_echo_that_cannot_go_out_is_refused_and_not_met_with_silence(family, why, v4, v6):
    b = Bench(family, why)
    b.ping()
    (m,) = b.told()
    assert (m.src, m.type, m.code) == (b.gateway, *(v4 if family == 4 else v6))
    quoted = Ipv4.parse_quoted(m.payload) if family == 4 else Ipv6.parse_quoted(m.payload)
    assert (quoted.src, quoted.dst) == (b.own, b.target)
    assert quoted.payload[4:8] == (7 << 16 | 9).to_bytes(4, "big"), "so that ping finds whose it was"
    assert b.b.lan.counters["lan.echo-not-possible"] == 1
    assert not b.b.lan._echoes


@FAMILIES
def test_one_hop_less_goes_on(family):
    b = Bench(family)
    b.ping(b"payload")
    assert b.asked == [(1, b.target, b"payload", 63)]


@FAMILIES
@pytest.mark.parametrize("private", [False, True])
def test_routers_on_the_way_are_seen_unless_they_are_the_hosts_own(family, private):
    b = Bench(family)
    b.ping()
    if family == 4:
        router, kind = (ip("192.168.0.1") if private else ip("1.1.1.1")), icmp.TIME_EXCEEDED
    else:
        router, kind = (ip("fd00:1::1") if private else ip("2606:4700::1")), 3
    b.b.lan.echo_failed(1, router, kind, 0, 0, b.b.now)
    (m,) = b.told()
    assert (m.src, m.type, m.code) == (b.gateway if private else router, kind, 0)
    quoted = Ipv4.parse_quoted(m.payload) if family == 4 else Ipv6.parse_quoted(m.payload)
    assert (quoted.src, quoted.dst) == (b.own, b.target)
    b.b.lan.echo_failed(1, router, kind, 0, 0, b.b.now)
    b.b.lan.echoed(1, b.target, b"late", b.b.now)
    assert len(b.told()) == 1, "once"


def test_a_sender_of_the_wrong_family_or_none_is_the_gateway():
    b = Bench(4)
    for query, sender in ((1, None), (2, PUBLIC6)):
        b.ping()
        b.b.lan.echo_failed(query, sender, 3, 1, 0, b.b.now)
    assert [m.src for m in b.told()] == [GATEWAY, GATEWAY]


def test_a_large_echo_travels_in_fragments_both_ways():
    b = Bench(4)
    b.ping(bytes(8000))
    assert len(b.asked[0][2]) == 8000
    b.b.lan.echoed(1, b.target, b.asked[0][2], b.b.now)
    b.b.run_for(0.1)
    (reply,) = b.b.guest.icmp
    assert (reply.src, reply.type, reply.payload) == (PUBLIC, icmp.ECHO_REPLY, bytes(8000))


def test_echoes_that_wait_are_bounded():
    b = Bench(4)
    b.ping()
    request, _ = b.b.lan._echoes[1]
    for _ in range(2 * ECHO_PENDING):
        b.b.lan._icmp(request, b.b.now)
    assert len(b.b.lan._echoes) == ECHO_PENDING
    b.b.run_for(ECHO_TIMEOUT / SECOND + 1)
    b.b.lan._icmp(request, b.b.now)
    assert len(b.b.lan._echoes) == 1
