"""Bad frames, fragments, IP, UDP, ICMP and ARP, each a row: counted under a reason or answered as its RFC says.

Every row is played against a stack in gateway and in server role that has a healthy connection open; afterwards that
connection moves data both ways, and nothing grew beyond its bound. TCP has its own table in ``test_bad_input_tcp.py``.
"""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aero_lab.stack import Datagram

from .hostile import (
    ADDRESSES,
    BROADCAST_MAC,
    EVIL_MAC,
    ICMP,
    ICMP6,
    STACK_MAC,
    SYN,
    TCP,
    UDP,
    Answer,
    Rig,
    arp,
    eth,
    fragments,
    icmp,
    ip,
    ip4,
    ip6,
    packet,
    tcp,
    udp,
    v4,
    v6,
)

ROLES = ("gateway", "server")
A4, A6 = ADDRESSES["ipv4"], ADDRESSES["ipv6"]
SYN_SEGMENT = tcp(flags=SYN, dport=81)


@dataclass(frozen=True)
class Row:
    name: str
    frames: list[bytes]
    drop: str | None
    """Reason that must count these frames (each of them, unless ``counted`` says how many)."""
    answers: Callable[[list[Answer]], bool] = lambda answers: not answers
    counted: int | None = None


def kinds(*expected: tuple[int, int]) -> Callable[[list[Answer]], bool]:
    """The answers are ICMP messages of just these types and codes."""
    return lambda answers: [a.kind for a in answers] == list(expected)


def anything(answers: list[Answer]) -> bool:
    return True


def checked(message: bytes, protocol: int, **fields) -> bytes:
    return eth(packet(message, protocol, A4.evil, A4.own, **fields))


def checked6(message: bytes, protocol: int, **fields) -> bytes:
    return eth(packet(message, protocol, A6.evil, A6.own, **fields))


ECHO = icmp(8, 0, b"\0\1\0\1", b"payload")
ECHO6 = icmp(128, 0, b"\0\1\0\1", b"payload")
GOOD_UDP = packet(udp(b"x" * 24), UDP, A4.evil, A4.own)
GOOD_UDP6 = packet(udp(b"x" * 24), UDP, A6.evil, A6.own)
BIG = random.Random(5).randbytes(64)

FRAMES = [
    Row("shorter than a header", [STACK_MAC + EVIL_MAC[:n] for n in range(7)], "ethernet-short"),
    Row("one byte", [b"\2"], "ethernet-short"),
    Row("NC-SI", [eth(bytes(n), 0x88F8) for n in (0, 1, 16)], "ethernet-type"),
    Row("802.3 length", [eth(bytes(38), 38)], "ethernet-type"),
    Row("jumbled type", [eth(bytes(46), 0xFFFF)], "ethernet-type"),
    Row("type says IPv6, packet says 4", [eth(GOOD_UDP, 0x86DD)], "ipv6-version"),
    Row("type says IPv4, packet says 6", [eth(GOOD_UDP6, 0x0800)], "ipv4-version"),
    Row("VLAN tag cut off", [eth(b"", 0x8100), eth(b"\0\1", 0x8100), eth(b"\0\1\x08", 0x8100)], "ethernet-short"),
    Row("VLAN", [eth(b"\0\1\x08\0" + GOOD_UDP, 0x8100)], "vlan"),
]

ARP = [
    Row("cut off at every length", [eth(arp()[:n], 0x0806) for n in range(28)], "arp-short"),
    Row("hardware type", [eth(arp(htype=6), 0x0806)], "arp-format"),
    Row("protocol type", [eth(arp(ptype=0x86DD), 0x0806)], "arp-format"),
    Row("address lengths", [eth(arp(lengths=n), 0x0806) for n in (0, 0x0600, 0x0004, 0xFF04, 0x06FF)], "arp-format"),
]

IPV4 = [
    Row("cut off at every length", [eth(GOOD_UDP[:n], 0x0800) for n in range(20)], "ipv4-short"),
    Row("version 5", [eth(ip4(BIG, version=5), 0x0800)], "ipv4-version"),
    Row("header length below 5", [eth(ip4(BIG, words=n)) for n in range(5)], "ipv4-header-length"),
    Row("header beyond the total length", [eth(ip4(b"", words=15))], "ipv4-header-length"),
    Row("total length beyond the frame", [eth(ip4(BIG, total=n)) for n in (85, 1500, 65535)], "ipv4-total-length"),
    Row("total length below the header", [eth(ip4(BIG, total=n)) for n in (0, 19)], "ipv4-total-length"),
    Row("header checksum", [eth(ip4(BIG, bad_sum=n)) for n in (1, 0x8000, 0xFFFE)], "ipv4-checksum"),
    Row("source is a group", [eth(ip4(BIG, src=v4("224.0.0.1")))], "ipv4-source"),
    Row("source is broadcast", [eth(ip4(BIG, src=v4("255.255.255.255")))], "ipv4-source"),
    Row("source is loopback", [eth(ip4(BIG, src=v4("127.0.0.1")))], "ipv4-source"),
    Row("source is ourselves", [eth(packet(udp(BIG), UDP, A4.own, A4.own))], "ipv4-source"),
    Row("source is the subnet's broadcast", [eth(ip4(BIG, src=v4("10.0.2.255")))], "ipv4-source"),
    Row("source route", [eth(ip4(udp(b""), options=b"\x83\x07\x04\x08\x08\x08\x08\0")),
                         eth(ip4(udp(b""), options=b"\x89\x07\x04\x08\x08\x08\x08\0"))], "ipv4-source-route"),
    Row("option of length 0", [eth(ip4(BIG, options=b"\x44\0\0\0"))], None, anything),
    Row("option beyond the header", [eth(ip4(BIG, options=b"\x44\x28\x05\0"))], None, anything),
    Row("unknown protocol", [eth(ip4(BIG, protocol=253))], "ip-protocol", kinds((3, 2))),
]  # fmt: skip

IPV6 = [
    Row("cut off at every length", [eth(GOOD_UDP6[:n], 0x86DD) for n in range(40)], "ipv6-short"),
    Row("version 7", [eth(ip6(BIG, version=7), 0x86DD)], "ipv6-version"),
    Row("payload length beyond the frame", [eth(ip6(BIG, length=n)) for n in (65, 1500, 65535)], "ipv6-length"),
    Row("source is a group", [eth(packet(udp(BIG), UDP, v6(1, "ff02"), A6.own))], "ipv6-source"),
    Row("source is loopback", [eth(packet(udp(BIG), UDP, v6(1, "00"), A6.own))], "ipv6-source"),
    Row("source is ourselves", [eth(packet(udp(BIG), UDP, A6.own, A6.own))], "ipv6-source"),
    Row("extension header cut off", [eth(ip6(bytes([17, 5, 1, 4, 0, 0, 0, 0]), 0)), eth(ip6(b"\x11", 60)),
                                     eth(ip6(b"", 43))], "ipv6-extension"),
    Row("a hundred extension headers", [eth(ip6(bytes([60, 0, 1, 4, 0, 0, 0, 0]) * 100 + udp(), 60))],
        "ipv6-extension"),
    Row("unknown next header", [eth(ip6(BIG, 253))], "ip-protocol", kinds((4, 1))),
    Row("no next header", [eth(ip6(BIG, 59))], None),
    Row("jumbo payload length 0", [eth(ip6(bytes([6, 0, 0xC2, 4, 0, 1, 0, 0]) + BIG, 0, length=0))], None, anything),
]  # fmt: skip

UDP_ROWS = [
    Row("shorter than its header", [checked(udp()[:n], UDP) for n in range(8)], "udp-short"),
    Row("shorter than its header, IPv6", [checked6(udp()[:n], UDP) for n in range(8)], "udp-short"),
    Row("length beyond the packet", [checked(udp(BIG, length=n), UDP) for n in (73, 65535)], "udp-length"),
    Row("length beyond the packet, IPv6", [checked6(udp(BIG, length=n), UDP) for n in (73, 65535)], "udp-length"),
    Row("length below 8", [checked(udp(BIG, length=n), UDP) for n in range(8)], "udp-length"),
    Row("length below 8, IPv6", [checked6(udp(BIG, length=n), UDP) for n in range(1, 8)], "udp-length"),
    Row("checksum", [checked(udp(BIG), UDP, bad_sum=0x55)], "udp-checksum"),
    Row("checksum, IPv6", [checked6(udp(BIG), UDP, bad_sum=0x55)], "udp-checksum"),
    Row("no checksum, IPv6 (RFC 8200 8.1)", [eth(ip6(udp(BIG)))], "udp-checksum"),
]

ICMP_ROWS = [
    Row("shorter than its header", [checked(ECHO[:n], ICMP) for n in range(8)], "icmp-short"),
    Row("shorter than its header, IPv6", [checked6(ECHO6[:n], ICMP6) for n in range(8)], "icmp-short"),
    Row("echo longer than the frame", [eth(ip6(ECHO6, ICMP6, length=200))], "ipv6-length"),
    Row("checksum", [checked(ECHO, ICMP, bad_sum=1)], "icmp-checksum"),
    Row("checksum, IPv6", [checked6(ECHO6, ICMP6, bad_sum=1)], "icmp-checksum"),
    Row("echo to broadcast (smurf)", [eth(packet(ECHO, ICMP, A4.evil, v4("255.255.255.255")), dst=BROADCAST_MAC),
                                      eth(packet(ECHO, ICMP, A4.evil, v4("10.0.2.255")), dst=BROADCAST_MAC)], None),
    Row("error without a quote", [checked(icmp(3, 1), ICMP), checked(icmp(3, 4), ICMP), checked(icmp(11, 0), ICMP)],
        "icmp-quote"),
    Row("error without a quote, IPv6", [checked6(icmp(1, 0), ICMP6), checked6(icmp(2, 0, b"\0\0\5\0"), ICMP6)],
        "icmp-quote"),
    Row("error that quotes half a header", [checked(icmp(3, 4, b"\0\0\2\x40", GOOD_UDP[:n]), ICMP)
                                           for n in (1, 19, 27)],
        "icmp-quote"),
    Row("redirect", [checked(icmp(5, 1, A4.evil, packet(tcp(), TCP, A4.own, A4.guest)[:28]), ICMP)], None),
    Row("unknown type", [checked(icmp(99, 0, b"\0\0\0\0", BIG), ICMP)], None),
    Row("unknown informational type, IPv6", [checked6(icmp(200, 0, b"\0\0\0\0", BIG), ICMP6)], None),
    Row("echo reply nobody asked for", [checked(icmp(0, 0, b"\0\1\0\1", BIG), ICMP)], None),
    Row("neighbour solicitation from afar", [checked6(icmp(135, 0, b"\0\0\0\0", A6.own), ICMP6, hops=64)], "nd-format"),
    Row("neighbour solicitation cut off", [checked6(icmp(135, 0, b"\0\0\0\0", A6.own[:n]), ICMP6, hops=255)
                                           for n in range(16)], "nd-format"),
    Row("neighbour option of length 0", [checked6(icmp(135, 0, b"\0\0\0\0", A6.own + b"\1\0" + EVIL_MAC), ICMP6,
                                                  hops=255)],
        "nd-format"),
    Row("neighbour option beyond the packet", [checked6(icmp(135, 0, b"\0\0\0\0", A6.own + b"\1\7" + EVIL_MAC), ICMP6,
                                                        hops=255)], "nd-format"),
    Row("neighbour solicitation for a group", [checked6(icmp(135, 0, b"\0\0\0\0", v6(1, "ff02")), ICMP6, hops=255)],
        "nd-format"),
    Row("neighbour advertisement with a code", [checked6(icmp(136, 1, b"\x60\0\0\0", A6.evil), ICMP6, hops=255)],
        "nd-format"),
]  # fmt: skip

TABLES = {"frame": FRAMES, "arp": ARP, "ipv4": IPV4, "ipv6": IPV6, "udp": UDP_ROWS, "icmp": ICMP_ROWS}
ROWS = [pytest.param(row, id=f"{name}: {row.name}") for name, rows in TABLES.items() for row in rows]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("row", ROWS)
def test_bad_frames_are_counted_or_answered_and_nothing_else_suffers(role, row):
    rig = Rig(role)
    before = rig.drops()
    answers = rig.inject(*row.frames)
    counted = {k: n - before.get(k, 0) for k, n in rig.drops().items() if n != before.get(k, 0)}
    if row.drop is not None:
        assert counted.get(row.drop) == (len(row.frames) if row.counted is None else row.counted), counted
        assert not [e for e in rig.events if isinstance(e, Datagram)]
    assert row.answers(answers), answers
    rig.assert_healthy()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("size", [0, 1, 3, 7, 8, 100])
@pytest.mark.parametrize("port", [67, 69])
def test_short_bootp_and_tftp_are_only_datagrams(role, size, port):
    """libslirp read BOOTP and TFTP structures beyond the end of such datagrams; to the stack they are bytes."""
    rig = Rig(role)
    data = bytes(range(size))
    rig.inject(checked(udp(data, 4000, port), UDP))
    datagrams = [e for e in rig.events if isinstance(e, Datagram)]
    assert [(e.payload, e.dport, e.src) for e in datagrams] == [(data, port, A4.evil)] or (
        role == "server" and rig.answers[-1].kind == (3, 3)
    )
    rig.assert_healthy()


@pytest.mark.parametrize("role", ROLES)
def test_padding_behind_the_packet_is_not_payload(role):
    rig = Rig(role)
    rig.inject(eth(packet(udp(b"abc", 4000, 7), UDP, A4.evil, A4.own) + bytes(18)))
    rig.inject(eth(packet(udp(b"abc", 4000, 7), UDP, A6.evil, A6.own) + b"\xff" * 9))
    assert [e.payload for e in rig.events if isinstance(e, Datagram)] == [b"abc"] * 2


@pytest.mark.parametrize("family", ADDRESSES)
def test_a_gateway_is_the_last_router(family):
    """What has no hops left for a foreign address goes back (RFC 1812 section 5.3.1); for our own it has arrived."""
    rig, a = Rig("gateway"), ADDRESSES[family]
    fields = [{"ttl": n} if family == "ipv4" else {"hops": n} for n in (0, 1)]
    answers = rig.inject(*(eth(packet(udp(BIG), UDP, a.evil, a.world, **f)) for f in fields))
    assert [x.kind for x in answers] == [(11, 0) if family == "ipv4" else (3, 0)] * 2
    assert rig.drops()["ip-ttl"] == 2 and not rig.events
    assert rig.inject(*(eth(packet(udp(BIG), UDP, a.evil, a.own, **f)) for f in fields)) == []
    assert len(rig.events) == 2  # RFC 1122 section 3.2.1.7: a host does not discard for that
    rig.assert_healthy()


@pytest.mark.parametrize("role", ROLES)
def test_a_claim_to_our_own_address_does_not_move_us(role):
    """ARP and neighbour advertisements that say our own address is elsewhere change nothing."""
    rig = Rig(role)
    rig.inject(
        eth(arp(2, EVIL_MAC, A4.own, EVIL_MAC, A4.own), 0x0806, dst=BROADCAST_MAC),
        eth(arp(1, EVIL_MAC, A4.own, bytes(6), A4.guest), 0x0806, dst=BROADCAST_MAC),
        eth(packet(icmp(136, 0, b"\x20\0\0\0", A6.own + b"\2\1" + EVIL_MAC), ICMP6, A6.own, A6.guest, hops=255)),
    )
    assert A4.own not in rig.stack.neighbours() and A6.own not in rig.stack.neighbours()
    rig.assert_healthy()


@pytest.mark.parametrize("role", ROLES)
def test_a_group_address_is_nobodys_link_address(role):
    rig = Rig(role)
    rig.inject(eth(arp(1, b"\x01\0\x5e\0\0\1", A4.absent), 0x0806), eth(arp(1, BROADCAST_MAC, A4.absent), 0x0806))
    assert rig.stack.neighbours().get(A4.absent) not in (b"\x01\0\x5e\0\0\1", BROADCAST_MAC)
    rig.assert_healthy()


# Fragments ------------------------------------------------------------------------------------------------------------

DATA = random.Random(7).randbytes(192)
ALL = (0, 200, False)
FRAGMENT_ROWS = [
    ("oversized first", "fragment-too-long", [(0, 64, True), (65528, 65544, False)]),
    ("overlapping", "fragment-overlap", [(0, 64, True), (56, 200, False)]),
    ("overlapping from the left", "fragment-overlap", [(64, 200, False), (0, 72, True)]),
    ("duplicate last with another end", "fragment-end-conflict", [(64, 128, False), (128, 200, False), (0, 64, True)]),
    ("beyond the end", "fragment-end-conflict", [(0, 64, False), (64, 200, True)]),
    ("unaligned", "fragment-unaligned", [(0, 60, True), (64, 200, False)]),
    ("empty", "fragment-empty", [(0, 0, True), (64, 200, False)]),
    ("never completed", "fragment-timeout", [(0, 64, True), (128, 200, False)]),
    ("never begun", "fragment-timeout", [(64, 200, False)]),
]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("family", ADDRESSES)
@pytest.mark.parametrize("name, reason, edges", FRAGMENT_ROWS, ids=[r[0] for r in FRAGMENT_ROWS])
def test_bad_fragments_never_become_a_datagram(role, family, name, reason, edges):
    rig, a = Rig(role), ADDRESSES[family]
    message = packet(udp(DATA, 4000, 7), UDP, a.evil, a.own)[20 if family == "ipv4" else 40 :]
    # A fragment that starts with offset 0 and is the last is whole; the row "beyond the end" begins one unit later.
    shift = 8 if edges[0][:1] == (0,) and not edges[0][2] else 0
    long = message.ljust(65600, b"\0")
    edges = [(s + shift, e + shift, m) for s, e, m in edges]
    answers = rig.inject(*(eth(p) for p in fragments(long, edges, a.evil, a.own)))
    if name == "never completed" or name == "never begun":
        assert not answers and reason not in rig.drops()
        answers = rig.wait(120 * 10**9)
        expected = [((11, 1) if family == "ipv4" else (3, 1))] if edges[0][0] == 0 else []
        assert [x.kind for x in answers] == expected
    elif family == "ipv6" and name in ("unaligned", "oversized first"):
        assert [x.kind for x in answers] == [(4, 0)]
    else:
        assert not answers
    assert rig.drops()[reason] == 1
    assert not [e for e in rig.events if isinstance(e, Datagram)]
    # A good datagram, in pieces, still comes through.
    good = fragments(message, [(64, 200, False), (0, 64, True)], a.evil, a.own, ident=99)
    rig.inject(*(eth(p) for p in good))
    assert [e.payload for e in rig.events if isinstance(e, Datagram)] == [DATA]
    rig.assert_healthy()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("family", ADDRESSES)
def test_duplicate_last_is_harmless(role, family):
    rig, a = Rig(role), ADDRESSES[family]
    message = packet(udp(DATA, 4000, 7), UDP, a.evil, a.own)[20 if family == "ipv4" else 40 :]
    edges = [(64, 200, False), (64, 200, False), (0, 64, True), (64, 200, False)]
    rig.inject(*(eth(p) for p in fragments(message, edges, a.evil, a.own)))
    assert [e.payload for e in rig.events if isinstance(e, Datagram)] == [DATA]
    assert rig.drops()["fragment-duplicate"] == 1
    rig.assert_healthy()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("family", ADDRESSES)
def test_the_rest_of_a_datagram_that_was_given_up_is_not_taken_for_it(role, family):
    """libslirp once used a queue it had freed: pieces that come after the timeout begin a datagram of their own."""
    rig, a = Rig(role), ADDRESSES[family]
    message = packet(udp(DATA, 4000, 7), UDP, a.evil, a.own)[20 if family == "ipv4" else 40 :]
    first, last = fragments(message, [(0, 64, True), (64, 200, False)], a.evil, a.own)
    rig.inject(eth(first))
    rig.wait(61 * 10**9)
    rig.inject(eth(last))
    assert rig.drops()["fragment-timeout"] == 1 and not rig.events
    rig.inject(eth(first))
    assert [e.payload for e in rig.events if isinstance(e, Datagram)] == [DATA]
    rig.assert_healthy()


@pytest.mark.parametrize("role", ROLES)
def test_tcp_in_fragments_is_tcp(role):
    """A SYN to a closed port, cut inside its header, is answered as if it came whole."""
    rig = Rig(role)
    dst = rig.target("ipv4")
    rig.refuse.add(81)
    whole = packet(tcp(flags=SYN, dport=81, seq=5), TCP, A4.evil, dst)[20:]
    rig.inject(*(eth(p) for p in fragments(whole, [(16, 20, False), (0, 16, True)], A4.evil, dst, TCP)))
    if role == "server":
        assert [a.flags for a in rig.answers] == [0x14] and rig.answers[0].ack == 6
    else:
        assert [e.conn.local for e in rig.events] == [(dst, 81)]
    rig.assert_healthy()


@pytest.mark.parametrize("role", ROLES)
def test_a_flood_of_fragments_leaves_room_for_others(role):
    rig = Rig(role)
    pieces = [ip4(DATA, UDP, src=v4(f"10.0.2.{i % 100 + 100}"), frag=0x2000, ident=i) for i in range(2000)]
    rig.inject(*(eth(p) for p in pieces))
    drops = rig.drops()
    assert drops["fragment-evicted"] + drops.get("fragment-source-limit", 0) >= 1900
    rig.assert_healthy()


# Everything at once ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_memory_stays_where_it_was(role):
    """All rows twenty times over, at moving times, cost no memory that stays."""
    rig = Rig(role)
    every = [frame for rows in TABLES.values() for row in rows for frame in row.frames]

    def storm():
        rig.inject(*every)
        rig.wait(10**9)
        rig.answers.clear()
        rig.events.clear()

    storm()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(20):
        storm()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 256 << 10
    rig.assert_healthy()


MUTANTS = [eth(GOOD_UDP), eth(GOOD_UDP6), checked(ECHO, ICMP), checked6(ECHO6, ICMP6), eth(arp(), 0x0806)]
MUTANTS += [checked(tcp(b"data", flags=0x18, options=b"\2\4\5\xb4\1\3\3\7"), TCP), checked6(SYN_SEGMENT, TCP)]
MUTANTS += [eth(p) for p in fragments(DATA, [(0, 64, True)], A4.evil, A4.own)]
MUTANTS += [checked6(icmp(135, 0, b"\0\0\0\0", A6.own + b"\1\1" + EVIL_MAC), ICMP6, hops=255)]


@st.composite
def mutated(draw):
    frame = bytearray(draw(st.sampled_from(MUTANTS)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(frame) - 1))
        frame[at] = draw(st.integers(0, 255))
    return bytes(frame[: draw(st.integers(1, len(frame)))]) if draw(st.booleans()) else bytes(frame)


@settings(max_examples=80, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(ROLES), st.lists(mutated() | st.binary(min_size=1, max_size=80), max_size=40))
def test_mutated_frames_do_no_harm(role, frames):
    rig = Rig(role)
    rig.inject(*frames)
    rig.assert_healthy()


def test_what_goes_up_at_a_gateway_is_for_foreign_addresses_too():
    """The rows above are dropped because they are bad, not because they are foreign."""
    rig = Rig("gateway")
    rig.inject(eth(packet(udp(b"hello", 4000, 9), UDP, A4.evil, A4.world)))
    assert [(e.dst, e.payload) for e in rig.events if isinstance(e, Datagram)] == [(A4.world, b"hello")]


def test_builders_build_what_scapy_understands():
    """The frames that should be right are, by another's reckoning."""
    scapy = pytest.importorskip("scapy.all")
    for frame in (eth(GOOD_UDP), eth(GOOD_UDP6), checked(ECHO, ICMP), checked6(ECHO6, ICMP6), checked(tcp(b"x"), TCP)):
        again = scapy.Ether(frame)
        for layer in again.layers():
            if hasattr(again[layer], "chksum"):
                del again[layer].chksum
            if hasattr(again[layer], "cksum"):
                del again[layer].cksum
        assert bytes(again) == frame
    assert ip(b"", UDP, A4.evil, A4.own) == ip4(b"")
