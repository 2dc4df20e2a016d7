"""ACK chatter: how many acknowledgements went one way for the data that went the other, and what fewer would save."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import analysis
from ..analysis.bandwidth import NICE_INTERVALS, duration_ns
from ..analysis.select import at_point
from .style import (
    BLUE,
    INK,
    ORANGE,
    beside,
    grid,
    label_of,
    looks,
    milliseconds,
    new_axes,
    no_data,
    numbers,
    plain,
    reach,
    span,
    table,
    tables,
    time_axis,
    title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDED = ("frame_time", "frame_len", "tcp_len", "cause", "flow_id")
STEPS = 60
"""At most so many steps in time when no interval is given."""
BARS = [(0, 0), (1, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, 32), (33, 64), (65, 1 << 30)]
"""Segments that one ACK acknowledges, from and to."""


def acks(frames: Any, ax: Axes | None = None, interval: str | float | None = None, point: str | None = None) -> Axes:
    """Draw data segments and pure ACKs per second, one step an interval; the title has the ratio over all.

    The dotted line is half the data segments: where a receiver that acknowledges every second one would be.
    """
    ax = ax or new_axes(7.2, 3.2)
    frames = table(frames, *NEEDED)
    rows: Any = at_point(frames, point)
    rows = rows[rows["tcp_len"].notna()] if "tcp_len" in rows.columns else rows[:0]
    if not len(rows):
        return no_data(ax, "no TCP segments")
    times = rows["frame_time"].to_numpy(np.int64)
    start, length = int(times.min()), int(times.max() - times.min()) + 1
    width = duration_ns(interval) if interval is not None else next(n for n in NICE_INTERVALS if length <= STEPS * n)
    steps = -(-length // width)
    scale, unit = time_axis(length)
    edges = np.arange(steps + 1) * (width / scale)
    step = (times - start) // width
    data = np.bincount(step[rows["tcp_len"].to_numpy(np.int64) > 0], minlength=steps) * (1e9 / width)
    pure = np.bincount(step[(rows["cause"] == "ack").to_numpy(bool)], minlength=steps) * (1e9 / width)
    ax.stairs(pure, edges, facecolor=ORANGE, edgecolor="white", linewidth=0, fill=True, hatch="....", label="pure ACKs")
    ax.stairs(data, edges, color=BLUE, linewidth=1.4, zorder=3, label="data segments")
    ax.stairs(data / 2, edges, color=INK, linewidth=0.9, linestyle=":", zorder=4, label="half of them")
    figures = analysis.acks(rows, point)
    ratio = figures.acks_per_data_segment
    told = "no data" if ratio is None else f"{ratio:.2f} ACKs for each data segment"
    share = "" if figures.ack_share is None else f", {figures.ack_share:.1%} of the bytes"
    title(ax, f"{told}{share}; steps of {span(width)}")
    reach(ax, edges[-1])
    ax.set_ylim(0, max(float(max(data.max(), pure.max())) * 1.05, 1e-9))
    ax.set_xlabel(f"time since the first segment ({unit})")
    ax.set_ylabel("segments per second")
    numbers(ax.yaxis)
    numbers(ax.xaxis)
    grid(ax, "y")
    plain(ax)
    handles, labels = ax.get_legend_handles_labels()
    order = [labels.index(name) for name in ("data segments", "half of them", "pure ACKs")]
    beside(ax, [handles[i] for i in order])
    return ax


def stretch(frames: Any, ax: Axes | None = None, point: str | None = None) -> Axes:
    """Draw how much the pure ACKs acknowledge: their share by the number of full segments, a bar or a set of bars each.

    ``frames`` may be several captures by name. An ACK that acknowledges nothing new (a duplicate, a window update)
    counts as 0; more than two segments make a stretch ACK (RFC 5681 section 4.2). A full segment is the largest of the
    flow in that direction.
    """
    ax = ax or new_axes(7.2, 3.0)
    found = tables(frames, *NEEDED, "tcp_ack", "direction")
    counts = {name: _stretched(each, point) for name, each in found.items()}
    counts = {name: values for name, values in counts.items() if len(values)}
    if not counts:
        return no_data(ax, "no pure ACKs")
    styles = looks(counts)
    most = max(float(values.max()) for values in counts.values())
    groups = [group for group in BARS if group[0] <= max(most, 2)]
    width = 0.8 / len(counts)
    for i, (name, values) in enumerate(counts.items()):
        shares = [float(((values >= low) & (values <= high)).mean()) * 100 for low, high in groups]
        places = np.arange(len(groups)) + (i - (len(counts) - 1) / 2) * width
        told = f"{len(values):,} ACKs" if name is None else f"{label_of(name)}: {len(values):,} ACKs"
        bars = ax.bar(
            places, shares, width * 0.92, color=styles[name].colour, hatch=("", "////", "....", "xxxx")[i % 4],
            edgecolor="white", linewidth=0, label=told,
        )  # fmt: skip
        if len(counts) == 1:
            ax.bar_label(bars, [f"{share:.0f} %" if share >= 1 else "" for share in shares], fontsize=7.5, padding=1)
    ax.set_xticks(range(len(groups)), [_range(*group) for group in groups])
    ax.axvline(2.5, color=INK, linewidth=0.9, linestyle=":")
    ax.annotate("stretch ACKs", (2.5, 1), (4, -1), xycoords=("data", "axes fraction"), textcoords="offset points",
                va="top", fontsize=8, color=INK)  # fmt: skip
    ax.set_xlim(-0.6, max(len(groups), 5) - 0.4)
    ax.set_ylim(0, 108)
    ax.set_xlabel("full segments that one pure ACK acknowledges (segments)")
    ax.set_ylabel("share of the ACKs (%)")
    grid(ax, "y")
    plain(ax)
    beside(ax)
    return ax


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}–{high}" if high < 1 << 30 else f"≥ {low}"


def _stretched(frames: Any, point: str | None) -> np.ndarray:
    """Full segments that each pure ACK acknowledges beyond the one before it, rounded up."""
    if not len(frames):
        return np.zeros(0)
    rows: Any = at_point(frames, point)
    rows = rows[rows["tcp_len"].notna() & rows["tcp_ack"].notna() & rows["flow_id"].notna()]
    keys = [rows["flow_id"].astype(np.int64), rows["direction"].astype(str)]
    sizes = rows["tcp_len"].astype(np.int64).groupby(keys).max()
    moved = rows["tcp_ack"].astype(np.int64).groupby(keys).diff()
    pure = (rows["cause"] == "ack") & moved.notna()
    step = (moved[pure].astype(np.int64) + (1 << 31)) % (1 << 32) - (1 << 31)
    other = keys[1][pure].map({"tx": "rx", "rx": "tx"})
    full = sizes.reindex(list(zip(keys[0][pure], other))).fillna(0).to_numpy(np.int64)
    usable = full > 0
    return -(-np.maximum(step.to_numpy()[usable], 0) // full[usable])


def thinning(
    frames: Any, ax: Axes | None = None, keep_one_in: Sequence[int] = (1, 2, 4, 8, 16, 32), point: str | None = None
) -> Axes:
    """Draw what :func:`aero_lab.analysis.thinned` says: bytes saved against delay added, a point for each ``k``.

    ``frames`` may be several captures by name, a line each. To the right is what acknowledgements come later on
    average, upwards what is saved of the bytes of all TCP frames: up and left is good.
    """
    ax = ax or new_axes(7.2, 3.4)
    found = tables(frames, *NEEDED, "tcp_ack", "direction")
    curves: dict[Any, Any] = {n: analysis.thinned(each, keep_one_in, point) for n, each in found.items() if len(each)}
    curves = {name: curve.dropna(subset=["share_saved", "delay_ms"]) for name, curve in curves.items()}
    curves = {name: curve for name, curve in curves.items() if len(curve)}
    if not curves:
        return no_data(ax, "no pure ACKs")
    styles = looks(curves)
    right = max(float(curve["delay_ms"].max()) for curve in curves.values())
    top = max(float(curve["share_saved"].max()) for curve in curves.values()) * 100
    points: list[tuple[int, float, float]] = []
    for name, curve in curves.items():
        look = styles[name]
        x, y = curve["delay_ms"].to_numpy(float), curve["share_saved"].to_numpy(float) * 100
        ax.plot(x, y, color=look.colour, linestyle=look.dashes, marker=look.marker, markersize=5, linewidth=1.4,
                markeredgecolor="white", markeredgewidth=0.6, clip_on=False, zorder=3,
                label="mean delay" if name is None else label_of(name))  # fmt: skip
        # Where nothing is dropped nothing is saved: the origin needs no name.
        some = (x > 0) | (y > 0)
        points += zip(curve.index.to_numpy()[some].tolist(), x[some].tolist(), y[some].tolist())
    _mark(ax, points, max(right, 1e-9), max(top, 1e-9))
    ax.set_xlim(0, max(right * 1.15, 1e-6))
    ax.set_ylim(0, max(top * 1.15, 1e-6))
    ax.set_xlabel("acknowledgements come later by, on average (ms)")
    ax.set_ylabel("saved of all TCP bytes (%)")
    numbers(ax.xaxis)
    grid(ax)
    plain(ax)
    first = next(iter(curves.values()))
    longest = milliseconds(float(first["delay_max_ms"].max()))
    title(ax, f"one pure ACK in k is kept; the longest wait is {longest}" if len(curves) == 1 else
          "one pure ACK in k is kept, k beside each point")  # fmt: skip
    if None not in curves:
        beside(ax)
    return ax


def _mark(ax: Axes, points: list[tuple[int, float, float]], right: float, top: float) -> None:
    """Write k beside the points, as far as the numbers keep apart from each other and from other points."""
    written: list[tuple[float, float]] = []
    for number, (k, x, y) in enumerate(points):
        a, b = x / right + 0.02, y / top - 0.05  # right of the point, and below it
        others = (point for i, point in enumerate(points) if i != number)
        free = all(abs(u / right - a) > 0.025 or abs(v / top - b) > 0.05 for _, u, v in others)
        if free and all(abs(u - a) > 0.07 or abs(v - b) > 0.08 for u, v in written):
            ax.annotate(str(k) if written else f"k = {k}", (x, y), (6, -3), textcoords="offset points", fontsize=7.5,
                        color=INK, va="top")  # fmt: skip
            written.append((a, b))
