"""The network card of a tap guest: a TAP's descriptor on one side, two frame rings on the other, as a node."""

from __future__ import annotations

import errno
from collections import Counter
from typing import Any

from ...bounds import TAP_BATCH
from ...limits import ETHERNET_OVERHEAD, MTU_DEFAULT, NEVER, RING_ARENA, RING_SLOTS, STALL_RETRY
from ...rings import FrameRing
from ...rings.frame_ring import release
from .frames import ERROR_SHIFT, read_frames, write_frames

_WAIT = (errno.EAGAIN, errno.ENOBUFS)


class TapNic:
    """Moves frames between a TAP and its rings.

    Nothing is dropped for want of room: while :attr:`nic_tx` is full, frames wait in the kernel's queue and the
    descriptor is not watched.

    Parameters
    ----------
    fd: the TAP's descriptor, non-blocking; it stays its owner's. A TUN's will do: frames are packets then.
    mtu: of the interface.
    tx, rx: rings of frames from it and to it; rings of its own by default.
    """

    name = "tap"

    def __init__(self, fd: int, mtu: int = MTU_DEFAULT, tx: FrameRing | None = None, rx: FrameRing | None = None):
        self.fd, self.mtu = fd, mtu
        self.nic_tx = FrameRing(RING_SLOTS, RING_ARENA) if tx is None else tx
        """Frames from the guest."""
        self.nic_rx = FrameRing(RING_SLOTS, RING_ARENA) if rx is None else rx
        """Frames to the guest."""
        self._largest = mtu + ETHERNET_OVERHEAD
        self._identity = 1
        self._more = True  # the descriptor may hold frames that were not read yet
        self._retry_at = 0  # when the kernel, which took no frame, is asked again
        self._driver: Any = None
        self._watched = False
        self._count: Counter[str] = Counter()

    @property
    def counters(self) -> dict[str, int]:
        """Frames that the kernel did not take, by error."""
        return dict(self._count)

    def number_frames(self, first: int) -> None:
        """Give the guest's frames the identities behind ``first``, every second number."""
        self._identity = first + 1

    def attach(self, driver: Any) -> None:
        """Be woken when the kernel has frames. Called on the driver's loop."""
        self._driver = driver
        self._watch(True)

    def close(self) -> None:
        """Watch nothing any more. May be called twice; called on the driver's loop."""
        self._watch(False)
        self._driver = None
        self._more = False

    def step(self, now: int) -> None:
        if self._driver is None:
            return
        self._write(now)
        self._read(now)

    def poll_at(self, now: int) -> int:
        if self._driver is None:
            return NEVER
        if self._more and self.nic_tx.has_room(self._largest):
            return now
        return self._retry_at if len(self.nic_rx) else NEVER

    def _write(self, now: int) -> None:
        while len(self.nic_rx):
            outcome = write_frames(self.fd, self.nic_rx.array, TAP_BATCH)
            error = outcome >> ERROR_SHIFT
            if not error:
                continue
            if error in _WAIT:
                self._retry_at = now + STALL_RETRY
                break
            # The interface is down, or the frame is none: a cable would lose it too.
            self._count[f"tap-{errno.errorcode.get(error, error)}"] += 1
            release(self.nic_rx.array, 1)

    def _read(self, now: int) -> None:
        outcome = read_frames(self.fd, self.nic_tx.array, self._largest, TAP_BATCH, now, self._identity)
        self._identity += 2 * (outcome & 0xFFFFFFFF)
        error = outcome >> ERROR_SHIFT
        self._more = not error
        if error and error not in _WAIT:  # the interface has gone for good
            self._count[f"tap-{errno.errorcode.get(error, error)}"] += 1
            self.close()
            return
        # A descriptor that stays readable while there is no room would keep the loop turning for nothing.
        self._watch(not self._more or self.nic_tx.has_room(self._largest))

    def _watch(self, wanted: bool) -> None:
        if wanted == self._watched or self._driver is None:
            return
        self._watched = wanted
        loop = self._driver.loop
        if wanted:
            loop.add_reader(self.fd, self._driver.wake)
        elif not loop.is_closed():
            loop.remove_reader(self.fd)

    def __repr__(self) -> str:
        state = "not attached" if self._driver is None else f"{len(self.nic_tx)} from it, {len(self.nic_rx)} to it"
        return f"<TapNic {self.fd}: {state}>"
