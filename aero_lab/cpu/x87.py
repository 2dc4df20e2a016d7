"""The x87's place among the instructions: what the decoder's operations D8 to DF, FWAIT, FXSAVE and FXRSTOR call.

An instruction first looks whether it may run at all: #NM when the kernel has not given the unit to this task, #MF when
an earlier one left an exception that is not masked. Then memory, which may fault, before any register changes.
With CR0.NE clear an exception is reported by the pin FERR# (SDM volume 1, appendix D): the next waiting instruction
does not begin, ``execute`` returns ``EXIT_X87_ERROR``, and the processor sleeps until an interrupt, which the board
makes of it. With IGNNE# up such an instruction runs; the pin falls with the exception.

``e.imm`` holds the form: of register forms ``(opcode & 7) << 6 | modrm & 63``, of memory forms
``(opcode & 7) << 3 | reg``, :data:`OPERAND_16` with an operand size of 16 bits, and from bit 16 the ModRM byte.
"""

from __future__ import annotations

from ..compiled.registry import BYTES, I64
from .flags import arithmetic_flags, set_arithmetic_flags
from .inline import kernel
from .memory import load16, load32, probe, raise_error, store16, store32
from .operands import OP, address
from .state import CR0_EM, CR0_MP, CR0_NE, CR0_TS, CS, EAX, EXIT_X87_ERROR, FAULT, NEXT, RETRY, X_MF, X_NM, X_UD, C, K
from .wide import shl, shr
from .x87_environment import fx_load, fx_save, load_image, save_image
from .x87_memory import (
    CONTROL,
    ENVIRONMENT,
    KEEP_OUT,
    LOAD,
    MEMORY_FORMS,
    NO_WAIT,
    load_form,
    store_form,
    stored,
)
from .x87_register import SETS_FLAGS, STATUS_TO_AX, register_form
from .x87_stack import fninit, pending, status_word

M32 = 0xFFFFFFFF
OPERAND_16 = 0x100
SIZE = 15
"""Bits of a form that hold its operand's size."""


@kernel(I64(C, I64))
def ready(c, waits):
    """0, or ``FAULT`` with #NM or #MF, or ``RETRY`` for an exception that the board reports."""
    if c.cr0 & (CR0_EM | CR0_TS):
        return raise_error(c, X_NM, -1)
    return unmasked(c) if waits else 0


@kernel(I64(C))
def unmasked(c):
    """What a waiting instruction does about an exception that an earlier one left: 0, ``FAULT``, or ``RETRY``."""
    if not pending(c):
        c.ignne = 0
        return 0
    if c.cr0 & CR0_NE:
        return raise_error(c, X_MF, -1)
    if c.ignne:
        return 0
    c.halted = 1
    c.exit = EXIT_X87_ERROR
    return RETRY


@kernel(I64(C, BYTES, I64, I64, I64, I64))
def load_operand(c, ram, seg, ea, mask, size):
    """Bytes of an operand into ``x_lo`` and ``x_hi``: 0, or a negative status."""
    c.x_hi = 0
    if size == 2:
        c.x_lo = load16(c, ram, seg, ea)
        return min(c.x_lo, 0)
    low = load32(c, ram, seg, ea)
    if low < 0:
        return low
    if size >= 8:
        high = load32(c, ram, seg, (ea + 4) & mask)
        if high < 0:
            return high
        low |= shl(high, 32)
    if size == 10:
        c.x_hi = load16(c, ram, seg, (ea + 8) & mask)
        if c.x_hi < 0:
            return c.x_hi
    c.x_lo = low
    return 0


@kernel(I64(C, K, BYTES, I64, I64, I64, I64))
def store_operand(c, k, ram, seg, ea, mask, size):
    """The opposite: a status; negative with nothing stored."""
    if size == 2:
        return store16(c, k, ram, seg, ea, c.x_lo & 0xFFFF)
    if size == 4:
        return store32(c, k, ram, seg, ea, c.x_lo & M32)
    status = probe(c, ram, seg, ea, size)
    if status < 0:
        return status
    status = store32(c, k, ram, seg, ea, c.x_lo & M32)
    status = max(status, store32(c, k, ram, seg, (ea + 4) & mask, shr(c.x_lo, 32)))
    if size == 10:
        status = max(status, store16(c, k, ram, seg, (ea + 8) & mask, c.x_hi & 0xFFFF))
    return status


@kernel(OP)
def x87_r(c, k, ram, e):
    """D8 to DF with a register operand."""
    form = e.imm
    esc, modrm = form >> 6 & 7, form & 63 | 0xC0
    eip = (c.eip + e.off - e.len) & M32
    control = (esc == 3 and modrm & 0xF8 == 0xE0) or form == 0x1E0
    status = ready(c, 0 if control else 1)
    if status < 0:
        return status
    conditional = (esc == 2 or esc == 3) and modrm < 0xE0
    done = register_form(c, esc, modrm, arithmetic_flags(c) if conditional else 0)
    if done == STATUS_TO_AX:
        c.gpr[EAX] = (c.gpr[EAX] & 0xFFFF0000) | status_word(c)
    elif done < 0:
        return raise_error(c, X_UD, -1)
    elif done & SETS_FLAGS:
        set_arithmetic_flags(c, done & ~SETS_FLAGS)
    if not control:
        c.fip, c.fcs, c.fop = eip, c.seg_sel[CS], esc << 8 | modrm
    return NEXT


@kernel(OP)
def x87_m(c, k, ram, e):
    """D8 to DF with a memory operand."""
    esc, reg = e.imm >> 3 & 7, e.imm & 7
    eip, seg = (c.eip + e.off - e.len) & M32, e.seg
    form = MEMORY_FORMS[e.imm & 63]
    if form == 0:
        return raise_error(c, X_UD, -1)
    status = ready(c, 0 if form & NO_WAIT else 1)
    if status < 0:
        return status
    ea, mask = address(c, e), M32 >> e.wrap
    if form & ENVIRONMENT:
        return environment(c, k, ram, seg, ea, mask, e.imm & OPERAND_16, esc, form & LOAD)
    size = form & SIZE
    if form & LOAD:
        status = load_operand(c, ram, seg, ea, mask, size)
        if status < 0:
            return status
        load_form(c, esc, reg)
    else:
        flags = store_form(c, esc, reg)
        status = 0
        if flags & KEEP_OUT == 0:
            status = store_operand(c, k, ram, seg, ea, mask, size)
            if status < 0:
                return status
        stored(c, esc, reg, flags)
    if form & CONTROL == 0:
        c.fip, c.fcs, c.fop = eip, c.seg_sel[CS], esc << 8 | e.imm >> 16
        c.fdp, c.fds = ea, c.seg_sel[seg]
    return status


@kernel(I64(C, K, BYTES, I64, I64, I64, I64, I64, I64))
def environment(c, k, ram, seg, ea, mask, narrow, esc, loads):
    """FLDENV, FRSTOR (``loads``), FNSTENV, FNSAVE."""
    whole = 1 if esc == 5 else 0
    if loads:
        return load_image(c, ram, seg, ea, mask, narrow, whole)
    status = save_image(c, k, ram, seg, ea, mask, narrow, whole)
    if status >= 0:
        if whole:
            fninit(c)
        else:
            c.fcw |= 0x3F
    return status


@kernel(OP)
def fwait(c, k, ram, e):
    """FWAIT: #NM under CR0.MP alone, whatever CR0.EM says (SDM volume 3, table 2-2)."""
    if c.cr0 & CR0_TS and c.cr0 & CR0_MP:
        return raise_error(c, X_NM, -1)
    return unmasked(c)


@kernel(OP)
def fxsave(c, k, ram, e):
    if ready(c, 0) < 0:
        return FAULT
    return fx_save(c, k, ram, e.seg, address(c, e), M32 >> e.wrap)


@kernel(OP)
def fxrstor(c, k, ram, e):
    if ready(c, 0) < 0:
        return FAULT
    return fx_load(c, ram, e.seg, address(c, e), M32 >> e.wrap)
