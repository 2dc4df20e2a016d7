"""What ``aero-lab inspect`` prints about a capture file: its flows, its ACKs, and where its bytes went."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..tables import text_table

if TYPE_CHECKING:
    import pandas

FLOW_HEADINGS = ("protocol", "client", "server", "s", "payload up", "down", "resent", "connect ms", "end")
CAUSE_HEADINGS = ("cause", "direction", "frames", "bytes", "share")


class Inspection:
    """A capture file, looked at."""

    def __init__(self, path: str | Path, point: str | None = None):
        from ..analysis import acks, by_cause, flows
        from ..capture import load_pcap

        if not Path(path).is_file():
            raise UsageError(f"there is no file {path}")
        self.path = Path(path)
        self.capture = load_pcap(path)
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

    def text(self) -> str:
        """For a terminal."""
        parts = [f"{self.path}: {len(self.frames):,} frames at all points; what follows is at the point {self.point}"]
        if self.capture.warning:
            parts.append(f"the file breaks off: {self.capture.warning}")
        if len(self.flows):
            parts.append(text_table(FLOW_HEADINGS, self._flow_rows(), right=(3, 4, 5, 6, 7)))
        ratio = self.acks.acks_per_data_segment
        if ratio is not None:
            parts.append(f"{ratio:.3f} pure ACKs per data segment, {self.acks.ack_share:.1%} of the TCP bytes")
        parts.append(text_table(CAUSE_HEADINGS, self._cause_rows(), right=(2, 3, 4)))
        return "\n\n".join(parts)

    def _cause_rows(self) -> list[tuple[str, ...]]:
        return [
            (str(row["cause"]), str(row["direction"]), f"{row['frames']:,}", f"{row['bytes']:,}", f"{row['share']:.1%}")
            for row in self.causes.reset_index().to_dict("records")
        ]

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

    return json.loads(str(table.reset_index().to_json(orient="records")))
