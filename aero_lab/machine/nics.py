"""The machine's side of its network cards: who answers an access, whose turn it is, what a card asked for.

Two cards may be plugged in. The loop of :mod:`.run` takes for each the address of its *serve*, its records and its two
frame rings; see :mod:`aero_lab.nic.port` for what the two tell each other. After every call what the card wrote to
memory is told to the cache of decoded code, its messages are written to memory, and its pin is led to the interrupt
controller. A machine has no local APIC: a message addressed to one goes where nobody is, and is counted.
"""

from __future__ import annotations

from ..compiled.memory import fence, store_field
from ..compiled.registry import BYTES, I64, VOID, entry, kernel
from ..cpu.blocks import flush_blocks, written
from ..cpu.state import B as BLOCK_TABLE
from ..cpu.state import C, K
from ..nic.port import LINK, POLL, PORTS, P
from ..rings.frame_ring import count, has_room
from .board import B_T
from .call import call_serve, ring_bell
from .pci import COMMAND, pci_intx_set

put_u32_le = store_field(0, 4, False)
MASTER = 4
"""Bit of the PCI command register: the function may reach memory."""
LATE = 1000
"""Nanoseconds until a card that is behind its own deadline gets its next turn."""
LOW = 128
"""Frames in the ring to a card at which more are asked for: a quarter of its places."""
ROOM = 1 << 11
"""Bytes for a frame that must be free in a ring before a card that waits for room is called again."""


@kernel(I64(B_T, P))
def tell_pci(B, P):
    """What the card has to know of its configuration space; 1 when any of it has changed."""
    master = B.pci_config[64 * P.function + COMMAND] >> 2 & 1
    msix = 0
    masked = 0
    if P.msix_word:
        control = B.pci_config[64 * P.function + P.msix_word]
        msix = control >> 31 & 1
        masked = control >> 30 & 1
    changed = 1 if master != P.master or msix != P.msix or masked != P.msix_masked else 0
    P.master = master
    P.msix = msix
    P.msix_masked = masked
    return changed


@kernel(VOID(C, K, BLOCK_TABLE, BYTES, B_T, P))
def attend(c, k, blocks, ram, B, P):
    """Do what a card asked for in its last call."""
    if P.dirty_count:
        if P.dirty_all:
            flush_blocks(k, blocks)
        else:
            for i in range(P.dirty_count):
                first = P.dirty_first[i]
                written(c, k, blocks, first << 12, (P.dirty_last[i] - first + 1) << 12)
        P.dirty_count = 0
        P.dirty_all = 0
    if P.message_count:
        for i in range(P.message_count):
            address = P.message_address[i]
            if address >= 0 and address <= len(ram) - 4:
                put_u32_le(ram, address, P.message_data[i])
                written(c, k, blocks, address, 4)
            else:
                B.messages_lost = B.messages_lost + 1
        P.message_count = 0
    if P.intx != B.pci_intx[P.function]:
        pci_intx_set(B, P.function, P.intx)


@kernel(VOID(P, BYTES, BYTES, I64))
def tell_side(P, T, R, bell):
    """Wake whoever takes the card's frames, or has more for it, unless it has been woken and has not looked yet."""
    if bell >= 0 and (count(T) or P.rx_more and count(R) <= LOW):
        fence()
        if P.rung == 0:
            P.rung = 1
            ring_bell(bell)


@kernel(I64(P, BYTES, BYTES, I64))
def wants_turn(P, T, R, now):
    """Whether a card has something to do by itself."""
    if P.due <= now or P.cable != P.cable_seen:
        return 1
    if count(R) and P.rx_wait == 0:
        return 1
    return 1 if P.tx_wait and has_room(T, ROOM) else 0


@kernel(VOID(C, K, BLOCK_TABLE, BYTES, B_T, I64, BYTES, PORTS, BYTES, BYTES, I64, I64))
def take_turn(c, k, blocks, ram, B, serve, states, ports, T, R, bell, now):
    """Let a card move what can be moved."""
    P = ports[0]
    if P.cable != P.cable_seen:
        P.cable_seen = P.cable
        call_serve(serve, states, ports, ram, T, R, LINK, 0, 0, 0, P.cable_seen, now)
    call_serve(serve, states, ports, ram, T, R, POLL, 0, 0, 0, 0, now)
    if P.due <= now:
        P.due = now + LATE  # whatever it waits for: the processor has to get on
    attend(c, k, blocks, ram, B, P)
    tell_side(P, T, R, bell)


@kernel(I64(C, K, BLOCK_TABLE, BYTES, B_T, I64, BYTES, PORTS, BYTES, BYTES, I64, I64, I64, I64))
def nic_access(c, k, blocks, ram, B, serve, states, ports, T, R, bell, what, value, now):
    """Let a card answer the access that waits in ``B.ext_kind``."""
    P = ports[0]
    tell_pci(B, P)
    result = call_serve(serve, states, ports, ram, T, R, what, B.ext_bar, B.ext_offset, B.ext_size, value, now)
    attend(c, k, blocks, ram, B, P)
    tell_side(P, T, R, bell)
    return result


@entry
@kernel(I64(PORTS))
def bell_heard(ports):
    """Whoever is at the other end is about to look at both rings: the next frame rings again. Whether it had rung."""
    P = ports[0]
    had = P.rung
    P.rung = 0
    P.rx_more = 0
    fence()
    return had
