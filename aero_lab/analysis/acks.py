"""ACK chatter: how many acknowledgements each data segment cost, and what they weighed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError
from ..limits import MS
from .select import at_point, need, oriented

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
    stretch_acks: int = 0
    """Pure ACKs that acknowledge more than two full segments at once (RFC 5681 section 4.2 calls them stretch)."""
    gap_ms: float | None = None
    """Median time between one pure ACK of a flow and its next."""
    gaps_ms: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    """All of those times, in order of size: what a distribution of the inter-arrival times is drawn from."""

    def __repr__(self) -> str:
        ratio = "–" if self.acks_per_data_segment is None else f"{self.acks_per_data_segment:.3f}"
        return f"<Acks {self.pure_acks} for {self.data_segments} data segments ({ratio} each), {self.ack_bytes} bytes>"


def acks(frames: pd.DataFrame, point: str | None = None) -> Acks:
    """Pure ACKs per data segment, over all TCP flows at one point and for each of them."""
    import pandas as pd

    need(frames, "tcp_len", "frame_len", "cause", "flow_id")
    rows: Any = oriented(at_point(frames, point))
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
    stretch, gaps = _chatter(rows, pure)
    data, number, weight, total = (int(table[c].sum()) for c in ("data_segments", "pure_acks", "ack_bytes", "bytes"))
    return Acks(
        data,
        number,
        number / data if data else None,
        weight,
        weight / total if total else None,
        flows,
        stretch,
        float(np.median(gaps)) / MS if len(gaps) else None,
        np.sort(gaps) / MS,
    )


def _steps(rows: Any) -> tuple[Any, Any]:
    """Of each pure ACK: bytes that it acknowledges beyond the one before it, and ns since that; null for the first."""
    groups = rows.groupby([rows["flow_id"].astype("Int64"), rows["direction"].astype(str)])
    moved = groups["tcp_ack"].diff().astype("Float64").astype("Int64") % (1 << 32)
    return moved.where(moved < 1 << 31, 0), groups["frame_time"].diff()


def _chatter(rows: Any, pure: np.ndarray) -> tuple[int, np.ndarray]:
    """How many pure ACKs stretch, and the times between those of one flow and direction, in ns."""
    if "tcp_ack" not in rows.columns or not pure.any():
        return 0, np.zeros(0, np.int64)
    full = rows["tcp_len"].astype(np.int64).groupby(rows["flow_id"].astype("Int64")).max()
    only = rows[pure].assign(tcp_ack=rows["tcp_ack"][pure].astype(np.int64))
    moved, waited = _steps(only)
    size = only["flow_id"].astype("Int64").map(full).astype("Int64")
    return int((moved > 2 * size).sum()), waited.dropna().to_numpy(np.int64)


def thinned(
    frames: pd.DataFrame, keep_one_in: Sequence[int] = (1, 2, 4, 8, 16), point: str | None = None
) -> pd.DataFrame:
    """What if only one pure ACK in ``k`` had been sent? One row a ``k``.

    Of each run of pure ACKs of one flow and direction, between two segments that carry something themselves, the last
    of every ``k`` is kept, and the last of the run always: cumulative acknowledgements make the others redundant.
    Those with SACK blocks, and repeats of one number (duplicate ACKs, which say that something is missing), are kept.

    Columns: ``acks`` that are left, ``acks_per_data_segment``, ``bytes_saved``, ``share_saved`` of the bytes of all
    TCP frames, ``delay_ms`` that acknowledgements came later, on average over all that there were, and the longest,
    ``delay_max_ms``. The sender is taken to behave as it did: its window is not simulated.
    """
    import pandas as pd

    need(frames, "tcp_len", "tcp_ack", "frame_len", "frame_time", "cause", "flow_id")
    rows: Any = oriented(at_point(frames, point))
    rows = rows[rows["tcp_len"].notna()]
    data = int((rows["tcp_len"] > 0).sum())
    total = int(rows["frame_len"].sum())
    streams = _streams(rows)
    out = []
    for k in keep_one_in:
        if k < 1:
            raise UsageError(f"one ACK in {k} cannot be kept: write 1 or more")
        parts = [_thin(own, k) for own in streams]
        kept, saved = sum(part[0] for part in parts), sum(part[1] for part in parts)
        waits = np.concatenate([part[2] for part in parts]) if parts else np.zeros(0)
        out.append(
            {
                "keep_one_in": k,
                "acks": kept,
                "acks_per_data_segment": kept / data if data else None,
                "bytes_saved": saved,
                "share_saved": saved / total if total else None,
                "delay_ms": float(waits.mean()) / MS if len(waits) else None,
                "delay_max_ms": float(waits.max()) / MS if len(waits) else None,
            }
        )
    return pd.DataFrame(out).set_index("keep_one_in")


def _streams(rows: Any) -> list[tuple[np.ndarray, ...]]:
    """Of each direction of each flow: times, lengths, which are pure ACKs, and which of those have to be kept."""
    flow = rows["flow_id"].to_numpy(np.int64, na_value=-1)
    key = 2 * flow + (rows["direction"] == "rx").to_numpy(np.int64)
    order = np.argsort(key, kind="stable")
    order = order[flow[order] >= 0]
    times, length = rows["frame_time"].to_numpy(np.int64)[order], rows["frame_len"].to_numpy(np.int64)[order]
    pure, number = (rows["cause"] == "ack").to_numpy(bool)[order], rows["tcp_ack"].to_numpy(np.int64)[order]
    begins = np.append(True, np.diff(key[order]) != 0)[: len(order)]
    must = np.append(False, number[1:] == number[:-1])[: len(order)] & ~begins
    if "tcp_options_sack_le" in rows.columns:
        must |= rows["tcp_options_sack_le"].notna().to_numpy(bool)[order]
    cuts = np.flatnonzero(begins)[1:]
    return list(zip(*(np.split(column, cuts) for column in (times, length, pure, must)))) if len(order) else []


def _thin(stream: tuple[np.ndarray, ...], k: int) -> tuple[int, int, np.ndarray]:
    """Pure ACKs left in one direction of a flow, bytes saved, how much later each acknowledgement came (ns)."""
    times, length, pure, must = stream
    free = pure & ~must
    # Position of each in its run of such ACKs, counted from 1.
    begins = free & ~np.append(False, free[:-1])
    run_start = np.maximum.accumulate(np.where(begins, np.arange(len(times)), 0)) if len(times) else begins
    position = np.arange(len(times)) - run_start + 1
    last = free & ~np.append(free[1:], False)
    drop = free & ~last & (position % k != 0)
    # A dropped one is done by the next that is kept: each run ends with one.
    keep_at = np.flatnonzero(~drop)
    heir = keep_at[np.searchsorted(keep_at, np.arange(len(times)))] if len(times) else keep_at
    waits = times[heir[pure]] - times[pure] if len(times) else times
    return int((pure & ~drop).sum()), int(length[drop].sum()), waits


def _ratio(above: Any, below: Any) -> Any:
    return above / below.where(below > 0)
