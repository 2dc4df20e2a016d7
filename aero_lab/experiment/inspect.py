"""What ``aero-lab inspect`` tells about a capture file: its flows, its ACKs, where its bytes went and why it stood."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..limits import SECOND

if TYPE_CHECKING:
    import pandas
    from rich.console import Console

Section = tuple[str, Sequence[str], list[tuple[str, ...]], Sequence[int]]
"""Title, headings, rows, numbers of the columns that hold numbers."""
PARQUET = b"PAR1"
ROWS = 20
"""Rows of a table in a terminal; how many more there are is said."""
POINTS = ("nic", "tunnel", "egress")


def load(path: str | Path) -> pandas.DataFrame:
    """Frames of a capture file: pcapng or pcap, plain or packed, or parquet."""
    from ..capture import read_capture, read_pcap

    if not Path(path).is_file():
        raise UsageError(f"there is no file {path}")
    try:
        with open(path, "rb") as file:
            parquet = file.read(len(PARQUET)) == PARQUET
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    return read_capture(path) if parquet else read_pcap(path)


class Inspection:
    """A capture file, looked at.

    Parameters
    ----------
    path: the file, see :func:`load`.
    point: whose rows to look at; the first of nic, tunnel and egress that is there when None.
    filter: a display filter (``docs/analysis.md``); what follows is about the frames that pass.
    at_least: shortest stall that is told.
    """

    def __init__(
        self,
        path: str | Path,
        point: str | None = None,
        filter: str | None = None,
        at_least: str | float | None = None,
    ):
        from ..analysis import acks, by_cause, compile_filter, flows, latency, stalls
        from ..analysis.select import COMPUTED, oriented

        chosen = compile_filter(filter) if filter is not None else None
        self.path = Path(path)
        self.filter = filter
        whole = load(path)
        self.attrs = dict(whole.attrs)
        self.number = len(whole)
        self.frames: pandas.DataFrame = whole if chosen is None else whole[chosen.mask(whole)]  # type: ignore[assignment]
        seen = {str(name): int(number) for name, number in whole["point"].value_counts().items() if number}
        self.points = {name: seen[name] for name in POINTS if name in seen}
        if point is not None and point not in self.points:
            raise UsageError(f"{path} has no frames at {point!r}; it has {', '.join(self.points) or 'none at all'}")
        self.point = point or next(iter(self.points), "nic")
        frames = oriented(self.frames)
        self.computed = frames.attrs.get("direction") == COMPUTED
        self.flows: Any = flows(frames, self.point)
        self.acks = acks(frames, self.point)
        self.causes: Any = by_cause(frames, self.point)
        self.latency: Any = latency(frames)
        self.stalls: Any = stalls(frames, at_least)

    @property
    def seconds(self) -> float:
        """From the first frame to the last."""
        times: Any = self.frames["frame_time"]
        return int(times.max() - times.min()) / SECOND if len(times) else 0.0

    @property
    def tunnel_bytes(self) -> int | None:
        """Bytes of the tunnel's messages; None in a capture that has none."""
        lengths: Any = self.frames["message_len"].dropna()
        return int(lengths.sum()) if len(lengths) else None

    def document(self) -> dict[str, Any]:
        """The same as JSON. What is not known is null."""
        return {
            "schema": 1,
            "file": str(self.path),
            "point": self.point,
            "filter": self.filter,
            "frames": len(self.frames),
            "frames_in_file": self.number,
            "frames_at": self.points,
            "seconds": self.seconds,
            "bytes": int(self.causes["bytes"].sum()),
            "tunnel_bytes": self.tunnel_bytes,
            "directions": "computed" if self.computed else "recorded",
            "warning": self.attrs.get("warning"),
            "drops": self.attrs.get("drops") or {},
            "snap": self.attrs.get("snap") or 0,
            "meta": self.attrs.get("meta") or {},
            "acks_per_data_segment": self.acks.acks_per_data_segment,
            "acks": {
                "data_segments": self.acks.data_segments,
                "pure_acks": self.acks.pure_acks,
                "ack_bytes": self.acks.ack_bytes,
                "ack_share": self.acks.ack_share,
                "stretch_acks": self.acks.stretch_acks,
                "gap_ms": self.acks.gap_ms,
            },
            "flows": _plain(self.flows),
            "causes": _plain(self.causes),
            "latency": _plain(self.latency),
            "stalls": _plain(self.stalls),
        }

    def summary(self) -> list[str]:
        """What the file is, in a few lines."""
        at = ", ".join(f"{number:,} at {name}" for name, number in self.points.items()) or "none"
        lines = [f"{self.path}: {self.number:,} frames ({at})"]
        if self.filter is not None:
            lines.append(f"filter {self.filter}: {len(self.frames):,} frames pass, and what follows is about them")
        if self.attrs.get("warning"):
            lines.append(f"the file breaks off: {self.attrs['warning']}")
        drops = {reason: number for reason, number in (self.attrs.get("drops") or {}).items() if number}
        if drops:
            lines.append("missing: " + ", ".join(f"{number:,} {reason}" for reason, number in drops.items()))
        meta = self.attrs.get("meta")
        if meta:
            lines.append("meta: " + json.dumps(meta, sort_keys=True, default=str))
        lines.append(f"{self.seconds:.6f} s from the first frame to the last; tables are of the point {self.point}")
        if self.computed:
            lines.append("directions are not in the file: tx is what the client of each flow sent")
        lines += self._of_the_acks()
        return lines

    def _of_the_acks(self) -> list[str]:
        found = self.acks
        if found.acks_per_data_segment is None:
            return []
        gap = "" if found.gap_ms is None else f"; {found.gap_ms:.3f} ms from one to the next (median)"
        return [
            f"{found.acks_per_data_segment:.3f} pure ACKs per data segment, {found.ack_share:.1%} of the TCP bytes",
            f"{found.stretch_acks:,} of {found.pure_acks:,} pure ACKs stretch{gap}",
        ]

    def sections(self) -> list[Section]:
        """The tables: flows, causes, latency, stalls."""
        total = int(self.causes["bytes"].sum())
        what = "tunnel_bytes" if self.point == "tunnel" else "frame bytes"
        causes = [
            (str(row["cause"]), str(row["direction"]), f"{row['frames']:,}", f"{row['bytes']:,}", f"{row['share']:.1%}")
            for row in self.causes.reset_index().to_dict("records")
        ]
        if causes:
            causes.append(("total", "", f"{int(self.causes['frames'].sum()):,}", f"{total:,}", "100.0%"))
        latency = [
            (str(hop), f"{row['samples']:.0f}", *(f"{row[name]:.3f}" for name in ("min", "p50", "p90", "p99", "max")))
            for hop, row in self.latency.to_dict("index").items()
        ]
        stalls = [
            (f"{row['start_s']:.3f}", f"{row['ms']:.1f}", str(row["flow_id"]), str(row["direction"]), str(row["label"]))
            for row in self.stalls.to_dict("records")
        ]
        flows = ("", "", "client", "server", "s", "up", "down", "resent", "end")
        return [
            ("flows, payload bytes", flows, self._flow_rows(), (0, 4, 5, 6, 7)),
            (f"causes ({what} at {self.point})", ("cause", "way", "frames", "bytes", "share"), causes, (2, 3, 4)),
            ("latency, ms", ("hop", "samples", "min", "p50", "p90", "p99", "max"), latency, (1, 2, 3, 4, 5, 6)),
            ("stalls", ("at s", "ms", "flow", "way", "reason"), stalls, (0, 1, 2)),
        ]

    def _flow_rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = []
        for flow in self.flows.reset_index().to_dict("records"):
            ends = [_end(flow[side], flow[f"{side}_port"]) for side in ("client", "server")]
            rows.append(
                (
                    str(flow["flow_id"]),
                    str(flow["proto"]),
                    *ends,
                    f"{flow['seconds']:.3f}",
                    f"{flow['payload_up']:,}",
                    f"{flow['payload_down']:,}",
                    str(flow["retransmissions"] + flow["duplicates"]),
                    "–" if _missing(flow["end"]) or flow["proto"] != "tcp" else str(flow["end"]),
                )
            )
        return rows

    def print(self, console: Console) -> None:
        """Show it in a terminal; 80 columns are enough."""
        from rich import box
        from rich.table import Table

        for line in self.summary():
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        for title, headings, rows, right in self.sections():
            if not rows:
                continue
            table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0, title=title, title_justify="left")
            for number, heading in enumerate(headings):
                wide = heading in ("client", "server", "reason", "cause", "hop")
                table.add_column(
                    heading, justify="right" if number in right else "left", no_wrap=not wide, overflow="fold"
                )
            shown = self._shown(title, rows)
            for row in shown:
                table.add_row(*row)
            if len(rows) > len(shown):
                table.caption = f"{len(rows) - len(shown):,} smaller ones more; --json has them all"
            console.print(table, markup=False, highlight=False)

    def _shown(self, title: str, rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
        """Rows for a terminal: of flows those with most bytes, of stalls (which come longest first) the first."""
        if title.startswith("causes"):
            return rows
        if title.startswith("flows"):
            weight = self.flows["bytes_up"].to_numpy() + self.flows["bytes_down"].to_numpy()
            largest = sorted(range(len(rows)), key=lambda at: -int(weight[at]))[:ROWS]
            return [rows[at] for at in sorted(largest)]
        return rows[:ROWS]

    def text(self) -> str:
        """As :meth:`print` shows it, 80 columns wide."""
        from io import StringIO

        from rich.console import Console

        out = StringIO()
        self.print(Console(file=out, width=80, color_system=None))
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"

    def html(self) -> str:
        """A report in one file: tables, and pictures of what there is to draw."""
        from .report import inspection_html

        return inspection_html(self)


def _end(address: Any, port: Any) -> str:
    text = str(address)
    return text if _missing(port) else f"[{text}]:{port}" if ":" in text else f"{text}:{port}"


def _missing(value: Any) -> bool:
    import pandas

    return bool(pandas.isna(value))


def _plain(table: pandas.DataFrame) -> list[dict[str, Any]]:
    return json.loads(str(table.reset_index().to_json(orient="records", double_precision=15)))
