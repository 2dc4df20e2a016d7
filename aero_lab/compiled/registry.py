"""The kernel registry: which functions are compiled, with which signature, and when.

``@kernel(signature)`` notes a function and its one signature and compiles nothing. A kernel is compiled, or loaded
from the cache, when it is first called, by Python or by another kernel that is being compiled; a caller found in
the cache brings its callees along and does not touch them. Having exactly one signature keeps numba from
compiling a callee again for every literal argument (see ``docs/numba.md``).

A kernel marked ``@entry`` is meant to be called from Python; the others are compiled without the wrapper that such a
call needs, which saves a fifth of the compile time. Calling one of those from Python (tests do) compiles it once more,
with the wrapper, and is slower per call.

With ``NUMBA_DISABLE_JIT=1`` a kernel is the plain Python function.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
from numba import types
from numba.core import cgutils
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher

from .cache import KernelCache
from .inner import EntryCompiler, InnerCompiler, no_executables

I64 = types.int64
F64 = types.float64
VOID = types.void
BYTES = types.Array(types.uint8, 1, "C")
"""A C-contiguous byte array: the only array type that travels beside records."""
READ_ONLY = types.Array(types.uint8, 1, "C", readonly=True)
"""A byte array that a kernel only reads: what ``np.frombuffer(bytes)`` gives."""

PLAIN = bool(numba.config.DISABLE_JIT)  # type: ignore[attr-defined]
"""True when kernels run as plain Python (``NUMBA_DISABLE_JIT=1``)."""

_kernels: list[_Kernel] = []

_groups = importlib.import_module("aero_lab.compiled.groups")
# Not an import statement, which the cache would follow: a name added to a list makes no compiled kernel stale.
KERNEL_MODULES: dict[str, tuple[str, ...]] = _groups.KERNEL_MODULES
ROOMS: dict[str, str] = _groups.ROOMS


def group_of(module: str) -> str:
    """The group of a module's kernels."""
    return next((group for room, group in ROOMS.items() if module.startswith(room)), "network")


@contextmanager
def _compiling() -> Iterator[None]:
    """Make numba's front end quick for as long as one kernel and its callees compile.

    Two things take a third of a cold compile and are of no use to it. The garbage collector walks numba's many
    long-lived objects again and again. And numba writes out the full text of every record type at every pass, for
    events that nobody listens to; here each is written once. The compiler lock keeps other threads out.

    Besides, numba clears every stack slot of a function on entry, which only reference counting needs and kernels have
    not: a dispatch over many calls, each with a slot for its result, spent most of its time there.
    """
    with global_compiler_lock:
        collecting = gc.isenabled()
        written = types.Record.__repr__
        alloca = cgutils.alloca_once
        texts: dict[int, tuple[Any, str]] = {}

        def repr_once(record: Any) -> str:
            known = texts.get(id(record))
            if known is None:
                known = texts[id(record)] = (record, written(record))
            return known[1]

        def alloca_bare(builder: Any, ty: Any, size: Any = None, name: str = "", zfill: bool = False) -> Any:
            with builder.goto_entry_block():
                slot = builder.alloca(ty, size=cgutils.intp_t(size) if isinstance(size, int) else size, name=name)
            if zfill:
                builder.store(ty(None), slot)
            return slot

        gc.disable()
        types.Record.__repr__ = repr_once
        cgutils.alloca_once = alloca_bare
        try:
            yield
        finally:
            types.Record.__repr__ = written
            cgutils.alloca_once = alloca
            if collecting:
                gc.enable()


_compile_depth = 0
_on_ready: Callable[[str], None] | None = None


class _Kernel(CPUDispatcher):
    """A dispatcher with one signature, compiled on first use by Python or by another kernel."""

    signature: Any = None
    variant = ""
    is_entry = False
    ready = False
    _outer: _Kernel | None = None

    def attach_cache(self) -> KernelCache:
        """The kernel's place on disk, found when it is first asked for: most kernels of a warm process never do."""
        if not isinstance(self._cache, KernelCache):
            self._cache = KernelCache(self.py_func, self.variant)
        return self._cache

    def waits_on_disk(self) -> bool:
        """Whether the kernel need not be compiled any more, only loaded when it is first called."""
        return self.attach_cache().holds(self.signature, self.targetctx)

    def prepare(self) -> None:
        """Compile the one signature, or load it from the cache; then refuse any other."""
        global _compile_depth
        if self.ready:
            return
        self.attach_cache()
        self.targetoptions["no_cfunc_wrapper"] = True
        if not self.is_entry:
            self.targetoptions["no_cpython_wrapper"] = True
        with global_compiler_lock:
            if self.ready:  # another thread was here first
                return
            _compile_depth += 1
            try:
                self._compiler.pipeline_class = EntryCompiler if self.is_entry else InnerCompiler
                if _compile_depth == 1:
                    with _compiling(), no_executables(self.targetctx):
                        self.compile(self.signature)
                else:
                    self.compile(self.signature)
            finally:
                _compile_depth -= 1
            if self.is_entry:
                self.disable_compile()
            self.ready = True
        if _on_ready is not None:
            _on_ready(self.py_func.__name__)

    def add_overload(self, cres):
        if self.is_entry:
            super().add_overload(cres)
        else:
            self.overloads[tuple(cres.signature.args)] = cres  # there is nothing in it that Python could call

    def get_call_template(self, args, kws):
        self.prepare()
        able = self._can_compile
        self._can_compile = False  # no further signatures; calls from Python must still get to _compile_for_args
        try:
            return super().get_call_template(args, kws)
        finally:
            self._can_compile = able

    def _compile_for_args(self, *args, **kws):
        # numba calls what this returns; calling the dispatcher again matches the arguments with the one signature.
        if self.is_entry:
            self.prepare()
            return self
        if self._outer is None:
            outer = _make(self.py_func, self.signature, "outer")
            outer.is_entry = True
            self._outer = outer
        return self._outer


def _make(function: Callable, signature: Any, variant: str = "") -> _Kernel:
    # Kernels own no memory: without reference counting (_nrt) array arguments cost no atomic operations a call.
    options = {"nogil": True, "nopython": True, "boundscheck": False, "error_model": "numpy", "_nrt": False}
    dispatcher = _Kernel(function, targetoptions=options)
    dispatcher.signature = signature
    dispatcher.variant = variant
    return dispatcher


def kernel(signature: Any) -> Callable[[Callable], Callable]:
    """Register a function as a kernel with one numba ``signature``, as in ``@kernel(I64(BYTES, I64))``."""

    def register(function: Callable) -> Callable:
        if PLAIN:
            return function
        dispatcher = _make(function, signature)
        _kernels.append(dispatcher)
        return dispatcher

    return register


def record_type(dtype) -> Any:
    """The numba type of one record of a structured dtype (a pointer inside kernels)."""
    return numba.from_dtype(dtype)


def records_type(dtype) -> Any:
    """The numba type of a C-contiguous array of records of a structured dtype."""
    return types.Array(numba.from_dtype(dtype), 1, "C", aligned=True)


def _entries(groups: tuple[str, ...]) -> list[_Kernel]:
    """The kernels of these groups that Python calls, their modules imported."""
    for group in groups:
        for module in KERNEL_MODULES[group]:
            importlib.import_module(module)
    return [k for k in _kernels if k.is_entry and group_of(k.py_func.__module__) in groups]


def pending(*groups: str) -> list[_Kernel]:
    """Kernels that Python calls and that would have to be compiled: neither ready here nor waiting on disk.

    Of the ``network`` group, if none is named.
    """
    if PLAIN:
        return []
    return [k for k in _entries(groups or ("network",)) if not k.ready and not k.waits_on_disk()]


def entry(function: Any) -> Any:
    """Mark a kernel as an entry point, called from Python: :func:`warmup` gets it ready."""
    if not PLAIN:
        function.is_entry = True
    return function


def warmup(progress: bool = True, *groups: str) -> int:
    """Compile every kernel that Python calls and that is not on disk yet, callees first.

    ``groups`` are ``network`` (if none is named), ``cpu`` and ``nic``. Returns how many had to be compiled. What waits
    on disk is loaded when it is first called: a warm process loads only what it uses. With ``progress`` a bar (in a
    notebook a widget) counts kernels, callees included, as soon as the work takes noticeable time.
    """
    global _on_ready
    groups = groups or ("network",)
    todo = pending(*groups)
    if not todo:
        return 0
    from tqdm.auto import tqdm  # late: it looks for notebooks and widgets

    class Bar(tqdm):
        monitor_interval = 0  # tqdm's own watching thread would outlive whoever waits here

    total = sum(not k.ready and group_of(k.py_func.__module__) in groups for k in _kernels)
    what = f"{' and '.join(groups)} kernels"
    pace = 0.1 if sys.stderr.isatty() else 1.0  # a log gets a line a second, not one a kernel
    with Bar(total=total, desc=what, unit="", leave=False, delay=0.5, mininterval=pace, disable=not progress) as bar:

        def show(name: str) -> None:
            bar.set_postfix_str(name, refresh=False)
            bar.update()

        before, _on_ready = _on_ready, show
        try:
            for dispatcher in todo:
                dispatcher.prepare()
        finally:
            _on_ready = before
        bar.update(total - bar.n)  # what came out of the cache with its caller needed no turn of its own
    return len(todo)


def unloaded(*rooms: str) -> list[_Kernel]:
    """Entry kernels of these modules (or of those below these packages) that have not been loaded yet."""
    below = tuple(room + "." for room in rooms)
    return [
        k
        for k in _kernels
        if k.is_entry and not k.ready and (k.py_func.__module__ in rooms or k.py_func.__module__.startswith(below))
    ]


def load_all(*groups: str) -> None:
    """Load every entry kernel of the groups (``network`` if none is named) now, so that what is measured next does not
    pay for loading."""
    groups = groups or ("network",)
    warmup(False, *groups)
    if not PLAIN:
        for dispatcher in _entries(groups):
            dispatcher.prepare()
