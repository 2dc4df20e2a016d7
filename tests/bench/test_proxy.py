"""``bench proxy``: its cases run against every network there is, its peers say when they are missing. No figure is
judged."""

from __future__ import annotations

import json

import pytest

from aero_lab.bench import proxy, run, table
from aero_lab.errors import UsageError

from ..guests.tap import needs_tap  # noqa: F401

NAMED = {"bulk/up", "bulk/down", "bulk-ws/up", "bulk-ws/down", "rr", "connect"}


def test_the_cases_of_the_contract_are_there():
    units = {case.name: case.unit for case in proxy.CASES}
    assert set(units) >= NAMED and {"bulk/up/65520", "bulk/down/65520"} <= set(units)
    assert (units["bulk/up"], units["bulk-ws/down"], units["rr"], units["connect"]) == ("Gbit/s", "Gbit/s", "us", "1/s")
    assert {case.transport for case in proxy.CASES} == {"memory", "websocket"}


def test_figures_are_in_their_units():
    assert proxy.figure("up", {"bytes": 250_000_000, "seconds": 2.0}) == 1.0
    assert proxy.figure("rr", {"median": 0.000_05}) == pytest.approx(50)
    assert proxy.figure("connect", {"number": 300, "seconds": 1.5}) == 200


@pytest.mark.root
@pytest.mark.usefixtures("needs_tap")
@pytest.mark.parametrize("case", ["rr", "connect", "bulk/down/65520"])
def test_every_network_runs_every_program(case):
    found = run("proxy", seconds=0.25, cases=[case])
    assert json.loads(json.dumps(found)) == found and found["bench"] == "proxy"
    assert [row["peer"] for row in found["results"]] == ["libslirp", "slirp4netns"]
    for row in found["results"]:
        assert row["case"] == case and row["value"] > 0 and len(row["samples"]) == proxy.SAMPLES
        why = proxy.missing(row["peer"])
        if why is None:
            assert row["peer_value"] > 0 and len(row["peer_samples"]) == proxy.SAMPLES, row
        else:
            assert (row["peer_value"], row["ratio"], row["reason"]) == (None, None, why)
    assert case in table(found)


@pytest.mark.root
@pytest.mark.usefixtures("needs_tap")
def test_a_peer_that_is_not_there_is_listed_with_the_reason(monkeypatch):
    monkeypatch.setattr(proxy.shutil, "which", lambda name: None)
    monkeypatch.setattr(proxy.importlib.util, "find_spec", lambda name: None)
    found = run("proxy", seconds=0.1, cases=["rr"])["results"]
    assert [(row["peer"], row["peer_value"], row["reason"]) for row in found] == [
        ("libslirp", None, "cffi is not installed"),
        ("slirp4netns", None, "slirp4netns is not installed"),
    ]
    assert all(row["value"] > 0 for row in found)


def test_a_case_that_does_not_exist_names_those_that_do():
    with pytest.raises(UsageError, match="there are: bulk/up"):
        run("proxy", cases=["zz"])
