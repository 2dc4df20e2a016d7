"""ICMP echo without privileges: the datagram sockets that some hosts let ordinary users open (``ping_group_range``
on Linux)."""

from __future__ import annotations

import errno
import selectors
import socket
from collections import OrderedDict
from typing import Any

from ..limits import ECHO_PENDING, ECHO_TIMEOUT
from .contract import Why
from .icmp_errors import IcmpError, ask_for_errors, take_errors, why_of
from .selector import LateSelector

_PENDING = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ECONNREFUSED, errno.EPROTO, errno.ENOPROTOOPT, errno.EMSGSIZE)
_ECHO = {4: (8, 0), 16: (128, 129)}  # length of the address -> types of request and reply (RFC 792, RFC 4443)


class Pinger:
    """Sends echoes and matches replies, one socket an address family, opened when first used.

    The kernel owns the identifier (it is the socket's port), so requests are told apart by a 16-bit sequence number
    of our own.
    """

    def __init__(self, selector: LateSelector):
        self._selector = selector
        self._sockets: dict[int, socket.socket | None] = {}
        self._waiting: OrderedDict[tuple[int, int], tuple[int, bytes, int]] = OrderedDict()
        self._sequence = 0
        self._ttl: dict[int, int] = {}

    def send(self, query: int, address: bytes, payload: bytes, now: int, ttl: int = 64) -> Why | None:
        """Send one echo request; None when it went out, ``denied`` when the host does not let us, else why not.

        ``ttl`` is the time to live, or hop limit, that it gets, so that a traceroute of the guest's sees the routers.
        """
        size = len(address)
        sock = self._socket(size)
        if sock is None:
            return "denied"
        while self._waiting and (
            len(self._waiting) >= ECHO_PENDING or next(iter(self._waiting.values()))[2] + ECHO_TIMEOUT <= now
        ):
            self._waiting.popitem(last=False)
        self._sequence = (self._sequence + 1) & 0xFFFF
        # Checksum 0: the kernel fills it in, as it does the identifier.
        message = bytes((_ECHO[size][0], 0, 0, 0, 0, 0)) + self._sequence.to_bytes(2, "big") + payload
        try:
            self._set_ttl(sock, size, ttl)
            family = socket.AF_INET if size == 4 else socket.AF_INET6
            where = (socket.inet_ntop(family, address), 0)
            try:
                sock.sendto(message, where)
            except OSError as error:
                if error.errno not in _PENDING:
                    raise
                sock.sendto(message, where)  # it was about an earlier one, and told by not sending this one
        except OSError as error:
            return why_of(error)
        self._waiting[size, self._sequence] = (query, address, now)
        return None

    def read(self, sock: Any, now: int) -> tuple[list[tuple[int, bytes, bytes]], list[tuple[int, IcmpError]]]:
        """Replies that arrived, ``(query, address, payload)`` each, and errors, ``(query, error)`` each. What is about
        nothing that waits, late or forged, is passed over."""
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
        errors = []
        for error in take_errors(sock, ECHO_PENDING):
            if len(error.sent) >= 8 and error.sent[0] == _ECHO[size][0]:
                waiting = self._waiting.pop((size, int.from_bytes(error.sent[6:8], "big")), None)
                if waiting is not None:
                    errors.append((waiting[0], error))
        return found, errors

    def close(self) -> None:
        for sock in self._sockets.values():
            if sock is not None:
                sock.close()
        self._sockets.clear()
        self._ttl.clear()
        self._waiting.clear()

    def _set_ttl(self, sock: Any, size: int, ttl: int) -> None:
        if self._ttl.get(size) != ttl:
            level, option = (
                (socket.IPPROTO_IP, socket.IP_TTL) if size == 4 else (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)
            )
            sock.setsockopt(level, option, ttl)
            self._ttl[size] = ttl

    def _socket(self, size: int) -> socket.socket | None:
        if size not in self._sockets:
            family, protocol = (
                (socket.AF_INET, socket.IPPROTO_ICMP) if size == 4 else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
            )
            sock = None
            try:
                sock = socket.socket(family, socket.SOCK_DGRAM, protocol)
                sock.setblocking(False)
                ask_for_errors(sock)
                self._selector.register(sock, selectors.EVENT_READ, self)
            except OSError:
                if sock is not None:
                    sock.close()
                sock = None
            self._sockets[size] = sock
        return self._sockets[size]
