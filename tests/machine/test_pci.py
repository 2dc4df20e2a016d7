"""Configuration space, windows and interrupt routing, as a driver sees them through CF8h and CFCh."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.errors import UsageError
from aero_lab.machine.board import EXT_NONE, EXT_READ, EXT_WRITE
from aero_lab.machine.bus import Bus
from aero_lab.machine.firmware import PIRQ_IRQS, Bar, add_function, routing_table

from .rig import board


def select(bus: Bus, slot: int, register: int, function: int = 0, number: int = 0) -> int:
    bus.write(0, 0xCF8, 1 << 31 | number << 16 | slot << 11 | function << 8 | register & 0xFC, 4)
    return 0xCFC + (register & 3)


def get(bus: Bus, slot: int, register: int, size: int = 4, function: int = 0) -> int:
    return bus.read(0, select(bus, slot, register, function), size)


def put(bus: Bus, slot: int, register: int, value: int, size: int = 4) -> None:
    bus.write(0, select(bus, slot, register), value, size)


def nic(bus: Bus, slot: int = 5, **more) -> int:
    """A function with the windows of an 82540EM."""
    bars = (Bar(0x20000), Bar(0x40, "io"))
    return add_function(bus, slot, 0, 0x8086, 0x100E, 0x020000, bars=bars, pin=1, **more)


def test_the_bridges_are_those_of_a_440fx():
    bus = board()
    found = {
        (slot, function): get(bus, slot, 0, 4, function)
        for slot in range(32)
        for function in range(8)
        if get(bus, slot, 0, 4, function) != 0xFFFFFFFF
    }
    assert found == {(0, 0): 0x12378086, (1, 0): 0x70008086}
    assert (get(bus, 0, 10, 2), get(bus, 1, 10, 2)) == (0x0600, 0x0601)
    assert (get(bus, 0, 14, 1), get(bus, 1, 14, 1)) == (0x00, 0x80)
    select(bus, 0, 0, number=1)
    assert bus.read(0, 0xCFC, 4) == 0xFFFFFFFF, "there is no bus 1"
    bus.write(0, 0xCF8, 0, 4)
    assert bus.read(0, 0xCFC, 4) == 0xFFFFFFFF, "the enable bit is off"


def test_the_address_register_is_a_double_word():
    """What Linux does to find mechanism 1."""
    bus = board()
    bus.write(0, 0xCFB, 1)
    before = bus.read(0, 0xCF8, 4)
    bus.write(0, 0xCF8, 0x80000000, 4)
    assert bus.read(0, 0xCF8, 4) == 0x80000000
    bus.write(0, 0xCF8, 0x12, 1)
    assert bus.read(0, 0xCF8, 4) == 0x80000000 and before == 0


def test_windows_are_sized_moved_and_switched_off():
    bus = board()
    at = nic(bus)
    base, io = get(bus, 5, 0x10), get(bus, 5, 0x14)
    assert base & 0x1FFFF == 0 and base >= 0xE0000000 and io & 0x3F == 1
    for register, mask in ((0x10, 0xFFFE0000), (0x14, 0xFFFFFFC1), (0x18, 0), (0x30, 0)):
        kept = get(bus, 5, register)
        put(bus, 5, register, 0xFFFFFFFF)
        assert get(bus, 5, register) == mask
        put(bus, 5, register, kept)
        assert get(bus, 5, register) == kept

    def hit(address: int) -> bool:
        bus.row.ext_kind = EXT_NONE
        bus.load(0, address)
        return bus.row.ext_kind != EXT_NONE

    assert hit(base) and hit(base + 0x1FFFC) and not hit(base + 0x20000) and not hit(base + 0x1FFFE)
    put(bus, 5, 0x10, 0xF0000000)
    assert not hit(base) and hit(0xF0000000)
    put(bus, 5, 4, 0x0001, 2)
    assert not hit(0xF0000000), "memory decoding is off"
    put(bus, 5, 4, 0x0003, 2)
    bus.row.ext_kind = EXT_NONE
    bus.write(0, (io & ~3) + 4, 0xDEADBEEF, 4)
    b = bus.row
    assert (b.ext_kind, b.ext_function, b.ext_bar, b.ext_offset, b.ext_size, b.ext_value) == (
        EXT_WRITE, at, 1, 4, 4, 0xDEADBEEF,
    )  # fmt: skip
    b.ext_kind = EXT_NONE
    bus.read(0, (io & ~3) + 6, 2)
    assert (b.ext_kind, b.ext_bar, b.ext_offset, b.ext_size) == (EXT_READ, 1, 6, 2)


def test_a_64_bit_window_above_4_gib_is_out_of_reach():
    bus = board()
    add_function(bus, 8, 0, 0x1AF4, 0x1041, 0x020000, bars=(Bar(0x4000, "memory64"),), pin=1)
    base = get(bus, 8, 0x10)
    assert base & 0xF == 4
    put(bus, 8, 0x14, 0xFFFFFFFF)
    assert get(bus, 8, 0x14) == 0xFFFFFFFF
    bus.load(0, base & ~15)
    assert bus.row.ext_kind == EXT_NONE
    put(bus, 8, 0x14, 0)
    bus.load(0, base & ~15)
    assert bus.row.ext_kind == EXT_READ


@given(
    writes=st.lists(
        st.tuples(st.integers(0, 63), st.sampled_from([(0, 1), (1, 1), (2, 1), (3, 1), (0, 2), (2, 2), (0, 4)]),
                  st.integers(0, 0xFFFFFFFF)),
        max_size=30,
    )
)  # fmt: skip
@settings(max_examples=80)
def test_configuration_space_is_words_with_masks(writes):
    bus = board()
    at = nic(bus)
    model = {}
    for word in range(64):
        model[word] = [
            int(bus.row.pci_config[64 * at + word]),
            int(bus.row.pci_writable[64 * at + word]),
            int(bus.row.pci_clearable[64 * at + word]),
        ]
    for word, (offset, size), value in writes:
        put(bus, 5, 4 * word + offset, value & (1 << 8 * size) - 1, size)
        old, writable, clearable = model[word]
        new = old
        for bit in range(8 * offset, 8 * (offset + size)):
            one = value >> (bit - 8 * offset) & 1
            if writable >> bit & 1:
                new = new & ~(1 << bit) | one << bit
            if clearable >> bit & 1 and one:
                new &= ~(1 << bit)
        model[word][0] = new
        assert get(bus, 5, 4 * word) == new
        for byte in range(4):
            assert get(bus, 5, 4 * word + byte, 1) == new >> 8 * byte & 0xFF


def test_pins_reach_the_controllers_through_the_routing_registers():
    bus = board()
    numbers = {slot: nic(bus, slot) for slot in (3, 4, 5, 6, 7)}
    for slot, number in numbers.items():
        irq = get(bus, slot, 0x3C, 1)
        assert irq == PIRQ_IRQS[(slot - 1) % 4]
        bus.interrupt(number, True)
        assert int(bus.row.pic_irr[1]) == 1 << irq - 8 and get(bus, slot, 6, 2) & 8
        put(bus, slot, 4, 0x0407, 2)
        assert int(bus.row.pic_irr[1]) == 0, "COMMAND bit 10 cuts the pin off"
        put(bus, slot, 4, 0x0007, 2)
        assert int(bus.row.pic_irr[1]) == 1 << irq - 8
        bus.interrupt(number, False)
        assert int(bus.row.pic_irr[1]) == 0
    bus.interrupt(numbers[3], True)
    bus.interrupt(numbers[7], True)
    bus.interrupt(numbers[3], False)
    assert int(bus.row.pci_lines) == 1 << 11, "two functions share a line"
    put(bus, 1, 0x62, 5, 1)
    assert int(bus.row.pci_lines) == 1 << 5, "PIRQC was routed elsewhere"
    put(bus, 1, 0x62, 0x80, 1)
    assert int(bus.row.pci_lines) == 0, "and nowhere"


def test_the_routing_table_is_one():
    """Signature, version, size and checksum of a $PIR table, and links that agree with the wires."""
    table = routing_table()
    assert table[:4] == b"$PIR" and table[4:6] == b"\0\1"
    assert int.from_bytes(table[6:8], "little") == len(table) and len(table) % 16 == 0 and sum(table) % 256 == 0
    for at in range(32, len(table), 16):
        slot = table[at + 1] >> 3
        links = [table[at + 2 + 3 * pin] for pin in range(4)]
        assert links == [0x60 + (slot - 1 + pin) % 4 for pin in range(4)]


def test_wrong_functions_are_refused():
    bus = board()
    nic(bus)
    with pytest.raises(UsageError, match="taken"):
        nic(bus)
    with pytest.raises(UsageError, match="slots 0 to 31"):
        nic(bus, 32)
    with pytest.raises(UsageError, match="power of two"):
        add_function(bus, 9, 0, 1, 1, 0, bars=(Bar(100),))
    with pytest.raises(UsageError, match="six"):
        add_function(bus, 10, 0, 1, 1, 0, bars=(None,) * 5 + (Bar(16, "memory64"),))
    for slot in range(11, 24):
        add_function(bus, slot, 0, 1, 1, 0)
    with pytest.raises(UsageError, match="room for 16"):
        add_function(bus, 25, 0, 1, 1, 0)
