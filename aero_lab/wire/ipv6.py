"""IPv6 and its extension headers (RFC 8200): fields, checked view and value type."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from ..compiled.memory import (
    put_u8_field,
    put_u16_field,
    put_u32_field,
    put_u64_field,
    u8_field,
    u16_field,
    u32_field,
    u64_field,
)
from ..errors import Malformed, UsageError
from ..limits import IPV6_EXTENSIONS_MAX
from .base import Buffer, Octets, Uint, View, check_octets, check_payload, check_uint

HEADER_SIZE = 40
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION, NO_NEXT = 0, 43, 44, 60, 59
EXTENSIONS = (HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION)
OPT_PAD1, OPT_PADN, OPT_ROUTER_ALERT = 0, 1, 5
ROUTER_ALERT = (OPT_ROUTER_ALERT, b"\0\0")  # for MLD (RFC 2711)

get_version_class_flow, put_version_class_flow = u32_field(0), put_u32_field(0)
get_payload_length, put_payload_length = u16_field(4), put_u16_field(4)
get_next_header, put_next_header = u8_field(6), put_u8_field(6)
get_hop_limit, put_hop_limit = u8_field(7), put_u8_field(7)
# An address is two numbers in kernels: its upper and its lower 64 bits, as signed int64.
get_src_hi, put_src_hi = u64_field(8), put_u64_field(8)
get_src_lo, put_src_lo = u64_field(16), put_u64_field(16)
get_dst_hi, put_dst_hi = u64_field(24), put_u64_field(24)
get_dst_lo, put_dst_lo = u64_field(32), put_u64_field(32)


class Ipv6View(View):
    """An IPv6 packet; bytes behind its payload length (Ethernet padding) are cut off.

    Raises ``ipv6-short``, ``ipv6-version`` or ``ipv6-payload-length``. Extension headers are part of the payload here.
    """

    __slots__ = ()

    payload_length = Uint(4, 2)
    next_header = Uint(6, 1)
    hop_limit = Uint(7, 1)
    src = Octets(8, 16)
    dst = Octets(24, 16)

    def _check(self) -> None:
        self._check_header()
        if HEADER_SIZE + self.payload_length > len(self.buf):
            raise Malformed("ipv6-payload-length", f"{self.payload_length} of {len(self.buf) - HEADER_SIZE} bytes")
        self.buf = self.buf[: HEADER_SIZE + self.payload_length]

    def _check_header(self) -> None:
        self._need(HEADER_SIZE, "ipv6-short")
        if self.buf[0] >> 4 != 6:
            raise Malformed("ipv6-version", str(self.buf[0] >> 4))

    @property
    def traffic_class(self) -> int:
        return (self.buf[0] & 15) << 4 | self.buf[1] >> 4

    @property
    def flow_label(self) -> int:
        return int.from_bytes(self.buf[1:4], "big") & 0xFFFFF

    @property
    def payload(self) -> memoryview:
        return self.buf[HEADER_SIZE:]


class QuotedIpv6View(Ipv6View):
    """The start of a packet as an ICMPv6 error quotes it: the payload may be cut short of its length."""

    __slots__ = ()

    def _check(self) -> None:
        self._check_header()
        self.buf = self.buf[: HEADER_SIZE + self.payload_length]


@dataclass(frozen=True, slots=True)
class Options:
    """Hop-by-hop or destination options (RFC 8200 sections 4.3 and 4.6)."""

    kind: int
    """:data:`HOP_BY_HOP` or :data:`DESTINATION`."""
    options: tuple[tuple[int, bytes], ...] = ()
    """``(type, data)`` in order. Padding stands among them, Pad1 as ``(0, b"")``; what is missing to a multiple of
    eight bytes is added at the end."""

    def __post_init__(self) -> None:
        if self.kind not in (HOP_BY_HOP, DESTINATION):
            raise UsageError(f"options stand in a hop-by-hop or a destination header, not in {self.kind}")
        for kind, data in self.options:
            check_uint("an IPv6 option type", kind, 8)
            check_payload("an IPv6 option", len(data), 0 if kind == OPT_PAD1 else 255)
        missing = -self.buffer_len() % 8
        if missing:
            pad = (OPT_PAD1, b"") if missing == 1 else (OPT_PADN, bytes(missing - 2))
            object.__setattr__(self, "options", (*self.options, pad))
        check_payload("an options header", self.buffer_len(), 8 * 256)

    @classmethod
    def parse(cls, kind: int, data: Buffer) -> Options:
        """Value of a whole header's bytes. Raises :class:`Malformed`: ``ipv6-option-length``."""
        out: list[tuple[int, bytes]] = []
        at = 2
        while at < len(data):
            if data[at] == OPT_PAD1:
                out.append((OPT_PAD1, b""))
                at += 1
                continue
            end = at + 2 + (data[at + 1] if at + 1 < len(data) else len(data))
            if end > len(data):
                raise Malformed("ipv6-option-length", f"option {data[at]}")
            out.append((data[at], bytes(data[at + 2 : end])))
            at = end
        return cls(kind, tuple(out))

    def buffer_len(self) -> int:
        return 2 + sum(1 if kind == OPT_PAD1 else 2 + len(data) for kind, data in self.options)

    def emit(self, next_header: int) -> bytes:
        body = b"".join(b"\0" if kind == OPT_PAD1 else bytes((kind, len(data))) + data for kind, data in self.options)
        return bytes((next_header, self.buffer_len() // 8 - 1)) + body


@dataclass(frozen=True, slots=True)
class Routing:
    """A routing header (RFC 8200 section 4.4), uninterpreted."""

    type: int
    segments_left: int
    data: bytes
    """All behind the first four bytes; 4 bytes more than a multiple of eight."""

    kind = ROUTING

    def __post_init__(self) -> None:
        check_uint("a routing type", self.type, 8)
        check_uint("segments left", self.segments_left, 8)
        if len(self.data) % 8 != 4 or len(self.data) > 8 * 256 - 4:
            raise UsageError(f"routing data must be 4 bytes more than a multiple of 8, not {len(self.data)}")

    @classmethod
    def parse(cls, data: Buffer) -> Routing:
        return cls(data[2], data[3], bytes(data[4:]))

    def buffer_len(self) -> int:
        return 4 + len(self.data)

    def emit(self, next_header: int) -> bytes:
        return bytes((next_header, self.buffer_len() // 8 - 1, self.type, self.segments_left)) + self.data


@dataclass(frozen=True, slots=True)
class Fragment:
    """A fragment header (RFC 8200 section 4.5)."""

    offset: int
    """In bytes, a multiple of 8."""
    more: bool
    id: int

    kind = FRAGMENT

    def __post_init__(self) -> None:
        if self.offset & 7 or not 0 <= self.offset < 1 << 16:
            raise UsageError(f"a fragment offset must be a multiple of 8 below 65536, not {self.offset}")
        check_uint("a fragment id", self.id, 32)

    @classmethod
    def parse(cls, data: Buffer) -> Fragment:
        word = int.from_bytes(data[2:4], "big")
        return cls(word & 0xFFF8, bool(word & 1), int.from_bytes(data[4:8], "big"))

    def buffer_len(self) -> int:
        return 8

    def emit(self, next_header: int) -> bytes:
        return struct.pack("!BBHI", next_header, 0, self.offset | self.more, self.id)


Extension = Options | Routing | Fragment


def parse_extensions(next_header: int, data: Buffer) -> tuple[tuple[Extension, ...], int, int]:
    """Walk the extension headers at the start of a payload.

    Returns ``(headers, protocol behind them, their size)``. The walk ends at a fragment header whose offset is not 0:
    what follows is a piece of something.

    Raises :class:`Malformed`: ``ipv6-extension-short``, ``ipv6-extension-order`` (hop-by-hop options not first),
    ``ipv6-extension-count`` or ``ipv6-option-length``.
    """
    out: list[Extension] = []
    at = 0
    while next_header in EXTENSIONS:
        if len(out) == IPV6_EXTENSIONS_MAX:
            raise Malformed("ipv6-extension-count", f"more than {IPV6_EXTENSIONS_MAX}")
        if next_header == HOP_BY_HOP and at:
            raise Malformed("ipv6-extension-order", "hop-by-hop options are not first")
        if at + 8 > len(data):
            raise Malformed("ipv6-extension-short", f"header {next_header}")
        size = 8 if next_header == FRAGMENT else 8 * (data[at + 1] + 1)
        if at + size > len(data):
            raise Malformed("ipv6-extension-short", f"header {next_header} of {size} bytes")
        raw = data[at : at + size]
        if next_header == ROUTING:
            out.append(Routing.parse(raw))
        elif next_header == FRAGMENT:
            out.append(Fragment.parse(raw))
        else:
            out.append(Options.parse(next_header, raw))
        next_header, at = raw[0], at + size
        last = out[-1]
        if isinstance(last, Fragment) and last.offset:
            break
    return tuple(out), next_header, at


@dataclass(frozen=True, slots=True)
class Ipv6:
    """An IPv6 packet or fragment."""

    src: bytes
    dst: bytes
    next_header: int
    """Protocol of the payload, behind all extension headers."""
    payload: bytes = b""
    hop_limit: int = 64
    traffic_class: int = 0
    flow_label: int = 0
    extensions: tuple[Extension, ...] = ()

    def __post_init__(self) -> None:
        check_octets("an IPv6 source", self.src, 16)
        check_octets("an IPv6 destination", self.dst, 16)
        check_uint("a next header", self.next_header, 8)
        check_uint("a hop limit", self.hop_limit, 8)
        check_uint("a traffic class", self.traffic_class, 8)
        check_uint("a flow label", self.flow_label, 20)
        check_payload("a chain of extension headers", len(self.extensions), IPV6_EXTENSIONS_MAX)
        check_payload("an IPv6 payload", self.buffer_len() - HEADER_SIZE, 0xFFFF)
        if any(each.kind == HOP_BY_HOP for each in self.extensions[1:]):
            raise UsageError("hop-by-hop options come first")
        piece = [isinstance(each, Fragment) and each.offset > 0 for each in self.extensions]
        if any(piece[:-1]):
            raise UsageError("nothing but payload follows the fragment header of a later fragment")
        if self.next_header in EXTENSIONS and not any(piece):
            raise UsageError("extension headers go into extensions, not into the payload")

    @classmethod
    def parse(cls, data: Buffer) -> Ipv6:
        """Value of a packet's bytes; padding behind it is ignored.

        Raises :class:`Malformed` as the view and :func:`parse_extensions` do.
        """
        return cls._of(Ipv6View(data))

    @classmethod
    def parse_quoted(cls, data: Buffer) -> Ipv6:
        """Value of the start of a packet, as ICMPv6 errors quote it: as much payload as there is."""
        return cls._of(QuotedIpv6View(data))

    @classmethod
    def _of(cls, view: Ipv6View) -> Ipv6:
        extensions, protocol, size = parse_extensions(view.next_header, view.payload)
        return cls(
            src=view.src,
            dst=view.dst,
            next_header=protocol,
            payload=bytes(view.payload[size:]),
            hop_limit=view.hop_limit,
            traffic_class=view.traffic_class,
            flow_label=view.flow_label,
            extensions=extensions,
        )

    @property
    def fragment(self) -> Fragment | None:
        """The first fragment header, or None."""
        return next((each for each in self.extensions if isinstance(each, Fragment)), None)

    @property
    def is_fragment(self) -> bool:
        """Whether the payload is a piece only; false for atomic fragments (RFC 6946)."""
        return any(isinstance(each, Fragment) and (each.more or each.offset > 0) for each in self.extensions)

    def buffer_len(self) -> int:
        """Bytes of the packet, header included."""
        return HEADER_SIZE + sum(each.buffer_len() for each in self.extensions) + len(self.payload)

    def emit(self) -> bytes:
        """The packet."""
        following = [each.kind for each in self.extensions] + [self.next_header]
        first = 6 << 28 | self.traffic_class << 20 | self.flow_label
        head = struct.pack("!IHBB", first, self.buffer_len() - HEADER_SIZE, following[0], self.hop_limit)
        chain = [each.emit(behind) for each, behind in zip(self.extensions, following[1:])]
        return b"".join((head, self.src, self.dst, *chain, self.payload))

    def fragments(self, mtu: int, id: int) -> list[Ipv6]:
        """This packet cut into pieces that fit ``mtu``; its extension headers go into each (hop-by-hop, routing)."""
        if self.buffer_len() <= mtu:
            return [self]
        size = (mtu - self.buffer_len() + len(self.payload) - Fragment(0, True, id).buffer_len()) & ~7
        if size < 8 or self.fragment:
            raise UsageError(f"no fragment of this packet fits an MTU of {mtu}")
        out = []
        for at in range(0, len(self.payload), size):
            header = Fragment(at, at + size < len(self.payload), id)
            piece = self.payload[at : at + size]
            out.append(replace(self, payload=piece, extensions=(*self.extensions, header)))
        return out
