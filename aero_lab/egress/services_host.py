"""The hermetic services on real loopback sockets: what a lab's forward map leads to when its guests talk to real
sockets.

One non-blocking socket a connection, watched by the asyncio loop. Output is pulled from a session only as the kernel
takes it, input is read only as the session has room, so a session's memory is bounded by its own buffer.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections import Counter
from collections.abc import Callable

from ..clock import RealClock
from ..limits import EGRESS_DATAGRAM_SIZE, EGRESS_DATAGRAMS, EGRESS_READ, SERVICE_SESSIONS
from ..services.base import DatagramService, Service, Session
from ..services.catalogue import CATALOGUE, Offer, Services, endpoints, make_services

Endpoint = tuple[bytes, int]
_NO_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
TURN_BYTES = 1 << 20
"""Bytes one connection may send before the others get their turn."""


class ServicesHost:
    """All services of a catalogue on ports of ``host`` that the kernel picks.

    Parameters
    ----------
    services: the running services; a fresh set by default.
    now: clock of the datagram services, nanoseconds. The machine's monotonic clock by default, which guests on this
    machine share. host: address to listen on.
    host6: IPv6 address to listen on as well; where this machine has none, what is aimed at a service over IPv6 is led
        to ``host``, so that guests need not care.
    """

    def __init__(
        self,
        services: Services | None = None,
        now: Callable[[], int] | None = None,
        host: str = "127.0.0.1",
        host6: str | None = "::1",
        catalogue: tuple[Offer, ...] = CATALOGUE,
    ):
        self.now = now or RealClock().now
        self.services = services or make_services(epoch=_epoch(self.now))
        self.host, self.host6 = host, host6
        self._catalogue = catalogue
        self.forward_tcp: dict[Endpoint, Endpoint] = {}
        """(lab address, port) -> (loopback address, port), filled by :meth:`start`."""
        self.forward_udp: dict[Endpoint, Endpoint] = {}
        self.ports: dict[str, int] = {}
        """IPv4 port of each service by its name, stream and datagram services alike."""
        self.counters: Counter[str] = Counter()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: list[socket.socket] = []
        self._scratch = memoryview(bytearray(EGRESS_READ))
        self._connections: set[_Connection] = set()

    def start(self, loop: asyncio.AbstractEventLoop) -> ServicesHost:
        """Listen; call it on the loop's thread. Raises :class:`OSError` when the host has no sockets left."""
        self._loop = loop
        tcp, udp = endpoints(self._catalogue)
        listening: dict[tuple[str, int], Endpoint] = {}  # (service, size of the address) -> where it listens
        try:
            for offers, forwards, listen in (
                (tcp, self.forward_tcp, self._listen),
                (udp, self.forward_udp, self._bind),
            ):
                for where, name in offers.items():
                    key = (name, len(where[0]))
                    if key not in listening:
                        # The catalogue names IPv4 endpoints first, so there is one to fall back to.
                        found = listen(name, self.host if len(where[0]) == 4 else self.host6)
                        listening[key] = found or listening[name, 4]
                    forwards[where] = listening[key]
        except OSError:
            self.stop()
            raise
        self.ports.update({name: port for (name, size), (_, port) in listening.items() if size == 4})
        return self

    def stop(self) -> None:
        """Close listeners and connections; call it on the loop's thread. May be called twice."""
        for sock in self._listeners:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(sock)
            sock.close()
        self._listeners.clear()
        for connection in list(self._connections):
            connection.close()

    @property
    def sessions(self) -> int:
        """Connections open now."""
        return len(self._connections)

    def _socket(self, kind: socket.SocketKind, host: str | None) -> socket.socket | None:
        """A bound socket; None for an IPv6 address that this machine does not have. Raises :class:`OSError`."""
        if host is None:
            return None
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = None
        try:
            sock = socket.socket(family, kind)
            sock.bind((host, 0))
        except OSError as error:
            if sock is not None:
                sock.close()
            if family == socket.AF_INET6 and error.errno in _NO_ADDRESS:
                self.counters["no-ipv6"] += 1
                return None
            raise
        self._listeners.append(sock)
        sock.setblocking(False)
        return sock

    def _listen(self, name: str, host: str | None) -> Endpoint | None:
        assert self._loop is not None
        sock = self._socket(socket.SOCK_STREAM, host)
        if sock is None:
            return None
        sock.listen(1024)
        self._loop.add_reader(sock, self._accept, sock, self.services.stream[name])
        return _endpoint(sock)

    def _accept(self, listener: socket.socket, service: Service) -> None:
        assert self._loop is not None
        for _ in range(64):
            try:
                sock, _ = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                # No descriptors left: this listener would be readable for ever, so let the loop breathe first.
                self.counters["accept-failed"] += 1
                self._loop.remove_reader(listener)
                self._loop.call_later(0.1, self._listen_again, listener, service)
                return
            if len(self._connections) >= SERVICE_SESSIONS:
                self.counters["too-many-sessions"] += 1
                sock.close()
                continue
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.counters["sessions"] += 1
            forget = self._connections.discard
            connection = _Connection(self._loop, sock, service.connected(sock), self._scratch, forget)
            self._connections.add(connection)
            connection.start()

    def _listen_again(self, listener: socket.socket, service: Service) -> None:
        if listener in self._listeners and self._loop is not None:
            self._loop.add_reader(listener, self._accept, listener, service)

    def _bind(self, name: str, host: str | None) -> Endpoint | None:
        assert self._loop is not None
        sock = self._socket(socket.SOCK_DGRAM, host)
        if sock is None:
            return None
        self._loop.add_reader(sock, self._datagrams, sock, self.services.datagram[name])
        return _endpoint(sock)

    def _datagrams(self, sock: socket.socket, service: DatagramService) -> None:
        for _ in range(EGRESS_DATAGRAMS):
            try:
                payload, source = sock.recvfrom(EGRESS_DATAGRAM_SIZE)
            except OSError:  # nothing left, or word that an earlier answer found nobody
                return
            self.counters["datagrams"] += 1
            answer = service.datagram(payload, (socket.inet_pton(sock.family, source[0]), source[1]), self.now())
            if answer is not None:
                try:
                    sock.sendto(answer, source)
                except OSError:
                    self.counters["datagram-not-sent"] += 1


class _Connection:
    """One connection of a stream service."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        session: Session,
        scratch: memoryview,
        forget: Callable[[_Connection], None],
    ):
        self._loop, self._sock, self._session, self._forget = loop, sock, session, forget
        self._scratch = scratch
        self._pending = memoryview(b"")
        self._reading = self._writing = self._ended = self._shut = self._closed = self._soon = False

    def start(self) -> None:
        self._read_on()
        self._pump()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if not self._loop.is_closed():
            if self._reading:
                self._loop.remove_reader(self._sock)
            if self._writing:
                self._loop.remove_writer(self._sock)
        self._sock.close()
        self._forget(self)

    def _readable(self) -> None:
        room = min(self._session.room, EGRESS_READ)
        if room <= 0:
            self._reading = False
            self._loop.remove_reader(self._sock)
            return
        try:
            size = self._sock.recv_into(self._scratch, room)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        if size:
            self._session.data(self._scratch[:size])
        else:
            self._ended = True
            self._reading = False
            self._loop.remove_reader(self._sock)
            self._session.eof()
            if self._shut:
                self.close()
                return
        self._pump()

    def _pump_again(self) -> None:
        self._soon = False
        self._pump()

    def _pump(self) -> None:
        """Send what the session has, as far as the kernel takes it."""
        if self._closed or self._shut:
            return
        budget = TURN_BYTES
        blocked = False
        try:
            while budget > 0:
                if not len(self._pending):
                    self._pending = memoryview(self._session.output(EGRESS_READ))
                    if not len(self._pending):
                        if self._session.working and not self._soon:
                            self._soon = True
                            self._loop.call_soon(self._pump_again)
                        break
                sent = self._sock.send(self._pending)
                budget -= sent
                blocked = sent < len(self._pending)
                self._pending = self._pending[sent:]
                if blocked:
                    break
        except (BlockingIOError, InterruptedError):
            blocked = True
        except OSError:
            self.close()
            return
        self._write_on(blocked or budget <= 0)
        if self._session.done and not self._writing:
            self._finish()
        elif not self._ended:
            self._read_on()

    def _finish(self) -> None:
        """Nothing left to send: FIN, and close when the peer has sent its own. Closing with bytes unread would
        reset."""
        self._shut = True
        if self._ended:
            self.close()
            return
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self._read_on()

    def _read_on(self) -> None:
        if not self._reading and not self._ended and self._session.room > 0:
            self._reading = True
            self._loop.add_reader(self._sock, self._readable)

    def _write_on(self, wanted: bool) -> None:
        if wanted != self._writing:
            self._writing = wanted
            if wanted:
                self._loop.add_writer(self._sock, self._pump)
            else:
                self._loop.remove_writer(self._sock)


def _epoch(now: Callable[[], int]) -> int:
    return time.time_ns() - now()


def _endpoint(sock: socket.socket) -> Endpoint:
    """Where a bound socket is, packed."""
    host, port = sock.getsockname()[:2]
    return socket.inet_pton(sock.family, host), port
