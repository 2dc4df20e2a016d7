"""What careless proxies get wrong, each as a guest sees it: through the whole LAN, over both families."""

from __future__ import annotations

import random

import pytest

from aero_lab.lan import Policy
from aero_lab.limits import MS
from aero_lab.link import Link
from aero_lab.services.content import content_bytes
from aero_lab.wire import icmp, icmpv6, tcp, udp
from aero_lab.wire.address import ip
from aero_lab.wire.ethernet import TYPE_IPV4, TYPE_IPV6, Ethernet
from aero_lab.wire.icmp import Icmp
from aero_lab.wire.icmpv6 import Icmpv6
from aero_lab.wire.ipv4 import Ipv4
from aero_lab.wire.ipv6 import Ipv6
from aero_lab.wire.tcp import ACK, FIN, RST, SYN, Tcp

from .bench import ECHO, FILES, GATEWAY, GATEWAY6, GUEST, GUEST6, GUEST_MAC, SINK, SOURCE, VirtualBench
from .test_lan_virtual import GET, body

LAN_MAC = bytes.fromhex("020000000001")
ECHO6, FILES6, SINK6, SOURCE6 = (ip(f"2001:db8:113::{n}") for n in (11, 10, 12, 13))
FAMILIES = pytest.mark.parametrize("family", [4, 6])


def world(family: int, link: Link | None = None, **config) -> VirtualBench:
    return VirtualBench(link, gateway6=GATEWAY6, **config) if family == 6 else VirtualBench(link, **config)


def frame(payload: bytes, protocol: int, dst: bytes, ttl: int = 64) -> bytes:
    if len(dst) == 4:
        return Ethernet(LAN_MAC, GUEST_MAC, TYPE_IPV4, Ipv4(GUEST, dst, protocol, payload, ttl).emit()).emit()
    packet = Ipv6(GUEST6, dst, protocol, payload, hop_limit=ttl)
    return Ethernet(LAN_MAC, GUEST_MAC, TYPE_IPV6, packet.emit()).emit()


def send(b: VirtualBench, own: bytes, port: int, where, payload: bytes) -> None:
    """One datagram, as soon as the gateway's link address is known, and what follows from it."""
    while not b.guest.stack.udp_send(own, port, *where, payload, b.now):
        b.run_for(0.01)
    b.run_for(0.1)


def errors(b: VirtualBench) -> list:
    """What the guest was told by ICMP, neighbour discovery aside."""
    return [m for m in b.guest.icmp if m.type not in range(133, 138)]


class Raw:
    """A guest made of hand-written segments on one connection."""

    def __init__(self, b: VirtualBench, where, iss: int = 1000, port: int = 33000):
        self.b, self.where, self.iss, self.port = b, where, iss, port
        self.heard: list[Tcp] = []
        b.guest.wire = self._wire
        send(b, GUEST, 9, (GATEWAY, 99), b"")  # so that links are known

    def _wire(self, frames, way):
        kept = []
        for raw in frames:
            ours = raw[36:38] == self.port.to_bytes(2, "big") and raw[12:14] == b"\x08\x00" and raw[23:24] == b"\x06"
            if way == "up" or not ours:
                kept.append(raw)  # the guest's own stack knows nothing of this connection, and is not to say so
                continue
            packet = Ipv4.parse(raw[14:])
            self.heard.append(Tcp.parse(packet.payload, packet.src, packet.dst))
        return kept

    def send(self, seq: int, payload: bytes = b"", flags: int = ACK, ack: int | None = None, run: float = 0.01):
        number = self.peer if ack is None else ack
        segment = Tcp(self.port, self.where[1], (self.iss + seq) & 0xFFFFFFFF, number, flags, 64240, payload=payload)
        self.b.lan.rx.push(frame(segment.emit(GUEST, self.where[0]), tcp.PROTOCOL, self.where[0]))
        self.b.run_for(run)

    @property
    def peer(self) -> int:
        """What to acknowledge: everything heard in order."""
        syn = next(each for each in self.heard if each.flags & SYN)
        size = sum(len(each.payload) for each in {each.seq: each for each in self.heard}.values())
        return (syn.seq + 1 + size) & 0xFFFFFFFF

    def open(self):
        self.send(0, flags=SYN, ack=0)
        assert self.heard[0].flags == SYN | ACK
        self.send(1)

    def said(self) -> bytes:
        return b"".join(each.payload for _, each in sorted({each.seq: each for each in self.heard}.items()))


@FAMILIES
def test_a_download_at_full_speed_comes_in_frames_that_fit(family):
    b = world(family)
    sizes = []
    b.guest.wire = lambda frames, way: (sizes.extend(map(len, frames)), frames)[1]
    client = b.guest.open((FILES if family == 4 else FILES6, 80), GET % b"/bytes/1048576")
    assert b.run(lambda: client.ended)
    assert body(client.got) == content_bytes(1 << 20)
    assert max(sizes) == 1514


@FAMILIES
def test_what_a_server_says_first_waits_for_a_late_handshake(family):
    b = world(family, Link(rtt="10ms"))  # with a delay in it: an endless source at no distance fills one instant
    client = b.guest.open((SOURCE if family == 4 else SOURCE6, 19))
    assert b.run(lambda: client.conn.state == "SYN-SENT" and b.lan_rows() != [])
    b.guest.quiet = True  # the handshake's last segment does not come
    b.run_for(2)
    assert b.lan_rows()[0]["state"] == "open" and b.lan_rows()[0]["bytes_down"] == 0
    b.guest.quiet = False
    assert b.run(lambda: len(client.got) > 100_000, 30)
    assert bytes(client.got) == content_bytes(len(client.got)), "from the first byte on"
    client.conn.abort(b.now)


def test_the_answer_to_a_syn_offers_what_a_modern_tcp_offers():
    b = VirtualBench()
    segments = []

    def look(frames, way):
        for raw in frames:
            if raw[23:24] == b"\x06" and raw[12:14] == b"\x08\x00":
                segments.append((way, Tcp.parse(Ipv4.parse(raw[14:]).payload)))
        return frames

    b.guest.wire = look
    client = b.guest.open((ECHO, 7))
    assert b.run(lambda: client.established)
    answer = next(segment for way, segment in segments if way == "down")
    assert answer.flags == SYN | ACK
    options = answer.options
    assert (options.mss, options.sack_permitted, options.timestamps is not None) == (1460, True, True)
    assert options.wscale is not None and options.wscale > 0


@FAMILIES
@pytest.mark.parametrize("policy", ["early", "mirror"])
def test_loss_and_disorder_on_the_tunnel_lose_no_byte(family, policy):
    b = world(family, ack_policy=policy)
    rng = random.Random(7)

    def mistreat(frames, way):
        kept = [raw for raw in frames if rng.random() > 0.02]
        rng.shuffle(kept)
        return kept + kept[:1]

    data = content_bytes(300_000)
    b.guest.wire = mistreat
    client = b.guest.open((ECHO if family == 4 else ECHO6, 7), data, finish=True)
    assert b.run(lambda: client.reason is not None, 600)
    assert (client.reason, bytes(client.got)) == ("closed", data)
    assert b.lan_rows()[0]["reason"] == "closed"


def test_a_fin_beyond_a_gap_closes_nothing():
    b = VirtualBench()
    raw = Raw(b, (ECHO, 7))
    raw.open()
    raw.send(5, b"EFGH", ACK | FIN)
    assert b.lan_rows()[0]["state"] == "open" and b.lan_rows()[0]["bytes_up"] == 0
    raw.send(1, b"abcd", run=0.2)
    assert raw.said() == b"abcdEFGH"
    assert b.lan_rows()[0]["bytes_up"] == 8 and b.lan_rows()[0]["state"] in ("guest-finished", "ended")


def test_an_overlapping_retransmission_across_the_wrap_keeps_its_new_bytes():
    b = VirtualBench()
    raw = Raw(b, (ECHO, 7), iss=0xFFFFFFFF - 5)
    raw.open()
    raw.send(1, b"01234")
    raw.send(1, b"0123456789", run=0.1)  # the same five and five more; the fifth byte is number 2**32 - 1
    raw.send(11, b"abc", run=0.2)
    assert raw.said() == b"0123456789abc"


def test_a_half_close_leaves_the_other_half_open():
    b = VirtualBench(Link(rtt="20ms"))
    raw = Raw(b, (ECHO, 7))
    raw.send(0, flags=SYN, ack=0, run=0.1)
    raw.send(1, run=0.1)
    raw.send(1, b"last words", ACK | FIN, run=0.2)
    assert raw.said() == b"last words", "answered after the guest had finished"
    assert any(each.flags & FIN for each in raw.heard)


def test_a_segment_of_no_connection_is_reset():
    b = VirtualBench()
    raw = Raw(b, (ECHO, 7))
    raw.send(1, b"hello?", ack=77)
    assert [each.flags & RST for each in raw.heard] == [RST]


@FAMILIES
def test_datagrams_that_cannot_be_delivered_end_nothing_else(family):
    b = world(family, policy=Policy(allow_private=True))
    own, echo = (GUEST, ECHO) if family == 4 else (GUEST6, ECHO6)
    nowhere = ip("203.0.113.99") if family == 4 else ip("2001:db8:113::99")
    client = b.guest.open((echo, 7), content_bytes(200_000))
    for i in range(50):
        for where in ((echo, 1234), (nowhere, 53)):
            b.guest.stack.udp_send(own, 41000 + i, *where, b"anyone?", b.now)
        b.run_for(0.001)
    assert b.run(lambda: len(client.got) == 200_000)
    assert bytes(client.got) == content_bytes(200_000)
    types = {(m.type, m.code) for m in errors(b)}
    assert types == ({(3, 3), (3, 1)} if family == 4 else {(1, 4), (1, 3)})
    b.guest.stack.udp_send(own, 42000, echo, 7, b"still here", b.now)
    assert b.run(lambda: bool(b.guest.datagrams), 5)


@FAMILIES
@pytest.mark.parametrize("size", [0, 1, 1472, 1473, 9000, 65507])
def test_datagrams_of_any_size_both_ways(family, size):
    b = world(family)
    own, echo = (GUEST, ECHO) if family == 4 else (GUEST6, ECHO6)
    sizes = []
    b.guest.wire = lambda frames, way: (sizes.extend(map(len, frames)), frames)[1]
    payload = content_bytes(size)
    send(b, own, 41000, (echo, 7), b"first")
    assert len(b.guest.datagrams) == 1
    assert b.guest.stack.udp_send(own, 41000, echo, 7, payload, b.now)
    assert b.run(lambda: len(b.guest.datagrams) == 2, 5)
    assert b.guest.datagrams[1].payload == payload
    assert max(sizes) <= 1514
    row = b.lan_rows()[-1]
    assert (row["datagrams_up"], row["datagrams_down"]) == (2, 2)
    assert (row["bytes_up"], row["bytes_down"]) == (5 + size, 5 + size)


def test_pieces_of_a_datagram_are_no_datagrams():
    b = VirtualBench()
    send(b, GUEST, 41000, (ECHO, 7), b"")
    whole = Ipv4(GUEST, ECHO, udp.PROTOCOL, udp.Udp(41000, 7, bytes(3000)).emit(GUEST, ECHO), id=77)
    first, middle, last = whole.fragments(1500)
    before = b.lan_rows()[0]["datagrams_up"]
    for piece in (last, middle, middle):
        b.lan.rx.push(Ethernet(LAN_MAC, GUEST_MAC, TYPE_IPV4, piece.emit()).emit())
    b.run_for(0.1)
    assert b.lan_rows()[0]["datagrams_up"] == before and len(b.lan_rows()) == 1, "nothing was made of a piece"
    b.lan.rx.push(Ethernet(LAN_MAC, GUEST_MAC, TYPE_IPV4, first.emit()).emit())
    b.run_for(0.1)
    assert b.lan_rows()[0]["datagrams_up"] == before + 1
    assert b.guest.datagrams[-1].payload == bytes(3000)


@FAMILIES
@pytest.mark.parametrize("kind", ["tcp", "udp", "echo"])
def test_a_packet_that_has_no_hop_left_is_told_so(family, kind):
    """RFC 1812 section 5.3.1: the gateway is a router to whoever is behind it."""
    b = world(family)
    own, far, gateway = (GUEST, ECHO, GATEWAY) if family == 4 else (GUEST6, ECHO6, GATEWAY6)
    send(b, own, 41000, (far, 7), b"")
    message = Icmp(icmp.ECHO_REQUEST, 0, 7) if family == 4 else Icmpv6(icmpv6.ECHO_REQUEST, 0, 7)
    payload, protocol = {
        "tcp": (Tcp(41001, 7, 5, 0, SYN).emit(own, far), tcp.PROTOCOL),
        "udp": (udp.Udp(41002, 7, b"x").emit(own, far), udp.PROTOCOL),
        "echo": (message.emit() if family == 4 else message.emit(own, far), 1 if family == 4 else 58),
    }[kind]
    rows = len(b.lan_rows())
    b.lan.rx.push(frame(payload, protocol, far, ttl=1))
    b.run_for(0.1)
    assert len(b.lan_rows()) == rows, "it went no further"
    if kind == "tcp":  # the guest's stack knows of no such connection and keeps it to itself
        assert b.lan.counters["stack.icmp-out"] == 1
    else:
        (m,) = errors(b)
        assert (m.src, m.type, m.code) == (gateway, 11 if family == 4 else 3, 0)
    b.lan.rx.push(frame(payload, protocol, gateway, ttl=1))
    b.run_for(0.1)
    expired = b.lan.counters.get("stack.drop.ip-ttl", 0)
    assert expired == 1, "what is for the gateway itself needs no hop"


@FAMILIES
def test_forbidden_ports_and_addresses_are_answered_and_not_met_with_silence(family):
    b = world(family, policy=Policy(udp_ports=frozenset({7}), tcp_ports=frozenset({7})))
    own, echo, gateway = (GUEST, ECHO, GATEWAY) if family == 4 else (GUEST6, ECHO6, GATEWAY6)
    private = ip("192.168.1.1") if family == 4 else ip("fd99::1")
    prohibited = (3, 13) if family == 4 else (1, 1)
    send(b, own, 41000, (echo, 7), b"")
    for where in ((echo, 9), (private, 7)):
        b.guest.icmp.clear()
        b.guest.stack.udp_send(own, 41000, *where, b"x", b.now)
        b.run_for(0.1)
        (m,) = errors(b)
        assert (m.src, m.type, m.code) == (gateway, *prohibited)
        client = b.guest.open(where)
        assert b.run(lambda client=client: client.reason is not None, 5)
        assert client.reason == "refused"
    b.guest.icmp.clear()
    b.guest.stack.icmp_echo(own, private, 1, 1, b"", b.now)
    b.guest.stack.udp_send(own, 41000, gateway, 7, b"nothing of yours", b.now)
    b.run_for(0.1)
    assert {(m.src, m.type, m.code) for m in errors(b)} == {
        (gateway, *prohibited),
        (gateway, *((3, 3) if family == 4 else (1, 4))),
    }


def test_a_slow_world_slows_its_own_flow_and_no_other():
    from .test_lan_virtual import Stubborn

    b = VirtualBench(Link(rtt="5ms"))
    b.far._tcp[SINK, 9] = Stubborn()
    stuck = b.guest.open((SINK, 9), bytes(2_000_000))
    deaf = b.guest.open((SOURCE, 19), read=False)
    b.run_for(5)
    others = [b.guest.open((ECHO, 7), content_bytes(100_000), finish=True) for _ in range(10)]
    start = b.now
    assert b.run(lambda: all(each.reason for each in others), 30)
    assert all(bytes(each.got) == content_bytes(100_000) for each in others)
    assert b.now - start < 2_000 * MS
    assert stuck.reason is None and deaf.reason is None
