"""What a guest does when its link comes up: addresses first, then the habits of its operating system."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...causes import Cause
from ...limits import NEIGHBOUR_PATIENCE, NEIGHBOUR_RETRY, NEVER
from ...wire import dhcp
from ...wire.address import IP4_BROADCAST, MAC_BROADCAST
from ...wire.frame import udp_frame
from . import awareness
from .chatter import chatter
from .dhcp_client import Message, State
from .tasks import TaskGenerator, Wait

if TYPE_CHECKING:
    from .guest import ScriptedGuest


def startup(guest: ScriptedGuest) -> TaskGenerator:
    """Task: the whole start-up, in the order in which the profile's system is seen to do it."""
    profile = guest.profile
    if guest.ipv6 is not None:
        if guest.ipv6.profile.optimistic:
            yield from guest.ipv6.begin()
        guest.start(guest.ipv6.run(), "ipv6")
    if guest.static is not None:
        yield from _use_static(guest)
    else:
        guest.start(dhcp_task(guest), "dhcp")
    while not guest.online:
        yield Wait((guest.network,), NEVER)
    if profile.chatter:
        guest.start(chatter(guest), "chatter")
    if profile.awareness:
        guest.awareness = yield from awareness.probe(guest)


def _use_static(guest: ScriptedGuest) -> TaskGenerator:
    assert guest.static is not None
    probe = guest.profile.probe
    if probe is not None and not (yield from guest.conflicts.probe(guest.static.address, probe)):
        guest.counters["address-in-use"] += 1
        return
    guest.configure(guest.static)
    if probe is not None:
        yield from guest.conflicts.announce(guest.static.address, probe)


def dhcp_task(guest: ScriptedGuest) -> TaskGenerator:
    """Task: drive the DHCP client for ever: send what it says, probe what it is granted, use what it holds."""
    client, profile = guest.dhcp, guest.profile
    client.start(guest.now)
    while True:
        while client.outbox:
            yield from _send(guest, client.outbox.pop(0))
        if client.state is State.CHECKING and client.offered is not None:
            free = True
            if profile.probe is not None and client.offered.address != guest.address:
                free = yield from guest.conflicts.probe(client.offered.address, profile.probe)
            if client.state is State.CHECKING:
                client.address_checked(free, guest.now)
            continue
        if client.lease != guest.lease:
            new = client.lease is not None and client.lease.address != guest.address
            guest.configure(client.lease)
            if new and profile.probe is not None and client.lease is not None:
                announcement = guest.conflicts.announce(client.lease.address, profile.probe)
                if profile.probe.announce_num == 1:
                    yield from announcement
                else:
                    guest.start(announcement, "announce")
            continue
        yield Wait((guest.dhcp_signal,), client.deadline)
        if client.deadline <= guest.now:
            client.timeout(guest.now)


def _send(guest: ScriptedGuest, message: Message) -> TaskGenerator:
    if message.destination != IP4_BROADCAST:
        # A server that does not answer ARP gets nothing; the repetition, and at T2 the broadcast, are the remedy.
        give_up = guest.now + NEIGHBOUR_PATIENCE
        ports = (dhcp.CLIENT_PORT, message.destination, dhcp.SERVER_PORT)
        while not guest.stack.udp_send(message.source, *ports, message.payload, guest.now) and guest.now < give_up:
            yield Wait((guest.neighbours,), guest.now + NEIGHBOUR_RETRY)
        return
    frame = udp_frame(
        guest.mac,
        MAC_BROADCAST,
        message.source,
        message.destination,
        dhcp.CLIENT_PORT,
        dhcp.SERVER_PORT,
        message.payload,
        ttl=guest.profile.ttl,
        id=guest.next_ip_id(),
        df=False,
    )
    yield from guest.transmit(frame, Cause.DHCP)
