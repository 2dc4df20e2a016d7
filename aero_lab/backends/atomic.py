"""32-bit words that several producers change: loads and stores with order, and compare-and-swap."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..compiled.memory import load_field, store_field
from ..compiled.registry import PLAIN

_load, _store = load_field(0, 4, False), store_field(0, 4, False)


def _word(context, builder, kind, array, offset):
    data = context.make_array(kind)(context, builder, value=array).data
    place = builder.gep(builder.bitcast(data, ir.IntType(8).as_pointer()), [offset])
    return builder.bitcast(place, ir.IntType(32).as_pointer())


def _make_load() -> Any:
    if PLAIN:
        return _load

    @intrinsic
    def load32(typingctx, buffer, offset):
        def codegen(context, builder, signature, args):
            word = _word(context, builder, signature.args[0], args[0], args[1])
            return builder.zext(builder.load_atomic(word, "acquire", 4), ir.IntType(64))

        return types.int64(buffer, types.int64), codegen

    return load32


def _make_store() -> Any:
    if PLAIN:
        return _store

    @intrinsic
    def store32(typingctx, buffer, offset, value):
        def codegen(context, builder, signature, args):
            word = _word(context, builder, signature.args[0], args[0], args[1])
            builder.store_atomic(builder.trunc(args[2], ir.IntType(32)), word, "release", 4)
            return context.get_dummy_value()

        return types.void(buffer, types.int64, types.int64), codegen

    return store32


def _make_swap() -> Any:
    if PLAIN:

        def plain(buffer, offset, expected, value):
            if _load(buffer, offset) != expected:
                return 0
            _store(buffer, offset, value)
            return 1

        return plain

    @intrinsic
    def swap32(typingctx, buffer, offset, expected, value):
        def codegen(context, builder, signature, args):
            word = _word(context, builder, signature.args[0], args[0], args[1])
            old, new = (builder.trunc(number, ir.IntType(32)) for number in args[2:])
            done = builder.extract_value(builder.cmpxchg(word, old, new, "acq_rel", "acquire"), 1)
            return builder.zext(done, ir.IntType(64))

        return types.int64(buffer, types.int64, types.int64, types.int64), codegen

    return swap32


def _make_yield() -> Any:
    if PLAIN:
        import os

        def plain():
            os.sched_yield() if hasattr(os, "sched_yield") else None
            return 0

        return plain

    @intrinsic
    def let_others_run(typingctx):
        def codegen(context, builder, signature, args):
            i32 = ir.IntType(32)
            call = cgutils.get_or_insert_function(builder.module, ir.FunctionType(i32, []), "sched_yield")
            return builder.zext(builder.call(call, []), ir.IntType(64))

        return types.int64(), codegen

    return let_others_run


let_others_run = _make_yield()
"""``let_others_run()``: who waits for another gives it the processor."""
load32 = _make_load()
"""``load32(buffer, offset)``: what is read after it was written before whoever stored this word."""
store32 = _make_store()
"""``store32(buffer, offset, value)``: what was written before is seen by whoever loads this word."""
swap32 = _make_swap()
"""``swap32(buffer, offset, expected, value)``: 1 when the word was as expected and is now ``value``, else 0."""
