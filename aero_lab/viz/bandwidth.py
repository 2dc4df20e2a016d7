"""Bandwidth over time, stacked by what the bytes were spent on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import analysis
from ..analysis.select import at_point
from .style import (
    CAUSE_COLOURS,
    CAUSE_HATCHES,
    PALE,
    beside,
    cause_label,
    grid,
    new_axes,
    no_data,
    numbers,
    plain,
    point_label,
    reach,
    span,
    time_axis,
    title,
    way_label,
)
from .style import table as checked

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def bandwidth(
    frames: pd.DataFrame,
    ax: Axes | None = None,
    interval: str | float | None = None,
    point: str | None = None,
    direction: str | None = None,
) -> Axes:
    """Draw :func:`aero_lab.analysis.bandwidth`: one step an interval, causes stacked, the largest at the bottom.

    The legend gives each cause's share of the bytes; they add up to all bytes at that point.
    """
    ax = ax or new_axes(7.2, 3.2)
    frames = checked(frames, "frame_time", "frame_len", "cause", *(() if direction is None else ("direction",)))
    if not len(frames):
        return no_data(ax, "no frames")
    table = analysis.bandwidth(frames, interval, point, direction)
    if table.empty or not len(table.columns):
        return no_data(ax, "no frames")
    width = table.attrs["interval_ns"] / 1e9
    edges = np.append(table.index.to_numpy(), table.index[-1] + width)
    size, unit = time_axis(edges[-1] * 1e9)
    scale = 1e9 / size
    below = np.zeros(len(table))
    total = float(table.to_numpy().sum())
    for cause in table.columns:
        values = table[cause].to_numpy()
        share = values.sum() / total if total else 0.0
        percent = f"{share:.1%}" if share >= 0.001 else "<0.1%"
        ax.stairs(
            below + values, edges * scale, baseline=below, fill=True, facecolor=CAUSE_COLOURS.get(cause, PALE),
            hatch=CAUSE_HATCHES.get(cause), edgecolor="white", linewidth=0, label=f"{cause_label(cause)}  {percent}",
        )  # fmt: skip
        below = below + values
    reach(ax, edges[-1] * scale)
    ax.set_ylim(0, max(float(below.max()) * 1.05, 1e-9))
    ax.set_xlabel(f"time since the first frame ({unit})")
    ax.set_ylabel("bandwidth (Mbit/s)")
    numbers(ax.yaxis)
    numbers(ax.xaxis)
    grid(ax, "y")
    plain(ax)
    seen = at_point(frames, point)["point"].astype(str) if "point" in frames.columns else []
    where = f"at the {point_label(seen.iloc[0])}, " if len(seen) else ""
    way = way_label(direction, frames) or "both directions"
    title(ax, f"{where}{way}, in steps of {span(table.attrs['interval_ns'])}")
    handles, _ = ax.get_legend_handles_labels()
    beside(ax, handles[::-1], title="cause, share of bytes")
    return ax
