"""Addresses: packed ``bytes`` in the core (4, 16, or 6 for a MAC), text only at its edges.

Text is read strictly: four decimal numbers without leading zeros, RFC 4291 text for IPv6 and no zone. Octal, short and
hexadecimal spellings of IPv4 are refused, because policies that read them differently from resolvers have been fooled.
"""

from __future__ import annotations

import ipaddress
import re

from ..errors import UsageError
from .base import check_octets

MAC_ANY, MAC_BROADCAST = bytes(6), b"\xff" * 6
IP4_ANY, IP4_BROADCAST = bytes(4), b"\xff" * 4
IP6_ANY, IP6_LOOPBACK = bytes(16), bytes(15) + b"\x01"
IP6_ALL_NODES = bytes.fromhex("ff0200000000000000000000 00000001")
IP6_ALL_ROUTERS = bytes.fromhex("ff0200000000000000000000 00000002")
IP6_MLDV2_ROUTERS = bytes.fromhex("ff0200000000000000000000 00000016")
IP4_IGMP_ROUTERS = bytes((224, 0, 0, 22))
_MAPPED = bytes(10) + b"\xff\xff"
_MAC = re.compile(r"[0-9a-fA-F]{2}(?:([:-])[0-9a-fA-F]{2})(?:\1[0-9a-fA-F]{2}){4}")


def ip(text: str) -> bytes:
    """Packed IPv4 or IPv6 address of its text, as in ``ip("10.0.2.2")``. Raises :class:`UsageError`."""
    try:
        if "%" in text:
            raise ValueError
        return ipaddress.ip_address(text).packed
    except (ValueError, TypeError):
        raise UsageError(f"not an IP address: {text!r}") from None


def ip_text(address: bytes) -> str:
    """Text of a packed address: dotted IPv4, or IPv6 by RFC 5952 (IPv4-mapped ones in mixed notation)."""
    if len(address) == 4:
        a, b, c, d = address
        return f"{a}.{b}.{c}.{d}"
    check_octets("an address", bytes(address), 4, 16)
    if address[:12] == _MAPPED:
        return "::ffff:" + ip_text(address[12:])
    return str(ipaddress.IPv6Address(bytes(address)))


def mac(text: str) -> bytes:
    """Packed MAC address of its text, as in ``mac("02:00:00:00:00:01")``; ``-`` separates too."""
    if not _MAC.fullmatch(text):
        raise UsageError(f"not a MAC address: {text!r}")
    return bytes.fromhex(text.replace(":", "").replace("-", ""))


def mac_text(address: bytes) -> str:
    """Text of a packed MAC address, lower case, separated by colons."""
    check_octets("a MAC address", bytes(address), 6)
    return bytes(address).hex(":")


def network(text: str) -> tuple[bytes, int]:
    """``(address, prefix_len)`` of text such as ``"10.0.2.15/24"``. Host bits are kept. Raises :class:`UsageError`."""
    host, slash, length = text.partition("/")
    address = ip(host)
    if not slash or not length.isascii() or not length.isdecimal() or int(length) > 8 * len(address):
        raise UsageError(f"not an address with a prefix length: {text!r}")
    return address, int(length)


def prefix_mask(prefix_len: int, size: int = 4) -> bytes:
    """Netmask of ``size`` bytes with ``prefix_len`` leading ones."""
    if not 0 <= prefix_len <= 8 * size:
        raise UsageError(f"a prefix length must be between 0 and {8 * size}, not {prefix_len}")
    return ((1 << 8 * size) - (1 << 8 * size - prefix_len)).to_bytes(size, "big")


def in_prefix(address: bytes, prefix: bytes, prefix_len: int) -> bool:
    """Whether ``address`` lies in ``prefix/prefix_len``; never across families."""
    if len(address) != len(prefix):
        return False
    shift = 8 * len(address) - prefix_len
    return int.from_bytes(address, "big") >> shift == int.from_bytes(prefix, "big") >> shift


def directed_broadcast(address: bytes, prefix_len: int) -> bytes:
    """Broadcast address of the IPv4 subnet that ``address/prefix_len`` lies in."""
    host = (1 << 32 - prefix_len) - 1
    return (int.from_bytes(address, "big") | host).to_bytes(4, "big")


def is_multicast(address: bytes) -> bool:
    """Whether an IP address is a multicast one: 224.0.0.0/4 or ff00::/8."""
    return address[0] >> 4 == 0xE if len(address) == 4 else address[0] == 0xFF


def is_group_mac(address: bytes) -> bool:
    """Whether a MAC address is broadcast or multicast (the I/G bit)."""
    return bool(address[0] & 1)


def is_link_local(address: bytes) -> bool:
    """169.254.0.0/16 or fe80::/10."""
    if len(address) == 4:
        return address[:2] == b"\xa9\xfe"
    return address[0] == 0xFE and address[1] & 0xC0 == 0x80


def multicast_mac(address: bytes) -> bytes:
    """MAC address that a multicast IP address is sent to (RFC 1112 section 6.4, RFC 2464 section 7)."""
    if len(address) == 4:
        return bytes((0x01, 0x00, 0x5E, address[1] & 0x7F, address[2], address[3]))
    return b"\x33\x33" + address[12:]


def solicited_node(address: bytes) -> bytes:
    """Solicited-node multicast address of an IPv6 address (RFC 4291 section 2.7.1)."""
    return bytes.fromhex("ff02000000000000000000 01ff") + address[13:]


def eui64_address(prefix: bytes, hardware: bytes) -> bytes:
    """Address in the /64 ``prefix`` with the modified EUI-64 of a MAC address (RFC 4291 appendix A)."""
    return prefix[:8] + bytes((hardware[0] ^ 2,)) + hardware[1:3] + b"\xff\xfe" + hardware[3:]


def link_local(hardware: bytes) -> bytes:
    """Link-local IPv6 address made from a MAC address."""
    return eui64_address(b"\xfe\x80" + bytes(14), hardware)
