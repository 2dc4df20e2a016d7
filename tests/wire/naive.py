"""Slow, plain twins of what wire compiles or computes cleverly."""

from __future__ import annotations


def ones_sum(data: bytes) -> int:
    """RFC 1071, word by word with the end-around carry after each addition."""
    total = 0
    for at in range(0, len(data), 2):
        total += data[at] << 8 | (data[at + 1] if at + 1 < len(data) else 0)
        if total > 0xFFFF:
            total -= 0xFFFF
    return total


def pseudo_header(src: bytes, dst: bytes, protocol: int, length: int) -> bytes:
    """The pseudo header itself, byte for byte (RFC 9293 section 3.1, RFC 8200 section 8.1)."""
    if len(src) == 4:
        return src + dst + bytes((0, protocol)) + length.to_bytes(2, "big")
    return src + dst + length.to_bytes(4, "big") + bytes((0, 0, 0, protocol))


def number(data: bytes, at: int, size: int) -> int:
    """Big-endian number, a byte at a time."""
    value = 0
    for byte in data[at : at + size]:
        value = value * 256 + byte
    return value
