"""What other writers put into capture files: every kind of packet, option, time and link layer, packed or not."""

import gzip
import struct
import subprocess

import numpy as np
import pandas as pd
import pytest

from aero_lab.capture import Capture, Recorder, load_pcap, parse_pcap, read_pcap, write_pcap, write_pcapng
from aero_lab.compiled.registry import PLAIN
from aero_lab.errors import UsageError

from . import tshark
from .conversation import record
from .packets import every_kind
from .writers import Writer, options_of, pcap, walk

FLAGS = 0x02000000 | (3 << 2) | 1  # inbound, promiscuous reception, a symbol error


def rich(order: str) -> bytes:
    """A file with two interfaces and options of every kind."""
    w = Writer(order)
    custom = w.u32(32473) + b"mine"
    return b"".join([
        w.section((1, b"a comment"), (2, b"hardware"), (3, b"system"), (4, b"program"), (1, b"another comment")),
        w.interface(1, 90, (2, b"eth0"), (3, b"the first"), (8, w.u64(10**9)), (9, b"\x09"), (11, b"\0tcp"),
                    (14, w.u64(1000)), (13, b"\0")),
        w.block(0x0BAD, b"nobody knows this block"),
        w.interface(101, 0, (2, b"tun0"), (9, b"\x83")),
        w.packet(every_kind()[10], 5, 0, 1600, (1, b"odd"), (2, w.u32(FLAGS)), (3, b"\2hash"), (4, w.u64(7)),
                 (5, w.u64(99)), (6, w.u32(3)), (7, b"\0verdict?"), (2988, custom), (1, b"second comment")),
        w.packet(every_kind()[11][14:], 12, 1, 0, (2989, custom)),
        w.block(4, bytes(4)), w.packet(every_kind()[12], 1 << 40),
        w.simple((every_kind()[13] + bytes(60))[:90], 200),
        w.obsolete(every_kind()[14], 17, 1, (1, b"old"), (2, w.u32(2))),
    ])  # fmt: skip


@pytest.mark.parametrize("order", ["<", ">"])
def test_options_interfaces_and_comments_survive_reading_and_writing(tmp_path, order):
    capture = parse_pcap(rich(order))
    assert capture.warning is None and len(capture) == 5 and capture.undissected == {}
    assert [interface.name for interface in capture.interfaces] == ["eth0", "tun0"]
    assert capture.interfaces[0].description == "the first" and capture.snap == 90
    rows = capture.descriptors()
    seconds = 1000 * 10**9
    assert rows["t_ns"].tolist() == [seconds + 5, 1_500_000_000, seconds + (1 << 40), 0, 17 * 125_000_000]
    assert rows["frame_len"][0] == 1600 and rows["cap_len"][3] == 90 and rows["frame_len"][3] == 200
    assert rows["direction"].tolist() == [1, 2, 2, 2, 0] and rows["frame_id"][0] == 99

    path = write_pcapng(tmp_path / "again.pcapng", capture)
    w = Writer()
    section, first, second, *packets = walk(path.read_bytes())
    assert options_of(section[1], 16) == [
        (1, b"a comment"), (2, b"hardware"), (3, b"system"), (4, b"program"), (1, b"another comment"),
    ]  # fmt: skip
    assert struct.unpack_from("<HHI", first[1]) == (1, 0, 90) and struct.unpack_from("<H", second[1]) == (101,)
    assert options_of(first[1], 8) == [
        (2, b"eth0"), (3, b"the first"), (8, w.u64(10**9)), (11, b"\0tcp"), (13, b"\0"), (9, b"\x09"),
    ]  # fmt: skip
    assert options_of(second[1], 8) == [(2, b"tun0"), (9, b"\x09")]
    assert [kind for kind, _ in packets] == [6] * 5
    assert [struct.unpack_from("<I", body)[0] for _, body in packets] == [0, 1, 0, 0, 1]
    size = 20 + (len(every_kind()[10]) + 3 & ~3)
    custom = w.u32(32473) + b"mine"
    assert options_of(packets[0][1], size) == [
        (1, b"odd"), (3, b"\2hash"), (4, w.u64(7)), (6, w.u32(3)), (7, b"\0verdict?"), (2988, custom),
        (1, b"second comment"), (2, w.u32(FLAGS)), (5, w.u64(99)),
    ]  # fmt: skip
    assert options_of(packets[1][1], 20 + (len(every_kind()[11]) - 14 + 3 & ~3)) == [(2989, custom)]

    again = load_pcap(path)
    assert again.save(tmp_path / "third.pcapng").read_bytes() == path.read_bytes()
    pd.testing.assert_frame_equal(again.frames(), capture.frames())


def test_several_sections_of_either_order_are_one_capture(tmp_path):
    capture = parse_pcap(rich("<") + rich(">"))
    assert len(capture) == 10 and [i.name for i in capture.interfaces] == ["eth0", "tun0"] * 2
    assert [capture.frame(i) for i in range(1, 6)] == [capture.frame(i) for i in range(6, 11)]
    rows = capture.descriptors()
    assert rows["interface"].tolist() == [1, 2, 1, 1, 2, 3, 4, 3, 3, 4]
    assert rows["t_ns"][:5].tolist() == rows["t_ns"][5:].tolist()
    again = load_pcap(capture.save(tmp_path / "a.pcapng"))
    pd.testing.assert_frame_equal(again.frames(), capture.frames())


def test_captures_that_are_merged_keep_their_interfaces_and_options(tmp_path):
    one, two = parse_pcap(rich("<")), parse_pcap(rich(">"))
    both = Capture.merged(one, two, record(points=("nic",)).capture())
    assert len(both) == len(one) + len(two) + len(record(points=("nic",)))
    packets = [body for kind, body in walk(both.save(tmp_path / "a.pcapng").read_bytes()) if kind == 6]
    named = [body for body in packets if b"second comment" in body]
    assert [struct.unpack_from("<I", body)[0] for body in named] == [0, 2]
    assert named[0][4:] == named[1][4:]


LINKS = {
    101: b"", 12: b"", 228: b"", 229: b"", 108: b"\0\0\0\2", 0: b"\2\0\0\0",
    113: b"\0\4\0\1\0\6\2\0\0\0\0\2\0\0\x08\0", 276: b"\x08\0\0\0\0\0\0\2\0\1\4\6\2\0\0\0\0\2\0\0",
}  # fmt: skip


@pytest.mark.parametrize("link", LINKS)
def test_packets_of_other_link_layers_have_their_columns(tmp_path, link):
    packets = [frame[14:] for frame in every_kind()[10:30] if frame[12:14] in (b"\x08\0", b"\x86\xdd")]
    heads = []
    for packet in packets:
        head = LINKS[link]
        if packet[0] >> 4 == 6:
            head = head.replace(b"\0\0\0\2", b"\0\0\0\x1e").replace(b"\2\0\0\0", b"\x0a\0\0\0", link == 0)
            head = head[:-2] + b"\x86\xdd" if link == 113 else b"\x86\xdd" + head[2:] if link == 276 else head
        heads.append(head)
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap([head + packet for head, packet in zip(heads, packets, strict=True)], network=link))
    frames = read_pcap(path)
    assert frames.attrs["undissected"] == {} and frames.eth_src.isna().all() and len(frames) > 10
    expected = Recorder()
    for packet in packets:
        kind = b"\x08\0" if packet[0] >> 4 == 4 else b"\x86\xdd"
        expected.add(bytes(12) + kind + packet, "nic", "tx", 0)
    names = [name for name in frames.columns if name.split("_")[0] in ("ip", "tcp", "udp", "icmp", "srcport", "dns")]
    pd.testing.assert_frame_equal(frames[names], expected.frames()[names])
    assert (frames.frame_len == [len(h) + len(p) for h, p in zip(heads, packets, strict=True)]).all()
    if tshark.TSHARK and link not in (12, 228, 229):
        theirs = tshark.fields(path, ["ip.src", "ipv6.src", "tcp.seq_raw", "udp.length"])
        for mine, other in zip(frames.itertuples(), theirs, strict=True):
            assert mine.ip_src == (other["ip.src"] or other["ipv6.src"])
    again = load_pcap(write_pcapng(tmp_path / "b.pcapng", load_pcap(path)))
    pd.testing.assert_frame_equal(again.frames(), frames)


def test_arp_and_tags_behind_a_cooked_header():
    head = b"\0\4\0\1\0\6\2\0\0\0\0\2\0\0"
    arp = every_kind()[0]
    tagged = b"\x81\0\0\x2a" + arp[12:]
    frames = parse_pcap(pcap([head + arp[12:], head + tagged, head[:9]], network=113)).frames()
    assert frames.arp_opcode.tolist()[:2] == [1, 1] and frames.vlan_id.fillna(0).tolist() == [0, 42, 0]
    assert frames.cause.tolist() == ["arp", "arp", "unknown"]


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_modified_kind_of_pcap(order):
    frames = every_kind()[:6]
    capture = parse_pcap(pcap(frames, order, 0xA1B2CD34))
    assert [capture.frame(i + 1) for i in range(len(capture))] == list(frames) and capture.warning is None
    assert capture.descriptors()["t_ns"].tolist() == [1_600_000_000 * 10**9 + 1000 * i for i in range(6)]


def test_a_link_type_that_tells_of_check_sequences_is_still_ethernet():
    assert parse_pcap(pcap(every_kind()[:1], network=1 | 0x24000000)).frames().eth_src.notna().all()


@pytest.mark.parametrize("ending", ["pcapng", "pcapng.gz", "pcapng.zst", "pcap", "pcap.gz", "pcap.zst"])
def test_what_is_written_is_read_packed_or_not(tmp_path, ending):
    capture = record(meta={"seed": 5}).capture()
    write = write_pcapng if ending.startswith("pcapng") else write_pcap
    path = write(tmp_path / f"a.{ending}", capture)
    assert write(tmp_path / f"b.{ending}", capture).read_bytes() == path.read_bytes()
    assert path.read_bytes()[:2] == {"gz": b"\x1f\x8b", "zst": b"\x28\xb5"}.get(
        ending[-3:].strip("."), path.read_bytes()[:2]
    )
    frames, again = read_pcap(path), load_pcap(path)
    assert [again.frame(i + 1) for i in range(len(again))] == [capture.frame(i + 1) for i in range(len(capture))]
    assert frames.frame_time.tolist() == capture.frames().frame_time.tolist()
    pd.testing.assert_frame_equal(frames, again.frames())
    if ending.startswith("pcapng"):
        pd.testing.assert_frame_equal(frames, capture.frames())
        assert frames.attrs["meta"] == {"seed": 5} and frames.attrs["warning"] is None


def test_gzip_in_several_members_and_zstd_in_several_frames():
    import pyarrow as pa

    data = rich("<") + pcap(every_kind())[:0]
    parts = [data[:100], data[100:101], data[101:]]
    gz = b"".join(gzip.compress(part) for part in parts) + bytes(64)
    zst = b"\x50\x2a\x4d\x18\4\0\0\0skip" + b"".join(pa.compress(part, "zstd", asbytes=True) for part in parts)
    for packed in (gz, zst):
        capture = parse_pcap(packed)
        assert len(capture) == 5 and capture.warning is None
        assert [capture.frame(i + 1) for i in range(5)] == [parse_pcap(data).frame(i + 1) for i in range(5)]


def test_the_programs_that_pack_are_understood(tmp_path):
    """Not only the libraries that this package packs with."""
    path = record().save(tmp_path / "a.pcapng")
    expected = read_pcap(path)
    for command in (["gzip", "-k", "-9"], ["zstd", "-q", "-19"]):
        try:
            subprocess.run([*command, str(path)], check=True, timeout=60)
        except FileNotFoundError:
            continue
        packed = path.with_name(path.name + (".gz" if command[0] == "gzip" else ".zst"))
        pd.testing.assert_frame_equal(read_pcap(packed), expected)


def test_a_selection_of_rows_is_written_with_the_bytes_of_its_file(tmp_path):
    path = record(meta={"seed": 2}).save(tmp_path / "a.pcapng")
    frames = read_pcap(path)
    chosen = frames[(frames.cause == "ack") & (frames.point == "nic")]
    assert 0 < len(chosen) < len(frames)
    capture = load_pcap(write_pcapng(tmp_path / "b.pcapng", chosen))
    whole = load_pcap(path)
    assert [capture.frame(i + 1) for i in range(len(capture))] == [whole.frame(n) for n in chosen.frame_number]
    assert capture.frames().frame_time.tolist() == chosen.frame_time.tolist() and capture.meta == {"seed": 2}
    live = record()
    again = load_pcap(write_pcapng(tmp_path / "c.pcapng", live.frames().iloc[[3, 1]], source=live))
    assert [again.frame(1), again.frame(2)] == [live.capture().frame(4), live.capture().frame(2)]
    with pytest.raises(UsageError, match="know no file"):
        write_pcapng(tmp_path / "d.pcapng", live.frames())
    with pytest.raises(UsageError, match="frame_number"):
        write_pcapng(tmp_path / "d.pcapng", 5)
    with pytest.raises(UsageError, match="no frame 99999"):
        whole.select(np.array([1, 99999]))


def test_pcap_records_are_as_written_down(tmp_path):
    capture = parse_pcap(pcap([frame[:300] for frame in every_kind()]))
    data = write_pcap(tmp_path / "a.pcap", capture).read_bytes()
    expected = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1)
    for i, frame in enumerate(every_kind()):
        frame = frame[:300]
        expected += struct.pack("<IIII", 1_600_000_000, 1000 * i, len(frame), len(frame)) + frame
    assert data == expected


def test_pcap_files_say_what_they_cannot_hold(tmp_path):
    with pytest.raises(UsageError, match="one link layer; this capture has types 1, 101"):
        write_pcap(tmp_path / "a.pcap", parse_pcap(rich("<")))
    recorder = Recorder()
    recorder.add(b"x" * 60, "nic", "tx", -1)
    with pytest.raises(UsageError, match="1970 to 2106"):
        write_pcap(tmp_path / "a.pcap", recorder)
    packets = write_pcap(tmp_path / "b.pcap", parse_pcap(pcap([b"raw!"], network=127)))
    assert load_pcap(packets).undissected == {"link type 127": 1}


def test_columns_are_chosen_by_name(tmp_path):
    path = record().save(tmp_path / "a.pcapng")
    some = read_pcap(path, columns=["cause", "frame_len", "tcp_flags_syn"])
    pd.testing.assert_frame_equal(some, read_pcap(path)[["frame_len", "tcp_flags_syn", "cause"]])
    with pytest.raises(UsageError, match="no column 'tcp_sequence'"):
        read_pcap(path, columns=["tcp_sequence"])


@pytest.mark.skipif(PLAIN, reason="so many frames are for compiled kernels")
def test_reading_stops_where_memory_is_to_end(tmp_path):
    recorder = Recorder()
    for i in range(70_000):
        recorder.add(b"\2\0\0\0\0\1" * 10, "nic", "tx", i)
    path = recorder.save(tmp_path / "a.pcapng")
    frames = read_pcap(path, most_bytes=8 << 20)
    assert 0 < len(frames) < 70_000 and f"after {len(frames)} frames" in frames.attrs["warning"]
    capture = load_pcap(path, most_bytes=8 << 20)
    assert len(capture) < 70_000 and "iter_capture" in capture.warning
