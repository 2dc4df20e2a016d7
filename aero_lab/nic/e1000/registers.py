"""What happens when the guest reads or writes a register, in the memory window and through the I/O window.

Most registers are storage with a mask of bits that can be written (``names.MASKS``); those that do something have a
branch here. Registers are 32 bits wide (SDM 13.2): a narrower read gets its bytes of one, a narrower write is lost.
"""

from __future__ import annotations

from ...compiled.registry import BYTES, I64, VOID, kernel
from ..port import NEVER, P
from .eeprom import EERD_DONE, eecd_read, eecd_write, eerd_write, load_address
from .interrupts import cause, expire, flush_receive, update_pin
from .names import (
    ALIASED,
    CAUSES,
    CTRL,
    CTRL_EXT,
    CTRL_FD,
    CTRL_PHY_RST,
    CTRL_RST,
    CTRL_SLU,
    CTRL_SPEED_1000,
    CTRL_SWDPIN0,
    CTRL_SWDPIN2,
    EECD,
    EERD,
    EXT_EE_RST,
    HOMES,
    ICR,
    ICS,
    IMC,
    IMS,
    MASKED,
    MASKS,
    MDIC,
    PBA,
    RCTL,
    RDH,
    RDT,
    RDTR,
    RDTR_FPD,
    STATUS,
    STATUS_1000,
    STATUS_FD,
    TCTL,
    TDBAH,
    TDBAL,
    TDH,
    TDLEN,
    TDT,
    WINDOW,
    WORDS,
)
from .phy import mdic_write, phy_reset, phy_write, update_link
from .receive import receive
from .state import D
from .statistics import FIRST, LAST, read_statistic
from .transmit import forget_packet, transmit

IOADDR, IODATA = 0, 4
PBA_RESET = 0x00100030
"""48 KB of packet buffer for receiving, 16 for sending (SDM 13.4.16)."""
DEFAULTS = {
    "FCAL": 0x00C28001, "FCAH": 0x0100, "FCT": 0x8808, "VET": 0x8100, "TIPG": 0x00602008, "LEDCTL": 0x07068302,
    "MDIC": 1 << 28, "PBA": PBA_RESET, "EERD": EERD_DONE,
}  # fmt: skip
"""Registers that are not zero after a reset, besides those that :func:`reset_registers` names itself."""


@kernel(VOID(D, P))
def reset_registers(D, P):
    """CTRL.RST: everything but the PHY, PCI and the EEPROM (SDM 14.5). The first receive address comes from there."""
    kept = D.reg[PBA]
    for i in range(WORDS):
        D.reg[i] = 0
    D.reg[0x28 >> 2] = 0x00C28001
    D.reg[0x2C >> 2] = 0x0100
    D.reg[0x30 >> 2] = 0x8808
    D.reg[0x38 >> 2] = 0x8100
    D.reg[0x410 >> 2] = 0x00602008
    D.reg[0xE00 >> 2] = 0x07068302
    D.reg[MDIC] = 1 << 28
    D.reg[EERD] = EERD_DONE
    D.reg[PBA] = kept if kept else PBA_RESET
    D.reg[CTRL] = CTRL_FD | CTRL_SLU | CTRL_SPEED_1000 | CTRL_SWDPIN0 | CTRL_SWDPIN2
    D.reg[STATUS] = STATUS_FD | STATUS_1000
    D.rdtr_at = NEVER
    D.radv_at = NEVER
    D.tidv_at = NEVER
    D.tadv_at = NEVER
    D.itr_at = 0
    D.ioaddr = 0
    load_address(D)
    forget_packet(D)
    update_link(D)
    D.reg[ICR] = 0
    P.rx_wait = 0
    P.tx_wait = 0
    update_pin(D, P, 0)


@kernel(VOID(D, P))
def e1000_reset(D, P):
    """Power-on, and PCI's reset: the PHY begins anew as well, with a link at once if there is a cable."""
    D.plugged = P.cable
    D.autoneg_at = NEVER
    phy_reset(D)
    D.phy_lost = 0
    D.wire_bits = 0
    D.wire_count = 0
    D.wire_take = 0
    D.wire_write = 0
    D.wire_enabled = 0
    D.wire_out = 1
    D.reg[PBA] = 0
    reset_registers(D, P)


@kernel(I64(I64))
def word_of(offset):
    """The register that an offset in the window means."""
    return HOMES[offset >> 2] if offset < ALIASED else offset >> 2


@kernel(I64(D, P, I64, I64))
def read_register(D, P, word, now):
    """The 32 bits of a register, with what reading does to it."""
    if word == ICR:
        value = D.reg[ICR]
        D.reg[ICR] = 0
        update_pin(D, P, now)
        return value
    if word >= FIRST and word <= LAST:
        return read_statistic(D, word)
    if word == EECD:
        return eecd_read(D)
    if word == ICS or word == IMC:
        return 0
    return D.reg[word]


@kernel(VOID(D, P, I64, I64))
def _control(D, P, value, now):
    """CTRL: resets, and the link."""
    if value & CTRL_RST:
        reset_registers(D, P)
        return
    D.reg[CTRL] = value & ~(CTRL_RST | CTRL_PHY_RST)
    if value & CTRL_PHY_RST:
        phy_reset(D)
        phy_write(D, 0, 0x8000, now)
    update_link(D)
    update_pin(D, P, now)


@kernel(VOID(D, P, BYTES, BYTES, BYTES, I64, I64, I64))
def write_register(D, P, ram, T, R, word, value, now):
    """Write 32 bits to a register, and do what that asks for."""
    P.rx_wait = 0
    if word >= MASKED:
        D.reg[word] = value
        return
    mask = MASKS[word]
    if word == TDT:
        D.reg[TDT] = value & mask
        transmit(D, P, ram, T, now)
    elif word == RDT or word == RCTL or word == RDH:
        D.reg[word] = value & mask
        receive(D, P, ram, R, now)
    elif word == ICR:
        D.reg[ICR] = D.reg[ICR] & ~value
        update_pin(D, P, now)
    elif word == ICS:
        cause(D, value)
        update_pin(D, P, now)
    elif word == IMS:
        D.reg[IMS] = D.reg[IMS] | value & CAUSES
        update_pin(D, P, now)
    elif word == IMC:
        D.reg[IMS] = D.reg[IMS] & ~value
        update_pin(D, P, now)
    elif word == CTRL:
        _control(D, P, value, now)
    elif word == CTRL_EXT:
        D.reg[CTRL_EXT] = value & ~EXT_EE_RST
        if value & EXT_EE_RST:
            load_address(D)
    elif word == EECD:
        eecd_write(D, value)
    elif word == EERD:
        eerd_write(D, value)
    elif word == MDIC:
        mdic_write(D, P, value, now)
    elif word == RDTR:
        D.reg[RDTR] = value & mask
        if value & RDTR_FPD:
            flush_receive(D)
            update_pin(D, P, now)
    elif word == TCTL:
        D.reg[TCTL] = value & mask
        transmit(D, P, ram, T, now)
    elif word == PBA:  # the rest of its 64 KB is for sending (SDM 13.4.16)
        D.reg[PBA] = value & 0x3F | (64 - (value & 0x3F)) << 16
    elif word == TDH or word == TDLEN or word == TDBAL or word == TDBAH:
        D.reg[word] = value & mask
        forget_packet(D)
    else:
        D.reg[word] = D.reg[word] & ~mask | value & mask


@kernel(I64(D, P, I64, I64, I64, I64))
def e1000_read(D, P, bar, offset, size, now):
    """A read of 1, 2 or 4 bytes of a window (0: memory, 1: I/O)."""
    at = offset & ~3
    if bar == 0:
        value = read_register(D, P, word_of(at), now) if at < WINDOW else 0
    elif at == IOADDR:
        value = D.ioaddr
    elif at == IODATA:
        value = read_register(D, P, word_of(D.ioaddr & ~3), now) if D.ioaddr < WINDOW else 0
    else:
        value = 0
    return value >> 8 * (offset & 3) & ((1 << 8 * size) - 1)


@kernel(VOID(D, P, BYTES, BYTES, BYTES, I64, I64, I64, I64, I64))
def e1000_write(D, P, ram, T, R, bar, offset, size, value, now):
    """A write of 1, 2 or 4 bytes of a window; only whole registers are written."""
    if size != 4 or offset & 3:
        D.partial_writes = D.partial_writes + 1
    elif bar == 0:
        if offset < WINDOW:
            write_register(D, P, ram, T, R, word_of(offset), value, now)
    elif offset == IOADDR:
        D.ioaddr = value
    elif offset == IODATA and D.ioaddr < WINDOW:
        write_register(D, P, ram, T, R, word_of(D.ioaddr & ~3), value, now)


@kernel(VOID(D, P, BYTES, BYTES, BYTES, I64))
def e1000_poll(D, P, ram, T, R, now):
    """Do what is due, and move what can be moved."""
    if D.autoneg_at <= now:
        D.autoneg_at = NEVER
        P.rx_wait = 0
        update_link(D)
    expire(D, now)
    transmit(D, P, ram, T, now)
    if P.rx_wait == 0:
        receive(D, P, ram, R, now)
    update_pin(D, P, now)


@kernel(VOID(D, P, I64, I64))
def e1000_link(D, P, up, now):
    """The cable is plugged in (a negotiation follows) or pulled."""
    if up and D.plugged == 0:
        phy_write(D, 0, D.phy[0] | 0x0200, now)
    D.plugged = up
    P.rx_wait = 0
    update_link(D)
    update_pin(D, P, now)
