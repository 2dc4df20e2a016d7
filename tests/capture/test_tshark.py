"""Every mapped column equals what tshark says, row by row; scapy and capinfos read what is written."""

import random
import shutil
import subprocess

import pytest

from aero_lab.capture import Recorder, load_pcap
from aero_lab.capture import schema as s

from . import tshark
from .packets import every_kind

pytestmark = pytest.mark.skipif(tshark.TSHARK is None, reason=tshark.REASON)
MAPPED = [c.name for c in s.COLUMNS if c.wireshark]


def ours(frames):
    """Rows of a capture as dictionaries without nulls, numbers as int."""
    table = frames[MAPPED].astype(object)
    table = table.where(table.notna(), None)
    out = []
    for row in table.to_dict("records"):
        out.append({k: v if isinstance(v, str) else int(v) for k, v in row.items() if v is not None})
    return out


def differences(path, frames, but=()):
    """Readable differences between our rows and tshark's, the frames named; ``but`` are columns not looked at."""
    found = []
    looked_at = [name for name in MAPPED if name not in but]
    for mine, theirs in zip(ours(frames), tshark.columns(path), strict=True):
        for name in looked_at:
            if mine.get(name) != theirs.get(name):
                found.append((mine["frame_number"], name, mine.get(name), theirs.get(name)))
    return found


@pytest.mark.parametrize("snap", [0, 96])
def test_each_kind_of_frame(tmp_path, snap):
    recorder = Recorder(snap=snap)
    for i, frame in enumerate(every_kind()):
        direction = "tx" if i % 2 else "rx"
        recorder.add(frame, "nic", direction, 1_700_000_000_123_456_789 + 1001 * i)
        recorder.add_message(b"\xa2\x03\0\0" + frame, direction, 1_700_000_000_123_457_000 + 1001 * i, frame_id=i + 1)
    path = recorder.save(tmp_path / "all.pcapng")
    assert differences(path, recorder.frames()) == []
    assert differences(path, load_pcap(path).frames()) == []


def test_random_header_values(tmp_path):
    """Fields changed where any value is legal: the checksum may be wrong, the structure is not."""
    rng = random.Random(7)
    recorder = Recorder()
    for i in range(600):
        frame = bytearray(every_kind()[10 + rng.randrange(8)])
        for at in (15, 18, 19, 22, *range(26, 46), 47, 48, 49):
            if rng.random() < 0.5:
                frame[at] = rng.randrange(256)
        frame[35] |= 0x40  # ports of no protocol that tshark would go on to dissect
        frame[34] |= 0xF0
        frame[36] |= 0xF0
        recorder.add(bytes(frame), "nic", "tx", 1000 * i)
    path = recorder.save(tmp_path / "random.pcapng")
    assert differences(path, recorder.frames()) == []


def capinfos(path):
    """What capinfos says of a file, which it has to accept."""
    return subprocess.run(["capinfos", str(path)], check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.skipif(shutil.which("capinfos") is None, reason="capinfos is not installed")
def test_capinfos_accepts_the_file(tmp_path):
    recorder = Recorder(meta={"seed": 3})
    for i, frame in enumerate(every_kind()):
        recorder.add(frame, "nic", "tx", i)
    recorder.add_message(b"\xa2\x03\x01\0ping", "tx", 99)
    path = recorder.save(tmp_path / "a.pcapng")
    text = capinfos(path)
    assert f"Number of packets:   {len(recorder)}" in text
    assert "Name = nic" in text and "Name = tunnel" in text and '{"seed":3}' in text


def test_scapy_reads_the_file(tmp_path):
    from scapy.all import rdpcap

    recorder = Recorder()
    for i, frame in enumerate(every_kind()):
        recorder.add(frame, "tunnel" if i % 2 else "nic", "tx", i, message_len=len(frame) + 4 if i % 2 else 0)
    path = recorder.save(tmp_path / "a.pcapng")
    assert [bytes(packet) for packet in rdpcap(str(path))] == list(every_kind())
