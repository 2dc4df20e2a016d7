"""States for x87 instructions, the same ones everywhere: numbers near each other and near every edge, stacks half full.

They are drawn from a counter by a mixing function, because a library's generators may change.
"""

from __future__ import annotations

import numpy as np

from .hardware import STATE

ESCAPES = range(8)
TRANSCENDENTAL = frozenset({(1, m) for m in (0xF0, 0xF1, 0xF2, 0xF3, 0xF9, 0xFB, 0xFE, 0xFF)})
HOLES = frozenset(
    {(1, 0xD0 + i) for i in range(1, 8)}
    | {(1, m) for m in (0xE2, 0xE3, 0xE6, 0xE7, 0xEF)}
    | {(2, m) for m in range(0xE0, 0x100) if m != 0xE9}
    | {(3, m) for m in (*range(0xE5, 0xE8), *range(0xF8, 0x100))}
    | {(5, m) for m in range(0xF0, 0x100)}
    | {(6, m) for m in range(0xD8, 0xE0) if m != 0xD9}
    | {(7, m) for m in (*range(0xE1, 0xE8), *range(0xF8, 0x100))}
    | {(1, 0x08), (3, 0x08), (3, 0x20), (3, 0x30), (5, 0x08), (5, 0x28), (7, 0x08)}
)
"""What a P6 has no instruction for; memory forms by ``reg << 3``. 1 of DB, DD and DF is FISTTP, which is SSE3's."""
WHOLE_STATE = frozenset({(1, 0x20), (1, 0x30), (5, 0x20), (5, 0x30)})
TO_AX = (7, 0xE0)


def forms() -> list[tuple[int, int]]:
    """Every form but the transcendental ones and those that move more than ten bytes."""
    every = [(esc, m) for esc in ESCAPES for m in (*range(0, 0x40, 8), *range(0xC0, 0x100))]
    out = HOLES | TRANSCENDENTAL | WHOLE_STATE | {TO_AX}
    return [form for form in every if form not in out]


class Draw:
    """Columns of random numbers."""

    def __init__(self, count: int, seed: int):
        self.count, self._at = count, np.uint64(seed) << np.uint64(40)

    def bits(self, width: int) -> np.ndarray:
        """``width`` random bits a row (splitmix64)."""
        with np.errstate(over="ignore"):
            z = (np.arange(self.count, dtype=np.uint64) + self._at) * np.uint64(0x9E3779B97F4A7C15)
            self._at += np.uint64(self.count)
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            return (z ^ (z >> np.uint64(31))) >> np.uint64(64 - width)

    def below(self, n: int) -> np.ndarray:
        return self.bits(32) % np.uint64(n)

    def pick(self, values: list[int]) -> np.ndarray:
        return np.array(values, np.uint64)[self.below(len(values))]

    def chance(self, one_in: int) -> np.ndarray:
        return self.below(one_in) == 0


TOP = np.uint64(1 << 63)
ONES = np.uint64((1 << 64) - 1)


def significands(d: Draw) -> np.ndarray:
    few = [0, 1, 2, 3, 1 << 62, 3 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
    kinds = [
        d.bits(64), d.bits(64), d.pick(few), TOP | d.bits(3), TOP | d.bits(26) << np.uint64(38),
        TOP | d.bits(55) << np.uint64(9), ONES ^ d.bits(12), ONES ^ d.bits(42), ONES ^ d.bits(3), TOP | d.bits(63),
    ]  # fmt: skip
    return np.choose(d.below(len(kinds)).astype(int), kinds)


def exponents(d: Draw) -> np.ndarray:
    near = [np.uint64(0x3FFF - 70) + d.below(140) for _ in range(5)]
    kinds = [
        d.pick([0]), d.pick([0x7FFF]), d.pick([1, 2, 3, 0x7FFE, 0x7FFD]), d.bits(15),
        np.uint64(0x1FFF - 70) + d.below(140), np.uint64(0x5FFF - 70) + d.below(140),
        np.uint64(0x3FFF - 1080) + d.below(110), np.uint64(0x3FFF + 1000) + d.below(40), *near,
    ]  # fmt: skip
    return np.choose(d.below(len(kinds)).astype(int), kinds)


def numbers(d: Draw) -> tuple[np.ndarray, np.ndarray]:
    """Significands, and signs with exponents; mostly what results of instructions look like, some that never do."""
    man, exponent = significands(d), exponents(d)
    man = np.where((exponent != 0) & ~d.chance(7), man | TOP, man)
    man = np.where((exponent == 0) & d.chance(3), np.uint64(0), man)
    man = np.where((exponent == 0x7FFF) & d.chance(2), TOP, man)
    return man, exponent | d.bits(1) << np.uint64(15)


def states(count: int, masked: bool, seed: int = 1) -> np.ndarray:
    """``count`` states; without ``masked`` any exception may be unmasked (and none that is may be pending)."""
    d = Draw(count, seed)
    s = np.zeros(count, STATE)
    masks = d.pick([0x3F]) if masked else d.bits(6)
    s["fcw"] = 0x40 | d.bits(2) << np.uint64(10) | d.pick([0, 2, 3, 3]) << np.uint64(8) | masks
    last = numbers(d)
    for i in range(8):
        man, se = numbers(d)
        if i == 1:  # near ST(0), now and then equal to it
            close = (last[1] + d.below(7) - np.uint64(3)) & np.uint64(0x7FFF) | se & np.uint64(0x8000)
            near = d.chance(2)
            se = np.where(near, close, se)
            man = np.where(near & (close & np.uint64(0x7FFF) != 0), man | TOP, man)
            man = np.where(d.chance(12), last[0], man)
            same = d.chance(30)
            man, se = np.where(same, last[0], man), np.where(same, last[1], se)
        s["regs"]["man"][:, i], s["regs"]["se"][:, i] = man, se
        last = man, se
    top = d.below(8)
    empty = [d.chance(2) for _ in range(8)]
    two, room = ~d.chance(5), d.chance(2)
    word = np.zeros(count, np.uint64)
    for i in range(8):
        ordinal = (np.uint64(i) - top) & np.uint64(7)
        out = np.where(two & (ordinal < 2), False, np.where(two & room & (ordinal == 7), True, empty[i]))
        word |= np.where(out, np.uint64(3), np.uint64(0)) << np.uint64(2 * i)
    s["ftw"] = word
    s["fsw"] = d.bits(16) & np.uint64(0x4700) | top << np.uint64(11) | d.bits(7) & (masks | np.uint64(0x40))
    s["eflags"] = d.bits(12) & np.uint64(0x8D5)
    s["mem"] = memory(d).view(np.uint8).reshape(count, 16)
    return s


def memory(d: Draw) -> np.ndarray:
    """Sixteen bytes to load as a float, an integer, packed decimal, an extended number."""
    f64 = d.bits(52) | (np.uint64(1023 - 60) + d.below(120)) << np.uint64(52) | d.bits(1) << np.uint64(63)
    f32 = d.bits(23) | (np.uint64(127 - 60) + d.below(120)) << np.uint64(23) | d.bits(1) << np.uint64(31)
    edges = [0, 1 << 63, 1 << 31, 0x7FF << 52, 0xFFF8 << 48, (0x7FF << 52) | 1, 0xFF << 23, 0x7FC00000, 0xFF800001]
    edges += [0x800000, 1, (1 << 64) - 1, 0x8000, (1 << 52) - 1, 1 << 52]
    digits = np.zeros(d.count, np.uint64)
    for i in range(16):
        digits |= d.below(10) << np.uint64(4 * i)
    man, se = numbers(d)
    kinds = [f64, f32, d.pick(edges), d.bits(23), d.bits(52), d.bits(64), digits, man]
    which = d.below(len(kinds)).astype(int)
    low = np.choose(which, kinds)
    high = np.where(which == 7, se, np.where(which == 6, d.below(10) | d.below(10) << np.uint64(4), d.bits(16)))
    return np.stack([low, high], axis=1)
