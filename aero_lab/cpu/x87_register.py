"""x87 instructions whose operands are registers."""

from __future__ import annotations

from ..compiled.registry import I64, VOID
from .inline import kernel
from .state import F_CF, F_PF, F_ZF, C
from .wide import TRIPLE
from .x87_arith import (
    PARTIAL,
    extract_x,
    remainder_x,
    round_x,
    scale_x,
    sqrt_x,
)
from .x87_float import (
    BIAS,
    C1,
    DENORMAL,
    IE,
    INFINITE,
    NAN_MAN,
    NAN_SE,
    NORMAL,
    QNAN,
    UNSUPPORTED,
    ZERO,
    kind,
    rounding,
)
from .x87_memory import KEPT_BACK, arithmetic, compare, compared
from .x87_stack import (
    C0,
    C2,
    C3,
    CONDITIONS,
    SF,
    flag,
    fninit,
    in_use,
    pop,
    push,
    push_nothing,
    put_st,
    refused,
    underflow,
)
from .x87_trans import arctangent, exp2_minus_1, log2_times, sine_cosine

UNDEFINED = -1
"""There is no such instruction."""
STATUS_TO_AX = -2
"""FNSTSW AX: the caller writes the register."""
SETS_FLAGS = 1 << 16
"""With ZF, PF and CF: what the caller sets these to, OF, SF and AF being cleared."""

ORDER_FLAGS = (F_CF, F_ZF, 0, F_ZF | F_PF | F_CF)

CONSTANTS = (
    (-(1 << 63), 0, BIAS),
    (0xD49A784BCD1B8AFE - (1 << 64), 0x492BF6FF4DAFDB4D, BIAS + 1),
    (0xB8AA3B295C17F0BB - (1 << 64), 0xBE87FED0691D3E89 - (1 << 64), BIAS),
    (0xC90FDAA22168C234 - (1 << 64), 0xC4C6628B80DC1CD1 - (1 << 64), BIAS + 1),
    (0x9A209A84FBCFF798 - (1 << 64), 0x8F8959AC0B7C9178 - (1 << 64), BIAS - 2),
    (0xB17217F7D1CF79AB - (1 << 64), 0xC9E3B39803F2F6AF - (1 << 64), BIAS - 1),
    (0, 0, 0),
)
"""1, log2(10), log2(e), pi, log10(2), ln(2), 0: 128 bits of significand each, and exponent."""


@kernel(I64(C, I64, I64, I64))
def register_form(c, esc, modrm, eflags):
    """Run one. Gives 0, or one of the codes above."""
    reg, i = (modrm >> 3) & 7, modrm & 7
    if esc == 1 and reg >= 4:
        return special(c, modrm & 31)
    at = (c.ftop + i) & 7
    if esc & 1 == 0 and esc != 2:
        if reg & 6 == 2 and esc != 6:
            compared(c, against(c, i, 0), reg & 1)
            return 0
        if esc == 6 and reg & 6 == 2:
            if reg == 3 and i != 1:
                return UNDEFINED
            compared(c, against(c, i, 0), 2 if reg == 3 else 1)
            return 0
        into = 0 if esc == 0 else i
        if in_use(c, 0) and in_use(c, i):
            arithmetic(c, reg, into, c.st_man[at], c.st_exp[at], 0, esc == 6)
        elif underflow(c, into) and esc == 6:
            pop(c)
        return 0
    if esc == 2 or esc == 3:
        if reg < 4:
            move_if(c, esc, reg, i, eflags)
            return 0
        if esc == 2:
            if modrm & 63 != 0x29:
                return UNDEFINED
            compared(c, against(c, 1, 1), 2)
            return 0
        if reg == 4:
            return control(c, i)
        return compare_flags(c, i, reg == 5, 0) if reg < 7 else UNDEFINED
    if reg == 0:
        if esc == 1:
            if in_use(c, i):
                push(c, c.st_man[at], c.st_exp[at], 0)
            else:
                push_nothing(c)
            return 0
        flag(c, 0)
        c.ftag &= ~(1 << at)
        if esc == 7:
            pop(c)
        return 0
    if reg == 1:
        exchange(c, i)
        return 0
    if reg < 4:
        if esc == 1 and reg == 2:
            return 0 if i == 0 else UNDEFINED
        man, se = c.st_man[c.ftop], c.st_exp[c.ftop]
        flag(c, 0)
        if in_use(c, 0):
            put_st(c, i, man, se)
        elif esc != 1 and underflow(c, i) == 0:  # the alias D9 D8 does not look whether there is a number
            return 0
        if reg == 3 or esc != 5:
            pop(c)
        return 0
    if esc == 5:
        if reg > 5:
            return UNDEFINED
        compared(c, against(c, i, 1), reg & 1)
        return 0
    if reg == 4:
        return STATUS_TO_AX if i == 0 else UNDEFINED
    return compare_flags(c, i, reg == 5, 1) if reg < 7 else UNDEFINED


@kernel(I64(C, I64))
def control(c, i):
    """FNENI, FNDISI and FNSETPM of older parts do nothing; FNCLEX, FNINIT."""
    if i == 2:
        c.fsw &= CONDITIONS
    elif i == 3:
        fninit(c)
    return 0 if i < 5 else UNDEFINED


@kernel(I64(C, I64, I64))
def against(c, i, quiet):
    """Compare ST(0) with ST(i)."""
    at = (c.ftop + i) & 7
    return compare(c, c.st_man[at], c.st_exp[at], quiet, 0, 1 - (in_use(c, 0) & in_use(c, i)))


@kernel(I64(C, I64, I64, I64))
def compare_flags(c, i, quiet, pops):
    """FCOMI and FUCOMI; C1 changes only when a register was empty."""
    before = c.fsw & C1
    order = against(c, i, quiet)
    if in_use(c, 0) & in_use(c, i):
        c.fsw |= before
    if pops and order < KEPT_BACK:
        pop(c)
    return SETS_FLAGS | ORDER_FLAGS[order & 3]


@kernel(VOID(C, I64, I64, I64, I64))
def move_if(c, esc, reg, i, eflags):
    """FCMOVcc: below, equal, below or equal, unordered, and with ``esc`` 3 their opposites."""
    at = (c.ftop + i) & 7
    if not (in_use(c, 0) and in_use(c, i)):
        underflow(c, 0)
        return
    mask = F_CF if reg == 0 else F_ZF if reg == 1 else F_CF | F_ZF if reg == 2 else F_PF
    if (eflags & mask != 0) == (esc == 2):
        put_st(c, 0, c.st_man[at], c.st_exp[at])


@kernel(VOID(C, I64))
def exchange(c, i):
    at, top = (c.ftop + i) & 7, c.ftop
    flag(c, 0)
    if in_use(c, 0) == 0 or in_use(c, i) == 0:
        flag(c, IE | SF)
        if ~c.fcw & IE:
            return
        if in_use(c, 0) == 0:
            put_st(c, 0, NAN_MAN, NAN_SE)
        if in_use(c, i) == 0:
            put_st(c, i, NAN_MAN, NAN_SE)
    man, se = c.st_man[top], c.st_exp[top]
    put_st(c, 0, c.st_man[at], c.st_exp[at])
    put_st(c, i, man, se)


@kernel(VOID(C))
def examine(c):
    """FXAM."""
    man, se = c.st_man[c.ftop], c.st_exp[c.ftop]
    k = kind(man, se)
    if in_use(c, 0) == 0:
        codes = C3 | C0
    elif k == ZERO:
        codes = C3
    elif k == DENORMAL:
        codes = C3 | C2
    elif k == NORMAL:
        codes = C2
    elif k == INFINITE:
        codes = C2 | C0
    elif k == UNSUPPORTED:
        codes = 0
    else:
        codes = C0
    c.fsw = (c.fsw & ~CONDITIONS) | codes | (C1 if se >> 15 else 0)


@kernel(I64(C, I64))
def special(c, n):
    """D9 E0..FF: no operand but ST(0), or ST(0) and ST(1)."""
    if 8 <= n <= 14:
        man, low, se = CONSTANTS[n - 8]
        push(c, man + (rounding(0, man, low, 0, c.fcw) & 1), se, 0)
        return 0
    if n == 5:
        examine(c)
        return 0
    if n == 22 or n == 23:
        c.ftop = (c.ftop + (1 if n == 23 else 7)) & 7
        flag(c, 0)
        return 0
    if n == 2 or n == 3 or n == 6 or n == 7 or n == 15:
        return UNDEFINED
    if n == 18 or n == 21 or n == 24 or n == 27 or n >= 30:
        c.fsw &= ~C2
    two = n == 17 or n == 19 or n == 21 or n == 24 or n == 25 or n == 29
    if in_use(c, 0) == 0 or (two and in_use(c, 1) == 0):
        if n == 4:
            compared(c, compare(c, 0, 0, 0, 0, 1), 0)
        elif n == 20 or n == 18 or n == 27:
            if underflow(c, 0):
                push_nothing(c)
        elif n == 17 or n == 19 or n == 25:
            if underflow(c, 1):
                pop(c)
        else:
            underflow(c, 0)
        return 0
    man, se = c.st_man[c.ftop], c.st_exp[c.ftop]
    other = (c.ftop + 1) & 7
    om, oe = c.st_man[other], c.st_exp[other]
    if n < 2:
        flag(c, 0)
        c.st_exp[c.ftop] = se ^ 0x8000 if n == 0 else se & 0x7FFF
    elif n == 4:
        compared(c, compare(c, 0, 0, 0, 0, 0), 0)
    elif n == 21 or n == 24:
        man, se, flags, whole = remainder_x(man, se, om, oe, n == 21, c.fcw)
        if refused(c, flags & ~C1) == 0:
            put_st(c, 0, man, se)
            if kind(man, se) < QNAN:
                codes = C2 if whole & PARTIAL else 0
                codes |= (C0 if whole & 4 else 0) | (C3 if whole & 2 else 0) | (C1 if whole & 1 else 0)
                c.fsw = (c.fsw & ~CONDITIONS) | codes
    elif n == 17 or n == 25:
        finish(c, 1, log2_times(man, se, om, oe, n == 25, c.fcw))
    elif n == 19:
        finish(c, 1, arctangent(man, se, om, oe, c.fcw))
    elif n == 16:
        finish(c, 0, exp2_minus_1(man, se, c.fcw))
    elif n == 26:
        finish(c, 0, sqrt_x(man, se, c.fcw))
    elif n == 28:
        finish(c, 0, round_x(man, se, c.fcw))
    elif n == 29:
        finish(c, 0, scale_x(man, se, om, oe, c.fcw))
    elif n == 20:
        em, ee, man, se, flags = extract_x(man, se)
        two_results(c, em, ee, man, se, flags)
    else:
        trigonometric(c, n, man, se)
    return 0


@kernel(VOID(C, I64, TRIPLE))
def finish(c, pops, result):
    """Put ``man, se, flags`` into ST(0), or into ST(1) and pop."""
    man, se, flags = result
    if refused(c, flags) == 0:
        put_st(c, pops, man, se)
        if pops:
            pop(c)


@kernel(VOID(C, I64, I64, I64, I64, I64))
def two_results(c, man, se, pm, pe, flags):
    """Replace ST(0) and push a second number, or neither."""
    if in_use(c, 7):
        flag(c, IE | SF | C1)
        if ~c.fcw & IE:
            return
        man, se, pm, pe = NAN_MAN, NAN_SE, NAN_MAN, NAN_SE
    elif refused(c, flags) != 0:
        return
    put_st(c, 0, man, se)
    c.ftop = (c.ftop - 1) & 7
    put_st(c, 0, pm, pe)


@kernel(VOID(C, I64, I64, I64))
def trigonometric(c, n, man, se):
    """FPTAN, FSINCOS, FSIN, FCOS; arguments from 2**63 up are left to the program (C2)."""
    full = in_use(c, 7) and n < 30
    if not full and kind(man, se) < INFINITE and se & 0x7FFF >= BIAS + 63:
        c.fsw = (c.fsw & ~C1) | C2
        return
    if n == 30 or n == 31:
        finish(c, 0, sine_cosine(man, se, n - 30, c.fcw))
        return
    sm, ss, flags = sine_cosine(man, se, 0 if n == 27 else 2, c.fcw)
    cm, cs = -(1 << 63), BIAS
    if n == 27:
        cm, cs, more = sine_cosine(man, se, 1, c.fcw)
        flags |= more
    elif kind(sm, ss) >= QNAN:
        cm, cs = sm, ss
    two_results(c, sm, ss, cm, cs, flags)
