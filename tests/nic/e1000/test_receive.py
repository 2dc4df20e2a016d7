"""Which frames come in, where they are stored, and what their descriptors say."""

from __future__ import annotations

import struct

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

from aero_lab.nic.e1000.receive import FRAME_LONG

from .rig import BROADCAST, MAC, PEER, RX_BUFFERS, RX_RING, SLOT, Rig, frame

EN, SBP, UPE, MPE, LPE, BAM, VFE, CFIEN, CFI, BSEX, SECRC = (
    2, 4, 8, 0x10, 0x20, 1 << 15, 1 << 18, 1 << 19, 1 << 20, 1 << 25, 1 << 26,
)  # fmt: skip
RXT0, RXDMT0, RXO, SRPD = 0x80, 0x10, 0x40, 1 << 16
DD, EOP, IXSM, VP, TCPCS, IPCS, PIF = 1, 2, 4, 8, 0x20, 0x40, 0x80


def receiver() -> Rig:
    rig = Rig()
    rig.rx_ring()
    return rig


def test_frames_come_in():
    rig = receiver()
    frames = [frame(14 + 101 * i, MAC if i & 1 else BROADCAST, seed=i) for i in range(15)]
    rig.arrive(*frames)
    assert [rig.received(i) for i in range(15)] == frames and rig.read("RDH") == 15
    assert rig.cause() == RXT0 | RXDMT0 and len(rig.nic.rx) == 0
    assert rig.nic.counters["rx_frames"] == 15 and rig.nic.port.moved == 15


def test_the_frame_check_sequence_is_there_unless_it_is_stripped():
    rig = receiver()
    rig.write("RCTL", EN | BAM)
    rig.arrive(frame(60))
    length, _, status, _, _ = rig.rx(0)
    assert length == 64 and status & 3 == 3 and rig.get(RX_BUFFERS, 60) == frame(60)


def test_the_ring_wraps_and_frames_wait_for_buffers():
    rig = receiver()
    frames = [frame(80, seed=i) for i in range(40)]
    rig.arrive(*frames)
    assert rig.read("RDH") == 15 and len(rig.nic.rx) == 25 and rig.nic.port.rx_wait and rig.read("RNBC") == 25
    assert [rig.received(i) for i in range(15)] == frames[:15]
    rig.poll()
    assert rig.read("RNBC") == 0  # each is counted once
    rig.write("RDT", 9)
    assert [rig.received(i % 16) for i in range(15, 25)] == frames[15:25] and rig.read("RDH") == 9
    rig.write("RDT", 8)
    rig.poll()
    assert rig.nic.rx.given == 40 and len(rig.nic.rx) == 0 and rig.read("RDH") == 8


def test_what_the_ring_refused_was_missed():
    rig = receiver()
    while rig.nic.rx.push(frame(1500)):
        pass
    rig.nic.rx.push(frame(1500))
    rig.poll()
    assert rig.cause() & RXO and rig.read("MPC") == 2
    rig.poll()
    assert rig.read("MPC") == 0


@pytest.mark.parametrize("bits, size", [(0, 2048), (1, 1024), (2, 512), (3, 256)])
def test_a_frame_over_several_buffers(bits, size):
    rig = receiver()
    control = EN | BAM | LPE | bits << 16
    rig.rx_ring(control=control)
    for i in range(16):
        rig.put(RX_RING + 16 * i, struct.pack("<QQ", RX_BUFFERS + i * SLOT, 0))
    data = frame(1518) if size < 2048 else frame(5000)
    rig.arrive(data)
    got, i = b"", 0
    while True:
        length, _, status, _, _ = rig.rx(i)
        assert status & DD and length <= size
        got += rig.get(RX_BUFFERS + i * SLOT, length)
        i += 1
        if status & EOP:
            break
        assert length == size
    assert got[:-4] == data and len(got) == len(data) + 4 and rig.read("RDH") == i == -(-len(got) // size)


@pytest.mark.parametrize("bits, size", [(1, 16384), (2, 8192), (3, 4096)])
def test_large_buffers(bits, size):
    rig = Rig()
    rig.rx_ring(control=EN | BAM | LPE | BSEX | SECRC | bits << 16)
    rig.put(RX_RING, struct.pack("<QQQQ", 0x90000, 0, 0xA0000, 0))
    data = frame(size + 1 if size < 16384 else FRAME_LONG)
    rig.arrive(data)
    if size == 16384:
        assert rig.rx(0)[0] == FRAME_LONG and rig.get(0x90000, FRAME_LONG) == data
    else:
        assert rig.rx(0)[0] == size and rig.rx(1)[0] == 1 and rig.rx(0)[2] & EOP == 0 and rig.rx(1)[2] & EOP
        assert rig.get(0x90000, size) == data[:-1]


def test_a_frame_waits_until_there_are_buffers_for_all_of_it():
    rig = receiver()
    rig.rx_ring(control=EN | LPE | 3 << 16 | SECRC, given=3)
    rig.arrive(frame(1000), frame(100, seed=1))
    assert rig.read("RDH") == 0 and not rig.rx(0)[2]
    rig.write("RDT", 4)
    assert rig.read("RDH") == 4 and [rig.rx(i)[0] for i in range(4)] == [256, 256, 256, 232]
    rig.write("RDT", 5)
    assert rig.received(4) == frame(100, seed=1)


def test_a_frame_for_which_no_ring_is_large_enough_is_missed():
    rig = receiver()
    rig.write("RDLEN", 128)
    rig.write("RDT", 7)
    rig.write("RCTL", EN | LPE | 3 << 16 | SECRC)
    rig.arrive(frame(2000), frame(100, seed=1))
    assert rig.received(0) == frame(100, seed=1) and rig.nic.counters["rx_no_fit"] == 1 and rig.cause() & RXO


def test_sizes_that_do_not_come_in():
    rig = receiver()
    rig.arrive(frame(13), frame(1523), frame(1522), frame(14))
    assert [len(rig.received(i)) for i in range(2)] == [1522, 14] and rig.read("RDH") == 2
    assert rig.read("RUC") == 1 and rig.read("ROC") == 1
    rig.write("RCTL", EN | BAM | LPE | BSEX | 1 << 16)
    rig.arrive(frame(FRAME_LONG + 1))
    assert rig.read("ROC") == 1 and rig.read("RDH") == 2


def test_off_or_unplugged_nothing_comes_in():
    rig = receiver()
    rig.write("RCTL", BAM)
    rig.arrive(frame(60))
    assert rig.nic.counters["rx_disabled"] == 1 and len(rig.nic.rx) == 0
    rig.write("RCTL", EN | BAM)
    rig.nic.access(3, value=0)
    rig.arrive(frame(60))
    assert rig.nic.counters["rx_link_down"] == 1 and rig.read("RDH") == 0
    rig.nic.port.master = 0
    rig.arrive(frame(60))
    assert len(rig.nic.rx) == 1


# Filters -------------------------------------------------------------------------------------------------------------
GROUP = bytes.fromhex("01005e0000fb")
OTHER = bytes.fromhex("525400111111")


def passed(rig, dst, control, src=PEER):
    """Whether a frame passes, and its PIF."""
    rig.write("RCTL", control | EN | SECRC)
    at = rig.read("RDH")
    rig.write("RDT", (at + 8) % 16)
    rig.arrive(frame(60, dst, src))
    return None if rig.read("RDH") == at else bool(rig.rx(at)[2] & PIF)


@pytest.mark.parametrize(
    "dst, control, expected",
    [
        (MAC, 0, False),
        (OTHER, 0, None),
        (OTHER, MPE | BAM, None),
        (OTHER, UPE, True),
        (MAC, UPE, False),
        (BROADCAST, 0, None),
        (BROADCAST, UPE, None),
        (BROADCAST, BAM, False),
        (BROADCAST, MPE, True),
        (GROUP, UPE | BAM, None),
        (GROUP, MPE, True),
    ],
)
def test_promiscuity(dst, control, expected):
    rig = receiver()
    assert passed(rig, dst, control) is expected
    assert rig.nic.counters["rx_filtered"] == (expected is None)


@pytest.mark.parametrize("entry", range(16))
def test_sixteen_receive_addresses(entry):
    rig = receiver()
    low, high = struct.unpack("<IH", OTHER)
    rig.write(0x5400 + 8 * entry, low)
    rig.write(0x5404 + 8 * entry, high)
    assert passed(rig, OTHER, 0) is None
    rig.write(0x5404 + 8 * entry, high | 1 << 31)
    assert passed(rig, OTHER, 0) is False
    rig.write(0x5404 + 8 * entry, high | 1 << 31 | 1 << 16)  # compared with the source
    assert passed(rig, OTHER, 0) is None
    assert passed(rig, GROUP, 0, OTHER) is False


@pytest.mark.parametrize("offset", range(4))
@pytest.mark.parametrize("group", [GROUP, bytes.fromhex("333300000001"), bytes.fromhex("0180c2fedcba"), BROADCAST])
def test_multicast_table(offset, group):
    """The vector is bits 47:36, 46:35, 45:34 or 43:32 of the address (SDM 13.5.1), the last byte highest."""
    rig = receiver()
    number = int.from_bytes(group, "little")
    vector = number >> (36, 35, 34, 32)[offset] & 0xFFF
    assert passed(rig, group, offset << 12) is None
    rig.write(0x5200 + 4 * (vector >> 5), 1 << (vector & 31))
    assert passed(rig, group, offset << 12) is True
    rig.write(0x5200 + 4 * (vector >> 5), 0xFFFFFFFF ^ 1 << (vector & 31))
    assert passed(rig, group, offset << 12) is None


def tagged(tci, size=64):
    data = frame(size)
    return data[:12] + b"\x81\x00" + tci.to_bytes(2, "big") + data[12:]


def test_vlan_tags_are_stripped_when_asked_for():
    rig = receiver()
    data = frame(64)
    rig.arrive(tagged(0xA123), data)
    rig.write("CTRL", rig.read("CTRL") | 1 << 30)
    rig.arrive(tagged(0xA123), data, tagged(5, 14), tagged(5, 13))
    assert rig.received(0) == tagged(0xA123) and rig.rx(0)[2] & VP == 0 and rig.rx(0)[4] == 0
    assert rig.received(2) == data and rig.rx(2)[2] & VP and rig.rx(2)[4] == 0xA123
    assert rig.received(3) == data and not rig.rx(3)[2] & VP
    assert rig.received(4) == frame(14) and rig.received(5) == tagged(5, 13)
    rig.write("VET", 0x88A8)
    rig.arrive(tagged(0xA123))
    assert rig.received(6) == tagged(0xA123)


def test_vlan_tags_are_stripped_from_frames_of_many_buffers():
    rig = receiver()
    rig.write("CTRL", rig.read("CTRL") | 1 << 30)
    rig.rx_ring(control=EN | LPE | 3 << 16)
    rig.arrive(tagged(7, 1000))
    got = b"".join(rig.get(RX_BUFFERS + i * SLOT, rig.rx(i)[0]) for i in range(4))
    assert got[:-4] == frame(1000) and rig.rx(3)[4] == 7 and rig.rx(3)[2] & (VP | EOP) == VP | EOP


def test_vlan_filter():
    rig = receiver()
    rig.write(0x5600 + 4 * (291 >> 5), 1 << (291 & 31))
    rig.write("RCTL", EN | SECRC | VFE)
    rig.arrive(tagged(291), tagged(292), tagged(0x1000 | 291), frame(60))
    assert rig.read("RDH") == 3 and rig.nic.counters["rx_vlan_filtered"] == 1
    rig.write("RCTL", EN | SECRC | VFE | CFIEN)
    rig.arrive(tagged(291), tagged(0x1000 | 291))
    assert rig.read("RDH") == 4
    rig.write("RCTL", EN | SECRC | VFE | CFIEN | CFI)
    rig.arrive(tagged(291), tagged(0x1000 | 291))
    assert rig.read("RDH") == 5 and rig.nic.counters["rx_vlan_filtered"] == 3


# Checksums -----------------------------------------------------------------------------------------------------------
ETHER = Ether(dst=MAC, src=PEER)
V4, V6 = IP(src="10.0.0.1", dst="10.0.0.2"), IPv6(src="fd00::1", dst="fd00::2")
ODD = Raw(bytes(range(101)))


def with_byte(packet, at, change=1):
    data = bytearray(bytes(packet))
    data[at] ^= change
    return bytes(data)


GOOD = IPCS | TCPCS
CHECKS = {
    "tcp": (ETHER / V4 / TCP() / ODD, GOOD, 0),
    "udp": (ETHER / V4 / UDP() / ODD, GOOD, 0),
    "udp without": (ETHER / V4 / UDP(chksum=0) / ODD, IPCS, 0),
    "icmp": (ETHER / V4 / ICMP() / ODD, IPCS, 0),
    "fragment": (ETHER / IP(flags="MF", frag=0) / UDP() / ODD, IPCS, 0),
    "later fragment": (ETHER / IP(frag=3) / ODD, IPCS, 0),
    "options": (ETHER / IP(src="10.0.0.1", dst="10.0.0.2", options=b"\x01" * 4) / TCP() / ODD, GOOD, 0),
    "bad ip": (with_byte(ETHER / V4 / TCP() / ODD, 22), IPCS, 0x40),
    "bad tcp": (with_byte(ETHER / V4 / TCP() / ODD, 60), GOOD, 0x20),
    "bad udp": (with_byte(ETHER / V4 / UDP() / ODD, 60), GOOD, 0x20),
    "padded": (bytes(ETHER / V4 / TCP()) + b"pad", GOOD, 0),
    "tagged": (ETHER / Dot1Q(vlan=3) / V4 / TCP() / ODD, GOOD, 0),
    "six": (ETHER / V6 / TCP() / ODD, TCPCS, 0),
    "six udp": (ETHER / V6 / UDP() / ODD, TCPCS, 0),
    "bad six": (with_byte(ETHER / V6 / TCP() / ODD, 70), TCPCS, 0x20),
    "six other": (ETHER / IPv6(nh=59), IXSM, 0),
    "arp": (ETHER / ARP(), IXSM, 0),
    "cut short": (bytes(ETHER / V4 / TCP() / ODD)[:100], IXSM, 0),
    "short header": (with_byte(ETHER / V4 / TCP() / ODD, 14, 1), IXSM, 0),
    "six cut short": (bytes(ETHER / V6 / TCP() / ODD)[:100], IXSM, 0),
    "tiny tcp": (ETHER / IP(proto=6) / Raw(b"123"), IPCS, 0),
    "tiny udp": (ETHER / IP(proto=17) / Raw(b"123"), IPCS, 0),
    "no ip": (ETHER.copy() / Raw(b""), IXSM, 0),
}


@pytest.mark.parametrize("name", CHECKS)
def test_checksums_are_looked_at(name):
    rig = receiver()
    packet, status, errors = CHECKS[name]
    rig.write("RXCSUM", 0x700)
    rig.arrive(bytes(packet))
    got = rig.rx(0)
    assert (got[2] & (GOOD | IXSM), got[3]) == (status, errors)


def test_checksums_as_far_as_they_are_wanted():
    rig = receiver()
    four, six = bytes(ETHER / V4 / TCP() / ODD), bytes(ETHER / V6 / TCP() / ODD)
    seen = []
    for wanted in (0, 0x100, 0x200, 0x300, 0x400, 0x600):
        rig.write("RXCSUM", wanted)
        at = rig.read("RDH")
        rig.arrive(four, six)
        seen.append(tuple(rig.rx((at + i) % 16)[2] & (GOOD | IXSM) for i in range(2)))
    assert seen == [(IXSM, IXSM), (IPCS, IXSM), (TCPCS, IXSM), (GOOD, IXSM), (IXSM, IXSM), (TCPCS, TCPCS)]


@pytest.mark.parametrize("start", [0, 14, 33, 200])
def test_the_packet_checksum_is_a_plain_sum(start):
    rig = receiver()
    data = frame(151)
    rig.write("RXCSUM", start)
    rig.arrive(data)
    part = data[start:] + b"\0" * (len(data[start:]) & 1)
    total = sum(int.from_bytes(part[i : i + 2], "big") for i in range(0, len(part), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert rig.rx(0)[1] == total


# Interrupts ----------------------------------------------------------------------------------------------------------
def test_delay_timers():
    rig = receiver()
    rig.write("IMS", RXT0)
    rig.write("RDTR", 100)
    rig.write("RADV", 150)
    rig.arrive(frame(60))
    assert not rig.pin and rig.due == 100 * 1024
    rig.now = 90 * 1024
    rig.arrive(frame(60))
    assert rig.due == 150 * 1024
    rig.poll(150 * 1024 - 1)
    assert not rig.pin
    rig.poll(150 * 1024)
    assert rig.pin and rig.cause() & RXT0 and not rig.pin and rig.due > 1 << 60
    rig.arrive(frame(60))
    rig.write("RDTR", 100 | 1 << 31)
    assert rig.pin and rig.read("RDTR") == 100
    rig.cause()
    rig.write("RDTR", 0)
    rig.arrive(frame(60))
    assert rig.pin


def test_small_frames_are_a_cause_of_their_own():
    rig = receiver()
    rig.write("RSRPD", 80)
    rig.arrive(frame(81))
    assert not rig.cause() & SRPD
    rig.arrive(frame(80))
    assert rig.cause() & SRPD


@pytest.mark.parametrize("code, at", [(0, 8), (1, 4), (2, 2)])
def test_few_buffers_left_is_a_cause(code, at):
    rig = receiver()
    rig.write("RCTL", EN | BAM | code << 8)
    for i in range(15):
        rig.arrive(frame(60))
        assert bool(rig.cause() & RXDMT0) == (15 - i - 1 == at)


# Bad input -----------------------------------------------------------------------------------------------------------
def test_null_descriptors_are_skipped():
    rig = receiver()
    for i in (0, 1, 3):
        rig.put(RX_RING + 16 * i, bytes(16))
    rig.arrive(frame(60), frame(61))
    assert rig.received(2) == frame(60) and rig.received(4) == frame(61) and rig.read("RDH") == 5
    assert [rig.rx(i) for i in (0, 1, 3)] == [(0, 0, DD, 0, 0)] * 3


def test_a_ring_of_nothing_but_null_descriptors():
    rig = receiver()
    rig.put(RX_RING, bytes(256))
    rig.arrive(frame(60))
    assert rig.read("RDH") == 15 and len(rig.nic.rx) == 1
    rig.write("RDT", 14)
    rig.poll()
    assert rig.read("RDH") == 14 and len(rig.nic.rx) == 1


def test_null_descriptors_inside_a_frame():
    rig = receiver()
    rig.rx_ring(control=EN | LPE | 3 << 16 | SECRC)
    for i in (1, 2):
        rig.put(RX_RING + 16 * i, bytes(16))
    rig.arrive(frame(600))
    assert [rig.rx(i)[0] for i in range(5)] == [256, 0, 0, 256, 88] and rig.rx(4)[2] & EOP


@pytest.mark.parametrize("head, tail, length", [(0, 16, 256), (16, 3, 256), (0, 0xFFFF, 256), (0, 3, 0), (0, 0, 0)])
def test_a_tail_or_head_outside_the_ring_gives_no_buffers(head, tail, length):
    rig = receiver()
    before = bytes(rig.ram)
    rig.write("RDLEN", length)
    rig.write("RDT", tail)
    rig.write("RDH", head)
    rig.arrive(frame(60))
    assert bytes(rig.ram) == before and len(rig.nic.rx) == 1 and rig.nic.port.rx_wait
    assert rig.nic.counters["bad_rings"]
    rig.rx_ring()
    rig.poll()
    assert rig.received(0) == frame(60)


@pytest.mark.parametrize("address", [1 << 30, 0xE0000000, 1 << 62, 1 << 63, (1 << 64) - 1])
def test_buffers_beyond_memory_are_lost(address):
    rig = receiver()
    rig.put(RX_RING, struct.pack("<Q", address))
    rig.put(RX_RING + 16, struct.pack("<Q", len(rig.ram) - 20))
    before = bytes(rig.ram)
    rig.arrive(frame(60), frame(60))
    assert rig.read("RDH") == 2 and rig.rx(0)[2] & 3 == 3 and rig.nic.port.bad_dma >= 2
    assert bytes(rig.ram[-20:]) == frame(60)[:20]
    assert bytes(rig.ram[0x30000:-20]) == before[0x30000:-20]


@pytest.mark.parametrize("low, high", [(0xFFFFFFF0, 0), (0, 1), (0, 0x80000000), (0xFFFFFFF0, 0xFFFFFFFF)])
def test_a_ring_beyond_memory_is_all_ones(low, high):
    rig = receiver()
    before = bytes(rig.ram)
    rig.write("RDBAL", low)
    rig.write("RDBAH", high)
    rig.arrive(frame(60))
    assert rig.read("RDH") == 1 and bytes(rig.ram) == before and rig.nic.port.bad_dma


def test_the_ring_as_its_own_buffer():
    rig = receiver()
    for i in range(16):
        rig.put(RX_RING + 16 * i, struct.pack("<Q", RX_RING))
    rig.arrive(*[frame(256, seed=i) for i in range(40)])
    assert rig.read("RDH") == 15  # frames overwrote the descriptors, with whatever addresses: bounded, inside memory
    rig.rx_ring()
    rig.poll()
    assert rig.read("RDH") == 15


def test_many_tiny_buffers_end_a_batch_early():
    """What was written is noted page by page; before the list is full the rest of the frames is left for later."""
    rig = Rig(ram=4 << 20)
    rig.rx_ring(1024, control=EN | LPE | 3 << 16 | SECRC)
    for i in range(1024):
        rig.put(RX_RING + 16 * i, struct.pack("<QQ", 0x100000 + (i * 37 % 512) * 4096, 0))
    rig.arrive(*[frame(9000, seed=i) for i in range(20)])
    assert not rig.nic.port.dirty_all and 0 < len(rig.nic.rx) < 20
    for _ in range(20):
        rig.nic.port.dirty_count = 0
        rig.poll()
    assert len(rig.nic.rx) == 0 and not rig.nic.port.dirty_all and rig.read("RDH") == 20 * 36
