"""Tunnels: the rules that end one, what is sent then, what is counted; real guests through real sockets."""

from __future__ import annotations

import asyncio
import struct
from time import monotonic_ns

import pytest
from aiohttp import WSMsgType

from aero_lab.egress.contract import Why
from aero_lab.errors import AeroLabError
from aero_lab.framing.l2_tunnel import (
    ERROR,
    FRAME,
    PING,
    PONG,
    ErrorCode,
    decode,
    encode,
    encode_frame,
    encode_ping,
    encode_pong,
)
from aero_lab.limits import MS, SECOND
from aero_lab.paths.l2_control import ControlChannel
from aero_lab.server.metrics import from_lan
from aero_lab.server.quota import TokenBucket

from .rig import GATEWAY_ARP, LAB, echo, guest, on_a_loop, rig, tcp_server, until

OPEN = {"auth_mode": "none"}


async def the_end(socket):
    """The last messages of a tunnel and how it was closed: ``(ERROR code, ERROR text), close code, reason``."""
    error = None
    while True:
        message = await socket.receive(timeout=20)
        if message.type is WSMsgType.BINARY:
            got = decode(message.data)
            error = got.error if got.type == ERROR else error
        elif message.type is WSMsgType.CLOSE:
            await socket.close()
            return error, message.data, message.extra
        else:
            return error, message.type.name, ""


async def next_of(socket, kind):
    while True:
        message = await socket.receive(timeout=20)
        assert message.type is WSMsgType.BINARY, message
        got = decode(message.data)
        if got.type == kind:
            return got.payload


@on_a_loop
async def test_a_tunnel_talks_before_and_after_there_is_a_network():
    async with rig(**OPEN) as r, r.tunnel() as socket:
        for payload in (b"", b"hello", bytes(256)):
            await socket.send_bytes(encode_ping(payload))
            assert await next_of(socket, PONG) == payload
        await socket.send_bytes(encode(0x55, b"unknown type"))
        await socket.send_bytes(encode_pong(b"never asked"))
        await socket.send_bytes(encode(ERROR, b"a complaint"))
        await socket.send_str("not for us")
        burst = [encode_ping(i.to_bytes(2, "big")) for i in range(300)]
        for message in burst:
            await socket.send_bytes(message)
        assert [await next_of(socket, PONG) for _ in burst] == [message[4:] for message in burst]
        (session,) = r.proxy.sessions
        assert session.server is None and session.lan is None
        assert session.control.peer_error == (None, "a complaint")
        await socket.send_bytes(encode_frame(GATEWAY_ARP))
        answer = await next_of(socket, FRAME)
        assert answer[:6] == GATEWAY_ARP[6:12] and answer[28:32] == bytes((10, 0, 2, 2))
        assert session.lan is not None
        await socket.send_bytes(encode_ping(b"still"))
        assert await next_of(socket, PONG) == b"still"
        values = r.proxy.metrics.values()
        assert values["l2_frames_rx_total"] == 1 and values["l2_bytes_rx_total"] == len(GATEWAY_ARP)
        assert values["l2_frames_tx_total"] == 1 and values["l2_bytes_tx_total"] == len(answer)
        assert values["aero_lab_text_messages_total"] == 1 and values["l2_frames_dropped_total"] == 0


@pytest.mark.parametrize("network", [False, True])
@pytest.mark.parametrize(
    "message, text",
    [
        (b"", "message too short: 0 < 4"),
        (b"\xa2\x03\x00", "message too short: 3 < 4"),
        (b"\x00\x03\x00\x00", "invalid magic: 0x00"),
        (b"\xa2\x02\x00\x00", "unsupported version: 0x02"),
        (b"\xa2\x03\x00\x00" + bytes(2049), "payload too large: 2049 > 2048"),
        (b"\xa2\x03\x01\x00" + bytes(257), "payload too large: 257 > 256"),
        (b"\xa2\x03\x55\x00" + bytes(257), "payload too large: 257 > 256"),
    ],
)
@on_a_loop
async def test_a_message_that_breaks_the_format_ends_its_tunnel(network, message, text):
    async with rig(**OPEN, max_control_payload=256, max_frame_payload=2048) as r:
        async with r.tunnel() as socket, r.tunnel() as other:
            if network:
                await socket.send_bytes(encode_frame(GATEWAY_ARP))
                await next_of(socket, FRAME)
            if len(message) <= r.proxy.config.limits.message:
                await socket.send_bytes(message)
                await socket.send_bytes(encode_ping(b"not any more"))
                assert await the_end(socket) == ((ErrorCode.PROTOCOL_ERROR, text), 1008, text)
            else:  # larger than any message may be: the WebSocket itself refuses it
                await socket.send_bytes(message)
                assert (await the_end(socket))[1] == 1009
            await until(lambda: len(r.proxy.sessions) == 1, "closed")
            assert r.count("l2_frames_dropped_total") == 1
            await other.send_bytes(encode_ping(b"here"))
            assert await next_of(other, PONG) == b"here"
        await until(lambda: len(r.kinds("session-close")) == 2, "recorded")


@on_a_loop
async def test_the_byte_quota_counts_both_ways_and_websocket_pings():
    async with rig(**OPEN, max_bytes_per_connection=100) as r:
        async with r.tunnel() as socket:
            for _ in range(4):  # 12 bytes each way
                await socket.send_bytes(encode_ping(b"12345678"))
                await next_of(socket, PONG)
            await socket.ping(b"12")  # and its Pong: 100 in all, which is allowed
            await asyncio.sleep(0)
            await until(lambda: r.proxy.sessions[0].gate.bytes == 100, "100 bytes")
            await socket.send_str("x")
            text = "byte quota exceeded"
            assert await the_end(socket) == ((ErrorCode.QUOTA_BYTES, text), 1008, text)
        await until(lambda: r.kinds("session-close"), "recorded")
        assert r.count("l2_sessions_closed_quota_bytes_total") == 1
        assert [row["reason"] for row in r.kinds("quota")] == ["quota-bytes"]
        assert r.kinds("session-close")[0]["code"] == 1008


async def pings(socket, number, size=100):
    """Exchange so many, all sent at once; whether each was answered, in order, and the seconds it took."""
    started = monotonic_ns()
    for i in range(number):
        await socket.send_bytes(encode_ping(bytes([i]) * size))
    for i in range(number):
        assert await next_of(socket, PONG) == bytes([i]) * size
    return (monotonic_ns() - started) / 1e9


@on_a_loop
async def test_a_byte_rate_slows_a_tunnel_down_and_ends_nothing():
    async with rig(**OPEN, max_bytes_per_second=2000) as r:
        async with r.tunnel() as socket, r.tunnel() as other:
            # 104 bytes each way a time, of which the first two are what an idle tunnel may send at once.
            assert await pings(socket, 20) >= 16 * 104 / 2000
            assert r.proxy.sessions[0].paced.waits > 0
            await pings(other, 1)
        await until(lambda: len(r.kinds("session-close")) == 2, "recorded")
        assert r.kinds("quota") == [] and r.count("aero_lab_paced_total") > 0
        assert [row["code"] for row in r.kinds("session-close")] == [1000, 1000]


@on_a_loop
async def test_with_a_rate_a_used_up_quota_slows_down_in_place_of_ending():
    async with rig(**OPEN, max_bytes_per_connection=4000, max_bytes_per_second=1000) as r:
        async with r.tunnel() as socket:
            await pings(socket, 19)  # 3952 bytes both ways
            session = r.proxy.sessions[0]
            assert session.paced.waits == 0
            assert await pings(socket, 8) >= 5 * 104 / 1000
            assert session.paced.waits > 0
        await until(lambda: r.kinds("session-close"), "recorded")
        assert r.count("l2_sessions_closed_quota_bytes_total") == 0 and r.kinds("quota") == []


@on_a_loop
async def test_a_transfer_through_a_paced_tunnel_is_whole():
    async with tcp_server(echo) as port:
        forward = f"203.0.113.10:7=127.0.0.1:{port}"
        async with rig(**OPEN, tcp_forward=forward, max_bytes_per_second=400_000) as r, guest(r) as g:

            def transfer(host):
                conn = yield from host.connect(LAB, 7)
                data = bytes(range(256)) * 300
                yield from conn.send(data)
                got = yield from conn.receive_exactly(len(data))
                yield from conn.finish()
                return bytes(got) == data

            started = monotonic_ns()
            assert await g.run(transfer)
            assert (monotonic_ns() - started) / 1e9 >= 76_800 / 400_000 - 0.1
            assert r.proxy.sessions[0].paced.waits > 0


@on_a_loop
async def test_the_rate_quota_lets_a_second_of_messages_pass_at_once_and_refuses_the_next():
    async with rig(**OPEN, max_frames_per_second=5) as r:
        async with r.tunnel() as socket:
            now = monotonic_ns()
            r.proxy.sessions[0].gate._clock = lambda: now  # the burst takes no time
            for i in range(5):
                await socket.send_bytes(encode_ping(bytes([i])))
            for i in range(5):
                assert await next_of(socket, PONG) == bytes([i])
            await socket.send_str("one more, of whatever kind")
            text = "frame rate quota exceeded"
            assert await the_end(socket) == ((ErrorCode.QUOTA_FPS, text), 1008, text)
        await until(lambda: r.kinds("session-close"), "recorded")
        assert r.count("l2_sessions_closed_quota_fps_total") == 1


@pytest.mark.parametrize("rate", [1, 3, 1000])
def test_the_bucket(rate):
    bucket = TokenBucket(rate, 0)
    assert all(bucket.take(0) for _ in range(rate)) and not bucket.take(0)
    assert not bucket.take(SECOND // rate - 1) and bucket.take(SECOND // rate + 1)
    late = 100 * SECOND
    assert [bucket.take(late) for _ in range(rate + 1)] == [True] * rate + [False]
    steady = TokenBucket(rate, 0)
    assert all(steady.take(i * SECOND // rate + 1) for i in range(5 * rate))
    # At the edge of two seconds no second burst passes, which a fixed window would let through.
    edge = TokenBucket(rate, 0)
    for _ in range(rate):
        edge.take(SECOND - 1)
    assert sum(edge.take(SECOND + 1) for _ in range(rate)) == 0


@on_a_loop
async def test_silence_ends_a_tunnel():
    async with rig(**OPEN, idle_timeout_ms=1000) as r:
        async with r.tunnel() as socket:
            for _ in range(3):
                await asyncio.sleep(0.4)
                await socket.send_str("alive")
            assert r.proxy.sessions
            assert await the_end(socket) == (None, 1008, "idle timeout")
        assert r.count("aero_l2_idle_timeouts_total") == 1


@on_a_loop
async def test_the_servers_pings():
    async with rig(**OPEN, ping_interval_ms=200) as r:
        sent = []

        def note(session):
            def ping(now, only):
                sent.append(now)
                return ControlChannel.ping(session.control, now, only=only)

            session.control.ping = ping

        r.proxy.on_session = note
        async with r.tunnel() as socket:
            for number in (1, 2):
                payload = await next_of(socket, PING)
                assert payload == struct.pack(">Q", number)
                await socket.send_bytes(encode_pong(payload + b"more"))  # counts for nothing
                await socket.send_bytes(encode_pong(payload))
            await until(lambda: sum(r.proxy.metrics._rtt) == 2, "two round trips")
            assert await next_of(socket, PING) == struct.pack(">Q", 3)
            # Not answered: one is outstanding at a time, and after three intervals it is given up.
            assert await next_of(socket, PING) == struct.pack(">Q", 4)
            assert sent[3] - sent[2] >= 3 * 200 * MS
            await socket.send_bytes(encode_pong(struct.pack(">Q", 3)))
            await socket.send_bytes(encode_pong(struct.pack(">Q", 4)))
            await until(lambda: sum(r.proxy.metrics._rtt) == 3, "three round trips")
            text = (await r.get("/metrics"))[2]
            assert 'l2_ping_rtt_ms_bucket{le="+Inf"} 3.0' in text and "l2_ping_rtt_ms_count 3.0" in text
            assert 'le="2500"' in text and 'le="1"' in text


@on_a_loop
async def test_a_guest_reaches_the_world_and_everything_is_counted():
    async with tcp_server(echo) as port:
        settings = {
            "dns_a": "echo.local=203.0.113.10",
            "tcp_forward": f"203.0.113.10:7=127.0.0.1:{port},203.0.113.10:9=127.0.0.1:1",
            "blocked_domains": "evil.example",
            "max_udp_flows": 1,
            "udp_forward": "203.0.113.10:5000=127.0.0.1:1,203.0.113.10:5001=127.0.0.1:1",
        }
        async with rig(**OPEN, **settings) as r, guest(r) as g:

            def talk(host):
                socket = yield from host.connect("echo.local", 7)
                yield from socket.send(b"through the tunnel")
                data = yield from socket.receive_exactly(18)
                active = r.count("l2_tcp_conns_active")
                yield from socket.finish()
                return bytes(data), active

            assert await g.run(talk) == (b"through the tunnel", 1)

            def refused(host):
                yield from host.connect(LAB, 9)

            def private(host):
                yield from host.connect(bytes((192, 168, 0, 1)), 80)

            def blocked(host):
                yield from host.resolve("www.evil.example")

            for task in (refused, private, blocked):
                with pytest.raises(AeroLabError):
                    await g.run(task)

            def datagrams(host):
                one = host.udp_socket()
                yield from one.send(LAB, 5000, b"x")
                yield from one.send(LAB, 5001, b"x")

            await g.run(datagrams)
            await until(lambda: r.count("l2_udp_flow_limit_exceeded_total"), "limited")
            assert r.count("l2_udp_flows_active") == 1
            await until(lambda: r.count("l2_tcp_connect_fail_total"), "failed")
            values = r.proxy.metrics.values()
            assert values["l2_tcp_connect_fail_total"] == 1
            assert values["l2_policy_denied_total"] >= 2
            assert values["l2_dns_queries_total"] >= 2
            assert values["l2_sessions_active"] == 1 and values["l2_tcp_conns_active"] == 0
            before = values
        await until(lambda: not r.proxy.sessions, "gone")
        after = r.proxy.metrics.values()
        assert after["l2_udp_flows_active"] == after["l2_sessions_active"] == 0
        assert all(after[name] >= before[name] for name in before if name.endswith("_total"))
        (closed,) = r.kinds("session-close")
        assert closed["bytes_up"] == after["l2_bytes_rx_total"] and closed["bytes_down"] == after["l2_bytes_tx_total"]
        assert "through the tunnel" not in str(r.audit.rows())


def test_what_lan_counters_amount_to():
    from typing import get_args

    counters = {
        "tcp.denied-private": 1, "udp.denied-port": 2, "dns.denied-name": 4, "lan.echo-denied-loopback": 8,
        "egress.udp-denied": 16, "udp.limit": 32, "dns.queries": 64,
        "dns.lookup-timeout": 128, "dns.lookup-ok": 9, "dns.lookups": 9,
        "stack.drop.checksum-tcp": 3, "egress.udp-send-failed": 5, "tcp.limit": 7,
    }  # fmt: skip
    counters |= {f"egress.tcp-{why}": 100 for why in get_args(Why)}
    assert dict(from_lan(counters)) == {
        "l2_policy_denied_total": 15,
        "l2_udp_send_fail_total": 21,
        "l2_udp_flow_limit_exceeded_total": 32,
        "l2_dns_queries_total": 64,
        "l2_dns_fail_total": 128,
        "l2_tcp_connect_fail_total": 100 * len(get_args(Why)),
        "aero_lab_drops_total checksum-tcp": 3,
    }


@on_a_loop
async def test_a_defect_ends_its_own_tunnel_and_no_other(caplog):
    async with rig(**OPEN) as r:
        async with r.tunnel() as broken, r.tunnel() as sound:
            await broken.send_bytes(encode_frame(GATEWAY_ARP))
            await next_of(broken, FRAME)
            lan = r.proxy.sessions[0].lan

            def raises(now):
                raise RuntimeError("a defect")

            lan.step = raises
            await broken.send_bytes(encode_frame(GATEWAY_ARP))
            assert (await the_end(broken))[1] in ("CLOSED", "ERROR", "CLOSING", 1006)
            await sound.send_bytes(encode_frame(GATEWAY_ARP))
            await next_of(sound, FRAME)
        await until(lambda: len(r.kinds("session-close")) == 2, "recorded")
        assert "internal-error" in {row["reason"] for row in r.kinds("session-close")}
        assert "a defect" in caplog.text


@on_a_loop
async def test_a_proxy_that_drains_says_so_and_waits_for_nobody_for_long():
    async with rig(**OPEN) as r:
        async with r.tunnel() as polite, r.tunnel() as silent:
            await polite.send_bytes(encode_frame(GATEWAY_ARP))
            await next_of(polite, FRAME)
            draining = asyncio.create_task(r.proxy.drain())
            await asyncio.sleep(0)
            assert (await r.get("/readyz"))[0] == 503 and (await r.get("/healthz"))[0] == 200
            assert await r.upgrade() == (503, "shutting down")
            assert await r.upgrade(drop=["Sec-WebSocket-Protocol"]) == (503, "shutting down")
            assert await the_end(polite) == (None, 1001, "shutting down")
            await draining  # the other never answers its Close
            assert not r.proxy.sessions and not silent.closed
        assert r.count("l2_upgrade_rejected_total") == 0
        assert {row["reason"] for row in r.kinds("session-close")} == {"shutting down"}


@on_a_loop
async def test_what_waits_is_thrown_away_when_a_tunnel_is_closed():
    async with rig(**OPEN) as r, r.tunnel() as socket:
        await socket.send_bytes(encode_frame(GATEWAY_ARP))
        await next_of(socket, FRAME)
        (session,) = r.proxy.sessions
        for _ in range(10):
            session.lan.tx.push(bytes(60))
        session.server.port.step(monotonic_ns())
        session.finish(1008, "told")
        assert await the_end(socket) == (None, 1008, "told")


@on_a_loop
async def test_flows_end_with_their_tunnel():
    ended = asyncio.Event()

    async def serve(reader, writer):
        try:
            await reader.read()
        except ConnectionError:
            pass
        ended.set()

    async with tcp_server(serve) as port:
        async with rig(**OPEN, tcp_forward=f"203.0.113.10:7=127.0.0.1:{port}") as r, guest(r) as g:

            def connect(host):
                yield from host.connect(LAB, 7)

            await g.run(connect)
            assert r.count("l2_tcp_conns_active") == 1
            r.proxy.sessions[0].finish(1008, "told")
            await asyncio.wait_for(ended.wait(), 20)
        await until(lambda: r.kinds("flow"), "recorded")
        assert r.kinds("flow")[0]["session"] == 1 and r.count("l2_tcp_conns_active") == 0
