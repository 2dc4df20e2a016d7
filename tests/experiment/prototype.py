"""A tunnel server as small as one can be: what the probe was first written against.

Its frames are taken apart and built with dpkt, so that a mistake in our codecs cannot hide on both sides. It answers
ARP for one address, DNS with one table, and connects TCP ports from one map; FIN and RST mean nothing to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import dpkt
from aiohttp import WSMsgType, web

GATEWAY_MAC, GATEWAY = bytes.fromhex("020000000002"), bytes([10, 0, 2, 2])
SEGMENT = 1200
HEADER = b"\xa2\x03\x00\x00"


class Prototype:
    """One tunnel. ``bends`` names ways in which it is to go wrong."""

    def __init__(self, ws: web.WebSocketResponse, ports: dict[int, int], bends: frozenset[str]):
        self.ws, self.ports, self.bends = ws, ports, bends
        self.flows: dict[tuple[bytes, int, int], list] = {}
        self.tasks: list[asyncio.Task] = []
        self.sizes: list[int] = []

    async def frame(self, dst: bytes, kind: int, data: object) -> None:
        await self.ws.send_bytes(HEADER + bytes(dpkt.ethernet.Ethernet(dst=dst, src=GATEWAY_MAC, type=kind, data=data)))

    async def run(self) -> None:
        if "ping" in self.bends:
            await self.ws.send_bytes(b"\xa2\x03\x01\x00hello")
        async for message in self.ws:
            if message.type is not WSMsgType.BINARY or message.data[:2] != HEADER[:2]:
                continue
            if message.data[2] == 1:
                await self.ws.send_bytes(HEADER[:2] + b"\x02\x00" + message.data[4:])
            elif message.data[2] == 0:
                self.sizes.append(len(message.data) - 4)
                await self.input(dpkt.ethernet.Ethernet(message.data[4:]))
        for task in self.tasks:
            task.cancel()

    async def input(self, frame: dpkt.ethernet.Ethernet) -> None:
        if isinstance(frame.data, dpkt.arp.ARP):
            if frame.data.op == 1 and frame.data.tpa == GATEWAY and "no-arp" not in self.bends:
                ask = frame.data
                await self.frame(frame.src, 0x0806, dpkt.arp.ARP(
                    op=2, sha=GATEWAY_MAC, spa=GATEWAY, tha=ask.sha, tpa=ask.spa
                ))  # fmt: skip
            return
        packet = frame.data
        assert packet.id == 0 and packet.ttl == 64 and not packet.df
        # dpkt fills in a checksum of 0: equal bytes mean that the one on the wire was right.
        again = dpkt.ip.IP(bytes(packet))
        again.sum = again.data.sum = 0
        assert bytes(again) == bytes(packet), "a checksum is wrong"
        if isinstance(packet.data, dpkt.udp.UDP):
            if packet.data.dport == 53 and packet.dst == GATEWAY:
                await self.dns(frame.src, packet)
        elif isinstance(packet.data, dpkt.tcp.TCP):
            await self.tcp(frame.src, packet)

    async def ip(self, mac: bytes, src: bytes, dst: bytes, protocol: int, data: object) -> None:
        await self.frame(mac, 0x0800, dpkt.ip.IP(src=src, dst=dst, p=protocol, data=data, ttl=64))

    async def dns(self, mac: bytes, packet: dpkt.ip.IP) -> None:
        query = dpkt.dns.DNS(packet.data.data)
        assert query.rd and len(query.qd) == 1 and query.qd[0].type == 1
        reply = query
        reply.op = 0x8183 if "no-name" in self.bends else 0x8180
        if "no-name" not in self.bends:
            known = {"echo.local": bytes([203, 0, 113, 10])}.get(query.qd[0].name, GATEWAY)
            reply.an = [dpkt.dns.DNS.RR(name=query.qd[0].name, type=1, cls=1, ttl=60, rdata=known, ip=known)]
        datagram = dpkt.udp.UDP(sport=53, dport=packet.data.sport, data=bytes(reply))
        datagram.ulen = len(bytes(datagram))
        await self.ip(mac, GATEWAY, packet.src, 17, datagram)

    async def tcp(self, mac: bytes, packet: dpkt.ip.IP) -> None:
        segment, key = packet.data, (packet.dst, packet.data.dport, packet.data.sport)

        async def send(flags: int, flow: list, data: bytes = b"") -> None:
            await self.ip(mac, packet.dst, packet.src, 6, dpkt.tcp.TCP(
                sport=segment.dport, dport=segment.sport, seq=flow[1] & 0xFFFFFFFF, ack=flow[0], flags=flags,
                win=65535, data=data,
            ))  # fmt: skip

        if segment.flags & 2:
            assert not segment.opts and segment.ack == 0
            if "reset" in self.bends:
                return await send(0x14, [(segment.seq + 1) & 0xFFFFFFFF, 0])
            if segment.dport not in self.ports:
                return  # silence
            reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[segment.dport])
            flow = [(segment.seq + 1) & 0xFFFFFFFF, random.getrandbits(32), writer]
            self.flows[key] = flow
            await send(0x12, flow)
            flow[1] += 1

            async def back() -> None:
                sent = 0
                while data := await reader.read(SEGMENT):
                    if "flip" in self.bends and sent + len(data) > 5000:
                        data = bytes([data[0] ^ 1]) + data[1:]
                    if "stall" in self.bends and sent > 5000:
                        return
                    if "close" in self.bends and sent > 5000:
                        await self.ws.send_bytes(b"\xa2\x03\x7f\x00\x00\x06\x00\x13byte quota exceeded")
                        return
                    await send(0x18, flow, data)
                    flow[1] += len(data)
                    sent += len(data)

            self.tasks.append(asyncio.create_task(back()))
        elif key in self.flows:
            flow = self.flows[key]
            if segment.data and segment.seq == flow[0]:
                flow[0] = (flow[0] + len(segment.data)) & 0xFFFFFFFF
                flow[2].write(segment.data)
                await send(0x10, flow)


@contextlib.asynccontextmanager
async def prototype(*bends: str, protocols: tuple[str, ...] = ("aero-l2-tunnel-v1",)) -> AsyncIterator[tuple]:
    """A prototype proxy and the echo server behind it: its URL, the echo server's port, and the tunnels so far."""
    tunnels: list[Prototype] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.close()

    async def handler(request: web.Request) -> web.WebSocketResponse:
        assert "Origin" not in request.headers or request.headers["Origin"].startswith("http://127.0.0.1")
        ws = web.WebSocketResponse(protocols=protocols, compress=False)
        await ws.prepare(request)
        tunnels.append(Prototype(ws, {port: port}, frozenset(bends)))
        await tunnels[-1].run()
        return ws

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    listening = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    try:
        yield f"ws://127.0.0.1:{listening}/any", port, tunnels
    finally:
        await runner.cleanup()
        server.close()
