"""The reference sets come out again byte for byte from the commands that stand beside them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from aero_lab.capture import read_pcap
from aero_lab.cli import run

DATASETS = Path(__file__).parents[2] / "datasets"
README = (DATASETS / "README.md").read_text()
MEASURED = {"validation.parquet"}
"""What came from real time: nothing makes it again to the byte."""
SWEEPS = dict(re.findall(r"^\| `([^`]+\.parquet)` \|.*: `aero-lab sweep ([^`]+)` \|$", README, re.MULTILINE))
COMMANDS = dict(re.findall(r"^\| `([^`]+\.pcapng)` \|.*: `aero-lab (compare [^`]+)` \|$", README, re.MULTILINE))


def test_each_set_has_its_command_and_is_small():
    files = {path.name: path.stat().st_size for path in DATASETS.iterdir() if path.name != "README.md"}
    grids = set(SWEEPS.values())
    assert (
        files.keys() == {*COMMANDS, *SWEEPS, *grids, *MEASURED} and len(files) == 7 and max(files.values()) < 1_000_000
    )
    packaged = (DATASETS.parent / "pyproject.toml").read_text()
    assert all(f'"datasets/{name}"' in packaged for name in files)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_set_is_made_again_byte_for_byte(name, tmp_path, capfd):
    assert run([*shlex.split(COMMANDS[name]), "--out", str(tmp_path)]) == 0
    (made,) = tmp_path.glob("*.pcapng")
    assert made.read_bytes() == (DATASETS / name).read_bytes()


def test_the_two_show_different_things():
    from aero_lab import analysis

    lossy, thin = (read_pcap(DATASETS / name) for name in ("lossy-download.pcapng", "asymmetric-download.pcapng"))
    causes = [analysis.by_cause(frames).groupby("cause").frames.sum() for frames in (lossy, thin)]
    assert causes[0]["retransmission"] > 0 and "retransmission" not in causes[1]
    hops = [analysis.latency(frames) for frames in (lossy, thin)]
    assert hops[0].loc["tunnel up: queue", "max"] == 0 and hops[1].loc["tunnel up: queue", "p90"] > 100
    assert hops[1].loc["tunnel up: queue", "p50"] > 10 * hops[1].loc["tunnel down: queue", "p50"]


@pytest.mark.parametrize("name", sorted(SWEEPS))
def test_a_sweep_has_a_row_for_every_run_of_its_grid(name):
    import pandas

    from aero_lab.experiment.sweep.spec import read

    table = pandas.read_parquet(DATASETS / name)
    cases = read(DATASETS / SWEEPS[name]).plan.cases
    told = [(case.option, case.transport, case.link.rtt / 1e6, case.link.loss, case.seed) for case in cases]
    keys = ("option", "transport", "link_rtt_ms", "link_loss", "seed")
    assert list(zip(*(table[key] for key in keys))) == told
    assert table["ok"].mean() > 0.95 and table[~table["ok"]]["error"].notna().all()


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(SWEEPS))
def test_rows_of_a_sweep_are_made_again(name):
    import pandas

    from aero_lab.experiment.sweep import run as make
    from aero_lab.experiment.sweep.grid import Plan
    from aero_lab.experiment.sweep.spec import read

    plan = read(DATASETS / SWEEPS[name]).plan
    table = pandas.read_parquet(DATASETS / name)
    some = slice(0, None, 41)
    made = make(Plan(plan.cases[some], plan.link_keys), store=False, progress=False)
    there = table.iloc[some].reset_index(drop=True)
    for column in ("goodput_mbps", "p99_ms", "wire_bytes_down", "capture_sha256"):
        pandas.testing.assert_series_equal(made[column], there[column], check_dtype=False)
