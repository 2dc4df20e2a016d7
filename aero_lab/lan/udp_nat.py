"""UDP through the NAT: a flow for each (guest port, remote address, remote port), as long as it is used.

Symmetric: only the remote that the guest aimed at can answer, and the answer bears the address the guest aimed at,
whatever the forward map made of it. Flows end when idle; datagrams over any limit are dropped and counted, as UDP
allows.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Any

from ..egress.contract import Egress, Why
from ..limits import NEVER
from ..services.unreachable import HOST, PORT, unreachable
from ..wire.address import directed_broadcast
from .config import LanConfig
from .dns import DnsServer
from .flows import Endpoint, FlowRecord, FlowTable


class UdpNat:
    """All UDP flows of one LAN. ``flows`` are in the order of their last use, so the idle ones come first."""

    def __init__(self, config: LanConfig, table: FlowTable, dns: DnsServer, stack: Any):
        self._config, self._table, self._dns, self._stack = config, table, dns, stack
        self.egress: Egress = None  # type: ignore[assignment]  # set by the LAN: each needs the other
        self._flows: OrderedDict[int, FlowRecord] = OrderedDict()
        self._by_key: dict[tuple[Endpoint, Endpoint], FlowRecord] = {}
        self._broadcast = directed_broadcast(config.gateway, config.prefix_len)
        self.counters: Counter[str] = Counter()

    def __contains__(self, flow: int) -> bool:
        return flow in self._flows

    def __len__(self) -> int:
        return len(self._flows)

    def outbound(self, guest: Endpoint, target: Endpoint, payload: bytes, now: int) -> None:
        """A datagram from the guest."""
        record = self._by_key.get((guest, target))
        if record is None:
            record = self._open(guest, target, now)
            if record is None:
                return
        self._touch(record, now)
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
        if record.answered_at is None:
            record.answered_at = now
        if self._stack.udp_send(*record.target, *record.guest, payload, now):
            record.datagrams_down += 1
            record.bytes_down += len(payload)
        else:
            self.counters["no-room-to-guest"] += 1

    def failed(self, flow: int, why: Why, now: int) -> None:
        """Nobody listens there, or there is no way: told to the guest, as a router would."""
        record = self._flows.get(flow)
        if record is None:
            return
        self._end(record, why, now, close=False)
        self._tell_unreachable(record, port=why == "refused", now=now)

    def tick(self, now: int) -> None:
        """End the flows that were idle for too long."""
        if not self._config.udp_idle:
            return
        while self._flows:
            oldest = next(iter(self._flows.values()))
            if oldest.last_at + self._config.udp_idle > now:
                break
            self._end(oldest, "idle", now)

    def poll_at(self) -> int:
        if self._config.udp_idle:
            for record in self._flows.values():
                return record.last_at + self._config.udp_idle
        return NEVER

    def close_all(self, reason: str, now: int) -> None:
        for record in list(self._flows.values()):
            self._end(record, reason, now)

    # Inside ---------------------------------------------------------------------------------------------------------

    def _open(self, guest: Endpoint, target: Endpoint, now: int) -> FlowRecord | None:
        outside = self._config.forward_udp.get(target)
        if outside is not None:
            why = self._config.policy.udp_port(target[1])
        elif target[0] == self._broadcast or any(target[0] == own for own, _ in self._config.addresses):
            why = "gateway"
        else:
            why = self._config.policy.udp(*target)
        if why is not None:
            # Quietly, and without a row: a guest's multicast chatter is no flow, and answering it would be noise.
            self.counters[f"denied-{why}"] += 1
            self._table.refused("udp", guest, target, f"denied-{why}", now)
            return None
        if len(self._flows) >= self._config.max_udp:
            self.counters["limit"] += 1
            self._table.refused("udp", guest, target, "limit", now)
            return None
        record = self._table.open("udp", guest, target, outside or target, now, self._dns.name_of(target[0]))
        record.state = "open"
        self._flows[record.flow] = self._by_key[guest, target] = record
        self.egress.open_udp(record.flow, *record.outside, now)
        return record

    def _touch(self, record: FlowRecord, now: int) -> None:
        record.last_at = now
        self._flows.move_to_end(record.flow)

    def _end(self, record: FlowRecord, reason: str, now: int, close: bool = True) -> None:
        del self._flows[record.flow]
        del self._by_key[record.guest, record.target]
        if close:
            self.egress.close(record.flow, now)
        self._table.end(record, reason, now)

    def _tell_unreachable(self, record: FlowRecord, port: bool, now: int) -> None:
        """ICMP unreachable about a datagram of this flow: the port's owner says so, or the router."""
        sender = record.target[0] if port else self._config.gateway
        if not port and len(record.target[0]) == 16:
            sender = self._config.gateway6 or record.target[0]
        self.counters["told-unreachable"] += 1
        message = unreachable(PORT if port else HOST, record.guest, record.target)
        self._stack.icmp_send(sender, record.guest[0], *message, now)
