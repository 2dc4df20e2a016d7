"""Keepalive of the client: when it asks, what it asks with, and when it gives a connection up."""

from __future__ import annotations

import random

from aero_lab.clock import Scheduler, VirtualClock
from aero_lab.framing.l2_tunnel import PING, decode, encode_pong
from aero_lab.limits import NEVER, SECOND
from aero_lab.paths.keepalive import Keepalive
from aero_lab.paths.l2_tunnel import L2Port
from aero_lab.rings import FrameRing
from aero_lab.transports.memory import memory_pair


class Line:
    """A transport end that can be cut; what arrives over it the test decides."""

    def __init__(self, end):
        self.end, self.connected, self.restarts = end, True, []

    def __getattr__(self, name):
        return getattr(self.end, name)

    def restart(self, why):
        self.restarts.append(why)
        self.connected = False


class Bench:
    """The client's port and its keepalive, and a peer that answers PINGs, or does not."""

    name = "peer"

    def __init__(self, seed=1, answers=True):
        near, self.far = memory_pair()
        self.line = Line(near)
        self.port = L2Port("client", FrameRing(), FrameRing(), self.line, "tx")  # type: ignore[arg-type]
        self.keepalive = Keepalive(self.port.control, self.line, random.Random(seed))
        self.answers, self.pings = answers, []
        self.clock = VirtualClock()
        self.scheduler = Scheduler(self.clock)
        self.scheduler.add(self.keepalive, self.port, self)

    def step(self, now):
        for message in self.far.received.pop_many():
            told = decode(message.data)
            assert told.type == PING
            self.pings.append((now, told.payload))
            if self.answers:
                self.say(encode_pong(told.payload))
        self.far.taken()

    def poll_at(self, now):
        return now if len(self.far.received) else NEVER

    def say(self, message):
        ring = FrameRing()
        ring.push(message)
        self.far.send(ring, 0)

    def run(self, seconds):
        self.scheduler.run(self.clock.now() + round(seconds * SECOND))


def test_pings_at_random_times_with_numbers_that_count_up():
    bench = Bench()
    bench.run(3000)
    times = [now for now, _ in bench.pings]
    gaps = [b - a for a, b in zip([0, *times], times)]
    assert all(5 * SECOND <= gap <= 15 * SECOND for gap in gaps) and 250 < len(gaps) < 350
    assert min(gaps) < 5.5 * SECOND and max(gaps) > 14.5 * SECOND
    numbers = [int.from_bytes(payload, "big") for _, payload in bench.pings]
    assert all(len(payload) == 4 for _, payload in bench.pings) and numbers[0] > 0xFFFF
    assert all((b - a) & 0xFFFFFFFF == 1 for a, b in zip(numbers, numbers[1:]))
    assert bench.port.rtt == 0 and not bench.line.restarts and bench.keepalive.given_up == 0
    other = Bench(seed=1)
    other.run(3000)
    assert other.pings == bench.pings


def test_a_number_wraps():
    bench = Bench()
    bench.keepalive._nonce = 0xFFFFFFFF
    bench.run(40)
    assert [payload for _, payload in bench.pings][:2] == [b"\xff\xff\xff\xff", bytes(4)]


def test_silence_ends_the_connection_after_a_question():
    bench = Bench(answers=False)
    bench.run(29.9)
    assert not bench.line.restarts and len(bench.pings) >= 2
    bench.run(0.2)
    assert bench.line.restarts == ["nothing came for 30 s"] and bench.keepalive.given_up == 1
    bench.run(300)
    assert len(bench.line.restarts) == 1, "there is no connection to give up"
    asked = len(bench.pings)
    bench.line.connected = True
    bench.run(29.9)
    assert len(bench.line.restarts) == 1 and len(bench.pings) > asked, "the count begins anew"
    bench.run(0.2)
    assert len(bench.line.restarts) == 2


def test_anything_that_comes_counts():
    bench = Bench(answers=False)
    for _ in range(20):
        bench.run(20)
        bench.say(b"\xa2\x03\x00\x00" + bytes(60))
    assert not bench.line.restarts
    bench.run(46)
    assert bench.line.restarts, "nothing came for 30 s, and 15 s at most until it was asked"


def test_answers_nobody_asked_for_and_short_ones():
    bench = Bench(answers=False)
    bench.run(16)
    for payload in (b"", b"abc", b"abcd", bytes(200)):
        bench.say(encode_pong(payload))
    bench.run(1)
    assert bench.port.rtt is None and bench.port.counters["unexpected_pong"] == 4
    bench.say(encode_pong(bench.pings[-1][1]))
    bench.run(1)
    assert bench.port.rtt is not None
