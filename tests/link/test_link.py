"""``Link``: what a user writes down, and what is built from it."""

import json
import pickle
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.bounds import AQM_QUEUE
from aero_lab.errors import UsageError
from aero_lab.limits import LINK_QUEUE, MS, SECOND
from aero_lab.link import (
    Corrupt,
    Delay,
    Duplicate,
    GilbertElliott,
    Hold,
    Line,
    Link,
    Loss,
    LossTrace,
    Outage,
    Rate,
    RateTrace,
    RecordedLoss,
    Reorder,
    Stall,
)
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


AQM_SETTINGS = ("aqm_target", "aqm_interval", "aqm_flows", "aqm_quantum")
TRACES = st.lists(st.integers(1, 50), min_size=1, max_size=90).map(lambda each: RateTrace(tuple(sorted(each))))
TIMES = st.integers(1, 3600 * SECOND)
OUTAGES = st.builds(lambda at, lasts: Outage(at, lasts, 2 * lasts), TIMES, TIMES) | st.builds(
    lambda up, down: Outage(up, down, random=True), TIMES, TIMES
)
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


MORE = st.fixed_dictionaries(
    {},
    optional={
        "rtt": st.integers(0, 10**9).map(lambda ns: 2 * ns),
        "ecn": st.booleans(),
        "aqm_target": st.none() | st.integers(1, SECOND),
        "aqm_interval": st.none() | st.integers(MS, SECOND),
        "aqm_flows": st.none() | st.integers(1, 4096),
        "aqm_quantum": st.none() | st.integers(256, 9000),
        "loss": st.floats(0, 0.4) | st.tuples(st.floats(0, 0.4), st.floats(0, 0.4)),
        "loss_burst": st.none() | st.floats(1, 1000),
        "gilbert": st.none() | st.builds(GilbertElliott, *[st.floats(0, 1)] * 4),
        "loss_trace": st.none() | st.lists(st.booleans(), min_size=1, max_size=100).map(LossTrace),
        "rate_trace": st.tuples(*[TRACES] * 2) | TRACES,
        "aqm": st.sampled_from(["codel", "pie", "fq_codel"]),
        "jitter_model": st.sampled_from(["uniform", "normal", "exponential", "pareto"]),
        "outage": st.none() | OUTAGES | st.tuples(st.none(), OUTAGES),
        "outage_mode": st.sampled_from(["lose", "hold"]),
    },
)


def whole(given):
    """A link of these, with what some of them need."""
    needs = {"aqm": "codel"} if any(name in given for name in ("ecn", *AQM_SETTINGS)) else {}
    line = {"rate": 10**6} if "rate_trace" not in given and (needs or "aqm" in given) else {}
    if given.get("loss_burst") is not None:
        given = given | {"loss": 0.01}
    return Link(**(line | needs | given))


@settings(max_examples=150)
@given(given=MORE)
def test_all_of_it_goes_through_text_and_json(given):
    link = whole(given)
    assert Link.from_dict(json.loads(json.dumps(link.to_dict()))) == link
    assert Link.parse(str(link)) == link and hash(Link.parse(str(link))) == hash(link)
    again = pickle.loads(pickle.dumps(link))
    assert again == link and again.stages(1) == link.stages(1)
    for direction in link.build(random.Random(1)):
        direction.step(0)


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


def test_queues_are_looked_after():
    link = Link.parse("rate=50kbit/s:10Mbit/s, aqm=none:fq_codel, ecn=no:yes, aqm_target=none:10ms, rtt=20ms")
    assert link.stages(0) == (Rate(50_000, LINK_QUEUE), Delay(10 * MS))
    line = Line(10**7, None, AQM_QUEUE, "fq_codel", 10 * MS, ecn=True)
    assert link.stages(1) == (line, Delay(10 * MS)) and line.times == (10 * MS, 100 * MS)
    assert Link(rate=10, aqm="pie").stages(0) == (Line(10, None, AQM_QUEUE, "pie"),)
    assert Line(10, aqm="pie").times == (15 * MS, 15 * MS)
    assert Link(rate=10, aqm="droptail") == Link(rate=10) and "aqm" not in Link(rate=10).to_dict()
    assert Link(rate=10, aqm="codel", queue=9000).stages(0)[0].queue_bytes == 9000
    assert Link(rate=10**6, aqm="codel").in_flight_bytes(0) >= 2 * AQM_QUEUE


def test_losses_come_in_bursts_or_as_recorded(tmp_path):
    assert Link(loss="2%", loss_burst=4).stages(0) == (GilbertElliott.of(0.02, 4.0),)
    assert Link(loss=0, loss_burst=4).stages(0) == ()
    assert Link(gilbert="1%/30%").stages(0) == (GilbertElliott(0.01, 0.3),)
    link = Link.parse("gilbert=1%/30%/80%/0.1%, loss=1%")
    assert link.stages(0) == (Loss(0.01), GilbertElliott(0.01, 0.3, 0.8, 0.001)) and Link.parse(str(link)) == link
    assert link.to_dict()["gilbert"] == "1%/30%/80%/0.1%"
    assert Link(loss_trace="0010").stages(0) == (RecordedLoss(LossTrace([0, 0, 1, 0])),)
    path = tmp_path / "lost.txt"
    path.write_text("# one frame in four\n0 0 1\n0  # and again\n")
    link = Link(loss_trace=(None, str(path)))
    assert link == Link(loss_trace=(None, "0010")) and hash(link) == hash(Link(loss_trace=(None, "0010")))
    assert str(link) == f"loss_trace=none:{path}" and Link.parse(str(link)) == link
    saved = json.loads(json.dumps(link.to_dict()))
    path.unlink()
    elsewhere = Link.from_dict(saved)  # where the file is not
    assert elsewhere == link and elsewhere.stages(1) == link.stages(1) and str(elsewhere) == str(link)


def test_rates_are_recorded_in_mahimahis_format(tmp_path):
    path = tmp_path / "lte.down"
    path.write_text("1\n1\n3\n\n10\n")
    link = Link.parse(f"rate_trace=12:{path}, queue=32KiB")
    assert link.stages(1) == (Line(0, RateTrace((1, 1, 3, 10)), 32 << 10),)
    assert link.stages(0)[0].trace.bits_per_s == 1504 * 8 * 1000 // 12
    assert Link.parse(str(link)) == link == Link.from_dict(link.to_dict())
    assert link.to_dict()["rate_trace"] == ["+12", f"{path}=+1/0/2/7"]
    assert Link(rate_trace="1/1/3/10", queue="32KiB").stages(0) == link.stages(1)
    long = RateTrace(tuple(range(1, 5001)))
    assert long.packed() == "+1*5000" and Link.parse(str(Link(rate_trace=long))) == Link(rate_trace=long)
    spaced = tmp_path / "a, b.txt"
    spaced.write_text("7\n")
    assert str(Link(rate_trace=str(spaced))) == "rate_trace=7"


def test_outages_and_jitter_models_are_understood():
    link = Link.parse("outage=5s/200ms/10s, rtt=2ms, jitter=500us, jitter_model=normal")
    assert link.stages(0) == (Outage(5 * SECOND, 200 * MS, 10 * SECOND), Delay(MS, 500_000, "normal"))
    assert Link.parse(str(link)) == link and link.to_dict()["outage"] == "5s/200ms/10s"
    assert Link(outage="5s/1s", outage_mode="hold", rate=9).stages(0) == (Stall(5 * SECOND, SECOND), Rate(9))
    assert Link(outage="random/30s/2s").stages(1) == (Outage(30 * SECOND, 2 * SECOND, random=True),)
    assert Link(jitter="3ms", jitter_model="exponential").stages(0) == (Delay(0, 3 * MS, "exponential"),)


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
        {"rate": 10**15 + 1},
        {"rate": "1e300Gbit/s"},
        {"queue": "1KiB"},
        {"rate": 10, "queue": "fast"},
        {"rtt": "10ms", "jitter": "6ms"},
        {"loss": (0.1, 0.2, 0.3)},
        {"aqm": "codel"},
        {"aqm": "red", "rate": 10},
        {"rate": 10, "ecn": True},
        {"rate": 10, "aqm": "pie", "ecn": "maybe"},
        {"rate": 10, "aqm_target": "5ms"},
        {"rate": 10, "aqm": "codel", "aqm_interval": "1us"},
        {"rate": 10, "aqm": "codel", "aqm_target": 0},
        {"rate": 10, "aqm": "fq_codel", "aqm_flows": 0},
        {"rate": 10, "aqm": "fq_codel", "aqm_flows": 1.5},
        {"rate": 10, "aqm": "fq_codel", "aqm_quantum": 10},
        {"rate": 10, "rate_trace": "1/2"},
        {"rate_trace": ""},
        {"rate_trace": "0"},
        {"rate_trace": "2/1"},
        {"rate_trace": "+1/x"},
        {"rate_trace": "+1*2000000"},
        {"rate_trace": 3},
        {"rate_trace": "/no/such/file"},
        {"loss_trace": ""},
        {"loss_trace": "/no/such/file"},
        {"loss_trace": "+"},
        {"loss_trace": "+99999999"},
        {"loss_trace": "\0"},
        {"loss": 0.9, "loss_burst": 1},
        {"loss": 0.1, "loss_burst": 0.5},
        {"loss": 1, "loss_burst": 5},
        {"loss": 0.1, "loss_burst": "long"},
        {"gilbert": "1%"},
        {"gilbert": "1%/2%/3%/4%/5%"},
        {"gilbert": "1%/200%"},
        {"gilbert": 0.1},
        {"jitter_model": "gauss"},
        {"rtt": "10ms", "jitter": "6ms", "jitter_model": "normal"},
        {"outage": "5s"},
        {"outage": "5s/6s/5s"},
        {"outage": "5s/0s"},
        {"outage": "random/0s/1s"},
        {"outage": "random/1s/1s/1s"},
        {"outage": "5h/1s"},
        {"outage": "5s/1s", "outage_mode": "sometimes"},
    ],
)
def test_wrong_values_give_one_clear_line(wrong):
    assert Link(rate=10**15).stages(0)
    with pytest.raises(UsageError) as caught:
        Link(**wrong)
    assert str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(UsageError):
        Link.from_dict({"ttl": 3})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1\n2\nx\n", "line 3"),
        ("1.5\n", "line 1"),
        ("", "1 to"),
        ("3\n2\n", "go back"),
        ("-1\n", "line 1"),
        ("\xff", "line 1"),
    ],
)
def test_a_broken_recording_says_where(tmp_path, text, says):
    path = tmp_path / "trace"
    path.write_text(text)
    with pytest.raises(UsageError, match=says) as caught:
        Link(rate_trace=str(path))
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError):
        Link(loss_trace=str(path))


def test_a_recording_may_not_be_endless(tmp_path, monkeypatch):
    from aero_lab.link import traces

    monkeypatch.setattr(traces, "TRACE_BYTES", 10)
    (tmp_path / "big").write_text("1\n" * 6)
    with pytest.raises(UsageError, match="more than"):
        Link(rate_trace=str(tmp_path / "big"))


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
