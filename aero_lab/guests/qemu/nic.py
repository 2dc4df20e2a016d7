"""The network card of a QEMU guest: a stream socket on one side, two frame rings on the other, as a node."""

from __future__ import annotations

import socket
from collections import Counter
from typing import Any

import numpy as np

from ...bounds import QEMU_STREAM
from ...limits import ETHERNET_OVERHEAD, MTU_DEFAULT, NEVER, RING_ARENA, RING_SLOTS
from ...rings import FrameRing
from .frames import BROKEN, FIELD, give_frames, take_frames

_MASK = (1 << FIELD) - 1


class StreamNic:
    """Moves frames between QEMU's socket and its rings.

    Nothing is dropped for want of room: while :attr:`nic_tx` is full the socket is not read, and QEMU keeps its guest's
    frames; while the socket is full, frames for the guest wait in :attr:`nic_rx`.

    Parameters
    ----------
    sock: connected to QEMU; becomes this card's own.
    mtu: of the network.
    """

    name = "qemu"

    def __init__(self, sock: socket.socket, mtu: int = MTU_DEFAULT):
        sock.setblocking(False)
        self.mtu = mtu
        self.nic_tx = FrameRing(RING_SLOTS, RING_ARENA)
        """Frames from the guest."""
        self.nic_rx = FrameRing(RING_SLOTS, RING_ARENA)
        """Frames to the guest."""
        self._sock = sock
        self._largest = mtu + ETHERNET_OVERHEAD
        self._in, self._out = np.zeros(QEMU_STREAM, np.uint8), np.zeros(QEMU_STREAM, np.uint8)
        self._in_view, self._out_view = memoryview(self._in), memoryview(self._out)  # type: ignore[arg-type]
        self._begin = self._end = 0  # of what was read and waits for room
        self._sent = self._ready = 0  # of what was packed and waits for the socket
        self._identity = 1
        self._more = True  # the socket may hold bytes that were not read yet
        self._blocked = False  # it takes none
        self._whole = False  # a frame is there and finds no room
        self._driver: Any = None
        self._open = True
        self._reading = self._writing = False
        self._count: Counter[str] = Counter()

    def number_frames(self, first: int) -> None:
        """Give the guest's frames the identities behind ``first``, every second number."""
        self._identity = first + 1

    @property
    def counters(self) -> dict[str, int]:
        """Frames and bytes each way as they passed the socket, frames of an impossible size, by reason."""
        return {
            "tx_frames": self.nic_tx.given,
            "tx_bytes": self.nic_tx.given_bytes,
            "rx_frames": self.nic_rx.given - len(self.nic_rx),
            **self._count,
        }

    def attach(self, driver: Any) -> None:
        """Be woken when QEMU has sent something. Called on the driver's loop."""
        self._driver = driver
        self._watch()

    def close(self) -> None:
        """Watch nothing any more, and let go of the socket. May be called twice; called on the driver's loop."""
        if self._driver is not None:
            self._more = self._blocked = self._open = False
            self._watch()
            self._driver = None
        self._sock.close()

    def step(self, now: int) -> None:
        if self._driver is None:
            return
        try:
            self._write()
            self._read(now)
        except OSError:  # QEMU has ended
            self._count["closed"] += 1
            self.close()
            return
        self._watch()

    def poll_at(self, now: int) -> int:
        if self._driver is None:
            return NEVER
        if self._whole:
            return now if self.nic_tx.has_room(self._largest) else NEVER
        if self._more or (len(self.nic_rx) and not self._blocked):
            return now
        return NEVER

    def _write(self) -> None:
        self._blocked = False
        while True:
            if self._sent == self._ready:
                self._sent, self._ready = 0, give_frames(self.nic_rx.array, self._out)
                if not self._ready:
                    return
            try:
                self._sent += self._sock.send(self._out_view[self._sent : self._ready])
            except BlockingIOError:
                self._blocked = True
                return

    def _read(self, now: int) -> None:
        """Take what is there, up to a buffer full: others want their turn."""
        self._more = False
        if self._begin:
            rest = self._end - self._begin
            self._in[:rest] = self._in[self._begin : self._end]
            self._begin, self._end = 0, rest
        if not self._whole:
            room = QEMU_STREAM - self._end
            try:
                got = self._sock.recv_into(self._in_view[self._end :])
            except BlockingIOError:
                return
            if not got:
                raise ConnectionResetError("QEMU has closed its end")
            self._end += got
            self._more = got == room
        outcome = take_frames(self._in, 0, self._end, self.nic_tx.array, self._largest, now, self._identity)
        if outcome == BROKEN:
            raise ConnectionAbortedError("no frames come from QEMU")
        used, taken, skipped = outcome & _MASK, outcome >> FIELD & _MASK, outcome >> 2 * FIELD
        self._begin = used
        self._identity += 2 * taken
        if skipped:
            self._count["tx_bad_size"] += skipped
        # What is left is the beginning of a frame, or one that finds no room.
        self._whole = self._end - used >= 4 and not self.nic_tx.has_room(self._largest)
        if not self._whole and self._end == QEMU_STREAM:
            self._more = True

    def _watch(self) -> None:
        """Have the loop tell when the socket can be read, unless there is no room; and when it can be written, while
        something waits for that."""
        driver = self._driver
        if driver is None or driver.loop.is_closed():
            return
        fd = self._sock.fileno()
        reading, writing = self._open and not self._whole, self._blocked
        if reading != self._reading:
            self._reading = reading
            driver.loop.add_reader(fd, driver.wake) if reading else driver.loop.remove_reader(fd)
        if writing != self._writing:
            self._writing = writing
            driver.loop.add_writer(fd, driver.wake) if writing else driver.loop.remove_writer(fd)
