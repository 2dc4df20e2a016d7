"""``bench capture``: its cases, its JSON, and that what it measures is the whole work."""

import json
import shutil

import pytest

from aero_lab.bench import capture as bench
from aero_lab.bench import run
from aero_lab.bench.__main__ import main
from aero_lab.bench.frames import mixed
from aero_lab.errors import UsageError


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(bench, "FRAMES", 3000)
    monkeypatch.setattr(bench, "FLOWS", 50)
    monkeypatch.setattr(bench, "PEER_FRAMES", {"scapy": 50, "dpkt": 100, "tshark": 200})
    monkeypatch.setattr(bench, "SAMPLES", 2)


def test_cases_and_peers():
    found = run("capture", 0.01)
    rows = {(r["case"], r["peer"]): r for r in found["results"]}
    assert set(rows) == {("read/pcapng", "scapy"), ("read/pcapng", "dpkt"), ("read/pcapng", "tshark"),
                         ("write/pcapng", "scapy"), ("write/pcapng", "dpkt")}  # fmt: skip
    for (_, peer), row in rows.items():
        assert row["unit"] == "frames/s" and row["value"] > 0 and len(row["samples"]) == 2
        if peer == "scapy" or shutil.which(peer):
            assert row["peer_value"] > 0 and row["ratio"] == pytest.approx(row["value"] / row["peer_value"], rel=1e-3)
            assert "the same file" in row["note"]


def test_one_case_without_peers(tmp_path):
    path = tmp_path / "out.json"
    assert main(["capture", "--seconds", "0.01", "--case", "write", "--no-peers", "--json", str(path)]) == 0
    (row,) = json.loads(path.read_text())["results"]
    assert row["case"] == "write/pcapng" and row["peer"] is None and row["value"] > 0


def test_a_case_that_there_is_not():
    with pytest.raises(UsageError, match="no case 'read/parquet'"):
        run("capture", 0.01, ["read/parquet"])


def test_the_file_is_the_same_each_time(tmp_path):
    one, two = (mixed(500, 20).save(tmp_path / name).read_bytes() for name in "ab")
    assert one == two != mixed(500, 20, seed=2).save(tmp_path / "c").read_bytes()
