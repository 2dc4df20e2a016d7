"""Inbound forwards: a port of the host's that leads to a port of the guest's.

The host listens, on loopback unless told otherwise; whoever connects gets a flow of his own to the guest, who sees it
come from the gateway. The guest's answer decides: a host's connection to a port that the guest refuses is reset.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from ..audit import Source
from ..bounds import LAN_FORWARDS
from ..egress.contract import Egress
from ..errors import UsageError
from .config import Endpoint
from .flows import endpoint_text
from .tcp_nat import TcpNat
from .udp_nat import UdpNat

PROTOCOLS = ("tcp", "udp")


@dataclass(frozen=True)
class Forward:
    """One forward. Closed by :meth:`Forwards.close`."""

    number: int
    protocol: str
    host: Endpoint
    """Where the host listens."""
    guest_port: int
    guest: bytes | None = None
    """The guest's address; None: whichever it has when somebody comes."""


class Forwards:
    """All forwards of one LAN."""

    def __init__(self, tcp: TcpNat, udp: UdpNat, guest: Callable[[], bytes], audit: Source | None = None):
        self._tcp, self._udp, self._guest, self._audit = tcp, udp, guest, audit
        self.egress: Egress = None  # type: ignore[assignment]  # set by the LAN: each needs the other
        self._open: dict[int, Forward] = {}
        self._next = 1
        self.counters: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self):
        return iter(list(self._open.values()))

    def open(self, protocol: str, host: Endpoint, guest_port: int, now: int, guest: bytes | None = None) -> Forward:
        """Listen at ``host`` (port 0: any) for the guest's port. Raises :class:`~aero_lab.errors.UsageError`."""
        if protocol not in PROTOCOLS:
            raise UsageError(f"a forward is for tcp or udp, not {protocol!r}")
        if not 0 < guest_port < 1 << 16:
            raise UsageError(f"the guest's port must be 1 to 65535, not {guest_port}")
        if not 0 <= host[1] < 1 << 16:
            raise UsageError(f"the host's port must be 0 to 65535, not {host[1]}")
        if len(self._open) >= LAN_FORWARDS:
            raise UsageError(f"there are {LAN_FORWARDS} forwards already")
        where = self.egress.listen(self._next, protocol, *host, now)
        forward = Forward(self._next, protocol, where, guest_port, guest)
        self._next += 1
        self._open[forward.number] = forward
        self._say(forward, "opened", now)
        return forward

    def close(self, forward: Forward, now: int) -> None:
        """Take nobody in any more. TCP flows that came this way go on, UDP flows end. May be called twice."""
        if self._open.pop(forward.number, None) is not None:
            self._udp.close_via(forward.number, now)
            self.egress.unlisten(forward.number, now)
            self._say(forward, "closed", now)

    def close_all(self, now: int) -> None:
        for forward in self:
            self.close(forward, now)

    def accepted(self, listener: int, peer: Endpoint, now: int) -> int | None:
        """Somebody came; the number of his flow, or None."""
        forward = self._open.get(listener)
        if forward is None:
            return None
        guest = (forward.guest or self._guest(), forward.guest_port)
        self.counters[forward.protocol] += 1
        if forward.protocol == "tcp":
            return self._tcp.accepted(guest, peer, now)
        return self._udp.accepted(guest, peer, now, listener)

    def _say(self, forward: Forward, what: str, now: int) -> None:
        if self._audit is not None:
            self._audit.record(
                "forward",
                now,
                protocol=forward.protocol,
                source=endpoint_text(forward.host),
                target=f"guest:{forward.guest_port}",
                reason=what,
            )
