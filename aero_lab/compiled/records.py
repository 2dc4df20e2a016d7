"""Records that kernels and Python share.

Compiled kernels take structured numpy arrays. Plain Python cannot write ``row.field = value`` on those, so with
``NUMBA_DISABLE_JIT=1`` the same dtype becomes a list of slotted objects with the same field names; subarrays become
lists.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from .registry import PLAIN


@cache
def _plain_class(dtype: np.dtype) -> type:
    names = dtype.names or ()
    return type("Record", (), {"__slots__": names, "dtype": dtype, "__doc__": f"One record of {names}."})


def _zero(dtype: np.dtype) -> Any:
    subarray: Any = dtype.subdtype
    if subarray is not None:
        base, shape = subarray
        if len(shape) > 1:
            return [_zero(np.dtype((base, shape[1:]))) for _ in range(shape[0])]
        if base.names:
            return [_zero(base) for _ in range(shape[0])]
        return [0] * shape[0]
    if dtype.names:
        record = _plain_class(dtype)()
        for name in dtype.names:
            setattr(record, name, _zero(dtype[name]))
        return record
    return 0.0 if dtype.kind == "f" else 0


class _PlainRecords:
    """Slotted records by index, each made when it is first touched: large tables cost nothing until used."""

    def __init__(self, dtype: np.dtype, count: int):
        self.dtype = dtype
        self._count = count
        self._made: dict[int, Any] = {}

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Any:
        record = self._made.get(index)
        if record is None:
            if not 0 <= index < self._count:
                raise IndexError(f"record {index} of {self._count}")
            record = self._made[index] = _zero(self.dtype)
        return record

    def __setitem__(self, index: int, record: Any) -> None:
        self._made[index] = record


def new_records(dtype: np.dtype, count: int) -> Any:
    """``count`` zeroed records: a structured array, or slotted objects in plain mode."""
    if PLAIN:
        return _PlainRecords(dtype, count)
    return np.zeros(count, dtype)


def to_array(records: Any, dtype: np.dtype) -> np.ndarray:
    """A structured-array copy of ``records``, in either mode (for tables and tests)."""
    if not PLAIN:
        return records.copy()
    out = np.zeros(len(records), dtype)
    for i in range(len(records)):
        for name in dtype.names or ():
            out[name][i] = getattr(records[i], name)
    return out
