"""The server half of option A: a relay, from channels to an egress.

Theory of operation
-------------------
::

    channel "mux" <-> MuxServer      \\
    channel "tcp" <-> SocketServer    \\ names, rules, table of flows
    channel "udp" <-> DatagramServer  /  egress -> world
    channel "dns" <-> NameServer     /

A relay is what is left of a proxy when link layer and stack are at the guest. Rules, forwards, static names and the
table of flows are those of a LAN's configuration (:func:`~aero_lab.lan.judgement.whither`); a client that names its
target has the name looked up and judged by the same name server that guests ask.

Each part is joined to one transport end. They share the egress, and its flows are numbered by the table.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Protocol

from ..egress.contract import Answer, Egress, Why
from ..lan.dns import DnsServer
from ..lan.flows import FlowTable
from ..lan.network import Network
from ..lan.target_names import TargetNames
from ..transports.base import TransportEnd
from .base import Tap
from .relay_datagrams import DatagramServer, UdpLimits
from .relay_dial import Dialer
from .relay_names import NameServer
from .relay_streams import MuxLimits, MuxServer

Endpoint = tuple[bytes, int]


class Part(Protocol):
    """One channel of a relay."""

    kind: str

    @property
    def farewell(self) -> tuple[int, str] | None:
        """Close code and reason when the channel is to end, and everything for it has gone into it."""
        ...

    def receive(self, now: int) -> None:
        """Take what came, and do what is due."""

    def flush(self, now: int) -> None:
        """Send what waits."""

    def poll_at(self, now: int) -> int: ...

    def close(self, now: int) -> None:
        """End everything that came by this channel."""


class Flow(Protocol):
    """Whom the egress tells about a TCP flow."""

    def opened(self, now: int) -> None: ...
    def failed(self, why: Why, now: int) -> None: ...
    def room(self) -> int: ...
    def data(self, view: memoryview, now: int) -> None: ...
    def drained(self, now: int) -> None: ...
    def eof(self, now: int) -> None: ...
    def reset(self, now: int) -> None: ...


class Relay:
    """A relay. Implements :class:`~aero_lab.egress.contract.EgressSink`; a node.

    ``session``: whose flows they are, in audit records.
    """

    name = "relay"
    lan: Any = None
    """There is none here."""

    def __init__(self, network: Network, recorder: Tap | None = None):
        now = network.clock.now()
        self.config = config = network.config
        self.recorder = recorder
        self.flows = FlowTable(audit=network.source(now))
        self.dns = DnsServer(config, self._look_up, self._send_dns, self._name_denied)
        self.target_names = TargetNames(self._look_up, config.dns_timeout)
        self.dialer = Dialer(self)
        self.parts: list[Any] = []
        self.tcp: dict[int, Flow] = {}
        """TCP flows by number."""
        self.ports: dict[int, DatagramServer] = {}
        """Ports for datagrams by the numbers that the egress knows them by."""
        self.counts: Counter[str] = Counter()
        self._next_port = 1
        self.egress: Egress = network.make_egress(self)

    # Parts ----------------------------------------------------------------------------------------------------------

    def add_mux(self, end: TransportEnd, version: int = 2, limits: MuxLimits | None = None) -> MuxServer:
        """Streams over this end."""
        part = MuxServer(self, end, version, limits or MuxLimits())
        self.parts.append(part)
        return part

    def add_udp(self, end: TransportEnd, limits: UdpLimits | None = None) -> DatagramServer:
        """Datagrams over this end."""
        part = DatagramServer(self, end, limits or UdpLimits())
        self.parts.append(part)
        return part

    def add_dns(self, end: TransportEnd) -> NameServer:
        """Questions over this end."""
        part = NameServer(self, end)
        self.parts.append(part)
        return part

    def note(self, direction: str, size: int, payload: int, now: int, cause: int) -> None:
        """A message of ``size`` bytes passed, of which ``payload`` were spent for ``cause``."""
        add = getattr(self.recorder, "add_relayed", None)
        if add is not None:
            add(direction, now, size, payload, cause)

    # The node -------------------------------------------------------------------------------------------------------

    def step(self, now: int) -> None:
        for part in self.parts:
            part.receive(now)
        self.dns.tick(now)
        self.target_names.tick(now)
        self.egress.step(now)
        for part in self.parts:
            part.flush(now)

    def poll_at(self, now: int) -> int:
        due = min(self.egress.poll_at(now), self.dns.poll_at(), self.target_names.poll_at())
        for part in self.parts:
            due = min(due, part.poll_at(now))
        return due

    def close(self, now: int) -> None:
        """End every flow."""
        for part in self.parts:
            part.close(now)
        self.egress.step(now)

    def abandon(self) -> None:
        """Let go of all sockets without a word."""
        stop = getattr(self.egress, "stop", None)
        if stop is not None:
            stop()

    @property
    def counters(self) -> dict[str, int]:
        """What was done and dropped, by part and reason: ``mux.beyond_credit``, ``udp.denied``, ``egress...``."""
        out = {f"relay.{name}": number for name, number in self.counts.items()}
        for part in self.parts:
            for name, number in part.counters.items():
                out[f"{part.kind}.{name}"] = out.get(f"{part.kind}.{name}", 0) + number
        for kind, counts in (
            ("dns", self.dns.counters),
            ("forward", self.target_names.counters),
            ("egress", self.egress.counters),
        ):
            out.update((f"{kind}.{name}", number) for name, number in counts.items())
        return out

    def new_port(self) -> int:
        """A number for a port of the egress."""
        number, self._next_port = self._next_port, self._next_port + 1
        return number

    # Calls up from the egress ---------------------------------------------------------------------------------------

    def opened(self, flow: int, now: int) -> None:
        if (f := self.tcp.get(flow)) is not None:
            f.opened(now)

    def failed(self, flow: int, why: Why, now: int) -> None:
        if (f := self.tcp.get(flow)) is not None:
            f.failed(why, now)

    def room(self, flow: int) -> int:
        f = self.tcp.get(flow)
        return f.room() if f is not None else 0

    def data(self, flow: int, view: memoryview, now: int) -> None:
        if (f := self.tcp.get(flow)) is not None:
            f.data(view, now)

    def drained(self, flow: int, now: int) -> None:
        if (f := self.tcp.get(flow)) is not None:
            f.drained(now)

    def eof(self, flow: int, now: int) -> None:
        if (f := self.tcp.get(flow)) is not None:
            f.eof(now)

    def reset(self, flow: int, now: int) -> None:
        if (f := self.tcp.get(flow)) is not None:
            f.reset(now)

    def heard(self, port: int, source: Endpoint, payload: bytes, now: int) -> None:
        if (part := self.ports.get(port)) is not None:
            part.heard(port, source, payload, now)

    def resolved(self, query: int, answer: Answer, now: int) -> None:
        (self.target_names if query < 0 else self.dns).resolved(query, answer, now)

    def undeliverable(self, flow: int, why: Why, now: int) -> None:
        """Datagrams go by ports, of which this is not told."""

    def datagram(self, flow: int, payload: bytes, now: int) -> None:
        """Datagrams go by ports."""

    def accepted(self, listener: int, peer: Endpoint, now: int) -> int | None:
        """A relay listens nowhere."""
        return None

    def echoed(self, query: int, address: bytes, payload: bytes, now: int) -> None:
        """A relay sends no echoes."""

    def echo_failed(self, query: int, sender: bytes | None, type: int, code: int, rest: int, now: int) -> None:
        """A relay sends no echoes."""

    # Names ----------------------------------------------------------------------------------------------------------

    def _look_up(self, query: int, name: str, rtype: str, now: int) -> None:
        self.egress.resolve(query, name, rtype, now)

    def _send_dns(self, client: tuple[Any, ...], payload: bytes, now: int) -> None:
        client[0].answered(client, payload, now)

    def _name_denied(self, client: tuple[Any, ...], name: str, why: str, now: int) -> None:
        client[0].denied(client, why)
        self.flows.refused("dns", NOBODY, name, f"denied-{why}", now)

    def __repr__(self) -> str:
        return f"<Relay: {len(self.parts)} channels, {len(self.tcp)} streams, {len(self.ports)} ports>"


NOBODY: Endpoint = (bytes(4), 0)
"""Where flows come from whose guest is behind another's LAN."""
