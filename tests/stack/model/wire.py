"""Packets as bytes, put together and taken apart with ``struct`` alone."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from ..naive import checksum
from ..twins import parse_options

M32 = 0xFFFFFFFF
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << i for i in range(8))
TCP, UDP, ICMP, ICMP6, IGMP = 6, 17, 1, 58, 2


def pseudo(src: bytes, dst: bytes, protocol: int, length: int) -> bytes:
    """Pseudo header of RFC 9293 section 3.1 and RFC 8200 section 8.1."""
    if len(src) == 4:
        return src + dst + struct.pack(">HH", protocol, length)
    return src + dst + struct.pack(">II", length, protocol)


def ethernet(dst: bytes, src: bytes, kind: int, payload: bytes) -> bytes:
    return dst + src + struct.pack(">H", kind) + payload


def ipv4(
    src: bytes, dst: bytes, protocol: int, payload: bytes, ttl: int = 64, ident: int = 0, tos: int = 0,
    fragment: int = 0, options: bytes = b"",
) -> bytes:  # fmt: skip
    header = 20 + len(options)
    head = struct.pack(
        ">BBHHHBBH", 0x40 | header // 4, tos, header + len(payload), ident, fragment, ttl, protocol, 0
    )  # fmt: skip
    head += src + dst + options
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def ipv6(src: bytes, dst: bytes, following: int, payload: bytes, ttl: int = 64, tos: int = 0) -> bytes:
    return struct.pack(">IHBB", 6 << 28 | tos << 20, len(payload), following, ttl) + src + dst + payload


def ip(src: bytes, dst: bytes, protocol: int, payload: bytes, **more: Any) -> bytes:
    """A packet of the addresses' family, without what only IPv4 has."""
    if len(src) == 4:
        return ipv4(src, dst, protocol, payload, **more)
    return ipv6(src, dst, protocol, payload, **{k: v for k, v in more.items() if k in ("ttl", "tos")})


def tcp(
    src: bytes, dst: bytes, sport: int, dport: int, seq: int, ack: int, flags: int, window: int,
    options: bytes = b"", payload: bytes = b"", urgent: int = 0,
) -> bytes:  # fmt: skip
    assert len(options) % 4 == 0
    offset = (20 + len(options)) // 4 << 4
    head = struct.pack(">HHIIBBHHH", sport, dport, seq & M32, ack & M32, offset, flags, window, 0, urgent) + options
    segment = head + payload
    total = checksum(pseudo(src, dst, TCP, len(segment)) + segment)
    return segment[:16] + struct.pack(">H", total) + segment[18:]


def udp(src: bytes, dst: bytes, sport: int, dport: int, payload: bytes) -> bytes:
    datagram = struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload
    total = checksum(pseudo(src, dst, UDP, len(datagram)) + datagram) or 0xFFFF
    return datagram[:6] + struct.pack(">H", total) + payload


def icmp(src: bytes, dst: bytes, kind: int, code: int, rest: int, body: bytes) -> bytes:
    message = struct.pack(">BBHI", kind, code, 0, rest & M32) + body
    over = message if len(src) == 4 else pseudo(src, dst, ICMP6, len(message)) + message
    return message[:2] + struct.pack(">H", checksum(over)) + message[4:]


def arp(op: int, sha: bytes, spa: bytes, tha: bytes, tpa: bytes) -> bytes:
    return struct.pack(">HHBBH", 1, 0x0800, 6, 4, op) + sha + spa + tha + tpa


@dataclass
class Packet:
    """An IP packet whose header is right."""

    raw: bytes
    """The whole of it, without what a frame had behind it."""
    src: bytes
    dst: bytes
    protocol: int
    transport: int
    """Where the transport header starts."""
    ttl: int
    ecn: int
    own: bool
    """It is for one of our addresses, or for a group."""
    group: bool
    fragment: bool

    @property
    def version(self) -> int:
        return self.raw[0] >> 4

    @property
    def body(self) -> bytes:
        return self.raw[self.transport :]


@dataclass
class Segment:
    """A TCP segment that arrived."""

    src: bytes
    dst: bytes
    sport: int
    dport: int
    seq: int
    ack: int
    flags: int
    window: int
    data: bytes
    ecn: int
    mss: int = 0
    wscale: int = -1
    sack_ok: int = 0
    ts: tuple[int, int] | None = None
    blocks: list[tuple[int, int]] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Sequence numbers it takes (RFC 9293 section 3.4, SEG.LEN)."""
        return len(self.data) + bool(self.flags & SYN) + bool(self.flags & FIN)


def read_segment(src: bytes, dst: bytes, raw: bytes, ecn: int) -> Segment | None:
    """The segment in these bytes, whose header length is right; None when its options are malformed."""
    sport, dport, seq, ack, offset, flags, window = struct.unpack(">HHIIBBH", raw[:16])
    header = (offset >> 4) * 4
    options = parse_options(raw[20:header])
    if options is None:
        return None
    return Segment(src, dst, sport, dport, seq, ack, flags, window, raw[header:], ecn, **options)
