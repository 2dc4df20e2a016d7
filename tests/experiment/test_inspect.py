"""``aero-lab inspect`` on every kind of file, foreign ones too, and ``aero-lab export`` there and back."""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
from pathlib import Path

import pytest

from aero_lab import analysis
from aero_lab.capture import Recorder, load_pcap, read_pcap
from aero_lab.cli import run
from aero_lab.experiment.export import check, export, read_card, recreate
from aero_lab.experiment.inspect import Inspection
from tests.capture.conversation import script, segment

DATASETS = Path(__file__).parents[2] / "datasets"
SET = DATASETS / "lossy-download.pcapng"


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """The conversation as tcpdump would have written it at the guest: microseconds, no direction, no identity."""
    path = tmp_path_factory.mktemp("foreign") / "tcpdump.pcap"
    seen = [(row[0] + (0 if row[1] else 20), row[2]) for row in script() if row[1] or not row[3]]
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for at, frame in sorted(seen, key=lambda row: row[0]):
            when = 1_700_000_000 + int(at) // 1000, int(at * 1000) % 10**6
            file.write(struct.pack("<IIII", *when, len(frame), len(frame)) + frame)
    return path


def test_every_kind_of_file_gives_the_same_answers(tmp_path, capfd):
    capture = load_pcap(SET)
    (tmp_path / "a.pcapng.gz").write_bytes(gzip.compress(SET.read_bytes()))
    capture.save_parquet(tmp_path / "a.parquet")
    documents = []
    for path in (SET, tmp_path / "a.pcapng.gz", tmp_path / "a.parquet"):
        assert run(["inspect", str(path), "--json", "-"]) == 0
        documents.append({k: v for k, v in json.loads(capfd.readouterr().out).items() if k != "file"})
    assert documents[0] == documents[1] == documents[2]
    found = documents[0]
    frames = read_pcap(SET)
    assert found["frames_at"] == {"nic": 115, "tunnel": 110} and found["frames"] == 225
    assert (
        found["bytes"] == frames[frames.point == "nic"].frame_len.sum() == sum(row["bytes"] for row in found["causes"])
    )
    assert found["tunnel_bytes"] == frames.message_len.sum() and found["directions"] == "recorded"
    assert found["meta"]["parameters"] == {"size": 64000} and found["warning"] is None
    at_tunnel = Inspection(SET, "tunnel").document()
    assert at_tunnel["bytes"] == at_tunnel["tunnel_bytes"] == sum(row["bytes"] for row in at_tunnel["causes"])


def test_it_reads_well_in_eighty_columns_and_always_the_same():
    found = Inspection(DATASETS / "asymmetric-download.pcapng", at_least="50ms")
    text = found.text()
    assert text == Inspection(DATASETS / "asymmetric-download.pcapng", at_least="50ms").text()
    lines = text.splitlines()
    # The line with the meta is one line whatever its length, for whoever searches it.
    assert max(len(line) for line in lines if not line.startswith(("meta: ", str(DATASETS)))) <= 80
    for words in (
        "203.0.113.10:80",
        "ACKs per data segment",
        "total",
        "tunnel up: queue",
        "stalls",
        "application idle",
    ):
        assert words in text, words
    assert "…" not in text


def test_of_many_flows_the_largest_are_shown(tmp_path):
    recorder = Recorder(points=("nic",))
    for number in range(50):
        size = 1000 if number in (3, 47) else 10
        recorder.add(segment(True, 1, 1, data=b"x" * size, port=20_000 + number), "nic", "tx", number)
    text = Inspection(recorder.save(tmp_path / "many.pcapng")).text()
    assert "30 smaller ones more" in text and text.count("203.0.113.10:80") == 20
    assert text.index(":20003") < text.index(":20047") and ":20049" not in text


def test_a_filter_chooses_what_it_is_about(capfd):
    assert run(["inspect", str(SET), "--filter", "tcp.port == 80 and ip.src == 10.0.2.15", "--json", "-"]) == 0
    found = json.loads(capfd.readouterr().out)
    frames = read_pcap(SET)
    chosen = frames[(frames.dstport == 80) & (frames.ip_src == "10.0.2.15")]
    assert found["frames"] == len(chosen) < found["frames_in_file"] and len(found["flows"]) == 1
    assert {row["direction"] for row in found["causes"]} == {"tx"}
    assert run(["inspect", str(SET), "--filter", "tcp.port = 80"]) == 2
    assert "character 10" in capfd.readouterr().err
    assert run(["inspect", str(SET), "--filter", "arp.opcode == 77"]) == 0
    assert "0 frames pass" in capfd.readouterr().out


def test_somebody_elses_capture(foreign, capfd):
    """One point, no directions, no identities: what can be computed is, and it is said."""
    assert run(["inspect", str(foreign)]) == 0
    out = capfd.readouterr().out
    assert "directions are not in the file: tx is what the client of each flow sent" in out
    found = Inspection(foreign).document()
    assert found["directions"] == "computed" and found["tunnel_bytes"] is None and found["frames_at"].keys() == {"nic"}
    recorder = Recorder(points=("nic",))  # the same, by somebody who knows the directions
    seen = [(row[0] + (0 if row[1] else 20), row[1], row[2]) for row in script() if row[1] or not row[3]]
    for at, sends, frame in sorted(seen, key=lambda row: row[0]):
        recorder.add(frame, "nic", "tx" if sends else "rx", round(at * 1_000_000))
    known = recorder.frames()
    flows = analysis.by_cause(known[known.flow_id.notna()]).reset_index()
    mine = {(row["cause"], row["direction"]): row["bytes"] for row in found["causes"]}
    assert {key: size for key, size in mine.items() if key[1] != "?"} == {
        (row.cause, row.direction): row.bytes for row in flows.itertuples()
    }
    assert sum(mine.values()) == known.frame_len.sum() and ("arp", "?") in mine
    assert found["acks"]["pure_acks"] == analysis.acks(known).pure_acks
    hops = {row["hop"]: row["samples"] for row in found["latency"]}
    assert hops["client acknowledges"] > 0 and hops["server acknowledges"] > 0 and "tunnel up" not in hops
    stalls = analysis.stalls(known, "100ms")
    assert [row["label"] for row in found["stalls"]] == stalls.label.tolist() and len(stalls) > 0


def test_a_report_is_one_file_with_pictures(tmp_path, foreign, capfd):
    for path in (SET, foreign):
        target = tmp_path / f"{path.stem}.html"
        assert run(["inspect", str(path), "--html", str(target)]) == 0
        text = target.read_text()
        assert (
            text.count("data:image/png;base64,") >= 3
            and "<script" not in text
            and "://" not in text  # nothing is fetched; letters alone may stand in a picture by chance
        )
        assert "203.0.113.10" in text and "retransmission" in text
    assert text == Inspection(foreign).html(), "the same file gives the same report"
    assert run(["inspect", str(SET), "--html", "/nowhere/x.html"]) == 2


def test_a_broken_file_says_where(tmp_path, capfd):
    (tmp_path / "cut.pcapng").write_bytes(SET.read_bytes()[:50_001])
    assert run(["inspect", str(tmp_path / "cut.pcapng")]) == 0
    assert "the file breaks off: " in capfd.readouterr().out
    (tmp_path / "none.pcap").write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
    assert run(["inspect", str(tmp_path / "none.pcap")]) == 0
    assert ": 0 frames (none)" in capfd.readouterr().out


# Export ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    from aero_lab.experiment.compare import compare

    folder = tmp_path_factory.mktemp("export")
    compare(
        workloads=["download"], size="30KB", virtual=True, link="rtt=20ms, loss=2%, rate=none:20Mbit/s", seed=5,
        out=folder / "run", progress=False,
    )  # fmt: skip
    return folder, export(folder / "run", folder / "given")


def test_a_run_is_exported_with_its_card(exported):
    folder, given = exported
    card = read_card(given)
    assert {path.name for path in given.iterdir()} == {"capture.pcapng", "frames.parquet", "card.json", "README.md"}
    for name in ("capture.pcapng", "frames.parquet"):
        data = (given / name).read_bytes()
        assert card["files"][name] == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert card["seed"] == 5 and card["configuration"]["link"]["loss"] == 0.02 and card["repeatable"]
    assert (
        card["run"]["bytes"] == 30_000
        and card["versions"]["numba"]
        and card["frames"] == len(read_pcap(given / "capture.pcapng"))
    )
    assert (
        "frame_id" in card["columns"]["tunnel_delay"]["meaning"] and "message_len" in card["formulas"]["tunnel_bytes"]
    )
    assert check(given) == [] and card["command"] in (given / "README.md").read_text()


def test_the_card_makes_the_run_again(exported, tmp_path, capfd):
    import shlex

    _, given = exported
    capture, same = recreate(given, tmp_path / "again")
    assert same and capture.read_bytes() == (given / "capture.pcapng").read_bytes()
    line = shlex.split(read_card(given)["command"])
    assert line[0] == "aero-lab" and run([*line[1:], "--out", str(tmp_path / "by-hand")]) == 0
    (made,) = (tmp_path / "by-hand").glob("*.pcapng")
    assert made.read_bytes() == capture.read_bytes()
    assert run(["export", str(given), "--again", "--out", str(tmp_path / "third")]) == 0
    assert "the same bytes" in capfd.readouterr().out


def test_what_was_changed_is_found(exported, tmp_path, capfd):
    folder, _ = exported
    assert run(["export", str(folder / "run"), "--out", str(tmp_path / "b")]) == 0
    changed = tmp_path / "b" / "capture.pcapng"
    data = bytearray(changed.read_bytes())
    data[1000] ^= 1
    changed.write_bytes(data)
    (tmp_path / "b" / "frames.parquet").unlink()
    assert len(check(tmp_path / "b")) == 2
    assert run(["export", str(tmp_path / "b"), "--check"]) == 1
    err = capfd.readouterr().err
    assert "capture.pcapng is not the file" in err and "frames.parquet is missing" in err
    card = json.loads((tmp_path / "b" / "card.json").read_text())
    card["configuration"]["seed"] = 6
    (tmp_path / "b" / "card.json").write_text(json.dumps(card))
    assert recreate(tmp_path / "b", tmp_path / "c")[1] is False


def test_captures_from_elsewhere_are_exported_too(foreign, tmp_path, capfd):
    given = export(foreign, tmp_path / "foreign")
    card = read_card(given)
    assert card["configuration"] is card["command"] is card["run"] is None and not card["repeatable"]
    names = ["frame_time", "frame_len", "tcp_len", "cause"]
    assert read_pcap(given / "capture.pcapng")[names].equals(read_pcap(foreign)[names])
    assert run(["export", str(given), "--again"]) == 2
    assert "made by hand" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-thing"], "there is no"),
        (["."], "holds no run"),
        ([str(SET), "--out", "."], "not empty"),
        ([".", "--check"], "holds no card"),
    ],
)
def test_mistakes_are_one_line(arguments, message, capfd, monkeypatch, tmp_path):
    (tmp_path / "something").write_text("here")
    monkeypatch.chdir(tmp_path)
    assert run(["export", *arguments]) == 2
    err = capfd.readouterr().err
    assert message in err and err.count("\n") == 1
