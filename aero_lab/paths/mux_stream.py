"""A stream of a tcp-mux connection as one end sees it, and what it is joined to."""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from ..framing.tcp_mux import FIRST_CREDIT, Open

UNLIMITED = 1 << 62


class Stream:
    """One stream, as this end sees it."""

    __slots__ = (
        "buffer",
        "buffered",
        "burst",
        "context",
        "credit",
        "fin_in",
        "fin_out",
        "granted",
        "id",
        "in_line",
        "offset",
        "promised",
        "round",
        "taken",
        "told_fin",
        "wants_credit",
        "window",
    )

    def __init__(self, number: int, context: Any, version: int):
        self.id = number
        self.context = context
        self.credit = FIRST_CREDIT if version == 2 else UNLIMITED  # bytes that we may send
        self.granted = FIRST_CREDIT if version == 2 else UNLIMITED  # bytes that the peer may send
        self.window = FIRST_CREDIT
        self.taken = 0  # by the owner, since the last CREDIT
        self.buffer: deque[bytes] = deque()
        self.offset = 0  # of the first of them that was taken
        self.buffered = 0
        self.in_line = False  # waits for room in the ring
        self.promised = False  # it has waited, and a message's worth of room is kept for it
        self.round = self.burst = 0  # what it sent since the last flush, and which that was
        self.wants_credit = False
        self.fin_in = self.fin_out = self.told_fin = False


class MuxOwner(Protocol):
    """What a port's streams are joined to. Called from the port's ``receive`` and ``flush`` only."""

    def room(self, stream: Stream) -> int:
        """Bytes that are taken now; 0: none until :meth:`~.mux_port.MuxPort.deliver` is called."""
        ...

    def data(self, stream: Stream, view: memoryview, now: int) -> int:
        """Bytes from the peer, at most :meth:`room`; the view is valid during the call only. Returns how many were
        taken; after fewer none are offered until :meth:`~.mux_port.MuxPort.deliver` is called."""
        ...

    def writable(self, stream: Stream, now: int) -> None:
        """After a :meth:`~.mux_port.MuxPort.send` that was cut short: there is room again."""

    def finished(self, stream: Stream, now: int) -> None:
        """The peer sends no more on this stream, and everything before has been taken."""

    def aborted(self, stream: Stream, now: int) -> None:
        """The peer reset the stream, or broke its rules; it is gone."""

    def opens(self, number: int, wanted: Open | None, now: int) -> None:
        """An OPEN came; None: it cannot be read."""

    def refused(self, stream: Stream, code: int, text: str, now: int) -> None:
        """An ERROR came about this stream; it is gone."""

    def credited(self, stream: Stream, now: int) -> None:
        """A CREDIT came for this stream."""

    def strange(self, number: int, kind: int, now: int) -> None:
        """A frame about a stream that there is not, or of a type that there is not."""

    def misused(self, stream: Stream, what: str, now: int) -> None:
        """A stream's rule was broken: ``after-fin`` (DATA after CLOSE), ``close`` or ``credit`` (a payload that cannot
        be read). The stream goes on."""
