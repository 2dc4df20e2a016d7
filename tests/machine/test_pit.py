"""The 8254 against a counter that counts clock by clock, and against the numbers of its data sheet."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aero_lab.machine.bus import Bus
from aero_lab.machine.firmware import power_on
from aero_lab.machine.limits import NEVER, NS, PIT_HZ
from aero_lab.machine.pit import pit_ticks, pit_time

from .naive import NaiveCounter
from .rig import board

GATE = 61


def at(tick: int, late: int = 0) -> int:
    """A nanosecond at which ``tick`` clocks have passed."""
    first = -(-tick * NS // PIT_HZ)
    return min(first + late, -(-(tick + 1) * NS // PIT_HZ) - 1)


def status(bus: Bus, now: int, ch: int) -> int:
    bus.write(now, 0x43, 0xE0 | 2 << ch)
    return bus.read(now, 0x40 + ch)


def count(bus: Bus, now: int, ch: int, access: int) -> int:
    """The value of a counter, through a latch command."""
    bus.write(now, 0x43, 0xC0 | 0x10 | 2 << ch)
    first = bus.read(now, 0x40 + ch)
    if access == 1:
        return first
    return first << 8 if access == 2 else bus.read(now, 0x40 + ch) << 8 | first


@given(tick=st.integers(0, 1 << 60))
@settings(max_examples=200)
def test_ticks_and_time_are_exact(tick):
    """Integers all the way: no drift after hours, days or years."""
    tick %= PIT_HZ * 86_400 * 3_000
    moment = pit_time(tick)
    assert moment == -(-tick * NS // PIT_HZ)
    assert pit_ticks(moment) == tick and (tick == 0 or pit_ticks(moment - 1) == tick - 1)


OPS = st.lists(
    st.one_of(
        st.tuples(st.just("clock"), st.integers(1, 40)),
        st.tuples(st.just("write"), st.integers(0, 255)),
        st.tuples(st.just("gate"), st.integers(0, 1)),
        st.tuples(st.just("control"), st.integers(1, 3), st.integers(0, 7), st.integers(0, 1)),
    ),
    max_size=30,
)


def small(byte: int, access: int, bcd: int) -> int:
    """A byte that makes counts short enough to see their ends, and no count of one, which modes 2 and 3 forbid."""
    return byte % 8 * (17 if bcd else 3) + 2 if access == 1 else byte % 10 if bcd else byte


@example(start=(1, 0, 0), ops=[("write", 0), ("gate", 1), ("clock", 2)], late=0)  # opened before the count was loaded
@example(start=(1, 4, 0), ops=[("write", 0), ("gate", 1), ("gate", 0), ("clock", 1), ("gate", 1), ("clock", 9)], late=0)
@given(start=st.tuples(st.integers(1, 3), st.integers(0, 5), st.integers(0, 1)), ops=OPS, late=st.integers(0, 900))
@settings(max_examples=250)
def test_counter_2_is_its_twin(start, ops, late):
    bus = board()
    bus.write(0, 0x61, 0)
    twin = NaiveCounter(gate=0)
    tick = 0
    for op in [("control", *start), *ops]:
        now = at(tick, late)
        if op[0] == "clock":
            for _ in range(op[1]):
                twin.clock()
            tick += op[1]
        elif op[0] == "gate":
            bus.write(now, 0x61, op[1])
            twin.set_gate(op[1])
        elif op[0] == "control":
            bus.write(now, 0x43, 0x80 | op[1] << 4 | op[2] << 1 | op[3])
            twin.control(*op[1:])
        else:
            byte = small(op[1], twin.access, twin.bcd)
            if twin.mode in (2, 3) and twin.access != 1 and byte < 2:
                byte = 2
            bus.write(now, 0x42, byte)
            twin.write(byte)
        now = at(tick, late)
        seen = status(bus, now, 2)
        assert seen & 0x3F == twin.access << 4 | twin.mode << 1 | twin.bcd
        assert seen >> 7 == twin.out == bus.read(now, 0x61) >> 5 & 1
        if twin.running and not twin.loading:
            mask = {1: 0xFF, 2: 0xFF00}.get(twin.access, 0xFFFF)
            assert count(bus, now, 2, twin.access) == twin.value() & mask
            if twin.mode not in (2, 3):
                assert bool(seen & 0x40) == twin.null()


@given(
    mode=st.sampled_from([0, 2, 3, 4]),
    counts=st.lists(st.tuples(st.integers(2, 60), st.integers(1, 150)), min_size=1, max_size=6),
)
@settings(max_examples=100)
def test_irq_0_rises_with_the_output_of_counter_0(mode, counts):
    """Deadlines alone drive it: every rise is a request at its very clock, and there are no others."""
    bus = board()
    twin = NaiveCounter(gate=1)
    bus.write(0, 0x21, 0xFE)
    bus.write(0, 0x43, 0x10 | mode << 1)
    twin.control(1, mode, 0)
    tick = 0
    for n, clocks in counts:
        bus.write(at(tick), 0x40, n)
        twin.write(n)
        end = tick + clocks
        while tick < end:
            if bus.row.intr:
                bus.acknowledge()
                bus.write(at(tick), 0x20, 0x20)
            before = twin.rises
            twin.clock()
            tick += 1
            due = int(bus.row.deadline)
            if due <= at(tick):
                assert due == at(tick)
                bus.advance(due)
            assert int(bus.row.intr) == twin.rises - before, f"clock {tick}"


def test_the_data_sheet_on_modes_2_and_3():
    bus = board()
    bus.write(0, 0x43, 0x34)
    bus.write(0, 0x40, 4)
    bus.write(0, 0x40, 0)
    assert [count(bus, at(t), 0, 3) for t in range(1, 10)] == [4, 3, 2, 1, 4, 3, 2, 1, 4]
    assert [status(bus, at(t), 0) >> 7 for t in range(1, 10)] == [1, 1, 1, 0, 1, 1, 1, 0, 1]
    bus.write(at(20), 0x43, 0x36)
    bus.write(at(20), 0x40, 5)
    bus.write(at(20), 0x40, 0)
    assert [count(bus, at(t), 0, 3) for t in range(21, 32)] == [4, 2, 0, 4, 2, 4, 2, 0, 4, 2, 4]
    assert [status(bus, at(t), 0) >> 7 for t in range(21, 32)] == [1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 1]


def test_a_latch_keeps_its_value_and_the_status_comes_first():
    bus = board()
    for value, port in ((0x30, 0x43), (0x00, 0x40), (0x10, 0x40)):
        bus.write(0, port, value)
    bus.write(at(0x101), 0x43, 0x00)
    bus.write(at(0x301), 0x43, 0x00)  # a second latch before the first was read changes nothing
    assert bus.read(at(0x400), 0x40) == 0x00 and bus.read(at(0x500), 0x40) == 0x0F
    assert bus.read(at(0x601), 0x40) == 0x00 and bus.read(at(0x601), 0x40) == 0x0A  # unlatched again
    bus.write(at(0x801), 0x43, 0xC2)
    assert bus.read(at(0x900), 0x40) == 0x30
    assert bus.read(at(0x900), 0x40) | bus.read(at(0x900), 0x40) << 8 == 0x800


def test_refresh_toggles_and_the_gate_of_counter_2_is_a_bit_of_port_61():
    bus = board()
    seen = [bus.read(at(t), 0x61) >> 4 & 1 for t in range(0, 72, 9)]
    assert seen == [0, 0, 1, 1, 0, 0, 1, 1]
    bus.write(0, 0x61, 3)
    assert bus.read(0, 0x61) & 0x0F == 3


def test_a_stopped_counter_has_no_deadline():
    bus = board()
    bus.write(0, 0x43, 0x30)
    assert bus.row.pit_due == NEVER
    bus.write(0, 0x40, 10)
    bus.write(0, 0x40, 0)
    assert bus.row.pit_due == pit_time(11)
    bus.advance(pit_time(11))
    assert bus.row.pit_due == NEVER


@pytest.mark.parametrize("hz", [18, 100, 250, 1000])
def test_a_periodic_timer_keeps_its_rate_for_a_day(hz):
    """Over 86,400 s the interrupts are those that the divisor gives, to the clock."""
    bus = Bus()
    import numpy as np

    power_on(bus, np.zeros(2 << 20, np.uint8), 0)
    divisor = min(round(PIT_HZ / hz), 65535)
    bus.write(0, 0x43, 0x34)
    bus.write(0, 0x40, divisor & 255)
    bus.write(0, 0x40, divisor >> 8)
    far = 86_400 * NS
    bus.advance(far)
    elapsed = PIT_HZ * 86_400 - 1
    expected = (elapsed // divisor + 1) * divisor + 1
    assert bus.row.pit_due == pit_time(expected)
