"""Data channels across a simulated network: SCTP of our own over DTLS over UDP, as WebRTC has them.

::

    near ends <-> association <- datagrams -> link (up, down) <- datagrams -> association <-> far ends

Before there is an association the peers check the path (ICE) and shake hands (DTLS): datagrams of the sizes that aiortc
sends, in lock step, sent again when nothing answers. Later each peer asks now and then whether the other is still
willing (RFC 7675). Signalling goes another way and costs nothing here. Channels are announced as RFC 8832 says.

In virtual time two runs with one seed are the same, byte by byte, and the bytes of the hop are exact.
"""

from __future__ import annotations

import struct
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

from ..limits import FAR_END_ROUNDS, MS, NEVER, RING_ARENA, RING_SLOTS, SECOND
from ..rings.frame_ring import FrameRing
from . import simulated_datagrams as wire
from .base import AskedEnd
from .sctp import AIORTC, Association, Constants
from .tcp_info import WireCount

FLIGHTS: tuple[tuple[bool, tuple[int, ...]], ...] = (
    (True, (92,)),  # ICE: a check with USE-CANDIDATE
    (False, (64, 88)),  # the response to it, and the other side's check
    (True, (64,)),  # the response to that
    (False, (169,)),  # DTLS: ClientHello
    (True, (779,)),  # ServerHello, Certificate, ServerKeyExchange, CertificateRequest, ServerHelloDone
    (False, (660,)),  # Certificate, ClientKeyExchange, CertificateVerify, ChangeCipherSpec, Finished
    (True, (75,)),  # ChangeCipherSpec, Finished
)
"""What goes before SCTP, by whom (near first) and in datagrams of how many bytes: what aiortc 1.9 with ECDSA
certificates puts on the wire."""
DTLS_FIRST = 3
ICE_PATIENCE, DTLS_PATIENCE = 500 * MS, SECOND
"""Until a flight is sent again, twice as long each time (RFC 8445 section 14.3, RFC 6347 section 4.2.4.1)."""
PATIENCE_MOST = 60 * SECOND
CONSENT, CONSENT_LOST = 5 * SECOND, 30 * SECOND
"""Time between two questions whether the peer is willing, and without an answer until it counts as gone (RFC 7675)."""
CONSENT_REQUEST, CONSENT_RESPONSE = 88, 64
DCEP, DCEP_OPEN, DCEP_ACK = 50, 3, 2
"""Payload protocol identifier and messages of RFC 8832."""
_OPEN = struct.Struct("!BBHLHH")


class RtcEnd(AskedEnd):
    """One end of one channel."""

    def __init__(self, host: RtcHost, stream: int, ordered: bool, retransmits: int | None):
        self.received = FrameRing(RING_SLOTS, RING_ARENA)
        self.reliable = ordered and retransmits is None
        self.stream, self.ordered, self.retransmits = stream, ordered, retransmits
        self.announced = False
        """The peer knows the channel, or is told with what comes first."""
        self._host = host
        self._held: deque[tuple[bytes, int]] = deque()
        self._waited = False
        self._open = True
        self._count: Counter[str] = Counter()

    def send(self, ring: FrameRing, now: int) -> int:
        if not self._open or not self.announced or self._host.lost:
            self._waited = len(ring) > 0
            return 0
        association = self._host.association
        most = association.constants.send_buffer
        moved = 0
        while association.buffered(self.stream) < most and (frame := ring.pop()) is not None:
            moved += 1
            self._count["messages_sent"] += 1
            self._count["bytes_sent"] += len(frame.data)
            association.send(
                self.stream,
                frame.data,
                ordered=self.ordered,
                retransmits=self.retransmits,
                identity=frame.frame_id,
            )
        if len(ring) and not self._waited:
            self._count["stalls"] += 1
        self._waited = len(ring) > 0
        if moved:
            self._host.touched = True
        return moved

    def taken(self) -> None:
        """The network looks for room by itself."""

    @property
    def stalled(self) -> bool:
        association = self._host.association
        full = association.buffered(self.stream) >= association.constants.send_buffer
        return self._waited and (full or not self.announced)

    @property
    def peer_closed(self) -> bool:
        return self._host.lost

    @property
    def counters(self) -> dict[str, int]:
        names = ("messages_sent", "bytes_sent", "stalls")
        return {
            "messages_received": self.received.given,
            "bytes_received": self.received.given_bytes,
            **{name: self._count[name] for name in names},
            **({"received_full": self._count["received_full"]} if self._count["received_full"] else {}),
        }

    def close(self) -> None:
        self._open = False

    # The network's side -----------------------------------------------------------------------------------------------

    def heard(self, payload: bytes, identity: int, now: int) -> None:
        """A message came."""
        if not self._held and self.received.push(payload, now, identity):
            return
        if self.retransmits is not None:
            self._count["received_full"] += 1
            return
        self._held.append((payload, identity))
        self._host.association.hold(len(payload))

    @property
    def has_work(self) -> bool:
        """Whether :meth:`settle` would do something."""
        return bool(self._held) and self.received.has_room(len(self._held[0][0]))

    def settle(self, now: int) -> None:
        """What was held goes on, as far as there is room."""
        while self._held and self.received.push(self._held[0][0], now, self._held[0][1]):
            self._host.association.hold(-len(self._held.popleft()[0]))


class RtcHost:
    """One peer: its half of the handshake, its association, its ends."""

    def __init__(self, near: bool, constants: Constants, rng: Any, slots: int, arena: int):
        self.near = near
        self.rx, self.tx = FrameRing(slots, arena), FrameRing(slots, arena)
        self.association = Association(constants, rng)
        self.peer: RtcHost = self
        self.ends: dict[int, RtcEnd] = {}
        self.touched = near
        """Something was handed over since the last turn."""
        self.lost = False
        self.counts: Counter[str] = Counter()
        self._flight = -1
        """The last flight that was sent."""
        self._seen: set[tuple[int, int]] = set()
        self._again_at, self._patience = NEVER, ICE_PATIENCE
        self._ready = False
        """The handshake is over."""
        self._consent_at = self._willing_until = NEVER
        self._chance = rng.getrandbits(16)
        self._number = 0
        self._out: deque[bytes] = deque()

    # Datagrams in -----------------------------------------------------------------------------------------------------

    def _take(self, datagram: bytes, now: int) -> None:
        payload = memoryview(datagram)[wire.IP_UDP :]
        if len(payload) < 3:
            self.counts["short"] += 1
            return
        kind = payload[0]
        if kind == wire.DATA:
            packet = wire.opened(payload)
            if packet is None:
                self.counts["corrupt"] += 1
            elif not self._ready:
                self.counts["early"] += 1  # no keys yet
            else:
                self.association.take(packet, now)
                self._say(now)
        elif kind == wire.STUN_REQUEST:
            self._send(wire.message(wire.STUN_RESPONSE, CONSENT_RESPONSE, self.near))
        elif kind == wire.STUN_RESPONSE:
            self._willing_until = now + CONSENT_LOST
        elif kind == wire.HANDSHAKE and payload[1] < len(FLIGHTS):
            self._shake(payload[1], payload[2], now)
        else:
            self.counts["unknown"] += 1

    def _shake(self, flight: int, part: int, now: int) -> None:
        """A datagram of the handshake came."""
        near, sizes = FLIGHTS[flight]
        if near == self.near:
            self.counts["unknown"] += 1
            return
        self._seen.add((flight, part))
        if not all((flight, each) in self._seen for each in range(len(sizes))):
            return
        if flight == len(FLIGHTS) - 1:
            self._done(now)
        elif flight + 1 >= self._flight:  # what is older comes late, and was answered
            self._fly(flight + 1, now)

    def _fly(self, flight: int, now: int) -> None:
        if flight != self._flight:
            self._patience = ICE_PATIENCE if flight < DTLS_FIRST else DTLS_PATIENCE
        self._flight = flight
        for part, size in enumerate(FLIGHTS[flight][1]):
            self._send(wire.message(wire.HANDSHAKE, size, self.near, flight, part))
        if flight == len(FLIGHTS) - 1:
            self._done(now)
        else:
            self._again_at = now + self._patience
            self._patience = min(2 * self._patience, PATIENCE_MOST)

    def _done(self, now: int) -> None:
        self._again_at = NEVER
        if self._ready:
            return
        self._ready = True
        self._consent_at, self._willing_until = self._ask_next(now), now + CONSENT_LOST
        self.association.connect(now)  # both do (RFC 8841 section 9.3)

    # Datagrams out ----------------------------------------------------------------------------------------------------

    def _send(self, datagram: bytes) -> None:
        if self._out or not self.tx.push(datagram):
            self._out.append(datagram)

    def _say(self, now: int) -> None:
        for packet in self.association.packets(now):
            self._number += 1
            self._send(wire.record(packet, self._number, self.near))

    # Turns ------------------------------------------------------------------------------------------------------------

    def work(self, now: int) -> bool:
        """One round; whether anything happened."""
        frames = self.rx.pop_many(RING_SLOTS)
        association = self.association
        for frame in frames:
            self._take(frame.data, now)
            if association.received:
                self._deliver(now)
        for end in self.ends.values():
            if end.has_work:
                end.settle(now)
        self._timers(now)
        if self._ready and (self.touched or association.poll_at(now) <= now):
            self._say(now)
        self.touched = False
        if association.state == "LOST":
            self.lost = True
        while self._out and self.tx.push(self._out[0]):
            self._out.popleft()
        return bool(frames)

    def _timers(self, now: int) -> None:
        if self.near and self._flight < 0:
            self._fly(0, now)
        if self._again_at <= now:
            self._fly(self._flight, now)
        if self._consent_at <= now:
            self._consent_at = self._ask_next(now)
            self._send(wire.message(wire.STUN_REQUEST, CONSENT_REQUEST, self.near))
        if self._willing_until <= now:
            self.lost = True
            self._consent_at = self._willing_until = NEVER

    def _ask_next(self, now: int) -> int:
        """When to ask for consent the next time: each interval is another, so that nothing that comes and goes can
        keep step with the questions (RFC 7675 section 5.1)."""
        at = now + CONSENT * (80 + self._chance % 41) // 100
        self._chance = (self._chance * 75 + 74) % 65537  # by itself: the other draws of a run stay what they are
        return at

    def _deliver(self, now: int) -> None:
        association = self.association
        named = self.peer.association.sender.named if self.peer.association.sender is not None else {}
        while association.received:
            message = association.received.popleft()
            identity = named.pop(message.tsn, 0)
            end = self.ends.get(message.stream)
            if end is None:
                self.counts["no_channel"] += 1
            elif message.protocol == DCEP:
                if message.payload[:1] == bytes((DCEP_OPEN,)):
                    end.announced = True
                    association.send(message.stream, bytes((DCEP_ACK,)), protocol=DCEP)
                    self.touched = True
            else:
                end.heard(message.payload, identity, now)

    def poll_at(self, now: int) -> int:
        if self.touched and (self._ready or self._flight < 0) or len(self.rx):
            return now
        if self._out and self.tx.has_room(len(self._out[0])):
            return now
        for end in self.ends.values():
            if end.has_work:
                return now
        at = self.association.poll_at(now) if self._ready else NEVER
        return min(at, self._again_at, self._consent_at, self._willing_until)


class SimulatedRtcHop:
    """Both peers, as one node; the link's directions are nodes beside it."""

    name = "simulated-rtc"

    def __init__(self, link: Any, rng: Any, now: int, constants: Constants = AIORTC):
        self.near = RtcHost(True, constants, rng, RING_SLOTS, RING_ARENA)
        self.far = RtcHost(False, constants, rng, RING_SLOTS, RING_ARENA)
        self.near.peer, self.far.peer = self.far, self.near
        near, far = self.near, self.far
        self.directions: Sequence[Any] = link.build(rng, (near.tx, far.rx), (far.tx, near.rx), medium="ip", start=now)
        self._more = False

    def open(
        self, label: str, protocol: str, ordered: bool = True, retransmits: int | None = None
    ) -> tuple[RtcEnd, RtcEnd]:
        """Both ends of a channel."""
        stream = 2 * len(self.near.ends)
        near, far = (RtcEnd(host, stream, ordered, retransmits) for host in (self.near, self.far))
        self.near.ends[stream], self.far.ends[stream] = near, far
        kind = (0 if ordered else 0x80) | (0 if retransmits is None else 1)
        names = label.encode(), protocol.encode()
        head = _OPEN.pack(DCEP_OPEN, kind, 0, retransmits or 0, len(names[0]), len(names[1]))
        self.near.association.send(stream, head + names[0] + names[1], protocol=DCEP)
        near.announced = True
        return near, far

    @property
    def wire(self) -> WireCount:
        """IP bytes and datagrams so far, seen from the near end; those that the link lost were sent."""
        up, down = self.near.tx, self.far.tx
        return WireCount(up.given_bytes, down.given_bytes, up.given, down.given)

    def step(self, now: int) -> None:
        self._more = False
        for turn in range(FAR_END_ROUNDS):
            worked = self.near.work(now) | self.far.work(now)
            if not worked:
                break
            self._more = turn == FAR_END_ROUNDS - 1

    def poll_at(self, now: int) -> int:
        return min(self.near.poll_at(now), self.far.poll_at(now), now if self._more else NEVER)
