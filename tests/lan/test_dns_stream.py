"""DNS over TCP at the gateway: framing, pipelining, bounds and idle ends; through real stacks and move by move."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.bounds import (
    DNS_QUERY_SIZE,
    DNS_STREAM_IDLE,
    DNS_STREAM_QUERIES,
    DNS_STREAM_QUEUE,
    DNS_STREAM_TURNS,
    DNS_STREAMS,
)
from aero_lab.egress.contract import Answer
from aero_lab.lan.dns_stream import DnsStreams
from aero_lab.limits import NEVER
from aero_lab.services.dns import framed
from aero_lab.wire import dns
from aero_lab.wire.address import ip
from aero_lab.wire.dns import DnsMessage, Record

from .bench import GATEWAY, VirtualBench
from .fakes import FakeConnection


class Conn(FakeConnection):
    def __init__(self, id=1, room=1 << 20):
        super().__init__(local=(GATEWAY, 53), room=room)
        self.id = id


class Bench:
    """The server's part with questions that are answered when the test says so."""

    def __init__(self, answer_at_once=False):
        self.asked: list[tuple] = []
        self.at_once = answer_at_once
        self.streams = DnsStreams(self.serve, Counter())
        self.now = 0

    def serve(self, message, client, now):
        self.asked.append((message, client))
        if self.at_once:
            self.streams.answer(client[3], message.upper(), now)
        return not message.startswith(b"-")

    def open(self, id=1, **kw):
        conn = Conn(id, **kw)
        self.streams.syn(conn, self.now)
        return conn

    def send(self, conn, data):
        conn.inbox += data
        if conn.context is not None:
            self.streams.readable(conn, self.now)

    def answer(self, number, payload):
        self.streams.answer(self.asked[number][1][3], payload, self.now)


def query(text):
    return text.ljust(12, b".")


def test_answers_go_out_framed_and_in_the_order_in_which_they_come():
    b = Bench()
    conn = b.open()
    assert conn.calls == [("accept",)]
    b.send(conn, framed(query(b"one")) + framed(query(b"two")) + b"\0")
    assert [message for message, _ in b.asked] == [query(b"one"), query(b"two")]
    assert [client[:3] for _, client in b.asked] == [(*conn.remote, GATEWAY)] * 2
    b.answer(1, b"second")
    b.answer(0, b"first")
    assert bytes(conn.written) == framed(b"second") + framed(b"first")


@settings(max_examples=50)
@given(st.lists(st.binary(min_size=12, max_size=60), max_size=12), st.integers(0, 2**32))
def test_framing_survives_any_cuts(messages, seed):
    b = Bench(answer_at_once=True)
    messages = [b"x" + message for message in messages]
    conn, data, rng = b.open(), b"".join(map(framed, messages)), random.Random(seed)
    while data:
        cut = rng.randint(1, 20)
        b.send(conn, data[:cut])
        data = data[cut:]
    assert bytes(conn.written) == b"".join(framed(message.upper()) for message in messages)
    assert b.streams._tickets == {}


def test_only_so_many_questions_are_under_way_and_the_rest_waits_in_the_connection():
    b = Bench()
    conn = b.open()
    b.send(conn, framed(query(b"x")) * (DNS_STREAM_QUERIES + 100))
    assert len(b.asked) == DNS_STREAM_QUERIES
    assert conn.readable > 100 * 14 - DNS_QUERY_SIZE - 2, "not read, so that the window closes"
    b.answer(0, b"answer")
    assert len(b.asked) == DNS_STREAM_QUERIES + 1


def test_a_client_that_does_not_read_is_cut_off_before_it_costs_much():
    b = Bench()
    conn = b.open(room=100)
    b.send(conn, framed(query(b"x")) * DNS_STREAM_QUERIES)
    big = bytes(60_000)
    for number in range(DNS_STREAM_QUERIES):
        b.answer(number, big)
    assert ("abort",) in conn.calls and len(b.streams) == 0
    assert b.streams.counters["stream-slow"] == 1
    assert b.streams.counters["stream-gone"] == DNS_STREAM_QUERIES - DNS_STREAM_QUEUE // len(big) - 1


def test_a_slow_reader_gets_everything():
    b = Bench(answer_at_once=True)
    conn = b.open(room=5)
    b.send(conn, framed(query(b"abc")) * 3)
    assert len(b.asked) == 1, "no further question while an answer waits"
    for _ in range(40):
        conn.room = 3
        b.streams.writable(conn, 0)
    assert bytes(conn.written) == framed(query(b"ABC")) * 3


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ((DNS_QUERY_SIZE + 1).to_bytes(2, "big"), "dns-too-long"),
        (b"\xff\xff", "dns-too-long"),
        (b"\0\0", "dns-short"),
        (b"\0\x0b" + bytes(11), "dns-short"),
    ],
)
def test_a_length_that_cannot_be_ends_the_connection(data, reason):
    b = Bench(answer_at_once=True)
    conn = b.open()
    b.send(conn, framed(query(b"good")) + data)
    assert bytes(conn.written) == framed(query(b"GOOD"))
    assert ("abort",) in conn.calls and b.streams.counters[reason] == 1 and len(b.streams) == 0


def test_a_long_row_of_questions_lets_others_have_their_turn():
    b = Bench(answer_at_once=True)
    conn = b.open()
    b.send(conn, framed(query(b"x")) * 1000)
    assert len(b.asked) <= DNS_STREAM_TURNS and b.streams.poll_at() == 0
    turns = 0
    while b.streams.poll_at() == 0:
        before = len(b.asked)
        b.streams.tick(0)
        turns += 1
        assert len(b.asked) - before <= DNS_STREAM_TURNS
    assert len(b.asked) == 1000 and turns >= 1000 // DNS_STREAM_TURNS
    assert bytes(conn.written) == framed(query(b"X")) * 1000


def test_half_close_waits_for_the_answers():
    b = Bench()
    conn = b.open()
    b.send(conn, framed(query(b"x")))
    b.streams.end_of_stream(conn, 0)
    assert ("shutdown",) not in conn.calls
    b.answer(0, b"answer")
    assert bytes(conn.written) == framed(b"answer") and conn.calls[-1] == ("shutdown",)
    b.streams.closed(conn, "closed", 0)
    assert len(b.streams) == 0 and b.streams.poll_at() == NEVER


def test_a_message_cut_by_the_end_is_counted():
    b = Bench()
    conn = b.open()
    b.send(conn, b"\0\x20abc")
    b.streams.end_of_stream(conn, 0)
    assert b.streams.counters["stream-cut"] == 1 and conn.calls[-1] == ("shutdown",)


def test_what_gets_no_answer_holds_no_place():
    b = Bench()
    conn = b.open()
    b.send(conn, framed(query(b"-")) * (2 * DNS_STREAM_QUERIES))
    assert len(b.asked) == 2 * DNS_STREAM_QUERIES and b.streams._tickets == {}


def test_idle_connections_are_closed_and_those_that_do_not_close_cut_off():
    b = Bench()
    conn, waiting = b.open(1), b.open(2)
    b.send(waiting, framed(query(b"x")))
    b.now = DNS_STREAM_IDLE - 1
    b.send(conn, b"\0")  # part of a length: no sign of life
    b.streams.tick(b.now)
    assert conn.calls == [("accept",)] and b.streams.poll_at() == DNS_STREAM_IDLE
    b.now += 1
    b.streams.tick(b.now)
    assert conn.calls[-1] == ("shutdown",) and b.streams.counters["stream-idle"] == 1
    assert waiting.calls == [("accept",)], "it waits for us"
    b.now += DNS_STREAM_IDLE
    b.streams.tick(b.now)
    assert conn.calls[-1] == ("abort",) and conn.context is None
    b.answer(0, b"late")
    assert bytes(waiting.written) == framed(b"late")


def test_of_too_many_connections_the_longest_idle_makes_room():
    b = Bench()
    conns = [b.open(i) for i in range(DNS_STREAMS)]
    b.send(conns[0], framed(query(b"x")))
    late = b.open(100)
    assert late.calls == [("accept",)] and conns[1].calls[-1] == ("abort",) and len(b.streams) == DNS_STREAMS
    for conn in (*conns[2:], late):
        b.send(conn, framed(query(b"x")))
    refused = b.open(101)
    assert refused.calls == [("refuse", "reset")] and b.streams.counters["stream-limit"] == 1


def test_closing_the_lan_resets_all():
    b = Bench()
    conns = [b.open(i) for i in range(3)]
    b.streams.close_all(0)
    assert all(conn.calls[-1] == ("abort",) for conn in conns) and len(b.streams) == 0


# Through real stacks --------------------------------------------------------------------------------------------------


def messages(raw):
    out = []
    while raw:
        size = int.from_bytes(raw[:2], "big")
        assert len(raw) >= 2 + size
        out.append(DnsMessage.parse(bytes(raw[2 : 2 + size])))
        raw = raw[2 + size :]
    return out


def ask(*names, rtype=dns.A):
    return b"".join(framed(DnsMessage.query(i, name, rtype).emit()) for i, name in enumerate(names))


@pytest.mark.parametrize("require_lease", [False, True])
def test_names_over_tcp(require_lease):
    b = VirtualBench(require_lease=require_lease)
    client = b.guest.open((GATEWAY, 53), ask("files.lab", "nowhere.lab", "Echo.lab"), finish=True)
    assert b.run(lambda: client.reason is not None, 60)
    got = {m.id: m for m in messages(client.got)}
    assert client.reason == "closed" and len(got) == 3
    assert got[0].answers[0].rdata == ip("203.0.113.10") and got[1].rcode == dns.NXDOMAIN
    assert got[2].answers[0].name == "Echo.lab"
    assert b.lan_rows() == [], "it ends at the gateway and is no flow"
    assert len(b.lan.dns_streams) == 0


def test_a_large_answer_is_cut_over_udp_and_whole_over_tcp():
    many = tuple(bytes((10, 9, i >> 8, i & 255)) for i in range(1000))
    b = VirtualBench(names={"many.lab": many})
    payload = DnsMessage.query(5, "many.lab", edns=dns.Edns(4096)).emit()
    while not b.guest.stack.udp_send(ip("10.0.2.15"), 4000, GATEWAY, 53, payload, b.now):
        b.run_for(0.01)
    assert b.run(lambda: bool(b.guest.datagrams), 5)
    cut = DnsMessage.parse(b.guest.datagrams[0].payload)
    assert cut.truncated and 0 < len(cut.answers) < 1000
    client = b.guest.open((GATEWAY, 53), ask("many.lab"), finish=True)
    assert b.run(lambda: client.reason is not None, 60)
    (whole,) = messages(client.got)
    assert [r.rdata for r in whole.answers] == list(many)


def test_other_ports_of_the_gateway_stay_closed_and_a_forward_of_its_port_wins():
    b = VirtualBench()
    client = b.guest.open((GATEWAY, 80))
    b.run(lambda: client.reason is not None, 5)
    assert client.reason == "refused"
    b = VirtualBench(forward_tcp={(GATEWAY, 53): (ip("203.0.113.11"), 7)})
    client = b.guest.open((GATEWAY, 53), b"echo", finish=True)
    assert b.run(lambda: client.reason is not None, 30)
    assert bytes(client.got) == b"echo"


def test_idle_connection_ends_and_its_slot_comes_back():
    b = VirtualBench()
    client = b.guest.open((GATEWAY, 53))
    assert b.run(lambda: client.ended, 30)
    assert b.now >= DNS_STREAM_IDLE
    client.finish = True
    assert b.run(lambda: client.reason is not None, 30)
    b.run_for(30)
    assert b.lan.stack.open_connections == 0 and len(b.lan.dns_streams) == 0


def test_flood_of_connections_leaves_room_for_others_and_goes_away():
    b = VirtualBench()
    for _ in range(60):
        b.guest.open((GATEWAY, 53), b"\0\x20half")
    b.run_for(1)
    assert len(b.lan.dns_streams) <= DNS_STREAMS
    client = b.guest.open((GATEWAY, 53), ask("files.lab"))
    assert b.run(lambda: bool(client.got), 5)
    b.run_for(60)
    assert len(b.lan.dns_streams) == 0


def test_lookups_answer_over_tcp_too_and_a_client_that_left_is_passed_over():
    b = VirtualBench(names={})
    asked: list[tuple] = []
    b.lan.egress.resolve = lambda *call: asked.append(call)
    client = b.guest.open((GATEWAY, 53), ask("one.example", "two.example"))
    assert b.run(lambda: len(asked) == 2, 5)
    b.lan.resolved(asked[1][0], Answer.of("two.example", (ip("93.184.216.34"),), 9), b.now)
    assert b.run(lambda: bool(client.got), 5)
    assert [m.id for m in messages(client.got)] == [1]
    client.conn.abort(b.now)
    b.run_for(1)
    b.lan.resolved(asked[0][0], Answer("nxdomain"), b.now)
    assert b.lan.dns.counters["stream-gone"] == 1


def test_a_stream_without_end_of_questions_is_served_in_bounded_memory():
    name = ".".join(["x" * 49] * 5)
    b = VirtualBench(records=(Record(name, dns.TXT, dns.IN, 60, (bytes(200),)),))
    client = b.guest.open((GATEWAY, 53), ask(name, rtype=dns.TXT) * 4_000, read=False)
    b.run_for(5)
    (stream,) = b.lan.dns_streams._streams.values()
    assert len(stream.out) <= DNS_STREAM_QUEUE and len(client.to_send), "the window is closed"
    assert b.lan.dns.counters["queries"] < 4_000
    client.read, client.finish = True, True
    b.guest.step(b.now)
    assert b.run(lambda: client.reason is not None, 1000)
    assert len(messages(client.got)) == 4_000
