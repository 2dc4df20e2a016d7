"""Which addresses, ports and names a guest may reach.

Deny by default what is not the public internet: the special-use ranges of both families, the IPv6 forms that carry an
IPv4 address inside (judged by that address), and the clouds' metadata services (:mod:`.special_use` has the table).
What the lab itself offers is reached through the forward map, which stands above the addresses, not above the ports.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from .special_use import NEVER_ALLOWED, Finding, examine, special_use

_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")


def looks_numeric(name: str) -> bool:
    """Whether a name ends in a number, decimal or hexadecimal: ``2130706433``, ``0x7f.1``, ``0177.0.0.1``, ``127.1``.

    No such name exists (RFC 3696 section 2: top-level domains are not numeric), but some resolvers read it as an IPv4
    address in one of the old spellings of ``inet_aton``, and so past a policy that read it as a name.
    """
    return _NUMBER.fullmatch(name.rstrip(".").rpartition(".")[2]) is not None


def _suffixes(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(clean for clean in (name.strip().strip(".").lower() for name in names) if clean)


@dataclass(frozen=True)
class Policy:
    """What is allowed. Answers are None for yes, else the reason, a short word fit for a counter."""

    allow_private: bool = False
    """Let special-use addresses through, but for what is no host anyway (multicast, broadcast, unassigned) and the
    clouds' metadata services, which hand out their host's credentials: those take an entry of the forward map."""
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
        return self.examine(address).why

    def examine(self, address: bytes) -> Finding:
        """The same, with words about what the address is."""
        found = examine(address)
        if self.allow_private and found.why is not None and found.why not in NEVER_ALLOWED:
            return Finding(None, f"{found.detail}; such addresses are allowed here")
        return found

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
        if looks_numeric(name):
            return "numeric-name"
        if any(_under(name, suffix) for suffix in self._blocked):
            return "blocked-domain"
        if self._allowed and not any(_under(name, suffix) for suffix in self._allowed):
            return "not-allowed-domain"
        return None


@dataclass(frozen=True)
class Beyond(Policy):
    """The rules are somebody else's, further on: everything passes, to the gateway's own addresses too."""

    def examine(self, address: bytes) -> Finding:
        return Finding(None, "for the proxy to judge")

    def tcp_port(self, port: int) -> str | None:
        return None

    def udp_port(self, port: int) -> str | None:
        return None

    def name(self, name: str) -> str | None:
        return None


def _under(name: str, suffix: str) -> bool:
    return name == suffix or name.endswith("." + suffix)


__all__ = ["Beyond", "Finding", "Policy", "looks_numeric", "special_use"]
