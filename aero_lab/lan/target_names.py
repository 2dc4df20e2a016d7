"""Host names on the right-hand side of the forward map: looked up when a flow needs them.

The operator named the host, so the answer is not held against the address policy (the guest's port was, before it came
here). IPv4 is preferred, as in the original: AAAA is asked only when there is no A. Nothing is remembered beyond a
lookup under way, which serves all who ask meanwhile: what a name means is the resolver's to remember.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from ..bounds import NAT_NAMES_PENDING
from ..egress.contract import Answer
from ..limits import NEVER

Then = Callable[[bytes | None, int], None]
"""Told the address, or None when the name leads nowhere, and the time."""


@dataclass
class _Lookup:
    name: str
    rtype: str
    deadline: int
    waiting: list[Then] = field(default_factory=list)


class TargetNames:
    """Lookups for the NAT of one LAN.

    Parameters
    ----------
    resolve: asks the egress: query (negative, so that it is told from the guest's lookups), name, type, now.
    timeout: nanoseconds until a name without answer leads nowhere; 0: as long as the egress takes.
    """

    def __init__(self, resolve: Callable[[int, str, str, int], None], timeout: int):
        self._resolve, self._timeout = resolve, timeout
        self._lookups: dict[int, _Lookup] = {}
        self._by_name: dict[str, _Lookup] = {}
        self._query = 0
        self.counters: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._by_name)

    def find(self, name: str, then: Then, now: int) -> None:
        """Look ``name`` up; ``then`` is told once, possibly before this returns when there is no room for one more."""
        lookup = self._by_name.get(name)
        if lookup is None:
            if len(self._by_name) >= NAT_NAMES_PENDING:
                self.counters["names-limit"] += 1
                then(None, now)
                return
            lookup = self._by_name[name] = _Lookup(name, "A", now + self._timeout if self._timeout else NEVER)
            lookup.waiting.append(then)
            self._ask(lookup, now)
        else:
            lookup.waiting.append(then)

    def resolved(self, query: int, answer: Answer, now: int) -> None:
        """The egress answered."""
        lookup = self._lookups.pop(query, None)
        if lookup is None or self._by_name.get(lookup.name) is not lookup:
            return
        if answer.addresses:
            self._done(lookup, answer.addresses[0], now)
        elif lookup.rtype == "A":
            lookup.rtype = "AAAA"
            self._ask(lookup, now)
        else:
            self._done(lookup, None, now)

    def tick(self, now: int) -> None:
        """Give up what waited too long: all wait equally long, so the oldest come first."""
        while self._by_name:
            oldest = next(iter(self._by_name.values()))
            if oldest.deadline > now:
                break
            self.counters["names-timeout"] += 1
            self._done(oldest, None, now)

    def poll_at(self) -> int:
        for lookup in self._by_name.values():
            return lookup.deadline
        return NEVER

    def _ask(self, lookup: _Lookup, now: int) -> None:
        self._query -= 1
        self._lookups[self._query] = lookup
        self.counters["names-asked"] += 1
        self._resolve(self._query, lookup.name, lookup.rtype, now)

    def _done(self, lookup: _Lookup, address: bytes | None, now: int) -> None:
        del self._by_name[lookup.name]
        if address is None:
            self.counters["names-failed"] += 1
        for then in lookup.waiting:
            then(address, now)
