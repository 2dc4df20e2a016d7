"""Guests that mean harm, or are confused: rings that lie. The device stops and says why; a reset makes it work again.
Nothing is read or written but guest memory, nothing hangs."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.nic.virtio_net import VirtioNet

from .driver import CONTROL, RX, TX, Driver

FRAME = b"\xff" * 60
HIGH = 1 << 40


def chain(d: Driver, queue: int, descriptors: list[tuple[int, int, int, int]], head: int = 0) -> None:
    """Descriptors (address, length, flags, next) as they are, from place 0 on, and a head."""
    q = d.queues[queue]
    for i, (address, length, flags, following) in enumerate(descriptors):
        q.descriptor(q.desc, i, address, length, flags, following)
    q.offer(head)


def table(d: Driver, descriptors: list[tuple[int, int, int, int]]) -> int:
    at = d.ram.take(16 * len(descriptors))
    for i, (address, length, flags, following) in enumerate(descriptors):
        d.queues[0].descriptor(at, i, address, length, flags, following)
    return at


def itself(d, q):
    chain(d, q, [(0x800, 20, 1, 0)])


def circle(d, q):
    chain(d, q, [(0x800, 20, 1, 1), (0x800, 20, 1, 2), (0x800, 20, 1, 0)])


def beyond(d, q):
    chain(d, q, [(0x800, 20, 1, 256)])


def head_beyond(d, q):
    chain(d, q, [(0x800, 80, 0, 0)], head=256)


def head_far_beyond(d, q):
    chain(d, q, [(0x800, 80, 0, 0)], head=65535)


def jump(d, q):
    d.queues[q].added += 256
    d.queues[q].offer(0)


def jump_back(d, q):
    d.queues[q].added -= 2
    d.queues[q].offer(0)


def inside(d, q):
    inner = table(d, [(0x800, 80, 0, 0)])
    outer = table(d, [(inner, 16, 4, 0)])
    chain(d, q, [(outer, 16, 4, 0)])


def inside_itself(d, q):
    at = table(d, [(0, 0, 0, 0)])
    d.queues[0].descriptor(at, 0, at, 16, 4, 0)
    chain(d, q, [(at, 16, 4, 0)])


def odd_length(d, q):
    chain(d, q, [(table(d, [(0x800, 80, 0, 0)]), 17, 4, 0)])


def no_length(d, q):
    chain(d, q, [(table(d, [(0x800, 80, 0, 0)]), 0, 4, 0)])


def successor(d, q):
    chain(d, q, [(table(d, [(0x800, 80, 0, 0)]), 16, 5, 1), (0x800, 80, 0, 0)])


def out_of_table(d, q):
    chain(d, q, [(table(d, [(0x800, 20, 1, 1), (0x800, 20, 1, 2), (0x800, 20, 0, 0)]), 32, 4, 0)])


def circle_inside(d, q):
    chain(d, q, [(table(d, [(0x800, 20, 1, 1), (0x800, 20, 1, 0)]), 32, 4, 0)])


def long_table(d, q):
    chain(d, q, [(table(d, [(0x800, 1, 1, i + 1) for i in range(300)]), 4800, 4, 0)])


def table_nowhere(d, q):
    chain(d, q, [(HIGH, 16, 4, 0)])


def ring_nowhere(d, q):
    d.nic.state.queue[q].avail = HIGH


def table_of_chains_nowhere(d, q):
    d.nic.state.queue[q].desc = -0x1000
    d.queues[q].offer(0)


HARM = {
    itself: "chain too long", circle: "chain too long", beyond: "next out of range", head_beyond: "head out of range",
    head_far_beyond: "head out of range", jump: "available index jumped", jump_back: "available index jumped",
    inside: "indirect table inside", inside_itself: "indirect table inside", odd_length: "length of an indirect table",
    no_length: "length of an indirect table", successor: "with a successor", out_of_table: "next out of range",
    circle_inside: "chain too long", long_table: "chain too long", table_nowhere: "indirect table inside",
    ring_nowhere: "available index jumped", table_of_chains_nowhere: "indirect table",
}  # fmt: skip


def show(d: Driver, queue: int) -> None:
    """Have the device look at a queue."""
    if queue == RX:
        d.nic.rx.push(FRAME)
    d.kick(queue)


@pytest.mark.parametrize("queue", [RX, TX, CONTROL])
@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm.__name__)
def test_a_broken_ring_stops_the_device_until_a_reset(harm, queue):
    nic = VirtioNet()
    d = Driver(nic)
    before = bytes(d.ram.bytes)
    harm(d, queue)
    show(d, queue)
    assert HARM[harm] in nic.trouble and nic.counters["broken_queues"] == 1
    assert d.read(0x14, 1) == 0x4F and d.isr() == 2 and nic.port.intx == 0
    assert d.sent() == [] and d.queues[queue].collect() == []
    other = TX if queue != TX else RX
    d.queues[other].add([(0x800, 72, other == RX)])
    show(d, other)
    assert d.queues[other].collect() == [] and d.sent() == []  # nothing goes on until the reset
    d.write(0x14, 0x0F, 1)
    assert d.read(0x14, 1) == 0x4F  # only the device says so, and only a reset ends it
    assert len(bytes(d.ram.bytes)) == len(before)
    again = Driver(nic)
    nic.rx.clear()
    again.send(FRAME)
    again.post(2000)
    again.kick(RX)
    nic.rx.push(FRAME)
    again.poll()
    assert again.sent() == [FRAME] and [frame for _, frame in again.received()] == [FRAME] and nic.trouble == ""


def test_an_indirect_table_without_the_feature():
    nic = VirtioNet()
    d = Driver(nic, {32})
    chain(d, TX, [(table(d, [(0x800, 80, 0, 0)]), 16, 4, 0)])
    d.kick(TX)
    assert nic.trouble == "indirect table without the feature"


def test_chains_that_are_offered_twice_are_not_held_twice_over():
    nic = VirtioNet(contract="w7")
    d = Driver(nic, sizes=())
    q = d.queues[RX]
    head = d.post(2000)
    for _ in range(254):
        q.offer(head)
    nic.rx.push(FRAME)
    d.kick(RX)
    for _ in range(2):
        q.offer(head)
    nic.rx.push(FRAME)
    d.kick(RX)
    assert nic.trouble == "" and len(nic.rx) == 0
    for _ in range(10):
        q.offer(head)
    nic.rx.push(FRAME)
    d.kick(RX)
    assert nic.trouble == "more chains than descriptors"


def test_a_legacy_driver_is_not_told_what_it_does_not_know():
    from .test_registers import Legacy

    nic = VirtioNet(transitional=True)
    d = Legacy(nic, 0)
    d.queues[1].offer(9999)
    d.out(16, 1, 2)
    assert nic.trouble == "head out of range" and d.into(18, 1) == 7 and d.into(19, 1) == 0


@pytest.mark.parametrize("address", [0xFFFFF, 0x100000, 0xE0000000, 0xFEBF0000, HIGH, -1, -HIGH, (1 << 63) - 1])
def test_buffers_beyond_memory(address):
    """What is sent from there is ones; what is received there is lost; both are counted, and the device goes on."""
    nic = VirtioNet()
    d = Driver(nic)
    at = d.ram.take(2000)
    d.queues[TX].add([(at, 12, False), (address, 60, False)])
    d.kick(TX)
    inside = 1 if address == 0xFFFFF else 0
    assert d.sent() == [bytes(inside) + b"\xff" * (60 - inside)]
    assert len(d.queues[TX].collect()) == 1 and nic.counters["bad_dma"] == 1
    before = bytes(d.ram.bytes[:0xFFFFF])
    q = d.queues[RX]
    q.add([(at, 12, True), (address, 100, True)])
    nic.rx.push(FRAME)
    d.kick(RX)
    assert len(q.collect()) == 1 and nic.counters["bad_dma"] == 2 and nic.trouble == ""
    changed = [i for i, (a, b) in enumerate(zip(before, bytes(d.ram.bytes[:0xFFFFF]), strict=True)) if a != b]
    assert all(at <= i < at + 12 or q.avail <= i < q.used + 6 + 8 * q.size or q.desc <= i < q.avail for i in changed)


def test_a_chain_may_be_as_long_as_the_queue_and_no_longer():
    nic = VirtioNet(contract="w7")
    d = Driver(nic)
    data = bytes(10) + FRAME * 4
    d.queues[TX].add(d.pieces(data, list(range(250))) + [(0x800, 0, False)] * 5)
    d.kick(TX)
    assert d.sent() == [FRAME * 4]
    nic = VirtioNet()
    d = Driver(nic, sizes=(4, 4))
    d.queues[TX].add([(0x800, 18, False)] * 4)
    d.kick(TX)
    assert d.sent() == [bytes(60)]
    d.queues[TX].collect()
    d.queues[TX].add([(0x800, 4, False)] * 18, indirect=True)
    d.kick(TX)
    assert d.sent() == [bytes(60)] and nic.trouble == ""


words = st.one_of(st.integers(0, 2**16 - 1), st.sampled_from([0, 1, 2, 3, 255, 256, 0xFFFF]))


@given(
    st.sampled_from(["1.2", "w7"]),
    st.lists(st.tuples(st.integers(0, 0x5FFF), st.binary(min_size=1, max_size=40)), max_size=30),
    st.lists(st.tuples(st.integers(0, 0x400), words, st.sampled_from([1, 2, 4])), max_size=30),
    st.lists(st.sampled_from([RX, TX, CONTROL]), min_size=1, max_size=12),
)  # fmt: skip
@settings(max_examples=150)
def test_anything_in_memory_and_registers_is_survived(contract, writes, registers, kicks):
    """Noise where the queues lie and in the registers: no exception (the plain mode checks every bound), no hang, and
    after a reset the device works."""
    nic = VirtioNet(contract=contract)
    d = Driver(nic, sizes=(8, 8, 8))
    for queue in d.queues:
        queue.add([(0x5000, 1600, queue is d.queues[RX])])
    for at, data in writes:
        d.ram.put(0x1000 + at % 0x5000, data)
    for at, value, size in registers:
        d.write(at * 16 & 0x3FFF if at & 1 else at & 0xFF, value, size)
    for queue in kicks:
        nic.rx.push(FRAME)
        show(d, queue)
        d.read(0x2000, 1)
    nic.check(nic.fields())
    nic.rx.clear()
    nic.tx.clear()
    again = Driver(nic)
    again.send(FRAME)
    assert again.sent() == [FRAME]


def test_every_byte_of_a_descriptor_may_be_anything():
    for field in range(16):
        for value in (0x01, 0x80, 0xFF):
            nic = VirtioNet()
            d = Driver(nic)
            raw = bytearray(struct.pack("<QIHH", 0x800, 72, 0, 0))
            raw[field] = value
            d.ram.put(d.queues[TX].desc, bytes(raw))
            d.queues[TX].offer(0)
            d.kick(TX)
            assert nic.trouble or len(d.queues[TX].collect()) == 1
