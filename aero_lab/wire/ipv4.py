"""IPv4 (RFC 791, RFC 6864): fields, checked view and value type."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from ..compiled.memory import (
    put_u8_field,
    put_u16_field,
    put_u32_field,
    u8_field,
    u16_field,
    u32_field,
)
from ..errors import Malformed, UsageError
from .base import Buffer, Octets, Uint, View, check_octets, check_payload, check_uint
from .checksum import internet_checksum

HEADER_SIZE = 20
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
IGMP = 2
FLAG_RB = 0x8000
FLAG_DF, FLAG_MF, OFFSET_MASK = 0x4000, 0x2000, 0x1FFF
OPTIONS_MAX = 40
OPT_END, OPT_NOP, OPT_RECORD_ROUTE, OPT_ROUTER_ALERT = 0, 1, 7, 148
OPT_COPIED = 0x80
ROUTER_ALERT = (OPT_ROUTER_ALERT, b"\0\0")  # RFC 2113

get_version_ihl, put_version_ihl = u8_field(0), put_u8_field(0)
get_tos, put_tos = u8_field(1), put_u8_field(1)
get_total_length, put_total_length = u16_field(2), put_u16_field(2)
get_id, put_id = u16_field(4), put_u16_field(4)
get_fragment, put_fragment = u16_field(6), put_u16_field(6)  # DF, MF and offset in units of 8 bytes
get_ttl, put_ttl = u8_field(8), put_u8_field(8)
get_protocol, put_protocol = u8_field(9), put_u8_field(9)
get_checksum, put_checksum = u16_field(10), put_u16_field(10)
get_src, put_src = u32_field(12), put_u32_field(12)
get_dst, put_dst = u32_field(16), put_u32_field(16)


class Ipv4View(View):
    """An IPv4 packet; bytes behind its total length (Ethernet padding) are cut off.

    Raises ``ipv4-short``, ``ipv4-version``, ``ipv4-header-length`` or ``ipv4-total-length``. The checksum and the
    inside of the options are not looked at.
    """

    __slots__ = ("header_len",)

    tos = Uint(1, 1)
    total_length = Uint(2, 2)
    id = Uint(4, 2)
    fragment = Uint(6, 2)
    ttl = Uint(8, 1)
    protocol = Uint(9, 1)
    checksum = Uint(10, 2)
    src = Octets(12, 4)
    dst = Octets(16, 4)

    def _check(self) -> None:
        self._check_header()
        total = self.total_length
        if not self.header_len <= total <= len(self.buf):
            raise Malformed("ipv4-total-length", f"{total} of {len(self.buf)} bytes, header {self.header_len}")
        self.buf = self.buf[:total]

    def _check_header(self) -> None:
        self._need(HEADER_SIZE, "ipv4-short")
        if self.buf[0] >> 4 != 4:
            raise Malformed("ipv4-version", str(self.buf[0] >> 4))
        self.header_len = 4 * (self.buf[0] & 15)
        """Header bytes, options included."""
        if not HEADER_SIZE <= self.header_len <= len(self.buf):
            raise Malformed("ipv4-header-length", f"{self.header_len} of {len(self.buf)} bytes")

    @property
    def offset(self) -> int:
        """Fragment offset in bytes."""
        return 8 * (self.fragment & OFFSET_MASK)

    @property
    def options(self) -> memoryview:
        """Option bytes, padding included."""
        return self.buf[HEADER_SIZE : self.header_len]

    @property
    def payload(self) -> memoryview:
        return self.buf[self.header_len :]

    def checksum_ok(self) -> bool:
        """Whether the header's checksum is right."""
        return internet_checksum(self.buf[: self.header_len]) == 0


class QuotedIpv4View(Ipv4View):
    """The start of a packet as an ICMP error quotes it: the payload may be cut short of the total length."""

    __slots__ = ()

    def _check(self) -> None:
        self._check_header()
        if self.total_length < self.header_len:
            raise Malformed("ipv4-total-length", f"{self.total_length}, header {self.header_len}")
        self.buf = self.buf[: self.total_length]


def parse_options(data: Buffer) -> tuple[tuple[int, bytes], ...]:
    """``(kind, data)`` of each option, no-operations included, up to the end-of-options mark.

    Raises :class:`Malformed` (``ipv4-option``) for a length below 2 or past the header.
    """
    out: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data) and data[at] != OPT_END:
        size = 1
        if data[at] != OPT_NOP:
            size = data[at + 1] if at + 1 < len(data) else 0
            if size < 2 or at + size > len(data):
                raise Malformed("ipv4-option", f"kind {data[at]}, length {size}")
        out.append((data[at], bytes(data[at + 2 : at + size])))
        at += size
    return tuple(out)


@dataclass(frozen=True, slots=True)
class Ipv4:
    """An IPv4 packet or fragment."""

    src: bytes
    dst: bytes
    protocol: int
    payload: bytes = b""
    ttl: int = 64
    id: int = 0
    tos: int = 0
    """DSCP << 2 | ECN."""
    df: bool = False
    mf: bool = False
    offset: int = 0
    """Fragment offset in bytes, a multiple of 8."""
    rb: bool = False
    """The reserved flag bit: kept, because fingerprints look at it."""
    options: tuple[tuple[int, bytes], ...] = ()
    """``(kind, data)`` in order, no-operations included; padding is implied."""

    def __post_init__(self) -> None:
        check_octets("an IPv4 source", self.src, 4)
        check_octets("an IPv4 destination", self.dst, 4)
        check_uint("an IP protocol", self.protocol, 8)
        check_uint("a TTL", self.ttl, 8)
        check_uint("an IPv4 id", self.id, 16)
        check_uint("a TOS", self.tos, 8)
        if self.offset & 7 or not 0 <= self.offset <= 8 * OFFSET_MASK:
            raise UsageError(f"a fragment offset must be a multiple of 8 up to {8 * OFFSET_MASK}, not {self.offset}")
        for kind, data in self.options:
            check_uint("an IPv4 option kind", kind, 8)
            if kind == OPT_END or (kind == OPT_NOP and data):
                raise UsageError("end-of-options is implied, and a no-operation holds no data")
        check_payload("IPv4 options", self.header_len - HEADER_SIZE, OPTIONS_MAX)
        check_payload("an IPv4 packet", self.buffer_len(), 0xFFFF)

    @classmethod
    def parse(cls, data: Buffer, verify: bool = True) -> Ipv4:
        """Value of a packet's bytes; padding behind it is ignored.

        Raises :class:`Malformed` as the view does, ``ipv4-option``, and with ``verify`` ``ipv4-checksum``.
        """
        return cls._of(Ipv4View(data), verify)

    @classmethod
    def parse_quoted(cls, data: Buffer) -> Ipv4:
        """Value of the start of a packet, as ICMP errors quote it: as much payload as there is, no checksum test."""
        return cls._of(QuotedIpv4View(data), False)

    @classmethod
    def _of(cls, view: Ipv4View, verify: bool) -> Ipv4:
        if verify and not view.checksum_ok():
            raise Malformed("ipv4-checksum")
        fragment = view.fragment
        return cls(
            src=view.src,
            dst=view.dst,
            protocol=view.protocol,
            payload=bytes(view.payload),
            ttl=view.ttl,
            id=view.id,
            tos=view.tos,
            df=bool(fragment & FLAG_DF),
            mf=bool(fragment & FLAG_MF),
            offset=view.offset,
            rb=bool(fragment & FLAG_RB),
            options=parse_options(view.options),
        )

    @property
    def is_fragment(self) -> bool:
        """Whether the payload is a piece only."""
        return self.mf or self.offset > 0

    @property
    def header_len(self) -> int:
        """Header bytes, options and their padding included."""
        size = sum(1 if kind == OPT_NOP else 2 + len(data) for kind, data in self.options)
        return HEADER_SIZE + (size + 3 & ~3)

    def buffer_len(self) -> int:
        """Total length."""
        return self.header_len + len(self.payload)

    def emit(self) -> bytes:
        """The packet with its header checksum."""
        header_len = self.header_len
        fragment = self.rb * FLAG_RB | self.df * FLAG_DF | self.mf * FLAG_MF | self.offset >> 3
        start = 0x4000 | header_len << 6 | self.tos
        fixed = (start, header_len + len(self.payload), self.id, fragment, self.ttl << 8 | self.protocol)
        options = b"".join(
            b"\x01" if kind == OPT_NOP else bytes((kind, 2 + len(data))) + data for kind, data in self.options
        )
        header = bytearray(struct.pack("!5H", *fixed) + b"\0\0" + self.src + self.dst + options)
        header += bytes(header_len - len(header))
        header[10:12] = internet_checksum(header).to_bytes(2, "big")
        return bytes(header) + self.payload

    def fragments(self, mtu: int) -> list[Ipv4]:
        """This packet cut into pieces that fit ``mtu``, whatever its DF flag says.

        Options whose copied bit is set go into each piece, the others into the first only (RFC 791 section 3.1).
        """
        copied = tuple(option for option in self.options if option[0] & OPT_COPIED)
        most = (mtu - replace(self, payload=b"", options=copied).header_len) & ~7
        first = (mtu - self.header_len) & ~7
        if min(most, first) < 8:
            raise UsageError(f"no fragment fits an MTU of {mtu}")
        if self.buffer_len() <= mtu:
            return [self]
        out = []
        at, size = 0, first
        while at < len(self.payload):
            piece = self.payload[at : at + size]
            more = self.mf or at + size < len(self.payload)
            options = self.options if at == 0 else copied
            out.append(replace(self, payload=piece, df=False, mf=more, offset=self.offset + at, options=options))
            at, size = at + size, most
        return out
