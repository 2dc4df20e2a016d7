"""The cable of a machine's network card: card and backend as a node of a lab, by the host's clock.

The machine runs in a thread of its own and puts frames into the card's ring from compiled code; it writes to a
descriptor when nobody has been told, and that wakes the lab's loop. The other way the lab's thread wakes the machine,
which may be asleep, when frames have come or when there is room again. Both are told once for many frames.

Between the card and the lab stands a backend: two queues, or rings laid out as browsers' runtimes do, with a forwarder
at their other end. In a lab neither drops a frame for want of room: it stays where it is, and whoever sends it waits.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ...backends import Backend, Forwarder, Pump, QueueBackend, RingBackend, Segment
from ...backends.limits import FRAME_MOST
from ...compiled.records import cells, words_of
from ...errors import UsageError
from ...limits import MTU_DEFAULT, NEVER
from ...machine.nics import bell_heard
from ...nic.port import PORT
from ...rings import FrameRing

if TYPE_CHECKING:
    from ...machine.machine import Machine
    from ...nic.base import Nic

BACKENDS = ("queue", "ring")
"""What can stand between card and lab."""
HEADERS = 22
"""Bytes of a frame beside what its MTU counts: addresses, type, two VLAN tags."""
PULLED, UNSEEN = 2_500_000_000, 20_000_000
"""Nanoseconds for which :meth:`Cable.relink` keeps the cable out (Linux's e1000 looks every two seconds), and after
which it looks again whether the machine has seen that it is."""
_WORDS = words_of(PORT)
_TX_WAIT, _RX_MORE, _CABLE_SEEN = _WORDS["tx_wait"], _WORDS["rx_more"], _WORDS["cable_seen"]


class Cable:
    """A node: joins a card to a lab.

    Parameters
    ----------
    machine, nic: the card is plugged into the machine.
    backend: ``"queue"`` or ``"ring"``.
    mtu: of the lab's network; decides which frames are too long for the backend.
    """

    def __init__(self, machine: Machine, nic: Nic, backend: str = "queue", mtu: int = MTU_DEFAULT):
        check_backend(backend)
        self.machine, self.nic = machine, nic
        most = max(FRAME_MOST, mtu + HEADERS)
        if mtu > MTU_DEFAULT:
            nic.admit(mtu + HEADERS)
        self.forwarder: Forwarder | None = None
        if backend == "queue":
            queue = QueueBackend(frame_most=most, wait=True)
            self.backend: Backend = queue
            self.nic_tx: FrameRing = queue.tx
            """Frames that the guest sends."""
            self.nic_rx: FrameRing = queue.rx
            """Frames for the guest."""
        else:
            segment = Segment()
            self.backend = RingBackend(segment, most, wait=True)
            self.forwarder = Forwarder(segment, frame_most=most, wait=True)
            self.nic_tx, self.nic_rx = self.forwarder.out, self.forwarder.into
        self._pump = Pump(nic, self.backend, gate=False)
        self._most = min(most, nic.rx.arena)
        self._cells = cells(nic.ports)
        self._pull = False
        self._plug_in_at = NEVER
        self._ends: tuple[int, ...] = ()

    def attach(self, driver: Any) -> None:
        """On the loop's thread: let frames wake it. A machine that runs hears of it with its next run."""
        self._ends = _bell()
        self.nic.bell = self._ends[-1]
        driver.watch(self._ends[0], self._heard)

    def number_frames(self, first: int) -> None:
        """Give the guest's frames the identities behind ``first``, every second number."""
        if self.forwarder is not None:
            self.forwarder.number_frames(first)
        else:
            self.nic.number_frames(first)

    def _heard(self) -> None:
        try:
            os.read(self._ends[0], 512)
        except BlockingIOError:
            pass
        bell_heard(self.nic.ports)

    def step(self, now: int) -> None:
        wake = self._pull or now >= self._plug_in_at
        if self._pull:
            self._pull = False
            self.nic.link(False)
            self._plug_in_at = now + PULLED
        elif wake and self._cells[_CABLE_SEEN]:
            self._plug_in_at = now + UNSEEN  # the machine has not got round to noticing
        elif wake:
            self._plug_in_at = NEVER
            self.nic.link(True)
        before = self.nic.rx.given
        sent = self._pump.tick(now).tx_frames
        if self.forwarder is not None:
            self.forwarder.step(now)
        if self.backend.waiting and not self.nic.rx.has_room(self._most):
            self._cells[_RX_MORE] = 1  # the machine rings when it has taken most of them
        if wake or self.nic.rx.given != before or sent and self._cells[_TX_WAIT]:
            self.machine.wake()

    def poll_at(self, now: int) -> int:
        if self._pull or len(self.nic.tx) and self.backend.has_room:
            return now
        if self.backend.waiting and self.nic.rx.has_room(self._most):
            return now
        if self.forwarder is not None and self.forwarder.poll_at(now) <= now:
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


def check_backend(backend: str) -> None:
    """:class:`UsageError` unless there is such a backend."""
    if backend not in BACKENDS:
        raise UsageError(f"backend {backend!r} does not exist; there is {', '.join(map(repr, BACKENDS))}")


def _bell() -> tuple[int, ...]:
    """Descriptors to read from and to write to: one and the same, or the ends of a pipe."""
    if hasattr(os, "eventfd"):
        return (os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC),)
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends
