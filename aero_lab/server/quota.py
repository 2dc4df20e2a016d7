"""Quotas: bytes over a tunnel's life, messages a second, requests of an address, connections of a session.

The rate is a token bucket: it holds as many tokens as messages are allowed in a second, each message that arrives takes
one, and they come back evenly over a second. So a burst of exactly that many messages passes and the next is refused,
as with the original's window of one second; a steady stream at the rate passes for ever; and two bursts back to back at
the edge of a window, which that window lets through, do not pass.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable

from ..bounds import HTTP_BUCKETS
from ..framing.l2_tunnel import ErrorCode, L2Limits, encode_error
from ..limits import NEVER, SECOND
from ..transports.websocket import MessageKind, Refusal

VIOLATION = 1008
"""Close code for every policy violation (RFC 6455 section 7.4.1)."""


class TokenBucket:
    """``rate`` tokens each ``per`` nanoseconds, at most ``burst`` of them (``rate`` by default) at once.

    Exact: it counts in fractions of a token that divide ``per``.
    """

    __slots__ = ("_at", "_full", "_level", "_per", "_rate")

    def __init__(self, rate: int, now: int, burst: int | None = None, per: int = SECOND):
        self._rate, self._per = rate, per
        self._full = (rate if burst is None else burst) * per
        self._level = self._full
        self._at = now

    def take(self, now: int, number: int = 1) -> bool:
        """Take so many; False, and none taken, when there are fewer."""
        self._level = min(self._full, self._level + (now - self._at) * self._rate)
        self._at = now
        if self._level < number * self._per:
            return False
        self._level -= number * self._per
        return True

    def wait(self, now: int, number: int = 1) -> int:
        """Nanoseconds until so many will be there; 0: they are."""
        level = min(self._full, self._level + (now - self._at) * self._rate)
        return max(0, -(-(number * self._per - level) // self._rate)) if self._rate else NEVER


class Buckets:
    """A bucket for each of many clients: those heard of last. ``rate`` 0: no limit."""

    def __init__(self, rate: int, burst: int, per: int = SECOND, most: int = HTTP_BUCKETS):
        self._rate, self._burst, self._per, self._most = rate, burst, per, most
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, key: str, now: int) -> bool:
        """Take one of a client's tokens."""
        if not self._rate:
            return True
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(self._rate, now, self._burst, self._per)
            if len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        return bucket.take(now)


class Lease:
    """One of the places of a session. Made by :meth:`Slots.take`."""

    __slots__ = ("_keys", "_slots", "told")

    def __init__(self, slots: Slots, keys: tuple[str, ...]):
        self._slots, self._keys = slots, keys
        self.told: Callable[[Lease], object] | None = None
        """Called when it is released."""

    def release(self) -> None:
        """Give it back. May be called twice."""
        keys, self._keys = self._keys, ()
        for key in keys:
            self._slots.give_back(key)
        if keys and self.told is not None:
            self.told(self)


class Slots:
    """TCP connections at once, of one session and of one client address; 0: no limit."""

    def __init__(self, per_session: int, per_address: int):
        self._most = (per_session, per_address)
        self._taken: Counter[str] = Counter()

    def take(self, session: str, address: str) -> Lease | None:
        """A place; None when all are taken."""
        keys = (f"session {session}", f"address {address}")
        if any(most and self._taken[key] >= most for key, most in zip(keys, self._most)):
            return None
        self._taken.update(keys)
        return Lease(self, keys)

    def give_back(self, key: str) -> None:
        self._taken[key] -= 1
        if self._taken[key] <= 0:
            del self._taken[key]

    def __len__(self) -> int:
        return sum(number for key, number in self._taken.items() if key.startswith("session "))


class SessionGate:
    """Looks at each message of a tunnel. Implements :class:`aero_lab.transports.websocket.Gate`.

    Parameters
    ----------
    most_bytes: payload bytes both ways, framing of the tunnel and WebSocket Ping and Pong included; 0: no limit.
    rate: messages a second from the client, of any kind; 0: no limit.
    refused: told the word for a quota that was hit.
    """

    def __init__(
        self,
        most_bytes: int,
        rate: int,
        limits: L2Limits,
        clock: Callable[[], int],
        refused: Callable[[str], None],
    ):
        self._most, self._limits, self._clock, self._refused = most_bytes, limits, clock, refused
        self._bucket = TokenBucket(rate, clock()) if rate else None
        self.bytes = 0
        self.last_inbound = clock()

    def received(self, kind: MessageKind, size: int) -> Refusal | None:
        now = self.last_inbound = self._clock()
        if self._bucket is not None and not self._bucket.take(now):
            return self._refusal("fps", ErrorCode.QUOTA_FPS, "frame rate quota exceeded")
        return self._bytes(size)

    def sent(self, size: int) -> Refusal | None:
        return self._bytes(size)

    def _bytes(self, size: int) -> Refusal | None:
        self.bytes += size
        if self._most and self.bytes > self._most:
            return self._refusal("bytes", ErrorCode.QUOTA_BYTES, "byte quota exceeded")
        return None

    def _refusal(self, word: str, code: ErrorCode, text: str) -> Refusal:
        self._refused(word)
        return Refusal(VIOLATION, text, encode_error(text, code, self._limits))
