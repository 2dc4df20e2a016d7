"""What a service is: an application protocol without I/O, so that one implementation serves real sockets and virtual
time.

The host of a session does three things, in any order and as often as it likes: hands over bytes that arrived, at most
:attr:`Session.room`; tells when the peer has sent its last; and pulls output, as much as the connection takes. When
:attr:`Session.done` is true and no output is left, it closes the connection.
"""

from __future__ import annotations

from typing import Any, Protocol

from ..limits import SERVICE_BUFFER

Chunk = bytes | bytearray | memoryview


class Session(Protocol):
    """One connection's conversation."""

    @property
    def room(self) -> int:
        """Bytes it takes now; 0 while its peer does not read."""
        ...

    @property
    def done(self) -> bool:
        """It takes nothing more and, when :meth:`output` is empty, sends nothing more: close."""
        ...

    @property
    def working(self) -> bool:
        """:meth:`output` gave nothing because it has to compute first: pull again soon, others may go before."""
        ...

    def data(self, view: Chunk) -> None:
        """Bytes that arrived, at most :attr:`room`. The view is valid during the call only."""

    def eof(self) -> None:
        """The peer sends no more."""

    def output(self, most: int) -> Chunk:
        """Up to ``most`` bytes to send now, empty for none. They are taken for sent."""
        ...


class Service(Protocol):
    """A stream protocol: makes a session a connection."""

    def connected(self, conn: Any = None) -> Session: ...


class DatagramService(Protocol):
    """A datagram protocol."""

    def datagram(self, payload: bytes, source: tuple[bytes, int], now: int) -> bytes | None:
        """The answer to one datagram from (address, port) at ``now``, or None."""
        ...


class Echo:
    """RFC 862 over a stream: what comes in goes out. Holds :data:`SERVICE_BUFFER` bytes for a peer that does not
    read."""

    def connected(self, conn: Any = None) -> EchoSession:
        return EchoSession()


class EchoSession:
    working = False

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._ended = False

    @property
    def room(self) -> int:
        return SERVICE_BUFFER - len(self._buffer)

    @property
    def done(self) -> bool:
        return self._ended

    def data(self, view: Chunk) -> None:
        self._buffer += view

    def eof(self) -> None:
        self._ended = True

    def output(self, most: int) -> Chunk:
        if len(self._buffer) <= most:
            taken, self._buffer = self._buffer, bytearray()
            return taken
        taken = bytes(self._buffer[:most])
        del self._buffer[:most]
        return taken


class Sink:
    """RFC 863: throws away what comes in."""

    def __init__(self) -> None:
        self.received = 0
        """Bytes thrown away over all sessions."""

    def connected(self, conn: Any = None) -> SinkSession:
        return SinkSession(self)


class SinkSession:
    room = 1 << 30
    working = False

    def __init__(self, service: Sink):
        self._service = service
        self.done = False

    def data(self, view: Chunk) -> None:
        self._service.received += len(view)

    def eof(self) -> None:
        self.done = True

    def output(self, most: int) -> Chunk:
        return b""
