"""TCP of a guest through a relay by a channel for each connection: ``/tcp``.

The original's relay has no word for the end of one direction, nor for "the target has answered". Ours has both, as
empty messages, for clients that ask (:mod:`.relay_socket`). At another's relay a connection counts as open when its
channel is, and a guest that has sent its end is given :data:`~aero_lab.bounds.TCP_LINGER` of silence before the channel
is closed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

from ..bounds import MUX_CHUNK, TCP_LINGER
from ..causes import Cause
from ..egress.contract import Why
from ..framing.tcp_mux import ErrorCode
from ..limits import NEVER
from ..rings import FrameRing
from ..transports.base import TransportEnd
from ..wire.address import ip_text
from .base import Channel
from .relay_egress import Notice, RelayEgress, why_of
from .relay_socket import HALF_HEADER

_ARENA, _SLOTS = 256 << 10, 64
_CLOSED = re.compile(r"closed by \w+: (\d+) ?(.*)")


class _Tcp:
    """A connection of the sink's and its channel."""

    __slots__ = (
        "answered", "at", "blocked", "end", "far_eof", "fin", "flow", "half", "joined", "open", "quiet_since", "rest",
        "ring",
    )  # fmt: skip

    @property
    def left(self) -> int:
        """Bytes of that message that wait for the sink."""
        return len(self.rest) - self.at

    def __init__(self, flow: int, end: Any):
        self.flow, self.end = flow, end
        self.ring = FrameRing(_SLOTS, _ARENA)
        self.rest, self.at = b"", 0  # a message that the sink did not take whole, and how far it did
        self.open = self.far_eof = self.fin = self.blocked = self.half = self.answered = self.joined = False
        self.quiet_since = NEVER


class SocketEgress(RelayEgress):
    """A channel for each connection. ``dial`` opens one, given what the query of its URL says."""

    def __init__(
        self,
        sink: Any,
        ends: dict[str, TransportEnd],
        *,
        channel: Channel,
        dial: Callable[[Channel, str], TransportEnd],
        **options: Any,
    ):
        super().__init__(sink, ends, **options)
        self._channel, self._dial = channel, dial
        self._flows: dict[int, _Tcp] = {}
        self._past: Counter[str] = Counter()

    @property
    def message_counters(self) -> dict[str, int]:
        sums = Counter(self._past)
        for f in self._flows.values():
            sums.update(f.end.counters)
        return dict(sums)

    # The contract ---------------------------------------------------------------------------------------------------

    def open_tcp(self, flow: int, address: bytes, port: int, now: int) -> None:
        query = urlencode({"v": 1, "host": ip_text(address), "port": port, "half": 1})
        self._flows[flow] = _Tcp(flow, self._dial(self._channel, query))
        if self.early:
            self._notices.append(Notice("opened", flow))

    def send(self, flow: int, parts: Sequence[memoryview], now: int) -> int:
        f = self._flows.get(flow)
        if f is None or not f.open or f.fin:
            return 0
        taken = 0
        for part in parts:
            for at in range(0, len(part), MUX_CHUNK):
                piece = bytes(part[at : at + MUX_CHUNK])
                if not f.ring.push(piece, now, cause=Cause.PAYLOAD):
                    f.blocked = True
                    break
                taken += len(piece)
            if f.blocked:
                break
        self._count["tcp-bytes-up"] += taken
        return taken

    def shutdown(self, flow: int, now: int) -> None:
        f = self._flows.get(flow)
        if f is not None and f.open and not f.fin:
            f.fin, f.quiet_since = True, now

    def reset(self, flow: int, now: int) -> None:
        self.close_tcp(flow, now)

    def close_tcp(self, flow: int, now: int) -> None:
        f = self._flows.pop(flow, None)
        if f is not None:
            self._past.update(f.end.counters)
            f.end.close()

    def credit(self, flow: int, now: int) -> None:
        """What waits is offered in each step."""

    def round_trip(self, flow: int) -> int:
        return 0

    # The node's part ------------------------------------------------------------------------------------------------

    def told(self, notice: Notice, now: int) -> None:
        f = self._flows.get(notice.flow)
        if f is not None and not f.open:
            self._opened(f, now)

    def step_tcp(self, now: int) -> None:
        for f in list(self._flows.values()):
            if not f.joined and f.end.connected:
                f.joined = True
                f.half = f.end.headers.get(HALF_HEADER) == "1"
                if not f.half and not f.open:
                    self._opened(f, now)
            self._inward(f, now)
            if f.end.peer_closed and self._flows.get(f.flow) is f and not f.left and not len(f.end.received):
                self._ended(f, now)

    def _inward(self, f: _Tcp, now: int) -> None:
        took = False
        while self._flows.get(f.flow) is f:
            if not f.left:
                message = f.end.received.pop()
                if message is None:
                    break
                took = True
                f.quiet_since = now if f.fin else NEVER
                if not message.data:
                    if f.half:
                        self._mark(f, now)
                    continue
                f.rest, f.at = message.data, 0
            if not f.open:
                break
            room = self.sink.room(f.flow)
            if room <= 0:
                break
            part = memoryview(f.rest)[f.at : f.at + room]
            f.at += len(part)
            self._count["tcp-bytes-down"] += len(part)
            self.sink.data(f.flow, part, now)
        if took:
            f.end.taken()

    def _mark(self, f: _Tcp, now: int) -> None:
        """An empty message: the target has answered, or it has ended."""
        if not f.answered:
            f.answered = True
            if not f.open:
                self._opened(f, now)
        elif not f.far_eof:
            f.far_eof = True
            self.sink.eof(f.flow, now)

    def _opened(self, f: _Tcp, now: int) -> None:
        f.open = True
        self._count["tcp-opened"] += 1
        self.sink.opened(f.flow, now)

    def _ended(self, f: _Tcp, now: int) -> None:
        """The channel is gone."""
        found = _CLOSED.match(f.end.error or "")
        if f.open and found is not None and found[1] == "1000":
            if not f.far_eof:
                f.far_eof = True
                self.sink.eof(f.flow, now)
            return  # the sink closes it when its own end has been sent, or now already has
        del self._flows[f.flow]
        self._past.update(f.end.counters)
        if f.open:
            self._count["tcp-reset-by-world"] += 1
            self.sink.reset(f.flow, now)
            return
        why = _why(f.end.error or "", found[2] if found is not None else "")
        self._count[f"tcp-{why}"] += 1
        self.sink.failed(f.flow, why, now)

    def flush_tcp(self, now: int) -> None:
        for f in list(self._flows.values()):
            if len(f.ring) and f.joined:
                f.end.send(f.ring, now)
            if f.blocked and f.ring.has_room(MUX_CHUNK):
                f.blocked = False
                self.sink.drained(f.flow, now)
            if f.fin and not len(f.ring) and f.half and f.quiet_since < NEVER:
                f.quiet_since = NEVER
                f.ring.push(b"", now)
                f.end.send(f.ring, now)
            elif f.fin and not f.half and f.joined and f.quiet_since + TCP_LINGER <= now:
                f.quiet_since = NEVER
                f.end.close()

    def poll_tcp(self, now: int) -> int:
        due = NEVER
        for f in self._flows.values():
            end = f.end
            if not f.joined and end.connected:
                return now
            if len(end.received) and not f.left:
                return now
            if end.peer_closed and not f.far_eof and not f.left:
                return now
            if f.left and f.open and self.sink.room(f.flow) > 0:
                return now
            if f.joined and (len(f.ring) or f.blocked) and not end.stalled:
                return now
            if f.fin and f.half and f.quiet_since < NEVER and not len(f.ring):
                return now
            if f.fin and not f.half and f.joined:
                due = min(due, f.quiet_since + TCP_LINGER)
        return due


def _why(error: str, reason: str) -> Why:
    """What became of a connection that never was, from the answer to the upgrade or the Close."""
    if re.search(r"\b403\b", error):
        return "denied"
    return why_of(ErrorCode.DIAL_FAILED, reason)
