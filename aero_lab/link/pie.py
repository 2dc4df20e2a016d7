"""PIE (RFC 8033): a frame that comes is dropped by chance, and the chance follows the delay.

Chances are numbers of 2^50, times nanoseconds: no floating point. The delay of a steady line is what is queued over its
rate, which is known here; that of a recorded line is how long the last frame waited.
"""

from __future__ import annotations

from ..compiled.registry import BYTES, I64, VOID, kernel
from .cells import (
    get_accumulated,
    get_burst,
    get_chance,
    get_delay_before,
    get_interval,
    get_ns,
    get_packets,
    get_queued,
    get_rate,
    get_sojourn,
    get_update,
    put_accumulated,
    put_burst,
    put_chance,
    put_delay_before,
    put_update,
)
from .flight import draw

ONE = 1 << 50
"""Certainty."""
ALPHA, BETA = ONE // 8_000_000_000, 10
"""RFC 8033 section 4.2: alpha is 1/8 a second, here a nanosecond; beta is 1.25, ten times as much."""
DELAY_MOST = 100_000_000_000
BURST = 150_000_000
"""MAX_BURST: nothing is dropped in the first 150 ms."""
TURNS = 1024
"""Updates caught up with at once: after so many without a frame there is no chance of a drop left."""
PACKET = 1500
"""A packet's size: up to two of them in the queue are never dropped."""


@kernel(VOID(BYTES, I64))
def control(pipe, s):
    """One update of the chance of a drop (RFC 8033 section 4.2)."""
    if get_rate(pipe, s) > 0:
        delay = get_queued(pipe, s) * 8_000_000_000 // get_rate(pipe, s)
    elif get_packets(pipe, s) == 0:
        delay = 0
    else:
        delay = get_sojourn(pipe, s)
    delay = min(delay, DELAY_MOST)
    before, target = get_delay_before(pipe, s), get_ns(pipe, s)
    chance = get_chance(pipe, s)
    change = ((delay - target) + BETA * (delay - before)) * ALPHA
    if chance < ONE // 1_000_000:
        change >>= 11
    elif chance < ONE // 100_000:
        change >>= 9
    elif chance < ONE // 10_000:
        change >>= 7
    elif chance < ONE // 1000:
        change >>= 5
    elif chance < ONE // 100:
        change >>= 3
    elif chance < ONE // 10:
        change >>= 1
    elif change > ONE // 50:
        change = ONE // 50
    chance += change
    if delay == 0 and before == 0:
        chance -= chance >> 6
    chance = min(max(chance, 0), ONE)
    put_chance(pipe, s, chance)
    put_burst(pipe, s, max(0, get_burst(pipe, s) - get_interval(pipe, s)))
    if chance == 0 and 2 * delay < target and 2 * before < target:
        put_burst(pipe, s, BURST)
    put_delay_before(pipe, s, delay)


@kernel(VOID(BYTES, I64, I64))
def catch_up(pipe, s, now):
    """The updates that were due up to ``now``."""
    if get_update(pipe, s) == 0:
        put_update(pipe, s, now + get_interval(pipe, s))
        put_burst(pipe, s, BURST)
        return
    turns = 0
    while turns < TURNS and get_update(pipe, s) <= now:
        control(pipe, s)
        put_update(pipe, s, get_update(pipe, s) + get_interval(pipe, s))
        turns += 1
    if get_update(pipe, s) <= now:
        put_update(pipe, s, now + get_interval(pipe, s))


@kernel(I64(BYTES, I64))
def early(pipe, s):
    """Whether PIE drops a frame that comes (RFC 8033 sections 4.1 and 5.4)."""
    chance = get_chance(pipe, s)
    if chance == 0:
        put_accumulated(pipe, s, 0)
    if get_burst(pipe, s) > 0:
        return 0
    if 2 * get_delay_before(pipe, s) < get_ns(pipe, s) and chance < ONE // 5:
        return 0
    if get_queued(pipe, s) <= 2 * PACKET:
        return 0
    accumulated = get_accumulated(pipe, s) + chance
    put_accumulated(pipe, s, accumulated)
    if accumulated < ONE // 100 * 85:
        return 0
    if accumulated < ONE // 10 * 85 and draw(pipe, s) << 18 >= chance:
        return 0
    put_accumulated(pipe, s, 0)
    return 1
