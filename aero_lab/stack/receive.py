"""The receiving half: putting arrived data in its place (RFC 9293 section 3.10.7.4, RFC 2018, RFC 2883).

Data goes straight into the connection's circular receive buffer at its sequence number, in order or not; a short sorted
list of ranges remembers what arrived beyond a gap. What the buffer cannot hold is cut off and not acknowledged. A
gateway takes in-order data beyond the window it offered into one of a few larger blocks (the original's probe sends
without looking at the window).
"""

from ..compiled.memory import copy
from ..compiled.registry import BYTES, I64, kernel
from .drops import Count, Drop
from .holding import ack_number
from .world import BLOCKS, C_T, EV_READABLE, OVERRUN_BLOCKS, ROLE_GATEWAY, W_T, count, drop, raise_event


@kernel(I64(C_T, BYTES, I64, BYTES, I64, I64))
def store(c, heap, seq, buf, at, size):
    """Copy ``size`` bytes into the circular receive buffer at sequence number ``seq``."""
    start = (seq - c.recv_base) & c.recv_mask
    first = min(size, c.recv_mask + 1 - start)
    copy(heap, c.recv_off + start, buf, at, first)
    if first < size:
        copy(heap, c.recv_off, buf, at + first, size - first)
    return 0


@kernel(I64(W_T, C_T, BYTES))
def take_overrun_block(W, c, heap):
    """Move a connection's receive buffer to a larger block; 0 when there is none left."""
    if c.overrun >= 0 or W.role != ROLE_GATEWAY:
        return 0
    for i in range(OVERRUN_BLOCKS):
        if W.overrun_owner[i] == 0:
            W.overrun_owner[i] = c.slot + 1
            mask = W.overrun_size - 1
            base = W.overrun_start + i * W.overrun_size
            at = c.rcv_read
            # Everything from the oldest unread byte on moves, ranges beyond a gap included.
            while at < c.rcv_read + c.recv_mask + 1:
                of, to = (at - c.recv_base) & c.recv_mask, (at - c.recv_base) & mask
                piece = min(c.recv_mask + 1 - of, W.overrun_size - to)
                piece = min(piece, c.rcv_read + c.recv_mask + 1 - at)
                copy(heap, base + to, heap, c.recv_off + of, piece)
                at += piece
            c.recv_off = base
            c.recv_mask = mask
            c.overrun = i
            return 1
    return 0


@kernel(I64(W_T, C_T, I64, I64))
def remember_block(W, c, left, right):
    """Enter an out-of-order range; returns 0 when the list is full and the range touches none."""
    first = 0
    while first < c.blocks and c.block_r[first] < left:
        first += 1
    last = first
    while last < c.blocks and c.block_l[last] <= right:
        left = min(left, c.block_l[last])
        right = max(right, c.block_r[last])
        last += 1
    if last == first:
        if c.blocks >= BLOCKS:
            return 0
        i = c.blocks
        while i > first:
            c.block_l[i] = c.block_l[i - 1]
            c.block_r[i] = c.block_r[i - 1]
            i -= 1
        c.blocks = c.blocks + 1
    elif last > first + 1:
        gone = last - first - 1
        for i in range(last, c.blocks):
            c.block_l[i - gone] = c.block_l[i]
            c.block_r[i - gone] = c.block_r[i]
        c.blocks = c.blocks - gone
    c.block_l[first] = left
    c.block_r[first] = right
    c.recent_l = left
    return 1


@kernel(I64(C_T))
def join_blocks(c):
    """After in-order data: swallow ranges that ``rcv_nxt`` has reached. Returns 1 when a gap was filled."""
    gone = 0
    while gone < c.blocks and c.block_l[gone] <= c.rcv_nxt:
        c.rcv_nxt = max(c.rcv_nxt, c.block_r[gone])
        gone += 1
    if gone == 0:
        return 0
    for i in range(gone, c.blocks):
        c.block_l[i - gone] = c.block_l[i]
        c.block_r[i - gone] = c.block_r[i]
    c.blocks = c.blocks - gone
    return 1


@kernel(I64(C_T, I64, I64))
def note_duplicate(c, left, right):
    """Report a range that arrived twice in the next acknowledgement (RFC 2883), unless that said that held data is
    here."""
    if c.ack_hold < 0 or right <= ack_number(c):
        c.dsack_l = left
        c.dsack_r = right
    return 0


@kernel(I64(C_T, I64, I64))
def already_held(c, left, right):
    """1 when a range beyond the gap is wholly there already."""
    for i in range(c.blocks):
        if c.block_l[i] <= left and right <= c.block_r[i]:
            return 1
    return 0


@kernel(I64(W_T, C_T, BYTES, BYTES, I64, I64, I64))
def receive(W, c, heap, buf, at, seq, size):
    """Take ``size`` bytes that stand at ``seq``. Decides which acknowledgement they call for.

    Gives 0 for one that may be delayed, 1 for one at once.
    """
    end = seq + size
    if end <= c.rcv_nxt:
        note_duplicate(c, seq, end)
        count(W, Count.DUPLICATES_IN)
        return 1
    if seq < c.rcv_nxt:
        note_duplicate(c, seq, c.rcv_nxt)
        at += c.rcv_nxt - seq
        seq = c.rcv_nxt
    if c.rcv_fin >= 0 and end > c.rcv_fin:
        end = max(seq, c.rcv_fin)
    if seq == c.rcv_nxt:
        limit = c.rcv_read + c.recv_mask + 1
        if end > limit and take_overrun_block(W, c, heap):
            limit = c.rcv_read + c.recv_mask + 1
        cut = 0
        if end > limit:
            end = max(limit, seq)
            cut = 1
            drop(W, Drop.TCP_BEYOND_BUFFER)
        if end > c.rcv_adv:
            W.counts[Count.OVERRUN_BYTES] = W.counts[Count.OVERRUN_BYTES] + end - max(c.rcv_adv, seq)
        if end > seq:
            store(c, heap, seq, buf, at, end - seq)
            c.rcv_nxt = end
            c.bytes_in = c.bytes_in + end - seq
            before = c.rcv_nxt
            filled = 0
            if c.blocks > 0:
                filled = join_blocks(c)
                c.bytes_in = c.bytes_in + c.rcv_nxt - before
            raise_event(W, c, EV_READABLE)
            if filled or c.blocks > 0:
                return 1
        return cut
    # Beyond a gap: only inside the window, and only what the buffer holds.
    count(W, Count.OUT_OF_ORDER_IN)
    end = min(end, c.rcv_adv, c.rcv_read + c.recv_mask + 1)
    if end <= seq:
        drop(W, Drop.TCP_OUT_OF_WINDOW)
        return 1
    if already_held(c, seq, end):
        note_duplicate(c, seq, end)
        count(W, Count.DUPLICATES_IN)
        return 1
    if remember_block(W, c, seq, end) == 0:
        drop(W, Drop.TCP_OUT_OF_ORDER_FULL)
        return 1
    store(c, heap, seq, buf, at, end - seq)
    return 1
