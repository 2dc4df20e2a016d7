"""String instructions and port I/O.

A repeated instruction commits its registers after each item, so an exception in the middle leaves it restartable, as
on hardware. One turn does at most ``REP_ITEMS``; then it gives ``AGAIN`` and the loop looks at clocks and interrupts
before it goes on. Turns end at the same items whatever the caches hold, so counting turns as instructions is
deterministic.
"""

from __future__ import annotations

from ..compiled.registry import BYTES, I64, VOID
from .alu import sub
from .cells import gpr, put_gpr, seg_base, seg_limit
from .flags import zero
from .inline import kernel, out_of_line
from .limits import REP_ITEMS
from .memory import load, modify, raise_error, store, system_load
from .operands import OP, get_register, set_register
from .state import (
    AGAIN,
    CR0_PE,
    EAX,
    ECX,
    EDI,
    EDX,
    ES,
    ESI,
    EXIT_PORT_IN,
    EXIT_PORT_OUT,
    F_DF,
    F_IOPL,
    F_VM,
    LEAVE,
    NEXT,
    RESUME,
    RETRY,
    STAY_OUT,
    TR,
    X_GP,
    C,
    E,
)

M32 = 0xFFFFFFFF


@kernel(VOID(C, I64, I64, I64))
def advance(c, register, by, mask):
    value = gpr(c, register)
    put_gpr(c, register, (value & ~mask) | ((value + by) & mask))


@kernel(I64(C, E))
def step(c, e):
    return -e.imm2 if c.eflags & F_DF else e.imm2 + 0


@kernel(I64(C, E, I64, I64))
def repeated(c, e, mask, status):
    """After an item: count it if the instruction repeats. ``NEXT`` to go on with the next item, else what to return,
    one more than it: 0 is taken."""
    out_of_line()
    if e.reg == 0:
        return status + 1
    advance(c, ECX, -1, mask)
    if gpr(c, ECX) & mask == 0:
        return status + 1
    if status == LEAVE:
        c.eip = (c.eip + e.off - e.len) & M32
        return STAY_OUT + 1
    if status == RESUME or c.io_used:
        return AGAIN + 1
    return 0


@kernel(OP)
def movs(c, k, ram, e):
    """``imm2``: width in bytes; ``reg``: 0 once, 1 REPNE, 2 REP; likewise in the other handlers."""
    out_of_line()
    mask = M32 >> e.wrap
    size = e.imm2
    by = step(c, e)
    if e.reg and gpr(c, ECX) & mask == 0:
        return NEXT
    for _ in range(REP_ITEMS):
        value = load(c, ram, e.seg, gpr(c, ESI) & mask, size)
        if value < 0:
            return value
        status = store(c, k, ram, ES, gpr(c, EDI) & mask, size, value)
        if status < 0:
            return status
        advance(c, ESI, by, mask)
        advance(c, EDI, by, mask)
        done = repeated(c, e, mask, status)
        if done:
            return done - 1
    return AGAIN


@kernel(OP)
def stos(c, k, ram, e):
    out_of_line()
    mask = M32 >> e.wrap
    size = e.imm2
    by = step(c, e)
    if e.reg and gpr(c, ECX) & mask == 0:
        return NEXT
    value = get_register(c, EAX, 8 * size)
    for _ in range(REP_ITEMS):
        status = store(c, k, ram, ES, gpr(c, EDI) & mask, size, value)
        if status < 0:
            return status
        advance(c, EDI, by, mask)
        done = repeated(c, e, mask, status)
        if done:
            return done - 1
    return AGAIN


@kernel(OP)
def lods(c, k, ram, e):
    out_of_line()
    mask = M32 >> e.wrap
    size = e.imm2
    by = step(c, e)
    if e.reg and gpr(c, ECX) & mask == 0:
        return NEXT
    for _ in range(REP_ITEMS):
        value = load(c, ram, e.seg, gpr(c, ESI) & mask, size)
        if value < 0:
            return value
        set_register(c, EAX, value, 8 * size)
        advance(c, ESI, by, mask)
        done = repeated(c, e, mask, NEXT)
        if done:
            return done - 1
    return AGAIN


@kernel(OP)
def scas(c, k, ram, e):
    out_of_line()
    mask = M32 >> e.wrap
    size = e.imm2
    by = step(c, e)
    if e.reg and gpr(c, ECX) & mask == 0:
        return NEXT
    for _ in range(REP_ITEMS):
        value = load(c, ram, ES, gpr(c, EDI) & mask, size)
        if value < 0:
            return value
        sub(c, get_register(c, EAX, 8 * size), value, 8 * size)
        advance(c, EDI, by, mask)
        done = repeated(c, e, mask, NEXT)
        if e.reg and zero(c) != e.reg - 1:
            return NEXT
        if done:
            return done - 1
    return AGAIN


@kernel(OP)
def cmps(c, k, ram, e):
    out_of_line()
    mask = M32 >> e.wrap
    size = e.imm2
    by = step(c, e)
    if e.reg and gpr(c, ECX) & mask == 0:
        return NEXT
    for _ in range(REP_ITEMS):
        other = load(c, ram, ES, gpr(c, EDI) & mask, size)
        if other < 0:
            return other
        value = load(c, ram, e.seg, gpr(c, ESI) & mask, size)
        if value < 0:
            return value
        sub(c, value, other, 8 * size)
        advance(c, ESI, by, mask)
        advance(c, EDI, by, mask)
        done = repeated(c, e, mask, NEXT)
        if e.reg and zero(c) != e.reg - 1:
            return NEXT
        if done:
            return done - 1
    return AGAIN


# Ports ----------------------------------------------------------------------------------------------------------------


@kernel(I64(C, BYTES, I64, I64))
def check_ports(c, ram, port, size):
    """May the current privilege level use these ports (SDM volume 1, 18.5)? 0 or negative."""
    if not c.cr0 & CR0_PE or (c.cpl <= (c.eflags & F_IOPL) >> 12 and not c.eflags & F_VM):
        return 0
    limit = seg_limit(c, TR)
    if limit < 103:
        return raise_error(c, X_GP, 0)
    base = seg_base(c, TR)
    start = system_load(c, ram, base + 102, 2)
    if start < 0:
        return start
    at = start + (port >> 3)
    if at + 1 > limit:
        return raise_error(c, X_GP, 0)
    bits = system_load(c, ram, base + at, 2)
    if bits < 0:
        return bits
    if (bits >> (port & 7)) & ((1 << size) - 1):
        return raise_error(c, X_GP, 0)
    return 0


@kernel(I64(C, I64, I64))
def port_read(c, port, size):
    """Take the answer of a port, or ask for it."""
    if c.io_ready:
        c.io_ready = 0
        c.io_used = 1
        return c.io_value & ((1 << (8 * size)) - 1)
    c.exit = EXIT_PORT_IN
    c.io_addr = port
    c.io_size = size
    return RETRY


@kernel(I64(C, I64, I64, I64))
def port_write(c, port, size, value):
    c.exit = EXIT_PORT_OUT
    c.io_addr = port
    c.io_size = size
    c.io_value = value
    return LEAVE


@kernel(OP)
def in_(c, k, ram, e):
    """``imm2``: width in bytes; bit 4: the port is in DX, else it is ``imm``."""
    size = e.imm2 & 7
    port = gpr(c, EDX) & 0xFFFF if e.imm2 & 16 else e.imm + 0
    status = check_ports(c, ram, port, size)
    if status < 0:
        return status
    value = port_read(c, port, size)
    if value < 0:
        return value
    set_register(c, EAX, value, 8 * size)
    return NEXT


@kernel(OP)
def out(c, k, ram, e):
    size = e.imm2 & 7
    port = gpr(c, EDX) & 0xFFFF if e.imm2 & 16 else e.imm + 0
    status = check_ports(c, ram, port, size)
    if status < 0:
        return status
    return port_write(c, port, size, get_register(c, EAX, 8 * size))


@kernel(OP)
def ins(c, k, ram, e):
    mask = M32 >> e.wrap
    size = e.imm2
    if e.reg and gpr(c, ECX) & mask == 0:
        return NEXT
    port = gpr(c, EDX) & 0xFFFF
    status = check_ports(c, ram, port, size)
    if status < 0:
        return status
    at = gpr(c, EDI) & mask
    if not c.io_ready:  # where it goes has to be writable before the port is read
        old = modify(c, ram, ES, at, size)
        if old == -1:
            return old
    value = port_read(c, port, size)
    if value < 0:
        return value
    status = store(c, k, ram, ES, at, size, value)
    if status < 0:
        return status
    advance(c, EDI, step(c, e), mask)
    done = repeated(c, e, mask, status)
    return done - 1 if done else AGAIN


@kernel(OP)
def outs(c, k, ram, e):
    mask = M32 >> e.wrap
    size = e.imm2
    if e.reg and gpr(c, ECX) & mask == 0:
        return NEXT
    port = gpr(c, EDX) & 0xFFFF
    status = check_ports(c, ram, port, size)
    if status < 0:
        return status
    value = load(c, ram, e.seg, gpr(c, ESI) & mask, size)
    if value < 0:
        return value
    advance(c, ESI, step(c, e), mask)
    return repeated(c, e, mask, port_write(c, port, size, value)) - 1
