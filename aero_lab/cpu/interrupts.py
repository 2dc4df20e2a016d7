"""Delivery of interrupts and exceptions (SDM volume 3, chapter 6).

All that can fault is read and checked before the first change; then the frame is written (its place has been
probed for writing) and at last the registers change. There is no task switch: a task gate raises #TS with its
selector, so a double fault through one ends in shutdown.
"""

from __future__ import annotations

from ..compiled.registry import BYTES, I64
from .cells import gpr, put_gpr, seg_attr, seg_base, seg_limit, sel
from .flags import eflags
from .inline import kernel, out_of_line
from .memory import linear_address, probe_linear, raise_error, store_linear, system_load
from .segments import (
    check_stack_segment,
    descriptor_attr,
    descriptor_base,
    descriptor_limit,
    mark_accessed,
    need_descriptor,
    set_from_descriptor,
    set_real_segment,
    set_segment,
)
from .state import (
    CR0_PE,
    CS,
    DS,
    ES,
    ESP,
    F_AC,
    F_IF,
    F_NT,
    F_RF,
    F_TF,
    F_VM,
    FS,
    GS,
    NEXT,
    SS,
    TR,
    X_DE,
    X_DF,
    X_GP,
    X_NP,
    X_PF,
    X_SS,
    X_TS,
    C,
    K,
)

M32 = 0xFFFFFFFF


@kernel(I64(C, K, BYTES, I64))
def _real_mode(c, k, ram, vector):
    if vector * 4 + 3 > c.idt_limit:
        return raise_error(c, X_GP, -1)
    offset = system_load(c, ram, c.idt_base + vector * 4, 2)
    if offset < 0:
        return offset
    selector = system_load(c, ram, c.idt_base + vector * 4 + 2, 2)
    if selector < 0:
        return selector
    sp = gpr(c, ESP)
    for i in range(3):  # probe, then write
        if linear_address(c, SS, (sp - 2 * (i + 1)) & c.sp_mask, 2, 1) < 0:
            return -1
    for i in range(3):
        value = eflags(c) if i == 0 else sel(c, CS) if i == 1 else c.eip
        linear = (seg_base(c, SS) + ((sp - 2 * (i + 1)) & c.sp_mask)) & M32
        status = store_linear(c, k, ram, linear, 2, value & 0xFFFF, 0)
        if status < 0:
            return status
    put_gpr(c, ESP, (sp & ~c.sp_mask) | ((sp - 6) & c.sp_mask))
    c.eflags &= ~(F_IF | F_TF | F_AC | F_RF)
    set_real_segment(c, CS, selector)
    c.eip = offset
    return NEXT


@kernel(I64(C, BYTES, I64, I64))
def _task_stack(c, ram, level, ext):
    """Read SS and ESP of a privilege level from the task state: ESP, or negative; the selector goes to ``dlo``."""
    wide = (seg_attr(c, TR) & 8) != 0
    at = 4 + level * 8 if wide else 2 + level * 4
    size = 4 if wide else 2
    if at + 2 * size - 1 > seg_limit(c, TR):
        return raise_error(c, X_TS, (sel(c, TR) & 0xFFFC) | ext)
    esp = system_load(c, ram, seg_base(c, TR) + at, size)
    if esp < 0:
        return esp
    selector = system_load(c, ram, seg_base(c, TR) + at + size, 2)
    if selector < 0:
        return selector
    c.dlo = selector
    return esp


@kernel(I64(C, K, BYTES, I64, I64, I64))
def interrupt(c, k, ram, vector, software, error):
    """Enter the handler of ``vector``: 0, or negative with another exception pending. ``eip`` is what is saved.

    ``software`` is set for INT n, INT3 and INTO; ``error`` is -1 if there is no error code.
    """
    out_of_line()
    if not c.cr0 & CR0_PE:
        return _real_mode(c, k, ram, vector)
    ext = 0 if software else 1
    if vector * 8 + 7 > c.idt_limit:
        return raise_error(c, X_GP, vector * 8 + 2 + ext)
    low = system_load(c, ram, c.idt_base + vector * 8, 4)
    if low < 0:
        return low
    high = system_load(c, ram, c.idt_base + vector * 8 + 4, 4)
    if high < 0:
        return high
    kind = (high >> 8) & 0x1F
    if kind != 5 and kind != 6 and kind != 7 and kind != 14 and kind != 15:
        return raise_error(c, X_GP, vector * 8 + 2 + ext)
    if software and ((high >> 13) & 3) < c.cpl:
        return raise_error(c, X_GP, vector * 8 + 2)
    if not high & 0x8000:
        return raise_error(c, X_NP, vector * 8 + 2 + ext)
    selector = low >> 16
    if kind == 5:
        return raise_error(c, X_TS, (selector & 0xFFFC) | ext)
    size = 4 if kind & 8 else 2
    target = low & 0xFFFF
    if size == 4:
        target |= high & 0xFFFF0000
    if selector & 0xFFFC == 0:
        return raise_error(c, X_GP, ext)
    status = need_descriptor(c, ram, selector, X_GP, ext)
    if status < 0:
        return status
    code_low = c.dlo
    code_high = c.dhi
    access = code_high >> 8
    dpl = (access >> 5) & 3
    if (access & 0x18) != 0x18 or dpl > c.cpl:
        return raise_error(c, X_GP, (selector & 0xFFFC) | ext)
    if not access & 0x80:
        return raise_error(c, X_NP, (selector & 0xFFFC) | ext)
    if target > descriptor_limit(code_low, code_high):
        return raise_error(c, X_GP, ext)
    level = c.cpl if access & 4 else dpl
    virtual = (c.eflags & F_VM) != 0
    if virtual and level != 0:
        return raise_error(c, X_GP, (selector & 0xFFFC) | ext)
    inner = level < c.cpl

    stack_selector = 0
    stack_low = 0
    stack_high = 0
    esp = gpr(c, ESP)
    base = seg_base(c, SS)
    limit = seg_limit(c, SS)
    attr = seg_attr(c, SS)
    if inner:
        esp = _task_stack(c, ram, level, ext)
        if esp < 0:
            return esp
        stack_selector = c.dlo
        status = check_stack_segment(c, ram, stack_selector, level, X_TS, ext)
        if status < 0:
            return status
        stack_low = c.dlo
        stack_high = c.dhi
        base = descriptor_base(stack_low, stack_high)
        limit = descriptor_limit(stack_low, stack_high)
        attr = descriptor_attr(stack_high)
    mask = M32 if attr & 0x4000 else 0xFFFF
    words = 3 + (2 if inner else 0) + (4 if virtual else 0) + (1 if error >= 0 else 0)
    new_esp = (esp - words * size) & mask
    user = 1 if level == 3 else 0
    last = new_esp + words * size - 1
    if (attr & 0x1C) == 0x14:
        good = new_esp > limit and last <= mask
    else:
        good = last <= limit or limit == M32
    if not good:
        return raise_error(c, X_SS, (stack_selector & 0xFFFC) | ext if inner else 0)
    status = probe_linear(c, ram, (base + new_esp) & M32, words * size, 1, user)
    if status < 0:
        return status
    status = mark_accessed(c, k, ram, selector, code_high)
    if status < 0:
        return status
    if inner:
        status = mark_accessed(c, k, ram, stack_selector, stack_high)
        if status < 0:
            return status

    flags = eflags(c)
    at = base + new_esp
    word = 0
    if error >= 0:
        store_linear(c, k, ram, at & M32, size, error, user)
        word = 1
    for i in range(words - word):
        if i == 0:
            value = c.eip
        elif i == 1:
            value = sel(c, CS)
        elif i == 2:
            value = flags
        elif i == 3:
            value = gpr(c, ESP)
        elif i == 4:
            value = sel(c, SS)
        elif i == 5:
            value = sel(c, ES)
        elif i == 6:
            value = sel(c, DS)
        elif i == 7:
            value = sel(c, FS)
        else:
            value = sel(c, GS)
        store_linear(c, k, ram, (at + (word + i) * size) & M32, size, value & (M32 if size == 4 else 0xFFFF), user)

    c.eflags &= ~(F_TF | F_NT | F_RF | F_VM)
    if not kind & 1:
        c.eflags &= ~F_IF
    c.cpl = level
    if inner:
        c.dlo = stack_low
        set_from_descriptor(c, SS, stack_selector, stack_high | 0x100)
        put_gpr(c, ESP, new_esp if mask == M32 else (esp & 0xFFFF0000) | new_esp)
    else:
        put_gpr(c, ESP, (gpr(c, ESP) & ~mask) | new_esp)
    if virtual:
        set_segment(c, ES, 0, 0, 0, 0)
        set_segment(c, DS, 0, 0, 0, 0)
        set_segment(c, FS, 0, 0, 0, 0)
        set_segment(c, GS, 0, 0, 0, 0)
    c.dlo = code_low
    set_from_descriptor(c, CS, (selector & 0xFFFC) | level, code_high | 0x100)
    c.eip = target
    return NEXT


@kernel(I64(I64))
def _contributory(vector):
    return 1 if vector == X_DE or 10 <= vector <= 13 else 0


@kernel(I64(C, K, BYTES))
def deliver_exception(c, k, ram):
    """Deliver the pending exception, as a double fault if a handler cannot be entered: 0, or -1 for shutdown.

    It counts as an instruction, so that a handler whose first instruction faults cannot stop time.
    """
    out_of_line()
    vector = c.exc_vector
    error = c.exc_error
    for _ in range(4):
        if interrupt(c, k, ram, vector, 0, error if c.cr0 & CR0_PE else -1) >= 0:
            c.icount += 1
            return 0
        if vector == X_DF:
            return -1
        second = c.exc_vector
        if (_contributory(vector) and _contributory(second)) or (
            vector == X_PF and (second == X_PF or _contributory(second))
        ):
            vector = X_DF
            error = 0
        else:
            vector = second
            error = c.exc_error
    return -1
