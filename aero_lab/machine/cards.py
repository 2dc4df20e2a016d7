"""The network cards of a machine, as Python plugs them in and the loop takes them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiled.registry import PLAIN
from ..errors import UsageError
from ..nic.base import Nic
from ..nic.function import MSIX
from ..nic.port import LINK, NEVER, new_ports
from ..rings import FrameRing
from .bus import Bus
from .call import address_of
from .firmware import add_function
from .pci import NIC

CARDS = 2
"""Cards that the loop looks after."""
CAPABILITY_LIST, CAPABILITY_BIT = 0x34 >> 2, 1 << 20
"""Word of configuration space with the start of the list of capabilities; the bit of the status register for it."""
CAPABILITIES = 0x40
"""Where the first capability lies: the space before it has its layout from the standard."""


class Cards:
    """Up to two network cards on a board."""

    def __init__(self, bus: Bus):
        self._bus = bus
        self.nics: list[Nic] = []
        nobody = new_ports()
        none = 0 if not PLAIN else None
        ring = FrameRing(1, 8).array
        self._empty = (none, np.zeros(8, np.uint8), nobody, ring, ring, -1)

    def attach(self, nic: Nic, slot: int | None = None) -> int:
        """Plug a card in; its number in the table of PCI functions.

        A board that was loaded has the function already: then the card gets its place.
        """
        if any(nic is other for other in self.nics):
            raise UsageError("this network card is plugged in already")
        if len(self.nics) >= CARDS:
            raise UsageError(f"a machine has room for {CARDS} network cards")
        if any(nic.model == other.model for other in self.nics):
            raise UsageError(f"a machine has at most one network card of each model; there is an {nic.model}")
        what = nic.function
        at = add_function(
            self._bus, what.slot if slot is None else slot, 0, what.vendor, what.product, what.class_code,
            revision=what.revision, subsystem=what.subsystem, bars=what.bars, pin=what.pin, kind=NIC,
        )  # fmt: skip
        nic.port.msix_word = self._capabilities(at, nic)
        self.put(nic, at)
        if nic.port.cable:
            nic.port.cable_seen = 1
            nic.access(LINK, value=1)
        return at

    def put(self, nic: Nic, function: int) -> None:
        """Take a card that is in the table of functions already."""
        nic.port.function = function
        self.nics.append(nic)

    def _capabilities(self, function: int, nic: Nic) -> int:
        """Lay the capabilities out in configuration space; the word with MSI-X's control, or 0."""
        board, at, msix = self._bus.row, CAPABILITIES, 0
        before = None
        for entry in nic.function.capabilities:
            size = -(-len(entry.data) // 4) * 4
            if at + size > 256:
                raise UsageError(f"the capabilities of {nic!r} do not fit into configuration space")
            data = bytearray(entry.data.ljust(size, b"\0"))
            data[1] = 0
            mask = entry.writable.ljust(size, b"\0")
            word = 64 * function + at // 4
            for i in range(0, size, 4):
                board.pci_config[word + i // 4] = int.from_bytes(data[i : i + 4], "little")
                board.pci_writable[word + i // 4] = int.from_bytes(mask[i : i + 4], "little")
            if before is None:
                board.pci_config[64 * function + CAPABILITY_LIST] = at
                board.pci_config[64 * function + 1] = int(board.pci_config[64 * function + 1]) | CAPABILITY_BIT
            else:
                board.pci_config[before] = int(board.pci_config[before]) | at << 8
            before = word
            if data[0] == MSIX:
                msix = at // 4
            at += size
        return msix

    @property
    def arrays(self) -> tuple[Any, ...]:
        """What the loop takes."""
        taken: list[Any] = []
        for nic in self.nics:
            states = nic.records if PLAIN else nic.records.view(np.uint8)
            taken += (address_of(type(nic).serve), states, nic.ports, nic.tx.array, nic.rx.array, nic.bell)
        return (*taken, *self._empty * (CARDS - len(self.nics)))

    @property
    def due(self) -> int:
        """When a card does something by itself."""
        return min((int(nic.port.due) for nic in self.nics), default=NEVER)
