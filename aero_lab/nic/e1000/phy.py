"""The PHY, a Marvell 88E1011S, reached through MDIC (SDM 13.4.8 and chapter 8), and the link that it makes.

The other end of the cable offers everything, so negotiation ends at 1000BASE-T, full duplex. It takes
:data:`AUTONEG` of the guest's time; meanwhile the link is down. A change of link is an interrupt (LSC).
"""

from __future__ import annotations

from ...compiled.registry import I64, VOID, kernel
from ..port import NEVER, P
from .interrupts import cause, update_pin
from .names import CTRL, CTRL_SLU, LSC, MDAC, MDIC, STATUS, STATUS_LU
from .state import PHY_WORDS, D

AUTONEG = 1_000_000
"""Nanoseconds that negotiation takes. A cable takes two to three seconds; nobody learns anything from waiting."""
ADDRESS = 1
"""The PHY's address on the management bus."""

CONTROL, PHY_STATUS, ID1, ID2, PARTNER, GIGABIT_STATUS, SPECIFIC_STATUS = 0, 1, 2, 3, 5, 10, 17
CONTROL_RESET, CONTROL_LOOPBACK, CONTROL_POWER_DOWN, CONTROL_RESTART = 0x8000, 0x4000, 0x0800, 0x0200
STATUS_LINK, STATUS_DONE = 0x0004, 0x0020

RESET_VALUES = {
    0: 0x1140,  # negotiate; full duplex, 1000 Mbit/s
    1: 0x7949,  # what it can do; without link and completion, which are added when read
    2: 0x0141,  # Marvell
    3: 0x0C20,  # 88E1011: what drivers for the 82540EM ask for
    4: 0x0DE1,  # advertises 10 and 100 Mbit/s, and pause
    6: 0x0004,
    7: 0x2001,
    9: 0x0E00,  # advertises 1000BASE-T
    15: 0x3000,
    16: 0x0360,
    20: 0x0D60,
}
"""Registers after a reset (IEEE 802.3 clause 22; data sheet of the 88E1011)."""

MDIC_READY, MDIC_INTERRUPT, MDIC_ERROR = 1 << 28, 1 << 29, 1 << 30
MDIC_WRITE, MDIC_READ = 1, 2


@kernel(VOID(D))
def phy_reset(D):
    """The PHY's registers as after a reset."""
    for i in range(PHY_WORDS):
        D.phy[i] = 0
    D.phy[0] = 0x1140
    D.phy[1] = 0x7949
    D.phy[2] = 0x0141
    D.phy[3] = 0x0C20
    D.phy[4] = 0x0DE1
    D.phy[6] = 0x0004
    D.phy[7] = 0x2001
    D.phy[9] = 0x0E00
    D.phy[15] = 0x3000
    D.phy[16] = 0x0360
    D.phy[20] = 0x0D60


@kernel(I64(D))
def phy_link(D):
    """1 when the PHY has a link."""
    if D.phy[CONTROL] & CONTROL_POWER_DOWN or D.autoneg_at != NEVER:
        return 0
    return 1 if D.plugged or D.phy[CONTROL] & CONTROL_LOOPBACK else 0


@kernel(VOID(D))
def update_link(D):
    """Let STATUS.LU follow the PHY; a change is a cause."""
    link = phy_link(D)
    if link == 0:
        D.phy_lost = 1
    up = link if D.reg[CTRL] & CTRL_SLU else 0
    was = 1 if D.reg[STATUS] & STATUS_LU else 0
    if up != was:
        D.reg[STATUS] = D.reg[STATUS] ^ STATUS_LU
        cause(D, LSC)


@kernel(I64(D, I64))
def phy_read(D, register):
    """A register of the PHY. Its status shows a lost link once more after it came back (clause 22.2.4.2.13)."""
    value = D.phy[register]
    link = phy_link(D)
    if register == PHY_STATUS:
        if link:
            value |= STATUS_DONE
            if D.phy_lost == 0:
                value |= STATUS_LINK
        D.phy_lost = 0
    elif register == PARTNER:
        value = 0xCDE1 if link else 0
    elif register == GIGABIT_STATUS:
        value = 0x3C00 if link else 0
    elif register == SPECIFIC_STATUS:
        value = 0xAC00 if link else 0x8000
    return value


@kernel(VOID(D, I64, I64, I64))
def phy_write(D, register, value, now):
    """Write a register of the PHY; reset and a new negotiation drop the link for a while."""
    if register == PHY_STATUS or register == ID1 or register == ID2 or register == PARTNER:
        return
    if register == GIGABIT_STATUS or register == SPECIFIC_STATUS:
        return
    if register != CONTROL:
        D.phy[register] = value
        return
    restart = value & CONTROL_RESTART
    if value & CONTROL_RESET:
        kept = D.phy[CONTROL] if D.phy[CONTROL] & CONTROL_LOOPBACK == 0 else 0x1140
        D.phy[CONTROL] = kept & ~CONTROL_POWER_DOWN
        restart = 1
    else:
        D.phy[CONTROL] = value & ~CONTROL_RESTART
    if restart and D.phy[CONTROL] & CONTROL_LOOPBACK == 0:
        D.autoneg_at = now + AUTONEG
    update_link(D)


@kernel(VOID(D, P, I64, I64))
def mdic_write(D, P, value, now):
    """An access to the management bus; it is done at once. There is one PHY on it."""
    register = value >> 16 & 31
    data = value & 0xFFFF
    operation = value >> 26 & 3
    out = value & 0x2FFFFFFF | MDIC_READY
    if value >> 21 & 31 != ADDRESS or (operation != MDIC_READ and operation != MDIC_WRITE):
        out |= MDIC_ERROR
    elif operation == MDIC_READ:
        data = phy_read(D, register)
    else:
        phy_write(D, register, data, now)
    D.reg[MDIC] = out & ~0xFFFF | data
    if value & MDIC_INTERRUPT:
        cause(D, MDAC)
    update_pin(D, P, now)
