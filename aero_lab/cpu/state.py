"""The state of the core as records: the processor, its code cache, decoded blocks, decoded instructions.

``CPU`` is what the guest can see, plus its TLB and the fields through which a driver and the core talk. ``CODE``,
``BLOCK`` and ``INSN`` hold decoded code; they can be dropped at any time and nothing the guest sees depends on them.
Registers are ``int64`` holding unsigned 32-bit values. Names of fields are the Intel SDM's where it has one.

**Arithmetic flags** are lazy: an instruction leaves its result in ``fres`` and its carries in ``faux``; see
``flags.py``. ``eflags`` holds the other flags only.

**Exits.** ``execute`` returns one of the ``EXIT_`` reasons. ``PORT_IN`` and ``MMIO_READ`` leave the instruction undone
(``eip``, ``icount`` and all registers as before it): the driver puts the answer into ``io_value``, sets ``io_ready``
and calls again; the instruction is run again and takes it. All others come after the instruction.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiled.registry import PLAIN, record_type, records_type
from .limits import (
    BREAKPOINTS,
    HASH_HEADS,
    JUMP_ENTRIES,
    LINEAR_PAGES,
    MAX_PAGES,
    SMC_PAGES,
    TLB_ENTRIES,
    TLB_WORDS,
    TRACE,
)

EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI = range(8)
NO_REG = 8
"""A register that is always 0: base or index of an address that has none."""
ES, CS, SS, DS, FS, GS, LDTR, TR = range(8)

# EFLAGS (SDM volume 1, 3.4.3)
F_CF, F_PF, F_AF, F_ZF, F_SF, F_TF, F_IF, F_DF, F_OF = 1, 4, 16, 64, 128, 256, 512, 1024, 2048
F_IOPL, F_NT, F_RF, F_VM, F_AC, F_VIF, F_VIP, F_ID = (
    0x3000,
    1 << 14,
    1 << 16,
    1 << 17,
    1 << 18,
    1 << 19,
    1 << 20,
    1 << 21,
)
F_ARITHMETIC = F_CF | F_PF | F_AF | F_ZF | F_SF | F_OF

CR0_PE, CR0_MP, CR0_EM, CR0_TS, CR0_ET, CR0_NE, CR0_WP, CR0_AM = 1, 2, 4, 8, 16, 32, 1 << 16, 1 << 18
CR0_NW, CR0_CD, CR0_PG = 1 << 29, 1 << 30, 1 << 31
CR4_VME, CR4_PVI, CR4_TSD, CR4_DE, CR4_PSE, CR4_PAE, CR4_MCE, CR4_PGE, CR4_PCE = (1 << i for i in range(9))
CR4_OSFXSR = 1 << 9

# Exceptions (SDM volume 3, 6.3)
X_DE, X_DB, X_NMI, X_BP, X_OF, X_BR, X_UD, X_NM, X_DF = range(9)
X_TS, X_NP, X_SS, X_GP, X_PF, X_MF, X_AC = 10, 11, 12, 13, 14, 16, 17

# What a handler of an instruction returns. Negative: the instruction is undone and ``eip`` is its own.
FAULT = -1
"""An exception is pending in ``exc_vector``; nothing has changed."""
RETRY = -2
"""The instruction waits for an answer from outside (``exit`` says what for); nothing has changed."""
NEXT, TAKEN, NOT_TAKEN, RESUME, LEAVE = 0, 1, 2, 3, 4
"""Go on; the block ends by a jump, or by none (``eip`` is set); the block ends behind this instruction, because what
follows may not be what was decoded; the same, and ``execute`` returns ``exit``."""
AGAIN, STAY_OUT, JUMPED = 5, 6, 7
"""A repeated string instruction did a part: run it again, or do that after ``execute`` has returned ``exit``. The
instruction has set ``eip`` and may have changed anything else."""

EXIT_NONE, EXIT_BUDGET, EXIT_PORT_IN, EXIT_PORT_OUT, EXIT_MMIO_READ, EXIT_MMIO_WRITE = range(6)
EXIT_HLT, EXIT_INTERRUPT_ACK, EXIT_SHUTDOWN, EXIT_BREAKPOINT, EXIT_STEP, EXIT_X87_ERROR = range(6, 12)
EXIT_NAMES = (
    "none", "budget", "port-in", "port-out", "mmio-read", "mmio-write", "hlt", "interrupt-ack", "shutdown",
    "breakpoint", "step", "x87-error",
)  # fmt: skip

# Modes a block was decoded for: user pages may be fetched; D of CS; B of SS; one instruction; CS has limits.
M_USER, M_CODE32, M_STACK32, M_SINGLE, M_LIMITED = 1, 2, 4, 8, 16
MODE_BITS = 5

FAR = 1 << 33
"""A segment base that no TLB tag matches: in ``seg_rbase`` or ``seg_wbase`` when an access has to be checked."""

_q = "<i8"
CPU_DTYPE = np.dtype(
    [
        # What the guest sees -----------------------------------------------------------------------------------------
        ("gpr", _q, (16,)),  # EAX..EDI; [8] is NO_REG
        ("eip", _q),
        ("fres", _q), ("faux", _q),  # arithmetic flags, lazily: flags.py
        ("eflags", _q),  # the other flags
        ("seg_sel", _q, (8,)), ("seg_base", _q, (8,)), ("seg_limit", _q, (8,)), ("seg_attr", _q, (8,)),
        ("gdt_base", _q), ("gdt_limit", _q), ("idt_base", _q), ("idt_limit", _q),
        ("cr0", _q), ("cr2", _q), ("cr3", _q), ("cr4", _q), ("dr", _q, (8,)),
        ("cpl", _q),
        ("sysenter_cs", _q), ("sysenter_esp", _q), ("sysenter_eip", _q), ("apic_base", _q), ("pat", _q),
        ("mtrr", _q, (32,)),  # as written; memory types change nothing here
        ("misc_enable", _q), ("tsc_adjust", _q),
        ("shadow", _q),  # interrupts wait for one more instruction (after STI, MOV SS, POP SS)
        ("halted", _q),
        # x87 ---------------------------------------------------------------------------------------------------------
        ("st_man", _q, (8,)), ("st_exp", _q, (8,)),  # physical registers: 64-bit significand; sign and exponent
        ("fcw", _q), ("fsw", _q), ("ftop", _q), ("ftag", _q),
        ("fip", _q), ("fcs", _q), ("fdp", _q), ("fds", _q), ("fop", _q),
        ("ignne", _q),  # level of the pin IGNNE#: go on over an exception that is reported through FERR#
        # Derived from the above: rebuilt by refresh() ----------------------------------------------------------------
        ("seg_rbase", _q, (9,)), ("seg_wbase", _q, (9,)),  # base, or FAR when an access has to be checked
        ("sp_mask", _q), ("mode", _q), ("tlb_at", _q),
        # Time and interrupts -----------------------------------------------------------------------------------------
        ("icount", _q),  # instructions retired
        ("until", _q),  # execute returns when icount is this, exactly
        ("ns_base", _q), ("ns_icount", _q), ("ns_mult", _q),  # TSC: base + ((icount - ns_icount) * mult >> 20)
        ("intr", _q), ("intr_vector", _q),  # level of the INTR pin; vector that was acknowledged, or -1
        # Memory ------------------------------------------------------------------------------------------------------
        ("ram_size", _q), ("a20_mask", _q),
        # Between an instruction and the loop that runs it ------------------------------------------------------------
        ("exc_vector", _q), ("exc_error", _q),  # error code, or -1 for exceptions that have none
        ("exit", _q),
        ("io_addr", _q), ("io_size", _q), ("io_value", _q),
        ("io_ready", _q), ("io_used", _q),  # the answer is there; an instruction has taken one
        ("x_lo", _q), ("x_hi", _q),  # memory operand of an x87 instruction: raw bits 0-63, 64-79
        ("dlo", _q), ("dhi", _q),  # the descriptor that was read last
        # Debugging ---------------------------------------------------------------------------------------------------
        ("stepping", _q),  # return EXIT_STEP after each instruction
        ("break_count", _q), ("breakpoints", _q, (BREAKPOINTS,)),  # linear addresses
        ("break_skip", _q),  # do not stop at the breakpoint where the last call stopped
        # TLB: [privilege class][entry][TLB_WORDS] --------------------------------------------------------------------
        ("tlb", _q, (2 * TLB_ENTRIES * TLB_WORDS,)),
    ]
)  # fmt: skip

VOLATILE = frozenset(
    "until intr intr_vector exc_vector exc_error exit io_addr io_size io_value io_ready io_used x_lo x_hi dlo dhi "
    "stepping break_count breakpoints break_skip".split()
)
"""Fields that say nothing about the guest while the core is between two calls of ``execute`` (``intr`` and
``intr_vector`` belong to the driver, the debugging fields to whoever debugs). A hash of the state leaves them out.
The TLB is no such field: what it holds decides when an accessed bit is set again."""

CODE_DTYPE = np.dtype(
    [
        ("generation", _q),  # tags of blocks made before the last TLB flush do not match
        ("block_count", _q), ("insn_count", _q),
        ("flushes", _q), ("decoded", _q), ("invalidated", _q), ("lookups", _q),  # statistics
        ("smc_count", _q), ("smc_page", _q, (SMC_PAGES,)),  # physical pages of code that were written to
        ("jump_tag", _q, (JUMP_ENTRIES,)), ("jump_block", "<i4", (JUMP_ENTRIES,)),
        ("hash_head", "<i4", (HASH_HEADS,)),  # by physical address: block + 1
        ("page_head", "<i4", (MAX_PAGES,)),  # blocks of a physical page: block + 1
        ("code_mask", _q, (MAX_PAGES,)),  # which 64 bytes of a physical page hold decoded code
        ("linear_stamp", "<i4", (LINEAR_PAGES,)),  # generation in which a linear page had a tagged block
        ("tracing", _q), ("trace_at", _q), ("trace", _q, (TRACE,)),  # linear addresses of the last blocks
    ]
)  # fmt: skip

BLOCK_DTYPE = np.dtype(
    [
        ("tag", _q),  # linear address, mode and generation for which it may be entered without a look-up; -1: none
        ("key", _q),  # physical address and mode
        ("start", "<i4"), ("count", "<i4"),  # instructions
        ("link_taken", "<i4"), ("link_next", "<i4"),  # where it went last time
        ("size", "<i4"),  # bytes
        ("page2", "<i4"),  # physical page that the last instruction reaches into, or -1
        ("hash_next", "<i4"), ("page_next", "<i4"), ("page2_next", "<i4"), ("alive", "<i4"),
        ("unused", _q),  # to a power of two: a block is found by a shift
    ]
)  # fmt: skip

INSN_DTYPE = np.dtype(
    [
        ("op", "<u2"), ("len", "u1"),
        ("reg", "u1"), ("rm", "u1"),  # register operands
        ("base", "u1"), ("index", "u1"), ("shift", "u1"),  # memory operand: base + (index << shift) + disp
        ("seg", "u1"),
        ("wrap", "u1"),  # 16 for 16-bit addresses, else 0
        ("off", "<u2"),  # the next instruction's distance from the start of the block
        ("disp", "<u4"), ("imm", "<u4"), ("imm2", "<u4"),
    ]
)  # fmt: skip

C, K, B, E = record_type(CPU_DTYPE), record_type(CODE_DTYPE), records_type(BLOCK_DTYPE), record_type(INSN_DTYPE)
"""Types of the processor, the code cache, the table of blocks, one decoded instruction."""
CPUS, CODES, INSN_TABLE = records_type(CPU_DTYPE), records_type(CODE_DTYPE), records_type(INSN_DTYPE)


def row(records: Any) -> Any:
    """The first record, its fields attributes to read and write in either mode: for Python, never in kernels."""
    return records[0] if PLAIN else records.view(np.recarray)[0]
