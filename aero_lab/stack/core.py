"""The compiled entry points of a stack: one step over rings, queues and timers, and the calls of the socket layer.

Everything a call needs comes as arrays: the world (one record), the TCBs, the segment queues, the byte heap of all
buffers, the rings. Python calls nothing else of this room's kernels.
"""

from ..compiled.memory import copy
from ..compiled.registry import BYTES, I64, READ_ONLY, entry, kernel, records_type, types
from ..limits import MAX_CONNECTIONS, NEVER
from ..rings.frame_ring import count as waiting
from ..rings.frame_ring import descriptor, frame_len, frame_off
from ..rings.frame_ring import release as release_frames
from ..wire import tcp
from .connections import close_slot, free_slot, lookup, open_slot
from .drops import Drop
from .holding import ack_number, fin_held
from .icmp import send_error, send_icmp
from .ip_input import frame_arrived, parse4, parse6
from .neighbours import neighbour_deadline, neighbour_timers
from .output import leaves_headroom, put_ip
from .reassembly import REASSEMBLY, RECORD, expire, next_report
from .reassembly import next_deadline as fragments_deadline
from .reassembly import release as release_datagram
from .states import Event, State
from .tcp_input import enter_time_wait, send_reset, take_fin_acked
from .tcp_output import ACK, CAUSE_HANDSHAKE, NUMBERS_UNKNOWN, advance, emit, send_ack, send_syn, tcp_output
from .tcp_timers import connection_timers
from .udp import send_udp
from .world import C_T, R_ABORTED, R_REFUSED, R_UNREACHABLE, SEGS_T, TCBS_T, W_T, WORLDS_T, drop, rearm

REASMS_T = records_type(REASSEMBLY)
NUMBERS = types.Array(types.int64, 1, "C")
RST = 4
EVENT_WORDS = 4


@kernel(I64(W_T, BYTES, RECORD, BYTES, I64))
def report_fragments(W, tx, R, arena, now):
    """Forget datagrams that were never completed; tell the sender where its first fragment is known (ICMP code 1)."""
    W.drops[Drop.FRAGMENT_TIMEOUT] = W.drops[Drop.FRAGMENT_TIMEOUT] + expire(R, now)
    slot = next_report(R)
    while slot >= 0:
        at = R.offset[slot]
        W.pkt_group = 0
        if arena[at] >> 4 == 4:
            if parse4(W, arena, at, R.length[slot], now):
                send_error(W, tx, arena, 11, 1, 0, now)
        elif parse6(W, arena, at, R.length[slot], now):
            send_error(W, tx, arena, 3, 1, 0, now)
        release_datagram(R, slot)
        slot = next_report(R)
    return 0


@kernel(I64(BYTES, I64, I64, I64, I64))
def quote_tcp(heap, at, sport, dport, seq):
    """The first eight bytes of a TCP header."""
    tcp.put_srcport(heap, at, sport)
    tcp.put_dstport(heap, at, dport)
    tcp.put_seq(heap, at, seq)
    return 0


@entry
@kernel(I64(WORLDS_T, TCBS_T, SEGS_T, BYTES, BYTES, BYTES, BYTES, REASMS_T, BYTES, I64, I64))
def step(world, tcb, segs, heap, rx, tx, up, reasm, arena, most, now):
    """Take up to ``most`` frames, run what is due, send what may be sent. Returns how many frames were taken."""
    W = world[0]
    R = reasm[0]
    number = min(waiting(rx), most)
    for i in range(number):
        d = descriptor(rx, i)
        frame_arrived(W, tcb, segs, heap, tx, up, rx, frame_off(rx, d), frame_len(rx, d), R, arena, now)
    release_frames(rx, number)
    for slot in range(W.conn_high):
        if W.deadline[slot] <= now:
            connection_timers(W, tcb, segs, heap, tx, slot, now)
    if W.ethernet:
        neighbour_timers(W, tx, now)
    if fragments_deadline(R) <= now:
        report_fragments(W, tx, R, arena, now)
    for _ in range(W.out_count):
        slot = W.out_queue[W.out_head]
        W.out_head = (W.out_head + 1) & (MAX_CONNECTIONS - 1)
        W.out_count = W.out_count - 1
        c = tcb[slot]
        c.out_queued = 0
        if c.state != State.CLOSED:
            tcp_output(W, c, segs, heap, tx, now)
    return number


@entry
@kernel(I64(WORLDS_T, REASMS_T, BYTES, BYTES, I64))
def next_due(world, reasm, rx, tx, now):
    """When :func:`step` has work: ``now`` when it has some already."""
    W = world[0]
    if waiting(rx) > 0:
        return now
    due = NEVER
    if W.out_count > 0:
        if W.link_wait:
            due = W.link_retry_at
        elif leaves_headroom(tx, W.mtu + 14):
            return now
    for slot in range(W.conn_high):
        due = min(due, W.deadline[slot])
    if W.ethernet:
        due = min(due, neighbour_deadline(W))
    return min(due, fragments_deadline(reasm[0]))


@entry
@kernel(I64(WORLDS_T, TCBS_T, NUMBERS))
def take_events(world, tcb, out):
    """Take pending events as rows ``slot, id, event bits, reason`` (-1 while open); returns the number of rows."""
    W = world[0]
    most = len(out) // EVENT_WORDS
    number = 0
    while number < most and W.event_count > 0:
        slot = W.event_queue[W.event_head]
        W.event_head = (W.event_head + 1) & (MAX_CONNECTIONS - 1)
        W.event_count = W.event_count - 1
        c = tcb[slot]
        c.event_queued = 0
        if c.events != 0 and c.id != 0:
            out[EVENT_WORDS * number] = slot
            out[EVENT_WORDS * number + 1] = c.id
            out[EVENT_WORDS * number + 2] = c.events
            out[EVENT_WORDS * number + 3] = c.reason - 1
            number += 1
        c.events = 0
    return number


@entry
@kernel(I64(WORLDS_T, TCBS_T, I64))
def let_go(world, tcb, slot):
    """Python has forgotten the connection: nothing is reported any more, the slot is reused when it is closed."""
    W = world[0]
    c = tcb[slot]
    if c.released == 0:
        c.released = 1
        c.events = 0
        if c.state == State.CLOSED:
            free_slot(W, c)
    return 0


@entry
@kernel(I64(WORLDS_T, TCBS_T, SEGS_T, BYTES, BYTES, I64, I64, I64, I64, I64, I64, I64, I64))
def connect(world, tcb, segs, heap, tx, family, local_hi, local_lo, lport, remote_hi, remote_lo, rport, now):
    """Open a connection actively. Its slot, -1 when all are taken, -2 when these addresses are in use."""
    W = world[0]
    if lookup(W, tcb, remote_hi, remote_lo, rport, local_hi, local_lo, lport) >= 0:
        return -2
    slot = open_slot(W, tcb, family, local_hi, local_lo, lport, remote_hi, remote_lo, rport, now)
    if slot < 0:
        drop(W, Drop.TCP_NO_SLOT)
        return -1
    c = tcb[slot]
    advance(W, c, Event.OPEN)
    send_syn(W, c, heap, tx, now)
    return slot


@entry
@kernel(I64(WORLDS_T, TCBS_T, I64, I64, I64, I64, I64, I64, I64, I64, I64, I64, I64, I64))
def adopt(
    world,
    tcb,
    family,
    local_hi,
    local_lo,
    lport,
    remote_hi,
    remote_lo,
    rport,
    mss,
    snd_shift,
    rcv_shift,
    sack,
    now,
):
    """Take over an established connection whose numbers the peer will tell. Its slot, -1 when all are taken, -2 when
    these addresses are in use."""
    W = world[0]
    if lookup(W, tcb, remote_hi, remote_lo, rport, local_hi, local_lo, lport) >= 0:
        return -2
    slot = open_slot(W, tcb, family, local_hi, local_lo, lport, remote_hi, remote_lo, rport, now)
    if slot < 0:
        drop(W, Drop.TCP_NO_SLOT)
        return -1
    c = tcb[slot]
    advance(W, c, Event.ADOPT)
    c.learning = NUMBERS_UNKNOWN
    c.peer_mss = mss
    c.snd_shift = snd_shift
    c.rcv_shift = rcv_shift
    c.sack_ok = sack
    c.ts_ok = 0
    c.ecn_ok = 0
    if W.tcp_keep_idle < NEVER:
        c.t_keep = now + W.tcp_keep_idle
        rearm(W, c)
    return slot


@entry
@kernel(I64(WORLDS_T, TCBS_T, SEGS_T, BYTES, BYTES, I64, I64))
def accept(world, tcb, segs, heap, tx, slot, now):
    """Answer a held SYN with our SYN-ACK; 0 when there is none (any more)."""
    W = world[0]
    c = tcb[slot]
    if c.state != State.SYN_PENDING:
        return 0
    advance(W, c, Event.SYN)
    send_syn(W, c, heap, tx, now)
    return 1


@entry
@kernel(I64(WORLDS_T, TCBS_T, BYTES, BYTES, I64, I64, I64, I64))
def refuse(world, tcb, heap, tx, slot, kind, code, now):
    """Turn a held SYN down: ``kind`` -1 silently, 0 by RST, else by this ICMP type and code with the SYN quoted."""
    W = world[0]
    c = tcb[slot]
    if c.state != State.SYN_PENDING:
        return 0
    W.seg_family = c.family
    W.seg_src_hi, W.seg_src_lo, W.seg_sport = c.remote_hi, c.remote_lo, c.rport
    W.seg_dst_hi, W.seg_dst_lo, W.seg_dport = c.local_hi, c.local_lo, c.lport
    if kind == 0:
        send_reset(W, tx, 0, c.irs + 1, RST | ACK, now)
    elif kind > 0:
        # The SYN itself is gone; its header and first eight bytes are all that has to be quoted, and we know those.
        at = c.send_off
        identity = W.ip_id
        body = put_ip(W, heap, at, c.remote_hi, c.remote_lo, c.local_hi, c.local_lo, 6, 20, W.ttl, 0, 0x4000)
        W.ip_id = identity
        quote_tcp(heap, body, c.rport, c.lport, c.irs)
        W.pkt_off = at
        W.pkt_len = body + 8 - at
        W.pkt_group = 0
        W.pkt_own = 0
        W.pkt_protocol = 6
        W.pkt_l4_len = 0
        send_error(W, tx, heap, kind, code, 0, now)
    return close_slot(W, tcb, slot, R_REFUSED if kind == 0 else R_UNREACHABLE)


@entry
@kernel(I64(WORLDS_T, TCBS_T, SEGS_T, BYTES, BYTES, I64, READ_ONLY, I64))
def write(world, tcb, segs, heap, tx, slot, data, now):
    """Queue bytes for sending and send what may go. Returns how many were taken; fewer than offered raises *writable*
    later."""
    W = world[0]
    c = tcb[slot]
    if c.state < State.SYN_SENT or c.state > State.CLOSE_WAIT or c.fin_wanted or c.state == State.FIN_WAIT_1:
        return 0
    if c.learning == NUMBERS_UNKNOWN:
        c.was_cut = 1
        return 0
    room = c.send_size - (c.snd_end - max(c.snd_una, c.iss + 1))
    number = min(len(data), room)
    if number < len(data):
        c.was_cut = 1
    if number <= 0:
        return 0
    if c.snd_end == max(c.snd_una, c.iss + 1):
        c.send_base = c.snd_end  # an empty buffer starts over, where the cache is warm
    start = (c.snd_end - c.send_base) & c.send_mask
    first = min(number, c.send_mask + 1 - start)
    copy(heap, c.send_off + start, data, 0, first)
    if first < number:
        copy(heap, c.send_off, data, first, number - first)
    c.snd_end = c.snd_end + number
    if c.state >= State.ESTABLISHED:
        tcp_output(W, c, segs, heap, tx, now)
    return number


@kernel(I64(C_T))
def furthest_edge(c):
    """The right edge that could be offered now: what the buffer holds, as far as the window field reaches."""
    most = 65535 << max(c.rcv_shift, 0)
    return min(c.rcv_read + min(c.recv_size, most), ack_number(c) + most)


@entry
@kernel(I64(WORLDS_T, TCBS_T, I64))
def hold_acks(world, tcb, slot):
    """From now on acknowledge only what :func:`release_acks` lets go; what was acknowledged stays so."""
    c = tcb[slot]
    if c.state != State.CLOSED and c.ack_hold < 0:
        c.ack_hold = max(c.last_ack_sent - c.irs - 1, 0)
    return 0


@entry
@kernel(I64(WORLDS_T, TCBS_T, BYTES, BYTES, I64, I64, I64, I64))
def release_acks(world, tcb, heap, tx, slot, identity, upto, now):
    """Let ``upto`` bytes from the start be acknowledged, the FIN being one more.

    What becomes acknowledgeable is told under the rule for delayed acknowledgements: by the second full segment, at
    once when the peer may be waiting for it, or else by the timer. Returns 1 when it was told at once.
    """
    W = world[0]
    c = tcb[slot]
    if c.id != identity or c.ack_hold < 0 or upto <= c.ack_hold:
        return 0
    c.ack_hold = upto
    if c.state < State.ESTABLISHED or c.state > State.TIME_WAIT or c.learning == NUMBERS_UNKNOWN:
        return 0
    gain = ack_number(c) - c.last_ack_sent
    if gain <= 0:
        return 0
    full = min(c.peer_mss, W.tcp_mss) - (12 if c.ts_ok else 0)
    whole = ack_number(c) == c.rcv_nxt
    at_once = gain >= W.tcp_delack_segments * full or c.blocks > 0
    at_once = at_once or whole and (c.rcv_fin == -2 or c.ack_pending >= W.tcp_delack_segments)
    at_once = at_once or c.rcv_adv - c.rcv_nxt < full  # with so little window left the peer may stand still
    if not at_once:
        if c.t_delack == NEVER:
            c.t_delack = now + W.tcp_delack_time
            rearm(W, c)
        return 0
    sent = send_ack(W, c, heap, tx, now)
    if fin_held(c) == 0 and c.t_wait < NEVER:
        # Both directions are over, and now the peer hears it.
        if c.state == State.TIME_WAIT:
            enter_time_wait(W, c, now)
        elif sent:
            take_fin_acked(W, tcb, slot, now)
            return 1
        else:
            c.t_wait = now + W.tcp_time_wait
    rearm(W, c)
    return sent


@entry
@kernel(I64(WORLDS_T, TCBS_T, BYTES, BYTES, I64, I64, I64))
def consume(world, tcb, heap, tx, slot, number, now):
    """Free ``number`` bytes of the receive buffer; tells the peer when that opens the window noticeably (RFC 9293
    section 3.8.6.2.2)."""
    W = world[0]
    c = tcb[slot]
    available = c.rcv_nxt - (1 if c.rcv_fin == -2 else 0) - c.rcv_read
    number = min(number, available)
    c.rcv_read = c.rcv_read + number
    if number == available and c.blocks == 0:
        c.recv_base = c.rcv_nxt  # an empty buffer starts over, where the cache is warm
    open_state = c.state == State.ESTABLISHED or c.state == State.FIN_WAIT_1 or c.state == State.FIN_WAIT_2
    if open_state and c.rcv_fin == -1:
        edge = furthest_edge(c)
        gain = edge - max(c.rcv_adv, c.rcv_nxt)
        left = c.rcv_adv - c.rcv_nxt
        if gain >= min(c.recv_size >> 1, 2 * (W.mtu - 40)) and (left < c.recv_size >> 1 or gain >= c.recv_size >> 2):
            send_ack(W, c, heap, tx, now)
    return number


@entry
@kernel(I64(WORLDS_T, TCBS_T, SEGS_T, BYTES, BYTES, I64, I64))
def shutdown(world, tcb, segs, heap, tx, slot, now):
    """Close the sending direction: FIN after everything queued (RFC 9293 section 3.10.4)."""
    W = world[0]
    c = tcb[slot]
    if c.fin_wanted or c.state == State.CLOSED or c.state == State.SYN_PENDING:
        return 0
    if c.state == State.SYN_SENT:
        return close_slot(W, tcb, slot, R_ABORTED)
    c.fin_wanted = 1
    if c.state >= State.ESTABLISHED:
        tcp_output(W, c, segs, heap, tx, now)
    return 1


@entry
@kernel(I64(WORLDS_T, TCBS_T, SEGS_T, BYTES, BYTES, I64, I64))
def abort(world, tcb, segs, heap, tx, slot, now):
    """Reset the connection now (RFC 9293 section 3.10.5)."""
    W = world[0]
    c = tcb[slot]
    if c.state == State.CLOSED:
        return 0
    if c.learning == NUMBERS_UNKNOWN:
        return close_slot(W, tcb, slot, R_ABORTED)  # no number that the peer would believe a RST
    if c.state >= State.SYN_RECEIVED and c.state <= State.CLOSE_WAIT:
        emit(W, c, heap, tx, c.snd_nxt, 0, RST | ACK, CAUSE_HANDSHAKE, now)
    elif c.state == State.SYN_PENDING:
        return refuse(world, tcb, heap, tx, slot, 0, 0, now)
    elif c.state == State.TIME_WAIT:
        return 0
    return close_slot(W, tcb, slot, R_ABORTED)


@entry
@kernel(I64(WORLDS_T, BYTES, I64, I64, I64, I64, I64, I64, BYTES, I64, I64, I64))
def datagram(world, tx, src_hi, src_lo, sport, dst_hi, dst_lo, dport, data, ttl, cause, now):
    """Send one UDP datagram, its payload behind eight bytes of room: 1, or 0."""
    return send_udp(world[0], tx, src_hi, src_lo, sport, dst_hi, dst_lo, dport, data, ttl, cause, now)


@entry
@kernel(I64(WORLDS_T, BYTES, I64, I64, I64, I64, BYTES, I64, I64, I64, I64, I64))
def message(world, tx, src_hi, src_lo, dst_hi, dst_lo, data, kind, code, rest, cause, now):
    """Send one ICMP or ICMPv6 message, its body behind eight bytes of room: 1, or 0."""
    W = world[0]
    return send_icmp(W, tx, data, 8, len(data) - 8, kind, code, rest, src_hi, src_lo, dst_hi, dst_lo, cause, now)


@entry
@kernel(I64(WORLDS_T, BYTES, BYTES, I64, I64, I64, I64))
def error_about(world, tx, packet, kind, code, rest, now):
    """Answer a packet that was handed up with an ICMP error that quotes it: 1, or 0."""
    W = world[0]
    W.pkt_group = 0
    if len(packet) < 1:
        return 0
    if packet[0] >> 4 == 6:
        parsed = parse6(W, packet, 0, len(packet), now)
    else:
        parsed = parse4(W, packet, 0, len(packet), now)
    if parsed == 0:
        return 0
    return send_error(W, tx, packet, kind, code, rest, now)
