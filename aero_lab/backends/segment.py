"""The segment that a machine and its forwarder share: which rings lie where (the AIPC layout).

::

    "AIPC" | version 1 | total_bytes | queue_count | then, per queue: kind | offset_bytes | capacity_bytes | 0

All numbers are little-endian u32. An offset leads to a ring's header (see :mod:`.aipc`). Whoever attaches checks
everything before believing it; capacities must be powers of two, since with any other the places jump when a cursor
wraps, after 4 GiB.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ..errors import UsageError
from .aipc import CAPACITY, HEADER
from .limits import COMMAND_RING, NET_RING, QUEUES_MOST, RING_LEAST, RING_MOST

MAGIC, VERSION = 0x43504941, 1
COMMANDS, EVENTS, NET_TX, NET_RX, HID_IN = range(5)
"""Kinds of rings: commands and events, frames from the guest and frames for it, input devices."""
RUNTIME = (
    (COMMANDS, COMMAND_RING), (EVENTS, COMMAND_RING), (NET_TX, NET_RING), (NET_RX, NET_RING),
)  # fmt: skip
"""The rings of a runtime, as browsers lay them out."""
_HEAD, _QUEUE, _RING = struct.Struct("<4I"), struct.Struct("<4I"), struct.Struct("<4I")


class Queue(NamedTuple):
    """A ring of a segment."""

    kind: int
    offset: int
    """Of its header, from the start of the segment."""
    capacity: int
    """Bytes of its data."""


class Segment:
    """A segment in memory of its own or of somebody else's.

    Parameters
    ----------
    queues: kind and capacity of each ring.
    buffer: writable memory to lay it out in, aligned to 4, such as that of
        :class:`multiprocessing.shared_memory.SharedMemory`; allocated when absent.
    """

    def __init__(self, queues: Iterable[tuple[int, int]] = RUNTIME, buffer: Any = None):
        wanted = list(queues)
        if not 0 < len(wanted) <= QUEUES_MOST:
            raise UsageError(f"a segment has 1 to {QUEUES_MOST} rings, not {len(wanted)}")
        at = _HEAD.size + _QUEUE.size * len(wanted)
        self.queues: list[Queue] = []
        for kind, capacity in wanted:
            if not RING_LEAST <= capacity <= RING_MOST or capacity & (capacity - 1):
                raise UsageError(f"a ring has a power of two of bytes, {RING_LEAST} to {RING_MOST}, not {capacity}")
            self.queues.append(Queue(kind, at, capacity))
            at += HEADER + capacity
        self._bind(np.zeros(at, np.uint8) if buffer is None else np.frombuffer(buffer, np.uint8), at)
        self.array[:] = 0
        for queue in self.queues:
            _RING.pack_into(self.memory, queue.offset, 0, 0, 0, queue.capacity)
        for number, queue in enumerate(self.queues):
            _QUEUE.pack_into(self.memory, _HEAD.size + _QUEUE.size * number, *queue, 0)
        _HEAD.pack_into(self.memory, 0, MAGIC, VERSION, at, len(wanted))

    @classmethod
    def size_for(cls, queues: Iterable[tuple[int, int]] = RUNTIME) -> int:
        """Bytes of memory that such a segment takes."""
        return _HEAD.size + sum(_QUEUE.size + HEADER + capacity for _, capacity in queues)

    @classmethod
    def attach(cls, buffer: Any) -> Segment:
        """The segment that somebody laid out at the start of ``buffer``; :class:`UsageError` for anything else."""
        raw = np.frombuffer(buffer, np.uint8)
        if len(raw) < _HEAD.size:
            raise UsageError("no segment of rings in this buffer: it is too short")
        magic, version, total, count = _HEAD.unpack_from(memoryview(raw))  # type: ignore[arg-type]
        if magic != MAGIC:
            raise UsageError("no segment of rings in this buffer")
        if version != VERSION:
            raise UsageError(f"the segment has version {version}, this program knows version {VERSION}")
        if not 0 < count <= QUEUES_MOST or not _HEAD.size + _QUEUE.size * count <= total <= len(raw):
            raise UsageError(f"a segment of {total} bytes with {count} rings does not lie in {len(raw)} bytes")
        segment = cls.__new__(cls)
        segment._bind(raw, total)
        segment.queues = [segment._queue(number, count) for number in range(count)]
        ends = sorted((queue.offset, queue.offset + HEADER + queue.capacity) for queue in segment.queues)
        if any(start < end for (_, end), (start, _) in zip(ends, ends[1:])):
            raise UsageError("rings of the segment lie over each other")
        return segment

    def _bind(self, array: np.ndarray, size: int) -> None:
        if len(array) < size:
            raise UsageError(f"a segment of {size} bytes does not lie in {len(array)} bytes")
        if not array.flags.writeable:
            raise UsageError("a segment needs memory that can be written to")
        self.array = array[:size]
        """Its bytes."""
        self.memory = memoryview(self.array)  # type: ignore[arg-type]

    def _queue(self, number: int, count: int) -> Queue:
        kind, offset, capacity, reserved = _QUEUE.unpack_from(self.memory, _HEAD.size + _QUEUE.size * number)
        first = _HEAD.size + _QUEUE.size * count
        if offset % 4 or not first <= offset <= len(self.array) - HEADER - capacity or reserved:
            raise UsageError(f"ring {number} of the segment lies outside of it")
        if not RING_LEAST <= capacity <= RING_MOST or capacity & (capacity - 1):
            raise UsageError(f"ring {number} of the segment has {capacity} bytes, which is no power of two")
        (own,) = struct.unpack_from("<I", self.memory, offset + CAPACITY)
        if own != capacity:
            raise UsageError(f"ring {number} of the segment has two sizes: {capacity} and {own} bytes")
        return Queue(kind, offset, capacity)

    def queue(self, kind: int) -> Queue:
        """The ring of a kind."""
        for queue in self.queues:
            if queue.kind == kind:
                return queue
        raise UsageError(f"the segment has no ring of kind {kind}")

    def cursors(self, kind: int) -> tuple[int, int, int]:
        """``head``, ``tail_reserve`` and ``tail_commit`` of a ring."""
        return _RING.unpack_from(self.memory, self.queue(kind).offset)[:3]

    def __repr__(self) -> str:
        return f"<Segment {len(self.array)} bytes, {len(self.queues)} rings>"
