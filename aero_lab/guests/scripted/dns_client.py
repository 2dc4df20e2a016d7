"""The stub resolver (RFC 1035, RFC 5452) with the repetitions and habits of the profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import Malformed, UsageError
from ...limits import DNS_CACHE_NAMES, SECOND
from ...wire import dns
from ...wire.dns import DnsMessage
from .tasks import TaskError, TaskGenerator, TaskTimeout

if TYPE_CHECKING:
    from .guest import ScriptedGuest

CNAME_CHAIN = 8
"""Aliases followed inside one answer."""
_RCODES = {dns.NXDOMAIN: "nxdomain", dns.SERVFAIL: "servfail", dns.REFUSED: "dns-refused"}


class Resolver:
    """Asks the guest's DNS servers, in turn, with the profile's waits between repetitions.

    An answer counts only from a server that was asked, to the port and with the identifier and question of the query;
    others are counted in the guest's ``counters`` under ``dns-...``.
    """

    def __init__(self, guest: ScriptedGuest):
        self._guest = guest
        self._cache: dict[tuple[str, int], tuple[int, tuple[bytes, ...]]] = {}
        self.queries = 0
        """Queries sent, repetitions included."""
        self.over_tcp = 0
        """Answers that were cut over UDP and came whole over TCP."""

    def address(self, name: str, family: int | None = None) -> TaskGenerator:
        """Task: the first IPv4 address of ``name``, or with global IPv6 at hand its first address of any family; with
        ``family`` (4 or 6) only one of that.

        Raises :class:`TaskError`: ``nxdomain``, ``no-address``, ``servfail``, ``dns-refused``, ``dns-error``,
        ``truncated``, ``no-dns-server``, ``name``, or ``timeout``.
        """
        both = (dns.A, dns.AAAA) if self._guest.profile.dns.query_aaaa else (dns.A,)
        types = {4: (dns.A,), 6: (dns.AAAA,)}.get(family or 0, both)
        found = yield from self.lookup(name, types)
        for rtype in types:
            if found[rtype] and (rtype == dns.A or family == 6 or self._guest.online6):
                return found[rtype][0]
        raise TaskError("no-address", name)

    def lookup(self, name: str, types: tuple[int, ...] = (dns.A,)) -> TaskGenerator:
        """Task: ``{type: addresses}`` of ``name``, all ``types`` asked for at once. Raises as :meth:`address`."""
        guest, habits = self._guest, self._guest.profile.dns
        name = name.rstrip(".").lower()
        found = {rtype: known for rtype in types if (known := self._cached(name, rtype)) is not None}
        missing = {}
        try:
            for rtype in types:
                if rtype not in found:
                    message = DnsMessage.query(self._new_id(missing), name, rtype)
                    missing[message.id] = (rtype, message.emit())
        except UsageError:
            raise TaskError("name", name) from None
        if not missing:
            return found
        servers = guest.name_servers
        if not servers:
            raise TaskError("no-dns-server", name)
        socket = guest.udp_socket()
        try:
            for attempt, patience in enumerate(habits.retries):
                server = servers[attempt % len(servers)]
                until = guest.now + patience
                for _, query in missing.values():
                    yield from socket.send(server, dns.PORT, query)
                    self.queries += 1
                try:
                    while missing:
                        arrival = yield from socket.receive(until)
                        answer = self._accept(arrival.payload, arrival.source, arrival.port, name, missing)
                        if answer is not None:
                            rtype, query = missing[answer.id]
                            if answer.truncated:
                                answer = (yield from self._whole(arrival.source, query, name, missing, until)) or answer
                            del missing[answer.id]
                            found[rtype] = self._read(answer, name, rtype, rtype == types[0])
                    return found
                except TaskTimeout:
                    continue
                except TaskError as error:
                    if error.reason not in ("refused", "unreachable"):
                        raise
                    # An ICMP error about the query: nothing listens there now; the repetition goes out at once.
        finally:
            socket.close()
        if any(found.values()):  # like glibc: some servers never answer for AAAA
            return {rtype: found.get(rtype, ()) for rtype in types}
        raise TaskTimeout(f"no DNS answer for {name}")

    def _whole(self, server: bytes, query: bytes, name: str, missing: dict, until: int) -> TaskGenerator:
        """Task: the answer to a query over TCP (RFC 7766), None when there is none to be had so."""
        socket = None
        try:
            socket = yield from self._guest.connect(server, dns.PORT, until)
            yield from socket.send(len(query).to_bytes(2, "big") + query, until)
            size = int.from_bytes((yield from socket.receive_exactly(2, until)), "big")
            payload = yield from socket.receive_exactly(size, until)
            self.over_tcp += 1
            answer = self._accept(payload, server, dns.PORT, name, missing)
            yield from socket.finish(until)
            return answer
        except (TaskError, TaskTimeout):
            return None
        finally:
            if socket is not None:
                socket.abort()

    def _new_id(self, taken: dict) -> int:
        while (number := self._guest.rng.getrandbits(16)) in taken:
            pass
        return number

    def _accept(self, payload: bytes, source: bytes, port: int, name: str, missing: dict) -> DnsMessage | None:
        try:
            message = DnsMessage.parse(payload)
        except Malformed as error:
            self._guest.counters[error.reason] += 1
            return None
        if source not in self._guest.name_servers or port != dns.PORT or not message.is_response:
            self._guest.counters["dns-not-an-answer"] += 1
            return None
        asked = missing.get(message.id)
        if asked is None or [(q.name.lower(), q.type) for q in message.questions] != [(name, asked[0])]:
            self._guest.counters["dns-other-question"] += 1
            return None
        return message

    def _read(self, answer: DnsMessage, name: str, rtype: int, must: bool) -> tuple[bytes, ...]:
        """Addresses of an answer, aliases followed. A failed answer is raised; AAAA beside A is allowed to fail."""
        if must or answer.rcode == dns.NXDOMAIN:
            if answer.truncated:
                raise TaskError("truncated", name)
            if answer.rcode != dns.NOERROR:
                raise TaskError(_RCODES.get(answer.rcode, "dns-error"), name)
        owner, lifetime = name, 0xFFFFFFFF
        for _ in range(CNAME_CHAIN):
            alias = next((r for r in answer.answers if r.type == dns.CNAME and r.name.lower() == owner), None)
            if alias is None:
                break
            owner, lifetime = str(alias.rdata).lower(), min(lifetime, alias.ttl)
        records = [r for r in answer.answers if r.type == rtype and r.cls == dns.IN and r.name.lower() == owner]
        addresses = tuple(bytes(r.rdata) for r in records if isinstance(r.rdata, bytes))
        if addresses:
            self._remember(name, rtype, addresses, min(lifetime, *(r.ttl for r in records)))
        return addresses

    def _cached(self, name: str, rtype: int) -> tuple[bytes, ...] | None:
        held = self._cache.get((name, rtype))
        if held is None:
            return None
        if held[0] <= self._guest.now:
            del self._cache[name, rtype]
            return None
        return held[1]

    def _remember(self, name: str, rtype: int, addresses: tuple[bytes, ...], ttl: int) -> None:
        if not self._guest.profile.dns.cache or not ttl:
            return
        self._cache.pop((name, rtype), None)
        while len(self._cache) >= DNS_CACHE_NAMES:
            del self._cache[next(iter(self._cache))]
        self._cache[name, rtype] = (self._guest.now + min(ttl, 86400) * SECOND, addresses)

    def flush(self) -> None:
        """Forget all answers."""
        self._cache.clear()
