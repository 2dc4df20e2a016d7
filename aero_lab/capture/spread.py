"""From a chunk of raw columns to finished ones: values, what is missing, flags and codes of text, one column at a time.

What is to be done stands in a *plan*, a row of :data:`PLAN_WIDTH` numbers a finished column: what to do, where the raw
column begins for one row of capacity, its width, where the finished column begins, its width, and a bit.
"""

from __future__ import annotations

import numpy as np

from ..compiled.memory import copy, i64_native, put_u8, u8
from ..compiled.registry import BYTES, I64, READ_ONLY, entry, kernel
from . import schema as s
from .access import put_u32le, u16le, u32le

COPY, COUNT, CODES, FLAG, MISSING = range(5)
"""Copy the values; count rows from 1; numbers of texts, -1 where there is none; a bit of the values; where the bit of
``has`` is not set."""
PLAN_WIDTH = 6
A_HAS = s.AT["has"]


@kernel(I64(BYTES, I64, I64, I64, BYTES, I64))
def _missing(out, has, number, bit, finished, to):
    for i in range(number):
        put_u8(finished, to + i, 1 if u32le(out, has + 4 * i) & bit == 0 else 0)
    return 0


@kernel(I64(BYTES, I64, I64, I64, I64, BYTES, I64))
def _flag(out, at, width, number, bit, finished, to):
    if width == 1:
        for i in range(number):
            put_u8(finished, to + i, 1 if u8(out, at + i) & bit != 0 else 0)
    elif width == 2:
        for i in range(number):
            put_u8(finished, to + i, 1 if u16le(out, at + 2 * i) & bit != 0 else 0)
    else:
        for i in range(number):
            put_u8(finished, to + i, 1 if u32le(out, at + 4 * i) & bit != 0 else 0)
    return 0


@kernel(I64(BYTES, I64, I64, I64, I64, I64, BYTES, I64))
def _codes(out, at, width, has, number, bit, finished, to):
    if width == 1:
        for i in range(number):
            put_u8(finished, to + i, u8(out, at + i) if bit == 0 or u32le(out, has + 4 * i) & bit != 0 else 0xFF)
    else:
        for i in range(number):
            there = u32le(out, has + 4 * i) & bit != 0
            put_u32le(finished, to + 4 * i, u32le(out, at + 4 * i) if there else 0xFFFFFFFF)
    return 0


@entry
@kernel(I64(BYTES, I64, I64, READ_ONLY, BYTES, I64, I64))
def spread(out, rows, number, plan, finished, row, first):
    """Finish the first ``number`` rows of ``out``, a chunk of capacity ``rows``, as rows ``row`` and following of the
    columns in ``finished``; the first is frame ``first`` of the capture, counted from 1."""
    for p in range(len(plan) // (8 * PLAN_WIDTH)):
        what, raw, width = (
            i64_native(plan, 8 * PLAN_WIDTH * p), i64_native(plan, 8 * PLAN_WIDTH * p + 8),
            i64_native(plan, 8 * PLAN_WIDTH * p + 16),
        )  # fmt: skip
        to, wide, bit = (
            i64_native(plan, 8 * PLAN_WIDTH * p + 24), i64_native(plan, 8 * PLAN_WIDTH * p + 32),
            i64_native(plan, 8 * PLAN_WIDTH * p + 40),
        )  # fmt: skip
        to += wide * row
        at, has = rows * raw, rows * A_HAS
        if what == COPY:
            copy(finished, to, out, at, width * number)
        elif what == MISSING:
            _missing(out, has, number, bit, finished, to)
        elif what == FLAG:
            _flag(out, at, width, number, bit, finished, to)
        elif what == CODES:
            _codes(out, at, width, has, number, bit, finished, to)
        else:
            for i in range(number):
                put_u32le(finished, to + 4 * i, first + i)
    return number


def plan_row(what: int, raw: str, to: int, wide: int, bit: int = 0) -> list[int]:
    """One row of a plan, of the raw column of that name."""
    return [what, s.AT.get(raw, 0), s.WIDTH.get(raw, 0), to, wide, bit]


def plan_of(rows: list[list[int]]) -> np.ndarray:
    """A plan as kernels read it."""
    return np.array(rows, np.int64).reshape(-1).view(np.uint8)
