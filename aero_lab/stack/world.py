"""The records of a stack: one *world*, one *TCB* a connection, one *segment* a piece of data in flight.

Sequence numbers are kept unwrapped in 64 bits: ``snd_nxt`` starts at the 32-bit initial number and never wraps; what
arrives is unwrapped against what is expected (:func:`unwrap`), what leaves is cut to 32 bits. So comparisons are plain
and 2**32 is no border. An IPv4 address is the pair ``(0, 0xFFFF_0000_0000 | address)``, its mapped IPv6 form, so that
one table serves both families.
"""

from __future__ import annotations

import numpy as np

from ..compiled.registry import I64, kernel, record_type, records_type
from ..limits import MAX_CONNECTIONS, NEVER

OWN4, OWN6 = 4, 8
NEIGHBOURS = 64
LISTENERS = 32
BLOCKS = 32
"""Out-of-order ranges a receiver remembers; with all in use the newest segment is dropped and counted."""
MARKS = 16
"""Timestamps remembered of data whose acknowledgement is held; with all in use every other one is forgotten."""
HASH_SIZE = 2 * MAX_CONNECTIONS
OVERRUN_BLOCKS = 16
V4_MAPPED = 0xFFFF << 32


def _fields(names: str) -> list[tuple[str, str]]:
    return [(name, "<i8") for name in names.split()]


def _arrays(size: int, names: str) -> list[tuple[str, str, tuple[int]]]:
    return [(name, "<i8", (size,)) for name in names.split()]


TCB = np.dtype(
    [
        *_fields("""
        slot id state family local_hi local_lo remote_hi remote_lo lport rport hash
        mac_hi mac_lo mac_version
        out_queued event_queued events was_cut reason passive released
        send_off send_base send_mask send_size recv_off recv_base recv_mask recv_size overrun
        iss snd_una snd_nxt snd_end snd_wnd snd_wl1 snd_wl2 max_wnd fin_wanted fin_seq snd_shift
        irs rcv_nxt rcv_read rcv_adv rcv_shift rcv_fin
        peer_mss mss pmtu ts_ok sack_ok ecn_ok ts_recent ts_recent_at ts_offset last_ack_sent
        ack_pending ack_now quick_left dsack_l dsack_r blocks recent_l ack_hold marks learning
        ecn_echo ecn_cwr ecn_point
        srtt rttvar rto backoff min_rtt
        cwnd ssthresh cwnd_acc limited_to reduced_at recovery recovery_point dup_acks
        head tail sacked_bytes lost_bytes
        rack_ts rack_end rack_rtt rack_fack rack_reordering rack_dsack_round rack_mult rack_persist
        tlp_end tlp_retrans
        t_rto t_persist t_delack t_keep t_wait t_rack t_tlp
        probes keep_probes heard_at opened_at established_at
        bytes_in bytes_out segs_in segs_out retransmits retransmitted_bytes timeouts
        """),
        ("cubic_w_max", "<f8"),
        ("cubic_prior", "<f8"),
        ("cubic_k", "<f8"),
        ("cubic_origin", "<f8"),
        ("cubic_w_est", "<f8"),
        ("cubic_epoch", "<i8"),
        *_arrays(BLOCKS, "block_l block_r"),
        *_arrays(4, "seen_l seen_r"),
        *_arrays(MARKS, "mark_seq mark_ts"),
    ],
    align=True,
)

SEGMENT = np.dtype(_fields("seq end xmit_at flags"), align=True)
SEG_SACKED, SEG_LOST, SEG_RETRANSMITTED, SEG_FIN = 1, 2, 4, 8

WORLD = np.dtype(
    [
        *_fields("""
        role ethernet mtu mac_hi mac_lo ttl max_conn conn_high conn_count half_open next_id ip_id
        key0 key1 key2 key3 rng
        router4 router6_hi router6_lo own4_n own6_n neigh_version last_hi last_lo last_mac_hi last_mac_lo
        event_head event_count out_head out_count free_count
        recv_region send_region segq segq_mask overrun_size overrun_start
        icmp_tokens icmp_at challenge_tokens challenge_at
        tcp_send_buffer tcp_recv_buffer tcp_mss tcp_shift tcp_timestamps tcp_sack tcp_ecn tcp_cc tcp_icw
        tcp_rto_initial tcp_rto_min tcp_rto_max tcp_syn_retries tcp_data_retries tcp_delack_segments tcp_delack_time
        tcp_quick_acks tcp_nagle tcp_keep_idle tcp_keep_interval tcp_keep_probes tcp_time_wait tcp_rack tcp_syn_window
        tcp_layout
        seg_off seg_len seg_data seg_seq seg_ack seg_flags seg_wnd seg_family seg_ecn seg_ttl
        seg_src_hi seg_src_lo seg_dst_hi seg_dst_lo seg_sport seg_dport
        seg_mss seg_wscale seg_sack_ok seg_has_ts seg_tsval seg_tsecr seg_blocks
        pkt_off pkt_len pkt_l4 pkt_l4_len pkt_protocol pkt_group pkt_own pkt_link frame_seq link_wait link_retry_at
        """),
        *_arrays(4, "seg_block_l seg_block_r"),
        *_arrays(OWN4, "own4 own4_mask"),
        *_arrays(OWN6, "own6_hi own6_lo own6_prefix"),
        *_arrays(NEIGHBOURS, "n_hi n_lo n_mac_hi n_mac_lo n_state n_at n_probes"),
        *_arrays(LISTENERS, "listen"),
        *_arrays(OVERRUN_BLOCKS, "overrun_owner"),
        *_arrays(128, "drops counts"),
        *_arrays(HASH_SIZE, "hash"),
        *_arrays(MAX_CONNECTIONS, "deadline event_queue out_queue free_list"),
    ],
    align=True,
)

W_T = record_type(WORLD)
C_T = record_type(TCB)
WORLDS_T = records_type(WORLD)
TCBS_T = records_type(TCB)
SEGS_T = records_type(SEGMENT)

ROLE_GATEWAY, ROLE_GUEST, ROLE_SERVER = 0, 1, 2

# Bits of TCB.events
EV_SYN, EV_ESTABLISHED, EV_READABLE, EV_WRITABLE, EV_EOF, EV_CLOSED = 1, 2, 4, 8, 16, 32
REASONS = ("closed", "reset", "refused", "timeout", "unreachable", "aborted")
R_CLOSED, R_RESET, R_REFUSED, R_TIMEOUT, R_UNREACHABLE, R_ABORTED = range(6)


@kernel(I64(W_T, I64))
def drop(W, reason):
    """Count one drop under ``reason`` (a :class:`Drop`) and give 0."""
    W.drops[reason] = W.drops[reason] + 1
    return 0


@kernel(I64(W_T, I64))
def count(W, what):
    """Count one of ``what`` (a :class:`Count`) and give 0."""
    W.counts[what] = W.counts[what] + 1
    return 0


@kernel(I64(I64, I64))
def unwrap(wire, near):
    """The 64-bit sequence number with the low 32 bits ``wire`` that lies closest to ``near`` (RFC 9293 section 3.4)."""
    delta = (wire - near) & 0xFFFFFFFF
    if delta >= 0x80000000:
        delta -= 0x100000000
    return near + delta


@kernel(I64(W_T))
def random32(W):
    """Next 32 bits of the stack's own generator (a 64-bit Weyl sequence through a 32-bit finaliser; not a secret)."""
    W.rng = (W.rng + 0x9E3779B9) & 0xFFFFFFFF
    x = W.rng
    x = ((x ^ (x >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    x = ((x ^ (x >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    return x ^ (x >> 16)


@kernel(I64(W_T, C_T, I64))
def raise_event(W, c, bits):
    """Note events of a connection for Python; a connection stands in the queue once, so the queue cannot overflow."""
    if c.released:
        return 0
    c.events = c.events | bits
    if c.event_queued == 0:
        c.event_queued = 1
        W.event_queue[(W.event_head + W.event_count) & (MAX_CONNECTIONS - 1)] = c.slot
        W.event_count = W.event_count + 1
    return 0


@kernel(I64(W_T, C_T))
def want_output(W, c):
    """Put a connection into the output queue (once)."""
    if c.out_queued == 0:
        c.out_queued = 1
        W.out_queue[(W.out_head + W.out_count) & (MAX_CONNECTIONS - 1)] = c.slot
        W.out_count = W.out_count + 1
    return 0


@kernel(I64(W_T, C_T))
def rearm(W, c):
    """Recompute the connection's place in the dense array of deadlines from its timers."""
    t = min(c.t_rto, c.t_persist, c.t_delack)
    t = min(t, c.t_keep, c.t_wait)
    t = min(t, c.t_rack, c.t_tlp)
    W.deadline[c.slot] = t
    return 0


@kernel(I64(C_T))
def stop_timers(c):
    """Stop every timer of a connection."""
    c.t_rto = NEVER
    c.t_persist = NEVER
    c.t_delack = NEVER
    c.t_keep = NEVER
    c.t_wait = NEVER
    c.t_rack = NEVER
    c.t_tlp = NEVER
    return 0
