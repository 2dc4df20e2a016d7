"""Instructions that look at descriptors without jumping through them: LLDT LTR VERR VERW LAR LSL ARPL, and SYSENTER."""

from __future__ import annotations

from ..compiled.registry import BYTES, I64, VOID
from .flags import arithmetic_flags, set_arithmetic_flags
from .inline import kernel
from .memory import load16, modify16, raise_error, store16, system_store
from .op_system import _no_descriptors, general_protection
from .operands import OP, address, get16, set16, set_register
from .segments import (
    descriptor_attr,
    descriptor_base,
    descriptor_limit,
    descriptor_place,
    need_descriptor,
    read_descriptor,
    set_segment,
)
from .state import F_ZF, LDTR, NEXT, TR, X_GP, X_NP, X_UD, C, E, K

M32 = 0xFFFFFFFF


@kernel(VOID(C, I64))
def put_zero(c, zf):
    """Set or clear ZF alone."""
    flags = arithmetic_flags(c) & ~F_ZF
    set_arithmetic_flags(c, flags | F_ZF if zf else flags)


@kernel(I64(C, K, BYTES, I64))
def _load_ldt(c, k, ram, selector):
    if selector & 0xFFFC == 0:
        set_segment(c, LDTR, selector, 0, 0, 0)
        return NEXT
    if selector & 4:
        return raise_error(c, X_GP, selector & 0xFFFC)
    status = need_descriptor(c, ram, selector, X_GP, 0)
    if status < 0:
        return status
    access = c.dhi >> 8
    if access & 0x1F != 2:
        return raise_error(c, X_GP, selector & 0xFFFC)
    if not access & 0x80:
        return raise_error(c, X_NP, selector & 0xFFFC)
    low = c.dlo
    high = c.dhi
    set_segment(c, LDTR, selector, descriptor_base(low, high), descriptor_limit(low, high), descriptor_attr(high))
    return NEXT


@kernel(I64(C, K, BYTES, I64))
def _load_task(c, k, ram, selector):
    if selector & 0xFFFC == 0:
        return raise_error(c, X_GP, 0)
    if selector & 4:
        return raise_error(c, X_GP, selector & 0xFFFC)
    status = need_descriptor(c, ram, selector, X_GP, 0)
    if status < 0:
        return status
    access = c.dhi >> 8
    if access & 0x17 != 1:  # an available task state segment
        return raise_error(c, X_GP, selector & 0xFFFC)
    if not access & 0x80:
        return raise_error(c, X_NP, selector & 0xFFFC)
    low = c.dlo
    high = c.dhi | 0x200
    status = system_store(c, k, ram, descriptor_place(c, selector) + 4, 4, high)
    if status < 0:
        return status
    set_segment(c, TR, selector, descriptor_base(low, high), descriptor_limit(low, high), descriptor_attr(high))
    return NEXT


@kernel(I64(C, BYTES, E, I64))
def _selector_operand(c, ram, e, in_memory):
    if in_memory:
        return load16(c, ram, e.seg, address(c, e))
    return get16(c, e.rm)


@kernel(I64(C, K, BYTES, E, I64))
def _load_system(c, k, ram, e, in_memory):
    """LLDT, LTR (``imm2``: the register)."""
    if _no_descriptors(c):
        return raise_error(c, X_UD, -1)
    if c.cpl:
        return general_protection(c)
    selector = _selector_operand(c, ram, e, in_memory)
    if selector < 0:
        return selector
    if e.imm2 == TR:
        return _load_task(c, k, ram, selector)
    return _load_ldt(c, k, ram, selector)


@kernel(OP)
def load_system_r(c, k, ram, e):
    return _load_system(c, k, ram, e, 0)


@kernel(OP)
def load_system_m(c, k, ram, e):
    return _load_system(c, k, ram, e, 1)


@kernel(I64(C, BYTES, I64, I64))
def _visible(c, ram, selector, which):
    """1 if the instruction ``which`` (0 VERR, 1 VERW, 2 LAR, 3 LSL) may see the descriptor, 0, or negative."""
    if selector & 0xFFFC == 0:
        return 0
    found = read_descriptor(c, ram, selector)
    if found != 0:
        return 0 if found > 0 else found
    access = c.dhi >> 8
    kind = access & 0x1F
    if kind < 16:
        if which < 2:
            return 0
        task = kind == 1 or kind == 2 or kind == 3 or kind == 9 or kind == 11
        if not task and (which == 3 or (kind != 4 and kind != 5 and kind != 12)):
            return 0
    elif (which == 0 and kind & 0xA == 8) or (which == 1 and kind & 0xA != 2):
        return 0
    dpl = (access >> 5) & 3
    if kind & 0x1C != 0x1C and (dpl < c.cpl or dpl < (selector & 3)):
        return 0
    return 1


@kernel(I64(C, BYTES, E, I64))
def _verify(c, ram, e, in_memory):
    if _no_descriptors(c):
        return raise_error(c, X_UD, -1)
    selector = _selector_operand(c, ram, e, in_memory)
    if selector < 0:
        return selector
    seen = _visible(c, ram, selector, e.imm2)
    if seen < 0:
        return seen
    put_zero(c, seen)
    return NEXT


@kernel(OP)
def verify_r(c, k, ram, e):
    """VERR, VERW (0, 1 in ``imm2``)."""
    return _verify(c, ram, e, 0)


@kernel(OP)
def verify_m(c, k, ram, e):
    return _verify(c, ram, e, 1)


@kernel(I64(C, BYTES, E, I64))
def _load_rights(c, ram, e, in_memory):
    """LAR, LSL (2, 3 in ``imm2``, the width shifted by four)."""
    if _no_descriptors(c):
        return raise_error(c, X_UD, -1)
    selector = _selector_operand(c, ram, e, in_memory)
    if selector < 0:
        return selector
    which = e.imm2 & 15
    seen = _visible(c, ram, selector, which)
    if seen < 0:
        return seen
    if seen:
        value = c.dhi & 0xFFFF00 if which == 2 else descriptor_limit(c.dlo, c.dhi)
        bits = 8 * (e.imm2 >> 4)
        set_register(c, e.reg, value & (M32 if bits == 32 else 0xFFFF), bits)
    put_zero(c, seen)
    return NEXT


@kernel(OP)
def rights_r(c, k, ram, e):
    return _load_rights(c, ram, e, 0)


@kernel(OP)
def rights_m(c, k, ram, e):
    return _load_rights(c, ram, e, 1)


@kernel(OP)
def arpl_r(c, k, ram, e):
    if _no_descriptors(c):
        return raise_error(c, X_UD, -1)
    target = get16(c, e.rm)
    rpl = get16(c, e.reg) & 3
    low = (target & 3) < rpl
    if low:
        set16(c, e.rm, (target & 0xFFFC) | rpl)
    put_zero(c, 1 if low else 0)
    return NEXT


@kernel(OP)
def arpl_m(c, k, ram, e):
    if _no_descriptors(c):
        return raise_error(c, X_UD, -1)
    at = address(c, e)
    target = modify16(c, ram, e.seg, at)
    if target < 0:
        return target
    rpl = get16(c, e.reg) & 3
    low = (target & 3) < rpl
    status = store16(c, k, ram, e.seg, at, (target & 0xFFFC) | rpl) if low else 0
    put_zero(c, 1 if low else 0)
    return status
