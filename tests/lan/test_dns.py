"""The LAN's DNS server: order of judgement, cache, limits, and bytes that are no question."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aero_lab.egress.contract import Answer
from aero_lab.lan.config import LanConfig
from aero_lab.lan.dns import DnsServer
from aero_lab.lan.policy import Policy
from aero_lab.limits import NEVER, SECOND
from aero_lab.wire import dns
from aero_lab.wire.address import ip
from aero_lab.wire.dns import DnsMessage

GUEST = (ip("10.0.2.15"), 33333)
PUBLIC, OTHER = ip("93.184.216.34"), ip("93.184.216.35")


class Bench:
    def __init__(self, **config):
        self.lookups: list[tuple] = []
        self.sent: list[tuple] = []
        self.server = DnsServer(
            LanConfig(names={"Files.lab": ip("203.0.113.10")}, **config),
            lambda *call: self.lookups.append(call),
            lambda client, payload, now: self.sent.append((client, payload)),
        )

    def ask(self, name="www.example.com", rtype=dns.A, now=0, id=7, client=GUEST, **fields):
        before = len(self.sent)
        self.server.handle(DnsMessage.query(id, name, rtype, **fields).emit(), client, now)
        return DnsMessage.parse(self.sent[-1][1]) if len(self.sent) > before else None

    def answers(self):
        return [DnsMessage.parse(payload) for _, payload in self.sent]


def test_answer_is_the_contract_to_the_byte():
    b = Bench()
    b.server.handle(bytes.fromhex("beef0100000100000000000005") + b"FiLes\x03lAB\0\0\x01\0\x01", GUEST, 0)
    client, payload = b.sent[0]
    assert client == GUEST
    assert payload == (
        bytes.fromhex("beef8180000100010000000005")
        + b"FiLes\x03lAB\0\0\x01\0\x01"
        + bytes.fromhex("c00c00010001")
        + (60).to_bytes(4, "big")
        + b"\0\x04"
        + ip("203.0.113.10")
    )
    assert b.lookups == []


def test_lookup_answer_cache_and_remaining_time():
    b = Bench()
    assert b.ask(now=0) is None
    assert b.lookups == [(1, "www.example.com", "A", 0)]
    b.server.resolved(1, Answer("ok", (PUBLIC, OTHER), 100), 1 * SECOND)
    (answer,) = b.answers()
    assert (answer.id, answer.rcode, answer.flags) == (7, 0, 0x8180)
    assert [(r.rdata, r.ttl) for r in answer.answers] == [(PUBLIC, 100)], "one record, the resolver's first"
    assert b.server.name_of(PUBLIC) == "www.example.com"
    cached = b.ask("WWW.example.COM", now=41 * SECOND, id=8)
    assert cached.answers[0].ttl == 60
    assert cached.questions[0].name == "WWW.example.COM"
    assert b.ask(now=101 * SECOND) is None
    assert len(b.lookups) == 2


def test_times_to_live_are_capped_and_given_when_unknown():
    for told, given_ in ((None, 60), (0, 60), (299, 299), (86400, 300)):
        b = Bench()
        b.ask()
        b.server.resolved(1, Answer("ok", (PUBLIC,), told), 0)
        assert b.answers()[0].answers[0].ttl == given_


def test_same_question_is_looked_up_once_and_answered_to_all():
    b = Bench()
    for client, id in ((GUEST, 1), (GUEST, 1), (GUEST, 2), ((GUEST[0], 44444), 1)):
        b.ask(client=client, id=id)
    assert len(b.lookups) == 1
    b.server.resolved(1, Answer("ok", (PUBLIC,), 60), 0)
    assert [(client[1], DnsMessage.parse(p).id) for client, p in b.sent] == [(33333, 1), (33333, 2), (44444, 1)]


def test_failures_are_nxdomain_and_not_cached():
    for status in ("nxdomain", "nodata", "failed"):
        b = Bench()
        b.ask()
        b.server.resolved(1, Answer(status), 0)
        assert b.answers()[0].rcode == dns.NXDOMAIN
        b.ask()
        assert len(b.lookups) == 2


def test_one_forbidden_address_spoils_the_name():
    for addresses in ((ip("10.0.0.1"),), (PUBLIC, ip("127.0.0.1")), (ip("169.254.169.254"), PUBLIC)):
        b = Bench()
        b.ask()
        b.server.resolved(1, Answer("ok", addresses, 60), 0)
        assert b.answers()[0].rcode == dns.NXDOMAIN
        assert b.answers()[0].answers == ()
        assert b.server.counters["denied-address"] == 1
        b.ask()
        assert len(b.lookups) == 2, "asked again: another answer may be another matter"


def test_domain_policy_comes_before_everything():
    b = Bench(policy=Policy(blocked_domains=("lab", "example.com")))
    assert b.ask("files.lab").rcode == dns.NXDOMAIN
    assert b.ask("www.example.com", dns.MX).rcode == dns.NXDOMAIN
    assert b.lookups == []


def test_types_and_classes():
    b = Bench()
    assert b.ask(rtype=dns.MX).rcode == dns.NOTIMP
    assert b.ask(rtype=dns.ANY).rcode == dns.NOTIMP
    six = b.ask(rtype=dns.AAAA)
    assert (six.rcode, six.answers) == (dns.NOERROR, ())
    assert b.ask("files.lab", dns.AAAA).rcode == dns.NOERROR
    assert b.ask("10.113.0.203.in-addr.arpa", dns.PTR).answers[0].rdata == "files.lab"
    assert b.ask("1.1.1.1.in-addr.arpa", dns.PTR).rcode == dns.NOTIMP
    chaos = DnsMessage(9, dns.RD, (dns.Question("version.bind", dns.TXT, 3),))
    b.server.handle(chaos.emit(), GUEST, 0)
    assert b.answers()[-1].rcode == dns.NOTIMP
    assert b.lookups == []


def test_ipv6_is_looked_up_when_the_lan_has_it():
    b = Bench(gateway6=ip("fd00:aee0::2"))
    b.ask(rtype=dns.AAAA)
    assert b.lookups == [(1, "www.example.com", "AAAA", 0)]
    b.server.resolved(1, Answer("ok", (ip("2606:4700::1"),), 60), 0)
    assert b.answers()[0].answers[0].rdata == ip("2606:4700::1")
    b.ask("only-six.example", dns.A)
    b.server.resolved(2, Answer("nodata"), 0)
    assert b.answers()[1].rcode == dns.NOERROR, "the name exists, on its AAAA"


def test_silence_ends_after_two_seconds():
    b = Bench()
    b.ask(now=5)
    b.ask("later.example", now=SECOND)
    assert b.server.poll_at() == 5 + 2 * SECOND
    b.server.tick(4 + 2 * SECOND)
    assert b.sent == []
    b.server.tick(5 + 2 * SECOND)
    assert [a.rcode for a in b.answers()] == [dns.NXDOMAIN]
    assert b.server.poll_at() == 3 * SECOND
    b.server.resolved(1, Answer("ok", (PUBLIC,), 60), 3 * SECOND)  # too late, harmless
    b.server.tick(3 * SECOND)
    assert len(b.sent) == 2
    assert b.server.poll_at() == NEVER


def test_pending_limit():
    b = Bench(dns_pending=2)
    b.ask("a.example")
    b.ask("b.example")
    assert b.ask("c.example").rcode == dns.SERVFAIL
    assert b.ask("a.example", id=9).rcode == dns.SERVFAIL, "those who wait are counted, not the lookups"
    b.server.resolved(1, Answer("failed"), 0)
    assert b.ask("c.example") is None
    assert Bench(dns_pending=0).ask().rcode == dns.SERVFAIL


def test_cache_is_bounded_oldest_first_and_may_be_off():
    b = Bench(dns_cache=2)
    for i, name in enumerate(("a.example", "b.example", "c.example"), 1):
        b.ask(name)
        b.server.resolved(i, Answer("ok", (PUBLIC,), 60), 0)
    assert b.ask("c.example") and b.ask("b.example")
    assert b.ask("a.example") is None
    off = Bench(dns_cache=0)
    off.ask()
    off.server.resolved(1, Answer("ok", (PUBLIC,), 60), 0)
    assert off.ask() is None


def test_what_is_no_single_question_gets_no_answer():
    b = Bench()
    two = DnsMessage(1, dns.RD, (dns.Question("a.example"), dns.Question("b.example"))).emit()
    none = DnsMessage(1, dns.RD).emit()
    response = DnsMessage(1, dns.QR, (dns.Question("a.example"),)).emit()
    loop = bytes.fromhex("000701000001000000000000c00c00010001")
    label = bytes.fromhex("00070100000100000000000040") + b"a" * 64 + b"\0\0\1\0\1"
    long = bytes.fromhex("000701000001000000000000") + (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1"
    for payload in (b"", b"\0" * 11, two, none, response, loop, label, long):
        b.server.handle(payload, GUEST, 0)
    assert b.sent == [] and b.lookups == []
    assert sum(b.server.counters.values()) == 8


def test_edns_is_passed_over():
    b = Bench()
    answer = b.ask("files.lab", edns=dns.Edns())
    assert answer.edns is None and len(answer.answers) == 1


@given(st.binary(max_size=600))
def test_no_bytes_raise(payload):
    b = Bench()
    b.server.handle(payload, GUEST, 0)
    b.server.handle(DnsMessage.query(1, "files.lab").emit()[: len(payload)] + payload, GUEST, 0)
    for query, *_ in b.lookups:
        b.server.resolved(query, Answer("ok", (PUBLIC,), 5), 0)
    for _, sent in b.sent:
        DnsMessage.parse(sent)
