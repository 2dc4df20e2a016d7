"""tshark as an oracle: its fields for a file, under the names of our columns."""

import shutil
import subprocess

from aero_lab.capture.schema import COLUMNS

TSHARK = shutil.which("tshark")
REASON = "tshark is not installed"
_OPTIONS = ("ip.defragment:FALSE", "ipv6.defragment:FALSE", "tcp.relative_sequence_numbers:FALSE",
            "tcp.desegment_tcp_streams:FALSE", "ip.use_geoip:FALSE")  # fmt: skip

FIELDS = {column.name: column.fields for column in COLUMNS if column.wireshark}
"""The column table: of these fields the first that a frame has is the column's value."""
QUOTED = {name for name in FIELDS if name.split("_")[0] in ("srcport", "dstport", "tcp", "udp", "dhcp", "dns")}
"""Columns whose fields tshark also gives for packets quoted inside ICMP errors; ours are the frame's own."""
ANALYSIS = ("retransmission", "fast_retransmission", "spurious_retransmission", "out_of_order", "keep_alive",
            "keep_alive_ack", "zero_window_probe", "zero_window_probe_ack", "duplicate_ack")  # fmt: skip
_TEXT = {"point", "eth_src", "eth_dst", "ip_src", "ip_dst", "arp_src", "arp_dst"}


def fields(path, names) -> list[dict[str, str]]:
    """The named fields of each frame, first occurrence, as tshark prints them; absent ones are ""."""
    command = [TSHARK, "-n", "-r", str(path), "-T", "fields", "-E", "occurrence=f", "-E", "separator=\x1f"]
    for option in _OPTIONS:
        command += ["-o", option]
    for name in names:
        command += ["-e", name]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    return [dict(zip(names, line.split("\x1f"), strict=True)) for line in text.splitlines()]


def _value(column: str, text: str):
    if column in _TEXT:
        return text
    return {"True": 1, "False": 0}.get(text) if text in ("True", "False") else int(text, 0)


def columns(path) -> list[dict]:
    """What tshark says about each frame, under our column names, nulls left out."""
    names = sorted({name for fields_of in FIELDS.values() for name in fields_of} | {"tcp.seq_raw"})
    rows = []
    for raw in fields(path, names):
        row = {}
        own = not raw["icmp.type"] and not raw["icmpv6.type"]
        for column, candidates in FIELDS.items():
            text = next((raw[name] for name in candidates if raw[name]), "")
            if own or column not in QUOTED:
                row |= _cell(column, text, raw)
        rows.append(row)
    return rows


def _cell(column: str, text: str, raw: dict[str, str]) -> dict:
    """The value of a column, where it is not the field as it stands: what the column table says beside the field."""
    if column == "frame_time":
        seconds, _, fraction = text.partition(".")
        return {column: int(seconds) * 10**9 + int(fraction.ljust(9, "0"))}
    if column == "tcp_options_sack_perm":
        return {column: int(bool(text))} if raw["tcp.seq_raw"] else {}
    if not text:
        return {}
    if column == "direction":
        return {column: {1: "rx", 2: "tx"}[int(text, 0)]}
    if column == "ip_len":
        return {column: int(text) + (0 if raw["ip.len"] else 40)}
    return {column: _value(column, text)}
