"""A message ladder: who sent what to whom, when, and where it got lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..analysis.select import at_point
from ..limits import MS
from .style import CAUSE_COLOURS, FAINT, INK, PALE, cause_label, new_axes, no_data, span, table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_DHCP = ("", "DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK", "RELEASE", "INFORM")
_PROTOCOLS = {2: "IGMP", 6: "TCP", 17: "UDP", 41: "IPv6 in IP", 47: "GRE", 50: "ESP"}
_ICMP = {0: "echo reply", 3: "unreachable", 8: "echo request", 11: "time exceeded"}
_ICMPV6 = {1: "unreachable", 2: "packet too big", 3: "time exceeded", 128: "echo request", 129: "echo reply",
           133: "router solicitation", 134: "router advertisement", 135: "neighbour solicitation",
           136: "neighbour advertisement", 143: "multicast listener report"}  # fmt: skip
NEEDED = ("frame_time", "frame_len", "direction", "cause", "flow_id")
QUIET = 5
"""A pause is marked when it is this many times the median distance of frames, and at least a millisecond."""


@dataclass
class _Row:
    time: int
    right: bool
    label: str
    peer: str
    cause: str
    delay: int | None
    lost: bool


class _Numbers:
    """Sequence numbers relative to the SYN of each flow and sender, or to the least number that is seen of it."""

    def __init__(self, frames: Any = None) -> None:
        self.base: dict[tuple, int] = {}
        if frames is not None and "tcp_seq" in frames.columns:
            tcp = frames[frames["tcp_seq"].notna()]
            self._learn(tcp, "ip_src", "srcport", "tcp_seq")
            self._learn(tcp[tcp["tcp_flags"].fillna(0).astype("int64") & 16 > 0], "ip_dst", "dstport", "tcp_ack")

    def _learn(self, frames: Any, address: str, port: str, column: str) -> None:
        for key, values in frames.groupby(["flow_id", address, port])[column]:
            flow, *sender = key
            numbers = values.to_numpy(dtype=np.int64)
            near = self.base.setdefault((flow, tuple(sender)), int(numbers[0]))
            # As differences with a sign, so that 2**32 is no border.
            below = int((((numbers - near + 0x80000000) & 0xFFFFFFFF) - 0x80000000).min())
            self.base[flow, tuple(sender)] = (near + min(below, 0)) & 0xFFFFFFFF

    def relative(self, key: tuple, value: int, syn: bool = False) -> int:
        if syn or key not in self.base:
            self.base[key] = value
        return (value - self.base[key]) & 0xFFFFFFFF


def describe(row: dict[str, Any], numbers: _Numbers) -> str:
    """One line on what a frame says."""
    if row.get("arp_opcode") is not None:
        if row["arp_opcode"] == 1:
            return f"ARP who has {row.get('arp_dst', '?')}?"
        return f"ARP {row.get('arp_src', '?')} is here"
    if row.get("dhcp_type") is not None:
        kind = row["dhcp_type"]
        return f"DHCP {_DHCP[kind] if kind < len(_DHCP) else kind}"
    if row.get("dns_id") is not None:
        return f"DNS {'answer' if row['dns_response'] else 'query'} {row['dns_id']:#06x}"
    if row.get("tcp_seq") is not None:
        return _tcp(row, numbers)
    if row.get("icmp_type") is not None:
        six = row["ip_version"] == 6
        name = (_ICMPV6 if six else _ICMP).get(row["icmp_type"], f"type {row['icmp_type']}")
        seq = f" seq {row['icmp_seq']}" if row.get("icmp_seq") is not None else ""
        return f"ICMP{'v6' if six else ''} {name}{seq}"
    if row.get("udp_length") is not None:
        return f"UDP {row['srcport']} → {row['dstport']}, {row['udp_length'] - 8} B"
    if row.get("ip_proto") is not None:
        part = f", fragment at {8 * row['ip_frag']}" if row.get("ip_frag") else ""
        return _PROTOCOLS.get(row["ip_proto"], f"IP protocol {row['ip_proto']}") + part
    if row.get("message_len") is not None and not row["frame_len"]:
        return f"tunnel message, {row['message_len']} B"
    return f"frame, {row['frame_len']} B"


def _tcp(row: dict[str, Any], numbers: _Numbers) -> str:
    flags = row["tcp_flags"]
    names = [name for bit, name in ((2, "SYN"), (1, "FIN"), (4, "RST")) if flags & bit]
    flow, here, there = row["flow_id"], (row["ip_src"], row["srcport"]), (row["ip_dst"], row["dstport"])
    seq = numbers.relative((flow, here), row["tcp_seq"], bool(flags & 2))
    parts = [" ".join(names)] if names else []
    if row["tcp_len"]:
        parts.append(f"{row['tcp_len']} B  seq {seq}")
    elif flags & 1:
        parts.append(f"seq {seq}")
    elif row["cause"] == "keepalive":
        parts.append("keepalive")
    if flags & 16:
        parts.append(f"ack {numbers.relative((flow, there), row['tcp_ack'])}")
    if flags & 2 and row.get("tcp_options_mss_val") is not None:
        parts.append(f"mss {row['tcp_options_mss_val']}")
    if row.get("tcp_options_sack_le") is not None:
        left, right = (numbers.relative((flow, there), row[f"tcp_options_sack_{e}"]) for e in ("le", "re"))
        parts.append(f"sack {left}–{right}")
    if not flags & 2 and not row["tcp_window_size"] and not flags & 4:
        parts.append("win 0")
    return "  ".join(parts)


def _rows(frames: Any, most: int) -> tuple[list[_Row], str, str, int]:
    """Rows of the ladder in order of first sighting, names of both ends, and how many frames are left out."""
    points = [p for p in ("nic", "tunnel") if "point" in frames.columns and (frames["point"] == p).any()]
    delays: dict[tuple, int] = {}
    if len(points) == 2 and "frame_id" in frames.columns:
        # One row a frame: the sighting nearest its sender; frames that only one point saw have just that one.
        again = frames["frame_id"].notna() & frames.duplicated(["frame_id", "direction"])
        first = frames[~again & frames["point"].isin(points)]
        other = frames[frames["tunnel_delay"].notna()].drop_duplicates(["frame_id", "direction"])
        keys = zip(other["frame_id"], other["direction"], strict=True)
        delays = dict(zip(keys, other["tunnel_delay"].astype("int64"), strict=True))
        # Of some, a selection has the second sighting only: they were sent that much earlier.
        first = first.assign(frame_time=first["frame_time"] - first["tunnel_delay"].fillna(0).astype("int64"))
    else:
        first = at_point(frames)
    first = first.sort_values("frame_time", kind="stable")
    chosen = first.iloc[:most].astype(object)
    chosen = chosen.where(chosen.notna(), None)
    numbers, rows = _Numbers(first), []
    guests: dict[str, int] = {}
    for row in chosen.to_dict("records"):
        sent = row["direction"] != "rx"
        guest, peer = (row["ip_src"], row["ip_dst"]) if sent else (row["ip_dst"], row["ip_src"])
        port = row["dstport"] if sent else row["srcport"]
        if guest is not None:
            guests[guest] = guests.get(guest, 0) + 1
        delay = delays.get((row["frame_id"], row["direction"])) if row.get("frame_id") is not None else None
        start = "nic" if sent else "tunnel"
        lost = len(points) == 2 and delay is None and row["point"] == start and row.get("frame_len", 0) > 0
        rows.append(_Row(row["frame_time"], sent, describe(row, numbers), _end(peer, port), row["cause"], delay, lost))
    guest = max(guests, key=lambda g: guests[g]) if guests else ""
    ends = ("guest's NIC", "tunnel's far end") if len(points) == 2 else ("guest", "network")
    return rows, f"{ends[0]}\n{guest}", ends[1], len(first) - len(rows)


def _end(address: str | None, port: int | None) -> str:
    """An address and port as one text."""
    if address is None or port is None:
        return address or ""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def ladder(frames: pd.DataFrame, ax: Axes | None = None, most: int = 40) -> Axes:
    """Draw frames as a ladder: one arrow a frame, in the order in which they were first seen.

    With rows of both the NIC and the tunnel, the left line is the guest's NIC, the right one the tunnel's far end, and
    on the right stands how long each frame took from one to the other; a frame that was not seen again ends in a
    cross. With rows of one point the lines are the guest and everything else. Colours are causes. Sequence numbers are
    relative to the first one drawn. Pauses are marked with their length. At most ``most`` frames are drawn; choose
    which by selecting rows, for instance ``frames[frames.flow_id == 3]``.
    """
    frames = table(frames, *NEEDED)
    rows, left, right, rest = _rows(frames, most) if len(frames) else ([], "", "", 0)
    gaps = np.diff([row.time for row in rows]) if len(rows) > 1 else np.zeros(0)
    usual = float(np.median(gaps)) if len(gaps) else 0.0
    pauses = {i + 1: int(gap) for i, gap in enumerate(gaps) if gap >= max(QUIET * usual, MS)}
    positions, y = [], 0.0
    for i in range(len(rows)):
        y += 1.0 if i not in pauses else 1.7
        positions.append(y)
    height = y + (2.0 if rest else 1.2)
    ax = ax or new_axes(8.2, 1.15 + 0.235 * height)
    if not rows:
        return no_data(ax, "no frames")
    start = rows[0].time
    times = [(row.time - start) / MS for row in rows]
    digits = 3 if times[-1] < 1000 else 1
    for x, name in ((0.0, left), (1.0, right)):
        ax.plot([x, x], [0.15, height - 0.3], color=INK, linewidth=1.2, solid_capstyle="butt", zorder=1)
        ax.text(x, -0.25, name, ha="center", va="bottom", fontsize=9, color=INK, fontweight="bold")
    ax.text(-0.035, 0.25, "time (ms)", ha="right", va="center", fontsize=7, color=FAINT)
    delayed = any(row.delay is not None for row in rows)
    ax.text(1.035, 0.25, "delay" if delayed else "", ha="left", va="center", fontsize=7, color=FAINT)
    ax.text(1.17 if delayed else 1.035, 0.25, "peer", ha="left", va="center", fontsize=7, color=FAINT)
    for row, at, when in zip(rows, positions, times, strict=True):
        _arrow(ax, row, at)
        ax.text(-0.035, at, f"{when:.{digits}f}", ha="right", va="center", fontsize=7, color=INK, family="monospace")
        if row.delay is not None:
            ax.text(1.035, at, span(row.delay), ha="left", va="center", fontsize=7, color=INK)
        elif row.lost:
            ax.text(1.035, at, "not seen", ha="left", va="center", fontsize=7, color=CAUSE_COLOURS["retransmission"])
        ax.text(1.17 if delayed else 1.035, at, row.peer, ha="left", va="center", fontsize=7, color=FAINT)
    for i, gap in pauses.items():
        at = (positions[i - 1] + positions[i]) / 2 - 0.1
        ax.text(0.5, at, f"· · ·  {span(gap)}  · · ·", ha="center", va="center", fontsize=7, color=FAINT)
        for x in (0.0, 1.0):
            ax.plot([x, x], [at - 0.28, at + 0.28], color="white", linewidth=3, zorder=2)
            ax.plot([x, x], [at - 0.28, at + 0.28], color=FAINT, linewidth=1.2, linestyle=(0, (1, 1.5)), zorder=3)
    if rest:
        ax.text(0.5, height - 0.6, f"and {rest} more frames", ha="center", va="center", fontsize=8, color=FAINT)
    _legend(ax, rows)
    ax.set_xlim(-0.16, 1.46 if delayed else 1.34)
    ax.set_ylim(height, -1.6)
    ax.set_axis_off()
    return ax


def _arrow(ax: Axes, row: _Row, at: float) -> None:
    colour = CAUSE_COLOURS.get(row.cause, PALE)
    begin, end = (0.006, 0.994) if row.right else (0.994, 0.006)
    if row.lost:
        end = begin + 0.86 * (end - begin)
    dashes = "--" if row.cause in ("retransmission", "duplicate") else "-"
    arrow = {"arrowstyle": "-" if row.lost else "-|>,head_width=0.18,head_length=0.35", "color": colour,
             "linewidth": 1.5, "linestyle": dashes, "shrinkA": 0, "shrinkB": 0}  # fmt: skip
    ax.annotate("", (end, at), (begin, at), arrowprops=arrow, zorder=2)
    if row.lost:
        ax.plot([end], [at], marker="x", markersize=6, markeredgewidth=1.8, color=colour, zorder=3)
    ax.text(
        0.5, at, row.label, ha="center", va="center", fontsize=7.5, color=INK, zorder=4,
        bbox={"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none"},
    )  # fmt: skip


def _legend(ax: Axes, rows: list[_Row]) -> None:
    from matplotlib.lines import Line2D

    seen = dict.fromkeys(row.cause for row in rows)
    handles = [
        Line2D([], [], color=CAUSE_COLOURS.get(cause, PALE), linewidth=2, label=cause_label(cause),
               linestyle="--" if cause in ("retransmission", "duplicate") else "-")
        for cause in CAUSE_COLOURS if cause in seen
    ]  # fmt: skip
    lines = -(-len(handles) // 7)
    ax.legend(
        handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=-(-len(handles) // lines), fontsize=8,
        frameon=False,
    )  # fmt: skip
