"""Causes, masks, the pin, and the timers that hold interrupts back (SDM 13.4.17 to 13.4.21; 13.4.30, .31, .41, .44).

The pin is up while a cause stands that the mask lets through. Two things delay it. The *delay timers* keep a cause
from being set: RDTR and RADV that frames arrived, TIDV and TADV that descriptors with IDE were done; the first of a
pair starts again with every frame, the second does not, and either ends both. The *throttle* ITR keeps the pin from
rising again until so much time has passed since it last rose, whatever the causes.
"""

from __future__ import annotations

from ...compiled.registry import I64, VOID, kernel
from ..port import NEVER, P
from .names import CAUSES, ICR, IMS, ITR, RADV, RDTR, RSRPD, RXT0, SRPD, TADV, TIDV, TXDW
from .state import D

DELAY_UNIT = 1024
"""Nanoseconds of RDTR, RADV, TIDV and TADV."""
THROTTLE_UNIT = 256
"""Nanoseconds of ITR."""


@kernel(VOID(D, P, I64))
def update_pin(D, P, now):
    """Drive the pin as causes, mask and throttle say, and tell when something is due next."""
    due = min(D.rdtr_at, D.radv_at, D.tidv_at, D.tadv_at, D.autoneg_at)
    if D.reg[ICR] & D.reg[IMS]:
        if P.intx == 0:
            if now >= D.itr_at:
                P.intx = 1
                D.itr_at = now + D.reg[ITR] * THROTTLE_UNIT
            else:
                due = min(due, D.itr_at)
    else:
        P.intx = 0
    P.due = due


@kernel(VOID(D, I64))
def cause(D, bits):
    """Set causes; the caller updates the pin when it is done."""
    D.reg[ICR] = D.reg[ICR] | (bits & CAUSES)


@kernel(VOID(D, I64, I64, I64))
def received(D, frames, smallest, now):
    """Frames were stored, the smallest of so many bytes: set RXT0, or let the timers do it."""
    if frames == 0:
        return
    if smallest <= D.reg[RSRPD]:
        cause(D, SRPD)
    if D.reg[RDTR] == 0:
        cause(D, RXT0)
        D.rdtr_at = NEVER
        D.radv_at = NEVER
        return
    D.rdtr_at = now + D.reg[RDTR] * DELAY_UNIT
    if D.reg[RADV] and D.radv_at == NEVER:
        D.radv_at = now + D.reg[RADV] * DELAY_UNIT


@kernel(VOID(D, I64, I64))
def transmitted(D, delayed, now):
    """A descriptor with RS was done: set TXDW, or, if it had IDE (``delayed``), let the timers do it."""
    if delayed == 0 or D.reg[TIDV] == 0:
        cause(D, TXDW)
        D.tidv_at = NEVER
        D.tadv_at = NEVER
        return
    D.tidv_at = now + D.reg[TIDV] * DELAY_UNIT
    if D.reg[TADV] and D.tadv_at == NEVER:
        D.tadv_at = now + D.reg[TADV] * DELAY_UNIT


@kernel(VOID(D))
def flush_receive(D):
    """RDTR.FPD: what waits for the timers is told at once."""
    if D.rdtr_at != NEVER or D.radv_at != NEVER:
        D.rdtr_at = NEVER
        D.radv_at = NEVER
        cause(D, RXT0)


@kernel(VOID(D, I64))
def expire(D, now):
    """Set the causes whose timers have run out."""
    if D.rdtr_at <= now or D.radv_at <= now:
        flush_receive(D)
    if D.tidv_at <= now or D.tadv_at <= now:
        D.tidv_at = NEVER
        D.tadv_at = NEVER
        cause(D, TXDW)
