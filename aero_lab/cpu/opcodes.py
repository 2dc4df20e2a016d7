"""The opcode table: which handler runs an encoding, and what the decoder must know about it.

A row is an opcode (0x0F prefixed ones are 0x100 and up), perhaps the ``reg`` field that tells members of a group
apart, a handler for the register form and one for the memory form, where ``{z}`` stands for the operand size 32 or 16.
From the rows come the operation numbers, the dispatch (``generate.py``) and the tables that ``decode.py`` looks into.

``sub`` is what the handler finds in ``imm2``: a number, or ``Z`` (operand size in bytes), or ``Z16`` (the same
times 16, plus the number added to it).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..compiled.registry import PLAIN

# Kinds of immediate
NONE, IB, IBS, IW, IZ, REL8, RELZ, FAR_POINTER, MOFFS, ENTER, ONE = range(11)
MODRM, SWAP, END, LOCK, LOW, X87, REGISTER_ONLY, REPEAT = (1 << i for i in range(4, 12))
"""Has a ModRM byte; the register form takes its operands the other way round; ends a block; may be locked; the low
three bits of the opcode are a register; escape to the x87; ModRM names registers whatever its mod says; REP counts."""
Z, Z16 = 1 << 16, 1 << 17
"""In ``sub``: add the operand size in bytes; add it times 16."""


@dataclass(frozen=True)
class Row:
    """What one opcode (with one value of ``reg``, if it is a group) is."""

    code: int
    ext: int | None
    register: str | None
    memory: str | None
    attr: int
    sub: int


ROWS: list[Row] = []


def row(
    code: int, register: str | None, memory: str | None = None, attr: int = 0, sub: int = 0, ext: int | None = None
):
    ROWS.append(Row(code, ext, register, memory, attr, sub))


ALU = ("add", "or", "adc", "sbb", "and", "sub", "xor", "cmp")
CONDITIONS = ("o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g")
SHIFTS = ("rol", "ror", "rcl", "rcr", "shl", "shr", "shl", "sar")
HOT8 = {"cmp", "test", "add", "sub", "and", "or", "xor"}
"""Operations whose 8-bit forms have handlers of their own."""


def _alu(name: str, form: str, eight: bool) -> str:
    """The handler of an arithmetic form: 32 bits always have their own, 8 bits the hot ones, 16 bits never."""
    if eight:
        return f"{name}_{form}8" if name in HOT8 else f"alu_{form}8"
    return f"{name}_{form}{{z}}"


def _arithmetic() -> None:
    for i, name in enumerate(ALU):
        lock = LOCK if name != "cmp" else 0
        row(8 * i, _alu(name, "rr", True), _alu(name, "mr", True), MODRM | lock, i)
        row(8 * i + 1, _alu(name, "rr", False), _alu(name, "mr", False), MODRM | lock, i)
        row(8 * i + 2, _alu(name, "rr", True), _alu(name, "rm", True), MODRM | SWAP, i)
        row(8 * i + 3, _alu(name, "rr", False), _alu(name, "rm", False), MODRM | SWAP, i)
        row(8 * i + 4, _alu(name, "ri", True), None, IB, i)
        row(8 * i + 5, _alu(name, "ri", False), None, IZ, i)
        for code in (0x80, 0x82):
            row(code, _alu(name, "ri", True), _alu(name, "mi", True), MODRM | lock | IB, i, i)
        row(0x81, _alu(name, "ri", False), _alu(name, "mi", False), MODRM | lock | IZ, i, i)
        row(0x83, _alu(name, "ri", False), _alu(name, "mi", False), MODRM | lock | IBS, i, i)
    row(0x84, "test_rr8", "test_mr8", MODRM, 8)
    row(0x85, "test_rr{z}", "test_mr{z}", MODRM, 8)
    row(0xA8, "test_ri8", None, IB, 8)
    row(0xA9, "test_ri{z}", None, IZ, 8)
    for ext in (0, 1):
        row(0xF6, "test_ri8", "test_mi8", MODRM | IB, 8, ext)
        row(0xF7, "test_ri{z}", "test_mi{z}", MODRM | IZ, 8, ext)
    for low in range(8):
        row(0x40 + low, "inc_r{z}", None, LOW)
        row(0x48 + low, "dec_r{z}", None, LOW)
    for i, name in enumerate(("inc", "dec")):
        row(0xFE, f"{name}_r8", f"{name}_m8", MODRM | LOCK, 0, i)
        row(0xFF, f"{name}_r{{z}}", f"{name}_m{{z}}", MODRM | LOCK, 0, i)
    for i, name in ((2, "not"), (3, "neg")):
        row(0xF6, f"{name}_r8", f"{name}_m8", MODRM | LOCK, 0, i)
        row(0xF7, f"{name}_r{{z}}", f"{name}_m{{z}}", MODRM | LOCK, 0, i)
    for ext in range(4, 8):
        row(0xF6, "mul_div_r", "mul_div_m", MODRM, ext | 16, ext)
        row(0xF7, "mul_div_r", "mul_div_m", MODRM, ext | Z16, ext)
    row(0x69, "imul_rri", "imul_rmi", MODRM | IZ, Z)
    row(0x6B, "imul_rri", "imul_rmi", MODRM | IBS, Z)
    row(0x1AF, "imul_rr", "imul_rm", MODRM, Z)
    for code, name, sub in (
        (0x27, "daa", 0), (0x2F, "daa", 1), (0x37, "aaa", 0), (0x3F, "aaa", 1), (0xD6, "salc", 0),
    ):  # fmt: skip
        row(code, name, None, 0, sub)
    row(0xD4, "aam", None, IB)
    row(0xD5, "aad", None, IB)


def _shifts() -> None:
    for ext, name in enumerate(SHIFTS):
        hot = f"{name}_ri32" if name not in ("rcl", "rcr") else "shift_ri"
        by_cl = f"{name}_rc32" if name in ("shl", "shr") else "shift_rc"
        for code, count in ((0xC0, IB), (0xD0, ONE)):
            row(code, "shift_ri", "shift_mi", MODRM | count, ext | 16, ext)
            row(code + 1, f"{hot}|shift_ri", "shift_mi", MODRM | count, ext | Z16, ext)
        row(0xD2, "shift_rc", "shift_mc", MODRM, ext | 16, ext)
        row(0xD3, f"{by_cl}|shift_rc", "shift_mc", MODRM, ext | Z16, ext)
    for code, sub, count in ((0x1A4, 1, IB), (0x1A5, 3, 0), (0x1AC, 0, IB), (0x1AD, 2, 0)):
        row(code, "double_shift_r", "double_shift_m", MODRM | count, sub | Z16)
    for i, code in enumerate((0x1A3, 0x1AB, 0x1B3, 0x1BB)):
        row(code, "bit_rr", "bit_mr", MODRM | (LOCK if i else 0), 4 + i | Z16)
        row(0x1BA, "bit_ri", "bit_mi", MODRM | IB | (LOCK if i else 0), 4 + i | Z16, 4 + i)
    row(0x1BC, "scan_r", "scan_m", MODRM, 0 | Z16)
    row(0x1BD, "scan_r", "scan_m", MODRM, 1 | Z16)


def _data() -> None:
    row(0x88, "mov_rr8", "mov_mr8", MODRM)
    row(0x89, "mov_rr{z}", "mov_mr{z}", MODRM)
    row(0x8A, "mov_rr8", "mov_rm8", MODRM | SWAP)
    row(0x8B, "mov_rr{z}", "mov_rm{z}", MODRM | SWAP)
    row(0xA0, None, "mov_rm8", MOFFS)
    row(0xA1, None, "mov_rm{z}", MOFFS)
    row(0xA2, None, "mov_mr8", MOFFS)
    row(0xA3, None, "mov_mr{z}", MOFFS)
    row(0xC6, "mov_ri8", "mov_mi8", MODRM | IB, 0, 0)
    row(0xC7, "mov_ri{z}", "mov_mi{z}", MODRM | IZ, 0, 0)
    for low in range(8):
        row(0xB0 + low, "mov_ri8", None, LOW | IB)
        row(0xB8 + low, "mov_ri{z}", None, LOW | IZ)
        row(0x50 + low, "push_r{z}", None, LOW)
        row(0x58 + low, "pop_r{z}", None, LOW)
        row(0x1C8 + low, "bswap|bswap16", None, LOW)
        row(0x90 + low, "nop" if low == 0 else "xchg_rr32|xchg_rr", None, LOW, 0 if low == 0 else Z)
    row(0x86, "xchg_rr", "xchg_mr", MODRM | LOCK, 1)
    row(0x87, "xchg_rr32|xchg_rr", "xchg_mr", MODRM | LOCK, Z)
    row(0x8D, None, "lea{z}", MODRM)
    row(0x1B6, "movzx_r8|extend_r", "movzx_m8|extend_m", MODRM, 0)
    row(0x1B7, "movzx_r16|extend_r", "movzx_m16|extend_m", MODRM, 2)
    row(0x1BE, "movsx_r8|extend_r", "movsx_m8|extend_m", MODRM, 1)
    row(0x1BF, "movsx_r16|extend_r", "movsx_m16|extend_m", MODRM, 3)
    for i in range(16):
        row(0x140 + i, "cmov_rr", "cmov_rm", MODRM, i | Z16)
        row(0x190 + i, "set_r", "set_m", MODRM, i)
    row(0x98, "cbw", None, 0, Z)
    row(0x99, "cwd", None, 0, Z)
    row(0xD7, "xlat")
    row(0x60, "pusha", None, 0, Z)
    row(0x61, "popa", None, 0, Z)
    row(0x68, "push_i32|push_i", None, IZ, Z)
    row(0x6A, "push_i32|push_i", None, IBS, Z)
    row(0x8F, "pop_r{z}", "pop_m", MODRM, Z, 0)
    row(0xFF, "push_r{z}", "push_m32|push_m", MODRM, Z, 6)
    row(0xC8, "enter", None, ENTER)
    row(0xC9, "leave32|leave", None, 0, Z)
    row(0x9C, "pushf", None, 0, Z)
    row(0x9D, "popf", None, END, Z)
    row(0x9E, "sahf", None)
    row(0x9F, "lahf", None)
    row(0x8C, "mov_from_seg_r", "mov_from_seg_m", MODRM, Z)
    row(0x8E, "mov_to_seg_r", "mov_to_seg_m", MODRM)
    for seg, push, pop in ((0, 0x06, 0x07), (1, 0x0E, 0), (2, 0x16, 0x17), (3, 0x1E, 0x1F), (4, 0x1A0, 0x1A1),
                           (5, 0x1A8, 0x1A9)):  # fmt: skip
        row(push, "push_seg", None, 0, seg | Z16)
        if pop:
            row(pop, "pop_seg", None, 0, seg | Z16)
    for code, seg in ((0xC4, 0), (0xC5, 3), (0x1B2, 2), (0x1B4, 4), (0x1B5, 5)):
        row(code, None, "load_far_pointer", MODRM, seg | Z16)
    row(0x1B0, "cmpxchg_r", "cmpxchg_m", MODRM | LOCK, 1)
    row(0x1B1, "cmpxchg_r", "cmpxchg_m", MODRM | LOCK, Z)
    row(0x1C0, "xadd_r", "xadd_m", MODRM | LOCK, 1)
    row(0x1C1, "xadd_r", "xadd_m", MODRM | LOCK, Z)
    row(0x1C7, None, "cmpxchg8b", MODRM | LOCK, 0, 1)
    for code, name in ((0xA4, "movs"), (0xA6, "cmps"), (0xAA, "stos"), (0xAC, "lods"), (0xAE, "scas"),
                       (0x6C, "ins"), (0x6E, "outs")):  # fmt: skip
        end = END if name in ("ins", "outs") else 0
        row(code, name, None, REPEAT | end, 1)
        row(code + 1, name, None, REPEAT | end, Z)


def _flow() -> None:
    for i, name in enumerate(CONDITIONS):
        row(0x70 + i, f"j{name}|jcc", None, REL8 | END, i)
        row(0x180 + i, f"j{name}|jcc", None, RELZ | END, i)
    row(0xE8, "call{z}", None, RELZ | END)
    row(0xE9, "jmp{z}", None, RELZ | END)
    row(0xEB, "jmp{z}", None, REL8 | END)
    row(0xFF, "call_r32|call_r", "call_m32|call_m", MODRM | END, Z, 2)
    row(0xFF, "jmp_r32|jmp_r", "jmp_m32|jmp_m", MODRM | END, Z, 4)
    row(0xFF, None, "far_m", MODRM | END, 1 | Z16, 3)
    row(0xFF, None, "far_m", MODRM | END, 0 | Z16, 5)
    row(0xC2, "ret{z}", None, IW | END)
    row(0xC3, "ret{z}", None, END)
    row(0xCA, "ret_far", None, IW | END, Z)
    row(0xCB, "ret_far", None, END, Z)
    row(0x9A, "call_far", None, FAR_POINTER | END)
    row(0xEA, "jmp_far", None, FAR_POINTER | END)
    row(0xCC, "int3", None, END)
    row(0xCD, "int_n", None, IB | END)
    row(0xCE, "into", None, END)
    row(0xCF, "iret", None, END, Z)
    row(0xF1, "int1", None, END)
    for i in range(4):
        row(0xE0 + i, "loop", None, REL8 | END, i | Z16)
    row(0x62, None, "bound", MODRM, Z)
    row(0x10B, "undefined", None, END)


def _system() -> None:
    row(0x63, "arpl_r", "arpl_m", MODRM)
    for code in (0xE4, 0xE6, 0xEC, 0xEE):
        name, where = ("out" if code & 2 else "in_"), (16 if code & 8 else 0)
        kind = 0 if code & 8 else IB
        row(code, name, None, kind | END, 1 | where)
        row(code + 1, name, None, kind | END, Z | where)
    for code in (0xF5, 0xF8, 0xF9, 0xFC, 0xFD):
        row(code, "flag_op", None, 0, code & 15)
    row(0xF4, "hlt", None, END)
    row(0xFA, "cli", None)
    row(0xFB, "sti", None, END)
    row(0x100, "store_selector_r", "store_selector_m", MODRM, 6 | Z16, 0)
    row(0x100, "store_selector_r", "store_selector_m", MODRM, 7 | Z16, 1)
    row(0x100, "load_system_r", "load_system_m", MODRM, 6, 2)
    row(0x100, "load_system_r", "load_system_m", MODRM, 7, 3)
    row(0x100, "verify_r", "verify_m", MODRM, 0, 4)
    row(0x100, "verify_r", "verify_m", MODRM, 1, 5)
    row(0x101, None, "store_table", MODRM, 0 | Z16, 0)
    row(0x101, None, "store_table", MODRM, 1 | Z16, 1)
    row(0x101, None, "load_table", MODRM, 0 | Z16, 2)
    row(0x101, None, "load_table", MODRM, 1 | Z16, 3)
    row(0x101, "smsw_r", "smsw_m", MODRM, Z, 4)
    row(0x101, "lmsw_r", "lmsw_m", MODRM | END, 0, 6)
    row(0x101, None, "invlpg", MODRM | END, 0, 7)
    row(0x102, "rights_r", "rights_m", MODRM, 2 | Z16)
    row(0x103, "rights_r", "rights_m", MODRM, 3 | Z16)
    row(0x106, "clts", None)
    row(0x108, "privileged_nop", None)
    row(0x109, "privileged_nop", None)
    for code in (0x10D, *range(0x118, 0x120)):
        row(code, "nop", "nop", MODRM)
    row(0x120, "mov_from_cr", None, MODRM | REGISTER_ONLY)
    row(0x121, "mov_from_dr", None, MODRM | REGISTER_ONLY)
    row(0x122, "mov_to_cr", None, MODRM | REGISTER_ONLY | END)
    row(0x123, "mov_to_dr", None, MODRM | REGISTER_ONLY)
    row(0x130, "wrmsr", None, END)
    row(0x131, "rdtsc", None, END)
    row(0x132, "rdmsr", None, END)
    row(0x133, "rdpmc", None)
    row(0x1A2, "cpuid", None)
    for code in range(0xD8, 0xE0):
        row(code, "x87_r", "x87_m", MODRM | X87)
    row(0x9B, "fwait", None)
    row(0x1AE, None, "fxsave", MODRM, 0, 0)
    row(0x1AE, None, "fxrstor", MODRM, 0, 1)


_data()
_flow()
_arithmetic()
_shifts()
_system()

PAIRED = (
    "cmp_rr32", "cmp_ri32", "cmp_mr32", "cmp_rm32", "cmp_mi32", "cmp_mi8", "cmp_mr8", "cmp_rm8", "cmp_ri8",
    "test_rr32", "test_rr8", "test_ri8",
)  # fmt: skip
"""Comparisons that become one operation with the conditional jump behind them, as often they have one."""
PAIR = "_jcc"
"""What the name of such a pair ends in."""
PAIR_BITS = {"b": 1, "e": 2, "be": 3, "s": 4, "l": 8, "le": 10}
"""What a pair's jump asks of its comparison: bit 0 below, 1 equal, 2 negative, 3 less; any of them."""
PAIR_NOT = 16
"""Set where the jump is taken if none of them is met."""

FIXED = ("undefined", "fall", "too_long")
"""Operation numbers 0 to 2: what no row names, the end of a block without a jump, more than 15 bytes."""


def handler(name: str | None, size: int) -> str:
    """The handler of a row's form for an operand size of 2 or 4 bytes: ``a{z}``, or ``a|b`` (32 bits | 16 bits)."""
    if name is None:
        return "undefined"
    if "|" in name:
        wide, _, narrow = name.partition("|")
        return wide if size == 4 else narrow
    full = name.replace("{z}", str(8 * size))
    stem, _, form = full.partition("_")
    if size == 2 and "{z}" in name and stem in (*ALU, "test"):
        return f"alu_{form}"
    return full


def _number() -> tuple[dict[str, int], Any, Any, Any, Any, Any]:
    numbers = {name: i for i, name in enumerate((*FIXED, *(name + PAIR for name in PAIRED)))}
    operations = np.zeros((512, 8, 2, 2), np.int64)
    attributes = np.zeros((512, 8), np.int64)
    subs = np.zeros((512, 8, 2), np.int64)
    for r in ROWS:
        for ext in range(8) if r.ext is None else (r.ext,):
            attributes[r.code, ext] = r.attr
            for wide, size in enumerate((2, 4)):
                value = r.sub & 0xFFFF
                value += size if r.sub & Z else 0
                value += 16 * size if r.sub & Z16 else 0
                subs[r.code, ext, wide] = value
                for memory, name in enumerate((r.register, r.memory)):
                    full = handler(name, size)
                    operations[r.code, ext, wide, memory] = numbers.setdefault(full, len(numbers))
        if r.ext is not None:  # a group has a ModRM byte whatever its reg field says
            for ext in range(8):
                if not attributes[r.code, ext]:
                    attributes[r.code, ext] = MODRM
    pairs = np.zeros(len(numbers), np.int64)
    asked = np.zeros(len(numbers), np.int64)
    for name in PAIRED:
        pairs[numbers[name]] = numbers[name + PAIR] * 2 + ("m" in name.split("_")[1])
    for i, name in enumerate(CONDITIONS):
        bits = PAIR_BITS.get(CONDITIONS[i & ~1], 0)
        asked[numbers["j" + name]] = bits | PAIR_NOT if bits and i & 1 else bits
    return numbers, operations.reshape(-1), attributes.reshape(-1), subs.reshape(-1), pairs, asked


NUMBERS, OPERATIONS, ATTRIBUTES, SUBS, PAIRS, ASKED = _number()
"""Handler name -> operation number; by opcode * 8 + reg: operation (then operand size 32?, memory form?), attributes,
``imm2`` (then operand size 32?); by operation number: the pair it begins (times 2, plus 1 for a memory form), and what
the jump that it is asks, or 0."""
if PLAIN:
    OPERATIONS, ATTRIBUTES, SUBS = OPERATIONS.tolist(), ATTRIBUTES.tolist(), SUBS.tolist()
    PAIRS, ASKED = PAIRS.tolist(), ASKED.tolist()
