"""Deterministic content: the byte at each position is known to both ends, so a shifted, lost or doubled byte shows."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

from ..limits import EGRESS_READ
from .base import Chunk

PERIOD = 1_048_573
"""The content repeats after so many bytes: a prime, so that no power-of-two slip lands on equal bytes."""


@lru_cache(maxsize=1)
def _block() -> memoryview:
    base = hashlib.shake_256(b"aero_lab content").digest(PERIOD)
    return memoryview(base + base[:EGRESS_READ])


def content(position: int, most: int) -> memoryview:
    """Up to ``most`` bytes of the content from ``position`` on: at least one when ``most`` is, at most 256 KiB. Not
    copied."""
    at = position % PERIOD
    return _block()[at : at + min(most, EGRESS_READ)]


def content_bytes(size: int) -> bytes:
    """The first ``size`` bytes of the content."""
    whole, rest = divmod(size, PERIOD)
    block = _block()[:PERIOD]
    return bytes(block) * whole + bytes(block[:rest])


class Digest:
    """MD5 of the first ``size`` bytes of the content, computed piece by piece so that nobody has to wait for all of
    it."""

    def __init__(self, size: int):
        self._size, self._position = size, 0
        self._md5 = hashlib.md5(usedforsecurity=False)

    def work(self, most: int) -> bytes | None:
        """Digest up to ``most`` more bytes; the digest once all are in, else None."""
        end = min(self._size, self._position + most)
        while self._position < end:
            piece = content(self._position, end - self._position)
            self._md5.update(piece)
            self._position += len(piece)
        if self._position < self._size:
            return None
        if len(_digests) >= DIGESTS_KEPT:
            del _digests[next(iter(_digests))]
        return _digests.setdefault(self._size, self._md5.digest())


DIGESTS_KEPT = 64
"""Digests of whole bodies that are remembered, oldest out first."""
DIGEST_TURN = 4 << 20
"""Bytes digested before the other connections get their turn: some milliseconds."""
_digests: dict[int, bytes] = {}


def known_md5(size: int) -> bytes | None:
    """MD5 of the first ``size`` bytes when it was computed before."""
    return _digests.get(size)


def content_md5(size: int) -> bytes:
    """MD5 of the first ``size`` bytes of the content."""
    digest = known_md5(size) or Digest(size).work(size)
    assert digest is not None
    return digest


class ContentCheck:
    """Compares a stream with the content as it arrives; :attr:`wrong_at` is the first position that differs, or
    None."""

    def __init__(self) -> None:
        self.position = 0
        self.wrong_at: int | None = None

    def update(self, data: Chunk) -> None:
        view = memoryview(data)
        at = 0
        while at < len(view) and self.wrong_at is None:
            expected = content(self.position, len(view) - at)
            piece = view[at : at + len(expected)]
            if piece != expected:
                self.wrong_at = self.position + next(i for i, (a, b) in enumerate(zip(piece, expected)) if a != b)
            at += len(piece)
            self.position += len(piece)


class Source:
    """The other way round than :class:`.base.Sink` (RFC 864 in spirit): sends the content until the peer goes away.

    Parameters
    ----------
    size: bytes to send, then close; None for no end.
    """

    def __init__(self, size: int | None = None):
        self.size = size

    def connected(self, conn: Any = None) -> SourceSession:
        return SourceSession(self.size)


class SourceSession:
    room = 1 << 30
    working = False

    def __init__(self, size: int | None):
        self._left = size
        self._position = 0
        self.done = size == 0

    def data(self, view: Chunk) -> None:
        pass  # RFC 864: thrown away

    def eof(self) -> None:
        if self._left is None:
            self.done = True

    def output(self, most: int) -> Chunk:
        if self.done or most <= 0:
            return b""
        piece = content(self._position, most if self._left is None else min(most, self._left))
        self._position += len(piece)
        if self._left is not None:
            self._left -= len(piece)
            self.done = self._left == 0
        return piece
