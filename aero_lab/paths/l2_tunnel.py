"""Option C: whole Ethernet frames in the messages of ``aero-l2-tunnel-v1``; the proxy holds link layer and stack.

Theory of operation
-------------------
Both halves are the same machine, an :class:`L2Port`: frames from a local ring become messages, messages become frames
of another local ring. It never drops a frame for want of room: when the transport is full, frames wait in the local
ring, and whoever fills that ring (the guest's stack, the gateway's stack) sees it full and waits before it builds
another segment. When the local ring is full, messages wait in the transport. The two waits are independent, so one
direction cannot stop the other.

Control messages (PING, PONG, ERROR) leave the batch path and are handled one by one in Python (:mod:`.l2_control`).
Answers go into the ring of outgoing messages; when that is full a few wait in a queue of fixed length, whose oldest is
dropped, counted, when a peer pings and does not read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..capture.schema import ETHERNET, RAW_IP
from ..errors import UsageError
from ..framing.l2_tunnel import HEADER_SIZE, SUBPROTOCOL, L2Codec, L2Limits
from ..limits import (
    CONTROL_ARENA,
    CONTROL_SLOTS,
    ETHERNET_OVERHEAD,
    MTU_DEFAULT,
    NEVER,
    RING_ARENA,
    RING_SLOTS,
    TUNNEL_FRAME,
)
from ..rings import FrameRing
from ..transports.base import TransportEnd
from .base import FARS, Channel, Far, Near, Path, Tap, one_of, register
from .l2_control import ControlChannel
from .watch import Watch


@dataclass(frozen=True)
class Medium:
    """What the messages of a tunnel hold."""

    channel: str
    """Name of the tunnel's channel."""
    overhead: int
    """Bytes of a whole frame or packet beyond the network's MTU."""
    link: int
    """What it begins with, a number of :data:`aero_lab.capture.schema.LINKS`."""
    lan: str
    """Medium of the LAN behind the tunnel."""

    def limits(self, mtu: int) -> L2Limits:
        """Message limits for a network of this MTU: the contract's default, more where frames are larger."""
        return L2Limits(frame=max(TUNNEL_FRAME, mtu + self.overhead))


FRAMES = Medium("l2", ETHERNET_OVERHEAD, ETHERNET, "ethernet")
PACKETS = Medium("l3", 0, RAW_IP, "ip")


class L2Port:
    """One half of the tunnel, a node: local frames to messages and back.

    Parameters
    ----------
    out: ring of local frames to be sent; this is its consumer.
    into: ring that received frames are put in; this is its producer.
    end: the transport end.
    sent_as: direction, seen from the guest, of what leaves ``out``: ``"tx"`` at the client, ``"rx"`` at the server.
    recorder, point: where traffic is recorded and under which name: at ``"tunnel"`` the messages as they enter and
        leave the transport, at any other point the frames as they pass the local rings.
    limits: payload limits of the messages.
    control: the conversation beside the frames, when it began before there was a port.
    frames: a second recorder, for the frames as they pass the local rings, whatever ``point`` is.
    medium: what the messages hold; "frames" above stands for it.
    """

    def __init__(
        self,
        name: str,
        out: FrameRing,
        into: FrameRing,
        end: TransportEnd,
        sent_as: str,
        recorder: Tap | None = None,
        point: str = "",
        limits: L2Limits | None = None,
        control: ControlChannel | None = None,
        frames: Tap | None = None,
        medium: Medium = FRAMES,
    ):
        self.name, self.medium = name, medium
        self.out, self.into, self.end = out, into, end
        self.codec = L2Codec(limits or L2Limits())
        self.control = control or ControlChannel(self.codec.limits)
        self._messages = FrameRing(RING_SLOTS, RING_ARENA)
        self._control = FrameRing(CONTROL_SLOTS, CONTROL_ARENA)
        got_as = "rx" if sent_as == "tx" else "tx"
        frames, messages = (frames, recorder) if point == "tunnel" else (recorder, None)
        self._out_watch = Watch(frames, out, point, sent_as, medium.link)
        self._into_watch = Watch(frames, into, point, got_as, medium.link)
        self._sent_watch = Watch(messages, self._messages, point, sent_as, medium.link)
        self._received_watch = Watch(messages, end.received, point, got_as, medium.link)
        self._room_out = min(self.codec.limits.message, RING_ARENA)
        self._room_in = min(self.codec.limits.frame, into.arena)
        self._taken = 0  # messages
        self._elsewhere = self.control.bytes_sent  # of control messages, in other rings than ours

    def step(self, now: int) -> None:
        # A round passes here several times, mostly with work in one direction alone.
        if len(self.end.received):
            self.receive(now)
        if len(self.out) or len(self._messages) or self.control.waiting:
            self.send(now)

    def poll_at(self, now: int) -> int:
        if len(self._messages) and not self.end.stalled:
            return now
        if len(self.out) and self._messages.has_room(self._room_out):
            return now
        if len(self.end.received) and self.into.has_room(self._room_in):
            return now
        if self.control.waiting and self._messages.has_room(self._room_out):
            return now
        return NEVER

    def adopt(self, ring: FrameRing) -> None:
        """Take over control messages that wait in another ring of outgoing messages."""
        before = self._messages.given_bytes
        ring.move_to(self._messages)
        self._elsewhere -= self._messages.given_bytes - before

    def ping(self, now: int) -> bool:
        """Send a PING; :attr:`rtt` tells when its answer came."""
        self.control.ping(now)
        return True

    @property
    def rtt(self) -> int | None:
        """Round-trip time of the last :meth:`ping` that was answered, ns."""
        return self.control.rtt

    @property
    def on_rtt(self) -> Callable[[int], None] | None:
        """Told the round-trip time, ns, of each PING that was answered."""
        return self.control.on_rtt

    @on_rtt.setter
    def on_rtt(self, told: Callable[[int], None] | None) -> None:
        self.control.on_rtt = told

    @property
    def talks(self) -> dict[str, ControlChannel]:
        """What keepalive asks: the one channel there is."""
        return {self.medium.channel: self.control}

    lan: Any = None
    """The LAN is behind the other end."""

    def carrier(self, channel: str, up: bool, now: int) -> None:
        """Frames know of no connection."""

    @property
    def peer_error(self) -> tuple[int | None, str] | None:
        """Code and text of the last ERROR message from the peer."""
        return self.control.peer_error

    @property
    def frame_bytes(self) -> tuple[int, int]:
        """Bytes of the Ethernet frames sent and received."""
        wrapped = self.codec.counters["frames_wrapped"]
        control = self.control.bytes_sent - self._elsewhere
        sent = self._messages.given_bytes - control - HEADER_SIZE * wrapped
        return sent, self.into.given_bytes

    @property
    def counters(self) -> dict[str, int]:
        """Messages and their bytes each way, frames, control messages, and drops by reason."""
        # What arrived but was not looked at yet is not counted, so that messages and frames are of one moment.
        return {**self.end.counters, "messages_received": self._taken, **self.codec.counters, **self.control.counts}

    def send(self, now: int) -> None:
        """Local frames to messages, as far as there is room."""
        if self.control.waiting:
            self.control.flush(self._messages, now)
        while True:
            if self._out_watch.look(now):
                self._out_watch.taken(self.codec.encap(self.out, self._messages))
            if not self._sent_watch.look(now):
                break
            sent = self.end.send(self._messages, now)
            self._sent_watch.taken(sent)
            if not sent or not len(self.out):
                break

    def receive(self, now: int) -> None:
        """Messages to local frames, as far as there is room."""
        received, into = self.end.received, self.into
        took = 0
        while waiting := self._received_watch.look(now):
            before = len(into)
            # No more than was looked at: over shared memory the ring grows meanwhile.
            taken = self.codec.decap(received, into, self._control, waiting)
            self._received_watch.taken(taken)
            self._into_watch.look(now, before)
            for message in self._control.pop_many(CONTROL_SLOTS) if len(self._control) else ():
                self.control.message(message.data, now)
                self.control.flush(self._messages, now)
            took += taken
            if not taken:
                break
        if took:
            self._taken += took
            self.end.taken()

    def __repr__(self) -> str:
        return f"<L2Port {self.name}: {len(self.out)} to send, {len(self.end.received)} received>"


class L2Server:
    """The proxy's half: tunnel port, synthetic LAN and egress, driven as one node.

    ``far``: of what both are made afresh on the same tunnel; None: they cannot be.
    """

    def __init__(self, port: L2Port, lan: Any, far: Far | None = None):
        self.port, self.lan = port, lan
        self._far = far
        self.name = f"{port.medium.channel}-server"

    @classmethod
    def make(cls, far: Far, medium: Medium = FRAMES) -> L2Server:
        """A server with a LAN of its own."""
        return cls(*_port_and_lan(far, medium, None), far)

    def renew(self) -> Any:
        """A fresh LAN in the place of the old one, which is left as a process leaves it that dies: flows end without a
        word to the guest, frames under way are gone. Returns it. Raises :class:`~aero_lab.errors.UsageError`."""
        if self._far is None:
            raise UsageError("the network behind this tunnel cannot be replaced")
        self.lan.abandon()
        self.port, self.lan = _port_and_lan(self._far, self.port.medium, self.port.control)
        return self.lan

    @property
    def counters(self) -> dict[str, int]:
        """Those of the LAN."""
        return self.lan.counters

    def step(self, now: int) -> None:
        self.port.receive(now)
        self.lan.step(now)
        self.port.send(now)

    def poll_at(self, now: int) -> int:
        return min(self.port.poll_at(now), self.lan.poll_at(now))


@register
@dataclass(frozen=True)
class L2Tunnel(Path):
    """Option C."""

    letter = "C"
    name = "L2 tunnel"
    carries = "Ethernet frames"
    lan_side = "proxy"
    far: str = "lan"
    """What speaks TCP/IP to the guest: ``"lan"``, a stack of ours, or ``"kernel"``, the host kernel's behind a TAP."""

    def __post_init__(self) -> None:
        one_of("far", self.far, FARS)

    def channels(self, mtu: int = MTU_DEFAULT) -> tuple[Channel, ...]:
        return (Channel("l2", frame_limits(mtu).message, "/l2", (SUBPROTOCOL,)),)

    def client(self, near: Near) -> L2Port:
        nic, end, limits = near.nic, near.ends["l2"], frame_limits(near.mtu)
        return L2Port("l2-client", nic.out, nic.into, end, "tx", near.recorder, "nic", limits)

    def server(self, far: Far) -> L2Server:
        return L2Server.make(far)


def _port_and_lan(far: Far, medium: Medium, control: ControlChannel | None) -> tuple[L2Port, Any]:
    lan = far.network.lan(medium=medium.lan)
    port = L2Port(
        f"{medium.channel}-server", lan.tx, lan.rx, far.ends[medium.channel], "rx", far.recorder, "tunnel",
        medium.limits(far.mtu), control=control, medium=medium,
    )  # fmt: skip
    return port, lan


def frame_limits(mtu: int) -> L2Limits:
    """Message limits of option C for a network of this MTU."""
    return FRAMES.limits(mtu)
