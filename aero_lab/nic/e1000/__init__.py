"""Intel's 82540EM, the network card that every operating system has a driver for: see ``docs/nic.md``."""

from .device import E1000

__all__ = ["E1000"]
