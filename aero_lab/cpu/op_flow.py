"""Near jumps, calls, returns and loops.

While a block runs, ``eip`` is where the block begins; a decoded instruction knows its end (``off``) and a relative jump
its target (``imm``) as distances from there.
"""

from __future__ import annotations

from ..compiled.registry import I64, VOID
from .cells import gpr, put_gpr
from .flags import condition, zero
from .inline import inlined, kernel
from .memory import load, load32
from .op_stack import push, push32
from .operands import OP, address, get_register, set16
from .segments import set_sp, stack_top
from .state import ECX, ESP, JUMPED, NEXT, NOT_TAKEN, RESUME, SS, STAY_OUT, TAKEN, C, E

M32 = 0xFFFFFFFF


@inlined
@kernel(I64(I64))
def jumped(status):
    """The status of a jump that has stored something with ``status``."""
    if status == NEXT:
        return TAKEN
    return JUMPED if status == RESUME else STAY_OUT


@inlined
@kernel(VOID(C, I64, I64))
def go(c, target, size):
    """Set EIP, or IP when the operand has 16 bits."""
    c.eip = target & (M32 if size == 4 else 0xFFFF)


@inlined
@kernel(I64(C, E))
def next_eip(c, e):
    return (c.eip + e.off) & M32


@inlined
@kernel(OP)
def fall(c, k, ram, e):
    """The end of a block that has no jump; no instruction of the guest."""
    c.eip = (c.eip + e.off) & M32
    return NOT_TAKEN


@kernel(OP)
def jcc(c, k, ram, e):
    """Jcc with 16-bit operands, any condition; ``imm2`` is the condition."""
    if condition(c, e.imm2):
        go(c, c.eip + e.imm, 2)
        return TAKEN
    c.eip = (c.eip + e.off) & M32
    return NOT_TAKEN


@inlined
@kernel(OP)
def jmp32(c, k, ram, e):
    c.eip = (c.eip + e.imm) & M32
    return TAKEN


@kernel(OP)
def jmp16(c, k, ram, e):
    go(c, c.eip + e.imm, 2)
    return TAKEN


@inlined
@kernel(OP)
def jmp_r32(c, k, ram, e):
    c.eip = gpr(c, e.rm)
    return TAKEN


@inlined
@kernel(OP)
def jmp_m32(c, k, ram, e):
    target = load32(c, ram, e.seg, address(c, e))
    if target < 0:
        return target
    c.eip = target
    return TAKEN


@inlined
@kernel(OP)
def call_r32(c, k, ram, e):
    target = gpr(c, e.rm)
    status = push32(c, k, ram, next_eip(c, e))
    if status < 0:
        return status
    c.eip = target
    return jumped(status)


@inlined
@kernel(OP)
def call_m32(c, k, ram, e):
    target = load32(c, ram, e.seg, address(c, e))
    if target < 0:
        return target
    status = push32(c, k, ram, next_eip(c, e))
    if status < 0:
        return status
    c.eip = target
    return jumped(status)


@kernel(OP)
def jmp_r(c, k, ram, e):
    c.eip = get_register(c, e.rm, 8 * e.imm2)
    return TAKEN


@kernel(OP)
def jmp_m(c, k, ram, e):
    target = load(c, ram, e.seg, address(c, e), e.imm2)
    if target < 0:
        return target
    c.eip = target
    return TAKEN


@inlined
@kernel(OP)
def call32(c, k, ram, e):
    status = push32(c, k, ram, next_eip(c, e))
    if status < 0:
        return status
    c.eip = (c.eip + e.imm) & M32
    return TAKEN if status == NEXT else jumped(status)


@kernel(OP)
def call16(c, k, ram, e):
    status = push(c, k, ram, next_eip(c, e) & 0xFFFF, 2)
    if status < 0:
        return status
    go(c, c.eip + e.imm, 2)
    return jumped(status)


@kernel(OP)
def call_r(c, k, ram, e):
    target = get_register(c, e.rm, 8 * e.imm2)
    status = push(c, k, ram, next_eip(c, e), e.imm2)
    if status < 0:
        return status
    c.eip = target
    return jumped(status)


@kernel(OP)
def call_m(c, k, ram, e):
    target = load(c, ram, e.seg, address(c, e), e.imm2)
    if target < 0:
        return target
    status = push(c, k, ram, next_eip(c, e), e.imm2)
    if status < 0:
        return status
    c.eip = target
    return jumped(status)


@inlined
@kernel(OP)
def ret32(c, k, ram, e):
    """RET; ``imm`` is what it drops besides."""
    target = load32(c, ram, SS, stack_top(c))
    if target < 0:
        return target
    set_sp(c, gpr(c, ESP) + 4 + e.imm)
    c.eip = target
    return TAKEN


@kernel(OP)
def ret16(c, k, ram, e):
    target = load(c, ram, SS, stack_top(c), 2)
    if target < 0:
        return target
    set_sp(c, gpr(c, ESP) + 2 + e.imm)
    c.eip = target
    return TAKEN


@kernel(OP)
def loop(c, k, ram, e):
    """LOOPNE, LOOPE, LOOP, JECXZ (0 to 3 in ``imm2``, the operand's width shifted by four); the address size says
    whether CX or ECX counts."""
    which = e.imm2 & 15
    count = gpr(c, ECX) & (M32 >> e.wrap)
    if which == 3:
        taken = count == 0
    else:
        count = (count - 1) & (M32 >> e.wrap)
        if e.wrap:
            set16(c, ECX, count)
        else:
            put_gpr(c, ECX, count)
        taken = count != 0 and (which == 2 or zero(c) == which)
    if taken:
        go(c, c.eip + e.imm, e.imm2 >> 4)
        return TAKEN
    c.eip = (c.eip + e.off) & M32
    return NOT_TAKEN
