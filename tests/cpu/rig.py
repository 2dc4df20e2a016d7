"""One instruction at a time on the core and on unicorn, from the same state, in the same memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from unicorn import (
    UC_ARCH_X86,
    UC_ERR_FETCH_UNMAPPED,
    UC_ERR_INSN_INVALID,
    UC_ERR_READ_UNMAPPED,
    UC_ERR_WRITE_UNMAPPED,
    UC_HOOK_INTR,
    UC_MODE_16,
    UC_MODE_32,
    Uc,
    UcError,
)
from unicorn import x86_const as x

from aero_lab.compiled.registry import PLAIN
from aero_lab.cpu.core import Core, code_written, read_eflags, write_eflags
from aero_lab.cpu.execute import run
from aero_lab.cpu.state import CS, DS, ES, FS, GS, SS, row

CODE, DATA, STACK = 0x1000, 0x4000, 0x8000
"""Where code, data and stack lie; two pages each, and what is between them is not mapped."""
AREA = 0x2000
TABLES, GATES, HANDLERS = 0xC000, 0xE000, 0xF000
"""Page tables (supervisor, read-write), interrupt descriptor table, and a HLT for each vector."""
RAM = 0x10000
REGISTERS = (
    x.UC_X86_REG_EAX, x.UC_X86_REG_ECX, x.UC_X86_REG_EDX, x.UC_X86_REG_EBX,
    x.UC_X86_REG_ESP, x.UC_X86_REG_EBP, x.UC_X86_REG_ESI, x.UC_X86_REG_EDI,
)  # fmt: skip
ARITHMETIC = 0x8D5
UNICORN_ERRORS = {
    UC_ERR_READ_UNMAPPED: 14, UC_ERR_WRITE_UNMAPPED: 14, UC_ERR_INSN_INVALID: 6,
}  # fmt: skip


@dataclass
class Case:
    """A state to run one instruction from."""

    code: bytes
    registers: list[int]
    flags: int
    data: bytes
    stack: bytes
    where: int = CODE
    straight: bool = True
    """Not a jump."""
    steps: int = 1
    """Instructions to run, if they are no more than one a block or all in one."""


@dataclass
class Outcome:
    """What it left: the vector of an exception, or None."""

    registers: list[int]
    flags: int
    eip: int
    data: bytes
    stack: bytes
    exception: int | None = None


class Ours:
    """The core with paging on: code, data and stack mapped, everything around them not present."""

    def __init__(self, bits: int = 32):
        self.bits = bits
        self.core = Core(bytearray(RAM) if PLAIN else np.zeros(RAM, np.uint8))
        self.c: Any = row(self.core.cpu)
        self._tables()

    def put(self, at: int, data: bytes) -> None:
        self.core.ram[at : at + len(data)] = data if PLAIN else np.frombuffer(data, np.uint8)

    def get(self, at: int, size: int) -> bytes:
        return bytes(self.core.ram[at : at + size])

    def _tables(self) -> None:
        directory, table = TABLES, TABLES + 0x1000
        self.put(directory, (table | 7).to_bytes(4, "little"))
        for page in range(RAM >> 12):
            base = page << 12
            mapped = any(start <= base < start + AREA for start in (CODE, DATA, STACK)) or base >= TABLES
            self.put(table + 4 * page, (base | 0x67 if mapped else 0).to_bytes(4, "little"))
        gdt = GATES + 0x800
        for i, high in ((1, 0xCF9B00), (2, 0xCF9300)):
            self.put(gdt + 8 * i, (0xFFFF | (high << 32)).to_bytes(8, "little"))
        for vector in range(32):
            target = HANDLERS + 16 * vector
            self.put(GATES + 8 * vector, (target | (8 << 16) | (0x8E00 << 32)).to_bytes(8, "little"))
            self.put(target, b"\xf4")
        c = self.c
        c.gdt_base, c.gdt_limit, c.idt_base, c.idt_limit = gdt, 0x7FF, GATES, 0x7FF
        c.cr3, c.cr0 = directory, 0x80010011
        self.segments()

    def segments(self) -> None:
        c = self.c
        for seg in (ES, CS, SS, DS, FS, GS):
            c.seg_sel[seg] = 8 if seg == CS else 16
            c.seg_base[seg], c.seg_limit[seg] = 0, 0xFFFFFFFF
            c.seg_attr[seg] = 0xC09B if seg == CS else 0xC093
        if self.bits == 16:
            for seg in (ES, CS, SS, DS, FS, GS):
                c.seg_attr[seg] &= ~0x4000
        c.cpl = 0
        self.core.refresh()

    def run(self, case: Case) -> Outcome:
        c = self.c
        self.put(case.where, case.code)
        self.put(DATA, case.data)
        self.put(STACK, case.stack)
        code_written(self.core.cpu, self.core.code, self.core.blocks, CODE, AREA)
        for i in range(8):
            c.gpr[i] = case.registers[i]
        write_eflags(self.core.cpu, case.flags)
        c.eip, c.halted, c.shadow = case.where, 0, 0
        c.exc_vector = -1
        c.until = c.icount + case.steps
        run(*self.core.arrays)
        exception = None
        eip = int(c.eip)
        if int(c.exc_vector) >= 0:  # it was not completed, the handler was entered
            exception = (eip - HANDLERS) >> 4
        return Outcome(
            [int(v) for v in c.gpr[:8]], read_eflags(self.core.cpu), eip, self.get(DATA, AREA), self.get(STACK, AREA),
            exception,
        )  # fmt: skip


class Theirs:
    """Unicorn with the same memory mapped."""

    def __init__(self, bits: int = 32):
        self.bits = bits
        self.renew()

    def renew(self) -> None:
        """Start afresh: unicorn takes the next exception after one for a double fault."""
        self.uc = Uc(UC_ARCH_X86, UC_MODE_32 if self.bits == 32 else UC_MODE_16)
        for start in (CODE, DATA, STACK):
            self.uc.mem_map(start, AREA)
        self.vector: int | None = None
        self.uc.hook_add(UC_HOOK_INTR, self._interrupt)

    def _interrupt(self, uc: Uc, number: int, _: Any) -> None:
        self.vector = number
        uc.emu_stop()

    def run(self, case: Case) -> Outcome:
        uc = self.uc
        self.vector = None
        uc.mem_write(case.where, case.code)
        uc.mem_write(DATA, case.data)
        uc.mem_write(STACK, case.stack)
        uc.ctl_remove_cache(CODE, CODE + AREA)
        for register, value in zip(REGISTERS, case.registers, strict=True):
            uc.reg_write(register, value)
        uc.reg_write(x.UC_X86_REG_EFLAGS, case.flags | 2)
        exception = None
        try:
            # Unicorn counts each turn of a repeated instruction, so what does not jump runs up to its end.
            uc.emu_start(
                case.where,
                case.where + len(case.code) if case.straight else 0,
                count=0 if case.straight else case.steps,
            )
        except UcError as error:
            if error.errno != UC_ERR_FETCH_UNMAPPED:  # of what comes next
                exception = UNICORN_ERRORS.get(error.errno, -error.errno)
        if self.vector is not None:
            exception = self.vector
        if exception is not None:
            self.renew()
        return Outcome(
            [uc.reg_read(r) for r in REGISTERS], uc.reg_read(x.UC_X86_REG_EFLAGS), uc.reg_read(x.UC_X86_REG_EIP),
            bytes(uc.mem_read(DATA, AREA)), bytes(uc.mem_read(STACK, AREA)), exception,
        )  # fmt: skip
