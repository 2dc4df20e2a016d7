"""``bench sim``: its cases do the work that they name, and report it by the contract. No figure is judged here."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aero_lab.bench import Result, run, sim, table
from aero_lab.errors import UsageError


def test_a_download_is_measured_in_seconds_of_the_processor(monkeypatch):
    monkeypatch.setattr(sim, "SIZE", 50_000)
    document = run("sim", 0.01, ["download/C/websocket"])
    (result,) = document["results"]
    assert document["bench"] == "sim" and result["unit"] == "s" and result["value"] > 0
    assert len(result["samples"]) == sim.SAMPLES and result["peer"] is None and "10 MiB" in result["note"]
    assert result["target"] == "< 1 s"


def test_a_seed_of_the_whole_table(monkeypatch):
    monkeypatch.setattr(sim, "TABLE_BYTES", 2000)
    (result,) = run("sim", 0.01, ["single-flow"])["results"]
    assert result["unit"] == "s" and result["value"] > 0 and len(result["samples"]) == sim.SAMPLES


def test_two_workers_stand_beside_one(monkeypatch):
    monkeypatch.setattr(sim, "SWEPT", replace(sim.SWEPT, parameters={"size": 1000}))
    monkeypatch.setattr(sim, "ROUNDS", 2)
    result, machine = run("sim", 0.01, ["sweep/"])["results"]
    assert (result["case"], result["unit"], result["peer"]) == ("sweep/2-workers", "runs/s", "1 worker")
    assert result["target"] == "ratio >= 1.8"
    assert (machine["case"], machine["peer"]) == ("sweep/2-workers/arithmetic", "1 process") and "target" not in machine
    for row in (result, machine):
        assert len(row["samples"]) == len(row["peer_samples"]) == 2
        assert row["ratio"] == pytest.approx(row["value"] / row["peer_value"], rel=1e-3)


def test_workers_alone_have_no_peer(monkeypatch):
    monkeypatch.setattr(sim, "SWEPT", replace(sim.SWEPT, parameters={"size": 1000}))
    (result,) = run("sim", 0.01, ["sweep/"], peers=False)["results"]
    assert len(result["samples"]) == sim.SAMPLES and result["peer_value"] is None and result["met"] is None


def test_both_sides_of_a_round_make_the_same_runs(monkeypatch):
    """And neither is always the first: a machine that slows down slows both."""
    made: list[tuple[int, int, int]] = []

    def runs(pool: sim.Pool, number: int, first: int) -> float:
        made.append((len(pool.workers), number, first))
        return 50.0

    monkeypatch.setattr(sim, "_runs", runs)
    monkeypatch.setattr(sim, "_loops", lambda processes, number: 1.0)
    sim.measure(1.0, ["sweep/"])
    rounds = [made[n : n + 2] for n in range(3, len(made), 2)]
    assert len(rounds) == sim.ROUNDS and all(a[1:] == b[1:] and {a[0], b[0]} == {1, 2} for a, b in rounds)
    assert [a[2] for a, _ in rounds] == [50 * n for n in range(sim.ROUNDS)] and len({a[0] for a, _ in rounds}) == 2


@pytest.mark.parametrize(("value", "met"), [(0.99, True), (1.0, False), (1.01, False)])
def test_a_most_is_told_and_judged(value, met):
    result = Result("x", "s", [value], most=1.0, more_is_better=False)
    assert result.to_dict().items() >= {"target": "< 1 s", "met": met}.items()
    lines = table({"results": [result.to_dict(), Result("y", "s", [1.0]).to_dict()]}).splitlines()
    assert lines[0].split()[-2:] == ["target", "met"] and lines[2].split()[-2:] == ["-", "-"]
    assert lines[1].split()[-4:] == ["<", "1", "s", "yes" if met else "no"]


@pytest.mark.parametrize(("peer", "met"), [([10.0], False), ([5.0], True), ([], None)])
def test_a_least_ratio_is_told_and_judged(peer, met):
    result = Result("x", "runs/s", [9.0], peer="1 worker", peer_samples=peer, least_ratio=1.8)
    assert (result.target, result.met) == ("ratio >= 1.8", met)


def test_cases_that_have_a_target():
    assert {case.name: case.target for case in sim.CASES if case.target is not None} == {
        "download/C/websocket": 1.0, "single-flow/one-seed": 180.0, "sweep/2-workers": 1.8,
    }  # fmt: skip


def test_a_case_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match="no case 'download/Q'; there are: download/C/websocket"):
        run("sim", 1, ["download/Q"])
