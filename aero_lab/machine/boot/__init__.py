"""Entering a kernel without a BIOS: files in, memory pieces and registers out.

The map: ``linux`` lays out boot_params, kernel, command line and initrd; ``bzimage`` and ``elf`` read the kernel,
``unpack`` what it is packed with. Pure functions of their arguments: no machine is needed to lay one out.
"""

from .linux import CONSOLE, TUNED, BootImage, linux

__all__ = ["CONSOLE", "TUNED", "BootImage", "linux"]
