"""One colour per cause and per option, one marker per transport, and what all figures share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
"""Okabe and Ito's eight colours (Color Universal Design, 2008); yellow is too faint for lines on white."""
WINE, OLIVE = "#882255", "#999933"
"""Paul Tol's, which go with them."""
INK, FAINT, PALE = "#222222", "#767676", "#D9D9D9"

CAUSE_COLOURS = {
    "payload": BLUE,
    "ack": ORANGE,
    "handshake": GREEN,
    "retransmission": VERMILION,
    "duplicate": PURPLE,
    "keepalive": OLIVE,
    "arp": "#8C8C8C",
    "dhcp": "#595959",
    "dns": SKY,
    "icmp": WINE,
    "broadcast": "#C4C4C4",
    "tunnel_framing": BLACK,
    "transport_overhead": "#A0A0A0",
    "unknown": "#EAEAEA",
}
CAUSE_HATCHES = {"retransmission": "////", "duplicate": "\\\\\\\\", "ack": "....", "dhcp": "||||",
                 "transport_overhead": "xxxx"}  # fmt: skip
"""What tells causes apart in print without colour."""
OPTION_COLOURS = {"A": ORANGE, "B": GREEN, "C": BLUE}
TRANSPORT_MARKERS = {"memory": "o", "websocket": "s", "webrtc": "^", "simulated": "D"}


def cause_label(cause: str) -> str:
    """A cause as a reader's word."""
    return {"ack": "ACK", "arp": "ARP", "dhcp": "DHCP", "dns": "DNS", "icmp": "ICMP"}.get(
        cause, cause.replace("_", " ")
    )


def new_axes(width: float, height: float) -> Axes:
    """Axes of a new figure, in inches."""
    import matplotlib.pyplot as plt

    _, ax = plt.subplots(figsize=(width, height), layout="constrained")
    return ax


def plain(ax: Axes) -> None:
    """Axes without the box, with a light grid behind the data."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.set_axisbelow(True)


def span(ns: float) -> str:
    """A length of time with three digits and a fitting unit."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if abs(ns) >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.0f} ns" if ns else "0"


def no_data(ax: Axes, text: str) -> Axes:
    """Say on the axes that there is nothing to draw."""
    ax.text(0.5, 0.5, text, ha="center", va="center", color=FAINT, transform=ax.transAxes)
    ax.set_axis_off()
    return ax
