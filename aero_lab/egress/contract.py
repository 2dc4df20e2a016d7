"""What an egress is: flows to the world behind calls that never block and never mention a socket.

Theory of operation
-------------------
The *sink* (the NAT of the LAN, a socket relay, a test) opens flows and names each with an integer of its own
choosing. Calls down are made by the sink at any time. Calls up are made **only from** :meth:`Egress.step`, so
neither side is ever re-entered.

Data is bounded on both sides without any queue of ours between them::

    world -> guest   the egress asks sink.room(flow) and reads at most that; at room 0 it stops reading until
                     sink calls credit(flow). The rest waits in the host kernel, whose window closes.
    guest -> world   sink calls send(flow, parts) and gets told how much was taken; what was not stays where it is
                     (in the connection, whose window closes) until drained(flow) comes.

Each direction ends by itself: ``shutdown`` (guest's FIN) and ``eof`` (the world's FIN) are half-closes, ``reset``
ends both at once. After ``failed``, ``reset`` (either way) or ``close`` the number is free and nothing more is said
about that flow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from ..wire.dns import NOERROR, NXDOMAIN, DnsMessage, Record
from ..wire.rdata import AAAA, CNAME, IN, MX, PTR, SRV, TXT, A, Soa

Why = Literal["refused", "net-unreachable", "unreachable", "timeout", "denied"]
"""Why a flow could not be opened or a datagram not delivered: an answer that said no (of the port's owner), no way to
that network or to that host, no answer at all, or not allowed by this host or a router on the way."""


@dataclass(frozen=True)
class Answer:
    """What a lookup came to: records; none of this type; no such name; or no answer that can be relied on (the
    resolver failed, refused or was silent)."""

    status: Literal["ok", "nodata", "nxdomain", "servfail"]
    records: tuple[Record, ...] = ()
    """In the resolver's order: aliases (CNAME) that lead from the name to where the answer is, then the records of the
    type that was asked for. A time to live of 0: unknown, or not to be kept."""
    soa: Record | None = None
    """Of ``nodata`` and ``nxdomain``: the SOA record whose time to live tells how long that holds (RFC 2308: the lesser
    of its own and its *minimum*); None when the resolver did not say."""

    @property
    def addresses(self) -> tuple[bytes, ...]:
        """Packed addresses among the records, each once."""
        found = (record.rdata for record in self.records if record.type in (A, AAAA))
        return tuple(dict.fromkeys(address for address in found if isinstance(address, bytes)))

    @classmethod
    def of(cls, name: str, addresses: tuple[bytes, ...], ttl: int = 0) -> Answer:
        """The answer that consists of these addresses."""
        records = tuple(Record(name, A if len(each) == 4 else AAAA, IN, ttl, each) for each in addresses)
        return cls("ok" if records else "nodata", records)


RECORD_TYPES = {"A": A, "AAAA": AAAA, "CNAME": CNAME, "PTR": PTR, "TXT": TXT, "MX": MX, "SRV": SRV}
"""What can be looked up, by the text that :meth:`Egress.resolve` takes."""


def holding_soa(records: Iterable[Record]) -> Record | None:
    """The SOA record among those of a negative answer, its time to live being how long that holds (RFC 2308
    section 5)."""
    for record in records:
        if isinstance(record.rdata, Soa):
            return replace(record, ttl=min(record.ttl, record.rdata.minimum))
    return None


def read_answer(message: DnsMessage) -> Answer:
    """What a name server's answer says. One that was cut short says nothing that can be relied on."""
    soa = holding_soa(message.authority)
    if message.truncated:
        return Answer("servfail")
    if message.rcode == NXDOMAIN:
        return Answer("nxdomain", message.answers, soa)
    if message.rcode != NOERROR:
        return Answer("servfail")
    asked = message.questions[0].type
    if any(record.type == asked for record in message.answers):
        return Answer("ok", message.answers)
    return Answer("nodata", message.answers, soa)


class EgressSink(Protocol):
    """Calls up. All come from :meth:`Egress.step`."""

    def opened(self, flow: int, now: int) -> None:
        """The far side answered; data may flow both ways."""

    def failed(self, flow: int, why: Why, now: int) -> None:
        """A flow could not be opened. It is gone."""

    def undeliverable(self, flow: int, why: Why, now: int) -> None:
        """A datagram of a UDP flow did not reach its remote. The flow goes on (RFC 4787 REQ-12)."""

    def room(self, flow: int) -> int:
        """Bytes the sink takes now. 0 stops reading until :meth:`Egress.credit`."""
        ...

    def data(self, flow: int, view: memoryview, now: int) -> None:
        """Bytes from the world, at most :meth:`room`. The view is valid during the call only."""

    def drained(self, flow: int, now: int) -> None:
        """After a :meth:`Egress.send` that was cut short: it takes bytes again."""

    def eof(self, flow: int, now: int) -> None:
        """The world sends no more; the other direction goes on."""

    def reset(self, flow: int, now: int) -> None:
        """The world ended the flow abruptly. The flow is gone."""

    def datagram(self, flow: int, payload: bytes, now: int) -> None:
        """One datagram from the world."""

    def accepted(self, listener: int, peer: tuple[bytes, int], now: int) -> int | None:
        """Somebody outside came to a listener: the number of the new flow, or None to turn it away.

        A TCP flow is open then, but nothing is read before :meth:`Egress.credit`. A UDP flow lasts until the sink
        closes it, and what the same peer sends meanwhile comes by :meth:`datagram`.
        """
        ...

    def heard(self, port: int, source: tuple[bytes, int], payload: bytes, now: int) -> None:
        """A datagram came to a port of :meth:`Egress.open_port`."""

    def resolved(self, query: int, answer: Answer, now: int) -> None:
        """A lookup is done."""

    def echoed(self, query: int, address: bytes, payload: bytes, now: int) -> None:
        """The reply to an ICMP echo. Without a reply or an error nothing is said."""

    def echo_failed(self, query: int, sender: bytes | None, type: int, code: int, rest: int, now: int) -> None:
        """A router or the host itself sent an ICMP error about an echo: type and code as in the echo's family. The
        query is done."""


class Egress(Protocol):
    """Calls down, and the node that does the work."""

    def open_tcp(self, flow: int, address: bytes, port: int, now: int) -> None:
        """Connect; ``opened`` or ``failed`` follows."""

    def send(self, flow: int, parts: Sequence[memoryview], now: int) -> int:
        """Offer bytes; returns how many were taken. Fewer than offered: ``drained`` follows. Gone flows take 0."""
        ...

    def shutdown(self, flow: int, now: int) -> None:
        """No more bytes to the world (FIN after what was taken)."""

    def reset(self, flow: int, now: int) -> None:
        """End both directions abruptly (RST); the number is free at once."""

    def credit(self, flow: int, now: int) -> None:
        """The sink has room again (or for the first time): read on."""

    def open_udp(self, flow: int, address: bytes, port: int, now: int) -> None:
        """A flow of datagrams with one remote address and port; usable at once, ``failed`` if it could not be had."""

    def send_datagram(self, flow: int, payload: bytes, now: int) -> bool:
        """Send or drop (counted); False when dropped."""
        ...

    def close(self, flow: int, now: int) -> None:
        """Forget the flow in an orderly way; the number is free at once."""

    def open_port(self, port: int, now: int) -> bool:
        """A port for datagrams to and from anybody, on both families where there are both. ``port`` is a number of
        the sink's choosing, apart from those of flows. False when it cannot be had."""
        ...

    def send_to(self, port: int, address: bytes, remote_port: int, payload: bytes, now: int) -> bool:
        """Send a datagram from a port, or drop it (counted); False when dropped."""
        ...

    def close_port(self, port: int, now: int) -> None:
        """Give a port back."""

    def listen(self, listener: int, kind: str, address: bytes, port: int, now: int) -> tuple[bytes, int]:
        """Take connections (``"tcp"``) or datagrams (``"udp"``) from outside at an address and port (0: any) of this
        host; returns where. Raises :class:`~aero_lab.errors.UsageError` when that cannot be."""
        ...

    def unlisten(self, listener: int, now: int) -> None:
        """Listen no more; TCP flows that came by it go on, UDP flows are forgotten."""

    def resolve(self, query: int, name: str, rtype: str, now: int) -> None:
        """Look up the records of a name, of a type in :data:`RECORD_TYPES`; ``resolved`` follows, always."""

    def unacked(self, flow: int) -> int | None:
        """Bytes taken by :meth:`send` that the far TCP has not acknowledged, the end of :meth:`shutdown` counted as
        one. None when this host cannot tell, or when the flow is gone."""
        ...

    @property
    def tells_unacked(self) -> bool:
        """Whether :meth:`unacked` can be told of flows that live."""
        ...

    @property
    def steps_on_acks(self) -> bool:
        """Whether each acknowledgement of the far side leads to a step of this egress."""
        ...

    def round_trip(self, flow: int) -> int:
        """Nanoseconds to the far TCP and back as measured so far; 0 when not known."""
        ...

    def echo(self, query: int, address: bytes, payload: bytes, now: int, ttl: int = 64) -> Why | None:
        """Send an ICMP echo; None when it went out, else why not: ``denied`` when this host does not allow it."""
        ...

    def step(self, now: int) -> None:
        """Do all that is due; makes the calls up."""

    def poll_at(self, now: int) -> int:
        """Next deadline; ``<= now`` with work waiting, ``NEVER`` when only the world can wake it."""
        ...

    @property
    def counters(self) -> dict[str, int]:
        """What was dropped or went wrong, by reason, and bytes and datagrams each way."""
        ...
