"""QEMU's stream of frames: the kernels against plain lists, and the network card between a socket and its rings."""

import random
import socket

import numpy as np
import pytest

from aero_lab.bounds import QEMU_STREAM
from aero_lab.guests.qemu.frames import BROKEN, FIELD, STREAM_MOST, give_frames, take_frames
from aero_lab.guests.qemu.nic import StreamNic
from aero_lab.limits import NEVER
from aero_lab.rings import FrameRing

MASK = (1 << FIELD) - 1


def packed(frame: bytes) -> bytes:
    return len(frame).to_bytes(4, "big") + frame


@pytest.mark.parametrize("seed", range(5))
def test_taking_is_its_twin(seed):
    """Whole frames of a possible size, in order, numbered by twos, until the ring is full or the rest is not whole."""
    rng = random.Random(seed)
    ring = FrameRing(8, 4096)
    stream, held, identity = b"", [], 2
    for now in range(60):
        for _ in range(rng.randint(0, 3)):
            stream += packed(rng.randbytes(rng.choice([0, 5, 13, 14, 60, 300, 512, 513, 900])))
        end = rng.randint(0, len(stream))
        begin = rng.randint(0, 3)
        array = np.frombuffer(bytearray(rng.randbytes(begin) + stream), np.uint8)
        told = take_frames(array, begin, begin + end, ring.array, 512, now, identity)
        used = taken = skipped = 0
        while end - used >= 4:
            size = int.from_bytes(stream[used : used + 4], "big")
            if end - used - 4 < size:
                break
            if not 14 <= size <= 512:
                skipped += 1
            elif len(held) == 8 or not room(held, size):
                break
            else:
                held.append((stream[used + 4 : used + 4 + size], now, identity + 2 * taken))
                taken += 1
            used += 4 + size
        assert (told & MASK, told >> FIELD & MASK, told >> 2 * FIELD) == (used, taken, skipped)
        stream, identity = stream[used:], identity + 2 * taken
        assert [(f.data, f.t_ns, f.frame_id) for f in ring.peek_many(8)] == held
        gone = rng.randint(0, len(held))
        ring.pop_many(gone)
        held = held[gone:]


def room(held: list, size: int) -> bool:
    """Eight frames of 512 bytes fill the arena exactly, so there is always room below eight."""
    return len(held) < 8


@pytest.mark.parametrize("seed", range(5))
def test_giving_is_its_twin(seed):
    rng = random.Random(seed)
    ring = FrameRing(64, 64 << 10)
    waiting: list[bytes] = []
    for _ in range(40):
        for _ in range(rng.randint(0, 6)):
            frame = rng.randbytes(rng.randint(1, 600))
            assert ring.push(frame)
            waiting.append(frame)
        target = np.zeros(rng.choice([3, 100, 700, 2000]), np.uint8)
        size = give_frames(ring.array, target)
        expected = b""
        while waiting and len(expected) + 4 + len(waiting[0]) <= len(target):
            expected += packed(waiting.pop(0))
        assert target[:size].tobytes() == expected
        assert [f.data for f in ring.peek_many(64)] == waiting
        if len(waiting) > 40:
            ring.clear()
            waiting.clear()


def test_a_length_that_none_can_be_is_told():
    ring = FrameRing(8, 4096)
    for size, told in ((STREAM_MOST, 0), (STREAM_MOST + 1, BROKEN), (0xFFFFFFFF, BROKEN)):
        stream = np.frombuffer(bytearray(size.to_bytes(4, "big") + bytes(100)), np.uint8)
        assert take_frames(stream, 0, len(stream), ring.array, 1518, 0, 2) == told
    assert len(ring) == 0


class Loop:
    """What a card needs of a driver and its loop."""

    def __init__(self) -> None:
        self.loop, self.reading, self.writing = self, False, False

    def wake(self) -> None: ...
    def is_closed(self) -> bool:
        return False

    def add_reader(self, fd: int, wake: object) -> None:
        self.reading = True

    def remove_reader(self, fd: int) -> None:
        self.reading = False

    def add_writer(self, fd: int, wake: object) -> None:
        self.writing = True

    def remove_writer(self, fd: int) -> None:
        self.writing = False


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    nic, loop = StreamNic(ours), Loop()
    nic.attach(loop)
    yield nic, theirs, loop
    nic.close()
    theirs.close()


def test_frames_pass_both_ways_and_sizes_that_are_none_are_counted(ends):
    nic, theirs, _ = ends
    frames = [bytes([n]) * (60 + n) for n in range(50)]
    theirs.sendall(b"".join(map(packed, frames)) + packed(b"short") + packed(bytes(2000)))
    nic.step(7)
    assert [f.data for f in nic.nic_tx.pop_many(100)] == frames
    assert nic.counters["tx_bad_size"] == 2 and nic.counters["tx_frames"] == 50
    for frame in frames:
        nic.nic_rx.push(frame)
    assert nic.poll_at(8) == 8
    nic.step(8)
    assert theirs.recv(1 << 16) == b"".join(map(packed, frames)) and nic.poll_at(9) == NEVER


def test_a_frame_in_pieces_comes_whole(ends):
    nic, theirs, _ = ends
    data = packed(bytes(range(200))) + packed(b"x" * 100)
    for at in range(0, len(data), 7):
        theirs.sendall(data[at : at + 7])
        nic.step(at)
    assert [f.data for f in nic.nic_tx.pop_many(10)] == [bytes(range(200)), b"x" * 100]


def test_without_room_the_socket_is_left_alone_and_nothing_is_lost(ends):
    nic, theirs, loop = ends
    frames = [number.to_bytes(4, "big") + bytes(1496) for number in range(4000)]
    theirs.setblocking(False)
    data, got = b"".join(map(packed, frames)), []
    for _ in range(10_000):
        try:
            data = data[theirs.send(data[: QEMU_STREAM // 2]) :] if data else data
        except BlockingIOError:
            while nic.poll_at(0) == 0:
                nic.step(0)
            if not loop.reading:  # the ring is full, and says so
                assert nic.poll_at(0) == NEVER
                got += nic.nic_tx.pop_many(600)
                assert nic.poll_at(0) == 0
        nic.step(0)
        got += nic.nic_tx.pop_many(1)
        if not data and len(got) + len(nic.nic_tx) == len(frames):
            break
    got += nic.nic_tx.pop_many(4000)
    assert [f.data for f in got] == frames and nic.counters.get("tx_bad_size") is None


def test_while_qemu_takes_nothing_frames_wait(ends):
    nic, theirs, loop = ends
    frames = [number.to_bytes(4, "big") + bytes(1496) for number in range(900)]
    for frame in frames:
        assert nic.nic_rx.push(frame)
    nic.step(0)
    assert loop.writing and len(nic.nic_rx) and nic.poll_at(0) == NEVER
    theirs.setblocking(False)
    got = b""
    for _ in range(10_000):
        try:
            got += theirs.recv(1 << 16)
        except BlockingIOError:
            nic.step(0)
            if not loop.writing:
                break
    got += theirs.recv(1 << 20) if len(got) < 900 * 1504 else b""
    assert got == b"".join(map(packed, frames))


@pytest.mark.parametrize("what", ["closed", "nonsense"])
def test_an_end_or_nonsense_closes_the_card_and_no_more(ends, what):
    nic, theirs, loop = ends
    if what == "closed":
        theirs.close()
    else:
        theirs.sendall(b"\xff" * 100)
    nic.step(0)
    assert nic.counters["closed"] == 1 and not loop.reading and nic.poll_at(0) == NEVER
    nic.nic_rx.push(bytes(60))
    nic.step(1)
