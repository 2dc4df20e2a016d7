"""Reading and writing bytes inside kernels.

A *field* is made once, at import, from an offset and a width, and is then called like a function in kernels and in
plain Python alike: ``ttl = u8_field(8)`` gives ``ttl(buffer, offset)``. Multi-byte fields are big-endian, as
on the wire. Loads and stores work at any alignment, take plain ``int64`` offsets and are **not** guarded: a length
check stands before every read. Their plain-Python twins (``NUMBA_DISABLE_JIT=1``) assert what the compiled ones trust.
"""

from __future__ import annotations

import struct
import sys
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .registry import BYTES, I64, PLAIN, kernel

if sys.byteorder != "little":  # the machines numba and this package's users have; nothing below is written for others
    raise ImportError("aero_lab needs a little-endian machine")


def _check(buffer, offset: int, size: int) -> None:
    assert 0 <= offset and 0 <= size and offset + size <= len(buffer), f"{offset}+{size} outside {len(buffer)}"


def _format(size: int, big: bool) -> struct.Struct:
    """The field as Python sees it: everything fits a non-negative ``int64`` but 64-bit numbers, which are signed."""
    return struct.Struct((">" if big else "<") + {1: "B", 2: "H", 4: "I", 8: "q"}[size])


def _address(context, builder, arrayty, array, offset, delta):
    data = context.make_array(arrayty)(context, builder, value=array).data
    pointer = builder.bitcast(data, ir.IntType(8).as_pointer())
    return builder.gep(builder.gep(pointer, [offset]), [ir.Constant(ir.IntType(64), delta)])


def load_field(delta: int, size: int, big: bool) -> Any:
    """Reader of a number of ``size`` bytes (1, 2, 4 or 8) at ``offset + delta``, big-endian or in the machine's own
    order."""
    if PLAIN:
        unpack = _format(size, big).unpack_from

        def plain_load(buffer, offset):
            at = offset + delta
            assert 0 <= at <= len(buffer) - size, f"{at}+{size} outside {len(buffer)}"
            return unpack(buffer, at)[0]

        return plain_load

    @intrinsic
    def load(typingctx, buffer, offset):
        def codegen(context, builder, signature, args):
            width = ir.IntType(8 * size)
            pointer = _address(context, builder, signature.args[0], args[0], args[1], delta)
            value = builder.load(builder.bitcast(pointer, width.as_pointer()), align=1)
            if big and size > 1:
                value = builder.bswap(value)
            return value if size == 8 else builder.zext(value, ir.IntType(64))

        return types.int64(buffer, types.int64), codegen

    return load


def store_field(delta: int, size: int, big: bool) -> Any:
    """Writer of a number of ``size`` bytes (1, 2, 4 or 8) at ``offset + delta``, likewise."""
    if PLAIN:
        pack = _format(size, big).pack_into
        mask = (1 << (8 * size)) - 1
        sign = 1 << 63

        def plain_store(buffer, offset, value):
            at = offset + delta
            assert 0 <= at <= len(buffer) - size, f"{at}+{size} outside {len(buffer)}"
            raw = int(value) & mask
            pack(buffer, at, raw - (1 << 64) if raw >= sign else raw)

        return plain_store

    @intrinsic
    def store(typingctx, buffer, offset, value):
        def codegen(context, builder, signature, args):
            width = ir.IntType(8 * size)
            pointer = _address(context, builder, signature.args[0], args[0], args[1], delta)
            raw = args[2] if size == 8 else builder.trunc(args[2], width)
            if big and size > 1:
                raw = builder.bswap(raw)
            builder.store(raw, builder.bitcast(pointer, width.as_pointer()), align=1)
            return context.get_dummy_value()

        return types.void(buffer, types.int64, types.int64), codegen

    return store


def u8_field(delta: int) -> Any:
    """Reader of one byte at ``offset + delta``."""
    return load_field(delta, 1, True)


def u16_field(delta: int) -> Any:
    """Reader of a big-endian 16-bit number at ``offset + delta``."""
    return load_field(delta, 2, True)


def u32_field(delta: int) -> Any:
    """Reader of a big-endian 32-bit number at ``offset + delta``."""
    return load_field(delta, 4, True)


def u64_field(delta: int) -> Any:
    """Reader of a big-endian 64-bit number at ``offset + delta``, as a signed ``int64``."""
    return load_field(delta, 8, True)


def put_u8_field(delta: int) -> Any:
    """Writer of one byte at ``offset + delta``."""
    return store_field(delta, 1, True)


def put_u16_field(delta: int) -> Any:
    """Writer of a big-endian 16-bit number at ``offset + delta``."""
    return store_field(delta, 2, True)


def put_u32_field(delta: int) -> Any:
    """Writer of a big-endian 32-bit number at ``offset + delta``."""
    return store_field(delta, 4, True)


def put_u64_field(delta: int) -> Any:
    """Writer of a big-endian 64-bit number at ``offset + delta``."""
    return store_field(delta, 8, True)


u8, u16, u32, u64 = u8_field(0), u16_field(0), u32_field(0), u64_field(0)
put_u8, put_u16, put_u32, put_u64 = put_u8_field(0), put_u16_field(0), put_u32_field(0), put_u64_field(0)
u32_native = load_field(0, 4, False)
"""Reader of a 32-bit number in the machine's own byte order."""


def i64_native_field(delta: int) -> Any:
    """Reader of an ``int64`` in the machine's own byte order at ``offset + delta``."""
    return load_field(delta, 8, False)


def put_i64_native_field(delta: int) -> Any:
    """Writer of an ``int64`` in the machine's own byte order at ``offset + delta``."""
    return store_field(delta, 8, False)


i64_native, put_i64_native = i64_native_field(0), put_i64_native_field(0)


def _make_copy() -> Any:
    if PLAIN:

        def plain_copy(target, target_offset, source, source_offset, size):
            _check(target, target_offset, size)
            _check(source, source_offset, size)
            target[target_offset : target_offset + size] = source[source_offset : source_offset + size]

        return plain_copy

    @intrinsic
    def copy(typingctx, target, target_offset, source, source_offset, size):
        def codegen(context, builder, signature, args):
            to = _address(context, builder, signature.args[0], args[0], args[1], 0)
            of = _address(context, builder, signature.args[2], args[2], args[3], 0)
            cgutils.raw_memcpy(builder, to, of, args[4], ir.Constant(ir.IntType(64), 1))
            return context.get_dummy_value()

        return types.void(target, types.int64, source, types.int64, types.int64), codegen

    return copy


copy = _make_copy()
"""``copy(target, target_offset, source, source_offset, size)``: bytes that do not overlap."""


def _make_acquire() -> Any:
    if PLAIN:
        return load_field(0, 8, False)

    @intrinsic
    def load_acquire(typingctx, buffer, offset):
        def codegen(context, builder, signature, args):
            pointer = _address(context, builder, signature.args[0], args[0], args[1], 0)
            return builder.load_atomic(builder.bitcast(pointer, ir.IntType(64).as_pointer()), "acquire", 8)

        return types.int64(buffer, types.int64), codegen

    return load_acquire


def _make_release() -> Any:
    if PLAIN:

        def plain_store_release(buffer, offset, value):
            _check(buffer, offset, 8)
            # One store: struct.pack_into would clear the place first, for another process to see.
            buffer[offset : offset + 8].view(np.int64)[0] = value

        return plain_store_release

    @intrinsic
    def store_release(typingctx, buffer, offset, value):
        def codegen(context, builder, signature, args):
            pointer = _address(context, builder, signature.args[0], args[0], args[1], 0)
            builder.store_atomic(args[2], builder.bitcast(pointer, ir.IntType(64).as_pointer()), "release", 8)
            return context.get_dummy_value()

        return types.void(buffer, types.int64, types.int64), codegen

    return store_release


load_acquire = _make_acquire()
"""``load_acquire(buffer, offset)``: a native ``int64`` at a multiple of 8 that another thread or process stores."""
store_release = _make_release()
"""``store_release(buffer, offset, value)``: publish a native ``int64`` after the bytes it covers."""


def _make_fence() -> Any:
    if PLAIN:
        return lambda: None

    @intrinsic
    def fence(typingctx):
        def codegen(context, builder, signature, args):
            builder.fence("seq_cst")
            return context.get_dummy_value()

        return types.void(), codegen

    return fence


fence = _make_fence()
"""``fence()``: what was stored before is seen by others before what is loaded after is read."""


def _make_sum() -> Any:
    if PLAIN:

        def plain_sum(buffer, offset, size):
            _check(buffer, offset, size)
            raw = bytes(buffer[offset : offset + size]) + b"\0" * (size & 1)
            total = sum(struct.unpack(f">{len(raw) // 2}H", raw))
            while total >> 16:
                total = (total & 0xFFFF) + (total >> 16)
            return total

        return plain_sum

    @kernel(I64(BYTES, I64, I64))
    def ones_complement_sum(buffer, offset, size):
        # Words are added as the machine reads them; one swap at the end is as good as a swap of each (RFC 1071 2(B)).
        total = 0
        words = size >> 2
        for i in range(words):
            total += u32_native(buffer, offset + 4 * i)
        at = offset + 4 * words
        if size & 2:
            total += u8(buffer, at) | (u8(buffer, at + 1) << 8)
            at += 2
        if size & 1:
            total += u8(buffer, at)
        total = (total & 0xFFFFFFFF) + (total >> 32)
        total = (total & 0xFFFF) + (total >> 16)
        total = (total & 0xFFFF) + (total >> 16)
        total = (total & 0xFFFF) + (total >> 16)
        return ((total & 0xFF) << 8) | (total >> 8)

    return ones_complement_sum


ones_complement_sum = _make_sum()
"""``ones_complement_sum(buffer, offset, size)``: the sum of ``size`` bytes as big-endian 16-bit words.

RFC 1071, folded to 0..0xFFFF. An odd last byte is padded with zero. Sums of pieces that start at even distances add up.
"""
