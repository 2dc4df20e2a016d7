"""The time-sequence graph of one direction of a TCP flow: what was sent, what was acknowledged, what was allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..analysis.sequence import stream
from .style import (
    BLUE,
    FAINT,
    GREEN,
    ORANGE,
    VERMILION,
    beside,
    grid,
    new_axes,
    no_data,
    numbers,
    plain,
    point_label,
    reach,
    table,
    time_axis,
    title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDED = (
    "frame_time",
    "flow_id",
    "direction",
    "tcp_seq",
    "tcp_ack",
    "tcp_len",
    "tcp_flags",
    "tcp_window_size",
    "cause",
)


def time_sequence(
    frames: Any,
    ax: Axes | None = None,
    flow_id: int | None = None,
    direction: str | None = None,
    point: str | None = None,
) -> Axes:
    """Draw the segments of :func:`aero_lab.analysis.stream` over time, as Van Jacobson and tcptrace did.

    Each segment is a vertical stroke from its first to its last byte; one sent again is vermilion and thick, with a
    triangle on top. The orange steps below are what has been acknowledged, green strokes what SACK reported beyond it,
    and the grey steps above are the right edge of the window. The distance from orange to blue is what is in flight,
    that from blue to grey what could still be sent.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    ax = ax or new_axes(7.2, 3.8)
    frames = table(frames, *NEEDED)
    if not len(frames) or not frames["tcp_len"].notna().any():
        return no_data(ax, "no TCP segments")
    found = stream(frames, flow_id, direction, point)
    sent, acks = found.segments, found.acks
    if not len(sent) and not len(acks):
        return no_data(ax, "no segments of this flow")
    start = min(int(part["time"].iloc[0]) for part in (sent, acks) if len(part))
    stop = max(int(part["time"].iloc[-1]) for part in (sent, acks) if len(part))
    scale, unit = time_axis(stop - start)
    high = int(max(sent["end"].max() if len(sent) else 0, acks["ack"].max() if len(acks) else 0))
    size, label = (1e6, "MB") if high >= 2e6 else (1e3, "kB") if high >= 2e3 else (1, "bytes")

    def strokes(part: Any, low: str, top: str, colour: str, width: float) -> None:
        x = (part["time"].to_numpy() - start) / scale
        ends = np.stack([part[low].to_numpy() / size, part[top].to_numpy() / size], axis=1)
        lines = [((at, a), (at, b)) for at, (a, b) in zip(x.tolist(), ends.tolist())]
        ax.add_collection(LineCollection(lines, colors=colour, linewidths=width, capstyle="butt"))

    handles = []
    if len(acks):
        # Both hold until the last segment.
        x = (np.append(acks["time"].to_numpy(), stop) - start) / scale
        for name, colour, width in (("edge", FAINT, 0.8), ("ack", ORANGE, 1.2)):
            reached = acks[name].cummax().to_numpy() / size
            ax.step(x, np.append(reached, reached[-1:]), where="post", color=colour, linewidth=width)
        blocks = acks[acks["sack_right"] >= 0]
        strokes(blocks, "sack_left", "sack_right", GREEN, 0.8)
        handles += [Line2D([], [], color=FAINT, lw=0.8, label="edge of the window")]
    first, again = sent[~sent["again"]], sent[sent["again"]]
    strokes(first, "seq", "end", BLUE, 1.4)
    strokes(again, "seq", "end", VERMILION, 2.2)
    ax.plot((again["time"] - start) / scale, again["end"] / size, linestyle="", marker="v", markersize=4,
            color=VERMILION, markeredgecolor="white", markeredgewidth=0.4)  # fmt: skip
    handles += [Line2D([], [], color=BLUE, lw=2, label=f"sent: {len(first):,} segments")]
    if len(again):
        handles += [Line2D([], [], color=VERMILION, lw=2, marker="v", ms=4, label=f"sent again: {len(again):,}")]
    if len(acks):
        handles += [Line2D([], [], color=ORANGE, lw=1.2, label=f"acknowledged: {len(acks):,} ACKs")]
        if len(blocks):
            handles += [Line2D([], [], color=GREEN, lw=1.2, label="reported by SACK")]
    low = int(min(sent["seq"].min() if len(sent) else 0, 0))
    room = max(high - low, 1)
    reach(ax, max((stop - start) / scale * 1.01, 1e-9))
    # The window's edge may lie far above; the picture is of the data.
    ax.set_ylim((low - 0.02 * room) / size, (high + 0.12 * room) / size)
    ax.set_xlabel(f"time since the flow's first segment ({unit})")
    ax.set_ylabel(f"sequence number ({label})")
    numbers(ax.yaxis)
    numbers(ax.xaxis)
    grid(ax)
    plain(ax)
    seen = point_label(point or _point(frames))
    ends = " → ".join(end for end in found.other if end) or f"flow {found.flow_id}"
    title(ax, f"{ends}, as seen at the {seen}" if seen else ends)
    beside(ax, handles)
    return ax


def _point(frames: Any) -> str:
    from ..analysis.select import at_point

    rows = at_point(frames)
    return str(rows["point"].iloc[0]) if "point" in rows.columns and len(rows) else ""
