"""The ring backend: frames in memory that the machine and its forwarder share, in one process or in two."""

from __future__ import annotations

from ..rings import FrameRing
from .aipc import CAPACITY, pop_frames, push_frames
from .backend import Tally
from .limits import FRAME_MOST
from .segment import NET_RX, NET_TX, Queue, Segment

NONE = 1 << 30
"""Records taken at most when there is no bound."""


class RingEnd:
    """One direction as one side has it: a ring that it writes to, or reads from.

    Parameters
    ----------
    kind: which ring of the segment.
    """

    def __init__(self, segment: Segment, kind: int, tally: Tally, frame_most: int):
        self.segment, self.tally, self.frame_most = segment, tally, frame_most
        self.queue: Queue = segment.queue(kind)
        self._kind = kind
        self.identity = 0
        """That of the next frame taken out; 0: they have none."""
        self._one = FrameRing(1, -(-frame_most // 8) * 8 + 8)

    def push(self, ring: FrameRing, most: int, wait: bool) -> int:
        """Take frames from a ring and push them; how many were taken."""
        _, offset, capacity = self.queue
        array, records = self.segment.array, self.tally.records
        return push_frames(ring.array, array, offset, capacity, records, most, self.frame_most, int(wait))

    def push_one(self, frame: bytes, wait: bool = False) -> bool:
        """Push one frame; False when it was dropped, or with ``wait`` when there is no room now."""
        if len(frame) > self.frame_most:
            self.tally.add("oversize", 1, len(frame))
            return False
        before = self.tally["frames"]
        self._one.clear()
        self._one.push(frame)
        self.push(self._one, 1, wait)
        return self.tally["frames"] > before

    def pop(self, ring: FrameRing, most: int, now: int) -> int:
        """Move records into a ring, as far as that has room; how many went."""
        _, offset, capacity = self.queue
        array, records = self.segment.array, self.tally.records
        moved = pop_frames(array, offset, capacity, records, ring.array, most, self.frame_most, now, self.identity)
        self.identity += 2 * moved if self.identity else 0
        return moved

    def pop_one(self) -> bytes | None:
        """The next record, or None."""
        self._one.clear()
        if not self.pop(self._one, 1, 0):
            return None
        return self._one.pop_many(1)[0].data

    @property
    def waiting(self) -> bool:
        """Whether a record has been committed that was not taken."""
        head, _, commit = self.segment.cursors(self._kind)
        return head != commit

    @property
    def has_room(self) -> bool:
        """Whether the longest frame surely could be pushed now, wherever the end of the ring is."""
        head, reserve, _ = self.segment.cursors(self._kind)
        used, capacity = reserve - head & 0xFFFFFFFF, self.queue.capacity
        return used == 0 or capacity - used > 2 * (self.frame_most + 8)

    def clear(self) -> None:
        """Forget what is in it; neither side may be at work."""
        _, offset, _ = self.queue
        self.segment.array[offset : offset + CAPACITY] = 0


class RingBackend:
    """The card's side of a segment: NET_TX is written, NET_RX is read.

    Parameters
    ----------
    segment: shared with a :class:`~aero_lab.backends.Forwarder`.
    frame_most: bytes of the longest frame; longer ones are dropped, both ways.
    wait: leave frames where they are while NET_TX is full, instead of dropping the newest.
    """

    def __init__(self, segment: Segment, frame_most: int = FRAME_MOST, *, wait: bool = False):
        self.segment, self.wait = segment, wait
        self._tx = RingEnd(segment, NET_TX, Tally("tx", "pushed"), frame_most)
        self._rx = RingEnd(segment, NET_RX, Tally("rx", "popped"), frame_most)

    def transmit(self, frame: bytes) -> bool:
        """Take a frame from the guest; False when it was dropped."""
        return self._tx.push_one(frame)

    def poll_receive(self) -> bytes | None:
        """The next frame for the guest, or None."""
        return self._rx.pop_one()

    def send(self, ring: FrameRing, most: int) -> int:
        """Take up to ``most`` frames that wait in a card's ring; how many left it."""
        return self._tx.push(ring, most, self.wait)

    def receive(self, ring: FrameRing, most: int, now: int = 0) -> int:
        """Move up to ``most`` frames into a card's ring, as far as that has room; how many went."""
        return self._rx.pop(ring, most, now)

    @property
    def waiting(self) -> bool:
        """Whether there is a frame for the guest."""
        return self._rx.waiting

    @property
    def has_room(self) -> bool:
        """Whether the longest frame could be sent now."""
        return self._tx.has_room

    @property
    def sent(self) -> tuple[int, int]:
        """Frames that the guest sent and that were not dropped, and their bytes."""
        return self._tx.tally["frames"], self._tx.tally["bytes"]

    def clear(self) -> None:
        """Forget all frames in both rings, as when a machine is paused; the other side must not be at work."""
        self._tx.clear()
        self._rx.clear()

    @property
    def stats(self) -> dict[str, int]:
        """Frames and bytes each way, drops by reason, and what was skipped because it was damaged."""
        tx, rx = self._tx.tally, self._rx.tally
        return {
            **tx.named("oversize", "full"),
            "tx_stalled": tx["stalled"],
            **rx.named("oversize"),
            "rx_corrupt": rx["corrupt"],
            "rx_corrupt_bytes": rx["corrupt_bytes"],
            "rx_broken": 0,
        }

    def __repr__(self) -> str:
        return f"<RingBackend on {self.segment!r}>"
