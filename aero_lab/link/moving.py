"""A link that becomes another one while frames are on their way: what moves into the new memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

import numpy as np

from ..limits import NEVER
from . import cells as layout
from .stages import LINE, LOSS_TRACE, OUTAGE, RATE, STAGE_ORDER, STALL, Line, Stage

LINES = (RATE, LINE)
_CELLS = {name: offset >> 3 for name, offset in layout.STAGE_CELLS.items()}


def move(old: np.ndarray, old_stages: tuple[Stage, ...], new: np.ndarray, stages: tuple[Stage, ...]) -> None:
    """Counters, what stages keep in mind, and the frames in flight, from ``old`` into ``new``, which is empty."""
    before, cells = old.view(np.int64), new.view(np.int64)
    for cell in range(layout.FRAMES_IN >> 3, (layout.IN_FLIGHT >> 3) + 1):
        cells[cell] = before[cell]
    cells[layout.ORDER >> 3] = before[layout.ORDER >> 3]
    queued, free_at = _queue(before)
    for number, stage in enumerate(stages):
        _keep(before, old_stages, cells, number, stage)
        if stage.kind in LINES and queued:
            _goes_on_at(cells, _base(number), stage, old_stages, before, free_at)
    slots = _frames(old, old_stages, new, stages)
    _moments(before, cells, slots, queued, free_at, stages)


def _base(number: int) -> int:
    return (layout.STAGE_TABLE + number * layout.STAGE_SIZE) >> 3


def _keep(before: np.ndarray, old_stages: tuple[Stage, ...], cells: np.ndarray, number: int, stage: Stage) -> None:
    """What a stage of this kind, or another line, had in mind."""
    to = _base(number)
    for other, left in enumerate(old_stages):
        of = _base(other)
        if left.kind == stage.kind:
            kept = range(layout.STAGE_KEPT >> 3, layout.STAGE_BUILT >> 3)
        elif left.kind in LINES and stage.kind in LINES:
            kept = (layout.BUSY_UNTIL >> 3, layout.REMAINDER >> 3, _CELLS["hits"], _CELLS["bytes"])
        else:
            continue
        for cell in kept:
            cells[to + cell] = before[of + cell]
        if stage.kind in (LOSS_TRACE, OUTAGE, STALL) and stage != left:
            cells[to + _CELLS["state"]] = cells[to + _CELLS["until"]] = 0
        return


def _queue(before: np.ndarray) -> tuple[list[int], int]:
    """Slots of the frames that wait in a managed queue, in the order in which they came, and when the line is free."""
    line = int(before[layout.LINE >> 3]) >> 3
    if not line:
        return [], NEVER
    found = list(_chained(before, line))
    return sorted(found, key=lambda slot: int(before[_entry(before, slot) + (layout.ENTRY_CAME >> 3)])), int(
        before[line + _CELLS["timer"]]
    )


def _chained(before: np.ndarray, line: int) -> Iterator[int]:
    if current := int(before[line + _CELLS["current"]]):
        yield current - 1
    flow = int(before[line + _CELLS["flows_at"]]) >> 3
    for _ in range(int(before[line + _CELLS["flows"]])):
        slot = int(before[flow]) - 1
        while slot >= 0:
            yield slot
            slot = int(before[_entry(before, slot) + (layout.ENTRY_NEXT >> 3)]) - 1
        flow += layout.FLOW_SIZE >> 3


def _entry(cells: np.ndarray, slot: int) -> int:
    return (int(cells[layout.ENTRIES >> 3]) + layout.ENTRY_SIZE * slot) >> 3


def _goes_on_at(
    cells: np.ndarray, base: int, stage: Stage, old_stages: tuple[Stage, ...], before: np.ndarray, free_at: int
) -> None:
    """The new line takes over when the old one would have taken its next frame."""
    cells[base + (layout.BUSY_UNTIL >> 3)] = free_at
    if not isinstance(stage, Line) or stage.trace is None:
        return
    for number, left in enumerate(old_stages):
        if isinstance(left, Line) and left.trace == stage.trace:
            cells[base + (layout.TURN >> 3)] = before[_base(number) + (layout.TURN >> 3)]
            return
    moments = np.frombuffer(stage.table(), np.int64)
    lap, since = divmod(max(free_at - 1 - int(cells[base + _CELLS["start"]]), 0), int(moments[-1]))
    cells[base + (layout.TURN >> 3)] = lap * len(moments) + bisect_right(moments, since)


def _frames(
    old: np.ndarray, old_stages: tuple[Stage, ...], new: np.ndarray, stages: tuple[Stage, ...]
) -> dict[int, int]:
    """Put the frames in flight at the beginning of the new memory, in their order; where each slot is now."""
    order = list(STAGE_ORDER)
    goes_on = [
        next((n for n, stage in enumerate(stages) if order.index(stage.kind) >= order.index(left.kind)), None)
        for left in old_stages
    ]
    before, cells = old.view(np.int64), new.view(np.int64)
    mask = int(before[layout.SLOTS >> 3]) - 1
    arena = at = int(cells[layout.ARENA >> 3])
    slots: dict[int, int] = {}
    for number in range(int(before[layout.HEAD >> 3]), int(before[layout.TAIL >> 3])):
        start = _entry(before, number & mask)
        values = before[start : start + (layout.ENTRY_SIZE >> 3)].tolist()
        offset, size, stage = values[0], values[1], values[layout.ENTRY_STAGE >> 3]
        if stage == layout.FREED:
            continue
        follows = goes_on[stage] if stage < len(old_stages) else None
        slot = slots[number & mask] = len(slots)
        new[at : at + size] = old[offset : offset + size]
        end = at + (size + 7 & ~7)
        values[0], values[layout.ENTRY_STAGE >> 3] = at, len(stages) if follows is None else follows
        values[7], values[8] = end - arena, at - arena
        start = _entry(cells, slot)
        cells[start : start + (layout.ENTRY_SIZE >> 3)] = values
        at = end
    cells[layout.TAIL >> 3], cells[layout.ARENA_TAIL >> 3] = len(slots), at - arena
    return slots


def _moments(
    before: np.ndarray,
    cells: np.ndarray,
    slots: dict[int, int],
    queued: list[int],
    free_at: int,
    stages: tuple[Stage, ...],
) -> None:
    """What the frames wait for. Those of a managed queue come to the new line as they came to the old one; without a
    line they go when the old one would have taken the first of them."""
    first = (1 << layout.SLOT_BITS) - 1
    waiting = []
    for place in range(int(before[layout.HEAP_SIZE >> 3])):
        of = (int(before[layout.HEAP >> 3]) + layout.PLACE_SIZE * place) >> 3
        due, key = before[of : of + 2].tolist()
        waiting.append((due, key & ~first | slots[key & first]))
    line = next((number for number, stage in enumerate(stages) if stage.kind in LINES), None)
    beyond = next(
        (n for n, stage in enumerate(stages) if STAGE_ORDER.index(stage.kind) > STAGE_ORDER.index(LINE)), None
    )
    for slot in queued:
        order = int(cells[layout.ORDER >> 3])
        cells[layout.ORDER >> 3] = order + 1
        entry = _entry(cells, slots[slot])
        came = int(cells[entry + (layout.ENTRY_CAME >> 3)])
        goes_to = line if line is not None else len(stages) if beyond is None else beyond
        cells[entry + (layout.ENTRY_STAGE >> 3)] = goes_to
        waiting.append((free_at if line is None else came, order << layout.SLOT_BITS | slots[slot]))
    cells[layout.HEAP_SIZE >> 3] = len(waiting)
    at = int(cells[layout.HEAP >> 3]) >> 3
    for due, key in sorted(waiting):  # in order, they are a heap
        cells[at : at + 2] = due, key
        at += layout.PLACE_SIZE >> 3
