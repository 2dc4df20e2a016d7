"""A NIC's way to the guest's memory: every address is checked, and what is written is noted.

``ram`` is the guest's memory from address 0 on. There is nothing else for a NIC to reach: beyond RAM, in a device's
window too, reads give ones and writes are lost, as on a bus where nobody answers; each is counted in ``P.bad_dma``.
Addresses may be any ``int64``: one beyond 2**63 comes out negative and lies beyond RAM as well.

The processor keeps decoded code, so a page that a NIC wrote to is noted in ``P``, and the machine drops what was
decoded from it. None of this looks at ``P.master``: whoever walks rings asks once, before it begins.
"""

from __future__ import annotations

from ..compiled.memory import copy, i64_native, load_field, put_i64_native, put_u8, store_field, u8
from ..compiled.registry import BYTES, I64, VOID, kernel
from .port import DIRTY, MESSAGES, P

u16_le, u32_le = load_field(0, 2, False), load_field(0, 4, False)
put_u16_le, put_u32_le = store_field(0, 2, False), store_field(0, 4, False)


@kernel(I64(P, BYTES, I64, I64))
def dma_inside(P, ram, address, size):
    """1 when all of these bytes are RAM; else 0, and counted."""
    if address >= 0 and address <= len(ram) - size:
        return 1
    P.bad_dma = P.bad_dma + 1
    return 0


@kernel(VOID(P, I64, I64))
def note_write(P, address, size):
    """Note that these bytes of RAM were written to."""
    first = address >> 12
    last = (address + size - 1) >> 12
    n = P.dirty_count
    for back in range(1, min(n, 2) + 1):  # a descriptor's page and a buffer's take turns
        at = n - back
        if P.dirty_first[at] <= first and last <= P.dirty_last[at]:
            return
        if P.dirty_first[at] <= first and first <= P.dirty_last[at] + 1:
            P.dirty_last[at] = last
            return
    if n < DIRTY:
        P.dirty_first[n] = first
        P.dirty_last[n] = last
        P.dirty_count = n + 1
    else:
        P.dirty_all = 1


@kernel(I64(P, BYTES, I64))
def dma_get8(P, ram, address):
    return u8(ram, address) if dma_inside(P, ram, address, 1) else 0xFF


@kernel(I64(P, BYTES, I64))
def dma_get16(P, ram, address):
    return u16_le(ram, address) if dma_inside(P, ram, address, 2) else 0xFFFF


@kernel(I64(P, BYTES, I64))
def dma_get32(P, ram, address):
    return u32_le(ram, address) if dma_inside(P, ram, address, 4) else 0xFFFFFFFF


@kernel(I64(P, BYTES, I64))
def dma_get64(P, ram, address):
    """64 bits as a signed number."""
    return i64_native(ram, address) if dma_inside(P, ram, address, 8) else -1


@kernel(VOID(P, BYTES, I64, I64))
def dma_put8(P, ram, address, value):
    if dma_inside(P, ram, address, 1):
        put_u8(ram, address, value)
        note_write(P, address, 1)


@kernel(VOID(P, BYTES, I64, I64))
def dma_put16(P, ram, address, value):
    if dma_inside(P, ram, address, 2):
        put_u16_le(ram, address, value)
        note_write(P, address, 2)


@kernel(VOID(P, BYTES, I64, I64))
def dma_put32(P, ram, address, value):
    if dma_inside(P, ram, address, 4):
        put_u32_le(ram, address, value)
        note_write(P, address, 4)


@kernel(VOID(P, BYTES, I64, I64))
def dma_put64(P, ram, address, value):
    if dma_inside(P, ram, address, 8):
        put_i64_native(ram, address, value)
        note_write(P, address, 8)


@kernel(I64(BYTES, I64, I64))
def _there(ram, address, size):
    """How many of the bytes are RAM."""
    return min(max(len(ram) - address, 0), size) if address >= 0 else 0


@kernel(VOID(P, BYTES, I64, I64, BYTES, I64))
def dma_read(P, ram, address, size, target, at):
    """Copy ``size`` bytes of memory to ``at`` in ``target``, where there must be room; ones for what is not there."""
    there = _there(ram, address, size)
    if there > 0:
        copy(target, at, ram, address, there)
    if there < size:
        P.bad_dma = P.bad_dma + 1
        for i in range(there, size):
            put_u8(target, at + i, 0xFF)


@kernel(VOID(P, BYTES, I64, I64, BYTES, I64))
def dma_write(P, ram, address, size, source, at):
    """Copy ``size`` bytes at ``at`` of ``source`` to memory; what has no place there is lost."""
    there = _there(ram, address, size)
    if there > 0:
        copy(ram, address, source, at, there)
        note_write(P, address, there)
    if there < size:
        P.bad_dma = P.bad_dma + 1


@kernel(VOID(P, I64, I64))
def send_message(P, address, data):
    """An MSI-X message: the machine writes ``data`` to ``address``. One that waits already is not sent again."""
    n = P.message_count
    for i in range(n):
        if P.message_address[i] == address and P.message_data[i] == data:
            return
    if n < MESSAGES:
        P.message_address[n] = address
        P.message_data[n] = data
        P.message_count = n + 1
    else:
        P.messages_lost = P.messages_lost + 1
