"""Frames in flight: their slots and bytes, the moments they wait for, and chance.

Entries and arena are used as a ring whose ends move in over freed entries. The heap holds who waits until when; those
due at the same moment come out in the order in which they began to wait.

Random numbers: each stage has a small generator (sfc32, four words of 32 bits, by C. Doty-Humphrey), which needs only
additions, shifts and masks, and so gives the same numbers compiled and in plain Python.
"""

from __future__ import annotations

from ..compiled.memory import i64_native, put_i64_native
from ..compiled.registry import BYTES, I64, VOID, kernel
from .cells import (
    ENTRY_SIZE,
    FREED,
    IN_FLIGHT,
    PLACE_SIZE,
    SLOT_BITS,
    arena_at,
    arena_size,
    entries_at,
    get_a,
    get_arena_begin,
    get_arena_end,
    get_arena_head,
    get_arena_tail,
    get_b,
    get_c,
    get_d,
    get_due,
    get_head,
    get_heap_size,
    get_hit_bytes,
    get_hits,
    get_key,
    get_order,
    get_stage,
    get_tail,
    heap_at,
    put_a,
    put_arena_begin,
    put_arena_end,
    put_arena_head,
    put_arena_tail,
    put_b,
    put_c,
    put_d,
    put_due,
    put_head,
    put_heap_size,
    put_hit_bytes,
    put_hits,
    put_key,
    put_len,
    put_off,
    put_order,
    put_stage,
    put_tail,
    slots,
)

MASK32 = 0xFFFFFFFF


@kernel(VOID(BYTES, I64, I64))
def add(pipe, cell, number):
    """Add to a counter of the header."""
    put_i64_native(pipe, cell, i64_native(pipe, cell) + number)


@kernel(I64(BYTES, I64))
def draw(pipe, s):
    """The next 32 random bits of the stage at ``s``."""
    a, b, c, d = get_a(pipe, s), get_b(pipe, s), get_c(pipe, s), get_d(pipe, s)
    out = (a + b + d) & MASK32
    put_d(pipe, s, (d + 1) & MASK32)
    put_a(pipe, s, b ^ (b >> 9))
    put_b(pipe, s, (c + (c << 3)) & MASK32)
    put_c(pipe, s, ((((c << 21) | (c >> 11)) & MASK32) + out) & MASK32)
    return out


@kernel(I64(BYTES, I64))
def entry_at(pipe, slot):
    """Offset of the entry in slot ``slot``."""
    return entries_at(pipe, 0) + ENTRY_SIZE * slot


@kernel(VOID(BYTES, I64, I64))
def wait(pipe, slot, due):
    """Put a slot on the heap until ``due``."""
    order = get_order(pipe, 0)
    put_order(pipe, 0, order + 1)
    key = (order << SLOT_BITS) | slot
    base = heap_at(pipe, 0)
    at = get_heap_size(pipe, 0)
    put_heap_size(pipe, 0, at + 1)
    while at > 0:
        parent = (at - 1) >> 1
        p = base + PLACE_SIZE * parent
        # A new key is the largest there is: at equal times the newcomer stays below.
        if get_due(pipe, p) <= due:
            break
        put_due(pipe, base + PLACE_SIZE * at, get_due(pipe, p))
        put_key(pipe, base + PLACE_SIZE * at, get_key(pipe, p))
        at = parent
    put_due(pipe, base + PLACE_SIZE * at, due)
    put_key(pipe, base + PLACE_SIZE * at, key)


@kernel(VOID(BYTES))
def drop_top(pipe):
    """Take the top off the heap."""
    base = heap_at(pipe, 0)
    size = get_heap_size(pipe, 0) - 1
    put_heap_size(pipe, 0, size)
    last = base + PLACE_SIZE * size
    due, key = get_due(pipe, last), get_key(pipe, last)
    at = 0
    while 2 * at + 1 < size:
        child = 2 * at + 1
        c = base + PLACE_SIZE * child
        if child + 1 < size:
            other = c + PLACE_SIZE
            if get_due(pipe, other) < get_due(pipe, c) or (
                get_due(pipe, other) == get_due(pipe, c) and get_key(pipe, other) < get_key(pipe, c)
            ):
                child += 1
                c = other
        if get_due(pipe, c) > due or (get_due(pipe, c) == due and get_key(pipe, c) > key):
            break
        put_due(pipe, base + PLACE_SIZE * at, get_due(pipe, c))
        put_key(pipe, base + PLACE_SIZE * at, get_key(pipe, c))
        at = child
    put_due(pipe, base + PLACE_SIZE * at, due)
    put_key(pipe, base + PLACE_SIZE * at, key)


@kernel(I64(BYTES, I64))
def find_space(pipe, size):
    """Arena cursor for a frame of ``size`` bytes, or -1 when too much is in flight."""
    in_flight = get_tail(pipe, 0) - get_head(pipe, 0)
    if in_flight >= slots(pipe, 0):
        return -1
    capacity = arena_size(pipe, 0)
    start = get_arena_tail(pipe, 0)
    at = start % capacity
    if at + size > capacity:
        start += capacity - at
    if in_flight > 0 and start + size - get_arena_head(pipe, 0) > capacity:
        return -1
    return start


@kernel(I64(BYTES, I64))
def allocate(pipe, size):
    """A slot with ``size`` bytes of arena, or -1; the caller fills in the entry."""
    start = find_space(pipe, size)
    if start < 0:
        return -1
    tail = get_tail(pipe, 0)
    slot = tail & (slots(pipe, 0) - 1)
    e = entry_at(pipe, slot)
    end = start + ((size + 7) & ~7)
    put_off(pipe, e, arena_at(pipe, 0) + start % arena_size(pipe, 0))
    put_len(pipe, e, size)
    put_arena_begin(pipe, e, get_arena_tail(pipe, 0))
    put_arena_end(pipe, e, end)
    put_arena_tail(pipe, 0, end)
    put_tail(pipe, 0, tail + 1)
    add(pipe, IN_FLIGHT, 1)
    return slot


@kernel(VOID(BYTES, I64))
def free(pipe, slot):
    """Give a slot and its bytes back."""
    put_stage(pipe, entry_at(pipe, slot), FREED)
    add(pipe, IN_FLIGHT, -1)
    head, tail, mask = get_head(pipe, 0), get_tail(pipe, 0), slots(pipe, 0) - 1
    while head < tail:
        e = entry_at(pipe, head & mask)
        if get_stage(pipe, e) != FREED:
            break
        put_arena_head(pipe, 0, get_arena_end(pipe, e))
        head += 1
    while head < tail:  # the newest are freed again at once when a stage drops what just came
        e = entry_at(pipe, (tail - 1) & mask)
        if get_stage(pipe, e) != FREED:
            break
        put_arena_tail(pipe, 0, get_arena_begin(pipe, e))
        tail -= 1
    put_head(pipe, 0, head)
    put_tail(pipe, 0, tail)
    if head == tail:
        # Begin again at the start: a link with little in flight then stays within the processor's caches.
        put_arena_head(pipe, 0, 0)
        put_arena_tail(pipe, 0, 0)


@kernel(VOID(BYTES, I64, I64))
def hit(pipe, s, size):
    """Count a frame that the stage at ``s`` acted on."""
    put_hits(pipe, s, get_hits(pipe, s) + 1)
    put_hit_bytes(pipe, s, get_hit_bytes(pipe, s) + size)
