"""The serial port COM1 (National PC16550D): FIFOs, all five interrupt sources, modem lines, loopback.

What the guest sends goes to the console's ``out`` ring, what it receives comes from ``input``. Normally a character
takes no time: the transmitter is always empty, and the receiver takes from the console as soon as it has room, so
nothing is ever lost. With ``uart_paced`` each character takes as long as the line settings say. The timeout of the
receive FIFO counts characters of the line settings either way.
"""

from __future__ import annotations

from ..compiled.registry import I64, VOID, kernel
from .board import B_T
from .limits import CONSOLE_IN, CONSOLE_OUT, NEVER, NS, UART_HZ
from .pic import set_irq

IRQ = 4
DLAB, BREAK = 0x80, 0x40
DTR, RTS, OUT1, OUT2, LOOP = 1, 2, 4, 8, 16
DR, OE, PE, FE, BI, THRE, TEMT, FIFO_ERROR = 1, 2, 4, 8, 16, 32, 64, 128
RDI, THRI, RLSI, MSI = 1, 2, 4, 8
"""Bits of IER: received data, transmitter empty, line status, modem status."""
CTS, DSR, RI, DCD = 0x10, 0x20, 0x40, 0x80


@kernel(I64(B_T))
def uart_char_time(B):
    """Nanoseconds that a character takes on the line: start bit, data, parity, stop bits."""
    lcr = B.uart_lcr
    data = 5 + (lcr & 3)
    halves = 2 * (1 + data + (lcr >> 3 & 1))
    halves += 2 if lcr & 4 == 0 else (3 if data == 5 else 4)
    divisor = B.uart_dlm << 8 | B.uart_dll
    if divisor == 0:
        divisor = 65_536
    return halves * divisor * 8 * NS // UART_HZ


@kernel(I64(B_T))
def uart_trigger(B):
    """Characters in the receive FIFO that raise an interrupt."""
    if B.uart_fcr & 1 == 0:
        return 1
    level = B.uart_fcr >> 6
    return 1 if level == 0 else (4 if level == 1 else (8 if level == 2 else 14))


@kernel(VOID(B_T, I64))
def console_put(B, byte):
    """A character leaves the machine; tells when the text that somebody waits for is complete."""
    tail = B.out_tail
    B.out[tail & (CONSOLE_OUT - 1)] = byte
    B.out_tail = tail + 1
    size = B.match_size
    if size > 0 and byte == B.match[size - 1] and tail + 1 - size >= B.match_start:
        at = 1
        while at < size and B.out[(tail - at) & (CONSOLE_OUT - 1)] == B.match[size - 1 - at]:
            at += 1
        if at == size:
            B.matched = 1


@kernel(I64(B_T))
def uart_errors(B):
    """1 when a character in the receive FIFO came with an error."""
    for i in range(B.uart_rx_count):
        if B.uart_rx_flags[(B.uart_rx_head + i) & 15]:
            return 1
    return 0


@kernel(I64(B_T))
def uart_lsr(B):
    """The line status register as it stands."""
    value = B.uart_lsr_errors
    if B.uart_rx_count:
        value |= DR | B.uart_rx_flags[B.uart_rx_head & 15]
    if B.uart_tx_count == 0:
        value |= THRE
        if B.uart_shifting == 0:
            value |= TEMT
    if B.uart_fcr & 1 and uart_errors(B):
        value |= FIFO_ERROR
    return value


@kernel(I64(B_T))
def uart_cause(B):
    """The pending interrupt of the highest priority, as IIR shows it; 1 when there is none."""
    ier = B.uart_ier
    if ier & RLSI and uart_lsr(B) & (OE | PE | FE | BI):
        return 6
    if ier & RDI:
        if B.uart_rx_count >= uart_trigger(B):
            return 4
        if B.uart_timed_out:
            return 12
    if ier & THRI and B.uart_thri:
        return 2
    if ier & MSI and B.uart_msr & 15:
        return 0
    return 1


@kernel(VOID(B_T))
def uart_rearm(B):
    """Drive IRQ 4, which passes through OUT2 on a PC, and find the next deadline."""
    up = 1 if uart_cause(B) != 1 and B.uart_mcr & (OUT2 | LOOP) == OUT2 else 0
    if up != B.uart_line:
        B.uart_line = up
        set_irq(B, IRQ, up)
    due = min(B.uart_rx_due, B.uart_tx_due)
    if B.uart_timed_out == 0:
        due = min(due, B.uart_rx_timeout)
    B.uart_due = due


@kernel(VOID(B_T, I64, I64, I64))
def uart_receive(B, now, byte, flags):
    """A character has arrived."""
    room = 16 if B.uart_fcr & 1 else 1
    if B.uart_rx_count >= room:
        B.uart_lsr_errors = B.uart_lsr_errors | OE
        B.uart_overruns = B.uart_overruns + 1
        if room == 1:  # without FIFO the new character takes the place of the old
            B.uart_rx[B.uart_rx_head & 15] = byte
            B.uart_rx_flags[B.uart_rx_head & 15] = flags
        return
    at = (B.uart_rx_head + B.uart_rx_count) & 15
    B.uart_rx[at] = byte
    B.uart_rx_flags[at] = flags
    B.uart_rx_count = B.uart_rx_count + 1
    B.uart_rx_timeout = now + 4 * uart_char_time(B) if B.uart_fcr & 1 else NEVER


@kernel(VOID(B_T, I64))
def uart_take(B, now):
    """Take characters from the console while the receiver has room and no loop is closed."""
    room = 16 if B.uart_fcr & 1 else 1
    if B.uart_mcr & LOOP:
        B.uart_rx_due = NEVER
        return
    while B.in_tail != B.in_head and B.uart_rx_count < room:
        if B.uart_paced:
            if B.uart_rx_due >= NEVER:
                B.uart_rx_due = now + uart_char_time(B)
            if B.uart_rx_due > now:
                return
            B.uart_rx_due = B.uart_rx_due + uart_char_time(B)
        byte = B.input[B.in_head & (CONSOLE_IN - 1)]
        B.in_head = B.in_head + 1
        uart_receive(B, now, byte & uart_mask(B), 0)
    B.uart_rx_due = NEVER


@kernel(I64(B_T))
def uart_mask(B):
    """The bits of a character that the line settings keep."""
    return (1 << (5 + (B.uart_lcr & 3))) - 1


@kernel(VOID(B_T, I64, I64))
def uart_emit(B, now, byte):
    """A character has left the shift register."""
    byte &= uart_mask(B)
    if B.uart_mcr & LOOP:
        uart_receive(B, now, byte, 0)
    elif B.uart_lcr & BREAK == 0:
        console_put(B, byte)


@kernel(VOID(B_T, I64))
def uart_shift(B, now):
    """Move the transmitter on to ``now`` when characters take their time."""
    while B.uart_tx_due <= now:
        uart_emit(B, B.uart_tx_due, B.uart_tsr)
        if B.uart_tx_count:
            B.uart_tsr = B.uart_tx[B.uart_tx_head & 15]
            B.uart_tx_head = (B.uart_tx_head + 1) & 15
            B.uart_tx_count = B.uart_tx_count - 1
            B.uart_tx_due = B.uart_tx_due + uart_char_time(B)
            if B.uart_tx_count == 0:
                B.uart_thri = 1
        else:
            B.uart_shifting = 0
            B.uart_tx_due = NEVER


@kernel(VOID(B_T, I64, I64))
def uart_send(B, now, byte):
    """The transmitter holding register is written."""
    B.uart_thri = 0
    if B.uart_paced == 0:
        uart_emit(B, now, byte)
        B.uart_thri = 1
        return
    if B.uart_shifting == 0:
        B.uart_shifting = 1
        B.uart_tsr = byte
        B.uart_tx_due = now + uart_char_time(B)
        B.uart_thri = 1
        return
    room = 16 if B.uart_fcr & 1 else 1
    if B.uart_tx_count < room:
        B.uart_tx[(B.uart_tx_head + B.uart_tx_count) & 15] = byte
        B.uart_tx_count = B.uart_tx_count + 1
    else:  # whoever writes into a full transmitter loses what was written last before
        B.uart_tx[(B.uart_tx_head + room - 1) & 15] = byte
        B.uart_overruns = B.uart_overruns + 1


@kernel(VOID(B_T))
def uart_modem(B):
    """Bring the modem status to its inputs, the other half's or, in the loop, the own outputs; note the changes."""
    lines = B.uart_inputs
    if B.uart_mcr & LOOP:
        mcr = B.uart_mcr
        lines = (mcr & RTS) << 3 | (mcr & DTR) << 5 | (mcr & OUT1) << 4 | (mcr & OUT2) << 4
    before = B.uart_msr & 0xF0
    changes = ((before ^ lines) & (CTS | DSR | DCD)) | (before & ~lines & RI)
    B.uart_msr = (B.uart_msr & 15) | lines | changes >> 4


@kernel(VOID(B_T, I64))
def uart_advance(B, now):
    """Characters and timeouts that are due, and what the console has got meanwhile."""
    uart_shift(B, now)
    uart_take(B, now)
    if B.uart_rx_timeout <= now and B.uart_rx_count:
        B.uart_timed_out = 1
    uart_rearm(B)


@kernel(VOID(B_T))
def uart_clear_receiver(B):
    """Empty the receive FIFO."""
    B.uart_rx_count = 0
    B.uart_rx_timeout = NEVER
    B.uart_timed_out = 0


@kernel(VOID(B_T, I64))
def uart_fifo_control(B, value):
    """FCR."""
    if (value ^ B.uart_fcr) & 1:  # turning the FIFOs on or off empties both
        value |= 6
    if value & 1 == 0:
        value &= 7  # the other bits count only together with the first
    if value & 2:
        uart_clear_receiver(B)
    if value & 4 and B.uart_tx_count:
        B.uart_tx_count = 0
        B.uart_thri = 1
    B.uart_fcr = value & 0xC9


@kernel(VOID(B_T, I64, I64, I64))
def uart_write(B, now, register, value):
    """A byte to register 0 to 7."""
    uart_shift(B, now)
    if register < 2 and B.uart_lcr & DLAB:
        if register == 0:
            B.uart_dll = value
        else:
            B.uart_dlm = value
    elif register == 0:
        uart_send(B, now, value)
    elif register == 1:
        if value & THRI and B.uart_ier & THRI == 0 and B.uart_tx_count == 0:
            B.uart_thri = 1
        B.uart_ier = value & 15
    elif register == 2:
        uart_fifo_control(B, value)
    elif register == 3:
        if B.uart_mcr & LOOP and value & ~B.uart_lcr & BREAK:
            uart_receive(B, now, 0, BI)
        B.uart_lcr = value
    elif register == 4:
        B.uart_mcr = value & 31
        uart_modem(B)
    elif register == 7:
        B.uart_scr = value
    uart_take(B, now)
    uart_rearm(B)


@kernel(I64(B_T, I64, I64))
def uart_read(B, now, register):
    """A byte from register 0 to 7."""
    uart_shift(B, now)
    value = 0
    if register < 2 and B.uart_lcr & DLAB:
        value = B.uart_dll if register == 0 else B.uart_dlm
    elif register == 0:
        value = B.uart_rx[B.uart_rx_head & 15]
        if B.uart_rx_count:
            B.uart_rx_head = (B.uart_rx_head + 1) & 15
            B.uart_rx_count = B.uart_rx_count - 1
        B.uart_timed_out = 0
        waits = B.uart_rx_count and B.uart_fcr & 1
        B.uart_rx_timeout = now + 4 * uart_char_time(B) if waits else NEVER
        uart_take(B, now)
    elif register == 1:
        value = B.uart_ier
    elif register == 2:
        value = uart_cause(B)
        if value == 2:
            B.uart_thri = 0
        if B.uart_fcr & 1:
            value |= 0xC0
    elif register == 3:
        value = B.uart_lcr
    elif register == 4:
        value = B.uart_mcr
    elif register == 5:
        value = uart_lsr(B)
        B.uart_lsr_errors = 0
        if B.uart_rx_count:
            B.uart_rx_flags[B.uart_rx_head & 15] = 0
    elif register == 6:
        value = B.uart_msr
        B.uart_msr = value & 0xF0
    else:
        value = B.uart_scr
    uart_rearm(B)
    return value
