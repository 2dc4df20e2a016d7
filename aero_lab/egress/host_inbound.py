"""Sockets of this host that wait for somebody outside: the host's side of a forward to a guest."""

from __future__ import annotations

import errno
import selectors
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from ..bounds import FORWARD_ACCEPTS, FORWARD_BACKLOG, FORWARD_REST
from ..errors import UsageError
from ..limits import EGRESS_DATAGRAMS, NEVER
from ..wire.address import ip_text
from .host_flow import LINGER_RESET, HostFlow
from .selector import LateSelector

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Listener:
    """One listening TCP socket, or one UDP socket with all the peers that speak to it."""

    __slots__ = ("number", "kind", "sock", "peers", "rests_until")

    def __init__(self, number: int, kind: str, sock: socket.socket):
        self.number, self.kind, self.sock = number, kind, sock
        self.peers: dict[Any, int] = {}
        """UDP: the peer's socket address -> the number of its flow."""
        self.rests_until = NEVER
        """While the host has no descriptor to spare nobody is taken in: asking again at once would be a busy loop."""

    @classmethod
    def open(cls, number: int, kind: str, address: bytes, port: int, selector: LateSelector) -> Listener:
        """Bind and listen. Raises :class:`UsageError` in one line."""
        family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
        sock = None
        try:
            sock = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
            sock.setblocking(False)
            if kind == "tcp":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((ip_text(address), port))
            if kind == "tcp":
                sock.listen(FORWARD_BACKLOG)
            made = cls(number, kind, sock)
            selector.register(sock, selectors.EVENT_READ, made)
        except (OSError, OverflowError) as error:
            if sock is not None:
                sock.close()
            why = error.strerror if isinstance(error, OSError) else "a port is 0 to 65535"
            raise UsageError(f"cannot listen on {ip_text(address)} port {port}: {why}") from None
        return made

    @staticmethod
    def endpoint(where: Any) -> tuple[bytes, int]:
        """Packed address and port of a socket address."""
        text = where[0].partition("%")[0]
        return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text), where[1]

    def accept(
        self, selector: LateSelector, counters: Counter[str], now: int
    ) -> Iterator[tuple[socket.socket, tuple[bytes, int]]]:
        """Connections that wait, some at a time."""
        for _ in range(FORWARD_ACCEPTS):
            try:
                sock, where = self.sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                counters["accept-failed"] += 1
                if error.errno in _EXHAUSTED:
                    selector.unregister(self.sock)
                    self.rests_until = now + FORWARD_REST
                    return
                continue  # that one has gone again
            sock.setblocking(False)
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError:
                pass
            yield sock, self.endpoint(where)
            if self.sock.fileno() < 0:
                return

    def wake_up(self, selector: LateSelector, now: int) -> None:
        """Take connections again after a rest."""
        if self.rests_until <= now:
            self.rests_until = NEVER
            selector.register(self.sock, selectors.EVENT_READ, self)

    def close(self, selector: LateSelector) -> None:
        if self.sock.fileno() >= 0:
            if self.rests_until == NEVER:
                selector.unregister(self.sock)
            self.sock.close()


class Listening:
    """Forwards of an egress on host sockets; the rest of it is what :class:`.host.HostEgress` gives."""

    sink: Any
    _flows: dict[int, HostFlow]
    _count: Counter[str]
    _listeners: dict[int, Listener]
    _scratch: memoryview
    _selector: LateSelector
    close: Callable[[int, int], None]

    def listen(self, listener: int, kind: str, address: bytes, port: int, now: int) -> tuple[bytes, int]:
        if listener in self._listeners:
            raise ValueError(f"listener {listener} is already open")
        made = self._listeners[listener] = Listener.open(listener, kind, address, port, self._selector)
        return made.endpoint(made.sock.getsockname())

    def unlisten(self, listener: int, now: int) -> None:
        gone = self._listeners.pop(listener, None)
        if gone is not None:
            for flow in list(gone.peers.values()):
                self.close(flow, now)
            gone.close(self._selector)

    def _came(self, listener: Listener, now: int) -> int:
        """Connections or datagrams from outside; returns the bytes."""
        if listener.kind == "tcp":
            for sock, peer in listener.accept(self._selector, self._count, now):
                flow = self.sink.accepted(listener.number, peer, now)
                if flow is None:
                    self._count["tcp-turned-away"] += 1
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
                    sock.close()
                    continue
                f = self._flows[flow] = HostFlow(flow, sock, "tcp")
                f.state, f.paused = "open", True
                self._count["tcp-accepted"] += 1
            return 0
        total = 0
        for _ in range(EGRESS_DATAGRAMS):
            try:
                size, where = listener.sock.recvfrom_into(self._scratch)
            except OSError:  # nothing left, or news of an earlier answer that was not wanted
                break
            total += size
            flow = listener.peers.get(where)
            if flow is None:
                flow = self.sink.accepted(listener.number, listener.endpoint(where), now)
                if flow is None:
                    self._count["udp-turned-away"] += 1
                    continue
                f = self._flows[flow] = HostFlow(flow, None, "udp")
                f.state, f.via, f.peer = "open", listener, where
                listener.peers[where] = flow
            self._count["udp-datagrams-down"] += 1
            self.sink.datagram(flow, bytes(self._scratch[:size]), now)
            if listener.number not in self._listeners:
                break
        return total
