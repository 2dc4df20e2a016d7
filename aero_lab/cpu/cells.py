"""Elements of the core's records, read and written without what numba does for negative indices.

``get, put = cells(dtype, "name")`` makes an accessor pair of an array field: ``get(record, i)``, ``put(record, i,
value)``. ``row(table, i)`` is one record of a table. As with the byte fields of ``compiled/memory.py`` nothing is
checked when compiled; the plain twins assert the bounds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..compiled.registry import PLAIN
from .state import CODE_DTYPE, CPU_DTYPE


def cells(dtype: np.dtype, name: str) -> tuple[Any, Any]:
    """Reader and writer of the elements of an integer array field."""
    field: Any = dtype.fields
    kind, offset = field[name][:2]
    base, (length,) = kind.subdtype
    size = base.itemsize

    if PLAIN:
        low, high = -(1 << (8 * size - 1)), 1 << (8 * size - 1)

        def plain_get(record, index):
            assert 0 <= index < length, f"{name}[{index}]"
            return getattr(record, name)[index]

        def plain_put(record, index, value):
            assert 0 <= index < length, f"{name}[{index}]"
            assert low <= value < high, f"{name}[{index}] = {value:#x}"
            getattr(record, name)[index] = value

        return plain_get, plain_put

    width = ir.IntType(8 * size)

    def place(builder, record, index):
        start = builder.bitcast(record, ir.IntType(8).as_pointer())
        start = builder.gep(start, [ir.Constant(ir.IntType(64), offset)])
        return builder.gep(builder.bitcast(start, width.as_pointer()), [index])

    @intrinsic
    def get(typingctx, record, index):
        def codegen(context, builder, signature, args):
            value = builder.load(place(builder, args[0], args[1]))
            return value if size == 8 else builder.sext(value, ir.IntType(64))

        return types.int64(record, types.int64), codegen

    @intrinsic
    def put(typingctx, record, index, value):
        def codegen(context, builder, signature, args):
            value = args[2] if size == 8 else builder.trunc(args[2], width)
            builder.store(value, place(builder, args[0], args[1]))
            return context.get_dummy_value()

        return types.void(record, types.int64, types.int64), codegen

    return get, put


def _make_row() -> Any:
    if PLAIN:
        return lambda table, index: table[index]

    @intrinsic
    def row(typingctx, table, index):
        def codegen(context, builder, signature, args):
            data = context.make_array(signature.args[0])(context, builder, value=args[0]).data
            return builder.gep(data, [args[1]])

        return table.dtype(table, types.int64), codegen

    return row


row = _make_row()
"""``row(table, i)``: record ``i``."""


def _make_divide() -> tuple[Any, Any]:
    if PLAIN:
        return (lambda a, d: (a % (1 << 64)) // d), (lambda a, d: (a % (1 << 64)) % d)

    @intrinsic
    def quotient(typingctx, a, d):
        def codegen(context, builder, signature, args):
            return builder.udiv(args[0], args[1])

        return types.int64(types.int64, types.int64), codegen

    @intrinsic
    def remainder(typingctx, a, d):
        def codegen(context, builder, signature, args):
            return builder.urem(args[0], args[1])

        return types.int64(types.int64, types.int64), codegen

    return quotient, remainder


unsigned_quotient, unsigned_remainder = _make_divide()
"""Division of the unsigned 64-bit number whose bits ``a`` has; the divisor is positive."""

gpr, put_gpr = cells(CPU_DTYPE, "gpr")
sel, put_sel = cells(CPU_DTYPE, "seg_sel")
seg_base, put_seg_base = cells(CPU_DTYPE, "seg_base")
seg_limit, put_seg_limit = cells(CPU_DTYPE, "seg_limit")
seg_attr, put_seg_attr = cells(CPU_DTYPE, "seg_attr")
rbase, put_rbase = cells(CPU_DTYPE, "seg_rbase")
wbase, put_wbase = cells(CPU_DTYPE, "seg_wbase")
tlb, put_tlb = cells(CPU_DTYPE, "tlb")
debug_register, put_debug_register = cells(CPU_DTYPE, "dr")
code_mask, put_code_mask = cells(CODE_DTYPE, "code_mask")
