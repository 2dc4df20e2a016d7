"""Calls through a pointer: the loop that runs the machine does not contain the cards that are plugged into it.

A NIC's *serve* is a compiled function of its own; here is its address, and the call. In plain mode the address is the
function.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..compiled.registry import PLAIN


def address_of(serve: Any) -> Any:
    """What :data:`call_serve` takes to call this kernel; compiles or loads it. It must not be forgotten meanwhile."""
    if PLAIN:
        return serve
    serve.prepare()
    (compiled,) = serve.overloads.values()
    return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)


def _make_call() -> Any:
    if PLAIN:
        return lambda serve, *arguments: serve(*arguments)

    @intrinsic
    def call_serve(
        typingctx, serve, states, ports, ram, sent, received, what, bar, offset, size, value, now
    ):  # a variable number of arguments would travel as a tuple
        def codegen(context, builder, signature, args):
            kinds = signature.args[1:]
            function = context.call_conv.get_function_type(types.int64, kinds)
            pointer = builder.inttoptr(args[0], function.as_pointer())
            return context.call_conv.call_function(builder, pointer, types.int64, kinds, args[1:])[1]

        numbers = (types.int64,) * 6
        return types.int64(types.int64, states, ports, ram, sent, received, *numbers), codegen

    return call_serve


call_serve = _make_call()
"""``call_serve(serve, states, ports, ram, T, R, what, bar, offset, size, value, now)``: one call of a NIC. ``states``
are the bytes of its records: only it knows their type."""


def _make_ring_bell() -> Any:
    if PLAIN:
        import os

        def plain(fd):
            try:
                os.write(fd, (1).to_bytes(8, "little"))
            except OSError:
                pass  # a full pipe rings as well
            return 0

        return plain

    @intrinsic
    def ring_bell(typingctx, fd):
        def codegen(context, builder, signature, args):
            i32, i64, pointer = ir.IntType(32), ir.IntType(64), ir.IntType(8).as_pointer()
            write = cgutils.get_or_insert_function(builder.module, ir.FunctionType(i64, [i32, pointer, i64]), "write")
            one = cgutils.alloca_once_value(builder, ir.Constant(i64, 1))
            number = builder.trunc(args[0], i32)
            return builder.call(write, [number, builder.bitcast(one, pointer), ir.Constant(i64, 8)])

        return types.int64(types.int64), codegen

    return ring_bell


ring_bell = _make_ring_bell()
"""``ring_bell(fd)``: write the number 1, eight bytes, to a descriptor that does not block: it wakes an ``eventfd``."""
