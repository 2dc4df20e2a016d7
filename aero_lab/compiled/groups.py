"""Which modules have kernels, by group. Read by the registry; kept apart from it, so that the list can change without
making compiled kernels stale."""

from __future__ import annotations

import sys

KERNEL_MODULES: dict[str, tuple[str, ...]] = {
    "network": (
        "aero_lab.wire.checksum",
        "aero_lab.rings.frame_ring",
        "aero_lab.link.pipe",
        "aero_lab.framing.l2_tunnel",
        "aero_lab.lan.strip",
        "aero_lab.transports.memory",
        "aero_lab.transports.simulated_stream",
        "aero_lab.backends.kernels",
        "aero_lab.stack.core",
        "aero_lab.capture.columns",
        "aero_lab.capture.causes",
        *(("aero_lab.guests.tap.frames",) if sys.platform.startswith("linux") else ()),
        "aero_lab.guests.qemu.frames",
    ),
    "cpu": ("aero_lab.cpu.kernels", "aero_lab.machine.kernels"),
    "nic": ("aero_lab.nic.kernels",),
    "reproduce": ("aero_lab.experiment.reproduce.race",),
}
"""Modules whose kernels :func:`~.registry.warmup` compiles, by group: one group pays nothing for another."""

ROOMS = {
    "aero_lab.cpu.": "cpu",
    "aero_lab.machine.": "cpu",
    "aero_lab.nic.": "nic",
    "aero_lab.experiment.": "reproduce",
}
"""Rooms whose kernels are of another group than ``network``."""
