"""Two stacks and the link between them, in virtual time: what the tests of this room stand on.

Everything follows from one seed. A turn steps both stacks, hands their events to the :class:`End` on each side, lets
the ends read and write, and moves the link; when nothing has work the time jumps to the next deadline. A turn that
goes on and on at one instant fails, so every test that runs a :class:`Net` also shows that no timer spins.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from aero_lab.compiled.registry import PLAIN
from aero_lab.limits import MS, NEVER, SECOND
from aero_lab.link import Link
from aero_lab.stack import (
    Closed,
    Connection,
    EndOfStream,
    Established,
    Stack,
    StackConfig,
    SynReceived,
    TcpConfig,
)
from aero_lab.wire.ethernet import Ethernet
from aero_lab.wire.ipv4 import Ipv4
from aero_lab.wire.ipv6 import Ipv6
from aero_lab.wire.tcp import Tcp

TURNS = 20_000
"""Turns at one instant before a test calls it a spin."""
A4, B4, FAR4 = bytes([10, 0, 2, 15]), bytes([10, 0, 2, 2]), bytes([203, 0, 113, 7])
A6, B6 = (bytes.fromhex("fd00aee0") + bytes(11) + bytes([n]) for n in (0x15, 2))
FAR6 = bytes.fromhex("20010db8") + bytes(11) + b"\7"
MAC_A, MAC_B = b"\2\0\0\0\0\2", b"\2\0\0\0\0\1"
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << i for i in range(8))
FIGURES = (
    "segs_in", "segs_out", "bytes_in", "bytes_out", "retransmits", "retransmitted_bytes", "timeouts",
    "cwnd", "mss", "sacked_bytes", "lost_bytes",
)  # fmt: skip


def plain(small: int, full: int) -> int:
    """A size: the first when kernels run as plain Python, some hundred times slower, else the second."""
    return small if PLAIN else full


@dataclass
class Seen:
    """One frame as it left a stack."""

    now: int
    side: str
    """``"a"`` or ``"b"``: who sent it."""
    frame: bytes
    tcp: Tcp | None
    ip: Ipv4 | Ipv6 | None

    @property
    def flags(self) -> int:
        return 0 if self.tcp is None else self.tcp.flags

    @property
    def data(self) -> bytes:
        return b"" if self.tcp is None else self.tcp.payload


def look(now: int, side: str, frame: bytes) -> Seen:
    """Take a frame apart with the checked parsers of ``wire``, checksums verified."""
    ether = Ethernet.parse(frame)
    if ether.type == 0x0800:
        ip = Ipv4.parse(ether.payload)
        kind = ip.protocol
    elif ether.type == 0x86DD:
        ip = Ipv6.parse(ether.payload)
        kind = ip.next_header
    else:
        return Seen(now, side, frame, None, None)
    return Seen(now, side, frame, Tcp.parse(ip.payload, ip.src, ip.dst) if kind == 6 else None, ip)


@dataclass
class End:
    """The application at one end of a connection: writes what it is given as room comes, reads as it may."""

    conn: Connection | None = None
    data: bytes | memoryview = b""
    sent: int = 0
    """Bytes of ``data`` that the stack took."""
    got: bytearray = field(default_factory=bytearray)
    shutdown_after: bool = True
    """Whether the sending direction is closed when all of ``data`` is written."""
    most: int = 1 << 30
    """Bytes read in one turn; 0 reads nothing."""
    events: list[object] = field(default_factory=list)
    established: bool = False
    eof: bool = False
    reason: str | None = None
    _shut: bool = False

    def __post_init__(self) -> None:
        self.data = memoryview(self.data)

    def see(self, event: object) -> None:
        self.events.append(event)
        if isinstance(event, Established):
            self.established = True
        elif isinstance(event, EndOfStream):
            self.eof = True
        elif isinstance(event, Closed):
            assert self.reason is None, "the end is told once"
            self.reason = event.reason

    def pump(self, now: int) -> None:
        conn = self.conn
        if conn is None:
            return
        if self.most:
            self.got += conn.read(self.most, now)
        if conn.closed or not self.established:
            return
        if self.sent < len(self.data):
            self.sent += conn.write(self.data[self.sent :], now)
        if self.shutdown_after and self.sent == len(self.data) and not self._shut:
            self._shut = True
            conn.shutdown(now)


class Net:
    """Stack ``a`` (guest) and stack ``b`` (server listening on 80, or gateway that accepts whatever it is asked).

    Parameters
    ----------
    link: what is between them.
    seed: everything random, the link's and the stacks'.
    tcp, tcp_b: parameters of ``a``, and of ``b`` when they differ.
    family: 4 or 6.
    role: of ``b``.
    tap: keep every frame that leaves a stack in :attr:`seen`, and ask :attr:`filter` whether it may go on.
    """

    def __init__(
        self,
        link: Link | None = None,
        seed: int = 1,
        tcp: TcpConfig | None = None,
        tcp_b: TcpConfig | None = None,
        family: int = 4,
        role: str = "server",
        mtu: int = 1500,
        mtu_b: int | None = None,
        slots: int = 4,
        tap: bool = False,
        start: int = 0,
    ):
        self.now = start
        self.rng = random.Random(seed)
        self.family = family
        tcp = tcp or TcpConfig()
        v6 = mtu >= 1280 and (mtu_b or mtu) >= 1280
        own = [((A4, 24), (A6, 64)), ((B4, 24), (B6, 64))] if v6 else [((A4, 24),), ((B4, 24),)]
        routers = {"router4": B4, "router6": B6 if v6 else None}
        common = {"max_connections": slots}
        self.a = Stack(
            StackConfig(role="guest", mac=MAC_A, addresses=own[0], mtu=mtu, tcp=tcp, **common, **routers),
            self.rng,
            start,
        )
        self.b = Stack(
            StackConfig(role=role, mac=MAC_B, addresses=own[1], mtu=mtu_b or mtu, tcp=tcp_b or tcp, **common),
            self.rng,
            start,
        )
        self.role = role
        if role == "server":
            self.b.listen(80, start)
        self.tap = tap
        self.seen: list[Seen] = []
        self.filter: Callable[[Seen], bool] | None = None
        self.held: Callable[[Connection], None] | None = None
        """Answers a held SYN at a gateway; accepts when absent."""
        self.closed_ends: set[str] = set()
        """Sides whose frames go nowhere."""
        self.others: list[object] = []
        """Events that are no connection's."""
        self.ends: dict[tuple[str, int], End] = {}
        self.script: Callable[[], None] | None = None
        """Called once a turn, before the stacks are stepped."""
        self.set_link(link or Link())

    def set_link(self, link: Link) -> None:
        """Put another link between the two; what was in flight on the old one is lost."""
        if self.tap:
            self.up, self.down = link.build(self.rng)
            return
        self.up, self.down = link.build(self.rng, (self.a.tx, self.b.rx), (self.b.tx, self.a.rx))

    @property
    def server(self) -> bytes:
        """The address that ``a`` connects to."""
        if self.role == "gateway":
            return FAR4 if self.family == 4 else FAR6
        return B4 if self.family == 4 else B6

    def stack(self, side: str) -> Stack:
        return self.a if side == "a" else self.b

    def connect(self, data: bytes = b"", *, sport: int | None = None, port: int = 80, **options) -> End:
        """Open a connection from ``a``; returns its end there."""
        conn = self.a.connect(self.server, port, sport, now=self.now)
        end = End(conn, data, **options)
        self.ends["a", conn.id] = end
        return end

    def pair(self, up: bytes = b"", down: bytes = b"", limit: int = 60 * SECOND, **options) -> tuple[End, End]:
        """An established connection: the ends at ``a`` and at ``b``. Neither closes unless told to."""
        options = {"shutdown_after": False, **options}
        self.accept_with = replace(End(data=down, **options))
        a = self.connect(up, **options)
        before = set(self.ends)
        self.run(lambda: a.established and len(self.ends) > len(before), self.now + limit)
        (key,) = set(self.ends) - before
        b = self.ends[key]
        self.run(lambda: b.established, self.now + limit)
        assert a.established and b.established
        return a, b

    accept_with: End | None = None

    def _events(self, side: str) -> None:
        for event in self.stack(side).events():
            if isinstance(event, SynReceived):
                (self.held or (lambda conn: conn.accept(self.now)))(event.conn)
            conn = getattr(event, "conn", None)
            if conn is None:
                self.others.append(event)
                continue
            end = self.ends.get((side, conn.id))
            if end is None:
                end, self.accept_with = self.accept_with or End(), None
                end.conn = conn
                self.ends[side, conn.id] = end
            end.see(event)

    def _move(self, side: str) -> None:
        ring, into = (self.a.tx, self.up.input) if side == "a" else (self.b.tx, self.down.input)
        while len(ring) and into.has_room(65600):
            (record,) = ring.pop_many(1)
            seen = look(self.now, side, record.data)
            self.seen.append(seen)
            if side not in self.closed_ends and (self.filter is None or self.filter(seen)):
                into.push(record.data, self.now)

    def _deliver(self) -> None:
        self.up.output.move_to(self.b.rx)
        self.down.output.move_to(self.a.rx)

    def turn(self) -> int:
        """Do everything that is due now; returns the next deadline."""
        for _ in range(TURNS):
            now = self.now
            if self.script is not None:
                self.script()
            self.a.step(now)
            self._events("a")
            self.b.step(now)
            self._events("b")
            for end in list(self.ends.values()):
                end.pump(now)
            if self.tap:
                self._move("a")
                self._move("b")
            self.up.step(now)
            self.down.step(now)
            if self.tap:
                self._deliver()
            due = min(self.a.poll_at(now), self.b.poll_at(now), self.up.poll_at(now), self.down.poll_at(now))
            if due > now and not (self.tap and (len(self.a.tx) or len(self.b.tx))):
                return due
        raise AssertionError(f"work at {self.now} ns does not end: {self.a} {self.b}")

    def run(self, until: Callable[[], bool] | None = None, limit: int = NEVER) -> bool:
        """Run until a condition holds (True), or no deadline is left, or ``limit`` (False unless there is no
        condition)."""
        while True:
            due = self.turn()
            if until is not None and until():
                return True
            if due > limit or due >= NEVER:
                break
            self.now = due
        if limit < NEVER:
            self.now = max(self.now, limit)
        return until is None

    def wait(self, time: int) -> None:
        """Let ``time`` pass."""
        self.run(limit=self.now + time)

    def inject(self, side: str, frame: bytes) -> None:
        """Put a frame into a stack, as if it had come over the link."""
        assert self.stack(side).rx.push(frame)

    # What holds whatever happens -------------------------------------------------------------------------------------

    def check(self) -> None:
        """The invariants of a running net: no impossible transition, figures that can be, data in order."""
        for side in "ab":
            stack = self.stack(side)
            assert "tcp-transition" not in stack.drops
            assert 0 <= stack.open_connections <= stack.config.max_connections
            for flow in stack.flows():
                assert flow["bytes_in"] >= 0 and flow["bytes_out"] >= 0 and flow["cwnd"] >= 0
        for end in self.ends.values():
            if end.conn is None or end.conn.closed:
                continue
            i = end.conn.info()
            assert i["iss"] <= i["snd_una"] <= i["snd_nxt"] <= i["snd_end"] + 1
            assert all(i[name] >= 0 for name in FIGURES), i
            assert i["sacked_bytes"] + i["lost_bytes"] <= i["snd_nxt"] - i["snd_una"]
            assert i["rcv_read"] <= i["rcv_nxt"]
            assert i["rto"] <= 60 * SECOND

    def check_over(self) -> None:
        """After the last connection: every slot is back on both sides, no timer is left."""
        for side in "ab":
            stack = self.stack(side)
            assert stack.open_connections == 0, stack.flows()
            assert stack.free_slots == stack.config.max_connections
            assert "tcp-transition" not in stack.drops


def transfer(net: Net, up: bytes, down: bytes, limit: int) -> tuple[End, End]:
    """Move ``up`` from a to b and ``down`` back at the same time, close both ways, and wait for the last timer."""
    net.accept_with = far = End(data=down)
    near = net.connect(up)
    net.run(lambda: net.a.open_connections == net.b.open_connections == 0, limit)
    return near, far


HOSTILE = Link(rtt=20 * MS, loss=0.02, duplicate=0.01, reorder=0.05, corrupt=0.005)
"""The link of the issue: 2 % loss, 1 % duplication, 5 % reordering, 0.5 % of frames with one byte corrupted."""
