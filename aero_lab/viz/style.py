"""One colour per cause, option and transport, and what all figures share.

Every set of colours stays apart for readers with deuteranopia, protanopia and tritanopia, and in a grey print with the
help of a second mark: hatches for areas, dashes for lines, markers for points. ``tests/viz/test_colours.py`` simulates
it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..analysis.select import COMPUTED, oriented
from ..errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
"""Okabe and Ito's eight colours (Color Universal Design, 2008); yellow is too faint for lines on white."""
WINE, OLIVE, SAND, INDIGO = "#882255", "#999933", "#DDCC77", "#332288"
"""Paul Tol's, which go with them."""
INK, FAINT, PALE = "#222222", "#6E6E6E", "#D9D9D9"

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
    "broadcast": "#CACACA",
    "tunnel_framing": BLACK,
    "transport_overhead": "#A0A0A0",
    "unknown": "#EEEEEE",
}
CAUSE_HATCHES = {"retransmission": "////", "duplicate": "\\\\\\\\", "ack": "....", "dhcp": "||||",
                 "keepalive": "----", "arp": "++++", "transport_overhead": "xxxx"}  # fmt: skip
"""What tells causes apart in print without colour."""


class Look(NamedTuple):
    """How a line of a figure is drawn."""

    colour: str
    dashes: Any = "-"
    marker: str = "o"


OPTION_COLOURS = {"A": ORANGE, "B": GREEN, "C": BLUE}
OPTION_DASHES = {"A": (0, (6, 1.5)), "B": (0, (1.5, 1)), "C": "-"}
TRANSPORT_COLOURS = {"memory": "#5A5A5A", "websocket": PURPLE, "webrtc": SKY, "datagram": VERMILION,
                     "simulated": OLIVE, "webrtc-unordered": INDIGO, "webrtc-lossy": INK}  # fmt: skip
TRANSPORT_MARKERS = {"memory": "o", "websocket": "s", "webrtc": "^", "datagram": "v", "simulated": "D",
                     "webrtc-unordered": "P", "webrtc-lossy": "X"}  # fmt: skip
TRANSPORT_DASHES = {"memory": "-", "websocket": (0, (6, 1.5)), "webrtc": (0, (1.5, 1)),
                    "datagram": (0, (6, 1.5, 1, 1.5)), "simulated": (0, (3, 3)),
                    "webrtc-unordered": (0, (8, 2, 1, 2, 1, 2)), "webrtc-lossy": (0, (1, 3))}  # fmt: skip
"""An option is told by its colour, its transport by marker and dashes; where all lines are of one option, a transport
by its own colour too."""
OTHERS = (Look(BLUE, "-", "o"), Look(ORANGE, (0, (6, 1.5)), "s"), Look(GREEN, (0, (1.5, 1)), "^"),
          Look(VERMILION, (0, (6, 1.5, 1, 1.5)), "D"), Look(INDIGO, (0, (3, 3)), "v"),
          Look(INK, (0, (8, 2, 1, 2, 1, 2)), "P"))  # fmt: skip
"""For lines that are neither, in their order."""


def looks(names: Any) -> dict[Any, Look]:
    """A look for each name of a figure's lines.

    A name is an option (``"A"``), a transport (``"websocket"``), both (``("A", "websocket")`` or ``"A websocket"``), or
    anything else. What has a colour of its own gets it if all have; else they go by their order.
    """
    names = list(names)
    parts = {name: _parts(name) for name in names}
    if names and all(option or transport for option, transport in parts.values()):
        several = len({option for option, _ in parts.values()}) > 1
        out = {}
        for name, (option, transport) in parts.items():
            colour = OPTION_COLOURS[option] if option and (several or not transport) else TRANSPORT_COLOURS[transport]
            dashes = TRANSPORT_DASHES[transport] if transport else OPTION_DASHES[option]
            out[name] = Look(colour, dashes, TRANSPORT_MARKERS.get(transport, "o"))
        if len(set(out.values())) == len(out):
            return out
    return {name: OTHERS[i % len(OTHERS)] for i, name in enumerate(names)}


def _parts(name: Any) -> tuple[str, str]:
    words = [str(part) for part in (name if isinstance(name, tuple) else str(name).split())]
    option = next((w for w in words if w in OPTION_COLOURS), "")
    transport = next((w for w in words if w in TRANSPORT_COLOURS), "")
    known = bool(option) + bool(transport)
    return (option, transport) if known == len(words) else ("", "")


def label_of(name: Any) -> str:
    """A line's name as text."""
    return " ".join(map(str, name)) if isinstance(name, tuple) else str(name)


def cause_label(cause: str) -> str:
    """A cause as a reader's word."""
    return {"ack": "ACK", "arp": "ARP", "dhcp": "DHCP", "dns": "DNS", "icmp": "ICMP"}.get(
        cause, cause.replace("_", " ")
    )


def way_label(direction: str | None, frames: Any = None) -> str:
    """A direction as a reader's words; where a capture does not tell who the guest is, ``tx`` is from the client."""
    near = "client" if getattr(frames, "attrs", {}).get("direction") == COMPUTED else "guest"
    return {"tx": f"from the {near}", "rx": f"to the {near}", "?": "direction unknown"}.get(direction or "", "")


def point_label(point: str | None) -> str:
    """A capture point as a reader's word."""
    return {"nic": "NIC"}.get(point or "", point or "")


# Frames --------------------------------------------------------------------------------------------------------------

NUMBERS = ("frame_time", "frame_len", "tcp_len", "tcp_seq", "tcp_ack", "tcp_flags", "flow_id", "tunnel_delay")


def table(frames: Any, *columns: str) -> Any:
    """The frames as a DataFrame with at least these columns; takes a capture too.

    A table without rows needs no columns: there is nothing to draw then.
    """
    import pandas as pd

    if not isinstance(frames, pd.DataFrame):
        if not callable(getattr(frames, "frames", None)):
            raise UsageError(
                f"a figure is drawn from a DataFrame of frames or from a capture, not from {_kind(frames)}"
            )
        frames = frames.frames()
    if not len(frames):
        return frames
    if "direction" in columns and "flow_id" in frames.columns:
        frames = oriented(frames)  # somebody else's capture does not tell
    missing = [name for name in columns if name not in frames.columns]
    if missing:
        raise UsageError(f"these frames lack the columns {', '.join(missing)}")
    for name in columns:
        if name in NUMBERS and not pd.api.types.is_numeric_dtype(frames[name]):
            raise UsageError(f"the column {name} holds {frames[name].dtype}, not numbers")
    return frames


def tables(frames: Any, *columns: str) -> dict[Any, Any]:
    """Several captures by name, or one under the name None."""
    if not isinstance(frames, dict):
        return {None: table(frames, *columns)}
    if not frames:
        raise UsageError("there is nothing to compare: give at least one capture by name")
    return {name: table(each, *columns) for name, each in frames.items()}


def _kind(thing: Any) -> str:
    return (
        "nothing" if thing is None else f"{'an' if type(thing).__name__[0] in 'aeiou' else 'a'} {type(thing).__name__}"
    )


# Axes ----------------------------------------------------------------------------------------------------------------


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


def grid(ax: Axes, axis: Any = "both") -> None:
    """The light grid."""
    ax.grid(axis=axis, color=PALE, linewidth=0.6)


def reach(ax: Axes, right: float, left: float = 0.0) -> None:
    """The horizontal axis from ``left`` to ``right``; what others draw on an axis that is shared stays in view."""
    if len(ax.get_shared_x_axes().get_siblings(ax)) > 1 and ax.get_autoscalex_on() is False:
        left, right = min(left, ax.get_xlim()[0]), max(right, ax.get_xlim()[1])
    ax.set_xlim(left, right)


def numbers(axis: Axis) -> None:
    """Ticks of a linear axis as plain numbers: 20,000 and not 2e4."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"))


def decades(axis: Axis, low: float, high: float) -> None:
    """Ticks of a logarithmic axis at 1, 2 and 5 of each decade, as plain numbers, none at the smaller steps.

    Over many decades only the ones are left, so that labels keep apart.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    steps = (1, 2, 5) if last - first <= 4 else (1,)
    skip = max(1, (last - first) // 8)
    axis.set_major_locator(FixedLocator([m * 10.0**e for e in range(first, last + 1, skip) for m in steps]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1000 else f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def beside(ax: Axes, handles: Any = None, **options: Any) -> None:
    """The legend, to the right of the axes."""
    given = {} if handles is None else {"handles": handles}
    ax.legend(**given, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=8, borderaxespad=0,
              alignment="left", title_fontsize=8, **options)  # fmt: skip


def title(ax: Axes, text: str) -> None:
    """What is on the picture, in one line above it."""
    ax.set_title(text, fontsize=9, loc="left")


def time_axis(length_ns: float) -> tuple[float, str]:
    """Nanoseconds a unit, and the unit, for an axis of that length."""
    return (1e9, "s") if length_ns >= 2e9 else (1e6, "ms") if length_ns >= 2e6 else (1e3, "µs")


def span(ns: float) -> str:
    """A length of time with three digits and a fitting unit."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if abs(ns) >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.0f} ns" if ns else "0"


def milliseconds(ms: float) -> str:
    """The same from milliseconds."""
    return span(round(ms * 1e6))


def no_data(ax: Axes, text: str) -> Axes:
    """Say on the axes that there is nothing to draw."""
    ax.text(0.5, 0.5, text, ha="center", va="center", color=FAINT, transform=ax.transAxes)
    ax.set_axis_off()
    return ax
