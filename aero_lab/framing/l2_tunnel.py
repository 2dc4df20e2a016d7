"""``aero-l2-tunnel-v1``: Ethernet frames as messages, one to one.

One transport message is one tunnel message, so there is no length field and no reassembly::

    0   magic 0xA2
    1   version 0x03 (0x02 belongs to the UDP relay)
    2   type: 0x00 FRAME, 0x01 PING, 0x02 PONG, 0x7F ERROR; others are ignored
    3   flags: sent as 0, unknown bits ignored
    4   payload: an Ethernet II frame without FCS; opaque bytes; text

Payloads have two limits, one for frames and one for everything else, unknown types included. An ERROR's payload is
either plain text or structured (``code u16, length u16, text``); it is structured only when the length fits exactly and
the text is UTF-8.

Frames take the compiled road: :meth:`L2Codec.encap` and :meth:`L2Codec.decap` move them from ring to ring with
everything their descriptors carry. Whatever is not a sound FRAME message goes to a control ring, whose reader calls
:func:`decode` and learns there what was wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from ..compiled.memory import copy, i64_native_field, put_i64_native_field, put_u32_field, u8_field
from ..compiled.registry import BYTES, I64, entry, kernel
from ..errors import Malformed, UsageError
from ..limits import TUNNEL_CONTROL, TUNNEL_FRAME
from ..rings.frame_ring import (
    FrameRing,
    arena_size,
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

SUBPROTOCOL = "aero-l2-tunnel-v1"
MAGIC, VERSION, HEADER_SIZE = 0xA2, 0x03, 4
FRAME, PING, PONG, ERROR = 0x00, 0x01, 0x02, 0x7F
FRAME_HEADER = MAGIC << 24 | VERSION << 16 | FRAME << 8

get_magic, get_version, get_type = u8_field(0), u8_field(1), u8_field(2)
put_header = put_u32_field(0)


class ErrorCode(IntEnum):
    """Codes of structured ERROR messages. On an open tunnel the original sends 1, 6, 7 and 9 only."""

    PROTOCOL_ERROR = 1
    AUTH_REQUIRED = 2
    AUTH_INVALID = 3
    ORIGIN_MISSING = 4
    ORIGIN_DENIED = 5
    QUOTA_BYTES = 6
    QUOTA_FPS = 7
    QUOTA_CONNECTIONS = 8
    BACKPRESSURE = 9


class BadMessage(Malformed):
    """A message that breaks the format. ``str()`` is the exact text that goes into ERROR messages and close reasons.

    ``reason`` is one of ``too_short``, ``invalid_magic``, ``unsupported_version``, ``payload_too_large``.
    """

    def __init__(self, reason: str, text: str):
        super().__init__(reason, text)
        self.args = (text,)
        self.text = text


@dataclass(frozen=True)
class L2Limits:
    """Most payload bytes of FRAME messages and of all others."""

    frame: int = TUNNEL_FRAME
    control: int = TUNNEL_CONTROL

    def __post_init__(self) -> None:
        if self.frame < 0 or self.control < 0:
            raise UsageError(f"tunnel limits must not be negative, not {self.frame} and {self.control}")

    def of(self, kind: int) -> int:
        """The limit for messages of type ``kind``."""
        return self.frame if kind == FRAME else self.control

    @property
    def message(self) -> int:
        """Largest transport message: the WebSocket size cap."""
        return HEADER_SIZE + max(self.frame, self.control)


DEFAULT_LIMITS = L2Limits()


@dataclass(frozen=True)
class L2Message:
    """One tunnel message."""

    type: int
    payload: bytes = b""
    flags: int = 0

    @property
    def error(self) -> tuple[int | None, str]:
        """Code (None when unstructured) and text of an ERROR message."""
        return parse_error(self.payload)


def decode(message: bytes | memoryview, limits: L2Limits = DEFAULT_LIMITS) -> L2Message:
    """Take a message apart; raises :class:`BadMessage`. Unknown types are returned like any other."""
    size = len(message)
    if size < HEADER_SIZE:
        raise BadMessage("too_short", f"message too short: {size} < {HEADER_SIZE}")
    magic, version, kind, bits = message[:HEADER_SIZE]
    if magic != MAGIC:
        raise BadMessage("invalid_magic", f"invalid magic: 0x{magic:02x}")
    if version != VERSION:
        raise BadMessage("unsupported_version", f"unsupported version: 0x{version:02x}")
    _within(size - HEADER_SIZE, limits.of(kind))
    return L2Message(kind, bytes(message[HEADER_SIZE:]), bits)


def _within(size: int, most: int) -> None:
    if size > most:
        raise BadMessage("payload_too_large", f"payload too large: {size} > {most}")


def encode(kind: int, payload: bytes | memoryview, limits: L2Limits = DEFAULT_LIMITS) -> bytes:
    """A message of any type; raises :class:`BadMessage` when the payload is over its limit."""
    _within(len(payload), limits.of(kind))
    return bytes((MAGIC, VERSION, kind, 0)) + bytes(payload)


def encode_frame(frame: bytes | memoryview, limits: L2Limits = DEFAULT_LIMITS) -> bytes:
    """A FRAME message around one Ethernet frame."""
    return encode(FRAME, frame, limits)


def encode_ping(payload: bytes = b"", limits: L2Limits = DEFAULT_LIMITS) -> bytes:
    """A PING with opaque bytes that the peer sends back."""
    return encode(PING, payload, limits)


def encode_pong(payload: bytes = b"", limits: L2Limits = DEFAULT_LIMITS) -> bytes:
    """The PONG that answers a PING with ``payload``."""
    return encode(PONG, payload, limits)


def encode_error(text: str, code: int | None = None, limits: L2Limits = DEFAULT_LIMITS) -> bytes:
    """An ERROR message, structured when a ``code`` is given; the text is cut to fit, between two characters.

    With a control limit too small for a structured head the payload is empty.
    """
    if code is None:
        return encode(ERROR, cut_utf8(text, limits.control), limits)
    if limits.control < 4:
        return encode(ERROR, b"", limits)
    raw = cut_utf8(text, min(limits.control - 4, 0xFFFF))
    return encode(ERROR, int(code).to_bytes(2, "big") + len(raw).to_bytes(2, "big") + raw, limits)


def parse_error(payload: bytes) -> tuple[int | None, str]:
    """Code and text of an ERROR payload; the code is None when the payload is plain text."""
    if len(payload) >= 4 and len(payload) == 4 + int.from_bytes(payload[2:4], "big"):
        try:
            return int.from_bytes(payload[:2], "big"), payload[4:].decode()
        except UnicodeDecodeError:
            pass
    return None, payload.decode(errors="replace")


def cut_utf8(text: str, most: int) -> bytes:
    """``text`` in UTF-8, cut to at most ``most`` bytes between two characters."""
    raw = text.encode(errors="replace")
    if len(raw) <= most:
        return raw
    return raw[:most].decode(errors="ignore").encode()


# The compiled road. A codec is 16 int64 cells in a byte array: two limits, then counters.
CODEC_SIZE = 128
get_frame_limit = i64_native_field(0)
get_wrapped, put_wrapped = i64_native_field(16), put_i64_native_field(16)
get_unwrapped, put_unwrapped = i64_native_field(24), put_i64_native_field(24)
get_diverted, put_diverted = i64_native_field(32), put_i64_native_field(32)
get_too_large, put_too_large = i64_native_field(40), put_i64_native_field(40)
get_never_fits, put_never_fits = i64_native_field(48), put_i64_native_field(48)

COUNTERS = {
    "frames_wrapped": 16,
    "frames_unwrapped": 24,
    "control_messages": 32,
    "frame_too_large": 40,
    "never_fits": 48,
}


@entry
@kernel(I64(BYTES, BYTES, BYTES, I64))
def encap(frames, messages, codec, most):
    """Wrap up to ``most`` frames into FRAME messages; returns how many frames were taken.

    Stops when ``messages`` has no room. A frame over the limit, or larger than ``messages`` could ever hold, is
    dropped and counted.
    """
    taken = 0
    wrapped = 0
    available = min(count(frames), most)
    while taken < available:
        d = descriptor(frames, taken)
        size = frame_len(frames, d)
        if size > get_frame_limit(codec, 0):
            put_too_large(codec, 0, get_too_large(codec, 0) + 1)
        elif size + HEADER_SIZE > arena_size(messages, 0):
            put_never_fits(codec, 0, get_never_fits(codec, 0) + 1)
        else:
            at = find_room(messages, size + HEADER_SIZE)
            if at < 0:
                break
            put_header(messages, at, FRAME_HEADER)
            copy(messages, at + HEADER_SIZE, frames, frame_off(frames, d), size)
            commit(
                messages,
                at,
                size + HEADER_SIZE,
                t_ns(frames, d),
                frame_id(frames, d),
                flow(frames, d),
                cause(frames, d),
                flags(frames, d),
            )
            wrapped += 1
        taken += 1
    put_wrapped(codec, 0, get_wrapped(codec, 0) + wrapped)
    release(frames, taken)
    return taken


@entry
@kernel(I64(BYTES, BYTES, BYTES, BYTES, I64))
def decap(messages, frames, control, codec, most):
    """Unwrap up to ``most`` messages: sound FRAMEs into ``frames``, all others whole into ``control``.

    Returns how many messages were taken; stops when the ring that the next one needs is full. A message larger than
    that ring could ever hold is dropped and counted.
    """
    taken = 0
    unwrapped = 0
    diverted = 0
    available = min(count(messages), most)
    while taken < available:
        d = descriptor(messages, taken)
        size = frame_len(messages, d)
        at = frame_off(messages, d)
        skip = 0
        if size >= HEADER_SIZE and size - HEADER_SIZE <= get_frame_limit(codec, 0):
            if get_magic(messages, at) == MAGIC and get_version(messages, at) == VERSION:
                if get_type(messages, at) == FRAME:
                    skip = HEADER_SIZE
        target = frames if skip else control
        if size - skip > arena_size(target, 0):
            put_never_fits(codec, 0, get_never_fits(codec, 0) + 1)
            taken += 1
            continue
        to = find_room(target, size - skip)
        if to < 0:
            break
        copy(target, to, messages, at + skip, size - skip)
        commit(
            target,
            to,
            size - skip,
            t_ns(messages, d),
            frame_id(messages, d),
            flow(messages, d),
            cause(messages, d),
            flags(messages, d),
        )
        taken += 1
        if skip:
            unwrapped += 1
        else:
            diverted += 1
    put_unwrapped(codec, 0, get_unwrapped(codec, 0) + unwrapped)
    put_diverted(codec, 0, get_diverted(codec, 0) + diverted)
    release(messages, taken)
    return taken


@dataclass
class L2Codec:
    """The batch codec of one end of a tunnel, with its limits and counters."""

    limits: L2Limits = DEFAULT_LIMITS
    array: np.ndarray = field(default_factory=lambda: np.zeros(CODEC_SIZE, np.uint8), repr=False, compare=False)

    def __post_init__(self) -> None:
        self.array.view(np.int64)[0] = self.limits.frame

    def encap(self, frames: FrameRing, messages: FrameRing, most: int = 1 << 30) -> int:
        """See :func:`encap`."""
        return int(encap(frames.array, messages.array, self.array, most))

    def decap(self, messages: FrameRing, frames: FrameRing, control: FrameRing, most: int = 1 << 30) -> int:
        """See :func:`decap`."""
        return int(decap(messages.array, frames.array, control.array, self.array, most))

    @property
    def counters(self) -> dict[str, int]:
        """Frames wrapped and unwrapped, messages given to the control ring, and drops by reason."""
        cells = self.array.view(np.int64)
        return {name: int(cells[at >> 3]) for name, at in COUNTERS.items()}
