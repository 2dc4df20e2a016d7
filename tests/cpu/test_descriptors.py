"""Instructions that look at descriptors or load them, and what they leave in the tables."""

from __future__ import annotations

import pytest

from aero_lab.cpu.state import LDTR, TR

from . import board as b
from .board import HLT, Board, needs_nasm

pytestmark = needs_nasm

UD, DS_BACK = 6, "mov cx, 0x10\nmov ds, cx\n"


@pytest.mark.parametrize("text", ["lldt ax", "ltr [0x10]", "verr ax", "verw [0x10]", "lar eax, cx", "lsl eax, [0x10]",
                                  "arpl ax, cx", "arpl [0x10], cx", "sldt ax", "str [0x10]"])  # fmt: skip
def test_real_mode_knows_no_descriptors(text):
    machine = Board(paging=False)
    c = machine.c
    c.cr0 = 0x10
    for seg in range(6):
        c.seg_sel[seg], c.seg_base[seg], c.seg_limit[seg], c.seg_attr[seg] = 0x200, 0x2000, 0xFFFF, 0x93
    c.eip, c.gpr[4], c.idt_base, c.idt_limit = 0x100, 0x1000, 0, 0x3FF
    machine.core.refresh()
    machine.put(4 * UD, (0x200 << 16 | 0x80).to_bytes(4, "little"))
    machine.put(0x2080, b"\xf4")
    machine.put(0x2100, b.assemble(text + "\nhlt", 0x100, 16))
    assert machine.run() == HLT and int(c.eip) == 0x81 and machine.get(0x2FFA, 2) == 0x100


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("selector, ring, reads, writes", [
    (0x23, 3, 1, 1), (0x50, 3, 1, 0), (0x1B, 3, 1, 0), (0x73, 3, 0, 0), (0x5B, 3, 1, 0), (0x10, 3, 0, 0),
    (0x08, 0, 1, 0),
    (0x10, 0, 1, 1), (0, 0, 0, 0), (0x28, 0, 0, 0), (0x200, 0, 0, 0), (0x13, 0, 0, 0),
])  # fmt: skip
def test_verifying(selector, ring, reads, writes, in_memory):
    """ZF says it whatever it was before."""
    at = b.USER_DATA + 0x40
    operand = f"[{at}]" if in_memory else "ax"
    machine = Board(ring)
    machine.put(at, selector.to_bytes(2, "little"))
    text = f"mov eax, {selector}\n"
    for i, name in enumerate(("verr", "verw")):
        for before in (0, 1):
            text += f"mov esi, {1 - before}\ntest esi, esi\n{name} {operand}\nsetz [{at + 16 + 2 * i + before}]\n"
    machine.load(text + "ud2")
    assert machine.run() == HLT and machine.vector == UD
    assert [machine.get(at + 16 + i, 1) for i in range(4)] == [reads, reads, writes, writes]


@pytest.mark.parametrize("operand", ["ax", "[0x5000]"])
def test_task_and_table_registers(operand):
    for name, register, selector, base, access in (
        ("lldt", LDTR, b.TABLE_SELECTOR, b.LDT, 0x82),
        ("ltr", TR, b.TASK, b.TSS, 0x8B),
    ):
        machine = Board()
        c = machine.c
        c.seg_sel[register] = c.seg_base[register] = c.seg_limit[register] = c.seg_attr[register] = 0
        machine.put(0x5000, selector.to_bytes(2, "little"))
        machine.load(f"mov eax, {selector}\n{name} {operand}\nhlt")
        assert machine.run() == HLT and int(c.eip) > b.KERNEL + 5
        assert int(c.seg_sel[register]) == selector and int(c.seg_base[register]) == base
        assert int(c.seg_attr[register]) & 0xFF == access == machine.get(b.GDT + selector + 5, 1)


def test_a_segment_that_is_loaded_is_marked_in_its_table():
    machine = Board()
    marks = lambda: [machine.get(b.GDT + s + 5, 1) & 1 for s in (0x10, 0x20, 0x58)]  # noqa: E731
    machine.load("mov ax, 0x23\nmov fs, ax\nmov ax, 0x10\nmov ds, ax\nhlt")
    assert marks() == [0, 0, 0]
    assert machine.run() == HLT and int(machine.c.eip) < b.KERNEL + 0x40
    assert marks() == [1, 1, 0]


@pytest.mark.parametrize("register, number", [("es", 0), ("ss", 2), ("ds", 3), ("fs", 4), ("gs", 5)])
def test_segment_registers_come_from_the_stack(register, number):
    machine = Board()
    selector = 0x10 if register == "ss" else 0x23
    machine.c.seg_sel[number] = 0
    machine.load(f"push dword {0xAAAA0000 | selector}\npop {register}\nhlt")
    assert machine.run() == HLT and int(machine.c.seg_sel[number]) == selector
    assert machine.register(4) == b.KERNEL_STACK and int(machine.c.seg_attr[number]) & 0x80
