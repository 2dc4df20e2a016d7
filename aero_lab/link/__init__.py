"""Simulated links: what the path between two places does to frames, seeded and composable.

``Link(rtt="40ms", loss=0.01)`` says what a link is; ``Link.build(rng)`` makes its two directions, each a node between
two frame rings, out of the stages in :mod:`.stages`.
"""

from .direction import LinkDirection
from .link import Link
from .stages import Corrupt, Delay, Duplicate, Hold, Loss, Rate, Reorder, Stage

__all__ = ["Corrupt", "Delay", "Duplicate", "Hold", "Link", "LinkDirection", "Loss", "Rate", "Reorder", "Stage"]
