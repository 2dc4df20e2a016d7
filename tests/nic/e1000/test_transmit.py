"""Descriptors of every kind, and what goes onto the wire for them."""

from __future__ import annotations

import shutil
import struct
import subprocess

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

from aero_lab.nic.e1000.state import HELD
from aero_lab.nic.e1000.transmit import FRAME_LONGEST, TURNS

from .rig import (
    BROADCAST,
    DEXT,
    EOP,
    IC,
    IDE,
    MAC,
    PEER,
    RS,
    SLOT,
    TSE,
    TX_BUFFERS,
    TX_RING,
    VLE,
    Rig,
    frame,
)

PAYLOAD = bytes((i * 31 + (i >> 8)) & 0xFF for i in range(70_000))


def sender() -> Rig:
    rig = Rig()
    rig.tx_ring()
    return rig


def test_frames_go_out_and_their_descriptors_are_done():
    rig = sender()
    frames = [frame(14 + 97 * i, BROADCAST, MAC, seed=i) for i in range(12)]
    for data in frames:
        rig.send(data)
    assert rig.sent() == frames
    assert rig.read("TDH") == 12 and all(rig.tx_done(i) for i in range(12)) and not rig.tx_done(12)
    assert rig.cause() == 3  # TXDW, TXQE
    assert rig.cause() == 0


def test_frames_are_numbered_when_somebody_wants_it():
    rig = sender()
    rig.send(frame(60))
    rig.nic.state.identity = 7
    rig.send(frame(60))
    rig.send(frame(60))
    assert [f.frame_id for f in rig.nic.tx.pop_many()] == [0, 7, 9]


def test_the_ring_wraps():
    rig = sender()
    for i in range(40):
        rig.send(frame(64, seed=i))
        assert rig.sent() == [frame(64, seed=i)] and rig.read("TDH") == (i + 1) % 16


def test_a_packet_in_pieces():
    rig = sender()
    data = frame(600)
    rig.put(TX_BUFFERS, data)
    rig.legacy(0, TX_BUFFERS, 1, 0)
    rig.legacy(1, TX_BUFFERS, 0, RS)
    rig.legacy(2, TX_BUFFERS + 1, 13, 0)
    rig.legacy(3, TX_BUFFERS + 14, 586, EOP)
    rig.write("TDT", 4)
    assert rig.sent() == [data] and all(rig.tx_done(i) for i in range(4))
    assert rig.cause() == 3


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_packet_whose_end_comes_later(cut):
    """Hardware fetches what there is; the driver may use those buffers again at once."""
    rig = sender()
    data = frame(900)
    for i in range(4):
        rig.put(TX_BUFFERS + i * SLOT, data[225 * i : 225 * i + 225])
        rig.data(i, TX_BUFFERS + i * SLOT, 225, EOP if i == 3 else 0)
    rig.write("TDT", cut)
    assert rig.sent() == [] and rig.read("TDH") == cut and rig.tx_done(cut - 1)
    for i in range(cut):
        rig.put(TX_BUFFERS + i * SLOT, bytes(225))
    rig.write("TDT", 4)
    assert rig.sent() == [data]
    rig.send(frame(70, seed=3))
    assert rig.sent() == [frame(70, seed=3)]


def test_sizes_that_no_frame_has():
    rig = sender()
    rig.send(bytes(13))
    rig.send(frame(14))
    rig.send(b"")
    big = frame(FRAME_LONGEST)
    for n, size in enumerate((FRAME_LONGEST, FRAME_LONGEST + 1)):
        rig.put(0x90000, big + b"x")
        rig.data(3 + n, 0x90000, size)
        rig.write("TDT", 4 + n)
    assert [len(f) for f in rig.sent()] == [14, FRAME_LONGEST]
    counters = rig.nic.counters
    assert counters["tx_too_short"] == 1 and counters["tx_too_long"] == 1 and counters["tx_frames"] == 2


def test_a_full_ring_holds_the_driver_back():
    """Nothing is lost, and nothing is sent twice."""
    rig = sender()
    rig.nic.tx.clear()
    room = rig.nic.tx.slots
    rig.tx_ring(1024)
    for i in range(room + 10):
        rig.put(TX_BUFFERS + 64 * i, frame(64, seed=i))
        rig.legacy(i, TX_BUFFERS + 64 * i, 64)
    rig.write("TDT", room + 10)
    assert rig.nic.port.tx_wait and rig.read("TDH") == room
    first = [f.data for f in rig.nic.tx.pop_many(4)]
    rig.poll()
    assert rig.nic.port.tx_wait and rig.read("TDH") == room + 4
    rest = rig.sent()
    rig.poll()
    assert not rig.nic.port.tx_wait
    assert first + rest + rig.sent() == [frame(64, seed=i) for i in range(room + 10)]
    assert rig.nic.tx.refused == 0 and rig.nic.port.moved == room + 10


def test_nothing_moves_without_leave():
    rig = sender()
    data = frame(64)
    rig.write("TCTL", 0)
    rig.send(data)
    assert rig.sent() == []
    rig.write("TCTL", 2)
    assert rig.sent() == [data]
    rig.nic.port.master = 0
    rig.send(data)
    assert rig.sent() == [] and rig.read("TDH") == 1
    rig.nic.port.master = 1
    rig.poll()
    assert rig.sent() == [data]


def test_legacy_checksum():
    rig = sender()
    packet = Ether(dst=PEER, src=MAC) / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2) / Raw(PAYLOAD[:101])
    good = bytes(packet)
    broken = good[:24] + b"\0\0" + good[26:]
    rig.put(TX_BUFFERS, broken[:34])
    rig.put(TX_BUFFERS + SLOT, broken[34:])
    # The sum runs to the end of the packet, so take a packet that ends with its IP header for it.
    rig.legacy(0, TX_BUFFERS, 34, EOP | IC, cso=24, css=14)
    rig.write("TDT", 1)
    assert rig.sent() == [good[:34]]
    rig.legacy(1, TX_BUFFERS, 34, EOP | IC, cso=33, css=14)
    rig.write("TDT", 2)
    assert rig.sent() == [broken[:34]] and rig.nic.counters["tx_bad_checksums"] == 1


def offload(rig, packet, l3, l4, at, tcp, cut=(), popts=3, index=0):
    """Send a packet with its checksums left to the card: TCP's or UDP's field holds the pseudo header's sum."""
    raw = bytearray(bytes(packet))
    pseudo = raw_pseudo(packet, len(raw) - l4)
    raw[at : at + 2] = pseudo.to_bytes(2, "big")
    if packet.haslayer(IP):
        raw[l3 + 10 : l3 + 12] = b"\0\0"
    rig.context(index, (l3, l3 + 10, l4 - 1), (l4, at, 0), command=1 if tcp else 0)
    rig.put(TX_BUFFERS, bytes(raw))
    at = 0
    bounds = [*cut, len(raw)]
    for n, end in enumerate(bounds):
        rig.data(index + 1 + n, TX_BUFFERS + at, end - at, EOP | RS if end == len(raw) else 0, popts if n == 0 else 0)
        at = end
    rig.write("TDT", index + 1 + len(bounds))


def raw_pseudo(packet, length, protocol=None):
    """The pseudo header's sum, folded, as drivers leave it."""
    import ipaddress

    ip = packet[IP] if packet.haslayer(IP) else packet[IPv6]
    number = protocol or (6 if packet.haslayer(TCP) else 17)
    words = ipaddress.ip_address(ip.src).packed + ipaddress.ip_address(ip.dst).packed
    total = sum(int.from_bytes(words[i : i + 2], "big") for i in range(0, len(words), 2)) + number + length
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


V4 = IP(src="10.0.0.1", dst="10.0.0.2", id=77)
V6 = IPv6(src="fd00::1", dst="fd00::2")


@pytest.mark.parametrize("tcp", [True, False])
@pytest.mark.parametrize("cut", [(), (54,), (1, 14, 60)])
def test_checksums_over_ipv4(tcp, cut):
    rig = sender()
    packet = Ether(dst=PEER, src=MAC) / V4 / (TCP(sport=1, dport=2) if tcp else UDP(sport=1, dport=2)) / PAYLOAD[:333]
    offload(rig, packet, 14, 34, 50 if tcp else 40, tcp, cut)
    assert rig.sent() == [bytes(packet)]


def test_checksums_over_ipv6():
    rig = sender()
    packet = Ether(dst=PEER, src=MAC) / V6 / UDP(sport=1, dport=2) / PAYLOAD[:332]
    offload(rig, packet, 14, 54, 60, False, popts=2)
    assert rig.sent() == [bytes(packet)]


def test_a_udp_checksum_of_zero_is_sent_as_ones():
    rig = sender()
    packet = Ether(dst=PEER, src=MAC) / V4 / UDP(sport=1, dport=2) / b"\0\0"
    value = int.from_bytes(bytes(packet)[40:42], "big")
    packet = Ether(dst=PEER, src=MAC) / V4 / UDP(sport=1, dport=2) / value.to_bytes(2, "big")
    assert bytes(packet)[40:42] == b"\xff\xff"
    offload(rig, packet, 14, 34, 40, False)
    assert rig.sent() == [bytes(packet)]


def test_a_checksum_outside_its_packet_is_left_out():
    rig = sender()
    data = frame(60)
    rig.context(0, (14, 61, 33), (61, 50, 0))
    rig.put(TX_BUFFERS, data)
    rig.data(1, TX_BUFFERS, 60, popts=3)
    rig.write("TDT", 2)
    assert rig.sent() == [data] and rig.nic.counters["tx_bad_checksums"] == 2


def segment_packet(v6: bool, size: int, vlan: bool = False, mss: int = 1400, **tcp):
    """A packet to be segmented, its headers' sizes, and the segments as scapy makes them."""
    flags = tcp.get("flags", "PA")
    ip = V6 if v6 else V4

    def make(seq, part, flags, index):
        inner = ip.copy()
        if not v6:
            inner.id = 77 + index
        tag = Dot1Q(vlan=5) if vlan else None
        ether = Ether(dst=PEER, src=MAC) / tag if vlan else Ether(dst=PEER, src=MAC)
        options = [("Timestamp", (1, 2)), ("NOP", None), ("NOP", None)]
        return bytes(ether / inner / TCP(sport=9, dport=80, seq=seq, ack=5, flags=flags, options=options) / part)

    data = PAYLOAD[:size]
    parts = [data[i : i + mss] for i in range(0, size, mss)]
    base = 0xFFFFF000
    whole = bytearray(make(base, b"", flags, 0)) + data
    l4 = 54 if v6 else 34
    pseudo = raw_pseudo(Ether(make(base, b"", flags, 0)), 0, 6)
    whole[l4 + 16 : l4 + 18] = pseudo.to_bytes(2, "big")
    if not v6:
        whole[16:18] = whole[24:26] = b"\0\0"
    out = []
    for i, part in enumerate(parts):
        keep = flags if i == len(parts) - 1 else flags.replace("P", "").replace("F", "")
        out.append(make((base + i * mss) & 0xFFFFFFFF, part, keep if i == 0 else keep.replace("C", ""), i))
    return bytes(whole), l4, l4 + 32, out


def give_segmented(rig, whole, l4, header, mss, v6, index=0, chunk=4000, special=0, command=0):
    rig.put(TX_BUFFERS, whole)
    rig.context(
        index, (14, 24, 33), (l4, l4 + 16, 0), max(len(whole) - header, 0), TSE | 1 | (0 if v6 else 2), header, mss
    )  # fmt: skip
    index += 1
    header = min(header, len(whole))
    cuts = sorted({0, header, *range(header + chunk, len(whole), chunk), len(whole)})
    for a, b in zip(cuts, cuts[1:], strict=False):
        last = EOP | RS if b == len(whole) else 0
        rig.data(index, TX_BUFFERS + a, b - a, TSE | last | command, 3 if a == 0 else 0, special)
        index += 1
    return index


@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("size", [1, 1400, 1401, 30_000, 64_000])
def test_segmentation(v6, size):
    rig = sender()
    rig.tx_ring(64)
    whole, l4, header, expected = segment_packet(v6, size, flags="FPA")
    rig.write("TDT", give_segmented(rig, whole, l4, header, 1400, v6))
    assert rig.sent() == expected
    counters = rig.nic.counters
    assert counters["tx_segmented"] == 1 and counters["tx_frames"] == len(expected)
    assert rig.read("TSCTC") == 1 and rig.read("TSCTFC") == 0


def test_segmentation_whose_end_comes_later_and_with_a_tag():
    rig = sender()
    rig.write("CTRL", rig.read("CTRL") | 1 << 30)
    rig.tx_ring(64)
    whole, l4, header, expected = segment_packet(False, 20_000)
    end = give_segmented(rig, whole, l4, header, 1400, False, special=0x6005, command=VLE)
    rig.write("TDT", end - 2)
    assert rig.sent() == []
    rig.write("TDT", end)
    tagged = [f[:12] + bytes.fromhex("81006005") + f[12:] for f in expected]
    assert rig.sent() == tagged


def test_segments_wait_for_room_one_by_one():
    rig = Rig()
    rig.tx_ring(64)
    while rig.nic.tx.push(bytes(60)):
        pass
    rig.nic.tx.pop_many(3)
    whole, l4, header, expected = segment_packet(False, 10 * 1400)
    rig.write("TDT", give_segmented(rig, whole, l4, header, 1400, False))
    assert rig.read("TDH") == 1 and rig.nic.port.tx_wait  # the context is done, the packet is not
    got = [f for f in rig.sent() if len(f) != 60]
    assert got == expected[:3]
    rig.poll()
    assert rig.sent() == expected[3:] and not rig.nic.port.tx_wait


@pytest.mark.parametrize(
    "change",
    [
        {"mss": 0},
        {"header": 0},
        {"header": 33},
        {"header": 255, "size": 100},
        {"l4": 20},
        {"mss": 1, "size": 400},
        {"mss": FRAME_LONGEST},
    ],
)
def test_segmentation_that_cannot_be_done_is_dropped_and_counted(change):
    rig = sender()
    rig.tx_ring(64)
    whole, l4, header, _ = segment_packet(False, change.get("size", 20_000))
    end = give_segmented(rig, whole, change.get("l4", l4), change.get("header", header), change.get("mss", 1400), False)
    rig.write("TDT", end)
    assert rig.sent() == [] and rig.nic.counters["tx_bad_segmentation"] == 1
    assert rig.read("TDH") == end and rig.tx_done(end - 1) and rig.read("TSCTFC") == 1
    rig.send(frame(80))
    assert rig.sent() == [frame(80)]


def test_two_contexts_do_not_disturb_each_other():
    """A context with TSE leaves the one for checksums alone (SDM 3.3.6)."""
    rig = sender()
    rig.tx_ring(64)
    udp = Ether(dst=PEER, src=MAC) / V4 / UDP(sport=1, dport=2) / PAYLOAD[:64]
    offload(rig, udp, 14, 34, 40, False)
    whole, l4, header, expected = segment_packet(False, 3000)
    at = give_segmented(rig, whole, l4, header, 1400, False, index=2)
    rig.write("TDT", at)
    raw = bytearray(bytes(udp))
    raw[40:42] = raw_pseudo(udp, len(raw) - 34).to_bytes(2, "big")
    raw[24:26] = b"\0\0"
    rig.put(TX_BUFFERS, bytes(raw))
    rig.data(at, TX_BUFFERS, len(raw), popts=3)
    rig.write("TDT", at + 1)
    assert rig.sent() == [bytes(udp), *expected, bytes(udp)]


def test_a_tag_is_put_in_when_the_card_is_told_to():
    rig = sender()
    data = frame(60, BROADCAST)
    rig.send(data, EOP | VLE, special=0x2064)
    assert rig.sent() == [data]
    rig.write("CTRL", rig.read("CTRL") | 1 << 30)
    rig.send(data, EOP | VLE, special=0x2064)
    rig.write("VET", 0x88A8)
    rig.send(data, EOP | VLE, special=0x2064)
    expected = [data[:12] + tpid + bytes.fromhex("2064") + data[12:] for tpid in (b"\x81\x00", b"\x88\xa8")]
    assert rig.sent() == expected


def test_the_delay_timers_hold_the_interrupt_back():
    rig = sender()
    rig.write("IMS", 1)
    rig.write("TIDV", 10)
    rig.write("TADV", 15)
    rig.send(frame(60), EOP | RS | IDE)
    assert not rig.pin and rig.due == 10 * 1024
    rig.poll(9 * 1024)
    rig.send(frame(60), EOP | RS | IDE)  # the first timer starts again, the absolute one does not
    assert rig.due == 15 * 1024
    rig.poll(15 * 1024 - 1)
    assert not rig.pin
    rig.poll(15 * 1024)
    assert rig.pin and rig.cause() & 1 and not rig.pin
    rig.send(frame(60), EOP | RS | IDE)
    rig.send(frame(60), EOP | RS)  # one that does not want to wait ends it for all
    assert rig.pin and rig.cause() & 1 and rig.due > 1 << 60


def test_few_descriptors_left_is_a_cause():
    rig = sender()
    rig.write("TXDCTL", 1 << 25)  # eight
    assert rig.cause() == 0
    rig.send(frame(60))
    assert rig.cause() & 1 << 15


@pytest.mark.parametrize("index", range(4))
def test_descriptor_types_have_two_numbers(index):
    """0 and 2 are contexts, 1 and 3 data; anything else is skipped and counted."""
    rig = sender()
    data = frame(60)
    rig.put(TX_BUFFERS, data)
    rig.data(0, TX_BUFFERS, 60, kind=(1, 3, 4, 15)[index])
    rig.write("TDT", 1)
    assert rig.sent() == ([data] if index < 2 else []) and rig.tx_done(0)
    assert rig.nic.counters["tx_bad_descriptors"] == (0 if index < 2 else 1)
    rig.context(1, (14, 24, 33), (34, 50, 0), kind=2)
    rig.write("TDT", 2)
    assert rig.sent() == [] and rig.tx_done(1) and rig.nic.state.ctx_tucso == 50


@pytest.mark.parametrize("where", ["phy", "mac"])
def test_loopback(where):
    """What is sent comes back, and nothing goes out; a driver tests its card so."""
    rig = sender()
    rig.rx_ring(control=0x8002 | 1 << 26 | (0x40 if where == "mac" else 0))
    if where == "phy":
        rig.write("MDIC", 1 << 26 | 1 << 21 | 0x4140)
    rig.cause()
    for i in range(17):
        rig.send(frame(60, BROADCAST, MAC, seed=i))
    assert rig.sent() == []
    assert [rig.received(i) for i in range(15)] == [frame(60, BROADCAST, MAC, seed=i) for i in range(15)]
    assert rig.nic.counters["loopbacks"] == 17 and rig.read("MPC") == 2 and rig.cause() & 0xC1 == 0xC1
    rig.write("RCTL", 0x40)
    rig.send(frame(60))
    assert rig.sent() == [] and rig.read("TPR") == 15


# Bad input -----------------------------------------------------------------------------------------------------------
def test_packets_without_an_end():
    """A driver that turns its ring round and round without EOP: bounded, dropped, counted; then all is well again."""
    rig = sender()
    for turn in range(2000):
        for i in range(4):
            rig.legacy((4 * turn + i) % 16, TX_BUFFERS, 0xFFFF, 0)
        rig.write("TDT", (4 * turn + 4) % 16)
    assert rig.sent() == [] and rig.nic.counters["tx_overlong_packets"] == 1 and rig.nic.state.tx_held <= HELD
    rig.send(frame(60))
    assert rig.sent() == []  # the end of the endless one
    rig.send(frame(61))
    assert rig.sent() == [frame(61)]


def test_head_equal_to_tail_is_an_empty_ring():
    rig = sender()
    for i in range(16):
        rig.legacy(i, TX_BUFFERS, 60)
    rig.write("TDT", 0)
    rig.poll()
    assert rig.sent() == [] and not any(rig.tx_done(i) for i in range(16))


@pytest.mark.parametrize("head, tail, length", [(0, 16, 256), (16, 3, 256), (0, 0xFFFF, 256), (0, 3, 0), (20, 16, 256)])
def test_a_tail_or_head_outside_the_ring_moves_nothing(head, tail, length):
    rig = sender()
    for i in range(40):
        rig.legacy(i, TX_BUFFERS, 60)
    rig.write("TDLEN", length)
    rig.write("TDH", head)
    rig.write("TDT", tail)
    rig.poll()
    assert rig.sent() == [] and rig.read("TDH") == head and rig.nic.counters["bad_rings"] == 2
    rig.tx_ring()
    rig.send(frame(60))
    assert rig.sent() == [frame(60)]


def test_zero_length_descriptors_carry_nothing():
    rig = sender()
    for i in range(10):
        rig.legacy(i, TX_BUFFERS, 0, (EOP if i & 1 else 0) | RS)
    rig.write("TDT", 10)
    assert rig.sent() == [] and all(rig.tx_done(i) for i in range(10)) and rig.nic.counters["tx_too_short"] == 0


@pytest.mark.parametrize("address", [1 << 30, 0xE0000000, 1 << 62, 1 << 63, (1 << 64) - 1, -1 & 0xFFFFFFFFFFFFFFFF])
def test_buffers_beyond_memory_read_as_ones(address):
    rig = sender()
    rig.legacy(0, address, 60)
    rig.write("TDT", 1)
    assert rig.sent() == [b"\xff" * 60] and rig.nic.port.bad_dma
    rig.legacy(1, len(rig.ram) - 20, 60)  # the edge of memory
    rig.ram[-20:] = 7
    rig.write("TDT", 2)
    assert rig.sent() == [b"\x07" * 20 + b"\xff" * 40]
    rig.legacy(2, len(rig.ram) - 20, 60, 0)  # and what is held
    rig.write("TDT", 3)
    rig.legacy(3, len(rig.ram) - 20, 0, EOP)
    rig.write("TDT", 4)
    assert rig.sent() == [b"\x07" * 20 + b"\xff" * 40]


@pytest.mark.parametrize("low, high", [(0xFFFFFFF0, 0), (0, 1), (0, 0x80000000), (0xFFFFFFF0, 0xFFFFFFFF)])
def test_a_ring_beyond_memory_is_all_ones(low, high):
    rig = sender()
    before = bytes(rig.ram)
    rig.write("TDBAL", low)
    rig.write("TDBAH", high)
    rig.write("TDT", 5)
    assert rig.sent() == [] and rig.read("TDH") == 5 and bytes(rig.ram) == before
    assert rig.nic.counters["tx_bad_descriptors"] == 5


def test_a_ring_of_the_largest_size_is_taken_in_turns():
    rig = Rig(ram=4 << 20)
    rig.tx_ring()
    rig.write("TDBAL", 1 << 20)
    rig.write("TDLEN", 0xFFF80)
    n = 0xFFF80 >> 4
    rig.write("TDT", n - 1)
    turns = 1
    while rig.read("TDH") != n - 1:
        before = rig.read("TDH")
        rig.poll()
        assert 0 < rig.read("TDH") - before <= TURNS
        turns += 1
    assert turns == -(-(n - 1) // TURNS) and rig.sent() == []


def test_the_ring_as_its_own_buffer():
    """Descriptors that point at themselves: a cycle is no more than bytes."""
    rig = sender()
    for i in range(15):
        rig.legacy(i, TX_RING + 16 * i, 64)
    before = rig.get(TX_RING, 17 * 16)
    rig.write("TDT", 15)
    assert len(rig.sent()) == 15 and rig.read("TDH") == 15
    assert before != rig.get(TX_RING, 17 * 16)  # done bits


def test_resetting_the_ring_forgets_a_packet_under_way():
    rig = sender()
    rig.put(TX_BUFFERS, frame(60))
    rig.legacy(0, TX_BUFFERS, 40, 0)
    rig.write("TDT", 1)
    rig.tx_ring()
    rig.legacy(0, TX_BUFFERS, 60)
    rig.write("TDT", 1)
    assert rig.sent() == [frame(60)]


def test_extended_bit_is_what_makes_a_descriptor_extended():
    rig = sender()
    rig.put(TX_BUFFERS, frame(60))
    rig.legacy(0, TX_BUFFERS, 60, EOP | DEXT)  # length and type come from the same bytes
    rig.write("TDT", 1)
    assert rig.nic.state.ctx_command == EOP | DEXT and rig.sent() == []


@pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")
def test_tshark_finds_every_checksum_right(tmp_path):
    """Segments over both families, tagged and not, and datagrams whose checksums the card put in."""
    rig = sender()
    rig.write("CTRL", rig.read("CTRL") | 1 << 30)
    rig.tx_ring(128)
    for turn, v6 in enumerate((False, True, False, True)):
        whole, l4, header, _ = segment_packet(v6, 20_000 + turn)
        end = give_segmented(
            rig, whole, l4, header, 1400, v6, index=20 * turn, special=5, command=VLE if turn > 1 else 0
        )
        rig.write("TDT", end)
        for i in range(end, 20 * turn + 20):  # fillers up to the next packet's place
            rig.legacy(i, TX_BUFFERS, 0)
        rig.write("TDT", 20 * turn + 20)
    udp = Ether(dst=PEER, src=MAC) / V4 / UDP(sport=1, dport=2) / PAYLOAD[:555]
    offload(rig, udp, 14, 34, 40, False, index=80)
    frames = rig.sent()
    assert len(frames) == 61
    path = tmp_path / "sent.pcap"
    head = struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    path.write_bytes(head + b"".join(struct.pack("<IIII", 0, 0, len(f), len(f)) + f for f in frames))
    command = ["tshark", "-r", str(path), "-T", "fields", "-E", "occurrence=f"]
    for option in ("ip.check_checksum", "tcp.check_checksum", "udp.check_checksum"):
        command += ["-o", f"{option}:TRUE"]
    for field in ("ip.checksum.status", "tcp.checksum.status", "udp.checksum.status", "vlan.id"):
        command += ["-e", field]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    v4, v6 = ["1", "1", "", ""], ["", "1", "", ""]
    tagged = [[*row[:3], "5"] for row in (v4, v6)]
    assert rows == [v4] * 15 + [v6] * 15 + [tagged[0]] * 15 + [tagged[1]] * 15 + [["1", "", "1", ""]]
