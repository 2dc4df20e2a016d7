"""One direction of a link: a node between two frame rings."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ..errors import UsageError
from ..limits import LINK_BYTES, LINK_FRAMES, LINK_STAGES, RING_ARENA, RING_SLOTS
from ..rings.frame_ring import FrameRing
from . import pipe
from .stages import STAGE_ORDER, Stage


class Random(Protocol):
    """The one thing asked of a generator."""

    def getrandbits(self, k: int, /) -> int: ...


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
    ):
        if len(stages) > LINK_STAGES:
            raise UsageError(f"a link direction has at most {LINK_STAGES} stages, not {len(stages)}")
        if not 1 <= frames <= 1 << pipe.SLOT_BITS or frames & (frames - 1):
            raise UsageError(f"frames in flight must be a power of two up to {1 << pipe.SLOT_BITS}, not {frames}")
        if arena < 8 or arena % 8:
            raise UsageError(f"bytes in flight must be a positive multiple of 8, not {arena}")
        self.stages = tuple(stages)
        self.name = name
        self._seed = rng.getrandbits(64)
        self.input = input if input is not None else FrameRing(RING_SLOTS, RING_ARENA)
        self.output = output if output is not None else FrameRing(RING_SLOTS, RING_ARENA)
        self._bind(self._lay_out(frames, arena, self._seed))

    def _bind(self, array: np.ndarray) -> None:
        self._array = array
        self._cells = memoryview(array).cast("B").cast("q")  # type: ignore[arg-type]
        self._args = (array, self.input.array, self.output.array)

    def _lay_out(self, frames: int, arena: int, seed: int) -> np.ndarray:
        entries = pipe.STAGE_TABLE + LINK_STAGES * pipe.STAGE_SIZE
        heap = entries + frames * pipe.ENTRY_SIZE
        start = heap + frames * pipe.PLACE_SIZE
        array = np.zeros(start + arena, np.uint8)
        cells = array.view(np.int64)
        for at, value in (
            (pipe.STAGE_COUNT, len(self.stages)),
            (pipe.SLOTS, frames),
            (pipe.ARENA_SIZE, arena),
            (pipe.ENTRIES, entries),
            (pipe.HEAP, heap),
            (pipe.ARENA, start),
        ):
            cells[at >> 3] = value
        seen: dict[int, int] = {}
        for i, stage in enumerate(self.stages):
            base = (pipe.STAGE_TABLE + i * pipe.STAGE_SIZE) >> 3
            cells[base] = stage.kind
            for key, value in stage.cells().items():
                cells[base + (pipe.STAGE_CELLS[key] >> 3)] = value
            # A generator belongs to the kind of stage and its turn among them, not to its place in the row.
            turn = seen[stage.kind] = seen.get(stage.kind, 0) + 1
            digest = hashlib.sha256(f"{seed}/{stage.kind}/{turn}".encode()).digest()
            at = base + (pipe.STAGE_CELLS["random"] >> 3)
            cells[at : at + 4] = np.frombuffer(digest, "<u4", 4)
        return array

    def change(self, stages: Sequence[Stage], arena: int = LINK_BYTES) -> None:
        """Become another link, for all frames that come from now on.

        Those that wait for something have what they waited for: the time on the line or the delay that was theirs.
        Stages behind that, if there are any, are the new ones. A kind of stage that was there before goes on with its
        line, its order and its random numbers; counters go on too, but for those of stages that are gone.
        """
        if len(stages) > LINK_STAGES:
            raise UsageError(f"a link direction has at most {LINK_STAGES} stages, not {len(stages)}")
        old, old_stages, before = self._array, self.stages, self._cells
        slots = before[pipe.SLOTS >> 3]
        self.stages = tuple(stages)
        array = self._lay_out(slots, max(arena, before[pipe.ARENA_SIZE >> 3]), self._seed)
        cells = array.view(np.int64)
        for cell in range(pipe.FRAMES_IN >> 3, (pipe.IN_FLIGHT >> 3) + 1):
            cells[cell] = before[cell]
        cells[pipe.ORDER >> 3] = before[pipe.ORDER >> 3]
        for number, stage in enumerate(self.stages):
            same = next((n for n, other in enumerate(old_stages) if other.kind == stage.kind), None)
            if same is not None:
                to, of = ((pipe.STAGE_TABLE + n * pipe.STAGE_SIZE) >> 3 for n in (number, same))
                for cell in range(pipe.STAGE_KEPT >> 3, pipe.STAGE_SIZE >> 3):
                    cells[to + cell] = before[of + cell]
        self._move_in(old, old_stages, array)
        self._bind(array)

    def _move_in(self, old: np.ndarray, old_stages: tuple[Stage, ...], array: np.ndarray) -> None:
        """Put the frames in flight at the beginning of new memory, in their order, and what they wait for with them."""
        order = list(STAGE_ORDER)
        goes_on = [
            next((n for n, stage in enumerate(self.stages) if order.index(stage.kind) >= order.index(left.kind)), None)
            for left in old_stages
        ]
        before, cells = old.view(np.int64), array.view(np.int64)
        mask = int(before[pipe.SLOTS >> 3]) - 1
        arena = at = int(cells[pipe.ARENA >> 3])
        slots: dict[int, int] = {}
        for number in range(int(before[pipe.HEAD >> 3]), int(before[pipe.TAIL >> 3])):
            start = (int(before[pipe.ENTRIES >> 3]) + pipe.ENTRY_SIZE * (number & mask)) >> 3
            values = before[start : start + (pipe.ENTRY_SIZE >> 3)].tolist()
            offset, size, stage = values[0], values[1], values[pipe.ENTRY_STAGE >> 3]
            if stage == pipe.FREED:
                continue
            follows = goes_on[stage] if stage < len(old_stages) else None
            slot = slots[number & mask] = len(slots)
            array[at : at + size] = old[offset : offset + size]
            end = at + (size + 7 & ~7)
            values[0], values[pipe.ENTRY_STAGE >> 3] = at, len(self.stages) if follows is None else follows
            values[7], values[8] = end - arena, at - arena
            start = (int(cells[pipe.ENTRIES >> 3]) + pipe.ENTRY_SIZE * slot) >> 3
            cells[start : start + (pipe.ENTRY_SIZE >> 3)] = values
            at = end
        cells[pipe.TAIL >> 3], cells[pipe.ARENA_TAIL >> 3] = len(slots), at - arena
        heap = int(before[pipe.HEAP_SIZE >> 3])
        cells[pipe.HEAP_SIZE >> 3] = heap
        first = (1 << pipe.SLOT_BITS) - 1
        for place in range(heap):
            of = (int(before[pipe.HEAP >> 3]) + pipe.PLACE_SIZE * place) >> 3
            to = (int(cells[pipe.HEAP >> 3]) + pipe.PLACE_SIZE * place) >> 3
            due, key = before[of : of + 2].tolist()
            cells[to : to + 2] = due, key & ~first | slots[key & first]

    def step(self, now: int) -> None:
        """Take frames in, do what is due, put frames out."""
        pipe.step(*self._args, now)

    def poll_at(self, now: int) -> int:
        """See :class:`aero_lab.clock.Node`."""
        return pipe.poll_at(*self._args, now)

    @property
    def in_flight(self) -> int:
        """Frames that are neither in the input ring nor in the output ring."""
        return self._cells[pipe.IN_FLIGHT >> 3]

    @property
    def counters(self) -> dict[str, int]:
        """Frames by what became of them, and bytes in and out.

        ``frames_in + duplicated - copies_refused = frames_out + lost + queue_full + oversize + in_flight``, always.
        """
        cells = self._cells
        out = {
            "frames_in": cells[pipe.FRAMES_IN >> 3],
            "bytes_in": cells[pipe.BYTES_IN >> 3],
            "frames_out": cells[pipe.FRAMES_OUT >> 3],
            "bytes_out": cells[pipe.BYTES_OUT >> 3],
            "in_flight": cells[pipe.IN_FLIGHT >> 3],
            "oversize": cells[pipe.OVERSIZE >> 3],
            "copies_refused": cells[pipe.COPIES_REFUSED >> 3],
            "lost": 0,
            "queue_full": 0,
            "duplicated": 0,
            "reordered": 0,
            "held": 0,
            "corrupted": 0,
        }
        for i, stage in enumerate(self.stages):
            if stage.counter in out:
                base = pipe.STAGE_TABLE + i * pipe.STAGE_SIZE
                out[stage.counter] += cells[(base + pipe.STAGE_CELLS["hits"]) >> 3]
        return out

    @property
    def drops(self) -> dict[str, int]:
        """Frames that did not arrive and never will, by reason."""
        counters = self.counters
        return {reason: counters[reason] for reason in ("lost", "queue_full", "oversize")}

    def __repr__(self) -> str:
        row = ", ".join(map(repr, self.stages)) or "nothing"
        return f"<{type(self).__name__} {self.name}: {row}; {self.in_flight} in flight>"
