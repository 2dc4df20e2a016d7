"""TCP output: what may be sent now, and sending it (RFC 9293 section 3.8, RFC 5681, RFC 6675).

A segment is built in place in the transmit ring after asking for its room. With no room output stops, the connection
stays in the output queue, and the peer's and our window do the rest: TCP is never dropped here.

Each piece sent stands in the connection's segment queue until it is acknowledged: its range, when it was last sent, and
whether it is *sacked* or *lost*. In flight (RFC 6675's pipe) is what was sent and is neither; a lost piece that is sent
again is in flight again.
"""

from ..compiled.memory import copy
from ..compiled.registry import BYTES, I64, kernel
from ..limits import NEVER, SECOND
from ..wire import ethernet, tcp
from .drops import Count, Drop
from .holding import ack_number, settle_timestamps
from .neighbours import resolve
from .output import finish, put_ethernet, put_ip, room_for_segment, transport_checksum
from .states import TRANSITIONS, Event, State
from .tcp_options import blocks_to_send, put_options, put_syn_options
from .world import (
    C_T,
    SEG_FIN,
    SEG_LOST,
    SEG_RETRANSMITTED,
    SEG_SACKED,
    SEGS_T,
    W_T,
    count,
    drop,
    rearm,
    want_output,
)

CAUSE_PAYLOAD, CAUSE_ACK, CAUSE_HANDSHAKE, CAUSE_RETRANSMISSION, CAUSE_KEEPALIVE = 1, 2, 3, 4, 6
LINK_RETRY = SECOND
"""How soon output is tried again when the peer's link address did not turn up."""
BURST = 32
"""Segments one connection sends before the next one gets its turn."""
NUMBERS_UNKNOWN = 1
"""``TCB.learning`` of an adopted connection that has heard nothing yet (:mod:`.tcp_open`): it cannot send."""
FIN, SYN, RST, PSH, ACK, ECE, CWR = tcp.FIN, tcp.SYN, tcp.RST, tcp.PSH, tcp.ACK, tcp.ECE, tcp.CWR


@kernel(I64(W_T, C_T, I64))
def advance(W, c, event):
    """Move the connection through the state table; an impossible event is counted and changes nothing."""
    to = TRANSITIONS[c.state, event]
    if to < 0:
        return drop(W, Drop.TCP_TRANSITION)
    c.state = to
    return 1


@kernel(I64(C_T))
def in_flight(c):
    """Bytes believed to be on the way (RFC 6675 "pipe")."""
    return c.snd_nxt - c.snd_una - c.sacked_bytes - c.lost_bytes


@kernel(I64(C_T, I64))
def window_used(c, flight):
    """How much of the congestion window was in use when what is acknowledged now was sent: ``flight``, or all of it.

    Acknowledgements come in batches and new data goes out after them, so what is in flight *now* says too little.
    """
    if c.snd_una <= c.limited_to:
        return max(flight, c.cwnd)
    return flight


@kernel(I64(W_T, C_T))
def window_field(W, c):
    """Value of the window field, with the right edge it offers noted in ``rcv_adv``.

    The edge moves right only by a segment or half the buffer at a time (RFC 9293 section 3.8.6.2.2). What the scale
    cannot express is rounded down, or the peer would fill bytes that the buffer does not have; ``rcv_adv`` keeps the
    furthest edge ever offered. The field counts from the number acknowledged, which may stay behind ``rcv_nxt``.
    """
    ack = ack_number(c)
    free = c.recv_size - (c.rcv_nxt - c.rcv_read)
    edge = c.rcv_nxt + max(free, 0)
    if edge - c.rcv_adv < min(c.recv_size >> 1, W.mtu - 40) and c.rcv_adv >= c.rcv_nxt:
        edge = c.rcv_adv
    edge = max(edge, c.rcv_adv)
    shift = max(c.rcv_shift, 0)
    field = min((edge - ack) >> shift, 65535)
    c.rcv_adv = max(c.rcv_adv, ack + (field << shift))
    return field


@kernel(I64(W_T, C_T, BYTES, I64))
def peer_link(W, c, tx, now):
    """Make sure the peer's link address is known: 1, or 0 while it is being asked for."""
    if W.ethernet == 0:
        return 1
    if c.mac_version != W.neigh_version:
        i = resolve(W, tx, c.remote_hi, c.remote_lo, now)
        if i < 0:
            W.link_wait = 1
            W.link_retry_at = now + LINK_RETRY
            return 0
        c.mac_hi = W.n_mac_hi[i]
        c.mac_lo = W.n_mac_lo[i]
        c.mac_version = W.neigh_version
    return 1


@kernel(I64(W_T, C_T, BYTES, BYTES, I64, I64, I64, I64, I64))
def emit(W, c, heap, tx, seq, length, flags, cause, now):
    """Send one segment of the connection. 1, or 0 when there is no room (or no link address) now.

    ``length`` bytes of payload are taken from the send buffer at ``seq``. Acknowledgement, window, timestamps and SACK
    blocks are the connection's current ones; sending them settles every acknowledgement owed.
    """
    if peer_link(W, c, tx, now) == 0:
        return 0
    ip_size = 20 if c.family == 4 else 40
    syn = flags & SYN
    blocks = 0
    if syn:
        options = 40
    else:
        options = 12 if c.ts_ok else 0
        blocks = blocks_to_send(c)
        if blocks > 0:
            most = min(c.peer_mss, c.pmtu - ip_size - 20)  # options count against the peer's MSS too (RFC 6691)
            space = min(40 - options - 4, most - options - length - 4) if length > 0 else 40 - options - 4
            blocks = min(blocks, max(space, 0) >> 3)
            if blocks > 0:
                options += 4 + 8 * blocks
    at = room_for_segment(W, tx, 14 + ip_size + 20 + options + length)
    if at < 0:
        count(W, Count.OUTPUT_STOPPED)
        return 0
    here = at + 14 if W.ethernet else at
    segment = here + ip_size
    if syn:
        options = put_syn_options(W, c, tx, segment + 20, now)
    elif options > 0:
        put_options(W, c, tx, segment + 20, blocks, now)
    size = 20 + options + length
    tos = 0
    if c.ecn_ok == 1:
        if c.ecn_echo and not syn:
            flags |= ECE
        if length > 0 and cause == CAUSE_PAYLOAD:
            tos = 2  # ECT(0); never on retransmissions (RFC 3168 section 6.1.5)
            if c.ecn_cwr:
                flags |= CWR
                c.ecn_cwr = 0
    ethertype = ethernet.TYPE_IPV4 if c.family == 4 else ethernet.TYPE_IPV6
    put_ethernet(W, tx, at, c.mac_hi, c.mac_lo, ethertype)
    put_ip(W, tx, here, c.local_hi, c.local_lo, c.remote_hi, c.remote_lo, 6, size, W.ttl, tos, 0x4000)
    tcp.put_srcport(tx, segment, c.lport)
    tcp.put_dstport(tx, segment, c.rport)
    tcp.put_seq(tx, segment, seq)
    ack = ack_number(c)
    tcp.put_ack(tx, segment, ack if flags & ACK else 0)
    tcp.put_data_offset(tx, segment, ((20 + options) >> 2) << 4)
    tcp.put_flags(tx, segment, flags)
    if syn:
        window = min(c.recv_size, 65535)
        if W.tcp_syn_window > 0:
            window = min(W.tcp_syn_window, window)
        elif W.tcp_syn_window < 0:
            segment_size = W.tcp_mss if c.family == 4 else W.tcp_mss - 20
            if segment_size <= window:
                window -= window % segment_size
        c.rcv_adv = max(c.rcv_adv, c.rcv_nxt + window)
        tcp.put_window(tx, segment, window)
    else:
        tcp.put_window(tx, segment, window_field(W, c))
    tcp.put_checksum(tx, segment, 0)
    tcp.put_urgent(tx, segment, 0)
    if length > 0:
        start = (seq - c.send_base) & c.send_mask
        first = min(length, c.send_mask + 1 - start)
        copy(tx, segment + 20 + options, heap, c.send_off + start, first)
        if first < length:
            copy(tx, segment + 20 + options + first, heap, c.send_off, length - first)
    tcp.put_checksum(
        tx,
        segment,
        transport_checksum(tx, segment, size, c.local_hi, c.local_lo, c.remote_hi, c.remote_lo, 6),
    )
    finish(W, tx, at, 14 + ip_size + size, c.slot, cause, now)
    c.segs_out = c.segs_out + 1
    W.counts[Count.SEGMENTS_OUT] = W.counts[Count.SEGMENTS_OUT] + 1
    if flags & ACK:
        c.last_ack_sent = ack
        c.ack_now = 0
        c.dsack_l = 0
        c.dsack_r = 0
        c.t_delack = NEVER
        if ack == c.rcv_nxt:
            c.ack_pending = 0  # what is held still waits for its acknowledgement
        if c.ack_hold >= 0 and c.marks > 0:
            settle_timestamps(c, now)
    return 1


@kernel(I64(W_T, C_T, BYTES, BYTES, I64))
def send_ack(W, c, heap, tx, now):
    """Send a pure acknowledgement now; without room the connection owes it and stays queued."""
    if emit(W, c, heap, tx, c.snd_nxt, 0, ACK, CAUSE_ACK, now) == 0:
        c.ack_now = 1
        want_output(W, c)
        return 0
    W.counts[Count.PURE_ACKS_OUT] = W.counts[Count.PURE_ACKS_OUT] + 1
    return 1


@kernel(I64(W_T, C_T, BYTES, BYTES, I64))
def send_syn(W, c, heap, tx, now):
    """Send (again) the SYN of an active or the SYN-ACK of a passive open, and time it."""
    if c.state == State.SYN_SENT:
        flags = SYN
        if c.ecn_ok:
            flags |= ECE | CWR
    else:
        flags = SYN | ACK
        if c.ecn_ok:
            flags |= ECE
    sent = emit(W, c, heap, tx, c.iss, 0, flags, CAUSE_HANDSHAKE, now)
    if sent == 0:
        want_output(W, c)
        if c.t_rto == NEVER:
            c.t_rto = now + c.rto
            rearm(W, c)
        return 0
    if c.snd_nxt == c.iss:
        c.snd_nxt = c.iss + 1
        c.opened_at = now
    else:
        c.retransmits = c.retransmits + 1
        count(W, Count.RETRANSMISSIONS)
    c.t_rto = now + min(c.rto << c.backoff, W.tcp_rto_max)
    rearm(W, c)
    return 1


@kernel(I64(W_T, C_T, I64))
def arm_rto(W, c, now):
    """(Re)start the retransmission timer (RFC 6298 section 5)."""
    c.t_rto = now + min(c.rto << min(c.backoff, 30), W.tcp_rto_max)
    return 0


@kernel(I64(W_T, C_T, I64))
def arm_tlp(W, c, now):
    """Schedule a tail loss probe (RFC 8985 section 7.2) when one makes sense."""
    c.t_tlp = NEVER
    if W.tcp_rack == 0 or c.sack_ok == 0 or c.recovery or c.tlp_end > 0 or c.snd_una == c.snd_nxt or c.lost_bytes > 0:
        return 0
    pto = 1_000_000_000 if c.srtt == 0 else 2 * c.srtt
    if c.tail - c.head == 1:
        pto += 200_000_000  # worst delayed ACK of the other side
    if now + pto < c.t_rto:
        c.t_tlp = now + pto
    return 0


@kernel(I64(W_T, C_T, SEGS_T, I64))
def split(W, c, segs, k):
    """Cut queue entry ``k`` after ``mss`` bytes (the path got narrower); 0 when the queue has no place for the rest."""
    if c.tail - c.head >= W.segq:
        return 0
    base = c.slot * W.segq
    i = c.tail
    while i > k + 1:
        to = segs[base + (i & W.segq_mask)]
        of = segs[base + ((i - 1) & W.segq_mask)]
        to.seq = of.seq
        to.end = of.end
        to.xmit_at = of.xmit_at
        to.flags = of.flags
        i -= 1
    first = segs[base + (k & W.segq_mask)]
    rest = segs[base + ((k + 1) & W.segq_mask)]
    rest.seq = first.seq + c.mss
    rest.end = first.end
    rest.xmit_at = first.xmit_at
    rest.flags = first.flags
    first.end = rest.seq
    first.flags = first.flags & ~SEG_FIN
    c.tail = c.tail + 1
    return 1


@kernel(I64(W_T, C_T, SEGS_T, BYTES, BYTES, I64, I64))
def retransmit(W, c, segs, heap, tx, k, now):
    """Send queue entry ``k`` again. 1, or 0 without room."""
    s = segs[c.slot * W.segq + (k & W.segq_mask)]
    payload = s.end - s.seq - (1 if s.flags & SEG_FIN else 0)
    if payload > c.mss:
        split(W, c, segs, k)
        payload = min(s.end - s.seq, c.mss)
    flags = ACK
    if s.flags & SEG_FIN and s.seq + payload + 1 == s.end:
        flags |= FIN
    if payload > 0 and s.seq + payload == c.snd_end:
        flags |= PSH
    if emit(W, c, heap, tx, s.seq, payload, flags, CAUSE_RETRANSMISSION, now) == 0:
        return 0
    if s.flags & SEG_LOST:
        c.lost_bytes = c.lost_bytes - (s.end - s.seq)
    s.flags = (s.flags & ~SEG_LOST) | SEG_RETRANSMITTED
    s.xmit_at = now
    c.retransmits = c.retransmits + 1
    c.retransmitted_bytes = c.retransmitted_bytes + payload
    count(W, Count.RETRANSMISSIONS)
    return 1


@kernel(I64(W_T, C_T, SEGS_T, I64, I64, I64))
def note_sent(W, c, segs, seq, end, now):
    """Enter a new piece into the segment queue and advance ``snd_nxt``."""
    s = segs[c.slot * W.segq + (c.tail & W.segq_mask)]
    s.seq = seq
    s.end = end
    s.xmit_at = now
    s.flags = 0
    c.tail = c.tail + 1
    c.snd_nxt = end
    if c.t_rto == NEVER:
        arm_rto(W, c, now)
    return 0


@kernel(I64(W_T, C_T))
def next_payload(W, c):
    """Bytes of new data the windows and Nagle let out now, 0 for none (RFC 9293 sections 3.7.4 and 3.8.6.2.1)."""
    available = c.snd_end - c.snd_nxt
    if available <= 0:
        return 0
    usable = c.snd_una + c.snd_wnd - c.snd_nxt
    length = min(available, c.mss, usable)
    if length <= 0:
        return 0
    if length == c.mss:
        return length
    if length == available and (W.tcp_nagle == 0 or c.snd_nxt == c.snd_una or c.fin_wanted):
        return length
    if length < available and length >= c.max_wnd >> 1 and length > 0:
        return length
    return 0


@kernel(I64(W_T, C_T, SEGS_T, BYTES, BYTES, I64))
def send_new(W, c, segs, heap, tx, now):
    """Send one new segment, with the FIN when it is the last. 1 sent, 0 nothing allowed now, -1 no room."""
    if c.tail - c.head >= W.segq - 4 or c.fin_seq >= 0:
        return 0
    length = next_payload(W, c)
    seq = c.snd_nxt
    fin = 0
    if c.fin_wanted and seq + length == c.snd_end:
        if length > 0 or c.snd_end == seq:
            fin = 1
    if length == 0 and fin == 0:
        return 0
    flags = ACK
    if fin:
        flags |= FIN
    if length > 0 and seq + length == c.snd_end:
        flags |= PSH
    cause = CAUSE_PAYLOAD if length > 0 else CAUSE_HANDSHAKE
    if emit(W, c, heap, tx, seq, length, flags, cause, now) == 0:
        return -1
    note_sent(W, c, segs, seq, seq + length + fin, now)
    c.bytes_out = c.bytes_out + length
    if fin:
        segs[c.slot * W.segq + ((c.tail - 1) & W.segq_mask)].flags = SEG_FIN
        c.fin_seq = seq + length
        advance(W, c, Event.SEND_FIN)
    return 1


@kernel(I64(W_T, C_T, SEGS_T, BYTES, BYTES, I64))
def tcp_output(W, c, segs, heap, tx, now):
    """Send what may be sent: lost pieces first, then new data, then an owed acknowledgement. 0 when stopped for room,
    else 1."""
    state = c.state
    if state == State.SYN_SENT or state == State.SYN_RECEIVED and c.snd_nxt == c.iss:
        if c.snd_nxt == c.iss:
            return send_syn(W, c, heap, tx, now)
        return 1
    if state == State.CLOSED or state == State.SYN_PENDING or c.learning == NUMBERS_UNKNOWN:
        return 1
    done = 1
    sent = 0
    if c.lost_bytes > 0:
        k = c.head
        base = c.slot * W.segq
        while k < c.tail and c.lost_bytes > 0:
            s = segs[base + (k & W.segq_mask)]
            if s.flags & (SEG_LOST | SEG_SACKED) == SEG_LOST:
                size = min(s.end - s.seq, c.mss)
                # The first hole goes at once, whatever the window (RFC 6675 section 5 step 4.3, RFC 6582 section 3.2).
                if k != c.head and in_flight(c) > 0 and in_flight(c) + size > c.cwnd:
                    break
                if sent >= BURST:
                    done = 0
                    break
                if retransmit(W, c, segs, heap, tx, k, now) == 0:
                    done = 0
                    break
                sent += 1
                if c.t_rto == NEVER:
                    arm_rto(W, c, now)
            k += 1
    fresh = 0
    if done and state >= State.ESTABLISHED:
        while True:
            flight = in_flight(c)
            if flight > 0 and flight + min(c.mss, c.snd_end - c.snd_nxt) > c.cwnd:
                c.limited_to = c.snd_nxt
                break
            if sent >= BURST:
                done = 0
                break
            went = send_new(W, c, segs, heap, tx, now)
            if went < 0:
                done = 0
                break
            if went == 0:
                break
            sent += 1
            fresh = 1
    if fresh:
        arm_tlp(W, c, now)
    if c.ack_now and done:
        if emit(W, c, heap, tx, c.snd_nxt, 0, ACK, CAUSE_ACK, now) == 0:
            done = 0
        else:
            W.counts[Count.PURE_ACKS_OUT] = W.counts[Count.PURE_ACKS_OUT] + 1
    # Zero window with nothing in flight: only a probe will hear of its opening (RFC 9293 section 3.8.6.1).
    waiting = c.snd_end > c.snd_nxt and c.snd_una == c.snd_nxt and state >= State.ESTABLISHED and done
    if waiting and next_payload(W, c) == 0 and c.fin_seq < 0:
        if c.t_persist == NEVER:
            c.probes = 0
            c.t_persist = now + max(c.rto, W.tcp_rto_min)
    else:
        c.t_persist = NEVER
    if done == 0:
        want_output(W, c)
    rearm(W, c)
    return done
