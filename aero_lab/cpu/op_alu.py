"""Arithmetic, logic, jumps and pairs of both by form and width: written by ``generate.py``, not by hand.

The forms: ``rr`` register with register, ``rm`` register with memory, ``mr`` memory with register, ``ri`` and ``mi``
with an immediate, ``r`` and ``m`` alone. ``alu_`` handlers take the operation from ``imm2``.
"""

from __future__ import annotations

from .alu import add, and_, arithmetic, dec, inc, neg, or_, sub, xor
from .inline import inlined, kernel
from .memory import load8, load16, modify8, modify16, store8, store16
from .operands import OP, address, get8, get16, set8, set16
from .state import NEXT


@inlined
@kernel(OP)
def add_rr8(c, k, ram, e):
    set8(c, e.rm, add(c, get8(c, e.rm), get8(c, e.reg), 8))
    return NEXT


@inlined
@kernel(OP)
def add_mr8(c, k, ram, e):
    at = address(c, e)
    value = modify8(c, ram, e.seg, at)
    if value < 0:
        return value
    return store8(c, k, ram, e.seg, at, add(c, value, get8(c, e.reg), 8))


@kernel(OP)
def alu_rr16(c, k, ram, e):
    set16(c, e.rm, arithmetic(c, e.imm2, get16(c, e.rm), get16(c, e.reg), 16))
    return NEXT


@kernel(OP)
def alu_mr16(c, k, ram, e):
    at = address(c, e)
    value = load16(c, ram, e.seg, at) if e.imm2 >= 7 else modify16(c, ram, e.seg, at)
    if value < 0:
        return value
    result = arithmetic(c, e.imm2, value, get16(c, e.reg), 16)
    if e.imm2 >= 7:
        return NEXT
    return store16(c, k, ram, e.seg, at, result)


@inlined
@kernel(OP)
def add_rm8(c, k, ram, e):
    value = load8(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    set8(c, e.reg, add(c, get8(c, e.reg), value, 8))
    return NEXT


@kernel(OP)
def alu_rm16(c, k, ram, e):
    value = load16(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    set16(c, e.reg, arithmetic(c, e.imm2, get16(c, e.reg), value, 16))
    return NEXT


@inlined
@kernel(OP)
def add_ri8(c, k, ram, e):
    set8(c, e.rm, add(c, get8(c, e.rm), e.imm, 8))
    return NEXT


@kernel(OP)
def alu_ri16(c, k, ram, e):
    set16(c, e.rm, arithmetic(c, e.imm2, get16(c, e.rm), e.imm, 16))
    return NEXT


@inlined
@kernel(OP)
def add_mi8(c, k, ram, e):
    at = address(c, e)
    value = modify8(c, ram, e.seg, at)
    if value < 0:
        return value
    return store8(c, k, ram, e.seg, at, add(c, value, e.imm, 8))


@kernel(OP)
def alu_mi16(c, k, ram, e):
    at = address(c, e)
    value = load16(c, ram, e.seg, at) if e.imm2 >= 7 else modify16(c, ram, e.seg, at)
    if value < 0:
        return value
    result = arithmetic(c, e.imm2, value, e.imm, 16)
    if e.imm2 >= 7:
        return NEXT
    return store16(c, k, ram, e.seg, at, result)


@inlined
@kernel(OP)
def or_rr8(c, k, ram, e):
    set8(c, e.rm, or_(c, get8(c, e.rm), get8(c, e.reg), 8))
    return NEXT


@inlined
@kernel(OP)
def or_mr8(c, k, ram, e):
    at = address(c, e)
    value = modify8(c, ram, e.seg, at)
    if value < 0:
        return value
    return store8(c, k, ram, e.seg, at, or_(c, value, get8(c, e.reg), 8))


@inlined
@kernel(OP)
def or_rm8(c, k, ram, e):
    value = load8(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    set8(c, e.reg, or_(c, get8(c, e.reg), value, 8))
    return NEXT


@inlined
@kernel(OP)
def or_ri8(c, k, ram, e):
    set8(c, e.rm, or_(c, get8(c, e.rm), e.imm, 8))
    return NEXT


@inlined
@kernel(OP)
def or_mi8(c, k, ram, e):
    at = address(c, e)
    value = modify8(c, ram, e.seg, at)
    if value < 0:
        return value
    return store8(c, k, ram, e.seg, at, or_(c, value, e.imm, 8))


@kernel(OP)
def alu_rr8(c, k, ram, e):
    set8(c, e.rm, arithmetic(c, e.imm2, get8(c, e.rm), get8(c, e.reg), 8))
    return NEXT


@kernel(OP)
def alu_mr8(c, k, ram, e):
    at = address(c, e)
    value = load8(c, ram, e.seg, at) if e.imm2 >= 7 else modify8(c, ram, e.seg, at)
    if value < 0:
        return value
    result = arithmetic(c, e.imm2, value, get8(c, e.reg), 8)
    if e.imm2 >= 7:
        return NEXT
    return store8(c, k, ram, e.seg, at, result)


@kernel(OP)
def alu_rm8(c, k, ram, e):
    value = load8(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    set8(c, e.reg, arithmetic(c, e.imm2, get8(c, e.reg), value, 8))
    return NEXT


@kernel(OP)
def alu_ri8(c, k, ram, e):
    set8(c, e.rm, arithmetic(c, e.imm2, get8(c, e.rm), e.imm, 8))
    return NEXT


@kernel(OP)
def alu_mi8(c, k, ram, e):
    at = address(c, e)
    value = load8(c, ram, e.seg, at) if e.imm2 >= 7 else modify8(c, ram, e.seg, at)
    if value < 0:
        return value
    result = arithmetic(c, e.imm2, value, e.imm, 8)
    if e.imm2 >= 7:
        return NEXT
    return store8(c, k, ram, e.seg, at, result)


@inlined
@kernel(OP)
def and_rr8(c, k, ram, e):
    set8(c, e.rm, and_(c, get8(c, e.rm), get8(c, e.reg), 8))
    return NEXT


@inlined
@kernel(OP)
def and_mr8(c, k, ram, e):
    at = address(c, e)
    value = modify8(c, ram, e.seg, at)
    if value < 0:
        return value
    return store8(c, k, ram, e.seg, at, and_(c, value, get8(c, e.reg), 8))


@inlined
@kernel(OP)
def and_rm8(c, k, ram, e):
    value = load8(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    set8(c, e.reg, and_(c, get8(c, e.reg), value, 8))
    return NEXT


@inlined
@kernel(OP)
def and_ri8(c, k, ram, e):
    set8(c, e.rm, and_(c, get8(c, e.rm), e.imm, 8))
    return NEXT


@inlined
@kernel(OP)
def and_mi8(c, k, ram, e):
    at = address(c, e)
    value = modify8(c, ram, e.seg, at)
    if value < 0:
        return value
    return store8(c, k, ram, e.seg, at, and_(c, value, e.imm, 8))


@inlined
@kernel(OP)
def sub_rr8(c, k, ram, e):
    set8(c, e.rm, sub(c, get8(c, e.rm), get8(c, e.reg), 8))
    return NEXT


@inlined
@kernel(OP)
def sub_mr8(c, k, ram, e):
    at = address(c, e)
    value = modify8(c, ram, e.seg, at)
    if value < 0:
        return value
    return store8(c, k, ram, e.seg, at, sub(c, value, get8(c, e.reg), 8))


@inlined
@kernel(OP)
def sub_rm8(c, k, ram, e):
    value = load8(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    set8(c, e.reg, sub(c, get8(c, e.reg), value, 8))
    return NEXT


@inlined
@kernel(OP)
def sub_ri8(c, k, ram, e):
    set8(c, e.rm, sub(c, get8(c, e.rm), e.imm, 8))
    return NEXT


@inlined
@kernel(OP)
def sub_mi8(c, k, ram, e):
    at = address(c, e)
    value = modify8(c, ram, e.seg, at)
    if value < 0:
        return value
    return store8(c, k, ram, e.seg, at, sub(c, value, e.imm, 8))


@inlined
@kernel(OP)
def xor_rr8(c, k, ram, e):
    set8(c, e.rm, xor(c, get8(c, e.rm), get8(c, e.reg), 8))
    return NEXT


@inlined
@kernel(OP)
def xor_mr8(c, k, ram, e):
    at = address(c, e)
    value = modify8(c, ram, e.seg, at)
    if value < 0:
        return value
    return store8(c, k, ram, e.seg, at, xor(c, value, get8(c, e.reg), 8))


@inlined
@kernel(OP)
def xor_rm8(c, k, ram, e):
    value = load8(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    set8(c, e.reg, xor(c, get8(c, e.reg), value, 8))
    return NEXT


@inlined
@kernel(OP)
def xor_ri8(c, k, ram, e):
    set8(c, e.rm, xor(c, get8(c, e.rm), e.imm, 8))
    return NEXT


@inlined
@kernel(OP)
def xor_mi8(c, k, ram, e):
    at = address(c, e)
    value = modify8(c, ram, e.seg, at)
    if value < 0:
        return value
    return store8(c, k, ram, e.seg, at, xor(c, value, e.imm, 8))


@inlined
@kernel(OP)
def cmp_rr8(c, k, ram, e):
    sub(c, get8(c, e.rm), get8(c, e.reg), 8)
    return NEXT


@inlined
@kernel(OP)
def cmp_mr8(c, k, ram, e):
    value = load8(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    sub(c, value, get8(c, e.reg), 8)
    return NEXT


@inlined
@kernel(OP)
def cmp_rm8(c, k, ram, e):
    value = load8(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    sub(c, get8(c, e.reg), value, 8)
    return NEXT


@inlined
@kernel(OP)
def cmp_ri8(c, k, ram, e):
    sub(c, get8(c, e.rm), e.imm, 8)
    return NEXT


@inlined
@kernel(OP)
def cmp_mi8(c, k, ram, e):
    value = load8(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    sub(c, value, e.imm, 8)
    return NEXT


@inlined
@kernel(OP)
def test_rr8(c, k, ram, e):
    and_(c, get8(c, e.rm), get8(c, e.reg), 8)
    return NEXT


@inlined
@kernel(OP)
def test_mr8(c, k, ram, e):
    value = load8(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    and_(c, value, get8(c, e.reg), 8)
    return NEXT


@inlined
@kernel(OP)
def test_ri8(c, k, ram, e):
    and_(c, get8(c, e.rm), e.imm, 8)
    return NEXT


@inlined
@kernel(OP)
def test_mi8(c, k, ram, e):
    value = load8(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    and_(c, value, e.imm, 8)
    return NEXT


@inlined
@kernel(OP)
def inc_r16(c, k, ram, e):
    set16(c, e.rm, inc(c, get16(c, e.rm), 16))
    return NEXT


@inlined
@kernel(OP)
def dec_r16(c, k, ram, e):
    set16(c, e.rm, dec(c, get16(c, e.rm), 16))
    return NEXT


@inlined
@kernel(OP)
def inc_r8(c, k, ram, e):
    set8(c, e.rm, inc(c, get8(c, e.rm), 8))
    return NEXT


@inlined
@kernel(OP)
def inc_m8(c, k, ram, e):
    at = address(c, e)
    value = modify8(c, ram, e.seg, at)
    if value < 0:
        return value
    return store8(c, k, ram, e.seg, at, inc(c, value, 8))


@inlined
@kernel(OP)
def inc_m16(c, k, ram, e):
    at = address(c, e)
    value = modify16(c, ram, e.seg, at)
    if value < 0:
        return value
    return store16(c, k, ram, e.seg, at, inc(c, value, 16))


@inlined
@kernel(OP)
def dec_r8(c, k, ram, e):
    set8(c, e.rm, dec(c, get8(c, e.rm), 8))
    return NEXT


@inlined
@kernel(OP)
def dec_m8(c, k, ram, e):
    at = address(c, e)
    value = modify8(c, ram, e.seg, at)
    if value < 0:
        return value
    return store8(c, k, ram, e.seg, at, dec(c, value, 8))


@inlined
@kernel(OP)
def dec_m16(c, k, ram, e):
    at = address(c, e)
    value = modify16(c, ram, e.seg, at)
    if value < 0:
        return value
    return store16(c, k, ram, e.seg, at, dec(c, value, 16))


@inlined
@kernel(OP)
def not_r8(c, k, ram, e):
    set8(c, e.rm, get8(c, e.rm) ^ 0xFF)
    return NEXT


@inlined
@kernel(OP)
def not_m8(c, k, ram, e):
    at = address(c, e)
    value = modify8(c, ram, e.seg, at)
    if value < 0:
        return value
    return store8(c, k, ram, e.seg, at, value ^ 0xFF)


@inlined
@kernel(OP)
def not_r16(c, k, ram, e):
    set16(c, e.rm, get16(c, e.rm) ^ 0xFFFF)
    return NEXT


@inlined
@kernel(OP)
def not_m16(c, k, ram, e):
    at = address(c, e)
    value = modify16(c, ram, e.seg, at)
    if value < 0:
        return value
    return store16(c, k, ram, e.seg, at, value ^ 0xFFFF)


@inlined
@kernel(OP)
def neg_r8(c, k, ram, e):
    set8(c, e.rm, neg(c, get8(c, e.rm), 8))
    return NEXT


@inlined
@kernel(OP)
def neg_m8(c, k, ram, e):
    at = address(c, e)
    value = modify8(c, ram, e.seg, at)
    if value < 0:
        return value
    return store8(c, k, ram, e.seg, at, neg(c, value, 8))


@inlined
@kernel(OP)
def neg_r16(c, k, ram, e):
    set16(c, e.rm, neg(c, get16(c, e.rm), 16))
    return NEXT


@inlined
@kernel(OP)
def neg_m16(c, k, ram, e):
    at = address(c, e)
    value = modify16(c, ram, e.seg, at)
    if value < 0:
        return value
    return store16(c, k, ram, e.seg, at, neg(c, value, 16))
