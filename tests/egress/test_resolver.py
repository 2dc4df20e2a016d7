"""HostResolver against a name server on loopback that is not ours, and against hosts files."""

from __future__ import annotations

import asyncio
import socket

import dns.rcode
import dns.resolver
import pytest

from aero_lab.egress.contract import RECORD_TYPES, Answer
from aero_lab.egress.host import HostEgress
from aero_lab.egress.resolver import HostResolver, read_hosts
from aero_lab.limits import MS
from aero_lab.wire import dns as wire
from aero_lab.wire.address import ip
from aero_lab.wire.dns import Mx, Record, Soa, Srv

from .name_server import Served
from .recording import RecordingSink

HOSTS = """
127.0.0.1 localhost localhost.localdomain  # a comment
::1       localhost
10.1.2.3  Printer.  printer.home
10.1.2.4  printer
nonsense  name
256.1.1.1 name
10.9.9.9
# 10.8.8.8 commented
"""
SOA = Record("example", wire.SOA, wire.IN, 45, Soa("ns.example", "root.example", 1, 3600, 600, 86400, 45))


def record(name, rtype, ttl, held):
    return Record(name, rtype, wire.IN, ttl, held)


def test_hosts_file():
    found = read_hosts(HOSTS)
    assert found["localhost", "A"] == (ip("127.0.0.1"),)
    assert found["localhost", "AAAA"] == (ip("::1"),)
    assert found["printer", "A"] == (ip("10.1.2.3"), ip("10.1.2.4"))
    assert found["printer.home", "A"] == (ip("10.1.2.3"),)
    assert found["3.2.1.10.in-addr.arpa", "PTR"] == ("printer",)
    assert found["1.0.0.127.in-addr.arpa", "PTR"] == ("localhost",)
    assert not any(name in ("name", "commented") for name, _ in found)


def with_server(go, **settings):
    """Run ``go(resolver, server)``."""

    async def main():
        async with Served() as (server, where):
            await go(HostResolver(where, **{"hosts": None, **settings}), server)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "rtype", "records"),
    [
        ("One.Example.", "A", (("one.example", wire.A, 77, ip("192.0.2.1")),)),
        ("six.example", "AAAA", (("six.example", wire.AAAA, 77, ip("2001:db8::1")),)),
        (
            "mail.example",
            "MX",
            (
                ("mail.example", wire.MX, 60, Mx(10, "mx1.example")),
                ("mail.example", wire.MX, 60, Mx(20, "mx2.example")),
            ),
        ),
        ("text.example", "TXT", (("text.example", wire.TXT, 60, (b"v=spf1 -all", b"")),)),
        ("_sip._tcp.example", "SRV", (("_sip._tcp.example", wire.SRV, 60, Srv(1, 2, 5060, "one.example")),)),
        ("1.2.0.192.in-addr.arpa", "PTR", (("1.2.0.192.in-addr.arpa", wire.PTR, 60, "one.example"),)),
        ("www.example", "CNAME", (("www.example", wire.CNAME, 200, "cdn.example"),)),
        (
            "www.example",
            "A",
            (
                ("www.example", wire.CNAME, 200, "cdn.example"),
                ("cdn.example", wire.CNAME, 20, "Edge.cdn.example"),
                ("Edge.cdn.example", wire.A, 30, ip("192.0.2.9")),
            ),
        ),
        ("odd\\046label.example", "A", (("odd\\046label.example", wire.A, 60, ip("192.0.2.3")),)),
    ],
)
def test_records_of_every_type(name, rtype, records):
    async def go(resolver, server):
        found = await resolver.lookup(name, rtype)
        assert found.status == "ok" and sorted(map(str, found.records)) == sorted(str(record(*r)) for r in records)

    with_server(go)


def test_all_addresses_of_a_name():
    async def go(resolver, server):
        assert set((await resolver.lookup("two.example", "A")).addresses) == {ip("192.0.2.1"), ip("192.0.2.2")}

    with_server(go)


def test_no_such_name_and_no_such_record_tell_how_long_that_holds():
    async def go(resolver, server):
        assert await resolver.lookup("none.example", "A") == Answer("nxdomain", (), SOA)
        assert await resolver.lookup("six.example", "A") == Answer("nodata", (), SOA)
        gone = (record("dangling.example", wire.CNAME, 40, "nowhere.example"),)
        assert await resolver.lookup("dangling.example", "A") == Answer("nxdomain", gone, SOA)
        alias = (record("empty.example", wire.CNAME, 40, "six.example"),)
        assert await resolver.lookup("empty.example", "A") == Answer("nodata", alias, SOA)
        server.soa = False
        assert await resolver.lookup("none.example", "A") == Answer("nxdomain")
        assert await resolver.lookup("six.example", "MX") == Answer("nodata")

    with_server(go)


def test_what_does_not_fit_is_asked_for_again_over_tcp():
    async def go(resolver, server):
        found = await resolver.lookup("many.example", "A")
        assert len(found.addresses) == 100
        assert [transport for transport, *_ in server.asked] == ["udp", "tcp"]
        server.many("huge.example.", 512)
        assert len((await resolver.lookup("huge.example", "A")).addresses) == 512
        server.many("larger.example.", 513)
        assert await resolver.lookup("larger.example", "A") == Answer("servfail")
        server.asked.clear()
        assert len((await resolver.lookup("two.example", "A")).addresses) == 2
        assert [transport for transport, *_ in server.asked] == ["udp"]

    with_server(go)


def test_truncated_answers_are_never_taken():
    async def go(resolver, server):
        server.always_truncated = True
        assert (await resolver.lookup("one.example", "A")).addresses == (ip("192.0.2.1"),)
        assert [transport for transport, *_ in server.asked] == ["udp", "tcp"]

    with_server(go)


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "FORMERR", "NOTIMP"])
def test_failures_of_the_server_are_failures(rcode):
    async def go(resolver, server):
        server.rcode = dns.rcode.from_text(rcode)
        assert await resolver.lookup("one.example", "A") == Answer("servfail")

    with_server(go)


QUESTION = b"\3one\7example\0\0\1\0\1"


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\x81\x80\0\1\0\1\0\0\0\0" + QUESTION,
        b"\x81\x80\0\1\0\1\0\0\0\0" + QUESTION + b"\xc0\x1d\0\1\0\1\0\0\0\5\0\4abcd",
        b"\x81\x80\0\1\0\1\0\0\0\0" + QUESTION + b"\xc0\x0c\0\1\0\1\0\0\0\5\0\5abcde",
        b"\x81\x80\0\1\0\1\0\0\0\0\3two\7example\0\0\1\0\1\xc0\x0c\0\1\0\1\0\0\0\5\0\4abcd",
        b"\x01\x00\0\1\0\0\0\0\0\0" + QUESTION,
        b"\x81\x80\xff\xff\xff\xff\xff\xff\xff\xff" + QUESTION,
        b"\x81\x80\0\1\0\1\0\0\0\0" + QUESTION + b"\x40" + b"a" * 64 + b"\0\0\1\0\1\0\0\0\5\0\4abcd",
    ],
)
def test_an_answer_that_makes_no_sense_is_none(garbage):
    """No answer, one cut short, a pointer to itself, an address of five bytes, another question's, a question..."""

    async def go(resolver, server):
        server.garbage = garbage
        assert await resolver.lookup("one.example", "A") == Answer("servfail")
        server.garbage = None
        assert (await resolver.lookup("one.example", "A")).status == "ok"

    with_server(go, timeout=300 * MS)


def test_silence_is_a_failure_within_the_time_allowed():
    async def go(resolver, server):
        server.mute = True
        assert await resolver.lookup("one.example", "A") == Answer("servfail")
        assert len(server.asked) >= 2, "asked once more before it gave up"

    with_server(go, timeout=300 * MS)


def test_a_dead_server_makes_room_for_the_next():
    async def main():
        async with Served() as (dead, first), Served() as (_, second):
            dead.mute = True
            resolver = HostResolver(first + second, hosts=None)
            assert (await resolver.lookup("one.example", "A")).addresses == (ip("192.0.2.1"),)

    asyncio.run(main())


def test_what_is_no_name():
    async def go(resolver, server):
        for bad in ("a..b", "x" * 64 + ".example", ".".join(["x" * 63] * 4), "\u00e9.example"):
            for rtype in RECORD_TYPES:
                assert await resolver.lookup(bad, rtype) == Answer("servfail")
        assert server.asked == []
        assert (await resolver.lookup("", "A")).status in ("nxdomain", "nodata")

    with_server(go)


def test_hosts_file_comes_first(tmp_path):
    file = tmp_path / "hosts"
    file.write_text("198.51.100.7 one.example\n198.51.100.8 \u00e9.example " + "x" * 64 + "\n")

    async def go(resolver, server):
        assert await resolver.lookup("one.example", "A") == Answer.of("one.example", (ip("198.51.100.7"),))
        back = await resolver.lookup("7.100.51.198.in-addr.arpa", "PTR")
        assert [r.rdata for r in back.records] == ["one.example"]
        assert (await resolver.lookup("x" * 64, "A")).status == "servfail"
        assert server.asked == []
        assert (await resolver.lookup("one.example", "MX")).status == "nodata"
        assert len(server.asked) == 1, "what a hosts file cannot tell is asked for"

    with_server(go, hosts=file)


def test_without_a_configuration_the_library_is_asked(monkeypatch):
    def none(*_, **__):
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr("aero_lab.egress.resolver.dns.asyncresolver.Resolver", none)

    async def go():
        resolver = HostResolver(hosts=None)
        loop = asyncio.get_running_loop()

        async def found(*_, **__):
            return [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.9", 0)),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.9", 0)),
                (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1%eth0", 0, 0, 0)),
            ]

        def failing(error):
            async def fail(*_, **__):
                raise error

            return fail

        monkeypatch.setattr(loop, "getaddrinfo", found)
        assert await resolver.lookup("one.example", "A") == Answer.of("one.example", (ip("192.0.2.9"),))
        assert await resolver.lookup("one.example", "AAAA") == Answer.of("one.example", (ip("fe80::1"),))
        assert await resolver.lookup("one.example", "MX") == Answer("servfail"), "it cannot tell"
        for error, status in (
            (socket.gaierror(socket.EAI_NONAME, "unknown"), "nxdomain"),
            (socket.gaierror(socket.EAI_AGAIN, "try again"), "servfail"),
            (OSError("no"), "servfail"),
        ):
            monkeypatch.setattr(loop, "getaddrinfo", failing(error))
            assert await resolver.lookup("one.example", "A") == Answer(status)

    asyncio.run(go())


@pytest.mark.parametrize("broken", [False, True])
def test_egress_resolves_on_its_loop_and_tells_from_step(broken):
    async def go(resolver, server):
        loop = asyncio.get_running_loop()
        sink = RecordingSink()
        work = asyncio.Event()
        if broken:

            async def fail(*_):
                raise RuntimeError("a defect")

            resolver.lookup = fail
        egress = HostEgress(sink, loop, work.set, resolver=resolver)
        try:
            egress.resolve(4, "one.example", "A", 0)
            await asyncio.wait_for(work.wait(), 20)
            assert sink.calls == []
            egress.step(0)
            answer = Answer("servfail") if broken else Answer.of("one.example", (ip("192.0.2.1"),), 77)
            assert sink.calls == [("resolved", 4, answer)]
        finally:
            egress.stop()

    with_server(go)
