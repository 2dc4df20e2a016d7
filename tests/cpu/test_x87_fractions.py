"""x87 arithmetic against exact fractions: every rounding and precision, flags and C1 included."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from aero_lab.compiled.registry import PLAIN

from . import naive_x87 as naive
from . import x87_images
from .x87_states import Draw, states

COUNT = 100 if PLAIN else 1500
FLAGS = 0x3F | naive.C1


def given(seed: int) -> np.ndarray:
    """States with eight numbers and no exception yet."""
    s = states(COUNT, True, seed)
    s["ftw"], s["fsw"] = 0, 0
    return s


def number(state, i: int) -> naive.Number:
    return naive.decode(int(state["regs"]["man"][i]), int(state["regs"]["se"][i]))


def ran(esc: int, modrm: int, s: np.ndarray) -> np.ndarray:
    out = x87_images.run(esc, modrm, s)
    assert out is not None
    return out


OPERATIONS = {
    "add": (0, 0xC1, lambda a, b, cw: naive.add(a, b, cw)),
    "multiply": (0, 0xC9, naive.multiply),
    "subtract": (0, 0xE1, lambda a, b, cw: naive.add(a, b, cw, True)),
    "subtract reversed": (0, 0xE9, lambda a, b, cw: naive.add(b, a, cw, True)),
    "divide": (0, 0xF1, naive.divide),
    "divide reversed": (0, 0xF9, lambda a, b, cw: naive.divide(b, a, cw)),
    "square root": (1, 0xFA, lambda a, b, cw: naive.square_root(a, cw)),
    "round": (1, 0xFC, lambda a, b, cw: naive.round_to_integer(a, cw)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_arithmetic(name):
    esc, modrm, oracle = OPERATIONS[name]
    s = given(11)
    out = ran(esc, modrm, s)
    for before, after in zip(s, out):
        wanted, flags = oracle(number(before, 0), number(before, 1), int(before["fcw"]))
        got = int(after["regs"]["man"][0]), int(after["regs"]["se"][0])
        assert (got, int(after["fsw"]) & FLAGS) == (wanted, flags), (name, before, after)


@pytest.mark.parametrize("form, width, fraction", [((1, 0x10), 32, 23), ((5, 0x10), 64, 52)])
def test_storing_shorter_formats(form, width, fraction):
    s = given(12)
    out = ran(*form, s)
    for before, after in zip(s, out):
        bits = int.from_bytes(after["mem"][: width // 8].tobytes(), "little")
        wanted = naive.store_float(number(before, 0), width, fraction, int(before["fcw"]))
        assert (bits, int(after["fsw"]) & FLAGS) == wanted, (before, after)


@pytest.mark.parametrize("form, width", [((7, 0x18), 16), ((3, 0x18), 32), ((7, 0x38), 64)])
def test_storing_integers(form, width):
    s = given(13)
    d = Draw(COUNT, 14)
    s["regs"]["se"][:, 0] = d.bits(1) << np.uint64(15) | (np.uint64(16383) + d.below(66))
    out = ran(*form, s)
    for before, after in zip(s, out):
        bits = int.from_bytes(after["mem"][: width // 8].tobytes(), "little")
        wanted = naive.store_integer(number(before, 0), width, int(before["fcw"]))
        assert (bits, int(after["fsw"]) & FLAGS) == wanted, (before, after)


@pytest.mark.parametrize("modrm, nearest", [(0xF8, False), (0xF5, True)])
def test_remainders(modrm, nearest):
    s = given(15)
    out = ran(1, modrm, s)
    steps = 0
    for before, after in zip(s, out):
        wanted = naive.remainder(number(before, 0), number(before, 1), nearest)
        sw = int(after["fsw"])
        if wanted is None:
            steps += 1
            assert sw & 0x400
            left = number(after, 0)
            whole = (number(before, 0).value - left.value) / number(before, 1).value
            assert whole.denominator == 1
            assert left.value == 0 or naive.exponent_of(left.value) < naive.exponent_of(number(before, 0).value) - 30
            continue
        got = int(after["regs"]["man"][0]), int(after["regs"]["se"][0])
        assert (got, sw & 0x43F) == (wanted[0], wanted[1]), (before, after)
        if number(after, 0).what == "finite":
            assert (sw >> 9 & 1 | sw >> 13 & 2 | sw >> 6 & 4) == wanted[2] & 7, (before, after)
    assert steps


@pytest.mark.parametrize("form, quiet", [((0, 0xD1), False), ((5, 0xE1), True), ((3, 0xF1), False), ((3, 0xE9), True)])
def test_comparisons(form, quiet):
    s = given(16)
    s["regs"][COUNT // 2 :, 1] = s["regs"][COUNT // 2 :, 0]
    out = ran(*form, s)
    codes = {"<": 0x100, ">": 0, "=": 0x4000, "?": 0x4500}
    flags = {"<": 1, ">": 0, "=": 0x40, "?": 0x45}
    for before, after in zip(s, out):
        order, wanted = naive.compare(number(before, 0), number(before, 1), quiet)
        assert int(after["fsw"]) & 0x3F == wanted
        if form[0] == 3:
            assert int(after["eflags"]) == flags[order]
        else:
            assert int(after["fsw"]) & 0x4500 == codes[order]


@pytest.mark.parametrize(
    "form, kind", [((1, 0), "<f"), ((5, 0), "<d"), ((7, 0), "<h"), ((3, 0), "<i"), ((7, 0x28), "<q")]
)
def test_loads(form, kind):
    s = given(17)
    s["ftw"] = 0xFFFF
    out = ran(*form, s)
    for before, after in zip(s, out):
        (value,) = struct.unpack_from(kind, before["mem"].tobytes())
        loaded = number(after, 0)
        if value != value:
            assert loaded.what == "qnan"
        elif value in (float("inf"), float("-inf")):
            assert loaded.what == "inf" and loaded.sign == (value < 0)
        else:
            assert loaded.what == "finite" and loaded.value == naive.Fraction(value)
            assert loaded.bits == naive.encode(loaded.value, loaded.sign)


def test_scaling_and_extracting():
    s = given(18)
    d = Draw(COUNT, 19)
    s["regs"]["se"][:, 1] = d.bits(1) << np.uint64(15) | (np.uint64(16380) + d.below(19))
    s["regs"]["man"][:, 1] |= np.uint64(1 << 63)
    out = ran(1, 0xFD, s)
    for before, after in zip(s, out):
        a, b = number(before, 0), number(before, 1)
        if a.what == "finite" and not a.is_zero:
            by = naive.to_integer(b.value, naive.CHOP)
            form = naive.Format(64, -16382, 16383)
            flags = naive.DE if a.denormal else 0
            wanted = naive.finish(a.value * naive.Fraction(2) ** by, a.sign, int(before["fcw"]), flags, form)
            got = int(after["regs"]["man"][0]), int(after["regs"]["se"][0])
            assert (got, int(after["fsw"]) & FLAGS) == wanted, (before, after)
    s["ftw"] = 0xC000  # ST(7) is empty: there is room for the second result
    out = ran(1, 0xF4, s)
    for before, after in zip(s, out):
        a = number(before, 0)
        if a.what == "finite" and not a.is_zero:
            significand, exponent = number(after, 0), number(after, 1)
            assert exponent.value == naive.exponent_of(a.value)
            assert significand.value * naive.Fraction(2) ** int(exponent.value) == a.value


def test_packed_decimal_comes_and_goes():
    s = given(20)
    s["ftw"] = 0xFFFF
    d = Draw(COUNT, 21)
    digits = np.zeros(COUNT, np.uint64)
    for i in range(16):
        digits |= d.below(10) << np.uint64(4 * i)
    high = d.below(10) | d.below(10) << np.uint64(4) | d.bits(1) << np.uint64(15)
    s["mem"] = np.stack([digits, high], axis=1).view(np.uint8)
    loaded = ran(7, 0x20, s)
    for before, after in zip(s, loaded):
        text = before["mem"][9::-1].tobytes().hex()
        wanted = int(text[2:]) * (-1 if text[0] == "8" else 1)
        assert number(after, 0).value == wanted and number(after, 0).sign == (text[0] == "8")
    back = loaded.copy()
    back["mem"] = 0
    assert np.array_equal(ran(7, 0x30, back)["mem"][:, :10], s["mem"][:, :10])
