"""Flows, ACKs and bandwidth against figures worked out by hand and against plain loops."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab import analysis
from aero_lab.analysis.bandwidth import bytes_by_cause, duration_ns, interval_for
from aero_lab.errors import UsageError
from tests.capture.conversation import MS, record, script
from tests.capture.naive import dissect
from tests.capture.packets import GUEST, HERE, THERE


@pytest.fixture(scope="module")
def frames():
    return record().frames()


def test_flows_of_the_download(frames):
    table = analysis.flows(frames)
    assert table.proto.tolist() == ["udp", "tcp"]
    flow = table.iloc[1]
    assert (flow.client, flow.client_port, flow.server, flow.server_port) == (HERE, 49200, THERE, 80)
    assert flow.start_s == pytest.approx(0.066) and flow.seconds == pytest.approx(6.492 - 0.066)
    # One of the five segments was lost on its way to the NIC and came again, twice; each byte counts once.
    assert flow.payload_down == 5 * 1460 + 5 and flow.payload_up == 39
    assert flow.retransmissions == 3 and flow.duplicates == 1
    assert flow.connect_ms == pytest.approx(1107 - 66) and flow.end == "fin"
    rows = frames[(frames.point == "nic") & (frames.flow_id == table.index[1])]
    assert flow.frames_up == (rows.direction == "tx").sum() and flow.frames_down == (rows.direction == "rx").sum()
    assert flow.bytes_up + flow.bytes_down == rows.frame_len.sum()


def test_flows_at_the_tunnel_see_what_left_there(frames):
    flow = analysis.flows(frames, "tunnel").iloc[1]
    assert flow.payload_down == 5 * 1460 + 5 and flow.retransmissions == 3
    assert flow.connect_ms == pytest.approx(1.0)


def test_payload_counts_each_byte_once_across_the_wrap_of_sequence_numbers():
    from aero_lab.capture import Recorder
    from tests.capture.conversation import segment

    recorder = Recorder()
    start = 0xFFFFFFFF - 250
    for i, block in enumerate([0, 1, 2, 1, 4, 3, 5, 5]):
        recorder.add(segment(False, start + 100 * block, 1, data=b"x" * 100), "nic", "rx", i)
        recorder.add(segment(True, 1, start + 100 * block + 100), "nic", "tx", i)
    flow = analysis.flows(recorder.frames()).iloc[0]
    assert flow.payload_up == 600 and flow.payload_down == 0  # the server sent first


def test_flows_of_nothing_and_of_a_reset(frames):
    assert len(analysis.flows(frames[:0])) == 0
    from aero_lab.capture import Recorder
    from tests.capture.conversation import segment

    recorder = Recorder()
    recorder.add(segment(True, 1, 0, "S"), "nic", "tx", 0)
    recorder.add(segment(False, 0, 2, "RA"), "nic", "rx", 5)
    flow = analysis.flows(recorder.frames()).iloc[0]
    assert flow.end == "reset" and pd.isna(flow.connect_ms)


def test_acks_of_the_download(frames):
    result = analysis.acks(frames)
    at_nic = [row for row in script() if row[0] >= 66 and not (row[3] and not row[1])]
    pure = sum(row[4] == "ack" for row in at_nic)
    data = sum(dissect(row[2]).get("tcp_len", 0) > 0 for row in at_nic)
    assert (result.pure_acks, result.data_segments) == (pure, data)
    assert result.acks_per_data_segment == pytest.approx(pure / data)
    assert result.ack_bytes == sum(len(row[2]) for row in at_nic if row[4] == "ack")
    assert len(result.flows) == 1 and result.flows.pure_acks.iloc[0] == pure
    assert "ACK" not in repr(result).lower() and f"{pure} for {data}" in repr(result)


def test_acks_without_data_are_not_a_ratio(frames):
    result = analysis.acks(frames[frames.cause == "ack"])
    assert result.acks_per_data_segment is None and result.ack_share == 1.0
    empty = analysis.acks(frames[:0])
    assert empty.pure_acks == 0 and empty.ack_share is None and "–" in repr(empty)


@pytest.mark.parametrize("point", ["nic", "tunnel"])
@pytest.mark.parametrize("direction", [None, "tx", "rx"])
def test_bandwidth_against_a_plain_loop(frames, point, direction):
    width = 250 * MS
    table = analysis.bandwidth(frames, "250ms", point, direction)
    rows = frames[frames.point == point]
    if direction:
        rows = rows[rows.direction == direction]
    expected: dict = {}
    begin = rows.frame_time.iloc[0]
    for row in rows.itertuples():
        step = (row.frame_time - begin) // width
        expected[step, row.cause] = expected.get((step, row.cause), 0) + row.frame_len
        if point == "tunnel":
            expected[step, "tunnel_framing"] = expected.get((step, "tunnel_framing"), 0) + 4
    found = {}
    for step, (_, values) in enumerate(table.iterrows()):
        for cause, mbits in values.items():
            if mbits:
                found[step, cause] = round(mbits * 1e6 * 0.25 / 8, 6)
    assert found == expected
    assert table.attrs["interval_ns"] == width and table.index[1] == pytest.approx(0.25)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 10**10), st.integers(0, 1514), st.sampled_from(["payload", "ack", "dns"])), max_size=50
    ),
    st.sampled_from([None, "1ms", "0.1s", 1]),
)
def test_bandwidth_loses_no_byte(rows, interval):
    """Any DataFrame with the columns will do, also one without points, directions or tunnel messages."""
    frames = pd.DataFrame(rows, columns=["frame_time", "frame_len", "cause"])
    table = analysis.bandwidth(frames.astype({"frame_time": "int64", "frame_len": "int64"}), interval)
    total = table.to_numpy().sum() * table.attrs["interval_ns"] / 8e3
    assert total == pytest.approx(frames.frame_len.sum())


def test_causes_add_up_at_each_point(frames):
    for point, column in (("nic", "frame_len"), ("tunnel", "message_len")):
        table = analysis.by_cause(frames, point)
        assert table.bytes.sum() == frames.loc[frames.point == point, column].sum()
        assert table.share.sum() == pytest.approx(1)
        assert table.frames.sum() == (frames.point == point).sum()
    framing = analysis.by_cause(frames, "tunnel").xs("tunnel_framing", level="cause")
    assert framing.bytes.sum() == 4 * (frames.point == "tunnel").sum()


def test_causes_of_one_direction_are_those_of_the_whole_table(frames):
    for point in ("nic", "tunnel"):
        table = analysis.by_cause(frames, point)["bytes"]
        for direction in ("tx", "rx"):
            rows = frames[(frames.point == point) & (frames.direction == direction)]
            spent = bytes_by_cause(rows)
            assert len(spent) > 2 and spent == table.xs(direction, level="direction").to_dict()
            assert list(spent.values()) == sorted(spent.values(), reverse=True)
    assert bytes_by_cause(frames.iloc[:0]) == {}


def test_a_round_interval_gives_a_readable_number_of_steps():
    for span in np.geomspace(1e6, 1e13, 60).astype(np.int64).tolist():
        assert 50 <= span / interval_for(span) <= 125 or span < 50_000


@pytest.mark.parametrize(
    ("text", "ns"), [("10ms", 10 * MS), ("0.5 s", 500 * MS), ("3us", 3000), (2, 2000 * MS), ("1min", 60_000 * MS)]
)
def test_durations(text, ns):
    assert duration_ns(text) == ns


@pytest.mark.parametrize("text", ["10", "ms", "-1ms", "0s", 0, "1 hour"])
def test_wrong_durations_say_so(text):
    with pytest.raises(UsageError, match="duration"):
        duration_ns(text)


def test_what_is_missing_or_wrong_is_named(frames):
    with pytest.raises(UsageError, match="lack the columns cause"):
        analysis.bandwidth(frames.drop(columns="cause"))
    with pytest.raises(UsageError, match="no capture point 'wire'"):
        analysis.flows(frames, "wire")
    with pytest.raises(UsageError, match="steps; the most is"):
        analysis.bandwidth(frames, "1us")
    assert GUEST in set(frames.eth_src)
