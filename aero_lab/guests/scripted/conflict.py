"""IPv4 address conflict detection (RFC 5227): probe before use, announce, defend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...causes import Cause
from ...limits import NEVER, SECOND
from ...stack import ArpSeen
from ...wire.address import IP4_ANY
from ...wire.arp import Arp
from ...wire.frame import arp_frame
from .profiles import ProbeProfile
from .tasks import Signal, TaskGenerator, Wait, sleep_until

if TYPE_CHECKING:
    from .guest import ScriptedGuest

DEFEND_INTERVAL = 10 * SECOND
"""A second conflict within this time of the first loses the address (RFC 5227 section 2.4 (b))."""


class ConflictDetector:
    """Watches ARP for others who use, or are about to use, our address."""

    def __init__(self, guest: ScriptedGuest):
        self._guest = guest
        self._probing: bytes | None = None
        self._conflict = False
        self._signal = Signal()
        self._last_conflict = -NEVER
        self.conflicts = 0
        """Conflicts seen since the guest was made."""

    def saw(self, packet: ArpSeen, now: int) -> bool:
        """Judge an ARP packet. True when an address in use is lost to another host.

        A system that does not probe does not defend either: it counts and goes on.
        """
        if packet.sender_mac == self._guest.mac:
            return False
        if self._probing is not None:
            probe_of_other = packet.sender_ip == IP4_ANY and packet.target_ip == self._probing
            if packet.sender_ip == self._probing or probe_of_other:
                self._conflict = True
                self.conflicts += 1
                self._signal.fire()
            return False
        if self._guest.address is None or packet.sender_ip != self._guest.address:
            return False
        self.conflicts += 1
        if self._guest.profile.probe is None:
            return False
        lost = now - self._last_conflict < DEFEND_INTERVAL
        self._last_conflict = now
        if not lost:
            self._guest.send_frame(arp_frame(Arp.announcement(self._guest.mac, self._guest.address)), Cause.ARP)
        return lost

    def probe(self, address: bytes, profile: ProbeProfile) -> TaskGenerator:
        """Task: True when nobody answered for ``address`` (RFC 5227 section 2.1.1)."""
        guest = self._guest
        self._probing, self._conflict = address, False
        try:
            wait = guest.rng.randint(0, profile.probe_wait) if profile.probe_wait else 0
            for number in range(profile.probe_num):
                if (yield from self._conflict_before(guest.now + wait)):
                    return False
                yield from guest.transmit(arp_frame(Arp.probe(guest.mac, address)), Cause.ARP)
                last = number == profile.probe_num - 1
                wait = profile.announce_wait if last else guest.rng.randint(profile.probe_min, profile.probe_max)
            return not (yield from self._conflict_before(guest.now + wait))
        finally:
            self._probing = None

    def announce(self, address: bytes, profile: ProbeProfile) -> TaskGenerator:
        """Task: say that ``address`` is ours (RFC 5227 section 2.3)."""
        guest = self._guest
        for number in range(profile.announce_num):
            if number:
                yield from sleep_until(guest.now + profile.announce_interval)
            if guest.address != address:
                return
            yield from guest.transmit(arp_frame(Arp.announcement(guest.mac, address)), Cause.ARP)

    def _conflict_before(self, until: int) -> TaskGenerator:
        while not self._conflict and self._guest.now < until:
            yield Wait((self._signal,), until)
        return self._conflict
