"""ICMPv6 and what kernels need of neighbour discovery (RFC 4443, RFC 4861, RFC 8106): fields, view and value."""

from __future__ import annotations

from dataclasses import dataclass

from ..compiled.memory import put_u64_field, u64_field
from ..errors import Malformed
from .base import Buffer
from .checksum import transport_checksum
from .icmp import (  # the fixed part has one layout in both families
    HEADER_SIZE,
    Message,
    MessageView,
    get_checksum,
    get_code,
    get_rest,
    get_type,
    put_checksum,
    put_code,
    put_rest,
    put_type,
)
from .ipv6 import Ipv6

__all__ = [
    "HEADER_SIZE",
    "Icmpv6",
    "Icmpv6View",
    "get_checksum",
    "get_code",
    "get_rest",
    "get_type",
    "put_checksum",
    "put_code",
    "put_rest",
    "put_type",
    "seal",
]

PROTOCOL = 58
QUOTE_MAX = 1232  # with both headers an error stays within the least MTU (RFC 4443 section 2.4c)
UNREACHABLE, PACKET_TOO_BIG, TIME_EXCEEDED, PARAMETER_PROBLEM = 1, 2, 3, 4
ECHO_REQUEST, ECHO_REPLY = 128, 129
ROUTER_SOLICIT, ROUTER_ADVERT, NEIGHBOUR_SOLICIT, NEIGHBOUR_ADVERT = 133, 134, 135, 136
NO_ROUTE, PROHIBITED, ADDRESS_UNREACHABLE, PORT_UNREACHABLE = 0, 1, 3, 4
FLAG_ROUTER, FLAG_SOLICITED, FLAG_OVERRIDE = 0x80000000, 0x40000000, 0x20000000
OPT_SOURCE_LINK, OPT_TARGET_LINK, OPT_PREFIX, OPT_MTU, OPT_RDNSS = 1, 2, 3, 5, 25

get_target_hi, put_target_hi = u64_field(8), put_u64_field(8)
get_target_lo, put_target_lo = u64_field(16), put_u64_field(16)


class Icmpv6View(MessageView):
    """An ICMPv6 message. Raises ``icmpv6-short``."""

    __slots__ = ()

    def _check(self) -> None:
        self._need(HEADER_SIZE, "icmpv6-short")

    def checksum_ok(self, src: bytes, dst: bytes) -> bool:
        return transport_checksum(src, dst, PROTOCOL, self.buf) == 0


@dataclass(frozen=True, slots=True)
class Icmpv6(Message):
    """An ICMPv6 message: echo, error or any other. Neighbour discovery has its own values in :mod:`.ndp`."""

    ECHO = (ECHO_REQUEST, ECHO_REPLY)

    @classmethod
    def parse(cls, data: Buffer, src: bytes | None = None, dst: bytes | None = None) -> Icmpv6:
        """Value of a message's bytes; the checksum is verified when both addresses are given.

        Raises :class:`Malformed`: ``icmpv6-short`` or ``icmpv6-checksum``.
        """
        view = Icmpv6View(data)
        if src is not None and dst is not None and not view.checksum_ok(src, dst):
            raise Malformed("icmpv6-checksum")
        return cls(view.type, view.code, view.rest, bytes(view.payload))

    @classmethod
    def unreachable(cls, code: int, packet: bytes) -> Icmpv6:
        """Destination unreachable about ``packet``."""
        return cls(UNREACHABLE, code, 0, packet[:QUOTE_MAX])

    @classmethod
    def packet_too_big(cls, mtu: int, packet: bytes) -> Icmpv6:
        """``packet`` is larger than the ``mtu`` of the next link."""
        return cls(PACKET_TOO_BIG, 0, mtu, packet[:QUOTE_MAX])

    @classmethod
    def time_exceeded(cls, packet: bytes, code: int = 0) -> Icmpv6:
        """Hop limit exceeded (code 0) or reassembly time exceeded (code 1), about ``packet``."""
        return cls(TIME_EXCEEDED, code, 0, packet[:QUOTE_MAX])

    @property
    def is_error(self) -> bool:
        """Whether the message is about another packet, quoted in its payload."""
        return self.type < 128

    def quoted(self) -> Ipv6:
        """The packet that an error quotes, its payload cut. Raises :class:`Malformed`."""
        return Ipv6.parse_quoted(self.payload)

    def emit(self, src: bytes, dst: bytes) -> bytes:
        """The message between two addresses, with its checksum."""
        return seal(self._unsealed(), src, dst)


def seal(message: bytes, src: bytes, dst: bytes) -> bytes:
    """``message``, whose checksum field is zero, with its checksum between two addresses."""
    return message[:2] + transport_checksum(src, dst, PROTOCOL, message).to_bytes(2, "big") + message[4:]
