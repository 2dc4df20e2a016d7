"""One interface for the backends, and what they count."""

from __future__ import annotations

from typing import Any, Protocol

from ..compiled.records import cells, new_records, words_of
from ..rings import FrameRing
from .aipc import STATS

WORDS = words_of(STATS)


class Backend(Protocol):
    """Where a network card's frames go, and come from. Nothing ever blocks; what is dropped is counted."""

    def transmit(self, frame: bytes) -> bool:
        """Take a frame from the guest; False when it was dropped."""
        ...

    def poll_receive(self) -> bytes | None:
        """The next frame for the guest, or None."""
        ...

    def send(self, ring: FrameRing, most: int) -> int:
        """As :meth:`transmit`, for up to ``most`` frames that wait in a card's ring; how many left it."""
        ...

    def receive(self, ring: FrameRing, most: int, now: int) -> int:
        """As :meth:`poll_receive`, for up to ``most`` frames, as far as a card's ring has room; how many came."""
        ...

    @property
    def waiting(self) -> bool:
        """Whether there is a frame for the guest."""
        ...

    @property
    def has_room(self) -> bool:
        """Whether the longest frame could be sent now."""
        ...

    @property
    def sent(self) -> tuple[int, int]:
        """Frames that the guest sent and that were not dropped, and their bytes."""
        ...

    @property
    def stats(self) -> dict[str, int]:
        """Frames and bytes, by direction (``tx``: sent by the guest) and by what became of them."""
        ...


class Tally:
    """The counts of one direction, as a record for kernels and as names for people."""

    def __init__(self, direction: str, moved: str):
        self.records: Any = new_records(STATS, 1)
        self._cells = cells(self.records)
        self._direction, self._moved = direction, moved

    def __getitem__(self, name: str) -> int:
        return int(self._cells[WORDS[name]])

    def add(self, name: str, frames: int, size: int | None = None) -> None:
        """Count one more of something, with its bytes unless there are none to it."""
        self._cells[WORDS[name]] += frames
        if size is not None:
            self._cells[WORDS["bytes" if name == "frames" else f"{name}_bytes"]] += size

    def named(self, *drops: str) -> dict[str, int]:
        """By the names that :attr:`Backend.stats` has."""
        out = {f"{self._direction}_{self._moved}_{what}": self[what] for what in ("frames", "bytes")}
        for drop in drops:
            out[f"{self._direction}_dropped_{drop}"] = self[drop]
            out[f"{self._direction}_dropped_{drop}_bytes"] = self[f"{drop}_bytes"]
        return out
