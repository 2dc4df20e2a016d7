"""How the guests of a lab in virtual time reach the proxy: over connections of our own protocols, across a link.

The names are those of the real transports, and so is what travels: WebSockets over TCP, data channels over SCTP, DTLS
and UDP. Each guest has its own access line, which all its channels share. Without a link nothing takes time and nothing
is lost.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..bounds import CALL_CONNECTIONS
from ..errors import UsageError
from ..limits import MTU_DEFAULT
from ..link import Link
from ..link.units import byte_count
from ..paths.base import Channel, Path
from ..transports.sctp import CONSTANTS, Constants
from ..transports.simulated import HOP_CONNECTIONS, TCP, Carrier, SimulatedHop
from ..transports.simulated_call import CallingEnd, place
from ..transports.simulated_rtc import SimulatedRtcHop
from ..transports.simulated_stream import shake
from ..transports.tcp_info import WireCount
from .base import Bench
from .memory import Ends, MemoryTunnels

CONGESTION = {"cubic": "cubic", "reno": "newreno", "newreno": "newreno", "none": "none"}
"""Controllers by the names that users give them, and by those of the stack."""


class SimulatedTunnels(MemoryTunnels):
    """Connections across a simulated access line."""

    def __init__(self, bench: Bench):
        super().__init__(bench)
        self.hops: dict[int, Any] = {}
        """The access line of each guest, by number."""

    def _ends(self, number: int) -> tuple[Ends, Ends, tuple]:
        now = self.bench.engine.now()
        hop = self.hops[number] = self._hop(self.bench.link or Link(), self.bench.rng(number)("link"), now)
        near, far = {}, {}
        for index, channel in enumerate(self.bench.path.channels(self.bench.mtu)):
            near[channel.name], far[channel.name] = self._open(hop, index, channel, now)
        return near, far, (*hop.directions, hop)

    @abstractmethod
    def _hop(self, link: Link, rng: Any, now: int) -> Any:
        """An access line with the two hosts at its ends."""

    @abstractmethod
    def _open(self, hop: Any, index: int, channel: Channel, now: int) -> tuple[Any, Any]:
        """Both ends of a channel across it."""

    def wire_of(self, number: int) -> WireCount | None:
        """What the connections of guest ``number`` cost on its access line so far, exactly."""
        return self.hops[number].wire if number in self.hops else None


class Further:
    """Opens further WebSockets of one guest."""

    def __init__(self, hop: SimulatedHop, engine: Any):
        self._hop, self._engine = hop, engine
        self.door: Any = None
        """Whom the server asks about them."""

    def __call__(self, channel: Channel, query: str) -> CallingEnd:
        return place(self._hop, query, self.door, self._engine.now(), channel.most)


class SimulatedWebSocketTunnels(SimulatedTunnels):
    """WebSockets over TCP of our own."""

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        carrier_of(settings)

    @classmethod
    def why_not(cls, path: Path, *, virtual: bool = False, link: Link | None = None, mtu: int = MTU_DEFAULT) -> str:
        return ""

    def _further(self, number: int) -> Further | None:
        return Further(self.hops[number], self.bench.engine) if self.bench.path.dials else None

    def _joined(self, server: Any, further: Further | None) -> None:
        if further is not None:
            further.door = self.bench.path.door(server)

    def _hop(self, link: Link, rng: Any, now: int) -> SimulatedHop:
        most = CALL_CONNECTIONS if self.bench.path.dials else HOP_CONNECTIONS
        return SimulatedHop(link, rng, now, carrier=carrier_of(self.bench.transport_settings), most=most)

    def _open(self, hop: SimulatedHop, index: int, channel: Channel, now: int) -> tuple[Any, Any]:
        return hop.open(index, True, now, channel.most)

    @property
    def caption(self) -> str:
        return "WebSocket, simulated"


class SimulatedWebRtcTunnels(SimulatedTunnels):
    """Data channels over SCTP of our own, DTLS and UDP. What a channel promises is as over real WebRTC."""

    ordered, retransmits = True, None

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        sctp_of(settings)

    @classmethod
    def why_not(cls, path: Path, *, virtual: bool = False, link: Link | None = None, mtu: int = MTU_DEFAULT) -> str:
        if path.dials:
            return f"option {path.letter} opens a channel for each connection so: use transport='websocket'"
        if not any(not channel.ordered and channel.name != "udp" for channel in path.channels(mtu)):
            if not cls.ordered:
                return f"option {path.letter} has no channel that may lose messages or their order, but for datagrams"
        return ""

    def _hop(self, link: Link, rng: Any, now: int) -> SimulatedRtcHop:
        return SimulatedRtcHop(link, rng, now, sctp_of(self.bench.transport_settings))

    def _open(self, hop: SimulatedRtcHop, index: int, channel: Channel, now: int) -> tuple[Any, Any]:
        protocol = channel.subprotocols[0] if channel.subprotocols else ""
        if channel.name == "udp":
            return hop.open(channel.name, protocol, False, 0)
        if channel.ordered:
            return hop.open(channel.name, protocol)
        return hop.open(channel.name, protocol, self.ordered, self.retransmits)

    @property
    def caption(self) -> str:
        return "WebRTC, simulated"


class SimulatedUnorderedTunnels(SimulatedWebRtcTunnels):
    """The same, in any order."""

    ordered = False

    @property
    def caption(self) -> str:
        return "WebRTC, unordered, simulated"


class SimulatedLossyTunnels(SimulatedUnorderedTunnels):
    """The same, in any order and never sent again."""

    retransmits = 0

    @property
    def caption(self) -> str:
        return "WebRTC, unordered and never sent again, simulated"


def sctp_of(settings: Mapping[str, Any]) -> Constants:
    """The SCTP of simulated data channels, as users set it; :class:`UsageError` for what cannot be set."""
    _known("data channel", settings, ("sctp", "congestion", "buffer"))
    name = settings.get("sctp", "aiortc")
    if name not in CONSTANTS:
        raise UsageError(f"sctp must be one of {', '.join(CONSTANTS)}, not {name!r}")
    congestion = settings.get("congestion", "sctp")
    if congestion not in ("sctp", "none"):
        raise UsageError(f"congestion must be sctp or none, not {congestion!r}")
    chosen = CONSTANTS[name]
    if congestion == "none":
        chosen = replace(chosen, congestion=False, heed_rwnd=True)
    if settings.get("buffer") is not None:
        buffer = _buffer(settings["buffer"])
        chosen = replace(chosen, send_buffer=buffer, a_rwnd=buffer)
    return chosen


def _known(what: str, settings: Mapping[str, Any], known: Sequence[str]) -> None:
    if unknown := sorted(set(settings) - set(known)):
        raise UsageError(f"a simulated {what} has no setting {unknown[0]!r}; it has {', '.join(known)}")


def _buffer(value: Any) -> int:
    size = byte_count(value, "buffer")
    if not 4096 <= size <= 64 << 20:
        raise UsageError(f"buffer must be 4 KiB to 64 MiB, not {value!r}")
    return size


def carrier_of(settings: Mapping[str, Any]) -> Carrier:
    """The TCP of simulated WebSockets and what is around it, as users set it; :class:`UsageError` for what cannot be
    set."""
    _known("WebSocket", settings, ("congestion", "tls", "buffer", "sack", "ecn"))
    congestion = settings.get("congestion", "cubic")
    if congestion not in CONGESTION:
        raise UsageError(f"congestion must be one of {', '.join(CONGESTION)}, not {congestion!r}")
    tls = _yes_no("tls", settings.get("tls", True))
    ahead = None
    # Linux acknowledges the first segments of a connection at once.
    tcp = replace(TCP, congestion=CONGESTION[congestion], quick_acks=16)
    tcp = replace(tcp, sack=_yes_no("sack", settings.get("sack", True)), ecn=_yes_no("ecn", settings.get("ecn", False)))
    if settings.get("buffer") is not None:
        ahead = _buffer(settings["buffer"])
        tcp = replace(tcp, send_buffer=ahead, recv_buffer=ahead)
    return Carrier(tcp, tls, shake(tls), ahead)


def _yes_no(name: str, value: Any) -> bool:
    found = {"yes": True, "no": False, "true": True, "false": False}.get(str(value).lower())
    if found is None:
        raise UsageError(f"{name} is yes or no, not {value!r}")
    return found
