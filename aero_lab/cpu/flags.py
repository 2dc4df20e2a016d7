"""Arithmetic flags, kept lazily in two words.

``fres`` is the result, sign-extended from its width: ZF is "the low 32 bits are 0", SF is "negative", PF the parity of
the low byte. ``faux`` is the vector of carries out of each bit position, moved up so that the carry out of the result
is bit 31 and the one into its top bit is bit 30: CF is bit 31, OF is bit 31 xor bit 30, AF is bit 3. An addition leaves
both by four logical operations and two stores, and no condition ever asks which instruction it was (the idea is that
of Bochs). Where flags are set that no result could have (POPF, and ZF together with SF), bit 40 of ``fres``, which
equals its sign otherwise, turns the parity over.
"""

from __future__ import annotations

from ..compiled.registry import I64, VOID
from .inline import inlined, kernel, out_of_line
from .state import F_AF, F_ARITHMETIC, F_CF, F_OF, F_PF, F_SF, F_ZF, C

M32 = 0xFFFFFFFF


@inlined
@kernel(I64(C))
def carry(c):
    return (c.faux >> 31) & 1


@inlined
@kernel(I64(C))
def overflow(c):
    return ((c.faux >> 31) ^ (c.faux >> 30)) & 1


@inlined
@kernel(I64(C))
def zero(c):
    return 1 if (c.fres & M32) == 0 else 0


@inlined
@kernel(I64(C))
def sign(c):
    return 1 if c.fres < 0 else 0


@inlined
@kernel(I64(C))
def parity(c):
    p = c.fres & 0xFF
    p ^= p >> 4
    p ^= p >> 2
    p ^= p >> 1
    return (p ^ 1 ^ (c.fres >> 40) ^ (c.fres >> 62 >> 1)) & 1


@kernel(I64(C))
def arithmetic_flags(c):
    """CF, PF, AF, ZF, SF, OF at their places in EFLAGS."""
    out_of_line()
    flags = carry(c) | (parity(c) << 2) | (((c.faux >> 3) & 1) << 4) | (zero(c) << 6) | (sign(c) << 7)
    return flags | (overflow(c) << 11)


@kernel(VOID(C, I64))
def set_arithmetic_flags(c, flags):
    out_of_line()
    cf = flags & F_CF
    of = 1 if flags & F_OF else 0
    even = 1 if flags & F_PF else 0
    negative = 1 if flags & F_SF else 0
    plain = 1 if flags & F_ZF else 0  # the parity of the low byte chosen here: 0 is even, 1 odd
    result = (1 - plain) | ((negative ^ even ^ plain) << 40)
    if negative:
        result |= -(1 << 63)
    c.fres = result
    c.faux = (cf << 31) | ((of ^ cf) << 30) | (8 if flags & F_AF else 0)


@kernel(I64(C))
def eflags(c):
    """All of EFLAGS."""
    return c.eflags | arithmetic_flags(c) | 2


@kernel(VOID(C, I64))
def set_eflags(c, flags):
    """All of EFLAGS, unconditionally."""
    out_of_line()
    set_arithmetic_flags(c, flags)
    c.eflags = flags & 0x3F7FD7 & ~(F_ARITHMETIC | 2)


@inlined
@kernel(VOID(C, I64, I64, I64))
def leave_flags(c, result, carries, bits):
    """What an addition or subtraction of ``bits`` leaves: its result and its vector of carries, both masked."""
    top = 1 << (bits - 1)
    c.fres = (result ^ top) - top
    c.faux = ((carries << (32 - bits)) & 0xC0000000) | (carries & 8)


@inlined
@kernel(VOID(C, I64, I64))
def leave_logical(c, result, bits):
    """What AND, OR, XOR and TEST leave: CF, OF and AF clear."""
    top = 1 << (bits - 1)
    c.fres = (result ^ top) - top
    c.faux = 0


@inlined
@kernel(VOID(C, I64, I64))
def put_carry_overflow(c, cf, of):
    """Replace CF and OF, keep the others."""
    c.faux = (c.faux & 8) | (cf << 31) | ((cf ^ of) << 30)


@kernel(I64(C, I64))
def condition(c, code):
    """The condition ``code`` of Jcc, SETcc and CMOVcc (SDM volume 2, appendix B.1.4.7): 0 or 1."""
    out_of_line()
    which = code >> 1
    if which == 0:
        met = overflow(c)
    elif which == 1:
        met = carry(c)
    elif which == 2:
        met = zero(c)
    elif which == 3:
        met = carry(c) | zero(c)
    elif which == 4:
        met = sign(c)
    elif which == 5:
        met = parity(c)
    elif which == 6:
        met = sign(c) ^ overflow(c)
    else:
        met = (sign(c) ^ overflow(c)) | zero(c)
    return met ^ (code & 1)
