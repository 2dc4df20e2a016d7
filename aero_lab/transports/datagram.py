"""An unordered, lossy message channel that is real: one UDP datagram a message, on loopback.

The tunnel's contract asks for a channel that delivers everything in order, and the original needs one. Ours does not:
a message that is lost, late, doubled or out of turn is a frame to which just that happened, and frames may be lost. The
guest's TCP puts it right, as it does on any network. What a channel like this promises is what UDP promises: a message
comes whole or not at all.

Loopback alone loses only what bursts beyond its buffers. :class:`Splice` puts a :class:`~aero_lab.link.Link` in front,
which loses, doubles, delays and reorders by a seed.
"""

from __future__ import annotations

import contextlib
import socket
from collections import Counter
from time import monotonic_ns

from ..bounds import DATAGRAM_BUFFER, DATAGRAM_MOST, DATAGRAMS_AT_ONCE
from ..errors import UsageError
from ..limits import NEVER, RING_ARENA, RING_SLOTS
from ..rings.frame_ring import FrameRing
from .base import TransportEnd


class DatagramEnd(TransportEnd):
    """One end of a connected pair of UDP sockets; takes the socket over.

    Nothing waits here for room: what the system's buffer does not take, or what finds :attr:`received` full, is lost
    and counted, as on a network.
    """

    reliable = False

    def __init__(self, sock: socket.socket, slots: int = RING_SLOTS, arena: int = RING_ARENA):
        if sock.type != socket.SOCK_DGRAM:
            raise UsageError("a datagram channel needs a datagram socket")
        sock.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, DATAGRAM_BUFFER)
        self.received = FrameRing(slots, arena)
        self._sock: socket.socket | None = sock
        self._gone = False
        self._counts: Counter[str] = Counter()

    def send(self, ring: FrameRing, now: int) -> int:
        sent = 0
        while self._sock is not None and not self._gone and (batch := ring.pop_many(DATAGRAMS_AT_ONCE)):
            for message in batch:
                sent += 1
                self._send(message.data)
        return sent

    def _send(self, message: bytes) -> None:
        assert self._sock is not None
        if len(message) > DATAGRAM_MOST:
            self._counts["too_large"] += 1
            return
        try:
            self._sock.send(message)
        except BlockingIOError:
            self._counts["send_full"] += 1
        except ConnectionError:  # nobody is at the other end any more
            self._gone = True
        except OSError:
            self._counts["send_failed"] += 1
        else:
            self._counts["messages_sent"] += 1
            self._counts["bytes_sent"] += len(message)

    def taken(self) -> None:
        """The other end does not wait."""

    def kick(self) -> None:
        """An empty datagram: no message, but it wakes."""
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.send(b"")

    @property
    def wake_fd(self) -> int:
        return self._sock.fileno() if self._sock is not None else -1

    def clear_wake(self) -> None:
        """Take what arrived, up to a bound; when there is more, :attr:`wake_fd` stays readable."""
        for _ in range(DATAGRAMS_AT_ONCE):
            if self._sock is None:
                return
            try:
                message = self._sock.recv(0xFFFF)
            except BlockingIOError:
                return
            except ConnectionError:
                self._gone = True
                return
            if message and not self.received.push(message, monotonic_ns()):
                self._counts["received_full"] += 1

    @property
    def stalled(self) -> bool:
        return self._sock is None or self._gone

    @property
    def peer_closed(self) -> bool:
        return self._gone

    @property
    def counters(self) -> dict[str, int]:
        """As every end, and what was lost here, by reason."""
        names = ("messages_sent", "bytes_sent", "send_full", "send_failed", "received_full", "too_large")
        return {
            "messages_received": self.received.given,
            "bytes_received": self.received.given_bytes,
            "stalls": 0,
            **{name: self._counts[name] for name in names},
        }

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def __repr__(self) -> str:
        state = "closed" if self._sock is None else "alone" if self._gone else "open"
        return f"<DatagramEnd {state}, {len(self.received)} received>"


def datagram_pair(slots: int = RING_SLOTS, arena: int = RING_ARENA) -> tuple[DatagramEnd, DatagramEnd]:
    """Two ends over UDP on loopback, each of which hears the other alone."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        sockets[0].connect(sockets[1].getsockname())
        sockets[1].connect(sockets[0].getsockname())
        return DatagramEnd(sockets[0], slots, arena), DatagramEnd(sockets[1], slots, arena)
    except BaseException:
        for sock in sockets:
            sock.close()
        raise


class Splice:
    """A node that joins two transports end to end: what arrives at one is sent by the other."""

    name = "splice"

    def __init__(self, a: TransportEnd, b: TransportEnd):
        self.ends = a, b

    def step(self, now: int) -> None:
        for source, target in (self.ends, self.ends[::-1]):
            if len(source.received) and target.send(source.received, now):
                source.taken()

    def poll_at(self, now: int) -> int:
        a, b = self.ends
        return now if (len(a.received) and not b.stalled) or (len(b.received) and not a.stalled) else NEVER
