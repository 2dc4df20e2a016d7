"""The halves of a real-time run whose tunnel is a WebSocket: the proxy server itself, and a client of it.

The client limits the size of its TCP segments, both ways, so that the kernel's count of them is what an Ethernet would
have carried: see :mod:`aero_lab.transports.tcp_info`.
"""

from __future__ import annotations

from typing import Any

from ..paths import get_path
from ..transports.tcp_info import MAX_SEGMENT
from ..tunnels import WebSocketTunnels
from .worker import Client, Proxy, seeded


class WebSocketProxyHalf(Proxy):
    """The proxy server, and behind it LAN, NAT and host sockets."""

    def build(self) -> None:
        spec = self.spec
        self._tunnels = WebSocketTunnels(
            self.engine, self.world(), get_path(spec["option"]), self.recorder, None,
            mtu=spec["mtu"], ipv6=True, seed=spec["seed"],
        )  # fmt: skip
        self.server = self._tunnels.expect(1)

    def about(self) -> dict[str, Any]:
        return {**super().about(), "url": self._tunnels.url_for(1)}


class WebSocketClientHalf(Client):
    """Guest, NIC and a tunnel over WebSocket."""

    def build(self) -> None:
        spec = self.spec
        self._tunnels = WebSocketTunnels(
            self.engine, None, get_path(spec["option"]), self.recorder, None,
            mtu=spec["mtu"], ipv6=True, seed=spec["seed"], url=spec["url"], max_segment=MAX_SEGMENT,
        )  # fmt: skip
        self.engine.call(
            self._plug_in, lambda guest: self._tunnels.connect(1, guest, lambda part: seeded(spec["seed"], part))[0]
        )
        self._tunnels.wait()

    def measure(self) -> dict[str, Any]:
        """As every half, and what the connection cost on its wire."""
        return {**super().measure(), "wire": self.engine.call(lambda: self._tunnels.clients[0].wire)}
