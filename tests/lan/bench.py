"""A guest's stack wired to a LAN, in virtual or in real time, with a small application on top; shared by the LAN
tests."""

from __future__ import annotations

import random
import select
import time
from collections.abc import Callable
from typing import Any

from aero_lab.clock import Scheduler, VirtualClock
from aero_lab.egress.virtual import VirtualEgress
from aero_lab.lan import Lan, LanConfig
from aero_lab.limits import NEVER, SECOND
from aero_lab.link import Link
from aero_lab.services import identity_forwards, names
from aero_lab.services.far_end import FarEnd
from aero_lab.stack import (
    Closed,
    Datagram,
    EndOfStream,
    Established,
    IcmpMessage,
    Stack,
    StackConfig,
    TcpConfig,
)
from aero_lab.wire.address import ip, mac

GUEST, GATEWAY = ip("10.0.2.15"), ip("10.0.2.2")
GUEST6, GATEWAY6 = ip("fd00:aee0::15"), ip("fd00:aee0::2")
GUEST_MAC = mac("02:00:00:00:00:99")
FILES, ECHO, SINK, SOURCE = (ip(f"203.0.113.{n}") for n in (10, 11, 12, 13))


class Client:
    """One connection of the guest: sends what is queued, keeps what comes."""

    def __init__(
        self,
        guest: Guest,
        where: tuple[bytes, int],
        send: bytes = b"",
        finish: bool = False,
        read: bool = True,
        conn: Any = None,
    ):
        self.guest = guest
        self.to_send = memoryview(send)
        self.finish, self.read = finish, read
        self.got = bytearray()
        self.established = self.ended = False
        self.reason: str | None = None
        self.conn = conn or guest.stack.connect(*where, now=guest.now)
        self.conn.context = self

    def work(self, now: int) -> None:
        if self.established and self.reason is None:
            if len(self.to_send):
                self.to_send = self.to_send[self.conn.write(self.to_send, now) :]
            if self.finish and not len(self.to_send):
                self.finish = False
                self.conn.shutdown(now)
        if self.read and self.conn.readable:
            self.got += self.conn.read(1 << 20, now)


class Guest:
    """The guest as a node."""

    name = "guest"

    def __init__(self, rng: Any, mtu: int = 1500, tcp: TcpConfig | None = None, lan: Any = None):
        gateway6 = lan is not None and lan.config.gateway6
        config = StackConfig(
            role="guest",
            mac=GUEST_MAC,
            addresses=((GUEST, 24), (GUEST6, 64)) if gateway6 else ((GUEST, 24),),
            router4=GATEWAY,
            router6=gateway6 or None,
            mtu=mtu,
            max_connections=64,
            tcp=tcp or TcpConfig(),
        )
        self.stack = Stack(config, rng, 0)
        self.lan = lan
        self.now = 0
        self.clients: list[Client] = []
        self.served: list[Client] = []
        """Connections that came from outside, once the stack listens."""
        self.datagrams: list[Datagram] = []
        self.icmp: list[IcmpMessage] = []
        self.quiet = False
        """Keep what the stack sends to itself, as a guest whose frames are late."""
        self.wire: Callable[[list[bytes], str], list[bytes]] | None = None
        """What becomes of frames on their way, up or down; None: they arrive."""

    def open(self, *args: Any, **kw: Any) -> Client:
        client = Client(self, *args, **kw)
        self.clients.append(client)
        return client

    def poll_at(self, now: int) -> int:
        return now if (len(self.stack.tx) and not self.quiet) or len(self.lan.tx) else self.stack.poll_at(now)

    def step(self, now: int) -> None:
        self.now = now
        stack = self.stack
        self._carry(self.lan.tx, stack.rx, "down")
        stack.step(now)
        for event in stack.events():
            if isinstance(event, Datagram):
                self.datagrams.append(event)
            elif isinstance(event, IcmpMessage):
                self.icmp.append(event)
            elif isinstance(event, Established) and event.conn.context is None:
                self.served.append(self.open(event.conn.remote, conn=event.conn))
                self.served[-1].established = True
            elif isinstance(getattr(event, "conn", None) and event.conn.context, Client):
                client = event.conn.context
                client.established |= isinstance(event, Established)
                client.ended |= isinstance(event, (EndOfStream, Closed))
                if isinstance(event, Closed):
                    client.reason = event.reason
        for client in self.clients:
            client.work(now)
        stack.step(now)
        if not self.quiet:
            self._carry(stack.tx, self.lan.rx, "up")

    def _carry(self, out: Any, into: Any, way: str) -> None:
        if self.wire is None:
            out.move_to(into)
            return
        for raw in self.wire([record.data for record in out.pop_many(1024)], way):
            into.push(raw)


class VirtualBench:
    """Guest, LAN, virtual egress and far end on one scheduler."""

    def __init__(self, link: Link | None = None, seed: int = 1, guest_tcp: TcpConfig | None = None, **config: Any):
        rng = random.Random(seed)
        tcp, udp = identity_forwards()
        settings = {"names": names(), "forward_tcp": tcp, "forward_udp": udp, "max_tcp": 64, **config}
        self.config = LanConfig(**settings)
        self.far = FarEnd(rng, 0, mtu=self.config.mtu, max_connections=64)
        mtu = self.config.mtu
        self.lan = Lan(self.config, lambda sink: VirtualEgress(sink, rng, 0, self.far, link, mtu), rng, 0)
        self.guest = Guest(rng, self.config.mtu, guest_tcp, self.lan)
        self.scheduler = Scheduler(VirtualClock())
        self.scheduler.add(self.guest, self.lan)

    @property
    def now(self) -> int:
        return self.scheduler.clock.now()

    def run(self, until: Callable[[], bool], seconds: float = 300) -> bool:
        self.guest.step(self.now)
        return self.scheduler.run(until, self.now + round(seconds * SECOND))

    def run_for(self, seconds: float) -> None:
        self.guest.step(self.now)
        self.scheduler.run(self.now + round(seconds * SECOND))

    def lan_rows(self) -> list[dict]:
        return self.lan.flows.rows()


def turn_real(guest: Guest, lan: Lan, egress: Any, until: Callable[[], bool], patience: float = 30.0) -> None:
    """Turn guest and LAN in real time until a condition holds."""
    end = time.monotonic() + patience
    while not until():
        assert time.monotonic() < end, "nothing more happens"
        now = time.monotonic_ns()
        guest.step(now)
        lan.step(now)
        due = min(guest.poll_at(now), lan.poll_at(now))
        if due > now:
            wait = 0.05 if due == NEVER else min(0.05, (due - now) / SECOND)
            select.select([egress], [], [], wait)
