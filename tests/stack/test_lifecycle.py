"""Slots and memory over many connections: TIME-WAIT gives way, addresses are used again, buffers are given back."""

import os
import random
from pathlib import Path

import pytest

from aero_lab.compiled.registry import PLAIN
from aero_lab.limits import MS, SECOND, US
from aero_lab.link import Link
from aero_lab.stack import Stack, StackConfig, TcpConfig

from .net import B4, FAR4, End, Net, plain


class Short(Net):
    """A guest that makes one short connection after the other; the gateway closes first and so has the TIME-WAIT."""

    def one(self, sport: int) -> None:
        self.accept_with = far = End(data=b"answer")
        near = self.connect(b"question", sport=sport, shutdown_after=False)
        self.run(lambda: near.eof and far.got == b"question", self.now + SECOND)
        near.conn.shutdown(self.now)
        self.run(lambda: near.reason is not None and far.reason is not None, self.now + SECOND)
        assert (near.got, far.got) == (b"answer", b"question"), "neither stalls nor breaks"
        assert near.reason == far.reason == "closed"
        self.ends.clear()


@pytest.mark.parametrize("ports", [30_000, 50])
def test_short_connections_faster_than_time_wait(ports):
    """Three thousand a second for 64 slots and a TIME-WAIT of one second; with few ports the same addresses return."""
    config = TcpConfig(time_wait=SECOND, nagle=False)
    net = Short(Link(rtt=80 * US), 7, config, role="gateway", slots=64)
    number = plain(300, 3000)
    started = net.now
    for i in range(number):
        net.one(20_000 + i % ports)
        net.now = max(net.now, started + i * 333 * US)
    assert net.b.counters["connections"] == number
    assert net.now - started < number * 2 * MS
    assert net.b.counters["resets-out"] == net.a.counters["resets-out"] == 0
    assert net.b.counters["retransmissions"] == net.a.counters["retransmissions"] == 0
    assert not {"tcp-no-slot", "tcp-backlog"} & set(net.b.drops)
    net.wait(3 * SECOND)
    net.check_over()


def test_many_at_once_while_all_slots_wait():
    """Every slot in TIME-WAIT gives way to a connection that is alive."""
    net = Short(Link(rtt=80 * US), 7, TcpConfig(time_wait=60 * SECOND, nagle=False), role="gateway", slots=16)
    for i in range(40):
        net.one(20_000 + i)
    assert net.b.open_connections == 16 and net.b.free_slots == 0
    alive = [net.connect(shutdown_after=False, sport=30_000 + i) for i in range(16)]
    net.run(lambda: all(end.established for end in alive), net.now + SECOND)
    net.wait(MS)
    assert all(end.established for end in alive)
    assert {flow["rport"] for flow in net.b.flows()} == set(range(30_000, 30_016))


def test_the_slot_freed_last_is_used_first():
    """So that what was touched stays small: one connection at a time lives in one slot."""
    net = Short(Link(rtt=80 * US), 7, TcpConfig(time_wait=1, nagle=False), role="gateway", slots=64)
    for i in range(20):
        net.one(20_000 + i)
        net.wait(MS)
    assert net.b._field(net.b._world[0], "conn_high") <= 2


def resident() -> int:
    """Bytes of anonymous memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) << 10
    pytest.skip("this system does not tell")


needs_figures = pytest.mark.skipif(
    PLAIN or not os.path.exists("/proc/self/status"), reason="needs compiled kernels and /proc/self/status"
)


@needs_figures
def test_buffers_of_ended_connections_are_given_back():
    """Bulk in every slot of a stack; when all have ended, nearly nothing of it stays."""
    net = Net(Link(rtt=80 * US), 7, TcpConfig(time_wait=1, congestion="none"), slots=64)
    payload = bytes(256 << 10)
    net.pair(b"warm", b"warm")
    base = resident()
    for _ in range(48):
        net.accept_with = End(data=payload, most=0, shutdown_after=False)
        net.connect(payload, most=0, shutdown_after=False)
        net.wait(5 * MS)
    full = resident()
    assert full - base > 20 << 20
    for end in list(net.ends.values()):
        end.conn.consume(1 << 30, net.now)
        end.conn.abort(net.now)
    net.wait(SECOND)
    net.ends.clear()
    assert net.a.open_connections == net.b.open_connections == 0
    assert resident() - base < (full - base) // 3


@needs_figures
def test_a_stack_at_rest_costs_little():
    """Its tables are there, untouched: address space, not memory."""
    config = StackConfig(role="gateway", addresses=((B4, 24),), max_connections=1088)
    Stack(config, random.Random(1), 0).step(1)
    base = resident()
    stacks = [Stack(config, random.Random(i), 0) for i in range(20)]
    for stack in stacks:
        stack.step(1)
        stack.connect(FAR4, 80, src=B4, now=1)
        stack.step(2)
    assert (resident() - base) // len(stacks) < 400 << 10
