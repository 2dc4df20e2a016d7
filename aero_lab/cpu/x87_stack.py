"""The x87's registers as instructions see them: a stack, tags, status word, and how a result gets in or does not.

Physical registers are ``st_man[i], st_exp[i]``; ``ftop`` is the one that is ST(0), bit ``i`` of ``ftag`` says that
register ``i`` is in use. ``fsw`` holds exception flags, SF and condition codes; TOP, ES and B are put together when the
word is read.

An exception that is not masked before anything was computed (invalid, denormal, zero divide) leaves registers as they
are; one after (overflow, underflow, precision) lets the result in (SDM 8.5). Either way the next waiting instruction
raises #MF.
"""

from __future__ import annotations

from ..compiled.registry import I64, VOID
from .inline import kernel
from .state import C
from .x87_float import C1, DE, IE, NAN_MAN, NAN_SE, NORMAL, ZE, ZERO, kind

SF = 0x40
"""Stack fault, bit of the status word."""
C0, C2, C3 = 0x100, 0x400, 0x4000
CONDITIONS = C0 | C1 | C2 | C3
BEFORE = IE | DE | ZE
"""Exceptions found before anything is computed."""
KEPT = 0x3F | SF | CONDITIONS
"""Bits of the status word that are kept in ``fsw``."""


@kernel(I64(C))
def pending(c):
    """Exceptions that wait for #MF: those that are flagged and not masked."""
    return c.fsw & ~c.fcw & 0x3F


@kernel(I64(C))
def status_word(c):
    """The whole status word (SDM figure 8-4)."""
    return c.fsw | c.ftop << 11 | (0x8080 if pending(c) else 0)


@kernel(VOID(C, I64))
def flag(c, flags):
    """Add exception flags; C1 becomes what ``flags`` says."""
    c.fsw = (c.fsw & ~C1) | flags


@kernel(I64(C, I64))
def in_use(c, i):
    """Whether ST(i) holds a number."""
    return c.ftag >> ((c.ftop + i) & 7) & 1


@kernel(VOID(C, I64, I64, I64))
def put_st(c, i, man, se):
    at = (c.ftop + i) & 7
    c.st_man[at] = man
    c.st_exp[at] = se
    c.ftag |= 1 << at


@kernel(VOID(C))
def pop(c):
    c.ftag &= ~(1 << c.ftop)
    c.ftop = (c.ftop + 1) & 7


@kernel(I64(C, I64))
def refused(c, flags):
    """Flag exceptions; whether one of them keeps the result out."""
    if flags & BEFORE & ~c.fcw:
        flag(c, flags & (BEFORE | SF))
        return 1
    flag(c, flags)
    return 0


@kernel(I64(C, I64))
def underflow(c, i):
    """A source register is empty: flag it, and where that is masked the indefinite goes into ST(i); whether it did."""
    flag(c, IE | SF)
    if ~c.fcw & IE:
        return 0
    put_st(c, i, NAN_MAN, NAN_SE)
    return 1


@kernel(VOID(C, I64, I64, I64))
def push(c, man, se, flags):
    """Push a number, unless there is no room or one of its exceptions forbids it."""
    if in_use(c, 7):
        man, se, flags = NAN_MAN, NAN_SE, IE | SF | C1
        if ~c.fcw & IE:
            flag(c, flags)
            return
    if refused(c, flags) == 0 or flags == DE:  # a denormal number is loaded even if that raises #MF
        c.ftop = (c.ftop - 1) & 7
        put_st(c, 0, man, se)


@kernel(VOID(C))
def push_nothing(c):
    """A push whose source is empty: that is what gets flagged, even if there is no room either."""
    flag(c, IE | SF)
    if c.fcw & IE:
        c.ftop = (c.ftop - 1) & 7
        put_st(c, 0, NAN_MAN, NAN_SE)


@kernel(VOID(C))
def fninit(c):
    c.fcw, c.fsw, c.ftop, c.ftag = 0x37F, 0, 0, 0
    c.fip = c.fcs = c.fdp = c.fds = c.fop = 0


@kernel(I64(C))
def tag_word(c):
    """Two bits a register, by what it holds: 0 valid, 1 zero, 2 special, 3 empty (SDM figure 8-7)."""
    word = 0
    for i in range(8):
        tag = 3
        if c.ftag >> i & 1:
            k = kind(c.st_man[i], c.st_exp[i])
            tag = 0 if k == NORMAL else 1 if k == ZERO else 2
        word |= tag << (2 * i)
    return word


@kernel(VOID(C, I64, I64))
def put_words(c, control, status):
    """Load control and status word; bits that do not exist read as processors have them."""
    c.fcw = (control & 0x1F3F) | 0x40
    c.fsw = status & KEPT
    c.ftop = (status >> 11) & 7
