"""SCTP packets and chunks (RFC 9260 section 3, RFC 3758 section 3.2): parsed, checked, and made.

A packet's checksum is CRC32c. Inside DTLS, which authenticates every byte, it may be left zero (RFC 9653).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar

from ...errors import Malformed
from ...wire.base import Buffer

PACKET_HEADER, CHUNK_HEADER, DATA_HEADER = 12, 4, 16
SACK_HEADER, INIT_HEADER, FORWARD_HEADER = 16, 20, 8
DATA, INIT, INIT_ACK, SACK, HEARTBEAT, HEARTBEAT_ACK, ABORT = 0, 1, 2, 3, 4, 5, 6
ERROR, COOKIE_ECHO, COOKIE_ACK, FORWARD_TSN = 9, 10, 11, 192
LAST, FIRST, UNORDERED, IMMEDIATE = 1, 2, 4, 8
"""Flags of DATA: E, B, U, I."""
STATE_COOKIE, FORWARD_SUPPORTED = 7, 0xC000
"""Parameters of INIT and INIT ACK."""
MOST_BLOCKS = 1024
"""Gap blocks, duplicates or skipped streams of one chunk that are looked at."""

_PACKET = struct.Struct("!HHLL")
_CHUNK = struct.Struct("!BBH")
_DATA = struct.Struct("!BBHLHHL")
_SACK = struct.Struct("!BBHLLHH")
_INIT = struct.Struct("!BBHLLHHL")
_FORWARD = struct.Struct("!BBHL")
_PAIR = struct.Struct("!HH")
_PAD = (b"", b"\0\0\0", b"\0\0", b"\0")


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


_CRC = _crc_table()


def crc32c(data: Buffer) -> int:
    """CRC32c (RFC 9260 appendix A)."""
    crc = 0xFFFFFFFF
    for byte in bytes(data):
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


@dataclass(slots=True)
class Data:
    """A DATA chunk: a message or a part of one."""

    tsn: int
    stream: int
    sequence: int
    protocol: int
    payload: bytes
    flags: int = FIRST | LAST
    kind: ClassVar[int] = DATA

    def emit(self) -> bytes:
        size = DATA_HEADER + len(self.payload)
        head = _DATA.pack(DATA, self.flags, size, self.tsn, self.stream, self.sequence, self.protocol)
        return head + self.payload + _PAD[size & 3] if size & 3 else head + self.payload

    @property
    def size(self) -> int:
        """Bytes in a packet, padding included."""
        return DATA_HEADER + len(self.payload) + 3 & ~3

    @classmethod
    def parse(cls, flags: int, chunk: memoryview) -> Data:
        if len(chunk) <= DATA_HEADER:
            raise Malformed("sctp-data", "a DATA chunk without data")
        _, _, _, tsn, stream, sequence, protocol = _DATA.unpack_from(chunk)
        return cls(tsn, stream, sequence, protocol, bytes(chunk[DATA_HEADER:]), flags)


@dataclass(slots=True)
class Sack:
    """A SACK chunk: everything up to ``cumulative`` came, and of what follows the blocks ``gaps``, each the distances
    of its first and last TSN from there."""

    cumulative: int
    a_rwnd: int
    gaps: tuple[tuple[int, int], ...] = ()
    duplicates: tuple[int, ...] = ()
    kind: ClassVar[int] = SACK

    def emit(self) -> bytes:
        gaps, twice = self.gaps, self.duplicates
        size = SACK_HEADER + 4 * (len(gaps) + len(twice))
        head = _SACK.pack(SACK, 0, size, self.cumulative, self.a_rwnd, len(gaps), len(twice))
        if not gaps and not twice:
            return head
        return b"".join((head, *(_PAIR.pack(*gap) for gap in gaps), *(tsn.to_bytes(4, "big") for tsn in twice)))

    @property
    def size(self) -> int:
        return SACK_HEADER + 4 * (len(self.gaps) + len(self.duplicates))

    @classmethod
    def parse(cls, flags: int, chunk: memoryview) -> Sack:
        if len(chunk) < SACK_HEADER:
            raise Malformed("sctp-sack")
        _, _, _, cumulative, a_rwnd, gaps, twice = _SACK.unpack_from(chunk)
        if not gaps and not twice:
            return cls(cumulative, a_rwnd)
        if len(chunk) < SACK_HEADER + 4 * (gaps + twice):
            raise Malformed("sctp-sack", f"{gaps} gaps and {twice} duplicates do not fit")
        words = struct.unpack_from(f"!{2 * gaps}H{twice}L", chunk, SACK_HEADER)
        pairs = tuple(zip(words[: 2 * gaps : 2], words[1 : 2 * gaps : 2]))
        return cls(cumulative, a_rwnd, pairs[:MOST_BLOCKS], words[2 * gaps :][:MOST_BLOCKS])


@dataclass(slots=True)
class Init:
    """An INIT or INIT ACK chunk; ``parameters`` are (type, value) in their order."""

    tag: int
    a_rwnd: int
    outbound: int
    inbound: int
    tsn: int
    parameters: tuple[tuple[int, bytes], ...] = ()
    kind: int = INIT

    def emit(self) -> bytes:
        body = _emit_parameters(self.parameters)
        # The padding of the last parameter is not part of the chunk's length (section 3.2.1).
        size = INIT_HEADER + len(body)
        head = _INIT.pack(self.kind, 0, size, self.tag, self.a_rwnd, self.outbound, self.inbound, self.tsn)
        return head + body + _PAD[size & 3]

    @property
    def size(self) -> int:
        return INIT_HEADER + len(_emit_parameters(self.parameters)) + 3 & ~3

    @classmethod
    def parse(cls, flags: int, chunk: memoryview) -> Init:
        if len(chunk) < INIT_HEADER:
            raise Malformed("sctp-init")
        kind, _, _, tag, a_rwnd, outbound, inbound, tsn = _INIT.unpack_from(chunk)
        if not tag or not outbound or not inbound:
            raise Malformed("sctp-init", "a tag or a number of streams is zero")
        return cls(tag, a_rwnd, outbound, inbound, tsn, _parse_parameters(chunk[INIT_HEADER:]), kind)


@dataclass(slots=True)
class ForwardTsn:
    """A FORWARD TSN chunk (RFC 3758): nothing up to ``cumulative`` will be sent any more; ``skipped`` are the ordered
    streams with the last sequence number left out."""

    cumulative: int
    skipped: tuple[tuple[int, int], ...] = ()
    kind: ClassVar[int] = FORWARD_TSN

    def emit(self) -> bytes:
        head = _FORWARD.pack(FORWARD_TSN, 0, self.size, self.cumulative)
        return head + b"".join(_PAIR.pack(*each) for each in self.skipped)

    @property
    def size(self) -> int:
        return FORWARD_HEADER + 4 * len(self.skipped)

    @classmethod
    def parse(cls, flags: int, chunk: memoryview) -> ForwardTsn:
        if len(chunk) < FORWARD_HEADER or len(chunk) % 4:
            raise Malformed("sctp-forward")
        pairs = tuple(_PAIR.iter_unpack(chunk[FORWARD_HEADER:]))
        return cls(_FORWARD.unpack_from(chunk)[3], pairs[:MOST_BLOCKS])  # type: ignore[arg-type]


@dataclass(slots=True)
class Plain:
    """Any other chunk: its kind and what it holds (a COOKIE ECHO the cookie, a HEARTBEAT its parameter)."""

    kind: int
    body: bytes = b""
    flags: int = 0

    def emit(self) -> bytes:
        size = CHUNK_HEADER + len(self.body)
        return _CHUNK.pack(self.kind, self.flags, size) + self.body + _PAD[size & 3]

    @property
    def size(self) -> int:
        return CHUNK_HEADER + len(self.body) + 3 & ~3


Chunk = Data | Sack | Init | ForwardTsn | Plain
_PARSERS = {
    DATA: Data.parse,
    SACK: Sack.parse,
    INIT: Init.parse,
    INIT_ACK: Init.parse,
    FORWARD_TSN: ForwardTsn.parse,
}


def emit_packet(source: int, target: int, tag: int, chunks: bytes, checksum: bool = True) -> bytes:
    """A packet around chunks that were emitted; ``checksum=False`` leaves a zero there."""
    if not checksum:
        return _PACKET.pack(source, target, tag, 0) + chunks
    raw = _PACKET.pack(source, target, tag, 0) + chunks
    return raw[:8] + crc32c(raw).to_bytes(4, "little") + raw[12:]


def parse_packet(data: Buffer, checksum: bool = True) -> tuple[int, int, int, list[Chunk]]:
    """Ports, verification tag and chunks of a packet; :class:`Malformed` for what is none.

    Unless ``checksum`` is False a wrong one is refused; zero counts as none.
    """
    view = memoryview(data)
    if len(view) < PACKET_HEADER + CHUNK_HEADER:
        raise Malformed("sctp-short", f"{len(view)} bytes")
    source, target, tag, _ = _PACKET.unpack_from(view)
    if checksum:
        given = int.from_bytes(view[8:12], "little")
        if given and given != crc32c(bytes(view[:8]) + bytes(4) + bytes(view[12:])):
            raise Malformed("sctp-checksum")
    chunks: list[Chunk] = []
    at, end = PACKET_HEADER, len(view)
    while at + CHUNK_HEADER <= end:
        kind, flags, size = _CHUNK.unpack_from(view, at)
        if size < CHUNK_HEADER or at + size > end:
            raise Malformed("sctp-chunk", f"a length of {size} at {at}")
        parser = _PARSERS.get(kind)
        if parser is not None:
            chunks.append(parser(flags, view[at : at + size]))
        else:
            chunks.append(Plain(kind, bytes(view[at + CHUNK_HEADER : at + size]), flags))
        at += size + 3 & ~3
    return source, target, tag, chunks


def _emit_parameters(parameters: tuple[tuple[int, bytes], ...]) -> bytes:
    out = b""
    for kind, value in parameters:
        size = CHUNK_HEADER + len(value)
        out += _PAD[len(out) & 3] + _PAIR.pack(kind, size) + value
    return out


def _parse_parameters(body: memoryview) -> tuple[tuple[int, bytes], ...]:
    found, at = [], 0
    while at + CHUNK_HEADER <= len(body):
        kind, size = _PAIR.unpack_from(body, at)
        if size < CHUNK_HEADER or at + size > len(body):
            raise Malformed("sctp-parameter", f"a length of {size}")
        found.append((kind, bytes(body[at + CHUNK_HEADER : at + size])))
        at += size + 3 & ~3
    return tuple(found)
