"""What the bytes were spent for, in total: a bar for each capture, causes stacked, all on one scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import analysis
from .style import (
    CAUSE_COLOURS,
    CAUSE_HATCHES,
    INK,
    PALE,
    beside,
    cause_label,
    grid,
    label_of,
    new_axes,
    no_data,
    numbers,
    plain,
    point_label,
    reach,
    tables,
    title,
    way_label,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def causes(
    frames: Any, ax: Axes | None = None, point: str | None = None, direction: str | None = None, payload: bool = True
) -> Axes:
    """Draw the bytes of :func:`aero_lab.analysis.by_cause` as stacked bars, a bar for each direction or capture.

    Parameters
    ----------
    frames: a capture, with a bar for each direction, or several by name, with a bar each on one scale.
    point, direction: which bytes; both directions together when None and there are several captures.
    payload: False leaves out the cause payload, so that the rest can be seen; the numbers at the end say so.
    """
    found = tables(frames, "frame_len", "cause", "direction")
    parts: dict[Any, Any] = {}
    for name, each in found.items():
        if not len(each):
            continue
        sums: Any = analysis.by_cause(each, point)["bytes"]
        ways = ("tx", "rx", "?") if name is None and direction is None else (direction,)
        for way in ways:
            own = sums if way is None else sums[sums.index.get_level_values("direction") == way]
            own = own.groupby(level="cause").sum()
            if len(own):
                parts[way_label(way, each) if name is None and way else name] = own
    ax = ax or new_axes(7.2, 1.0 + 0.42 * max(len(parts), 2))
    if not parts:
        return no_data(ax, "no frames")
    order = [c for c in CAUSE_COLOURS if any(c in own for own in parts.values()) and (payload or c != "payload")]
    totals = [float(sum(own.get(c, 0) for c in order)) for own in parts.values()]
    top = max(*totals, 1.0)
    size, unit = (1e6, "MB") if top >= 2e6 else (1e3, "kB") if top >= 2e3 else (1, "bytes")
    left = [0.0] * len(parts)
    for cause in order:
        values = [float(own.get(cause, 0)) / size for own in parts.values()]
        ax.barh(range(len(parts)), values, left=left, height=0.66, color=CAUSE_COLOURS[cause], label=cause_label(cause),
                hatch=CAUSE_HATCHES.get(cause), edgecolor="white", linewidth=0)  # fmt: skip
        left = [a + b for a, b in zip(left, values)]
    for y, total in enumerate(totals):
        ax.axhline(y, color=PALE, linewidth=0.6, zorder=0)
        told = f"{total / size:,.3g} {unit}" if total / size < 1000 else f"{total / size:,.0f} {unit}"
        ax.annotate(told, (total / size, y), (4, 0), textcoords="offset points", va="center", fontsize=8, color=INK)
    ax.set_yticks(range(len(parts)), [label_of(name) for name in parts], fontsize=8.5)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(parts) - 0.4, -0.6)
    reach(ax, top / size * 1.16)
    ax.set_xlabel(f"{'bytes' if payload else 'bytes beside the payload'} ({unit})" if unit != "bytes" else unit)
    numbers(ax.xaxis)
    grid(ax, "x")
    plain(ax)
    ax.spines["left"].set_visible(False)
    first = next(each for each in found.values() if len(each))
    seen = analysis.select.at_point(first, point)
    where = f"at the {point_label(str(seen['point'].iloc[0]))}" if "point" in seen.columns and len(seen) else ""
    way = way_label(direction, first)
    title(ax, ", ".join(filter(None, (where, way, "" if payload else "without payload"))))
    beside(ax, title="cause")
    return ax
