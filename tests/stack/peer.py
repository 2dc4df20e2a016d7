"""A TCP peer made by hand: every segment to the stack is the test's own, every answer is taken apart.

The stack stands on bare IP (no neighbours), so that only TCP is in the picture.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from aero_lab.limits import MS, NEVER, SECOND
from aero_lab.stack import Connection, Established, Stack, StackConfig, SynReceived, TcpConfig
from aero_lab.wire.ipv4 import Ipv4
from aero_lab.wire.ipv6 import Ipv6
from aero_lab.wire.tcp import Tcp, TcpOptions

from .net import A4, A6, ACK, B4, B6, FAR4, FAR6, PSH, SYN

M32 = 0xFFFFFFFF


@dataclass
class Segment:
    """What the stack sent: when, and the parsed packet."""

    now: int
    ip: Ipv4 | Ipv6
    tcp: Tcp

    @property
    def size(self) -> int:
        return self.ip.buffer_len()

    @property
    def ecn(self) -> int:
        return (self.ip.tos if isinstance(self.ip, Ipv4) else self.ip.traffic_class) & 3


class Peer:
    """The hand-made side of one connection; :attr:`stack` is the other. Sequence numbers are whole, not cut to 32
    bits."""

    def __init__(
        self,
        tcp: TcpConfig | None = None,
        role: str = "server",
        family: int = 4,
        mtu: int = 1500,
        mss: int | None = 1460,
        wscale: int | None = 7,
        sack: bool = True,
        ts: bool = True,
        start: int = 0,
        seed: int = 1,
        slots: int = 8,
        sport: int = 5000,
        iss: int = 1000,
        window: int = 65535,
        hold: bool = False,
    ):
        self.now = start
        own = ((B4, 24), (B6, 64)) if mtu >= 1280 else ((B4, 24),)
        config = StackConfig(
            role=role, medium="ip", addresses=own, router4=A4, router6=A6, mtu=mtu, max_connections=slots,
            tcp=tcp or TcpConfig(),
        )  # fmt: skip
        self.stack = Stack(config, random.Random(seed), start)
        if role == "server":
            self.stack.listen(80, start)
        self.me = A4 if family == 4 else A6
        self.it = {"gateway": (FAR4, FAR6)}.get(role, (B4, B6))[0 if family == 4 else 1]
        self.mss, self.wscale, self.sack_ok, self.ts = mss, wscale, sack, ts
        self.sport, self.dport = sport, 80
        self.seq, self.ack, self.window = iss, 0, window
        self.conn: Connection | None = None
        self.hold = hold
        self.tsecr = 0
        self.events: list[object] = []
        self.all: list[Segment] = []
        self.other: list[Ipv4 | Ipv6] = []

    def packet(self, payload: bytes, kind: int, ecn: int = 0) -> bytes:
        if len(self.me) == 4:
            return Ipv4(self.me, self.it, kind, payload, tos=ecn).emit()
        return Ipv6(self.me, self.it, kind, payload, traffic_class=ecn).emit()

    def put(self, raw: bytes) -> None:
        assert self.stack.rx.push(raw)

    def send(
        self, data: bytes = b"", flags: int = ACK, seq: int | None = None, ack: int | None = None,
        sack: tuple = (), tsval: int | None = None, ts: bool | None = None, window: int | None = None,
        ecn: int = 0, options: TcpOptions | None = None,
    ) -> list[Segment]:  # fmt: skip
        """Send one segment now; returns what the stack has sent since. Without ``seq`` the data counts as ours."""
        if options is None:
            stamp = (self.clock if tsval is None else tsval, self.tsecr) if (self.ts if ts is None else ts) else None
            options = TcpOptions(timestamps=stamp, sack=tuple((left & M32, right & M32) for left, right in sack))
        where = self.seq if seq is None else seq
        segment = Tcp(
            self.sport, self.dport, where & M32, (self.ack if ack is None else ack) & M32 if flags & ACK else 0,
            flags, self.window if window is None else window, 0, options, data,
        )  # fmt: skip
        if seq is None:
            self.seq += len(data) + (1 if flags & 2 else 0) + (1 if flags & 1 else 0)
        self.put(self.packet(segment.emit(self.me, self.it), 6, ecn))
        return self.step()

    @property
    def clock(self) -> int:
        return (self.now // MS + 77) & M32

    def step(self) -> list[Segment]:
        """Let the stack work at this instant; returns the TCP segments it sent."""
        out = []
        for _ in range(100):
            self.stack.step(self.now)
            for event in self.stack.events():
                self.events.append(event)
                if isinstance(event, SynReceived):
                    if self.hold:
                        event.conn.hold_acks(self.now)
                    event.conn.accept(self.now)
                if isinstance(event, Established):
                    self.conn = event.conn
            for record in self.stack.tx.pop_many(4096):
                data = record.data
                ip = Ipv4.parse(data) if data[0] >> 4 == 4 else Ipv6.parse(data)
                if (ip.protocol if isinstance(ip, Ipv4) else ip.next_header) != 6:
                    self.other.append(ip)
                    continue
                segment = Segment(self.now, ip, Tcp.parse(ip.payload, ip.src, ip.dst))
                if segment.tcp.options.timestamps:
                    self.tsecr = segment.tcp.options.timestamps[0]
                out.append(segment)
            if self.stack.poll_at(self.now) > self.now:
                break
        else:
            raise AssertionError("the stack spins")
        self.all += out
        return out

    def wait(self, time: int) -> list[Segment]:
        """Let time pass, deadline by deadline; returns what the stack sent on the way."""
        end = self.now + time
        out = self.step()
        while (due := self.stack.poll_at(self.now)) <= end and due < NEVER:
            self.now = due
            out += self.step()
        self.now = end
        return out

    def syn(self, flags: int = SYN, options: TcpOptions | None = None, **more) -> list[Segment]:
        if options is None:
            stamp = (self.clock, 0) if self.ts else None
            options = TcpOptions(self.mss, self.wscale, self.sack_ok, timestamps=stamp)
        return self.send(flags=flags, options=options, **more)

    def open(self, flags: int = SYN, rtt: int = 10 * MS, **more) -> Connection:
        """The handshake; the stack's SYN-ACK is kept in :attr:`synack`."""
        (self.synack,) = self.syn(flags, **more)
        self.ack = self.synack.tcp.seq + 1
        self.now += rtt
        self.send()
        assert self.conn is not None and self.conn.state == "ESTABLISHED"
        return self.conn

    def take(self, segments: list[Segment]) -> bytes:
        """Acknowledge (in numbers only) what came in order; returns its bytes."""
        out = b""
        for s in segments:
            if s.tcp.seq == self.ack & M32:
                out += s.tcp.payload
                self.ack += len(s.tcp.payload) + (s.tcp.flags & 1)
        return out


def data_of(segments: list[Segment]) -> list[int]:
    """Payload sizes of those that carry any."""
    return [len(s.tcp.payload) for s in segments if s.tcp.payload]


__all__ = ["ACK", "M32", "PSH", "SECOND", "Peer", "Segment", "data_of"]
