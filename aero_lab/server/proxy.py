"""The proxy: an HTTP server whose endpoints open tunnels, sockets and sessions.

Theory of operation
-------------------
aiohttp speaks HTTP and does the WebSocket handshake; the :class:`~.door.Door` in front of it bounds connections that
are no tunnel yet; the :mod:`table <.routes>` tells the endpoint of a path; the :class:`~.gatekeeper.Gatekeeper` judges
each request; the endpoint serves it, a WebSocket as a :class:`~.call.Connection` (``/l2``: a
:class:`~.session.Session`). Everything lives on one asyncio loop, and no connection shares state with another.

A proxy that is told to stop first *drains*: it goes on listening, so that whoever asks learns that it is going away
(503, also from ``/readyz``), and closes each WebSocket with 1001. Then it stops.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Callable
from ipaddress import ip_address
from time import time_ns
from typing import Any
from urllib.parse import quote

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ..audit import Audit, Source
from ..bounds import HTTP_FIELD, HTTP_LINE, HTTP_PATIENCE
from ..clock import RealClock
from ..driver import Driver
from ..limits import SECOND
from ..paths.base import Tap
from ..transports.websocket import GOING_AWAY
from ..worlds import World
from .call import Call, Connection
from .config import ServerConfig
from .cors import common_headers, preflight
from .door import Door, listening_socket
from .gatekeeper import Gatekeeper
from .metrics import Metrics
from .routes import Endpoint, Refused, refusal, served
from .session import Session


class _ClientsFaults(logging.Filter):
    """Keeps out of the log what a client did wrong: it would be a traceback with that client's bytes in it."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, (HttpProcessingError, ConnectionError))


_CALL = web.RequestKey("call", Call)
log = logging.getLogger(__name__)
log.addFilter(_ClientsFaults())


class Proxy:
    """Serves tunnels until it is stopped. Lives on the loop that :meth:`start` runs on.

    Parameters
    ----------
    config: settings; nothing is read from the environment here.
    world_for: called with a session's driver, gives what lies beyond its LAN.
    audit: gets a record for each session, refusal, flow, denial and limit.
    recorder: records what passes the tunnels, at the point ``"tunnel"``.
    seed: of everything random in the networks; None: from the system, as a proxy that others reach should.
    """

    def __init__(
        self,
        config: ServerConfig,
        world_for: Callable[[Driver], World],
        audit: Audit | None = None,
        recorder: Tap | None = None,
        seed: int | None = None,
    ):
        self.config = config
        self.auths = config.auths()
        self.auth = self.auths["tunnel"]
        self.endpoints = served(config)
        """By path."""
        self.connections: list[Connection] = []
        """WebSockets that are open, oldest first."""
        self.on_session: Callable[[Session], None] | None = None
        """Called with each new tunnel."""
        self.on_connection: Callable[[Call, Connection], None] | None = None
        """Called with each new WebSocket of any kind."""
        self.on_empty: Callable[[], None] | None = None
        """Called when the last WebSocket has gone."""
        self.metrics = Metrics(lambda: [self._gauges(), *(each.tally() for each in self.connections)])
        self.gatekeeper = Gatekeeper(config, self.auths, self.metrics)
        self.port = 0
        """Port it listens on, once started."""
        self.world_for, self.recorder, self._seed = world_for, recorder, seed
        self._clock = RealClock()
        self.epoch = time_ns() - self._clock.now()
        """Wall clock less monotonic clock, ns."""
        self._audit = audit
        self._refusals = audit.source(self._clock.now()) if audit is not None else None
        self._next = 1
        self._runner: web.AppRunner | None = None
        self._door: Door | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self.shared: dict[Any, Any] = {}
        """What endpoints keep for all their requests, by a key of theirs; closed at the end if it can be."""

    @property
    def sessions(self) -> list[Session]:
        """Tunnels that are open, oldest first."""
        return [each for each in self.connections if isinstance(each, Session)]

    def now(self) -> int:
        """ns, monotonic."""
        return self._clock.now()

    # Life -----------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen. Raises :class:`~aero_lab.errors.UsageError` when the address cannot be had."""
        sock = listening_socket(self.config.host, self.config.port)
        try:
            self.port = sock.getsockname()[1]
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", self._dispatch)
            app.on_response_prepare.append(self._prepared)
            runner = web.AppRunner(
                app,
                handle_signals=False,
                logger=log,
                access_log=None,  # its lines would carry the tokens of query strings
                keepalive_timeout=HTTP_PATIENCE / SECOND,
                lingering_time=1.0,
                max_line_size=HTTP_LINE,
                max_field_size=HTTP_FIELD,
                shutdown_timeout=0.5,
            )
            await runner.setup()
            assert runner.server is not None
            self._runner = runner
            self._door = Door(sock, runner.server, self._half_open_closed, tls=self.config.tls)
        except BaseException:
            sock.close()
            raise

    @property
    def authority(self) -> str:
        """``host:port`` it can be reached at."""
        host = self.config.host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL of ``/l2``, with the token when there is one: whoever has it may enter."""
        host = self.config.host
        if ip_address(host.partition("%")[0]).is_unspecified:
            host = "[::1]" if ":" in host else "127.0.0.1"
        elif ":" in host:
            host = f"[{host}]"
        token = f"?token={quote(self.auth.token, safe='')}" if self.auth.mode == "token" else ""
        return f"{'wss' if self.config.tls_enabled else 'ws'}://{host}:{self.port}/l2{token}"

    async def drain(self) -> None:
        """Let nobody in any more and close every tunnel; returns when all are gone, at the latest after the grace."""
        self.gatekeeper.shutting_down = True
        for each in list(self.connections):
            each.finish(GOING_AWAY, "shutting down")
        try:
            async with asyncio.timeout(self.config.shutdown_grace_ms / 1000):
                await self._empty.wait()
        except TimeoutError:
            for each in list(self.connections):
                each.drop()
            await self._empty.wait()

    async def stop(self) -> None:
        """Drain, then close the door and everything behind it. May be called twice."""
        if self._door is not None:
            await self.drain()
            self._door.close()
            self._door = None
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()
        for shared in self.shared.values():
            if hasattr(shared, "close"):
                await shared.close()
        self.shared.clear()

    async def __aenter__(self) -> Proxy:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    # HTTP -----------------------------------------------------------------------------------------------------------

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        if self._door is not None:
            self._door.asked(request.transport)
        endpoint = self.endpoints.get(request.path)
        call = Call(self, endpoint, request)
        request[_CALL] = call
        try:
            return await self._serve(call, endpoint)
        except Refused as refused:
            return self._refuse(call, refused)
        except (asyncio.CancelledError, ConnectionError, HttpProcessingError):
            raise
        except Exception as error:
            log.error("%s failed because of a defect", request.path, exc_info=error)
            if call.upgraded:
                raise
            return refusal(endpoint, Refused(500, "Internal error"), call.upgrades)
        finally:
            call.leave()

    async def _serve(self, call: Call, endpoint: Endpoint | None) -> web.StreamResponse:
        method = call.request.method
        if endpoint is None:
            if call.upgrades:
                raise Refused(404, "Not Found")
            self.gatekeeper.request(call, None)
            if method == "OPTIONS":
                return preflight(call)
            raise Refused(404, "Not Found")
        if endpoint.upgrade:
            if method == "OPTIONS" and endpoint.family != "tunnel":
                self.gatekeeper.request(call, endpoint)
                return preflight(call)
            self.gatekeeper.admit(call, endpoint)
            return await endpoint.serve(call)
        self.gatekeeper.request(call, endpoint)
        if method == "OPTIONS":
            return preflight(call)
        if method not in endpoint.methods and not (method == "HEAD" and "GET" in endpoint.methods):
            raise Refused(405, "Method Not Allowed", headers={"Allow": ", ".join(endpoint.methods)})
        self.gatekeeper.authorize(call, endpoint)
        return await endpoint.serve(call)

    async def _prepared(self, request: web.Request, response: web.StreamResponse) -> None:
        """Every answer, just before its head is sent."""
        call = request.get(_CALL)
        if call is None:
            return
        call.upgraded = response.status == 101
        common_headers(call, response)
        route = call.endpoint.paths[0] if call.endpoint is not None else "unknown"
        self.metrics.request(request.method, route, response.status, self.now() - call.started)

    def _refuse(self, call: Call, refused: Refused) -> web.Response:
        endpoint = call.endpoint
        if endpoint is not None and endpoint.upgrade and refused.status in (401, 403, 429):
            if endpoint.family == "tunnel":
                self.metrics.rejected(*refused.counts)
        upgrade = call.upgrades or (endpoint is not None and endpoint.upgrade)
        self.turned_away(call, refused.reason, refused.status, upgrade or refused.status in (401, 403, 429))
        if endpoint is not None and endpoint.refusal is not None:
            return endpoint.refusal(call, refused)
        return refusal(endpoint, refused, call.upgrades)

    def turned_away(self, call: Call, reason: str, status: int, recorded: bool = True) -> None:
        """Count a request or a client that was refused; ``recorded``: somebody may have to answer for it."""
        self.metrics.refused(call.endpoint.name if call.endpoint is not None else "none", reason)
        if recorded and self._refusals is not None:
            self._refusals.record("session-refused", self.now(), source=call.address, reason=reason, status=status)

    def _half_open_closed(self) -> None:
        self.metrics.count("aero_lab_half_open_closed_total")

    def through(self, transport: asyncio.BaseTransport | None) -> None:
        """A connection has become a WebSocket, which has other bounds."""
        if self._door is not None:
            self._door.through(transport)

    # Connections ----------------------------------------------------------------------------------------------------

    def next_number(self) -> int:
        """The number of a new connection, from 1."""
        number, self._next = self._next, self._next + 1
        return number

    def audit_source(self, number: int) -> Source | None:
        """Where the connection of that number records."""
        return self._audit.source(self.now(), session=number) if self._audit is not None else None

    async def serve(self, call: Call, connection: Connection) -> None:
        """Run a connection to its end."""
        opened = self.now()
        name = call.endpoint.name if call.endpoint is not None else ""
        self.connections.append(connection)
        self._empty.clear()
        self.metrics.opened(name)
        if connection.audit is not None:
            connection.audit.record("session-open", opened, source=call.address, protocol=name)
        if isinstance(connection, Session) and self.on_session is not None:
            self.on_session(connection)
        if self.on_connection is not None:
            self.on_connection(call, connection)
        if self.gatekeeper.shutting_down:
            connection.finish(GOING_AWAY, "shutting down")
        try:
            await connection.run()
        finally:
            self.connections.remove(connection)
            self.metrics.closed(name)
            self.metrics.ended(connection.tally())
            if connection.audit is not None:
                now = self.now()
                told = connection.summary()
                connection.audit.record("session-close", now, source=call.address, duration=now - opened, **told)
                connection.audit.close(now)
            if not self.connections:
                self._empty.set()
                if self.on_empty is not None:
                    self.on_empty()

    def _gauges(self) -> dict[str, int]:
        return {"l2_sessions_active": len(self.sessions)}

    def rng(self, number: int, part: str) -> random.Random:
        """The generator of one part of one connection."""
        return random.Random(secrets.randbits(256) if self._seed is None else f"{self._seed}/{number}/{part}")

    def __repr__(self) -> str:
        state = f"at {self.authority}" if self._door is not None else "not running"
        return f"<Proxy {state}, {len(self.connections)} connections>"
