"""One direction of a link: against its plain twin, and what each stage promises."""

import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.causes import Cause
from aero_lab.clock import Scheduler, VirtualClock
from aero_lab.errors import UsageError
from aero_lab.limits import LINK_STAGES, MS, NEVER, SECOND
from aero_lab.link import Corrupt, Delay, Duplicate, Hold, LinkDirection, Loss, Rate, Reorder
from aero_lab.rings import FrameRing

from .naive import NaiveDirection

chances = st.sampled_from([0.0, 0.02, 0.3, 1.0])
times = st.integers(0, 50)
stages = st.one_of(
    st.builds(Loss, chances),
    st.builds(Duplicate, st.sampled_from([0.0, 0.1, 0.5, 1.0])),
    st.builds(Corrupt, chances),
    st.builds(Reorder, chances, times),
    st.builds(Hold, chances, times),
    st.builds(Delay, times),
    st.builds(lambda ns, jitter: Delay(ns, min(ns, jitter)), times, times),
    st.builds(Rate, st.sampled_from([10**9, 3 * 10**9 + 7, 10**11]), st.integers(0, 400)),
)
traffic = st.lists(st.tuples(st.integers(0, 40), st.lists(st.binary(max_size=60), max_size=4)), max_size=25)


class Seed:
    """A generator that gives one number."""

    def __init__(self, value):
        self.value = value

    def getrandbits(self, k):
        return self.value


@settings(max_examples=80)
@given(row=st.lists(stages, max_size=5), seed=st.integers(0, 2**64 - 1), traffic=traffic)
def test_same_as_the_plain_twin(row, seed, traffic):
    link = LinkDirection(row, Seed(seed), FrameRing(64, 1 << 13), FrameRing(1024, 1 << 16), frames=1024, arena=1 << 17)
    twin = NaiveDirection(row, seed)
    now = identity = 0
    for gap, frames in traffic:
        # Everything that falls due before the next frames, at its own time: a scheduler would do the same.
        arrival = now + gap
        while (due := twin.next()) is not None and due < arrival:
            assert link.poll_at(now) == max(due, now)
            now = max(due, now)
            link.step(now)
            assert [tuple(frame) for frame in link.output.pop_many(2000)] == twin.step([], now)
        now = arrival
        given_frames = []
        for data in frames:
            identity += 1
            given_frames.append((data, now, identity, -identity, 1, 9))
            assert link.input.push(*given_frames[-1])
        link.step(now)
        assert [tuple(frame) for frame in link.output.pop_many(2000)] == twin.step(given_frames, now)
        assert link.poll_at(now) == (NEVER if twin.next() is None else twin.next())
    counters = link.counters
    for name in ("lost", "queue_full", "duplicated", "reordered", "held", "corrupted"):
        assert counters[name] == getattr(twin, name)
    assert counters["in_flight"] == link.in_flight == len(twin.waiting)


@settings(max_examples=40)
@given(row=st.lists(stages, max_size=6), seed=st.integers(0, 99), traffic=traffic, steps=st.lists(st.integers(0, 5)))
def test_every_frame_is_accounted_for_however_little_room_there_is(row, seed, traffic, steps):
    link = LinkDirection(row, random.Random(seed), FrameRing(8, 256), FrameRing(2, 128), frames=4, arena=160)
    now = 0
    accepted = out = 0
    for (gap, frames), take in zip(traffic, steps):
        now += gap
        accepted += sum(link.input.push(data, now) for data in frames)
        link.step(now)
        out += len(link.output.pop_many(take))
        check_balance(link)
    for _ in range(10_000):
        due = link.poll_at(now)
        if due == NEVER and not len(link.output):
            break
        now = max(now, due) if due < NEVER else now
        link.step(now)
        out += len(link.output.pop_many(64))
    counters = check_balance(link)
    assert counters["frames_in"] == accepted and counters["frames_out"] == out
    assert counters["in_flight"] == 0 and not len(link.input)


def check_balance(link):
    c = link.counters
    gone = c["frames_out"] + sum(link.drops.values()) + c["in_flight"]
    assert c["frames_in"] + c["duplicated"] - c["copies_refused"] == gone
    return c


def through(row, number, gap=0, seed=1, size=100, **options):
    """What comes out of a direction when ``number`` frames go in, ``gap`` ns apart; and the direction."""
    link = LinkDirection(row, random.Random(seed), **options)

    class Source:
        name, sent = "source", 0

        def poll_at(self, now):
            return self.sent * gap if self.sent < number and link.input.has_room(size) else NEVER

        def step(self, now):
            link.input.push(self.sent.to_bytes(4, "big") + bytes(size - 4), now, self.sent + 1, 5, Cause.PAYLOAD, 6)
            self.sent += 1

    out = []

    class Sink:
        name = "sink"

        def poll_at(self, now):
            return now if len(link.output) else NEVER

        def step(self, now):
            out.extend(link.output.pop_many(1 << 20))

    scheduler = Scheduler(VirtualClock())
    scheduler.add(Source(), link, Sink())
    assert not scheduler.run(lambda: False)  # until nothing is left to wait for
    check_balance(link)
    return out, link


def test_without_stages_frames_pass_at_once_with_all_they_carry():
    out, _ = through([], 50, gap=10)
    assert [tuple(f)[1:] for f in out] == [(10 * i, i + 1, 5, Cause.PAYLOAD, 6) for i in range(50)]


def test_delay_is_exact_and_jitter_keeps_order():
    out, _ = through([Delay(7 * MS)], 200, gap=1000)
    assert [f.t_ns for f in out] == [1000 * i + 7 * MS for i in range(200)]
    out, _ = through([Delay(7 * MS, 2 * MS)], 2000, gap=100_000)
    assert [f.frame_id for f in out] == list(range(1, 2001))
    late = [f.t_ns - 100_000 * (f.frame_id - 1) for f in out]
    assert min(late) >= 5 * MS and max(late) <= 9 * MS and len(set(late)) > 100


@pytest.mark.parametrize(("stage", "counter"), [(Loss(0.05), "lost"), (Duplicate(0.05), "duplicated")])
def test_chances_are_what_they_say(stage, counter):
    _, link = through([stage], 20_000)
    assert 0.04 < link.counters[counter] / 20_000 < 0.06


def test_a_copy_keeps_its_identity_and_says_what_it_is():
    out, _ = through([Duplicate(1.0)], 3)
    assert [(f.frame_id, f.cause, f.flow, f.flags) for f in out] == [
        (i, cause, 5, 6) for i in (1, 2, 3) for cause in (Cause.PAYLOAD, Cause.DUPLICATE)
    ]


def test_corruption_changes_exactly_one_byte():
    out, link = through([Corrupt(1.0)], 500, size=40)
    assert link.counters["corrupted"] == 500
    places = set()
    for i, frame in enumerate(out):
        wrong = [k for k, (a, b) in enumerate(zip(frame.data, i.to_bytes(4, "big") + bytes(36))) if a != b]
        assert len(wrong) == 1
        places.add(wrong[0])
    assert places == set(range(40))


def test_reordering_lets_others_overtake():
    out, link = through([Reorder(0.2, 35)], 1000, gap=10)
    order = [f.frame_id for f in out]
    assert sorted(order) == list(range(1, 1001)) and order != sorted(order)
    assert sum(f.t_ns != 10 * (f.frame_id - 1) for f in out) == link.counters["reordered"]


def test_a_rate_is_exact_over_any_number_of_frames():
    rate = 3_333_333
    out, _ = through([Rate(rate, 1 << 30)], 700, size=1001)
    for n, frame in enumerate(out, 1):
        assert frame.t_ns == int(Fraction(n * 1001 * 8 * SECOND, rate))


def test_a_full_queue_drops_the_tail_and_an_idle_line_takes_anything():
    out, link = through([Rate(8_000_000, 1000)], 30, size=300)  # 300 us a frame, three of them fit
    assert [f.frame_id for f in out] == [1, 2, 3] and link.drops == {"lost": 0, "queue_full": 27, "oversize": 0}
    out, link = through([Rate(8_000_000, 0)], 30, size=300, gap=300_000)
    assert len(out) == 30


def test_a_full_output_makes_frames_wait_and_loses_none():
    link = LinkDirection([Delay(10)], random.Random(1), FrameRing(64, 1 << 14), FrameRing(2, 1 << 10), frames=4)
    for i in range(20):
        link.input.push(b"%02d" % i)
    seen = []
    for now in range(0, 2000, 10):
        link.step(now)
        assert link.in_flight <= 4
        seen += [frame.data for frame in link.output.pop_many(1)]
    assert seen == [b"%02d" % i for i in range(20)]


def test_blocked_is_not_work():
    link = LinkDirection([], random.Random(1), FrameRing(8, 256), FrameRing(1, 64), frames=2)
    for _ in range(8):
        link.input.push(b"x")
    while link.poll_at(0) <= 0:
        link.step(0)
    assert len(link.input) == 5 and link.in_flight == 2 and link.poll_at(0) == NEVER
    link.output.pop()
    assert link.poll_at(0) == 0


def test_a_frame_that_can_never_pass_is_dropped_and_others_go_on():
    link = LinkDirection([], random.Random(1), FrameRing(8, 4096), FrameRing(8, 64), arena=1024)
    for data in (b"a", bytes(65), bytes(2000), b"b"):
        assert link.input.push(data)
    link.step(0)
    assert [f.data for f in link.output.pop_many()] == [b"a", b"b"] and link.drops["oversize"] == 2


def test_frames_dropped_at_once_do_not_take_room_from_others():
    out, link = through([Rate(8_000_000, 2000)], 5000, frames=32, arena=1 << 12)
    assert len(out) == 20 and link.counters["queue_full"] == 4980


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others():
    row = [Rate(10**8), Loss(0.1), Duplicate(0.1), Corrupt(0.1), Delay(MS, MS // 2), Reorder(0.1, MS)]
    runs = [through(row, 400, gap=20_000, seed=seed)[0] for seed in (7, 7, 8)]
    assert runs[0] == runs[1] != runs[2]


def test_stages_do_not_disturb_each_other():
    lost = [{f.frame_id for f in through(row, 500, seed=3)[0]} for row in ([Loss(0.1)], [Corrupt(1.0), Loss(0.1)])]
    assert lost[0] == lost[1]


def test_a_late_driver_changes_nothing():
    row = [Rate(10**8), Delay(100), Loss(0.2), Rate(10**7)]
    prompt, late = (LinkDirection(row, random.Random(2)) for _ in range(2))
    for link in (prompt, late):
        for _ in range(50):
            link.input.push(bytes(60))
        link.step(0)
    while (due := prompt.poll_at(0)) < NEVER:
        prompt.step(due)
    late.step(10 * SECOND)
    assert prompt.output.pop_many() == late.output.pop_many()


@pytest.mark.parametrize(
    "stage", [Loss(1.5), Loss(-0.1), Delay(-1), Delay(5, 6), Reorder(0.1, -1), Rate(0), Rate(1, -1), Delay(NEVER)]
)
def test_wrong_parameters_are_refused(stage):
    with pytest.raises(UsageError):
        LinkDirection([stage], random.Random(1))


def test_wrong_dimensions_are_refused():
    for options in ({"frames": 3}, {"frames": 1 << 17}, {"frames": 0}, {"arena": 12}, {"arena": 0}):
        with pytest.raises(UsageError):
            LinkDirection([], random.Random(1), **options)
    with pytest.raises(UsageError):
        LinkDirection([Loss(0.1)] * (LINK_STAGES + 1), random.Random(1))
