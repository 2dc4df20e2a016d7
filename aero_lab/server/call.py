"""One request as an endpoint sees it: who asks, for what, and what can be done about it."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import web

from ..transports.websocket import server_socket
from .auth import Denied, Identity
from .credentials import Credentials, first_values
from .forwarded import client_address, first_of_list, forwarded
from .quota import Lease
from .routes import Endpoint, Refused

if TYPE_CHECKING:
    from ..audit import Source
    from .proxy import Proxy

_ID_MOST = 200
"""Characters of an ``X-Request-ID`` that are taken over."""


class Connection(Protocol):
    """What :meth:`Call.serve` keeps: a WebSocket, and what is behind it."""

    id: int
    audit: Source | None

    async def run(self) -> None:
        """Serve until it ends."""
        ...

    def finish(self, code: int, reason: str) -> None:
        """End it with a Close of this code, within a second."""
        ...

    def drop(self) -> None:
        """End it without a word."""
        ...

    def tally(self) -> Counter[str]:
        """Sums by metric name (:mod:`.metrics`), and gauges."""
        ...

    def summary(self) -> dict[str, Any]:
        """Once it has ended, for the audit: ``reason``, ``code``, ``bytes_up``, ``bytes_down``."""
        ...


class Call:
    """A request. Made by :class:`~.proxy.Proxy`; lives as long as its answer, or its WebSocket."""

    def __init__(self, proxy: Proxy, endpoint: Endpoint | None, request: web.Request):
        self.proxy, self.endpoint, self.request = proxy, endpoint, request
        self.config, self.metrics = proxy.config, proxy.metrics
        self.started = proxy.now()
        self.headers = request.headers
        self.target = request.raw_path
        """Path and query as they came."""
        self.identity: Identity | None = None
        """Who asks, once that is known."""
        self.origin: str | None = None
        """The normalised Origin, once it was checked and found good."""
        self.id = _request_id(request)
        self.upgraded = False
        """The WebSocket is open."""
        self._leases: set[Lease] = set()
        self._left: list[Any] = []

    @cached_property
    def address(self) -> str:
        """The client's IP address, of the connection or, where it is trusted, of what a reverse proxy says."""
        return client_address(self.headers, self.request.remote or "", self.config.trust_proxy)

    @cached_property
    def query(self) -> dict[str, str]:
        """The first value of each name, percent-decoded."""
        return first_values(self.target)

    @cached_property
    def secure(self) -> bool:
        """Whether the client speaks TLS, to us or to a trusted reverse proxy."""
        if self.request.secure:
            return True
        said = forwarded(self.headers, "proto") or first_of_list(self.headers, "X-Forwarded-Proto") or ""
        return self.config.trust_proxy and said.lower() == "https"

    @cached_property
    def upgrades(self) -> bool:
        """Whether a WebSocket is asked for."""
        return "websocket" in words(self.headers, "Upgrade") and "upgrade" in words(self.headers, "Connection")

    @cached_property
    def offered(self) -> list[str]:
        """The subprotocols that the client offers, over all such headers."""
        lines = self.headers.getall("Sec-WebSocket-Protocol", [])
        return [part.strip() for line in lines for part in line.split(",")]

    @cached_property
    def protocol(self) -> str | None:
        """The subprotocol that is selected."""
        chosen = self.endpoint.subprotocols if self.endpoint is not None else ()
        return next((each for each in chosen if each in self.offered), None)

    @property
    def session(self) -> str:
        """Whom quotas of a session are counted to: the session, or without one the client's address."""
        sid = self.identity.sid if self.identity is not None else None
        return f"sid {sid}" if sid else f"ip {self.address}"

    def credentials(self) -> Credentials:
        """What the request carries."""
        family = self.endpoint.family if self.endpoint is not None else "open"
        return Credentials(family, self.target, self.headers, self.offered)

    def authenticate(self) -> Identity | Denied:
        """Apply the rule of the endpoint's family; a good outcome is kept in :attr:`identity`."""
        family = self.endpoint.family if self.endpoint is not None else "open"
        found = self.proxy.gatekeeper.auths[family].check(self.credentials())
        if isinstance(found, Identity):
            self.identity = found
        return found

    async def body(self) -> bytes:
        """The request's body; :class:`Refused` (413) when it is larger than the endpoint allows."""
        most = self.endpoint.body if self.endpoint is not None else 0
        taken = bytearray()
        async for chunk in self.request.content.iter_any():
            taken += chunk
            if len(taken) > most:
                raise Refused(413, "Request body is too large")
        return bytes(taken)

    # WebSockets -----------------------------------------------------------------------------------------------------

    async def websocket(
        self, most: int, answer: Mapping[str, str] | None = None, **options: Any
    ) -> web.WebSocketResponse:
        """Do the upgrade; ``most`` is the size of the largest message, ``answer`` are headers. Give it to a
        ``WebSocketEnd``, or use it as it is: Pings are not answered by themselves then (``autoping=True`` changes
        that)."""
        socket = server_socket(most, (self.protocol,) if self.protocol else (), **options)
        socket.headers.update(answer or {})
        request, lines = self.request, self.headers.getall("Sec-WebSocket-Protocol", [])
        if len(lines) > 1:  # aiohttp looks at the first alone
            headers = request.headers.copy()
            headers["Sec-WebSocket-Protocol"] = ", ".join(self.offered)
            request = request.clone(headers=headers)
        await socket.prepare(request)
        self.proxy.through(request.transport)
        return socket

    def number(self) -> int:
        """The number of a new connection: of its captures, of its audit records."""
        return self.proxy.next_number()

    def audit(self, number: int) -> Source | None:
        """Where a connection of that number records, if anybody wants to know."""
        return self.proxy.audit_source(number)

    async def serve(self, connection: Connection) -> None:
        """Run a connection: it is counted, recorded, told to finish when the server stops, and gone afterwards."""
        await self.proxy.serve(self, connection)

    def enter(self, sid: str | None) -> None:
        """Count this connection to a session that came to be known late; :class:`Refused` when it has too many."""
        self.proxy.gatekeeper.enter_session(self, sid)

    def slot(self) -> Lease | None:
        """A place for one TCP connection, of this session and this address; None when all are taken.

        It is given back by :meth:`~.quota.Lease.release`, at the latest when the request is over.
        """
        lease = self.proxy.gatekeeper.slots.take(self.session, self.address)
        if lease is not None:
            self._leases.add(lease)
            lease.told = self._leases.discard
        return lease

    def on_leave(self, leave: Any) -> None:
        """Call this when the request is over, however it ends."""
        self._left.append(leave)

    def leave(self) -> None:
        """The request is over."""
        for lease in list(self._leases):
            lease.release()
        while self._left:
            self._left.pop()()


def words(headers: Any, name: str) -> set[str]:
    """The lower-case entries of a header that is a comma list."""
    return {part.strip().lower() for line in headers.getall(name, []) for part in line.split(",")}


def _request_id(request: web.Request) -> str:
    given = request.headers.get("X-Request-ID", "")
    if 0 < len(given) <= _ID_MOST and given.isascii() and given.isprintable():
        return given
    return str(uuid.uuid4())
