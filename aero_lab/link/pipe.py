"""The compiled part of a link direction: frames that wait for a moment.

Theory of operation
-------------------
A *pipe* is one byte array: a header, a table of stages, entries for the frames in flight, a heap of the moments they
wait for, and an arena with their bytes. A frame is taken from the input ring into an entry and advanced through the
stages at the present time. A stage acts at once (loses, copies, corrupts) or makes it wait: its entry goes on the
heap with a due time and the number of the stage that comes next. When the heap's top is due it is advanced from there,
*at its due time*, so a late driver changes nothing. Past the last stage the frame waits for room in the output ring.

Frames due at the same moment leave in the order in which they began to wait. Entries and arena are used as a ring whose
ends move in over freed entries; when no slot is free, frames wait in the input ring.

Random numbers: each stage has a small generator (sfc32, four words of 32 bits, by C. Doty-Humphrey), which needs only
additions, shifts and masks, and so gives the same numbers compiled and in plain Python.
"""

from __future__ import annotations

from ..causes import Cause
from ..compiled.memory import copy, i64_native, i64_native_field, put_i64_native, put_i64_native_field, put_u8, u8
from ..compiled.registry import BYTES, I64, VOID, entry, kernel
from ..limits import NEVER
from ..rings.frame_ring import (
    arena_size as ring_arena_size,
)
from ..rings.frame_ring import (
    cause,
    commit,
    count,
    descriptor,
    find_room,
    flags,
    flow,
    frame_id,
    frame_len,
    frame_off,
    release,
)
from .stages import CORRUPT, DELAY, DUPLICATE, HOLD, LOSS, RATE, REORDER

MASK32 = 0xFFFFFFFF
CAUSE_DUPLICATE = int(Cause.DUPLICATE)

# Header.
STAGE_COUNT, SLOTS, ARENA_SIZE, ENTRIES, HEAP, ARENA = 0, 8, 16, 24, 32, 40
HEAD, TAIL, ARENA_HEAD, ARENA_TAIL, HEAP_SIZE, ORDER = 64, 72, 80, 88, 96, 104
FRAMES_IN, BYTES_IN, FRAMES_OUT, BYTES_OUT, OVERSIZE, COPIES_REFUSED, IN_FLIGHT = 128, 136, 144, 152, 160, 168, 176
stage_count, slots, arena_size = i64_native_field(STAGE_COUNT), i64_native_field(SLOTS), i64_native_field(ARENA_SIZE)
entries_at, heap_at, arena_at = i64_native_field(ENTRIES), i64_native_field(HEAP), i64_native_field(ARENA)
get_head, put_head = i64_native_field(HEAD), put_i64_native_field(HEAD)
get_tail, put_tail = i64_native_field(TAIL), put_i64_native_field(TAIL)
get_arena_head, put_arena_head = i64_native_field(ARENA_HEAD), put_i64_native_field(ARENA_HEAD)
get_arena_tail, put_arena_tail = i64_native_field(ARENA_TAIL), put_i64_native_field(ARENA_TAIL)
get_heap_size, put_heap_size = i64_native_field(HEAP_SIZE), put_i64_native_field(HEAP_SIZE)
get_order, put_order = i64_native_field(ORDER), put_i64_native_field(ORDER)

# A stage.
STAGE_TABLE, STAGE_SIZE = 256, 128
STAGE_KEPT = 48
"""Where in a stage its parameters end, and what it keeps in mind begins."""
STAGE_CELLS = {
    "kind": 0,
    "p": 8,
    "ns": 16,
    "spread": 24,
    "rate": 32,
    "limit": 40,
    "random": 72,
    "hits": 104,
    "bytes": 112,
}
get_kind, get_p, get_ns, get_spread = (
    i64_native_field(0),
    i64_native_field(8),
    i64_native_field(16),
    i64_native_field(24),
)
get_rate, get_limit = i64_native_field(32), i64_native_field(40)
get_busy_until, put_busy_until = i64_native_field(48), put_i64_native_field(48)
get_remainder, put_remainder = i64_native_field(56), put_i64_native_field(56)
get_last_due, put_last_due = i64_native_field(64), put_i64_native_field(64)
get_a, put_a = i64_native_field(72), put_i64_native_field(72)
get_b, put_b = i64_native_field(80), put_i64_native_field(80)
get_c, put_c = i64_native_field(88), put_i64_native_field(88)
get_d, put_d = i64_native_field(96), put_i64_native_field(96)
get_hits, put_hits = i64_native_field(104), put_i64_native_field(104)
get_hit_bytes, put_hit_bytes = i64_native_field(112), put_i64_native_field(112)

# An entry: a frame in flight.
ENTRY_SIZE = 72
FREED = -1
get_off, put_off = i64_native_field(0), put_i64_native_field(0)
get_len, put_len = i64_native_field(8), put_i64_native_field(8)
get_id, put_id = i64_native_field(16), put_i64_native_field(16)
get_flow, put_flow = i64_native_field(24), put_i64_native_field(24)
get_cause, put_cause = i64_native_field(32), put_i64_native_field(32)
get_flags, put_flags = i64_native_field(40), put_i64_native_field(40)
ENTRY_STAGE = 48
get_stage, put_stage = i64_native_field(ENTRY_STAGE), put_i64_native_field(ENTRY_STAGE)
get_arena_end, put_arena_end = i64_native_field(56), put_i64_native_field(56)
get_arena_begin, put_arena_begin = i64_native_field(64), put_i64_native_field(64)

# A place on the heap: due time, then order of arrival and slot in one number.
PLACE_SIZE = 16
SLOT_BITS = 16
get_due, put_due = i64_native_field(0), put_i64_native_field(0)
get_key, put_key = i64_native_field(8), put_i64_native_field(8)


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


@kernel(I64(BYTES, I64, I64, I64))
def line(pipe, s, size, now):
    """Time at which the line at ``s`` has sent ``size`` bytes that come at ``now``, or -1 when its queue is full."""
    start = get_busy_until(pipe, s)
    rest = get_remainder(pipe, s)
    if start <= now:
        start = now
        rest = 0
    bits = size * 8_000_000_000 + rest  # in units of 1e-9 bit, so that dividing by bit/s gives ns
    end = start + bits // get_rate(pipe, s)
    if start > now and end - now > get_limit(pipe, s):
        return -1
    put_busy_until(pipe, s, end)
    put_remainder(pipe, s, bits % get_rate(pipe, s))
    return end


@kernel(VOID(BYTES, I64, I64, I64))
def duplicate(pipe, e, stage, now):
    """Let a copy of the entry at ``e`` follow it, from ``stage`` on."""
    size = get_len(pipe, e)
    slot = allocate(pipe, size)
    if slot < 0:
        add(pipe, COPIES_REFUSED, 1)
        return
    twin = entry_at(pipe, slot)
    copy(pipe, get_off(pipe, twin), pipe, get_off(pipe, e), size)
    put_id(pipe, twin, get_id(pipe, e))
    put_flow(pipe, twin, get_flow(pipe, e))
    put_cause(pipe, twin, CAUSE_DUPLICATE)
    put_flags(pipe, twin, get_flags(pipe, e))
    put_stage(pipe, twin, stage)
    wait(pipe, slot, now)


@kernel(VOID(BYTES, I64, I64))
def advance(pipe, slot, now):
    """Take the frame in ``slot`` through its next stages at ``now``, until it waits or is gone."""
    e = entry_at(pipe, slot)
    size = get_len(pipe, e)
    due = now
    stage = get_stage(pipe, e)
    last = stage_count(pipe, 0)
    while stage < last and due <= now:
        s = STAGE_TABLE + STAGE_SIZE * stage
        stage += 1
        kind = get_kind(pipe, s)
        if kind == DELAY:
            spread = get_spread(pipe, s)
            due = now + get_ns(pipe, s)
            if spread > 0:
                due += ((draw(pipe, s) * (2 * spread + 1)) >> 32) - spread
            due = max(due, get_last_due(pipe, s))
            put_last_due(pipe, s, due)
        elif kind == HOLD:
            if draw(pipe, s) < get_p(pipe, s):
                hit(pipe, s, size)
                due = now + get_ns(pipe, s)
            due = max(due, get_last_due(pipe, s))
            put_last_due(pipe, s, due)
        elif kind == RATE:
            due = line(pipe, s, size, now)
            if due < 0:
                hit(pipe, s, size)
                free(pipe, slot)
                return
        elif draw(pipe, s) < get_p(pipe, s):
            if kind == LOSS:
                hit(pipe, s, size)
                free(pipe, slot)
                return
            if kind == DUPLICATE:
                hit(pipe, s, size)
                put_stage(pipe, e, stage)
                wait(pipe, slot, now)
                duplicate(pipe, e, stage, now)  # behind its original
                return
            elif kind == REORDER:
                hit(pipe, s, size)
                due = now + get_ns(pipe, s)
            elif kind == CORRUPT and size > 0:
                hit(pipe, s, size)
                at = get_off(pipe, e) + ((draw(pipe, s) * size) >> 32)
                put_u8(pipe, at, u8(pipe, at) ^ (1 + ((draw(pipe, s) * 255) >> 32)))
    put_stage(pipe, e, stage)
    wait(pipe, slot, due)


@kernel(I64(BYTES, BYTES, I64))
def drain(pipe, output, now):
    """Advance or deliver all that is due; stops at a full output. Returns how many frames were delivered."""
    delivered = 0
    size_out = 0
    base = heap_at(pipe, 0)
    last = stage_count(pipe, 0)
    while get_heap_size(pipe, 0) > 0 and get_due(pipe, base) <= now:
        due = get_due(pipe, base)
        slot = get_key(pipe, base) & ((1 << SLOT_BITS) - 1)
        e = entry_at(pipe, slot)
        if get_stage(pipe, e) < last:
            drop_top(pipe)
            advance(pipe, slot, due)
            continue
        size = get_len(pipe, e)
        at = find_room(output, size)
        if at < 0:
            break
        copy(output, at, pipe, get_off(pipe, e), size)
        commit(output, at, size, due, get_id(pipe, e), get_flow(pipe, e), get_cause(pipe, e), get_flags(pipe, e))
        drop_top(pipe)
        free(pipe, slot)
        delivered += 1
        size_out += size
    add(pipe, FRAMES_OUT, delivered)
    add(pipe, BYTES_OUT, size_out)
    return delivered


@kernel(I64(BYTES, BYTES, I64))
def fits(pipe, output, size):
    """Whether a frame of ``size`` bytes can pass at all."""
    return 1 if size <= arena_size(pipe, 0) and size <= ring_arena_size(output, 0) else 0


@entry
@kernel(I64(BYTES, BYTES, BYTES, I64))
def step(pipe, source, output, now):
    """Take in what waits in ``source``, do all that is due, deliver into ``output``; returns the number delivered."""
    delivered = drain(pipe, output, now)
    available = count(source)
    taken = 0
    size_in = 0
    while taken < available:
        d = descriptor(source, taken)
        size = frame_len(source, d)
        if fits(pipe, output, size) == 0:
            add(pipe, OVERSIZE, 1)
        else:
            slot = allocate(pipe, size)
            if slot < 0:
                break
            e = entry_at(pipe, slot)
            copy(pipe, get_off(pipe, e), source, frame_off(source, d), size)
            put_id(pipe, e, frame_id(source, d))
            put_flow(pipe, e, flow(source, d))
            put_cause(pipe, e, cause(source, d))
            put_flags(pipe, e, flags(source, d))
            put_stage(pipe, e, 0)
            advance(pipe, slot, now)
        taken += 1
        size_in += size
    release(source, taken)
    add(pipe, FRAMES_IN, taken)
    add(pipe, BYTES_IN, size_in)
    return delivered + drain(pipe, output, now)


@entry
@kernel(I64(BYTES, BYTES, BYTES, I64))
def poll_at(pipe, source, output, now):
    """When :func:`step` has something to do: ``now``, the next due time, or NEVER."""
    if count(source) > 0:
        size = frame_len(source, descriptor(source, 0))
        if fits(pipe, output, size) == 0 or find_space(pipe, size) >= 0:
            return now
    if get_heap_size(pipe, 0) == 0:
        return NEVER
    top = heap_at(pipe, 0)
    due = get_due(pipe, top)
    if due > now:
        return due
    e = entry_at(pipe, get_key(pipe, top) & ((1 << SLOT_BITS) - 1))
    if get_stage(pipe, e) < stage_count(pipe, 0) or find_room(output, get_len(pipe, e)) >= 0:
        return now
    return NEVER  # the head of the line waits for room; whoever makes it is asked again afterwards
