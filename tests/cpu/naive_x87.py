"""x87 arithmetic as the manual defines it, with exact fractions: slow, and written from the definitions alone.

A number is a ``Fraction``, or one of the words "inf", "qnan", "snan" and "unsupported"; zero and infinity have a sign
beside them. Masked responses only.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import isqrt

IE, DE, ZE, OE, UE, PE, C1 = 1, 2, 4, 8, 16, 32, 0x200
INDEFINITE = (3 << 62, 0xFFFF)
NEAREST, DOWN, UP, CHOP = range(4)


@dataclass(frozen=True)
class Number:
    what: str  # "finite", "inf", "qnan", "snan", "unsupported"
    sign: int
    value: Fraction
    denormal: bool
    bits: tuple[int, int]

    @property
    def is_zero(self) -> bool:
        return self.what == "finite" and self.value == 0


def decode(man: int, se: int) -> Number:
    """SDM volume 1, table 4-3 and 8.2.2."""
    sign, exponent = se >> 15, se & 0x7FFF
    what = "finite"
    if exponent and not man >> 63:
        what = "unsupported"
    elif exponent == 0x7FFF:
        fraction = man & ((1 << 63) - 1)
        what = "inf" if fraction == 0 else "qnan" if fraction >> 62 else "snan"
    value = Fraction(man) * Fraction(2) ** (max(exponent, 1) - 16383 - 63)
    return Number(what, sign, value if not sign else -value, exponent == 0 and man != 0, (man, se))


def to_integer(value: Fraction, mode: int) -> int:
    """An integer near a fraction, in one of the four directions (SDM 4.8.4)."""
    low = value.numerator // value.denominator
    rest = value - low
    if rest == 0 or mode == DOWN:
        return low
    if mode == UP:
        return low + 1
    if mode == CHOP:
        return low if value > 0 else low + 1
    return low + (rest > Fraction(1, 2) or (rest == Fraction(1, 2) and low % 2 == 1))


@dataclass(frozen=True)
class Format:
    """Bits of the significand, exponents of the smallest and the largest normal number."""

    bits: int
    least: int
    most: int


def exponent_of(value: Fraction) -> int:
    """``e`` with ``2**e <= |value| < 2**(e + 1)``."""
    e = abs(value.numerator).bit_length() - value.denominator.bit_length()
    return e if Fraction(2) ** e <= abs(value) else e - 1


def rounded(value: Fraction, mode: int, form: Format) -> tuple[Fraction | str, int]:
    """A fraction (not 0) in a format, or "inf", and flags; masked responses (SDM 4.9.1.4-6)."""
    e = exponent_of(value)
    unit = Fraction(2) ** (e - form.bits + 1)
    free = to_integer(value / unit, mode) * unit
    tiny = free == 0 or exponent_of(free) < form.least
    if e < form.least:
        unit = Fraction(2) ** (form.least - form.bits + 1)
        free = to_integer(value / unit, mode) * unit
    flags = 0
    largest = (2 - Fraction(2) ** (1 - form.bits)) * Fraction(2) ** form.most
    if abs(free) > largest:
        away = mode == NEAREST or (mode == UP and value > 0) or (mode == DOWN and value < 0)
        return ("inf" if away else largest * (1 if value > 0 else -1)), OE | PE | (C1 if away else 0)
    if free != value:
        flags |= PE | (UE if tiny else 0) | (C1 if abs(free) > abs(value) else 0)
    return free, flags


def extended(cw: int) -> Format:
    return Format({0: 24, 2: 53, 3: 64}[cw >> 8 & 3], -16382, 16383)


def encode(value: Fraction, sign: int) -> tuple[int, int]:
    if value == 0:
        return 0, sign << 15
    e = max(exponent_of(value), -16382)
    man = abs(value) / Fraction(2) ** (e - 63)
    assert man.denominator == 1 and man < 1 << 64
    bits = int(man)
    return bits, sign << 15 | (e + 16383 if bits >> 63 else 0)


Result = tuple[tuple[int, int], int]


def finish(value: Fraction, zero_sign: int, cw: int, flags: int, form: Format | None = None) -> Result:
    if value == 0:
        return (0, zero_sign << 15), flags
    sign = 1 if value < 0 else 0
    out, more = rounded(value, cw >> 10 & 3, form or extended(cw))
    if isinstance(out, str):
        return (1 << 63, sign << 15 | 0x7FFF), flags | more
    return encode(out, sign), flags | more


def infinity(sign: int) -> tuple[int, int]:
    return 1 << 63, sign << 15 | 0x7FFF


def nan_of(*operands: Number) -> Result | None:
    """What NaNs and unsupported operands make of an operation (SDM table 4-7)."""
    if any(x.what == "unsupported" for x in operands):
        return INDEFINITE, IE
    nans = [x for x in operands if x.what in ("qnan", "snan")]
    if not nans:
        return None
    flags = IE if any(x.what == "snan" for x in nans) else 0
    quiet = [x for x in nans if x.what == "qnan"]
    among = quiet if quiet and len(quiet) < len(nans) else nans
    best = max(among, key=lambda x: (x.bits[0] | 1 << 62, -x.sign))
    return (best.bits[0] | 1 << 62, best.bits[1]), flags


def add(a: Number, b: Number, cw: int, minus: bool = False) -> Result:
    nan = nan_of(a, b)
    if nan:
        return nan
    flags = DE if a.denormal or b.denormal else 0
    other = b.sign ^ minus
    if a.what == "inf" or b.what == "inf":
        if a.what == b.what and a.sign != other:
            return INDEFINITE, IE
        return infinity(a.sign if a.what == "inf" else other), flags
    total = a.value - b.value if minus else a.value + b.value
    same = a.sign == other
    return finish(total, a.sign if same else int(cw >> 10 & 3 == DOWN), cw, flags)


def multiply(a: Number, b: Number, cw: int) -> Result:
    nan = nan_of(a, b)
    if nan:
        return nan
    sign, flags = a.sign ^ b.sign, DE if a.denormal or b.denormal else 0
    if a.what == "inf" or b.what == "inf":
        return (INDEFINITE, IE) if a.is_zero or b.is_zero else (infinity(sign), flags)
    return finish(a.value * b.value, sign, cw, flags)


def divide(a: Number, b: Number, cw: int) -> Result:
    nan = nan_of(a, b)
    if nan:
        return nan
    sign, flags = a.sign ^ b.sign, DE if a.denormal or b.denormal else 0
    if a.what == "inf":
        return (INDEFINITE, IE) if b.what == "inf" else (infinity(sign), flags)
    if b.what == "inf":
        return (0, sign << 15), flags
    if b.is_zero:
        return (INDEFINITE, IE) if a.is_zero else (infinity(sign), ZE)
    return finish(a.value / b.value, sign, cw, flags)


def square_root(a: Number, cw: int) -> Result:
    nan = nan_of(a)
    if nan:
        return nan
    if a.is_zero:
        return a.bits, 0
    if a.sign:
        return INDEFINITE, IE
    if a.what == "inf":
        return a.bits, 0
    # 200 bits of the root, and one more that tells whether any are left.
    e = exponent_of(a.value) // 2
    scaled = a.value / Fraction(4) ** (e - 200)
    root = isqrt(scaled.numerator // scaled.denominator)
    exact = Fraction(root * root) == scaled
    value = Fraction(2 * root + (0 if exact else 1)) * Fraction(2) ** (e - 201)
    return finish(value, 0, cw, DE if a.denormal else 0)


def round_to_integer(a: Number, cw: int) -> Result:
    nan = nan_of(a)
    if nan:
        return nan
    if a.what == "inf" or a.is_zero or abs(a.value) >= 1 << 63:
        return a.bits, 0
    out = Fraction(to_integer(a.value, cw >> 10 & 3))
    flags = DE if a.denormal else 0
    if out != a.value:
        flags |= PE | (C1 if abs(out) > abs(a.value) else 0)
    return encode(out, a.sign), flags


def store_integer(a: Number, width: int, cw: int) -> tuple[int, int]:
    """FIST: the integer's bits, and flags."""
    if a.what == "finite":
        out = to_integer(a.value, cw >> 10 & 3)
        if -(1 << (width - 1)) <= out < 1 << (width - 1):
            inexact = PE | (C1 if abs(out) > abs(a.value) else 0)
            return out & ((1 << width) - 1), inexact if out != a.value else 0
    return 1 << (width - 1), IE


def store_float(a: Number, width: int, fraction: int, cw: int) -> tuple[int, int]:
    """FST to memory: the format's bits, and flags."""
    top = width - 1 - fraction
    special, sign = ((1 << top) - 1) << fraction, a.sign << (width - 1)
    if a.what == "unsupported":
        return 1 << (width - 1) | special | 1 << (fraction - 1), IE
    if a.what in ("qnan", "snan"):
        kept = (a.bits[0] | 1 << 62) >> (63 - fraction) & ((1 << fraction) - 1)
        return sign | special | kept, IE if a.what == "snan" else 0
    if a.what == "inf":
        return sign | special, 0
    if a.is_zero:
        return sign, 0
    bias = (1 << (top - 1)) - 1
    out, flags = rounded(a.value, cw >> 10 & 3, Format(fraction + 1, 1 - bias, bias))
    if isinstance(out, str):
        return sign | special, flags
    if out == 0:
        return sign, flags
    e = max(exponent_of(out), 1 - bias)
    man = int(abs(out) / Fraction(2) ** (e - fraction))
    field = e + bias if man >> fraction else 0
    return sign | field << fraction | man & ((1 << fraction) - 1), flags


def remainder(a: Number, b: Number, nearest: bool) -> tuple[tuple[int, int], int, int] | None:
    """FPREM and FPREM1: result, flags, quotient; None where one step does not do."""
    nan = nan_of(a, b)
    if nan:
        return *nan, 0
    if a.what == "inf" or b.is_zero:
        return INDEFINITE, IE, 0
    flags = DE if a.denormal or b.denormal else 0
    if a.is_zero or b.what == "inf":
        man, se = a.bits
        return (man, se | 1) if a.denormal and man >> 63 else a.bits, flags, 0
    if exponent_of(a.value) - exponent_of(b.value) >= 64:
        return None
    ratio = abs(a.value) / abs(b.value)
    times = to_integer(ratio, NEAREST if nearest else CHOP)
    left = abs(a.value) - times * abs(b.value)
    sign = a.sign ^ (left < 0)
    return finish(left * (-1 if a.sign else 1), a.sign, 0x37F, flags)[0] if left else (0, sign << 15), flags, times


def compare(a: Number, b: Number, quiet: bool) -> tuple[str, int]:
    """ "<", "=", ">" or "?", and flags."""
    whats = {a.what, b.what}
    if whats & {"unsupported", "snan"} or (not quiet and "qnan" in whats):
        return "?", IE
    if "qnan" in whats:
        return "?", 0
    left = (1 if not a.sign else -1) * Fraction(2) ** 20000 if a.what == "inf" else a.value
    right = (1 if not b.sign else -1) * Fraction(2) ** 20000 if b.what == "inf" else b.value
    return "<" if left < right else ">" if left > right else "=", DE if a.denormal or b.denormal else 0
