"""One TCP connection over a channel of its own: messages are its bytes, and where they are cut means nothing.

The target is known before there is a channel, so that a server can refuse it in its own words:
:meth:`SocketServer.dial` comes first and :meth:`SocketServer.attach` after.

The original has no half-close: when the target ends, the connection ends. With ``half`` (which a client asks for, and
ours does) an *empty* message ends its sender's direction only; and the server sends one first when the target has
answered.
"""

from __future__ import annotations

from collections import Counter
from typing import Any
from urllib.parse import parse_qsl

from ..bounds import MUX_AHEAD, MUX_CHUNK
from ..causes import Cause
from ..egress.contract import Why
from ..framing.tcp_mux import ErrorCode
from ..limits import NEVER, RING_ARENA, RING_SLOTS
from ..rings import FrameRing
from ..transports.base import TransportEnd
from .relay_streams import DIAL_TEXTS

HALF_HEADER = "Aero-Tcp-Half"
"""Header of an answer to a client that asked for ``half`` and gets it."""
NORMAL, FAILED = 1000, 1011
"""Close codes: the target ended in good order, or it did not."""
STATUS: dict[int, int] = {
    ErrorCode.POLICY_DENIED: 403,
    ErrorCode.STREAM_LIMIT_EXCEEDED: 429,
    ErrorCode.DIAL_FAILED: 502,
}
"""Of HTTP, for a connection that cannot be; others are 400."""


class _NoRecord:
    """Stands for a flow that is not open yet: idle for ever."""

    state, answered_at, bytes_up, bytes_down, last_at = "opening", 0, 0, 0, NEVER


class SocketServer:
    """One connection of a relay."""

    kind = "tcp"

    def __init__(self, relay: Any, idle: int = 0, source: tuple[bytes, int] = (bytes(4), 0)):
        self.relay, self.idle, self.source = relay, idle, source
        self.end: TransportEnd | None = None
        self.counters: Counter[str] = Counter()
        self.refusal: tuple[int, str, str] | None = None
        """Code, text and reason when the rules said no."""
        self.allowed = False
        self.over: tuple[int, str] | None = None
        """Close code and reason, once all that came has been passed on."""
        self._flow = 0
        self._record: Any = _NoRecord()
        self._open = self._half = self._fin = self._eof = self._blocked = False
        self._messages = FrameRing(RING_SLOTS, RING_ARENA)
        self._rest, self._at = b"", 0  # a message that the target did not take whole, and how far it did
        self._starved = False

    def dial(self, host: str, port: int, now: int) -> None:
        """Begin. :attr:`allowed` or :attr:`refusal` tells what came of it, possibly later."""
        self.relay.dialer.dial(self, host, port, self.source, now)

    def attach(self, end: TransportEnd, half: bool, now: int) -> None:
        """The channel is there."""
        self.end, self._half = end, half
        if self._open:
            self._answered(now)

    # The dialer's and the egress's calls ----------------------------------------------------------------------------

    def dialled(self, flow: int, now: int) -> None:
        self.allowed = True
        self._flow, self._record = flow, self.relay.flows.live[flow]
        self.relay.tcp[flow] = self

    def denied_dial(self, code: int, text: str, reason: str, now: int) -> None:
        self.refusal = (code, text, reason)

    def opened(self, now: int) -> None:
        self._open = True
        self._record.state, self._record.answered_at, self._record.last_at = "open", now, now
        if self.end is not None:
            self._answered(now)

    def _answered(self, now: int) -> None:
        if self._half:
            self._messages.push(b"", now)
        self.relay.egress.credit(self._flow, now)

    def failed(self, why: Why, now: int) -> None:
        self._finish(FAILED, f"TCP error: {DIAL_TEXTS[why]}", why, now)

    def room(self) -> int:
        ring = self._messages
        room = MUX_AHEAD - ring.used_bytes if len(ring) < RING_SLOTS // 2 and self.end is not None else 0
        self._starved = room <= 0
        return max(0, room)

    def data(self, view: memoryview, now: int) -> None:
        for at in range(0, len(view), MUX_CHUNK):
            part = bytes(view[at : at + MUX_CHUNK])
            sent = self._messages.push(part, now, cause=Cause.PAYLOAD)
            assert sent, "the ring was to have room for this"
            self.relay.note("rx", len(part), len(part), now, Cause.PAYLOAD)
        self._record.bytes_down += len(view)
        self._record.last_at = now

    def drained(self, now: int) -> None:
        self._blocked = False

    def eof(self, now: int) -> None:
        self._eof = True
        self._record.state = "far-finished"
        if self._half:
            self._messages.push(b"", now)
        if not self._half or self._fin:
            self._finish(NORMAL, "TCP closed", "closed", now, orderly=self._fin)

    def reset(self, now: int) -> None:
        self._finish(FAILED, "TCP error", "reset-by-far-side", now)

    # The node's part ------------------------------------------------------------------------------------------------

    def receive(self, now: int) -> None:
        if self.end is None or self.over is not None:
            return
        if self.idle and self._record.last_at + self.idle <= now:
            self.counters["idle"] += 1
            self._finish(FAILED, "TCP idle timeout", "idle", now)
            return
        took, record = False, self._record
        while self._open and not self._blocked and not self._fin:
            if self._at == len(self._rest):
                message = self.end.received.pop()
                if message is None:
                    break
                took = True
                self.relay.note("tx", len(message.data), len(message.data), now, Cause.PAYLOAD)
                if not message.data:
                    if self._half:
                        self._ended(now)
                    continue
                self._rest, self._at = message.data, 0
            part = memoryview(self._rest)[self._at :]
            taken = self.relay.egress.send(self._flow, (part,), now)
            record.bytes_up += taken
            record.last_at = now
            self._blocked = taken < len(part)
            self._at += taken
        if took:
            self.end.taken()

    def _ended(self, now: int) -> None:
        """The client sends no more."""
        self._fin = True
        self._record.state = "guest-finished"
        self.relay.egress.shutdown(self._flow, now)
        if self._eof:
            self._finish(NORMAL, "TCP closed", "closed", now, orderly=True)

    def flush(self, now: int) -> None:
        if self.end is not None and len(self._messages):
            self.end.send(self._messages, now)
        if self._starved and self._flow and self.room() > 0:
            self._starved = False
            self.relay.egress.credit(self._flow, now)

    @property
    def farewell(self) -> tuple[int, str] | None:
        """:attr:`over`, once everything has gone into the channel."""
        return self.over if not len(self._messages) else None

    def poll_at(self, now: int) -> int:
        if self.end is None:
            return NEVER
        if len(self._messages) and not self.end.stalled:
            return now
        if self.over is not None:
            return NEVER
        if (
            self._open
            and not self._blocked
            and not self._fin
            and (self._at < len(self._rest) or len(self.end.received))
        ):
            return now
        return self._record.last_at + self.idle if self.idle else NEVER

    def close(self, now: int) -> None:
        """The channel has gone."""
        self._finish(NORMAL, "", "closed-with-channel", now, told=False)

    def _finish(
        self, code: int, text: str, reason: str, now: int, orderly: bool = False, told: bool | None = None
    ) -> None:
        if self.over is None:
            self.over = (code, text)
        if not self._flow:
            return
        relay, flow, self._flow = self.relay, self._flow, 0
        del relay.tcp[flow]
        if orderly:
            relay.egress.close(flow, now)
        elif told is False or reason in ("closed", "idle"):
            relay.egress.reset(flow, now)
        relay.flows.end(self._record, reason, now)


class SocketDoor:
    """Where clients ask for connections, each by a channel of its own, of a relay that is in the same process."""

    def __init__(self, relay: Any):
        self._relay = relay

    def asked(self, query: str, now: int) -> SocketVisit:
        """``query``: host, port, and whether the client knows of directions that end by themselves."""
        return SocketVisit(self._relay, dict(parse_qsl(query)), now)


class SocketVisit:
    """One who asked: whether he may come in, what he is told at the end."""

    def __init__(self, relay: Any, query: dict[str, str], now: int):
        self._relay = relay
        self._half = query.get("half") == "1"
        self.part = SocketServer(relay)
        relay.parts.append(self.part)
        self.part.dial(query["host"], int(query["port"]), now)

    @property
    def verdict(self) -> tuple[int, dict[str, str]] | None:
        """Status and headers of the answer to the upgrade; None while names are looked up."""
        if self.part.refusal is not None:
            return STATUS.get(self.part.refusal[0], 400), {}
        return (101, {HALF_HEADER: "1"} if self._half else {}) if self.part.allowed else None

    @property
    def farewell(self) -> tuple[int, str] | None:
        return self.part.farewell

    def attach(self, end: TransportEnd, now: int) -> None:
        self.part.attach(end, self._half, now)

    def gone(self, now: int) -> None:
        """The channel is over. What had come by it is passed on first."""
        self.part.receive(now)
        self.part.close(now)
        self._relay.parts.remove(self.part)
