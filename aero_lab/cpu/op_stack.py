"""The stack and the segment registers: PUSH, POP, ENTER, LEAVE, MOV and pointer loads of segments."""

from __future__ import annotations

from ..compiled.registry import BYTES, I64
from .cells import gpr, put_gpr, sel
from .inline import inlined, kernel, out_of_line
from .memory import load, load16, load32, probe, raise_error, store, store16, store32
from .operands import OP, address, get16, set16, set_register
from .segments import load_segment, set_sp, stack_top
from .state import (
    CS,
    EBP,
    ESP,
    NEXT,
    RESUME,
    SS,
    X_UD,
    C,
    K,
)  # fmt: skip

M32 = 0xFFFFFFFF


# The stack ------------------------------------------------------------------------------------------------------------


@inlined
@kernel(I64(C, K, BYTES, I64))
def push32(c, k, ram, value):
    sp = (gpr(c, ESP) - 4) & c.sp_mask
    status = store32(c, k, ram, SS, sp, value)
    if status >= 0:
        put_gpr(c, ESP, (gpr(c, ESP) & ~c.sp_mask) | sp)
    return status


@kernel(I64(C, K, BYTES, I64))
def push16(c, k, ram, value):
    sp = (gpr(c, ESP) - 2) & c.sp_mask
    status = store16(c, k, ram, SS, sp, value)
    if status >= 0:
        put_gpr(c, ESP, (gpr(c, ESP) & ~c.sp_mask) | sp)
    return status


@kernel(I64(C, K, BYTES, I64, I64))
def push(c, k, ram, value, size):
    out_of_line()
    if size == 4:
        return push32(c, k, ram, value)
    return push16(c, k, ram, value)


@inlined
@kernel(OP)
def push_r32(c, k, ram, e):
    return push32(c, k, ram, gpr(c, e.rm))


@kernel(OP)
def push_r16(c, k, ram, e):
    return push16(c, k, ram, get16(c, e.rm))


@kernel(OP)
def push_i(c, k, ram, e):
    return push(c, k, ram, e.imm, e.imm2)


@inlined
@kernel(OP)
def push_i32(c, k, ram, e):
    return push32(c, k, ram, e.imm)


@inlined
@kernel(OP)
def push_m32(c, k, ram, e):
    value = load32(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    return push32(c, k, ram, value)


@kernel(OP)
def push_m(c, k, ram, e):
    value = load(c, ram, e.seg, address(c, e), e.imm2)
    if value < 0:
        return value
    return push(c, k, ram, value, e.imm2)


@inlined
@kernel(OP)
def pop_r32(c, k, ram, e):
    value = load32(c, ram, SS, stack_top(c))
    if value < 0:
        return value
    set_sp(c, gpr(c, ESP) + 4)
    put_gpr(c, e.rm, value)
    return NEXT


@kernel(OP)
def pop_r16(c, k, ram, e):
    value = load16(c, ram, SS, stack_top(c))
    if value < 0:
        return value
    set_sp(c, gpr(c, ESP) + 2)
    set16(c, e.rm, value)
    return NEXT


@kernel(OP)
def pop_m(c, k, ram, e):
    """POP to memory: an address that uses ESP uses the one after the pop (SDM volume 2, POP)."""
    size = e.imm2
    value = load(c, ram, SS, stack_top(c), size)
    if value < 0:
        return value
    before = gpr(c, ESP)
    set_sp(c, before + size)
    status = store(c, k, ram, e.seg, address(c, e), size, value)
    if status < 0:
        put_gpr(c, ESP, before)
    return status


@kernel(OP)
def pusha(c, k, ram, e):
    out_of_line()
    size = e.imm2
    before = gpr(c, ESP)
    low = (before - 8 * size) & c.sp_mask
    if low <= c.sp_mask - 8 * size:
        status = probe(c, ram, SS, low, 8 * size)
        if status < 0:
            return status
    status = NEXT
    for i in range(8):
        value = before if i == ESP else gpr(c, i)
        done = store(c, k, ram, SS, (before - (i + 1) * size) & c.sp_mask, size, value)
        if done < 0:
            return done
        status = max(status, done)
    set_sp(c, before - 8 * size)
    return status


@kernel(OP)
def popa(c, k, ram, e):
    out_of_line()
    size = e.imm2
    before = gpr(c, ESP)
    for i in range(8):  # all of it is read before any register changes
        value = load(c, ram, SS, (before + i * size) & c.sp_mask, size)
        if value < 0:
            return value
    for i in range(8):
        if 7 - i != ESP:
            value = load(c, ram, SS, (before + i * size) & c.sp_mask, size)
            set_register(c, 7 - i, value, 8 * size)
    set_sp(c, before + 8 * size)
    return NEXT


@kernel(OP)
def enter(c, k, ram, e):
    """ENTER: ``imm`` bytes of locals; the nesting level and the width are in ``imm2``."""
    out_of_line()
    size = 4 if e.imm2 & 0x100 else 2
    level = e.imm2 & 31
    frame = gpr(c, ESP) - size
    old = gpr(c, EBP)
    status = store(c, k, ram, SS, frame & c.sp_mask, size, old)
    if status < 0:
        return status
    at = frame
    for i in range(1, level):
        value = load(c, ram, SS, (old - i * size) & c.sp_mask, size)
        if value < 0:
            return value
        at -= size
        done = store(c, k, ram, SS, at & c.sp_mask, size, value)
        if done < 0:
            return done
        status = max(status, done)
    if level:
        at -= size
        done = store(c, k, ram, SS, at & c.sp_mask, size, frame & M32)
        if done < 0:
            return done
        status = max(status, done)
    new = (at - e.imm) & c.sp_mask
    done = probe(c, ram, SS, new, size)  # the stack has to be writable there
    if done < 0:
        return done
    set_register(c, EBP, frame & (M32 if size == 4 else 0xFFFF), 8 * size)
    set_sp(c, new)
    return status


@inlined
@kernel(OP)
def leave32(c, k, ram, e):
    value = load32(c, ram, SS, gpr(c, EBP) & c.sp_mask)
    if value < 0:
        return value
    set_sp(c, gpr(c, EBP) + 4)
    put_gpr(c, EBP, value)
    return NEXT


@kernel(OP)
def leave(c, k, ram, e):
    size = e.imm2
    value = load(c, ram, SS, gpr(c, EBP) & c.sp_mask, size)
    if value < 0:
        return value
    set_sp(c, gpr(c, EBP) + size)
    set_register(c, EBP, value, 8 * size)
    return NEXT


# Segment registers ----------------------------------------------------------------------------------------------------


@kernel(I64(C, I64))
def after_segment(c, seg):
    """What follows a load of a segment register: SS holds off interrupts and may change the width of the stack."""
    if seg == SS:
        c.shadow = 1
        return RESUME
    return NEXT


@kernel(OP)
def mov_from_seg_r(c, k, ram, e):
    if e.reg > 5:
        return raise_error(c, X_UD, -1)
    set_register(c, e.rm, sel(c, e.reg), 8 * e.imm2)
    return NEXT


@kernel(OP)
def mov_from_seg_m(c, k, ram, e):
    if e.reg > 5:
        return raise_error(c, X_UD, -1)
    return store16(c, k, ram, e.seg, address(c, e), sel(c, e.reg))


@kernel(OP)
def mov_to_seg_r(c, k, ram, e):
    if e.reg > 5 or e.reg == CS:
        return raise_error(c, X_UD, -1)
    status = load_segment(c, k, ram, e.reg, get16(c, e.rm))
    if status < 0:
        return status
    return after_segment(c, e.reg)


@kernel(OP)
def mov_to_seg_m(c, k, ram, e):
    if e.reg > 5 or e.reg == CS:
        return raise_error(c, X_UD, -1)
    value = load16(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    status = load_segment(c, k, ram, e.reg, value)
    if status < 0:
        return status
    return after_segment(c, e.reg)


@kernel(OP)
def push_seg(c, k, ram, e):
    """``imm2``: the segment register, and the width shifted by four."""
    size = e.imm2 >> 4
    sp = (gpr(c, ESP) - size) & c.sp_mask
    status = store16(c, k, ram, SS, sp, sel(c, e.imm2 & 15))  # the upper half of the slot keeps what it had
    if status >= 0:
        set_sp(c, sp)
    return status


@kernel(OP)
def pop_seg(c, k, ram, e):
    size = e.imm2 >> 4
    value = load16(c, ram, SS, stack_top(c))
    if value < 0:
        return value
    before = gpr(c, ESP)
    set_sp(c, before + size)  # with the old stack segment's width
    status = load_segment(c, k, ram, e.imm2 & 15, value)
    if status < 0:
        put_gpr(c, ESP, before)
        return status
    return after_segment(c, e.imm2 & 15)


@kernel(OP)
def load_far_pointer(c, k, ram, e):
    """LDS LES LFS LGS LSS; ``imm2`` as in PUSH of a segment register."""
    size = e.imm2 >> 4
    at = address(c, e)
    offset = load(c, ram, e.seg, at, size)
    if offset < 0:
        return offset
    selector = load16(c, ram, e.seg, (at + size) & (M32 >> e.wrap))
    if selector < 0:
        return selector
    status = load_segment(c, k, ram, e.imm2 & 15, selector)
    if status < 0:
        return status
    set_register(c, e.reg, offset, 8 * size)
    return RESUME if e.imm2 & 15 == SS else NEXT
