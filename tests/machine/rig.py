"""What the tests of the board share."""

from __future__ import annotations

import numpy as np

from aero_lab.machine.bus import Bus
from aero_lab.machine.firmware import power_on

MEMORY = np.zeros(2 << 20, np.uint8)


def board(epoch: int = 0, paced: bool = False) -> Bus:
    """A board after power-on."""
    bus = Bus()
    MEMORY[:] = 0
    power_on(bus, MEMORY, epoch, paced)
    return bus
