"""One processor core as Python holds it: its records, and how it starts."""

from __future__ import annotations

from typing import Any

from ..compiled.records import new_records
from ..compiled.registry import I64, VOID
from .blocks import flush_blocks, written
from .flags import eflags, set_eflags
from .inline import kernel
from .limits import BLOCKS, INSNS, MAX_PAGES
from .paging import flush_tlb
from .segments import refresh
from .state import (
    BLOCK_DTYPE,
    CODE_DTYPE,
    CODES,
    CPU_DTYPE,
    CPUS,
    CR0_CD,
    CR0_ET,
    CR0_NW,
    CS,
    EDX,
    INSN_DTYPE,
    LDTR,
    TR,
    B,
    row,
)  # fmt: skip


class Core:
    """One processor: its records and the memory it runs in. The arrays go to the kernels; nothing else holds state."""

    def __init__(self, ram: Any):
        if len(ram) % 4096 or not 0 < len(ram) <= MAX_PAGES * 4096:
            raise ValueError(f"memory is whole pages up to {MAX_PAGES * 4096} bytes, not {len(ram)}")
        self.ram = ram
        self.cpu = new_records(CPU_DTYPE, 1)
        self.code = new_records(CODE_DTYPE, 1)
        self.blocks = new_records(BLOCK_DTYPE, BLOCKS, dense=True)
        self.insns = new_records(INSN_DTYPE, INSNS, dense=True)
        reset(row(self.cpu), len(ram))
        self.refresh()

    def refresh(self) -> None:
        """Rebuild what is derived from segment registers and privilege level, after they were set from Python."""
        _refresh_first(self.cpu)

    def forget(self) -> None:
        """Drop everything decoded and the TLB, after memory or page tables were changed from Python."""
        forget_code(self.cpu, self.code, self.blocks)

    @property
    def arrays(self) -> tuple[Any, ...]:
        """What the kernels take."""
        return self.cpu, self.code, self.blocks, self.insns, self.ram


@kernel(VOID(CPUS))
def _refresh_first(cpu):
    refresh(cpu[0])


@kernel(I64(CPUS))
def read_eflags(cpu):
    """EFLAGS of the first processor, arithmetic flags worked out."""
    return eflags(cpu[0])


@kernel(VOID(CPUS, I64))
def write_eflags(cpu, flags):
    set_eflags(cpu[0], flags)


@kernel(VOID(CPUS, CODES, B, I64, I64))
def code_written(cpu, code, blocks, address, size):
    """Drop what was decoded from this memory: it was written to from Python."""
    written(cpu[0], code[0], blocks, address, size)


@kernel(VOID(CPUS, CODES, B))
def forget_code(cpu, code, blocks):
    """Drop everything decoded and the TLB: after memory or page tables were changed from Python."""
    flush_blocks(code[0], blocks)
    flush_tlb(cpu[0], code[0], 1)


def reset(c: Any, ram_size: int) -> None:
    """The state after power-on (SDM volume 3, table 9-1), all in one record."""
    for name in CPU_DTYPE.names or ():
        if CPU_DTYPE[name].subdtype is None:
            setattr(c, name, 0)
        else:
            for i in range(CPU_DTYPE[name].shape[0]):
                getattr(c, name)[i] = 0
    for seg in range(8):
        c.seg_limit[seg] = 0xFFFF
        c.seg_attr[seg] = 0x93
    c.seg_attr[LDTR], c.seg_attr[TR] = 0x82, 0x8B
    c.seg_sel[CS], c.seg_base[CS], c.seg_attr[CS] = 0xF000, 0xFFFF0000, 0x9B
    c.gpr[EDX] = 0x634
    for name, value in (
        ("eip", 0xFFF0), ("cr0", CR0_ET | CR0_NW | CR0_CD), ("idt_limit", 0x3FF), ("gdt_limit", 0xFFFF),
        ("fres", 1), ("apic_base", 0xFEE00900), ("pat", 0x0007040600070406), ("ns_mult", 1 << 20),
        ("fcw", 0x37F), ("ftag", 0), ("intr_vector", -1), ("exc_error", -1),
        ("ram_size", ram_size), ("a20_mask", -1),
    ):  # fmt: skip
        setattr(c, name, value)
    c.dr[6], c.dr[7] = 0xFFFF0FF0, 0x400
    for i in range(len(c.tlb)):
        c.tlb[i] = -1
