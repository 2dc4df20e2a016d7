"""The conversation beside the frames: PING, PONG, ERROR, and messages that are wrong.

It is apart from the port that moves frames, because a tunnel talks before there is a network behind it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

from ..causes import Cause
from ..framing.l2_tunnel import (
    ERROR,
    PING,
    PONG,
    BadMessage,
    L2Limits,
    decode,
    encode_error,
    encode_ping,
    encode_pong,
)
from ..limits import PONG_QUEUE
from ..rings import FrameRing


class ControlChannel:
    """One end of that conversation.

    Parameters
    ----------
    limits: payload limits of the messages.
    on_violation: told of each message that breaks the format. Without it the message is dropped and the peer told with
        an ERROR, as the protocol text allows.
    on_rtt: told the round-trip time, ns, whenever one of our PINGs was answered.
    """

    def __init__(
        self,
        limits: L2Limits,
        on_violation: Callable[[BadMessage], None] | None = None,
        on_rtt: Callable[[int], None] | None = None,
    ):
        self.limits = limits
        self.on_violation, self.on_rtt = on_violation, on_rtt
        self.peer_error: tuple[int | None, str] | None = None
        """Code and text of the last ERROR message from the peer."""
        self.rtt: int | None = None
        """Round-trip time of the last :meth:`ping` that was answered, ns."""
        self.counts: Counter[str] = Counter()
        self.bytes_sent = 0
        """Bytes of the messages that :meth:`flush` put into a ring."""
        self._replies: deque[bytes] = deque()
        self._pings: dict[bytes, int] = {}
        self._next_ping = 1

    @property
    def waiting(self) -> bool:
        """Whether there is something to :meth:`flush`."""
        return bool(self._replies)

    @property
    def outstanding(self) -> int | None:
        """When the oldest PING that is not answered was sent; None: there is none."""
        return next(iter(self._pings.values()), None)

    def ping(self, now: int, only: bool = False, payload: bytes | None = None) -> None:
        """Send a PING; ``PONG_QUEUE`` unanswered ones are remembered, or ``only`` this.

        Its payload is the next number in 8 bytes, unless another is given.
        """
        if payload is None:
            payload = self._next_ping.to_bytes(8, "big")
            self._next_ping += 1
        if only:
            self._pings.clear()
        elif len(self._pings) >= PONG_QUEUE:
            del self._pings[next(iter(self._pings))]
        self._pings[payload] = now
        self._reply(encode_ping(payload, self.limits))

    def message(self, raw: bytes, now: int) -> None:
        """A message that is no sound FRAME."""
        try:
            message = decode(raw, self.limits)
        except BadMessage as error:
            self.counts[error.reason] += 1
            if self.on_violation is not None:
                self.on_violation(error)
            else:
                self._reply(encode_error(str(error), 1, self.limits))
            return
        if message.type == PING:
            self._reply(encode_pong(message.payload, self.limits))
        elif message.type == PONG:
            sent = self._pings.pop(message.payload, None)
            if sent is None:
                self.counts["unexpected_pong"] += 1
            else:
                self.rtt = now - sent
                if self.on_rtt is not None:
                    self.on_rtt(self.rtt)
        elif message.type == ERROR:
            self.counts["errors_received"] += 1
            self.peer_error = message.error
        else:
            self.counts["unknown_type"] += 1

    def flush(self, ring: FrameRing, now: int) -> None:
        """Put what waits into the ring of outgoing messages, as far as there is room."""
        while self._replies and ring.push(self._replies[0], now, cause=Cause.KEEPALIVE):
            self.bytes_sent += len(self._replies.popleft())

    def _reply(self, message: bytes) -> None:
        if len(self._replies) >= PONG_QUEUE:
            self._replies.popleft()
            self.counts["reply_queue_full"] += 1
        self._replies.append(message)
