"""The recorder: a bounded memory of frames that pass the points of a running pipeline."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import limits
from ..errors import UsageError
from . import schema as s
from . import segment as seg
from .capture import Block, Capture

if TYPE_CHECKING:
    import pandas as pd
    from scapy.packet import Packet

    from ..rings import FrameRing

FIRST_ID = 1 << 32
"""Identities that the recorder gives begin here, above those that stacks give themselves."""
WHOLE = 1 << 30


class Recorder:
    """Keeps the frames that pass the points of a pipeline, in bounded memory.

    Parameters
    ----------
    points: capture points to record (``"nic"``, ``"tunnel"``, ``"egress"``); a tap at any other keeps nothing.
    most_bytes: bound of the memory, frames and their 64-byte descriptors.
    snap: keep at most so many bytes of each frame; 0 keeps frames whole. Lengths stay those of the whole frame.
    keep: ``"oldest"`` drops new frames when the memory is full (counted as ``full``), ``"newest"`` the oldest segment
        (counted as ``overwritten``).
    headers_only: keep of each frame its headers alone (see :mod:`.redact`): no payload, no names, no leases. Lengths
        stay those of the whole frame. ``snap`` still holds.
    epoch_ns: added to the times of frames, for instance the difference between wall clock and lab clock.
    meta: what is to stand in saved files about this run; anything JSON can say.

    One thread taps; any thread may read at the same time. A follower (:meth:`since`) can bring the frames elsewhere
    while they come, to a disk for instance: memory then needs to hold only what it has not taken yet.
    """

    def __init__(
        self,
        points: Sequence[str] = ("nic", "tunnel"),
        most_bytes: int = limits.CAPTURE_BYTES,
        snap: int = 0,
        keep: str = "oldest",
        headers_only: bool = False,
        epoch_ns: int = 0,
        meta: dict[str, Any] | None = None,
    ):
        for point in points:
            if point not in s.POINT_OF:
                raise UsageError(f"no capture point {point!r}: there are {', '.join(s.POINTS)}")
        if keep not in ("oldest", "newest"):
            raise UsageError(f"keep must be 'oldest' or 'newest', not {keep!r}")
        if snap < 0 or most_bytes < limits.CAPTURE_SEGMENT_MIN:
            raise UsageError(f"a recorder needs snap >= 0 and most_bytes >= {limits.CAPTURE_SEGMENT_MIN}")
        self.points = tuple(points)
        self.snap = snap
        self.keep = keep
        self.epoch_ns = epoch_ns
        self.meta = dict(meta or {})
        size = min(max(most_bytes // 16, limits.CAPTURE_SEGMENT_MIN), limits.CAPTURE_SEGMENT_MAX)
        self._size = size & ~63
        self._most_segments = max(1, most_bytes // self._size)
        self.headers_only = headers_only
        self._kept = -(snap or WHOLE) if headers_only else snap or WHOLE
        self.taken: int | None = None
        """Frames that a follower has taken; None when there is none. Set by the follower."""
        self._before = 0
        self._points = {point: s.POINT_OF[point] for point in points}
        self.enabled = True
        """Whether taps record; False makes each a no-op."""
        self.clear()

    def clear(self) -> None:
        """Forget the frames and the counters."""
        # Touched now: the first touch of fresh memory costs more than copying a frame into it.
        ready = max(1, min(self._most_segments, limits.CAPTURE_READY // self._size))
        self._spare = [np.empty(self._size, np.uint8) for _ in range(ready)]
        for memory in self._spare:
            memory.fill(0)
        self._before = self.seen
        first = seg.new_segment(self._size, FIRST_ID, self._spare.pop(), self._before)
        self._segments: deque[np.ndarray] = deque([first])
        self._drops: dict[str, int] = {}
        self._let_go = 0

    def _drop(self, reason: str, number: int) -> None:
        self._drops[reason] = self._drops.get(reason, 0) + number

    def _next_segment(self) -> bool:
        """Begin a segment. False when the bound forbids it."""
        held, _, identity, _ = seg.header_of(self._segments[-1])
        if held == 0:
            return False
        before = self.seen
        full = len(self._segments) == self._most_segments
        if full:
            oldest = self._segments[0]
            begin, number = seg.frames_before(oldest), seg.header_of(oldest)[0]
            elsewhere = 0 if self.taken is None else min(number, max(0, self.taken - begin))
            if self.keep == "oldest" and elsewhere < number:
                return False
            self._let_go += elsewhere
            if elsewhere < number:
                self._drop("overwritten", number - elsewhere)
        memory = self._spare.pop() if self._spare else None
        self._segments.append(seg.new_segment(self._size, identity, memory, before))
        if full:
            self._segments.popleft()
        return True

    @property
    def seen(self) -> int:
        """Frames kept so far, those included that memory has let go of."""
        if not hasattr(self, "_segments"):
            return 0
        last = self._segments[-1]
        return seg.frames_before(last) + seg.header_of(last)[0]

    def since(self, number: int) -> tuple[list[Block], int, int]:
        """For a follower: the frames behind the first ``number``, how many that makes in all, and how many in between
        memory has let go of already."""
        blocks, missed = [], 0
        for segment in tuple(self._segments):
            held, begin = seg.header_of(segment)[0], seg.frames_before(segment)
            if begin + held <= number:
                continue
            missed += max(0, begin - number)
            skip = max(0, number - begin)
            start = len(segment) - s.INDEX_SIZE * (1 + skip)
            blocks.append(Block(segment, segment, start, -s.INDEX_SIZE, held - skip))
            number = begin + held
        return blocks, number, missed

    def tap(
        self,
        ring: FrameRing,
        count: int | None,
        point: str,
        direction: str,
        now: int,
        skip: int = 0,
        newest: bool = False,
        link: int = s.ETHERNET,
    ) -> int:
        """Copy ``count`` waiting frames of a ring (all when None), oldest first, after leaving out the ``skip`` oldest.

        At the point ``"tunnel"`` the ring holds tunnel messages; the row is about the frame inside. Call it as the
        ring's consumer before taking the frames out, or as its producer after putting them in: then ``newest`` says
        that the last ``count`` are meant. ``link``: what they begin with, a number of
        :data:`~aero_lab.capture.schema.LINKS`. Returns how many were kept.
        """
        where = self._points.get(point)
        if where is None or not self.enabled:
            return 0
        which, messages, at = s.DIRECTION_OF[direction], point == "tunnel", now + self.epoch_ns
        number = -1 if count is None else count + skip
        done = 0
        while True:
            segment = self._segments[-1]
            went = int(
                seg.tap(ring.array, newest, skip + done, number, segment, where, which, messages, at, self._kept, link)
            )
            if went < seg.LEFT:
                return done + went
            done += went % seg.LEFT
            if not self._next_segment():
                self._drop("full", went // seg.LEFT)
                return done

    def add(self, frame: bytes, point: str, direction: str, now: int, frame_id: int = 0, message_len: int = 0) -> bool:
        """Keep one frame that is not in a ring; False when it was dropped or its point is not recorded."""
        return self._add(frame, 0, point, direction, now, frame_id, message_len, seg.KIND_FRAME)

    def add_message(self, message: bytes, direction: str, now: int, frame_id: int = 0) -> bool:
        """Keep one tunnel message: the frame inside, or the length alone of a message that holds none (PING, ERROR)."""
        conforms = len(message) >= seg.MESSAGE_HEADER and message[:2] == seg.MESSAGE_START.to_bytes(2, "big")
        kind = message[2] if conforms else seg.KIND_UNKNOWN
        skip = seg.MESSAGE_HEADER if kind == seg.KIND_FRAME else len(message)
        return self._add(message, skip, "tunnel", direction, now, frame_id, len(message), kind)

    def add_relayed(self, direction: str, now: int, message_len: int, payload: int, cause: int) -> bool:
        """Keep the lengths of one tunnel message that holds no frame: ``payload`` of its bytes were carried for
        ``cause``, the rest is framing; with none it is all for ``cause``."""
        if "tunnel" not in self._points or not self.enabled:
            return False
        while not seg.note(
            self._segments[-1], payload, message_len, now + self.epoch_ns, self._points["tunnel"],
            s.DIRECTION_OF[direction], seg.KIND_RELAYED + cause,
        ):  # fmt: skip
            if not self._next_segment():
                self._drop("full", 1)
                return False
        return True

    def _add(
        self, data: bytes, skip: int, point: str, direction: str, now: int, frame_id: int, message_len: int, kind: int
    ) -> bool:
        where = self._points.get(point)
        if where is None or not self.enabled:
            return False
        array = np.frombuffer(data, np.uint8)
        while not seg.record(
            self._segments[-1], array, skip, now + self.epoch_ns, frame_id, message_len, where,
            s.DIRECTION_OF[direction], kind, self._kept, s.ETHERNET,
        ):  # fmt: skip
            if not self._next_segment():
                self._drop("full", 1)
                return False
        return True

    def capture(self) -> Capture:
        """What is kept now; later frames do not change it."""
        blocks = []
        for segment in tuple(self._segments):
            held = seg.header_of(segment)[0]
            if held:
                blocks.append(Block(segment, segment, len(segment) - s.INDEX_SIZE, -s.INDEX_SIZE, held))
        return Capture(tuple(blocks), dict(self.meta), self.drops, self.snap)

    def frames(self) -> pd.DataFrame:
        """One row a frame and point, with the columns of ``docs/columns.md``."""
        return self.capture().frames()

    def to_scapy(self, selection: Any = None) -> list[Packet]:
        """Frames as scapy packets (see :meth:`.capture.Capture.to_scapy`)."""
        return self.capture().to_scapy(selection)

    def save(self, path: str | Path) -> Path:
        """Write a pcapng file with one interface a point (see :func:`.pcapng.write_pcapng`)."""
        return self.capture().save(path)

    def save_parquet(self, path: str | Path) -> Path:
        """Write the columns as parquet, with schema and meta inside."""
        return self.capture().save_parquet(path)

    @property
    def drops(self) -> dict[str, int]:
        """Frames that are missing, by reason: ``full``, ``overwritten``."""
        return dict(self._drops)

    @property
    def counters(self) -> dict[str, int]:
        """Frames kept, bytes of memory in use, frames cut to the snap length or their headers; and frames that
        memory has let go of because a follower has taken them, when there are any."""
        headers = [seg.header_of(segment) for segment in tuple(self._segments)]
        counted = {"frames": len(self), "bytes": self.bytes, "cut": sum(cut for _, _, _, cut in headers)}
        if self._let_go:
            counted["let go"] = self._let_go
        return counted

    @property
    def bytes(self) -> int:
        """Memory in use: frames and descriptors."""
        headers = [seg.header_of(segment) for segment in tuple(self._segments)]
        return sum(used - seg.HEADER_SIZE + s.INDEX_SIZE * held for held, used, _, _ in headers)

    def __len__(self) -> int:
        return sum(seg.header_of(segment)[0] for segment in tuple(self._segments))

    def __repr__(self) -> str:
        missing = ", ".join(f"{number} {reason}" for reason, number in self._drops.items())
        return f"<Recorder {len(self)} frames, {self.bytes} bytes{', dropped: ' + missing if missing else ''}>"

    def _repr_html_(self) -> str:
        from ..tables import html_table

        rows = self.capture().descriptors()
        table = []
        for point in self.points:
            here = rows[rows["point"] == s.POINT_OF[point]]
            cells = [point, f"{len(here):,}", f"{int(here['frame_len'].sum(dtype=np.int64)):,}"]
            table.append([*cells, *(f"{int((here['direction'] == way).sum()):,}" for way in range(len(s.DIRECTIONS)))])
        dropped = ", ".join(f"{number:,} {reason}" for reason, number in self._drops.items()) or "none"
        caption = f"Recorder: {self.bytes / 1e6:.1f} MB held, frames dropped: {dropped}"
        return html_table(("point", "frames", "bytes", "tx", "rx"), table, caption)
