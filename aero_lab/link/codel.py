"""CoDel (RFC 8289), and the fair queues over it that are FQ-CoDel (RFC 8290).

The names are those of the RFCs' pseudocode. The square root of the control law is the one floating-point operation; it
is exact everywhere.
"""

from __future__ import annotations

import math

from ..compiled.registry import BYTES, I64, VOID, kernel
from .cells import (
    FLOW_SIZE,
    get_backlog,
    get_came,
    get_count,
    get_deficit,
    get_drop_next,
    get_dropping,
    get_first_above,
    get_flow_next,
    get_flows,
    get_flows_at,
    get_interval,
    get_largest,
    get_lastcount,
    get_len,
    get_new_head,
    get_new_tail,
    get_ns,
    get_old_head,
    get_old_tail,
    get_quantum,
    put_count,
    put_deficit,
    put_drop_next,
    put_dropping,
    put_first_above,
    put_flow_next,
    put_lastcount,
    put_listed,
    put_new_head,
    put_new_tail,
    put_old_head,
    put_old_tail,
)
from .flight import entry_at, free, hit
from .queues import discard, mark, unchain

NEW, OLD = 1, 2
"""Which list of FQ-CoDel a flow is on; 0: none."""
ROUNDS = 1 << 20
"""Flows looked at for one frame: 4096 flows, each 64 KiB in debt, with the smallest quantum."""


@kernel(I64(BYTES, I64, I64))
def control_law(pipe, s, count):
    """Time from a drop to the next, after ``count`` of them (RFC 8289 section 5.6)."""
    return int(get_interval(pipe, s) / math.sqrt(count))


@kernel(I64(BYTES, I64, I64, I64, I64))
def above(pipe, s, f, slot, now):
    """Whether the queue has stood above the target for an interval, seen by the frame just taken from it."""
    waited = now - get_came(pipe, entry_at(pipe, slot))
    if waited < get_ns(pipe, s) or get_backlog(pipe, f) <= get_largest(pipe, s):
        put_first_above(pipe, f, 0)
        return 0
    if get_first_above(pipe, f) == 0:
        put_first_above(pipe, f, now + get_interval(pipe, s))
        return 0
    return 1 if now >= get_first_above(pipe, f) else 0


@kernel(I64(BYTES, I64, I64, I64))
def codel(pipe, s, f, now):
    """The next frame of the flow at ``f`` as CoDel gives it out (RFC 8289 section 5.5), or -1."""
    slot = unchain(pipe, s, f)
    if slot < 0:
        put_first_above(pipe, f, 0)
        put_dropping(pipe, f, 0)
        return -1
    too_long = above(pipe, s, f, slot, now)
    if get_dropping(pipe, f):
        if too_long == 0:
            put_dropping(pipe, f, 0)
        while get_dropping(pipe, f) and now >= get_drop_next(pipe, f):
            count = get_count(pipe, f) + 1
            put_count(pipe, f, count)
            if mark(pipe, s, slot):
                put_drop_next(pipe, f, get_drop_next(pipe, f) + control_law(pipe, s, count))
                break  # it goes on: one mark a frame
            discard(pipe, s, slot)
            slot = unchain(pipe, s, f)
            if slot < 0 or above(pipe, s, f, slot, now) == 0:
                put_dropping(pipe, f, 0)
                break
            put_drop_next(pipe, f, get_drop_next(pipe, f) + control_law(pipe, s, count))
    elif too_long:
        if mark(pipe, s, slot) == 0:
            discard(pipe, s, slot)
            slot = unchain(pipe, s, f)
            if slot >= 0:
                above(pipe, s, f, slot, now)
        put_dropping(pipe, f, 1)
        # Soon after the last time, the rate of drops that was right then is right again.
        delta = get_count(pipe, f) - get_lastcount(pipe, f)
        recent = now - get_drop_next(pipe, f) < 16 * get_interval(pipe, s)
        count = delta if delta > 1 and recent else 1
        put_count(pipe, f, count)
        put_lastcount(pipe, f, count)
        put_drop_next(pipe, f, now + control_law(pipe, s, count))
    return slot


@kernel(VOID(BYTES, I64, I64, I64))
def enlist(pipe, s, f, which):
    """Put the flow at ``f`` at the end of the list of new or of old flows."""
    put_listed(pipe, f, which)
    put_flow_next(pipe, f, 0)
    if which == NEW:
        if get_new_head(pipe, s) == 0:
            put_new_head(pipe, s, f)
        else:
            put_flow_next(pipe, get_new_tail(pipe, s), f)
        put_new_tail(pipe, s, f)
    else:
        if get_old_head(pipe, s) == 0:
            put_old_head(pipe, s, f)
        else:
            put_flow_next(pipe, get_old_tail(pipe, s), f)
        put_old_tail(pipe, s, f)


@kernel(I64(BYTES, I64, I64))
def fair(pipe, s, now):
    """The next frame as FQ-CoDel gives it out (RFC 8290 section 4.2), or -1."""
    for _ in range(ROUNDS):
        f = get_new_head(pipe, s)
        which = NEW
        if f == 0:
            f = get_old_head(pipe, s)
            which = OLD
        if f == 0:
            return -1
        slot = -1
        if get_deficit(pipe, f) > 0:
            slot = codel(pipe, s, f, now)
            if slot >= 0:
                put_deficit(pipe, f, get_deficit(pipe, f) - get_len(pipe, entry_at(pipe, slot)))
                return slot
        if which == NEW:
            put_new_head(pipe, s, get_flow_next(pipe, f))
        else:
            put_old_head(pipe, s, get_flow_next(pipe, f))
        if get_deficit(pipe, f) <= 0:
            put_deficit(pipe, f, get_deficit(pipe, f) + get_quantum(pipe, s))
            enlist(pipe, s, f, OLD)
        elif which == NEW and get_old_head(pipe, s) != 0:
            enlist(pipe, s, f, OLD)  # empty, but it does not become new again before the others had their turn
        else:
            put_listed(pipe, f, 0)
    return -1


@kernel(VOID(BYTES, I64))
def relieve(pipe, s):
    """Drop the first frame of the longest flow."""
    f = get_flows_at(pipe, s)
    longest = f
    for _ in range(get_flows(pipe, s)):
        if get_backlog(pipe, f) > get_backlog(pipe, longest):
            longest = f
        f += FLOW_SIZE
    slot = unchain(pipe, s, longest)
    if slot >= 0:
        hit(pipe, s, get_len(pipe, entry_at(pipe, slot)))
        free(pipe, slot)
