"""Runs a boot sector on our machine, without firmware: nothing but its own work happens."""

from __future__ import annotations

import time

from ...cpu.state import CS, row
from ...errors import AeroLabError
from ...machine.machine import Machine

RAM_MB = 2
ORIGIN = 0x7C00
"""Where a BIOS would load it."""
START, END = b"\x02", b"\x03"
"""Marks around a program's work."""


class BareRun:
    """One run: how many instructions lay between its marks, how much processor time they took, what came out."""

    def __init__(self, sector: bytes):
        self.machine = Machine(RAM_MB)
        self.machine.write(ORIGIN, sector)
        c = row(self.machine.core.cpu)
        c.eip, c.seg_sel[CS], c.seg_base[CS] = ORIGIN, 0, 0
        self.machine.core.refresh()
        self.instructions = 0
        self.seconds = 0.0
        self.result = 0
        """The number after the second mark."""

    def run(self, limit: int) -> BareRun:
        """Run to the end, or raise after ``limit`` instructions."""
        machine = self.machine
        self._until(START, limit)
        started, begun = machine.icount, time.thread_time()
        self._until(END, limit)
        self.seconds, self.instructions = time.thread_time() - begun, machine.icount - started
        seen = machine.console.size
        self._until(b"\n", limit)
        self.result = int(machine.console.since(seen), 16)
        return self

    def _until(self, mark: bytes, limit: int) -> None:
        stop = self.machine.run(until=mark, instructions=limit)
        if stop != "text":
            raise AeroLabError(f"a bare program did not say {mark!r}: {stop.meaning}")
