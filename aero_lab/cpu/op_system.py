"""System instructions: control and debug registers, descriptor tables, model-specific registers, CPUID, flags, HLT."""

from __future__ import annotations

from ..compiled.registry import I64
from .cells import (
    debug_register,
    gpr,
    put_debug_register,
    put_gpr,
    seg_base,
    sel,
)
from .flags import arithmetic_flags, set_arithmetic_flags
from .inline import inlined, kernel
from .memory import load, load16, load32, probe, raise_error, store16, store32
from .operands import OP, address, get8, get16, set8, set_register
from .paging import flush_page, flush_tlb
from .segments import (
    refresh_mode,
)
from .state import (
    CR0_AM,
    CR0_CD,
    CR0_EM,
    CR0_ET,
    CR0_MP,
    CR0_NE,
    CR0_NW,
    CR0_PE,
    CR0_PG,
    CR0_TS,
    CR0_WP,
    CR4_DE,
    CR4_MCE,
    CR4_OSFXSR,
    CR4_PCE,
    CR4_PGE,
    CR4_PSE,
    CR4_PVI,
    CR4_TSD,
    CR4_VME,
    EAX,
    EBX,
    ECX,
    EDX,
    EXIT_HLT,
    F_CF,
    F_DF,
    F_IF,
    F_IOPL,
    F_VM,
    LEAVE,
    NEXT,
    RESUME,
    X_BR,
    X_GP,
    X_UD,
    C,
)

M32 = 0xFFFFFFFF
FEATURES = (
    1 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 12 | 1 << 13 | 1 << 15 | 1 << 16 | 1 << 24
)  # FPU VME DE PSE TSC MSR CX8 MTRR PGE CMOV PAT FXSR
FEATURES &= ~(1 << 1)  # no virtual-8086 mode extensions
HYPERVISOR = 1 << 31
"""In ECX: not a processor of its own, so nobody looks for performance counters."""
SIGNATURE = 0x683
"""Family 6, model 8, stepping 3: a Pentium III, which it is but for SSE."""
CR0_KNOWN = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG
CR4_KNOWN = CR4_TSD | CR4_DE | CR4_PSE | CR4_MCE | CR4_PGE | CR4_PCE | CR4_OSFXSR
assert not CR4_KNOWN & (CR4_VME | CR4_PVI)


@kernel(I64(C))
def general_protection(c):
    return raise_error(c, X_GP, 0)


@kernel(OP)
def undefined(c, k, ram, e):
    return raise_error(c, X_UD, -1)


@kernel(OP)
def too_long(c, k, ram, e):
    return general_protection(c)


@inlined
@kernel(OP)
def nop(c, k, ram, e):
    return NEXT


@kernel(OP)
def flag_op(c, k, ram, e):
    """CMC CLC STC CLD STD; ``imm2`` is the low half of the opcode."""
    which = e.imm2
    flags = arithmetic_flags(c)
    if which == 5:
        set_arithmetic_flags(c, flags ^ F_CF)
    elif which == 8:
        set_arithmetic_flags(c, flags & ~F_CF)
    elif which == 9:
        set_arithmetic_flags(c, flags | F_CF)
    elif which == 12:
        c.eflags &= ~F_DF
    else:
        c.eflags |= F_DF
    return NEXT


@kernel(OP)
def lahf(c, k, ram, e):
    set8(c, 4, (arithmetic_flags(c) & 0xFF) | 2)
    return NEXT


@kernel(OP)
def sahf(c, k, ram, e):
    set_arithmetic_flags(c, (arithmetic_flags(c) & ~0xFF) | (get8(c, 4) & 0xD5))
    return NEXT


@kernel(I64(C))
def _interrupt_flag_locked(c):
    """CLI and STI need an I/O privilege level of at least the current level (SDM volume 2, CLI)."""
    return 1 if c.cr0 & CR0_PE and c.cpl > (c.eflags & F_IOPL) >> 12 else 0


@kernel(OP)
def cli(c, k, ram, e):
    if _interrupt_flag_locked(c):
        return general_protection(c)
    c.eflags &= ~F_IF
    return NEXT


@kernel(OP)
def sti(c, k, ram, e):
    if _interrupt_flag_locked(c):
        return general_protection(c)
    if not c.eflags & F_IF:
        c.eflags |= F_IF
        c.shadow = 1
    return RESUME


@kernel(OP)
def hlt(c, k, ram, e):
    if c.cpl:
        return general_protection(c)
    c.halted = 1
    c.exit = EXIT_HLT
    return LEAVE


@kernel(OP)
def bound(c, k, ram, e):
    size = e.imm2
    at = address(c, e)
    low = load(c, ram, e.seg, at, size)
    if low < 0:
        return low
    high = load(c, ram, e.seg, (at + size) & (M32 >> e.wrap), size)
    if high < 0:
        return high
    top = 1 << (8 * size - 1)
    value = ((gpr(c, e.reg) & (2 * top - 1)) ^ top) - top
    if value < (low ^ top) - top or value > (high ^ top) - top:
        return raise_error(c, X_BR, -1)
    return NEXT


@kernel(OP)
def cpuid(c, k, ram, e):
    leaf = gpr(c, EAX)
    a = b = cx = d = 0
    if leaf == 0:
        a, b, cx, d = 2, 0x756E6547, 0x6C65746E, 0x49656E69  # GenuineIntel
    elif leaf == 1 or leaf < 0x80000000 and leaf > 2:
        a, b, cx, d = SIGNATURE, 0, HYPERVISOR, FEATURES
    elif leaf == 2:
        a, b, cx, d = 0x03020101, 0, 0, 0x0C040843
    elif leaf == 0x80000000:
        a = 0x80000000
    put_gpr(c, EAX, a)
    put_gpr(c, EBX, b)
    put_gpr(c, ECX, cx)
    put_gpr(c, EDX, d)
    return NEXT


@kernel(I64(C))
def timestamp(c):
    """The time-stamp counter, kept below 2**62."""
    ticks = c.ns_base + (((c.icount - c.ns_icount) * c.ns_mult) >> 20) + c.tsc_adjust
    return ticks & 0x3FFFFFFFFFFFFFFF


@kernel(OP)
def rdtsc(c, k, ram, e):
    if c.cr4 & CR4_TSD and c.cpl:
        return general_protection(c)
    now = timestamp(c)
    put_gpr(c, EAX, now & M32)
    put_gpr(c, EDX, now >> 32)
    return NEXT


@kernel(OP)
def rdpmc(c, k, ram, e):
    return general_protection(c)


@kernel(OP)
def rdmsr(c, k, ram, e):
    if c.cpl:
        return general_protection(c)
    which = gpr(c, ECX)
    if which == 0x10:
        value = timestamp(c)
    elif which == 0x1B:
        value = c.apic_base
    elif which == 0x174:
        value = c.sysenter_cs
    elif which == 0x175:
        value = c.sysenter_esp
    elif which == 0x176:
        value = c.sysenter_eip
    elif which == 0x1A0:
        value = c.misc_enable
    elif which == 0x277:
        value = c.pat
    elif which == 0xFE:
        value = 0x508  # MTRRcap: 8 variable ranges, fixed ranges, write-combining
    elif which >= 0x200 and which < 0x210:
        value = c.mtrr[which - 0x200]
    elif which == 0x250 or which == 0x258 or which == 0x259:
        value = c.mtrr[16 + (which & 15)] if which != 0x250 else c.mtrr[27]
    elif which >= 0x268 and which < 0x270:
        value = c.mtrr[16 + (which & 7)]
    elif which == 0x2FF:
        value = c.mtrr[26]
    elif which == 0x17 or which == 0x2A or which == 0x8B or which == 0x79 or which == 0x179 or which == 0x17A:
        value = 0  # platform, power-on configuration, microcode, machine check
    else:
        return general_protection(c)
    put_gpr(c, EAX, value & M32)
    put_gpr(c, EDX, (value >> 32) & M32)
    return NEXT


@kernel(OP)
def wrmsr(c, k, ram, e):
    if c.cpl:
        return general_protection(c)
    which = gpr(c, ECX)
    high = gpr(c, EDX)
    value = (((high ^ 0x80000000) - 0x80000000) << 32) | gpr(c, EAX)
    if which == 0x10:
        c.tsc_adjust = 0
        c.tsc_adjust = (value & 0x3FFFFFFFFFFFFFFF) - timestamp(c)
    elif which == 0x1B:
        c.apic_base = value
    elif which == 0x174:
        c.sysenter_cs = value & M32
    elif which == 0x175:
        c.sysenter_esp = value & M32
    elif which == 0x176:
        c.sysenter_eip = value & M32
    elif which == 0x1A0:
        c.misc_enable = value
    elif which == 0x277:
        c.pat = value
    elif which >= 0x200 and which < 0x210:
        c.mtrr[which - 0x200] = value
    elif which == 0x250:
        c.mtrr[27] = value
    elif which == 0x258 or which == 0x259 or (which >= 0x268 and which < 0x270):
        c.mtrr[16 + (which & (15 if which < 0x260 else 7))] = value
    elif which == 0x2FF:
        c.mtrr[26] = value
    elif which != 0x8B and which != 0x79 and which != 0x17A:
        return general_protection(c)
    return RESUME


# Control registers ----------------------------------------------------------------------------------------------------


@kernel(I64(C, I64))
def _bad_cr0(c, value):
    return 1 if (value & CR0_PG and not value & CR0_PE) or (value & CR0_NW and not value & CR0_CD) else 0


@kernel(OP)
def mov_from_cr(c, k, ram, e):
    if c.cpl:
        return general_protection(c)
    if e.reg == 0:
        value = c.cr0
    elif e.reg == 2:
        value = c.cr2
    elif e.reg == 3:
        value = c.cr3
    elif e.reg == 4:
        value = c.cr4
    else:
        return raise_error(c, X_UD, -1)
    put_gpr(c, e.rm, value)
    return NEXT


@kernel(OP)
def mov_to_cr(c, k, ram, e):
    if c.cpl:
        return general_protection(c)
    value = gpr(c, e.rm)
    if e.reg == 0:
        if _bad_cr0(c, value):
            return general_protection(c)
        before = c.cr0
        c.cr0 = (value & CR0_KNOWN) | CR0_ET
        if (before ^ c.cr0) & (CR0_PG | CR0_WP | CR0_PE):
            flush_tlb(c, k, 1)
        if (before ^ c.cr0) & CR0_PE:
            refresh_mode(c)
    elif e.reg == 2:
        c.cr2 = value
    elif e.reg == 3:
        c.cr3 = value & ~0xFE7
        flush_tlb(c, k, 0)
    elif e.reg == 4:
        if value & ~CR4_KNOWN:
            return general_protection(c)
        before = c.cr4
        c.cr4 = value
        if (before ^ value) & (CR4_PSE | CR4_PGE):
            flush_tlb(c, k, 1)
    else:
        return raise_error(c, X_UD, -1)
    return RESUME


@kernel(OP)
def mov_from_dr(c, k, ram, e):
    if c.cpl:
        return general_protection(c)
    n = e.reg
    if n == 4 or n == 5:
        if c.cr4 & CR4_DE:
            return raise_error(c, X_UD, -1)
        n += 2
    put_gpr(c, e.rm, debug_register(c, n))
    return NEXT


@kernel(OP)
def mov_to_dr(c, k, ram, e):
    if c.cpl:
        return general_protection(c)
    n = e.reg
    if n == 4 or n == 5:
        if c.cr4 & CR4_DE:
            return raise_error(c, X_UD, -1)
        n += 2
    value = gpr(c, e.rm)
    if n == 6:
        value = (value & 0xE00F) | 0xFFFF0FF0
    elif n == 7:
        value = (value & 0xFFFF2FFF) | 0x400
    put_debug_register(c, n, value)
    return NEXT


@kernel(OP)
def clts(c, k, ram, e):
    if c.cpl:
        return general_protection(c)
    c.cr0 &= ~CR0_TS
    return NEXT


@kernel(OP)
def smsw_r(c, k, ram, e):
    set_register(c, e.rm, c.cr0 if e.imm2 == 4 else c.cr0 & 0xFFFF, 8 * e.imm2)
    return NEXT


@kernel(OP)
def smsw_m(c, k, ram, e):
    return store16(c, k, ram, e.seg, address(c, e), c.cr0 & 0xFFFF)


@kernel(I64(C, I64))
def _lmsw(c, value):
    c.cr0 = (c.cr0 & ~(CR0_MP | CR0_EM | CR0_TS)) | (value & 15)  # PE can be set and not cleared
    refresh_mode(c)
    return RESUME


@kernel(OP)
def lmsw_r(c, k, ram, e):
    if c.cpl:
        return general_protection(c)
    return _lmsw(c, get16(c, e.rm))


@kernel(OP)
def lmsw_m(c, k, ram, e):
    if c.cpl:
        return general_protection(c)
    value = load16(c, ram, e.seg, address(c, e))
    if value < 0:
        return value
    return _lmsw(c, value)


@kernel(OP)
def invlpg(c, k, ram, e):
    if c.cpl:
        return general_protection(c)
    flush_page(c, k, (address(c, e) + seg_base(c, e.seg)) & M32)
    return RESUME


@kernel(OP)
def privileged_nop(c, k, ram, e):
    """INVD, WBINVD: there is no cache."""
    if c.cpl:
        return general_protection(c)
    return NEXT


# Descriptor tables ----------------------------------------------------------------------------------------------------


@kernel(OP)
def store_table(c, k, ram, e):
    """SGDT, SIDT (``imm2``: bit 0 which, the width shifted by four)."""
    at = address(c, e)
    status = probe(c, ram, e.seg, at, 6)
    if status < 0:
        return status
    limit = c.idt_limit if e.imm2 & 1 else c.gdt_limit
    base = c.idt_base if e.imm2 & 1 else c.gdt_base
    status = store16(c, k, ram, e.seg, at, limit)
    return max(status, store32(c, k, ram, e.seg, (at + 2) & (M32 >> e.wrap), base))


@kernel(OP)
def load_table(c, k, ram, e):
    """LGDT, LIDT."""
    if c.cpl:
        return general_protection(c)
    at = address(c, e)
    limit = load16(c, ram, e.seg, at)
    if limit < 0:
        return limit
    base = load32(c, ram, e.seg, (at + 2) & (M32 >> e.wrap))
    if base < 0:
        return base
    if e.imm2 >> 4 == 2:
        base &= 0xFFFFFF
    if e.imm2 & 1:
        c.idt_limit = limit
        c.idt_base = base
    else:
        c.gdt_limit = limit
        c.gdt_base = base
    return NEXT


@kernel(I64(C))
def _no_descriptors(c):
    return 1 if not c.cr0 & CR0_PE or c.eflags & F_VM else 0


@kernel(OP)
def store_selector_r(c, k, ram, e):
    """SLDT, STR (``imm2``: the register, and the width shifted by four)."""
    if _no_descriptors(c):
        return raise_error(c, X_UD, -1)
    set_register(c, e.rm, sel(c, e.imm2 & 15), 8 * (e.imm2 >> 4))
    return NEXT


@kernel(OP)
def store_selector_m(c, k, ram, e):
    if _no_descriptors(c):
        return raise_error(c, X_UD, -1)
    return store16(c, k, ram, e.seg, address(c, e), sel(c, e.imm2 & 15))
