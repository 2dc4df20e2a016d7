"""What Linux's TCP does otherwise than ours, to be switched on one by one: whether a difference between what was
measured and what is simulated has the mechanism that it is said to have.

Nothing of our TCP is changed for it. The habits act from outside, between what it does: on the window that the reader
offers, on the bytes that are handed to the sender, and on fields of its connection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...stack import Stack
from ...stack.congestion import CUBIC_ALPHA, CUBIC_BETA, CUBIC_C
from ...stack.world import SEG_LOST, SEG_SACKED
from ...transports.simulated import SimulatedHop, StreamEnd

OFFERED = 79_872
"""Bytes of window that Linux's reader was seen to offer for the first five round trips, see :class:`Habits`."""
FOR_EVER = 1e12
"""Segments; a window that is never reached."""
LINUX_ALPHA = 8 / 15
"""``bictcp_update``: one more segment for each 15/8 of a window, in integers what RFC 9438's 0.53 is."""
LEAST = 2.0
"""Segments that a loss leaves at least."""


@dataclass(frozen=True)
class Habits:
    """Of the two ends of a WebSocket's TCP."""

    offered: int = 0
    """Bytes of window that the reader offers. Linux's begins at 64 KiB, and it sizes its buffer by what a program has
    read in a round trip, so that it is the window that ends slow start: measured, 79,872 bytes for five round trips
    of 20 ms, and many times the congestion window from then on, where it matters no more. 0: as ours, 1 MiB from the
    beginning."""
    friendly: bool = False
    """CUBIC's Reno-friendly estimate grows by 0.53 segments a round trip for ever. In RFC 9438 section 4.3, and here,
    it goes on with 1 once the window is back where it was before the reduction."""
    segments: bool = False
    """The congestion window counts segments, whatever is in them: small messages, each sent by itself, fill it as
    large ones do. In RFC 5681, and here, it counts bytes. And a loss takes its share of the window, not of what was on
    the way (RFC 5681 equation 4), which is less where the program has little to say."""


OURS = Habits()


class Sender:
    """Habits of the end that sends: asked for room before anything is written, it looks what has come to pass."""

    def __init__(self, stack: Stack, habits: Habits, cubic: bool, initial: int, clock: Callable[[], int]):
        self._stack, self._habits, self._cubic, self._clock = stack, habits, cubic, clock
        self._row = stack._tcb[0]
        self._window = Window(cubic, LINUX_ALPHA if habits.friendly else CUBIC_ALPHA, habits.friendly, initial)
        self._head = self._timeouts = 0
        self._reduced = 0

    def _of(self, name: str) -> int:
        return self._stack._field(self._row, name)

    def _under_way(self) -> int:
        """Segments believed to be on the way."""
        stack, slot = self._stack, self._of("slot")
        world = stack._world[0]
        base, mask = slot * stack._field(world, "segq"), stack._field(world, "segq_mask")
        flags = (
            stack._field(stack._segs[base + (k & mask)], "flags") for k in range(self._of("head"), self._of("tail"))
        )
        return sum(not each & (SEG_SACKED | SEG_LOST) for each in flags)

    def __call__(self, room: int) -> int:
        """What the habits leave of the room for more bytes."""
        if self._habits.friendly and self._cubic:
            self._stack._set(self._row, "cubic_prior", FOR_EVER)
        if not self._habits.segments:
            return room
        under_way = self._under_way()
        self._look(under_way, self._clock())
        mss = self._of("mss")
        self._stack._set(self._row, "cwnd", int(self._window.size) * mss)
        if self._of("snd_end") > self._of("snd_nxt") or under_way >= int(self._window.size):
            self._window.limited = True
            return 0
        return min(room, mss)

    def _look(self, under_way: int, now: int) -> None:
        timeouts, reduced, head = self._of("timeouts"), self._of("reduced_at"), self._of("head")
        if timeouts != self._timeouts:
            self._window.timeout()
        elif reduced != self._reduced:
            self._window.loss()
        elif head > self._head and not self._of("recovery"):
            self._window.acked(head - self._head, under_way, now, self._of("min_rtt"))
        self._timeouts, self._reduced, self._head = timeouts, reduced, head


def take_on(habits: Habits, hop: SimulatedHop, end: StreamEnd, clock: Callable[[], int]) -> None:
    """Both ends of a hop have these habits from now on; ``end`` is the one that sends. Before they are connected."""
    if habits.offered:
        far = hop.far.stack
        far._set(far._world[0], "tcp_recv_buffer", habits.offered)
    tcp = hop.carrier.tcp
    end.governor = Sender(hop.near.stack, habits, tcp.congestion == "cubic", tcp.initial_cwnd_segments, clock)


class Window:
    """A congestion window in segments: Reno's (RFC 5681) or CUBIC's (RFC 9438)."""

    def __init__(self, cubic: bool, alpha: float, for_ever: bool, initial: int):
        self.size = float(initial)
        self.limited = False
        """Something waited for it since it last grew."""
        self._cubic, self._alpha, self._for_ever = cubic, alpha, for_ever
        self._threshold = self._prior = FOR_EVER
        self._most = self._k = self._friendly = 0.0
        self._epoch = -1

    def loss(self) -> None:
        """A loss event."""
        self._prior = self.size
        # Fast convergence (RFC 9438 section 4.7).
        self._most = self.size * (1 + CUBIC_BETA) / 2 if self.size < self._most else self.size
        self._epoch = -1
        self._threshold = self.size = max(int(self.size * (CUBIC_BETA if self._cubic else 0.5)), LEAST)

    def timeout(self) -> None:
        """A retransmission timeout."""
        self.loss()
        self._most, self.size = 0.0, 1.0

    def acked(self, count: int, under_way: int, now: int, rtt: int) -> None:
        """So many segments were acknowledged. A window that was not used does not grow (RFC 7661)."""
        slow = self.size < self._threshold
        if not (self.limited or slow and 2 * (under_way + count) > self.size):
            return
        self.limited = False
        if slow:
            self.size = min(self.size + count, max(self._threshold, self.size))
        elif self._cubic:
            self._grow(count, now, rtt)
        else:
            self.size += count / self.size

    def _grow(self, count: int, now: int, rtt: int) -> None:
        if self._epoch < 0:
            self._epoch, self._friendly = now, self.size
            self._most = max(self._most, self.size)
            self._k = ((self._most - self.size) / CUBIC_C) ** (1 / 3)
        t = (now - self._epoch + rtt) / 1e9 - self._k
        target = min(max(self._most + CUBIC_C * t**3, self.size), 1.5 * self.size)
        self._friendly += (self._alpha if self._for_ever or self._friendly < self._prior else 1.0) * count / self.size
        self.size = max(self.size + (target - self.size) / self.size * count, self._friendly)
