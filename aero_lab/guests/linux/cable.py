"""The cable of a machine's network card: the card as a node of a lab, by the host's clock.

The machine runs in a thread of its own and puts frames into the card's ring from compiled code; it writes to a
descriptor when nobody has been told, and that wakes the lab's loop. The other way the lab's thread wakes the machine,
which may be asleep, when frames have come or when there is room again. Both are told once for many frames.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ...compiled.records import cells, words_of
from ...limits import NEVER
from ...machine.nics import bell_heard
from ...nic.port import PORT
from ...rings import FrameRing

if TYPE_CHECKING:
    from ...machine.machine import Machine
    from ...nic.base import Nic

PULLED = 250_000_000
"""Nanoseconds for which :meth:`Cable.relink` keeps the cable out: drivers look at it several times a second."""
_WORDS = words_of(PORT)
_TX_WAIT = _WORDS["tx_wait"]


class Cable:
    """A node: joins a card to whatever takes its frames.

    Parameters
    ----------
    machine, nic: the card is plugged into the machine.
    """

    def __init__(self, machine: Machine, nic: Nic):
        self.machine, self.nic = machine, nic
        self.nic_tx: FrameRing = nic.tx
        """Frames that the guest sends."""
        self.nic_rx: FrameRing = nic.rx
        """Frames for the guest."""
        self._cells = cells(nic.ports)
        self._told = nic.rx.given
        self._pull = False
        self._plug_in_at = NEVER
        self._ends: tuple[int, ...] = ()

    def attach(self, driver: Any) -> None:
        """On the loop's thread: let frames wake it. The machine must not run yet."""
        self._ends = _bell()
        self.nic.bell = self._ends[-1]
        driver.watch(self._ends[0], self._heard)

    def _heard(self) -> None:
        try:
            os.read(self._ends[0], 512)
        except BlockingIOError:
            pass
        bell_heard(self.nic.ports)

    def step(self, now: int) -> None:
        if self._pull:
            self._pull = False
            self.nic.link(False)
            self._plug_in_at = now + PULLED
        if now >= self._plug_in_at:
            self._plug_in_at = NEVER
            self.nic.link(True)
        self._told = self.nic_rx.given
        self.machine.wake()

    def poll_at(self, now: int) -> int:
        if self.nic_rx.given != self._told or self._pull:
            return now
        if self._cells[_TX_WAIT] and not len(self.nic_tx):
            return now
        return self._plug_in_at

    def set_link(self, up: bool) -> None:
        """Plug the cable in, or pull it."""
        self._pull = False
        self._plug_in_at = NEVER
        self.nic.link(up)
        self.machine.wake()

    def relink(self) -> None:
        """Pull the cable, and plug it in again a little later."""
        self._pull = True

    def close(self) -> None:
        """When the loop looks at nothing any more and the machine stands still."""
        self.nic.bell = -1
        while self._ends:
            *rest, end = self._ends
            self._ends = tuple(rest)
            os.close(end)


def _bell() -> tuple[int, ...]:
    """Descriptors to read from and to write to: one and the same, or the ends of a pipe."""
    if hasattr(os, "eventfd"):
        return (os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC),)
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends
