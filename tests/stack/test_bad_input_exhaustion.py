"""TCP under exhaustion: tiny segments, shut windows, floods of SYNs, connections that come and go."""

from __future__ import annotations

import random

import pytest

from aero_lab.compiled.registry import PLAIN
from aero_lab.limits import SECOND
from aero_lab.stack import Closed, TcpConfig

from .hostile import ACK, EVIL4, FIN, RST, SYN, TCP, Client, Rig, drain, eth, packet, tcp

pytestmark = pytest.mark.parametrize("role", ("gateway", "server"))
SYN_OPTIONS = b"\2\4\5\xb4\1\3\3\7"

TINY = 8192 if PLAIN else 65535
"""Segments of one byte; interpreted, an eighth of them shows the same in a bearable time."""


def test_tiny_segments_in_order(role):
    rig = Rig(role)
    client = Client(rig, options=SYN_OPTIONS)
    text = random.Random(6).randbytes(TINY)
    got = b""
    for start in range(0, len(text), 4096):
        part = text[start : start + 4096]
        rig.inject(*[client.frame(part[i : i + 1], seq=client.seq + i) for i in range(len(part))])
        client.seq += len(part)
        got += drain(client.conn)
    assert got == text
    client.assert_alive()
    rig.assert_healthy()


def test_tiny_segments_that_leave_gaps(role):
    """What cannot be remembered is dropped under its reason; the stream is whole when the gaps are filled."""
    rig = Rig(role)
    client = Client(rig, options=SYN_OPTIONS)
    window = TINY // 8 * 7
    frames = [client.frame(b"x", seq=client.seq + at) for at in range(1, window, 2)]
    frames = (3 * frames)[:TINY]
    rig.inject(*frames)
    assert rig.drops()["tcp-out-of-order-full"] > TINY - 200
    assert drain(client.conn) == b""
    data = bytes(1000)
    for _ in range(window // 1000 + 1):
        rig.inject(client.frame(data))
        client.seq += 1000
    assert len(drain(client.conn)) >= window
    rig.assert_healthy()


def test_a_window_of_zero_for_ever_costs_a_probe_now_and_then(role):
    """RFC 9293 section 3.8.6.1: probed for as long as the peer acknowledges; one day has few probes."""
    rig = Rig(role)
    client = Client(rig)
    client.window = 0
    client.send()
    before = len(rig.answers)
    client.conn.write(b"x" * 1000, rig.now)
    rig.run()
    probes = 0
    while rig.now < 24 * 3600 * SECOND:
        got = [a for a in rig.wait(60 * SECOND) if a.dport == client.sport]
        probes += len(got)
        client.send()
        rig.events.clear()
    assert not client.conn.closed and len(rig.answers) - before > 20
    assert probes < 24 * 60 * 4
    assert sum(len(a.data) for a in rig.answers[before:]) <= probes  # at most one byte each
    rig.assert_healthy()
    client.window = 65535
    client.send()
    rig.wait(60 * SECOND)
    assert any(len(a.data) >= 536 for a in rig.answers)
    rig.assert_healthy()


def test_a_peer_that_falls_silent_with_window_zero_is_given_up(role):
    rig = Rig(role, tcp=TcpConfig(data_retries=4, send_buffer=16 << 10))
    client = Client(rig)
    client.send(window=0)
    client.conn.write(b"x" * 1000, rig.now)
    rig.wait(3600 * SECOND)
    assert client.conn.closed
    assert [e.reason for e in rig.events if isinstance(e, Closed)] == ["timeout"]
    rig.assert_healthy()


def test_a_flood_of_syns_is_bounded_and_passes(role):
    rig = Rig(role, max_connections=64, tcp=TcpConfig(syn_retries=3, send_buffer=16 << 10))
    src, dst = EVIL4, rig.target("ipv4")
    rig.inject(*[eth(packet(tcp(flags=SYN, sport=5000 + i), TCP, src, dst)) for i in range(1000)])
    assert len(rig.stack.flows()) <= 64
    drops = rig.drops()
    assert drops.get("tcp-no-slot", 0) + drops.get("tcp-backlog", 0) >= 1000 - 64
    rig.assert_healthy()
    rig.wait(600 * SECOND)
    assert len(rig.stack.flows()) == 1
    Client(rig).assert_alive()
    rig.assert_healthy()


def test_connections_that_come_and_go_leave_no_slot(role):
    rig = Rig(role, max_connections=8)
    for i in range(100):
        client = Client(rig, sport=6000 + i)
        client.send(b"data")
        client.seq += 4
        if i % 3 == 0:
            client.send(flags=RST)
        elif i % 3 == 1:
            client.conn.abort(rig.now)
            rig.run()
        else:
            client.send(flags=FIN | ACK)
            client.seq += 1
            client.conn.shutdown(rig.now)
            rig.run()
            fin = next(a for a in reversed(rig.answers) if a.flags & FIN)
            client.ack = fin.seq + len(fin.data) + 1
            client.send()
        assert client.conn.closed, i
    assert len(rig.stack.flows()) == 1
    rig.assert_healthy()
