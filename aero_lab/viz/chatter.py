"""ACK chatter over time: how many acknowledgements went one way for the data that went the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import analysis
from ..analysis.bandwidth import duration_ns, interval_for
from ..analysis.select import at_point
from .style import BLUE, ORANGE, PALE, new_axes, no_data, plain, span

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def acks(
    frames: pd.DataFrame, ax: Axes | None = None, interval: str | float | None = None, point: str | None = None
) -> Axes:
    """Draw data segments and pure ACKs per second, one step an interval; the title has the ratio over all.

    The dotted line is half the data segments: where a receiver that acknowledges every second one would be.
    """
    ax = ax or new_axes(7.2, 3.2)
    rows: Any = at_point(frames, point)
    rows = rows[rows["tcp_len"].notna()] if "tcp_len" in rows.columns else rows[:0]
    if not len(rows):
        return no_data(ax, "no TCP segments")
    times = rows["frame_time"].to_numpy(np.int64)
    start, length = int(times.min()), int(times.max() - times.min()) + 1
    width = duration_ns(interval) if interval is not None else interval_for(length)
    steps = -(-length // width)
    scale, unit = (1e6, "ms") if length < 2e9 else (1e9, "s")
    edges = np.arange(steps + 1) * (width / scale)
    step = (times - start) // width
    data = np.bincount(step[rows["tcp_len"].to_numpy(np.int64) > 0], minlength=steps) * (1e9 / width)
    pure = np.bincount(step[(rows["cause"] == "ack").to_numpy(bool)], minlength=steps) * (1e9 / width)
    ax.stairs(data, edges, color=BLUE, linewidth=1.4, label="data segments")
    ax.stairs(data / 2, edges, color=BLUE, linewidth=0.9, linestyle=":", zorder=3, label="half of them")
    ax.stairs(pure, edges, color=ORANGE, linewidth=1.4, fill=True, alpha=0.85, label="pure ACKs")
    figures = analysis.acks(frames, point)
    ratio = figures.acks_per_data_segment
    told = "no data" if ratio is None else f"{ratio:.2f} ACKs for each data segment"
    share = "" if figures.ack_share is None else f", {figures.ack_share:.1%} of the bytes"
    ax.set_title(f"{told}{share}; steps of {span(width)}", fontsize=9, loc="left")
    ax.set_xlim(0, edges[-1])
    ax.set_ylim(0, max(float(max(data.max(), pure.max())) * 1.05, 1e-9))
    ax.set_xlabel(f"time since the first segment ({unit})")
    ax.set_ylabel("segments per second")
    ax.grid(axis="y", color=PALE, linewidth=0.6)
    plain(ax)
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    return ax
