"""Random cases of every implemented instruction form, made from the opcode table itself."""

from __future__ import annotations

import random
from dataclasses import dataclass

from aero_lab.cpu.opcodes import (
    END,
    ENTER,
    FAR_POINTER,
    IB,
    IBS,
    IW,
    IZ,
    LOCK,
    LOW,
    MODRM,
    MOFFS,
    REGISTER_ONLY,
    REL8,
    RELZ,
    REPEAT,
    ROWS,
    X87,
    Row,
)  # fmt: skip

from .rig import AREA, ARITHMETIC, CODE, DATA, STACK, Case

CF, PF, AF, ZF, SF, OF = 1, 4, 16, 64, 128, 2048
CORNERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFF80)
ELSEWHERE = {
    "hlt", "cli", "sti", "in_", "out", "ins", "outs", "iret", "int_n", "int3", "int1", "into", "jmp_far", "call_far",
    "far_m", "ret_far", "mov_to_seg_r", "mov_to_seg_m", "pop_seg", "load_far_pointer", "mov_from_cr", "mov_to_cr",
    "mov_from_dr", "mov_to_dr", "wrmsr", "rdmsr", "rdtsc", "rdpmc", "cpuid", "x87_r", "x87_m", "fwait", "fxsave",
    "fxrstor", "load_table", "store_table", "load_system_r", "load_system_m", "store_selector_r", "store_selector_m",
    "verify_r", "verify_m", "rights_r", "rights_m", "smsw_r", "smsw_m", "lmsw_r", "lmsw_m", "invlpg", "clts",
    "privileged_nop", "undefined", "popf", "push_seg", "mov_from_seg_r", "mov_from_seg_m", "arpl_r", "arpl_m", "bound",
}  # fmt: skip
"""Handlers with tests of their own: what they do needs more than one instruction's view of the machine."""


NOT_THEIRS = {0x10D, *range(0x118, 0x120)}
"""Hints that are no operation on a P6 and no instruction for unicorn; nor does it know TEST's second encoding."""


@dataclass
class Form:
    """One encoding to try: a row of the table, the operand size, register or memory."""

    row: Row
    wide: bool
    memory: bool

    @property
    def name(self) -> str:
        name = self.row.memory if self.memory else self.row.register
        return str(name)

    def __str__(self) -> str:
        ext = "" if self.row.ext is None else f"/{self.row.ext}"
        return f"{self.row.code:03X}{ext}-{self.name}-{32 if self.wide else 16}{'-memory' if self.memory else ''}"


def forms() -> list[Form]:
    """Every form that a single step can show."""
    found = []
    for row in ROWS:
        for memory, name in ((False, row.register), (True, row.memory)):
            if row.code in NOT_THEIRS or (row.code in (0xF6, 0xF7) and row.ext == 1):
                continue
            if name and not set(name.replace("{z}", "32").split("|")) & ELSEWHERE:
                found += [Form(row, wide, memory) for wide in (True, False)]
    return found


def value(rng: random.Random) -> int:
    kind = rng.random()
    if kind < 0.4:
        return rng.choice(CORNERS)
    if kind < 0.5:
        return rng.randrange(64)
    return rng.getrandbits(32)


def undefined_flags(form: Form, case: Case) -> int:
    """Flags that the architecture leaves undefined after this instruction."""
    name = form.name
    code = form.row.code
    if name.startswith(("mul_div", "imul")):
        divides = (form.row.ext or 0) >= 6 and not name.startswith("imul")
        return ARITHMETIC if divides else SF | ZF | AF | PF
    if name.startswith(("and", "or", "xor", "test")) or name.startswith("alu") and form.row.sub in (1, 4, 6, 8):
        return AF
    if "shift" in name or name.split("_")[0] in ("shl", "shr", "sar", "rol", "ror"):
        count = case_count(form, case)
        bits = 8 if code in (0xC0, 0xD0, 0xD2) else 32 if form.wide else 16
        out = OF if count != 1 else 0
        if "double" in name or (form.row.ext or 0) >= 4:
            out |= AF
            if count >= bits:
                out |= CF
        return out
    if name.startswith("bit_"):
        return OF | SF | AF | PF
    if name.startswith("scan"):
        return CF | OF | SF | AF | PF
    if name in ("daa",):
        return OF
    if name == "aaa":
        return OF | SF | ZF | PF
    if name in ("aam", "aad"):
        return OF | AF | CF
    return 0


def case_count(form: Form, case: Case) -> int:
    """The count of a shift."""
    if form.row.attr & 15 == IB:
        return case.code[-1] & 31
    if form.row.code in (0xD0, 0xD1):
        return 1
    return case.registers[1] & 31


class Maker:
    """Makes cases of a form with a seeded generator."""

    def __init__(self, seed: int):
        self.rng = random.Random(seed)

    def area(self) -> bytes:
        return self.rng.randbytes(AREA)

    def case(self, form: Form, data: bytes, stack: bytes) -> Case:
        rng = self.rng
        registers = [value(rng) for _ in range(8)]
        registers[4] = STACK + rng.randrange(0x400, AREA - 0x400)
        flags = rng.getrandbits(12) & ARITHMETIC
        attr, code = form.row.attr, form.row.code
        prefixes = [] if form.wide else [0x66]
        if rng.random() < 0.1:
            prefixes.append(rng.choice([0x3E, 0x26, 0x36, 0x64]))
        body = bytearray()
        opcode = bytes([0x0F, code & 0xFF]) if code & 0x100 else bytes([code])
        address16 = False
        if attr & REPEAT:
            kind = rng.random()
            if kind < 0.6:
                prefixes.append(rng.choice([0xF2, 0xF3]))
                registers[1] = rng.randrange(0, 5)
            registers[6] = DATA + rng.randrange(64, AREA - 64)
            registers[7] = DATA + rng.randrange(64, AREA - 64)
            flags |= rng.choice([0, 0x400])
            if rng.random() < 0.5:  # strings that are the same for a while
                data = bytes([rng.randrange(2)]) * AREA
        if attr & LOW:
            pass
        if attr & MODRM:
            reg = form.row.ext if form.row.ext is not None else rng.randrange(8)
            if form.memory:
                # The bit string instructions' offset wraps with the address here and on hardware, not in unicorn.
                address16 = rng.random() < 0.15 and form.name != "bit_mr"
                # Unicorn's NEG with LOCK leaves flags of another value than the one it negated.
                if attr & LOCK and rng.random() < 0.2 and not form.name.startswith("neg"):
                    prefixes.append(0xF0)
                body += self.operand(reg, registers, address16, form)
            else:
                body.append(0xC0 | reg << 3 | rng.randrange(8))
        if form.name == "xlat":
            registers[3] = DATA + rng.randrange(AREA - 256)
        if form.name in ("leave", "leave32|leave", "enter"):
            registers[5] = STACK + rng.randrange(0x400, AREA - 0x400)
        if form.name.startswith("ret"):
            at = registers[4] - STACK
            target = CODE + rng.randrange(AREA)
            stack = stack[:at] + target.to_bytes(4, "little") + stack[at + 4 :]
        if form.name.startswith(("jmp_r", "call_r")):
            registers[:] = [CODE + rng.randrange(AREA) if i != 4 else v for i, v in enumerate(registers)]
        if form.name == "loop" and rng.random() < 0.5:
            registers[1] = rng.choice([0, 1, 2, 0x10000, 0x10001])
        if address16:
            prefixes.append(0x67)
        rng.shuffle(prefixes)
        body += self.immediate(form, address16)
        jumps = bool(attr & END)
        where = CODE + 0xC00 if jumps else CODE
        return Case(bytes(prefixes) + opcode + bytes(body), registers, flags, data, stack, where, not jumps)

    def operand(self, reg: int, registers: list[int], address16: bool, form: Form) -> bytes:
        """A ModRM byte with what follows, and registers that make it point into the data."""
        rng = self.rng
        target = DATA + rng.randrange(0x100, AREA - 0x100)
        if address16:
            rm, mod = rng.randrange(8), rng.randrange(3)
            if mod == 0 and rm == 6:
                return bytes([reg << 3 | 6]) + target.to_bytes(2, "little")
            pair = ((3, 6), (3, 7), (5, 6), (5, 7), (6,), (7,), (5,), (3,))[rm]
            disp = 0 if mod == 0 else rng.randrange(-128, 128) if mod == 1 else rng.randrange(-0x8000, 0x8000)
            rest = (target - disp - sum(registers[r] for r in pair[1:])) & 0xFFFF
            registers[pair[0]] = (registers[pair[0]] & 0xFFFF0000) | rest
            size = mod
            return bytes([mod << 6 | reg << 3 | rm]) + (disp & 0xFFFF).to_bytes(2, "little")[:size]
        mod, rm = rng.randrange(3), rng.randrange(8)
        if form.name.startswith("bit_mr"):
            registers[reg] = rng.randrange(-0x400, 0x400) & 0xFFFFFFFF
            mod = 2
        base, index, scale = rm, 4, 0
        sib = b""
        if rm == 4:
            base, index, scale = rng.randrange(8), rng.randrange(8), rng.randrange(4)
            sib = bytes([scale << 6 | index << 3 | base])
        none = mod == 0 and base == 5
        offset = registers[index] << scale if index != 4 else 0
        free = base not in (4, index, reg) and not none
        if mod < 2 and free and not none:
            disp = rng.randrange(-128, 128) if mod == 1 else 0
            registers[base] = (target - offset - disp) & 0xFFFFFFFF
        elif none:
            disp = target - offset
        else:
            mod = 2
            disp = target - offset - registers[base]
        size = 4 if none or mod == 2 else mod
        return bytes([mod << 6 | reg << 3 | rm]) + sib + (disp & 0xFFFFFFFF).to_bytes(4, "little")[:size]

    def immediate(self, form: Form, address16: bool) -> bytes:
        rng = self.rng
        size = 4 if form.wide else 2
        kind = form.row.attr & 15
        if kind in (IB, IBS):
            return bytes([value(rng) & 0xFF])
        if kind == IW:
            return rng.randrange(0, 64).to_bytes(2, "little")
        if kind == IZ:
            return (value(rng) & 0xFFFFFFFF).to_bytes(4, "little")[:size]
        if kind == REL8:
            return bytes([rng.randrange(256)])
        if kind == RELZ:
            return (rng.randrange(-0x800, 0x800) & 0xFFFFFFFF).to_bytes(4, "little")[:size]
        if kind == MOFFS:
            return (DATA + rng.randrange(AREA - 8)).to_bytes(4, "little")
        if kind == ENTER:
            return rng.randrange(0x100).to_bytes(2, "little") + bytes([rng.choice([0, 0, 1, 2, 3, 31])])
        assert kind not in (FAR_POINTER,)
        return b""


assert REGISTER_ONLY and X87
