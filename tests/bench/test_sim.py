"""``bench sim``: its cases do the work that they name, and report it by the contract. No figure is judged here."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aero_lab.bench import run, sim
from aero_lab.errors import UsageError


def test_a_download_is_measured_in_seconds_of_the_processor(monkeypatch):
    monkeypatch.setattr(sim, "SIZE", 50_000)
    document = run("sim", 0.01, ["download/C/websocket"])
    (result,) = document["results"]
    assert document["bench"] == "sim" and result["unit"] == "s" and result["value"] > 0
    assert len(result["samples"]) == sim.SAMPLES and result["peer"] is None and "10 MiB" in result["note"]


def test_a_seed_of_the_whole_table(monkeypatch):
    monkeypatch.setattr(sim, "TABLE_BYTES", 2000)
    (result,) = run("sim", 0.01, ["single-flow"])["results"]
    assert result["unit"] == "s" and result["value"] > 0 and len(result["samples"]) == sim.SAMPLES


def test_two_workers_stand_beside_one(monkeypatch):
    monkeypatch.setattr(sim, "SWEPT", replace(sim.SWEPT, parameters={"size": 1000}))
    (result,) = run("sim", 0.01, ["sweep/"])["results"]
    assert (result["case"], result["unit"], result["peer"]) == ("sweep/2-workers", "runs/s", "1 worker")
    assert len(result["samples"]) == len(result["peer_samples"]) == sim.SAMPLES
    assert result["ratio"] == pytest.approx(result["value"] / result["peer_value"], rel=1e-3)


def test_a_case_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match="no case 'download/Q'; there are: download/C/websocket"):
        run("sim", 1, ["download/Q"])
