"""Channels across a simulated network: TCP of our own over a link, for what must lose nothing, and UDP for what may.

::

    near ends <-> stack <- packets -> link (up, down) <- packets -> stack <-> far ends

All channels of one guest share the link, as they share an access line: loss and delay meet their packets, and what is
lost is sent again by the channel's TCP, which holds up everything behind it. A message carries the header that a
WebSocket would give it (RFC 6455 section 5.2), with a mask upwards; the handshake of TCP takes its time, that of HTTP
does not. In virtual time two runs with one seed are the same, byte by byte, and the bytes of the hop are exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..bounds import SIMULATED_QUEUE, WS_QUEUE_MESSAGES
from ..limits import FAR_END_ROUNDS, MTU_DEFAULT, NEVER, RING_ARENA, RING_SLOTS
from ..rings.frame_ring import FrameRing
from ..stack import Closed, Datagram, Established, Stack, StackConfig, SynReceived, TcpConfig
from ..wire.address import ip
from .base import TransportEnd
from .tcp_info import WireCount

NEAR, FAR = ip("192.0.2.1"), ip("192.0.2.2")
"""The two ends of the hop (TEST-NET-1)."""
FIRST_PORT = 4430
"""Channel ``n`` is port ``FIRST_PORT + n`` at the far end."""
TCP = TcpConfig(nagle=False, send_buffer=1 << 20, recv_buffer=1 << 20)
"""As large as a long hop needs: 1 MiB is 84 Mbit/s at 100 ms."""


def header(size: int, masked: bool) -> bytes:
    """As many bytes as a WebSocket puts before a binary message of this size; the mask is all zeros."""
    mask, tail = (0x80, bytes(4)) if masked else (0, b"")
    if size < 126:
        return bytes((0x82, mask | size)) + tail
    if size < 1 << 16:
        return bytes((0x82, mask | 126)) + size.to_bytes(2, "big") + tail
    return bytes((0x82, mask | 127)) + size.to_bytes(8, "big") + tail


def read_header(raw: bytes | bytearray) -> tuple[int, int] | None:
    """Size of the header and of the message behind it; None when there is not enough to tell."""
    if len(raw) < 2:
        return None
    short, mask = raw[1] & 0x7F, 4 if raw[1] & 0x80 else 0
    extra = {126: 2, 127: 8}.get(short, 0)
    if len(raw) < 2 + extra:
        return None
    return 2 + extra + mask, int.from_bytes(raw[2 : 2 + extra], "big") if extra else short


class SimulatedEnd(TransportEnd):
    """One end of one channel."""

    def __init__(self, host: Host, port: int, reliable: bool, masked: bool):
        self.received = FrameRing(RING_SLOTS, RING_ARENA)
        self.reliable = reliable
        self.port = port
        self.conn: Any = None
        self._host, self._masked = host, masked
        self._out = FrameRing(RING_SLOTS, RING_ARENA)
        self._sending, self._at = b"", 0
        self._coming = bytearray()
        self._waited = False
        self._open, self._ready, self._gone = True, False, False
        self._count: Counter[str] = Counter()

    def send(self, ring: FrameRing, now: int) -> int:
        if not self._open or self._gone:
            return 0
        moved = ring.move_to(self._out, max(0, WS_QUEUE_MESSAGES - len(self._out)))
        if len(ring):
            self._count["stalls"] += not self._waited
            self._waited = True
        self.put(now)
        return moved

    def taken(self) -> None:
        """The network looks for room by itself."""

    def kick(self) -> None:
        """Nobody sleeps: the scheduler asks."""

    @property
    def wake_fd(self) -> int:
        return -1

    def clear_wake(self) -> None:
        """There is no descriptor."""

    @property
    def stalled(self) -> bool:
        return self._waited and len(self._out) >= WS_QUEUE_MESSAGES

    @property
    def peer_closed(self) -> bool:
        return self._gone

    @property
    def counters(self) -> dict[str, int]:
        return {
            "messages_sent": self._out.given,
            "bytes_sent": self._out.given_bytes,
            "messages_received": self.received.given,
            "bytes_received": self.received.given_bytes,
            "stalls": self._count["stalls"],
            **{name: self._count[name] for name in ("send_full", "received_full") if self._count[name]},
        }

    def close(self) -> None:
        self._open = False

    # The network's side ---------------------------------------------------------------------------------------------

    def joined(self, conn: Any) -> None:
        """The channel has its connection."""
        self.conn, self._ready = conn, True

    def ended(self) -> None:
        """The connection is over."""
        self._gone = True

    def put(self, now: int) -> None:
        """Messages into the connection, as far as it takes them; datagrams onto the link."""
        if not self.reliable:
            for message in self._out.pop_many(RING_SLOTS):
                if not self._host.send(self, message.data, now):
                    self._count["send_full"] += 1
            self._waited = False
            return
        while self._ready and not self._gone:
            if self._at == len(self._sending):
                message = self._out.pop()
                if message is None:
                    break
                self._waited = False
                self._sending, self._at = header(len(message.data), self._masked) + message.data, 0
            taken = self.conn.write(memoryview(self._sending)[self._at :], now)
            self._at += taken
            if not taken:
                break

    def get(self, now: int) -> None:
        """Bytes of the connection to messages, as far as there is room."""
        if self.conn is None:
            return
        for _ in range(RING_SLOTS):
            found = read_header(self._coming)
            if found is not None and len(self._coming) >= sum(found):
                first, size = found
                if not self.received.has_room(size):
                    return
                self.received.push(bytes(memoryview(self._coming)[first : first + size]), now)
                del self._coming[: first + size]
                continue
            part = next((part for part in self.conn.peek() if len(part)), None) if self.conn.readable else None
            if part is None:
                return
            piece = part[:SIMULATED_QUEUE]
            self._coming += piece
            self.conn.consume(len(piece), now)

    def heard(self, payload: bytes, now: int) -> None:
        """A datagram came."""
        if not self.received.push(payload, now):
            self._count["received_full"] += 1

    @property
    def has_work(self) -> bool:
        """Whether :meth:`put` or :meth:`get` would do something."""
        if not self.reliable:
            return len(self._out) > 0
        if not self._ready or self._gone:
            return False
        waiting = len(self._out) or self._at < len(self._sending)
        if waiting and self.conn.room:
            return True
        found = read_header(self._coming)
        if found is not None and len(self._coming) >= sum(found):
            return self.received.has_room(found[1])
        return self.conn.readable > 0


class Host:
    """One end of the hop: a stack and the ends of the channels there."""

    def __init__(self, own: bytes, other: bytes, role: str, rng: Any, now: int, mtu: int, tcp: TcpConfig = TCP):
        self.own, self.other, self.role = own, other, role
        config = StackConfig(role=role, medium="ip", addresses=((own, 24),), mtu=mtu, max_connections=64, tcp=tcp)
        self.stack = Stack(config, rng, now)
        self.ends: dict[int, SimulatedEnd] = {}

    def open(self, port: int, reliable: bool, now: int) -> SimulatedEnd:
        """An end of the channel at this port; towards the far host it is connected."""
        end = self.ends[port] = SimulatedEnd(self, port, reliable, masked=self.role == "guest")
        if reliable and self.role == "guest":
            conn = self.stack.connect(self.other, port, now=now)
            conn.context = end
        return end

    def send(self, end: SimulatedEnd, payload: bytes, now: int) -> bool:
        return self.stack.udp_send(self.own, end.port, self.other, end.port, payload, now)

    def work(self, now: int) -> bool:
        """One round; whether anything happened."""
        stack = self.stack
        stack.step(now)
        events = stack.events()
        for event in events:
            if isinstance(event, SynReceived):
                end = self.ends.get(event.conn.local[1])
                if end is None or end.conn is not None:
                    event.conn.refuse("reset", now)
                else:
                    end.conn = event.conn
                    event.conn.context = end
                    event.conn.accept(now)
            elif isinstance(event, Datagram):
                end = self.ends.get(event.dport)
                if end is not None:
                    end.heard(event.payload, now)
            elif isinstance(event, Established):
                event.conn.context.joined(event.conn)
            elif isinstance(event, Closed) and event.conn.context is not None:
                event.conn.context.ended()
        for end in self.ends.values():
            if end.has_work:
                end.get(now)
                end.put(now)
        if stack.pressing:
            stack.step(now)
        return bool(events)


class SimulatedHop:
    """Both hosts, as one node; the link's directions are nodes beside it."""

    name = "simulated-hop"

    def __init__(self, link: Any, rng: Any, now: int, mtu: int = MTU_DEFAULT, tcp: TcpConfig = TCP):
        self.near = Host(NEAR, FAR, "guest", rng, now, mtu, tcp)
        self.far = Host(FAR, NEAR, "gateway", rng, now, mtu, tcp)
        near, far = self.near.stack, self.far.stack
        self.directions: Sequence[Any] = link.build(rng, (near.tx, far.rx), (far.tx, near.rx))
        self._more = False

    def open(self, number: int, reliable: bool, now: int) -> tuple[SimulatedEnd, SimulatedEnd]:
        """Both ends of channel ``number``."""
        far = self.far.open(FIRST_PORT + number, reliable, now)
        return self.near.open(FIRST_PORT + number, reliable, now), far

    @property
    def wire(self) -> WireCount:
        """IP bytes and packets so far, seen from the near end; those that the link lost were sent."""
        up, down = self.near.stack.tx, self.far.stack.tx
        return WireCount(up.given_bytes, down.given_bytes, up.given, down.given)

    def step(self, now: int) -> None:
        self._more = False
        for turn in range(FAR_END_ROUNDS):
            worked = self.near.work(now) | self.far.work(now)
            if not worked:
                break
            self._more = turn == FAR_END_ROUNDS - 1

    def poll_at(self, now: int) -> int:
        for host in (self.near, self.far):
            for end in host.ends.values():
                if end.has_work:
                    return now
        return min(self.near.stack.poll_at(now), self.far.stack.poll_at(now), now if self._more else NEVER)
