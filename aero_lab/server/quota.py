"""Quotas of one tunnel: bytes over its life, messages a second.

The rate is a token bucket: it holds as many tokens as messages are allowed in a second, each message that arrives takes
one, and they come back evenly over a second. So a burst of exactly that many messages passes and the next is refused,
as with the original's window of one second; a steady stream at the rate passes for ever; and two bursts back to back at
the edge of a window, which that window lets through, do not pass.
"""

from __future__ import annotations

from collections.abc import Callable

from ..framing.l2_tunnel import ErrorCode, L2Limits, encode_error
from ..limits import SECOND
from ..transports.websocket import MessageKind, Refusal

VIOLATION = 1008
"""Close code for every policy violation (RFC 6455 section 7.4.1)."""


class TokenBucket:
    """``rate`` tokens a second, at most ``rate`` of them at once. Exact: it counts in billionths of a token."""

    def __init__(self, rate: int, now: int):
        self._rate = rate
        self._full = rate * SECOND
        self._level = self._full
        self._at = now

    def take(self, now: int) -> bool:
        """Take one; False when there is none."""
        self._level = min(self._full, self._level + (now - self._at) * self._rate)
        self._at = now
        if self._level < SECOND:
            return False
        self._level -= SECOND
        return True


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
