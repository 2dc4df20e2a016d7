"""Recording at a ring that somebody reads as he can."""

from __future__ import annotations

from ..capture.schema import ETHERNET
from ..rings import FrameRing
from .base import Tap


class Watch:
    """Records what waits in a ring, each frame once, also when some have to stay."""

    def __init__(self, recorder: Tap | None, ring: FrameRing, point: str, direction: str, link: int = ETHERNET):
        self.recorder, self.ring, self.point, self.direction, self.link = recorder, ring, point, direction, link
        self._noted = 0  # at the head of the ring, recorded already

    def look(self, now: int, noted: int | None = None) -> int:
        """Record what is new; returns how many frames wait. ``noted`` tells how many at the head are not new."""
        waiting = len(self.ring)
        if self.recorder is not None:
            old = self._noted if noted is None else noted
            if waiting > old:
                self.recorder.tap(self.ring, waiting - old, self.point, self.direction, now, old, link=self.link)
            self._noted = waiting
        return waiting

    def taken(self, number: int) -> None:
        """The first ``number`` frames have left the ring."""
        self._noted = max(0, self._noted - number)
