"""Datagrams at a relay, step by step: which port of the host's, who may answer and for how long, what is too much."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from aero_lab.framing import udp_relay
from aero_lab.lan import LanConfig
from aero_lab.lan.policy import Policy
from aero_lab.limits import SECOND
from aero_lab.paths.relay import Relay
from aero_lab.paths.relay_datagrams import UdpLimits
from aero_lab.rings import FrameRing
from aero_lab.transports.memory import memory_pair
from aero_lab.wire.address import ip

HERE, THERE = ip("192.0.2.1"), ip("192.0.2.2")


class Ports:
    """An egress that notes what is sent from which port."""

    def __init__(self):
        self.counters, self.sent, self.open = {}, [], set()

    def open_port(self, port, now):
        self.open.add(port)
        return True

    def close_port(self, port, now):
        self.open.remove(port)

    def send_to(self, port, address, remote_port, payload, now):
        self.sent.append((port, address, remote_port, payload))
        return True

    def step(self, now): ...
    def poll_at(self, now):
        return 1 << 62


class Bench:
    def __init__(self, **limits):
        self.near, far = memory_pair()
        self.egress = Ports()
        config = LanConfig(policy=Policy(allow_private=True), forward_udp={(THERE, 53): (HERE, 5300)})
        network = SimpleNamespace(
            config=config, clock=SimpleNamespace(now=lambda: 0), source=lambda now: None,
            make_egress=lambda sink: self.egress,
        )  # fmt: skip
        self.relay = Relay(network)  # type: ignore[arg-type]
        self.part = self.relay.add_udp(far, UdpLimits(**limits))
        self.ring = FrameRing(64, 1 << 16)

    def guest(self, port, now, remote=HERE, remote_port=7, payload=b"x", version=1):
        """The guest sends; the port of the host's that it left by, None when it did not."""
        before = len(self.egress.sent)
        self.ring.push(udp_relay.encode(port, remote, remote_port, payload, version))
        self.near.send(self.ring, now)
        self.relay.step(now)
        return self.egress.sent[-1][0] if len(self.egress.sent) > before else None

    def world(self, port, now, source=(HERE, 7), payload=b"y"):
        """Somebody sends to a port of the host's; what the guest hears."""
        self.relay.heard(port, source, payload, now)
        self.relay.step(now)
        return [udp_relay.decode(message.data) for message in self.near.received.pop_many()]


def test_one_port_for_each_port_of_the_guests():
    b = Bench()
    first = b.guest(1000, 0)
    assert b.guest(1000, 0, THERE, 9) == first and b.guest(1001, 0) != first
    (heard,) = b.world(first, 0)
    assert (heard.guest_port, heard.remote, heard.remote_port, heard.payload) == (1000, HERE, 7, b"y")


def test_answers_bear_the_address_that_was_aimed_at():
    b = Bench()
    port = b.guest(1000, 0, THERE, 53)
    assert b.egress.sent[-1][1:3] == (HERE, 5300), "the forward map leads there"
    (heard,) = b.world(port, 0, (HERE, 5300))
    assert (heard.remote, heard.remote_port) == (THERE, 53)


def test_a_remote_may_answer_while_it_is_spoken_with():
    b = Bench(remote_idle=10 * SECOND, idle=60 * SECOND)
    port = b.guest(1000, 0)
    assert b.world(port, 9 * SECOND) and b.world(port, 18 * SECOND), "traffic both ways keeps it"
    assert not b.world(port, 29 * SECOND) and b.part.counters["dropped_unasked"] == 1
    assert not b.world(port, 29 * SECOND, (THERE, 7))
    b.guest(1000, 30 * SECOND)
    assert b.world(port, 31 * SECOND)


def test_idle_ports_are_given_back():
    b = Bench(idle=60 * SECOND)
    port = b.guest(1000, 0)
    b.guest(1001, 30 * SECOND)
    assert b.relay.poll_at(31 * SECOND) == 60 * SECOND
    b.relay.step(60 * SECOND)
    assert list(b.part.bindings) == [1001] and port not in b.egress.open and b.part.counters["bindings_idle"] == 1
    b.relay.close(61 * SECOND)
    assert not b.egress.open and not b.relay.ports


def test_the_oldest_remote_makes_room():
    b = Bench(remotes=2)
    port = b.guest(1000, 0)
    for number in (8, 9):
        b.guest(1000, 0, HERE, number)
    assert not b.world(port, 0) and b.world(port, 0, (HERE, 8)) and b.world(port, 0, (HERE, 9))
    assert b.part.counters["remote_allowlist_evictions"] == 1


@pytest.mark.parametrize(
    ("limits", "counter"),
    [
        ({"packet_rate": 5}, "dropped_rate_limited"),
        ({"byte_rate": 5}, "dropped_rate_limited"),
        ({"packet_rate_to_one": 5}, "dropped_rate_limited"),
    ],
)
def test_rates_have_a_second_s_burst(limits, counter):
    b = Bench(**limits)
    assert [b.guest(1000, 0) is not None for _ in range(7)] == [True] * 5 + [False] * 2
    assert b.part.counters[counter] == 2 and len(b.part.violations) == 2
    assert b.guest(1000, SECOND // 5) is not None and b.guest(1000, SECOND // 5) is None


def test_destinations_are_counted():
    b = Bench(destinations=2)
    assert [b.guest(1000, 0, HERE, port) is not None for port in (1, 2, 3, 1)] == [True, True, False, True]
    assert b.part.counters["dropped_quota_exceeded"] == 1


def test_a_client_that_does_not_read_loses_the_newest():
    b = Bench(queue=4096)
    port = b.guest(1000, 0)
    for number in range(10_000):
        b.relay.heard(port, (HERE, 7), number.to_bytes(4, "big") + bytes(996), 0)
    b.relay.step(0)
    heard = [udp_relay.decode(message.data).payload[:4] for message in b.near.received.pop_many()]
    assert heard == [number.to_bytes(4, "big") for number in range(len(heard))] and 3 <= len(heard) <= 4
    assert b.part.counters["dropped_backpressure"] == 10_000 - len(heard)
