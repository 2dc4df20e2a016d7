"""Linear to physical addresses: page tables (SDM volume 3, 4.3) and the soft TLB in front of them.

An entry of the TLB serves one linear page for one privilege class (supervisor, user): the tag that reads compare with,
the tag that writes compare with, the distance from linear address to place in RAM, and whether the page is global.
A tag is the page's linear address or -1. An entry's write tag is set only when a write may go straight to
memory: the page is writable, its dirty bit is set, and it holds no decoded code. What is not whole in RAM never gets
an entry, so whoever finds a tag may read or write the page without a further check.
"""

from __future__ import annotations

from ..compiled.memory import load_field, store_field
from ..compiled.registry import BYTES, I64, VOID
from .cells import put_tlb, tlb
from .inline import kernel, out_of_line
from .limits import PAGE, TLB_ENTRIES, TLB_WORDS
from .state import CR0_PG, CR0_WP, CR4_PGE, CR4_PSE, FAULT, X_PF, C, K

ram8, ram16, ram32 = load_field(0, 1, False), load_field(0, 2, False), load_field(0, 4, False)
put_ram8, put_ram16, put_ram32 = store_field(0, 1, False), store_field(0, 2, False), store_field(0, 4, False)

USER_AT = TLB_ENTRIES * TLB_WORDS
"""Where the entries of the user class begin."""
PRESENT, WRITABLE, USER, ACCESSED, DIRTY, LARGE, GLOBAL = 1, 2, 4, 0x20, 0x40, 0x80, 0x100
OF_LARGE = 2
"""In an entry of the TLB, beside ``GLOBAL``: one 4 KB piece of a 4 MB page."""


@kernel(I64(C, I64, I64))
def page_fault(c, linear, code):
    c.cr2 = linear
    c.exc_vector = X_PF
    c.exc_error = code
    return FAULT


@kernel(I64(C, BYTES, I64))
def _entry(c, ram, at):
    """A page table entry; what is not in RAM reads as all ones, as an empty bus does."""
    at &= c.a20_mask
    return ram32(ram, at) if at <= c.ram_size - 4 else 0xFFFFFFFF


@kernel(VOID(C, BYTES, I64, I64))
def _put_entry(c, ram, at, value):
    at &= c.a20_mask
    if at <= c.ram_size - 4:
        put_ram32(ram, at, value)


@kernel(I64(C, BYTES, I64, I64, I64))
def translate(c, ram, linear, write, user):
    """The physical address of a linear one, or ``FAULT``; sets accessed and dirty bits and fills the TLB for reads."""
    out_of_line()
    flags = GLOBAL
    dirty = 1
    physical = linear
    if c.cr0 & CR0_PG:
        code = (write << 1) | (user << 2)
        directory_at = (c.cr3 & 0xFFFFF000) + ((linear >> 20) & 0xFFC)
        directory = _entry(c, ram, directory_at)
        if not directory & PRESENT:
            return page_fault(c, linear, code)
        large = (directory & LARGE) != 0 and (c.cr4 & CR4_PSE) != 0
        if large:
            entry_at = directory_at
            entry = directory
            rights = directory
            physical = (directory & 0xFFC00000) | (linear & 0x3FFFFF)
        else:
            entry_at = (directory & 0xFFFFF000) + ((linear >> 10) & 0xFFC)
            entry = _entry(c, ram, entry_at)
            if not entry & PRESENT:
                return page_fault(c, linear, code)
            rights = directory & entry
            physical = (entry & 0xFFFFF000) | (linear & 0xFFF)
        if user and not rights & USER:
            return page_fault(c, linear, code | 1)
        if write and not rights & WRITABLE and (user or c.cr0 & CR0_WP):
            return page_fault(c, linear, code | 1)
        if not large and not directory & ACCESSED:
            _put_entry(c, ram, directory_at, directory | ACCESSED)
        seen = entry | ACCESSED | (DIRTY if write else 0)
        if seen != entry:
            _put_entry(c, ram, entry_at, seen)
        dirty = seen & DIRTY
        flags = entry & GLOBAL
        if not c.cr4 & CR4_PGE:
            flags = 0
        if large:
            flags |= OF_LARGE
        if not rights & WRITABLE and (user or c.cr0 & CR0_WP):
            dirty = 0
    physical &= c.a20_mask
    if (physical | 0xFFF) < c.ram_size:
        at = ((linear >> 10) & 0xFFC) + (USER_AT if user else 0)
        page = linear & 0xFFFFF000
        if tlb(c, at) != page or tlb(c, at + 2) != physical - linear or not dirty:
            put_tlb(c, at, page)
            put_tlb(c, at + 1, -1)
        put_tlb(c, at + 2, physical - linear)
        put_tlb(c, at + 3, flags)
    return physical


@kernel(VOID(C, I64, I64))
def allow_writes(c, linear, user):
    """Set the write tag of the entry that :func:`translate` has just filled for a write."""
    at = ((linear >> 10) & 0xFFC) + (USER_AT if user else 0)
    page = linear & 0xFFFFF000
    if tlb(c, at) == page:
        put_tlb(c, at + 1, page)


@kernel(VOID(C, I64))
def forbid_writes(c, physical):
    """Take the write tags from all entries of a physical page: it holds decoded code from now on."""
    out_of_line()
    page = physical & ~0xFFF
    for i in range(2 * TLB_ENTRIES):
        tag = tlb(c, i * TLB_WORDS + 1)
        if tag >= 0 and tag + tlb(c, i * TLB_WORDS + 2) == page:
            put_tlb(c, i * TLB_WORDS + 1, -1)


@kernel(VOID(C, K, I64))
def flush_tlb(c, k, everything):
    """Drop the TLB, all of it or all but global pages; blocks have to be looked up anew."""
    out_of_line()
    for i in range(2 * TLB_ENTRIES):
        if everything or not tlb(c, i * TLB_WORDS + 3) & GLOBAL:
            put_tlb(c, i * TLB_WORDS, -1)
            put_tlb(c, i * TLB_WORDS + 1, -1)
    k.generation += 1


@kernel(VOID(C, K, I64))
def flush_page(c, k, linear):
    """INVLPG: drop one page from the TLB, and block tags if code was entered there."""
    out_of_line()
    at = (linear >> 10) & 0xFFC
    put_tlb(c, at, -1)
    put_tlb(c, at + 1, -1)
    put_tlb(c, at + USER_AT, -1)
    put_tlb(c, at + USER_AT + 1, -1)
    if c.cr4 & CR4_PSE:  # the pieces of a large page are one page
        for i in range(2 * TLB_ENTRIES):
            if tlb(c, i * TLB_WORDS + 3) & OF_LARGE and tlb(c, i * TLB_WORDS) >> 22 == linear >> 22:
                put_tlb(c, i * TLB_WORDS, -1)
                put_tlb(c, i * TLB_WORDS + 1, -1)
                k.generation += 1
    if k.linear_stamp[linear >> 12] == k.generation & 0x3FFFFFFF:
        k.generation += 1


assert PAGE == 4096 and TLB_ENTRIES == 1024 and TLB_WORDS == 4, "shifts and masks above"
