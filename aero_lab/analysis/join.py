"""Both ends of the tunnel in one row: each frame with its two sightings, and where the time between them went.

Theory of operation
-------------------
A frame keeps its identity from end to end (``frame_id``, unique within a direction), in the rings as in saved files,
so that the two sightings of a frame are found by sorting and searching, whatever its bytes are. A segment that is sent
again is another frame and has a row of its own; a frame that the path doubled has one row, and ``copies`` says 2.

The time in between (``tunnel_delay``) is divided into three parts that add up to it. What follows is for one guest and
one direction, over the frames that arrived, in the order in which they were sent: a frame was sent at *s*, came out at
*r*, and its message has *L* bytes.

* ``transport_delay``: what the path takes for a message of this length when nothing is in its way. That is the
  *floor* T(L) of the delays seen: the largest function of the length that lies above none of them, does not fall, and
  is convex.
  On a path that takes P and then L / rate it is just that, once the shortest and the longest message have met an empty
  queue.
* ``hol_delay``: time that the frame stood ready and was held by one before it, as an ordered transport does while it
  waits for something that was lost. A frame was held when it came out at the very moment at which one sent earlier came
  out, and since when it was ready: ``r - max(u, s + T)``, where *u* is when the line alone would have delivered it
  (``e = max(s, e of the frame before) + (T(L) - P)``, ``u = e + P``; P is the floor at length 0).
* ``queue_delay``: the rest: waiting for a turn, in the rings and in the queue before the line; of the frame that held
  up the others, the time until it was there after all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .select import need

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "frame_id", "direction", "flow_id", "cause", "frame_len", "message_len", "sent_time", "arrived_time", "copies",
    "tunnel_delay", "transport_delay", "queue_delay", "hol_delay",
)  # fmt: skip
USED = (
    "frame_id", "direction", "point", "frame_time", "frame_len", "message_len", "flow_id", "cause", "eth_src", "eth_dst"
)  # fmt: skip
PARTS = ("transport_delay", "queue_delay", "hol_delay")
ENDS = (("tx", "nic", "tunnel"), ("rx", "tunnel", "nic"))
"""Each direction with the point where its frames begin and the one where they come out."""
BROADCAST = 0x01


def join(frames: pd.DataFrame) -> pd.DataFrame:
    """One row a frame, with its sightings at both ends of the tunnel, in order of its first.

    Takes what a lab recorded, or read back from pcapng or parquet; a capture of one point gives rows without arrivals.

    Columns: ``frame_id, direction, flow_id, cause, frame_len, message_len``; ``sent_time`` and ``arrived_time`` (ns);
    ``copies`` that arrived: 0 of a frame that was lost, 2 of one that was doubled; ``tunnel_delay = arrived_time -
    sent_time = transport_delay + queue_delay + hol_delay`` (ns), null when either end did not see the frame.
    """
    import pandas as pd

    need(frames, "frame_id", "direction", "point", "frame_time", "frame_len")
    used: Any = frames[[name for name in USED if name in frames.columns]]
    parts = [_one_way(used, *ends) for ends in ENDS]
    whole: Any = pd.concat(parts, ignore_index=True)
    order = whole["sent_time"].fillna(whole["arrived_time"]).to_numpy(np.int64)
    whole = whole.iloc[np.argsort(order, kind="stable")].reset_index(drop=True)
    whole["direction"] = whole["direction"].astype(pd.CategoricalDtype(["tx", "rx"]))
    return whole[list(COLUMNS)]


def _one_way(frames: Any, direction: str, begin: str, end: str) -> Any:
    import pandas as pd

    rows = frames[(frames["direction"] == direction) & frames["frame_id"].notna() & (frames["frame_len"] > 0)]
    first, last = rows[rows["point"] == begin], rows[rows["point"] == end]
    first = first[~first["frame_id"].duplicated()]
    arrivals = last["frame_id"].to_numpy(np.int64)
    one = last[~last["frame_id"].duplicated()]
    identities = np.union1d(first["frame_id"].to_numpy(np.int64), arrivals)
    at_first, at_last = (_rows_of(identities, part["frame_id"].to_numpy(np.int64)) for part in (first, one))
    sent, came = (_taken(part["frame_time"].to_numpy(np.int64), at) for part, at in ((first, at_first), (one, at_last)))
    table: dict[str, Any] = {"frame_id": pd.array(identities, "Int64"), "direction": direction}
    for name, missing in (("flow_id", "Int32"), ("cause", "object"), ("frame_len", "UInt32")):
        if name in frames.columns:
            values = [
                part[name].reset_index(drop=True).reindex(at).reset_index(drop=True)
                for part, at in ((first, at_first), (one, at_last))
            ]
            table[name] = values[0].where(at_first >= 0, values[1]).array
            if name == "frame_len":
                table[name] = pd.array(table[name], missing)
        else:
            table[name] = pd.array([None] * len(identities), missing)
    table["message_len"] = _message_lengths(identities, rows)
    table["sent_time"], table["arrived_time"] = (pd.array(v, "Int64") for v in (sent, came))
    sorted_arrivals = np.sort(arrivals)
    table["copies"] = np.searchsorted(sorted_arrivals, identities, "right") - np.searchsorted(
        sorted_arrivals, identities, "left"
    )
    out: Any = pd.DataFrame(table)
    both = (at_first >= 0) & (at_last >= 0)
    guests = _guests(first, direction)[at_first[both]]
    length = out["message_len"].fillna(out["frame_len"]).to_numpy(np.int64)[both]
    starts = first["frame_time"].to_numpy(np.int64)[at_first[both]]
    ends = one["frame_time"].to_numpy(np.int64)[at_last[both]]
    delays = {"tunnel_delay": ends - starts}
    delays.update(zip(PARTS, _each(guests, starts, at_first[both], ends, length)))
    for name, values in delays.items():
        full = np.zeros(len(out), np.int64)
        full[both] = values
        out[name] = pd.arrays.IntegerArray(full, ~both)
    return out


def _rows_of(identities: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Position of each identity among those held (each there once), -1 where it is not."""
    order = np.argsort(held, kind="stable")
    at = np.searchsorted(held, identities, sorter=order)
    found = order[np.minimum(at, len(held) - 1)] if len(held) else np.zeros(len(identities), np.int64)
    return np.where((at < len(held)) & (held[found] == identities), found, -1) if len(held) else found - 1


def _taken(values: np.ndarray, at: np.ndarray) -> Any:
    import pandas as pd

    chosen = values[np.maximum(at, 0)] if len(values) else np.zeros(len(at), np.int64)
    return pd.arrays.IntegerArray(chosen.copy(), at < 0)


def _message_lengths(identities: np.ndarray, rows: Any) -> Any:
    """Length of each frame's message, from its row at the tunnel."""
    import pandas as pd

    if "message_len" not in rows.columns:
        return pd.array([None] * len(identities), "UInt32")
    there = rows[rows["message_len"].notna()]
    there = there[~there["frame_id"].duplicated()]
    at = _rows_of(identities, there["frame_id"].to_numpy(np.int64))
    return pd.array(_taken(there["message_len"].to_numpy(np.int64), at), "UInt32")


def _guests(rows: Any, direction: str) -> np.ndarray:
    """A number for the guest of each row, as each has its own tunnel. Group frames are those of the only guest."""
    name = "eth_src" if direction == "tx" else "eth_dst"
    if name not in rows.columns or not len(rows):
        return np.zeros(len(rows), np.int64)
    column = rows[name].astype("category")
    codes = column.cat.codes.to_numpy().astype(np.int64)
    group = np.array([int(str(mac)[:2], 16) & BROADCAST > 0 for mac in column.cat.categories] + [True])
    codes[group[codes]] = -1
    own = np.unique(codes[codes >= 0])
    if len(own) == 1:
        codes[:] = own[0]
    return codes


def _each(guest: np.ndarray, sent: np.ndarray, row: np.ndarray, came: np.ndarray, length: np.ndarray) -> Any:
    """The three parts of the delays, each guest for itself; ``row`` tells the order of frames sent at one moment."""
    out = [np.zeros(len(sent), np.int64) for _ in range(3)]
    order = np.lexsort((row, sent, guest))
    cuts = np.flatnonzero(np.diff(guest[order])) + 1
    for part in np.split(order, cuts):
        for whole, values in zip(out, split(sent[part], came[part], length[part])):
            whole[part] = values
    return out


def split(sent: np.ndarray, came: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``transport_delay, queue_delay, hol_delay`` of frames in the order in which they were sent, ns."""
    if not len(sent):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
    delay = came - sent
    floor, base = floor_of(length, delay)
    service = floor - base
    behind = np.cumsum(service)
    ready = behind + np.maximum.accumulate(sent - (behind - service)) + base
    earlier = np.append(np.iinfo(np.int64).min, np.maximum.accumulate(came)[:-1])
    held = came - np.maximum(ready, sent + floor)
    hol = np.where((came == earlier) & (held > 0), held, 0)
    return floor, delay - floor - hol, hol


def floor_of(length: np.ndarray, delay: np.ndarray) -> tuple[np.ndarray, int]:
    """The least delay of a message of each length, and of one of length 0: see the module."""
    sizes, which = np.unique(length, return_inverse=True)
    least = np.full(len(sizes), np.iinfo(np.int64).max)
    np.minimum.at(least, which, delay)
    least = np.minimum.accumulate(least[::-1])[::-1]
    hull: list[tuple[int, int]] = []
    for size, wait in zip(sizes.tolist(), least.tolist()):
        while len(hull) > 1 and (hull[-1][1] - hull[-2][1]) * (size - hull[-1][0]) >= (wait - hull[-1][1]) * (
            hull[-1][0] - hull[-2][0]
        ):
            hull.pop()
        hull.append((size, wait))
    x, y = (np.array(column, np.int64) for column in zip(*hull))
    after = np.minimum(np.searchsorted(x, sizes, "left"), len(x) - 1)
    before = np.maximum(after - 1, 0)
    # In whole numbers, rounded down: a floor lies above no delay.
    run = np.maximum(x[after] - x[before], 1)
    values = np.where(x[after] == sizes, y[after], y[before] + (sizes - x[before]) * (y[after] - y[before]) // run)
    base = int(y[0])
    if len(x) > 1:
        base = max(0, base - int(x[0]) * int(y[1] - y[0]) // int(x[1] - x[0]))
    return values[which], min(base, int(values.min()))
