"""The stages of a link: what one direction can do to a frame, as parameters.

A direction is a row of stages; each frame passes them in order, and each stage decides with a generator of its own. So
adding a stage, or changing what one does, leaves the decisions of the others as they were: two runs that differ in one
parameter differ by that parameter only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from ..errors import UsageError
from ..limits import LINK_QUEUE, NEVER, SECOND

DELAY, LOSS, DUPLICATE, REORDER, CORRUPT, RATE, HOLD = range(1, 8)


@dataclass(frozen=True)
class Stage:
    """Base of all stages."""

    kind: ClassVar[int]
    counter: ClassVar[str]
    """Name under which the frames that this stage acted on are counted."""

    def cells(self) -> dict[str, int]:
        """Parameters as the kernel wants them: ``p`` of 2^32, ``ns``, ``spread``, ``rate``, ``limit``."""
        raise NotImplementedError


def _chance(p: float) -> int:
    if not 0.0 <= p <= 1.0:
        raise UsageError(f"a probability must lie between 0 and 1, not {p}")
    return int(p * (1 << 32))


def _time(ns: int) -> int:
    if not 0 <= ns < NEVER // 2:
        raise UsageError(f"a delay must not be negative, nor last for ever, not {ns} ns")
    return ns


@dataclass(frozen=True)
class Delay(Stage):
    """Frames take ``ns``, give or take up to ``jitter`` ns (uniform). Order is kept; :class:`Reorder` breaks it."""

    ns: int
    jitter: int = 0
    kind = DELAY
    counter = "delayed"

    def cells(self) -> dict[str, int]:
        if not 0 <= self.jitter <= min(self.ns, SECOND):
            raise UsageError(f"jitter must lie between 0 and the delay, and below 1 s, not {self.jitter} ns")
        return {"ns": _time(self.ns), "spread": self.jitter}


@dataclass(frozen=True)
class Loss(Stage):
    """Each frame is dropped with probability ``p``."""

    p: float
    kind = LOSS
    counter = "lost"

    def cells(self) -> dict[str, int]:
        return {"p": _chance(self.p)}


@dataclass(frozen=True)
class Duplicate(Stage):
    """Each frame is followed by a copy with probability ``p``; the copy keeps its identity, its cause is DUPLICATE."""

    p: float
    kind = DUPLICATE
    counter = "duplicated"

    def cells(self) -> dict[str, int]:
        return {"p": _chance(self.p)}


@dataclass(frozen=True)
class Reorder(Stage):
    """Each frame is held back by ``by_ns`` with probability ``p``, and so is overtaken by those behind it."""

    p: float
    by_ns: int
    kind = REORDER
    counter = "reordered"

    def cells(self) -> dict[str, int]:
        return {"p": _chance(self.p), "ns": _time(self.by_ns)}


@dataclass(frozen=True)
class Hold(Stage):
    """Each frame is held back by ``by_ns`` with probability ``p``, and those behind it wait until it is out.

    So does an ordered, reliable transport with what it lost: it comes later, and holds up what was not lost.
    """

    p: float
    by_ns: int
    kind = HOLD
    counter = "held"

    def cells(self) -> dict[str, int]:
        return {"p": _chance(self.p), "ns": _time(self.by_ns)}


@dataclass(frozen=True)
class Corrupt(Stage):
    """One byte of the frame, anywhere in it, becomes another byte with probability ``p``."""

    p: float
    kind = CORRUPT
    counter = "corrupted"

    def cells(self) -> dict[str, int]:
        return {"p": _chance(self.p)}


@dataclass(frozen=True)
class Rate(Stage):
    """A line of ``bits_per_s`` behind a drop-tail queue of ``queue_bytes``.

    A frame takes its bits' time on the line, exact over any number of frames. It is dropped when what is still to be
    sent, the rest of the frame on the line included, and the frame itself exceed the queue; an idle line takes any
    frame.
    """

    bits_per_s: int
    queue_bytes: int = LINK_QUEUE
    kind = RATE
    counter = "queue_full"

    def cells(self) -> dict[str, int]:
        if self.bits_per_s < 1 or self.queue_bytes < 0:
            raise UsageError(f"a rate must be above zero and a queue not negative, not {self}")
        return {"rate": self.bits_per_s, "limit": min(self.queue_bytes * 8 * SECOND // self.bits_per_s, NEVER)}


STAGES: dict[str, Callable[..., Stage]] = {
    "rate": Rate,
    "loss": Loss,
    "duplicate": Duplicate,
    "corrupt": Corrupt,
    "delay": Delay,
    "reorder": Reorder,
    "hold": Hold,
}
"""Stages by name, in the order in which :class:`~aero_lab.link.Link` puts them into a direction.

The line comes first, so that lost frames have used it, as on a real path; a copy is corrupted independently of its
original.
"""

STAGE_ORDER = (RATE, LOSS, DUPLICATE, CORRUPT, DELAY, REORDER, HOLD)
"""The kinds in that order."""
