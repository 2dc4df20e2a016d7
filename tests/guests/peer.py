"""A link with one scripted guest on it, in virtual time, and a peer that plays servers frame by frame."""

from __future__ import annotations

import random

from aero_lab.guests.scripted import ScriptedGuest
from aero_lab.limits import NEVER, SECOND
from aero_lab.wire import dhcp, dns
from aero_lab.wire.address import MAC_BROADCAST, ip, mac
from aero_lab.wire.arp import REQUEST, Arp
from aero_lab.wire.dhcp import Dhcp, ip_option, text_option, u8_option, u32_option
from aero_lab.wire.dns import DnsMessage, Record
from aero_lab.wire.frame import Ethernet, Ipv4, Ipv6, Udp, arp_frame, dissect, udp_frame

ROUTER, ROUTER_MAC, ADDRESS = ip("10.0.2.2"), mac("02:00:00:00:00:01"), ip("10.0.2.15")
GUEST_MAC = mac("52:54:00:12:34:56")


class Peer:
    """The other end of the link. Answers what its settings say; everything the guest sent is in :attr:`frames`."""

    def __init__(self, profile="windows7", seed=1, **guest):
        self.now = 0
        self.frames: list[tuple[int, bytes]] = []
        self.lease: dict | None = {"lease": 86400, "t1": 43200, "t2": 75600}
        """Options of DHCP answers; None: no DHCP server."""
        self.arp = {ROUTER: ROUTER_MAC}
        """Who answers ARP."""
        self.names: dict[str, bytes | int | None] = {"files.lab": ip("203.0.113.10")}
        """What DNS answers: an address, a response code, or None for silence."""
        self.queries: list[tuple[int, DnsMessage]] = []
        self.nak = False
        self.guest = ScriptedGuest(profile, random.Random(seed), 0, **({"mac": GUEST_MAC} | guest))

    def run(self, seconds: float = 0.0, until=None) -> None:
        """Virtual time goes on by ``seconds``, or until ``until()`` is true (at most that long)."""
        end = self.now + round(seconds * SECOND)
        turns = 0
        while not (until and until()):
            turns += 1
            assert turns < 100_000, "the guest spins"
            due = max(self.guest.poll_at(self.now), self.now)
            if due > end:
                self.now = end
                break
            self.now = due
            self.step()
        assert not self.guest.failures, self.guest.failures

    def step(self) -> None:
        self.guest.step(self.now)
        for frame in self.guest.nic_tx.pop_many(64):
            self.frames.append((self.now, frame.data))
            self.answer(dissect(frame.data))

    def send(self, frame: bytes) -> None:
        assert self.guest.nic_rx.push(frame, self.now)
        self.step()

    def udp(self, sport, dst, dport, payload, src=ROUTER, to=GUEST_MAC) -> None:
        assert self.guest.nic_rx.push(udp_frame(ROUTER_MAC, to, src, dst, sport, dport, payload), self.now)

    def answer(self, layers) -> None:
        if isinstance(layers[-1], Arp):
            self._arp(layers[-1])
        elif isinstance(layers[-1], Dhcp):
            self._dhcp(layers[-1])
        elif isinstance(layers[-1], DnsMessage) and layers[-2].dstport == dns.PORT:
            self._dns(layers[-1], layers[-3].src, layers[-2].srcport)

    def _arp(self, packet: Arp) -> None:
        if packet.op == REQUEST and packet.tpa in self.arp and packet.spa != packet.tpa:
            reply = packet.reply(self.arp[packet.tpa])
            assert self.guest.nic_rx.push(arp_frame(reply, packet.sha), self.now)

    def _dhcp(self, message: Dhcp) -> None:
        kind = {dhcp.DISCOVER: dhcp.OFFER, dhcp.REQUEST: dhcp.NAK if self.nak else dhcp.ACK}.get(message.message_type)
        if kind is None or self.lease is None:
            return
        options = [u8_option(53, kind), ip_option(54, ROUTER)]
        if kind != dhcp.NAK:
            options += [ip_option(1, ip("255.255.255.0")), ip_option(3, ROUTER), ip_option(6, ROUTER)]
            options += [text_option(15, "lab"), u32_option(51, self.lease["lease"])]
            options += [u32_option(code, self.lease[key]) for code, key in ((58, "t1"), (59, "t2"))]
        reply = Dhcp(2, message.xid, message.chaddr, tuple(options), yiaddr=bytes(4) if kind == dhcp.NAK else ADDRESS)
        broadcast = message.ciaddr == bytes(4)
        to, dst = (MAC_BROADCAST, b"\xff" * 4) if broadcast else (GUEST_MAC, message.ciaddr)
        self.udp(67, dst, 68, reply.emit(), to=to)

    def _dns(self, query: DnsMessage, client: bytes, port: int) -> None:
        self.queries.append((self.now, query))
        question = query.questions[0]
        found = self.names.get(question.name, dns.NXDOMAIN)
        if found is None:
            return
        if isinstance(found, int):
            reply = query.reply(found)
        elif question.type == dns.A:
            reply = query.reply(answers=(Record(question.name, dns.A, dns.IN, 60, found),))
        else:
            reply = query.reply()
        self.udp(dns.PORT, client, port, reply.emit())

    def run_task(self, generator, seconds: float = 100.0):
        """The result of a task, which must end within ``seconds``."""
        task = self.guest.start(generator)
        self.run(seconds, lambda: task.done)
        return task.value()

    def sent(self, kind, **fields):
        """``(time, layers)`` of the frames whose last layer is a ``kind`` with these fields."""
        out = []
        for when, frame in self.frames:
            layers = dissect(frame)
            if isinstance(layers[-1], kind) and all(getattr(layers[-1], k) == v for k, v in fields.items()):
                out.append((when, layers))
        return out


def ports(layers):
    """Destination port of a frame with UDP, else None."""
    return next((layer.dstport for layer in layers if isinstance(layer, Udp)), None)


__all__ = ["ADDRESS", "GUEST_MAC", "NEVER", "ROUTER", "ROUTER_MAC", "Ethernet", "Ipv4", "Ipv6", "Peer", "ports"]
