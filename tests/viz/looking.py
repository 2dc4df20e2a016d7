"""What an eye would wince at, as assertions: text on text, text beyond the edge, an axis without its unit."""

from __future__ import annotations

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

UNITLESS = {"share of samples up to here"}
"""Axis labels that are a share from 0 to 1 and say so."""


def labels(ax):
    """The tick labels of an axes that are seen: within the view, with text."""
    out = []
    for axis in (ax.xaxis, ax.yaxis):
        low, high = sorted(axis.get_view_interval())
        room = 1e-6 * (high - low)
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if low - room <= tick.get_loc() <= high + room and tick.label1.get_visible() and tick.label1.get_text():
                out.append(tick.label1)
    return out


def writing(figure):
    """All text that is seen on a figure, with its box in pixels."""
    found = []
    for ax in [*figure.axes, *(child for parent in figure.axes for child in parent.child_axes)]:
        texts = list(ax.texts)
        if ax.axison:
            texts += labels(ax) + [ax.xaxis.label, ax.yaxis.label]
        texts += [ax.title, ax._left_title, ax._right_title]
        if ax.get_legend() is not None:
            texts += [*ax.get_legend().get_texts(), ax.get_legend().get_title()]
        found += [(t.get_text(), t.get_window_extent()) for t in texts if t.get_visible() and t.get_text().strip()]
    return found


def looked_at(figure, path, dpi=72):
    """Render a figure to PNG as a notebook does, and look at it; returns its pixels."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    plt.imsave(path, np.asarray(canvas.buffer_rgba()))
    pixels = plt.imread(path)
    assert (pixels[..., :3] < 0.9).mean() > 0.001, "the picture is empty"
    width, height = figure.get_size_inches() * dpi
    found = writing(figure)
    for text, box in found:
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, f"{text!r} reaches beyond the picture"
    for (one, a), (other, b) in combinations(found, 2):
        # A pixel of touching is no overlap.
        wide = min(a.x1, b.x1) - max(a.x0, b.x0)
        high = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert not (wide > 1 and high > 1), f"{one!r} lies on {other!r}"
    for ax in figure.axes:
        legend = ax.get_legend()
        if legend is not None and ax.axison:
            assert not legend.get_window_extent().overlaps(ax.get_window_extent()), "the legend covers the data"
    return pixels


def has_units(ax):
    """Each axis that has numbers says what they are and in which unit."""
    if not ax.axison:
        return
    for label, axis in ((ax.get_xlabel(), ax.xaxis), (ax.get_ylabel(), ax.yaxis)):
        numbers = [t.get_text() for t in axis.get_ticklabels() if t.get_text().strip().replace(",", "").isdigit()]
        if numbers:
            assert label in UNITLESS or label.endswith(")") or label in ("bytes", "segments per second"), label
