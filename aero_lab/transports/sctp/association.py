"""An SCTP association: the four-way handshake, then messages each way (RFC 9260 sections 5 and 6)."""

from __future__ import annotations

from collections import deque
from typing import Any

from ...errors import Malformed
from ...limits import NEVER
from . import chunks as wire
from .chunks import Chunk, Data, ForwardTsn, Init, Plain, Sack, emit_packet, parse_packet
from .constants import RFC, Constants
from .receiver import Receiver, unwrapped
from .sender import Sender
from .streams import Inbound, Message, Outgoing

STREAMS = 65535
BINARY, BINARY_EMPTY = 53, 57
"""Payload protocol identifiers of RFC 8831 section 8."""
SHAKES = 8
"""Times that INIT and COOKIE ECHO are sent again (Max.Init.Retransmits)."""
PACKETS_AT_ONCE = 4096
"""Packets of one call; what goes beyond them goes in the next, at once."""
SACK_ALONE = wire.PACKET_HEADER + wire.SACK_HEADER
"""Bytes of a packet with a SACK that tells of no gaps and no duplicates."""


class Association:
    """One end. Everything is told ``now``, ns; nothing is sent but what :meth:`packets` returns.

    Parameters
    ----------
    constants: the habits of the implementation it stands for.
    rng: seeded; gives the tag and the first TSN.
    checksum: CRC32c in every packet; DTLS makes it unnecessary, and RFC 9653 allows to leave it out.
    """

    def __init__(self, constants: Constants = RFC, rng: Any = None, checksum: bool = False, port: int = 5000):
        self.constants = constants
        self.state = "CLOSED"
        """By its RFC name, of ``CLOSED COOKIE-WAIT COOKIE-ECHOED ESTABLISHED``, or ``LOST``."""
        self.received: deque[Message] = deque()
        """Messages that came; the owner takes them out."""
        self.holding = 0
        """Bytes that the owner took out and cannot get rid of: the peer is promised that much less."""
        self.counts = dict.fromkeys(
            ("packets_sent", "packets_received", "malformed", "no_window", "ignored", "duplicates"), 0
        )
        self._checksum, self._port = checksum, port
        self._tag = rng.getrandbits(32) or 1
        self._first = rng.getrandbits(32)
        self._peer_tag = 0
        self.sender: Sender | None = None
        self.receiver: Receiver | None = None
        self.inbound = Inbound()
        self.early: deque[Outgoing] = deque()
        """Messages of before there was an association."""
        self._control: list[Chunk] = []
        self._shake: Chunk | None = None
        self._shake_at, self._shakes, self._shake_rto = NEVER, 0, constants.rto_initial
        self._closed_window = False
        self._more = False
        """The last call of :meth:`packets` ended before it had said everything."""

    # Messages ---------------------------------------------------------------------------------------------------------

    def connect(self, now: int) -> None:
        """Open the association (sends INIT)."""
        self.state = "COOKIE-WAIT"
        self._begin_shake(self._init(wire.INIT), now)

    def send(
        self,
        stream: int,
        payload: bytes,
        *,
        protocol: int = BINARY,
        ordered: bool = True,
        retransmits: int | None = None,
        until: int = NEVER,
        identity: int = 0,
    ) -> None:
        """Queue a message. ``retransmits``: it is sent again so many times at most; ``until``: and not after that
        time. ``identity``: see :attr:`Sender.named`."""
        if not payload and protocol == BINARY:
            payload, protocol = b"\0", BINARY_EMPTY
        message = Outgoing(stream, protocol, payload, not ordered, retransmits, until, identity)
        if self.sender is not None and self.state == "ESTABLISHED":
            self.sender.put(message)
        else:
            self.early.append(message)

    def buffered(self, stream: int) -> int:
        """Bytes of a stream's messages that have not begun to be sent."""
        if self.sender is not None and not self.early:
            return self.sender.queued.get(stream, 0)
        return sum(len(message.payload) for message in self.early if message.stream == stream)

    def hold(self, size: int) -> None:
        """The owner holds so many bytes more (or, negative, less) than before."""
        self.holding += size
        if self._closed_window and self._room > 0 and self.receiver is not None:
            self._closed_window = False
            self.receiver.now_due = True  # the peer has to learn that there is room

    @property
    def _room(self) -> int:
        return self.constants.a_rwnd - self.inbound.held - self.holding

    # Packets in -------------------------------------------------------------------------------------------------------

    def take(self, packet: bytes | memoryview, now: int) -> None:
        """A packet came."""
        self.counts["packets_received"] += 1
        try:
            _, _, tag, found = parse_packet(packet, self._checksum)
        except Malformed:
            self.counts["malformed"] += 1
            return
        known = tag == self._tag or (tag == 0 and len(found) == 1 and found[0].kind == wire.INIT)
        if not known or self.state == "LOST":
            self.counts["ignored"] += 1
            return
        data = False
        for chunk in found:
            if isinstance(chunk, Data):
                data |= self._take_data(chunk)
            elif isinstance(chunk, Sack):
                if self.sender is not None:
                    self.sender.sack(chunk, now)
            elif isinstance(chunk, ForwardTsn):
                data |= self._take_forward(chunk)
            elif isinstance(chunk, Init):
                self._take_init(chunk, now)
            else:
                self._take_plain(chunk, now)
        if data and self.receiver is not None:
            self.receiver.packet(now)

    def _take_data(self, chunk: Data) -> bool:
        receiver = self.receiver
        if receiver is None:
            self.counts["ignored"] += 1
            return False
        tsn = unwrapped(chunk.tsn, receiver.cumulative)
        most = self.constants.a_rwnd
        crowded = self._room <= 0 and tsn != receiver.cumulative + 1
        if crowded or self.holding >= most or self.inbound.held >= 2 * most:
            # Section 6.2: a receiver without room discards, acknowledges nothing of it, and the sender tries again.
            self.counts["no_window"] += 1
            self._closed_window = True
            return True
        if not receiver.take(tsn):
            self.counts["duplicates"] += 1
            return True
        for message in self.inbound.take(tsn, chunk):
            self._deliver(message)
        return True

    def _deliver(self, message: Message) -> None:
        if message.protocol == BINARY_EMPTY:
            message = message._replace(payload=b"", protocol=BINARY)
        self.received.append(message)

    def _take_forward(self, chunk: ForwardTsn) -> bool:
        receiver = self.receiver
        if receiver is None:
            return False
        if receiver.forward(unwrapped(chunk.cumulative, receiver.cumulative)):
            for message in self.inbound.forward(receiver.cumulative, chunk.skipped):
                self._deliver(message)
        return True

    def _take_init(self, chunk: Init, now: int) -> None:
        if chunk.kind == wire.INIT:
            # What a real one keeps in its cookie is kept here: nobody spoofs addresses in a simulation.
            cookie = b"".join(value.to_bytes(4, "big") for value in (chunk.tag, chunk.tsn, chunk.a_rwnd))
            answer = self._init(wire.INIT_ACK, cookie + bytes(COOKIE - len(cookie)))
            self._answer(answer, chunk.tag)
            return
        cookie = next((value for kind, value in chunk.parameters if kind == wire.STATE_COOKIE), None)
        if self.state != "COOKIE-WAIT" or cookie is None:
            return
        self._meet(chunk.tag, chunk.tsn, chunk.a_rwnd)
        self.state = "COOKIE-ECHOED"
        self._begin_shake(Plain(wire.COOKIE_ECHO, cookie), now)

    def _take_plain(self, chunk: Plain, now: int) -> None:
        kind = chunk.kind
        if kind == wire.COOKIE_ECHO:
            if len(chunk.body) != COOKIE:
                self.counts["ignored"] += 1
                return
            if self.state != "ESTABLISHED":
                tag, tsn, window = (int.from_bytes(chunk.body[at : at + 4], "big") for at in (0, 4, 8))
                # Both ends may begin: who met the peer by its INIT ACK may have its data already (section 5.2.4 D).
                if self.receiver is None or tag != self._peer_tag:
                    self._meet(tag, tsn, window)
                self._open()
            self._control.append(Plain(wire.COOKIE_ACK))
        elif kind == wire.COOKIE_ACK:
            if self.state == "COOKIE-ECHOED":
                self._open()
        elif kind == wire.HEARTBEAT:
            self._control.append(Plain(wire.HEARTBEAT_ACK, chunk.body))
        elif kind == wire.ABORT:
            self._lose()

    def _init(self, kind: int, cookie: bytes | None = None) -> Init:
        parameters: list[tuple[int, bytes]] = [
            (wire.FORWARD_SUPPORTED, b""),
            (SUPPORTED_EXTENSIONS, bytes((wire.FORWARD_TSN, RECONFIG))),
        ]
        if cookie is not None:
            parameters.append((wire.STATE_COOKIE, cookie))
        return Init(self._tag, self.constants.a_rwnd, STREAMS, STREAMS, self._first, tuple(parameters), kind)

    def _meet(self, tag: int, tsn: int, window: int) -> None:
        self._peer_tag = tag
        self.receiver = Receiver(self.constants, tsn)
        self.sender = Sender(self.constants, self._first, window)

    def _open(self) -> None:
        self.state = "ESTABLISHED"
        self._shake, self._shake_at = None, NEVER
        assert self.sender is not None
        for message in self.early:
            self.sender.put(message)
        self.early.clear()

    def _lose(self) -> None:
        self.state = "LOST"
        self._shake, self._shake_at = None, NEVER
        if self.sender is not None:
            self.sender.expires = NEVER

    # Packets out ------------------------------------------------------------------------------------------------------

    def _begin_shake(self, chunk: Chunk, now: int) -> None:
        self._shake, self._shakes, self._shake_rto = chunk, 0, self.constants.rto_initial
        self._shake_at = now

    def _answer(self, answer: Init, tag: int) -> None:
        self._control.append(answer)
        self._answer_tag = tag

    _answer_tag = 0

    def packets(self, now: int) -> list[bytes]:
        """All that has to go now."""
        out: list[bytes] = []
        self._more = False
        if self._shake is not None and self._shake_at <= now:
            self._say_shake(now, out)
        for chunk in self._control:
            tag = self._answer_tag if isinstance(chunk, Init) else self._peer_tag
            out.append(self._packet(chunk.emit(), tag))
        self._control.clear()
        sender, receiver = self.sender, self.receiver
        if receiver is not None and receiver.due <= now:
            receiver.now_due = True
        if sender is None or receiver is None or self.state in ("LOST", "COOKIE-WAIT"):
            return out
        if sender.expires <= now:
            sender.expire(now)
            if self.constants.retransmissions and sender.failures > self.constants.retransmissions:
                self._lose()
                return out
        if self.state == "ESTABLISHED" and sender.ready:
            self._say_data(sender, receiver, now, out)
        if receiver.now_due:
            out.append(self._packet(self._sack(receiver), self._peer_tag))
        return out

    def _say_shake(self, now: int, out: list[bytes]) -> None:
        assert self._shake is not None
        if self._shakes > SHAKES:
            self._lose()
            return
        out.append(self._packet(self._shake.emit(), self._peer_tag if self.state == "COOKIE-ECHOED" else 0))
        self._shakes += 1
        self._shake_at = now + self._shake_rto
        if self.constants.rto_backoff:
            self._shake_rto = min(2 * self._shake_rto, self.constants.rto_max)

    def _say_data(self, sender: Sender, receiver: Receiver, now: int, out: list[bytes]) -> None:
        sender.begin(now)
        whole = self.constants.packet - wire.PACKET_HEADER
        for _ in range(PACKETS_AT_ONCE):
            room, parts = whole, []
            if receiver.now_due and self.constants.bundle and sender.ready:
                ack = self._sack(receiver)
                parts.append(ack)
                room -= len(ack)
            before = len(parts)
            while (chunk := sender.next(now, room)) is not None:
                raw = chunk.emit()
                parts.append(raw)
                room -= len(raw)
                if not self.constants.bundle:
                    break
            if parts:
                out.append(self._packet(b"".join(parts), self._peer_tag))
            if len(parts) == before:
                return
            sender.end_packet()
        self._more = True

    def _sack(self, receiver: Receiver) -> bytes:
        window = self._room
        if window <= 0:
            self._closed_window = True
        return receiver.sack(max(0, window), (self.constants.packet - SACK_ALONE) >> 2).emit()

    def _packet(self, body: bytes, tag: int) -> bytes:
        self.counts["packets_sent"] += 1
        return emit_packet(self._port, self._port, tag, body, self._checksum)

    def poll_at(self, now: int) -> int:
        """When :meth:`packets` is to be called: ``now`` when it has something already."""
        if self._control or self._more:
            return now
        at = self._shake_at
        sender, receiver = self.sender, self.receiver
        if receiver is not None:
            at = min(at, now if receiver.now_due else receiver.due)
        if sender is not None and self.state != "LOST":
            at = min(at, sender.expires)
        return at


COOKIE = 24
"""Bytes of a state cookie: aiortc's."""
SUPPORTED_EXTENSIONS, RECONFIG = 0x8008, 130
