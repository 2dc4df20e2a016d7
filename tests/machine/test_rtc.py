"""The MC146818 against the calendar of Python, and its timing against its data sheet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.compiled.registry import PLAIN
from aero_lab.machine.firmware import clock_seconds
from aero_lab.machine.limits import NEVER, NS

from .rig import board

A, B, C, D = 10, 11, 12, 13
MS = NS // 1000


def read(bus, now: int, register: int) -> int:
    bus.write(now, 0x70, register)
    return bus.read(now, 0x71)


def write(bus, now: int, register: int, value: int) -> None:
    bus.write(now, 0x70, register)
    bus.write(now, 0x71, value)


def shown(bus, now: int) -> datetime:
    """The date as a driver reads it, in whichever form register B sets."""
    b = read(bus, now, B)
    raw = [read(bus, now, r) for r in (0x32, 9, 8, 7, 4, 2, 0)]
    afternoon = raw[4] & 0x80
    raw[4] &= 0x7F
    century, year, month, day, hour, minute, second = (
        raw if b & 4 else [(value >> 4) * 10 + (value & 15) for value in raw]
    )
    if not b & 2:
        hour = hour % 12 + (12 if afternoon else 0)
    return datetime(100 * century + year, month, day, hour, minute, second, tzinfo=UTC)


def line(bus) -> bool:
    return bool(int(bus.row.pic_lines[1]) & 1)


FIRST_DAY, LAST_DAY = 946_684_800 // 86_400, 4_102_358_400 // 86_400
LEAPS = [1, 59, 60, 3599] if PLAIN else [1, 59, 60, 3599, 86_399, 86_401]
"""Seconds that pass between two looks; plain Python counts up a day in no reasonable time."""


@given(
    day=st.integers(FIRST_DAY, LAST_DAY),
    second=st.one_of(st.integers(0, 86_399), st.integers(86_390, 86_399), st.integers(43_190, 43_200)),
    binary=st.booleans(),
    hours24=st.booleans(),
    leaps=st.lists(st.sampled_from(LEAPS), max_size=6),
)
@settings(max_examples=40)
def test_the_time_is_the_calendars(day, second, binary, hours24, leaps):
    epoch = 86_400 * day + second
    bus = board(epoch)
    if binary or not hours24:
        write(bus, 0, B, 0x80 | binary << 2 | hours24 << 1)
        date = datetime.fromtimestamp(epoch, UTC)
        hour = date.hour if hours24 else (date.hour % 12 or 12)
        values = (date.year // 100, date.year % 100, date.month, date.day, hour, date.minute, date.second)
        for register, value in zip((0x32, 9, 8, 7, 4, 2, 0), values):
            coded = value if binary else value // 10 << 4 | value % 10
            if register == 4 and not hours24 and date.hour >= 12:
                coded |= 0x80
            write(bus, 0, register, coded)
        write(bus, 0, B, binary << 2 | hours24 << 1)
        assert read(bus, 0, B) == binary << 2 | hours24 << 1
    start = datetime.fromtimestamp(epoch, UTC)
    weekday = read(bus, 0, 6)
    seconds = 0
    for leap in leaps:
        seconds += leap
        now = seconds * NS + 5 * MS
        assert shown(bus, now) == start + timedelta(seconds=seconds)
        days = (start + timedelta(seconds=seconds)).date() - start.date()
        assert (read(bus, now, 6) - weekday - days.days) % 7 == 0
    if not binary and hours24:
        assert clock_seconds(bus.row) == epoch + seconds


def test_update_in_progress_and_the_frozen_clock():
    """UIP goes up 244 us before an update cycle of 1984 us, and the time changes at the end of it."""
    bus = board(1_000_000_000)
    second = read(bus, 0, 0)
    assert [read(bus, now, A) >> 7 for now in (0, NS - 2_229_000, NS - 2_227_000, NS - 1)] == [0, 0, 1, 1]
    assert read(bus, NS - 1, 0) == second and read(bus, NS, A) >> 7 == 0
    assert read(bus, NS, 0) == second + 1
    write(bus, NS, B, 0x82)
    assert read(bus, 2 * NS - 1, A) >> 7 == 0 and read(bus, 5 * NS, 0) == second + 1
    write(bus, 5 * NS, B, 0x02)
    assert read(bus, 6 * NS, 0) == second + 2
    assert read(bus, 6 * NS, D) == 0x80


@pytest.mark.parametrize("rate, hz", [(1, 256), (2, 128), (3, 8192), (6, 1024), (10, 64), (15, 2)])
def test_periodic_interrupts_come_at_the_rate_of_table_5(rate, hz):
    bus = board()
    write(bus, 0, A, 0x20 | rate)
    write(bus, 0, B, 0x42)
    count, now = 0, 0
    while True:
        now = int(bus.row.rtc_due)
        if now > 2 * NS or count > 20_000:
            break
        assert not line(bus)
        bus.advance(now)
        assert line(bus)
        count += 1
        assert now == -(-count * NS // hz)
        assert read(bus, now, C) & 0xC0 == 0xC0 and not line(bus)
    assert count == 2 * hz


def test_alarm_and_update_interrupts():
    bus = board(0)
    write(bus, 0, 1, 0x03)
    write(bus, 0, 3, 0xFF)
    write(bus, 0, 5, 0xC0)
    write(bus, 0, B, 0x22)
    for now in (NS, 2 * NS):
        assert bus.row.rtc_due == now
        bus.advance(now)
        assert not line(bus)
    bus.advance(3 * NS)
    assert line(bus) and read(bus, 3 * NS, C) & 0xB0 == 0xB0 and not line(bus)
    write(bus, 3 * NS, B, 0x12)
    assert bus.row.rtc_due == 4 * NS
    bus.advance(4 * NS)
    assert line(bus) and read(bus, 4 * NS, C) & 0x90 == 0x90
    write(bus, 4 * NS, B, 0x82 | 0x10)
    assert read(bus, 4 * NS, B) == 0x82, "SET clears UIE"
    assert bus.row.rtc_due == NEVER


def test_the_divider_chain_starts_half_a_second_before_an_update():
    bus = board(0)
    write(bus, 100, A, 0x66)
    assert bus.row.rtc_edge == NEVER
    write(bus, 3 * NS, A, 0x26)
    second = read(bus, 3 * NS, 0)
    assert read(bus, 3 * NS + NS // 2 - 1, 0) == second
    assert read(bus, 3 * NS + NS // 2, 0) == second + 1


def test_memory_keeps_what_is_written_and_says_how_much_ram_there_is():
    bus = board()
    assert read(bus, 0, 0x15) | read(bus, 0, 0x16) << 8 == 640
    assert read(bus, 0, 0x30) | read(bus, 0, 0x31) << 8 == 1024
    assert sum(read(bus, 0, at) for at in range(0x10, 0x2E)) == read(bus, 0, 0x2E) << 8 | read(bus, 0, 0x2F)
    for at in (0x0E, 0x33, 0x7F):
        write(bus, 0, at, at ^ 0xA5)
    assert [read(bus, 0, at) for at in (0x0E, 0x33, 0x7F)] == [at ^ 0xA5 for at in (0x0E, 0x33, 0x7F)]
