"""Random lives of a stack on a link: every kind of frame, whole and broken, beside TCP."""

from __future__ import annotations

from aero_lab.limits import MS, SECOND

from ..net import A4, A6, B4, B6, FAR4, FAR6, MAC_A, MAC_B
from . import wire
from .node import BROADCAST
from .scripts import Script

LOCAL6 = b"\xfe\x80" + bytes(13) + b"\x15"
LOCAL6_B = b"\xfe\x80" + bytes(13) + b"\x02"
NEAR4, NEAR6 = A4[:3] + b"\x63", A6[:15] + b"\x63"
GROUP4, GROUP6 = bytes([224, 0, 0, 251]), bytes.fromhex("ff02") + bytes(13) + b"\xfb"
ALL_NODES = bytes.fromhex("ff02") + bytes(13) + b"\1"
OTHER_MAC = b"\2\0\0\0\0\x63"
MACS = (MAC_A, MAC_A, MAC_A, OTHER_MAC, b"\3\0\0\0\0\1")


class Noise(Script):
    """A life on Ethernet, or on bare IP without its link's part."""

    def __init__(self, seed: int, role: str, medium: str = "ethernet", **fixed):
        super().__init__(seed, role, medium, **fixed)
        if self.rng.random() < 0.5:
            self.renumber()
        self.parts: list[bytes] = []
        """Fragments that have not been sent yet."""
        self.spare = [self.wrap(self.udp_packet()) for _ in range(3)]

    # Packets -----------------------------------------------------------------------------------------

    def ends(self, six: bool) -> tuple[bytes, bytes]:
        """Somebody's address, and mostly one of the stack's."""
        rng = self.rng
        far = self.role == "gateway" and rng.random() < 0.4
        if six:
            src = rng.choice([A6, A6, A6, LOCAL6, NEAR6, bytes(16), B6, bytes(15) + b"\1", GROUP6])
            dst = rng.choice([B6, B6, B6, LOCAL6_B, ALL_NODES, FAR6, GROUP6, b"\xfe\x80" + bytes(13) + b"\x77"])
            return src, FAR6 if far else dst
        src = rng.choice([A4, A4, A4, NEAR4, FAR4, bytes(4), B4, b"\x7f\0\0\1", b"\xff" * 4, B4[:3] + b"\xff", GROUP4])
        dst = rng.choice([B4, B4, B4, B4[:3] + b"\xff", b"\xff" * 4, GROUP4, NEAR4, FAR4])
        return src, FAR4 if far else dst

    def usual(self, six: bool) -> tuple[bytes, bytes]:
        """Addresses that are allowed."""
        own = [a for a, _ in (self.model.own6 if six else self.model.own4)]
        if six:
            return self.rng.choice([A6, LOCAL6, NEAR6]), self.rng.choice([*own, FAR6] if own else [FAR6])
        return self.rng.choice([A4, A4, NEAR4]), self.rng.choice([*own, *own, FAR4] if own else [FAR4])

    def some(self) -> tuple[bytes, bytes]:
        six = self.rng.random() < 0.45
        return self.usual(six) if self.rng.random() < 0.7 else self.ends(six)

    def ip(self, src: bytes, dst: bytes, protocol: int, body: bytes) -> bytes:
        rng = self.rng
        ttl, tos = rng.choice([64, 64, 64, 255, 1, 0]), rng.choice([0, 0, 0, 1, 2, 3])
        if len(src) == 4:
            options = rng.choice([b""] * 8 + [b"\1\1\1\0", b"\7\4\4\0", b"\x83\4\4\0", b"\x89\4\4\0", b"\7\1\0\0",
                                              b"\7\x20\0\0", b"\1\1\1\7"])  # fmt: skip
            flags = rng.choice([0, 0x4000])
            ident = rng.getrandbits(16)
            return wire.ipv4(src, dst, protocol, body, ttl, ident, tos, flags, options)
        for _ in range(rng.choice([0, 0, 0, 0, 1, 2, 9])):
            kind = rng.choice([60, 60, 60, 43, 0])
            units = rng.choice([0, 0, 1])
            body = bytes([protocol, units, 0, rng.choice([0, 0, 0, 1])]) + bytes(4 + 8 * units) + body
            protocol = kind
        return wire.ipv6(src, dst, protocol, body, ttl, tos)

    def udp_packet(self) -> bytes:
        src, dst = self.some()
        size = self.rng.choice([0, 1, 30, 500])
        datagram = bytearray(
            wire.udp(src, dst, self.rng.choice([68, 5353]), self.rng.choice([68, 53]), self.rng.randbytes(size))
        )
        kind = self.rng.random()
        if kind < 0.1:
            datagram[6:8] = b"\0\0"
        elif kind < 0.25:
            datagram[4:6] = self.rng.choice([0, 7, 8, len(datagram) + 1, len(datagram) - 1]).to_bytes(2, "big")
        return self.ip(src, dst, wire.UDP, bytes(datagram[: self.rng.choice([4, *[None] * 12])]))

    def echo(self) -> bytes:
        src, dst = self.some()
        kind = self.rng.choice([8, 8, 8, 0, 5, 13] if len(src) == 4 else [128, 128, 128, 129, 133, 134, 137])
        size = self.rng.choice([0, 9, 56, 1400])
        message = wire.icmp(src, dst, kind, 0, self.rng.getrandbits(32), self.rng.randbytes(size))
        cut = self.rng.choice([3, *[None] * 12])
        return self.ip(src, dst, wire.ICMP if len(src) == 4 else wire.ICMP6, message[:cut])

    def error(self) -> bytes:
        """An ICMP error about a connection of the stack, or about something else."""
        rng, c = self.rng, None
        if self.model.open_connections and rng.random() < 0.85:
            c = rng.choice(self.model.open_connections)
            ours, theirs = c.local, c.remote
            seq = self.near(c.snd_una, c.snd_una, c.snd_nxt)
        else:
            src, dst = self.some()
            ours, theirs, seq = (dst, 80), (src, 5000), 1
        six = len(ours[0]) == 16
        inner = wire.tcp(ours[0], theirs[0], ours[1], theirs[1], seq, 0, 16, 0, b"", bytes(20))
        protocol = wire.TCP if rng.random() < 0.85 else wire.UDP
        quote = wire.ip(ours[0], theirs[0], protocol, inner)
        quote = quote[: rng.choice([None, None, 28, 48, 20, 47, 5])]
        if six:
            kind, code = rng.choice([(1, 0), (1, 4), (2, 0), (2, 0), (3, 0), (4, 1)])
        else:
            kind, code = rng.choice([(3, 1), (3, 3), (3, 4), (3, 4), (11, 0), (12, 0)])
        rest = rng.choice([0, 500, 576, 700, 1000, 1280, 1300, 1400, 70_000, M31])
        message = wire.icmp(theirs[0], ours[0], kind, code, rest, quote)
        return wire.ip(theirs[0], ours[0], wire.ICMP6 if six else wire.ICMP, message)

    def neighbour(self) -> bytes:
        """Solicitations and advertisements."""
        rng = self.rng
        solicit = rng.random() < 0.6
        src = rng.choice([A6, A6, LOCAL6, NEAR6, bytes(16)])
        target = rng.choice([B6, B6, LOCAL6_B, A6, NEAR6, GROUP6])
        if solicit:
            dst = rng.choice([target, bytes.fromhex("ff0200000000000000000001ff") + target[13:]])
        else:
            dst = rng.choice([B6, ALL_NODES])
        options = rng.choice([b"", b"\1\1" + rng.choice(MACS), b"\2\1" + rng.choice(MACS), b"\1\0" + bytes(6),
                              b"\5\1" + bytes(6) + b"\1\1" + MAC_A, b"\1\2" + MAC_A + bytes(4), b"\1"])  # fmt: skip
        body = (target + options)[: rng.choice([12, *[None] * 12])]
        message = wire.icmp(src, dst, 135 if solicit else 136, rng.choice([0] * 9 + [1]), 0, body)
        return wire.ipv6(src, dst, wire.ICMP6, message, rng.choice([255] * 9 + [64]))

    def strange(self) -> bytes:
        src, dst = self.some()
        return self.ip(src, dst, self.rng.choice([2, 59, 132, 41, 1, 58]), self.rng.randbytes(20))

    def cut(self) -> None:
        """Cut a datagram into fragments; some get lost, doubled, changed or swapped."""
        rng = self.rng
        src, dst = self.usual(rng.random() < 0.5)
        body = wire.udp(src, dst, 1, 2, rng.randbytes(rng.choice([100, 700, 3000])))
        if rng.random() < 0.3:
            kind = 8 if len(src) == 4 else 128
            body = wire.icmp(src, dst, kind, 0, 9, rng.randbytes(rng.choice([100, 2000])))
        protocol = wire.UDP if body[0] == 0 and body[1] == 1 else wire.ICMP if len(src) == 4 else wire.ICMP6
        most = rng.choice([48, 200, 1000])
        ident, tos = rng.getrandbits(16), rng.choice([0, 0, 0, 2])
        parts = []
        for at in range(0, len(body), most):
            start, more = at, at + most < len(body)
            piece = body[at : at + most]
            if rng.random() < 0.02:
                start, piece = rng.choice(
                    [(at + 8, piece), (at, piece[:-3]), (at, b""), (65528, piece), (at, piece + b"12345678")]
                )
            mark = rng.choice([tos] * 60 + [0, 1, 3, 3])
            if len(src) == 4:
                field = more << 13 | start // 8
                parts.append(wire.ipv4(src, dst, protocol, piece, 64, ident, mark, field))
            else:
                header = bytes([protocol, 0]) + (start & ~7 | more).to_bytes(2, "big") + ident.to_bytes(4, "big")
                parts.append(wire.ipv6(src, dst, 44, header + piece, 64, mark))
        parts += rng.choices(parts, k=rng.choice([0, 0, 1]))
        if rng.random() < 0.4:
            rng.shuffle(parts)
        if rng.random() < 0.4:
            parts.remove(rng.choice(parts))
        self.parts += [self.wrap(p) for p in parts]

    # Frames ------------------------------------------------------------------------------------------

    def wrap(self, packet: bytes) -> bytes:
        """A frame for a packet, mostly as it should be."""
        rng = self.rng
        if not self.framed:
            return packet
        kind = 0x0800 if packet[:1] and packet[0] >> 4 == 4 else 0x86DD
        dst = rng.choice([MAC_B] * 14 + [BROADCAST, b"\1\0\x5e\0\0\xfb", OTHER_MAC])
        src = rng.choice([MAC_A] * 10 + [OTHER_MAC])
        padding = bytes(rng.choice([0, 0, 0, 6]))
        tag = rng.random()
        if tag < 0.04:
            tci = rng.choice([0, 0xE000, 5])
            return wire.ethernet(dst, src, 0x8100, tci.to_bytes(2, "big") + kind.to_bytes(2, "big") + packet)
        return wire.ethernet(dst, src, kind if tag < 0.97 else 0x88CC, packet + padding)

    def arp(self) -> bytes:
        rng = self.rng
        sender = rng.choice([A4, A4, NEAR4, bytes(4), B4])
        target = rng.choice([B4, B4, NEAR4, A4])
        packet = bytearray(wire.arp(rng.choice([1, 1, 1, 2, 2, 3]), rng.choice(MACS), sender, bytes(6), target))
        if rng.random() < 0.1:
            packet[rng.randrange(6)] ^= 1
        return wire.ethernet(rng.choice([BROADCAST, MAC_B]), MAC_A, 0x0806, bytes(packet) + bytes(rng.choice([0, 18])))

    def any_frame(self) -> bytes:
        rng = self.rng
        kinds = [self.udp_packet, self.echo, self.error, self.error, self.strange]
        if self.framed:
            kinds += [self.neighbour, self.neighbour, self.arp, self.arp]
        make = rng.choice(kinds)
        frame = make() if make == self.arp else self.wrap(make())
        self.spare = [*self.spare[-5:], frame]
        kind = rng.random()
        if kind < 0.06:
            frame = bytearray(rng.choice(self.spare))
            frame[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
        elif kind < 0.1:
            frame = rng.choice(self.spare)
            frame = frame[: rng.randrange(len(frame))]
        return bytes(frame)

    # Turns -------------------------------------------------------------------------------------------

    def turn(self) -> None:
        rng, twin = self.rng, self.twin
        kind = rng.random()
        if kind < 0.4:
            frames = [self.any_frame() for _ in range(rng.choice([1, 1, 2, 4]))]
            if rng.random() < 0.3:
                frames.append(self.segment())
            twin.step(frames, self.room())
        elif kind < 0.55:
            if not self.parts or rng.random() < 0.2:
                self.cut()
            number = rng.choice([1, 2, 5, 20])
            frames, self.parts = self.parts[:number], self.parts[number:]
            twin.step(frames, self.room())
        elif kind < 0.63:
            self.send()
        elif kind < 0.66 and twin.packets:
            about = rng.choice(twin.packets)
            if hasattr(about, "packet"):
                how = rng.choice(["port-unreachable", "host-unreachable", "prohibited", "too-big", "net-unreachable"])
                twin.unreachable(about, how, rng.choice([0, 1280]), self.room())
        elif kind < 0.67:
            twin.now += rng.choice([10 * SECOND, 61 * SECOND, 1201 * SECOND])
            twin.step([], self.room())
        elif kind < 0.68:
            self.renumber()
        else:
            super().turn()

    def send(self) -> None:
        """A datagram or message of the stack's user."""
        rng, six = self.rng, self.rng.random() < 0.5
        if not (self.model.own6 if six else self.model.own4):
            return
        if six:
            dst = rng.choice([A6, A6, NEAR6, FAR6, LOCAL6, GROUP6])
        else:
            dst = rng.choice([A4, A4, NEAR4, FAR4, GROUP4, b"\xff" * 4])
        size = rng.choice([0, 10, 1300, 1472, 1473, 5000])
        if rng.random() < 0.02:
            size = rng.choice([65487, 65507, 65508, 65527, 65528])
        if rng.random() < 0.6:
            self.twin.udp_send(dst, rng.randbytes(size), rng.choice([64, 1]), self.room())
        elif dst not in (GROUP4, b"\xff" * 4):
            self.twin.icmp_send(dst, rng.choice([128, 133]) if six else 8, rng.randbytes(size), self.room())
        self.twin.now += rng.choice([0, MS])

    def renumber(self) -> None:
        """Other addresses, or none yet; with and without routers."""
        rng = self.rng
        addresses = rng.choice([
            ((B4, 24), (B6, 64)), ((B4, 24), (B6, 64)), ((B4, 24), (LOCAL6_B, 64), (B6, 64)),
            ((B4, 30), (B6, 126), (NEAR4[:3] + b"\x05", 32)), ((B6, 128),), (),
        ])  # fmt: skip
        self.twin.set_address(addresses, rng.choice([A4, A4, None]), rng.choice([A6, LOCAL6, None]))

    def connect(self) -> None:
        if self.model.own4 and self.model.own6:
            super().connect()


M31 = 0x7FFFFFFF
