"""Neighbour discovery and router advertisement (RFC 4861, RFC 4191, RFC 8106): value types and their options.

These are whole ICMPv6 messages. :func:`parse` picks the class by the type; with addresses and hop limit it applies the
checks of RFC 4861 sections 6.1 and 7.1, so what it returns may be acted on.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Self

from ..errors import Malformed, UsageError
from ..limits import ND_OPTIONS_MAX
from .address import IP6_ANY, is_link_local, is_multicast, solicited_node
from .base import Buffer, check_octets, check_payload, check_uint
from .icmpv6 import (
    FLAG_OVERRIDE,
    FLAG_ROUTER,
    FLAG_SOLICITED,
    HEADER_SIZE,
    NEIGHBOUR_ADVERT,
    NEIGHBOUR_SOLICIT,
    OPT_MTU,
    OPT_PREFIX,
    OPT_RDNSS,
    OPT_SOURCE_LINK,
    OPT_TARGET_LINK,
    ROUTER_ADVERT,
    ROUTER_SOLICIT,
    Icmpv6View,
    seal,
)

REDIRECT = 137
HOP_LIMIT = 255
RA_MANAGED, RA_OTHER = 0x80, 0x40
PREFIX_ON_LINK, PREFIX_AUTONOMOUS = 0x80, 0x40
OPT_REDIRECTED, OPT_NONCE = 4, 14
LIFETIME_INFINITE = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class LinkAddress:
    """Source or target link-layer address."""

    kind: int
    """:data:`OPT_SOURCE_LINK` or :data:`OPT_TARGET_LINK`."""
    mac: bytes

    def __post_init__(self) -> None:
        if self.kind not in (OPT_SOURCE_LINK, OPT_TARGET_LINK):
            raise UsageError(f"a link-layer address is option 1 or 2, not {self.kind}")
        check_octets("a link-layer address", self.mac, 6)

    def body(self) -> bytes:
        return self.mac


@dataclass(frozen=True, slots=True)
class Prefix:
    """Prefix information (RFC 4861 section 4.6.2)."""

    prefix: bytes
    prefix_len: int = 64
    flags: int = PREFIX_ON_LINK | PREFIX_AUTONOMOUS
    valid: int = LIFETIME_INFINITE
    """Seconds."""
    preferred: int = LIFETIME_INFINITE
    """Seconds."""
    kind: ClassVar[int] = OPT_PREFIX

    def __post_init__(self) -> None:
        check_octets("a prefix", self.prefix, 16)
        if not 0 <= self.prefix_len <= 128:
            raise UsageError(f"a prefix length must be between 0 and 128, not {self.prefix_len}")
        check_uint("prefix flags", self.flags, 8)
        check_uint("a valid lifetime", self.valid, 32)
        check_uint("a preferred lifetime", self.preferred, 32)

    def body(self) -> bytes:
        return struct.pack("!BBIII", self.prefix_len, self.flags, self.valid, self.preferred, 0) + self.prefix


@dataclass(frozen=True, slots=True)
class Mtu:
    """MTU of the link."""

    mtu: int
    kind: ClassVar[int] = OPT_MTU

    def __post_init__(self) -> None:
        check_uint("an MTU", self.mtu, 32)

    def body(self) -> bytes:
        return struct.pack("!HI", 0, self.mtu)


@dataclass(frozen=True, slots=True)
class Rdnss:
    """Recursive DNS servers (RFC 8106 section 5.1)."""

    lifetime: int
    """Seconds."""
    addresses: tuple[bytes, ...]
    kind: ClassVar[int] = OPT_RDNSS

    def __post_init__(self) -> None:
        check_uint("an RDNSS lifetime", self.lifetime, 32)
        if not 0 < len(self.addresses) <= 127:
            raise UsageError(f"an RDNSS option holds 1 to 127 addresses, not {len(self.addresses)}")
        for address in self.addresses:
            check_octets("a DNS server's address", address, 16)

    def body(self) -> bytes:
        return struct.pack("!HI", 0, self.lifetime) + b"".join(self.addresses)


@dataclass(frozen=True, slots=True)
class RawOption:
    """Any other option, and a known one of a length its RFC does not know: to be ignored."""

    kind: int
    data: bytes
    """All behind kind and length: 6 bytes more than a multiple of eight."""

    def __post_init__(self) -> None:
        check_uint("an option kind", self.kind, 8)
        if len(self.data) % 8 != 6 or len(self.data) > 8 * 255 - 2:
            raise UsageError(f"an option's data must be 6 bytes more than a multiple of 8, not {len(self.data)}")
        if _decode(self.kind, self.data) is not None:
            raise UsageError(f"option {self.kind} has a type of its own")

    def body(self) -> bytes:
        return self.data


NdOption = LinkAddress | Prefix | Mtu | Rdnss | RawOption


def source_link(mac: bytes) -> LinkAddress:
    """Option: the sender's MAC address."""
    return LinkAddress(OPT_SOURCE_LINK, mac)


def target_link(mac: bytes) -> LinkAddress:
    """Option: the target's MAC address."""
    return LinkAddress(OPT_TARGET_LINK, mac)


def _decode(kind: int, data: bytes) -> NdOption | None:
    """A known option of its right length, or None."""
    size = len(data)
    if kind in (OPT_SOURCE_LINK, OPT_TARGET_LINK) and size == 6:
        return LinkAddress(kind, data)
    if kind == OPT_PREFIX and size == 30 and data[0] <= 128:
        prefix_len, flags, valid, preferred = struct.unpack_from("!BBII", data)
        return Prefix(data[14:], prefix_len, flags, valid, preferred)
    if kind == OPT_MTU and size == 6:
        return Mtu(int.from_bytes(data[2:], "big"))
    if kind == OPT_RDNSS and size >= 22 and size % 16 == 6:
        addresses = tuple(data[at : at + 16] for at in range(6, size, 16))
        return Rdnss(int.from_bytes(data[2:6], "big"), addresses)
    return None


def parse_options(data: Buffer) -> tuple[NdOption, ...]:
    """Options of a message.

    Raises :class:`Malformed`: ``nd-option-length`` (0, or past the message) or ``nd-option-count``.
    """
    out: list[NdOption] = []
    at = 0
    while at < len(data):
        size = 8 * data[at + 1] if at + 1 < len(data) else 0
        if not size or at + size > len(data):
            raise Malformed("nd-option-length", f"option {data[at]} of {size} bytes")
        if len(out) == ND_OPTIONS_MAX:
            raise Malformed("nd-option-count", f"more than {ND_OPTIONS_MAX}")
        kind, body = data[at], bytes(data[at + 2 : at + size])
        out.append(_decode(kind, body) or RawOption(kind, body))
        at += size
    return tuple(out)


class _Message:
    """What the five messages share: options behind a fixed body, and the header in front."""

    __slots__ = ()

    type: ClassVar[int]
    fixed_size: ClassVar[int]
    """Bytes before the options, ICMPv6 header included."""
    options: tuple[NdOption, ...]

    @classmethod
    def parse(
        cls, data: Buffer, src: bytes | None = None, dst: bytes | None = None, hop_limit: int = HOP_LIMIT
    ) -> Self:
        """Value of a whole ICMPv6 message; with both addresses it must be valid between them.

        Raises :class:`Malformed`: ``icmpv6-short``, ``icmpv6-checksum``, ``nd-type``, ``nd-short``, ``nd-hop-limit``,
        ``nd-code``, ``nd-target``, ``nd-source``, ``nd-option-length`` or ``nd-option-count``.
        """
        view = Icmpv6View(data)
        if view.type != cls.type:
            raise Malformed("nd-type", str(view.type))
        if len(view.buf) < cls.fixed_size:
            raise Malformed("nd-short", f"{len(view.buf)} of {cls.fixed_size} bytes")
        if src is not None and dst is not None and not view.checksum_ok(src, dst):
            raise Malformed("icmpv6-checksum")
        if hop_limit != HOP_LIMIT:
            raise Malformed("nd-hop-limit", str(hop_limit))
        if view.code:
            raise Malformed("nd-code", str(view.code))
        fixed = bytes(view.buf[: cls.fixed_size])
        value = cls._of(fixed, parse_options(view.buf[cls.fixed_size :]))
        if src is not None and dst is not None:
            value._check_addresses(src, dst)
        return value

    @classmethod
    def _of(cls, fixed: bytes, options: tuple[NdOption, ...]) -> Self:
        raise NotImplementedError

    def _check_addresses(self, src: bytes, dst: bytes) -> None:
        pass

    def _fixed(self) -> bytes:
        """All between checksum and options."""
        raise NotImplementedError

    def option(self, kind: int) -> NdOption | None:
        """The first well-formed option of a kind, or None."""
        for each in self.options:
            if each.kind == kind and not isinstance(each, RawOption):
                return each
        return None

    def link_address(self, kind: int) -> bytes | None:
        """MAC address of the source or target link-layer option, or None."""
        found = self.option(kind)
        return found.mac if isinstance(found, LinkAddress) else None

    def buffer_len(self) -> int:
        return self.fixed_size + sum(2 + len(each.body()) for each in self.options)

    def emit(self, src: bytes, dst: bytes) -> bytes:
        """The ICMPv6 message between two addresses, with its checksum. It travels with a hop limit of 255."""
        options = [bytes((each.kind, (2 + len(each.body())) // 8)) + each.body() for each in self.options]
        return seal(b"".join((bytes((self.type, 0, 0, 0)), self._fixed(), *options)), src, dst)


@dataclass(frozen=True, slots=True)
class RouterSolicit(_Message):
    """Is there a router?"""

    options: tuple[NdOption, ...] = ()
    type: ClassVar[int] = ROUTER_SOLICIT
    fixed_size: ClassVar[int] = HEADER_SIZE

    def __post_init__(self) -> None:
        check_payload("the options of a message", len(self.options), ND_OPTIONS_MAX)

    @classmethod
    def _of(cls, fixed: bytes, options: tuple[NdOption, ...]) -> RouterSolicit:
        return cls(options)

    def _check_addresses(self, src: bytes, dst: bytes) -> None:
        if src == IP6_ANY and self.option(OPT_SOURCE_LINK):
            raise Malformed("nd-source", "a link-layer address without a source address")

    def _fixed(self) -> bytes:
        return bytes(4)


@dataclass(frozen=True, slots=True)
class RouterAdvert(_Message):
    """Here is a router."""

    hop_limit: int = 64
    """For the host's packets; 0 says nothing."""
    flags: int = 0
    """:data:`RA_MANAGED`, :data:`RA_OTHER`, and the preference of RFC 4191 in bits 0x18."""
    lifetime: int = 1800
    """Seconds as a default router; 0 for none."""
    reachable_ms: int = 0
    retrans_ms: int = 0
    options: tuple[NdOption, ...] = ()
    type: ClassVar[int] = ROUTER_ADVERT
    fixed_size: ClassVar[int] = 16

    def __post_init__(self) -> None:
        check_uint("a hop limit", self.hop_limit, 8)
        check_uint("router advertisement flags", self.flags, 8)
        check_uint("a router lifetime", self.lifetime, 16)
        check_uint("a reachable time", self.reachable_ms, 32)
        check_uint("a retransmission time", self.retrans_ms, 32)
        check_payload("the options of a message", len(self.options), ND_OPTIONS_MAX)

    @classmethod
    def _of(cls, fixed: bytes, options: tuple[NdOption, ...]) -> RouterAdvert:
        return cls(*struct.unpack_from("!BBHII", fixed, 4), options)

    def _check_addresses(self, src: bytes, dst: bytes) -> None:
        if not is_link_local(src):
            raise Malformed("nd-source", "a router advertisement from no link-local address")

    @property
    def prefixes(self) -> tuple[Prefix, ...]:
        return tuple(each for each in self.options if isinstance(each, Prefix))

    def _fixed(self) -> bytes:
        return struct.pack("!BBHII", self.hop_limit, self.flags, self.lifetime, self.reachable_ms, self.retrans_ms)


def _target(fixed: bytes) -> bytes:
    target = fixed[8:24]
    if is_multicast(target):
        raise Malformed("nd-target", "multicast")
    return target


def _check_target(target: bytes, options: tuple[NdOption, ...]) -> None:
    check_octets("a target", target, 16)
    if is_multicast(target):
        raise UsageError("a target is no multicast address")
    check_payload("the options of a message", len(options), ND_OPTIONS_MAX)


@dataclass(frozen=True, slots=True)
class NeighbourSolicit(_Message):
    """Who has ``target``? From ``::`` it asks whether anyone has (duplicate address detection)."""

    target: bytes
    options: tuple[NdOption, ...] = ()
    type: ClassVar[int] = NEIGHBOUR_SOLICIT
    fixed_size: ClassVar[int] = 24

    def __post_init__(self) -> None:
        _check_target(self.target, self.options)

    @classmethod
    def _of(cls, fixed: bytes, options: tuple[NdOption, ...]) -> NeighbourSolicit:
        return cls(_target(fixed), options)

    def _check_addresses(self, src: bytes, dst: bytes) -> None:
        if src == IP6_ANY and (dst != solicited_node(self.target) or self.option(OPT_SOURCE_LINK)):
            raise Malformed("nd-source", "unspecified")

    def _fixed(self) -> bytes:
        return bytes(4) + self.target


@dataclass(frozen=True, slots=True)
class NeighbourAdvert(_Message):
    """``target`` is here."""

    target: bytes
    flags: int = FLAG_SOLICITED | FLAG_OVERRIDE
    """:data:`FLAG_ROUTER`, :data:`FLAG_SOLICITED`, :data:`FLAG_OVERRIDE`."""
    options: tuple[NdOption, ...] = ()
    type: ClassVar[int] = NEIGHBOUR_ADVERT
    fixed_size: ClassVar[int] = 24

    def __post_init__(self) -> None:
        _check_target(self.target, self.options)
        if self.flags & ~_ADVERT_FLAGS:
            raise UsageError(f"a neighbour advertisement has three flags, not {self.flags:#x}")

    @classmethod
    def _of(cls, fixed: bytes, options: tuple[NdOption, ...]) -> NeighbourAdvert:
        return cls(_target(fixed), int.from_bytes(fixed[4:8], "big") & _ADVERT_FLAGS, options)

    def _check_addresses(self, src: bytes, dst: bytes) -> None:
        if is_multicast(dst) and self.flags & FLAG_SOLICITED:
            raise Malformed("nd-source", "a solicited answer to a multicast address")

    def _fixed(self) -> bytes:
        return self.flags.to_bytes(4, "big") + self.target


_ADVERT_FLAGS = FLAG_ROUTER | FLAG_SOLICITED | FLAG_OVERRIDE


@dataclass(frozen=True, slots=True)
class Redirect(_Message):
    """``destination`` is better reached through ``target``."""

    target: bytes
    destination: bytes
    options: tuple[NdOption, ...] = ()
    type: ClassVar[int] = REDIRECT
    fixed_size: ClassVar[int] = 40

    def __post_init__(self) -> None:
        _check_target(self.target, self.options)
        check_octets("a destination", self.destination, 16)

    @classmethod
    def _of(cls, fixed: bytes, options: tuple[NdOption, ...]) -> Redirect:
        return cls(_target(fixed), fixed[24:40], options)

    def _check_addresses(self, src: bytes, dst: bytes) -> None:
        if not is_link_local(src):
            raise Malformed("nd-source", "a redirect from no link-local address")

    def _fixed(self) -> bytes:
        return bytes(4) + self.target + self.destination


NdMessage = RouterSolicit | RouterAdvert | NeighbourSolicit | NeighbourAdvert | Redirect
MESSAGES: dict[int, type[NdMessage]] = {
    each.type: each for each in (RouterSolicit, RouterAdvert, NeighbourSolicit, NeighbourAdvert, Redirect)
}
"""Class of each ICMPv6 type of neighbour discovery."""


def parse(data: Buffer, src: bytes | None = None, dst: bytes | None = None, hop_limit: int = HOP_LIMIT) -> NdMessage:
    """The neighbour-discovery message in an ICMPv6 message. Raises :class:`Malformed` as the classes do."""
    message = MESSAGES.get(Icmpv6View(data).type)
    if message is None:
        raise Malformed("nd-type", str(data[0]))
    return message.parse(data, src, dst, hop_limit)
