"""Records that kernels and Python share.

Compiled kernels take structured numpy arrays. Plain Python cannot write ``row.field = value`` on those, so with
``NUMBA_DISABLE_JIT=1`` the same dtype becomes a list of slotted objects with the same field names; subarrays become
lists.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from .pages import pages
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


def new_records(dtype: np.dtype, count: int, dense: bool = False) -> Any:
    """``count`` zeroed records: a structured array, or slotted objects in plain mode; ``dense`` as in :func:`pages`."""
    if PLAIN:
        return _PlainRecords(dtype, count)
    return pages(count * dtype.itemsize, dense).view(dtype)


class _PlainCells:
    """The flat sequence that :func:`cells` gives, over slotted records."""

    def __init__(self, records: _PlainRecords):
        self._records = records
        self._words = records.dtype.itemsize >> 3
        self._names = {at: name for name, at in words_of(records.dtype).items()}

    def __getitem__(self, index: int) -> Any:
        return getattr(self._records[index // self._words], self._names[index % self._words])

    def __setitem__(self, index: int, value: Any) -> None:
        setattr(self._records[index // self._words], self._names[index % self._words], value)


def cells(records: Any) -> Any:
    """Records of 64-bit fields as one flat sequence of ``int64`` that shares their memory: from Python that is a
    quarter of the price of a field by its name. Field ``name`` of record ``i`` is number ``i * itemsize / 8 +``
    :func:`words_of` ``[name]``; of an array field the first element."""
    if PLAIN:
        return _PlainCells(records)
    return memoryview(records.view(np.int64))


def words_of(dtype: np.dtype) -> dict[str, int]:
    """Where in a record each field begins, in words of eight bytes."""
    fields: Any = dtype.fields
    return {name: fields[name][1] >> 3 for name in fields}


def to_array(records: Any, dtype: np.dtype) -> np.ndarray:
    """A structured-array copy of ``records``, in either mode (for tables and tests)."""
    if not PLAIN:
        return records.copy()
    out = np.zeros(len(records), dtype)
    for i in range(len(records)):
        for name in dtype.names or ():
            out[name][i] = getattr(records[i], name)
    return out
