"""Arithmetic, logic, jumps and pairs of both by form and width: written by ``generate.py``, not by hand.

The forms: ``rr`` register with register, ``rm`` register with memory, ``mr`` memory with register, ``ri`` and ``mi``
with an immediate, ``r`` and ``m`` alone. ``alu_`` handlers take the operation from ``imm2``.
"""

from __future__ import annotations

from .flags import carry, overflow, parity, sign, zero
from .inline import inlined, kernel
from .operands import OP
from .state import NOT_TAKEN, TAKEN

M32 = 0xFFFFFFFF


@inlined
@kernel(OP)
def jo(c, k, ram, e):
    if overflow(c):
        c.eip = (c.eip + e.imm) & M32
        return TAKEN
    c.eip = (c.eip + e.off) & M32
    return NOT_TAKEN


@inlined
@kernel(OP)
def jno(c, k, ram, e):
    if not overflow(c):
        c.eip = (c.eip + e.imm) & M32
        return TAKEN
    c.eip = (c.eip + e.off) & M32
    return NOT_TAKEN


@inlined
@kernel(OP)
def jb(c, k, ram, e):
    if carry(c):
        c.eip = (c.eip + e.imm) & M32
        return TAKEN
    c.eip = (c.eip + e.off) & M32
    return NOT_TAKEN


@inlined
@kernel(OP)
def jae(c, k, ram, e):
    if not carry(c):
        c.eip = (c.eip + e.imm) & M32
        return TAKEN
    c.eip = (c.eip + e.off) & M32
    return NOT_TAKEN


@inlined
@kernel(OP)
def je(c, k, ram, e):
    if zero(c):
        c.eip = (c.eip + e.imm) & M32
        return TAKEN
    c.eip = (c.eip + e.off) & M32
    return NOT_TAKEN


@inlined
@kernel(OP)
def jne(c, k, ram, e):
    if not zero(c):
        c.eip = (c.eip + e.imm) & M32
        return TAKEN
    c.eip = (c.eip + e.off) & M32
    return NOT_TAKEN


@inlined
@kernel(OP)
def jbe(c, k, ram, e):
    if carry(c) | zero(c):
        c.eip = (c.eip + e.imm) & M32
        return TAKEN
    c.eip = (c.eip + e.off) & M32
    return NOT_TAKEN


@inlined
@kernel(OP)
def ja(c, k, ram, e):
    if not (carry(c) | zero(c)):
        c.eip = (c.eip + e.imm) & M32
        return TAKEN
    c.eip = (c.eip + e.off) & M32
    return NOT_TAKEN


@inlined
@kernel(OP)
def js(c, k, ram, e):
    if sign(c):
        c.eip = (c.eip + e.imm) & M32
        return TAKEN
    c.eip = (c.eip + e.off) & M32
    return NOT_TAKEN


@inlined
@kernel(OP)
def jns(c, k, ram, e):
    if not sign(c):
        c.eip = (c.eip + e.imm) & M32
        return TAKEN
    c.eip = (c.eip + e.off) & M32
    return NOT_TAKEN


@inlined
@kernel(OP)
def jp(c, k, ram, e):
    if parity(c):
        c.eip = (c.eip + e.imm) & M32
        return TAKEN
    c.eip = (c.eip + e.off) & M32
    return NOT_TAKEN


@inlined
@kernel(OP)
def jnp(c, k, ram, e):
    if not parity(c):
        c.eip = (c.eip + e.imm) & M32
        return TAKEN
    c.eip = (c.eip + e.off) & M32
    return NOT_TAKEN


@inlined
@kernel(OP)
def jl(c, k, ram, e):
    if sign(c) ^ overflow(c):
        c.eip = (c.eip + e.imm) & M32
        return TAKEN
    c.eip = (c.eip + e.off) & M32
    return NOT_TAKEN


@inlined
@kernel(OP)
def jge(c, k, ram, e):
    if not (sign(c) ^ overflow(c)):
        c.eip = (c.eip + e.imm) & M32
        return TAKEN
    c.eip = (c.eip + e.off) & M32
    return NOT_TAKEN


@inlined
@kernel(OP)
def jle(c, k, ram, e):
    if (sign(c) ^ overflow(c)) | zero(c):
        c.eip = (c.eip + e.imm) & M32
        return TAKEN
    c.eip = (c.eip + e.off) & M32
    return NOT_TAKEN


@inlined
@kernel(OP)
def jg(c, k, ram, e):
    if not ((sign(c) ^ overflow(c)) | zero(c)):
        c.eip = (c.eip + e.imm) & M32
        return TAKEN
    c.eip = (c.eip + e.off) & M32
    return NOT_TAKEN
