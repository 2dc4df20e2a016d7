"""Frames between a descriptor and a ring: the kernels against a plain list. A pair of sockets stands for the TAP."""

import errno
import random
import socket
import sys
from contextlib import contextmanager

import pytest

from aero_lab.guests.tap.frames import ERROR_SHIFT, read_frames, write_frames
from aero_lab.rings import FrameRing

if not sys.platform.startswith("linux"):
    pytest.skip("needs Linux", allow_module_level=True)


@contextmanager
def ends():
    """Two ends of a connection that keeps the bounds of what is written, and never blocks."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one.setblocking(False)
    other.setblocking(False)
    yield one, other
    one.close()
    other.close()


@pytest.mark.parametrize("seed", range(5))
def test_reading_is_its_twin(seed):
    """Frames come in order, numbered by twos, until the ring is full or the descriptor is empty."""
    with ends() as (near, far):
        rng = random.Random(seed)
        ring = FrameRing(8, 4096)
        waiting: list[bytes] = []
        expected: list[tuple[bytes, int, int]] = []
        identity = 2
        for now in range(40):
            for _ in range(rng.randint(0, 3)):
                frame = rng.randbytes(rng.randint(1, 300))
                waiting.append(frame)
                far.send(frame)
            most = rng.randint(0, 5)
            told = read_frames(near.fileno(), ring.array, 512, most, now, identity)
            taken = 0
            while taken < most and waiting and len(expected) < 8:
                expected.append((waiting.pop(0), now, identity + 2 * taken))
                taken += 1
            empty = taken < most and len(expected) < 8
            assert told == taken | (errno.EAGAIN if empty else 0) << ERROR_SHIFT
            identity += 2 * taken
            assert [(r.data, r.t_ns, r.frame_id) for r in ring.peek_many(8)] == expected
            gone = rng.randint(0, len(expected))
            ring.pop_many(gone)
            expected = expected[gone:]


@pytest.mark.parametrize("seed", range(5))
def test_writing_is_its_twin(seed):
    """Frames leave in order; what is refused stays and is told."""
    with ends() as (near, far):
        rng = random.Random(seed)
        ring = FrameRing(8, 4096)
        waiting: list[bytes] = []
        for _ in range(40):
            frame = rng.randbytes(rng.randint(1, 300))
            if ring.push(frame):
                waiting.append(frame)
            most = rng.randint(0, 3)
            told = write_frames(near.fileno(), ring.array, most)
            expected, waiting = waiting[:most], waiting[most:]
            assert told == len(expected)
            assert [far.recv(1000) for _ in expected] == expected
            assert [r.data for r in ring.peek_many(8)] == waiting
        for frame in (b"one", b"two"):
            ring.push(frame)
        held = len(ring)
        far.close()
        assert write_frames(near.fileno(), ring.array, 8) == errno.EPIPE << ERROR_SHIFT and len(ring) == held
