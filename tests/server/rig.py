"""A proxy on loopback and what talks to it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from time import monotonic_ns

import aiohttp

from aero_lab.audit import Audit
from aero_lab.compiled.registry import load_all
from aero_lab.driver import Driver
from aero_lab.framing.l2_tunnel import SUBPROTOCOL
from aero_lab.guests.scripted.guest import ScriptedGuest, StaticAddress
from aero_lab.paths import get_path
from aero_lab.paths.base import Near, Wire
from aero_lab.server.config import ServerConfig
from aero_lab.server.proxy import Proxy
from aero_lab.server.world import configured_worlds
from aero_lab.transports.websocket import WebSocketEnd
from aero_lab.wire.address import ip

GATEWAY_ARP = bytes.fromhex(
    "ffffffffffff020000000005 0806 0001 0800 06 04 0001 020000000005 0a00020f 000000000000 0a000202"
)
"""Who has 10.0.2.2? Tell 10.0.2.15."""
STATIC = StaticAddress(ip("10.0.2.15"), 24, ip("10.0.2.2"), (ip("10.0.2.2"),))
LAB = ip("203.0.113.10")
"""An address that only forwards lead anywhere."""


def on_a_loop(test=None, *, patience=60):
    """Run an ``async def`` test, within a minute unless told otherwise."""
    if test is None:
        return functools.partial(on_a_loop, patience=patience)

    @functools.wraps(test)
    def run(*args, **kwargs):
        load_all()  # compiling would stop the loop
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), patience))

    return run


class Rig:
    """A proxy, a client, and the audit."""

    def __init__(self, proxy, client, audit):
        self.proxy, self.client, self.audit = proxy, client, audit

    @property
    def origin(self):
        return f"http://{self.proxy.authority}"

    def count(self, name):
        return self.proxy.metrics.values()[name]

    def kinds(self, kind):
        return [row for row in self.audit.rows() if row["kind"] == kind]

    async def get(self, path, method="GET", headers=None):
        async with self.client.request(method, self.origin + path, headers=headers) as answer:
            return answer.status, answer.headers, await answer.text()

    @contextlib.asynccontextmanager
    async def tunnel(self, url=None, **options):
        options.setdefault("protocols", [SUBPROTOCOL])
        options.setdefault("origin", self.origin)
        options.setdefault("autoclose", False)
        options.setdefault("max_msg_size", 0)
        async with self.client.ws_connect(url or self.proxy.url, **options) as socket:
            yield socket

    async def upgrade(self, path=None, *, drop=(), method="GET", **headers):
        """Status and text of an upgrade that is refused; headers by name with ``_`` for ``-``, lists repeat."""
        lines = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Protocol": SUBPROTOCOL,
            "Origin": self.origin,
            "Host": self.proxy.authority,
        }
        lines.update({name.replace("_", "-"): value for name, value in headers.items()})
        raw = f"{method} {path or self.proxy.url.partition(self.proxy.authority)[2]} HTTP/1.1\r\n"
        for name, value in lines.items():
            if name not in drop:
                for each in value if isinstance(value, list) else [value]:
                    raw += f"{name}: {each}\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", self.proxy.port)
        writer.write(raw.encode() + b"\r\n")
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            status = int(head.split()[1])
            if status == 101:
                return status, head
            size = next(int(line[15:]) for line in head.lower().split("\r\n") if line.startswith("content-length:"))
            return status, (await reader.readexactly(size)).decode()
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def rig(**settings):
    settings.setdefault("bind", "127.0.0.1:0")
    config = ServerConfig(**settings)
    audit = Audit()
    async with Proxy(config, configured_worlds(config), audit=audit, seed=1) as proxy:
        async with aiohttp.ClientSession() as client:
            yield Rig(proxy, client, audit)


async def until(condition, what=""):
    """Wait until a condition holds; ten seconds are for slow machines."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"it never came to be {what}")


class GuestAtTheEnd:
    """A scripted guest at the client's end of a real tunnel."""

    def __init__(self, host, driver, end):
        self.host, self.driver, self.end = host, driver, end

    async def run(self, task, name="task"):
        """The value of ``task(host)``, or what it raised."""
        done = asyncio.Event()
        running = self.host.start(task(self.host), name)
        watch = lambda now: running.done and done.set()  # noqa: E731
        self.driver.settled.append(watch)
        self.driver.wake()
        await done.wait()
        self.driver.settled.remove(watch)
        return running.value()


@contextlib.asynccontextmanager
async def guest(r, **options):
    """A guest with a static address behind a tunnel of its own."""
    host = ScriptedGuest("linux", random.Random(1), monotonic_ns(), static=STATIC)
    async with r.tunnel(autoping=False, **options) as socket:
        driver = Driver(asyncio.get_running_loop())
        end = WebSocketEnd(socket, driver.wake)
        driver.add(host, get_path("C").client(Near(Wire(host.nic_tx, host.nic_rx), {"l2": end})))
        running = asyncio.create_task(end.run())
        try:
            yield GuestAtTheEnd(host, driver, end)
        finally:
            driver.stop()
            end.close()
            await running


@contextlib.asynccontextmanager
async def tcp_server(serve):
    """A server of the host at a free port: ``await serve(reader, writer)`` for each connection."""

    async def handle(reader, writer):
        with contextlib.suppress(ConnectionError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
