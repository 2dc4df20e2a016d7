"""Two associations and what lies between them, in virtual time."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass

from aero_lab.limits import MS, NEVER, SECOND
from aero_lab.transports.sctp import RFC, Association


@dataclass(frozen=True)
class Weather:
    """What happens to packets: probabilities, and times in ns."""

    delay: int = 20 * MS
    loss: float = 0.0
    late: float = 0.0
    """Held back by ``by``, so that others overtake."""
    by: int = 15 * MS
    twice: float = 0.0
    damaged: float = 0.0


class Net:
    """Both ends and the packets under way."""

    def __init__(self, weather=Weather(), constants=RFC, seed=1, checksum=True):
        self.random = random.Random(seed)
        self.weather, self.now = weather, 0
        self.ends = [Association(constants, self.random, checksum) for _ in range(2)]
        self.got = [[], []]
        self.names = [[], []]
        """Identities of those, which travel beside the wire."""
        self.sent = [0, 0]
        self.largest = 0
        self._under_way, self._count = [], 0

    def flush(self, side):
        """Everything that an end has to say goes on its way."""
        w = self.weather
        for packet in self.ends[side].packets(self.now):
            self.sent[side] += 1
            self.largest = max(self.largest, len(packet))
            for _ in range(1 + (self.random.random() < w.twice)):
                if self.random.random() < w.loss:
                    continue
                raw = bytearray(packet)
                if self.random.random() < w.damaged:
                    raw[self.random.randrange(len(raw))] ^= 1 << self.random.randrange(8)
                late = w.by if self.random.random() < w.late else 0
                self._count += 1
                heapq.heappush(self._under_way, (self.now + w.delay + late, self._count, 1 - side, bytes(raw)))

    def take(self, side):
        """What came there goes to its owner."""
        end = self.ends[side]
        named = self.ends[1 - side].sender.named if end.received else {}
        while end.received:
            message = end.received.popleft()
            self.got[side].append(message)
            self.names[side].append(named.pop(message.tsn, 0))

    def run(self, until, limit=3600 * SECOND):
        """Until the condition holds; False when it does not within the limit, or nothing more happens."""
        while True:
            for side in (0, 1):
                self.flush(side)
                self.take(side)
            if until():
                return True
            next_at = min(
                self._under_way[0][0] if self._under_way else NEVER, *(e.poll_at(self.now) for e in self.ends)
            )
            if next_at >= NEVER or next_at > limit:
                return False
            self.now = max(self.now, next_at)
            while self._under_way and self._under_way[0][0] <= self.now:
                _, _, side, packet = heapq.heappop(self._under_way)
                self.ends[side].take(packet, self.now)
                self.flush(side)
                self.take(side)
