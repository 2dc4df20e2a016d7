"""Congestion control behind one interface: NewReno (RFC 5681, RFC 6582), CUBIC (RFC 9438), none.

A controller is three functions: on newly acknowledged bytes, on a loss event (once a round trip) and on a
retransmission timeout. They own ``cwnd``, ``ssthresh`` and their own fields of the TCB; when a loss *is* an event is
recovery's business (:mod:`.recovery`). To add one: write its three functions, add its number to the three dispatchers
here and its name to ``config.CONGESTION``.
"""

from ..compiled.registry import F64, I64, kernel
from .world import C_T, W_T

NONE, NEWRENO, CUBIC = 0, 1, 2
UNLIMITED = 1 << 40
CUBIC_C = 0.4
CUBIC_BETA = 0.7
"""RFC 9438 sections 4.1 and 4.6."""
CUBIC_ALPHA = 3.0 * (1.0 - CUBIC_BETA) / (1.0 + CUBIC_BETA)
"""Growth of the Reno-friendly estimate, RFC 9438 section 4.3."""


@kernel(I64(W_T, C_T))
def cc_open(W, c):
    """Initial window when the connection is established (RFC 6928)."""
    c.cwnd = UNLIMITED if W.tcp_cc == NONE else W.tcp_icw * c.mss
    c.ssthresh = UNLIMITED
    c.cwnd_acc = 0
    c.cubic_epoch = -1
    c.cubic_w_max = 0.0
    c.cubic_prior = 0.0
    return 0


@kernel(F64(F64))
def cube_root(x):
    """Cube root by Newton's iteration in plain arithmetic, so that every platform gives the same bits."""
    if x <= 0.0:
        return 0.0
    y = 1.0
    while y * y * y < x:
        y *= 2.0
    for _ in range(40):
        z = (2.0 * y + x / (y * y)) / 3.0
        if z >= y:
            break
        y = z
    return y


@kernel(I64(C_T, I64))
def slow_start(c, acked):
    """Grow by what was acknowledged, up to ssthresh; returns what is left over for congestion avoidance."""
    grow = min(acked, max(c.ssthresh - c.cwnd, 0))
    c.cwnd = c.cwnd + grow
    return acked - grow


@kernel(I64(C_T, I64))
def newreno_acked(c, acked):
    """Congestion avoidance: one segment a window (RFC 5681 section 3.1, byte counting of RFC 3465)."""
    c.cwnd_acc = c.cwnd_acc + acked
    if c.cwnd_acc >= c.cwnd:
        c.cwnd_acc = c.cwnd_acc - c.cwnd
        c.cwnd = c.cwnd + c.mss
    return 0


@kernel(I64(C_T, I64, I64))
def cubic_acked(c, acked, now):
    """RFC 9438 sections 4.2 to 4.5; windows in segments, time in seconds.

    The Reno-friendly estimate grows as Reno's window would between two reductions by 0.7 instead of 0.5, and as Reno's
    own once it has reached what the window was before the reduction (``cwnd_prior``; not W_max, which fast convergence
    puts lower).
    """
    mss = float(c.mss)
    window = c.cwnd / mss
    if c.cubic_epoch < 0:
        c.cubic_epoch = now
        if c.cubic_w_max <= window:
            c.cubic_w_max = window
            c.cubic_k = 0.0
        else:
            c.cubic_k = cube_root((c.cubic_w_max - window) / CUBIC_C)
        c.cubic_origin = c.cubic_w_max
        c.cubic_w_est = window
        c.cwnd_acc = 0
    t = (now - c.cubic_epoch + c.min_rtt) * 1e-9 - c.cubic_k
    target = c.cubic_origin + CUBIC_C * t * t * t
    alpha = CUBIC_ALPHA if c.cubic_w_est < c.cubic_prior else 1.0
    c.cubic_w_est = c.cubic_w_est + alpha * (acked / mss) / window
    target = min(max(target, window), 1.5 * window)
    # Reno-friendly region: never slower than Reno would be.
    gain = (target - window) / window * acked
    if c.cubic_w_est > window and (c.cubic_w_est - window) * mss > gain:
        gain = (c.cubic_w_est - window) * mss
    # Fractions of a byte gather in millionths, or small windows would never grow.
    c.cwnd_acc = c.cwnd_acc + int(gain * 1e6)
    c.cwnd = c.cwnd + c.cwnd_acc // 1_000_000
    c.cwnd_acc = c.cwnd_acc % 1_000_000
    return 0


@kernel(I64(W_T, C_T, I64, I64, I64))
def cc_acked(W, c, acked, flight, now):
    """``acked`` bytes were newly acknowledged while ``flight`` had been in flight. A window that was not used does not
    grow (RFC 7661)."""
    if W.tcp_cc == NONE:
        return 0
    if c.cwnd < c.ssthresh:
        if 2 * flight < c.cwnd:
            return 0
        acked = slow_start(c, acked)
        if acked <= 0:
            return 0
    elif flight + c.mss < c.cwnd:
        c.cubic_epoch = -1 if W.tcp_cc == CUBIC and flight < c.cwnd >> 1 else c.cubic_epoch
        return 0
    if W.tcp_cc == CUBIC:
        return cubic_acked(c, acked, now)
    return newreno_acked(c, acked)


@kernel(I64(W_T, C_T, I64, I64))
def cc_loss(W, c, flight, now):
    """A loss event: reduce the window once.

    While the loss was being found out, new data went out for what was reported to have arrived; it must not count as
    flight (RFC 5681 section 3.1 equation 4, RFC 6675 section 5 step 4.2), or the window is hardly reduced at all.
    """
    if W.tcp_cc == NONE:
        return 0
    flight = min(flight, c.cwnd)
    if W.tcp_cc == CUBIC:
        window = c.cwnd / float(c.mss)
        c.cubic_prior = window
        # Fast convergence (RFC 9438 section 4.7).
        c.cubic_w_max = window * (1.0 + CUBIC_BETA) / 2.0 if window < c.cubic_w_max else window
        c.cubic_epoch = -1
        c.ssthresh = max(int(flight * CUBIC_BETA), 2 * c.mss)
    else:
        c.ssthresh = max(flight >> 1, 2 * c.mss)
    c.cwnd = c.ssthresh
    c.cwnd_acc = 0
    return 0


@kernel(I64(W_T, C_T, I64, I64))
def cc_timeout(W, c, flight, now):
    """A retransmission timeout: back to one segment (RFC 5681 section 3.1). Only the first one in a row sets
    ssthresh. CUBIC then starts from where slow start ends, with K of zero (RFC 9438 section 4.8)."""
    if W.tcp_cc == NONE:
        return 0
    if c.backoff == 0:
        cc_loss(W, c, flight, now)
    c.cubic_w_max = 0.0
    c.cwnd = c.mss
    c.cwnd_acc = 0
    return 0
