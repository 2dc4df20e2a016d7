"""What is left of a VGA in text mode: its registers keep what is written, its memory is RAM at B8000h.

Enough for a text console and for reading the screen: the CRT controller's start address and cursor are where the data
sheet of the IBM VGA has them. Nothing is drawn, so timing registers have no effect but the retrace bits of port 3DAh.
"""

from __future__ import annotations

from ..compiled.registry import I64, VOID, kernel
from .board import B_T

CURSOR_START, START_HIGH, START_LOW, CURSOR_HIGH, CURSOR_LOW = 0x0A, 0x0C, 0x0D, 0x0E, 0x0F
LINE, LINES, VISIBLE = 31_778, 449, 400
"""Nanoseconds of a line, lines of a frame, and those of them with a picture, of the 70 Hz text mode."""


@kernel(I64(I64))
def retrace(now):
    """Input status register 1: bit 0 while nothing is displayed, bit 3 in the vertical retrace."""
    line = now // LINE % LINES
    if line >= VISIBLE:
        return 9 if line >= VISIBLE + 12 and line < VISIBLE + 14 else 1
    return 1 if now % LINE > LINE * 4 // 5 else 0


@kernel(I64(B_T, I64, I64))
def vga_read(B, now, port):
    """Ports 3C0h to 3DFh, or all ones where a VGA in colour has none."""
    if port == 0x3D4:
        return B.crtc_index
    if port == 0x3D5:
        return B.crtc[B.crtc_index & 31]
    if port == 0x3DA:
        B.attribute_data = 0
        return retrace(now)
    if port == 0x3CC:
        return B.misc_output
    if port == 0x3C4:
        return B.sequencer_index
    if port == 0x3C5:
        return B.sequencer[B.sequencer_index & 7]
    if port == 0x3CE:
        return B.graphics_index
    if port == 0x3CF:
        return B.graphics[B.graphics_index & 7]
    if port == 0x3C0:
        return B.attribute_index
    return 0xFF


@kernel(VOID(B_T, I64, I64))
def vga_write(B, port, value):
    """Ports 3C0h to 3DFh."""
    if port == 0x3D4:
        B.crtc_index = value
    elif port == 0x3D5:
        B.crtc[B.crtc_index & 31] = value
    elif port == 0x3C2:
        B.misc_output = value
    elif port == 0x3C4:
        B.sequencer_index = value
    elif port == 0x3C5:
        B.sequencer[B.sequencer_index & 7] = value
    elif port == 0x3CE:
        B.graphics_index = value
    elif port == 0x3CF:
        B.graphics[B.graphics_index & 7] = value
    elif port == 0x3C0:
        if B.attribute_data == 0:
            B.attribute_index = value
        B.attribute_data = B.attribute_data ^ 1
