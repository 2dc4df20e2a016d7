"""Files in groups of rows: together they are the rows of the whole, in memory that does not grow with the file."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aero_lab.bench.frames import mixed
from aero_lab.capture import (
    Recorder,
    causes,
    iter_capture,
    load_pcap,
    read_capture,
    read_pcap,
    write_capture,
)
from aero_lab.capture import frames as frames_module
from aero_lab.compiled.registry import PLAIN
from aero_lab.errors import UsageError

from .conversation import record


def plain(frames):
    """Text as text: groups know other categories than the whole."""
    return frames.astype({name: object for name in frames if isinstance(frames[name].dtype, pd.CategoricalDtype)})


def together(groups):
    return pd.concat([plain(group) for group in groups], ignore_index=True)


@pytest.mark.parametrize("rows", [3, 40, 1000])
@pytest.mark.parametrize("ending", ["pcapng", "pcapng.zst", "parquet"])
def test_groups_are_the_rows_of_the_whole(tmp_path, rows, ending):
    recorder = record(meta={"seed": 9})
    path = tmp_path / f"a.{ending}"
    if ending == "parquet":
        write_capture(path, recorder, group_rows=16)
    else:
        recorder.save(path)
    groups = list(iter_capture(path, rows))
    expected = recorder.frames()
    assert [len(group) for group in groups[:-1]] == [rows] * (len(groups) - 1) and 0 < len(groups[-1]) <= rows
    pd.testing.assert_frame_equal(together(groups), plain(expected))
    for group in groups:
        assert group.attrs["meta"] == {"seed": 9} and group.attrs["path"] == str(path)
        for name in ("point", "direction", "cause"):
            assert group[name].cat.categories.tolist() == expected[name].cat.categories.tolist()
    pd.testing.assert_frame_equal(together(groups[:2]), plain(expected[: 2 * rows]))


def test_what_is_remembered_goes_on_from_chunk_to_chunk(tmp_path, monkeypatch):
    """Flows, causes and delays do not depend on how a file is cut."""
    path = mixed(6000, 50).save(tmp_path / "a.pcapng")
    whole = read_pcap(path)
    assert whole.tunnel_delay.notna().sum() > 0 and whole.cause.nunique() > 5
    monkeypatch.setattr(frames_module, "CHUNK", 64)
    pd.testing.assert_frame_equal(read_pcap(path), whole)
    pd.testing.assert_frame_equal(together(iter_capture(path, 100)), plain(whole))


def test_frames_are_known_again_for_a_while(tmp_path, monkeypatch):
    """Two generations of identities: what was seen within the last is found, what is older than two is new."""
    monkeypatch.setattr(causes, "CAPTURE_IDENTITIES", 160)
    monkeypatch.setattr(causes, "FIRST_IDENTITIES", 64)
    monkeypatch.setattr(frames_module, "CHUNK", 32)
    recorder = Recorder()
    for i in range(2000):
        recorder.add(b"\2" * 60, "nic", "tx", i, frame_id=i + 1)
        if i >= 100:
            recorder.add(b"\2" * 60, "tunnel", "tx", i, frame_id=i - 99, message_len=64)
    frames = recorder.frames()
    assert (frames.tunnel_delay.dropna() == 100).all()
    assert (frames.tunnel_delay.notna() == (frames.point == "tunnel")).all()
    late = Recorder()
    for point in ("nic", "tunnel"):
        for i in range(2000):
            late.add(b"\2" * 60, point, "tx", i, frame_id=i + 1)
    frames = late.frames()
    known = frames.tunnel_delay.notna()[frames.point == "tunnel"].to_numpy()
    assert not known[:1500].any()  # by the time they come, those are long forgotten


def test_parquet_is_written_group_by_group(tmp_path):
    """From a pcapng, never holding more than a group; text that appears late is there."""
    path = mixed(5000, 300).save(tmp_path / "a.pcapng")
    out = write_capture(tmp_path / "a.parquet", iter_capture(path, 700))
    pd.testing.assert_frame_equal(plain(read_capture(out)), plain(read_pcap(path)))
    assert read_capture(out).attrs["meta"] == {"made": "mixed"}
    some = read_capture(out, columns=["ip_src", "cause"])
    assert list(some.columns) == ["ip_src", "cause"] and len(some) == 5000
    assert together(iter_capture(out, 999, ["tcp_len"])).tcp_len.tolist() == read_pcap(path).tcp_len.tolist()
    with pytest.raises(UsageError, match="no column 'nothing'"):
        read_capture(out, columns=["nothing"])


def test_a_group_needs_a_row(tmp_path):
    with pytest.raises(UsageError, match="at least 1 row"):
        iter_capture(record().save(tmp_path / "a.pcapng"), 0)


def test_an_empty_file_has_one_empty_group(tmp_path):
    path = Recorder().save(tmp_path / "a.pcapng")
    (group,) = iter_capture(path)
    assert len(group) == 0 and list(group.columns) == list(read_pcap(path).columns)
    write_capture(tmp_path / "a.parquet", iter_capture(path))
    (group,) = iter_capture(tmp_path / "a.parquet")
    assert len(group) == 0 and len(read_capture(tmp_path / "a.parquet")) == 0


PROGRAM = """
import resource, sys
from aero_lab.capture import iter_capture, write_capture
for group in iter_capture(sys.argv[1], 20_000):
    pass
begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = 0
for path in sys.argv[2:]:
    for group in iter_capture(path, 20_000):
        rows += len(group)
    if path.endswith("g"):
        write_capture(path + ".parquet", iter_capture(path, 20_000))
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begin)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures the resident set as Linux tells it")
@pytest.mark.skipif(PLAIN, reason="a million frames are for compiled kernels")
def test_memory_does_not_grow_with_the_file(tmp_path):
    """A file of 40 MB, which would be 90 MB of columns, is gone through in a fraction of it: read, made parquet."""
    small = mixed(40_000, 200).save(tmp_path / "small.pcapng")
    frames = mixed(100_000, 200)
    large, data = tmp_path / "large.pcapng", frames.save(tmp_path / "one.pcapng").read_bytes()
    packed = tmp_path / "large.pcapng.zst"
    with large.open("wb") as file:
        for _ in range(5):  # sections follow each other in one file
            file.write(data)
    import pyarrow as pa

    packed.write_bytes(pa.compress(large.read_bytes(), "zstd", asbytes=True))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(small), str(large), str(packed)],
        capture_output=True, text=True, timeout=300, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows, grown = map(int, done.stdout.split())
    assert rows == 1_000_000
    assert len(load_pcap(small)) == 40_000
    assert grown * 1024 < 60 << 20, f"{grown} KiB more than after a small file"
    assert np.isclose(large.stat().st_size, 5 * len(data))
