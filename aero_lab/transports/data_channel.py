"""One end of a WebRTC data channel as a message transport.

Theory of operation
-------------------
The library keeps what is handed to it, without a bound, and tells how much that is. So :meth:`DataChannelEnd.send`
hands messages over while less than :data:`~aero_lab.bounds.RTC_BUFFERED` bytes wait there, and is called again when
half of them have gone.

What arrives and finds :attr:`~DataChannelEnd.received` full depends on what the channel promises. On a reliable one
it waits here, the association promises its peer that much less, and beyond its window the peer has to wait; where the
library cannot make that promise, the channel is closed beyond :data:`~aero_lab.bounds.RTC_OVERRUN`. On one that may
lose messages it is lost, and counted, as it would be on a network.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from time import monotonic_ns

from ..bounds import RTC_BUFFERED, RTC_OVERRUN
from ..limits import RING_ARENA, RING_SLOTS
from ..rings.frame_ring import FrameRing
from .base import AskedEnd
from .peer import Channel
from .sightings import Unordered
from .websocket import Identities


class DataChannelEnd(AskedEnd):
    """One end of a data channel.

    Parameters
    ----------
    channel: the channel; its callbacks belong to this end from now on.
    wake: called on the loop when messages arrived, room came back, or the channel opened or closed.
    buffered: bytes that may wait in the library.
    most: bytes of the largest message; a larger one is counted and dropped, whoever sends it.
    """

    def __init__(
        self,
        channel: Channel,
        wake: Callable[[], None],
        *,
        buffered: int = RTC_BUFFERED,
        most: int = RING_ARENA,
        slots: int = RING_SLOTS,
        arena: int = RING_ARENA,
    ):
        self.received = FrameRing(slots, arena)
        self.reliable = channel.reliable  # type: ignore[misc]
        self.identities: Identities | Unordered | None = None
        """As :attr:`aero_lab.transports.websocket.WebSocketEnd.identities`; by content where order tells nothing."""
        self.heard_at = monotonic_ns()
        """When the last message came."""
        self.oversized = 0
        """Messages that came and were larger than any may be: whoever looks after the channel judges that."""
        self.channel = channel
        self.lossless = channel.max_retransmits is None and channel.max_life_ms is None
        """Whether all arrives, in whatever order."""
        self._wake, self._buffered, self._most = wake, buffered, min(most, arena)
        self._held: deque[tuple[bytes, int]] = deque()
        self._holding = 0
        self._stalled = False
        self._counts: Counter[str] = Counter()
        channel.on_message, channel.on_room = self._message, self._room
        channel.on_open = channel.on_close = self._changed
        channel.tell_room(buffered // 2)

    def send(self, ring: FrameRing, now: int) -> int:
        channel = self.channel
        moved = 0
        while channel.open and channel.buffered < self._buffered and (message := ring.pop()) is not None:
            moved += 1
            self._send(message.data, message.frame_id)
        if not len(ring):
            self._stalled = False
        elif not self._stalled:
            self._stalled = True
            self._counts["stalls"] += 1
        return moved

    def _send(self, message: bytes, identity: int) -> None:
        if len(message) > self._most:
            self._counts["too_large"] += 1
            return
        try:
            self.channel.send(message)
        except ValueError:  # more than the peer's description allows
            self._counts["too_large"] += 1
            return
        self._counts["messages_sent"] += 1
        self._counts["bytes_sent"] += len(message)
        if self.identities is not None:
            self.identities.sent(message, identity, monotonic_ns())

    def taken(self) -> None:
        freed = 0
        while self._held and self.received.push(self._held[0][0], monotonic_ns(), self._held[0][1]):
            freed += len(self._held.popleft()[0])
        if freed:
            self._holding -= freed
            self.channel.held(-freed)
            self._wake()

    @property
    def stalled(self) -> bool:
        return self._stalled or not self.channel.open

    @property
    def peer_closed(self) -> bool:
        return self.channel.closed

    @property
    def counters(self) -> dict[str, int]:
        """As every end, and what was lost here, by reason."""
        names = ("messages_sent", "bytes_sent", "stalls", "text_messages", "too_large", "received_full", "overrun")
        return {
            "messages_received": self.received.given,
            "bytes_received": self.received.given_bytes,
            **{name: self._counts[name] for name in names},
        }

    def close(self) -> None:
        self.channel.close()

    def _message(self, message: bytes | str) -> None:
        self.heard_at = monotonic_ns()
        if isinstance(message, str):
            self._counts["text_messages"] += 1
            return
        identity = self.identities.came(message, monotonic_ns()) if self.identities is not None else 0
        if len(message) > self._most:
            self._counts["too_large"] += 1
            self.oversized += 1
            self._wake()
            return
        if self._held or not self.received.push(message, monotonic_ns(), identity):
            if not self.lossless:
                self._counts["received_full"] += 1
                return
            if self._holding + len(message) > RTC_OVERRUN:
                self._counts["overrun"] += 1
                self.channel.close()
                return
            self._held.append((message, identity))
            self._holding += len(message)
            self.channel.held(len(message))
        self._wake()

    def _room(self) -> None:
        self._stalled = False
        self._wake()

    def _changed(self) -> None:
        self._stalled = False
        self._wake()

    def __repr__(self) -> str:
        state = "open" if self.channel.open else "closed" if self.channel.closed else "not open yet"
        return f"<DataChannelEnd {self.channel.label!r} {state}, {len(self.received)} received>"
