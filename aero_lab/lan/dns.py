"""The DNS server of the LAN: a forwarder with static names, a policy and a small cache.

Order of judgement: domain policy, type, static names, cache, limit, lookup. A query that is not exactly one plain
question gets no answer. Of what a lookup gives every address is checked, one forbidden address spoils the name (a
name must not be a way around the address policy), and one record is answered, so that the address connected to later
is one that was checked.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from ..egress.contract import Answer
from ..errors import Malformed, UsageError
from ..limits import NEVER, SECOND
from ..wire import dns
from ..wire.dns import DnsMessage, Record
from ..wire.rdata import reverse_name
from .config import LanConfig

_TYPES = {dns.A: "A", dns.AAAA: "AAAA"}
Client = tuple[bytes, int]
Key = tuple[str, int]


class _Cached(NamedTuple):
    addresses: tuple[bytes, ...]
    expires: int


class _Pending:
    """One lookup under way and who waits for it."""

    __slots__ = ("clients", "deadline", "key", "query")

    def __init__(self, query: int, key: Key, deadline: int):
        self.query = query
        self.key = key
        self.deadline = deadline
        self.clients: dict[tuple[Client, int], DnsMessage] = {}


class DnsServer:
    """Answers queries at once or when a lookup is done.

    Parameters
    ----------
    lookup: ``lookup(query, name, "A" | "AAAA", now)``; its outcome comes back through :meth:`resolved`.
    send: ``send(client, payload, now)``.
    """

    def __init__(
        self,
        config: LanConfig,
        lookup: Callable[[int, str, str, int], None],
        send: Callable[[Client, bytes, int], None],
    ):
        self._config = config
        self._lookup, self._send = lookup, send
        self._names = config.static_names
        self._reverse = {
            reverse_name(address): name for name, addresses in reversed(self._names.items()) for address in addresses
        }
        self._cache: OrderedDict[Key, _Cached] = OrderedDict()
        self._pending: dict[int, _Pending] = {}
        self._by_key: dict[Key, _Pending] = {}
        self._waiting = 0
        self._next = 1
        self._seen: OrderedDict[bytes, str] = OrderedDict()
        self.counters: Counter[str] = Counter()

    def name_of(self, address: bytes) -> str | None:
        """The name that was last answered with this address."""
        return self._seen.get(address)

    def handle(self, payload: bytes, client: Client, now: int) -> None:
        """One UDP payload at port 53."""
        try:
            query = DnsMessage.parse(payload)
        except Malformed as error:
            self.counters[error.reason] += 1
            return
        if query.is_response or len(query.questions) != 1:
            self.counters["dns-no-query"] += 1
            return
        self.counters["queries"] += 1
        question = query.questions[0]
        name = question.name.lower()
        if query.opcode != 0 or question.cls != dns.IN:
            self._answer(client, query, dns.NOTIMP, now)
        elif self._config.policy.name(name) is not None:
            self.counters["denied-name"] += 1
            self._answer(client, query, dns.NXDOMAIN, now)
        elif question.type == dns.PTR and name in self._reverse:
            self._answer(client, query, dns.NOERROR, now, self._reverse[name])
        elif question.type not in _TYPES:
            self._answer(client, query, dns.NOTIMP, now)
        elif name in self._names:
            self._from_table(client, query, name, now)
        elif question.type == dns.AAAA and self._config.gateway6 is None:
            # Not NOTIMP: resolvers that ask for both families at once take that for a broken server and wait.
            self._answer(client, query, dns.NOERROR, now)
        else:
            self._ask(client, query, (name, question.type), now)

    def _from_table(self, client: Client, query: DnsMessage, name: str, now: int) -> None:
        size = 4 if query.questions[0].type == dns.A else 16
        usable = size == 4 or self._config.gateway6 is not None
        address = next((each for each in self._names[name] if usable and len(each) == size), None)
        if address is not None:
            self._note(address, name)
        self._answer(client, query, dns.NOERROR, now, address, self._config.dns_default_ttl)

    def _ask(self, client: Client, query: DnsMessage, key: Key, now: int) -> None:
        cached = self._cache.get(key)
        if cached is not None and cached.expires > now:
            self.counters["cache-hits"] += 1
            left = max(1, (cached.expires - now) // SECOND)
            self._note(cached.addresses[0], key[0])
            self._answer(client, query, dns.NOERROR, now, cached.addresses[0], left)
            return
        if self._waiting >= self._config.dns_pending:
            self.counters["pending-limit"] += 1
            self._answer(client, query, dns.SERVFAIL, now)
            return
        pending = self._by_key.get(key)
        fresh = pending is None
        if pending is None:
            timeout = self._config.dns_timeout
            pending = _Pending(self._next, key, now + timeout if timeout else NEVER)
            self._next += 1
            self._pending[pending.query] = self._by_key[key] = pending
        asker = (client, query.id)
        if asker not in pending.clients:
            pending.clients[asker] = query
            self._waiting += 1
        if fresh:
            self.counters["lookups"] += 1
            self._lookup(pending.query, key[0], _TYPES[key[1]], now)

    def resolved(self, query: int, answer: Answer, now: int) -> None:
        """A lookup is done. Late ones are passed over."""
        pending = self._pending.get(query)
        if pending is None:
            return
        key = pending.key
        addresses = tuple(a for a in answer.addresses if len(a) == (4 if key[1] == dns.A else 16))
        if answer.status != "ok" or not addresses:
            self.counters[f"lookup-{answer.status if answer.status != 'ok' else 'nodata'}"] += 1
            # Without IPv6 a name without A records is as good as none; with it, the name may live on its AAAA.
            exists = answer.status in ("ok", "nodata") and self._config.gateway6 is not None
            self._finish(pending, dns.NOERROR if exists else dns.NXDOMAIN, now)
            return
        if any(self._config.policy.address(address) is not None for address in addresses):
            self.counters["denied-address"] += 1
            self._finish(pending, dns.NXDOMAIN, now)
            return
        ttl = min(answer.ttl or self._config.dns_default_ttl, self._config.dns_max_ttl)
        if self._config.dns_cache:
            self._cache[key] = _Cached(addresses, now + ttl * SECOND)
            while len(self._cache) > self._config.dns_cache:
                self._cache.popitem(last=False)
        self._note(addresses[0], key[0])
        self._finish(pending, dns.NOERROR, now, addresses[0], ttl)

    def tick(self, now: int) -> None:
        """Give up lookups whose time is over. All wait equally long, so the oldest comes first."""
        while self._pending:
            pending = next(iter(self._pending.values()))
            if pending.deadline > now:
                break
            self.counters["lookup-timeout"] += 1
            self._finish(pending, dns.NXDOMAIN, now)

    def poll_at(self) -> int:
        for pending in self._pending.values():
            return pending.deadline
        return NEVER

    def _finish(self, pending: _Pending, rcode: int, now: int, address: bytes | None = None, ttl: int = 0) -> None:
        del self._pending[pending.query]
        del self._by_key[pending.key]
        self._waiting -= len(pending.clients)
        for (client, _), query in pending.clients.items():
            self._answer(client, query, rcode, now, address, ttl)

    def _answer(
        self,
        client: Client,
        query: DnsMessage,
        rcode: int,
        now: int,
        value: bytes | str | None = None,
        ttl: int | None = None,
    ) -> None:
        question = query.questions[0]
        records = ()
        if value is not None:
            seconds = self._config.dns_default_ttl if ttl is None else ttl
            records = (Record(question.name, question.type, dns.IN, seconds, value),)
        # Only the question goes back: the answer always fits 512 bytes, so what EDNS offers is not needed.
        self.counters[dns.RCODE_NAMES[rcode].lower()] += 1
        try:
            self._send(client, query.reply(rcode, records).emit(), now)
        except UsageError:
            self.counters["unanswerable"] += 1

    def _note(self, address: bytes, name: str) -> None:
        self._seen[address] = name
        self._seen.move_to_end(address)
        while len(self._seen) > max(1, self._config.dns_cache):
            self._seen.popitem(last=False)
