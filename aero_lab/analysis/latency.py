"""Where the time went on the way of a frame: each hop that a capture can tell apart, as percentiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..limits import MS
from .join import PARTS, join
from .rtt import rtt
from .select import COMPUTED, ORDER, at_point, need, oriented

if TYPE_CHECKING:
    import pandas as pd

PERCENTILES = (50, 90, 99)
PART_NAMES = {"transport_delay": "transport", "queue_delay": "queue", "hol_delay": "head of line"}


def latency(frames: Any) -> pd.DataFrame:
    """Waiting times by hop, in milliseconds: ``samples, min, p50, p90, p99, max``, indexed by ``hop``.

    =======================  ===================================================================================
    hop                      from, to
    =======================  ===================================================================================
    tunnel up, tunnel down   a frame's first sighting at one end, its sighting at the other (``tunnel_delay``)
    tunnel up: transport     and ``: queue``, ``: head of line``: its parts, see :func:`~aero_lab.analysis.join.join`
    guest acknowledges       data passes the NIC towards the guest, its acknowledgement passes it back
    proxy acknowledges       the same at the tunnel's far end, for data from the guest
    guest to proxy and back  data from the guest passes the NIC, its acknowledgement comes back
    proxy to guest and back  the same at the tunnel's far end, for data to the guest
    connect                  SYN to SYN-ACK at the first point
    DNS                      query to answer at the first point
    =======================  ===================================================================================

    A hop without samples is left out. Percentiles are linear interpolations. In a capture that does not tell
    directions, somebody else's, the round trips are those of the ends of each flow: ``client acknowledges``, ``server
    acknowledges``.
    """
    import pandas as pd

    need(frames, "frame_time", "cause")
    frames = oriented(frames)
    points = [p for p in ORDER if "point" not in frames.columns or (frames["point"] == p).any()]
    found: dict[str, np.ndarray] = {}
    if "tunnel_delay" in frames.columns:
        for way, name in (("tx", "tunnel up"), ("rx", "tunnel down")):
            rows: Any = frames[(frames["direction"] == way) & frames["tunnel_delay"].notna()]
            found[name] = rows["tunnel_delay"].to_numpy(np.int64) / MS
    if {"frame_id", "point"} <= set(frames.columns) and {"nic", "tunnel"} <= set(points):
        joined = join(frames)
        for way, name in (("tx", "tunnel up"), ("rx", "tunnel down")):
            both: Any = joined[(joined["direction"] == way) & joined["tunnel_delay"].notna()]
            found |= {f"{name}: {PART_NAMES[part]}": both[part].to_numpy(np.int64) / MS for part in PARTS}
    foreign = frames.attrs.get("direction") == COMPUTED
    for point, names in (
        ("nic", {"rx": "guest acknowledges", "tx": "guest to proxy and back"}),
        ("tunnel", {"tx": "proxy acknowledges", "rx": "proxy to guest and back"}),
    ):
        if foreign:
            names = {"rx": "client acknowledges", "tx": "server acknowledges"}
        if point in points and "tcp_len" in frames.columns and (point == "nic" or "point" in frames.columns):
            samples = rtt(frames, point)
            for way, name in names.items():
                values = samples.loc[samples["direction"] == way, "rtt_ms"].to_numpy(float)
                found[name] = np.concatenate([found[name], values]) if foreign and name in found else values
    first: Any = at_point(frames)
    found["connect"] = _connects(first)
    found["DNS"] = _lookups(first)
    rows = {
        hop: [len(v), v.min(), *np.percentile(v, PERCENTILES), v.max()] for hop, v in found.items() if len(v)
    }  # fmt: skip
    names = ["samples", "min", *(f"p{p}" for p in PERCENTILES), "max"]
    table: Any = pd.DataFrame.from_dict(rows, orient="index", columns=names)
    table.index.name = "hop"
    table["samples"] = table["samples"].astype(np.int64)
    return table


def _connects(rows: Any) -> np.ndarray:
    """From the first SYN of a flow to its first SYN-ACK, ms."""
    if "tcp_flags" not in rows.columns:
        return np.zeros(0)
    tcp = rows[rows["tcp_flags"].notna()]
    kind = tcp["tcp_flags"].to_numpy(np.int64) & 0x12
    asked = tcp[kind == 0x02].groupby("flow_id")["frame_time"].first()
    answered = tcp[kind == 0x12].groupby("flow_id")["frame_time"].first()
    waited = (answered - asked).dropna().to_numpy(np.int64)
    return waited[waited >= 0] / MS


def _lookups(rows: Any) -> np.ndarray:
    """From a DNS query to its first answer, ms; a query asked again counts from the first time."""
    if "dns_id" not in rows.columns:
        return np.zeros(0)
    dns = rows[rows["dns_id"].notna() & rows["flow_id"].notna()]
    keys = [dns["flow_id"].to_numpy(np.int64), dns["dns_id"].to_numpy(np.int64)]
    answer = dns["dns_response"].to_numpy(bool)
    times = dns["frame_time"]
    asked = times[~answer].groupby([key[~answer] for key in keys]).first()
    answered = times[answer].groupby([key[answer] for key in keys]).first()
    waited = (answered - asked).dropna().to_numpy(np.int64)
    return waited[waited >= 0] / MS
