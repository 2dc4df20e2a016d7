"""Pacing: a rate that holds over every span, nothing lost or out of order, and a sleep that ends."""

from __future__ import annotations

import random

import pytest

from aero_lab.bounds import PACE_BURST
from aero_lab.limits import NEVER, SECOND
from aero_lab.rings import FrameRing
from aero_lab.transports.memory import memory_pair
from aero_lab.transports.paced import PacedEnd

MOST = 1518


def pair(rate, free=0):
    far, inner = memory_pair()
    return far, PacedEnd(inner, rate, 0, MOST, free)


def messages(number, seed=1):
    chosen = random.Random(seed)
    return [number.to_bytes(4, "big") + bytes(chosen.randrange(0, MOST - 4)) for number in range(number)]


def run(paced, out, into, give, until=600 * SECOND):
    """Drive the end as a scheduler would; the messages that passed each way with their times."""
    passed = {"out": [], "into": []}
    now, waiting = 0, FrameRing(256, 1 << 20)
    give, turns = list(give), 0
    while now < until:
        turns += 1
        assert turns < 100_000, "it turns for nothing"
        paced.step(now)
        while give and waiting.push(give[0], now):
            give.pop(0)
        if not paced.stalled:
            paced.send(waiting, now)
        passed["out"] += [(now, each.data) for each in out.received.pop_many(1000)]
        out.taken()
        passed["into"] += [(now, each.data) for each in paced.received.pop_many(1000)]
        paced.taken()
        while into and out.send(into, now):
            pass
        due = paced.poll_at(now)
        if due > now:
            if due == NEVER and not give and not len(waiting):
                break
            assert due < NEVER, "something waits, and nobody will come back for it"
            now = due
    return passed


def holds(passed, rate):
    """No span has more than its share, a burst and one message."""
    starts = passed[:: max(1, len(passed) // 40)]
    for begin, _ in starts:
        total = 0
        for at, data in (each for each in passed if each[0] >= begin):
            total += len(data)
            assert total <= rate * (at - begin + PACE_BURST) / SECOND + MOST


@pytest.mark.parametrize("rate", [1000, 50_000, 10_000_000])
def test_a_rate_holds_and_nothing_is_lost(rate):
    far, paced = pair(rate)
    up, down = messages(300, 1), messages(300, 2)
    into = FrameRing(512, 1 << 21)
    for each in up:
        assert into.push(each)
    passed = run(paced, far, into, down, until=10_000 * SECOND)
    assert [data for _, data in passed["out"]] == down and [data for _, data in passed["into"]] == up
    for way in passed.values():
        holds(way, rate)
        size = sum(len(data) for _, data in way[:-1])
        wanted = size * SECOND // rate - PACE_BURST
        assert way[-1][0] == pytest.approx(max(0, wanted), abs=2), "and no slower than it has to be"
    if rate < 10_000_000:
        assert paced.waits > 100


def test_what_is_free_passes_at_once_and_then_the_rate_holds():
    far, paced = pair(1000, free=100_000)
    passed = run(paced, far, FrameRing(8, 1 << 15), [bytes(1000)] * 150, until=10_000 * SECOND)["out"]
    at_once = [data for at, data in passed if at == 0]
    assert len(at_once) == 101, "what is free, and what an idle tunnel may be behind"
    holds(passed[100:], 1000)
    assert len(passed) == 150


def test_an_idle_direction_saves_up_no_more_than_a_burst():
    far, paced = pair(10_000)
    ring = FrameRing(64, 1 << 17)
    for _ in range(50):
        ring.push(bytes(1000))
    assert paced.send(ring, 3600 * SECOND) == 2, "a tenth of a second's worth, and the one that goes beyond it"
    assert paced.stalled and paced.poll_at(3600 * SECOND) == 3600 * SECOND + SECOND // 10
    assert paced.send(ring, 3600 * SECOND) == 0
    paced.step(3600 * SECOND + SECOND // 10)
    assert not paced.stalled and paced.send(ring, 3600 * SECOND + SECOND // 10) == 1
    assert far.received.pop_many(9)[0].data == bytes(1000)


def test_a_transport_without_room_is_no_matter_of_the_rate():
    far, inner = memory_pair(slots=4, arena=1 << 14)
    paced = PacedEnd(inner, 1 << 30, 0, MOST)
    ring = FrameRing(64, 1 << 17)
    for number in range(20):
        ring.push(bytes([number]))
    sent = paced.send(ring, 0)
    assert 4 <= sent < 20 and paced.stalled and paced.poll_at(0) == NEVER
    got = []
    for now in range(1, 60):
        got += [each.data[0] for each in far.received.pop_many(2)]
        far.taken()
        assert got == list(range(len(got)))
        if len(ring):
            paced.send(ring, now)
        elif paced.poll_at(now) <= now:
            paced.step(now)  # the last of them wait in the end itself, and nobody else knows
    assert len(got) == 20 and paced.poll_at(60) == NEVER


def test_it_passes_on_what_else_an_end_tells():
    far, paced = pair(1000)
    assert (paced.reliable, paced.wake_fd, paced.peer_closed) == (True, paced.inner.wake_fd, False)
    ring = FrameRing(8, 1 << 15)
    ring.push(b"hello")
    paced.send(ring, 0)
    assert paced.counters["messages_sent"] == 1 and paced.counters["paced"] == 0
    far.close()
    assert paced.peer_closed
    paced.close()
