"""Rings of records against their layout, written down by hand and by a plain twin; and against damage."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.backends.aipc import HEADER, pop_frames, push_frames, queue_frames
from aero_lab.backends.backend import Tally
from aero_lab.backends.limits import SKIPPED_MOST
from aero_lab.backends.ring import RingEnd
from aero_lab.backends.segment import NET_TX, Segment
from aero_lab.rings import FrameRing

from .naive import NaiveRing

CAPACITY = 256


def ring_at(start: int, capacity: int = CAPACITY) -> Segment:
    """A segment with one ring, whose cursors have come to ``start``."""
    segment = Segment([(NET_TX, capacity)])
    struct.pack_into("<3I", segment.memory, segment.queue(NET_TX).offset, start, start, start)
    return segment


def ends(segment: Segment, most: int = 2048) -> tuple[RingEnd, RingEnd]:
    return (
        RingEnd(segment, NET_TX, Tally("tx", "pushed"), most), RingEnd(segment, NET_TX, Tally("rx", "popped"), most),
    )  # fmt: skip


def words(segment: Segment) -> bytes:
    """The ring's header and data."""
    offset = segment.queue(NET_TX).offset
    return bytes(segment.memory[offset:])


def test_records_lie_as_written_down():
    segment = ring_at(0, 64)
    writer, reader = ends(segment)
    assert writer.push_one(b"hello") and writer.push_one(b"") and writer.push_one(b"12345678")
    assert words(segment)[: HEADER + 28] == bytes.fromhex(
        "00000000 1c000000 1c000000 40000000"  # head, tail_reserve, tail_commit, capacity
        "05000000 68656c6c 6f000000"  # five bytes, three of padding
        "00000000"  # a record of nothing
        "08000000 31323334 35363738"
    )
    assert [reader.pop_one() for _ in range(4)] == [b"hello", b"", b"12345678", None]
    assert segment.cursors(NET_TX) == (28, 28, 28)
    assert writer.push_one(b"x" * 30) and writer.push_one(b"y" * 20)
    assert segment.cursors(NET_TX) == (28, 64 + 24, 64 + 24), "the second begins where the ring does"
    assert words(segment)[HEADER : HEADER + 24] == b"\x14\0\0\0" + b"y" * 20
    assert reader.pop_one() == b"x" * 30 and reader.pop_one() == b"y" * 20 and reader.pop_one() is None


def test_the_rest_before_the_end_is_marked():
    segment = ring_at(40, 64)
    writer, reader = ends(segment)
    assert writer.push_one(b"z" * 24)
    assert words(segment)[HEADER + 40 : HEADER + 44] == b"\xff\xff\xff\xff"
    assert segment.cursors(NET_TX) == (40, 64 + 28, 64 + 28) and reader.pop_one() == b"z" * 24
    # Fewer than four bytes before the end cannot come about by whole records; somebody else's cursor may stand there.
    segment = ring_at(62, 64)
    writer, reader = ends(segment)
    assert writer.push_one(b"w" * 8) and reader.pop_one() == b"w" * 8 and segment.cursors(NET_TX)[0] == 64 + 12


STEPS = st.lists(
    st.one_of(st.integers(0, 300).map(lambda size: ("push", size)), st.integers(1, 4).map(lambda n: ("pop", n))),
    max_size=80,
)


@settings(max_examples=60)
@given(steps=STEPS, start=st.sampled_from([0, 4, 252, (1 << 32) - 64, (1 << 32) - 4]))
def test_any_sequence_is_the_plain_twins_byte_for_byte(steps, start):
    segment = ring_at(start)
    twin = NaiveRing(CAPACITY, start)
    writer, reader = ends(segment)
    for number, (what, value) in enumerate(steps):
        if what == "push":
            payload = bytes((number + i) & 0xFF for i in range(value))
            full, oversize = writer.tally["full"], writer.tally["oversize"]
            done = writer.push_one(payload)
            expected = twin.push(payload)
            assert done == bool(expected)
            assert writer.tally["full"] - full == (expected is False)
            assert writer.tally["oversize"] - oversize == (expected is None)
        else:
            for _ in range(value):
                assert reader.pop_one() == twin.pop()
        assert segment.cursors(NET_TX) == (twin.head, twin.tail, twin.tail)
        assert words(segment)[HEADER:] == twin.data
    assert reader.tally["corrupt"] == 0


@settings(max_examples=60)
@given(
    before=st.lists(st.integers(0, 60), max_size=4),
    damage=st.lists(st.tuples(st.integers(0, CAPACITY - 1), st.integers(0, 255)), min_size=1, max_size=30),
    start=st.sampled_from([0, 200, (1 << 32) - 40]),
)
def test_damage_is_skipped_and_counted_and_the_ring_goes_on(before, damage, start):
    segment = ring_at(start)
    twin = NaiveRing(CAPACITY, start)
    writer, reader = ends(segment)
    for size in before:
        assert writer.push_one(bytes(size)) == bool(twin.push(bytes(size)))
    for at, value in damage:
        segment.array[segment.queue(NET_TX).offset + HEADER + at] = value
        twin.data[at] = value
    for _ in range(200):
        got = reader.pop_one()
        assert got == twin.pop()
        if got is None:
            break
    assert (reader.tally["corrupt"], reader.tally["corrupt_bytes"]) == (twin.corrupt, twin.corrupt_bytes)
    assert not reader.waiting and writer.push_one(b"afterwards") and reader.pop_one() == b"afterwards"


@pytest.mark.parametrize("length", [61, 100, CAPACITY, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFC, 0xFFFFFFFE, 0xFFFFFFFF])
def test_a_length_beyond_what_was_committed(length):
    segment = ring_at(0)
    writer, reader = ends(segment)
    for payload in (b"a" * 28, b"b" * 28):
        assert writer.push_one(payload)
    struct.pack_into("<I", segment.memory, segment.queue(NET_TX).offset + HEADER, length)
    assert reader.pop_one() is None and (reader.tally["corrupt"], reader.tally["corrupt_bytes"]) == (1, 64)
    assert writer.push_one(b"on") and reader.pop_one() == b"on" and reader.tally["corrupt"] == 1


@pytest.mark.parametrize("cursors", [(0, 0, 1000), (8, 0, 0), (0, 0, 0x80000000), (300, 4, 300 - 4), (1, 64, 64)])
def test_cursors_that_cannot_be(cursors):
    """Whoever shares the memory may write anything: nothing outside is touched, and it comes to an end."""
    segment = ring_at(0)
    writer, reader = ends(segment)
    struct.pack_into("<3I", segment.memory, segment.queue(NET_TX).offset, *cursors)
    for _ in range(CAPACITY):
        if reader.pop_one() is None:
            break
    assert not reader.waiting
    writer.push_one(b"q" * 100)
    assert len(reader.pop_one() or b"") <= CAPACITY


def test_a_producer_that_died_between_reserving_and_committing_hangs_nobody():
    segment = ring_at(0)
    writer, reader = ends(segment)
    struct.pack_into("<I", segment.memory, segment.queue(NET_TX).offset + 4, 32)  # somebody reserved, and is gone
    import aero_lab.backends.aipc as aipc

    bounds = aipc.YIELDS, aipc.SPINS
    aipc.YIELDS, aipc.SPINS = 2, 10  # of the plain twin; the compiled one has its own
    try:
        assert not writer.push_one(b"behind") and writer.tally["stalled"] == 1
    finally:
        aipc.YIELDS, aipc.SPINS = bounds
    assert reader.pop_one() is None and segment.cursors(NET_TX) == (0, 32 + 12, 0)


def test_batches_stop_where_the_target_is_full_and_lose_nothing():
    segment = ring_at(0, 4096)
    offset, tally = segment.queue(NET_TX).offset, Tally("tx", "pushed")
    source, target = FrameRing(64, 1 << 16), FrameRing(8, 1 << 16)
    for number in range(40):
        source.push(bytes((number,)) * (60 + number), t_ns=number, frame_id=number)
    assert push_frames(source.array, segment.array, offset, 4096, tally.records, 30, 2048, 1) == 30
    assert len(source) == 10 and tally["frames"] == 30
    got = []
    for now in range(10):
        pop_frames(segment.array, offset, 4096, tally.records, target.array, 100, 2048, now, 0)
        got += [(frame.data, frame.t_ns) for frame in target.pop_many(8)]
    assert [data for data, _ in got] == [bytes((number,)) * (60 + number) for number in range(30)]
    assert [now for _, now in got] == [number // 8 for number in range(30)]


def test_a_full_ring_drops_the_newest_or_waits():
    for wait in (0, 1):
        segment = ring_at(0)
        tally = Tally("tx", "pushed")
        source = FrameRing(64, 1 << 16)
        for number in range(10):
            source.push(bytes((number,)) * 60)
        source.push(b"long" * 100)
        taken = push_frames(
            source.array, segment.array, segment.queue(NET_TX).offset, CAPACITY, tally.records, 100, 2048, wait
        )
        assert tally["frames"] == 4 and tally["bytes"] == 240
        assert (taken, len(source), tally["full"], tally["oversize"]) == ((4, 7, 0, 0) if wait else (11, 0, 6, 1))
        assert (tally["full_bytes"], tally["oversize_bytes"]) == ((0, 0) if wait else (360, 400))


def test_records_too_long_for_a_frame_are_skipped_so_many_a_poll():
    segment = ring_at(0, 1 << 16)
    writer, _ = ends(segment, 4096)
    _, reader = ends(segment, 100)
    for _ in range(SKIPPED_MOST + 6):
        assert writer.push_one(bytes(101))
    assert writer.push_one(b"short")
    assert reader.pop_one() is None and reader.tally["oversize"] == SKIPPED_MOST
    assert reader.pop_one() == b"short" and reader.tally["oversize"] == SKIPPED_MOST + 6
    assert reader.tally["oversize_bytes"] == 101 * (SKIPPED_MOST + 6)


@given(
    sizes=st.lists(st.integers(0, 120), max_size=30), room=st.sampled_from([1, 4, 16]),
    most=st.integers(0, 40), wait=st.booleans(),
)  # fmt: skip
def test_frames_from_queue_to_queue(sizes, room, most, wait):
    source, target = FrameRing(32, 1 << 14), FrameRing(room, 1 << 14)
    tally = Tally("tx", "enqueued")
    for number, size in enumerate(sizes):
        source.push(bytes((number,)) * size, t_ns=number, frame_id=number + 1, flow=3, cause=4, flags=5)
    before = source.peek_many(100)
    taken = queue_frames(source.array, target.array, tally.records, most, 100, int(wait))
    kept, full, oversize = [], [], []
    for frame in before[:most]:
        if len(frame.data) > 100:
            oversize.append(frame)
        elif len(kept) < room:
            kept.append(frame)
        elif wait:
            break
        else:
            full.append(frame)
    assert target.peek_many(100) == kept and source.peek_many(100) == before[taken:]
    assert taken == len(kept) + len(full) + len(oversize)
    for name, frames in (("frames", kept), ("full", full), ("oversize", oversize)):
        size = "bytes" if name == "frames" else f"{name}_bytes"
        assert (tally[name], tally[size]) == (len(frames), sum(len(frame.data) for frame in frames))
