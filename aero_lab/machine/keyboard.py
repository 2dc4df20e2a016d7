"""The keyboard controller (Intel 8042 of an AT): no keyboard and no mouse are plugged in, but it answers for itself.

Drivers look for it, and real-mode code opens the A20 gate and resets the machine through it. A byte for a device that
is not there is answered as the controller does when nothing clocks the line: FEh with the time-out bit.
"""

from __future__ import annotations

from ..compiled.registry import I64, VOID, kernel
from .board import B_T, RESET
from .pic import set_irq

OBF, SYSTEM, COMMAND, UNLOCKED, AUX, TIMEOUT = 1, 4, 8, 0x10, 0x20, 0x40
KEYBOARD_IRQ, AUX_IRQ, TRANSLATE = 1, 2, 0x40
KEYBOARD_OFF, AUX_OFF = 0x10, 0x20


@kernel(VOID(B_T, I64, I64))
def kbc_answer(B, byte, status):
    """Put a byte into the output buffer and raise the interrupt that belongs to it."""
    B.kbc_data = byte
    B.kbc_status = (B.kbc_status & ~(AUX | TIMEOUT)) | OBF | status
    if status & AUX:
        if B.kbc_ctr & AUX_IRQ:
            set_irq(B, 12, 1)
    elif B.kbc_ctr & KEYBOARD_IRQ:
        set_irq(B, 1, 1)


@kernel(VOID(B_T, I64))
def set_a20(B, on):
    """Open or close the A20 gate."""
    B.a20 = on
    B.kbc_port = (B.kbc_port & ~2) | on << 1


@kernel(VOID(B_T, I64))
def kbc_output_port(B, value):
    """Write the output port: bit 0 low resets the processor, bit 1 is the gate."""
    B.kbc_port = value | 1
    set_a20(B, value >> 1 & 1)
    if value & 1 == 0:
        B.stop = RESET


@kernel(I64(B_T))
def kbc_read_data(B):
    """Port 60h."""
    B.kbc_status = B.kbc_status & ~(OBF | AUX | TIMEOUT)
    set_irq(B, 1, 0)
    set_irq(B, 12, 0)
    return B.kbc_data


@kernel(I64(B_T))
def kbc_read_status(B):
    """Port 64h."""
    return B.kbc_status


@kernel(VOID(B_T, I64))
def kbc_write_data(B, value):
    """Port 60h: the second byte of a command, or a byte for the keyboard."""
    command = B.kbc_command
    B.kbc_command = 0
    B.kbc_status = B.kbc_status & ~COMMAND
    if command == 0x60:
        B.kbc_ctr = value
        B.kbc_status = (B.kbc_status & ~SYSTEM) | (value & SYSTEM)
    elif command == 0xD1:
        kbc_output_port(B, value)
    elif command == 0xD2:
        kbc_answer(B, value, 0)
    elif command == 0xD3:
        kbc_answer(B, value, AUX)
    elif command == 0xD4:
        kbc_answer(B, 0xFE, AUX | TIMEOUT)
    else:
        B.kbc_ctr = B.kbc_ctr & ~KEYBOARD_OFF
        kbc_answer(B, 0xFE, TIMEOUT)


@kernel(VOID(B_T, I64))
def kbc_write_command(B, value):
    """Port 64h."""
    B.kbc_command = 0
    B.kbc_status = B.kbc_status | COMMAND
    if value == 0x20:
        kbc_answer(B, B.kbc_ctr, 0)
    elif value == 0x60 or value >= 0xD1 and value <= 0xD4:
        B.kbc_command = value
    elif value == 0xA7:
        B.kbc_ctr = B.kbc_ctr | AUX_OFF
    elif value == 0xA8:
        B.kbc_ctr = B.kbc_ctr & ~AUX_OFF
    elif value == 0xA9 or value == 0xAB:  # tests of the lines: nothing wrong
        kbc_answer(B, 0, 0)
    elif value == 0xAA:
        B.kbc_status = B.kbc_status | SYSTEM
        kbc_answer(B, 0x55, 0)
    elif value == 0xAD:
        B.kbc_ctr = B.kbc_ctr | KEYBOARD_OFF
    elif value == 0xAE:
        B.kbc_ctr = B.kbc_ctr & ~KEYBOARD_OFF
    elif value == 0xC0:  # input port: keyboard not locked
        kbc_answer(B, 0x80, 0)
    elif value == 0xD0:
        kbc_answer(B, B.kbc_port, 0)
    elif value >= 0xF0 and value & 1 == 0:  # pulse bit 0 of the output port
        B.stop = RESET
