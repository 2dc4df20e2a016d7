"""What a NIC and the machine it is plugged into tell each other: one record beside the NIC's own.

A NIC's kernels never see the machine. They take the guest's memory as a byte array, two frame rings (``T``, frames it
sent; ``R``, frames for it), the time, and this record ``P``: what PCI tells the NIC, the pins and deadlines it drives,
the messages it sends and the pages of memory it wrote to. The machine looks at ``P`` after every call and acts on it.

The machine calls a NIC by one entry, its *serve*, through a pointer to the compiled function: so neither is compiled
again when the other is edited, and a machine without a NIC needs none of its code.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiled.records import new_records
from ..compiled.registry import BYTES, I64, PLAIN, record_type, records_type

NEVER = (1 << 62) - 1
"""A deadline that never comes (:data:`aero_lab.limits.NEVER`; not imported, so that an edit there compiles no NIC)."""
MESSAGES = 16
"""MSI-X messages that wait for the machine; it takes them after every call."""
DIRTY = 256
"""Ranges of pages written in one call that are told apart; beyond that the machine drops all decoded code."""

_IN = "function msix_word master msix msix_masked cable cable_seen rung rx_more"
_OUT = "intx due moved rx_wait tx_wait bad_dma message_count messages_lost dirty_count dirty_all"

PORT = np.dtype(
    [
        *[(name, "<i8") for name in (_IN + " " + _OUT).split()],
        ("message_address", "<i8", (MESSAGES,)),
        ("message_data", "<i8", (MESSAGES,)),
        ("dirty_first", "<i8", (DIRTY,)),
        ("dirty_last", "<i8", (DIRTY,)),
    ]
)
"""Set by the machine:

function, msix_word: number in the machine's table of PCI functions; word of configuration space with MSI-X's control, 0
    when there is none.
master: bit 2 of the PCI command register: the NIC may reach memory.
msix, msix_masked: MSI-X is enabled; all of its vectors are masked.
cable, cable_seen: the cable is plugged in; what the NIC was told of it last. The machine calls *link* when they differ.
rung: whoever takes the frames of T was woken and has not looked yet.
rx_more: there are more frames than R had room for; whoever has them wants to be woken when it has.

Set by the NIC:

intx: level of its interrupt pin.
due: time of its next own action, ``NEVER`` when there is none.
moved: frames put into T or taken from R, since power-on.
rx_wait: frames wait in R for which the guest has given no room; until a register write clears this nobody need poll.
tx_wait: the guest has frames to send for which T had no room; poll again when it has.
bad_dma: accesses to memory that is not there; reads gave ones, writes were lost.
message_count, message_address, message_data, messages_lost: MSI-X messages to be written to memory.
dirty_count, dirty_first, dirty_last, dirty_all: pages written to since the machine looked.
"""

P = record_type(PORT)
PORTS = records_type(PORT)

READ, WRITE, POLL, LINK, RESET = range(5)
"""What a call of *serve* is for: a register is read or written (``bar, offset, size, value``); move what can be moved
and do what is due; the cable was pulled or plugged in (``value``); PCI's reset."""


def SERVE(states: Any) -> Any:
    """Signature of a NIC's *serve*: ``(states, ports, ram, T, R, what, bar, offset, size, value, now)``."""
    return I64(states, PORTS, BYTES, BYTES, BYTES, I64, I64, I64, I64, I64, I64)


def new_ports() -> Any:
    """One port, as an array: all zero but for what a NIC has at rest."""
    ports = new_records(PORT, 1)
    port = row(ports)
    port.due = NEVER
    port.cable = port.cable_seen = 1
    return ports


def row(records: Any) -> Any:
    """The first record, its fields attributes to read and write in either mode: for Python, never in kernels."""
    return records[0] if PLAIN else records.view(np.recarray)[0]
