"""The synthetic LAN behind a tunnel: gateway, DHCP, DNS and NAT of one guest, as a node.

Theory of operation
-------------------
::

    rx ring -> stack (gateway) -> events -> DHCP | DNS | TCP NAT | UDP NAT | echo -> egress -> world
    tx ring <- stack           <- calls  <-          the same                     <- egress <-

One :meth:`Lan.step` goes once round this picture: frames in, events, due timers, the egress (which makes its calls
up), frames out. Every LAN is alone: nothing is shared between tunnels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from ..audit import Drops, Source
from ..bounds import AUDIT_DROPS_EVERY
from ..causes import Cause
from ..egress.contract import Answer, Egress, EgressSink, Why
from ..errors import Malformed
from ..limits import ECHO_PENDING, ECHO_TIMEOUT, LAN_ROUNDS
from ..stack import Closed, Datagram, EndOfStream, Established, IcmpMessage, Readable, Stack, SynReceived, Writable
from ..wire import dhcp, dns, icmp, icmpv6, udp
from ..wire.address import IP4_ANY, IP4_BROADCAST, in_prefix
from ..wire.ipv4 import Ipv4
from ..wire.ipv6 import Ipv6
from .config import Endpoint, LanConfig
from .dhcp import DhcpServer, Reply
from .dns import DnsServer
from .dns_stream import DnsStream, DnsStreams
from .flows import FlowTable
from .forwards import Forward, Forwards
from .judgement import decide
from .router6 import Advertiser
from .target_names import TargetNames
from .tcp_nat import TcpNat
from .udp_nat import UdpNat

DnsClient = tuple[bytes, int, bytes, int]
"""Who asks the name server: address, port, which of our addresses was asked, and the ticket of a question that came
over TCP (0: over UDP)."""


class Lan:
    """One synthetic LAN. Implements :class:`aero_lab.egress.contract.EgressSink`.

    Parameters
    ----------
    config: addresses, limits, names, forwards, policy.
    make_egress: called with the sink, gives the egress.
    rng: seeded generator, for initial sequence numbers and the like.
    now: nanoseconds.
    audit: told of ended flows, denials, limits and drops.
    make_stack: gives what speaks TCP/IP to the guest; a stack of ours by default.
    """

    name = "lan"

    def __init__(
        self,
        config: LanConfig,
        make_egress: Callable[[EgressSink], Egress],
        rng: Any,
        now: int,
        audit: Source | None = None,
        make_stack: Callable[[LanConfig, Any, int], Any] | None = None,
    ):
        self.config = config
        self.stack: Any = (make_stack or _own_stack)(config, rng, now)
        self.rx, self.tx = self.stack.rx, self.stack.tx
        self.flows = FlowTable(audit=audit)
        self._drops = Drops(audit, AUDIT_DROPS_EVERY) if audit is not None else None
        self.dhcp = DhcpServer(config, self._guest_heard_at)
        self._heard_at = now
        self.dns = DnsServer(config, self._look_up, self._send_dns, self._name_denied)
        self.dns_streams = DnsStreams(self._ask_dns, self.dns.counters)
        self._dns_at = {(address, dns.PORT) for address, _ in config.addresses} - set(config.forward_tcp)
        self.target_names = TargetNames(self._look_up, config.dns_timeout)
        self.tcp = TcpNat(config, self.flows, self.dns, self.stack, self.target_names)
        self.udp = UdpNat(config, self.flows, self.dns, self.stack, self.target_names)
        self.forwards = Forwards(self.tcp, self.udp, self.guest_address, audit)
        self.router6 = Advertiser(config, self.stack, now)
        self.egress = make_egress(self)
        self.tcp.egress = self.udp.egress = self.forwards.egress = self.egress
        self._echoes: dict[int, tuple[IcmpMessage, int]] = {}
        self._next_echo = 1
        self._asked: dict[int, Callable[[Answer], None]] = {}
        self.ident = 1
        """Identification of the next IPv4 packet that the DHCP server sends."""
        self._more = False
        self._count: Counter[str] = Counter()
        # Addresses that the forward map leads elsewhere: no host has them, so echoes to them are answered here.
        self._ours = {
            target[0]
            for forwards in (config.forward_tcp, config.forward_udp)
            for target, outside in forwards.items()
            if target[0] != outside[0]
        }

    # The node -------------------------------------------------------------------------------------------------------

    def step(self, now: int) -> None:
        """One round: frames in, events, timers, egress, frames out."""
        stack = self.stack
        stack.step(now)
        self._events(now)
        self.router6.tick(now)
        self.dns.tick(now)
        self.dns_streams.tick(now)
        self.target_names.tick(now)
        self.udp.tick(now)
        self.tcp.tick(now)
        self.egress.step(now)
        self.tcp.after_egress(now)
        self._more = False
        for turn in range(LAN_ROUNDS):
            if stack.pressing:
                stack.step(now)
            if not self._events(now):
                break
            self._more = turn == LAN_ROUNDS - 1
        if self._drops is not None:
            self._drops.look(self._dropped, now)

    def poll_at(self, now: int) -> int:
        if self._more:
            return now
        return min(
            self.stack.poll_at(now),
            self.egress.poll_at(now),
            self.dns.poll_at(),
            self.target_names.poll_at(),
            self.tcp.poll_at(),
            self.dns_streams.poll_at(),
            self.udp.poll_at(),
            self.router6.poll_at(),
        )

    def close(self, now: int) -> None:
        """End every flow and forward, tell both sides."""
        self.forwards.close_all(now)
        self.tcp.close_all("lan-closed", now)
        self.dns_streams.close_all(now)
        self.udp.close_all("lan-closed", now)
        self.egress.step(now)
        self.stack.step(now)
        if self._drops is not None:
            self._drops.look(self._dropped, now, at_once=True)

    def _dropped(self) -> dict[str, int]:
        """What was dropped, by reason: in the stack, and datagrams and echoes in the NAT."""
        counted = self.counters
        return {name: n for name, n in counted.items() if name.startswith("stack.drop.") or name in _DROPS}

    @property
    def drops(self) -> dict[str, int]:
        """The part of :attr:`counters` that counts drops, by reason."""
        return self._dropped()

    def abandon(self) -> None:
        """Let go of all sockets without a word to anyone, as a process does that dies."""
        for each in (self.egress, self.stack):
            stop = getattr(each, "stop", None)  # virtual ones, and stacks of ours, hold nothing
            if stop is not None:
                stop()

    @property
    def counters(self) -> dict[str, int]:
        """What was done and dropped, by part and reason: ``dns.queries``, ``udp.limit``,
        ``stack.drop.checksum-tcp``..."""
        parts = {
            "lan": self._count,
            "dhcp": self.dhcp.counters,
            "dns": self.dns.counters,
            "tcp": self.tcp.counters,
            "udp": self.udp.counters,
            "forward": {**self.forwards.counters, **self.target_names.counters},
            "egress": self.egress.counters,
            "stack": self.stack.counters,
            "stack.drop": self.stack.drops,
        }
        return {f"{part}.{reason}": n for part, counts in parts.items() for reason, n in counts.items()}

    def guest_address(self) -> bytes:
        """The guest's IPv4 address: the lease if it has one, else what a neighbour on this network calls its own."""
        config = self.config
        if self.dhcp.leased_to is None:
            for address in self.stack.neighbours():
                if len(address) == 4 and in_prefix(address, config.gateway, config.prefix_len):
                    return address
        return config.guest

    def forward(
        self, protocol: str, host: tuple[bytes, int], guest_port: int, now: int, guest: bytes | None = None
    ) -> Forward:
        """Have the host listen at ``host`` (packed address, port or 0) for a port of the guest's.

        Whoever connects there, or sends a datagram, reaches the guest, who sees the gateway. ``guest`` is an address of
        the guest's other than the leased one. Raises :class:`~aero_lab.errors.UsageError`.
        """
        return self.forwards.open(protocol, host, guest_port, now, guest)

    def unforward(self, forward: Forward, now: int) -> None:
        """Close a forward; may be called twice."""
        self.forwards.close(forward, now)

    # Stack events ---------------------------------------------------------------------------------------------------

    def _events(self, now: int) -> int:
        events = self.stack.events()
        for event in events:
            if isinstance(event, Readable):
                self._owner(event.conn).readable(event.conn, now)
            elif isinstance(event, Writable):
                self._owner(event.conn).writable(event.conn, now)
            elif isinstance(event, Datagram):
                self._datagram(event, now)
            elif isinstance(event, SynReceived):
                if self.serves("tcp", event.conn.local) == "dns":
                    self.dns_streams.syn(event.conn, now)
                elif self._leased(event.conn):
                    self.tcp.syn(event.conn, now)
                else:
                    event.conn.refuse("drop", now)
            elif isinstance(event, Established):
                self._owner(event.conn).established(event.conn, now)
            elif isinstance(event, EndOfStream):
                self._owner(event.conn).end_of_stream(event.conn, now)
            elif isinstance(event, Closed):
                self._owner(event.conn).closed(event.conn, event.reason, now)
            elif isinstance(event, IcmpMessage):
                self._icmp(event, now)
        return len(events)

    def _owner(self, conn: Any) -> TcpNat | DnsStreams:
        """Who deals with a connection: it is carried outside, or ends here."""
        return self.dns_streams if type(conn.context) is DnsStream else self.tcp

    @property
    def carries(self) -> bool:
        """Whether flows are carried: always, or only once a lease was acknowledged, as the configuration says."""
        return not self.config.require_lease or self.dhcp.leased_to is not None

    def serves(self, protocol: str, target: Endpoint) -> str | None:
        """What the LAN itself answers at a target, so that it goes nowhere: ``dhcp``, ``dns``, ``echo``, or nothing."""
        address, port = target
        if protocol == "tcp":
            return "dns" if target in self._dns_at else None
        own = any(address == each for each, _ in self.config.addresses)
        if protocol == "icmp":
            return "echo" if own or address in self._ours else None
        if port == dhcp.SERVER_PORT and address in (IP4_BROADCAST, self.config.gateway):
            return "dhcp"
        return "dns" if own and port == dns.PORT else None

    def _leased(self, what: Any) -> bool:
        if not self.carries:
            self._count["no-lease"] += 1
        return self.carries

    def _guest_heard_at(self) -> int:
        """When the leased address last gave a sign of life: a datagram or an echo, or a flow that moves (which it does
        only while the guest acknowledges)."""
        guest = self.config.guest
        moved = [
            record.last_at
            for record in self.flows.live.values()
            if record.protocol == "tcp" and record.direction == "out" and record.guest[0] == guest
        ]
        return max(self._heard_at, *moved) if moved else self._heard_at

    def _datagram(self, event: Datagram, now: int) -> None:
        if event.src == self.config.guest:
            self._heard_at = now
        service = self.serves("udp", (event.dst, event.dport))
        if service == "dhcp":
            for reply in self.dhcp.handle(event.payload, now, unicast=event.dst == self.config.gateway):
                self._send_dhcp(reply, now)
        elif event.src in (IP4_ANY, IP4_BROADCAST):
            self._count["no-source"] += 1
        elif service == "dns":
            self.dns.handle(event.payload, (event.src, event.sport, event.dst, 0), now)
        elif self._leased(event):
            self.udp.outbound(event, now)

    def _send_dhcp(self, reply: Reply, now: int) -> None:
        frame = self.dhcp.packet(reply, self.ident)
        self.ident = self.ident % 0xFFFF + 1
        if not self.stack.send_frame(frame, now, Cause.DHCP):
            self._count["dhcp-no-room"] += 1

    def _ask_dns(self, message: bytes, client: DnsClient, now: int) -> bool:
        return self.dns.handle(message, client, now, stream=True)

    def _send_dns(self, client: DnsClient, payload: bytes, now: int) -> None:
        address, port, source, ticket = client
        if ticket:
            self.dns_streams.answer(ticket, payload, now)
        elif not self.stack.udp_send(source, dns.PORT, address, port, payload, now, cause=Cause.DNS):
            self._count["dns-no-room"] += 1

    def _name_denied(self, client: DnsClient, name: str, why: str, now: int) -> None:
        self.flows.refused("dns", client[:2], name, f"denied-{why}", now)

    def _look_up(self, query: int, name: str, rtype: str, now: int) -> None:
        self.egress.resolve(query, name, rtype, now)

    def look_up(self, name: str, rtype: str, now: int, told: Callable[[Answer], None]) -> None:
        """Ask the world for a name on nobody's behalf: nothing is judged, remembered or counted as a question."""
        query = max(self._asked, default=_ASKED) + 1
        self._asked[query] = told
        self.egress.resolve(query, name, rtype, now)

    def _icmp(self, event: IcmpMessage, now: int) -> None:
        if event.family == 6 and event.type == icmpv6.ROUTER_SOLICIT:
            self.router6.heard(event, now, self._count)
            return
        if event.src == self.config.guest:
            self._heard_at = now
        request, _ = _ECHO_TYPES[len(event.dst)]
        if event.type in _UNREACHABLE[len(event.dst)]:
            self._guest_refuses(event, now)
            return
        if event.type != request or not self._leased(event):
            return
        if self.serves("icmp", (event.dst, 0)) is not None:
            self._echo_reply(event.dst, event.src, event.rest, event.payload, now)
            return
        _, why = decide(self.config, "icmp", (event.dst, 0))
        if why is not None:
            self._count[f"echo-denied-{why}"] += 1
            self.flows.refused("icmp", (event.src, 0), (event.dst, 0), f"denied-{why}", now)
            self.stack.unreachable(event, "prohibited", now)
            return
        while self._echoes:
            oldest = next(iter(self._echoes))
            if len(self._echoes) < ECHO_PENDING and self._echoes[oldest][1] + ECHO_TIMEOUT > now:
                break
            del self._echoes[oldest]
        query = self._next_echo
        self._next_echo += 1
        answer = self.egress.echo(query, event.dst, event.payload, now, event.ttl - 1)
        if answer is None:
            self._echoes[query] = (event, now)
        else:
            # An honest no instead of silence: most hosts do not let ordinary users send echoes.
            self._count["echo-not-possible"] += 1
            self.stack.unreachable(event, _ECHO_REFUSALS[answer], now)

    def _guest_refuses(self, event: IcmpMessage, now: int) -> None:
        """The guest says that nobody listens for a datagram of ours: it came by a forward."""
        v4 = len(event.dst) == 4
        try:
            if v4:
                packet = Ipv4.parse_quoted(event.payload)
                protocol = packet.protocol
            else:
                packet = Ipv6.parse_quoted(event.payload)
                protocol = packet.next_header
        except Malformed:
            self._count["icmp-malformed"] += 1
            return
        if protocol == udp.PROTOCOL and len(packet.payload) >= 4:
            sport, dport = int.from_bytes(packet.payload[:2], "big"), int.from_bytes(packet.payload[2:4], "big")
            self.udp.unreachable_guest((packet.src, sport), (packet.dst, dport), now)

    def _echo_reply(self, src: bytes, dst: bytes, rest: int, payload: bytes, now: int) -> None:
        if not self.stack.icmp_send(src, dst, _ECHO_TYPES[len(dst)][1], 0, rest, payload, now):
            self._count["echo-no-room"] += 1

    # Calls up from the egress ---------------------------------------------------------------------------------------

    def opened(self, flow: int, now: int) -> None:
        self.tcp.opened(flow, now)

    def failed(self, flow: int, why: Why, now: int) -> None:
        (self.tcp if flow in self.tcp else self.udp).failed(flow, why, now)

    def undeliverable(self, flow: int, why: Why, now: int) -> None:
        self.udp.undeliverable(flow, why, now)

    def room(self, flow: int) -> int:
        return self.tcp.room(flow)

    def data(self, flow: int, view: memoryview, now: int) -> None:
        self.tcp.data(flow, view, now)

    def drained(self, flow: int, now: int) -> None:
        self.tcp.drained(flow, now)

    def eof(self, flow: int, now: int) -> None:
        self.tcp.eof(flow, now)

    def reset(self, flow: int, now: int) -> None:
        self.tcp.reset(flow, now)

    def datagram(self, flow: int, payload: bytes, now: int) -> None:
        self.udp.inbound(flow, payload, now)

    def heard(self, port: int, source: Endpoint, payload: bytes, now: int) -> None:
        """A LAN opens no ports: each of its flows has one remote."""

    def source_of(self, flow: int) -> Endpoint | None:
        """The guest's own address and port of a flow, for an egress that keeps guests' ports apart."""
        record = self.flows.live.get(flow)
        return None if record is None else record.guest

    def resolved(self, query: int, answer: Answer, now: int) -> None:
        if query in self._asked:
            self._asked.pop(query)(answer)
        elif query < 0:
            self.target_names.resolved(query, answer, now)
        else:
            self.dns.resolved(query, answer, now)

    def echoed(self, query: int, address: bytes, payload: bytes, now: int) -> None:
        waiting = self._echoes.pop(query, None)
        if waiting is not None:
            event, _ = waiting
            self._echo_reply(event.dst, event.src, event.rest, payload, now)

    def echo_failed(self, query: int, sender: bytes | None, type: int, code: int, rest: int, now: int) -> None:
        waiting = self._echoes.pop(query, None)
        if waiting is None:
            return
        event, _ = waiting
        v4 = len(event.dst) == 4
        own = self.config.gateway if v4 else self.config.gateway6 or event.dst
        # Routers of the host's own network are the host's business: the gateway speaks for them.
        if sender is None or len(sender) != len(event.dst) or self.config.policy.address(sender) is not None:
            sender = own
        quoted = event.packet[: icmp.QUOTE_MAX if v4 else icmpv6.QUOTE_MAX]
        if not self.stack.icmp_send(sender, event.src, type, code, rest, quoted, now):
            self._count["echo-no-room"] += 1

    def accepted(self, listener: int, peer: tuple[bytes, int], now: int) -> int | None:
        return self.forwards.accepted(listener, peer, now)


def _own_stack(config: LanConfig, rng: Any, now: int) -> Stack:
    return Stack(config.stack(), rng, now)


_DROPS = frozenset(
    "lan.no-lease lan.no-source lan.echo-not-possible lan.echo-no-room lan.dhcp-no-room lan.dns-no-room "
    "udp.chatter udp.name-not-known-yet udp.egress-dropped udp.no-room-to-guest "
    "egress.udp-too-big egress.udp-socket-full egress.udp-send-failed".split()
)
"""Counters of a LAN that count drops, beside all of the stack's."""
_ASKED = 1 << 40
"""Numbers of lookups on nobody's behalf: beyond those of the name server, which count up from one."""
_ECHO_TYPES = {
    4: (icmp.ECHO_REQUEST, icmp.ECHO_REPLY),
    16: (icmpv6.ECHO_REQUEST, icmpv6.ECHO_REPLY),
}
_UNREACHABLE = {4: (icmp.UNREACHABLE,), 16: (icmpv6.UNREACHABLE,)}
_ECHO_REFUSALS: dict[Why, str] = {
    "refused": "host-unreachable",
    "net-unreachable": "net-unreachable",
    "unreachable": "host-unreachable",
    "timeout": "host-unreachable",
    "denied": "prohibited",
}
"""What the guest hears of an echo that could not be sent."""
