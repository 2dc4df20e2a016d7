"""x87 instructions with a memory operand of 2 to 10 bytes: loads, stores, arithmetic, control word.

The operand's raw bits lie in ``x_lo`` (bits 0..63) and ``x_hi`` (64..79). What loads is :func:`load_form`, after its
bytes have arrived. What stores is :func:`store_form`, which changes nothing but those two fields and says which
exceptions it met; :func:`stored` does the rest when the bytes have reached memory, or at once when they are not to.
Instructions are named by ``esc``, the low three bits of the first byte (D8..DF), and ``reg``, bits 3..5 of the second.
"""

from __future__ import annotations

from ..compiled.registry import I64, VOID
from .inline import kernel
from .state import C
from .x87_arith import UNORDERED, add_x, compare_x, div_x, integer_x, mul_x
from .x87_convert import from_decimal, narrow, to_decimal, to_integer, widen
from .x87_float import DE, IE, NAN_MAN, NAN_SE, OE, QNAN, QUIET, SNAN, UE, ZE, kind
from .x87_stack import (
    C0,
    C2,
    C3,
    KEPT,
    SF,
    flag,
    in_use,
    pop,
    push,
    put_st,
    refused,
    status_word,
    underflow,
)

UNDEFINED = 0
LOAD, STORE, ENVIRONMENT = 16, 32, 64
NO_WAIT = 128
"""The instruction does not look for pending exceptions."""
CONTROL = 256
"""The instruction is no operation on numbers: it leaves the last instruction's pointers alone."""
_ARITHMETIC = {0: 4, 2: 4, 4: 8, 6: 2}


def _forms() -> tuple[int, ...]:
    """Each of the 64 forms: size of its operand and what happens to it (SDM volume 2, tables A-7 to A-22)."""
    forms = [UNDEFINED] * 64
    for esc, size in _ARITHMETIC.items():
        forms[esc * 8 : esc * 8 + 8] = [LOAD | size] * 8
    for esc, size in ((1, 4), (3, 4), (5, 8), (7, 2)):
        forms[esc * 8] = LOAD | size
        forms[esc * 8 + 2] = forms[esc * 8 + 3] = STORE | size
    forms[0o14] = forms[0o54] = ENVIRONMENT | LOAD | CONTROL
    forms[0o15] = LOAD | CONTROL | 2
    forms[0o16] = forms[0o56] = ENVIRONMENT | STORE | NO_WAIT | CONTROL
    forms[0o17] = forms[0o57] = STORE | NO_WAIT | CONTROL | 2
    forms[0o35] = forms[0o74] = LOAD | 10
    forms[0o37] = forms[0o76] = STORE | 10
    forms[0o75], forms[0o77] = LOAD | 8, STORE | 8
    return tuple(forms)


MEMORY_FORMS = _forms()
"""By ``esc * 8 + reg``."""
KEPT_BACK = 4
"""With an order: an exception that is not masked forbids what would follow."""
ORDER_CODES = (C0, C3, 0, C0 | C2 | C3)
KEEP_OUT = 1 << 16
"""Among the flags of :func:`store_form`: an exception keeps the bytes out of memory."""


@kernel(I64(C, I64, I64, I64, I64, I64, I64))
def arithmetic(c, operation, into, bm, be, denormal, pops):
    """``ST(0) op b`` into ST(``into``); ``operation`` as the instructions number it, ``denormal`` is DE when b was
    denormal before it was widened. Whether it took place."""
    am, ae = c.st_man[c.ftop], c.st_exp[c.ftop]
    if operation == 0:
        man, se, flags = add_x(am, ae, bm, be, 0, c.fcw)
    elif operation == 1:
        man, se, flags = mul_x(am, ae, bm, be, c.fcw)
    else:
        if operation & 1:
            am, ae, bm, be = bm, be, am, ae
        if operation < 6:
            man, se, flags = add_x(am, ae, bm, be, 1, c.fcw)
        else:
            man, se, flags = div_x(am, ae, bm, be, c.fcw)
    if denormal != 0 and flags & (IE | ZE) == 0 and kind(am, ae) < QNAN and kind(bm, be) < QNAN:
        flags |= DE
    if refused(c, flags) != 0:
        return 0
    put_st(c, into, man, se)
    if pops != 0:
        pop(c)
    return 1


@kernel(I64(C, I64, I64, I64, I64, I64))
def compare(c, bm, be, quiet, denormal, empty):
    """Order of ST(0) and b, exceptions flagged; with :data:`KEPT_BACK` when one of them is not masked."""
    if empty != 0:
        order, flags = UNORDERED, IE | SF
    else:
        order, flags = compare_x(c.st_man[c.ftop], c.st_exp[c.ftop], bm, be, quiet)
        if order != UNORDERED:
            flags |= denormal
    return order | (KEPT_BACK if refused(c, flags) else 0)


@kernel(VOID(C, I64, I64))
def compared(c, order, pops):
    """Set C3, C2, C0 as a comparison has them (SDM table 8-6), unmasked exceptions or not; these forbid the pop."""
    codes = ORDER_CODES[order & 3]
    c.fsw = (c.fsw & ~(C0 | C2 | C3)) | codes
    if order < KEPT_BACK:
        for _ in range(pops):
            pop(c)


@kernel(VOID(C, I64, I64))
def load_form(c, esc, reg):
    """Run an instruction that loads, or calculates with what it loads."""
    low = c.x_lo
    denormal = 0
    if esc == 1 and reg == 5:
        c.fcw = (low & 0x1F3F) | 0x40
        return
    if esc == 3 and reg == 5:
        push(c, low, c.x_hi, 0)
        return
    if esc == 7 and reg == 4:
        man, se = from_decimal(low, c.x_hi)
    elif esc < 2 or esc == 4 or esc == 5:
        if esc < 2:
            man, se, denormal = widen(low, 32, 23)
        else:
            man, se, denormal = widen(low, 64, 52)
    else:
        if esc == 6 or (esc == 7 and reg == 0):
            low = (low ^ 0x8000) - 0x8000
        elif esc < 6:
            low = (low ^ 0x80000000) - 0x80000000
        man, se = integer_x(low)
    if esc & 1:
        if kind(man, se) == SNAN:
            man, denormal = man | QUIET, IE
        push(c, man, se, denormal)
    elif reg & 6 == 2:
        compared(c, compare(c, man, se, 0, denormal, 1 - in_use(c, 0)), reg & 1)
    elif in_use(c, 0):
        arithmetic(c, reg, 0, man, se, denormal, 0)
    else:
        underflow(c, 0)


@kernel(I64(C, I64, I64))
def store_form(c, esc, reg):
    """The bytes that an instruction stores, into ``x_lo`` and ``x_hi``; gives the exceptions that this raises."""
    if reg == 7 and (esc == 1 or esc == 5):
        c.x_lo = c.fcw if esc == 1 else status_word(c)
        return 0
    man, se, flags = c.st_man[c.ftop], c.st_exp[c.ftop], 0
    if in_use(c, 0) == 0:
        man, se, flags = NAN_MAN, NAN_SE, IE | SF
    more = 0
    if esc == 3 and reg == 7:
        c.x_lo, c.x_hi = man, se
    elif esc == 7 and reg == 6:
        c.x_lo, c.x_hi, more = to_decimal(man, se, c.fcw)
    elif esc == 1:
        c.x_lo, more = narrow(man, se, 32, 23, c.fcw)
    elif esc == 5:
        c.x_lo, more = narrow(man, se, 64, 52, c.fcw)
    else:
        c.x_lo, more = to_integer(man, se, 32 if esc == 3 else 64 if reg == 7 else 16, c.fcw)
    flags |= more
    if flags & (IE | OE | UE) & ~c.fcw:
        flags |= KEEP_OUT
    return flags


@kernel(VOID(C, I64, I64, I64))
def stored(c, esc, reg, flags):
    """Finish an instruction that stores."""
    if reg == 7 and (esc == 1 or esc == 5):
        return
    flag(c, flags & KEPT)
    if reg != 2 and flags & KEEP_OUT == 0:
        pop(c)
