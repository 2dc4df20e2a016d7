"""Connection slots: finding them by their addresses, opening and closing them.

The table is open-addressed with linear probing over a keyed hash; deletion shifts entries back, so there are no
tombstones and a lookup ends at the first empty place.
"""

from ..compiled.registry import I64, kernel
from ..limits import NEVER
from .drops import Count
from .siphash import half_siphash
from .states import State
from .tcp_options import update_mss
from .world import (
    C_T,
    EV_CLOSED,
    HASH_SIZE,
    R_CLOSED,
    TCBS_T,
    W_T,
    count,
    raise_event,
    stop_timers,
)


@kernel(I64(W_T, I64, I64, I64, I64))
def flow_hash(W, hi, lo, rport, lport):
    """Place in the table for a peer (its address and both ports).

    Keyed against collisions by chance that come back in every run. Not against a guest that aims at them, with IPv6
    addresses of its own choosing: it would slow down its own network alone.
    """
    x = ((lo ^ W.key0) * 0x9E3779B1) & 0xFFFFFFFF
    x ^= ((lo >> 32) ^ W.key1) & 0xFFFFFFFF
    x = ((x ^ (x >> 15)) * 0x85EBCA77) & 0xFFFFFFFF
    x ^= (hi ^ (hi >> 32)) & 0xFFFFFFFF
    x ^= (rport << 16) | lport
    x = ((x ^ (x >> 13)) * 0xC2B2AE3D) & 0xFFFFFFFF
    return (x ^ (x >> 16)) & (HASH_SIZE - 1)


@kernel(I64(W_T, TCBS_T, I64, I64, I64, I64, I64, I64))
def lookup(W, tcb, remote_hi, remote_lo, rport, local_hi, local_lo, lport):
    """Slot of the connection with these addresses, or -1."""
    h = flow_hash(W, remote_hi, remote_lo, rport, lport)
    while W.hash[h] != 0:
        slot = W.hash[h] - 1
        c = tcb[slot]
        if (
            c.remote_lo == remote_lo
            and c.rport == rport
            and c.lport == lport
            and c.local_lo == local_lo
            and c.remote_hi == remote_hi
            and c.local_hi == local_hi
        ):
            return slot
        h = (h + 1) & (HASH_SIZE - 1)
    return -1


@kernel(I64(W_T, C_T))
def hash_insert(W, c):
    """Enter a connection into the table."""
    h = flow_hash(W, c.remote_hi, c.remote_lo, c.rport, c.lport)
    while W.hash[h] != 0:
        h = (h + 1) & (HASH_SIZE - 1)
    W.hash[h] = c.slot + 1
    c.hash = h
    return 0


@kernel(I64(W_T, TCBS_T, I64))
def hash_remove(W, tcb, slot):
    """Take a connection out and shift back what probed past it (Knuth, algorithm R)."""
    hole = tcb[slot].hash
    h = hole
    while True:
        h = (h + 1) & (HASH_SIZE - 1)
        if W.hash[h] == 0:
            break
        c = tcb[W.hash[h] - 1]
        home = flow_hash(W, c.remote_hi, c.remote_lo, c.rport, c.lport)
        if ((h - home) & (HASH_SIZE - 1)) >= ((h - hole) & (HASH_SIZE - 1)):
            W.hash[hole] = W.hash[h]
            c.hash = hole
            hole = h
    W.hash[hole] = 0
    return 0


@kernel(I64(W_T, I64, I64, I64, I64, I64, I64, I64))
def initial_sequence(W, local_hi, local_lo, lport, remote_hi, remote_lo, rport, now):
    """Initial sequence number: a 4 us clock plus a keyed hash of the addresses (RFC 6528)."""
    secret = half_siphash(
        W.key2,
        W.key3,
        local_hi & 0xFFFFFFFF,
        (local_hi >> 32) & 0xFFFFFFFF,
        local_lo & 0xFFFFFFFF,
        (local_lo >> 32) & 0xFFFFFFFF,
        remote_hi & 0xFFFFFFFF,
        (remote_hi >> 32) & 0xFFFFFFFF,
        remote_lo & 0xFFFFFFFF,
        (remote_lo >> 32) & 0xFFFFFFFF,
        (lport << 16) | rport,
        0,
    )
    return (now // 4000 + secret) & 0xFFFFFFFF


@kernel(I64(W_T, TCBS_T))
def recycle(W, tcb):
    """With all slots taken, end the TIME-WAIT that has waited longest (RFC 9293 section 3.10.8 allows less when
    resources run out)."""
    best = -1
    least = NEVER
    for slot in range(W.conn_high):
        # In TIME-WAIT the deadline is the end of 2 MSL, so the dense array spares looking at nearly every TCB.
        if W.deadline[slot] < least and tcb[slot].state == State.TIME_WAIT and tcb[slot].released:
            best = slot
            least = W.deadline[slot]
    if best < 0:
        return 0
    close_slot(W, tcb, best, R_CLOSED)
    return 1


@kernel(I64(W_T, TCBS_T, I64, I64, I64, I64, I64, I64, I64, I64))
def open_slot(W, tcb, family, local_hi, local_lo, lport, remote_hi, remote_lo, rport, now):
    """A fresh connection in CLOSED with everything set that does not depend on the peer, or -1 when all slots are
    taken."""
    if W.free_count == 0:
        if W.conn_high < W.max_conn:
            W.free_list[0] = W.conn_high
            W.free_count = 1
            W.conn_high = W.conn_high + 1
        elif recycle(W, tcb) == 0:
            return -1
    W.free_count = W.free_count - 1
    slot = W.free_list[W.free_count]
    c = tcb[slot]
    # A slot may still stand in a queue from its last life; the queue entry then serves the new one.
    c.slot = slot
    W.next_id = W.next_id + 1
    c.id = W.next_id
    c.state = State.CLOSED
    c.family = family
    c.local_hi, c.local_lo, c.lport = local_hi, local_lo, lport
    c.remote_hi, c.remote_lo, c.rport = remote_hi, remote_lo, rport
    c.mac_version = -1
    c.events = 0
    c.was_cut = 0
    c.released = 0
    c.reason = 0
    c.passive = 0
    region = W.send_region + W.recv_region
    c.send_off = slot * region
    c.send_base = 0
    c.send_mask = W.send_region - 1
    c.send_size = W.tcp_send_buffer
    c.recv_off = slot * region + W.send_region
    c.recv_base = 0
    c.recv_mask = W.recv_region - 1
    c.recv_size = W.tcp_recv_buffer
    c.overrun = -1
    c.iss = initial_sequence(W, local_hi, local_lo, lport, remote_hi, remote_lo, rport, now)
    c.snd_una = c.iss
    c.snd_nxt = c.iss
    c.snd_end = c.iss + 1
    c.snd_wnd = 0
    c.snd_wl1 = 0
    c.snd_wl2 = 0
    c.max_wnd = 0
    c.fin_wanted = 0
    c.fin_seq = -1
    c.snd_shift = 0
    c.irs = 0
    c.rcv_nxt = 0
    c.rcv_read = 0
    c.rcv_adv = 0
    c.rcv_shift = W.tcp_shift
    c.rcv_fin = -1
    c.peer_mss = 536 if family == 4 else 1220
    c.pmtu = W.mtu
    c.ts_ok = W.tcp_timestamps
    c.sack_ok = W.tcp_sack
    c.ecn_ok = W.tcp_ecn
    c.ts_recent = 0
    c.ts_recent_at = now
    # The same for the same addresses, so that a later connection's timestamps are later too (RFC 7323 section 5.4, RFC
    # 6191).
    base = initial_sequence(W, local_hi, local_lo, lport, remote_hi, remote_lo, rport, 0)
    c.ts_offset = (base * 0x2545F491) & 0xFFFFFFFF
    c.last_ack_sent = 0
    c.ack_pending = 0
    c.ack_now = 0
    c.quick_left = W.tcp_quick_acks
    c.dsack_l = 0
    c.dsack_r = 0
    c.blocks = 0
    c.recent_l = 0
    c.ack_hold = -1
    c.marks = 0
    c.learning = 0
    c.ecn_echo = 0
    c.ecn_cwr = 0
    c.ecn_point = 0
    c.srtt = 0
    c.rttvar = 0
    c.rto = W.tcp_rto_initial
    c.backoff = 0
    c.min_rtt = 0
    c.cwnd = 0
    c.ssthresh = 0
    c.cwnd_acc = 0
    c.limited_to = 0
    c.reduced_at = 0
    c.recovery = 0
    c.recovery_point = 0
    c.dup_acks = 0
    c.head = 0
    c.tail = 0
    c.sacked_bytes = 0
    c.lost_bytes = 0
    c.rack_ts = 0
    c.rack_end = 0
    c.rack_rtt = 0
    c.rack_fack = 0
    c.rack_reordering = 0
    c.rack_dsack_round = 0
    c.rack_mult = 1
    c.rack_persist = 0
    c.tlp_end = 0
    c.tlp_retrans = 0
    c.probes = 0
    c.keep_probes = 0
    c.heard_at = now
    c.opened_at = now
    c.established_at = -1
    c.bytes_in = 0
    c.bytes_out = 0
    c.segs_in = 0
    c.segs_out = 0
    c.retransmits = 0
    c.retransmitted_bytes = 0
    c.timeouts = 0
    for i in range(4):
        c.seen_l[i] = 0
        c.seen_r[i] = 0
    stop_timers(c)
    W.deadline[slot] = NEVER
    update_mss(W, c)
    hash_insert(W, c)
    W.conn_count = W.conn_count + 1
    count(W, Count.CONNECTIONS)
    return slot


@kernel(I64(W_T, C_T, I64))
def report_end(W, c, reason):
    """Tell Python once that the connection is over, and why."""
    if c.reason == 0:
        c.reason = reason + 1
        raise_event(W, c, EV_CLOSED)
    return 0


@kernel(I64(W_T, TCBS_T, I64, I64))
def close_slot(W, tcb, slot, reason):
    """End a connection: out of the table, timers off. Its slot (and what was not read yet) stays until Python lets go
    of it."""
    c = tcb[slot]
    if c.state == State.SYN_RECEIVED or c.state == State.SYN_PENDING:
        W.half_open = W.half_open - c.passive
    c.state = State.CLOSED
    stop_timers(c)
    W.deadline[slot] = NEVER
    hash_remove(W, tcb, slot)
    W.conn_count = W.conn_count - 1
    report_end(W, c, reason)
    if c.released:
        free_slot(W, c)
    return 0


@kernel(I64(W_T, C_T))
def free_slot(W, c):
    """Give a slot that is closed and let go of back, and its overrun block. The last one freed is used first: its
    memory is in use and in the cache."""
    if c.overrun >= 0:
        W.overrun_owner[c.overrun] = 0
        c.overrun = -1
    W.free_list[W.free_count] = c.slot
    W.free_count = W.free_count + 1
    c.id = 0
    return 0
