"""Membership reports: IGMPv3 (RFC 3376 section 4.2) and MLDv2 (RFC 3810 section 5.2); only address sizes differ.

An IGMPv3 report goes to 224.0.0.22 with TTL 1 and the router-alert option; an MLDv2 report goes to ff02::16 with hop
limit 1 and router alert in a hop-by-hop header. Queries, and the reports of older versions, are not read.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..errors import Malformed, UsageError
from ..limits import GROUP_RECORDS_MAX
from .base import Buffer, Uint, View, check_octets, check_payload, check_uint
from .checksum import internet_checksum
from .icmpv6 import Icmpv6View, seal

HEADER_SIZE = 8
IGMP_PROTOCOL = 2
IGMP_QUERY, IGMP_V1_REPORT, IGMP_V2_REPORT, IGMP_V2_LEAVE, IGMP_V3_REPORT = 0x11, 0x12, 0x16, 0x17, 0x22
MLD_QUERY, MLD_V2_REPORT = 130, 143
IS_INCLUDE, IS_EXCLUDE, TO_INCLUDE, TO_EXCLUDE, ALLOW, BLOCK = 1, 2, 3, 4, 5, 6


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """What a host says about one group. :data:`TO_EXCLUDE` of no source joins it, :data:`TO_INCLUDE` leaves it."""

    type: int
    group: bytes
    """4 bytes in IGMP, 16 in MLD."""
    sources: tuple[bytes, ...] = ()
    aux: bytes = b""
    """Auxiliary data, a multiple of four bytes; no RFC uses any."""

    def __post_init__(self) -> None:
        check_uint("a group record's type", self.type, 8)
        check_octets("a group", self.group, 4, 16)
        for source in self.sources:
            check_octets("a source", source, len(self.group))
        check_payload("a list of sources", len(self.sources), 0xFFFF)
        if len(self.aux) % 4 or len(self.aux) > 4 * 255:
            raise UsageError(f"auxiliary data must be a multiple of 4 bytes up to 1020, not {len(self.aux)}")

    def buffer_len(self) -> int:
        return 4 + len(self.group) * (1 + len(self.sources)) + len(self.aux)

    def emit(self) -> bytes:
        head = struct.pack("!BBH", self.type, len(self.aux) // 4, len(self.sources))
        return b"".join((head, self.group, *self.sources, self.aux))


def _parse_records(data: Buffer, count: int, size: int, name: str) -> tuple[GroupRecord, ...]:
    if count > GROUP_RECORDS_MAX:
        raise Malformed(f"{name}-count", str(count))
    out = []
    at = 0
    for _ in range(count):
        start = at + 4 + size
        if start > len(data):
            raise Malformed(f"{name}-record-short", f"at {at}")
        kind, aux, number = struct.unpack_from("!BBH", data, at)
        middle = start + size * number
        end = middle + 4 * aux
        if end > len(data):
            raise Malformed(f"{name}-record-short", f"{number} sources and {4 * aux} bytes at {at}")
        sources = tuple(bytes(data[i : i + size]) for i in range(start, middle, size))
        out.append(GroupRecord(kind, bytes(data[at + 4 : start]), sources, bytes(data[middle:end])))
        at = end
    return tuple(out)


def _check_records(records: tuple[GroupRecord, ...], size: int) -> None:
    check_payload("a report", len(records), GROUP_RECORDS_MAX)
    for record in records:
        check_octets("a group", record.group, size)


class IgmpView(View):
    """The fixed part of any IGMP message. Raises ``igmp-short``."""

    __slots__ = ()

    type = Uint(0, 1)
    count = Uint(6, 2)
    """Group records of a version 3 report."""

    def _check(self) -> None:
        self._need(HEADER_SIZE, "igmp-short")

    def checksum_ok(self) -> bool:
        return internet_checksum(self.buf) == 0


@dataclass(frozen=True, slots=True)
class IgmpReport:
    """An IGMPv3 membership report."""

    records: tuple[GroupRecord, ...] = ()

    def __post_init__(self) -> None:
        _check_records(self.records, 4)

    @classmethod
    def join(cls, *groups: bytes) -> IgmpReport:
        """Report that joins groups."""
        return cls(tuple(GroupRecord(TO_EXCLUDE, group) for group in groups))

    @classmethod
    def parse(cls, data: Buffer, verify: bool = True) -> IgmpReport:
        """Value of a report's bytes.

        Raises :class:`Malformed`: ``igmp-short``, ``igmp-type``, ``igmp-checksum`` (with ``verify``), ``igmp-count``,
        ``igmp-record-short``.
        """
        view = IgmpView(data)
        if view.type != IGMP_V3_REPORT:
            raise Malformed("igmp-type", hex(view.type))
        if verify and not view.checksum_ok():
            raise Malformed("igmp-checksum")
        return cls(_parse_records(view.buf[HEADER_SIZE:], view.count, 4, "igmp"))

    def buffer_len(self) -> int:
        return HEADER_SIZE + sum(record.buffer_len() for record in self.records)

    def emit(self) -> bytes:
        """The report with its checksum."""
        head = struct.pack("!BBHHH", IGMP_V3_REPORT, 0, 0, 0, len(self.records))
        data = head + b"".join(record.emit() for record in self.records)
        return data[:2] + internet_checksum(data).to_bytes(2, "big") + data[4:]


@dataclass(frozen=True, slots=True)
class MldReport:
    """An MLDv2 listener report, a whole ICMPv6 message."""

    records: tuple[GroupRecord, ...] = ()

    def __post_init__(self) -> None:
        _check_records(self.records, 16)

    @classmethod
    def join(cls, *groups: bytes) -> MldReport:
        """Report that joins groups."""
        return cls(tuple(GroupRecord(TO_EXCLUDE, group) for group in groups))

    @classmethod
    def parse(cls, data: Buffer, src: bytes | None = None, dst: bytes | None = None) -> MldReport:
        """Value of a report's bytes; the checksum is verified when both addresses are given.

        Raises :class:`Malformed`: ``icmpv6-short``, ``mld-type``, ``icmpv6-checksum``, ``mld-count``,
        ``mld-record-short``.
        """
        view = Icmpv6View(data)
        if view.type != MLD_V2_REPORT:
            raise Malformed("mld-type", str(view.type))
        if src is not None and dst is not None and not view.checksum_ok(src, dst):
            raise Malformed("icmpv6-checksum")
        return cls(_parse_records(view.payload, view.rest & 0xFFFF, 16, "mld"))

    def buffer_len(self) -> int:
        return HEADER_SIZE + sum(record.buffer_len() for record in self.records)

    def emit(self, src: bytes, dst: bytes) -> bytes:
        """The ICMPv6 message between two addresses, with its checksum."""
        head = struct.pack("!BBHHH", MLD_V2_REPORT, 0, 0, 0, len(self.records))
        return seal(head + b"".join(record.emit() for record in self.records), src, dst)
