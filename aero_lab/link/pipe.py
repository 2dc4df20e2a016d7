"""The compiled part of a link direction: frames that wait for a moment.

Theory of operation
-------------------
A *pipe* is one byte array (:mod:`.cells`): a header, a table of stages, entries for the frames in flight, a heap of the
moments they wait for, and an arena with their bytes (:mod:`.flight`). A frame is taken from the input ring into an
entry and advanced through the stages at the present time. A stage acts at once (loses, copies, corrupts) or makes it
wait: its entry goes on the heap with a due time and the number of the stage that comes next. When the heap's top is due
it is advanced from there, *at its due time*, so a late driver changes nothing. Past the last stage the frame waits for
room in the output ring.

Frames due at the same moment leave in the order in which they began to wait. When no slot is free, frames wait in the
input ring. A line with a managed queue (:mod:`.line`) has a timer beside the heap; what both are due for at the same
moment, the line does first.
"""

from __future__ import annotations

from ..causes import Cause
from ..compiled.memory import copy, i64_native, put_u8, u8
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
from .cells import (
    BYTES_IN,
    BYTES_OUT,
    COPIES_REFUSED,
    FRAMES_IN,
    FRAMES_OUT,
    OVERSIZE,
    SLOT_BITS,
    STAGE_SIZE,
    STAGE_TABLE,
    arena_size,
    get_busy_until,
    get_cause,
    get_due,
    get_flags,
    get_flow,
    get_heap_size,
    get_id,
    get_interval,
    get_key,
    get_kind,
    get_last_due,
    get_leave,
    get_len,
    get_limit,
    get_ns,
    get_off,
    get_p,
    get_p_bad,
    get_rate,
    get_remainder,
    get_spread,
    get_stage,
    get_start,
    get_state,
    get_table,
    get_table_size,
    get_timer,
    get_until,
    heap_at,
    line_at,
    put_busy_until,
    put_cause,
    put_flags,
    put_flow,
    put_id,
    put_last_due,
    put_remainder,
    put_stage,
    put_state,
    put_until,
    stage_count,
)
from .flight import add, allocate, draw, drop_top, entry_at, find_space, free, hit, wait
from .line import enqueue, serve
from .stages import (
    CORRUPT,
    DELAY,
    DUPLICATE,
    GILBERT,
    HOLD,
    LINE,
    LOSS,
    LOSS_TRACE,
    OUTAGE,
    QUANTILE_BITS,
    RATE,
    REORDER,
    STALL,
)

CAUSE_DUPLICATE = int(Cause.DUPLICATE)
TOGGLES = 10_000
"""Times a random outage begins or ends between two frames; beyond that it begins anew."""


@kernel(I64(BYTES, I64, I64))
def quantile(pipe, s, most):
    """A number by chance out of the distribution whose quantiles the stage at ``s`` brought along, times ``most``."""
    bits = draw(pipe, s)
    rest = 32 - QUANTILE_BITS
    at = get_table(pipe, s) + 8 * (bits >> rest)
    low = i64_native(pipe, at)
    value = low + (((i64_native(pipe, at + 8) - low) * (bits & ((1 << rest) - 1))) >> rest)
    if most < 1 << 36:
        return (value * most) >> 20
    return (value * (most >> 12)) >> 8


@kernel(I64(BYTES, I64, I64))
def up_again(pipe, s, now):
    """When the stage at ``s`` lets frames through again: ``now``, or the end of the outage under way."""
    if get_table(pipe, s) > 0:  # by chance: ns are the mean time up, spread the mean time down
        if get_until(pipe, s) == 0:
            put_until(pipe, s, get_start(pipe, s) + quantile(pipe, s, get_ns(pipe, s)))
        turns = 0
        while get_until(pipe, s) <= now and turns < TOGGLES:
            put_state(pipe, s, 1 - get_state(pipe, s))
            lasts = get_spread(pipe, s) if get_state(pipe, s) else get_ns(pipe, s)
            put_until(pipe, s, get_until(pipe, s) + 1 + quantile(pipe, s, lasts))
            turns += 1
        if get_until(pipe, s) <= now:
            put_state(pipe, s, 0)
            put_until(pipe, s, now + 1 + quantile(pipe, s, get_ns(pipe, s)))
        return get_until(pipe, s) if get_state(pipe, s) else now
    since = now - get_start(pipe, s) - get_ns(pipe, s)
    if since >= 0 and get_interval(pipe, s) > 0:
        since %= get_interval(pipe, s)
    return now - since + get_spread(pipe, s) if 0 <= since < get_spread(pipe, s) else now


@kernel(I64(BYTES, I64))
def bursts(pipe, s):
    """Whether a Gilbert-Elliott stage loses this frame; then the state changes, perhaps."""
    bad = get_state(pipe, s)
    lost = 1 if draw(pipe, s) < (get_p_bad(pipe, s) if bad else get_p(pipe, s)) else 0
    if draw(pipe, s) < (get_leave(pipe, s) if bad else get_ns(pipe, s)):
        put_state(pipe, s, 1 - bad)
    return lost


@kernel(I64(BYTES, I64))
def recorded(pipe, s):
    """Whether a recording loses this frame."""
    at = get_state(pipe, s)
    put_state(pipe, s, at + 1 if at + 1 < get_table_size(pipe, s) else 0)
    return u8(pipe, get_table(pipe, s) + at)


@kernel(I64(BYTES, I64, I64, I64))
def sent_at(pipe, s, size, now):
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
                if get_table(pipe, s) > 0:
                    due = max(now, due + quantile(pipe, s, spread))
                else:
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
            due = sent_at(pipe, s, size, now)
            if due < 0:
                hit(pipe, s, size)
                free(pipe, slot)
                return
        elif kind == LINE:
            put_stage(pipe, e, stage)
            enqueue(pipe, s, slot, now)
            return
        elif kind == STALL:
            due = up_again(pipe, s, now)
            if due > now:
                hit(pipe, s, size)
        elif kind == OUTAGE or kind == GILBERT or kind == LOSS_TRACE:
            if kind == OUTAGE:
                gone = up_again(pipe, s, now) > now
            else:
                gone = (bursts(pipe, s) if kind == GILBERT else recorded(pipe, s)) == 1
            if gone:
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


@kernel(I64(BYTES))
def next_due(pipe):
    """When the line has something to do next, or NEVER."""
    s = line_at(pipe, 0)
    return get_timer(pipe, s) if s > 0 else NEVER


@kernel(I64(BYTES, BYTES, I64))
def drain(pipe, output, now):
    """Advance or deliver all that is due; stops at a full output. Returns how many frames were delivered."""
    delivered = 0
    size_out = 0
    base = heap_at(pipe, 0)
    last = stage_count(pipe, 0)
    blocked = False
    while True:
        due = get_due(pipe, base) if get_heap_size(pipe, 0) > 0 else NEVER
        timer = next_due(pipe)
        if timer <= now and (timer <= due or blocked):
            serve(pipe, line_at(pipe, 0), timer)
            continue
        if due > now or blocked:
            break
        slot = get_key(pipe, base) & ((1 << SLOT_BITS) - 1)
        e = entry_at(pipe, slot)
        if get_stage(pipe, e) < last:
            drop_top(pipe)
            advance(pipe, slot, due)
            continue
        size = get_len(pipe, e)
        at = find_room(output, size)
        if at < 0:
            blocked = True  # the line goes on: what it sends waits behind this one
            continue
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
    timer = next_due(pipe)
    if get_heap_size(pipe, 0) == 0 or timer <= now:
        return timer
    top = heap_at(pipe, 0)
    due = get_due(pipe, top)
    if due > now:
        return min(due, timer)
    e = entry_at(pipe, get_key(pipe, top) & ((1 << SLOT_BITS) - 1))
    if get_stage(pipe, e) < stage_count(pipe, 0) or find_room(output, get_len(pipe, e)) >= 0:
        return now
    return timer  # the head of the line waits for room; whoever makes it is asked again afterwards
