"""Names the modules of this room that hold kernels, so that importing this one registers them all."""

from . import aipc, pump

__all__ = ["aipc", "pump"]
