"""Router advertisements (RFC 4861 section 6.2): how a guest gets its IPv6 prefix, router and name server.

One multicast answer serves every solicitation: at once, but never two within three seconds (section 10), and one now
and then unasked so that lifetimes do not run out.
"""

from __future__ import annotations

from typing import Any

from ..limits import NEVER, SECOND
from ..wire import ndp
from ..wire.address import IP6_ALL_NODES, link_local
from .config import LanConfig

MIN_DELAY = 3 * SECOND
"""MIN_DELAY_BETWEEN_RAS."""
INTERVAL, LIFETIME = 600 * SECOND, 1800
"""MaxRtrAdvInterval, and three of them in seconds."""


class Advertiser:
    """Speaks for the gateway when the LAN has an IPv6 address; does nothing when it has none."""

    def __init__(self, config: LanConfig, stack: Any, now: int):
        self._stack = stack
        self._last = now - MIN_DELAY
        self._due = NEVER
        self.sent = 0
        """Advertisements sent."""
        if config.gateway6 is None:
            self._source = self._message = b""
            return
        self._due = now
        self._source = link_local(config.mac)
        prefix = config.gateway6[:8] + bytes(8)
        advert = ndp.RouterAdvert(
            lifetime=LIFETIME,
            options=(
                ndp.source_link(config.mac),
                ndp.Mtu(config.mtu),
                ndp.Prefix(prefix, 64, valid=86400, preferred=14400),
                ndp.Rdnss(LIFETIME, (config.gateway6,)),
            ),
        )
        self._message = advert.emit(self._source, IP6_ALL_NODES)

    def solicited(self, now: int) -> None:
        """A router solicitation came."""
        if self._message:
            self._due = min(self._due, max(now, self._last + MIN_DELAY))

    def tick(self, now: int) -> None:
        """Send what is due."""
        if now >= self._due:
            word, body = int.from_bytes(self._message[4:8], "big"), self._message[8:]
            self.sent += self._stack.icmp_send(self._source, IP6_ALL_NODES, ndp.ROUTER_ADVERT, 0, word, body, now)
            self._last = now
            self._due = now + INTERVAL

    def poll_at(self) -> int:
        return self._due
