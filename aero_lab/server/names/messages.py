"""DNS messages as a forwarder handles them: it reads the question, and what is counted down; the rest passes as it is.

Records of types that nobody here knows go through untouched, so answers are worked on as bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ...errors import Malformed
from ...limits import DNS_EDNS_SIZE
from ...wire import dns
from ...wire.dns import HEADER_SIZE, DnsView
from ...wire.rdata import NameReader

TYPE_NAMES = {1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 65: "HTTPS"}
"""Types that metrics tell apart."""
_OPT_SIZE = 11


@dataclass(frozen=True)
class Asked:
    """A question, as it decides what may be answered from memory."""

    name: str
    """In lower case, without a trailing dot."""
    type: int
    cls: int = dns.IN
    edns: bool = False
    dnssec: bool = False
    """DO: with signatures."""
    checking_disabled: bool = False

    @property
    def qtype(self) -> str:
        """Type as a word for metrics."""
        return TYPE_NAMES.get(self.type, "ANY" if self.type == dns.ANY else "other")


@dataclass(frozen=True)
class Query:
    """A client's message."""

    raw: bytes
    id: int
    flags: int
    question_end: int
    asked: Asked

    @property
    def question(self) -> bytes:
        """The question section, spelled as it came."""
        return self.raw[HEADER_SIZE : self.question_end]


def read_query(raw: bytes) -> Query:
    """A message with exactly one question. Raises :class:`Malformed`."""
    view = DnsView(raw)
    if view.flags & dns.QR:
        raise Malformed("dns-response", "an answer")
    if view.qdcount != 1:
        raise Malformed("dns-question-count", f"{view.qdcount} questions")
    reader = NameReader(memoryview(raw))
    name, at = reader.read(HEADER_SIZE)
    if raw[HEADER_SIZE] >= 0xC0 or at + 4 > len(raw):
        raise Malformed("dns-question-short", f"at {at}")
    rtype, cls = struct.unpack_from("!HH", raw, at)
    edns = dnssec = False
    for record in records(raw, reader):
        if record.type == dns.OPT:
            edns, dnssec = True, bool(record.ttl & dns.EDNS_DO)
    asked = Asked(name.rstrip(".").lower(), rtype, cls, edns, dnssec, bool(view.flags & dns.CD))
    return Query(raw, view.id, view.flags, at + 4, asked)


def to_send(query: Query, number: int) -> bytes:
    """What an upstream is asked: the question alone, with an identifier of ours, and EDNS if the client has it."""
    flags = dns.RD | query.flags & (dns.CD | dns.AD)
    opt = b""
    if query.asked.edns:
        ttl = dns.EDNS_DO if query.asked.dnssec else 0
        opt = struct.pack("!BHHIH", 0, dns.OPT, DNS_EDNS_SIZE, ttl, 0)
    return struct.pack("!6H", number, flags, 1, 0, 0, bool(opt)) + query.question + opt


def error(query: Query | None, rcode: int, raw: bytes = b"") -> bytes:
    """An answer without records: to a query, or to bytes that are none (12 bytes then)."""
    number = struct.unpack_from("!H", raw)[0] if len(raw) >= 2 else 0
    flags = struct.unpack_from("!H", raw, 2)[0] if len(raw) >= 4 else 0
    question = b""
    if query is not None:
        number, flags, question = query.id, query.flags, query.question
    kept = flags & (dns.OPCODE_MASK | dns.RD | dns.CD)
    return struct.pack("!6H", number, dns.QR | kept | dns.RA | rcode, bool(question), 0, 0, 0) + question


def answers(raw: bytes, number: int, question: bytes) -> bool:
    """Whether a message is the answer to this question under this identifier, and sound as far as can be seen."""
    try:
        view = DnsView(raw)
        if view.id != number or not view.flags & dns.QR or view.flags & dns.OPCODE_MASK or view.qdcount != 1:
            return False
        reader = NameReader(memoryview(raw))
        name, at = reader.read(HEADER_SIZE)
        asked, end = NameReader(memoryview(bytes(HEADER_SIZE) + question)).read(HEADER_SIZE)
        sound = name.lower() == asked.lower() and raw[at : at + 4] == question[end - HEADER_SIZE :]
        return sound and sum(1 for _ in records(raw, reader)) == sum(view.counts[1:])
    except Malformed:
        return False


@dataclass(frozen=True)
class Held:
    """Where a record stands, and how long it holds."""

    section: int
    """1 answer, 2 authority, 3 additional."""
    type: int
    ttl: int
    ttl_at: int
    data_at: int
    end: int


def records(raw: bytes, reader: NameReader | None = None) -> list[Held]:
    """The records of a message. Raises :class:`Malformed` when it ends before they do."""
    view = DnsView(raw)
    reader = reader or NameReader(memoryview(raw))
    found: list[Held] = []
    at = HEADER_SIZE
    if sum(view.counts) * 5 > len(raw):
        raise Malformed("dns-count", f"{view.counts} in {len(raw)} bytes")
    for _ in range(view.qdcount):
        at = reader.read(at)[1] + 4
    for section, number in enumerate(view.counts[1:], 1):
        for _ in range(number):
            at = reader.read(at)[1]
            if at + 10 > len(raw):
                raise Malformed("dns-record-short", f"at {at}")
            rtype, _, ttl, size = struct.unpack_from("!HHIH", raw, at)
            if at + 10 + size > len(raw):
                raise Malformed("dns-record-short", f"{size} bytes of RDATA at {at}")
            found.append(Held(section, rtype, ttl if ttl < 1 << 31 else 0, at + 4, at + 10, at + 10 + size))
            at += 10 + size
    return found


def lifetime(raw: bytes, most: int, negative: int) -> int:
    """Seconds an answer may be remembered: its least time to live; of a negative one what its SOA says (RFC 2308),
    or ``negative``; 0: not at all."""
    view = DnsView(raw)
    rcode = view.flags & dns.RCODE_MASK
    if rcode not in (dns.NOERROR, dns.NXDOMAIN) or view.flags & dns.TC:
        return 0
    held = records(raw)
    positive = [each.ttl for each in held if each.section == 1]
    if positive and rcode == dns.NOERROR:
        return min(most, *positive) if len(positive) > 1 else min(most, positive[0])
    for each in held:
        if each.section == 2 and each.type == dns.SOA and each.end - each.data_at >= 22:
            minimum = struct.unpack_from("!I", raw, each.end - 4)[0]
            return min(most, each.ttl, minimum)
    return min(most, negative)


def told(raw: bytes, query: Query, age: int) -> bytes:
    """An answer for this asker: its identifier, its spelling of the name, times to live ``age`` seconds lower."""
    out = bytearray(raw)
    struct.pack_into("!H", out, 0, query.id)
    flags = struct.unpack_from("!H", out, 2)[0] & ~dns.RD | query.flags & dns.RD
    struct.pack_into("!H", out, 2, flags)
    if len(out) >= query.question_end and out[HEADER_SIZE] < 0xC0:
        out[HEADER_SIZE : query.question_end] = query.question
    if age:
        for each in records(raw):
            if each.type != dns.OPT:
                struct.pack_into("!I", out, each.ttl_at, max(0, each.ttl - age))
    return bytes(out)
