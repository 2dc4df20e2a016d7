"""ICMP (RFC 792, RFC 1191): fields, checked view and value type."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Self

from ..compiled.memory import put_u8_field, put_u16_field, put_u32_field, u8_field, u16_field, u32_field
from ..errors import Malformed
from .base import Buffer, Uint, View, check_uint
from .checksum import internet_checksum
from .ipv4 import Ipv4

HEADER_SIZE = 8
PROTOCOL = 1
ECHO_REPLY, UNREACHABLE, ECHO_REQUEST, TIME_EXCEEDED, PARAMETER_PROBLEM = 0, 3, 8, 11, 12
NET_UNREACHABLE, HOST_UNREACHABLE, PROTOCOL_UNREACHABLE, PORT_UNREACHABLE = 0, 1, 2, 3
FRAGMENTATION_NEEDED, ADMINISTRATIVELY_PROHIBITED = 4, 13
SOURCE_QUENCH, REDIRECT = 4, 5
ERRORS = (UNREACHABLE, SOURCE_QUENCH, REDIRECT, TIME_EXCEEDED, PARAMETER_PROBLEM)
QUOTE_MAX = 548  # with both headers an error stays within 576 bytes (RFC 1812 section 4.3.2.3)

get_type, put_type = u8_field(0), put_u8_field(0)
get_code, put_code = u8_field(1), put_u8_field(1)
get_checksum, put_checksum = u16_field(2), put_u16_field(2)
get_rest, put_rest = u32_field(4), put_u32_field(4)  # echo: identifier << 16 | sequence; too big: MTU


class MessageView(View):
    """The part that messages of both families have in common."""

    __slots__ = ()

    type = Uint(0, 1)
    code = Uint(1, 1)
    checksum = Uint(2, 2)
    rest = Uint(4, 4)

    @property
    def payload(self) -> memoryview:
        return self.buf[HEADER_SIZE:]


class IcmpView(MessageView):
    """An ICMP message. Raises ``icmp-short``."""

    __slots__ = ()

    def _check(self) -> None:
        self._need(HEADER_SIZE, "icmp-short")

    def checksum_ok(self) -> bool:
        return internet_checksum(self.buf) == 0


@dataclass(frozen=True, slots=True)
class Message:
    """A message of either family."""

    ECHO: ClassVar[tuple[int, int]]
    """Types of an echo request and its reply."""

    type: int
    code: int = 0
    rest: int = 0
    """The second word: identifier << 16 | sequence of an echo, MTU of "too big", else mostly 0."""
    payload: bytes = b""
    """What an echo carries, or the start of the packet that an error is about."""

    def __post_init__(self) -> None:
        name = type(self).__name__.upper()
        check_uint(f"an {name} type", self.type, 8)
        check_uint(f"an {name} code", self.code, 8)
        check_uint(f"the rest of an {name} header", self.rest, 32)

    @classmethod
    def echo_request(cls, ident: int, seq: int, payload: bytes = b"") -> Self:
        check_uint("an echo identifier", ident, 16)
        return cls(cls.ECHO[0], 0, ident << 16 | seq & 0xFFFF, payload)

    def echo_reply(self) -> Self:
        """The answer to this echo request."""
        return type(self)(self.ECHO[1], 0, self.rest, self.payload)

    @property
    def ident(self) -> int:
        """Identifier of an echo."""
        return self.rest >> 16

    @property
    def seq(self) -> int:
        """Sequence number of an echo."""
        return self.rest & 0xFFFF

    def buffer_len(self) -> int:
        return HEADER_SIZE + len(self.payload)

    def _unsealed(self) -> bytes:
        """The message with 0 for its checksum."""
        return struct.pack("!BBHI", self.type, self.code, 0, self.rest) + self.payload


@dataclass(frozen=True, slots=True)
class Icmp(Message):
    """An ICMP message: echo, error or any other."""

    ECHO = (ECHO_REQUEST, ECHO_REPLY)

    @classmethod
    def parse(cls, data: Buffer, verify: bool = True) -> Icmp:
        """Value of a message's bytes. Raises :class:`Malformed`: ``icmp-short``, with ``verify`` ``icmp-checksum``."""
        view = IcmpView(data)
        if verify and not view.checksum_ok():
            raise Malformed("icmp-checksum")
        return cls(view.type, view.code, view.rest, bytes(view.payload))

    @classmethod
    def unreachable(cls, code: int, packet: bytes, mtu: int = 0) -> Icmp:
        """Destination unreachable about ``packet``; ``mtu`` goes with :data:`FRAGMENTATION_NEEDED` (RFC 1191)."""
        return cls(UNREACHABLE, code, mtu, packet[:QUOTE_MAX])

    @classmethod
    def time_exceeded(cls, packet: bytes, code: int = 0) -> Icmp:
        """TTL exceeded in transit (code 0) or reassembly time exceeded (code 1), about ``packet``."""
        return cls(TIME_EXCEEDED, code, 0, packet[:QUOTE_MAX])

    @property
    def is_error(self) -> bool:
        """Whether the message is about another packet, quoted in its payload (RFC 1122 section 3.2.2)."""
        return self.type in ERRORS

    def quoted(self) -> Ipv4:
        """The packet that an error quotes, its payload cut. Raises :class:`Malformed`."""
        return Ipv4.parse_quoted(self.payload)

    def emit(self) -> bytes:
        """The message with its checksum."""
        data = self._unsealed()
        return data[:2] + internet_checksum(data).to_bytes(2, "big") + data[4:]
