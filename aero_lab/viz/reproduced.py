"""A reproduction as a picture: what others have published, and ours on top of it."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import UsageError
from .style import (
    BLUE,
    FAINT,
    INK,
    OTHERS,
    PALE,
    VERMILION,
    Look,
    beside,
    decades,
    grid,
    new_axes,
    no_data,
    numbers,
    plain,
    title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

COLUMNS = ("case", "theirs", "ours", "low", "high", "unit", "ok", "note", "tolerance", "line", "x")
AMOUNTS = ("theirs", "ours", "low", "high", "tolerance", "x")
"""Those that are numbers."""
QUANTITIES = {"B/s": "rate", "Mbit/s": "rate", "ms": "time", "segments": "window", "%": "share", "": "value"}
"""What is measured in a unit."""
MARKERS = "osD^vPX*"
SEEDS, OFF = "all our seeds", "how far off\nours may be"
VERDICTS = {True: "ours, holds", None: "ours, not judged", False: "ours, does not hold"}
KEY = ("theirs", *VERDICTS.values(), SEEDS, OFF)
"""What the legend of rows says, in its order."""
LABEL = 46
"""Characters of a case in one line."""
LOGARITHMIC, LOGARITHMIC_ROWS = 8, 30
"""From how many times the least value on an axis is logarithmic: for curves, for rows."""
ROW, CURVES = 0.25, 3.1
"""Heights in inches of a row and of curves."""


MOST_TICKS = 5
LONG = 100_000
"""From here on numbers are too long for a tick at 1, 2 and 5 of each decade."""
SPREAD = 0.55
"""How much of the room between two places their points take."""


class Panel(NamedTuple):
    """Rows of one unit that are drawn together."""

    rows: Any
    curves: bool


def reproduction(report: Any, ax: Axes | Sequence[Axes] | None = None) -> np.ndarray:
    """Draw published figures and ours on top of them; returns the axes.

    Parameters
    ----------
    report: what :func:`aero_lab.reproduce` returned, or its frame.
    ax: one axes of a grid to divide, or as many as there are panels; a new figure when None.

    Theirs is hollow and ours is in it. Rows have a panel for each unit, with the ratio of ours to theirs and whether
    that holds beside each ("yes, note": theirs is outside our seeds, and the row's note says why). The pale band is how
    far off ours may be, the thick stroke goes from the least to the greatest of our seeds.

    Rows that are points of curves have two panels: the curves, and the same points as ratios, side by side where they
    share a place. There a filled point holds by itself, a hollow one as its note says; one that does not hold has a red
    cross.
    """
    frame = _frame(report)
    if not len(frame):
        out = new_axes(6.4, 2.0) if ax is None else np.atleast_1d(np.asarray(ax, dtype=object)).ravel()[0]
        return np.array([no_data(out, "no figures")], dtype=object)
    panels = _panels(frame)
    axes = _axes(ax, panels)
    left = iter(axes)
    said: set[str] = set()
    for panel in panels:
        if panel.curves:
            _curves(next(left), next(left), panel.rows, frame.attrs.get("along") or "place (x)")
        else:
            _dots(next(left), panel.rows, said)
    title(axes[0], frame.attrs.get("title", ""))
    return axes


def _frame(report: Any) -> Any:
    import pandas as pd

    frame = report.frame() if callable(getattr(report, "frame", None)) else report
    if not isinstance(frame, pd.DataFrame):
        raise UsageError(f"a picture of a reproduction is drawn from its report, not from {type(report).__name__}")
    if not len(frame):
        return frame
    missing = [name for name in COLUMNS if name not in frame]
    if missing:
        raise UsageError(f"this report lacks the columns {', '.join(missing)}")
    wrong = [name for name in AMOUNTS if not _numeric(frame[name])]
    if wrong:
        raise UsageError(f"the column {wrong[0]} holds {frame[wrong[0]].dtype}, not numbers")
    return frame.assign(**{name: frame[name].astype(float) for name in AMOUNTS})


def _numeric(column: Any) -> bool:
    """Whether there are only numbers, or nothing, in it."""
    return all(value is None or isinstance(value, (int, float, np.number)) for value in column)


def _panels(frame: Any) -> list[Panel]:
    """The rows by unit, those of curves first."""
    of_curves = frame["x"].notna()
    return [
        Panel(rows[rows["unit"] == unit], curves)
        for rows, curves in ((frame[of_curves], True), (frame[~of_curves], False))
        for unit in dict.fromkeys(rows["unit"])
    ]


def _axes(ax: Any, panels: list[Panel]) -> np.ndarray:
    """An axes for each panel, two for curves: new ones, those given, or the given one divided."""
    import matplotlib.pyplot as plt

    heights = [CURVES if panel.curves else 0.75 + ROW * _lines(panel.rows) for panel in panels]
    wanted = sum(1 + panel.curves for panel in panels)
    if ax is None:
        height = sum(heights) + 0.3
        spec = plt.figure(figsize=(8.6, height), layout="constrained").add_gridspec(1, 1)[0, 0]
    else:
        given = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
        if len(given) == wanted:
            return given
        spec = given[0].get_subplotspec()
        if len(given) > 1 or spec is None:
            raise UsageError(f"this reproduction needs {wanted} axes, or one of a grid to divide")
        given[0].set_axis_off()
    figure = plt.gcf() if ax is None else given[0].figure
    across = 2 if any(panel.curves for panel in panels) else 1
    places = spec.subgridspec(len(panels), across, height_ratios=heights)
    out = []
    for i, panel in enumerate(panels):
        for place in [places[i, 0], places[i, 1]] if panel.curves else [places[i, :]]:
            out.append(figure.add_subplot(place))
    found = np.empty(wanted, dtype=object)
    found[:] = out
    return found


def _lines(rows: Any) -> float:
    """Heights of rows that its cases need."""
    return sum(1 if len(case) <= LABEL else 1.5 for case in rows["case"])


# Rows -----------------------------------------------------------------------------------------------------------------


def _dots(ax: Axes, rows: Any, said: set[str]) -> None:
    """Each row by itself, with its ratio; ``said`` is what a legend of the figure has explained."""
    from matplotlib.transforms import ScaledTranslation, blended_transform_factory

    values = rows[["theirs", "ours", "low", "high"]].to_numpy(float)
    off = rows["theirs"] * rows["tolerance"]
    values = np.append(values, [rows["theirs"] - off, rows["theirs"] + off])
    _scale(ax.xaxis, values[np.isfinite(values)], LOGARITHMIC_ROWS)
    aside = blended_transform_factory(ax.transAxes, ax.transData)
    inches = ax.figure.dpi_scale_trans
    ratios, verdicts, key = (ScaledTranslation(right, 0, inches) for right in (0.52, 0.62, 1.12))
    seen: dict[str, Any] = {}
    y = -0.5
    places = []
    for row in rows.itertuples():
        height = 1 if len(row.case) <= LABEL else 1.5
        y += height
        at = y - (height - 1) / 2 - 0.5
        places.append(at)
        ax.axhline(at, color=PALE, linewidth=0.6, zorder=0)
        if row.tolerance == row.tolerance and row.theirs == row.theirs:
            allowed = abs(row.theirs) * row.tolerance
            seen[OFF] = ax.fill_betweenx(
                [at - 0.36, at + 0.36], row.theirs - allowed, row.theirs + allowed, color=PALE, linewidth=0, zorder=1
            )
        colour = {None: FAINT, True: BLUE, False: VERMILION}[_verdict(row.ok)]
        if row.high > row.low:
            seen[SEEDS] = ax.plot(
                [row.low, row.high], [at, at], color=BLUE, alpha=0.35, linewidth=4, solid_capstyle="butt", zorder=2
            )[0]
        if row.theirs == row.theirs:
            seen["theirs"] = ax.plot(
                [row.theirs], [at], "D", markersize=9, markerfacecolor="none", markeredgecolor=INK,
                markeredgewidth=1.1, clip_on=False, zorder=3, linestyle="",
            )[0]  # fmt: skip
        name = VERDICTS[_verdict(row.ok)]
        if row.ours == row.ours:
            seen[name] = ax.plot(
                [row.ours], [at], "X" if _verdict(row.ok) is False else "o", markersize=5, color=colour,
                markeredgecolor="white", markeredgewidth=0.4, clip_on=False, zorder=4, linestyle="",
            )[0]  # fmt: skip
        ratio = f"{row.ours / row.theirs:.3f}" if row.theirs and np.isfinite(row.ours / row.theirs) else ""
        ax.text(1, at, ratio, transform=aside + ratios, va="center", ha="right", fontsize=7.5, color=INK)
        holds = {None: "", True: "yes" if _by_itself(row) else "yes, note", False: "no"}[_verdict(row.ok)]
        ax.text(1, at, holds, transform=aside + verdicts, va="center", fontsize=7.5, color=colour,
                fontweight="bold" if holds == "no" else "normal")  # fmt: skip
    ax.set_yticks(places, [fill(case, LABEL) for case in rows["case"]], fontsize=7.5)
    ax.set_ylim(y + 0.2, -1.1)
    ax.text(1, -0.75, "ratio", transform=aside + ratios, va="center", ha="right", fontsize=7.5, color=FAINT)
    ax.text(1, -0.75, "holds", transform=aside + verdicts, va="center", fontsize=7.5, color=FAINT)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=8)
    ax.set_xlabel(_quantity(rows["unit"].iloc[0]), fontsize=8.5)
    grid(ax, "x")
    plain(ax)
    ax.spines["left"].set_visible(False)
    new = {name: handle for name, handle in seen.items() if name not in said}
    said |= set(new)
    if new:
        order = [name for name in KEY if name in new]
        ax.legend([new[name] for name in order], order, loc="upper left", bbox_to_anchor=(1, 1),
                  bbox_transform=ax.transAxes + key, frameon=False, fontsize=8, borderaxespad=0,
                  alignment="left")  # fmt: skip


# Curves ---------------------------------------------------------------------------------------------------------------


def _curves(ax: Axes, ratio_ax: Axes, rows: Any, along: str) -> None:
    """Ours as lines with their seeds as bands and theirs as marks; on the other axes the same as ratios."""
    from matplotlib.lines import Line2D

    names = list(dict.fromkeys(rows["line"]))
    styles = _looks(len(names))
    places = np.unique(rows["x"].to_numpy(float))
    for each in (ax, ratio_ax):
        _scale(each.xaxis, places, ticks=MOST_TICKS)
    step = _step(places)
    for number, (name, look) in enumerate(zip(names, styles, strict=True)):
        own = rows[rows["line"] == name].sort_values("x")
        low, high = own["low"].fillna(own["ours"]), own["high"].fillna(own["ours"])
        ax.fill_between(own["x"], low, high, color=look.colour, alpha=0.2, linewidth=0, zorder=1)
        ax.plot(own["x"], own["ours"], color=look.colour, linewidth=1.2, zorder=2)
        ax.plot(own["x"], own["theirs"], linestyle="", marker=look.marker, markersize=6, markerfacecolor="none",
                markeredgecolor=look.colour, markeredgewidth=1.2, zorder=3)  # fmt: skip
        shift = (number - (len(names) - 1) / 2) / len(names) * SPREAD
        for row in own.itertuples():
            if not row.theirs > 0:
                continue
            at = row.x * step**shift if ax.get_xscale() == "log" else row.x + step * shift
            ratio = row.ours / row.theirs
            if row.high > row.low:
                ratio_ax.plot([at, at], [row.low / row.theirs, row.high / row.theirs], color=look.colour, linewidth=1.6,
                             alpha=0.55, zorder=2)  # fmt: skip
            inside = look.colour if _by_itself(row) else "white"
            ratio_ax.plot([at], [ratio], linestyle="", marker=look.marker, markersize=4.5, markerfacecolor=inside,
                          markeredgecolor=look.colour, zorder=3)  # fmt: skip
            if _verdict(row.ok) is False:
                for each, height in ((ax, row.theirs), (ratio_ax, ratio)):
                    each.plot([row.x if each is ax else at], [height], "x", color=VERMILION, markersize=10,
                              markeredgewidth=1.8, zorder=4)  # fmt: skip
    values = rows[["theirs", "ours", "low", "high"]].to_numpy(float)
    _scale(ax.yaxis, values[np.isfinite(values)])
    ratios = (rows[["ours", "low", "high"]].to_numpy(float) / rows[["theirs"]].to_numpy(float)).ravel()
    allowed = rows["tolerance"].unique()
    if len(allowed) == 1 and allowed[0] == allowed[0]:
        ratio_ax.axhspan(1 - allowed[0], 1 + allowed[0], color=PALE, alpha=0.6, linewidth=0, zorder=0)
        ratios = np.append(ratios, [1 - 1.4 * allowed[0], 1 + 1.4 * allowed[0]])
    ratio_ax.axhline(1, color=FAINT, linewidth=0.9, zorder=1)
    ratios = ratios[np.isfinite(ratios)]
    _ratios(ratio_ax.yaxis, ratios)
    for each in (ax, ratio_ax):
        _margins(each, places, step)
        each.set_xlabel(along, fontsize=8.5)
        each.tick_params(labelsize=8)
        plain(each)
        grid(each)
    ax.set_ylabel(_quantity(rows["unit"].iloc[0]), fontsize=8.5)
    ratio_ax.set_ylabel("ours over theirs (ratio)", fontsize=8.5)
    handles = [
        Line2D([], [], color=look.colour, marker=look.marker, markerfacecolor="none", linewidth=1.2, label=name)
        for name, look in zip(names, styles, strict=True)
    ]
    said = "line: ours, mark: theirs"
    if (rows["high"] > rows["low"]).any():
        said += "\nband, stroke: all our seeds"
    if len(allowed) == 1 and allowed[0] == allowed[0]:
        said += "\ngrey: how far off ours may be"
    if any(_verdict(row.ok) and not _by_itself(row) for row in rows.itertuples()):
        said += "\nhollow at the right: see its note"
    if (rows["ok"] == False).any():  # noqa: E712
        said += "\nred cross: does not hold"
    beside(ratio_ax, handles, title=said)


def _looks(many: int) -> list[Look]:
    """A look for each of the lines of a parameter; many go from dark to bright, which every eye and a grey print
    keeps in their order."""
    if many <= len(OTHERS):
        return list(OTHERS[:many])
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    # Beyond 0.85 it is too bright for a line on white.
    places = np.linspace(0.1, 0.85, many)
    return [Look(to_hex(colormaps["inferno"](at)), "-", MARKERS[i % len(MARKERS)]) for i, at in enumerate(places)]


def _by_itself(row: Any) -> bool:
    """Whether a row holds without its note: that is there, and theirs is neither within what is allowed nor among our
    seeds."""
    if _verdict(row.ok) is not True:
        return False
    return (
        not row.note or row.theirs != row.theirs or row.tolerance == row.tolerance or row.low <= row.theirs <= row.high
    )


def _verdict(ok: Any) -> bool | None:
    return None if ok is None or ok != ok else bool(ok)


def _quantity(unit: str) -> str:
    return f"{QUANTITIES.get(unit, 'value')} ({unit or 'no unit'})"


def _step(places: np.ndarray) -> float:
    """The least distance of two places: a factor where the axis is logarithmic."""
    if len(places) < 2:
        return 2.0 if places[0] > 0 else 1.0
    if _spans(places):
        return float(np.exp(np.diff(np.log(places)).min()))
    return float(np.diff(places).min())


def _spans(values: np.ndarray, times: float = LOGARITHMIC) -> bool:
    return bool(len(values) and values.min() > 0 and values.max() >= times * values.min())


def _margins(ax: Axes, places: np.ndarray, step: float) -> None:
    """Half a step of room on either side."""
    if ax.get_xscale() == "log":
        ax.set_xlim(places[0] / step**0.5, places[-1] * step**0.5)
    else:
        ax.set_xlim(places[0] - step / 2, places[-1] + step / 2)


def _scale(axis: Axis, values: np.ndarray, times: float = LOGARITHMIC, ticks: int = 0) -> None:
    """A logarithmic axis where the values span so many ``times`` the least, else one from 0.

    ``ticks``: at so many of the values at most, and nowhere else.
    """
    from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

    values = values if len(values) else np.zeros(1)  # rows of what came to no end have no figures
    low, high = float(values.min()), float(values.max())
    across = axis is axis.axes.xaxis
    if _spans(values, times):
        (axis.axes.set_xscale if across else axis.axes.set_yscale)("log")
        decades(axis, low, high)
        if across and high >= LONG:
            axis.set_major_locator(LogLocator())
        room = (high / low) ** 0.06
        ends = low / room, high * room
    else:
        numbers(axis)
        top = max(high, 0.0) * 1.06 or 1.0
        ends = min(1.06 * low, -0.03 * top), top
    (axis.axes.set_xlim if across else axis.axes.set_ylim)(*ends)
    if ticks:
        axis.set_major_locator(FixedLocator(list(values[:: -(-len(values) // ticks)])))
        axis.set_minor_locator(NullLocator())


def _ratios(axis: Axis, ratios: np.ndarray) -> None:
    """An axis about 1: logarithmic where something is several times theirs."""
    low, high = min(float(ratios.min()), 1.0), max(float(ratios.max()), 1.0)
    if low > 0 and high > 3 * low:
        axis.axes.set_yscale("log")
        decades(axis, low, high)
        axis.axes.set_ylim(low / (high / low) ** 0.06, high * (high / low) ** 0.06)
    else:
        room = 0.08 * max(high - low, 0.01)
        axis.axes.set_ylim(low - room, high + room)
