"""What a name server remembers: answers, positive and negative, with times to live that run down."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

from ..limits import SECOND
from ..wire import dns
from ..wire.dns import Record
from ..wire.rdata import NameWriter, encode

Key = tuple[str, int]
"""Name in lower case, type."""


def record_size(record: Record) -> int:
    """Bytes of a record on the wire, nothing compressed."""
    writer = NameWriter(compress=False)
    encode(writer, record.type, record.rdata)
    return len(record.name) + 12 + len(writer.data)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is answered to a question: response code, records, and the SOA of a negative answer."""

    rcode: int
    records: tuple[Record, ...] = ()
    soa: Record | None = None
    denied: str | None = None
    """Why the policy turned the name down."""

    @property
    def outcome(self) -> str:
        """``answer``, ``nodata``, or the response code in lower case."""
        if self.rcode != dns.NOERROR:
            return dns.RCODE_NAMES[self.rcode].lower()
        return "answer" if self.records and self.soa is None else "nodata"

    def aged(self, seconds: int) -> Verdict:
        """The same so much later; nothing falls below one second, since what has none left is not asked for."""
        if not seconds:
            return self
        records = tuple(replace(record, ttl=max(1, record.ttl - seconds)) for record in self.records)
        soa = self.soa and replace(self.soa, ttl=max(1, self.soa.ttl - seconds))
        return replace(self, records=records, soa=soa)


@dataclass(slots=True)
class _Entry:
    verdict: Verdict
    stored: int
    expires: int
    size: int


class DnsCache:
    """Bounded in entries and bytes; the one that came first goes first.

    Parameters
    ----------
    entries: answers remembered; 0: none.
    size: bytes of all of them, each as on the wire.
    """

    def __init__(self, entries: int, size: int):
        self._most_entries, self._most_size = entries, size
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self.size = 0
        """Bytes of what is remembered."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key, now: int) -> Verdict | None:
        """What holds at ``now``, with the time that is left; changes nothing."""
        entry = self._entries.get(key)
        if entry is None or entry.expires <= now:
            return None
        return entry.verdict.aged((now - entry.stored) // SECOND)

    def holding(self, now: int) -> list[tuple[Key, Verdict, int]]:
        """What holds at ``now``, oldest first: question, answer as it was stored, and nanoseconds that are left."""
        return [(key, each.verdict, each.expires - now) for key, each in self._entries.items() if each.expires > now]

    def put(self, key: Key, verdict: Verdict, seconds: int, now: int) -> None:
        """Remember an answer for some seconds; 0 remembers nothing."""
        old = self._entries.get(key)
        if old is not None:
            self.size -= old.size
        size = len(key[0]) + sum(map(record_size, verdict.records)) + (record_size(verdict.soa) if verdict.soa else 0)
        if not self._most_entries or not seconds or size > self._most_size:
            self._entries.pop(key, None)
            return
        self._entries[key] = _Entry(verdict, now, now + seconds * SECOND, size)
        self.size += size
        while len(self._entries) > self._most_entries or self.size > self._most_size:
            self.size -= self._entries.popitem(last=False)[1].size

    def clear(self) -> None:
        self._entries.clear()
        self.size = 0
