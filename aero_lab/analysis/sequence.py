"""The segments of one TCP flow with their numbers unwrapped: what a time-sequence graph draws, and what RTTs come
from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError
from .select import at_point, need, oriented

if TYPE_CHECKING:
    import pandas as pd

TIMESTAMPS = 12
"""Bytes of the timestamps option with its padding (RFC 7323 appendix A)."""
USED = (
    "frame_time", "point", "direction", "flow_id", "ip_src", "ip_dst", "srcport", "dstport", "tcp_seq", "tcp_ack",
    "tcp_len", "tcp_flags", "tcp_window_size", "tcp_options_mss_val", "tcp_options_wscale_shift", "tcp_options_sack_le",
    "tcp_options_sack_re", "cause",
)  # fmt: skip
"""Columns that :func:`stream` looks at."""
NEEDED = ("frame_time", "flow_id", "tcp_seq", "tcp_ack", "tcp_len", "tcp_flags", "tcp_window_size", "cause")
"""Those it cannot do without."""
SENT_AGAIN = ("retransmission", "duplicate")


@dataclass(frozen=True)
class Stream:
    """One direction of a flow at one point. Numbers are bytes from the first one seen, times ns of the capture."""

    flow_id: int
    direction: str
    """Of the data: ``tx`` leaves the guest, ``rx`` goes to it."""
    segments: Any
    """DataFrame, one row a segment with data, SYN or FIN: ``time, seq, end, again`` (whether its bytes had been sent
    before)."""
    acks: Any
    """DataFrame, one row a segment of the other direction that acknowledges: ``time, ack, edge`` (the right edge of
    the window it offers), ``sack_left, sack_right`` (first block, -1 without one), ``size`` of its own data."""
    other: tuple[str, str] = ("", "")
    """Sender and receiver as ``address:port``."""
    full: int = 0
    """Bytes of a full segment: what the receiver announced, less the room for timestamps, or the largest one seen."""


def unwrapped(numbers: np.ndarray, base: int) -> np.ndarray:
    """32-bit sequence numbers as distances from ``base``, each taken nearest to the one before it."""
    if not len(numbers):
        return np.zeros(0, np.int64)
    wire = numbers.astype(np.int64)
    steps = np.diff(wire, prepend=base)
    steps = (steps + (1 << 31)) % (1 << 32) - (1 << 31)
    return np.cumsum(steps)


def tcp_flows(frames: Any) -> list[int]:
    """Numbers of the TCP flows among rows of one point, those with most payload first."""
    rows = frames[frames["tcp_len"].notna() & frames["flow_id"].notna()]
    sums = rows.groupby(rows["flow_id"].astype(np.int64))["tcp_len"].sum()
    return [int(number) for number in sums.sort_values(ascending=False, kind="stable").index]


def stream(
    frames: pd.DataFrame, flow_id: int | None = None, direction: str | None = None, point: str | None = None
) -> Stream:
    """One direction of a TCP flow.

    Parameters
    ----------
    flow_id: which flow; the one with most payload when None.
    direction: of the data, ``"tx"`` or ``"rx"``; the one with more payload when None.
    point: capture point, as everywhere in :mod:`aero_lab.analysis`.
    """
    need(frames, *NEEDED)
    rows: Any = oriented(at_point(frames, point))
    known = tcp_flows(rows)
    if flow_id is None and known:
        flow_id = known[0]
    if flow_id not in known:
        raise UsageError("these frames hold no TCP flow" + ("" if flow_id is None else f" {flow_id}"))
    return of_flow(rows[(rows["flow_id"] == flow_id) & rows["tcp_len"].notna()], int(flow_id), direction)  # type: ignore[arg-type]


def of_flow(rows: Any, flow_id: int, direction: str | None) -> Stream:
    """As :func:`stream`, from the TCP segments of that flow at one point, whose directions are known."""
    import pandas as pd

    size = rows["tcp_len"].to_numpy(np.int64)
    ways = rows["direction"].astype(str).to_numpy()
    if direction is None:
        direction = max(("rx", "tx"), key=lambda way: int(size[ways == way].sum()))
    elif direction not in ("tx", "rx"):
        raise UsageError(f"direction must be 'tx' or 'rx', not {direction!r}")
    flags = rows["tcp_flags"].to_numpy(np.int64)
    times = rows["frame_time"].to_numpy(np.int64)
    mine = (ways == direction) & ((size > 0) | (flags & 3 > 0))
    theirs = (ways != direction) & (flags & 16 > 0) & (flags & 4 == 0)
    seq, ack = rows["tcp_seq"].to_numpy(np.int64), rows["tcp_ack"].to_numpy(np.int64)
    base = int(seq[mine][0]) if mine.any() else int(ack[theirs][0]) if theirs.any() else 0
    begins = unwrapped(seq[mine], base)
    length = size[mine] + (flags[mine] & 1) + (flags[mine] >> 1 & 1)
    acked = unwrapped(ack[theirs], base)
    left, right = _blocks(rows, theirs, ack[theirs], acked)
    window = rows["tcp_window_size"].to_numpy(np.int64, na_value=0)[theirs]
    # The window of a SYN is never scaled (RFC 7323 section 2.2).
    offered = np.where(flags[theirs] & 2 > 0, window, window << _shift(rows, ways, flags, direction))
    ends = rows[ways == direction]
    named = ("", "")
    if len(ends) and "ip_src" in ends.columns:
        first = ends.iloc[0]
        named = (f"{first['ip_src']}:{first['srcport']}", f"{first['ip_dst']}:{first['dstport']}")
    again = rows["cause"].isin(SENT_AGAIN).to_numpy(bool)[mine]
    segments: Any = pd.DataFrame({"time": times[mine], "seq": begins, "end": begins + length, "again": again})
    acks: Any = pd.DataFrame(
        {
            "time": times[theirs],
            "ack": acked,
            "edge": acked + offered,
            "sack_left": left,
            "sack_right": right,
            "size": size[theirs],
        }
    )
    full = max(int(size[mine].max()) if mine.any() else 0, _announced(rows, ways, flags, direction) - TIMESTAMPS)
    return Stream(flow_id, direction, segments, acks, named, full)


def _blocks(rows: Any, theirs: np.ndarray, wire: np.ndarray, acked: np.ndarray) -> list[np.ndarray]:
    """Edges of the first SACK block of each acknowledgement, taken nearest to what it acknowledges; -1 without one."""
    out = []
    for name in ("tcp_options_sack_le", "tcp_options_sack_re"):
        edge = np.full(len(acked), -1, np.int64)
        if name in rows.columns:
            chosen = rows[name].to_numpy(np.int64, na_value=-1)[theirs]
            has = chosen >= 0
            edge[has] = acked[has] + (chosen[has] - wire[has] + (1 << 31)) % (1 << 32) - (1 << 31)
        out.append(edge)
    return out


def _announced(rows: Any, ways: np.ndarray, flags: np.ndarray, direction: str) -> int:
    """MSS in the SYN of the acknowledging side; 0 when it was not seen."""
    if "tcp_options_mss_val" not in rows.columns:
        return 0
    told = rows["tcp_options_mss_val"].to_numpy(np.int64, na_value=0)[(flags & 2 > 0) & (ways != direction)]
    return int(told[0]) if len(told) else 0


def _shift(rows: Any, ways: np.ndarray, flags: np.ndarray, direction: str) -> int:
    """Window scale of the acknowledging side: from its SYN, if both SYNs were seen with the option; else 0."""
    if "tcp_options_wscale_shift" not in rows.columns:
        return 0
    shifts = rows["tcp_options_wscale_shift"].to_numpy(np.int64, na_value=-1)
    syn = (flags & 2 > 0) & (shifts >= 0)
    mine, theirs = shifts[syn & (ways == direction)], shifts[syn & (ways != direction)]
    return min(int(theirs[0]), 14) if len(mine) and len(theirs) else 0
