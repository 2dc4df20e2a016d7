"""Errors of the x87 as a PC reports them: FERR# makes IRQ 13, port F0h clears it and raises IGNNE#."""

from __future__ import annotations

from aero_lab.cpu.state import CR0_NE

from .guest import CODE, DATA, gate, machine, word

HANDLER, TICK = 0x101000, 0x102000
PICS = """
b011 e620 b020 e621 b004 e621 b001 e621
b011 e6a0 b028 e6a1 b002 e6a1 b001 e6a1
"""
"""Both controllers at 20h and 28h."""
DIVIDE = "dbe3 d92d00810000 d9ee d9e8 d8f1"  # FNINIT; FLDCW [8100h]; 1 / 0
COUNT = "ff0500800000"  # inc dword [8000h]
EOI = "b020 e6a0 e620"
WHERE = "8b0424 a304800000"  # the address that was saved, to [8004h]


def guest(masks: str, handler: str, after: str = "9b", enable: str = "fb"):
    """A guest that divides by zero and then waits for its x87."""
    m = machine(PICS + masks + enable + DIVIDE + after + "ff0508800000 fa f4", ram_mb=2)
    m.write(DATA + 0x100, b"\x7b\x03")  # zero divide is not masked
    m.write(HANDLER, bytes.fromhex(handler))
    gate(m, 0x2D, HANDLER)
    c = m._cpu
    c.cr0 = int(c.cr0) & ~CR0_NE & ~6
    return m


OPEN = "b0fb e621 b0df e6a1"  # the cascade and IRQ 13
OPENED = len(bytes.fromhex(PICS + OPEN)) + 1 + len(bytes.fromhex(DIVIDE))
"""Where the waiting instruction lies."""


def test_an_error_interrupts_before_the_next_waiting_instruction():
    m = guest(OPEN, COUNT + WHERE + "e6f0 dbe2" + EOI + "cf")
    assert m.run(instructions=200) == "halted"
    assert word(m, DATA) == 1 and word(m, DATA + 4) == CODE + OPENED and word(m, DATA + 8) == 1
    assert int(m.bus.row.isa_lines) & 1 << 13 == 0 and int(m._cpu.ignne) == 0


def test_the_line_stays_up_until_the_port_is_written_to():
    m = guest(OPEN, COUNT + "fa f4")
    assert m.run(instructions=200) == "halted"
    assert word(m, DATA) == 1 and int(m.bus.row.isa_lines) & 1 << 13 and not int(m._cpu.ignne)
    m = guest(OPEN, COUNT + "e6f0 fa f4")
    assert m.run(instructions=200) == "halted"
    assert word(m, DATA) == 1 and int(m.bus.row.isa_lines) & 1 << 13 == 0 and int(m._cpu.ignne)


def test_behind_the_port_the_handler_may_use_the_unit_and_without_it_hangs():
    """A waiting instruction in the handler, before the error is cleared."""
    for clear, count in (("e6f0", 1), ("", 0)):
        m = guest(OPEN, clear + "9b" + COUNT + "dbe2" + EOI + "cf")
        assert m.run(instructions=200) == "halted"
        assert word(m, DATA) == word(m, DATA + 8) == count


def test_other_interrupts_are_served_while_it_waits():
    """IRQ 13 is masked: the timer ticks, and each return leads to the same instruction."""
    timer = "b034 e643 b0a9 e640 b004 e640"
    m = guest("b0fa e621 b0ff e6a1" + timer, "f4")
    m.write(TICK, bytes.fromhex(COUNT + WHERE + "b020 e620 cf"))
    gate(m, 0x20, TICK)
    m.run(ns=50_500_000)
    assert word(m, DATA) == 50 and word(m, DATA + 8) == 0
    assert word(m, DATA + 4) == CODE + OPENED + len(bytes.fromhex(timer))


def test_with_interrupts_off_it_hangs_as_the_processor_does():
    m = guest(OPEN, "f4", enable="fa")
    assert m.run(instructions=200) == "halted"
    assert int(m._cpu.eip) == CODE + OPENED and int(m.bus.row.isa_lines) & 1 << 13


def test_an_instruction_that_does_not_wait_and_one_without_error_go_on():
    m = guest(OPEN, COUNT + "fa f4", after="dbe2 9b")  # FNCLEX first
    assert m.run(instructions=200) == "halted" and word(m, DATA) == 0 and word(m, DATA + 8) == 1
