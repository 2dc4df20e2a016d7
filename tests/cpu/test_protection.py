"""Exceptions, privilege and segments: who may do what, what is pushed, and that a fault leaves no trace."""

from __future__ import annotations

import pytest

from . import board as b
from .board import HLT, REGISTERS, Board, needs_nasm

pytestmark = needs_nasm

DE, DB, BP, OF, BR, UD, NM, TS, NP, SS, GP, PF = 0, 1, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14
NONE = -1

FAULTS = [
    # name, ring, before, the instruction, vector, error code, CR2
    ("divide by zero", 3, "xor ecx, ecx", "div ecx", DE, NONE, 0),
    ("divide overflow", 0, "mov edx, 5\nmov ecx, 5", "div ecx", DE, NONE, 0),
    ("undefined", 3, "", "ud2", UD, NONE, 0),
    ("lock on a register", 3, "", "db 0xF0, 0x01, 0xC0", UD, NONE, 0),
    ("lock on a load", 3, "", "db 0xF0, 0x8B, 0x05\ndd 0x6000", UD, NONE, 0),
    ("register form of lea", 3, "", "db 0x8D, 0xC0", UD, NONE, 0),
    ("sixteen bytes", 3, "", "times 15 db 0x66\nnop", GP, 0, 0),
    ("bound", 3, "mov dword [0x6000], 1\nmov dword [0x6004], 2", "bound eax, [0x6000]", BR, NONE, 0),
    ("hlt", 3, "", "hlt", GP, 0, 0),
    ("cli", 3, "", "cli", GP, 0, 0),
    ("sti", 3, "", "sti", GP, 0, 0),
    ("mov to cr0", 3, "", "mov cr0, eax", GP, 0, 0),
    ("mov from cr3", 3, "", "mov eax, cr3", GP, 0, 0),
    ("mov to dr7", 3, "", "mov dr7, eax", GP, 0, 0),
    ("mov from dr6", 3, "", "mov eax, dr6", GP, 0, 0),
    ("lgdt", 3, "", "lgdt [0x6000]", GP, 0, 0),
    ("lidt", 3, "", "lidt [0x6000]", GP, 0, 0),
    ("lldt", 3, "", "lldt ax", GP, 0, 0),
    ("ltr", 3, "", "ltr ax", GP, 0, 0),
    ("lmsw", 3, "", "lmsw ax", GP, 0, 0),
    ("clts", 3, "", "clts", GP, 0, 0),
    ("invlpg", 3, "", "invlpg [0x6000]", GP, 0, 0),
    ("wbinvd", 3, "", "wbinvd", GP, 0, 0),
    ("rdmsr", 3, "", "rdmsr", GP, 0, 0),
    ("wrmsr", 3, "", "wrmsr", GP, 0, 0),
    ("unknown msr", 0, "mov ecx, 0xC0000080", "rdmsr", GP, 0, 0),
    ("write to an unknown msr", 0, "mov ecx, 0xC0000080", "wrmsr", GP, 0, 0),
    ("rdpmc", 0, "", "rdpmc", GP, 0, 0),
    ("in", 3, "", "in al, 0x60", GP, 0, 0),
    ("out", 3, "", "out dx, eax", GP, 0, 0),
    ("kernel's interrupt", 3, "", "int 0x21", GP, 0x21 * 8 + 2, 0),
    ("beyond the table", 3, "", "int 0xF0", GP, 0xF0 * 8 + 2, 0),
    ("reserved bit of cr4", 0, "mov eax, 0x20", "mov cr4, eax", GP, 0, 0),
    ("paging without protection", 0, "mov eax, 0x80000000", "mov cr0, eax", GP, 0, 0),
    ("no such cr", 0, "", "db 0x0F, 0x20, 0xC8", UD, NONE, 0),
    ("missing segment", 0, "mov cx, 0x38", "mov ds, cx", NP, 0x38, 0),
    ("missing stack", 0, "mov cx, 0x38", "mov ss, cx", SS, 0x38, 0),
    ("null stack", 0, "xor ecx, ecx", "mov ss, cx", GP, 0, 0),
    ("selector beyond the table", 0, "mov cx, 0x200", "mov es, cx", GP, 0x200, 0),
    ("user loads kernel data", 3, "mov cx, 0x10", "mov ds, cx", GP, 0x10, 0),
    ("kernel loads user stack", 0, "mov cx, 0x23", "mov ss, cx", GP, 0x20, 0),
    ("a system segment as data", 0, "mov cx, 0x28", "mov ds, cx", GP, 0x28, 0),
    ("code that cannot be read as data", 3, "mov cx, 0x70", "mov ds, cx", GP, 0x70, 0),
    ("load of cs", 0, "mov cx, 8", "mov cs, cx", UD, NONE, 0),
    ("no such segment register", 0, "", "db 0x8E, 0xF9", UD, NONE, 0),
    ("write to a read-only segment", 3, "mov cx, 0x58\nmov ds, cx", "mov [0x6000], eax", GP, 0, 0),
    ("beyond a limit", 0, "mov cx, 0x30\nmov ds, cx", "mov eax, [0x6FFD]", GP, 0, 0),
    ("below an expand-down segment", 0, "mov cx, 0x40\nmov ds, cx", "mov eax, [0x5FFE]", GP, 0, 0),
    ("through a null segment", 3, "xor ecx, ecx\nmov ds, cx", "mov eax, [0x6000]", GP, 0, 0),
    ("write to code", 0, "", "mov [cs:0x5000], eax", GP, 0, 0),
    ("jump to data", 0, "", "jmp 0x10:0x1000", GP, 0x10, 0),
    ("jump to null", 0, "", "jmp 0:0x1000", GP, 0, 0),
    ("jump to a task", 0, "", "jmp 0x28:0", GP, 0x28, 0),
    ("user jumps to kernel code", 3, "", "jmp 8:0x1000", GP, 8, 0),
    ("call of a missing segment", 0, "", "call 0x38:0", GP, 0x38, 0),
    ("return to data", 0, "push dword 0x10\npush dword 0x1000", "retf", GP, 0x10, 0),
    ("return to an inner level", 3, "push dword 8\npush dword 0x1000", "retf", GP, 8, 0),
    ("iret to nowhere", 0, "push dword 2\npush dword 0x300\npush dword 0x1000", "iret", GP, 0x300, 0),
    ("iret with nested task", 0, "push dword 0x4002\npopf", "iret", GP, 0, 0),
    ("read, absent", 0, "", "mov eax, [0x40000]", PF, 0, 0x40000),
    ("write, absent", 0, "", "mov [0x40010], eax", PF, 2, 0x40010),
    ("user read, absent", 3, "", "mov eax, [0x40000]", PF, 4, 0x40000),
    ("user write, absent", 3, "", "add [0x40004], eax", PF, 6, 0x40004),
    ("user reads kernel", 3, "", "mov eax, [0x5000]", PF, 5, 0x5000),
    ("user writes kernel", 3, "", "mov [0x5008], eax", PF, 7, 0x5008),
    ("user writes read-only", 3, "", "mov [0x7008], eax", PF, 7, 0x7008),
    ("kernel writes read-only under WP", 0, "", "mov [0x7008], eax", PF, 3, 0x7008),
    ("across into absent", 0, "", "mov eax, [0x3FFFE]", PF, 0, 0x40000),
    ("write across into absent", 0, "", "mov [0x3FFFE], eax", PF, 2, 0x40000),
    ("push to absent", 0, "mov esp, 0x41000", "push eax", PF, 2, 0x40FFC),
    ("pop to absent", 0, "push eax", "pop dword [0x40000]", PF, 2, 0x40000),
    ("pusha half absent", 0, "mov esp, 0x41008", "pusha", PF, 2, 0x40FE8),
    ("cmpxchg8b on read-only", 3, "", "cmpxchg8b [0x7000]", PF, 7, 0x7000),
    ("xadd on read-only", 3, "", "xadd [0x7000], ecx", PF, 7, 0x7000),
    ("xchg on read-only", 3, "", "xchg [0x7000], ecx", PF, 7, 0x7000),
    ("fpu while a task was switched", 0, "mov eax, cr0\nor eax, 8\nmov cr0, eax", "fld1", NM, NONE, 0),
]


@pytest.mark.parametrize("name, ring, before, text, vector, error, cr2", FAULTS, ids=[f[0] for f in FAULTS])
def test_fault(name, ring, before, text, vector, error, cr2):
    machine = Board(ring)
    at = int(machine.c.eip)
    size = len(b.assemble(before, at))
    machine.load(before + "\n" + text)
    while int(machine.c.eip) != at + size:  # up to the instruction
        machine.run(1)
    registers = [machine.register(i) for i in range(8)]
    selectors, memory = [int(s) for s in machine.c.seg_sel], bytes(machine.core.ram[0x3000:0x8000])
    flags, count = machine.flags, int(machine.c.icount)
    stack = machine.c.gpr[4] if ring == 0 else b.KERNEL_STACK
    if name in ("push to absent", "pusha half absent"):  # no room for the frame: a double fault, and for that neither
        assert machine.run() == "shutdown" and int(machine.c.cr2) & ~0xFFF == 0x40000
        assert [machine.register(i) for i in range(8)] == registers
        return
    assert machine.run() == HLT and machine.vector == vector
    words = machine.frame(6)
    if error != NONE:
        assert words.pop(0) == error
    assert words[0] == at + size, "the address of the instruction itself"
    assert words[1] == selectors[1] and words[2] & 0xFFFF == flags
    if ring:
        assert words[3:5] == [registers[4], selectors[2]]
    assert [machine.register(i) for i in range(8) if i != 4] == [r for i, r in enumerate(registers) if i != 4]
    pushed = (5 if ring else 3) + (error != NONE)
    assert machine.register(4) == stack - 4 * pushed
    assert int(machine.c.cr2) == cr2 and int(machine.c.icount) == count + 2, "the fault and the handler's HLT"
    assert bytes(machine.core.ram[0x3000:0x8000]) == memory
    if vector == GP and ring == 0:
        assert [int(s) for s in machine.c.seg_sel] == selectors


def test_interrupt_from_user_mode_and_back():
    machine = Board(3)
    machine.put(b.IDT + 8 * 0x80, b.gate(b.KCODE, b.KERNEL, 0xEE))
    machine.load(
        "mov [0x5010], esp\nmov eax, [esp + 12]\nmov [0x5000], eax\nmov ax, ss\nmov [0x5008], ax\niret", b.KERNEL
    )
    machine.load("push dword 0x246\npopf\nmov ecx, esp\nint 0x80\nmov edx, esp\nmov bx, cs\nud2")
    machine.c.eflags |= 0x200
    assert machine.run() == HLT and machine.vector == UD
    assert machine.get(0x5008, 2) == b.KDATA and machine.get(0x5000) == machine.user_stack
    assert machine.register(1) == machine.register(2) == machine.user_stack, "the stack is as before"
    assert machine.register(3) & 0xFFFF == b.UCODE and machine.get(0x5010) == b.KERNEL_STACK - 20
    frame = machine.frame(5)
    assert frame[1] == b.UCODE and frame[4] == b.UDATA and frame[2] & 0x246 == 0x246


def test_interrupt_and_trap_gates_differ_by_the_interrupt_flag():
    for vector, expected in ((0x80, 0), (0x81, 0x200)):
        machine = Board()
        machine.load(f"int {vector}")
        machine.c.eflags |= 0x300  # IF, and TF that the gate clears
        machine.c.eflags &= ~0x100
        assert machine.run() == HLT and machine.flags & 0x200 == expected


def test_call_gate_copies_parameters_and_returns():
    machine = Board(3)
    machine.load("mov eax, [esp + 8]\nmov ebx, [esp + 12]\nmov cx, cs\nmov [0x5000], cx\nretf 8", b.KERNEL + 0x800)
    machine.load("push dword 77\npush dword 88\ncall 0x48:0\nmov esi, esp\nmov di, cs\nud2")
    machine.put(b.GDT + 0x48, b.gate(b.KCODE, b.KERNEL + 0x800, 0xEC, 2))
    assert machine.run() == HLT and machine.vector == UD
    assert machine.register(0) == 88 and machine.register(3) == 77 and machine.get(0x5000, 2) == b.KCODE
    assert machine.register(6) == machine.user_stack and machine.register(7) & 0xFFFF == b.UCODE


def test_far_calls_jumps_and_returns_inside_a_level():
    machine = Board()
    machine.load("call 8:there\njmp 0x50:next\nthere: mov eax, 5\nretf\nnext: mov bx, cs\njmp far [place]\nlast: hlt\n"
                 "place: dd last\ndw 8")  # fmt: skip
    assert machine.run() == HLT and machine.register(0) == 5
    assert machine.register(3) & 0xFFFF == b.CONFORMING and machine.register(4) == b.KERNEL_STACK
    assert int(machine.c.seg_sel[1]) == 8


def test_virtual_8086_mode_is_entered_by_iret_and_left_by_a_fault():
    machine = Board()
    machine.put(b.TABLE + 4 * 3, (b.USER | 7).to_bytes(4, "little"))
    machine.load("push dword 0\npush dword 0\npush dword 0x600\npush dword 0x600\npush dword 0x600\npush dword 0xF00\n"
                 "push dword 0x20002\npush dword 0x300\npush dword 0\niret")  # fmt: skip
    machine.put(b.USER, b.assemble("mov ax, ds\nmov [0], ax\npush ax\ncli", 0, 16))
    assert machine.run() == HLT and machine.vector == GP
    frame = machine.frame(10)
    assert frame[0] == 0 and frame[2] == 0x300 and frame[3] & 0x20000 and frame[5:10] == [0x600, 0x600, 0x600, 0, 0]
    assert machine.get(0x6000, 2) == 0x600 and machine.get(0x6000 + 0xEFE, 2) == 0x600 and frame[4] == 0xEFE
    assert int(machine.c.seg_sel[3]) == 0 and int(machine.c.cpl) == 0


def test_a_fault_in_a_handlers_entry_is_a_double_fault_and_then_a_shutdown():
    machine = Board()
    machine.put(b.IDT + 8 * PF, b.gate(0x300, 0, 0x8E))
    machine.load("mov eax, [0x40000]")
    assert machine.run() == HLT and machine.vector == 8 and machine.frame(2) == [0, b.KERNEL]
    machine = Board()
    machine.c.idt_limit = 0
    machine.load("ud2")
    assert machine.run() == "shutdown" and int(machine.c.eip) == b.KERNEL
    assert [machine.register(i) for i in range(4)] == REGISTERS[:4]


def test_accessed_and_dirty_bits():
    machine = Board()
    entry = b.TABLE + 4 * (b.USER_DATA >> 12)
    machine.load("mov eax, [0x6000]\nhlt\nmov [0x6000], eax\nhlt")
    assert machine.get(entry) & 0x60 == 0
    machine.run()
    assert machine.get(entry) & 0x60 == 0x20 and machine.get(b.DIRECTORY) & 0x20
    machine.c.halted = 0
    machine.run()
    assert machine.get(entry) & 0x60 == 0x60


def test_write_protection_is_the_kernels_choice():
    machine = Board()
    machine.load("mov eax, cr0\nand eax, 0xFFFEFFFF\nmov cr0, eax\nmov [0x7000], eax\nor eax, 0x10000\nmov cr0, eax\n"
                 "mov [0x7004], eax")  # fmt: skip
    assert machine.run() == HLT and machine.vector == PF and machine.frame(1) == [3]
    assert machine.get(0x7000) == 0x80000031 and machine.get(0x7004) == 0


def test_invlpg_and_cr3_end_what_the_tlb_remembers():
    for forget in ("invlpg [0x6000]", "mov eax, cr3\nmov cr3, eax"):
        machine = Board()
        machine.load(f"mov eax, [0x6000]\nmov dword [0xB018], 0x5067\n{forget}\nmov ebx, [0x6000]\nhlt")
        machine.put(0x5000, b"\x09\0\0\0")
        machine.put(0x6000, b"\x07\0\0\0")
        assert machine.run() == HLT and machine.register(3) == 9


def test_global_pages_outlive_cr3():
    machine = Board()
    machine.load("mov eax, 0x80\nmov cr4, eax\nmov dword [0xB018], 0x6163\nmov ebx, [0x6000]\n"
                 "mov dword [0xB018], 0x5163\nmov eax, cr3\nmov cr3, eax\nmov ecx, [0x6000]\n"
                 "mov eax, 0\nmov cr4, eax\nmov edx, [0x6000]\nhlt")  # fmt: skip
    machine.put(0x5000, b"\x09\0\0\0")
    machine.put(0x6000, b"\x07\0\0\0")
    assert machine.run() == HLT
    assert [machine.register(i) for i in (3, 1, 2)] == [7, 7, 9]


def test_large_pages():
    machine = Board()
    machine.load("mov eax, 0x10\nmov cr4, eax\nmov dword [0xA004], 0x83\nmov eax, cr3\nmov cr3, eax\n"
                 "mov dword [0x405000], 0x1234\nmov ebx, [0x5000]\nhlt")  # fmt: skip
    assert machine.run() == HLT and machine.register(3) == 0x1234 and machine.get(0xA004) & 0x60 == 0x60


def test_ports_of_a_task():
    machine = Board(3)
    machine.put(b.TSS + 0x68, bytes([0xFF] * 12 + [0xFE]) + b"\xff")  # port 60h alone
    machine.put(b.GDT + b.TASK, b.descriptor(b.TSS, 0x68 + 14, 0x8B, 0))
    machine.c.seg_limit[7] = 0x68 + 14
    machine.load("in al, 0x60\nin ax, 0x60")
    assert machine.run() == "port-in" and int(machine.c.io_addr) == 0x60
    machine.c.io_value, machine.c.io_ready = 5, 1
    assert machine.run() == HLT and machine.vector == GP and machine.register(0) & 0xFF == 5


def test_flags_that_user_mode_cannot_change():
    machine = Board(3)
    machine.load("push dword 0x3202\npopf\npushf\npop eax\nud2")
    assert machine.run() == HLT and machine.register(0) & 0x3200 == 0
    machine = Board()
    machine.load("push dword 0x3202\npopf\npushf\npop eax\nud2")
    assert machine.run() == HLT and machine.register(0) & 0x3200 == 0x3200


def test_returning_to_user_mode_drops_kernel_segments():
    machine = Board()
    machine.load("mov ax, 0x23\nmov es, ax\npush dword 0x23\npush dword 0x6E00\npush dword 2\npush dword 0x1B\n"
                 "push dword 0x3000\niret")  # fmt: skip
    machine.load("mov ax, ds\nmov bx, es\nmov cx, ss\nud2", b.USER)
    assert machine.run() == HLT and machine.vector == UD
    assert [machine.register(i) & 0xFFFF for i in (0, 3, 1)] == [0, 0x23, 0x23]


def test_looking_at_descriptors():
    machine = Board(3)
    machine.load(
        "mov ecx, 0x23\nlar eax, ecx\nlsl ebx, ecx\nverr cx\nsetz dl\nverw cx\nsetz dh\nmov ecx, 0x10\nlar esi, ecx\n"
        "setz ch\nmov edi, 0x58\nverw di\nsetz cl\nstr [0x6000]\nsldt [0x6002]\nsmsw [0x6004]\nsgdt [0x6008]\n"
        "sidt [0x6010]\nud2"
    )
    assert machine.run() == HLT and machine.vector == UD
    assert (
        machine.register(0) == 0xCFF200 | 0x100 * (machine.register(0) >> 8 & 1) and machine.register(3) == 0xFFFFFFFF
    )
    assert machine.register(2) & 0xFFFF == 0x101 and machine.register(1) & 0xFFFF == 0
    assert machine.get(0x6000, 2) == b.TASK and machine.get(0x6002, 2) == b.TABLE_SELECTOR
    assert machine.get(0x6004, 2) == 0x31 and machine.get(0x6008, 2) == 0x7F and machine.get(0x600A) == b.GDT
    assert machine.get(0x6010, 2) == 8 * 0x82 - 1 and machine.get(0x6012) == b.IDT


def test_loading_descriptor_tables():
    machine = Board()
    machine.put(0x5000, (0x6F).to_bytes(2, "little") + b.GDT.to_bytes(4, "little"))
    machine.put(b.GDT + b.TASK + 5, b"\x89")
    machine.load("lgdt [0x5000]\nmov ax, 0x60\nlldt ax\nmov ax, 0x28\nltr ax\nmov ax, 0xC\nmov fs, ax\n"
                 "mov eax, [fs:0x4F00]\nxor ebx, ebx\nlldt bx\nmov gs, ax\nhlt")  # fmt: skip
    assert machine.run() == HLT and machine.vector == GP
    assert machine.get(b.GDT + b.TASK + 5, 1) == 0x8B, "the task is busy"
    assert int(machine.c.gdt_limit) == 0x6F and int(machine.c.seg_attr[6]) == 0 and int(machine.c.seg_base[4]) == 0x100


def test_arpl_adjusts_the_requested_level():
    machine = Board(3)
    machine.load("mov eax, 0x20\nmov ecx, 3\narpl ax, cx\nsetz dl\narpl ax, cx\nsetz dh\nud2")
    assert machine.run() == HLT and machine.register(0) == 0x23 and machine.register(2) & 0xFFFF == 1


def test_selectors_and_machine_status_in_memory_and_registers():
    machine = Board()
    machine.put(b.GDT + b.TASK + 5, b"\x89")
    for i, word in enumerate((0x60, 0x28, 0x10, 0x2B, 0x9)):
        machine.put(0x5000 + 2 * i, word.to_bytes(2, "little"))
    machine.load(
        "lldt [0x5000]\nltr [0x5002]\nlar eax, [0x5004]\nlsl ebx, [0x5004]\nmov ecx, 3\narpl [0x5004], cx\n"
        "setz dl\nverr [0x5004]\nsetz dh\nmov gs, [0x5006]\nsmsw esi\nor esi, 2\nlmsw [0x5008]\nsldt edi\nstr bp\nhlt"
    )
    machine.put(b.GDT + 0x28 + 5, b"\x89")
    machine.put(0x5006, (0x23).to_bytes(2, "little"))
    assert machine.run() == HLT and machine.register(0) & 0xFFFEFF == 0xCF9200 and machine.register(3) == 0xFFFFFFFF
    assert machine.get(0x5004, 2) == 0x13 and machine.register(2) & 0xFFFF == 0x101 - 0x100
    assert int(machine.c.seg_sel[5]) == 0x23 and machine.register(6) == 0x80010033
    assert int(machine.c.cr0) & 15 == 9 and machine.register(7) == 0x60 and machine.register(5) & 0xFFFF == 0x28


def test_invlpg_drops_a_large_page_whole():
    machine = Board()
    machine.load(
        "mov eax, 0x10\nmov cr4, eax\nmov dword [0xA004], 0x83\nmov eax, [0x406000]\n"
        "mov dword [0xA004], 0xB003\ninvlpg [0x400000]\nmov dword [0xB018], 0x5003\nmov ebx, [0x406000]\nhlt"
    )
    machine.put(0x5000, b"\x09\0\0\0")
    machine.put(0x6000, b"\x07\0\0\0")
    assert machine.run() == HLT and machine.register(0) == 7 and machine.register(3) == 9
