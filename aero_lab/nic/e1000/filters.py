"""Which frames are for this station (SDM 3.2.1, 13.4.22, 13.5), and whether their checksums hold (SDM 3.2.9).

Both look at a frame of ``size`` bytes, 14 at least, at ``at`` of a byte array.
"""

from __future__ import annotations

from ...compiled.memory import ones_complement_sum, u8, u8_field, u16_field, u32_field, u64_field
from ...compiled.registry import BYTES, I64, kernel
from ...wire.checksum import fold, pseudo_sum_v4, pseudo_sum_v6
from ..dma import u16_le, u32_le
from .names import (
    CSUM_IPOFL,
    CSUM_IPV6OFL,
    CSUM_TUOFL,
    MTA,
    RA,
    RAH_AV,
    RCTL,
    RCTL_BAM,
    RCTL_CFI,
    RCTL_CFIEN,
    RCTL_MPE,
    RCTL_UPE,
    RCTL_VFE,
    RXCSUM,
    VET,
    VFTA,
)
from .state import D
from .statistics import BROADCAST, MULTICAST, UNICAST

REJECTED, EXACT, INEXACT = 0, 1, 2

# Receive descriptor, status and errors (SDM 3.2.3.1, 3.2.3.2)
S_DD, S_EOP, S_IXSM, S_VP, S_TCPCS, S_IPCS, S_PIF = 1, 2, 4, 8, 0x20, 0x40, 0x80
E_TCPE, E_IPE = 0x20, 0x40
ERROR_SHIFT = 8
IP_FRAGMENT = 0x3FFF
TCP, UDP, TCP_LEAST, UDP_LEAST = 6, 17, 20, 8

ether_type, inner_type = u16_field(12), u16_field(16)
ip_total, ip_fragment, ip_protocol, ip_src, ip_dst = (
    u16_field(2), u16_field(6), u8_field(9), u32_field(12), u32_field(16),
)  # fmt: skip
ip6_length, ip6_next = u16_field(4), u8_field(6)
ip6_src_hi, ip6_src_lo, ip6_dst_hi, ip6_dst_lo = u64_field(8), u64_field(16), u64_field(24), u64_field(32)
udp_checksum = u16_field(6)


@kernel(I64(BYTES, I64))
def kind_of(frame, at):
    """Unicast, multicast or broadcast."""
    if u8(frame, at) & 1 == 0:
        return UNICAST
    return BROADCAST if u32_le(frame, at) == 0xFFFFFFFF and u16_le(frame, at + 4) == 0xFFFF else MULTICAST


@kernel(I64(D, I64, I64, I64))
def in_receive_addresses(D, low, high, source):
    """1 when one of the sixteen receive addresses is this one, compared as destination or as source."""
    for i in range(16):
        if D.reg[RA + 2 * i] == low:
            rah = D.reg[RA + 2 * i + 1]
            if rah & 0xFFFF == high and rah & RAH_AV and rah >> 16 & 3 == source:
                return 1
    return 0


@kernel(I64(D, I64))
def in_multicast_table(D, high):
    """1 when the bit of the multicast table is set that twelve bits of the last two bytes of an address name."""
    offset = D.reg[RCTL] >> 12 & 3
    bits = high >> (4 - offset if offset < 3 else 0) & 0xFFF
    return D.reg[MTA + (bits >> 5)] >> (bits & 31) & 1


@kernel(I64(D, BYTES, I64, I64))
def accept(D, frame, at, kind):
    """Whether the address filters let a frame pass: ``REJECTED``, ``EXACT`` or ``INEXACT``."""
    rctl = D.reg[RCTL]
    low = u32_le(frame, at)
    high = u16_le(frame, at + 4)
    if kind == BROADCAST and rctl & RCTL_BAM:
        return EXACT
    if in_receive_addresses(D, low, high, 0):
        return EXACT
    if kind == UNICAST:
        if rctl & RCTL_UPE:
            return INEXACT
    elif rctl & RCTL_MPE or in_multicast_table(D, high):
        return INEXACT
    if in_receive_addresses(D, u32_le(frame, at + 6), u16_le(frame, at + 10), 1):
        return EXACT
    return REJECTED


@kernel(I64(D, BYTES, I64, I64))
def is_tagged(D, frame, at, size):
    """1 for a frame with a VLAN tag, as VET knows it."""
    return 1 if size >= 18 and ether_type(frame, at) == D.reg[VET] else 0


@kernel(I64(D, I64))
def vlan_accepted(D, tci):
    """Whether the VLAN filter lets a tagged frame pass."""
    rctl = D.reg[RCTL]
    if rctl & RCTL_VFE == 0:
        return 1
    if rctl & RCTL_CFIEN and (1 if tci & 0x1000 else 0) != (1 if rctl & RCTL_CFI else 0):
        return 0
    return D.reg[VFTA + (tci >> 5 & 0x7F)] >> (tci & 31) & 1


@kernel(I64(BYTES, I64, I64, I64, I64))
def _transport(frame, at, size, protocol, pseudo):
    """Status and errors of a TCP or UDP segment, given the sum of its addresses; 0 when there is nothing to check."""
    if protocol == TCP:
        if size < TCP_LEAST:
            return 0
    elif protocol == UDP:
        if size < UDP_LEAST or udp_checksum(frame, at) == 0:
            return 0
    else:
        return 0
    good = fold(ones_complement_sum(frame, at, size) + pseudo) == 0xFFFF
    return S_TCPCS | (0 if good else E_TCPE << ERROR_SHIFT)


@kernel(I64(D, BYTES, I64, I64, I64))
def check_sums(D, frame, at, size, tagged):
    """Status bits, and error bits above them, that tell of a frame's checksums."""
    wanted = D.reg[RXCSUM]
    l3 = at + 18 if tagged else at + 14
    left = size - 18 if tagged else size - 14
    kind = inner_type(frame, at) if tagged else ether_type(frame, at)
    if kind == 0x0800 and left >= 20 and wanted & (CSUM_IPOFL | CSUM_TUOFL):
        first = u8(frame, l3)
        header = (first & 15) * 4
        total = ip_total(frame, l3)
        if first >> 4 != 4 or header < 20 or total < header or total > left:
            return S_IXSM
        out = 0
        if wanted & CSUM_IPOFL:
            out = S_IPCS
            if ones_complement_sum(frame, l3, header) != 0xFFFF:
                return out | E_IPE << ERROR_SHIFT
        if wanted & CSUM_TUOFL and ip_fragment(frame, l3) & IP_FRAGMENT == 0:
            protocol = ip_protocol(frame, l3)
            pseudo = pseudo_sum_v4(ip_src(frame, l3), ip_dst(frame, l3), protocol, total - header)
            out |= _transport(frame, l3 + header, total - header, protocol, pseudo)
        return out if out else S_IXSM
    if kind == 0x86DD and left >= 40 and wanted & CSUM_IPV6OFL and wanted & CSUM_TUOFL:
        length = ip6_length(frame, l3)
        if u8(frame, l3) >> 4 != 6 or length > left - 40:
            return S_IXSM
        protocol = ip6_next(frame, l3)
        pseudo = pseudo_sum_v6(
            ip6_src_hi(frame, l3), ip6_src_lo(frame, l3), ip6_dst_hi(frame, l3), ip6_dst_lo(frame, l3), protocol, length
        )
        out = _transport(frame, l3 + 40, length, protocol, pseudo)
        return out if out else S_IXSM
    return S_IXSM
