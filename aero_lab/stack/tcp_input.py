"""A TCP segment arrives (RFC 9293 section 3.10.7), with timestamps (RFC 7323) and blind-attack checks (RFC 5961).

Theory of operation
-------------------
The segment has been parsed into ``W.seg_*`` and its checksum verified. We believe nothing about the peer but what its
segments prove: numbers are unwrapped against what we expect, an acknowledgement of data never sent and a SYN or RST
that is merely in the window are answered with a rate-limited challenge, and old duplicates fall to PAWS. Order of work
for a synchronised connection::

    PAWS -> acceptable? -> RST -> SYN -> ACK present -> ACK valid -> window, acknowledgement, recovery -> data -> FIN

Pure acknowledgements go out here and now when the count says so, so that a batch of frames gets the acknowledgements it
would get one by one. New data goes out at the end of the batch, from the output queue.
"""

from ..compiled.registry import BYTES, I64, kernel
from ..limits import HELD_FIN_PATIENCE, NEVER, SECOND
from ..wire import ethernet, tcp
from .congestion import cc_acked, cc_loss
from .connections import close_slot, lookup, open_slot, report_end
from .drops import Count, Drop
from .holding import ack_number, fin_held, note_timestamp
from .neighbours import resolve
from .output import finish, put_ethernet, put_ip, room_for, transport_checksum
from .receive import note_duplicate, receive
from .recovery import acknowledge, detect_losses, sample_rtt, take_sack
from .states import Event, State
from .tcp_open import doubt_numbers, established, learn, new_incarnation, take_syn
from .tcp_output import (
    ACK,
    CAUSE_HANDSHAKE,
    NUMBERS_UNKNOWN,
    advance,
    arm_rto,
    arm_tlp,
    in_flight,
    send_ack,
    send_syn,
    window_used,
)
from .world import (
    C_T,
    EV_EOF,
    EV_SYN,
    EV_WRITABLE,
    LISTENERS,
    R_ABORTED,
    R_CLOSED,
    R_REFUSED,
    R_RESET,
    ROLE_GATEWAY,
    SEGS_T,
    TCBS_T,
    W_T,
    count,
    drop,
    raise_event,
    rearm,
    stop_timers,
    unwrap,
    want_output,
)

FIN, SYN, RST, ECE, CWR = tcp.FIN, tcp.SYN, tcp.RST, tcp.ECE, tcp.CWR
CONGESTION_EXPERIENCED = 3
CHALLENGES_PER_SECOND = 100
"""RFC 5961 section 7 asks for a limit; the number is ours."""
BACKLOG = 512
"""Half-open connections a server or gateway holds; a SYN beyond it is dropped, so that floods cannot fill the table."""
PAWS_IDLE = 24 * 86400 * SECOND
"""RFC 7323 section 5.5."""


@kernel(I64(W_T, BYTES, I64, I64, I64, I64))
def send_reset(W, tx, seq, ack, flags, now):
    """Answer the segment in ``W.seg_*`` with a RST (RFC 9293 section 3.10.7.1)."""
    i = 0
    if W.ethernet:
        i = resolve(W, tx, W.seg_src_hi, W.seg_src_lo, now)
        if i < 0:
            return drop(W, Drop.NEIGHBOUR_UNRESOLVED)
    ip_size = 20 if W.seg_family == 4 else 40
    at = room_for(W, tx, 14 + ip_size + 20)
    if at < 0:
        return drop(W, Drop.TX_FULL)
    ethertype = ethernet.TYPE_IPV4 if W.seg_family == 4 else ethernet.TYPE_IPV6
    here = put_ethernet(W, tx, at, W.n_mac_hi[i], W.n_mac_lo[i], ethertype)
    segment = put_ip(W, tx, here, W.seg_dst_hi, W.seg_dst_lo, W.seg_src_hi, W.seg_src_lo, 6, 20, W.ttl, 0, 0x4000)
    tcp.put_srcport(tx, segment, W.seg_dport)
    tcp.put_dstport(tx, segment, W.seg_sport)
    tcp.put_seq(tx, segment, seq)
    tcp.put_ack(tx, segment, ack)
    tcp.put_data_offset(tx, segment, 0x50)
    tcp.put_flags(tx, segment, flags)
    tcp.put_window(tx, segment, 0)
    tcp.put_checksum(tx, segment, 0)
    tcp.put_urgent(tx, segment, 0)
    tcp.put_checksum(
        tx,
        segment,
        transport_checksum(tx, segment, 20, W.seg_dst_hi, W.seg_dst_lo, W.seg_src_hi, W.seg_src_lo, 6),
    )
    count(W, Count.RESETS_OUT)
    return finish(W, tx, at, 14 + ip_size + 20, -1, CAUSE_HANDSHAKE, now)


@kernel(I64(W_T, BYTES, I64))
def refuse_segment(W, tx, now):
    """RST for a segment that belongs to no connection; never in answer to a RST."""
    if W.seg_flags & RST:
        return 0
    if W.seg_flags & ACK:
        return send_reset(W, tx, W.seg_ack, 0, RST, now)
    extra = (1 if W.seg_flags & SYN else 0) + (1 if W.seg_flags & FIN else 0)
    return send_reset(W, tx, 0, W.seg_seq + W.seg_len + extra, RST | ACK, now)


@kernel(I64(W_T, C_T, BYTES, BYTES, I64))
def challenge(W, c, heap, tx, now):
    """Send a challenge ACK, at most :data:`CHALLENGES_PER_SECOND` for the whole stack (RFC 5961 section 7)."""
    if now - W.challenge_at >= SECOND:
        W.challenge_at = now
        W.challenge_tokens = CHALLENGES_PER_SECOND
    if W.challenge_tokens <= 0:
        return drop(W, Drop.TCP_CHALLENGE_LIMIT)
    W.challenge_tokens = W.challenge_tokens - 1
    count(W, Count.CHALLENGE_ACKS)
    return send_ack(W, c, heap, tx, now)


@kernel(I64(W_T, TCBS_T, SEGS_T, BYTES, BYTES, I64))
def take_connection(W, tcb, segs, heap, tx, now):
    """A segment for no known connection: a SYN may open one, anything else is refused."""
    flags = W.seg_flags
    if flags & (ACK | RST) or flags & (SYN | FIN) == SYN | FIN:
        drop(W, Drop.TCP_NO_CONNECTION)
        return refuse_segment(W, tx, now)
    wanted = 1 if W.role == ROLE_GATEWAY else 0
    for i in range(LISTENERS):
        if W.listen[i] == W.seg_dport:
            wanted = 2
    if wanted == 0:
        drop(W, Drop.TCP_NO_CONNECTION)
        return refuse_segment(W, tx, now)
    if flags & SYN == 0:
        return drop(W, Drop.TCP_FLAGS)  # nothing that a listener answers (RFC 9293 section 3.10.7.2)
    if W.half_open >= BACKLOG:
        return drop(W, Drop.TCP_BACKLOG)
    slot = open_slot(
        W, tcb, W.seg_family, W.seg_dst_hi, W.seg_dst_lo, W.seg_dport, W.seg_src_hi, W.seg_src_lo, W.seg_sport, now
    )
    if slot < 0:
        drop(W, Drop.TCP_NO_SLOT)
        return refuse_segment(W, tx, now)
    c = tcb[slot]
    take_syn(W, c, now)
    c.ecn_ok = 1 if W.tcp_ecn and flags & (ECE | CWR) == ECE | CWR else 0
    c.passive = 1
    W.half_open = W.half_open + 1
    if wanted == 1:
        advance(W, c, Event.SYN_HELD)
        return raise_event(W, c, EV_SYN)
    advance(W, c, Event.SYN)
    return send_syn(W, c, heap, tx, now)


@kernel(I64(W_T, TCBS_T, SEGS_T, BYTES, BYTES, I64, I64))
def arrives_in_syn_sent(W, tcb, segs, heap, tx, slot, now):
    """RFC 9293 section 3.10.7.3. Returns 1 when the segment's data is to be looked at further."""
    c = tcb[slot]
    flags = W.seg_flags
    ack = unwrap(W.seg_ack, c.snd_una)
    good_ack = 0
    if flags & ACK:
        if ack <= c.iss or ack > c.snd_nxt:
            drop(W, Drop.TCP_ACK_INVALID)
            if flags & RST == 0:
                send_reset(W, tx, W.seg_ack, 0, RST, now)
            return 0
        good_ack = 1
    if flags & RST:
        if good_ack:
            close_slot(W, tcb, slot, R_REFUSED)
        else:
            drop(W, Drop.TCP_RST_INVALID)
        return 0
    if flags & SYN == 0:
        drop(W, Drop.TCP_FLAGS)
        return 0
    take_syn(W, c, now)
    if good_ack:
        c.ecn_ok = 1 if c.ecn_ok and flags & (ECE | CWR) == ECE else 0
        c.snd_una = ack
        if c.retransmits == 0:
            sample_rtt(W, c, now - c.opened_at)
        advance(W, c, Event.SYN_ACK)
        established(W, c, now)
        c.snd_wl2 = ack
        send_ack(W, c, heap, tx, now)
        return 1
    # Simultaneous open (RFC 9293 figure 7).
    c.ecn_ok = 0
    advance(W, c, Event.SYN)
    c.backoff = 0
    send_syn(W, c, heap, tx, now)
    return 0


@kernel(I64(W_T, C_T, I64))
def acceptable(W, c, seq):
    """The segment acceptability test of RFC 9293 section 3.10.7.4, with ``seq`` unwrapped; 1 or 0.

    In-order data with the window closed passes: :func:`receive` takes what a gateway's overrun block holds.
    """
    length = W.seg_len + (1 if W.seg_flags & SYN else 0) + (1 if W.seg_flags & FIN else 0)
    window = max(c.rcv_adv - c.rcv_nxt, 0)
    if length == 0:
        return 1 if c.rcv_nxt <= seq and (seq < c.rcv_nxt + window or seq == c.rcv_nxt) else 0
    if seq == c.rcv_nxt:
        return 1 if window > 0 or W.role == ROLE_GATEWAY else 0
    if c.rcv_nxt <= seq and seq < c.rcv_nxt + window:
        return 1
    last = seq + length - 1
    if c.rcv_nxt <= last and last < c.rcv_nxt + window:
        return 1
    return 1 if seq < c.rcv_nxt and last >= c.rcv_nxt else 0


@kernel(I64(W_T, C_T, I64, I64))
def take_window(W, c, seq, ack):
    """Update the send window, unless the segment is older than the one it was last taken from."""
    if c.snd_wl1 < seq or c.snd_wl1 == seq and c.snd_wl2 <= ack:
        before = c.snd_wnd
        c.snd_wnd = W.seg_wnd << c.snd_shift
        c.max_wnd = max(c.max_wnd, c.snd_wnd)
        c.snd_wl1 = seq
        c.snd_wl2 = ack
        if c.snd_wnd != before:
            c.probes = 0
            return 1
    return 0


@kernel(I64(W_T, C_T, SEGS_T, I64, I64, I64))
def take_ack(W, c, segs, seq, ack, now):
    """A valid acknowledgement: window, scoreboard, round-trip time, recovery, congestion control."""
    flight = window_used(c, in_flight(c))
    window_changed = take_window(W, c, seq, ack)
    acked = ack - c.snd_una
    fresh = 0
    if c.sack_ok and W.seg_blocks > 0:
        fresh = take_sack(W, c, segs, now)
    if acked > 0:
        rtt = acknowledge(W, c, segs, ack, now)
        if rtt >= 0:
            sample_rtt(W, c, rtt)
        c.snd_una = ack
        c.backoff = 0
        if c.snd_una == c.snd_nxt:
            c.t_rto = NEVER
        else:
            arm_rto(W, c, now)
        if c.tlp_end > 0 and ack >= c.tlp_end:
            # The probe was a retransmission and more than it was acknowledged: its original was lost (RFC 8985 section
            # 7.4).
            if c.tlp_retrans and W.seg_blocks == 0 and ack > c.tlp_end:
                cc_loss(W, c, flight, now)
            c.tlp_end = 0
        if c.was_cut:
            c.was_cut = 0
            raise_event(W, c, EV_WRITABLE)
    duplicate = (
        acked == 0
        and W.seg_len == 0
        and W.seg_flags & (SYN | FIN) == 0
        and window_changed == 0
        and c.snd_nxt > c.snd_una
    )
    detect_losses(W, c, segs, acked, 1 if duplicate else 0, now)
    if acked > 0 and c.recovery != 1:
        cc_acked(W, c, acked, flight, now)
    if c.ecn_ok and W.seg_flags & ECE and c.recovery == 0 and ack >= c.ecn_point and c.snd_nxt > c.snd_una:
        # Once a window (RFC 3168 section 6.1.2).
        cc_loss(W, c, flight, now)
        c.ecn_point = c.snd_nxt
        c.ecn_cwr = 1
    if acked > 0:
        arm_tlp(W, c, now)
    if c.snd_nxt > c.snd_una or c.snd_end > c.snd_nxt or c.fin_wanted:
        want_output(W, c)
    return fresh


@kernel(I64(W_T, C_T, I64))
def enter_time_wait(W, c, now):
    """Only the 2 MSL timer runs from here; for Python the connection is over, once the peer's FIN may be
    acknowledged."""
    stop_timers(c)
    if fin_held(c):
        c.t_wait = now + HELD_FIN_PATIENCE
        return 0
    c.t_wait = now + W.tcp_time_wait
    return report_end(W, c, R_CLOSED)


@kernel(I64(W_T, TCBS_T, I64, I64))
def take_fin_acked(W, tcb, slot, now):
    """Our FIN was acknowledged. Returns 0 when that ended the connection.

    In LAST-ACK it does not while the peer's FIN is held: the peer still has to hear that it arrived.
    """
    c = tcb[slot]
    if c.state == State.FIN_WAIT_1:
        advance(W, c, Event.FIN_ACKED)
        if c.released:
            c.t_wait = now + W.tcp_time_wait  # nobody will read or close any more
    elif c.state == State.CLOSING:
        advance(W, c, Event.FIN_ACKED)
        enter_time_wait(W, c, now)
    elif c.state == State.LAST_ACK:
        if fin_held(c):
            if c.t_wait == NEVER:
                c.t_wait = now + HELD_FIN_PATIENCE
            return 1
        advance(W, c, Event.FIN_ACKED)
        close_slot(W, tcb, slot, R_CLOSED)
        return 0
    return 1


@kernel(I64(W_T, C_T, I64))
def take_fin(W, c, now):
    """The peer's FIN is next in order: consume it."""
    c.rcv_nxt = c.rcv_nxt + 1
    c.rcv_fin = -2
    raise_event(W, c, EV_EOF)
    advance(W, c, Event.FIN)
    if c.state == State.TIME_WAIT:
        enter_time_wait(W, c, now)
    return 0


@kernel(I64(W_T, C_T, BYTES, BYTES, I64, I64, I64))
def owe_ack(W, c, heap, tx, at_once, moved, now):
    """Note that an acknowledgement is owed; send it when its count or the moment demands it (RFC 5681 section 4.2).

    ``moved`` tells whether ``rcv_nxt`` did: then, with everything held, there is nothing to say.
    """
    c.ack_pending = c.ack_pending + 1
    if c.ack_hold >= 0 and moved and c.blocks == 0 and ack_number(c) <= c.last_ack_sent:
        return 0
    if c.quick_left > 0:
        c.quick_left = c.quick_left - 1
        at_once = 1
    if at_once or c.ack_pending >= W.tcp_delack_segments:
        return send_ack(W, c, heap, tx, now)
    if c.t_delack == NEVER:
        c.t_delack = now + W.tcp_delack_time
    return 0


@kernel(I64(W_T, TCBS_T, SEGS_T, BYTES, BYTES, BYTES, I64, I64))
def arrives(W, tcb, segs, heap, tx, buf, slot, now):
    """A segment for a connection that has at least seen a SYN (RFC 9293 section 3.10.7.4)."""
    c = tcb[slot]
    flags = W.seg_flags
    c.segs_in = c.segs_in + 1
    if c.state == State.SYN_PENDING:
        if flags & RST and W.seg_seq == c.rcv_nxt & 0xFFFFFFFF or flags & RST and W.seg_seq == c.irs & 0xFFFFFFFF:
            return close_slot(W, tcb, slot, R_RESET)
        return drop(W, Drop.TCP_PENDING)
    if c.state == State.SYN_SENT:
        if arrives_in_syn_sent(W, tcb, segs, heap, tx, slot, now) == 0 or W.seg_len == 0 and flags & FIN == 0:
            return 0
        W.seg_seq = (W.seg_seq + 1) & 0xFFFFFFFF
        flags &= ~SYN
        W.seg_flags = flags
    if c.learning:
        if c.learning == NUMBERS_UNKNOWN:
            if flags & RST:
                return close_slot(W, tcb, slot, R_RESET)
            if flags & (SYN | ACK) == SYN:  # the peer knows nothing of the former life
                close_slot(W, tcb, slot, R_RESET)
                return take_connection(W, tcb, segs, heap, tx, now)
            if flags & (SYN | ACK) != ACK:
                return drop(W, Drop.TCP_FLAGS)
            learn(W, c, buf, now)
        elif W.seg_len > 0 or flags & FIN:
            doubt_numbers(W, c, unwrap(W.seg_seq, c.rcv_nxt))
    seq = unwrap(W.seg_seq, c.rcv_nxt)
    if c.state == State.TIME_WAIT and flags & (SYN | ACK | RST) == SYN and new_incarnation(W, c, seq):
        close_slot(W, tcb, slot, R_CLOSED)
        return take_connection(W, tcb, segs, heap, tx, now)
    if c.state == State.SYN_RECEIVED and c.passive == 0 and flags & (SYN | ACK | RST) == SYN | ACK and seq == c.irs:
        # Simultaneous open: the SYN is the one we have, its acknowledgement is new (RFC 9293 figure 8).
        seq += 1
        flags &= ~SYN
        W.seg_flags = flags
        W.seg_wnd = W.seg_wnd >> c.snd_shift  # a SYN's window is not scaled
    if c.ts_ok and flags & RST == 0:
        if W.seg_has_ts == 0:
            return drop(W, Drop.TCP_NO_TIMESTAMP)
        age = (W.seg_tsval - c.ts_recent) & 0xFFFFFFFF
        if age >= 0x80000000 and now - c.ts_recent_at < PAWS_IDLE:
            drop(W, Drop.TCP_PAWS)
            return send_ack(W, c, heap, tx, now)
    if acceptable(W, c, seq) == 0:
        if flags & RST:
            return drop(W, Drop.TCP_RST_INVALID)
        if flags & SYN and c.state == State.SYN_RECEIVED and seq == c.irs:
            return send_syn(W, c, heap, tx, now)
        drop(W, Drop.TCP_OUT_OF_WINDOW)
        if W.seg_len > 0 and seq + W.seg_len <= c.rcv_nxt:
            count(W, Count.DUPLICATES_IN)
            note_duplicate(c, seq, seq + W.seg_len)
        if c.state == State.TIME_WAIT and flags & FIN:
            c.t_wait = max(c.t_wait, now + W.tcp_time_wait)
        if flags & ACK and c.state >= State.ESTABLISHED:
            # Still worth its acknowledgement and window, as every stack found out with crossed zero-window probes.
            old = unwrap(W.seg_ack, c.snd_una)
            if c.snd_una <= old and old <= c.snd_nxt and c.state != State.TIME_WAIT:
                take_ack(W, c, segs, c.snd_wl1, old, now)
                if c.fin_seq >= 0 and c.snd_una > c.fin_seq and take_fin_acked(W, tcb, slot, now) == 0:
                    return 0
        send_ack(W, c, heap, tx, now)
        return rearm(W, c)
    if flags & RST:
        if seq == c.rcv_nxt:
            return close_slot(W, tcb, slot, R_REFUSED if c.state == State.SYN_RECEIVED and c.passive == 0 else R_RESET)
        drop(W, Drop.TCP_RST_INVALID)
        return challenge(W, c, heap, tx, now)
    if flags & SYN:
        drop(W, Drop.TCP_FLAGS)
        return challenge(W, c, heap, tx, now)
    if flags & ACK == 0:
        return drop(W, Drop.TCP_FLAGS)
    if c.ts_ok and seq <= c.last_ack_sent and seq + W.seg_len + 1 > c.last_ack_sent:
        c.ts_recent = W.seg_tsval
        c.ts_recent_at = now
    elif c.ack_hold >= 0 and c.ts_ok and seq == c.rcv_nxt and W.seg_len > 0:
        note_timestamp(c, seq, W.seg_tsval)
    ack = unwrap(W.seg_ack, c.snd_una)
    if c.state == State.SYN_RECEIVED:
        if ack != c.iss + 1 or c.snd_nxt == c.iss:  # of nothing that was sent: SND.UNA < SEG.ACK =< SND.NXT
            drop(W, Drop.TCP_ACK_INVALID)
            return send_reset(W, tx, W.seg_ack, 0, RST, now)
        if c.retransmits == 0:
            sample_rtt(W, c, now - c.opened_at)
        c.snd_una = ack
        advance(W, c, Event.SYN_ACKED)
        established(W, c, now)
        c.snd_wl1 = seq - 1
    c.heard_at = now
    c.keep_probes = 0
    if ack > c.snd_nxt or ack < c.snd_una - max(c.max_wnd, 65535):
        drop(W, Drop.TCP_ACK_INVALID)
        return challenge(W, c, heap, tx, now)
    if c.state != State.TIME_WAIT:
        take_ack(W, c, segs, seq, max(ack, c.snd_una), now)
        if c.fin_seq >= 0 and c.snd_una > c.fin_seq and take_fin_acked(W, tcb, slot, now) == 0:
            return 0
    if W.seg_len > 0 or flags & FIN:
        if c.state == State.ESTABLISHED or c.state == State.FIN_WAIT_1 or c.state == State.FIN_WAIT_2:
            if c.ecn_ok:
                if flags & CWR:
                    c.ecn_echo = 0
                if W.seg_ecn == CONGESTION_EXPERIENCED:
                    c.ecn_echo = 1
            if W.seg_len > 0 and c.released:
                # Nobody is left to read it (RFC 9293 section 3.10.4): say so.
                drop(W, Drop.TCP_AFTER_CLOSE)
                send_reset(W, tx, c.snd_nxt, 0, RST, now)
                return close_slot(W, tcb, slot, R_ABORTED)
            at_once = 0
            before = c.rcv_nxt
            if flags & FIN and c.rcv_fin == -1:
                c.rcv_fin = seq + W.seg_len
            if W.seg_len > 0:
                at_once = receive(W, c, heap, buf, W.seg_data, seq, W.seg_len)
            if c.rcv_fin >= 0 and c.rcv_nxt == c.rcv_fin:
                take_fin(W, c, now)
                at_once = 1
            elif flags & FIN:
                at_once = 1
            owe_ack(W, c, heap, tx, at_once, 1 if c.rcv_nxt > before else 0, now)
        elif c.state >= State.CLOSE_WAIT and c.state <= State.LAST_ACK and seq + W.seg_len > c.rcv_nxt:
            drop(W, Drop.TCP_AFTER_CLOSE)
            send_ack(W, c, heap, tx, now)
    return rearm(W, c)


@kernel(I64(W_T, TCBS_T, SEGS_T, BYTES, BYTES, BYTES, I64))
def tcp_arrived(W, tcb, segs, heap, tx, buf, now):
    """Entry for a parsed segment: find its connection, or let it open one."""
    count(W, Count.SEGMENTS_IN)
    slot = lookup(W, tcb, W.seg_src_hi, W.seg_src_lo, W.seg_sport, W.seg_dst_hi, W.seg_dst_lo, W.seg_dport)
    if slot < 0:
        return take_connection(W, tcb, segs, heap, tx, now)
    return arrives(W, tcb, segs, heap, tx, buf, slot, now)
