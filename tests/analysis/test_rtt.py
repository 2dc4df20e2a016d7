"""Streams and round trips against figures worked out by hand and against a plain loop."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aero_lab import analysis
from aero_lab.analysis.sequence import unwrapped
from aero_lab.capture import Recorder
from aero_lab.errors import UsageError
from tests.capture.conversation import MS, record, segment


@pytest.fixture(scope="module")
def frames():
    return record().frames()


def test_round_trips_of_the_download(frames):
    at_tunnel = analysis.rtt(frames, "tunnel")
    down = at_tunnel[at_tunnel.direction == "rx"]
    # SYN-ACK, first segment, last segment, FIN. The second segment came once more later, the others had to wait for
    # one that was lost.
    assert down.rtt_ms.round(3).tolist() == [41.0, 41.0, 41.0, 41.0]
    up = at_tunnel[at_tunnel.direction == "tx"]
    assert (up.rtt_ms >= 0).all() and up.rtt_ms.max() < 2
    at_nic = analysis.rtt(frames, "nic")
    assert at_nic.time_s.is_monotonic_increasing and set(at_nic.direction) == {"tx", "rx"}


def test_nothing_that_was_sent_twice_or_waited_for_that_gives_a_sample():
    recorder = Recorder()
    for at, sends, seq, ack, data in (
        (0, False, 1000, 1, b"a" * 100),
        (10, False, 1100, 1, b"b" * 100),
        (20, False, 1000, 1, b"a" * 100),
        (30, True, 1, 1200, b""),
        (40, False, 1200, 1, b"c" * 100),
        (47, True, 1, 1300, b""),
    ):
        recorder.add(segment(sends, seq, ack, data=data), "nic", "tx" if sends else "rx", at * MS)
    samples = analysis.rtt(recorder.frames())
    assert samples[samples.direction == "rx"].rtt_ms.tolist() == [7.0]


@pytest.mark.parametrize("seed", range(12))
def test_round_trips_against_a_plain_loop_across_the_wrap(seed):
    """Segments in random order of loss and repetition, cumulative acknowledgements without SACK."""
    chance = random.Random(seed)
    start = 0xFFFFFFFF - chance.randrange(3000)
    recorder, log, got, now = Recorder(), [], set(), 0
    for _ in range(120):
        now += chance.randrange(1, 30) * MS // 10
        block = chance.randrange(min(len(got) + 4, 40))
        recorder.add(segment(False, start + 100 * block, 1, data=b"x" * 100), "nic", "rx", now)
        log.append(("data", now, block))
        if chance.random() < 0.8:
            got.add(block)
        if chance.random() < 0.6:
            now += chance.randrange(1, 9) * MS // 10
            reached = next(i for i in range(41) if i not in got)
            recorder.add(segment(True, 1, start + 100 * reached), "nic", "tx", now)
            log.append(("ack", now, reached))
    found = analysis.rtt(recorder.frames())
    found = found[found.direction == "rx"]
    blocks = [block for kind, _, block in log if kind == "data"]
    expected = []
    for at, (kind, when, block) in enumerate(log):
        if kind != "data" or blocks.count(block) > 1:
            continue
        sent_before = [b for k, _, b in log[:at] if k == "data"]
        sent_after = [b for k, _, b in log[at:] if k == "data"]
        if max(sent_before, default=-1) > block or min(sent_after) < block:
            continue  # overtaken: whose acknowledgement it is cannot be told
        answer = next((t for k, t, reached in log if k == "ack" and reached > block), None)
        if answer is not None and answer >= when:
            expected.append((answer - when) / MS)
    assert sorted(found.rtt_ms.round(6)) == pytest.approx(sorted(expected)), f"seed {seed}"


@given(st.lists(st.integers(-(2**30), 2**30), max_size=40), st.integers(0, 2**32 - 1))
def test_numbers_unwrap_to_where_they_came_from(steps, base):
    true = np.cumsum(np.array(steps, np.int64))
    assert unwrapped((true + base) % (1 << 32), base).tolist() == true.tolist()


def test_a_stream_has_the_window_that_was_offered():
    recorder = Recorder()
    syn = [("MSS", 1460), ("WScale", 7)]
    recorder.add(segment(True, 100, 0, "S", window=1000, options=syn), "nic", "tx", 0)
    recorder.add(segment(False, 500, 101, "SA", window=2000, options=[("MSS", 1460), ("WScale", 3)]), "nic", "rx", 1)
    recorder.add(segment(True, 101, 501, window=10), "nic", "tx", 2)
    recorder.add(segment(False, 501, 101, data=b"x" * 10), "nic", "rx", 3)
    recorder.add(segment(True, 101, 511, window=9), "nic", "tx", 4)
    found = analysis.stream(recorder.frames())
    assert found.direction == "rx" and found.other == ("203.0.113.10:80", "10.0.2.15:49200")
    assert found.segments[["seq", "end"]].to_numpy().tolist() == [[0, 1], [1, 11]]
    assert (found.acks["edge"] - found.acks["ack"]).tolist() == [10 << 7, 9 << 7]


def test_what_is_not_there_is_said_plainly(frames):
    with pytest.raises(UsageError, match="no TCP flow 99"):
        analysis.stream(frames, 99)
    with pytest.raises(UsageError, match="no TCP flow"):
        analysis.stream(frames[frames.cause == "arp"])
    with pytest.raises(UsageError, match="'tx' or 'rx'"):
        analysis.stream(frames, direction="up")
    assert len(analysis.rtt(frames[:0])) == 0
