"""The door: accepts TCP connections, and bounds how many there are that are no tunnel yet, and for how long.

aiohttp has no such bounds of its own: whoever opens connections and never finishes a request would fill the process.
The oldest waiting connection makes room for a new one, so that such a flood cannot shut others out.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable

from ..bounds import HTTP_PATIENCE, HTTP_WAITING, LISTEN_BACKLOG
from ..errors import UsageError
from ..limits import SECOND

_PAUSE = 0.1
"""Seconds to wait when the process has no descriptor left for another connection."""
_SHORT_OF = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens at ``host:port``; raises :class:`UsageError` when that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and host != "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen(LISTEN_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise UsageError(f"cannot listen at {host} port {port}: {error.strerror or error}") from None
    return sock


class Door:
    """Takes connections from a listening socket and gives each a protocol.

    Parameters
    ----------
    sock: the listening socket; the door closes it.
    protocol: makes the protocol of a new connection.
    dropped: told of each connection that was closed for being slow or for being one too many.
    tls: to speak TLS; handshakes are bounded in number and time as connections that ask nothing are.
    """

    def __init__(
        self,
        sock: socket.socket,
        protocol: Callable[[], asyncio.BaseProtocol],
        dropped: Callable[[], None],
        patience: int = HTTP_PATIENCE,
        most_waiting: int = HTTP_WAITING,
        tls: ssl.SSLContext | None = None,
    ):
        self._tls = tls
        self._shaking: dict[asyncio.Task[None], None] = {}  # handshakes under way, oldest first
        self._sock, self._protocol, self._dropped = sock, protocol, dropped
        self._patience, self._most = patience / SECOND, most_waiting
        self._waiting: dict[asyncio.BaseTransport, float] = {}  # -> deadline; the earliest comes first
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._task = self._loop.create_task(self._accept())

    @property
    def waiting(self) -> int:
        """Connections that are no tunnel (some may have closed without our having looked)."""
        return len(self._waiting)

    def asked(self, transport: asyncio.BaseTransport | None) -> None:
        """A whole request came: its connection may wait for the next one as long again."""
        if transport is not None and self._waiting.pop(transport, None) is not None:
            self._wait(transport)

    def through(self, transport: asyncio.BaseTransport | None) -> None:
        """A connection has become a tunnel, which has other bounds."""
        if transport is not None:
            self._waiting.pop(transport, None)

    def shut(self) -> None:
        """Accept nothing more; connections that are there stay."""
        # The socket goes when the loop has stopped watching it, so that its number is not another's by then.
        self._task.add_done_callback(lambda _: self._sock.close())
        self._task.cancel()

    def close(self) -> None:
        """Close those that wait as well. May be called twice."""
        self.shut()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for transport in self._waiting:
            transport.close()
        self._waiting.clear()
        for task in self._shaking:
            task.cancel()

    async def _accept(self) -> None:
        while True:
            try:
                conn, _ = await self._loop.sock_accept(self._sock)
            except OSError as error:
                if error.errno in _SHORT_OF:
                    self._make_room()
                    await asyncio.sleep(_PAUSE)
                elif self._sock.fileno() < 0:
                    return
                continue  # else that one connection was reset before it was accepted
            if self._tls is not None:
                self._shake(conn)
                continue
            await self._take(conn)

    def _shake(self, conn: socket.socket) -> None:
        """Take a connection as soon as its handshake is done; others need not wait for it."""
        if len(self._shaking) >= self._most:
            for oldest in self._shaking:
                oldest.cancel()
                self._dropped()
                break
        task = self._loop.create_task(self._take(conn))
        self._shaking[task] = None
        task.add_done_callback(lambda done: self._shaking.pop(done, None))

    async def _take(self, conn: socket.socket) -> None:
        patience = {"ssl_handshake_timeout": self._patience} if self._tls is not None else {}
        try:
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            conn.close()
            return
        try:
            transport, _ = await self._loop.connect_accepted_socket(self._protocol, conn, ssl=self._tls, **patience)
        except OSError:  # the handshake failed, or took too long; the loop closes what it was given
            self._dropped()
            return
        if len(self._waiting) >= self._most:
            self._sweep(closed_only=True)
        if len(self._waiting) >= self._most:
            self._make_room()
        self._wait(transport)

    def _wait(self, transport: asyncio.BaseTransport) -> None:
        self._waiting[transport] = self._loop.time() + self._patience
        if self._timer is None:
            self._timer = self._loop.call_later(self._patience, self._look)

    def _make_room(self) -> None:
        for transport in self._waiting:
            self._drop(transport)
            return

    def _look(self) -> None:
        self._timer = None
        self._sweep()
        for deadline in self._waiting.values():
            self._timer = self._loop.call_at(deadline, self._look)
            break

    def _sweep(self, closed_only: bool = False) -> None:
        now = self._loop.time()
        for transport, deadline in list(self._waiting.items()):
            if transport.is_closing():
                del self._waiting[transport]
            elif closed_only:
                continue
            elif deadline <= now:
                self._drop(transport)
            else:
                break

    def _drop(self, transport: asyncio.BaseTransport) -> None:
        del self._waiting[transport]
        if not transport.is_closing():
            self._dropped()
        transport.abort()  # type: ignore[attr-defined]
