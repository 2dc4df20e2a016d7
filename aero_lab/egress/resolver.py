"""Names the way this host looks them up: its hosts file, then its resolvers, else the C library.

Blocks nothing: what a guest may reach is decided by who asks.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.name
import dns.nameserver
import dns.rcode
import dns.rdatatype
import dns.resolver
import dns.rrset

from ..bounds import DNS_ANSWER_RECORDS
from ..errors import UsageError
from ..limits import DNS_EDNS_SIZE, RESOLVE_TIMEOUT, SECOND
from ..wire.dns import Mx, Record, Srv
from ..wire.rdata import AAAA, CNAME, IN, MX, PTR, SOA, SRV, TXT, A, Rdata, Soa, label_text, name_labels, reverse_name
from .contract import RECORD_TYPES, Answer, holding_soa

HOSTS_FILE = Path("/etc/hosts")
_PATIENCE = 60 * SECOND
HOSTS_FILE_MOST = 1 << 20
"""Bytes of a hosts file that are read; blocking lists grow to this size."""


def read_hosts(text: str) -> dict[tuple[str, str], tuple[Rdata, ...]]:
    """``(name, "A" | "AAAA")`` -> addresses and ``(reverse name, "PTR")`` -> the first name of each address, from the
    text of a hosts file. Lines that make no sense are passed over."""
    found: dict[tuple[str, str], list[Rdata]] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) < 2:
            continue
        try:
            address = ipaddress.ip_address(words[0])
        except ValueError:
            continue
        rtype = "A" if address.version == 4 else "AAAA"
        names = [name.rstrip(".").lower() for name in words[1:]]
        for name in names:
            found.setdefault((name, rtype), []).append(address.packed)
        found.setdefault((reverse_name(address.packed), "PTR"), [names[0]])
    return {key: tuple(values) for key, values in found.items()}


def name_text(name: dns.name.Name) -> str:
    """A name as :mod:`aero_lab.wire.rdata` spells it."""
    return ".".join(label_text(label) for label in name.labels if label)


def records_of(rrsets: Iterable[dns.rrset.RRset]) -> tuple[Record, ...]:
    """Records of the types that are served, from dnspython's sets."""
    return tuple(
        Record(name_text(rrset.name), int(rrset.rdtype), IN, rrset.ttl, held)
        for rrset in rrsets
        for item in rrset
        if rrset.rdclass == IN and (held := _held(item)) is not None
    )


def _held(item: Any) -> Rdata | None:
    rtype = int(item.rdtype)
    if rtype in (A, AAAA):
        return ipaddress.ip_address(item.address).packed
    if rtype in (CNAME, PTR):
        return name_text(item.target)
    if rtype == TXT:
        return tuple(item.strings)
    if rtype == MX:
        return Mx(item.preference, name_text(item.exchange))
    if rtype == SRV:
        return Srv(item.priority, item.weight, item.port, name_text(item.target))
    if rtype == SOA:
        numbers = (item.serial, item.refresh, item.retry, item.expire, item.minimum)
        return Soa(name_text(item.mname), name_text(item.rname), *numbers)
    return None


class HostResolver:
    """Asks this host's resolvers, with times to live; the C library (which tells none) when they cannot be found out.

    Answers that were cut short are asked for again over TCP; of several servers one that fails or is silent makes room
    for the next.

    Parameters
    ----------
    nameservers: addresses to ask instead of those of the host's configuration, each with its port.
    timeout: nanoseconds until a lookup has failed; 0: a minute, whatever else may be.
    hosts: path of the hosts file, None for none. It is read once.
    """

    def __init__(
        self,
        nameservers: list[tuple[str, int]] | None = None,
        timeout: int = RESOLVE_TIMEOUT,
        hosts: Path | None = HOSTS_FILE,
    ):
        self._timeout = (timeout or _PATIENCE) / SECOND
        self._hosts: dict[tuple[str, str], tuple[Rdata, ...]] = {}
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
        # Time for each server, and for one more try where there is only one.
        self._resolver.timeout = self._timeout / min(3, 1 + len(self._resolver.nameservers))
        self._resolver.use_edns(0, 0, DNS_EDNS_SIZE)

    async def lookup(self, name: str, rtype: str) -> Answer:
        """Records of ``name``, of a type in :data:`.contract.RECORD_TYPES`; never raises for what a name or a resolver
        may do."""
        name = name.rstrip(".").lower()
        local = self._hosts.get((name, rtype))
        try:
            if local:
                return Answer("ok", tuple(Record(name, RECORD_TYPES[rtype], IN, 0, held) for held in local))
            asked = dns.name.Name((*name_labels(name), b""))
        except UsageError:
            return Answer("servfail")
        if self._resolver is None:
            return await self._by_library(name, rtype)
        try:
            found = await self._resolver.resolve(asked, rtype, search=False, raise_on_no_answer=False)
            message = found.response
            status = "ok" if found.rrset is not None else "nodata"
        except dns.resolver.NXDOMAIN as error:
            message, status = error.response(asked), "nxdomain"
        except (dns.exception.DNSException, OSError, ValueError, EOFError):
            return Answer("servfail")
        if sum(map(len, message.answer)) > DNS_ANSWER_RECORDS:
            return Answer("servfail")
        try:
            records = records_of(message.answer)
            soa = holding_soa(records_of(each for each in message.authority if each.rdtype == dns.rdatatype.SOA))
        except UsageError:  # something that cannot be sent on
            return Answer("servfail")
        return Answer("ok", records) if status == "ok" else Answer(status, records, soa)

    async def _by_library(self, name: str, rtype: str) -> Answer:
        loop = asyncio.get_running_loop()
        if rtype not in ("A", "AAAA"):
            return Answer("servfail")
        try:
            found = await asyncio.wait_for(loop.getaddrinfo(name, None, type=socket.SOCK_STREAM), self._timeout)
        except socket.gaierror as error:
            return Answer("nxdomain" if error.errno == socket.EAI_NONAME else "servfail")
        except (TimeoutError, OSError, UnicodeError):
            return Answer("servfail")
        # Both families at once: only so does it tell "no such name" from "none of this family".
        family = socket.AF_INET if rtype == "A" else socket.AF_INET6
        texts = dict.fromkeys(str(item[4][0]).partition("%")[0] for item in found if item[0] == family)
        return Answer.of(name, tuple(socket.inet_pton(family, text) for text in texts))
