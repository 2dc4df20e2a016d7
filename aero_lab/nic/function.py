"""What a PCI function is, as data: identity, windows, capabilities. The machine makes configuration space of it."""

from __future__ import annotations

from typing import NamedTuple


class Bar(NamedTuple):
    """A window that a PCI function asks for."""

    size: int
    kind: str = "memory"
    """``"memory"``, ``"memory64"`` (takes the next register too) or ``"io"``."""


class Capability(NamedTuple):
    """An entry of the list of capabilities (PCI 3.0, 6.7)."""

    data: bytes
    """Its bytes, identity first; the second, which leads to the next entry, is filled in."""
    writable: bytes = b""
    """Which bits of them can be written; those beyond its end cannot."""


class Function(NamedTuple):
    """A PCI function."""

    vendor: int
    product: int
    class_code: int
    """24 bits: class, subclass, interface."""
    slot: int
    """Where it is plugged in unless told otherwise."""
    subsystem: tuple[int, int] = (0, 0)
    """Vendor and device."""
    revision: int = 0
    bars: tuple[Bar | None, ...] = ()
    """Windows by register; ``None`` leaves a register out."""
    pin: int = 1
    """Interrupt pin, 1 for INTA."""
    capabilities: tuple[Capability, ...] = ()


MSIX = 0x11
"""Identity of the capability MSI-X (PCI 3.0, 6.8.2)."""


def msix_capability(vectors: int, table_bar: int, table: int, pending_bar: int, pending: int) -> Capability:
    """MSI-X with so many vectors: where table and pending bits lie, as register and offset (multiples of 8)."""
    data = bytes((MSIX, 0)) + (vectors - 1).to_bytes(2, "little")
    data += (table | table_bar).to_bytes(4, "little") + (pending | pending_bar).to_bytes(4, "little")
    return Capability(data, b"\0\0\0\xc0")
