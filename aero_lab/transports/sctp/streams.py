"""Messages and their parts: fragments out, reassembly and order in (RFC 9260 sections 6.5, 6.6 and 6.9)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .chunks import FIRST, LAST, UNORDERED, Data
from .receiver import unwrapped


class Message(NamedTuple):
    """A message as it is handed over."""

    stream: int
    protocol: int
    """What it is, a payload protocol identifier."""
    payload: bytes
    tsn: int = 0
    """TSN of its first part, unwrapped: an identity that both ends know."""


class Outgoing:
    """One message on its way out, and what was promised about it."""

    __slots__ = ("first", "identity", "limit", "payload", "protocol", "sequence", "stream", "unordered", "until")

    def __init__(
        self, stream: int, protocol: int, payload: bytes, unordered: bool, limit: int | None, until: int, identity: int
    ):
        self.stream, self.protocol, self.payload, self.unordered = stream, protocol, payload, unordered
        self.limit = limit
        """Most retransmissions; None: as many as it takes."""
        self.until = until
        """Time after which nobody wants it any more."""
        self.identity = identity
        """Beside the wire: how the owner calls it; 0 for nothing."""
        self.first = self.sequence = 0
        """TSN of its first part, unwrapped, and number in its stream, once it was cut."""


def fragments(size: int, most: int) -> Iterator[tuple[int, int, int]]:
    """Beginning, end and flags of the parts of a message of ``size`` bytes, ``most`` at a time."""
    for at in range(0, size, most):
        end = min(at + most, size)
        yield at, end, (FIRST if at == 0 else 0) | (LAST if end == size else 0)


class _Run:
    """Parts with consecutive TSNs of one message."""

    __slots__ = ("first", "flags", "last", "parts", "size")

    def __init__(self, tsn: int, chunk: Data):
        self.first = self.last = tsn
        self.flags = chunk.flags
        self.parts = [chunk]
        self.size = len(chunk.payload)

    @property
    def whole(self) -> bool:
        return self.flags & (FIRST | LAST) == FIRST | LAST


class Inbound:
    """Reassembly of all streams of a direction. Parts of a message have consecutive TSNs, so they are found by them."""

    def __init__(self) -> None:
        self.held = 0
        """Bytes that wait here for their other parts or their turn."""
        self._by_first: dict[int, _Run] = {}
        self._by_last: dict[int, _Run] = {}
        self._next: dict[int, int] = {}
        """Sequence number whose turn it is, by stream; unwrapped."""
        self._ready: dict[int, dict[int, Message]] = {}
        """Whole messages that wait for their turn, by stream and number."""

    def take(self, tsn: int, chunk: Data) -> list[Message]:
        """A chunk came that had not come before; the messages that it completes, in order."""
        if chunk.flags & (FIRST | LAST) == FIRST | LAST:
            message = Message(chunk.stream, chunk.protocol, chunk.payload, tsn)
            if chunk.flags & UNORDERED:
                return [message]
            return self._ordered(chunk.sequence, message)
        self.held += len(chunk.payload)
        run = self._joined(tsn, chunk)
        if not run.whole:
            return []
        del self._by_first[run.first], self._by_last[run.last]
        self.held -= run.size
        first = run.parts[0]
        message = Message(first.stream, first.protocol, b"".join(part.payload for part in run.parts), run.first)
        return [message] if first.flags & UNORDERED else self._ordered(first.sequence, message)

    def _joined(self, tsn: int, chunk: Data) -> _Run:
        run = _Run(tsn, chunk)
        before = self._by_last.get(tsn - 1) if not chunk.flags & FIRST else None
        if before is not None and not before.flags & LAST:
            del self._by_last[before.last]
            before.parts += run.parts
            before.last, before.size, before.flags = tsn, before.size + run.size, before.flags | chunk.flags
            run = before
        else:
            self._by_first[tsn] = run
        after = self._by_first.get(tsn + 1) if not chunk.flags & LAST else None
        if after is not None and not after.flags & FIRST:
            del self._by_first[after.first]
            run.parts += after.parts
            run.last, run.size, run.flags = after.last, run.size + after.size, run.flags | after.flags
        self._by_last[run.last] = run
        return run

    def _ordered(self, sequence: int, message: Message) -> list[Message]:
        expected = self._next.get(message.stream, 0)
        number = unwrapped(sequence, expected, 16)
        if number != expected:
            if number > expected:
                self._ready.setdefault(message.stream, {})[number] = message
                self.held += len(message.payload)
            return []
        self._next[message.stream] = expected + 1
        return [message, *self._in_turn(message.stream)] if self._ready.get(message.stream) else [message]

    def _in_turn(self, stream: int) -> Iterator[Message]:
        ready = self._ready[stream]
        while (message := ready.pop(self._next[stream], None)) is not None:
            self.held -= len(message.payload)
            self._next[stream] += 1
            yield message

    def forward(self, cumulative: int, skipped: tuple[tuple[int, int], ...]) -> list[Message]:
        """Nothing that is missing up to ``cumulative`` comes any more, and the numbers ``skipped`` had in their streams
        were left out: what waited for them is free, and parts of them are thrown away."""
        out: list[Message] = []
        for stream, sequence in skipped:
            expected = self._next.get(stream, 0)
            last = unwrapped(sequence, expected, 16)
            if last < expected:
                continue
            ready = self._ready.setdefault(stream, {})
            for number in sorted(number for number in ready if number <= last):
                message = ready.pop(number)
                self.held -= len(message.payload)
                out.append(message)
            self._next[stream] = last + 1
            out += self._in_turn(stream)
        for first in [first for first in self._by_first if first <= cumulative]:
            run = self._by_first[first]
            if run.flags & FIRST and run.last >= cumulative:
                continue  # nothing of it is missing so far: it goes on behind
            del self._by_first[first], self._by_last[run.last]
            self.held -= run.size
        return out
