"""Option A: flows in the messages; NIC, link layer and stack are at the guest, sockets at the relay.

The client half is the same LAN that stands at the proxy in option C, in the same role, with another way out: its egress
speaks to a relay (:mod:`.relay_egress`) instead of to sockets. The server half is a relay (:mod:`.relay`).

What cannot be in this option, because its protocols have no word for it: an ICMP echo beyond the gateway, connections
from outside, ICMP errors about datagrams, datagrams with more than 1200 bytes of payload.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..bounds import MUX_MESSAGE_MOST, UDP_RELAY_PAYLOAD
from ..framing import tcp_mux as mux
from ..framing.udp_relay import HEADER_MOST
from ..limits import MTU_DEFAULT
from .base import Channel, Far, Near, Path, Talk, one_of, register
from .relay import Relay
from .relay_egress import RelayEgress
from .relay_mux_egress import MuxEgress
from .relay_socket import SocketDoor
from .relay_socket_egress import SocketEgress
from .watch import Watch

DNS_MESSAGE = 0xFFFF
"""Bytes of the largest DNS message."""
CONNECT = ("answered", "early")


class RelayClient:
    """The guest's half: LAN and egress, driven as one node."""

    name = "relay-client"

    def __init__(self, near: Near, make_egress: Callable[[Any], RelayEgress]):
        assert near.network is not None, "the LAN of option A is at the guest"
        self.near = near
        self.lan = near.network.lan(make_egress)
        self.egress: RelayEgress = self.lan.egress  # type: ignore[assignment]
        nic = near.nic
        self._out_watch = Watch(near.recorder, nic.out, "nic", "tx")
        self._into_watch = Watch(near.recorder, nic.into, "nic", "rx")
        self._frames_up = self._frames_down = 0
        self._bytes_down = nic.into.given_bytes

    def step(self, now: int) -> None:
        nic, lan = self.near.nic, self.lan
        if self._out_watch.look(now):
            moved = nic.out.move_to(lan.rx)
            self._out_watch.taken(moved)
            self._frames_up += moved
        lan.step(now)
        if len(lan.tx):
            before = len(nic.into)
            self._frames_down += lan.tx.move_to(nic.into)
            self._into_watch.look(now, before)
        self.egress.flush(now)

    def poll_at(self, now: int) -> int:
        nic, lan = self.near.nic, self.lan
        if len(nic.out) and lan.rx.has_room(self.near.mtu):
            return now
        if len(lan.tx) and nic.into.has_room(self.near.mtu):
            return now
        return lan.poll_at(now)

    def carrier(self, channel: str, up: bool, now: int) -> None:
        """The connection of a channel came or went."""
        self.egress.carrier(channel, up, now)

    # Round-trip time ------------------------------------------------------------------------------------------------

    def ping(self, now: int) -> bool:
        """Send a PING through the mux; :attr:`rtt` tells when its answer came."""
        talk = self.egress.talk
        if talk is not None:
            talk.ping(now)
        return talk is not None

    @property
    def rtt(self) -> int | None:
        """Round-trip time of the last :meth:`ping` that was answered, ns."""
        return getattr(self.egress.talk, "rtt", None)

    @property
    def on_rtt(self) -> Callable[[int], None] | None:
        """Told the round-trip time, ns, of each PING that was answered."""
        return getattr(self.egress.talk, "on_rtt", None)

    @on_rtt.setter
    def on_rtt(self, told: Callable[[int], None] | None) -> None:
        if self.egress.talk is not None:
            self.egress.talk.on_rtt = told

    @property
    def talks(self) -> dict[str, Talk]:
        """What keepalive asks."""
        return {"mux": self.egress.talk} if self.egress.talk is not None else {}

    # What it counts -------------------------------------------------------------------------------------------------

    @property
    def frame_bytes(self) -> tuple[int, int]:
        """Bytes of the Ethernet frames from the guest and to it."""
        return self.lan.rx.given_bytes, self.near.nic.into.given_bytes - self._bytes_down

    @property
    def counters(self) -> dict[str, int]:
        """Messages and their bytes each way over all channels, frames of the NIC, drops by reason."""
        sums: dict[str, int] = {}
        for counts in (*(end.counters for end in self.near.ends.values()), self.egress.message_counters):
            for name, number in counts.items():
                sums[name] = sums.get(name, 0) + number
        return {
            **sums,
            "frames_wrapped": self._frames_up,
            "frames_unwrapped": self._frames_down,
            **{f"relay-{name}": number for name, number in self.egress.counters.items()},
        }

    def __repr__(self) -> str:
        return f"<RelayClient: {self.egress.talk!r}>"


@register
@dataclass(frozen=True)
class SocketRelay(Path):
    """Option A.

    Parameters
    ----------
    connect: when the guest's SYN is answered: ``"answered"``, after the far side did, or ``"early"``, at once.
    streams: what carries connections: ``"mux"``, one channel for all, or ``"socket"``, one for each (over WebSocket).
    mux: version of tcp-mux, 2 or 1.
    udp: version of the datagrams' framing where both can say it, 1 or 2.
    dns: over HTTP, which of the endpoints is asked: ``"wire"`` (``/dns-query``) or ``"json"`` (``/dns-json``, which
        knows addresses and aliases; all else goes to the other).
    """

    connect: str = "answered"
    streams: str = "mux"
    mux: int = 2
    udp: int = 1
    dns: str = "wire"

    letter = "A"
    name = "socket relay"
    carries = "flows"
    lan_side = "client"
    cable = False

    def __post_init__(self) -> None:
        one_of("connect", self.connect, CONNECT)
        one_of("streams", self.streams, ("mux", "socket"))
        one_of("mux", self.mux, (1, 2))
        one_of("udp", self.udp, (1, 2))
        one_of("dns", self.dns, ("wire", "json"))

    def channels(self, mtu: int = MTU_DEFAULT) -> tuple[Channel, ...]:
        versions = (mux.V2, mux.V1) if self.mux == 2 else (mux.V1,)
        streams = (Channel("mux", MUX_MESSAGE_MOST, "/tcp-mux", versions, ordered=True),)
        return (
            *(streams if self.streams == "mux" else ()),
            Channel("udp", UDP_RELAY_PAYLOAD + HEADER_MOST, "/udp"),
            Channel("dns", DNS_MESSAGE, "/dns-json" if self.dns == "json" else "/dns-query", ordered=True, http=True),
        )

    def client(self, near: Near) -> RelayClient:
        return RelayClient(near, _MakeEgress(self, near))

    @property
    def dials(self) -> bool:
        return self.streams == "socket"

    def door(self, half: Any) -> SocketDoor:
        return SocketDoor(half)

    def server(self, far: Far) -> Relay:
        relay = Relay(far.network, far.recorder)
        if self.streams == "mux":
            relay.add_mux(far.ends["mux"], self.mux)
        relay.add_udp(far.ends["udp"])
        relay.add_dns(far.ends["dns"])
        return relay


@dataclass
class _MakeEgress:
    option: SocketRelay
    near: Near

    def __call__(self, sink: Any) -> RelayEgress:
        path, near = self.option, self.near
        assert near.network is not None
        options: dict[str, Any] = {
            "early": path.connect == "early",
            "udp_version": path.udp,
            "rng": near.network.seeds("relay"),
        }
        if path.streams == "mux":
            return MuxEgress(sink, dict(near.ends), version=path.mux, **options)
        assert near.dial is not None, "a channel for each connection needs somebody who opens them"
        channel = Channel("tcp", MUX_MESSAGE_MOST, "/tcp", ordered=True)
        return SocketEgress(sink, dict(near.ends), channel=channel, dial=near.dial, **options)
