"""The run loop: budgets, interrupts, steps, breakpoints, code that changes, ports, devices, what decoding keeps."""

from __future__ import annotations

import random

import pytest

from aero_lab.compiled.registry import PLAIN
from aero_lab.cpu.blocks import _hash
from aero_lab.cpu.core import code_written, forget_code
from aero_lab.cpu.limits import BLOCK_INSNS
from aero_lab.cpu.state import VOLATILE, row

from . import board as b
from .board import HLT, Board, needs_nasm

pytestmark = needs_nasm

LOOP = """mov ecx, 50
again: add eax, ecx
xor edx, eax
mov [0x5000], eax
add [0x5004], dl
push edx
pop ebx
loop again
hlt"""


def state(machine: Board) -> tuple:
    c = machine.c
    visible = [int(v) for v in c.gpr[:8]] + [int(c.eip), machine.flags, int(c.icount)]
    return visible, bytes(machine.core.ram[0x5000:0xA000])


def test_a_budget_is_met_exactly_and_changes_nothing():
    whole = Board()
    whole.load(LOOP)
    assert whole.run() == HLT
    rng = random.Random(5)
    pieces = Board()
    pieces.load(LOOP)
    reason = "budget"
    while reason == "budget":
        pieces.c.until = pieces.c.icount + rng.randrange(1, 12)
        aim = int(pieces.c.until)
        reason = b.EXIT_NAMES[b.run(*pieces.core.arrays)]
        assert reason == HLT or int(pieces.c.icount) == aim
    assert state(whole) == state(pieces)


def test_decoded_code_is_no_state():
    plain, disturbed = Board(), Board()
    for machine in (plain, disturbed):
        machine.load(LOOP)
    while disturbed.run(7) == "budget":
        forget_code(*disturbed.core.arrays[:3])
    plain.run()
    assert state(plain) == state(disturbed) and row(disturbed.core.code).flushes > 10


PAIRS = """mov ecx, 300
again: mov eax, ecx
imul eax, eax, 40503
mov [0x5000], eax
cmp eax, [0x5000]
jne bad
cmp al, 0x40
jb low
inc edx
low: test ah, 3
jnz on
add edi, eax
on: cmp byte [0x5001], 0x80
jge less
dec esi
less: cmp eax, edi
ja near above
add ebx, eax
above: test eax, ecx
js minus
add ebp, 3
minus: cmp ecx, 1
lea ecx, [ecx - 1]
jne near again
bad: hlt"""


def test_comparisons_with_their_jumps_are_what_they_are_alone():
    """Whole, in pieces that part some of them, and one by one."""
    whole, pieces, alone = Board(), Board(), Board()
    for machine in (whole, pieces, alone):
        machine.load(PAIRS)
    assert whole.run() == HLT and whole.register(1) == 0
    rng = random.Random(9)
    while pieces.run(rng.randrange(1, 7)) == "budget":
        pass
    alone.c.stepping = 1
    while alone.run() == "step":
        pass
    assert state(whole) == state(pieces) == state(alone)


def test_a_comparison_that_faults_is_where_its_jump_is_not():
    machine = Board()
    machine.load(f"inc eax\ncmp dword [{b.ABSENT}], 5\nje away\naway: hlt")
    before = int(machine.c.icount)
    assert machine.run() == HLT and machine.vector == 14 and int(machine.c.cr2) == b.ABSENT
    assert machine.frame(2)[1] == b.KERNEL + 1 and int(machine.c.icount) == before + 3  # INC, delivery, HLT
    machine = Board(paging=False)
    machine.load(f"inc eax\ncmp byte [{b.RAM}], 5\nje away\ninc ecx\naway: hlt")
    assert machine.run() == "mmio-read" and int(machine.c.eip) == b.KERNEL + 1
    machine.c.io_value, machine.c.io_ready = 5, 1
    assert machine.run() == HLT and machine.register(1) == b.REGISTERS[1]


def test_steps_go_one_instruction_at_a_time():
    machine = Board()
    machine.load("inc eax\npush eax\npop ecx\nud2")
    machine.c.stepping = 1
    seen = []
    for _ in range(4):
        assert machine.run() == "step"
        seen.append(int(machine.c.eip) - b.KERNEL)
    assert seen[:3] == [1, 2, 3] and machine.run() == HLT and machine.vector == 6


def test_breakpoints_stop_before_the_instruction_and_let_go():
    machine = Board()
    machine.load("inc eax\ninc eax\nplace: inc eax\ninc eax\nhlt")
    machine.c.breakpoints[0], machine.c.break_count = b.KERNEL + 2, 1
    assert machine.run() == "breakpoint" and machine.register(0) == 0x11111113
    assert int(machine.c.eip) == b.KERNEL + 2
    assert machine.run() == HLT and machine.register(0) == 0x11111115


def test_the_trace_remembers_blocks():
    machine = Board()
    machine.load("mov ecx, 3\nagain: loop again\nhlt")
    code = row(machine.core.code)
    code.tracing = 1
    machine.run()
    assert int(code.trace_at) == 4
    trace = code.trace if PLAIN else machine.core.code[0]["trace"]  # arrays have a method of that name
    assert [int(trace[i]) for i in range(4)] == [b.KERNEL, b.KERNEL + 5, b.KERNEL + 5, b.KERNEL + 7]


def test_single_step_traps_after_each_instruction():
    machine = Board()
    machine.load("push dword 0x102\npopf\nnop\nnop\nhlt")
    assert machine.run() == HLT and machine.vector == 1
    frame = machine.frame(3)
    assert frame[0] == b.KERNEL + 7 and frame[2] & 0x100 and int(machine.c.dr[6]) & 0x4000


def test_an_interrupt_is_acknowledged_taken_and_ends_a_halt():
    machine = Board()
    machine.load("sti\nhlt\nmov eax, 5\nhlt")
    assert machine.run() == HLT and int(machine.c.eip) == b.KERNEL + 2
    assert machine.run() == HLT, "nothing has happened"
    machine.c.intr = 1
    assert machine.run() == "interrupt-ack"
    machine.c.intr, machine.c.intr_vector = 0, 0x20
    assert machine.run() == HLT and machine.vector == 0x20 and machine.frame(1) == [b.KERNEL + 2]
    assert machine.flags & 0x200 == 0


def test_interrupts_wait_for_the_instruction_after_sti_and_after_a_stack_switch():
    machine = Board()
    machine.load("sti\nmov ax, 0x10\nmov ss, ax\nmov esp, 0x8800\nhlt")
    machine.c.intr = 1
    assert machine.run() == "interrupt-ack" and int(machine.c.eip) == b.KERNEL + 5
    machine.c.intr = 0
    assert machine.run(1) == "budget"
    machine.c.intr = 1
    assert machine.run() == "interrupt-ack" and machine.register(4) == 0x8800


@pytest.mark.parametrize("far", [False, True], ids=["in its own block", "in another page"])
def test_code_that_writes_code(far):
    """The very next instruction is the changed one."""
    machine = Board()
    if far:
        machine.load("mov ecx, 3\nagain: call 0x2000\nadd byte [0x2001], 1\nloop again\nhlt")
        machine.load("mov eax, 1\nadd ebx, eax\nret", 0x2000)
        machine.c.gpr[3] = 0
        assert machine.run() == HLT and machine.register(3) == 1 + 2 + 3
        return
    machine.load("mov byte [place + 1], 9\nplace: mov eax, 1\nhlt")
    assert machine.run() == HLT and machine.register(0) == 9


def test_a_repeated_store_over_itself_stops_where_the_code_changed():
    machine = Board()
    machine.load(
        "mov edi, place\nmov ecx, 2\nmov eax, 0x90909090\nrep stosd\nplace: ud2\nud2\nud2\nud2\nmov ebx, 3\nhlt"
    )
    assert machine.run() == HLT and machine.register(3) == 3


def test_an_instruction_across_two_pages_belongs_to_both():
    machine = Board()
    machine.load("mov ecx, 2\njmp 0x1FFD", b.KERNEL)
    machine.load("mov eax, 0x12345678\nloop back\nhlt\nback: mov byte [0x2000], 0xAA\njmp 0x1FFD", 0x1FFD)
    assert machine.run() == HLT and machine.register(0) == 0x12AA5678


def test_the_second_page_of_an_instruction_may_be_elsewhere():
    machine = Board()
    machine.put(0x1FFF, b"\xb8")
    machine.put(0x2000, b"\x01\0\0\0\xc3")
    machine.put(0x5000, b"\x02\0\0\0\xc3")
    machine.load("call 0x1FFF\nmov ebx, eax\nmov dword [0xB008], 0x5003\ninvlpg [0x2000]\ncall 0x1FFF\nhlt")
    assert machine.run() == HLT and (machine.register(3), machine.register(0)) == (1, 2)


def test_the_same_bytes_in_another_mode_are_other_code():
    machine = Board()
    machine.put(0x2005, b"\xc3")
    machine.load("mov eax, 0x7FFFFFFF\nmov edx, esp\ncall 0x2000\nmov ebx, eax\nmov eax, 0x70000000\n"
                 "jmp 0x68:0x2000")  # fmt: skip
    machine.put(0x2000, b"\xb8\x34\x12\xf4\xcb")  # mov ax, 0x1234; hlt, or mov eax, 0xCBF41234
    machine.run()
    assert machine.register(3) == 0xCBF41234 and machine.register(0) == 0x70001234


def test_code_beyond_a_limit():
    machine = Board(paging=False)
    machine.put(b.GDT + 8, b.descriptor(0, 0x1002, 0x9A, 4))
    machine.load("jmp 8:0x1000")
    machine.c.eip = 0x2000
    machine.load("jmp 8:0x1000")
    machine.put(0x1000, b"\x40\x40\xb8\0\0\0\0")
    assert machine.run() == "shutdown", "the handlers lie beyond it as well"
    assert machine.register(0) == 0x11111113 and int(machine.c.eip) == 0x1002


def test_ports_in_and_out():
    machine = Board()
    machine.load("mov dx, 0x3F8\nin al, dx\nin eax, 0x40\nout dx, ax\nout 0x20, al\nhlt")
    seen = []
    for value in (0xAB, 0xDEADBEEF):
        assert machine.run() == "port-in"
        seen.append((int(machine.c.io_addr), int(machine.c.io_size), int(machine.c.eip) - b.KERNEL))
        machine.c.io_value, machine.c.io_ready = value, 1
    for _ in range(2):
        assert machine.run() == "port-out"
        seen.append((int(machine.c.io_addr), int(machine.c.io_size), int(machine.c.io_value)))
    assert machine.run() == HLT
    assert seen == [(0x3F8, 1, 4), (0x40, 4, 5), (0x3F8, 2, 0xBEEF), (0x20, 1, 0xEF)]


def test_strings_of_ports_stop_at_each_item():
    machine = Board()
    machine.load("mov edi, 0x5000\nmov ecx, 3\nmov dx, 0x1F0\nrep insw\nmov esi, 0x5000\nmov ecx, 3\nrep outsw\nhlt")
    for value in (0x1111, 0x2222, 0x3333):
        assert machine.run() == "port-in" and int(machine.c.io_size) == 2
        machine.c.io_value, machine.c.io_ready = value, 1
    out = []
    for _ in range(3):
        assert machine.run() == "port-out"
        out.append(int(machine.c.io_value))
    assert machine.run() == HLT and out == [0x1111, 0x2222, 0x3333]
    assert machine.get(0x5000, 6) == 0x333322221111 and machine.register(1) == 0


def test_a_device_beyond_ram():
    machine = Board()
    machine.put(b.TABLE + 4 * 0x50, (0xFEB00003).to_bytes(4, "little"))
    machine.load("mov eax, [0x50010]\nadd dword [0x50020], 5\nmov byte [0x50031], 7\nmov esi, 0x50000\n"
                 "mov edi, 0x5000\n"
                 "mov ecx, 2\nrep movsd\nmov eax, [0x50FFE]\npush dword [0x50000]\nhlt")  # fmt: skip
    seen = []
    reason = ""
    for _ in range(40):
        reason = machine.run()
        if reason == HLT:
            break
        c = machine.c
        seen.append(
            (reason[5:], int(c.io_addr) & 0xFFF, int(c.io_size), int(c.io_value) if "write" in reason else None)
        )
        if reason == "mmio-read":
            c.io_value, c.io_ready = 0x100 + len(seen), 1
    assert reason == HLT
    assert seen == [
        ("read", 0x10, 4, None), ("read", 0x20, 4, None), ("write", 0x20, 4, 0x107), ("write", 0x31, 1, 7),
        ("read", 0, 4, None), ("read", 4, 4, None), ("read", 0, 4, None),
    ]  # fmt: skip
    assert machine.get(0x5000) == 0x105 and machine.get(0x5004) == 0x106 and machine.frame(1) == [0x107]


def test_writes_from_outside_are_told():
    machine = Board()
    machine.load("mov eax, 1\nhlt")
    machine.run()
    machine.put(b.KERNEL + 1, b"\x05")
    code_written(*machine.core.arrays[:3], b.KERNEL + 1, 1)
    machine.c.eip, machine.c.halted = b.KERNEL, 0
    machine.run()
    assert machine.register(0) == 5


def test_jumping_beyond_ram_is_undefined():
    machine = Board()
    machine.put(b.TABLE + 4 * 0x50, (0xFEB00003).to_bytes(4, "little"))
    machine.load("jmp 0x50000")
    assert machine.run() == HLT and machine.vector == 6 and machine.frame(1) == [0x50000]


def test_absurd_page_tables():
    machine = Board()
    machine.put(b.DIRECTORY + 4, (0xFFFFF007).to_bytes(4, "little"))  # a table beyond RAM: all ones
    machine.put(b.DIRECTORY + 8, (b.DIRECTORY | 7).to_bytes(4, "little"))  # a directory that is its own table
    machine.load("mov eax, [0x400000]\nmov ebx, [0x80A000]\nmov ecx, [0x800000]\nhlt")
    assert machine.run() == "mmio-read" and int(machine.c.io_addr) == 0xFFFFF000
    machine.c.io_value, machine.c.io_ready = 3, 1
    assert machine.run() == HLT


def test_long_straight_code_and_many_blocks():
    machine = Board()
    count = 3 * BLOCK_INSNS + 5
    machine.load(f"times {count} inc eax\nhlt")
    assert machine.run() == HLT and machine.register(0) == 0x11111111 + count


def test_cpuid_and_msrs_and_time():
    machine = Board()
    machine.load(
        "mov eax, 1\ncpuid\nmov [0x5000], edx\nmov ecx, 0x277\nrdmsr\nmov [0x5004], eax\nmov ecx, 0x174\n"
        "mov eax, 0x60\nxor edx, edx\nwrmsr\nxor eax, eax\nrdmsr\nmov [0x5008], eax\nrdtsc\nmov ebx, eax\nrdtsc\n"
        "sub eax, ebx\nmov [0x500C], eax\nmov ecx, 0x10\nmov eax, 1000\nwrmsr\nrdtsc\nmov [0x5010], eax\nhlt"
    )
    assert machine.run() == HLT
    features = machine.get(0x5000)
    for bit in (0, 3, 4, 5, 8, 13, 15, 24):
        assert features >> bit & 1, f"bit {bit} of EDX"
    for bit in (6, 9, 11, 23, 25, 26):
        assert not features >> bit & 1, f"bit {bit} of EDX is not there"
    assert machine.get(0x5004) == 0x00070406 and machine.get(0x5008) == 0x60
    assert machine.get(0x500C) == 2 and machine.get(0x5010) in (1000, 1001)


def test_control_and_debug_registers():
    machine = Board()
    machine.load(
        "mov eax, 0x1234\nmov dr0, eax\nmov ebx, dr0\nmov eax, 0\nmov dr7, eax\nmov ecx, dr7\nmov eax, 0x9000\n"
        "mov cr2, eax\nmov edx, cr2\nmov esi, cr0\nlmsw si\nmov edi, cr4\nclts\nwbinvd\ninvd\nhlt"
    )
    assert machine.run() == HLT
    assert [machine.register(i) for i in (3, 1, 2, 6, 7)] == [0x1234, 0x400, 0x9000, 0x80010031, 0]


def test_bound_into_and_the_one_byte_traps():
    machine = Board()
    machine.load("mov dword [0x5000], 0xFFFFFFFE\nmov dword [0x5004], 5\nxor eax, eax\nbound eax, [0x5000]\nint3")
    assert machine.run() == HLT and machine.vector == 3 and machine.frame(1) == [int(machine.frame(1)[0])]
    machine = Board()
    machine.load("mov al, 0x7F\ninto\nadd al, 1\ninto")
    assert machine.run() == HLT and machine.vector == 4
    machine = Board()
    machine.load("db 0xF1")
    assert machine.run() == HLT and machine.vector == 1


def test_segment_registers_on_the_stack_and_in_pointers():
    machine = Board()
    machine.load(
        "push dword 0xAAAAAAAA\npop eax\nmov cx, 0x30\nmov gs, cx\npush gs\npop ebx\npush dword 0x10\npop fs\n"
        "mov dword [0x5000], 0x6000\nmov word [0x5004], 0x23\nles edx, [0x5000]\nmov si, es\nmov [0x5008], gs\n"
        "lss esp, [stack]\nhlt\nstack: dd 0x8F00\ndw 0x10"
    )
    assert machine.run() == HLT
    assert machine.register(3) & 0xFFFF == 0x30 and machine.register(2) == 0x6000
    assert machine.register(6) & 0xFFFF == 0x23 and machine.get(0x5008, 2) == 0x30 and machine.register(4) == 0x8F00


def test_sixteen_bit_stack_wraps():
    machine = Board()
    machine.load("mov cx, 0x78\nmov ss, cx\nmov esp, 0x55550000\npush dword 7\nmov eax, esp\npop ecx\nhlt")
    machine.put(b.TABLE + 4 * 0xF, (0x5003).to_bytes(4, "little"))
    machine.core.refresh()
    assert machine.run() == HLT and machine.register(0) == 0x5555FFFC and machine.register(4) == 0x55550000
    assert machine.register(1) == 7 and machine.get(0x5FFC) == 7


def test_real_mode():
    machine = Board(paging=False)
    c = machine.c
    c.cr0 = 0x10
    for seg in range(6):
        c.seg_sel[seg], c.seg_base[seg], c.seg_limit[seg], c.seg_attr[seg] = 0x200, 0x2000, 0xFFFF, 0x93
    c.eip, c.gpr[4], c.idt_base, c.idt_limit = 0, 0x1000, 0, 0x3FF
    machine.core.refresh()
    machine.put(4 * 0x10, (0x200 << 16 | 0x80).to_bytes(4, "little"))
    machine.put(0x2000, b.assemble("mov ax, 0x500\nmov ds, ax\nmov byte [0], 5\nint 0x10\nmov bx, 7\ncall 0x300:0\n"
                                   "jmp 0x300:0x10", 0, 16))  # fmt: skip
    machine.put(0x2080, b.assemble("add byte [0], 1\niret", 0x80, 16))
    machine.put(0x3000, b.assemble("mov cx, cs\nretf", 0, 16))
    machine.put(0x3010, b.assemble("mov eax, 0x12345678\nlgdt [table]\nmov eax, cr0\nor al, 1\nmov cr0, eax\n"
                                   "jmp dword 8:0x1000\ntable: dw 0x7F\ndd 0xD000", 0x10, 16))  # fmt: skip
    c.seg_base[3] = 0x5000
    machine.put(0x1000, b.assemble("mov ax, 0x10\nmov ds, ax\nmov edx, [0x5000]\nhlt", 0x1000))
    machine.put(0x5000 + 0x39, b"\0")
    table = 0x10 + len(b.assemble("mov eax, 0x12345678\nlgdt [0]\nmov eax, cr0\nor al, 1\nmov cr0, eax\n"
                                  "jmp dword 8:0x1000", 0x10, 16))  # fmt: skip
    machine.put(0x5000 + table, (0x7F).to_bytes(2, "little") + b.GDT.to_bytes(4, "little"))
    assert machine.run() == HLT and int(c.eip) == 0x1000 + len(
        b.assemble("mov ax, 0x10\nmov ds, ax\nmov edx, [0x5000]\nhlt")
    )
    assert (
        machine.register(2) & 0xFF == 6 and machine.register(3) & 0xFFFF == 7 and machine.register(1) & 0xFFFF == 0x300
    )


def test_volatile_fields_are_fields():
    assert set(VOLATILE) <= set(Board().core.cpu.dtype.names)


assert PLAIN in (True, False)


def test_a_page_may_be_written_to_straight_until_code_runs_in_it():
    machine = Board()
    machine.load("mov [0x5000], eax\nmov byte [0x2000], 0xC3\ncall 0x2000\nmov byte [0x2000], 0x40\n"
                 "mov byte [0x2001], 0xC3\ncall 0x2000\nhlt")  # fmt: skip
    assert machine.run(3) == "budget"
    assert int(machine.c.tlb[4 * 5 + 1]) == 0x5000, "the second store to this page needs no look at the tables"
    before = machine.register(0)
    assert machine.run() == HLT and machine.register(0) == before + 1
    assert int(machine.c.tlb[4 * 2 + 1]) == -1, "every store to this page looks for code"


def test_blocks_are_spread_over_their_chains():
    """Neighbours, and the same place in many pages."""
    for keys in (range(0, 64_000, 64), range(5, 1000 << 17, 1 << 17)):
        assert len({_hash(key) for key in keys}) > 900
