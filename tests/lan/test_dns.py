"""The LAN's DNS server: order of judgement, what is answered how, who waits, and limits."""

from __future__ import annotations

import pytest

from aero_lab.egress.contract import Answer
from aero_lab.lan.policy import Policy
from aero_lab.limits import NEVER, SECOND
from aero_lab.wire import dns
from aero_lab.wire.address import ip
from aero_lab.wire.dns import DnsMessage, Edns

from .dns_bench import GUEST, NAME, OTHER, PUBLIC, SOA, Bench, held, record


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


# Static names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "rtype", "expected"),
    [
        ("TWO.lab", dns.A, [("TWO.lab", dns.A, ip("10.1.1.1")), ("TWO.lab", dns.A, ip("10.1.1.2"))]),
        ("two.lab", dns.AAAA, [("two.lab", dns.AAAA, ip("fd00::1"))]),
        ("alias.lab", dns.A, [("alias.lab", dns.CNAME, "Files.LAB"), ("files.lab", dns.A, ip("203.0.113.10"))]),
        ("alias.lab", dns.CNAME, [("alias.lab", dns.CNAME, "Files.LAB")]),
        ("lab", dns.MX, [("lab", dns.MX, dns.Mx(5, "mail.lab"))]),
        ("lab", dns.TXT, [("lab", dns.TXT, (b"a", b"b"))]),
        ("_x._tcp.lab", dns.SRV, [("_x._tcp.lab", dns.SRV, dns.Srv(1, 2, 3, "files.lab"))]),
        ("10.113.0.203.in-addr.arpa", dns.PTR, [("10.113.0.203.in-addr.arpa", dns.PTR, "files.lab")]),
        ("2.1.1.10.in-addr.arpa", dns.PTR, [("2.1.1.10.in-addr.arpa", dns.PTR, "two.lab")]),
    ],
)
def test_static_records_of_every_type(name, rtype, expected):
    b = Bench(gateway6=ip("fd00:aee0::2"))
    answer = b.ask(name, rtype)
    assert (answer.rcode, held(answer), answer.authority) == (dns.NOERROR, expected, ())
    assert b.lookups == []
    if rtype == dns.AAAA:
        answer = Bench().ask(name, rtype)
        assert (answer.rcode, answer.answers, answer.authority[0].type) == (dns.NOERROR, (), dns.SOA), "no IPv6 here"


def test_static_name_without_the_type_is_nodata_and_can_be_remembered():
    b = Bench()
    for name, rtype, owner in (("files.lab", dns.AAAA, "files.lab"), ("alias.lab", dns.MX, "Files.LAB")):
        answer = b.ask(name, rtype)
        (soa,) = answer.authority
        assert (answer.rcode, soa.type, soa.name, soa.ttl, soa.rdata.minimum) == (0, dns.SOA, owner, 60, 60)
    assert [r.type for r in answer.answers] == [dns.CNAME], "the alias is there all the same"
    assert b.lookups == []


def test_static_alias_that_leads_outside_is_looked_up_and_judged_there():
    b = Bench()
    assert b.ask("out.lab") is None
    assert b.lookups == [(1, NAME, "A", 0)]
    b.server.resolved(1, Answer.of(NAME, (PUBLIC,), 50), 0)
    assert held(b.answers()[0]) == [("out.lab", dns.CNAME, NAME), (NAME, dns.A, PUBLIC)]
    assert held(b.ask(NAME)) == [(NAME, dns.A, PUBLIC)], "what was learned serves the name itself"
    b = Bench()
    b.ask("out.lab")
    b.server.resolved(1, Answer.of(NAME, (ip("10.0.0.1"),), 50), 0)
    assert b.answers()[0].rcode == dns.NXDOMAIN
    assert Bench(policy=Policy(blocked_domains=("example.com",))).ask("out.lab").rcode == dns.NXDOMAIN


def test_static_aliases_in_a_circle_end():
    answer = Bench().ask("loop.lab")
    assert 1 <= len(answer.answers) <= 16 and {r.type for r in answer.answers} == {dns.CNAME}


# What the world says --------------------------------------------------------------------------------------------------


def test_lookup_answer_cache_and_remaining_time():
    b = Bench()
    assert b.ask(now=0) is None
    assert b.lookups == [(1, NAME, "A", 0)]
    b.server.resolved(1, Answer.of(NAME, (PUBLIC, OTHER), 100), 1 * SECOND)
    (answer,) = b.answers()
    assert (answer.id, answer.rcode, answer.flags) == (7, 0, 0x8180)
    assert [(r.rdata, r.ttl) for r in answer.answers] == [(PUBLIC, 100), (OTHER, 100)], "all of them"
    assert b.server.name_of(PUBLIC) == b.server.name_of(OTHER) == NAME
    cached = b.ask("WWW.example.COM", now=41 * SECOND, id=8)
    assert [r.ttl for r in cached.answers] == [60, 60]
    assert cached.questions[0].name == cached.answers[0].name == "WWW.example.COM"
    assert b.ask(now=101 * SECOND) is None
    assert len(b.lookups) == 2


def test_aliases_are_passed_on_each_with_its_own_time():
    b = Bench()
    chain = (
        record(NAME, dns.CNAME, "a.cdn.example", 200),
        record("a.CDN.example", dns.CNAME, "b.cdn.example", 20),
        record("b.cdn.example", dns.A, PUBLIC, 30),
        record("b.cdn.example", dns.A, PUBLIC, 30),
        record("unrelated.example", dns.A, OTHER, 30),
    )
    answer = b.told(Answer("ok", chain))
    assert [(r.type, r.ttl) for r in answer.answers] == [(dns.CNAME, 200), (dns.CNAME, 20), (dns.A, 30)]
    assert [r.ttl for r in b.ask(now=19 * SECOND).answers] == [181, 1, 11]
    assert b.ask(now=20 * SECOND) is None, "as long as the shortest link"


def test_times_to_live_are_capped_and_given_when_unknown():
    for told, given_ in ((0, 60), (299, 299), (86400, 300)):
        assert Bench().told(Answer.of(NAME, (PUBLIC,), told)).answers[0].ttl == given_


@pytest.mark.parametrize(
    ("answer", "rcode", "seconds"),
    [
        (Answer("nxdomain", soa=SOA), dns.NXDOMAIN, 90),
        (Answer("nodata", soa=SOA), dns.NOERROR, 90),
        (Answer("nodata"), dns.NOERROR, 0),
        (Answer("nxdomain"), dns.NXDOMAIN, 0),
        (Answer("nxdomain", soa=record("example.org", dns.SOA, SOA.rdata)), dns.NXDOMAIN, 0),
        (Answer("servfail"), dns.SERVFAIL, 1),
        (Answer("ok", (record(NAME, dns.CNAME, NAME),)), dns.SERVFAIL, 1),
        (Answer("ok", tuple(record(NAME, dns.TXT, (bytes(255),) * 3) for _ in range(50))), dns.SERVFAIL, 1),
    ],
)
def test_failures_are_kept_apart_and_remembered_as_long_as_they_hold(answer, rcode, seconds):
    b = Bench()
    said = b.told(answer)
    assert (said.rcode, said.answers) == (rcode, ())
    if rcode == dns.SERVFAIL:
        assert said.authority == ()
    else:
        assert said.authority[0].type == dns.SOA
        assert min(said.authority[0].ttl, said.authority[0].rdata.minimum) == seconds, "for the client's cache"
    if seconds > 1:
        assert b.ask(now=(seconds - 1) * SECOND).authority[0].ttl == 1
    elif seconds:
        assert b.ask(now=SECOND - 1).rcode == rcode
    assert b.ask(now=seconds * SECOND) is None
    assert len(b.lookups) == 2


def test_alias_to_nothing_keeps_its_aliases():
    chain = (record(NAME, dns.CNAME, "gone.example.com", 40),)
    said = Bench().told(Answer("nxdomain", chain, SOA))
    assert (said.rcode, held(said)) == (dns.NXDOMAIN, [(NAME, dns.CNAME, "gone.example.com")])
    assert said.authority[0].ttl == 40, "no longer than the alias holds"


def test_silence_ends_after_two_seconds_as_a_failure():
    b = Bench()
    b.ask(now=5)
    b.ask("later.example", now=SECOND)
    assert b.server.poll_at() == 5 + 2 * SECOND
    b.server.tick(4 + 2 * SECOND)
    assert b.sent == []
    b.server.tick(5 + 2 * SECOND)
    assert [a.rcode for a in b.answers()] == [dns.SERVFAIL]
    assert b.server.poll_at() == 3 * SECOND
    b.server.resolved(1, Answer.of(NAME, (PUBLIC,), 60), 3 * SECOND)  # too late, harmless
    b.server.tick(3 * SECOND)
    assert len(b.sent) == 2
    assert b.server.poll_at() == NEVER


def test_same_question_is_looked_up_once_and_answered_to_each_as_it_asked():
    b = Bench()
    for client, id, name in (
        (GUEST, 1, NAME),
        (GUEST, 1, NAME),
        (GUEST, 2, NAME),
        ((GUEST[0], 4), 1, "wWw.ExAmPlE.cOm"),
    ):
        b.ask(name, client=client, id=id)
    assert len(b.lookups) == 1 and b.server.counters["shared-lookups"] == 3
    b.server.resolved(1, Answer.of(NAME, (PUBLIC,), 60), 0)
    got = [(client[1], (m := DnsMessage.parse(p)).id, m.questions[0].name) for client, p in b.sent]
    assert got == [(33333, 1, NAME), (33333, 2, NAME), (4, 1, "wWw.ExAmPlE.cOm")]


def test_pending_limit():
    b = Bench(dns_pending=2)
    b.ask("a.example")
    b.ask("b.example")
    assert b.ask("c.example").rcode == dns.SERVFAIL
    assert b.ask("a.example", id=9).rcode == dns.SERVFAIL, "those who wait are counted, not the lookups"
    b.server.resolved(1, Answer("servfail"), 0)
    assert b.ask("c.example") is None
    assert Bench(dns_pending=0).ask().rcode == dns.SERVFAIL


# Policy ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "addresses",
    [
        ("10.0.0.1",),
        ("93.184.216.34", "127.0.0.1"),
        ("169.254.169.254", "93.184.216.34"),
        ("168.63.129.16",),
        ("100.100.100.200",),
        ("192.0.0.192",),
    ],
)
def test_one_forbidden_address_spoils_the_name(addresses):
    b = Bench()
    said = b.told(Answer.of(NAME, tuple(map(ip, addresses)), 60))
    assert (said.rcode, said.answers) == (dns.NXDOMAIN, ())
    assert b.server.counters["denied-address"] == 1 and b.denied[0][:2] == (GUEST, NAME)
    assert b.ask(now=59 * SECOND).rcode == dns.NXDOMAIN, "as long as the answer would have held"
    assert b.server.counters["denied-address"] == 2
    assert b.ask(now=60 * SECOND) is None, "asked again: another answer is another matter"
    b.server.resolved(2, Answer.of(NAME, (PUBLIC,), 60), 60 * SECOND)
    assert b.answers()[-1].rcode == dns.NOERROR


@pytest.mark.parametrize(
    "address",
    [
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "64:ff9b:1::1",
        "2002:a00:1::1",
        "2001::1",
        "fd00:ec2::254",
        "fe80::1",
        "::1",
        "::",
        "ff02::1",
    ],
)
def test_forbidden_forms_of_ipv6(address):
    b = Bench(gateway6=ip("fd00:aee0::2"))
    b.ask(rtype=dns.AAAA)
    good = record(NAME, dns.AAAA, ip("2606:4700::1"))
    b.server.resolved(1, Answer("ok", (good, record(NAME, dns.AAAA, ip(address)))), 0)
    assert b.answers()[0].rcode == dns.NXDOMAIN


def test_a_forbidden_address_behind_an_alias_spoils_the_name():
    chain = (record(NAME, dns.CNAME, "inner.example"), record("inner.example", dns.A, ip("192.168.0.1")))
    assert Bench().told(Answer("ok", chain)).rcode == dns.NXDOMAIN


def test_an_alias_under_a_blocked_domain_spoils_the_name_and_one_outside_the_allowed_does_not():
    chain = (record(NAME, dns.CNAME, "x.Tracker.example"), record("x.tracker.example", dns.A, PUBLIC))
    b = Bench(policy=Policy(blocked_domains=("tracker.example",)))
    assert b.told(Answer("ok", chain)).rcode == dns.NXDOMAIN
    assert b.server.counters["denied-alias"] == 1
    assert Bench(policy=Policy(allowed_domains=("example.com",))).told(Answer("ok", chain)).rcode == dns.NOERROR
    numeric = (record(NAME, dns.CNAME, "0x7f.1"), record("0x7f.1", dns.A, PUBLIC))
    assert Bench().told(Answer("ok", numeric)).rcode == dns.NXDOMAIN
    only_lab = Bench(policy=Policy(allowed_domains=("lab",)))
    assert only_lab.ask("out.lab") is None and only_lab.ask(NAME).rcode == dns.NXDOMAIN


def test_domain_policy_comes_before_everything():
    b = Bench(policy=Policy(blocked_domains=("lab", "example.com")))
    assert b.ask("files.lab").rcode == dns.NXDOMAIN
    said = b.ask(NAME, dns.MX, edns=Edns())
    assert said.rcode == dns.NXDOMAIN
    assert dict(said.edns.options)[dns.EDE] == b"\0\x0fblocked-domain"
    assert b.ask("x.example.com", 65).rcode == b.ask("example.com", dns.ANY).rcode == dns.NXDOMAIN
    assert b.lookups == [] and b.server.counters["denied-name"] == 4
    assert b.denied[1] == (GUEST, NAME, "blocked-domain")


@pytest.mark.parametrize(
    "name",
    [
        "1.2.0.10.in-addr.arpa",
        "2.0.10.in-addr.arpa",
        "5.129.192.168.192.in-addr.arpa",
        "x.1.168.192.in-addr.arpa",
        "254.169.254.169.in-addr.arpa",
        "9.9.0.203.in-addr.arpa",
        "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa",
    ],
)
def test_reverse_names_of_special_ranges_stay_here(name):
    b = Bench()
    if name.startswith("9.9"):
        assert b.ask(name, dns.PTR) is None, "203.0.9.9 is an ordinary address"
        return
    assert b.ask(name, dns.PTR).rcode == dns.NXDOMAIN
    assert b.lookups == [] and b.server.counters["denied-reverse"] == 1
    private = Bench(policy=Policy(allow_private=True))
    if name.startswith("254.169"):
        assert private.ask(name, dns.PTR).rcode == dns.NXDOMAIN, "metadata services are nobody's"
        return
    assert private.ask(name, dns.PTR) is None and private.lookups[0][1:3] == (name, "PTR")


# Types, names and families --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["A", "CNAME", "PTR", "TXT", "MX", "SRV"])
def test_types_that_are_looked_up(text):
    b = Bench()
    values = {
        "A": PUBLIC,
        "CNAME": "x.example",
        "PTR": "x.example",
        "TXT": (b"v=spf1", b""),
        "MX": dns.Mx(1, "mx.example"),
        "SRV": dns.Srv(1, 2, 3, "srv.example"),
    }
    assert b.ask(rtype=getattr(dns, text)) is None
    assert b.lookups == [(1, NAME, text, 0)]
    b.server.resolved(1, Answer("ok", (record(NAME, getattr(dns, text), values[text]),)), 0)
    assert held(b.answers()[0]) == [(NAME, getattr(dns, text), values[text])]


@pytest.mark.parametrize("rtype", [2, 6, 35, 43, 48, 64, 65, 257, 65280])
def test_other_data_types_are_there_without_data(rtype):
    """RFC 8906: NOTIMP would be an invitation to ask again."""
    b = Bench()
    said = b.ask(rtype=rtype)
    assert (said.rcode, said.answers, said.authority[0].name) == (dns.NOERROR, (), NAME)
    assert b.lookups == []


def test_types_that_ask_for_no_data_and_other_classes():
    b = Bench()
    for rtype in (128, 249, 250, 251, 252, 253, 254):
        assert b.ask(rtype=rtype).rcode == dns.NOTIMP
    assert b.ask(rtype=dns.OPT).rcode == b.ask(rtype=0).rcode == dns.FORMERR
    chaos = DnsMessage(9, dns.RD, (dns.Question("version.bind", dns.TXT, 3),))
    assert b.raw(chaos.emit()).rcode == dns.NOTIMP
    assert b.lookups == []


def test_any_gets_something_that_exists():
    """RFC 8482."""
    b = Bench()
    (said,) = b.ask("www.example.org", dns.ANY).answers
    assert (said.type, said.rdata, said.name) == (13, b"\x07RFC8482\0", "www.example.org")
    assert {r.type for r in b.ask("lab", dns.ANY).answers} == {dns.MX, dns.TXT}
    assert b.lookups == []


def test_names_that_have_a_meaning_of_their_own():
    b = Bench(gateway6=ip("fd00:aee0::2"))
    assert held(b.ask("localhost")) == [("localhost", dns.A, ip("127.0.0.1"))]
    assert held(b.ask("X.LocalHost", dns.AAAA)) == [("X.LocalHost", dns.AAAA, ip("::1"))]
    assert b.ask("localhost", dns.MX).rcode == dns.NOERROR
    assert b.ask("a.invalid").rcode == b.ask("a.onion").rcode == dns.NXDOMAIN
    assert b.lookups == []


def test_ipv6_is_answered_empty_while_the_lan_has_none_and_looked_up_when_it_has():
    b = Bench()
    said = b.ask(rtype=dns.AAAA)
    assert (said.rcode, said.answers, said.authority[0].type) == (dns.NOERROR, (), dns.SOA)
    assert b.lookups == []
    b = Bench(gateway6=ip("fd00:aee0::2"))
    b.ask(rtype=dns.AAAA)
    assert b.lookups == [(1, NAME, "AAAA", 0)]
    b.server.resolved(1, Answer.of(NAME, (ip("2606:4700::1"), ip("2606:4700::2")), 60), 0)
    assert [r.rdata for r in b.answers()[0].answers] == [ip("2606:4700::1"), ip("2606:4700::2")]


def test_judge_tells_the_step_and_changes_nothing():
    b = Bench(policy=Policy(blocked_domains=("bad.example",)))
    steps = {
        ("x.bad.example.", dns.A): ("policy", "nxdomain"),
        (NAME, 65): ("type", "nodata"),
        (NAME, 252): ("type", "notimp"),
        ("FILES.lab", dns.A): ("static", "answer"),
        ("files.lab", dns.MX): ("static", "nodata"),
        ("localhost", dns.A): ("special-use", "answer"),
        ("1.0.0.10.in-addr.arpa", dns.PTR): ("reverse", "nxdomain"),
        (NAME, dns.AAAA): ("family", "nodata"),
        (NAME, dns.A): ("lookup", "lookup"),
    }
    for (name, rtype), expected in steps.items():
        found = b.server.judge(name, rtype, 0)
        assert (found.step, found.outcome) == expected
    assert not b.lookups and not b.sent and not b.server.counters
    b.told(Answer.of(NAME, (PUBLIC,), 60))
    assert (b.server.judge(NAME, dns.A, 0).step, b.server.judge(NAME, dns.A, 60 * SECOND).step) == ("cache", "lookup")
    assert Bench(dns_pending=0).server.judge(NAME, dns.A, 0).outcome == "servfail"
