"""How long an answer took: from each segment of data to the first acknowledgement that covers it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..limits import MS, SECOND
from .select import at_point, by_flow, need, oriented
from .sequence import NEEDED, USED, of_flow, tcp_flows

if TYPE_CHECKING:
    import pandas as pd


def rtt(frames: pd.DataFrame, point: str | None = None) -> pd.DataFrame:
    """Round trips of TCP as a capture point sees them: one row a sample, in order of time.

    At the NIC, samples of direction ``tx`` are the way to the stack that acknowledges and back (the proxy's in option
    C), those of ``rx`` are the guest's own time to acknowledge; at the tunnel's far end it is the other way round.

    As a sender does, bytes that were sent more than once give no sample (Karn's algorithm, RFC 6298 section 3), nor do
    bytes that had to wait for earlier ones to be sent again: that is recovery, not distance.

    Columns: ``time_s`` of the acknowledgement since the first frame, ``flow_id``, ``direction`` of the data,
    ``rtt_ms``.
    """
    import pandas as pd

    need(frames, *NEEDED)
    rows: Any = oriented(at_point(frames, point))
    start = int(rows["frame_time"].min()) if len(rows) else 0
    parts = []
    own_rows = by_flow(rows.loc[rows["tcp_len"].notna(), [name for name in USED if name in rows.columns]])
    for flow in tcp_flows(rows):
        own = own_rows[flow]
        for direction in ("tx", "rx"):
            found = of_flow(own, flow, direction)
            times, values = _samples(found.segments, found.acks)
            parts.append(
                pd.DataFrame(
                    {
                        "time_s": (times - start) / SECOND,
                        "flow_id": flow,
                        "direction": direction,
                        "rtt_ms": values / MS,
                    }
                )
            )
    parts = [part for part in parts if len(part)]
    if not parts:
        return pd.DataFrame({"time_s": [], "flow_id": [], "direction": [], "rtt_ms": []})
    return pd.concat(parts).sort_values("time_s", kind="stable", ignore_index=True)


def _samples(segments: Any, acks: Any) -> tuple[np.ndarray, np.ndarray]:
    """Times of acknowledgement and round trips, in ns."""
    empty = np.zeros(0, np.int64)
    if not len(segments) or not len(acks):
        return empty, empty
    time, seq, end = (segments[name].to_numpy(np.int64) for name in ("time", "seq", "end"))
    # Which bytes were sent again: a segment is out when a later one begins before its end, or an earlier one ended
    # after its beginning.
    later = np.minimum.accumulate(seq[::-1])[::-1]
    later = np.append(later[1:], np.iinfo(np.int64).max)
    earlier = np.append(np.iinfo(np.int64).min, np.maximum.accumulate(end)[:-1])
    clean = (later >= end) & (earlier <= seq) & ~segments["again"].to_numpy(bool)
    reached = np.maximum.accumulate(acks["ack"].to_numpy(np.int64))
    at = np.searchsorted(reached, end[clean], side="left")
    found = at < len(reached)
    when = acks["time"].to_numpy(np.int64)[at[found]]
    sent = time[clean][found]
    # A block reported before the acknowledgement reached this far: the bytes had to wait for others.
    right = np.maximum.accumulate(acks["sack_right"].to_numpy(np.int64))
    first_hole = np.searchsorted(right, end[clean][found], side="left")
    fit = (when >= sent) & (first_hole >= at[found])
    return when[fit], (when - sent)[fit]
