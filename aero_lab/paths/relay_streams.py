"""Streams at a relay: each is joined to one connection of the egress.

Theory of operation
-------------------
Nothing is stored here but what the client was told it may send (:mod:`.mux_port`)::

    client -> world   stream's window  -- room, data, send -->  host socket
    client <- world   host socket      -- room, data -->        ring, as far as credit and room in the ring allow

so a sink that does not read closes its own stream's window and costs the others nothing. FIN travels as half-close, in
either order.

A client of version 1 cannot be told to wait for one stream. When a stream's buffer is full, its connection is not read
for :data:`~aero_lab.bounds.MUX_PAUSE`; if that was not enough, the stream at fault is ended with ERROR 6 and the others
go on.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..bounds import MUX_FRAME_MOST, MUX_PAUSE, MUX_STREAM_BUFFER, MUX_STREAMS
from ..egress.contract import Why
from ..framing import tcp_mux as mux
from ..framing.tcp_mux import ErrorCode, Open
from ..limits import NEVER
from ..transports.base import TransportEnd
from .mux_port import MuxPort
from .mux_stream import UNLIMITED, Stream

DIAL_TEXTS: dict[Why, str] = {
    "refused": "connection refused",
    "timeout": "connection timed out",
    "unreachable": "host unreachable",
    "net-unreachable": "network unreachable",
    "denied": "dial failed",
}
"""What an ERROR says about a connection that could not be made."""


@dataclass(frozen=True)
class MuxLimits:
    """Bounds of one connection."""

    streams: int = MUX_STREAMS
    idle: int = 0
    """Nanoseconds without a byte either way after which a stream is ended; 0: never."""
    slot: Callable[[], Any] | None = None
    """Asked for each stream: something with ``release()``, or None when the session has no room for one more."""
    source: tuple[bytes, int] = (bytes(4), 0)
    """Whose flows they are, for the table."""
    frame: int = MUX_FRAME_MOST
    """Payload that a frame may announce."""
    buffer: int = MUX_STREAM_BUFFER
    """Bytes of one stream that may wait."""


PROTOCOL_ERROR = 1002
"""Close code (RFC 6455 section 7.4.1)."""


class RelayFlow:
    """One stream and its connection."""

    __slots__ = ("fin", "flow", "lease", "number", "open", "port", "record", "server", "stream")

    def __init__(self, server: MuxServer, number: int, lease: Any):
        self.server, self.number, self.lease = server, number, lease
        self.port: MuxPort = server.port
        self.stream: Stream = self.port.add(number, self)
        self.flow = 0
        self.record: Any = None
        self.open = False
        self.fin = False  # the client's, with everything before it

    # Dialling -------------------------------------------------------------------------------------------------------

    def dialled(self, flow: int, now: int) -> None:
        relay = self.server.relay
        if self.port.streams.get(self.number) is not self.stream:  # it has gone while its name was looked up
            relay.flows.end(relay.flows.live[flow], "reset-by-guest", now)
            return
        self.flow, self.record = flow, relay.flows.live[flow]
        relay.tcp[flow] = self
        self.server.active[flow] = self

    def denied_dial(self, code: int, text: str, reason: str, now: int) -> None:
        self.server.refused_dial(reason)
        if self.port.streams.get(self.number) is self.stream:
            self.port.error(self.number, code, text)
            self.end(reason, now, told=True)

    # The egress's calls ---------------------------------------------------------------------------------------------

    def opened(self, now: int) -> None:
        self.open = True
        self.record.state, self.record.answered_at = "open", now
        if self.port.version == 2 and not self.port.widen(self.stream):
            self.port.grant(self.stream, 1)  # the first CREDIT says that the target answered
        self.server.relay.egress.credit(self.flow, now)
        self.port.deliver(self.stream, now)
        if self.fin and self.flow:
            self.server.relay.egress.shutdown(self.flow, now)

    def failed(self, why: Why, now: int) -> None:
        self.port.error(self.number, ErrorCode.DIAL_FAILED, DIAL_TEXTS[why])
        self.end(why, now, told=True)

    def room(self) -> int:
        room = self.port.room(self.stream)
        if room <= 0:
            self.port.wait(self.stream)
        return room

    def data(self, view: memoryview, now: int) -> None:
        self.port.send_all(self.stream, view, now)
        self.record.bytes_down += len(view)
        self.touch(now)

    def drained(self, now: int) -> None:
        self.port.deliver(self.stream, now)

    def eof(self, now: int) -> None:
        self.record.state = "far-finished"
        self.port.finish(self.stream, now)
        self._both(now)

    def reset(self, now: int) -> None:
        if self.port.streams.get(self.number) is self.stream:
            self.port.abort(self.stream)
        self.end("reset-by-far-side", now, told=True)

    # The mux's ------------------------------------------------------------------------------------------------------

    def send(self, view: memoryview, now: int) -> int:
        taken = self.server.relay.egress.send(self.flow, (view,), now)
        self.record.bytes_up += taken
        self.touch(now)
        return taken

    def finished(self, now: int) -> None:
        self.fin = True
        if self.open:
            self.record.state = "guest-finished"
            self.server.relay.egress.shutdown(self.flow, now)
            self._both(now)

    def touch(self, now: int) -> None:
        self.record.last_at = now
        if self.server.limits.idle:
            self.server.active.move_to_end(self.flow)

    def _both(self, now: int) -> None:
        if self.fin and self.stream.fin_out:
            self.end("closed", now, orderly=True)

    def end(self, reason: str, now: int, told: bool = False, orderly: bool = False) -> None:
        """The stream is over. ``told``: the egress has forgotten the flow, or never had it."""
        self.port.drop(self.stream)
        self.server.gone(self)
        if self.flow:
            relay = self.server.relay
            del relay.tcp[self.flow]
            del self.server.active[self.flow]
            if not told:
                (relay.egress.close if orderly else relay.egress.reset)(self.flow, now)
            relay.flows.end(self.record, reason, now)
            self.flow = 0


class MuxServer:
    """The streams of one connection. Implements :class:`~.mux_stream.MuxOwner`."""

    kind = "mux"

    def __init__(self, relay: Any, end: TransportEnd, version: int, limits: MuxLimits):
        self.relay, self.limits = relay, limits
        self.port = MuxPort(self, end, "rx", version, self, limits.frame, limits.buffer)
        self.active: OrderedDict[int, RelayFlow] = OrderedDict()
        """By flow, in the order of their last use where idle ones are ended."""
        self._counts: Counter[str] = Counter()

    @property
    def counters(self) -> Counter[str]:
        """What was opened and refused, errors that were told, what was out of order."""
        return self._counts + self.port.counts

    def refused_dial(self, reason: str) -> None:
        """A connection that the rules, or its name, did not allow."""
        self._counts[reason] += 1

    @property
    def farewell(self) -> tuple[int, str] | None:
        """A byte stream that cannot be read on ends its connection."""
        broken = self.port.broken
        return (PROTOCOL_ERROR, broken.text) if broken is not None else None

    def __call__(self, direction: str, size: int, payload: int, now: int, cause: int) -> None:
        self.relay.note(direction, size, payload, now, cause)

    def receive(self, now: int) -> None:
        self.port.receive(now)
        held = self.port.held_since
        if held + MUX_PAUSE <= now and (stream := self.port.fullest) is not None:
            self._counts["buffer_overflow"] += 1
            self.port.error(stream.id, ErrorCode.STREAM_BUFFER_OVERFLOW, "stream buffered too much data")
            stream.context.end("buffer-overflow", now)
            self.port.held_since = NEVER
        if self.limits.idle:
            self._end_idle(now)

    def flush(self, now: int) -> None:
        self.port.flush(now)

    def poll_at(self, now: int) -> int:
        due = min(self.port.poll_at(now), self.port.held_since + MUX_PAUSE)
        if self.limits.idle:
            for f in self.active.values():
                return min(due, f.record.last_at + self.limits.idle)
        return due

    def close(self, now: int) -> None:
        """End every stream, without a word to the client, whose connection is gone."""
        for stream in list(self.port.streams.values()):
            stream.context.end("closed-with-channel", now)

    def _end_idle(self, now: int) -> None:
        while self.active:
            f = next(iter(self.active.values()))
            if f.record.last_at + self.limits.idle > now:
                return
            self._counts["idle"] += 1
            self.port.error(f.number, ErrorCode.DIAL_FAILED, "TCP idle timeout")
            f.end("idle", now)

    def gone(self, f: RelayFlow) -> None:
        """A stream has ended: its place is free."""
        if f.lease is not None:
            f.lease.release()
            f.lease = None

    # The port's calls -----------------------------------------------------------------------------------------------

    def opens(self, number: int, wanted: Open | None, now: int) -> None:
        port, text, code = self.port, "", ErrorCode.PROTOCOL_ERROR
        lease = None
        if number == 0:
            text = "stream_id=0 is reserved"
        elif number in port.streams:
            text = "stream_id already exists"
        elif wanted is None:
            text = "Invalid OPEN payload"
        elif len(port.streams) >= self.limits.streams:
            text, code = "max streams exceeded", ErrorCode.STREAM_LIMIT_EXCEEDED
        elif self.limits.slot is not None and (lease := self.limits.slot()) is None:
            text, code = "session max connections exceeded", ErrorCode.STREAM_LIMIT_EXCEEDED
        if text or wanted is None:
            self._counts["open_refused"] += 1
            port.error(number, code, text)
            return
        self._counts["opened"] += 1
        f = RelayFlow(self, number, lease)
        source = self.limits.source
        self.relay.dialer.dial(f, wanted.host, wanted.port, (source[0], source[1] or number & 0xFFFF), now)

    def room(self, stream: Stream) -> int:
        return UNLIMITED if stream.context.open else 0

    def data(self, stream: Stream, view: memoryview, now: int) -> int:
        return stream.context.send(view, now)

    def writable(self, stream: Stream, now: int) -> None:
        if stream.context.flow:
            self.relay.egress.credit(stream.context.flow, now)

    def finished(self, stream: Stream, now: int) -> None:
        stream.context.finished(now)

    def aborted(self, stream: Stream, now: int) -> None:
        stream.context.end("reset-by-guest", now)

    def refused(self, stream: Stream, code: int, text: str, now: int) -> None:
        """An ERROR from a client means nothing."""
        self._counts["error_from_client"] += 1

    def credited(self, stream: Stream, now: int) -> None:
        """The port knows."""

    def strange(self, number: int, kind: int, now: int) -> None:
        if kind == mux.DATA:
            self.port.error(number, ErrorCode.UNKNOWN_STREAM, "unknown stream")
        else:
            self.port.error(number, ErrorCode.PROTOCOL_ERROR, f"Unknown msg_type {kind}")

    def misused(self, stream: Stream, what: str, now: int) -> None:
        self.port.error(stream.id, ErrorCode.PROTOCOL_ERROR, _MISUSE[what])


_MISUSE = {
    "after-fin": "stream is half-closed (client FIN)",
    "close": "Invalid CLOSE payload",
    "credit": "Invalid CREDIT payload",
}
