"""DHCP for IPv4 (RFC 2131, options of RFC 2132, RFC 3396 and RFC 4702): checked view and value type.

Options keep their order, because clients are recognised by it. A missing end mark is forgiven, as servers do; an
option that runs past the message is not.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..errors import Malformed, UsageError
from .address import MAC_ANY
from .base import Buffer, Octets, Uint, View, check_octets, check_payload, check_uint

FIXED_SIZE, HEADER_SIZE = 236, 240  # without and with the magic cookie
COOKIE = bytes((0x63, 0x82, 0x53, 0x63))
SERVER_PORT, CLIENT_PORT = 67, 68
BOOT_REQUEST, BOOT_REPLY = 1, 2
DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)
TYPE_NAMES = ("", "DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK", "RELEASE", "INFORM")
FLAG_BROADCAST = 0x8000
BOOTP_SIZE = 300  # clients fill up to it, for old relays (RFC 1542 section 2.1)

OPT_PAD, OPT_MASK, OPT_ROUTER, OPT_DNS, OPT_HOST_NAME, OPT_DOMAIN_NAME = 0, 1, 3, 6, 12, 15
OPT_MTU, OPT_BROADCAST, OPT_NTP, OPT_REQUESTED_IP, OPT_LEASE_TIME, OPT_OVERLOAD = 26, 28, 42, 50, 51, 52
OPT_MESSAGE_TYPE, OPT_SERVER_ID, OPT_PARAMETER_LIST, OPT_MESSAGE, OPT_MAX_SIZE = 53, 54, 55, 56, 57
OPT_T1, OPT_T2, OPT_VENDOR_CLASS, OPT_CLIENT_ID, OPT_CLIENT_FQDN, OPT_END = 58, 59, 60, 61, 81, 255

Option = tuple[int, bytes]
"""``(code, data)``, at most 255 bytes of data."""


def ip_option(code: int, *addresses: bytes) -> Option:
    """Option that holds one or more packed IPv4 addresses."""
    for address in addresses:
        check_octets(f"an address of DHCP option {code}", address, 4)
    return code, b"".join(addresses)


def u8_option(code: int, *numbers: int) -> Option:
    """Option that holds bytes: a message type, a parameter list."""
    return code, bytes(numbers)


def u16_option(code: int, number: int) -> Option:
    check_uint(f"DHCP option {code}", number, 16)
    return code, number.to_bytes(2, "big")


def u32_option(code: int, number: int) -> Option:
    """Option that holds a 32-bit number: times in seconds, for instance."""
    check_uint(f"DHCP option {code}", number, 32)
    return code, number.to_bytes(4, "big")


def text_option(code: int, text: str) -> Option:
    """Option that holds ASCII text: host name, vendor class."""
    return code, text.encode("ascii", "replace")


def client_id_option(mac: bytes) -> Option:
    """Client identifier made of a MAC address (RFC 2132 section 9.14)."""
    return OPT_CLIENT_ID, b"\x01" + mac


def client_fqdn_option(name: str, flags: int = 0) -> Option:
    """Client FQDN with an ASCII name (RFC 4702 section 2.3.1), as Windows sends it."""
    return OPT_CLIENT_FQDN, bytes((flags, 0, 0)) + name.encode("ascii", "replace")


def long_option(code: int, data: bytes) -> tuple[Option, ...]:
    """Data of any length as one option after another with the same code (RFC 3396)."""
    return tuple((code, data[at : at + 255]) for at in range(0, max(len(data), 1), 255))


def parse_options(data: Buffer) -> tuple[Option, ...]:
    """Options of a field up to its end mark or its end, padding left out.

    Raises :class:`Malformed` (``dhcp-option-length``) for an option that runs past the field.
    """
    out: list[Option] = []
    at = 0
    while at < len(data) and data[at] != OPT_END:
        code = data[at]
        if code == OPT_PAD:
            at += 1
            continue
        if at + 2 > len(data) or at + 2 + data[at + 1] > len(data):
            raise Malformed("dhcp-option-length", f"option {code} at {at}")
        end = at + 2 + data[at + 1]
        out.append((code, bytes(data[at + 2 : end])))
        at = end
    return tuple(out)


class DhcpView(View):
    """The fixed part of a message. Raises ``dhcp-short``, ``dhcp-hardware`` (not Ethernet) or ``dhcp-cookie``."""

    __slots__ = ()

    op = Uint(0, 1)
    htype = Uint(1, 1)
    hlen = Uint(2, 1)
    hops = Uint(3, 1)
    xid = Uint(4, 4)
    secs = Uint(8, 2)
    flags = Uint(10, 2)
    ciaddr = Octets(12, 4)
    yiaddr = Octets(16, 4)
    siaddr = Octets(20, 4)
    giaddr = Octets(24, 4)
    chaddr = Octets(28, 6)
    sname = Octets(44, 64)
    file = Octets(108, 128)
    cookie = Octets(236, 4)

    def _check(self) -> None:
        self._need(HEADER_SIZE, "dhcp-short")
        if self.htype != 1 or self.hlen != 6:
            raise Malformed("dhcp-hardware", f"type {self.htype}, length {self.hlen}")
        if self.cookie != COOKIE:
            raise Malformed("dhcp-cookie", self.cookie.hex())

    @property
    def options(self) -> memoryview:
        """Option bytes, end mark and padding included."""
        return self.buf[HEADER_SIZE:]


@dataclass(frozen=True, slots=True)
class Dhcp:
    """A DHCP message; field names are the RFC's."""

    op: int
    """:data:`BOOT_REQUEST` or :data:`BOOT_REPLY`."""
    xid: int
    chaddr: bytes = MAC_ANY
    options: tuple[Option, ...] = ()
    """``(code, data)`` in order, without padding and end mark."""
    ciaddr: bytes = bytes(4)
    yiaddr: bytes = bytes(4)
    siaddr: bytes = bytes(4)
    giaddr: bytes = bytes(4)
    secs: int = 0
    flags: int = 0
    hops: int = 0
    sname: bytes = b""
    """Server name, or options when option 52 says so; without the zeros behind it."""
    file: bytes = b""

    def __post_init__(self) -> None:
        check_uint("op", self.op, 8)
        check_uint("xid", self.xid, 32)
        check_uint("secs", self.secs, 16)
        check_uint("flags", self.flags, 16)
        check_uint("hops", self.hops, 8)
        check_octets("chaddr", self.chaddr, 6)
        for name in ("ciaddr", "yiaddr", "siaddr", "giaddr"):
            check_octets(name, getattr(self, name), 4)
        for name, most in (("sname", 64), ("file", 128)):
            stripped = getattr(self, name).rstrip(b"\0")
            check_payload(name, len(stripped), most)
            object.__setattr__(self, name, stripped)
        for code, data in self.options:
            if not OPT_PAD < code < OPT_END:
                raise UsageError(f"a DHCP option's code must be between 1 and 254, not {code}")
            check_payload(f"DHCP option {code}", len(data), 255)

    @classmethod
    def parse(cls, data: Buffer) -> Dhcp:
        """Value of a message's bytes. Raises :class:`Malformed` as the view does, or ``dhcp-option-length``."""
        view = DhcpView(data)
        return cls(
            op=view.op,
            xid=view.xid,
            chaddr=view.chaddr,
            options=parse_options(view.options),
            ciaddr=view.ciaddr,
            yiaddr=view.yiaddr,
            siaddr=view.siaddr,
            giaddr=view.giaddr,
            secs=view.secs,
            flags=view.flags,
            hops=view.hops,
            sname=view.sname,
            file=view.file,
        )

    def option(self, code: int) -> bytes | None:
        """Data of option ``code``, pieces joined (RFC 3396), or None when absent.

        Looks into ``file`` and ``sname`` as well when option 52 says that they hold options; a bad option there hides
        those behind it.
        """
        found = [data for each, data in self._all_options() if each == code]
        return b"".join(found) if found else None

    def _all_options(self) -> tuple[Option, ...]:
        overload = next((data[0] for code, data in self.options if code == OPT_OVERLOAD and len(data) == 1), 0)
        out = self.options
        for bit, name in ((1, "file"), (2, "sname")):
            if overload & bit:
                try:
                    out += parse_options(getattr(self, name))
                except Malformed:
                    continue
        return out

    def number(self, code: int) -> int | None:
        """Value of a numeric option of 1, 2 or 4 bytes, or None when absent or of another length."""
        data = self.option(code)
        return int.from_bytes(data, "big") if data is not None and len(data) in (1, 2, 4) else None

    def addresses(self, code: int) -> tuple[bytes, ...]:
        """Packed IPv4 addresses of an option; empty when absent or of a wrong length."""
        data = self.option(code) or b""
        return () if len(data) % 4 else tuple(data[at : at + 4] for at in range(0, len(data), 4))

    def address(self, code: int) -> bytes | None:
        """The first address of an option, or None."""
        return next(iter(self.addresses(code)), None)

    def text(self, code: int) -> str | None:
        """Text of an option, trailing zeros cut, bytes that are no ASCII replaced; None when absent."""
        data = self.option(code)
        return None if data is None else data.rstrip(b"\0").decode("ascii", "replace")

    @property
    def message_type(self) -> int | None:
        """:data:`DISCOVER` to :data:`INFORM`; None for plain BOOTP."""
        return self.number(OPT_MESSAGE_TYPE)

    @property
    def broadcast(self) -> bool:
        """Whether the client asks for broadcast answers."""
        return bool(self.flags & FLAG_BROADCAST)

    def buffer_len(self) -> int:
        """Bytes without padding."""
        return HEADER_SIZE + sum(2 + len(data) for _, data in self.options) + 1

    def emit(self, min_size: int = 0) -> bytes:
        """The message, filled up with zeros to ``min_size`` (:data:`BOOTP_SIZE` for clients)."""
        head = struct.pack("!BBBBIHH", self.op, 1, 6, self.hops, self.xid, self.secs, self.flags)
        addresses = self.ciaddr + self.yiaddr + self.siaddr + self.giaddr + self.chaddr + bytes(10)
        names = self.sname.ljust(64, b"\0") + self.file.ljust(128, b"\0")
        options = b"".join(bytes((code, len(data))) + data for code, data in self.options)
        return (head + addresses + names + COOKIE + options + b"\xff").ljust(min_size, b"\0")
