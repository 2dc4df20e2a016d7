"""Split virtqueues as a device walks them (Virtual I/O Device 1.2, section 2.7), apart from any device.

A driver puts descriptors (address, length, flags, next) into a table, chains of them, and the head of each chain into
the *available* ring; the device gives heads back through the *used* ring, with how many bytes it wrote. All of that
lies in guest memory and is written by the guest, at any time and with anything in it. So each is read once, here, and
judged: a chain comes out as a list of pieces in a record of ours, and what the guest changes afterwards is without
effect on the walk.

What no driver may do (2.7.5.3.1, 2.7.13) makes the queue *broken*, with a reason; what a device does about that is the
device's business (2.1.2 lets it ask for a reset). Addresses are not judged here: beyond RAM reads give ones and writes
are lost (:mod:`.dma`), so rings that lie nowhere soon look like an index that jumped.
"""

from __future__ import annotations

import numpy as np

from ..compiled.registry import BYTES, I64, VOID, kernel, record_type
from .dma import dma_get16, dma_get32, dma_get64, dma_put16, dma_put32, dma_read, dma_write
from .limits import CHAIN_MOST, QUEUE_MOST
from .port import P

NEXT, WRITE, INDIRECT = 1, 2, 4
"""Flags of a descriptor (2.7.5)."""
NO_INTERRUPT = 1
"""Flag of the available ring (2.7.6)."""
DESCRIPTOR = 16
"""Bytes of a descriptor."""
NOWHERE = 1 << 62
"""An address where there is no memory, nor anywhere near."""

(
    SOUND, INDEX_JUMPED, HEAD_OUT_OF_RANGE, NEXT_OUT_OF_RANGE, CHAIN_TOO_LONG, INDIRECT_NOT_OFFERED, INDIRECT_NESTED,
    INDIRECT_SIZE, INDIRECT_AND_NEXT, ORDER, TOO_MANY_HELD,
) = range(11)  # fmt: skip
"""Why a queue is broken: the available index moved by more than the queue's size; a head, or a link of a chain, beyond
the table; more descriptors than the queue has (a cycle, for one); an indirect table without the feature, inside another
one, of a length that is no positive multiple of 16, or with a successor; a readable descriptor behind a writable one;
more chains available at once than the queue has descriptors."""

REASONS = (
    "sound", "available index jumped", "head out of range", "next out of range", "chain too long",
    "indirect table without the feature", "indirect table inside an indirect table", "length of an indirect table",
    "indirect table with a successor", "readable descriptor behind a writable one", "more chains than descriptors",
)  # fmt: skip
"""Those as text."""


def _ints(names: str) -> list[tuple[str, str]]:
    return [(name, "<i8") for name in names.split()]


QUEUE = np.dtype(
    [
        *_ints("entries enabled vector desc avail used next_avail next_used signalled broken held_first held_count"),
        ("held", "<i8", (QUEUE_MOST,)),
        ("held_room", "<i8", (QUEUE_MOST,)),
    ]
)
"""One queue.

entries, enabled, vector, desc, avail, used: as the transport set them up.
next_avail, next_used, signalled: free-running 16-bit indices: the next head to take, the next used element to fill, and
what the used index was when the driver was last told.
broken: a reason, or 0.
held, held_room, held_first, held_count: chains taken but not used yet, oldest first, in a ring: heads, and the bytes
that a device can write to each.
"""
CHAIN = np.dtype(
    [
        *_ints("count readers readable writable first disorder piece piece_at"),
        ("address", "<i8", (CHAIN_MOST,)),
        ("length", "<i8", (CHAIN_MOST,)),
    ]
)
"""The chain walked last.

count, readers, address, length: its descriptors, and how many of them, at the start, are for reading.
readable, writable: bytes of either kind. first: length of the first descriptor.
disorder: a readable descriptor came behind a writable one, and ``readers`` tells nothing.
piece, piece_at: where in the chain the last byte was found, so that the next need not be looked for from the start.
"""
Q, CH = record_type(QUEUE), record_type(CHAIN)


@kernel(I64(I64))
def place_of(address):
    """An address as what is in the guest's memory, or beyond it: none above 2**63, which is a negative number here,
    comes back into memory by what is added to it."""
    return address if address >= 0 else NOWHERE


@kernel(VOID(Q))
def queue_reset(q):
    """As after a reset of the device (2.7 and 4.1.4.3); the size is the transport's to set."""
    q.enabled = 0
    q.desc = 0
    q.avail = 0
    q.used = 0
    q.next_avail = 0
    q.next_used = 0
    q.signalled = 0
    q.broken = 0
    q.held_first = 0
    q.held_count = 0


@kernel(I64(Q))
def queue_placed(q):
    """1 when size and addresses are such as a driver may choose: a power of two, and aligned (2.7, table of 2.7)."""
    if q.entries < 1 or q.entries > QUEUE_MOST or q.entries & (q.entries - 1):
        return 0
    return 1 if q.desc & 15 == 0 and q.avail & 1 == 0 and q.used & 3 == 0 else 0


@kernel(I64(Q, P, BYTES))
def queue_waiting(q, port, ram):
    """Heads that the driver made available and the device has not taken; a jump breaks the queue, and none are."""
    if q.enabled == 0 or q.broken:
        return 0
    ahead = dma_get16(port, ram, place_of(q.avail) + 2) - q.next_avail & 0xFFFF
    if ahead > q.entries:
        q.broken = INDEX_JUMPED
        return 0
    return ahead


@kernel(I64(Q, P, BYTES))
def queue_head(q, port, ram):
    """The head that is to be taken next, or -1; :func:`queue_waiting` has said that there is one."""
    head = dma_get16(port, ram, place_of(q.avail) + 4 + 2 * (q.next_avail & q.entries - 1))
    if head >= q.entries:
        q.broken = HEAD_OUT_OF_RANGE
        return -1
    return head


@kernel(VOID(Q))
def queue_take(q):
    """Take the head that :func:`queue_head` gave."""
    q.next_avail = q.next_avail + 1 & 0xFFFF


@kernel(I64(Q, CH, P, BYTES, I64, I64))
def queue_walk(q, chain, port, ram, head, indirect_offered):
    """Read the chain that begins at ``head`` into ``chain``. 1, or 0 and the queue is broken."""
    chain.count = 0
    chain.readers = 0
    chain.readable = 0
    chain.writable = 0
    chain.first = 0
    chain.disorder = 0
    chain.piece = 0
    chain.piece_at = 0
    table = place_of(q.desc)
    entries = q.entries
    most = q.entries
    nested = 0
    index = head
    for _ in range(CHAIN_MOST + 2):
        if index >= entries:
            q.broken = NEXT_OUT_OF_RANGE
            return 0
        at = table + DESCRIPTOR * index
        flags = dma_get16(port, ram, at + 12)
        if flags & INDIRECT:
            length = dma_get32(port, ram, at + 8)
            if indirect_offered == 0:
                q.broken = INDIRECT_NOT_OFFERED
            elif nested:
                q.broken = INDIRECT_NESTED
            elif flags & NEXT:
                q.broken = INDIRECT_AND_NEXT
            elif length == 0 or length & 15:
                q.broken = INDIRECT_SIZE
            if q.broken:
                return 0
            table = place_of(dma_get64(port, ram, at))
            entries = length >> 4
            most = CHAIN_MOST  # Linux lets an indirect table be longer than a small queue
            nested = 1
            index = 0
            continue
        if chain.count >= most:
            q.broken = CHAIN_TOO_LONG
            return 0
        length = dma_get32(port, ram, at + 8)
        n = chain.count
        chain.address[n] = place_of(dma_get64(port, ram, at))
        chain.length[n] = length
        if n == 0:
            chain.first = length
        if flags & WRITE:
            chain.writable = chain.writable + length
        else:
            if chain.readers < n:
                chain.disorder = 1
            chain.readers = chain.readers + 1
            chain.readable = chain.readable + length
        chain.count = n + 1
        if flags & NEXT == 0:
            return 1
        index = dma_get16(port, ram, at + 14)
    q.broken = CHAIN_TOO_LONG
    return 0


@kernel(VOID(CH, I64))
def chain_seek(chain, offset):
    """Find the descriptor in which byte ``offset`` lies, counted over the whole chain: what can be written begins
    behind what can be read."""
    if offset < chain.piece_at:
        chain.piece = 0
        chain.piece_at = 0
    piece = chain.piece
    at = chain.piece_at
    while piece < chain.count and offset >= at + chain.length[piece]:
        at += chain.length[piece]
        piece += 1
    chain.piece = piece
    chain.piece_at = at


@kernel(VOID(CH, P, BYTES, I64, I64, BYTES, I64))
def chain_read(chain, port, ram, offset, size, target, at):
    """Copy ``size`` bytes of the chain from ``offset`` on to ``at`` in ``target``; both have them."""
    done = 0
    while done < size:
        chain_seek(chain, offset + done)
        if chain.piece >= chain.count:
            return
        within = offset + done - chain.piece_at
        part = min(size - done, chain.length[chain.piece] - within)
        dma_read(port, ram, chain.address[chain.piece] + within, part, target, at + done)
        done += part


@kernel(VOID(CH, P, BYTES, I64, I64, BYTES, I64))
def chain_write(chain, port, ram, offset, size, source, at):
    """Copy ``size`` bytes at ``at`` in ``source`` into the chain from ``offset`` on; the chain has room for them."""
    done = 0
    while done < size:
        chain_seek(chain, offset + done)
        if chain.piece >= chain.count:
            return
        within = offset + done - chain.piece_at
        part = min(size - done, chain.length[chain.piece] - within)
        dma_write(port, ram, chain.address[chain.piece] + within, part, source, at + done)
        done += part


@kernel(VOID(Q, P, BYTES, I64, I64))
def queue_give(q, port, ram, head, written):
    """Put a chain into the used ring, with the bytes written to it; :func:`queue_publish` shows it to the driver."""
    at = place_of(q.used) + 4 + 8 * (q.next_used & q.entries - 1)
    dma_put32(port, ram, at, head)
    dma_put32(port, ram, at + 4, written)
    q.next_used = q.next_used + 1 & 0xFFFF


@kernel(I64(Q, P, BYTES, I64))
def queue_publish(q, port, ram, event_idx):
    """Move the used index over what was given. 1 when the driver wants to be told (2.7.7, 2.7.10)."""
    if q.enabled == 0 or q.next_used == q.signalled:
        return 0
    before = q.signalled
    q.signalled = q.next_used
    dma_put16(port, ram, place_of(q.used) + 2, q.next_used)
    if event_idx:
        event = dma_get16(port, ram, place_of(q.avail) + 4 + 2 * q.entries)
        return 1 if (q.next_used - event - 1 & 0xFFFF) < (q.next_used - before & 0xFFFF) else 0
    return 0 if dma_get16(port, ram, place_of(q.avail)) & NO_INTERRUPT else 1


@kernel(VOID(Q, P, BYTES, I64))
def queue_ask(q, port, ram, event_idx):
    """Ask to be notified of the next chain made available. Without EVENT_IDX drivers always notify: the flag that
    would stop them is never set."""
    if event_idx and q.enabled and q.broken == 0:
        dma_put16(port, ram, place_of(q.used) + 4 + 8 * q.entries, q.next_avail)
