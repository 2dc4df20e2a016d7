"""Every bound and every frequency of the board, each with its source.

Times are nanoseconds, sizes bytes, unless the name says otherwise.
"""

from __future__ import annotations

NS = 1_000_000_000
"""Nanoseconds in a second."""
NEVER = (1 << 62) - 1
"""A deadline that never comes (:data:`aero_lab.limits.NEVER`, which is not imported: an edit there would compile the
whole machine again)."""

# Memory ---------------------------------------------------------------------------------------------------------------
RAM_LEAST, RAM_MOST = 2 << 20, 1 << 30
"""Below the first megabyte lies what the board itself needs; the second figure is the core's
(:data:`aero_lab.cpu.limits.MAX_RAM`)."""
PAGE = 4096
LOW_RAM = 639 << 10
"""Conventional memory that a BIOS reports: 640 KiB less one for its extended data area."""
TEXT_BASE, TEXT_SIZE = 0xB8000, 32 << 10
"""The colour text window of a VGA."""

# Frequencies ----------------------------------------------------------------------------------------------------------
PIT_HZ = 1_193_182
"""Input clock of the 8253/8254: 14.31818 MHz / 12."""
RTC_HZ = 32_768
"""Time base of the MC146818."""
RTC_UPDATE = 1_984_000
"""Length of an update cycle with that time base (tUC, MC146818A data sheet)."""
RTC_WARNING = 244_000
"""UIP is set so long before the update cycle (tBUC)."""
RTC_FIRST = 500_000_000
"""First update after the divider chain was let go (MC146818A data sheet, "divider control")."""
UART_HZ = 1_843_200
"""Crystal of a PC's 16550."""
REFRESH_TICKS = 18
"""Period of channel 1, which refreshes memory, in clocks of the PIT: what a BIOS programs; port 61h bit 4 toggles."""

# Console --------------------------------------------------------------------------------------------------------------
CONSOLE_OUT, CONSOLE_IN = 64 << 10, 4 << 10
"""Bytes of the console's rings, powers of two. A slice ends when the first is half full; the second is filled again at
every slice."""
CONSOLE_KEPT = 1 << 20
"""Bytes of console output that a machine keeps for whoever asks later; what is older is dropped, and counted."""
MATCH_SIZE = 256
"""Longest text that a run can wait for."""
DEBUG_OUT = 4 << 10
"""Bytes kept of what the guest wrote to the debug port, the newest."""

# Running --------------------------------------------------------------------------------------------------------------
SLICE_INSTRUCTIONS = 1 << 19
"""Instructions of a slice in instruction-count time: 2.6 ms at 200 million a second, 10 ms at 50 million. Slices end at
multiples of it."""
SLICE_TIME = 5_000_000
"""Length of a slice in host time aimed at: half of what is allowed."""
SLICE_LEAST = 1000
"""Instructions of the shortest slice in host time."""
PACE = 0.9
"""Within a slice of host time the guest's clock goes at this share of the measured pace, so that it need not wait for
the host's at the next one."""
PACE_FIRST, PACE_LEAST, PACE_MOST = 10.0, 0.2, 10_000.0
"""Nanoseconds an instruction: assumed before the first slice was measured, and the bounds of what is believed."""
SLEEP_MOST = 0.05
"""Seconds slept at most before Python looks after everything else again."""
SLICE_TURNS = 1 << 14
"""Exits (port accesses, interrupts, sleeps) after which a slice ends whatever it did: some 10 ms of them."""
LOOK = 100_000
"""Nanoseconds after which a computing guest's network cards are looked at again, in host time: what a frame that comes
in waits at most."""
UNKNOWN_PORTS = 64
"""Ports without a device that are told apart in the counts."""
HOST_LEAP = NS
"""Most that host time may jump ahead between two slices: a suspended process has not made the guest wait for hours."""

# PCI ------------------------------------------------------------------------------------------------------------------
PCI_FUNCTIONS = 16
"""Functions on bus 0."""
PCI_WINDOWS = 32
"""Decoded windows (enabled base address registers) at once; 16 functions have at most 96, of which few are enabled."""
PCI_MEMORY, PCI_MEMORY_END = 0xE000_0000, 0xFEC0_0000
"""Where the memory windows of devices are put at power-on; above lie the interrupt controllers of later PCs."""
PCI_IO, PCI_IO_END = 0xC000, 0xFF00

# Snapshots ------------------------------------------------------------------------------------------------------------
SNAPSHOT_HEADER = 4 << 20
"""Largest description (the fields of processor and board), compressed and not: it takes some 200 kB with a full TLB."""
SNAPSHOT_CHUNK = 256
"""Pages compressed together: a megabyte."""
SNAPSHOT_LEVEL = 3
"""zstd's own default; a booted Linux of 60 MB is written in a quarter of a second."""
