"""Distributions of times: round trips, the way through the tunnel, each hop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..analysis.join import join
from ..analysis.rtt import rtt as round_trips
from ..analysis.select import at_point
from ..errors import UsageError
from ..limits import MS
from .style import (
    BLUE,
    INK,
    ORANGE,
    VERMILION,
    Look,
    beside,
    decades,
    grid,
    label_of,
    looks,
    milliseconds,
    new_axes,
    no_data,
    plain,
    point_label,
    table,
    tables,
    title,
    way_label,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

WAYS = {"tx": ("from the guest", Look(BLUE)), "rx": ("to the guest", Look(ORANGE, (0, (6, 1.5))))}
HOP_LOOKS = {
    "transport": Look(BLUE, "-"),
    "queue": Look(ORANGE, (0, (6, 1.5))),
    "head of line": Look(VERMILION, (0, (1.5, 1))),
    "guest acknowledges": Look("#777777", (0, (6, 1.5, 1, 1.5))),
    "proxy acknowledges": Look(INK, (0, (3, 3))),
}
"""The colours of :data:`aero_lab.viz.HOP_COLOURS`."""
WIDE = 20
"""From this ratio of the longest to the shortest usual time on, the axis is logarithmic."""


def cdf(
    samples: Mapping[Any, Sequence[float]] | Sequence[float],
    ax: Axes | None = None,
    label: str = "time (ms)",
    styles: Mapping[Any, Look] | None = None,
    log: bool | None = None,
) -> Axes:
    """Draw cumulative distributions of times in milliseconds, a line each.

    Parameters
    ----------
    samples: by name, or one sequence. Options and transports have their colours, see :mod:`aero_lab.viz.style`.
    label: what they are, with the unit.
    styles: a look for each name instead.
    log: whether the axis of times is logarithmic; when None it is if they differ much. Times of 0 are then at its left
        end.

    The legend says how many samples a line has, and their median and 99th percentile.
    """
    ax = ax or new_axes(7.2, 3.2)
    parts: dict[Any, np.ndarray] = {}
    for name, values in (samples if isinstance(samples, Mapping) else {None: samples}).items():
        try:
            numbers = np.sort(np.asarray(values, dtype=float))
        except (TypeError, ValueError):
            raise UsageError(f"the samples of {label_of(name)!r} are not numbers") from None
        parts[name] = numbers[np.isfinite(numbers)]
    return _cumulative(ax, parts, label, "no samples", styles, log)


def rtt(frames: Any, ax: Axes | None = None, point: str | None = None, log: bool | None = None) -> Axes:
    """Draw the cumulative distribution of :func:`aero_lab.analysis.rtt`, a line for each direction of the data.

    ``frames`` may be several captures by name; then there is a line for each, over both directions.
    """
    ax = ax or new_axes(7.2, 3.2)
    found = tables(frames, "frame_time", "flow_id", "direction", "tcp_len")
    samples = {name: round_trips(each, point) if len(each) else None for name, each in found.items()}
    label = "round trip: data to its acknowledgement (ms)"
    if None not in samples:
        parts = {name: _column(each, "rtt_ms") for name, each in samples.items()}
        return _cumulative(ax, parts, label, "no round trips", log=log)
    one: Any = samples[None]
    parts = {way: _column(one if one is None else one[one["direction"] == way], "rtt_ms") for way in WAYS}
    styles = {way: (way_label(way, found[None]), look) for way, (_, look) in WAYS.items()}
    _cumulative(ax, parts, label, "no round trips", styles, log)
    seen = _point(found[None], point)
    if seen and any(map(len, parts.values())):
        title(ax, f"seen at the {point_label(seen)}; the lines tell where the data went")
    return ax


def delay(frames: Any, ax: Axes | None = None, direction: str | None = None, log: bool | None = None) -> Axes:
    """Draw the cumulative distribution of ``tunnel_delay``: the time of each frame through the tunnel, each way.

    ``frames`` may be several captures by name; then there is a line for each, over both directions or the given one.
    """
    ax = ax or new_axes(7.2, 3.2)
    found = tables(frames, "frame_time", "direction")
    label, nothing = "one way through the tunnel (ms)", "no frame was seen at both ends"
    ways = (direction,) if direction is not None else tuple(WAYS)
    if not set(ways) <= set(WAYS):
        raise UsageError(f"direction must be 'tx' or 'rx', not {direction!r}")
    if None not in found:
        parts = {name: np.concatenate([_delays(each, way) for way in ways]) for name, each in found.items()}
        _cumulative(ax, parts, label, nothing, log=log)
        if direction is not None and any(map(len, parts.values())):
            title(ax, WAYS[direction][0])
        return ax
    return _cumulative(ax, {way: _delays(found[None], way) for way in ways}, label, nothing, _ways(), log)


def hops(frames: Any, ax: Axes | None = None, log: bool | None = None) -> Axes:
    """Draw the cumulative distribution of each hop's times: the parts of the way through the tunnel, and the two ends.

    The parts are those that :func:`aero_lab.analysis.join` tells apart, over all frames that arrived, both ways:
    ``transport`` (under way), ``queue`` and ``head of line``. The other two are how long guest and proxy took to
    acknowledge data.
    """
    ax = ax or new_axes(7.2, 3.2)
    frames = table(frames, "frame_time", "flow_id", "direction", "tcp_len", "cause")
    parts: dict[str, np.ndarray] = {}
    if len(frames) and {"point", "frame_id", "frame_len"} <= set(frames.columns):
        joined: Any = join(frames)
        for column, name in (("transport_delay", "transport"), ("queue_delay", "queue"), ("hol_delay", "head of line")):
            parts[name] = joined[column].dropna().to_numpy(float) / MS
    if len(frames) and "point" in frames.columns:
        for point, way, name in (("nic", "rx", "guest acknowledges"), ("tunnel", "tx", "proxy acknowledges")):
            if (frames["point"] == point).any():
                samples = round_trips(frames, point)
                parts[name] = samples.loc[samples["direction"] == way, "rtt_ms"].to_numpy(float)
    parts = {name: values for name, values in parts.items() if len(values)}
    styles = {name: (name, look) for name, look in HOP_LOOKS.items()}
    return _cumulative(ax, parts, "time at each hop (ms)", "no frame was seen at both ends", styles, log)


def _delays(frames: Any, way: str) -> np.ndarray:
    if not len(frames) or not {"tunnel_delay", "direction"} <= set(frames.columns):
        return np.zeros(0)
    rows = frames[frames["tunnel_delay"].notna() & (frames["direction"] == way)]
    return rows["tunnel_delay"].to_numpy(float) / MS


def _column(samples: pd.DataFrame | None, name: str) -> np.ndarray:
    return np.zeros(0) if samples is None else samples[name].to_numpy(float)


def _point(frames: Any, point: str | None) -> str:
    if not len(frames) or "point" not in frames.columns:
        return ""
    rows = at_point(frames, point)
    return str(rows["point"].iloc[0]) if len(rows) else ""


def _ways() -> dict[Any, tuple[str, Look]]:
    return dict(WAYS)


def _cumulative(
    ax: Axes, parts: Mapping[Any, np.ndarray], label: str, nothing: str, styles: Any = None, log: bool | None = None
) -> Axes:
    if not any(len(values) for values in parts.values()):
        return no_data(ax, nothing)
    styles = looks(parts) if styles is None else styles
    end = 2 * max(float(values.max()) for values in parts.values() if len(values))
    for name, values in parts.items():
        look = styles.get(name, Look(BLUE))
        text, look = look if not isinstance(look, Look) else (label_of(name), look)
        if name is None:
            text = ""
        if not len(values):
            ax.plot([], [], color=look.colour, linestyle=look.dashes, label=f"{text}: none")
            continue
        ordered = np.sort(values)
        share = np.arange(1, len(ordered) + 1) / len(ordered)
        p50, p99 = np.percentile(ordered, [50, 99])
        told = f"{text}: {len(ordered):,}" if text else f"{len(ordered):,} samples"
        # A step at each sample, from 0 to the end: the share of samples that were no longer than this.
        ax.step(
            np.concatenate([ordered[:1], ordered, [end]]), [0, *share, 1], where="post", color=look.colour,
            linestyle=look.dashes, linewidth=1.6,
            label=f"{told}\nmedian {milliseconds(p50)}, 99 % {milliseconds(p99)}",
        )  # fmt: skip
    _scale(ax, np.concatenate(list(parts.values())), log)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel(label)
    ax.set_ylabel("share of samples up to here")
    grid(ax)
    plain(ax)
    beside(ax)
    return ax


def _scale(ax: Axes, every: np.ndarray, log: bool | None) -> None:
    low, high = float(every.min()), float(every.max())
    above = every[every > 0]
    usual = float(np.percentile(above, 5)) if len(above) else 0.0
    if len(above) and low >= 0 and (log or (log is None and high > WIDE * usual)):
        # A wait of 0 has no place on such an axis: lines begin at its left end, at the share that did not wait.
        first = float(above.min()) if len(above) == len(every) else max(float(above.min()), usual / 10)
        ax.set_xscale("log", nonpositive="clip")
        ax.set_xlim(first / 1.1, high * 1.1)
        decades(ax.xaxis, first, high)
        return
    # From 0, so that lengths compare; with all at one time there is room around it.
    ax.set_xlim(min(low, 0), max(high * (1.5 if high == low else 1.05), 1e-6))
