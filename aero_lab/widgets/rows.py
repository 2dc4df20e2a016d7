"""Rows of a capture as short texts: number, time, ends, protocol, and a line that says what the frame is.

Made from the columns alone and only for the rows that are shown, so a capture of a million frames costs no more than
one of twenty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..wire import arp, ipv4

if TYPE_CHECKING:
    import pandas as pd

HEADINGS = ("No.", "Time (s)", "Point", "Dir", "Source", "Destination", "Proto", "Len", "Info")
NUMBERS = (0, 1, 7)
"""Columns that are numbers."""
_FLAGS = ((0x002, "SYN"), (0x001, "FIN"), (0x004, "RST"), (0x008, "PSH"), (0x010, "ACK"), (0x020, "URG"),
          (0x040, "ECE"), (0x080, "CWR"))  # fmt: skip
_DHCP = {1: "Discover", 2: "Offer", 3: "Request", 4: "Decline", 5: "ACK", 6: "NAK", 7: "Release", 8: "Inform"}
_ICMP = {0: "Echo reply", 3: "Destination unreachable", 5: "Redirect", 8: "Echo request", 11: "Time exceeded"}
_ICMPV6 = {1: "Destination unreachable", 2: "Packet too big", 3: "Time exceeded", 128: "Echo request",
           129: "Echo reply", 130: "Listener query", 133: "Router solicitation", 134: "Router advertisement",
           135: "Neighbor solicitation", 136: "Neighbor advertisement", 143: "Listener report"}  # fmt: skip
_PORTS = {5353: "mDNS", 5355: "LLMNR", 123: "NTP"}
_NAMES = {ipv4.TCP: "TCP", ipv4.UDP: "UDP", ipv4.ICMP: "ICMP", ipv4.ICMPV6: "ICMPv6", 2: "IGMP"}
_TELLING = ("retransmission", "duplicate", "keepalive")
"""Causes that the rest of a line does not tell."""


class Row:
    """One row of ``frames()`` whose missing values are None; columns that are not there have none either."""

    __slots__ = ("_values",)

    def __init__(self, values: dict[str, Any]):
        self._values = values

    def __getattr__(self, name: str) -> Any:
        return self._values.get(name)


def rows_of(frames: pd.DataFrame, positions: np.ndarray) -> list[Row]:
    """The rows at these positions."""
    part = frames.iloc[positions]
    columns = {}
    for name in part.columns:
        column: Any = part[name]
        missing = column.isna().to_numpy()
        columns[name] = [None if gone else value for value, gone in zip(column.tolist(), missing)]
    return [Row(dict(zip(columns, values))) for values in zip(*columns.values())]


class Origins:
    """Where the sequence numbers of each TCP conversation begin, so that they can be shown from there.

    That is the SYN's number, or one below the first that was seen, as in Wireshark. Made in one pass over the columns.
    """

    def __init__(self, frames: pd.DataFrame):
        self._of: dict[tuple[int, str, int], int] = {}
        need = ("flow_id", "ip_src", "srcport", "tcp_seq", "tcp_flags_syn")
        if any(name not in frames.columns for name in need):
            return
        tcp: Any = frames.loc[frames["tcp_seq"].notna() & frames["flow_id"].notna(), list(need)]
        first = tcp.drop_duplicates(["flow_id", "ip_src", "srcport"])
        for flow, address, port, seq, syn in zip(*(first[name].tolist() for name in need)):
            self._of[flow, str(address), port] = seq - (not syn)

    def relative(self, row: Row) -> tuple[int, int]:
        """Sequence and acknowledgement number of a row, as far as it is known from where; else as they were sent."""
        seq = self._of.get((row.flow_id, str(row.ip_src), row.srcport))
        ack = self._of.get((row.flow_id, str(row.ip_dst), row.dstport))
        return tuple(
            number if origin is None else (number - origin) & 0xFFFFFFFF
            for number, origin in ((row.tcp_seq, seq), (row.tcp_ack, ack))
        )  # type: ignore[return-value]


def cells(row: Row, start: int, origins: Origins) -> tuple[str, ...]:
    """The texts of :data:`HEADINGS`; times count from ``start`` (ns), sequence numbers from their conversation's."""
    protocol = protocol_of(row)
    addresses = (row.ip_src, row.ip_dst) if row.ip_src is not None else (row.arp_src, row.arp_dst)
    source = row.eth_src if addresses[0] is None else addresses[0]
    target = row.eth_dst if addresses[1] is None else addresses[1]
    return (
        f"{row.frame_number}" if row.frame_number is not None else "",
        f"{(row.frame_time - start) / 1e9:.6f}" if row.frame_time is not None else "",
        _text(row.point),
        _text(row.direction),
        _text(source),
        _text(target),
        protocol,
        f"{row.frame_len}" if row.frame_len is not None else "",
        info(row, protocol, origins),
    )


def protocol_of(row: Row) -> str:
    """What a row is, by the highest protocol whose columns it has."""
    if row.frame_len == 0:
        return "tunnel"
    if row.arp_opcode is not None:
        return "ARP"
    if row.dhcp_type is not None:
        return "DHCP"
    ports = (row.srcport, row.dstport)
    if row.dns_id is not None:
        return next((_PORTS[port] for port in ports if port in (5353, 5355)), "DNS")
    if row.ip_proto is not None:
        if row.ip_proto == ipv4.UDP and 123 in ports:
            return "NTP"
        return _NAMES.get(row.ip_proto, f"IP {row.ip_proto}")
    if row.ip_version is not None:
        return f"IPv{row.ip_version}"
    return f"0x{row.eth_type:04x}" if row.eth_type is not None else "LLC" if row.eth_src is not None else "?"


def info(row: Row, protocol: str, origins: Origins) -> str:
    """What a frame says, in a line; its cause in front where that tells more."""
    text = _info(row, protocol, origins)
    cause = _text(row.cause)
    return f"[{cause}] {text}" if cause in _TELLING else text


def _info(row: Row, protocol: str, origins: Origins) -> str:
    if protocol == "tunnel":
        return f"message of {row.message_len} bytes without a frame"
    if row.ip_frag:
        return f"fragment at {8 * row.ip_frag}{', more follow' if row.ip_flags_mf else ''}, id 0x{row.ip_id or 0:04x}"
    ports = f"{row.srcport} → {row.dstport}" if row.srcport is not None else ""
    if protocol == "ARP":
        if row.arp_opcode == arp.REQUEST:
            return f"Who has {row.arp_dst}? Tell {row.arp_src}"
        return f"{row.arp_src} is at {row.eth_src}" if row.arp_opcode == arp.REPLY else f"operation {row.arp_opcode}"
    if protocol == "DHCP":
        return _DHCP.get(row.dhcp_type, f"message type {row.dhcp_type}")
    if protocol in ("DNS", "mDNS", "LLMNR"):
        return f"{'Response' if row.dns_response else 'Query'} 0x{row.dns_id:04x}  {ports}"
    if row.tcp_flags is not None:
        flags = ", ".join(name for bit, name in _FLAGS if row.tcp_flags & bit)
        seq, ack = origins.relative(row)
        acked = f" Ack={ack}" if row.tcp_flags & 0x10 else ""
        sack = f" SACK={row.tcp_options_sack_count}" if row.tcp_options_sack_count else ""
        return f"{ports} [{flags}] Seq={seq}{acked} Len={row.tcp_len} Win={row.tcp_window_size}{sack}"
    if row.icmp_type is not None:
        names = _ICMPV6 if row.ip_version == 6 else _ICMP
        name = names.get(row.icmp_type, f"type {row.icmp_type}")
        if row.icmp_ident is not None:
            return f"{name} id=0x{row.icmp_ident:04x} seq={row.icmp_seq}"
        return f"{name}, code {row.icmp_code}" if row.icmp_code else name
    if row.udp_length is not None:
        return f"{ports} Len={row.udp_length - 8}"
    return ports


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def aligned(table: list[tuple[str, ...]], most: int = 39) -> list[str]:
    """Lines of equal columns for a monospaced list, headings first; a wider text is cut with an ellipsis.

    ``most`` characters hold any IPv6 address. Line breaks and other control characters become spaces: a cell is one
    line whatever stands in it.
    """
    every = [HEADINGS, *table]
    clean = [["".join(c if c.isprintable() else " " for c in cell) for cell in row] for row in every]
    widths = [min(most, max(len(cell) for cell in column)) for column in zip(*(row[:-1] for row in clean))]
    out = []
    for row in clean:
        parts = []
        for i, (cell, width) in enumerate(zip(row, widths)):
            cut = cell if len(cell) <= width else cell[: width - 1] + "…"
            parts.append(cut.rjust(width) if i in NUMBERS else cut.ljust(width))
        out.append("  ".join([*parts, row[-1][:200]]))
    return out
