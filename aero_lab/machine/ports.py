"""The bus: which chip answers at which port, what happens at a memory address without RAM, and whose turn is next.

``port_in``, ``port_out``, ``mmio_read`` and ``mmio_write`` take the board, the time, and the access; chips have eight
bits, so a wider access is several. Where nothing answers a read gives all ones, as an undriven bus does, a write is
lost, and both are counted by port. An access that belongs to a device outside the board leaves ``ext_kind`` set, and
whoever drives the processor gets the answer there.
"""

from __future__ import annotations

from ..compiled.registry import I64, VOID, kernel
from .board import B_T, GUEST_EXIT, POWER_OFF, RESET
from .keyboard import kbc_read_data, kbc_read_status, kbc_write_command, kbc_write_data, set_a20
from .limits import DEBUG_OUT, REFRESH_TICKS, UNKNOWN_PORTS
from .pci import pci_access, pci_config_read, pci_config_write, size_mask
from .pic import elcr_write, pic_read, pic_write, set_irq
from .pit import pit_advance, pit_gate, pit_output, pit_read, pit_ticks, pit_write
from .rtc import rtc_advance, rtc_read, rtc_write
from .uart import uart_advance, uart_read, uart_write
from .video import vga_read, vga_write

COM1 = 0x3F8
DEBUG_PORT = 0xE9
"""A byte written here goes to the debug text; reading gives E9h, by which a guest knows that it is there (Bochs)."""
EXIT_PORT = 0xF4
"""A byte written here stops the machine with this exit status (QEMU's ``isa-debug-exit``, without its arithmetic)."""
POWER_PORT, POWER_VALUE = 0x604, 0x2000
"""The PM1a control register of QEMU's PIIX4; this word (SLP_EN, S5) switches the machine off."""


X87_PORT, X87_IRQ = 0xF0, 13
"""A write here clears the interrupt that an x87 error made and raises IGNNE# (82371SB, "coprocessor error")."""


@kernel(VOID(B_T, I64))
def count_port(B, port):
    """Count an access to a port where nothing is."""
    for i in range(B.unknown_count):
        if B.unknown_port[i] == port:
            B.unknown_hits[i] = B.unknown_hits[i] + 1
            return
    at = B.unknown_count
    if at < UNKNOWN_PORTS:
        B.unknown_port[at] = port
        B.unknown_hits[at] = 1
        B.unknown_count = at + 1


@kernel(VOID(B_T, I64))
def board_advance(B, now):
    """Let every chip do what is due."""
    if B.pit_due <= now:
        pit_advance(B, now)
    if B.rtc_due <= now:
        rtc_advance(B, now)
    if B.uart_due <= now or B.in_tail != B.in_head:
        uart_advance(B, now)
    next_deadline(B)


@kernel(I64(B_T))
def next_deadline(B):
    """When the next chip will do something by itself; also kept in ``B.deadline``."""
    B.deadline = min(B.pit_due, B.rtc_due, B.uart_due)
    return B.deadline


@kernel(I64(B_T, I64))
def port61_read(B, now):
    """System control port B: gate and speaker as written, refresh toggle, output of counter 2."""
    tick = pit_ticks(now)
    return B.port61 | (tick // REFRESH_TICKS & 1) << 4 | pit_output(B, 2, tick) << 5


@kernel(I64(B_T, I64, I64))
def byte_in(B, now, port):
    """Read a byte from a chip, or -1 where nothing is."""
    if port >= COM1 and port < COM1 + 8:
        return uart_read(B, now, port - COM1)
    if port < 0x100:
        if port == 0x20 or port == 0x21:
            return pic_read(B, 0, port & 1)
        if port == 0xA0 or port == 0xA1:
            return pic_read(B, 1, port & 1)
        if port >= 0x40 and port < 0x44:
            return pit_read(B, now, port)
        if port == 0x61:
            return port61_read(B, now)
        if port == 0x60:
            return kbc_read_data(B)
        if port == 0x64:
            return kbc_read_status(B)
        if port == 0x71:
            return rtc_read(B, now)
        if port >= 0x80 and port < 0x90:
            return B.dma_page[port & 15]
        if port == 0x92:
            return B.a20 << 1
        if port == DEBUG_PORT:
            return DEBUG_PORT
        return -1
    if port >= 0x3C0 and port < 0x3E0:
        return vga_read(B, now, port)
    if port == 0x4D0 or port == 0x4D1:
        return B.pic_elcr[port & 1]
    if port == 0xCF9:
        return B.reset_control
    return -1


@kernel(I64(B_T, I64, I64, I64))
def byte_out(B, now, port, value):
    """Write a byte to a chip; 0 where nothing is."""
    if port >= COM1 and port < COM1 + 8:
        uart_write(B, now, port - COM1, value)
    elif port >= 0x80 and port < 0x90:
        B.dma_page[port & 15] = value
    elif port == 0x20 or port == 0x21:
        pic_write(B, 0, port & 1, value)
    elif port == 0xA0 or port == 0xA1:
        pic_write(B, 1, port & 1, value)
    elif port >= 0x40 and port < 0x44:
        pit_write(B, now, port, value)
    elif port == 0x61:
        pit_gate(B, 2, now, value & 1)
        B.port61 = value & 15
    elif port == 0x60:
        kbc_write_data(B, value)
    elif port == 0x64:
        kbc_write_command(B, value)
    elif port == 0x70:
        B.cmos_index = value & 0x7F
    elif port == 0x71:
        rtc_write(B, now, value)
    elif port == 0x92:
        set_a20(B, value >> 1 & 1)
        if value & 1:
            B.stop = RESET
    elif port >= 0x3C0 and port < 0x3E0:
        vga_write(B, port, value)
    elif port == 0x4D0 or port == 0x4D1:
        elcr_write(B, port & 1, value)
    elif port == X87_PORT:
        set_irq(B, X87_IRQ, 0)
    elif port == 0xCF9:
        if value & 4 and B.reset_control & 4 == 0:
            B.stop = RESET
        B.reset_control = value & 0x0E
    elif port == DEBUG_PORT:
        B.debug[B.debug_count & (DEBUG_OUT - 1)] = value
        B.debug_count = B.debug_count + 1
    elif port == EXIT_PORT:
        B.exit_status = value
        B.stop = GUEST_EXIT
    else:
        return 0
    return 1


@kernel(I64(B_T, I64, I64, I64))
def port_in(B, now, port, size):
    """``IN`` of 1, 2 or 4 bytes."""
    if port == 0xCF8 and size == 4:
        return B.pci_address
    if port >= 0xCFC and port < 0xD00:
        return pci_config_read(B, port & 3, size)
    if B.win_count and pci_access(B, 1, port, size, 0, 0):
        return 0
    value = 0
    answered = 0
    for i in range(size):
        byte = byte_in(B, now, port + i & 0xFFFF)
        if byte < 0:
            byte = 0xFF
        else:
            answered = 1
        value |= byte << 8 * i
    if answered == 0:
        B.unknown_in = B.unknown_in + 1
        count_port(B, port)
    next_deadline(B)
    return value


@kernel(VOID(B_T, I64, I64, I64, I64))
def port_out(B, now, port, size, value):
    """``OUT`` of 1, 2 or 4 bytes."""
    if port == 0xCF8 and size == 4:
        B.pci_address = value & 0x80FFFFFC
        return
    if port >= 0xCFC and port < 0xD00:
        pci_config_write(B, port & 3, size, value)
        return
    if B.win_count and pci_access(B, 1, port, size, 1, value):
        return
    if port == POWER_PORT and size == 2:
        if value == POWER_VALUE:
            B.stop = POWER_OFF
        return
    answered = 0
    for i in range(size):
        answered |= byte_out(B, now, port + i & 0xFFFF, value >> 8 * i & 0xFF)
    if answered == 0:
        B.unknown_out = B.unknown_out + 1
        count_port(B, port)
    next_deadline(B)


@kernel(I64(B_T, I64, I64, I64))
def mmio_read(B, now, address, size):
    """A read at a physical address without RAM."""
    if pci_access(B, 0, address, size, 0, 0) == 0:
        B.mmio_lost = B.mmio_lost + 1
        return size_mask(size)
    return 0


@kernel(VOID(B_T, I64, I64, I64, I64))
def mmio_write(B, now, address, size, value):
    """A write at a physical address without RAM."""
    if pci_access(B, 0, address, size, 1, value) == 0:
        B.mmio_lost = B.mmio_lost + 1
