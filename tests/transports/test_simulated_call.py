"""Calls across a simulated hop: what was handed over arrives, either side may end it, and nothing of it is left."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aero_lab as al
from aero_lab.clock import Scheduler, VirtualClock
from aero_lab.limits import SECOND
from aero_lab.link import Link
from aero_lab.rings import FrameRing
from aero_lab.transports.simulated import Carrier, SimulatedHop
from aero_lab.transports.simulated_call import place
from aero_lab.transports.simulated_stream import RECORD, shake

ACCEPT, NORMAL = (101, {"Seen": "1"}), 1000
TLS = Carrier(tls=True, handshake=shake(True), ahead=None)


class Side:
    """Hands messages over when it may, takes what comes, and ends the call when it has said all."""

    def __init__(self, messages, ends=None):
        self.ring, self.got, self.ends = FrameRing(1024, 4 << 20), [], ends
        self.end, self.heard_at = None, []
        for message in messages:
            assert self.ring.push(message)

    def step(self, now):
        if self.end is None:
            return
        self.end.send(self.ring, now)
        for message in self.end.received.pop_many(3):
            self.got.append(message.data)
            self.heard_at.append(now)
        if self.ends is not None and not len(self.ring):
            ends, self.ends = self.ends, None
            self.end.close() if ends == "close" else self.end.finish(*ends)

    def poll_at(self, now):
        if self.end is None:
            return 1 << 62
        over = self.ends is not None and not len(self.ring)
        return now if (len(self.ring) and not self.end.stalled) or len(self.end.received) or over else 1 << 62


class Server(Side):
    """A door and the visit behind it, in one."""

    name = "server"

    def __init__(self, messages=(), ends=None, verdict=ACCEPT, after=0):
        super().__init__(messages, ends)
        self.answer, self.after, self.asked_at, self.now = verdict, after, None, 0
        self.asked_for, self.left, self.farewell = None, 0, None

    def asked(self, query, now):
        assert self.asked_at is None, "asked twice"
        self.asked_for, self.asked_at = query, now
        return self

    @property
    def verdict(self):
        return self.answer if self.now >= self.asked_at + self.after else None

    def attach(self, end, now):
        assert self.end is None
        self.end = end

    def gone(self, now):
        self.left += 1

    def step(self, now):
        self.now = now
        super().step(now)

    def poll_at(self, now):
        if self.asked_at is not None and now < self.asked_at + self.after:
            return self.asked_at + self.after
        if self.asked_at is not None and self.now < self.asked_at + self.after:
            return now
        return super().poll_at(now)


class Client(Side):
    name = "client"

    def step(self, now):
        if self.end.connected:
            super().step(now)

    def poll_at(self, now):
        return super().poll_at(now) if self.end.connected else 1 << 62


def call(client, server, link="rtt=20ms", carrier=TLS, seed=1, until=100 * SECOND):
    scheduler = Scheduler(VirtualClock())
    hop = SimulatedHop(Link.parse(link), random.Random(seed), 0, carrier=carrier)
    client.end = place(hop, "host=198.51.100.1&port=80", server, 0)
    scheduler.add(client, server, *hop.directions, hop)
    scheduler.run(until)
    return hop


def assert_nothing_is_left(hop):
    assert hop.near.ends == {} == hop.far.ends
    assert len(hop.near.stack._connections) == 0 == len(hop.far.stack._connections)


messages = st.lists(st.binary(max_size=3000), max_size=20)
LINKS = ["rtt=10ms", "rtt=30ms, loss=5%", "rtt=5ms, reorder=20%, duplicate=5%", "rtt=20ms, corrupt=3%"]


@given(messages, messages, st.sampled_from(LINKS), st.sampled_from([TLS, Carrier(handshake=shake(False))]))
@settings(max_examples=30, deadline=None)
def test_all_that_was_handed_over_before_the_end_arrives(up, down, link, carrier):
    client, server = Client(up), Server(down, ends=(NORMAL, "TCP closed"))
    hop = call(client, server, link, carrier)
    assert client.got == down, "a finish comes after everything"
    assert up[: len(server.got)] == server.got
    assert client.end.error == "closed by peer: 1000 TCP closed" and client.end.peer_closed and server.left == 1
    assert server.asked_for == "host=198.51.100.1&port=80" and client.end.call.headers == {"Seen": "1"}
    assert_nothing_is_left(hop)


@given(messages, st.sampled_from(LINKS))
@settings(max_examples=20, deadline=None)
def test_a_client_may_end_it_too(up, link):
    client, server = Client(up, ends=(NORMAL, "")), Server([b"late"] * 5)
    hop = call(client, server, link)
    assert server.got == up and server.end.error == "closed by peer: 1000" and server.left == 1
    assert_nothing_is_left(hop)


@pytest.mark.parametrize("link", LINKS)
def test_both_may_end_it_at_once(link):
    client, server = Client([b"a" * 5000], ends=(NORMAL, "")), Server([b"b" * 5000], ends=(1011, "TCP error"))
    assert_nothing_is_left(call(client, server, link))
    assert client.end.peer_closed and server.end.peer_closed and server.left == 1


def test_a_close_throws_away_what_waits_and_what_comes():
    client, server = Client([b"x"] * 10, ends="close"), Server([bytes(30_000)] * 60)
    hop = call(client, server, "rtt=20ms, rate=5Mbit/s")
    assert len(client.got) < 60 and server.end.error == "closed by peer: 1000" and server.left == 1
    assert_nothing_is_left(hop)


def test_a_refusal_is_an_answer_and_no_channel():
    client, server = Client([b"never"]), Server(verdict=(403, {}))
    hop = call(client, server)
    assert client.end.error == "the server refused the tunnel: 403" and client.end.peer_closed
    assert not client.end.connected and client.end.headers == {} and server.end is None and server.left == 1
    assert_nothing_is_left(hop)


@pytest.mark.parametrize("carrier, trips", [(Carrier(handshake=shake(False)), 2), (TLS, 3)], ids=["plain", "tls"])
def test_the_answer_waits_for_the_verdict_and_takes_its_round_trips(carrier, trips):
    for after in (0, 70_000_000):
        client, server = Client([]), Server([b"hello"], after=after)
        scheduler = Scheduler(VirtualClock())
        hop = SimulatedHop(Link(rtt="20ms"), random.Random(1), 0, carrier=carrier)
        client.end = place(hop, "", server, 0)
        scheduler.add(client, server, *hop.directions, hop)
        scheduler.run(SECOND)
        assert client.heard_at == [trips * 20_000_000 + after]
        assert hop.near.ends != {} and client.end.peer_closed is False, "it stays as long as nobody ends it"


def test_a_client_that_goes_before_there_is_an_answer_leaves_nothing():
    for link in ("rtt=20ms", "rtt=20ms, loss=20%"):
        for at in (1, 15_000_000, 25_000_000, 45_000_000, 65_000_000):
            client, server = Client([]), Server(after=10_000_000)
            scheduler = Scheduler(VirtualClock())
            hop = SimulatedHop(Link.parse(link), random.Random(at), 0, carrier=TLS)
            client.end = place(hop, "", server, 0)
            scheduler.add(client, server, *hop.directions, hop)
            scheduler.run(at)
            client.end.close()
            scheduler.run(100 * SECOND)
            assert_nothing_is_left(hop)
            assert server.left == (server.asked_at is not None) and client.end.peer_closed


def test_nobody_is_there():
    client, server = Client([b"x"]), Server()
    hop = call(client, server, "rtt=20ms, loss=100%", until=1000 * SECOND)
    assert client.end.error == "the connection is over: timeout" and server.asked_at is None
    assert_nothing_is_left(hop)


def test_more_calls_than_a_host_has_connections_are_told_so():
    hop = SimulatedHop(Link(rtt="20ms"), random.Random(1), 0, carrier=TLS, most=2)
    ends = [place(hop, "", Server(), 0) for _ in range(3)]
    assert [end.error for end in ends] == [None, None, "cannot connect: all 2 connection slots are in use"]
    assert ends[2].peer_closed and not ends[2].connected and len(hop.near.ends) == len(hop.far.ends) == 2


def test_a_close_has_its_bytes():
    """Header, mask, code, reason, and a record of its own: what two runs differ by that differ in the reason alone."""
    sizes = []
    for reason in ("", "TCP closed"):
        hop = call(Client([]), Server([], ends=(NORMAL, reason)))
        sizes.append(hop.far.stack.tx.given_bytes)
    assert sizes[1] - sizes[0] == len("TCP closed")
    client, server = Client([]), Server([], ends=(NORMAL, "TCP closed"))
    call(client, server)
    closes = client.end.call.closes
    assert closes["gateway"].size == 2 + 2 + 10 + RECORD and closes["guest"].size == 2 + 4 + 2 + RECORD


# In a lab ------------------------------------------------------------------------------------------------------------


def lab(**options):
    options = {"link": "rtt=40ms, loss=1%", "seed": 3, **options}
    return al.Lab(option="A", streams="socket", virtual=True, transport="websocket", progress=False, **options)


def test_connections_of_a_guest_each_have_a_websocket(tmp_path):
    images = []
    for number in range(2):
        with lab() as bench:
            guest = bench.guest()
            guest.wait_online()
            for name, parameters in (
                ("download", {"size": "200KB"}),
                ("upload", {"size": "200KB"}),
                ("burst", {"count": 5}),
            ):
                result = guest.run(name, timeout=120, **parameters)
                assert result.ok and result.digest_ok, (name, result.error)
                assert result.connect_ms >= 3 * 40, "TCP, TLS, and the answer to the upgrade"
            bench.advance(5)
            hop = bench._tunnels.hops[1]
            assert hop.calls == 2 + 7 and len(hop.near.ends) == len(hop.far.ends) == 2, "datagrams and names stay"
            images.append(bench.capture.save(tmp_path / f"{number}.pcapng").read_bytes())
    assert images[0] == images[1]


def test_copies_and_files_do_the_same(tmp_path):
    with lab(link="rtt=40ms, loss=2%") as bench:
        guest = bench.guest()
        guest.wait_online()
        download = guest.start("parallel", size="200KB")
        bench.advance(0.25)
        with bench.fork() as other:
            ours, theirs = download.wait(60), other.guests[0].pending[0].wait(60)
            assert ours.digest_ok and ours == theirs and guest.wire == other.guests[0].wire
            one, two = (each.capture.save(tmp_path / f"{n}.pcapng") for n, each in enumerate((bench, other)))
            assert one.read_bytes() == two.read_bytes()
        bench.advance(1)
        bench.save(tmp_path / "bench")
        with al.Lab.load(tmp_path / "bench", progress=False) as later:
            ours, theirs = (each.run("download", size="50KB", timeout=60) for each in (guest, later.guests[0]))
            assert ours.digest_ok and ours == theirs and guest.wire == later.guests[0].wire
