"""Names to addresses the way this host does it: its hosts file, then its resolvers, else the C library."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from pathlib import Path

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.resolver

from ..limits import RESOLVE_TIMEOUT, SECOND
from .contract import Answer

HOSTS_FILE = Path("/etc/hosts")
HOSTS_FILE_MOST = 1 << 20
"""Bytes of a hosts file that are read; blocking lists grow to this size."""


def read_hosts(text: str) -> dict[tuple[str, str], tuple[bytes, ...]]:
    """``(name, "A" | "AAAA")`` -> addresses, from the text of a hosts file. Lines that make no sense are passed
    over."""
    found: dict[tuple[str, str], list[bytes]] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) < 2:
            continue
        try:
            address = ipaddress.ip_address(words[0])
        except ValueError:
            continue
        rtype = "A" if address.version == 4 else "AAAA"
        for name in words[1:]:
            found.setdefault((name.rstrip(".").lower(), rtype), []).append(address.packed)
    return {key: tuple(addresses) for key, addresses in found.items()}


class HostResolver:
    """Asks this host's resolvers, with times to live; the C library (which tells none) when they cannot be found out.

    Parameters
    ----------
    nameservers: addresses to ask instead of those of the host's configuration, ``address`` or ``(address, port)``.
    timeout: nanoseconds until a lookup has failed.
    hosts: path of the hosts file, None for none.
    """

    def __init__(
        self,
        nameservers: list[tuple[str, int]] | None = None,
        timeout: int = RESOLVE_TIMEOUT,
        hosts: Path | None = HOSTS_FILE,
    ):
        self._timeout = timeout / SECOND
        self._hosts: dict[tuple[str, str], tuple[bytes, ...]] = {}
        if hosts is not None:
            try:
                with hosts.open(errors="replace") as file:
                    self._hosts = read_hosts(file.read(HOSTS_FILE_MOST))
            except OSError:
                self._hosts = {}
        self._resolver: dns.asyncresolver.Resolver | None = None
        try:
            self._resolver = dns.asyncresolver.Resolver(configure=nameservers is None)
        except dns.resolver.NoResolverConfiguration:
            return
        if nameservers is not None:
            self._resolver.nameservers = [dns.nameserver.Do53Nameserver(host, port) for host, port in nameservers]
        self._resolver.lifetime = self._timeout

    async def lookup(self, name: str, rtype: str) -> Answer:
        """Addresses of ``name``; never raises for what a name or a resolver may do."""
        name = name.rstrip(".").lower()
        local = self._hosts.get((name, rtype))
        if local:
            return Answer("ok", local)
        if self._resolver is None:
            return await self._by_library(name, rtype)
        try:
            found = await self._resolver.resolve(name + ".", rtype, search=False)
        except dns.resolver.NXDOMAIN:
            return Answer("nxdomain")
        except dns.resolver.NoAnswer:
            return Answer("nodata")
        except (dns.exception.DNSException, OSError, ValueError, UnicodeError):
            return Answer("failed")
        addresses = tuple(ipaddress.ip_address(item.address).packed for item in found)
        return Answer("ok", addresses, found.rrset.ttl if found.rrset is not None else None)

    async def _by_library(self, name: str, rtype: str) -> Answer:
        family = socket.AF_INET if rtype == "A" else socket.AF_INET6
        try:
            found = await asyncio.wait_for(
                asyncio.get_running_loop().getaddrinfo(name, None, family=family, type=socket.SOCK_STREAM),
                self._timeout,
            )
        except (TimeoutError, OSError, UnicodeError):
            return Answer("failed")
        addresses = tuple(dict.fromkeys(socket.inet_pton(family, str(item[4][0]).partition("%")[0]) for item in found))
        return Answer("ok", addresses) if addresses else Answer("nodata")
