"""The two small things behind the card, by the means that drivers have: EERD, EECD's lines, MDIC; and the link."""

from __future__ import annotations

import random

from aero_lab.nic.e1000.phy import AUTONEG, RESET_VALUES
from aero_lab.nic.port import LINK, NEVER

from .rig import MAC, Rig, frame

SK, CS, DI, DO, REQ, GNT, PRES, SIZE = 1, 2, 4, 8, 0x40, 0x80, 0x100, 0x200
LSC, MDAC = 4, 0x200


class Microwire:
    """Moves the lines as drivers do."""

    def __init__(self, rig):
        self.rig = rig
        self.lines = REQ
        self.put()
        assert rig.read("EECD") & GNT

    def put(self):
        self.rig.write("EECD", self.lines)

    def select(self, up):
        self.lines = self.lines & ~(CS | SK | DI) | (CS if up else 0)
        self.put()

    def clock(self, bit=0):
        self.lines = self.lines & ~(SK | DI) | (DI if bit else 0)
        self.put()
        self.lines |= SK
        self.put()
        out = 1 if self.rig.read("EECD") & DO else 0
        self.lines &= ~SK
        self.put()
        return out

    def out(self, value, bits):
        for i in range(bits - 1, -1, -1):
            self.clock(value >> i & 1)

    def take(self, bits=16):
        value = 0
        for _ in range(bits):
            value = value << 1 | self.clock()
        return value

    def read(self, address, words=1):
        self.select(True)
        self.out(0b110, 3)
        self.out(address, 6)
        got = [self.take() for _ in range(words)]
        self.select(False)
        return got

    def command(self, bits, size, data=None):
        self.select(True)
        self.out(bits, size)
        if data is not None:
            self.out(data, 16)
        self.select(False)
        self.select(True)
        ready = self.rig.read("EECD") & DO
        self.select(False)
        return bool(ready)


def eerd(rig, address):
    rig.write("EERD", address << 8 | 1)
    value = rig.read("EERD")
    assert value & 0x11 == 0x10 and value >> 8 & 0xFF == address
    return value >> 16


def test_words_by_eerd():
    rig = Rig()
    words = [eerd(rig, i) for i in range(64)]
    assert b"".join(w.to_bytes(2, "little") for w in words[:3]) == MAC
    assert sum(words) & 0xFFFF == 0xBABA and words[0x0B:0x0F] == [0x100E, 0x8086, 0x100E, 0x8086]
    rig.write("EERD", 0x500)
    assert rig.read("EERD") == 0x500


def test_words_by_the_bus():
    rig = Rig()
    wire = Microwire(rig)
    words = [eerd(rig, i) for i in range(64)]
    assert [wire.read(i)[0] for i in range(64)] == words
    assert wire.read(60, 10) == words[60:] + words[:6]  # reading goes on for as long as CS stays up
    assert wire.read(0, 70) == words + words[:6]
    assert rig.read("EECD") & (PRES | SIZE) == PRES


def test_no_grant_without_request():
    rig = Rig()
    assert rig.read("EECD") & GNT == 0


def test_leading_zeros_are_no_command():
    rig = Rig()
    wire = Microwire(rig)
    wire.select(True)
    wire.out(0, 5)
    wire.out(0b110, 3)
    wire.out(1, 6)
    assert wire.take() == eerd(rig, 1)


def test_writing_has_to_be_allowed():
    rig = Rig()
    wire = Microwire(rig)
    before = eerd(rig, 9)
    assert wire.command(0b101 << 6 | 9, 9, 0x1234) and eerd(rig, 9) == before
    wire.command(0b10011 << 4, 9)  # EWEN
    assert wire.command(0b101 << 6 | 9, 9, 0x1234) and eerd(rig, 9) == 0x1234
    assert wire.command(0b111 << 6 | 9, 9) and eerd(rig, 9) == 0xFFFF
    wire.command(0b10001 << 4, 9, 0xABCD)
    assert {eerd(rig, i) for i in range(64)} == {0xABCD}
    wire.command(0b10010 << 4, 9)
    assert {eerd(rig, i) for i in range(64)} == {0xFFFF}
    wire.command(0b101 << 6, 9, 0x1111)
    wire.command(0b10000 << 4, 9)  # EWDS
    wire.command(0b101 << 6, 9, 0x2222)
    assert eerd(rig, 0) == 0x1111
    rig.write("CTRL_EXT", 1 << 13)
    assert rig.read(0x5400) == 0xFFFF1111 and rig.read("CTRL_EXT") == 0


def test_an_unfinished_write_writes_nothing():
    rig = Rig()
    wire = Microwire(rig)
    wire.command(0b10011 << 4, 9)
    before = eerd(rig, 3)
    wire.select(True)
    wire.out(0b101 << 6 | 3, 9)
    wire.out(0xFFF, 12)
    wire.select(False)
    wire.select(True)
    wire.select(False)
    assert eerd(rig, 3) == before


def test_any_movement_of_the_lines_is_survived():
    rig = Rig()
    chance = random.Random(5)
    for _ in range(20_000):
        rig.write("EECD", chance.getrandbits(10))
        rig.read("EECD")
    rig.write("EECD", 0)
    wire = Microwire(rig)
    assert wire.read(7) == [eerd(rig, 7)]


# The PHY -------------------------------------------------------------------------------------------------------------
def phy_read(rig, register, address=1, extra=0):
    rig.write("MDIC", 2 << 26 | address << 21 | register << 16 | extra)
    value = rig.read("MDIC")
    assert value & 1 << 28
    return -1 if value & 1 << 30 else value & 0xFFFF


def phy_write(rig, register, value, address=1):
    rig.write("MDIC", 1 << 26 | address << 21 | register << 16 | value)
    return rig.read("MDIC") & 1 << 30 == 0


def test_identity_and_abilities():
    rig = Rig()
    assert {r: phy_read(rig, r) for r in RESET_VALUES} == {**RESET_VALUES, 1: 0x796D}
    assert phy_read(rig, 5) == 0xCDE1 and phy_read(rig, 10) == 0x3C00 and phy_read(rig, 17) == 0xAC00


def test_there_is_one_phy_on_the_bus():
    rig = Rig()
    assert phy_read(rig, 1, 0) == -1 == phy_read(rig, 1, 2) and not phy_write(rig, 4, 1, 31)
    rig.write("MDIC", 3 << 26 | 1 << 21)
    assert rig.read("MDIC") & 1 << 30
    assert rig.cause() & MDAC == 0
    phy_read(rig, 1, extra=1 << 29)
    assert rig.cause() & MDAC


def test_registers_that_can_be_written():
    rig = Rig()
    for register in range(1, 32):
        assert phy_write(rig, register, 0x5555)
    fixed = {1: 0x796D, 2: 0x0141, 3: 0x0C20, 5: 0xCDE1, 10: 0x3C00, 17: 0xAC00}
    assert [phy_read(rig, r) for r in range(1, 32)] == [fixed.get(r, 0x5555) for r in range(1, 32)]


def test_a_new_negotiation_takes_its_time():
    rig = Rig()
    rig.write("IMS", LSC)
    phy_write(rig, 0, 0x1340)
    assert rig.read("STATUS") & 2 == 0 and rig.cause() == LSC and rig.due == AUTONEG
    assert phy_read(rig, 0) == 0x1140 and phy_read(rig, 1) == 0x7949 and phy_read(rig, 17) == 0x8000
    assert phy_read(rig, 5) == phy_read(rig, 10) == 0
    rig.poll(AUTONEG - 1)
    assert not rig.pin
    rig.poll(AUTONEG)
    assert rig.pin and rig.read("STATUS") & 2 and rig.cause() == LSC and rig.due == NEVER
    assert phy_read(rig, 1) == 0x796D


def test_a_lost_link_shows_once_more():
    rig = Rig()
    rig.nic.access(LINK, value=0)
    rig.nic.access(LINK, value=1, now=0)
    rig.poll(AUTONEG)
    assert [phy_read(rig, 1) for _ in range(2)] == [0x7969, 0x796D]


def test_the_cable():
    rig = Rig()
    rig.tx_ring()
    rig.nic.access(LINK, value=0)
    assert rig.read("STATUS") & 2 == 0 and rig.cause() == LSC and phy_read(rig, 1) & 4 == 0
    rig.send(frame(60))
    assert rig.sent() == [] and rig.tx_done(0) and rig.nic.counters["tx_link_down"] == 1  # onto a dead wire
    assert rig.cause() == 3 and rig.read("GPTC") == 0
    rig.nic.access(LINK, value=0)
    assert rig.cause() == 0
    rig.nic.access(LINK, value=1, now=50)
    assert rig.due == 50 + AUTONEG
    rig.poll(50 + AUTONEG)
    assert rig.read("STATUS") & 2 and rig.cause() & LSC
    rig.send(frame(61))
    assert rig.sent() == [frame(61)]


def test_the_driver_may_keep_the_link_down():
    rig = Rig()
    control = rig.read("CTRL")
    rig.write("CTRL", control & ~0x40)
    assert rig.read("STATUS") & 2 == 0 and rig.cause() == LSC
    rig.write("CTRL", control)
    assert rig.read("STATUS") & 2 and rig.cause() == LSC
    phy_write(rig, 0, 0x1940)  # power down
    assert rig.read("STATUS") & 2 == 0
    phy_write(rig, 0, 0x1340)
    rig.poll(AUTONEG)
    assert rig.read("STATUS") & 2


def test_resets_of_the_phy():
    rig = Rig()
    phy_write(rig, 4, 1)
    phy_write(rig, 0, 0x8000)
    assert phy_read(rig, 0) == 0x1140 and rig.due == AUTONEG
    rig.poll(AUTONEG)
    rig.write("CTRL", rig.read("CTRL") | 1 << 31)
    assert phy_read(rig, 4) == 0x0DE1 and rig.read("CTRL") >> 31 == 0 and rig.read("STATUS") & 2 == 0
    rig.poll(2 * AUTONEG)
    assert rig.read("STATUS") & 2
