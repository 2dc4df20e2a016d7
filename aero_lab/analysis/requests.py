"""Where a request's time went: its critical path through guest, tunnel and proxy, piece by piece.

Theory of operation
-------------------
A *request* is a DNS lookup, a TCP handshake, or an exchange on a TCP connection: data from the side that opened it,
then all data that came back before it sent again. It lasts from its first byte's departure to the moment at which the
side that asked had all of the answer in order, both seen at that side's point.

The path is followed backwards from that moment, as Barford and Crovella did ("Critical Path Analysis of TCP
Transactions", 2001). The frame that completed the answer was under way from the other point: that is time in the
tunnel, which the join divides into ``transport``, ``queue`` and ``head_of_line``. What let it leave?

* A segment sent again waited for its loss to be noticed: the time since its bytes were first sent is ``recovery``.
* A pure ACK was caused by the last data that had arrived: until then it was held (a delayed ACK).
* Data that left within :data:`AT_ONCE` of an arrival was released by that: an ACK opened the window, or a request was
  answered.
* Other data waited for something on its own side: since the last data arrived there, or since the data before it
  left, whichever is later.

Then the same is asked about the frame that arrived, until the request's first departure is reached. Waits at the guest
are ``guest``. At the proxy those that end with the first segment after a request's arrival are ``egress``: the way to
the far end through the proxy's sockets, the service, and back; the others are ``stack``: its TCP had a reason not to
send yet, or nothing to send. Pieces follow each other without gaps, so they add up to the request's length, exactly.

With frames of one point only, nobody knows what happened beyond it: all is ``away`` then.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..limits import MS, SECOND
from .join import join
from .select import at_point, need, oriented
from .sequence import SENT_AGAIN, unwrapped

if TYPE_CHECKING:
    import pandas as pd

HOPS = ("transport", "queue", "head_of_line", "recovery", "guest", "egress", "stack", "away")
AT_ONCE = 1 * MS
"""Data that leaves within this time of an arrival was released by it."""
MOST_PIECES = 1 << 16
"""Bound of one request's path."""
COLUMNS = ("request", "kind", "flow_id", "start_s", "ms", "hop", "direction")


class _Frame(NamedTuple):
    """A frame of a flow with the times at both ends, ns; numbers as distances from the first."""

    mine: bool
    """Whether the side that asks sent it."""
    sent: int
    arrived: int
    """-1 when it was lost."""
    seq: int
    end: int
    size: int
    syn: bool
    again: bool
    hops: tuple[int, int, int]
    """ns of transport, queue, head of line."""


def requests(frames: pd.DataFrame, flow_id: int | None = None) -> pd.DataFrame:
    """One row a request, in order of its beginning.

    Columns: ``kind`` (``dns``, ``connect``, ``exchange``), ``flow_id``, ``peer``, ``start_s`` since the capture's first
    frame, ``bytes_up`` and ``bytes_down`` of application data from and to the side that asks, ``ms`` from its first
    byte to the last of the answer, ``first_ms`` to the first of the answer, ``turns`` (how many times the path crossed
    the tunnel), and the time of each hop in milliseconds: ``transport, queue, head_of_line, recovery, guest, egress,
    stack, away``. The hops add up to ``ms``. See the module for what each means.
    """
    import pandas as pd

    rows = [
        {
            "kind": found.kind, "flow_id": found.flow, "peer": found.peer, "start_s": found.start_s,
            "bytes_up": found.up, "bytes_down": found.down, "ms": found.ns / MS, "first_ms": found.first / MS,
            "turns": sum(piece.crosses(found.pieces[i - 1] if i else None) for i, piece in enumerate(found.pieces)),
            **{hop: sum(p.ns for p in found.pieces if p.hop == hop) / MS for hop in HOPS},
        }
        for found in _requests(frames, flow_id)
    ]  # fmt: skip
    names = ["kind", "flow_id", "peer", "start_s", "bytes_up", "bytes_down", "ms", "first_ms", "turns", *HOPS]
    table: Any = pd.DataFrame(rows, columns=names)
    table.index.name = "request"
    return table


def critical_path(frames: pd.DataFrame, flow_id: int | None = None) -> pd.DataFrame:
    """The pieces of each request's path in order of time.

    Columns: ``request`` (row of :func:`requests`), ``kind``, ``flow_id``, ``start_s`` since the capture's first frame,
    ``ms``, ``hop``, ``direction`` (``tx`` or ``rx``, for pieces in the tunnel).
    """
    import pandas as pd

    rows = [
        (number, found.kind, found.flow, found.start_s + piece.start / SECOND, piece.ns / MS, piece.hop, piece.way)
        for number, found in enumerate(_requests(frames, flow_id))
        for piece in found.pieces
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


class _Piece(NamedTuple):
    start: int
    """ns since the request began."""
    ns: int
    hop: str
    way: str | None
    sent: int
    """Departure of the frame it belongs to, for pieces in the tunnel."""

    def crosses(self, before: _Piece | None) -> bool:
        """Whether this begins a way through the tunnel."""
        return self.way is not None and (before is None or (before.way, before.sent) != (self.way, self.sent))


class _Request(NamedTuple):
    kind: str
    flow: int
    peer: str
    start_s: float
    up: int
    down: int
    ns: int
    first: int
    pieces: list[_Piece]


def _requests(frames: Any, flow_id: int | None) -> list[_Request]:
    need(frames, "frame_time", "flow_id", "cause", "tcp_seq", "tcp_ack", "tcp_len", "tcp_flags")
    if not len(frames):
        return []
    frames = oriented(frames)
    begin = int(frames["frame_time"].min())
    rows = frames[frames["flow_id"].notna()]
    if flow_id is not None:
        rows = rows[rows["flow_id"] == flow_id]
    both = join(frames) if _both(frames) else None
    found: list[tuple[int, _Request]] = []
    for number, own in rows.groupby(rows["flow_id"].astype(np.int64), sort=True):
        own = own.sort_values("frame_time", kind="stable")
        tcp = own[own["tcp_len"].notna()]
        if len(tcp):
            found += _of_connection(int(number), tcp, begin, both)
    if "dns_id" in rows.columns:
        found += _of_lookups(rows[rows["dns_id"].notna() & rows["tcp_len"].isna()], begin, both)
    return [request for _, request in sorted(found, key=lambda pair: pair[0])]


def _both(frames: Any) -> bool:
    """Whether frames were seen at both ends of the tunnel."""
    if not {"point", "frame_id"} <= set(frames.columns):
        return False
    return {"nic", "tunnel"} <= set(frames["point"].unique())


# The frames of a flow with their times at both ends ------------------------------------------------------------------


def _frames(rows: Any, way: str, both: Any) -> list[_Frame]:
    """The frames in order of their departure."""
    if both is None:
        rows = at_point(rows)
        joined = rows.assign(arrived=rows["frame_time"], transport=0, queue=0, hol=0)
    else:
        joined = _joined(rows, both)
    flags = joined["tcp_flags"].to_numpy(np.int64, na_value=0)
    size = joined["tcp_len"].to_numpy(np.int64, na_value=0)
    if "udp_length" in joined.columns:
        size = size + np.maximum(joined["udp_length"].to_numpy(np.int64, na_value=8) - 8, 0)
    mine = (joined["direction"] == way).to_numpy(bool)
    wire = joined["tcp_seq"].to_numpy(np.int64, na_value=0)
    seq = np.zeros(len(joined), np.int64)
    for side in (mine, ~mine):
        if side.any():
            seq[side] = unwrapped(wire[side], int(wire[side][0]))
    end = seq + size + (flags & 1) + (flags >> 1 & 1)
    again = joined["cause"].isin(SENT_AGAIN).to_numpy(bool)
    times = joined["frame_time"].to_numpy(np.int64), joined["arrived"].to_numpy(np.int64, na_value=-1)
    parts = [joined[name].to_numpy(np.int64, na_value=0) for name in ("transport", "queue", "hol")]
    return [
        _Frame(*row[:8], hops=row[8:])
        for row in zip(
            mine.tolist(), times[0].tolist(), times[1].tolist(), seq.tolist(), end.tolist(), size.tolist(),
            (flags & 2 > 0).tolist(), again.tolist(), *(part.tolist() for part in parts),
        )
    ]  # fmt: skip


def _joined(rows: Any, joined: Any) -> Any:
    """One row a frame that was seen leaving: the sender's row, when it arrived, and what its way took."""
    keys = ["frame_id", "direction"]
    sender = (rows["direction"] == "tx") == (rows["point"] == "nic")
    sent = rows[sender].drop_duplicates(keys)
    names = {"arrived_time": "arrived", "transport_delay": "transport", "queue_delay": "queue", "hol_delay": "hol"}
    there = joined.rename(columns=names)[[*keys, *names.values()]]
    whole = sent.astype({"direction": "str"}).merge(there.astype({"direction": "str"}), on=keys, how="left")
    return whole.sort_values("frame_time", kind="stable")


# Requests ------------------------------------------------------------------------------------------------------------


def _of_lookups(rows: Any, begin: int, both: Any) -> list[tuple[int, _Request]]:
    """DNS: a question and its first answer, by the question's number; it may be asked again, also of another server."""
    out = []
    keys = [rows["dns_id"].astype(np.int64)]
    if {"eth_src", "eth_dst"} <= set(rows.columns):
        keys.append(rows["eth_src"].astype(str).where(rows["direction"] == "tx", rows["eth_dst"].astype(str)))
    for _, own in rows.sort_values("frame_time", kind="stable").groupby(keys, sort=False):
        way, flow = str(own.iloc[0]["direction"]), int(own.iloc[0]["flow_id"])
        if way not in ("tx", "rx"):
            continue
        found = _frames(own, way, both)
        asked = next((f for f in found if f.mine), None)
        found = [f._replace(again=True) if f.mine and f is not asked else f for f in found]
        answer = next((f for f in found if not f.mine and f.arrived >= 0), None)
        if asked is None or answer is None:
            continue
        peer = _peer(own, way)
        up, down = (int(own[own["direction"] == w]["udp_length"].iloc[0]) - 8 for w in (way, _other(way)))
        out.append(_finish("dns", flow, peer, begin, asked.sent, answer, found, (up, down), answer.arrived, way, both))
    return out


def _of_connection(flow: int, rows: Any, begin: int, both: Any) -> list[tuple[int, _Request]]:
    """The handshake of a connection, and its exchanges."""
    way = _opener(rows)
    found = _frames(rows, way, both)
    peer = _peer(rows, way)
    out = []
    syn = next((f for f in found if f.mine and f.syn), None)
    back = next((f for f in found if not f.mine and f.syn and f.arrived >= 0), None)
    if syn is not None and back is not None:
        out.append(_finish("connect", flow, peer, begin, syn.sent, back, found, (0, 0), back.arrived, way, both))
    for asked, answers in _exchanges(found):
        up = max(f.end for f in asked) - min(f.seq for f in asked)
        low, high = min(f.seq for f in answers), max(f.end for f in answers)
        last = _completes(answers, low)
        first = min(f.arrived for f in answers)
        out.append(
            _finish("exchange", flow, peer, begin, asked[0].sent, last, found, (up, high - low), first, way, both)
        )
    return out


def _opener(rows: Any) -> str:
    """Direction of the side that asks: it sent the SYN, else the first data."""
    flags = rows["tcp_flags"].astype(np.int64)
    for chosen in (rows[flags & 0x12 == 2], rows[flags & 0x12 == 0x12], rows[rows["tcp_len"] > 0], rows):
        if len(chosen):
            way = str(chosen.iloc[0]["direction"])
            answered = int(chosen.iloc[0]["tcp_flags"]) & 0x12 == 0x12
            return (_other(way) if answered else way) if way in ("tx", "rx") else "tx"
    return "tx"


def _peer(rows: Any, way: str) -> str:
    own = rows[rows["direction"] == way]
    if not len(own) or "ip_dst" not in own.columns:
        return ""
    row = own.iloc[0]
    return f"{row['ip_dst']}:{row['dstport']}" if "dstport" in own.columns else str(row["ip_dst"])


def _other(way: str) -> str:
    return "rx" if way == "tx" else "tx"


def _exchanges(found: list[_Frame]) -> list[tuple[list[_Frame], list[_Frame]]]:
    """Data sent by the side that asks, and the answers to it, as that side saw them in turn."""
    turns = sorted(
        (f for f in found if f.size and (f.mine or f.arrived >= 0)), key=lambda f: f.sent if f.mine else f.arrived
    )
    out: list[tuple[list[_Frame], list[_Frame]]] = []
    for frame in turns:
        if frame.mine and frame.again and out and out[-1][1]:
            continue  # sent again for nothing: the answer is here
        if frame.mine:
            if not out or out[-1][1]:
                out.append(([], []))
            out[-1][0].append(frame)
        elif out:
            out[-1][1].append(frame)
    return [(asked, answers) for asked, answers in out if answers]


def _completes(answers: list[_Frame], low: int) -> _Frame:
    """The frame with whose arrival all data up to the end was there, in order."""
    high = max(f.end for f in answers)
    reached, waiting, last = low, [], answers[-1]
    for frame in sorted(answers, key=lambda f: f.arrived):
        waiting.append((frame.seq, frame.end))
        waiting.sort()
        while waiting and waiting[0][0] <= reached:
            reached = max(reached, waiting.pop(0)[1])
        if reached >= high:
            return frame
    return last


# The path ------------------------------------------------------------------------------------------------------------


def _finish(
    kind: str, flow: int, peer: str, begin: int, start: int, last: _Frame, found: list[_Frame], sizes: tuple[int, int],
    first: int, way: str, both: Any,
) -> tuple[int, _Request]:  # fmt: skip
    length = max(last.arrived - start, 0)
    if both is not None:
        pieces = _Path(found, start, way).back_from(last)
    else:
        pieces = [_Piece(0, length, "away", None, start)]
    return start, _Request(
        kind, flow, peer, (start - begin) / SECOND, *sizes, length, max(first - start, 0), [p for p in pieces if p.ns]
    )


class _Path:
    """Follows the path of one request backwards."""

    def __init__(self, found: list[_Frame], start: int, way: str):
        self.start, self.way = start, way
        # By who sent it: what leaves, in order of departure, and arrivals at the other side, in order of arrival.
        self.leaves = {m: [f for f in found if f.mine is m and (f.size or f.syn)] for m in (True, False)}
        self.left_at = {m: [f.sent for f in self.leaves[m]] for m in (True, False)}
        there = sorted((f for f in found if f.arrived >= 0), key=lambda f: f.arrived)
        self.comes = {m: [f for f in there if f.mine is m] for m in (True, False)}
        self.came_at = {m: [f.arrived for f in self.comes[m]] for m in (True, False)}
        self.data = {m: [f for f in self.comes[m] if f.size or f.syn] for m in (True, False)}
        self.data_at = {m: [f.arrived for f in self.data[m]] for m in (True, False)}
        self.pieces: list[_Piece] = []

    def back_from(self, last: _Frame) -> list[_Piece]:
        """All pieces, in order of time."""
        frame: _Frame | None = last
        until = last.arrived
        while frame is not None and until > self.start and len(self.pieces) < MOST_PIECES:
            until = self._tunnel(frame, until)
            frame, until = self._released(frame, until)
        if until > self.start:
            self._add("guest" if self.way == "tx" else "stack", self.start, until)
        return self.pieces[::-1]

    def _add(self, hop: str, since: int, until: int, way: str | None = None, sent: int = 0) -> int:
        since = max(since, self.start)
        if until > since:
            self.pieces.append(_Piece(since - self.start, until - since, hop, way, sent))
        return min(since, until)

    def _tunnel(self, frame: _Frame, until: int) -> int:
        """The frame's way through the tunnel; back at its departure."""
        way = self.way if frame.mine else _other(self.way)
        transport, queue, hol = frame.hops
        # In order of time: it waits for its turn, is under way, and waits for others at the end.
        for hop, ns in (("head_of_line", hol), ("transport", transport), ("queue", queue)):
            until = self._add(hop, until - ns, until, way, frame.sent)
        return self._add("transport", frame.sent, until, way, frame.sent)

    def _released(self, frame: _Frame, until: int) -> tuple[_Frame | None, int]:
        """What let a frame leave: the arrival before it (and since when it could have left), or nothing."""
        turns = 0
        while until > self.start and turns < MOST_PIECES:
            turns += 1
            side = frame.mine
            if frame.again:
                copies = (f.sent for f in self.leaves[side] if f.seq < frame.end and f.end > frame.seq)
                first = min((sent for sent in copies if sent < frame.sent), default=frame.sent)
                until = self._add("recovery", first, until)
                frame = frame._replace(sent=first, again=False)
                continue
            if frame.size or frame.syn:
                at = bisect_right(self.came_at[not side], frame.sent) - 1
                if at >= 0 and frame.sent - self.came_at[not side][at] <= AT_ONCE:
                    cause = self.comes[not side][at]
                    return cause, self._wait(frame, cause, until)
            at = bisect_right(self.data_at[not side], frame.sent) - 1
            cause = self.data[not side][at] if at >= 0 else None
            before = bisect_right(self.left_at[side], frame.sent - 1) - 1
            previous = self.leaves[side][before] if before >= 0 and frame.size else None
            if previous is not None and (cause is None or previous.sent >= cause.arrived):
                until = self._add(self._side(side), previous.sent, until)
                frame = previous
                continue
            if cause is None:
                return None, until
            return cause, self._wait(frame, cause, until)
        return None, until

    def _side(self, mine: bool) -> str:
        return "guest" if mine == (self.way == "tx") else "stack"

    def _wait(self, frame: _Frame, cause: _Frame, until: int) -> int:
        hop = self._side(frame.mine)
        if hop == "stack" and (frame.size or frame.syn) and (cause.size or cause.syn):
            hop = "egress"
        return self._add(hop, cause.arrived, until)
