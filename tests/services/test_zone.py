"""Static names: what a table finds, and the name server of the lab over a stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aero_lab.bounds import DNS_ALIASES, DNS_QUERY_SIZE
from aero_lab.errors import Malformed, UsageError
from aero_lab.limits import SERVICE_BUFFER
from aero_lab.services import RECORDS, names
from aero_lab.services.dns import Dns, MessageReader, framed
from aero_lab.services.zone import Zone, own_soa, parent
from aero_lab.wire import dns
from aero_lab.wire.address import ip
from aero_lab.wire.dns import DnsMessage, Record


def record(name, rtype, held, ttl=9):
    return Record(name, rtype, dns.IN, ttl, held)


def found(zone, name, rtype):
    what = zone.find(name, rtype)
    return what and ([(r.name, r.type, r.rdata) for r in what.records], what.beyond)


ZONE = Zone(
    {"A.lab.": ip("192.0.2.1"), "b.LAB": (ip("192.0.2.1"), ip("2001:db8::1"))},
    [
        record("c.lab", dns.CNAME, "A.LAB"),
        record("d.lab", dns.CNAME, "c.lab"),
        record("out.lab", dns.CNAME, "Www.Example"),
        record("x.y.z.lab", dns.TXT, (b"deep",)),
        record("2.2.0.192.in-addr.arpa", dns.PTR, "own.lab"),
    ],
    ttl=33,
)


def test_addresses_aliases_and_reverse_names():
    assert found(ZONE, "a.lab", dns.A) == ([("a.lab", dns.A, ip("192.0.2.1"))], None)
    assert found(ZONE, "b.lab", dns.AAAA) == ([("b.lab", dns.AAAA, ip("2001:db8::1"))], None)
    chain = [("d.lab", dns.CNAME, "c.lab"), ("c.lab", dns.CNAME, "A.LAB")]
    assert found(ZONE, "d.lab", dns.A) == ([*chain, ("a.lab", dns.A, ip("192.0.2.1"))], None)
    assert found(ZONE, "d.lab", dns.MX) == (chain, None)
    assert found(ZONE, "d.lab", dns.CNAME) == (chain[:1], None)
    assert found(ZONE, "out.lab", dns.A) == ([("out.lab", dns.CNAME, "Www.Example")], "www.example")
    back = "1.2.0.192.in-addr.arpa"
    assert found(ZONE, back, dns.PTR) == ([(back, dns.PTR, "a.lab")], None), "the first name that has it"
    assert found(ZONE, "2.2.0.192.in-addr.arpa", dns.PTR)[0][0][2] == "own.lab"
    assert found(ZONE, "a.lab", dns.MX) == ([], None)
    assert found(ZONE, "nowhere.lab", dns.A) is None
    assert len(ZONE.find("b.lab", dns.ANY).records) == 2
    assert ZONE.find("a.lab", dns.A).records[0].ttl == 33


def test_names_above_names_exist():
    assert "a.lab" in ZONE and "z.lab" not in ZONE
    assert all(ZONE.is_above(name) for name in ("lab", "z.lab", "y.z.lab", "arpa", ""))
    assert not ZONE.is_above("x.y.z.lab") and not ZONE.is_above("q.lab")


def test_an_alias_stands_alone():
    for other in (record("c.lab", dns.TXT, (b"x",)), record("c.lab", dns.CNAME, "else.lab")):
        with pytest.raises(UsageError, match="alias"):
            Zone({}, [record("c.lab", dns.CNAME, "a.lab"), other])


@given(st.integers(1, 40), st.booleans())
def test_aliases_end_whatever_they_say(length, circle):
    names_ = [f"n{i}.lab" for i in range(length)]
    chain = [record(a, dns.CNAME, b) for a, b in zip(names_, names_[1:] + [names_[0] if circle else "end.lab"])]
    what = Zone({"end.lab": ip("192.0.2.1")}, chain).find("n0.lab", dns.A)
    assert len(what.records) <= DNS_ALIASES
    assert any(r.type == dns.A for r in what.records) == (not circle and length < DNS_ALIASES)


def test_own_soa_holds_as_long_as_it_says():
    soa = own_soa("lab", 7)
    assert (soa.ttl, soa.rdata.minimum, soa.name, parent("a.b.lab"), parent("lab"), parent("")) == (
        *(7, 7, "lab", "b.lab", "", ""),
    )


# Over a stream --------------------------------------------------------------------------------------------------------


def test_questions_in_a_row_are_answered_in_order():
    session = Dns(names(), RECORDS).connected()
    questions = [("www.lab", dns.A), ("lab", dns.MX), ("nowhere.lab", dns.A), ("lab", dns.A)]
    data = b"".join(framed(DnsMessage.query(i, *q).emit()) for i, q in enumerate(questions))
    for at in range(0, len(data), 7):
        assert session.room >= 7
        session.data(data[at : at + 7])
    reader, got = MessageReader(65535), []
    while out := session.output(11):
        reader.feed(out)
        while (message := reader.take()) is not None:
            got.append(DnsMessage.parse(message))
    assert [(m.id, m.rcode, len(m.answers), len(m.authority)) for m in got] == [
        (0, 0, 2, 0),
        (1, 0, 1, 0),
        (2, 3, 0, 1),
        (3, 0, 0, 1),
    ]
    assert not session.done
    session.eof()
    assert session.done


@pytest.mark.parametrize(
    "data", [b"\0\0", b"\xff\xff", framed(b"\0\1\1\0\0\1" + bytes(6)), framed(b"\0\1\x80\0" + bytes(8))]
)
def test_what_is_no_question_ends_the_conversation(data):
    session = Dns({}).connected()
    session.data(framed(DnsMessage.query(1, "a.lab").emit()) + data)
    assert session.done
    assert len(session.output(1 << 20)) > 0, "what was asked before is answered"


def test_answers_wait_in_bounds():
    session = Dns({}, [record("t.lab", dns.TXT, (bytes(255),) * 40)]).connected()
    query = framed(DnsMessage.query(1, "t.lab", dns.TXT).emit())
    turns = 0
    while session.room >= len(query):
        session.data(query)
        turns += 1
        assert turns < 100
    assert turns <= SERVICE_BUFFER // 10_000 + 1
    assert len(session.output(1 << 20)) <= SERVICE_BUFFER + 11_000
    assert session.room


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_no_stream_raises(pieces):
    session = Dns(names()).connected()
    for piece in pieces:
        if session.room >= len(piece):
            session.data(piece)
    session.eof()
    session.output(1 << 16)


def test_a_reader_holds_one_message_at_most():
    reader = MessageReader(20)
    assert reader.room == 22 and reader.empty
    reader.feed(framed(bytes(20)))
    assert reader.room == 0 and reader.take() == bytes(20) and reader.empty and reader.take() is None
    reader.feed(b"\0\x15")
    with pytest.raises(Malformed, match="dns-too-long"):
        reader.take()
    assert MessageReader().room == DNS_QUERY_SIZE + 2
