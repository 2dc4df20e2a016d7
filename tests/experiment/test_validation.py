"""What is simulated against what was measured; and the measuring itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aero_lab.errors import UsageError
from aero_lab.experiment import validation
from aero_lab.experiment.validation import Arrivals, Estimate, Habits, Traffic, Verdict, compare
from aero_lab.experiment.validation.__main__ import main
from aero_lab.experiment.validation.habits import Window
from aero_lab.experiment.validation.points import OUTSIDE, POINTS, paced
from aero_lab.experiment.validation.real import measure, why_not
from aero_lab.experiment.validation.simulated import simulate
from aero_lab.experiment.validation.store import about
from aero_lab.experiment.validation.traffic import LOST, read
from aero_lab.experiment.validation.verdict import estimate, figures
from aero_lab.limits import SECOND
from aero_lab.link import Link

MS = SECOND // 1000


def made(delays: list[int], size: int = 1000, gap: int = 10 * MS) -> Arrivals:
    return Arrivals(size, np.arange(len(delays)) * gap, np.array(delays))


# What is sent, and what is made of it --------------------------------------------------------------------------------


def test_a_message_says_which_it_is_and_when_it_was_due():
    traffic = Traffic(3, 40, 5)
    assert read(traffic.message(2, 77)) == (2, 77) and len(traffic.message(0, 0)) == 40
    assert traffic.lasts == 10 and Traffic(1, 16).offered_mbps is None and Traffic(2, 1000, 8 * MS).offered_mbps == 1.0
    for wrong in ({"count": 0, "size": 40}, {"count": 1, "size": 15}, {"count": 1, "size": 40, "gap": -1}):
        with pytest.raises(UsageError, match="traffic is 1 message or more"):
            Traffic(**wrong)


def test_arrivals_count_each_message_once_and_know_what_is_missing():
    traffic = Traffic(4, 1000, 10 * MS)
    seen = [(0, 0, 5 * MS), (2, 20 * MS, 27 * MS), (2, 20 * MS, 29 * MS), (3, 30 * MS, 38 * MS), (9, 0, 1)]
    found = Arrivals.of(traffic, seen)
    assert found.delay.tolist() == [5 * MS, LOST, 7 * MS, 8 * MS] and found.due.tolist() == [
        0,
        10 * MS,
        20 * MS,
        30 * MS,
    ]
    assert found.arrived == 0.75 and found.delays_ms.tolist() == [5, 7, 8]
    assert found.goodput_mbps == pytest.approx(3 * 1000 * 8 / 38e-3 / 1e6)
    assert Arrivals.of(traffic, []).goodput_mbps == 0


def test_intervals_hold_what_they_are_of():
    rng = np.random.default_rng(5)
    runs = [made(list(rng.exponential(30 * MS, 2000).astype(int))) for _ in range(8)]
    for each in (estimate(runs[:1]), estimate(runs)):
        p50 = each["p50_ms"]
        assert p50.low < np.log(2) * 30 < p50.high and p50.high - p50.low < 5
        assert each["p99_ms"].low <= each["p99_ms"].value <= each["p99_ms"].high
    assert estimate(runs) == estimate(runs)
    assert figures([made([LOST, 4 * MS])])["arrived"] == 0.5


def test_the_rule_is_15_percent_or_5_milliseconds():
    def verdict(figure: str, real: float, simulated: float, judged: bool = True) -> Verdict:
        return Verdict("p", figure, Estimate(real, real, real), Estimate(simulated, simulated, simulated), judged)

    assert verdict("p50_ms", 100, 114).ok and not verdict("p50_ms", 100, 116).ok
    assert verdict("p50_ms", 10, 14.9).ok and not verdict("p50_ms", 10, 15.2).ok
    assert not verdict("goodput_mbps", 10, 8.4).ok and verdict("goodput_mbps", 10, 8.6).ok
    assert verdict("p99_ms", 10, 900, judged=False).ok and not verdict("p99_ms", 10, 900, judged=False).within
    assert not verdict("p50_ms", float("nan"), 3).ok
    same = [made([20 * MS] * 400)]
    assert [each.judged for each in compare("p", same, same)] == [True, True, True, False, False]
    assert all(each.ok and each.ratio == 1 for each in compare("p", same, same))
    slower = [made([40 * MS] * 400)]
    assert {each.figure for each in compare("p", same, slower) if not each.ok} == {"p50_ms", "p90_ms"}


def test_measurements_survive_a_file(tmp_path):
    runs = {"a": [made([3 * MS, LOST, 5 * MS])], "b": [made([1 * MS] * 5, 300), made([2 * MS] * 5, 300)]}
    path = tmp_path / "runs.parquet"
    validation.save(path, runs, about())
    found, told = validation.load(path)
    assert told == about() and list(found) == ["a", "b"] and len(found["b"]) == 2
    for name, each in runs.items():
        for was, now in zip(each, found[name]):
            assert was.size == now.size and (was.due == now.due).all() and (was.delay == now.delay).all()
    with pytest.raises(UsageError, match="no measurements at"):
        validation.load(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not at all")
    with pytest.raises(UsageError, match="holds no measurements"):
        validation.load(tmp_path / "bad.parquet")
    validation.save(path, runs, {"schema": 99})
    with pytest.raises(UsageError, match="of another version: 99"):
        validation.load(path)


# Virtual time ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["websocket", "webrtc", "webrtc-lossy"])
def test_a_simulated_run_repeats_and_loss_shows(transport):
    traffic = paced(100, 400, 3)
    quiet = simulate(transport, Link(rtt="30ms"), traffic)
    assert quiet.arrived == 1 and (quiet.delay == 15 * MS).all()
    lossy = [simulate(transport, Link(rtt="30ms", loss=0.05), traffic, seed=seed) for seed in (1, 1, 2)]
    assert (lossy[0].delay == lossy[1].delay).all() and (lossy[0].delay != lossy[2].delay).any()
    if transport == "webrtc-lossy":
        assert lossy[0].arrived < 1
    else:
        assert lossy[0].arrived == 1 and lossy[0].delay.max() > 30 * MS


def test_settings_of_the_transport_are_checked():
    with pytest.raises(UsageError):
        simulate("websocket", Link(), Traffic(1, 100), {"colour": "red"})


# Real time ------------------------------------------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.parametrize("transport", ["websocket", "webrtc-lossy"])
def test_messages_are_measured_over_a_real_transport(transport):
    if why := why_not(transport):
        pytest.skip(why)
    traffic = paced(100, 400, 1.5)
    found, counters = measure(transport, Link(rtt="30ms", loss=0.03), traffic, eager=False)
    assert counters["up"]["frames_in"] > 30
    assert found.delays_ms.min() >= 15  # a link is not faster on a busy machine
    assert found.arrived == 1 if transport != "webrtc-lossy" else found.arrived > 0.5


# One against the other ------------------------------------------------------------------------------------------------


RECORDED = Path(__file__).parents[2] / "datasets" / "validation.parquet"
QUICK = [
    "messages-20ms-1%-cubic",
    "messages-40ms-5%-reno",
    "bulk-10Mbit-40ms-cubic",
    "bulk-10Mbit-40ms-reno",
    "messages-40ms-5%-webrtc",
    "messages-40ms-5%-webrtc-unordered",
    "messages-40ms-5%-webrtc-lossy",
    "bulk-3Mbit-40ms-webrtc",
]
"""What one round of tests simulates again."""


def test_a_point_that_there_is_not_is_one_clear_error():
    with pytest.raises(UsageError, match="there is no point 'nowhere'; there is messages-"):
        validation.point("nowhere")
    assert main([]) == 2 and main(["file", "nowhere"]) == 2


def test_every_point_was_measured_and_what_is_outside_has_its_mechanism():
    real, told = validation.load(RECORDED)
    assert set(real) == {each.name for each in POINTS} and told["kernel"]
    assert len({each.transport for each in POINTS}) == 4 and len(POINTS) >= 6
    assert {name for name, _ in OUTSIDE} <= set(real) and all(len(why.text) > 40 for why in OUTSIDE.values())
    assert sum(why.habits is None for why in OUTSIDE.values()) <= 2, "chance is the last thing to think of"


def _judged(names: list[str], real: dict, seeds: int) -> None:
    verdicts = validation.judge({name: real[name] for name in names}, seeds)
    assert len(verdicts) == 5 * len(names)
    for each in verdicts:
        if not each.ok:
            told = validation.explained(each, real[each.point], seeds)
            assert told is not None, f"{each.point} {each.figure}: {each.simulated} for {each.real}"
            assert validation.holds(told), f"{told.point} {told.figure}: {told.simulated} for {told.real} all the same"


@pytest.mark.parametrize(
    ("name", "seeds", "outside"),
    [
        ("bulk-20ms-1%-cubic", 6, {"goodput_mbps", "p50_ms", "p90_ms"}),
        ("messages-40ms-5%-cubic", 6, {"p90_ms"}),
    ],
)
def test_what_is_outside_is_inside_with_its_mechanism_switched_on(name, seeds, outside):
    real, chosen = validation.load(RECORDED)[0][name], validation.point(name)
    found = {each.figure for each in compare(name, real, chosen.simulate(seeds)) if not each.ok}
    assert found == outside
    (habits,) = {OUTSIDE[name, figure].habits for figure in found}
    assert habits is not None
    assert all(each.ok for each in compare(name, real, chosen.simulate(seeds, habits)))


def test_chance_explains_what_lies_among_single_runs_and_nothing_else():
    name = "messages-100ms-0.5%-cubic"
    real = validation.load(RECORDED)[0][name]
    (outside,) = (each for each in compare(name, real, validation.point(name).simulate(8)) if not each.ok)
    told = validation.explained(outside, real, 8)
    assert told is not None and validation.holds(told)
    later = Estimate(told.simulated.high + 1, 0, 0)
    assert not validation.holds(Verdict(name, "p90_ms", later, told.simulated, True))
    assert validation.explained(Verdict(name, "p50_ms", later, later, True), real, 1) is None


@pytest.mark.parametrize(
    "habits",
    [Habits(offered=60_000), Habits(friendly=True), Habits(segments=True), Habits(segments=True, friendly=True)],
)
def test_each_habit_changes_what_comes_and_loses_nothing(habits):
    link, traffic = Link(rtt="20ms", loss=0.03), Traffic(1500, 400)
    runs = [simulate("websocket", link, traffic, seed=4, habits=each) for each in (Habits(), habits, habits)]
    assert all(run.arrived == 1 for run in runs)
    assert (runs[1].delay == runs[2].delay).all() and (runs[0].delay != runs[1].delay).any()


def test_a_reader_that_offers_little_sets_the_pace():
    link, traffic = Link(rtt="100ms"), Traffic(700, 1000)
    run = simulate("websocket", link, traffic, {"tls": False}, habits=Habits(offered=30_000))
    assert run.goodput_mbps < 30_000 * 8 / 100e-3 / 1e6
    assert simulate("websocket", link, traffic, {"tls": False}).goodput_mbps > 2 * run.goodput_mbps


def test_a_window_in_segments_grows_and_shrinks_as_told():
    window = Window(False, 1.0, False, 10)
    window.acked(3, 1, 0, MS)
    assert window.size == 10, "a window that was not used does not grow"
    window.acked(10, 0, 0, MS)
    assert window.size == 20
    window.loss()
    assert window.size == 10
    for _ in range(11):
        window.limited = True
        window.acked(1, 10, 0, MS)
    assert 11 < window.size < 11.1, "one segment a window"
    window.timeout()
    assert window.size == 1
    window.acked(3, 1, 0, MS)
    assert window.size == 4
    window.acked(3, 4, 0, MS)
    assert window.size == 5, "slow start ends where the threshold is"
    for name, slow, quick in (("friendly", 8 / 15, 8 / 15), ("as the RFC has it", 0.5, 1.0)):
        cubic = Window(True, slow, name == "friendly", 20)
        cubic.loss()
        assert cubic.size == 14
        grown = []
        for turn in range(600):
            before = cubic.size
            cubic.limited = True
            cubic.acked(1, 14, turn, MS)
            grown.append((before, (cubic.size - before) * before))
        assert max(g for w, g in grown if w < 20) == pytest.approx(slow, rel=1e-6)
        assert max(g for w, g in grown if w > 20) == pytest.approx(quick, rel=1e-6)


@pytest.mark.parametrize("name", QUICK)
def test_the_simulation_agrees_with_what_was_measured(name):
    _judged([name], validation.load(RECORDED)[0], seeds=2)


@pytest.mark.long
def test_the_simulation_agrees_at_every_point():
    real = validation.load(RECORDED)[0]
    _judged(list(real), real, seeds=10)


@pytest.mark.long
@pytest.mark.root
@pytest.mark.parametrize("name", [each.name for each in POINTS])
def test_the_simulation_agrees_with_what_is_measured_now(name):
    chosen = validation.point(name)
    if why := why_not(chosen.transport):
        pytest.skip(why)
    _judged([name], {name: chosen.measure()}, seeds=10)
