"""The bench's contract: its JSON, its cases, what it refuses. No figure is judged here."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from aero_lab.bench import run, table
from aero_lab.bench.__main__ import main
from aero_lab.bench.peers import PEERS, peer_work
from aero_lab.bench.report import Result
from aero_lab.bench.stack import CASES, PAYLOAD, Bench, Case, PeerBench, address
from aero_lab.bench.traffic import flow_record, generate
from aero_lab.errors import AeroLabError, UsageError
from aero_lab.rings import FrameRing
from aero_lab.wire.frame import dissect
from aero_lab.wire.tcp import Tcp

LINK = bytes.fromhex("020000000001020000000015")
RESULT_KEYS = {"case", "value", "unit", "samples", "peer", "peer_value", "ratio"}


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("size", [0, 1, 64, 1460])
def test_generated_frames_are_valid_distinct_and_in_order(family, size):
    link = LINK + (b"\x08\0" if family == 4 else b"\x86\xdd")
    start = 2**32 - 5
    records = [flow_record(link, address(2, family), address(1, family), 1024 + i, 80, start, 7, 9) for i in range(3)]
    flows = np.frombuffer(bytearray(b"".join(records)), np.uint8)
    ring = FrameRing(64, 1 << 17)
    assert generate(ring.array, flows, PAYLOAD, 0, 12, 14, 66 if family == 4 else 86, size, 3, 5) == 12
    frames = [f.data for f in ring.pop_many()]
    assert len(set(frames)) == 12
    for i, frame in enumerate(frames):
        segment = dissect(frame, verify=True)[-1]
        assert isinstance(segment, Tcp), segment
        assert (segment.srcport, segment.dstport) == (1024 + i % 3, 80)
        assert segment.seq == (start + i // 3 * size) % 2**32 and segment.ack == 7 + 3 * (i // 3 + 1)
        assert len(segment.payload) == size and segment.options.timestamps == (2 + i // 3, 9)


def test_generation_stops_at_a_full_ring():
    flows = np.frombuffer(bytearray(flow_record(LINK + b"\x08\0", b"\1" * 4, b"\2" * 4, 1, 2, 0, 0, 0)), np.uint8)
    ring = FrameRing(4, 1 << 16)
    assert generate(ring.array, flows, PAYLOAD, 0, 9, 14, 66, 10, 0, 0) == 4


@pytest.mark.parametrize("name", ["rx/64B/64flows", "rx6/1460B/64flows", "ack/1flow", "tx/256B/64flows", "deliver/"])
def test_cases_do_the_work_they_name(name):
    """Every frame of a case is taken by its connection, none is dropped (``check`` raises otherwise)."""
    case = next(c for c in CASES if c.name.startswith(name))
    small = Case(case.name, case.kind, case.size, min(case.flows, 4), case.family)
    bench = Bench(small)
    assert bench.sample(0.001) > 0
    bench.check()
    assert sum(c.info()["segs_in"] for c in bench.connections) >= bench.sent


def test_check_notices_dropped_frames():
    bench = Bench(Case("rx", "rx", 64, 2))
    bench.rx()
    bench.flows[20] ^= 1  # the next frames are not of the stack's connections
    bench.rx()
    with pytest.raises(AeroLabError, match="dropped"):
        bench.check()


@pytest.mark.parametrize("name", PEERS)
def test_peers_take_every_byte(name):
    work, reason = peer_work(name)
    if work is None:
        assert name in (reason or "")
        pytest.skip(reason)
    assert PeerBench(Case("rx", "rx", 100, 3), work).sample(0.001) > 0


@pytest.mark.parametrize("name", PEERS)
def test_peers_refuse_a_wrong_checksum(name):
    work, reason = peer_work(name)
    if work is None:
        pytest.skip(reason)
    flows = np.frombuffer(bytearray(flow_record(LINK + b"\x08\0", b"\1" * 4, b"\2" * 4, 1, 2, 0, 0, 0)), np.uint8)
    ring = FrameRing(4, 1 << 16)
    generate(ring.array, flows, PAYLOAD, 0, 1, 14, 66, 10, 0, 0)
    frame = bytearray(ring.pop_many()[0].data)
    frame[-1] ^= 1
    try:
        assert work([bytes(frame)]) == 0
    except Exception as error:
        assert "checksum" in str(error)


def test_run_gives_the_contract_of_scripts():
    found = run("stack", seconds=0.005, cases=["rx/64B"], peers=True)
    assert json.loads(json.dumps(found)) == found
    assert (found["schema"], found["bench"]) == (1, "stack") and found["machine"]["python"]
    assert [r["peer"] for r in found["results"]] == list(PEERS)
    for row in found["results"]:
        assert RESULT_KEYS <= set(row) and row["unit"] == "frames/s" and len(row["samples"]) == 5
        assert sorted(row["samples"])[2] == row["value"] > 0
        if row["peer_value"] is None:
            assert row["ratio"] is None and row["reason"]
        else:
            assert row["ratio"] == pytest.approx(row["value"] / row["peer_value"], rel=1e-3)
    assert "rx/64B/64flows" in table(found)


def test_the_named_case_is_there():
    assert "rx/1460B/64flows" in {c.name for c in CASES}


def test_ratios_are_above_one_when_we_are_better():
    assert Result("x", "us", [2.0], "p", [4.0], more_is_better=False).ratio == 2
    assert Result("x", "1/s", [2.0], "p", [4.0]).ratio == 0.5
    assert Result("x", "1/s", [2.0], "p").ratio is None and Result("x", "1/s").value is None


@pytest.mark.parametrize(
    "arguments", [["nothing"], ["stack", "--case", "zz"], ["stack", "--seconds", "0"], ["stack", "--seconds", "-1"]]
)
def test_wrong_arguments_are_one_line_and_two(arguments, capsys):
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1 and said.err.startswith("aero-lab bench: ")


def test_json_goes_to_a_file_or_standard_output(tmp_path, capsys):
    arguments = ["stack", "--case", "ack/1flow", "--no-peers", "--seconds", "0.002", "--json"]
    assert main([*arguments, str(tmp_path / "b.json")]) == 0
    assert json.loads((tmp_path / "b.json").read_text())["results"][0]["case"] == "ack/1flow"
    assert "ack/1flow" in capsys.readouterr().out
    assert main([*arguments, "-"]) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["peer"] is None


def test_unknown_names_are_usage_errors():
    for wrong in ({"name": "nothing"}, {"name": "stack", "cases": ["zz"]}, {"name": "stack", "seconds": 0}):
        with pytest.raises(UsageError):
            run(**wrong)
    assert random.Random(1460).randbytes(8) == bytes(PAYLOAD[:8])
