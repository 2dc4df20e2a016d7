"""Ends with a link in between: the link decides what arrives; a full link stalls its sender and nothing spins."""

from __future__ import annotations

import random

from aero_lab.clock import Scheduler, VirtualClock
from aero_lab.limits import MS
from aero_lab.link import Link
from aero_lab.rings import FrameRing
from aero_lab.transports.impaired import impaired_pair


def ring_of(*messages):
    ring = FrameRing(1024, 1 << 20)
    for message in messages:
        assert ring.push(message)
    return ring


def test_messages_take_half_the_rtt_each_way():
    near, far, directions = impaired_pair(Link(rtt="40ms"), random.Random(1))
    scheduler = Scheduler(VirtualClock())
    scheduler.add(*directions)
    assert near.send(ring_of(b"up"), 0) == 1
    scheduler.run(lambda: len(far.received) > 0)
    assert scheduler.clock.now() == 20 * MS and far.received.pop().data == b"up"
    far.send(ring_of(b"down"), scheduler.clock.now())
    scheduler.run(lambda: len(near.received) > 0)
    assert scheduler.clock.now() == 40 * MS and near.received.pop().data == b"down"
    assert near.counters["messages_sent"] == near.counters["messages_received"] == 1


def test_a_full_link_stalls_its_sender_until_a_message_has_moved_on():
    near, far, directions = impaired_pair(Link(rtt="40ms"), random.Random(1), slots=4, arena=4096)
    waiting = ring_of(*[bytes([i]) for i in range(10)])
    assert near.send(waiting, 0) == 4 and near.stalled
    assert near.send(waiting, 0) == 0 and near.stalled and near.counters["stalls"] == 1
    directions[0].step(0)
    assert not near.stalled
    got = []
    now = 0
    while len(got) < 10:
        near.send(waiting, now)
        directions[0].step(now)
        got += [frame.data for frame in far.received.pop_many()]
        now += 5 * MS
    assert got == [bytes([i]) for i in range(10)] and not near.stalled


def test_a_link_that_loses_everything_does_not_stall():
    near, far, directions = impaired_pair(Link(loss=1.0), random.Random(1), slots=4, arena=4096)
    waiting = ring_of(*[bytes([i]) for i in range(20)])
    for _ in range(10):
        near.send(waiting, 0)
        directions[0].step(0)
    assert len(waiting) == 0 and not near.stalled and len(far.received) == 0
    assert directions[0].counters["lost"] == 20


def test_a_closed_end_takes_nothing():
    near, far, _ = impaired_pair(Link(), random.Random(1))
    far.close()
    assert near.peer_closed and near.send(ring_of(b"x"), 0) == 0
