"""Stalls along a flow: what arrived over time, and why for a while nothing did."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import analysis
from ..analysis.stalls import LABELS
from .sequence import NEEDED
from .style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    OLIVE,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    WINE,
    beside,
    grid,
    milliseconds,
    new_axes,
    no_data,
    numbers,
    plain,
    reach,
    table,
    time_axis,
    title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STALL_COLOURS = dict(zip(LABELS, (PURPLE, VERMILION, WINE, ORANGE, GREEN, OLIVE, "#B0B0B0", SKY)))
STALL_HATCHES = dict(zip(LABELS, ("xxxx", "////", "\\\\\\\\", "....", "||||", "----", None, "++++")))
"""One look for each label of :func:`aero_lab.analysis.stalls`."""
APART = 0.1
"""Lengths are written above gaps that are this far from each other, as a share of the picture's width."""


def stalls(
    frames: Any,
    ax: Axes | None = None,
    flow_id: int | None = None,
    direction: str | None = None,
    at_least: str | float | None = None,
) -> Axes:
    """Draw the bytes of a flow as they arrived, and each gap of :func:`aero_lab.analysis.stalls` in its label's colour.

    Parameters
    ----------
    flow_id, direction: of the data; the flow and the direction with most when None.
    at_least: shortest gap, 100 ms when None.

    The line is what had arrived without holes, where the data is received. The legend says for each label how many gaps
    there are and how long they are together.
    """
    ax = ax or new_axes(7.2, 3.4)
    frames = table(frames, *NEEDED)
    if not len(frames) or not frames["tcp_len"].notna().any():
        return no_data(ax, "no TCP segments")
    found = analysis.stream(frames, flow_id, direction)
    here = {"rx": "nic", "tx": "tunnel"}[found.direction]
    points = set(frames["point"].unique()) if "point" in frames.columns else set()
    if here in points:
        found = analysis.stream(frames, found.flow_id, found.direction, here)
    arrived = found.segments
    if len(arrived) < 2:
        return no_data(ax, "no segments of this flow")
    own = frames[frames["flow_id"] == found.flow_id]
    gaps: Any = analysis.stalls(own, at_least)
    gaps = gaps[gaps["direction"] == found.direction]
    # Of gaps, times count from the first frame of the flow at any point; of the line, from its first segment here.
    zero = int(own["frame_time"].min())
    times = arrived["time"].to_numpy(np.int64) - zero
    scale, unit = time_axis(times[-1] - times[0])
    factor = 1e9 / scale
    left, right = times[0] / scale, max(times[-1] / scale, times[0] / scale + 1e-9)
    high = float(arrived["end"].max())
    size, label = (1e6, "MB") if high >= 2e6 else (1e3, "kB") if high >= 2e3 else (1, "bytes")
    top = max(high / size, 1e-9)
    seen: set[str] = set()
    for row in gaps.sort_values("start_s").to_dict("records"):
        begin, length = row["start_s"] * factor, row["ms"] / 1e3 * factor
        name = row["label"]
        same = gaps[gaps["label"] == name]
        told = f"{name}: {len(same)}, {milliseconds(float(same['ms'].sum()))}" if name not in seen else None
        seen.add(name)
        ax.axvspan(
            begin, begin + length, facecolor=STALL_COLOURS.get(name, INK), hatch=STALL_HATCHES.get(name), alpha=0.8,
            edgecolor="white", linewidth=0, label=told, zorder=1,
        )  # fmt: skip
    _lengths(ax, gaps, factor, left, right - left, top)
    x, ordered, highest = times / scale, _in_order(arrived) / size, arrived["end"].cummax() / size
    for values in (highest, ordered):
        ax.step(x, values, where="post", color="white", linewidth=3.2, zorder=2)
    if (highest > ordered).any():
        ax.step(x, highest, where="post", color=FAINT, linewidth=0.9, linestyle=(0, (3, 1.5)), zorder=3,
                label="the highest that arrived")  # fmt: skip
    ax.step(x, ordered, where="post", color=BLUE, linewidth=1.5, zorder=3, label="bytes in order")
    reach(ax, right + 0.01 * (right - left), left)
    ax.set_ylim(0, top * 1.14)
    ax.set_xlabel(f"time since the flow's first segment ({unit})")
    ax.set_ylabel(f"bytes of the stream ({label})")
    numbers(ax.yaxis)
    numbers(ax.xaxis)
    grid(ax)
    plain(ax)
    ends = " → ".join(end for end in found.other if end) or f"flow {found.flow_id}"
    share = float(gaps["ms"].sum()) / 1e3 / max((times[-1] - times[0]) / 1e9, 1e-12)
    title(ax, f"{ends}: {len(gaps)} gaps, {min(share, 1):.0%} of the time" if len(gaps) else f"{ends}: no gaps")
    handles, labels = ax.get_legend_handles_labels()
    lines = [i for i, handle in enumerate(handles) if hasattr(handle, "get_linestyle") and hasattr(handle, "get_data")]
    rest = [i for i in range(len(handles)) if i not in lines]
    beside(ax, [handles[i] for i in [*reversed(lines), *rest]], title="gaps: how many, how long" if rest else None)
    return ax


def _in_order(arrived: Any) -> np.ndarray:
    """Up to which byte everything had arrived, at each segment."""
    out, waiting = np.empty(len(arrived), np.int64), []
    reached = int(arrived["seq"].min())
    for i, (seq, end) in enumerate(zip(arrived["seq"].tolist(), arrived["end"].tolist())):
        if seq <= reached:
            reached = max(reached, end)
            while waiting and waiting[0][0] <= reached:
                reached = max(reached, heappop(waiting)[1])
        else:
            heappush(waiting, (seq, end))
        out[i] = reached
    return out


def _lengths(ax: Axes, gaps: Any, factor: float, left: float, width: float, top: float) -> None:
    """Write the lengths of gaps above them, the longest first, as far as they keep apart."""
    written: list[float] = []
    for row in gaps.sort_values("ms", ascending=False, kind="stable").to_dict("records"):
        middle = (row["start_s"] + row["ms"] / 2e3) * factor
        middle = min(max(middle, left + APART / 2 * width), left + (1 - APART / 2) * width)
        if all(abs(middle - other) >= APART * width for other in written):
            written.append(middle)
            ax.text(
                middle, top * 1.04, milliseconds(row["ms"]), ha="center", va="bottom", fontsize=7, color=INK,
                bbox={"boxstyle": "square,pad=0.12", "facecolor": "white", "edgecolor": "none"},
            )  # fmt: skip
