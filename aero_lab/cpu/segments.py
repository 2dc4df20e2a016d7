"""Segment registers and descriptors (SDM volume 3, chapters 3 and 5).

A cached descriptor is ``seg_base``, ``seg_limit`` (in bytes, granularity applied) and ``seg_attr``: the access byte in
bits 0-7 (type, S, DPL, P) and AVL, L, D/B, G in bits 12-15. A segment that holds no usable descriptor has attributes 0.
"""

from __future__ import annotations

from ..compiled.registry import BYTES, I64, VOID
from .cells import (
    gpr,
    put_rbase,
    put_seg_attr,
    put_seg_base,
    put_seg_limit,
    put_sel,
    put_wbase,
    seg_attr,
    seg_base,
    seg_limit,
)
from .inline import inlined, kernel, out_of_line
from .memory import raise_error, system_load, system_store
from .paging import USER_AT
from .state import (
    CR0_PE,
    CS,
    ESP,
    F_VM,
    FAR,
    LDTR,
    M_CODE32,
    M_LIMITED,
    M_STACK32,
    M_USER,
    SS,
    X_GP,
    X_NP,
    X_SS,
    C,
    K,
)

M32 = 0xFFFFFFFF
SPILL = 8
"""Number of the pseudo segment with base 0 that no check applies to."""


@kernel(VOID(C, I64))
def refresh_segment(c, seg):
    """Work out whether accesses through a segment need checking."""
    attr = seg_attr(c, seg)
    base = seg_base(c, seg)
    plain = (attr & 0x80) != 0 and seg_limit(c, seg) == M32 and (attr & 0x1C) != 0x14
    readable = (attr & 0x18) == 0x10 or (attr & 0x1A) == 0x1A
    put_rbase(c, seg, base if plain and readable else FAR)
    put_wbase(c, seg, base if plain and (attr & 0x1A) == 0x12 else FAR)


@kernel(VOID(C))
def refresh_mode(c):
    """Work out what decoding depends on, and which half of the TLB is used."""
    mode = 0
    if c.cpl == 3:
        mode |= M_USER
    if seg_attr(c, CS) & 0x4000:
        mode |= M_CODE32
    if seg_attr(c, SS) & 0x4000:
        mode |= M_STACK32
    if seg_limit(c, CS) != M32:
        mode |= M_LIMITED
    c.mode = mode
    c.sp_mask = M32 if mode & M_STACK32 else 0xFFFF
    c.tlb_at = USER_AT if c.cpl == 3 else 0


@kernel(I64(C))
def refresh(c):
    """Rebuild all that is derived from the visible state (after a reset, a load, or a change from Python)."""
    for seg in range(6):
        refresh_segment(c, seg)
    put_rbase(c, SPILL, 0)
    put_wbase(c, SPILL, 0)
    refresh_mode(c)
    return 0


@kernel(VOID(C, I64, I64, I64, I64, I64))
def set_segment(c, seg, selector, base, limit, attr):
    out_of_line()
    put_sel(c, seg, selector)
    put_seg_base(c, seg, base)
    put_seg_limit(c, seg, limit)
    put_seg_attr(c, seg, attr)
    if seg < 6:
        refresh_segment(c, seg)
    if seg == CS or seg == SS:
        refresh_mode(c)


@kernel(VOID(C, I64, I64))
def set_real_segment(c, seg, selector):
    """Load a segment register in real mode (base only) or virtual-8086 mode."""
    out_of_line()
    if c.eflags & F_VM:
        set_segment(c, seg, selector, selector << 4, 0xFFFF, 0xF3)
    else:
        attr = seg_attr(c, seg)
        if seg == CS or attr & 0x80 == 0:
            attr = 0x93
        set_segment(c, seg, selector, selector << 4, seg_limit(c, seg), attr)


@kernel(I64(I64, I64))
def descriptor_base(low, high):
    return (low >> 16) | ((high & 0xFF) << 16) | (high & 0xFF000000)


@kernel(I64(I64, I64))
def descriptor_limit(low, high):
    limit = (low & 0xFFFF) | (high & 0xF0000)
    return (limit << 12) | 0xFFF if high & 0x800000 else limit


@kernel(I64(I64))
def descriptor_attr(high):
    return (high >> 8) & 0xF0FF


@kernel(VOID(C, I64, I64, I64))
def set_from_descriptor(c, seg, selector, high):
    """Load a segment register from the descriptor read last, its high word as ``high``."""
    set_segment(c, seg, selector, descriptor_base(c.dlo, high), descriptor_limit(c.dlo, high), descriptor_attr(high))


@kernel(I64(C, BYTES, I64))
def read_descriptor(c, ram, selector):
    """Read the descriptor a selector names into ``dlo`` and ``dhi``: 0, 1 if there is none, or negative."""
    at = selector & 0xFFF8
    if selector & 4:
        if not seg_attr(c, LDTR) & 0x80 or at + 7 > seg_limit(c, LDTR):
            return 1
        base = seg_base(c, LDTR)
    else:
        if at + 7 > c.gdt_limit:
            return 1
        base = c.gdt_base
    low = system_load(c, ram, base + at, 4)
    if low < 0:
        return low
    high = system_load(c, ram, base + at + 4, 4)
    if high < 0:
        return high
    c.dlo = low
    c.dhi = high
    return 0


@kernel(I64(C, BYTES, I64, I64, I64))
def need_descriptor(c, ram, selector, vector, ext):
    """The same, raising ``vector`` where there is none: 0 or negative."""
    out_of_line()
    found = read_descriptor(c, ram, selector)
    if found > 0:
        return raise_error(c, vector, (selector & 0xFFFC) | ext)
    return found


@kernel(I64(C, I64))
def descriptor_place(c, selector):
    """Linear address of a selector's descriptor."""
    base = seg_base(c, LDTR) if selector & 4 else c.gdt_base
    return base + (selector & 0xFFF8)


@kernel(I64(C, K, BYTES, I64, I64))
def mark_accessed(c, k, ram, selector, high):
    """Set the accessed bit of a descriptor in memory: 0 or negative."""
    out_of_line()
    if high & 0x100:
        return 0
    status = system_store(c, k, ram, descriptor_place(c, selector) + 4, 4, high | 0x100)
    return status if status < 0 else 0


@kernel(I64(C, BYTES, I64, I64, I64, I64))
def check_stack_segment(c, ram, selector, cpl, vector, ext):
    """Read and check a descriptor for SS: 0 or negative. ``vector`` is #GP for loads, #TS for task state."""
    out_of_line()
    if selector & 0xFFFC == 0:
        return raise_error(c, vector, ext)
    status = need_descriptor(c, ram, selector, vector, ext)
    if status < 0:
        return status
    access = c.dhi >> 8
    error = (selector & 0xFFFC) | ext
    if (selector & 3) != cpl or (access & 0x1A) != 0x12 or ((access >> 5) & 3) != cpl:
        return raise_error(c, vector, error)
    if not access & 0x80:
        return raise_error(c, X_SS, error)
    return 0


@kernel(I64(C, K, BYTES, I64, I64))
def load_segment(c, k, ram, seg, selector):
    """MOV, POP and far-pointer loads of a segment register other than CS: 0 or negative."""
    out_of_line()
    if not c.cr0 & CR0_PE or c.eflags & F_VM:
        set_real_segment(c, seg, selector)
        return 0
    if seg == SS:
        status = check_stack_segment(c, ram, selector, c.cpl, X_GP, 0)
        if status < 0:
            return status
    else:
        if selector & 0xFFFC == 0:
            set_segment(c, seg, selector, 0, 0, 0)
            return 0
        status = need_descriptor(c, ram, selector, X_GP, 0)
        if status < 0:
            return status
        access = c.dhi >> 8
        kind = access & 0x1F
        if kind < 0x10 or (kind & 0xA) == 8:  # a system segment, or code that cannot be read
            return raise_error(c, X_GP, selector & 0xFFFC)
        dpl = (access >> 5) & 3
        if (kind & 0xC) != 0xC and (dpl < c.cpl or dpl < (selector & 3)):
            return raise_error(c, X_GP, selector & 0xFFFC)
        if not access & 0x80:
            return raise_error(c, X_NP, selector & 0xFFFC)
    high = c.dhi
    status = mark_accessed(c, k, ram, selector, high)
    if status < 0:
        return status
    set_from_descriptor(c, seg, selector, high | 0x100)
    return 0


@kernel(I64(C, I64))
def drop_data_segment(c, seg):
    """After a return to an outer level: a segment that level may not use becomes null (SDM volume 2, IRET)."""
    attr = seg_attr(c, seg)
    dpl = (attr >> 5) & 3
    if attr & 0x80 and (attr & 0x1C) != 0x1C and dpl < c.cpl:
        set_segment(c, seg, 0, 0, 0, 0)
    return 0


@inlined
@kernel(VOID(C, I64))
def set_sp(c, value):
    """Set ESP or SP, whichever the stack segment uses."""
    c.gpr[ESP] = (gpr(c, ESP) & ~c.sp_mask) | (value & c.sp_mask)


@inlined
@kernel(I64(C))
def stack_top(c):
    return gpr(c, ESP) & c.sp_mask
