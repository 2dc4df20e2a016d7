"""ICMP and ICMPv6: echo, errors both ways, neighbour messages, and packets that do not fit the MTU."""

from __future__ import annotations

from ..naive import Reassembly, checksum
from ..twins import unwrap
from . import wire
from .arrival import Arrival
from .connection import SYN_PENDING, SYN_SENT, Connection
from .neighbours import link_local
from .node import ARP, ICMP, SECOND

ERRORS = 100
"""Errors sent a second."""
ALL_NODES = bytes.fromhex("ff02") + bytes(13) + b"\1"
PROBLEMS = {
    # Why a fragment was dropped: code and pointer of the parameter problem (RFC 8200 section 4.5, RFC 7112)
    "fragment-unaligned": (0, lambda at: 4),
    "fragment-too-long": (0, lambda at: at + 2),
    "fragment-header-chain": (3, lambda at: 0),
}


class Icmp(Arrival):
    reassembly: Reassembly
    up_room: int

    def hand_up(self, kind: str, packet: bytes, transport: int, group: bool | None) -> None:
        if self.up_room <= len(self.up):
            return self.drop("up-full")
        self.up.append((kind, packet, transport, group))
        return None

    # Sending -----------------------------------------------------------------------------------------

    def send_packet(
        self, mac: bytes, src: bytes, dst: bytes, protocol: int, body: bytes, ttl: int, cause: int
    ) -> bool:  # fmt: skip
        """One packet, or fragments of the largest size that is a multiple of 8 (RFC 791 section 3.2, RFC 8200 section
        4.5)."""
        v4 = len(dst) == 4
        most = self.config.mtu - (20 if v4 else 40)
        if len(body) <= most:
            if not self.emit_ip(mac, src, dst, protocol, body, -1, cause, ttl=ttl):
                self.drop("tx-full")
                return False
            return True
        most = (most if v4 else most - 8) // 8 * 8
        first_id = self.ip_id
        for at in range(0, len(body), most):
            piece, more = body[at : at + most], at + most < len(body)
            if v4:
                self.ip_id = first_id if self.room > 0 else self.ip_id
                sent = self.emit_ip(mac, src, dst, protocol, piece, -1, cause, ttl=ttl, fragment=more << 13 | at // 8)
            else:
                header = bytes([protocol, 0]) + (at | more).to_bytes(2, "big") + self.FRAGMENT_IDENT
                sent = self.emit_ip(mac, src, dst, 44, header + piece, -1, cause, ttl=ttl)
            if not sent:
                self.drop("tx-full")
                return False
        return True

    FRAGMENT_IDENT = b"\xee\xee\xee\xee"
    """Stands for the number that a stack draws for the fragments of one packet."""

    def send_icmp(
        self, src: bytes, dst: bytes, kind: int, code: int, rest: int, body: bytes, cause: int = ICMP
    ) -> bool:  # fmt: skip
        v4 = len(dst) == 4
        mac: bytes | None = b""
        if self.framed:
            mac = b"\x33\x33" + dst[12:] if not v4 and dst[0] == 0xFF else self.resolve(dst)
            if mac is None:
                self.drop("neighbour-unresolved")
                return False
        self.counts["icmp-out"] += 1
        if 8 + len(body) > 65535 - 20 and 8 + len(body) + (20 if v4 else 40) > self.config.mtu:
            self.drop("udp-too-big")
            return False
        ttl = 255 if not v4 and kind >= 133 else self.config.ttl
        message = wire.icmp(src, dst, kind, code, rest, body)
        return self.send_packet(mac, src, dst, wire.ICMP if v4 else wire.ICMP6, message, ttl, cause)

    def send_error(self, p: wire.Packet, kind: int, code: int, rest: int) -> bool:
        """Where one is allowed (RFC 1122 section 3.2.2, RFC 4443 section 2.4 (e)), and not too often (RFC 1812)."""
        error = False
        if p.body[:1] and p.protocol == wire.ICMP and p.version == 4:
            error = p.body[0] not in (0, 8)
        elif p.body[:1] and p.protocol == wire.ICMP6 and p.version == 6:
            error = p.body[0] < 128
        if p.group or error or p.version == 4 and not self.own4:
            self.drop("icmp-quote")
            return False
        if self.now - self.errors_at >= SECOND:
            self.errors_at, self.errors = self.now, ERRORS
        if self.errors <= 0:
            self.drop("icmp-rate")
            return False
        self.errors -= 1
        src = p.dst
        if not p.own and p.version == 4:
            src = self.own4[0][0]
        elif not p.own and self.own6:
            scope = [a for a, _ in self.own6 if link_local(a) == link_local(p.src)]
            src = (scope or [self.own6[0][0]])[0]
        # The whole message stays within 576 (RFC 1812 section 4.3.2.3) and 1280 bytes (RFC 4443 section 2.4 (c)).
        quote = p.raw[: 576 - 28] if p.version == 4 else p.raw[: 1280 - 48]
        return self.send_icmp(src, p.src, kind, code, rest, quote)

    def parameter_problem(self, p: wire.Packet, reason: str) -> None:
        if reason in PROBLEMS:
            code, pointer = PROBLEMS[reason]
            at, kind = 40, p.raw[6]
            while kind != 44:
                kind, at = p.raw[at], at + 8 + 8 * p.raw[at + 1]
            self.send_error(p, 4, code, pointer(at))

    # Receiving ---------------------------------------------------------------------------------------

    def icmp(self, p: wire.Packet) -> None:
        raw, v4 = p.body, p.version == 4
        if len(raw) < 8:
            return self.drop("icmp-short")
        if checksum(raw if v4 else wire.pseudo(p.src, p.dst, wire.ICMP6, len(raw)) + raw) != 0:
            return self.drop("icmp-checksum")
        self.counts["icmp-in"] += 1
        kind = raw[0]
        if kind == (8 if v4 else 128) and p.own:
            if p.group:
                return self.drop("icmp-quote")  # RFC 1122 section 3.2.2.6 allows silence
            self.send_icmp(p.dst, p.src, 0 if v4 else 129, 0, int.from_bytes(raw[4:8], "big"), raw[8:])
            return None
        if not v4 and kind in (135, 136):
            if self.neighbour_message(p):
                return None
        elif kind in (3, 11, 12) if v4 else kind < 128:
            if self.error(p):
                return None
        return self.hand_up("icmp", p.raw, p.transport, None)

    def error(self, p: wire.Packet) -> bool:
        """An error about one of our packets; whether it is dealt with."""
        kind, code, quote = p.body[0], p.body[1], p.body[8:]
        rest = int.from_bytes(p.body[4:8], "big")
        if p.version == 4:
            header = (quote[0] & 15) * 4 if quote else 0
            if len(quote) < 28 or quote[0] >> 4 != 4 or header < 20 or len(quote) < header + 8:
                self.drop("icmp-quote")
                return True
            protocol, src, dst, inner = quote[9], quote[12:16], quote[16:20], quote[header:]
        else:
            if len(quote) < 48:
                self.drop("icmp-quote")
                return True
            protocol, src, dst, inner = quote[6], quote[8:24], quote[24:40], quote[40:]
        if protocol != wire.TCP:
            return False
        sport, dport = int.from_bytes(inner[:2], "big"), int.from_bytes(inner[2:4], "big")
        c = self.find((src, sport), (dst, dport))
        seq = unwrap(int.from_bytes(inner[4:8], "big"), c.snd_una) if c else 0
        if c is None or c.state == SYN_PENDING or not c.snd_una <= seq <= c.snd_nxt:  # RFC 5927 section 4
            self.drop("icmp-quote")
            return True
        if p.version == 4 and (kind, code) == (3, 4):
            length = int.from_bytes(quote[2:4], "big")
            self.lower_path_mtu(c, rest & 0xFFFF or length // 2)
        elif p.version == 6 and kind == 2:
            self.lower_path_mtu(c, rest)
        elif kind == (3 if p.version == 4 else 1) and c.state == SYN_SENT:
            self.close(c, "unreachable")  # RFC 5461: ends attempts, never connections
        return True

    def lower_path_mtu(self, c: Connection, mtu: int) -> None:
        """RFC 1191, RFC 8201: smaller segments, and what was too big goes again."""
        mtu = max(mtu, 552 if c.family == 4 else 1280)
        if mtu >= c.pmtu:
            return
        c.pmtu = mtu
        for p in c.pieces:
            if p.size > c.mss + 1 and not p.sacked:
                p.lost = True
        self.want_output(c)

    # Neighbour discovery -----------------------------------------------------------------------------

    def neighbour_message(self, p: wire.Packet) -> bool:
        """RFC 4861 section 7; whether nobody else needs to hear of it."""
        raw = p.body
        target, options = raw[8:24], raw[24:]
        if len(raw) < 24 or p.ttl != 255 or raw[1] != 0 or target[0] == 0xFF:
            self.drop("nd-format")
            return True
        solicits = raw[0] == 135
        mac = None
        while len(options) >= 8:
            size = 8 * options[1]
            if size == 0 or size > len(options):
                self.drop("nd-format")
                return True
            if options[0] == (1 if solicits else 2):
                mac = options[2:8]
            options = options[size:]
        ours = target in [a for a, _ in self.own6]
        if not solicits:
            if not ours and mac is not None:
                self.learn(target, mac)
            return False
        if not ours:
            return False
        if p.src == bytes(16):  # duplicate address detection: told to everybody
            to, link, flags = ALL_NODES, b"\x33\x33\0\0\0\1", 0x20000000
        else:
            if mac is not None:
                self.learn(p.src, mac)
            to, flags = p.src, 0x60000000
            found = self.resolve(to) if self.framed else b""
            if found is None:
                return True
            link = found
        if self.gateway:
            flags |= 0x80000000
        message = wire.icmp(target, to, 136, 0, flags, target + b"\2\1" + self.config.mac)
        if self.emit_ip(link, target, to, wire.ICMP6, message, -1, ARP, ttl=255):
            self.counts["arp-out"] += 1
        else:
            self.drop("tx-full")
        return True
