"""ICMP echo without privileges: the datagram sockets that some hosts let ordinary users open (``ping_group_range``
on Linux)."""

from __future__ import annotations

import errno
import selectors
import socket
from collections import OrderedDict
from typing import Any

from ..limits import ECHO_PENDING, ECHO_TIMEOUT

_ECHO = {4: (8, 0), 16: (128, 129)}  # length of the address -> types of request and reply (RFC 792, RFC 4443)


class Pinger:
    """Sends echoes and matches replies, one socket an address family, opened when first used.

    The kernel owns the identifier (it is the socket's port), so requests are told apart by a 16-bit sequence number
    of our own.
    """

    def __init__(self, selector: selectors.BaseSelector):
        self._selector = selector
        self._sockets: dict[int, socket.socket | None] = {}
        self._waiting: OrderedDict[tuple[int, int], tuple[int, bytes, int]] = OrderedDict()
        self._sequence = 0

    def send(self, query: int, address: bytes, payload: bytes, now: int) -> bool:
        """Send one echo request; False when the host does not let us, or has no way there."""
        size = len(address)
        sock = self._socket(size)
        if sock is None:
            return False
        while self._waiting and (
            len(self._waiting) >= ECHO_PENDING or next(iter(self._waiting.values()))[2] + ECHO_TIMEOUT <= now
        ):
            self._waiting.popitem(last=False)
        self._sequence = (self._sequence + 1) & 0xFFFF
        # Checksum 0: the kernel fills it in, as it does the identifier.
        message = bytes((_ECHO[size][0], 0, 0, 0, 0, 0)) + self._sequence.to_bytes(2, "big") + payload
        try:
            family = socket.AF_INET if size == 4 else socket.AF_INET6
            sock.sendto(message, (socket.inet_ntop(family, address), 0))
        except OSError:
            return False
        self._waiting[size, self._sequence] = (query, address, now)
        return True

    def read(self, sock: Any, now: int) -> list[tuple[int, bytes, bytes]]:
        """Replies that arrived: ``(query, address, payload)`` each. Replies to nothing, late or forged, are passed
        over."""
        found = []
        size = 4 if sock.family == socket.AF_INET else 16
        for _ in range(ECHO_PENDING):
            try:
                message, source = sock.recvfrom(65535)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                if error.errno in (errno.EBADF, errno.ENOTSOCK):
                    break
                continue  # an ICMP error about an earlier request
            if size == 4 and message[:1] and message[0] >> 4 == 4:
                message = message[4 * (message[0] & 15) :]  # macOS hands over the IP header too
            if len(message) < 8 or message[0] != _ECHO[size][1]:
                continue
            sender = socket.inet_pton(sock.family, source[0].partition("%")[0])
            waiting = self._waiting.get((size, int.from_bytes(message[6:8], "big")))
            if waiting is None or waiting[1] != sender:
                continue
            del self._waiting[size, int.from_bytes(message[6:8], "big")]
            found.append((waiting[0], sender, message[8:]))
        return found

    def close(self) -> None:
        for sock in self._sockets.values():
            if sock is not None:
                sock.close()
        self._sockets.clear()
        self._waiting.clear()

    def _socket(self, size: int) -> socket.socket | None:
        if size not in self._sockets:
            family, protocol = (
                (socket.AF_INET, socket.IPPROTO_ICMP) if size == 4 else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
            )
            sock = None
            try:
                sock = socket.socket(family, socket.SOCK_DGRAM, protocol)
                sock.setblocking(False)
                self._selector.register(sock, selectors.EVENT_READ, self)
            except OSError:
                if sock is not None:
                    sock.close()
                sock = None
            self._sockets[size] = sock
        return self._sockets[size]
