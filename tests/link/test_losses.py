"""Losses in bursts and by recording, jitter, outages: against their plain twin, and what each promises."""

import math
import random
import struct
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.bounds import OUTAGE_MOST, TRACE_MOST
from aero_lab.errors import UsageError
from aero_lab.limits import MS, NEVER, SECOND
from aero_lab.link import (
    Delay,
    GilbertElliott,
    LinkDirection,
    LossTrace,
    Outage,
    Rate,
    RateTrace,
    RecordedLoss,
    Stall,
)
from aero_lab.link.chance import UNIT, quantiles
from aero_lab.rings import FrameRing

from .naive import NaiveDirection
from .test_direction import Seed, check_balance, through

chances = st.sampled_from([0.0, 0.05, 0.5, 1.0])
times = st.integers(1, 40)
outages = st.one_of(
    st.builds(Outage, times, times, st.sampled_from([0, 100])),
    st.builds(lambda up, down: Outage(up, down, random=True), times, times),
    st.builds(lambda up, down: Outage(up, down, random=True), st.just(2**37), st.just(2**36)),
)
stages = st.one_of(
    st.builds(GilbertElliott, chances, chances, chances, chances),
    st.builds(RecordedLoss, st.lists(st.booleans(), min_size=1, max_size=9).map(LossTrace)),
    outages,
    outages.map(lambda outage: Stall(outage.first_ns, outage.lasts_ns, outage.every_ns, outage.random)),
    st.builds(
        lambda ns, jitter, model: Delay(ns, jitter if model in ("exponential", "pareto") else min(ns, jitter), model),
        st.integers(0, 40),
        st.integers(0, 10**6),
        st.sampled_from(["uniform", "normal", "exponential", "pareto"]),
    ),
)
traffic = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 4)), max_size=40)


@settings(max_examples=100, deadline=None)
@given(row=st.lists(stages, min_size=1, max_size=3), seed=st.integers(0, 2**64 - 1), traffic=traffic, start=times)
def test_losses_and_outages_are_their_plain_twins(row, seed, traffic, start):
    link = LinkDirection(row, Seed(seed), FrameRing(64, 1 << 13), FrameRing(1024, 1 << 16), 1024, 1 << 16, start=start)
    twin = NaiveDirection(row, seed, start=start)
    now = identity = 0
    for gap, number in [*traffic, (SECOND, 0)]:
        arrival = now + gap
        while (due := twin.next()) is not None and due < arrival:
            assert link.poll_at(now) == max(due, now)
            now = max(due, now)
            link.step(now)
            assert [tuple(frame) for frame in link.output.pop_many(2000)] == twin.step([], now)
        now = arrival
        came = []
        for _ in range(number):
            identity += 1
            came.append((bytes([identity % 256]), now, identity, 0, 1, 9))
            assert link.input.push(*came[-1])
        link.step(now)
        assert [tuple(frame) for frame in link.output.pop_many(2000)] == twin.step(came, now)
        assert link.poll_at(now) == (NEVER if twin.next() is None else twin.next())
    counters = link.counters
    assert (counters["lost"], counters["held"], counters.get("outage", 0)) == (twin.lost, twin.held, twin.outage)
    sums = counters["frames_out"] + counters["in_flight"] + sum(link.drops.values())
    assert counters["frames_in"] == identity == sums


def many(stage, number, gap=0):
    """Numbers of the frames that came through, of so many, quickly; and the direction."""
    link = LinkDirection([stage], random.Random(1), FrameRing(512, 1 << 13), FrameRing(512, 1 << 13))
    seen = set()
    for number_in in range(number):
        link.input.push(b"x", 0, number_in + 1)
        if gap or number_in % 500 == 499 or number_in == number - 1:
            link.step(number_in * gap)
            seen.update(frame.frame_id for frame in link.output.pop_many(512))
    check_balance(link)
    return seen, link


def runs(seen, number):
    """Lengths of runs of losses."""
    lost = [i not in seen for i in range(1, number + 1)]
    return [sum(1 for _ in group) for key, group in groupby(lost) if key]


@pytest.mark.parametrize(("loss", "burst"), [(0.05, 1.0), (0.05, 5.0), (0.3, 3.0)])
def test_bursts_are_as_long_as_they_should_be_and_as_many(loss, burst):
    number = 40_000
    seen, link = many(GilbertElliott.of(loss, burst), number)
    lengths = runs(seen, number)
    mean = sum(lengths) / len(lengths)
    # Geometric lengths have a deviation of sqrt(b(b-1)); the number of bursts scatters by its root, at most.
    assert abs(mean - burst) < 5 * math.sqrt(burst * (burst - 1) / len(lengths)) + 1e-9
    assert abs(link.counters["lost"] / number - loss) < 6 * loss * math.sqrt(2 * burst / (loss * number))
    assert GilbertElliott.of(loss, burst).mean == pytest.approx(loss)


def test_a_gilbert_elliott_link_loses_in_both_states():
    model = GilbertElliott(0.02, 0.1, 0.5, 0.01)
    number = 40_000
    _, link = many(model, number)
    assert model.mean == pytest.approx(1 / 6 * 0.5 + 5 / 6 * 0.01)
    assert abs(link.counters["lost"] / number - model.mean) < 0.02
    assert GilbertElliott(0.0, 0.0).mean == 0.0


def test_recorded_losses_are_those_and_come_again():
    out, link = through([RecordedLoss(LossTrace([0, 0, 1, 0, 1]))], 23)
    assert [frame.frame_id for frame in out] == [i for i in range(1, 24) if (i - 1) % 5 not in (2, 4)]
    assert link.counters["lost"] == 9


@pytest.mark.parametrize(
    ("model", "mean", "deviation", "least"),
    [("normal", 0.0, 1.0, -3.3), ("exponential", 1.0, 1.0, 0.0), ("pareto", 1.0, math.sqrt(3), 0.0)],
)
def test_jitter_is_distributed_as_its_model(model, mean, deviation, least):
    """Pareto of shape 3 has the deviation sqrt(3) of its mean; the table ends at its 2048th part, which takes some."""
    ns, jitter, number = 100 * MS, 10 * MS, 8000
    link = LinkDirection([Delay(ns, jitter, model)], random.Random(5))
    late = []
    for n in range(number):  # one at a time, so that keeping the order delays nobody
        now = n * 10 * SECOND
        link.input.push(b"x", now)
        link.step(now)
        due = link.poll_at(now)
        link.step(due)
        late.append((link.output.pop().t_ns - now - ns) / jitter)
    got = sum(late) / number
    spread = math.sqrt(sum((x - got) ** 2 for x in late) / number)
    assert abs(got - mean) < 0.05 and abs(spread / deviation - 1) < 0.25
    assert min(late) >= least - 0.01
    below = sum(x < mean for x in late) / number  # the share below the mean tells the shapes apart
    expected = {"normal": 0.5, "exponential": 1 - math.exp(-1), "pareto": 1 - (1 + 1 / 2) ** -3}[model]
    assert abs(below - expected) < 0.02


def test_nothing_arrives_before_it_was_sent():
    out, _ = through([Delay(10, 10, "normal")], 2000, gap=1000)
    assert all(frame.t_ns >= 1000 * (frame.frame_id - 1) for frame in out)
    assert any(frame.t_ns == 1000 * (frame.frame_id - 1) for frame in out)


def test_tables_rise_from_end_to_end():
    for model in ("normal", "exponential", "pareto"):
        table = struct.unpack("<1025q", quantiles(model))
        assert list(table) == sorted(table) and max(table) < 32 * UNIT
    assert quantiles("uniform") == b""


def test_an_outage_loses_what_comes_meanwhile():
    out, link = through([Outage(5 * MS, 2 * MS, 10 * MS)], 40, gap=MS)
    assert [frame.frame_id - 1 for frame in out] == [n for n in range(40) if n % 10 not in (5, 6)]
    assert link.counters["outage"] == link.drops["outage"] == 8
    once, _ = through([Outage(5 * MS, 2 * MS)], 40, gap=MS)
    assert [frame.frame_id - 1 for frame in once] == [n for n in range(40) if n not in (5, 6)]


def test_a_stall_holds_it_back_and_the_line_gets_it_all_at_once():
    out, link = through([Stall(5 * MS, 3 * MS)], 20, gap=MS)
    assert [frame.t_ns // MS for frame in out] == [0, 1, 2, 3, 4, 8, 8, 8, *range(8, 20)]
    assert link.counters["held"] == 3 and "outage" not in link.counters
    out, _ = through([Stall(5 * MS, 100 * MS), Rate(8_000_000, 5000)], 60, gap=MS, size=1000)
    assert len(out) == 10  # five before, then the one on the line and what its queue holds


def test_outages_by_chance_are_as_long_as_they_should_be():
    number = 40_000
    seen, link = many(Outage(90 * MS, 10 * MS, random=True), number, gap=MS)
    assert 0.08 < link.counters["outage"] / number < 0.12
    lengths = runs(seen, number)
    assert 8 < sum(lengths) / len(lengths) < 12


def test_what_counts_from_the_start_does():
    for stage, start in ((Outage(5 * MS, 2 * MS), 3 * SECOND), (Outage(5 * MS, 2 * MS, 20 * MS), 3 * SECOND)):
        link = LinkDirection([stage], random.Random(1), start=start)
        passed = []
        for at in range(0, 10):
            now = start + at * MS
            link.input.push(b"x", now)
            link.step(now)
            passed += [at] * len(link.output.pop_many(9))
        assert passed == [0, 1, 2, 3, 4, 7, 8, 9]


def test_a_clock_that_begins_anywhere_is_caught_up_with():
    """Real time begins at years; an outage by chance then begins anew and nobody waits for it."""
    link = LinkDirection([Outage(MS, MS, random=True)], random.Random(1))
    for now in range(10**18, 10**18 + 100 * MS, MS):
        link.input.push(b"x", now)
        link.step(now)
    assert 10 < link.counters["outage"] < 90


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: GilbertElliott(1.1, 0.5),
        lambda: GilbertElliott(0.1, -0.5),
        lambda: GilbertElliott(0.1, 0.5, 2.0),
        lambda: GilbertElliott.of(1.0, 2.0),
        lambda: GilbertElliott.of(0.9, 1.0),
        lambda: GilbertElliott.of(0.1, 0.5),
        lambda: Outage(5, 0),
        lambda: Outage(-5, 1),
        lambda: Outage(5, 10, 10),
        lambda: Outage(0, 10, random=True),
        lambda: Outage(OUTAGE_MOST + 1, 10),
        lambda: Delay(10, 5, "gaussian"),
        lambda: Delay(10, 11, "normal"),
        lambda: Delay(10, 2 * SECOND, "pareto"),
        lambda: RecordedLoss(LossTrace(b"")),
        lambda: RecordedLoss(LossTrace(bytes(TRACE_MOST + 1))),
        lambda: RateTrace(()),
        lambda: RateTrace((0, 0)),
        lambda: RateTrace((3, 1)),
        lambda: RateTrace((-1, 1)),
        lambda: RateTrace(("x",)),
        lambda: RateTrace((1 << 50,)),
    ],
)
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(UsageError) as caught:
        LinkDirection([wrong()], random.Random(1))
    assert "\n" not in str(caught.value)
