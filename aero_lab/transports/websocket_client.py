"""The client's end of a tunnel over WebSocket: connects, and connects again.

To its owner it is one :class:`~.base.TransportEnd` for as long as it lives; behind it stands one :class:`WebSocketEnd`
after another. While there is no connection it takes nothing: what is to be sent waits where it is, in the tunnel's ring
and then in the NIC's, and a guest whose NIC is full waits too. Nothing is dropped but what the lost connection still
held.

A proxy gives every connection a fresh network: its addresses may be others, and it knows none of the old flows. So the
cable that a guest sees is this connection: ``carrier`` is told when it comes and goes, and a guest does what hosts do
when their cable was pulled.

A proxy that refuses for good (a wrong token, a forbidden origin, no tunnel at that path) is not asked again; one that
is away, full or shutting down is, after a wait that doubles each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket as sockets
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from time import monotonic
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, TraceConfig, WSServerHandshakeError

from ..bounds import (
    WS_BACKOFF_BASE,
    WS_BACKOFF_CAP,
    WS_BACKOFF_JITTER,
    WS_CLIENT_QUEUE,
    WS_CONNECT_PATIENCE,
    WS_REFUSAL_TEXT,
    WS_STEADY,
)
from ..errors import AeroLabError, UsageError
from ..framing.l2_tunnel import DEFAULT_LIMITS, SUBPROTOCOL
from ..limits import RING_ARENA, RING_SLOTS
from ..rings.frame_ring import FrameRing
from .base import AskedEnd
from .tcp_info import WireCount, limit_segments, wire_count
from .websocket import WebSocketEnd

T = TypeVar("T")

TOKEN_PROTOCOL = "aero-l2-token."
ROUTES = ("/l2", "/eth", "/l3", "/tcp", "/tcp-mux", "/udp")
"""Paths that a proxy's URL may end in."""
TOKEN_TRANSPORTS = ("query", "subprotocol", "both")
FOR_GOOD = frozenset({400, 401, 403, 404, 405})
"""Answers to an upgrade that another attempt would get again."""


class ConnectFailed(AeroLabError):
    """There is no tunnel. ``for_good``: another attempt would end the same way."""

    def __init__(self, text: str, for_good: bool = False):
        super().__init__(text)
        self.for_good = for_good


class Uniform(Protocol):
    """The generator that jitter comes from."""

    def uniform(self, a: float, b: float, /) -> float: ...


def tunnel_url(base: str, token: str | None = None, route: str = "/l2") -> str:
    """URL of an endpoint at a proxy: ``http`` becomes ``ws``. A path that ends in an endpoint leads to the one at
    ``route`` instead (``/eth`` is another name of ``/l2``), any other path gets it at its end. With ``token`` the query
    carries it."""
    try:
        parts = urlsplit(base.strip())
        host = parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        host = None
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme.lower()) if host else None
    if scheme is None:
        raise UsageError(f"{base!r} is no address of a proxy: write for instance ws://127.0.0.1:8090/l2")
    path, named, last = parts.path.rstrip("/").rpartition("/")
    if named + last not in ROUTES:
        path += named + last
    elif route == "/l2" and last in ("l2", "eth"):
        path, route = parts.path, ""
    path += route
    query = parts.query
    if token is not None:
        others = [part for part in query.split("&") if part and part.partition("=")[0] != "token"]
        query = "&".join([*others, f"token={quote(token, safe='')}"])
    return urlunsplit((scheme, parts.netloc, path, query, ""))


def plain_url(url: str) -> str:
    """A URL that may be shown: without the query, which may hold a token, and without a password."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def origin_of(url: str) -> str:
    """The Origin of a page that the proxy itself would serve: what a same-host rule allows."""
    parts = urlsplit(url)
    return f"{'https' if parts.scheme == 'wss' else 'http'}://{parts.netloc.rpartition('@')[2]}"


def subprotocols(token: str | None, protocols: tuple[str, ...] = (SUBPROTOCOL,)) -> tuple[str, ...]:
    """What the client offers: the protocols it speaks, and its token as a last entry if there is one."""
    if token is None:
        return protocols
    if not re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", token):
        raise UsageError("this token cannot travel as a subprotocol (it has characters beyond RFC 7230's): use 'query'")
    return (*protocols, TOKEN_PROTOCOL + token)


def backoff(attempt: int, rng: Uniform) -> float:
    """Seconds to wait after the ``attempt``-th failure in a row, from 0."""
    wait = min(WS_BACKOFF_CAP, WS_BACKOFF_BASE * 2 ** min(attempt, 30))
    return wait * rng.uniform(1 - WS_BACKOFF_JITTER, 1 + WS_BACKOFF_JITTER)


class WebSocketClient(AskedEnd):
    """The client's end of a tunnel; :meth:`run` keeps it connected.

    Parameters
    ----------
    url: of the proxy, see :func:`tunnel_url`.
    wake: called on the loop when messages arrived, room came back, or the connection came or went.
    rng: generator of the jitter.
    token: credential, carried by ``token_transport``: ``"query"``, ``"subprotocol"`` or ``"both"``.
    origin: the Origin header; by default that of the proxy itself, None or ``""`` sends none.
    most: bytes of the largest message.
    reconnect: whether to connect again after a connection was lost or could not be made.
    carrier: called with True when there is a connection and False when there is none any more.
    max_segment: limit of the TCP segments' size, see :func:`~.tcp_info.limit_segments`; 0 leaves it alone.
    route: the endpoint there. protocols: those it may choose from; none: it chooses none.
    """

    def __init__(
        self,
        url: str,
        wake: Callable[[], None],
        rng: Uniform,
        *,
        token: str | None = None,
        token_transport: str = "query",
        origin: str | None = "same",
        most: int = DEFAULT_LIMITS.message,
        reconnect: bool = True,
        carrier: Callable[[bool], None] | None = None,
        max_segment: int = 0,
        queue_messages: int = WS_CLIENT_QUEUE,
        route: str = "/l2",
        protocols: tuple[str, ...] = (SUBPROTOCOL,),
    ):
        if token_transport not in TOKEN_TRANSPORTS:
            raise UsageError(f"a token travels by {', '.join(TOKEN_TRANSPORTS)}, not {token_transport!r}")
        self.url = tunnel_url(url, token if token_transport != "subprotocol" else None, route)
        self.received = FrameRing(RING_SLOTS, RING_ARENA)
        self.error: str | None = None
        """Why there is no connection, or why the last one ended."""
        self.connections = 0
        """Connections that were made so far."""
        self.protocol: str | None = None
        """The protocol that was chosen for the latest of them."""
        self.headers: Mapping[str, str] = {}
        """Of the answer that opened the latest of them."""
        self._spoken = protocols
        self._protocols = subprotocols(token if token_transport != "query" else None, protocols)
        self._origin = origin_of(self.url) if origin == "same" else origin
        self._wake, self._rng, self._most = wake, rng, most
        self._reconnect, self._carrier = reconnect, carrier
        self._max_segment, self._queue_messages = max_segment, queue_messages
        self._end: WebSocketEnd | None = None
        self._socket: Any = None
        self._stop = asyncio.Event()
        self._tried = asyncio.Event()
        self._over = False
        self._refused = False
        self._past: Counter[str] = Counter()
        self._past_wire = WireCount()
        self._seen_wire: WireCount | None = None
        self._refusal = ""  # what the server wrote when it refused
        self._given_up = ""  # why we ended the connection

    # As a transport -------------------------------------------------------------------------------------------------

    def send(self, ring: FrameRing, now: int) -> int:
        return self._end.send(ring, now) if self._end is not None else 0

    def taken(self) -> None:
        if self._end is not None:
            self._end.taken()

    @property
    def stalled(self) -> bool:
        return self._end is None or self._end.stalled

    @property
    def peer_closed(self) -> bool:
        return self._over

    @property
    def counters(self) -> dict[str, int]:
        counts = Counter(self._past)
        if self._end is not None:
            counts.update(_own(self._end))
        return {
            "messages_sent": counts["messages_sent"],
            "bytes_sent": counts["bytes_sent"],
            "messages_received": self.received.given,
            "bytes_received": self.received.given_bytes,
            "stalls": counts["stalls"],
            "text_messages": counts["text_messages"],
            "message_too_large": counts["message_too_large"],
            "connections": self.connections,
        }

    def close(self) -> None:
        """Close the connection and make no other; :meth:`run` returns a second later at most."""
        self._stop.set()
        if self._end is not None:
            self._end.close()

    # As a client ----------------------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        return self._end is not None

    @property
    def end(self) -> WebSocketEnd | None:
        """The end of the present connection."""
        return self._end

    @property
    def wire(self) -> WireCount | None:
        """What the connections cost on the wire so far, the lost ones as last seen; None where nobody counts."""
        now = wire_count(self._socket) if self._socket is not None else None
        if now is not None:
            self._seen_wire = self._past_wire.plus(now)
        return self._seen_wire

    async def opened(self) -> None:
        """Wait for the first connection; raises :class:`ConnectFailed` when the first attempt fails."""
        await self._tried.wait()
        if not self.connections:
            raise ConnectFailed(self.error or "the client was closed", self._refused)

    def restart(self, why: str) -> None:
        """Give this connection up and make another, for instance because nothing comes from it any more."""
        if self._end is not None:
            self._given_up = why
            self._end.finish(1000, why)

    async def run(self) -> None:
        """Connect, carry, connect again, until closed or refused for good."""
        failures = 0
        try:
            async with self._session() as session:
                while not self._stop.is_set():
                    began = monotonic()
                    try:
                        socket = await self._unless_stopped(self._connect(session))
                    except ConnectFailed as error:
                        self.error, self._refused = str(error), error.for_good
                    else:
                        if socket is None:
                            break
                        await self._carry(socket)
                        if monotonic() - began >= WS_STEADY:
                            failures = 0
                    self._tried.set()
                    if self._refused or not self._reconnect:
                        break
                    await self._unless_stopped(asyncio.sleep(backoff(failures, self._rng)))
                    failures += 1
        finally:
            self._over = True
            self._tried.set()
            self._wake()

    async def _carry(self, socket: Any) -> None:
        """One connection, from its beginning to its end."""
        end = WebSocketEnd(socket, self._wake, queue_messages=self._queue_messages, received=self.received)
        self._socket = socket.get_extra_info("socket")
        self._end, self.error, self._given_up = end, None, ""
        self.connections += 1
        if self._stop.is_set():
            end.close()
        self._tried.set()
        self._tell(True)
        try:
            await end.run()
        finally:
            self._past.update(_own(end))
            self._past_wire = self.wire or self._past_wire  # when the socket has gone: as last seen
            self._end = self._socket = None
            self.error = self._given_up or _why(end)
            self._tell(False)

    def _tell(self, carrier: bool) -> None:
        if self._carrier is not None:
            self._carrier(carrier)
        self._wake()

    def _session(self) -> ClientSession:
        async def note(session: ClientSession, context: Any, parameters: Any) -> None:
            # A server says in the body why it refuses; once the handshake has failed nobody can read it any more.
            if parameters.response.status == 101:
                self.headers = parameters.response.headers
            else:
                with contextlib.suppress(ClientError, OSError, TimeoutError):
                    text = await parameters.response.content.read(WS_REFUSAL_TEXT)
                    self._refusal = " ".join(text.decode(errors="replace").split())

        trace = TraceConfig()
        trace.on_request_end.append(note)
        limit = self._max_segment

        def factory(info: Any) -> sockets.socket:
            made = sockets.socket(*info[:3])
            if limit:
                limit_segments(made, limit)
            return made

        return ClientSession(
            connector=TCPConnector(socket_factory=factory),
            timeout=ClientTimeout(total=None, connect=WS_CONNECT_PATIENCE),
            trace_configs=[trace],
        )

    async def _connect(self, session: ClientSession) -> Any:
        where = plain_url(self.url)
        self._refusal = ""
        try:
            async with asyncio.timeout(WS_CONNECT_PATIENCE):
                socket = await session.ws_connect(
                    self.url,
                    protocols=self._protocols,
                    origin=self._origin or None,
                    max_msg_size=self._most + 1,  # aiohttp refuses a message of this size
                    autoping=False,
                    autoclose=False,
                )
        except WSServerHandshakeError as error:
            text = f"{where} refused the tunnel: {self._status(error.status)}"
            raise ConnectFailed(text, error.status in FOR_GOOD) from None
        except TimeoutError:
            raise ConnectFailed(f"{where} did not answer within {WS_CONNECT_PATIENCE:g} s") from None
        except (ClientError, OSError) as error:
            raise ConnectFailed(f"cannot connect to {where}: {reason(error)}") from None
        if self._spoken and socket.protocol not in self._spoken:
            await socket.close(code=1002)
            raise ConnectFailed(f"{where} does not speak {' or '.join(self._spoken)}", for_good=True)
        self.protocol = socket.protocol
        return socket

    def _status(self, status: int) -> str:
        try:
            name = f"{status} {HTTPStatus(status).phrase}"
        except ValueError:
            name = str(status)
        return f"{name}: {self._refusal}" if self._refusal else name

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The result of ``work``, or None when the client was closed meanwhile."""
        task, stop = asyncio.create_task(work), asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            for unfinished in (task, stop):
                unfinished.cancel()
            await asyncio.gather(task, stop, return_exceptions=True)

    def __repr__(self) -> str:
        state = "open" if self.connected else "over" if self._over else "not connected"
        return f"<WebSocketClient {plain_url(self.url)} {state}{': ' + self.error if self.error else ''}>"


def _own(end: WebSocketEnd) -> dict[str, int]:
    """Counters of one connection that a client adds up; what was received is counted by the common ring."""
    return {name: value for name, value in end.counters.items() if "_received" not in name}


def _why(end: WebSocketEnd) -> str:
    if end.closed_by == "loss":
        return "the connection was lost"
    return f"closed by {end.closed_by}: {end.close_code}{' ' + end.close_reason if end.close_reason else ''}"


def reason(error: BaseException) -> str:
    """The innermost cause in words: aiohttp wraps what the system said."""
    inner = getattr(error, "os_error", None) or error
    number = getattr(inner, "errno", None) or 0
    # asyncio words refusals its own way; a resolver's numbers are negative and no errno.
    text = os.strerror(number) if number > 0 else getattr(inner, "strerror", None) or str(inner)
    return " ".join(text.split()) or type(error).__name__
