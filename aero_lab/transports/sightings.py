"""Messages known again by their bytes, where a channel changes their order or loses some."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from ..bounds import LOST_AFTER, RTC_UNDER_WAY


@dataclass
class _Way:
    """Messages under way in one direction, by what their bytes give."""

    lossless: bool
    under_way: OrderedDict[int, tuple[int, int, int]] = field(default_factory=OrderedDict)
    """Number -> key, when it was sent, identity; the oldest first."""
    by_key: dict[int, deque[int]] = field(default_factory=dict)
    next: int = 0

    def add(self, key: int, now: int, identity: int) -> None:
        if len(self.under_way) >= RTC_UNDER_WAY:
            oldest = self.under_way[next(iter(self.under_way))][0]
            self.take(oldest)
        self.under_way[self.next] = key, now, identity
        self.by_key.setdefault(key, deque()).append(self.next)
        self.next += 1

    def take(self, key: int) -> tuple[int, int]:
        """The oldest with this key: when it was sent, and its identity."""
        numbers = self.by_key[key]
        _, sent, identity = self.under_way.pop(numbers.popleft())
        if not numbers:
            del self.by_key[key]
        return sent, identity

    def find(self, key: int, now: int) -> int:
        if key not in self.by_key:
            return 0
        sent, identity = self.take(key)
        while not self.lossless and sent + LOST_AFTER < now and key in self.by_key:
            sent, identity = self.take(key)
        return identity


@dataclass(frozen=True)
class Unordered:
    """What :class:`~.websocket.Identities` is for messages in order: equal ones are taken first come, first served."""

    coming: _Way
    going: _Way

    @staticmethod
    def pair(lossless: bool = True) -> tuple[Unordered, Unordered]:
        """For the two ends of a channel. ``lossless``: all arrives; else what is long under way never comes, if an
        equal one came after it."""
        up, down = _Way(lossless), _Way(lossless)
        return Unordered(down, up), Unordered(up, down)

    def sent(self, message: bytes, identity: int, now: int) -> None:
        """A message goes out."""
        self.going.add(hash(message), now, identity)

    def came(self, message: bytes, now: int) -> int:
        """The identity of one that came; 0 when it is not known."""
        return self.coming.find(hash(message), now)
