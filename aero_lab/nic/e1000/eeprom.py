"""The serial EEPROM, a 93C46: 64 words on a Microwire bus, and the two ways to it (SDM 5.6, 13.4.3, 13.4.4).

EERD reads a word at a stroke. Most drivers move the bus's lines themselves, by bits of EECD: they ask for the bus
(REQ, answered by GNT), raise CS, and with every rising edge of SK the EEPROM takes a bit from DI and puts one on DO. A
command is a one, two bits of operation and six of address; a word follows, most significant bit first. Reading goes
on with the next word for as long as CS stays up. What is written is written when CS falls.
"""

from __future__ import annotations

from ...compiled.registry import I64, VOID, kernel
from .names import EECD, EERD, RA, RAH_AV
from .state import EEPROM_WORDS, D

SK, CS, DI, DO, FWE, REQ, GNT, PRES = 1, 2, 4, 8, 0x30, 0x40, 0x80, 0x100
EERD_START, EERD_DONE = 1, 0x10
CHECKSUM = 0xBABA
"""The sum of all words (SDM 5.6.35)."""
COMMAND_BITS, ADDRESS_BITS, WORD_BITS = 9, 6, 16
OP_MORE, OP_WRITE, OP_READ, OP_ERASE = 0, 1, 2, 3
MORE_DISABLE, MORE_WRITE_ALL, MORE_ERASE_ALL, MORE_ENABLE = 0, 1, 2, 3
WRITE_NONE, WRITE_ONE, WRITE_ALL = 0, 1, 2


def contents(mac: bytes) -> list[int]:
    """The words of a new card's EEPROM (SDM table 5-2), its address and a valid checksum among them."""
    words = [0xFFFF] * EEPROM_WORDS
    words[0:3] = [mac[at] | mac[at + 1] << 8 for at in (0, 2, 4)]
    words[0x03:0x05] = [0x0000, 0x0000]
    words[0x05:0x0A] = [0xFFFF, 0x0000, 0x0000, 0x3000, 0x1000]
    words[0x0A] = 0x4408  # initialization control 1: load subsystem and vendor identities
    words[0x0B:0x0F] = [0x100E, 0x8086, 0x100E, 0x8086]
    words[0x0F] = 0xB040  # initialization control 2
    words[0x3F] = CHECKSUM - sum(words[:0x3F]) & 0xFFFF
    return words


@kernel(VOID(D))
def load_address(D):
    """What the card does after a reset: the first three words become its first receive address."""
    D.reg[RA] = D.eeprom[0] | D.eeprom[1] << 16
    D.reg[RA + 1] = D.eeprom[2] | RAH_AV


@kernel(VOID(D, I64))
def eerd_write(D, value):
    """Read a word by EERD."""
    if value & EERD_START:
        word = D.eeprom[value >> 8 & (EEPROM_WORDS - 1)]
        D.reg[EERD] = word << 16 | value & 0xFF00 | EERD_DONE
    else:
        D.reg[EERD] = value & 0xFF00


@kernel(VOID(D))
def _deselect(D):
    """CS fell: store what was to be written, and forget the command."""
    if D.wire_enabled and D.wire_write == WRITE_ONE:
        D.eeprom[D.wire_address] = D.wire_bits & 0xFFFF
    elif D.wire_enabled and D.wire_write == WRITE_ALL:
        for i in range(EEPROM_WORDS):
            D.eeprom[i] = D.wire_bits & 0xFFFF
    D.wire_write = WRITE_NONE
    D.wire_take = WRITE_NONE
    D.wire_bits = 0
    D.wire_count = 0
    D.wire_out = 1  # ready


@kernel(VOID(D))
def _command(D):
    """The command is complete: note what follows, or do what needs no more bits."""
    operation = D.wire_bits >> ADDRESS_BITS & 3
    D.wire_address = D.wire_bits & (EEPROM_WORDS - 1)
    D.wire_out = 0
    D.wire_reading = 1 if operation == OP_READ else 0
    D.wire_take = WRITE_NONE
    if operation == OP_WRITE:
        D.wire_take = WRITE_ONE
    elif operation == OP_ERASE:
        D.wire_write = WRITE_ONE
        D.wire_bits = 0xFFFF
    elif operation == OP_MORE:
        which = D.wire_address >> (ADDRESS_BITS - 2)
        if which == MORE_ENABLE:
            D.wire_enabled = 1
        elif which == MORE_DISABLE:
            D.wire_enabled = 0
        elif which == MORE_WRITE_ALL:
            D.wire_take = WRITE_ALL
        else:
            D.wire_write = WRITE_ALL
            D.wire_bits = 0xFFFF


@kernel(VOID(D, I64))
def _clock(D, bit):
    """A rising edge of SK; ``wire_count`` counts the bits from the first one, which starts a command."""
    if D.wire_count < COMMAND_BITS:
        if D.wire_count or bit:
            D.wire_bits = D.wire_bits << 1 | bit
            D.wire_count = D.wire_count + 1
            if D.wire_count == COMMAND_BITS:
                _command(D)
        return
    at = D.wire_count - COMMAND_BITS
    if D.wire_reading:
        word = D.eeprom[(D.wire_address + (at >> 4)) & (EEPROM_WORDS - 1)]
        D.wire_out = word >> (15 - (at & 15)) & 1
        D.wire_count = COMMAND_BITS + (at + 1 & (EEPROM_WORDS * WORD_BITS - 1))
    elif at < WORD_BITS and D.wire_take:
        D.wire_bits = D.wire_bits << 1 & 0xFFFF | bit
        D.wire_count = D.wire_count + 1
        if at == WORD_BITS - 1:
            D.wire_write = D.wire_take


@kernel(VOID(D, I64))
def eecd_write(D, value):
    """The driver moves the lines."""
    before = D.reg[EECD]
    if before & CS and value & CS == 0:
        _deselect(D)
    if value & CS and value & SK and before & SK == 0:
        _clock(D, 1 if value & DI else 0)
    D.reg[EECD] = value & (SK | CS | DI | FWE | REQ)


@kernel(I64(D))
def eecd_read(D):
    """The lines, the EEPROM's answer on DO, and the grant."""
    value = D.reg[EECD] | PRES
    if value & REQ:
        value |= GNT
    if value & CS == 0 or D.wire_out:
        value |= DO
    return value
