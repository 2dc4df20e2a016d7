"""One direction of a link: a node between two frame rings."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ..errors import UsageError
from ..limits import LINK_BYTES, LINK_FRAMES, LINK_STAGES, NEVER, RING_ARENA, RING_SLOTS
from ..rings.frame_ring import FrameRing
from . import cells as layout
from . import pipe
from .headers import MEDIA
from .moving import move
from .stages import LINE, Stage

DROPS = ("lost", "queue_full", "oversize", "aqm_dropped", "outage")
"""Counters of frames that did not arrive."""
MORE_COUNTERS = ("aqm_dropped", "marked", "not_ect", "outage")
"""Counters that only links have whose stages count them."""


class Random(Protocol):
    """The one thing asked of a generator."""

    def getrandbits(self, k: int, /) -> int: ...


def _check(stages: Sequence[Stage]) -> None:
    if len(stages) > LINK_STAGES:
        raise UsageError(f"a link direction has at most {LINK_STAGES} stages, not {len(stages)}")
    if sum(stage.kind == LINE for stage in stages) > 1:
        raise UsageError("a link direction has at most one managed queue")


class LinkDirection:
    """Frames go from :attr:`input` through the stages to :attr:`output`, with all their descriptors carry.

    Identity, flow, cause and flags stay (a copy's cause becomes DUPLICATE); ``t_ns`` becomes the time at which it came
    out. A full output, or more in flight than there is memory for, makes frames wait in the ring before; only a
    :class:`~aero_lab.link.Loss` or a full :class:`~aero_lab.link.Rate` queue drops. A frame larger than rings or memory
    is dropped and counted as ``oversize``.

    Parameters
    ----------
    stages: what happens to a frame, in order.
    rng: seeded generator; one number is drawn from it, whatever the stages.
    input, output: rings to stand between; made when absent.
    frames, arena: most frames (a power of two, at most 65536) and bytes in flight.
    name: how errors and tables call this direction.
    medium: what frames begin with: ``ip``, ``ethernet``, or nothing that a router could read (``message``).
    start: the time, in nanoseconds, from which recordings and outages count.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        rng: Random,
        input: FrameRing | None = None,
        output: FrameRing | None = None,
        frames: int = LINK_FRAMES,
        arena: int = LINK_BYTES,
        name: str = "link",
        medium: str = "message",
        start: int = 0,
    ):
        _check(stages)
        if medium not in MEDIA:
            raise UsageError(f"medium must be one of {', '.join(MEDIA)}, not {medium!r}")
        if not 1 <= frames <= 1 << layout.SLOT_BITS or frames & (frames - 1):
            raise UsageError(f"frames in flight must be a power of two up to {1 << layout.SLOT_BITS}, not {frames}")
        if arena < 8 or arena % 8:
            raise UsageError(f"bytes in flight must be a positive multiple of 8, not {arena}")
        self.stages = tuple(stages)
        self.name = name
        self.medium, self.start = medium, start
        self._seed = rng.getrandbits(64)
        self.input = input if input is not None else FrameRing(RING_SLOTS, RING_ARENA)
        self.output = output if output is not None else FrameRing(RING_SLOTS, RING_ARENA)
        self._bind(self._lay_out(frames, arena, self._seed))

    def _bind(self, array: np.ndarray) -> None:
        self._array = array
        self._cells = memoryview(array).cast("B").cast("q")  # type: ignore[arg-type]
        self._args = (array, self.input.array, self.output.array)

    def _lay_out(self, frames: int, arena: int, seed: int) -> np.ndarray:
        entries = layout.STAGE_TABLE + LINK_STAGES * layout.STAGE_SIZE
        heap = entries + frames * layout.ENTRY_SIZE
        tables = heap + frames * layout.PLACE_SIZE
        made = [(stage.cells(), stage.table()) for stage in self.stages]
        rooms = [len(table) + 7 & ~7 for _, table in made]
        flows = [layout.FLOW_SIZE * params.get("flows", 0) for params, _ in made]
        start = tables + sum(rooms) + sum(flows)
        array = np.zeros(start + arena, np.uint8)
        cells = array.view(np.int64)
        for at, value in (
            (layout.STAGE_COUNT, len(self.stages)),
            (layout.SLOTS, frames),
            (layout.ARENA_SIZE, arena),
            (layout.ENTRIES, entries),
            (layout.HEAP, heap),
            (layout.ARENA, start),
        ):
            cells[at >> 3] = value
        seen: dict[int, int] = {}
        for i, (stage, (params, table), room, flow) in enumerate(zip(self.stages, made, rooms, flows)):
            base = (layout.STAGE_TABLE + i * layout.STAGE_SIZE) >> 3
            # A generator belongs to the kind of stage and its turn among them, not to its place in the row.
            turn = seen[stage.kind] = seen.get(stage.kind, 0) + 1
            digest = hashlib.sha256(f"{seed}/{stage.kind}/{turn}".encode()).digest()
            at = base + (layout.STAGE_CELLS["random"] >> 3)
            cells[at : at + 4] = np.frombuffer(digest, "<u4", 4)
            if stage.kind == LINE:
                cells[layout.LINE >> 3] = base << 3
                params |= {
                    "state": int.from_bytes(digest[16:20], "little"),
                    "flows_at": tables + room,
                    "timer": NEVER,
                    "packets": frames // 2,
                }
            if table:
                array[tables : tables + len(table)] = np.frombuffer(table, np.uint8)
                params |= {"table": tables}
            params |= {"kind": stage.kind, "medium": MEDIA[self.medium], "start": self.start}
            for key, value in params.items():
                cells[base + (layout.STAGE_CELLS[key] >> 3)] = value
            tables += room + flow
        return array

    def change(self, stages: Sequence[Stage], arena: int = LINK_BYTES) -> None:
        """Become another link, for all frames that come from now on.

        Those that wait for something have what they waited for: the time on the line or the delay that was theirs.
        Stages behind that, if there are any, are the new ones. A kind of stage that was there before goes on with its
        line, its order and its random numbers; counters go on too, but for those of stages that are gone. What waits in
        a managed queue waits in the new one, if there is one; how well that was in hand it has to find out anew.
        """
        _check(stages)
        old, old_stages, before = self._array, self.stages, self._cells
        slots = before[layout.SLOTS >> 3]
        self.stages = tuple(stages)
        array = self._lay_out(slots, max(arena, before[layout.ARENA_SIZE >> 3]), self._seed)
        move(old, old_stages, array, self.stages)
        self._bind(array)

    def step(self, now: int) -> None:
        """Take frames in, do what is due, put frames out."""
        pipe.step(*self._args, now)

    def poll_at(self, now: int) -> int:
        """See :class:`aero_lab.clock.Node`."""
        return pipe.poll_at(*self._args, now)

    @property
    def in_flight(self) -> int:
        """Frames that are neither in the input ring nor in the output ring."""
        return self._cells[layout.IN_FLIGHT >> 3]

    @property
    def counters(self) -> dict[str, int]:
        """Frames by what became of them, and bytes in and out.

        ``frames_in + duplicated - copies_refused = frames_out + lost + queue_full + oversize + in_flight``, always; and
        ``aqm_dropped`` and ``outage`` besides, on the right, where a link has such stages. ``marked`` are frames with a
        mark of congestion, ``not_ect`` those that could not get one and were dropped in its place.
        """
        cells = self._cells
        out = {
            "frames_in": cells[layout.FRAMES_IN >> 3],
            "bytes_in": cells[layout.BYTES_IN >> 3],
            "frames_out": cells[layout.FRAMES_OUT >> 3],
            "bytes_out": cells[layout.BYTES_OUT >> 3],
            "in_flight": cells[layout.IN_FLIGHT >> 3],
            "oversize": cells[layout.OVERSIZE >> 3],
            "copies_refused": cells[layout.COPIES_REFUSED >> 3],
            "lost": 0,
            "queue_full": 0,
            "duplicated": 0,
            "reordered": 0,
            "held": 0,
            "corrupted": 0,
        }
        out |= {name: 0 for stage in self.stages for name in stage.counts if name in MORE_COUNTERS}
        for i, stage in enumerate(self.stages):
            base = layout.STAGE_TABLE + i * layout.STAGE_SIZE
            for name, cell in stage.counts.items():
                if name in out:
                    out[name] += cells[(base + layout.STAGE_CELLS[cell]) >> 3]
        return out

    @property
    def drops(self) -> dict[str, int]:
        """Frames that did not arrive and never will, by reason."""
        counters = self.counters
        return {reason: counters[reason] for reason in DROPS if reason in counters}

    def __repr__(self) -> str:
        row = ", ".join(map(repr, self.stages)) or "nothing"
        return f"<{type(self).__name__} {self.name}: {row}; {self.in_flight} in flight>"
