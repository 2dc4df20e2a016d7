"""The one kind of queue that frames move through: see :mod:`.frame_ring`."""

from .frame_ring import Frame, FrameRing

__all__ = ["Frame", "FrameRing"]
