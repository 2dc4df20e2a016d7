"""Frames in a byte stream: each behind its length, 32 bits in network order, as QEMU's stream and socket netdevs do."""

from __future__ import annotations

from ...compiled.memory import copy, put_u32_field, u32_field
from ...compiled.registry import BYTES, I64, entry, kernel
from ...rings.frame_ring import commit, count, descriptor, find_room, frame_len, frame_off, release
from ...wire.ethernet import HEADER_SIZE

PREFIX = 4
STREAM_MOST = 4096 + 65536
"""Largest frame that QEMU sends (its ``NET_BUFSIZE``); a longer one is no frame."""
FIELD = 20
"""Bits of each number that :func:`take_frames` returns."""
BROKEN = -1

get_length, put_length = u32_field(0), put_u32_field(0)


@entry
@kernel(I64(BYTES, I64, I64, BYTES, I64, I64, I64))
def take_frames(stream, begin, end, ring, largest, now, identity):
    """Move whole frames from ``stream[begin:end]`` into ``ring``, numbered by twos from ``identity``.

    Frames that are shorter than their header or longer than ``largest`` are skipped. Stops at a full ring and at the
    end of what is whole. Returns bytes used, frames taken and frames skipped, 20 bits each from the lowest on;
    ``BROKEN`` when what stands for a length can be none.
    """
    at = begin
    taken = 0
    skipped = 0
    while end - at >= PREFIX:
        size = get_length(stream, at)
        if size > STREAM_MOST:
            return BROKEN
        if end - at - PREFIX < size:
            break
        if size < HEADER_SIZE or size > largest:
            skipped += 1
        else:
            to = find_room(ring, size)
            if to < 0:
                break
            copy(ring, to, stream, at + PREFIX, size)
            commit(ring, to, size, now, identity + 2 * taken, -1, 0, 0)
            taken += 1
        at += PREFIX + size
    return (at - begin) | taken << FIELD | skipped << 2 * FIELD


@entry
@kernel(I64(BYTES, BYTES))
def give_frames(ring, stream):
    """Move waiting frames of ``ring`` to the beginning of ``stream``, as many as fit. Returns the bytes written."""
    waiting = count(ring)
    at = 0
    given = 0
    while given < waiting:
        d = descriptor(ring, given)
        size = frame_len(ring, d)
        if at + PREFIX + size > len(stream):
            break
        put_length(stream, at, size)
        copy(stream, at + PREFIX, ring, frame_off(ring, d), size)
        at += PREFIX + size
        given += 1
    release(ring, given)
    return at
