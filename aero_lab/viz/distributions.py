"""Distributions of times: round trips, and the way through the tunnel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..analysis.rtt import rtt as round_trips
from ..analysis.select import at_point
from ..limits import MS
from .style import BLUE, ORANGE, PALE, new_axes, no_data, plain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

WAYS = {"tx": ("from the guest", BLUE, "-"), "rx": ("to the guest", ORANGE, "--")}


def rtt(frames: pd.DataFrame, ax: Axes | None = None, point: str | None = None) -> Axes:
    """Draw the cumulative distribution of :func:`aero_lab.analysis.rtt`, a line for each direction of the data."""
    ax = ax or new_axes(7.2, 3.2)
    samples = round_trips(frames, point)
    parts = {way: samples.loc[samples["direction"] == way, "rtt_ms"].to_numpy(float) for way in WAYS}
    seen = "" if "point" not in frames.columns or not len(frames) else str(at_point(frames, point)["point"].iloc[0])
    _cumulative(ax, parts, "round trip: data to its acknowledgement (ms)", "no round trips")
    if seen and any(map(len, parts.values())):
        ax.set_title(f"seen at the {'NIC' if seen == 'nic' else seen}; the lines tell where the data went",
                     fontsize=9, loc="left")  # fmt: skip
    return ax


def delay(frames: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the cumulative distribution of ``tunnel_delay``: the time of each frame through the tunnel, each way."""
    ax = ax or new_axes(7.2, 3.2)
    rows = frames[frames["tunnel_delay"].notna()] if "tunnel_delay" in frames.columns else frames[:0]
    parts = {
        way: np.sort(rows.loc[rows["direction"] == way, "tunnel_delay"].to_numpy(np.int64)) / MS for way in WAYS
    }  # fmt: skip
    _cumulative(ax, parts, "one way through the tunnel (ms)", "no frame was seen at both ends")
    return ax


def _cumulative(ax: Axes, parts: dict[str, np.ndarray], label: str, nothing: str) -> None:
    if not any(len(values) for values in parts.values()):
        no_data(ax, nothing)
        return
    for way, values in parts.items():
        if not len(values):
            continue
        name, colour, dashes = WAYS[way]
        ordered = np.sort(values)
        share = np.arange(1, len(ordered) + 1) / len(ordered)
        p50, p99 = np.percentile(ordered, [50, 99])
        # A step at each sample, from 0: the share of samples that were no longer than this.
        ax.step(
            np.concatenate([ordered[:1], ordered]), np.concatenate([[0], share]), where="post", color=colour,
            linestyle=dashes, linewidth=1.6, label=f"{name}: {len(ordered):,}\nmedian {p50:.3g} ms, 99 % {p99:.3g} ms",
        )  # fmt: skip
    every = np.concatenate(list(parts.values()))
    positive = every[every > 0]
    if len(positive) == len(every) and positive.max() > 20 * positive.min():
        ax.set_xscale("log")
    else:
        ax.set_xlim(left=0)
        if every.max() == every.min():
            ax.set_xlim(0, max(float(every.max()) * 1.5, 1e-6))
    ax.set_ylim(0, 1.02)
    ax.set_xlabel(label)
    ax.set_ylabel("share of samples up to here")
    ax.grid(color=PALE, linewidth=0.6)
    plain(ax)
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
