"""Machine and forwarder in different processes: the same rings in shared memory, producers beside each other."""

from __future__ import annotations

import subprocess
import sys
import time
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import pytest

from aero_lab.backends import RingBackend, Segment
from aero_lab.backends.backend import Tally
from aero_lab.backends.ring import RingEnd
from aero_lab.backends.segment import NET_TX
from aero_lab.compiled.registry import PLAIN

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
QUEUES = [(2, 1 << 13), (3, 1 << 13)]

OPEN = """
import sys, time
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from aero_lab.backends import Forwarder, RingBackend, Segment
memory = SharedMemory(sys.argv[1])
resource_tracker.unregister(memory._name, "shared_memory")  # the parent's to unlink
"""
ECHO = (
    OPEN
    + """
forwarder = Forwarder(Segment.attach(memory.buf), wait=True)
print("ready", flush=True)
end = time.monotonic() + 60
count = int(sys.argv[2])
while forwarder.counters["rxFrames"] < count and time.monotonic() < end:
    if forwarder.poll_at(0) == 0:
        forwarder.step(0)
    else:
        time.sleep(0.0002)
    forwarder.out.move_to(forwarder.into)
print(forwarder.counters["txFrames"], forwarder.counters["rxFrames"], flush=True)
del forwarder
"""
)
PRODUCE = (
    OPEN
    + """
backend = RingBackend(Segment.attach(memory.buf))
me, count = int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
end = time.monotonic() + 60
for number in range(count):
    frame = bytes((me,)) + number.to_bytes(4, "little") + bytes((me ^ number & 0xFF,)) * (number % 200)
    while not backend.transmit(frame) and time.monotonic() < end:
        time.sleep(0)
print(backend.stats["tx_pushed_frames"], backend.stats["tx_stalled"], flush=True)
del backend
"""
)


def child(program: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.fixture
def memory():
    shared = SharedMemory(create=True, size=Segment.size_for(QUEUES))
    yield shared
    try:
        shared.close()
    finally:
        shared.unlink()


def ended(process: subprocess.Popen) -> list[int]:
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return [int(word) for word in out.split()]


def test_a_forwarder_in_another_process_sends_everything_back(memory):
    count = 400 if PLAIN else 3000
    backend = RingBackend(Segment(QUEUES, memory.buf))
    process = child(ECHO, memory.name, count)
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        sent = got = 0
        end = time.monotonic() + PATIENCE
        while got < count:
            assert time.monotonic() < end and process.poll() in (None, 0), (sent, got)
            idle = True
            if sent < count and backend.transmit(sent.to_bytes(4, "little") * (15 + sent % 300)):
                sent += 1
                idle = False
            while (frame := backend.poll_receive()) is not None:
                assert frame == got.to_bytes(4, "little") * (15 + got % 300)
                got += 1
                idle = False
            if idle:
                time.sleep(0.0002)
        assert ended(process) == [count, count]
        assert backend.stats["rx_corrupt"] == backend.stats["tx_stalled"] == 0
        assert backend.stats["tx_pushed_bytes"] > 10 * 8192, "the rings have gone round"
    finally:
        process.kill()
        process.wait()
        del backend


def test_producers_in_several_processes_share_a_ring(memory):
    count = 20 if PLAIN else 1000
    segment = Segment(QUEUES, memory.buf)
    reader = RingEnd(segment, NET_TX, Tally("tx", "popped"), 2048)
    processes = [child(PRODUCE, memory.name, me, count) for me in range(1, 4)]
    try:
        for process in processes:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        seen = {me: 0 for me in range(1, 4)}
        end = time.monotonic() + PATIENCE
        while sum(seen.values()) < 3 * count:
            assert time.monotonic() < end, seen
            frame = reader.pop_one()
            if frame is None:
                time.sleep(0.0001)
                continue
            me, number = frame[0], int.from_bytes(frame[1:5], "little")
            assert number == seen[me] and frame[5:] == bytes((me ^ number & 0xFF,)) * (number % 200)
            seen[me] += 1
        for process in processes:
            assert ended(process) == [count, 0]
        head, reserve, commit = segment.cursors(NET_TX)
        assert head == reserve == commit and reader.tally["corrupt"] == 0
    finally:
        for process in processes:
            process.kill()
            process.wait()
        del reader, segment
