"""The board as one record: every chip's registers, the console's rings, and what the chips ask of the processor.

Kernels take the record ``B`` and ``now``, the board's own time in nanoseconds since power-on. Nothing here reads a
clock. A chip that will do something by itself keeps its next deadline (``pit_due``, ``rtc_due``, ``uart_due``); the
least of them is when the processor has to be interrupted in its work.

Field names are those of the data sheets: Intel 8259A and 8254, Motorola MC146818A, National PC16550D, Intel 82441FX
(440FX) and 82371SB (PIIX3).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiled.records import new_records
from ..compiled.registry import PLAIN, record_type, records_type
from .limits import CONSOLE_IN, CONSOLE_OUT, DEBUG_OUT, MATCH_SIZE, NEVER, PCI_FUNCTIONS, PCI_WINDOWS, UNKNOWN_PORTS


def _fields(names: str) -> list[tuple[str, str]]:
    return [(name, "<i8") for name in names.split()]


def _arrays(size: int, names: str) -> list[tuple[str, str, tuple[int]]]:
    return [(name, "<i8", (size,)) for name in names.split()]


BOARD = np.dtype(
    [
        *_fields("""
        intr stop exit_status a20 deadline spurious isa_lines pci_lines
        mode
        pit_seen pit_due
        port61
        cmos_index rtc_edge rtc_base rtc_period_seen rtc_due rtc_line
        uart_ier uart_lcr uart_mcr uart_msr uart_scr uart_dll uart_dlm uart_fcr uart_lsr_errors uart_thri
        uart_rx_head uart_rx_count uart_rx_due uart_rx_timeout uart_timed_out uart_rx_input
        uart_tx_head uart_tx_count uart_tx_due uart_shifting uart_tsr
        uart_inputs uart_paced uart_line uart_due uart_overruns
        out_tail out_head in_tail in_head match_size match_start matched
        debug_count
        kbc_status kbc_data kbc_command kbc_ctr kbc_port
        crtc_index misc_output sequencer_index graphics_index attribute_index attribute_data
        post reset_control
        pci_address pci_count win_count
        ext_kind ext_function ext_bar ext_offset ext_size ext_value
        unknown_in unknown_out unknown_count mmio_lost messages_lost exits port_exits mmio_exits warps warped interrupts
        """),
        *_arrays(
            2,
            """
            pic_irr pic_imr pic_isr pic_base pic_icw3 pic_init pic_icw4 pic_single pic_ltim pic_aeoi pic_rotate
            pic_sfnm pic_smm pic_poll pic_read_isr pic_lowest pic_lines pic_elcr
            """,
        ),
        *_arrays(
            3,
            """
            pit_mode pit_rw pit_bcd pit_n pit_start pit_phase pit_pending pit_switch pit_gate pit_hold pit_frozen
            pit_first pit_half pit_read_half pit_before pit_latched pit_latch pit_status_latched pit_status
            """,
        ),
        *_arrays(16, "uart_rx uart_rx_flags uart_tx"),
        *_arrays(128, "cmos"),
        *_arrays(32, "crtc dma_page"),
        *_arrays(8, "sequencer graphics"),
        *_arrays(UNKNOWN_PORTS, "unknown_port unknown_hits"),
        *_arrays(PCI_FUNCTIONS, "pci_devfn pci_kind pci_intx"),
        *_arrays(64 * PCI_FUNCTIONS, "pci_config pci_writable pci_clearable"),
        *_arrays(6 * PCI_FUNCTIONS, "pci_bar_kind pci_bar_size"),
        *_arrays(PCI_WINDOWS, "win_base win_end win_io win_function win_bar"),
        ("match", "u1", (MATCH_SIZE,)),
        ("out", "u1", (CONSOLE_OUT,)),
        ("input", "u1", (CONSOLE_IN,)),
        ("debug", "u1", (DEBUG_OUT,)),
    ],
    align=True,
)

B_T = record_type(BOARD)
BOARDS_T = records_type(BOARD)

OUTSIDE = frozenset(
    """
    match match_size match_start matched out out_tail out_head ext_kind ext_function ext_bar ext_offset ext_size
    ext_value unknown_in unknown_out unknown_count unknown_port unknown_hits mmio_lost messages_lost exits
    port_exits mmio_exits spurious uart_overruns mode warps warped interrupts
    """.split()
)
"""Fields that are no state of the guest's machine: what somebody waits for, what was drained, and counts."""

# What ``B.stop`` says.
RUNNING, POWER_OFF, RESET, GUEST_EXIT = 0, 1, 2, 3

# ``B.mode``: which clock the machine follows.
INSTRUCTIONS, HOST = 0, 1

# ``B.ext_kind``: an access that a device outside the board has to answer before the processor goes on.
EXT_NONE, EXT_READ, EXT_WRITE = 0, 1, 2

# ``pci_bar_kind``
BAR_NONE, BAR_IO, BAR_MEMORY, BAR_MEMORY64, BAR_HIGH = 0, 1, 2, 3, 4


def new_board() -> Any:
    """One board before power-on: all registers zero. :func:`.firmware.power_on` makes a machine of it."""
    return new_records(BOARD, 1)


def row(records: Any) -> Any:
    """The first record, its fields attributes to read and write in either mode: for Python, never in kernels."""
    return records[0] if PLAIN else records.view(np.recarray)[0]


def board_fields() -> list[str]:
    """The names of all fields, in order."""
    return list(BOARD.names or ())


__all__ = ["BOARD", "BOARDS_T", "B_T", "NEVER", "OUTSIDE", "board_fields", "new_board", "row"]
