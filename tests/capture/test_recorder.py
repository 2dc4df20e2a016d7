"""The recorder: what it keeps, what it drops, and what the tap does to a ring."""

import threading

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab import limits
from aero_lab.analysis import by_cause
from aero_lab.capture import Capture, Recorder, read_pcap
from aero_lab.causes import Cause
from aero_lab.errors import UsageError
from aero_lab.rings import FrameRing

SMALL = limits.CAPTURE_SEGMENT_MIN


def frame(number, size=60):
    return number.to_bytes(6, "big") + bytes(size - 6)


def contents(capture):
    return [capture.frame(i + 1) for i in range(len(capture))]


def test_the_tap_keeps_the_frames_and_leaves_the_ring_alone():
    ring, recorder = FrameRing(), Recorder()
    for i in range(5):
        ring.push(frame(i, 60 + i), t_ns=i, frame_id=i + 1)
    assert recorder.tap(ring, 3, "nic", "tx", 77) == 3
    assert contents(recorder.capture()) == [frame(i, 60 + i) for i in range(3)]
    assert [taken.data for taken in ring.pop_many()] == [frame(i, 60 + i) for i in range(5)]
    rows = recorder.capture().descriptors()
    assert rows["t_ns"].tolist() == [77] * 3 and rows["frame_id"].tolist() == [1, 2, 3]
    assert rows["frame_len"].tolist() == [60, 61, 62]


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.booleans(), st.integers(0, 4)), max_size=30),
    st.sampled_from([4, 8]),
)
@settings(max_examples=60, deadline=None)
def test_any_tap_against_a_list(steps, slots):
    """Push some, tap some of the oldest or newest after a skip, take some: against a plain list."""
    ring, recorder = FrameRing(slots, 1 << 12), Recorder()
    waiting, expected, number = [], [], 0
    for pushed, count, newest, skip in steps:
        for _ in range(pushed):
            if ring.push(frame(number)):
                waiting.append(frame(number))
            number += 1
        if newest:
            count = min(count, len(waiting))
            wanted = waiting[len(waiting) - count :]
            kept = recorder.tap(ring, count, "nic", "rx", 0, newest=True)
        else:
            wanted = waiting[skip : skip + count]
            kept = recorder.tap(ring, count, "nic", "rx", 0, skip)
        assert kept == len(wanted)
        expected += wanted
        for _ in range(min(skip, len(waiting))):
            assert ring.pop().data == waiting.pop(0)
    assert contents(recorder.capture()) == expected


def test_all_that_wait():
    ring, recorder = FrameRing(), Recorder()
    assert recorder.tap(ring, None, "nic", "tx", 0) == 0
    for i in range(7):
        ring.push(frame(i))
    assert recorder.tap(ring, None, "nic", "tx", 0, skip=2) == 5
    assert recorder.tap(ring, None, "nic", "tx", 0, skip=9) == 0
    assert contents(recorder.capture()) == [frame(i) for i in range(2, 7)]


def test_a_frame_without_identity_gets_one_that_travels_on():
    near, far, recorder = FrameRing(), FrameRing(), Recorder()
    near.push(frame(1))
    near.push(frame(2), frame_id=9)
    recorder.tap(near, None, "nic", "tx", 0)
    near.move_to(far)
    moved = far.pop_many()
    assert moved[0].frame_id >= 1 << 32 and moved[1].frame_id == 9
    assert recorder.capture().descriptors()["frame_id"].tolist() == [moved[0].frame_id, 9]


def test_at_the_tunnel_the_frame_inside_the_message_is_kept():
    ring, recorder = FrameRing(), Recorder()
    messages = [
        b"\xa2\x03\x00\x00" + frame(1),
        b"\xa2\x03\x01\x00ping",
        b"\xa2\x03",
        b"\xa1\x03\x00\x00" + frame(2),
        b"",
    ]
    for message in messages:
        ring.push(message)
    assert recorder.tap(ring, None, "tunnel", "rx", 5) == 5
    other = Recorder()
    for message in messages:
        other.add_message(message, "rx", 5)
    frames = recorder.frames()
    assert frames.frame_len.tolist() == [60, 0, 0, 0, 0]
    assert frames.message_len.fillna(0).tolist() == [64, 8, 2, 64, 0]
    assert contents(recorder.capture()) == [frame(1), b"", b"", b"", b""]
    pd.testing.assert_frame_equal(frames, other.frames())


def test_snap_length_cuts_bytes_but_not_lengths():
    ring, recorder = FrameRing(), Recorder(snap=40)
    for size in (30, 40, 41, 1514):
        ring.push(frame(size, size))
    recorder.tap(ring, None, "nic", "tx", 0)
    frames = recorder.frames()
    assert frames.frame_len.tolist() == [30, 40, 41, 1514]
    assert frames.frame_cap_len.tolist() == [30, 40, 40, 40]
    assert recorder.counters["cut"] == 2 and recorder.drops == {}


@pytest.mark.parametrize("by_tap", [True, False])
def test_a_full_recorder_drops_the_newest_and_counts(by_tap):
    recorder = Recorder(most_bytes=SMALL)
    number = 300
    ring = FrameRing(512, 1 << 20)
    for i in range(number):
        ring.push(frame(i, 1000))
    if by_tap:
        kept = recorder.tap(ring, None, "nic", "tx", 0)
    else:
        kept = sum(recorder.add(frame(i, 1000), "nic", "tx", 0) for i in range(number))
    assert kept == len(recorder) == (SMALL - 64) // 1064
    assert recorder.drops == {"full": number - kept} == recorder.frames().attrs["drops"]
    assert recorder.counters["bytes"] == 1064 * kept <= SMALL
    assert contents(recorder.capture()) == [frame(i, 1000) for i in range(kept)]


def test_keeping_the_newest_forgets_whole_segments_and_counts():
    recorder = Recorder(most_bytes=2 * SMALL, keep="newest")
    number = 1000
    for i in range(number):
        assert recorder.add(frame(i, 1000), "nic", "tx", i)
    kept = contents(recorder.capture())
    assert kept == [frame(i, 1000) for i in range(number - len(kept), number)]
    assert recorder.drops == {"overwritten": number - len(kept)}
    assert SMALL < recorder.bytes <= 2 * SMALL


def test_a_frame_larger_than_the_memory_is_dropped_not_raised():
    recorder = Recorder(most_bytes=SMALL)
    assert not recorder.add(bytes(SMALL), "nic", "tx", 0)
    assert recorder.drops == {"full": 1}
    assert recorder.add(frame(1), "nic", "tx", 0)


def test_points_that_are_not_recorded_and_a_recorder_that_is_off_keep_nothing():
    ring = FrameRing()
    ring.push(frame(1))
    recorder = Recorder(points=("nic",))
    assert recorder.tap(ring, None, "tunnel", "tx", 0) == 0 and not recorder.add(frame(1), "egress", "tx", 0)
    recorder.enabled = False
    assert recorder.tap(ring, None, "nic", "tx", 0) == 0 and not recorder.add(frame(1), "nic", "tx", 0)
    assert len(recorder) == 0 and recorder.drops == {}


def test_clear_forgets_frames_and_counters_but_not_what_was_taken():
    recorder = Recorder(most_bytes=SMALL)
    for i in range(300):
        recorder.add(frame(i, 1000), "nic", "tx", 0)
    before = recorder.capture()
    recorder.clear()
    recorder.add(frame(7), "nic", "tx", 0)
    assert len(recorder) == 1 and recorder.drops == {}
    assert before.frame(1) == frame(0, 1000) and len(before) > 100


def test_the_epoch_is_added_to_times():
    recorder = Recorder(epoch_ns=10**18)
    recorder.add(frame(1), "nic", "tx", 5)
    assert recorder.frames().frame_time.tolist() == [10**18 + 5]


def test_a_capture_does_not_change_while_recording_goes_on():
    recorder = Recorder()
    recorder.add(frame(1), "nic", "tx", 0)
    capture = recorder.capture()
    recorder.add(frame(2), "nic", "tx", 0)
    assert len(capture) == 1 == len(capture.frames())
    with pytest.raises(IndexError, match="no frame 2: the capture has 1"):
        capture.frame(2)


def test_another_thread_reads_whole_frames_only():
    recorder = Recorder(most_bytes=8 << 20)
    number, wrong = 4000, []
    done = threading.Event()

    def read():
        while not done.is_set():
            capture = recorder.capture()
            rows = capture.descriptors()
            last = len(capture)
            if last and capture.frame(last) != frame(last - 1, 60 + (last - 1) % 50):
                wrong.append(last)
            if rows["t_ns"].tolist() != list(range(last)):
                wrong.append(rows)

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(number):
        recorder.add(frame(i, 60 + i % 50), "nic", "tx", i)
    done.set()
    reader.join()
    assert not wrong and len(recorder) == number


def test_merging_orders_by_time_and_keeps_bytes_and_drops():
    client, proxy = Recorder(points=("nic",), meta={"seed": 1}), Recorder(points=("tunnel",))
    for i in range(50):
        client.add(frame(i), "nic", "tx", 10 * i, i + 1)
        proxy.add_message(b"\xa2\x03\0\0" + frame(i), "tx", 10 * i + 25, i + 1)
    proxy._drop("full", 3)
    both = Capture.merged(client.capture(), proxy.capture())
    frames = both.frames()
    assert frames.frame_time.is_monotonic_increasing and len(frames) == 100
    assert (frames.tunnel_delay.dropna() == 25).all() and frames.tunnel_delay.notna().sum() == 50
    assert both.meta == {"seed": 1} and both.drops == {"full": 3}
    for row in frames.itertuples():
        assert both.frame(row.frame_number) == frame(int(row.frame_id) - 1)
    assert len(Capture.merged()) == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [({"points": ("wire",)}, "no capture point 'wire'"), ({"keep": "all"}, "keep must be"), ({"snap": -1}, "snap"),
     ({"most_bytes": 100}, "most_bytes")],
)  # fmt: skip
def test_wrong_settings_say_what_is_wrong(options, text):
    with pytest.raises(UsageError, match=text):
        Recorder(**options)


def test_it_shows_itself():
    recorder = Recorder(most_bytes=SMALL)
    recorder.add(frame(1), "nic", "tx", 0)
    recorder.add_message(b"\xa2\x03\0\0" + frame(1), "tx", 0)
    recorder.add(bytes(SMALL), "nic", "tx", 0)
    assert repr(recorder) == "<Recorder 2 frames, 248 bytes, dropped: 1 full>"
    assert repr(recorder.capture()) == "<Capture 2 frames: 1 at nic, 1 at tunnel>"
    assert np.array_equal(recorder.capture().descriptors()["point"], [0, 1])
    shown = recorder._repr_html_()
    assert "1 full" in shown and "<td>tunnel</td><td>1</td><td>60</td><td>1</td><td>0</td>" in shown


def test_messages_that_hold_no_frames_keep_their_lengths_and_causes(tmp_path):
    """Of a relay's messages the payload is somebody's, the rest framing; over files and segments the sums are exact."""
    recorder = Recorder(most_bytes=2 * SMALL)
    wanted = {}
    kinds = [(Cause.PAYLOAD, 1000), (Cause.DNS, 40), (Cause.TUNNEL_FRAMING, 0), (Cause.KEEPALIVE, 0)]
    for i in range(400):
        cause, payload = kinds[i % 4]
        direction = "tx" if i & 4 else "rx"
        assert recorder.add_relayed(direction, 10 * i, payload + 9, payload, cause)
        for name, size in ((cause.name.lower(), payload or 9), ("tunnel_framing", 9 if payload else 0)):
            wanted[name, direction] = wanted.get((name, direction), 0) + size
    recorder.add(bytes(60), "nic", "tx", 5000)
    assert not Recorder(points=("nic",)).add_relayed("tx", 0, 9, 0, Cause.PAYLOAD)
    assert recorder.counters["cut"] == 0 and len(recorder) == 401
    for frames in (recorder.frames(), read_pcap(recorder.save(tmp_path / "a.pcapng"))):
        tunnel = frames[frames["point"] == "tunnel"]
        assert len(tunnel) == 400 and tunnel["frame_id"].isna().all() and (tunnel["frame_cap_len"] == 0).all()
        spent = by_cause(tunnel, "tunnel")["bytes"]
        assert {key: int(value) for key, value in spent.items()} == wanted
