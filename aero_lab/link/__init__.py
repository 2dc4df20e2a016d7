"""Simulated links: what the path between two places does to frames, seeded and composable.

``Link(rtt="40ms", loss=0.01)`` says what a link is; ``Link.build(rng)`` makes its two directions, each a node between
two frame rings, out of the stages in :mod:`.stages`.
"""

from .direction import LinkDirection
from .link import Link
from .stages import (
    Corrupt,
    Delay,
    Duplicate,
    GilbertElliott,
    Hold,
    Line,
    Loss,
    Outage,
    Rate,
    RecordedLoss,
    Reorder,
    Stage,
    Stall,
)
from .traces import LossTrace, RateTrace

__all__ = [
    "Corrupt",
    "Delay",
    "Duplicate",
    "GilbertElliott",
    "Hold",
    "Line",
    "Link",
    "LinkDirection",
    "Loss",
    "LossTrace",
    "Outage",
    "Rate",
    "RateTrace",
    "RecordedLoss",
    "Reorder",
    "Stage",
    "Stall",
]
