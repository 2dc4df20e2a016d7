"""What a stack tells the code above it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .connection import Connection


@dataclass(frozen=True, slots=True)
class SynReceived:
    """Gateway: somebody behind the link wants to reach ``conn.local``. Answer with ``accept`` or ``refuse``, now or
    later."""

    conn: Connection


@dataclass(frozen=True, slots=True)
class Established:
    """The handshake is complete."""

    conn: Connection


@dataclass(frozen=True, slots=True)
class Readable:
    """New data can be read."""

    conn: Connection


@dataclass(frozen=True, slots=True)
class Writable:
    """Room appeared after a write was cut short."""

    conn: Connection


@dataclass(frozen=True, slots=True)
class EndOfStream:
    """The peer's FIN arrived in order: after what is readable nothing follows."""

    conn: Connection


@dataclass(frozen=True, slots=True)
class Closed:
    """The connection is over; what was not read yet can still be read."""

    conn: Connection
    reason: str
    """closed, reset, refused, timeout, unreachable or aborted."""


@dataclass(frozen=True, slots=True)
class Datagram:
    """A UDP datagram, checksum verified."""

    src: bytes
    sport: int
    dst: bytes
    dport: int
    payload: bytes
    ttl: int
    packet: bytes
    """The whole IP packet, for an ICMP error that quotes it."""
    group: bool = False
    """It was sent to a group (broadcast or multicast), by link or by address."""


@dataclass(frozen=True, slots=True)
class IcmpMessage:
    """An ICMP or ICMPv6 message that the stack does not deal with itself."""

    src: bytes
    dst: bytes
    type: int
    code: int
    rest: int
    """The second 32-bit word: identifier and sequence of an echo, MTU of *too big*."""
    payload: bytes
    family: int
    """4 or 6."""
    ttl: int
    packet: bytes


@dataclass(frozen=True, slots=True)
class ArpSeen:
    """Guest role: an ARP packet on the link."""

    op: int
    sender_mac: bytes
    sender_ip: bytes
    target_mac: bytes
    target_ip: bytes


StackEvent = SynReceived | Established | Readable | Writable | EndOfStream | Closed | Datagram | IcmpMessage | ArpSeen
