"""What the fields of a machine may hold: the kernels trust them, a file must not be trusted.

Kernels index with some fields, shift by some and divide by some, unguarded. Whatever comes from outside passes through
here first; a machine that runs keeps to these bounds by itself.
"""

from __future__ import annotations

import numpy as np

from ..cpu import state
from ..cpu.limits import BREAKPOINTS
from ..errors import UsageError
from .board import BAR_HIGH, GUEST_EXIT
from .limits import (
    CONSOLE_IN,
    CONSOLE_OUT,
    MATCH_SIZE,
    NEVER,
    PCI_FUNCTIONS,
    PCI_WINDOWS,
    UNKNOWN_PORTS,
)
from .pci import NIC
from .pit import COUNTING, HALF

BYTE, WORD, BIT, M32 = 255, 0xFFFF, 1, 0xFFFFFFFF


def _all(names: str, most: int) -> dict[str, int]:
    return dict.fromkeys(names.split(), most)


BOARD_MOST: dict[str, int] = {
    **_all("intr a20 mode uart_thri uart_timed_out uart_shifting uart_paced uart_line rtc_line matched win_io", BIT),
    **_all("pic_icw4 pic_single pic_ltim pic_aeoi pic_rotate pic_sfnm pic_smm pic_poll pic_read_isr", BIT),
    **_all("pit_bcd pit_gate pit_half pit_read_half pit_latched pit_status_latched pit_before", BIT),
    **_all("pci_intx", BIT),
    **_all("pci_kind", NIC),
    **_all("port61 exit_status post reset_control match out input debug dma_page pci_devfn cmos", BYTE),
    **_all("uart_ier uart_lcr uart_mcr uart_msr uart_scr uart_dll uart_dlm uart_fcr uart_lsr_errors uart_inputs", BYTE),
    **_all("uart_tsr uart_rx uart_rx_flags uart_tx kbc_status kbc_data kbc_command kbc_ctr kbc_port", BYTE),
    **_all("crtc crtc_index misc_output sequencer sequencer_index graphics graphics_index", BYTE),
    **_all("attribute_index attribute_data pit_first pit_status", BYTE),
    **_all("pic_irr pic_imr pic_isr pic_base pic_icw3 pic_lines pic_elcr", BYTE),
    **_all("isa_lines pci_lines unknown_port pit_latch pit_frozen", WORD),
    **_all("pci_address pci_config pci_writable pci_clearable pci_bar_size ext_offset ext_value", M32),
    **_all("uart_rx_head uart_tx_head", 15),
    **_all("uart_rx_count uart_tx_count", 16),
    **_all("win_function ext_function", PCI_FUNCTIONS - 1),
    **_all("win_bar ext_bar", 5),
    **_all("pit_n pit_pending", 1 << 16),
    **_all("cmos_index", 127),
    **_all("pic_lowest", 7),
    **_all("pic_init ext_size", 4),
    **_all("pit_mode", 5),
    **_all("pit_rw stop", GUEST_EXIT),
    **_all("pit_phase ext_kind", HALF),
    **_all("match_size", MATCH_SIZE),
    **_all("pci_count", PCI_FUNCTIONS),
    **_all("win_count", PCI_WINDOWS),
    **_all("unknown_count", UNKNOWN_PORTS),
    **_all("pci_bar_kind", BAR_HIGH),
}
"""Largest value of a field; all others are times and counts, up to NEVER."""
BOARD_LEAST = {"pit_hold": -1, "pit_start": -(1 << 17), "pit_switch": -(1 << 17), "rtc_base": 0}
"""Least value, where it is not 0."""
RINGS = (("out_head", "out_tail", CONSOLE_OUT), ("in_head", "in_tail", CONSOLE_IN))

CPU_MOST = {
    **_all("eip cr0 cr2 cr3 cr4 gpr seg_base seg_limit gdt_base idt_base", M32),
    **_all("seg_sel seg_attr gdt_limit idt_limit st_exp", WORD),
    **_all("icount ns_base ns_icount", NEVER),
    **_all("cpl", 3),
    **_all("ftop", 7),
    **_all("halted ignne", BIT),
    **_all("io_size", 4),
    **_all("intr_vector", BYTE),
    **_all("break_count", BREAKPOINTS),
    **_all("ns_mult", 1 << 40),
}
CPU_LEAST = {"ns_mult": 1, "intr_vector": -1}


def check_board(values: dict[str, np.ndarray]) -> None:
    """:class:`UsageError` unless the fields of a board are such as a board can have."""
    for name, value in values.items():
        _within("board", name, value, BOARD_LEAST.get(name, 0), BOARD_MOST.get(name, NEVER))
    for head, tail, size in RINGS:
        if not 0 <= int(values[tail]) - int(values[head]) <= size:
            raise UsageError(f"fields {head!r} and {tail!r} of the board do not fit each other")
    if ((values["pit_phase"] == COUNTING) & (values["pit_n"] == 0)).any():
        raise UsageError("field 'pit_n' of the board is 0 in a counter that counts")


def check_cpu(values: dict[str, np.ndarray], ram_bytes: int) -> None:
    """:class:`UsageError` unless the fields of a processor are such as one with so much memory can have."""
    for name, most in CPU_MOST.items():
        _within("processor", name, values[name], CPU_LEAST.get(name, 0), most)
    if int(values["ram_size"]) != ram_bytes:
        raise UsageError("its processor belongs to a memory of another size")
    if int(values["a20_mask"]) not in (-1, ~0x100000):
        raise UsageError("field 'a20_mask' of the processor is no mask of address line 20")
    if int(values["gpr"][state.NO_REG]):
        raise UsageError("field 'gpr' of the processor is not 0 where no register is")


def _within(what: str, name: str, value: np.ndarray, least: int, most: int) -> None:
    if value.min() < least or value.max() > most:
        raise UsageError(f"field {name!r} of the {what} is out of its bounds")
