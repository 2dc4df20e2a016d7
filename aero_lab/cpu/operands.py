"""Operands of decoded instructions: registers of any width, effective addresses."""

from __future__ import annotations

from typing import Any

from ..compiled.registry import BYTES, I64, VOID
from .cells import gpr, put_gpr
from .inline import inlined, kernel
from .state import C, E, K

M32 = 0xFFFFFFFF
OP: Any = I64(C, K, BYTES, E)
"""Signature of the handler of an instruction: processor, code cache, memory, decoded instruction; gives a status."""


@inlined
@kernel(I64(C, E))
def address(c, e):
    """The effective address (offset in its segment) of the memory operand."""
    return (gpr(c, e.base) + (gpr(c, e.index) << e.shift) + e.disp) & (M32 >> e.wrap)


@inlined
@kernel(I64(C, I64))
def get8(c, n):
    """AL CL DL BL AH CH DH BH."""
    return (gpr(c, n & 3) >> ((n & 4) << 1)) & 0xFF


@inlined
@kernel(VOID(C, I64, I64))
def set8(c, n, value):
    shift = (n & 4) << 1
    put_gpr(c, n & 3, (gpr(c, n & 3) & ~(0xFF << shift)) | (value << shift))


@inlined
@kernel(I64(C, I64))
def get16(c, n):
    return gpr(c, n) & 0xFFFF


@inlined
@kernel(VOID(C, I64, I64))
def set16(c, n, value):
    put_gpr(c, n, (gpr(c, n) & 0xFFFF0000) | value)


@inlined
@kernel(I64(C, I64, I64))
def get_register(c, n, bits):
    if bits == 32:
        return gpr(c, n)
    if bits == 16:
        return get16(c, n)
    return get8(c, n)


@inlined
@kernel(VOID(C, I64, I64, I64))
def set_register(c, n, value, bits):
    if bits == 32:
        put_gpr(c, n, value)
    elif bits == 16:
        set16(c, n, value)
    else:
        set8(c, n, value)


@inlined
@kernel(I64(I64, I64))
def signed(value, bits):
    """The value of ``bits`` bits as a signed number."""
    top = 1 << (bits - 1)
    return (value ^ top) - top
