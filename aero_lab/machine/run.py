"""The loop that turns processor and board: everything that happens within a slice happens here, without the GIL.

The processor runs until the next deadline of a chip, exactly (``until``), or until it wants something: a port, a
device's memory, the vector of an interrupt, to sleep. All of that is answered here; only what a device written in
Python must answer, and what ends or interrupts a run, goes back to Python.

**Time.** The board's ``now`` and the processor's time-stamp counter are one number of nanoseconds: ``ns_base`` plus the
instructions since ``ns_icount`` at ``ns_mult`` / 2**20 ns each. With the instruction clock that is all there is, and
sleeping adds what is left to the next deadline to ``ns_base``. With the host's clock each slice begins by moving
``ns_base`` up to the host's time, and within the slice time goes on at the pace measured before; it never goes back.
"""

from __future__ import annotations

from ..compiled.registry import BYTES, I64, VOID, entry, kernel
from ..cpu.blocks import written
from ..cpu.execute import execute
from ..cpu.flags import eflags, set_eflags
from ..cpu.paging import flush_tlb
from ..cpu.segments import refresh
from ..cpu.state import (
    CODES,
    CPUS,
    EXIT_BREAKPOINT,
    EXIT_INTERRUPT_ACK,
    EXIT_MMIO_READ,
    EXIT_MMIO_WRITE,
    EXIT_PORT_IN,
    EXIT_PORT_OUT,
    EXIT_SHUTDOWN,
    EXIT_STEP,
    EXIT_X87_ERROR,
    F_IF,
    INSN_TABLE,
    C,
    K,
)
from ..cpu.state import (
    B as BLOCK_TABLE,
)
from ..nic.port import PORTS, READ, WRITE
from ..rings.frame_ring import count
from .board import B_T, BOARDS_T, EXT_NONE, EXT_READ, HOST, RUNNING
from .limits import CONSOLE_OUT, LOOK, NEVER, SLICE_TURNS
from .nics import nic_access, take_turn, tell_pci, wants_turn
from .pci import NIC, size_mask
from .pic import pic_ack, set_irq
from .ports import X87_IRQ, X87_PORT, board_advance, mmio_read, mmio_write, port_in, port_out

(
    SLICE, TIME, IDLE, ASLEEP, HALTED, STOPPED, SHUTDOWN, BREAKPOINT, STEPPED, DEVICE, MATCHED, DRAIN, FAILED, SENT,
) = range(14)  # fmt: skip
"""Why a slice ended: it was long enough; the time asked for is there; asleep, until a deadline of the host's clock, or
for ever; asleep with interrupts off; ``B.stop`` says; triple fault; breakpoint; one instruction was done; a device has
to answer; the text waited for is complete; the console has to be emptied; the core gave a reason that is none; a
network card has sent frames."""

FRACTION = 20
"""Bits of the fraction of ``ns_mult``."""
LONGEST = 3_600_000_000_000
"""Most nanoseconds looked ahead in one go: shifted by the fraction they fit 63 bits."""


@kernel(I64(C))
def now_of(c):
    """The board's time in nanoseconds since power-on."""
    return c.ns_base + ((c.icount - c.ns_icount) * c.ns_mult >> FRACTION)


@kernel(VOID(C))
def rebase(c):
    """Move the point from which instructions are counted forward, by whole units, so that nothing is rounded."""
    units = (c.icount - c.ns_icount) >> FRACTION
    c.ns_base = c.ns_base + units * c.ns_mult
    c.ns_icount = c.ns_icount + (units << FRACTION)


@kernel(I64(C, I64))
def icount_at(c, when):
    """The least instruction count at which it is ``when``."""
    ahead = min(when - c.ns_base, LONGEST)
    return c.ns_icount + ((ahead << FRACTION) + c.ns_mult - 1) // c.ns_mult


@kernel(VOID(C, B_T, I64, I64))
def follow_host(c, B, host_now, mult):
    """Begin a slice of the host's clock: up to its time, and on at ``mult``."""
    now = now_of(c)
    c.ns_base = max(now, host_now)
    c.ns_icount = c.icount
    c.ns_mult = mult


@kernel(VOID(C, K, B_T))
def apply_a20(c, k, B):
    """Let the address line follow its gate."""
    mask = -1 if B.a20 else ~0x100000
    if mask != c.a20_mask:
        c.a20_mask = mask
        flush_tlb(c, k, 1)


@kernel(I64(C, B_T, I64))
def answer(c, B, reason):
    """Do what the processor asked of the bus; 1 when a device outside the board has to."""
    now = now_of(c)
    if reason == EXIT_PORT_IN or reason == EXIT_MMIO_READ:
        if reason == EXIT_PORT_IN:
            B.port_exits = B.port_exits + 1
            value = port_in(B, now, c.io_addr, c.io_size)
        else:
            B.mmio_exits = B.mmio_exits + 1
            value = mmio_read(B, now, c.io_addr, c.io_size)
        if B.ext_kind != EXT_NONE:
            return 1
        c.io_value = value
        c.io_ready = 1
        return 0
    if reason == EXIT_PORT_OUT:
        B.port_exits = B.port_exits + 1
        port_out(B, now, c.io_addr, c.io_size, c.io_value)
        if c.io_addr == X87_PORT:
            c.ignne = 1
    else:
        B.mmio_exits = B.mmio_exits + 1
        mmio_write(B, now, c.io_addr, c.io_size, c.io_value)
    return 0 if B.ext_kind == EXT_NONE else 1


@kernel(I64(C, B_T, I64))
def doze(c, B, wake):
    """The processor sleeps: skip to ``wake``, when something is due. -1 to go on, else why the slice ends."""
    if c.eflags & F_IF == 0:
        return HALTED
    if B.intr:
        return -1
    if B.mode == HOST:
        return IDLE
    if wake >= NEVER:
        return ASLEEP
    skipped = wake - now_of(c)
    c.ns_base = c.ns_base + skipped
    B.warps = B.warps + 1
    B.warped = B.warped + skipped
    return -1


CARD = (I64, BYTES, PORTS, BYTES, BYTES, I64)
"""What the loop takes for each of the two network cards: address of its serve, its records, its port, the rings of
frames it sent and of frames for it, and the descriptor that wakes whoever takes what it sent (-1: nobody)."""


@entry
@kernel(I64(CPUS, CODES, BLOCK_TABLE, INSN_TABLE, BYTES, BOARDS_T, *CARD, *CARD, I64, I64, I64, I64, I64))
def run_slice(
    cpus, codes, blocks, insns, ram, boards,
    serve0, states0, ports0, T0, R0, bell0, serve1, states1, ports1, T1, R1, bell1,
    stop_icount, stop_ns, host_now, mult, until_sent,
):  # fmt: skip
    """Run until instruction ``stop_icount`` or time ``stop_ns``, with ``until_sent`` until a card has sent frames, or
    until something comes up; why it ended."""
    c = cpus[0]
    k = codes[0]
    B = boards[0]
    P0 = ports0[0]
    P1 = ports1[0]
    if B.mode == HOST:
        follow_host(c, B, host_now, mult)
    else:
        rebase(c)
    apply_a20(c, k, B)
    if B.in_tail != B.in_head:
        board_advance(B, now_of(c))
    for _ in range(SLICE_TURNS):
        now = now_of(c)
        if B.deadline <= now:
            board_advance(B, now)
        if P0.function and wants_turn(P0, T0, R0, now):
            take_turn(c, k, blocks, ram, B, serve0, states0, ports0, T0, R0, bell0, now)
        if P1.function and wants_turn(P1, T1, R1, now):
            take_turn(c, k, blocks, ram, B, serve1, states1, ports1, T1, R1, bell1, now)
        c.intr = B.intr
        if B.stop != RUNNING:
            return STOPPED
        if B.matched:
            return MATCHED
        if B.out_tail - B.out_head >= CONSOLE_OUT // 2:
            return DRAIN
        if until_sent and (count(T0) or count(T1)):
            return SENT
        if now >= stop_ns:
            return TIME
        if c.icount >= stop_icount:
            return SLICE
        wake = min(B.deadline, stop_ns, P0.due, P1.due)
        if c.halted and c.intr_vector < 0:
            why = doze(c, B, wake)
            if why >= 0:
                return why
            if B.intr == 0:
                continue
        if P0.function and B.mode == HOST:
            wake = min(wake, now + LOOK)
        c.until = min(stop_icount, icount_at(c, wake))
        reason = execute(c, k, blocks, insns, ram)
        B.exits = B.exits + 1
        if reason >= EXIT_PORT_IN and reason <= EXIT_MMIO_WRITE:
            if answer(c, B, reason):
                function = B.ext_function
                if B.pci_kind[function] != NIC:
                    return DEVICE
                now = now_of(c)
                read = B.ext_kind == EXT_READ
                what = READ if read else WRITE
                value = size_mask(B.ext_size)
                if function == P0.function:
                    value = nic_access(
                        c, k, blocks, ram, B, serve0, states0, ports0, T0, R0, bell0, what, B.ext_value, now
                    )
                elif function == P1.function:
                    value = nic_access(
                        c, k, blocks, ram, B, serve1, states1, ports1, T1, R1, bell1, what, B.ext_value, now
                    )
                if read:
                    c.io_value = value
                    c.io_ready = 1
                B.ext_kind = EXT_NONE
            elif reason == EXIT_PORT_OUT and c.io_addr & ~3 == 0xCFC:
                if P0.function and tell_pci(B, P0):
                    take_turn(c, k, blocks, ram, B, serve0, states0, ports0, T0, R0, bell0, now_of(c))
                if P1.function and tell_pci(B, P1):
                    take_turn(c, k, blocks, ram, B, serve1, states1, ports1, T1, R1, bell1, now_of(c))
            apply_a20(c, k, B)
        elif reason == EXIT_INTERRUPT_ACK:
            c.intr_vector = pic_ack(B)
            B.interrupts = B.interrupts + 1
        elif reason == EXIT_X87_ERROR:
            set_irq(B, X87_IRQ, 1)
        elif reason == EXIT_SHUTDOWN:
            return SHUTDOWN
        elif reason == EXIT_BREAKPOINT:
            return BREAKPOINT
        elif reason == EXIT_STEP:
            return STEPPED
    return SLICE


REFRESH, WRITTEN, GET_EFLAGS, SET_EFLAGS = range(4)


@entry
@kernel(I64(CPUS, CODES, BLOCK_TABLE, I64, I64, I64))
def core_access(cpus, codes, blocks, what, address, value):
    """What Python does to a processor that stands still: one of the above."""
    c = cpus[0]
    if what == REFRESH:
        refresh(c)
    elif what == WRITTEN:
        written(c, codes[0], blocks, address, value)
    elif what == SET_EFLAGS:
        set_eflags(c, value)
    return eflags(c)
