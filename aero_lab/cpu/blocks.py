"""Decoded basic blocks: making them, finding them, dropping them.

A block is straight code in one physical page, up to a jump, known by the physical address of its first byte and the
mode it was decoded for. Only an instruction that reaches into the next page makes a block of its own, which belongs to
both. So a block stays right as long as the bytes do, whatever the page tables say; and a page that holds blocks has
no write tags in the TLB, so every store to it passes :func:`..memory.note_code_write`.

Finding one has three steps. Each block remembers where it went last time; the block there carries as its tag the linear
address, mode and TLB generation for which it may be entered, so one comparison proves the guess. Next comes a
table by linear address (indirect jumps), proved by the same tag. Last the address is translated and the block
looked up by physical address, or decoded, and tagged. A TLB flush starts a new generation: every tag is stale then.
"""

from __future__ import annotations

from ..compiled.registry import BYTES, I64, VOID
from .cells import cells, put_code_mask, row, seg_base, seg_limit
from .decode import CROSSES, ENDS, FALL, UNDEFINED, decode
from .inline import inlined, kernel, out_of_line
from .limits import BLOCK_INSNS, BLOCKS, HASH_HEADS, INSNS, JUMP_ENTRIES, MAX_PAGES, SMC_PAGES
from .memory import raise_error
from .paging import forbid_writes, translate
from .pairs import pair
from .state import (
    CODE_DTYPE,
    CS,
    FAULT,
    INSN_TABLE,
    M_LIMITED,
    M_SINGLE,
    M_USER,
    MODE_BITS,
    X_GP,
    X_UD,
    B,
    C,
    K,
)

M32 = 0xFFFFFFFF
GENERATIONS = 1 << 26
"""As many as fit into a tag above address and mode."""
TOO_BIG = -3
"""Instead of a block's number: it reaches beyond the limit of CS, and its first instruction perhaps not."""
hash_head, put_hash_head = cells(CODE_DTYPE, "hash_head")
page_head, put_page_head = cells(CODE_DTYPE, "page_head")
jump_block, put_jump_block = cells(CODE_DTYPE, "jump_block")
linear_stamp, put_linear_stamp = cells(CODE_DTYPE, "linear_stamp")
code_mask, _ = cells(CODE_DTYPE, "code_mask")


@kernel(I64(I64))
def _hash(key):
    return ((key >> 2) ^ (key >> 17) ^ key) & (HASH_HEADS - 1)


@kernel(VOID(K, B))
def flush_blocks(k, blocks):
    """Drop all decoded code."""
    out_of_line()
    for i in range(k.block_count):
        block = row(blocks, i)
        block.tag = -1
        block.alive = 0
        put_hash_head(k, _hash(block.key), 0)
        page = block.key >> (12 + MODE_BITS)
        put_page_head(k, page, 0)
        put_code_mask(k, page, 0)
        if block.page2 >= 0:
            put_page_head(k, block.page2, 0)
            put_code_mask(k, block.page2, 0)
    k.block_count = 0
    k.insn_count = 0
    k.flushes += 1


@kernel(VOID(K, B, I64))
def drop_page(k, blocks, page):
    """Drop the blocks of a physical page."""
    out_of_line()
    at = page_head(k, page) - 1
    while at >= 0:
        block = row(blocks, at)
        following = (block.page_next if block.key >> (12 + MODE_BITS) == page else block.page2_next) - 1
        if block.alive:
            block.alive = 0
            block.tag = -1
            k.invalidated += 1
            head = _hash(block.key)
            other = hash_head(k, head) - 1
            if other == at:
                put_hash_head(k, head, block.hash_next)
            else:
                while other >= 0 and row(blocks, other).hash_next - 1 != at:
                    other = row(blocks, other).hash_next - 1
                if other >= 0:
                    row(blocks, other).hash_next = block.hash_next
        at = following
    put_page_head(k, page, 0)
    put_code_mask(k, page, 0)


@kernel(VOID(K, B))
def drop_written(k, blocks):
    """Drop the blocks of the pages that :func:`..memory.note_code_write` noted."""
    out_of_line()
    if k.smc_count > SMC_PAGES:
        flush_blocks(k, blocks)
    else:
        for i in range(k.smc_count):
            drop_page(k, blocks, k.smc_page[i])
    k.smc_count = 0


@kernel(VOID(C, K, B, I64, I64))
def written(c, k, blocks, address, size):
    """Tell that RAM was written to from outside: a device, a loader."""
    for page in range(address >> 12, ((address + size - 1) >> 12) + 1):
        if 0 <= page < MAX_PAGES and code_mask(k, page):
            drop_page(k, blocks, page)


@kernel(VOID(C, K, I64, I64))
def _mark_code(c, k, first, last):
    """Note that these bytes of a physical page hold decoded code."""
    page = first >> 12
    mask = code_mask(k, page)
    if mask == 0:
        forbid_writes(c, first)
    for line in range((first & 0xFFF) >> 6, ((last & 0xFFF) >> 6) + 1):
        mask |= 1 << line if line < 63 else -(1 << 63)
    put_code_mask(k, page, mask)


@kernel(I64(C, I64))
def _at_breakpoint(c, linear):
    for i in range(c.break_count):
        if c.breakpoints[i] == linear:
            return 1
    return 0


@kernel(I64(C, K, B, INSN_TABLE, BYTES, I64, I64, I64))
def _make(c, k, blocks, insns, ram, linear, physical, mode):
    """Decode the block at a physical address: its number, or ``FAULT``."""
    out_of_line()
    if k.block_count >= BLOCKS or k.insn_count + BLOCK_INSNS + 2 > INSNS:
        flush_blocks(k, blocks)
    number = k.block_count
    start = k.insn_count
    most = 1 if mode & M_SINGLE else BLOCK_INSNS
    count = 0
    off = 0
    page2 = -1
    while count < most:
        room = 4096 - (physical & 0xFFF) - off
        if room <= 0:
            break
        e = row(insns, start + count)
        verdict = decode(e, ram, physical + off, room, -1, off, mode)
        if verdict == CROSSES:
            if count:
                break
            there = translate(c, ram, (linear + room) & 0xFFFFF000, 0, 1 if mode & M_USER else 0)
            if there < 0:
                return FAULT
            if there + 4096 <= c.ram_size:
                decode(e, ram, physical, room, there, 0, mode)
                page2 = there >> 12
            else:
                e.op = UNDEFINED
                e.len = room
                e.off = room
            verdict = ENDS
        count += 1
        off = e.off
        if verdict == ENDS or (c.break_count and _at_breakpoint(c, (linear + off) & M32)):
            break
    if count > 1:
        pair(row(insns, start + count - 2), row(insns, start + count - 1))
    e = row(insns, start + count)
    e.op = FALL
    e.len = 0
    e.off = off
    block = row(blocks, number)
    block.key = (physical << MODE_BITS) | mode
    block.start = start
    block.count = count
    block.size = off
    block.page2 = page2
    block.link_taken = number
    block.link_next = number
    block.alive = 1
    block.tag = -1
    head = _hash(block.key)
    block.hash_next = hash_head(k, head)
    put_hash_head(k, head, number + 1)
    page = physical >> 12
    block.page_next = page_head(k, page)
    put_page_head(k, page, number + 1)
    last = physical + off - 1
    if page2 >= 0:
        block.page2_next = page_head(k, page2)
        put_page_head(k, page2, number + 1)
        room = 4096 - (physical & 0xFFF)
        _mark_code(c, k, page2 << 12, (page2 << 12) + off - room - 1)
        last = physical | 0xFFF
    _mark_code(c, k, physical, last)
    k.block_count += 1
    k.insn_count += count + 1
    k.decoded += count
    return number


@inlined
@kernel(I64(C, K, I64, I64))
def tag_of(c, k, linear, mode):
    return linear | (mode << 32) | (k.generation << (32 + MODE_BITS))


@kernel(I64(C, K, B, INSN_TABLE, BYTES, I64, I64))
def _look_up(c, k, blocks, insns, ram, linear, mode):
    """Find a block by physical address or make it: its number, or ``FAULT``."""
    out_of_line()
    k.lookups += 1
    if k.generation >= GENERATIONS:
        flush_blocks(k, blocks)
        k.generation = 0
    user = 1 if mode & M_USER else 0
    physical = translate(c, ram, linear, 0, user)
    if physical < 0:
        return physical
    if physical >= c.ram_size:
        return raise_error(c, X_UD, -1)  # no bus gives instructions there
    key = (physical << MODE_BITS) | mode
    number = hash_head(k, _hash(key)) - 1
    while number >= 0 and row(blocks, number).key != key:
        number = row(blocks, number).hash_next - 1
    if number >= 0 and row(blocks, number).page2 >= 0:
        there = translate(c, ram, (linear + 4096) & 0xFFFFF000, 0, user)
        if there < 0:
            return there
        if there >> 12 != row(blocks, number).page2:
            drop_page(k, blocks, physical >> 12)
            number = -1
    if number < 0:
        number = _make(c, k, blocks, insns, ram, linear, physical, mode)
        if number < 0:
            return number
    block = row(blocks, number)
    stamp = k.generation & 0x3FFFFFFF
    put_linear_stamp(k, linear >> 12, stamp)
    if block.page2 >= 0:
        put_linear_stamp(k, ((linear >> 12) + 1) & 0xFFFFF, stamp)
    if mode & M_LIMITED:  # never tagged: its place in CS has to be checked each time
        if (linear - seg_base(c, CS)) & M32 > seg_limit(c, CS) - block.size + 1:
            if mode & M_SINGLE:
                return raise_error(c, X_GP, 0)
            return TOO_BIG
        return number
    block.tag = tag_of(c, k, linear, mode)
    put_jump_block(k, (linear ^ (linear >> 12)) & (JUMP_ENTRIES - 1), number)
    return number


@kernel(I64(C, K, B, INSN_TABLE, BYTES, I64, I64))
def find(c, k, blocks, insns, ram, linear, mode):
    """The block to run at a linear address: its number, or ``FAULT``."""
    guess = jump_block(k, (linear ^ (linear >> 12)) & (JUMP_ENTRIES - 1))
    if row(blocks, guess).tag == tag_of(c, k, linear, mode):
        return guess
    number = _look_up(c, k, blocks, insns, ram, linear, mode)
    if number == TOO_BIG:
        number = _look_up(c, k, blocks, insns, ram, linear, mode | M_SINGLE)
    return number
