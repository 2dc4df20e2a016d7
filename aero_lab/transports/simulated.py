"""Channels across a simulated network: TCP of our own over a link, for what must lose nothing, and UDP for what may.

::

    near ends <-> stack <- packets -> link (up, down) <- packets -> stack <-> far ends

All channels of one guest share the link, as they share an access line: loss and delay meet their packets, and what is
lost is sent again by the channel's TCP, which holds up everything behind it. What a WebSocket puts around messages is
on the wire too (:mod:`.simulated_stream`); what else there is before and around them, a :class:`Carrier` says. In
virtual time two runs with one seed are the same, byte by byte, and the bytes of the hop are exact.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..bounds import WS_QUEUE_MESSAGES
from ..limits import FAR_END_ROUNDS, MTU_DEFAULT, NEVER, RING_ARENA, RING_SLOTS
from ..rings.frame_ring import FrameRing
from ..stack import Closed, Datagram, EndOfStream, Established, Stack, StackConfig, SynReceived, TcpConfig
from ..wire.address import ip
from .base import AskedEnd
from .simulated_stream import LEAST_ROOM, Framing, Identities
from .tcp_info import WireCount

NEAR, FAR = ip("192.0.2.1"), ip("192.0.2.2")
"""The two ends of the hop (TEST-NET-1)."""
FIRST_PORT = 4430
"""Channel ``n`` is port ``FIRST_PORT + n`` at the far end."""
HOP_CONNECTIONS = 64
"""Connections of either host: several times the channels of a path."""
TCP = TcpConfig(nagle=False, send_buffer=1 << 20, recv_buffer=1 << 20)
"""As large as a long hop needs: 1 MiB is 84 Mbit/s at 100 ms."""
AHEAD_LEAST, AHEAD_WINDOWS = 87_040, 6
"""Bytes that Linux lets be written ahead at first, and congestion windows' worth of them later: its send buffer is
twice the window in segments, and counts some three times the bytes of each (``tcp_sndbuf_expand``)."""
MESSAGE_MOST = 1 << 20
"""Bytes of the largest message, unless somebody says less."""
NOTHING = memoryview(b"")


@dataclass(frozen=True)
class Carrier:
    """How channels that must lose nothing are carried."""

    tcp: TcpConfig = TCP
    tls: bool = False
    """What they carry lies in TLS records."""
    handshake: tuple[tuple[bool, int], ...] = ()
    """What goes before the first message, after TCP's own: by whom (client first), and how many bytes."""
    ahead: int | None = TCP.send_buffer
    """Bytes written ahead of what was acknowledged; None: what Linux lets a socket that sizes its buffer by itself."""


PLAIN = Carrier()


class HopEnd(AskedEnd):
    """One end of one channel, and what both kinds share."""

    def __init__(self, host: Host, port: int, slots: int = RING_SLOTS, arena: int = RING_ARENA):
        self.received = FrameRing(slots, arena)
        self.port = port
        self.conn: Any = None
        self._host = host
        self._out = FrameRing(slots, arena)
        self._waited, self._wanted = False, 0
        self._open, self._gone = True, False
        self._count: Counter[str] = Counter()

    def send(self, ring: FrameRing, now: int) -> int:
        if not self._open or self._gone:
            return 0
        moved = ring.move_to(self._out, max(0, WS_QUEUE_MESSAGES - len(self._out)))
        if len(ring):
            self._count["stalls"] += not self._waited
            self._waited = True
            self._wanted = len(ring.peek_many(1)[0].data)
        self.put(now)
        return moved

    @abstractmethod
    def put(self, now: int) -> None:
        """Messages onto the way, as far as it takes them."""

    @abstractmethod
    def get(self, now: int) -> None:
        """What came to messages, as far as there is room."""

    @property
    @abstractmethod
    def has_work(self) -> bool:
        """Whether :meth:`put` or :meth:`get` would do something."""

    def taken(self) -> None:
        """The network looks for room by itself."""

    @property
    def stalled(self) -> bool:
        return self._waited and self._full

    @property
    def _full(self) -> bool:
        """Whether the next message would find no place."""
        return len(self._out) >= WS_QUEUE_MESSAGES or not self._out.has_room(self._wanted)

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

    def ended(self, now: int) -> None:
        """The connection is over."""
        self._gone = True

    def no_more(self, now: int) -> None:
        """The other end has sent all that it is going to."""


class DatagramEnd(HopEnd):
    """An end whose messages are datagrams: each comes whole or not at all."""

    reliable = False

    def put(self, now: int) -> None:
        for message in self._out.pop_many(RING_SLOTS):
            if not self._host.send(self, message.data, now):
                self._count["send_full"] += 1
        self._waited = False

    def get(self, now: int) -> None:
        """Datagrams come by themselves."""

    def heard(self, payload: bytes, now: int) -> None:
        """A datagram came."""
        if not self.received.push(payload, now):
            self._count["received_full"] += 1

    @property
    def has_work(self) -> bool:
        return len(self._out) > 0


class StreamEnd(HopEnd):
    """An end of a WebSocket on a connection of its own."""

    def __init__(self, host: Host, port: int, framing: Framing, carrier: Carrier, *rings: int):
        super().__init__(host, port, *rings)
        self.framing = framing
        self._ahead = AHEAD_LEAST if carrier.ahead is None else carrier.ahead
        self._sized = carrier.ahead is not None
        self._client = host.role == "guest"
        self._shake = list(carrier.handshake)
        """What is left of the handshake."""
        self._left = 0
        """Bytes of the present flight that have not been written, or have not come."""
        self._joined = False
        self._written = self._read = 0
        """Bytes of the stream behind the handshake, so far."""
        self.governor: Callable[[int], int] | None = None
        """Who else has a say in how many bytes may be written: given the room, what it leaves."""

    def joined(self, conn: Any) -> None:
        """The channel has its connection."""
        self.conn, self._joined = conn, True
        self._left = self._shake[0][1] if self._shake else 0

    @property
    def ready(self) -> bool:
        """Whether messages may go."""
        return self._joined and not self._shake and not self._gone

    def _room(self) -> int:
        """Bytes that may be written now."""
        conn = self.conn
        room = conn.room
        if room and not self._sized:
            self._ahead = max(self._ahead, AHEAD_WINDOWS * conn.cwnd)
        room = min(room, self._ahead - conn.unacked)
        return room if self.governor is None else self.governor(room)

    def put(self, now: int) -> None:
        if self._shake:
            self._shake_hands(now)
        while self.ready and len(self._out):
            room = self._room()
            if room < LEAST_ROOM:
                break
            data = self.framing.pack(self._out, room)
            if not len(data):
                break
            self._written += self.conn.write(data, now)
        if not self._full:
            self._waited = False

    def _shake_hands(self, now: int) -> None:
        """The flights before the first message: only how large they are, and whose turn it is, matters."""
        while self._joined and self._shake and not self._gone:
            if self._shake[0][0] == self._client:
                if not self.willing(now):
                    break
                done = self.conn.write(bytes(self._left), now) if self._left else 0
            else:
                done = self.conn.consume(min(self._left, self.conn.readable), now) if self.conn.readable else 0
            self._left -= done
            if self._left:
                break
            self._shake.pop(0)
            self._left = self._shake[0][1] if self._shake else 0

    def willing(self, now: int) -> bool:
        """Whether the next flight may go; it is asked for each."""
        return True

    def readable(self, most: int) -> int:
        """How many of ``most`` bytes may be read as messages."""
        return most

    def get(self, now: int) -> None:
        if self.conn is None or self._shake:
            return
        framing, conn = self.framing, self.conn
        for _ in range(RING_SLOTS):
            before = framing.room
            piece = next((part for part in conn.peek() if len(part)), NOTHING)[: self.readable(before)]
            framing.unpack(piece, self.received, now)
            if len(piece):
                self._read += conn.consume(len(piece), now)
            elif framing.room == before:
                return

    @property
    def has_work(self) -> bool:
        if not self._joined or self._gone:
            return False
        if self._shake:
            return self._shake[0][0] == self._client and self._left > 0 or self.conn.readable > 0
        if len(self._out) and self._room() >= LEAST_ROOM:
            return True
        blocked = self.framing.blocked
        if blocked >= 0:
            return self.received.has_room(blocked)
        return self.conn.readable > 0


class Host:
    """One end of the hop: a stack and the ends of the channels there."""

    def __init__(
        self,
        own: bytes,
        other: bytes,
        role: str,
        rng: Any,
        now: int,
        mtu: int,
        tcp: TcpConfig = TCP,
        most: int = HOP_CONNECTIONS,
    ):
        self.own, self.other, self.role = own, other, role
        config = StackConfig(role=role, medium="ip", addresses=((own, 24),), mtu=mtu, max_connections=most, tcp=tcp)
        self.stack = Stack(config, rng, now)
        self.ends: dict[int, HopEnd] = {}

    def add(self, end: HopEnd, now: int) -> None:
        """An end of a channel; towards the far host it is connected."""
        self.ends[end.port] = end
        if isinstance(end, StreamEnd) and self.role == "guest":
            end.conn = self.stack.connect(self.other, end.port, now=now)
            end.conn.context = end

    def send(self, end: DatagramEnd, payload: bytes, now: int) -> bool:
        return self.stack.udp_send(self.own, end.port, self.other, end.port, payload, now)

    def work(self, now: int) -> bool:
        """One round; whether anything happened."""
        stack = self.stack
        worked = stack.poll_at(now) <= now
        if worked:
            stack.step(now)
        for event in stack.events():
            worked = True
            if isinstance(event, SynReceived):
                end = self.ends.get(event.conn.local[1])
                if not isinstance(end, StreamEnd) or end.conn is not None:
                    event.conn.refuse("reset", now)
                else:
                    end.conn = event.conn
                    event.conn.context = end
                    event.conn.accept(now)
            elif isinstance(event, Datagram):
                end = self.ends.get(event.dport)
                if isinstance(end, DatagramEnd):
                    end.heard(event.payload, now)
            elif isinstance(event, Established):
                event.conn.context.joined(event.conn)
            elif isinstance(event, EndOfStream) and event.conn.context is not None:
                event.conn.context.no_more(now)
            elif isinstance(event, Closed) and event.conn.context is not None:
                event.conn.context.ended(now)
        for end in list(self.ends.values()):
            if end.has_work:
                end.get(now)
                end.put(now)
                worked = True
        return worked


class SimulatedHop:
    """Both hosts, as one node; the link's directions are nodes beside it."""

    name = "simulated-hop"

    def __init__(
        self,
        link: Any,
        rng: Any,
        now: int,
        mtu: int = MTU_DEFAULT,
        carrier: Carrier = PLAIN,
        most: int = HOP_CONNECTIONS,
    ):
        self.carrier = carrier
        self.near = Host(NEAR, FAR, "guest", rng, now, mtu, carrier.tcp, most)
        self.far = Host(FAR, NEAR, "gateway", rng, now, mtu, carrier.tcp, most)
        near, far = self.near.stack, self.far.stack
        self.directions: Sequence[Any] = link.build(rng, (near.tx, far.rx), (far.tx, near.rx), medium="ip", start=now)
        self.calls = 0
        """Calls that were ever made across it, and channels that it has (:mod:`.simulated_call`)."""
        self._more = False

    def open(self, number: int, reliable: bool, now: int, most: int = MESSAGE_MOST) -> tuple[HopEnd, HopEnd]:
        """Both ends of channel ``number``, whose messages have ``most`` bytes at most."""
        port = FIRST_PORT + number
        if reliable:
            up, down, carrier = Identities(), Identities(), self.carrier
            near: HopEnd = StreamEnd(self.near, port, Framing(most, True, carrier.tls, up, down), carrier)
            far: HopEnd = StreamEnd(self.far, port, Framing(most, False, carrier.tls, down, up), carrier)
        else:
            near, far = DatagramEnd(self.near, port), DatagramEnd(self.far, port)
        self.far.add(far, now)
        self.near.add(near, now)
        return near, far

    @property
    def wire(self) -> WireCount:
        """IP bytes and packets so far, seen from the near end; those that the link lost were sent."""
        up, down = self.near.stack.tx, self.far.stack.tx
        return WireCount(up.given_bytes, down.given_bytes, up.given, down.given)

    def step(self, now: int) -> None:
        self._more = False
        for host in (self.near, self.far):
            for turn in range(FAR_END_ROUNDS):
                if not host.work(now):
                    break
                self._more |= turn == FAR_END_ROUNDS - 1

    def poll_at(self, now: int) -> int:
        for host in (self.near, self.far):
            for end in host.ends.values():
                if end.has_work:
                    return now
        return min(self.near.stack.poll_at(now), self.far.stack.poll_at(now), now if self._more else NEVER)
