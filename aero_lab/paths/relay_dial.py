"""From the host and port that a client names to a flow of the egress: rules first, and only to what was judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import Malformed, UsageError
from ..framing.tcp_mux import ErrorCode
from ..lan.flows import FlowRecord
from ..lan.judgement import whither
from ..wire import dns
from ..wire.address import ip
from ..wire.dns import DnsMessage


class Caller(Protocol):
    """Who asked for a connection."""

    def dialled(self, flow: int, now: int) -> None:
        """The rules allow it, and it is being opened: the egress speaks of it by this number from now on."""

    def denied_dial(self, code: int, text: str, reason: str, now: int) -> None:
        """There will be no connection."""


@dataclass(eq=False)
class _Wanted:
    """A connection to a name that is being looked up. The name server knows it as a client."""

    dialer: Dialer
    caller: Caller
    host: str
    port: int
    source: tuple[bytes, int]
    rtypes: list[int]
    denied_why: str | None = None

    def answered(self, client: tuple[Any, ...], payload: bytes, now: int) -> None:
        self.dialer._answered(self, payload, now)

    def denied(self, client: tuple[Any, ...], why: str) -> None:
        self.denied_why = why


class Dialer:
    """Opens flows for a relay's channels. ``rules``: asked about each host and port before anything else; what it
    returns turns the connection down."""

    def __init__(self, relay: Any, rules: Any = None):
        self._relay, self.rules = relay, rules

    def dial(self, caller: Caller, host: str, port: int, source: tuple[bytes, int], now: int) -> None:
        """Open a connection for ``caller``; it is told, possibly before this returns. ``source``: of the guest, for the
        table of flows."""
        if not 0 < port < 1 << 16:
            caller.denied_dial(ErrorCode.PROTOCOL_ERROR, "Invalid OPEN payload", "malformed", now)
            return
        if self.rules is not None and (text := self.rules(host, port)) is not None:
            caller.denied_dial(ErrorCode.POLICY_DENIED, text, "denied-rule", now)
            return
        address = literal(host)
        if address is not None:
            self._open(caller, address, port, host, source, now)
            return
        name = _ascii(host)
        if name is None:
            caller.denied_dial(ErrorCode.DIAL_FAILED, "DNS lookup failed", "no-such-name", now)
            return
        rtypes = [dns.A, dns.AAAA]
        self._ask(_Wanted(self, caller, name, port, source, rtypes), now)

    def _ask(self, wanted: _Wanted, now: int) -> None:
        query = DnsMessage.query(0, wanted.host, wanted.rtypes.pop(0), dns.Edns())
        if not self._relay.dns.handle(query.emit(), (wanted,), now, stream=True):
            wanted.caller.denied_dial(ErrorCode.DIAL_FAILED, "DNS lookup failed", "no-such-name", now)

    def _answered(self, wanted: _Wanted, payload: bytes, now: int) -> None:
        if wanted.denied_why is not None:
            why = wanted.denied_why
            wanted.caller.denied_dial(ErrorCode.POLICY_DENIED, "Target is not allowed", f"denied-{why}", now)
            return
        try:
            answer = DnsMessage.parse(payload)
        except Malformed:
            answer = None
        for record in answer.answers if answer is not None else ():
            if record.type in (dns.A, dns.AAAA) and isinstance(record.rdata, bytes):
                self._open(wanted.caller, record.rdata, wanted.port, wanted.host, wanted.source, now)
                return
        if wanted.rtypes and answer is not None and answer.rcode == dns.NOERROR:
            self._ask(wanted, now)
            return
        wanted.caller.denied_dial(ErrorCode.DIAL_FAILED, "DNS lookup failed", "no-such-name", now)

    def _open(self, caller: Caller, address: bytes, port: int, host: str, source: tuple[bytes, int], now: int) -> None:
        relay = self._relay
        outside, why = whither(relay.config, "tcp", (address, port), len(relay.tcp))
        name = host if literal(host) is None else relay.dns.name_of(address)
        record: FlowRecord = relay.flows.open("tcp", source, (address, port), outside, now, name)
        if why is not None:
            reason = why if why == "limit" else f"denied-{why}"
            relay.counts[reason] += 1
            relay.flows.end(record, reason, now)
            if why == "limit":
                caller.denied_dial(ErrorCode.STREAM_LIMIT_EXCEEDED, "max streams exceeded", reason, now)
            else:
                text = "Target port not allowed" if why == "port" else "Target is not allowed"
                caller.denied_dial(ErrorCode.POLICY_DENIED, text, reason, now)
            return
        caller.dialled(record.flow, now)
        if isinstance(outside[0], str):
            relay.target_names.find(outside[0], _Found(relay, record.flow, outside[1]), now)
        else:
            relay.egress.open_tcp(record.flow, *outside, now)


@dataclass
class _Found:
    """The name that the forward map leads to has been looked up."""

    relay: Any
    flow: int
    port: int

    def __call__(self, address: bytes | None, now: int) -> None:
        record = self.relay.flows.live.get(self.flow)
        if record is None:
            return
        if address is None:
            self.relay.failed(self.flow, "unreachable", now)
        else:
            record.outside = (address, self.port)
            self.relay.egress.open_tcp(self.flow, address, self.port, now)


def literal(host: str) -> bytes | None:
    """The packed address that a host's text is, in brackets or not; None for a name. Old spellings of IPv4 (octal, hex,
    short) are none: the name server turns them down as numeric names."""
    text = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        return ip(text)
    except (UsageError, ValueError):
        return None


def _ascii(host: str) -> str | None:
    """A name as resolvers know it, letters beyond ASCII in their encoding (IDNA); None for what can be no name."""
    try:
        name = host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        return None
    sound = len(name) <= 254 and all(0 < len(label) < 64 for label in name.rstrip(".").split("."))
    return name.rstrip(".").lower() if sound else None
