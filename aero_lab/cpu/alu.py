"""Arithmetic and logic on values: each takes the width in bits, leaves its flags and gives its result."""

from __future__ import annotations

from ..compiled.registry import I64, VOID
from .flags import carry, leave_flags, leave_logical
from .inline import inlined, kernel, out_of_line
from .state import C


@inlined
@kernel(I64(C, I64, I64, I64))
def add(c, a, b, bits):
    r = (a + b) & ((1 << bits) - 1)
    leave_flags(c, r, (a & b) | ((a | b) & ~r), bits)
    return r


@inlined
@kernel(I64(C, I64, I64, I64))
def adc(c, a, b, bits):
    r = (a + b + carry(c)) & ((1 << bits) - 1)
    leave_flags(c, r, (a & b) | ((a | b) & ~r), bits)
    return r


@inlined
@kernel(I64(C, I64, I64, I64))
def sub(c, a, b, bits):
    r = (a - b) & ((1 << bits) - 1)
    leave_flags(c, r, (~a & b) | (~(a ^ b) & r), bits)
    return r


@inlined
@kernel(I64(C, I64, I64, I64))
def sbb(c, a, b, bits):
    r = (a - b - carry(c)) & ((1 << bits) - 1)
    leave_flags(c, r, (~a & b) | (~(a ^ b) & r), bits)
    return r


@inlined
@kernel(I64(C, I64, I64, I64))
def and_(c, a, b, bits):
    r = a & b
    leave_logical(c, r, bits)
    return r


@inlined
@kernel(I64(C, I64, I64, I64))
def or_(c, a, b, bits):
    r = a | b
    leave_logical(c, r, bits)
    return r


@inlined
@kernel(I64(C, I64, I64, I64))
def xor(c, a, b, bits):
    r = a ^ b
    leave_logical(c, r, bits)
    return r


@inlined
@kernel(VOID(C, I64))
def _keep_carry(c, before):
    """Put the carry of ``before`` back and keep the overflow, for INC and DEC."""
    change = (c.faux ^ before) & 0x80000000
    c.faux ^= change | (change >> 1)


@inlined
@kernel(I64(C, I64, I64))
def inc(c, a, bits):
    before = c.faux
    r = add(c, a, 1, bits)
    _keep_carry(c, before)
    return r


@inlined
@kernel(I64(C, I64, I64))
def dec(c, a, bits):
    before = c.faux
    r = sub(c, a, 1, bits)
    _keep_carry(c, before)
    return r


@inlined
@kernel(I64(C, I64, I64))
def neg(c, a, bits):
    return sub(c, 0, a, bits)


@kernel(I64(C, I64, I64, I64, I64))
def arithmetic(c, which, a, b, bits):
    """One of the eight by its number in the opcode: ADD OR ADC SBB AND SUB XOR CMP; 8 is TEST. CMP and TEST give
    ``a``."""
    out_of_line()
    if which == 0:
        return add(c, a, b, bits)
    if which == 1:
        return or_(c, a, b, bits)
    if which == 2:
        return adc(c, a, b, bits)
    if which == 3:
        return sbb(c, a, b, bits)
    if which == 4:
        return and_(c, a, b, bits)
    if which == 5:
        return sub(c, a, b, bits)
    if which == 6:
        return xor(c, a, b, bits)
    if which == 7:
        sub(c, a, b, bits)
    else:
        and_(c, a, b, bits)
    return a
