"""What DNS records hold: names and the RDATA of the common types (RFC 1035, RFC 2782, RFC 3596, RFC 6891).

A name is a ``str`` without trailing dot, the root being ``""``. Bytes outside printable ASCII, dots and
backslashes inside a label are written ``\\DDD`` (RFC 1035 section 5.1), so every name has a text and none
fails to decode. Case is kept; compare with ``lower()``.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from ..errors import Malformed, UsageError
from ..limits import DNS_LABEL_MAX, DNS_NAME_MAX, DNS_POINTERS_MAX
from .base import check_octets, check_payload, check_uint

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, SRV, OPT, ANY = 1, 2, 5, 6, 12, 15, 16, 28, 33, 41, 255
TYPE_NAMES = {A: "A", NS: "NS", CNAME: "CNAME", SOA: "SOA", PTR: "PTR", MX: "MX", TXT: "TXT", AAAA: "AAAA", SRV: "SRV"}
TYPE_NAMES |= {OPT: "OPT", ANY: "ANY"}
IN, CLASS_MASK = 1, 0x7FFF  # multicast DNS uses the upper bit of a class as a flag (RFC 6762 section 10.2)
MESSAGE_HEADER_SIZE = 12
_ESCAPE = re.compile(rb"\\([0-9]{3})")
_PLAIN = frozenset(range(0x21, 0x7F)) - frozenset(b".\\")
# Nearly all names need no escape; these find out in one go.
_PLAIN_LABEL = re.compile(rb"[!-\-/-\[\]-~]+")
_PLAIN_NAME = re.compile(rf"[!-\-/-\[\]-~]{{1,{DNS_LABEL_MAX}}}(?:\.[!-\-/-\[\]-~]{{1,{DNS_LABEL_MAX}}})*")


def label_text(label: bytes) -> str:
    """Text of one label, everything but plain printable ASCII as ``\\DDD``."""
    if _PLAIN_LABEL.fullmatch(label):
        return label.decode("ascii")
    return "".join(chr(byte) if byte in _PLAIN else f"\\{byte:03}" for byte in label)


def name_labels(name: str) -> tuple[bytes, ...]:
    """Labels of a name's text. Raises :class:`UsageError` for one that cannot be sent."""
    if len(name) <= DNS_NAME_MAX - 2 and _PLAIN_NAME.fullmatch(name):
        return tuple(name.encode("ascii").split(b"."))
    try:
        raw = name.encode("ascii")
        labels = tuple(_ESCAPE.sub(lambda m: bytes((int(m[1]),)), part) for part in raw.split(b".")) if raw else ()
    except ValueError:
        raise UsageError(f"not a DNS name: {name!r}") from None
    if any(not 0 < len(label) <= DNS_LABEL_MAX for label in labels) or any(
        label_text(label) != text for label, text in zip(labels, name.split(".") if name else ())
    ):
        raise UsageError(f"not a DNS name: {name!r}")
    if sum(1 + len(label) for label in labels) + 1 > DNS_NAME_MAX:
        raise UsageError(f"a DNS name is at most {DNS_NAME_MAX} bytes long: {name!r}")
    return labels


def reverse_name(address: bytes) -> str:
    """Name that a PTR query asks for (RFC 1035 section 3.5, RFC 3596 section 2.5)."""
    if len(address) == 4:
        return ".".join(str(byte) for byte in reversed(address)) + ".in-addr.arpa"
    return ".".join(reversed(address.hex())) + ".ip6.arpa"


class NameReader:
    """Reads names of one message and remembers them by offset, so that hostile pointers cost no more than bytes do."""

    __slots__ = ("_known", "data")

    def __init__(self, data: memoryview):
        self.data = data
        self._known: dict[int, tuple[bytes, ...]] = {}

    def read(self, at: int) -> tuple[str, int]:
        """``(name, offset behind it)``.

        A pointer must point before the label run it ends, so loops cannot be. Raises :class:`Malformed`:
        ``dns-name-short``, ``dns-label-type``, ``dns-pointer`` or ``dns-name-length``.
        """
        labels, end = self._run(at)
        if sum(1 + len(label) for label in labels) + 1 > DNS_NAME_MAX:
            raise Malformed("dns-name-length", f"at {at}")
        return ".".join(map(label_text, labels)), end

    def _run(self, start: int) -> tuple[tuple[bytes, ...], int]:
        data, at, end = self.data, start, 0
        runs: list[tuple[int, bytes]] = []
        tail: tuple[bytes, ...] = ()
        octets, pointers = 1, 0
        while True:
            if at >= len(data):
                raise Malformed("dns-name-short", f"at {start}")
            size = data[at]
            if size >= 0xC0:
                if at + 2 > len(data):
                    raise Malformed("dns-name-short", f"at {start}")
                target = (size & 0x3F) << 8 | data[at + 1]
                end = end or at + 2
                pointers += 1
                if not MESSAGE_HEADER_SIZE <= target < start or pointers > DNS_POINTERS_MAX:
                    raise Malformed("dns-pointer", f"at {at} to {target}")
                if target in self._known:
                    tail = self._known[target]
                    break
                start = at = target
                continue
            if size > DNS_LABEL_MAX:
                raise Malformed("dns-label-type", f"{size:#04x} at {at}")
            if size == 0:
                end = end or at + 1
                break
            if at + 1 + size > len(data):
                raise Malformed("dns-name-short", f"at {start}")
            octets += 1 + size
            if octets > DNS_NAME_MAX:
                raise Malformed("dns-name-length", f"at {start}")
            runs.append((at, bytes(data[at + 1 : at + 1 + size])))
            at += 1 + size
        for offset, label in reversed(runs):
            tail = (label, *tail)
            self._known[offset] = tail
        return tail, end


class NameWriter:
    """Builds a message and compresses names against what already stands in it (RFC 1035 section 4.1.4)."""

    __slots__ = ("_compress", "_offsets", "data")

    def __init__(self, compress: bool = True) -> None:
        self.data = bytearray()
        self._compress = compress
        self._offsets: dict[tuple[bytes, ...], int] = {}

    def name(self, name: str, compress: bool = True) -> None:
        """Append a name."""
        labels = name_labels(name)
        if not self._compress:
            self.data += b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
            return
        for i, label in enumerate(labels):
            rest = labels[i:]
            if compress and rest in self._offsets:
                self.data += (0xC000 | self._offsets[rest]).to_bytes(2, "big")
                return
            if len(self.data) < 0x4000:
                self._offsets.setdefault(rest, len(self.data))
            self.data += bytes((len(label),)) + label
        self.data.append(0)


@dataclass(frozen=True, slots=True)
class Mx:
    """Mail exchange."""

    preference: int
    exchange: str


@dataclass(frozen=True, slots=True)
class Srv:
    """Service location (RFC 2782)."""

    priority: int
    weight: int
    port: int
    target: str


@dataclass(frozen=True, slots=True)
class Soa:
    """Start of authority."""

    mname: str
    rname: str
    serial: int
    refresh: int
    retry: int
    expire: int
    minimum: int


Options = tuple[tuple[int, bytes], ...]
Rdata = bytes | str | tuple[bytes, ...] | Mx | Srv | Soa | Options
"""A, AAAA: packed address; CNAME, NS, PTR: name; TXT: strings; OPT: ``(code, data)`` pairs; all others: bytes."""

_NAME_TYPES = (NS, CNAME, PTR)


def is_typed(rtype: int, cls: int) -> bool:
    """Whether the RDATA of such a record is decoded; OPT uses its class for something else."""
    return rtype == OPT or (cls & CLASS_MASK == IN and rtype in (A, AAAA, MX, SRV, SOA, TXT, *_NAME_TYPES))


def decode(rtype: int, cls: int, reader: NameReader, at: int, end: int) -> Rdata:
    """RDATA between two offsets of a message. Raises :class:`Malformed`: ``dns-rdata``, or as names do."""
    raw = bytes(reader.data[at:end])
    if not is_typed(rtype, cls):
        return raw
    if rtype in (A, AAAA):
        if len(raw) != (4 if rtype == A else 16):
            raise Malformed("dns-rdata", f"address of {len(raw)} bytes")
        return raw
    if rtype == TXT:
        return _strings(raw)
    if rtype == OPT:
        return _options(raw)
    if rtype in _NAME_TYPES:
        name, at = reader.read(at)
        value: Rdata = name
    elif rtype == SOA:
        mname, at = reader.read(at)
        rname, at = reader.read(at)
        if end - at != 20:
            raise Malformed("dns-rdata", "SOA")
        value = Soa(mname, rname, *struct.unpack_from("!5I", reader.data, at))
        at += 20
    else:
        fixed = 2 if rtype == MX else 6
        if len(raw) <= fixed:
            raise Malformed("dns-rdata", TYPE_NAMES[rtype])
        name, at = reader.read(at + fixed)
        value = Mx(int.from_bytes(raw[:2], "big"), name) if rtype == MX else Srv(*struct.unpack_from("!HHH", raw), name)
    if at != end:
        raise Malformed("dns-rdata", f"{TYPE_NAMES[rtype]} ends at {at}, not at {end}")
    return value


def _strings(raw: bytes) -> tuple[bytes, ...]:
    out = []
    at = 0
    while at < len(raw):
        end = at + 1 + raw[at]
        if end > len(raw):
            raise Malformed("dns-rdata", "TXT string past its record")
        out.append(raw[at + 1 : end])
        at = end
    if not out:
        raise Malformed("dns-rdata", "TXT without a string")
    return tuple(out)


def _options(raw: bytes) -> Options:
    out = []
    at = 0
    while at < len(raw):
        if at + 4 > len(raw):
            raise Malformed("dns-rdata", "EDNS option cut")
        code, size = struct.unpack_from("!HH", raw, at)
        if at + 4 + size > len(raw):
            raise Malformed("dns-rdata", "EDNS option past its record")
        out.append((code, raw[at + 4 : at + 4 + size]))
        at += 4 + size
    return tuple(out)


def check(rtype: int, cls: int, value: object) -> None:
    """Raise :class:`UsageError` unless ``value`` is what a record of that type and class holds."""
    kind: type = bytes
    if is_typed(rtype, cls):
        kinds: dict[int, type] = {MX: Mx, SRV: Srv, SOA: Soa, TXT: tuple, OPT: tuple, **dict.fromkeys(_NAME_TYPES, str)}
        kind = kinds.get(rtype, bytes)
        if rtype in (A, AAAA):
            check_octets(f"an {TYPE_NAMES[rtype]} record", value, 4 if rtype == A else 16)  # type: ignore[arg-type]
    if not isinstance(value, kind):
        raise UsageError(f"a record of type {TYPE_NAMES.get(rtype, rtype)} holds {kind.__name__}, not {value!r}")
    writer = NameWriter(compress=False)
    encode(writer, rtype, value)  # type: ignore[arg-type]
    check_payload("RDATA", len(writer.data), 0xFFFF)


def encode(writer: NameWriter, rtype: int, value: Rdata) -> None:
    """Append RDATA. Names in the types of RFC 1035 are compressed, those of SRV are not (RFC 2782)."""
    if isinstance(value, bytes):
        writer.data += value
    elif isinstance(value, str):
        writer.name(value)
    elif isinstance(value, Mx):
        check_uint("an MX preference", value.preference, 16)
        writer.data += value.preference.to_bytes(2, "big")
        writer.name(value.exchange)
    elif isinstance(value, Srv):
        for number in (value.priority, value.weight, value.port):
            check_uint("an SRV number", number, 16)
        writer.data += struct.pack("!HHH", value.priority, value.weight, value.port)
        writer.name(value.target, compress=False)
    elif isinstance(value, Soa):
        numbers = (value.serial, value.refresh, value.retry, value.expire, value.minimum)
        for number in numbers:
            check_uint("an SOA number", number, 32)
        writer.name(value.mname)
        writer.name(value.rname)
        writer.data += struct.pack("!5I", *numbers)
    else:
        _encode_tuple(writer, rtype, value)


def _encode_tuple(writer: NameWriter, rtype: int, value: tuple) -> None:
    if rtype == TXT and not value:
        raise UsageError("a TXT record holds at least one string")
    for item in value:
        if rtype == TXT:
            if not isinstance(item, bytes) or len(item) > 255:
                raise UsageError(f"a TXT string must be up to 255 bytes, not {item!r}")
            writer.data += bytes((len(item),)) + item
        else:
            code, data = item
            check_uint("an EDNS option code", code, 16)
            check_payload("an EDNS option", len(data), 0xFFFF)
            writer.data += struct.pack("!HH", code, len(data)) + data
