"""Frames that wait for a line, linked through their entries: a chain a *flow*, one flow without fair queueing.

What looks after a queue (:mod:`.codel`, :mod:`.pie`) takes frames from it here, marks or drops them.
"""

from __future__ import annotations

from ..compiled.registry import BYTES, I64, VOID, kernel
from .cells import (
    get_backlog,
    get_dropped,
    get_ecn,
    get_first,
    get_last,
    get_len,
    get_marked,
    get_next,
    get_not_ect,
    get_packets,
    get_queued,
    put_backlog,
    put_dropped,
    put_first,
    put_last,
    put_marked,
    put_next,
    put_not_ect,
    put_packets,
    put_queued,
)
from .flight import entry_at, free
from .headers import mark_ce

DROPTAIL, CODEL, FQ_CODEL, PIE = range(4)
"""Who looks after a queue, in the order of :data:`.stages.AQM_TIMES`."""


@kernel(VOID(BYTES, I64, I64, I64))
def chain(pipe, s, f, slot):
    """Put a frame at the end of the flow at ``f``."""
    e = entry_at(pipe, slot)
    put_next(pipe, e, 0)
    if get_first(pipe, f) == 0:
        put_first(pipe, f, slot + 1)
    else:
        put_next(pipe, entry_at(pipe, get_last(pipe, f) - 1), slot + 1)
    put_last(pipe, f, slot + 1)
    size = get_len(pipe, e)
    put_backlog(pipe, f, get_backlog(pipe, f) + size)
    put_queued(pipe, s, get_queued(pipe, s) + size)
    put_packets(pipe, s, get_packets(pipe, s) + 1)


@kernel(I64(BYTES, I64, I64))
def unchain(pipe, s, f):
    """The first frame of the flow at ``f``, taken off it; -1 when there is none."""
    slot = get_first(pipe, f) - 1
    if slot < 0:
        return -1
    e = entry_at(pipe, slot)
    put_first(pipe, f, get_next(pipe, e))
    size = get_len(pipe, e)
    put_backlog(pipe, f, get_backlog(pipe, f) - size)
    put_queued(pipe, s, get_queued(pipe, s) - size)
    put_packets(pipe, s, get_packets(pipe, s) - 1)
    return slot


@kernel(I64(BYTES, I64, I64))
def mark(pipe, s, slot):
    """Mark a frame in place of dropping it; 0 where that is not wanted or not possible."""
    if get_ecn(pipe, s) == 0:
        return 0
    if mark_ce(pipe, s, entry_at(pipe, slot)) == 0:
        put_not_ect(pipe, s, get_not_ect(pipe, s) + 1)
        return 0
    put_marked(pipe, s, get_marked(pipe, s) + 1)
    return 1


@kernel(VOID(BYTES, I64, I64))
def discard(pipe, s, slot):
    """Drop a frame because the queue is too long, not because it is full."""
    put_dropped(pipe, s, get_dropped(pipe, s) + 1)
    free(pipe, slot)
