"""The image of a LAN's state: what a proxy has to remember to go on where another one stopped.

::

    "AERO" | format 1.0 | "NETS" | version 1.0 | field | field | ...        field = tag u16, length u32, value

All numbers are little-endian, tags ascend, a tag that a reader does not know is skipped. Tags 1 to 8 are those of the
original, so its images can be read here and ours there; what it has no place for (IPv6, other addresses, UDP, options
of TCP) stands under tags from 0xAE00 on. Times in an image are milliseconds of the clock that wrote it, or ages.

An image is hostile input: its size, its counts and every length are checked before anything is kept, and each thing
that may be wrong with it has a name (:class:`SnapshotError`). Nothing in it is believed beyond what it is for:
addresses and names go through the policy again when it is restored (:mod:`.restoring`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import NamedTuple, TypeVar

from ..bounds import SNAPSHOT_CONNECTIONS, SNAPSHOT_FIELDS, SNAPSHOT_NAME, SNAPSHOT_NAMES, SNAPSHOT_SIZE
from ..errors import AeroLabError, Malformed, UsageError
from ..wire.dns import DnsMessage
from ..wire.rdata import name_labels
from .config import Endpoint

MAGIC, FORMAT = b"AERO", (1, 0)
DEVICE, LEGACY_DEVICE, VERSION = b"NETS", b"NSTK", (1, 0)
"""What the image is of. The original has written both names."""
_HEADER = struct.Struct("<4sHH4sHH")
_FIELD = struct.Struct("<HI")

(MAC, ASSIGNED, NEXT_TCP, NEXT_DNS, IDENT, NAMES, CONNECTIONS, NOW) = range(1, 9)
TCP_FLOWS, UDP_FLOWS, ANSWERS, NEIGHBOURS, LEASE = 0xAE01, 0xAE02, 0xAE03, 0xAE04, 0xAE05
CONNECTED, DISCONNECTED, RECONNECTING = 1, 2, 3
"""``status`` of a connection in tag 7."""

T = TypeVar("T")


class SnapshotError(AeroLabError):
    """What is wrong with an image, in a word.

    ``size``: larger than any image; ``short``: it ends too early; ``magic``, ``format``, ``device``, ``version``: not
    an image of this kind; ``fields``: too many; ``duplicate``: a tag twice; ``count``: more entries than allowed;
    ``length``: a value or a text has another length than it must; ``value``: a number that means nothing; ``text``: a
    name that is none; ``message``: an answer that is no DNS message.
    """

    def __init__(self, reason: str, detail: str):
        super().__init__(f"snapshot: {reason}: {detail}")
        self.reason = reason


class CachedName(NamedTuple):
    """Tag 6: a name and one IPv4 address."""

    name: str
    address: bytes
    expires_ms: int


class Connection(NamedTuple):
    """Tag 7: an IPv4 connection of the guest that has the lease."""

    id: int
    guest_port: int
    address: bytes
    port: int
    status: int = CONNECTED


class TcpState(NamedTuple):
    """A connection, and what its two ends agreed on in the handshake (``Connection.options``)."""

    id: int
    guest: Endpoint
    target: Endpoint
    mss: int = 536
    send_shift: int = -1
    recv_shift: int = -1
    sack: bool = False


class UdpState(NamedTuple):
    """A flow of datagrams, and how long ago it was used."""

    id: int
    guest: Endpoint
    target: Endpoint
    idle_ms: int = 0


class CachedAnswer(NamedTuple):
    """A cached answer of any type: a whole DNS message, and how long it holds on."""

    name: str
    type: int
    left_ms: int
    message: bytes


class LeaseState(NamedTuple):
    """Who has the lease, and how long ago it was acknowledged last."""

    mac: bytes
    age_ms: int
    host_name: str = ""
    vendor_class: str = ""


class Neighbour(NamedTuple):
    """An address of the guest's and the link address that it had."""

    address: bytes
    mac: bytes


@dataclass(frozen=True)
class LanState:
    """What an image says."""

    guest_mac: bytes | None = None
    """Hardware address of the guest that has the lease, or that was heard first."""
    ip_assigned: bool = False
    """Whether the lease was acknowledged."""
    next_tcp_id: int = 1
    next_dns_id: int = 1
    ipv4_ident: int = 1
    last_now_ms: int = 0
    names: tuple[CachedName, ...] = ()
    connections: tuple[Connection, ...] = ()
    tcp: tuple[TcpState, ...] = ()
    """Connections of both families; those of IPv4 and the lease stand in ``connections`` too."""
    udp: tuple[UdpState, ...] = ()
    answers: tuple[CachedAnswer, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    lease: LeaseState | None = None

    def emit(self) -> bytes:
        """The image."""
        values: dict[int, bytes] = {}
        if self.guest_mac is not None:
            values[MAC] = self.guest_mac
        values[ASSIGNED] = bytes((self.ip_assigned,))
        values[NEXT_TCP] = struct.pack("<I", self.next_tcp_id)
        values[NEXT_DNS] = struct.pack("<I", self.next_dns_id)
        values[IDENT] = struct.pack("<H", self.ipv4_ident)
        values[NAMES] = _list(self.names, lambda e: _text(e.name) + e.address + struct.pack("<Q", e.expires_ms))
        ordered = sorted(self.connections)
        values[CONNECTIONS] = _list(
            ordered, lambda e: struct.pack("<IH4sHB", e.id, e.guest_port, e.address, e.port, e.status)
        )
        values[NOW] = struct.pack("<Q", self.last_now_ms)
        own = {
            TCP_FLOWS: _list(self.tcp, _write_tcp),
            UDP_FLOWS: _list(self.udp, _write_udp),
            ANSWERS: _list(self.answers, _write_answer),
            NEIGHBOURS: _list(self.neighbours, lambda e: _address(e.address) + e.mac),
        }
        values.update({tag: value for tag, value in own.items() if value != _NOTHING})
        if self.lease is not None:
            who = self.lease
            values[LEASE] = who.mac + struct.pack("<Q", who.age_ms) + _text(who.host_name) + _text(who.vendor_class)
        head = _HEADER.pack(MAGIC, *FORMAT, DEVICE, *VERSION)
        return head + b"".join(_FIELD.pack(tag, len(value)) + value for tag, value in sorted(values.items()))

    @classmethod
    def parse(cls, image: bytes) -> LanState:
        """What an image says; what it does not say is as in a fresh LAN. Raises :class:`SnapshotError`."""
        values = _fields(image)
        found: dict[str, object] = {}
        for tag, (name, read) in _READERS.items():
            if tag in values:
                reader = _Reader(values[tag])
                found[name] = read(reader)
                reader.finish()
        state = cls(**found)  # type: ignore[arg-type]
        # Zero is no number of either counter; the original reads it as one.
        low = {name: max(1, getattr(state, name)) for name in ("next_tcp_id", "next_dns_id", "ipv4_ident")}
        return cls(**{**{each.name: getattr(state, each.name) for each in fields(cls)}, **low})


# Writing --------------------------------------------------------------------------------------------------------------


def _list(entries: Iterable[T], write: Callable[[T], bytes]) -> bytes:
    parts = [write(entry) for entry in entries]
    return struct.pack("<I", len(parts)) + b"".join(parts)


_NOTHING = bytes(4)
"""A list without entries."""


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<I", len(raw)) + raw


def _address(address: bytes) -> bytes:
    return bytes((len(address),)) + address


def _endpoint(endpoint: Endpoint) -> bytes:
    return _address(endpoint[0]) + struct.pack("<H", endpoint[1])


def _write_tcp(e: TcpState) -> bytes:
    numbers = struct.pack("<HbbB", e.mss, e.send_shift, e.recv_shift, e.sack)
    return struct.pack("<I", e.id) + _endpoint(e.guest) + _endpoint(e.target) + numbers


def _write_udp(e: UdpState) -> bytes:
    return struct.pack("<I", e.id) + _endpoint(e.guest) + _endpoint(e.target) + struct.pack("<Q", e.idle_ms)


def _write_answer(e: CachedAnswer) -> bytes:
    head = _text(e.name) + struct.pack("<HQI", e.type, e.left_ms, len(e.message))
    return head + e.message


# Reading --------------------------------------------------------------------------------------------------------------


def _fields(image: bytes) -> dict[int, bytes]:
    """Tag -> value, header and framing checked."""
    if len(image) > SNAPSHOT_SIZE:
        raise SnapshotError("size", f"{len(image)} bytes are more than {SNAPSHOT_SIZE}")
    if len(image) < _HEADER.size:
        raise SnapshotError("short", f"{len(image)} bytes, the header has {_HEADER.size}")
    magic, major, minor, device, version, _ = _HEADER.unpack_from(image)
    if magic != MAGIC:
        raise SnapshotError("magic", repr(magic))
    if major != FORMAT[0]:
        raise SnapshotError("format", f"{major}.{minor}")
    if device not in (DEVICE, LEGACY_DEVICE):
        raise SnapshotError("device", repr(device))
    if version != VERSION[0]:
        raise SnapshotError("version", str(version))
    values: dict[int, bytes] = {}
    at = _HEADER.size
    while at < len(image):
        if len(values) >= SNAPSHOT_FIELDS:
            raise SnapshotError("fields", f"more than {SNAPSHOT_FIELDS}")
        if at + _FIELD.size > len(image):
            raise SnapshotError("short", f"a field begins {len(image) - at} bytes before the end")
        tag, size = _FIELD.unpack_from(image, at)
        at += _FIELD.size
        if at + size > len(image):
            raise SnapshotError("short", f"field {tag} has {size} bytes, {len(image) - at} are left")
        if tag in values:
            raise SnapshotError("duplicate", f"tag {tag}")
        values[tag] = image[at : at + size]
        at += size
    return values


class _Reader:
    """Takes a value apart; every read is checked."""

    def __init__(self, data: bytes):
        self._data, self._at = data, 0

    def take(self, size: int) -> bytes:
        if size > len(self._data) - self._at:
            raise SnapshotError("short", f"{size} bytes wanted, {len(self._data) - self._at} are left")
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def shift(self) -> int:
        value = int.from_bytes(self.take(1), "little", signed=True)
        if not -1 <= value <= 14:
            raise SnapshotError("value", f"a window shift of {value}")
        return value

    def flag(self) -> bool:
        value = self.number(1)
        if value > 1:
            raise SnapshotError("value", f"{value} is neither yes nor no")
        return bool(value)

    def text(self) -> str:
        size = self.number(4)
        if size > SNAPSHOT_NAME:
            raise SnapshotError("length", f"a name of {size} bytes")
        try:
            return self.take(size).decode()
        except UnicodeDecodeError as error:
            raise SnapshotError("text", str(error)) from None

    def name(self) -> str:
        text = self.text()
        try:
            name_labels(text)
        except UsageError as error:
            raise SnapshotError("text", str(error)) from None
        return text

    def address(self) -> bytes:
        size = self.number(1)
        if size not in (4, 16):
            raise SnapshotError("length", f"an address of {size} bytes")
        return self.take(size)

    def endpoint(self) -> Endpoint:
        return self.address(), self.port()

    def port(self) -> int:
        port = self.number(2)
        if not port:
            raise SnapshotError("value", "port 0")
        return port

    def list(self, most: int, read: Callable[[_Reader], T]) -> tuple[T, ...]:
        count = self.number(4)
        if count > most:
            raise SnapshotError("count", f"{count} entries are more than {most}")
        return tuple(read(self) for _ in range(count))

    def finish(self) -> None:
        if self._at != len(self._data):
            raise SnapshotError("length", f"{len(self._data) - self._at} bytes too many")


def _read_connection(r: _Reader) -> Connection:
    found = Connection(r.number(4), r.port(), r.take(4), r.port(), r.number(1))
    # Whatever it was, it is not connected here yet; the original does not look at the number either.
    return found._replace(status=DISCONNECTED)


def _read_tcp(r: _Reader) -> TcpState:
    number, guest, target, mss = r.number(4), r.endpoint(), r.endpoint(), r.number(2)
    if mss < 64:
        raise SnapshotError("value", f"an MSS of {mss}")
    found = TcpState(number, guest, target, mss, r.shift(), r.shift(), r.flag())
    return _same_family(found)


def _read_udp(r: _Reader) -> UdpState:
    return _same_family(UdpState(r.number(4), r.endpoint(), r.endpoint(), r.number(8)))


F = TypeVar("F", TcpState, UdpState)


def _same_family(flow: F) -> F:
    if len(flow.guest[0]) != len(flow.target[0]):
        raise SnapshotError("value", "a flow between two families")
    return flow


def _read_answer(r: _Reader) -> CachedAnswer:
    name, rtype, left = r.name(), r.number(2), r.number(8)
    size = r.number(4)
    if size > 0xFFFF:
        raise SnapshotError("length", f"a DNS message of {size} bytes")
    message = r.take(size)
    try:
        DnsMessage.parse(message)
    except Malformed as error:
        raise SnapshotError("message", str(error)) from None
    return CachedAnswer(name, rtype, left, message)


_READERS: dict[int, tuple[str, Callable[[_Reader], object]]] = {
    MAC: ("guest_mac", lambda r: r.take(6)),
    ASSIGNED: ("ip_assigned", _Reader.flag),
    NEXT_TCP: ("next_tcp_id", lambda r: r.number(4)),
    NEXT_DNS: ("next_dns_id", lambda r: r.number(4)),
    IDENT: ("ipv4_ident", lambda r: r.number(2)),
    NAMES: ("names", lambda r: r.list(SNAPSHOT_NAMES, lambda e: CachedName(e.name(), e.take(4), e.number(8)))),
    CONNECTIONS: ("connections", lambda r: r.list(SNAPSHOT_CONNECTIONS, _read_connection)),
    NOW: ("last_now_ms", lambda r: r.number(8)),
    TCP_FLOWS: ("tcp", lambda r: r.list(SNAPSHOT_CONNECTIONS, _read_tcp)),
    UDP_FLOWS: ("udp", lambda r: r.list(SNAPSHOT_CONNECTIONS, _read_udp)),
    ANSWERS: ("answers", lambda r: r.list(SNAPSHOT_NAMES, _read_answer)),
    NEIGHBOURS: ("neighbours", lambda r: r.list(SNAPSHOT_FIELDS, lambda e: Neighbour(e.address(), e.take(6)))),
    LEASE: ("lease", lambda r: LeaseState(r.take(6), r.number(8), r.text(), r.text())),
}
