"""Conversions between extended numbers and what lies in memory: two shorter formats, integers, packed decimal."""

from __future__ import annotations

from ..compiled.registry import I64
from .inline import kernel
from .wide import PAIR, TOP, TRIPLE, below, mul, shift_right, shl, shr, sub
from .x87_arith import integer_x
from .x87_float import (
    BIAS,
    C1,
    DE,
    IE,
    INFINITE,
    OE,
    PE,
    QUIET,
    SNAN,
    UE,
    UNSUPPORTED,
    ZERO,
    add,
    kind,
    normalise,
    round_at,
    rounding,
    unpacked,
)


@kernel(TRIPLE(I64, I64, I64))
def widen(bits, width, fraction):
    """A number of ``width`` bits, ``fraction`` of them its fraction (32, 23 or 64, 52), as an extended one, and DE when
    it was denormal. A signalling NaN stays one: whether it is an operand or is loaded decides what becomes of it."""
    top = width - 1 - fraction
    sign = (shr(bits, width - 1) & 1) << 15
    exponent = shr(bits, fraction) & ((1 << top) - 1)
    man = shl(bits, 63 - fraction) & ~TOP
    special = (1 << top) - 1
    if exponent == special:
        if man == 0:
            return TOP, sign | 0x7FFF, 0
        return man | TOP, sign | 0x7FFF, 0
    if exponent == 0:
        if man == 0:
            return 0, sign, 0
        exponent, man, _ = normalise(1, man, 0)
        return man, sign | (exponent + BIAS - (special >> 1)), DE
    return man | TOP, sign | (exponent + BIAS - (special >> 1)), 0


@kernel(PAIR(I64, I64, I64, I64, I64))
def narrow(man, se, width, fraction, cw):
    """The opposite: bits and flags."""
    k = kind(man, se)
    sign = shl(se >> 15, width - 1)
    top = width - 1 - fraction
    special = (1 << top) - 1
    if k == ZERO:
        return sign, 0
    if k == UNSUPPORTED:
        return shl(1, width - 1) | shl(special, fraction) | shl(1, fraction - 1), IE
    if k >= INFINITE:
        quiet = 0 if k == INFINITE else shr(man | QUIET, 63 - fraction) & ((1 << fraction) - 1)
        return sign | shl(special, fraction) | quiet, IE if k == SNAN else 0
    exponent, man = unpacked(man, se)
    least = BIAS + 1 - (special >> 1)
    man, exponent, flags = round_at(se >> 15, exponent, man, 0, 63 - fraction, least, least + special - 2, cw)
    if flags & (OE | UE) & ~cw:
        flags &= OE | UE  # nothing gets stored, so nothing was rounded
    return sign | shl(exponent - least + 1, fraction) | (shr(man, 63 - fraction) & ((1 << fraction) - 1)), flags


@kernel(TRIPLE(I64, I64, I64))
def whole(man, se, cw):
    """Magnitude of a number rounded to an integer, its flags, and whether it has 64 bits or fewer.

    What is no number gives IE alone.
    """
    k = kind(man, se)
    if k == ZERO:
        return 0, 0, 1
    exponent = se & 0x7FFF
    if k >= INFINITE or exponent > BIAS + 63:
        return 0, IE, 0
    high, low = shift_right(man, 0, BIAS + 63 - max(exponent, 1))
    how = rounding(se >> 15, high, low, 0, cw)
    if how & 1:
        high = add(high, 1)
        if high == 0:
            return 0, IE, 0
    return high, (PE | (C1 if how & 1 else 0)) if how else 0, 1


@kernel(PAIR(I64, I64, I64, I64))
def to_integer(man, se, width, cw):
    """The integer of ``width`` bits (16, 32, 64) in the control word's direction, and flags; what does not fit gives
    the smallest one and IE (SDM 8.5.1.2)."""
    value, flags, fits = whole(man, se, cw)
    limit = shl(1, width - 1)
    if se >> 15:
        fits = fits != 0 and not below(limit, value)
        value = sub(0, value)
    else:
        fits = fits != 0 and below(value, limit)
    if not fits:
        return sub(0, limit), IE
    return value, flags


DECIMALS = 10**18
"""First integer that packed decimal does not hold: it has eighteen digits (SDM 4.7)."""


@kernel(TRIPLE(I64, I64, I64))
def to_decimal(man, se, cw):
    """Packed decimal (FBSTP): its low eight bytes, its high two, and flags."""
    value, flags, fits = whole(man, se, cw)
    if fits == 0 or not below(value, DECIMALS):
        return -(1 << 62), 0xFFFF, IE  # the packed decimal indefinite, FFFF C000 0000 0000 0000 (SDM 8.2.1, table 4-4)
    low = 0
    for i in range(16):
        low |= shl(value % 10, 4 * i)
        value //= 10
    return low, (se & 0x8000) | (value // 10 << 4) | value % 10, flags


@kernel(PAIR(I64, I64))
def from_decimal(low, high):
    """A number from packed decimal (FBLD); digits above nine count as what they are, as processors have it."""
    value = ((high >> 4) & 15) * 10 + (high & 15)
    for i in range(16):
        value = add(mul(value, 10), shr(low, 60 - 4 * i) & 15)
    man, se = integer_x(value)
    return man, se | (high & 0x8000)
