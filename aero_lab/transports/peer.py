"""A WebRTC peer as the lab sees it: one connection, data channels, nothing of media.

Whatever library does ICE, DTLS and SCTP stands behind :class:`Peer` and :class:`Channel`; :func:`make_peer` picks
one. Everything lives on one asyncio loop, and callbacks come on it. Nothing here asks a server elsewhere for its
address: the candidates are those of the addresses that were given, loopback by default.
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import AeroLabError, UsageError
from .tcp_info import WireCount

LOOPBACK = ("127.0.0.1",)
"""Addresses that a peer is reachable at, unless others are given."""
LIBRARIES = {"aiortc": "webrtc", "wrtc": "fast-webrtc"}
"""Libraries that can stand behind a peer, and the extra that brings each."""


class PeerFailed(AeroLabError):
    """There is no connection to the other peer: what it said makes no sense, or nothing comes from it."""


@dataclass(frozen=True)
class Description:
    """A session description (RFC 8829)."""

    type: Literal["offer", "answer"]
    sdp: str


@dataclass(frozen=True)
class IceCandidate:
    """A candidate as it travels in trickle signalling; an empty text ends the list (RFC 8838)."""

    candidate: str
    mid: str | None = None
    index: int | None = None


class Channel(ABC):
    """A data channel (RFC 8831). What it hears goes to the callbacks, which its owner sets at once."""

    label: str
    protocol: str
    ordered: bool
    max_retransmits: int | None
    max_life_ms: int | None

    def __init__(self) -> None:
        self.on_message: Callable[[bytes | str], None] = _nothing
        """Told each message."""
        self.on_room: Callable[[], None] = _nothing
        """Told when :attr:`buffered` fell to the threshold of :meth:`tell_room`."""
        self.on_open: Callable[[], None] = _nothing
        self.on_close: Callable[[], None] = _nothing

    @property
    def reliable(self) -> bool:
        """Whether all messages arrive, and in order."""
        return self.ordered and self.max_retransmits is None and self.max_life_ms is None

    @property
    @abstractmethod
    def open(self) -> bool:
        """Whether messages can be sent."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether none will come or go any more."""

    @property
    @abstractmethod
    def buffered(self) -> int:
        """Bytes handed to :meth:`send` that the library still holds."""

    @abstractmethod
    def tell_room(self, threshold: int) -> None:
        """Call :attr:`on_room` when :attr:`buffered` falls to so many bytes."""

    @abstractmethod
    def send(self, message: bytes | str) -> None:
        """Send a message; the library keeps it, so look at :attr:`buffered` first."""

    @abstractmethod
    def held(self, size: int) -> None:
        """Messages of so many bytes, more than before or (negative) less, were heard and cannot be taken yet. The
        association promises its peer that much less."""

    @abstractmethod
    def close(self) -> None:
        """Close the channel."""


class Peer(ABC):
    """One end of a WebRTC connection.

    ``on_channel`` is told of each channel that the other peer opens, ``on_state`` of each new :attr:`state`.
    """

    library: str

    def __init__(self) -> None:
        self.on_channel: Callable[[Channel], None] = _nothing
        self.on_state: Callable[[str], None] = _nothing

    @property
    @abstractmethod
    def state(self) -> str:
        """``"new"``, ``"connecting"``, ``"connected"``, ``"disconnected"``, ``"failed"`` or ``"closed"``."""

    @property
    @abstractmethod
    def wire(self) -> WireCount | None:
        """UDP datagrams and their IP bytes, both ways, ICE and DTLS included; None where the library does not tell."""

    @property
    @abstractmethod
    def candidates(self) -> list[IceCandidate]:
        """This peer's candidates, once it has described itself."""

    @abstractmethod
    def channel(
        self,
        label: str,
        *,
        ordered: bool = True,
        max_retransmits: int | None = None,
        max_life_ms: int | None = None,
        protocol: str = "",
    ) -> Channel:
        """Open a channel; it can be used when ``on_open`` was called."""

    @abstractmethod
    async def offer(self) -> Description:
        """Describe this peer to another, with its candidates."""

    @abstractmethod
    async def answer(self, offer: Description) -> Description:
        """Take another peer's offer and answer it, with this peer's candidates. Raises :class:`PeerFailed`."""

    @abstractmethod
    async def accept(self, answer: Description) -> None:
        """Take the answer to :meth:`offer`. Raises :class:`PeerFailed`."""

    @abstractmethod
    async def add_candidate(self, candidate: IceCandidate) -> None:
        """Take a candidate of the other peer's. Raises :class:`PeerFailed`."""

    @abstractmethod
    async def close(self) -> None:
        """End the connection and let go of its sockets; a second call does nothing."""


def _nothing(*_: Any) -> None:
    """What callbacks are until somebody sets them."""


def missing(library: str = "aiortc") -> str | None:
    """Why there is no WebRTC here, and what to do; None when there is."""
    if library not in LIBRARIES:
        raise UsageError(f"a WebRTC library is one of {', '.join(LIBRARIES)}, not {library!r}")
    if importlib.util.find_spec(library) is None:
        return f"WebRTC needs {library}: pip install 'aero-lab[{LIBRARIES[library]}]'"
    return None


def make_peer(addresses: Sequence[str] = LOOPBACK, library: str = "aiortc") -> Peer:
    """A peer that can be reached at these addresses of this host. Raises :class:`~aero_lab.errors.UsageError` when the
    library is not installed. To be called on a running asyncio loop."""
    if (lack := missing(library)) is not None:
        raise UsageError(lack)
    if library == "wrtc":
        from .peer_wrtc import WrtcPeer

        return WrtcPeer(addresses)
    from .peer_aiortc import AiortcPeer

    return AiortcPeer(addresses)
