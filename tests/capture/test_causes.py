"""Causes: the written-down download, a byte-by-byte oracle, Wireshark's analysis, and what joins points."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab import analysis
from aero_lab.capture import Recorder, causes, load_pcap
from aero_lab.causes import Cause

from . import naive, tshark
from .conversation import DELAY, HEADER, MS, record, script, segment
from .packets import every_kind


def causes_of(rows, point="nic"):
    """Causes of ``(time, from the guest?, frame)`` rows at one point."""
    recorder = Recorder()
    for when, up, frame in rows:
        recorder.add(frame, point, "tx" if up else "rx", when)
    return recorder.frames()["cause"].tolist()


def test_each_row_of_a_download_has_its_cause_at_both_points():
    frames = record().frames()
    for number, (_, _, _, lost, why) in enumerate(script(), 1):
        rows = frames[frames.frame_id == number]
        assert rows.cause.tolist() == [why] * (1 if lost else 2), (number, why)


def test_a_file_gives_the_same_causes(tmp_path):
    recorder = record()
    again = load_pcap(recorder.save(tmp_path / "a.pcapng")).frames()
    assert again.cause.tolist() == recorder.frames().cause.tolist()


def test_the_delay_through_the_tunnel_is_a_column():
    frames = record().frames()
    first = ~frames.duplicated("frame_id")
    assert frames[first].tunnel_delay.isna().all()
    assert (frames[~first].tunnel_delay == DELAY).all()


@pytest.mark.parametrize(
    ("index", "why"),
    [(0, "arp"), (2, "dhcp"), (5, "dns"), (7, "broadcast"), (9, "broadcast"), (10, "handshake"), (20, "payload"),
     (22, "icmp"), (24, "icmp"), (27, "payload"), (29, "payload"), (38, "icmp"), (41, "arp"), (44, "arp"),
     (45, "broadcast"), (46, "unknown")],
)  # fmt: skip
def test_causes_that_one_frame_tells(index, why):
    assert causes_of([(0, True, every_kind()[index])]) == [why]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 7), st.integers(1, 4), st.integers(0, 9), st.booleans()), max_size=40
    )
)
def test_against_a_byte_by_byte_oracle(steps):
    """Any order of segments of 10 to 40 bytes, acknowledgements and FINs, within the time that reordering may take."""
    oracle = naive.CauseOracle()
    frames = [segment(True, 999, 0, "S"), segment(False, 999, 1000, "SA")]
    highest = {True: 1000, False: 1000}
    for up, block, blocks, acked, pure in steps:
        seq = 1000 + 10 * block
        if pure:
            frames.append(segment(up, highest[up], 1000 + 10 * acked))
        else:
            frames.append(segment(up, seq, 1000 + 10 * acked, "A", bytes(10 * blocks)))
            highest[up] = max(highest[up], seq + 10 * blocks)
    ups = [frame[30:34] != b"\x0a\x00\x02\x0f" for frame in frames]
    expected = [oracle.tcp(naive.dissect(frame)).name.lower() for frame in frames]
    assert causes_of([(i, up, f) for i, (up, f) in enumerate(zip(ups, frames, strict=True))]) == expected


def download(rng, loss, reorder):
    """What a point behind a bad link sees of a sender that repeats what is not acknowledged.

    Rows of time, sender and frame, and what each frame with data was: a retransmission when it or a later one
    arrived in an earlier burst.
    """
    truth, highest = {}, -1
    rows, now = [(0, True, segment(True, 999, 0, "S"))], 20 * MS
    rows.append((now, False, segment(False, 4999, 1000, "SA")))
    now += 20 * MS
    rows.append((now, True, segment(True, 1000, 5000)))
    have, acked, size = set(), 0, 30
    while acked < size:
        now += 100 * MS
        burst = [block for block in range(acked, min(size, acked + 6)) if rng.random() > loss]
        if rng.random() < reorder and len(burst) > 1:
            i = rng.randrange(len(burst) - 1)
            burst[i], burst[i + 1] = burst[i + 1], burst[i]
        for block in burst:
            now += 50_000
            rows.append((now, False, segment(False, 5000 + 100 * block, 1000, "A", bytes([block]) * 100)))
            truth[len(rows)] = "retransmission" if block <= highest else "payload"
        have.update(burst)
        highest = max([highest, *burst])
        while acked in have:
            acked += 1
        now += MS
        rows.append((now, True, segment(True, 1000, 5000 + 100 * acked)))
    return rows, truth


@pytest.mark.parametrize("seed", range(20))
def test_loss_and_reordering_are_told_apart(seed):
    rows, truth = download(random.Random(seed), 0.2, 0.4)
    found = dict(enumerate(causes_of(rows), 1))
    assert {number: found[number] for number in truth} == truth


@pytest.mark.skipif(tshark.TSHARK is None, reason=tshark.REASON)
@pytest.mark.parametrize("seed", range(3))
def test_against_wireshark(tmp_path, seed):
    """Wireshark calls each old segment soon after new data out of order, also one it saw before; elsewhere we agree."""
    recorder = Recorder()
    rows, truth = download(random.Random(seed), 0.2, 0.4)
    for when, up, frame in rows:
        recorder.add(frame, "nic", "tx" if up else "rx", when)
    path = recorder.save(tmp_path / "a.pcapng")
    theirs = tshark.fields(path, [f"tcp.analysis.{name}" for name in tshark.ANALYSIS])
    ours = recorder.frames()["cause"].tolist()
    agreed = {"payload": 0, "retransmission": 0}
    for number in truth:
        analysed = theirs[number - 1]
        if analysed["tcp.analysis.out_of_order"]:
            continue
        again = analysed["tcp.analysis.retransmission"] or analysed["tcp.analysis.fast_retransmission"]
        assert ours[number - 1] == ("retransmission" if again else "payload"), number
        agreed[ours[number - 1]] += 1
    assert agreed["payload"] > 10 and agreed["retransmission"]


@pytest.mark.skipif(tshark.TSHARK is None, reason=tshark.REASON)
def test_the_download_at_the_nic_against_wireshark(tmp_path):
    recorder = record(points=("nic",))
    path = recorder.save(tmp_path / "a.pcapng")
    theirs = tshark.fields(path, [f"tcp.analysis.{name}" for name in tshark.ANALYSIS])
    for row, analysis_of in zip(recorder.frames().itertuples(), theirs, strict=True):
        keepalive = analysis_of["tcp.analysis.keep_alive"] or analysis_of["tcp.analysis.keep_alive_ack"]
        assert bool(keepalive) == (row.cause == "keepalive"), row.frame_number


def test_zero_window_probes_and_their_answers_are_keepalives():
    rows = [(0, True, segment(True, 1000, 500)), (1, False, segment(False, 500, 1000))]
    rows += [(2, True, segment(True, 1000, 500, data=b"x" * 100)), (3, False, segment(False, 500, 1100, window=0))]
    for i in range(2):
        rows += [(1000 * (i + 1), True, segment(True, 1100, 500, data=b"x"))]
        rows += [(1000 * (i + 1) + 20, False, segment(False, 500, 1100, window=0))]
    rows += [(5000, False, segment(False, 500, 1100)), (5020, True, segment(True, 1100, 500, data=b"xyz"))]
    assert causes_of(rows)[4:] == ["keepalive"] * 4 + ["ack", "payload"]


def test_a_lost_segment_repeated_late_is_a_retransmission_and_an_overtaken_one_is_payload():
    blocks = [segment(True, 1000 + 100 * i, 1, data=b"x" * 100) for i in range(4)]
    assert causes_of([(0, True, blocks[0]), (1, True, blocks[2]), (2, True, blocks[1])]) == ["payload"] * 3
    late = causes_of([(0, True, blocks[0]), (1, True, blocks[2]), (500 * MS, True, blocks[1])])
    assert late == ["payload", "payload", "retransmission"]


def test_the_network_duplicates_a_frame():
    recorder = Recorder()
    frame = segment(True, 1000, 1)
    for when in (0, 5):
        recorder.add(frame, "nic", "tx", when, frame_id=7)
    recorder.add_message(HEADER + frame, "tx", 9, 7)
    recorder.add_message(HEADER + frame, "tx", 11, 7)
    frames = recorder.frames()
    assert frames.cause.tolist() == ["ack", "duplicate", "ack", "duplicate"]
    assert frames.tunnel_delay.dropna().tolist() == [9, 11]


def test_the_same_identity_in_the_other_direction_is_another_frame():
    recorder = Recorder()
    recorder.add(segment(True, 1000, 1), "nic", "tx", 0, frame_id=7)
    recorder.add(segment(False, 1, 1000), "nic", "rx", 5, frame_id=7)
    assert recorder.frames().cause.tolist() == ["ack", "ack"]


def test_a_syn_with_a_new_sequence_number_is_a_new_flow():
    rows = [(0, True, segment(True, 100, 0, "S")), (1, True, segment(True, 100, 0, "S")),
            (2, False, segment(False, 900, 101, "RA")), (3, True, segment(True, 5000, 0, "S")),
            (4, False, segment(False, 77, 5001, "SA"))]  # fmt: skip
    recorder = Recorder()
    for when, up, frame in rows:
        recorder.add(frame, "nic", "tx" if up else "rx", when)
    frames = recorder.frames()
    assert frames.flow_id.tolist() == [0, 0, 0, 1, 1]
    assert frames.cause.tolist() == ["handshake", "retransmission", "handshake", "handshake", "handshake"]


def test_sequence_numbers_wrap():
    start = 0xFFFFFF80
    rows = [(i, True, segment(True, start + 100 * i, 1, data=b"x" * 100)) for i in range(4)]
    rows.append((10, True, segment(True, start + 100, 1, data=b"x" * 100)))
    assert causes_of(rows) == ["payload"] * 4 + ["retransmission"]


def test_state_of_many_flows_is_bounded(monkeypatch):
    """The oldest flow is forgotten: its data, seen before, counts as new; nothing else changes."""
    monkeypatch.setattr(causes, "CAPTURE_HALF_FLOWS", 8)
    data = [segment(True, 1000, 1, data=b"x" * 10, port=2000 + i) for i in range(20)]
    rows = [(i, True, frame) for i, frame in enumerate(data)]
    assert causes_of([*rows, (50, True, data[19]), (51, True, data[0])]) == ["payload"] * 20 + [
        "retransmission",
        "payload",
    ]


def test_tunnel_messages_without_frames_have_causes():
    recorder = Recorder()
    for kind, payload in ((1, b"ping"), (2, b"ping"), (0x7F, b"why"), (0x33, b"")):
        recorder.add_message(bytes([0xA2, 3, kind, 0]) + payload, "tx", kind)
    recorder.add_message(b"\xff", "rx", 500)
    frames = recorder.frames()
    assert frames.cause.tolist() == ["keepalive", "keepalive"] + ["tunnel_framing"] * 3
    assert frames.message_len.tolist() == [8, 8, 7, 4, 1]
    assert (frames.frame_len == 0).all()


def test_causes_add_up_to_the_bytes_on_the_wire():
    recorder = record()
    recorder.add_message(b"\xa2\x03\x01\x00abcd", "tx", 7_000 * MS)
    frames = recorder.frames()
    for point, column in (("nic", "frame_len"), ("tunnel", "message_len")):
        rows = frames[frames.point == point]
        assert analysis.by_cause(frames, point).bytes.sum() == rows[column].sum()
    assert causes.PAYLOAD == Cause.PAYLOAD
