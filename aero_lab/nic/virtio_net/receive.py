"""Frames for the guest: from R into chains of the RX queue (5.1.6.3, 5.1.6.4).

Chains that the driver posts are taken at once and held. A frame takes the first of them with enough room, or, with
MRG_RXBUF, as many as it needs. While none are posted it waits in R, and R's other end sees that it is full; a frame
for which no posted chain is large enough is dropped.
"""

from __future__ import annotations

from ...compiled.registry import BYTES, I64, VOID, kernel
from ...rings.frame_ring import count, descriptor, frame_len, frame_off, release
from ...wire import ethernet
from ..dma import dma_put8, dma_put16, dma_put32, dma_put64
from ..limits import FRAME_LEAST, QUEUE_MOST, RX_BUDGET
from ..offload import checksum_sound
from ..port import P
from ..virtqueue import (
    TOO_MANY_HELD,
    chain_seek,
    chain_write,
    queue_ask,
    queue_give,
    queue_head,
    queue_publish,
    queue_take,
    queue_waiting,
    queue_walk,
)
from .interrupts import interrupt_queue, judge
from .registers import has, live
from .state import (
    DATA_VALID,
    GUEST_CSUM,
    HEADER,
    MRG_RXBUF,
    RING_EVENT_IDX,
    RING_INDIRECT_DESC,
    RX,
    D,
)
from .transmit import header_size

BROADCAST = 0xFFFF_FFFF_FFFF
TO_FILTER_RX, TO_FILTER_VLAN = 1, 2


@kernel(I64(D, BYTES, I64, I64))
def wanted(D, R, frame, size):
    """1 when the receive filter lets a frame pass (5.1.6.5.1, 5.1.6.5.2, 5.1.6.5.3)."""
    if D.filtered & TO_FILTER_VLAN and size >= ethernet.HEADER_SIZE + ethernet.VLAN_TAG_SIZE:
        if ethernet.get_type(R, frame) == ethernet.TYPE_VLAN:
            vlan = ethernet.get_vlan_tci(R, frame) & 0xFFF
            if D.vlans[vlan >> 5] >> (vlan & 31) & 1 == 0:
                return 0
    if D.filtered & TO_FILTER_RX == 0 or D.promisc:
        return 1
    address = ethernet.get_dst_hi(R, frame) << 32 | ethernet.get_dst_lo(R, frame)
    if address == BROADCAST:
        return 0 if D.nobcast else 1
    if address >> 40 & 1:
        if D.nomulti:
            return 0
        if D.allmulti or D.multicast_all:
            return 1
        for i in range(D.multicast_count):
            if D.multicast[i] == address:
                return 1
        return 0
    if D.nouni:
        return 0
    if D.alluni or D.unicast_all or address == D.mac:
        return 1
    for i in range(D.unicast_count):
        if D.unicast[i] == address:
            return 1
    return 0


@kernel(I64(D, P, BYTES, I64, I64))
def usable(D, port, ram, head, header):
    """Bytes that fit into a chain for receiving, 0 when it is none, -1 when the queue is broken. It is walked then."""
    if queue_walk(D.queue[RX], D.chain, port, ram, head, has(D, RING_INDIRECT_DESC)) == 0:
        return -1
    chain = D.chain
    if chain.readers or chain.writable < header or D.strict and chain.first < header:
        return 0
    return chain.writable


@kernel(VOID(D, P, BYTES, I64))
def collect(D, port, ram, header):
    """Take the chains that were posted. What cannot be used is given back empty."""
    q = D.queue[RX]
    for _ in range(queue_waiting(q, port, ram)):
        head = queue_head(q, port, ram)
        if head < 0:
            return
        if q.held_count >= q.entries:
            q.broken = TOO_MANY_HELD
            return
        room = usable(D, port, ram, head, header)
        if room < 0:
            return
        queue_take(q)
        if room == 0:
            D.rx_skipped_chains = D.rx_skipped_chains + 1
            queue_give(q, port, ram, head, 0)
            continue
        at = q.held_first + q.held_count & QUEUE_MOST - 1
        q.held[at] = head
        q.held_room[at] = room
        q.held_count = q.held_count + 1


@kernel(I64(D, I64))
def let_go(D, which):
    """Take the ``which``-th chain out of those held; its head."""
    q = D.queue[RX]
    head = q.held[q.held_first + which & QUEUE_MOST - 1]
    for back in range(which):
        to = q.held_first + which - back & QUEUE_MOST - 1
        of = to - 1 & QUEUE_MOST - 1
        q.held[to] = q.held[of]
        q.held_room[to] = q.held_room[of]
    q.held_first = q.held_first + 1 & QUEUE_MOST - 1
    q.held_count = q.held_count - 1
    return head


@kernel(VOID(D, P, BYTES, I64, I64))
def put_byte(D, port, ram, offset, value):
    """Write a byte into the chain."""
    chain_seek(D.chain, offset)
    if D.chain.piece < D.chain.count:
        dma_put8(port, ram, D.chain.address[D.chain.piece] + offset - D.chain.piece_at, value)


@kernel(VOID(D, P, BYTES, I64, I64, I64))
def put_header(D, port, ram, header, flags, buffers):
    """Write the header of a packet that is one frame: no segmentation, and no checksum left to be done."""
    if D.chain.first >= header:
        at = D.chain.address[0]
        dma_put64(port, ram, at, flags)
        if header == HEADER:
            dma_put16(port, ram, at + 8, 0)
        else:
            dma_put32(port, ram, at + 8, buffers << 16)
        return
    for i in range(header):
        value = flags if i == 0 else buffers & 0xFF if i == HEADER else buffers >> 8 if i == HEADER + 1 else 0
        put_byte(D, port, ram, i, value)


@kernel(I64(D, I64))
def choose(D, need):
    """Which of the chains held has room for ``need`` bytes, or -1."""
    q = D.queue[RX]
    for i in range(q.held_count):
        if q.held_room[q.held_first + i & QUEUE_MOST - 1] >= need:
            return i
    return -1


@kernel(I64(D, I64))
def gather(D, need):
    """How many chains, from the first on, have room for ``need`` bytes together; 0 when all of them have not."""
    q = D.queue[RX]
    total = 0
    for i in range(q.held_count):
        total += q.held_room[q.held_first + i & QUEUE_MOST - 1]
        if total >= need:
            return i + 1
    return 0


PLACED, NO_ROOM, AGAIN = 1, 0, -1


@kernel(I64(D, P, BYTES, BYTES, I64, I64, I64))
def place(D, port, ram, R, frame, size, header):
    """Put a frame into chains. ``PLACED``, ``NO_ROOM``, or ``AGAIN``: a chain is not any more what it was when it was
    posted, and is gone."""
    need = header + size
    merge = has(D, MRG_RXBUF)
    which = 0 if merge else choose(D, need)
    buffers = gather(D, need) if merge else 1
    if which < 0 or buffers == 0:
        return NO_ROOM
    flags = 0
    if has(D, GUEST_CSUM) and checksum_sound(R, frame, size):
        flags = DATA_VALID
    q = D.queue[RX]
    done = 0
    for i in range(buffers):
        room = q.held_room[q.held_first + which & QUEUE_MOST - 1]
        head = let_go(D, which)
        if usable(D, port, ram, head, header) != room:
            if q.broken == 0:
                D.rx_skipped_chains = D.rx_skipped_chains + 1
                queue_give(q, port, ram, head, 0)
            return AGAIN
        skip = 0
        if i == 0:
            put_header(D, port, ram, header, flags, buffers)
            skip = header
        part = min(room - skip, size - done)
        chain_write(D.chain, port, ram, skip, part, R, frame + done)
        queue_give(q, port, ram, head, skip + part)
        done += part
    return PLACED


@kernel(VOID(D, P, BYTES, BYTES))
def receive(D, port, ram, R):
    """Hand over what waits in R, as far as the driver gave room."""
    if count(R) == 0:
        port.rx_wait = 0
        return
    if port.cable == 0:
        waiting = count(R)
        D.rx_dropped_link = D.rx_dropped_link + waiting
        release(R, waiting)
        port.moved = port.moved + waiting
        port.rx_wait = 0
        return
    if live(D) == 0 or port.master == 0 or D.queue[RX].enabled == 0:
        port.rx_wait = 1
        return
    q = D.queue[RX]
    header = header_size(D)
    event_idx = has(D, RING_EVENT_IDX)
    collect(D, port, ram, header)
    taken = 0
    port.rx_wait = 0
    for _ in range(RX_BUDGET):
        if q.broken or taken == count(R):
            break
        d = descriptor(R, taken)
        size = frame_len(R, d)
        frame = frame_off(R, d)
        if size < FRAME_LEAST or size > D.frame_most:
            D.rx_dropped_size = D.rx_dropped_size + 1
        elif wanted(D, R, frame, size) == 0:
            D.rx_dropped_filter = D.rx_dropped_filter + 1
        else:
            result = place(D, port, ram, R, frame, size, header)
            if result == AGAIN:
                continue
            if result == NO_ROOM:
                # One chain that is too small will not grow; several may yet become enough together.
                if q.held_count == 0 or has(D, MRG_RXBUF) and q.held_count < q.entries:
                    port.rx_wait = 1
                    queue_ask(q, port, ram, event_idx)
                    break
                D.rx_dropped_room = D.rx_dropped_room + 1
            else:
                D.rx_frames = D.rx_frames + 1
                D.rx_bytes = D.rx_bytes + size
        taken += 1
    release(R, taken)
    port.moved = port.moved + taken
    told = queue_publish(q, port, ram, event_idx)
    if judge(D, port) == 0:
        port.rx_wait = 1
    elif told:
        interrupt_queue(D, port, RX)
