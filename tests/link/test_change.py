"""A link that becomes another one while frames wait in a queue of its line."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.limits import MS, NEVER, SECOND
from aero_lab.link import Delay, GilbertElliott, Line, LinkDirection, LossTrace, Outage, Rate, RateTrace, RecordedLoss
from aero_lab.rings import FrameRing

from .test_direction import check_balance

TRACE = RateTrace((1, 2, 2, 5))
ROWS = (
    (),
    (Delay(3 * MS),),
    (Rate(8_000_000, 50_000), Delay(MS)),
    (Line(8_000_000, aqm="codel"), Delay(MS)),
    (Line(4_000_000, aqm="fq_codel", flows=4), GilbertElliott(0.1, 0.5)),
    (Line(16_000_000, aqm="pie"),),
    (Line(trace=TRACE), Delay(2 * MS)),
    (Line(trace=RateTrace((7, 9)), aqm="codel"),),
    (RecordedLoss(LossTrace([0, 1])), Outage(5 * MS, 2 * MS, 10 * MS)),
)
rows = st.sampled_from(ROWS)


def a_link(row):
    return LinkDirection(row, random.Random(3), FrameRing(64, 1 << 17), FrameRing(512, 1 << 20), 256, 1 << 20)


def drain(link, now):
    out = link.output.pop_many(512)
    for _ in range(5000):
        due = link.poll_at(now)
        if due == NEVER:
            return out
        now = max(due, now)
        link.step(now)
        out += link.output.pop_many(512)
    raise AssertionError("it never ends")


@settings(max_examples=150, deadline=None)
@given(first=rows, turns=st.lists(st.tuples(rows, st.integers(0, 12), st.sampled_from([0, 1, MS, 7 * MS])), max_size=6))
def test_nothing_goes_astray(first, turns):
    link = a_link(first)
    now, sent, out = 5 * MS, 0, []
    for row, number, gap in turns:
        for _ in range(number):
            sent += 1
            assert link.input.push(sent.to_bytes(2, "big") * 400, now, sent, sent % 3)
        link.step(now)
        out += link.output.pop_many(512)
        now += gap
        while (due := link.poll_at(0)) < now:
            link.step(due)
            out += link.output.pop_many(512)
        before = link.in_flight
        link.change(row, 1 << 20)
        assert link.in_flight == before and link.stages == row
        check_counts(link)
    out += drain(link, now)
    counters = check_counts(link)
    assert counters["frames_in"] == sent and counters["frames_out"] == len(out) and counters["in_flight"] == 0
    assert all(frame.data == frame.frame_id.to_bytes(2, "big") * 400 for frame in out)


def check_counts(link):
    """Counters of stages that are gone are gone: what is left never counts a frame twice."""
    c = link.counters
    assert c["frames_in"] - c["frames_out"] - c["in_flight"] >= sum(link.drops.values())
    return c


def loaded(row):
    """A direction in which 20 frames of 1000 bytes wait, 10 ms after they came."""
    link = a_link(row)
    for number in range(1, 21):
        link.input.push(bytes(1000), 0, number)
    for now in range(0, 10 * MS + 1, MS):
        link.step(now)
    return link, [frame.frame_id for frame in link.output.pop_many(50)]


@pytest.mark.parametrize("aqm", ["droptail", "codel", "fq_codel", "pie"])
def test_a_queue_goes_on_behind_the_new_line(aqm):
    for row in ((Line(8_000_000, aqm=aqm), Delay(MS)), (Rate(8_000_000),), (Line(8_000_000, aqm="codel"),)):
        link, early = loaded((Line(8_000_000, aqm=aqm),))
        link.change(row)
        link.input.push(bytes(1000), 10 * MS, 21)
        late = drain(link, 10 * MS)
        assert early + [frame.frame_id for frame in late] == list(range(1, 22))
        extra = MS if len(row) > 1 else 0
        assert [frame.t_ns for frame in late[1:]] == [n * MS + extra for n in range(12, 22)]  # a millisecond each


def test_a_faster_line_is_faster_from_the_next_frame_on():
    link, early = loaded((Line(8_000_000, aqm="codel"),))
    link.change((Line(80_000_000, aqm="codel"),))
    late = drain(link, 10 * MS)
    assert early == list(range(1, 11)) and [frame.t_ns for frame in late[:3]] == [11 * MS, 11_100_000, 11_200_000]


def test_without_a_line_all_go_when_the_next_would_have():
    link, _ = loaded((Line(8_000_000, aqm="codel"),))
    link.change((Delay(5 * MS),))
    late = drain(link, 10 * MS)
    assert [frame.t_ns for frame in late] == [11 * MS] + [
        16 * MS
    ] * 9  # the first was on the line, and is past all stages


def test_a_recorded_line_takes_over_at_its_own_moments():
    link, _ = loaded((Line(8_000_000),))
    link.change((Line(trace=RateTrace((4, 10))),))
    late = drain(link, 10 * MS)
    moments = [14, 20, 24, 30, 34, 40, 44]  # each for 1504 bytes; a frame is 1004 of them there
    assert [frame.t_ns // MS for frame in late] == [11] + [moments[-(-1004 * n // 1504) - 1] for n in range(1, 10)]
    again, _ = loaded((Line(trace=TRACE),))
    same, _ = loaded((Line(trace=TRACE),))
    again.change((Line(trace=TRACE),))
    pairs = list(zip(drain(again, 10 * MS), drain(same, 10 * MS), strict=True))
    assert all(0 <= one.t_ns - other.t_ns <= 3 * MS for one, other in pairs)  # what was half sent is sent again
    assert len(pairs) > 5 and all(a.t_ns <= b.t_ns for a, b in pairwise(late))


def test_the_same_link_again_changes_nothing_but_what_codel_knew():
    row = (Line(8_000_000, aqm="fq_codel"), GilbertElliott(0.3, 0.3), Delay(MS))
    plain, before = loaded(row)
    changed, _ = loaded(row)
    changed.change(row)
    assert [tuple(f) for f in drain(changed, 10 * MS)] == [tuple(f) for f in drain(plain, 10 * MS)]
    assert changed.counters == plain.counters and before


def test_a_recording_goes_on_where_it_was_and_another_begins():
    link = a_link((RecordedLoss(LossTrace([0, 0, 1])),))
    out = []
    for number in range(1, 9):
        if number == 3:
            link.change((RecordedLoss(LossTrace([0, 0, 1])), Delay(1)))
        if number == 5:
            link.change((RecordedLoss(LossTrace([1, 0])),))
        link.input.push(b"x", 0, number)
        link.step(SECOND)
        out += [frame.frame_id for frame in drain(link, SECOND)]
    assert out == [1, 2, 4, 6, 8]
    check_balance(link)
