"""What the LAN's name server makes of a question before it asks anyone, and of what it hears when it did.

No state and no effects: one function goes through the steps and stops at the first that decides, another checks what
the world answered. The server acts on their results; who wants to know why a name does not resolve asks the same
functions.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..bounds import DNS_ALIASES, DNS_ANSWER_RECORDS, DNS_ANSWER_SIZE, DNS_FAILURE_TTL
from ..egress.contract import RECORD_TYPES, Answer
from ..services.zone import Zone, own_soa, parent
from ..wire import dns
from ..wire.dns import Record
from .config import LanConfig
from .dns_cache import DnsCache, Key, Verdict, record_size

TYPE_TEXTS = {number: text for text, number in RECORD_TYPES.items()}
HINFO = 13
_LOOPBACK = {dns.A: b"\x7f\0\0\1", dns.AAAA: bytes(15) + b"\1"}
_NOWHERE = ("invalid", "onion")
_OWN = "lab"
"""Where a network has static names under it, the world is not asked for others: it has no such domain, and would hear
what guests mistype."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Where a question stopped and what was found there."""

    step: str
    """``policy``, ``type``, ``static``, ``special-use``, ``reverse``, ``family``, ``cache``, ``limit``, ``lookup``."""
    verdict: Verdict | None = None
    """The answer; None when it has to be looked up."""
    key: Key = ("", 0)
    """What to look up: the name asked for, or where static aliases lead."""
    prefix: tuple[Record, ...] = field(default=())
    """Static aliases that stand in front of what the lookup gives."""
    detail: str = ""

    @property
    def outcome(self) -> str:
        """``answer``, ``nodata``, ``nxdomain``, ``servfail``, ``notimp``, ``formerr`` or ``lookup``."""
        return "lookup" if self.verdict is None else self.verdict.outcome


def reverse_address(name: str) -> bytes | None:
    """The address that a reverse name is about, what it leaves open being zero; None when it is no reverse name.

    Labels that are no numbers (RFC 2317 has names with them) are passed over with all in front of them.
    """
    for suffix, size, base, most in ((".in-addr.arpa", 4, 10, 255), (".ip6.arpa", 32, 16, 15)):
        if not name.endswith(suffix):
            continue
        parts: list[int] = []
        for label in reversed(name[: -len(suffix)].split(".")):
            try:
                part = int(label, base) if label.isascii() and label.isalnum() else -1
            except ValueError:
                part = -1
            if not 0 <= part <= most or len(parts) == size:
                break
            parts.append(part)
        if not parts:
            return None
        parts += [0] * (size - len(parts))
        return bytes(parts) if size == 4 else bytes(a << 4 | b for a, b in zip(parts[::2], parts[1::2]))
    return None


def _denied(name: str, why: str, ttl: int) -> Verdict:
    return Verdict(dns.NXDOMAIN, soa=own_soa(parent(name), ttl), denied=why)


def _led_astray(config: LanConfig, name: str) -> str | None:
    """Why an alias must not lead to a name. The list of allowed domains is about names that are asked for: what is
    allowed may live elsewhere."""
    why = config.policy.name(name)
    return None if why == "not-allowed-domain" else why


def judge(config: LanConfig, zone: Zone, cache: DnsCache, room: bool, name: str, rtype: int, now: int) -> Judgement:
    """The first step that decides about a question.

    Parameters
    ----------
    room: whether another lookup may wait.
    name: lower case, without trailing dot.
    """
    ttl, policy = config.dns_default_ttl, config.policy
    why = policy.name(name)
    if why is not None:
        return Judgement("policy", _denied(name, why, ttl), detail=why)
    if rtype == dns.ANY:
        return Judgement("type", Verdict(dns.NOERROR, _anything(zone, name, ttl)), detail="RFC 8482")
    if rtype == dns.OPT or not rtype:
        return Judgement("type", Verdict(dns.FORMERR), detail="no type to ask for")
    if 128 <= rtype < 256:
        return Judgement("type", Verdict(dns.NOTIMP), detail="no data type (RFC 6895 section 3.1)")
    if rtype not in TYPE_TEXTS:
        # Not NOTIMP: that makes resolvers that ask for HTTPS records beside addresses try again and wait (RFC 8906).
        return Judgement("type", Verdict(dns.NOERROR, soa=own_soa(name, ttl)), detail="a type that is not served")
    prefix: tuple[Record, ...] = ()
    found = zone.find(name, rtype)
    if found is not None:
        prefix = found.records
        if config.gateway6 is None:  # an address that nobody can use would only be tried first
            prefix = tuple(record for record in prefix if record.type != dns.AAAA)
        if found.beyond is None:
            last = str(prefix[-1].rdata) if prefix and prefix[-1].type == dns.CNAME != rtype else name
            has = any(record.type == rtype for record in prefix)
            return Judgement("static", Verdict(dns.NOERROR, prefix, None if has else own_soa(last, ttl)))
        name = found.beyond
        why = _led_astray(config, name)
        if why is not None:
            return Judgement("policy", _denied(name, why, ttl), detail=why)
    return _beyond(config, cache, room, (name, rtype), prefix, now)


def _beyond(
    config: LanConfig, cache: DnsCache, room: bool, key: Key, prefix: tuple[Record, ...], now: int
) -> Judgement:
    """The steps for a name that is not in the table."""
    name, rtype = key
    ttl = config.dns_default_ttl
    top = name.rpartition(".")[2]

    def here(step: str, verdict: Verdict, detail: str = "") -> Judgement:
        return Judgement(step, replace(verdict, records=prefix + verdict.records), key, prefix, detail)

    if top == "localhost":  # RFC 6761 section 6.3: a machine's own names never leave it
        if rtype in _LOOPBACK:
            return here("special-use", Verdict(dns.NOERROR, (Record(name, rtype, dns.IN, ttl, _LOOPBACK[rtype]),)))
        return here("special-use", Verdict(dns.NOERROR, soa=own_soa(top, ttl)))
    if top in _NOWHERE:  # RFC 6761 section 6.4, RFC 7686
        return here("special-use", Verdict(dns.NXDOMAIN, soa=own_soa(top, ttl)))
    if top == _OWN and any(known.endswith(f".{_OWN}") for known in config.static_names):
        return here("static", Verdict(dns.NXDOMAIN, soa=own_soa(top, ttl)), "the lab alone has names there")
    if rtype == dns.PTR:
        address = reverse_address(name)
        why = config.policy.address(address) if address is not None else None
        if why is not None:
            # RFC 6303: nobody outside knows; and the names of the host's own network are no business of the guest.
            return here("reverse", Verdict(dns.NXDOMAIN, soa=own_soa(parent(name), ttl), denied=why), why)
    if rtype == dns.AAAA and config.gateway6 is None:
        return here("family", Verdict(dns.NOERROR, soa=own_soa(name, ttl)), "the LAN has no IPv6")
    known = cache.get(key, now)
    if known is not None:
        return here("cache", known)
    if not room:
        return here("limit", Verdict(dns.SERVFAIL), "too many wait")
    return Judgement("lookup", None, key, prefix)


def _anything(zone: Zone, name: str, ttl: int) -> tuple[Record, ...]:
    """Something that exists is enough for ANY (RFC 8482 section 4)."""
    found = zone.find(name, dns.ANY)
    if found is not None and found.records:
        return found.records
    return (Record(name, HINFO, dns.IN, ttl, b"\x07RFC8482\0"),)


def weigh(config: LanConfig, key: Key, answer: Answer) -> tuple[Verdict, int, str]:
    """What is answered after a lookup, for how many seconds it holds, and a word for the counters.

    One forbidden address anywhere in the answer spoils the name, and so does an alias under a blocked domain: a name
    must not be a way around the policy.
    """
    name, rtype = key
    if answer.status == "servfail":
        return Verdict(dns.SERVFAIL), DNS_FAILURE_TTL, "lookup-servfail"
    if len(answer.records) > DNS_ANSWER_RECORDS or sum(map(record_size, answer.records)) > DNS_ANSWER_SIZE:
        return Verdict(dns.SERVFAIL), DNS_FAILURE_TTL, "lookup-too-large"

    def lifetime(ttl: int) -> int:
        return min(ttl or config.dns_default_ttl, config.dns_max_ttl)

    records, last = _chain(answer.records, name, rtype)
    found = any(record.type == rtype for record in records)
    seconds = min((lifetime(record.ttl) for record in answer.records), default=lifetime(0))
    for address in answer.addresses:
        why = config.policy.address(address)
        if why is not None:
            return _denied(name, why, seconds), seconds, "denied-address"
    for record in records:
        why = _led_astray(config, str(record.rdata).lower()) if record.type == dns.CNAME else None
        if why is not None:
            return _denied(name, why, seconds), seconds, "denied-alias"
    aged = tuple(replace(record, ttl=lifetime(record.ttl)) for record in records)
    if found:
        return Verdict(dns.NOERROR, aged), seconds, "resolved"
    if answer.status == "ok":  # aliases without end, or records of something else
        return Verdict(dns.SERVFAIL), DNS_FAILURE_TTL, "lookup-broken"
    rcode = dns.NXDOMAIN if answer.status == "nxdomain" else dns.NOERROR
    soa = answer.soa
    if soa is None or not f".{last}".endswith("." + soa.name.lower() if soa.name else ""):
        # RFC 2308 section 5: not to be remembered, neither here nor by the client. Its SOA says so.
        return Verdict(rcode, aged, own_soa(last, 0)), 0, f"lookup-{answer.status}"
    hold = min(soa.ttl, config.dns_max_ttl, seconds if aged else soa.ttl)
    return Verdict(rcode, aged, replace(soa, ttl=hold)), hold, f"lookup-{answer.status}"


def _chain(records: tuple[Record, ...], name: str, rtype: int) -> tuple[tuple[Record, ...], str]:
    """The aliases that lead on from ``name`` and the records of the type at their end; and the name there. Whatever
    else an answer holds is left out."""
    aliases = {record.name.lower(): record for record in records if record.type == dns.CNAME}
    out: list[Record] = []
    for _ in range(DNS_ALIASES):
        alias = aliases.pop(name, None) if rtype != dns.CNAME else None
        if alias is None:
            break
        out.append(alias)
        name = str(alias.rdata).lower()
    out += dict.fromkeys(r for r in records if r.type == rtype and r.name.lower() == name)
    return tuple(out), name
