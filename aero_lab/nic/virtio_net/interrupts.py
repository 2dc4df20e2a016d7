"""How the device speaks up: the INTx pin through the ISR, or MSI-X messages (4.1.4.5, 4.1.5.1.2; PCI 3.0, 6.8.2)."""

from __future__ import annotations

from ...compiled.registry import I64, VOID, kernel
from ..dma import send_message
from ..port import P
from .state import DRIVER_OK, ISR_CONFIG, ISR_QUEUE, NEEDS_RESET, VECTORS, D


@kernel(VOID(D, P))
def settle(D, port):
    """Drive the pin, and send what messages waited behind a mask that is gone."""
    port.intx = 1 if D.isr and port.msix == 0 else 0
    if port.msix == 0 or port.msix_masked:
        return
    for v in range(VECTORS):
        if D.pending[v] and D.vectors[4 * v + 3] & 1 == 0:
            D.pending[v] = 0
            D.messages = D.messages + 1
            send_message(port, D.vectors[4 * v] | D.vectors[4 * v + 1] << 32, D.vectors[4 * v + 2])


@kernel(VOID(D, I64))
def message(D, vector):
    """Have the message of a vector sent, by :func:`settle`; there is none for ``NO_VECTOR``."""
    if vector < VECTORS:
        D.pending[vector] = 1


@kernel(VOID(D, P, I64))
def interrupt_queue(D, port, queue):
    """Tell the driver that a queue has used buffers."""
    D.interrupts = D.interrupts + 1
    if port.msix:
        message(D, D.queue[queue].vector)
    else:
        D.isr = D.isr | ISR_QUEUE


@kernel(VOID(D, P))
def interrupt_config(D, port):
    """Tell the driver that the configuration changed. The bit is set with MSI-X too (4.1.4.5.1)."""
    D.interrupts = D.interrupts + 1
    D.isr = D.isr | ISR_CONFIG
    if port.msix:
        message(D, D.config_vector)


@kernel(I64(D, P))
def judge(D, port):
    """1 when no queue is broken. Otherwise the device stops, and asks a driver that knows the word for a reset
    (2.1.2)."""
    if D.broken:
        return 0
    for i in range(3):
        reason = D.queue[i].broken
        if reason:
            D.broken = 1
            D.reason = reason
            D.broken_queues = D.broken_queues + 1
            if D.legacy == 0:
                D.status = D.status | NEEDS_RESET
                if D.status & DRIVER_OK:
                    interrupt_config(D, port)
            return 0
    return 1
