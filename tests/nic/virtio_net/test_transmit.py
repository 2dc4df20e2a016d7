"""Frames from the guest: chains of every shape, offloads, a full ring, and what drops a packet."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.nic.port import RESET
from aero_lab.nic.virtio_net import VirtioNet
from aero_lab.rings import FrameRing

from .. import naive_offload as naive
from .driver import TX, Driver

FRAME = bytes(range(256)) * 3


def header(flags=0, gso=0, size=0, start=0, offset=0, length=0) -> bytes:
    return struct.pack("<BBHHHH", flags, gso, length, size, start, offset)


@given(
    st.sampled_from(["1.2", "w7"]), st.binary(min_size=1, max_size=30), st.lists(st.integers(1, 1600), max_size=8),
    st.booleans(), st.integers(14, 1522),
)  # fmt: skip
@settings(max_examples=60)
def test_a_frame_arrives_however_it_is_cut(contract, seed, cuts, indirect, size):
    d = Driver(VirtioNet(contract=contract))
    frame = (seed * 1600)[:size]
    head = d.send(frame, cuts=tuple(cuts), indirect=indirect)
    assert d.sent() == [frame] and d.queues[TX].collect() == [(head, 0)]
    counted = d.nic.counters
    assert (counted["tx_frames"], counted["tx_bytes"], counted["tx_packets"]) == (1, size, 1)


def test_time_and_place_of_a_frame():
    nic = VirtioNet()
    d = Driver(nic)
    d.queues[TX].add(d.pieces(bytes(12) + FRAME, [12]))
    d.kick(TX, now=123456)
    (frame,) = nic.tx.pop_many()
    assert (frame.data, frame.t_ns, frame.flow, frame.frame_id, nic.port.moved) == (FRAME, 123456, -1, 0, 1)


def test_frames_have_identities_where_they_are_numbered():
    nic = VirtioNet()
    nic.number_frames(1 << 48)
    d = Driver(nic)
    frame, l4, data = packet(False, 2500)
    d.send(FRAME)
    d.send(frame, header(1, 1, 1000, l4, 16, data))
    d.send(FRAME)
    assert [each.frame_id - (1 << 48) for each in nic.tx.pop_many()] == [1, 3, 5, 7, 9]


def test_longer_frames_pass_where_the_network_takes_them():
    """Whole ones and segments; after a reset too, and no longer than said."""
    nic = VirtioNet()
    nic.admit(9022)
    nic.access(RESET)
    d = Driver(nic)
    frame, l4, data = packet(False, 20000)
    d.send(bytes(9022))
    d.send(bytes(9023))
    d.send(frame, header(1, 1, 8960, l4, 16, data))
    assert [len(each) for each in d.sent()] == [9022, data + 8960, data + 8960, data + 20000 - 2 * 8960]
    assert nic.counters["tx_dropped_size"] == 1


@pytest.mark.parametrize("size", [0, 1, 13, 1523, 2048, 70000])
@pytest.mark.parametrize("contract", ["1.2", "w7"])
def test_frames_of_a_wrong_size_are_dropped_and_done(size, contract):
    d = Driver(VirtioNet(contract=contract))
    head = d.send(bytes(size))
    assert d.sent() == [] and d.queues[TX].collect() == [(head, 0)]
    assert d.nic.counters["tx_dropped_size"] == 1
    d.send(FRAME)
    assert d.sent() == [FRAME]


def test_a_short_header_and_a_writable_piece_drop_the_frame_and_nothing_else():
    d = Driver(VirtioNet(contract="w7"))
    at = d.ram.take(2000)
    q = d.queues[TX]
    q.add([(at, 9, False)])
    q.add([(at, 10, False), (at + 10, 60, True)])
    q.add([(at, 10, True), (at + 10, 60, False)])
    q.add([(at, 0, False), (at, 0, False)])
    d.kick(TX)
    assert [length for _, length in q.collect()] == [0] * 4 and d.sent() == []
    counted = d.nic.counters
    assert counted["tx_dropped_header"] == 2 and counted["tx_dropped_writable"] == 2
    d.send(FRAME)
    assert d.sent() == [FRAME]


def test_the_header_means_nothing_unless_it_was_agreed():
    """In the contract a driver writes zeros there and the device does not look."""
    d = Driver(VirtioNet(contract="w7"))
    d.send(FRAME, b"\xff" * 10, cuts=(4, 9))
    d2 = Driver(VirtioNet(), {32})
    d2.send(FRAME, b"\xff" * 12)
    assert d.sent() == d2.sent() == [FRAME]


def test_a_checksum_is_put_where_the_driver_says():
    d = Driver(VirtioNet())
    for start, offset in ((14, 16), (34, 6), (766, 0)):
        d.send(FRAME, header(1, start=start, offset=offset), cuts=(7, 12, 300))
        expected = naive.with_checksum(FRAME, start, len(FRAME), start + offset, offset == 6)
        assert d.sent() == [expected]
    for start, offset in ((767, 0), (769, 0), (0xFFFF, 0xFFFF), (60, 0xFFFF)):
        d.send(FRAME, header(1, start=start, offset=offset))
    assert d.sent() == [] and d.nic.counters["tx_dropped_offload"] == 4
    d.send(FRAME, header(2, start=14, offset=16))
    assert d.sent() == [FRAME]


def packet(v6: bool, size: int, tags: bytes = b"", options: int = 0) -> tuple[bytes, int, int]:
    """A TCP packet as Linux leaves it to a card: where the transport header begins, and where the data does."""
    ethernet = bytes(range(12)) + tags + (b"\x86\xdd" if v6 else b"\x08\0")
    ip = b"\x60\0\0\0\0\0\6\x40" + bytes(range(32)) if v6 else b"\x45\0\0\0\x12\x34\x40\0\x40\6\0\0" + bytes(range(8))
    tcp = struct.pack(">HHIIBBHHH", 1, 2, 0xFFFFFFF0, 7, 0x50 + 16 * options, 0x99, 100, 0, 0) + b"\1" * 4 * options
    head = ethernet + ip + tcp
    return head + bytes(i * 31 & 0xFF for i in range(size)), len(ethernet + ip), len(head)


@given(
    st.booleans(), st.integers(0, 20000), st.sampled_from([b"", b"\x81\0\0\5", b"\x88\xa8\0\1\x81\0\0\2"]),
    st.integers(0, 10), st.integers(200, 1400), st.lists(st.integers(1, 20000), max_size=12), st.booleans(),
)  # fmt: skip
@settings(max_examples=40)
def test_segments_are_the_twins(v6, size, tags, options, mss, cuts, indirect):
    frame, l4, data = packet(v6, size, tags, options)
    expected = naive.segments(frame, 14 + len(tags), l4, data, mss, v6, False)
    nic = VirtioNet()
    d = Driver(nic)
    head = d.send(frame, header(1, 4 if v6 else 1, mss, l4, 16, data), tuple(cuts), indirect)
    assert d.sent() == expected and d.queues[TX].collect() == [(head, 0)]
    assert nic.counters["tx_segmented"] == 1 and nic.counters["tx_frames"] == len(expected)


@pytest.mark.parametrize(
    "claim",
    [
        header(1, 1, 0, 34, 16),  # mss 0
        header(0, 1, 1000, 34, 16),  # no checksum asked for
        header(1, 1, 1000, 33, 16),  # a transport header inside the network's
        header(1, 1, 1000, 0xFFFF, 16),
        header(1, 1, 1000, 60, 16),  # another place for it, where the data offset makes no sense
        header(1, 1, 10, 34, 16),  # more than 256 segments
        header(1, 1, 1469, 34, 16),  # segments larger than a frame
        header(1, 4, 1000, 34, 16),  # said to be IPv6
        header(1, 3, 1000, 34, 16),  # UDP fragments were never offered
        header(1, 5, 1000, 34, 16),
        header(1, 0x7F, 1000, 34, 16),
    ],
)
def test_segmentation_that_cannot_be_is_dropped_and_counted(claim):
    d = Driver(VirtioNet())
    frame, _, _ = packet(False, 5000)
    head = d.send(frame, claim)
    assert d.sent() == [] and d.queues[TX].collect() == [(head, 0)]
    assert d.nic.counters["tx_dropped_offload"] == 1
    assert d.nic.trouble == ""
    d.send(FRAME)
    assert d.sent() == [FRAME]


def test_too_large_and_too_small_to_be_segmented():
    d = Driver(VirtioNet())
    at = d.ram.take(70000)
    q = d.queues[TX]
    d.ram.put(at, header(1, 1, 1000, 34, 16) + b"\0\0")
    q.add([(at, 12, False), *[(at + 12, 65000, False)] * 17])
    q.add([(at, 12, False), (at, 13, False)])
    q.add([(at, 12, False), (at, 40, False)])
    d.kick(TX)
    assert d.sent() == [] and len(q.collect()) == 3
    assert d.nic.counters["tx_dropped_size"] == 2 and d.nic.counters["tx_dropped_offload"] == 1


def test_ecn_needs_to_be_agreed():
    frame, l4, data = packet(False, 3000)
    for accept, number in (({32, 0, 11, 13}, 3), ({32, 0, 11}, 0), ({32, 0, 12, 13}, 0)):
        d = Driver(VirtioNet(), accept)
        d.send(frame, header(1, 0x81, 1000, l4, 16, data))
        assert len(d.sent()) == number
    d = Driver(VirtioNet(), {32, 0, 12})
    d.send(frame, header(1, 1, 1000, l4, 16, data))
    assert d.sent() == []


def small_ring(nic: VirtioNet, slots: int, arena: int) -> None:
    nic.tx = FrameRing(slots, arena)


def test_a_full_ring_stops_the_guest_and_loses_nothing():
    nic = VirtioNet()
    small_ring(nic, 4, 1 << 14)
    d = Driver(nic)
    frames = [bytes([i]) * (60 + i) for i in range(11)]
    for frame in frames:
        d.send(frame)
    out = []
    for expected in ((4, 1), (4, 1), (3, 0)):
        assert (len(nic.tx), int(nic.port.tx_wait)) == expected
        out += d.sent()
        d.poll()
    assert out == frames and len(d.queues[TX].collect()) == 11 and nic.port.tx_wait == 0


@pytest.mark.parametrize(("slots", "arena"), [(1, 2048), (2, 1 << 14), (8, 4096), (64, 1 << 16)])
def test_segmentation_goes_on_where_a_full_ring_stopped_it(slots, arena):
    frame, l4, data = packet(False, 30000)
    expected = naive.segments(frame, 14, l4, data, 700, False, False)
    nic = VirtioNet()
    small_ring(nic, slots, arena)
    d = Driver(nic)
    d.send(FRAME)
    d.send(frame, header(1, 1, 700, l4, 16, data), (100, 5000))
    d.send(FRAME)
    out = []
    for _ in range(200):
        out += d.sent()
        d.poll()
    assert out == [FRAME, *expected, FRAME]
    assert nic.tx.refused == 0 and nic.counters["tx_segmented"] == 1 and nic.state.segment == 0


def test_without_mastering_the_bus_nothing_is_read():
    nic = VirtioNet()
    d = Driver(nic)
    nic.port.master = 0
    d.send(FRAME)
    assert d.sent() == [] and d.queues[TX].collect() == []
    nic.port.master = 1
    d.kick(TX)
    assert d.sent() == [FRAME]


def test_nothing_is_sent_before_the_driver_is_ready():
    nic = VirtioNet()
    d = Driver(nic)
    d.write(0x14, 0x0B, 1)
    d.send(FRAME)
    assert d.sent() == []
    d.write(0x14, 0x0F, 1)
    d.kick(TX)
    assert d.sent() == [FRAME]


def test_a_pulled_cable_takes_frames_and_loses_them():
    nic = VirtioNet()
    d = Driver(nic)
    nic.link(False)
    d.send(FRAME)
    assert d.sent() == [] and len(d.queues[TX].collect()) == 1 and nic.counters["tx_dropped_link"] == 1
