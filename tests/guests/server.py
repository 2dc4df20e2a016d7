"""A host that says what a test tells it to, right behind the guest's cable."""

from __future__ import annotations

import random
from collections.abc import Callable

from aero_lab.clock import Scheduler, VirtualClock
from aero_lab.guests.scripted import ScriptedGuest, StaticAddress, quiet
from aero_lab.limits import SECOND
from aero_lab.stack import Closed, Datagram, EndOfStream, Established, Readable, Stack, StackConfig, TcpConfig, Writable
from aero_lab.wire.address import ip, mac

from .bench import Cable

SERVER, GUEST = ip("10.0.2.2"), ip("10.0.2.15")


class Host:
    """A server-role stack. ``talk(conn, received)`` is called with all that came so far; it returns what to send next,
    or None to close."""

    def __init__(self, talk: Callable | None = None, port=80, datagram: Callable | None = None, **tcp):
        config = StackConfig(
            role="server",
            mac=mac("02:00:00:00:00:01"),
            addresses=((SERVER, 24),),
            tcp=TcpConfig(**tcp),
            max_connections=64,
        )
        self.stack = Stack(config, random.Random(2), 0)
        self.talk, self.datagram = talk, datagram
        self.received: dict[int, bytearray] = {}
        self.waiting: dict[int, bytes] = {}
        self.closed: list[str] = []
        if talk is not None:
            self.stack.listen(port)

    def step(self, now: int) -> None:
        self.stack.step(now)
        for event in self.stack.events():
            if isinstance(event, Datagram) and self.datagram:
                for answer in self.datagram(event):
                    self.stack.udp_send(event.dst, event.dport, event.src, event.sport, answer, now)
            elif isinstance(event, Closed):
                self.closed.append(event.reason)
            elif isinstance(event, (Established, Readable, Writable, EndOfStream)):
                self._pump(event, now)
        self.stack.step(now)

    def _pump(self, event, now: int) -> None:
        conn = event.conn
        got = self.received.setdefault(conn.id, bytearray())
        got += conn.read(1 << 20, now)
        if not isinstance(event, Writable):
            answer = self.talk(conn, bytes(got))
            if answer is None:
                conn.shutdown(now)
                return
            self.waiting[conn.id] = self.waiting.get(conn.id, b"") + answer
        left = self.waiting.get(conn.id, b"")
        self.waiting[conn.id] = left[conn.write(left, now) :] if left else b""

    def poll_at(self, now: int) -> int:
        return self.stack.poll_at(now)


class Pair:
    """A quiet guest with a static address, and a host."""

    def __init__(self, host: Host, profile="linux", **guest):
        self.clock = VirtualClock()
        self.host = host
        self.guest = ScriptedGuest(
            quiet(profile), random.Random(1), 0, static=StaticAddress(GUEST, 24, SERVER, (SERVER,)), **guest
        )
        self.frames: list[tuple[int, bytes]] = []
        self.scheduler = Scheduler(self.clock)
        self.scheduler.add(
            self.guest,
            Cable(self.guest.nic_tx, host.stack.rx, self.frames),
            Cable(host.stack.tx, self.guest.nic_rx, self.frames),
            host,
        )

    def run_task(self, generator, seconds: float = 300.0):
        """The result of a task, which must end within ``seconds`` of virtual time."""
        task = self.guest.start(generator)
        self.scheduler.run(lambda: task.done, self.clock.now() + round(seconds * SECOND))
        assert not self.guest.failures, self.guest.failures
        return task.value()
