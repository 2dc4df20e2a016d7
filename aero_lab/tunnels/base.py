"""One interface for whatever joins the halves of a path: options do not know transports, nor transports options.

A path names the channels it needs. :class:`Tunnels` of one kind give it an end of each, on both sides or (when the
other side is another process, or another machine) on one: rings in memory, WebSockets, DataChannels. Who adds a kind
writes a subclass and puts its name into :data:`TRANSPORTS`; which options it carries, and why not, it says itself
(:meth:`Tunnels.why_not`). The lab, the halves of ``compare`` and the command line learn of it from there.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..lan.network import Network, first_identity
from ..limits import MTU_DEFAULT
from ..paths.base import ClientHalf, Near, Path, Tap, Wire
from ..transports.base import TransportEnd
from ..worlds import edge_config

if TYPE_CHECKING:
    from ..audit import Audit
    from ..capture import Recorder
    from ..egress.contract import Egress, EgressSink
    from ..engine import RealEngine, VirtualEngine
    from ..lan import LanConfig
    from ..link import Link
    from ..paths.base import Channel
    from ..transports.tcp_info import WireCount
    from ..worlds import World


def seeded(seed: int, number: int, part: str) -> random.Random:
    """The generator of one part of guest ``number``'s pipeline; no part draws from another's."""
    # A text as seed does not depend on hash randomisation.
    return random.Random(f"{seed}/{number}/{part}")


@dataclass(frozen=True)
class Seeds:
    """Generators of guest ``number``'s pipeline, by part."""

    seed: int
    number: int
    prefix: str = ""

    def __call__(self, part: str) -> random.Random:
        return seeded(self.seed, self.number, self.prefix + part)


@dataclass(frozen=True)
class Edge:
    """Of what the part of a network at the guest is made: it knows of nothing beyond the wire."""

    ack_policy: str = "early"

    def lan_config(self, mtu: int, ipv6: bool) -> LanConfig:
        return edge_config(mtu, ipv6, self.ack_policy)

    def make_egress(self, sink: EgressSink, rng: Any, now: int) -> Egress:
        raise UsageError("the world is beyond the tunnel, not at the guest")


@dataclass
class Bench:
    """What a lab, or one half of a run, gives its tunnels."""

    engine: RealEngine | VirtualEngine
    path: Path
    recorder: Recorder
    """Records messages at the tunnel, and frames at the NIC unless :attr:`nic` does."""
    world: World | None = None
    """What lies beyond the proxy; None: the proxy is elsewhere."""
    audit: Audit | None = None
    nic: Tap | None = None
    mtu: int = MTU_DEFAULT
    ipv6: bool = True
    ack_policy: str = "early"
    seed: int = 1
    link: Link | None = None
    url: str | None = None
    """Of a proxy elsewhere."""
    address: str = "127.0.0.1"
    """Of this host, where sockets are between the halves: a proxy of one's own listens there, and WebRTC's candidates
    are of it."""
    token: str | None = None
    max_segment: int = 0
    """Limit of the TCP segments' size, so that their number tells what a network would carry; 0 for none."""
    transport_settings: Mapping[str, Any] = field(default_factory=dict)
    """What the kind of tunnel can be told, see :meth:`Tunnels.check_settings`."""

    def rng(self, number: int) -> Seeds:
        """Generators of guest ``number``'s pipeline, by part."""
        return Seeds(self.seed, number)

    def near(
        self,
        host: Any,
        number: int,
        ends: Mapping[str, TransportEnd],
        dial: Callable[[Channel, str], TransportEnd] | None = None,
    ) -> ClientHalf:
        """The client half for a host with a NIC."""
        recorder = self.nic or self.recorder
        if hasattr(host, "number_frames"):
            host.number_frames(first_identity(number))
        wire = Wire(host.nic_tx, host.nic_rx)
        return self.path.client(Near(wire, ends, self._edge(number), recorder, self.mtu, dial))

    def network(self, number: int, name: str | None = None) -> Network:
        """Of what guest ``number``'s network at the proxy is made."""
        assert self.world is not None, "a proxy of one's own needs a world behind it"
        return Network(self.world, self.rng(number), self.engine, self.mtu, self.ipv6, self.audit, name, number)

    def _edge(self, number: int) -> Network:
        """Of what the part at the guest is made, in options that have one."""
        seeds = Seeds(self.seed, number, "edge-")
        return Network(Edge(self.ack_policy), seeds, self.engine, self.mtu, self.ipv6, number=number)


class Tunnels(ABC):
    """The tunnels of one lab. Made on the user's thread, used on the engine's but for :meth:`wait`."""

    def __init__(self, bench: Bench):
        self.bench = bench

    @classmethod
    @abstractmethod
    def why_not(cls, path: Path, *, virtual: bool = False, link: Link | None = None, mtu: int = MTU_DEFAULT) -> str:
        """Why this option does not run over this transport under these circumstances; empty when it does."""

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        """Raise :class:`UsageError`, naming what there is, for a transport setting that this kind does not have."""
        for name in settings:
            raise UsageError(f"this transport has no setting {name!r}: it has none")

    @abstractmethod
    def connect(self, number: int, name: str, host: Any) -> tuple[ClientHalf, Any, tuple]:
        """On the engine's thread: the pipeline of a host, put on the engine in its order: host, client half, links,
        server half. Returns the client half, the server half (a :class:`~aero_lab.paths.base.ServerHalf`, or what
        stands for one that is elsewhere) and the two directions of the link, if there is one."""

    def wire_of(self, number: int) -> WireCount | None:
        """What the connections of guest ``number`` cost on a simulated access line so far; None without one."""
        return None

    def link_counters(self) -> dict[str, dict[str, int]]:
        """Counters of a link that all guests share, by direction; empty without one. On the user's thread."""
        return {}

    def wait(self) -> None:  # noqa: B027
        """On the user's thread: until the newest guest's tunnel is open and its network is there."""

    @property
    @abstractmethod
    def caption(self) -> str:
        """How tables call it."""


TRANSPORTS: dict[str, str] = {
    "memory": "aero_lab.tunnels.memory:MemoryTunnels",
    "websocket": "aero_lab.tunnels.websocket:WebSocketTunnels",
    "webrtc": "aero_lab.tunnels.webrtc:WebRtcTunnels",
    "webrtc-unordered": "aero_lab.tunnels.webrtc:UnorderedWebRtcTunnels",
    "webrtc-lossy": "aero_lab.tunnels.webrtc:LossyWebRtcTunnels",
    "datagram": "aero_lab.tunnels.memory:DatagramTunnels",
}
"""Kinds of tunnels by name: module and class."""

SIMULATED: dict[str, str] = {
    "websocket": "aero_lab.tunnels.simulated:SimulatedWebSocketTunnels",
    "webrtc": "aero_lab.tunnels.simulated:SimulatedWebRtcTunnels",
    "webrtc-unordered": "aero_lab.tunnels.simulated:SimulatedUnorderedTunnels",
    "webrtc-lossy": "aero_lab.tunnels.simulated:SimulatedLossyTunnels",
}
"""Those that in virtual time are another class."""


def transports() -> tuple[str, ...]:
    """The names of all kinds."""
    return tuple(TRANSPORTS)


def find(transport: str, virtual: bool = False) -> type[Tunnels]:
    """The kind with this name, in real or in virtual time; :class:`UsageError` names those there are."""
    if transport not in TRANSPORTS:
        raise UsageError(f"transport {transport!r} does not exist; there is {', '.join(TRANSPORTS)}")
    chosen = {**TRANSPORTS, **(SIMULATED if virtual else {})}[transport]
    module, _, name = chosen.partition(":")
    return getattr(import_module(module), name)


def why_not(transport: str, path: Path, **circumstances: Any) -> str:
    """See :meth:`Tunnels.why_not`."""
    return find(transport, bool(circumstances.get("virtual"))).why_not(path, **circumstances)


def check_settings(transport: str, settings: Mapping[str, Any], *, virtual: bool = False) -> None:
    """See :meth:`Tunnels.check_settings`."""
    find(transport, virtual).check_settings(settings)
