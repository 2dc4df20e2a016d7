"""Authoritative answers from a table of names, over datagrams and over a stream."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..bounds import DNS_QUERY_SIZE
from ..errors import Malformed
from ..limits import DNS_EDNS_SIZE, DNS_UDP_SIZE, LAN_DNS_DEFAULT_TTL, SERVICE_BUFFER
from ..wire import dns
from ..wire.dns import DnsMessage, Record
from .base import Chunk
from .zone import Addresses, Zone, own_soa, parent


def answer_size(query: DnsMessage) -> int:
    """Largest datagram that the asker takes."""
    edns = query.edns
    return DNS_UDP_SIZE if edns is None else max(DNS_UDP_SIZE, min(edns.udp_size, DNS_EDNS_SIZE))


class MessageReader:
    """Cuts a stream into messages, each with its length in front (RFC 1035 section 4.2.2).

    Holds less than one message of the largest size.
    """

    def __init__(self, most: int = DNS_QUERY_SIZE):
        self._most = most
        self._buffer = bytearray()

    @property
    def room(self) -> int:
        """Bytes it takes now."""
        return 2 + self._most - len(self._buffer)

    @property
    def empty(self) -> bool:
        """Whether it holds no part of a message."""
        return not self._buffer

    def feed(self, view: Chunk) -> None:
        """Bytes of the stream, at most :attr:`room`."""
        self._buffer += view

    def take(self) -> bytes | None:
        """The next message, or None while it is not complete.

        Raises :class:`Malformed` (``dns-too-long``, ``dns-short``) for one that is longer than allowed or shorter than
        a header: there is no telling where the next one begins.
        """
        if len(self._buffer) < 2:
            return None
        size = int.from_bytes(self._buffer[:2], "big")
        if size > self._most:
            raise Malformed("dns-too-long", f"{size} bytes")
        if size < dns.HEADER_SIZE:
            raise Malformed("dns-short", f"{size} bytes")
        if len(self._buffer) < 2 + size:
            return None
        message = bytes(self._buffer[2 : 2 + size])
        del self._buffer[: 2 + size]
        return message


def framed(message: bytes) -> bytes:
    """A message as a stream carries it."""
    return len(message).to_bytes(2, "big") + message


class Dns:
    """A name server for a table. Types that a name has none of are answered empty, names that are not there do not
    exist; both with the SOA that lets askers remember it.

    Parameters
    ----------
    table: name -> packed address or addresses, of either family.
    records: records of other types.
    ttl: seconds, for ``table`` and for negative answers.
    """

    def __init__(
        self,
        table: Mapping[str, Addresses],
        records: Iterable[Record] = (),
        ttl: int = LAN_DNS_DEFAULT_TTL,
    ):
        self.ttl = ttl
        self.queries = 0
        self._zone = Zone(table, records, ttl)

    def datagram(self, payload: bytes, source: tuple[bytes, int], now: int) -> bytes | None:
        return self.message(payload, stream=False)

    def connected(self, conn: Any = None) -> DnsSession:
        """The same over a stream."""
        return DnsSession(self)

    def message(self, payload: bytes, stream: bool) -> bytes | None:
        """The answer to the bytes of a query; None for what is none."""
        if len(payload) > DNS_QUERY_SIZE:
            return None
        try:
            query = DnsMessage.parse(payload)
        except Malformed:
            return None
        if query.is_response:
            return None
        self.queries += 1
        reply = self.reply(query)
        if query.edns is not None:
            reply = replace(reply, additional=(dns.Edns().record(),))
        return reply.emit(0xFFFF if stream else answer_size(query))

    def reply(self, query: DnsMessage) -> DnsMessage:
        """The answer to a parsed query."""
        if query.opcode != 0:
            return query.reply(dns.NOTIMP, flags=0)
        if len(query.questions) != 1:
            return query.reply(dns.FORMERR, flags=0)
        question = query.questions[0]
        name = question.name.lower()
        if question.cls != dns.IN:
            return query.reply(dns.REFUSED, flags=0)
        found = self._zone.find(name, question.type)
        if found is None:
            exists = self._zone.is_above(name)
            soa = own_soa(name if exists else parent(name), self.ttl)
            return query.reply(dns.NOERROR if exists else dns.NXDOMAIN, flags=dns.AA, authority=(soa,))
        answers = tuple(with_case(record, question.name) for record in found.records)
        if found.beyond is None and not any(r.type == question.type or question.type == dns.ANY for r in answers):
            last = str(answers[-1].rdata).lower() if answers else name
            return query.reply(dns.NOERROR, answers, flags=dns.AA, authority=(own_soa(last, self.ttl),))
        return query.reply(dns.NOERROR, answers, flags=dns.AA)


def with_case(record: Record, name: str) -> Record:
    """The record with its owner spelled as in the question, if that is its owner: it costs two bytes then, and askers
    who vary the case find what they sent."""
    return replace(record, name=name) if record.name != name and record.name.lower() == name.lower() else record


class DnsSession:
    """One connection to a name server (RFC 7766); answers in order. What is no query ends it."""

    working = False

    def __init__(self, server: Dns):
        self._server = server
        self._reader = MessageReader()
        self._out = bytearray()
        self.done = False

    @property
    def room(self) -> int:
        return self._reader.room if len(self._out) < SERVICE_BUFFER and not self.done else 0

    def data(self, view: Chunk) -> None:
        self._reader.feed(view)
        while not self.done:
            try:
                message = self._reader.take()
            except Malformed:
                self.done = True
                return
            if message is None:
                return
            answer = self._server.message(message, stream=True)
            if answer is None:
                self.done = True
            else:
                self._out += framed(answer)

    def eof(self) -> None:
        self.done = True

    def output(self, most: int) -> Chunk:
        taken = bytes(self._out[:most])
        del self._out[:most]
        return taken
