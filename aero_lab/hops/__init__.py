"""Hops: links on real sockets. What a simulated link does to frames, done to real TCP and UDP between two processes.

The map: ``pair`` joins two network namespaces by TUNs, so that real TCP loses and reorders. ``worker`` is the process
that does it, ``child`` its owner's side, ``loop`` its clock. ``choice`` says what can be where.
"""

from .choice import choose, why_not
from .pair import TunPair

__all__ = ["TunPair", "choose", "why_not"]
