"""UDP through the NAT: a flow for each (guest port, remote address, remote port), as long as it is used.

Symmetric: only the remote that the guest aimed at can answer, and the answer bears the address the guest aimed at,
whatever the forward map made of it. Flows end when idle; datagrams over any limit are dropped and counted, as UDP
allows. ICMP errors from the world are told to the guest and end nothing (RFC 4787 REQ-12).

An inbound flow is one peer outside who speaks to a forward: the guest sees a port of the gateway's, one for each peer,
and what it answers there goes to that peer.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from functools import partial
from typing import Any

from ..bounds import FORWARD_SHARE, NAT_NAME_DATAGRAMS
from ..egress.contract import Egress, Why
from ..limits import NEVER
from ..services.unreachable import HOST, NET, PORT, PROHIBITED, unreachable
from ..stack import Datagram
from ..wire.address import IP4_ANY, IP4_BROADCAST, directed_broadcast, is_multicast
from .config import LanConfig, Target
from .dns import DnsServer
from .flows import Endpoint, FlowRecord, FlowTable
from .judgement import decide

_TELL: dict[Why, str] = {
    "refused": PORT,
    "net-unreachable": NET,
    "unreachable": HOST,
    "timeout": HOST,
    "denied": PROHIBITED,
}
_FIRST_PORT, _LAST_PORT = 49152, 65535
"""Ports of the gateway's that stand for peers outside (RFC 6335: the dynamic ones)."""


class UdpNat:
    """All UDP flows of one LAN. ``flows`` are in the order of their last use, so the idle ones come first."""

    def __init__(self, config: LanConfig, table: FlowTable, dns: DnsServer, stack: Any, names: Any = None):
        self._config, self._table, self._dns, self._stack, self._names = config, table, dns, stack, names
        self.egress: Egress = None  # type: ignore[assignment]  # set by the LAN: each needs the other
        self._flows: OrderedDict[int, FlowRecord] = OrderedDict()
        self._by_key: dict[tuple[Endpoint, Endpoint], FlowRecord] = {}
        self._broadcast = directed_broadcast(config.gateway, config.prefix_len)
        self._waiting: dict[int, list[bytes]] = {}  # datagrams of flows whose target's name is being looked up
        self._via: dict[int, int] = {}  # inbound flow -> listener
        self._next_port = _FIRST_PORT
        self.counters: Counter[str] = Counter()

    def __contains__(self, flow: int) -> bool:
        return flow in self._flows

    def __len__(self) -> int:
        return len(self._flows)

    def outbound(self, event: Datagram, now: int) -> None:
        """A datagram from the guest."""
        guest, target = (event.src, event.sport), (event.dst, event.dport)
        record = self._by_key.get((guest, target))
        if record is None:
            record = self._open(event, guest, target, now)
            if record is None:
                return
        self._touch(record, now)
        if record.direction == "in" and record.answered_at is None:
            record.answered_at = now
        payload = event.payload
        waiting = self._waiting.get(record.flow)
        if waiting is not None:
            if len(waiting) < NAT_NAME_DATAGRAMS:
                waiting.append(payload)
            else:
                self.counters["name-not-known-yet"] += 1
            return
        self._send(record, payload, now)

    def _send(self, record: FlowRecord, payload: bytes, now: int) -> None:
        if self.egress.send_datagram(record.flow, payload, now):
            record.datagrams_up += 1
            record.bytes_up += len(payload)
        else:
            self.counters["egress-dropped"] += 1

    def inbound(self, flow: int, payload: bytes, now: int) -> None:
        """A datagram from the world."""
        record = self._flows.get(flow)
        if record is None:
            return
        self._touch(record, now)
        if record.direction == "out" and record.answered_at is None:
            record.answered_at, record.state = now, "open"
        if self._stack.udp_send(*record.target, *record.guest, payload, now):
            record.datagrams_down += 1
            record.bytes_down += len(payload)
        else:
            self.counters["no-room-to-guest"] += 1

    def failed(self, flow: int, why: Why, now: int) -> None:
        """The flow could not be had."""
        record = self._flows.get(flow)
        if record is not None:
            self._end(record, why, now, close=False)
            self._tell(record, why, now)

    def undeliverable(self, flow: int, why: Why, now: int) -> None:
        """Nobody listens there, or there is no way: told to the guest, as a router would."""
        record = self._flows.get(flow)
        if record is None:
            return
        self.counters[f"undeliverable-{why}"] += 1
        if record.direction == "in":
            return
        if record.answered_at is None:
            record.state = why
        self._tell(record, why, now)

    def accepted(self, guest: Endpoint, peer: Endpoint, now: int, listener: int) -> int | None:
        """Somebody new spoke to a forward that leads to ``guest``. None when there is no room for it."""
        source = self._config.gateway if len(guest[0]) == 4 else self._config.gateway6
        if len(self._via) >= max(1, self._config.max_udp // FORWARD_SHARE) or not self._make_room() or source is None:
            self.counters["limit"] += 1
            self._table.refused("udp", peer, guest, "limit", now)
            return None
        for _ in range(_LAST_PORT - _FIRST_PORT + 1):  # one is free: there are more than flows
            target = (source, self._next_port)
            self._next_port = _FIRST_PORT if self._next_port == _LAST_PORT else self._next_port + 1
            if (guest, target) not in self._by_key:
                break
        else:
            return None
        record = self._add(self._table.open("udp", guest, target, peer, now, direction="in"))
        self._via[record.flow] = listener
        return record.flow

    def close_via(self, listener: int, now: int) -> None:
        """A forward was closed: so are its flows."""
        for flow in [flow for flow, via in self._via.items() if via == listener]:
            self._end(self._flows[flow], "closed", now)

    def unreachable_guest(self, source: Endpoint, target: Endpoint, now: int) -> bool:
        """The guest's own ICMP: nothing of its listens where a forward leads. Ends the flow; True when there was
        one."""
        record = self._by_key.get((target, source))
        if record is None or record.direction != "in":
            return False
        self._end(record, "refused", now)
        return True

    def tick(self, now: int) -> None:
        """End the flows that were idle for too long."""
        if not self._config.udp_idle:
            return
        while self._flows:
            oldest = next(iter(self._flows.values()))
            if oldest.last_at + self._config.udp_idle > now:
                break
            self._end(oldest, "idle" if oldest.state == "open" else oldest.state, now)

    def poll_at(self) -> int:
        if self._config.udp_idle:
            for record in self._flows.values():
                return record.last_at + self._config.udp_idle
        return NEVER

    def close_all(self, reason: str, now: int) -> None:
        for record in list(self._flows.values()):
            self._end(record, reason, now)

    # Inside ---------------------------------------------------------------------------------------------------------

    def _open(self, event: Datagram, guest: Endpoint, target: Endpoint, now: int) -> FlowRecord | None:
        own = any(target[0] == address for address, _ in self._config.addresses)
        if event.group or is_multicast(target[0]) or target[0] in (self._broadcast, IP4_ANY, IP4_BROADCAST):
            # Quietly, and without a row: a guest's chatter (LLMNR, SSDP, NetBIOS) is no flow, and an ICMP error must
            # never answer it (RFC 1122 section 3.2.2).
            self.counters["chatter"] += 1
            return None
        outside, why = decide(self._config, "udp", target, self.lasting)
        if why is not None:
            reason = why if why == "limit" else f"denied-{why}"
            self.counters[reason] += 1
            self._table.refused("udp", guest, target, reason, now)
            if why != "limit":
                self._stack.unreachable(event, "port-unreachable" if own else "prohibited", now)
            return None
        return self._begin(guest, target, outside, now)

    def live(self) -> list[FlowRecord]:
        """Flows that the guest opened, the one that was used longest ago first."""
        return [record for record in self._flows.values() if record.direction == "out"]

    def adopt(self, guest: Endpoint, target: Endpoint, used_at: int, now: int) -> str | None:
        """Go on with a flow of a former life, which ends when it would have. Later ones must not be older.

        Rules are asked as for a new one. Returns why it cannot be, or None.
        """
        if self._config.udp_idle and used_at + self._config.udp_idle <= now:
            return "idle"
        outside, why = decide(self._config, "udp", target, self.lasting)
        if why is None and (guest, target) in self._by_key:
            why = "twice"
        if why is not None:
            return why
        record = self._begin(guest, target, outside, now)
        if record is not None:
            record.last_at = used_at
        return None

    def _begin(self, guest: Endpoint, target: Endpoint, outside: Target, now: int) -> FlowRecord | None:
        """A flow that may be."""
        self._make_room()
        record = self._table.open("udp", guest, target, outside, now, self._dns.name_of(target[0]))
        self._add(record)
        host, port = outside
        if isinstance(host, str):
            self._waiting[record.flow] = []
            self._names.find(host, partial(self._found, record.flow, port), now)
            return record if record.flow in self._flows else None
        self.egress.open_udp(record.flow, host, port, now)
        return record

    def _found(self, flow: int, port: int, address: bytes | None, now: int) -> None:
        """The name that the forward map leads to has been looked up: what waited goes out."""
        waiting = self._waiting.pop(flow, None)
        record = self._flows.get(flow)
        if record is None or waiting is None:
            return
        if address is None:
            self.failed(flow, "unreachable", now)
            return
        record.outside = (address, port)
        self.egress.open_udp(flow, address, port, now)
        for payload in waiting:
            self._send(record, payload, now)

    @property
    def lasting(self) -> int:
        """Flows that would not give way to a new one."""
        number = len(self._flows)
        return number if number < self._config.max_udp else sum(each.state == "open" for each in self._flows.values())

    def _make_room(self) -> bool:
        """Whether one more flow fits, if need be in the place of one that only an ICMP error has answered."""
        if len(self._flows) < self._config.max_udp:
            return True
        for record in self._flows.values():
            if record.state != "open":
                self._end(record, record.state, record.last_at)
                return True
        return False

    def _add(self, record: FlowRecord) -> FlowRecord:
        record.state = "open"
        self._flows[record.flow] = self._by_key[record.guest, record.target] = record
        return record

    def _touch(self, record: FlowRecord, now: int) -> None:
        record.last_at = now
        self._flows.move_to_end(record.flow)

    def _end(self, record: FlowRecord, reason: str, now: int, close: bool = True) -> None:
        del self._flows[record.flow]
        del self._by_key[record.guest, record.target]
        self._via.pop(record.flow, None)
        self._waiting.pop(record.flow, None)
        if close:
            self.egress.close(record.flow, now)
        self._table.end(record, reason, now)

    def _tell(self, record: FlowRecord, why: Why, now: int) -> None:
        """ICMP unreachable about a datagram of this flow: the port's owner says so, or the router."""
        what = _TELL[why]
        sender = record.target[0]
        if what != PORT:
            sender = self._config.gateway if len(sender) == 4 else self._config.gateway6 or sender
        self.counters["told-unreachable"] += 1
        message = unreachable(what, record.guest, record.target)
        self._stack.icmp_send(sender, record.guest[0], *message, now)
