"""``aero-tcp-mux-v1`` and ``-v2``: many TCP streams in one stream of messages.

The messages of a channel are one byte stream: a frame may be split over messages or share one with others::

    0   type: 1 OPEN, 2 DATA, 3 CLOSE, 4 ERROR, 5 PING, 6 PONG; in v2 also 7 CREDIT
    1   stream, u32: chosen by the client, not 0, never used twice; 0 is for PING and PONG
    5   length of the payload, u32
    9   payload

    OPEN    host length u16, host, port u16, metadata length u16, metadata
    CLOSE   one byte: 1 FIN (the sender sends no more), 2 RST (wins over FIN)
    ERROR   code u16, length u16, text
    CREDIT  bytes u32: so many more may be sent on this stream

Version 1 has no flow control: whoever floods a stream that is not read loses it. In version 2 each side may send
:data:`FIRST_CREDIT` bytes of DATA on a stream, both ways, and then as many as CREDIT adds. Nothing else differs.

Reading does not need a whole frame in memory: DATA is handed on piece by piece as it comes, everything else is
collected up to a bound and skipped beyond it. What a frame is *about* is decided by whoever reads; here it is only
taken apart.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import NamedTuple

from ..bounds import MUX_CONTROL_MOST, MUX_ERROR_TEXT, MUX_FRAME_MOST, MUX_HOST_MOST, MUX_METADATA_MOST
from ..errors import Malformed, UsageError
from .l2_tunnel import cut_utf8

V1, V2 = "aero-tcp-mux-v1", "aero-tcp-mux-v2"
HEADER_SIZE = 9
OPEN, DATA, CLOSE, ERROR, PING, PONG, CREDIT = range(1, 8)
NAMES = {OPEN: "OPEN", DATA: "DATA", CLOSE: "CLOSE", ERROR: "ERROR", PING: "PING", PONG: "PONG", CREDIT: "CREDIT"}
FIRST_CREDIT = 64 << 10
"""Bytes of DATA that may be sent on a new stream of version 2 before the first CREDIT, each way: part of the format."""
CREDIT_MOST = (1 << 31) - 1
"""Bytes that a stream's credit may amount to; more is a broken CREDIT."""

_HEADER = struct.Struct("!BII")
_OPEN_MOST = 6 + MUX_HOST_MOST + MUX_METADATA_MOST


class Flags(IntFlag):
    """Of a CLOSE."""

    FIN = 1
    RST = 2


class ErrorCode(IntEnum):
    """Of an ERROR."""

    POLICY_DENIED = 1
    DIAL_FAILED = 2
    PROTOCOL_ERROR = 3
    UNKNOWN_STREAM = 4
    STREAM_LIMIT_EXCEEDED = 5
    STREAM_BUFFER_OVERFLOW = 6


class BadMux(Malformed):
    """Bytes that break the format. ``str()`` is a text for people.

    ``reason`` is one of ``frame_too_large`` and ``truncated``, after which a stream cannot be read on, or ``open``,
    ``close``, ``error``, ``credit``, after which it can.
    """

    def __init__(self, reason: str, text: str):
        super().__init__(reason, text)
        self.args = (text,)
        self.text = text


class MuxFrame(NamedTuple):
    """A frame, or a piece of a DATA frame."""

    type: int
    stream: int
    payload: memoryview
    last: bool = True
    """Of DATA: whether the frame ends here."""
    kept: bool = True
    """False: of a frame that is no DATA the payload was longer than its bound, and was passed over."""


class MuxParser:
    """Takes a byte stream apart, however it was cut: :meth:`feed` it, then ask for each :meth:`frame`."""

    def __init__(self, most: int = MUX_FRAME_MOST, control: int = MUX_CONTROL_MOST):
        self.most, self.control = most, control
        self._chunk = b""
        self._at = 0
        self._header = bytearray()  # of a frame whose header is not whole yet
        self._type = self._stream = self._left = 0
        self._kept: bytearray | None = None  # payload so far of a frame that is no DATA; None: it is passed over
        self._inside = False  # in the payload of a frame

    @property
    def waiting(self) -> bool:
        """Whether there are bytes that :meth:`frame` has not looked at."""
        return self._at < len(self._chunk)

    def feed(self, chunk: bytes) -> None:
        """The next bytes of the stream. What came before must have been asked for."""
        assert not self.waiting, "there are bytes before these"
        self._chunk, self._at = chunk, 0

    def frame(self) -> MuxFrame | None:
        """The next frame, or piece of one of DATA, as a view of what was fed where that can be; None: there is no more.

        Raises :class:`BadMux` for a frame beyond the limit; nothing can be read after that.
        """
        view = memoryview(self._chunk)
        if not self._inside and not self._begin(view):
            return None
        at = self._at
        size = min(self._left, len(view) - at)
        part = view[at : at + size]
        self._at = at + size
        self._left -= size
        done = self._left == 0
        if self._type == DATA:
            self._inside = not done
            return MuxFrame(DATA, self._stream, part, done) if size or done else None
        kept = self._kept
        if kept is not None and (kept or not done):
            kept += part
            part = memoryview(kept)
        if not done:
            return None
        self._inside, self._kept = False, None
        if kept is None:
            return MuxFrame(self._type, self._stream, view[:0], kept=False)
        return MuxFrame(self._type, self._stream, part)

    def _begin(self, view: memoryview) -> bool:
        """Read a header, of which a part may have come before; False when it is not whole yet."""
        at = self._at
        if self._header or len(view) - at < HEADER_SIZE:
            self._at = min(at + HEADER_SIZE - len(self._header), len(view))
            self._header += view[at : self._at]
            if len(self._header) < HEADER_SIZE:
                return False
            self._type, self._stream, self._left = _HEADER.unpack(self._header)
            self._header.clear()
        else:
            self._type, self._stream, self._left = _HEADER.unpack_from(view, at)
            self._at = at + HEADER_SIZE
        if self._left > self.most:
            raise BadMux("frame_too_large", f"frame payload too large: {self._left} > {self.most}")
        limit = _OPEN_MOST if self._type == OPEN else self.control
        self._kept = None if self._type == DATA or self._left > limit else bytearray()
        self._inside = True
        return True

    def finish(self) -> None:
        """The byte stream has ended; raises :class:`BadMux` when that was in the middle of a frame."""
        if self._inside or self._header:
            raise BadMux("truncated", "truncated tcp-mux frame stream")


@dataclass(frozen=True, slots=True)
class Open:
    """What an OPEN asks for."""

    host: str
    port: int
    metadata: str = ""


def header(kind: int, stream: int, size: int) -> bytes:
    """The nine bytes before a payload."""
    return _HEADER.pack(kind, stream, size)


def encode(kind: int, stream: int, payload: bytes | memoryview = b"") -> bytes:
    """A whole frame."""
    return b"".join((_HEADER.pack(kind, stream, len(payload)), payload))


def encode_open(stream: int, host: str, port: int, metadata: str = "") -> bytes:
    """An OPEN; raises :class:`~aero_lab.errors.UsageError` for what no server would take."""
    name, extra = host.encode(), metadata.encode()
    if not _is_host(host) or len(name) > MUX_HOST_MOST:
        raise UsageError(f"not a host to connect to: {host!r}")
    if len(extra) > MUX_METADATA_MOST or not 0 < port < 1 << 16:
        raise UsageError(f"metadata of {len(extra)} bytes or port {port} does not fit an OPEN")
    return encode(OPEN, stream, b"".join((_u16(len(name)), name, _u16(port), _u16(len(extra)), extra)))


def encode_close(stream: int, flags: int) -> bytes:
    """A CLOSE with :class:`Flags`."""
    return encode(CLOSE, stream, bytes((flags,)))


def encode_error(stream: int, code: int, text: str) -> bytes:
    """An ERROR; its text becomes one line of at most 1024 bytes."""
    raw = cut_utf8(one_line(text), MUX_ERROR_TEXT)
    return encode(ERROR, stream, b"".join((_u16(int(code)), _u16(len(raw)), raw)))


def encode_credit(stream: int, size: int) -> bytes:
    """A CREDIT for ``size`` more bytes."""
    return encode(CREDIT, stream, size.to_bytes(4, "big"))


def decode_open(payload: bytes | memoryview) -> Open:
    """What an OPEN asks for; raises :class:`BadMux`. The port may be 0: who connects refuses that."""
    raw = bytes(payload)
    host, at = _text(raw, 0, MUX_HOST_MOST, "host")
    if len(raw) < at + 2:
        raise BadMux("open", "OPEN payload too short")
    port = int.from_bytes(raw[at : at + 2], "big")
    metadata, at = _text(raw, at + 2, MUX_METADATA_MOST, "metadata")
    if at != len(raw):
        raise BadMux("open", f"OPEN payload has {len(raw) - at} trailing bytes")
    if not _is_host(host):
        raise BadMux("open", "OPEN host is empty or has control characters or spaces")
    return Open(host, port, metadata)


def decode_close(payload: bytes | memoryview) -> Flags:
    """Flags of a CLOSE; raises :class:`BadMux`. Bits without a meaning are passed over."""
    if len(payload) != 1:
        raise BadMux("close", f"CLOSE payload of {len(payload)} bytes")
    return Flags(payload[0] & 3)


def decode_error(payload: bytes | memoryview) -> tuple[int, str]:
    """Code and text of an ERROR; raises :class:`BadMux`."""
    raw = bytes(payload)
    if len(raw) < 4:
        raise BadMux("error", "ERROR payload too short")
    size = int.from_bytes(raw[2:4], "big")
    if len(raw) != 4 + size:
        raise BadMux("error", f"ERROR payload length mismatch: {len(raw)} is not {4 + size}")
    try:
        return int.from_bytes(raw[:2], "big"), raw[4:].decode()
    except UnicodeDecodeError:
        raise BadMux("error", "ERROR text is not UTF-8") from None


def decode_credit(payload: bytes | memoryview) -> int:
    """Bytes of a CREDIT, 1 or more; raises :class:`BadMux`."""
    size = int.from_bytes(payload, "big") if len(payload) == 4 else 0
    if not 0 < size <= CREDIT_MOST:
        raise BadMux("credit", "Invalid CREDIT payload")
    return size


def one_line(text: str) -> str:
    """Runs of control characters and white space become one space."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _u16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def _text(raw: bytes, at: int, most: int, what: str) -> tuple[str, int]:
    size = int.from_bytes(raw[at : at + 2], "big")
    if len(raw) < at + 2 or len(raw) < at + 2 + size:
        raise BadMux("open", "OPEN payload too short")
    if size > most:
        raise BadMux("open", f"OPEN {what} too long: {size} > {most}")
    try:
        return raw[at + 2 : at + 2 + size].decode(), at + 2 + size
    except UnicodeDecodeError:
        raise BadMux("open", f"OPEN {what} is not UTF-8") from None


def _is_host(host: str) -> bool:
    return bool(host) and not any(c.isspace() or not c.isprintable() for c in host)
