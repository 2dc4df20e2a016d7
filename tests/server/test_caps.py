"""Caps of the gateway's sockets: of a session, of an address, of all; and the development relay as a process."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import struct

import aiohttp
import pytest

from aero_lab import cli
from aero_lab.limits import SECOND
from aero_lab.server.quota import Buckets, Slots, TokenBucket

from .rig import echo, on_a_loop, rig, tcp_server, until
from .test_gateway import SECRET, cookie
from .test_process import Process

pytestmark = pytest.mark.filterwarnings("ignore:The HMAC key")
OPEN = {"auth_mode": "none", "tcp_allow_private_ips": True}


def tcp(r, port, **headers):
    return r.client.ws_connect(f"ws://{r.proxy.authority}/tcp?v=1&host=127.0.0.1&port={port}", headers=headers)


def open_stream(stream, port):
    host = b"127.0.0.1"
    payload = struct.pack("!H", len(host)) + host + struct.pack("!HH", port, 0)
    return struct.pack("!BII", 1, stream, len(payload)) + payload


async def frame(socket, kinds):
    """The next mux frame of one of these types: type, stream, payload."""
    while True:
        data = await socket.receive_bytes(timeout=20)
        kind, stream, size = struct.unpack("!BII", data[:9])
        if kind in kinds:
            return kind, stream, data[9 : 9 + size]


async def status(connecting):
    try:
        socket = await connecting
    except aiohttp.WSServerHandshakeError as error:
        return error.status
    await socket.close()
    return 101


@on_a_loop
async def test_connections_of_a_session_by_sockets_and_streams_together():
    settings = {"auth_mode": "session", "session_secret": SECRET, "tcp_allow_private_ips": True}
    async with tcp_server(echo) as port, rig(**settings, tcp_proxy_max_connections=3) as r:
        me, other = cookie("me"), cookie("other")
        async with tcp(r, port, **me) as one, tcp(r, port, **me):
            mux = await r.client.ws_connect(
                f"ws://{r.proxy.authority}/tcp-mux", protocols=["aero-tcp-mux-v1"], headers=me
            )
            await mux.send_bytes(open_stream(1, port) + struct.pack("!BII", 2, 1, 2) + b"hi")
            assert (await frame(mux, (2, 4)))[0] == 2
            await mux.send_bytes(open_stream(3, port))
            kind, stream, payload = await frame(mux, (4,))
            assert (kind, stream, struct.unpack("!H", payload[:2])[0]) == (4, 3, 5)  # STREAM_LIMIT_EXCEEDED
            assert await status(tcp(r, port, **me)) == 429
            assert await status(tcp(r, port, **other)) == 101
            await one.send_bytes(b"still")
            assert await one.receive_bytes(timeout=20) == b"still"
            await mux.send_bytes(struct.pack("!BII", 3, 1, 1) + b"\x02")  # RST: its place is free again
            await until(lambda: len(r.proxy.gatekeeper.slots) == 2, "given back")
            assert await status(tcp(r, port, **me)) == 101
            await mux.close()
        await until(lambda: len(r.proxy.gatekeeper.slots) == 0, "all given back")


@on_a_loop
async def test_connections_of_an_address():
    settings = {**OPEN, "trust_proxy": True, "tcp_proxy_max_connections": 0, "tcp_proxy_max_connections_per_ip": 2}
    async with tcp_server(echo) as port, rig(**settings) as r:
        here, there = {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}
        async with tcp(r, port, **here), tcp(r, port, **here):
            assert await status(tcp(r, port, **here)) == 429
            assert await status(tcp(r, port, **there)) == 101
        await until(lambda: len(r.proxy.gatekeeper.slots) == 0, "all given back")
        assert await status(tcp(r, port, **here)) == 101


@on_a_loop
async def test_websockets_in_all_and_clients_that_get_nothing():
    async with rig(**OPEN, max_websockets=2, trust_proxy=True, tcp_blocked_client_ips="192.0.2.66") as r:
        url = f"ws://{r.proxy.authority}/tcp-mux"
        mux = {"protocols": ["aero-tcp-mux-v1"]}
        async with r.client.ws_connect(url, **mux), r.client.ws_connect(url, **mux):
            assert await status(r.client.ws_connect(url, **mux)) == 429
            async with r.tunnel():  # tunnels have a cap of their own
                pass
        blocked = {"X-Forwarded-For": "192.0.2.66"}
        assert await status(r.client.ws_connect(url, **mux, headers=blocked)) == 403
        assert (await r.upgrade("/tcp-mux", **blocked, Sec_WebSocket_Protocol="aero-tcp-mux-v1"))[
            1
        ] == "Client IP blocked\n"
        missing = (400, "Missing required subprotocol: aero-tcp-mux-v1\n")
        assert await r.upgrade("/tcp-mux", Sec_WebSocket_Protocol="other") == missing
        for bad in ("a b", "x" * 5000, ", ".join(f"p{i}" for i in range(40)), "a,,b"):
            told = await r.upgrade("/tcp-mux", Sec_WebSocket_Protocol=bad)
            assert told == (400, "Invalid Sec-WebSocket-Protocol header\n"), bad


def test_slots_and_buckets():
    slots = Slots(2, 3)
    leases = [slots.take("a", "ip"), slots.take("a", "ip")]
    assert slots.take("a", "ip") is None and slots.take("b", "ip") is not None and slots.take("c", "ip") is None
    for lease in leases:
        lease.release()
        lease.release()
    assert slots.take("c", "ip") is not None and len(slots) == 2
    buckets = Buckets(1, 2, most=3)
    assert [buckets.take("a", 0) for _ in range(3)] == [True, True, False] and buckets.take("b", 0)
    assert buckets.take("a", SECOND) and not buckets.take("a", SECOND)
    for i in range(10):
        buckets.take(f"n{i}", SECOND)
    assert len(buckets._buckets) == 3
    bucket = TokenBucket(100, 0, burst=1000)
    assert bucket.take(0, 1000) and not bucket.take(0) and bucket.wait(0, 50) == SECOND // 2
    assert not bucket.take(SECOND // 2 - 1, 50) and bucket.take(SECOND // 2, 50)
    assert TokenBucket(0, 0, burst=1).wait(0, 2) > SECOND


@contextlib.contextmanager
def relay(*arguments):
    with Process(*arguments, command="relay") as process:
        yield process, process.listening()


def test_the_development_relay():
    async def talk(url, port):
        base = url.replace("http", "ws")
        async with aiohttp.ClientSession() as client:
            async with client.ws_connect(f"{base}/tcp?target=127.0.0.1:{port}", origin="https://any.test") as socket:
                await socket.send_bytes(b"hello")
                assert await socket.receive_bytes(timeout=20) == b"hello"
            async with client.get(f"{url}/dns-json?name=localhost&type=A") as answer:
                assert (await answer.json(content_type=None))["Answer"][0]["data"] == "127.0.0.1"
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await client.ws_connect(f"{base}/l2", protocols=["aero-l2-tunnel-v1"])
            assert refused.value.status == 404

    async def serve(url):
        async with tcp_server(echo) as port:
            await asyncio.wait_for(talk(url, port), 60)

    with relay("--port", "0", "--open") as (process, url):
        asyncio.run(serve(url))
        assert process.end(signal.SIGTERM) == 0
        said = "\n".join(process.err)
        assert "WARNING: no credentials, any Origin" in said and "private networks" in said


def test_the_development_relay_listens_for_nobody_else(capsys):
    assert cli.run(["relay", "--host", "0.0.0.0"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "loopback" in err and err.count("\n") == 1
    assert cli.run(["relay", "--allow", "nonsense"]) == 2
    assert "AERO_PROXY_ALLOW" in capsys.readouterr().err
