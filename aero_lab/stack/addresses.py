"""Addresses as kernels keep them: two signed 64-bit numbers, an IPv4 address in its mapped form."""

from ..errors import UsageError
from .world import V4_MAPPED


def to_pair(address: bytes) -> tuple[int, int]:
    """``(hi, lo)`` of a packed address."""
    if len(address) == 4:
        return 0, V4_MAPPED | int.from_bytes(address, "big")
    if len(address) == 16:
        return int.from_bytes(address[:8], "big", signed=True), int.from_bytes(address[8:], "big", signed=True)
    raise UsageError(f"an address is 4 or 16 packed bytes, not {len(address)}")


def from_pair(hi: int, lo: int) -> bytes:
    """The packed address of ``(hi, lo)``."""
    if hi == 0 and lo >> 32 == 0xFFFF:
        return (lo & 0xFFFFFFFF).to_bytes(4, "big")
    return int(hi).to_bytes(8, "big", signed=True) + int(lo).to_bytes(8, "big", signed=True)
