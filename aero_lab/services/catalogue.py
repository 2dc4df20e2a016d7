"""What the hermetic lab offers, under which names and addresses.

The addresses are from TEST-NET-3 (RFC 5737) and IPv6's documentation prefix (RFC 3849), which no network routes: a
guest reaches them through the LAN's forward map and in no other way, and nothing real is ever shadowed but the two
names that Windows asks for to find out whether it is online.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..limits import LAN_DNS_DEFAULT_TTL
from ..wire import dns
from ..wire.address import ip
from ..wire.dns import Record
from .base import DatagramService, Echo, Service, Sink
from .content import Source
from .dns import Dns
from .http import Http
from .ntp import Ntp
from .udp_probe import UdpEcho


@dataclass(frozen=True)
class Offer:
    """One name of the lab, its addresses, and the service at each port."""

    name: str
    address: bytes
    address6: bytes | None = None
    """The same host over IPv6."""
    tcp: Mapping[int, str] = field(default_factory=dict)
    """Port -> name of a stream service."""
    udp: Mapping[int, str] = field(default_factory=dict)
    """Port -> name of a datagram service."""

    @property
    def addresses(self) -> tuple[bytes, ...]:
        """Of both families, IPv4 first."""
        return (self.address,) if self.address6 is None else (self.address, self.address6)


CATALOGUE: tuple[Offer, ...] = (
    Offer("files.lab", ip("203.0.113.10"), ip("2001:db8:113::10"), tcp={80: "http", 8080: "http"}),
    Offer("echo.lab", ip("203.0.113.11"), ip("2001:db8:113::11"), tcp={7: "echo"}, udp={7: "udp-echo"}),
    Offer("sink.lab", ip("203.0.113.12"), ip("2001:db8:113::12"), tcp={9: "sink"}, udp={9: "udp-sink"}),
    Offer("source.lab", ip("203.0.113.13"), ip("2001:db8:113::13"), tcp={19: "source"}),
    Offer("ntp.lab", ip("203.0.113.14"), ip("2001:db8:113::14"), udp={123: "ntp"}),
    Offer("www.msftncsi.com", ip("203.0.113.20"), tcp={80: "http"}),
    Offer("dns.msftncsi.com", ip("131.107.255.255")),
    Offer("dns.lab", ip("203.0.113.53"), ip("2001:db8:113::53"), tcp={53: "dns"}, udp={53: "dns"}),
)
"""``dns.msftncsi.com`` is only ever looked up: Windows wants exactly this address."""
RECORDS: tuple[Record, ...] = (
    Record("www.lab", dns.CNAME, dns.IN, LAN_DNS_DEFAULT_TTL, "files.lab"),
    Record("lab", dns.TXT, dns.IN, LAN_DNS_DEFAULT_TTL, (b"the hermetic lab",)),
    Record("lab", dns.MX, dns.IN, LAN_DNS_DEFAULT_TTL, dns.Mx(10, "sink.lab")),
    Record("_ntp._udp.lab", dns.SRV, dns.IN, LAN_DNS_DEFAULT_TTL, dns.Srv(0, 0, 123, "ntp.lab")),
    Record("_http._tcp.lab", dns.SRV, dns.IN, LAN_DNS_DEFAULT_TTL, dns.Srv(10, 0, 80, "files.lab")),
)
"""What the lab's names have beside their addresses: one record of each type that a guest may ask for."""


class UdpSink:
    """RFC 863 over UDP."""

    def __init__(self) -> None:
        self.received = 0
        """Datagrams thrown away."""

    def datagram(self, payload: bytes, source: tuple[bytes, int], now: int) -> bytes | None:
        self.received += 1
        return None


@dataclass
class Services:
    """One set of running services: objects by the names that the catalogue uses."""

    stream: dict[str, Service]
    datagram: dict[str, DatagramService]


def make_services(epoch: int = 0, catalogue: tuple[Offer, ...] = CATALOGUE) -> Services:
    """All services of the lab. ``epoch``: nanoseconds since 1970 at ``now`` = 0, for NTP."""
    table = Dns(names(catalogue), RECORDS)
    stream: dict[str, Any] = {"http": Http(), "echo": Echo(), "sink": Sink(), "source": Source(), "dns": table}
    datagram: dict[str, Any] = {
        "udp-echo": UdpEcho(),
        "udp-sink": UdpSink(),
        "ntp": Ntp(epoch),
        "dns": table,
    }
    return Services(stream, datagram)


def names(catalogue: tuple[Offer, ...] = CATALOGUE) -> dict[str, tuple[bytes, ...]]:
    """Name -> addresses, IPv4 first: the static names of the lab's DNS."""
    return {offer.name: offer.addresses for offer in catalogue}


def endpoints(catalogue: tuple[Offer, ...] = CATALOGUE) -> tuple[dict, dict]:
    """``(tcp, udp)``: (address, port) -> name of the service there, IPv4 addresses of all hosts first."""
    every = [
        (address, offer)
        for size in (4, 16)
        for offer in catalogue
        for address in offer.addresses
        if len(address) == size
    ]
    tcp = {(address, port): service for address, offer in every for port, service in offer.tcp.items()}
    udp = {(address, port): service for address, offer in every for port, service in offer.udp.items()}
    return tcp, udp


def identity_forwards(catalogue: tuple[Offer, ...] = CATALOGUE) -> tuple[dict, dict]:
    """Forward maps ``(tcp, udp)`` for a far end that has the lab's addresses itself: each endpoint leads to itself."""
    tcp, udp = endpoints(catalogue)
    return {where: where for where in tcp}, {where: where for where in udp}
