"""Frames from the guest: chains of the TX queue become frames in T (5.1.6.2).

A chain is taken only when its frame fits into T, so a full T stops the guest and loses nothing. A packet that is cut
into segments may stop between two of them: how many were sent is kept (``segment``), and the chain stays where it is.
"""

from __future__ import annotations

from ...compiled.memory import u8
from ...compiled.registry import BYTES, I64, VOID, kernel
from ...rings.frame_ring import commit, find_room
from ...wire import tcp
from ..dma import dma_get8, dma_get16
from ..limits import FRAME_LEAST, FRAME_MOST, PACKET_MOST
from ..offload import IPV6, fix_segment, network_offset, put_checksum, segment_count
from ..port import P
from ..virtqueue import (
    chain_read,
    chain_seek,
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
    CSUM,
    GSO_ECN,
    GSO_NONE,
    GSO_TCPV4,
    GSO_TCPV6,
    HEADER,
    HOST_ECN,
    HOST_TSO4,
    HOST_TSO6,
    LONG_HEADER,
    MRG_RXBUF,
    NEEDS_CSUM,
    RING_EVENT_IDX,
    RING_INDIRECT_DESC,
    TX,
    D,
)

DONE, WAIT = 1, 0


@kernel(I64(D))
def header_size(D):
    """Bytes in front of each packet. The contract's device has the short header even in version 1."""
    if D.strict:
        return HEADER
    return LONG_HEADER if has(D, MRG_RXBUF) or D.features_high & 1 else HEADER


@kernel(I64(D, P, BYTES, I64))
def chain_u8(D, port, ram, offset):
    """A byte of the chain."""
    chain_seek(D.chain, offset)
    if D.chain.piece >= D.chain.count:
        return 0
    return dma_get8(port, ram, D.chain.address[D.chain.piece] + offset - D.chain.piece_at)


@kernel(I64(D, P, BYTES, I64))
def chain_u16(D, port, ram, offset):
    """Two bytes of the chain, the low one first."""
    if D.chain.piece_at == 0 and D.chain.piece == 0 and offset + 2 <= D.chain.length[0]:
        return dma_get16(port, ram, D.chain.address[0] + offset)
    return chain_u8(D, port, ram, offset) | chain_u8(D, port, ram, offset + 1) << 8


@kernel(VOID(D, P, BYTES, I64, I64, I64))
def put_out(D, port, T, frame, size, now):
    """The frame that was written into the room at ``frame`` goes out."""
    commit(T, frame, size, now, D.identity, -1, 0, 0)
    if D.identity:
        D.identity = D.identity + 2  # the other numbers are those of frames the other way
    port.moved = port.moved + 1
    D.tx_frames = D.tx_frames + 1
    D.tx_bytes = D.tx_bytes + size


@kernel(I64(D, P, BYTES, BYTES, I64, I64, I64))
def send_plain(D, port, ram, T, header, size, now):
    """Send the chain's packet as one frame. ``DONE``, or ``WAIT`` for room."""
    if size < FRAME_LEAST or size > D.frame_most:
        D.tx_dropped_size = D.tx_dropped_size + 1
        return DONE
    frame = find_room(T, size)
    if frame < 0:
        return WAIT
    chain_read(D.chain, port, ram, header, size, T, frame)
    if has(D, CSUM):
        flags = chain_u8(D, port, ram, 0)
        if flags & NEEDS_CSUM:
            start = chain_u16(D, port, ram, 6)
            offset = chain_u16(D, port, ram, 8)
            if put_checksum(T, frame, size, start, size, start + offset, 1 if offset == 6 else 0) == 0:
                D.tx_dropped_offload = D.tx_dropped_offload + 1
                return DONE
    put_out(D, port, T, frame, size, now)
    return DONE


@kernel(I64(D, I64))
def gso_offered(D, gso):
    """1 when the driver may ask for this kind of segmentation."""
    if gso & GSO_ECN and has(D, HOST_ECN) == 0:
        return 0
    kind = gso & ~GSO_ECN
    return has(D, HOST_TSO4) if kind == GSO_TCPV4 else has(D, HOST_TSO6) if kind == GSO_TCPV6 else 0


@kernel(I64(D, P, BYTES, BYTES, I64, I64, I64, I64))
def send_segments(D, port, ram, T, header, size, gso, now):
    """Send the chain's packet as segments, from number ``D.segment`` on. ``DONE``, or ``WAIT`` for room."""
    if size < FRAME_LEAST or size > PACKET_MOST:
        D.tx_dropped_size = D.tx_dropped_size + 1
        return DONE
    frame = find_room(T, FRAME_MOST)
    if frame < 0:
        return WAIT
    look = min(size, FRAME_MOST)
    chain_read(D.chain, port, ram, header, look, T, frame)
    kind = IPV6 if gso & ~GSO_ECN == GSO_TCPV6 else 0
    l3 = network_offset(T, frame, look)
    l4 = chain_u16(D, port, ram, 6)
    mss = chain_u16(D, port, ram, 4)
    number = 0
    headers = 0
    if chain_u8(D, port, ram, 0) & NEEDS_CSUM and gso_offered(D, gso) and l4 + tcp.HEADER_SIZE <= look:
        version = u8(T, frame + l3) >> 4 if l3 < look else 0
        headers = l4 + 4 * (tcp.get_data_offset(T, frame + l4) >> 4)
        if version == (6 if kind else 4):
            number = segment_count(size, l3, l4, headers, mss, kind, D.frame_most)
    if number == 0:
        D.tx_dropped_offload = D.tx_dropped_offload + 1
        return DONE
    for index in range(D.segment, number):
        start = headers + index * mss
        part = min(mss, size - start)
        frame = find_room(T, headers + part)
        if frame < 0:
            D.segment = index
            return WAIT
        chain_read(D.chain, port, ram, header, headers, T, frame)
        chain_read(D.chain, port, ram, header + start, part, T, frame + headers)
        fix_segment(T, frame, headers + part, l3, l4, kind, index, number, mss)
        put_out(D, port, T, frame, headers + part, now)
    D.tx_segmented = D.tx_segmented + 1
    return DONE


@kernel(I64(D, P, BYTES, BYTES, I64))
def send_chain(D, port, ram, T, now):
    """Send what the chain walked last holds. ``DONE`` (dropped for a reason, perhaps), or ``WAIT`` for room."""
    chain = D.chain
    header = header_size(D)
    if chain.readers < chain.count:
        D.tx_dropped_writable = D.tx_dropped_writable + 1
        return DONE
    if chain.readable < header:
        D.tx_dropped_header = D.tx_dropped_header + 1
        return DONE
    if port.cable == 0:
        D.tx_dropped_link = D.tx_dropped_link + 1
        return DONE
    size = chain.readable - header
    gso = chain_u8(D, port, ram, 1) if has(D, HOST_TSO4) or has(D, HOST_TSO6) else GSO_NONE
    if gso != GSO_NONE:
        return send_segments(D, port, ram, T, header, size, gso, now)
    return send_plain(D, port, ram, T, header, size, now)


@kernel(VOID(D, P, BYTES, BYTES, I64))
def transmit(D, port, ram, T, now):
    """Send what waits in the TX queue, as far as T has room."""
    port.tx_wait = 0
    if live(D) == 0 or port.master == 0:
        return
    q = D.queue[TX]
    event_idx = has(D, RING_EVENT_IDX)
    indirect = has(D, RING_INDIRECT_DESC)
    for _ in range(queue_waiting(q, port, ram)):
        head = queue_head(q, port, ram)
        if head < 0 or queue_walk(q, D.chain, port, ram, head, indirect) == 0:
            break
        if send_chain(D, port, ram, T, now) == WAIT:
            port.tx_wait = 1
            break
        D.segment = 0
        D.tx_packets = D.tx_packets + 1
        queue_take(q)
        queue_give(q, port, ram, head, 0)
    told = queue_publish(q, port, ram, event_idx)
    if judge(D, port) == 0:
        return
    if port.tx_wait == 0:
        queue_ask(q, port, ram, event_idx)
    if told:
        interrupt_queue(D, port, TX)
