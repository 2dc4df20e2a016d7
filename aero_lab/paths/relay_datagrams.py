"""Datagrams at a relay: a port of this host's for each port of the guest's, whoever it speaks to.

Theory of operation
-------------------
The mapping is endpoint-independent (RFC 4787 REQ-1): all that a guest's port sends leaves by one port of the host's,
on both families. Who may answer is the filter's business: by default those the guest's port has sent to lately, or
anybody (``any``). Guest ports that nothing was heard of for a while give their port back, and the one used longest ago
does when a new one finds no room.

Answers bear the address that the guest aimed at, whatever the forward map made of it. They are of version 1 unless
the address is IPv6's, the guest's port is the one that version 1 cannot name, or version 2 is preferred and the client
has shown that it knows it.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Any

from ..bounds import UDP_RELAY_BINDINGS, UDP_RELAY_IDLE, UDP_RELAY_PAYLOAD, UDP_RELAY_REMOTES
from ..causes import Cause
from ..errors import Malformed
from ..framing import udp_relay
from ..framing.udp_relay import RelayDatagram
from ..lan.judgement import whither
from ..limits import NEVER, RING_SLOTS, SECOND
from ..rings import FrameRing
from ..transports.base import TransportEnd

Endpoint = tuple[bytes, int]
FILTERS = ("address_and_port", "any")


@dataclass(frozen=True)
class UdpLimits:
    """Bounds and habits of one session. Rates of 0: none."""

    payload: int = UDP_RELAY_PAYLOAD
    bindings: int = UDP_RELAY_BINDINGS
    remotes: int = UDP_RELAY_REMOTES
    idle: int = UDP_RELAY_IDLE
    filter: str = "address_and_port"
    remote_idle: int = 0
    """How long a remote may answer after it was last heard of or sent to; 0: as long as ``idle``."""
    prefer_v2: bool = False
    queue: int = 1 << 20
    """Bytes that wait for the client; then the newest are dropped."""
    packet_rate: int = 0
    """A second, over the session."""
    byte_rate: int = 0
    packet_rate_to_one: int = 0
    """A second, to each destination."""
    buckets: int = 1024
    """Destinations whose rate is remembered (the original's)."""
    destinations: int = 0
    """Different ones over the whole session."""
    source: Endpoint = (bytes(4), 0)


class Bucket:
    """So many a second, and as many at once."""

    __slots__ = ("at", "level", "rate")

    def __init__(self, rate: int, now: int):
        self.rate, self.level, self.at = rate, float(rate), now

    def take(self, amount: int, now: int) -> bool:
        self.level = min(float(self.rate), self.level + (now - self.at) * self.rate / SECOND)
        self.at = now
        if self.level < amount:
            return False
        self.level -= amount
        return True


class Binding:
    """A guest's port and the port of the host's that stands for it."""

    __slots__ = ("guest_port", "last_at", "port", "remotes")

    def __init__(self, guest_port: int, port: int, now: int):
        self.guest_port, self.port, self.last_at = guest_port, port, now
        self.remotes: OrderedDict[Endpoint, tuple[Endpoint, int]] = OrderedDict()
        """Where datagrams really went -> where the guest aimed, and when last."""


class DatagramServer:
    """The datagrams of one channel."""

    kind = "udp"
    farewell = None

    def __init__(self, relay: Any, end: TransportEnd, limits: UdpLimits):
        self.relay, self.end, self.limits = relay, end, limits
        self.counters: Counter[str] = Counter()
        self.bindings: OrderedDict[int, Binding] = OrderedDict()
        """By guest port, the one used longest ago first."""
        self.by_port: dict[int, Binding] = {}
        self.violations: list[int] = []
        """When quotas were broken last, for whoever ends sessions because of that."""
        self._messages = FrameRing(RING_SLOTS, max(1 << 16, limits.queue + 7 & ~7))
        self._knows_v2 = False
        self._session: dict[str, Bucket] = {}
        self._to: OrderedDict[Endpoint, Bucket] = OrderedDict()
        self._destinations: set[Endpoint] = set()

    # From the client ------------------------------------------------------------------------------------------------

    def receive(self, now: int) -> None:
        self._end_idle(now)
        if not len(self.end.received):
            return
        for message in self.end.received.pop_many():
            try:
                found = udp_relay.decode(message.data, self.limits.payload)
            except Malformed as error:
                self.relay.note("tx", len(message.data), 0, now, Cause.TUNNEL_FRAMING)
                self.counters["dropped_oversized" if error.reason == "too_large" else "dropped_malformed"] += 1
                continue
            self.relay.note("tx", len(message.data), len(found.payload), now, Cause.PAYLOAD)
            self.counters["datagrams_in"] += 1
            self._knows_v2 |= found.version == 2
            self._send(found, now)
        self.end.taken()

    def _send(self, found: RelayDatagram, now: int) -> None:
        relay, target = self.relay, (found.remote, found.remote_port)
        if not found.remote_port or not found.guest_port:
            self.counters["dropped_malformed"] += 1
            return
        outside, why = whither(relay.config, "udp", target)
        if why is not None:
            self.counters["dropped_denied_by_policy"] += 1
            if target not in self._destinations:
                relay.flows.refused("udp", self._source(found.guest_port), target, f"denied-{why}", now)
            return
        if not self._within(target, len(found.payload), now):
            return
        host, port = outside
        if isinstance(host, str):
            relay.target_names.find(host, _Later(self, found, port), now)
        else:
            self._out(found, (host, port), now)

    def _out(self, found: RelayDatagram, outside: Endpoint, now: int) -> None:
        binding = self._binding(found.guest_port, now)
        if binding is None:
            self.counters["dropped_no_port"] += 1
            return
        remotes, target = binding.remotes, (found.remote, found.remote_port)
        if outside not in remotes and len(remotes) >= self.limits.remotes:
            remotes.popitem(last=False)
            self.counters["remote_allowlist_evictions"] += 1
        remotes[outside] = (target, now)
        remotes.move_to_end(outside)
        self._touch(binding, now)
        if not self.relay.egress.send_to(binding.port, *outside, found.payload, now):
            self.counters["dropped_by_host"] += 1

    def _binding(self, guest_port: int, now: int) -> Binding | None:
        binding = self.bindings.get(guest_port)
        if binding is not None:
            return binding
        while len(self.bindings) >= max(1, self.limits.bindings):
            self.counters["bindings_evicted"] += 1
            self._unbind(next(iter(self.bindings.values())), now)
        port = self.relay.new_port()
        if not self.relay.egress.open_port(port, now):
            return None
        binding = self.bindings[guest_port] = self.by_port[port] = Binding(guest_port, port, now)
        self.relay.ports[port] = self
        return binding

    def _unbind(self, binding: Binding, now: int) -> None:
        del self.bindings[binding.guest_port], self.by_port[binding.port], self.relay.ports[binding.port]
        self.relay.egress.close_port(binding.port, now)

    def _touch(self, binding: Binding, now: int) -> None:
        binding.last_at = now
        self.bindings.move_to_end(binding.guest_port)

    def _source(self, guest_port: int) -> Endpoint:
        return self.limits.source[0], guest_port

    # From the world -------------------------------------------------------------------------------------------------

    def heard(self, port: int, source: Endpoint, payload: bytes, now: int) -> None:
        """A datagram came to one of our ports."""
        binding = self.by_port[port]
        known = binding.remotes.get(source)
        if known is not None and known[1] + (self.limits.remote_idle or self.limits.idle or NEVER) <= now:
            del binding.remotes[source]
            known = None
        if known is None and self.limits.filter != "any":
            self.counters["dropped_unasked"] += 1
            return
        if len(payload) > self.limits.payload:
            self.counters["dropped_oversized"] += 1
            return
        remote = source
        if known is not None:
            remote = known[0]
            binding.remotes[source] = (remote, now)
            binding.remotes.move_to_end(source)
        self._touch(binding, now)
        version = 2 if self.limits.prefer_v2 and self._knows_v2 else 1
        message = udp_relay.encode(binding.guest_port, *remote, payload, version, self.limits.payload)
        if self._messages.used_bytes + len(message) > self.limits.queue or not self._messages.push(
            message, now, cause=Cause.PAYLOAD
        ):
            self.counters["dropped_backpressure"] += 1
            return
        self.counters["datagrams_out"] += 1
        self.relay.note("rx", len(message), len(payload), now, Cause.PAYLOAD)

    # Bounds ---------------------------------------------------------------------------------------------------------

    def _within(self, target: Endpoint, size: int, now: int) -> bool:
        """Whether the quotas allow a datagram there now."""
        limits, why = self.limits, None
        if limits.destinations and target not in self._destinations:
            if len(self._destinations) >= limits.destinations:
                why = "dropped_quota_exceeded"
            else:
                self._destinations.add(target)
        if why is None and not (
            self._rate("packets", limits.packet_rate, 1, now) and self._rate("bytes", limits.byte_rate, size, now)
        ):
            why = "dropped_rate_limited"
        if why is None and limits.packet_rate_to_one:
            bucket = self._to.get(target)
            if bucket is None:
                bucket = self._to[target] = Bucket(limits.packet_rate_to_one, now)
                if len(self._to) > limits.buckets:
                    self._to.popitem(last=False)
                    self.counters["per_dest_bucket_evictions"] += 1
            self._to.move_to_end(target)
            if not bucket.take(1, now):
                why = "dropped_rate_limited"
        if why is not None:
            self.counters[why] += 1
            self.violations.append(now)
            del self.violations[:-_VIOLATIONS]
        return why is None

    def _rate(self, name: str, rate: int, amount: int, now: int) -> bool:
        if not rate:
            return True
        if name not in self._session:
            self._session[name] = Bucket(rate, now)
        return self._session[name].take(amount, now)

    def _end_idle(self, now: int) -> None:
        while self.limits.idle and self.bindings:
            oldest = next(iter(self.bindings.values()))
            if oldest.last_at + self.limits.idle > now:
                return
            self.counters["bindings_idle"] += 1
            self._unbind(oldest, now)

    # The node's part ------------------------------------------------------------------------------------------------

    def flush(self, now: int) -> None:
        if len(self._messages):
            self.end.send(self._messages, now)

    def poll_at(self, now: int) -> int:
        if len(self.end.received) or (len(self._messages) and not self.end.stalled):
            return now
        for binding in self.bindings.values():
            return binding.last_at + self.limits.idle if self.limits.idle else NEVER
        return NEVER

    def close(self, now: int) -> None:
        """Give every port back."""
        for binding in list(self.bindings.values()):
            self._unbind(binding, now)


_VIOLATIONS = 256
"""Broken quotas that are remembered."""


@dataclass
class _Later:
    """A datagram whose target's name is being looked up."""

    server: DatagramServer
    found: RelayDatagram
    port: int

    def __call__(self, address: bytes | None, now: int) -> None:
        if address is None:
            self.server.counters["dropped_no_such_name"] += 1
        else:
            self.server._out(self.found, (address, self.port), now)
