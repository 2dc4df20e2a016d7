"""The 16550: register by register as its data sheet says, and its receiver against a deque."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.machine.bus import Bus

from .naive import NaiveReceiver
from .rig import board

DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR = range(0x3F8, 0x400)
CHARACTER = 10 * 10**9 // 115200
"""Nanoseconds of 8N1 at 115,200 baud, which power-on leaves."""


def put(bus: Bus, data: bytes) -> None:
    """Type bytes into the port's other end."""
    tail = int(bus.row.in_tail)
    for i, byte in enumerate(data):
        bus.row.input[(tail + i) % len(bus.row.input)] = byte
    bus.row.in_tail = tail + len(data)


def printed(bus: Bus) -> bytes:
    return bytes(int(bus.row.out[i]) for i in range(int(bus.row.out_tail)))


def line(bus: Bus) -> bool:
    """The interrupt request as the first controller sees it."""
    return bool(int(bus.row.pic_lines[0]) >> 4 & 1)


def test_scratch_divisor_and_the_registers_that_keep_what_is_written():
    bus = board()
    for value in (0, 0x5A, 0xFF):
        bus.write(0, SCR, value)
        assert bus.read(0, SCR) == value
    bus.write(0, LCR, 0x83)
    bus.write(0, DATA, 0x0C)
    bus.write(0, IER, 0x34)
    assert (bus.read(0, DATA), bus.read(0, IER)) == (0x0C, 0x34)
    bus.write(0, LCR, 0x1B)
    assert bus.read(0, LCR) == 0x1B
    bus.write(0, IER, 0xFF)
    assert bus.read(0, IER) == 0x0F, "the upper half of IER is always 0"
    bus.write(0, MCR, 0xFF)
    assert bus.read(0, MCR) == 0x1F
    assert bus.read(0, LSR) == 0x60


def test_iir_tells_16550a_from_its_elders():
    bus = board()
    assert bus.read(0, IIR) == 0x01
    bus.write(0, IIR, 0x01)
    assert bus.read(0, IIR) == 0xC1
    bus.write(0, IIR, 0xE0)  # without bit 0 nothing else counts, and the FIFOs are off
    assert bus.read(0, IIR) == 0x01


def test_modem_lines_in_the_loop_and_outside():
    bus = board()
    assert bus.read(0, MSR) == 0xB0
    bus.write(0, MCR, 0x1A)
    assert bus.read(0, MSR) & 0xF0 == 0x90, "RTS is CTS, OUT2 is DCD"
    bus.write(0, MCR, 0x10)
    assert bus.read(0, MSR) == 0x09, "both have changed"
    bus.write(0, MCR, 0x14)
    assert bus.read(0, MSR) == 0x40, "a ring that begins is no change"
    bus.write(0, MCR, 0x10)
    assert bus.read(0, MSR) == 0x04, "a ring that ends is one"
    bus.write(0, MCR, 0)
    assert bus.read(0, MSR) & 0xF0 == 0xB0
    bus.write(0, IER, 8)
    bus.write(0, MCR, 8)
    assert bus.read(0, MSR) is not None and not line(bus)
    bus.modem(0xA0)
    assert line(bus) and bus.read(0, IIR) == 0x00
    assert bus.read(0, MSR) == 0xA1 and not line(bus)


def test_what_is_sent_is_printed_and_the_transmitter_asks_for_more():
    bus = board()
    bus.write(0, MCR, 8)
    bus.write(0, IER, 2)
    assert line(bus) and bus.read(0, IIR) == 2 and not line(bus), "reading IIR takes the request back"
    for byte in b"hello":
        bus.write(0, DATA, byte)
        assert line(bus)
    assert printed(bus) == b"hello"
    bus.write(0, IER, 0)
    assert not line(bus)
    bus.write(0, IER, 2)
    assert line(bus), "enabling it with an empty transmitter asks at once"
    bus.write(0, MCR, 0)
    assert not line(bus), "OUT2 is the gate"


def test_loopback_overruns_and_priorities():
    bus = board()
    bus.write(0, MCR, 0x18)
    bus.write(0, IER, 7)
    bus.write(0, DATA, 0x41)
    bus.write(0, DATA, 0x42)
    assert printed(bus) == b""
    assert bus.read(0, IIR) == 6, "line status comes first"
    assert bus.read(0, LSR) & 3 == 3 and bus.read(0, LSR) & 3 == 1
    assert bus.read(0, IIR) == 4 and bus.read(0, DATA) == 0x42
    assert bus.read(0, IIR) == 2
    assert not line(bus), "the loop cuts OUT2"
    bus.write(0, IIR, 1)
    for byte in range(17):
        bus.write(0, DATA, byte)
    assert [bus.read(0, LSR) & 3, *[bus.read(0, DATA) for _ in range(16)]] == [3, *range(16)]
    bus.write(0, LCR, 0x43)
    assert bus.read(0, LSR) & 0x91 == 0x91 and bus.read(0, LSR) & 0x10 == 0, "a break, told once"


def test_characters_lose_the_bits_that_the_line_has_not():
    bus = board()
    bus.write(0, LCR, 0x02)
    bus.write(0, DATA, 0xC1)
    put(bus, b"\xff")
    bus.advance(0)
    assert printed(bus) == b"\x41" and bus.read(0, DATA) == 0x7F


@given(
    fcr=st.sampled_from([0, 0x01, 0x41, 0x81, 0xC1]),
    ops=st.lists(
        st.one_of(
            st.tuples(st.just("type"), st.binary(min_size=1, max_size=40)),
            st.tuples(st.just("read"), st.integers(1, 20)),
            st.tuples(st.just("wait"), st.sampled_from([1000, CHARACTER, 4 * CHARACTER, 10 * CHARACTER])),
        ),
        max_size=25,
    ),
)
@settings(max_examples=150)
def test_the_receiver_is_its_twin(fcr, ops):
    bus, twin, now = board(), NaiveReceiver(), 0
    bus.write(0, MCR, 8)
    bus.write(0, IER, 1)
    bus.write(0, IIR, fcr)
    twin.enabled = bool(fcr & 1)
    twin.level = twin.LEVELS[fcr >> 6] if twin.enabled else 1
    for op in ops:
        if op[0] == "type":
            put(bus, op[1])
            twin.line.extend(op[1])
            twin.fill(now)
            bus.advance(now)
        elif op[0] == "wait":
            now += op[1]
            if bus.row.deadline <= now:
                bus.advance(now)
        else:
            for _ in range(op[1]):
                expected = twin.read(now)
                ready = bus.read(now, LSR) & 1
                got = bus.read(now, DATA)
                assert (got if ready else None) == expected
        full = len(twin.fifo) >= twin.level
        late = twin.timed_out(now, CHARACTER)
        assert bus.read(now, LSR) & 1 == bool(twin.fifo)
        assert line(bus) == (full or late)
        assert bus.read(now, IIR) & 15 == (4 if full else 12 if late else 1)


LINES = [(3, 1, 20), (3, 12, 20), (0x1B, 96, 22), (0x04, 3, 15), (0x07, 0, 22)]


@pytest.mark.parametrize("lcr, divisor, halves", LINES)
def test_paced_characters_take_their_time(lcr, divisor, halves):
    """Half bits of 16 / 1.8432 MHz times the divisor; FIFO and shift register as the data sheet says."""
    bus = board(paced=True)
    bus.write(0, LCR, 0x80)
    bus.write(0, DATA, divisor & 255)
    bus.write(0, IER, divisor >> 8)
    bus.write(0, LCR, lcr)
    bus.write(0, IIR, 1)
    bus.write(0, MCR, 8)
    bus.write(0, IER, 2)
    character = halves * (divisor or 65536) * 16 * 10**9 // (2 * 1843200)
    bus.read(0, IIR)
    for byte in b"\1\2\3":
        bus.write(0, DATA, byte)
    assert printed(bus) == b"" and bus.read(0, LSR) & 0x60 == 0
    arrivals = []
    now = 0
    while bus.row.deadline < 1 << 62 and len(arrivals) < 5:
        if bus.row.deadline > 1 << 50:
            break
        now = int(bus.row.deadline)
        if now > 4 * character:
            break
        before = len(printed(bus))
        bus.advance(now)
        if len(printed(bus)) > before:
            arrivals.append(now)
    assert arrivals == [character, 2 * character, 3 * character]
    assert bus.read(now, LSR) & 0x60 == 0x60 and line(bus)


def test_a_text_is_found_where_it_ends():
    bus = board()
    for at, byte in enumerate(b"aab"):
        bus.row.match[at] = byte
    bus.row.match_size = 3
    found = []
    for byte in b"aaabaab":
        bus.write(0, DATA, byte)
        found.append(int(bus.row.matched))
        bus.row.matched = 0
    assert found == [0, 0, 0, 1, 0, 0, 1]
    bus.row.match_start = int(bus.row.out_tail) - 1
    for byte in b"ab":
        bus.write(0, DATA, byte)
    assert bus.row.matched == 0, "what was printed before does not count"


def test_a_cleared_receiver_has_nothing_and_waits_for_nothing():
    """By the bit in FCR and by turning the FIFOs off, before a character's time-out and after it."""
    for clear in (0x83, 0x00):
        for late in (False, True):
            bus = board()
            bus.write(0, IIR, 0x81)  # FIFOs on, trigger at eight characters
            bus.write(0, MCR, 0x08)  # OUT2 lets interrupts out
            bus.write(0, IER, 0x01)
            put(bus, b"abc")
            bus.advance(0)
            assert bus.read(0, LSR) & 1 and not line(bus)
            now = 100 * CHARACTER if late else 1
            bus.advance(now)
            assert line(bus) == late, "a time-out of four characters"
            bus.write(now, IIR, clear)
            assert bus.read(now, LSR) & 1 == 0 and not line(bus)
            bus.advance(now + 100 * CHARACTER)
            assert not line(bus) and bus.read(now + 100 * CHARACTER, IIR) & 0xF == 1
