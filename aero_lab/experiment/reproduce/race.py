"""The compiled scheduler of :class:`~.pair.Pair`: two stacks, the two directions of a link, a sender and a reader.

One turn steps the sender's stack, lets its program write, steps the reader's, lets its program read, and moves both
directions of the link; then time jumps to the next deadline of the four. So a transfer of millions of segments is one
call. The programs are the plainest there are: one keeps its send buffer full until ``total`` bytes are written, the
other reads whatever has come, at once.
"""

from __future__ import annotations

from ...compiled.memory import u8, u32_field
from ...compiled.registry import BYTES, I64, READ_ONLY, entry, kernel, types
from ...limits import NEVER
from ...link import pipe
from ...rings.frame_ring import count, descriptor, frame_len, frame_off, release
from ...stack import core
from ...stack.recovery import RECOVERY_TIMEOUT
from ...stack.states import State
from ...stack.tcp_output import (
    ACK,
    CAUSE_KEEPALIVE,
    CAUSE_PAYLOAD,
    CAUSE_RETRANSMISSION,
    emit,
    note_sent,
    send_ack,
)
from ...stack.world import C_T, SEG_RETRANSMITTED, SEGS_T, TCBS_T, W_T, WORLDS_T, rearm, unwrap, want_output

u32 = u32_field(0)
NUMBERS = types.Array(types.int64, 1, "C")
AREAS = types.Array(types.float64, 1, "C")

# Words of the control array.
NOW, TOTAL, WRITTEN, READ, TURNS, DEADLINE, SLOT_A, SLOT_B = range(8)
KEPT_BACKOFF, GO_BACK_N, RING_CUT, BATCHED_ACK, HOLES = range(8, 13)
RTO_KEPT, TIMEOUTS_SEEN, THIRD, UNA_SEEN, SENT_TO, REWOUND, EXPIRED = range(13, 20)
LAST_AT, FROM, FIRST_READ_AT, SHORT_READ, REFUSED = range(20, 25)
PERIOD, ARRIVED, ACK_COUNTING, ACKED_TO, ACKS_SEEN, PROBE_AT_ONCE = range(25, 31)
PROBE_AT, PROBE_DELAY, DELACK_AT, DELACK_TIME, OFFERED, ACKS_OUT = range(31, 37)
WORDS = 37
AREA_CWND, AREA_FLIGHT = range(2)
DONE, OUT_OF_TIME, BROKEN = 1, 2, 3
TURNS_AT_ONCE = 1 << 22
"""Turns of one call; between calls the interpreter may be interrupted."""
TCP_SEQ, TCP_ACK, TCP_OFFSET = 24, 28, 32
"""Where a bare IPv4 packet without options has TCP's numbers and data offset."""


@kernel(I64(W_T, C_T, SEGS_T, BYTES, BYTES, NUMBERS, I64))
def send_window(W, c, segs, heap, tx, z, now):
    """New data as those send it that go back: while a whole segment may go, and anything when nothing is in flight.
    With ``RING_CUT`` a segment ends where the send buffer does. Returns how many went."""
    sent = 0
    while c.tail - c.head < W.segq - 4:
        usable = c.snd_una + min(c.snd_wnd, c.snd_end - c.snd_una) - c.snd_nxt
        if usable <= 0 or c.snd_nxt > c.snd_una and usable < c.mss:
            break
        size = min(usable, c.mss)
        if z[RING_CUT]:
            size = min(size, c.send_mask + 1 - ((c.snd_nxt - c.send_base) & c.send_mask))
        again = c.snd_nxt + size <= z[REWOUND]
        cause = CAUSE_RETRANSMISSION if c.snd_nxt < z[REWOUND] else CAUSE_PAYLOAD
        if emit(W, c, heap, tx, c.snd_nxt, size, ACK, cause, now) == 0:
            want_output(W, c)
            break
        note_sent(W, c, segs, c.snd_nxt, c.snd_nxt + size, now)
        if again:  # not timed (Karn)
            segs[c.slot * W.segq + ((c.tail - 1) & W.segq_mask)].flags = SEG_RETRANSMITTED
            c.retransmits = c.retransmits + 1
        sent += 1
    z[SENT_TO] = max(z[SENT_TO], c.snd_nxt)
    if sent:
        rearm(W, c)
    return sent


@kernel(I64(W_T, C_T, SEGS_T, BYTES, BYTES, NUMBERS, I64))
def go_back(W, c, segs, heap, tx, z, now):
    """A timeout of those that go back: the RTO doubles, and all that was sent is forgotten and sent again from the
    first unacknowledged byte, cut anew."""
    c.timeouts = c.timeouts + 1
    c.rto = min(2 * c.rto, W.tcp_rto_max)
    z[REWOUND] = z[SENT_TO]
    c.backoff = 0
    c.t_rto = NEVER
    c.tail = c.head
    c.lost_bytes = 0
    c.sacked_bytes = 0
    c.snd_nxt = c.snd_una
    send_window(W, c, segs, heap, tx, z, now)
    return rearm(W, c)


@kernel(I64(W_T, C_T, SEGS_T, BYTES, BYTES, NUMBERS, I64))
def resend_oldest(W, c, segs, heap, tx, z, now):
    """The third duplicate of those that go back: the oldest bytes once more, as many as a segment holds, and the timer
    anew. Nothing in flight is timed any more, and there is no recovery that a partial acknowledgement would go on
    with."""
    size = min(c.mss, c.snd_end - c.snd_una)
    if z[RING_CUT]:
        size = min(size, c.send_mask + 1 - ((c.snd_una - c.send_base) & c.send_mask))
    if emit(W, c, heap, tx, c.snd_una, size, ACK, CAUSE_RETRANSMISSION, now) == 0:
        return 0
    if c.snd_una + size > c.snd_nxt:
        note_sent(W, c, segs, c.snd_nxt, c.snd_una + size, now)
    for k in range(c.head, c.tail):
        s = segs[c.slot * W.segq + (k & W.segq_mask)]
        s.flags = s.flags | SEG_RETRANSMITTED
    c.retransmits = c.retransmits + 1
    z[SENT_TO] = max(z[SENT_TO], c.snd_nxt)
    c.t_rto = now + c.rto
    z[PROBE_AT] = NEVER
    rearm(W, c)
    return 1


@kernel(I64(W_T, C_T, SEGS_T, I64, I64))
def known(W, c, segs, ack, now):
    """Data that was forgotten has arrived after all: it counts as sent, so that its acknowledgement is believed."""
    s = segs[c.slot * W.segq + (c.tail & W.segq_mask)]
    s.seq = c.snd_nxt
    s.end = ack
    s.xmit_at = now
    s.flags = SEG_RETRANSMITTED
    c.tail = c.tail + 1
    c.snd_nxt = ack
    return 0


@kernel(I64(W_T, C_T, SEGS_T, BYTES, NUMBERS, I64))
def before_step(W, c, segs, rx, z, now):
    """Go-back-N: take output, the retransmission timer and the recovery out of our hands."""
    c.recovery = RECOVERY_TIMEOUT
    c.recovery_point = NEVER
    c.fin_seq = NEVER  # our output thinks that all is sent
    if count(rx) > 0:
        ack = unwrap(u32(rx, frame_off(rx, descriptor(rx, 0)) + TCP_ACK), c.snd_una)
        if ack > c.snd_nxt and ack <= z[SENT_TO] and c.tail - c.head < W.segq - 4:
            known(W, c, segs, ack, now)
    if c.t_rto <= now:
        z[EXPIRED] = 1
        c.t_rto = now + 1  # what arrives at the same moment may still put it off
        rearm(W, c)
    return 0


@kernel(I64(C_T, NUMBERS, I64, I64))
def note_duplicates(c, z, una, duplicates):
    """Go-back-N: the third duplicate of ``una``, unless an acknowledgement behind it has moved on."""
    if c.snd_una > una:
        z[THIRD] = 0
    elif duplicates < 3 and c.dup_acks >= 3:
        z[THIRD] = 1
    return 0


@kernel(I64(W_T, C_T, SEGS_T, BYTES, BYTES, NUMBERS, I64))
def after_step(W, c, segs, heap, tx, z, now):
    """Go-back-N: what its sender does about what has arrived and about its timers."""
    if z[THIRD]:
        resend_oldest(W, c, segs, heap, tx, z, now)
    elif z[EXPIRED] and c.t_rto == now + 1:
        go_back(W, c, segs, heap, tx, z, now)
    if c.snd_wnd > 0:
        z[PROBE_AT] = NEVER
    elif c.snd_end > c.snd_una and (c.t_rto == NEVER and z[PROBE_AT] == NEVER or c.snd_una > z[UNA_SEEN]):
        z[PROBE_DELAY] = c.rto  # one timer for both: no retransmission while a closed window is asked about
        z[PROBE_AT] = now + c.rto
        c.t_rto = NEVER
        rearm(W, c)
    z[THIRD] = z[EXPIRED] = 0
    z[UNA_SEEN] = c.snd_una
    return 0


@kernel(I64(W_T, C_T, SEGS_T, BYTES, BYTES, NUMBERS, I64))
def after_write(W, c, segs, heap, tx, z, now):
    """Go-back-N: send what the windows let out; ask about a closed one, with a byte of data."""
    if c.snd_wnd == 0 and c.t_rto == NEVER and z[PROBE_AT] == NEVER and c.snd_end > c.snd_una:
        z[PROBE_DELAY] = c.rto
        z[PROBE_AT] = now if z[PROBE_AT_ONCE] else now + c.rto
    if send_window(W, c, segs, heap, tx, z, now) == 0 and z[PROBE_AT] <= now:
        size = 1 if c.snd_end > c.snd_nxt else 0
        emit(W, c, heap, tx, c.snd_nxt, size, ACK, CAUSE_KEEPALIVE, now)
        z[SENT_TO] = max(z[SENT_TO], c.snd_nxt + size)
        z[PROBE_DELAY] = min(2 * z[PROBE_DELAY], W.tcp_rto_max)
        z[PROBE_AT] = now + z[PROBE_DELAY]
    if c.snd_nxt > c.snd_una and c.t_rto == NEVER and z[PROBE_AT] == NEVER:
        c.t_rto = now + c.rto
        rearm(W, c)
    return 0


@kernel(I64(W_T, C_T, NUMBERS, I64))
def keep_backoff(W, c, z, now):
    """A doubled RTO that stays until a round trip is sampled."""
    z[RTO_KEPT] = c.rto  # a sample has changed it, or nothing has
    if c.timeouts != z[TIMEOUTS_SEEN]:
        z[TIMEOUTS_SEEN] = c.timeouts
        z[RTO_KEPT] = min(2 * z[RTO_KEPT], W.tcp_rto_max)
        c.rto = z[RTO_KEPT]
        c.backoff = 0
        if c.t_rto < NEVER:
            c.t_rto = now + c.rto
        rearm(W, c)
    return 0


@kernel(I64(C_T, NUMBERS))
def count_acks(c, z):
    """Congestion avoidance that counts acknowledgements, not bytes (RFC 5681 before RFC 3465): what one acknowledged
    beyond a segment has not opened the window."""
    acked = c.snd_una - z[ACKED_TO]
    acks = c.segs_in - z[ACKS_SEEN]
    z[ACKED_TO] = c.snd_una
    z[ACKS_SEEN] = c.segs_in
    if c.cwnd > c.ssthresh and c.recovery == 0:
        c.cwnd_acc = c.cwnd_acc - max(acked - acks * c.mss, 0)
    return 0


@kernel(I64(C_T, BYTES, NUMBERS))
def refused(c, rx, z):
    """Whether the next packet is lost: each PERIOD-th with data, counted as they come; or whether a reader that
    remembers fewer holes throws it away: data behind one more."""
    at = frame_off(rx, descriptor(rx, 0))
    size = frame_len(rx, descriptor(rx, 0)) - 20 - (u8(rx, at + TCP_OFFSET) >> 4) * 4
    if size <= 0:
        return 0
    if z[PERIOD]:
        z[ARRIVED] = z[ARRIVED] + 1
        if z[ARRIVED] % z[PERIOD] == 0:
            return 1
    seq = unwrap(u32(rx, at + TCP_SEQ), c.rcv_nxt)
    if z[HOLES] and seq > c.rcv_nxt and c.blocks >= z[HOLES]:
        for i in range(c.blocks):
            if seq <= c.block_r[i] and seq + size >= c.block_l[i]:
                return 0
        return 1
    return 0


@kernel(I64(W_T, C_T, BYTES, BYTES, NUMBERS, I64))
def batch_acks(W, c, heap, tx, z, now):
    """The reader with *batched* acknowledgements: one for all that has come at an instant when it is more than a
    segment, before it is read, else when its delay is over; another when reading has doubled the window. Each offers
    all the room there is."""
    if c.segs_out != z[ACKS_OUT]:
        z[ACKS_OUT] = c.segs_out
        z[OFFERED] = c.rcv_adv
    if c.rcv_nxt > c.last_ack_sent:
        z[DELACK_AT] = min(z[DELACK_AT], now + z[DELACK_TIME])
        if c.rcv_nxt - c.last_ack_sent > c.peer_mss or z[DELACK_AT] <= now:
            send_ack(W, c, heap, tx, now)
            z[OFFERED] = c.rcv_adv
    c.rcv_read = c.rcv_nxt
    if c.blocks == 0:
        c.recv_base = c.rcv_nxt
    c.rcv_adv = max(c.rcv_adv, c.rcv_nxt + c.recv_size)
    if c.recv_size >> 1 >= z[OFFERED] - c.rcv_nxt:
        send_ack(W, c, heap, tx, now)
        z[OFFERED] = c.rcv_adv
    if c.last_ack_sent == c.rcv_nxt:
        z[DELACK_AT] = NEVER
    z[ACKS_OUT] = c.segs_out
    return rearm(W, c)


@kernel(I64(WORLDS_T, TCBS_T, BYTES, BYTES, NUMBERS, I64))
def read(world, tcb, heap, tx, z, now):
    """The reader's program takes all there is."""
    c = tcb[z[SLOT_B]]
    come = c.rcv_nxt - c.rcv_read
    if z[BATCHED_ACK]:
        batch_acks(world[0], c, heap, tx, z, now)
    elif come > 0:
        core.consume(world, tcb, heap, tx, z[SLOT_B], come, now)
    z[READ] = z[READ] + come
    return come


@kernel(I64(C_T, NUMBERS, AREAS, I64))
def measure(c, z, areas, now):
    """Areas under the congestion window and the flight, in byte seconds, from the moment when FROM bytes were read."""
    if z[READ] >= z[FROM]:
        past = (now - z[LAST_AT]) * 1e-9
        areas[AREA_CWND] = areas[AREA_CWND] + past * c.cwnd
        areas[AREA_FLIGHT] = areas[AREA_FLIGHT] + past * (c.snd_nxt - c.snd_una)
        if z[FIRST_READ_AT] == 0:
            z[FIRST_READ_AT] = now
            z[SHORT_READ] = z[READ]
    z[LAST_AT] = now
    return 0


@entry
@kernel(
    I64(
        *(WORLDS_T, TCBS_T, SEGS_T, BYTES, BYTES, BYTES, BYTES, core.REASMS_T, BYTES),
        *(WORLDS_T, TCBS_T, SEGS_T, BYTES, BYTES, BYTES, BYTES, core.REASMS_T, BYTES),
        *(BYTES, BYTES, BYTES, BYTES, BYTES, BYTES),
        *(READ_ONLY, NUMBERS, AREAS, I64),
    )
)
def race(
    a_world, a_tcb, a_segs, a_heap, a_rx, a_tx, a_up, a_reasm, a_arena,
    b_world, b_tcb, b_segs, b_heap, b_rx, b_tx, b_up, b_reasm, b_arena,
    there, there_in, there_out, back, back_in, back_out,
    data, z, areas, most,
):  # fmt: skip
    """Up to ``most`` turns. 0 when there is more to do, DONE, OUT_OF_TIME, or BROKEN when a connection is gone or
    nothing is due any more."""
    a, b = a_tcb[z[SLOT_A]], b_tcb[z[SLOT_B]]
    A = a_world[0]
    careful = z[BATCHED_ACK] or z[HOLES] or z[PERIOD]
    now = z[NOW]
    for _ in range(most):
        z[TURNS] = z[TURNS] + 1
        if core.next_due(a_world, a_reasm, a_rx, a_tx, now) <= now:
            if z[GO_BACK_N]:
                for _ in range(max(count(a_rx), 1)):
                    before_step(A, a, a_segs, a_rx, z, now)
                    una, duplicates = a.snd_una, a.dup_acks
                    core.step(a_world, a_tcb, a_segs, a_heap, a_rx, a_tx, a_up, a_reasm, a_arena, 1, now)
                    note_duplicates(a, z, una, duplicates)
            else:
                core.step(a_world, a_tcb, a_segs, a_heap, a_rx, a_tx, a_up, a_reasm, a_arena, 64, now)
            if z[ACK_COUNTING]:
                count_acks(a, z)
            if z[GO_BACK_N]:
                after_step(A, a, a_segs, a_heap, a_tx, z, now)
            elif z[KEPT_BACKOFF]:
                keep_backoff(A, a, z, now)
        left = z[TOTAL] - z[WRITTEN]
        if left > 0:
            room = min(left, a.send_size - (a.snd_end - max(a.snd_una, a.iss + 1)), len(data))
            if room > 0:
                z[WRITTEN] = z[WRITTEN] + core.write(a_world, a_tcb, a_segs, a_heap, a_tx, z[SLOT_A], data[:room], now)
        if z[GO_BACK_N]:
            after_write(A, a, a_segs, a_heap, a_tx, z, now)
        if careful:
            for _ in range(count(b_rx)):
                if refused(b, b_rx, z):
                    z[REFUSED] = z[REFUSED] + 1
                    release(b_rx, 1)
                else:
                    core.step(b_world, b_tcb, b_segs, b_heap, b_rx, b_tx, b_up, b_reasm, b_arena, 1, now)
        if core.next_due(b_world, b_reasm, b_rx, b_tx, now) <= now:
            core.step(b_world, b_tcb, b_segs, b_heap, b_rx, b_tx, b_up, b_reasm, b_arena, 64, now)
        read(b_world, b_tcb, b_heap, b_tx, z, now)
        if z[READ] >= z[TOTAL]:
            z[NOW] = now
            return DONE
        if a.state != State.ESTABLISHED or b.state != State.ESTABLISHED:
            z[NOW] = now
            return BROKEN
        pipe.step(there, there_in, there_out, now)
        pipe.step(back, back_in, back_out, now)
        due = min(core.next_due(a_world, a_reasm, a_rx, a_tx, now), core.next_due(b_world, b_reasm, b_rx, b_tx, now))
        due = min(due, pipe.poll_at(there, there_in, there_out, now), pipe.poll_at(back, back_in, back_out, now))
        due = max(min(due, z[PROBE_AT], z[DELACK_AT]), now)
        if due >= NEVER:
            z[NOW] = now
            return BROKEN
        if due > now:
            if due > z[DEADLINE]:
                z[NOW] = now
                return OUT_OF_TIME
            measure(a, z, areas, due)
            now = due
    z[NOW] = now
    return 0
