"""Records in a ring of bytes: the memory that a machine and its forwarder share, as the kernels read and write it.

A ring is a header of four little-endian 32-bit words and a region of ``capacity`` bytes behind it::

    head | tail_reserve | tail_commit | capacity | data ...

The cursors count bytes and wrap at 2**32; a place is the cursor modulo the capacity, which is a power of two and so
goes on without a jump when they wrap. A record is a length, as many bytes, and padding to a multiple of four. It is
never split: where it does not fit before the end the rest is skipped, marked by the length ``FFFFFFFF``.

Producers reserve room by moving ``tail_reserve``, write, and commit in the order in which they reserved; the one
consumer moves ``head``. The other side may be another process, and is not trusted: the capacity is our own copy, every
place is taken modulo it, and a record that is not whole, as far as was committed, is skipped with all behind it,
counted with its bytes; then the ring goes on.
"""

from __future__ import annotations

import numpy as np

from ..compiled.memory import copy, load_field, put_u8, store_field
from ..compiled.registry import BYTES, I64, VOID, entry, kernel, record_type, records_type
from ..rings.frame_ring import (
    cause,
    commit,
    count,
    descriptor,
    find_room,
    flags,
    flow,
    frame_id,
    frame_len,
    frame_off,
    release,
    t_ns,
)
from .atomic import let_others_run, load32, store32, swap32
from .limits import SKIPPED_MOST, SPINS, TRIES, YIELDS

HEADER = 16
HEAD, RESERVE, COMMIT, CAPACITY = 0, 4, 8, 12
SKIP = 0xFFFFFFFF
M32 = 0xFFFFFFFF
u32, put_u32 = load_field(0, 4, False), store_field(0, 4, False)

FULL, TOO_LARGE, STALLED = 0, -1, -2
"""Instead of 1, why a record was not pushed: no room now; none ever; a producer before it does not commit."""

STATS = np.dtype(
    [
        (name, "<i8")
        for name in (
            "frames bytes oversize oversize_bytes full full_bytes corrupt corrupt_bytes stalled next_bytes".split()
        )
    ]
)
"""What was counted in one direction: moved on; dropped because too long; because full; skipped because damaged; given
up behind a producer that does not commit."""
S = record_type(STATS)
STATES = records_type(STATS)


@kernel(I64(BYTES, I64, I64, BYTES, I64, I64))
def push_record(segment, ring, capacity, source, offset, size):
    """Append ``size`` bytes at ``offset`` of ``source`` as one record: 1, or why not."""
    record = (size + 7) & ~3
    if size < 0 or record > capacity:
        return TOO_LARGE
    tail = 0
    pad = 0
    need = 0
    mine = 0
    for _ in range(TRIES):
        tail = load32(segment, ring + RESERVE)
        used = (tail - load32(segment, ring + HEAD)) & M32
        rest = capacity - (tail & (capacity - 1))
        pad = rest if record > rest else 0
        need = pad + record
        if used > capacity or need > capacity - used:
            return FULL
        mine = swap32(segment, ring + RESERVE, tail, (tail + need) & M32)
        if mine:
            break
    if mine == 0:
        return FULL
    data = ring + HEADER
    at = data + (tail & (capacity - 1))
    if pad:
        if pad >= 4:
            put_u32(segment, at, SKIP)
        at = data
    put_u32(segment, at, size)
    copy(segment, at + 4, source, offset, size)
    for i in range(size + 4, record):
        put_u8(segment, at + i, 0)
    for _ in range(YIELDS):
        for _ in range(SPINS):
            if load32(segment, ring + COMMIT) == tail:
                store32(segment, ring + COMMIT, (tail + need) & M32)
                return 1
        let_others_run()
    return STALLED


@kernel(I64(BYTES, I64, I64, S, I64))
def next_record(segment, ring, capacity, s, head):
    """Cursor of the record at or behind ``head``, whose length is then in ``s.next_bytes``; -1 when there is none.

    What is skipped on the way is counted; the caller moves ``head`` on.
    """
    data = ring + HEADER
    last = load32(segment, ring + COMMIT)
    s.next_bytes = 0
    for _ in range(2):  # the rest at the end of the region, then the record itself
        there = (last - head) & M32
        if there == 0:
            s.next_bytes = -1
            return head
        at = head & (capacity - 1)
        rest = capacity - at
        length = u32(segment, data + at) if rest >= 4 else SKIP
        if there <= capacity and length == SKIP and rest <= there:
            head = (head + rest) & M32
            continue
        if there > capacity or length + 4 > rest or ((length + 7) & ~3) > there:
            break
        s.next_bytes = length
        return head
    s.corrupt = s.corrupt + 1
    s.corrupt_bytes = s.corrupt_bytes + ((last - head) & M32)
    s.next_bytes = -1
    return last


@entry
@kernel(I64(BYTES, I64, I64, STATES, BYTES, I64, I64, I64, I64))
def pop_frames(segment, ring, capacity, stats, target, most, biggest, now, identity):
    """Move up to ``most`` records into a frame ring, as far as that has room; how many went.

    Records have no identities: the frames are numbered by twos from ``identity``, or not at all when that is 0.
    """
    s = stats[0]
    head = load32(segment, ring + HEAD)
    moved = 0
    skipped = 0
    while moved < most and skipped < SKIPPED_MOST:
        head = next_record(segment, ring, capacity, s, head)
        size = s.next_bytes
        if size < 0:
            break
        if size > biggest:
            s.oversize = s.oversize + 1
            s.oversize_bytes = s.oversize_bytes + size
            skipped += 1
        else:
            offset = find_room(target, size)
            if offset < 0:
                break
            copy(target, offset, segment, ring + HEADER + (head & (capacity - 1)) + 4, size)
            commit(target, offset, size, now, identity, -1, 0, 0)
            identity += 2 if identity else 0
            s.frames = s.frames + 1
            s.bytes = s.bytes + size
            moved += 1
        head = (head + ((size + 7) & ~3)) & M32
    store32(segment, ring + HEAD, head)
    return moved


@entry
@kernel(I64(BYTES, BYTES, I64, I64, STATES, I64, I64, I64))
def push_frames(source, segment, ring, capacity, stats, most, biggest, wait):
    """Take up to ``most`` frames from a frame ring and push them; how many were taken.

    What is too long is dropped. A full ring drops too, the newest first, or with ``wait`` leaves them where they are.
    """
    s = stats[0]
    taken = 0
    available = min(count(source), most)
    while taken < available:
        d = descriptor(source, taken)
        size = frame_len(source, d)
        result = TOO_LARGE
        if size <= biggest:
            result = push_record(segment, ring, capacity, source, frame_off(source, d), size)
        if result == FULL and wait:
            break
        tally(s, result, size)
        taken += 1
    release(source, taken)
    return taken


@kernel(VOID(S, I64, I64))
def tally(s, result, size):
    """Count what became of a frame."""
    if result == 1:
        s.frames = s.frames + 1
        s.bytes = s.bytes + size
    elif result == TOO_LARGE:
        s.oversize = s.oversize + 1
        s.oversize_bytes = s.oversize_bytes + size
    elif result == FULL:
        s.full = s.full + 1
        s.full_bytes = s.full_bytes + size
    else:
        s.stalled = s.stalled + 1


@entry
@kernel(I64(BYTES, BYTES, STATES, I64, I64, I64))
def queue_frames(source, target, stats, most, biggest, wait):
    """Take up to ``most`` frames from one frame ring into another, counting as :func:`push_frames` does."""
    s = stats[0]
    taken = 0
    available = min(count(source), most)
    while taken < available:
        d = descriptor(source, taken)
        size = frame_len(source, d)
        result = TOO_LARGE
        if size <= biggest:
            offset = find_room(target, size)
            result = FULL if offset < 0 else 1
            if offset >= 0:
                copy(target, offset, source, frame_off(source, d), size)
                commit(
                    target, offset, size, t_ns(source, d), frame_id(source, d), flow(source, d), cause(source, d),
                    flags(source, d),
                )  # fmt: skip
        if result == FULL and wait:
            break
        tally(s, result, size)
        taken += 1
    release(source, taken)
    return taken
