"""From a frame to its transport and back: Ethernet, ARP, IPv4 and IPv6 on the way in, UDP and fragments on the way
out."""

from __future__ import annotations

import struct

from ..naive import Reassembly, checksum
from . import wire
from .icmp import Icmp
from .node import ARP, BROADCAST

LOOPBACK6 = bytes(15) + b"\1"
EXTENSIONS = {0: "hop-by-hop", 43: "routing", 60: "destination"}


class Fragments(Reassembly):
    """Reassembly where every datagram has a place: reports of lost ones go out in their order."""

    def __init__(self, *args: int):
        super().__init__(*args)
        self.places: dict[tuple, int] = {}

    def take(self, packet: bytes, now: int) -> bytes | str | None:
        whole = super().take(packet, now)
        self.places = {key: place for key, place in self.places.items() if key in self.table}
        for key in self.table.keys() - self.places.keys():
            self.places[key] = min(set(range(self.slots)) - set(self.places.values()))
        return whole

    def expire(self, now: int) -> tuple[int, list[bytes]]:
        order = {id(d.first): self.places[key] for key, d in self.table.items()}
        number, firsts = super().expire(now)
        self.places = {key: place for key, place in self.places.items() if key in self.table}
        return number, sorted(firsts, key=lambda first: order[id(first)])


class Internet(Icmp):
    # Ethernet and ARP --------------------------------------------------------------------------------

    def frame(self, frame: bytes) -> None:
        self.counts["frames-in"] += 1
        self.counts["bytes-in"] += len(frame)
        if not self.framed:
            return self.packet(frame, 6 if frame[:1] and frame[0] >> 4 == 6 else 4, False, None)
        if len(frame) < 14:
            return self.drop("ethernet-short")
        dst, src, kind, rest = frame[:6], frame[6:12], int.from_bytes(frame[12:14], "big"), frame[14:]
        group = bool(dst[0] & 1)
        if not group and dst != self.config.mac:
            return self.drop("not-for-us")
        if kind == 0x8100:
            if len(rest) < 4:
                return self.drop("ethernet-short")
            if int.from_bytes(rest[:2], "big") & 0x0FFF:
                return self.drop("vlan")
            kind, rest = int.from_bytes(rest[2:4], "big"), rest[4:]
        if kind == 0x0800 or kind == 0x86DD:
            return self.packet(rest, 4 if kind == 0x0800 else 6, group, src)
        if kind == 0x0806:
            return self.arp(rest)
        return self.drop("ethernet-type")

    def arp(self, packet: bytes) -> None:
        """RFC 826: merge the sender, then answer what is asked about us."""
        self.counts["arp-in"] += 1
        if len(packet) < 28:
            return self.drop("arp-short")
        op = int.from_bytes(packet[6:8], "big")
        if packet[:6] != bytes.fromhex("000108000604") or op not in (1, 2):
            return self.drop("arp-format")
        sha, spa, tpa = packet[8:14], packet[14:18], packet[24:28]
        own = [a for a, _ in self.own4]
        if spa != bytes(4) and spa not in own:
            self.learn(spa, sha)
        if self.config.role == "guest":
            self.hand_up("arp", packet[:28], 0, False)
        if op == 2 or tpa not in own:
            return None
        if self.room <= 0:
            return self.drop("tx-full")
        self.emit(sha, 0x0806, wire.arp(2, self.config.mac, tpa, sha, spa), -1, ARP)
        self.counts["arp-out"] += 1
        return None

    # IP ----------------------------------------------------------------------------------------------

    def packet(self, raw: bytes, version: int, group: bool, mac: bytes | None) -> None:
        """An IP packet, ``mac`` its sender on the link, ``group`` when it came to a group there."""
        p = self.parse(raw, version, group)
        if p is None:
            return
        if mac is not None and self.gateway and p.src not in (bytes(4), bytes(16)):
            if self.last_seen != (p.src, mac):  # the usual frame is from the usual guest
                self.last_seen = (p.src, mac)
                self.learn(p.src, mac)
        if not p.fragment:
            return self.transport(p)
        whole = self.reassembly.take(p.raw, self.now)
        if isinstance(whole, str):
            if version == 6:
                self.parameter_problem(p, whole)
            return self.drop("fragment")
        if whole is None:
            return
        self.counts["reassembled"] += 1
        p = self.parse(whole, version, p.group)
        if p is not None and not p.fragment:
            self.transport(p)

    def parse(self, raw: bytes, version: int, group: bool) -> wire.Packet | None:
        return (self.parse4 if version == 4 else self.parse6)(raw, group)

    def parse4(self, raw: bytes, group: bool) -> wire.Packet | None:
        """RFC 791 and RFC 1122 section 3.2.1."""
        if len(raw) < 20:
            return self.drop("ipv4-short")
        if raw[0] >> 4 != 4:
            return self.drop("ipv4-version")
        header, length = (raw[0] & 15) * 4, int.from_bytes(raw[2:4], "big")
        if header < 20 or header > len(raw):
            return self.drop("ipv4-header-length")
        if not header <= length <= len(raw):
            return self.drop("ipv4-total-length")
        if checksum(raw[:header]) != 0:
            return self.drop("ipv4-checksum")
        src, dst = raw[12:16], raw[16:20]
        if src[0] == 127 or 224 <= src[0] < 240 or src == b"\xff" * 4:
            return self.drop("ipv4-source")
        if any(src in (own, self.broadcast(own, bits)) for own, bits in self.own4):
            return self.drop("ipv4-source")
        problem = self.bad_options(raw[20:header])
        if problem:
            return self.drop(problem)
        to_group = 224 <= dst[0] < 240 or dst == b"\xff" * 4
        if not to_group and dst not in [own for own, _ in self.own4]:
            to_group = any(bits < 31 and dst == self.broadcast(own, bits) for own, bits in self.own4)
        own = to_group or dst in [a for a, _ in self.own4]
        protocol = raw[9]
        if not own and not self.gateway:
            # Before it has an address a host takes what DHCP sends to its hardware address (RFC 2131 section 4.1).
            bootp = not self.own4 and protocol == 17 and length >= header + 8 and raw[header + 2 : header + 4] == b"\0D"
            if not bootp:
                return self.drop("not-for-us")
            own = True
        field = int.from_bytes(raw[6:8], "big")
        return wire.Packet(
            raw[:length], src, dst, protocol, header, raw[8], raw[1] & 3, own, group or to_group, bool(field & 0x3FFF)
        )

    @staticmethod
    def broadcast(own: bytes, bits: int) -> bytes:
        host = (1 << 32 - bits) - 1
        return (int.from_bytes(own, "big") | host).to_bytes(4, "big")

    @staticmethod
    def bad_options(options: bytes) -> str | None:
        """Malformed, or a source route (RFC 7126)."""
        while options and options[0] != 0:
            if options[0] == 1:
                options = options[1:]
                continue
            if len(options) < 2 or not 2 <= options[1] <= len(options):
                return "ipv4-header-length"
            if options[0] in (131, 137):
                return "ipv4-source-route"
            options = options[options[1] :]
        return None

    def parse6(self, raw: bytes, group: bool) -> wire.Packet | None:
        """RFC 8200 sections 3 and 4."""
        if len(raw) < 40:
            return self.drop("ipv6-short")
        if raw[0] >> 4 != 6:
            return self.drop("ipv6-version")
        end = 40 + int.from_bytes(raw[4:6], "big")
        if end > len(raw):
            return self.drop("ipv6-length")
        src, dst = raw[8:24], raw[24:40]
        addresses = [a for a, _ in self.own6]
        if src[0] == 0xFF or src == LOOPBACK6 or src in addresses:
            return self.drop("ipv6-source")
        to_group = dst[0] == 0xFF
        own = to_group or dst in addresses
        if not own and (not self.gateway or self.link_local(dst)):
            return self.drop("not-for-us")
        kind, at, fragment = raw[6], 40, False
        for number in range(10):
            if kind == 44:
                if at + 8 > end:
                    return self.drop("ipv6-extension")
                fragment = True
                break
            if kind not in EXTENSIONS:
                break
            size = 8 + 8 * raw[at + 1] if at + 8 <= end else end + 1
            if number == 8 or kind == 0 and number > 0 or at + size > end or kind == 43 and raw[at + 3] != 0:
                return self.drop("ipv6-extension")
            kind, at = raw[at], at + size
        if src == bytes(16) and kind != 58 and not fragment:
            return self.drop("ipv6-source")
        ecn = raw[1] >> 4 & 3
        return wire.Packet(raw[:end], src, dst, kind, at, raw[7], ecn, own, group or to_group, fragment)

    @staticmethod
    def link_local(address: bytes) -> bool:
        return address[0] == 0xFE and address[1] & 0xC0 == 0x80

    # Transports --------------------------------------------------------------------------------------

    def transport(self, p: wire.Packet) -> None:
        if not p.own and p.ttl <= 1:  # a gateway is the last router for addresses that are not its own
            self.drop("ip-ttl")
            self.send_error(p, 11 if p.version == 4 else 3, 0, 0)
            return None
        if p.protocol == wire.TCP:
            return self.tcp(p)
        if p.protocol == wire.UDP:
            return self.udp(p)
        if p.protocol == (wire.ICMP if p.version == 4 else wire.ICMP6):
            return self.icmp(p)
        self.drop("ip-protocol")
        if p.version == 4 and p.protocol != wire.IGMP:
            self.send_error(p, 3, 2, 0)
        elif p.version == 6 and p.protocol != 59:
            self.send_error(p, 4, 1, 40)
        return None

    def tcp(self, p: wire.Packet) -> None:
        raw = p.body
        if len(raw) < 20:
            return self.drop("tcp-short")
        header = (raw[12] >> 4) * 4
        if not 20 <= header <= len(raw):
            return self.drop("tcp-data-offset")
        if p.group:
            return self.drop("tcp-broadcast")
        if checksum(wire.pseudo(p.src, p.dst, wire.TCP, len(raw)) + raw) != 0:
            return self.drop("tcp-checksum")
        sport, dport = struct.unpack(">HH", raw[:4])
        if not sport or not dport:
            return self.drop("tcp-port-zero")
        if sport == dport and p.src == p.dst:
            return self.drop("tcp-land")
        if raw[13] & wire.SYN and raw[13] & (wire.FIN | wire.RST):
            return self.drop("tcp-flags")
        segment = wire.read_segment(p.src, p.dst, raw, p.ecn)
        if segment is None:
            return self.drop("tcp-options")
        return self.segment(segment)

    def udp(self, p: wire.Packet) -> None:
        """RFC 768; RFC 8200 section 8.1 for the checksum that IPv6 demands."""
        raw = p.body
        if len(raw) < 8:
            return self.drop("udp-short")
        length = int.from_bytes(raw[4:6], "big")
        if not 8 <= length <= len(raw):
            return self.drop("udp-length")
        none = raw[6:8] == b"\0\0"
        wrong = checksum(wire.pseudo(p.src, p.dst, wire.UDP, length) + raw[:length]) != 0
        if (none and p.version == 6) or (not none and wrong):
            return self.drop("udp-checksum")
        self.counts["datagrams-in"] += 1
        return self.hand_up("udp", p.raw[: p.transport + length], p.transport, p.group)

    def send_udp(
        self, src: bytes, sport: int, dst: bytes, dport: int, payload: bytes, ttl: int, cause: int
    ) -> bool:  # fmt: skip
        if 8 + len(payload) > 65535 - (20 if len(dst) == 4 else 0):
            self.drop("udp-too-big")
            return False
        mac: bytes | None = b""
        if self.framed:
            if dst == b"\xff" * 4:
                mac = BROADCAST
            elif len(dst) == 4 and 224 <= dst[0] < 240:  # RFC 1112 section 6.4
                mac = b"\1\0\x5e" + bytes([dst[1] & 0x7F]) + dst[2:]
            elif len(dst) == 16 and dst[0] == 0xFF:  # RFC 2464 section 7
                mac = b"\x33\x33" + dst[12:]
            else:
                mac = self.resolve(dst)
                if mac is None:
                    return False
        self.counts["datagrams-out"] += 1
        datagram = wire.udp(src, dst, sport, dport, payload)
        return self.send_packet(mac, src, dst, wire.UDP, datagram, ttl, cause)
