"""The TCP NAT move by move, between a connection and an egress that only pretend."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aero_lab.lan.config import LanConfig
from aero_lab.lan.dns import DnsServer
from aero_lab.lan.flows import FlowTable
from aero_lab.lan.policy import Policy
from aero_lab.lan.tcp_nat import TcpNat
from aero_lab.stack.config import TcpConfig
from aero_lab.wire.address import ip

from .fakes import FakeConnection, FakeEgress

PUBLIC = (ip("8.8.8.8"), 80)
LAB = (ip("203.0.113.10"), 80)
LOOPBACK = (ip("127.0.0.1"), 4321)


class Bench:
    def __init__(self, **config):
        config.setdefault("tcp", TcpConfig(send_buffer=4000))
        self.config = LanConfig(forward_tcp={LAB: LOOPBACK}, **config)
        self.table = FlowTable()
        self.dns = DnsServer(self.config, lambda *_: None, lambda *_: None)
        self.egress = FakeEgress()
        self.nat = TcpNat(self.config, self.table, self.dns)
        self.nat.egress = self.egress

    def syn(self, target=PUBLIC, **kind):
        conn = FakeConnection(local=target, **kind)
        self.nat.syn(conn, 10)
        return conn

    def open(self, target=PUBLIC, **kind):
        conn = self.syn(target, **kind)
        flow = conn.context.record.flow
        self.nat.opened(flow, 20)
        self.nat.established(conn, 30)
        return conn, flow

    def ended(self):
        assert len(self.nat) == 0
        return [record.reason for record in self.table.ended]


def test_syn_waits_for_the_far_side():
    b = Bench()
    conn = b.syn()
    assert b.egress.calls == [("open_tcp", 1, *PUBLIC)]
    assert conn.calls == []
    b.nat.opened(1, 20)
    assert conn.calls == [("accept",)]
    assert b.nat.room(1) == 0, "nothing is read before the guest's handshake is done"
    b.nat.established(conn, 30)
    assert ("credit", 1) in b.egress.calls
    assert b.nat.room(1) == 1000


@pytest.mark.parametrize(
    ("why", "how"),
    [
        ("refused", "reset"),
        ("denied", "prohibited"),
        ("net-unreachable", "net-unreachable"),
        ("unreachable", "host-unreachable"),
        ("timeout", "host-unreachable"),
    ],
)
def test_what_the_far_side_says_is_what_the_guest_hears(why, how):
    b = Bench()
    conn = b.syn()
    b.nat.failed(1, why, 20)
    assert conn.calls == [("refuse", how)]
    assert b.ended() == [why]
    assert b.egress.calls[1:] == [], "the flow is gone on its own"
    b.nat.closed(conn, "refused", 20)  # the stack's word about the refusal
    assert b.ended() == [why]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ((ip("127.0.0.1"), 80), "denied-loopback"),
        ((ip("169.254.169.254"), 80), "denied-metadata"),
        ((ip("192.168.1.1"), 80), "denied-private"),
        ((ip("10.0.2.2"), 53), "denied-gateway"),
        ((LAB[0], 81), "denied-documentation"),
    ],
)
def test_policy_is_a_reset_and_a_row(target, reason):
    b = Bench()
    conn = b.syn(target)
    assert conn.calls == [("refuse", "reset")]
    assert b.ended() == [reason]
    assert b.egress.calls == []


def test_gateway_is_never_the_host_even_when_private_is_allowed():
    b = Bench(policy=Policy(allow_private=True))
    b.syn((ip("10.0.2.2"), 22))
    assert b.egress.calls == []
    b.syn((ip("10.0.2.3"), 22))
    assert b.egress.calls == [("open_tcp", 2, ip("10.0.2.3"), 22)]


def test_forward_map_stands_above_addresses_but_not_above_ports():
    b = Bench(policy=Policy(tcp_ports=frozenset({443})))
    b.syn(LAB)
    assert b.ended() == ["denied-port"]
    b = Bench()
    b.syn(LAB)
    assert b.egress.calls == [("open_tcp", 1, *LOOPBACK)]
    assert next(iter(b.table)).row()["outside"] == "127.0.0.1:4321"


def test_limit():
    b = Bench(max_tcp=1)
    b.syn()
    late = b.syn()
    assert late.calls == [("refuse", "reset")]
    assert [r.reason for r in b.table.ended] == ["limit"]
    b = Bench(max_tcp=0)
    b.syn()
    assert b.ended() == ["limit"]


def test_server_first_banner():
    b = Bench()
    conn, flow = b.open()
    b.nat.data(flow, memoryview(b"220 ready"), 40)
    assert conn.written == b"220 ready"


def test_data_that_came_with_the_handshake_goes_out():
    b = Bench()
    conn = b.syn()
    b.nat.opened(1, 20)
    conn.inbox += b"early"
    b.nat.readable(conn, 25)
    assert b.egress.taken == {}
    b.nat.established(conn, 30)
    assert b.egress.taken[1] == b"early"


def test_guest_data_stays_in_the_connection_until_taken():
    b = Bench()
    conn, flow = b.open()
    b.egress.takes = 10
    conn.inbox += bytes(range(100))
    b.nat.readable(conn, 40)
    assert conn.readable == 90, "only what was taken is consumed: the rest holds the window shut"
    b.egress.takes = 50
    conn.inbox += b"more"
    b.nat.readable(conn, 50)
    assert conn.readable == 94, "blocked: nothing is offered before the egress asks"
    b.nat.drained(flow, 60)
    assert conn.readable == 44
    b.egress.takes = None
    b.nat.drained(flow, 70)
    assert b.egress.taken[flow] == bytes(range(100)) + b"more"


def test_guest_fin_goes_out_after_all_its_data():
    b = Bench()
    conn, flow = b.open()
    b.egress.takes = 3
    conn.inbox += b"abcdef"
    b.nat.readable(conn, 40)
    b.nat.end_of_stream(conn, 41)
    assert ("shutdown", flow) not in b.egress.calls
    b.egress.takes = None
    b.nat.drained(flow, 50)
    assert b.egress.taken[flow] == b"abcdef"
    assert b.egress.calls[-1] == ("shutdown", flow)
    b.nat.data(flow, memoryview(b"answer"), 60)  # half-closed: the far side may go on
    assert conn.written == b"answer"
    b.nat.eof(flow, 70)
    assert conn.calls[-1] == ("shutdown",)
    assert b.egress.calls[-1] == ("close", flow)
    assert b.ended() == ["closed"]


def test_far_fin_first():
    b = Bench()
    conn, flow = b.open()
    b.nat.eof(flow, 40)
    assert conn.calls[-1] == ("shutdown",)
    assert len(b.nat) == 1
    conn.inbox += b"still here"
    b.nat.readable(conn, 50)
    b.nat.end_of_stream(conn, 60)
    assert b.egress.taken[flow] == b"still here"
    assert b.egress.calls[-2:] == [("shutdown", flow), ("close", flow)]
    assert b.ended() == ["closed"]


def test_what_was_unread_when_the_connection_closed_still_goes_out():
    b = Bench()
    conn, flow = b.open()
    b.nat.eof(flow, 40)
    b.egress.takes = 2
    conn.inbox += b"tail"
    b.nat.readable(conn, 50)
    b.nat.end_of_stream(conn, 51)
    b.nat.closed(conn, "closed", 52)
    assert len(b.nat) == 1
    b.egress.takes = None
    b.nat.drained(flow, 60)
    assert b.egress.taken[flow] == b"tail"
    assert b.ended() == ["closed"]


@pytest.mark.parametrize(
    ("reason", "noted"), [("reset", "reset-by-guest"), ("timeout", "timeout"), ("unreachable", "unreachable")]
)
def test_the_guests_end_is_an_abrupt_end_outside(reason, noted):
    b = Bench()
    conn, flow = b.open()
    b.nat.closed(conn, reason, 40)
    assert b.egress.calls[-1] == ("reset", flow)
    assert b.ended() == [noted]
    b.nat.data(flow, memoryview(b"late"), 50)
    b.nat.drained(flow, 50)
    b.nat.eof(flow, 50)
    assert conn.written == b""


def test_a_guest_that_gives_up_while_connecting():
    b = Bench()
    conn = b.syn()
    b.nat.closed(conn, "reset", 15)
    assert b.egress.calls[-1] == ("reset", 1)
    b.nat.opened(1, 20)
    assert conn.calls == []
    assert b.ended() == ["reset-by-guest"]


def test_reset_by_the_far_side_is_a_reset():
    b = Bench()
    conn, flow = b.open()
    b.nat.reset(flow, 40)
    assert conn.calls[-1] == ("abort",)
    assert b.ended() == ["reset-by-far-side"]
    b.nat.closed(conn, "aborted", 40)
    assert b.ended() == ["reset-by-far-side"]
    assert ("close", flow) not in b.egress.calls


def test_reading_stops_below_the_low_water_and_goes_on_above():
    b = Bench()
    conn, flow = b.open()
    conn.room = 999
    assert b.nat.room(flow) == 0
    b.egress.calls.clear()
    b.nat.tick(40)
    assert b.egress.calls == []
    conn.room = 1000  # a quarter of the send buffer
    b.nat.tick(50)
    b.nat.tick(60)
    assert b.egress.calls == [("credit", flow)], "credited once"
    assert b.nat.room(flow) == 1000
    conn.room = 10
    assert b.nat.room(flow) == 0
    conn.room = 4000
    b.egress.calls.clear()
    b.nat.writable(conn, 70)
    assert b.egress.calls == [("credit", flow)]


def test_close_all():
    b = Bench()
    conn, flow = b.open()
    waiting = b.syn()
    b.nat.close_all("lan-closed", 40)
    assert b.ended() == ["lan-closed", "lan-closed"]
    assert conn.calls[-1] == waiting.calls[-1] == ("abort",)
    assert ("reset", flow) in b.egress.calls


def test_rows_tell_bytes_names_and_times():
    b = Bench(names={"files.lab": LAB[0]})
    query = b"\x12\x34\x01\0\0\1\0\0\0\0\0\0\x05files\x03lab\0\0\1\0\1"
    b.dns.handle(query, (ip("10.0.2.15"), 5353), 5)
    conn, flow = b.open(LAB)
    conn.inbox += b"12345"
    b.nat.readable(conn, 40)
    b.nat.data(flow, memoryview(b"1234567"), 50)
    row = b.table.rows()[0]
    assert row["name"] == "files.lab"
    assert row["target"] == "203.0.113.10:80"
    assert (row["bytes_up"], row["bytes_down"]) == (5, 7)
    assert (row["opened_at"], row["answered_at"], row["last_at"], row["state"]) == (10, 20, 50, "open")


@given(st.data())
def test_any_order_of_events_ends_clean_and_loses_no_byte(data):
    """Random moves of both sides; in the end every byte taken in order, each flow ended once, nothing left behind."""
    b = Bench()
    conn, flow = b.open()
    sent_up, sent_down = bytearray(), bytearray()
    guest_fin = far_fin = False
    for step in range(data.draw(st.integers(1, 30))):
        now = 100 + step
        move = data.draw(st.sampled_from(["up", "down", "take", "ack", "guest-fin", "far-fin", "tick"]))
        if move == "up" and not guest_fin:
            chunk = data.draw(st.binary(max_size=50))
            conn.inbox += chunk
            sent_up += chunk
            b.nat.readable(conn, now)
        elif move == "down" and not far_fin:
            chunk = data.draw(st.binary(max_size=50))[: b.nat.room(flow)]
            if chunk:
                b.nat.data(flow, memoryview(chunk), now)
                sent_down += chunk
        elif move == "take":
            b.egress.takes = data.draw(st.one_of(st.none(), st.integers(0, 60)))
            b.nat.drained(flow, now)
        elif move == "ack" and ("shutdown",) not in conn.calls:
            conn.room = data.draw(st.integers(0, 4000))
        elif move == "guest-fin" and not guest_fin:
            guest_fin = True
            b.nat.end_of_stream(conn, now)
        elif move == "far-fin" and not far_fin:
            far_fin = True
            b.nat.eof(flow, now)
        elif move == "tick":
            b.nat.tick(now)
    b.egress.takes = None
    b.nat.drained(flow, 200)
    if not guest_fin:
        b.nat.end_of_stream(conn, 201)
    if not far_fin:
        b.nat.eof(flow, 202)
    assert bytes(b.egress.taken.get(flow, b"")) == bytes(sent_up)
    assert bytes(conn.written) == bytes(sent_down)
    assert b.ended() == ["closed"]
    assert [call[0] for call in b.egress.calls].count("close") == 1
    assert [call[0] for call in b.egress.calls].count("shutdown") == 1
