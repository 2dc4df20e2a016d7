"""One row a conversation: who, how long, how much, and at what cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..limits import MS, SECOND
from .select import at_point, need

if TYPE_CHECKING:
    import pandas as pd

PROTOCOLS = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 58: "icmpv6"}


def flows(frames: pd.DataFrame, point: str | None = None) -> pd.DataFrame:
    """The conversations at one point, in order of their first frame, indexed by ``flow_id``.

    * ``proto``; ``client``, ``client_port``, ``server``, ``server_port``: the client sent the first frame;
    * ``start_s`` since the capture's first frame, ``seconds`` to the flow's last;
    * ``frames_up``, ``bytes_up``, ``payload_up`` from the client and ``.._down`` to it: bytes are frame bytes; payload
      is what the application got, each byte once (TCP: the span of the sequence numbers that carried data);
    * ``retransmissions``, ``duplicates``: frames;
    * ``connect_ms``: first SYN to SYN-ACK, null when not seen; ``end``: ``fin``, ``reset`` or ``open``.
    """
    import pandas as pd

    need(frames, "flow_id", "frame_time", "frame_len", "ip_src", "ip_dst", "ip_proto", "cause")
    every: Any = at_point(frames, point)
    rows = every[every["flow_id"].notna()]
    table: Any = pd.DataFrame(
        {
            "flow_id": rows["flow_id"].to_numpy(np.int64),
            "time": rows["frame_time"].to_numpy(np.int64),
            "bytes": rows["frame_len"].to_numpy(np.int64),
            "src": rows["ip_src"].astype(str).to_numpy(object),
            "dst": rows["ip_dst"].astype(str).to_numpy(object),
            "sport": rows["srcport"].to_numpy(np.int64, na_value=-1),
            "dport": rows["dstport"].to_numpy(np.int64, na_value=-1),
            "proto": rows["ip_proto"].to_numpy(np.int64, na_value=-1),
            "flags": rows["tcp_flags"].to_numpy(np.int64, na_value=0),
            "seq": rows["tcp_seq"].to_numpy(np.int64, na_value=0),
            "size": rows["tcp_len"].to_numpy(np.int64, na_value=0)
            + np.maximum(rows["udp_length"].to_numpy(np.int64, na_value=8) - 8, 0),
            "again": (rows["cause"] == "retransmission").to_numpy(np.int64),
            "twice": (rows["cause"] == "duplicate").to_numpy(np.int64),
        }
    )
    grouped = table.groupby("flow_id", sort=True)
    first = grouped.first()
    up = (table["src"] == first["src"].reindex(table["flow_id"]).to_numpy()) & (
        table["sport"] == first["sport"].reindex(table["flow_id"]).to_numpy()
    )
    begin = int(every["frame_time"].min()) if len(every) else 0
    out: Any = pd.DataFrame(
        {
            "proto": first["proto"].map(lambda number: PROTOCOLS.get(number, str(number))),
            "client": first["src"],
            "client_port": _port(first["sport"]),
            "server": first["dst"],
            "server_port": _port(first["dport"]),
            "start_s": (first["time"] - begin) / SECOND,
            "seconds": (grouped["time"].max() - first["time"]) / SECOND,
        }
    )
    for name, chosen in (("up", up), ("down", ~up)):
        part = table[chosen].groupby("flow_id")
        payload = _payload(table, chosen)
        for column, values in (("frames", part.size()), ("bytes", part["bytes"].sum()), ("payload", payload)):
            out[f"{column}_{name}"] = values.reindex(out.index, fill_value=0)
    out["retransmissions"] = grouped["again"].sum()
    out["duplicates"] = grouped["twice"].sum()
    syn = table[(table["flags"] & 0x12 == 0x02) & up].groupby("flow_id")["time"].first()
    answer = table[(table["flags"] & 0x12 == 0x12) & ~up].groupby("flow_id")["time"].first()
    out["connect_ms"] = ((answer - syn) / MS).reindex(out.index)
    bits: Any = pd.DataFrame({"flow_id": table["flow_id"], "fin": table["flags"] & 1, "reset": table["flags"] & 4})
    ends = bits.groupby("flow_id").max()
    out["end"] = np.where(ends["reset"] > 0, "reset", np.where(ends["fin"] > 0, "fin", "open"))
    return out


def _port(ports: Any) -> Any:
    return ports.where(ports >= 0).astype("UInt16")


def _payload(table: Any, chosen: Any) -> Any:
    """Application bytes of each flow in one direction, each byte once: for TCP the span of its sequence numbers."""
    rows = table[chosen & (table["size"] > 0)]
    tcp = rows[rows["proto"] == 6]
    step = tcp.groupby("flow_id")["seq"].diff().fillna(0).astype(np.int64)
    step = (step + (1 << 31)) % (1 << 32) - (1 << 31)  # sequence numbers wrap
    begin = step.groupby(tcp["flow_id"]).cumsum()
    stream = (begin + tcp["size"]).groupby(tcp["flow_id"]).max() - begin.groupby(tcp["flow_id"]).min()
    datagrams = rows[rows["proto"] != 6].groupby("flow_id")["size"].sum()
    return stream.add(datagrams, fill_value=0).astype(np.int64)
