"""Why something is reached or not: every step that a guest's name and flow would go through, and what came of it last.

Nothing here decides. Names are judged by the name server's own ``judge`` and ``weigh``, flows by :mod:`.judgement`, as
when a guest asks; an inquiry only writes down what they say, looks a name up that nobody has asked for yet, and adds
what the flow table remembers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..egress.contract import Answer
from ..errors import UsageError
from ..limits import SECOND
from ..tables import html_table, text_table
from ..wire import dns
from ..wire.address import ip, ip_text
from .config import Endpoint
from .dns_judge import TYPE_TEXTS, Judgement, weigh
from .flows import FlowRecord, endpoint_text
from .judgement import Step, judge
from .policy import looks_numeric

if TYPE_CHECKING:
    from .dns_cache import Verdict
    from .lan import Lan

PROTOCOLS = ("tcp", "udp", "icmp")
SCHEMES = {"http": 80, "ws": 80, "https": 443, "wss": 443, "tcp": 0, "udp": 0, "icmp": 0}
"""Schemes that a target may be written with, and their ports."""
_TARGET = re.compile(r"(?:(?P<scheme>\w+)://)?(?:\[(?P<v6>[^\]]*)\]|(?P<host>[^/\[\]:]+))(?::(?P<port>\w+))?(?:/.*)?")
_FAILED = frozenset(("refused", "unreachable", "net-unreachable", "timeout", "limit"))
"""Ends of a flow that was allowed and came to nothing."""


class Target(NamedTuple):
    """What is asked about."""

    protocol: str
    host: str
    """A name or the text of an address."""
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host} by ICMP echo" if self.protocol == "icmp" else f"{host}:{self.port} over {self.protocol.upper()}"


def parse_target(text: str, protocol: str | None = None) -> Target:
    """``host:port``, ``[address]:port``, ``udp://host:port``, ``https://host/path``, or with ``icmp`` a host alone.

    Raises :class:`UsageError`.
    """
    try:
        address = ip(text)
    except UsageError:
        found = _TARGET.fullmatch(text)
    else:
        if len(address) == 16 and protocol != "icmp":
            raise UsageError(f"an IPv6 address with a port is written [{text}]:port")
        found = _TARGET.fullmatch(f"[{text}]" if len(address) == 16 else text)
    if found is None:
        raise UsageError(f"not host:port: {text!r}")
    scheme = (found["scheme"] or "").lower()
    if scheme and scheme not in SCHEMES:
        raise UsageError(f"{scheme}:// is not known; there is {', '.join(SCHEMES)}")
    if protocol is None:
        protocol = scheme if scheme in PROTOCOLS else "tcp"
    if protocol not in PROTOCOLS:
        raise UsageError(f"protocol must be one of {', '.join(PROTOCOLS)}, not {protocol!r}")
    host = found["v6"] if found["v6"] is not None else found["host"]
    port = found["port"] if found["port"] is not None else str(SCHEMES.get(scheme, 0))
    if protocol == "icmp":
        return Target(protocol, host, 0)
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise UsageError(f"{text!r} needs a port from 1 to 65535: host:port")
    return Target(protocol, host, int(port))


def inet_aton(text: str) -> bytes | None:
    """The address that the C library's ``inet_aton`` would read: octal, hexadecimal and short spellings too."""
    parts = text.split(".")
    if not 1 <= len(parts) <= 4:
        return None
    numbers = []
    for part in parts:
        try:
            base = 16 if part[:2] in ("0x", "0X") else 8 if part[:1] == "0" else 10
            numbers.append(int(part, base) if part[:1].isdigit() and "_" not in part else -1)
        except ValueError:
            return None
    *first, last = numbers
    if any(not 0 <= number < 256 for number in first) or not 0 <= last < 256 ** (5 - len(numbers)):
        return None
    return bytes(first) + last.to_bytes(4 - len(first), "big")


class Row(NamedTuple):
    """One step."""

    about: str
    """The name or the address that it is about."""
    rule: str
    says: str
    """``pass``, ``yes``, ``no``, ``failed``, or nothing when it only tells."""
    detail: str


@dataclass(frozen=True)
class Explanation:
    """The steps in their order, and the one that decides. Shows itself as a table."""

    target: str
    guest: str | None
    outcome: str
    """``allowed``; ``denied`` by a rule; ``unresolved``: the name gives no address; ``failed``: allowed, but the last
    attempt came to nothing."""
    rows: tuple[Row, ...]
    decided: int
    """Number of the row that decides."""

    @property
    def allowed(self) -> bool:
        """Whether rules let it through (which does not say that anyone answers there)."""
        return self.outcome in ("allowed", "failed")

    @property
    def decided_by(self) -> Row:
        """The row that decides."""
        return self.rows[self.decided]

    def _cells(self) -> list[tuple[str, ...]]:
        return [(">" if i == self.decided else "", str(i + 1), *row) for i, row in enumerate(self.rows)]

    @property
    def _title(self) -> str:
        who = f" from {self.guest}" if self.guest else ""
        by = self.decided_by
        return f"{self.target}{who}: {self.outcome}. {by.rule}: {by.detail}"

    def __str__(self) -> str:
        table = text_table(("", "", "about", "rule", "says", "detail"), self._cells())
        return f"{self._title}\n{table}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(("", "", "about", "rule", "says", "detail"), self._cells(), caption=self._title)


class Inquiry:
    """An explanation in the making: done at once, or when the lookups it needs have come back.

    Parameters
    ----------
    lan: the network of the guest that is asked about.
    guest: its name.
    denials: audit records of what was denied to this guest, oldest first.
    lookup: ask the world for a name that is neither known nor denied.
    """

    def __init__(
        self,
        lan: Lan,
        target: Target,
        now: int,
        guest: str | None = None,
        denials: Iterable[dict[str, Any]] = (),
        lookup: bool = True,
    ):
        self._lan, self._target, self._now, self._guest = lan, target, now, guest
        self._denials = tuple(denials)
        self._rows: list[Row] = []
        self._answers: dict[int, tuple[Judgement, Answer | None]] = {}
        self._missing = 0
        self._refusal: int | None = None  # row of the first no
        self._grant: int | None = None  # row that let the first address through
        self._latest: tuple[int, int] | None = None  # time and row of the last attempt at what is allowed
        try:
            self._address: bytes | None = ip(target.host)
        except UsageError:
            self._address = None
            self._name = target.host.rstrip(".").lower()
            for rtype in (dns.A, dns.AAAA):
                found = lan.dns.judge(self._name, rtype, now)
                self._answers[rtype] = (found, None)
                if found.verdict is None and lookup:
                    self._missing += 1
                    name, wanted = found.key
                    told = partial(self._answered, rtype)
                    lan.look_up(name, TYPE_TEXTS[wanted], now, told)

        self.done = not self._missing
        """Whether :meth:`value` has all it needs."""

    def _answered(self, rtype: int, answer: Answer) -> None:
        self._missing -= 1
        self._answers[rtype] = (self._answers[rtype][0], answer)
        self.done = not self._missing

    def cancel(self) -> None:
        """Wait for no lookup any more."""
        self.done = True

    def value(self) -> Explanation:
        """The explanation."""
        self._lease()
        addresses = [self._address] if self._address is not None else self._names()
        for address in addresses:
            self._flow(address)
        if self._grant is None:
            outcome = "denied" if self._refusal is not None else "unresolved"
            decided = self._refusal if self._refusal is not None else len(self._rows) - 1
        elif self._latest is not None and self._rows[self._latest[1]].says == "failed":
            outcome, decided = "failed", self._latest[1]
        else:
            outcome, decided = "allowed", self._grant
        return Explanation(str(self._target), self._guest, outcome, tuple(self._rows), decided)

    # Steps ----------------------------------------------------------------------------------------------------------

    def _add(self, about: str, rule: str, says: str, detail: str) -> int:
        self._rows.append(Row(about, rule, says, detail))
        number = len(self._rows) - 1
        if says == "no" and self._refusal is None:
            self._refusal = number
        return number

    def _lease(self) -> None:
        if self._lan.config.require_lease:
            has = self._lan.carries
            detail = "the guest has a lease" if has else "nothing but ARP, DHCP and DNS before a lease is acknowledged"
            self._add(self._guest or "guest", "lease", "pass" if has else "no", detail)

    def _names(self) -> list[bytes]:
        """Addresses of the name; rows for what decides about each type."""
        name, policy = self._target.host, self._lan.config.policy
        if looks_numeric(name):
            read = inet_aton(name)
            meant = f"inet_aton reads it as {ip_text(read)}" if read is not None else "no address to inet_aton either"
            self._add(name, "spelling", "", f"a number, but no address as it is written here; {meant}")
        why = policy.name(self._name)
        if why is None:
            lists = ((policy.allowed_domains, "allowed"), (policy.blocked_domains, "blocked"))
            told = " and ".join(f"{len(each)} {what}" for each, what in lists if each)
            self._add(name, "domains", "pass", f"{told} suffixes let it through" if told else "no lists")
        found: list[bytes] = []
        for rtype, (judged, answer) in self._answers.items():
            found += self._resolution(name, rtype, judged, answer)
            if judged.step == "policy":
                break
        return list(dict.fromkeys(found))

    def _resolution(self, name: str, rtype: int, judged: Judgement, answer: Answer | None) -> list[bytes]:
        about = f"{name} {TYPE_TEXTS[rtype]}"
        verdict, detail = judged.verdict, judged.detail
        rule = _NAME_RULES.get(judged.step, judged.step)
        if verdict is None:
            if answer is None:
                self._add(about, rule, "", "not asked")
                return []
            verdict, seconds, word = weigh(self._lan.config, judged.key, answer)
            detail = f"holds for {seconds} s" if seconds else "not remembered"
            if verdict.outcome == "servfail":
                detail = word
        addresses = [
            record.rdata for record in verdict.records if record.type == rtype and isinstance(record.rdata, bytes)
        ]
        if verdict.denied is not None:
            spoiled = _spoiled(self._lan, answer)
            self._add(about, rule, "no", "; ".join(filter(None, (verdict.denied, spoiled))))
            return []
        texts = [verdict.outcome if not addresses else ", ".join(map(ip_text, addresses))]
        texts += [f"alias of {record.rdata}" for record in verdict.records if record.type == dns.CNAME]
        if judged.step == "cache":
            texts.append(_remaining(verdict))
        self._add(about, rule, "pass" if addresses else "", "; ".join(filter(None, (*texts, detail))))
        return addresses

    def _flow(self, address: bytes) -> None:
        """What is said about one address."""
        lan, (protocol, _, port) = self._lan, self._target
        about = ip_text(address)
        if len(address) == 16 and lan.config.gateway6 is None:
            self._add(about, "family", "no", "the LAN has no IPv6")
            return
        service = lan.serves(protocol, (address, port))
        if service is not None:
            number = self._add(about, "gateway", "yes", _SERVICES[service])
            self._grant = number if self._grant is None else self._grant
            return
        flows = len(lan.tcp) if protocol == "tcp" else lan.udp.lasting
        grant = None
        for step in judge(lan.config, protocol, (address, port), flows):
            opens = step.why is None and (step.rule == "address" or (step.rule == "forward" and step.fact is not None))
            said = "no" if step.why is not None else "yes" if opens else "pass"
            number = self._add(about, _FLOW_RULES[step.rule], said, _words(step, protocol))
            grant = None if step.why is not None else number if opens else grant
        if self._grant is None:
            self._grant = grant
        self._history((address, port), grant is not None)

    def _history(self, target: Endpoint, allowed: bool) -> None:
        """What came of it last."""
        protocol = self._target.protocol
        about = ip_text(target[0])
        records = [each for each in self._lan.flows if each.protocol == protocol and each.target == target]
        if records:
            last = records[-1]
            failed = allowed and last.reason in _FAILED
            number = self._add(about, "last flow", "failed" if failed else "", self._told(records))
            if allowed and (self._latest is None or last.opened_at > self._latest[0]):
                self._latest = (last.opened_at, number)
            return
        texts = (about, endpoint_text(target))
        told = [each for each in self._denials if each.get("protocol") == protocol and each.get("target") in texts]
        if told:
            self._add(about, "last denial", "", f"{told[-1]['reason']}, {len(told)} that are remembered")

    def _told(self, records: list[FlowRecord]) -> str:
        last = records[-1]
        when = last.ended_at if last.ended_at is not None else last.last_at
        ago = max(0, self._now - when) / SECOND
        state = last.reason if last.reason is not None else last.state
        moved = f"{last.bytes_up:,} bytes up, {last.bytes_down:,} down"
        return f"{state} {ago:.1f} s ago, {moved}; {len(records)} that are remembered"


_SERVICES = {
    "dns": "the network's own name server",
    "dhcp": "the network's own DHCP server",
    "echo": "answered here: an address of the network, or one that the forward map leads elsewhere",
}
_NAME_RULES = {
    "policy": "domains",
    "static": "static names",
    "cache": "name cache",
    "lookup": "lookup",
    "limit": "lookups under way",
    "reverse": "reverse names",
}
_FLOW_RULES = {
    "forward": "forward map",
    "gateway": "gateway",
    "port": "ports",
    "address": "address",
    "limit": "flows",
}


def _words(step: Step, protocol: str) -> str:
    """What a step of :func:`judge` says, in words."""
    fact = step.fact
    if step.rule == "forward":
        return "no entry" if fact is None else f"leads to {endpoint_text(fact)}; address rules do not apply"
    if step.rule == "gateway":
        return "an address of the network itself: nothing is served there, and it is no way to the host"
    if step.rule == "port":
        if fact is None:
            return f"all {protocol.upper()} ports are allowed"
        allowed = ", ".join(map(str, sorted(fact))) or "none"
        return f"allowed are {allowed}"
    if step.rule == "limit":
        return f"{fact[0]} of at most {fact[1]} are open"
    return f"{step.why}: {fact}" if step.why is not None else str(fact)


def _remaining(verdict: Verdict) -> str:
    left = min((record.ttl for record in verdict.records), default=verdict.soa.ttl if verdict.soa else 0)
    return f"remembered for another {left} s"


def _spoiled(lan: Lan, answer: Answer | None) -> str:
    """The addresses of an answer that spoil its name."""
    if answer is None:
        return ""
    found = [(address, lan.config.policy.examine(address)) for address in answer.addresses]
    return "; ".join(f"{ip_text(address)} is {each.detail}" for address, each in found if each.why is not None)
