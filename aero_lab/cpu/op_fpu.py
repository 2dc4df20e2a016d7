"""Escapes to the x87."""

from __future__ import annotations

from ..compiled.registry import kernel
from .memory import raise_error
from .operands import OP
from .state import CR0_EM, CR0_MP, CR0_TS, NEXT, X_NM, X_UD


@kernel(OP)
def x87_r(c, k, ram, e):
    if c.cr0 & (CR0_EM | CR0_TS):
        return raise_error(c, X_NM, -1)
    return raise_error(c, X_UD, -1)


@kernel(OP)
def x87_m(c, k, ram, e):
    if c.cr0 & (CR0_EM | CR0_TS):
        return raise_error(c, X_NM, -1)
    return raise_error(c, X_UD, -1)


@kernel(OP)
def fwait(c, k, ram, e):
    if c.cr0 & CR0_MP and c.cr0 & CR0_TS:
        return raise_error(c, X_NM, -1)
    return NEXT


@kernel(OP)
def fxsave(c, k, ram, e):
    return raise_error(c, X_UD, -1)


@kernel(OP)
def fxrstor(c, k, ram, e):
    return raise_error(c, X_UD, -1)
