"""The proxy: an HTTP server whose ``/l2`` opens tunnels.

Theory of operation
-------------------
aiohttp speaks HTTP and does the WebSocket handshake; the :class:`~.door.Door` in front of it bounds connections that
are no tunnel yet; the :class:`~.upgrade.Gatekeeper` judges each upgrade; a :class:`~.session.Session` is each tunnel.
Everything lives on one asyncio loop, and no tunnel shares state with another.

A proxy that is told to stop first *drains*: it goes on listening, so that whoever asks learns that it is going away
(503, also from ``/readyz``), and closes each tunnel with 1001. Then it stops.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path
from time import time_ns
from typing import Any
from urllib.parse import quote

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from .. import __version__
from ..audit import Audit
from ..bounds import HTTP_BODY, HTTP_PATIENCE
from ..clock import RealClock
from ..driver import Driver
from ..framing.l2_tunnel import SUBPROTOCOL
from ..limits import MS, SECOND
from ..paths.base import Tap
from ..transports.websocket import server_socket
from ..worlds import World
from .capture import SessionCapture
from .config import ServerConfig
from .door import Door, listening_socket
from .metrics import CONTENT_TYPE, Metrics
from .session import GOING_AWAY, Session
from .upgrade import Gatekeeper, Rejection, Request, offered


class _ClientsFaults(logging.Filter):
    """Keeps out of the log what a client did wrong: it would be a traceback with that client's bytes in it."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, (HttpProcessingError, ConnectionError))


PATHS = ("/l2", "/l2/", "/eth", "/eth/")
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
        self.auth = config.auth()
        self.sessions: list[Session] = []
        """Tunnels that are open, oldest first."""
        self.on_session: Callable[[Session], None] | None = None
        """Called with each new session."""
        self.on_empty: Callable[[], None] | None = None
        """Called when the last tunnel has gone."""
        self.metrics = Metrics(lambda: [self._gauges(), *(session.tally() for session in self.sessions)])
        self.gatekeeper = Gatekeeper(config, self.auth, self.metrics)
        self.port = 0
        """Port it listens on, once started."""
        self._world_for, self._recorder, self._seed = world_for, recorder, seed
        self._clock = RealClock()
        self._epoch = time_ns() - self._clock.now()
        self._audit = audit
        self._refusals = audit.source(self._clock.now()) if audit is not None else None
        self._next = 1
        self._runner: web.AppRunner | None = None
        self._door: Door | None = None
        self._empty = asyncio.Event()
        self._empty.set()

    # Life -----------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen. Raises :class:`~aero_lab.errors.UsageError` when the address cannot be had."""
        sock = listening_socket(self.config.host, self.config.port)
        try:
            self.port = sock.getsockname()[1]
            app = web.Application(client_max_size=HTTP_BODY, middlewares=[self._asked])
            for path in PATHS:
                app.router.add_route("*", path, self._l2)
            app.router.add_get("/healthz", self._healthz)
            app.router.add_get("/readyz", self._readyz)
            app.router.add_get("/version", self._version)
            app.router.add_get("/metrics", self._metrics)
            runner = web.AppRunner(
                app,
                handle_signals=False,
                logger=log,
                access_log=None,  # its lines would carry the tokens of query strings
                keepalive_timeout=HTTP_PATIENCE / SECOND,
                lingering_time=1.0,
                shutdown_timeout=0.5,
            )
            await runner.setup()
            assert runner.server is not None
            self._runner = runner
            self._door = Door(sock, runner.server, self._half_open_closed)
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
        return f"ws://{host}:{self.port}/l2{token}"

    async def drain(self) -> None:
        """Let nobody in any more and close every tunnel; returns when all are gone, at the latest after the grace."""
        self.gatekeeper.shutting_down = True
        for session in list(self.sessions):
            session.finish(GOING_AWAY, "shutting down")
        try:
            async with asyncio.timeout(self.config.shutdown_grace_ms / 1000):
                await self._empty.wait()
        except TimeoutError:
            for session in list(self.sessions):
                session.drop()
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

    async def __aenter__(self) -> Proxy:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    # HTTP -----------------------------------------------------------------------------------------------------------

    @web.middleware
    async def _asked(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if self._door is not None:
            self._door.asked(request.transport)
        return await handler(request)

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _readyz(self, request: web.Request) -> web.Response:
        return web.Response(status=503 if self.gatekeeper.shutting_down else 200)

    async def _version(self, request: web.Request) -> web.Response:
        config = self.config
        return web.json_response(
            {"version": config.version or __version__, "gitSha": config.git_sha, "builtAt": config.built_at}
        )

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self.metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def _l2(self, request: web.Request) -> web.StreamResponse:
        asked = Request(request.method, request.raw_path, request.headers, request.remote or "")
        rejection = self.gatekeeper.check(asked)
        if rejection is not None:
            return self._refuse(asked, rejection)
        address = self.gatekeeper.address(asked)
        occupancy = self.gatekeeper.occupancy
        occupancy.enter(address)  # before anything is awaited: two requests must not share the last place
        try:
            return await self._tunnel(request, address)
        finally:
            occupancy.leave(address)

    def _refuse(self, asked: Request, rejection: Rejection) -> web.Response:
        if self._refusals is not None:
            self._refusals.record(
                "session-refused",
                self._clock.now(),
                source=self.gatekeeper.address(asked),
                reason=rejection.reason,
                status=rejection.status,
            )
        return web.Response(text=rejection.text, status=rejection.status, headers=rejection.headers)

    async def _tunnel(self, request: web.Request, address: str) -> web.StreamResponse:
        socket = server_socket(self.config.limits.message, (SUBPROTOCOL,))
        lines = request.headers.getall("Sec-WebSocket-Protocol", [])
        if len(lines) > 1:  # aiohttp looks at the first alone
            headers = request.headers.copy()
            headers["Sec-WebSocket-Protocol"] = ", ".join(offered(request.headers))
            request = request.clone(headers=headers)
        await socket.prepare(request)
        if self._door is not None:
            self._door.through(request.transport)
        session = self._open(request, address, socket)
        try:
            await session.run()
        finally:
            self._gone(session)
        return socket

    def _half_open_closed(self) -> None:
        self.metrics.count("aero_lab_half_open_closed_total")

    # Sessions -------------------------------------------------------------------------------------------------------

    def _open(self, request: web.Request, address: str, socket: Any) -> Session:
        number, self._next = self._next, self._next + 1
        now, config = self._clock.now(), self.config
        audit = self._audit.source(now, session=number) if self._audit is not None else None
        capture = None
        if config.capture_dir is not None:
            capture = SessionCapture(
                Path(config.capture_dir),
                number,
                config.capture_max_bytes,
                config.capture_flush_interval_ms * MS,
                self._epoch,
                self.metrics.count,
                config.capture_snap,
                config.capture_headers,
            )
        query = {name: value for name, value in request.query.items() if name not in ("token", "apiKey")}
        session = Session(
            number,
            query,
            address,
            socket,
            config,
            self._world_for,
            self.metrics,
            lambda part: self._rng(number, part),
            audit,
            self._recorder,
            capture,
        )
        self.sessions.append(session)
        self._empty.clear()
        self.metrics.count("l2_sessions_total")
        if audit is not None:
            audit.record("session-open", now, source=address)
        if self.on_session is not None:
            self.on_session(session)
        if self.gatekeeper.shutting_down:
            session.finish(GOING_AWAY, "shutting down")
        return session

    def _gone(self, session: Session) -> None:
        tally = session.tally()
        self.sessions.remove(session)
        self.metrics.ended(tally)
        if session.audit is not None:
            now = self._clock.now()
            session.audit.record(
                "session-close",
                now,
                source=session.address,
                reason=session.reason,
                code=session.end.close_code,
                bytes_up=tally["l2_bytes_rx_total"],
                bytes_down=tally["l2_bytes_tx_total"],
                duration=now - session.opened_at,
            )
            session.audit.close(now)
        if not self.sessions:
            self._empty.set()
            if self.on_empty is not None:
                self.on_empty()

    def _gauges(self) -> dict[str, int]:
        return {"l2_sessions_active": len(self.sessions)}

    def _rng(self, number: int, part: str) -> random.Random:
        return random.Random(secrets.randbits(256) if self._seed is None else f"{self._seed}/{number}/{part}")

    def __repr__(self) -> str:
        state = f"at {self.authority}" if self._door is not None else "not running"
        return f"<Proxy {state}, {len(self.sessions)} tunnels>"
