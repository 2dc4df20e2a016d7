"""Unsigned 64-bit arithmetic for kernels, on ``int64`` bit patterns.

A significand of the x87 fills 64 bits. numba turns ``uint64`` beside ``int64`` into ``float64``, so here a 64-bit
number is the ``int64`` with the same bits and these functions say what is done with them. Sums and products wrap. As
everywhere in compiled code (:mod:`..compiled.memory`) each intrinsic has a plain twin, which gives the same number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..compiled.registry import I64, PLAIN, kernel

M32 = 0xFFFFFFFF
_M64 = (1 << 64) - 1
TOP = -(1 << 63)
"""The highest bit alone."""
PAIR = types.UniTuple(I64, 2)
TRIPLE = types.UniTuple(I64, 3)


def signed(value: int) -> int:
    """The low 64 bits as the signed number with these bits (plain Python only)."""
    return ((value + (1 << 63)) & _M64) - (1 << 63)


def _binary(plain: Callable[[int, int], Any], build: Callable[[Any, Any, Any], Any], result: Any = types.int64) -> Any:
    """A function of two numbers: ``plain`` gets them unsigned, ``build(builder, a, b)`` as ``i64``."""
    if PLAIN:

        def twin(a, b):
            value = plain(int(a) & _M64, int(b) & _M64)
            return value if result is types.boolean else signed(value)

        return twin

    @intrinsic
    def operation(typingctx, a, b):
        def codegen(context, builder, signature, args):
            return build(builder, args[0], args[1])

        return result(types.int64, types.int64), codegen

    return operation


def _high(builder, a, b):
    double = ir.IntType(128)
    product = builder.mul(builder.zext(a, double), builder.zext(b, double))
    return builder.trunc(builder.lshr(product, ir.Constant(double, 64)), ir.IntType(64))


add = _binary(lambda a, b: a + b, lambda builder, a, b: builder.add(a, b))
"""``a + b``, wrapping."""
sub = _binary(lambda a, b: a - b, lambda builder, a, b: builder.sub(a, b))
"""``a - b``, wrapping."""
mul = _binary(lambda a, b: a * b, lambda builder, a, b: builder.mul(a, b))
"""The low half of ``a * b``."""
mul_high = _binary(lambda a, b: (a * b) >> 64, _high)
"""The high half of the unsigned product."""
below = _binary(lambda a, b: a < b, lambda builder, a, b: builder.icmp_unsigned("<", a, b), types.boolean)
"""Whether ``a < b``, unsigned."""
shl = _binary(lambda a, b: a << (b & 63), lambda builder, a, b: builder.shl(a, b))
"""``a << b`` for ``b`` in 0..63."""
shr = _binary(lambda a, b: a >> (b & 63), lambda builder, a, b: builder.lshr(a, b))
"""``a >> b`` for ``b`` in 0..63, zeros coming in."""
quotient = _binary(lambda a, b: a // b, lambda builder, a, b: builder.udiv(a, b))
"""``a / b`` unsigned; ``b`` is not 0."""


def _make_leading_zeros() -> Any:
    if PLAIN:
        return lambda a: 64 - (int(a) & _M64).bit_length()

    @intrinsic
    def leading_zeros(typingctx, a):
        def codegen(context, builder, signature, args):
            return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))

        return types.int64(types.int64), codegen

    return leading_zeros


leading_zeros = _make_leading_zeros()
"""How many bits above the highest one; 64 of zero."""


@kernel(PAIR(I64, I64, I64))
def divide(high, low, by):
    """Quotient and remainder of ``high:low / by``; ``by`` has its top bit set and is above ``high``.

    Knuth's algorithm D with two digits of 32 bits: an estimate of each digit is too large by 2 at most.
    """
    by1, by0 = shr(by, 32), by & M32
    digits, rest = 0, high
    for half in range(2):
        digit_in = shr(low, 32) if half == 0 else low & M32
        digit = quotient(rest, by1)
        over = sub(rest, mul(digit, by1))
        for _ in range(2):
            if over > M32 or not (digit > M32 or below(shl(over, 32) | digit_in, mul(digit, by0))):
                break
            digit -= 1
            over += by1
        rest = sub(add(shl(rest, 32), digit_in), mul(digit, by))
        digits = shl(digits, 32) | digit
    return digits, rest


@kernel(PAIR(I64, I64, I64))
def shift_right(high, low, count):
    """``high:low >> count`` for any ``count`` from 0; bits that fall out leave the lowest bit set."""
    if count == 0:
        return high, low
    if count < 64:
        lost = shl(low, 64 - count) != 0
        return shr(high, count), shl(high, 64 - count) | shr(low, count) | lost
    if count == 64:
        return 0, high | (low != 0)
    if count < 128:
        lost = shl(high, 128 - count) | low
        return 0, shr(high, count - 64) | (lost != 0)
    return 0, 1 if high | low else 0


@kernel(TRIPLE(I64, I64, I64))
def normalise(exponent, high, low):
    """``exponent, high, low`` with the highest one of ``high:low`` at the top; one of both is not zero."""
    if high == 0:
        exponent, high, low = exponent - 64, low, 0
    count = leading_zeros(high)
    if count:
        high, low = shl(high, count) | shr(low, 64 - count), shl(low, count)
    return exponent - count, high, low
