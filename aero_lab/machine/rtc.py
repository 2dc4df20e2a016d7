"""The real-time clock and its 114 bytes of memory (Motorola MC146818A), ports 70h and 71h.

The registers of the time are counted up once a second, as in the chip: at ``rtc_edge``, the end of an update cycle.
Nobody has to be there when that happens; whoever looks (:func:`rtc_sync`) does the seconds that have passed. Only an
enabled interrupt makes a deadline. The periodic flag follows from the time in integers.
"""

from __future__ import annotations

from ..compiled.registry import I64, VOID, kernel
from .board import B_T
from .limits import NEVER, NS, RTC_FIRST, RTC_HZ, RTC_UPDATE, RTC_WARNING
from .pic import set_irq

SECONDS, SECONDS_ALARM, MINUTES, MINUTES_ALARM, HOURS, HOURS_ALARM, WEEKDAY, DAY, MONTH, YEAR = range(10)
REG_A, REG_B, REG_C, REG_D = range(10, 14)
CENTURY = 0x32
SET, PIE, AIE, UIE, DM, H24 = 0x80, 0x40, 0x20, 0x10, 4, 2
IRQF, PF, AF, UF = 0x80, 0x40, 0x20, 0x10
PM = 0x80


@kernel(I64(B_T, I64))
def rtc_decode(B, value):
    """A register of the time as a number: BCD, or binary when DM is set."""
    return value if B.cmos[REG_B] & DM else (value >> 4) * 10 + (value & 15)


@kernel(I64(B_T, I64))
def rtc_encode(B, value):
    """A number as a register of the time."""
    return value if B.cmos[REG_B] & DM else value // 10 << 4 | value % 10


@kernel(I64(I64, I64))
def days_in_month(month, year):
    """Days of a month; every fourth year is a leap year for the chip."""
    if month == 2:
        return 29 if year & 3 == 0 else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


@kernel(VOID(B_T))
def rtc_second(B):
    """Count the time up by a second; carries as far as they go."""
    cmos = B.cmos
    value = rtc_decode(B, cmos[SECONDS]) + 1
    cmos[SECONDS] = rtc_encode(B, 0 if value > 59 else value)
    if value <= 59:
        return
    value = rtc_decode(B, cmos[MINUTES]) + 1
    cmos[MINUTES] = rtc_encode(B, 0 if value > 59 else value)
    if value <= 59:
        return
    if cmos[REG_B] & H24:
        value = rtc_decode(B, cmos[HOURS]) + 1
        cmos[HOURS] = rtc_encode(B, 0 if value > 23 else value)
        if value <= 23:
            return
    else:  # 12, 1, ... 11, each with PM or without
        afternoon = cmos[HOURS] & PM
        value = rtc_decode(B, cmos[HOURS] & 0x7F) + 1
        if value == 12:
            afternoon ^= PM
        cmos[HOURS] = rtc_encode(B, 1 if value > 12 else value) | afternoon
        if value != 12 or afternoon:
            return
    value = rtc_decode(B, cmos[WEEKDAY]) + 1
    cmos[WEEKDAY] = rtc_encode(B, 1 if value > 7 else value)
    month = rtc_decode(B, cmos[MONTH])
    year = rtc_decode(B, cmos[YEAR])
    value = rtc_decode(B, cmos[DAY]) + 1
    if value <= days_in_month(month, year):
        cmos[DAY] = rtc_encode(B, value)
        return
    cmos[DAY] = rtc_encode(B, 1)
    month += 1
    cmos[MONTH] = rtc_encode(B, 1 if month > 12 else month)
    if month <= 12:
        return
    year += 1
    cmos[YEAR] = rtc_encode(B, 0 if year > 99 else year)
    if year > 99:
        century = rtc_decode(B, cmos[CENTURY]) + 1
        cmos[CENTURY] = rtc_encode(B, 0 if century > 99 else century)


@kernel(I64(B_T))
def rtc_alarm(B):
    """1 when the time is that of the alarm; registers from C0h up match anything."""
    for i in range(3):
        wanted = B.cmos[2 * i + 1]
        if wanted < 0xC0 and wanted != B.cmos[2 * i]:
            return 0
    return 1


@kernel(I64(B_T))
def rtc_running(B):
    """1 when the divider chain runs from a 32.768 kHz time base."""
    return 1 if B.cmos[REG_A] & 0x70 == 0x20 else 0


@kernel(I64(B_T))
def rtc_shift(B):
    """The periodic rate as a power of two of the time base's periods, or -1 (data sheet, table 5)."""
    rate = B.cmos[REG_A] & 15
    if rate == 0 or rtc_running(B) == 0:
        return -1
    return rate + 6 if rate < 3 else rate - 1


@kernel(I64(B_T, I64))
def rtc_periods(B, now):
    """Whole periods of the periodic interrupt since the divider chain was let go."""
    shift = rtc_shift(B)
    if shift < 0:
        return 0
    passed = now - B.rtc_base
    return (passed // NS * RTC_HZ + passed % NS * RTC_HZ // NS) >> shift


@kernel(VOID(B_T, I64))
def rtc_sync(B, now):
    """Do the updates that are over by ``now`` and set the flags of register C."""
    flags = B.cmos[REG_C]
    if B.rtc_edge <= now:
        seconds = (now - B.rtc_edge) // NS + 1
        B.rtc_edge = B.rtc_edge + seconds * NS
        if B.cmos[REG_B] & SET == 0:
            for _ in range(seconds):
                rtc_second(B)
                flags |= UF
                if rtc_alarm(B):
                    flags |= AF
    periods = rtc_periods(B, now)
    if periods > B.rtc_period_seen:
        B.rtc_period_seen = periods
        flags |= PF
    flags &= ~IRQF
    if flags & B.cmos[REG_B] & (PF | AF | UF):
        flags |= IRQF
    B.cmos[REG_C] = flags


@kernel(VOID(B_T))
def rtc_rearm(B):
    """Drive IRQ 8 and find the next moment at which it may rise."""
    up = 1 if B.cmos[REG_C] & IRQF else 0
    if up != B.rtc_line:
        B.rtc_line = up
        set_irq(B, 8, up)
    due = NEVER
    if up == 0:
        enabled = B.cmos[REG_B]
        if enabled & (AIE | UIE) and enabled & SET == 0:
            due = B.rtc_edge
        shift = rtc_shift(B)
        if enabled & PIE and shift >= 0:
            at = (B.rtc_period_seen + 1) << shift
            at = B.rtc_base + at // RTC_HZ * NS + (at % RTC_HZ * NS + RTC_HZ - 1) // RTC_HZ
            due = min(due, at)
    B.rtc_due = due


@kernel(VOID(B_T, I64))
def rtc_advance(B, now):
    """Interrupts that are due."""
    rtc_sync(B, now)
    rtc_rearm(B)


@kernel(I64(B_T, I64))
def rtc_read(B, now):
    """Port 71h."""
    at = B.cmos_index
    if at <= REG_D:
        rtc_sync(B, now)
    value = B.cmos[at]
    if at == REG_A:
        left = B.rtc_edge - now
        if B.cmos[REG_B] & SET == 0 and left <= RTC_UPDATE + RTC_WARNING:
            value |= 0x80  # UIP
    elif at == REG_C:
        B.cmos[REG_C] = 0
    elif at == REG_D:
        value = 0x80  # the battery is good
    rtc_rearm(B)
    return value


@kernel(VOID(B_T, I64, I64))
def rtc_write(B, now, value):
    """Port 71h."""
    at = B.cmos_index
    rtc_sync(B, now)
    if at == REG_A:
        ran = rtc_running(B)
        B.cmos[REG_A] = value & 0x7F
        runs = rtc_running(B)
        if runs and not ran:
            B.rtc_base = now
            B.rtc_edge = now + RTC_FIRST
        elif not runs:
            B.rtc_edge = NEVER
        B.rtc_period_seen = rtc_periods(B, now)
    elif at == REG_B:
        B.cmos[REG_B] = value & ~UIE if value & SET else value
        rtc_sync(B, now)
    elif at != REG_C and at != REG_D:
        B.cmos[at] = value
    rtc_rearm(B)
