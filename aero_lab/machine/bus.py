"""The board as Python drives it: one access, one step, one interrupt pin at a time.

The loop that runs the processor calls the kernels itself. This is for what happens beside it: a BIOS's work at
power-on, devices written in Python, tests of registers.
"""

from __future__ import annotations

from typing import Any

from ..compiled.registry import I64, entry, kernel
from .board import BOARDS_T, new_board, row
from .pci import pci_decode, pci_intx_set, pci_route
from .pic import pic_ack, set_pci_lines
from .ports import board_advance, mmio_read, mmio_write, next_deadline, port_in, port_out
from .uart import uart_modem, uart_rearm

PORT_IN, PORT_OUT, MMIO_READ, MMIO_WRITE, ADVANCE, INTX, REROUTE, ACKNOWLEDGE, MODEM, LINES = range(10)


@entry
@kernel(I64(BOARDS_T, I64, I64, I64, I64, I64))
def bus_access(boards, what, now, address, size, value):
    """One of the above, as numbers: what Python calls."""
    B = boards[0]
    if what == PORT_IN:
        return port_in(B, now, address, size)
    if what == PORT_OUT:
        port_out(B, now, address, size, value)
    elif what == MMIO_READ:
        return mmio_read(B, now, address, size)
    elif what == MMIO_WRITE:
        mmio_write(B, now, address, size, value)
    elif what == INTX:
        pci_intx_set(B, address, value)
    elif what == REROUTE:
        pci_decode(B)
        pci_route(B)
    elif what == ACKNOWLEDGE:
        return pic_ack(B)
    elif what == LINES:
        set_pci_lines(B, value)
    elif what == MODEM:
        B.uart_inputs = value
        uart_modem(B)
        uart_rearm(B)
    else:
        board_advance(B, now)
    return next_deadline(B)


class Bus:
    """A board's record and what can be done to it."""

    def __init__(self, records: Any = None):
        self.records = new_board() if records is None else records
        self.row = row(self.records)
        """The record, its fields attributes."""

    def read(self, now: int, port: int, size: int = 1) -> int:
        """``IN``."""
        return bus_access(self.records, PORT_IN, now, port, size, 0)

    def write(self, now: int, port: int, value: int, size: int = 1) -> None:
        """``OUT``."""
        bus_access(self.records, PORT_OUT, now, port, size, value)

    def load(self, now: int, address: int, size: int = 4) -> int:
        """Read at a physical address without RAM."""
        return bus_access(self.records, MMIO_READ, now, address, size, 0)

    def store(self, now: int, address: int, value: int, size: int = 4) -> None:
        """Write at a physical address without RAM."""
        bus_access(self.records, MMIO_WRITE, now, address, size, value)

    def advance(self, now: int) -> int:
        """Do what is due at ``now``; the next deadline."""
        return bus_access(self.records, ADVANCE, now, 0, 0, 0)

    def interrupt(self, function: int, up: bool) -> None:
        """Raise or lower the interrupt pin of a PCI function."""
        bus_access(self.records, INTX, 0, function, 0, int(up))

    def acknowledge(self) -> int:
        """What the processor does when it takes an interrupt: the vector."""
        return bus_access(self.records, ACKNOWLEDGE, 0, 0, 0, 0)

    def reroute(self) -> None:
        """Take note of PCI functions that were changed from outside."""
        bus_access(self.records, REROUTE, 0, 0, 0, 0)

    def modem(self, lines: int) -> None:
        """Set the serial port's modem inputs, as bits of MSR (CTS 10h, DSR 20h, RI 40h, DCD 80h)."""
        bus_access(self.records, MODEM, 0, 0, 0, lines)
