"""What a BIOS leaves behind: chips programmed, memory sizes noted, PCI windows placed, tables in memory.

The board has no firmware to run. A loader puts a kernel into memory and starts it as if a BIOS and a boot loader had
been there; this is the BIOS's part. Kernels look for it: memory sizes in CMOS, the BIOS data area, the PCI interrupt
routing table, interrupt lines in configuration space.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ..errors import UsageError
from ..nic.function import Bar
from .board import BAR_HIGH, BAR_IO, BAR_MEMORY, BAR_MEMORY64, EXT_NONE, RUNNING
from .bus import Bus
from .limits import (
    LOW_RAM,
    NEVER,
    NS,
    PCI_FUNCTIONS,
    PCI_IO,
    PCI_IO_END,
    PCI_MEMORY,
    PCI_MEMORY_END,
    REFRESH_TICKS,
)
from .pci import BARS, BRIDGE, COMMAND, OUTSIDE, PIRQ_ROUTE
from .rtc import CENTURY, DAY, HOURS, MINUTES, MONTH, REG_A, REG_B, REG_D, SECONDS, WEEKDAY, YEAR
from .uart import CTS, DCD, DSR

PIRQ_IRQS = (10, 10, 11, 11)
"""IRQs of PIRQA to PIRQD."""
ROUTING_TABLE = 0xF0000
"""Where the ``$PIR`` table stands ("PCI IRQ Routing Table Specification" 1.0: a multiple of 16 from F0000h up)."""
BIOS_DATA = 0x400
IRQS_TO_CHOOSE = 0x0E60
"""IRQs 5, 6, 9, 10 and 11: what the routing table says a PIRQ could also go to."""


def power_on(bus: Bus, ram: np.ndarray, epoch: int, paced: bool = False) -> None:
    """Set every chip to its reset state and then do a BIOS's work.

    Parameters
    ----------
    bus: a board whose registers are all zero.
    ram: the memory, all zero.
    epoch: what the real-time clock shows, in seconds since 1970.
    paced: whether characters of the serial port take their time.
    """
    B = bus.row
    B.stop, B.ext_kind = RUNNING, EXT_NONE
    B.pit_due = B.rtc_due = B.uart_due = B.uart_rx_due = B.uart_tx_due = B.uart_rx_timeout = B.deadline = NEVER
    B.a20, B.kbc_status, B.kbc_ctr, B.kbc_port = 1, 0x1C, 0x65, 0xCF
    B.uart_inputs = CTS | DSR | DCD
    B.uart_paced = int(paced)
    B.misc_output = 0x67
    B.pit_gate[0] = B.pit_gate[1] = 1
    for chip in (0, 1):
        B.pic_lowest[chip] = 7
    _bridges(bus)
    _program(bus)
    B.uart_msr = B.uart_inputs
    _set_clock(B, epoch)
    _cmos_sizes(B, len(ram))
    _tables(B, ram)
    bus.advance(0)


def _out(bus: Bus, *writes: tuple[int, int]) -> None:
    for port, value in writes:
        bus.write(0, port, value)


def _program(bus: Bus) -> None:
    """The writes of a BIOS to PIC, PIT, CRT controller and serial port."""
    _out(bus, (0x20, 0x11), (0x21, 0x08), (0x21, 0x04), (0x21, 0x01), (0x21, 0xB8))
    _out(bus, (0xA0, 0x11), (0xA1, 0x70), (0xA1, 0x02), (0xA1, 0x01), (0xA1, 0x8F))
    _out(bus, (0x43, 0x36), (0x40, 0), (0x40, 0), (0x43, 0x54), (0x41, REFRESH_TICKS))
    elcr = sum(1 << irq for irq in set(PIRQ_IRQS))
    _out(bus, (0x4D0, elcr & 0xFF), (0x4D1, elcr >> 8))
    _out(bus, (0x3FB, 0x83), (0x3F8, 1), (0x3F9, 0), (0x3FB, 0x03))
    _out(bus, (0x3D4, 0x0A), (0x3D5, 0x0D), (0x3D4, 0x0B), (0x3D5, 0x0E))


def _bcd(value: int) -> int:
    return value // 10 << 4 | value % 10


def _set_clock(B: Any, epoch: int) -> None:
    now = datetime.fromtimestamp(epoch, UTC)
    for register, value in (
        (SECONDS, now.second), (MINUTES, now.minute), (HOURS, now.hour), (WEEKDAY, now.isoweekday() % 7 + 1),
        (DAY, now.day), (MONTH, now.month), (YEAR, now.year % 100), (CENTURY, now.year // 100),
    ):  # fmt: skip
        B.cmos[register] = _bcd(value)
    B.cmos[REG_A], B.cmos[REG_B], B.cmos[REG_D] = 0x26, 0x02, 0x80
    B.rtc_edge = NS


def clock_seconds(B: Any) -> int:
    """What the real-time clock shows, in seconds since 1970, as a BIOS set it up (BCD, 24 hours)."""
    values = [B.cmos[r] for r in (CENTURY, YEAR, MONTH, DAY, HOURS, MINUTES, SECONDS)]
    century, year, *rest = (int(f"{value:02x}") for value in values)
    return int(datetime(100 * century + year, *rest, tzinfo=UTC).timestamp())


def _cmos_sizes(B: Any, ram_size: int) -> None:
    above = ram_size - (1 << 20)
    extended = min(above >> 10, 0xFFFF)
    high = min(max(above - (15 << 20), 0) >> 16, 0xFFFF)
    B.cmos[0x14] = 0x02  # equipment: a coprocessor, no diskette
    for at, value in ((0x15, 640), (0x17, extended), (0x30, extended), (0x34, high)):
        B.cmos[at], B.cmos[at + 1] = value & 0xFF, value >> 8
    total = sum(int(B.cmos[at]) for at in range(0x10, 0x2E))
    B.cmos[0x2E], B.cmos[0x2F] = total >> 8 & 0xFF, total & 0xFF


def _put(ram: np.ndarray, at: int, data: bytes) -> None:
    ram[at : at + len(data)] = np.frombuffer(data, np.uint8)


def _tables(B: Any, ram: np.ndarray) -> None:
    _put(ram, BIOS_DATA, (0x3F8).to_bytes(2, "little"))
    _put(ram, BIOS_DATA + 0x0E, (LOW_RAM >> 4).to_bytes(2, "little"))  # the extended BIOS data area
    _put(ram, BIOS_DATA + 0x10, (0x0222).to_bytes(2, "little"))  # equipment: coprocessor, 80x25 colour, a serial port
    _put(ram, BIOS_DATA + 0x13, (LOW_RAM >> 10).to_bytes(2, "little"))
    _put(ram, BIOS_DATA + 0x49, bytes((3, 80, 0)))  # text mode 3, 80 columns
    _put(ram, BIOS_DATA + 0x63, (0x3D4).to_bytes(2, "little"))
    _put(ram, BIOS_DATA + 0x84, bytes((24, 16, 0)))  # rows less one, height of a character
    _put(ram, LOW_RAM, b"\x01")
    _put(ram, ROUTING_TABLE, routing_table())


def routing_table(slots: Sequence[int] = tuple(range(1, 32))) -> bytes:
    """The ``$PIR`` table: which PIRQ the four pins of each slot lead to."""
    entries = b""
    for slot in slots:
        pins = b""
        for pin in range(4):
            link = 0x60 + (slot + pin - 1) % 4
            pins += bytes((link,)) + IRQS_TO_CHOOSE.to_bytes(2, "little")
        entries += bytes((0, slot << 3)) + pins + bytes((slot if slot > 1 else 0, 0))
    size = 32 + len(entries)
    header = b"$PIR" + bytes((0, 1)) + size.to_bytes(2, "little")
    header += bytes((0, 1 << 3)) + (0).to_bytes(2, "little")  # the router is the PIIX3; no IRQ only for PCI
    header += (0x8086).to_bytes(2, "little") + (0x7000).to_bytes(2, "little") + bytes(4 + 11)
    check = -(sum(header) + sum(entries)) & 0xFF
    return header + bytes((check,)) + entries


def _bridges(bus: Bus) -> None:
    B = bus.row
    host = add_function(bus, 0, 0, 0x8086, 0x1237, 0x060000, revision=2, kind=BRIDGE)
    isa = add_function(bus, 1, 0, 0x8086, 0x7000, 0x060100, kind=BRIDGE, multifunction=True)
    for word in (0x50, 0x58, 0x5C, 0x60, 0x64, 0x70):  # NBXCFG, PAM, DRB, SMRAM: kept, without effect
        B.pci_writable[64 * host + word // 4] = 0xFFFFFFFF
    for word in (0x4C, 0x60, 0x68, 0x80):
        B.pci_writable[64 * isa + word // 4] = 0xFFFFFFFF
    B.pci_config[64 * isa + 0x4C // 4] = 0x0003004D  # XBCS and I/O recovery after reset
    B.pci_config[64 * isa + PIRQ_ROUTE] = int.from_bytes(bytes(PIRQ_IRQS), "little")
    for function, command in ((host, 0x0006), (isa, 0x0007)):
        B.pci_config[64 * function + COMMAND] = 0x0280_0000 | command if function else 0x0200_0000 | command


def add_function(
    bus: Bus,
    slot: int,
    function: int,
    vendor: int,
    device: int,
    class_code: int,
    *,
    revision: int = 0,
    subsystem: tuple[int, int] = (0, 0),
    bars: Sequence[Bar | None] = (),
    pin: int = 0,
    kind: int = OUTSIDE,
    multifunction: bool = False,
) -> int:
    """Plug a function into PCI bus 0 and place its windows as a BIOS does; its number in the table.

    Parameters
    ----------
    slot, function: 0 to 31 and 0 to 7.
    class_code: 24 bits: class, subclass, interface.
    subsystem: vendor and device.
    bars: windows by register; ``None`` leaves a register out.
    pin: interrupt pin, 1 for INTA; 0 for none.
    """
    if not (0 <= slot < 32 and 0 <= function < 8):
        raise UsageError(f"a PCI bus has slots 0 to 31 with functions 0 to 7, not {slot}.{function}")
    B = bus.row
    devfn = slot << 3 | function
    at = int(B.pci_count)
    if any(B.pci_devfn[i] == devfn for i in range(at)):
        raise UsageError(f"PCI slot {slot:02x}.{function} is taken")
    if at >= PCI_FUNCTIONS:
        raise UsageError(f"the board has room for {PCI_FUNCTIONS} PCI functions")
    _check_bars(bars)
    B.pci_count = at + 1
    B.pci_devfn[at], B.pci_kind[at], B.pci_intx[at] = devfn, kind, 0
    words = 64 * at
    B.pci_config[words] = device << 16 | vendor
    B.pci_config[words + 2] = class_code << 8 | revision
    B.pci_config[words + 3] = 0x0080_0000 if multifunction else 0
    B.pci_config[words + 11] = subsystem[1] << 16 | subsystem[0]
    B.pci_writable[words + COMMAND] = 0x0547
    B.pci_clearable[words + COMMAND] = 0xF900_0000
    B.pci_writable[words + 3] = 0xFFFF  # cache line size, latency timer
    if pin:
        irq = PIRQ_IRQS[(slot + pin - 2) % 4]
        B.pci_config[words + 15] = pin << 8 | irq
        B.pci_writable[words + 15] = 0xFF
    register = 0
    for bar in bars:
        if bar is not None:
            register += _add_bar(B, at, register, bar)
        register += 1
    if any(bar is not None for bar in bars):
        B.pci_config[words + COMMAND] = 0x0103
    bus.reroute()
    return at


KINDS = {"io": BAR_IO, "memory": BAR_MEMORY, "memory64": BAR_MEMORY64}


def _check_bars(bars: Sequence[Bar | None]) -> None:
    registers = 0
    for bar in bars:
        registers += 1
        if bar is None:
            continue
        least, most = (4, 256) if bar.kind == "io" else (16, 1 << 28)
        if bar.kind not in KINDS or bar.size & (bar.size - 1) or not least <= bar.size <= most:
            what = f"{bar.size} of {bar.kind!r}"
            raise UsageError(f"a PCI window is a power of two of bytes, {least} to {most}, not {what}")
        registers += bar.kind == "memory64"
    if registers > 6:
        raise UsageError("a PCI function has six base address registers")


def _add_bar(B: Any, function: int, register: int, bar: Bar) -> int:
    wide = bar.kind == "memory64"
    at, word = 6 * function + register, 64 * function + BARS + register
    B.pci_bar_kind[at], B.pci_bar_size[at] = KINDS[bar.kind], bar.size
    base = _place(B, bar)
    B.pci_config[word] = base | (1 if bar.kind == "io" else 4 if wide else 0)
    B.pci_writable[word] = -bar.size & (0xFFFFFFFC if bar.kind == "io" else 0xFFFFFFF0)
    if wide:
        B.pci_bar_kind[at + 1] = BAR_HIGH
        B.pci_writable[word + 1] = 0xFFFFFFFF
    return int(wide)


def _place(B: Any, bar: Bar) -> int:
    """The lowest free address for a window."""
    io = bar.kind == "io"
    taken = []
    for i in range(6 * B.pci_count):
        kind = B.pci_bar_kind[i]
        base = int(B.pci_config[64 * (i // 6) + BARS + i % 6]) & ~15
        if base and kind and kind != BAR_HIGH and (kind == BAR_IO) == io:
            taken.append((base, base + int(B.pci_bar_size[i])))
    at, end = (PCI_IO, PCI_IO_END) if io else (PCI_MEMORY, PCI_MEMORY_END)
    while at + bar.size <= end:
        clash = [stop for start, stop in taken if start < at + bar.size and at < stop]
        if not clash:
            return at
        at = -(-max(clash) // bar.size) * bar.size
    raise UsageError("no room for another PCI window")
