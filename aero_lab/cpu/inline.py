"""Which kernels become part of whatever calls them.

LLVM judges by size and would leave the handlers of instructions as functions; a call with the memory among its
arguments costs more than most of them do. So what is hot says so, and all of it ends up in the one function that runs
blocks.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic

from ..compiled.registry import PLAIN
from ..compiled.registry import kernel as _kernel


def kernel(signature: Any) -> Any:
    """As the registry's; says that it is not to be inlined, or numba would take that over from the first caller."""
    register = _kernel(signature)

    def made(function: Any) -> Any:
        result = register(function)
        if not PLAIN:
            result.targetoptions["forceinline"] = False
        return result

    return made


def inlined(function: Any) -> Any:
    """Mark a kernel to be inlined at each of its calls."""
    if not PLAIN:
        function.targetoptions["forceinline"] = True
    return function


def _make_out_of_line() -> Any:
    if PLAIN:
        return lambda: None

    @intrinsic
    def out_of_line(typingctx):
        def codegen(context, builder, signature, args):
            builder.function.attributes.add("noinline")
            return context.get_dummy_value()

        return types.void(), codegen

    return out_of_line


out_of_line = _make_out_of_line()
"""``out_of_line()`` in the body of a kernel keeps it a function of its own: what is rare must not take registers from
what is hot, and a kernel with many callers must not be optimised many times."""
