"""Questions about names over HTTP (RFC 8484), as a message transport: a message is a question, a message its answer.

Each question is a request of its own on connections that are kept open. Answers come in the order in which they are
there; a question that cannot be put is answered SERVFAIL, as a name server whose own questions fail does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Callable
from time import monotonic_ns
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from ..bounds import DOH_ANSWER, DOH_AT_ONCE, DOH_PATIENCE
from ..errors import Malformed, UsageError
from ..limits import RING_SLOTS
from ..rings.frame_ring import FrameRing
from ..wire import dns
from ..wire.address import ip
from ..wire.dns import DnsMessage, Record
from .base import AskedEnd

MESSAGE, JSON = "application/dns-message", "application/dns-json"
_QUEUE = 256 << 10
_JSON_TYPES = (dns.A, dns.AAAA, dns.CNAME)


class DohClient(AskedEnd):
    """The client's end.

    Parameters
    ----------
    url: of ``/dns-query``; ``ws`` counts as ``http``.
    wake: called on the loop when an answer came.
    json_url: of ``/dns-json``: questions that it can put go there.
    """

    def __init__(self, url: str, wake: Callable[[], None], json_url: str | None = None):
        self.url, self.json_url = _http(url), _http(json_url) if json_url is not None else None
        self.received = FrameRing(RING_SLOTS, _QUEUE)
        self.error: str | None = None
        """Why the last question that failed did."""
        self._wake = wake
        self._session: ClientSession | None = None
        self._asking: set[asyncio.Task[Any]] = set()
        self._stop = asyncio.Event()
        self._counts: Counter[str] = Counter()

    # As a transport -------------------------------------------------------------------------------------------------

    def send(self, ring: FrameRing, now: int) -> int:
        sent = 0
        while self._session is not None and len(self._asking) < DOH_AT_ONCE and (message := ring.pop()) is not None:
            sent += 1
            self._counts["messages_sent"] += 1
            self._counts["bytes_sent"] += len(message.data)
            task = asyncio.get_running_loop().create_task(self._ask(message.data))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        if len(ring):
            self._counts["stalls"] += 1
        return sent

    def taken(self) -> None:
        """Answers that found no room are lost: whoever asked asks again."""

    @property
    def stalled(self) -> bool:
        return self._session is None or len(self._asking) >= DOH_AT_ONCE

    @property
    def peer_closed(self) -> bool:
        return self._stop.is_set()

    @property
    def counters(self) -> dict[str, int]:
        return {
            "messages_sent": self._counts["messages_sent"],
            "bytes_sent": self._counts["bytes_sent"],
            "messages_received": self.received.given,
            "bytes_received": self.received.given_bytes,
            "stalls": self._counts["stalls"],
            "failed": self._counts["failed"],
        }

    def close(self) -> None:
        self._stop.set()

    # As a client ----------------------------------------------------------------------------------------------------

    connected = True
    wire = None
    """What its connections cost on the wire is not counted."""

    async def opened(self) -> None:
        """There is nothing to wait for: connections are made when somebody asks."""

    async def run(self) -> None:
        """Answer questions until :meth:`close`."""
        timeout = ClientTimeout(total=DOH_PATIENCE)
        async with ClientSession(timeout=timeout, connector=TCPConnector(limit=DOH_AT_ONCE)) as session:
            self._session = session
            self._wake()
            await self._stop.wait()
            self._session = None
            for task in self._asking:
                task.cancel()
            await asyncio.gather(*self._asking, return_exceptions=True)

    async def _ask(self, question: bytes) -> None:
        try:
            answer = await self._put(question)
            self.error = None
        except (ClientError, TimeoutError, OSError, Malformed, ValueError) as error:
            self._counts["failed"] += 1
            self.error = str(error) or type(error).__name__
            answer = _failure(question)
        self.received.push(answer, monotonic_ns())
        self._wake()

    async def _put(self, question: bytes) -> bytes:
        assert self._session is not None
        if self.json_url is not None and (asked := DnsMessage.parse(question)).questions[0].type in _JSON_TYPES:
            return await self._put_json(self.json_url, asked)
        headers = {"Content-Type": MESSAGE, "Accept": MESSAGE}
        async with self._session.post(self.url, data=question, headers=headers) as response:
            body = await _body(response)
            if response.status != 200 or len(body) < 12:
                raise ValueError(f"the answer to a question was {response.status}")
            return question[:2] + body[2:]

    async def _put_json(self, url: str, asked: DnsMessage) -> bytes:
        assert self._session is not None
        question = asked.questions[0]
        parts = urlsplit(url)
        query = "&".join(filter(None, (parts.query, urlencode({"name": question.name, "type": question.type}))))
        async with self._session.get(urlunsplit(parts._replace(query=query))) as response:
            body = await _body(response)
            if response.status != 200:
                raise ValueError(f"the answer to a question was {response.status}")
        return from_json(asked, body).emit()


async def _body(response: Any) -> bytes:
    taken = bytearray()
    async for chunk in response.content.iter_any():
        taken += chunk
        if len(taken) > DOH_ANSWER:
            raise ValueError("the answer is too long")
    return bytes(taken)


def from_json(asked: DnsMessage, body: bytes) -> DnsMessage:
    """The answer that a body of :data:`JSON` tells. Raises :class:`ValueError`."""
    try:
        told = json.loads(body)
        rcode = int(told["Status"])
        records = tuple(map(_record, told.get("Answer", ())))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, UsageError) as error:
        raise ValueError(f"the answer is no DNS in JSON ({error})") from None
    if not 0 <= rcode < 16 or len(records) > 256:
        raise ValueError("the answer is no DNS in JSON")
    return asked.reply(rcode, records)


def _record(told: Any) -> Record:
    rtype, data = int(told["type"]), str(told["data"])
    if rtype not in _JSON_TYPES:
        raise ValueError(f"a record of type {rtype}")
    ttl = min(max(int(told.get("TTL", 0)), 0), 0x7FFFFFFF)
    rdata: Any = data
    if rtype != dns.CNAME:
        rdata = ip(data)
        if len(rdata) != (4 if rtype == dns.A else 16):
            raise ValueError(f"{data!r} is no address of type {rtype}")
    return Record(str(told["name"]).rstrip("."), rtype, dns.IN, ttl, rdata)


def _failure(question: bytes) -> bytes:
    with contextlib.suppress(Malformed, IndexError):
        return DnsMessage.parse(question).reply(dns.SERVFAIL).emit()
    return question[:2] + bytes((0x80, dns.SERVFAIL)) + bytes(8)


def _http(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(scheme={"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)))
