"""Clients that ask for much and read nothing, on each endpoint: bounded, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from aero_lab.framing import tcp_mux, udp_relay
from aero_lab.transports.data_channel import DataChannelEnd
from aero_lab.transports.peer import Description, make_peer, missing

from .rig import echo, on_a_loop, rig, tcp_server, until
from .test_bounds import resident
from .test_caps import frame, open_stream
from .test_datagrams import LOOPBACK
from .test_names import query

SETTINGS = {
    "auth_mode": "none",
    "relay_auth_mode": "none",
    "open": True,
    "tcp_allow_private_ips": True,
    "destination_policy_preset": "dev",
    "dns_qps_per_ip": 0,
}
MOST = 24 << 20
"""Bytes that a client which does not read may hold, kernel buffers of both connections included."""


@contextlib.asynccontextmanager
async def deaf(r, path, protocols=()):
    """A WebSocket of a client whose socket takes little and is not read: frames can be sent by ``say``."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", r.proxy.port))
    lines = "".join(f"Sec-WebSocket-Protocol: {each}\r\n" for each in protocols)
    await loop.sock_sendall(
        sock,
        f"GET {path} HTTP/1.1\r\nHost: {r.proxy.authority}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n".encode(),
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += await loop.sock_recv(sock, 1)
    assert head.startswith(b"HTTP/1.1 101"), head

    async def say(payload):
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
        await loop.sock_sendall(sock, b"\x82" + length + bytes(4) + payload)

    try:
        yield say
    finally:
        sock.close()


class Source:
    """A server that sends for ever, and counts."""

    sent = 0

    async def __call__(self, reader, writer):
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(bytes(65536))
                await writer.drain()
                self.sent += 65536

    async def stopped(self):
        """Until it has not got rid of anything for a while."""
        await until(lambda: self.sent, "begun")
        for _ in range(200):
            before = self.sent
            await asyncio.sleep(0.5)
            if self.sent == before:
                return
        raise AssertionError(f"{self.sent} bytes, and no end")


async def others_go_on(r, port):
    """Everybody else gets what they ask for."""
    async with r.client.ws_connect(f"ws://{r.proxy.authority}/tcp?host=127.0.0.1&port={port}") as one:
        await one.send_bytes(b"well?")
        assert await one.receive_bytes(timeout=20) == b"well?"
    async with r.client.post(f"{r.origin}/dns-query", data=query("localhost.").to_wire(),
                             headers={"Content-Type": "application/dns-message"}) as answer:  # fmt: skip
        assert answer.status == 200
    async with r.tunnel() as tunnel:
        await tunnel.send_bytes(bytes.fromhex("a2030100aa"))
        assert await tunnel.receive_bytes(timeout=20) == bytes.fromhex("a2030200aa")


@pytest.mark.parametrize("path", ["/tcp", "/tcp-mux"])
@on_a_loop(patience=120)
async def test_sockets(path):
    source = Source()
    async with tcp_server(source) as port, tcp_server(echo) as near, rig(**SETTINGS) as r:
        await others_go_on(r, near)  # what is made once is made
        before = resident()
        if path == "/tcp":
            target, protocols = f"/tcp?host=127.0.0.1&port={port}", ()
        else:
            target, protocols = "/tcp-mux", ("aero-tcp-mux-v1",)
        async with deaf(r, target, protocols) as say:
            if protocols:
                await say(open_stream(1, port))
            await source.stopped()
            assert source.sent < MOST and resident() - before < MOST, (source.sent, resident() - before)
            await others_go_on(r, near)
        await until(lambda: not r.proxy.connections, "gone")
        await until(lambda: len(r.proxy.gatekeeper.slots) == 0, "given back")


@on_a_loop(patience=120)
async def test_one_stream_of_many_that_is_not_read_leaves_the_connection_to_the_others():
    """Without flow control the client must read all; what it does not take stops there, not in memory."""
    source = Source()
    async with tcp_server(source) as port, tcp_server(echo) as near, rig(**SETTINGS) as r:
        url = f"ws://{r.proxy.authority}/tcp-mux"
        async with r.client.ws_connect(url, protocols=["aero-tcp-mux-v1"], max_msg_size=0) as mux:
            await mux.send_bytes(open_stream(1, port) + open_stream(2, near) + b"\x02\0\0\0\x02\0\0\0\x02hi")
            while (await frame(mux, (2,)))[1] != 2:
                pass  # a reader that keeps up gets the other stream's bytes among the flood


@pytest.mark.skipif(missing() is not None, reason=missing() or "")
@on_a_loop(patience=120)
async def test_data_channels():
    """Its window closes; the queues of server, relay and socket fill up, and then nothing more is read."""
    source = Source()
    async with tcp_server(source) as port, tcp_server(echo) as near, rig(**SETTINGS) as r:
        await others_go_on(r, near)
        client = make_peer()
        try:
            end = DataChannelEnd(client.channel("mux", protocol=tcp_mux.V1), lambda: None, slots=64, arena=1 << 16)
            offer = {"type": "offer", "sdp": (await client.offer()).sdp}
            async with r.client.post(f"{r.origin}/webrtc/offer", json=offer) as answer:
                await client.accept(Description("answer", (await answer.json())["sdp"]["sdp"]))
            await until(lambda: end.channel.open, "open")
            before = resident()
            end.channel.send(open_stream(1, port))  # and what comes is left where it is
            await source.stopped()
            assert source.sent < MOST and resident() - before < MOST, (source.sent, resident() - before)
            await others_go_on(r, near)
        finally:
            await client.close()
        await until(lambda: not r.proxy.connections, "gone")
        await until(lambda: len(r.proxy.gatekeeper.slots) == 0, "given back")


@on_a_loop(patience=120)
async def test_datagrams():
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.setblocking(False)
        async with tcp_server(echo) as near, rig(**SETTINGS) as r:
            await others_go_on(r, near)
            before = resident()
            async with deaf(r, "/udp") as say:
                await say(udp_relay.encode(5000, LOOPBACK, peer.getsockname()[1], b"here I am"))
                _, guest = await loop.sock_recvfrom(peer, 100)
                (connection,) = r.proxy.connections
                for _ in range(30_000):
                    if connection.part.counters["dropped_backpressure"] or not r.proxy.connections:
                        break
                    for _ in range(20):
                        with contextlib.suppress(BlockingIOError):
                            peer.sendto(bytes(1100), guest)
                    await asyncio.sleep(0)
                assert connection.part.counters["dropped_backpressure"] or not r.proxy.connections
                assert resident() - before < MOST
                await others_go_on(r, near)
            await until(lambda: not r.proxy.connections, "gone")


@on_a_loop(patience=120)
async def test_names():
    """Answers that nobody reads: one connection asks a thousand times and takes nothing."""
    async with tcp_server(echo) as near, rig(**SETTINGS) as r:
        await others_go_on(r, near)
        before = resident()
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", r.proxy.port))
        ask = b"GET /dns-json?name=localhost&type=A HTTP/1.1\r\nHost: x\r\n\r\n"
        sending = asyncio.create_task(loop.sock_sendall(sock, ask * 20_000))
        await asyncio.sleep(1)
        assert resident() - before < MOST
        await others_go_on(r, near)
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await sending
        sock.close()
