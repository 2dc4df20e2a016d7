"""Probes over UDP: what a sender puts into a datagram and what the echo service adds, so that one-way delay can be
measured.

A probe is ``"ALP1" | sequence u32 | sent i64 | received i64 | padding``, big-endian, times in nanoseconds of the
sender's and of the echo service's clock. The echo service fills in ``received`` and changes nothing else; any other
datagram it echoes as it is (RFC 862). In virtual time and on one machine both clocks are the same, and ``received -
sent`` is the delay on the way out.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from ..errors import UsageError

MAGIC = b"ALP1"
_LAYOUT = struct.Struct(">4sIqq")
PROBE_SIZE = _LAYOUT.size
"""Bytes of the smallest probe."""


class Probe(NamedTuple):
    """The contents of one probe."""

    sequence: int
    sent: int
    """Nanoseconds of the sender's clock."""
    received: int
    """Nanoseconds of the echo service's clock; 0 on the way there."""
    size: int
    """Bytes of the whole payload."""


def make_probe(sequence: int, sent: int, size: int = PROBE_SIZE) -> bytes:
    """Payload of ``size`` bytes of one probe. Raises :class:`UsageError` when it does not fit."""
    if size < PROBE_SIZE:
        raise UsageError(f"a probe takes {PROBE_SIZE} bytes or more, not {size}")
    return _LAYOUT.pack(MAGIC, sequence & 0xFFFFFFFF, sent, 0) + bytes(size - PROBE_SIZE)


def read_probe(payload: bytes) -> Probe | None:
    """The probe in a payload, or None when it is something else."""
    if len(payload) < PROBE_SIZE or payload[:4] != MAGIC:
        return None
    _, sequence, sent, received = _LAYOUT.unpack_from(payload)
    return Probe(sequence, sent, received, len(payload))


class UdpEcho:
    """RFC 862 over UDP, with the time of receipt filled into probes."""

    def datagram(self, payload: bytes, source: tuple[bytes, int], now: int) -> bytes | None:
        if read_probe(payload) is None:
            return payload
        return payload[:16] + now.to_bytes(8, "big", signed=True) + payload[PROBE_SIZE:]
