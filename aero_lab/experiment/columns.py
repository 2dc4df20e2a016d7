"""The columns of printed tables of runs, and what stands in their cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .record import Run

COLUMNS: Sequence[tuple[str, str, str]] = (
    ("label", "option", "{}"),
    ("over", "transport", "{}"),
    ("link_name", "link", "{}"),
    ("workload", "workload", "{}"),
    ("mode", "mode", "{}"),
    ("ok", "ok", "{}"),
    ("bytes", "bytes", "{:,}"),
    ("seconds", "s", "{:.3f}"),
    ("goodput_mbps", "goodput\nMbit/s", "{:.1f}"),
    ("connect_ms", "connect\nms", "{:.2f}"),
    ("ttfb_ms", "first byte\nms", "{:.2f}"),
    ("request_ms", "request\nms", "{:.2f}"),
    ("rtt_ms", "RTT\nms", "{:.2f}"),
    ("messages_per_mb", "messages\nper MB", "{:.0f}"),
    ("tunnel_bytes_up", "tunnel up\nbytes", "{:,}"),
    ("tunnel_bytes_down", "tunnel down\nbytes", "{:,}"),
    ("wire_bytes_up", "wire up\nbytes", "{:,}"),
    ("wire_bytes_down", "wire down\nbytes", "{:,}"),
    ("overhead_ratio", "wire per\npayload", "{:.3f}"),
    ("acks_per_data_segment", "ACKs per\nsegment", "{:.2f}"),
    ("retransmissions", "retrans-\nmissions", "{}"),
    ("client_cpu_us_per_mb", "client CPU\nµs/MB", "{:,.0f}"),
    ("proxy_cpu_us_per_mb", "proxy CPU\nµs/MB", "{:,.0f}"),
    ("guest_mips_idle", "MIPS\nidle", "{:.0f}"),
    ("guest_mips_loaded", "MIPS\nloaded", "{:.0f}"),
    ("client_lines", "client\nlines", "{:,}"),
    ("udp_delay_ms", "UDP delay\nms", "{:.2f}"),
    ("udp_jitter_ms", "jitter\nms", "{:.2f}"),
    ("udp_loss", "loss", "{:.2%}"),
    ("privileges", "privileges", "{}"),
)
"""Columns of the printed table: field, heading, format. A column that no run measured is left out."""


def _text(value: Any, form: str) -> str:
    """A value in its column's form; one that the form would make 0.0 keeps two digits."""
    text = form.format(value)
    if not isinstance(value, float) or not value or text.strip("-0.,%"):
        return text
    return f"{value * 100:.2g}%" if text.endswith("%") else f"{value:.2g}"


SHARED = ("link_name",)
"""Columns that are left out where all runs say the same: then it is in the title."""


def used_columns(runs: Sequence[Run]) -> list[tuple[str, str, str]]:
    """The columns that these runs have something to say in."""
    said = {name: {getattr(run, name) for run in runs} for name, _, _ in COLUMNS}
    used = {name for name, values in said.items() if values - {None}}
    return [each for each in COLUMNS if each[0] in used and (each[0] not in SHARED or len(said[each[0]]) > 1)]


def cells(runs: Sequence[Run]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the printed table, as text."""
    used = used_columns(runs)
    rows = []
    for run in runs:
        row = []
        for name, _, form in used:
            value = getattr(run, name)
            row.append("–" if value is None else ("yes" if value else "no") if name == "ok" else _text(value, form))
        rows.append(row)
    return [heading for _, heading, _ in used], rows


def table_cells(runs: Sequence[Run]) -> tuple[list[str], list[list[str]]]:
    """Of the printed table: a row a run, or with repeats a row a combination, median and spread."""
    return median_cells(runs) if any(run.repeat for run in runs) else cells(runs)


LABELS = ("label", "over", "link_name", "workload", "mode")
"""Columns that say which run it is, and do not measure."""


def groups(runs: Sequence[Run], keys: Sequence[str] = LABELS) -> list[list[Run]]:
    """Runs that have these in common, in the order of their first."""
    found: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        found.setdefault(tuple(getattr(run, name) for name in keys), []).append(run)
    return list(found.values())


def middle(values: Sequence[Any], form: str) -> str:
    """A median, and ± half the distance between the least and the greatest."""
    from statistics import median

    if not values:
        return "–"
    if isinstance(values[0], str):
        return ", ".join(dict.fromkeys(values))
    spread, mid = (max(values) - min(values)) / 2, median(values)
    if isinstance(values[0], int):
        mid, spread = round(mid), round(spread)
    return _text(mid, form) + (f" ±{_text(spread, form)}" if spread else "")


def median_cells(runs: Sequence[Run]) -> tuple[list[str], list[list[str]]]:
    """The same with one row a combination of several runs: the median, and ± half the distance between the least and
    the greatest. A failed run makes its combination one that is not ok, and does not count."""
    used = used_columns(runs)
    rows = []
    for group in groups(runs):
        row = []
        for name, _, form in used:
            values = [value for run in group if (value := getattr(run, name)) is not None and (run.ok or name == "ok")]
            if name in LABELS:
                row.append(str(getattr(group[0], name)))
            elif name == "ok":
                row.append(f"{sum(values)}/{len(group)}")
            else:
                row.append(middle(values, form))
        rows.append(row)
    return [heading for _, heading, _ in used], rows


def is_number(cell: str) -> bool:
    """Whether what stands in a cell is a figure, or none that was measured."""
    return cell[:1].isdigit() or cell == "–"


# Every run, for a page -----------------------------------------------------------------------------------------------

EVERY: dict[str, tuple[str, ...]] = {
    "time": ("ok", "bytes", "seconds", "goodput_mbps", "connect_ms", "ttfb_ms", "request_ms", "rtt_ms"),
    "datagrams": ("udp_delay_ms", "udp_jitter_ms", "udp_loss"),
    "bytes and messages": (
        "messages_per_mb", "tunnel_bytes_up", "tunnel_bytes_down", "wire_bytes_up", "wire_bytes_down",
        "overhead_ratio", "acks_per_data_segment", "retransmissions",
    ),
    "cost": (
        "client_cpu_us_per_mb", "proxy_cpu_us_per_mb", "guest_mips_idle", "guest_mips_loaded", "client_lines",
        "privileges",
    ),
}  # fmt: skip
"""The columns of the printed table in parts that a page is wide enough for; together they are all but the labels."""


def every_run(runs: Sequence[Run]) -> list[tuple[str, list[str], list[list[str]]]]:
    """The printed table in parts: title, headings, rows. Each part has the rows that say something in it."""
    headings, rows = table_cells(runs)
    names = [name for name, _, _ in used_columns(runs)]
    labels = [names.index(name) for name in LABELS if name in names]
    if len({run.mode for run in runs}) < 2:
        labels = [place for place in labels if names[place] != "mode"]
    parts = []
    for title, wanted in EVERY.items():
        places = [names.index(name) for name in wanted if name in names]
        told = [row for row in rows if any(row[place] != "–" for place in places)]
        if told:
            keep = labels + places
            parts.append((title, [headings[p] for p in keep], [[row[p] for p in keep] for row in told]))
    return parts


# One row a cell, all workloads together -----------------------------------------------------------------------------


def _per_byte(name: str) -> Callable[[Run], float | None]:
    def of(run: Run) -> float | None:
        up, down = getattr(run, f"{name}_up"), getattr(run, f"{name}_down")
        return (up + down) / run.bytes if run.bytes and up is not None and down is not None else None

    return of


def _spent(*causes: str) -> Callable[[Run], float | None]:
    """Bytes spent for these causes, both ways, in hundredths of the payload."""

    def of(run: Run) -> float | None:
        told = run.extra.get("causes")
        if not told or not run.bytes:
            return None
        every = [(cause, number) for way in told.values() for cause, number in way.items()]
        known = {cause for name, _, _ in BLOCKS[WHERE] if isinstance(name, tuple) for cause in name}
        return sum(n for cause, n in every if cause in causes or (not causes and cause not in known)) / run.bytes

    return of


def _left(run: Run) -> str | None:
    """What the client part leaves an emulated PC of its core, and where that lies nearly for sure."""
    told = run.extra.get("mips", {})
    if "left" not in told:
        return None
    return f"{told['left']:.0%} ({told['left_low'] * 100:.0f}–{told['left_high'] * 100:.0f})"


Entry = tuple[Any, str, str]
WHERE = "where the bytes go, in per cent of the payload"
BLOCKS: dict[str, tuple[Entry, ...]] = {
    "how fast": (
        ("goodput_mbps", "goodput\nMbit/s", "{:.1f}"),
        ("connect_ms", "connect\nms", "{:.2f}"),
        ("ttfb_ms", "first byte\nms", "{:.2f}"),
        ("request_ms", "request\nms", "{:.2f}"),
        ("udp_delay_ms", "UDP delay\nms", "{:.2f}"),
        ("udp_jitter_ms", "jitter\nms", "{:.2f}"),
        ("udp_loss", "UDP loss", "{:.1%}"),
    ),
    "what it costs": (
        ("client_cpu_us_per_mb", "client CPU\nµs/MB", "{:,.0f}"),
        ("proxy_cpu_us_per_mb", "proxy CPU\nµs/MB", "{:,.0f}"),
        ("guest_mips_idle", "MIPS\nidle", "{:.0f}"),
        ("guest_mips_loaded", "MIPS\nloaded", "{:.0f}"),
        (_left, "left to\nthe PC", "{}"),
        ("client_lines", "client\nlines", "{:,}"),
        ("privileges", "privileges", "{}"),
    ),
    "what travels": (
        (_per_byte("tunnel_bytes"), "tunnel per\npayload", "{:.3f}"),
        ("overhead_ratio", "wire per\npayload", "{:.3f}"),
        ("messages_per_mb", "messages\nper MB", "{:,.0f}"),
        ("acks_per_data_segment", "ACKs per\nsegment", "{:.2f}"),
        ("retransmissions", "retrans-\nmissions", "{}"),
    ),
    WHERE: (
        (("payload",), "payload,\nits headers", "{:.1%}"),
        (("ack",), "ACKs", "{:.1%}"),
        (("retransmission",), "retrans-\nmissions", "{:.1%}"),
        (("tunnel_framing",), "tunnel\nframing", "{:.1%}"),
        (("transport_overhead",), "transport", "{:.1%}"),
        ((), "all else", "{:.1%}"),
    ),
}
"""What the summary shows: names of its parts, and of each the columns. The last part in hundredths of the payload."""
CELL = ("label", "over", "mode", "guest")
"""What makes a cell of the summary."""


def summary(runs: Sequence[Run]) -> list[tuple[str, list[str], list[list[str]]]]:
    """One row a cell, its workloads together: each figure is from the first workload that measured it. In parts that
    fit a page, for each link: title, headings, rows."""
    heads = {"label": "option", "over": "transport", "mode": "mode", "guest": "guest"}
    said = [name for name in CELL if name in CELL[:2] or len({getattr(run, name) for run in runs}) > 1]
    links = groups([run for run in runs if run.ok], ("link_name",))
    parts = []
    for title, entries in BLOCKS.items():
        for link in links:
            rows, there = [], [False] * len(entries)
            for cell in groups(link, CELL):
                row = [str(getattr(cell[0], name)) for name in said]
                for place, (name, _, form) in enumerate(entries):
                    values = _first(cell, name)
                    there[place] |= bool(values)
                    row.append(middle(values, form))
                rows.append(row)
            if any(there):
                keep = [True] * len(said) + there
                headings = [heads[name] for name in said] + [heading for _, heading, _ in entries]
                name = f"{title}, link {link[0].link_name}" if len(links) > 1 else title
                parts.append((name, _kept(headings, keep), [_kept(row, keep) for row in rows]))
    return parts


def _kept(items: list[str], keep: list[bool]) -> list[str]:
    return [item for item, stays in zip(items, keep) if stays]


def _first(cell: Sequence[Run], name: Any) -> list[Any]:
    """The figure in all repeats of the first workload that measured it."""
    if isinstance(name, tuple):
        name = _spent(*name)
    value_of: Callable[[Run], Any] = name if callable(name) else lambda run: getattr(run, name)
    for repeats in groups(cell, ("workload",)):
        values = [value for run in repeats if (value := value_of(run)) is not None]
        if values:
            return values
    return []
