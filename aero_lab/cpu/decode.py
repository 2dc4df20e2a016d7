"""From bytes to decoded instructions (SDM volume 2, chapter 2 and appendix A).

All that varies with the encoding alone is settled here: the operation by opcode, group, operand size and form;
registers; base, index, scale, displacement and segment of a memory operand; immediates, sign-extended and cut to the
operand size; jump targets as distances from the start of the block. What is no instruction becomes the operation
``undefined``, so decoding itself never raises anything but page faults.
"""

from __future__ import annotations

from ..compiled.registry import BYTES, I64
from .inline import kernel, out_of_line
from .limits import INSN_BYTES
from .opcodes import (
    ATTRIBUTES,
    END,
    ENTER,
    FAR_POINTER,
    IB,
    IBS,
    IW,
    IZ,
    LOCK,
    LOW,
    MODRM,
    MOFFS,
    NUMBERS,
    ONE,
    OPERATIONS,
    REGISTER_ONLY,
    REL8,
    RELZ,
    REPEAT,
    SUBS,
    SWAP,
    X87,
)
from .paging import ram8
from .state import CS, DS, EBP, EBX, EDI, ES, ESI, ESP, FS, GS, M_CODE32, NO_REG, SS, E

M32 = 0xFFFFFFFF
GOES_ON, ENDS, CROSSES = 0, 1, 2
"""What :func:`decode` says: the block may go on, it ends here, or the bytes reach into a page that was not given."""
UNDEFINED, FALL, TOO_LONG = NUMBERS["undefined"], NUMBERS["fall"], NUMBERS["too_long"]


@kernel(I64(BYTES, I64, I64, I64, I64, I64))
def code_bytes(ram, here, room, there, at, size):
    """``size`` bytes at ``at`` of code that lies at ``here`` for ``room`` bytes and then at ``there`` (-1: unknown)."""
    out_of_line()
    value = 0
    for i in range(size):
        n = at + i
        if n < room:
            value |= ram8(ram, here + n) << (8 * i)
        elif there >= 0:
            value |= ram8(ram, there + n - room) << (8 * i)
    return value


@kernel(I64(I64, I64))
def sign_extended(value, bits):
    top = 1 << (bits - 1)
    return ((value ^ top) - top) & M32


@kernel(I64(E, BYTES, I64, I64, I64, I64, I64, I64))
def memory_operand32(e, ram, here, room, there, at, mod, rm):
    """The memory operand of 32-bit addressing: where its bytes end. A default segment of SS goes to ``seg``."""
    out_of_line()
    if rm == 4:
        sib = code_bytes(ram, here, room, there, at, 1)
        at += 1
        base = sib & 7
        if (sib >> 3) & 7 != 4:
            e.index = (sib >> 3) & 7
            e.shift = sib >> 6
    else:
        base = rm
    if base == EBP and mod == 0:
        e.disp = code_bytes(ram, here, room, there, at, 4)
        return at + 4
    e.base = base
    if base == ESP or base == EBP:
        e.seg = SS
    if mod == 1:
        e.disp = sign_extended(code_bytes(ram, here, room, there, at, 1), 8)
        at += 1
    elif mod == 2:
        e.disp = code_bytes(ram, here, room, there, at, 4)
        at += 4
    return at


@kernel(I64(E, BYTES, I64, I64, I64, I64, I64, I64))
def memory_operand16(e, ram, here, room, there, at, mod, rm):
    """The same for 16-bit addressing."""
    out_of_line()
    if rm == 6 and mod == 0:
        e.disp = code_bytes(ram, here, room, there, at, 2)
        return at + 2
    if rm < 2 or rm == 7:
        e.base = EBX
    elif rm < 4 or rm == 6:
        e.base = EBP
        e.seg = SS
    else:
        e.base = ESI if rm == 4 else EDI
    if rm < 4:
        e.index = EDI if rm & 1 else ESI
    if mod == 1:
        e.disp = sign_extended(code_bytes(ram, here, room, there, at, 1), 8)
        at += 1
    elif mod == 2:
        e.disp = code_bytes(ram, here, room, there, at, 2)
        at += 2
    return at


@kernel(I64(E, BYTES, I64, I64, I64, I64, I64))
def decode(e, ram, here, room, there, off, mode):
    """Decode the instruction at RAM address ``here`` into ``e``.

    ``room`` bytes are left in its page, ``there`` is where the next page is or -1; ``off`` is its distance from the
    start of the block.
    """
    out_of_line()
    wide = 1 if mode & M_CODE32 else 0
    wide_address = wide
    seg = -1
    lock = 0
    rep = 0
    at = 0
    code = 0
    for _ in range(INSN_BYTES + 1):  # the last of so many prefixes is one byte too many itself
        code = code_bytes(ram, here, room, there, at, 1)
        at += 1
        if code == 0x66:
            wide = 0 if mode & M_CODE32 else 1
        elif code == 0x67:
            wide_address = 0 if mode & M_CODE32 else 1
        elif code == 0x26:
            seg = ES
        elif code == 0x2E:
            seg = CS
        elif code == 0x36:
            seg = SS
        elif code == 0x3E:
            seg = DS
        elif code == 0x64:
            seg = FS
        elif code == 0x65:
            seg = GS
        elif code == 0xF0:
            lock = 1
        elif code == 0xF2:
            rep = 1
        elif code == 0xF3:
            rep = 2
        else:
            break
    if code == 0x0F:
        code = 0x100 | code_bytes(ram, here, room, there, at, 1)
        at += 1

    e.base = NO_REG
    e.index = NO_REG
    e.shift = 0
    e.seg = DS
    e.disp = 0
    e.imm = 0
    e.reg = 0
    e.rm = 0
    e.wrap = 0 if wide_address else 16
    key = code * 8
    memory = 0
    modrm = 0
    attr = ATTRIBUTES[key]
    if attr & MODRM:
        modrm = code_bytes(ram, here, room, there, at, 1)
        at += 1
        key += (modrm >> 3) & 7
        attr = ATTRIBUTES[key]
        e.reg = (modrm >> 3) & 7
        if modrm >= 0xC0 or attr & REGISTER_ONLY:
            e.rm = modrm & 7
            if attr & SWAP:
                e.rm = (modrm >> 3) & 7
                e.reg = modrm & 7
        else:
            memory = 1
            if wide_address:
                at = memory_operand32(e, ram, here, room, there, at, modrm >> 6, modrm & 7)
            else:
                at = memory_operand16(e, ram, here, room, there, at, modrm >> 6, modrm & 7)
    elif attr & LOW:
        e.rm = code & 7
    if seg >= 0:
        e.seg = seg

    kind = attr & 15
    size = 4 if wide else 2
    if kind == MOFFS:
        memory = 1
        e.disp = code_bytes(ram, here, room, there, at, 4 if wide_address else 2)
        at += 4 if wide_address else 2
    e.op = OPERATIONS[key * 4 + wide * 2 + memory]
    e.imm2 = SUBS[key * 2 + wide]
    if attr & X87:
        if memory:
            e.imm = ((code & 7) << 3) | ((modrm >> 3) & 7) | (0 if wide else 0x100) | (modrm << 16)
        else:
            e.imm = ((code & 7) << 6) | (modrm & 63)
    if attr & REPEAT:
        e.reg = rep
    if kind == IB:
        e.imm = code_bytes(ram, here, room, there, at, 1)
        at += 1
    elif kind == IBS:
        e.imm = sign_extended(code_bytes(ram, here, room, there, at, 1), 8) & (M32 if wide else 0xFFFF)
        at += 1
    elif kind == IW:
        e.imm = code_bytes(ram, here, room, there, at, 2)
        at += 2
    elif kind == IZ:
        e.imm = code_bytes(ram, here, room, there, at, size)
        at += size
    elif kind == REL8:
        at += 1
        e.imm = (off + at + sign_extended(code_bytes(ram, here, room, there, at - 1, 1), 8)) & M32
    elif kind == RELZ:
        at += size
        relative = code_bytes(ram, here, room, there, at - size, size)
        e.imm = (off + at + (relative if wide else sign_extended(relative, 16))) & M32
    elif kind == FAR_POINTER:
        e.imm = code_bytes(ram, here, room, there, at, size)
        e.imm2 = code_bytes(ram, here, room, there, at + size, 2)
        e.disp = size
        at += size + 2
    elif kind == ENTER:
        e.imm = code_bytes(ram, here, room, there, at, 2)
        e.imm2 = code_bytes(ram, here, room, there, at + 2, 1) | (0x100 if wide else 0)
        at += 3
    elif kind == ONE:
        e.imm = 1
    if at > room and there < 0:
        return CROSSES
    if at > INSN_BYTES:
        e.op = TOO_LONG
        at = INSN_BYTES
    elif lock and not (attr & LOCK and memory):
        e.op = UNDEFINED
    e.len = at
    e.off = off + at
    return ENDS if attr & END or e.op == UNDEFINED or e.op == TOO_LONG else GOES_ON
