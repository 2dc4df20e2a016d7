"""Transfers to another segment: far jumps, calls and returns, call gates, IRET, software interrupts.

As everywhere, what can fault comes first: descriptors are read and checked, memory that will be written is probed, and
only then does anything change. A jump or call to a task state segment or task gate raises #GP with its
selector: there is no hardware task switch, and IRET with NT set raises #GP(0).
"""

from __future__ import annotations

from ..compiled.registry import BYTES, I64, VOID
from .cells import gpr, put_gpr, sel
from .flags import eflags, overflow, set_arithmetic_flags
from .inline import kernel, out_of_line
from .interrupts import _task_stack, interrupt
from .memory import load, load16, probe, probe_linear, raise_error, store_linear
from .op_flow import go, next_eip
from .op_stack import push
from .operands import OP, address
from .segments import (
    check_stack_segment,
    descriptor_base,
    drop_data_segment,
    mark_accessed,
    need_descriptor,
    set_from_descriptor,
    set_real_segment,
    set_sp,
)
from .state import (
    CR0_PE,
    CS,
    DS,
    ES,
    ESP,
    F_AC,
    F_ARITHMETIC,
    F_DF,
    F_ID,
    F_IF,
    F_IOPL,
    F_NT,
    F_RF,
    F_TF,
    F_VIF,
    F_VIP,
    F_VM,
    FS,
    GS,
    JUMPED,
    NEXT,
    SS,
    X_BP,
    X_DB,
    X_GP,
    X_NP,
    X_OF,
    C,
    E,
    K,
)

M32 = 0xFFFFFFFF


@kernel(VOID(C, I64, I64, I64))
def write_flags(c, value, size, cpl):
    """POPF and IRET: change what privilege level ``cpl`` may change."""
    out_of_line()
    mask = F_TF | F_DF | F_NT
    if size == 4:
        mask |= F_RF | F_AC | F_ID
    if cpl == 0:
        mask |= F_IOPL
        if size == 4:
            mask |= F_VIF | F_VIP
    if cpl <= (c.eflags & F_IOPL) >> 12:
        mask |= F_IF
    set_arithmetic_flags(c, value & F_ARITHMETIC)
    c.eflags = (c.eflags & ~mask) | (value & mask)


@kernel(I64(C, BYTES, I64, I64))
def _pop_at(c, ram, place, size):
    """What lies ``place`` bytes above the top of the stack."""
    return load(c, ram, SS, (gpr(c, ESP) + place) & c.sp_mask, size)


@kernel(I64(C))
def _paged_mode(c):
    """Whether segment registers hold descriptors: not in real mode and not in virtual-8086 mode."""
    return 1 if c.cr0 & CR0_PE and not c.eflags & F_VM else 0


@kernel(I64(C, K, BYTES, I64, I64, I64, I64))
def _enter_code(c, k, ram, selector, level, offset, size):
    """Load CS from the descriptor read last: 0 or negative."""
    low = c.dlo
    high = c.dhi
    status = mark_accessed(c, k, ram, selector, high)
    if status < 0:
        return status
    c.dlo = low
    set_from_descriptor(c, CS, (selector & 0xFFFC) | level, high | 0x100)
    go(c, offset, size)
    return NEXT


@kernel(I64(C, K, BYTES, I64, I64))
def _push_return(c, k, ram, back, size):
    """Push CS and the return address."""
    status = probe(c, ram, SS, (gpr(c, ESP) - 2 * size) & c.sp_mask, 2 * size)
    if status < 0:
        return status
    push(c, k, ram, sel(c, CS), size)
    push(c, k, ram, back & (M32 if size == 4 else 0xFFFF), size)
    return NEXT


@kernel(I64(C, K, BYTES, I64, I64, I64))
def _through_gate(c, k, ram, gate, call, back):
    """A jump or call through the call gate whose descriptor was read last."""
    gate_low = c.dlo
    gate_high = c.dhi
    access = gate_high >> 8
    error = gate & 0xFFFC
    dpl = (access >> 5) & 3
    if dpl < c.cpl or dpl < (gate & 3):
        return raise_error(c, X_GP, error)
    if not access & 0x80:
        return raise_error(c, X_NP, error)
    size = 4 if access & 8 else 2
    offset = gate_low & 0xFFFF
    if size == 4:
        offset |= gate_high & 0xFFFF0000
    selector = gate_low >> 16
    if selector & 0xFFFC == 0:
        return raise_error(c, X_GP, 0)
    status = need_descriptor(c, ram, selector, X_GP, 0)
    if status < 0:
        return status
    low = c.dlo
    high = c.dhi
    code = high >> 8
    level = (code >> 5) & 3
    error = selector & 0xFFFC
    if (code & 0x18) != 0x18 or level > c.cpl:
        return raise_error(c, X_GP, error)
    if not call and not code & 4 and level != c.cpl:
        return raise_error(c, X_GP, error)
    if not code & 0x80:
        return raise_error(c, X_NP, error)
    if code & 4:
        level = c.cpl
    if call and level < c.cpl:
        count = gate_high & 31
        esp = _task_stack(c, ram, level, 0)
        if esp < 0:
            return esp
        stack = c.dlo
        status = check_stack_segment(c, ram, stack, level, 10, 0)
        if status < 0:
            return status
        stack_low = c.dlo
        stack_high = c.dhi
        mask = M32 if stack_high & 0x400000 else 0xFFFF
        new_esp = (esp - (4 + count) * size) & mask
        base = descriptor_base(stack_low, stack_high)
        status = probe_linear(c, ram, (base + new_esp) & M32, (4 + count) * size, 1, 0)
        if status < 0:
            return status
        for i in range(count):  # the parameters must be readable before anything changes
            value = _pop_at(c, ram, i * size, size)
            if value < 0:
                return value
        status = mark_accessed(c, k, ram, stack, stack_high)
        if status < 0:
            return status
        at = base + new_esp
        for i in range(4 + count):
            if i == 0:
                value = back
            elif i == 1:
                value = sel(c, CS)
            elif i < 2 + count:
                value = _pop_at(c, ram, (i - 2) * size, size)
            elif i == 2 + count:
                value = gpr(c, ESP)
            else:
                value = sel(c, SS)
            store_linear(c, k, ram, (at + i * size) & M32, size, value & (M32 if size == 4 else 0xFFFF), 0)
        c.cpl = level
        c.dlo = stack_low
        set_from_descriptor(c, SS, stack, stack_high | 0x100)
        put_gpr(c, ESP, new_esp)
    elif call:
        status = _push_return(c, k, ram, back, size)
        if status < 0:
            return status
    c.dlo = low
    c.dhi = high
    return _enter_code(c, k, ram, selector, level, offset, size)


@kernel(I64(C, K, BYTES, I64, I64, I64, I64, I64))
def far_transfer(c, k, ram, selector, offset, size, call, back):
    """A far jump or call: 0 or negative. ``back`` is the return address."""
    out_of_line()
    if not _paged_mode(c):
        if call:
            status = _push_return(c, k, ram, back, size)
            if status < 0:
                return status
        set_real_segment(c, CS, selector)
        go(c, offset, size)
        return NEXT
    if selector & 0xFFFC == 0:
        return raise_error(c, X_GP, 0)
    status = need_descriptor(c, ram, selector, X_GP, 0)
    if status < 0:
        return status
    access = c.dhi >> 8
    kind = access & 0x1F
    if kind == 4 or kind == 12:
        return _through_gate(c, k, ram, selector, call, back)
    dpl = (access >> 5) & 3
    if (kind & 0x18) != 0x18:
        return raise_error(c, X_GP, selector & 0xFFFC)
    if kind & 4:
        if dpl > c.cpl:
            return raise_error(c, X_GP, selector & 0xFFFC)
    elif (selector & 3) > c.cpl or dpl != c.cpl:
        return raise_error(c, X_GP, selector & 0xFFFC)
    if not access & 0x80:
        return raise_error(c, X_NP, selector & 0xFFFC)
    if call:
        low = c.dlo
        high = c.dhi
        status = _push_return(c, k, ram, back, size)
        if status < 0:
            return status
        c.dlo = low
        c.dhi = high
    return _enter_code(c, k, ram, selector, c.cpl, offset, size)


@kernel(I64(I64))
def _left(status):
    return JUMPED if status == NEXT else status


@kernel(OP)
def jmp_far(c, k, ram, e):
    """``imm``: offset, ``imm2``: selector, ``disp``: width in bytes."""
    return _left(far_transfer(c, k, ram, e.imm2, e.imm, e.disp, 0, 0))


@kernel(OP)
def call_far(c, k, ram, e):
    return _left(far_transfer(c, k, ram, e.imm2, e.imm, e.disp, 1, next_eip(c, e)))


@kernel(OP)
def far_m(c, k, ram, e):
    """JMP and CALL through a far pointer in memory; ``imm2``: bit 0 call, the width in bytes shifted by four."""
    size = e.imm2 >> 4
    at = address(c, e)
    offset = load(c, ram, e.seg, at, size)
    if offset < 0:
        return offset
    selector = load16(c, ram, e.seg, (at + size) & (M32 >> e.wrap))
    if selector < 0:
        return selector
    return _left(far_transfer(c, k, ram, selector, offset, size, e.imm2 & 1, next_eip(c, e)))


@kernel(I64(C, BYTES, I64))
def _check_return(c, ram, selector):
    """Read and check the code descriptor that a far return or IRET goes to: 0 or negative."""
    if selector & 0xFFFC == 0:
        return raise_error(c, X_GP, 0)
    status = need_descriptor(c, ram, selector, X_GP, 0)
    if status < 0:
        return status
    access = c.dhi >> 8
    rpl = selector & 3
    dpl = (access >> 5) & 3
    bad = (access & 0x18) != 0x18 or rpl < c.cpl
    bad = bad or (dpl > rpl if access & 4 else dpl != rpl)
    if bad:
        return raise_error(c, X_GP, selector & 0xFFFC)
    if not access & 0x80:
        return raise_error(c, X_NP, selector & 0xFFFC)
    return 0


@kernel(I64(C, K, BYTES, I64, I64, I64, I64, I64, I64))
def _return_to(c, k, ram, selector, offset, size, place, drop, flags):
    """The end of RETF and IRET in protected mode, CS's descriptor read and checked.

    ``place``: distance of the outer ESP and SS from the top of the stack; ``drop``: bytes that RETF drops; ``flags``:
    what IRET pops, or -1.
    """
    out_of_line()
    low = c.dlo
    high = c.dhi
    level = selector & 3
    outer = level > c.cpl
    esp = 0
    stack = 0
    stack_low = 0
    stack_high = 0
    if outer:
        esp = _pop_at(c, ram, place + drop, size)
        if esp < 0:
            return esp
        stack = _pop_at(c, ram, place + drop + size, size)
        if stack < 0:
            return stack
        stack &= 0xFFFF
        status = check_stack_segment(c, ram, stack, level, X_GP, 0)
        if status < 0:
            return status
        stack_low = c.dlo
        stack_high = c.dhi
        status = mark_accessed(c, k, ram, stack, stack_high)
        if status < 0:
            return status
    status = mark_accessed(c, k, ram, selector, high)
    if status < 0:
        return status
    if flags >= 0:
        write_flags(c, flags, size, c.cpl)
    if outer:
        c.cpl = level
        c.dlo = stack_low
        set_from_descriptor(c, SS, stack, stack_high | 0x100)
        set_sp(c, esp + drop)
        if c.sp_mask == M32 and size == 2:
            put_gpr(c, ESP, (esp + drop) & 0xFFFF)
    else:
        set_sp(c, gpr(c, ESP) + place + drop)
    c.dlo = low
    set_from_descriptor(c, CS, selector, high | 0x100)
    go(c, offset, size)
    if outer:
        drop_data_segment(c, ES)
        drop_data_segment(c, DS)
        drop_data_segment(c, FS)
        drop_data_segment(c, GS)
    return JUMPED


@kernel(OP)
def ret_far(c, k, ram, e):
    """RETF; ``imm`` is what it drops, ``imm2`` the width in bytes."""
    size = e.imm2
    offset = _pop_at(c, ram, 0, size)
    if offset < 0:
        return offset
    selector = _pop_at(c, ram, size, size)
    if selector < 0:
        return selector
    selector &= 0xFFFF
    if not _paged_mode(c):
        set_sp(c, gpr(c, ESP) + 2 * size + e.imm)
        set_real_segment(c, CS, selector)
        go(c, offset, size)
        return JUMPED
    status = _check_return(c, ram, selector)
    if status < 0:
        return status
    return _return_to(c, k, ram, selector, offset, size, 2 * size, e.imm, -1)


@kernel(I64(C, BYTES, I64, I64, I64))
def _to_virtual_mode(c, ram, offset, selector, flags):
    """IRET from level 0 to virtual-8086 mode: six more words are popped."""
    for i in range(3, 9):
        value = _pop_at(c, ram, 4 * i, 4)
        if value < 0:
            return value
    esp = _pop_at(c, ram, 12, 4)
    ss = _pop_at(c, ram, 16, 4) & 0xFFFF
    es = _pop_at(c, ram, 20, 4) & 0xFFFF
    ds = _pop_at(c, ram, 24, 4) & 0xFFFF
    fs = _pop_at(c, ram, 28, 4) & 0xFFFF
    gs = _pop_at(c, ram, 32, 4) & 0xFFFF
    write_flags(c, flags, 4, 0)
    c.eflags |= F_VM
    c.cpl = 3
    set_real_segment(c, SS, ss)
    set_real_segment(c, CS, selector & 0xFFFF)
    set_real_segment(c, ES, es)
    set_real_segment(c, DS, ds)
    set_real_segment(c, FS, fs)
    set_real_segment(c, GS, gs)
    put_gpr(c, ESP, esp)
    c.eip = offset & 0xFFFF
    return JUMPED


@kernel(OP)
def iret(c, k, ram, e):
    """IRET, IRETD; ``imm2`` is the width in bytes."""
    out_of_line()
    size = e.imm2
    if c.cr0 & CR0_PE:
        if c.eflags & F_VM:
            if c.eflags & F_IOPL != F_IOPL:
                return raise_error(c, X_GP, 0)
        elif c.eflags & F_NT:
            return raise_error(c, X_GP, 0)
    offset = _pop_at(c, ram, 0, size)
    if offset < 0:
        return offset
    selector = _pop_at(c, ram, size, size)
    if selector < 0:
        return selector
    flags = _pop_at(c, ram, 2 * size, size)
    if flags < 0:
        return flags
    selector &= 0xFFFF
    if not _paged_mode(c):
        set_sp(c, gpr(c, ESP) + 3 * size)
        set_real_segment(c, CS, selector)
        go(c, offset, size)
        before = c.eflags & F_IOPL
        write_flags(c, flags, size, 0)
        if c.eflags & F_VM:
            c.eflags = (c.eflags & ~F_IOPL) | before
        return JUMPED
    if size == 4 and flags & F_VM and c.cpl == 0:
        return _to_virtual_mode(c, ram, offset, selector, flags)
    status = _check_return(c, ram, selector)
    if status < 0:
        return status
    return _return_to(c, k, ram, selector, offset, size, 3 * size, 0, flags)


@kernel(I64(C, K, BYTES, E, I64))
def software_interrupt(c, k, ram, e, vector):
    """Enter a handler with the next instruction's address saved."""
    start = c.eip
    c.eip = next_eip(c, e)
    status = interrupt(c, k, ram, vector, 1, -1)
    if status < 0:
        c.eip = start
        return status
    return JUMPED


@kernel(OP)
def int_n(c, k, ram, e):
    if c.eflags & F_VM and c.eflags & F_IOPL != F_IOPL:
        return raise_error(c, X_GP, 0)
    return software_interrupt(c, k, ram, e, e.imm)


@kernel(OP)
def int3(c, k, ram, e):
    return software_interrupt(c, k, ram, e, X_BP)


@kernel(OP)
def int1(c, k, ram, e):
    return software_interrupt(c, k, ram, e, X_DB)


@kernel(OP)
def into(c, k, ram, e):
    if not overflow(c):
        return NEXT
    return software_interrupt(c, k, ram, e, X_OF)


@kernel(OP)
def pushf(c, k, ram, e):
    if c.eflags & F_VM and c.eflags & F_IOPL != F_IOPL:
        return raise_error(c, X_GP, 0)
    return push(c, k, ram, eflags(c) & (0xFCFFFF if e.imm2 == 4 else 0xFFFF), e.imm2)


@kernel(OP)
def popf(c, k, ram, e):
    if c.eflags & F_VM and c.eflags & F_IOPL != F_IOPL:
        return raise_error(c, X_GP, 0)
    value = _pop_at(c, ram, 0, e.imm2)
    if value < 0:
        return value
    set_sp(c, gpr(c, ESP) + e.imm2)
    before = c.eflags & (F_VIF | F_VIP | F_RF | F_IOPL)
    write_flags(c, value, e.imm2, c.cpl)
    c.eflags &= ~(F_VIF | F_VIP | F_RF)
    if c.eflags & F_VM:
        c.eflags = (c.eflags & ~F_IOPL) | (before & F_IOPL)
    c.eip = next_eip(c, e)
    return JUMPED
