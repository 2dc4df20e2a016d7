"""The dissector against its plain twin: each kind of frame, cut, changed and random."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.capture import Recorder
from aero_lab.capture import schema as s

from . import naive
from .packets import GUEST, every_kind

DISSECTED = [c.name for c in s.COLUMNS if c.has and c.name.split("_")[0] in
             ("eth", "vlan", "ip", "srcport", "dstport", "tcp", "udp", "icmp", "arp", "dhcp", "dns")]  # fmt: skip


def rows_of(frames, snap=0):
    """Rows of ``frames()`` as dictionaries without nulls."""
    recorder = Recorder(snap=snap)
    for frame in frames:
        assert recorder.add(frame, "nic", "tx", 0)
    table = recorder.frames()[DISSECTED]
    for column in table.select_dtypes("category"):
        codes = table[column].cat
        assert codes.codes.between(-1, len(codes.categories) - 1).all(), f"{column}: a number without a name"
    table = table.astype(object)
    table = table.where(table.notna(), None)
    return [{k: v for k, v in row.items() if v is not None} for row in table.to_dict("records")]


def expected(frame, snap=0):
    row = naive.dissect(frame[:snap] if snap else frame, len(frame))
    return {k: v for k, v in row.items() if k in DISSECTED}


@pytest.mark.parametrize("snap", [0, 34, 54, 60, 66, 96, 300])
def test_every_kind_of_frame_agrees_with_the_twin(snap):
    frames = every_kind()
    for frame, row in zip(frames, rows_of(frames, snap), strict=True):
        assert row == expected(frame, snap)


def test_each_column_has_a_value_somewhere():
    table = Recorder()
    for frame in every_kind():
        table.add(frame, "nic", "tx", 0)
    frames = table.frames()
    for name in DISSECTED:
        assert frames[name].notna().any(), name


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_changed_frames_agree_with_the_twin(data):
    frames = []
    for _ in range(20):
        frame = bytearray(data.draw(st.sampled_from(every_kind())))
        for _ in range(data.draw(st.integers(0, 4))):
            frame[data.draw(st.integers(0, min(len(frame), 90) - 1))] = data.draw(st.integers(0, 255))
        frames.append(bytes(frame[: data.draw(st.integers(1, len(frame)))]))
    snap = data.draw(st.sampled_from([0, 0, 40, 96]))
    for frame, row in zip(frames, rows_of(frames, snap), strict=True):
        assert row == expected(frame, snap)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=120), min_size=1, max_size=20))
def test_random_bytes_agree_with_the_twin(tails):
    frames = [bytes(12) + (b"\x08\x00", b"\x86\xdd", b"\x08\x06", b"\x81\x00", b"")[len(t) % 5] + t for t in tails]
    for frame, row in zip(frames, rows_of(frames), strict=True):
        assert row == expected(frame)


def test_types_are_tight():
    recorder = Recorder()
    for frame in every_kind():
        recorder.add(frame, "nic", "tx", 0)
    frames = recorder.frames()
    assert list(frames.columns) == [c.name for c in s.COLUMNS]
    for column in s.COLUMNS:
        assert str(frames[column.name].dtype) == column.dtype, column.name
    assert frames.frame_number.tolist() == list(range(1, len(frames) + 1))


def test_an_empty_capture_has_all_columns():
    frames = Recorder().frames()
    assert len(frames) == 0
    assert list(frames.columns) == [c.name for c in s.COLUMNS]


def test_many_names_make_the_table_grow():
    """More MACs, addresses and conversations than the first table takes; each keeps its own text."""
    recorder = Recorder()
    base = bytearray(every_kind()[20])
    number = 1200
    for i in range(number):
        base[6:12] = (0x020000000000 + i).to_bytes(6, "big")
        base[26:30] = (0x0A000000 + i).to_bytes(4, "big")
        base[34:36] = (1000 + i).to_bytes(2, "big")
        recorder.add(bytes(base), "nic", "tx", i)
    frames = recorder.frames()
    assert frames.eth_src.nunique() == frames.ip_src.nunique() == frames.flow_id.nunique() == number
    assert frames.ip_src.iloc[[0, 255, 1199]].tolist() == ["10.0.0.0", "10.0.0.255", "10.0.4.175"]
    assert np.array_equal(frames.flow_id.to_numpy(), np.arange(number))


def test_both_directions_of_a_conversation_share_a_flow():
    recorder = Recorder()
    for frame in every_kind()[10:18]:
        recorder.add(frame, "nic", "tx" if frame[6:12].hex(":") == GUEST else "rx", 0)
    assert recorder.frames().flow_id.tolist() == [0] * 8


def test_guests_with_one_address_have_flows_of_their_own():
    recorder = Recorder()
    for mac in (b"\2\0\0\0\0\7", b"\2\0\0\0\0\x08"):
        for frame in every_kind()[10:12]:
            sent = frame[6:12].hex(":") == GUEST
            other = frame[:6] + mac + frame[12:] if sent else mac + frame[6:]
            recorder.add(other, "nic", "tx" if sent else "rx", 0)
    frames = recorder.frames()
    assert frames.flow_id.tolist() == [0, 0, 1, 1] and set(frames.cause) == {"handshake"}
