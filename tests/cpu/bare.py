"""A core that runs a few instructions from the start of memory: flat 32-bit segments, no paging, CR0.NE set."""

from __future__ import annotations

from typing import Any

import numpy as np

from aero_lab.compiled.registry import PLAIN
from aero_lab.cpu.core import Core
from aero_lab.cpu.execute import run
from aero_lab.cpu.state import CR0_ET, CR0_NE, CR0_PE, CS, row

CODE, STACK = 0x1000, 0x8000


RAM = 0x20000
_kept: list[tuple[Core, Any]] = []


def fresh() -> Core:
    """A core as after power-on. When compiled it is always the same one, put back: to make one takes long."""
    if PLAIN:
        return Core(np.zeros(RAM, np.uint8))
    if not _kept:
        core = Core(np.zeros(RAM, np.uint8))
        _kept.append((core, core.cpu.copy()))
    core, state = _kept[0]
    core.ram[:] = 0
    core.cpu[:] = state
    core.forget()
    return core


def flat(code: bytes) -> tuple[Core, Any]:
    """A core about to run ``code`` at :data:`CODE`, and its record."""
    core = fresh()
    core.ram[CODE : CODE + len(code)] = np.frombuffer(code, np.uint8)
    c = row(core.cpu)
    for seg in range(6):
        c.seg_sel[seg], c.seg_base[seg], c.seg_limit[seg], c.seg_attr[seg] = 16, 0, 0xFFFFFFFF, 0xC093
    c.seg_sel[CS], c.seg_attr[CS] = 8, 0xC09B
    c.cr0 = CR0_PE | CR0_ET | CR0_NE
    c.eip, c.gpr[4] = CODE, STACK
    core.refresh()
    return core, c


def go(core: Core, instructions: int) -> int:
    """Run so many instructions: why it stopped."""
    c = row(core.cpu)
    c.until = c.icount + instructions
    return run(*core.arrays)


IDT, HANDLERS = 0x2000, 0x3000


def trap(core: Core) -> None:
    """Give each exception a handler that halts: :func:`trapped` tells which one ran."""
    c = row(core.cpu)
    gdt = np.array([0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF], "<u8")
    core.ram[0x800:0x818] = gdt.view(np.uint8)
    c.gdt_base, c.gdt_limit = 0x800, 0x17
    for vector in range(32):
        at = HANDLERS + 16 * vector
        gate = (at & 0xFFFF) | 8 << 16 | 0x8E00 << 32 | at >> 16 << 48
        core.ram[IDT + 8 * vector : IDT + 8 * vector + 8] = np.array([gate], "<u8").view(np.uint8)
        core.ram[at] = 0xF4
    c.idt_base, c.idt_limit = IDT, 8 * 32 - 1


def trapped(core: Core) -> int:
    """The vector whose handler halted, or -1."""
    at = row(core.cpu).eip - 1 - HANDLERS
    return at // 16 if at >= 0 and at % 16 == 0 and at < 512 else -1
