"""ARP for IPv4 over Ethernet (RFC 826, RFC 5227): fields, checked view and value type."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..compiled.memory import put_u16_field, put_u32_field, u16_field, u32_field
from ..errors import Malformed
from .base import Buffer, Octets, Uint, View, check_octets, check_uint
from .ethernet import TYPE_IPV4

SIZE = 28
REQUEST, REPLY = 1, 2
HTYPE_ETHERNET = 1
LENGTHS = 0x0604  # hlen 6, plen 4

get_htype, put_htype = u16_field(0), put_u16_field(0)
get_ptype, put_ptype = u16_field(2), put_u16_field(2)
get_lengths, put_lengths = u16_field(4), put_u16_field(4)  # hlen << 8 | plen
get_op, put_op = u16_field(6), put_u16_field(6)
get_sha_hi, put_sha_hi = u16_field(8), put_u16_field(8)
get_sha_lo, put_sha_lo = u32_field(10), put_u32_field(10)
get_spa, put_spa = u32_field(14), put_u32_field(14)
get_tha_hi, put_tha_hi = u16_field(18), put_u16_field(18)
get_tha_lo, put_tha_lo = u32_field(20), put_u32_field(20)
get_tpa, put_tpa = u32_field(24), put_u32_field(24)


class ArpView(View):
    """An ARP packet for IPv4 over Ethernet.

    Raises ``arp-short``, ``arp-hardware`` (not Ethernet), ``arp-protocol`` (not IPv4) or ``arp-lengths``.
    """

    __slots__ = ()

    htype = Uint(0, 2)
    ptype = Uint(2, 2)
    lengths = Uint(4, 2)
    op = Uint(6, 2)
    sha = Octets(8, 6)
    spa = Octets(14, 4)
    tha = Octets(18, 6)
    tpa = Octets(24, 4)

    def _check(self) -> None:
        self._need(SIZE, "arp-short")
        if self.htype != HTYPE_ETHERNET:
            raise Malformed("arp-hardware", str(self.htype))
        if self.ptype != TYPE_IPV4:
            raise Malformed("arp-protocol", hex(self.ptype))
        if self.lengths != LENGTHS:
            raise Malformed("arp-lengths", hex(self.lengths))


@dataclass(frozen=True, slots=True)
class Arp:
    """An ARP packet for IPv4 over Ethernet; field names are the RFC's (``sha``: sender hardware address, ...)."""

    op: int
    """:data:`REQUEST`, :data:`REPLY`, or another operation."""
    sha: bytes
    spa: bytes
    tha: bytes
    tpa: bytes

    def __post_init__(self) -> None:
        check_uint("an ARP operation", self.op, 16)
        check_octets("sha", self.sha, 6)
        check_octets("spa", self.spa, 4)
        check_octets("tha", self.tha, 6)
        check_octets("tpa", self.tpa, 4)

    @classmethod
    def parse(cls, data: Buffer) -> Arp:
        """Value of a packet's bytes; padding behind it is ignored. Raises :class:`Malformed`."""
        view = ArpView(data)
        return cls(view.op, view.sha, view.spa, view.tha, view.tpa)

    @classmethod
    def request(cls, sha: bytes, spa: bytes, tpa: bytes) -> Arp:
        """Who has ``tpa``? Tell ``spa``."""
        return cls(REQUEST, sha, spa, bytes(6), tpa)

    @classmethod
    def probe(cls, sha: bytes, tpa: bytes) -> Arp:
        """Does anyone use ``tpa``? Names no sender address (RFC 5227 section 2.1.1)."""
        return cls.request(sha, bytes(4), tpa)

    @classmethod
    def announcement(cls, sha: bytes, spa: bytes) -> Arp:
        """``spa`` is mine now (RFC 5227 section 2.3)."""
        return cls.request(sha, spa, spa)

    def reply(self, sha: bytes) -> Arp:
        """The answer to this request: its target address is at ``sha``."""
        return Arp(REPLY, sha, self.tpa, self.sha, self.spa)

    def buffer_len(self) -> int:
        """Always 28."""
        return SIZE

    def emit(self) -> bytes:
        """The packet's bytes, without padding."""
        head = struct.pack("!HHHH", HTYPE_ETHERNET, TYPE_IPV4, LENGTHS, self.op)
        return head + self.sha + self.spa + self.tha + self.tpa
