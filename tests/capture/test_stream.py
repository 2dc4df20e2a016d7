"""Captures that go to disk while they are recorded, and headers that are all that is kept."""

import threading
import time

import pandas as pd
import pytest

import aero_lab as al
from aero_lab.capture import Recorder, load_pcap, read_pcap, sink
from aero_lab.disk import CaptureStream
from aero_lab.errors import UsageError
from aero_lab.rings import FrameRing

from .conversation import record, segment
from .naive import dissect
from .packets import every_kind

PATIENCE = 30.0
SMALL = 1 << 18  # two segments


def until(true):
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_file_has_what_the_recorder_saw(tmp_path):
    recorder = Recorder(meta={"seed": 4}, points=("nic", "tunnel", "egress"))
    stream = CaptureStream(recorder, tmp_path / "a.pcapng", interval=0.01)
    for number, frame in enumerate(every_kind()):
        recorder.add(frame, "nic", "tx", 1000 + number, number + 1)
        recorder.add_message(b"\xa2\x03\0\0" + frame, "tx", 2000 + number, number + 1)
        recorder.add(frame, "egress", "rx", 3000 + number)
    recorder.add_message(b"\xa2\x03\1\0ping", "rx", 9000)
    until(lambda: stream.waiting == 0)
    growing = load_pcap(tmp_path / "a.pcapng")
    assert growing.warning is None and len(growing) == len(recorder)  # while it is written
    stream.close()
    stream.close()
    assert stream.closed and stream.error is None and stream.lost == 0
    assert stream.frames == len(recorder) and stream.bytes == (tmp_path / "a.pcapng").stat().st_size
    pd.testing.assert_frame_equal(read_pcap(tmp_path / "a.pcapng"), recorder.frames())
    assert load_pcap(tmp_path / "a.pcapng").meta == {"seed": 4} and load_pcap(tmp_path / "a.pcapng").drops == {}


@pytest.mark.parametrize("keep", ["oldest", "newest"])
@pytest.mark.parametrize("ending", ["pcapng", "pcapng.zst", "pcapng.gz"])
def test_memory_holds_the_latest_and_the_file_all(tmp_path, keep, ending):
    recorder = Recorder(most_bytes=SMALL, keep=keep)
    stream = CaptureStream(recorder, tmp_path / f"a.{ending}", interval=0.001)
    ring = FrameRing(64, 1 << 17)
    for number in range(1500):
        if number % 50 == 0:
            until(lambda: stream.waiting == 0)
        ring.push(number.to_bytes(4, "big") * 250)
        assert recorder.tap(ring, None, "nic", "tx", number) == 1
        ring.pop()
    stream.close()
    assert recorder.drops == {} and stream.lost == 0 and stream.frames == recorder.seen == 1500
    assert len(recorder) < 300 and recorder.counters["let go"] == 1500 - len(recorder)
    capture = load_pcap(tmp_path / f"a.{ending}")
    assert [capture.frame(i + 1)[:4] for i in range(1500)] == [i.to_bytes(4, "big") for i in range(1500)]


class Disk:
    """A disk that takes nothing until it is told to."""

    def __init__(self, monkeypatch):
        self.works, self.stuck = threading.Event(), threading.Event()
        real = sink.Sink.write

        def write(file, data):
            self.stuck.set()
            assert self.works.wait(PATIENCE)
            real(file, data)

        monkeypatch.setattr(sink.Sink, "write", write)


@pytest.mark.parametrize("keep", ["oldest", "newest"])
def test_a_slow_disk_loses_frames_counted_and_holds_up_nobody(tmp_path, monkeypatch, keep):
    disk = Disk(monkeypatch)
    recorder = Recorder(most_bytes=SMALL, keep=keep)
    stream = CaptureStream(recorder, tmp_path / "a.pcapng", interval=0.001)
    assert disk.stuck.wait(PATIENCE)
    kept = 0
    for number in range(2000):  # all of this while the disk does nothing
        kept += recorder.add(number.to_bytes(4, "big") * 250, "nic", "tx", number)
    assert stream.waiting == kept == recorder.seen and stream.frames == 0
    if keep == "oldest":
        assert recorder.drops == {"full": 2000 - kept} and 0 < kept < 300
    else:
        assert kept == 2000 and recorder.drops == {"overwritten": 2000 - len(recorder)}
    disk.works.set()
    stream.close(PATIENCE)
    capture = load_pcap(tmp_path / "a.pcapng")
    assert capture.warning is None and len(capture) == stream.frames
    assert stream.frames + stream.lost == kept
    assert capture.drops["full" if keep == "oldest" else "overwritten"] > 0
    if keep == "newest":
        assert stream.lost == recorder.drops["overwritten"] == capture.drops["late"]
        assert capture.frame(1)[:4] == (2000 - len(capture)).to_bytes(4, "big")


def test_a_disk_that_hangs_is_left_alone(tmp_path, monkeypatch):
    disk = Disk(monkeypatch)
    stream = CaptureStream(Recorder(), tmp_path / "a.pcapng", interval=0.001)
    assert disk.stuck.wait(PATIENCE)
    stream.close(0.05)
    assert not stream.closed and "took nothing" in str(stream.error)
    disk.works.set()
    until(lambda: stream.closed)


def test_a_disk_that_is_full_gives_up_the_file_not_the_recorder(tmp_path, monkeypatch):
    recorder = Recorder()
    stream = CaptureStream(recorder, tmp_path / "a.pcapng", interval=0.001)
    until(lambda: stream.bytes > 0)

    def full(file, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sink.Sink, "write", full)
    assert recorder.add(b"x" * 60, "nic", "tx", 0)
    until(lambda: stream.closed)
    assert "No space left" in str(stream.error) and stream.frames == 0 and stream.lost == 1
    assert recorder.add(b"x" * 60, "nic", "tx", 1) and len(recorder) == 2 and recorder.taken is None


def test_a_bound_ends_the_file_and_is_counted(tmp_path):
    recorder = Recorder()
    stream = CaptureStream(recorder, tmp_path / "a.pcapng", most_bytes=4000, interval=0.001)
    for number in range(100):
        recorder.add(b"x" * 100, "nic", "tx", number)
        if number < 10:
            until(lambda: stream.waiting == 0)
    stream.close()
    capture = load_pcap(tmp_path / "a.pcapng")
    assert 10 <= stream.frames == len(capture) < 100 and stream.lost == 100 - stream.frames
    assert capture.drops == {"late": stream.lost}


def test_what_cannot_be_followed_is_said(tmp_path):
    recorder = Recorder()
    with pytest.raises(UsageError, match="cannot be written"):
        CaptureStream(recorder, tmp_path / "nowhere" / "a.pcapng")
    stream = CaptureStream(recorder, tmp_path / "a.pcapng")
    with pytest.raises(UsageError, match="written to a file already"):
        CaptureStream(recorder, tmp_path / "b.pcapng")
    stream.close()
    again = CaptureStream(recorder, tmp_path / "b.pcapng")
    recorder.clear()
    recorder.add(b"x" * 60, "nic", "tx", 0)
    again.close()
    assert again.frames == 1


def test_a_lab_writes_its_capture_as_it_runs(tmp_path):
    path = tmp_path / "lab.pcapng"
    with al.Lab(virtual=True, capture=path, capture_headers=True, progress=False) as lab:
        lab.guest("scripted").run("download", size=20_000)
        expected = lab.capture.frames()
    assert lab.capture_stream is not None and lab.capture_stream.closed and lab.capture_stream.lost == 0
    frames = read_pcap(path)
    pd.testing.assert_frame_equal(frames, expected)
    assert frames.attrs["meta"]["seed"] == 1
    tcp = frames[frames.tcp_len.fillna(0) > 0]
    assert len(tcp) > 10 and (tcp.frame_cap_len == 14 + 20 + tcp.tcp_hdr_len.astype(int)).all()
    assert set(frames.cause) >= {"payload", "ack", "handshake", "dns"}


# Headers only ---------------------------------------------------------------------------------------------------------


def headers_of(frame: bytes) -> int:
    """How much of a frame is headers, from what a plain dissection finds."""
    row = dissect(frame)
    at = 14
    kind = int.from_bytes(frame[12:14], "big")
    for _ in range(2):
        if kind in (0x8100, 0x88A8):
            kind, at = int.from_bytes(frame[at + 2 : at + 4], "big"), at + 4
    if kind == 0x0806:
        return at + 28
    if "ip_version" not in row:
        return len(frame) if kind in (0x0800, 0x86DD) else at
    proto, later = row["ip_proto"], bool(row.get("ip_frag"))
    if row["ip_version"] == 4:
        at += (frame[at] & 15) * 4
    else:
        following, at = frame[at + 6], at + 40
        while following in (0, 43, 44, 60):
            size = 8 if following == 44 else 8 * (1 + frame[at + 1])
            following, at = frame[at], at + size
            if later:
                break
    if later:
        return at
    if proto == 6:
        return at + row["tcp_hdr_len"]
    if proto == 17:
        return at + 8 + (12 if {row["srcport"], row["dstport"]} & {53, 5353, 5355} else 0)
    if proto == 58 and 133 <= row["icmp_type"] <= 136:
        return at + 24
    return at + (8 if proto in (1, 58) else 0)


def test_of_each_kind_of_frame_the_headers_are_kept():
    ring, tapped, added = FrameRing(256, 1 << 18), Recorder(headers_only=True), Recorder(headers_only=True)
    for frame in every_kind():
        ring.push(frame)
        added.add(frame, "nic", "tx", 0)
    tapped.tap(ring, None, "nic", "tx", 0)
    kept = [tapped.capture().frame(i + 1) for i in range(len(every_kind()))]
    assert kept == [frame[: headers_of(frame)] for frame in every_kind()]
    assert kept == [added.capture().frame(i + 1) for i in range(len(kept))]
    cut, whole = tapped.frames(), Recorder()
    for frame in every_kind():
        whole.add(frame, "nic", "tx", 0)
    expected = whole.frames()
    redacted = {"frame_cap_len", "dhcp_type"}  # leases are not kept
    same = [name for name in cut.columns if name not in redacted]
    pd.testing.assert_frame_equal(cut[same], expected[same].assign(frame_id=cut.frame_id))
    assert cut.dhcp_type.isna().all() and cut.dns_id.notna().any()


def test_no_payload_is_kept_at_any_point(tmp_path):
    secret = b"the password is swordfish"
    recorder = Recorder(headers_only=True)
    frame = segment(True, 1000, 1, "PA", secret)
    recorder.add(frame, "nic", "tx", 0)
    recorder.add_message(b"\xa2\x03\0\0" + frame, "tx", 1)
    assert secret not in recorder.save(tmp_path / "a.pcapng").read_bytes()
    assert recorder.frames().tcp_len.tolist() == [len(secret)] * 2
    assert recorder.counters["cut"] == 2


def test_headers_are_cut_by_the_snap_length_too():
    recorder = Recorder(headers_only=True, snap=40)
    recorder.add(segment(True, 1000, 1, "PA", b"x" * 100), "nic", "tx", 0)
    recorder.add(b"\xff" * 12 + b"\x08\6" + bytes(46), "nic", "tx", 0)
    assert recorder.frames().frame_cap_len.tolist() == [40, 40] and recorder.snap == 40


def test_headers_of_broken_frames():
    """Whatever the bytes say, no more is kept than there is, and nothing of what follows a header."""
    recorder = Recorder(headers_only=True)
    for frame in every_kind():
        for size in (*range(0, 60), 70, 80):
            recorder.add(frame[:size], "nic", "tx", 0)
    rows = recorder.frames()
    assert (rows.frame_cap_len <= rows.frame_len).all() and len(rows) == 62 * len(every_kind())
    pd.testing.assert_series_equal(record().frames().frame_len, record(headers_only=True).frames().frame_len)
