"""Both ends of the tunnel in one row: against a plain loop, and where the exact delays are known."""

from __future__ import annotations

import random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab import Lab, analysis
from aero_lab.analysis.join import floor_of, split
from aero_lab.capture import Recorder
from aero_lab.errors import UsageError
from tests.capture.conversation import MS, record
from tests.capture.packets import GATEWAY, GUEST

PARTS = ["transport_delay", "queue_delay", "hol_delay"]


def run(link, size="200KB", seed=3, workload="download"):
    with Lab(virtual=True, link=link, seed=seed) as lab:
        lab.guest().run(workload, size=size)
        lab.advance(1)
        counters = [direction.counters for direction in lab.guests[0]._links]
        return lab.capture.capture(), counters


def adds_up(table):
    both = table[table.tunnel_delay.notna()]
    assert (both[PARTS].sum(axis=1) == both.tunnel_delay).all() and (both[PARTS] >= 0).all(axis=None)
    assert (both.tunnel_delay == both.arrived_time - both.sent_time).all()
    assert table.loc[table.tunnel_delay.isna(), PARTS].isna().all(axis=None)
    return both


def plain_join(frames):
    """Each frame's sightings, found by looking at all rows."""
    begin, end = {"tx": "nic", "rx": "tunnel"}, {"tx": "tunnel", "rx": "nic"}
    found: dict = {}
    for row in frames.itertuples():
        if row.frame_len:
            entry = found.setdefault((row.frame_id, row.direction), {"sent": None, "came": [], "message": None})
            if row.point == begin[row.direction] and entry["sent"] is None:
                entry["sent"] = row.frame_time
            if row.point == end[row.direction]:
                entry["came"].append(row.frame_time)
            if row.point == "tunnel":
                entry["message"] = row.message_len
    return found


@pytest.mark.parametrize("link", ["rtt=40ms, loss=4%, duplicate=4%", "rtt=20ms, rate=3Mbit/s, reorder=3%, corrupt=2%"])
def test_each_frame_has_its_two_sightings(link):
    capture, counters = run(link)
    frames = capture.frames()
    table = analysis.join(frames)
    expected = plain_join(frames)
    assert len(table) == len(expected) and table.frame_id.notna().all()
    for row in table.itertuples():
        entry = expected[row.frame_id, row.direction]
        message = None if pd.isna(row.message_len) else row.message_len
        assert (row.sent_time, row.copies, message) == (entry["sent"], len(entry["came"]), entry["message"])
        assert (row.arrived_time if entry["came"] else None) == (entry["came"][0] if entry["came"] else None)
    adds_up(table)
    # What the link says it did: each loss is a row without arrival, each copy one that arrived more often.
    for direction, counted in zip(("tx", "rx"), counters):
        own = table[table.direction == direction]
        assert (own.copies == 0).sum() == counted["lost"] + counted["queue_full"]
        assert own.copies.sum() == counted["frames_out"] and len(own) == counted["frames_in"]
    assert table.sent_time.is_monotonic_increasing
    again = table[table.cause == "retransmission"]
    assert len(again) and again.frame_id.is_unique  # what is sent again is a frame of its own


def test_a_saved_capture_gives_the_same_table(tmp_path):
    capture, _ = run("rtt=40ms, loss=3%, duplicate=2%, rate=5Mbit/s")
    table = analysis.join(capture.frames())
    from aero_lab.capture import read_capture
    from aero_lab.capture.pcap_reader import parse_pcap

    again = parse_pcap(capture.save(tmp_path / "a.pcapng").read_bytes()).frames()
    pd.testing.assert_frame_equal(analysis.join(again), table)
    pd.testing.assert_frame_equal(analysis.join(read_capture(capture.save_parquet(tmp_path / "a.parquet"))), table)


def test_a_link_that_only_delays_is_all_transport():
    both = adds_up(analysis.join(run("rtt=41ms")[0].frames()))
    assert (both.transport_delay == 20_500_000).all() and (both[["queue_delay", "hol_delay"]] == 0).all(axis=None)


def test_a_line_gives_its_rate_and_its_queue():
    """The queue's wait by Lindley's recursion, from what was sent alone."""
    table = analysis.join(run("rtt=40ms, rate=1Mbit/s, queue=1MiB", "100KB")[0].frames())
    both = adds_up(table)
    down = both[both.direction == "rx"]
    assert (table.copies == 1).all()
    bits, free, waits = down.message_len.to_numpy(np.int64) * 8, 0, []
    for sent, size in zip(down.sent_time, bits * 1000):
        begin = max(sent, free)
        free = begin + size
        waits.append(begin - sent)
    # The longest frames never found the line idle here, so the floor may be too high by what they waited least.
    full = down.message_len == down.message_len.max()
    extra = min(wait for wait, whole in zip(waits, full) if whole)
    assert max(waits) > 200 * MS and (down.hol_delay == 0).all()
    assert abs(down.transport_delay[full] - (20 * MS + bits.max() * 1000 + extra)).max() <= 1
    assert abs(down.queue_delay[full] - (np.array(waits)[full] - extra)).max() <= 1
    shortest = bits.argmin()
    assert down.transport_delay.iloc[shortest] == 20 * MS + bits[shortest] * 1000


def test_behind_a_frame_that_is_held_back_the_others_wait():
    hold, way = 60 * MS, 20 * MS
    capture, counters = run("rtt=40ms, reorder=2%, reorder_by=60ms, ordered=yes", "300KB")
    both = adds_up(analysis.join(capture.frames()))
    assert (both.transport_delay == way).all()
    for direction, counted in zip(("tx", "rx"), counters):
        own = both[both.direction == direction]
        assert counted["held"] > 0
        # The one held back waits for itself; those behind it for it.
        heads = own[own.queue_delay > 0]
        assert set(heads.queue_delay) == {hold} and (heads.hol_delay == 0).all()
        latest, blocked = 0, 0
        for row in own.itertuples():
            ready = row.sent_time + way
            if row.hol_delay:
                assert row.arrived_time == latest and row.hol_delay == latest - ready
                blocked += 1
            else:
                assert row.arrived_time in (ready, ready + hold)
            assert row.arrived_time >= latest
            latest = row.arrived_time
        assert blocked > 0 or direction == "tx"
    assert both.hol_delay.max() > 10 * MS


def test_held_back_behind_a_line_both_are_told_apart():
    """A burst of equal frames over a line, one of which is held back: known to the nanosecond."""
    size, rate_ns, way, hold = 1000, 8000, 5 * MS, 3 * MS
    sent = np.array([0] + [10 * MS] * 12)
    on_line = np.array([0, *range(12)]) * rate_ns * size // 1000
    own = sent + on_line + rate_ns * size // 1000 + way
    own[4] += hold
    came = np.maximum.accumulate(own)
    lengths = np.full(13, size)
    transport, queue, hol = split(sent, came, lengths)
    assert (transport == rate_ns * size // 1000 + way).all()
    # One size alone cannot tell the line's rate, so those that came out together waited for the one held back.
    assert (queue + hol == came - sent - transport).all() and (hol[:5] == 0).all() and (hol[5:] > 0).any()
    # With a second size the rate is known, and with it since when each was ready.
    lengths = np.append(lengths, 100)
    sent, came = np.append(sent, 50 * MS), np.append(came, 50 * MS + way + rate_ns // 10 * 1)
    transport, queue, hol = split(sent, came, lengths)
    ready = np.append(on_line, 0) + sent + transport
    together = np.append(False, came[1:] == came[:-1])
    assert (hol[together] == (came - ready)[together]).all() and hol.sum() > 0
    assert (queue[together] == np.append(on_line, 0)[together]).all()


def test_a_lost_frame_and_one_seen_at_one_end_have_no_delay():
    frames = record().frames()
    table = analysis.join(frames)
    lost = table[table.copies == 0]
    assert len(lost) == 2 and set(lost.cause) == {"handshake", "payload"} and lost.arrived_time.isna().all()
    assert lost.tunnel_delay.isna().all() and lost[PARTS].isna().all(axis=None)
    one_end = analysis.join(frames[frames.point == "nic"])
    assert one_end.tunnel_delay.isna().all() and (one_end[one_end.direction == "tx"].copies == 0).all()
    assert one_end[one_end.direction == "rx"].sent_time.isna().all()
    assert (one_end[one_end.direction == "rx"].copies > 0).all()
    empty = analysis.join(frames[:0])
    assert len(empty) == 0 and list(empty.columns) == list(table.columns)
    with pytest.raises(UsageError, match="lack the columns frame_id"):
        analysis.join(frames.drop(columns="frame_id"))


def test_guests_have_paths_of_their_own():
    """Two guests with paths of 5 and 50 ms in one capture: neither is the other's floor; broadcasts are told apart."""
    recorder = Recorder()
    other = "02:00:00:00:00:07"

    def frame(dst, src):
        return bytes.fromhex((dst + src).replace(":", "")) + b"\x88\xb5" + bytes(46)

    seen, number = [], 0
    for at in range(0, 300, 10):
        for guest, way in ((GUEST, 5), (other, 50)):
            for direction, ends in (("tx", (GATEWAY, guest)), ("rx", (guest, GATEWAY))):
                number += 1
                first, last = ("nic", "tunnel") if direction == "tx" else ("tunnel", "nic")
                seen.append((at, first, direction, frame(*ends), number))
                seen.append((at + way, last, direction, frame(*ends), number))
    for at, point, direction, data, identity in sorted(seen, key=lambda row: row[0]):
        recorder.add(data, point, direction, at * MS, identity)
    table = adds_up(analysis.join(recorder.frames()))
    assert (table.transport_delay == table.tunnel_delay).all()
    assert sorted(set(table.transport_delay)) == [5 * MS, 50 * MS]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 1000)), min_size=1, max_size=40))
def test_the_floor_lies_below_all_and_is_convex_and_rising(points):
    length, delay = (np.array(column, np.int64) for column in zip(*points))
    floor, base = floor_of(length, delay)
    assert (floor <= delay).all() and 0 <= base <= floor.min()
    by_length = {int(size): int(wait) for size, wait in zip(length, floor)}
    sizes = sorted(by_length)
    for a, b in zip(sizes, sizes[1:]):
        assert by_length[a] <= by_length[b]
    for a, b, c in zip(sizes, sizes[1:], sizes[2:]):  # convex but for rounding down to whole nanoseconds
        assert (by_length[b] - by_length[a]) * (c - b) <= (by_length[c] - by_length[b]) * (b - a) + 2 * (c - a)
    # As high as can be: it touches the least delay of the shortest and of the longest.
    assert by_length[sizes[-1]] == delay[length == sizes[-1]].min()
    assert by_length[sizes[0]] == delay.min() if len(sizes) == 1 else by_length[sizes[0]] >= delay.min()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_parts_add_up_whatever_the_path_did(seed):
    chance = random.Random(seed)
    number = chance.randrange(1, 60)
    sent = np.cumsum([chance.randrange(3) * 1000 for _ in range(number)])
    came = sent + np.array([chance.randrange(50) * 1000 for _ in range(number)])
    if chance.random() < 0.5:
        came = np.maximum.accumulate(came)
    length = np.array([chance.choice([60, 590, 1514]) for _ in range(number)])
    parts = split(sent, came, length)
    assert (sum(parts) == came - sent).all() and all((part >= 0).all() for part in parts)
