"""The kernel registry: which functions are compiled, with which signature, and when.

``@kernel(signature)`` notes a function and its one signature and compiles nothing. A kernel is compiled, or loaded
from the cache, when it is first called, by Python or by another kernel that is being compiled; a caller found in
the cache brings its callees along and does not touch them. Having exactly one signature keeps numba from
compiling a callee again for every literal argument (see ``docs/numba.md``).

With ``NUMBA_DISABLE_JIT=1`` a kernel is the plain Python function.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numba
from numba import types
from numba.core.registry import CPUDispatcher

from .cache import KernelCache

I64 = types.int64
F64 = types.float64
VOID = types.void
BYTES = types.Array(types.uint8, 1, "C")
"""A C-contiguous byte array: the only array type that travels beside records."""
READ_ONLY = types.Array(types.uint8, 1, "C", readonly=True)
"""A byte array that a kernel only reads: what ``np.frombuffer(bytes)`` gives."""

PLAIN = bool(numba.config.DISABLE_JIT)  # type: ignore[attr-defined]
"""True when kernels run as plain Python (``NUMBA_DISABLE_JIT=1``)."""

_kernels: list[CPUDispatcher] = []

KERNEL_MODULES = (
    "aero_lab.wire.checksum",
    "aero_lab.rings.frame_ring",
    "aero_lab.framing.l2_tunnel",
    "aero_lab.stack.core",
    "aero_lab.capture.columns",
)
"""Modules whose kernels :func:`warmup` compiles."""


class _Kernel(CPUDispatcher):
    """A dispatcher with one signature, compiled on first use by Python or by another kernel."""

    signature: Any = None

    def prepare(self) -> None:
        """Compile the one signature, or load it from the cache; then refuse any other."""
        if not self._can_compile:
            return
        self.compile(self.signature)
        self.disable_compile()

    def get_call_template(self, args, kws):
        self.prepare()
        return super().get_call_template(args, kws)

    def _compile_for_args(self, *args, **kws):
        # numba calls what this returns; calling the dispatcher again matches the arguments with the one signature.
        self.prepare()
        return self


def kernel(signature: Any) -> Callable[[Callable], Callable]:
    """Register a function as a kernel with one numba ``signature``, as in ``@kernel(I64(BYTES, I64))``."""

    def register(function: Callable) -> Callable:
        if PLAIN:
            return function
        dispatcher = _Kernel(
            function, targetoptions={"nogil": True, "nopython": True, "boundscheck": False, "error_model": "numpy"}
        )
        dispatcher.signature = signature
        dispatcher._cache = KernelCache(function)
        _kernels.append(dispatcher)
        return dispatcher

    return register


def record_type(dtype) -> Any:
    """The numba type of one record of a structured dtype (a pointer inside kernels)."""
    return numba.from_dtype(dtype)


def records_type(dtype) -> Any:
    """The numba type of a C-contiguous array of records of a structured dtype."""
    return types.Array(numba.from_dtype(dtype), 1, "C", aligned=True)


def pending() -> list[CPUDispatcher]:
    """Kernels that Python calls and that are neither loaded nor compiled in this process."""
    if PLAIN:
        return []
    for module in KERNEL_MODULES:
        importlib.import_module(module)
    return [k for k in _kernels if k._can_compile and getattr(k.py_func, "entry", False)]


def entry(function: Any) -> Any:
    """Mark a kernel as an entry point, called from Python: :func:`warmup` gets it ready."""
    if not PLAIN:
        function.py_func.entry = True
    return function


def warming() -> Iterator[tuple[int, int, str]]:
    """Get entry kernels ready one by one; yields ``(done, total, name)`` before each and once at the end."""
    todo = pending()
    for done, dispatcher in enumerate(todo):
        yield done, len(todo), dispatcher.py_func.__name__
        dispatcher.prepare()
    yield len(todo), len(todo), ""
