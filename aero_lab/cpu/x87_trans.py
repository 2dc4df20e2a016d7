"""Transcendental instructions of the x87: FSIN, FCOS, FSINCOS, FPTAN, FPATAN, F2XM1, FYL2X, FYL2XP1.

Each is a reduction of the argument to a small one, a short series in 64-bit fixed point, and a product of extended
numbers, so the error is relative: a few units of the 64th bit, far below the 53rd. Arguments of the circular functions
are reduced by 1/(2 pi) to 256 bits and not, as processors do, by a pi of 66 bits: near its multiples results are those
of the mathematical function.

Numbers, flags and control word are those of :mod:`.x87_float`; precision control does not matter here. Where an
argument's range is limited and the manual leaves what lies outside open, the functions go on (SDM volume 2, on each).
"""

from __future__ import annotations

from ..compiled.registry import I64
from .inline import kernel
from .wide import PAIR, TOP, TRIPLE, add, below, mul, mul_high, normalise, quotient, shl, shr, sub
from .x87_arith import add_x, div_x, integer_x, mul_x
from .x87_float import (
    BIAS,
    DE,
    DENORMAL,
    EXACT,
    IE,
    INF_MAN,
    INFINITE,
    NAN_MAN,
    NAN_SE,
    PE,
    QNAN,
    UE,
    ZE,
    ZERO,
    kind,
    propagate,
    rounded_to,
    unpacked,
)

FULL = 0x300
"""Precision control: 64 bits."""
ONE_SE = BIAS
SINE, COSINE, TANGENT = range(3)


def _bits(*values: int) -> tuple[int, ...]:
    return tuple(v - (1 << 64) if v >> 63 else v for v in values)


TURN = _bits(0x28BE60DB9391054A, 0x7F09D5F47D4D3770, 0x36D8A5664F10E410, 0x7F9458EAF7AEF158)
"""1/(2 pi), 256 bits of its fraction."""
PI, LN2, TWO_BY_LN2 = _bits(0xC90FDAA22168C235, 0xB17217F7D1CF79AC, 0xB8AA3B295C17F0BC)
"""Significands of pi, ln 2 (2**-1 <= it < 1), 2 / ln 2 (2 <= it < 4)."""
ATANS = _bits(
    0, 0xFEADD4D5617B6E33, 0xFADBAFC96406EB15, 0xB7B0CA0F26F78474, 0xED63382B0DDA7B45, 0x8F005D5EF7F59F9B,
    0xA4BC7D1934F70924, 0xB8053E2BC2319E74, 0xC90FDAA22168C235,
)  # fmt: skip
"""Significands of atan(k / 8)."""
ATAN_SES = (0, BIAS - 4, BIAS - 3, BIAS - 2, BIAS - 2, BIAS - 1, BIAS - 1, BIAS - 1, BIAS - 1)
"""Their exponents."""


@kernel(TRIPLE(I64, I64, I64))
def inexact(man, se, flags):
    """A result that counts as rounded whether it was or not, and so as underflown when it is tiny."""
    tiny = se & 0x7FFF == 0 and man >= 0
    return man, se, flags | PE | (UE if tiny else 0)


@kernel(I64(I64, I64))
def fraction(man, exponent):
    """A number below 1 in units of 2**-64."""
    shift = BIAS - 1 - exponent
    return shr(man, shift) if shift < 64 else 0


@kernel(TRIPLE(I64, I64))
def reduced(man, exponent):
    """``|x|`` as ``q`` quarter turns and a rest: significand and exponent of the rest's magnitude, ``q & 3`` with the
    rest's sign as bit 2. ``x`` is normalised and below 2**63."""
    if exponent < BIAS - 1:
        return man, exponent, 0
    high, a, b, c = 0, 0, 0, 0
    for i in range(3, -1, -1):
        low = add(mul(man, TURN[i]), high)
        high = add(mul_high(man, TURN[i]), 1 if below(low, high) else 0)
        a, b, c = low, a, b
    shift = exponent - BIAS + 1  # whole turns fall out at the top
    if shift:
        high, a, b = shl(high, shift) | shr(a, 64 - shift), shl(a, shift) | shr(b, 64 - shift), shl(b, shift)
        b |= shr(c, 64 - shift)
    quarter = shr(add(high, 1 << 61), 62)
    high = sub(high, shl(quarter, 62))
    if high < 0:
        high, a, b, quarter = ~high, ~a, ~b, quarter | 4
    at = BIAS - 1
    if high == 0:
        at, high, a, b = at - 64, a, b, 0
    if high == 0 and a == 0:
        return TOP, 1, quarter  # no number of 64 bits comes so near
    at, high, _ = normalise(at, high, a)
    at, high, _ = normalise(at + 3, mul_high(high, PI), mul(high, PI))
    return high, at, quarter


@kernel(TRIPLE(I64, I64, I64, I64, I64))
def circular(sign, man, exponent, which, cw):
    """Sine or cosine of a normalised number below 2**63."""
    man, exponent, quarter = reduced(man, exponent)
    rest = quarter >> 2
    quarter &= 3
    angle = fraction(man, exponent)
    square = mul_high(angle, angle)
    odd = (which ^ quarter) & 1
    # The series as nested factors: 1 - z/(n (n+1)) (1 - z/((n+2) (n+3)) (...)); n is 2 for the sine, 1 for the cosine.
    value = TOP
    for k in range(20, 0, -2):
        n = k - odd
        value = sub(TOP, quotient(mul_high(square, value), n * (n + 1)))
    if which == SINE:
        sign ^= quarter >> 1
    else:
        sign = 1 if quarter == 1 or quarter == 2 else 0
    if odd:
        return rounded_to(sign, BIAS, value, 0, cw)
    return rounded_to(sign ^ rest, exponent + 1, mul_high(man, value), mul(man, value), cw)


@kernel(TRIPLE(I64, I64, I64, I64))
def sine_cosine(man, se, which, cw):
    """FSIN, FCOS, and the quotient of FPTAN, below 2**63."""
    cw |= FULL
    k = kind(man, se)
    if k >= QNAN:
        return propagate(man, se, man, se)
    if k == INFINITE:
        return NAN_MAN, NAN_SE, IE
    if k == ZERO:
        return (TOP, ONE_SE, 0) if which == COSINE else (man, se, 0)
    flags = DE if k == DENORMAL else 0
    exponent, man = unpacked(man, se)
    sign = se >> 15
    if which == TANGENT:
        sm, ss, _ = circular(sign, man, exponent, SINE, EXACT)
        cm, cs, _ = circular(sign, man, exponent, COSINE, EXACT)
        man, se, more = div_x(sm, ss, cm, cs, cw)
    else:
        man, se, more = circular(sign, man, exponent, which, cw)
    return inexact(man, se, flags | more)


@kernel(PAIR(I64, I64))
def arctangent_of(man, se):
    """Arctangent of a number from 0 to 1."""
    part = 0
    if se >= BIAS:
        part = 8
    elif se >= BIAS - 5:
        part = shr(add(shr(fraction(man, se), 1), 1 << 59), 60)
    if part:
        pm, pe = integer_x(part)
        pe -= 3
        over = add_x(man, se, pm, pe, 1, EXACT)
        under = mul_x(man, se, pm, pe, EXACT)
        under = add_x(under[0], under[1], TOP, ONE_SE, 0, EXACT)
        man, se, _ = div_x(over[0], over[1], under[0], under[1], EXACT)
        if man == 0:
            return ATANS[part], ATAN_SES[part]
    angle = fraction(man, se & 0x7FFF)
    square = mul_high(angle, angle)
    value = 0
    for k in range(19, -1, -2):
        value = sub(quotient(TOP, k), mul_high(square, value))
    man, se, _ = rounded_to(se >> 15, (se & 0x7FFF) + 1, mul_high(man, value), mul(man, value), EXACT)
    if part:
        man, se, _ = add_x(man, se, ATANS[part], ATAN_SES[part], 0, EXACT)
    return man, se


@kernel(TRIPLE(I64, I64, I64, I64, I64))
def arctangent(xm, xe, ym, ye, cw):
    """FPATAN: the angle of the point ``(x, y)``, x in ST(0) and y in ST(1)."""
    kx, ky = kind(xm, xe), kind(ym, ye)
    if kx >= QNAN or ky >= QNAN:
        return propagate(ym, ye, xm, xe)
    cw |= FULL
    flags = DE if kx == DENORMAL or ky == DENORMAL else 0
    left, sign = xe >> 15, ye >> 15
    if ky == ZERO or (kx == INFINITE and ky != INFINITE):
        if not left:
            return 0, sign << 15, flags
        man, se = PI, BIAS + 1
    elif kx == ZERO or (ky == INFINITE and kx != INFINITE):
        man, se = PI, BIAS
    elif kx == INFINITE:
        man, se = PI, BIAS - 1
        if left:
            man, se, _ = mul_x(PI, BIAS - 1, *integer_x(3), EXACT)
    else:
        ax, xn = unpacked(xm, xe)
        ay, yn = unpacked(ym, ye)
        steep = ay > ax or (ay == ax and below(xn, yn))
        if ay - ax < -70 and not left:  # the arctangent is its argument as far as it can be seen
            man, se, more = div_x(ym, ye, xm, xe, cw)
            return inexact(man, se, more)
        if steep:
            ax, ay, xn, yn = ay, ax, yn, xn
        gap = max(ay - ax, -200)
        man, se, _ = div_x(yn, BIAS + gap, xn, BIAS, EXACT)
        man, se = arctangent_of(man, se)
        if steep:
            man, se, _ = add_x(PI, BIAS, man, se, 1, EXACT)
        if left:
            man, se, _ = add_x(PI, BIAS + 1, man, se, 1, EXACT)
    man, se, more = rounded_to(sign, se, man, 0, cw)
    return inexact(man, se, flags | more)


@kernel(TRIPLE(I64, I64, I64))
def exp2_minus_1(man, se, cw):
    """F2XM1: ``2**x - 1`` for ``|x|`` up to 1; any other number is its own result."""
    cw |= FULL
    k = kind(man, se)
    if k >= QNAN:
        return propagate(man, se, man, se)
    sign = se >> 15
    if k == INFINITE:
        return (TOP, 0x8000 | ONE_SE, 0) if sign else (man, se, 0)
    if k == ZERO:
        return man, se, 0
    exponent, man = unpacked(man, se)
    if exponent >= BIAS:
        if exponent > BIAS or man != TOP:
            return man, se, PE
        return (TOP, 0x8000 | (BIAS - 1), PE) if sign else (man, se, PE)
    power = mul_high(fraction(man, exponent), LN2)
    value = TOP
    for n in range(21, 1, -1):
        step = quotient(mul_high(power, value), n)
        value = sub(TOP, step) if sign else add(TOP, step)
    exponent, man, _ = normalise(exponent, mul_high(man, LN2), mul(man, LN2))
    man, se, more = rounded_to(sign, exponent + 1, mul_high(man, value), mul(man, value), cw)
    return inexact(man, se, more | (DE if k == DENORMAL else 0))


@kernel(PAIR(I64, I64))
def logarithm_of(man, se):
    """``log2((1 + s) / (1 - s))`` for ``|s|`` below 0.2: ``2 / ln 2`` times the series of artanh."""
    value = fraction(man, se & 0x7FFF)
    square = mul_high(value, value)
    value = 0
    for k in range(27, -1, -2):
        value = add(quotient(TOP, k), mul_high(square, value))
    man, se, _ = mul_x(man, se, value, ONE_SE, EXACT)
    man, se, _ = mul_x(man, se, TWO_BY_LN2, BIAS + 1, EXACT)
    return man, se


ROOT_2 = _bits(0xB504F333F9DE6484)[0]
"""Significand of the square root of 2."""


@kernel(PAIR(I64, I64))
def logarithm(exponent, man):
    """Base-2 logarithm of a positive normalised number, not 1."""
    up = 0 if below(man, ROOT_2) else 1
    om, oe, _ = add_x(man, BIAS - up, TOP, ONE_SE, 1, EXACT)
    um, ue, _ = add_x(man, BIAS - up, TOP, ONE_SE, 0, EXACT)
    man, se, _ = div_x(om, oe, um, ue, EXACT)
    man, se = logarithm_of(man, se)
    wm, we = integer_x(exponent - BIAS + up)
    man, se, _ = add_x(man, se, wm, we, 0, EXACT)
    return man, se


@kernel(TRIPLE(I64, I64, I64, I64, I64, I64))
def log2_times(xm, xe, ym, ye, plus_1, cw):
    """FYL2X, ``y log2(x)``, and with ``plus_1`` FYL2XP1, ``y log2(x + 1)``; x in ST(0) and y in ST(1)."""
    kx, ky = kind(xm, xe), kind(ym, ye)
    if kx >= QNAN or ky >= QNAN:
        return propagate(ym, ye, xm, xe)
    cw |= FULL
    flags = DE if kx == DENORMAL or ky == DENORMAL else 0
    small = plus_1 != 0 and (kx == ZERO or xe & 0x7FFF < BIAS - 2)
    if plus_1 != 0 and not small and kx != INFINITE:
        xm, xe, _ = add_x(xm, xe, TOP, ONE_SE, 0, EXACT)
        kx = kind(xm, xe)
    if not small:
        if kx == ZERO:
            if ky == ZERO:
                return NAN_MAN, NAN_SE, IE
            return INF_MAN, (ye ^ 0x8000) | 0x7FFF, 0 if ky == INFINITE else ZE
        if xe >> 15:
            return NAN_MAN, NAN_SE, IE
    if kx == INFINITE:
        if ky == ZERO:
            return NAN_MAN, NAN_SE, IE
        return INF_MAN, ye | 0x7FFF, flags
    # The logarithm: nothing, or sign, exponent (which may be below what fits) and significand.
    exponent, man = (1, 0) if kx == ZERO else unpacked(xm, xe)
    sign = xe >> 15
    if small:
        if exponent < BIAS - 66:  # log2(1 + x) is x / ln 2 as far as it can be seen
            if man != 0:
                exponent, man, _ = normalise(exponent + 1, mul_high(man, TWO_BY_LN2), 0)
        else:
            um, ue, _ = add_x(xm, xe, TOP, BIAS + 1, 0, EXACT)
            man, se, _ = div_x(xm, xe, um, ue, EXACT)
            man, se = logarithm_of(man, se)
            exponent = se & 0x7FFF
    elif exponent == BIAS and man == TOP:
        man = 0
    else:
        man, se = logarithm(exponent, man)
        exponent, sign = se & 0x7FFF, se >> 15
    if man == 0 or ky == ZERO or ky == INFINITE:
        man, se, more = mul_x(TOP if man else 0, (sign << 15) | (BIAS if man else 0), ym, ye, EXACT)
        return man, se, more if more & IE else (flags & DE) | more
    ey, ym = unpacked(ym, ye)
    sign ^= ye >> 15
    man, se, more = rounded_to(sign, exponent + ey - BIAS + 1, mul_high(man, ym), mul(man, ym), cw)
    return inexact(man, se, flags | more)
