"""Option B: IP packets in the messages of ``aero-l3-tunnel-v1``; the link layer is beside the guest, stack and egress
are at the proxy.

The client half is the link layer of the LAN (:class:`~aero_lab.lan.edge.LinkEdge`) before the same port that carries
frames in option C; the server half is that of option C with a LAN that deals in packets. ARP, neighbour discovery,
router advertisements and DHCP are answered at the guest and never travel; nor do Ethernet headers and the padding of
short frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..framing.l3_tunnel import SUBPROTOCOL
from ..limits import MTU_DEFAULT
from .base import FARS, Channel, Far, Near, Path, one_of, register
from .l2_control import ControlChannel
from .l2_tunnel import PACKETS, L2Port, L2Server
from .watch import Watch


class L3Client:
    """The half beside the guest, a node: link layer and tunnel port."""

    name = "l3-client"

    def __init__(self, near: Near):
        assert near.network is not None, "option B has a link layer at the guest"
        self.edge = near.network.edge(near.nic.out, near.nic.into)
        limits = PACKETS.limits(near.mtu)
        self.port = L2Port(
            self.name, self.edge.up, self.edge.down, near.ends["l3"], "tx", limits=limits, medium=PACKETS
        )  # fmt: skip
        self._out_watch = Watch(near.recorder, near.nic.out, "nic", "tx")
        self._into_watch = Watch(near.recorder, near.nic.into, "nic", "rx")

    def step(self, now: int) -> None:
        edge, port = self.edge, self.port
        waiting = self._out_watch.look(now)
        edge.send(now)
        self._out_watch.taken(waiting - len(edge.out))
        port.step(now)
        before = len(edge.into)
        edge.receive(now)
        self._into_watch.look(now, before)

    def poll_at(self, now: int) -> int:
        return min(self.edge.poll_at(now), self.port.poll_at(now))

    def ping(self, now: int) -> bool:
        """Send a PING; :attr:`rtt` tells when its answer came."""
        return self.port.ping(now)

    @property
    def rtt(self) -> int | None:
        """Round-trip time of the last :meth:`ping` that was answered, ns."""
        return self.port.rtt

    @property
    def on_rtt(self) -> Callable[[int], None] | None:
        """Told the round-trip time, ns, of each PING that was answered."""
        return self.port.on_rtt

    @on_rtt.setter
    def on_rtt(self, told: Callable[[int], None] | None) -> None:
        self.port.on_rtt = told

    @property
    def talks(self) -> dict[str, ControlChannel]:
        """What keepalive asks: the one channel there is."""
        return self.port.talks

    @property
    def control(self) -> ControlChannel:
        """The conversation beside the packets."""
        return self.port.control

    lan: Any = None
    """The LAN is behind the other end, all but its link layer."""

    def carrier(self, channel: str, up: bool, now: int) -> None:
        """Packets know of no connection."""

    @property
    def frame_bytes(self) -> tuple[int, int]:
        """Bytes of the guest's Ethernet frames, up and down."""
        return self.edge.bytes_up, self.edge.into.given_bytes

    @property
    def counters(self) -> dict[str, int]:
        """Of the port: messages and their bytes each way, drops by reason; and the frames of the NIC, with what the
        link layer drops and answers."""
        frames = {"frames_wrapped": self.edge.frames_up, "frames_unwrapped": self.edge.into.given}
        return {**self.port.counters, **frames, **self.edge.counters}

    def __repr__(self) -> str:
        return f"<L3Client {self.edge!r}, {self.port!r}>"


@register
@dataclass(frozen=True)
class L3Tunnel(Path):
    """Option B."""

    letter = "B"
    name = "L3 tunnel"
    carries = "IP packets"
    lan_side = "proxy"
    far: str = "lan"
    """What speaks TCP/IP to the guest: ``"lan"``, a stack of ours, or ``"kernel"``, the host kernel's behind a TUN."""

    def __post_init__(self) -> None:
        one_of("far", self.far, FARS)

    def channels(self, mtu: int = MTU_DEFAULT) -> tuple[Channel, ...]:
        return (Channel("l3", PACKETS.limits(mtu).message, "/l3", (SUBPROTOCOL,)),)

    def client(self, near: Near) -> L3Client:
        return L3Client(near)

    def server(self, far: Far) -> L2Server:
        return L2Server.make(far, PACKETS)
