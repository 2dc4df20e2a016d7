"""The transport in one process with a link in between: messages are delayed, lost, reordered as the link says.

The ends put their messages straight into the link's rings, so nothing is copied for its sake. What is lost is lost for
good: that is what an unreliable channel does to a tunnel, and the guest's TCP has to bring it back.
"""

from __future__ import annotations

from ..limits import RING_ARENA, RING_SLOTS
from ..link import Link, LinkDirection
from ..link.direction import Random
from ..rings.frame_ring import FrameRing
from .base import AskedEnd
from .memory import MemoryEnd


class LinkEnd(AskedEnd):
    """One end of a link; made by :func:`impaired_pair`. It has no descriptor: both ends live on one scheduler."""

    reliable = False

    def __init__(self, outgoing: FrameRing, received: FrameRing):
        self._outgoing = outgoing
        self.received = received
        self._full_at = -1  # how many had left the outgoing ring when it was found full; -1: it was not
        self._stalls = 0
        self._peer: LinkEnd | None = None
        self._open = True

    def send(self, ring: FrameRing, now: int) -> int:
        if not self._open or self.peer_closed:
            return 0
        moved = ring.move_to(self._outgoing)
        if not len(ring):
            self._full_at = -1
        elif self._full_at != self._gone():
            self._full_at = self._gone()
            self._stalls += 1
        return moved

    def _gone(self) -> int:
        return self._outgoing.given - len(self._outgoing)

    def taken(self) -> None:
        """The link looks for room by itself."""

    @property
    def stalled(self) -> bool:
        return self._full_at >= 0 and self._full_at == self._gone()

    @property
    def peer_closed(self) -> bool:
        return self._peer is not None and not self._peer._open

    @property
    def counters(self) -> dict[str, int]:
        return {
            "messages_sent": self._outgoing.given,
            "bytes_sent": self._outgoing.given_bytes,
            "messages_received": self.received.given,
            "bytes_received": self.received.given_bytes,
            "stalls": self._stalls,
        }

    def close(self) -> None:
        self._open = False

    def __repr__(self) -> str:
        return f"<LinkEnd {'open' if self._open else 'closed'}, {len(self.received)} received>"


def impaired_pair(
    link: Link, rng: Random, slots: int = RING_SLOTS, arena: int = RING_ARENA, start: int = 0
) -> tuple[LinkEnd, LinkEnd, tuple[LinkDirection, LinkDirection]]:
    """The guest's end, the world's end, and the two directions (up, down), which are nodes to be driven as well."""
    rings = [FrameRing(slots, arena) for _ in range(4)]
    directions = link.build(rng, (rings[0], rings[1]), (rings[2], rings[3]), start=start)
    near, far = LinkEnd(rings[0], rings[3]), LinkEnd(rings[2], rings[1])
    near._peer, far._peer = far, near
    return near, far, directions


def put_link_between(
    near: MemoryEnd, far: MemoryEnd, link: Link, rng: Random, now: int = 0
) -> tuple[LinkDirection, LinkDirection]:
    """Turn the two ends of a pair in memory into ends of a link, where they are: whoever holds them goes on with them,
    and what had been sent has arrived. The link begins ``now``: its outages and recordings count from here. The two
    directions (up, down) are nodes to be driven as well."""
    received = near.received, far.received
    outgoing = [FrameRing(ring.slots, ring.arena) for ring in received]
    directions = link.build(rng, (outgoing[0], received[1]), (outgoing[1], received[0]), start=now)
    for end, out, into in zip((near, far), outgoing, received):
        end.__class__ = LinkEnd  # type: ignore[assignment]
        vars(end).clear()
        LinkEnd.__init__(end, out, into)  # type: ignore[arg-type]
    near._peer, far._peer = far, near  # type: ignore[attr-defined]
    return directions
