"""Sockets that do nothing, by the thousand: they cost little, shut nobody out, and leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import socket

import aiohttp
import pytest

from aero_lab.bounds import HTTP_WAITING
from aero_lab.compiled.registry import warmup
from aero_lab.server.routes import names
from aero_lab.transports.peer import make_peer, missing

from .test_bounds import resident
from .test_process import GIVEN_BACK, LAUNCH, Process

EACH, LEFT = 96 << 10, 16 << 10
"""Bytes an idle socket may cost, and that it may leave in a heap that others used too."""
PROTOCOLS = {"/l2": "aero-l2-tunnel-v1", "/l3": "aero-l3-tunnel-v1", "/tcp-mux": "aero-tcp-mux-v1", "/udp": None}
OPEN = {**LAUNCH, "AERO_L2_MAX_CONNECTIONS": "0", "AERO_GATEWAY_AUTH_MODE": "none", "AUTH_MODE": "none"}
TARGETS = {"TCP_PROXY_MAX_CONNECTIONS": "0", "TCP_ALLOW_PRIVATE_IPS": "1"}
PATIENT = {"SIGNALING_WS_IDLE_TIMEOUT_MS": "0", "SIGNALING_WS_PING_INTERVAL_MS": "0"}

MANY = (pytest.mark.long, pytest.mark.timeout(1900))
pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="the system does not tell memory held")


@pytest.fixture(autouse=True, scope="module")
def kernels():
    warmup(progress=False)


async def connected(port):
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return sock


async def upgraded(port, path):
    """A WebSocket on a bare socket."""
    sock = await connected(port)
    loop = asyncio.get_running_loop()
    protocol = f"Sec-WebSocket-Protocol: {PROTOCOLS[path]}\r\n" if PROTOCOLS.get(path) else ""
    await loop.sock_sendall(
        sock,
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"{protocol}\r\n".encode(),
    )
    head = b""
    while b"\r\n\r\n" not in head:
        more = await loop.sock_recv(sock, 4096)
        assert more, head
        head += more
    assert head.startswith(b"HTTP/1.1 101"), head
    return sock


async def many(number, make):
    """So many, some at a time: a server that is busy with others has seconds for each to ask."""
    made = []
    for at in range(0, number, 50):
        made += await asyncio.gather(*(make() for _ in range(min(50, number - at))))
    return made


async def websockets_open(client, url, name):
    async with client.get(f"{url}/metrics") as answer:
        found = re.search(rf'^aero_lab_websockets_open{{endpoint="{name}"}} (\d+)', await answer.text(), re.MULTILINE)
        return int(found[1]) if found else 0


def patience(number):
    """Seconds for all of it, on a machine that has a dozen other things to do."""
    return 300 if number <= 1000 else 1800


@contextlib.contextmanager
def descriptors(number):
    """Room for so many sockets in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = number + 500
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, enough), hard if hard < 0 else max(hard, enough)))
    except (ValueError, OSError):
        pytest.skip(f"a process may have {hard} descriptors only")
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("number", [1000, pytest.param(10_000, marks=MANY)])
@pytest.mark.parametrize("path", ["/l2", "/tcp-mux", "/udp"])
def test_idle_websockets(path, number):
    name = path.strip("/")
    if name not in names():
        pytest.skip(f"{path} is not served")
    if path == "/l2" and number == 1000:
        pytest.skip("tests/server/test_process.py has those")
    held = []

    async def use(process, url):
        port = int(url.rpartition(":")[2])
        async with aiohttp.ClientSession() as client:
            for _ in range(2):
                opened = await many(number, lambda: upgraded(port, path))
                assert await websockets_open(client, url, name) == number
                most = resident(process.child.pid)
                async with client.post(f"{url}/session") as answer:
                    assert answer.status == 201
                for sock in opened:
                    sock.close()
                for _ in range(600):
                    if not await websockets_open(client, url, name):
                        break
                    await asyncio.sleep(0.05)
                assert await websockets_open(client, url, name) == 0
                await asyncio.sleep(1.5)  # a second after the last one it tidies up
                async with client.get(f"{url}/healthz"):  # which takes a while when there were many
                    held.append((most, resident(process.child.pid)))

    with descriptors(number), Process(**OPEN, **PATIENT) as process:
        asyncio.run(asyncio.wait_for(use(process, process.listening()), patience(number)))
        (most, first), (again, second) = held
        assert again - first < number * EACH, held
        assert second - first < number * LEFT, held
        if number >= 10_000:  # few would not show beside what a server takes once
            assert most - first > 3 * number * LEFT, held
        assert process.end() == 0


# Each takes three descriptors of the server, and there are systems where a process may have 20,000.
@pytest.mark.parametrize("number", [300, pytest.param(6_500, marks=MANY)])
def test_idle_connections_through_the_relay(number):
    """Each is a WebSocket and a connection to its target, and nothing is said on either. With the WebSockets the
    targets go."""
    if "tcp" not in names():
        pytest.skip("/tcp is not served")
    held, targets = [], set()

    async def target(reader, writer):
        targets.add(writer)
        with contextlib.suppress(ConnectionError):
            await reader.read(1)
        targets.discard(writer)
        writer.close()

    async def use(process, url):
        port = int(url.rpartition(":")[2])
        server = await asyncio.start_server(target, "127.0.0.1", 0, backlog=1024)
        path = f"/tcp?host=127.0.0.1&port={server.sockets[0].getsockname()[1]}"
        async with aiohttp.ClientSession() as client:
            for _ in range(2):
                opened = await many(number, lambda: upgraded(port, path))
                while len(targets) < number:  # the whole has an end
                    await asyncio.sleep(0.05)
                assert await websockets_open(client, url, "tcp") == number
                most = resident(process.child.pid)
                for sock in opened:
                    sock.close()
                while targets or await websockets_open(client, url, "tcp"):
                    await asyncio.sleep(0.05)
                await asyncio.sleep(1.5)
                held.append((most, resident(process.child.pid)))
        server.close()

    with descriptors(2 * number), Process(**OPEN, **PATIENT, **TARGETS) as process:
        asyncio.run(asyncio.wait_for(use(process, process.listening()), patience(number)))
        (most, first), (again, second) = held
        assert again - first < number * EACH, held
        assert second - first < number * LEFT, held
        assert process.end() == 0


@pytest.mark.skipif(missing() is not None, reason=missing() or "")
@pytest.mark.parametrize("number", [200, pytest.param(10_000, marks=MANY)])
def test_offers_that_nobody_follows_up(number):
    """Sessions of WebRTC that never connect: so many as may be, the rest refused; those end, and others may come."""
    allowed, held = 20, []

    async def offered(client, url, sdp):
        body = {"sdp": {"type": "offer", "sdp": sdp}}
        async with client.post(f"{url}/webrtc/offer", json=body) as answer:
            return answer.status

    async def use(process, url):
        peer = make_peer()
        peer.channel("l2")
        sdp = (await peer.offer()).sdp
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(120)) as client:
            for _ in range(2):
                statuses = await many(number, lambda: offered(client, url, sdp))
                # A machine that is busy may not have an answer in time, and says that it is not the client's fault.
                assert set(statuses) <= {200, 500, 503} and {200, 503} <= set(statuses), set(statuses)
                end = asyncio.get_running_loop().time() + 60
                while (status := await offered(client, url, sdp)) != 200:
                    assert status in (500, 503) and asyncio.get_running_loop().time() < end, status
                    await asyncio.sleep(0.2)
                await asyncio.sleep(2)
                async with client.get(f"{url}/healthz") as answer:
                    assert answer.status == 200
                held.append(resident(process.child.pid))
        await peer.close()

    settings = {"MAX_SESSIONS": str(allowed), "WEBRTC_SESSION_CONNECT_TIMEOUT": "1"}
    with Process(**OPEN, **PATIENT, **settings) as process:
        asyncio.run(asyncio.wait_for(use(process, process.listening()), patience(number)))
        assert held[1] - held[0] < GIVEN_BACK, held
        assert process.end() == 0


@pytest.mark.parametrize("number", [2 * HTTP_WAITING, pytest.param(10_000, marks=MANY)])
def test_sockets_that_never_ask(number):
    """Not a byte comes from them; those that came first make room, and who asks is answered."""
    held = []

    async def use(process, url):
        port = int(url.rpartition(":")[2])
        async with aiohttp.ClientSession() as client:
            for _ in range(2):
                opened = await many(number, lambda: connected(port))
                async with client.get(f"{url}/metrics") as answer:
                    text = await answer.text()
                    found = re.search(r"^aero_lab_half_open_closed_total (\S+)", text, re.MULTILINE)
                    closed = float(found[1]) if found else 0
                    assert closed >= number - HTTP_WAITING
                most = resident(process.child.pid)
                for sock in opened:
                    sock.close()
                held.append((most, resident(process.child.pid)))

    with descriptors(number), Process(**OPEN) as process:
        asyncio.run(asyncio.wait_for(use(process, process.listening()), patience(number)))
        (_, first), (again, second) = held
        assert again - first < HTTP_WAITING * EACH, held
        assert second - first < HTTP_WAITING * LEFT, held
        assert process.end() == 0
