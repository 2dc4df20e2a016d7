"""Acknowledgements held back: a gateway may acknowledge to the guest only what the far side has acknowledged to it.

Theory of operation
-------------------
``ack_hold`` is the number of payload bytes (the FIN counts one more) that may be acknowledged, -1 when nothing is held.
Held data has *arrived*: it is delivered, the window is opened by reading it, the state machine moves by it. Only the
number shown to the peer (:func:`ack_number`) stays behind ``rcv_nxt``, and what hangs on it:

* The window field is counted from the number shown, so that the right edge is where it would be without holding, as far
  as 16 bits reach.
* Data that is held calls for no acknowledgement: it could only repeat the last one, and three of those mean loss (RFC
  5681 section 3.2). A gap, a duplicate and a probe are answered as ever.
* SACK blocks are sent while nothing is held, DSACKs below the number shown. Ranges beyond a gap are no acknowledgement
  (RFC 2018 section 8); held data before the gap would look lost in them.
* The timestamp echoed is that of the segment in which the number shown lies (RFC 7323 section 4.3), so that the peer
  measures the way to whoever acknowledges; :func:`note_timestamp` remembers those of held data.
"""

from ..compiled.registry import I64, kernel
from .world import C_T, MARKS


@kernel(I64(C_T))
def ack_number(c):
    """Acknowledgement number to show to the peer."""
    if c.ack_hold < 0:
        return c.rcv_nxt
    return min(c.rcv_nxt, c.irs + 1 + c.ack_hold)


@kernel(I64(C_T))
def fin_held(c):
    """1 while the peer's FIN has arrived and must not be acknowledged yet."""
    return 1 if c.rcv_fin == -2 and ack_number(c) < c.rcv_nxt else 0


@kernel(I64(C_T, I64, I64))
def note_timestamp(c, seq, tsval):
    """Remember the timestamp of held data that begins at ``seq``; returns how many are remembered."""
    last = c.marks - 1
    if last >= 0 and (seq <= c.mark_seq[last] or tsval == c.mark_ts[last]):
        return c.marks
    if c.marks == MARKS:
        for i in range(MARKS >> 1):
            c.mark_seq[i] = c.mark_seq[2 * i]
            c.mark_ts[i] = c.mark_ts[2 * i]
        c.marks = MARKS >> 1
    c.mark_seq[c.marks] = seq
    c.mark_ts[c.marks] = tsval
    c.marks = c.marks + 1
    return c.marks


@kernel(I64(C_T, I64))
def settle_timestamps(c, now):
    """After an acknowledgement: the timestamp to echo next is that of the segment in which ``last_ack_sent`` lies."""
    gone = 0
    while gone < c.marks and c.mark_seq[gone] <= c.last_ack_sent:
        gone += 1
    if gone == 0:
        return 0
    newest = c.mark_ts[gone - 1]
    if (newest - c.ts_recent) & 0xFFFFFFFF < 0x80000000:
        c.ts_recent = newest
        c.ts_recent_at = now
    for i in range(gone, c.marks):
        c.mark_seq[i - gone] = c.mark_seq[i]
        c.mark_ts[i - gone] = c.mark_ts[i]
    c.marks = c.marks - gone
    return gone
