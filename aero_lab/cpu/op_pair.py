"""Arithmetic, logic, jumps and pairs of both by form and width: written by ``generate.py``, not by hand.

The forms: ``rr`` register with register, ``rm`` register with memory, ``mr`` memory with register, ``ri`` and ``mi``
with an immediate, ``r`` and ``m`` alone. ``alu_`` handlers take the operation from ``imm2``.
"""

from __future__ import annotations

from .cells import gpr
from .inline import inlined, kernel
from .memory import load8, load32
from .operands import OP, address, get8
from .pairs import jump_compared, jump_tested


@inlined
@kernel(OP)
def cmp_rr32_jcc(c, k, ram, e):
    return jump_compared(c, e, e.seg, gpr(c, e.rm), gpr(c, e.reg), 32)


@inlined
@kernel(OP)
def cmp_ri32_jcc(c, k, ram, e):
    return jump_compared(c, e, e.seg, gpr(c, e.rm), e.imm, 32)


@inlined
@kernel(OP)
def cmp_mr32_jcc(c, k, ram, e):
    value = load32(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    return jump_compared(c, e, e.rm, value, gpr(c, e.reg), 32)


@inlined
@kernel(OP)
def cmp_rm32_jcc(c, k, ram, e):
    value = load32(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    return jump_compared(c, e, e.rm, gpr(c, e.reg), value, 32)


@inlined
@kernel(OP)
def cmp_mi32_jcc(c, k, ram, e):
    value = load32(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    return jump_compared(c, e, e.rm, value, e.imm, 32)


@inlined
@kernel(OP)
def cmp_mi8_jcc(c, k, ram, e):
    value = load8(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    return jump_compared(c, e, e.rm, value, e.imm, 8)


@inlined
@kernel(OP)
def cmp_mr8_jcc(c, k, ram, e):
    value = load8(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    return jump_compared(c, e, e.rm, value, get8(c, e.reg), 8)


@inlined
@kernel(OP)
def cmp_rm8_jcc(c, k, ram, e):
    value = load8(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    return jump_compared(c, e, e.rm, get8(c, e.reg), value, 8)


@inlined
@kernel(OP)
def cmp_ri8_jcc(c, k, ram, e):
    return jump_compared(c, e, e.seg, get8(c, e.rm), e.imm, 8)


@inlined
@kernel(OP)
def test_rr32_jcc(c, k, ram, e):
    return jump_tested(c, e, e.seg, gpr(c, e.rm), gpr(c, e.reg), 32)


@inlined
@kernel(OP)
def test_rr8_jcc(c, k, ram, e):
    return jump_tested(c, e, e.seg, get8(c, e.rm), get8(c, e.reg), 8)


@inlined
@kernel(OP)
def test_ri8_jcc(c, k, ram, e):
    return jump_tested(c, e, e.seg, get8(c, e.rm), e.imm, 8)
