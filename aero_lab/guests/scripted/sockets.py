"""Sockets as tasks see them: TCP connections, UDP ports and echo requests of the guest's stack."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ...limits import NEIGHBOUR_PATIENCE, NEIGHBOUR_RETRY, NEVER, UDP_SOCKET_QUEUE
from .tasks import Signal, TaskError, TaskGenerator, TaskTimeout, Wait

if TYPE_CHECKING:
    from .guest import ScriptedGuest

View = bytes | bytearray | memoryview


class TcpSocket:
    """One TCP connection. Made by :meth:`ScriptedGuest.connect`."""

    __slots__ = ("_finished", "_guest", "connection", "ended", "established_at", "opened_at", "reason", "signal")

    def __init__(self, guest: ScriptedGuest, connection: Any, now: int):
        self._guest = guest
        self.connection = connection
        """The stack's connection."""
        self.signal = Signal()
        """Fires on every event of the connection."""
        self.opened_at = now
        """When the SYN was asked for (ns)."""
        self.established_at: int | None = None
        self.ended = False
        """The peer sent FIN, or the connection is over; unread bytes may remain."""
        self._finished = False
        self.reason: str | None = None
        """Why the connection is over, in the stack's words; None while it is not."""

    # Events, told by the guest.

    def _established(self, now: int) -> None:
        if self.established_at is None:
            self.established_at = now
        self.signal.fire()

    def _end_of_stream(self) -> None:
        self.ended = True
        self.signal.fire()

    def _closed(self, reason: str) -> None:
        self.ended, self.reason = True, reason
        self.signal.fire()

    @property
    def connect_ns(self) -> int | None:
        """Time from SYN to establishment (ns)."""
        return None if self.established_at is None else self.established_at - self.opened_at

    def _check(self) -> None:
        """Raise when the connection ended otherwise than in good order."""
        if self.reason not in (None, "closed"):
            raise TaskError(self.reason, "connection")

    # Receiving.

    def readable(self, until: int = NEVER) -> TaskGenerator:
        """Task: wait for bytes. True when there are some, False at the end of the stream; raises on reset, timeout."""
        connection = self.connection
        while not connection.readable:
            self._check()
            if self.ended:
                return False
            if not (yield Wait((self.signal,), until)):
                raise TaskTimeout("no data")
        return True

    def drain(self, sink: Callable[[memoryview], Any], most: int) -> int:
        """Hand up to ``most`` waiting bytes to ``sink``, as views into the receive buffer. Returns how many.

        The views are good during the call only.
        """
        taken = 0
        for view in self.connection.peek():
            piece = view[: most - taken]
            if len(piece):
                sink(piece)
                taken += len(piece)
        if taken:
            self.connection.consume(taken, self._guest.now)
        return taken

    def receive(self, most: int = 65536, until: int = NEVER) -> TaskGenerator:
        """Task: up to ``most`` bytes as soon as there are any; ``b""`` at the end of the stream."""
        if not (yield from self.readable(until)):
            return b""
        parts: list[bytes] = []
        self.drain(lambda view: parts.append(bytes(view)), most)
        return b"".join(parts)

    def receive_exactly(self, size: int, until: int = NEVER) -> TaskGenerator:
        """Task: exactly ``size`` bytes; raises ``end-of-stream`` when the peer stops before."""
        parts: list[bytes] = []
        missing = size
        while missing:
            if not (yield from self.readable(until)):
                raise TaskError("end-of-stream", f"{missing} of {size} bytes missing")
            missing -= self.drain(lambda view: parts.append(bytes(view)), missing)
        return b"".join(parts)

    # Sending.

    def send(self, data: View, until: int = NEVER) -> TaskGenerator:
        """Task: hand all of ``data`` to the stack, waiting for room as often as needed."""
        view = memoryview(data)
        while len(view):
            self._check()
            if self.reason is not None:
                raise TaskError("closed", "connection")
            accepted = self.connection.write(view, self._guest.now)
            view = view[accepted:]
            if len(view) and not accepted and not (yield Wait((self.signal,), until)):
                raise TaskTimeout("no room to send")

    def shutdown(self) -> None:
        """Send FIN behind what is queued."""
        self.connection.shutdown(self._guest.now)

    def abort(self) -> None:
        """Send RST and forget the connection; one that both sides have closed is left to its TIME-WAIT."""
        if self.reason is None and not self._finished:
            self.connection.abort(self._guest.now)

    def finish(self, until: int = NEVER) -> TaskGenerator:
        """Task: close our side, read and discard until the peer has closed its own."""
        if self.reason is None:
            self.shutdown()
        while (yield from self.readable(until)):
            self.drain(lambda view: None, 1 << 30)
        self._finished = True


class Arrival(NamedTuple):
    """One datagram, with the time (ns) at which the guest saw it."""

    payload: bytes
    source: bytes
    port: int
    at: int


class UdpSocket:
    """A UDP port of the guest. At most ``UDP_SOCKET_QUEUE`` datagrams wait; beyond that the newest is dropped."""

    def __init__(self, guest: ScriptedGuest, port: int):
        self._guest = guest
        self.port = port
        self.queue: deque[Arrival] = deque()
        self.dropped = 0
        """Datagrams that found the queue full."""
        self.error: str | None = None
        """What an ICMP error said about a datagram sent from here; cleared when raised."""
        self.signal = Signal()

    def _arrived(self, arrival: Arrival) -> None:
        if len(self.queue) < UDP_SOCKET_QUEUE:
            self.queue.append(arrival)
            self.signal.fire()
        else:
            self.dropped += 1

    def _failed(self, why: str) -> None:
        self.error = why
        self.signal.fire()

    def try_send(self, address: bytes, port: int, payload: bytes) -> bool:
        """Send now. False when the next hop's address is not known yet, or there is no room."""
        guest = self._guest
        source = guest.source_for(address)
        return source is not None and guest.stack.udp_send(source, self.port, address, port, payload, guest.now)

    def send(self, address: bytes, port: int, payload: bytes) -> TaskGenerator:
        """Task: send, waiting for the next hop's address; raises ``unreachable`` when it does not come."""
        guest = self._guest
        give_up = guest.now + NEIGHBOUR_PATIENCE
        while not self.try_send(address, port, payload):
            if guest.now >= give_up:
                raise TaskError("unreachable", "no answer from the next hop")
            yield Wait((guest.neighbours,), guest.now + NEIGHBOUR_RETRY)

    def receive(self, until: int = NEVER) -> TaskGenerator:
        """Task: the next :class:`Arrival`; raises on timeout and on an ICMP error about this port."""
        while not self.queue:
            if self.error is not None:
                why, self.error = self.error, None
                raise TaskError(why)
            if not (yield Wait((self.signal,), until)):
                raise TaskTimeout("no datagram")
        return self.queue.popleft()

    def close(self) -> None:
        """Free the port."""
        self._guest._udp.pop(self.port, None)


class EchoSocket:
    """Echo requests under one identifier."""

    def __init__(self, guest: ScriptedGuest, identifier: int):
        self._guest = guest
        self.identifier = identifier
        self.replies: dict[int, Arrival] = {}
        """Answers by sequence number, not yet taken."""
        self.errors: dict[int, str] = {}
        """ICMP errors by sequence number."""
        self.signal = Signal()
        self._wanted: set[int] = set()

    def _arrived(self, sequence: int, arrival: Arrival) -> None:
        if sequence in self._wanted:  # what nobody asked for is not kept
            self._wanted.discard(sequence)
            self.replies[sequence] = arrival
            self.signal.fire()

    def _failed(self, sequence: int, why: str) -> None:
        if sequence in self._wanted:
            self._wanted.discard(sequence)
            self.errors[sequence] = why
            self.signal.fire()

    def exchange(self, address: bytes, sequence: int, payload: bytes, timeout: int) -> TaskGenerator:
        """Task: send one request and wait ``timeout`` (ns) for its reply: ``(sent_at, Arrival)``, or None without one.

        Raises :class:`TaskError` with what an ICMP error said.
        """
        guest = self._guest
        source = guest.source_for(address)
        until = guest.now + timeout
        if source is None:
            raise TaskError("unreachable", "no address of this family")
        self._wanted.add(sequence)
        try:
            while not guest.stack.icmp_echo(source, address, self.identifier, sequence, payload, guest.now):
                if guest.now >= until:
                    return None
                yield Wait((guest.neighbours,), min(guest.now + NEIGHBOUR_RETRY, until))
            sent = guest.now
            while sequence not in self.replies:
                if sequence in self.errors:
                    raise TaskError(self.errors.pop(sequence))
                if not (yield Wait((self.signal,), until)) and sequence not in self.replies:
                    return None
            return sent, self.replies.pop(sequence)
        finally:
            self._wanted.discard(sequence)

    def close(self) -> None:
        """Forget the identifier."""
        self._guest._echo.pop(self.identifier, None)
