"""Large tables that cost memory only where they are used, and give it back.

A page of an anonymous mapping comes about when it is first written. numpy would ask for huge pages, of which a single
touch makes two megabytes; tables of which most is never touched, one set of them a tunnel, want small ones. Address
space is not memory: it is not reserved against swap.
"""

from __future__ import annotations

import contextlib
import mmap
from typing import Any

import numpy as np

LEAST = 1 << 20
"""Arrays smaller than this are left to numpy: they are full pages soon, or not worth a mapping."""
_FLAGS = getattr(mmap, "MAP_PRIVATE", 0) | getattr(mmap, "MAP_ANONYMOUS", 0) | getattr(mmap, "MAP_NORESERVE", 0)


def pages(size: int, dense: bool = False) -> np.ndarray:
    """``size`` zeroed bytes; ``dense`` ones are filled from the start on, so that huge pages cost little and save much
    of the work of address translation."""
    if size < LEAST or not _FLAGS:
        return np.zeros(size, np.uint8)
    memory = mmap.mmap(-1, size, flags=_FLAGS)
    if dense and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel that has none
            memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.uint8)


def give_back(array: Any, start: int, stop: int) -> None:
    """Let the system have the whole pages between two offsets of :func:`pages`; they read as zeros afterwards.

    Does nothing where the system has no such call, nor to any other array.
    """
    memory = getattr(array.base, "obj", None)
    if not isinstance(memory, mmap.mmap) or not hasattr(mmap, "MADV_DONTNEED"):
        return
    first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    size = stop // mmap.PAGESIZE * mmap.PAGESIZE - first
    if size > 0:
        memory.madvise(mmap.MADV_DONTNEED, first, size)
