"""The one way in: what the machine calls for every access, poll, and pull at the cable."""

from __future__ import annotations

from ...compiled.registry import VOID, entry, kernel
from ..port import LINK, POLL, READ, RESET, SERVE, WRITE, P
from .control import control
from .interrupts import interrupt_config, settle
from .receive import receive
from .registers import device_reset, has, live, read_legacy, read_memory, write_legacy, write_memory
from .state import ANNOUNCE, CONTROL, DEVICES, GUEST_ANNOUNCE, LINK_UP, RX, STATUS, TX, VECTORS, D
from .transmit import transmit


@kernel(VOID(D, P))
def power_up(D, port):
    """PCI's reset: the device's, and the messages' table is masked."""
    device_reset(D, port)
    for i in range(4 * VECTORS):
        D.vectors[i] = 1 if i & 3 == 3 else 0


@kernel(VOID(D, P))
def set_link(D, port):
    """The cable was pulled, or plugged in: a driver that asked for it is told, and may have to make itself known."""
    status = 0
    if port.cable:
        status = LINK_UP | (ANNOUNCE if has(D, GUEST_ANNOUNCE) and live(D) else 0)
    if status == D.config_status:
        return
    D.config_status = status
    D.generation = D.generation + 1 & 0xFF
    if has(D, STATUS) and live(D):
        interrupt_config(D, port)


@entry
@kernel(SERVE(DEVICES))
def virtio_net_serve(states, ports, ram, T, R, what, bar, offset, size, value, now):
    """See :mod:`aero_lab.nic.port`."""
    D = states[0]
    port = ports[0]
    answer = 0
    if what == READ:
        if bar == D.modern_bar:
            answer = read_memory(D, port, offset, size)
        elif bar == D.legacy_bar:
            answer = read_legacy(D, port, offset, size)
    elif what == WRITE:
        queue = -1
        if bar == D.modern_bar:
            queue = write_memory(D, port, offset, size, value)
        elif bar == D.legacy_bar:
            queue = write_legacy(D, port, offset, size, value)
        if queue >= 0:
            D.notifications = D.notifications + 1
        if queue == TX:
            transmit(D, port, ram, T, now)
        elif queue == CONTROL:
            control(D, port, ram)
        if queue == RX or port.rx_wait == 0:
            receive(D, port, ram, R)
    elif what == POLL:
        if port.tx_wait:
            transmit(D, port, ram, T, now)
        if port.rx_wait == 0:
            receive(D, port, ram, R)
    elif what == LINK:
        set_link(D, port)
        receive(D, port, ram, R)
    elif what == RESET:
        power_up(D, port)
    settle(D, port)
    return answer
