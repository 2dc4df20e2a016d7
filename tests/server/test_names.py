"""Names over HTTP: RFC 8484 and JSON, name servers that misbehave, what is remembered and for how long."""

from __future__ import annotations

import asyncio
import base64
import json
import struct

import dns.flags
import dns.message
import dns.rcode
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from aero_lab.errors import Malformed, UsageError
from aero_lab.limits import SECOND
from aero_lab.server.names.forwarder import Forwarder, Memory
from aero_lab.server.names.messages import Asked, answers, error, lifetime, read_query, told
from aero_lab.server.names.upstreams import Upstream, parse_upstream
from tests.egress.name_server import Served

from .rig import on_a_loop, rig

OPEN = {"auth_mode": "none", "dns_qps_per_ip": 0}
MESSAGE = "application/dns-message"


def upstream(where):
    ((host, port),) = where
    return f"{host}:{port}"


def query(name="one.example.", rtype="A", **options):
    return dns.message.make_query(name, rtype, **options)


async def ask(r, message, method="POST", headers=None, path="/dns-query"):
    """Status, headers and body of a question asked over HTTP."""
    raw = message if isinstance(message, bytes) else message.to_wire()
    headers = dict(headers or {})
    if method == "GET":
        text = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        async with r.client.get(f"{r.origin}{path}?dns={text}", headers=headers) as answer:
            return answer.status, answer.headers, await answer.read()
    headers.setdefault("Content-Type", MESSAGE)
    async with r.client.post(r.origin + path, data=raw, headers=headers) as answer:
        return answer.status, answer.headers, await answer.read()


async def resolved(r, message, method="POST"):
    status, headers, body = await ask(r, message, method)
    assert status == 200 and headers["Content-Type"] == MESSAGE and headers["Cache-Control"] == "no-store"
    found = dns.message.from_wire(body)
    assert found.id == message.id and found.question == message.question
    return found


def texts(message):
    return sorted(str(item) for rrset in message.answer for item in rrset)


# The usual ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
@on_a_loop
async def test_answers_of_an_upstream(method):
    async with Served() as (server, where), rig(**OPEN, dns_upstreams=upstream(where)) as r:
        found = await resolved(r, query(id=0), method)
        assert texts(found) == ["192.0.2.1"] and found.answer[0].ttl == 77
        assert texts(await resolved(r, query("www.example."), method)) == [
            "192.0.2.9",
            "Edge.cdn.example.",
            "cdn.example.",
        ]
        assert (await resolved(r, query("nothing.example."), method)).rcode() == dns.rcode.NXDOMAIN
        assert texts(await resolved(r, query("mail.example.", "MX"), method)) == ["10 mx1.example.", "20 mx2.example."]
        found = await resolved(r, query("OnE.eXaMpLe."), method)
        assert str(found.question[0].name) == "OnE.eXaMpLe." and texts(found) == ["192.0.2.1"]
        found = await resolved(r, query("one.example.", use_edns=0, want_dnssec=True), method)
        assert found.edns == 0
        names = [name for _, name, _ in server.asked]
        assert names.count("one.example.") == 2  # with and without EDNS; another spelling is no other question
        metrics = (await r.get("/metrics"))[2]
        assert 'dns_queries_total{qtype="A",rcode="NOERROR",source="cache"} 1.0' in metrics
        assert 'dns_queries_total{qtype="A",rcode="NXDOMAIN",source="upstream"} 1.0' in metrics
        assert 'dns_cache_hits_total{qtype="A"} 1.0' in metrics and "dns_cache_misses_total 5.0" in metrics
        assert "dns_upstream_latency_seconds_count 5.0" in metrics


@on_a_loop
async def test_what_is_remembered_counts_down():
    async with Served() as (server, where), rig(**OPEN, dns_upstreams=upstream(where)) as r:
        assert (await resolved(r, query())).answer[0].ttl == 77
        names = r.proxy.shared[Forwarder]
        clock, ahead = names._now, 0
        names._now = lambda: clock() + ahead
        for ahead, ttl in ((10 * SECOND, 67), (70 * SECOND, 7), (76 * SECOND, 1)):
            assert (await resolved(r, query(id=ahead % 60_000))).answer[0].ttl in (ttl, ttl - 1)
        assert len(server.asked) == 1
        ahead = 78 * SECOND
        assert (await resolved(r, query())).answer[0].ttl == 77 and len(server.asked) == 2
        # Negative answers hold as long as their SOA says: 45 s here.
        assert (await resolved(r, query("none.example."))).rcode() == dns.rcode.NXDOMAIN
        ahead += 44 * SECOND
        await resolved(r, query("none.example."))
        assert len(server.asked) == 3
        ahead += 2 * SECOND
        await resolved(r, query("none.example."))
        assert len(server.asked) == 4
        server.rcode = dns.rcode.SERVFAIL
        for _ in range(2):  # what failed is asked again
            assert (await resolved(r, query("six.example.", "AAAA"))).rcode() == dns.rcode.SERVFAIL
        assert len(server.asked) == 6


@on_a_loop
async def test_an_answer_that_was_cut_is_asked_for_over_tcp():
    async with Served() as (server, where), rig(**OPEN, dns_upstreams=upstream(where)) as r:
        server.always_truncated = True
        assert texts(await resolved(r, query())) == ["192.0.2.1"]
        assert [transport for transport, _, _ in server.asked] == ["udp", "tcp"]
        assert len(texts(await resolved(r, query("many.example.")))) == 100
        server.always_truncated = False
        server.many("more.example.", 400)  # more than an answer may hold
        assert (await resolved(r, query("more.example."))).rcode() == dns.rcode.SERVFAIL
        assert r.proxy.metrics.gateway.dns_errors.labels(upstream(where), "too-large")._value.get() == 1


class Forger(asyncio.DatagramProtocol):
    """Answers with forgeries first: another identifier, another question, a query, bytes that are nothing."""

    truth = True

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        asked = dns.message.from_wire(data)
        forged = dns.message.make_response(asked)
        forged.answer.append(dns.rrset.from_text(asked.question[0].name, 300, "IN", "A", "203.0.113.66"))
        wrong_id = bytearray(forged.to_wire())
        wrong_id[0] ^= 0xFF
        other = dns.message.make_response(dns.message.make_query("other.example.", "A", id=asked.id))
        other.answer = forged.answer
        cut, no_query = forged.to_wire()[:-3], bytearray(forged.to_wire())
        no_query[2] &= 0x7F
        for each in (wrong_id, other.to_wire(), cut, no_query, data, b"", b"x", bytes(5000)):
            self.transport.sendto(bytes(each), addr)
        if self.truth:
            answer = dns.message.make_response(asked)
            answer.answer.append(dns.rrset.from_text(asked.question[0].name, 30, "IN", "A", "192.0.2.7"))
            self.transport.sendto(answer.to_wire(), addr)


@on_a_loop
async def test_forgeries_are_passed_over():
    loop = asyncio.get_running_loop()
    transport, forger = await loop.create_datagram_endpoint(Forger, ("127.0.0.1", 0))
    where = [transport.get_extra_info("sockname")]
    try:
        async with rig(**OPEN, dns_upstreams=upstream(where), dns_upstream_timeout_ms=5000) as r:
            assert texts(await resolved(r, query("a.example."))) == ["192.0.2.7"]
        forger.truth = False
        async with rig(**OPEN, dns_upstreams=upstream(where), dns_upstream_timeout_ms=300) as r:
            found = await resolved(r, query("b.example."))
            assert found.rcode() == dns.rcode.SERVFAIL and not found.answer
            assert len(r.proxy.shared[Forwarder].memory) == 0
    finally:
        transport.close()


@on_a_loop
async def test_the_next_upstream_is_asked_and_one_lookup_serves_all():
    async with Served() as (mute, first), Served() as (server, second):
        mute.mute = True
        both = f"{upstream(first)},udp://{upstream(second)}"
        async with rig(**OPEN, dns_upstreams=both, dns_upstream_timeout_ms=400) as r:
            asked = [query("two.example.", id=i) for i in range(20)]
            found = await asyncio.gather(*(resolved(r, each) for each in asked))
            assert all(texts(each) == ["192.0.2.1", "192.0.2.2"] for each in found)
            assert len(mute.asked) == 1 and len(server.asked) == 1
            mute.mute, mute.rcode = False, dns.rcode.REFUSED
            assert texts(await resolved(r, query())) == ["192.0.2.1"]
            errors = r.proxy.metrics.gateway.dns_errors
            assert errors.labels(upstream(first), "timeout")._value.get() == 1
            assert errors.labels(upstream(first), "refused")._value.get() == 1
            server.mute = True
            mute.mute = True
            assert (await resolved(r, query("six.example.", "AAAA"))).rcode() == dns.rcode.SERVFAIL


@on_a_loop
async def test_an_upstream_over_https():
    seen = []

    async def serve(request):
        raw = await request.read()
        seen.append((request.content_type, raw[:2]))
        answer = dns.message.make_response(dns.message.from_wire(raw))
        answer.answer.append(dns.rrset.from_text(answer.question[0].name, 30, "IN", "A", "192.0.2.8"))
        return web.Response(body=answer.to_wire(), content_type=MESSAGE if len(seen) == 1 else "text/html")

    app = web.Application()
    app.router.add_post("/dns-query", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with rig(**OPEN, dns_upstreams=f"http://127.0.0.1:{port}/dns-query") as r:
            assert texts(await resolved(r, query(id=4711))) == ["192.0.2.8"]
            assert seen == [(MESSAGE, b"\0\0")]
            assert (await resolved(r, query("two.example."))).rcode() == dns.rcode.SERVFAIL  # no DNS message
    finally:
        await runner.cleanup()


@on_a_loop
async def test_without_upstreams_the_world_is_asked():
    names = {"echo.local": bytes((203, 0, 113, 10))}
    async with rig(**OPEN, dns_a=names, blocked_domains=("evil.example",)) as r:
        assert texts(await resolved(r, query("Echo.Local."))) == ["203.0.113.10"]
        assert texts(await resolved(r, query("localhost."), "GET")) == ["127.0.0.1"]
        assert (await resolved(r, query("www.evil.example."))).rcode() in (dns.rcode.NXDOMAIN, dns.rcode.REFUSED)
        assert (await resolved(r, query("x.invalid."))).rcode() == dns.rcode.NXDOMAIN


# What is refused ------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_policy():
    async with Served() as (server, where), rig(**OPEN, dns_upstreams=upstream(where)) as r:
        for name, rtype in (
            ("one.example.", "ANY"),
            ("1.0.0.10.in-addr.arpa.", "PTR"),
            ("1.0.0.127.IN-ADDR.arpa.", "PTR"),
        ):
            found = await resolved(r, query(name, rtype))
            assert found.rcode() == dns.rcode.REFUSED and not found.answer
        assert server.asked == []
        found = dns.message.make_query("one.example.", "A", rdclass="CH")
        assert (await resolved(r, found)).rcode() == dns.rcode.NOTIMP
    more = {"dns_allow_any": True, "dns_allow_private_ptr": True}
    async with Served() as (server, where), rig(**OPEN, **more, dns_upstreams=upstream(where)) as r:
        await resolved(r, query("one.example.", "ANY"))
        await resolved(r, query("1.0.0.10.in-addr.arpa.", "PTR"))
        assert len(server.asked) == 2


@on_a_loop
async def test_questions_that_are_none():
    good = query("one.example.", id=0x1234).to_wire()
    async with Served() as (server, where), rig(**OPEN, dns_upstreams=upstream(where)) as r:
        for raw in (
            b"",
            b"\x12",
            good[:11],
            good[:20],
            b"\x12\x34\x81\x00" + good[4:],  # an answer
            good[:4] + b"\x00\x02" + good[6:],
            good[:4] + b"\x00\x00" + good[6:],
            good[:12] + b"\xc0\x0c\x00\x01\x00\x01",  # a pointer to itself
            good[:12] + b"\x40" + bytes(64) + b"\0\0\1\0\1",
            good[:12] + (b"\x3f" + b"x" * 63) * 4 + b"\0\0\1\0\1",  # 257 octets
            good[:10] + b"\xff\xff" + good[12:],
        ):
            for method in ("GET", "POST"):
                status, headers, body = await ask(r, raw, method)
                assert status == 400 and headers["Content-Type"] == MESSAGE and len(body) == 12, raw
                assert body[3] & 15 == dns.rcode.FORMERR and body[2] & 0x80 and body[:2] in (raw[:2], b"\0\0")
        for path in ("/dns-query", "/dns-query?dns=", "/dns-query?dns=%21%21", "/dns-query?dns=AAAAA"):
            async with r.client.get(r.origin + path) as answer:
                assert answer.status == 400 and await answer.read() == bytes.fromhex("000080810000000000000000")
        # Padding, and bits that are not canonical, are taken.
        async with r.client.get(f"{r.origin}/dns-query?dns={base64.urlsafe_b64encode(good).decode()}") as answer:
            assert answer.status == 200
        status, _, body = await ask(r, good + bytes(5000))
        assert status == 413 and body[:2] == b"\x12\x34" and body[3] & 15 == dns.rcode.FORMERR
        status, _, body = await ask(r, good + bytes(4200), "GET")
        assert status == 413 and body[:2] == b"\x12\x34" and len(body) == 12
        status, _, body = await ask(r, good, headers={"Content-Type": "text/plain"})
        assert status == 415 and body[3] & 15 == dns.rcode.FORMERR
        assert (await ask(r, good, headers={"Content-Type": f"{MESSAGE}; charset=x"}))[0] == 200
        async with r.client.put(f"{r.origin}/dns-query", data=good) as answer:
            assert answer.status == 405


@on_a_loop
async def test_the_rate_of_questions():
    async with rig(auth_mode="none", dns_qps_per_ip=1, dns_burst_per_ip=3) as r:
        statuses = [(await ask(r, query("localhost.", id=i)))[0] for i in range(4)]
        assert statuses == [200, 200, 200, 429]
        status, headers, body = await ask(r, query("localhost."))
        assert status == 429 and body == bytes.fromhex("000080820000000000000000")
        async with r.client.get(f"{r.origin}/dns-json?name=localhost&type=A") as answer:
            assert answer.status == 429 and (await answer.json())["message"] == "Rate limit exceeded"


@on_a_loop
async def test_who_may_ask():
    async with rig(api_key="key") as r:
        status, headers, body = await ask(r, query("localhost."))
        assert status == 401 and headers["Cache-Control"] == "no-store"
        assert json.loads(body) == {"error": "unauthorized", "message": "Missing or invalid session"}
        assert (await ask(r, query("localhost."), headers={"X-API-Key": "key"}))[0] == 200
        assert (await ask(r, query("localhost."), headers={"Authorization": "Bearer key"}))[0] == 200


# JSON -----------------------------------------------------------------------------------------------------------------


async def get_json(r, path):
    async with r.client.get(r.origin + path) as answer:
        return answer.status, answer.headers, json.loads(await answer.read())


@on_a_loop
async def test_names_as_json():
    async with Served() as (server, where), rig(**OPEN, dns_upstreams=upstream(where)) as r:
        status, headers, told = await get_json(r, "/dns-json?name=One.Example.&type=A")
        assert status == 200 and headers["Content-Type"].startswith("application/dns-json")
        assert headers["Cache-Control"] == "no-store"
        assert list(told) == ["Status", "TC", "RD", "RA", "AD", "CD", "Question", "Answer"]
        assert told["Question"] == [{"name": "one.example", "type": 1}]
        assert told["Answer"] == [{"name": "one.example", "type": 1, "TTL": 77, "data": "192.0.2.1"}]
        assert (told["Status"], told["RD"], told["RA"]) == (0, True, True)
        _, _, told = await get_json(r, "/dns-json?name=six.example&type=28")
        assert told["Answer"][0]["data"] == "2001:db8::1"
        _, _, told = await get_json(r, "/dns-json?name=www.example&type=aaaa")
        assert told["Answer"][0] == {"name": "www.example", "type": 5, "TTL": 200, "data": "cdn.example"}
        _, _, told = await get_json(r, "/dns-json?name=nothing.example&type=A")
        assert told["Status"] == 3 and "Answer" not in told
        for path, text in (
            ("/dns-json", "Missing 'name' query parameter"),
            ("/dns-json?type=A", "Missing 'name' query parameter"),
            ("/dns-json?name=x", "Missing 'type' query parameter"),
            ("/dns-json?name=x&type=MX", "Invalid DNS record type"),
            ("/dns-json?name=x&type=15", "Invalid DNS record type"),
            ("/dns-json?name=x&type=-1", "Invalid DNS record type"),
            ("/dns-json?name=" + "a" * 64 + "&type=A", "Invalid DNS name"),
            ("/dns-json?name=a..b&type=A", "Invalid DNS name"),
        ):
            status, _, told = await get_json(r, path)
            assert (status, told["message"]) == (400, text), path
        server.rcode = dns.rcode.SERVFAIL
        status, _, told = await get_json(r, "/dns-json?name=two.example&type=A")
        assert status == 502 and told == {"error": "bad_gateway", "message": "DNS resolution failed"}


# Parts ----------------------------------------------------------------------------------------------------------------


def test_upstreams_as_people_write_them():
    assert parse_upstream("1.1.1.1") == Upstream("1.1.1.1", 53)
    assert parse_upstream(" udp://dns.example:5353 ") == Upstream("dns.example", 5353)
    assert parse_upstream("[2001:db8::1]:54").label == "[2001:db8::1]:54"
    assert parse_upstream("[2001:db8::1]") == Upstream("2001:db8::1", 53)
    assert parse_upstream("2001:db8::1") == Upstream("2001:db8::1", 53)
    assert parse_upstream("https://dns.example/dns-query").url == "https://dns.example/dns-query"
    for bad in ("", ":53", "host:0", "host:70000", "host:x", "https://", "[::1]x", "tcp://host"):
        with pytest.raises(UsageError):
            parse_upstream(bad)


def test_lifetimes():
    message = dns.message.make_response(dns.message.make_query("a.example.", "A"))
    assert lifetime(message.to_wire(), 300, 60) == 60
    message.authority.append(dns.rrset.from_text("example.", 100, "IN", "SOA", "a. b. 1 2 3 4 50"))
    assert lifetime(message.to_wire(), 300, 60) == 50 and lifetime(message.to_wire(), 20, 60) == 20
    message.answer.append(dns.rrset.from_text("a.example.", 9, "IN", "A", "192.0.2.1"))
    message.answer.append(dns.rrset.from_text("b.example.", 8, "IN", "A", "192.0.2.1"))
    assert lifetime(message.to_wire(), 300, 60) == 8
    message.answer[0].ttl = 0
    assert lifetime(message.to_wire(), 300, 60) == 0
    message.answer[0].ttl = 9
    message.flags |= dns.flags.TC
    assert lifetime(message.to_wire(), 300, 60) == 0
    message.flags &= ~dns.flags.TC
    message.set_rcode(dns.rcode.SERVFAIL)
    assert lifetime(message.to_wire(), 300, 60) == 0


def test_memory_is_bounded():
    memory = Memory(3, size=100)
    for i in range(5):
        memory.put(Asked(f"n{i}", 1), bytes(10), 60, 0)
    assert len(memory) == 3 and memory.get(Asked("n0", 1), 0) is None and memory.size == 30
    assert memory.get(Asked("n2", 1), 59 * SECOND) == (bytes(10), 59)
    memory.put(Asked("big", 1), bytes(85), 60, 0)
    assert len(memory) == 2 and memory.get(Asked("n2", 1), 1) is not None  # it was wanted last
    memory.put(Asked("huge", 1), bytes(101), 60, 0)
    assert memory.get(Asked("huge", 1), 1) is None and memory.size == 95
    assert memory.get(Asked("big", 1), 60 * SECOND) is None and memory.size == 10
    nothing = Memory(0)
    nothing.put(Asked("a", 1), b"", 60, 0)
    assert len(nothing) == 0


@given(st.binary(max_size=120))
def test_garbage_is_only_ever_malformed(raw):
    for prefix in (b"", query().to_wire()[:12], query().to_wire(), query(use_edns=0).to_wire()):
        try:
            asked = read_query(prefix + raw)
        except Malformed:
            assert len(error(None, 1, raw)) == 12
        else:
            assert error(asked, 2)[12:] == asked.question
        for each in (prefix + raw, raw):
            assert answers(each, 0, b"\0\0\1\0\1") in (False, True)


@given(st.data())
def test_an_answer_is_told_whatever_stands_in_it(data):
    asked = read_query(query("One.Example.", id=7).to_wire())
    message = dns.message.make_response(query("oNE.example.", id=9))
    message.answer.append(dns.rrset.from_text("one.example.", data.draw(st.integers(0, 1000)), "IN", "A", "192.0.2.1"))
    raw = message.to_wire()
    assert answers(raw, 9, asked.question) and not answers(raw, 8, asked.question)
    age = data.draw(st.integers(0, 2000))
    found = dns.message.from_wire(told(raw, asked, age))
    assert found.id == 7 and str(found.question[0].name) == "One.Example."
    assert found.answer[0].ttl == max(0, message.answer[0].ttl - age)
    cut = raw[: data.draw(st.integers(0, len(raw) - 1))]
    assert not answers(cut, 9, asked.question) or struct.unpack_from("!H", cut, 6)[0] == 0
