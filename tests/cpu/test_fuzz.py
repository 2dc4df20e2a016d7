"""Random bytes as code, random page tables, random state: the core stops with a reason and touches nothing outside its
arrays. Compiled code has no bounds checks, so guard zones lie around every array; in plain mode every access asserts.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from aero_lab.compiled.registry import PLAIN
from aero_lab.cpu.core import Core, write_eflags
from aero_lab.cpu.execute import run
from aero_lab.cpu.state import CS, EXIT_BUDGET, EXIT_NAMES, LDTR, TR, row

RAM, GUARD = 1 << 20, 1 << 16
ROUNDS = 3 if PLAIN else 150
TURNS = 20 if PLAIN else 200


class Guarded:
    """A core whose arrays lie between zones of a known pattern."""

    def __init__(self) -> None:
        self.zones: list[np.ndarray] = []
        self.ram = bytearray(RAM) if PLAIN else self.between(RAM)
        self.core = Core(self.ram)
        if not PLAIN:
            for name in ("cpu", "code", "blocks", "insns"):
                old = getattr(self.core, name)
                new = self.between(old.nbytes).view(old.dtype)
                new[:] = old
                setattr(self.core, name, new)
        self.c: Any = row(self.core.cpu)

    def between(self, size: int) -> np.ndarray:
        whole = np.full(size + 2 * GUARD, 0xA5, np.uint8)
        self.zones += [whole[:GUARD], whole[GUARD + size :]]
        inside = whole[GUARD : GUARD + size]
        inside[:] = 0
        return inside

    def intact(self) -> bool:
        return all((zone == 0xA5).all() for zone in self.zones)


def shuffle(machine: Guarded, rng: random.Random) -> None:
    """A state that nobody would set up."""
    c = machine.c
    noise = rng.randbytes(RAM // 8) * 8 if rng.random() < 0.7 else bytes(RAM)
    machine.ram[:] = noise if PLAIN else np.frombuffer(noise, np.uint8)
    protected = rng.random() < 0.8
    paging = protected and rng.random() < 0.6
    if paging:  # a directory whose entries mostly lead somewhere near
        for at in range(0x2000, 0x4000, 4):
            entry = rng.randrange(RAM >> 12) << 12 | rng.getrandbits(12) | rng.choice([0, 1, 1, 7, 7, 7, 0x80])
            if rng.random() < 0.02:
                entry = rng.getrandbits(32)
            machine.ram[at : at + 4] = entry.to_bytes(4, "little") if PLAIN else list(entry.to_bytes(4, "little"))
    c.cr0 = 0x10 | protected | (0x80000000 if paging else 0) | (0x10000 if rng.random() < 0.5 else 0)
    c.cr3, c.cr4 = 0x2000 if rng.random() < 0.9 else rng.getrandbits(32), rng.choice([0, 0x10, 0x90])
    c.cpl = rng.choice([0, 0, 3]) if protected else 0
    for seg in range(8):
        flat = rng.random() < 0.7
        c.seg_sel[seg] = rng.getrandbits(16)
        c.seg_base[seg] = 0 if flat else rng.getrandbits(32)
        c.seg_limit[seg] = 0xFFFFFFFF if flat else rng.getrandbits(rng.randrange(1, 33))
        c.seg_attr[seg] = (0xC09B if seg == CS else 0xC093) if flat else rng.getrandbits(16) & 0xF0FF
    c.seg_attr[LDTR], c.seg_attr[TR] = 0x82, 0x8B
    c.gdt_base, c.gdt_limit = rng.choice([0x8000, rng.getrandbits(32)]), rng.getrandbits(16)
    c.idt_base, c.idt_limit = rng.choice([0x9000, rng.getrandbits(32)]), rng.choice([0x7FF, 0x3FF, 0])
    for i in range(8):
        c.gpr[i] = rng.choice([rng.getrandbits(32), rng.randrange(RAM), RAM - 1, 0xFFFFFFFF, 0])
    c.eip = rng.choice([rng.randrange(RAM), RAM - 1, 0xFFF, 0xFFFFFFFE, rng.getrandbits(32)])
    c.halted = c.shadow = c.io_ready = 0
    c.intr_vector, c.intr = rng.choice([-1, -1, rng.randrange(256)]), rng.randrange(2)
    write_eflags(machine.core.cpu, rng.getrandbits(22) & ~(0x20000 if c.cpl != 3 else 0))
    machine.core.forget()
    machine.core.refresh()


def test_random_code_stays_inside_its_arrays():
    machine = Guarded()
    reasons = set()
    for seed in range(ROUNDS):
        rng = random.Random(seed)
        shuffle(machine, rng)
        c = machine.c
        for _ in range(TURNS):
            before = int(c.icount)
            c.until = before + 500
            reason = run(*machine.core.arrays)
            assert before <= int(c.icount) <= before + 500, f"seed {seed}"
            reasons.add(EXIT_NAMES[reason])
            if reason == EXIT_BUDGET:
                continue
            c.io_value, c.io_ready = rng.getrandbits(32), 1
            if EXIT_NAMES[reason] == "interrupt-ack":
                c.io_ready, c.intr_vector, c.intr = 0, rng.randrange(256), rng.randrange(2)
            if EXIT_NAMES[reason] in ("hlt", "shutdown"):
                c.io_ready, c.halted, c.eip = 0, 0, rng.randrange(RAM)
        assert machine.intact(), f"seed {seed} wrote outside"
        for i in range(8):
            assert 0 <= int(c.gpr[i]) <= 0xFFFFFFFF, f"seed {seed} register {i}"
        assert int(c.gpr[8]) == 0 and 0 <= int(c.eip) <= 0xFFFFFFFF, f"seed {seed}"
    assert {"shutdown"} < reasons
    if not PLAIN:
        assert {
            "budget",
            "hlt",
            "shutdown",
            "port-in",
            "port-out",
            "mmio-read",
            "mmio-write",
            "interrupt-ack",
        } <= reasons
