"""x87 instructions inside the core: memory and its faults, #NM, #MF, environments, what they tell the rest of it."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from aero_lab.compiled.registry import PLAIN
from aero_lab.cpu.core import read_eflags
from aero_lab.cpu.state import CR0_EM, CR0_MP, CR0_NE, CR0_TS, DS, EXIT_HLT, EXIT_X87_ERROR, F_ARITHMETIC, SS

from . import naive_x87 as naive
from .bare import CODE, STACK, flat, go, trap, trapped
from .x87_states import forms, states

DATA, HLT = 0x10000, b"\xf4"
NM, MF, SS_FAULT, GP, PF, UD = 7, 16, 12, 13, 14, 6
FIELDS = ("fcw", "fsw", "ftop", "ftag", "fip", "fcs", "fdp", "fds", "fop")


def absolute(opcode: int, reg: int, at: int) -> bytes:
    """An instruction with the operand ``[at]``."""
    return bytes([opcode, reg << 3 | 5]) + struct.pack("<I", at)


def x87_of(c: Any) -> tuple:
    return tuple(int(getattr(c, name)) for name in FIELDS) + tuple(
        (int(c.st_man[i]) & (1 << 64) - 1, int(c.st_exp[i])) for i in range(8)
    )


def put(core: Any, at: int, data: bytes) -> None:
    core.ram[at : at + len(data)] = np.frombuffer(data, np.uint8)


def with_state(code: bytes, image: np.void, at: int = DATA) -> tuple[Any, Any]:
    """A core that has restored an image and is about to run ``code``."""
    core, c = flat(absolute(0xDD, 4, at) + code + HLT)
    trap(core)
    put(core, at, image.tobytes()[:108])
    go(core, 1)
    return core, c


def tags(state: np.void) -> int:
    """The tag word that saving a state gives."""
    word = 0
    top = int(state["fsw"]) >> 11 & 7
    for i in range(8):
        number = naive.decode(int(state["regs"]["man"][(i - top) & 7]), int(state["regs"]["se"][(i - top) & 7]))
        empty = int(state["ftw"]) >> 2 * i & 3 == 3
        special = number.what != "finite" or number.denormal
        word |= (3 if empty else 2 if special else 1 if number.is_zero else 0) << 2 * i
    return word


GIVEN = states(12 if PLAIN else 60, True, seed=4)


def test_an_image_comes_and_goes():
    for state in GIVEN:
        core, c = with_state(absolute(0xDD, 6, DATA + 256), state)
        c.fip, c.fcs, c.fdp, c.fds, c.fop = 0x12345678, 0x23, 0x89ABCDEF, 0x2B, 0x5A5
        assert go(core, 2) == EXIT_HLT
        saved = core.ram[DATA + 256 : DATA + 256 + 108].tobytes()
        words = struct.unpack("<7I", saved[:28])
        status = int(state["fsw"]) | (0x8080 if int(state["fsw"]) & ~int(state["fcw"]) & 0x3F else 0)
        assert words[:3] == (0xFFFF0000 | int(state["fcw"]), 0xFFFF0000 | status, 0xFFFF0000 | tags(state))
        assert words[3:] == (0x12345678, 0x05A50023, 0x89ABCDEF, 0xFFFF002B)
        assert saved[28:] == state["regs"].tobytes()
        assert x87_of(c)[:4] == (0x37F, 0, 0, 0)  # FNSAVE ends as FNINIT


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("narrow", [False, True])
def test_environments(real, narrow):
    prefix = b"\x66" if narrow != real else b""
    for state in GIVEN[:6]:
        core, c = with_state(b"", state)
        c.fip, c.fcs, c.fdp, c.fds, c.fop = 0x2345, 0x1000, 0x6789, 0x2000, 0x2A5
        before = x87_of(c)
        if real:
            c.cr0 &= ~1
            for seg in range(6):
                c.seg_sel[seg], c.seg_limit[seg], c.seg_attr[seg] = 0, 0xFFFF, 0x93
            core.refresh()
        at = 0x9000
        store = prefix + (bytes([0xD9, 6 << 3 | 6]) + struct.pack("<H", at) if real else absolute(0xD9, 6, at))
        load = prefix + (bytes([0xD9, 4 << 3 | 6]) + struct.pack("<H", at) if real else absolute(0xD9, 4, at))
        put(core, 0xA000, store + load + HLT)
        c.eip = 0xA000
        go(core, 1)
        assert c.fcw == before[0] | 0x3F
        env = core.ram[at : at + 28].tobytes()
        words = struct.unpack("<7H", env[:14]) if narrow else struct.unpack("<7I", env)
        assert [w & 0xFFFF for w in words[:3]] == [int(state["fcw"]), int(state["fsw"]), tags(state)]
        if real:
            ip, dp = 0x10000 + 0x2345, 0x20000 + 0x6789
            wanted = (ip & 0xFFFF, ip >> 16 << 12 | 0x2A5, dp & 0xFFFF, dp >> 16 << 12)
        else:
            opcode = 0 if narrow else 0x2A5 << 16
            wanted = (0x2345, 0x1000 | opcode, 0x6789, 0x2000 | (0 if narrow else 0xFFFF0000))
        assert words[3:] == wanted
        c.fcw, c.fsw, c.ftop, c.ftag, c.fip = 0x37F, 0, 0, 0, 0
        go(core, 1)
        after = x87_of(c)
        assert after[:4] == before[:4]
        assert (after[5] << 4) + after[4] == 0x12345 if real else after[4:6] == (0x2345, 0x1000)


def test_the_fast_image():
    for state in GIVEN:
        core, c = with_state(b"\x0f\xae" + absolute(0, 0, DATA + 512)[1:] + b"\xdb\xe3\x0f\xae" +
                             absolute(0, 1, DATA + 512)[1:], state)  # fmt: skip
        core.ram[DATA + 512 : DATA + 1024] = 0xEE
        c.fip, c.fcs, c.fdp, c.fds, c.fop = 0x12345678, 0x23, 0x89ABCDEF, 0x2B, 0x5A5
        before = x87_of(c)
        go(core, 1)
        assert x87_of(c) == before
        saved = core.ram[DATA + 512 : DATA + 1024].tobytes()
        used = sum(1 << i for i in range(8) if int(state["ftw"]) >> 2 * i & 3 != 3)
        status = int(state["fsw"])
        assert struct.unpack("<HHBxHIHxxIH", saved[:22]) == (
            int(state["fcw"]), status, used, 0x5A5, 0x12345678, 0x23, 0x89ABCDEF, 0x2B,
        )  # fmt: skip
        for i in range(8):
            assert saved[32 + 16 * i :][:10] == state["regs"][i].tobytes()
        assert set(saved[160:]) == {0xEE}  # nobody said that there is SSE
        assert go(core, 3) == EXIT_HLT
        assert x87_of(c) == before


def test_the_fast_image_is_aligned():
    for reg in (0, 1):
        core, c = with_state(b"\x0f\xae" + absolute(0, reg, DATA + 520)[1:], GIVEN[0])
        before = x87_of(c), core.ram.tobytes()[DATA:]
        assert go(core, 2) == EXIT_HLT and trapped(core) == GP
        assert (x87_of(c), core.ram.tobytes()[DATA:]) == before


SIZES = {0: 4, 2: 4, 4: 8, 6: 2}


def operand_size(esc: int, reg: int) -> int:
    """Bytes of a memory operand, as the manual's opcode maps have it."""
    if esc in SIZES:
        return SIZES[esc]
    if (esc, reg) in ((1, 5), (1, 7), (5, 7)):
        return 2
    if (esc, reg) in ((3, 5), (3, 7), (7, 4), (7, 6)):
        return 10
    return {1: 4, 3: 4, 5: 8, 7: 8 if reg in (5, 7) else 2}[esc]


MEMORY_FORMS = [(esc, m >> 3, operand_size(esc, m >> 3)) for esc, m in forms() if m < 0xC0]
WHOLE = [(1, 4, 28), (1, 6, 28), (5, 4, 108), (5, 6, 108)]


@pytest.mark.parametrize("seg", [DS, SS])
def test_a_fault_leaves_no_trace(seg):
    """The operand's last byte lies beyond its segment: neither memory nor any register knows of the attempt."""
    for esc, reg, size in MEMORY_FORMS + WHOLE:
        prefix = b"\x36" if seg == SS else b""
        for short in (1, size):
            core, c = with_state(prefix + absolute(0xD8 + esc, reg, DATA + 256), GIVEN[0], 0x9000)
            c.fsw &= ~0x3F
            c.seg_limit[seg] = DATA + 256 + size - 1 - short
            core.refresh()
            before = x87_of(c), core.ram.tobytes()[DATA:]
            assert go(core, 2) == EXIT_HLT and trapped(core) == (GP if seg == DS else SS_FAULT), (esc, reg)
            assert (x87_of(c), core.ram.tobytes()[DATA:]) == before, (esc, reg)
    for esc, reg, size in MEMORY_FORMS + WHOLE:  # and with its last byte the last one there is no fault
        core, c = with_state(absolute(0xD8 + esc, reg, DATA + 256), GIVEN[0], 0x9000)
        c.fcw, c.fsw = 0x37F, 0
        c.seg_limit[DS] = DATA + 256 + size - 1
        core.refresh()
        assert go(core, 2) == EXIT_HLT and trapped(core) == -1, (esc, reg)


MAPS, SECOND = 0x18000, DATA + 0x1000
"""Where a page directory and a page table lie; the page that goes missing."""
FAST = [(-1, 0, 512), (-1, 1, 512)]
"""FXSAVE and FXRSTOR, in the place of an escape."""


def paged(core: Any, c: Any, entry: int, at: int = SECOND) -> None:
    """Turn paging on, every page where it is, with ``entry`` for one."""
    table = [page << 12 | 3 for page in range(len(core.ram) >> 12)]
    table[at >> 12] = entry
    put(core, MAPS, struct.pack("<I", MAPS + 0x1000 | 0x23) + bytes(4092) + struct.pack(f"<{len(table)}I", *table))
    c.cr3 = MAPS
    c.cr0 |= 0x80010000
    core.forget()


def writes(esc: int, reg: int) -> bool:
    """Whether a memory form stores its operand."""
    if esc == -1:
        return reg == 0
    return esc in (1, 3, 5, 7) and reg in (2, 3, 6, 7) or (esc, reg) in ((3, 1), (5, 1), (7, 1))


@pytest.mark.parametrize("kind", ["second page absent", "first page absent", "read-only"])
def test_a_page_fault_is_made_good_and_nothing_is_seen_of_it(kind):
    """An operand across two pages of which one cannot be had leaves no trace, and with it is as without a fault."""
    for esc, reg, size in MEMORY_FORMS + WHOLE + FAST:
        write = writes(esc, reg)
        if kind == "read-only" and not write:
            continue
        step = 16 if esc == -1 else 1
        for beyond in {step, size - step, size // 2 // step * step} - {0}:
            at = SECOND - size + beyond
            code = b"\x0f\xae" + absolute(0, reg, at)[1:] if esc == -1 else absolute(0xD8 + esc, reg, at)
            broken = DATA if kind == "first page absent" else SECOND
            seen = []
            for entry in (broken | 3, broken | 1 if kind == "read-only" else 0):
                core, c = with_state(code, GIVEN[1], 0x9000)
                put(core, at, GIVEN[2].tobytes()[:size].ljust(size, b"\x5a"))
                c.fcw, c.fsw = 0x37F, 0
                paged(core, c, entry, broken)
                before = x87_of(c), core.ram.tobytes()[DATA:MAPS]
                if entry & 2 == 0:
                    assert go(core, 2) == EXIT_HLT and trapped(core) == PF, (esc, reg, beyond)
                    assert (x87_of(c), core.ram.tobytes()[DATA:MAPS]) == before, (esc, reg, beyond)
                    frame = np.frombuffer(core.ram[int(c.gpr[4]) :][:8].tobytes(), "<u4")
                    assert frame[0] == 2 * write | (entry & 1) and frame[1] == CODE + 6, (esc, reg, beyond)
                    assert int(c.cr2) == (at if kind == "first page absent" else SECOND), (esc, reg, beyond)
                    put(core, MAPS + 0x1000 + 4 * (broken >> 12), struct.pack("<I", broken | 3))
                    core.forget()
                    c.eip, c.halted, c.gpr[4] = CODE + 6, 0, STACK
                assert go(core, 2) == EXIT_HLT and trapped(core) == -1, (esc, reg, beyond)
                seen.append((x87_of(c), core.ram.tobytes()[DATA:MAPS]))
            assert seen[0] == seen[1], (esc, reg, beyond)
            assert write == (seen[0][1] != before[1]) or esc != -1, "FXSAVE wrote"


NO_WAIT = [absolute(0xD9, 6, DATA), absolute(0xD9, 7, DATA), absolute(0xDD, 6, DATA), absolute(0xDD, 7, DATA),
           b"\xdb\xe2", b"\xdb\xe3", b"\xdf\xe0", b"\x0f\xae" + absolute(0, 0, DATA)[1:],
           b"\x0f\xae" + absolute(0, 1, DATA)[1:]]  # fmt: skip
WAIT = [b"\xd8\xc1", b"\xd9\xe8", b"\xd9\xd0", b"\xdd\xc0", b"\xd9\xf7", b"\x9b", b"\xdb\xf1", b"\xda\xc1",
        absolute(0xD9, 5, DATA), absolute(0xD9, 4, DATA), absolute(0xDD, 4, DATA), absolute(0xDB, 7, DATA),
        absolute(0xD9, 0, DATA)]  # fmt: skip


@pytest.mark.parametrize("numeric_error", [False, True])
def test_pending_exceptions_meet_the_next_waiting_instruction(numeric_error):
    for code, waits in [(x, False) for x in NO_WAIT] + [(x, True) for x in WAIT]:
        core, c = flat(b"\xd9\xee\xd9\xe8\xd8\xf1" + code + HLT)  # 1 / 0
        trap(core)
        c.fcw = 0x37B
        if not numeric_error:
            c.cr0 &= ~CR0_NE
        go(core, 3)
        assert c.fsw & 4 and trapped(core) == -1
        before = x87_of(c)
        reason = go(core, 2)
        if waits and not numeric_error:  # it sleeps in front of the instruction until somebody interrupts it
            assert reason == EXIT_X87_ERROR and c.halted and c.eip == CODE + 6 and x87_of(c) == before, code
            assert go(core, 2) == EXIT_HLT and c.eip == CODE + 6
            c.halted, c.ignne = 0, 1
            assert go(core, 2) == EXIT_HLT and c.eip == CODE + 7 + len(code), "IGNNE# lets it pass"
        else:
            assert reason == EXIT_HLT and trapped(core) == (MF if waits else -1), code
        if waits and numeric_error:
            assert x87_of(c) == before


def test_the_pin_that_lets_errors_pass_falls_with_them():
    core, c = flat(b"\xdb\xe2\xd9\xee\xd9\xe8\xd8\xf1\x9b" + HLT)  # clear, 1 / 0, wait
    c.fcw, c.ignne = 0x37B, 1
    c.cr0 &= ~CR0_NE
    assert go(core, 9) == EXIT_X87_ERROR and not c.ignne and c.eip == CODE + 8


def test_a_task_that_has_not_got_the_unit():
    for flags, code, vector in [
        (CR0_TS, b"\xd9\xe8", NM), (CR0_EM, b"\xd9\xe8", NM), (CR0_TS, b"\xdb\xe3", NM), (CR0_EM, b"\xdf\xe0", NM),
        (CR0_TS, absolute(0xDD, 7, DATA), NM), (CR0_TS, b"\x9b", -1), (CR0_MP, b"\x9b", -1),
        (CR0_MP | CR0_TS, b"\x9b", NM), (CR0_EM, b"\x9b", -1), (CR0_MP, b"\xd9\xe8", -1),
        (CR0_TS, b"\x0f\xae" + absolute(0, 0, DATA)[1:], NM), (CR0_EM, b"\x0f\xae" + absolute(0, 1, DATA)[1:], NM),
        (0, b"\xd9\xe2", UD), (0, b"\xdd" + b"\x0d" + struct.pack("<I", DATA), UD),
    ]:  # fmt: skip
        core, c = flat(code + HLT)
        trap(core)
        c.cr0 |= flags
        before = x87_of(c)
        assert go(core, 2) == EXIT_HLT and trapped(core) == vector, (flags, code)
        if vector >= 0:
            assert x87_of(c) == before


def test_pointers_to_the_last_instruction():
    core, c = flat(b"\xd9\xe8" + b"\x36\xd8\x45\x10" + b"\xd9\x3d" + struct.pack("<I", DATA) + HLT)
    c.gpr[5] = DATA - 16
    go(core, 1)
    assert (c.fip, c.fcs, c.fop) == (CODE, 8, 0x1E8)
    go(core, 2)  # FADD [ebp+16] behind a prefix; FNSTCW is a control instruction and leaves the pointers alone
    assert (c.fip, c.fcs, c.fop, c.fdp, c.fds) == (CODE + 2, 8, 0x045, DATA, 16)


def test_status_and_flags_reach_the_processor():
    for a, b in [(1.0, 2.0), (2.0, 1.0), (1.5, 1.5), (float("nan"), 1.0)]:
        core, c = flat(absolute(0xDD, 0, DATA + 8) + absolute(0xDD, 0, DATA) + b"\xdb\xf1\xd8\xd1\xdf\xe0" + HLT)
        put(core, DATA, struct.pack("<dd", a, b))
        c.gpr[0] = 0xABCD0000
        assert go(core, 6) == EXIT_HLT
        order = (0x45, 0x4500) if a != a else (1, 0x100) if a < b else (0x40, 0x4000) if a == b else (0, 0)
        assert c.gpr[0] & 0xFFFF4500 == 0xABCD0000 | order[1]
        assert int(read_eflags(core.cpu)) & F_ARITHMETIC == order[0]


def test_conditional_moves():
    for carry, zero, parity in np.ndindex(2, 2, 2):
        for esc in (0xDA, 0xDB):
            for reg in range(4):
                flags = carry | zero << 6 | parity << 2
                code = (
                    b"\xd9\xe8\xd9\xee\x68" + struct.pack("<I", flags) + b"\x9d" + bytes([esc, 0xC1 | reg << 3]) + HLT
                )
                core, c = flat(code)
                assert go(core, 6) == EXIT_HLT
                met = (carry, zero, carry | zero, parity)[reg] ^ (esc == 0xDB)
                assert int(c.st_exp[c.ftop]) == (0x3FFF if met else 0)
