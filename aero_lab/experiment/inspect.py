"""What ``aero-lab inspect`` prints about a capture file: its flows, its ACKs, and where its bytes went."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError

if TYPE_CHECKING:
    import pandas
    from rich.table import Table as RichTable

FLOW_COLUMNS = (
    ("proto", "protocol"),
    ("client", "client"),
    ("server", "server"),
    ("seconds", "s"),
    ("payload_up", "payload\nup"),
    ("payload_down", "payload\ndown"),
    ("retransmissions", "retrans-\nmissions"),
    ("connect_ms", "connect\nms"),
    ("end", "end"),
)


class Inspection:
    """A capture file, looked at."""

    def __init__(self, path: str | Path, point: str | None = None):
        from ..analysis import acks, by_cause, flows
        from ..capture import read_pcap

        if not Path(path).is_file():
            raise UsageError(f"there is no file {path}")
        self.path = Path(path)
        self.capture = read_pcap(path)
        self.frames: pandas.DataFrame = self.capture.frames()
        seen = [str(name) for name in self.frames["point"].unique()] if len(self.frames) else []
        if point is not None and point not in seen:
            raise UsageError(f"{path} has no frames at {point!r}; it has {', '.join(seen) or 'none at all'}")
        self.point = point or next((name for name in ("nic", "tunnel", "egress") if name in seen), "nic")
        self.flows = flows(self.frames, self.point)
        self.acks = acks(self.frames, self.point)
        self.causes = by_cause(self.frames, self.point)

    def document(self) -> dict[str, Any]:
        """The same as JSON."""
        return {
            "schema": 1,
            "file": str(self.path),
            "point": self.point,
            "frames": len(self.frames),
            "warning": self.capture.warning,
            "acks_per_data_segment": self.acks.acks_per_data_segment,
            "flows": _plain(self.flows),
            "causes": _plain(self.causes),
        }

    def tables(self) -> Iterator[RichTable | str]:
        """For a terminal, one after another."""
        yield f"{self.path}: {len(self.frames):,} frames; what follows is at the point {self.point}"
        if self.capture.warning:
            yield f"the file breaks off: {self.capture.warning}"
        if len(self.flows):
            yield _rich("flows", self._flow_rows(), [heading for _, heading in FLOW_COLUMNS])
        ratio = self.acks.acks_per_data_segment
        if ratio is not None:
            yield f"{ratio:.3f} pure ACKs per data segment, {self.acks.ack_share:.1%} of the TCP bytes"
        causes = self.causes.reset_index()
        yield _rich(
            "bytes by cause",
            [
                (
                    str(row["cause"]),
                    str(row["direction"]),
                    f"{row['frames']:,}",
                    f"{row['bytes']:,}",
                    f"{row['share']:.1%}",
                )
                for row in causes.to_dict("records")
            ],
            ["cause", "direction", "frames", "bytes", "share"],
        )

    def _flow_rows(self) -> list[tuple[str, ...]]:
        rows = []
        for flow in self.flows.reset_index().to_dict("records"):
            ends = [
                str(flow[side]) if _missing(flow[f"{side}_port"]) else f"{flow[side]}:{flow[f'{side}_port']}"
                for side in ("client", "server")
            ]
            rows.append(
                (
                    str(flow["proto"]),
                    *ends,
                    f"{flow['seconds']:.3f}",
                    f"{flow['payload_up']:,}",
                    f"{flow['payload_down']:,}",
                    str(flow["retransmissions"]),
                    "–" if _missing(flow["connect_ms"]) else f"{flow['connect_ms']:.2f}",
                    "–" if _missing(flow["end"]) else str(flow["end"]),
                )
            )
        return rows


def _missing(value: Any) -> bool:
    import pandas

    return bool(pandas.isna(value))


def _plain(table: pandas.DataFrame) -> list[dict[str, Any]]:
    import json

    return json.loads(table.reset_index().to_json(orient="records"))


def _rich(title: str, rows: list[tuple[str, ...]], headings: list[str]) -> RichTable:
    from rich.table import Table as RichTable

    table = RichTable(title=title)
    for number, heading in enumerate(headings):
        text = any(row[number][:1].isalpha() for row in rows)
        table.add_column(heading, justify="left" if text or not number else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
