"""A name server on loopback, written with dnspython: UDP and TCP on one port, and it can misbehave."""

from __future__ import annotations

import asyncio

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

ZONE = """
one.example. 77 IN A 192.0.2.1
two.example. 77 IN A 192.0.2.1
two.example. 77 IN A 192.0.2.2
six.example. 77 IN AAAA 2001:db8::1
www.example. 200 IN CNAME cdn.example.
cdn.example. 20 IN CNAME Edge.cdn.example.
edge.cdn.example. 30 IN A 192.0.2.9
dangling.example. 40 IN CNAME nowhere.example.
empty.example. 40 IN CNAME six.example.
mail.example. 60 IN MX 10 mx1.example.
mail.example. 60 IN MX 20 mx2.example.
text.example. 60 IN TXT "v=spf1 -all" ""
_sip._tcp.example. 60 IN SRV 1 2 5060 one.example.
1.2.0.192.in-addr.arpa. 60 IN PTR one.example.
odd\\.label.example. 60 IN A 192.0.2.3
"""
SOA = "ns.example. root.example. 1 3600 600 86400 45"


class NameServer(asyncio.DatagramProtocol):
    """Authoritative for ``example`` and ``in-addr.arpa``. Aliases are followed, as a resolver does."""

    def __init__(self) -> None:
        self.sets: dict[tuple[str, str], dns.rrset.RRset] = {}
        for line in ZONE.strip().splitlines():
            name, ttl, cls, rtype, value = line.split(None, 4)
            key = (name.lower(), rtype)
            if key not in self.sets:
                self.sets[key] = dns.rrset.RRset(dns.name.from_text(name), 1, dns.rdatatype.from_text(rtype))
            self.sets[key].add(dns.rdata.from_text(cls, rtype, value), int(ttl))
        self.many("many.example.", 100)
        self.asked: list[tuple[str, str, str]] = []
        """Transport, name and type of each query."""
        self.mute = False
        self.rcode: dns.rcode.Rcode | None = None
        self.soa = True
        self.always_truncated = False
        self.garbage: bytes | None = None
        """Said instead of an answer, behind the query's identifier."""

    def many(self, name: str, number: int) -> None:
        found = dns.rrset.from_text_list(name, 50, "IN", "A", [f"198.18.{i >> 8}.{i & 255}" for i in range(number)])
        self.sets[name, "A"] = found

    # The transports --------------------------------------------------------------------------------------------------

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data, addr) -> None:
        query = dns.message.from_wire(data)
        if self.garbage is not None:
            self.asked.append(("udp", "", ""))
            self.transport.sendto(data[:2] + self.garbage, addr)
            return
        if (reply := self.reply(query, "udp")) is not None:
            most = max(512, query.payload)
            whole = reply.to_wire(max_size=65535)
            if len(whole) > most or self.always_truncated:
                reply.flags |= dns.flags.TC
                reply.answer = []
                whole = reply.to_wire()
            self.transport.sendto(whole, addr)

    async def stream(self, reader, writer) -> None:
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(2), "big")
                reply = self.reply(dns.message.from_wire(await reader.readexactly(size)), "tcp")
                if reply is not None:
                    data = reply.to_wire(max_size=65535)
                    writer.write(len(data).to_bytes(2, "big") + data)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def reply(self, query: dns.message.Message, transport: str) -> dns.message.Message | None:
        name, rtype = query.question[0].name, dns.rdatatype.to_text(query.question[0].rdtype)
        self.asked.append((transport, str(name), rtype))
        if self.mute:
            return None
        reply = dns.message.make_response(query, recursion_available=True)
        if self.rcode is not None:
            reply.set_rcode(self.rcode)
            return reply
        at = str(name).lower()
        while (alias := self.sets.get((at, "CNAME"))) is not None and rtype != "CNAME":
            reply.answer.append(alias)
            at = str(alias[0].target).lower()
        if (at, rtype) in self.sets:
            reply.answer.append(self.sets[at, rtype])
            return reply
        if not any(known == at for known, _ in self.sets):
            reply.set_rcode(dns.rcode.NXDOMAIN)
        if self.soa:
            reply.authority.append(dns.rrset.from_text("example.", 300, "IN", "SOA", SOA))
        return reply


class Served:
    """``async with Served() as (server, [(host, port)])``."""

    async def __aenter__(self):
        loop = asyncio.get_running_loop()
        self._udp, server = await loop.create_datagram_endpoint(NameServer, ("127.0.0.1", 0))
        where = self._udp.get_extra_info("sockname")[:2]
        try:
            self._tcp = await asyncio.start_server(server.stream, *where)
        except OSError:  # the port is taken for TCP: try another
            self._udp.close()
            return await self.__aenter__()
        return server, [where]

    async def __aexit__(self, *_):
        self._udp.close()
        self._tcp.close()
