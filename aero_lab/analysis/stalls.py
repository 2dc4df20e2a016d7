"""Gaps in which a TCP stream did not move, each with the reason that the frames around it tell.

Theory of operation
-------------------
A gap is looked for where the data is received (at the NIC for data to the guest, at the tunnel's far end for data from
it, when both points were recorded), between one segment of data and the next, while the stream is open. What ended the
gap, and what was known when it began, names its cause; the first that fits counts:

1. **zero window**: the receiver's offered window had no room for a segment when the gap began.
2. **RTO**: the sender sent something again, and nothing had told it of a loss: no SACK block and fewer than three
   duplicate ACKs since the last progress.
3. **head of line**: the segment that ended the gap had been sent earlier and waited in the tunnel for half of the gap
   or more, and others came out with it at once: they stood behind one that was missing.
4. **tunnel queue**: the same, alone: it stood in a queue that drained at its rate.
5. **loss recovery**: the sender sent something again because it was told.
6. **delayed ACK and Nagle**: the last segment before the gap was short, was not acknowledged, and the next one
   was sent right after its acknowledgement.
7. **application idle**: everything sent had been acknowledged for most of the gap: nobody had anything to send.
8. **waiting for ACKs**: data was under way and the sender waited for acknowledgements: its congestion window.

Rules 3 and 4 need both points; with one they cannot be told from the others, and a gap falls to what else fits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..limits import MS, SECOND
from .bandwidth import duration_ns
from .select import at_point, need
from .sequence import Stream, stream, tcp_flows

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
"""Segments that leave the tunnel within this time of each other came out at once."""
COLUMNS = ("start_s", "ms", "flow_id", "direction", "label", "seq")


def stalls(frames: Any, at_least: str | float | None = None, point: str | None = None) -> pd.DataFrame:
    """Gaps of at least ``at_least`` (100 ms when None) in each direction of each TCP flow, longest first.

    Columns: ``start_s`` since the first frame of the capture, ``ms`` long, ``flow_id``, ``direction`` of the data,
    ``label`` (see the module), ``seq`` of the segment that ended it, in bytes of the stream. ``point`` looks at both
    directions there; by default each is looked at where it is received.
    """
    import pandas as pd

    need(frames, "frame_time", "flow_id", "direction", "tcp_seq", "tcp_len", "cause")
    least = AT_LEAST if at_least is None else duration_ns(at_least)
    seen = set(frames["point"].unique()) if "point" in frames.columns else set()
    begin = int(frames["frame_time"].min()) if len(frames) else 0
    rows: list[tuple] = []
    for direction, receiver, sender in (("rx", "nic", "tunnel"), ("tx", "tunnel", "nic")):
        here = point or (receiver if receiver in seen else None)
        both = point is None and {"nic", "tunnel"} <= seen
        at_receiver: Any = at_point(frames, here)
        for flow in tcp_flows(at_receiver):
            own = frames[frames["flow_id"] == flow]
            arrived = stream(own, flow, direction, here)
            if not len(arrived.segments):
                continue
            sent = stream(own, flow, direction, sender) if both else arrived
            delays = _delays(own, direction, here) if both else {}
            for start, end, at in _gaps(arrived, least):
                label = _label(arrived, sent, delays, start, end, at)
                first = int(arrived.segments["seq"].iloc[at])
                rows.append(((start - begin) / SECOND, (end - start) / MS, flow, direction, label, first))
    table: Any = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.sort_values(["ms", "start_s"], ascending=[False, True], kind="stable", ignore_index=True)


def _gaps(found: Stream, least: int) -> list[tuple[int, int, int]]:
    """``(start, end, number of the segment that ended it)`` of each gap between segments."""
    times = found.segments["time"].to_numpy(np.int64)
    wide = np.flatnonzero(np.diff(times) >= least)
    return [(int(times[i]), int(times[i + 1]), int(i + 1)) for i in wide]


def _delays(rows: Any, direction: str, point: str | None) -> dict[int, int]:
    """Time in the tunnel of each segment that arrived, by its time of arrival (the longest, if several)."""
    there = rows[(rows["direction"] == direction) & (rows["point"] == point) & rows["tunnel_delay"].notna()]
    out: dict[int, int] = {}
    for when, wait in zip(there["frame_time"].tolist(), there["tunnel_delay"].tolist()):
        out[when] = max(out.get(when, 0), int(wait))
    return out


def _label(arrived: Stream, sent: Stream, delays: dict[int, int], start: int, end: int, at: int) -> str:
    gap = end - start
    segments, acks = arrived.segments, arrived.acks
    ended = segments.iloc[at]
    before = segments.iloc[:at]
    reached = int(before["end"].max())
    mss = int((segments["end"] - segments["seq"]).max())
    known = acks[acks["time"] <= start + TOGETHER]
    if len(known):
        edge = int(known["edge"].max())
        opened = acks[(acks["time"] > start) & (acks["time"] <= end) & (acks["edge"] > edge)]
        if edge - reached < min(mss, int(ended["end"] - ended["seq"])) and len(opened):
            return "zero window"
    wait = delays.get(int(ended["time"]), 0)
    copies = sent.segments[(sent.segments["seq"] <= int(ended["seq"])) & (sent.segments["end"] > int(ended["seq"]))]
    first_sent = int(copies["time"].iloc[0]) if len(copies) else end
    if (ended["again"] or len(copies) > 1) and 2 * (first_sent - start) < gap:
        told = acks[(acks["time"] >= start - gap) & (acks["time"] < end) & (acks["ack"] <= int(ended["end"]))]
        repeats = int((told["ack"] == told["ack"].max()).sum()) - 1 if len(told) else 0
        if not (told["sack_right"] > told["ack"]).any() and repeats < 3:
            return "RTO"
        if 2 * wait < gap:
            return "loss recovery"
    if 2 * wait >= gap:
        along = segments[(segments["time"] >= end) & (segments["time"] <= end + TOGETHER)]
        return "head of line" if len(along) > 1 else "tunnel queue"
    last = before.iloc[-1]
    acked = acks[(acks["ack"] >= reached) & (acks["time"] <= end)]
    if not len(acked):
        return "waiting for ACKs"
    done = int(acked["time"].iloc[0])
    if done - start > gap // 2 and int(last["end"] - last["seq"]) < mss and 4 * (end - done) <= gap:
        return "delayed ACK and Nagle"
    return "application idle" if 2 * (done - start) <= gap else "waiting for ACKs"
