"""Gaps, each made on purpose, and the reason that is found for it; hops of a frame; what fewer ACKs would have cost."""

from __future__ import annotations

import numpy as np
import pytest

from aero_lab import Lab, analysis
from aero_lab.analysis.stalls import LABELS
from aero_lab.capture import Recorder
from aero_lab.errors import UsageError
from aero_lab.guests.scripted.tasks import sleep_until
from tests.capture.conversation import MS, record, segment

SYN = [("MSS", 1460), ("WScale", 0), ("SAckOK", b"")]


class Wire:
    """A download written down by hand: data goes from the tunnel to the NIC, ACKs back, each with its own delay."""

    def __init__(self):
        self.seen: list[tuple] = []
        self.number = 0
        self.up(-100, 0, 0, "S", options=SYN)
        self.down(-80, 0, 1, "SA", options=SYN)

    def down(self, at, seq, ack, flags="A", data=b"", delay=10, lost=False, **more):
        """A segment of the server's; ``at`` and ``delay`` in ms."""
        self._add(at, delay, lost, False, segment(False, 5000 + seq, 1000 + ack, flags, data, **more))

    def up(self, at, seq, ack, flags="A", data=b"", delay=10, lost=False, **more):
        self._add(at, delay, lost, True, segment(True, 1000 + seq, 5000 + ack, flags, data, **more))

    def _add(self, at, delay, lost, up, frame):
        self.number += 1
        first, second = ("nic", "tunnel") if up else ("tunnel", "nic")
        way = "tx" if up else "rx"
        self.seen.append((round((at + 1000) * MS), first, way, frame, self.number))
        if not lost:
            self.seen.append((round((at + 1000 + delay) * MS), second, way, frame, self.number))

    def frames(self):
        recorder = Recorder(points=("nic", "tunnel"))
        for at, point, way, frame, number in sorted(self.seen, key=lambda row: row[0]):
            recorder.add(frame, point, way, at, number)
        return recorder.frames()


FULL = b"x" * 1460


def begin(window=60000):
    """Two full segments, acknowledged; the third is what the gap waits for."""
    wire = Wire()
    wire.up(-60, 1, 1, window=window)
    wire.down(0, 1, 1, data=FULL)
    wire.down(0.1, 1461, 1, data=FULL)
    return wire


def idle():
    wire = begin()
    wire.up(11, 1, 2921)
    wire.down(600, 2921, 1, data=FULL)
    return wire


def zero_window():
    wire = begin(window=2920)
    wire.up(10.2, 1, 2921, window=0)
    wire.up(600, 1, 2921, window=60000)
    wire.down(611, 2921, 1, data=FULL)
    return wire


def timeout():
    wire = begin()
    wire.up(11, 1, 2921)
    wire.down(22, 2921, 1, data=FULL, lost=True)
    wire.down(422, 2921, 1, data=FULL)
    return wire


def recovery():
    wire = begin()
    wire.up(11, 1, 2921)
    wire.down(22, 2921, 1, data=FULL, lost=True)
    wire.down(22.1, 4381, 1, data=FULL)
    for at in (33, 34, 35):
        wire.up(at, 1, 2921, options=[("SAck", (5000 + 4381, 5000 + 5841))])
    wire.down(250, 2921, 1, data=FULL)
    return wire


def head_of_line():
    wire = begin()
    wire.up(11, 1, 2921)
    wire.down(22, 2921, 1, data=FULL, delay=400)
    wire.down(23, 4381, 1, data=FULL, delay=399.2)
    return wire


def queue():
    wire = begin()
    wire.up(11, 1, 2921)
    wire.down(22, 2921, 1, data=FULL, delay=400)
    wire.down(23, 4381, 1, data=FULL, delay=420)
    return wire


def nagle():
    wire = begin()
    wire.up(11, 1, 2921)
    wire.down(20, 2921, 1, data=b"half of a request")
    wire.up(230, 1, 2938)
    wire.down(241, 2938, 1, data=b"the other half")
    return wire


def waiting():
    wire = begin()
    wire.up(300, 1, 2921)
    wire.down(311, 2921, 1, data=FULL)
    return wire


@pytest.mark.parametrize(
    "make, label, ms",
    [
        (zero_window, "zero window", 610.9),
        (timeout, "RTO", 421.9),
        (recovery, "loss recovery", 227.9),
        (head_of_line, "head of line", 411.9),
        (queue, "tunnel queue", 411.9),
        (nagle, "delayed ACK and Nagle", 221.0),
        (idle, "application idle", 599.9),
        (waiting, "waiting for ACKs", 310.9),
    ],
)
def test_a_gap_is_found_with_its_length_and_its_reason(make, label, ms):
    found = analysis.stalls(make().frames())
    gap = found[found.direction == "rx"].iloc[0]
    assert (gap.label, round(gap.ms, 1)) == (label, ms)


def test_every_label_has_its_case_here():
    parameters = next(
        m for m in test_a_gap_is_found_with_its_length_and_its_reason.pytestmark if m.name == "parametrize"
    )
    assert {case[1] for case in parameters.args[1]} == set(LABELS)


def test_gaps_below_the_bound_and_captures_without_any():
    frames = idle().frames()
    assert len(analysis.stalls(frames, "700ms")) == 0
    assert list(analysis.stalls(frames[:0]).columns) == list(analysis.stalls(frames).columns)
    one = analysis.stalls(frames[frames.point == "nic"])
    assert one.label.tolist() == ["application idle"]
    with pytest.raises(UsageError, match="no duration"):
        analysis.stalls(frames, "long")


def test_a_guest_that_pauses_between_two_requests_is_found_idle():
    def pause(host):
        socket = yield from host.connect((yield from host.resolve("echo.lab")), 7)
        for _ in range(2):
            yield from socket.send(b"hello")
            yield from socket.receive_exactly(5)
            yield from sleep_until(host.now + 2_000_000_000)
        socket.abort()

    with Lab(virtual=True, link="rtt=20ms") as lab:
        guest = lab.guest()
        guest.wait_online()
        guest.do(pause)
        found = analysis.stalls(lab.capture.frames(), "500ms")
    assert set(found.label) == {"application idle"} and set(found.direction) == {"tx", "rx"}
    assert found.ms.round().unique().tolist() == [2020.0]


def test_hops_of_a_lab_with_a_link_have_its_delays():
    with Lab(virtual=True, link="rtt=20ms") as lab:
        lab.guest().run("download", size="100KB")
        lab.advance(1)
        frames = lab.capture.frames()
    table = analysis.latency(frames)
    assert (
        table.loc["tunnel up", ["min", "max"]].tolist() == table.loc["tunnel down", ["min", "max"]].tolist() == [10, 10]
    )
    assert table.loc["connect", "p50"] == 20 and table.loc["guest to proxy and back", "min"] == 20
    assert table.loc["proxy to guest and back", "min"] == 20 and table.loc["guest acknowledges", "min"] == 0
    assert table.loc["DNS", "p50"] >= 20
    assert table.loc["tunnel up", "samples"] == (frames.direction == "tx").sum() // 2
    for _, row in table.iterrows():
        assert row["min"] <= row["p50"] <= row["p90"] <= row["p99"] <= row["max"]
    assert "tunnel up" not in analysis.latency(frames[frames.point == "nic"]).index
    assert len(analysis.latency(frames[:0])) == 0


def plain_thinning(frames, k):
    """The rule of ``thinned`` as a loop over one direction after another."""
    kept, saved, waits = 0, 0, []
    for _, rows in frames.groupby(["flow_id", "direction"], observed=True):
        run, before = [], None
        listed = [row for row in rows.itertuples()]
        for i, row in enumerate(listed):
            redundant = row.cause == "ack" and row.tcp_ack != before and np.isnan(float(row.sack or "nan"))
            before = row.tcp_ack
            if redundant:
                run.append(row)
                following = listed[i + 1] if i + 1 < len(listed) else None
                ends = following is None or not (
                    following.cause == "ack"
                    and following.tcp_ack != before
                    and np.isnan(float(following.sack or "nan"))
                )
                if len(run) == k or ends:
                    kept += 1
                    waits += [row.frame_time - other.frame_time for other in run]
                    saved += sum(other.frame_len for other in run[:-1])
                    run = []
            elif row.cause == "ack":
                kept += 1
                waits.append(0)
    return kept, saved, waits


@pytest.mark.parametrize("k", [1, 2, 3, 8])
def test_thinning_against_a_plain_loop(k):
    with Lab(virtual=True, link="rtt=40ms, loss=2%", seed=k) as lab:
        lab.guest().run("download", size="300KB")
        frames = lab.capture.frames()
    at_nic = frames[(frames.point == "nic") & frames.tcp_len.notna()].copy()
    at_nic["sack"] = [None if np.isnan(v) else v for v in at_nic.tcp_options_sack_le.to_numpy(float, na_value=np.nan)]
    kept, saved, waits = plain_thinning(at_nic, k)
    row = analysis.thinned(frames, [k]).loc[k]
    assert (row.acks, row.bytes_saved) == (kept, saved)
    assert row.delay_ms == pytest.approx(np.mean(waits) / MS) and row.delay_max_ms == pytest.approx(max(waits) / MS)
    if k == 1:
        assert row.acks == analysis.acks(frames).pure_acks and row.bytes_saved == 0
    with pytest.raises(UsageError, match="one ACK in 0"):
        analysis.thinned(frames, [0])


def test_stretch_acks_and_their_distance():
    recorder = Recorder()
    for i in range(12):
        recorder.add(segment(False, 1000 + 100 * i, 1, data=b"x" * 100), "nic", "rx", i * MS)
    for at, reached in ((20, 1), (24, 3), (28, 6), (33, 12)):
        recorder.add(segment(True, 1, 1000 + 100 * reached), "nic", "tx", at * MS)
    found = analysis.acks(recorder.frames())
    assert found.stretch_acks == 2 and found.gap_ms == 4.0 and found.gaps_ms.tolist() == [4.0, 4.0, 5.0]
    assert analysis.acks(record().frames()).stretch_acks >= 0
