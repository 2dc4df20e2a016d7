"""Static names: a table of records, by name and type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ..bounds import DNS_ALIASES
from ..errors import UsageError
from ..limits import LAN_DNS_DEFAULT_TTL
from ..wire import dns
from ..wire.dns import Record
from ..wire.rdata import Soa, reverse_name

Addresses = bytes | tuple[bytes, ...]
"""One packed address or several, of either family."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a table says about a name and a type."""

    records: tuple[Record, ...] = ()
    """Aliases first, each with the name it leads to behind it, then the records asked for; empty: the name is there,
    not the type."""
    beyond: str | None = None
    """Where the last alias leads when that name is not in the table."""


class Zone:
    """A table of names. They are found whatever their case, and reverse names of addresses come by themselves.

    Parameters
    ----------
    names: name -> packed address or addresses.
    records: records of any type beside them, with their own times to live.
    ttl: seconds, for ``names``.
    """

    def __init__(self, names: Mapping[str, Addresses], records: Iterable[Record] = (), ttl: int = LAN_DNS_DEFAULT_TTL):
        self._table: dict[str, dict[int, tuple[Record, ...]]] = {}
        for name, value in names.items():
            clean = name.rstrip(".").lower()
            for address in (value,) if isinstance(value, bytes) else value:
                self._add(Record(clean, dns.A if len(address) == 4 else dns.AAAA, dns.IN, ttl, address))
        for record in records:
            self._add(record)
        forward = [r for types in self._table.values() for kind in (dns.A, dns.AAAA) for r in types.get(kind, ())]
        given = {name for name, types in self._table.items() if dns.PTR in types}
        for record in forward:
            back = reverse_name(bytes(record.rdata))  # type: ignore[arg-type]  # an address
            if back not in given:
                given.add(back)
                self._add(Record(back, dns.PTR, dns.IN, record.ttl, record.name))
        self._above = {name.split(".", i)[i] for name in self._table for i in range(1, name.count(".") + 1)} | {""}

    def _add(self, record: Record) -> None:
        name = record.name.rstrip(".").lower()
        types = self._table.setdefault(name, {})
        types[record.type] = (*types.get(record.type, ()), replace(record, name=name))
        if dns.CNAME in types and (len(types) > 1 or len(types[dns.CNAME]) > 1):
            raise UsageError(f"an alias has nothing beside it (RFC 1034 section 3.6.2): {record.name}")

    def __contains__(self, name: str) -> bool:
        """Whether there are records of this name, lower case."""
        return name in self._table

    def is_above(self, name: str) -> bool:
        """Whether names below this one are in the table: it exists then, with no record of its own (RFC 8020)."""
        return name in self._above

    def find(self, name: str, rtype: int) -> Found | None:
        """What there is of a lower-case name; None: nothing. Aliases are followed inside the table."""
        if name not in self._table:
            return None
        records: list[Record] = []
        for _ in range(DNS_ALIASES):
            types = self._table.get(name)
            if types is None:
                return Found(tuple(records), name)
            if rtype == dns.ANY:
                return Found((*records, *(record for each in types.values() for record in each)))
            if rtype in types or dns.CNAME not in types:
                return Found((*records, *types.get(rtype, ())))
            records += types[dns.CNAME]
            name = str(types[dns.CNAME][0].rdata).lower()
        return Found(tuple(records))  # a loop of aliases: they are all there is


def own_soa(name: str, ttl: int) -> Record:
    """A start of authority for what is answered without any (the values of RFC 6303 section 3): it tells clients how
    long a negative answer holds (RFC 2308 section 3)."""
    return Record(name, dns.SOA, dns.IN, ttl, Soa(name, "nobody.invalid", 1, 3600, 1200, 604800, ttl))


def parent(name: str) -> str:
    """The name above; the root's is the root."""
    return name.partition(".")[2]
