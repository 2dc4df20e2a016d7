"""Figures of reproductions: what is drawn is what the report holds, for few rows and for many."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from aero_lab import viz
from aero_lab.errors import UsageError
from aero_lab.experiment.reproduce.base import Report, Row, spread, within
from aero_lab.viz.reproduced import VERDICTS, _looks
from aero_lab.viz.style import BLUE, FAINT, VERMILION

from .looking import has_units, looked_at
from .sight import SIGHTS, distance, lightness

LOSSES = (0.0, 0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
BUFFERS = tuple(128 << i for i in range(9))


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def rows():
    """One row of every kind."""
    return Report(
        "rows",
        "Rows of every kind",
        "a table",
        [
            within("near enough", 10.0, 10.4, 0.05, "ms"),
            within("too far", 10.0, 11.0, 0.05, "ms"),
            spread("theirs among our seeds", 12.0, [11.0, 12.5, 14.0], "ms"),
            Row("outside, explained", 30.0, 12.0, "ms", 11.0, 13.0, True, "a habit of theirs"),
            Row("not judged, with a case so long that it needs two lines beside its axis", 20.0, 5.0, "ms"),
            Row("ours alone", None, 7.0, "ms"),
            Row("nothing", 0.0, 0.0, "%", ok=True),
        ],
    )


def curves(losses=LOSSES, buffers=BUFFERS, judged=True):
    """A table over buffer size and loss, as the one with 72 cells is: at much loss ours is several times theirs."""
    found = []
    for loss in losses:
        for buffer in buffers:
            theirs = 10.0 * buffer * np.exp(-20 * loss)
            ours = theirs * (1 + 8 * loss)
            row = Row(f"{buffer} bytes, loss {loss:.1%}", theirs, ours, "B/s", 0.9 * ours, 1.1 * ours, judged, "habits",
                      line=f"loss {loss:.1%}", x=buffer)  # fmt: skip
            found.append(row)
    return found


def report(found):
    return Report("smoltcp", "One flow over buffer size and loss", "a table", found, along="buffer (bytes)")


def seen(axes, path):
    looked_at(axes[0].figure, path / "figure.png")
    for ax in axes:
        has_units(ax)


def marks(ax, marker):
    return [line for line in ax.lines if line.get_marker() == marker]


def said(ax):
    return [text.get_text() for text in ax.texts]


def test_rows_show_theirs_ours_their_ratio_and_what_holds(tmp_path):
    axes = viz.reproduction(rows())
    seen(axes, tmp_path)
    ax, other = axes
    assert ax.get_title("left") == "Rows of every kind" and ax.get_xlabel() == "time (ms)"
    assert other.get_xlabel() == "share (%)" and said(other)[:2] == ["", "yes"]
    assert [line.get_xdata()[0] for line in marks(ax, "D")] == [10, 10, 12, 30, 20]
    assert all(line.get_markerfacecolor() == "none" for line in marks(ax, "D"))
    ours = [(line.get_xdata()[0], line.get_color()) for line in ax.lines if line.get_marker() in ("o", "X")]
    assert ours == [(10.4, BLUE), (11, VERMILION), (12.5, BLUE), (12, BLUE), (5, FAINT), (7, FAINT)]
    assert len(marks(ax, "X")) == 1
    assert said(ax)[:12:2] == ["1.040", "1.100", "1.042", "0.400", "0.250", ""]
    assert said(ax)[1:12:2] == ["yes", "no", "yes", "yes, note", "", ""]
    allowed = [band.get_paths()[0].vertices[:, 0] for band in ax.collections]
    assert [(band.min(), band.max()) for band in allowed] == [(9.5, 10.5)] * 2
    strokes = [tuple(line.get_xdata()) for line in ax.lines if line.get_linewidth() == 4]
    assert strokes == [(11, 14), (11, 13)]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert set(VERDICTS.values()) < set(labels) and other.get_legend() is None


@pytest.mark.parametrize(
    "losses, buffers", [((0.0, 0.01), (2048, 4096)), (LOSSES[:3], BUFFERS[::3]), (LOSSES, BUFFERS)]
)
def test_curves_read_well_with_few_points_and_with_seventy_two(losses, buffers, tmp_path):
    many = [Row(f"{flows} flows", 3000.0 * flows, 50_000.0 * flows, "B/s") for flows in (1, 4, 64)]
    axes = viz.reproduction(report(curves(losses, buffers) + many))
    seen(axes, tmp_path)
    ax, ratios, beneath = axes
    assert ax.get_xscale() == ("log" if buffers[-1] >= 8 * buffers[0] else "linear")
    lines = [line for line in ax.lines if line.get_linestyle() == "-"]
    theirs = [line for line in ax.lines if line.get_linestyle() == "None"]
    assert len(lines) == len(theirs) == len(ax.collections) == len(losses)
    for loss, ours, published in zip(losses, lines, theirs, strict=True):
        assert list(ours.get_xdata()) == list(published.get_xdata()) == list(buffers)
        assert ours.get_ydata() / published.get_ydata() == pytest.approx(1 + 8 * loss)
        assert ours.get_color() == published.get_markeredgecolor() and published.get_markerfacecolor() == "none"
    points = [line for line in ratios.lines if line.get_marker() not in ("None", "") and len(line.get_xdata()) == 1]
    assert len(points) == len(losses) * len(buffers)
    hollow = [point for point in points if to_hex(point.get_markerfacecolor()) == "#ffffff"]
    outside = [loss for loss in losses if 0.9 * (1 + 8 * loss) > 1]
    assert len(hollow) == len(outside) * len(buffers)
    assert len({float(point.get_xdata()[0]) for point in points}) == len(points), "points lie on each other"
    assert [text.get_text() for text in ratios.get_legend().get_texts()] == [f"loss {loss:.1%}" for loss in losses]
    assert ("hollow" in ratios.get_legend().get_title().get_text()) == bool(hollow)
    assert len(marks(beneath, "D")) == 3


def test_seventy_two_rows_that_are_no_curves_read_well(tmp_path):
    frame = report(curves()).frame().assign(x=np.nan, line="")
    (ax,) = viz.reproduction(frame)
    seen([ax], tmp_path)
    assert len(marks(ax, "D")) == len(marks(ax, "o")) == 72


def test_a_point_that_does_not_hold_has_a_cross(tmp_path):
    found = curves(LOSSES[:3], BUFFERS[:4])
    assert not any(marks(ax, "x") for ax in viz.reproduction(report(found)))
    axes = viz.reproduction(report([*curves(LOSSES[:1], BUFFERS[:4], False), *found[4:]]))
    seen(axes, tmp_path)
    for ax in axes:
        assert [line.get_color() for line in marks(ax, "x")] == [VERMILION] * 4
    assert "red cross" in axes[1].get_legend().get_title().get_text()


def test_what_is_allowed_is_a_band_about_one(tmp_path):
    found = [Row(f"{x}", 10.0 * x, 10.2 * x, "segments", ok=True, tolerance=0.1, line="Reno", x=x) for x in (1.0, 10.0)]
    axes = viz.reproduction(report(found))
    seen(axes, tmp_path)
    (band,) = axes[1].patches
    assert band.get_y() == pytest.approx(0.9) and band.get_height() == pytest.approx(0.2)
    low, high = axes[1].get_ylim()
    assert low < 0.9 and high > 1.1 and len(axes[0].collections) == 1


def test_it_takes_the_axes_it_is_given(tmp_path):
    _, given = plt.subplots(1, 2, layout="constrained", figsize=(9, 3))
    assert list(viz.reproduction(report(curves(LOSSES[:2])), given)) == list(given)
    _, ax = plt.subplots(layout="constrained", figsize=(9, 5))
    axes = viz.reproduction(rows(), ax)
    assert len(axes) == 2 and all(each.figure is ax.figure for each in axes)
    looked_at(ax.figure, tmp_path / "figure.png")
    _, ax = plt.subplots()
    assert viz.reproduction(Report("n", "t", "s", []), ax)[0] is ax and said(ax) == ["no figures"]
    _, given = plt.subplots(1, 3)
    with pytest.raises(UsageError, match="needs 2 axes"):
        viz.reproduction(rows(), given)


def test_mistakes_are_one_line():
    for foreign in (7, None, "smoltcp", [1]):
        with pytest.raises(UsageError, match="from its report, not from"):
            viz.reproduction(foreign)
    with pytest.raises(UsageError, match="lacks the columns case, theirs"):
        viz.reproduction(pd.DataFrame({"a": [1]}))
    with pytest.raises(UsageError, match="column ours holds .*, not numbers"):
        viz.reproduction(rows().frame().assign(ours="much"))
    assert said(viz.reproduction(pd.DataFrame())[0]) == ["no figures"]


@pytest.mark.parametrize("many", [7, 8])
def test_lines_of_a_parameter_are_told_apart_and_keep_their_order_in_grey(many):
    looks = _looks(many)
    assert len({look.marker for look in looks}) == many
    greys = [lightness(look.colour) for look in looks]
    assert greys == sorted(greys) and greys[-1] < 85
    for sight in SIGHTS:
        near = [distance(a.colour, b.colour, sight) for a, b in zip(looks, looks[1:], strict=False)]
        assert min(near) >= 9, "four times what is just noticeable, and markers beside"
