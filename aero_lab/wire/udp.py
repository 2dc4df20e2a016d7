"""UDP (RFC 768): fields, checked view and value type."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..compiled.memory import put_u16_field, u16_field
from ..errors import Malformed, UsageError
from .base import Buffer, Uint, View, check_payload, check_uint
from .checksum import transport_checksum

HEADER_SIZE = 8
PROTOCOL = 17

get_srcport, put_srcport = u16_field(0), put_u16_field(0)
get_dstport, put_dstport = u16_field(2), put_u16_field(2)
get_length, put_length = u16_field(4), put_u16_field(4)
get_checksum, put_checksum = u16_field(6), put_u16_field(6)


class UdpView(View):
    """A UDP datagram; bytes behind its length are cut off. Raises ``udp-short`` or ``udp-length``."""

    __slots__ = ()

    srcport = Uint(0, 2)
    dstport = Uint(2, 2)
    length = Uint(4, 2)
    checksum = Uint(6, 2)

    def _check(self) -> None:
        self._need(HEADER_SIZE, "udp-short")
        if not HEADER_SIZE <= self.length <= len(self.buf):
            raise Malformed("udp-length", f"{self.length} of {len(self.buf)} bytes")
        self.buf = self.buf[: self.length]

    @property
    def payload(self) -> memoryview:
        return self.buf[HEADER_SIZE:]

    def checksum_ok(self, src: bytes, dst: bytes) -> bool:
        """Whether the checksum is right; none at all (0) is right over IPv4 only (RFC 8200 section 8.1)."""
        if self.checksum == 0:
            return len(src) == 4
        return transport_checksum(src, dst, PROTOCOL, self.buf) == 0


@dataclass(frozen=True, slots=True)
class Udp:
    """A UDP datagram."""

    srcport: int
    dstport: int
    payload: bytes = b""

    def __post_init__(self) -> None:
        check_uint("a source port", self.srcport, 16)
        check_uint("a destination port", self.dstport, 16)
        check_payload("a UDP datagram", self.buffer_len(), 0xFFFF)

    @classmethod
    def parse(cls, data: Buffer, src: bytes | None = None, dst: bytes | None = None) -> Udp:
        """Value of a datagram's bytes; the checksum is verified when both addresses are given.

        Raises :class:`Malformed` as the view does, or ``udp-checksum``.
        """
        view = UdpView(data)
        if src is not None and dst is not None and not view.checksum_ok(src, dst):
            raise Malformed("udp-checksum")
        return cls(view.srcport, view.dstport, bytes(view.payload))

    def buffer_len(self) -> int:
        return HEADER_SIZE + len(self.payload)

    def emit(self, src: bytes, dst: bytes, checksum: bool = True) -> bytes:
        """The datagram between two addresses; ``checksum=False`` leaves it out, which only IPv4 allows."""
        size = self.buffer_len()
        data = struct.pack("!4H", self.srcport, self.dstport, size, 0) + self.payload
        if not checksum:
            if len(src) != 4:
                raise UsageError("UDP over IPv6 needs a checksum")
            return data
        total = transport_checksum(src, dst, PROTOCOL, data) or 0xFFFF  # 0 would mean that there is none
        return data[:6] + total.to_bytes(2, "big") + data[8:]
