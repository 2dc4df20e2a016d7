"""Every analysis on tables from elsewhere: without directions and identities, and as plain CSV gives them."""

from __future__ import annotations

import io
import shutil
import socket
import subprocess
import threading
import time

import numpy as np
import pandas as pd
import pytest

from aero_lab import Lab, analysis
from aero_lab.analysis.select import COMPUTED, oriented
from aero_lab.capture import read_pcap
from aero_lab.errors import UsageError

ANALYSES = {
    "flows": analysis.flows,
    "by_cause": analysis.by_cause,
    "bandwidth": lambda frames: analysis.bandwidth(frames, "50ms", direction="rx"),
    "acks": lambda frames: analysis.acks(frames).flows,
    "chatter": lambda frames: pd.Series({"stretch": analysis.acks(frames).stretch_acks}),
    "thinned": analysis.thinned,
    "rtt": analysis.rtt,
    "latency": analysis.latency,
    "stalls": lambda frames: analysis.stalls(frames, "30ms"),
    "segments": lambda frames: analysis.stream(frames).segments,
    "ack stream": lambda frames: analysis.stream(frames).acks,
    "filter": lambda frames: analysis.filter(frames, "tcp.port == 80 and tcp.len > 0")[["frame_number", "tcp_len"]],
}


@pytest.fixture(scope="module")
def both_ends():
    with Lab(virtual=True, link="rtt=40ms, loss=3%, duplicate=1%", seed=8) as lab:
        lab.guest().run("download", size="120KB")
        return lab.capture.frames()


@pytest.fixture(scope="module")
def known(both_ends):
    """What the guest's NIC saw, and directions known."""
    frames = both_ends[(both_ends.point == "nic") & both_ends.flow_id.notna()]
    return frames.reset_index(drop=True)


def same(a, b):
    if isinstance(a, pd.Series):
        pd.testing.assert_series_equal(a, b, check_dtype=False)
    else:
        pd.testing.assert_frame_equal(a, b, check_dtype=False, check_categorical=False)


@pytest.mark.parametrize("name", ANALYSES)
def test_directions_that_a_capture_does_not_tell_are_computed(known, name):
    """The guest opened each of these flows, so that what is computed is what was."""
    foreign = known.assign(
        direction=pd.Categorical([None] * len(known), ["tx", "rx"]), frame_id=pd.array([None] * len(known), "Int64")
    )
    opened = known[known.ip_src == "10.0.2.15"].flow_id.unique()
    ours, theirs = known[known.flow_id.isin(opened)], foreign[foreign.flow_id.isin(opened)]
    expected, found = ANALYSES[name](ours), ANALYSES[name](theirs)
    if name == "latency":  # whose round trips they are cannot be known there
        expected = expected.rename(
            {"guest acknowledges": "client acknowledges", "guest to proxy and back": "server acknowledges"}
        )
    same(expected.sort_index() if name == "latency" else expected, found.sort_index() if name == "latency" else found)
    assert oriented(theirs).attrs["direction"] == COMPUTED and "direction" not in oriented(ours).attrs


@pytest.mark.parametrize("name", ANALYSES)
def test_tables_as_csv_files_give_them(known, name):
    """Numbers with holes are floats there, truth values and addresses are objects."""
    plain = pd.read_csv(io.StringIO(known.to_csv(index=False)), low_memory=False)
    assert plain.tcp_len.dtype == float and plain.ip_src.dtype != "category"
    expected, found = ANALYSES[name](known), ANALYSES[name](plain)
    if name == "by_cause":
        expected, found = expected.sort_index(), found.sort_index()
    same(expected, found)


@pytest.mark.parametrize("name", ANALYSES)
def test_what_lacks_everything_is_refused_in_one_line(name):
    with pytest.raises(UsageError) as caught:
        ANALYSES[name](pd.DataFrame({"frame_time": np.array([1, 2])}))
    assert "lack the columns" in str(caught.value) and "\n" not in str(caught.value)


def test_rows_of_no_flow_keep_no_direction(both_ends):
    frames = both_ends[both_ends.point == "nic"]
    found = oriented(frames.drop(columns="direction"))
    assert found[found.flow_id.isna()].direction.isna().all() and found[found.flow_id.notna()].direction.notna().all()
    assert oriented(frames) is frames and len(oriented(frames[:0].drop(columns="direction"))) == 0
    without_flows = oriented(frames.drop(columns=["direction", "flow_id"]))
    assert without_flows.direction.isna().all() and "direction" not in without_flows.attrs


def test_a_middle_of_a_conversation_has_a_client_too(known):
    """Without the SYN, who got the SYN-ACK; without both, who spoke first."""
    tcp = known[known.tcp_seq.notna()].drop(columns="direction")
    whole = oriented(tcp)
    for cut in (tcp[tcp.tcp_flags & 0x12 != 0x02], tcp[tcp.tcp_flags & 0x02 == 0]):
        found = oriented(cut)
        assert found.direction.tolist() == whole.direction[cut.index].tolist()


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not installed")
def test_a_capture_that_tcpdump_made(tmp_path):
    """A transfer over loopback with a pause in it, seen by tcpdump; needs leave to capture."""
    path = tmp_path / "lo.pcap"
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    command = ["tcpdump", "-i", "lo", "-U", "-w", str(path), "--immediate-mode", "tcp", "port", str(port)]
    watcher = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert watcher.stderr is not None
        said = ""
        while "listening on" not in said:
            line = watcher.stderr.readline()
            said += line
            if not line:
                pytest.skip(f"tcpdump may not capture here: {said.strip()[-80:]}")

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(100)
                peer.sendall(bytes(100_000))
                time.sleep(2)
                peer.sendall(b"and the rest")

        thread = threading.Thread(target=serve)
        thread.start()
        with socket.create_connection(("127.0.0.1", port), timeout=30) as near:
            near.sendall(b"give")
            got = 0
            while piece := near.recv(65536):
                got += len(piece)
        thread.join(30)
        assert got == 100_012
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and (not path.exists() or not _closed(path)):
            time.sleep(0.05)
    finally:
        watcher.terminate()
        watcher.wait(10)
        watcher.stderr.close()
        server.close()
    frames = read_pcap(path)
    flow = analysis.flows(frames).iloc[0]
    assert (flow.client, flow.server, flow.server_port) == ("127.0.0.1", "127.0.0.1", port)
    assert flow.payload_up == 4 and flow.payload_down == 100_012 and flow.connect_ms >= 0
    causes = analysis.by_cause(frames)
    assert causes.bytes.sum() == frames.frame_len.sum() and ("payload", "rx") in causes.index
    assert analysis.acks(frames).data_segments >= 3 and len(analysis.rtt(frames)) > 0
    gaps = analysis.stalls(frames, "1s")
    longest = gaps[gaps.direction == "rx"].iloc[0]
    assert longest.label == "application idle" and longest.ms >= 1900
    assert analysis.join(frames).tunnel_delay.isna().all()


def _closed(path) -> bool:
    """Whether both FINs are in the file."""
    try:
        frames = read_pcap(path)
    except UsageError:  # not even its header yet
        return False
    return bool((frames.tcp_flags_fin.fillna(False)).sum() >= 2)
