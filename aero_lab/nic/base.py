"""A NIC as Python holds it: its records, its two rings, what it is to PCI."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from ..compiled.records import new_records
from ..compiled.registry import PLAIN
from ..errors import UsageError
from ..rings import FrameRing
from ..wire.address import mac as parse_mac
from ..wire.address import mac_text
from .function import Function
from .limits import FRAME_MOST, JUMBO_MOST
from .port import POLL, READ, RESET, WRITE, new_ports, row

RING_SLOTS, RING_ARENA = 512, 1 << 20
"""Frames and bytes of each of the rings between a NIC and whatever it is connected to."""
NO_RAM = np.zeros(0, np.uint8)


class Nic(ABC):
    """A network card: plug it into a machine with ``Machine(nics=[...])``.

    Parameters
    ----------
    mac: its address, as text or six bytes.
    """

    model: ClassVar[str]
    """Name of the model, as ``lab.guest(nic=...)`` takes it."""
    dtype: ClassVar[np.dtype]
    """Its registers: one record."""
    serve: ClassVar[Any]
    """The kernel that answers for it; see :mod:`aero_lab.nic.port`."""
    function: Function
    """What it is to PCI."""

    def __init__(self, mac: str | bytes = "52:54:00:12:34:56"):
        self.mac = parse_mac(mac) if isinstance(mac, str) else bytes(mac)
        """Its six bytes."""
        if len(self.mac) != 6 or self.mac[0] & 1:
            raise UsageError(f"{mac!r} is no address of a single network card")
        self.records = new_records(self.dtype, 1)
        self.ports = new_ports()
        self.tx = FrameRing(RING_SLOTS, RING_ARENA)
        """Frames that the guest sent."""
        self.rx = FrameRing(RING_SLOTS, RING_ARENA)
        """Frames for the guest."""
        self.bell = -1
        """Descriptor that is written to when frames come into :attr:`tx` and nobody has been told; -1: nobody waits."""
        self.setup(self.state)
        self.access(RESET)

    @property
    def state(self) -> Any:
        """The NIC's own record, its fields attributes."""
        return row(self.records)

    @property
    def port(self) -> Any:
        """The record it shares with the machine, its fields attributes."""
        return row(self.ports)

    def access(
        self,
        what: int,
        bar: int = 0,
        offset: int = 0,
        size: int = 4,
        value: int = 0,
        now: int = 0,
        ram: np.ndarray = NO_RAM,
    ) -> int:
        """One call of *serve*, as a machine makes it; for what happens beside a machine that runs."""
        return type(self).serve(
            self.records, self.ports, ram, self.tx.array, self.rx.array, what, bar, offset, size, value, now
        )

    def read(self, offset: int, size: int = 4, *, bar: int = 0, now: int = 0) -> int:
        """Read a register as the guest does, with what that does to it."""
        return self.access(READ, bar, offset, size, 0, now)

    def write(self, offset: int, value: int, size: int = 4, *, bar: int = 0, now: int = 0, ram: Any = NO_RAM) -> None:
        """Write a register as the guest does."""
        self.access(WRITE, bar, offset, size, value, now, ram)

    def poll(self, now: int = 0, ram: Any = NO_RAM) -> None:
        """Move the frames that can be moved, and do what is due."""
        self.access(POLL, now=now, ram=ram)

    def link(self, up: bool) -> None:
        """Plug the cable in, or pull it; the machine tells the NIC as soon as it runs."""
        self.port.cable = int(up)

    def admit(self, most: int) -> None:
        """Pass frames of up to ``most`` bytes, if that is more than usual: for cards whose driver has no say."""
        if "frame_most" in (self.dtype.names or ()):
            self.state.frame_most = min(max(FRAME_MOST, most), JUMBO_MOST)

    def number_frames(self, first: int) -> None:
        """Give the guest's frames the identities behind ``first``, every second number; ignored by cards without."""
        if "identity" in (self.dtype.names or ()):
            self.state.identity = first + 1

    @abstractmethod
    def setup(self, state: Any) -> None:
        """Put in what the card brings with it, such as its address: called once, on a record of zeros."""

    @property
    def options(self) -> dict[str, Any]:
        """Further arguments that make another card like this one, as numbers and texts."""
        return {}

    def fields(self) -> dict[str, np.ndarray]:
        """Copies of all registers, for a snapshot."""
        return {name: np.array(getattr(self.state, name), np.int64) for name in self.dtype.names or ()}

    def set_fields(self, values: dict[str, np.ndarray]) -> None:
        """Set all registers from :meth:`fields`, after :meth:`check` has looked at them."""
        for name, value in values.items():
            setattr(self.state, name, value.tolist() if PLAIN else value)

    @property
    @abstractmethod
    def counters(self) -> dict[str, int]:
        """What was counted since power-on: frames, bytes, drops by reason."""

    @property
    @abstractmethod
    def registers(self) -> dict[str, int]:
        """The registers by their names in the data sheet. Looking changes nothing."""

    @classmethod
    @abstractmethod
    def check(cls, values: dict[str, np.ndarray]) -> None:
        """:class:`UsageError` unless the fields of a record are such as this NIC can have: a file must not be
        trusted, the kernels do."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {mac_text(self.mac)}: {self.tx.given} frames sent, {self.rx.given} for it>"
