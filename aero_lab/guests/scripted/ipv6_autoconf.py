"""IPv6 stateless address autoconfiguration (RFC 4862, RFC 4429), name servers that routers advertise (RFC 8106), and
listener reports (RFC 3810)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...causes import Cause
from ...limits import MS, NEVER, SECOND
from ...stack import IcmpMessage
from ...wire import icmpv6
from ...wire.address import (
    IP6_ALL_ROUTERS,
    IP6_ANY,
    eui64_address,
    ip,
    is_link_local,
    multicast_mac,
    solicited_node,
)
from ...wire.frame import icmp_frame, mld_frame
from ...wire.multicast import MldReport
from ...wire.ndp import (
    LIFETIME_INFINITE,
    PREFIX_AUTONOMOUS,
    NdMessage,
    NeighbourAdvert,
    NeighbourSolicit,
    Prefix,
    Rdnss,
    RouterAdvert,
    RouterSolicit,
    parse,
    source_link,
)
from .profiles import Ipv6Profile
from .tasks import Signal, TaskGenerator, Wait, sleep_until

if TYPE_CHECKING:
    from .guest import ScriptedGuest

RETRANS_TIMER = SECOND
"""How long to wait for an objection to a tentative address (RFC 4861 section 10)."""
RTR_SOLICITATION_INTERVAL = 4 * SECOND
MAX_ATTEMPTS = 3
"""Random addresses tried before IPv6 is given up on this link."""
MAX_PREFIXES = 4
"""Advertised prefixes an address is made in; further ones are ignored, as hosts do against floods of advertisements."""
MAX_NAME_SERVERS = 3
"""Name servers remembered: RFC 8106 section 5.3.1 asks for three at least."""
LINK_LOCAL = ip("fe80::")


class Ipv6Autoconf:
    """The IPv6 addresses and router of a guest's interface."""

    def __init__(self, guest: ScriptedGuest):
        profile = guest.profile.ipv6
        assert profile is not None
        self._guest = guest
        self.profile: Ipv6Profile = profile
        self.addresses: dict[bytes, int] = {}
        """Addresses in use and their prefix lengths; the link-local one first."""
        self.router: bytes | None = None
        self.link_local: bytes | None = None
        """The link-local address, tentative or in use."""
        self._tentative: set[bytes] = set()
        self._objected: set[bytes] = set()
        self._valid_until: dict[bytes, int] = {}  # by address; the router's under b""
        self._servers: dict[bytes, int] = {}  # name server -> end of its lifetime
        self._probed_at = 0
        self.changed = Signal()
        """Fires on an objection, on a router advertisement and when an address is added."""

    @property
    def address(self) -> bytes | None:
        """The address that reaches beyond the link; None before there is one."""
        return next((each for each in self.addresses if not is_link_local(each)), None)

    @property
    def name_servers(self) -> tuple[bytes, ...]:
        """Name servers that routers advertise, where the profile's system listens to that."""
        return tuple(self._servers)

    # Tasks ----------------------------------------------------------------------------------------------------------

    def begin(self) -> TaskGenerator:
        """Task: probe a link-local address and, where the profile uses it at once, join groups and look for routers."""
        guest = self._guest
        self.link_local = self._make_address(LINK_LOCAL)
        yield from self._ask(self.link_local)
        if self.profile.optimistic:
            yield from self._pause()
            yield from self._report(self.link_local)
            yield from self._pause()
            yield from self._solicit(self.link_local, known=False)
            yield from self._pause()
        self._probed_at = guest.now

    def run(self) -> TaskGenerator:
        """Task: settle the link-local address, look for routers, keep what they advertise until it expires."""
        for attempt in range(MAX_ATTEMPTS):
            if attempt or not self.profile.optimistic:
                yield from self.begin()
            assert self.link_local is not None
            if (yield from self._unopposed(self.link_local)):
                break
            if not self.profile.random_interface_id:  # the same MAC gives the same address: RFC 4862 section 5.4.5
                return
        else:
            return
        self._use(self.link_local, NEVER)
        yield from self._report(self.link_local)
        solicited = int(self.profile.optimistic)
        while solicited < self.profile.router_solicitations and self.router is None:
            if solicited:
                yield from self._until_router(self._guest.now + RTR_SOLICITATION_INTERVAL)
            if self.router is None:
                yield from self._solicit(self.link_local, known=True)
            solicited += 1
        yield from self._expire()

    def _until_router(self, until: int) -> TaskGenerator:
        while self.router is None and self._guest.now < until:
            yield Wait((self.changed,), until)

    def _expire(self) -> TaskGenerator:
        """Drop addresses and the router as their lifetimes end."""
        guest = self._guest
        while True:
            yield Wait((self.changed,), min((*self._valid_until.values(), *self._servers.values()), default=NEVER))
            self._servers = {server: until for server, until in self._servers.items() if until > guest.now}
            over = [key for key, until in self._valid_until.items() if until <= guest.now]
            for key in over:
                del self._valid_until[key]
                if key:
                    self.addresses.pop(key, None)
                else:
                    self.router = None
            if over:
                guest.apply_addresses()

    def _adopt(self, prefix: Prefix) -> TaskGenerator:
        """Make, probe and use an address in an advertised prefix."""
        address = self._make_address(prefix.prefix)
        yield from self._ask(address)
        if (yield from self._unopposed(address)):
            self._use(address, self._end(prefix.valid))

    # Messages -------------------------------------------------------------------------------------------------------

    def _ask(self, address: bytes) -> TaskGenerator:
        """Does anyone have ``address``? (RFC 4862 section 5.4.2)"""
        self._tentative.add(address)
        self._objected.discard(address)
        group = solicited_node(address)
        message = NeighbourSolicit(address)
        frame = icmp_frame(self._guest.mac, multicast_mac(group), IP6_ANY, group, message)
        yield from self._guest.transmit(frame, Cause.ARP)
        self._probed_at = self._guest.now

    def _unopposed(self, address: bytes) -> TaskGenerator:
        until = self._probed_at + RETRANS_TIMER
        while address not in self._objected and self._guest.now < until:
            yield Wait((self.changed,), until)
        self._tentative.discard(address)
        return address not in self._objected

    def _report(self, source: bytes) -> TaskGenerator:
        groups = [solicited_node(source), *map(ip, self.profile.groups)]
        frame = mld_frame(self._guest.mac, source, MldReport.join(*groups))
        yield from self._guest.transmit(frame, Cause.BROADCAST)

    def _solicit(self, source: bytes, known: bool) -> TaskGenerator:
        """Is there a router? An address whose uniqueness is not known must not name its MAC (RFC 4429 section 3.2)."""
        message = RouterSolicit((source_link(self._guest.mac),) if known else ())
        frame = icmp_frame(self._guest.mac, multicast_mac(IP6_ALL_ROUTERS), source, IP6_ALL_ROUTERS, message)
        yield from self._guest.transmit(frame, Cause.ARP)

    def _pause(self) -> TaskGenerator:
        yield from sleep_until(self._guest.now + self._guest.rng.randint(1 * MS, 10 * MS))

    # Arrivals -------------------------------------------------------------------------------------------------------

    def saw(self, event: IcmpMessage) -> None:
        """A neighbour-discovery message arrived. Raises :class:`Malformed` for one that RFC 4861 says to ignore."""
        data = event.packet[len(event.packet) - len(event.payload) - icmpv6.HEADER_SIZE :]
        message: NdMessage = parse(data, event.src, event.dst, event.ttl)
        if isinstance(message, NeighbourAdvert) and message.target in self._tentative:
            self._object(message.target)
        elif isinstance(message, NeighbourSolicit) and message.target in self._tentative and event.src == IP6_ANY:
            self._object(message.target)
        elif isinstance(message, RouterAdvert):
            self._advertised(message, event.src)

    def _object(self, address: bytes) -> None:
        self._objected.add(address)
        self.changed.fire()

    def _advertised(self, message: RouterAdvert, router: bytes) -> None:
        if message.lifetime:
            self.router = router
            self._valid_until[b""] = self._guest.now + message.lifetime * SECOND
        elif self.router == router:
            self.router = None
            self._valid_until.pop(b"", None)
        for prefix in message.prefixes:
            usable = prefix.flags & PREFIX_AUTONOMOUS and prefix.prefix_len == 64 and prefix.preferred <= prefix.valid
            if not usable or is_link_local(prefix.prefix):
                continue
            held = [a for a in (*self.addresses, *self._tentative) if a[:8] == prefix.prefix[:8]]
            if not held:
                if prefix.valid and len(self.addresses) + len(self._tentative) <= MAX_PREFIXES:
                    self._guest.start(self._adopt(prefix), "slaac")
            elif held[0] in self.addresses:
                self._valid_until[held[0]] = self._extended(held[0], prefix.valid)
        if self.profile.rdnss:
            for option in message.options:
                if isinstance(option, Rdnss):
                    self._name_servers(option)
        self._guest.apply_addresses()
        self.changed.fire()

    def _name_servers(self, option: Rdnss) -> None:
        for server in option.addresses:
            if not option.lifetime:
                self._servers.pop(server, None)
            elif server in self._servers or len(self._servers) < MAX_NAME_SERVERS:
                self._servers[server] = self._end(option.lifetime)

    def _extended(self, address: bytes, valid: int) -> int:
        """New end of an address's life: no advertisement cuts it below two hours (RFC 4862 section 5.5.3 e)."""
        floor = min(self._valid_until.get(address, NEVER), self._guest.now + 7200 * SECOND)
        return max(self._end(valid), floor)

    # Addresses ------------------------------------------------------------------------------------------------------

    def _end(self, seconds: int) -> int:
        return NEVER if seconds == LIFETIME_INFINITE else self._guest.now + seconds * SECOND

    def _make_address(self, prefix: bytes) -> bytes:
        if self.profile.random_interface_id:
            return prefix[:8] + self._guest.rng.getrandbits(64).to_bytes(8, "big")
        return eui64_address(prefix, self._guest.mac)

    def _use(self, address: bytes, until: int) -> None:
        self.addresses[address] = 64
        self._valid_until[address] = until
        self._guest.apply_addresses()
        self._guest.network.fire()
        self.changed.fire()
