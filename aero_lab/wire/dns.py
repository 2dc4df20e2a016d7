"""DNS messages (RFC 1035), EDNS (RFC 6891); LLMNR, multicast DNS and NetBIOS names share the format.

Names are compressed when written and followed when read; see :mod:`.rdata` for how names and records look in Python.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..errors import Malformed, UsageError
from ..limits import DNS_EDNS_SIZE, DNS_RECORDS_MAX
from . import rdata
from .base import Buffer, Uint, View, check_uint
from .rdata import AAAA, ANY, CNAME, IN, MX, NS, OPT, PTR, SOA, SRV, TXT, A, Mx, NameReader, NameWriter, Rdata, Soa, Srv

__all__ = [
    "AAAA",
    "ANY",
    "CNAME",
    "IN",
    "MX",
    "NS",
    "OPT",
    "PTR",
    "SOA",
    "SRV",
    "TXT",
    "A",
    "DnsMessage",
    "DnsView",
    "Edns",
    "Mx",
    "Question",
    "Record",
    "Soa",
    "Srv",
]

HEADER_SIZE = rdata.MESSAGE_HEADER_SIZE
PORT, LLMNR_PORT, MDNS_PORT = 53, 5355, 5353
QR, AA, TC, RD, RA, AD, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0020, 0x0010
OPCODE_MASK, RCODE_MASK = 0x7800, 0x000F
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
RCODE_NAMES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")
BADVERS = 16
"""Answer to an EDNS version that is not known; its upper bits stand in OPT (RFC 6891 section 6.1.3)."""
EDNS_DO = 0x8000
EDE = 15
"""EDNS option that tells why a name did not resolve (RFC 8914): two bytes of code, then text."""


class DnsView(View):
    """The header of a message. Raises ``dns-short``."""

    __slots__ = ()

    id = Uint(0, 2)
    flags = Uint(2, 2)
    qdcount = Uint(4, 2)
    ancount = Uint(6, 2)
    nscount = Uint(8, 2)
    arcount = Uint(10, 2)

    def _check(self) -> None:
        self._need(HEADER_SIZE, "dns-short")

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Entries of the four sections, as the header claims."""
        return self.qdcount, self.ancount, self.nscount, self.arcount


@dataclass(frozen=True, slots=True)
class Question:
    """One question."""

    name: str
    type: int = A
    cls: int = IN

    def __post_init__(self) -> None:
        rdata.name_labels(self.name)
        check_uint("a DNS type", self.type, 16)
        check_uint("a DNS class", self.cls, 16)


@dataclass(frozen=True, slots=True)
class Record:
    """One resource record; ``rdata`` is typed, see :data:`aero_lab.wire.rdata.Rdata`."""

    name: str
    type: int
    cls: int
    ttl: int
    rdata: Rdata

    def __post_init__(self) -> None:
        rdata.name_labels(self.name)
        check_uint("a DNS type", self.type, 16)
        check_uint("a DNS class", self.cls, 16)
        check_uint("a TTL", self.ttl, 32)
        rdata.check(self.type, self.cls, self.rdata)


@dataclass(frozen=True, slots=True)
class Edns:
    """What an OPT record says (RFC 6891 section 6.1)."""

    udp_size: int = DNS_EDNS_SIZE
    """Largest datagram its sender takes."""
    extended_rcode: int = 0
    """Upper eight bits of the response code."""
    version: int = 0
    flags: int = 0
    """:data:`EDNS_DO` asks for DNSSEC records."""
    options: rdata.Options = ()

    def record(self) -> Record:
        """The OPT record for the additional section."""
        check_uint("an extended response code", self.extended_rcode, 8)
        check_uint("an EDNS version", self.version, 8)
        check_uint("EDNS flags", self.flags, 16)
        ttl = self.extended_rcode << 24 | self.version << 16 | self.flags
        return Record("", OPT, self.udp_size, ttl, self.options)


@dataclass(frozen=True, slots=True)
class DnsMessage:
    """A DNS message."""

    id: int
    flags: int = RD
    """QR, opcode, AA, TC, RD, RA, AD, CD and the response code, as they stand on the wire."""
    questions: tuple[Question, ...] = ()
    answers: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()

    def __post_init__(self) -> None:
        check_uint("a DNS id", self.id, 16)
        check_uint("DNS flags", self.flags, 16)
        if sum(map(len, (self.questions, self.answers, self.authority, self.additional))) > DNS_RECORDS_MAX:
            raise UsageError(f"a DNS message holds at most {DNS_RECORDS_MAX} entries")

    @classmethod
    def parse(cls, data: Buffer) -> DnsMessage:
        """Value of a message's bytes; bytes behind the last record are ignored.

        Raises :class:`Malformed`: ``dns-short``, ``dns-count`` (more entries than could be there, or than
        :data:`DNS_RECORDS_MAX`), ``dns-question-short``, ``dns-record-short``, ``dns-rdata``, and as names do.
        """
        view = DnsView(data)
        qdcount, *counts = view.counts
        # The shortest question has five bytes, the shortest record eleven.
        least = HEADER_SIZE + 5 * qdcount + 11 * sum(counts)
        if qdcount + sum(counts) > DNS_RECORDS_MAX or least > len(view.buf):
            raise Malformed("dns-count", f"{view.counts} in {len(view.buf)} bytes")
        reader = NameReader(view.buf)
        at = HEADER_SIZE
        questions = []
        for _ in range(qdcount):
            question, at = _read_question(reader, at)
            questions.append(question)
        sections: list[tuple[Record, ...]] = []
        for count in counts:
            records = []
            for _ in range(count):
                record, at = _read_record(reader, at)
                records.append(record)
            sections.append(tuple(records))
        return cls(view.id, view.flags, tuple(questions), *sections)

    @classmethod
    def query(cls, id: int, name: str, rtype: int = A, edns: Edns | None = None, flags: int = RD) -> DnsMessage:
        """One question for ``name``."""
        return cls(id, flags, (Question(name, rtype),), additional=(edns.record(),) if edns else ())

    def reply(self, rcode: int = NOERROR, answers: tuple[Record, ...] = (), flags: int = RA, **sections) -> DnsMessage:
        """An answer to this query: same id, opcode, RD and questions, QR set, with ``flags`` added.

        ``sections`` may hold ``authority`` and ``additional``.
        """
        check_uint("a response code", rcode, 4)
        kept = self.flags & (OPCODE_MASK | RD)
        return DnsMessage(self.id, QR | kept | flags | rcode, self.questions, answers, **sections)

    @property
    def is_response(self) -> bool:
        return bool(self.flags & QR)

    @property
    def truncated(self) -> bool:
        return bool(self.flags & TC)

    @property
    def opcode(self) -> int:
        return (self.flags & OPCODE_MASK) >> 11

    @property
    def rcode(self) -> int:
        """Response code, the lower four bits."""
        return self.flags & RCODE_MASK

    @property
    def edns(self) -> Edns | None:
        """What the OPT record says, or None without one."""
        for record in self.additional:
            if record.type == OPT:
                rcode, version, flags = record.ttl >> 24, record.ttl >> 16 & 0xFF, record.ttl & 0xFFFF
                return Edns(record.cls, rcode, version, flags, record.rdata)  # type: ignore[arg-type]
        return None

    def buffer_len(self) -> int:
        """Bytes that :meth:`emit` gives without a limit, names compressed."""
        return len(self.emit())

    def emit(self, most: int = 0xFFFF) -> bytes:
        """The message in at most ``most`` bytes.

        When it does not fit, records are left out from the end, whole ones; OPT stays. TC is set when answers or
        authority were left out, and not for additional records (RFC 2181 section 9).
        """
        sections = (self.answers, self.authority, self.additional)
        writer = self._begin(self.flags, tuple(map(len, sections)))
        for section in sections:
            for record in section:
                _write_record(writer, record)
        if len(writer.data) > most:
            writer = self._cut(most)
        if len(writer.data) > 0xFFFF:
            raise UsageError(f"a DNS message is at most 65535 bytes, not {len(writer.data)}")
        return bytes(writer.data)

    def _begin(self, flags: int, counts: tuple[int, ...]) -> NameWriter:
        writer = NameWriter()
        writer.data += struct.pack("!6H", self.id, flags, len(self.questions), *counts)
        for question in self.questions:
            writer.name(question.name)
            writer.data += struct.pack("!HH", question.type, question.cls)
        return writer

    def _cut(self, most: int) -> NameWriter:
        """As many whole records as fit in front of OPT."""
        opt = [record for record in self.additional if record.type == OPT]
        most -= sum(11 + len(_rdata(record)) for record in opt)
        counts = [0, 0, len(opt)]
        flags = self.flags
        writer = self._begin(flags, (0, 0, 0))
        numbered = [(i, record) for i, each in enumerate((self.answers, self.authority)) for record in each]
        for section, record in numbered:
            start = len(writer.data)
            _write_record(writer, record)
            if len(writer.data) > most:
                del writer.data[start:]  # what the writer noted of it is not used: OPT has no name to compress
                flags |= TC
                break
            counts[section] += 1
        for record in opt:
            _write_record(writer, record)
        writer.data[:HEADER_SIZE] = struct.pack("!6H", self.id, flags, len(self.questions), *counts)
        return writer


def _rdata(record: Record) -> bytes:
    """RDATA without compression."""
    writer = NameWriter(compress=False)
    rdata.encode(writer, record.type, record.rdata)
    return bytes(writer.data)


def _write_record(writer: NameWriter, record: Record) -> None:
    writer.name(record.name)
    writer.data += struct.pack("!HHIH", record.type, record.cls, record.ttl, 0)
    start = len(writer.data)
    rdata.encode(writer, record.type, record.rdata)
    writer.data[start - 2 : start] = (len(writer.data) - start).to_bytes(2, "big")


def _read_question(reader: NameReader, at: int) -> tuple[Question, int]:
    name, at = reader.read(at)
    if at + 4 > len(reader.data):
        raise Malformed("dns-question-short", f"at {at}")
    rtype, cls = struct.unpack_from("!HH", reader.data, at)
    return Question(name, rtype, cls), at + 4


def _read_record(reader: NameReader, at: int) -> tuple[Record, int]:
    name, at = reader.read(at)
    if at + 10 > len(reader.data):
        raise Malformed("dns-record-short", f"at {at}")
    rtype, cls, ttl, size = struct.unpack_from("!HHIH", reader.data, at)
    at += 10
    if at + size > len(reader.data):
        raise Malformed("dns-record-short", f"{size} bytes of RDATA at {at}")
    return Record(name, rtype, cls, ttl, rdata.decode(rtype, cls, reader, at, at + size)), at + size
