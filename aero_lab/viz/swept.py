"""Sweeps as pictures: medians with their intervals along an axis, and a map of which combination is best where.

Both take a table with one row a run, such as :func:`aero_lab.sweep` returns. Runs that failed do not count; a place
where all of a combination failed has no point.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..analysis.intervals import intervals
from ..errors import UsageError
from .comparison import METRICS
from .style import FAINT, INK, PALE, beside, decades, grid, label_of, looks, new_axes, no_data, numbers, plain, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AXES = {
    "link_rtt_ms": "round-trip time of the link (ms)",
    "link_jitter_ms": "jitter of the link (ms)",
    "link_loss": "loss of the link (%)",
    "link_reorder": "reordering of the link (%)",
    "link_rate_mbps": "rate of the link (Mbit/s)",
    "link_rate_mbps_up": "rate of the link, up (Mbit/s)",
    "link_rate_mbps_down": "rate of the link, down (Mbit/s)",
    "link_queue_bytes": "queue of the link (bytes)",
    "workload_size": "size of the transfer (bytes)",
    "mtu": "MTU (bytes)",
    "seconds": "time of the workload (s)",
    "p90_ms": "90th percentile (ms)",
    "p99_ms": "99th percentile (ms)",
}
"""Labels of columns, beside those of :data:`~.comparison.METRICS`."""
SHARES = ("link_loss", "link_reorder", "link_duplicate", "link_corrupt")
"""Columns that are shares and shown in per cent."""
LOWER_IS_BETTER = (
    "seconds", "connect_ms", "ttfb_ms", "rtt_ms", "udp_delay_ms", "udp_jitter_ms", "udp_loss", "overhead_ratio",
    "retransmissions", "messages_per_mb", "p90_ms", "p99_ms",
)  # fmt: skip
CELL_FONT = 7.5
ALIKE = 0.02
"""Medians that differ by so small a share make nobody better, however sure the difference is: where nothing is random
all intervals are points."""


def bands(
    table: Any,
    x: str = "link_rtt_ms",
    y: str = "goodput_mbps",
    lines: Sequence[str] = ("option", "transport"),
    ax: Axes | None = None,
    level: float = 0.95,
) -> Axes:
    """Draw a measurement along a parameter: medians over everything else, with the band that holds each median.

    Parameters
    ----------
    table: one row a run.
    x, y: columns: along what, and what.
    lines: columns that tell the lines apart. What differs beside them and ``x`` goes into the band: choose rows first.
    level: probability that a band holds the median (:func:`aero_lab.analysis.median_interval`); with fewer than six
        runs a place the band is from the least to the greatest.

    The horizontal axis is logarithmic where its values are positive and span more than a decade; where one of them is
    zero or infinite the places are evenly apart.
    """
    lines = [lines] if isinstance(lines, str) else list(lines)
    runs = _good(table, x, y, *lines)
    ax = new_axes(6.4, 3.4) if ax is None else ax
    if not len(runs):
        return no_data(ax, "no run succeeded")
    found = intervals(runs, y, [*lines, x], level)
    found = found.query("n > 0")
    if not len(found):
        return no_data(ax, f"{y} was not measured")
    places = np.unique(found[x].to_numpy(float))
    even = bool(~np.isfinite(places).all() or (len(places) > 1 and places[0] <= 0 and _decades_apart(places)))
    names = list(dict.fromkeys(_names(found, lines)))
    styles = looks(names)
    keys = _names(found, lines)
    for name in names:
        own = found.loc[[key == name for key in keys]].sort_values(x)
        at = np.searchsorted(places, own[x].astype(float)) if even else own[x].astype(float)
        look = styles[name]
        ax.fill_between(at, own["low"], own["high"], color=look.colour, alpha=0.16, linewidth=0, zorder=1)
        ax.plot(
            at, own["median"], color=look.colour, linestyle=look.dashes, marker=look.marker, markersize=4.5,
            linewidth=1.4, markeredgecolor="white", markeredgewidth=0.5, label=label_of(name), zorder=3,
        )  # fmt: skip
    if even:
        ax.set_xticks(range(len(places)), [place_text(x, value) for value in places])
    elif len(places) > 1 and places[0] > 0 and places[-1] > 10 * places[0]:
        ax.set_xscale("log")
        decades(ax.xaxis, places[0], places[-1])
    else:
        numbers(ax.xaxis)
    low, high = float(found["low"].to_numpy(float).min()), float(found["high"].to_numpy(float).max())
    if low > 0 and high > 30 * low:
        ax.set_yscale("log")
        decades(ax.yaxis, low, high)
    else:
        ax.set_ylim(0, high * 1.06 if high > 0 else 1)
        numbers(ax.yaxis)
    ax.set_xlabel(_axis_label(x))
    ax.set_ylabel(_axis_label(y))
    plain(ax)
    grid(ax)
    if len(names) > 1 or names[0] != ():
        beside(ax)
    return ax


def best(
    table: Any,
    x: str = "link_rtt_ms",
    y: str = "link_loss",
    value: str = "goodput_mbps",
    among: Sequence[str] = ("option", "transport"),
    ax: Axes | None = None,
    higher: bool | None = None,
    level: float = 0.95,
    alike: float = ALIKE,
) -> Axes:
    """Draw a map: in each place which combination has the best median, with that median.

    Parameters
    ----------
    table: one row a run.
    x, y: columns of the places.
    value: column of the measurement.
    among: columns that tell the combinations apart. What differs beside them, ``x`` and ``y`` is within the median:
        choose rows first.
    higher: whether more is better; known for the measurements of :func:`aero_lab.compare`.
    level: where the best one's interval at this level overlaps another's, the cell is pale and says how many others
        may be as good.
    alike: so do those whose median is off by no more than this share of the best one's.

    Colour is the option (or the transport, where all are of one option).
    """
    from matplotlib.patches import Rectangle

    among = [among] if isinstance(among, str) else list(among)
    runs = _good(table, x, y, value, *among)
    ax = new_axes(6.4, 3.6) if ax is None else ax
    if not len(runs):
        return no_data(ax, "no run succeeded")
    found = intervals(runs, value, [x, y, *among], level)
    found = found.query("n > 0")
    if not len(found):
        return no_data(ax, f"{value} was not measured")
    more = value not in LOWER_IS_BETTER if higher is None else higher
    across, up = (np.unique(found[column].to_numpy(float)) for column in (x, y))
    names = list(dict.fromkeys(_names(found, among)))
    styles = looks(names)
    for i, one in enumerate(across):
        for j, other in enumerate(up):
            here = found[(found[x].astype(float) == one) & (found[y].astype(float) == other)]
            if not len(here):
                ax.text(i, j, "–", ha="center", va="center", color=FAINT, fontsize=CELL_FONT)
                continue
            first, equals = winner(here, among, more, alike)
            colour = styles[first[0]].colour
            ax.add_patch(Rectangle((i - 0.5, j - 0.5), 1, 1, facecolor=colour, alpha=0.14 if equals else 0.42,
                                       edgecolor="white", linewidth=1.5))  # fmt: skip
            said = f"{label_of(first[0])}\n{first[1]:.3g}" + _others(equals)
            ax.text(i, j, said.replace(" webrtc-", "\nwebrtc-").replace(" websocket", "\nwebsocket"), ha="center",
                    va="center", fontsize=CELL_FONT, color=INK, linespacing=1.05)  # fmt: skip
    ax.set_xlim(-0.5, len(across) - 0.5)
    ax.set_ylim(-0.5, len(up) - 0.5)
    ax.set_xticks(range(len(across)), [place_text(x, each) for each in across])
    ax.set_yticks(range(len(up)), [place_text(y, each) for each in up])
    ax.tick_params(length=0)
    ax.set_xlabel(_axis_label(x))
    ax.set_ylabel(_axis_label(y))
    for side in ax.spines.values():
        side.set_color(PALE)
    title(ax, f"best by {_axis_label(value)}: {'more' if more else 'less'} is better")
    return ax


def winner(here: Any, among: Sequence[str], more: bool, alike: float = ALIKE) -> tuple[tuple[Any, float], int]:
    """Of the intervals of one place: the best combination with its median, and how many others may be as good: their
    intervals reach its, or their medians are next to its."""
    ordered = here.sort_values("median", ascending=not more, kind="stable")
    first = ordered.iloc[0]
    rest = ordered.iloc[1:]
    equal = (rest["high"] >= first["low"]) if more else (rest["low"] <= first["high"])
    equal |= (rest["median"] - first["median"]).abs() <= alike * abs(first["median"])
    return (_names(ordered.head(1), among)[0], float(first["median"])), int(equal.sum())


def _others(many: int) -> str:
    return f"\nor {many} other{'s' if many > 1 else ''}" if many else ""


def place_text(column: str, value: float) -> str:
    """A place on an axis: a share in per cent, no rate as no limit."""
    if np.isinf(value):
        return "no limit"
    return f"{100 * value:g}" if column in SHARES else f"{value:,g}"


def _good(table: Any, *columns: str) -> Any:
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        raise UsageError(f"a picture of a sweep is drawn from its table, not from {type(table).__name__}")
    missing = [name for name in columns if name not in table]
    if missing:
        raise UsageError(f"this table lacks the columns {', '.join(missing)}")
    return table[table["ok"].astype(bool)] if "ok" in table else table


def _names(found: Any, columns: Sequence[str]) -> list[Any]:
    """Of each row, what tells it apart: a word, or several."""
    if len(columns) == 1:
        return [str(each) for each in found[columns[0]]]
    return [tuple(str(each) for each in row) for row in found[list(columns)].itertuples(index=False)]


def _decades_apart(places: np.ndarray) -> bool:
    positive = places[places > 0]
    return len(positive) > 1 and bool(positive[-1] > 5 * positive[0])


def _axis_label(column: str) -> str:
    return AXES.get(column) or METRICS.get(column, column.replace("_", " ")).replace("\n", " ")
