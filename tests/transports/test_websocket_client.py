"""The client's end: where it connects, how it waits and comes back, what it tells, what it costs on the wire."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import subprocess
import sys
import textwrap

import pytest
from aiohttp import web

from aero_lab.errors import UsageError
from aero_lab.rings import FrameRing
from aero_lab.transports.tcp_info import WireCount
from aero_lab.transports.websocket import WebSocketEnd, server_socket
from aero_lab.transports.websocket_client import (
    ConnectFailed,
    WebSocketClient,
    backoff,
    plain_url,
    subprotocols,
    tunnel_url,
)
from tests.transports.test_websocket import on_loop, ring_of, taken


class Proxy:
    """A server whose connections the test can drop and refuse; what it has received it sends back."""

    def __init__(self):
        self.requests: list[web.Request] = []
        self.ends: list[WebSocketEnd] = []
        self.sockets: list[web.WebSocketResponse] = []
        self.refuse: list[tuple[int, str]] = []
        self.protocols: tuple[str, ...] = ("aero-l2-tunnel-v1",)

    async def handler(self, request):
        self.requests.append(request)
        if self.refuse:
            status, text = self.refuse.pop(0)
            return web.Response(status=status, text=text)
        ws = server_socket(1 << 17, self.protocols)
        await ws.prepare(request)

        def echo():
            end.send(end.received, 0)
            end.taken()

        end = WebSocketEnd(ws, echo)
        self.ends.append(end)
        self.sockets.append(ws)
        await end.run()
        return ws

    def drop(self):
        raw = self.sockets[-1].get_extra_info("socket")
        raw.shutdown(socket.SHUT_RDWR)


@contextlib.asynccontextmanager
async def proxy_and_client(proxy=None, path="", **options):
    proxy = proxy or Proxy()
    app = web.Application()
    app.router.add_get("/{path:.*}", proxy.handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    client = Woken(f"http://127.0.0.1:{port}{path}", **options)
    running = asyncio.create_task(client.run())
    try:
        yield proxy, client
    finally:
        client.close()
        async with asyncio.timeout(5):
            await running
        await runner.cleanup()


class Woken(WebSocketClient):
    """A client whose wake-ups and carrier the test can wait for."""

    def __init__(self, url, rng=None, **options):
        self.event, self.carriers = asyncio.Event(), []
        super().__init__(url, self.event.set, rng or Quick(), carrier=self.carriers.append, **options)

    async def until(self, condition):
        async with asyncio.timeout(20):
            while not condition():
                await self.event.wait()
                self.event.clear()


class Quick:
    """Jitter that makes every wait a short one, and notes what was asked."""

    def __init__(self):
        self.asked = []

    def uniform(self, a, b):
        self.asked.append((a, b))
        return 0.01


@pytest.mark.parametrize(
    "base, url",
    [
        ("http://h:1", "ws://h:1/l2"),
        ("https://h/", "wss://h/l2"),
        ("ws://h/l2", "ws://h/l2"),
        ("ws://h/l2/", "ws://h/l2/"),
        ("wss://h/eth", "wss://h/eth"),
        ("http://h/lab/l2?x=1", "ws://h/lab/l2?x=1"),
        ("http://h/lab/", "ws://h/lab/l2"),
        ("HTTP://[::1]:8090/xl2", "ws://[::1]:8090/xl2/l2"),
        ("  ws://h#frag ", "ws://h/l2"),
    ],
)
def test_where_the_tunnel_is(base, url):
    assert tunnel_url(base) == url


def test_where_there_is_none():
    for base in ("", "h:1", "ftp://h/l2", "ws://", "http://h:99999", "ws://h:x/", "//h/l2", "http://[::1"):
        with pytest.raises(UsageError, match="is no address of a proxy"):
            tunnel_url(base)


def test_tokens():
    assert tunnel_url("http://h", "a b/+&") == "ws://h/l2?token=a%20b%2F%2B%26"
    assert tunnel_url("http://h/?token=old&x=1", "new") == "ws://h/l2?x=1&token=new"
    assert tunnel_url("http://h", None, "/l3") == tunnel_url("http://h/l2", None, "/l3") == "ws://h/l3"
    assert tunnel_url("http://h/aero/tcp-mux/?a=1", "t", "/l3") == "ws://h/aero/l3?a=1&token=t"
    assert plain_url("wss://me:secret@h:1/l2?token=t") == "wss://h:1/l2"
    assert subprotocols(None) == ("aero-l2-tunnel-v1",)
    assert subprotocols("a.b~c!") == ("aero-l2-tunnel-v1", "aero-l2-token.a.b~c!")
    for token in ("a b", "", "ü", 'a"', "a,b"):
        with pytest.raises(UsageError, match="query"):
            subprotocols(token)
    with pytest.raises(UsageError, match="travels by"):
        WebSocketClient("ws://h", lambda: None, random.Random(1), token="t", token_transport="header")


def test_the_waits_double_to_a_bound_with_a_fifth_of_jitter():
    rng = random.Random(3)
    for attempt, middle in ((0, 0.25), (1, 0.5), (4, 4.0), (7, 30.0), (10_000, 30.0)):
        waits = [backoff(attempt, rng) for _ in range(300)]
        assert all(0.8 * middle <= wait <= 1.2 * middle for wait in waits)
        assert max(waits) > 1.15 * middle and min(waits) < 0.85 * middle
    assert [backoff(2, random.Random(5)) for _ in range(2)] == [backoff(2, random.Random(5)) for _ in range(2)]


@on_loop
async def test_messages_go_and_come_back():
    async with proxy_and_client(path="/lab") as (proxy, client):
        waiting = ring_of(b"early")
        assert client.send(waiting, 0) == 0 and client.stalled and len(waiting) == 1, "there is no connection yet"
        await client.opened()
        assert client.connected and not client.stalled and client.carriers == [True]
        assert client.send(waiting, 0) == 1
        await client.until(lambda: len(client.received))
        assert taken(client) == [b"early"]
        request = proxy.requests[0]
        assert request.path == "/lab/l2" and request.headers["Origin"] == f"http://{request.host}"
        assert request.headers["Sec-WebSocket-Protocol"] == "aero-l2-tunnel-v1"
        assert "Sec-WebSocket-Extensions" not in request.headers
        assert client.counters["messages_sent"] == client.counters["messages_received"] == 1
    assert client.peer_closed and not client.connected and client.carriers == [True, False]
    assert proxy.ends[0].close_code == 1000 and proxy.ends[0].closed_by == "peer"


@on_loop
async def test_credentials_travel_as_asked():
    for how, query, offered in (
        ("query", "t-1", "aero-l2-tunnel-v1"),
        ("subprotocol", None, "aero-l2-tunnel-v1,aero-l2-token.t-1"),
        ("both", "t-1", "aero-l2-tunnel-v1,aero-l2-token.t-1"),
    ):
        async with proxy_and_client(token="t-1", token_transport=how, origin=None) as (proxy, client):
            await client.opened()
            request = proxy.requests[0]
            assert request.query.get("token") == query and "Origin" not in request.headers
            assert request.headers["Sec-WebSocket-Protocol"].replace(" ", "") == offered


@on_loop
async def test_a_lost_connection_is_made_again_and_what_waits_waits():
    async with proxy_and_client() as (proxy, client):
        await client.opened()
        ring = ring_of(b"one")
        client.send(ring, 0)
        await client.until(lambda: len(client.received))
        proxy.refuse = [(503, "shutting down"), (429, "max connections exceeded")]
        proxy.drop()
        await client.until(lambda: not client.connected)
        assert client.error == "the connection was lost" and client.stalled and client.carriers == [True, False]
        ring.push(b"two")
        assert client.send(ring, 0) == 0 and len(ring) == 1
        await client.until(lambda: client.connected)
        assert client.carriers == [True, False, True] and client.error is None and client.connections == 2
        assert len(proxy.requests) == 4 and not proxy.refuse
        client.send(ring, 0)
        await client.until(lambda: len(client.received) == 2)
        assert taken(client) == [b"one", b"two"], "the ring outlives the connection"
        assert client.counters["messages_sent"] == 2 and client.counters["bytes_sent"] == 6
        assert len(client._rng.asked) == 3 and not client.peer_closed


@on_loop
async def test_a_proxy_that_closes_with_a_reason():
    async with proxy_and_client() as (proxy, client):
        await client.opened()
        proxy.ends[0].finish(1001, "shutting down")
        await client.until(lambda: not client.connected)
        assert client.error == "closed by peer: 1001 shutting down"
        await client.until(lambda: client.connected)


@on_loop
async def test_a_silent_connection_is_given_up():
    async with proxy_and_client() as (proxy, client):
        await client.opened()
        client.restart("nothing came for 30 s")
        await client.until(lambda: not client.connected)
        assert client.error == "nothing came for 30 s"
        await client.until(lambda: client.connected)
        assert proxy.ends[0].close_reason == "nothing came for 30 s" and client.connections == 2


@on_loop
async def test_a_refusal_for_good_is_final_and_shows_no_token():
    proxy = Proxy()
    proxy.refuse = [(401, "invalid\n token " + "x" * 5000)]
    async with proxy_and_client(proxy, token="s3cret") as (proxy, client):
        with pytest.raises(ConnectFailed, match="refused the tunnel: 401 Unauthorized: invalid token xx") as caught:
            await client.opened()
        assert caught.value.for_good and "s3cret" not in str(caught.value) and len(str(caught.value)) < 700
        await client.until(lambda: client.peer_closed)
        assert len(proxy.requests) == 1 and client.connections == 0 and client.carriers == []
        assert "401" in repr(client)


@on_loop
async def test_a_server_that_speaks_something_else():
    proxy = Proxy()
    proxy.protocols = ("chat",)
    async with proxy_and_client(proxy) as (_, client):
        with pytest.raises(ConnectFailed, match="does not speak aero-l2-tunnel-v1") as caught:
            await client.opened()
        assert caught.value.for_good


@on_loop
async def test_nobody_there():
    with socket.socket() as taken_port:
        taken_port.bind(("127.0.0.1", 0))
        port = taken_port.getsockname()[1]
        rng = Quick()
        client = Woken(f"ws://127.0.0.1:{port}", rng)
        running = asyncio.create_task(client.run())
        with pytest.raises(ConnectFailed, match=f"cannot connect to ws://127.0.0.1:{port}/l2: .*refused") as caught:
            await client.opened()
        assert not caught.value.for_good
        while len(rng.asked) < 4:  # it goes on
            await asyncio.sleep(0.01)
        client.close()
        async with asyncio.timeout(2):
            await running
        once = Woken(f"ws://127.0.0.1:{port}", rng, reconnect=False)
        await once.run()
        assert once.peer_closed and "refused" in once.error.lower()


@on_loop
async def test_close_interrupts_whatever_the_client_waits_for():
    silent = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    async with silent:
        client = Woken(f"ws://127.0.0.1:{port}")
        running = asyncio.create_task(client.run())
        await asyncio.sleep(0.05)  # the upgrade is on its way and nobody answers
        client.close()
        async with asyncio.timeout(2):
            await running
        assert client.peer_closed
        running = asyncio.create_task(Woken(f"ws://127.0.0.1:{port}").run())
        await asyncio.sleep(0.05)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


@on_loop
async def test_a_message_that_is_too_large_ends_the_connection():
    async with proxy_and_client(most=100) as (_, client):
        await client.opened()
        client.send(ring_of(bytes(100)), 0)
        await client.until(lambda: len(client.received))
        client.send(ring_of(bytes(101)), 0)
        await client.until(lambda: not client.connected)
        assert client.error.startswith("closed by us: 1009 ") and taken(client) == [bytes(100)]


@on_loop
async def test_a_flood_both_ways_arrives_whole():
    async with proxy_and_client(most=1 << 16) as (_, client):
        await client.opened()
        messages = [i.to_bytes(4, "big") * (i % 900 + 1) for i in range(5000)]
        todo, ring, seen = list(reversed(messages)), FrameRing(256, 1 << 20), []
        while len(seen) < len(messages):
            while todo and ring.has_room(len(todo[-1])):
                ring.push(todo.pop())
            client.send(ring, 0)
            seen += taken(client)
            await asyncio.sleep(0)
        assert seen == messages


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="this system counts no segments")
@on_loop
async def test_the_wire_is_counted_over_connections():
    async with proxy_and_client(most=1 << 17, max_segment=1448) as (proxy, client):
        await client.opened()
        before = client.wire
        client.send(ring_of(bytes(100_000)), 0)
        await client.until(lambda: len(client.received))
        after = client.wire
        sent, got = after.bytes_out - before.bytes_out, after.bytes_in - before.bytes_in
        # 100,014 bytes with the masked header, in segments of 1448 less 12 of timestamps.
        segments = -(-100_014 // 1436)
        assert after.segments_out - before.segments_out >= segments
        assert 100_014 + 52 * segments <= sent <= 100_014 + 52 * 2 * segments and got >= 100_010 + 52 * segments
        proxy.drop()
        await client.until(lambda: not client.connected)
        assert client.wire == after, "as last seen"
        await client.until(lambda: client.connected)
        assert client.wire.bytes_out > after.bytes_out


def test_adding_counts():
    assert WireCount(1, 2, 3, 4).plus(WireCount(10, 20, 30, 40)) == WireCount(11, 22, 33, 44)


CAPTURED = """
    import socket, struct, subprocess, time
    from aero_lab.transports.tcp_info import limit_segments, wire_count

    subprocess.run(["ip", "link", "set", "lo", "up", "mtu", "1500", "gso_max_segs", "1"], check=True)
    with open("/proc/sys/net/ipv4/tcp_sack", "w") as setting:
        setting.write("0")  # on a busy machine a probe may go out for nothing, and its answer names it in an option
    eye = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
    eye.setblocking(False)
    server = socket.create_server(("127.0.0.1", 0))
    near = socket.socket()
    limit_segments(near)
    near.connect(server.getsockname())
    far, _ = server.accept()
    near_port = struct.pack("!H", near.getsockname()[1])
    seen = {"out": [0, 0, 0], "in": [0, 0, 0]}

    def look():
        while True:
            try:
                packet = eye.recv(65536)
            except BlockingIOError:
                return
            if packet[9] == socket.IPPROTO_TCP:
                row = seen["out" if packet[20:22] == near_port else "in"]
                row[0] += 1
                row[1] += struct.unpack("!H", packet[2:4])[0]
                row[2] += (packet[32] >> 4) * 4 - 20 - 12  # what the count leaves out: options beyond timestamps

    def carry(a, b, size):
        a.sendall(bytes(size))
        while size:
            size -= len(b.recv(65536))
        look()

    for _ in range(50):
        carry(near, far, 20_000)
        carry(far, near, 7_000)
    time.sleep(0.1)  # delayed ACKs
    look()
    told = wire_count(near)
    assert eye.getsockopt(263, 6, 8)[4:] == bytes(4), "the capture lost packets"
    for direction, segments, size in (
        ("out", told.segments_out, told.bytes_out), ("in", told.segments_in, told.bytes_in)
    ):
        packets, captured, options = seen[direction]
        assert segments == packets > 250 and size == captured - options, (direction, told, seen)
        assert 0 <= options <= 12
"""


def test_the_count_is_that_of_a_capture_in_a_network_namespace():
    """Every packet that the kernel put on an interface, in bytes of IP, against what the connection says of itself."""
    probe = subprocess.run(["unshare", "-Urn", "true"], capture_output=True)
    if sys.platform != "linux" or probe.returncode:
        pytest.skip("network namespaces are not available here")
    done = subprocess.run(
        ["unshare", "-Urn", sys.executable, "-c", textwrap.dedent(CAPTURED)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
