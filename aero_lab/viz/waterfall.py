"""Where the time of requests went: a bar for each, from its first byte to its last, in the colours of the hops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..analysis.requests import HOPS, critical_path, requests
from .style import (
    BLUE,
    INK,
    ORANGE,
    PALE,
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
    title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HOP_COLOURS = {
    "transport": BLUE,
    "queue": ORANGE,
    "head_of_line": VERMILION,
    "recovery": WINE,
    "guest": "#777777",
    "egress": SKY,
    "stack": "#222222",
    "away": "#C4C4C4",
}
UPWARDS = "#7DB7DC"
"""The colour of ``transport`` from the guest: lighter, so that round trips can be counted."""
HOP_HATCHES = {"queue": "....", "head_of_line": "////", "recovery": "xxxx", "guest": "||||", "egress": "----"}
"""What tells hops apart in print without colour."""
HOP_LABELS = {
    "transport": "under way in the tunnel",
    "queue": "in the tunnel's queue",
    "head_of_line": "behind others (head of line)",
    "recovery": "until a loss was noticed",
    "guest": "at the guest",
    "egress": "egress and service",
    "stack": "at the proxy's stack",
    "away": "beyond the capture point",
}
NEEDED = ("frame_time", "flow_id", "direction", "cause", "tcp_seq", "tcp_ack", "tcp_len", "tcp_flags")


def waterfall(frames: Any, ax: Axes | None = None, flow_id: int | None = None, most: int = 20) -> Axes:
    """Draw the requests of :func:`aero_lab.analysis.requests` over time, each piece of their critical paths in place.

    Parameters
    ----------
    flow_id: requests of that flow alone.
    most: rows; what is left out is said.

    Beside each bar stands how long it is; the legend has each hop's time, summed over the bars that are drawn. Pieces
    shorter than the picture can show are drawn with their neighbours of the same hop as one.
    """
    frames = table(frames, *NEEDED)
    rows: Any = requests(frames, flow_id) if len(frames) else frames
    shown = rows.iloc[:most]
    ax = ax or new_axes(7.2, 0.9 + 0.3 * max(len(shown), 4))
    if not len(shown):
        return no_data(ax, "no requests")
    pieces: Any = critical_path(frames, flow_id)
    pieces = pieces[pieces["request"] < len(shown)]
    start = float(shown["start_s"].min())
    stop = float((shown["start_s"] + shown["ms"] / 1e3).max())
    factor, unit = (1.0, "s") if stop - start >= 2 else (1e3, "ms")
    sums = {hop: float(shown[hop].sum()) for hop in HOPS if shown[hop].sum() > 0}
    for hop in sums:
        for way in ("rx", "tx") if hop == "transport" else (None,):
            chosen = pieces["hop"] == hop
            own = _merged(pieces[chosen if way is None else chosen & (pieces["direction"] == way)])
            told = HOP_LABELS[hop] + ("" if way is None else {"tx": ", up", "rx": ", down"}[way])
            ax.barh(
                own[0], own[2] / 1e3 * factor, left=(own[1] - start) * factor, height=0.62, hatch=HOP_HATCHES.get(hop),
                color=UPWARDS if way == "tx" else HOP_COLOURS[hop], edgecolor="white", linewidth=0,
                label=f"{told}: {milliseconds(float(own[2].sum()))}",
            )  # fmt: skip
    for y, row in enumerate(shown.to_dict("records")):
        end = (row["start_s"] - start + row["ms"] / 1e3) * factor
        turns = f", {row['turns'] // 2} round trips" if row["turns"] > 3 else ""
        ax.annotate(milliseconds(row["ms"]) + turns, (end, y), (4, 0), textcoords="offset points", va="center",
                    fontsize=7.5, color=INK)  # fmt: skip
        ax.axhline(y, color=PALE, linewidth=0.6, zorder=0)
    ax.set_yticks(range(len(shown)), [_name(row) for row in shown.to_dict("records")], fontsize=8)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(shown) - 0.4, -0.6)
    reach(ax, max((stop - start) * factor * (1.28 if shown["turns"].max() > 3 else 1.12), 1e-6))
    ax.set_xlabel(f"time since the first request began ({unit})")
    numbers(ax.xaxis)
    grid(ax, "x")
    plain(ax)
    ax.spines["left"].set_visible(False)
    if len(rows) > most:
        title(ax, f"the first {most} of {len(rows):,} requests")
    beside(ax, title="where the time went")
    return ax


def _merged(pieces: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, beginnings (s) and lengths (ms) of a hop's pieces, those that touch as one."""
    row, begin, length = (pieces[name].to_numpy() for name in ("request", "start_s", "ms"))
    if not len(row):
        return row, begin, length
    joins = (row[1:] == row[:-1]) & (np.abs(begin[:-1] + length[:-1] / 1e3 - begin[1:]) < 1e-9)
    first = np.flatnonzero(np.append(True, ~joins))
    return row[first], begin[first], np.add.reduceat(length, first)


def _name(row: dict[str, Any]) -> str:
    if row["kind"] != "exchange":
        return {"dns": "DNS", "connect": "connect"}[row["kind"]]
    size = max(row["bytes_down"], row["bytes_up"])
    told = f"{size / 1e6:.3g} MB" if size >= 1e6 else f"{size / 1e3:.3g} kB" if size >= 1e4 else f"{size:,} B"
    return f"{'get' if row['bytes_down'] >= row['bytes_up'] else 'send'} {told}"
