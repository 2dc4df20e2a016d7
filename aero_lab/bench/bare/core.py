"""Runs a boot sector on the bare core: no board but the three ports that the programs speak to."""

from __future__ import annotations

import time

import numpy as np

from ...cpu.core import Core
from ...cpu.execute import run
from ...cpu.state import CS, EXIT_BUDGET, EXIT_NAMES, EXIT_PORT_IN, EXIT_PORT_OUT, row
from ...errors import AeroLabError

RAM = 1 << 20
ORIGIN = 0x7C00
SLICE = 10_000_000
"""Instructions a call."""
START, END = 2, 3
"""Marks around a program's work."""
CONSOLE, DOOR, LINE_STATUS, READY = 0xE9, 0xF4, 0x3FD, 0x20


class BareRun:
    """One run: how many instructions lay between its marks, how much processor time they took, what came out."""

    def __init__(self, sector: bytes):
        ram = np.zeros(RAM, np.uint8)
        ram[ORIGIN : ORIGIN + len(sector)] = np.frombuffer(sector, np.uint8)
        self.core = Core(ram)
        self._c = row(self.core.cpu)
        self._c.eip, self._c.seg_sel[CS], self._c.seg_base[CS] = ORIGIN, 0, 0
        self.core.refresh()
        self.output = ""
        self.instructions = 0
        self.seconds = 0.0

    def run(self, limit: int) -> BareRun:
        """Run to the end, or raise after ``limit`` instructions."""
        c = self._c
        started, begun = 0, 0.0
        while c.icount < limit:
            c.until = c.icount + SLICE
            why = run(*self.core.arrays)
            if why == EXIT_PORT_OUT and c.io_addr == DOOR:
                return self
            if why == EXIT_PORT_OUT and c.io_addr == CONSOLE:
                mark = c.io_value & 0xFF
                if mark == START:
                    started, begun = c.icount, time.thread_time()
                elif mark == END:
                    self.seconds, self.instructions = time.thread_time() - begun, c.icount - started
                self.output += chr(mark)
            elif why == EXIT_PORT_IN:
                c.io_value, c.io_ready = READY if c.io_addr == LINE_STATUS else 0xFF, 1
            elif why not in (EXIT_BUDGET, EXIT_PORT_OUT):
                raise AeroLabError(f"a bare program stopped: {EXIT_NAMES[why]} at {c.eip:#x}")
        raise AeroLabError(f"a bare program has not ended after {limit} instructions")

    @property
    def result(self) -> int:
        """The number after the second mark."""
        return int(self.output.partition(chr(END))[2], 16)
