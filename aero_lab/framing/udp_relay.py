"""Framing of the UDP relay: one message is one datagram.

::

    v1   0 guest port, 2 remote IPv4, 6 remote port, 8 payload
    v2   0 A2 02, 2 family (4 or 6), 3 type 0, 4 guest port, 6 remote address, then its port, then the payload

A v1 message whose guest port is 41474 (``A2 02``) reads as v2. So whoever builds one for that port, or for IPv6, uses
v2 (:func:`encode` does).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..bounds import UDP_RELAY_PAYLOAD
from ..errors import Malformed

V2_MAGIC = b"\xa2\x02"
V2_PORT = 0xA202
"""The guest port that v1 cannot name."""
V1_HEADER, V2_HEADER4, V2_HEADER6 = 8, 12, 24
HEADER_MOST = V2_HEADER6

_V1 = struct.Struct("!H4sH")
_V2 = {4: struct.Struct("!2sBBH4sH"), 6: struct.Struct("!2sBBH16sH")}


class BadDatagram(Malformed):
    """A message that breaks the format. ``reason``: ``too_short``, ``type``, ``family`` or ``too_large``."""

    def __init__(self, reason: str, text: str):
        super().__init__(reason, text)
        self.args = (text,)
        self.text = text


@dataclass(frozen=True, slots=True)
class RelayDatagram:
    """One datagram between a guest's port and a remote."""

    guest_port: int
    """Source port of what the guest sends, destination port of what it gets."""
    remote: bytes
    """Packed address: destination of what the guest sends, source of what it gets."""
    remote_port: int
    payload: bytes
    version: int = 1


def decode(message: bytes, most: int = UDP_RELAY_PAYLOAD) -> RelayDatagram:
    """Take a message apart; raises :class:`BadDatagram`."""
    if message[:2] == V2_MAGIC:
        return _decode2(message, most)
    if len(message) < V1_HEADER:
        raise BadDatagram("too_short", f"frame too short: {len(message)} < {V1_HEADER}")
    guest_port, remote, remote_port = _V1.unpack_from(message)
    return RelayDatagram(guest_port, remote, remote_port, _payload(message, V1_HEADER, most))


def _decode2(message: bytes, most: int) -> RelayDatagram:
    size = len(message)
    if size < V2_HEADER4:
        raise BadDatagram("too_short", f"v2 frame too short: {size} < {V2_HEADER4}")
    family, kind = message[2], message[3]
    if kind != 0:
        raise BadDatagram("type", f"unsupported v2 message type: {kind}")
    layout = _V2.get(family)
    if layout is None:
        raise BadDatagram("family", f"unknown address family: {family}")
    if size < layout.size:
        raise BadDatagram("too_short", f"v2 frame too short: {size} < {layout.size}")
    _, _, _, guest_port, remote, remote_port = layout.unpack_from(message)
    return RelayDatagram(guest_port, remote, remote_port, _payload(message, layout.size, most), 2)


def _payload(message: bytes, at: int, most: int) -> bytes:
    if len(message) - at > most:
        raise BadDatagram("too_large", f"payload too large: {len(message) - at} > {most}")
    return message[at:]


def encode(
    guest_port: int,
    remote: bytes,
    remote_port: int,
    payload: bytes,
    version: int = 1,
    most: int = UDP_RELAY_PAYLOAD,
) -> bytes:
    """A message; in v2 when it is asked for or v1 cannot say it. Raises :class:`BadDatagram` for a payload over the
    limit."""
    if len(payload) > most:
        raise BadDatagram("too_large", f"payload too large: {len(payload)} > {most}")
    if version == 1 and len(remote) == 4 and guest_port != V2_PORT:
        return _V1.pack(guest_port, remote, remote_port) + payload
    family = 4 if len(remote) == 4 else 6
    return _V2[family].pack(V2_MAGIC, family, 0, guest_port, remote, remote_port) + payload
