"""Figures of sweeps: what is drawn is what the table holds, and nothing lies on top of anything."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from aero_lab import viz
from aero_lab.analysis import intervals, median_interval
from aero_lab.errors import UsageError

from .looking import has_units, looked_at


def table(seeds=7, transports=("websocket", "webrtc", "webrtc-unordered"), rtts=(10.0, 30.0, 100.0, 300.0)):
    """A table such as sweeps return, by a formula: goodput falls with RTT and loss, for TCP faster than for SCTP."""
    rows = []
    for option in "ABC":
        for number, transport in enumerate(transports):
            for rtt in rtts:
                for loss in (0.0, 0.001, 0.01, 0.03):
                    for seed in range(1, seeds + 1):
                        slow = (
                            1 + 0.001 * number + loss * rtt * (5 - 2 * number) + "ABC".index(option) * 0.1 + 0.02 * seed
                        )
                        rows.append(
                            {
                                "option": option, "transport": transport, "link_rtt_ms": rtt, "link_loss": loss,
                                "link_rate_mbps": float("inf") if seed % 2 else 10.0, "seed": seed, "ok": True,
                                "goodput_mbps": 400 / rtt / slow * (1.2 if rtt > 50 and number else 1.0),
                                "udp_delay_ms": rtt / 2 * slow,
                            }
                        )  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def test_bands_are_the_intervals_of_the_table(tmp_path):
    runs = table()[lambda t: (t.link_loss == 0.01) & (t.transport == "websocket")]
    ax = viz.bands(runs)
    looked_at(ax.figure, tmp_path / "bands.png")
    has_units(ax)
    found = intervals(runs, "goodput_mbps", ["option", "link_rtt_ms"])
    assert len(ax.lines) == len(ax.collections) == 3 and ax.get_xscale() == "log"
    for option, line, band in zip("ABC", ax.lines, ax.collections):
        rows = found[found.option == option]
        assert list(line.get_xdata()) == [10, 30, 100, 300] and list(line.get_ydata()) == list(rows["median"])
        heights = band.get_paths()[0].vertices[:, 1]
        assert heights.max() == rows["high"].max() and heights.min() == rows["low"].min()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [f"{o} websocket" for o in "ABC"]


@pytest.mark.parametrize("x", ["link_loss", "link_rate_mbps"])
def test_zero_and_no_limit_have_places_of_their_own(x, tmp_path):
    ax = viz.bands(table(), x=x, y="udp_delay_ms", lines="option")
    looked_at(ax.figure, tmp_path / "bands.png")
    ax.figure.canvas.draw()
    shown = [tick.get_text() for tick in ax.get_xticklabels()]
    assert shown == (["0", "0.1", "1", "3"] if x == "link_loss" else ["10", "no limit"])
    assert list(ax.lines[0].get_xdata()) == list(range(len(shown)))


def test_the_map_names_the_best_and_says_who_is_as_good(tmp_path):
    runs = table()
    ax = viz.best(runs)
    looked_at(ax.figure, tmp_path / "best.png")
    has_units(ax)
    assert len(ax.texts) == len(ax.patches) == 16
    medians = runs.groupby(["link_rtt_ms", "link_loss", "option", "transport"])["goodput_mbps"].median()
    for text in ax.texts:
        i, j = (int(round(at)) for at in text.get_position())
        here = medians[(10.0, 30.0, 100.0, 300.0)[i], (0.0, 0.001, 0.01, 0.03)[j]]
        words = text.get_text().split("\n")
        assert words[0].split()[0] == here.idxmax()[0] and here.idxmax()[1] in text.get_text().split()
        assert f"{here.max():.3g}" in words
    sure = viz.best(runs[runs.option.isin(["A"]) & runs.transport.isin(["websocket", "webrtc"])])
    assert any("other" in text.get_text() for text in ax.texts)
    assert {patch.get_alpha() for patch in sure.patches} <= {0.14, 0.42}


def test_a_difference_that_is_sure_and_next_to_nothing_makes_nobody_better():
    runs = pd.DataFrame(
        [
            {"option": option, "transport": "websocket", "link_rtt_ms": 10.0, "link_loss": 0.0, "ok": True,
             "goodput_mbps": goodput, "seed": seed}
            for option, goodput in (("A", 5.0), ("B", 4.99), ("C", 4.0))
            for seed in range(6)
        ]
    )  # fmt: skip
    assert [text.get_text() for text in viz.best(runs).texts] == ["A\nwebsocket\n5\nor 1 other"]
    assert [text.get_text() for text in viz.best(runs, alike=0).texts] == ["A\nwebsocket\n5"]
    assert [text.get_text() for text in viz.best(runs, alike=0.2).texts] == ["A\nwebsocket\n5\nor 2 others"]
    assert [text.get_text() for text in viz.best(runs, higher=False, alike=0.2).texts] == ["C\nwebsocket\n4"]


def test_less_is_better_where_it_is_a_delay():
    runs = table(transports=("websocket",))
    said = [text.get_text() for text in viz.best(runs, value="udp_delay_ms").texts]
    assert all(text.startswith("A") for text in said)
    said = [text.get_text() for text in viz.best(runs, value="udp_delay_ms", higher=True).texts]
    assert all(text.startswith("C") for text in said)


def test_failed_runs_do_not_count_and_nothing_is_an_empty_picture():
    runs = table(seeds=1)
    runs.loc[runs.option == "A", "ok"] = False
    assert len(viz.bands(runs, lines="option").lines) == 2
    assert "A" not in {text.get_text()[0] for text in viz.best(runs).texts}
    runs["ok"] = False
    for figure in (viz.bands, viz.best):
        assert [text.get_text() for text in figure(runs).texts] == ["no run succeeded"]
    blank = table(seeds=1).assign(goodput_mbps=np.nan)
    assert [text.get_text() for text in viz.best(blank).texts] == ["goodput_mbps was not measured"]
    assert [text.get_text() for text in viz.bands(blank).texts] == ["goodput_mbps was not measured"]


@pytest.mark.parametrize("figure", [viz.bands, viz.best])
def test_what_is_no_table_of_runs_is_one_line(figure):
    with pytest.raises(UsageError, match="from its table, not from int"):
        figure(7)
    with pytest.raises(UsageError, match="lacks the columns link_rtt_ms"):
        figure(pd.DataFrame({"goodput_mbps": [1.0]}))


# Intervals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "low", "high"), [(6, 1, 6), (9, 2, 8), (20, 6, 15), (25, 8, 18), (100, 40, 61)])
def test_intervals_are_those_of_the_published_tables(n, low, high):
    """Ranks of the 95 % interval of a median (Conover, table A3 and its like)."""
    found = median_interval(range(1, n + 1))
    assert (found.low, found.high, found.n) == (low, high, n) and found.level >= 0.95
    assert found.median == (n + 1) / 2


def test_few_values_give_what_they_can():
    assert median_interval([]).n == 0 and np.isnan(median_interval([]).median)
    assert median_interval([3.0]) == (1, 3.0, 3.0, 3.0, 0.0)
    five = median_interval([5, 1, 4, None, 2, float("nan"), 3])
    assert five == (5, 3.0, 1.0, 5.0, 1 - 2 / 2**5)
    with pytest.raises(UsageError, match="level must lie between 0 and 1"):
        median_interval([1], level=1.5)


def test_the_interval_holds_the_median_as_often_as_it_says():
    rng = np.random.default_rng(5)
    held = [found.low <= 0 <= found.high for found in (median_interval(row) for row in rng.normal(size=(2000, 15)))]
    level = median_interval(range(15)).level
    assert level >= 0.95 and abs(np.mean(held) - level) < 0.015


def test_groups_with_missing_keys_are_groups():
    runs = pd.DataFrame({"a": ["x", None, "x", None], "b": [1.0, 2.0, 3.0, 6.0]})
    found = intervals(runs, "b", "a")
    assert list(found["median"]) == [2.0, 4.0] and list(found["n"]) == [2, 2]
    with pytest.raises(UsageError, match="lacks the columns c"):
        intervals(runs, "c", ["a"])
