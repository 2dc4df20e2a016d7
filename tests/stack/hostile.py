"""A stack under attack: a healthy guest and an attacker on one wire, and builders for frames that are wrong on purpose.

Builders fill every field rightly unless told otherwise, so that each test says only what is wrong with its frame.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from aero_lab.limits import MS, SECOND
from aero_lab.stack import Connection, Established, Stack, StackConfig, SynReceived, TcpConfig

from .naive import checksum

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
M32 = 0xFFFFFFFF

STACK_MAC, GUEST_MAC, EVIL_MAC = (bytes.fromhex("0200000000" + last) for last in ("01", "15", "66"))


def v4(text: str) -> bytes:
    return bytes(int(part) for part in text.split("."))


def v6(last: int, prefix: str = "fd00aee0") -> bytes:
    return bytes.fromhex(prefix).ljust(15, b"\0") + bytes([last])


@dataclass(frozen=True)
class Addresses:
    own: bytes
    guest: bytes
    evil: bytes
    world: bytes
    """Where a gateway's guests connect to; a server is addressed by ``own``."""
    absent: bytes


ADDRESSES = {
    "ipv4": Addresses(v4("10.0.2.2"), v4("10.0.2.15"), v4("10.0.2.66"), v4("203.0.113.7"), v4("10.0.2.99")),
    "ipv6": Addresses(v6(2), v6(0x15), v6(0x66), v6(7, "20010db8"), v6(0x99)),
}
BROADCAST_MAC = b"\xff" * 6


def eth(payload: bytes, kind: int | None = None, src: bytes = EVIL_MAC, dst: bytes = STACK_MAC) -> bytes:
    """A frame; the type follows from the IP version when not given."""
    if kind is None:
        kind = 0x86DD if payload[:1] and payload[0] >> 4 == 6 else 0x0800
    return dst + src + kind.to_bytes(2, "big") + payload


OWN4, EVIL4 = ADDRESSES["ipv4"].own, ADDRESSES["ipv4"].evil
OWN6, EVIL6 = ADDRESSES["ipv6"].own, ADDRESSES["ipv6"].evil


def arp(op=1, sha=EVIL_MAC, spa=EVIL4, tha=b"\0" * 6, tpa=OWN4, htype=1, ptype=0x0800, lengths=0x0604) -> bytes:
    head = b"".join(n.to_bytes(2, "big") for n in (htype, ptype, lengths, op))
    return head + sha + spa + tha + tpa


def ip4(
    payload, protocol=UDP, src=EVIL4, dst=OWN4, options=b"", version=4, words=None, total=None,
    frag=0, ttl=64, ident=1, tos=0, bad_sum=0,
) -> bytes:  # fmt: skip
    head = bytearray(20) + options
    head[0] = version << 4 | (len(head) // 4 if words is None else words)
    head[1] = tos
    head[2:4] = (len(head) + len(payload) if total is None else total).to_bytes(2, "big")
    head[4:6] = ident.to_bytes(2, "big")
    head[6:8] = frag.to_bytes(2, "big")
    head[8], head[9] = ttl, protocol
    head[12:20] = src + dst
    head[10:12] = (checksum(bytes(head)) ^ bad_sum).to_bytes(2, "big")
    return bytes(head) + payload


def ip6(payload, kind=UDP, src=EVIL6, dst=OWN6, length=None, version=6, hops=64) -> bytes:
    head = bytes([version << 4, 0, 0, 0]) + (len(payload) if length is None else length).to_bytes(2, "big")
    return head + bytes([kind, hops]) + src + dst + payload


def ip(payload: bytes, protocol: int, src: bytes, dst: bytes, **fields) -> bytes:
    if len(src) == 4:
        return ip4(payload, protocol, src, dst, **fields)
    return ip6(payload, protocol, src, dst, **fields)


def with_sum(message: bytes, at: int, protocol: int, src: bytes, dst: bytes, bad_sum: int = 0) -> bytes:
    """``message`` with the checksum at ``at`` filled over pseudo header and all."""
    pseudo = b"" if protocol == ICMP else src + dst + bytes([0, protocol]) + len(message).to_bytes(2, "big")
    value = checksum(pseudo + message) ^ bad_sum
    if protocol == UDP and value == 0:
        value = 0xFFFF
    return message[:at] + value.to_bytes(2, "big") + message[at + 2 :]


def udp(payload=b"", sport=4000, dport=9, length=None) -> bytes:
    size = 8 + len(payload) if length is None else length
    return b"".join(n.to_bytes(2, "big") for n in (sport, dport, size, 0)) + payload


def tcp(payload=b"", sport=4000, dport=80, seq=0, ack=0, flags=ACK, window=65535, urgent=0, options=b"", words=None):
    options += b"\0" * (-len(options) % 4)
    words = 5 + len(options) // 4 if words is None else words
    head = sport.to_bytes(2, "big") + dport.to_bytes(2, "big") + (seq & M32).to_bytes(4, "big")
    head += (ack & M32).to_bytes(4, "big") + bytes([words << 4, flags]) + window.to_bytes(2, "big")
    return head + b"\0\0" + urgent.to_bytes(2, "big") + options + payload


def icmp(kind, code, rest=b"\0\0\0\0", payload=b"") -> bytes:
    return bytes([kind, code, 0, 0]) + rest + payload


SUM_AT = {TCP: 16, UDP: 6, ICMP: 2, ICMP6: 2}


def packet(message: bytes, protocol: int, src: bytes, dst: bytes, bad_sum: int = 0, **fields) -> bytes:
    """An IP packet around a transport message whose checksum is filled in."""
    if len(message) >= SUM_AT[protocol] + 2:
        message = with_sum(message, SUM_AT[protocol], protocol, src, dst, bad_sum)
    return ip(message, protocol, src, dst, **fields)


def fragments(payload: bytes, edges, src, dst, protocol=UDP, ident=7) -> list[bytes]:
    """Pieces ``(start, end, more)`` of one datagram's payload, in the order given."""
    out = []
    for start, end, more in edges:
        if len(src) == 4:
            out.append(
                ip4(payload[start:end], protocol, src, dst, frag=start // 8 | (0x2000 if more else 0), ident=ident)
            )
        else:
            head = bytes([protocol, 0]) + (start | more).to_bytes(2, "big") + ident.to_bytes(4, "big")
            out.append(ip6(head + payload[start:end], 44, src, dst))
    return out


@dataclass
class Answer:
    """What the stack sent to the attacker, taken apart as far as the tests look."""

    frame: bytes
    family: str = ""
    protocol: int = 0
    src: bytes = b""
    dst: bytes = b""
    body: bytes = b""
    sport: int = 0
    dport: int = 0
    seq: int = 0
    ack: int = 0
    flags: int = 0
    window: int = 0
    data: bytes = b""
    kind: tuple[int, int] = (-1, -1)
    """ICMP type and code."""


def take_apart(frame: bytes) -> Answer:
    out = Answer(frame)
    kind, rest = frame[12:14], frame[14:]
    if kind == b"\x08\0":
        out.family, out.protocol, out.src, out.dst = "ipv4", rest[9], rest[12:16], rest[16:20]
        size = (rest[0] & 15) * 4
        assert checksum(rest[:size]) == 0
        out.body = rest[size : int.from_bytes(rest[2:4], "big")]
    elif kind == b"\x86\xdd":
        out.family, out.protocol, out.src, out.dst = "ipv6", rest[6], rest[8:24], rest[24:40]
        out.body = rest[40 : 40 + int.from_bytes(rest[4:6], "big")]
    else:
        out.family = "arp" if kind == b"\x08\x06" else kind.hex()
        out.body = rest
        return out
    body = out.body
    pseudo = (
        b"" if out.protocol == ICMP else out.src + out.dst + bytes([0, out.protocol]) + len(body).to_bytes(2, "big")
    )
    if out.protocol in SUM_AT:
        assert checksum(pseudo + body) == 0, "the stack sent a wrong checksum"
    if out.protocol in (TCP, UDP):
        out.sport, out.dport = int.from_bytes(body[:2], "big"), int.from_bytes(body[2:4], "big")
    if out.protocol == TCP:
        out.seq, out.ack = int.from_bytes(body[4:8], "big"), int.from_bytes(body[8:12], "big")
        out.flags, out.window, out.data = body[13], int.from_bytes(body[14:16], "big"), body[(body[12] >> 4) * 4 :]
    elif out.protocol in (ICMP, ICMP6):
        out.kind = (body[0], body[1])
    return out


@dataclass
class Rig:
    """A stack in one role with a healthy guest that has a connection open, and an attacker who injects frames."""

    role: str
    tcp: TcpConfig = TcpConfig(send_buffer=16 << 10)
    max_connections: int = 16
    now: int = 0

    def __post_init__(self):
        own = tuple((ADDRESSES[f].own, bits) for f, bits in (("ipv4", 24), ("ipv6", 64)))
        config = StackConfig(
            role=self.role, mac=STACK_MAC, addresses=own, tcp=self.tcp, max_connections=self.max_connections
        )
        self.stack = Stack(config, random.Random(1), self.now)
        if self.role != "gateway":
            self.stack.listen(80, self.now)
        guest = tuple((ADDRESSES[f].guest, bits) for f, bits in (("ipv4", 24), ("ipv6", 64)))
        self.guest = Stack(
            StackConfig(
                role="guest",
                mac=GUEST_MAC,
                addresses=guest,
                router4=ADDRESSES["ipv4"].own,
                router6=ADDRESSES["ipv6"].own,
            ),
            random.Random(2),
            self.now,
        )
        self.answers: list[Answer] = []
        self.events: list[object] = []
        self.refuse: set[int] = set()
        """Ports a gateway leaves pending."""
        self.accepted: dict[tuple[bytes, int], object] = {}
        self.near = self.guest.connect(self.target("ipv4"), 80, now=self.now)
        self.run()
        self.inject(eth(arp(), 0x0806, dst=BROADCAST_MAC))
        solicitation = icmp(135, 0, b"\0\0\0\0", OWN6 + b"\1\1" + EVIL_MAC)
        self.inject(eth(packet(solicitation, ICMP6, EVIL6, OWN6, hops=255)))
        self.answers.clear()
        self.far = self.accepted[self.near.local]
        assert self.near.state == "ESTABLISHED"
        self.events.clear()

    def target(self, family: str) -> bytes:
        """The address at which the stack serves TCP."""
        return ADDRESSES[family].world if self.role == "gateway" else ADDRESSES[family].own

    def run(self, turns: int = 50) -> None:
        """Let everything happen that is due now."""
        for _ in range(turns):
            self.guest.step(self.now)
            self.guest.tx.move_to(self.stack.rx)
            self.stack.step(self.now)
            for event in self.stack.events():
                self.events.append(event)
                if isinstance(event, SynReceived):
                    if event.conn.local[1] not in self.refuse:
                        event.conn.accept(self.now)
                elif isinstance(event, Established):
                    self.accepted[event.conn.remote] = event.conn
            self.guest.events()
            moved = self._deliver()
            if not moved and not len(self.stack.rx) and not len(self.guest.tx) and not len(self.stack.tx):
                if self.stack.poll_at(self.now) > self.now and self.guest.poll_at(self.now) > self.now:
                    return

    def _deliver(self) -> int:
        moved = 0
        for taken in self.stack.tx.pop_many(1 << 20):
            moved += 1
            frame = taken.data
            if frame[:6] == GUEST_MAC or frame[0] & 1:
                self.guest.rx.push(frame)
            if frame[:6] != GUEST_MAC:
                self._attacker(frame)
        return moved

    def _attacker(self, frame: bytes) -> None:
        """The attacker answers for its link address, and notes everything else."""
        evil4, evil6 = ADDRESSES["ipv4"].evil, ADDRESSES["ipv6"].evil
        answer = take_apart(frame)
        if answer.family == "arp" and answer.body[6:8] == b"\0\1" and answer.body[24:28] == evil4:
            reply = arp(2, EVIL_MAC, evil4, answer.body[8:14], answer.body[14:18])
            self.stack.rx.push(eth(reply, 0x0806))
        elif answer.protocol == ICMP6 and answer.kind[0] == 135 and answer.body[8:24] == evil6:
            advert = icmp(136, 0, b"\x60\0\0\0", evil6 + b"\2\1" + EVIL_MAC)
            self.stack.rx.push(eth(packet(advert, ICMP6, evil6, answer.src, hops=255)))
        elif not frame[0] & 1:
            self.answers.append(answer)

    def inject(self, *frames: bytes) -> list[Answer]:
        """Put frames into the stack, 512 at a time, and let it work; gives what the attacker got back."""
        before = len(self.answers)
        for at in range(0, len(frames), 512):
            for frame in frames[at : at + 512]:
                assert self.stack.rx.push(frame, self.now)
            self.run()
        return self.answers[before:]

    def wait(self, ns: int) -> list[Answer]:
        """Let time pass, from deadline to deadline."""
        before, until = len(self.answers), self.now + ns
        for _ in range(10_000):
            due = min(self.stack.poll_at(self.now), self.guest.poll_at(self.now))
            if due > until:
                break
            self.now = max(self.now, due)
            self.run()
        self.now = until
        self.run()
        return self.answers[before:]

    def assert_healthy(self) -> None:
        """The healthy connection moves bytes both ways, and nothing grew beyond its bound."""
        for writer, reader in ((self.near, self.far), (self.far, self.near)):
            data = random.Random(self.now).randbytes(5000)
            assert writer.write(data, self.now) == len(data)
            got = b""
            for _ in range(50):
                self.run()
                got += reader.read(1 << 16, self.now)
                if len(got) >= len(data):
                    break
                self.now += 50 * MS
            assert got == data
        assert len(self.stack.flows()) <= self.max_connections
        assert self.stack.tx.refused == 0

    def drops(self) -> dict[str, int]:
        return {reason: n for reason, n in self.stack.drops.items() if n}


class Client:
    """A TCP client of the attacker, driven by hand."""

    def __init__(self, rig: Rig, family: str = "ipv4", sport: int = 4000, options: bytes = b"", window: int = 65535):
        self.rig, self.family, self.sport, self.window = rig, family, sport, window
        self.options = b""
        self.src, self.dst = ADDRESSES[family].evil, rig.target(family)
        self.seq = 1000
        answers = self.send(flags=SYN, seq=self.seq, ack=0, options=options)
        self.syn_ack = next(a for a in answers if a.protocol == TCP and a.flags == SYN | ACK)
        assert self.syn_ack.ack == self.seq + 1
        self.seq += 1
        self.ack = (self.syn_ack.seq + 1) & M32
        if options[:4] == b"\1\1\x08\x0a":
            self.options = options  # timestamps, once agreed on, stand in every segment
        self.send()
        self.conn = rig.accepted[self.src, sport]
        assert self.conn.state == "ESTABLISHED"

    def frame(self, payload: bytes = b"", bad_sum: int = 0, **fields) -> bytes:
        usual = {"sport": self.sport, "seq": self.seq, "ack": getattr(self, "ack", 0), "window": self.window}
        fields = usual | {"options": self.options} | fields
        return eth(packet(tcp(payload, **fields), TCP, self.src, self.dst, bad_sum))

    def send(self, payload: bytes = b"", **fields) -> list[Answer]:
        """Inject one segment; gives the segments that came back for this connection."""
        got = self.rig.inject(self.frame(payload, **fields))
        return [a for a in got if a.protocol == TCP and a.dport == self.sport]

    def assert_alive(self) -> None:
        """The connection still takes data in order and acknowledges it."""
        data = b"still here"
        self.rig.inject(self.frame(data))
        self.seq += len(data)
        answers = self.rig.wait(SECOND)
        assert any(
            a.protocol == TCP and a.dport == self.sport and a.ack == self.seq & M32 for a in answers + self.rig.answers
        )
        got = b""
        while chunk := self.conn.read(65536, self.rig.now):
            got += chunk
        assert got.endswith(data)
        self.rig.run()


def drain(conn: Connection, now: int = 0) -> bytes:
    """All that can be read from a connection."""
    got = b""
    while chunk := conn.read(1 << 20, now):
        got += chunk
    return got
