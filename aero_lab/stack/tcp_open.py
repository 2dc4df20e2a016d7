"""How a TCP connection begins: by the peer's SYN, or adopted from a life that this stack has not seen.

An *adopted* connection is established for the peer, but the numbers in use are unknown after a restore. They are taken
from the first segment with an ACK: what it begins with is what we expect, what it acknowledges is where we go on. Until
then nothing can be sent. What the peer had sent and lost before that segment is lost for good; a peer that has waited
for an answer repeats its oldest first, and that is what is heard after a pause.

A keepalive probe begins one byte too low: one that carries a byte (Windows sends a zero without PSH) is recognised at
once, an empty one by data that keeps coming one byte further on.
"""

from ..compiled.memory import u8
from ..compiled.registry import BYTES, I64, kernel
from ..limits import NEVER
from ..wire import tcp
from .congestion import cc_open
from .tcp_options import update_mss
from .world import C_T, EV_ESTABLISHED, EV_WRITABLE, W_T, raise_event, want_output

NUMBERS_FROM_EMPTY, NUMBERS_DOUBTED = 2, 3
"""``TCB.learning`` after :data:`.tcp_output.NUMBERS_UNKNOWN`: learned from a segment without data; data came once one
byte further on."""


@kernel(I64(W_T, C_T, I64))
def take_syn(W, c, now):
    """Settle from the peer's SYN in ``W.seg_*`` what the connection will use."""
    c.irs = W.seg_seq
    c.rcv_nxt = W.seg_seq + 1
    c.rcv_read = c.rcv_nxt
    c.rcv_adv = c.rcv_nxt
    if W.seg_mss > 0:
        c.peer_mss = max(W.seg_mss, 64)
    c.snd_wnd = W.seg_wnd
    c.max_wnd = W.seg_wnd
    c.snd_wl1 = c.irs
    c.snd_wl2 = c.iss
    if W.seg_wscale >= 0 and c.rcv_shift >= 0:
        c.snd_shift = W.seg_wscale
    else:
        c.snd_shift = 0
        c.rcv_shift = -1
    if W.seg_has_ts == 0:
        c.ts_ok = 0
    if c.ts_ok:
        c.ts_recent = W.seg_tsval
        c.ts_recent_at = now
    if W.seg_sack_ok == 0:
        c.sack_ok = 0
    return update_mss(W, c)


@kernel(I64(W_T, C_T, I64))
def established(W, c, now):
    """The handshake is complete."""
    c.established_at = now
    c.backoff = 0
    c.t_rto = NEVER
    cc_open(W, c)
    if c.passive:
        W.half_open = W.half_open - 1
    if W.tcp_keep_idle < NEVER:
        c.t_keep = now + W.tcp_keep_idle
    raise_event(W, c, EV_ESTABLISHED)
    return want_output(W, c)


@kernel(I64(W_T, C_T, I64))
def new_incarnation(W, c, seq):
    """Whether a SYN may end the TIME-WAIT of its addresses: 1 when it cannot be an old duplicate (RFC 6191 section
    2)."""
    if W.seg_has_ts:
        if c.ts_ok == 0:
            return 1
        age = (W.seg_tsval - c.ts_recent) & 0xFFFFFFFF
        return 1 if 0 < age and age < 0x80000000 or age == 0 and seq > c.rcv_nxt else 0
    return 1 if seq > c.rcv_nxt else 0


@kernel(I64(W_T, C_T, BYTES, I64))
def learn(W, c, buf, now):
    """Take an adopted connection's numbers from the segment in ``W.seg_*``, which has an ACK and neither SYN nor
    RST."""
    if W.seg_len == 1 and W.seg_flags & (tcp.PSH | tcp.FIN) == 0 and u8(buf, W.seg_data) == 0:
        W.seg_seq = (W.seg_seq + 1) & 0xFFFFFFFF  # a keepalive probe's byte is none of the stream's
        W.seg_len = 0
        c.learning = 0
    else:
        c.learning = NUMBERS_FROM_EMPTY if W.seg_len == 0 else 0
    c.irs = W.seg_seq - 1
    c.rcv_nxt = W.seg_seq
    c.rcv_read = c.rcv_nxt
    c.recv_base = c.rcv_nxt
    # What was offered in the former life is not known; all that can be is what the peer may use.
    c.rcv_adv = c.rcv_nxt + min(c.recv_size, 65535 << max(c.rcv_shift, 0))
    c.last_ack_sent = c.rcv_nxt
    c.iss = W.seg_ack - 1
    c.snd_una = W.seg_ack
    c.snd_nxt = c.snd_una
    c.snd_end = c.snd_una
    c.send_base = c.snd_una
    c.snd_wnd = W.seg_wnd << c.snd_shift
    c.max_wnd = c.snd_wnd
    c.snd_wl1 = c.rcv_nxt
    c.snd_wl2 = c.snd_una
    c.ts_ok = W.seg_has_ts
    if c.ts_ok:
        c.ts_recent = W.seg_tsval
        c.ts_recent_at = now
        # Later than all that the peer has seen of the former life, or PAWS would keep us out.
        c.ts_offset = (W.seg_tsecr + 1 - now // 1_000_000) & 0xFFFFFFFF
    update_mss(W, c)
    established(W, c, now)
    return raise_event(W, c, EV_WRITABLE)


@kernel(I64(W_T, C_T, I64))
def doubt_numbers(W, c, seq):
    """Data after an empty first segment: where it belongs, that one told the truth; twice one byte on, it was a
    probe."""
    if seq == c.rcv_nxt:
        c.learning = 0
    elif seq == c.rcv_nxt + 1:
        if c.learning == NUMBERS_FROM_EMPTY:
            c.learning = NUMBERS_DOUBTED
            return 0
        c.learning = 0
        c.irs = c.irs + 1
        c.rcv_nxt = c.rcv_nxt + 1
        c.rcv_read = c.rcv_nxt
        c.last_ack_sent = c.rcv_nxt
    return 0
