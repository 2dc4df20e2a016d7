"""A comparison and the conditional jump behind it as one operation.

Compilers put them side by side, and a pair saves a turn of the dispatch and the way through the lazy flags, which are
left for whoever comes next. The decoded entry is the comparison's, with the jump's target in ``imm2``, what the jump
asks (``PAIR_BITS``) in a byte that the form does not use (``rm`` or ``seg``), and the length of both: an exception of
the comparison is at its start, and nothing that ends between the two (a single step, a breakpoint, the end of a page)
makes a pair.
"""

from __future__ import annotations

from ..compiled.registry import I64, VOID
from .alu import and_, sub
from .inline import inlined, kernel, out_of_line
from .opcodes import ASKED, PAIRS
from .operands import signed
from .state import NOT_TAKEN, TAKEN, C, E

M32 = 0xFFFFFFFF


@kernel(VOID(E, E))
def pair(first, second):
    """Make a pair of two decoded instructions where that can be."""
    out_of_line()
    asked = ASKED[second.op]
    both = PAIRS[first.op]
    if asked and both:
        first.op = both >> 1
        if both & 1:
            first.rm = asked
        else:
            first.seg = asked
        first.imm2 = second.imm
        first.len = first.len + second.len
        first.off = second.off


@inlined
@kernel(I64(I64, I64))
def _met(asked, bits):
    """Whether a comparison that came to these bits is what a jump asks."""
    some = 1 if bits & asked else 0
    return 1 if some != asked >> 4 else 0


@inlined
@kernel(I64(C, E, I64, I64, I64, I64))
def jump_compared(c, e, asked, a, b, bits):
    result = sub(c, a, b, bits)
    below = 1 if a < b else 0
    equal = 2 if a == b else 0
    negative = 4 if signed(result, bits) < 0 else 0
    less = 8 if signed(a, bits) < signed(b, bits) else 0
    if _met(asked, below | equal | negative | less):
        c.eip = (c.eip + e.imm2) & M32
        return TAKEN
    c.eip = (c.eip + e.off) & M32
    return NOT_TAKEN


@inlined
@kernel(I64(C, E, I64, I64, I64, I64))
def jump_tested(c, e, asked, a, b, bits):
    result = and_(c, a, b, bits)
    equal = 2 if result == 0 else 0
    negative = 12 if signed(result, bits) < 0 else 0  # and less than nothing: OF is clear
    if _met(asked, equal | negative):
        c.eip = (c.eip + e.imm2) & M32
        return TAKEN
    c.eip = (c.eip + e.off) & M32
    return NOT_TAKEN
