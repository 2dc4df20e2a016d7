"""Segments: where the recorder keeps frames, and the tap that copies them out of a frame ring.

A segment is one byte array, so it is one kernel argument and its size is the whole memory it costs::

    0      header: frames held, bytes used from the front, next identity to give, frames cut to the snap length
           (and, where only Python looks, how many frames came before this segment)
    64     bytes of the frames, growing upwards
    ...    descriptors of :data:`.schema.INDEX`, 64 bytes each, growing downwards from the end

The tap writes bytes and descriptor, then publishes the count with *release*: a reader in another thread sees whole
frames only, and what it saw never changes.
"""

from __future__ import annotations

import numpy as np

from ..compiled.memory import copy, load_acquire, put_i64_native_field, store_release, u8, u16
from ..compiled.memory import i64_native_field as native
from ..compiled.registry import BYTES, I64, READ_ONLY, entry, kernel
from ..rings import frame_ring as ring_of
from .access import store_field
from .redact import headers_size
from .schema import ETHERNET, INDEX_SIZE

HEADER_SIZE = 64
COUNT = 0
used, put_used = native(8), put_i64_native_field(8)
next_id, put_next_id = native(16), put_i64_native_field(16)
cut, put_cut = native(24), put_i64_native_field(24)
LEFT = 1 << 32

MESSAGE_START = 0xA203
"""First two bytes of a tunnel message: magic and version (``aero-l2-tunnel-v1``)."""
MESSAGE_HEADER, KIND_FRAME, KIND_UNKNOWN = 4, 0, 255
KIND_RELAYED = 128
"""From here on the kind of a message is its cause: it holds no frame, and what it carries was counted by whoever read
it."""

put_t_ns, put_off, put_frame_id = store_field(0, 8), store_field(8, 8), store_field(24, 8)
put_cap_len, put_frame_len, put_message_len = store_field(16, 4), store_field(20, 4), store_field(32, 4)
put_point, put_direction, put_kind = store_field(36, 1), store_field(37, 1), store_field(38, 1)
put_link, put_flags, put_opt_len, put_opt_off = (
    store_field(39, 1),
    store_field(40, 4),
    store_field(44, 4),
    store_field(48, 8),
)
put_interface = store_field(56, 8)
"""The interface, and behind it whether the options are big-endian, in one store."""


@kernel(I64(BYTES, I64))
def room(segment, size):
    """Offset at which ``size`` bytes of a frame would go, or -1 when they and their descriptor do not fit."""
    at = used(segment, 0)
    held = load_acquire(segment, COUNT)
    return at if at + size <= len(segment) - INDEX_SIZE * (held + 1) else -1


@kernel(I64(BYTES, I64, I64, I64, I64, I64, I64, I64, I64, I64, I64))
def describe(segment, off, captured, size, now, identity, message_len, point, direction, kind, link):
    """Publish the frame whose ``captured`` bytes were written at ``off``."""
    held = load_acquire(segment, COUNT)
    d = len(segment) - INDEX_SIZE * (held + 1)
    put_t_ns(segment, d, now)
    put_off(segment, d, off)
    put_cap_len(segment, d, captured)
    put_frame_len(segment, d, size)
    put_frame_id(segment, d, identity)
    put_message_len(segment, d, message_len)
    put_point(segment, d, point)
    put_direction(segment, d, direction)
    put_kind(segment, d, kind)
    put_link(segment, d, link)
    put_flags(segment, d, 0)
    put_opt_len(segment, d, 0)
    put_opt_off(segment, d, 0)
    put_interface(segment, d, 0)
    put_used(segment, 0, off + captured)
    if captured < size:
        put_cut(segment, 0, cut(segment, 0) + 1)
    store_release(segment, COUNT, held + 1)
    return 1


@kernel(I64(READ_ONLY, I64, I64))
def message_kind(data, at, size):
    """Type byte of the tunnel message at ``at``, or :data:`KIND_UNKNOWN`."""
    if size < MESSAGE_HEADER or u16(data, at) != MESSAGE_START:
        return KIND_UNKNOWN
    return u8(data, at + 2)


@entry
@kernel(I64(BYTES, I64, I64, I64, BYTES, I64, I64, I64, I64, I64, I64))
def tap(ring, newest, skip, number, segment, point, direction, messages, now, snap, link):
    """Copy waiting frames ``skip`` to ``number`` of the oldest (or newest) ``number`` of a ring.

    -1 for ``number`` means all that wait. Returns how many went, and :data:`LEFT` for each that found no room. A frame
    without identity is given one, in the ring too, so that the points behind this one see it. With ``messages`` the
    ring holds tunnel messages: what is kept is the frame inside. Of a frame ``snap`` bytes are kept at most; when it is
    negative, of its headers that many. ``link`` is what they begin with, a number of
    :data:`.schema.LINKS`. The caller is the ring's producer (newest) or its consumer (oldest), so the bytes hold still;
    newest frames do only until a consumer elsewhere has taken them.
    """
    waiting = ring_of.count(ring)
    if number < 0 or (not newest and number > waiting):
        number = waiting
    if newest:
        number = min(number, min(ring_of.slots(ring, 0), ring_of.get_tail(ring, 0)))
        first = ring_of.get_tail(ring, 0) - number
    else:
        first = ring_of.get_head(ring, 0)
    mask = ring_of.slots(ring, 0) - 1
    done = 0
    for i in range(skip, number):
        d = ring_of.HEADER_SIZE + ring_of.DESCRIPTOR_SIZE * ((first + i) & mask)
        at, size = ring_of.frame_off(ring, d), ring_of.frame_len(ring, d)
        message_len, kind = 0, KIND_FRAME
        if messages:
            message_len = size
            kind = message_kind(ring, at, size)
            if kind == KIND_FRAME:
                at += MESSAGE_HEADER
                size -= MESSAGE_HEADER
            else:
                size = 0
        captured = min(size, snap) if snap >= 0 else min(headers_size(ring, at, size, link), -snap)
        off = room(segment, captured)
        if off < 0:
            break
        identity = ring_of.frame_id(ring, d)
        if identity == 0:
            identity = next_id(segment, 0)
            put_next_id(segment, 0, identity + 1)
            ring_of.put_frame_id(ring, d, identity)
        copy(segment, off, ring, at, captured)
        describe(segment, off, captured, size, now, identity, message_len, point, direction, kind, link)
        done += 1
    return done + LEFT * max(0, number - skip - done)


@entry
@kernel(I64(BYTES, READ_ONLY, I64, I64, I64, I64, I64, I64, I64, I64, I64))
def record(segment, data, skip, now, identity, message_len, point, direction, kind, snap, link):
    """Keep one frame: ``data`` from ``skip``, cut as :func:`tap` does. 1 when it was kept, 0 when the segment is
    full."""
    size = len(data) - skip
    captured = min(size, snap) if snap >= 0 else min(headers_size(data, skip, size, link), -snap)
    off = room(segment, captured)
    if off < 0:
        return 0
    if identity == 0:
        identity = next_id(segment, 0)
        put_next_id(segment, 0, identity + 1)
    copy(segment, off, data, skip, captured)
    return describe(segment, off, captured, size, now, identity, message_len, point, direction, kind, link)


@entry
@kernel(I64(BYTES, I64, I64, I64, I64, I64, I64))
def note(segment, size, message_len, now, point, direction, kind):
    """Keep the lengths of a message of which ``size`` bytes are carried for somebody, and nothing of its bytes. 1 when
    they were kept, 0 when the segment is full."""
    off = room(segment, 0)
    if off < 0:
        return 0
    before = cut(segment, 0)
    describe(segment, off, 0, size, now, 0, message_len, point, direction, kind, ETHERNET)
    put_cut(segment, 0, before)  # there was nothing to be kept
    return 1


def new_segment(size: int, first_id: int, memory: np.ndarray | None = None, before: int = 0) -> np.ndarray:
    """An empty segment of ``size`` bytes, a multiple of 64, that numbers frames from ``first_id``; ``before`` frames
    were kept in others."""
    segment = np.empty(size, np.uint8) if memory is None else memory
    segment[:HEADER_SIZE] = 0
    header = segment[:HEADER_SIZE].view(np.int64)
    header[1], header[2], header[4] = HEADER_SIZE, first_id, before
    return segment


def header_of(segment: np.ndarray) -> tuple[int, int, int, int]:
    """Frames held, bytes used, next identity, frames cut."""
    count, used_bytes, identity, cut_frames = segment[:32].view(np.int64).tolist()
    return count, used_bytes, identity, cut_frames


def frames_before(segment: np.ndarray) -> int:
    """How many frames were kept before the first of this segment."""
    return int(segment[32:40].view(np.int64)[0])
