"""TCP segments and options (RFC 9293, RFC 7323, RFC 2018, RFC 2883): fields, checked view and value type."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from ..compiled.memory import put_u8_field, put_u16_field, put_u32_field, u8_field, u16_field, u32_field
from ..errors import Malformed, UsageError
from .base import Buffer, Uint, View, check_payload, check_uint
from .checksum import transport_checksum

HEADER_SIZE = 20
PROTOCOL = 6
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80
OPT_END, OPT_NOP, OPT_MSS, OPT_WSCALE, OPT_SACK_PERMITTED, OPT_SACK, OPT_TIMESTAMPS = 0, 1, 2, 3, 4, 5, 8
OPTIONS_MAX, SACK_BLOCKS_MAX = 40, 4
FLAG_NAMES = {SYN: "SYN", FIN: "FIN", RST: "RST", PSH: "PSH", ACK: "ACK", URG: "URG", ECE: "ECE", CWR: "CWR"}

get_srcport, put_srcport = u16_field(0), put_u16_field(0)
get_dstport, put_dstport = u16_field(2), put_u16_field(2)
get_seq, put_seq = u32_field(4), put_u32_field(4)
get_ack, put_ack = u32_field(8), put_u32_field(8)
get_data_offset, put_data_offset = u8_field(12), put_u8_field(12)  # words << 4 | reserved
get_flags, put_flags = u8_field(13), put_u8_field(13)
get_window, put_window = u16_field(14), put_u16_field(14)
get_checksum, put_checksum = u16_field(16), put_u16_field(16)
get_urgent, put_urgent = u16_field(18), put_u16_field(18)


class TcpView(View):
    """A TCP segment. Raises ``tcp-short`` or ``tcp-data-offset``; the inside of the options is not looked at."""

    __slots__ = ("header_len",)

    srcport = Uint(0, 2)
    dstport = Uint(2, 2)
    seq = Uint(4, 4)
    ack = Uint(8, 4)
    window = Uint(14, 2)
    checksum = Uint(16, 2)
    urgent = Uint(18, 2)

    def _check(self) -> None:
        self._need(HEADER_SIZE, "tcp-short")
        self.header_len = 4 * (self.buf[12] >> 4)
        """Header bytes, options included."""
        if not HEADER_SIZE <= self.header_len <= len(self.buf):
            raise Malformed("tcp-data-offset", f"{self.header_len} of {len(self.buf)} bytes")

    @property
    def flags(self) -> int:
        """The twelve flag bits, reserved ones included, as Wireshark's ``tcp.flags``."""
        return (self.buf[12] & 15) << 8 | self.buf[13]

    @property
    def options(self) -> memoryview:
        """Option bytes, padding included."""
        return self.buf[HEADER_SIZE : self.header_len]

    @property
    def payload(self) -> memoryview:
        return self.buf[self.header_len :]

    def checksum_ok(self, src: bytes, dst: bytes) -> bool:
        return transport_checksum(src, dst, PROTOCOL, self.buf) == 0


@dataclass(frozen=True, slots=True)
class TcpOptions:
    """The options of a segment, typed, with the order they stand in.

    A known option that has another length than its RFC says, or that comes a second time, is kept in
    ``unknown`` and means nothing, as in Linux.
    """

    mss: int | None = None
    """Maximum segment size (RFC 9293 section 3.7.1)."""
    wscale: int | None = None
    """Window scale (RFC 7323 section 2); above 14 the receiver uses 14."""
    sack_permitted: bool = False
    sack: tuple[tuple[int, int], ...] = ()
    """Up to four ``(left edge, right edge)`` blocks (RFC 2018, RFC 2883)."""
    timestamps: tuple[int, int] | None = None
    """``(TSval, TSecr)`` (RFC 7323 section 3)."""
    unknown: tuple[tuple[int, bytes], ...] = ()
    """``(kind, data)`` of every other option, in the order of the layout."""
    layout: tuple[int, ...] = ()
    """Kinds in wire order, with no-operations (1) and the end mark (0), which stands last and is filled up with zeros.
    Left empty, it becomes the order Linux uses."""

    def __post_init__(self) -> None:
        if self.mss is not None:
            check_uint("an MSS", self.mss, 16)
        if self.wscale is not None:
            check_uint("a window scale", self.wscale, 8)
        check_payload("a list of SACK blocks", len(self.sack), SACK_BLOCKS_MAX)
        for pair in (*self.sack, *((self.timestamps,) if self.timestamps else ())):
            for number in pair:
                check_uint("a SACK edge or a timestamp", number, 32)
        for kind, data in self.unknown:
            if not OPT_NOP < kind < 256:
                raise UsageError(f"a TCP option's kind must be between 2 and 255, not {kind}")
            name = _decode_option(kind, data)[0]
            if name and kind not in self._known_kinds():
                raise UsageError(f"TCP option {kind} goes into {name}")
        layout = self.layout or self._linux_layout()
        if sorted(kind for kind in layout if kind > OPT_NOP) != sorted(self._kinds()):
            raise UsageError(f"the layout {layout} does not name each of the options {self._kinds()} once")
        if OPT_END in layout[:-1]:
            raise UsageError("an end mark stands last in a layout")
        object.__setattr__(self, "layout", layout)
        object.__setattr__(self, "unknown", self._unknown_in_order())
        size = len(self._pack())
        if size % 4 and layout[-1] != OPT_END:
            object.__setattr__(self, "layout", (*layout, OPT_END))
        check_payload("TCP options", size, OPTIONS_MAX)

    def _known_kinds(self) -> list[int]:
        known = (
            (OPT_MSS, self.mss is not None),
            (OPT_SACK_PERMITTED, self.sack_permitted),
            (OPT_TIMESTAMPS, self.timestamps is not None),
            (OPT_WSCALE, self.wscale is not None),
            (OPT_SACK, bool(self.sack)),
        )
        return [kind for kind, there in known if there]

    def _unknown_in_order(self) -> tuple[tuple[int, bytes], ...]:
        known, waiting = self._known_kinds(), list(self.unknown)
        out = []
        for kind in self.layout:
            if kind in known:
                known.remove(kind)
            elif kind > OPT_NOP:
                option = next(each for each in waiting if each[0] == kind)
                waiting.remove(option)
                out.append(option)
        return tuple(out)

    def _kinds(self) -> list[int]:
        return self._known_kinds() + [kind for kind, _ in self.unknown]

    def _linux_layout(self) -> tuple[int, ...]:
        out: list[int] = []
        for kind in self._kinds():
            if kind == OPT_TIMESTAMPS and not self.sack_permitted or kind == OPT_SACK:
                out += (OPT_NOP, OPT_NOP)
            elif kind == OPT_SACK_PERMITTED and self.timestamps is None:
                out += (OPT_NOP, OPT_NOP)
            elif kind == OPT_WSCALE:
                out.append(OPT_NOP)
            out.append(kind)
        return tuple(out)

    @classmethod
    def parse(cls, data: Buffer) -> TcpOptions:
        """Options of the bytes between header and payload.

        Raises :class:`Malformed` (``tcp-option-length``) for a length below 2 or past the header.
        """
        known: dict[str, Any] = {}
        unknown: list[tuple[int, bytes]] = []
        layout: list[int] = []
        at = 0
        while at < len(data):
            kind = data[at]
            layout.append(kind)
            if kind == OPT_END:
                break
            if kind == OPT_NOP:
                at += 1
                continue
            size = data[at + 1] if at + 1 < len(data) else 0
            if size < 2 or at + size > len(data):
                raise Malformed("tcp-option-length", f"kind {kind}, length {size}")
            body = bytes(data[at + 2 : at + size])
            name, value = _decode_option(kind, body)
            if name and name not in known:
                known[name] = value
            else:
                unknown.append((kind, body))
            at += size
        return cls(**known, unknown=tuple(unknown), layout=tuple(layout))

    def _pack(self) -> bytes:
        """Options in layout order, not padded."""
        bodies: dict[int, list[bytes]] = {}
        if self.mss is not None:
            bodies[OPT_MSS] = [self.mss.to_bytes(2, "big")]
        if self.wscale is not None:
            bodies[OPT_WSCALE] = [bytes((self.wscale,))]
        if self.sack_permitted:
            bodies[OPT_SACK_PERMITTED] = [b""]
        if self.sack:
            bodies[OPT_SACK] = [b"".join(struct.pack("!II", left, right) for left, right in self.sack)]
        if self.timestamps is not None:
            bodies[OPT_TIMESTAMPS] = [struct.pack("!II", *self.timestamps)]
        for kind, data in self.unknown:
            bodies.setdefault(kind, []).append(data)
        out = bytearray()
        for kind in self.layout:
            if kind <= OPT_NOP:
                out.append(kind)
                continue
            body = bodies[kind].pop(0)
            out += bytes((kind, min(2 + len(body), 255))) + body
        return bytes(out)

    def buffer_len(self) -> int:
        """Bytes in the header, padding included."""
        return len(self.emit())

    def emit(self) -> bytes:
        """Option bytes, padded with zeros to a multiple of four."""
        data = self._pack()
        return data + bytes(-len(data) % 4)


def _decode_option(kind: int, body: bytes) -> tuple[str, Any]:
    """Field of :class:`TcpOptions` and its value, or ``("", None)`` when it is none we know at that length."""
    if kind == OPT_MSS and len(body) == 2:
        return "mss", int.from_bytes(body, "big")
    if kind == OPT_WSCALE and len(body) == 1:
        return "wscale", body[0]
    if kind == OPT_SACK_PERMITTED and not body:
        return "sack_permitted", True
    if kind == OPT_SACK and body and len(body) % 8 == 0:
        return "sack", tuple(struct.iter_unpack("!II", body))
    if kind == OPT_TIMESTAMPS and len(body) == 8:
        return "timestamps", struct.unpack("!II", body)
    return "", None


NO_OPTIONS = TcpOptions()


@dataclass(frozen=True, slots=True)
class Tcp:
    """A TCP segment."""

    srcport: int
    dstport: int
    seq: int = 0
    ack: int = 0
    flags: int = ACK
    """Bits such as ``SYN | ACK``; twelve of them, the reserved ones above :data:`CWR`."""
    window: int = 65535
    """As it stands in the header, not scaled."""
    urgent: int = 0
    options: TcpOptions = NO_OPTIONS
    payload: bytes = b""

    def __post_init__(self) -> None:
        check_uint("a source port", self.srcport, 16)
        check_uint("a destination port", self.dstport, 16)
        check_uint("a sequence number", self.seq, 32)
        check_uint("an acknowledgement number", self.ack, 32)
        check_uint("TCP flags", self.flags, 12)
        check_uint("a window", self.window, 16)
        check_uint("an urgent pointer", self.urgent, 16)

    @classmethod
    def parse(cls, data: Buffer, src: bytes | None = None, dst: bytes | None = None) -> Tcp:
        """Value of a segment's bytes; the checksum is verified when both addresses are given.

        Raises :class:`Malformed` as the view does, ``tcp-checksum`` or ``tcp-option-length``.
        """
        view = TcpView(data)
        if src is not None and dst is not None and not view.checksum_ok(src, dst):
            raise Malformed("tcp-checksum")
        return cls(
            srcport=view.srcport,
            dstport=view.dstport,
            seq=view.seq,
            ack=view.ack,
            flags=view.flags,
            window=view.window,
            urgent=view.urgent,
            options=TcpOptions.parse(view.options),
            payload=bytes(view.payload),
        )

    @property
    def seq_len(self) -> int:
        """Sequence numbers the segment takes: its data, SYN and FIN (SEG.LEN of RFC 9293)."""
        return len(self.payload) + bool(self.flags & SYN) + bool(self.flags & FIN)

    def buffer_len(self) -> int:
        return HEADER_SIZE + self.options.buffer_len() + len(self.payload)

    def emit(self, src: bytes, dst: bytes) -> bytes:
        """The segment between two addresses, with its checksum."""
        options = self.options.emit()
        words = (HEADER_SIZE + len(options)) // 4
        head = struct.pack(
            "!HHIIHHHH",
            self.srcport,
            self.dstport,
            self.seq,
            self.ack,
            words << 12 | self.flags,
            self.window,
            0,
            self.urgent,
        )
        data = head + options + self.payload
        return data[:16] + transport_checksum(src, dst, PROTOCOL, data).to_bytes(2, "big") + data[18:]


def flags_text(flags: int) -> str:
    """Names of the flags set, as in ``"SYN, ACK"``; empty when none is."""
    return ", ".join(name for bit, name in FLAG_NAMES.items() if flags & bit)
