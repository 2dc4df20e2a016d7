"""How the guests of a lab in virtual time reach the proxy: over connections of our own protocols, across a link.

The names are those of the real transports, and so is what travels: WebSockets over TCP. Each guest has its own access
line, which all its channels share. Without a link nothing takes time and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..limits import MTU_DEFAULT
from ..link import Link
from ..link.units import byte_count
from ..paths.base import Channel, Path
from ..stack import TcpConfig
from ..transports.simulated import TCP, SimulatedHop
from ..transports.tcp_info import WireCount
from .base import Bench
from .memory import Ends, MemoryTunnels

if TYPE_CHECKING:
    from ..paths.base import ClientHalf

CONGESTION = {"cubic": "cubic", "reno": "newreno", "newreno": "newreno", "none": "none"}
"""Controllers by the names that users give them, and by those of the stack."""


class SimulatedTunnels(MemoryTunnels):
    """Connections across a simulated access line."""

    def __init__(self, bench: Bench):
        super().__init__(bench)
        self.hops: dict[int, Any] = {}
        """The access line of each guest, by number."""

    def connect(self, number: int, name: str, host: Any) -> tuple[ClientHalf, Any, tuple]:
        client, server, links = super().connect(number, name, host)
        return client, server, links

    def _ends(self, number: int) -> tuple[Ends, Ends, tuple]:
        now = self.bench.engine.now()
        hop = self.hops[number] = self._hop(self.bench.link or Link(), self.bench.rng(number)("link"), now)
        near, far = {}, {}
        for index, channel in enumerate(self.bench.path.channels(self.bench.mtu)):
            near[channel.name], far[channel.name] = self._open(hop, index, channel, now)
        return near, far, (*hop.directions, hop)

    def _hop(self, link: Link, rng: Any, now: int) -> Any:
        raise NotImplementedError

    def _open(self, hop: Any, index: int, channel: Channel, now: int) -> tuple[Any, Any]:
        raise NotImplementedError

    def wire_of(self, number: int) -> WireCount | None:
        """What the connections of guest ``number`` cost on its access line so far, exactly."""
        return self.hops[number].wire if number in self.hops else None


class SimulatedWebSocketTunnels(SimulatedTunnels):
    """WebSockets over TCP of our own."""

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        tcp_of(settings)

    @classmethod
    def why_not(cls, path: Path, *, virtual: bool = False, link: Link | None = None, mtu: int = MTU_DEFAULT) -> str:
        if path.dials:
            return f"option {path.letter} opens a channel for each connection so: that is for real time"
        return ""

    def _hop(self, link: Link, rng: Any, now: int) -> SimulatedHop:
        return SimulatedHop(link, rng, now, tcp=tcp_of(self.bench.transport_settings))

    def _open(self, hop: SimulatedHop, index: int, channel: Channel, now: int) -> tuple[Any, Any]:
        return hop.open(index, True, now)

    @property
    def caption(self) -> str:
        return "WebSocket, simulated"


def tcp_of(settings: Mapping[str, Any]) -> TcpConfig:
    """The TCP of simulated WebSockets, as users set it; :class:`UsageError` for what cannot be set."""
    from dataclasses import replace

    known = ("congestion", "buffer")
    if unknown := sorted(set(settings) - set(known)):
        raise UsageError(f"a simulated WebSocket has no setting {unknown[0]!r}; it has {', '.join(known)}")
    congestion = settings.get("congestion", "cubic")
    if congestion not in CONGESTION:
        raise UsageError(f"congestion must be one of {', '.join(CONGESTION)}, not {congestion!r}")
    buffer = byte_count(settings.get("buffer", TCP.send_buffer), "buffer")
    return replace(TCP, congestion=CONGESTION[congestion], send_buffer=buffer, recv_buffer=buffer)
