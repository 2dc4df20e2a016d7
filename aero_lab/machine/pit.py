"""The interval timer (Intel 8254): three counters, each a closed form of the time.

Time is counted in clocks of 1.193182 MHz since power-on, computed from ``now`` in integers, so nothing drifts and
nothing is done while a counter counts. A counter holds the clock at which its count ``n`` was loaded (``pit_start``);
its value and its output follow from the clocks passed since. A count written is loaded at the next clock; modes 2 and 3
take a new one at the end of the period or half period under way. A closed gate keeps in ``pit_hold`` how many clocks
had been counted.
"""

from __future__ import annotations

from ..compiled.registry import I64, VOID, kernel
from .board import B_T
from .limits import NEVER, NS, PIT_HZ
from .pic import set_irq

IDLE, COUNTING, HALF = 0, 1, 2
"""``pit_phase``: no count since the control word (or no trigger); counting; mode 0 with the first of two bytes."""


@kernel(I64(I64))
def pit_ticks(now):
    """Clocks of the PIT since power-on."""
    return now // NS * PIT_HZ + now % NS * PIT_HZ // NS


@kernel(I64(I64))
def pit_time(ticks):
    """The first nanosecond at which so many clocks have passed."""
    return ticks // PIT_HZ * NS + (ticks % PIT_HZ * NS + PIT_HZ - 1) // PIT_HZ


@kernel(I64(B_T, I64))
def pit_full(B, ch):
    """The count that is written as 0."""
    return 10_000 if B.pit_bcd[ch] else 65_536


@kernel(I64(B_T, I64))
def pit_high(B, ch):
    """Clocks for which the output of mode 3 is high in each period."""
    return (B.pit_n[ch] + 1) >> 1


@kernel(VOID(B_T, I64, I64))
def pit_sync(B, ch, tick):
    """Load a waiting count when its time has come."""
    periodic = B.pit_mode[ch] == 2 or B.pit_mode[ch] == 3  # the others wait for a trigger
    if (
        periodic
        and B.pit_pending[ch]
        and B.pit_phase[ch] == COUNTING
        and B.pit_hold[ch] < 0
        and tick >= B.pit_switch[ch]
    ):
        low = B.pit_mode[ch] == 3 and pit_output_at(B, ch, B.pit_switch[ch] - 1)
        B.pit_n[ch] = B.pit_pending[ch]
        B.pit_pending[ch] = 0
        # At the end of a high half the low half of the new count begins.
        B.pit_start[ch] = B.pit_switch[ch] - (pit_high(B, ch) if low else 0)


@kernel(I64(B_T, I64, I64))
def pit_output_at(B, ch, tick):
    """The output of a counter with no count waiting: 0 or 1."""
    mode = B.pit_mode[ch]
    if B.pit_phase[ch] != COUNTING:
        return 0 if mode == 0 else 1
    n = B.pit_n[ch]
    passed = B.pit_hold[ch]
    held = passed >= 0
    if not held:
        passed = tick - B.pit_start[ch]
    if mode == 0:
        return 1 if passed >= n else 0
    if passed < 0 and (mode == 1 or mode >= 4):
        return B.pit_before[ch]
    if mode == 1:
        return 1 if passed >= n else 0
    if mode >= 4:
        return 0 if passed == n else 1
    if held or passed < 0:
        return 1
    if mode == 2:
        return 0 if passed % n == n - 1 else 1
    return 1 if passed % n < pit_high(B, ch) else 0


@kernel(I64(B_T, I64, I64))
def pit_output(B, ch, tick):
    """The output of a counter: 0 or 1."""
    pit_sync(B, ch, tick)
    return pit_output_at(B, ch, tick)


@kernel(I64(B_T, I64, I64))
def pit_value(B, ch, tick):
    """The counting element: what a latch command keeps."""
    pit_sync(B, ch, tick)
    if B.pit_phase[ch] != COUNTING:
        return B.pit_frozen[ch]
    if tick < B.pit_start[ch]:
        return B.pit_frozen[ch]  # the count is loaded at the next clock, the gate open or not
    n = B.pit_n[ch]
    passed = B.pit_hold[ch]
    if passed < 0:
        passed = tick - B.pit_start[ch]
    mode = B.pit_mode[ch]
    if mode == 2:
        left = n - passed % n
    elif mode == 3:
        high = pit_high(B, ch)
        passed %= n
        if passed >= high:
            passed -= high
        left = (n & ~1) - 2 * passed
    else:
        left = n - passed
    full = pit_full(B, ch)
    left = (left % full + full) % full
    if B.pit_bcd[ch]:
        return left // 1000 << 12 | left // 100 % 10 << 8 | left // 10 % 10 << 4 | left % 10
    return left


@kernel(I64(B_T, I64, I64))
def pit_next_rise(B, ch, tick):
    """The first clock behind ``tick`` at which the output rises, or NEVER; the caller has called ``pit_sync``."""
    if B.pit_phase[ch] != COUNTING or B.pit_hold[ch] >= 0:
        return NEVER
    mode = B.pit_mode[ch]
    n = B.pit_n[ch]
    start = B.pit_start[ch]
    if mode == 0 or mode == 1:
        return start + n if tick < start + n else NEVER
    if mode >= 4:
        return start + n + 1 if tick < start + n + 1 else NEVER
    if n < 2:
        return NEVER
    switch = B.pit_switch[ch]
    if B.pit_pending[ch]:
        if mode == 3 and pit_output_at(B, ch, switch - 1):
            return switch + (B.pit_pending[ch] >> 1)  # the low half of the new count comes first
        return switch
    if tick < start:
        return start + n
    return start + ((tick - start) // n + 1) * n


@kernel(VOID(B_T, I64))
def pit_rearm(B, tick):
    """Set the time of the next edge on IRQ 0 and its line to the output of counter 0."""
    pit_sync(B, 0, tick)
    rise = pit_next_rise(B, 0, tick)
    B.pit_seen = tick
    B.pit_due = pit_time(rise) if rise < NEVER else NEVER
    set_irq(B, 0, pit_output_at(B, 0, tick))


@kernel(VOID(B_T, I64))
def pit_advance(B, now):
    """Raise IRQ 0 for edges of counter 0 up to ``now``; several are one request, as in the controller itself."""
    tick = pit_ticks(now)
    if tick > B.pit_seen:
        if pit_next_rise(B, 0, B.pit_seen) <= tick:
            set_irq(B, 0, 0)
            set_irq(B, 0, 1)
        pit_rearm(B, tick)


@kernel(VOID(B_T, I64, I64, I64))
def pit_load(B, ch, tick, count):
    """A whole count was written."""
    n = count
    if B.pit_bcd[ch]:
        n = (count >> 12) * 1000 + (count >> 8 & 15) * 100 + (count >> 4 & 15) * 10 + (count & 15)
    if n == 0:
        n = pit_full(B, ch)
    mode = B.pit_mode[ch]
    if mode == 1 or mode == 5:
        if B.pit_phase[ch] == COUNTING and tick < B.pit_start[ch]:
            B.pit_n[ch] = n  # the trigger was, and the next clock loads what is there then
        else:
            B.pit_pending[ch] = n  # until a trigger
        return
    if (mode == 2 or mode == 3) and B.pit_phase[ch] == COUNTING and tick >= B.pit_start[ch]:
        now = B.pit_n[ch]
        if B.pit_hold[ch] < 0:
            if B.pit_pending[ch] == 0:
                period = B.pit_start[ch] + (tick - B.pit_start[ch]) // now * now
                half = period + pit_high(B, ch)
                B.pit_switch[ch] = half if mode == 3 and tick < half else period + now
        B.pit_pending[ch] = n
        return
    B.pit_frozen[ch] = pit_value(B, ch, tick)
    B.pit_before[ch] = pit_output_at(B, ch, tick)
    B.pit_n[ch] = n
    B.pit_phase[ch] = COUNTING
    B.pit_start[ch] = tick + 1
    B.pit_hold[ch] = -1 if B.pit_gate[ch] else 0


@kernel(VOID(B_T, I64, I64, I64))
def pit_gate(B, ch, now, gate):
    """The gate of a counter opens or closes."""
    if gate == B.pit_gate[ch]:
        return
    tick = pit_ticks(now)
    pit_sync(B, ch, tick)
    B.pit_gate[ch] = gate
    mode = B.pit_mode[ch]
    if mode == 1 or mode == 5:
        if gate and (B.pit_pending[ch] or B.pit_phase[ch] == COUNTING):  # a trigger
            B.pit_frozen[ch] = pit_value(B, ch, tick)
            B.pit_before[ch] = pit_output_at(B, ch, tick)
            if B.pit_pending[ch]:
                B.pit_n[ch] = B.pit_pending[ch]
                B.pit_pending[ch] = 0
            B.pit_phase[ch] = COUNTING
            B.pit_start[ch] = tick + 1
        return
    if B.pit_phase[ch] != COUNTING:
        return
    if gate == 0:
        passed = tick - B.pit_start[ch]
        B.pit_hold[ch] = passed if passed > 0 else 0
    elif mode == 0 or mode == 4:
        B.pit_start[ch] = max(tick, B.pit_start[ch]) - B.pit_hold[ch]  # what is not loaded yet is at the next clock
        B.pit_hold[ch] = -1
    else:  # a trigger: the count begins again
        B.pit_frozen[ch] = pit_value(B, ch, tick)
        if B.pit_pending[ch]:
            B.pit_n[ch] = B.pit_pending[ch]
            B.pit_pending[ch] = 0
        B.pit_start[ch] = tick + 1
        B.pit_hold[ch] = -1


@kernel(VOID(B_T, I64, I64))
def pit_latch_count(B, ch, tick):
    """Counter latch command: the value is kept until it was read."""
    if B.pit_latched[ch] == 0:
        B.pit_latch[ch] = pit_value(B, ch, tick)
        B.pit_latched[ch] = 1


@kernel(VOID(B_T, I64, I64))
def pit_latch_status(B, ch, tick):
    """Read-back command: output, null count, access, mode and BCD as they are now."""
    if B.pit_status_latched[ch]:
        return
    pit_sync(B, ch, tick)
    loaded = B.pit_phase[ch] == COUNTING and B.pit_pending[ch] == 0 and tick >= B.pit_start[ch]
    B.pit_status[ch] = (
        pit_output_at(B, ch, tick) << 7
        | (0 if loaded else 0x40)
        | B.pit_rw[ch] << 4
        | B.pit_mode[ch] << 1
        | B.pit_bcd[ch]
    )
    B.pit_status_latched[ch] = 1


@kernel(VOID(B_T, I64, I64))
def pit_control(B, tick, value):
    """The control word register, port 43h."""
    ch = value >> 6
    if ch == 3:  # read-back
        for i in range(3):
            if value & (2 << i):
                if value & 0x20 == 0:
                    pit_latch_count(B, i, tick)
                if value & 0x10 == 0:
                    pit_latch_status(B, i, tick)
        return
    if value & 0x30 == 0:
        pit_latch_count(B, ch, tick)
        return
    mode = value >> 1 & 7
    B.pit_frozen[ch] = pit_value(B, ch, tick)
    B.pit_mode[ch] = mode & 3 if mode > 5 else mode
    B.pit_rw[ch] = value >> 4 & 3
    B.pit_bcd[ch] = value & 1
    B.pit_phase[ch] = IDLE
    B.pit_pending[ch] = 0
    B.pit_hold[ch] = -1
    B.pit_half[ch] = 0
    B.pit_read_half[ch] = 0
    B.pit_latched[ch] = 0
    B.pit_status_latched[ch] = 0


@kernel(VOID(B_T, I64, I64, I64))
def pit_write(B, now, port, value):
    """A byte to ports 40h to 43h."""
    tick = pit_ticks(now)
    ch = port & 3
    if ch == 3:
        pit_control(B, tick, value)
    else:
        pit_sync(B, ch, tick)
        access = B.pit_rw[ch]
        if access == 1:
            pit_load(B, ch, tick, value)
        elif access == 2:
            pit_load(B, ch, tick, value << 8)
        elif B.pit_half[ch] == 0:
            B.pit_half[ch] = 1
            B.pit_first[ch] = value
            if B.pit_mode[ch] == 0 and B.pit_phase[ch] == COUNTING:
                B.pit_frozen[ch] = pit_value(B, ch, tick)
                B.pit_phase[ch] = HALF  # the first byte stops the count and lowers the output
        else:
            B.pit_half[ch] = 0
            pit_load(B, ch, tick, value << 8 | B.pit_first[ch])
    pit_rearm(B, tick)


@kernel(I64(B_T, I64, I64))
def pit_read(B, now, port):
    """A byte from ports 40h to 43h (43h cannot be read)."""
    ch = port & 3
    if ch == 3:
        return 0xFF
    if B.pit_status_latched[ch]:
        B.pit_status_latched[ch] = 0
        return B.pit_status[ch]
    if B.pit_latched[ch]:
        value = B.pit_latch[ch]
    else:
        value = pit_value(B, ch, pit_ticks(now))
    access = B.pit_rw[ch]
    high = access == 2
    if access == 3:
        high = B.pit_read_half[ch] == 1
        B.pit_read_half[ch] = 0 if high else 1
    if access != 3 or high:
        B.pit_latched[ch] = 0
    return value >> 8 if high else value & 0xFF
