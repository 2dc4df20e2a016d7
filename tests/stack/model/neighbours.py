"""Who on the link has which address: ARP (RFC 826) and neighbour discovery (RFC 4861), with dicts of addresses."""

from __future__ import annotations

from dataclasses import dataclass

from . import wire
from .node import ARP, BROADCAST, NEVER, SECOND, Node

ENTRIES, TRIES, PERIOD, LIFETIME = 64, 3, SECOND, 1200 * SECOND


@dataclass
class Neighbour:
    address: bytes
    at: int
    """When it was last heard of, or asked for."""
    mac: bytes | None = None
    """None while it is asked for."""
    tries: int = 0


def mapped(address: bytes) -> bytes:
    return address if len(address) == 16 else bytes(10) + b"\xff\xff" + address


def same_prefix(one: bytes, other: bytes, bits: int) -> bool:
    if len(one) != len(other):
        return False
    rest = 8 * len(one) - bits
    return int.from_bytes(one, "big") >> rest == int.from_bytes(other, "big") >> rest


def link_local(address: bytes) -> bool:
    return len(address) == 16 and same_prefix(address, b"\xfe\x80" + bytes(14), 10)


class Neighbours(Node):
    """The cache. A place in it keeps its number; what is asked for again is asked in their order."""

    def __init__(self, *args, **more):
        self.version = 0
        """Counts changes: whoever remembers a link address from before looks again."""
        self.link_wait, self.link_retry_at = False, 0
        self.cache: list[Neighbour | None] = [None] * ENTRIES
        super().__init__(*args, **more)

    def set_address(self, *args) -> None:
        super().set_address(*args)
        self.version += 1

    def known(self, address: bytes) -> int | None:
        for i, entry in enumerate(self.cache):
            if entry is not None and entry.address == address:
                return i
        return None

    def enter(self, address: bytes) -> int:
        """A new entry; the one heard of longest ago gives way when all are taken."""
        if None in self.cache:
            i = self.cache.index(None)
        else:
            i = min(range(ENTRIES), key=lambda k: self.cache[k].at)  # type: ignore[union-attr]
        self.cache[i] = Neighbour(address, self.now)
        return i

    def learn(self, address: bytes, mac: bytes) -> None:
        if mac[0] & 1:
            return  # no station has a group address
        i = self.known(address)
        entry = self.cache[self.enter(address) if i is None else i]
        assert entry is not None
        if entry.mac != mac:
            entry.mac = mac
            self.version += 1
            self.link_wait = False
        entry.at, entry.tries = self.now, 0

    def on_link(self, address: bytes) -> bool:
        if self.gateway or link_local(address):
            return True
        return any(same_prefix(address, own, bits) for own, bits in self.own4 + self.own6)

    def resolve(self, address: bytes) -> bytes | None:
        """The link address for a destination; None while it is asked for, or without a route."""
        if not self.on_link(address):
            router = self.router4 if len(address) == 4 else self.router6
            if router is None:
                self.drop("neighbour-unresolved")
                return None
            address = router
        i = self.known(address)
        entry = None if i is None else self.cache[i]
        if entry is not None and entry.mac is not None and self.now - entry.at < LIFETIME:
            return entry.mac
        if entry is None or entry.mac is not None:
            if i is None:
                i = self.enter(address)
            entry = self.cache[i]
            assert entry is not None
            entry.mac, entry.tries = None, 0
            self.solicit(entry)
        return None

    def solicit(self, entry: Neighbour) -> None:
        """An ARP request, or a solicitation to the group of the address (RFC 4861 section 4.3)."""
        entry.at = self.now
        entry.tries += 1
        if self.room <= 0:
            self.drop("tx-full")
            return
        if len(entry.address) == 4:
            source = next((a for a, bits in self.own4 if same_prefix(a, entry.address, bits)), bytes(4))
            question = wire.arp(1, self.config.mac, source, bytes(6), entry.address)
            self.emit(BROADCAST, 0x0806, question, -1, ARP)
        else:
            source = self.own6[0][0] if self.own6 else bytes(16)
            group = bytes.fromhex("ff0200000000000000000001ff") + entry.address[13:]
            body = entry.address + b"\1\1" + self.config.mac
            message = wire.icmp(source, group, 135, 0, 0, body)
            self.emit_ip(b"\x33\x33" + group[12:], source, group, wire.ICMP6, message, -1, ARP, ttl=255)
        self.counts["arp-out"] += 1

    def neighbour_timers(self) -> None:
        """Ask again, or give up after the last try."""
        for i, entry in enumerate(self.cache):
            if entry is None or entry.mac is not None or entry.at + PERIOD > self.now:
                continue
            if entry.tries >= TRIES:
                self.cache[i] = None
                self.drop("neighbour-unresolved")
            else:
                self.solicit(entry)

    def neighbour_deadline(self) -> int:
        return min((e.at + PERIOD for e in self.cache if e is not None and e.mac is None), default=NEVER)
