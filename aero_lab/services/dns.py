"""Authoritative answers from a table of names."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import Malformed
from ..limits import DNS_EDNS_SIZE, DNS_UDP_SIZE, LAN_DNS_DEFAULT_TTL
from ..wire import dns
from ..wire.dns import DnsMessage, Record
from ..wire.rdata import reverse_name


def answer_size(query: DnsMessage) -> int:
    """Largest answer that the asker takes."""
    edns = query.edns
    return DNS_UDP_SIZE if edns is None else max(DNS_UDP_SIZE, min(edns.udp_size, DNS_EDNS_SIZE))


class Dns:
    """A name server for a table: A, AAAA and PTR; other types exist without data, other names do not exist.

    Parameters
    ----------
    table: name -> packed address or addresses, of either family.
    ttl: seconds.
    """

    def __init__(self, table: Mapping[str, bytes | tuple[bytes, ...]], ttl: int = LAN_DNS_DEFAULT_TTL):
        self.ttl = ttl
        self.queries = 0
        self._table: dict[str, tuple[bytes, ...]] = {}
        self._reverse: dict[str, str] = {}
        for name, value in table.items():
            addresses = (value,) if isinstance(value, bytes) else value
            self._table[name.lower()] = addresses
            for address in addresses:
                self._reverse.setdefault(reverse_name(address), name)

    def datagram(self, payload: bytes, source: tuple[bytes, int], now: int) -> bytes | None:
        try:
            query = DnsMessage.parse(payload)
        except Malformed:
            return None
        if query.is_response:
            return None
        self.queries += 1
        reply = self.reply(query)
        opt = (dns.Edns().record(),) if query.edns is not None else ()
        if opt:
            reply = DnsMessage(reply.id, reply.flags, reply.questions, reply.answers, reply.authority, opt)
        return reply.emit(answer_size(query))

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
        if name in self._reverse:
            answers = (Record(question.name, dns.PTR, dns.IN, self.ttl, self._reverse[name]),)
            return query.reply(dns.NOERROR, answers if question.type in (dns.PTR, dns.ANY) else (), flags=dns.AA)
        if name not in self._table:
            return query.reply(dns.NXDOMAIN, flags=dns.AA)
        wanted = {dns.A: (4,), dns.AAAA: (16,), dns.ANY: (4, 16)}.get(question.type, ())
        found = tuple(
            Record(question.name, dns.A if len(address) == 4 else dns.AAAA, dns.IN, self.ttl, address)
            for address in self._table[name]
            if len(address) in wanted
        )
        return query.reply(dns.NOERROR, found, flags=dns.AA)
