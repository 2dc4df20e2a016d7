"""The egress in virtual time: the same contract over this package's own stack and a far end, with a link between if
wanted.

::

    sink <-> VirtualEgress: stack (guest role) <-> link up, link down <-> far end: services

All of it is one node, so the LAN in front of it need not know that the world is made of paper: same calls, same
order, same bounds. Names are looked up by DNS queries to the far end, echoes are real ICMP.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import AeroLabError, Malformed, UsageError
from ..limits import (
    ECHO_PENDING,
    ECHO_TIMEOUT,
    FAR_END_ROUNDS,
    IPV6_MTU_MIN,
    LAN_READ_LOW_WATER,
    MTU_DEFAULT,
    SECOND,
)
from ..link import Link
from ..services.far_end import FarEnd
from ..stack import (
    Closed,
    Datagram,
    EndOfStream,
    Established,
    IcmpMessage,
    Readable,
    Stack,
    StackConfig,
    TcpConfig,
    Writable,
)
from ..wire import dns, icmp, icmpv6, ipv4, ipv6, udp
from ..wire.address import ip
from ..wire.dns import DnsMessage
from .contract import RECORD_TYPES, Answer, EgressSink, Why, read_answer

ADDRESS, ADDRESS6, RESOLVER = ip("198.51.100.2"), ip("2001:db8:51::2"), ip("203.0.113.53")
"""Where the proxy stands in the paper world (TEST-NET-2 and the documentation prefix), and the name server it asks."""
_FIRST_PORT, _LAST_PORT = 49152, 65535
_RETRY, _TRIES = SECOND, 2
_FIN_NOT_ACKED = ("SYN-RECEIVED", "ESTABLISHED", "CLOSE-WAIT", "FIN-WAIT-1", "CLOSING", "LAST-ACK")
_WHY: dict[str, Why] = {"refused": "refused", "reset": "refused", "timeout": "timeout", "unreachable": "unreachable"}


@dataclass
class _Flow:
    flow: int
    kind: str
    target: tuple[bytes, int]
    conn: Any = None
    port: int = 0
    opened: bool = False
    ended: bool = False  # the far end's FIN is here
    told_eof: bool = False
    want_write: bool = False
    shut: bool = False


@dataclass
class _Lookup:
    query: int
    message: DnsMessage
    tries: int
    deadline: int
    port: int = field(default=0)


class VirtualEgress:
    """Carries flows to a far end in virtual time. Implements :class:`.contract.Egress`.

    Parameters
    ----------
    sink: who gets the calls up; may be set later, before the first step.
    rng: seeded generator.
    now: nanoseconds.
    far_end: the world; one with the lab's services by default.
    link: what lies between; nothing by default.
    tcp: TCP parameters towards the world.
    """

    name = "virtual-egress"

    def __init__(
        self,
        sink: EgressSink | None,
        rng: Any,
        now: int,
        far_end: FarEnd | None = None,
        link: Link | None = None,
        mtu: int = MTU_DEFAULT,
        tcp: TcpConfig | None = None,
        max_connections: int = 1024,
    ):
        self.sink: Any = sink
        self.far_end = far_end or FarEnd(rng, now, mtu=mtu, max_connections=max_connections)
        self._own = {4: ADDRESS}
        if mtu >= IPV6_MTU_MIN:
            self._own[16] = ADDRESS6
        config = StackConfig(
            role="guest",
            medium="ip",
            addresses=tuple((address, 24 if size == 4 else 64) for size, address in self._own.items()),
            mtu=mtu,
            max_connections=max_connections,
            tcp=tcp or TcpConfig(nagle=False),
        )
        self.stack = Stack(config, rng, now)
        self.link = link
        self._directions: tuple[Any, ...] = ()
        if link is not None:
            up, down = (self.stack.tx, self.far_end.rx), (self.far_end.tx, self.stack.rx)
            self._directions = link.build(rng, up, down, medium="ip", start=now)
        self._rng = rng
        self._flows: dict[int, _Flow] = {}
        self._by_port: dict[int, _Flow] = {}
        self._open_ports: dict[int, int] = {}  # number of the sink's -> port of ours
        self._ports_by_own: dict[int, int] = {}
        self._lookups: dict[int, _Lookup] = {}
        self._echoes: dict[int, tuple[int, int]] = {}  # sequence number -> (query, time)
        self._notices: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        """What could not be told at once: a method, and what it takes before the time."""
        self._credited: dict[int, _Flow] = {}
        self._cut_short: dict[int, _Flow] = {}
        self._low = min(LAN_READ_LOW_WATER, config.tcp.send_buffer // 4)
        self._port = _FIRST_PORT
        self._sequence = 0
        self._more = False
        self._count: Counter[str] = Counter()

    @property
    def counters(self) -> dict[str, int]:
        return dict(self._count)

    # TCP ------------------------------------------------------------------------------------------------------------

    def open_tcp(self, flow: int, address: bytes, port: int, now: int) -> None:
        f = self._flows[flow] = _Flow(flow, "tcp", (address, port))
        try:
            f.conn = self.stack.connect(address, port, now=now)
        except AeroLabError:
            # No slot or port left, or an IPv6 address in a world whose MTU is too small for IPv6.
            self._count["tcp-not-possible"] += 1
            self._fail(f, "unreachable")
        else:
            f.conn.context = f

    def send(self, flow: int, parts: Sequence[memoryview], now: int) -> int:
        f = self._flows.get(flow)
        if f is None or not f.opened or f.conn is None:
            return 0
        taken = 0
        for part in parts:
            size = f.conn.write(part, now)
            taken += size
            if size < len(part):
                f.want_write = True
                self._cut_short[flow] = f
                break
        self._count["tcp-bytes-up"] += taken
        return taken

    def shutdown(self, flow: int, now: int) -> None:
        f = self._flows.get(flow)
        if f is not None and f.conn is not None and f.opened:
            f.shut = True
            f.conn.shutdown(now)

    def reset(self, flow: int, now: int) -> None:
        f = self._forget(flow)
        if f is not None and f.conn is not None:
            f.conn.context = None
            f.conn.abort(now)

    def credit(self, flow: int, now: int) -> None:
        f = self._flows.get(flow)
        if f is not None and f.conn is not None:
            self._credited[flow] = f

    tells_unacked = True
    steps_on_acks = True

    def unacked(self, flow: int) -> int | None:
        f = self._flows.get(flow)
        if f is None or f.conn is None:
            return None
        if f.conn.closed:
            return 0 if f.conn.reason == "closed" else None
        return f.conn.unacked + (f.shut and f.conn.state in _FIN_NOT_ACKED)

    def round_trip(self, flow: int) -> int:
        f = self._flows.get(flow)
        return 0 if f is None or f.conn is None else f.conn.info()["srtt"]

    def close(self, flow: int, now: int) -> None:
        f = self._forget(flow)
        if f is not None and f.conn is not None:
            f.conn.context = None
            if f.opened and f.ended and not f.conn.readable:
                f.conn.shutdown(now)
            else:
                f.conn.abort(now)

    # UDP, names, echo -----------------------------------------------------------------------------------------------

    def open_udp(self, flow: int, address: bytes, port: int, now: int) -> None:
        f = self._flows[flow] = _Flow(flow, "udp", (address, port))
        f.port = self._free_port()
        if not f.port or len(address) not in self._own:
            self._fail(f, "unreachable")
            return
        f.opened = True
        self._by_port[f.port] = f

    def send_datagram(self, flow: int, payload: bytes, now: int) -> bool:
        f = self._flows.get(flow)
        if f is None or not f.opened or f.kind != "udp":
            self._count["udp-no-flow"] += 1
            return False
        if not self.stack.udp_send(self._own[len(f.target[0])], f.port, *f.target, payload, now):
            self._count["udp-no-room"] += 1
            return False
        self._count["udp-datagrams-up"] += 1
        return True

    def open_port(self, port: int, now: int) -> bool:
        own = self._free_port()
        if not own:
            return False
        self._open_ports[port], self._ports_by_own[own] = own, port
        return True

    def send_to(self, port: int, address: bytes, remote_port: int, payload: bytes, now: int) -> bool:
        own, source = self._open_ports.get(port), self._own.get(len(address))
        if own is None or source is None:
            self._count["udp-no-flow"] += 1
            return False
        if not self.stack.udp_send(source, own, address, remote_port, payload, now):
            self._count["udp-no-room"] += 1
            return False
        self._count["udp-datagrams-up"] += 1
        return True

    def close_port(self, port: int, now: int) -> None:
        self._ports_by_own.pop(self._open_ports.pop(port, 0), None)

    def resolve(self, query: int, name: str, rtype: str, now: int) -> None:
        port = self._free_port()
        if not port:
            self._notices.append((self._cannot_resolve, (query,)))
            return
        message = DnsMessage.query(self._rng.getrandbits(16), name, RECORD_TYPES[rtype], dns.Edns())
        self._lookups[port] = _Lookup(query, message, 0, now, port)

    def listen(self, listener: int, kind: str, address: bytes, port: int, now: int) -> tuple[bytes, int]:
        raise UsageError("in virtual time there is no host that could listen: forwards are for real time")

    def unlisten(self, listener: int, now: int) -> None:
        """There is none."""

    def echo(self, query: int, address: bytes, payload: bytes, now: int, ttl: int = 64) -> Why | None:
        while self._echoes:
            oldest = next(iter(self._echoes))
            if len(self._echoes) < ECHO_PENDING and self._echoes[oldest][1] + ECHO_TIMEOUT > now:
                break
            del self._echoes[oldest]
        self._sequence = (self._sequence + 1) & 0xFFFF
        source = self._own.get(len(address))
        sent = source is not None and self.stack.icmp_echo(source, address, 1, self._sequence, payload, now)
        if sent:
            self._echoes[self._sequence] = (query, now)
        self._count["echo-sent" if sent else "echo-unreachable"] += 1
        return None if sent else "unreachable"

    # The node -------------------------------------------------------------------------------------------------------

    def poll_at(self, now: int) -> int:
        if self._notices or self._credited or self._more:
            return now
        if not self._directions and (len(self.stack.tx) or len(self.far_end.tx)):
            return now  # packets of calls between two steps, which nobody but us carries
        due = min(self.stack.poll_at(now), self.far_end.poll_at(now))
        for direction in self._directions:
            due = min(due, direction.poll_at(now))
        for lookup in self._lookups.values():
            due = min(due, lookup.deadline)
        return due

    def step(self, now: int) -> None:
        for _ in range(len(self._notices)):
            tell, about = self._notices.popleft()
            tell(*about, now)
        self._look_up(now)
        self._more = False
        for turn in range(FAR_END_ROUNDS):
            worked = self._carry(now)
            events = self.stack.events()
            for event in events:
                self._event(event, now)
            credited, self._credited = self._credited, {}
            for f in credited.values():
                self._deliver(f, now)
            for f in list(self._cut_short.values()):
                self._drained(f, now)
            if not (worked or events or credited):
                break
            self._more = turn == FAR_END_ROUNDS - 1

    def _carry(self, now: int) -> bool:
        """Packets once round: stack, link, far end, link."""
        before = (len(self.stack.tx), len(self.far_end.tx), len(self.stack.rx), len(self.far_end.rx))
        self.stack.step(now)
        if self._directions:
            up, down = self._directions
            up.step(now)
            self.far_end.step(now)
            down.step(now)
            moved = 0
        else:
            moved = self.stack.tx.move_to(self.far_end.rx)
            self.far_end.step(now)
            moved += self.far_end.tx.move_to(self.stack.rx)
        after = (len(self.stack.tx), len(self.far_end.tx), len(self.stack.rx), len(self.far_end.rx))
        return bool(moved) or before != after

    # Events of the stack --------------------------------------------------------------------------------------------

    def _event(self, event: Any, now: int) -> None:
        if isinstance(event, Datagram):
            self._datagram(event, now)
            return
        if isinstance(event, IcmpMessage):
            self._icmp(event, now)
            return
        f = event.conn.context
        if f is None or self._flows.get(f.flow) is not f:
            return
        if isinstance(event, Established):
            f.opened = True
            self._count["tcp-opened"] += 1
            self.sink.opened(f.flow, now)
        elif isinstance(event, Readable):
            self._deliver(f, now)
        elif isinstance(event, Writable):
            self._drained(f, now)
        elif isinstance(event, EndOfStream):
            f.ended = True
            self._deliver(f, now)
        elif isinstance(event, Closed):
            self._closed(f, event.reason, now)

    def _deliver(self, f: _Flow, now: int) -> None:
        """Bytes up to the sink, as it has room; then the end, once everything before it went."""
        conn = f.conn
        while conn is not None and conn.readable:
            room = self.sink.room(f.flow)
            if room <= 0:
                return
            part = next(part for part in conn.peek() if len(part))[:room]
            size = len(part)
            self._count["tcp-bytes-down"] += size
            self.sink.data(f.flow, part, now)
            if self._flows.get(f.flow) is not f:
                return
            conn.consume(size, now)
        if f.ended and not f.told_eof:
            f.told_eof = True
            self.sink.eof(f.flow, now)

    def _drained(self, f: _Flow, now: int) -> None:
        if f.want_write and f.conn is not None and f.conn.room >= self._low:
            f.want_write = False
            self._cut_short.pop(f.flow, None)
            self.sink.drained(f.flow, now)

    def _closed(self, f: _Flow, reason: str, now: int) -> None:
        if not f.opened:
            self._forget(f.flow)
            self.sink.failed(f.flow, _WHY.get(reason, "unreachable"), now)
        elif reason == "closed" and f.ended:
            # Both ends were exchanged: what is unread must still reach the sink.
            f.conn.context = None
        else:
            self._forget(f.flow)
            self._count["tcp-reset-by-world"] += 1
            self.sink.reset(f.flow, now)

    def _datagram(self, event: Datagram, now: int) -> None:
        lookup = self._lookups.get(event.dport)
        if lookup is not None:
            if event.src == RESOLVER and event.sport == dns.PORT:
                self._answered(lookup, event.payload, now)
            return
        if (port := self._ports_by_own.get(event.dport)) is not None:
            self._count["udp-datagrams-down"] += 1
            self.sink.heard(port, (event.src, event.sport), event.payload, now)
            return
        f = self._by_port.get(event.dport)
        if f is None or f.target != (event.src, event.sport):
            self._count["udp-unasked"] += 1
            return
        self._count["udp-datagrams-down"] += 1
        self.sink.datagram(f.flow, event.payload, now)

    def _icmp(self, event: IcmpMessage, now: int) -> None:
        size = len(event.dst)
        if event.type == (icmp.ECHO_REPLY if size == 4 else icmpv6.ECHO_REPLY):
            waiting = self._echoes.pop(event.rest & 0xFFFF, None)
            if waiting is not None:
                self._count["echo-replies"] += 1
                self.sink.echoed(waiting[0], event.src, event.payload, now)
        elif event.type == (icmp.UNREACHABLE if size == 4 else icmpv6.UNREACHABLE):
            self._unreachable(event, now)

    def _unreachable(self, event: IcmpMessage, now: int) -> None:
        """What an ICMP error says about a datagram of ours."""
        try:
            if len(event.dst) == 4:
                packet = ipv4.Ipv4.parse_quoted(event.payload)
                protocol, refused = packet.protocol, event.code == icmp.PORT_UNREACHABLE
            else:
                packet = ipv6.Ipv6.parse_quoted(event.payload)
                protocol, refused = packet.next_header, event.code == icmpv6.PORT_UNREACHABLE
        except Malformed:
            self._count["icmp-malformed"] += 1
            return
        if protocol != udp.PROTOCOL or len(packet.payload) < 4:
            return
        f = self._by_port.get(int.from_bytes(packet.payload[:2], "big"))
        if f is not None and f.target == (packet.dst, int.from_bytes(packet.payload[2:4], "big")):
            why: Why = "refused" if refused else "unreachable"
            self._count[f"udp-{why}"] += 1
            self.sink.undeliverable(f.flow, why, now)

    # Names ----------------------------------------------------------------------------------------------------------

    def _look_up(self, now: int) -> None:
        for lookup in list(self._lookups.values()):
            if lookup.deadline > now:
                continue
            if lookup.tries >= _TRIES:
                del self._lookups[lookup.port]
                self.sink.resolved(lookup.query, Answer("servfail"), now)
                continue
            lookup.tries += 1
            lookup.deadline = now + _RETRY
            self.stack.udp_send(ADDRESS, lookup.port, RESOLVER, dns.PORT, lookup.message.emit(), now)

    def _answered(self, lookup: _Lookup, payload: bytes, now: int) -> None:
        try:
            message = DnsMessage.parse(payload)
        except Malformed:
            self._count["dns-malformed"] += 1
            return
        if not message.is_response or message.id != lookup.message.id or message.questions != lookup.message.questions:
            self._count["dns-unasked"] += 1
            return
        del self._lookups[lookup.port]
        answer = read_answer(message)
        self.sink.resolved(lookup.query, answer, now)

    # Helpers --------------------------------------------------------------------------------------------------------

    def _forget(self, flow: int) -> _Flow | None:
        f = self._flows.pop(flow, None)
        if f is not None:
            self._by_port.pop(f.port, None)
            self._credited.pop(flow, None)
            self._cut_short.pop(flow, None)
        return f

    def _fail(self, f: _Flow, why: Why) -> None:
        self._notices.append((self._failed, (f, why)))

    def _failed(self, f: _Flow, why: Why, now: int) -> None:
        if self._flows.get(f.flow) is f:
            self._forget(f.flow)
            self.sink.failed(f.flow, why, now)

    def _cannot_resolve(self, query: int, now: int) -> None:
        self.sink.resolved(query, Answer("servfail"), now)

    def _free_port(self) -> int:
        """A UDP port of ours that is not in use, in turn; 0 when all are."""
        for _ in range(_LAST_PORT - _FIRST_PORT + 1):
            port = self._port
            self._port = port + 1 if port < _LAST_PORT else _FIRST_PORT
            if port not in self._by_port and port not in self._lookups and port not in self._ports_by_own:
                return port
        return 0


__all__ = ["ADDRESS", "RESOLVER", "VirtualEgress"]
