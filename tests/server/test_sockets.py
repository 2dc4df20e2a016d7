"""``/tcp`` and ``/tcp-mux`` against real sockets: bytes there and back, what is refused, and clients that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
from aiohttp import WSMsgType

from aero_lab.framing import tcp_mux as mux
from aero_lab.framing.tcp_mux import ErrorCode, Flags, MuxParser

from .rig import on_a_loop, rig, until

OPEN_RIG = {"auth_mode": "none", "gateway_auth_mode": "none", "tcp_allow_private_ips": True, "open": True}


@contextlib.asynccontextmanager
async def server(serve):
    """A TCP server on loopback."""
    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield running.sockets[0].getsockname()[1]
    finally:
        running.close()


async def echo(reader, writer):
    """Sends back what comes, and ends after its peer did."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write(b"bye")
        writer.close()


async def deaf(reader, writer):
    """Reads nothing."""
    reader._transport.pause_reading()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(60)


class Mux:
    """A client that sends what a test wants."""

    def __init__(self, socket):
        self.socket, self.parser, self.seen = socket, MuxParser(), []

    async def send(self, *frames):
        await self.socket.send_bytes(b"".join(frames))

    async def next(self):
        """The next frame that is no CREDIT."""
        while True:
            while (frame := self.parser.frame()) is None:
                message = await asyncio.wait_for(self.socket.receive(), 20)
                if message.type is not WSMsgType.BINARY:
                    return message
                self.parser.feed(message.data)
            if frame.type != mux.CREDIT:
                return frame

    async def error(self):
        frame = await self.next()
        assert frame.type == mux.ERROR, frame
        return frame.stream, *mux.decode_error(frame.payload)

    async def data(self, size):
        """So many bytes of DATA, by stream."""
        got = {}
        while sum(map(len, got.values())) < size:
            frame = await self.next()
            assert frame.type == mux.DATA, mux.decode_error(frame.payload)
            got[frame.stream] = got.get(frame.stream, b"") + bytes(frame.payload)
        return got


@contextlib.asynccontextmanager
async def muxed(r, protocols=(mux.V2,), **options):
    async with r.tunnel(r.origin.replace("http", "ws") + "/tcp-mux", protocols=list(protocols), **options) as socket:
        yield Mux(socket)


@pytest.mark.parametrize("version", [mux.V1, mux.V2])
@on_a_loop
async def test_streams_there_and_back(version):
    async with rig(**OPEN_RIG) as r, server(echo) as port, muxed(r, [version]) as m:
        assert m.socket.protocol == version
        size = 30_000 if version == mux.V2 else 300_000  # of version 2 no more than the first credit
        wire = mux.encode_open(1, "127.0.0.1", port) + mux.encode_open(7, "::ffff:127.0.0.1", port)
        wire += mux.encode(mux.DATA, 1, b"a" * size) + mux.encode(mux.DATA, 7, b"b" * size)
        for at in range(0, len(wire), 9999):  # cut anywhere
            await m.send(wire[at : at + 9999])
        assert await m.data(2 * size) == {1: b"a" * size, 7: b"b" * size}


@on_a_loop
async def test_a_stream_ends_in_halves():
    async with rig(**OPEN_RIG) as r, server(echo) as port, muxed(r) as m:
        await m.send(mux.encode_open(1, "127.0.0.1", port), mux.encode(mux.DATA, 1, b"hello"))
        assert await m.data(5) == {1: b"hello"}
        await m.send(mux.encode_close(1, Flags.FIN))
        assert await m.data(3) == {1: b"bye"}, "its other half goes on"
        frame = await m.next()
        assert (frame.type, frame.stream, bytes(frame.payload)) == (mux.CLOSE, 1, b"\x01")
        await m.send(mux.encode(mux.DATA, 1, b"late"), mux.encode(mux.PING, 0, b"?"))
        assert await m.error() == (1, ErrorCode.UNKNOWN_STREAM, "unknown stream"), "gone without a word"
        assert bytes((await m.next()).payload) == b"?"


@on_a_loop
async def test_every_wrong_frame_gets_its_error_and_the_rest_goes_on():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = closed.getsockname()[1]
        async with rig(**OPEN_RIG, tcp_blocked_hosts=("blocked.test",)) as r, server(echo) as port, muxed(r) as m:
            good = mux.encode_open(9, "127.0.0.1", port)
            await m.send(good, mux.encode(mux.DATA, 9, b"x"))
            assert await m.data(1) == {9: b"x"}
            for frames, wanted in (
                (good, (9, ErrorCode.PROTOCOL_ERROR, "stream_id already exists")),
                (mux.encode(mux.OPEN, 0, good[9:]), (0, ErrorCode.PROTOCOL_ERROR, "stream_id=0 is reserved")),
                (mux.encode(mux.OPEN, 2, b"\0\1a"), (2, ErrorCode.PROTOCOL_ERROR, "Invalid OPEN payload")),
                (mux.encode(mux.OPEN, 2, bytes(1 << 19)), (2, ErrorCode.PROTOCOL_ERROR, "Invalid OPEN payload")),
                (mux.encode(mux.OPEN, 2, b"\0\1a\0\0\0\0"), (2, ErrorCode.PROTOCOL_ERROR, "Invalid OPEN payload")),
                (mux.encode_open(3, "127.0.0.1", nobody), (3, ErrorCode.DIAL_FAILED, "connection refused")),
                (mux.encode_open(4, "224.0.0.1", 80), (4, ErrorCode.POLICY_DENIED, "Target is not allowed")),
                (mux.encode_open(4, "0177.0.0.1", port), (4, ErrorCode.POLICY_DENIED, "Target is not allowed")),
                (mux.encode_open(5, "blocked.test", 80), (5, ErrorCode.POLICY_DENIED, "Target is blocked")),
                (mux.encode(mux.DATA, 77, b"x"), (77, ErrorCode.UNKNOWN_STREAM, "unknown stream")),
                (mux.encode(mux.CLOSE, 9, b""), (9, ErrorCode.PROTOCOL_ERROR, "Invalid CLOSE payload")),
                (mux.encode(mux.CLOSE, 9, bytes(1 << 19)), (9, ErrorCode.PROTOCOL_ERROR, "Invalid CLOSE payload")),
                (mux.encode(mux.CREDIT, 9, b"\0"), (9, ErrorCode.PROTOCOL_ERROR, "Invalid CREDIT payload")),
                (mux.encode(200, 9, b""), (9, ErrorCode.PROTOCOL_ERROR, "Unknown msg_type 200")),
            ):
                # What a client may say without an answer, before what it may not.
                await m.send(mux.encode_close(500, Flags.RST), mux.encode(mux.PONG, 0, b""), frames)
                assert await m.error() == wanted
            await m.send(mux.encode(mux.PING, 3, bytes((1 << 20) - 9)))
            pong = await m.next()
            assert (pong.type, pong.stream, len(pong.payload)) == (mux.PONG, 3, (1 << 20) - 9)
            await m.send(mux.encode(mux.DATA, 9, b"still here"))
            assert await m.data(10) == {9: b"still here"}


@on_a_loop
async def test_what_ends_a_connection():
    async with rig(**OPEN_RIG) as r:
        url = r.origin.replace("http", "ws") + "/tcp-mux"
        async with muxed(r) as m:
            await m.send(mux.header(mux.DATA, 1, (16 << 20) + 1))
            message = await m.next()
            assert (message.type, message.data) == (WSMsgType.CLOSE, 1002) and "too large" in message.extra
        async with muxed(r) as m:
            await m.socket.send_str("hello")
            assert (await m.next()).data == 1003
        async with muxed(r) as m:
            await m.socket.send_bytes(bytes((1 << 20) + 1))
            assert (await m.next()).data == 1009
        status, text = await r.upgrade("/tcp-mux", Sec_WebSocket_Protocol="other")
        assert status == 400 and "aero-tcp-mux-v" in text and url
        await until(lambda: not r.proxy.connections, "empty")


@on_a_loop
async def test_a_flood_without_flow_control_costs_its_own_stream():
    """Version 1, 8 MB into a target that reads nothing: a pause for all, then ERROR 6 for the one."""
    async with rig(**OPEN_RIG) as r, server(deaf) as wall, server(echo) as port, muxed(r, [mux.V1]) as m:
        await m.send(mux.encode_open(1, "127.0.0.1", wall), mux.encode_open(2, "127.0.0.1", port))

        async def flood():
            for _ in range(256):
                await m.send(mux.encode(mux.DATA, 1, bytes(64 << 10)))
            await m.send(mux.encode(mux.DATA, 2, b"after the flood"))

        flooding = asyncio.create_task(flood())
        assert await m.error() == (1, ErrorCode.STREAM_BUFFER_OVERFLOW, "stream buffered too much data")
        rest = b""
        while len(rest) < 15:
            frame = await m.next()
            if frame.type == mux.DATA:
                rest += bytes(frame.payload)
            else:
                assert mux.decode_error(frame.payload)[0] == ErrorCode.UNKNOWN_STREAM
        assert rest == b"after the flood"
        await flooding


@on_a_loop
async def test_caps_of_streams_and_sessions():
    async with rig(**OPEN_RIG, tcp_mux_max_streams=2, tcp_proxy_max_connections=3) as r, server(echo) as port:
        async with muxed(r) as one, muxed(r) as two:
            for number in (1, 2, 3):
                await one.send(mux.encode_open(number, "127.0.0.1", port))
            assert await one.error() == (3, ErrorCode.STREAM_LIMIT_EXCEEDED, "max streams exceeded")
            await two.send(mux.encode_open(1, "127.0.0.1", port), mux.encode(mux.DATA, 1, b"x"))
            assert await two.data(1) == {1: b"x"}
            await two.send(mux.encode_open(2, "127.0.0.1", port))
            assert await two.error() == (2, ErrorCode.STREAM_LIMIT_EXCEEDED, "session max connections exceeded")
            assert (await r.upgrade(f"/tcp?host=127.0.0.1&port={port}"))[0] == 429
            await two.send(mux.encode_close(1, Flags.RST), mux.encode_open(3, "127.0.0.1", port))
            await two.send(mux.encode(mux.DATA, 3, b"y"))
            assert await two.data(1) == {3: b"y"}, "a stream that ended gave its place back"
        await until(lambda: not r.proxy.connections, "empty")
        assert not len(r.proxy.gatekeeper.slots)


async def pour(reader, writer):
    """Sends without end."""
    with contextlib.suppress(ConnectionError):
        while True:
            writer.write(bytes(1 << 16))
            await writer.drain()


@pytest.mark.parametrize("path", ["mux-v1", "mux-v2", "tcp"])
@on_a_loop
async def test_a_client_that_reads_nothing_is_waited_for_and_costs_no_more_than_the_buffers(path):
    async with rig(**OPEN_RIG) as r, server(pour) as spring, server(echo) as port:
        raw = f"GET /tcp?host=127.0.0.1&port={spring}" if path == "tcp" else "GET /tcp-mux"
        protocol = f"\r\nSec-WebSocket-Protocol: aero-tcp-{path}" if path != "tcp" else ""
        reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port, limit=1024)
        writer.write(
            f"{raw} HTTP/1.1\r\nHost: {r.proxy.authority}\r\nUpgrade: websocket\r\nConnection: Upgrade{protocol}\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        await reader.readuntil(b"\r\n\r\n")
        if path != "tcp":
            opens = b"".join(mux.encode_open(number, "127.0.0.1", spring) for number in range(1, 6))
            writer.write(bytes((0x82, 0x80 | 126)) + len(opens).to_bytes(2, "big") + bytes(4) + opens)
        (connection,) = r.proxy.connections
        before = -1
        while (read := connection.counters.get("egress.tcp-bytes-down", 0)) != before or not read:
            before = read
            await asyncio.sleep(0.3)
        assert read < 32 << 20, "what the buffers on the way hold, and then no more is read"
        async with muxed(r) as m:  # another session does not notice
            await m.send(mux.encode_open(1, "127.0.0.1", port), mux.encode(mux.DATA, 1, b"x"))
            assert await m.data(1) == {1: b"x"}
        writer.transport.abort()
        await until(lambda: not r.proxy.connections, "empty")
        assert not connection.relay.tcp and not connection.relay.egress.open_flows and not len(r.proxy.gatekeeper.slots)


# /tcp -----------------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_one_connection_a_socket():
    async with rig(**OPEN_RIG) as r, server(echo) as port:
        base = r.origin.replace("http", "ws") + "/tcp?"
        for query in (f"v=1&host=127.0.0.1&port={port}", f"target=127.0.0.1:{port}&host=x&port=1"):
            async with r.tunnel(base + query, protocols=()) as socket:
                await socket.send_bytes(b"hello")
                assert (await socket.receive(20)).data == b"hello"
        async with r.tunnel(f"{base}host=127.0.0.1&port={port}&half=1", protocols=()) as socket:
            assert (await socket.receive(20)).data == b"", "the target answered"
            await socket.send_bytes(b"x" * 300_000)
            await socket.send_bytes(b"")
            got = b""
            while piece := (await socket.receive(20)).data:
                got += piece
            assert got == b"x" * 300_000 + b"bye"
            message = await socket.receive(20)
            assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, 1000, "TCP closed")
        async with r.tunnel(f"{base}host=127.0.0.1&port={port}", protocols=()) as socket:
            await socket.send_str("text")
            assert (await socket.receive(20)).data == 1003
        await until(lambda: not r.proxy.connections, "empty")


@on_a_loop
async def test_targets_that_are_refused_in_words():
    async with rig(**OPEN_RIG, tcp_blocked_hosts=("*.blocked.test",), tcp_allowed_ports=(80, 443)) as r:
        for query, status, text in (
            ("", 400, "Missing required query parameter: host"),
            ("?host=a", 400, "Missing required query parameter: port"),
            ("?host=a&port=0", 400, "Invalid port"),
            ("?host=a&port=65536", 400, "Invalid port"),
            ("?host=a&port=8x", 400, "Invalid port"),
            ("?host=%20&port=80", 400, "Host must not be empty"),
            ("?host=a%0Ab&port=80", 400, "Invalid host"),
            (f"?host={'a' * 1025}&port=80", 400, "Invalid host: too long"),
            ("?target=", 400, "Query parameter target must not be empty"),
            ("?target=::1:80", 400, "Invalid target host"),
            ("?target=a:b", 400, "Invalid target port"),
            (f"?target={'a' * 2000}:80", 400, "Invalid target: too long"),
            ("?v=2&host=a&port=80", 400, "Unsupported TCP proxy protocol version"),
            ("?host=a&port=81", 403, "Target port not allowed"),
            ("?host=x.blocked.test&port=80", 403, "Target is blocked"),
            ("?host=224.0.0.1&port=80", 403, "Target is not allowed"),
            ("?target=[fd00:ec2::254]:80", 403, "Target is not allowed"),
            ("?host=nowhere.invalid&port=80", 502, "DNS lookup failed"),
        ):
            found = await r.upgrade("/tcp" + query, drop=("Sec-WebSocket-Protocol",))
            assert found == (status, text + "\n"), query
        assert not r.proxy.connections
