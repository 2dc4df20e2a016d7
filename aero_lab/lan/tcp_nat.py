"""TCP through the NAT: each guest connection is joined to one flow of the egress.

Theory of operation
-------------------
Believe nobody: a SYN is answered only when the far side answered, and with what it answered (``opened`` -> SYN-ACK,
``refused`` -> RST, ``unreachable`` -> ICMP). From then on each direction moves on its own and nothing is stored here::

    guest  ->  connection's receive buffer  -- peek, send, consume -->  host socket
    guest  <-  connection's send buffer     <-- room, data, write --    host socket

so the slower side of each direction stops the faster one through that one's own window. FIN travels as half-close,
in either order; RST travels as RST. A flow ends when both directions have; the connection may outlive it in TIME-WAIT.

What the guest's TCP is told of its bytes' arrival is another matter: see :mod:`.mirror`.

An inbound flow is the same joint, opened from the other end: the host's peer is connected already, the guest is asked,
and nothing is read from the peer before the guest has answered. Its no is a RST to the peer.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

from ..bounds import FORWARD_CONNECT, FORWARD_SHARE
from ..egress.contract import Egress, Why
from ..errors import AeroLabError
from ..limits import LAN_READ_LOW_WATER, NEVER
from .config import Endpoint, LanConfig
from .dns import DnsServer
from .flows import FlowRecord, FlowTable
from .judgement import decide
from .mirror import Mirror

REFUSALS: dict[Why, str] = {
    "refused": "reset",
    "net-unreachable": "net-unreachable",
    "unreachable": "host-unreachable",
    "timeout": "host-unreachable",
    "denied": "prohibited",
}
"""How the guest's SYN is turned down: by RST where the far side itself said no, else by the ICMP error of that kind."""
_REASONS = {"reset": "reset-by-guest", "refused": "reset-by-guest"}


class TcpFlow:
    """One joint: a connection of the stack and a flow of the egress."""

    __slots__ = (
        "blocked",
        "conn",
        "established",
        "far_eof",
        "guest_eof",
        "look_at",
        "look_base",
        "look_every",
        "look_measured",
        "mirrored",
        "outside_gone",
        "record",
        "released",
        "shut",
        "waiting",
    )

    def __init__(self, record: FlowRecord, conn: Any):
        self.record = record
        self.conn = conn
        self.established = False
        self.guest_eof = False
        self.far_eof = False
        self.shut = False  # the guest's end was passed on
        self.waiting = False  # the guest's side is there already, the far side is being opened: after a restore
        self.blocked = False  # the egress took less than offered and will say when it takes more
        self.outside_gone = False
        self.mirrored = False  # acknowledgements are held until the far side's
        self.released = 0  # bytes, and one for the guest's end, that the guest's TCP may hear of
        self.look_at = self.look_base = self.look_every = self.look_measured = 0


class TcpNat:
    """All TCP flows of one LAN. Its methods are the handlers of stack events and egress calls."""

    def __init__(self, config: LanConfig, table: FlowTable, dns: DnsServer, stack: Any = None, names: Any = None):
        self._config, self._table, self._dns, self._stack, self._names = config, table, dns, stack, names
        self._egress: Egress = None  # type: ignore[assignment]  # set by the LAN: each needs the other
        self._mirror: Mirror | None = None
        self._mirroring = False
        self._calling: dict[int, TcpFlow] = {}  # inbound, unanswered, oldest first: all wait equally long
        self._inbound = 0
        self._flows: dict[int, TcpFlow] = {}
        self._starved: dict[int, TcpFlow] = {}
        self._low = min(LAN_READ_LOW_WATER, max(1, config.tcp.send_buffer // 4))
        self.counters: Counter[str] = Counter()

    def __contains__(self, flow: int) -> bool:
        return flow in self._flows

    def __len__(self) -> int:
        return len(self._flows)

    @property
    def egress(self) -> Egress:
        return self._egress

    @egress.setter
    def egress(self, egress: Egress) -> None:
        self._egress = egress
        self._mirror = None
        self.acknowledge(self._config.ack_policy)

    @property
    def ack_policy(self) -> str:
        """What the guest's bytes are acknowledged for: ``early``, ``mirror``, or ``mirror-accepted``."""
        return self._mirror.policy if self._mirror is not None and self._mirroring else "early"

    def acknowledge(self, ack_policy: str) -> None:
        """Acknowledge the bytes of flows that begin from now on as this policy says; the others stay with theirs."""
        self._mirroring = ack_policy == "mirror"
        if self._mirroring and self._mirror is None:
            self._mirror = Mirror(self._egress)

    # From the stack -------------------------------------------------------------------------------------------------

    def syn(self, conn: Any, now: int) -> None:
        """A guest asks for a connection."""
        target = conn.local
        outside, why = decide(self._config, "tcp", target, len(self._flows))
        record = self._table.open("tcp", conn.remote, target, outside, now, self._dns.name_of(target[0]))
        if why is not None:
            reason = why if why == "limit" else f"denied-{why}"
            self.counters[reason] += 1
            self._table.end(record, reason, now)
            conn.context = None
            conn.refuse("reset", now)
            return
        self._join(record, conn)
        self._dial(record, now)

    def _dial(self, record: FlowRecord, now: int) -> None:
        host, port = record.outside
        if isinstance(host, str):
            self._names.find(host, partial(self._found, record.flow, port), now)
        else:
            self.egress.open_tcp(record.flow, host, port, now)

    def _found(self, flow: int, port: int, address: bytes | None, now: int) -> None:
        """The name that the forward map leads to has been looked up."""
        f = self._flows.get(flow)
        if f is None:
            return
        if address is None:
            self.failed(flow, "unreachable", now)
        else:
            f.record.outside = (address, port)
            self.egress.open_tcp(flow, address, port, now)

    def established(self, conn: Any, now: int) -> None:
        f = conn.context
        if f is not None:
            f.established = True
            if f.record.direction == "in":
                self._calling.pop(f.record.flow, None)
                f.record.state, f.record.answered_at = "open", now
            self.egress.credit(f.record.flow, now)
            self._pump(f, now)

    def readable(self, conn: Any, now: int) -> None:
        f = conn.context
        if f is not None and f.established and not f.blocked:
            self._pump(f, now)

    def writable(self, conn: Any, now: int) -> None:
        f = conn.context
        if f is not None and conn.room >= self._low and self._starved.pop(f.record.flow, None) is not None:
            self.egress.credit(f.record.flow, now)

    def end_of_stream(self, conn: Any, now: int) -> None:
        f = conn.context
        if f is not None:
            f.guest_eof = True
            if not f.blocked:
                self._pump(f, now)

    def closed(self, conn: Any, reason: str, now: int) -> None:
        """The connection is over: in good order (whatever is unread still goes out) or not."""
        f = conn.context
        if f is None:
            return
        if reason == "closed" and f.far_eof:
            f.guest_eof = True
            if not f.blocked:
                self._pump(f, now)
            return
        conn.context = None
        if f.record.direction == "in" and not f.established:
            reason = "refused" if reason == "reset" else reason
        else:
            reason = _REASONS.get(reason, reason)
        self._end(f, reason, now, abrupt=True)

    def tick(self, now: int) -> None:
        """Read on for connections that have room again. The stack tells of room only after a write that it cut
        short. Give up guests that do not answer."""
        while self._calling:
            f = next(iter(self._calling.values()))
            if f.record.opened_at + FORWARD_CONNECT > now:
                break
            f.conn.context = None
            self._end(f, "timeout", now, abrupt=True)
            f.conn.abort(now)
        if self._starved:
            for flow, f in list(self._starved.items()):
                if f.conn.room >= self._low:
                    del self._starved[flow]
                    self.egress.credit(flow, now)

    def after_egress(self, now: int) -> None:
        """Pass on what far sides have acknowledged meanwhile."""
        if self._mirror is not None:
            flows = self._mirror.due(now)
            for f in flows:
                self._look(f, now)
            if flows:
                self._mirror.settle()

    def poll_at(self) -> int:
        due = NEVER if self._mirror is None else self._mirror.poll_at()
        for f in self._calling.values():
            return min(due, f.record.opened_at + FORWARD_CONNECT)
        return due

    # From the egress ------------------------------------------------------------------------------------------------

    def opened(self, flow: int, now: int) -> None:
        f = self._flows.get(flow)
        if f is not None:
            f.record.state, f.record.answered_at = "open", now
            if f.waiting:
                f.waiting = False
                if f.established:
                    self.established(f.conn, now)
                return
            if self._mirroring:
                # Before the handshake is done: its last segment may carry data.
                f.mirrored = True
                f.conn.hold_acks(now)
            f.conn.accept(now)

    def accepted(self, guest: Endpoint, peer: Endpoint, now: int) -> int | None:
        """Somebody came to a forward that leads to ``guest``: ask the guest. None when that cannot be done."""
        if self._inbound >= max(1, self._config.max_tcp // FORWARD_SHARE) or len(self._flows) >= self._config.max_tcp:
            self.counters["limit"] += 1
            self._table.refused("tcp", peer, guest, "limit", now)
            return None
        source = self._config.gateway if len(guest[0]) == 4 else self._config.gateway6
        try:
            conn = self._stack.connect(*guest, src=source, now=now)
        except AeroLabError:
            self.counters["no-slot"] += 1
            return None
        record = self._table.open("tcp", guest, conn.local, peer, now, direction="in")
        self._inbound += 1
        self._calling[record.flow] = self._join(record, conn)
        return record.flow

    def failed(self, flow: int, why: Why, now: int) -> None:
        f = self._flows.get(flow)
        if f is None:
            return
        f.outside_gone = True
        f.conn.context = None
        self._end(f, why, now)
        if f.waiting:
            f.conn.abort(now)
        else:
            f.conn.refuse(REFUSALS[why], now)

    def room(self, flow: int) -> int:
        f = self._flows.get(flow)
        if f is None or not f.established:
            return 0
        room = f.conn.room
        if room < self._low:
            self._starved[flow] = f
            return 0
        return room

    def data(self, flow: int, view: memoryview, now: int) -> None:
        f = self._flows.get(flow)
        if f is None:
            return
        if f.mirrored:
            self._look(f, now)  # the acknowledgement that came with these bytes goes on with them
            if flow not in self._flows:
                return
        size = f.conn.write(view, now)
        f.record.bytes_down += size
        f.record.last_at = now
        if size < len(view):
            # The connection ended in the same instant: bytes are lost, and the far side must not think otherwise.
            self.counters["data-after-end"] += 1
            f.conn.context = None
            self._end(f, "aborted", now, abrupt=True)
            f.conn.abort(now)

    def drained(self, flow: int, now: int) -> None:
        f = self._flows.get(flow)
        if f is not None:
            f.blocked = False
            self._pump(f, now)

    def eof(self, flow: int, now: int) -> None:
        f = self._flows.get(flow)
        if f is not None:
            f.far_eof = True
            f.record.state = "far-finished"
            f.conn.shutdown(now)
            self._finish(f, now)

    def reset(self, flow: int, now: int) -> None:
        f = self._flows.get(flow)
        if f is None:
            return
        f.outside_gone = True
        f.conn.context = None
        self._end(f, "reset-by-far-side", now)
        f.conn.abort(now)

    def whole(self) -> list[tuple[FlowRecord, dict[str, Any]]]:
        """Flows that the guest opened and nobody has begun to close, each with what its handshake agreed on."""
        return [
            (f.record, f.conn.options)
            for f in self._flows.values()
            if f.record.direction == "out" and f.established and f.record.state == "open"
        ]

    def adopt(self, guest: Endpoint, target: Endpoint, options: dict[str, Any], now: int) -> str | None:
        """Go on with a connection of a former life: the guest's side as it left it, the far side opened anew.

        Rules are asked as for a new one. Returns why it cannot be, or None.
        """
        outside, why = decide(self._config, "tcp", target, len(self._flows))
        if why is not None:
            return why
        try:
            conn = self._stack.adopt(target, guest, now, **options)
        except AeroLabError:
            return "no-slot"
        record = self._table.open("tcp", guest, target, outside, now, self._dns.name_of(target[0]))
        f = self._join(record, conn)
        f.waiting = True
        if self._mirroring:
            f.mirrored = True
            conn.hold_acks(now)
        self._dial(record, now)
        return None

    def close_all(self, reason: str, now: int) -> None:
        """End every flow abruptly, both ways."""
        for f in list(self._flows.values()):
            f.conn.context = None
            self._end(f, reason, now, abrupt=True)
            f.conn.abort(now)

    # Inside ---------------------------------------------------------------------------------------------------------

    def _join(self, record: FlowRecord, conn: Any) -> TcpFlow:
        if record.direction == "out":
            record.ack_policy = self.ack_policy
        f = conn.context = self._flows[record.flow] = TcpFlow(record, conn)
        return f

    def _look(self, f: TcpFlow, now: int) -> None:
        """Pass on what the far side acknowledged. With everything before it the guest's end may be, and the flow."""
        if self._mirror is not None and f.mirrored and self._mirror.look(f, now):
            self._finish(f, now)

    def _pump(self, f: TcpFlow, now: int) -> None:
        """Guest to world, as much as the egress takes; then the guest's end, once everything before it went."""
        if f.outside_gone or f.waiting:
            return
        flow = f.record.flow
        while f.conn.readable:
            parts = [part for part in f.conn.peek() if len(part)]
            offered = sum(map(len, parts))
            taken = self.egress.send(flow, parts, now)
            if taken:
                f.conn.consume(taken, now)
                f.record.bytes_up += taken
                f.record.last_at = now
                if f.mirrored:
                    self._look(f, now)
            if taken < offered:
                f.blocked = True
                return
        if f.guest_eof and not f.shut:
            f.shut = True
            f.record.state = "guest-finished"
            self.egress.shutdown(flow, now)
            if f.mirrored:
                self._look(f, now)
            else:
                self._finish(f, now)

    def _finish(self, f: TcpFlow, now: int) -> None:
        """Both directions done: the flow has ended, whatever the connection still has to wait for. Unless it is the far
        side's acknowledgement that it has to wait for."""
        if f.shut and f.far_eof and f.record.flow in self._flows:
            if f.mirrored and f.released < f.record.bytes_up + f.shut:
                f.record.state = "finished"
                return
            f.conn.context = None
            self._end(f, "closed", now)

    def _end(self, f: TcpFlow, reason: str, now: int, abrupt: bool = False) -> None:
        flow = f.record.flow
        self._flows.pop(flow, None)
        self._starved.pop(flow, None)
        self._calling.pop(flow, None)
        if self._mirror is not None:
            self._mirror.forget(flow)
        if f.record.direction == "in":
            self._inbound -= 1
        if not f.outside_gone:
            f.outside_gone = True
            (self.egress.reset if abrupt else self.egress.close)(flow, now)
        self._table.end(f.record, reason, now)
