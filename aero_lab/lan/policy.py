"""Which addresses, ports and names a guest may reach.

Deny by default what is not the public internet: the special-use ranges of both families (RFC 6890 and its registry),
the IPv6 forms that carry an IPv4 address inside (which are judged by that address), and the cloud's metadata service
that hides in public space. What the lab itself offers is reached through the forward map, which stands above this
policy but for ports.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..wire.address import in_prefix, network

_SPECIAL4 = {
    "0.0.0.0/8": "this-network",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "shared",
    "127.0.0.0/8": "loopback",
    "169.254.0.0/16": "link-local",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "protocol-assignments",
    "192.0.2.0/24": "documentation",
    "192.168.0.0/16": "private",
    "198.18.0.0/15": "benchmarking",
    "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
    "168.63.129.16/32": "metadata",
}
"""The ranges of l2-tunnel proxies of this kind, and one metadata address that lies in public space."""
_SPECIAL6 = {
    "64:ff9b:1::/48": "translation",
    "2001::/23": "protocol-assignments",
    "2001:db8::/32": "documentation",
    "3fff::/20": "documentation",
}
"""Not to be reached although they lie in 2000::/3 (or, the first, would be judged by an address inside)."""


def _table(ranges: dict[str, str]) -> tuple[tuple[bytes, int, str], ...]:
    return tuple((*network(text), reason) for text, reason in ranges.items())


_TABLE4, _TABLE6 = _table(_SPECIAL4), _table(_SPECIAL6)
_MAPPED, _NAT64, _SIX_TO_FOUR = (network(text) for text in ("::ffff:0:0/96", "64:ff9b::/96", "2002::/16"))
_GLOBAL = network("2000::/3")


def special_use(address: bytes) -> str | None:
    """Why an address is not an ordinary public one, as a short word; None when it is."""
    if len(address) == 4:
        return next((why for prefix, size, why in _TABLE4 if in_prefix(address, prefix, size)), None)
    if in_prefix(address, *_MAPPED):
        return special_use(address[12:]) or "mapped"
    if in_prefix(address, *_NAT64):
        return special_use(address[12:])
    if in_prefix(address, *_SIX_TO_FOUR):
        return special_use(address[2:6])
    found = next((why for prefix, size, why in _TABLE6 if in_prefix(address, prefix, size)), None)
    if found is not None:
        return found
    if in_prefix(address, *_GLOBAL):
        return None
    if address[0] == 0xFF:
        return "multicast"
    if address[0] & 0xFE == 0xFC:
        return "private"
    if address[0] == 0xFE:
        return "link-local"
    return "loopback" if address == bytes(15) + b"\x01" else "reserved"


def _suffixes(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(clean for clean in (name.strip().strip(".").lower() for name in names) if clean)


@dataclass(frozen=True)
class Policy:
    """What is allowed. Answers are None for yes, else the reason, a short word fit for a counter."""

    allow_private: bool = False
    """Let special-use addresses through, multicast and broadcast excepted."""
    tcp_ports: frozenset[int] | None = None
    """Destination ports allowed; None: all, empty: none."""
    udp_ports: frozenset[int] | None = None
    allowed_domains: tuple[str, ...] = ()
    """Name suffixes; when there are any, other names do not resolve."""
    blocked_domains: tuple[str, ...] = ()
    """Name suffixes that do not resolve; they win over the allowed ones."""
    _allowed: tuple[str, ...] = field(init=False, repr=False)
    _blocked: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_allowed", _suffixes(self.allowed_domains))
        object.__setattr__(self, "_blocked", _suffixes(self.blocked_domains))

    def address(self, address: bytes) -> str | None:
        """May this address be reached?"""
        why = special_use(address)
        if why is not None and self.allow_private and why not in ("multicast", "this-network", "reserved"):
            return None
        return why

    def tcp(self, address: bytes, port: int) -> str | None:
        """May a TCP connection go there?"""
        return self.tcp_port(port) or self.address(address)

    def udp(self, address: bytes, port: int) -> str | None:
        """May a datagram go there?"""
        return self.udp_port(port) or self.address(address)

    def tcp_port(self, port: int) -> str | None:
        return "port" if self.tcp_ports is not None and port not in self.tcp_ports else None

    def udp_port(self, port: int) -> str | None:
        return "port" if self.udp_ports is not None and port not in self.udp_ports else None

    def name(self, name: str) -> str | None:
        """May this name (lower case, no trailing dot) be looked up?"""
        if any(_under(name, suffix) for suffix in self._blocked):
            return "blocked-domain"
        if self._allowed and not any(_under(name, suffix) for suffix in self._allowed):
            return "not-allowed-domain"
        return None


def _under(name: str, suffix: str) -> bool:
    return name == suffix or name.endswith("." + suffix)
