"""The egress of a LAN that stands at the guest: flows go through a relay, by tcp-mux, UDP relay and DNS.

Theory of operation
-------------------
::

    sink (NAT) <-> RelayEgress <-> mux: a stream a connection      <-> channel "mux"
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

from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

from ..bounds import UDP_RELAY_PAYLOAD
from ..causes import Cause
from ..egress.contract import RECORD_TYPES, Answer, Why, read_answer
from ..errors import Malformed, UsageError
from ..framing import tcp_mux as mux
from ..framing import udp_relay
from ..framing.tcp_mux import ErrorCode, Open
from ..limits import RESOLVE_TIMEOUT, RING_SLOTS
from ..rings import FrameRing
from ..transports.base import TransportEnd
from ..wire import dns
from ..wire.address import ip_text
from ..wire.dns import DnsMessage
from .mux_port import MuxPort, Stream

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


class _Tcp:
    """A connection of the sink's."""

    __slots__ = ("far_eof", "flow", "open", "stream")

    def __init__(self, flow: int, stream: Stream | None):
        self.flow, self.stream = flow, stream
        self.open = self.far_eof = False


class _Notice:
    """A call up that is due in the next step."""

    __slots__ = ("flow", "what", "why")

    def __init__(self, what: str, flow: int, why: Any = None):
        self.what, self.flow, self.why = what, flow, why


class RelayEgress:
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
        version: int = 2,
        early: bool = False,
        udp_version: int = 1,
        rng: Any = None,
    ):
        self.sink = sink
        self.early = early
        self.udp_version = udp_version
        self.port = MuxPort(self, ends["mux"], "tx", version)
        self._flows: dict[int, _Tcp] = {}
        self._next = 1
        self._down = False
        self._notices: deque[_Notice] = deque()
        self._credited: dict[int, _Tcp] = {}
        self._count: Counter[str] = Counter()
        self._udp, self._dns = ends.get("udp"), ends.get("dns")
        self._datagrams, self._questions = FrameRing(RING_SLOTS, _QUEUE), FrameRing(RING_SLOTS, _QUEUE)
        self._by_flow: dict[int, tuple[int, bytes, int]] = {}
        self._by_key: dict[tuple[int, bytes, int], int] = {}
        self._lookups: dict[int, tuple[int, DnsMessage, int]] = {}  # identifier -> query, question, deadline
        self._ident = rng.getrandbits(16) if rng is not None else 0

    @property
    def counters(self) -> dict[str, int]:
        return {**self._count, **{f"mux-{name}": number for name, number in self.port.counts.items()}}

    # TCP ------------------------------------------------------------------------------------------------------------

    def open_tcp(self, flow: int, address: bytes, port: int, now: int) -> None:
        f = self._flows[flow] = _Tcp(flow, None)
        if self._down:
            self._count["tcp-no-relay"] += 1
            self._notices.append(_Notice("failed", flow, "net-unreachable"))
            return
        number, self._next = self._next, self._next + 1
        f.stream = self.port.add(number, f)
        self.port.say(mux.encode_open(number, ip_text(address), port))
        if self.early or self.port.version == 1:
            self._notices.append(_Notice("opened", flow))

    def send(self, flow: int, parts: Sequence[memoryview], now: int) -> int:
        f = self._flows.get(flow)
        if f is None or not f.open or f.stream is None or f.stream.fin_out:
            return 0
        taken = self.port.send(f.stream, parts, now)
        self._count["tcp-bytes-up"] += taken
        return taken

    def shutdown(self, flow: int, now: int) -> None:
        f = self._flows.get(flow)
        if f is not None and f.open and f.stream is not None:
            self.port.finish(f.stream, now)

    def reset(self, flow: int, now: int) -> None:
        f = self._forget(flow)
        if f is not None and f.stream is not None:
            self.port.abort(f.stream)

    def close(self, flow: int, now: int) -> None:
        if flow in self._by_flow:
            del self._by_key[self._by_flow.pop(flow)]
            return
        f = self._forget(flow)
        if f is None or f.stream is None:
            return
        if f.stream.fin_out and f.far_eof:
            self.port.drop(f.stream)
        else:
            self.port.abort(f.stream)

    def credit(self, flow: int, now: int) -> None:
        f = self._flows.get(flow)
        if f is not None:
            self._credited[flow] = f

    def unacked(self, flow: int) -> int | None:
        return None

    def round_trip(self, flow: int) -> int:
        return self.port.rtt or 0

    def _forget(self, flow: int) -> _Tcp | None:
        self._credited.pop(flow, None)
        return self._flows.pop(flow, None)

    # The mux's calls ------------------------------------------------------------------------------------------------

    def room(self, stream: Stream) -> int:
        f = stream.context
        return self.sink.room(f.flow) if f.open else 0

    def data(self, stream: Stream, view: memoryview, now: int) -> int:
        self._count["tcp-bytes-down"] += len(view)
        self.sink.data(stream.context.flow, view, now)
        return len(view)

    def writable(self, stream: Stream, now: int) -> None:
        self.sink.drained(stream.context.flow, now)

    def credited(self, stream: Stream, now: int) -> None:
        """The first CREDIT of a stream says that the far side answered."""
        f = stream.context
        if not f.open and not self.early:
            self._opened(f, now)

    def finished(self, stream: Stream, now: int) -> None:
        f = stream.context
        if not f.open:
            self._opened(f, now)
        f.far_eof = True
        self.sink.eof(f.flow, now)

    def aborted(self, stream: Stream, now: int) -> None:
        self._gone(stream.context, "refused", now)

    def refused(self, stream: Stream, code: int, text: str, now: int) -> None:
        self._count[f"error-{code}"] += 1
        self.port.drop(stream)
        self._gone(stream.context, why_of(code, text), now)

    def opens(self, number: int, wanted: Open | None, now: int) -> None:
        """A relay opens nothing."""
        self._count["mux-unasked"] += 1

    def strange(self, number: int, kind: int, now: int) -> None:
        """About a stream that we have ended already."""

    def misused(self, stream: Stream, what: str, now: int) -> None:
        self._count[f"mux-{what}"] += 1

    def _opened(self, f: _Tcp, now: int) -> None:
        f.open = True
        self._count["tcp-opened"] += 1
        self.sink.opened(f.flow, now)

    def _gone(self, f: _Tcp, why: Why, now: int) -> None:
        """The relay has ended the stream."""
        if self._forget(f.flow) is None:
            return
        if f.open:
            self._count["tcp-reset-by-world"] += 1
            self.sink.reset(f.flow, now)
        else:
            self._count[f"tcp-{why}"] += 1
            self.sink.failed(f.flow, why, now)

    # UDP ------------------------------------------------------------------------------------------------------------

    def open_udp(self, flow: int, address: bytes, port: int, now: int) -> None:
        source = self.sink.source_of(flow)
        key = (source[1] if source is not None else 0, address, port)
        if self._udp is None or key in self._by_key:
            self._count["udp-not-possible"] += 1
            self._notices.append(_Notice("no-datagrams", flow, "unreachable"))
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

    def close_port(self, port: int, now: int) -> None:
        """There is none."""

    def listen(self, listener: int, kind: str, address: bytes, port: int, now: int) -> tuple[bytes, int]:
        raise _NO

    def unlisten(self, listener: int, now: int) -> None:
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
            self._notices.append(_Notice("resolved", query))
            return
        self._lookups[self._ident] = (query, message, now + RESOLVE_TIMEOUT)

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
        self.port.receive(now)
        while self._credited:
            flow = next(iter(self._credited))
            f = self._credited.pop(flow)
            if f.stream is not None and self._flows.get(flow) is f:
                self.port.deliver(f.stream, now)
        self._hear(now)
        self._answers(now)
        self.flush(now)

    def flush(self, now: int) -> None:
        """Hand what waits to the channels, as far as they take it."""
        self.port.flush(now)
        for end, ring in ((self._udp, self._datagrams), (self._dns, self._questions)):
            if end is not None and len(ring):
                end.send(ring, now)

    def poll_at(self, now: int) -> int:
        if self._notices or self._credited:
            return now
        due = self.port.poll_at(now)
        for end, ring in ((self._udp, self._datagrams), (self._dns, self._questions)):
            if end is not None and (len(end.received) or (len(ring) and not end.stalled)):
                return now
        for _, _, deadline in self._lookups.values():
            return min(due, deadline)
        return due

    def _notice(self, notice: _Notice, now: int) -> None:
        flow = notice.flow
        if notice.what == "resolved":
            self.sink.resolved(flow, Answer("servfail"), now)
        elif notice.what == "no-datagrams":
            self.sink.failed(flow, notice.why, now)
        elif (f := self._flows.get(flow)) is not None:
            if notice.what == "opened":
                if not f.open:
                    self._opened(f, now)
            else:
                self._gone(f, notice.why, now)

    # The channels ---------------------------------------------------------------------------------------------------

    def carrier(self, channel: str, up: bool, now: int) -> None:
        """The connection of a channel came or went. With the mux's go all its streams."""
        if channel != "mux":
            return
        self._down = not up
        if up:
            if getattr(self.port.end, "protocol", None) == mux.V1 and self.port.version != 1:
                self.port.set_version(1)
                self._notices.extend(_Notice("opened", flow) for flow, f in self._flows.items() if not f.open)
            return
        for f in self._flows.values():
            if f.stream is not None:
                f.stream = None
                self._notices.append(_Notice("failed", f.flow, "net-unreachable"))
        self.port.reset()
        self._next = 1
