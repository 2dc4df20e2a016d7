"""The Internet checksum (RFC 1071, RFC 1624) and the pseudo headers of TCP, UDP and ICMPv6 (RFC 9293, RFC 8200 8.1).

A *sum* is a one's-complement sum, folded to 16 bits; a *checksum* is its complement, as it stands on the wire. Sums of
pieces add up when each piece but the last has an even length. Zero and 0xFFFF both mean zero; a sum is zero only when
every byte is.
"""

from __future__ import annotations

from ..compiled.memory import ones_complement_sum
from ..compiled.registry import BYTES, I64, kernel
from .base import Buffer

__all__ = [
    "checksum_kernel",
    "fold",
    "internet_checksum",
    "ones_sum",
    "pseudo_sum",
    "pseudo_sum_v4",
    "pseudo_sum_v6",
    "transport_checksum",
]


def ones_sum(data: Buffer) -> int:
    """One's-complement sum of big-endian 16-bit words, 0..0xFFFF; an odd last byte is padded with zero."""
    # 2**16 is 1 modulo 0xFFFF: the remainder of the whole as one number is the sum of its words.
    number = int.from_bytes(data, "big") << 8 * (len(data) & 1)
    return number % 0xFFFF or (0xFFFF if number else 0)


def internet_checksum(data: Buffer, start: int = 0) -> int:
    """Checksum of ``data``, with the sum ``start`` of what stands before it. Over valid data with its checksum: 0."""
    total = ones_sum(data) + start
    total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo_sum(src: bytes, dst: bytes, protocol: int, length: int) -> int:
    """Sum of the pseudo header of a segment of ``length`` bytes, for packed addresses of either family."""
    total = ones_sum(src + dst) + protocol + (length & 0xFFFF) + (length >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFFFF) + (total >> 16)


def transport_checksum(src: bytes, dst: bytes, protocol: int, segment: Buffer) -> int:
    """Checksum of a TCP, UDP or ICMPv6 segment, pseudo header included. Over a valid segment: 0."""
    return internet_checksum(segment, pseudo_sum(src, dst, protocol, len(segment)))


@kernel(I64(I64))
def fold(total):
    """A sum of non-negative 16- or 32-bit words, below 2**62, folded to 16 bits."""
    total = (total & 0xFFFFFFFF) + (total >> 32)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFFFF) + (total >> 16)


@kernel(I64(I64, I64, I64, I64))
def pseudo_sum_v4(src, dst, protocol, length):
    """:func:`pseudo_sum` for IPv4 addresses as 32-bit numbers."""
    return fold((src & 0xFFFFFFFF) + (dst & 0xFFFFFFFF) + protocol + length)


@kernel(I64(I64, I64, I64, I64, I64, I64))
def pseudo_sum_v6(src_hi, src_lo, dst_hi, dst_lo, protocol, length):
    """:func:`pseudo_sum` for IPv6 addresses as pairs of signed 64-bit numbers."""
    total = (
        ((src_hi >> 32) & 0xFFFFFFFF) + (src_hi & 0xFFFFFFFF) + ((src_lo >> 32) & 0xFFFFFFFF) + (src_lo & 0xFFFFFFFF)
    )
    total += (
        ((dst_hi >> 32) & 0xFFFFFFFF) + (dst_hi & 0xFFFFFFFF) + ((dst_lo >> 32) & 0xFFFFFFFF) + (dst_lo & 0xFFFFFFFF)
    )
    return fold(total + protocol + length)


@kernel(I64(BYTES, I64, I64, I64))
def checksum_kernel(buffer, offset, size, start):
    """:func:`internet_checksum` of ``size`` bytes at ``offset``, with the sum ``start`` of what stands before them."""
    return fold(ones_complement_sum(buffer, offset, size) + start) ^ 0xFFFF
