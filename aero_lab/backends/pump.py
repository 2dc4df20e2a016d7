"""The pump: one tick moves frames between a card and its backend, in an order that is always the same.

A tick lets the card serve its rings, hands on what it sent, takes what has come, and lets the card serve its rings
again. So what a backend answers at once (ARP, DHCP, DNS) reaches the guest in the tick of its request. A card whose
guest has posted no buffers is not given frames beyond those in its own ring: they wait in the backend.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..compiled.registry import BYTES, I64, entry, kernel
from ..nic.base import Nic
from ..nic.limits import FRAME_LEAST, FRAME_MOST
from ..rings.frame_ring import DESCRIPTOR_SIZE, HEADER_SIZE, frame_len, get_tail, slots
from .backend import Backend
from .limits import BUDGET


@entry
@kernel(I64(BYTES, I64, I64, I64, I64))
def last_frames(ring, number, least, most, what):
    """Of the last ``number`` frames put into a ring, those of a card's sizes: how many, or with ``what`` their bytes.

    For the producer only: the consumer may have taken them meanwhile.
    """
    tail = get_tail(ring, 0)
    total = 0
    for i in range(tail - number, tail):
        size = frame_len(ring, HEADER_SIZE + DESCRIPTOR_SIZE * (i & (slots(ring, 0) - 1)))
        if least <= size and size <= most:
            total += size if what else 1
    return total


class Counts(NamedTuple):
    """What a tick moved, frames of no card's size left out."""

    tx_frames: int
    tx_bytes: int
    rx_frames: int
    rx_bytes: int


class Pump:
    """Between one card and one backend.

    Parameters
    ----------
    poll: lets the card serve its rings, as a machine does by itself while it runs; for one that does not, and called
        with the time.
    tx_budget, rx_budget: most frames each way in one tick.
    gate: give a card nothing while it has frames for which its guest has posted no buffers. A machine that runs beside
        the pump may take them at any time; then only the card's ring has to have room.
    """

    def __init__(
        self,
        nic: Nic,
        backend: Backend,
        poll: Callable[[int], None] | None = None,
        *,
        tx_budget: int = BUDGET,
        rx_budget: int = BUDGET,
        gate: bool = True,
    ):
        self.nic, self.backend, self._poll = nic, backend, poll
        self.tx_budget, self.rx_budget, self.gate = tx_budget, rx_budget, gate

    def tick(self, now: int) -> Counts:
        """Move what can be moved."""
        nic, backend = self.nic, self.backend
        if self._poll is not None:
            self._poll(now)
        sent = sent_bytes = came = came_bytes = 0
        if len(nic.tx):
            frames, size = backend.sent
            backend.send(nic.tx, self.tx_budget)
            sent, sent_bytes = backend.sent[0] - frames, backend.sent[1] - size
        if backend.waiting and not (self.gate and nic.port.rx_wait):
            moved = backend.receive(nic.rx, self.rx_budget, now)
            ring = nic.rx.array
            came, came_bytes = (last_frames(ring, moved, FRAME_LEAST, FRAME_MOST, what) for what in (0, 1))
        if self._poll is not None:
            self._poll(now)
        return Counts(sent, sent_bytes, came, came_bytes)
