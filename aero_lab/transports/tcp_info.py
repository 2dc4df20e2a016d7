"""What a TCP connection cost on its wire, from the kernel's own count of segments.

``TCP_INFO`` tells how many segments a socket sent and got, and how many payload bytes they held, retransmissions
included. Each segment has an IP header and a TCP header around it, so that the IP bytes of the connection are ::

    segments * (20 or 40 + 20 + 12 with timestamps) + payload bytes

The count is in segments of the connection's own size whether or not the kernel hands larger pieces to the device, which
on loopback it does: see :func:`limit_segments`. Not counted: options of a SYN beyond the timestamps (8 to 12 bytes,
once), and SACK blocks (8 bytes each and 2 more, while segments are missing).
"""

from __future__ import annotations

import socket
import struct
from typing import Any, NamedTuple

from ..errors import UsageError

TCP_HEADER, TIMESTAMPS = 20, 12
IP_HEADER = {socket.AF_INET: 20, socket.AF_INET6: 40}
MAX_SEGMENT = 1448
"""What a segment holds behind an MTU of 1500 with timestamps: 1500 - 20 - 20 - 12."""
_TCPI_OPT_TIMESTAMPS = 1
# struct tcp_info of linux/tcp.h: tcpi_options at 5, tcpi_bytes_received at 128, tcpi_segs_out and tcpi_segs_in at 136,
# tcpi_bytes_sent at 200.
_SIZE = 208


class WireCount(NamedTuple):
    """IP bytes and segments of a connection so far, seen from one of its ends."""

    bytes_out: int = 0
    bytes_in: int = 0
    segments_out: int = 0
    segments_in: int = 0

    def plus(self, other: WireCount) -> WireCount:
        return WireCount(*(a + b for a, b in zip(self, other)))


def wire_count(sock: Any) -> WireCount | None:
    """What the TCP connection behind a socket cost so far; None where the system does not count it."""
    if not hasattr(socket, "TCP_INFO") or sock.family not in IP_HEADER:
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    except OSError:
        return None
    if len(info) < _SIZE:
        return None
    (options,) = struct.unpack_from("=B", info, 5)
    (received,) = struct.unpack_from("=Q", info, 128)
    out, into = struct.unpack_from("=II", info, 136)
    (sent,) = struct.unpack_from("=Q", info, 200)
    header = IP_HEADER[sock.family] + TCP_HEADER + (TIMESTAMPS if options & _TCPI_OPT_TIMESTAMPS else 0)
    return WireCount(out * header + sent, into * header + received, out, into)


def limit_segments(sock: socket.socket, size: int = MAX_SEGMENT) -> None:
    """Let a connection that is to be made have segments of at most ``size`` bytes, both ways.

    Without it a connection over loopback has segments of up to 64 KB, and their count says nothing about a network.
    """
    if not hasattr(socket, "TCP_MAXSEG"):
        raise UsageError("this system cannot limit the size of TCP segments")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, size)
