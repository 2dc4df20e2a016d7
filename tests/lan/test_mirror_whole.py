"""``ack_policy="mirror"`` through the whole LAN: what the guest's own TCP sees, in virtual time and on real sockets."""

from __future__ import annotations

import json
import socket
import time
from hashlib import sha256

import pytest

from aero_lab.limits import MS
from aero_lab.link import Link
from aero_lab.services.content import content_bytes
from aero_lab.stack import TcpConfig

from .bench import ECHO, FILES, SINK, SOURCE, VirtualBench
from .test_lan_real import OWN, bench, compiled, port, server, services  # noqa: F401  (fixtures)
from .test_lan_virtual import Stubborn, body


def upload(data: bytes) -> bytes:
    return b"POST /up HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(data) + data


def test_the_guest_measures_the_whole_way():
    seen = {}
    for policy in ("early", "mirror"):
        b = VirtualBench(Link(rtt="100ms"), ack_policy=policy)
        client = b.guest.open((SINK, 9), bytes(200_000))
        assert b.run(lambda client=client: client.established and not len(client.to_send), 60)
        b.run_for(2)
        info = client.conn.info()
        assert info["snd_una"] == info["snd_nxt"], "everything acknowledged in the end"
        assert info["timeouts"] == 0 and info["retransmits"] == 0
        seen[policy] = info["min_rtt"]
        assert b.lan_rows()[0]["ack_policy"] == policy
    assert seen["early"] < 5 * MS
    assert 100 * MS <= seen["mirror"] < 145 * MS, "the far end's delayed acknowledgement included"


def test_what_is_not_acknowledged_at_the_far_side_is_not_at_the_guest():
    # Without Nagle's algorithm, which would keep the last, short segment until the others are acknowledged.
    b = VirtualBench(Link(rtt="200ms"), guest_tcp=TcpConfig(nagle=False), ack_policy="mirror")
    client = b.guest.open((SINK, 9), b"x" * 10_000)
    assert b.run(lambda: client.established)
    sent = b.now
    assert b.run(lambda: b.lan_rows()[0]["bytes_up"] == 10_000, 1)
    assert b.now < sent + 50 * MS, "the bytes are on their way at once"
    assert client.conn.unacked == 10_000
    assert b.run(lambda: client.conn.unacked == 0, 2)
    assert b.now >= sent + 200 * MS


@pytest.mark.parametrize("link", [None, "rtt=40ms", "rtt=20ms, loss=2%, reorder=5%, duplicate=1%"])
def test_upload_download_and_half_close_are_byte_exact(link):
    b = VirtualBench(Link.parse(link) if link else None, seed=4, ack_policy="mirror")
    data = content_bytes(400_001)
    put = b.guest.open((FILES, 80), upload(data))
    echo = b.guest.open((ECHO, 7), data, finish=True)
    get = b.guest.open((FILES, 80), b"GET /bytes/400000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b.run(lambda: put.ended and get.ended and echo.reason is not None, 600)
    assert json.loads(body(put.got)) == {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    assert (echo.reason, bytes(echo.got)) == ("closed", data)
    assert body(get.got) == content_bytes(400_000)
    put.finish = get.finish = True
    assert b.run(lambda: put.reason == get.reason == "closed", 60)
    b.run_for(200)
    assert {row["reason"] for row in b.lan_rows()} == {"closed"}
    assert b.lan.stack.open_connections == 0 and len(b.lan.tcp) == 0 and len(b.lan.tcp._mirror) == 0


def test_a_far_side_that_stops_reading_stops_the_guest_and_nothing_grows():
    b = VirtualBench(Link(rtt="10ms"), ack_policy="mirror")
    b.far._tcp[SINK, 9] = Stubborn()
    client = b.guest.open((SINK, 9), bytes(3_000_000))
    b.run_for(60)
    row = b.lan_rows()[0]
    assert row["bytes_up"] < 600_000 and row["state"] == "open" and client.reason is None
    acked = client.conn.info()["snd_una"] - client.conn.info()["iss"] - 1
    assert acked <= 262_144, "no more than the far side's window took"


def test_a_small_window_does_not_stall():
    b = VirtualBench(Link(rtt="30ms"), ack_policy="mirror", tcp=TcpConfig(nagle=False, recv_buffer=4096))
    data = content_bytes(100_000)
    client = b.guest.open((ECHO, 7), data, finish=True)
    assert b.run(lambda: client.reason is not None, 60)
    assert (client.reason, bytes(client.got)) == ("closed", data)


def test_a_reset_at_the_far_side_leaves_the_guest_knowing_what_was_lost():
    b = VirtualBench(Link(rtt="100ms"), ack_policy="mirror")
    client = b.guest.open((SINK, 9), b"x" * 5000)
    assert b.run(lambda: b.lan_rows() and b.lan_rows()[0]["bytes_up"] == 5000, 5)
    next(iter(b.far._joints.values())).conn.abort(b.now)
    assert b.run(lambda: client.reason is not None, 5)
    assert client.reason == "reset"
    assert b.lan_rows()[0]["reason"] == "reset-by-far-side"


def test_same_seed_same_run():
    def trace():
        b = VirtualBench(Link(rtt="10ms", loss=0.05), seed=5, ack_policy="mirror")
        client = b.guest.open((ECHO, 7), content_bytes(60_000), finish=True)
        assert b.run(lambda: client.reason is not None)
        return b.now, b.lan.counters, b.lan_rows()

    assert trace() == trace()


def test_real_uploads_and_many_flows_at_once(services):  # noqa: F811
    with bench(services, ack_policy="mirror") as b:
        data = content_bytes(8 << 20)
        put = b.guest.open((FILES, 80), upload(data))
        b.run(lambda: put.ended)
        assert json.loads(bytes(put.got).partition(b"\r\n\r\n")[2])["sha256"] == sha256(data).hexdigest()
        data = content_bytes(200_000)
        clients = [b.guest.open((ECHO, 7), data, finish=True) for _ in range(30)]
        b.run(lambda: all(client.reason for client in clients))
        assert all(bytes(client.got) == data and client.reason == "closed" for client in clients)
        put.finish = True
        b.run(lambda: put.reason is not None)
        rows = b.lan.flows.rows()
        assert {row["reason"] for row in rows} == {"closed"}
        policy = "mirror" if b.egress.tells_unacked else "mirror-accepted"
        assert {row["ack_policy"] for row in rows} == {policy}
        assert b.egress.open_flows == 0


def test_real_bytes_that_the_far_side_has_no_room_for_stay_unacknowledged(services, server):  # noqa: F811
    with bench(services, own_tcp=port(server), ack_policy="mirror") as b:
        if not b.egress.tells_unacked:
            pytest.skip("this system does not tell what the far side acknowledged")
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        data = content_bytes(6 << 20)
        client = b.guest.open((OWN, 1), data, finish=True)
        b.run(lambda: client.established)
        far, _ = server.accept()
        last = (-1, time.monotonic())

        def still():
            nonlocal last
            if len(client.to_send) != last[0]:
                last = (len(client.to_send), time.monotonic())
            return time.monotonic() - last[1] > 0.3

        b.run(still)
        row = b.row()
        acked = client.conn.info()["snd_una"] - client.conn.info()["iss"] - 1
        assert acked < row["bytes_up"], "the proxy's kernel holds bytes that the guest still counts as its own"
        assert client.reason is None and len(client.to_send)
        got = bytearray()
        far.setblocking(False)

        def heard():
            try:
                while chunk := far.recv(1 << 20):
                    got.extend(chunk)
                return True
            except BlockingIOError:
                return False

        b.run(heard)
        assert bytes(got) == data
        far.close()
        b.run(lambda: client.reason is not None)
        assert (client.reason, b.row()["reason"]) == ("closed", "closed")


def test_an_endless_download_is_not_disturbed(services):  # noqa: F811
    with bench(services, ack_policy="mirror") as b:
        client = b.guest.open((SOURCE, 19), b"go on")
        b.run(lambda: len(client.got) > 4 << 20)
        assert bytes(client.got) == content_bytes(len(client.got))
        assert client.conn.unacked == 0
