"""Of what a guest's network is made: configuration, way to the world, chance, audit. Makes the LAN, or parts of one.

Whoever builds a half of a path gets one of these and need not know where any of it comes from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ..audit import Audit, Source
from ..egress.contract import Egress, EgressSink
from ..rings import FrameRing
from .config import LanConfig
from .edge import LinkEdge, without_link
from .lan import Lan

MakeEgress = Callable[[EgressSink], Egress]


class Makings(Protocol):
    """What a network is made from: :class:`aero_lab.worlds.World` and the like."""

    def lan_config(self, mtu: int, ipv6: bool) -> LanConfig: ...

    def make_egress(self, sink: EgressSink, rng: Any, now: int) -> Egress: ...


class Now(Protocol):
    """Who knows the time."""

    def now(self) -> int: ...


LIFE, GUEST = 1 << 40, 1 << 48
EDGE_IDENTITIES = (1 << 31) + 1
"""First identity of the frames that a link layer by itself makes: beyond those of the stacks at both ends."""


def first_identity(number: int, life: int = 0) -> int:
    """Before the first identity of the frames of guest ``number`` (from 1): a row of a capture must not be taken for
    one of another guest's, nor for one of a network that is no more."""
    return (number - 1) % (1 << 15) * GUEST + life % (GUEST // LIFE) * LIFE


@dataclass
class Network:
    """The makings of one guest's network.

    Each thing that is made has a life of its own: a later one does not repeat the chances of an earlier one, such as
    its sequence numbers.
    """

    makings: Makings
    seeds: Callable[[str], Any]
    """A seeded generator for each part, by its name."""
    clock: Now
    mtu: int
    ipv6: bool = True
    audit: Audit | None = None
    session: str | None = None
    """How audit records call it."""
    number: int = 1
    """Which guest's of a lab it is: the frames of each have identities of their own."""
    told: Source | None = None
    """A source of audit records that is there already; then none is made."""
    lives: int = 0
    """How many were made."""

    @property
    def config(self) -> LanConfig:
        """How the network is set up, as of now."""
        return self.makings.lan_config(self.mtu, self.ipv6)

    def lan(self, make_egress: MakeEgress | None = None, medium: str = "ethernet") -> Lan:
        """A fresh LAN, by default with the way to the world that belongs to it.

        With the medium ``"ip"`` it deals in packets, and its link layer is an :meth:`edge` elsewhere.
        """
        identities = first_identity(self.number, self.lives)
        suffix, now = self._begin(), self.clock.now()
        config = self.config if medium == "ethernet" else without_link(self.config)
        lan = Lan(
            config,
            make_egress or _OwnEgress(self.makings, self.seeds("egress" + suffix), now),
            self.seeds("lan" + suffix),
            now,
            self.source(now),
            getattr(self.makings, "make_stack", None),
        )
        lan.stack.number_frames(identities + 1)
        return lan

    def edge(self, out: FrameRing, into: FrameRing) -> LinkEdge:
        """A fresh link layer between a NIC's rings and a LAN elsewhere."""
        identities = first_identity(self.number, self.lives)
        suffix = self._begin()
        edge = LinkEdge(self.config, out, into, self.seeds("link" + suffix), self.clock.now())
        edge.stack.number_frames(identities + EDGE_IDENTITIES)
        return edge

    def make_egress(self, sink: EgressSink) -> Egress:
        """A fresh way to the world, for whoever needs no LAN."""
        suffix = self._begin()
        return self.makings.make_egress(sink, self.seeds("egress" + suffix), self.clock.now())

    def source(self, now: int) -> Source | None:
        """A source of audit records."""
        if self.told is not None:
            return self.told
        return self.audit.source(now, session=self.session) if self.audit is not None else None

    def _begin(self) -> str:
        suffix = f"/{self.lives}" if self.lives else ""
        self.lives += 1
        return suffix


@dataclass
class _OwnEgress:
    makings: Makings
    rng: Any
    now: int

    def __call__(self, sink: EgressSink) -> Egress:
        return self.makings.make_egress(sink, self.rng, self.now)
