"""The part of :class:`.host.HostEgress` that gives ports of this host for datagrams to and from anybody.

A flow has one remote; a port has none: whoever hears of it may send there (RFC 4787's endpoint-independent mapping).
Who may be heard is the sink's to decide.
"""

from __future__ import annotations

import selectors
import socket
from collections import Counter
from contextlib import suppress
from typing import Any

from ..limits import EGRESS_DATAGRAMS
from .host_flow import family_of
from .selector import LateSelector


class Port:
    """Sockets of one port, by the length of addresses: IPv4, and IPv6 where this host has it."""

    __slots__ = ("port", "sockets")

    def __init__(self, port: int):
        self.port = port
        self.sockets: dict[int, socket.socket] = {}


class DatagramPorts:
    """Ports of an egress; the rest of it is what :class:`.host.HostEgress` gives."""

    sink: Any
    _count: Counter[str]
    _scratch: memoryview
    _selector: LateSelector
    _ports: dict[int, Port]

    def open_port(self, port: int, now: int) -> bool:
        found = Port(port)
        for size, address in ((4, "0.0.0.0"), (16, "::")):
            sock = None
            try:
                sock = socket.socket(family_of(bytes(size)), socket.SOCK_DGRAM)
                sock.setblocking(False)
                if size == 16:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind((address, 0))
                self._selector.open()
            except OSError:
                if sock is not None:
                    sock.close()
                continue
            found.sockets[size] = sock
            self._selector.register(sock, selectors.EVENT_READ, found)
        if not found.sockets:
            self._count["no-socket"] += 1
            return False
        self._ports[port] = found
        return True

    def send_to(self, port: int, address: bytes, remote_port: int, payload: bytes, now: int) -> bool:
        found = self._ports.get(port)
        sock = found.sockets.get(len(address)) if found is not None else None
        if sock is None:
            self._count["udp-no-flow"] += 1
            return False
        for last in (False, True):
            try:
                sock.sendto(payload, (socket.inet_ntop(family_of(address), address), remote_port))
            except (BlockingIOError, InterruptedError):
                self._count["udp-socket-full"] += 1
                return False
            except OSError:  # perhaps news about an earlier datagram: try again
                if last:
                    self._count["udp-send-failed"] += 1
                    return False
            else:
                break
        self._count["udp-datagrams-up"] += 1
        return True

    def close_port(self, port: int, now: int) -> None:
        found = self._ports.pop(port, None)
        for sock in found.sockets.values() if found is not None else ():
            with suppress(KeyError, ValueError):
                self._selector.unregister(sock)
            sock.close()

    def _heard(self, found: Port, sock: Any, now: int) -> int:
        """Datagrams that came to a port; how many bytes."""
        total = 0
        for _ in range(EGRESS_DATAGRAMS):
            if self._ports.get(found.port) is not found:
                break
            try:
                size, source = sock.recvfrom_into(self._scratch)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                continue
            self._count["udp-datagrams-down"] += 1
            total += size
            address = socket.inet_pton(sock.family, source[0].partition("%")[0])
            self.sink.heard(found.port, (address, source[1]), bytes(self._scratch[:size]), now)
        return total
