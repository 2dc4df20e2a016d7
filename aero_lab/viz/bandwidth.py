"""Bandwidth over time, stacked by what the bytes were spent on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import analysis
from ..analysis.select import at_point
from .style import CAUSE_COLOURS, CAUSE_HATCHES, PALE, cause_label, new_axes, no_data, plain, span

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
    table = analysis.bandwidth(frames, interval, point, direction)
    if table.empty or not len(table.columns):
        return no_data(ax, "no frames")
    width = table.attrs["interval_ns"] / 1e9
    edges = np.append(table.index.to_numpy(), table.index[-1] + width)
    scale, unit = (1e3, "ms") if edges[-1] < 2 else (1, "s")
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
    ax.set_xlim(0, edges[-1] * scale)
    ax.set_ylim(0, max(float(below.max()) * 1.05, 1e-9))
    ax.set_xlabel(f"time since the first frame ({unit})")
    ax.set_ylabel("bandwidth (Mbit/s)")
    ax.grid(axis="y", color=PALE, linewidth=0.6)
    plain(ax)
    seen = at_point(frames, point)["point"].astype(str)
    where = {"nic": "NIC"}.get(seen.iloc[0], seen.iloc[0])
    way = {"tx": "from the guest", "rx": "to the guest"}.get(direction or "", "both directions")
    ax.set_title(f"at the {where}, {way}, in steps of {span(table.attrs['interval_ns'])}", fontsize=9, loc="left")
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(
        handles[::-1], labels[::-1], loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=8,
        borderaxespad=0, title="cause, share of bytes", title_fontsize=8, alignment="left",
    )  # fmt: skip
    return ax
