"""What stands between a network card and a path: a pair of queues, or rings in memory that two processes share."""

from __future__ import annotations

from .backend import Backend
from .forwarder import Forwarder
from .pump import Pump
from .queue import QueueBackend
from .ring import RingBackend
from .segment import Segment

__all__ = ["Backend", "Forwarder", "Pump", "QueueBackend", "RingBackend", "Segment"]
