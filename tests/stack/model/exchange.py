"""A stack and its model exchange data with another model over a bad link, in virtual time."""

from __future__ import annotations

import heapq
import random
from dataclasses import replace
from typing import Any

from aero_lab.limits import MS, NEVER, SECOND

from ..net import A4, A6, B4, B6, MAC_A
from . import wire
from .connection import CLOSED, SYN_PENDING, TIME_WAIT, Connection
from .scripts import random_config
from .stack import Model
from .twin import Twin

QUEUE = 1024


class Exchange:
    """One seed, one life: connections open, both sides send, read and close, now and then the path gets narrower."""

    def __init__(self, seed: int, role: str, loss: float = 0.05, **fixed):
        self.rng = rng = random.Random(seed)
        start = rng.choice([0, 5 * SECOND])
        self.loss, self.delay = loss, rng.choice([MS, 10 * MS, 60 * MS])
        patient: dict[str, Any] = {
            "data_retries": 0,
            "syn_retries": 6,
            "send_buffer": rng.choice([8000, 30_000]),
        } | fixed
        config = random_config(rng, role, **patient)
        self.twin = Twin(replace(config, max_connections=3), seed, start)
        other = random_config(rng, "guest" if role != "guest" else "server", **patient)
        other = replace(other, addresses=((A4, 24), (A6, 64)), router4=B4, router6=B6, mac=MAC_A, max_connections=8)
        self.peer = Model(other, rng.randbytes(8), 7, QUEUE, start)
        self.active = role == "guest"
        """The stack opens, the peer listens; otherwise the other way about."""
        if self.active:
            self.peer.listening.add(80)
        else:
            self.twin.listen(80)
        self.path: list[tuple[int, int, bool, bytes]] = []
        """Frames on their way: when they arrive, a number, whether at the stack, what."""
        self.sent_frames = 0
        self.got: dict[Connection, bytearray] = {}
        """What was read at one end of a connection, by the model's record of it."""
        self.checked = 0
        self.seen: dict[Connection, None] = {}

    # The link ----------------------------------------------------------------------------------------

    def carry(self, frames: list[bytes], to_stack: bool) -> None:
        for frame in frames:
            if self.rng.random() < self.loss:
                continue
            if self.rng.random() < 0.03:  # congestion is signalled
                frame = self.congested(frame)
            for _ in range(1 + (self.rng.random() < self.loss / 4)):
                late = self.rng.choice([0] * 12 + [self.delay // 3, self.delay])
                self.sent_frames += 1
                arrival = self.twin.now + self.delay + late
                heapq.heappush(self.path, (arrival, self.sent_frames, to_stack, frame))

    @staticmethod
    def congested(packet: bytes) -> bytes:
        """An ECN-capable IPv4 packet comes out marked (RFC 3168)."""
        if packet[0] >> 4 != 4 or packet[1] & 3 not in (1, 2):
            return packet
        src, dst, flags = packet[12:16], packet[16:20], int.from_bytes(packet[6:8], "big")
        ident = int.from_bytes(packet[4:6], "big")
        return wire.ipv4(src, dst, packet[9], packet[20:], packet[8], ident, packet[1] | 3, flags)

    def arrived(self, to_stack: bool) -> list[bytes]:
        """What arrives now, and leaves the path."""
        due = [entry for entry in self.path if entry[0] <= self.twin.now and entry[2] == to_stack]
        self.path = [entry for entry in self.path if entry not in due]
        heapq.heapify(self.path)
        return [entry[3] for entry in sorted(due)]

    # A turn ------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Everything that is due now, then on to the next moment."""
        rng, twin, peer = self.rng, self.twin, self.peer
        twin.step(self.arrived(True), rng.choice([256] * 20 + [1, 4]))
        self.carry(twin.sent, False)
        peer.out, peer.room = [], 1 << 20
        peer.step(self.arrived(False), twin.now)
        peer.take_events()
        self.seen.update(dict.fromkeys([*twin.model.open_connections, *peer.open_connections]))
        for c in list(twin.model.slots):
            if c is not None and c.id in twin.conns and rng.random() < 0.5:
                self.use(c)
        for c in list(peer.open_connections):
            if rng.random() < 0.5:
                self.use_peer(c)
        if rng.random() < 0.02 and len(twin.model.open_connections) < 2:
            self.open()
        self.carry([s.frame for s in peer.out], True)
        self.next_moment()

    def next_moment(self) -> None:
        twin = self.twin
        due = min(
            twin.stack.poll_at(twin.now), self.peer.due(twin.now, 1), self.path[0][0] if self.path else NEVER
        )  # fmt: skip
        if self.rng.random() < 0.1:
            due = min(due, twin.now + self.rng.choice([100_000, MS]))
        if due >= NEVER:
            due = twin.now + SECOND
        twin.now = max(due, twin.now + 1)

    def open(self) -> None:
        rng = self.rng
        six, sport = rng.random() < 0.4, rng.choice((5000, 5001))
        here, there = (A6, B6) if six else (A4, B4)
        if self.active:
            self.twin.connect(here, 80, sport)
            self.carry(self.twin.sent, False)
        elif self.peer.find((here, sport), (there, 80)) is None:
            self.peer.connect((here, sport), (there, 80), self.twin.now)

    # Both ends ---------------------------------------------------------------------------------------

    def use(self, c: Connection) -> None:
        """The user of the stack does something with a connection."""
        rng, twin = self.rng, self.twin
        kind = rng.random()
        if c.state == SYN_PENDING:
            twin.call(c, "accept")
        elif kind < 0.45:
            twin.write(c, rng.randbytes(rng.choice([10, 1500, 6000, 20_000])))
        elif kind < 0.95:
            self.got.setdefault(c, bytearray()).extend(twin.read(c, rng.choice([1000, 1 << 20])))
        elif kind < 0.965 and c.bytes_in + c.bytes_out > 20_000:
            twin.call(c, "shutdown")
        elif kind < 0.975 and c.pieces:
            self.too_big(c)
            return
        else:
            return
        self.carry(twin.sent, False)

    def use_peer(self, c: Connection) -> None:
        rng, peer = self.rng, self.peer
        kind = rng.random()
        if kind < 0.45 and c.room > 0:
            peer.write(c, rng.randbytes(rng.choice([10, 1500, 6000, 20_000])), self.twin.now)
        elif kind < 0.95:
            self.got.setdefault(c, bytearray()).extend(peer.consume(c, rng.choice([1000, 1 << 20]), self.twin.now))
        elif kind < 0.965 and c.bytes_in + c.bytes_out > 20_000:
            peer.shutdown(c, self.twin.now)
        elif c.state == "CLOSE-WAIT":
            peer.shutdown(c, self.twin.now)

    def too_big(self, c: Connection) -> None:
        """A router on the path cannot carry what was sent."""
        p = c.pieces[0]
        segment = wire.tcp(c.local[0], c.remote[0], c.local[1], c.remote[1], p.seq, 0, 16, 0, b"", bytes(8))
        quote = wire.ip(c.local[0], c.remote[0], wire.TCP, segment)
        mtu = self.rng.choice([600, 1000, 1300, 1400])
        kind, code = (3, 4) if c.family == 4 else (2, 0)
        message = wire.icmp(c.remote[0], c.local[0], kind, code, mtu, quote)
        protocol = wire.ICMP if c.family == 4 else wire.ICMP6
        self.twin.step([wire.ip(c.remote[0], c.local[0], protocol, message)])
        self.carry(self.twin.sent, False)

    def check(self) -> None:
        """What one end read is what the other wrote, from its first byte on."""
        for c, data in self.got.items():
            for other in self.seen:
                if (other.iss, other.irs, other.local, other.remote) == (c.irs, c.iss, c.remote, c.local):
                    assert other.stream[: len(data)] == data, "bytes in order"
                    self.checked += len(data)

    def run(self, turns: int) -> None:
        self.open()
        try:
            for _ in range(turns):
                self.turn()
            self.check()
        except AssertionError as error:
            last = "\n".join(line[:300] for line in self.twin.log[-6:])
            error.add_note(f"after {len(self.twin.log)} calls, the last of them:\n{last}")
            raise


__all__ = ["CLOSED", "TIME_WAIT", "Exchange"]
