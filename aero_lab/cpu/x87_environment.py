"""The x87's whole state in memory: environment (FNSTENV, FLDENV), image (FNSAVE, FRSTOR), and FXSAVE's layout.

SDM volume 1, figures 8-9 to 8-12, and volume 2, FXSAVE. Every store is checked before the first byte is written.
Without SSE (CPUID does not advertise it) the part of FXSAVE's area that belongs to it is neither written nor read.
"""

from __future__ import annotations

from ..compiled.registry import BYTES, I64, VOID
from .inline import kernel
from .memory import load16, load32, probe, probe_read, raise_error, store16, store32
from .state import CR0_PE, F_VM, X_GP, C, K
from .wide import shl, shr
from .x87_stack import put_words, status_word, tag_word

M32 = 0xFFFFFFFF
IMAGE_REGISTERS = 80
"""Bytes of eight registers without gaps."""
FX_SIZE = 512
"""Bytes that FXSAVE claims; it has to be aligned to 16."""
FX_REGISTERS, FX_STEP = 32, 16


@kernel(I64(C))
def real_mode(c):
    """Whether addresses are stored as in real and virtual-8086 mode."""
    return 1 if c.cr0 & CR0_PE == 0 or c.eflags & F_VM else 0


@kernel(I64(C, K, BYTES, I64, I64, I64, I64))
def save_registers(c, k, ram, seg, ea, mask, step):
    """Store ST(0) to ST(7), ten bytes each, ``step`` apart."""
    status = 0
    for i in range(8):
        at = (c.ftop + i) & 7
        man = c.st_man[at]
        status = max(status, store32(c, k, ram, seg, (ea + step * i) & mask, man & M32))
        status = max(status, store32(c, k, ram, seg, (ea + step * i + 4) & mask, shr(man, 32)))
        status = max(status, store16(c, k, ram, seg, (ea + step * i + 8) & mask, c.st_exp[at]))
    return status


@kernel(VOID(C, BYTES, I64, I64, I64, I64))
def load_registers(c, ram, seg, ea, mask, step):
    """The opposite; the bytes have been found readable."""
    for i in range(8):
        at = (c.ftop + i) & 7
        low = load32(c, ram, seg, (ea + step * i) & mask) & M32
        high = load32(c, ram, seg, (ea + step * i + 4) & mask) & M32
        c.st_man[at] = shl(high, 32) | low
        c.st_exp[at] = load16(c, ram, seg, (ea + step * i + 8) & mask) & 0xFFFF


@kernel(I64(C, I64))
def environment_word(c, i):
    """Word ``i`` of the environment, as the mode has it; 32 bits wide, of which the 16-bit form stores half."""
    if i == 0:
        return c.fcw | 0xFFFF0000
    if i == 1:
        return status_word(c) | 0xFFFF0000
    if i == 2:
        return tag_word(c) | 0xFFFF0000
    if real_mode(c):
        code, data = (c.fcs << 4) + c.fip, (c.fds << 4) + c.fdp
        if i == 3:
            return code & 0xFFFF
        if i == 4:
            return (code >> 16 << 12 | c.fop) & 0xFFFFFFF
        return data & 0xFFFF if i == 5 else (data >> 16 << 12) & 0xFFFFFFF
    if i == 3:
        return c.fip
    if i == 4:
        return c.fcs | c.fop << 16
    return c.fdp if i == 5 else c.fds | 0xFFFF0000


@kernel(I64(C, K, BYTES, I64, I64, I64, I64, I64))
def save_image(c, k, ram, seg, ea, mask, narrow, whole):
    """FNSTENV, or with ``whole`` FNSAVE. What both do to the state afterwards is the caller's."""
    width = 2 if narrow else 4
    size = 7 * width
    if probe(c, ram, seg, ea, size + (IMAGE_REGISTERS if whole else 0)) < 0:
        return -1
    status = 0
    for i in range(7):
        at = (ea + width * i) & mask
        word = environment_word(c, i)
        if narrow:
            status = max(status, store16(c, k, ram, seg, at, word & 0xFFFF))
        else:
            status = max(status, store32(c, k, ram, seg, at, word))
    if whole:
        status = max(status, save_registers(c, k, ram, seg, ea + size, mask, 10))
    return status


@kernel(I64(C, BYTES, I64, I64, I64, I64, I64))
def load_image(c, ram, seg, ea, mask, narrow, whole):
    """FLDENV, or with ``whole`` FRSTOR."""
    width = 2 if narrow else 4
    size = 7 * width
    if probe_read(c, ram, seg, ea, size + (IMAGE_REGISTERS if whole else 0)) < 0:
        return -1
    control, status, tags, code, code_high, data, data_high = 0, 0, 0, 0, 0, 0, 0
    for i in range(7):
        at = (ea + width * i) & mask
        word = (load16(c, ram, seg, at) if narrow else load32(c, ram, seg, at)) & M32
        control, status, tags, code, code_high, data, data_high = (
            status, tags, code, code_high, data, data_high, word
        )  # fmt: skip
    put_words(c, control, status)
    c.ftag = 0
    for i in range(8):
        if tags >> (2 * i) & 3 != 3:
            c.ftag |= 1 << i
    if real_mode(c):
        c.fip, c.fcs, c.fop = (code & 0xFFFF) | (code_high >> 12 << 16 & 0xFFFF0000), 0, code_high & 0x7FF
        c.fdp, c.fds = (data & 0xFFFF) | (data_high >> 12 << 16 & 0xFFFF0000), 0
    else:
        c.fip, c.fcs, c.fdp, c.fds = code, code_high & 0xFFFF, data, data_high & 0xFFFF
        if not narrow:
            c.fop = code_high >> 16 & 0x7FF
    if whole:
        load_registers(c, ram, seg, ea + size, mask, 10)
    return 0


@kernel(I64(C, K, BYTES, I64, I64, I64))
def fx_save(c, k, ram, seg, ea, mask):
    if ea & 15 and raise_error(c, X_GP, 0):
        return -1
    if probe(c, ram, seg, ea, FX_SIZE) < 0:
        return -1
    status = 0
    words = (
        c.fcw | status_word(c) << 16, c.ftag | c.fop << 16, c.fip, c.fcs, c.fdp, c.fds,
    )  # fmt: skip
    for i in range(6):
        status = max(status, store32(c, k, ram, seg, ea + 4 * i, words[i]))
    return max(status, save_registers(c, k, ram, seg, ea + FX_REGISTERS, mask, FX_STEP))


@kernel(I64(C, BYTES, I64, I64, I64))
def fx_load(c, ram, seg, ea, mask):
    if ea & 15 and raise_error(c, X_GP, 0):
        return -1
    if probe_read(c, ram, seg, ea, FX_SIZE) < 0:
        return -1
    word = load32(c, ram, seg, ea) & M32
    put_words(c, word & 0xFFFF, word >> 16)
    word = load32(c, ram, seg, ea + 4) & M32
    c.ftag, c.fop = word & 0xFF, word >> 16 & 0x7FF
    c.fip = load32(c, ram, seg, ea + 8) & M32
    c.fcs = load16(c, ram, seg, ea + 12) & 0xFFFF
    c.fdp = load32(c, ram, seg, ea + 16) & M32
    c.fds = load16(c, ram, seg, ea + 20) & 0xFFFF
    load_registers(c, ram, seg, ea + FX_REGISTERS, mask, FX_STEP)
    return 0
