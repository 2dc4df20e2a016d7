"""What the far TCP has acknowledged, as the kernel tells it: ``SIOCOUTQ`` and ``TCP_INFO`` of Linux.

No descriptor becomes ready when an acknowledgement arrives (``EPOLLOUT`` is about room in the buffer, and a transmit
time stamp of ``SOF_TIMESTAMPING_TX_ACK`` costs a message on the error queue for each ``send`` and tells of its last
byte only), so whoever wants to know has to ask: one ioctl, a third of a microsecond in the kernel.
"""

from __future__ import annotations

import socket
import struct
import sys

TELLS = sys.platform == "linux"
"""Whether this system tells bytes in flight. (macOS and the BSDs count what waits in the buffer, but not a FIN.)"""
_SIOCOUTQ = 0x5411  # linux/sockios.h: snd_nxt - snd_una as far as written, FIN included
_RTT_OFFSET = 68  # of tcpi_rtt in struct tcp_info, microseconds
_TCP_INFO = 11
_CLOSE = 7  # TCP_CLOSE of tcpi_state, the first byte
_COUNT, _ZERO = struct.Struct("=i"), bytes(4)
if TELLS:
    from fcntl import ioctl


def unacked(sock: socket.socket) -> int | None:
    """Bytes written to a connected TCP socket that the far side has not acknowledged, a FIN counted as one; None when
    the system does not tell."""
    if not TELLS:
        return None
    try:
        return _COUNT.unpack(ioctl(sock, _SIOCOUTQ, _ZERO))[0]
    except (OSError, ValueError):  # ValueError: closed meanwhile
        return None


def round_trip(sock: socket.socket) -> int:
    """Smoothed round-trip time of the connection in nanoseconds, 0 when not known."""
    if not TELLS:
        return 0
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _RTT_OFFSET + 4)
    except OSError:
        return 0
    return int.from_bytes(info[_RTT_OFFSET : _RTT_OFFSET + 4], sys.byteorder) * 1000


def is_closed(sock: socket.socket) -> bool:
    """Whether the kernel has given the connection up, or was told to by a RST."""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)[0] == _CLOSE
    except OSError:
        return True
