"""What is sent to measure a transport: messages that carry their number and the time when they were due."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...errors import UsageError
from ...limits import SECOND

STAMP = 16
"""Bytes of a message that say which it is and when it was due: two integers of 64 bits."""
LOST = -1
"""Delay of a message that did not arrive."""


@dataclass(frozen=True)
class Traffic:
    """``count`` messages of ``size`` bytes, one each ``gap`` ns; with a gap of 0 all are due at once, and the transport
    takes them as fast as it can."""

    count: int
    size: int
    gap: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or self.size < STAMP or self.gap < 0:
            raise UsageError(f"traffic is 1 message or more, of {STAMP} bytes or more: not {self}")

    @property
    def lasts(self) -> int:
        """From the first message to the last, in ns."""
        return (self.count - 1) * self.gap

    @property
    def offered_mbps(self) -> float | None:
        """What it asks of a transport; None for as much as there is."""
        return self.size * 8e3 / self.gap if self.gap else None

    def message(self, number: int, due: int) -> bytes:
        """The message with this number; ``due``: when it was to go, in ns."""
        return number.to_bytes(8, "big") + due.to_bytes(8, "big", signed=True) + bytes(self.size - STAMP)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def read(message: bytes) -> tuple[int, int]:
    """Number and due time of a message."""
    return int.from_bytes(message[:8], "big"), int.from_bytes(message[8:STAMP], "big", signed=True)


@dataclass(frozen=True, eq=False)
class Arrivals:
    """What became of the messages of a run: ``due`` and ``delay`` in ns by number; the delay is :data:`LOST` where none
    came. A message that came twice counts once."""

    size: int
    due: np.ndarray
    delay: np.ndarray

    @classmethod
    def of(cls, traffic: Traffic, seen: list[tuple[int, int, int]]) -> Arrivals:
        """From numbers, due times and times of arrival. Due times of messages that did not come are made up from
        their neighbours'."""
        due = np.zeros(traffic.count, np.int64)
        delay = np.full(traffic.count, LOST, np.int64)
        for number, was_due, came in seen:
            if 0 <= number < traffic.count and delay[number] == LOST:
                due[number], delay[number] = was_due, max(0, came - was_due)
        there = np.flatnonzero(delay >= 0)
        if len(there):
            due = np.interp(np.arange(traffic.count), there, due[there]).astype(np.int64)
        return cls(traffic.size, due, delay)

    @property
    def arrived(self) -> float:
        """Share of the messages that came."""
        return float((self.delay >= 0).mean())

    @property
    def delays_ms(self) -> np.ndarray:
        """Delays of those that came, in ms, by number."""
        return self.delay[self.delay >= 0] / 1e6

    @property
    def goodput_mbps(self) -> float:
        """Bytes that came over the time from the first message to the last arrival; 0 when none came."""
        there = self.delay >= 0
        if not there.any():
            return 0.0
        lasted = int((self.due + self.delay)[there].max()) - int(self.due[0])
        return float(there.sum()) * self.size * 8 / max(lasted, 1) * SECOND / 1e6
