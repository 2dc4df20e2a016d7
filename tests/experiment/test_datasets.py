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
COMMANDS = dict(re.findall(r"^\| `([^`]+\.pcapng)` \|.*: `aero-lab (compare [^`]+)` \|$", README, re.MULTILINE))


def test_each_set_has_its_command_and_is_small():
    files = {path.name: path.stat().st_size for path in DATASETS.iterdir() if path.name != "README.md"}
    assert files.keys() == COMMANDS.keys() and len(files) == 2 and max(files.values()) < 1_000_000
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
