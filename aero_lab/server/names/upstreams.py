"""Asking name servers: over UDP from a fresh socket with a random identifier, over TCP when the answer was cut, over
HTTPS where the upstream is a URL.

Only an answer counts that comes from where the question went, has its identifier and repeats it; anything else that
arrives is passed over and the wait goes on.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
import struct
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from ...errors import UsageError
from ...wire import dns
from .messages import Query, answers, to_send

MESSAGE = "application/dns-message"
_IGNORED = 64
"""Datagrams passed over while one answer is waited for."""


class Failed(Exception):
    """An upstream gave no answer; ``kind`` is a word for metrics."""

    def __init__(self, kind: str):
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True)
class Upstream:
    """One server to ask: ``host`` and ``port``, or a ``url``."""

    host: str = ""
    port: int = 53
    url: str = ""

    @property
    def label(self) -> str:
        """For metrics."""
        if self.url:
            return self.url
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_upstream(text: str) -> Upstream:
    """``host[:port]``, ``udp://host[:port]``, ``[v6]:port``, or a URL. Raises :class:`UsageError`."""
    entry = text.strip()
    if entry.startswith(("http://", "https://")):
        if not urlsplit(entry).netloc:
            raise UsageError(f"not a URL: {entry!r}")
        return Upstream(url=entry)
    entry = entry.removeprefix("udp://").rstrip("/")
    host, colon, port = entry, "", "53"
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        colon, port = rest[:1], rest[1:] or "53"
        if colon not in ("", ":"):
            raise UsageError(f"not host[:port]: {text!r}")
    elif entry.count(":") == 1:
        host, colon, port = entry.partition(":")
    if not host or "/" in host or not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) < 65_536:
        raise UsageError(f"not host[:port] of a name server: {text!r}")
    return Upstream(host, int(port))


class Asks(Protocol):
    """Where answers come from."""

    async def ask(self, query: Query) -> bytes:
        """The answer to a query. Raises :class:`Failed`."""
        ...

    async def close(self) -> None: ...


class Upstreams:
    """Several servers, asked in order until one answers.

    Parameters
    ----------
    timeout: seconds for each.
    most: bytes of an answer.
    failed: told of each that did not answer: its label and why.
    answered: told how many seconds one took that did.
    """

    def __init__(self, upstreams: tuple[Upstream, ...], timeout: float, most: int, failed: Any, answered: Any):
        self._upstreams, self._timeout, self._most = upstreams, timeout, most
        self._failed, self._answered = failed, answered
        self._client: Any = None

    async def ask(self, query: Query) -> bytes:
        last: bytes | None = None
        for upstream in self._upstreams:
            began = asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(self._timeout):
                    raw = await self._one(upstream, query)
            except TimeoutError:
                self._failed(upstream.label, "timeout")
                continue
            except Failed as failure:
                self._failed(upstream.label, failure.kind)
                continue
            except OSError:
                self._failed(upstream.label, "network")
                continue
            self._answered(asyncio.get_running_loop().time() - began)
            if raw[3] & dns.RCODE_MASK not in (dns.SERVFAIL, dns.REFUSED):
                return raw
            self._failed(upstream.label, dns.RCODE_NAMES[raw[3] & dns.RCODE_MASK].lower())
            last = last or raw
        if last is not None:
            return last
        raise Failed("all")

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _one(self, upstream: Upstream, query: Query) -> bytes:
        if upstream.url:
            return await self._https(upstream.url, query)
        number = secrets.randbits(16)
        message = to_send(query, number)
        raw = await self._udp(upstream, message, number, query.question)
        if raw[2] & dns.TC >> 8:
            number = secrets.randbits(16)
            raw = await self._tcp(upstream, to_send(query, number), number, query.question)
        return raw

    async def _udp(self, upstream: Upstream, message: bytes, number: int, question: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        family, address = await _address(upstream)
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(address)  # a random port, and nobody else's datagrams
            await loop.sock_sendall(sock, message)
            for _ in range(_IGNORED):
                raw = await loop.sock_recv(sock, 65_535)
                if len(raw) <= self._most and answers(raw, number, question):
                    return raw
        raise Failed("garbage")

    async def _tcp(self, upstream: Upstream, message: bytes, number: int, question: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(upstream.host, upstream.port)
        try:
            writer.write(struct.pack("!H", len(message)) + message)
            (size,) = struct.unpack("!H", await reader.readexactly(2))
            if size > self._most:
                raise Failed("too-large")
            raw = await reader.readexactly(size)
        except asyncio.IncompleteReadError:
            raise Failed("cut-short") from None
        finally:
            writer.close()
        if not answers(raw, number, question):
            raise Failed("garbage")
        return raw

    async def _https(self, url: str, query: Query) -> bytes:
        import aiohttp

        if self._client is None:
            self._client = aiohttp.ClientSession()
        headers = {"Content-Type": MESSAGE, "Accept": MESSAGE}
        try:
            async with self._client.post(url, data=to_send(query, 0), headers=headers, allow_redirects=False) as answer:
                if answer.status != 200 or answer.content_type != MESSAGE:
                    raise Failed("http")
                raw = await answer.content.read(self._most + 1)
                while len(raw) <= self._most and (more := await answer.content.read(self._most + 1 - len(raw))):
                    raw += more
        except aiohttp.ClientError:
            raise Failed("network") from None
        if len(raw) > self._most:
            raise Failed("too-large")
        if not answers(raw, 0, query.question):
            raise Failed("garbage")
        return raw


async def _address(upstream: Upstream) -> tuple[int, Any]:
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(upstream.host).version == 6 else socket.AF_INET
        return family, (upstream.host, upstream.port)
    except ValueError:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(upstream.host, upstream.port, type=socket.SOCK_DGRAM)
        return found[0][0], found[0][4]
