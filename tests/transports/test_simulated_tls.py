"""The bytes of a simulated WebSocket are those of a real one: between two real ends over TLS stands a tap."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
import struct
import subprocess

import pytest
from aiohttp import ClientSession

from aero_lab.rings import FrameRing
from aero_lab.transports.simulated_stream import RECORD, TLS_SHAKE, TLS_TICKETS, Framing, Identities
from aero_lab.transports.websocket import WebSocketEnd
from tests.transports.ws_peer import serve

MOST = 1 << 17
BATCHES = [
    [0], [1], [125], [126], [1518], [1518] * 2, [1518] * 10, [1518] * 32,
    [16000], [16384], [20000], [300] * 64, [8192, 8193],
]  # fmt: skip
"""Sizes of messages that are handed over together."""
LARGE = [[65535], [65536], [70000], [60000, 100]]
"""Those that aiohttp hands to TLS in several pieces, each of which begins a record of its own."""
DATA, HANDSHAKE = 23, 22


class Tap:
    """A relay on loopback that keeps what passes, up and down."""

    def __init__(self, port):
        self.seen = bytearray(), bytearray()
        self._to = port

    @contextlib.asynccontextmanager
    async def open(self):
        server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()

    async def _join(self, reader, writer):
        onward, out = await asyncio.open_connection("127.0.0.1", self._to)

        async def pump(source, target, log):
            with contextlib.suppress(ConnectionError):
                while data := await source.read(1 << 16):
                    log += data
                    target.write(data)
                    await target.drain()
            target.close()

        await asyncio.gather(pump(reader, out, self.seen[0]), pump(onward, writer, self.seen[1]))

    def records(self, side, start=0):
        """Type and length of each TLS record from ``start`` on; None while the last one is not all there."""
        raw, at, out = self.seen[side], start, []
        while at < len(raw):
            if len(raw) - at < 5:
                return None
            kind, _, size = struct.unpack_from("!BHH", raw, at)
            out.append((kind, size))
            at += 5 + size
        return out if at == len(raw) else None


@pytest.fixture(scope="module")
def contexts(tmp_path_factory):
    """A server's and a client's, which trusts it."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command = ["openssl", "req", "-x509", *curve, "-nodes", "-days", "2", *subject, "-keyout", key, "-out", cert]
    subprocess.run(command, check=True, capture_output=True)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(cert, key)
    return server, ssl.create_default_context(cafile=str(cert))


def ring_of(sizes):
    ring = FrameRing(1024, 8 << 20)
    for size in sizes:
        assert ring.push(bytes(size))
    return ring


def simulated(framing, sizes):
    """Lengths of the records that a simulated WebSocket makes of messages handed over together."""
    ring, raw, at, out = ring_of(sizes), b"", 0, []
    while len(ring):
        raw += bytes(framing.pack(ring, 1 << 16))
    while at < len(raw):
        (size,) = struct.unpack_from("!H", raw, at + 3)
        out.append(size)
        at += 5 + size
    return out


async def until(condition):
    async with asyncio.timeout(30):
        while not (value := condition()):
            await asyncio.sleep(0.005)
    return value


async def over_tls(contexts, batches):
    """Send each batch up and down; the lengths of the records it took, by side and batch, and those of the
    handshake, by side."""
    async with serve(MOST, tls=contexts[0]) as server, ClientSession() as session:
        tap = Tap(server.port)
        async with tap.open() as port:
            socket = await session.ws_connect(
                f"wss://127.0.0.1:{port}/", ssl=contexts[1], max_msg_size=MOST, autoping=False, autoclose=False
            )
            near = WebSocketEnd(socket, lambda: None)
            running = asyncio.create_task(near.run())
            far = await server.end()
            shake = [await until(lambda: tap.records(side)) for side in (0, 1)]  # noqa: B023
            found = []
            for source, target, side in ((near, far, 0), (far, near, 1)):
                for sizes in batches:
                    start, got = len(tap.seen[side]), 0
                    source.send(ring_of(sizes), 0)
                    while got < len(sizes):
                        got += len(await until(lambda: target.received.pop_many(1 << 20)))  # noqa: B023
                        target.taken()
                    records = await until(lambda: tap.records(side, start))  # noqa: B023
                    assert all(kind == DATA for kind, _ in records)
                    found.append((side, sizes, [size for _, size in records]))
            near.close()
            await running
    return found, shake


def test_records_and_headers_are_those_of_a_real_connection(contexts):
    found, shake = asyncio.run(over_tls(contexts, BATCHES + LARGE))
    framings = [Framing(MOST, masked, True, Identities(), Identities()) for masked in (True, False)]
    for side, sizes, records in found:
        ours = simulated(framings[side], sizes)
        if sizes in BATCHES:
            assert records == ours, (side, sizes)
        else:
            more = sum(records) + 5 * len(records) - sum(ours) - 5 * len(ours)
            assert 0 <= more <= 2 * RECORD * len(sizes), (side, sizes, "a record more for a piece")
    up, down = shake
    assert up[0][0] == HANDSHAKE
    if ssl.OPENSSL_VERSION_INFO < (3, 5):  # later ones offer a post-quantum key, of a kilobyte and more
        assert up[0][1] + 5 == TLS_SHAKE[0][1]
    finished = sum(size + 5 for _, size in up[1:-1])
    assert finished == TLS_SHAKE[2][1], "ChangeCipherSpec and Finished; what follows is the request"
    tickets = [size + 5 for _, size in down[-3:-1]]
    assert abs(sum(tickets) - TLS_TICKETS) <= 64, "two, ahead of the answer"
