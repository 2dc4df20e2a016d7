"""Every form of every instruction against unicorn: registers, defined flags, memory, and whether it faults."""

from __future__ import annotations

import os
import zlib
from dataclasses import replace

import pytest

from aero_lab.compiled.registry import PLAIN
from aero_lab.cpu.opcodes import NUMBERS, PAIR, PAIRED
from aero_lab.cpu.state import row

from .cases import ARITHMETIC, Form, Maker, forms, undefined_flags
from .rig import CODE, Case, Ours, Theirs

FORMS = forms()
CASES = 4 if PLAIN else int(os.environ.get("CPU_CASES", "60"))
"""Cases of each form: some 40,000 in all when compiled."""


JUMPING = [f for f in FORMS if f.name.replace("{z}", "32") in PAIRED and f.wide]
"""Comparisons that the decoder joins with the jump behind them."""


@pytest.fixture(scope="module")
def pair():
    return Ours(), Theirs()


def jumping(case: Case, number: int) -> Case:
    """A comparison with a conditional jump behind it, near or short."""
    jump = bytes([0x70 | number & 15, 0x21]) if number & 16 else bytes([0x0F, 0x80 | number & 15, 0x21, 1, 0, 0])
    return replace(case, code=case.code + jump, where=CODE + 0xC00, straight=False, steps=2)


def compare(pair, form: Form, seed: int, count: int, jump: bool = False) -> list[str]:
    """What differs, as text."""
    ours, theirs = pair
    maker = Maker(seed)
    data, stack = maker.area(), maker.area()
    wrong = []
    for number in range(count):
        case = maker.case(form, data, stack)
        if jump:
            case = jumping(case, number)
        a, b = ours.run(case), theirs.run(case)
        bad = []
        if a.exception != b.exception:
            bad.append(f"exception {a.exception} for {b.exception}")
        elif a.exception is not None:
            if a.registers[:4] != b.registers[:4] or a.data != b.data:
                bad.append("changed something before its fault")
        else:
            mask = (ARITHMETIC & ~undefined_flags(form, case)) | 0x400
            if a.registers != b.registers:
                bad.append(f"registers {[hex(v) for v in a.registers]} for {[hex(v) for v in b.registers]}")
            if (a.flags ^ b.flags) & mask:
                bad.append(f"flags {a.flags & mask:x} for {b.flags & mask:x}")
            if a.eip != b.eip:
                bad.append(f"eip {a.eip:x} for {b.eip:x}")
            if a.data != b.data or a.stack != b.stack:
                bad.append("memory")
        if bad:
            wrong.append(
                f"seed {seed} case {number} {form} {case.code.hex()} flags {case.flags:x} "
                f"registers {[hex(v) for v in case.registers]}: {', '.join(bad)}"
            )
    return wrong


def test_one_of_each():
    """All forms once more, a case of each, in one go."""
    pair = Ours(), Theirs()
    for form in FORMS:
        wrong = compare(pair, form, 7 + zlib.crc32(str(form).encode()), 1)
        assert not wrong, wrong[0]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_form(pair, form):
    wrong = compare(pair, form, zlib.crc32(str(form).encode()), CASES)
    assert not wrong, "\n".join(wrong[:5])


@pytest.mark.parametrize("form", JUMPING, ids=str)
def test_a_comparison_and_its_jump(pair, form):
    """Both at once, as a block runs them, all conditions."""
    ours, _ = pair
    first = int(row(ours.core.code).insn_count)
    wrong = compare(pair, form, zlib.crc32(str(form).encode()), 32 * max(1, CASES // 8), True)
    assert not wrong, "\n".join(wrong[:5])
    pairs = {NUMBERS[name + PAIR] for name in PAIRED}
    made = sum(
        int(ours.core.insns[i].op if PLAIN else ours.core.insns[i]["op"]) in pairs for i in range(first, first + 90)
    )
    assert made > 20, "the decoder made no pairs of them"


@pytest.mark.parametrize("form", [f for f in FORMS if f.row.code & 0xF0 == 0x70 and f.row.code < 0x80], ids=str)
def test_a_jump_is_taken_and_not(pair, form):
    wrong = compare(pair, form, zlib.crc32(str(form).encode()), 24)
    assert not wrong, "\n".join(wrong[:5])
