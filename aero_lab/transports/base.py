"""The interface of a message transport: two ends, each of which sends and receives whole messages in order.

What arrives waits in ``received`` until its owner takes it; what is to be sent waits in a ring of the caller's until
:meth:`TransportEnd.send` finds room for it. Nothing in between is unbounded, and nothing is dropped by a transport that
is reliable: a full one takes less.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from ..rings.frame_ring import FrameRing


class TransportEnd(ABC):
    """One end of a message transport.

    Waking works by file descriptor, so that the end fits any event loop: :attr:`wake_fd` becomes readable when messages
    arrived, when the other end closed, or when it took messages after :meth:`send` had found it full. The owner then
    calls :meth:`clear_wake` *first* and looks at the rings after, so that no wake-up is lost.
    """

    reliable = True
    """Whether messages arrive, all and in order."""

    received: FrameRing
    """Messages that arrived; the owner takes them out and calls :meth:`taken`."""

    @abstractmethod
    def send(self, ring: FrameRing, now: int) -> int:
        """Move as many waiting messages as there is room for; returns how many went. Never blocks."""

    @abstractmethod
    def taken(self) -> None:
        """Say that messages were taken out of :attr:`received`: wakes the other end when it had found no room."""

    @abstractmethod
    def kick(self) -> None:
        """Make the other end's :attr:`wake_fd` readable, whatever happened."""

    @property
    @abstractmethod
    def wake_fd(self) -> int:
        """Descriptor to watch for reading; -1 when this transport is used without waking."""

    @abstractmethod
    def clear_wake(self) -> None:
        """Make :attr:`wake_fd` unreadable until the next wake-up."""

    @property
    @abstractmethod
    def stalled(self) -> bool:
        """True when the last :meth:`send` left messages behind and the other end has taken none since."""

    @property
    @abstractmethod
    def peer_closed(self) -> bool:
        """True when the other end closed; messages in :attr:`received` are still good."""

    @property
    @abstractmethod
    def counters(self) -> dict[str, int]:
        """``messages_sent, bytes_sent, messages_received, bytes_received, stalls``."""

    @abstractmethod
    def close(self) -> None:
        """Tell the other end and let go of everything; a second call does nothing."""

    def __enter__(self) -> TransportEnd:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class AskedEnd(TransportEnd):
    """An end that nobody has to wake: it runs in the loop, or under the scheduler, of its owner, which asks it."""

    def kick(self) -> None:
        """The other end is asked too, or is elsewhere and woken by what arrives there."""

    @property
    def wake_fd(self) -> int:
        return -1

    def clear_wake(self) -> None:
        """There is no descriptor."""
