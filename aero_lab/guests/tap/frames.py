"""Frames between a TAP's descriptor and a frame ring, many system calls in one compiled call.

The calls go straight to libc: one ``read(2)`` or ``write(2)`` is one frame, into or out of the ring's own memory, so a
frame is copied once by the kernel and not at all by us. The GIL is released meanwhile.
"""

from __future__ import annotations

import os
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ...compiled.registry import BYTES, I64, PLAIN, entry, kernel
from ...rings.frame_ring import commit, count, descriptor, find_room, frame_len, frame_off, release

EINTR, EAGAIN = 4, 11  # Linux, every architecture that numba knows
ERROR_SHIFT = 32
"""Kernels return frames moved, and the error that stopped them this many bits further up."""


def _system_call(name: str) -> Any:
    """``name(fd, buffer, offset, size)``: the bytes moved, or minus the error number."""
    if PLAIN:

        def plain(fd, buffer, offset, size):
            assert 0 <= offset and offset + size <= len(buffer)
            view = memoryview(buffer)[offset : offset + size]
            try:
                return os.readv(fd, [view]) if name == "read" else os.write(fd, view)
            except OSError as error:
                return -(error.errno or 0)

        return plain

    @intrinsic
    def call(typingctx, fd, buffer, offset, size):
        def codegen(context, builder, signature, args):
            number, array, at, most = args
            i32, i64, pointer = ir.IntType(32), ir.IntType(64), ir.IntType(8).as_pointer()
            data = context.make_array(signature.args[1])(context, builder, value=array).data
            place = builder.gep(builder.bitcast(data, pointer), [at])
            libc = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(i64, [i32, pointer, i64]), name
            )  # fmt: skip
            errno = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(i32.as_pointer(), []), "__errno_location"
            )
            result = cgutils.alloca_once_value(builder, builder.call(libc, [builder.trunc(number, i32), place, most]))
            with builder.if_then(builder.icmp_signed("<", builder.load(result), ir.Constant(i64, 0)), likely=False):
                code = builder.load(builder.call(errno, []))
                builder.store(builder.neg(builder.zext(code, i64)), result)
            return builder.load(result)

        return types.int64(types.int64, buffer, types.int64, types.int64), codegen

    return call


read_fd = _system_call("read")
write_fd = _system_call("write")


@entry
@kernel(I64(I64, BYTES, I64, I64, I64, I64))
def read_frames(fd, ring, size, most, now, identity):
    """Read up to ``most`` frames of up to ``size`` bytes each into ``ring``, numbered by twos from ``identity``.

    Stops at a full ring, and when the descriptor gives no more (the error is then EAGAIN).
    """
    taken = 0
    error = 0
    while taken < most:
        at = find_room(ring, size)
        if at < 0:
            break
        got = read_fd(fd, ring, at, size)
        if got == -EINTR:
            continue
        if got <= 0:
            error = -got
            break
        commit(ring, at, got, now, identity + 2 * taken, -1, 0, 0)
        taken += 1
    return taken | error << ERROR_SHIFT


@entry
@kernel(I64(I64, BYTES, I64))
def write_frames(fd, ring, most):
    """Write up to ``most`` waiting frames of ``ring``. One that is refused, for whatever error, ends the call and
    stays."""
    waiting = min(count(ring), most)
    done = 0
    error = 0
    while done < waiting:
        d = descriptor(ring, done)
        sent = write_fd(fd, ring, frame_off(ring, d), frame_len(ring, d))
        if sent == -EINTR:
            continue
        if sent < 0:
            error = -sent
            break
        done += 1
    release(ring, done)
    return done | error << ERROR_SHIFT
