"""Our association with aiortc's constants against aiortc's own, both in virtual time over the same network: as fast,
as late, as many packets."""

from __future__ import annotations

import heapq
import random
import statistics

import pytest

from aero_lab.limits import MS, NEVER, SECOND
from aero_lab.transports.sctp import AIORTC, Association

pytest.importorskip("aiortc")
from .theirs import run_theirs

SEEDS = range(4)
CASES = {
    # name: delay one way (ms), loss, messages, bytes of one, what else there is to say
    "bulk": (50, 0.0, 500, 1500, {}),
    "bulk, 1 % loss": (50, 0.01, 600, 1500, {}),
    "bulk, 5 % loss": (20, 0.05, 400, 1200, {}),
    "large messages, 2 % loss": (30, 0.02, 40, 20_000, {}),
    "60 a second, 2 % loss": (20, 0.02, 400, 300, {"every": 1 / 60}),
    "300 a second, 3 % loss": (20, 0.03, 600, 600, {"every": 1 / 300}),
    "unordered, 3 % loss": (20, 0.03, 400, 600, {"ordered": False, "every": 0.01}),
    "never again, 3 % loss": (20, 0.03, 400, 600, {"ordered": False, "retransmits": 0, "every": 0.01}),
}
SMALL = 150
"""Bytes up to which nothing happens to a packet: both shake hands and announce a channel a little differently, and the
same data shall be lost."""


class Fate:
    """What happens to packets with data: to the n-th of them the same, whoever sends it."""

    def __init__(self, seed, delay, loss):
        self.delay, self.loss = delay, loss
        self.random = random.Random(seed)
        self.lost, self.number = [], 0

    def again(self):
        """From the first on."""
        self.number = 0
        return self

    def __call__(self, side, size):
        if size <= SMALL:
            return self.delay
        if self.number == len(self.lost):
            self.lost.append(self.random.random() < self.loss)
        self.number += 1
        return None if self.lost[self.number - 1] else self.delay


def run_ours(fate, sizes, *, ordered=True, retransmits=None, seed=1, limit=600 * SECOND, every=0.0):
    """As :func:`run_theirs`."""
    rng = random.Random(seed)
    ends = [Association(AIORTC, rng) for _ in range(2)]
    under_way, sent, got = [], [[], []], {}
    now, count, begin, next_at, quiet, number = 0, 0, None, 0, None, 0

    def flush(side):
        nonlocal count
        for packet in ends[side].packets(now):
            delay = fate(side, len(packet))
            sent[side].append((now, len(packet)))
            if delay is not None:
                count += 1
                heapq.heappush(under_way, (now + delay, count, 1 - side, packet))
        while ends[side].received:
            payload = ends[side].received.popleft().payload
            got.setdefault(int.from_bytes(payload[:4], "big"), now)

    for end in ends:
        end.connect(0)
    while True:
        near = ends[0]
        if near.state == "ESTABLISHED":
            if begin is None:
                begin = next_at = now
            while number < len(sizes) and near.buffered(1) < 256 << 10 and now >= next_at:
                payload = number.to_bytes(4, "big") + bytes(sizes[number] - 4)
                near.send(1, payload, ordered=ordered, retransmits=retransmits)
                number += 1
                next_at += round(every * SECOND)
                flush(0)
        flush(0)
        flush(1)
        if number == len(sizes):
            quiet = now if quiet is None else quiet
            if len(got) == number or now > limit or (retransmits is not None and now > quiet + 20 * SECOND):
                break
        following = [end.poll_at(now) for end in ends] + [each[0] for each in under_way[:1]]
        if begin is not None and number < len(sizes) and every:
            following.append(next_at)
        if min(following) >= NEVER:
            break
        now = max(now, min(following))
        while under_way and under_way[0][0] <= now:
            _, _, side, packet = heapq.heappop(under_way)
            ends[side].take(packet, now)
            flush(side)
    return {n: (at - begin) / SECOND for n, at in got.items()}, sent


def close(ours, theirs, share=0.15, least=0.005):
    return abs(ours - theirs) <= max(share * theirs, least)


@pytest.mark.parametrize("name", CASES)
def test_it_behaves_as_aiortcs_does(name):
    delay, loss, count, size, how = CASES[name]
    sizes = [size] * count
    both = {run_ours: [], run_theirs: []}
    for seed in SEEDS:
        fate = Fate(f"{name}/{seed}", delay * MS, loss)
        for run, results in both.items():
            got, sent = run(fate.again(), sizes, seed=seed, **how)
            waits = [at - number * how.get("every", 0.0) for number, at in got.items()]
            results.append((max(got.values()), len(got), len(sent[0]), len(sent[1]), waits))
    (took, arrived, up, down, waits), (their_took, their_arrived, their_up, their_down, their_waits) = (
        list(zip(*results)) for results in both.values()
    )
    if "retransmits" not in how:
        assert set(arrived) == set(their_arrived) == {count}
    assert close(sum(arrived), sum(their_arrived), 0.01)
    assert close(statistics.mean(took), statistics.mean(their_took)), "as fast"
    assert close(sum(up), sum(their_up), 0.05) and close(sum(down), sum(their_down), 0.05), "as many packets"
    ours = statistics.quantiles(sum(waits, []), n=100)
    other = statistics.quantiles(sum(their_waits, []), n=100)
    assert close(ours[49], other[49]) and close(ours[89], other[89]), "as late"


def test_it_opens_the_association_as_often_as_aiortc_does():
    """What both begin with is lost three times, each side's."""

    class Deaf:
        def __init__(self):
            self.number = 0

        def __call__(self, side, size):
            self.number += 1
            return None if self.number <= 6 else 10 * MS

    tries = []
    for run in (run_ours, run_theirs):
        got, sent = run(Deaf(), [100])
        assert len(got) == 1
        tries.append([[round(at / SECOND) for at, _ in side[:4]] for side in sent])
    assert tries == [[[0, 3, 6, 9]] * 2] * 2
