"""A capture file for each tunnel: its bytes, its cap, its failures."""

from __future__ import annotations

import struct
import threading
import time

from aero_lab.capture import load_pcap
from aero_lab.disk import QueuedFile
from aero_lab.framing.l2_tunnel import FRAME, encode_frame, encode_ping
from aero_lab.limits import MS, SECOND
from aero_lab.rings import FrameRing
from aero_lab.server.capture import SessionCapture, packet, preamble

from .rig import GATEWAY_ARP, on_a_loop, rig, until
from .test_session import OPEN, next_of


def blocks(raw):
    """Type and body of each block of a pcapng file, by hand."""
    found, at = [], 0
    while at < len(raw):
        kind, size = struct.unpack_from("<II", raw, at)
        assert size % 4 == 0 and struct.unpack_from("<I", raw, at + size - 4)[0] == size
        found.append((kind, raw[at + 8 : at + size - 4]))
        at += size
    return found


def test_the_layout():
    (section_kind, section), (interface_kind, interface) = blocks(preamble())
    assert (section_kind, interface_kind) == (0x0A0D0D0A, 1)
    assert section[:16] == struct.pack("<IHHQ", 0x1A2B3C4D, 1, 0, 2**64 - 1)
    assert section[16:] == struct.pack("<HH", 4, 13) + b"aero-l2-proxy\0\0\0" + bytes(4)
    assert interface[:8] == struct.pack("<HHI", 1, 0, 65535)
    assert interface[8:] == struct.pack("<HH", 2, 9) + b"l2-tunnel\0\0\0" + b"\x09\0\x01\0\x09\0\0\0" + bytes(4)
    when = 0x0123456789ABCDEF
    for size in (0, 1, 14, 60, 1514):
        ((kind, body),) = blocks(packet(bytes(size), when, 2))
        padded = -(-size // 4) * 4
        assert kind == 6 and len(body) == 20 + padded + 12
        assert body[:20] == struct.pack("<IIIII", 0, 0x01234567, 0x89ABCDEF, size, size)
        assert body[20 + padded :] == struct.pack("<HHIHH", 2, 4, 2, 0, 0)


@on_a_loop
async def test_each_tunnel_has_its_file(tmp_path):
    folder = tmp_path / "new" / "captures"
    async with rig(**OPEN, capture_dir=str(folder)) as r:
        for _ in range(2):
            async with r.tunnel() as socket:
                await socket.send_bytes(encode_ping(b"is no frame"))
                for _ in range(3):
                    await socket.send_bytes(encode_frame(GATEWAY_ARP))
                    answer = await next_of(socket, FRAME)
            await until(lambda: not r.proxy.sessions, "gone")
        files = sorted(folder.iterdir())
        await until(lambda: sum(path.stat().st_size for path in files) == r.count("l2_capture_bytes_total"), "written")
        assert [path.name[13:] for path in files] == ["-session-1.pcapng", "-session-2.pcapng"]
        assert all(path.name[:13].isdigit() for path in files)
        for path in files:
            packets = [body for kind, body in blocks(path.read_bytes()) if kind == 6]
            frames = [(body[-8:-4], body[20 : 20 + struct.unpack_from("<I", body, 12)[0]]) for body in packets]
            assert frames == [(struct.pack("<I", 1), GATEWAY_ARP), (struct.pack("<I", 2), answer)] * 3
            assert len(load_pcap(path).frames()) == 6
        assert r.count("l2_capture_frames_total") == 12
        assert r.count("l2_capture_bytes_total") == sum(path.stat().st_size for path in files)
        assert r.count("l2_capture_frames_dropped_total") == r.count("l2_capture_errors_total") == 0


PATIENCE = 30.0


def wait(true):
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def ring_of(*frames):
    ring = FrameRing(64, 1 << 16)
    for frame in frames:
        assert ring.push(frame)
    return ring


class Counts(dict):
    def __call__(self, name, number):
        self[name] = self.get(name, 0) + number


def test_the_cap_is_never_passed(tmp_path):
    counts = Counts()
    room = len(preamble()) + 2 * len(packet(bytes(60), 0, 1)) + 40
    capture = SessionCapture(tmp_path, 1, room, 0, 0, counts)
    capture.tap(ring_of(bytes(60), bytes(60), bytes(60), b""), 4, "", "tx", 0)
    capture.tap(ring_of(b""), 1, "", "rx", 0)  # would fit, but what follows a gap is not written
    assert not capture.active
    capture.close()
    assert capture.join(PATIENCE)
    assert len([1 for kind, _ in blocks(capture.path.read_bytes()) if kind == 6]) == 2
    assert capture.path.stat().st_size <= room
    assert counts["l2_capture_frames_total"] == 2 and counts["l2_capture_frames_dropped_total"] == 3
    assert counts["l2_capture_bytes_total"] == capture.path.stat().st_size


def test_what_is_written_reaches_the_file_in_time(tmp_path):
    capture = SessionCapture(tmp_path, 1, 0, 100 * MS, 0, Counts())
    capture.tick(SECOND)
    assert capture.poll_at() is None
    capture.tap(ring_of(bytes(60)), 1, "", "tx", 0)
    before = capture.path.stat().st_size
    assert capture.poll_at() == 100 * MS
    capture.tick(99 * MS)
    assert capture.path.stat().st_size == before
    capture.tick(100 * MS)
    assert capture.poll_at() is None
    wait(lambda: capture.path.stat().st_size > before)
    capture.close()
    capture.close()
    assert capture.join(PATIENCE)
    lazy = SessionCapture(tmp_path, 2, 0, 0, 0, Counts())
    lazy.tap(ring_of(bytes(60)), 1, "", "tx", 0)
    assert lazy.poll_at() is None
    lazy.close()
    assert lazy.join(PATIENCE)
    assert lazy.path.stat().st_size == capture.path.stat().st_size


@on_a_loop
async def test_a_folder_that_cannot_be_ends_captures_and_not_tunnels(tmp_path):
    (tmp_path / "file").write_text("in the way")
    async with rig(**OPEN, capture_dir=str(tmp_path / "file")) as r, r.tunnel() as socket:
        await socket.send_bytes(encode_frame(GATEWAY_ARP))
        await next_of(socket, FRAME)
        assert r.count("l2_capture_errors_total") == 1 and r.count("l2_capture_frames_total") == 0
        assert r.count("l2_capture_frames_dropped_total") == 2


class Disk:
    """A file on a disk that does nothing until it is told, or refuses what it is given."""

    def __init__(self, error=None):
        self.works, self.raw, self.error = threading.Event(), b"", error

    def write(self, raw):
        assert self.works.wait(PATIENCE)
        if self.error:
            raise self.error
        self.raw += raw

    def flush(self):
        pass

    close = flush


def on(disk, tmp_path, counts, **options):
    """A capture whose file is on that disk."""
    capture = SessionCapture(tmp_path, 1, 0, 0, 0, counts, **options)
    capture._file.close()
    capture._file = capture._queued = QueuedFile(disk, 10_000)
    return capture


def test_a_full_disk_ends_the_capture(tmp_path):
    counts, disk = Counts(), Disk(OSError(28, "No space left on device"))
    capture = on(disk, tmp_path, counts)
    disk.works.set()
    capture.tap(ring_of(bytes(60)), 1, "", "tx", 0)
    wait(lambda: capture._queued.lost == 1)  # it was taken, and failed later
    for _ in range(2):
        capture.tap(ring_of(bytes(60)), 1, "", "tx", 0)
    assert not capture.active
    assert counts["l2_capture_errors_total"] == 1 and counts["l2_capture_frames_dropped_total"] == 3


def test_a_slow_disk_loses_frames_and_holds_up_nothing(tmp_path):
    counts, disk = Counts(), Disk()
    capture = on(disk, tmp_path, counts)
    for _ in range(100):  # all of it while the disk does nothing
        capture.tap(ring_of(bytes(956)), 1, "", "tx", 0)
    assert counts["l2_capture_frames_total"] == 10 and counts["l2_capture_frames_dropped_total"] == 90
    disk.works.set()
    wait(lambda: len(disk.raw) == 10_000)
    capture.tap(ring_of(bytes(956)), 1, "", "tx", 0)  # it goes on
    capture.close()
    assert capture.join(PATIENCE)
    assert len(blocks(disk.raw)) == 11 == counts["l2_capture_frames_total"] and "l2_capture_errors_total" not in counts


def test_an_error_that_comes_with_the_end_is_counted(tmp_path):
    counts, disk = Counts(), Disk(OSError(5, "Input/output error"))
    capture = on(disk, tmp_path, counts)
    capture.tap(ring_of(bytes(60)), 1, "", "tx", 0)
    disk.works.set()
    wait(lambda: capture._queued.lost == 1)
    capture.close()
    assert counts["l2_capture_errors_total"] == 1 and counts["l2_capture_frames_dropped_total"] == 1


def test_frames_are_cut_to_a_length_or_to_their_headers(tmp_path):
    frames = [GATEWAY_ARP, bytes(12) + b"\x08\0" + bytes.fromhex("45000064000040004006000001020304050607") + bytes(90)]
    frames[1] = frames[1][:46] + b"\x50" + frames[1][47:]  # TCP without options
    capture = SessionCapture(tmp_path, 1, 0, 0, 0, Counts(), 50)
    capture.tap(ring_of(*frames), 2, "", "tx", 0)
    headers = SessionCapture(tmp_path, 2, 0, 0, 0, Counts(), 0, True)
    headers.tap(ring_of(*frames), 2, "", "tx", 0)
    for each, sizes in ((capture, [min(50, len(f)) for f in frames]), (headers, [42, 54])):
        each.close()
        assert each.join(PATIENCE)
        found = load_pcap(each.path)
        assert found.snap == (50 if each is capture else 0)
        assert [found.frame(i + 1) for i in range(2)] == [f[:size] for f, size in zip(frames, sizes)]
        assert found.descriptors()["frame_len"].tolist() == [len(f) for f in frames]


def test_a_file_that_is_there_is_never_written_over(tmp_path, monkeypatch):
    monkeypatch.setattr("aero_lab.server.capture.time_ns", lambda: 1_700_000_000_123_456_789)
    counts = Counts()
    one, two = (SessionCapture(tmp_path, 7, 0, 0, 0, counts) for _ in range(2))
    assert one.path.name == "1700000000123-session-7.pcapng"
    assert one.active and not two.active and counts["l2_capture_errors_total"] == 1
    one.close()
    assert one.path.stat().st_mode & 0o777 == 0o600
