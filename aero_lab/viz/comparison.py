"""Runs side by side: one panel a figure of merit, one line a combination of option and transport, one scale a panel.

Workloads, and links where there are several, are rows of panels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError
from ..link import Link
from .style import FAINT, INK, PALE, Look, looks, no_data, numbers, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes


METRICS = {
    "goodput_mbps": "goodput\n(Mbit/s)",
    "connect_ms": "connect\n(ms)",
    "ttfb_ms": "first byte\n(ms)",
    "rtt_ms": "round trip\n(ms)",
    "udp_delay_ms": "one-way delay\n(ms)",
    "udp_jitter_ms": "jitter\n(ms)",
    "udp_loss": "datagrams lost\n(fraction)",
    "overhead_ratio": "wire bytes /\npayload bytes",
    "acks_per_data_segment": "ACKs per\ndata segment",
    "retransmissions": "retransmissions\n(segments)",
    "client_cpu_us_per_mb": "client CPU\n(µs/MB)",
    "proxy_cpu_us_per_mb": "proxy CPU\n(µs/MB)",
}
"""What can be compared, with its axis label."""
MOST_PANELS = 5


def _table(runs: Any) -> Any:
    """Runs as a DataFrame: from one, from what ``compare`` returned, or from dictionaries."""
    import pandas as pd

    if hasattr(runs, "frame") and callable(runs.frame):
        runs = runs.frame()
    if not isinstance(runs, pd.DataFrame):
        runs = pd.DataFrame([vars(run) if hasattr(run, "__dict__") else dict(run) for run in runs])
    missing = [name for name in ("option", "transport", "workload") if name not in runs.columns]
    if missing:
        raise UsageError(f"these runs lack {', '.join(missing)}")
    return runs.assign(
        line=[
            (_with(option, settings), _with(transport, others))
            for option, settings, transport, others in zip(
                runs["option"], _column(runs, "settings"), runs["transport"], _column(runs, "transport_settings")
            )
        ],
        panel=list(zip(runs["workload"], [_link(each) for each in _column(runs, "link")])),
    )


def _column(table: Any, name: str) -> list[Any]:
    return list(table[name]) if name in table else [None] * len(table)


def _with(name: Any, settings: Any) -> str:
    """An option or transport with its settings, as tables show it."""
    if isinstance(settings, dict):
        settings = ", ".join(f"{key}={value}" for key, value in settings.items())
    return f"{name}:{settings}" if isinstance(settings, str) and settings else str(name)


def _link(link: Any) -> str:
    if isinstance(link, dict) and link:
        return Link.from_dict(link).name
    return link if isinstance(link, str) else "none"


def comparison(runs: Any, ax: Axes | Sequence[Axes] | None = None, metrics: Sequence[str] | None = None) -> np.ndarray:
    """Draw runs of ``compare`` as small multiples; returns the axes, workloads and links down, metrics
    across.

    Parameters
    ----------
    runs: what ``compare`` returned, a DataFrame with a row a run, or a list of such dictionaries (DESIGN section 10).
    ax: one axes to divide, or as many as there are panels; a new figure when None.
    metrics: columns to show; those that were measured, at most five, when None.

    A dot is a run, the tick their median with its value beside it. Colour is the option (or the transport, where all
    are of one option), the marker the transport. A column has one scale, from 0, for all workloads. What was not
    measured says so.
    """
    table = _table(runs)
    wanted = (
        list(metrics)
        if metrics is not None
        else [m for m in METRICS if m in table and table[m].notna().any()][:MOST_PANELS]
    )
    unknown = [m for m in wanted if m not in METRICS]
    if unknown:
        raise UsageError(f"no metric {unknown[0]!r}: there are {', '.join(METRICS)}")
    panels = list(dict.fromkeys(table["panel"]))
    several = len({link for _, link in panels}) > 1
    lines = sorted(set(table["line"]))
    plainly = {line: tuple(each.partition(":")[0] for each in line) for line in lines}
    styles = looks(sorted(set(plainly.values())))
    if not wanted or not panels:
        grid = _axes(ax, 1, 1, 1)
        no_data(grid[0, 0], "nothing was measured")
        return grid
    grid = _axes(ax, len(panels), len(wanted), len(lines))
    for j, metric in enumerate(wanted):
        values = table[metric].astype(float) if metric in table else None
        top = float(values.max()) if values is not None and values.notna().any() else 1.0
        for i, (workload, link) in enumerate(panels):
            panel = grid[i, j]
            chosen = table[table["panel"] == (workload, link)]
            for y, line in enumerate(lines):
                rows = chosen[chosen["line"] == line]
                _runs(panel, rows[metric] if metric in rows else None, y, styles[plainly[line]], top)
            panel.set_ylim(len(lines) - 0.4, -0.6)
            panel.set_xlim(0, top * 1.32 if top > 0 else 1)
            panel.set_yticks(range(len(lines)), [f"{o}  {t}" for o, t in lines] if j == 0 else [], fontsize=8)
            panel.tick_params(axis="y", length=0)
            panel.tick_params(axis="x", labelsize=7.5)
            panel.locator_params(axis="x", nbins=3 if top >= 10_000 else 4)  # long numbers keep apart
            numbers(panel.xaxis)
            panel.grid(axis="x", color=PALE, linewidth=0.6)
            plain(panel)
            panel.spines["left"].set_visible(False)
            if i < len(panels) - 1:
                panel.set_xticklabels([])
            else:
                panel.set_xlabel(METRICS[metric], fontsize=8.5)
            if j == 0:
                panel.set_title(
                    f"{workload}, link: {link}" if several else str(workload),
                    loc="left",
                    fontsize=9,
                    fontweight="bold",
                    color=INK,
                )
    return grid


def _runs(ax: Axes, values: Any, y: int, look: Look, top: float) -> None:
    numbers = [] if values is None else [float(v) for v in values if v == v and v is not None]
    ax.axhline(y, color=PALE, linewidth=0.6, zorder=0)
    if not numbers:
        ax.text(top * 0.02, y, "not measured", va="center", ha="left", fontsize=7, color=FAINT, style="italic")
        return
    colour, marker = look.colour, look.marker
    middle = float(np.median(numbers))
    ax.plot([0, middle], [y, y], color=colour, linewidth=2.2, solid_capstyle="butt", zorder=2)
    ax.plot(numbers, [y] * len(numbers), linestyle="", marker=marker, markersize=5.5, markerfacecolor=colour,
            markeredgecolor="white", markeredgewidth=0.7, clip_on=False, zorder=3)  # fmt: skip
    if len(numbers) > 1:
        ax.plot([middle, middle], [y - 0.28, y + 0.28], color=INK, linewidth=1.4, zorder=4)
    label = f"{middle:.3g}" if abs(middle) < 1000 else f"{middle:,.0f}"
    ax.annotate(
        label, (max(numbers), y), (6, 0), textcoords="offset points", va="center", fontsize=7.5, color=INK,
        bbox={"boxstyle": "square,pad=0.08", "facecolor": "white", "edgecolor": "none"},
    )  # fmt: skip


def _axes(ax: Any, rows: int, columns: int, lines: int) -> np.ndarray:
    """``rows`` by ``columns`` axes: new ones, those given, or the given one divided."""
    import matplotlib.pyplot as plt

    if ax is None:
        size = (1.5 + 1.75 * columns, 0.75 + rows * (0.35 + 0.27 * lines))
        return plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")[1]
    given = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
    if len(given) == rows * columns:
        return given.reshape(rows, columns)
    if len(given) > 1:
        raise UsageError(f"this comparison needs {rows * columns} axes ({rows} x {columns}), not {len(given)}")
    outer = given[0]
    outer.set_axis_off()
    width, height = 1 / columns, 1 / rows
    out = np.empty((rows, columns), dtype=object)
    for i in range(rows):
        for j in range(columns):
            box = (j * width + 0.02, 1 - (i + 1) * height + 0.08 * height, width - 0.05, 0.72 * height)
            out[i, j] = outer.inset_axes(box)
    return out
