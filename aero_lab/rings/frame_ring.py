"""The frame ring: a bounded queue of frames between one producer and one consumer.

Theory of operation
-------------------
A ring is *one* byte array, so it is handed to a kernel as one argument and lives in ordinary or shared memory alike::

    0        header: dimensions; then, a cache line each, the consumer's cursors, the producer's, and its refusals
    256      descriptors, 64 bytes each, a power of two of them
    ...      arena: the bytes of the frames

Cursors only grow (they would wrap after centuries). A descriptor's place is a cursor modulo their number; the place in
the arena is kept beside the producer's cursor, because a division costs more than all the rest. The producer writes
bytes and descriptor, then publishes its cursor with *release*; the consumer reads that with *acquire*, and frees the
same way. A frame is contiguous: when it does not fit before the end of the arena the rest is skipped and counts as used
until the frame is released. An empty ring takes any frame up to the size of its arena and starts over at its
beginning: a consumer that keeps up leaves most of the arena untouched, and the rest in the cache.

When the ring is full the producer is refused (:func:`reserve` returns -1 and counts it); what happens then is the
producer's business: TCP output waits, everything else drops under a reason. The ring itself never drops and never
overwrites.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..compiled.memory import (
    copy,
    i64_native_field,
    load_acquire,
    put_i64_native_field,
    store_release,
)
from ..compiled.pages import pages
from ..compiled.registry import BYTES, I64, READ_ONLY, VOID, entry, kernel
from ..errors import UsageError

MAGIC = 0x31474E4952414C41  # "ALARING1"
HEADER_SIZE = 256
DESCRIPTOR_SIZE = 64
HEAD, HEAD_BYTES = 64, 72  # consumer: frames and arena bytes taken
TAIL, TAIL_BYTES, GIVEN_BYTES, TAIL_AT = 128, 136, 144, 152  # producer: frames, arena and frame bytes given; position
REFUSED, REFUSED_BYTES = 192, 200

slots = i64_native_field(8)
arena_size = i64_native_field(16)
arena_start = i64_native_field(24)
get_tail_bytes, get_head_bytes = i64_native_field(TAIL_BYTES), i64_native_field(HEAD_BYTES)
put_tail_bytes = put_i64_native_field(TAIL_BYTES)
get_tail_at, put_tail_at = i64_native_field(TAIL_AT), put_i64_native_field(TAIL_AT)
get_given_bytes, put_given_bytes = i64_native_field(GIVEN_BYTES), put_i64_native_field(GIVEN_BYTES)
get_refused, put_refused = i64_native_field(REFUSED), put_i64_native_field(REFUSED)
get_refused_bytes, put_refused_bytes = i64_native_field(REFUSED_BYTES), put_i64_native_field(REFUSED_BYTES)
get_tail = i64_native_field(TAIL)
get_head = i64_native_field(HEAD)

# Descriptor fields, read as ``frame_len(ring, descriptor)``.
t_ns, put_t_ns = i64_native_field(0), put_i64_native_field(0)
frame_off, put_frame_off = i64_native_field(8), put_i64_native_field(8)  # from the start of the ring's array
frame_len, put_frame_len = i64_native_field(16), put_i64_native_field(16)
frame_id, put_frame_id = i64_native_field(24), put_i64_native_field(24)
flow, put_flow = i64_native_field(32), put_i64_native_field(32)
cause, put_cause = i64_native_field(40), put_i64_native_field(40)
flags, put_flags = i64_native_field(48), put_i64_native_field(48)
arena_end, put_arena_end = i64_native_field(56), put_i64_native_field(56)  # arena cursor behind the frame


@entry
@kernel(I64(BYTES))
def count(ring):
    """Frames waiting."""
    return load_acquire(ring, TAIL) - load_acquire(ring, HEAD)


@kernel(I64(BYTES, I64))
def find_room(ring, size):
    """Offset at which a frame of ``size`` bytes would start, or -1 when it does not fit now; counts nothing."""
    capacity = arena_size(ring, 0)
    if size > capacity:
        return -1
    waiting = get_tail(ring, 0) - load_acquire(ring, HEAD)
    if waiting >= slots(ring, 0):
        return -1
    if waiting == 0:
        return arena_start(ring, 0)
    at = get_tail_at(ring, 0)
    end = get_tail_bytes(ring, 0) + size
    if at + size > capacity:
        end += capacity - at
        at = 0
    if end - load_acquire(ring, HEAD_BYTES) > capacity:
        return -1
    return arena_start(ring, 0) + at


@entry
@kernel(I64(BYTES, I64))
def has_room(ring, size):
    """1 when a frame of ``size`` bytes fits now, else 0; counts nothing."""
    return 1 if find_room(ring, size) >= 0 else 0


@kernel(I64(BYTES, I64))
def reserve(ring, size):
    """Offset at which the producer may write a frame of ``size`` bytes, or -1 (refused and counted) when it is full."""
    offset = find_room(ring, size)
    if offset < 0:
        put_refused(ring, 0, get_refused(ring, 0) + 1)
        put_refused_bytes(ring, 0, get_refused_bytes(ring, 0) + size)
    return offset


@kernel(VOID(BYTES, I64, I64, I64, I64, I64, I64, I64))
def commit(ring, offset, size, now, identity, flow_id, cause_id, flag_bits):
    """Publish the frame written at ``offset`` by the last :func:`reserve` of at least ``size`` bytes."""
    tail = get_tail(ring, 0)
    capacity = arena_size(ring, 0)
    rounded = (size + 7) & ~7
    before = get_tail_at(ring, 0)
    at = offset - arena_start(ring, 0)
    end = get_tail_bytes(ring, 0) + rounded
    if at != before and load_acquire(ring, HEAD) != tail:
        end += capacity - before  # the rest of the arena was skipped, and is in the way while frames before it wait
    at += rounded
    put_tail_at(ring, 0, 0 if at == capacity else at)
    d = HEADER_SIZE + DESCRIPTOR_SIZE * (tail & (slots(ring, 0) - 1))
    put_t_ns(ring, d, now)
    put_frame_off(ring, d, offset)
    put_frame_len(ring, d, size)
    put_frame_id(ring, d, identity)
    put_flow(ring, d, flow_id)
    put_cause(ring, d, cause_id)
    put_flags(ring, d, flag_bits)
    put_arena_end(ring, d, end)
    put_tail_bytes(ring, 0, end)
    put_given_bytes(ring, 0, get_given_bytes(ring, 0) + size)
    store_release(ring, TAIL, tail + 1)


@kernel(I64(BYTES, I64))
def descriptor(ring, index):
    """Offset of the descriptor of the ``index``-th waiting frame; the caller has checked :func:`count`."""
    return HEADER_SIZE + DESCRIPTOR_SIZE * ((get_head(ring, 0) + index) & (slots(ring, 0) - 1))


@entry
@kernel(VOID(BYTES, I64))
def release(ring, number):
    """Give the first ``number`` waiting frames back to the producer."""
    if number > 0:
        end = arena_end(ring, descriptor(ring, number - 1))
        store_release(ring, HEAD_BYTES, end)
        store_release(ring, HEAD, get_head(ring, 0) + number)


@entry
@kernel(I64(BYTES, READ_ONLY, I64, I64, I64, I64, I64))
def push(ring, data, now, identity, flow_id, cause_id, flag_bits):
    """Copy ``data`` in as one frame. 1 when taken, 0 when refused."""
    offset = reserve(ring, len(data))
    if offset < 0:
        return 0
    copy(ring, offset, data, 0, len(data))
    commit(ring, offset, len(data), now, identity, flow_id, cause_id, flag_bits)
    return 1


@entry
@kernel(I64(BYTES, BYTES, I64))
def move(source, target, most):
    """Move up to ``most`` frames with all they carry; stops at a full target. Returns how many went."""
    moved = 0
    available = min(count(source), most)
    while moved < available:
        d = descriptor(source, moved)
        size = frame_len(source, d)
        offset = find_room(target, size)
        if offset < 0:
            break
        copy(target, offset, source, frame_off(source, d), size)
        commit(
            target,
            offset,
            size,
            t_ns(source, d),
            frame_id(source, d),
            flow(source, d),
            cause(source, d),
            flags(source, d),
        )
        moved += 1
    release(source, moved)
    return moved


_HEAD, _HEAD_BYTES, _TAIL, _TAIL_BYTES = HEAD >> 3, HEAD_BYTES >> 3, TAIL >> 3, TAIL_BYTES >> 3
_GIVEN_BYTES, _REFUSED, _REFUSED_BYTES = GIVEN_BYTES >> 3, REFUSED >> 3, REFUSED_BYTES >> 3


class Frame(NamedTuple):
    """One frame taken out of a ring."""

    data: bytes
    t_ns: int
    """Time of arrival, nanoseconds."""
    frame_id: int
    """Identity that stays with the frame from end to end; 0 when unknown."""
    flow: int
    """Connection slot or other flow number; -1 when none."""
    cause: int
    """Why the bytes are spent: a :class:`aero_lab.causes.Cause`."""
    flags: int
    """Free for the two ends of the ring to agree on."""


class FrameRing:
    """A frame ring with its memory: one producer, one consumer, in one or in two processes.

    Parameters
    ----------
    slots: most frames it holds, a power of two.
    arena: bytes for their contents, a multiple of 8; also the largest frame.
    buffer: writable memory to lay the ring out in, aligned to 8 (shared memory, for instance); allocated when absent.
    """

    def __init__(self, slots: int = 1024, arena: int = 2 << 20, buffer: Any = None):
        if slots < 1 or slots & (slots - 1):
            raise UsageError(f"slots must be a power of two, not {slots}")
        if arena < 8 or arena % 8:
            raise UsageError(f"arena must be a positive multiple of 8 bytes, not {arena}")
        need = self.size_for(slots, arena)
        self._bind(pages(need) if buffer is None else np.frombuffer(buffer, np.uint8, need))
        self.array[:HEADER_SIZE] = 0
        for at, value in ((8, slots), (16, arena), (24, HEADER_SIZE + DESCRIPTOR_SIZE * slots), (0, MAGIC)):
            self._cells[at >> 3] = value

    @staticmethod
    def size_for(slots: int, arena: int) -> int:
        """Bytes of memory that a ring of these dimensions takes."""
        return HEADER_SIZE + DESCRIPTOR_SIZE * slots + arena

    @classmethod
    def attach(cls, buffer: Any) -> FrameRing:
        """The ring that somebody laid out at the start of ``buffer``."""
        view = np.frombuffer(buffer, np.uint8)
        cells = view[: len(view) & ~7].view(np.int64)
        if len(view) < HEADER_SIZE or cells[0] != MAGIC:
            raise UsageError("no frame ring in this buffer")
        need = cls.size_for(int(cells[1]), int(cells[2]))
        if len(view) < need or cells[3] != need - cells[2]:
            raise UsageError(f"a frame ring of {need} bytes does not lie in {len(view)} bytes")
        ring = cls.__new__(cls)
        ring._bind(view[:need])
        return ring

    def _bind(self, array: np.ndarray) -> None:
        self.array = array
        self._bytes = memoryview(array)  # type: ignore[arg-type]
        self._cells = self._bytes.cast("q")

    def __len__(self) -> int:
        cells = self._cells
        return cells[_TAIL] - cells[_HEAD]

    @property
    def slots(self) -> int:
        return self._cells[1]

    @property
    def arena(self) -> int:
        return self._cells[2]

    @property
    def given(self) -> int:
        """Frames put in since the ring was made."""
        return self._cells[_TAIL]

    @property
    def given_bytes(self) -> int:
        """Bytes of those frames."""
        return self._cells[_GIVEN_BYTES]

    @property
    def refused(self) -> int:
        """Frames that :func:`reserve` refused since the ring was made."""
        return self._cells[_REFUSED]

    @property
    def refused_bytes(self) -> int:
        return self._cells[_REFUSED_BYTES]

    @property
    def used_bytes(self) -> int:
        """Arena bytes in use, skipped ends included (so it can pass the size of the arena by less than one frame)."""
        return self._cells[_TAIL_BYTES] - self._cells[_HEAD_BYTES]

    def has_room(self, size: int) -> bool:
        """Whether a frame of ``size`` bytes fits now."""
        return bool(has_room(self.array, size))

    def push(
        self, data: bytes, t_ns: int = 0, frame_id: int = 0, flow: int = -1, cause: int = 0, flags: int = 0
    ) -> bool:
        """Copy ``data`` in as one frame; False when the ring is full (counted in :attr:`refused`)."""
        return bool(push(self.array, np.frombuffer(data, np.uint8), t_ns, frame_id, flow, cause, flags))

    def pop(self) -> Frame | None:
        """Take the oldest frame out, or None."""
        taken = self.pop_many(1)
        return taken[0] if taken else None

    def pop_many(self, most: int = 64) -> list[Frame]:
        """Take up to ``most`` frames out, oldest first; their bytes are copies."""
        if not len(self):
            return []
        out = self.peek_many(most)
        release(self.array, len(out))
        return out

    def peek_many(self, most: int = 64) -> list[Frame]:
        """Copies of up to ``most`` of the oldest frames, which stay where they are."""
        number = min(count(self.array), most)  # the kernel's acquire orders what is read below
        cells, raw = self._cells, self._bytes
        head, mask = cells[_HEAD], cells[1] - 1
        out = []
        for i in range(number):
            d = (HEADER_SIZE + DESCRIPTOR_SIZE * ((head + i) & mask)) >> 3
            when, at, size, identity, flow_id, why, bits = cells[d : d + 7].tolist()
            out.append(Frame(bytes(raw[at : at + size]), when, identity, flow_id, why, bits))
        return out

    def move_to(self, other: FrameRing, most: int = 1 << 30) -> int:
        """Move waiting frames into ``other`` until that is full; returns how many went."""
        return int(move(self.array, other.array, most))

    def clear(self) -> int:
        """Throw away what waits (the consumer's right); returns how many frames that were."""
        number = int(count(self.array))
        release(self.array, number)
        return number

    def __repr__(self) -> str:
        return (
            f"<FrameRing {len(self)}/{self.slots} frames, {self.used_bytes}/{self.arena} bytes, {self.refused} refused>"
        )
