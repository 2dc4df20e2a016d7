"""A look at arriving frames that configure the interface, before the stack takes them.

A real host's DHCP client, address-conflict detection and neighbour discovery listen beside its TCP/IP stack, on packet
sockets. Here they look into the stack's ``rx`` ring: a kernel finds the few frames that concern them among those that
wait, in place, so that bulk traffic pays one call a step.
"""

from __future__ import annotations

import numpy as np

from ...compiled.memory import load_acquire
from ...compiled.registry import BYTES, I64, entry, kernel
from ...rings.frame_ring import DESCRIPTOR_SIZE, HEAD, HEADER_SIZE, TAIL, FrameRing, frame_len, frame_off, slots
from ...wire import arp, ethernet, icmpv6, ipv4, ipv6, udp

DHCP_CLIENT_PORT = 68


@kernel(I64(BYTES, I64, I64))
def concerns(buffer, offset, size):
    """1 for ARP, neighbour discovery (ICMPv6 133 to 137) and UDP to the DHCP client's port, else 0."""
    if size < ethernet.HEADER_SIZE + arp.SIZE:
        return 0
    kind = ethernet.get_type(buffer, offset)
    packet = offset + ethernet.HEADER_SIZE
    if kind == ethernet.TYPE_ARP:
        return 1
    if kind == ethernet.TYPE_IPV4:
        # With options or in fragments it is no DHCP answer for us.
        if ipv4.get_version_ihl(buffer, packet) != 0x45 or ipv4.get_protocol(buffer, packet) != ipv4.UDP:
            return 0
        if ipv4.get_fragment(buffer, packet) & (ipv4.FLAG_MF | ipv4.OFFSET_MASK):
            return 0
        return 1 if udp.get_dstport(buffer, packet + ipv4.HEADER_SIZE) == DHCP_CLIENT_PORT else 0
    if kind == ethernet.TYPE_IPV6 and size >= ethernet.HEADER_SIZE + ipv6.HEADER_SIZE + icmpv6.HEADER_SIZE:
        if ipv6.get_next_header(buffer, packet) != ipv4.ICMPV6:
            return 0
        message = icmpv6.get_type(buffer, packet + ipv6.HEADER_SIZE)
        return 1 if icmpv6.ROUTER_SOLICIT <= message <= icmpv6.NEIGHBOUR_ADVERT + 1 else 0
    return 0


@entry
@kernel(I64(BYTES, I64))
def next_concerning(ring, cursor):
    """Cursor of the first waiting frame from ``cursor`` on that concerns us, or -1 less the ring's tail when none does."""
    tail = load_acquire(ring, TAIL)
    cursor = max(cursor, load_acquire(ring, HEAD))
    while cursor < tail:
        d = HEADER_SIZE + DESCRIPTOR_SIZE * (cursor & (slots(ring, 0) - 1))
        if concerns(ring, frame_off(ring, d), frame_len(ring, d)):
            return cursor
        cursor += 1
    return -1 - tail


class Watch:
    """Shows each concerning frame of a ring once, without taking it out."""

    def __init__(self, ring: FrameRing):
        self._array = ring.array
        self._mask = ring.slots - 1
        self._cursor = 0

    def frames(self) -> list[bytes]:
        """Copies of the concerning frames that arrived since the last call."""
        found: list[bytes] = []
        while (at := int(next_concerning(self._array, self._cursor))) >= 0:
            d = HEADER_SIZE + DESCRIPTOR_SIZE * (at & self._mask)
            _, offset, size = self._array[d : d + 24].view(np.int64).tolist()
            found.append(self._array[offset : offset + size].tobytes())
            self._cursor = at + 1
        self._cursor = -1 - at
        return found
