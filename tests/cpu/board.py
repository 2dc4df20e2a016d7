"""A core with descriptor tables, page tables, a task state and a handler for every exception: for protected-mode tests.

Each handler is a HLT, so a run ends in the handler of what happened, with the frame that was pushed on the stack.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aero_lab.compiled.registry import PLAIN
from aero_lab.cpu.core import Core, read_eflags, write_eflags
from aero_lab.cpu.execute import run
from aero_lab.cpu.state import CS, ESP, EXIT_HLT, EXIT_NAMES, LDTR, SS, TR, row

needs_nasm = pytest.mark.skipif(not shutil.which("nasm"), reason="nasm is not installed")

KERNEL, USER = 0x1000, 0x3000
KERNEL_DATA, USER_DATA, READ_ONLY, ABSENT = 0x5000, 0x6000, 0x7000, 0x40000
KERNEL_STACK, USER_STACK = 0x9000, 0xA000
DIRECTORY, TABLE, IDT, GDT, TSS, LDT, HANDLERS = 0xA000, 0xB000, 0xC000, 0xD000, 0xE000, 0xE800, 0xF000
RAM = 0x100000
KCODE, KDATA, UCODE, UDATA, TASK = 0x08, 0x10, 0x1B, 0x23, 0x28
SMALL, MISSING, DOWN, GATE, CONFORMING, FIXED, TABLE_SELECTOR, CODE16, HIDDEN, DATA16 = range(0x30, 0x80, 8)
REGISTERS = [0x11111111, 0x22222222, 0x33333333, 0x44444444, 0, 0x55555555, 0x66666666, 0x77777777]


@cache
def assemble(text: str, origin: int = KERNEL, bits: int = 32) -> bytes:
    """Machine code of Intel syntax."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "a.asm"), Path(folder, "a.bin")
        source.write_text(f"bits {bits}\norg {origin}\n{text}\n")
        subprocess.run(["nasm", "-f", "bin", "-o", target, source], check=True, timeout=60)
        return target.read_bytes()


def descriptor(base: int, limit: int, access: int, flags: int = 0xC) -> bytes:
    low = (limit & 0xFFFF) | (base & 0xFFFF) << 16
    high = (base >> 16 & 0xFF) | access << 8 | (limit & 0xF0000) | flags << 20 | (base & 0xFF000000)
    return struct.pack("<II", low, high)


def gate(selector: int, offset: int, access: int, count: int = 0) -> bytes:
    return struct.pack("<HHBBH", offset & 0xFFFF, selector, count, access, offset >> 16)


class Board:
    """The core, its memory, and a program loaded at :data:`KERNEL` or :data:`USER`."""

    def __init__(self, ring: int = 0, paging: bool = True):
        self.core = Core(bytearray(RAM) if PLAIN else np.zeros(RAM, np.uint8))
        self.c: Any = row(self.core.cpu)
        self.paging = paging
        self.tables()
        self.start(ring)

    def put(self, at: int, data: bytes) -> None:
        self.core.ram[at : at + len(data)] = data if PLAIN else np.frombuffer(data, np.uint8)

    def get(self, at: int, size: int = 4) -> int:
        return int.from_bytes(bytes(self.core.ram[at : at + size]), "little")

    def tables(self) -> None:
        self.put(DIRECTORY, struct.pack("<I", TABLE | 7))
        for page in range(RAM >> 12):
            base = page << 12
            user = base in (USER, USER + 0x1000, USER_DATA, READ_ONLY, USER_STACK - 0x1000 + 0x40000)
            rights = 5 if base == READ_ONLY else 7 if user else 3
            self.put(TABLE + 4 * page, struct.pack("<I", 0 if base == ABSENT else base | rights))
        entries = [
            bytes(8), descriptor(0, 0xFFFFF, 0x9A), descriptor(0, 0xFFFFF, 0x92),
            descriptor(0, 0xFFFFF, 0xFA), descriptor(0, 0xFFFFF, 0xF2), descriptor(TSS, 0x67, 0x89, 0),
            descriptor(0, 0x6FFF, 0x92, 4), descriptor(0, 0xFFFFF, 0x12), descriptor(0, 0x5FFF, 0x96, 4),
            gate(KCODE, KERNEL + 0x800, 0xEC, 2), descriptor(0, 0xFFFFF, 0x9E), descriptor(0, 0xFFFFF, 0xF0),
            descriptor(LDT, 0x1F, 0x82, 0), descriptor(0, 0xFFFF, 0x9A, 0), descriptor(0, 0xFFFFF, 0xF8),
            descriptor(0, 0xFFFF, 0x92, 0),
        ]  # fmt: skip
        self.put(GDT, b"".join(entries))
        self.put(LDT, bytes(8) + descriptor(0x100, 0xFFF, 0xF2))
        for vector in range(0x82):
            handler = HANDLERS + 16 * min(vector, 0x30)
            access = 0xEE if vector in (3, 4, 0x80) else 0x8F if vector == 0x81 else 0x8E
            self.put(IDT + 8 * vector, gate(KCODE, handler, access))
            self.put(handler, b"\xf4")
        self.put(TSS + 4, struct.pack("<II", KERNEL_STACK, KDATA))
        self.put(TSS + 102, struct.pack("<H", 0x68))
        self.user_stack = USER_DATA + 0xF00

    def start(self, ring: int) -> None:
        c = self.c
        c.gdt_base, c.gdt_limit, c.idt_base, c.idt_limit = GDT, 0x7F, IDT, 8 * 0x82 - 1
        c.cr3, c.cr0 = DIRECTORY, 0x80010031 if self.paging else 0x31
        c.cpl = ring
        for seg in range(6):
            c.seg_sel[seg] = (UCODE if seg == CS else UDATA) if ring else (KCODE if seg == CS else KDATA)
            c.seg_base[seg], c.seg_limit[seg] = 0, 0xFFFFFFFF
            c.seg_attr[seg] = (0xC09B if seg == CS else 0xC093) | (0x60 if ring else 0)
        c.seg_sel[TR], c.seg_base[TR], c.seg_limit[TR], c.seg_attr[TR] = TASK, TSS, 0x67, 0x8B
        c.seg_sel[LDTR], c.seg_base[LDTR], c.seg_limit[LDTR], c.seg_attr[LDTR] = TABLE_SELECTOR, LDT, 0x1F, 0x82
        for i in range(8):
            c.gpr[i] = REGISTERS[i]
        c.gpr[ESP] = self.user_stack if ring else KERNEL_STACK
        c.eip = USER if ring else KERNEL
        write_eflags(self.core.cpu, 2)
        self.core.refresh()

    def load(self, text: str, at: int | None = None) -> int:
        """Put assembled code where the core starts, or elsewhere: its size."""
        place = int(self.c.eip) if at is None else at
        code = assemble(text, place)
        self.put(place, code)
        return len(code)

    def run(self, most: int = 100_000) -> str:
        """Run up to an exit: its name."""
        self.c.until = self.c.icount + most
        return EXIT_NAMES[run(*self.core.arrays)]

    @property
    def flags(self) -> int:
        return int(read_eflags(self.core.cpu))

    @property
    def vector(self) -> int:
        """The exception whose handler the core has halted in."""
        at = int(self.c.eip) - 1 - HANDLERS
        assert at >= 0 and at % 16 == 0, f"halted at {int(self.c.eip):#x}, not in a handler"
        return at >> 4

    def frame(self, words: int) -> list[int]:
        """What was pushed last."""
        return [self.get(int(self.c.gpr[ESP]) + 4 * i) for i in range(words)]

    def register(self, number: int) -> int:
        return int(self.c.gpr[number])


HLT = EXIT_NAMES[EXIT_HLT]
assert SS == 2
