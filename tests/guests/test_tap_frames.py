"""The tap guest's network card without a TAP: a socket pair gives and takes whole frames as well."""

from __future__ import annotations

import socket
import sys

import pytest

from aero_lab.guests.tap.nic import TapNic
from aero_lab.rings import FrameRing

if not sys.platform.startswith("linux"):
    pytest.skip("needs Linux", allow_module_level=True)

from aero_lab.guests.tap import frames


def pair():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


def test_kernels_move_whole_frames_and_stop_where_they_must():
    ours, theirs = pair()
    with ours, theirs:
        ring = FrameRing(4, 1 << 12)
        sent = [bytes([n]) * (60 + n) for n in range(6)]
        for frame in sent:
            theirs.send(frame)
        outcome = frames.read_frames(ours.fileno(), ring.array, 200, 3, 77, 9)
        assert (outcome & 0xFFFFFFFF, outcome >> 32) == (3, 0), "no more than asked for"
        outcome = frames.read_frames(ours.fileno(), ring.array, 200, 64, 78, 15)
        assert (outcome & 0xFFFFFFFF, outcome >> 32) == (1, 0), "a full ring"
        got = ring.pop_many()
        assert [(f.data, f.t_ns, f.frame_id) for f in got] == [
            (sent[n], 77 if n < 3 else 78, 9 + 2 * n) for n in range(4)
        ]
        outcome = frames.read_frames(ours.fileno(), ring.array, 200, 64, 79, 17)
        assert (outcome & 0xFFFFFFFF, outcome >> 32) == (2, frames.EAGAIN)
        outcome = frames.write_frames(ours.fileno(), ring.array, 1)
        assert (outcome & 0xFFFFFFFF, outcome >> 32) == (1, 0) and len(ring) == 1
        assert theirs.recv(999) == sent[4]
        theirs.close()
        outcome = frames.write_frames(ours.fileno(), ring.array, 64)
        assert outcome & 0xFFFFFFFF == 0 and outcome >> 32 == 32, "EPIPE, and the frame stays"
        assert len(ring) == 1


class Loop:
    def __init__(self):
        self.readers = set()

    def add_reader(self, fd, function):
        self.readers.add(fd)

    def remove_reader(self, fd):
        self.readers.discard(fd)

    def is_closed(self):
        return False


class Driver:
    def __init__(self):
        self.loop = Loop()

    def wake(self):
        pass


def test_a_full_ring_stops_the_watching_not_the_frames():
    ours, theirs = pair()
    with ours, theirs:
        nic, driver = TapNic(ours.fileno(), 1500), Driver()
        nic.step(0)
        assert nic.poll_at(0) > 10**18, "not plugged in yet"
        nic.attach(driver)
        assert nic.poll_at(5) == 5 and driver.loop.readers == {ours.fileno()}
        number = 0
        while len(nic.nic_tx) < nic.nic_tx.slots:
            for _ in range(100):
                theirs.send(number.to_bytes(4, "big") * 20)
                number += 1
            for _ in range(4):
                nic.step(1)
        assert driver.loop.readers == set() and nic.poll_at(7) > 10**18
        seen = [int.from_bytes(f.data[:4], "big") for f in nic.nic_tx.pop_many(2000)]
        assert nic.poll_at(8) == 8
        while len(seen) < number:
            nic.step(9)
            seen += [int.from_bytes(f.data[:4], "big") for f in nic.nic_tx.pop_many(2000)]
        assert seen == list(range(number)) and driver.loop.readers == {ours.fileno()}
        nic.close()
        nic.close()
        assert driver.loop.readers == set()
