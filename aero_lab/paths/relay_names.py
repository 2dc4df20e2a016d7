"""DNS at a relay: a message is a question, a message is its answer."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..causes import Cause
from ..limits import NEVER, RING_SLOTS
from ..rings import FrameRing
from ..transports.base import TransportEnd

_QUEUE = 256 << 10
"""Bytes of answers that wait for their channel."""


class NameServer:
    """Answers questions of one channel by the relay's name server."""

    kind = "names"
    farewell = None

    def __init__(self, relay: Any, end: TransportEnd):
        self.relay, self.end = relay, end
        self.counters: Counter[str] = Counter()
        self._answers = FrameRing(RING_SLOTS, _QUEUE)

    def receive(self, now: int) -> None:
        if not len(self.end.received):
            return
        for message in self.end.received.pop_many():
            size = len(message.data)
            self.counters["questions"] += 1
            self.relay.note("tx", size, size, now, Cause.DNS)
            self.relay.dns.handle(message.data, (self,), now, stream=True)
        self.end.taken()

    def answered(self, client: tuple[Any, ...], payload: bytes, now: int) -> None:
        """The name server's answer to a question."""
        if self._answers.push(payload, now, cause=Cause.DNS):
            self.relay.note("rx", len(payload), len(payload), now, Cause.DNS)
        else:
            self.counters["no_room"] += 1

    def denied(self, client: tuple[Any, ...], why: str) -> None:
        self.counters["denied"] += 1

    def flush(self, now: int) -> None:
        if len(self._answers):
            self.end.send(self._answers, now)

    def poll_at(self, now: int) -> int:
        if len(self.end.received) or (len(self._answers) and not self.end.stalled):
            return now
        return NEVER

    def close(self, now: int) -> None:
        """There is nothing to end."""
