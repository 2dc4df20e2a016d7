"""Shifts, rotates, multiplication, division, bits, decimal adjustment."""

from __future__ import annotations

from ..compiled.registry import I64
from .cells import gpr, put_gpr, unsigned_quotient, unsigned_remainder
from .flags import (
    arithmetic_flags,
    carry,
    leave_logical,
    put_carry_overflow,
    set_arithmetic_flags,
)
from .inline import inlined, kernel, out_of_line
from .memory import load, modify, raise_error, store
from .operands import OP, address, get8, get16, get_register, set8, set16, set_register, signed
from .state import EAX, ECX, EDX, F_AF, F_CF, F_OF, F_PF, F_SF, F_ZF, NEXT, X_DE, C, E

M32 = 0xFFFFFFFF


@inlined
@kernel(I64(C, I64, I64, I64))
def shl(c, value, count, bits):
    if count == 0:
        return value
    wide = value << count
    r = wide & ((1 << bits) - 1)
    cf = (wide >> bits) & 1
    leave_logical(c, r, bits)
    put_carry_overflow(c, cf, cf ^ (r >> (bits - 1)))
    return r


@inlined
@kernel(I64(C, I64, I64, I64))
def shr(c, value, count, bits):
    if count == 0:
        return value
    r = value >> count
    leave_logical(c, r, bits)
    put_carry_overflow(c, (value >> (count - 1)) & 1, value >> (bits - 1))
    return r


@inlined
@kernel(I64(C, I64, I64, I64))
def sar(c, value, count, bits):
    if count == 0:
        return value
    wide = signed(value, bits)
    r = (wide >> count) & ((1 << bits) - 1)
    leave_logical(c, r, bits)
    put_carry_overflow(c, (wide >> (count - 1)) & 1, 0)
    return r


@inlined
@kernel(I64(C, I64, I64, I64))
def rol(c, value, count, bits):
    if count == 0:
        return value
    by = count & (bits - 1)
    r = ((value << by) | (value >> (bits - by))) & ((1 << bits) - 1)
    put_carry_overflow(c, r & 1, (r & 1) ^ (r >> (bits - 1)))
    return r


@inlined
@kernel(I64(C, I64, I64, I64))
def ror(c, value, count, bits):
    if count == 0:
        return value
    by = count & (bits - 1)
    r = ((value >> by) | (value << (bits - by))) & ((1 << bits) - 1)
    top = r >> (bits - 1)
    put_carry_overflow(c, top, top ^ ((r >> (bits - 2)) & 1))
    return r


@kernel(I64(C, I64, I64, I64, I64))
def rotate_through_carry(c, value, count, bits, left):
    by = count % (bits + 1)
    if by == 0:
        return value
    cf = carry(c)
    mask = (1 << bits) - 1
    if left:
        wide = (value << by) | (cf << (by - 1))
        if by > 1:
            wide |= value >> (bits + 1 - by)
        cf = (value >> (bits - by)) & 1
    else:
        wide = (value >> by) | (cf << (bits - by))
        if by > 1:
            wide |= value << (bits + 1 - by)
        cf = (value >> (by - 1)) & 1
    r = wide & mask
    if left:
        of = cf ^ (r >> (bits - 1))
    else:
        of = ((r >> (bits - 1)) ^ (r >> (bits - 2))) & 1
    put_carry_overflow(c, cf, of)
    return r


@kernel(I64(C, I64, I64, I64, I64))
def shift(c, which, value, count, bits):
    """One of the eight by its number in the opcode: ROL ROR RCL RCR SHL SHR SHL SAR; ``count`` is below 32."""
    out_of_line()
    if which == 0:
        return rol(c, value, count, bits)
    if which == 1:
        return ror(c, value, count, bits)
    if which == 2:
        return rotate_through_carry(c, value, count, bits, 1)
    if which == 3:
        return rotate_through_carry(c, value, count, bits, 0)
    if which == 5:
        return shr(c, value, count, bits)
    if which == 7:
        return sar(c, value, count, bits)
    return shl(c, value, count, bits)


@inlined
@kernel(OP)
def shl_ri32(c, k, ram, e):
    put_gpr(c, e.rm, shl(c, gpr(c, e.rm), e.imm & 31, 32))
    return NEXT


@inlined
@kernel(OP)
def shr_ri32(c, k, ram, e):
    put_gpr(c, e.rm, shr(c, gpr(c, e.rm), e.imm & 31, 32))
    return NEXT


@inlined
@kernel(OP)
def sar_ri32(c, k, ram, e):
    put_gpr(c, e.rm, sar(c, gpr(c, e.rm), e.imm & 31, 32))
    return NEXT


@inlined
@kernel(OP)
def rol_ri32(c, k, ram, e):
    put_gpr(c, e.rm, rol(c, gpr(c, e.rm), e.imm & 31, 32))
    return NEXT


@inlined
@kernel(OP)
def ror_ri32(c, k, ram, e):
    put_gpr(c, e.rm, ror(c, gpr(c, e.rm), e.imm & 31, 32))
    return NEXT


@inlined
@kernel(OP)
def shl_rc32(c, k, ram, e):
    put_gpr(c, e.rm, shl(c, gpr(c, e.rm), gpr(c, ECX) & 31, 32))
    return NEXT


@inlined
@kernel(OP)
def shr_rc32(c, k, ram, e):
    put_gpr(c, e.rm, shr(c, gpr(c, e.rm), gpr(c, ECX) & 31, 32))
    return NEXT


@kernel(OP)
def shift_ri(c, k, ram, e):
    """``imm2``: the operation, and the width in bytes shifted by four."""
    bits = (e.imm2 >> 4) * 8
    set_register(c, e.rm, shift(c, e.imm2 & 7, get_register(c, e.rm, bits), e.imm & 31, bits), bits)
    return NEXT


@kernel(OP)
def shift_rc(c, k, ram, e):
    bits = (e.imm2 >> 4) * 8
    set_register(c, e.rm, shift(c, e.imm2 & 7, get_register(c, e.rm, bits), gpr(c, ECX) & 31, bits), bits)
    return NEXT


@kernel(OP)
def shift_mi(c, k, ram, e):
    size = e.imm2 >> 4
    at = address(c, e)
    value = modify(c, ram, e.seg, at, size)
    if value < 0:
        return value
    return store(c, k, ram, e.seg, at, size, shift(c, e.imm2 & 7, value, e.imm & 31, size * 8))


@kernel(OP)
def shift_mc(c, k, ram, e):
    size = e.imm2 >> 4
    at = address(c, e)
    value = modify(c, ram, e.seg, at, size)
    if value < 0:
        return value
    return store(c, k, ram, e.seg, at, size, shift(c, e.imm2 & 7, value, gpr(c, ECX) & 31, size * 8))


@kernel(I64(C, I64, I64, I64, I64, I64))
def double_shift(c, value, other, count, bits, left):
    out_of_line()
    if count == 0:
        return value
    mask = (1 << bits) - 1
    if left:
        if bits == 16:  # beyond 16 the bits come round again, as P6 does it
            wide = (value << 32) | (other << 16) | value
            r = (wide >> (32 - count)) & mask
            cf = (wide >> (48 - count)) & 1
        else:
            r = ((value << count) | (other >> (32 - count))) & mask
            cf = (value >> (32 - count)) & 1
    elif bits == 16:
        wide = (value << 32) | (other << 16) | value
        r = (wide >> count) & mask
        cf = (wide >> (count - 1)) & 1
    else:
        r = ((value >> count) | (other << (32 - count))) & mask
        cf = (value >> (count - 1)) & 1
    leave_logical(c, r, bits)
    put_carry_overflow(c, cf, ((r ^ value) >> (bits - 1)) & 1)
    return r


@kernel(I64(C, E))
def _count(c, e):
    """The count of SHLD and SHRD; ``imm2``: bit 0 left, bit 1 by CL, the width in bytes shifted by four."""
    return (gpr(c, ECX) if e.imm2 & 2 else e.imm) & 31


@kernel(OP)
def double_shift_r(c, k, ram, e):
    bits = (e.imm2 >> 4) * 8
    value = get_register(c, e.rm, bits)
    other = get_register(c, e.reg, bits)
    set_register(c, e.rm, double_shift(c, value, other, _count(c, e), bits, e.imm2 & 1), bits)
    return NEXT


@kernel(OP)
def double_shift_m(c, k, ram, e):
    size = e.imm2 >> 4
    at = address(c, e)
    value = modify(c, ram, e.seg, at, size)
    if value < 0:
        return value
    r = double_shift(c, value, get_register(c, e.reg, 8 * size), _count(c, e), 8 * size, e.imm2 & 1)
    return store(c, k, ram, e.seg, at, size, r)


# Multiplication and division ------------------------------------------------------------------------------------------


@kernel(I64(C, I64, I64, I64))
def multiply(c, value, bits, with_sign):
    """MUL and IMUL of the accumulator: the product goes to AX, DX:AX or EDX:EAX."""
    mask = (1 << bits) - 1
    a = get_register(c, EAX, bits)
    if with_sign:
        product = signed(a, bits) * signed(value, bits)
    else:
        product = a * value
    low = product & mask
    high = (product >> bits) & mask
    if with_sign:
        big = 1 if signed(low, bits) != product else 0
    else:
        big = 1 if high != 0 else 0
    if bits == 8:
        set16(c, EAX, low | (high << 8))
    else:
        set_register(c, EAX, low, bits)
        set_register(c, EDX, high, bits)
    leave_logical(c, low, bits)
    put_carry_overflow(c, big, big)
    return NEXT


@kernel(I64(C, I64, I64))
def divide_unsigned(c, d, bits):
    if bits == 8:
        n = get16(c, EAX)
        high = n >> 8
    else:
        high = get_register(c, EDX, bits)
        n = (high << bits) | get_register(c, EAX, bits)
    if high >= d:  # includes division by 0
        return raise_error(c, X_DE, -1)
    q = unsigned_quotient(n, d)
    r = unsigned_remainder(n, d)
    if bits == 8:
        set16(c, EAX, q | (r << 8))
    else:
        set_register(c, EAX, q, bits)
        set_register(c, EDX, r, bits)
    return NEXT


@kernel(I64(C, I64, I64))
def divide_signed(c, value, bits):
    d = signed(value, bits)
    top = 1 << (bits - 1)
    mask = (1 << bits) - 1
    if bits == 8:
        n = signed(get16(c, EAX), 16)
    else:
        n = (signed(get_register(c, EDX, bits), bits) << bits) | get_register(c, EAX, bits)
    size_n = -n if n < 0 else n  # of -2**63 it is itself, whose bits are right as an unsigned number
    size_d = -d if d < 0 else d
    if d == 0:
        return raise_error(c, X_DE, -1)
    if unsigned_quotient(size_n, size_d) >> 1 >= top or size_n == -(1 << 63):
        return raise_error(c, X_DE, -1)
    q = unsigned_quotient(size_n, size_d)
    r = unsigned_remainder(size_n, size_d)
    if (n < 0) != (d < 0):
        q = -q
    if n < 0:
        r = -r
    if q >= top or q < -top:
        return raise_error(c, X_DE, -1)
    if bits == 8:
        set16(c, EAX, (q & 0xFF) | ((r & 0xFF) << 8))
    else:
        set_register(c, EAX, q & mask, bits)
        set_register(c, EDX, r & mask, bits)
    return NEXT


@kernel(I64(C, I64, I64, I64))
def _mul_div(c, which, value, bits):
    out_of_line()
    if which == 4:
        return multiply(c, value, bits, 0)
    if which == 5:
        return multiply(c, value, bits, 1)
    if which == 6:
        return divide_unsigned(c, value, bits)
    return divide_signed(c, value, bits)


@kernel(OP)
def mul_div_r(c, k, ram, e):
    """``imm2``: 4 MUL, 5 IMUL, 6 DIV, 7 IDIV, and the width in bytes shifted by four."""
    bits = (e.imm2 >> 4) * 8
    return _mul_div(c, e.imm2 & 7, get_register(c, e.rm, bits), bits)


@kernel(OP)
def mul_div_m(c, k, ram, e):
    size = e.imm2 >> 4
    value = load(c, ram, e.seg, address(c, e), size)
    if value < 0:
        return value
    return _mul_div(c, e.imm2 & 7, value, size * 8)


@kernel(I64(C, I64, I64, I64))
def imul(c, a, b, bits):
    """IMUL with two or three operands."""
    product = signed(a, bits) * signed(b, bits)
    r = product & ((1 << bits) - 1)
    big = 1 if signed(r, bits) != product else 0
    leave_logical(c, r, bits)
    put_carry_overflow(c, big, big)
    return r


@kernel(OP)
def imul_rr(c, k, ram, e):
    bits = e.imm2 * 8
    set_register(c, e.reg, imul(c, get_register(c, e.reg, bits), get_register(c, e.rm, bits), bits), bits)
    return NEXT


@kernel(OP)
def imul_rm(c, k, ram, e):
    bits = e.imm2 * 8
    value = load(c, ram, e.seg, address(c, e), e.imm2)
    if value < 0:
        return value
    set_register(c, e.reg, imul(c, get_register(c, e.reg, bits), value, bits), bits)
    return NEXT


@kernel(OP)
def imul_rri(c, k, ram, e):
    bits = e.imm2 * 8
    set_register(c, e.reg, imul(c, get_register(c, e.rm, bits), e.imm, bits), bits)
    return NEXT


@kernel(OP)
def imul_rmi(c, k, ram, e):
    bits = e.imm2 * 8
    value = load(c, ram, e.seg, address(c, e), e.imm2)
    if value < 0:
        return value
    set_register(c, e.reg, imul(c, value, e.imm, bits), bits)
    return NEXT


# Bits -----------------------------------------------------------------------------------------------------------------


@kernel(I64(C, I64, I64, I64))
def _bit(c, which, value, at):
    """BT BTS BTR BTC (4 to 7): CF is the bit; gives the new value."""
    out_of_line()
    cf = (value >> at) & 1
    if carry(c) != cf:
        c.faux ^= 0xC0000000  # turns CF over and leaves OF alone
    if which == 5:
        return value | (1 << at)
    if which == 6:
        return value & ~(1 << at)
    if which == 7:
        return value ^ (1 << at)
    return value


@kernel(OP)
def bit_rr(c, k, ram, e):
    """``imm2``: 4 BT, 5 BTS, 6 BTR, 7 BTC, and the width in bytes shifted by four."""
    bits = (e.imm2 >> 4) * 8
    at = get_register(c, e.reg, bits) & (bits - 1)
    set_register(c, e.rm, _bit(c, e.imm2 & 7, get_register(c, e.rm, bits), at), bits)
    return NEXT


@kernel(OP)
def bit_ri(c, k, ram, e):
    bits = (e.imm2 >> 4) * 8
    set_register(c, e.rm, _bit(c, e.imm2 & 7, get_register(c, e.rm, bits), e.imm & (bits - 1)), bits)
    return NEXT


@kernel(OP)
def bit_mr(c, k, ram, e):
    """The register's bit number reaches beyond the operand: it is signed and counts from it."""
    size = e.imm2 >> 4
    bits = size * 8
    number = signed(get_register(c, e.reg, bits), bits)
    at = (address(c, e) + (number >> (5 if size == 4 else 4)) * size) & (M32 >> e.wrap)
    which = e.imm2 & 7
    if which == 4:
        value = load(c, ram, e.seg, at, size)
        if value < 0:
            return value
        _bit(c, which, value, number & (bits - 1))
        return NEXT
    value = modify(c, ram, e.seg, at, size)
    if value < 0:
        return value
    return store(c, k, ram, e.seg, at, size, _bit(c, which, value, number & (bits - 1)))


@kernel(OP)
def bit_mi(c, k, ram, e):
    size = e.imm2 >> 4
    bits = size * 8
    at = address(c, e)
    which = e.imm2 & 7
    if which == 4:
        value = load(c, ram, e.seg, at, size)
        if value < 0:
            return value
        _bit(c, which, value, e.imm & (bits - 1))
        return NEXT
    value = modify(c, ram, e.seg, at, size)
    if value < 0:
        return value
    return store(c, k, ram, e.seg, at, size, _bit(c, which, value, e.imm & (bits - 1)))


@kernel(I64(C, I64, I64, I64, I64))
def _scan(c, value, target, bits, reverse):
    if value == 0:
        leave_logical(c, 0, bits)
        return NEXT  # the target keeps what it had
    if reverse:
        at = 31
        while not (value >> at) & 1:
            at -= 1
    else:
        at = 0
        while not (value >> at) & 1:
            at += 1
    leave_logical(c, value, bits)
    set_register(c, target, at, bits)
    return NEXT


@kernel(OP)
def scan_r(c, k, ram, e):
    """BSF, BSR; ``imm2``: bit 0 from the top, and the width in bytes shifted by four."""
    bits = (e.imm2 >> 4) * 8
    return _scan(c, get_register(c, e.rm, bits), e.reg, bits, e.imm2 & 1)


@kernel(OP)
def scan_m(c, k, ram, e):
    size = e.imm2 >> 4
    value = load(c, ram, e.seg, address(c, e), size)
    if value < 0:
        return value
    return _scan(c, value, e.reg, size * 8, e.imm2 & 1)


# Decimal --------------------------------------------------------------------------------------------------------------


@kernel(I64(I64))
def _szp(value):
    """SF, ZF and PF of a byte."""
    p = value ^ (value >> 4)
    p ^= p >> 2
    p ^= p >> 1
    return (value & 0x80) | (F_ZF if value == 0 else 0) | (0 if p & 1 else F_PF)


@kernel(OP)
def daa(c, k, ram, e):
    """DAA and, with ``imm2`` set, DAS."""
    before = get8(c, 0)
    flags = arithmetic_flags(c)
    cf = flags & F_CF
    step = -6 if e.imm2 else 6
    al = before
    new = 0
    if (before & 15) > 9 or flags & F_AF:
        al = al + step
        if cf or al < 0 or al > 0xFF:
            new = F_CF
        new |= F_AF
    if before > 0x99 or cf:
        al = al + 16 * step
        new |= F_CF
    al &= 0xFF
    set8(c, 0, al)
    set_arithmetic_flags(c, new | _szp(al))
    return NEXT


@kernel(OP)
def aaa(c, k, ram, e):
    """AAA and, with ``imm2`` set, AAS."""
    ax = get16(c, EAX)
    flags = arithmetic_flags(c) & ~(F_AF | F_CF | F_ZF | F_SF | F_PF | F_OF)
    adjust = (ax & 15) > 9 or arithmetic_flags(c) & F_AF
    if adjust:
        ax = (ax - 0x106) if e.imm2 else (ax + 0x106)
        flags |= F_AF | F_CF
    ax &= 0xFF0F
    set16(c, EAX, ax)
    set_arithmetic_flags(c, flags | _szp(ax & 0xFF))
    return NEXT


@kernel(OP)
def aam(c, k, ram, e):
    if e.imm == 0:
        return raise_error(c, X_DE, -1)
    al = get8(c, 0)
    set16(c, EAX, (unsigned_quotient(al, e.imm) << 8) | unsigned_remainder(al, e.imm))
    leave_logical(c, unsigned_remainder(al, e.imm), 8)
    return NEXT


@kernel(OP)
def aad(c, k, ram, e):
    al = (get8(c, 0) + get8(c, 4) * e.imm) & 0xFF
    set16(c, EAX, al)
    leave_logical(c, al, 8)
    return NEXT


@kernel(OP)
def salc(c, k, ram, e):
    set8(c, 0, 0xFF if carry(c) else 0)
    return NEXT
