"""Small guests, in machine code, and a place to run them."""

from __future__ import annotations

import struct

from aero_lab.machine.machine import Machine

CODE, STACK, GDT, IDT, DATA = 0x100000, 0x90000, 0x1000, 0x2000, 0x8000
FLAT = struct.pack("<4Q", 0, 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF)


def machine(code: str | bytes, ram_mb: int = 2, **more) -> Machine:
    """A machine about to execute ``code`` (hex or bytes) in flat protected mode, with a GDT and an empty IDT."""
    m = Machine(ram_mb, **more)
    m.write(CODE, bytes.fromhex(code) if isinstance(code, str) else code)
    m.write(GDT, FLAT)
    m.enter(CODE, esp=STACK)
    c = m._cpu
    c.gdt_base, c.gdt_limit = GDT, len(FLAT) - 1
    c.idt_base, c.idt_limit = IDT, 0x7FF
    return m


def gate(m: Machine, vector: int, handler: int) -> None:
    """An interrupt gate to ``handler``."""
    m.write(IDT + 8 * vector, struct.pack("<HHHH", handler & 0xFFFF, 0x10, 0x8E00, handler >> 16))


TICKER = (
    "fa"
    "b011 e620 b020 e621 b004 e621 b001 e621 b0fe e621"  # first PIC at 20h, only IRQ 0 open
    "b034 e643 b0a9 e640 b004 e640"  # mode 2, 1193: 1000.15 Hz
    "fb"
    "f4"  # hlt
    "ff05 00800000"  # inc dword [8000h]
    "ebf7"  # back to hlt
)
TICK_HANDLER = 0x101000
TICK_CODE = "50 ff05 04800000 b020 e620 58 cf"  # inc dword [8004h]; end of interrupt
BUSY_TICKER = TICKER.replace("f4ff05", "90ff05", 1)
"""The same without sleeping: it counts as fast as it can."""


def ticker(busy: bool = False, **more) -> Machine:
    """A guest that counts the interrupts of a 1000 Hz timer at 8004h, and its own turns at 8000h."""
    m = machine(BUSY_TICKER if busy else TICKER, **more)
    m.write(TICK_HANDLER, bytes.fromhex(TICK_CODE))
    gate(m, 0x20, TICK_HANDLER)
    return m


def word(m: Machine, address: int) -> int:
    return int.from_bytes(m.read(address, 4), "little")


def printer(text: bytes) -> str:
    """Code that prints ``text`` on the serial port and halts for ever."""
    out = "66ba f803"
    for byte in text:
        out += f"b0{byte:02x} ee"
    return out + "fa f4"
