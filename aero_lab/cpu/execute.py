"""The run loop: block after block until something outside has to happen.

Theory of operation. Between blocks ``eip`` is the next instruction's and every register is exact. A block is entered
with its whole count added to ``icount``; its instructions run one after the other through the dispatch until one gives
a status. Jumps (``TAKEN``, ``NOT_TAKEN``) are the common case and go straight to the next block: guess by the block's
link, prove by its tag (see ``blocks.py``), look it up otherwise. Every other status leads to the *boundary*, where all
that is rare is looked at in one place: written code, interrupts, the budget, single steps, breakpoints. An instruction
that did not complete takes the rest of the block's count back and leaves ``eip`` at itself.

Nothing on the way from block to block looks at interrupts: INTR changes only between two calls, and IF only by
instructions that end at the boundary. ``until`` is met exactly because a block that would pass it is entered as blocks
of one instruction, and so are the instructions after STI, under TF, and one that waits for an answer from outside.

A faster tier would hang here: a block that was entered often could carry the number of a compiled region in place of
its first operation; the region returns the same statuses as a handler.
"""

from __future__ import annotations

from ..compiled.registry import BYTES, I64, VOID
from .blocks import _at_breakpoint, drop_written, find, tag_of
from .cells import row, seg_base
from .dispatch import dispatch
from .inline import kernel
from .interrupts import deliver_exception, interrupt
from .limits import TRACE
from .state import (
    AGAIN,
    CODES,
    CPUS,
    CS,
    EXIT_BREAKPOINT,
    EXIT_BUDGET,
    EXIT_HLT,
    EXIT_INTERRUPT_ACK,
    EXIT_SHUTDOWN,
    EXIT_STEP,
    F_IF,
    F_TF,
    FAULT,
    INSN_TABLE,
    JUMPED,
    LEAVE,
    M_SINGLE,
    NEXT,
    NOT_TAKEN,
    RESUME,
    RETRY,
    STAY_OUT,
    TAKEN,
    X_DB,
    B,
    C,
    K,
)

M32 = 0xFFFFFFFF
LOST = -9
"""The next block cannot be found: the exception is pending and ``eip`` is where it happened."""


@kernel(VOID(K, I64))
def _remember(k, linear):
    k.trace[k.trace_at & (TRACE - 1)] = linear
    k.trace_at += 1


@kernel(I64(C, K, B, INSN_TABLE, BYTES, I64, I64))
def run_blocks(c, k, blocks, insns, ram, number, chain):
    """Run a block and, with ``chain`` set, those that follow it: the status that did not lead to another one."""
    tag = tag_of(c, k, 0, c.mode)  # only what leads to the boundary changes mode or generation
    while True:
        block = row(blocks, number)
        count = block.count
        c.icount += count
        at = block.start
        while True:
            e = row(insns, at)
            at += 1
            status = dispatch(c, k, ram, e)
            if status != NEXT:
                break
        if status == TAKEN:
            following = block.link_taken
        elif status == NOT_TAKEN:
            following = block.link_next
        else:
            e = row(insns, at - 1)
            done = at - block.start
            if status < 0 or status == AGAIN:
                c.eip = (c.eip + e.off - e.len) & M32
                if status < 0:
                    done -= 1
            elif status == RESUME or status == LEAVE:
                c.eip = (c.eip + e.off) & M32
            c.icount -= count - done
            return status
        if not chain:
            return JUMPED
        linear = (seg_base(c, CS) + c.eip) & M32
        if row(blocks, following).tag != linear | tag:
            if c.icount >= c.until:
                return JUMPED
            flushes = k.flushes
            following = find(c, k, blocks, insns, ram, linear, c.mode)
            if following < 0:
                return LOST
            tag = tag_of(c, k, 0, c.mode)
            if flushes == k.flushes:
                if status == TAKEN:
                    block.link_taken = following
                else:
                    block.link_next = following
        if c.icount + row(blocks, following).count > c.until:
            return JUMPED
        number = following


@kernel(I64(C, K, B, INSN_TABLE, BYTES))
def execute(c, k, blocks, insns, ram):
    """Run until ``icount`` is ``until`` or something outside has to happen: an ``EXIT_`` reason."""
    while True:
        if k.smc_count:
            drop_written(k, blocks)
        if c.intr_vector >= 0:
            vector = c.intr_vector
            c.intr_vector = -1
            c.halted = 0
            if interrupt(c, k, ram, vector, 0, -1) < 0 and deliver_exception(c, k, ram) < 0:
                c.exit = EXIT_SHUTDOWN
                return EXIT_SHUTDOWN
            continue
        if c.icount >= c.until:
            return EXIT_BUDGET
        if c.intr and c.eflags & F_IF and not c.shadow and not c.io_ready:
            return EXIT_INTERRUPT_ACK
        if c.halted:
            return EXIT_HLT
        linear = (seg_base(c, CS) + c.eip) & M32
        if c.break_count and not c.break_skip and _at_breakpoint(c, linear):
            c.break_skip = 1
            return EXIT_BREAKPOINT
        c.break_skip = 0
        trap = c.eflags & F_TF
        single = trap or c.shadow or c.stepping or c.io_ready
        c.io_used = 0
        mode = c.mode
        if single:
            mode |= M_SINGLE
        number = find(c, k, blocks, insns, ram, linear, mode)
        if number >= 0 and not single and c.icount + row(blocks, number).count > c.until:
            single = 1
            number = find(c, k, blocks, insns, ram, linear, mode | M_SINGLE)
        status = LOST
        if number >= 0:
            c.shadow = 0
            if k.tracing:
                _remember(k, linear)
            alone = single or c.break_count or k.tracing
            status = run_blocks(c, k, blocks, insns, ram, number, 0 if alone else 1)
        if status == FAULT or status == LOST:
            c.io_ready = 0
            if deliver_exception(c, k, ram) < 0:
                c.exit = EXIT_SHUTDOWN
                return EXIT_SHUTDOWN
        elif status == RETRY:
            return c.exit
        else:
            if trap:
                c.dr[6] |= 0x4000
                c.exc_vector = X_DB
                c.exc_error = -1
                if deliver_exception(c, k, ram) < 0:
                    c.exit = EXIT_SHUTDOWN
                    return EXIT_SHUTDOWN
            if status == LEAVE or status == STAY_OUT:
                return c.exit
        if c.stepping:
            return EXIT_STEP


@kernel(I64(CPUS, CODES, B, INSN_TABLE, BYTES))
def run(cpu, code, blocks, insns, ram):
    """:func:`execute` as Python calls it, without a machine around it."""
    return execute(cpu[0], code[0], blocks, insns, ram)
