"""Data movement: MOV with its relatives, stack, exchanges, conversions."""

from __future__ import annotations

from .alu import add, sub
from .cells import gpr, put_gpr
from .flags import arithmetic_flags, condition, set_arithmetic_flags
from .inline import inlined, kernel
from .memory import load, load8, load16, load32, modify, modify32, probe, store, store8, store16, store32
from .operands import OP, address, get8, get16, get_register, set8, set16, set_register
from .state import (
    EAX,
    EBX,
    ECX,
    EDX,
    F_ZF,
    NEXT,
)  # fmt: skip

M32 = 0xFFFFFFFF


@inlined
@kernel(OP)
def mov_rr32(c, k, ram, e):
    put_gpr(c, e.rm, gpr(c, e.reg))
    return NEXT


@inlined
@kernel(OP)
def mov_rm32(c, k, ram, e):
    value = load32(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    put_gpr(c, e.reg, value)
    return NEXT


@inlined
@kernel(OP)
def mov_mr32(c, k, ram, e):
    return store32(c, k, ram, e.seg, address(c, e), gpr(c, e.reg))


@inlined
@kernel(OP)
def mov_ri32(c, k, ram, e):
    put_gpr(c, e.rm, e.imm)
    return NEXT


@inlined
@kernel(OP)
def mov_mi32(c, k, ram, e):
    return store32(c, k, ram, e.seg, address(c, e), e.imm)


@inlined
@kernel(OP)
def mov_rr16(c, k, ram, e):
    set16(c, e.rm, get16(c, e.reg))
    return NEXT


@inlined
@kernel(OP)
def mov_rm16(c, k, ram, e):
    value = load16(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    set16(c, e.reg, value)
    return NEXT


@inlined
@kernel(OP)
def mov_mr16(c, k, ram, e):
    return store16(c, k, ram, e.seg, address(c, e), get16(c, e.reg))


@kernel(OP)
def mov_ri16(c, k, ram, e):
    set16(c, e.rm, e.imm)
    return NEXT


@inlined
@kernel(OP)
def mov_mi16(c, k, ram, e):
    return store16(c, k, ram, e.seg, address(c, e), e.imm)


@inlined
@kernel(OP)
def mov_rr8(c, k, ram, e):
    set8(c, e.rm, get8(c, e.reg))
    return NEXT


@inlined
@kernel(OP)
def mov_rm8(c, k, ram, e):
    value = load8(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    set8(c, e.reg, value)
    return NEXT


@inlined
@kernel(OP)
def mov_mr8(c, k, ram, e):
    return store8(c, k, ram, e.seg, address(c, e), get8(c, e.reg))


@inlined
@kernel(OP)
def mov_ri8(c, k, ram, e):
    set8(c, e.rm, e.imm)
    return NEXT


@inlined
@kernel(OP)
def mov_mi8(c, k, ram, e):
    return store8(c, k, ram, e.seg, address(c, e), e.imm)


@inlined
@kernel(OP)
def movzx_r8(c, k, ram, e):
    put_gpr(c, e.reg, get8(c, e.rm))
    return NEXT


@inlined
@kernel(OP)
def movzx_m8(c, k, ram, e):
    value = load8(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    put_gpr(c, e.reg, value)
    return NEXT


@inlined
@kernel(OP)
def movzx_r16(c, k, ram, e):
    put_gpr(c, e.reg, get16(c, e.rm))
    return NEXT


@inlined
@kernel(OP)
def movzx_m16(c, k, ram, e):
    value = load16(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    put_gpr(c, e.reg, value)
    return NEXT


@inlined
@kernel(OP)
def movsx_r8(c, k, ram, e):
    put_gpr(c, e.reg, ((get8(c, e.rm) ^ 0x80) - 0x80) & M32)
    return NEXT


@inlined
@kernel(OP)
def movsx_m8(c, k, ram, e):
    value = load8(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    put_gpr(c, e.reg, ((value ^ 0x80) - 0x80) & M32)
    return NEXT


@inlined
@kernel(OP)
def movsx_r16(c, k, ram, e):
    put_gpr(c, e.reg, ((get16(c, e.rm) ^ 0x8000) - 0x8000) & M32)
    return NEXT


@inlined
@kernel(OP)
def movsx_m16(c, k, ram, e):
    value = load16(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    put_gpr(c, e.reg, ((value ^ 0x8000) - 0x8000) & M32)
    return NEXT


@kernel(OP)
def extend_r(c, k, ram, e):
    """MOVZX and MOVSX to 16 bits; ``imm2`` bit 0: signed, bit 1: the source has 16 bits."""
    value = get16(c, e.rm) if e.imm2 & 2 else get8(c, e.rm)
    top = 0x8000 if e.imm2 & 2 else 0x80
    set16(c, e.reg, ((value ^ top) - top) & 0xFFFF if e.imm2 & 1 else value)
    return NEXT


@kernel(OP)
def extend_m(c, k, ram, e):
    value = load(c, ram, e.seg, address(c, e), 2 if e.imm2 & 2 else 1)
    if value < 0:
        return value
    top = 0x8000 if e.imm2 & 2 else 0x80
    set16(c, e.reg, ((value ^ top) - top) & 0xFFFF if e.imm2 & 1 else value)
    return NEXT


@inlined
@kernel(OP)
def lea32(c, k, ram, e):
    put_gpr(c, e.reg, address(c, e))
    return NEXT


@kernel(OP)
def lea16(c, k, ram, e):
    set16(c, e.reg, address(c, e) & 0xFFFF)
    return NEXT


@inlined
@kernel(OP)
def xchg_rr32(c, k, ram, e):
    value = gpr(c, e.rm)
    put_gpr(c, e.rm, gpr(c, e.reg))
    put_gpr(c, e.reg, value)
    return NEXT


@kernel(OP)
def xchg_rr(c, k, ram, e):
    """``imm2`` is the width in bytes, here and in the other handlers of all widths."""
    bits = e.imm2 * 8
    value = get_register(c, e.rm, bits)
    set_register(c, e.rm, get_register(c, e.reg, bits), bits)
    set_register(c, e.reg, value, bits)
    return NEXT


@kernel(OP)
def xchg_mr(c, k, ram, e):
    bits = e.imm2 * 8
    at = address(c, e)
    value = modify(c, ram, e.seg, at, e.imm2)
    if value < 0:
        return value
    status = store(c, k, ram, e.seg, at, e.imm2, get_register(c, e.reg, bits))
    set_register(c, e.reg, value, bits)
    return status


@inlined
@kernel(OP)
def cmov_rr(c, k, ram, e):
    """``imm2`` is the width in bytes shifted by four, and the condition."""
    if condition(c, e.imm2 & 15):
        bits = (e.imm2 >> 4) * 8
        set_register(c, e.reg, get_register(c, e.rm, bits), bits)
    return NEXT


@inlined
@kernel(OP)
def cmov_rm(c, k, ram, e):
    value = load(c, ram, e.seg, address(c, e), e.imm2 >> 4)
    if value < 0:
        return value
    if condition(c, e.imm2 & 15):
        set_register(c, e.reg, value, (e.imm2 >> 4) * 8)
    return NEXT


@inlined
@kernel(OP)
def set_r(c, k, ram, e):
    set8(c, e.rm, condition(c, e.imm2))
    return NEXT


@kernel(OP)
def set_m(c, k, ram, e):
    return store8(c, k, ram, e.seg, address(c, e), condition(c, e.imm2))


@kernel(OP)
def xlat(c, k, ram, e):
    at = (gpr(c, EBX) + get8(c, 0)) & (M32 >> e.wrap)
    value = load8(c, ram, e.seg, at)
    if value < 0:
        return value
    set8(c, 0, value)
    return NEXT


@inlined
@kernel(OP)
def bswap(c, k, ram, e):
    v = gpr(c, e.rm)
    put_gpr(c, e.rm, (v >> 24) | ((v >> 8) & 0xFF00) | ((v & 0xFF00) << 8) | ((v & 0xFF) << 24))
    return NEXT


@inlined
@kernel(OP)
def bswap16(c, k, ram, e):
    """Undefined by the SDM; processors clear the register."""
    set16(c, e.rm, 0)
    return NEXT


@kernel(OP)
def cbw(c, k, ram, e):
    """CBW, CWDE."""
    if e.imm2 == 4:
        put_gpr(c, EAX, ((get16(c, EAX) ^ 0x8000) - 0x8000) & M32)
    else:
        set16(c, EAX, ((get8(c, 0) ^ 0x80) - 0x80) & 0xFFFF)
    return NEXT


@inlined
@kernel(OP)
def cwd(c, k, ram, e):
    """CWD, CDQ."""
    if e.imm2 == 4:
        put_gpr(c, EDX, M32 if gpr(c, EAX) & 0x80000000 else 0)
    else:
        set16(c, EDX, 0xFFFF if gpr(c, EAX) & 0x8000 else 0)
    return NEXT


# Exchanges with memory ------------------------------------------------------------------------------------------------


@kernel(OP)
def cmpxchg_r(c, k, ram, e):
    bits = 8 * e.imm2
    value = get_register(c, e.rm, bits)
    accumulator = get_register(c, EAX, bits)
    sub(c, accumulator, value, bits)
    if accumulator == value:
        set_register(c, e.rm, get_register(c, e.reg, bits), bits)
    else:
        set_register(c, EAX, value, bits)
    return NEXT


@kernel(OP)
def cmpxchg_m(c, k, ram, e):
    size = e.imm2
    bits = 8 * size
    at = address(c, e)
    value = modify(c, ram, e.seg, at, size)
    if value < 0:
        return value
    accumulator = get_register(c, EAX, bits)
    sub(c, accumulator, value, bits)
    if accumulator == value:
        return store(c, k, ram, e.seg, at, size, get_register(c, e.reg, bits))
    status = store(c, k, ram, e.seg, at, size, value)  # it always writes (SDM volume 2, CMPXCHG)
    set_register(c, EAX, value, bits)
    return status


@kernel(OP)
def xadd_r(c, k, ram, e):
    bits = 8 * e.imm2
    target = get_register(c, e.rm, bits)
    total = add(c, target, get_register(c, e.reg, bits), bits)
    set_register(c, e.reg, target, bits)
    set_register(c, e.rm, total, bits)
    return NEXT


@kernel(OP)
def xadd_m(c, k, ram, e):
    size = e.imm2
    bits = 8 * size
    at = address(c, e)
    target = modify(c, ram, e.seg, at, size)
    if target < 0:
        return target
    total = add(c, target, get_register(c, e.reg, bits), bits)
    status = store(c, k, ram, e.seg, at, size, total)
    set_register(c, e.reg, target, bits)
    return status


@kernel(OP)
def cmpxchg8b(c, k, ram, e):
    at = address(c, e)
    status = probe(c, ram, e.seg, at, 8)
    if status < 0:
        return status
    low = modify32(c, ram, e.seg, at)
    if low < 0:
        return low
    high = modify32(c, ram, e.seg, (at + 4) & (M32 >> e.wrap))
    if high < 0:
        return high
    equal = low == gpr(c, EAX) and high == gpr(c, EDX)
    if equal:
        new_low = gpr(c, EBX)
        new_high = gpr(c, ECX)
    else:
        new_low = low
        new_high = high
        put_gpr(c, EAX, low)
        put_gpr(c, EDX, high)
    status = store32(c, k, ram, e.seg, at, new_low)
    status = max(status, store32(c, k, ram, e.seg, (at + 4) & (M32 >> e.wrap), new_high))
    flags = arithmetic_flags(c) & ~F_ZF
    set_arithmetic_flags(c, flags | F_ZF if equal else flags)
    return status
