"""Addresses that are not the public internet, as data: the special-purpose registries, and the disguises of IPv4.

The rows are IANA's registries in full (RFC 6890, as of 2025: iana-ipv4-special-registry, iana-ipv6-special-registry),
whether the registry calls a range globally reachable or not: what is there is infrastructure (relays, anycast
services, AS112 sinks), not a host that a guest would want. Behind them stand multicast, what RFCs have deprecated, and
the metadata services of clouds, some of which hide in public space.

An IPv6 address that carries an IPv4 address inside is judged by that one too (:func:`embedded`).
"""

from __future__ import annotations

from typing import NamedTuple

from ..wire.address import ip_text, network

NEVER_ALLOWED = frozenset(("multicast", "this-network", "reserved", "broadcast", "unspecified", "metadata"))
"""Reasons that hold even where special-use addresses are let through: nothing there is a host, or only the forward map
should lead to it."""


class Range(NamedTuple):
    """One row: what addresses with this prefix are."""

    text: str
    why: str
    """A short word, fit for a counter."""
    name: str
    """What the registry calls it."""
    source: str


IPV4 = tuple(
    Range(*row)
    for row in (
        ("0.0.0.0/8", "this-network", "This network", "RFC 791 section 3.2"),
        ("0.0.0.0/32", "unspecified", "This host on this network", "RFC 1122 section 3.2.1.3"),
        ("10.0.0.0/8", "private", "Private-Use", "RFC 1918"),
        ("100.64.0.0/10", "shared", "Shared Address Space", "RFC 6598"),
        ("127.0.0.0/8", "loopback", "Loopback", "RFC 1122 section 3.2.1.3"),
        ("169.254.0.0/16", "link-local", "Link Local", "RFC 3927"),
        ("172.16.0.0/12", "private", "Private-Use", "RFC 1918"),
        ("192.0.0.0/24", "protocol-assignments", "IETF Protocol Assignments", "RFC 6890 section 2.1"),
        ("192.0.0.0/29", "protocol-assignments", "IPv4 Service Continuity Prefix", "RFC 7335"),
        ("192.0.0.8/32", "protocol-assignments", "IPv4 dummy address", "RFC 7600"),
        ("192.0.0.9/32", "protocol-assignments", "Port Control Protocol Anycast", "RFC 7723"),
        ("192.0.0.10/32", "protocol-assignments", "TURN Anycast", "RFC 8155"),
        ("192.0.0.170/32", "protocol-assignments", "NAT64/DNS64 Discovery", "RFC 8880, RFC 7050"),
        ("192.0.0.171/32", "protocol-assignments", "NAT64/DNS64 Discovery", "RFC 8880, RFC 7050"),
        ("192.0.2.0/24", "documentation", "TEST-NET-1", "RFC 5737"),
        ("192.31.196.0/24", "as112", "AS112-v4", "RFC 7535"),
        ("192.52.193.0/24", "relay", "AMT", "RFC 7450"),
        ("192.88.99.0/24", "relay", "Deprecated (6to4 Relay Anycast)", "RFC 7526"),
        ("192.88.99.2/32", "relay", "6a44-relay anycast address", "RFC 6751"),
        ("192.168.0.0/16", "private", "Private-Use", "RFC 1918"),
        ("192.175.48.0/24", "as112", "Direct Delegation AS112 Service", "RFC 7534"),
        ("198.18.0.0/15", "benchmarking", "Benchmarking", "RFC 2544"),
        ("198.51.100.0/24", "documentation", "TEST-NET-2", "RFC 5737"),
        ("203.0.113.0/24", "documentation", "TEST-NET-3", "RFC 5737"),
        ("240.0.0.0/4", "reserved", "Reserved", "RFC 1112 section 4"),
        ("255.255.255.255/32", "broadcast", "Limited Broadcast", "RFC 8190, RFC 919 section 7"),
        # Not of the registry.
        ("224.0.0.0/4", "multicast", "Multicast", "RFC 5771"),
        ("169.254.169.254/32", "metadata", "Metadata of most clouds", "RFC 3927 and vendors"),
        ("169.254.170.2/32", "metadata", "Credentials of Amazon ECS tasks", "vendor"),
        ("168.63.129.16/32", "metadata", "Azure platform resources", "vendor"),
        ("100.100.100.200/32", "metadata", "Alibaba Cloud metadata", "vendor"),
        ("192.0.0.192/32", "metadata", "Oracle Cloud metadata", "vendor"),
    )
)

IPV6 = tuple(
    Range(*row)
    for row in (
        ("::1/128", "loopback", "Loopback Address", "RFC 4291"),
        ("::/128", "unspecified", "Unspecified Address", "RFC 4291"),
        ("::ffff:0:0/96", "mapped", "IPv4-mapped Address", "RFC 4291"),
        ("64:ff9b::/96", "translation", "IPv4-IPv6 Translation", "RFC 6052"),
        ("64:ff9b:1::/48", "translation", "IPv4-IPv6 Translation, local", "RFC 8215"),
        ("100::/64", "discard", "Discard-Only Address Block", "RFC 6666"),
        ("100:0:0:1::/64", "discard", "Dummy IPv6 Prefix", "RFC 9780"),
        ("2001::/23", "protocol-assignments", "IETF Protocol Assignments", "RFC 2928"),
        ("2001::/32", "teredo", "TEREDO", "RFC 4380, RFC 8190"),
        ("2001:1::1/128", "protocol-assignments", "Port Control Protocol Anycast", "RFC 7723"),
        ("2001:1::2/128", "protocol-assignments", "TURN Anycast", "RFC 8155"),
        ("2001:1::3/128", "protocol-assignments", "DNS-SD SRP Anycast", "RFC 9665"),
        ("2001:2::/48", "benchmarking", "Benchmarking", "RFC 5180, RFC 1752"),
        ("2001:3::/32", "relay", "AMT", "RFC 7450"),
        ("2001:4:112::/48", "as112", "AS112-v6", "RFC 7535"),
        ("2001:10::/28", "orchid", "Deprecated (previously ORCHID)", "RFC 4843"),
        ("2001:20::/28", "orchid", "ORCHIDv2", "RFC 7343"),
        ("2001:30::/28", "orchid", "Drone Remote ID Protocol Entity Tags", "RFC 9374"),
        ("2001:db8::/32", "documentation", "Documentation", "RFC 3849"),
        ("2002::/16", "6to4", "6to4", "RFC 3056"),
        ("2620:4f:8000::/48", "as112", "Direct Delegation AS112 Service", "RFC 7534"),
        ("3fff::/20", "documentation", "Documentation", "RFC 9637"),
        ("5f00::/16", "segment-routing", "Segment Routing (SRv6) SIDs", "RFC 9602"),
        ("fc00::/7", "private", "Unique-Local", "RFC 4193, RFC 8190"),
        ("fe80::/10", "link-local", "Link-Local Unicast", "RFC 4291"),
        # Not of the registry.
        ("ff00::/8", "multicast", "Multicast", "RFC 4291 section 2.7"),
        ("fec0::/10", "private", "Site-Local (deprecated)", "RFC 3879"),
        ("::/96", "compatible", "IPv4-Compatible (deprecated)", "RFC 4291 section 2.5.5.1"),
        ("::ffff:0:0:0/96", "translation", "IPv4-Translated", "RFC 2765 section 2.1"),
        ("3ffe::/16", "reserved", "6bone (returned)", "RFC 3701"),
        ("fd00:ec2::254/128", "metadata", "Amazon EC2 metadata", "vendor"),
        ("fd20:ce::254/128", "metadata", "Google Compute Engine metadata", "vendor"),
    )
)

_UNASSIGNED = Range("(outside 2000::/3)", "reserved", "Not assigned as global unicast", "RFC 4291 section 2.4")
_NAT64, _NAT64_LOCAL, _SIX_TO_FOUR = "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16"


def _compiled(rows: tuple[Range, ...]) -> tuple[tuple[int, int, Range], ...]:
    """``(shift, prefix shifted, row)``, the longest prefix first, so that the first that fits says most."""
    out = []
    for row in rows:
        prefix, size = network(row.text)
        shift = 8 * len(prefix) - size
        out.append((shift, int.from_bytes(prefix, "big") >> shift, row))
    return tuple(sorted(out, key=lambda each: each[0]))


_ROWS = {4: _compiled(IPV4), 16: _compiled(IPV6)}


def find(address: bytes) -> Range | None:
    """The row that says most about an address itself, whatever it may carry inside; None for ordinary public ones."""
    number = int.from_bytes(address, "big")
    for shift, prefix, row in _ROWS[len(address)]:
        if number >> shift == prefix:
            return row
    if len(address) == 16 and number >> 125 != 1:
        return _UNASSIGNED
    return None


def embedded(address: bytes, row: Range | None) -> tuple[tuple[str, bytes], ...]:
    """IPv4 addresses that an IPv6 address of this row carries inside, each with what it is there."""
    if len(address) == 4:
        return ()
    kind = row.why if row is not None else ""
    if row is not None and kind in ("mapped", "compatible", "translation"):
        # Where an IPv4 address stands in a network's own translation prefix is that network's own affair.
        return () if row.text == _NAT64_LOCAL else (("carries", address[12:]),)
    if kind == "6to4":
        return (("6to4 router", address[2:6]), *_isatap(address))
    if kind == "teredo":
        return (("Teredo server", address[4:8]), ("Teredo client", bytes(octet ^ 0xFF for octet in address[12:])))
    return _isatap(address)


def _isatap(address: bytes) -> tuple[tuple[str, bytes], ...]:
    """RFC 5214 section 6.1: an interface identifier that tells the router which IPv4 host to tunnel to."""
    if address[8:12] in (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe"):
        return (("ISATAP host", address[12:]),)
    return ()


class Finding(NamedTuple):
    """What an address was found to be."""

    why: str | None
    """Reason to deny it; None when it is an ordinary public address."""
    detail: str


def examine(address: bytes) -> Finding:
    """What is to be said about an address. The IPv4 addresses inside come first: they say where packets would end."""
    row = find(address)
    inside = embedded(address, row)
    for what, carried in inside:
        found = find(carried)
        if found is not None:
            return Finding(found.why, f"{what} {ip_text(carried)}: {_text(found)}")
    if row is None or (inside and row.text in (_NAT64, _SIX_TO_FOUR)):
        carries = "".join(f" ({what} {ip_text(carried)})" for what, carried in inside)
        return Finding(None, f"public{carries}")
    return Finding(row.why, _text(row))


def special_use(address: bytes) -> str | None:
    """Why an address is not an ordinary public one, as a short word; None when it is."""
    return examine(address).why


def _text(row: Range) -> str:
    return f"{row.text}, {row.name} ({row.source})"
