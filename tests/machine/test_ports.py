"""The rest of the board: keyboard controller, A20, resets, power-off, video registers, and ports where nothing is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.machine.board import GUEST_EXIT, POWER_OFF, RESET, RUNNING
from aero_lab.machine.limits import UNKNOWN_PORTS
from aero_lab.machine.screen import read_screen

from .rig import MEMORY, board


def ask(bus, command: int) -> int:
    """A command of the keyboard controller that answers."""
    bus.write(0, 0x64, command)
    assert bus.read(0, 0x64) & 1
    return bus.read(0, 0x60)


def test_the_keyboard_controller_answers_for_itself():
    bus = board()
    assert bus.read(0, 0x64) & 3 == 0
    assert ask(bus, 0xAA) == 0x55 and ask(bus, 0xAB) == 0 and ask(bus, 0xA9) == 0 and ask(bus, 0xC0) & 0x80
    assert ask(bus, 0x20) == 0x65
    bus.write(0, 0x64, 0x60)
    bus.write(0, 0x60, 0x47)
    assert ask(bus, 0x20) == 0x47
    for command, bit, off in ((0xA7, 0x20, True), (0xA8, 0x20, False), (0xAD, 0x10, True), (0xAE, 0x10, False)):
        bus.write(0, 0x64, command)
        assert bool(ask(bus, 0x20) & bit) == off
    bus.write(0, 0x64, 0xD3)
    bus.write(0, 0x60, 0x5A)
    assert bus.read(0, 0x64) & 0x21 == 0x21 and int(bus.row.pic_lines[1]) >> 4 & 1, "IRQ 12"
    assert bus.read(0, 0x60) == 0x5A and not int(bus.row.pic_lines[1]) >> 4 & 1
    bus.write(0, 0x60, 0xFF)
    assert bus.read(0, 0x64) & 0x41 == 0x41 and int(bus.row.pic_lines[0]) >> 1 & 1, "no keyboard: a time-out, IRQ 1"
    assert bus.read(0, 0x60) == 0xFE and bus.read(0, 0x64) & 0x61 == 0
    bus.write(0, 0x64, 0xD4)
    bus.write(0, 0x60, 0xF2)
    assert bus.read(0, 0x64) & 0x61 == 0x61 and bus.read(0, 0x60) == 0xFE
    bus.write(0, 0x64, 0xD2)
    bus.write(0, 0x60, 0x1C)
    assert bus.read(0, 0x60) == 0x1C


def test_the_a20_gate_has_two_keepers():
    bus = board()
    assert bus.row.a20 == 1 and bus.read(0, 0x92) == 2
    bus.write(0, 0x92, 0)
    assert bus.row.a20 == 0 and ask(bus, 0xD0) & 2 == 0
    bus.write(0, 0x64, 0xD1)
    bus.write(0, 0x60, 0xDF)
    assert bus.row.a20 == 1 and bus.read(0, 0x92) == 2 and bus.row.stop == RUNNING


@pytest.mark.parametrize(
    "writes, stop",
    [
        ([(0x64, 0xFE, 1)], RESET),
        ([(0x64, 0xD1, 1), (0x60, 0xDE, 1)], RESET),
        ([(0x92, 3, 1)], RESET),
        ([(0xCF9, 2, 1), (0xCF9, 6, 1)], RESET),
        ([(0x604, 0x2000, 2)], POWER_OFF),
        ([(0xF4, 42, 1)], GUEST_EXIT),
        ([(0x604, 0x2000, 1), (0x604, 0, 2), (0xCF9, 2, 1), (0x64, 0xFF, 1), (0x92, 2, 1)], RUNNING),
    ],
)
def test_what_ends_a_machine(writes, stop):
    bus = board()
    for port, value, size in writes:
        bus.write(0, port, value, size)
    assert bus.row.stop == stop and (stop != GUEST_EXIT or bus.row.exit_status == 42)


@given(
    st.lists(
        st.tuples(st.sampled_from([0x200, 0x2F8, 0x3E8, 0x10, 0xC0, 0x1F0, 0xB2]), st.sampled_from([1, 2, 4])),
        max_size=30,
    )
)
@settings(max_examples=50)
def test_where_nothing_is_reads_give_ones_and_are_counted(accesses):
    bus = board()
    bus.row.unknown_count = bus.row.unknown_in = bus.row.unknown_out = 0
    for port, size in accesses:
        assert bus.read(0, port, size) == (1 << 8 * size) - 1
        bus.write(0, port, 0, size)
    assert bus.row.unknown_in == bus.row.unknown_out == len(accesses)
    seen = {int(bus.row.unknown_port[i]): int(bus.row.unknown_hits[i]) for i in range(int(bus.row.unknown_count))}
    assert seen == {p: 2 * sum(1 for q, _ in accesses if q == p) for p, _ in accesses}


def test_the_table_of_unknown_ports_is_bounded():
    bus = board()
    for port in range(0x1000, 0x1000 + 2 * UNKNOWN_PORTS):
        bus.write(0, port, 0)
    assert bus.row.unknown_count == UNKNOWN_PORTS and bus.row.unknown_out == 2 * UNKNOWN_PORTS


def test_memory_without_ram_reads_ones():
    bus = board()
    assert bus.load(0, 0xD0000000) == 0xFFFFFFFF and bus.load(0, 0xD0000000, 1) == 0xFF
    bus.store(0, 0xD0000000, 5)
    assert bus.row.mmio_lost == 3


def test_a_wide_access_to_narrow_chips_is_several():
    bus = board()
    bus.write(0, 0x80, 0x44332211, 4)
    assert [bus.read(0, 0x80 + i) for i in range(4)] == [0x11, 0x22, 0x33, 0x44]
    assert bus.read(0, 0x82, 2) == 0x4433
    bus.write(0, 0x3D4, 0x070E, 2)
    assert bus.read(0, 0x3D5) == 7


def test_the_debug_port_tells_that_it_is_there():
    bus = board()
    assert bus.read(0, 0xE9) == 0xE9
    for byte in b"ok":
        bus.write(0, 0xE9, byte)
    assert [int(bus.row.debug[i]) for i in range(int(bus.row.debug_count))] == list(b"ok")


def test_video_registers_keep_what_is_written_and_retrace_goes_round():
    bus = board()
    for index, value in ((0x0E, 1), (0x0F, 0x90), (0x0C, 0), (0x0D, 80)):
        bus.write(0, 0x3D4, index)
        bus.write(0, 0x3D5, value)
        assert bus.read(0, 0x3D4) == index and bus.read(0, 0x3D5) == value
    for index, data in ((0x3C4, 0x3C5), (0x3CE, 0x3CF)):
        bus.write(0, index, 3)
        bus.write(0, data, 0x77)
        assert bus.read(0, data) == 0x77
    bus.write(0, 0x3C2, 0x63)
    assert bus.read(0, 0x3CC) == 0x63
    bus.read(0, 0x3DA)
    bus.write(0, 0x3C0, 0x11)
    bus.write(0, 0x3C0, 0x05)
    assert bus.read(0, 0x3C0) == 0x11
    frame = [bus.read(t, 0x3DA) for t in range(0, 449 * 31_778, 31_778)]
    assert frame.count(9) == 2 and frame.count(1) == 47 and frame.count(0) == 400
    MEMORY[0xB8000 + 160 : 0xB8000 + 170] = np.frombuffer(b"H\x07i\x07!\x1f<\x07\xdb\x07", np.uint8)
    screen = read_screen(MEMORY, bus.row)
    assert screen.text == "Hi!<█" and screen.cursor == (4, 0) and len(screen.rows) == 25
    assert "&lt;" in screen._repr_html_() and "#00a" in screen._repr_html_()
