"""``Link``: what a user writes down, and what is built from it."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aero_lab.errors import UsageError
from aero_lab.limits import LINK_QUEUE, MS
from aero_lab.link import Corrupt, Delay, Duplicate, Hold, Link, Loss, Rate, Reorder
from aero_lab.link.units import bits_per_second, byte_count, nanoseconds, probability, rate_text, size_text, time_text
from aero_lab.rings import FrameRing


def test_text_becomes_numbers():
    link = Link(rtt="40ms", loss="1%", rate="10Mbit/s", queue="64KiB", jitter="500us", reorder_by="1.5ms")
    assert (link.rtt, link.loss, link.rate, link.queue) == (40 * MS, 0.01, 10_000_000, 65536)
    assert (link.jitter, link.reorder_by) == (500_000, 1_500_000)
    assert link == Link(rtt=40 * MS, loss=0.01, rate=10_000_000, queue=65536, jitter=500_000, reorder_by=1_500_000)


def test_a_pair_is_up_and_down():
    link = Link(rtt=11, rate=("50kbit/s", "10Mbit/s"), loss=(0, "2%"))
    assert link.stages(0) == (Rate(50_000, LINK_QUEUE), Delay(5))
    assert link.stages(1) == (Rate(10_000_000, LINK_QUEUE), Loss(0.02), Delay(6))
    assert Link(loss=(0.1, 0.1)) == Link(loss=0.1)


def test_stages_stand_in_a_fixed_order():
    link = Link(rtt="8ms", loss=0.1, rate=10**6, duplicate=0.2, corrupt=0.3, reorder=0.4)
    assert [type(stage) for stage in link.stages(0)] == [Rate, Loss, Duplicate, Corrupt, Delay, Reorder]
    assert link.stages(1)[-1] == Reorder(0.4, 2 * MS)
    assert Link().stages(0) == ()
    assert Link(reorder=0.4).stages(0) == (Reorder(0.4, MS),)


LINKS = st.builds(
    Link,
    rtt=st.integers(0, 10**9).map(lambda ns: 2 * ns),
    loss=st.floats(0, 1) | st.tuples(st.floats(0, 1), st.floats(0, 1)),
    rate=st.none() | st.integers(1, 10**10) | st.tuples(st.integers(1, 10**9), st.integers(1, 10**9)),
    corrupt=st.sampled_from([0, 0.005, "3%"]),
    reorder=st.sampled_from([0, (0.5, 0)]),
    reorder_by=st.none() | st.integers(0, 10**9),
    ordered=st.booleans(),
)


@given(link=LINKS)
def test_dictionary_round_trip_through_json(link):
    assert Link.from_dict(json.loads(json.dumps(link.to_dict()))) == link
    assert hash(Link.from_dict(link.to_dict())) == hash(link)


def test_a_link_may_keep_its_order():
    link = Link(rtt="20ms", reorder="10%", reorder_by="30ms", ordered=True)
    assert link.stages(0) == (Delay(10 * MS), Hold(0.1, 30 * MS))
    assert Link.parse("rtt=20ms, reorder=10%, reorder_by=30ms, ordered=yes") == link == Link.parse(str(link))
    assert Link.from_dict(link.to_dict()) == link and "ordered" not in Link(rtt="20ms").to_dict()
    assert Link(ordered="no") == Link() and Link(rtt=2, ordered=True).stages(0) == (Delay(1),)
    way = link.build(random.Random(3))[0]
    came = []
    for now in range(0, 500):
        if now < 300:
            way.input.push(bytes([now % 256]), now * MS, now + 1)
        way.step(now * MS)
        came += [(int(frame.frame_id) - 1, now) for frame in way.output.pop_many(100)]
    assert [sent for sent, _ in came] == list(range(300)) and way.counters["held"] > 10
    waits = [now - sent for sent, now in came]
    assert min(waits) == 10 and max(waits) == 40 and waits.count(40) == way.counters["held"]
    for before, after in zip(waits, waits[1:]):
        assert after in (10, 40) or after == before - 1  # whoever stands behind a held one leaves with it


@given(link=LINKS)
def test_both_directions_can_be_built(link):
    for direction, side in zip(link.build(random.Random(1)), (0, 1)):
        assert direction.stages == link.stages(side)


def test_lines_are_parsed():
    link = Link(rtt="40ms", loss=0.01, rate=("50kbit/s", "10Mbit/s"))
    for text in ("rtt=40ms, loss=1%, rate=50kbit/s:10Mbit/s", "40ms rtt,1% loss,50kbit/s:10Mbit/s rate", str(link)):
        assert Link.parse(text) == link
    one_way = Link(rate=(None, "10Mbit/s"), queue=(None, "64KiB"))
    assert Link.parse(str(one_way)) == one_way
    assert Link.parse("") == Link() and str(Link()) == "no impairment"
    for wrong in ("rtt", "rtt=", "40ms", "speed=3", "rtt=1 2", "rtt=1ms,rtt=2ms", "loss=200%", "loss=1:2:3", "rtt=x"):
        with pytest.raises(UsageError) as caught:
            Link.parse(wrong)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rtt": "40"},
        {"rtt": -1},
        {"rtt": 0.04},
        {"rtt": None},
        {"rtt": True},
        {"rtt": "4٠ms"},
        {"loss": 2},
        {"loss": "many"},
        {"loss": float("nan")},
        {"rate": "0Mbit/s"},
        {"rate": "10MB/s"},
        {"queue": "1KiB"},
        {"rate": 10, "queue": "fast"},
        {"rtt": "10ms", "jitter": "6ms"},
        {"loss": (0.1, 0.2, 0.3)},
    ],
)
def test_wrong_values_give_one_clear_line(wrong):
    with pytest.raises(UsageError) as caught:
        Link(**wrong)
    assert str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(UsageError):
        Link.from_dict({"ttl": 3})


def test_it_can_stand_between_given_rings():
    rings = [FrameRing(8, 1024) for _ in range(4)]
    up, down = Link(rtt=20).build(random.Random(1), up=(rings[0], rings[1]), down=(rings[2], rings[3]))
    rings[0].push(b"up")
    rings[2].push(b"down")
    for node in (up, down):
        node.step(0)
        assert node.poll_at(0) == 10
        node.step(10)
    assert rings[1].pop().data == b"up" and rings[3].pop().data == b"down"


def test_directions_are_independent_and_seeded_in_a_fixed_way():
    def lost(link, side):
        direction = link.build(random.Random(5))[side]
        for i in range(300):
            direction.input.push(b"x", 0, i)
        direction.step(0)
        return [f.frame_id for f in direction.output.pop_many(300)]

    assert lost(Link(loss=0.2), 0) != lost(Link(loss=0.2), 1)
    assert lost(Link(loss=0.2), 1) == lost(Link(loss=(0, 0.2)), 1)


def test_memory_follows_rate_and_delay():
    small, large = Link(rtt="10ms", rate="1Mbit/s"), Link(rtt="100ms", rate="1Gbit/s", queue="1MiB")
    assert small.in_flight_bytes(0) == 1 << 20
    assert large.in_flight_bytes(0) > 10**9 * 0.05 / 8 + (1 << 20)
    assert Link(rtt="10min", rate=10**10).in_flight_bytes(0) == 128 << 20


def test_units():
    assert nanoseconds("1.5 s") == 1_500_000_000 and nanoseconds("3e2us") == 300_000 and nanoseconds("2µs") == 2000
    assert byte_count("1.5MB") == 1_500_000 and byte_count("2kib") == 2048 and byte_count("7") == 7
    assert bits_per_second("50kbit/s") == bits_per_second("50 kbps") == 50_000
    assert probability("0.5%") == 0.005 and probability("1") == 1.0
    assert [time_text(n) for n in (0, 5, 40 * MS, 3 * 10**9)] == ["0ns", "5ns", "40ms", "3s"]
    assert [rate_text(n) for n in (7, 50_000, 10**10)] == ["7bit/s", "50kbit/s", "10Gbit/s"]
    assert [size_text(n) for n in (0, 1000, 65536, 1 << 30)] == ["0B", "1000B", "64KiB", "1GiB"]
