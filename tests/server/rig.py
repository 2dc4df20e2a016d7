"""A proxy on loopback and what talks to it."""

from __future__ import annotations

import asyncio
import contextlib
import functools

import aiohttp

from aero_lab.audit import Audit
from aero_lab.framing.l2_tunnel import SUBPROTOCOL
from aero_lab.server.config import ServerConfig
from aero_lab.server.proxy import Proxy
from aero_lab.server.world import configured_worlds

GATEWAY_ARP = bytes.fromhex(
    "ffffffffffff020000000005 0806 0001 0800 06 04 0001 020000000005 0a00020f 000000000000 0a000202"
)
"""Who has 10.0.2.2? Tell 10.0.2.15."""


def on_a_loop(test):
    """Run an ``async def`` test, within a minute."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 60))

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
    async with Proxy(config, await configured_worlds(config), audit=audit, seed=1) as proxy:
        async with aiohttp.ClientSession() as client:
            yield Rig(proxy, client, audit)


async def until(condition, what=""):
    """Wait until a condition holds; ten seconds are for slow machines."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"it never came to be {what}")
