"""Ethernet II frames (IEEE 802.3 clause 3, 802.1Q tags): fields, checked view and value type."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..compiled.memory import put_u16_field, put_u32_field, u16_field, u32_field
from ..errors import Malformed, UsageError
from ..limits import VLAN_TAGS_MAX
from .base import Buffer, Octets, Uint, View, check_octets, check_uint

HEADER_SIZE = 14
VLAN_TAG_SIZE = 4
TYPE_IPV4, TYPE_ARP, TYPE_VLAN, TYPE_QINQ, TYPE_IPV6 = 0x0800, 0x0806, 0x8100, 0x88A8, 0x86DD
VLAN_TYPES = (TYPE_VLAN, TYPE_QINQ)
MIN_FRAME = 60  # without the FCS (IEEE 802.3 clause 4.2.3.2.2)

# A MAC address is two numbers in kernels: its first 16 bits and its last 32 bits.
get_dst_hi, put_dst_hi = u16_field(0), put_u16_field(0)
get_dst_lo, put_dst_lo = u32_field(2), put_u32_field(2)
get_src_hi, put_src_hi = u16_field(6), put_u16_field(6)
get_src_lo, put_src_lo = u32_field(8), put_u32_field(8)
get_type, put_type = u16_field(12), put_u16_field(12)
get_vlan_tci, get_vlan_type = u16_field(14), u16_field(16)


class EthernetView(View):
    """A frame without its FCS. Raises ``ethernet-short``, ``ethernet-vlan-short`` or ``ethernet-vlan-depth``."""

    __slots__ = ("header_len",)

    dst = Octets(0, 6)
    src = Octets(6, 6)
    outer_type = Uint(12, 2)
    """The number behind the source address: a tag's TPID when the frame is tagged."""

    def _check(self) -> None:
        self._need(HEADER_SIZE, "ethernet-short")
        at = HEADER_SIZE
        while int.from_bytes(self.buf[at - 2 : at], "big") in VLAN_TYPES:
            if at >= HEADER_SIZE + VLAN_TAG_SIZE * VLAN_TAGS_MAX:
                raise Malformed("ethernet-vlan-depth", f"more than {VLAN_TAGS_MAX} tags")
            at += VLAN_TAG_SIZE
            self._need(at, "ethernet-vlan-short")
        self.header_len = at
        """Bytes before the payload, tags included."""

    @property
    def type(self) -> int:
        """EtherType of the payload, behind any tags; a length when below 0x0600 (IEEE 802.3)."""
        return int.from_bytes(self.buf[self.header_len - 2 : self.header_len], "big")

    @property
    def tags(self) -> tuple[Vlan, ...]:
        """Tags, outermost first."""
        ends = range(HEADER_SIZE, self.header_len, VLAN_TAG_SIZE)
        return tuple(Vlan.from_words(*struct.unpack_from("!HH", self.buf, at - 2)) for at in ends)

    @property
    def payload(self) -> memoryview:
        """All behind the header, padding included."""
        return self.buf[self.header_len :]


@dataclass(frozen=True, slots=True)
class Vlan:
    """One 802.1Q tag."""

    id: int
    """VLAN identifier, 0..4095; 0 marks a priority tag."""
    priority: int = 0
    """Priority code point, 0..7."""
    drop_eligible: bool = False
    tpid: int = TYPE_VLAN
    """0x8100 (802.1Q) or 0x88A8 (802.1ad service tag)."""

    def __post_init__(self) -> None:
        check_uint("a VLAN id", self.id, 12)
        check_uint("a VLAN priority", self.priority, 3)
        if self.tpid not in VLAN_TYPES:
            raise UsageError(f"a VLAN tag's type must be 0x8100 or 0x88a8, not {self.tpid:#06x}")

    @classmethod
    def from_words(cls, tpid: int, tci: int) -> Vlan:
        """Tag of its two 16-bit words."""
        return cls(tci & 0xFFF, tci >> 13, bool(tci & 0x1000), tpid)

    @property
    def tci(self) -> int:
        """Tag control information, the second word."""
        return self.priority << 13 | self.drop_eligible << 12 | self.id


@dataclass(frozen=True, slots=True)
class Ethernet:
    """An Ethernet II frame without its FCS."""

    dst: bytes
    src: bytes
    type: int
    """EtherType of the payload, behind any tags."""
    payload: bytes = b""
    tags: tuple[Vlan, ...] = ()
    """802.1Q tags, outermost first."""

    def __post_init__(self) -> None:
        check_octets("a destination MAC", self.dst, 6)
        check_octets("a source MAC", self.src, 6)
        check_uint("an EtherType", self.type, 16)
        if self.type in VLAN_TYPES:
            raise UsageError("a VLAN tag goes into tags, not into type")
        if len(self.tags) > VLAN_TAGS_MAX:
            raise UsageError(f"a frame carries at most {VLAN_TAGS_MAX} VLAN tags, not {len(self.tags)}")

    @classmethod
    def parse(cls, data: Buffer) -> Ethernet:
        """Value of a frame's bytes; padding stays in the payload. Raises :class:`Malformed`."""
        view = EthernetView(data)
        return cls(view.dst, view.src, view.type, bytes(view.payload), view.tags)

    @property
    def vlan_id(self) -> int | None:
        """Identifier of the innermost tag, the one the payload belongs to, or None."""
        return self.tags[-1].id if self.tags else None

    def buffer_len(self) -> int:
        """Bytes that :meth:`emit` gives without padding."""
        return HEADER_SIZE + VLAN_TAG_SIZE * len(self.tags) + len(self.payload)

    def emit(self, pad: bool = False) -> bytes:
        """The frame; with ``pad`` zero bytes bring it to the 60 bytes that a real wire asks for."""
        tags = b"".join(struct.pack("!HH", tag.tpid, tag.tci) for tag in self.tags)
        frame = b"".join((self.dst, self.src, tags, self.type.to_bytes(2, "big"), self.payload))
        return frame.ljust(MIN_FRAME, b"\0") if pad else frame
