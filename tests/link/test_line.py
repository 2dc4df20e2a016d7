"""Managed queues and recorded lines: against their plain twin, and what their RFCs promise."""

import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.errors import UsageError
from aero_lab.limits import MS, NEVER, SECOND
from aero_lab.link import Delay, Duplicate, GilbertElliott, Hold, Line, LinkDirection, Loss, Rate, RateTrace
from aero_lab.rings import FrameRing
from aero_lab.wire.checksum import internet_checksum
from aero_lab.wire.ethernet import EthernetView, Vlan
from aero_lab.wire.ipv4 import ROUTER_ALERT, Ipv4
from aero_lab.wire.ipv6 import Ipv6

from .naive import NaiveDirection
from .packets import MEDIA, packet
from .test_direction import Seed, check_balance

lines = st.builds(
    Line,
    bits_per_s=st.sampled_from([10**6, 1_234_567, 10**7]),
    queue_bytes=st.sampled_from([0, 3000, 20_000, 10**6]),
    aqm=st.sampled_from(["droptail", "codel", "fq_codel", "pie"]),
    target_ns=st.sampled_from([0, 1, MS, 5 * MS]),
    interval_ns=st.sampled_from([0, MS, 10 * MS]),
    ecn=st.booleans(),
    flows=st.sampled_from([1, 2, 1024]),
    quantum=st.sampled_from([256, 1514]),
)
traces = st.lists(st.integers(0, 6), min_size=1, max_size=8).map(
    lambda steps: RateTrace(tuple(sum(steps[: i + 1]) + (i == len(steps) - 1) for i in range(len(steps))))
)
recorded = st.builds(
    lambda line, trace: Line(0, trace, line.queue_bytes, line.aqm, line.target_ns, line.interval_ns, line.ecn, 2, 256),
    lines,
    traces,
)
frames = st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(22, 1500), st.sampled_from([4, 6, 0]))
gaps = st.sampled_from([0, 1, MS, 3 * MS, 20 * MS, 200 * MS])
traffic = st.lists(st.tuples(gaps, st.lists(frames, max_size=12)), max_size=30)
behind = st.lists(st.sampled_from([Loss(0.1), Delay(3 * MS), Hold(0.2, MS)]), max_size=2)


def fill(medium, port, ecn, size, version):
    return packet(port, ecn, size, version, medium) if version else bytes(size)


@settings(max_examples=120, deadline=None)
@given(
    line=lines | recorded,
    before=st.lists(st.just(Duplicate(0.2)), max_size=1),
    row=behind,
    seed=st.integers(0, 2**64 - 1),
    traffic=traffic,
    medium=st.sampled_from(MEDIA),
    start=st.sampled_from([0, 7 * MS]),
)
def test_a_managed_line_is_its_plain_twin(line, before, row, seed, traffic, medium, start):
    same([*before, line, *row], seed, traffic, medium, start)


def same(row, seed, traffic, medium, start=0):
    """The direction and its twin do the same to ``traffic``: gaps and frames; the direction."""
    rings = FrameRing(64, 1 << 17), FrameRing(1024, 1 << 20)
    link = LinkDirection(row, Seed(seed), *rings, frames=1024, arena=1 << 21, medium=medium, start=start)
    twin = NaiveDirection(row, seed, medium, start)
    now = identity = 0
    for gap, sent in [*traffic, (10 * SECOND, [])]:
        arrival = now + gap
        while (due := twin.next()) is not None and due < arrival:
            assert link.poll_at(now) == max(due, now)
            now = max(due, now)
            link.step(now)
            assert [tuple(frame) for frame in link.output.pop_many(2000)] == twin.step([], now)
        now = arrival
        came = []
        for frame in sent:
            identity += 1
            came.append((fill(medium, *frame), now, identity, frame[0] - 1, 1, 9))
            assert link.input.push(*came[-1])
        link.step(now)
        assert [tuple(frame) for frame in link.output.pop_many(2000)] == twin.step(came, now)
        assert link.poll_at(now) == (NEVER if twin.next() is None else twin.next())
        assert link.in_flight == twin.in_flight
    counters = check_balance(link)
    assert counters["lost"] == twin.lost and counters["held"] == twin.held
    for name in ("queue_full",) + (("aqm_dropped", "marked", "not_ect") if twin.line.stage.aqm != "droptail" else ()):
        assert counters[name] == getattr(twin.line, name), name
    return link


@pytest.mark.parametrize("aqm", ["codel", "fq_codel", "pie"])
@pytest.mark.parametrize("trace", [None, RateTrace((1, 2, 2, 4, 9, 9, 10))])
def test_under_a_long_load_it_is_its_plain_twin_too(aqm, trace):
    """Long enough for each discipline to mark, to drop, to calm down and to begin again."""
    chance = random.Random(7)
    traffic = []
    for at in range(900):  # two ms each; a little too much, a pause, far too much
        number = 0 if 350 < at < 430 else chance.choice((1, 2) if at < 600 else (2, 3, 4)) * (2 if trace else 1)
        sizes = [chance.choice((60, 700, 1400)) for _ in range(number)]
        ports = [(chance.randrange(4), chance.choice((0, 1, 2, 2)), size, 4) for size in sizes]
        traffic.append((2 * MS, ports))
    line = Line(0 if trace else 4_000_000, trace, 100_000, aqm, ecn=True, flows=4, interval_ns=15 * MS)
    link = same([line], 11, traffic, "ip")
    assert min(link.counters[name] for name in ("aqm_dropped", "marked", "not_ect")) > 0


@settings(max_examples=40, deadline=None)
@given(line=lines | recorded, seed=st.integers(0, 99), traffic=traffic, steps=st.lists(st.integers(0, 5), max_size=30))
def test_every_frame_is_accounted_for_however_little_room_there_is(line, seed, traffic, steps):
    row = [line, GilbertElliott(0.2, 0.5), Delay(MS)]
    link = LinkDirection(row, random.Random(seed), FrameRing(16, 1 << 15), FrameRing(2, 4096), frames=8, arena=1 << 13)
    now = accepted = out = 0
    for (gap, sent), take in zip(traffic, steps):
        now += gap
        accepted += sum(link.input.push(bytes(frame[2]), now) for frame in sent)
        link.step(now)
        out += len(link.output.pop_many(take))
        check_balance(link)
    for _ in range(20_000):
        due = link.poll_at(now)
        if due == NEVER and not len(link.output):
            break
        now = max(now, due) if due < NEVER else now
        link.step(now)
        out += len(link.output.pop_many(64))
    counters = check_balance(link)
    assert counters["frames_in"] == accepted and counters["frames_out"] == out
    assert counters["in_flight"] == 0 and not len(link.input)


def feed(line, arrivals, medium="message", seed=1, tail=()):
    """``(arrived, left)`` of what came through; ``arrivals`` are ``(time, data, flow)``."""
    rings = FrameRing(64, 1 << 17), FrameRing(8192, 1 << 24)
    link = LinkDirection([line, *tail], random.Random(seed), *rings, frames=8192, arena=1 << 24, medium=medium)
    out, sent = [], {}
    for identity, (time, data, flow) in enumerate(arrivals, 1):
        while link.poll_at(time) < time:
            link.step(link.poll_at(time))
        sent[identity] = time
        assert link.input.push(data, time, identity, flow)
        link.step(time)
        out += link.output.pop_many(8192)
    while (due := link.poll_at(0)) < NEVER:
        link.step(due)
        out += link.output.pop_many(8192)
    check_balance(link)
    return [(sent[frame.frame_id], frame.t_ns, frame) for frame in out], link


def steady(rate, size, until, flow=0, begin=0, data=None):
    """Frames of ``size`` bytes at ``rate`` bit/s."""
    return [
        (begin + n * size * 8 * SECOND // rate, data or bytes(size), flow)
        for n in range((until - begin) * rate // (size * 8 * SECOND))
    ]


def test_without_load_a_managed_line_is_a_plain_one():
    arrivals = steady(900_000, 1000, 2 * SECOND)
    plain, _ = feed(Rate(1_000_000, 1 << 20), arrivals)
    for aqm in ("droptail", "codel", "fq_codel", "pie"):
        managed, link = feed(Line(1_000_000, aqm=aqm), arrivals)
        assert [each[:2] for each in managed] == [each[:2] for each in plain] and not sum(link.drops.values())


def test_a_droptail_line_drops_the_tail():
    arrivals = [(0, bytes(1000), 0)] * 20
    out, link = feed(Line(8_000_000, queue_bytes=5000), arrivals)
    assert [frame.frame_id for *_, frame in out] == [1, 2, 3, 4, 5, 6] and link.counters["queue_full"] == 14
    assert [left for _, left, _ in out] == [MS * n for n in range(1, 7)]


def test_codel_drops_when_the_delay_stood_above_target_and_ever_more_often():
    """RFC 8289 section 4.4: one interval after the target was passed, then interval/sqrt(count) apart."""
    rate, size = 8_000_000, 1000  # a frame a millisecond
    out, link = feed(Line(rate, aqm="codel", queue_bytes=1 << 22), steady(10_000_000, size, 2 * SECOND))
    seen = {frame.frame_id for *_, frame in out}
    last = {frame.frame_id: left for _, left, frame in out}
    # A drop shows as the frame behind it leaving a millisecond after the frame before it.
    drops = [last[i + 1] - MS for i in range(1, max(seen)) if i not in seen and i + 1 in seen]
    above = next(left - MS for arrived, left, _ in out if left - MS - arrived >= 5 * MS)
    assert above + 100 * MS <= drops[0] <= above + 102 * MS
    when = drops[0]
    for count, time in enumerate(drops[1:20], 1):
        when += int(100 * MS / math.sqrt(count))
        assert when <= time < when + MS
    assert link.counters["aqm_dropped"] == link.counters["frames_in"] - len(out)


def test_codel_lets_a_burst_pass():
    burst = [(0, bytes(1000), 0)] * 60  # 60 ms of it, gone before an interval is over
    out, link = feed(Line(8_000_000, aqm="codel", queue_bytes=1 << 20), burst)
    assert len(out) == 60 and link.counters["aqm_dropped"] == 0


def test_codel_leaves_a_queue_of_one_packet_alone():
    """RFC 8289 section 5.5: a slow line needs longer than the target for one packet, and is not starved."""
    out, link = feed(Line(80_000, aqm="codel"), steady(79_000, 1000, 30 * SECOND))
    assert len(out) == link.counters["frames_in"] and link.counters["aqm_dropped"] == 0


def test_fair_queues_share_evenly_whatever_is_sent():
    """Three greedy flows of other rates and sizes get a third each (RFC 8290 section 4)."""
    loads = ((5_000_000, 1500, 1), (20_000_000, 300, 2), (9_000_000, 900, 3))
    arrivals = sorted(
        (each for rate, size, flow in loads for each in steady(rate, size, SECOND, flow)), key=lambda a: a[0]
    )
    out, _ = feed(Line(6_000_000, aqm="fq_codel"), arrivals)
    got = Counter()
    for _, left, frame in out:
        if left <= SECOND:
            got[frame.flow] += len(frame.data)
    assert all(abs(size - 250_000) < 5000 for size in got.values()), got


def test_a_sparse_flow_does_not_wait_behind_a_greedy_one():
    """RFC 8290 section 1.3: at most the frame on the line goes first; in one queue it waits for all before it."""
    greedy, sparse = steady(20_000_000, 1500, SECOND, 1), steady(64_000, 200, SECOND, 2, begin=200 * MS)
    arrivals = sorted(greedy + sparse, key=lambda arrival: arrival[0])

    def waits(aqm):
        out, _ = feed(Line(10_000_000, aqm=aqm), arrivals)
        return [left - arrived for arrived, left, frame in out if frame.flow == 2]

    assert len(waits("fq_codel")) == len(sparse) and max(waits("fq_codel")) < 2 * MS
    assert min(waits("droptail")) > 50 * MS


def test_packets_are_sorted_by_what_a_router_sees():
    """Flows are addresses and ports there, and not the descriptor's number, which no router has."""
    data = [packet(port, 0, 800, version) for port in (1, 2) for version in (4, 6)]
    arrivals = [(0, each, 7) for each in data * 12]
    order = [bytes(frame.data) for *_, frame in feed(Line(8_000_000, aqm="fq_codel", quantum=801), arrivals, "ip")[0]]
    assert all(Counter(order[i : i + 4]) == Counter(data) for i in range(4, 44, 4))
    _, one = feed(Line(8_000_000, aqm="fq_codel", quantum=801), arrivals, "message")
    assert [bytes(f.data) for *_, f in feed(Line(8_000_000, aqm="fq_codel"), arrivals)[0]] == [a[1] for a in arrivals]
    assert one.counters["frames_out"] == 48


def test_a_full_fair_queue_drops_from_the_longest_flow():
    greedy = [(0, bytes(1000), 1)] * 30
    arrivals = [*greedy[:20], (0, bytes(1000), 2), *greedy[20:]]
    out, link = feed(Line(8_000_000, aqm="fq_codel", queue_bytes=10_000), arrivals)
    assert sum(frame.flow == 2 for *_, frame in out) == 1 and link.counters["queue_full"] == 20
    kept = [frame.frame_id for *_, frame in out if frame.flow == 1]
    assert kept == [1, *range(23, 32)]  # the first is on the line; then the oldest went


def test_pie_finds_the_chance_that_keeps_the_delay():
    """RFC 8033: a load of 1.25 times the line that does not yield loses a fifth, and waits 15 ms."""
    out, link = feed(Line(10_000_000, aqm="pie", queue_bytes=1 << 22), steady(12_500_000, 1000, 30 * SECOND))
    late = [(arrived, left) for arrived, left, _ in out if arrived > 10 * SECOND]
    waits = [left - arrived for arrived, left in late]
    assert 12 * MS < sum(waits) / len(waits) < 18 * MS
    sent = 20 * SECOND // (1000 * 8 * SECOND // 12_500_000)
    assert 0.78 < len(late) / sent < 0.82 and link.counters["queue_full"] == 0


def test_pie_forgives_the_first_burst():
    line = Line(8_000_000, aqm="pie", queue_bytes=1 << 20)
    out, link = feed(line, steady(16_000_000, 1000, 140 * MS))
    assert len(out) == link.counters["frames_in"] == 280


@pytest.mark.parametrize("aqm", ["codel", "fq_codel", "pie"])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("medium", ["ip", "ethernet"])
def test_a_sender_that_takes_part_is_told_and_loses_nothing(aqm, version, medium):
    until = 900 * MS if aqm == "pie" else 3 * SECOND  # marks do not slow this sender: PIE soon believes in drops alone
    arrivals = steady(8_400_000, 1000, until, data=packet(1, 2, 1000, version, medium))
    out, link = feed(Line(8_000_000, aqm=aqm, ecn=True, queue_bytes=1 << 22), arrivals, medium)
    skip = 14 if medium == "ethernet" else 0
    told = 0
    for *_, frame in out:
        data = frame.data[skip:]
        value = Ipv4.parse(data, verify=True) if version == 4 else Ipv6.parse(data)
        told += (value.tos if version == 4 else value.traffic_class) & 3 == 3
        assert value.payload == (Ipv4 if version == 4 else Ipv6).parse(arrivals[0][1][skip:]).payload
    assert told == link.counters["marked"] > 0 and len(out) == len(arrivals) and link.counters["not_ect"] == 0
    arrivals = steady(8_400_000, 1000, until, data=packet(1, 0, 1000, version, medium))
    _, link = feed(Line(8_000_000, aqm=aqm, ecn=True, queue_bytes=1 << 22), arrivals, medium)
    assert link.counters["marked"] == 0 and 0 < link.counters["not_ect"] == link.counters["aqm_dropped"]


def test_pie_drops_in_place_of_marks_when_they_do_not_help():
    """RFC 8033 section 5.1: above a chance of 10 % it drops."""
    arrivals = steady(16_000_000, 1000, 6 * SECOND, data=packet(1, 1, 1000))
    _, link = feed(Line(8_000_000, aqm="pie", ecn=True, queue_bytes=1 << 23), arrivals, "ip")
    assert link.counters["marked"] > 0 and link.counters["aqm_dropped"] > 2000 and link.counters["not_ect"] == 0


def test_a_message_shows_no_header_and_cannot_be_marked():
    """Whatever its bytes look like: those of a packet within a tunnel are not for the path to change."""
    data = packet(1, 2, 1000)
    out, link = feed(Line(8_000_000, aqm="codel", ecn=True), steady(10_000_000, 1000, 2 * SECOND, data=data))
    assert all(frame.data == data for *_, frame in out)
    assert link.counters["marked"] == 0 < link.counters["not_ect"] == link.counters["aqm_dropped"]


def test_marks_find_the_header_behind_options_and_tags():
    line = Line(8_000_000, aqm="codel", ecn=True, target_ns=1, interval_ns=MS)
    for options, tags in (((ROUTER_ALERT,), ()), ((), (Vlan(5), Vlan(6)))):
        data = packet(1, 1, 1000, 4, "ethernet", options=options, tags=tags)
        out, link = feed(line, [(0, data, 0)] * 40, "ethernet")
        assert link.counters["marked"] > 0 and len(out) == 40
        for *_, frame in out:
            inside = EthernetView(frame.data)
            header = bytes(inside.payload)[: 4 * (inside.payload[0] & 15)]
            assert internet_checksum(header) == 0 and header[1] & 3 in (1, 3)


@pytest.mark.parametrize(
    "junk", [b"", b"\x45", b"\x46" + bytes(19), b"\x41" + bytes(30), b"\x60" + bytes(38), bytes(50)]
)
def test_what_is_no_packet_is_dropped_and_hurts_nobody(junk):
    line = Line(80_000, aqm="fq_codel", ecn=True, target_ns=1, interval_ns=MS)
    for medium, data in (
        ("ip", junk),
        ("ethernet", bytes(12) + b"\x08\x00" + junk),
        ("ethernet", b"\x81\0" * 7 + junk),
    ):
        _, link = feed(line, [(0, data + bytes(700 * (len(junk) == 50)), 0)] * 40, medium)
        assert link.counters["marked"] == 0


def test_a_recorded_line_is_mahimahis():
    """Its rules: 1504 bytes a moment, what is not used is gone, a packet may span moments, 4 bytes more a packet."""
    line = Line(trace=RateTrace((2, 2, 5, 10)), queue_bytes=1 << 20)

    def left(sizes, at=0):
        return [time // MS for _, time, _ in feed(line, [(at, bytes(size), 0) for size in sizes])[0]]

    assert left([1500] * 6) == [2, 2, 5, 10, 12, 12]
    assert left([1500] * 6, at=2 * MS) == [5, 10, 12, 12, 15, 20]  # what comes at a moment is too late for it
    assert left([750, 746, 1]) == [2, 2, 2] and left([751, 746, 1]) == [2, 2, 2]
    assert left([100, 1500, 1500]) == [2, 2, 5]  # a packet takes what is left, and the rest of it the next time
    assert left([6000]) == [10]
    assert left([9, 9], at=10 * MS) == [12, 12]
    out, _ = feed(line, [(0, bytes(1), 0), (3 * MS, bytes(1500), 0), (4 * MS, bytes(1500), 0)])
    assert [time // MS for _, time, _ in out] == [2, 5, 10]


def test_a_recorded_line_has_its_mean_rate_and_a_queue():
    trace = RateTrace(tuple(sorted(random.Random(4).choices(range(1, 1001), k=500))))
    out, _ = feed(Line(trace=trace, queue_bytes=10**7), [(0, bytes(1500), 0)] * 4000)
    assert len(out) == 4000
    assert abs(out[-1][1] - 4000 * 1504 * 8 * SECOND // trace.bits_per_s) < 10 * MS
    _, link = feed(Line(trace=trace, queue_bytes=15_000), [(0, bytes(1500), 0)] * 400)
    assert link.counters["frames_out"] == 10 and link.counters["queue_full"] == 390
    _, link = feed(Line(trace=trace, queue_bytes=10**7, aqm="codel"), [(0, bytes(1500), 0)] * 4000)
    assert link.counters["aqm_dropped"] > 100


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"bits_per_s": 1, "trace": RateTrace((1,))},
        {"bits_per_s": -1},
        {"bits_per_s": 10, "aqm": "red"},
        {"bits_per_s": 10, "queue_bytes": -1},
        {"bits_per_s": 10, "target_ns": -1},
        {"bits_per_s": 10, "interval_ns": 10},
        {"bits_per_s": 10, "flows": 0},
        {"bits_per_s": 10, "flows": 1 << 20},
        {"bits_per_s": 10, "quantum": 1},
    ],
)
def test_wrong_lines_are_refused(wrong):
    with pytest.raises(UsageError):
        LinkDirection([Line(**wrong)], random.Random(1))


def test_there_is_one_managed_queue_and_a_known_medium():
    with pytest.raises(UsageError):
        LinkDirection([Line(10), Line(10)], random.Random(1))
    with pytest.raises(UsageError):
        LinkDirection([], random.Random(1), medium="pigeon")
    assert check_balance(LinkDirection([], random.Random(1), medium="ip"))["frames_in"] == 0
