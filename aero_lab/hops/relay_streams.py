"""A relay for TCP connections: what one side says reaches the other later, and no faster than the line.

Theory of operation
-------------------
The relay listens where the server would. Each connection that comes is one to the server that the relay makes, and the
bytes in between go, in pieces, through the two directions of a link, which all connections share. A byte stream can
neither lose nor swap anything, so of a link there is only delay, jitter, rate and ``ordered`` reordering; others are
refused before (:mod:`.choice`).

The kernel's own handshake and acknowledgements are those of loopback, at both sides. The relay stands in for the
first: it opens its connection to the server when a SYN would have got there, and reads from the client when the answer
would have been back, so that connecting costs the round trip that it costs on a network. The rate is of IP bytes: each
piece takes as much as its segment would.

Nothing is dropped. Of each direction so many bytes are under way as the line and its queue hold
(:attr:`_Way.capacity`); then nothing more is read, and the sender's window closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ..bounds import HOP_BACKLOG, HOP_BUFFER, HOP_CONNECTIONS, HOP_UNDER_WAY
from ..driver import Driver
from ..limits import NEVER, SECOND
from ..link import Link, LinkDirection, Rate
from ..link.stages import Stage
from ..transports.tcp_info import MAX_SEGMENT, TCP_HEADER, TIMESTAMPS
from .worker import Hop

SEGMENT_HEADERS = bytes(20 + TCP_HEADER + TIMESTAMPS)
"""What a piece takes on the line beside its bytes."""
PIECE = 16_384
"""Bytes of a piece where the line has no rate, so that its size says nothing."""
NEAR, FAR = 0, 1
UP, DOWN = 0, 1
DATA, OPEN, OPENED, FIN, RESET = range(5)
"""What a piece says, in the flags of its frame."""


class _Side:
    """One of the two sockets of a connection."""

    def __init__(self, sock: socket.socket | None):
        self.sock = sock
        self.out: deque[bytes] = deque()
        self.fin = False  # nothing follows what is in out
        self.shut = False  # and all of it was written
        self.reading = False
        self.watched = False
        self.ended = False  # nothing more is to be read from it
        self.writing = False
        self.owed = 0  # bytes read here that were not written at the other side yet


class _Connection:
    def __init__(self, number: int, near: socket.socket):
        self.number = number
        self.sides = (_Side(near), _Side(None))
        self.connecting: asyncio.Task | None = None


class _Way:
    """One direction: pieces go in, wait in the link, come out."""

    def __init__(self, direction: LinkDirection, capacity: int, piece: int):
        self.direction, self.piece = direction, piece
        self.capacity = capacity
        """Bytes that may be under way."""
        self.under_way = 0
        self.waiting: deque[tuple[bytes, int, int]] = deque()
        """Pieces that found no room in the link's ring."""

    def push(self, now: int, number: int, what: int, data: bytes = b"") -> None:
        piece = SEGMENT_HEADERS + data
        self.under_way += len(data)
        if self.waiting or not self.direction.input.push(piece, now, flow=number, flags=what):
            self.waiting.append((piece, number, what))

    def go_on(self, now: int) -> None:
        ring = self.direction.input
        while self.waiting and ring.has_room(len(self.waiting[0][0])):
            piece, number, what = self.waiting.popleft()
            ring.push(piece, now, flow=number, flags=what)

    @property
    def open(self) -> bool:
        return not self.waiting and self.under_way < self.capacity


class StreamHop(Hop):
    """The relay, as the process of a hop runs it, and as a node of its driver."""

    name = "relay"

    def __init__(self, spec: dict[str, Any], driver: Driver):
        super().__init__(spec, driver)
        self._ways = [self._make_way(side) for side in (UP, DOWN)]
        self.directions = self._ways[UP].direction, self._ways[DOWN].direction
        parts = urlsplit(spec["target"])
        assert parts.hostname is not None and parts.port is not None
        self._target = (parts.hostname, parts.port)
        self._connections: dict[int, _Connection] = {}
        self._made = 0
        self._refused = 0
        self._listener: socket.socket | None = None
        driver.add(self, *self.directions)

    def _make_way(self, side: int) -> _Way:
        stages, capacity, piece = self._shape(side)
        name = "relay down" if side else "relay up"
        arena = self.link.in_flight_bytes(side)
        start = self.driver.now()
        return _Way(LinkDirection(stages, self.rng, arena=arena, name=name, start=start), capacity, piece)

    def _shape(self, side: int) -> tuple[tuple[Stage, ...], int, int]:
        """Of the link's direction: its stages, how many bytes may be under way, and how large a piece is."""
        capacity, piece = HOP_UNDER_WAY, PIECE
        stages = self.link.stages(side)
        line = next((stage for stage in stages if isinstance(stage, Rate)), None)
        if line is not None:
            capacity = line.bits_per_s * self.link.delay(side) // (8 * SECOND) + line.queue_bytes
            piece = MAX_SEGMENT
            # The relay holds back what would find the queue full: the line itself must never drop.
            never_full = replace(line, queue_bytes=2 * capacity + HOP_UNDER_WAY)
            stages = tuple(never_full if stage is line else stage for stage in stages)
        return stages, capacity, piece

    def change(self, link: dict[str, Any]) -> dict[str, Any]:
        self.link = Link.from_dict(link)
        for side, way in enumerate(self._ways):
            stages, way.capacity, way.piece = self._shape(side)
            way.direction.change(stages, self.link.in_flight_bytes(side))
        self.driver.wake()
        return {}

    async def start(self) -> dict[str, Any]:
        listener = self._listener = socket.socket()
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, HOP_BUFFER)  # those that are accepted inherit it
        listener.bind((self._target[0], 0))
        listener.listen(socket.SOMAXCONN)
        self.driver.loop.add_reader(listener, self._accept)
        where = f"{self._target[0]}:{listener.getsockname()[1]}"
        return {"url": urlunsplit(urlsplit(self.spec["target"])._replace(netloc=where))}

    async def stop(self) -> None:
        if self._listener is not None:
            self.driver.loop.remove_reader(self._listener)
            self._listener.close()
        for connection in list(self._connections.values()):
            self._forget(connection)

    def counters(self) -> dict[str, Any]:
        return {**super().counters(), "relay": {"connections": self._made, "refused": self._refused}}

    # As a node ------------------------------------------------------------------------------------------------------

    def step(self, now: int) -> None:
        for side, way in enumerate(self._ways):
            way.go_on(now)
            for frame in way.direction.output.pop_many():
                data = frame.data[len(SEGMENT_HEADERS) :]
                way.under_way -= len(data)
                connection = self._connections.get(frame.flow)
                if connection is not None:
                    self._arrived(connection, side, frame.flags, data)
        for connection in list(self._connections.values()):
            for side in (NEAR, FAR):
                self._watch(connection, side)

    def poll_at(self, now: int) -> int:
        for way in self._ways:
            if len(way.direction.output):
                return now
            if way.waiting and way.direction.input.has_room(len(way.waiting[0][0])):
                return now
        return NEVER

    # Sockets --------------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        assert self._listener is not None
        while True:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                break
            except OSError:  # it went before we looked
                continue
            if len(self._connections) >= HOP_CONNECTIONS:
                self._refused += 1
                sock.close()
                continue
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._made += 1
            self._connections[self._made] = _Connection(self._made, sock)
            self._push(UP, self._made, OPEN)
        self.driver.wake()

    def _push(self, way: int, number: int, what: int, data: bytes = b"") -> None:
        self._ways[way].push(self.driver.now(), number, what, data)
        self.driver.wake()

    def _arrived(self, connection: _Connection, way: int, what: int, data: bytes) -> None:
        """A piece came out of the link, for the side at the end of that way."""
        side = connection.sides[FAR if way == UP else NEAR]
        if what == OPEN:
            connection.connecting = self.driver.loop.create_task(self._connect(connection))
        elif what == OPENED:
            side.reading = True
            self._watch(connection, NEAR)
        elif what == RESET:
            self._reset(connection)
        else:
            if what == FIN:
                side.fin = True
            else:
                side.out.append(data)
            self._write(connection, FAR if way == UP else NEAR)

    async def _connect(self, connection: _Connection) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, HOP_BUFFER)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await self.driver.loop.sock_connect(sock, self._target)
        except OSError:
            sock.close()
            self._push(DOWN, connection.number, RESET)
            return
        except BaseException:
            sock.close()
            raise
        side = connection.sides[FAR]
        side.sock, side.reading = sock, True
        self._push(DOWN, connection.number, OPENED)
        self._write(connection, FAR)

    def _watch(self, connection: _Connection, number: int) -> None:
        """Listen to a side as long as there is room for what it says."""
        side, way = connection.sides[number], self._ways[UP if number == NEAR else DOWN]
        if side.sock is None or not side.reading or side.ended:
            return
        wanted = way.open and side.owed < way.capacity + HOP_BACKLOG
        if wanted != side.watched:
            side.watched = wanted
            if wanted:
                self.driver.loop.add_reader(side.sock, self._readable, connection, number)
            else:
                self.driver.loop.remove_reader(side.sock)

    def _readable(self, connection: _Connection, number: int) -> None:
        side, side_way = connection.sides[number], UP if number == NEAR else DOWN
        way = self._ways[side_way]
        assert side.sock is not None
        if not way.open:
            self._watch(connection, number)
            return
        try:
            data = side.sock.recv(min(HOP_BUFFER, max(way.capacity - way.under_way, MAX_SEGMENT)))
        except BlockingIOError:
            return
        except OSError:
            self._broke(connection, number)
            return
        if not data:
            side.ended = True
            self.driver.loop.remove_reader(side.sock)
            self._push(side_way, connection.number, FIN)
            return
        side.owed += len(data)
        for at in range(0, len(data), way.piece):
            self._push(side_way, connection.number, DATA, data[at : at + way.piece])
        self._watch(connection, number)

    def _write(self, connection: _Connection, number: int) -> None:
        """Write what has arrived for a side, as far as its socket takes it."""
        side, other = connection.sides[number], connection.sides[1 - number]
        sock, loop = side.sock, self.driver.loop
        if sock is None or side.shut:
            return
        while side.out:
            try:
                sent = sock.send(side.out[0])
            except BlockingIOError:
                break
            except OSError:
                self._broke(connection, number)
                return
            other.owed -= sent
            if sent < len(side.out[0]):
                side.out[0] = side.out[0][sent:]
            else:
                side.out.popleft()
        if bool(side.out) != side.writing:
            side.writing = bool(side.out)
            if side.writing:
                loop.add_writer(sock, self._write, connection, number)
            else:
                loop.remove_writer(sock)
        if side.fin and not side.out:
            side.shut = True
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
            if connection.sides[1 - number].shut:
                self._forget(connection)
        self.driver.wake()

    def _broke(self, connection: _Connection, number: int) -> None:
        """A socket failed: the other side hears of it when the news has crossed the link."""
        self._let_go(connection.sides[number])
        self._push(UP if number == NEAR else DOWN, connection.number, RESET)

    def _reset(self, connection: _Connection) -> None:
        """End a connection as its peer did: by a RST."""
        for side in connection.sides:
            if side.sock is not None:
                with contextlib.suppress(OSError):
                    side.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._forget(connection)

    def _forget(self, connection: _Connection) -> None:
        self._connections.pop(connection.number, None)
        if connection.connecting is not None:
            connection.connecting.cancel()
        for side in connection.sides:
            self._let_go(side)

    def _let_go(self, side: _Side) -> None:
        if side.sock is not None:
            self.driver.loop.remove_reader(side.sock)
            self.driver.loop.remove_writer(side.sock)
            side.sock.close()
            side.sock, side.out = None, deque()
