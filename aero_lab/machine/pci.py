"""PCI: configuration mechanism #1, base address registers, and the way of INTx through the PIIX3 to the PIC.

A table of functions on bus 0. Configuration space is words of 32 bits, each with the bits that can be written and those
that a written one clears; so a base address register that is written with ones reads back its size by itself. The
windows that are enabled are kept in a list of their own, made anew whenever a command or base address register is
written. A function's kind says who answers for its windows: :data:`OUTSIDE` ones are handed to the driver of the
processor (see ``ext_kind``), which is where a device written in Python plugs in.
"""

from __future__ import annotations

from ..compiled.registry import I64, VOID, kernel
from .board import B_T, BAR_HIGH, BAR_IO, BAR_MEMORY64, BAR_NONE, EXT_READ, EXT_WRITE
from .limits import PCI_WINDOWS
from .pic import set_pci_lines

COMMAND, BARS = 1, 4
"""Words of configuration space: command and status, the first base address register."""
IO_ENABLE, MEMORY_ENABLE, INTX_OFF = 1, 2, 0x400
INTX_STATUS = 1 << 19
PIRQ_ROUTE = 0x60 >> 2
"""The four routing registers of the PIIX3, one byte each."""

BRIDGE, OUTSIDE, NIC = 0, 1, 2
"""``pci_kind``: no windows; windows that the driver of the processor answers for; those of a network card."""
ISA_BRIDGE = 1
"""The function of the PIIX3 in the table; the host bridge is function 0."""


@kernel(I64(B_T, I64))
def pci_find(B, address):
    """The function that a configuration address selects, or -1."""
    if address & 0x80FF0000 != 0x80000000:
        return -1
    devfn = address >> 8 & 0xFF
    for i in range(B.pci_count):
        if B.pci_devfn[i] == devfn:
            return i
    return -1


@kernel(VOID(B_T))
def pci_route(B):
    """Drive the lines of the PIC that PCI interrupts are routed to."""
    lines = 0
    for i in range(B.pci_count):
        status = B.pci_config[64 * i + COMMAND] & ~INTX_STATUS
        if B.pci_intx[i]:
            status |= INTX_STATUS
            pin = B.pci_config[64 * i + 15] >> 8 & 0xFF
            if pin and status & INTX_OFF == 0:
                pirq = (B.pci_devfn[i] >> 3) + pin - 2 & 3  # each slot's pins are turned by one against the last's
                route = B.pci_config[64 * ISA_BRIDGE + PIRQ_ROUTE] >> 8 * pirq & 0xFF
                if route < 16:
                    lines |= 1 << route
        B.pci_config[64 * i + COMMAND] = status
    if lines != B.pci_lines:
        set_pci_lines(B, lines)


@kernel(VOID(B_T, I64, I64))
def pci_intx_set(B, function, up):
    """A function raises or lowers its interrupt pin."""
    B.pci_intx[function] = up
    pci_route(B)


@kernel(VOID(B_T))
def pci_decode(B):
    """List the windows that are enabled now."""
    B.win_count = 0
    for i in range(B.pci_count):
        command = B.pci_config[64 * i + COMMAND]
        for bar in range(6):
            kind = B.pci_bar_kind[6 * i + bar]
            if kind == BAR_NONE or kind == BAR_HIGH or B.win_count >= PCI_WINDOWS:
                continue
            io = 1 if kind == BAR_IO else 0
            if command & (IO_ENABLE if io else MEMORY_ENABLE) == 0:
                continue
            base = B.pci_config[64 * i + BARS + bar] & (0xFFFFFFFC if io else 0xFFFFFFF0)
            if kind == BAR_MEMORY64 and B.pci_config[64 * i + BARS + bar + 1]:
                continue  # beyond what this processor can address
            size = B.pci_bar_size[6 * i + bar]
            if base == 0 or base + size > (0x10000 if io else 0x100000000):
                continue  # where sizing leaves it, and where nothing was put yet
            at = B.win_count
            B.win_base[at] = base
            B.win_end[at] = base + size
            B.win_io[at] = io
            B.win_function[at] = i
            B.win_bar[at] = bar
            B.win_count = at + 1


@kernel(I64(B_T, I64, I64, I64))
def pci_window(B, io, address, size):
    """The window that holds all bytes of an access, or -1."""
    for i in range(B.win_count):
        if B.win_io[i] == io and B.win_base[i] <= address and address + size <= B.win_end[i]:
            return i
    return -1


@kernel(I64(I64))
def size_mask(size):
    """The bits of an access of 1, 2 or 4 bytes."""
    return (1 << 8 * size) - 1


@kernel(I64(B_T, I64, I64))
def pci_config_read(B, offset, size):
    """An access to ports CFCh to CFFh, ``offset`` bytes into the word."""
    function = pci_find(B, B.pci_address)
    if function < 0 or offset + size > 4:
        return size_mask(size)
    return B.pci_config[64 * function + (B.pci_address >> 2 & 63)] >> 8 * offset & size_mask(size)


@kernel(VOID(B_T, I64, I64, I64))
def pci_config_write(B, offset, size, value):
    """An access to ports CFCh to CFFh, ``offset`` bytes into the word."""
    function = pci_find(B, B.pci_address)
    if function < 0 or offset + size > 4:
        return
    register = B.pci_address >> 2 & 63
    at = 64 * function + register
    touched = size_mask(size) << 8 * offset
    value = value << 8 * offset & touched
    writable = B.pci_writable[at] & touched
    B.pci_config[at] = (B.pci_config[at] & ~writable | value & writable) & ~(value & B.pci_clearable[at])
    if register == COMMAND or register >= BARS and register < BARS + 6:
        pci_decode(B)
    if register == COMMAND or function == ISA_BRIDGE and register == PIRQ_ROUTE:
        pci_route(B)


@kernel(I64(B_T, I64, I64, I64, I64, I64))
def pci_access(B, io, address, size, write, value):
    """An access to a window. 1 when a device was there: it is waiting in ``ext_kind`` for its answer."""
    at = pci_window(B, io, address, size)
    if at < 0 or B.pci_kind[B.win_function[at]] == BRIDGE:
        return 0
    B.ext_kind = EXT_WRITE if write else EXT_READ
    B.ext_function = B.win_function[at]
    B.ext_bar = B.win_bar[at]
    B.ext_offset = address - B.win_base[at]
    B.ext_size = size
    B.ext_value = value
    return 1
