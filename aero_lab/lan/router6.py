"""Router advertisements (RFC 4861 section 6.2): how a guest gets its IPv6 prefix, router and name server.

A solicitation that names its sender's link address is answered straight to the sender and at once (section 6.2.6
allows it), from a bucket of a few answers that fills slowly. Another (from ``::``, or from an address that is not yet
known to be unique, RFC 4429), and any beyond the bucket, gets the multicast advertisement, of which there are never two
within three seconds (section 10). One also goes out unasked now and then, so that lifetimes do not run out, and soon
after the start when nobody asks: a guest that was resumed from a snapshot does not.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..errors import Malformed
from ..limits import NEVER, SECOND
from ..stack import IcmpMessage
from ..wire import icmpv6, ndp
from ..wire.address import IP6_ALL_NODES, link_local
from .config import LanConfig

MIN_DELAY = 3 * SECOND
"""MIN_DELAY_BETWEEN_RAS."""
INITIAL = 16 * SECOND
"""MAX_INITIAL_RTR_ADVERT_INTERVAL: the first unasked one, unless somebody asked before."""
INTERVAL, LIFETIME = 600 * SECOND, 1800
"""MaxRtrAdvInterval, and three of them in seconds."""
BURST, REFILL = 4, SECOND
"""Answers straight to the asker that may follow one another at once, and how long one more takes to be there again: a
host solicits three times, four seconds apart."""
PREFERRED, VALID = 14400, 86400
"""Seconds that addresses in the prefix are preferred and valid: valid as long as a DHCP lease."""


class Advertiser:
    """Speaks for the gateway when the LAN has an IPv6 address; does nothing when it has none, or no link."""

    def __init__(self, config: LanConfig, stack: Any, now: int):
        self._stack = stack
        self._last = now - MIN_DELAY
        self._due = NEVER
        self._tokens, self._filled_at = BURST, now
        self.sent = 0
        """Advertisements sent."""
        if config.gateway6 is None or config.medium != "ethernet":  # else it is beside the guest
            self._source, self._advert = b"", None
            return
        self._due = now + INITIAL
        self._source = link_local(config.mac)
        self._advert = ndp.RouterAdvert(
            lifetime=LIFETIME,
            options=(
                ndp.source_link(config.mac),
                ndp.Mtu(config.mtu),
                ndp.Prefix(config.gateway6[:8] + bytes(8), 64, valid=VALID, preferred=PREFERRED),
                ndp.Rdnss(LIFETIME, (config.gateway6,)),
            ),
        )

    def heard(self, event: IcmpMessage, now: int, counts: Counter[str]) -> None:
        """A message came that says it is a router solicitation; what is none is counted."""
        try:
            body = event.packet[len(event.packet) - len(event.payload) - icmpv6.HEADER_SIZE :]
            message = ndp.RouterSolicit.parse(body, event.src, event.dst, event.ttl)
        except Malformed as error:
            counts[error.reason] += 1
            return
        self.solicited(event.src, message, now)
        self.tick(now)

    def solicited(self, source: bytes, message: ndp.RouterSolicit, now: int) -> None:
        """A router solicitation came."""
        if self._advert is None:
            return
        if message.link_address(ndp.OPT_SOURCE_LINK) is not None and self._take_token(now) and self._send(source, now):
            self._due = now + INTERVAL
        else:
            self._due = min(self._due, max(now, self._last + MIN_DELAY))

    def tick(self, now: int) -> None:
        """Send what is due."""
        if now >= self._due:
            self._send(IP6_ALL_NODES, now)
            self._last = now
            self._due = now + INTERVAL

    def poll_at(self) -> int:
        return self._due

    def _take_token(self, now: int) -> bool:
        gained = (now - self._filled_at) // REFILL
        self._tokens = min(BURST, self._tokens + gained)
        self._filled_at += gained * REFILL
        if not self._tokens:
            return False
        self._tokens -= 1
        return True

    def _send(self, destination: bytes, now: int) -> bool:
        assert self._advert is not None
        message = self._advert.emit(self._source, destination)
        word, body = int.from_bytes(message[4:8], "big"), message[8:]
        sent = self._stack.icmp_send(self._source, destination, ndp.ROUTER_ADVERT, 0, word, body, now)
        self.sent += sent
        return bool(sent)
