"""The DNS server of the LAN: a forwarder with static names, a policy and a cache.

Theory of operation
-------------------
::

    bytes -> _read -> question -> judge -> answer at once
                                    |
                                    +---> one lookup for all who ask the same -> weigh -> cache -> their answers

``judge`` and ``weigh`` (:mod:`.dns_judge`) decide and change nothing; this class keeps who waits for what. Every asker
is answered with its own identifier and its own spelling of the name, over UDP cut to what it can take (TC set: it
asks again over TCP), over a stream whole. What cannot be read is answered FORMERR when it has a header to answer to.

Names that resolve differently the second time are no way in: connections go to addresses, and the policy judges each
address when it is connected to.
"""

from __future__ import annotations

import struct
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

from ..bounds import DNS_CACHE_SIZE, DNS_QUERY_EXTRAS, DNS_QUERY_SIZE
from ..egress.contract import Answer
from ..errors import Malformed
from ..limits import NEVER
from ..services.dns import answer_size, with_case
from ..services.zone import Zone
from ..wire import dns
from ..wire.dns import DnsMessage, DnsView, Edns, Record
from .config import LanConfig
from .dns_cache import DnsCache, Key, Verdict
from .dns_judge import TYPE_TEXTS, Judgement, judge, weigh

Client = tuple[Any, ...]
"""Who asks: address, port, and what else the sender of answers wants to know."""
_SILENT = frozenset(("dns-short", "dns-response"))
"""What gets no answer: there is no header to answer to, or it is an answer itself."""
_EDE_BLOCKED, _EDE_NO_REACHABLE_AUTHORITY = 15, 22


class _Asker(NamedTuple):
    """One question that waits for an answer."""

    query: DnsMessage
    most: int
    prefix: tuple[Record, ...]


class _Pending:
    """One lookup under way and who waits for it."""

    __slots__ = ("askers", "deadline", "key", "query")

    def __init__(self, query: int, key: Key, deadline: int):
        self.query = query
        self.key = key
        self.deadline = deadline
        self.askers: dict[tuple[Client, int], _Asker] = {}


class DnsServer:
    """Answers queries at once or when a lookup is done.

    Parameters
    ----------
    lookup: ``lookup(query, name, type, now)``, the type as text; its outcome comes back through :meth:`resolved`.
    send: ``send(client, payload, now)``.
    denied: ``denied(client, name, why, now)``, told of names that the policy turned down.
    """

    def __init__(
        self,
        config: LanConfig,
        lookup: Callable[[int, str, str, int], None],
        send: Callable[[Client, bytes, int], None],
        denied: Callable[[Client, str, str, int], None] | None = None,
    ):
        self._config = config
        self._lookup, self._send, self._denied = lookup, send, denied
        self.zone = Zone(config.static_names, config.records, config.dns_default_ttl)
        self.cache = DnsCache(config.dns_cache, DNS_CACHE_SIZE)
        self._pending: dict[int, _Pending] = {}
        self._by_key: dict[Key, _Pending] = {}
        self._waiting = 0
        self._next = 1
        self._seen: OrderedDict[bytes, str] = OrderedDict()
        self.counters: Counter[str] = Counter()

    def name_of(self, address: bytes) -> str | None:
        """The name that was last answered with this address."""
        return self._seen.get(address)

    @property
    def next_query(self) -> int:
        """Number of the next lookup."""
        return self._next

    def judge(self, name: str, rtype: int, now: int) -> Judgement:
        """What would be done about a question now; changes nothing."""
        room = self._waiting < self._config.dns_pending
        return judge(self._config, self.zone, self.cache, room, name.rstrip(".").lower(), rtype, now)

    # Questions ------------------------------------------------------------------------------------------------------

    def handle(self, payload: bytes, client: Client, now: int, stream: bool = False) -> bool:
        """One message of a client, from a datagram or from a stream. False: it gets no answer, now or later."""
        try:
            query = self._read(payload)
        except Malformed as error:
            self.counters[error.reason] += 1
            if error.reason in _SILENT:
                return False
            rcode = dns.NOTIMP if error.reason == "dns-opcode" else dns.FORMERR
            self.counters[dns.RCODE_NAMES[rcode].lower()] += 1
            view = DnsView(payload)
            flags = dns.QR | view.flags & (dns.OPCODE_MASK | dns.RD) | dns.RA | rcode
            self._send(client, struct.pack("!6H", view.id, flags, 0, 0, 0, 0), now)
            return True
        self.counters["queries"] += 1
        most = 0xFFFF if stream else answer_size(query)
        question = query.questions[0]
        edns = query.edns
        if edns is not None and edns.version:
            self.counters["badvers"] += 1
            reply = query.reply(additional=(Edns(extended_rcode=dns.BADVERS >> 4).record(),))
            self._send(client, reply.emit(most), now)
            return True
        if question.cls != dns.IN:
            self._answer(client, _Asker(query, most, ()), Verdict(dns.NOTIMP), now)
            return True
        found = self.judge(question.name, question.type, now)
        asker = _Asker(query, most, found.prefix)
        if found.verdict is None:
            self._ask(client, asker, found.key, now)
            return True
        if found.step == "cache":
            self.counters["cache-hits"] += 1
        elif found.step == "limit":
            self.counters["pending-limit"] += 1
        if found.verdict.denied is not None:
            what = {"policy": "name", "reverse": "reverse"}.get(found.step, "address")
            self._deny(client, question.name, f"denied-{what}", found.verdict.denied, now)
        self._answer(client, asker, found.verdict, now)
        return True

    @staticmethod
    def _read(payload: bytes) -> DnsMessage:
        """One question and what may stand beside it. Sizes and counts are looked at before anything is parsed.

        Raises :class:`Malformed`: ``dns-response``, ``dns-too-long``, ``dns-opcode``, ``dns-question-count``,
        ``dns-sections``, ``dns-opt``, and as :meth:`DnsMessage.parse` does.
        """
        view = DnsView(payload)
        if view.flags & dns.QR:
            raise Malformed("dns-response", "an answer")
        if view.flags & dns.OPCODE_MASK:
            raise Malformed("dns-opcode", "no query")
        if len(payload) > DNS_QUERY_SIZE:
            raise Malformed("dns-too-long", f"{len(payload)} bytes")
        questions, answers, authority, additional = view.counts
        if questions != 1:  # RFC 9619
            raise Malformed("dns-question-count", f"{questions} questions")
        if answers or authority or additional > DNS_QUERY_EXTRAS:
            raise Malformed("dns-sections", f"{view.counts}")
        query = DnsMessage.parse(payload)
        opts = [record for record in query.additional if record.type == dns.OPT]
        if len(opts) > 1 or any(record.name for record in opts):  # RFC 6891 section 6.1.1
            raise Malformed("dns-opt", f"{len(opts)} OPT records")
        return query

    def _ask(self, client: Client, asker: _Asker, key: Key, now: int) -> None:
        pending = self._by_key.get(key)
        fresh = pending is None
        if pending is None:
            timeout = self._config.dns_timeout
            pending = _Pending(self._next, key, now + timeout if timeout else NEVER)
            self._next += 1
            self._pending[pending.query] = self._by_key[key] = pending
        who = (client, asker.query.id)
        if who not in pending.askers:
            self._waiting += 1
        pending.askers[who] = asker
        if fresh:
            self.counters["lookups"] += 1
            self._lookup(pending.query, key[0], TYPE_TEXTS[key[1]], now)
        else:
            self.counters["shared-lookups"] += 1

    # Outcomes -------------------------------------------------------------------------------------------------------

    def resolved(self, query: int, answer: Answer, now: int) -> None:
        """A lookup is done. Late ones are passed over."""
        pending = self._pending.get(query)
        if pending is None:
            return
        verdict, seconds, word = weigh(self._config, pending.key, answer)
        if verdict.denied is None:
            self.counters[word] += 1
        self.cache.put(pending.key, verdict, seconds, now)
        self._finish(pending, verdict, word, now)

    def tick(self, now: int) -> None:
        """Give up lookups whose time is over. All wait equally long, so the oldest comes first."""
        while self._pending:
            pending = next(iter(self._pending.values()))
            if pending.deadline > now:
                break
            self.counters["lookup-timeout"] += 1
            self._finish(pending, Verdict(dns.SERVFAIL), "timeout", now)

    def poll_at(self) -> int:
        for pending in self._pending.values():
            return pending.deadline
        return NEVER

    def _finish(self, pending: _Pending, verdict: Verdict, word: str, now: int) -> None:
        del self._pending[pending.query]
        del self._by_key[pending.key]
        self._waiting -= len(pending.askers)
        for (client, _), asker in pending.askers.items():
            whole = Verdict(verdict.rcode, asker.prefix + verdict.records, verdict.soa, verdict.denied)
            if verdict.denied is not None:
                self._deny(client, asker.query.questions[0].name, word, verdict.denied, now)
            self._answer(client, asker, whole, now)

    def _deny(self, client: Client, name: str, counter: str, why: str, now: int) -> None:
        self.counters[counter] += 1
        if self._denied is not None:
            self._denied(client, name, why, now)

    def _answer(self, client: Client, asker: _Asker, verdict: Verdict, now: int) -> None:
        query = asker.query
        question = query.questions[0]
        self.counters[dns.RCODE_NAMES[verdict.rcode].lower()] += 1
        for record in verdict.records:
            if record.type in (dns.A, dns.AAAA) and isinstance(record.rdata, bytes):
                self._note(record.rdata, question.name.lower())
        opt = (Edns(options=_why(verdict)).record(),) if query.edns is not None else ()
        answers = tuple(with_case(record, question.name) for record in verdict.records)
        authority = (verdict.soa,) if verdict.soa is not None else ()
        payload = query.reply(verdict.rcode, answers, authority=authority, additional=opt).emit(asker.most)
        if payload[2] & dns.TC >> 8:
            self.counters["truncated"] += 1
        self._send(client, payload, now)

    def _note(self, address: bytes, name: str) -> None:
        self._seen[address] = name
        self._seen.move_to_end(address)
        while len(self._seen) > max(1, self._config.dns_cache):
            self._seen.popitem(last=False)


def _why(verdict: Verdict) -> tuple[tuple[int, bytes], ...]:
    """An extended error for clients that can show it (RFC 8914)."""
    if verdict.denied is not None:
        return ((dns.EDE, _EDE_BLOCKED.to_bytes(2, "big") + verdict.denied.encode()),)
    if verdict.rcode == dns.SERVFAIL:
        return ((dns.EDE, _EDE_NO_REACHABLE_AUTHORITY.to_bytes(2, "big")),)
    return ()
