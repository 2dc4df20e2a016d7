"""Hops: links on real sockets. What a simulated link does to frames, done to real TCP and UDP between two processes.

The map: ``pair`` joins two network namespaces by TUNs, so that real TCP loses and reorders. ``relay`` stands between
two sockets on loopback, for those who have no namespaces: ``relay_streams`` for TCP, which can be late and slow and
cannot lose, ``relay_webrtc`` for UDP, which can. ``worker`` is the process that does it, ``child`` its owner's side,
``loop`` its clock. ``choice`` says what can be where.
"""

from .choice import choose, why_not
from .pair import TunPair
from .relay import Relay

__all__ = ["Relay", "TunPair", "choose", "why_not"]
