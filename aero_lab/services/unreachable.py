"""ICMP unreachable about a UDP datagram whose packet is gone: its headers, made again from its two ends."""

from __future__ import annotations

from ..wire import icmp, icmpv6
from ..wire.ipv4 import Ipv4
from ..wire.ipv6 import Ipv6
from ..wire.udp import PROTOCOL, Udp

PORT, HOST, NET, PROHIBITED = "port", "host", "net", "prohibited"
_CODES = {
    (NET, 4): (icmp.UNREACHABLE, icmp.NET_UNREACHABLE),
    (PROHIBITED, 4): (icmp.UNREACHABLE, icmp.ADMINISTRATIVELY_PROHIBITED),
    (NET, 16): (icmpv6.UNREACHABLE, icmpv6.NO_ROUTE),
    (PROHIBITED, 16): (icmpv6.UNREACHABLE, icmpv6.PROHIBITED),
    (PORT, 4): (icmp.UNREACHABLE, icmp.PORT_UNREACHABLE),
    (HOST, 4): (icmp.UNREACHABLE, icmp.HOST_UNREACHABLE),
    (PORT, 16): (icmpv6.UNREACHABLE, icmpv6.PORT_UNREACHABLE),
    (HOST, 16): (icmpv6.UNREACHABLE, icmpv6.ADDRESS_UNREACHABLE),
}


def unreachable(what: str, source: tuple[bytes, int], target: tuple[bytes, int]) -> tuple[int, int, int, bytes]:
    """``(type, code, rest, payload)`` of the message that tells ``source`` that ``target`` was not reached.

    It quotes IP header and UDP header (RFC 792 asks for eight bytes behind the IP header), enough for the
    receiver to find its socket.
    """
    head = Udp(source[1], target[1]).emit(source[0], target[0])
    size = len(target[0])
    quoted = (
        Ipv4(source[0], target[0], PROTOCOL, head, df=True).emit()
        if size == 4
        else Ipv6(source[0], target[0], PROTOCOL, head).emit()
    )
    return (*_CODES[what, size], 0, quoted)
