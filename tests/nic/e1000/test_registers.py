"""Registers, causes and the pin, statistics, resets, the windows."""

from __future__ import annotations

import numpy as np
import pytest

from aero_lab.errors import UsageError
from aero_lab.nic.e1000 import E1000, names, registers
from aero_lab.nic.e1000.names import ALIASES, OFFSETS
from aero_lab.nic.port import NEVER

from .rig import BROADCAST, MAC, Rig, frame

LSC, TXDW, RXT0 = 4, 1, 0x80


def test_what_a_card_looks_like_after_power_on():
    rig = Rig()
    assert rig.read("STATUS") == 0x83 and rig.read("CTRL") & 0x40
    assert rig.read(0x5400).to_bytes(4, "little") + rig.read(0x5404, 2).to_bytes(2, "little") == MAC
    assert rig.read(0x5404) >> 31 and rig.read("IMS") == 0 and rig.read("ICR") == 0 and rig.read("PBA") == 0x100030
    for name, value in registers.DEFAULTS.items():
        assert rig.read(name) == value
    assert rig.due == NEVER and not rig.pin


# The test of registers that Linux's driver makes ("ethtool -t"), from its idea of the data sheet.
PATTERNS = (0x5A5A5A5A, 0xA5A5A5A5, 0, 0xFFFFFFFF)
MASKED = {
    "FCAL": 0xFFFFFFFF, "FCAH": 0xFFFF, "FCT": 0xFFFF, "VET": 0xFFFF, "RDTR": 0xFFFF, "RDBAH": 0xFFFFFFFF,
    "RDLEN": 0xFFF80, "RDH": 0xFFFF, "RDT": 0xFFFF, "FCRTH": 0xFFF8, "FCTTV": 0xFFFF, "TIPG": 0x3FFFFFFF,
    "TDBAH": 0xFFFFFFFF, "TDLEN": 0xFFF80, "RDBAL": 0xFFFFFFF0, "TDBAL": 0xFFFFFFF0, "TIDV": 0xFFFF,
    "TXCW": 0xC000FFFF, "RADV": 0xFFFF, "TADV": 0xFFFF, "ITR": 0xFFFF,
}  # fmt: skip


@pytest.mark.parametrize("name", MASKED)
def test_registers_keep_what_they_have_bits_for(name):
    rig = Rig()
    for pattern in PATTERNS:
        rig.write(name, pattern)
        assert rig.read(name) & MASKED[name] == pattern & MASKED[name]


def test_tables_are_storage():
    rig = Rig()
    for at, offset in enumerate([0x5200, 0x53FC, 0x5600, 0x57FC, 0x5474, 0x5F00, 0x9000, 0x10000, 0x1FFFC]):
        rig.write(offset, 0x12345678 + at)
    assert [rig.read(o) - 0x12345678 for o in [0x5200, 0x53FC, 0x5600, 0x57FC]] == [0, 1, 2, 3]
    assert rig.read(0x5474) == 0x12345678 + 4 & 0x8003FFFF
    assert [rig.read(o) - 0x12345678 for o in [0x5F00, 0x9000, 0x10000, 0x1FFFC]] == [5, 6, 7, 8]


def test_status_and_statistics_cannot_be_written():
    rig = Rig()
    rig.write("STATUS", 0)
    rig.write("GPRC", 5)
    assert rig.read("STATUS") == 0x83 and rig.read("GPRC") == 0


@pytest.mark.parametrize("alias", ALIASES)
def test_registers_at_their_old_places(alias):
    rig = Rig()
    offset, words = ALIASES[alias]
    last = 4 * (words - 1)
    rig.write(alias + last, 0x81)
    assert rig.read(offset + last) == rig.read(alias + last) == 0x81 & names.MASKS[offset + last >> 2]


def test_narrow_accesses():
    rig = Rig()
    rig.write("FCAL", 0x44332211)
    assert [rig.read(0x28 + i, 1) for i in range(4)] == [0x11, 0x22, 0x33, 0x44] and rig.read(0x2A, 2) == 0x4433
    rig.write(0x28, 0, 2)
    rig.write(0x2A, 0)
    assert rig.read("FCAL") == 0x44332211 and rig.nic.counters["partial_writes"] == 2


def test_the_io_window():
    rig = Rig()

    def out(offset, value):
        rig.nic.write(offset, value, bar=1, ram=rig.ram)

    out(0, OFFSETS["VET"])
    out(4, 0x9100)
    assert rig.nic.read(0, bar=1) == OFFSETS["VET"] and rig.nic.read(4, bar=1) == 0x9100 == rig.read("VET")
    out(0, OFFSETS["STATUS"])
    assert rig.nic.read(4, bar=1) == 0x83 and rig.nic.read(8, bar=1) == 0
    for beyond in (0x20000, 0x7FFFC, 0xFFFFFFFC):
        out(0, beyond)
        out(4, 1)
        assert rig.nic.read(4, bar=1) == 0


def test_beyond_the_window_there_is_nothing():
    rig = Rig()
    rig.write(0x20000, 5)
    assert rig.read(0x20000) == 0 and rig.read(0x1FFFE, 4) == 0


# Interrupts ----------------------------------------------------------------------------------------------------------
def test_causes_masks_and_the_pin():
    rig = Rig()
    rig.write("ICS", LSC)
    assert not rig.pin
    rig.write("IMS", LSC | RXT0)
    assert rig.pin and rig.read("IMS") == LSC | RXT0
    rig.write("IMC", LSC)
    assert not rig.pin and rig.read("IMS") == RXT0
    rig.write("ICS", RXT0 | TXDW)
    assert rig.pin
    rig.write("ICR", RXT0)  # writing ones clears
    assert not rig.pin and rig.cause() == LSC | TXDW and rig.cause() == 0
    rig.write("IMS", 0xFFFFFFFF)
    rig.write("ICS", 0xFFFFFFFF)
    assert rig.pin and rig.read("IMS") == rig.cause() == names.CAUSES and not rig.pin
    assert rig.read("ICS") == rig.read("IMC") == 0


def test_the_throttle_spaces_interrupts():
    rig = Rig()
    rig.write("ITR", 1000)
    rig.write("IMS", TXDW)
    rig.write("ICS", TXDW)
    assert rig.pin
    rig.now = 1000
    rig.cause()
    rig.write("ICS", TXDW)
    assert not rig.pin and rig.due == 256_000
    rig.write("IMC", TXDW)
    assert rig.due == NEVER
    rig.write("IMS", TXDW)
    rig.poll(255_999)
    assert not rig.pin
    rig.poll(256_000)
    assert rig.pin and rig.due == NEVER
    rig.now = 600_000
    rig.cause()
    rig.write("ICS", TXDW)
    assert rig.pin  # long enough ago


# Statistics ----------------------------------------------------------------------------------------------------------
def test_statistics_of_what_came_and_went():
    rig = Rig()
    rig.tx_ring(64)
    rig.rx_ring(64, control=0x8002 | 8 | 16 | 1 << 26 | 0x20)
    sizes = [14, 60, 61, 123, 124, 251, 252, 507, 508, 1019, 1020, 1518]
    for size in sizes:
        rig.send(frame(size, BROADCAST))
        rig.arrive(frame(size, bytes.fromhex("01005e000001")))
    rig.send(frame(60))
    rig.send(frame(60, bytes.fromhex("01005e000001")))
    rig.arrive(frame(60, BROADCAST))
    wire = sum(max(size + 4, 64) for size in sizes)
    expected = {
        "PTC64": 4, "PTC127": 2, "PTC255": 2, "PTC511": 2, "PTC1023": 2, "PTC1522": 2, "GPTC": 14, "TPT": 14,
        "BPTC": 12, "MPTC": 1, "PRC64": 3, "PRC127": 2, "PRC255": 2, "PRC511": 2, "PRC1023": 2, "PRC1522": 2,
        "GPRC": 13, "TPR": 13, "MPRC": 12, "BPRC": 1, "GOTCL": wire + 128, "TOTL": wire + 128, "GORCL": wire + 64,
        "TORL": wire + 64, "GORCH": 0,
    }  # fmt: skip
    assert {name: rig.nic.registers[name] for name in expected} == expected
    assert {name: rig.read(name) for name in expected} == expected
    assert not any(rig.read(name) for name in expected if not name.endswith("L"))


def test_pairs_are_cleared_by_their_upper_word():
    rig = Rig()
    rig.nic.state.reg[OFFSETS["TORL"] >> 2] = 0x5_0000_0007
    assert rig.read("TORL") == 7 and rig.read("TORL") == 7 and rig.nic.registers["TORH"] == 5
    assert rig.read("TORH") == 5 and rig.read("TORL") == 0 == rig.read("TORH")


def test_counters_stop_at_their_end():
    rig = Rig()
    rig.tx_ring()
    rig.nic.state.reg[OFFSETS["GPTC"] >> 2] = 0xFFFFFFFE
    rig.nic.state.reg[OFFSETS["GOTCL"] >> 2] = (1 << 62) - 70
    for _ in range(3):
        rig.send(frame(60))
    assert rig.read("GPTC") == 0xFFFFFFFF and rig.read("GOTCH") == (1 << 30) - 1


# Resets --------------------------------------------------------------------------------------------------------------
def test_reset_by_the_driver():
    rig = Rig()
    rig.tx_ring()
    rig.rx_ring()
    rig.write("PBA", 0x20)
    rig.write("IMS", 0xFF)
    rig.write("ITR", 9)
    rig.write("RDTR", 9)
    rig.arrive(frame(60))
    rig.write(0x5400, 1)
    rig.write("CTRL", rig.read("CTRL") | 1 << 26)
    assert rig.read("CTRL") & 1 << 26 == 0 and rig.read("IMS") == rig.cause() == 0 and not rig.pin
    assert rig.read("RCTL") == rig.read("TCTL") == rig.read("RDT") == 0 and rig.due == NEVER
    assert rig.read("PBA") == 0x200020 and rig.read("STATUS") == 0x83  # the packet buffer's halves outlive it
    assert rig.read(0x5400) == int.from_bytes(MAC[:4], "little") and rig.read("TPR") == 0
    rig.tx_ring()
    rig.send(frame(60))
    assert rig.sent() == [frame(60)]


def test_reset_by_pci():
    rig = Rig()
    rig.write("PBA", 0x20)
    rig.write("MDIC", 1 << 26 | 1 << 21 | 4 << 16 | 0x1234)
    rig.nic.access(4)
    assert rig.read("PBA") == 0x100030
    rig.write("MDIC", 2 << 26 | 1 << 21 | 4 << 16)
    assert rig.read("MDIC") & 0xFFFF == 0x0DE1


# The card as Python sees it ------------------------------------------------------------------------------------------
def test_fields_go_out_and_come_back():
    rig = Rig()
    rig.tx_ring()
    rig.put(0x40000, frame(60))
    rig.legacy(0, 0x40000, 30, 0)
    rig.write("TDT", 1)
    other = Rig()
    values = rig.nic.fields()
    E1000.check(values)
    other.nic.set_fields(values)
    for one in (rig, other):
        one.put(0x40000, frame(60))
        one.legacy(1, 0x40000 + 30, 30)
        one.write("TDT", 2)
    assert rig.sent() == other.sent() == [frame(60)]
    assert rig.nic.registers == other.nic.registers and rig.nic.counters == other.nic.counters


@pytest.mark.parametrize(
    "register, value", [("RDLEN", 1 << 20), ("TDH", 1 << 16), ("GPRC", 1 << 32), ("TORL", 1 << 62), ("VFTA", 1 << 32)]
)
def test_registers_that_no_card_has_are_refused(register, value):
    rig = Rig()
    for fine, at in (("GORCL", (1 << 62) - 1), ("RDLEN", 0xFFF80), ("PBM", 0xFFFFFFFF)):
        rig.nic.state.reg[OFFSETS[fine] >> 2] = at
    values = rig.nic.fields()
    E1000.check(values)
    values["reg"][OFFSETS[register] >> 2] = value
    with pytest.raises(UsageError, match="reg"):
        E1000.check(values)


@pytest.mark.parametrize(
    "name, value",
    [
        ("tx_held", 1 << 30), ("tx_held", -1), ("reg", -1), ("reg", 1 << 32), ("eeprom", 1 << 16), ("phy", -1),
        ("ioaddr", 1 << 32), ("wire_address", 64), ("tx_cursor", 1 << 16), ("tx_frames", -1), ("rdtr_at", -5),
        ("wire_count", 1 << 40), ("rx_seen", -1), ("ctx_ipcso", (1 << 63) - 1), ("tso_hdrlen", 1 << 40),
    ],
)  # fmt: skip
def test_fields_that_no_card_has_are_refused(name, value):
    rig = Rig()
    values = rig.nic.fields()
    values[name] = np.full_like(values[name], value)
    with pytest.raises(UsageError, match=name):
        E1000.check(values)
