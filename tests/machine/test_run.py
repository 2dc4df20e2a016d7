"""The loop itself: its clocks, its gate, and that slices, saves and forks leave no trace in what the guest does."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.compiled.registry import PLAIN
from aero_lab.machine.limits import NEVER
from aero_lab.machine.run import run_slice

from .guest import machine, printer, ticker, word

MS = 1_000_000


def test_rebasing_rounds_nothing():
    """At an odd rate, however often the count is begun anew, the time is that of the whole count."""
    m = machine("ebfe", rate=0.731)
    c = m._cpu
    mult = int(c.ns_mult)
    c.icount = (1 << 40) + 12_345
    expected = (int(c.icount) * mult) >> 20
    assert m.now == expected
    m.run(instructions=3)
    assert int(c.ns_icount) > 0 and m.now == (int(c.icount) * mult) >> 20
    m.run(instructions=20_000 if PLAIN else 3_000_000)
    assert m.now == (int(c.icount) * mult) >> 20


def test_host_time_is_followed_and_never_goes_back():
    m = machine("ebfe", clock="host")
    rate = 2 << 20
    for host, expected in ((1_000, 1_200), (5_000, 5_200), (100, 5_400), (5_500, 5_700)):
        until = m.icount + 100
        run_slice(*m.core.arrays, m.bus.records, *m._cards.arrays, until, NEVER, host, rate, 0)
        assert m.icount == until and m.now == expected


def test_a_closed_gate_wraps_addresses_at_a_megabyte():
    m = machine("90")
    code = bytes.fromhex("b000 e692 a0 00801000 a2 00900000 b002 e692 a0 00801000 a2 01900000 f4")
    m.write(0x8000, b"\x11")
    m.write(0x108000, b"\x22")
    m.write(0x3000, code)
    m.enter(0x3000)
    assert m.run() == "halted"
    assert m.read(0x9000, 2) == b"\x11\x22"


STOPS = st.lists(st.integers(1, 40_000), min_size=1, max_size=8)


@given(parts=STOPS, busy=st.booleans())
@settings(max_examples=12)
def test_slices_saves_and_forks_leave_no_trace(parts, busy, tmp_path_factory):
    """Run in pieces, through files and forks, or in one go: the same machine, bit by bit."""
    total = sum(parts)
    whole = ticker(busy)
    whole.run(ns=total)
    m = ticker(busy)
    path = tmp_path_factory.mktemp("run") / "m"
    for number, part in enumerate(parts):
        m.run(ns=part)
        if number % 3 == 1:
            m.save(path)
            m = type(m).load(path)
        elif number % 3 == 2:
            m = m.fork()
    assert m.now == whole.now and m.icount == whole.icount
    assert m.state_hash() == whole.state_hash()
    m.run(ns=MS)
    assert m.state_hash() != whole.state_hash()


@given(parts=STOPS)
@settings(max_examples=12)
def test_steps_by_instructions_and_by_time_meet(parts):
    m, other = ticker(busy=True), ticker(busy=True)
    for part in parts:
        m.run(instructions=part)
    other.run(instructions=sum(parts))
    assert m.state_hash() == other.state_hash() and word(m, 0x8000) == word(other, 0x8000)


def test_a_fork_goes_its_own_way():
    m = machine(printer(b"ab"))
    m.run("a")
    other = m.fork()
    assert other.state_hash() == m.state_hash() and other.console.text == "a"
    m.registers.eax = 5
    assert other.registers.eax != 5
    assert other.run() == "halted" and other.console.text == "ab" and m.console.text == "a"
    m.write(0x5000, b"x")
    assert other.read(0x5000, 1) == b"\0"
