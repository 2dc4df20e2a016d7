"""The halves of a real-time run whose tunnel is real: the proxy server itself, and a client of it, by WebSocket or by
WebRTC.

The client limits the size of its TCP segments, both ways, so that the kernel's count of them is what an Ethernet would
have carried: see :mod:`aero_lab.transports.tcp_info`.
"""

from __future__ import annotations

from typing import Any

from ..transports.tcp_info import MAX_SEGMENT
from ..tunnels.base import find
from .worker import Client, Proxy


class ServerHalf(Proxy):
    """The proxy server, and behind it LAN, NAT and host sockets."""

    def build(self) -> None:
        self._tunnels: Any = find(self.spec["transport"])(self.bench(self.world()))
        self.server = self._tunnels.expect(1)

    def about(self) -> dict[str, Any]:
        return {**super().about(), "url": self._tunnels.url_for(1)}


class ClientHalf(Client):
    """Guest, NIC and a tunnel to that server."""

    def build(self) -> None:
        self.prepare()
        bench = self.bench(url=self.spec["url"], max_segment=MAX_SEGMENT)
        self._tunnels: Any = find(self.spec["transport"])(bench)
        self.engine.call(self._plug_in, lambda guest: self._tunnels.connect(1, "guest1", guest)[0])
        self._tunnels.wait()

    def measure(self) -> dict[str, Any]:
        """As every half, and what the connection cost on its wire."""
        return {**super().measure(), "wire": self.engine.call(lambda: self._tunnels.wire)}
