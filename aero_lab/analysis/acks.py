"""ACK chatter: how many acknowledgements each data segment cost, and what they weighed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .select import at_point, need

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Acks:
    """Acknowledgements of the TCP traffic at one point; what could not be measured is None."""

    data_segments: int
    """Segments with payload, sent again or not."""
    pure_acks: int
    """Segments that only acknowledge or update the window (cause ``ack``)."""
    acks_per_data_segment: float | None
    """``pure_acks / data_segments``: about 0.5 with delayed ACKs, 1 when each segment is acknowledged."""
    ack_bytes: int
    """Bytes of the pure ACKs' frames."""
    ack_share: float | None
    """``ack_bytes`` over the bytes of all TCP frames."""
    flows: pd.DataFrame
    """One row a TCP flow: the same figures."""

    def __repr__(self) -> str:
        ratio = "–" if self.acks_per_data_segment is None else f"{self.acks_per_data_segment:.3f}"
        return f"<Acks {self.pure_acks} for {self.data_segments} data segments ({ratio} each), {self.ack_bytes} bytes>"


def acks(frames: pd.DataFrame, point: str | None = None) -> Acks:
    """Pure ACKs per data segment, over all TCP flows at one point and for each of them."""
    import pandas as pd

    need(frames, "tcp_len", "frame_len", "cause", "flow_id")
    rows: Any = at_point(frames, point)
    rows = rows[rows["tcp_len"].notna()]
    length = rows["frame_len"].to_numpy(np.int64)
    pure = (rows["cause"] == "ack").to_numpy(bool)
    table: Any = pd.DataFrame(
        {
            "flow_id": rows["flow_id"].to_numpy(np.int64, na_value=-1),
            "data_segments": (rows["tcp_len"].to_numpy(np.int64) > 0).astype(np.int64),
            "pure_acks": pure.astype(np.int64),
            "ack_bytes": np.where(pure, length, 0),
            "bytes": length,
        }
    )
    flows: Any = table.groupby("flow_id").sum()
    flows["acks_per_data_segment"] = _ratio(flows["pure_acks"], flows["data_segments"])
    flows["ack_share"] = _ratio(flows["ack_bytes"], flows["bytes"])
    data, number, weight, total = (int(table[c].sum()) for c in ("data_segments", "pure_acks", "ack_bytes", "bytes"))
    return Acks(data, number, number / data if data else None, weight, weight / total if total else None, flows)


def _ratio(above: Any, below: Any) -> Any:
    return above / below.where(below > 0)
