"""What a hostile or unlucky client costs: bounded, cleaned up after, and nobody else's trouble."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import socket
import weakref

import pytest
from aiohttp import WSMsgType

from aero_lab.framing.l2_tunnel import FRAME, PONG, decode, encode_frame, encode_ping
from aero_lab.limits import MS
from aero_lab.server import proxy as proxy_module
from aero_lab.server.door import Door

from .rig import GATEWAY_ARP, LAB, guest, on_a_loop, rig, tcp_server, until
from .test_session import OPEN, next_of, the_end


def resident(pid="self"):
    """Bytes of memory a process holds as its own, in RAM and in swap. Pages of files come and go with the system's
    need of memory, and say nothing."""
    with open(f"/proc/{pid}/status") as file:
        status = dict(line.split(":", 1) for line in file)
    return sum(int(status[name].split()[0]) << 10 for name in ("RssAnon", "RssShmem", "VmSwap"))


async def raw_tunnel(r, receive_buffer=None, path="/l2"):
    """A tunnel on a bare socket: its reader, its writer. It answers nothing by itself."""
    return await open_raw(r.proxy.port, receive_buffer, path)


async def open_raw(port, receive_buffer=None, path="/l2"):
    sock = socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Sec-WebSocket-Protocol: aero-{path[1:]}-tunnel-v1\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101")
    return reader, writer


def masked(payload, opcode=2):
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([0x80 | opcode]) + length + bytes(4) + payload


@contextlib.contextmanager
def impatient(monkeypatch, patience=1000 * MS, most=4):
    monkeypatch.setattr(proxy_module, "Door", functools.partial(Door, patience=patience, most_waiting=most))
    yield


def test_connections_that_ask_nothing_are_few_and_do_not_stay(monkeypatch):
    @on_a_loop
    async def run():
        async with rig(**OPEN) as r:
            opened = [await asyncio.open_connection("127.0.0.1", r.proxy.port) for _ in range(12)]
            for i, (_, writer) in enumerate(opened):
                # Some say nothing, some begin a request, some begin an upgrade and never end its headers.
                writer.write((b"", b"GET /l2 HT", b"GET /l2 HTTP/1.1\r\nUpgrade: websocket\r\nX: ")[i % 3])
            await until(lambda: r.count("aero_lab_half_open_closed_total") >= 8, "the oldest closed")
            assert r.proxy._door.waiting <= 4
            assert (await r.get("/healthz"))[0] == 200  # and yet everybody else is served
            await until(lambda: r.proxy._door.waiting <= 1, "all closed")  # what remains is the client's own
            for reader, writer in opened:
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
                writer.close()
            assert not r.proxy.sessions

    with impatient(monkeypatch):
        run()


def test_a_request_that_trickles_in_is_cut_off(monkeypatch):
    @on_a_loop
    async def run():
        async with rig(**OPEN) as r:
            reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            writer.write(b"GET /l2 HTTP/1.1\r\n")
            with contextlib.suppress(ConnectionError):
                for i in range(1000):
                    writer.write(b"X-%d: y\r\n" % i)
                    await writer.drain()
                    await asyncio.sleep(0.02)
                    if reader.at_eof():
                        break
            assert r.count("aero_lab_half_open_closed_total") == 1
            writer.close()
            async with r.tunnel() as tunnel:  # a tunnel has no such deadline
                await asyncio.sleep(1.2)
                await tunnel.send_bytes(encode_ping(b"x"))
                assert await next_of(tunnel, PONG) == b"x"

    with impatient(monkeypatch):
        run()


def test_a_body_that_trickles_in_and_answers_that_nobody_reads(monkeypatch):
    @on_a_loop
    async def run():
        async with rig(**OPEN) as r:
            slow = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            slow[1].write(b"POST /session HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n{")
            deaf = socket.socket()
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.setblocking(False)
            await asyncio.get_running_loop().sock_connect(deaf, ("127.0.0.1", r.proxy.port))
            _, writer = await asyncio.open_connection(sock=deaf, limit=1)  # it reads next to nothing
            writer.transport.pause_reading()
            before = resident()
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 5000)  # some 30 MB of answers
            await until(lambda: r.count("aero_lab_half_open_closed_total") >= 2, "both closed")
            assert resident() - before < 16 << 20
            assert (await r.get("/healthz"))[0] == 200
            for _, each in (slow, (None, writer)):
                each.transport.abort()

    with impatient(monkeypatch, most=8):
        run()


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\xff\x00\xff" * 100 + b"\r\n\r\n",
        b"\xa2\x03\x01\x00hello\r\n\r\n",
        b"GET /l2 HTTP/9.9\r\n\r\n",
        b"GET /l2 HTTP/1.1\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"l" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /l2 HTTP/1.1\r\n" + b"X-Y: z\r\n" * 5000 + b"\r\n",
        b"GET /l2 HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n",
        b"GET /l2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
    ],
    ids=["binary", "tunnel", "version", "header", "path", "headers", "length", "body", "chunks", "tls"],
)
@on_a_loop
async def test_bad_http_gets_an_answer_or_the_door(raw, caplog):
    async with rig(**OPEN) as r:
        reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
        writer.write(raw)
        with contextlib.suppress(ConnectionError):
            status = (await asyncio.wait_for(reader.readline(), 20)).split()
            assert not status or 400 <= int(status[1]) < 500
        writer.close()
        assert (await r.get("/healthz"))[0] == 200
        assert not r.proxy.sessions and "Traceback" not in caplog.text


@pytest.mark.parametrize("path", ["/l2", "/l3"])
@on_a_loop
async def test_a_reader_that_stops_is_closed_after_a_second_and_told_why(path):
    async with rig(**OPEN, max_control_payload=60_000, ws_send_buffer=4) as r:
        reader, writer = await raw_tunnel(r, 4096, path)
        flood = masked(encode_ping(bytes(60_000), r.proxy.config.limits))
        with contextlib.suppress(ConnectionError):
            while r.proxy.sessions and not r.count("l2_sessions_closed_backpressure_total"):
                writer.write(flood)
                await asyncio.wait([asyncio.create_task(writer.drain())], timeout=0.1)
        await until(lambda: r.count("l2_sessions_closed_backpressure_total") == 1, "closed")
        await until(lambda: not r.proxy.sessions, "gone")
        assert [row["reason"] for row in r.kinds("quota")] == ["backpressure"]
        assert r.kinds("session-close")[0]["reason"] == "outbound websocket backpressure"
        writer.transport.abort()


@on_a_loop
async def test_a_slow_client_slows_its_own_flows_and_nobody_elses():
    size = 4 << 20
    body = bytes(range(256)) * (size // 256)
    progress, sizes = {}, {"fast": size, "slow": 1 << 30}

    async def serve(reader, writer):
        name = (await reader.readexactly(4)).decode()
        for at in range(0, sizes[name], 65536):
            writer.write(body[at % size : at % size + 65536])
            await writer.drain()
            progress[name] = at + 65536

    async with tcp_server(serve) as port:
        async with rig(**OPEN, tcp_forward=f"203.0.113.10:7=127.0.0.1:{port}") as r, guest(r) as quick:
            async with guest(r) as slow:

                def download(name, most):
                    def task(host):
                        socket = yield from host.connect(LAB, 7)
                        yield from socket.send(name.encode())
                        data = yield from socket.receive_exactly(most)
                        return bytes(data)

                    return task

                base = resident()
                # The slow one takes some, then its whole machine stops: no segment is acknowledged any more.
                assert await slow.run(download("slow", 100_000)) == body[:100_000]
                slow.driver.stop()
                assert await quick.run(download("fast", size)) == body
                assert progress["fast"] == size
                assert progress["slow"] < 64 << 20  # what it does not take is not taken from the far side either
                assert resident() - base < 128 << 20  # the rings of four stacks, wholly touched
                assert len(r.proxy.sessions) == 2
                lans = [session.lan for session in r.proxy.sessions]
                assert all(len(lan.tcp) <= 1 for lan in lans)


@on_a_loop
async def test_floods_beyond_a_quota_end_the_flooder_alone():
    async with rig(**OPEN, max_frames_per_second=50) as r:
        async with r.tunnel() as calm:
            for _ in range(3):
                async with r.tunnel() as flooder:
                    with contextlib.suppress(ConnectionError):
                        for _ in range(500):
                            await flooder.send_bytes(encode_frame(GATEWAY_ARP))
                    assert (await the_end(flooder))[1] in (1008, "CLOSED", "ERROR")
            await calm.send_bytes(encode_frame(GATEWAY_ARP))
            await next_of(calm, FRAME)
        assert r.count("l2_sessions_closed_quota_fps_total") == 3


@on_a_loop
async def test_many_idle_tunnels_have_no_networks_and_leave_nothing():
    async with rig(**OPEN, max_connections=0) as r:
        gone = weakref.WeakSet()
        r.proxy.on_session = gone.add
        tunnels = await asyncio.gather(*(raw_tunnel(r) for _ in range(300)))
        assert r.count("l2_sessions_active") == 300
        for _, writer in tunnels[::10]:
            writer.write(masked(encode_ping(b"idle")))
        for reader, _ in tunnels[::10]:
            assert decode((await reader.readexactly(10))[2:]).payload == b"idle"
        assert all(session.lan is None for session in r.proxy.sessions)
        for _, writer in tunnels:
            writer.transport.abort()
        del tunnels, reader, writer
        await until(lambda: not r.proxy.sessions, "gone")
        await asyncio.sleep(0)
        gc.collect()
        assert len(gone) == 0
        async with r.tunnel() as socket:
            await socket.send_bytes(encode_ping(b"x"))
            assert (await socket.receive()).type is WSMsgType.BINARY


@on_a_loop
async def test_tunnels_with_networks_leave_nothing_either():
    async with rig(**OPEN) as r:
        gone = weakref.WeakSet()
        r.proxy.on_session = gone.add
        for _ in range(8):
            async with r.tunnel() as socket:
                await socket.send_bytes(encode_frame(GATEWAY_ARP))
                await next_of(socket, FRAME)
        await until(lambda: not r.proxy.sessions, "gone")
        await until(lambda: gc.collect() >= 0 and len(gone) == 0, "forgotten")
