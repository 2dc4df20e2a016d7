"""A WebSocket peer made by hand, so that it can break every rule, and a server to put an end behind."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import web

from aero_lab.transports.websocket import WebSocketEnd, server_socket

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True, wide: int = 0, rsv: int = 0):
    """One WebSocket frame. ``wide``: 16 or 64 forces that length field."""
    size = len(payload)
    head = bytes([0x80 * fin | rsv << 4 | opcode])
    bit = 0x80 * masked
    if wide == 64 or (not wide and size > 0xFFFF):
        head += bytes([bit | 127]) + struct.pack("!Q", size)
    elif wide == 16 or size > 125:
        head += bytes([bit | 126]) + struct.pack("!H", size)
    else:
        head += bytes([bit | size])
    if not masked:
        return head + payload
    key = os.urandom(4)
    mask = (key * (size // 4 + 1))[:size]
    return head + key + (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")


class RawPeer:
    """A client that speaks frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, port: int, path: str = "/", receive_buffer: int = 0, **headers: str) -> RawPeer:
        import socket

        raw = socket.socket()
        if receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=raw, limit=1 << 16)
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}", "Sec-WebSocket-Version: 13"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in head.split(b"\r\n")[0], head
        return cls(reader, writer)

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    async def receive(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame; servers do not mask."""
        first, second = await self.reader.readexactly(2)
        assert first & 0x80 and not second & 0x80, "servers send whole, unmasked frames"
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", await self.reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
        return first & 15, await self.reader.readexactly(size)

    async def closed(self) -> tuple[int, str]:
        """Code and reason of the Close that comes next, data in between left out."""
        while True:
            opcode, payload = await self.receive()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big") if payload else 1005, payload[2:].decode()

    def abort(self) -> None:
        self.writer.transport.abort()


class Server:
    """An aiohttp server that puts a :class:`WebSocketEnd` behind each connection; nothing reads it but the test."""

    def __init__(self) -> None:
        self.ends: list[WebSocketEnd] = []
        self.over: list[asyncio.Event] = []
        self.woken = asyncio.Event()
        self.errors: list[BaseException] = []
        self.port = 0

    async def end(self, number: int = 0) -> WebSocketEnd:
        while len(self.ends) <= number:
            await self.wake_up()
        return self.ends[number]

    async def wake_up(self) -> None:
        """Wait until any end calls ``wake``."""
        async with asyncio.timeout(20):
            await self.woken.wait()
        self.woken.clear()

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until a condition holds that changes with a wake-up."""
        while not (value := condition()):
            await self.wake_up()
        return value

    async def finished(self, number: int = 0) -> WebSocketEnd:
        """Wait until the end's ``run`` has returned."""
        end = await self.end(number)
        async with asyncio.timeout(20):
            await self.over[number].wait()
        return end


@contextlib.asynccontextmanager
async def serve(most: int = 1 << 17, tls: ssl.SSLContext | None = None, **options: Any) -> AsyncIterator[Server]:
    """A server on loopback; ``options`` are those of the ends. ``gate`` may be a function that makes one."""
    server = Server()

    async def handler(request: web.Request) -> web.WebSocketResponse:
        socket = server_socket(most, ("aero-l2-tunnel-v1",))
        await socket.prepare(request)
        end = WebSocketEnd(socket, server.woken.set, **options)
        over = asyncio.Event()
        server.ends.append(end)
        server.over.append(over)
        server.woken.set()
        try:
            await end.run()
        except BaseException as error:
            server.errors.append(error)
            raise
        finally:
            over.set()
        return socket

    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    server.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    try:
        yield server
    finally:
        await runner.cleanup()
