"""Gaps in which a TCP stream did not move, each with the reason that the frames around it tell.

Theory of operation
-------------------
A gap is looked for where the data is received (at the NIC for data to the guest, at the tunnel's far end for data from
it, when both points were recorded), between one segment of data and the next, while the stream is open. What ended the
gap, and what was known when it began, names its cause; the first that fits counts:

1. **zero window**: the receiver's offered window had no room for a segment when the gap began, and opened in it.
2. **head of line**: the segment that ended the gap, not one that was sent again, waited in the tunnel for half of the
   gap or more beyond what the path takes, and others came out with it at once: they stood behind one that was missing.
3. **tunnel queue**: the same, alone: it stood in a queue that drained at its rate.
4. **RTO**: the segment that ended the gap was sent again, and nothing had told the sender of a loss: no SACK block and
   fewer than three duplicate ACKs since the last progress. (A tail loss probe is a timer's, too.)
5. **loss recovery**: it was sent again because the sender was told.
6. **delayed ACK and Nagle**: the last segment before the gap was short, its acknowledgement was held back, and the
   next one was sent the moment that came.
7. **waiting for ACKs**: the sender sent on when an acknowledgement came, and because of it: its congestion window, or
   a window that the receiver offered, was all under way.
8. **application idle**: the sender could have sent, and had nothing to send.

Rules 2 and 3 need both points (they use :func:`~aero_lab.analysis.join.join`); with one a gap falls to what else fits.
Rules 6 to 8 look at what the sender saw when both points were recorded. With one they go by the acknowledgement's share
of the gap: 6 when it took more than half and the answer to it less than a quarter, 8 when it took less than half.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..limits import MS, SECOND
from .bandwidth import duration_ns
from .join import join
from .select import at_point, by_flow, need, oriented
from .sequence import NEEDED, USED, Stream, of_flow, tcp_flows

if TYPE_CHECKING:
    import pandas as pd

LABELS = (
    "zero window",
    "RTO",
    "head of line",
    "tunnel queue",
    "loss recovery",
    "delayed ACK and Nagle",
    "application idle",
    "waiting for ACKs",
)
AT_LEAST = 100 * MS
TOGETHER = 1 * MS
"""Segments that leave the tunnel within this time of each other came out at once, and what a sender does within this
time of an acknowledgement it does because of it."""
HELD_BACK = 10 * MS
"""An acknowledgement that comes so long after its data was delayed on purpose: the least that stacks wait is 40 ms
(Linux), and no receiver takes so long to answer at once."""
COLUMNS = ("start_s", "ms", "flow_id", "direction", "label", "seq")


def stalls(frames: Any, at_least: str | float | None = None, point: str | None = None) -> pd.DataFrame:
    """Gaps of at least ``at_least`` (100 ms when None) in each direction of each TCP flow, longest first.

    Columns: ``start_s`` since the first frame of the capture, ``ms`` long, ``flow_id``, ``direction`` of the data,
    ``label`` (see the module), ``seq`` of the segment that ended it, in bytes of the stream. ``point`` looks at both
    directions there; by default each is looked at where it is received.
    """
    import pandas as pd

    need(frames, *NEEDED)
    frames = oriented(frames)
    least = AT_LEAST if at_least is None else duration_ns(at_least)
    seen = set(frames["point"].unique()) if "point" in frames.columns else set()
    both = point is None and {"nic", "tunnel"} <= seen
    begin = int(frames["frame_time"].min()) if len(frames) else 0
    delays = join(frames) if both and "frame_id" in frames.columns else None
    rows: list[tuple] = []
    narrow: Any = frames[[name for name in USED if name in frames.columns]]
    own_rows = by_flow(narrow[narrow["tcp_len"].notna()])
    for direction, receiver, sender in (("rx", "nic", "tunnel"), ("tx", "tunnel", "nic")):
        here = point or (receiver if receiver in seen else None)
        at_receiver: Any = at_point(narrow, here)
        stood = _that_stood(at_receiver, direction, least)
        for flow in tcp_flows(at_receiver):
            if flow not in stood:
                continue
            own = own_rows[flow]
            arrived = of_flow(at_point(own, here), flow, direction)
            gaps = _gaps(arrived, least)
            if not gaps:
                continue
            sent = of_flow(at_point(own, sender), flow, direction) if both else None
            held = _held(delays, flow, direction) if delays is not None else {}
            for start, end, at in gaps:
                label = _label(arrived, sent, held, start, end, at)
                first = int(arrived.segments["seq"].iloc[at])
                rows.append(((start - begin) / SECOND, (end - start) / MS, flow, direction, label, first))
    table: Any = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.sort_values(["ms", "start_s"], ascending=[False, True], kind="stable", ignore_index=True)


def _that_stood(rows: Any, direction: str, least: int) -> set[int]:
    """Flows with a gap in that direction; most of many have none, and need no closer look."""
    chosen = rows["tcp_len"].notna().to_numpy(bool) & (rows["direction"] == direction).to_numpy(bool)
    chosen &= rows["flow_id"].notna().to_numpy(bool)
    part = rows[chosen]
    moves = (part["tcp_len"].to_numpy(np.int64) > 0) | (part["tcp_flags"].to_numpy(np.int64) & 3 > 0)
    flow, times = part["flow_id"].to_numpy(np.int64)[moves], part["frame_time"].to_numpy(np.int64)[moves]
    order = np.argsort(flow, kind="stable")
    wide = (np.diff(times[order]) >= least) & (np.diff(flow[order]) == 0)
    return set(flow[order][1:][wide].tolist())


def _gaps(found: Stream, least: int) -> list[tuple[int, int, int]]:
    """``(start, end, number of the segment that ended it)`` of each gap between segments."""
    times = found.segments["time"].to_numpy(np.int64)
    wide = np.flatnonzero(np.diff(times) >= least)
    return [(int(times[i]), int(times[i + 1]), int(i + 1)) for i in wide]


def _held(delays: Any, flow: int, direction: str) -> dict[int, int]:
    """Longest wait in the tunnel beyond what the path takes, of what came out at each moment."""
    own = delays[(delays["flow_id"] == flow) & (delays["direction"] == direction) & delays["tunnel_delay"].notna()]
    wait = (own["queue_delay"] + own["hol_delay"]).to_numpy(np.int64)
    out: dict[int, int] = {}
    for when, longest in zip(own["arrived_time"].tolist(), wait.tolist()):
        out[when] = max(out.get(when, 0), longest)
    return out


def _label(arrived: Stream, sent: Stream | None, held: dict[int, int], start: int, end: int, at: int) -> str:
    gap = end - start
    segments, acks = arrived.segments, arrived.acks
    ended = segments.iloc[at]
    first, last = int(ended["seq"]), int(ended["end"])
    before = segments.iloc[:at]
    reached = int(before["end"].max())
    mss = arrived.full
    known = acks[acks["time"] <= start + TOGETHER]
    if len(known) and not ended["again"]:
        edge = int(known["edge"].max())
        opened = acks[(acks["time"] > start) & (acks["time"] <= end) & (acks["edge"] > edge)]
        if edge - reached < min(mss, last - first) and len(opened):
            return "zero window"
    along = segments[(segments["time"] >= end) & (segments["time"] <= end + TOGETHER)]
    in_tunnel = "head of line" if len(along) > 1 else "tunnel queue"
    waited = 2 * held.get(int(ended["time"]), 0) >= gap
    if waited and not ended["again"]:
        return in_tunnel
    origin = arrived if sent is None else sent
    copies = origin.segments[(origin.segments["seq"] <= first) & (origin.segments["end"] > first)]
    first_sent = int(copies["time"].iloc[0]) if len(copies) else end
    if ended["again"] and 2 * (first_sent - start) < gap:
        told = acks[(acks["time"] >= start - gap) & (acks["time"] < end) & (acks["ack"] <= last)]
        repeats = int((told["ack"] == told["ack"].max()).sum()) - 1 if len(told) else 0
        if not (told["sack_right"] > told["ack"]).any() and repeats < 3:
            return "RTO"
        if not waited:
            return "loss recovery"
    if waited:
        return in_tunnel
    return _of_the_sender(arrived, sent, start, end, before, reached, mss, first_sent)


def _of_the_sender(
    arrived: Stream, sent: Stream | None, start: int, end: int, before: Any, reached: int, mss: int, first_sent: int
) -> str:
    """Why a sender that lost nothing, and had a window, did not send."""
    gap = end - start
    acked = arrived.acks[(arrived.acks["ack"] >= reached) & (arrived.acks["time"] <= end)]
    if not len(acked):
        return "waiting for ACKs"
    done = int(acked["time"].iloc[0])
    short = int(before["end"].iloc[-1] - before["seq"].iloc[-1]) < mss
    if sent is None:
        if short and done - start > gap // 2 and 4 * (end - done) <= gap:
            return "delayed ACK and Nagle"
        return "application idle" if 2 * (done - start) <= gap else "waiting for ACKs"
    # Did an acknowledgement, one that brought no data of its own to answer, let the next segment go?
    earlier = sent.acks[sent.acks["time"] < first_sent - TOGETHER]
    came = sent.acks[(sent.acks["time"] >= first_sent - TOGETHER) & (sent.acks["time"] <= first_sent)]
    came = came[(came["size"] == 0) & (came["ack"] > (int(earlier["ack"].max()) if len(earlier) else -1))]
    if not len(came):
        return "application idle"
    held_back = short and done - start >= HELD_BACK and int(came["ack"].max()) >= reached
    return "delayed ACK and Nagle" if held_back else "waiting for ACKs"
