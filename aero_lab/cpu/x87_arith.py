"""Basic arithmetic of the x87: add, multiply, divide, square root, compare, round, remainder, scale, extract.

Numbers, flags and control word are those of :mod:`.x87_float`. Each operation is exact before its one rounding.
"""

from __future__ import annotations

import math

from numba import types

from ..compiled.registry import I64
from .inline import kernel
from .wide import PAIR, TOP, TRIPLE, add, below, divide, leading_zeros, mul, mul_high, shift_right, shl, shr, sub
from .x87_float import (
    BIAS,
    C1,
    DE,
    DENORMAL,
    IE,
    INF_MAN,
    INFINITE,
    NAN_MAN,
    NAN_SE,
    PE,
    QNAN,
    ZE,
    ZERO,
    kind,
    propagate,
    rounded_to,
    rounding,
    unpacked,
)

FIVE = types.UniTuple(I64, 5)
QUAD = types.UniTuple(I64, 4)
LESS, EQUAL, GREATER, UNORDERED = range(4)
PARTIAL = 8
"""The remainder is not complete: the instruction is to be repeated."""
FAR = 0x10000
"""A scale that takes any number out of range."""


@kernel(TRIPLE(I64, I64, I64, I64, I64, I64))
def add_x(am, ae, bm, be, negate, cw):
    """``a + b``, or ``a - b`` with ``negate``."""
    ka, kb = kind(am, ae), kind(bm, be)
    if ka >= QNAN or kb >= QNAN:
        return propagate(am, ae, bm, be)
    flags = DE if ka == DENORMAL or kb == DENORMAL else 0
    sign, other = ae >> 15, (be >> 15) ^ negate
    if ka == INFINITE or kb == INFINITE:
        if ka == kb and sign != other:
            return NAN_MAN, NAN_SE, IE
        return INF_MAN, 0x7FFF | ((sign if ka == INFINITE else other) << 15), flags
    ax, bx = max(ae & 0x7FFF, 1), max(be & 0x7FFF, 1)
    if ax < bx or (ax == bx and below(am, bm)):
        am, bm, ax, bx, sign, other = bm, am, bx, ax, other, sign
    high, low = shift_right(bm, 0, ax - bx)
    if sign == other:
        total = add(am, high)
        if below(total, am):
            ax += 1
            total, low = shift_right(total, low, 1)
            total |= TOP
    else:
        total = sub(sub(am, high), 1 if low else 0)
        low = sub(0, low)
    if total == 0 and low == 0:
        if sign != other:
            sign = 1 if (cw >> 10) & 3 == 1 else 0
        return 0, sign << 15, flags
    man, se, more = rounded_to(sign, ax, total, low, cw)
    return man, se, flags | more


@kernel(TRIPLE(I64, I64, I64, I64, I64))
def mul_x(am, ae, bm, be, cw):
    """``a * b``."""
    ka, kb = kind(am, ae), kind(bm, be)
    if ka >= QNAN or kb >= QNAN:
        return propagate(am, ae, bm, be)
    sign = (ae ^ be) >> 15
    if (ka == INFINITE and kb == ZERO) or (ka == ZERO and kb == INFINITE):
        return NAN_MAN, NAN_SE, IE
    flags = DE if ka == DENORMAL or kb == DENORMAL else 0
    if ka == INFINITE or kb == INFINITE:
        return INF_MAN, 0x7FFF | (sign << 15), flags
    if ka == ZERO or kb == ZERO:
        return 0, sign << 15, flags
    ax, am = unpacked(am, ae)
    bx, bm = unpacked(bm, be)
    man, se, more = rounded_to(sign, ax + bx - BIAS + 1, mul_high(am, bm), mul(am, bm), cw)
    return man, se, flags | more


@kernel(I64(I64, I64))
def below_unit(rest, by):
    """What follows a quotient with this remainder: its next bit, and the lowest one for whatever is left."""
    twice = shl(rest, 1)
    if rest < 0 or below(by, twice):
        return TOP | 1
    return TOP if twice == by else 1 if rest else 0


@kernel(TRIPLE(I64, I64, I64, I64, I64))
def div_x(am, ae, bm, be, cw):
    """``a / b``."""
    ka, kb = kind(am, ae), kind(bm, be)
    if ka >= QNAN or kb >= QNAN:
        return propagate(am, ae, bm, be)
    sign = (ae ^ be) >> 15
    if ka == kb and (ka == INFINITE or ka == ZERO):
        return NAN_MAN, NAN_SE, IE
    flags = DE if ka == DENORMAL or kb == DENORMAL else 0
    if ka == INFINITE:
        return INF_MAN, 0x7FFF | (sign << 15), flags
    if kb == ZERO:
        return INF_MAN, 0x7FFF | (sign << 15), ZE
    if ka == ZERO or kb == INFINITE:
        return 0, sign << 15, flags
    ax, am = unpacked(am, ae)
    bx, bm = unpacked(bm, be)
    exponent, low = ax - bx + BIAS - 1, 0
    if not below(am, bm):
        exponent, low, am = exponent + 1, shl(am, 63), shr(am, 1)
    man, rest = divide(am, low, bm)
    man, se, more = rounded_to(sign, exponent, man, below_unit(rest, bm), cw)
    return man, se, flags | more


@kernel(TRIPLE(I64, I64, I64))
def sqrt_x(man, se, cw):
    """Square root."""
    k = kind(man, se)
    if k >= QNAN:
        return propagate(man, se, man, se)
    if k == ZERO:
        return man, se, 0
    if se >> 15:
        return NAN_MAN, NAN_SE, IE
    if k == INFINITE:
        return man, se, 0
    flags = DE if k == DENORMAL else 0
    exponent, man = unpacked(man, se)
    exponent -= BIAS
    high, low = (man, 0) if exponent & 1 else (shr(man, 1), shl(man, 63))
    # An estimate from above of 52 good bits, then one step of Newton's, which comes down to the root or next to it.
    root = add(shl(int(math.sqrt(float(shr(high, 2))) * 2147483648.0), 2), 1 << 14)
    if root >= 0:
        root = -1
    if below(high, root):
        other, _ = divide(high, low, root)
        root = add(add(shr(root, 1), shr(other, 1)), root & other & 1)
    for _ in range(4):
        square, under = mul_high(root, root), mul(root, root)
        over = sub(sub(high, square), 1 if below(low, under) else 0)
        under = sub(low, under)
        if over < 0:
            root = sub(root, 1)
        elif over > 1 or (over == 1 and below(shl(root, 1), under)):
            root = add(root, 1)
        else:
            break
    if over == 0 and under == 0:
        low = 0
    else:
        low = TOP | 1 if over != 0 or below(root, under) else 1
    man, se, more = rounded_to(0, (exponent >> 1) + BIAS, root, low, cw)
    return man, se, flags | more


@kernel(PAIR(I64, I64, I64, I64, I64))
def compare_x(am, ae, bm, be, quiet):
    """Order of ``a`` and ``b`` and flags; with ``quiet`` a quiet NaN is no invalid operand."""
    ka, kb = kind(am, ae), kind(bm, be)
    if ka >= QNAN or kb >= QNAN:
        return UNORDERED, 0 if quiet and max(ka, kb) == QNAN else IE
    flags = DE if ka == DENORMAL or kb == DENORMAL else 0
    if ka == ZERO and kb == ZERO:
        return EQUAL, flags
    sign = ae >> 15
    if sign != be >> 15:
        return LESS if sign else GREATER, flags
    ax, bx = max(ae & 0x7FFF, 1), max(be & 0x7FFF, 1)
    if ax == bx and am == bm:
        return EQUAL, flags
    less = ax < bx or (ax == bx and below(am, bm))
    return LESS if less != (sign != 0) else GREATER, flags


@kernel(TRIPLE(I64, I64, I64))
def round_x(man, se, cw):
    """Round to an integer in the control word's direction."""
    k = kind(man, se)
    if k >= QNAN:
        return propagate(man, se, man, se)
    exponent = se & 0x7FFF
    if k == ZERO or exponent >= BIAS + 63:
        return man, se, 0
    flags = DE if k == DENORMAL else 0
    sign = se & 0x8000
    high, low = shift_right(man, 0, BIAS + 63 - max(exponent, 1))
    how = rounding(sign, high, low, 0, cw)
    if how:
        flags |= PE | (C1 if how & 1 else 0)
    high = add(high, how & 1)
    if high == 0:
        return 0, sign, flags
    count = leading_zeros(high)
    return shl(high, count), sign | (BIAS + 63 - count), flags


@kernel(QUAD(I64, I64, I64, I64, I64, I64))
def remainder_x(am, ae, bm, be, nearest, cw):
    """FPREM, or with ``nearest`` FPREM1: the remainder, flags, and the quotient's last three bits in order (bits 0..2)
    with :data:`PARTIAL` when the exponents were too far apart for one step (SDM, FPREM)."""
    ka, kb = kind(am, ae), kind(bm, be)
    if ka >= QNAN or kb >= QNAN:
        man, se, flags = propagate(am, ae, bm, be)
        return man, se, flags, 0
    if ka == INFINITE or kb == ZERO:
        return NAN_MAN, NAN_SE, IE, 0
    flags = DE if ka == DENORMAL or kb == DENORMAL else 0
    if ka == ZERO:
        return am, ae, flags, 0
    if kb == INFINITE:
        return am, ae | (1 if ka == DENORMAL and am < 0 else 0), flags, 0
    ax, man = unpacked(am, ae)
    bx, bm = unpacked(bm, be)
    sign, gap, whole = ae >> 15, ax - bx, 0
    if gap < -1 or (gap < 0 and nearest == 0):
        exponent = ax
    elif gap >= 64:
        step = (gap & 31) | 32
        _, man = divide(shr(man, 64 - step), shl(man, step), bm)
        exponent, whole = ax - step, PARTIAL
    else:
        exponent = bx
        if gap > 0:
            whole, man = divide(shr(man, 64 - gap), shl(man, gap), bm)
        elif gap == 0:
            whole = 0 if below(man, bm) else 1
            man = sub(man, bm) if whole else man
        if nearest != 0:
            if gap < 0:  # half of a was compared with b's half: both a bit lower than they are
                up = below(bm, man)
                if up:
                    man, exponent = sub(shl(bm, 1), man), ax
                else:
                    exponent = ax
            else:
                twice = shl(man, 1)
                up = man < 0 or below(bm, twice) or (twice == bm and whole & 1 != 0)
                if up:
                    man = sub(bm, man)
            if up:
                sign ^= 1
                whole = add(whole, 1)
        whole &= 7
    if man == 0:
        return 0, sign << 15, flags, whole
    man, se, more = rounded_to(sign, exponent, man, 0, cw | 0x300)
    return man, se, flags | more, whole


@kernel(TRIPLE(I64, I64, I64, I64, I64))
def scale_x(am, ae, bm, be, cw):
    """FSCALE: ``a * 2**trunc(b)``; rounds to 64 bits whatever the precision control."""
    ka, kb = kind(am, ae), kind(bm, be)
    if ka >= QNAN or kb >= QNAN:
        return propagate(am, ae, bm, be)
    flags = DE if ka == DENORMAL or kb == DENORMAL else 0
    if kb == INFINITE:
        if be >> 15:
            return (NAN_MAN, NAN_SE, IE) if ka == INFINITE else (0, ae & 0x8000, flags)
        return (NAN_MAN, NAN_SE, IE) if ka == ZERO else (INF_MAN, (ae & 0x8000) | 0x7FFF, flags)
    if ka == INFINITE or ka == ZERO:
        return am, ae, flags
    exponent, man = unpacked(am, ae)
    by = be & 0x7FFF
    if by >= BIAS:
        steps = FAR if by > BIAS + 15 else shr(bm, 63 - (by - BIAS))
        exponent += -steps if be >> 15 else steps
    man, se, more = rounded_to(ae >> 15, exponent, man, 0, cw | 0x300)
    return man, se, flags | more


@kernel(FIVE(I64, I64))
def extract_x(man, se):
    """FXTRACT: exponent and significand of a number as two numbers, then flags."""
    k = kind(man, se)
    if k >= QNAN:
        man, se, flags = propagate(man, se, man, se)
        return man, se, man, se, flags
    if k == ZERO:
        return INF_MAN, 0xFFFF, man, se, ZE
    if k == INFINITE:
        return INF_MAN, 0x7FFF, man, se, 0
    exponent, man = unpacked(man, se)
    em, ee = integer_x(exponent - BIAS)
    return em, ee, man, (se & 0x8000) | BIAS, DE if k == DENORMAL else 0


@kernel(PAIR(I64))
def integer_x(value):
    """An ``int64`` as a number; always exact."""
    if value == 0:
        return 0, 0
    sign = 0x8000 if value < 0 else 0
    if value < 0:
        value = sub(0, value)
    count = leading_zeros(value)
    return shl(value, count), sign | (BIAS + 63 - count)
