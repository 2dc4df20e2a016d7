"""An end of a transport that takes its time: so many bytes a second each way, and no message is lost for it.

A quota that ends a tunnel punishes whoever needs one byte more; one that paces lets everything arrive, later. What must
wait waits where it is: outgoing messages in the ring of whoever sends, which stops output there and so the far TCP;
incoming ones in the transport's own queue, which stops reading and so the client's TCP.

Each direction has a clock of its own that runs ahead by what passed (a virtual scheduling of arrivals, ITU-T I.371):
a message may pass when that clock is not ahead of time, and a direction that was idle may be behind by
:data:`~aero_lab.bounds.PACE_BURST` at most. Exact in integers: over any span a direction passes no more than its rate
times the span, that burst, and one message.
"""

from __future__ import annotations

from ..bounds import PACE_BURST
from ..limits import NEVER, RING_ARENA, RING_SLOTS, SECOND
from ..rings.frame_ring import FrameRing
from .base import TransportEnd


class Pace:
    """One direction: ``rate`` bytes a second."""

    __slots__ = ("_fraction", "_rate", "due", "waits")

    def __init__(self, rate: int, now: int):
        self._rate = rate
        self.due = now - PACE_BURST
        """When the next message may pass."""
        self._fraction = 0
        self.waits = 0
        """How often a message had to wait."""

    def passed(self, size: int, now: int) -> None:
        """So many bytes went."""
        if self.due < now - PACE_BURST:
            self.due, self._fraction = now - PACE_BURST, 0
        ahead, self._fraction = divmod(size * SECOND + self._fraction, self._rate)
        self.due += ahead


class PacedEnd(TransportEnd):
    """An end before another, and a node: it must be stepped ahead of whoever uses it.

    Parameters
    ----------
    inner: the end that does the work; its owner from now on uses this one.
    rate: bytes a second each way.
    free: bytes, both ways together, that pass at any speed before.
    most: bytes of the largest message.
    """

    name = "paced"

    def __init__(self, inner: TransportEnd, rate: int, now: int, most: int, free: int = 0):
        self.inner = inner
        self.reliable = inner.reliable
        self.received = FrameRing(RING_SLOTS, RING_ARENA)
        self._out = FrameRing(RING_SLOTS, RING_ARENA)
        self._most = min(most, RING_ARENA)
        self._free = free
        self._up, self._down = Pace(rate, now), Pace(rate, now)
        self._held = False  # a send left messages behind because of the rate
        self._late = False  # and so did a step

    # A node ---------------------------------------------------------------------------------------------------------

    def step(self, now: int) -> None:
        """Let pass what may by now."""
        if self._held and self._down.due <= now:
            self._held = False
        if len(self._out):
            self.inner.send(self._out, now)
        came, pace = self.inner.received, self._up
        took = 0
        while len(came) and self._may(pace, now) and self.received.has_room(self._most):
            before = self.received.given_bytes
            if not came.move_to(self.received, 1):
                break
            self._passed(pace, self.received.given_bytes - before, now)
            took += 1
        held = len(came) > 0 and not self._may(pace, now)
        pace.waits += held and not self._late
        self._late = held
        if took:
            self.inner.taken()

    def poll_at(self, now: int) -> int:
        if len(self._out) and not self.inner.stalled:
            return now
        due = self._down.due if self._held else NEVER
        if len(self.inner.received) and self.received.has_room(self._most):
            due = min(due, now if self._free else max(now, self._up.due))
        return due

    def _may(self, pace: Pace, now: int) -> bool:
        return self._free > 0 or pace.due <= now

    def _passed(self, pace: Pace, size: int, now: int) -> None:
        unpaid = max(0, size - self._free)
        self._free = max(0, self._free - size)
        if unpaid:
            pace.passed(unpaid, now)

    # An end ---------------------------------------------------------------------------------------------------------

    def send(self, ring: FrameRing, now: int) -> int:
        out, pace = self._out, self._down
        moved = 0
        while True:
            if len(out):
                self.inner.send(out, now)
                if len(out):
                    break  # the transport has no room: nothing more is begun
            if not len(ring):
                break
            if not self._may(pace, now):
                if not self._held:
                    pace.waits += 1
                self._held = True
                break
            before = out.given_bytes
            if not ring.move_to(out, 1):
                break
            moved += 1
            self._passed(pace, out.given_bytes - before, now)
        return moved

    def taken(self) -> None:
        """The next step looks for room by itself."""

    def kick(self) -> None:
        self.inner.kick()

    @property
    def wake_fd(self) -> int:
        return self.inner.wake_fd

    def clear_wake(self) -> None:
        self.inner.clear_wake()

    @property
    def stalled(self) -> bool:
        return self._held or (len(self._out) > 0 and self.inner.stalled)

    @property
    def peer_closed(self) -> bool:
        return self.inner.peer_closed

    @property
    def waits(self) -> int:
        """How often one direction or the other had to wait for its rate."""
        return self._up.waits + self._down.waits

    @property
    def counters(self) -> dict[str, int]:
        return {
            **self.inner.counters,
            "messages_received": self.received.given,
            "bytes_received": self.received.given_bytes,
            "paced": self.waits,
        }

    def close(self) -> None:
        self.inner.close()

    def __repr__(self) -> str:
        return f"<PacedEnd of {self.inner!r}>"
