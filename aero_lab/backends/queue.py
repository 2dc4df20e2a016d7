"""The queue backend: two queues of frames, for a card and a path in one process."""

from __future__ import annotations

from ..errors import UsageError
from ..rings import FrameRing
from .aipc import queue_frames
from .backend import Tally
from .limits import FRAME_MOST, QUEUE_FRAMES


class QueueBackend:
    """Two bounded queues.

    Parameters
    ----------
    frames: places of each queue, a power of two.
    frame_most: bytes of the longest frame; longer ones are dropped.
    wait: leave frames where they are while a queue is full, instead of dropping the newest.
    """

    def __init__(self, frames: int = QUEUE_FRAMES, frame_most: int = FRAME_MOST, *, wait: bool = False):
        if frame_most < 1:
            raise UsageError(f"frame_most must be positive, not {frame_most}")
        self.frame_most, self.wait = frame_most, wait
        arena = -(-frame_most // 8) * 8 * (frames + 1)  # so that places run out first, wherever the arena ends
        self.tx = FrameRing(frames, arena)
        """Frames that the guest sent; a path may take them straight from here."""
        self.rx = FrameRing(frames, arena)
        """Frames for the guest; a path that puts them here itself looks for room first."""
        self._tx, self._rx = Tally("tx", "enqueued"), Tally("rx", "enqueued")

    # The card's side --------------------------------------------------------------------------------------------------
    def transmit(self, frame: bytes) -> bool:
        """Take a frame from the guest; False when it was dropped."""
        return self._put(self.tx, self._tx, frame)

    def poll_receive(self) -> bytes | None:
        """The next frame for the guest, or None."""
        frame = self.rx.pop()
        return frame.data if frame is not None else None

    def send(self, ring: FrameRing, most: int) -> int:
        """Take up to ``most`` frames that wait in a card's ring; how many left it."""
        return queue_frames(ring.array, self.tx.array, self._tx.records, most, self.frame_most, int(self.wait))

    def receive(self, ring: FrameRing, most: int, now: int = 0) -> int:
        """Move up to ``most`` frames into a card's ring, as far as that has room; how many went."""
        return self.rx.move_to(ring, most)

    @property
    def waiting(self) -> bool:
        """Whether there is a frame for the guest."""
        return len(self.rx) > 0

    @property
    def has_room(self) -> bool:
        """Whether the longest frame could be sent now."""
        return self.tx.has_room(self.frame_most)

    @property
    def sent(self) -> tuple[int, int]:
        """Frames that the guest sent and that were not dropped, and their bytes."""
        return self._tx["frames"], self._tx["bytes"]

    # The path's side --------------------------------------------------------------------------------------------------
    def drain_tx_frames(self) -> list[bytes]:
        """Take all frames that the guest sent."""
        return [frame.data for frame in self.tx.pop_many(self.tx.slots)]

    def push_rx_frame(self, frame: bytes) -> bool:
        """Give a frame to the guest; False when it was dropped."""
        return self._put(self.rx, self._rx, frame)

    def _put(self, ring: FrameRing, tally: Tally, frame: bytes) -> bool:
        if len(frame) > self.frame_most:
            tally.add("oversize", 1, len(frame))
            return False
        if not ring.has_room(len(frame)):
            tally.add("full", 1, len(frame))
            return False
        ring.push(frame)
        tally.add("frames", 1, len(frame))
        return True

    @property
    def stats(self) -> dict[str, int]:
        """Frames and bytes each way, and drops by reason. Frames that a path put into :attr:`rx` itself count too."""
        out = {**self._tx.named("oversize", "full"), **self._rx.named("oversize", "full")}
        out["rx_enqueued_frames"], out["rx_enqueued_bytes"] = self.rx.given, self.rx.given_bytes
        return out

    def __repr__(self) -> str:
        return f"<QueueBackend {len(self.tx)} frames from the guest, {len(self.rx)} for it>"
