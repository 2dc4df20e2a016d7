"""NTP (RFC 5905) as far as a client that asks for the time needs it: the packet and a server of stratum 1."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..errors import Malformed
from ..limits import SECOND

_LAYOUT = struct.Struct(">BBbbII4sQQQQ")
PACKET_SIZE = _LAYOUT.size
UNIX_EPOCH = 2_208_988_800
"""Seconds from 1900, where NTP begins, to 1970."""
CLIENT, SERVER = 3, 4


def to_ntp(unix_ns: int) -> int:
    """64-bit NTP timestamp (32.32 fixed point, era 0 and on modulo 2^32 s) of nanoseconds since 1970."""
    seconds, rest = divmod(unix_ns, SECOND)
    return (((seconds + UNIX_EPOCH) & 0xFFFFFFFF) << 32) | ((rest << 32) // SECOND)


def from_ntp(stamp: int) -> int:
    """Nanoseconds since 1970 of a 64-bit NTP timestamp of era 0, rounded to the nearest."""
    return ((stamp >> 32) - UNIX_EPOCH) * SECOND + (((stamp & 0xFFFFFFFF) * SECOND + (1 << 31)) >> 32)


@dataclass(frozen=True)
class NtpPacket:
    """The 48 bytes of an NTP packet without extensions. Timestamps are 64-bit NTP numbers."""

    mode: int = CLIENT
    version: int = 4
    leap: int = 0
    stratum: int = 0
    poll: int = 6
    precision: int = -20
    root_delay: int = 0
    root_dispersion: int = 0
    reference_id: bytes = bytes(4)
    reference: int = 0
    originate: int = 0
    receive: int = 0
    transmit: int = 0

    @classmethod
    def parse(cls, data: bytes) -> NtpPacket:
        """Raises :class:`Malformed` when it is too short or of a version that never was."""
        if len(data) < PACKET_SIZE:
            raise Malformed("ntp-length", f"{len(data)} bytes, {PACKET_SIZE} needed")
        first, *rest = _LAYOUT.unpack_from(data)
        version = (first >> 3) & 7
        if not 1 <= version <= 4:
            raise Malformed("ntp-version", str(version))
        return cls(first & 7, version, first >> 6, *rest)

    def emit(self) -> bytes:
        return _LAYOUT.pack(
            self.leap << 6 | self.version << 3 | self.mode,
            self.stratum,
            self.poll,
            self.precision,
            self.root_delay,
            self.root_dispersion,
            self.reference_id,
            self.reference,
            self.originate,
            self.receive,
            self.transmit,
        )


class Ntp:
    """Answers clients with the time.

    Parameters
    ----------
    epoch: nanoseconds since 1970 at ``now`` = 0.
    """

    def __init__(self, epoch: int = 0):
        self.epoch = epoch

    def datagram(self, payload: bytes, source: tuple[bytes, int], now: int) -> bytes | None:
        try:
            request = NtpPacket.parse(payload)
        except Malformed:
            return None
        if request.mode != CLIENT:
            return None
        time = to_ntp(self.epoch + now)
        return NtpPacket(
            mode=SERVER,
            version=request.version,
            stratum=1,
            poll=request.poll,
            reference_id=b"LOCL",
            reference=time,
            originate=request.transmit,
            receive=time,
            transmit=time,
        ).emit()
