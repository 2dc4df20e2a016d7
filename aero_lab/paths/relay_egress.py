"""The egress of a LAN that stands at the guest: flows go through a relay.

Theory of operation
-------------------
::

    sink (NAT) <-> RelayEgress <-> a stream, or a channel, a connection  (:mod:`.relay_mux_egress`,
                                   :mod:`.relay_socket_egress`)
                               <-> a message a datagram            <-> channel "udp"
                               <-> a message a question            <-> channel "dns"

It is an :class:`~aero_lab.egress.contract.Egress` like any other: what the sink has no room for waits in the stream's
window, what the relay does not take waits in the sink's connections, whose windows close.

What a relay cannot say: that an ICMP echo was answered, that a datagram's port is closed, that somebody outside came,
and how far the far TCP has acknowledged. The first two are refused or silent, there are no listeners, and
acknowledgements can follow what the relay accepted at most.

A relay of version 1 does not say either when a connection is open: then, as with ``connect="early"``, the guest is
answered at once, and reset when it turns out otherwise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

from ..bounds import RELAY_RESOLVE_TIMEOUT, UDP_RELAY_PAYLOAD
from ..causes import Cause
from ..egress.contract import RECORD_TYPES, Answer, Why, read_answer
from ..errors import Malformed, UsageError
from ..framing import udp_relay
from ..framing.tcp_mux import ErrorCode
from ..limits import RING_SLOTS
from ..rings import FrameRing
from ..transports.base import TransportEnd
from ..wire import dns
from ..wire.dns import DnsMessage

_QUEUE = 256 << 10
"""Bytes of datagrams, and of questions, that wait for their channel."""
_NO = UsageError("connections from outside cannot come in through option A: the relay has no way to tell of them")
_TEXTS: tuple[tuple[str, Why], ...] = (
    ("refused", "refused"),
    ("timed out", "timeout"),
    ("timeout", "timeout"),
    ("network unreachable", "net-unreachable"),
    ("unreachable", "unreachable"),
)
"""Words in the text of an ERROR that tell why a connection failed."""


def why_of(code: int, text: str) -> Why:
    """What an ERROR before a connection was open means to the guest."""
    if code == ErrorCode.POLICY_DENIED:
        return "denied"
    if code == ErrorCode.DIAL_FAILED:
        for word, why in _TEXTS:
            if word in text.lower():
                return why
    return "unreachable"


class Notice:
    """A call up that is due in the next step."""

    __slots__ = ("flow", "what", "why")

    def __init__(self, what: str, flow: int, why: Any = None):
        self.what, self.flow, self.why = what, flow, why


class RelayEgress(ABC):
    """Carries flows through a relay. Implements :class:`~aero_lab.egress.contract.Egress`.

    Parameters
    ----------
    sink: who gets the calls up.
    early: answer a connection before the far side did.
    udp_version: framing of datagrams where both can say it.
    """

    name = "relay-egress"
    tells_unacked = False
    steps_on_acks = False

    def __init__(
        self,
        sink: Any,
        ends: dict[str, TransportEnd],
        *,
        early: bool = False,
        udp_version: int = 1,
        rng: Any = None,
    ):
        self.sink = sink
        self.early = early
        self.udp_version = udp_version
        self._notices: deque[Notice] = deque()
        self._count: Counter[str] = Counter()
        self._udp, self._dns = ends.get("udp"), ends.get("dns")
        self._datagrams, self._questions = FrameRing(RING_SLOTS, _QUEUE), FrameRing(RING_SLOTS, _QUEUE)
        self._by_flow: dict[int, tuple[int, bytes, int]] = {}
        self._by_key: dict[tuple[int, bytes, int], int] = {}
        self._lookups: dict[int, tuple[int, DnsMessage, int]] = {}  # identifier -> query, question, deadline
        self._ident = rng.getrandbits(16) if rng is not None else 0

    @property
    def counters(self) -> dict[str, int]:
        return dict(self._count)

    # TCP is the business of those that know how ---------------------------------------------------------------------

    @property
    def message_counters(self) -> dict[str, int]:
        """Of channels that this opened itself, those of ended ones included."""
        return {}

    talk: Any = None
    """The conversation that can be asked for a round-trip time: ``ping``, ``rtt``, ``on_rtt``; None: there is none."""

    @abstractmethod
    def open_tcp(self, flow: int, address: bytes, port: int, now: int) -> None: ...

    @abstractmethod
    def send(self, flow: int, parts: Sequence[memoryview], now: int) -> int: ...

    @abstractmethod
    def shutdown(self, flow: int, now: int) -> None: ...

    @abstractmethod
    def reset(self, flow: int, now: int) -> None: ...

    @abstractmethod
    def credit(self, flow: int, now: int) -> None: ...

    @abstractmethod
    def round_trip(self, flow: int) -> int: ...

    @abstractmethod
    def step_tcp(self, now: int) -> None:
        """Take what came for connections."""

    @abstractmethod
    def flush_tcp(self, now: int) -> None:
        """Hand what waits to its channel."""

    @abstractmethod
    def poll_tcp(self, now: int) -> int:
        """When there is something to do for connections."""

    @abstractmethod
    def close_tcp(self, flow: int, now: int) -> None:
        """Forget a connection in an orderly way."""

    @abstractmethod
    def told(self, notice: Notice, now: int) -> None:
        """A notice about a connection is due: ``opened`` or ``failed``."""

    def carrier(self, channel: str, up: bool, now: int) -> None:  # noqa: B027
        """The connection of a channel came or went."""

    def close(self, flow: int, now: int) -> None:
        if flow in self._by_flow:
            del self._by_key[self._by_flow.pop(flow)]
        else:
            self.close_tcp(flow, now)

    def unacked(self, flow: int) -> int | None:
        return None

    # UDP ------------------------------------------------------------------------------------------------------------

    def open_udp(self, flow: int, address: bytes, port: int, now: int) -> None:
        source = self.sink.source_of(flow)
        key = (source[1] if source is not None else 0, address, port)
        if self._udp is None or key in self._by_key:
            self._count["udp-not-possible"] += 1
            self._notices.append(Notice("no-datagrams", flow, "unreachable"))
            return
        self._by_flow[flow], self._by_key[key] = key, flow

    def send_datagram(self, flow: int, payload: bytes, now: int) -> bool:
        key = self._by_flow.get(flow)
        if key is None:
            self._count["udp-no-flow"] += 1
        elif len(payload) > UDP_RELAY_PAYLOAD:
            self._count["udp-too-big"] += 1
        elif not self._datagrams.push(udp_relay.encode(*key, payload, self.udp_version), now, cause=Cause.PAYLOAD):
            self._count["udp-no-room"] += 1
        else:
            self._count["udp-datagrams-up"] += 1
            return True
        return False

    def open_port(self, port: int, now: int) -> bool:
        return False

    def send_to(self, port: int, address: bytes, remote_port: int, payload: bytes, now: int) -> bool:
        return False

    def close_port(self, port: int, now: int) -> None:  # noqa: B027
        """There is none."""

    def listen(self, listener: int, kind: str, address: bytes, port: int, now: int) -> tuple[bytes, int]:
        raise _NO

    def unlisten(self, listener: int, now: int) -> None:  # noqa: B027
        """There is none."""

    def echo(self, query: int, address: bytes, payload: bytes, now: int, ttl: int = 64) -> Why | None:
        self._count["echo-denied"] += 1
        return "denied"

    def _hear(self, now: int) -> None:
        if self._udp is None or not len(self._udp.received):
            return
        for message in self._udp.received.pop_many():
            try:
                found = udp_relay.decode(message.data)
            except Malformed as error:
                self._count[f"udp-{error.reason.replace('_', '-')}"] += 1
                continue
            flow = self._by_key.get((found.guest_port, found.remote, found.remote_port))
            if flow is None:
                self._count["udp-unasked"] += 1
                continue
            self._count["udp-datagrams-down"] += 1
            self.sink.datagram(flow, found.payload, now)
        self._udp.taken()

    # Names ----------------------------------------------------------------------------------------------------------

    def resolve(self, query: int, name: str, rtype: str, now: int) -> None:
        for _ in range(0x10000):
            self._ident = (self._ident + 1) & 0xFFFF
            if self._ident not in self._lookups:
                break
        message = DnsMessage.query(self._ident, name, RECORD_TYPES[rtype], dns.Edns())
        if self._dns is None or not self._questions.push(message.emit(), now, cause=Cause.DNS):
            self._count["dns-no-room"] += 1
            self._notices.append(Notice("resolved", query))
            return
        self._lookups[self._ident] = (query, message, now + RELAY_RESOLVE_TIMEOUT)

    def _answers(self, now: int) -> None:
        if self._dns is not None and len(self._dns.received):
            for each in self._dns.received.pop_many():
                try:
                    message = DnsMessage.parse(each.data)
                except Malformed:
                    self._count["dns-malformed"] += 1
                    continue
                waiting = self._lookups.get(message.id)
                if waiting is None or not message.is_response:
                    self._count["dns-unasked"] += 1
                    continue
                query, asked, _ = waiting
                if message.questions and message.questions != asked.questions:
                    self._count["dns-unasked"] += 1
                    continue
                del self._lookups[message.id]
                answer = read_answer(message) if message.questions else Answer("servfail")
                self.sink.resolved(query, answer, now)
            self._dns.taken()
        while self._lookups:  # all wait equally long: the oldest first
            ident = next(iter(self._lookups))
            query, _, deadline = self._lookups[ident]
            if deadline > now:
                break
            del self._lookups[ident]
            self._count["dns-timeout"] += 1
            self.sink.resolved(query, Answer("servfail"), now)

    # The node -------------------------------------------------------------------------------------------------------

    def step(self, now: int) -> None:
        for _ in range(len(self._notices)):
            self._notice(self._notices.popleft(), now)
        self.step_tcp(now)
        self._hear(now)
        self._answers(now)
        self.flush(now)

    def flush(self, now: int) -> None:
        """Hand what waits to the channels, as far as they take it."""
        self.flush_tcp(now)
        for end, ring in ((self._udp, self._datagrams), (self._dns, self._questions)):
            if end is not None and len(ring):
                end.send(ring, now)

    def poll_at(self, now: int) -> int:
        if self._notices:
            return now
        due = self.poll_tcp(now)
        for end, ring in ((self._udp, self._datagrams), (self._dns, self._questions)):
            if end is not None and (len(end.received) or (len(ring) and not end.stalled)):
                return now
        for _, _, deadline in self._lookups.values():
            return min(due, deadline)
        return due

    def _notice(self, notice: Notice, now: int) -> None:
        flow = notice.flow
        if notice.what == "resolved":
            self.sink.resolved(flow, Answer("servfail"), now)
        elif notice.what == "no-datagrams":
            self.sink.failed(flow, notice.why, now)
        else:
            self.told(notice, now)
