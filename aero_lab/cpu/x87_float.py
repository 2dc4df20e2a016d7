"""Extended-precision numbers: classes, NaNs and the one place where results are rounded.

A number is two ``int64``: the 64 bits of its significand (``man``, the integer bit included) and ``se``, sign and
exponent as the high word of the 80-bit format (sign ``<< 15 |`` exponent, bias 16383). Everything here is pure: numbers
and the control word in, ``(man, se, flags)`` out. ``flags`` are exception bits as in the status word, plus :data:`C1`
when the magnitude was rounded up.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual ("SDM"), volume 1, chapters 4.8 and 8.
What it leaves open was settled by what processors do.
"""

from __future__ import annotations

from ..compiled.registry import I64
from .inline import kernel
from .wide import PAIR, TOP, TRIPLE, add, below, normalise, shift_right, shl, shr

IE, DE, ZE, OE, UE, PE = 1, 2, 4, 8, 16, 32
"""Invalid, denormal, zero divide, overflow, underflow, precision: bits of status and control word (SDM 8.1.3.3)."""
C1 = 0x200
"""Condition code C1 of the status word: rounded up, or which way the stack broke."""
EXACT = 0x37F
"""Control word after FNINIT: all masked, to nearest, 64 bits; used for inner steps."""

BIAS = 16383
MAX_EXPONENT = 0x7FFE
NAN_MAN, NAN_SE = -(1 << 62), 0xFFFF
"""The real indefinite: the NaN that an invalid operation gives (SDM 4.8.3.7)."""
INF_MAN = TOP
QUIET = 1 << 62
"""The bit of a NaN that makes it quiet."""
WRAP = 24576
"""What is added to the exponent, or taken off it, when the handler of overflow or underflow is to see the result
(SDM 8.5.4, 8.5.5)."""

ZERO, NORMAL, DENORMAL, INFINITE, QNAN, SNAN, UNSUPPORTED = range(7)
"""Classes. Unnormals, pseudo-infinities and pseudo-NaNs are unsupported, pseudo-denormals are denormals (SDM 8.2.2)."""


@kernel(I64(I64, I64))
def kind(man, se):
    """Class of a number."""
    exponent = se & 0x7FFF
    if exponent == 0:
        return DENORMAL if man else ZERO
    if man >= 0:
        return UNSUPPORTED
    if exponent != 0x7FFF:
        return NORMAL
    if man == INF_MAN:
        return INFINITE
    return QNAN if man & QUIET else SNAN


@kernel(TRIPLE(I64, I64, I64, I64))
def propagate(am, ae, bm, be):
    """Result of an operation on two numbers of which one is a NaN or unsupported (SDM table 4-7, x87 column)."""
    ka, kb = kind(am, ae), kind(bm, be)
    if ka == UNSUPPORTED or kb == UNSUPPORTED:
        return NAN_MAN, NAN_SE, IE
    flags = IE if ka == SNAN or kb == SNAN else 0
    if ka < QNAN or (ka == SNAN and kb == QNAN):
        first = False
    elif kb < QNAN or (kb == SNAN and ka == QNAN):
        first = True
    elif (am | QUIET) != (bm | QUIET):
        first = below(bm | QUIET, am | QUIET)
    else:
        first = ae <= be
    return (am | QUIET, ae, flags) if first else (bm | QUIET, be, flags)


@kernel(PAIR(I64, I64))
def unpacked(man, se):
    """Exponent and normalised significand of a number that is neither zero nor special."""
    exponent = se & 0x7FFF
    if exponent == 0:
        exponent = 1
    if man < 0:
        return exponent, man
    exponent, man, _ = normalise(exponent, man, 0)
    return exponent, man


@kernel(I64(I64, I64, I64, I64, I64))
def rounding(sign, high, low, drop, cw):
    """How ``high:low`` rounds when ``drop`` bits of ``high`` and all of ``low`` go: bit 0 up, bit 1 inexact."""
    if drop == 0:
        half, rest = low < 0, shl(low, 1)
    else:
        half, rest = (shr(high, drop - 1) & 1) != 0, (high & ((1 << (drop - 1)) - 1)) | low
    if not half and rest == 0:
        return 0
    mode = (cw >> 10) & 3
    if mode == 0:
        up = half and (rest != 0 or (shr(high, drop) & 1) != 0)
    else:
        up = (mode == 1 and sign != 0) or (mode == 2 and sign == 0)
    return 3 if up else 2


@kernel(TRIPLE(I64, I64, I64, I64, I64, I64, I64, I64))
def round_at(sign, exponent, high, low, drop, least, most, cw):
    """Round a normalised ``high:low`` to a format whose significand lacks ``drop`` of 64 bits.

    ``least`` and ``most`` are the exponents of its smallest and largest normal numbers. Gives significand, exponent and
    flags; the exponent is ``least - 1`` of denormals and zero, ``most + 1`` of infinity. An overflow or underflow that
    is not masked gives the exponent wrapped by :data:`WRAP`. Tiny is what is tiny after rounding (SDM 4.9.1.5).
    """
    how = rounding(sign, high, low, drop, cw)
    unit = 1 << drop if drop else 1
    kept = high & -unit
    rounded = add(kept, unit) if how & 1 else kept
    carried = rounded == 0
    if carried:
        rounded = TOP
    inexact = (PE | (C1 if how & 1 else 0)) if how else 0
    if exponent < least:
        tiny = exponent < least - 1 or not carried
        if not tiny or cw & UE:
            high, low = shift_right(high, low, least - exponent)
            how = rounding(sign, high, low, drop, cw)
            high &= -unit
            if how & 1:
                high = add(high, unit)
            flags = (PE | (UE if tiny else 0) | (C1 if how & 1 else 0)) if how else 0
            return high, least if high < 0 else least - 1, flags
        exponent += WRAP + carried
        if exponent < least:
            return 0, least - 1, UE | PE
        return rounded, exponent, UE | inexact
    exponent += carried
    if exponent > most:
        if cw & OE:
            mode = (cw >> 10) & 3
            if mode == 0 or (mode == 1 and sign != 0) or (mode == 2 and sign == 0):
                return INF_MAN, most + 1, OE | PE | C1
            return -unit, most, OE | PE
        exponent -= WRAP
        if exponent > most:
            return INF_MAN, most + 1, OE | PE | C1
        return rounded, exponent, OE | inexact
    return rounded, exponent, inexact


@kernel(TRIPLE(I64, I64, I64, I64, I64))
def rounded_to(sign, exponent, high, low, cw):
    """``high:low`` (not zero, any position) as an extended number, its precision as the control word has it."""
    exponent, high, low = normalise(exponent, high, low)
    precision = (cw >> 8) & 3
    drop = 40 if precision == 0 else 11 if precision == 2 else 0
    man, exponent, flags = round_at(sign, exponent, high, low, drop, 1, MAX_EXPONENT, cw)
    return man, (sign << 15) | exponent, flags
