"""The datagrams of a simulated WebRTC connection: IPv4 and UDP around DTLS records and STUN messages.

Headers are whole, so that whatever stands on the way can read them. What a DTLS record holds is not encrypted; in place
of the tag that would authenticate it, it has a checksum, so that what the link corrupted is thrown away as DTLS would.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from zlib import crc32

from ..wire.address import ip

NEAR, FAR = ip("192.0.2.1"), ip("192.0.2.2")
"""The two ends of the hop (TEST-NET-1)."""
PORT = 50000
IP_UDP = 20 + 8
DTLS_HEADER, NONCE, TAG = 13, 8, 16
RECORD = DTLS_HEADER + NONCE + TAG
"""What DTLS 1.2 with AES-GCM adds to a packet (RFC 6347 section 4.1, RFC 5288 section 3)."""
STUN_REQUEST, STUN_RESPONSE, HANDSHAKE, DATA = 0, 1, 22, 23
"""First byte of a datagram's payload: how RFC 7983 tells them apart."""
_RECORD = struct.Struct("!BHHHLHQ")
_VERSION = 0xFEFD


@lru_cache(256)
def header(size: int, up: bool) -> bytes:
    """IPv4 and UDP header of a datagram with ``size`` bytes of payload; UDP has no checksum (RFC 768)."""
    source, target = (NEAR, FAR) if up else (FAR, NEAR)
    head = bytearray(struct.pack("!BBHHHBBH", 0x45, 0, IP_UDP + size, 0, 0x4000, 64, 17, 0) + source + target)
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head[10:12] = (~((total & 0xFFFF) + (total >> 16)) & 0xFFFF).to_bytes(2, "big")
    return bytes(head) + struct.pack("!4H", PORT, PORT, 8 + size, 0)


def record(packet: bytes, number: int, up: bool) -> bytes:
    """A datagram with one DTLS record around ``packet``."""
    size = len(packet)
    head = _RECORD.pack(DATA, _VERSION, 1, number >> 32, number & 0xFFFFFFFF, NONCE + size + TAG, number)
    return b"".join((header(RECORD + size, up), head, packet, crc32(packet).to_bytes(TAG, "big")))


def opened(payload: memoryview) -> memoryview | None:
    """What a DTLS record holds; None when it was damaged."""
    if len(payload) < RECORD:
        return None
    packet = payload[DTLS_HEADER + NONCE : -TAG]
    return packet if payload[-TAG:] == crc32(packet).to_bytes(TAG, "big") else None


def message(kind: int, size: int, up: bool, flight: int = 0, part: int = 0) -> bytes:
    """A datagram of ``size`` bytes that stands for a message of STUN or of the DTLS handshake."""
    return header(size, up) + bytes((kind, flight, part)) + bytes(size - 3)
