"""DNS over TCP at the gateway (RFC 7766): connections that end here and are not carried anywhere.

Questions are answered in the order in which their answers come, several under way at once. Nothing grows: of the
connections, of the questions under way in one and of the bytes that wait for a slow reader there is a largest number,
and what is over it waits in the connection, whose window closes.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

from ..bounds import DNS_STREAM_IDLE, DNS_STREAM_QUERIES, DNS_STREAM_QUEUE, DNS_STREAM_TURNS, DNS_STREAMS
from ..errors import Malformed
from ..limits import NEVER
from ..services.dns import MessageReader, framed

Serve = Callable[[bytes, tuple[Any, ...], int], bool]


class DnsStream:
    """One connection; the ``context`` of its :class:`aero_lab.stack.Connection`."""

    __slots__ = ("busy", "closing", "conn", "ended", "out", "reader", "touched", "waiting")

    def __init__(self, conn: Any, now: int):
        self.conn = conn
        self.reader = MessageReader()
        self.out = bytearray()
        self.waiting = 0
        self.touched = now
        self.ended = False  # the client's FIN is here
        self.closing = False  # ours is out
        self.busy = False


class DnsStreams:
    """All of them. Its methods are the handlers of stack events for connections whose context is a
    :class:`DnsStream`.

    Parameters
    ----------
    serve: ``serve(message, client, now)`` with ``client`` = (address, port, own address, ticket); its answer comes
        through :meth:`answer`, at once or later. False: there will be none.
    """

    def __init__(self, serve: Serve, counters: Counter[str]):
        self._serve = serve
        self._streams: OrderedDict[int, DnsStream] = OrderedDict()  # by connection, the longest idle first
        self._tickets: dict[int, DnsStream] = {}
        self._more: dict[int, DnsStream] = {}  # with questions left for the next step
        self._next = 1
        self.counters = counters

    def __len__(self) -> int:
        return len(self._streams)

    # From the stack -------------------------------------------------------------------------------------------------

    def syn(self, conn: Any, now: int) -> None:
        """A client wants to connect."""
        if len(self._streams) >= DNS_STREAMS:
            idle = next((s for s in self._streams.values() if not s.waiting and not s.out), None)
            if idle is None:
                self.counters["stream-limit"] += 1
                conn.refuse("reset", now)
                return
            self.counters["stream-made-room"] += 1
            self._abort(idle, now)
        self.counters["streams"] += 1
        conn.context = self._streams[conn.id] = DnsStream(conn, now)
        conn.accept(now)

    def established(self, conn: Any, now: int) -> None:
        self._pump(conn.context, now)

    readable = writable = established

    def end_of_stream(self, conn: Any, now: int) -> None:
        conn.context.ended = True
        self._pump(conn.context, now)

    def closed(self, conn: Any, reason: str, now: int) -> None:
        self._forget(conn.context)

    # Answers --------------------------------------------------------------------------------------------------------

    def answer(self, ticket: int, payload: bytes, now: int) -> None:
        """The answer to the question that bore this ticket."""
        s = self._tickets.pop(ticket, None)
        if s is None:
            self.counters["stream-gone"] += 1
            return
        s.waiting -= 1
        s.out += framed(payload)
        if not s.busy:
            self._pump(s, now)

    # Time -----------------------------------------------------------------------------------------------------------

    def poll_at(self) -> int:
        """When :meth:`tick` has work; 0: it has some now."""
        if self._more:
            return 0
        for s in self._streams.values():
            return s.touched + DNS_STREAM_IDLE
        return NEVER

    def tick(self, now: int) -> None:
        """Go on where questions are left; close what is idle; cut off what did not close since."""
        more, self._more = self._more, {}
        for s in more.values():
            self._pump(s, now)
        while self._streams:
            s = next(iter(self._streams.values()))
            if s.touched + DNS_STREAM_IDLE > now:
                break
            if s.waiting:  # its lookup has a time limit of its own
                self._touch(s, now)
            elif s.closing or s.out:
                self._abort(s, now)
            else:
                self.counters["stream-idle"] += 1
                self._shut(s, now)

    def close_all(self, now: int) -> None:
        for s in list(self._streams.values()):
            self._abort(s, now)

    # Inside ---------------------------------------------------------------------------------------------------------

    def _pump(self, s: DnsStream, now: int) -> None:
        """Answers out as the connection takes them, questions in as long as few enough are under way."""
        if s.busy or s.closing:
            return
        s.busy = True
        try:
            for _ in range(DNS_STREAM_TURNS):
                if not self._turn(s, now):
                    break
            else:
                self._more[s.conn.id] = s
        finally:
            s.busy = False
        if s.ended and not (s.closing or s.waiting or s.out or s.conn.readable):
            if not s.reader.empty:
                self.counters["stream-cut"] += 1
            self._shut(s, now)

    def _turn(self, s: DnsStream, now: int) -> bool:
        """One question and what there is to say; False when nothing moved."""
        moved = 0
        if s.out:
            moved = s.conn.write(bytes(s.out), now)
            del s.out[:moved]
            if moved:
                self._touch(s, now)
        if len(s.out) > DNS_STREAM_QUEUE:
            self.counters["stream-slow"] += 1
            self._abort(s, now)
            return False
        if s.closing or s.out or s.waiting >= DNS_STREAM_QUERIES:
            return bool(moved)
        for part in s.conn.peek():
            piece = part[: s.reader.room]
            if len(piece):
                s.reader.feed(piece)
                s.conn.consume(len(piece), now)
                break
        try:
            message = s.reader.take()
        except Malformed as error:
            self.counters[error.reason] += 1
            self._abort(s, now)
            return False
        if message is None:
            return bool(moved) or bool(s.conn.readable)
        self._touch(s, now)
        ticket = self._next
        self._next += 1
        self._tickets[ticket] = s
        s.waiting += 1
        if not self._serve(message, (*s.conn.remote, s.conn.local[0], ticket), now):
            del self._tickets[ticket]
            s.waiting -= 1
        return True

    def _touch(self, s: DnsStream, now: int) -> None:
        s.touched = now
        if s.conn.id in self._streams:
            self._streams.move_to_end(s.conn.id)

    def _shut(self, s: DnsStream, now: int) -> None:
        s.closing = True
        self._touch(s, now)
        s.conn.shutdown(now)

    def _abort(self, s: DnsStream, now: int) -> None:
        self._forget(s)
        s.conn.context = None
        s.conn.abort(now)

    def _forget(self, s: DnsStream) -> None:
        s.closing = True
        self._streams.pop(s.conn.id, None)
        self._more.pop(s.conn.id, None)
        for ticket in [ticket for ticket, each in self._tickets.items() if each is s]:
            del self._tickets[ticket]
