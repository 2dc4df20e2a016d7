"""The flow table: what a guest talks to, how much, and why each conversation ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..audit import Source
from ..limits import LAN_ENDED_FLOWS
from ..wire.address import ip_text

Endpoint = tuple[bytes, int]
Target = tuple[bytes | str, int]


@dataclass
class FlowRecord:
    """One flow through the NAT. Times are nanoseconds, bytes are payload."""

    flow: int
    """Number, unique for the life of the LAN; the same towards the egress."""
    protocol: str
    """``"tcp"`` or ``"udp"``."""
    guest: Endpoint
    target: Endpoint
    """What the guest aimed at."""
    outside: Target
    """Where the flow really went: the same, or what the forward map says (a host name until it is looked up)."""
    name: str | None
    """The name that the guest last looked up for the target's address."""
    opened_at: int
    direction: str = "out"
    """``out``: the guest asked for it; ``in``: it came through a forward of the host's. Then ``target`` is the address
    that the guest sees it from, and ``outside`` who came."""
    ack_policy: str | None = None
    """TCP: what the guest's bytes were acknowledged for: ``early``, ``mirror`` or ``mirror-accepted``."""
    state: str = "opening"
    """``opening``, ``open``, ``guest-finished`` or ``far-finished`` (half-closed), ``finished`` (both, and the far side
    has not acknowledged all yet), ``ended``. A UDP flow that nobody has answered yet may be ``refused`` or
    ``unreachable``: an ICMP error came, and it goes on."""
    answered_at: int | None = None
    """When the far side answered."""
    last_at: int = 0
    ended_at: int | None = None
    bytes_up: int = 0
    bytes_down: int = 0
    datagrams_up: int = 0
    datagrams_down: int = 0
    reason: str | None = None
    """Why it ended: ``closed``, ``reset-by-guest``, ``reset-by-far-side``, ``refused``, ``unreachable``,
    ``timeout``, ``denied``,
    ``denied-<why>`` by the policy, ``limit``, ``idle``, ``aborted``, ``lan-closed``."""

    def row(self) -> dict[str, Any]:
        """As a plain row with texts, fit for a table."""
        return {
            "flow": self.flow,
            "protocol": self.protocol,
            "direction": self.direction,
            "guest": endpoint_text(self.guest),
            "target": endpoint_text(self.target),
            "outside": endpoint_text(self.outside),
            "name": self.name,
            "state": self.state,
            "ack_policy": self.ack_policy,
            "opened_at": self.opened_at,
            "answered_at": self.answered_at,
            "last_at": self.last_at,
            "ended_at": self.ended_at,
            "bytes_up": self.bytes_up,
            "bytes_down": self.bytes_down,
            "datagrams_up": self.datagrams_up,
            "datagrams_down": self.datagrams_down,
            "reason": self.reason,
        }


def endpoint_text(endpoint: Target) -> str:
    """``10.0.2.15:49152``, ``[fd00::1]:80`` or ``name:80``."""
    text = endpoint[0] if isinstance(endpoint[0], str) else ip_text(endpoint[0])
    return f"[{text}]:{endpoint[1]}" if ":" in text else f"{text}:{endpoint[1]}"


class FlowTable:
    """Live flows and the last :data:`LAN_ENDED_FLOWS` ended ones. Iterates over records, oldest first."""

    def __init__(self, most_ended: int = LAN_ENDED_FLOWS, audit: Source | None = None):
        self._audit = audit
        self.live: dict[int, FlowRecord] = {}
        self.ended: deque[FlowRecord] = deque(maxlen=most_ended)
        self.reasons: dict[str, int] = {}
        """How many flows ended for which reason, since the beginning."""
        self._next = 1

    @property
    def next_number(self) -> int:
        """Number of the next flow."""
        return self._next

    def number_from(self, number: int) -> None:
        """Flows are numbered from here on, unless they are further already."""
        self._next = max(self._next, number)

    def open(
        self,
        protocol: str,
        guest: Endpoint,
        target: Endpoint,
        outside: Target,
        now: int,
        name: str | None = None,
        direction: str = "out",
    ) -> FlowRecord:
        """A new live flow with a number of its own."""
        record = FlowRecord(self._next, protocol, guest, target, outside, name, now, direction, last_at=now)
        self._next += 1
        self.live[record.flow] = record
        return record

    def end(self, record: FlowRecord, reason: str, now: int) -> None:
        """A live flow ended; ending it twice changes nothing."""
        if self.live.pop(record.flow, None) is None:
            return
        record.state, record.reason, record.ended_at = "ended", reason, now
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        self.ended.append(record)
        if self._audit is None:
            return
        kind = "denied" if reason.startswith("denied-") else "quota" if reason == "limit" else "flow"
        self._audit.record(
            kind,
            now,
            protocol=record.protocol,
            direction=record.direction if record.direction != "out" else None,
            source=endpoint_text(record.guest),
            target=endpoint_text(record.target),
            outside=endpoint_text(record.outside) if record.outside != record.target else None,
            name=record.name,
            reason=reason,
            bytes_up=record.bytes_up,
            bytes_down=record.bytes_down,
            duration=now - record.opened_at,
        )

    def refused(self, protocol: str, guest: Endpoint, target: Endpoint | str, reason: str, now: int) -> None:
        """Something that never became a flow: ``denied-<why>`` by the policy, or a limit that was reached."""
        if self._audit is not None:
            self._audit.record(
                "denied" if reason.startswith("denied-") else "quota",
                now,
                protocol=protocol,
                source=endpoint_text(guest),
                target=None if isinstance(target, str) else endpoint_text(target),
                name=target if isinstance(target, str) else None,
                reason=reason,
            )

    def __iter__(self) -> Iterator[FlowRecord]:
        yield from sorted([*self.ended, *self.live.values()], key=lambda record: record.flow)

    def __len__(self) -> int:
        return len(self.live) + len(self.ended)

    def rows(self) -> list[dict[str, Any]]:
        """All flows as plain rows, oldest first."""
        return [record.row() for record in self]
