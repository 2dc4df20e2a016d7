"""A line with a queue that somebody looks after: when frames are taken from it, and what happens to those that come.

The stage has a *timer*: the moment at which the line can take the next frame. A steady line takes one when the one
before has left; a recorded line (mahimahi's format) has moments at which so many bytes may leave, and what nobody uses
is gone. The discipline decides, when a frame is taken (CoDel) or comes (PIE), whether it goes on, is marked, or is
dropped.
"""

from __future__ import annotations

from ..compiled.memory import i64_native
from ..compiled.registry import BYTES, I64, VOID, kernel
from ..limits import NEVER
from .cells import (
    FLOW_SIZE,
    get_busy_until,
    get_came,
    get_chance,
    get_current,
    get_flows,
    get_flows_at,
    get_largest,
    get_left,
    get_len,
    get_limit,
    get_listed,
    get_mode,
    get_packets,
    get_packets_most,
    get_quantum,
    get_queued,
    get_rate,
    get_remainder,
    get_start,
    get_state,
    get_table,
    get_table_size,
    get_timer,
    get_turn,
    put_busy_until,
    put_came,
    put_current,
    put_deficit,
    put_largest,
    put_left,
    put_remainder,
    put_sojourn,
    put_timer,
    put_turn,
)
from .codel import NEW, codel, enlist, fair, relieve
from .flight import entry_at, free, hit, wait
from .headers import flow_hash
from .pie import ONE, catch_up, early
from .queues import CODEL, FQ_CODEL, PIE, chain, discard, mark, unchain

OPPORTUNITY, TUN_HEADER = 1504, 4
"""Bytes that may leave at one moment of a recorded line, and what each packet counts more than it is long, as in
mahimahi, whose packets come out of a TUN device with its header."""


@kernel(I64(BYTES, I64, I64))
def take(pipe, s, now):
    """The next frame for the line, or -1."""
    mode = get_mode(pipe, s)
    if mode == FQ_CODEL:
        return fair(pipe, s, now)
    if mode == CODEL:
        return codel(pipe, s, get_flows_at(pipe, s), now)
    if mode == PIE:
        catch_up(pipe, s, now)
    slot = unchain(pipe, s, get_flows_at(pipe, s))
    if slot >= 0:
        put_sojourn(pipe, s, now - get_came(pipe, entry_at(pipe, slot)))
    return slot


@kernel(I64(BYTES, I64, I64))
def moment(pipe, s, turn):
    """Time of opportunity number ``turn`` of a recorded line; its table's last entry is how long a lap takes."""
    size = get_table_size(pipe, s)
    lap = turn // size
    table = get_table(pipe, s)
    period = i64_native(pipe, table + 8 * (size - 1))
    return get_start(pipe, s) + lap * period + i64_native(pipe, table + 8 * (turn - lap * size))


@kernel(I64(BYTES, I64, I64))
def first_after(pipe, s, now):
    """Number of the first opportunity after ``now``."""
    size = get_table_size(pipe, s)
    table = get_table(pipe, s)
    period = i64_native(pipe, table + 8 * (size - 1))
    since = now - get_start(pipe, s)
    if since < 0:
        return 0
    lap = since // period
    since -= lap * period
    low, high = 0, size  # the first entry above `since`
    while low < high:
        middle = (low + high) >> 1
        if i64_native(pipe, table + 8 * middle) > since:
            high = middle
        else:
            low = middle + 1
    return lap * size + low


@kernel(VOID(BYTES, I64, I64))
def send(pipe, s, now):
    """Give a steady line, which has nothing to do at ``now``, its next frame."""
    slot = take(pipe, s, now)
    put_timer(pipe, s, NEVER)
    if slot < 0:
        return
    e = entry_at(pipe, slot)
    start = max(now, get_came(pipe, e))
    rest = get_remainder(pipe, s) if get_busy_until(pipe, s) == start else 0
    bits = get_len(pipe, e) * 8_000_000_000 + rest  # in units of 1e-9 bit, so that dividing by bit/s gives ns
    end = start + bits // get_rate(pipe, s)
    put_remainder(pipe, s, bits % get_rate(pipe, s))
    put_busy_until(pipe, s, end)
    wait(pipe, slot, end)
    if get_packets(pipe, s) > 0:
        put_timer(pipe, s, end)


@kernel(VOID(BYTES, I64, I64))
def seize(pipe, s, now):
    """Use an opportunity of a recorded line."""
    room = OPPORTUNITY
    while room > 0:
        slot = get_current(pipe, s) - 1
        if slot < 0:
            slot = take(pipe, s, now)
            if slot < 0:
                break
            put_current(pipe, s, slot + 1)
            put_left(pipe, s, get_len(pipe, entry_at(pipe, slot)) + TUN_HEADER)
        sent = min(room, get_left(pipe, s))
        room -= sent
        put_left(pipe, s, get_left(pipe, s) - sent)
        if get_left(pipe, s) == 0:
            put_current(pipe, s, 0)
            wait(pipe, slot, max(now, get_came(pipe, entry_at(pipe, slot))))
    put_turn(pipe, s, get_turn(pipe, s) + 1)
    more = get_packets(pipe, s) > 0 or get_current(pipe, s) > 0
    put_timer(pipe, s, moment(pipe, s, get_turn(pipe, s)) if more else NEVER)


@kernel(VOID(BYTES, I64, I64))
def serve(pipe, s, now):
    """What the line at ``s`` does when its timer is due."""
    if get_rate(pipe, s) > 0:
        send(pipe, s, now)
    else:
        seize(pipe, s, now)


@kernel(VOID(BYTES, I64, I64, I64))
def enqueue(pipe, s, slot, now):
    """A frame comes to the line at ``s``: it waits, leaves at once, or is dropped."""
    e = entry_at(pipe, slot)
    size = get_len(pipe, e)
    mode = get_mode(pipe, s)
    steady = get_rate(pipe, s) > 0
    if steady:
        busy = get_busy_until(pipe, s) > now
    else:
        busy = get_packets(pipe, s) > 0 or get_current(pipe, s) > 0
    put_came(pipe, e, now)
    put_largest(pipe, s, max(get_largest(pipe, s), size))
    f = get_flows_at(pipe, s)
    if mode == FQ_CODEL:
        f += FLOW_SIZE * ((flow_hash(pipe, s, e, get_state(pipe, s)) * get_flows(pipe, s)) >> 32)
    else:
        if mode == PIE:
            catch_up(pipe, s, now)
        full = get_queued(pipe, s) + size > get_limit(pipe, s) or get_packets(pipe, s) >= get_packets_most(pipe, s)
        if busy and full:
            hit(pipe, s, size)
            free(pipe, slot)
            return
        if mode == PIE and early(pipe, s) and (get_chance(pipe, s) > ONE // 10 or mark(pipe, s, slot) == 0):
            discard(pipe, s, slot)
            return
    chain(pipe, s, f, slot)
    if mode == FQ_CODEL:
        if get_listed(pipe, f) == 0:
            put_deficit(pipe, f, get_quantum(pipe, s))
            enlist(pipe, s, f, NEW)
        while get_packets(pipe, s) > 1 and (
            get_queued(pipe, s) > get_limit(pipe, s) or get_packets(pipe, s) > get_packets_most(pipe, s)
        ):
            relieve(pipe, s)
    if steady and not busy:
        send(pipe, s, now)
    elif get_timer(pipe, s) == NEVER:
        if steady:
            put_timer(pipe, s, get_busy_until(pipe, s))
        else:
            put_turn(pipe, s, max(get_turn(pipe, s), first_after(pipe, s, now)))
            put_timer(pipe, s, moment(pipe, s, get_turn(pipe, s)))
