"""The frame ring against a deque, at its edges, and between two processes."""

import mmap
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from aero_lab.errors import UsageError
from aero_lab.rings import Frame, FrameRing
from aero_lab.rings import frame_ring as kernels

from .naive import NaiveRing

numbers = st.integers(-(1 << 63), (1 << 63) - 1)
payloads = st.binary(max_size=90)


class RingsAgainstDeques(RuleBasedStateMachine):
    """Two rings, small enough to wrap and fill all the time, each beside its plain twin."""

    @initialize(slots=st.sampled_from([1, 2, 4, 8]), arena=st.sampled_from([8, 40, 64, 72, 256]))
    def build(self, slots, arena):
        self.rings = [FrameRing(slots, arena), FrameRing(4, 128)]
        self.twins = [NaiveRing(slots, arena), NaiveRing(4, 128)]

    @rule(i=st.integers(0, 1), data=payloads, rest=st.tuples(*[numbers] * 5))
    def push(self, i, data, rest):
        frame = Frame(data, *rest)
        assert self.rings[i].push(*frame) == self.twins[i].push(frame)

    @rule(i=st.integers(0, 1), most=st.integers(0, 5))
    def pop_many(self, i, most):
        expected = [frame for frame, _ in list(self.twins[i].waiting)[:most]]
        assert self.rings[i].peek_many(most) == expected
        assert self.rings[i].pop_many(most) == self.twins[i].pop_many(most)

    @rule(i=st.integers(0, 1))
    def pop(self, i):
        expected = self.twins[i].pop_many(1)
        assert self.rings[i].pop() == (expected[0] if expected else None)

    @rule(i=st.integers(0, 1), most=st.integers(0, 5))
    def move(self, i, most):
        assert self.rings[i].move_to(self.rings[1 - i], most) == self.twins[i].move_to(self.twins[1 - i], most)

    @rule(i=st.integers(0, 1))
    def clear(self, i):
        assert self.rings[i].clear() == len(self.twins[i].pop_many(1 << 30))

    @rule(i=st.integers(0, 1), size=st.integers(0, 300))
    def has_room(self, i, size):
        assert self.rings[i].has_room(size) == self.twins[i].has_room(size)

    @rule(i=st.integers(0, 1), room=st.integers(0, 60), used=st.integers(0, 60))
    def reserve_more_than_is_used(self, i, room, used):
        used = min(used, room)
        ring, twin = self.rings[i].array, self.twins[i]
        offset = kernels.reserve(ring, room)
        assert (offset >= 0) == twin.has_room(room)
        if offset < 0:
            twin.refused += 1
            twin.refused_bytes += room
            return
        ring[offset : offset + used] = 7
        kernels.commit(ring, offset, used, 1, 2, 3, 4, 5)
        skip = twin._skip(room)
        rounded = -(-used // 8) * 8
        twin.waiting.append((Frame(b"\7" * used, 1, 2, 3, 4, 5), skip + rounded))
        twin.place = ((0 if skip else twin.place) + rounded) % twin.arena
        twin.given += 1
        twin.given_bytes += used

    @invariant()
    def same_totals(self):
        for ring, twin in zip(getattr(self, "rings", ()), getattr(self, "twins", ()), strict=True):
            assert len(ring) == len(twin.waiting)
            assert (ring.given, ring.given_bytes) == (twin.given, twin.given_bytes)
            assert (ring.refused, ring.refused_bytes) == (twin.refused, twin.refused_bytes)
            assert ring.used_bytes == sum(kept for _, kept in twin.waiting)


TestRingsAgainstDeques = RingsAgainstDeques.TestCase
TestRingsAgainstDeques.settings = settings(max_examples=60)


def test_an_empty_ring_takes_any_frame_its_arena_can_hold():
    ring = FrameRing(4, 2048)
    for i in range(50):
        assert ring.push(bytes([i]) * 1500)
        assert not ring.push(b"more" * 300)
        assert ring.pop().data == bytes([i]) * 1500
    assert not ring.push(bytes(2049)) and ring.push(bytes(2048))


def test_a_full_ring_refuses_and_keeps_what_it_has():
    ring = FrameRing(4, 1 << 12)
    for i in range(4):
        assert ring.push(b"x%d" % i)
    before = ring.peek_many()
    assert not ring.push(b"y") and not ring.has_room(0)
    assert ring.peek_many() == before and (ring.refused, ring.refused_bytes) == (1, 1)


def test_frames_taken_out_are_copies():
    ring = FrameRing(2, 64)
    ring.push(b"first")
    taken = ring.pop()
    for _ in range(4):
        ring.push(b"other")
        ring.pop()
    assert taken.data == b"first"


@pytest.mark.parametrize(("slots", "arena"), [(0, 64), (3, 64), (-4, 64), (4, 0), (4, 12), (4, -8)])
def test_wrong_dimensions_are_refused(slots, arena):
    with pytest.raises(UsageError):
        FrameRing(slots, arena)


def test_attach_believes_only_a_ring():
    good = bytearray(FrameRing.size_for(4, 64))
    FrameRing(4, 64, good)
    assert FrameRing.attach(good).arena == 64
    with pytest.raises(UsageError, match="no frame ring"):
        FrameRing.attach(bytearray(1024))
    with pytest.raises(UsageError, match="no frame ring"):
        FrameRing.attach(bytearray(8))
    with pytest.raises(UsageError, match="does not lie"):
        FrameRing.attach(bytes(good[:-8]))


def test_arrays_are_one_piece_of_memory():
    memory = bytearray(FrameRing.size_for(4, 64))
    ring = FrameRing(4, 64, memory)
    ring.push(b"payload")
    assert b"payload" in memory
    assert np.shares_memory(ring.array, np.frombuffer(memory, np.uint8))


CHILD = """
import mmap, sys, time
from aero_lab.rings import FrameRing
with open(sys.argv[1], "r+b") as file:
    ring = FrameRing.attach(mmap.mmap(file.fileno(), 0))
sent = 0
while sent < int(sys.argv[2]):
    if ring.has_room(sent % 700):
        assert ring.push(bytes([sent & 255]) * (sent % 700), sent, sent + 1, -1, 3, 4)
        sent += 1
    else:
        time.sleep(0)
"""


def test_one_ring_between_two_processes(tmp_path):
    total = 1000
    path = tmp_path / "ring"
    path.write_bytes(bytes(FrameRing.size_for(8, 4096)))
    with path.open("r+b") as file:
        memory = mmap.mmap(file.fileno(), 0)
    ring = FrameRing(8, 4096, memory)
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path), str(total)])
    seen = 0
    while seen < total and (child.poll() is None or len(ring)):
        for frame in ring.pop_many(8):
            assert frame == Frame(bytes([seen & 255]) * (seen % 700), seen, seen + 1, -1, 3, 4)
            seen += 1
        time.sleep(0)
    assert child.wait() == 0 and seen == total
    assert ring.refused == 0 and ring.given == total
