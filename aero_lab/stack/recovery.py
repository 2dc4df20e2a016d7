"""What acknowledgements say about the segment queue: SACK scoreboard, round-trip times, and what is lost.

Three detectors share one queue. With SACK and RACK (RFC 8985) time decides: a piece is lost when one sent later enough
has arrived. With SACK alone the bytes sacked above decide (RFC 6675). Without SACK duplicate acknowledgements do (RFC
6582), each standing for one segment that arrived. Marking something lost for the first time starts a recovery, which
ends when all that was outstanding then is acknowledged; the window is reduced once in it. After a timeout everything
unsacked is lost.
"""

from ..compiled.registry import I64, kernel
from ..limits import NEVER
from .congestion import cc_loss
from .drops import Count
from .tcp_options import unwrap_left, unwrap_right
from .tcp_output import in_flight, window_used
from .world import C_T, SEG_LOST, SEG_RETRANSMITTED, SEG_SACKED, SEGS_T, W_T, count

DUP_THRESHOLD = 3
RECOVERY_FAST, RECOVERY_TIMEOUT = 1, 2
MIN_RTT_FLOOR = 1_000


@kernel(I64(W_T, C_T, I64))
def sample_rtt(W, c, rtt):
    """Feed one round-trip sample into SRTT, RTTVAR and RTO (RFC 6298 section 2)."""
    rtt = max(rtt, MIN_RTT_FLOOR)
    if c.srtt == 0:
        c.srtt = rtt
        c.rttvar = rtt >> 1
    else:
        error = rtt - c.srtt
        c.srtt = c.srtt + (error >> 3)
        c.rttvar = c.rttvar + ((abs(error) - c.rttvar) >> 2)
    if c.min_rtt == 0 or rtt < c.min_rtt:
        c.min_rtt = rtt
    c.rto = min(max(c.srtt + max(4 * c.rttvar, 1_000_000), W.tcp_rto_min), W.tcp_rto_max)
    return 0


@kernel(I64(C_T, I64, I64, I64, I64))
def rack_advance(c, xmit_at, end, retransmitted, now):
    """RACK step 2: remember the most recently sent piece that has arrived (RFC 8985 section 6.2)."""
    rtt = now - xmit_at
    if retransmitted and rtt < c.min_rtt:
        return 0  # the original's acknowledgement, most likely
    if xmit_at > c.rack_ts or xmit_at == c.rack_ts and end > c.rack_end:
        c.rack_ts = xmit_at
        c.rack_end = end
        c.rack_rtt = rtt
    return 0


@kernel(I64(C_T, I64, I64))
def rack_order(c, end, retransmitted):
    """RACK step 3: an arrival below what had already arrived is reordering."""
    if end > c.rack_fack:
        c.rack_fack = end
    elif end < c.rack_fack and not retransmitted:
        c.rack_reordering = 1
    return 0


@kernel(I64(W_T, C_T, SEGS_T, I64, I64))
def acknowledge(W, c, segs, ack, now):
    """Take everything below ``ack`` off the queue; ``snd_una`` still stands at its old place. Returns the newest clean
    round-trip time, or -1."""
    rtt = -1
    base = c.slot * W.segq
    while c.head < c.tail:
        s = segs[base + (c.head & W.segq_mask)]
        if s.seq >= ack:
            break
        end = min(s.end, ack)
        size = end - s.seq
        if s.flags & SEG_SACKED:
            c.sacked_bytes = c.sacked_bytes - size
        else:
            again = 1 if s.flags & SEG_RETRANSMITTED else 0
            if s.flags & SEG_LOST:
                c.lost_bytes = c.lost_bytes - size
            if not again:
                rtt = now - s.xmit_at
            rack_advance(c, s.xmit_at, end, again, now)
            rack_order(c, end, again)
        if end < s.end:
            s.seq = end
            break
        c.head = c.head + 1
    if c.sack_ok == 0:
        c.sacked_bytes = max(c.sacked_bytes - (ack - c.snd_una), 0)
    return rtt


@kernel(I64(W_T, C_T, SEGS_T, I64))
def first_at_or_after(W, c, segs, seq):
    """First queue entry whose start is ``seq`` or later (binary search; the queue is in order)."""
    low, high = c.head, c.tail
    base = c.slot * W.segq
    while low < high:
        middle = (low + high) >> 1
        if segs[base + (middle & W.segq_mask)].seq < seq:
            low = middle + 1
        else:
            high = middle
    return low


@kernel(I64(W_T, C_T, SEGS_T, I64))
def take_sack(W, c, segs, now):
    """Mark what the arrived SACK blocks cover. Returns bytes newly sacked; a duplicate report (RFC 2883) is noted for
    RACK."""
    fresh = 0
    base = c.slot * W.segq
    for b in range(W.seg_blocks):
        left = unwrap_left(W, c, b)
        right = unwrap_right(W, c, b)
        if right <= left or right > c.snd_nxt:
            continue
        if b == 0:
            inside = 0
            if W.seg_blocks > 1:
                if unwrap_left(W, c, 1) <= left and right <= unwrap_right(W, c, 1):
                    inside = 1
            if right <= c.snd_una or inside:
                count(W, Count.DSACKS_IN)
                # RFC 8985 section 6.2 step 4: a larger reordering window, once a round trip.
                if c.snd_una >= c.rack_dsack_round:
                    c.rack_dsack_round = c.snd_nxt
                    c.rack_mult = min(c.rack_mult + 1, 64)
                    c.rack_persist = 16
                continue
        if right <= c.snd_una:
            continue
        left = max(left, c.snd_una)
        # An edge known from the last acknowledgement need not be walked again.
        known = -1
        for j in range(4):
            if c.seen_l[j] <= left and left < c.seen_r[j] and c.seen_r[j] <= right:
                left = c.seen_r[j]
                known = j
        k = first_at_or_after(W, c, segs, left)
        walked = left
        while k < c.tail:
            s = segs[base + (k & W.segq_mask)]
            if s.end > right:
                break
            if s.flags & SEG_SACKED == 0:
                size = s.end - s.seq
                again = 1 if s.flags & SEG_RETRANSMITTED else 0
                if s.flags & SEG_LOST:
                    c.lost_bytes = c.lost_bytes - size
                s.flags = (s.flags & ~SEG_LOST) | SEG_SACKED
                c.sacked_bytes = c.sacked_bytes + size
                fresh += size
                if not again:
                    sample_rtt(W, c, now - s.xmit_at)
                rack_advance(c, s.xmit_at, s.end, again, now)
                rack_order(c, s.end, again)
            walked = s.end
            k += 1
        if known < 0:
            known = b & 3
            c.seen_l[known] = left
        c.seen_r[known] = walked
    return fresh


@kernel(I64(C_T, SEGS_T, I64))
def mark_lost(c, segs, i):
    """Mark one entry (an index into ``segs``) lost."""
    s = segs[i]
    s.flags = s.flags | SEG_LOST
    c.lost_bytes = c.lost_bytes + s.end - s.seq
    return 0


@kernel(I64(W_T, C_T, SEGS_T, I64))
def rack_detect(W, c, segs, now):
    """RACK step 5: mark what was sent long enough before the newest arrival; time the rest. Returns bytes marked."""
    c.t_rack = NEVER
    if c.rack_ts == 0:
        return 0
    window = 0
    if c.rack_reordering or not c.recovery and c.sacked_bytes < DUP_THRESHOLD * c.mss:
        window = min(c.rack_mult * (c.min_rtt >> 2), c.srtt)
    marked = 0
    wait = 0
    again = 0
    base = c.slot * W.segq
    for k in range(c.head, c.tail):
        i = base + (k & W.segq_mask)
        s = segs[i]
        if s.flags & (SEG_SACKED | SEG_LOST):
            continue
        # At one instant new data may have gone out before what was sent again: then the number says nothing.
        if s.xmit_at > c.rack_ts or s.xmit_at == c.rack_ts and (s.end > c.rack_end or s.flags & SEG_RETRANSMITTED):
            if s.flags & SEG_RETRANSMITTED == 0:
                break  # everything behind was sent later still
            continue
        remaining = s.xmit_at + c.rack_rtt + window - now
        if remaining <= 0:
            if s.flags & SEG_RETRANSMITTED and s.xmit_at >= c.reduced_at:
                again = 1
            marked += s.end - s.seq
            mark_lost(c, segs, i)
        else:
            wait = max(wait, remaining)
    if wait > 0:
        c.t_rack = now + wait
    if again and c.recovery == RECOVERY_FAST:
        # A retransmission sent with the reduced window was lost: that window is too large still (RFC 5681 section 4.3).
        c.reduced_at = now
        cc_loss(W, c, c.cwnd, now)
    return marked


@kernel(I64(W_T, C_T, SEGS_T))
def sack_detect(W, c, segs):
    """RFC 6675 IsLost(): lost with more than two segments' worth, or three ranges, sacked above. Returns bytes
    marked."""
    above = 0
    ranges = 0
    last_sacked = 0
    marked = 0
    base = c.slot * W.segq
    k = c.tail - 1
    while k >= c.head:
        i = base + (k & W.segq_mask)
        s = segs[i]
        if s.flags & SEG_SACKED:
            above += s.end - s.seq
            if last_sacked == 0:
                ranges += 1
            last_sacked = 1
        else:
            last_sacked = 0
            if s.flags & (SEG_LOST | SEG_RETRANSMITTED) == 0 and (above > 2 * c.mss or ranges >= DUP_THRESHOLD):
                marked += s.end - s.seq
                mark_lost(c, segs, i)
        k -= 1
    return marked


@kernel(I64(W_T, C_T, SEGS_T))
def mark_head(W, c, segs):
    """Mark the first outstanding piece lost, if it is not yet; returns bytes marked."""
    if c.head == c.tail:
        return 0
    i = c.slot * W.segq + (c.head & W.segq_mask)
    s = segs[i]
    if s.flags & (SEG_LOST | SEG_SACKED):
        return 0
    mark_lost(c, segs, i)
    return s.end - s.seq


@kernel(I64(W_T, C_T, SEGS_T))
def mark_all(W, c, segs):
    """After a timeout: everything not sacked is lost (RFC 6675 section 5.1)."""
    base = c.slot * W.segq
    for k in range(c.head, c.tail):
        i = base + (k & W.segq_mask)
        if segs[i].flags & (SEG_SACKED | SEG_LOST) == 0:
            mark_lost(c, segs, i)
    return 0


@kernel(I64(W_T, C_T, I64, I64))
def enter_recovery(W, c, flight, now):
    """Start a recovery: remember its end and reduce the window."""
    c.recovery = RECOVERY_FAST
    c.recovery_point = c.snd_nxt
    c.reduced_at = now
    c.t_tlp = NEVER
    count(W, Count.FAST_RECOVERIES)
    return cc_loss(W, c, flight, now)


@kernel(I64(W_T, C_T, SEGS_T, I64, I64, I64))
def detect_losses(W, c, segs, acked, duplicate, now):
    """Run the detector that fits after an acknowledgement; enters and leaves recovery. Returns 1 when something is
    newly lost."""
    flight = c.snd_nxt - c.snd_una
    if c.recovery and c.snd_una >= c.recovery_point:
        if c.recovery == RECOVERY_FAST and W.tcp_cc != 0:
            c.cwnd = min(c.cwnd, max(c.ssthresh, 2 * c.mss))
        c.recovery = 0
        c.dup_acks = 0
        if c.rack_persist > 0:
            c.rack_persist = c.rack_persist - 1
            if c.rack_persist == 0:
                c.rack_mult = 1
    marked = 0
    if c.sack_ok:
        if c.head < c.tail and (c.sacked_bytes > 0 or c.recovery or c.rack_reordering):
            if W.tcp_rack:
                marked = rack_detect(W, c, segs, now)
            else:
                marked = sack_detect(W, c, segs)
                if marked == 0 and c.recovery == RECOVERY_FAST and acked > 0 and in_flight(c) == 0:
                    marked = mark_head(W, c, segs)
    else:
        if duplicate:
            c.dup_acks = c.dup_acks + 1
            # Each duplicate says that one more segment has left the network.
            c.sacked_bytes = min(c.sacked_bytes + c.mss, max(flight - c.lost_bytes - c.mss, 0))
            if c.dup_acks == DUP_THRESHOLD and c.recovery == 0:
                marked = mark_head(W, c, segs)
        elif acked > 0:
            if c.recovery == RECOVERY_FAST:
                marked = mark_head(W, c, segs)  # a partial acknowledgement (RFC 6582 section 3.2)
            else:
                c.dup_acks = 0
    if marked > 0 and c.recovery == 0:
        enter_recovery(W, c, window_used(c, flight), now)
    return 1 if marked > 0 else 0
