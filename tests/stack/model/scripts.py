"""Random lives of a stack: hostile and honest segments, calls, and time that jumps."""

from __future__ import annotations

import random

from aero_lab.limits import MS, NEVER, SECOND
from aero_lab.stack import StackConfig, TcpConfig

from ..net import A4, A6, B4, B6, FAR4, FAR6, MAC_A, MAC_B
from . import wire
from .connection import SYN_PENDING, Connection
from .twin import RING, Twin
from .wire import ACK, CWR, ECE, FIN, M32, PSH, RST, SYN, URG

PORTS = (5000, 5001)
OTHER4 = bytes([10, 0, 2, 77])


def random_config(rng: random.Random, role: str, medium: str = "ip", **fixed) -> StackConfig:
    tcp = TcpConfig(
        **{
            "send_buffer": rng.choice([1000, 4096, 30_000]),
            "recv_buffer": rng.choice([128, 2000, 5000, 40_000, 200_000]),
            "window_scale": rng.choice([None, None, -1, 0, 7]),
            "mss": rng.choice([None, None, 64, 536]),
            "timestamps": rng.random() < 0.6,
            "sack": rng.random() < 0.7,
            "ecn": rng.random() < 0.4,
            "congestion": rng.choice(["none", "newreno", "cubic"]),
            "initial_cwnd_segments": rng.choice([1, 2, 10]),
            "rto_min": rng.choice([200 * MS, SECOND]),
            "rto_max": rng.choice([3 * SECOND, 60 * SECOND]),
            "syn_retries": rng.choice([1, 3]),
            "data_retries": rng.choice([0, 2, 5]),
            "delack_segments": rng.choice([1, 2, 4]),
            "quick_acks": rng.choice([0, 0, 3]),
            "nagle": rng.random() < 0.6,
            "keepalive_idle": rng.choice([NEVER, 5 * SECOND]),
            "keepalive_interval": 2 * SECOND,
            "keepalive_probes": 2,
            "time_wait": rng.choice([SECOND, 30 * SECOND]),
            "rack": rng.random() < 0.6,
            "syn_window": rng.choice([None, None, 1000]),
            "syn_layout": rng.choice(["linux", "windows7"]),
        }
        | fixed
    )
    return StackConfig(
        role=role, medium=medium, addresses=((B4, 24), (B6, 64)), router4=A4, router6=A6, mac=MAC_B,
        mtu=rng.choice([1280, 1500, 1500]), max_connections=rng.choice([2, 4]), tcp=tcp,
    )  # fmt: skip


class Script:
    """One life, drawn from a seed. The peers have no state of their own: what fits is read off the model."""

    def __init__(self, seed: int, role: str, medium: str = "ip", **fixed):
        self.rng = rng = random.Random(seed)
        start = rng.choice([0, 10 * SECOND, 123_456_789_012])
        self.twin = Twin(random_config(rng, role, medium, **fixed), seed, start)
        self.role = role
        if role != "gateway" or rng.random() < 0.2:
            self.twin.listen(80)
        self.framed = medium == "ethernet"

    @property
    def model(self):
        return self.twin.model

    def pick(self) -> Connection | None:
        """A connection that the stack's user knows."""
        known = [c for c in self.model.slots if c is not None and c.id in self.twin.conns]
        return self.rng.choice(known) if known else None

    # Segments ----------------------------------------------------------------------------------------

    def frame(self, packet: bytes) -> bytes:
        if not self.framed:
            return packet
        return wire.ethernet(MAC_B, MAC_A, 0x0800 if packet[0] >> 4 == 4 else 0x86DD, packet)

    def near(self, *places: int) -> int:
        """A number at or close to one of these."""
        return self.rng.choice(places) + self.rng.choice([0, 0, 0, -1, 1, self.rng.randint(-3000, 3000)])

    def options(self, c: Connection | None, syn: bool) -> bytes:
        rng, out = self.rng, b""
        if syn:
            if rng.random() < 0.9:
                out += b"\2\4" + rng.choice([40, 64, 536, 1460, 9000]).to_bytes(2, "big")
            if rng.random() < 0.7:
                out += b"\1\3\3" + bytes([rng.choice([0, 2, 7, 14, 15])])
            if rng.random() < 0.7:
                out += b"\1\1\4\2"
        if rng.random() < (0.97 if c is None or c.ts_ok else 0.1):
            clock = self.twin.now // MS + 77
            if c is not None and rng.random() < 0.1:
                clock = c.ts_recent + rng.choice([-1, -100, 0, 1, 1 << 31])
            out += b"\1\1\x08\x0a" + (clock & M32).to_bytes(4, "big") + bytes(4)
        if c is not None and c.pieces and rng.random() < 0.5:
            out += self.sack(c, (40 - len(out) - 4) // 8)
        if rng.random() < 0.02:
            out += rng.choice([b"\2\1", b"\3\x7f", b"\x1e\4\0\0", b"\0" * 4, b"\1\1\1\5"])
        return (out + b"\1" * (-len(out) % 4))[:40]

    def sack(self, c: Connection, room: int) -> bytes:
        rng = self.rng
        edges = sorted({p.seq for p in c.pieces} | {p.end for p in c.pieces})
        blocks = []
        for _ in range(rng.randint(1, max(min(3, room), 1))):
            left, right = sorted(rng.choices(edges, k=2))
            if rng.random() < 0.15:
                left, right = self.near(left, c.snd_una - 100), self.near(right, c.snd_una)
            blocks.append((left & M32).to_bytes(4, "big") + (right & M32).to_bytes(4, "big"))
        return b"\1\1\5" + bytes([2 + 8 * len(blocks)]) + b"".join(blocks) if blocks else b""

    def segment(self, honest: float = 0.6) -> bytes:
        """A segment for some connection, known or not."""
        rng = self.rng
        c = rng.choice([*self.model.open_connections, *self.model.open_connections, None])
        if c is None:
            six = rng.random() < 0.3
            me = (A6 if six else A4, rng.choice(PORTS))
            foreign = self.role == "gateway" and rng.random() < 0.8
            it = ((FAR6 if six else FAR4) if foreign else (B6 if six else B4), rng.choice([80, 80, 80, 81]))
            flags = rng.choice([SYN, SYN, SYN, SYN | ECE | CWR, ACK, RST, FIN, SYN | ACK, 0, SYN | FIN, SYN | RST])
            seq = rng.choice([1000, 0, M32, M32 - 500])
            return self.pack(me, it, seq, rng.getrandbits(32), flags, self.options(None, bool(flags & SYN)), b"")
        me, it = c.remote, c.local
        if rng.random() < honest:
            return self.honest(c, me, it)
        flags = rng.choice([ACK, ACK, ACK, ACK | PSH, FIN | ACK, RST, RST | ACK, SYN, SYN | ACK, 0, FIN, ACK | URG])
        if rng.random() < 0.1:
            flags |= rng.choice([ECE, CWR])
        seq = self.near(c.rcv_nxt, c.rcv_nxt, c.rcv_adv, c.rcv_nxt - 1, c.irs, c.rcv_nxt + 3000, c.rcv_nxt + (1 << 31))
        ack = self.near(c.snd_una, c.snd_nxt, c.iss, c.iss + 1, c.snd_una - 70_000, c.snd_nxt + (1 << 31))
        data = rng.randbytes(rng.choice([0, 0, 0, 1, 10, 600, 1400]))
        return self.pack(me, it, seq, ack, flags, self.options(c, bool(flags & SYN)), data)

    def honest(self, c: Connection, me: tuple, it: tuple) -> bytes:
        """What a peer may well send now."""
        rng = self.rng
        if c.state == "SYN-SENT":
            return self.pack(
                me, it, 4000, c.snd_nxt, rng.choice([SYN | ACK] * 6 + [SYN, RST | ACK]), self.options(c, True), b""
            )
        ack = c.snd_una if rng.random() < 0.4 else rng.choice([c.snd_nxt, *[p.end for p in c.pieces]])
        flags, data, seq = ACK, b"", c.rcv_nxt
        kind = rng.random()
        if kind < 0.5:
            data = rng.randbytes(rng.choice([1, 100, 536, 1000, 1400]))
            seq += rng.choice([0, 0, 0, 0, 500, 1400, 2800, -200])
        elif kind < 0.56:
            flags |= FIN
        elif kind < 0.6 and c.held:  # fill the gap
            data = rng.randbytes(min(min(c.held) - seq, 1400))
        if rng.random() < 0.1:
            flags |= ECE if rng.random() < 0.5 else CWR
        return self.pack(me, it, seq, ack, flags, self.options(c, False), data)

    def pack(
        self, me: tuple, it: tuple, seq: int, ack: int, flags: int, options: bytes, data: bytes
    ) -> bytes:  # fmt: skip
        rng = self.rng
        window = rng.choice([65535, 65535, 30_000, 1000, 100, 1, 0])
        segment = wire.tcp(me[0], it[0], me[1], it[1], seq, ack, flags, window, options, data)
        packet = wire.ip(me[0], it[0], 6, segment, tos=rng.choice([0, 0, 0, 2, 3]), ttl=rng.choice([64, 64, 64, 1]))
        return self.frame(packet)

    # Everything else ---------------------------------------------------------------------------------

    def room(self) -> int:
        return self.rng.choice([RING] * 12 + [0, 1, 2, 3, 4, 5])

    def turn(self) -> None:
        """One thing that happens."""
        rng, twin = self.rng, self.twin
        kind = rng.random()
        c = self.pick()
        if kind < 0.5 or c is None:
            if c is None and self.role == "guest" and rng.random() < 0.7:
                self.connect()
            twin.step([self.segment() for _ in range(rng.choice([1, 1, 1, 2, 3, 5]))], self.room())
        elif kind < 0.68:
            self.pass_time()
        elif c.state == SYN_PENDING:
            if rng.random() < 0.7:
                twin.call(c, "accept", room=self.room())
            else:
                how = rng.choice(["reset", "drop", "host-unreachable", "port-unreachable", "prohibited"])
                twin.call(c, "refuse", how, room=self.room())
        elif kind < 0.82:
            twin.write(c, rng.randbytes(rng.choice([1, 50, 700, 1500, 5000, 40_000])), self.room())
        elif kind < 0.94:
            twin.read(c, rng.choice([1, 100, 3000, 1 << 20]), self.room())
        elif kind < 0.97:
            twin.call(c, "shutdown", room=self.room())
        elif kind < 0.98:
            twin.call(c, "abort", room=self.room())
        else:
            self.connect()
        twin.events()

    def connect(self) -> None:
        six = self.rng.random() < 0.3
        self.twin.connect(A6 if six else A4, self.rng.choice(PORTS), self.rng.choice((6000, 6001)), self.room())

    def pass_time(self) -> None:
        """On to the next deadline, or not quite, or anywhere."""
        rng, twin = self.rng, self.twin
        due = twin.stack.poll_at(twin.now)
        kind = rng.random()
        if kind < 0.7 and due < NEVER:
            twin.now = max(due + rng.choice([0, 0, 0, -1, 1, MS]), twin.now)
        elif kind < 0.95:
            twin.now += rng.choice([1, 1000, MS, 40 * MS, 300 * MS])
        else:
            twin.now += rng.choice([SECOND, 30 * SECOND, 25 * 86400 * SECOND])
        twin.step([], self.room())

    def run(self, turns: int) -> None:
        try:
            for _ in range(turns):
                self.turn()
        except AssertionError as error:
            last = "\n".join(line[:300] for line in self.twin.log[-6:])
            error.add_note(f"after {len(self.twin.log)} calls, the last of them:\n{last}")
            raise
