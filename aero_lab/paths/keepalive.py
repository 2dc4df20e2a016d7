"""Keepalive of a tunnel from the client's side: PINGs at random times, and an end to a connection that went silent.

A tunnel of which nothing is heard may be idle or dead; asking tells. So a connection is given up only when nothing
came for :data:`~aero_lab.bounds.KEEPALIVE_SILENCE` *and* a PING went out since something last did.
"""

from __future__ import annotations

from typing import Protocol

from ..bounds import KEEPALIVE_LEAST, KEEPALIVE_MOST, KEEPALIVE_SILENCE
from ..limits import NEVER, SECOND
from ..rings import FrameRing
from .base import Talk


class Connection(Protocol):
    """What keepalive needs of a transport that connects again, such as
    :class:`~aero_lab.transports.websocket_client.WebSocketClient`."""

    received: FrameRing

    @property
    def connected(self) -> bool: ...

    def restart(self, why: str) -> None:
        """Give the connection up and make another."""
        ...


class Random(Protocol):
    """The seeded generator of times and nonces."""

    def randint(self, a: int, b: int, /) -> int: ...
    def getrandbits(self, k: int, /) -> int: ...


class Keepalive:
    """A node beside the client's port."""

    name = "keepalive"

    def __init__(self, control: Talk, connection: Connection, rng: Random):
        self.given_up = 0
        """Connections that were given up."""
        self._control, self._connection, self._rng = control, connection, rng
        self._nonce = rng.getrandbits(32)
        self._next = NEVER  # PING
        self._silent_from = NEVER  # since when nothing was heard
        self._heard = 0
        self._asked = False

    def step(self, now: int) -> None:
        if not self._connection.connected:
            self._next = NEVER
            return
        heard = self._connection.received.given
        if self._next >= NEVER or heard != self._heard:
            self._heard, self._silent_from, self._asked = heard, now, False
        if self._next >= NEVER:
            self._next = self._later(now)
        if self._asked and now >= self._silent_from + KEEPALIVE_SILENCE:
            self.given_up += 1
            self._next = NEVER
            self._connection.restart(f"nothing came for {KEEPALIVE_SILENCE // SECOND} s")
            return
        if now >= self._next:
            self._control.ping(now, payload=self._nonce.to_bytes(4, "big"))
            self._nonce = (self._nonce + 1) & 0xFFFFFFFF
            self._asked = True
            self._next = self._later(now)

    def poll_at(self, now: int) -> int:
        if not self._connection.connected:
            return NEVER if self._next >= NEVER else now
        if self._next >= NEVER:
            return now
        return min(self._next, self._silent_from + KEEPALIVE_SILENCE) if self._asked else self._next

    def _later(self, now: int) -> int:
        return now + self._rng.randint(KEEPALIVE_LEAST, KEEPALIVE_MOST)
