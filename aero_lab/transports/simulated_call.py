"""Channels that come and go across a simulated network: a WebSocket of its own for each connection of the guest.

A *call* is one of them. The client says with its request what it wants (the query of a URL), the server looks at that
before it answers the upgrade, and either side ends it with a Close that has a code and a reason. Request, answer and
Close are on the wire with the bytes they have; what they say travels beside them, in memory that both ends share::

    client   TCP, TLS   request ->                              messages <-> messages   Close ->            FIN ->
    server                          <- answer, or a refusal                                      <- Close, FIN
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..bounds import CALL_ARENA, CALL_PORTS, CALL_SLOTS
from ..errors import AeroLabError
from .simulated import FIRST_PORT, MESSAGE_MOST, Host, SimulatedHop, StreamEnd
from .simulated_stream import RECORD, Framing, Identities, header_size

ACCEPTED, NORMAL = 101, 1000
"""Status of an upgrade, code of a Close in good order."""


class Visit(Protocol):
    """What a server makes of a call."""

    @property
    def verdict(self) -> tuple[int, Mapping[str, str]] | None:
        """Status and headers of the answer; None: not yet."""
        ...

    @property
    def farewell(self) -> tuple[int, str] | None:
        """Code and reason once it is to end, and everything for it has been handed over."""
        ...

    def attach(self, end: StreamEnd, now: int) -> None:
        """It was answered: messages may go."""

    def gone(self, now: int) -> None:
        """It is over, or never began."""


class Door(Protocol):
    """Whom a server asks about calls."""

    def asked(self, query: str, now: int) -> Visit:
        """Somebody wants this."""
        ...


@dataclass
class Close:
    """A Close in one direction."""

    at: int
    """Bytes of the stream before it."""
    size: int
    code: int
    reason: str


@dataclass
class Call:
    """What both ends know."""

    query: str
    status: int = 0
    """Of the answer; 0: there is none yet."""
    headers: Mapping[str, str] = field(default_factory=dict)
    closes: dict[str, Close] = field(default_factory=dict)
    """By role of the host that sent it."""


class CallEnd(StreamEnd):
    """One end of a call. What is to be done beside messages is asked of :meth:`_next`, one thing at a time."""

    def __init__(self, host: Host, port: int, framing: Framing, call: Call, hop: SimulatedHop):
        super().__init__(host, port, framing, hop.carrier, CALL_SLOTS, CALL_ARENA)
        self.call = call
        self.partner: CallEnd | None = None
        self.error: str | None = None
        """Why it is over."""
        self._ending: tuple[int, str] | None = None
        self._finished = self._fin_came = False

    # The transport's interface --------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether the upgrade was answered with yes."""
        return self._joined and not self._shake and self.call.status == ACCEPTED

    @property
    def headers(self) -> Mapping[str, str]:
        """Of the answer."""
        return self.call.headers if self.connected else {}

    @property
    def stalled(self) -> bool:
        return self.peer_closed or not self._open or super().stalled

    @property
    def peer_closed(self) -> bool:
        return self._gone or self.error is not None

    def close(self) -> None:
        """End it. What waits is thrown away."""
        self._ending = self._ending or (NORMAL, "")
        self._deaf()

    def finish(self, code: int, reason: str) -> None:
        """End it after everything that was handed over."""
        self._ending = self._ending or (code, reason)

    def _deaf(self) -> None:
        self._open = False
        self._out.pop_many(len(self._out))

    # The network's turns --------------------------------------------------------------------------------------------

    def put(self, now: int) -> None:
        if self._open:
            super().put(now)
        while (what := self._next()) is not None:
            what(now)

    def get(self, now: int) -> None:
        if self._open:
            super().get(now)

    @property
    def has_work(self) -> bool:
        return self._next() is not None or (self._open and super().has_work)

    def readable(self, most: int) -> int:
        coming = self._coming
        return most if coming is None else min(most, coming.at - self._read)

    def no_more(self, now: int) -> None:
        self._fin_came = True

    def ended(self, now: int) -> None:
        super().ended(now)
        self.error = self.error or f"the connection is over: {self.conn.reason}"
        self._deaf()
        self._host.ends.pop(self.port, None)
        if self.partner is not None and self.partner.conn is None:  # of whom nothing was heard over there
            self.partner._host.ends.pop(self.port, None)

    # What is to be done ---------------------------------------------------------------------------------------------

    @property
    def _coming(self) -> Close | None:
        """The other end's Close."""
        return self.call.closes.get("gateway" if self._client else "guest")

    @property
    def _said(self) -> bool:
        return self._host.role in self.call.closes

    def _next(self) -> Callable[[int], None] | None:
        if self.conn is None or self._gone:
            return None
        if self._ending is not None and not self._said and not self._finished:
            if not self.connected:
                return self._abort if self._client else None
            if not (self._open and len(self._out)) and self.conn.room >= self._close_size(self._ending[1]):
                return self._say
        if (coming := self._coming) is not None and self.error is None and self._read == coming.at:
            if (self.framing.blocked < 0 or not self._open) and self.conn.readable >= coming.size:
                return self._hear
        if not self._open and self.connected and self.readable(self.conn.readable) > 0:
            return self._ignore
        if self._may_finish and not self._finished:
            return self._finish
        return None

    @property
    def _may_finish(self) -> bool:
        """The server ends the TCP connection when both Closes have passed, and the client after it."""
        return self._said and self.error is not None and (self._fin_came or not self._client)

    def _abort(self, now: int) -> None:
        self._finished = True
        self.conn.abort(now)

    def _say(self, now: int) -> None:
        assert self._ending is not None
        code, reason = self._ending
        size = self._close_size(reason)
        self.call.closes[self._host.role] = Close(self._written, size, code, reason)
        self._written += self.conn.write(bytes(size), now)
        self._deaf()

    def _close_size(self, reason: str) -> int:
        """Bytes of a Close on the wire: header, mask, code and reason, in a record of its own."""
        body = 2 + len(reason.encode())
        return header_size(body, int(self._client)) + body + (RECORD if self.framing.tls else 0)

    def _hear(self, now: int) -> None:
        coming = self._coming
        assert coming is not None
        self._read += self.conn.consume(coming.size, now)
        self.error = f"closed by peer: {coming.code} {coming.reason}".rstrip()
        self._ending = self._ending or (coming.code, "")
        self._deaf()

    def _ignore(self, now: int) -> None:
        """Messages that nobody wants any more."""
        self._read += self.conn.consume(self.readable(self.conn.readable), now)

    def _finish(self, now: int) -> None:
        self._finished = True
        self.conn.shutdown(now)


class CallingEnd(CallEnd):
    """The client's."""

    def _next(self) -> Callable[[int], None] | None:
        if self._refused and self.error is None and not self._gone:
            return self._read_refusal
        return super()._next()

    @property
    def _refused(self) -> bool:
        return self._joined and not self._shake and self.call.status != ACCEPTED

    @property
    def _may_finish(self) -> bool:
        return super()._may_finish or (self._refused and self._fin_came)

    def _read_refusal(self, now: int) -> None:
        self.error = f"the server refused the tunnel: {self.call.status}"
        self._deaf()

    def unreachable(self, why: str) -> None:
        """There is no connection to be had."""
        self.error = f"cannot connect: {why}"
        self._deaf()


class CalledEnd(CallEnd):
    """The server's."""

    def __init__(self, host: Host, port: int, framing: Framing, call: Call, hop: SimulatedHop, door: Door):
        super().__init__(host, port, framing, call, hop)
        self._door = door
        self._visit: Visit | None = None
        self._attached = False

    def willing(self, now: int) -> bool:
        """The last flight is the answer, which waits for the verdict."""
        if len(self._shake) > 1 or self.call.status:
            return True
        if self._visit is None:
            self._visit = self._door.asked(self.call.query, now)
        if (verdict := self._visit.verdict) is None:
            return False
        self.call.status, self.call.headers = verdict
        return True

    @property
    def has_work(self) -> bool:
        if len(self._shake) == 1 and not self.call.status and self._visit is not None and not self._gone:
            return self._visit.verdict is not None
        return super().has_work

    def _next(self) -> Callable[[int], None] | None:
        if self._visit is not None and not self._gone:
            if self.connected and not self._attached:
                return self._attach
            if self._ending is None and self._attached and self._visit.farewell is not None:
                return self._bid_farewell
            if self.error is not None or (self._may_finish and not self.connected):
                return self._leave
        return super()._next()

    @property
    def _may_finish(self) -> bool:
        return super()._may_finish or (not self._shake and self.call.status not in (0, ACCEPTED))

    def _attach(self, now: int) -> None:
        assert self._visit is not None
        self._attached = True
        self._visit.attach(self, now)

    def _bid_farewell(self, now: int) -> None:
        assert self._visit is not None and self._visit.farewell is not None
        self.finish(*self._visit.farewell)

    def _leave(self, now: int) -> None:
        visit, self._visit = self._visit, None
        if visit is not None:
            visit.gone(now)

    def ended(self, now: int) -> None:
        super().ended(now)
        self._leave(now)


def place(hop: SimulatedHop, query: str, door: Door, now: int, most: int = MESSAGE_MOST) -> CallingEnd:
    """The client's end of a new call across this hop; the server asks ``door`` about it."""
    assert hop.carrier.handshake, "a call is asked for in its handshake"
    port = _free_port(hop)
    call, up, down, tls = Call(query), Identities(), Identities(), hop.carrier.tls
    near = CallingEnd(hop.near, port, Framing(most, True, tls, up, down), call, hop)
    far = CalledEnd(hop.far, port, Framing(most, False, tls, down, up), call, hop, door)
    near.partner, far.partner = far, near
    hop.far.add(far, now)
    try:
        hop.near.add(near, now)
    except AeroLabError as error:
        del hop.near.ends[port], hop.far.ends[port]
        near.unreachable(str(error))
    return near


def _free_port(hop: SimulatedHop) -> int:
    """A port for a call: the next that none has. There are many more than a stack has connections."""
    for _ in range(CALL_PORTS):
        port = FIRST_PORT + hop.calls % CALL_PORTS
        hop.calls += 1
        if port not in hop.near.ends and port not in hop.far.ends:
            break
    return port
