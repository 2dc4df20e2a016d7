"""Inner kernels, compiled for other kernels only, and entry points, which contain all they call.

numba optimises every function together with all it calls and makes machine code of the lot, so in a deep call chain the
same code is optimised and emitted once a level. Only the entry points are ever run. An inner kernel stops at its
intermediate code, which each entry point links in and optimises once; that is also what its cache entry holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite.binding import Linkage
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler


class InnerLibrary(JITCodeLibrary):
    """The intermediate code of an inner kernel."""

    def _optimize_final_module(self):
        pass

    def _finalize_final_module(self):
        self._finalize_dynamic_globals()
        self._finalized = True

    def serialize_using_object_code(self):
        return self.serialize_using_bitcode()


class EntryLibrary(JITCodeLibrary):
    """The code of an entry point with all it calls.

    What was linked in is made private before it is optimised: LLVM then inlines what has one caller and keeps no copy
    of it. Measured on the receive path: 2.9 million frames a second instead of 1.8.
    """

    def _optimize_final_module(self):
        for function in self._final_module.functions:
            if not function.is_declaration and function.linkage == Linkage.linkonce_odr:
                function.linkage = Linkage.internal
        super()._optimize_final_module()


class EntryCompiler(Compiler):
    """numba's compiler, putting the code into an :class:`EntryLibrary`."""

    def __init__(self, typingctx, targetctx, library, args, return_type, flags, locals):
        library = EntryLibrary(targetctx.codegen(), "entry")
        library.enable_object_caching()
        super().__init__(typingctx, targetctx, library, args, return_type, flags, locals)


class InnerCompiler(Compiler):
    """numba's compiler, putting the code into an :class:`InnerLibrary`."""

    def __init__(self, typingctx, targetctx, library, args, return_type, flags, locals):
        library = InnerLibrary(targetctx.codegen(), "inner")
        super().__init__(typingctx, targetctx, library, args, return_type, flags, locals)


@contextmanager
def no_executables(targetctx: Any) -> Iterator[None]:
    """Let numba finish inner kernels without asking for their machine code; the caller holds the compiler lock."""
    real = targetctx.get_executable

    def get_executable(library, fndesc, env):
        # What numba takes for the function's identity has to be unique and nothing else.
        return object() if isinstance(library, InnerLibrary) else real(library, fndesc, env)

    targetctx.get_executable = get_executable
    try:
        yield
    finally:
        del targetctx.get_executable


@contextmanager
def loading_inner(codegen: Any) -> Iterator[None]:
    """Make numba load a cache entry into an :class:`InnerLibrary`."""
    kept = codegen._library_class
    codegen._library_class = InnerLibrary
    try:
        yield
    finally:
        codegen._library_class = kept
