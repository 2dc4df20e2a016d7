"""Memory that is packed: arrays, views of them, and the types of records.

Tables are mostly untouched, so an array is packed as its pages that are not all zeros. Two views of one array stay
views of one array. A record type is known by its name in a module of this package, because kernels want the very
object and not an equal one.
"""

from __future__ import annotations

import mmap
import os
import sys
from typing import Any

import numpy as np

from ..compiled.pages import LEAST, pages
from ..errors import UsageError

PAGE = 4096
SMALL = 16 * PAGE
"""Arrays up to this size are packed whole."""
MOST = 1 << 33
"""Bytes of the largest array that is unpacked from a file."""
PACKAGE = __name__.partition(".")[0]


def owner_of(array: np.ndarray) -> np.ndarray:
    """The array that holds the memory of a view."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def view_of(array: np.ndarray, owner: np.ndarray) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Offset, shape and strides of a view in its owner."""
    start = array.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
    return start, array.shape, array.strides


def dtype_name(dtype: np.dtype) -> str:
    """A text that :func:`dtype_named` knows the type by."""
    if dtype.names is None and dtype.subdtype is None:
        return dtype.str
    for name, module in list(sys.modules.items()):
        if name.startswith(PACKAGE + "."):
            for attribute, value in vars(module).items():
                if value is dtype and isinstance(value, np.dtype):
                    return f"{name}:{attribute}"
    raise UsageError(f"a record type that no module of {PACKAGE} names cannot be kept: {dtype}")


def dtype_named(text: str) -> np.dtype:
    """The inverse; modules that are not loaded are not looked into."""
    module, colon, attribute = text.partition(":")
    if not colon:
        found = np.dtype(text)
        if found.hasobject or found.names is not None:
            raise UsageError(f"{text!r} is no type of numbers")
        return found
    found = getattr(sys.modules.get(module), attribute, None) if module.startswith(PACKAGE + ".") else None
    if not isinstance(found, np.dtype) or found.hasobject:
        raise UsageError(f"there is no record type {text!r}")
    return found


def raw(array: np.ndarray) -> np.ndarray:
    """The bytes of an array that owns its memory."""
    if not array.flags.c_contiguous:
        raise UsageError("an array that owns its memory must be in one piece")
    return array.reshape(-1).view(np.uint8)


def touched(memory: np.ndarray) -> np.ndarray:
    """Numbers of the whole pages that are not all zeros."""
    count = len(memory) // PAGE
    rows = memory[: count * PAGE].view(np.uint64).reshape(count, PAGE // 8)
    mapped = _mapped(memory, count)
    found = []
    for start in range(0, len(mapped), 4096):  # a bounded piece at a time
        which = mapped[start : start + 4096]
        whole = len(which) and which[-1] - which[0] + 1 == len(which)
        part = rows[which[0] : which[-1] + 1] if whole else rows[which]
        likely: Any = part[:, ::64].any(axis=1)  # most are told by a few of their words; the others are looked at whole
        rest = np.flatnonzero(~likely)
        likely[rest] = part[rest].any(axis=1)
        found.append(which[likely])
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _mapped(memory: np.ndarray, count: int) -> np.ndarray:
    """Numbers of the pages that were ever used, where the system tells: looking at the others would take long, and
    make them used. Elsewhere all."""
    address = memory.__array_interface__["data"][0]
    if address % PAGE == 0 and mmap.PAGESIZE == PAGE and len(memory) >= LEAST:
        try:
            with open("/proc/self/pagemap", "rb", buffering=0) as file:
                told = np.frombuffer(os.pread(file.fileno(), 8 * count, address // PAGE * 8), np.uint64)
            if len(told) == count:
                return np.flatnonzero(told >> np.uint64(62))  # present, or swapped out
        except OSError:
            pass
    return np.arange(count)


def copy(array: np.ndarray) -> np.ndarray:
    """Another array of the same type, shape and contents; pages of zeros take no memory."""
    memory = raw(array)
    if len(memory) <= SMALL:
        return array.copy()
    new = pages(len(memory))
    which = touched(memory)
    put(new, which, rows_of(memory)[which])
    tail = len(memory) // PAGE * PAGE
    new[tail:] = memory[tail:]
    return new.view(array.dtype).reshape(array.shape)


def rows_of(memory: np.ndarray) -> np.ndarray:
    return memory[: len(memory) // PAGE * PAGE].reshape(-1, PAGE)


def put(memory: np.ndarray, which: np.ndarray, values: np.ndarray) -> None:
    """Copy pages to their places."""
    if len(which):
        rows_of(memory)[which] = values


def pack(array: np.ndarray) -> tuple[str, tuple[int, ...], int, bytes | None, bytes]:
    """An array that owns its memory as plain values: type, shape, bytes, map of pages (None: all of them), contents."""
    memory = raw(array)
    name = dtype_name(array.dtype)
    if len(memory) <= SMALL:
        return name, array.shape, len(memory), None, memory.tobytes()
    which = touched(memory)
    present = np.zeros(len(memory) // PAGE, bool)
    present[which] = True
    tail = memory[len(memory) // PAGE * PAGE :].tobytes()
    return name, array.shape, len(memory), np.packbits(present).tobytes(), rows_of(memory)[which].tobytes() + tail


def unpack(name: str, shape: tuple[int, ...], size: int, present: bytes | None, contents: bytes) -> np.ndarray:
    """The inverse; :class:`UsageError` for what does not fit together."""
    dtype = dtype_named(name)
    count = 1
    for length in shape:
        count *= length
    if not 0 <= size <= MOST or min(shape, default=1) < 0 or count * dtype.itemsize != size:
        raise UsageError("an array has a size that does not fit its shape")
    memory = pages(size)
    if present is None:
        which = np.arange(size // PAGE)
    else:
        bits = np.unpackbits(np.frombuffer(present, np.uint8))
        if len(bits) < size // PAGE:
            raise UsageError("an array's map of pages is too short")
        which = np.flatnonzero(bits[: size // PAGE])
    tail = size % PAGE
    if len(contents) != len(which) * PAGE + tail:
        raise UsageError("an array is not complete")
    held = np.frombuffer(contents, np.uint8)
    put(memory, which, held[: len(which) * PAGE].reshape(-1, PAGE))
    memory[size - tail :] = held[len(held) - tail :]
    return memory.view(dtype).reshape(shape)


def view(owner: Any, name: str, start: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
    """A view that lies in its owner; :class:`UsageError` when it would reach beyond."""
    dtype = dtype_named(name)
    if not isinstance(owner, np.ndarray) or len(shape) != len(strides):
        raise UsageError("a view of something that is no array")
    end = start + dtype.itemsize
    for length, stride in zip(shape, strides):
        if stride < 0 or length < 0:
            raise UsageError("a view that runs backwards")
        end += max(length - 1, 0) * stride
    if start < 0 or (end > owner.nbytes and all(shape)):
        raise UsageError("a view beyond its array")
    return np.ndarray(shape, dtype, raw(owner), start, strides)
