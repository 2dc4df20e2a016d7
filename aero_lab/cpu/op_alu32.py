"""Arithmetic, logic, jumps and pairs of both by form and width: written by ``generate.py``, not by hand.

The forms: ``rr`` register with register, ``rm`` register with memory, ``mr`` memory with register, ``ri`` and ``mi``
with an immediate, ``r`` and ``m`` alone. ``alu_`` handlers take the operation from ``imm2``.
"""

from __future__ import annotations

from .alu import adc, add, and_, dec, inc, neg, or_, sbb, sub, xor
from .cells import gpr, put_gpr
from .inline import inlined, kernel
from .memory import load32, modify32, store32
from .operands import OP, address
from .state import NEXT


@inlined
@kernel(OP)
def add_rr32(c, k, ram, e):
    put_gpr(c, e.rm, add(c, gpr(c, e.rm), gpr(c, e.reg), 32))
    return NEXT


@inlined
@kernel(OP)
def add_mr32(c, k, ram, e):
    at = address(c, e)
    value = modify32(c, ram, e.seg, at)
    if value < 0:
        return value
    return store32(c, k, ram, e.seg, at, add(c, value, gpr(c, e.reg), 32))


@inlined
@kernel(OP)
def add_rm32(c, k, ram, e):
    value = load32(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    put_gpr(c, e.reg, add(c, gpr(c, e.reg), value, 32))
    return NEXT


@inlined
@kernel(OP)
def add_ri32(c, k, ram, e):
    put_gpr(c, e.rm, add(c, gpr(c, e.rm), e.imm, 32))
    return NEXT


@inlined
@kernel(OP)
def add_mi32(c, k, ram, e):
    at = address(c, e)
    value = modify32(c, ram, e.seg, at)
    if value < 0:
        return value
    return store32(c, k, ram, e.seg, at, add(c, value, e.imm, 32))


@inlined
@kernel(OP)
def or_rr32(c, k, ram, e):
    put_gpr(c, e.rm, or_(c, gpr(c, e.rm), gpr(c, e.reg), 32))
    return NEXT


@inlined
@kernel(OP)
def or_mr32(c, k, ram, e):
    at = address(c, e)
    value = modify32(c, ram, e.seg, at)
    if value < 0:
        return value
    return store32(c, k, ram, e.seg, at, or_(c, value, gpr(c, e.reg), 32))


@inlined
@kernel(OP)
def or_rm32(c, k, ram, e):
    value = load32(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    put_gpr(c, e.reg, or_(c, gpr(c, e.reg), value, 32))
    return NEXT


@inlined
@kernel(OP)
def or_ri32(c, k, ram, e):
    put_gpr(c, e.rm, or_(c, gpr(c, e.rm), e.imm, 32))
    return NEXT


@inlined
@kernel(OP)
def or_mi32(c, k, ram, e):
    at = address(c, e)
    value = modify32(c, ram, e.seg, at)
    if value < 0:
        return value
    return store32(c, k, ram, e.seg, at, or_(c, value, e.imm, 32))


@inlined
@kernel(OP)
def adc_rr32(c, k, ram, e):
    put_gpr(c, e.rm, adc(c, gpr(c, e.rm), gpr(c, e.reg), 32))
    return NEXT


@inlined
@kernel(OP)
def adc_mr32(c, k, ram, e):
    at = address(c, e)
    value = modify32(c, ram, e.seg, at)
    if value < 0:
        return value
    return store32(c, k, ram, e.seg, at, adc(c, value, gpr(c, e.reg), 32))


@inlined
@kernel(OP)
def adc_rm32(c, k, ram, e):
    value = load32(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    put_gpr(c, e.reg, adc(c, gpr(c, e.reg), value, 32))
    return NEXT


@inlined
@kernel(OP)
def adc_ri32(c, k, ram, e):
    put_gpr(c, e.rm, adc(c, gpr(c, e.rm), e.imm, 32))
    return NEXT


@inlined
@kernel(OP)
def adc_mi32(c, k, ram, e):
    at = address(c, e)
    value = modify32(c, ram, e.seg, at)
    if value < 0:
        return value
    return store32(c, k, ram, e.seg, at, adc(c, value, e.imm, 32))


@inlined
@kernel(OP)
def sbb_rr32(c, k, ram, e):
    put_gpr(c, e.rm, sbb(c, gpr(c, e.rm), gpr(c, e.reg), 32))
    return NEXT


@inlined
@kernel(OP)
def sbb_mr32(c, k, ram, e):
    at = address(c, e)
    value = modify32(c, ram, e.seg, at)
    if value < 0:
        return value
    return store32(c, k, ram, e.seg, at, sbb(c, value, gpr(c, e.reg), 32))


@inlined
@kernel(OP)
def sbb_rm32(c, k, ram, e):
    value = load32(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    put_gpr(c, e.reg, sbb(c, gpr(c, e.reg), value, 32))
    return NEXT


@inlined
@kernel(OP)
def sbb_ri32(c, k, ram, e):
    put_gpr(c, e.rm, sbb(c, gpr(c, e.rm), e.imm, 32))
    return NEXT


@inlined
@kernel(OP)
def sbb_mi32(c, k, ram, e):
    at = address(c, e)
    value = modify32(c, ram, e.seg, at)
    if value < 0:
        return value
    return store32(c, k, ram, e.seg, at, sbb(c, value, e.imm, 32))


@inlined
@kernel(OP)
def and_rr32(c, k, ram, e):
    put_gpr(c, e.rm, and_(c, gpr(c, e.rm), gpr(c, e.reg), 32))
    return NEXT


@inlined
@kernel(OP)
def and_mr32(c, k, ram, e):
    at = address(c, e)
    value = modify32(c, ram, e.seg, at)
    if value < 0:
        return value
    return store32(c, k, ram, e.seg, at, and_(c, value, gpr(c, e.reg), 32))


@inlined
@kernel(OP)
def and_rm32(c, k, ram, e):
    value = load32(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    put_gpr(c, e.reg, and_(c, gpr(c, e.reg), value, 32))
    return NEXT


@inlined
@kernel(OP)
def and_ri32(c, k, ram, e):
    put_gpr(c, e.rm, and_(c, gpr(c, e.rm), e.imm, 32))
    return NEXT


@inlined
@kernel(OP)
def and_mi32(c, k, ram, e):
    at = address(c, e)
    value = modify32(c, ram, e.seg, at)
    if value < 0:
        return value
    return store32(c, k, ram, e.seg, at, and_(c, value, e.imm, 32))


@inlined
@kernel(OP)
def sub_rr32(c, k, ram, e):
    put_gpr(c, e.rm, sub(c, gpr(c, e.rm), gpr(c, e.reg), 32))
    return NEXT


@inlined
@kernel(OP)
def sub_mr32(c, k, ram, e):
    at = address(c, e)
    value = modify32(c, ram, e.seg, at)
    if value < 0:
        return value
    return store32(c, k, ram, e.seg, at, sub(c, value, gpr(c, e.reg), 32))


@inlined
@kernel(OP)
def sub_rm32(c, k, ram, e):
    value = load32(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    put_gpr(c, e.reg, sub(c, gpr(c, e.reg), value, 32))
    return NEXT


@inlined
@kernel(OP)
def sub_ri32(c, k, ram, e):
    put_gpr(c, e.rm, sub(c, gpr(c, e.rm), e.imm, 32))
    return NEXT


@inlined
@kernel(OP)
def sub_mi32(c, k, ram, e):
    at = address(c, e)
    value = modify32(c, ram, e.seg, at)
    if value < 0:
        return value
    return store32(c, k, ram, e.seg, at, sub(c, value, e.imm, 32))


@inlined
@kernel(OP)
def xor_rr32(c, k, ram, e):
    put_gpr(c, e.rm, xor(c, gpr(c, e.rm), gpr(c, e.reg), 32))
    return NEXT


@inlined
@kernel(OP)
def xor_mr32(c, k, ram, e):
    at = address(c, e)
    value = modify32(c, ram, e.seg, at)
    if value < 0:
        return value
    return store32(c, k, ram, e.seg, at, xor(c, value, gpr(c, e.reg), 32))


@inlined
@kernel(OP)
def xor_rm32(c, k, ram, e):
    value = load32(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    put_gpr(c, e.reg, xor(c, gpr(c, e.reg), value, 32))
    return NEXT


@inlined
@kernel(OP)
def xor_ri32(c, k, ram, e):
    put_gpr(c, e.rm, xor(c, gpr(c, e.rm), e.imm, 32))
    return NEXT


@inlined
@kernel(OP)
def xor_mi32(c, k, ram, e):
    at = address(c, e)
    value = modify32(c, ram, e.seg, at)
    if value < 0:
        return value
    return store32(c, k, ram, e.seg, at, xor(c, value, e.imm, 32))


@inlined
@kernel(OP)
def cmp_rr32(c, k, ram, e):
    sub(c, gpr(c, e.rm), gpr(c, e.reg), 32)
    return NEXT


@inlined
@kernel(OP)
def cmp_mr32(c, k, ram, e):
    value = load32(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    sub(c, value, gpr(c, e.reg), 32)
    return NEXT


@inlined
@kernel(OP)
def cmp_rm32(c, k, ram, e):
    value = load32(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    sub(c, gpr(c, e.reg), value, 32)
    return NEXT


@inlined
@kernel(OP)
def cmp_ri32(c, k, ram, e):
    sub(c, gpr(c, e.rm), e.imm, 32)
    return NEXT


@inlined
@kernel(OP)
def cmp_mi32(c, k, ram, e):
    value = load32(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    sub(c, value, e.imm, 32)
    return NEXT


@inlined
@kernel(OP)
def test_rr32(c, k, ram, e):
    and_(c, gpr(c, e.rm), gpr(c, e.reg), 32)
    return NEXT


@inlined
@kernel(OP)
def test_mr32(c, k, ram, e):
    value = load32(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    and_(c, value, gpr(c, e.reg), 32)
    return NEXT


@inlined
@kernel(OP)
def test_ri32(c, k, ram, e):
    and_(c, gpr(c, e.rm), e.imm, 32)
    return NEXT


@inlined
@kernel(OP)
def test_mi32(c, k, ram, e):
    value = load32(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    and_(c, value, e.imm, 32)
    return NEXT


@inlined
@kernel(OP)
def inc_r32(c, k, ram, e):
    put_gpr(c, e.rm, inc(c, gpr(c, e.rm), 32))
    return NEXT


@inlined
@kernel(OP)
def dec_r32(c, k, ram, e):
    put_gpr(c, e.rm, dec(c, gpr(c, e.rm), 32))
    return NEXT


@inlined
@kernel(OP)
def inc_m32(c, k, ram, e):
    at = address(c, e)
    value = modify32(c, ram, e.seg, at)
    if value < 0:
        return value
    return store32(c, k, ram, e.seg, at, inc(c, value, 32))


@inlined
@kernel(OP)
def dec_m32(c, k, ram, e):
    at = address(c, e)
    value = modify32(c, ram, e.seg, at)
    if value < 0:
        return value
    return store32(c, k, ram, e.seg, at, dec(c, value, 32))


@inlined
@kernel(OP)
def not_r32(c, k, ram, e):
    put_gpr(c, e.rm, gpr(c, e.rm) ^ 0xFFFFFFFF)
    return NEXT


@inlined
@kernel(OP)
def not_m32(c, k, ram, e):
    at = address(c, e)
    value = modify32(c, ram, e.seg, at)
    if value < 0:
        return value
    return store32(c, k, ram, e.seg, at, value ^ 0xFFFFFFFF)


@inlined
@kernel(OP)
def neg_r32(c, k, ram, e):
    put_gpr(c, e.rm, neg(c, gpr(c, e.rm), 32))
    return NEXT


@inlined
@kernel(OP)
def neg_m32(c, k, ram, e):
    at = address(c, e)
    value = modify32(c, ram, e.seg, at)
    if value < 0:
        return value
    return store32(c, k, ram, e.seg, at, neg(c, value, 32))
