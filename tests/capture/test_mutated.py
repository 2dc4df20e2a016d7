"""Files that were changed, cut or made up: what is readable comes, a warning says where it broke, and neither time nor
memory run away."""

import gzip
import random
import re
import struct
import subprocess
import sys
import tracemalloc
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.capture import iter_capture, load_pcap, parse_pcap, read_capture, read_pcap, write_capture, write_pcapng
from aero_lab.compiled.registry import PLAIN
from aero_lab.errors import UsageError

from .conversation import record
from .packets import every_kind
from .test_formats import rich
from .writers import Writer, pcap, walk

KINDS = ("ours", "little", "big", "pcap", "modified", "sll", "gzip", "zstd")


@cache
def original(kind: str) -> bytes:
    """A small file of each kind."""
    import pyarrow as pa

    some = every_kind()[:12]
    if kind in ("ours", "gzip", "zstd"):
        w = Writer()
        plain = w.section((1, b'{"seed":1}'), (4, b"aero_lab")) + w.interface(1, 65535, (2, b"nic"), (9, b"\x09"))
        plain += b"".join(w.packet(f, i, 0, 0, (2, w.u32(2)), (5, w.u64(i + 1))) for i, f in enumerate(some))
        plain += w.block(5, bytes(12) + w.options((1, b'{"full":3}'), (4, w.u64(9)), (5, w.u64(3))))
        if kind == "gzip":
            return gzip.compress(plain, mtime=0)
        return pa.compress(plain, "zstd", asbytes=True) if kind == "zstd" else plain
    if kind in ("little", "big"):
        return rich("<" if kind == "little" else ">")
    if kind == "sll":
        head = b"\0\4\0\1\0\6\2\0\0\0\0\2\0\0"
        return pcap([head + frame[12:] for frame in some], network=113)
    return pcap(some, ">", 0xA1B2CD34 if kind == "modified" else 0xA1B23C4D)


@st.composite
def mutated(draw, kinds=KINDS):
    """A file of some kind with bytes changed, numbers made huge, pieces doubled, removed, or the end cut off."""
    raw = bytearray(original(draw(st.sampled_from(kinds))))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(raw) - 1)))
        match draw(st.integers(0, 3)):
            case 0 if raw:
                raw[at] = draw(st.sampled_from([0, 1, 4, 0x7F, 0x80, 0xFF]))
            case 1:
                raw[at : at + 4] = draw(st.sampled_from([b"\xff" * 4, b"\0\0\0\x80", b"\x7f\xff\xff\xff", bytes(4)]))
            case 2:
                raw[at:at] = raw[at : at + draw(st.integers(1, 200))]
            case 3:
                del raw[at : at + draw(st.integers(1, 40))]
    return bytes(raw[: draw(st.integers(0, len(raw)))] if draw(st.booleans()) else raw)


ROOM = 40 << 20
"""Bytes that reading any of these small files may take: windows, tables and chunks of a fixed size."""


@settings(max_examples=150, deadline=None)
@given(mutated())
def test_changed_files_give_what_is_readable(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "mutated"
    path.write_bytes(data)
    try:
        capture = load_pcap(path)
    except UsageError as error:
        assert "\n" not in str(error) and "mutated" in str(error)
        with pytest.raises(UsageError):
            read_pcap(path)
        with pytest.raises(UsageError):
            list(iter_capture(path))
        return
    frames = read_pcap(path)
    assert len(frames) == len(capture) and frames.attrs["warning"] == capture.warning
    assert sum(map(len, iter_capture(path, 5))) == len(frames)
    assert [len(capture.frame(i + 1)) for i in range(len(capture))] == frames.frame_cap_len.tolist()
    assert capture.warning is None or re.search(r"byte|bytes", capture.warning)
    again = load_pcap(write_pcapng(path.with_name("again"), capture))
    assert [again.frame(i + 1) for i in range(len(again))] == [capture.frame(i + 1) for i in range(len(capture))]


@settings(max_examples=30, deadline=None)
@given(mutated())
def test_memory_stays_in_bounds(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "bounded"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        read_pcap(path)
        for _ in iter_capture(path, 100):
            pass
        load_pcap(path)
    except UsageError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < ROOM, f"{peak >> 20} MB for a file of {len(data)} bytes"


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=400),
    st.sampled_from([b"", b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd", b"\n\r\r\n", b"\xd4\xc3\xb2\xa1"]),
)
def test_random_bytes_are_refused_or_read(data, magic):
    try:
        assert parse_pcap(magic + data).warning is not None or len(data) >= 20
    except UsageError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_anywhere_gives_all_before_the_cut(kind):
    """To the packet; of packed files all that was unpacked."""
    raw = original(kind)
    whole = parse_pcap(raw)
    expected = [whole.frame(i + 1) for i in range(len(whole))]
    counts = []
    for cut in range(4, len(raw), 11 if len(raw) > 2000 else 3):
        try:
            part = parse_pcap(raw[:cut])
        except UsageError:
            assert cut < 40 or kind in ("gzip", "zstd")
            continue
        frames = [part.frame(i + 1) for i in range(len(part))]
        assert frames == expected[: len(frames)]
        counts.append(len(frames))
        if kind in ("gzip", "zstd"):
            assert part.warning is not None and "cut" in part.warning and "unpacked byte" in part.warning
    assert counts == sorted(counts)
    assert kind == "zstd" or counts[-1] >= len(expected) - 2  # zstd unpacks by blocks, and this file is one


def test_of_zstd_all_whole_blocks_are_unpacked():
    import pyarrow as pa

    frames = [number.to_bytes(4, "big") + bytes(996) for number in range(2000)]
    rng = random.Random(1)
    data = pcap([frame[:-600] + rng.randbytes(600) for frame in frames])
    packed = pa.compress(data, "zstd", asbytes=True)
    for part in (0.3, 0.6, 0.99):
        capture = parse_pcap(packed[: int(len(packed) * part)])
        assert "the zstd data is cut" in str(capture.warning) and "unpacked bytes" in str(capture.warning)
        unpacked = int(re.search(r"after (\d+) unpacked", str(capture.warning))[1])
        assert len(capture) == (unpacked - 24) // 1016
        assert unpacked > 0.8 * part * len(data)
    assert len(capture) > 1500


def test_the_warning_says_where(tmp_path):
    w = Writer()
    packets = [w.packet(frame, i) for i, frame in enumerate(every_kind()[:4])]
    head = w.section() + w.interface()
    data = head + b"".join(packets)
    third = len(head) + len(packets[0]) + len(packets[1])
    at = f"at byte {third}, in block 5:"
    swapped_section = w.section()[:8] + b"nobo" + w.section()[12:]
    for broken, how in (
        (data[: third + 20], f"cut {at} it needs {len(packets[2])} bytes and there are 20"),
        (data[: third + 4] + b"\7\0\0\0" + data[third + 8 :], f"corrupt {at} its length is impossible"),
        (data[:third] + packets[2][:-4] + bytes(4), f"corrupt {at} the lengths before and behind it differ"),
        (data[:third] + w.packet(b"x", 0, 3), f"corrupt {at} it names an interface that there is not"),
        (data[:third] + w.block(6, w.u32(0) * 3 + w.u32(99) * 2), f"{at} its packet is larger than the block"),
        (data[:third] + swapped_section, f"{at} a section header without its byte-order magic"),
    ):
        capture = parse_pcap(broken)
        assert capture.warning is not None and how in capture.warning
        assert [capture.frame(1), capture.frame(2)] == list(every_kind()[:2]) and len(capture) == 2
    old = pcap(every_kind()[:3])
    at = 24 + 16 + len(every_kind()[0])
    assert f"cut at byte {at}, in packet 2" in str(parse_pcap(old[: at + 30]).warning)
    assert f"corrupt at byte {at}, in packet 2" in str(parse_pcap(old[: at + 8] + b"\xff" * 4 + old[at + 12 :]).warning)
    assert "inside its header" in str(parse_pcap(old[:20]).warning)
    packed = gzip.compress(data)
    cut = parse_pcap(packed[: len(packed) // 2])
    both = r"the gzip data is cut after \d+ unpacked bytes; the file is cut at unpacked byte"
    assert re.search(both, str(cut.warning))
    flipped = bytearray(packed)
    flipped[-6] ^= 0xFF  # the checksum: all data is there, and not to be trusted
    assert "the gzip data is corrupt" in str(parse_pcap(bytes(flipped)).warning)
    path = tmp_path / "cut.pcapng.gz"
    path.write_bytes(packed[: len(packed) // 2])
    *_, last = iter_capture(path, 1)
    assert last.attrs["warning"] == read_pcap(path).attrs["warning"] == cut.warning


BOMBS = """
import resource, sys, time
from aero_lab.capture import iter_capture, load_pcap, read_pcap
load_pcap(sys.argv[1]); read_pcap(sys.argv[1])
begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[2:]:
    print(read_pcap(path, most_bytes=64 << 20).attrs["warning"])
    print(load_pcap(path, most_bytes=64 << 20).warning)
    rows = 0
    for group in iter_capture(path, 50_000, ["frame_len"]):
        rows += len(group)
        if rows > 400_000:
            break
    print(rows)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begin) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures the resident set as Linux tells it")
@pytest.mark.skipif(PLAIN, reason="millions of packets are for compiled kernels")
def test_a_small_file_that_unpacks_to_a_large_one_is_read_within_bounds(tmp_path):
    """Half a gigabyte of empty packets in half a megabyte (gzip), in some kilobytes (zstd)."""
    import pyarrow as pa

    head, empty = pcap([])[:24], struct.pack("<IIII", 1, 1, 0, 0) * (1 << 16)
    bombs = [tmp_path / "bomb.gz", tmp_path / "bomb.zst"]
    with gzip.open(bombs[0], "wb") as file:
        file.write(head)
        for _ in range(128):
            file.write(empty)
    with bombs[1].open("wb") as raw, pa.CompressedOutputStream(raw, "zstd") as file:
        file.write(head)
        for _ in range(512):
            file.write(empty)
    assert all(path.stat().st_size < 1 << 20 for path in bombs)
    small = record().save(tmp_path / "small.pcapng")
    done = subprocess.run(
        [sys.executable, "-c", BOMBS, str(small), *map(str, bombs)], capture_output=True, text=True, timeout=300,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *lines, grown = done.stdout.split("\n")[:-1]
    assert len(lines) == 6 and all("iter_capture" in line for line in (*lines[0:2], *lines[3:5]))
    assert int(lines[2]) > 400_000 and int(lines[5]) > 400_000
    assert int(grown) < 200, f"{grown} MB"


def test_numbers_that_overflow_are_kept_in_bounds():
    """Times, lengths and counters at their limits are values, not errors."""
    w = Writer()
    huge = 0xFFFFFFFFFFFFFFFF
    for resolution in (0, 3, 9, 12, 127, 0x80, 0x83, 0xA0, 0xBF, 0xC0, 0xFF):
        for offset in (0, 1 << 62, 1 << 63, huge):
            data = w.section() + w.interface(1, 0, (9, bytes([resolution])), (14, w.u64(offset)))
            data += w.packet(b"x" * 60, huge, 0, 0xFFFFFFFF, (5, w.u64(huge)), (2, w.u32(0xFFFFFFFF)), (4, w.u64(huge)))
            capture = parse_pcap(data)
            assert len(capture) == 1 and capture.frames().frame_len.tolist() == [0xFFFFFFFF]


PARQUET = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
from pathlib import Path
from aero_lab.capture import iter_capture, read_capture
from aero_lab.errors import UsageError
import random
original, path = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
rng, read, refused = random.Random(5), 0, 0
for _ in range(int(sys.argv[3])):
    raw = bytearray(original)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(raw))
        raw[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
    if rng.random() < 0.2:
        del raw[rng.randrange(len(raw)):]
    path.write_bytes(raw)
    try:
        frames = read_capture(path)
        rows = sum(map(len, iter_capture(path, 10)))
        assert rows == len(frames)
        read += 1
    except UsageError as error:
        assert "\\n" not in str(error), error
        refused += 1
print(read, refused)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="bounds the memory of a process as Linux does")
def test_changed_parquet_is_refused_or_read(tmp_path):
    """In a process of its own with bounded memory, as the reader is somebody else's native code."""
    path = write_capture(tmp_path / "a.parquet", record(), group_rows=20)
    done = subprocess.run(
        [sys.executable, "-c", PARQUET, str(path), str(tmp_path / "b.parquet"), "80"], capture_output=True, text=True,
        timeout=300, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    read, refused = map(int, done.stdout.split())
    assert read + refused == 80 and refused > 10


def test_parquet_with_a_broken_group_gives_those_before(tmp_path):
    import pyarrow.parquet as pq

    path = write_capture(tmp_path / "a.parquet", record(), group_rows=20)
    whole, raw = read_capture(path), bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(1).column(1)
    at = column.dictionary_page_offset or column.data_page_offset
    raw[at : at + column.total_compressed_size] = bytes(column.total_compressed_size)
    path.write_bytes(raw)
    frames = read_capture(path)
    assert "corrupt behind row 20" in frames.attrs["warning"] and len(frames) == 20
    assert frames.frame_time.tolist() == whole.frame_time.tolist()[:20]
    with pytest.raises(UsageError, match="no parquet file"):
        path.write_bytes(b"PAR1" + bytes(20) + b"PAR1")
        read_capture(path)


def test_walk_is_a_judge_of_what_we_write():
    assert [kind for kind, _ in walk(original("ours"))] == [0x0A0D0D0A, 1, *[6] * 12, 5]
