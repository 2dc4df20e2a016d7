"""Every figure of every kind of capture: rendered, nothing on top of anything, units on the axes, greys told apart."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import aero_lab as al
from aero_lab import viz
from aero_lab.errors import UsageError
from tests.capture.conversation import record

from .looking import has_units, looked_at

LABS = {
    "clean": ("rtt=20ms", "download", {"size": "300KB"}),
    "lossy": ("rtt=60ms, loss=8%", "download", {"size": "300KB"}),
    "asymmetric": ("rtt=20ms, rate=50kbit/s:10Mbit/s", "download", {"size": "1MB"}),
    "upload": ("rtt=40ms, rate=2Mbit/s", "upload", {"size": "300KB"}),
    "small": ("rtt=40ms", "rr", {"count": 30}),
    "together": ("rtt=40ms, rate=10Mbit/s", "parallel", {"size": "100KB"}),
    "udp": ("rtt=40ms, jitter=10ms", "voip", {"duration": 1.0}),
}
"""Links and workloads whose captures look different from each other."""
FIGURES = {
    name: getattr(viz, name)
    for name in ("acks", "bandwidth", "causes", "delay", "hops", "ladder", "rtt", "stalls", "stretch", "thinning",
                 "time_sequence", "waterfall")
}  # fmt: skip
"""All that are drawn from frames."""
SEVERAL = ("causes", "delay", "rtt", "stretch", "thinning")
"""Those that take several captures by name."""


def run(link, work, options):
    with al.Lab(virtual=True, seed=3, link=link, progress=False) as lab:
        guest = lab.guest("scripted")
        guest.wait_online()
        guest.run(work, **options)
        lab.advance(0.2)
        return lab.capture.frames()


@pytest.fixture(scope="module")
def captures():
    return {name: run(*what) for name, what in LABS.items()} | {"by hand": record().frames()}


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


ALWAYS = ("lossy", "asymmetric", "udp", "by hand")
"""Captures of which every figure is drawn; the others are for those that show requests and gaps."""


@pytest.mark.parametrize(
    "figure, capture",
    [(f, c) for f in FIGURES for c in [*LABS, "by hand"] if c in ALWAYS or f in ("waterfall", "stalls")],
)
def test_a_figure_reads_well(captures, figure, capture, tmp_path):
    options = {"most": 25} if figure == "ladder" else {}
    ax = FIGURES[figure](captures[capture], **options)
    looked_at(ax.figure, tmp_path / "figure.png")
    has_units(ax)


@pytest.mark.parametrize("figure", SEVERAL)
def test_a_figure_of_several_captures_reads_well(captures, figure, tmp_path):
    for names in (["clean", "lossy"], ["asymmetric", "clean", "lossy", "upload"]):
        ax = FIGURES[figure]({name: captures[name] for name in names})
        looked_at(ax.figure, tmp_path / "figure.png")
        has_units(ax)
        said = " ".join(text.get_text() for text in ax.get_legend().get_texts())
        said += " ".join(label.get_text() for label in ax.get_yticklabels())
        assert all(name in said for name in names)


@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_takes_axes_and_returns_them(captures, figure):
    _, ax = plt.subplots()
    assert FIGURES[figure](captures["lossy"], ax=ax) is ax
    assert len(plt.get_fignums()) == 1


@pytest.mark.parametrize("figure", ["waterfall", "bandwidth", "time_sequence", "stalls", "acks"])
def test_figures_on_one_axis_of_time_keep_each_other_in_view(captures, figure):
    ends = []
    for order in (("clean", "lossy"), ("lossy", "clean")):
        _, axes = plt.subplots(2, 1, sharex=True)
        for ax, name in zip(axes, order, strict=True):
            FIGURES[figure](captures[name][captures[name]["tcp_len"].notna()], ax=ax)
        ends.append(axes[0].get_xlim())
        assert axes[1].get_xlim() == axes[0].get_xlim()
    alone = [FIGURES[figure](captures[name][captures[name]["tcp_len"].notna()]).get_xlim() for name in order]
    if len({abs(high) > 100 for _, high in alone}) == 1:  # in one unit
        assert ends[0] == ends[1] == (min(low for low, _ in alone), max(high for _, high in alone))


@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_of_nothing_says_so(captures, figure, tmp_path):
    arp = captures["clean"][captures["clean"]["cause"] == "arp"]
    for nothing in (captures["clean"][:0], pd.DataFrame(), arp[:1]):
        ax = FIGURES[figure](nothing)
        ax.figure.savefig(tmp_path / "figure.png")
        assert ax.texts or ax.patches or ax.lines


@pytest.mark.parametrize("figure", FIGURES)
def test_what_is_no_capture_is_refused_in_one_line(figure):
    for foreign in (pd.DataFrame({"a": [1, 2]}), [1, 2], None, "frames", np.zeros(3), pd.Series([1]), 7):
        with pytest.raises(UsageError) as caught:
            FIGURES[figure](foreign)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


@pytest.mark.parametrize("figure", FIGURES)
def test_columns_of_the_wrong_kind_are_refused_in_one_line(captures, figure):
    wrong = captures["clean"].assign(frame_time="now", tcp_len="much", frame_len="long", tunnel_delay="late")
    with pytest.raises(UsageError, match="not numbers") as caught:
        FIGURES[figure](wrong)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("figure", SEVERAL)
def test_several_captures_of_which_none_is_given(figure):
    with pytest.raises(UsageError, match="at least one"):
        FIGURES[figure]({})


@pytest.mark.parametrize("figure", FIGURES)
def test_a_capture_of_one_point_alone_is_drawn(captures, figure, tmp_path):
    """As somebody else's pcap is: one point, no identity that joins it to another, no word on where the guest is."""
    frames = captures["lossy"]
    alone = frames[frames["point"] == "nic"].drop(columns=["point", "frame_id", "tunnel_delay", "message_len"])
    for known in (alone, alone.assign(direction=pd.Categorical([None] * len(alone), ["tx", "rx"]))):
        ax = FIGURES[figure](known)
        looked_at(ax.figure, tmp_path / "figure.png")
        assert figure in ("delay", "hops") or [*ax.patches, *ax.lines, *ax.collections], "it shows nothing"


@pytest.mark.parametrize("figure", FIGURES)
def test_a_static_export_has_no_surprise(captures, figure, tmp_path):
    ax = FIGURES[figure](captures["lossy"])
    path = tmp_path / "figure.svg"
    ax.figure.savefig(path)
    assert path.stat().st_size > 3_000
