"""A DNS server of a LAN by itself: what it asks of the world and says to guests is kept."""

from __future__ import annotations

from aero_lab.lan.config import LanConfig
from aero_lab.lan.dns import DnsServer
from aero_lab.wire import dns
from aero_lab.wire.address import ip
from aero_lab.wire.dns import DnsMessage, Record, Soa

GUEST = (ip("10.0.2.15"), 33333)
PUBLIC, OTHER = ip("93.184.216.34"), ip("93.184.216.35")
NAME = "www.example.com"
SOA = Record("example.com", dns.SOA, dns.IN, 90, Soa("ns.example.com", "root.example.com", 1, 2, 3, 4, 90))


def record(name, rtype, held, ttl=100):
    return Record(name, rtype, dns.IN, ttl, held)


STATIC = (
    record("alias.lab", dns.CNAME, "Files.LAB"),
    record("out.lab", dns.CNAME, NAME),
    record("loop.lab", dns.CNAME, "pool.lab"),
    record("pool.lab", dns.CNAME, "loop.lab"),
    record("lab", dns.MX, dns.Mx(5, "mail.lab")),
    record("lab", dns.TXT, (b"a", b"b")),
    record("_x._tcp.lab", dns.SRV, dns.Srv(1, 2, 3, "files.lab")),
)


class Bench:
    def __init__(self, records=STATIC, **config):
        self.lookups: list[tuple] = []
        self.sent: list[tuple] = []
        self.denied: list[tuple] = []
        self.server = DnsServer(
            LanConfig(
                names={"Files.lab": ip("203.0.113.10"), "two.lab": (ip("10.1.1.1"), ip("10.1.1.2"), ip("fd00::1"))},
                records=records,
                **config,
            ),
            lambda *call: self.lookups.append(call),
            lambda client, payload, now: self.sent.append((client, payload)),
            lambda client, name, why, now: self.denied.append((client, name, why)),
        )

    def raw(self, payload, now=0, client=GUEST, stream=False):
        before = len(self.sent)
        self.server.handle(payload, client, now, stream)
        return DnsMessage.parse(self.sent[-1][1]) if len(self.sent) > before else None

    def ask(self, name=NAME, rtype=dns.A, now=0, id=7, client=GUEST, stream=False, **fields):
        return self.raw(DnsMessage.query(id, name, rtype, **fields).emit(), now, client, stream)

    def answers(self):
        return [DnsMessage.parse(payload) for _, payload in self.sent]

    def told(self, answer, now=0):
        """Ask for NAME, tell the server what the lookup came to, and return the answer."""
        self.ask(now=now)
        self.server.resolved(len(self.lookups), answer, now)
        return self.answers()[-1]


def held(message):
    return [(r.name, r.type, r.rdata) for r in message.answers]
