"""TCP timers. Each is a time in the TCB, NEVER when off; the least of them stands in the dense array of deadlines."""

from ..compiled.registry import BYTES, I64, kernel
from ..limits import NEVER
from .congestion import cc_timeout
from .connections import close_slot
from .drops import Count
from .output import leaves_headroom
from .recovery import RECOVERY_TIMEOUT, detect_losses, mark_all
from .states import State
from .tcp_options import update_mss
from .tcp_output import (
    ACK,
    CAUSE_KEEPALIVE,
    NUMBERS_UNKNOWN,
    arm_rto,
    emit,
    retransmit,
    send_ack,
    send_new,
    send_syn,
    tcp_output,
)
from .world import (
    C_T,
    R_CLOSED,
    R_TIMEOUT,
    SEG_LOST,
    SEG_SACKED,
    SEGS_T,
    TCBS_T,
    W_T,
    count,
    rearm,
    want_output,
)

BLACK_HOLE_TIMEOUTS = 2
"""Timeouts in a row after which large segments are suspected to vanish (RFC 2923 section 2.1, RFC 4821 section 7.7)."""
PLATEAU_V4, PLATEAU_V6 = 576, 1280
"""Path MTUs that every path carries, near enough (RFC 791, RFC 8200)."""


@kernel(I64(W_T, C_T, SEGS_T))
def suspect_black_hole(W, c, segs):
    """After repeated timeouts of a large segment fall back to the MTU every path carries. 1 when it was lowered."""
    floor = PLATEAU_V4 if c.family == 4 else PLATEAU_V6
    if c.backoff < BLACK_HOLE_TIMEOUTS or c.pmtu <= floor or c.head == c.tail:
        return 0
    s = segs[c.slot * W.segq + (c.head & W.segq_mask)]
    if s.end - s.seq <= floor - 40:
        return 0
    c.pmtu = max(floor, 1280) if c.pmtu > 1280 else floor
    update_mss(W, c)
    count(W, Count.BLACK_HOLES)
    return 1


@kernel(I64(W_T, TCBS_T, SEGS_T, BYTES, BYTES, I64, I64))
def retransmission_timeout(W, tcb, segs, heap, tx, slot, now):
    """RFC 6298 section 5.4 to 5.7. Returns 0 when the connection was given up."""
    c = tcb[slot]
    c.t_rto = NEVER
    c.timeouts = c.timeouts + 1
    count(W, Count.TIMEOUTS)
    if c.state == State.SYN_SENT or c.state == State.SYN_RECEIVED:
        if c.backoff >= W.tcp_syn_retries:
            close_slot(W, tcb, slot, R_TIMEOUT)
            return 0
        c.backoff = c.backoff + 1
        if send_syn(W, c, heap, tx, now) == 0:
            c.t_rto = now + c.rto
        return 1
    if c.snd_una == c.snd_nxt:
        return 1
    if leaves_headroom(tx, W.mtu + 14) == 0:
        # The transport is full, and what it holds may well be this very data: no evidence of loss, nothing to add.
        arm_rto(W, c, now)
        want_output(W, c)
        return 1
    if W.tcp_data_retries > 0 and c.backoff >= W.tcp_data_retries:
        close_slot(W, tcb, slot, R_TIMEOUT)
        return 0
    cc_timeout(W, c, c.snd_nxt - c.snd_una, now)
    c.recovery = RECOVERY_TIMEOUT
    c.recovery_point = c.snd_nxt
    c.dup_acks = 0
    c.tlp_end = 0
    c.t_tlp = NEVER
    c.t_rack = NEVER
    if c.sack_ok == 0:
        c.sacked_bytes = 0
    elif c.backoff >= 1:
        renege(W, c, segs)
    mark_all(W, c, segs)
    suspect_black_hole(W, c, segs)
    c.backoff = c.backoff + 1
    if c.head < c.tail:
        retransmit(W, c, segs, heap, tx, c.head, now)
    arm_rto(W, c, now)
    return 1


@kernel(I64(W_T, C_T, SEGS_T))
def renege(W, c, segs):
    """A second timeout: the receiver may have thrown sacked data away (RFC 2018 section 8); believe no SACK from
    before."""
    for k in range(c.head, c.tail):
        s = segs[c.slot * W.segq + (k & W.segq_mask)]
        s.flags = s.flags & ~SEG_SACKED
    c.sacked_bytes = 0
    for j in range(4):
        c.seen_l[j] = 0
        c.seen_r[j] = 0
    return 0


@kernel(I64(W_T, C_T, BYTES, BYTES, I64))
def send_probe(W, c, heap, tx, now):
    """An old sequence number without data: whoever is there answers with its window (RFC 9293 section 3.8.4)."""
    return emit(W, c, heap, tx, c.snd_una - 1, 0, ACK, CAUSE_KEEPALIVE, now)


@kernel(I64(W_T, TCBS_T, SEGS_T, BYTES, BYTES, I64, I64))
def persist_timeout(W, tcb, segs, heap, tx, slot, now):
    """Zero-window probe with back-off; also the override timer against silly windows. Goes on for ever while it is
    answered."""
    c = tcb[slot]
    c.t_persist = NEVER
    if c.snd_una != c.snd_nxt or c.snd_end == c.snd_nxt:
        return 1
    usable = c.snd_una + c.snd_wnd - c.snd_nxt
    if usable > 0:
        before = c.max_wnd
        c.max_wnd = min(c.max_wnd, 2 * usable)
        went = send_new(W, c, segs, heap, tx, now)
        c.max_wnd = before
        if went != 0:
            return 1
    silent = now - c.heard_at > W.tcp_rto_max * 3
    if W.tcp_data_retries > 0 and c.probes >= W.tcp_data_retries and silent:
        close_slot(W, tcb, slot, R_TIMEOUT)
        return 0
    send_probe(W, c, heap, tx, now)
    count(W, Count.WINDOW_PROBES)
    c.probes = c.probes + 1
    c.t_persist = now + min(max(c.rto, W.tcp_rto_min) << min(c.probes, 16), W.tcp_rto_max)
    return 1


@kernel(I64(W_T, TCBS_T, BYTES, BYTES, I64, I64))
def keepalive_timeout(W, tcb, heap, tx, slot, now):
    """RFC 9293 section 3.8.4. Returns 0 when the peer is taken for dead."""
    c = tcb[slot]
    c.t_keep = NEVER
    idle = now - c.heard_at
    if idle < W.tcp_keep_idle:
        c.t_keep = c.heard_at + W.tcp_keep_idle
        return 1
    if c.keep_probes >= W.tcp_keep_probes or c.learning == NUMBERS_UNKNOWN:
        close_slot(W, tcb, slot, R_TIMEOUT)
        return 0
    if c.snd_una == c.snd_nxt:
        send_probe(W, c, heap, tx, now)
        count(W, Count.KEEPALIVES)
        c.keep_probes = c.keep_probes + 1
    c.t_keep = now + W.tcp_keep_interval
    return 1


@kernel(I64(W_T, C_T, SEGS_T, BYTES, BYTES, I64))
def tail_loss_probe(W, c, segs, heap, tx, now):
    """RFC 8985 section 7.3: new data if there is any, else the last piece again; once per flight."""
    c.t_tlp = NEVER
    if c.tlp_end > 0 or c.head == c.tail or c.recovery:
        return 0
    count(W, Count.TAIL_LOSS_PROBES)
    went = send_new(W, c, segs, heap, tx, now)
    c.tlp_retrans = 0
    if went <= 0:
        k = c.tail - 1
        s = segs[c.slot * W.segq + (k & W.segq_mask)]
        if s.flags & (SEG_SACKED | SEG_LOST):
            return 0
        retransmit(W, c, segs, heap, tx, k, now)
        c.tlp_retrans = 1
    c.tlp_end = c.snd_nxt
    arm_rto(W, c, now)
    return 0


@kernel(I64(W_T, TCBS_T, SEGS_T, BYTES, BYTES, I64, I64))
def connection_timers(W, tcb, segs, heap, tx, slot, now):
    """Run what is due of one connection."""
    c = tcb[slot]
    if c.t_wait <= now:
        return close_slot(W, tcb, slot, R_CLOSED)
    if c.t_delack <= now:
        c.t_delack = NEVER
        send_ack(W, c, heap, tx, now)
    if c.t_rack <= now:
        c.t_rack = NEVER
        detect_losses(W, c, segs, 0, 0, now)
    if c.t_tlp <= now:
        tail_loss_probe(W, c, segs, heap, tx, now)
    if c.t_rto <= now and retransmission_timeout(W, tcb, segs, heap, tx, slot, now) == 0:
        return 0
    if c.t_persist <= now and persist_timeout(W, tcb, segs, heap, tx, slot, now) == 0:
        return 0
    if c.t_keep <= now and keepalive_timeout(W, tcb, heap, tx, slot, now) == 0:
        return 0
    tcp_output(W, c, segs, heap, tx, now)
    return rearm(W, c)
