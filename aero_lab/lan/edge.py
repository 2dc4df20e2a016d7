"""The link layer of the LAN by itself: what stands beside the guest when its packets, not its frames, travel.

Theory of operation
-------------------
::

    guest's frames ── strip ──┬─ IP packets ───────────────> up     (to the stack, elsewhere)
                              └─ ARP, ND, DHCP ─> neighbour
    frames to the guest <─ wrap ── IP packets <───────────── down   (from the stack)
                        <── answers ── neighbour

The neighbour is a stack in the role that the gateway has on a whole LAN, with the gateway's addresses, which is given
nothing but what a neighbour answers: it resolves, advertises the router, and its DHCP server gives the one lease. So
the guest sees the same network as on a LAN that is in one piece.

A packet for an address that never spoke waits, a few of them, while that address is asked for three times, a second
apart (RFC 1122 section 2.3.2, RFC 4861 section 7.2.2).
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..bounds import EDGE_ASKED, EDGE_HELD
from ..causes import Cause
from ..errors import Malformed
from ..limits import NEVER, RING_ARENA, RING_SLOTS, SECOND
from ..rings import FrameRing
from ..stack import Datagram, IcmpMessage, Stack
from ..stack.addresses import to_pair
from ..wire import dhcp, icmpv6, ndp
from ..wire.address import IP4_BROADCAST, MAC_BROADCAST, ip_text, link_local, mac_text, multicast_mac, solicited_node
from ..wire.arp import Arp
from ..wire.ethernet import TYPE_ARP, TYPE_IPV4, TYPE_IPV6, Ethernet
from ..wire.ipv6 import Ipv6
from .config import LanConfig
from .dhcp import DhcpServer
from .router6 import Advertiser
from .strip import COUNTERS, ROW, STATE_SIZE, STRANGER, TABLE, WAIT, note, strip, wrap

TRIES, RETRANSMIT = 3, SECOND
BATCH = 256


@dataclass
class _Asked:
    """An address that is being asked for, and the packets that wait for it."""

    due: int
    tries: int = 1
    waiting: deque[Any] = field(default_factory=deque)


def without_link(config: LanConfig) -> LanConfig:
    """The same LAN for packets: who has the lease is known where the link layer is."""
    return replace(config, medium="ip", require_lease=False)


class LinkEdge:
    """The link layer between a guest's NIC and a stack elsewhere, a node.

    Parameters
    ----------
    config: of the LAN; addresses, hardware address, lease.
    out: ring of the frames that the guest sends; this is its consumer.
    into: ring of the frames for the guest; this is its producer.
    rng: seeded generator. now: nanoseconds.
    """

    name = "link-edge"

    def __init__(self, config: LanConfig, out: FrameRing, into: FrameRing, rng: Any, now: int):
        config = replace(config, medium="ethernet")
        self.config = config
        self.out, self.into = out, into
        self.up = FrameRing(RING_SLOTS, RING_ARENA)
        """IP packets of the guest's."""
        self.down = FrameRing(RING_SLOTS, RING_ARENA)
        """IP packets for the guest."""
        self.stack = Stack(replace(config.stack(), max_connections=1), rng, now)
        self.dhcp = DhcpServer(config, self._guest_heard_at)
        self.router6 = Advertiser(config, self.stack, now)
        self._heard_at = now
        self._rest = FrameRing(RING_SLOTS, RING_ARENA)
        self._state = np.zeros(STATE_SIZE, np.uint8)
        cells = self._cells = self._state.view(np.int64)
        cells[0], cells[1] = int.from_bytes(config.mac[:2], "big"), int.from_bytes(config.mac[2:], "big")
        self._ident = 1
        self._asked: dict[bytes, _Asked] = {}
        self._count: Counter[str] = Counter()
        self._stuck = False

    # The node -------------------------------------------------------------------------------------------------------

    def _guest_heard_at(self) -> int:
        return self._heard_at

    def step(self, now: int) -> None:
        """Frames and packets both ways, as far as there is room, and what the neighbour has to say."""
        self.send(now)
        self.receive(now)

    def send(self, now: int) -> None:
        """From the guest: packets into :attr:`up`, the rest to the neighbour."""
        if len(self.out):
            before = self._cells[COUNTERS["packets_up"] >> 3]
            strip(self.out.array, self.up.array, self._rest.array, self._state, BATCH)
            if self._cells[COUNTERS["packets_up"] >> 3] != before:
                self._heard_at = now
            if self._asked:
                self._answered(now)
        self._neighbour(now)

    def receive(self, now: int) -> None:
        """To the guest: packets of :attr:`down`, and what the neighbour says."""
        self.router6.tick(now)
        if self._asked:
            self._ask_again(now)
        self._stuck = False
        while len(self.down):
            why = int(wrap(self.down.array, self.into.array, self._state, BATCH)) & (WAIT | STRANGER)
            if why == STRANGER:
                self._stranger(now)
            elif why == WAIT:
                self._stuck = True
                break
        self.stack.tx.move_to(self.into)

    def poll_at(self, now: int) -> int:
        if len(self.out) and self.up.has_room(RING_ARENA // 8) or len(self.down) and not self._stuck or len(self._rest):
            return now
        due = min((asked.due for asked in self._asked.values()), default=NEVER)
        return min(due, self.stack.poll_at(now), self.router6.poll_at())

    # The neighbour --------------------------------------------------------------------------------------------------

    def _neighbour(self, now: int) -> None:
        for frame in self._rest.pop_many(BATCH) if len(self._rest) else ():
            self._learn(frame.data)
            self.stack.rx.push(frame.data, now, frame.frame_id)
        if self._asked:
            self._answered(now)
        if not self.stack.poll_at(now) <= now:
            return
        self.stack.step(now)
        for event in self.stack.events():
            if isinstance(event, Datagram):
                self._datagram(event, now)
            elif isinstance(event, IcmpMessage) and event.family == 6 and event.type == icmpv6.ROUTER_SOLICIT:
                self.router6.heard(event, now, self._count)

    def _datagram(self, event: Datagram, now: int) -> None:
        if event.src == self.config.guest:
            self._heard_at = now
        if event.dport != dhcp.SERVER_PORT or event.dst not in (IP4_BROADCAST, self.config.gateway):
            self._count["no-service"] += 1
            return
        for reply in self.dhcp.handle(event.payload, now, unicast=event.dst == self.config.gateway):
            if not self.stack.send_frame(self.dhcp.packet(reply, self._ident), now, Cause.DHCP):
                self._count["dhcp-no-room"] += 1
            self._ident = self._ident % 0xFFFF + 1

    def _learn(self, frame: bytes) -> None:
        """What ARP and neighbour discovery say about who lives where."""
        try:
            ethernet = Ethernet.parse(frame)
            if ethernet.type == TYPE_ARP:
                packet = Arp.parse(ethernet.payload)
                self._note(packet.spa, packet.sha)
            elif ethernet.type == TYPE_IPV6:
                ipv6 = Ipv6.parse(ethernet.payload)
                message = ndp.parse(ipv6.payload, ipv6.src, ipv6.dst, ipv6.hop_limit)
                if isinstance(message, ndp.NeighbourAdvert):
                    address, option = message.target, ndp.OPT_TARGET_LINK
                else:
                    address, option = ipv6.src, ndp.OPT_SOURCE_LINK
                mac = message.link_address(option)
                if mac is not None:
                    self._note(address, mac)
        except Malformed:
            pass  # the neighbour looks at the frame too, and counts

    def _note(self, address: bytes, mac: bytes) -> None:
        if address not in (self.config.gateway, self.config.gateway6):
            note(self._state, *to_pair(address), int.from_bytes(mac[:2], "big"), int.from_bytes(mac[2:], "big"))

    # Addresses that never spoke -------------------------------------------------------------------------------------

    def _stranger(self, now: int) -> None:
        """The next packet is for an address that nobody is known to have."""
        packet = self.down.pop()
        assert packet is not None
        address = packet.data[16:20] if packet.data[0] >> 4 == 4 else packet.data[24:40]
        asked = self._asked.get(address)
        if asked is None:
            if len(self._asked) >= EDGE_ASKED:
                self._count["neighbour-unresolved"] += 1
                return
            asked = self._asked[address] = _Asked(now + RETRANSMIT)
            self._ask(address, now)
        if len(asked.waiting) >= EDGE_HELD:
            asked.waiting.popleft()
            self._count["neighbour-unresolved"] += 1
        asked.waiting.append(packet)

    def _ask(self, address: bytes, now: int) -> None:
        mac = self.config.mac
        if len(address) == 4:
            request = Arp.request(mac, self.config.gateway, address).emit()
            frame = Ethernet(MAC_BROADCAST, mac, TYPE_ARP, request).emit()
        else:
            group, source = solicited_node(address), link_local(mac)
            message = ndp.NeighbourSolicit(address, (ndp.source_link(mac),)).emit(source, group)
            packet = Ipv6(source, group, 58, message, ndp.HOP_LIMIT).emit()
            frame = Ethernet(multicast_mac(group), mac, TYPE_IPV6, packet).emit()
        self.stack.send_frame(frame, now, Cause.ARP)

    def _ask_again(self, now: int) -> None:
        for address, asked in list(self._asked.items()):
            if asked.due > now:
                continue
            if asked.tries >= TRIES:
                del self._asked[address]
                self._count["neighbour-unresolved"] += len(asked.waiting)
                continue
            asked.tries += 1
            asked.due = now + RETRANSMIT
            self._ask(address, now)

    def _answered(self, now: int) -> None:
        """Packets whose address has spoken meanwhile go on, in their order."""
        known = self.neighbours
        for address in [each for each in self._asked if each in known]:
            kind = TYPE_IPV4 if len(address) == 4 else TYPE_IPV6
            for packet in self._asked.pop(address).waiting:
                frame = Ethernet(known[address], self.config.mac, kind, packet.data).emit()
                if not self.into.push(frame, packet.t_ns, packet.frame_id, packet.flow, packet.cause, packet.flags):
                    self._count["no-room"] += 1

    # Looking inside -------------------------------------------------------------------------------------------------

    @property
    def neighbours(self) -> dict[bytes, bytes]:
        """Who is known to live where: packed address to hardware address."""
        found = {}
        for i in range(min(int(self._cells[2]), (STATE_SIZE - TABLE) // ROW)):
            hi, lo, mac_hi, mac_lo = self._cells[(TABLE + i * ROW) >> 3 :][:4].tolist()
            mapped = hi == 0 and lo >> 32 == 0xFFFF
            address = (lo & 0xFFFFFFFF).to_bytes(4, "big") if mapped else (hi << 64 | lo & (1 << 64) - 1).to_bytes(
                16, "big", signed=True
            )  # fmt: skip
            found[address] = mac_hi.to_bytes(2, "big") + mac_lo.to_bytes(4, "big")
        return found

    @property
    def frames_up(self) -> int:
        """Frames taken from the guest."""
        return int(self._cells[COUNTERS["frames_up"] >> 3])

    @property
    def bytes_up(self) -> int:
        """Bytes of those frames."""
        return int(self._cells[COUNTERS["bytes_up"] >> 3])

    @property
    def counters(self) -> dict[str, int]:
        """Packets each way, drops by reason, and what the neighbour's parts count."""
        own = {name: int(self._cells[at >> 3]) for name, at in COUNTERS.items()}
        parts = {
            "edge": {**own, **self._count},
            "dhcp": self.dhcp.counters,
            "stack": self.stack.counters,
            "stack.drop": self.stack.drops,
        }
        return {f"{part}.{reason}": n for part, counts in parts.items() for reason, n in counts.items()}

    def __repr__(self) -> str:
        known = ", ".join(f"{ip_text(address)} is {mac_text(mac)}" for address, mac in self.neighbours.items())
        return f"<LinkEdge {known or 'nobody spoke yet'}>"
