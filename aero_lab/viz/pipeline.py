"""The pipeline as a picture: where frames become packets, packets flows, flows sockets, and the three places to cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import UsageError
from .style import FAINT, INK, OPTION_COLOURS, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STAGES = ("guest", "NIC", "link layer\nARP, DHCP", "TCP/IP\nstack", "egress", "host\nsockets")
CARRIED = ("", "frames", "packets", "flows", "bytes")
"""What goes from each stage to the next."""
CUTS = {
    "C": (1, "L2 tunnel", "Ethernet frames"),
    "B": (2, "L3 tunnel", "IP packets"),
    "A": (3, "socket relay", "flows"),
}
"""For each option: the stage behind which it cuts, its name, what its messages carry."""
_WIDTH, _GAP = 1.0, 0.72


def pipeline(ax: Axes | None = None, option: str | None = None) -> Axes:
    """Draw the pipeline with its three cuts, or with one ``option`` (``"A"``, ``"B"``, ``"C"``): which parts then run
    in the browser, which in the proxy, and where frames are captured.
    """
    from matplotlib.patches import FancyBboxPatch

    if option is not None and option.upper() not in CUTS:
        raise UsageError(f"there is no option {option!r}: the options are A, B and C")
    chosen = option.upper() if option else None
    ax = ax or new_axes(9.0, 2.9)
    step = _WIDTH + _GAP
    behind = CUTS[chosen][0] if chosen else None
    for i, name in enumerate(STAGES):
        server = behind is not None and i > behind
        face = "#F2F2F2" if behind is None else "#E8F1F8" if not server else "#FBF1DE"
        ax.add_patch(
            FancyBboxPatch(
                (i * step, 0), _WIDTH, 0.8, boxstyle="round,pad=0,rounding_size=0.08", facecolor=face, edgecolor=INK,
                linewidth=1.1,
            )
        )  # fmt: skip
        ax.text(i * step + _WIDTH / 2, 0.4, name, ha="center", va="center", fontsize=9.5, color=INK)
        if i:
            arrow = {"arrowstyle": "<|-|>", "color": INK, "linewidth": 1.1, "shrinkA": 1, "shrinkB": 1}
            ax.annotate("", (i * step, 0.4), (i * step - _GAP, 0.4), arrowprops=arrow)
            ax.text(i * step - _GAP / 2, 0.55, CARRIED[i - 1], ha="center", va="bottom", fontsize=7.5, color=FAINT)
    for letter, (stage, name, carries) in CUTS.items():
        if chosen in (None, letter):
            _cut(ax, stage * step + _WIDTH + _GAP / 2, letter, name, carries)
    _ends(ax, step, behind)
    if behind is not None:
        _points(ax, step, behind)
    ax.set_xlim(-0.15, len(STAGES) * step - _GAP + 0.15)
    ax.set_ylim(-0.98, 1.72)
    ax.set_axis_off()
    return ax


def _cut(ax: Axes, x: float, letter: str, name: str, carries: str) -> None:
    colour = OPTION_COLOURS[letter]
    ax.plot([x, x], [-0.42, 0.30], color=colour, linewidth=2, linestyle=(0, (3, 1.5)), zorder=3)
    ax.plot([x, x], [0.70, 1.06], color=colour, linewidth=2, linestyle=(0, (3, 1.5)), zorder=3)
    ax.text(
        x, 1.2, letter, ha="center", va="center", fontsize=10, color="white", fontweight="bold", zorder=4,
        bbox={"boxstyle": "circle,pad=0.22", "facecolor": colour, "edgecolor": "none"},
    )  # fmt: skip
    ax.text(x, -0.64, name, ha="center", va="baseline", fontsize=8.5, color=INK, fontweight="bold")
    ax.text(x, -0.86, carries, ha="center", va="baseline", fontsize=8.5, color=INK)


def _ends(ax: Axes, step: float, behind: int | None) -> None:
    end = len(STAGES) * step - _GAP
    split = end / 2 if behind is None else behind * step + _WIDTH + _GAP / 2
    kwargs = {"va": "center", "fontsize": 8.5, "color": FAINT}
    if behind is None:
        ax.text(0, 1.55, "← browser (left of the cut)", ha="left", **kwargs)
        ax.text(end, 1.55, "proxy (right of the cut) →", ha="right", **kwargs)
        return
    for x0, x1, name in ((0, split - 0.25, "browser"), (split + 0.25, end, "proxy")):
        ax.annotate(
            "", (x0, 1.42), (x1, 1.42), arrowprops={"arrowstyle": "|-|,widthA=0.25,widthB=0.25", "color": FAINT}
        )
        ax.text((x0 + x1) / 2, 1.55, name, ha="center", **kwargs)


def _points(ax: Axes, step: float, behind: int) -> None:
    """Where frames are captured: behind the NIC, and at the tunnel's far end."""
    places = ((_WIDTH + step + 0.1, 0.06, "right", "nic"), ((behind + 1) * step - 0.1, -0.06, "left", "tunnel"))
    for x, shift, side, name in places:
        ax.plot([x], [0.4], marker="o", markersize=6, markerfacecolor="white", markeredgecolor=INK, zorder=5)
        ax.plot([x, x], [0.33, -0.04], color=INK, linewidth=0.7, zorder=1)
        ax.text(x + shift, -0.15, name, ha=side, va="center", fontsize=7.5, color=INK, family="monospace")
