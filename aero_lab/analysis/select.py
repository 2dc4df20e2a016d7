"""What the analyses share: which rows to look at, and how many bytes each cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

ORDER = ("nic", "tunnel", "egress")
COMPUTED = "computed: tx is what the client of each flow sent"
"""In ``attrs["direction"]`` of frames whose directions :func:`oriented` found."""


def need(frames: pd.DataFrame, *columns: str) -> None:
    """Say plainly which columns are missing."""
    missing = [name for name in columns if name not in frames.columns]
    if missing:
        raise UsageError(f"these frames lack the columns {', '.join(missing)}")


def at_point(frames: pd.DataFrame, point: str | None = None) -> pd.DataFrame:
    """Rows of one capture point: the given one, else the first of nic, tunnel and egress that was recorded.

    A frame has a row at each point it passed, so figures over all rows would count it more than once.
    """
    if "point" not in frames.columns:
        return frames
    if point is None:
        seen = set(frames["point"].unique())
        point = next((name for name in ORDER if name in seen), None)
        if point is None:
            return frames
    elif point not in ORDER:
        raise UsageError(f"no capture point {point!r}: there are {', '.join(ORDER)}")
    chosen: Any = frames[frames["point"] == point]  # pandas' own annotation also allows a Series
    return chosen


def by_flow(rows: pd.DataFrame) -> dict[int, Any]:
    """The rows of each flow, in their order; one pass, however many flows there are."""
    flows = rows["flow_id"].to_numpy(np.int64, na_value=-1)
    order = np.argsort(flows, kind="stable")
    cuts = np.flatnonzero(np.diff(flows[order])) + 1
    parts = np.split(order, cuts) if len(order) else []
    return {int(flows[part[0]]): rows.iloc[part] for part in parts if flows[part[0]] >= 0}


def oriented(frames: pd.DataFrame) -> pd.DataFrame:
    """Frames whose ``direction`` is known: where a capture does not tell it, ``tx`` is what the client of a flow sent.

    The client is who sent the SYN, or who got the SYN-ACK, or else who sent the flow's first frame. Frames that belong
    to no flow keep none. Whether it was computed is told by ``attrs["direction"]`` (:data:`COMPUTED`).
    """
    import pandas as pd

    given: Any = frames["direction"].astype(object) if "direction" in frames.columns else None
    if given is not None and bool(given.notna().all()):
        return frames
    named = ("flow_id", "ip_src", "ip_dst", "srcport", "dstport")
    out = np.full(len(frames), None, object) if given is None else np.array(given.where(given.notna(), None), object)
    blank = np.array([value is None for value in out], bool)
    if all(name in frames.columns for name in named):
        open_rows: Any = frames[blank & frames["flow_id"].notna().to_numpy(bool)]
        at = np.flatnonzero(blank & frames["flow_id"].notna().to_numpy(bool))
        out[at] = np.where(_from_client(open_rows), "tx", "rx")
    else:
        at = np.zeros(0, np.int64)
    table: Any = frames.assign(direction=pd.Categorical(out, ["tx", "rx"]))
    if len(at):
        table.attrs["direction"] = COMPUTED
    return table


def _from_client(rows: Any) -> np.ndarray:
    """Whether each row was sent by the client of its flow."""
    import pandas as pd

    addresses = pd.concat([rows["ip_src"].astype(str), rows["ip_dst"].astype(str)], ignore_index=True)
    codes, _ = pd.factorize(addresses)
    ports = [rows[name].fillna(0).to_numpy(np.int64) for name in ("srcport", "dstport")]
    sender, receiver = ((part.astype(np.int64) << 16) + port for part, port in zip(np.split(codes, 2), ports))
    flow = rows["flow_id"].to_numpy(np.int64)
    kind = rows["tcp_flags"].fillna(0).to_numpy(np.int64) & 0x12 if "tcp_flags" in rows.columns else np.zeros_like(flow)
    sure = np.select([kind == 0x02, kind == 0x12], [0, 1], 2)
    order = np.lexsort((np.arange(len(rows)), sure, flow))
    first = order[np.append(True, np.diff(flow[order]) != 0)[: len(order)]]
    client = pd.Series(np.where(sure == 1, receiver, sender)[first], index=flow[first])
    return sender == client.reindex(flow).to_numpy()
