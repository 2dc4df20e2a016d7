"""Compare in both kinds of time: the JSON contract, files, determinism, separate processes, failures that are told."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import fields
from pathlib import Path

import pytest

from aero_lab.errors import UsageError
from aero_lab.experiment.cases import Case
from aero_lab.experiment.compare import compare
from aero_lab.experiment.plan import EVERY_OPTION, TRANSPORTS
from aero_lab.experiment.processes import RealRun, Worker, WorkerFailed
from aero_lab.experiment.real import BOXED, budget_of, run_cell
from aero_lab.experiment.record import Run

CONTRACT = (
    "option transport guest nic workload link mode mtu ack_policy seed repeat ok error bytes digest_ok seconds "
    "goodput_mbps connect_ms ttfb_ms rtt_ms frames_up frames_down messages_up messages_down tunnel_bytes_up "
    "tunnel_bytes_down wire_bytes_up wire_bytes_down overhead_ratio acks_per_data_segment client_cpu_us_per_mb "
    "proxy_cpu_us_per_mb guest_mips_idle guest_mips_loaded retransmissions udp_delay_ms udp_jitter_ms udp_loss capture"
).split()
"""The fields that scripts rely on, in order."""
NEVER_MEASURED_HERE = ("nic", "guest_mips_idle", "guest_mips_loaded")
ONLY_ON_A_WIRE = ("wire_bytes_up", "wire_bytes_down", "overhead_ratio")


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    return compare(workloads=["download", "upload"], size="2MB", out=folder, progress=False), folder


@pytest.fixture(scope="module")
def websocket(tmp_path_factory):
    folder = tmp_path_factory.mktemp("websocket")
    table = compare(
        transports=["websocket"], workloads=["download", "upload"], size="2MB", out=folder, progress=False, seed=2
    )
    return table, folder


@pytest.fixture(scope="module")
def virtual(tmp_path_factory):
    folder = tmp_path_factory.mktemp("virtual")
    table = compare(
        workloads=["download", "voip"], size="200KB", virtual=True, link="rtt=40ms, loss=2%", seed=6, out=folder,
        progress=False,
    )  # fmt: skip
    return table, folder


def test_the_fields_of_a_run_are_those_of_the_contract():
    assert [field.name for field in fields(Run)][: len(CONTRACT)] == CONTRACT


def test_real_runs_measure_both_processes(real):
    table, _ = real
    assert table.ok, table.runs
    for run in table.runs:
        assert (run.mode, run.option, run.transport, run.bytes, run.digest_ok) == (
            "real",
            "C",
            "memory",
            2_000_000,
            True,
        )
        for name in ("client_cpu_us_per_mb", "proxy_cpu_us_per_mb", "goodput_mbps", "connect_ms", "ttfb_ms"):
            assert getattr(run, name) > 0, name
        assert run.messages_up == run.frames_up > 0 and run.messages_down == run.frames_down > 0
        assert all(getattr(run, name) is None for name in NEVER_MEASURED_HERE + ONLY_ON_A_WIRE)
        assert run.rtt_ms > 0 and len(run.extra["tunnel_rtt_ms"]) == 11 and run.udp_loss is None
    down, up = table.runs
    assert down.tunnel_bytes_down > 2_000_000 > down.tunnel_bytes_up > 0
    assert up.tunnel_bytes_up > 2_000_000 > up.tunnel_bytes_down > 0
    assert 0 < down.acks_per_data_segment < 1.1


def test_a_small_transfer_comes_before_the_one_that_counts(real):
    from aero_lab.capture import load_pcap

    table, _ = real
    for run, direction in zip(table.runs, ("rx", "tx")):
        frames = load_pcap(run.capture).frames()
        data = frames[(frames["point"] == "nic") & (frames["direction"] == direction) & (frames["tcp_len"] > 0)]
        ports = data["dstport" if direction == "tx" else "srcport"] == 80
        sizes = list(data[ports].groupby("flow_id", sort=False)["tcp_len"].sum())
        assert len(sizes) == 2 and 20_000 <= sizes[0] < 25_000 and 2_000_000 <= sizes[1] < 2_010_000
        carried = run.tunnel_bytes_down if direction == "rx" else run.tunnel_bytes_up
        assert carried < data[ports]["frame_len"].sum(), "the small one is not in the figures"


@pytest.mark.parametrize(
    ("workload", "parameters", "small"),
    [
        ("download", {}, {"size": 20_000}),
        ("upload", {"size": "2MB", "port": 81}, {"size": 20_000}),
        ("download", {"size": 5_000}, {}),
        ("rr", {"count": 50}, {"count": 2}),
        ("rr", {"count": 1}, {}),
        ("voip", {"duration": 2.0}, {"duration": 0.1}),
    ],
)
def test_what_comes_before_is_never_larger(workload, parameters, small):
    from aero_lab.experiment.real import _small

    assert _small(Case(workload=workload, parameters=parameters)) == small


def test_over_a_websocket_the_wire_is_measured(websocket):
    table, _ = websocket
    assert table.ok, table.runs
    for run in table.runs:
        assert (run.mode, run.transport, run.bytes, run.digest_ok) == ("real", "websocket", 2_000_000, True)
        for name in ("client_cpu_us_per_mb", "proxy_cpu_us_per_mb", "goodput_mbps", "connect_ms", "ttfb_ms", "rtt_ms"):
            assert getattr(run, name) > 0, name
        # A PING of the keepalive may be among them.
        assert 0 <= run.messages_up - run.frames_up <= 2 and 0 <= run.messages_down - run.frames_down <= 2
        assert all(getattr(run, name) is None for name in NEVER_MEASURED_HERE)
        assert run.overhead_ratio == (run.wire_bytes_up + run.wire_bytes_down) / 2_000_000
        for way in ("up", "down"):
            wire, tunnel = getattr(run, f"wire_bytes_{way}"), getattr(run, f"tunnel_bytes_{way}")
            causes = run.extra["causes"][way]
            assert sum(causes.values()) == wire and causes["tunnel_framing"] > 0
            # A WebSocket header of 4 bytes (2 for small ones; 4 more for the client's mask), and 52 a segment.
            segments, messages = run.extra[f"wire_segments_{way}"], getattr(run, f"messages_{way}")
            headers = wire - 52 * segments - tunnel
            least = (6 if way == "up" else 2) * messages
            edge = 2 * 1522  # messages that one count has and the other not yet
            assert least - edge <= headers <= least + 2 * messages + edge
            assert segments >= tunnel / 1448
    down, up = table.runs
    assert 1.05 < down.overhead_ratio < 2 and 1.05 < up.overhead_ratio < 2
    assert "wire per payload" in table.to_markdown()


def test_over_a_websocket_frames_are_paired(websocket):
    from aero_lab.capture import load_pcap

    table, _ = websocket
    frames = load_pcap(table.runs[0].capture).frames()
    for direction in ("tx", "rx"):
        nic, tunnel = (
            frames[(frames["point"] == point) & (frames["direction"] == direction) & frames["frame_id"].notna()]
            for point in ("nic", "tunnel")
        )
        both = nic.merge(tunnel, on="frame_id", suffixes=("_nic", "_tunnel"))
        assert len(both) > 0.95 * len(nic) and nic["frame_id"].is_unique and tunnel["frame_id"].is_unique
        for column in ("frame_len", "tcp_seq", "tcp_ack", "ip_id", "arp_opcode"):
            if f"{column}_nic" in both:
                assert both[f"{column}_nic"].equals(both[f"{column}_tunnel"]), (direction, column)
    delays = frames["tunnel_delay"].dropna()
    assert len(delays) > 1000 and (delays >= 0).all()


def test_frames_that_do_not_match_are_not_paired():
    from aero_lab.capture import Recorder
    from aero_lab.experiment.pairing import pair_by_order

    for lost, sound in ((None, True), (1, False)):
        near, far = Recorder(points=("nic",)), Recorder(points=("tunnel",))
        for number in range(4):
            frame = bytes(60 + number)
            near.add(frame, "nic", "tx", number)
            if number != lost:
                far.add_message(b"\xa2\x03\0\0" + frame, "tx", number)
        far.add_message(b"\xa2\x03\x01\0ping", "tx", 9)
        parts = near.capture(), far.capture()
        assert pair_by_order(*parts) is sound
        ids = [list(part.descriptors()["frame_id"]) for part in parts]
        assert (ids[0] == ids[1][:4]) is sound and (bool(set(ids[0]) & set(ids[1])) is sound)


def test_both_ends_are_in_one_capture(real):
    from aero_lab.capture import load_pcap

    table, _ = real
    frames = load_pcap(table.runs[0].capture).frames()
    assert set(frames["point"].unique()) == {"nic", "tunnel"}
    frames = frames[frames["frame_len"] > 0]  # PINGs hold none
    at = {
        (p, d): frames[(frames["point"] == p) & (frames["direction"] == d)]
        for p in ("nic", "tunnel")
        for d in ("tx", "rx")
    }
    for direction in ("tx", "rx"):
        here, there = (at[point, direction]["frame_id"] for point in ("nic", "tunnel"))
        assert here.is_unique and there.is_unique
        # The two recorders are asked one after the other: a last frame may be seen by one of them only.
        common = min(len(here), len(there))
        assert abs(len(here) - len(there)) < 5
        assert list(here[: common - 5]) == list(there[: common - 5])
    assert (frames["tunnel_delay"].dropna() >= 0).all()
    assert frames["frame_time"].is_monotonic_increasing


def test_virtual_runs_are_exact(virtual):
    table, _ = virtual
    assert table.ok
    download, voip = table.runs
    assert download.mode == "virtual" and download.connect_ms == pytest.approx(40.0)
    assert download.retransmissions > 0 and download.link["loss"] == 0.02
    assert download.client_cpu_us_per_mb is None and voip.goodput_mbps == pytest.approx(0.064, rel=0.1)
    assert voip.udp_delay_ms == pytest.approx(20.0) and 0 < voip.udp_loss < 0.2


def test_files_and_json(virtual):
    import pandas

    table, folder = virtual
    document = json.loads((folder / "runs.json").read_text())
    assert list(document) == ["schema", "machine", "seed", "runs"] and document["schema"] == 1
    assert list(document["runs"][0])[: len(CONTRACT)] == CONTRACT
    assert document["runs"][0]["wire_bytes_up"] is None
    assert Path(document["runs"][0]["capture"]).stat().st_size > 200_000
    runs = pandas.read_parquet(folder / "runs.parquet")
    assert list(runs["workload"]) == ["download", "voip"]
    report = (folder / "report.md").read_text()
    assert "| C | memory | download |" in report and "rtt=40ms" in report
    assert {path.name for path in table.files} == {path.name for path in folder.iterdir()}
    assert "download" in table._repr_html_() and "download" in repr(table)


def test_the_same_seed_gives_the_same_bytes_in_two_processes(virtual, tmp_path):
    _, folder = virtual
    program = (
        "import aero_lab as al\n"
        "al.compare(workloads=['download'], size='200KB', virtual=True, link='rtt=40ms, loss=2%', seed=6,"
        f" out={str(tmp_path)!r}, progress=False)\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "123"}
    subprocess.run([sys.executable, "-c", program], check=True, timeout=240, env=environment)
    name = "C-memory-download-virtual-seed6-0.pcapng"
    assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_repeats_have_seeds_of_their_own():
    table = compare(size="10KB", virtual=True, link="rtt=10ms, loss=10%", repeats=3, seed=5, progress=False)
    assert [(run.seed, run.repeat) for run in table.runs] == [(5, 0), (6, 1), (7, 2)]
    assert table.folder is None and table.runs[0].capture is None


def test_a_run_that_fails_is_told_and_the_others_go_on():
    table = compare(workloads=["download", "ping"], size="5MB", virtual=True, link="rtt=1s", timeout=5, progress=False)
    download, ping = table.runs
    assert not table.ok and not download.ok and "not done within 5 s" in download.error and download.bytes is None
    assert ping.workload == "ping"


def test_a_dead_process_is_named(tmp_path):
    before = threading.active_count()
    with pytest.raises(WorkerFailed, match="the proxy process ended"):
        with RealRun("C", "linux", 1500, 1, {}) as halves:
            halves.proxy._process.kill()
            halves.proxy.ask("measure", patience=20)
    assert threading.active_count() == before
    with pytest.raises(WorkerFailed, match="the client process ended"):
        worker = Worker("client", {"nonsense": 1}, ())
        try:
            worker.ready()
        finally:
            worker.stop()


def test_a_combination_that_hangs_does_not_hold_up_the_others(monkeypatch):
    begin, budgets = Worker.begin, {"C": 4.0, "B": 600.0}

    def begin_and_hang(self, spec):
        begin(self, spec)
        if (self.role, spec["option"]) == ("client", "C"):
            os.kill(self._process.pid, signal.SIGSTOP)

    monkeypatch.setattr(Worker, "begin", begin_and_hang)
    monkeypatch.setattr("aero_lab.experiment.real.budget_of", lambda cases: budgets[cases[0].option])
    small = {"download": {"size": 20_000}, "rr": {"count": 2}}
    table = compare("CB", workloads=list(small), parameters=small, progress=False)
    assert [(run.option, run.ok) for run in table.runs] == [("C", False), ("C", False), ("B", True), ("B", True)]
    hung, not_tried, *_ = table.runs
    assert re.fullmatch(r"the \w+ process did not answer within [\d.]+ s", hung.error)
    assert not_tried.error == f"not tried, since for the download before it: {hung.error}"


def test_a_cell_has_an_end_of_its_own():
    cases = [Case(workload=name, virtual=False, timeout=300.0) for name in ("download", "rr")]
    runs = [run for run, _ in run_cell(cases, budget=0.01)]
    assert [run.ok for run in runs] == [False, False]
    assert "did not answer" in runs[0].error and runs[1].error.startswith("not tried")
    assert budget_of(cases) > 3 * 300.0, "which no workload notices that keeps to its own"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"options": "Q"}, "option 'Q' does not exist"),
        ({"options": ""}, "at least one option"),
        ({"transports": ["pigeon"]}, "transport 'pigeon' does not exist; there is memory"),
        ({"workloads": ["nap"]}, "workload must be one of"),
        ({"profile": "beos"}, "profile must be one of"),
        ({"mtu": 70000}, "mtu must be 576 to 65520, not 70000"),
        ({"size": "big"}, "not a size"),
        ({"ack_policy": "late"}, "ack_policy must be one of early, mirror, not 'late'"),
        ({"repeats": 0}, "repeats must be 1 or more"),
        ({"timeout": 0}, "timeout must be above 0"),
        ({"cell_timeout": -1}, "cell_timeout must be above 0 seconds, not -1"),
        ({"cell_timeout": 9, "virtual": True}, "cell_timeout is about real time"),
        ({"link": "rtt=1ms"}, "memory has no packets that a link could delay"),
        ({"out": "/dev/null/x"}, "cannot write to"),
        ({"workloads": ["ping", "dns"], "parameters": {"count": 1}}, "belong to one workload"),
        ({"parameters": {"colour": 1}, "virtual": True}, "takes .*, not 'colour'"),
        ({"workloads": ["voip"], "parameters": {"duration": -1}}, "duration must be above 0"),
        ({"parameters": {"timeout": 5}}, "timeout is that of the whole run"),
        ({"seed": -1}, "a seed is a whole number"),
    ],
)
def test_wrong_arguments_name_themselves(arguments, message):
    with pytest.raises(UsageError, match=message):
        compare(**{"progress": False, **arguments})


def test_a_small_figure_does_not_turn_into_nothing():
    from aero_lab.experiment.columns import _text

    assert [_text(v, "{:.1f}") for v in (0.0237, 0.0, 0.06, 14.83)] == ["0.024", "0.0", "0.1", "14.8"]
    assert [_text(v, "{:.1%}") for v in (0.00046, 0.0, 0.0006, 1.5)] == ["0.046%", "0.0%", "0.1%", "150.0%"]
    assert _text(0.0, "{:.2%}") == "0.00%" and _text(7, "{:,}") == "7"


def test_what_cannot_be_is_left_out_with_its_reason(tmp_path):
    table = compare(
        "A", ["memory", "webrtc-unordered"], size="20KB", virtual=True, link="rtt=10ms", out=tmp_path, progress=False
    )
    assert [(run.option, run.transport, run.ok) for run in table.runs] == [("A", "memory", True)]
    assert [(each["option"], each["transport"]) for each in table.left_out] == [("A", "webrtc-unordered")]
    assert table.document()["left_out"] == table.left_out and "left out: A over webrtc-unordered" in table.report()
    html = (tmp_path / "report.html").read_text()
    assert html.count("<img") == 1 and "<td>A</td><td>webrtc-unordered</td><td>option A has no channel" in html


def test_every_cell_of_the_matrix_with_a_link_in_virtual_time():
    table = compare(EVERY_OPTION, TRANSPORTS, size="20KB", virtual=True, link="rtt=20ms, loss=2%", progress=False)
    cells = [(run.option, run.settings.get("streams", "mux"), run.transport) for run in table.runs]
    reliable, lossy = ("memory", "websocket", "webrtc"), ("webrtc-unordered", "webrtc-lossy")
    assert cells == [
        *(("A", "mux", transport) for transport in reliable),
        ("A", "socket", "websocket"),
        *((option, "mux", transport) for option in "BC" for transport in reliable + lossy),
    ]
    assert all(run.ok and run.digest_ok and run.bytes == 20_000 for run in table.runs), table
    assert all((run.wire_bytes_down or 0) > 20_000 for run in table.runs if run.transport != "memory")
    assert len(table.left_out) == 2 * len(TRANSPORTS) - 4 and all(each["reason"] for each in table.left_out)


def test_repeats_are_interleaved_and_become_medians():
    table = compare("BC", size="20KB", virtual=True, link="rtt=10ms, loss=2%", repeats=3, progress=False)
    assert [(run.option, run.repeat) for run in table.runs] == [(o, r) for r in range(3) for o in "BC"]
    medians = table.medians()
    assert list(medians["runs"]) == [3, 3]
    for option in "BC":
        seconds = sorted(run.seconds for run in table.runs if run.option == option)
        row = medians.loc[option].iloc[0]
        assert row["seconds"] == seconds[1] and row["seconds_spread"] == (seconds[2] - seconds[0]) / 2
    assert repr(table).count("3/3") == 2 and "±" in repr(table)
    assert medians["client_lines"].iloc[0] > 5 * medians["client_lines"].iloc[1]


def test_a_transfer_without_a_size_fits_its_box():
    table = compare("C", ["webrtc"], box=0.5, progress=False)
    (run,) = table.runs
    assert run.ok and run.digest_ok and run.bytes in BOXED, run.error
    assert run.messages_per_mb > 100 and run.wire_bytes_down > run.bytes
