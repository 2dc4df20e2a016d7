"""The transport without a network: order, back-pressure, waking, closing; in one process and in two."""

import gc
import os
import select
import subprocess
import sys

import pytest

from aero_lab.errors import UsageError
from aero_lab.rings import FrameRing
from aero_lab.transports.memory import SharedMemoryTransport, memory_pair


def ring_of(*messages):
    ring = FrameRing(1024, 1 << 20)
    for i, message in enumerate(messages):
        assert ring.push(message, i, i + 1, i + 2, 3, 4)
    return ring


def readable(end, seconds=0.0):
    return bool(select.select([end.wake_fd], [], [], seconds)[0])


def test_messages_arrive_in_order_with_all_they_carry():
    a, b = memory_pair(8, 1 << 10)
    assert a.send(ring_of(b"one", b"two", b""), 0) == 3
    assert b.send(ring_of(b"back"), 0) == 1
    assert [tuple(m) for m in b.received.pop_many()] == [
        (b"one", 0, 1, 2, 3, 4),
        (b"two", 1, 2, 3, 3, 4),
        (b"", 2, 3, 4, 3, 4),
    ]
    assert a.received.pop().data == b"back"
    assert a.counters == {"messages_sent": 3, "bytes_sent": 6, "messages_received": 1, "bytes_received": 4, "stalls": 0}
    assert b.counters["messages_received"] == 3


def test_a_full_transport_takes_less_and_says_when_there_is_room():
    a, b = memory_pair(4, 1 << 10, wake=True)
    waiting = ring_of(*[b"m%d" % i for i in range(6)])
    assert a.send(waiting, 0) == 4 and len(waiting) == 2 and a.stalled
    assert a.send(waiting, 0) == 0 and a.counters["stalls"] == 1
    b.received.pop()
    assert not readable(a)
    b.taken()
    assert readable(a) and not a.stalled
    a.clear_wake()
    assert a.send(waiting, 0) == 1 and a.stalled
    b.received.pop_many()
    b.taken()
    assert a.send(waiting, 0) == 1 and not a.stalled and not len(waiting)
    b.received.pop_many()
    a.clear_wake()
    b.taken()
    assert not readable(a), "nobody waits for room any more"
    a.close(), b.close()


def test_a_wake_up_is_one_however_many_messages_came():
    a, b = memory_pair(wake=True)
    assert not readable(b)
    for _ in range(3):
        a.send(ring_of(b"x", b"y"), 0)
    assert readable(b) and not readable(a)
    b.clear_wake()
    assert not readable(b)
    a.send(FrameRing(2, 64), 0)
    assert not readable(b), "nothing was sent"
    a.kick()
    assert readable(b)
    a.close(), b.close()


def test_more_wake_ups_than_a_socket_holds_are_harmless():
    a, b = memory_pair(wake=True)
    for _ in range(20_000):
        a.kick()
    b.clear_wake()
    assert not readable(b) and not b.peer_closed
    a.close(), b.close()


def test_without_descriptors_nothing_is_opened():
    a, b = memory_pair()
    assert a.wake_fd == b.wake_fd == -1
    a.kick(), a.clear_wake(), a.close(), a.close()
    assert b.peer_closed


def test_close_is_seen_and_what_arrived_stays_good():
    a, b = memory_pair(wake=True)
    a.send(ring_of(b"last"), 0)
    descriptors = (a.wake_fd, b.wake_fd)
    with a:
        pass
    a.close()
    b.clear_wake()
    assert b.peer_closed and b.received.pop().data == b"last"
    waiting = ring_of(b"too late")
    assert b.send(waiting, 0) == 0 and len(waiting) == 1
    assert a.send(waiting, 0) == 0
    b.taken()
    b.close()
    for fd in descriptors:
        with pytest.raises(OSError):
            os.fstat(fd)


ECHO = """
import select, sys
from aero_lab.transports.memory import SharedMemoryTransport
with SharedMemoryTransport.attach(sys.argv[1]) as end:
    while not end.peer_closed:
        select.select([end.wake_fd], [], [], 10)
        end.clear_wake()
        end.send(end.received, 0)
        end.taken()
"""


def start(code, *arguments, **options):
    end, ticket = SharedMemoryTransport.create(**options)
    child = subprocess.Popen([sys.executable, "-c", code, ticket.text, *arguments], pass_fds=ticket.fds)
    ticket.close()
    ticket.close()
    return end, child


def test_two_processes():
    gc.collect()  # what other tests left lying about must not go in between
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    end, child = start(ECHO, slots=16, arena=1 << 14)
    sent = [bytes([i & 255]) * (i % 3000) for i in range(1500)]
    waiting, seen = FrameRing(1024, 1 << 20), []
    todo = list(enumerate(sent))
    while len(seen) < len(sent):
        while todo and waiting.has_room(len(todo[0][1])):
            i, message = todo.pop(0)
            waiting.push(message, i)
        end.send(waiting, 0)
        assert readable(end, 20), f"stuck after {len(seen)} messages: {end!r} {end.counters}"
        end.clear_wake()
        for message in end.received.pop_many(1 << 20):
            assert message.t_ns == len(seen)
            seen.append(message.data)
        end.taken()
    assert seen == sent
    assert end.counters["bytes_received"] == end.counters["bytes_sent"] == sum(map(len, sent))
    end.close()
    assert child.wait(20) == 0
    del end  # the mapping goes with the last view of it
    gc.collect()
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_process_that_dies_is_noticed():
    end, child = start("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    child.wait()
    assert readable(end, 20)
    end.clear_wake()
    assert end.peer_closed
    assert end.send(ring_of(b"x"), 0) == 0
    end.close()


def test_wrong_tickets_are_refused():
    for text in ("", "1,2", "a,b,c,d,e"):
        with pytest.raises(UsageError):
            SharedMemoryTransport.attach(text)
    end, ticket = SharedMemoryTransport.create(4, 64)
    *head, slots, arena = ticket.text.split(",")
    assert (slots, arena) == ("4", "64")
    with pytest.raises(UsageError, match="too small"):
        SharedMemoryTransport.attach(",".join([*head, "1024", "1048576"]))
    ticket.close()
    end.close()
