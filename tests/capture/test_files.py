"""pcapng, pcap and parquet: what is written comes back, same input same bytes, broken files give what is readable."""

import json
import struct
import subprocess

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.capture import Capture, Recorder, load_pcap, parse_pcap, pcap_scan, read_capture, write_capture
from aero_lab.capture import schema as s
from aero_lab.errors import UsageError

from .conversation import record
from .packets import every_kind


def blocks(data):
    """A plain walk over the blocks of a little-endian pcapng file: type and body of each."""
    out, at = [], 0
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        assert size % 4 == 0 and struct.unpack_from("<I", data, at + size - 4)[0] == size
        out.append((kind, data[at + 8 : at + size - 4]))
        at += size
    return out


def options(body):
    out, at = {}, 0
    while at < len(body):
        code, size = struct.unpack_from("<HH", body, at)
        if code == 0:
            assert size == 0 and at + 4 == len(body)
            break
        out[code] = body[at + 4 : at + 4 + size]
        at += 4 + size + -size % 4
    return out


def test_the_layout_is_that_of_the_specification(tmp_path):
    recorder = Recorder(meta={"seed": 5})
    recorder.add(b"a" * 61, "nic", "tx", (3 << 32) + 9, frame_id=77)
    recorder.add_message(b"\xa2\x03\0\0" + b"b" * 60, "rx", 12, frame_id=78)
    recorder.add_message(b"\xa2\x03\x01\0ping!", "rx", 13, frame_id=79)
    (shb, nic, tunnel, one, two, ping) = blocks(recorder.save(tmp_path / "a.pcapng").read_bytes())
    assert shb[0] == 0x0A0D0D0A and struct.unpack_from("<IHHq", shb[1]) == (0x1A2B3C4D, 1, 0, -1)
    assert options(shb[1][16:]) == {1: b'{"seed":5}', 4: b"aero_lab"}
    for block, name in ((nic, b"nic"), (tunnel, b"tunnel")):
        assert block[0] == 1 and struct.unpack_from("<HHI", block[1]) == (1, 0, 65535)
        assert options(block[1][8:])[2] == name and options(block[1][8:])[9] == b"\x09"
    assert one[0] == 6 and struct.unpack_from("<IIIII", one[1]) == (0, 3, 9, 61, 61)
    assert one[1][20:84] == b"a" * 61 + bytes(3)
    assert options(one[1][84:]) == {2: struct.pack("<I", 2), 5: struct.pack("<Q", 77)}
    assert struct.unpack_from("<IIIII", two[1]) == (1, 0, 12, 60, 60)
    assert options(two[1][80:]) == {2: struct.pack("<I", 1), 5: struct.pack("<Q", 78)}
    assert options(ping[1][20:])[1] == b"tunnel message kind=001 length=0000000009 bytes"


def test_what_is_written_comes_back(tmp_path):
    recorder = record(meta={"seed": 3, "link": {"rtt": "40ms"}})
    recorder.add_message(b"\xa2\x03\x7f\0error", "rx", 7 * 10**9)
    recorder.add(b"short", "egress", "tx", 8 * 10**9)
    path = recorder.save(tmp_path / "a.pcapng")
    capture = load_pcap(path)
    pd.testing.assert_frame_equal(capture.frames(), recorder.frames())
    assert capture.meta == recorder.meta and capture.drops == {} and capture.warning is None
    assert capture.save(tmp_path / "b.pcapng").read_bytes() == path.read_bytes()


def test_the_same_frames_give_the_same_bytes_however_they_are_held(tmp_path):
    first = record().save(tmp_path / "a.pcapng").read_bytes()
    again = Capture.merged(record(points=("nic",)).capture(), record(points=("tunnel",)).capture())
    assert record().save(tmp_path / "b.pcapng").read_bytes() == first
    assert len(again) == len(record())
    assert sorted(blocks(again.save(tmp_path / "c.pcapng").read_bytes())) == sorted(blocks(first))


def test_snap_length_and_drops_are_in_the_file(tmp_path):
    recorder = Recorder(snap=50, most_bytes=1 << 17)
    for i in range(2000):
        recorder.add(every_kind()[14], "nic", "rx", i)
    capture = load_pcap(recorder.save(tmp_path / "a.pcapng"))
    assert capture.snap == 50 and capture.drops == recorder.drops and recorder.drops["full"] > 0
    pd.testing.assert_frame_equal(capture.frames(), recorder.frames())


def big_endian_pcapng(frames):
    """A file of another writer: big-endian, unnamed interfaces, microseconds, unknown and simple blocks, other link."""

    def block(kind, body):
        body += bytes(-len(body) % 4)
        return struct.pack(">II", kind, len(body) + 12) + body + struct.pack(">I", len(body) + 12)

    out = block(0x0A0D0D0A, struct.pack(">IHHq", 0x1A2B3C4D, 1, 0, -1))
    out += block(1, struct.pack(">HHI", 1, 0, 0)) + block(0x0BAD, b"nobody knows")
    out += block(1, struct.pack(">HHI", 127, 0, 0)) + block(
        1, struct.pack(">HHI", 1, 0, 0) + struct.pack(">HHB3xHH", 9, 1, 0x8A, 0, 0)
    )
    for i, frame in enumerate(frames):
        ticks = 1_600_000_000_000_000 + i
        out += block(6, struct.pack(">IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame) + 7) + frame)
    out += block(3, struct.pack(">I", len(frames[0])) + frames[0])
    out += block(2, struct.pack(">HHIIII", 2, 0, 0, 2048 + 512, len(frames[0]), len(frames[0])) + frames[0])
    return out + block(6, struct.pack(">IIIII", 1, 0, 0, 4, 4) + b"raw!")


def test_a_file_of_another_writer():
    frames = every_kind()[:5]
    capture = parse_pcap(big_endian_pcapng(frames))
    assert [capture.frame(i + 1) for i in range(5)] == list(frames)
    rows = capture.descriptors()
    assert rows["t_ns"][:5].tolist() == [1_600_000_000_000_000_000 + 1000 * i for i in range(5)]
    assert rows["frame_len"][:5].tolist() == [len(f) + 7 for f in frames]
    assert capture.frame(6) == capture.frame(7) == frames[0]
    assert rows["t_ns"][6] == 2_500_000_000  # 2560 / 2^10 s
    assert capture.drops == {} and capture.undissected == {"link type 127": 1} and capture.warning is None
    assert capture.frames().direction.isna().all()


@pytest.mark.parametrize(
    ("order", "magic", "factor"),
    [("<", 0xA1B2C3D4, 1000), (">", 0xA1B2C3D4, 1000), ("<", 0xA1B23C4D, 1), (">", 0xA1B23C4D, 1)],
)
def test_classic_pcap(order, magic, factor):
    data = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 96, 1)
    for i, frame in enumerate(every_kind()):
        data += struct.pack(order + "IIII", 1_600_000_000, i, len(frame[:96]), len(frame)) + frame[:96]
    capture = parse_pcap(data)
    rows = capture.descriptors()
    assert rows["t_ns"].tolist() == [1_600_000_000 * 10**9 + factor * i for i in range(len(every_kind()))]
    assert [capture.frame(i + 1) for i in range(len(capture))] == [f[:96] for f in every_kind()]
    assert rows["frame_len"].tolist() == [len(f) for f in every_kind()]


def test_scapy_writes_and_we_read(tmp_path):
    from scapy.all import Ether, wrpcap, wrpcapng

    packets = [Ether(frame) for frame in every_kind()]
    for i, packet in enumerate(packets):
        packet.time = 100 + i
    wrpcap(str(tmp_path / "a.pcap"), packets)
    wrpcapng(str(tmp_path / "a.pcapng"), packets)
    for name in ("a.pcap", "a.pcapng"):
        capture = load_pcap(tmp_path / name)
        assert [capture.frame(i + 1) for i in range(len(capture))] == list(every_kind())
        assert capture.descriptors()["t_ns"].tolist() == [(100 + i) * 10**9 for i in range(len(packets))]


@pytest.mark.parametrize(
    ("binary", "exponent", "ticks", "expected"),
    [(0, 9, 5, 5), (0, 6, 5, 5000), (0, 0, 5, 5 * 10**9), (0, 12, 5999, 5), (1, 10, 2560, 2_500_000_000),
     (1, 32, 3 << 31, 1_500_000_000), (1, 40, 3 << 39, 1_500_000_000), (1, 63, 5, 0), (0, 127, 5, 0)],
)  # fmt: skip
def test_time_resolutions(binary, exponent, ticks, expected):
    assert int(pcap_scan.nanoseconds(ticks, binary, exponent, 0)) == expected
    assert int(pcap_scan.nanoseconds(ticks, binary, exponent, -1)) == expected - 10**9


def test_a_file_that_is_cut_gives_what_came_before(tmp_path):
    data = record().save(tmp_path / "a.pcapng").read_bytes()
    whole = parse_pcap(data)
    ends = np.cumsum([0] + [len(body) + 12 for _, body in blocks(data)]).tolist()
    for cut in range(28, len(data), 37):
        part = parse_pcap(data[:cut])
        complete = sum(1 for end in ends[4:] if end <= cut)
        assert len(part) == complete
        assert (part.warning is None) == (cut in ends)
        assert part.warning is None or f"at byte {max(e for e in ends if e <= cut)}" in part.warning
    assert len(whole) == len(record())


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_changed_files_never_raise(data):
    source = data.draw(st.sampled_from(["ours", "big", "pcap"]))
    raw = bytearray(_FILES[source]())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.sampled_from([0, 1, 4, 0x7F, 0x80, 0xFF]))
    try:
        capture = parse_pcap(bytes(raw[: data.draw(st.integers(4, len(raw)))]))
    except UsageError:
        return
    frames = capture.frames()
    assert len(frames) == len(capture) <= len(raw)
    assert all(len(capture.frame(i + 1)) <= len(raw) for i in range(len(capture)))


def _ours():
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(meta={"a": 1})
        for i, frame in enumerate(every_kind()[:6]):
            recorder.add(frame, "nic", "tx", i)
        recorder.add_message(b"\xa2\x03\x01\0x", "rx", 9)
        return recorder.save(Path(folder) / "a").read_bytes()


def _pcap():
    data = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 96, 1)
    return data + b"".join(struct.pack("<IIII", 1, 2, len(f), len(f)) + f for f in every_kind()[:4])


_FILES = {"ours": _ours, "big": lambda: big_endian_pcapng(every_kind()[:3]), "pcap": _pcap}


@pytest.mark.parametrize("data", [b"", b"PK\3\4", b"\0" * 100, b"\n\r\r"])
def test_something_else_is_called_by_its_name(tmp_path, data):
    path = tmp_path / "other.bin"
    path.write_bytes(data)
    with pytest.raises(UsageError, match="other.bin: not a pcapng or pcap file"):
        load_pcap(path)


def test_frames_of_another_link_layer_are_rows_without_values_and_counted():
    record = struct.pack("<IIII", 5, 6, 4, 9) + b"raw!"
    capture = parse_pcap(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 96, 127) + 3 * record)
    assert capture.undissected == {"link type 127": 3} and capture.warning is None
    frames = capture.frames()
    assert frames.frame_len.tolist() == [9] * 3 and frames.frame_cap_len.tolist() == [4] * 3
    assert frames.eth_src.isna().all() and frames.ip_src.isna().all() and set(frames.cause) == {"unknown"}


def test_parquet_keeps_types_categories_and_says_what_columns_mean(tmp_path):
    import pyarrow.parquet as pq

    recorder = record(meta={"seed": 3})
    path = recorder.save_parquet(tmp_path / "a.parquet")
    frames = read_capture(path)
    pd.testing.assert_frame_equal(frames, recorder.frames())
    assert frames.attrs["meta"] == {"seed": 3}
    schema = pq.read_schema(path)
    about = json.loads(pq.read_metadata(path).metadata[b"aero_lab"])
    assert about["schema"] == s.SCHEMA_VERSION and about["columns"]["tcp_seq"]["wireshark"] == "tcp.seq_raw"
    assert schema.field("tunnel_delay").metadata[b"unit"] == b"ns"


def test_parquet_of_some_columns_and_of_others(tmp_path):
    frames = record().frames()[["frame_time", "cause"]].assign(mine=1.5)
    path = write_capture(tmp_path / "a.parquet", frames)
    pd.testing.assert_frame_equal(read_capture(path), frames)
    frames.to_parquet(tmp_path / "b.parquet")
    with pytest.raises(UsageError, match="no capture of aero_lab's"):
        read_capture(tmp_path / "b.parquet")


def test_two_processes_write_the_same_bytes(tmp_path):
    import sys
    from pathlib import Path

    code = "import sys; from tests.capture.conversation import record; record().save(sys.argv[1])"
    root = Path(__file__).parents[2]
    for name in ("a", "b"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=True, cwd=root, timeout=300)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == record().save(tmp_path / "c").read_bytes()
