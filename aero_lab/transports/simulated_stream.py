"""What a simulated WebSocket puts around messages, and how they are found again: frames (RFC 6455 section 5.2), and TLS
records around those (RFC 8446 section 5.2).

A binary message has the header that a WebSocket gives it, with a mask of zeros upwards. With TLS everything lies in
records of at most 16 KiB of plaintext; one begins with each go at writing, as a library that is handed a buffer does,
and nothing of it is read before all of it is there. Nothing is encrypted: the tag is zeros.

The identities of messages travel beside the bytes, in memory that both ends share.
"""

from __future__ import annotations

import numpy as np

from ..compiled.memory import (
    copy,
    i64_native_field,
    put_i64_native_field,
    put_u8_field,
    put_u16_field,
    put_u64_field,
    u8_field,
    u16_field,
    u64_field,
)
from ..compiled.registry import BYTES, I64, VOID, entry, kernel
from ..rings.frame_ring import FrameRing, commit, count, descriptor, find_room, frame_id, frame_len, frame_off, release

HEADER_MOST = 14
RECORD_HEADER, RECORD_TAIL, RECORD_MOST = 5, 17, 1 << 14
"""Bytes before and behind the plaintext of a TLS 1.3 record (the type of what is in it, and the tag), and the most
plaintext it holds."""
RECORD = RECORD_HEADER + RECORD_TAIL
CHUNK = 1 << 16
"""Bytes that are looked at, or written, in one go: several records."""
LEAST_ROOM = RECORD + HEADER_MOST + 1
"""Less room than that is none."""
IDENTITIES = 1 << 14
"""Messages under way whose identities are remembered; those before them arrive without."""

TLS_SHAKE = ((True, 517), (False, 2500), (True, 80))
"""Flights of the handshake of TLS 1.3, by whom (client first) and of how many bytes: a ClientHello as OpenSSL and
browsers pad it; ServerHello to Finished with a chain of two ECDSA certificates; Finished."""
TLS_TICKETS = 510
"""Two session tickets, which come with the server's first answer."""
HTTP_SHAKE = ((True, 363), (False, 461))
"""The request that a client of this package makes, and our proxy's answer to it."""

# State of one end, native int64.
_DONE, _LARGE, _BEGIN, _END, _BLOCKED = 0, 8, 16, 24, 32
STATE_SIZE = 40
get_done, put_done = i64_native_field(_DONE), put_i64_native_field(_DONE)
get_large, put_large = i64_native_field(_LARGE), put_i64_native_field(_LARGE)
get_begin, put_begin = i64_native_field(_BEGIN), put_i64_native_field(_BEGIN)
get_end, put_end = i64_native_field(_END), put_i64_native_field(_END)
get_blocked, put_blocked = i64_native_field(_BLOCKED), put_i64_native_field(_BLOCKED)
get_number, put_number = i64_native_field(0), put_i64_native_field(0)
_GOING, _COMING = 0, 8  # of the memory of identities: how many went, how many came; then the table
IDENTITIES_SIZE = 16 + 8 * IDENTITIES
get_u8, put_u8 = u8_field(0), put_u8_field(0)
get_u16, put_u16 = u16_field(0), put_u16_field(0)
get_u64, put_u64 = u64_field(0), put_u64_field(0)


def shake(tls: bool) -> tuple[tuple[bool, int], ...]:
    """What goes before the first message, by whom and in how many bytes, each after the one before has come."""
    if not tls:
        return HTTP_SHAKE
    (hello, flight, finished), (request, answer) = TLS_SHAKE, HTTP_SHAKE
    with_request = (True, finished[1] + RECORD + request[1])
    return hello, flight, with_request, (False, TLS_TICKETS + RECORD + answer[1])


@kernel(I64(I64, I64))
def header_size(size, masked):
    """Bytes of the header of a message of ``size`` bytes."""
    short = 2 if size < 126 else 4 if size < 65536 else 10
    return short + 4 * masked


@kernel(VOID(BYTES, I64, I64, I64))
def put_header(out, at, size, masked):
    """Write that header; its mask is all zeros."""
    put_u8(out, at, 0x82)
    if size < 126:
        put_u8(out, at + 1, masked << 7 | size)
        at += 2
    elif size < 65536:
        put_u8(out, at + 1, masked << 7 | 126)
        put_u16(out, at + 2, size)
        at += 4
    else:
        put_u8(out, at + 1, masked << 7 | 127)
        put_u64(out, at + 2, size)
        at += 10
    if masked:
        put_u16(out, at, 0)
        put_u16(out, at + 2, 0)


@kernel(I64(BYTES, I64, I64))
def close_record(out, start, end):
    """Put header and tail around the plaintext of a record; returns where it ends. One that is empty is taken back."""
    if end == start + RECORD_HEADER:
        return start
    put_u8(out, start, 23)
    put_u16(out, start + 1, 0x0303)
    put_u16(out, start + 3, end - start - RECORD_HEADER + RECORD_TAIL)
    put_u8(out, end, 23)
    put_u64(out, end + 1, 0)
    put_u64(out, end + 9, 0)
    return end + RECORD_TAIL


@kernel(VOID(BYTES, I64))
def note_identity(ids, identity):
    """A message with this identity goes."""
    number = get_number(ids, _GOING)
    put_number(ids, 16 + 8 * (number & (IDENTITIES - 1)), identity)
    put_number(ids, _GOING, number + 1)


@kernel(I64(BYTES))
def next_identity(ids):
    """The identity of the message that came; 0 when it was forgotten."""
    number = get_number(ids, _COMING)
    put_number(ids, _COMING, number + 1)
    if get_number(ids, _GOING) - number > IDENTITIES:
        return 0
    return get_number(ids, 16 + 8 * (number & (IDENTITIES - 1)))


@entry
@kernel(I64(BYTES, BYTES, I64, I64, I64, I64, BYTES, BYTES))
def pack(ring, out, most, largest, masked, tls, state, ids):
    """Take messages from ``ring`` and write them, framed, into the first ``most`` bytes of ``out``; returns how many
    bytes those are. The last message may be there in part; the rest of it follows in the next call.

    One of more than ``largest`` bytes is left out and counted.
    """
    n, record = 0, -1
    while count(ring) > 0:
        d = descriptor(ring, 0)
        size, done = frame_len(ring, d), get_done(state, 0)
        if size > largest:
            put_large(state, 0, get_large(state, 0) + 1)
            release(ring, 1)
            continue
        if tls and record < 0:
            if n + RECORD + HEADER_MOST + 1 > most:
                break
            record = n
            n += RECORD_HEADER
        space = most - n
        if tls:
            space = min(space - RECORD_TAIL, record + RECORD_HEADER + RECORD_MOST - n)
        if done < 0:
            if space < HEADER_MOST + 1:
                if tls and n > record + RECORD_HEADER:
                    n = close_record(out, record, n)
                    record = -1
                    continue
                break
            put_header(out, n, size, masked)
            head = header_size(size, masked)
            n += head
            space -= head
            done = 0
        piece = min(space, size - done)
        copy(out, n, ring, frame_off(ring, d) + done, piece)
        n += piece
        done += piece
        if done == size:
            note_identity(ids, frame_id(ring, d))
            release(ring, 1)
            put_done(state, 0, -1)
            continue
        put_done(state, 0, done)
        if not tls:
            break
        n = close_record(out, record, n)
        record = -1
    if record >= 0:
        n = close_record(out, record, n)
    return n


@kernel(VOID(BYTES, I64, I64))
def slide(data, start, size):
    """Move ``size`` bytes from ``start`` to the beginning; the two places may overlap."""
    at = 0
    while at < size and start > 0:
        piece = min(start, size - at)
        copy(data, at, data, at + start, piece)
        at += piece


@kernel(I64(BYTES, BYTES, BYTES, BYTES, I64))
def take_messages(plain, ring, state, ids, now):
    """Whole messages of ``plain`` into ``ring``; returns the size of one that finds no room, else -1."""
    begin, end = get_begin(state, 0), get_end(state, 0)
    blocked = -1
    while end - begin >= 2:
        second = get_u8(plain, begin + 1)
        size = second & 0x7F
        head = 2 + (2 if size == 126 else 8 if size == 127 else 0) + (4 if second & 0x80 else 0)
        if end - begin < head:
            break
        if size == 126:
            size = get_u16(plain, begin + 2)
        elif size == 127:
            size = get_u64(plain, begin + 2)
        if end - begin < head + size:
            break
        offset = find_room(ring, size)
        if offset < 0:
            blocked = size
            break
        copy(ring, offset, plain, begin + head, size)
        commit(ring, offset, size, now, next_identity(ids), -1, 0, 0)
        begin += head + size
    if begin == end:
        begin, end = 0, 0
    put_begin(state, 0, begin)
    put_end(state, 0, end)
    return blocked


@entry
@kernel(I64(BYTES, I64, BYTES, BYTES, BYTES, BYTES, I64, I64))
def unpack(coming, fill, plain, ring, state, ids, tls, now):
    """Read the first ``fill`` bytes of ``coming``: messages into ``ring``, and what is there of the next one into
    ``plain``. Returns how many bytes are done with; the rest has to be there again in the next call."""
    at = 0
    blocked = take_messages(plain, ring, state, ids, now)
    while blocked < 0 and at < fill:
        start, size, whole = at, fill - at, fill - at
        if tls:
            if size < RECORD_HEADER:
                break
            inside = get_u16(coming, at + 3)
            whole = RECORD_HEADER + inside
            if size < whole:
                break
            start, size = at + RECORD_HEADER, inside - RECORD_TAIL
        begin, end = get_begin(state, 0), get_end(state, 0)
        if end + size > len(plain):
            slide(plain, begin, end - begin)
            end -= begin
            put_begin(state, 0, 0)
        if not tls:
            size = min(size, len(plain) - end)
            whole = size
        if size <= 0 or end + size > len(plain):
            break
        copy(plain, end, coming, start, size)
        put_end(state, 0, end + size)
        at += whole
        blocked = take_messages(plain, ring, state, ids, now)
    put_blocked(state, 0, blocked)
    return at


class Identities:
    """Memory of the identities of messages under way in one direction."""

    def __init__(self) -> None:
        self.array = np.zeros(IDENTITIES_SIZE, np.uint8)


class Framing:
    """Messages of one end to bytes, and bytes to messages.

    Parameters
    ----------
    largest: bytes of the largest message; a larger one that is to be sent is left out and counted.
    masked: whether what goes is masked, as a client's is.
    tls: whether it lies in records.
    going, coming: where the identities of messages go and come from.
    """

    def __init__(self, largest: int, masked: bool, tls: bool, going: Identities, coming: Identities):
        self.tls = tls
        self._largest, self._masked = largest, masked
        self._going, self._coming = going, coming
        self._state = np.zeros(STATE_SIZE, np.uint8)
        self._cells = memoryview(self._state).cast("B").cast("q")  # type: ignore[arg-type]
        self._cells[_DONE >> 3] = self._cells[_BLOCKED >> 3] = -1
        self._plain = np.zeros(largest + HEADER_MOST + RECORD_MOST, np.uint8)
        self._raw = np.zeros(CHUNK, np.uint8)
        self._out = np.zeros(CHUNK, np.uint8)
        self._fill = 0

    def pack(self, ring: FrameRing, most: int) -> memoryview:
        """Waiting messages as at most ``most`` bytes; valid until the next call."""
        n = pack(
            ring.array, self._out, min(most, CHUNK), self._largest, int(self._masked), int(self.tls), self._state,
            self._going.array,
        )  # fmt: skip
        return memoryview(self._out)[:n]  # type: ignore[arg-type]

    @property
    def room(self) -> int:
        """Bytes that :meth:`unpack` takes now."""
        return CHUNK - self._fill

    def unpack(self, piece: memoryview, ring: FrameRing, now: int) -> None:
        """Take bytes, :attr:`room` at most, and put the messages that are whole into ``ring``."""
        fill = self._fill + len(piece)
        memoryview(self._raw)[self._fill : fill] = piece  # type: ignore[arg-type]
        done = unpack(
            self._raw, fill, self._plain, ring.array, self._state, self._coming.array, int(self.tls), now
        )  # fmt: skip
        self._fill = fill - done
        if done and self._fill:
            self._raw[: self._fill] = self._raw[done:fill].copy()

    @property
    def blocked(self) -> int:
        """Size of a message that finds no room in the ring; -1 when there is none."""
        return self._cells[_BLOCKED >> 3]

    @property
    def too_large(self) -> int:
        """Messages that were left out."""
        return self._cells[_LARGE >> 3]
