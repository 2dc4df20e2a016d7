"""The LAN's DNS server and bytes: as dnspython reads it, sizes, and bytes that are no question."""

from __future__ import annotations

import dns.message as dns_message
import dns.rcode as dns_rcode
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.bounds import DNS_QUERY_SIZE
from aero_lab.egress.contract import Answer
from aero_lab.limits import DNS_EDNS_SIZE, NEVER, SECOND
from aero_lab.wire import dns
from aero_lab.wire.address import ip
from aero_lab.wire.dns import DnsMessage, Edns

from .dns_bench import GUEST, NAME, OTHER, PUBLIC, SOA, Bench, record

# As dnspython reads it ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edns", [-1, 0])
@pytest.mark.parametrize(
    ("name", "rtype", "rcode", "texts"),
    [
        ("two.LAB", "A", "NOERROR", ["10.1.1.1", "10.1.1.2"]),
        ("alias.lab", "A", "NOERROR", ["Files.LAB.", "203.0.113.10"]),
        ("lab", "MX", "NOERROR", ["5 mail.lab."]),
        ("lab", "TXT", "NOERROR", ['"a" "b"']),
        ("_x._tcp.lab", "SRV", "NOERROR", ["1 2 3 files.lab."]),
        ("10.113.0.203.in-addr.arpa", "PTR", "NOERROR", ["files.lab."]),
        ("files.lab", "HTTPS", "NOERROR", []),
        ("files.lab", "MX", "NOERROR", []),
        ("x.invalid", "A", "NXDOMAIN", []),
        ("nowhere.example", "ANY", "NOERROR", ['"RFC8482" ""']),
        ("example.com", "AXFR", "NOTIMP", []),
    ],
)
def test_dnspython_reads_every_answer(name, rtype, rcode, texts, edns):
    b = Bench()
    query = dns_message.make_query(name, rtype, use_edns=edns)
    b.server.handle(query.to_wire(), GUEST, 0)
    answer = dns_message.from_wire(b.sent[0][1], ignore_trailing=False)
    assert query.is_response(answer) and answer.edns == edns and str(answer.question[0].name) == name + "."
    assert dns_rcode.to_text(answer.rcode()) == rcode
    assert [item.to_text() for rrset in answer.answer for item in rrset] == texts
    if not texts and rcode != "NOTIMP":
        (soa,) = answer.authority
        assert soa.rdtype == 6 and query.question[0].name.is_subdomain(soa.name)


# Sizes ----------------------------------------------------------------------------------------------------------------


def large(number):
    return Answer.of(NAME, tuple(bytes((93, 184, i >> 8, i & 255)) for i in range(number)), 60)


@pytest.mark.parametrize(
    ("edns", "most"), [(None, 512), (Edns(100), 512), (Edns(900), 900), (Edns(4096), DNS_EDNS_SIZE)]
)
def test_answers_are_cut_to_what_the_client_takes(edns, most):
    b = Bench()
    b.ask(edns=edns)
    b.server.resolved(1, large(200), 0)
    (_, payload), (said,) = b.sent[0], b.answers()
    assert said.truncated and most - 16 <= len(payload) <= most
    assert len(said.answers) == (most - len(DnsMessage.query(7, NAME, edns=edns).emit())) // 16
    assert (said.edns is None) == (edns is None)
    assert b.server.counters["truncated"] == 1
    whole = b.ask(stream=True)
    assert not whole.truncated and len(whole.answers) == 200


def test_edns_is_answered_with_edns():
    b = Bench()
    assert b.ask("files.lab").edns is None
    said = b.ask("files.lab", edns=Edns(4096, flags=dns.EDNS_DO, options=((10, b"12345678"),)))
    assert said.edns == Edns(DNS_EDNS_SIZE) and len(said.answers) == 1
    b.server.resolved(b.ask(edns=Edns()) or 1, Answer("servfail"), 0)
    assert b.answers()[-1].edns.options == ((dns.EDE, b"\0\x16"),)


def test_an_edns_version_that_nobody_knows():
    b = Bench()
    said = b.ask("files.lab", edns=Edns(version=1))
    assert (said.rcode | said.edns.extended_rcode << 4, said.edns.version) == (dns.BADVERS, 0)
    assert said.answers == () and b.server.counters["badvers"] == 1


def test_cache_is_bounded_oldest_first_and_may_be_off():
    b = Bench(dns_cache=2)
    for i, name in enumerate(("a.example", "b.example", "c.example"), 1):
        b.ask(name)
        b.server.resolved(i, Answer.of(name, (PUBLIC,), 60), 0)
    assert b.ask("c.example") and b.ask("b.example")
    assert b.ask("a.example") is None
    off = Bench(dns_cache=0)
    off.told(Answer.of(NAME, (PUBLIC,), 60))
    assert off.ask() is None


# Bytes that are no question -------------------------------------------------------------------------------------------


def header(flags=0x0100, qd=1, an=0, ns=0, ar=0):
    return b"".join(n.to_bytes(2, "big") for n in (7, flags, qd, an, ns, ar))


QUESTION = b"\1a\7example\0\0\1\0\1"
OPT = b"\0\0\x29\x04\xd0" + bytes(6)


@pytest.mark.parametrize(
    ("payload", "reason", "rcode"),
    [
        (b"", "dns-short", None),
        (bytes(11), "dns-short", None),
        (header(0x8100) + QUESTION, "dns-response", None),
        (header(), "dns-count", dns.FORMERR),
        (header() + QUESTION[:-3], "dns-question-short", dns.FORMERR),
        (header() + b"\5abc", "dns-count", dns.FORMERR),
        (header() + b"\xc0\x0c\0\1\0\1", "dns-pointer", dns.FORMERR),
        (header() + b"\1a\xc0\x0c\0\1\0\1", "dns-pointer", dns.FORMERR),
        (header() + b"\xc0\xff\0\1\0\1", "dns-pointer", dns.FORMERR),
        (header() + b"\x40" + b"a" * 64 + b"\0\0\1\0\1", "dns-label-type", dns.FORMERR),
        (header() + (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1", "dns-name-length", dns.FORMERR),
        (header(qd=0), "dns-question-count", dns.FORMERR),
        (header(qd=2) + QUESTION * 2, "dns-question-count", dns.FORMERR),
        (header(qd=65535) + QUESTION, "dns-question-count", dns.FORMERR),
        (header(an=1) + QUESTION + OPT, "dns-sections", dns.FORMERR),
        (header(ar=9) + QUESTION + OPT * 9, "dns-sections", dns.FORMERR),
        (header(ar=2) + QUESTION + OPT * 2, "dns-opt", dns.FORMERR),
        (header(ar=1) + QUESTION + b"\1x" + OPT, "dns-opt", dns.FORMERR),
        (header(ar=1) + QUESTION + OPT[:-1] + b"\5", "dns-record-short", dns.FORMERR),
        (header(ar=1) + QUESTION + OPT[:-1] + b"\5\0\1\0\5x", "dns-rdata", dns.FORMERR),
        (header() + QUESTION + bytes(DNS_QUERY_SIZE), "dns-too-long", dns.FORMERR),
        (header(0x2900, qd=1, an=9) + b"update", "dns-opcode", dns.NOTIMP),
    ],
)
def test_what_is_no_question(payload, reason, rcode):
    b = Bench()
    said = b.raw(payload)
    assert b.server.counters[reason] == 1 and b.server.counters["queries"] == 0
    if rcode is None:
        assert said is None
    else:
        opcode = int.from_bytes(payload[2:4], "big") & 0x7900
        assert (said.id, said.flags, said.questions) == (7, 0x8080 | opcode | rcode, ())
    assert b.lookups == []


def test_a_large_message_costs_nothing_to_refuse():
    """Thousands of names of many labels: refused by size before any of them is read."""
    b = Bench()
    name = b"\1a" * 127 + b"\0"
    message = header(ar=1000) + QUESTION + (name + OPT[1:]) * 180
    assert len(message) > 45_000
    assert b.raw(message).rcode == dns.FORMERR
    assert b.server.counters == {"dns-too-long": 1, "formerr": 1}


@given(st.binary(max_size=600), st.booleans())
def test_no_bytes_raise(payload, stream):
    b = Bench()
    b.server.handle(payload, GUEST, 0, stream)
    b.server.handle(DnsMessage.query(1, "files.lab").emit()[: len(payload)] + payload, GUEST, 0, stream)
    b.server.handle(header(ar=1) + QUESTION + payload, GUEST, 0, stream)
    for query, name, *_ in b.lookups:
        b.server.resolved(query, Answer.of(name, (PUBLIC,), 5), 0)
    for _, sent in b.sent:
        DnsMessage.parse(sent)


types = st.sampled_from([dns.A, dns.AAAA, dns.CNAME, dns.PTR, dns.TXT, 65])
owners = st.sampled_from(["a.example", "b.example", "c.example", "A.example"])
values = {
    dns.A: st.sampled_from([PUBLIC, OTHER, ip("10.0.0.1")]),
    dns.AAAA: st.sampled_from([ip("2606:4700::1"), ip("::1")]),
    dns.CNAME: owners,
    dns.PTR: owners,
    dns.TXT: st.just((b"x",)),
    65: st.just(b"\0\1\0"),
}
records = types.flatmap(lambda t: st.builds(record, owners, st.just(t), values[t], st.integers(0, 500)))
answers = st.builds(
    Answer,
    st.sampled_from(["ok", "nodata", "nxdomain", "servfail"]),
    st.lists(records, max_size=6).map(tuple),
    st.sampled_from([None, SOA, record("example", dns.SOA, SOA.rdata, 20)]),
)


@settings(max_examples=60)
@given(st.lists(st.tuples(owners, types, answers, st.integers(0, 100 * SECOND)), max_size=8))
def test_whatever_a_resolver_says_no_forbidden_address_gets_out(steps):
    """A state machine in small: any answers to any questions, any time between them."""
    b = Bench(gateway6=ip("fd00:aee0::2"), dns_cache=3)
    now = 0
    for id, (name, rtype, answer, later) in enumerate(steps):
        before = len(b.lookups)
        b.ask(name, rtype, now=now, id=id)
        for query, *_ in b.lookups[before:]:
            b.server.resolved(query, answer, now)
        said = b.answers()[-1]
        assert said.id == id and said.questions[0].name == name and len(b.sent) == id + 1
        for each in said.answers:
            assert each.rdata not in (ip("10.0.0.1"), ip("::1"))
            assert each.ttl <= 300
        if said.rcode == dns.NXDOMAIN or (said.rcode == dns.NOERROR and not any(r.type == rtype for r in said.answers)):
            assert said.authority[0].type == dns.SOA
        assert len(b.server.cache) <= 3
        now += later
    assert b.server.poll_at() == NEVER
