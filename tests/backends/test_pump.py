"""The pump: its order, its budgets, and the guest that has no room."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from aero_lab.backends import Pump, QueueBackend, RingBackend, Segment
from aero_lab.backends.pump import Counts
from aero_lab.nic.port import WRITE

from ..machine.mailbox import Mailbox

ADDRESS = 0x400


class Bench:
    """A card with memory behind it, and a guest's driver of three lines."""

    def __init__(self, backend=None, **budgets):
        self.ram = np.zeros(1 << 12, np.uint8)
        self.nic = Mailbox()
        self.nic.port.master = 1
        self.backend = backend or QueueBackend()
        self.log: list[str] = []
        self.pump = Pump(self.nic, self.backend, self.poll, **budgets)

    def poll(self, now: int) -> None:
        self.log.append("poll")
        self.nic.poll(now, self.ram)

    def write(self, offset: int, value: int) -> None:
        self.nic.access(WRITE, 0, offset, 4, value, 0, self.ram)

    def send(self, frame: bytes) -> None:
        self.ram[ADDRESS : ADDRESS + len(frame)] = np.frombuffer(frame, np.uint8)
        self.write(0, ADDRESS)
        self.write(4, len(frame))

    def arm(self) -> None:
        self.write(0, ADDRESS)
        self.write(8, 1)

    @property
    def got(self) -> bytes:
        return self.ram[ADDRESS : ADDRESS + int(self.nic.state.length)].tobytes()


class Answering(QueueBackend):
    """Answers every frame as it is sent, as a gateway does an ARP request."""

    def __init__(self, log):
        super().__init__()
        self.log = log

    def send(self, ring, most):
        self.log.append("send")
        number = super().send(ring, most)
        for frame in self.drain_tx_frames():
            self.push_rx_frame(b"answer to " + frame)
        return number

    def receive(self, ring, most, now=0):
        self.log.append("receive")
        return super().receive(ring, most, now)


def test_an_answer_reaches_the_guest_in_the_tick_of_its_request():
    bench = Bench()
    bench.backend = bench.pump.backend = Answering(bench.log)
    bench.send(b"who has 10.0.2.2?")
    bench.arm()
    assert bench.pump.tick(0) == Counts(1, 17, 1, 27) and bench.got == b"answer to who has 10.0.2.2?"
    assert bench.log == ["poll", "send", "receive", "poll"]
    assert bench.nic.port.intx


def test_budgets_each_way():
    bench = Bench(tx_budget=3, rx_budget=2)
    for number in range(5):
        bench.nic.tx.push(bytes((number,)) * 60)
        bench.backend.push_rx_frame(bytes((number,)) * 100)
    assert bench.pump.tick(0) == Counts(3, 180, 2, 200)
    assert bench.pump.tick(0) == Counts(2, 120, 0, 0), "the guest has given no buffer for those it has"
    bench.arm()
    assert bench.got == b"\0" * 100
    bench.arm()
    bench.arm()
    assert bench.pump.tick(0).rx_frames == 2 and len(bench.backend.rx) == 1


def test_frames_of_no_cards_size_take_budget_and_are_not_counted():
    bench = Bench(rx_budget=4)
    for size in (13, 14, 1522, 1523, 60):
        bench.backend.push_rx_frame(bytes(size))
    assert bench.pump.tick(0) == Counts(0, 0, 2, 14 + 1522) and len(bench.backend.rx) == 1


def test_while_the_guest_has_no_buffers_frames_stay_in_the_backend():
    bench = Bench()
    bench.nic.rx.push(b"one that waits already")
    bench.poll(0)
    for _ in range(100):
        bench.backend.push_rx_frame(bytes(60))
    assert bench.nic.port.rx_wait and bench.pump.tick(0) == Counts(0, 0, 0, 0) and len(bench.backend.rx) == 100


@pytest.mark.parametrize("kind", ["queue", "ring"])
def test_a_full_backend_drops_the_newest_unless_it_waits(kind):
    for wait in (False, True):
        backend = (
            QueueBackend(4, wait=wait) if kind == "queue" else RingBackend(Segment([(2, 256), (3, 256)]), wait=wait)
        )
        bench = Bench(backend)
        for number in range(10):
            bench.nic.tx.push(bytes((number,)) * 60)
        assert bench.pump.tick(0) == Counts(4, 240, 0, 0)
        assert len(bench.nic.tx) == (6 if wait else 0) and backend.stats["tx_dropped_full"] == (0 if wait else 6)


def test_two_runs_are_the_same():
    def run() -> list:
        bench = Bench(RingBackend(Segment([(2, 4096), (3, 4096)])), tx_budget=2, rx_budget=3)
        segment = bench.backend.segment
        from aero_lab.backends import Forwarder

        forwarder = Forwarder(segment)
        told = []
        for tick in range(30):
            bench.send(struct.pack("<I", tick) * (15 + tick))
            if tick % 3 == 0:
                bench.arm()
            forwarder.into.push(bytes((tick,)) * (60 + tick))
            told.append(bench.pump.tick(tick))
            forwarder.step(tick)
            told.append([(frame.data, frame.t_ns) for frame in forwarder.out.pop_many()])
            told.append(bench.got)
        return [*told, bench.backend.stats, forwarder.counters, bytes(segment.memory)]

    assert run() == run()
