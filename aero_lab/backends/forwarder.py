"""The other side of a segment: frames between its rings and a tunnel.

A node. ``out`` is the ring that the tunnel sends from, ``into`` the one that it puts received frames in. What the
tunnel does not take is lost and counted, and so is what neither NET_RX nor the list of pending frames has room for.
With ``wait`` nothing is lost for want of room: frames stay where they are until there is some, and whoever sends them
waits.
"""

from __future__ import annotations

from collections import deque

from ..errors import UsageError
from ..limits import NEVER, SECOND
from ..rings import FrameRing
from .backend import Tally
from .limits import FRAME_MOST, PENDING_BYTES
from .ring import NONE, RingEnd
from .segment import NET_RX, NET_TX, Segment

COUNTERS: tuple[str, ...] = tuple(
    """
txFrames txBytes txRingEmpty txDroppedNoTunnel txDroppedSendError rxFrames rxBytes rxRingFull rxDroppedNetRxFull
rxDroppedPendingOverflow rxDroppedRingTooSmall rxDroppedWhileStopped
""".split()
)


class Forwarder:
    """Moves frames between a segment and a tunnel.

    Parameters
    ----------
    segment: shared with a :class:`~aero_lab.backends.RingBackend`.
    out, into: the tunnel's rings; made when absent.
    pending_bytes: most bytes of frames kept while NET_RX is full; 0 keeps none.
    frame_most: bytes of the longest frame.
    wait: hold frames back instead of losing them.
    """

    def __init__(
        self,
        segment: Segment,
        out: FrameRing | None = None,
        into: FrameRing | None = None,
        *,
        pending_bytes: int = PENDING_BYTES,
        frame_most: int = FRAME_MOST,
        wait: bool = False,
    ):
        if pending_bytes < 0:
            raise UsageError(f"pending_bytes must not be negative, not {pending_bytes}")
        self.segment, self.wait, self.pending_bytes = segment, wait, pending_bytes
        arena = -(-frame_most // 8) * 8 * 1025
        self.out = FrameRing(1024, arena) if out is None else out
        self.into = FrameRing(1024, arena) if into is None else into
        self.running = True
        """When it is not, frames from the tunnel are dropped and those of the guest stay in their ring."""
        self.connected = True
        """Whether there is a tunnel; frames of the guest are dropped while there is none."""
        self._tx = RingEnd(segment, NET_TX, Tally("tx", "popped"), frame_most)
        self._rx = RingEnd(segment, NET_RX, Tally("rx", "pushed"), frame_most)
        self._pending: deque[bytes] = deque()
        self._held = 0
        self._counts: dict[str, int] = dict.fromkeys(COUNTERS, 0)
        self._log_at, self._logged = 0, {"rx": 0, "pending": 0, "tx": 0}

    def number_frames(self, first: int) -> None:
        """Give the guest's frames the identities behind ``first``, every second number: records have none."""
        self._tx.identity = first + 1

    # A node -----------------------------------------------------------------------------------------------------------
    def step(self, now: int) -> None:
        """One tick: what the guest sent, then what is for it."""
        if not self.running:
            for frame in self.into.pop_many(self.into.slots):
                self._drop("rxDroppedWhileStopped", frame.data)
            return
        self._drain(now)
        self._flush()
        self._deliver()

    def poll_at(self, now: int) -> int:
        if not self.running:
            return now if len(self.into) else NEVER
        if self._tx.waiting and (self._has_room or not self.wait or not self.connected):
            return now
        if len(self.into) and not self.wait:
            return now
        return now if (len(self.into) or self._pending) and self._rx.has_room else NEVER

    @property
    def _has_room(self) -> bool:
        return self.out.has_room(self._tx.frame_most)

    # From the guest ---------------------------------------------------------------------------------------------------
    def _drain(self, now: int) -> None:
        """NET_TX into the tunnel, all of it, or until the tunnel refuses a frame: that one is lost."""
        if not self._tx.waiting:
            self._counts["txRingEmpty"] += 1
            return
        if not self.connected:
            while (frame := self._tx.pop_one()) is not None:
                self._drop("txDroppedNoTunnel", frame)
            return
        before = self.out.given_bytes
        self._counts["txFrames"] += self._tx.pop(self.out, NONE, now)
        self._counts["txBytes"] += self.out.given_bytes - before
        if not self.wait and self._tx.waiting and not self._has_room:
            frame = self._tx.pop_one()
            if frame is not None:
                self._drop("txDroppedSendError", frame)

    # For the guest ----------------------------------------------------------------------------------------------------
    def _flush(self) -> None:
        """Pending frames into NET_RX, as far as it has room."""
        while self._pending:
            frame = self._pending[0]
            if not self._rx.push_one(frame, wait=True):
                self._counts["rxRingFull"] += 1
                return
            self._pending.popleft()
            self._held -= len(frame)
            self._arrived(1, len(frame))

    def _deliver(self) -> None:
        """Frames of the tunnel into NET_RX, those that find no room into the list of pending ones."""
        if not len(self.into):
            return
        tally = self._rx.tally
        if not self._pending:
            frames, size, oversize = tally["frames"], tally["bytes"], tally["oversize"]
            self._rx.push(self.into, NONE, wait=True)
            self._arrived(tally["frames"] - frames, tally["bytes"] - size)
            self._counts["rxDroppedRingTooSmall"] += tally["oversize"] - oversize
            if not len(self.into):
                return
        self._counts["rxRingFull"] += 1
        if self.wait:
            return
        for frame in self.into.pop_many(self.into.slots):
            self._keep(frame.data)

    def _keep(self, frame: bytes) -> None:
        if len(frame) > min(self._rx.frame_most, self._rx.queue.capacity - 4):
            self._drop("rxDroppedRingTooSmall", frame)
        elif self.pending_bytes == 0:
            self._drop("rxDroppedNetRxFull", frame)
        elif self._held + len(frame) > self.pending_bytes:
            self._drop("rxDroppedPendingOverflow", frame)
        else:
            self._pending.append(frame)
            self._held += len(frame)

    def _arrived(self, frames: int, size: int) -> None:
        self._counts["rxFrames"] += frames
        self._counts["rxBytes"] += size

    def _drop(self, why: str, frame: bytes) -> None:
        self._counts[why] = self._counts[why] + 1

    # What can be looked at --------------------------------------------------------------------------------------------
    @property
    def counters(self) -> dict[str, int]:
        """Frames and bytes each way, what waits, and drops by reason."""
        corrupt = self._tx.tally
        return {
            **self._counts,
            "txDroppedTunnelBackpressure": self._counts["txDroppedSendError"],
            "txCorrupt": corrupt["corrupt"],
            "txCorruptBytes": corrupt["corrupt_bytes"],
            "txDroppedOversize": corrupt["oversize"],
            "rxPendingFrames": len(self._pending),
            "rxPendingBytes": self._held,
        }

    def log_line(self, now: int) -> str | None:
        """A line for a log, about once a second: totals, and what was dropped since the last one."""
        if now < self._log_at:
            return None
        self._log_at = now + SECOND
        c, before = self._counts, self._logged
        drops = {
            "rx": c["rxDroppedNetRxFull"], "pending": c["rxDroppedPendingOverflow"], "tx": c["txDroppedSendError"],
        }  # fmt: skip
        self._logged = drops
        state = "stopped" if not self.running else "open" if self.connected else "closed"
        new = {name: count - before[name] for name, count in drops.items()}
        return (
            f"l2: {state} tx={c['txFrames']}f/{c['txBytes']}B rx={c['rxFrames']}f/{c['rxBytes']}B "
            f"drop+{{rx_full={new['rx']}, pending={new['pending']}, tx_bp={new['tx']}}} "
            f"pending={len(self._pending)}f/{self._held}B"
        )

    def __repr__(self) -> str:
        return f"<Forwarder {self.segment!r}: {len(self._pending)} frames pending>"
