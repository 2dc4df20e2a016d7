"""What ICMP said about datagrams of ours: the error queue of a Linux socket (``IP_RECVERR``), errno elsewhere.

Without the queue a kernel keeps most of what routers say about datagrams to itself, and an errno does not tell which
router spoke or why. With it an unprivileged process learns type, code, sender and the start of what it had sent.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from dataclasses import dataclass
from typing import Any

from ..wire import icmp, icmpv6
from .contract import Why

LINUX = sys.platform == "linux"
_IP_RECVERR, _IPV6_RECVERR = 11, 25  # linux/in.h, linux/in6.h; not in every Python's socket module
_MSG_ERRQUEUE = 0x2000
_EXTENDED = struct.Struct("=IBBBBII")  # struct sock_extended_err: errno, origin, type, code, pad, info, data
_ORIGIN_ICMP, _ORIGIN_ICMP6 = 2, 3
_ANCILLARY = 512

WHY: dict[int, Why] = {
    errno.ECONNREFUSED: "refused",
    errno.ETIMEDOUT: "timeout",
    errno.EACCES: "denied",
    errno.EPERM: "denied",
    errno.ENETUNREACH: "net-unreachable",
    errno.ENETDOWN: "net-unreachable",
}
"""What an errno comes to for a flow; everything else is ``unreachable``."""
_WHY4: dict[int, Why] = {
    icmp.NET_UNREACHABLE: "net-unreachable",
    icmp.PORT_UNREACHABLE: "refused",
    icmp.PROTOCOL_UNREACHABLE: "refused",
    6: "net-unreachable",  # network unknown
    9: "denied",  # network, host, communication administratively prohibited (RFC 1812 section 5.2.7.1)
    10: "denied",
    icmp.ADMINISTRATIVELY_PROHIBITED: "denied",
    11: "net-unreachable",  # for this type of service
}
_WHY6: dict[int, Why] = {
    icmpv6.NO_ROUTE: "net-unreachable",
    icmpv6.PROHIBITED: "denied",
    icmpv6.PORT_UNREACHABLE: "refused",
    5: "denied",  # source address failed a policy, reject route (RFC 4443 section 3.1)
    6: "denied",
}


def why_of(error: OSError) -> Why:
    """What an error of a socket call comes to."""
    return WHY.get(error.errno or 0, "unreachable")


@dataclass(frozen=True, slots=True)
class IcmpError:
    """One entry of the queue."""

    family: int
    """4 or 6: which protocol the numbers are of."""
    type: int
    code: int
    info: int
    """MTU of "too big"."""
    sender: bytes | None
    """Who said it."""
    sent: bytes
    """The start of what the socket had sent."""

    @property
    def why(self) -> Why | None:
        """As a reason; None for what is not about reaching anything (too big, out of time on the way)."""
        if self.family == 4:
            if self.type != icmp.UNREACHABLE or self.code == icmp.FRAGMENTATION_NEEDED:
                return None
            return _WHY4.get(self.code, "unreachable")
        return _WHY6.get(self.code, "unreachable") if self.type == icmpv6.UNREACHABLE else None


def ask_for_errors(sock: Any) -> None:
    """Have the kernel queue ICMP errors about what this socket sends, where it can."""
    if LINUX:
        try:
            if sock.family == socket.AF_INET:
                sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
            else:
                sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        except OSError:
            pass  # then errno has to do


def take_errors(sock: Any, most: int) -> list[IcmpError]:
    """Take up to ``most`` errors from the queue; an entry that no ICMP message made is passed over."""
    found = []
    for _ in range(most if LINUX else 0):
        try:
            sent, ancillary, _, _ = sock.recvmsg(2048, _ANCILLARY, _MSG_ERRQUEUE)
        except OSError:
            break
        for level, kind, data in ancillary:
            expected = (socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR)
            if (level, kind) in expected and len(data) >= _EXTENDED.size:
                _, origin, type_, code, _, info, _ = _EXTENDED.unpack_from(data)
                if origin in (_ORIGIN_ICMP, _ORIGIN_ICMP6):
                    family = 4 if origin == _ORIGIN_ICMP else 6
                    found.append(IcmpError(family, type_, code, info, _offender(data[_EXTENDED.size :]), sent))
    return found


def _offender(data: bytes) -> bytes | None:
    """The address in the ``sockaddr`` that follows."""
    family = int.from_bytes(data[:2], sys.byteorder)
    if family == socket.AF_INET and len(data) >= 8:
        return data[4:8]
    if family == socket.AF_INET6 and len(data) >= 24:
        return data[8:24]
    return None
