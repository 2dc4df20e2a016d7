"""Frames for the guest: buffers of every shape, back-pressure, the filter, checksums that were looked at."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.nic.port import LINK
from aero_lab.nic.virtio_net import VirtioNet

from .driver import RX, Driver
from .test_transmit import packet

FRAME = b"\xff" * 6 + bytes(range(250)) * 4
MINE = bytes.fromhex("525400123456")
PLAIN = {32, 5, 16}


def give(d: Driver, *frames: bytes) -> None:
    for frame in frames:
        assert d.nic.rx.push(frame)
    d.poll()


@given(
    st.sampled_from(["1.2", "w7", "plain"]), st.lists(st.integers(14, 1522), min_size=1, max_size=8),
    st.lists(st.lists(st.integers(12, 900), min_size=1, max_size=5), min_size=40, max_size=60), st.booleans(),
)  # fmt: skip
@settings(max_examples=60)
def test_frames_arrive_in_whatever_buffers(kind, sizes, buffers, indirect):
    """Every frame for which there is room comes out as it went in; merged over as many buffers as the header says."""
    nic = VirtioNet(contract="w7" if kind == "w7" else "1.2")
    d = Driver(nic, PLAIN | {28} if kind == "plain" else None)
    for pieces in buffers:
        d.post(*pieces, indirect=indirect)
    frames = [b"\xff" * 6 + bytes([i]) * (size - 6) for i, size in enumerate(sizes)]
    give(d, *frames)
    got = d.received()
    if kind == "1.2":  # 40 buffers of at least 12 bytes may be too little for all, and then the rest waits
        expected = frames[: len(got)]
        assert len(nic.rx) == len(frames) - len(got) and bool(len(nic.rx)) == bool(nic.port.rx_wait)
    else:
        rooms, expected = [sum(pieces) for pieces in buffers], []
        for frame in frames:
            fits = [i for i, room in enumerate(rooms) if room >= d.header + len(frame)]
            if fits:
                expected.append(frame)
                del rooms[fits[0]]
        assert nic.counters["rx_dropped_room"] == len(frames) - len(expected)
    assert [data for _, data in got] == expected
    assert all(head[:10] == bytes(10) for head, _ in got)
    if kind == "plain":
        assert all(head[10:] == b"\1\0" for head, _ in got)


def test_a_frame_takes_the_first_buffer_with_room_and_leaves_the_others():
    d = Driver(VirtioNet(contract="w7"))
    small, large, other = d.post(10, 50), d.post(2000), d.post(1000, 1000)
    give(d, FRAME, FRAME[:50], FRAME)
    used = d.queues[RX].collect()
    assert used == [(large, 10 + len(FRAME)), (small, 60), (other, 10 + len(FRAME))]


def test_without_buffers_frames_wait_and_with_small_ones_they_are_dropped():
    nic = VirtioNet(contract="w7")
    d = Driver(nic)
    give(d, FRAME, FRAME[:60])
    assert len(nic.rx) == 2 and nic.port.rx_wait == 1
    d.poll()
    assert len(nic.rx) == 2
    head = d.post(100)
    d.kick(RX)
    assert nic.counters["rx_dropped_room"] == 1 and d.queues[RX].collect() == [(head, 70)]
    assert nic.port.rx_wait == 0 and nic.port.moved == 2


def test_merged_frames_wait_until_there_is_room_for_the_whole():
    nic = VirtioNet()
    d = Driver(nic)
    for _ in range(3):
        d.post(300)
    give(d, FRAME)
    assert len(nic.rx) == 1 and nic.port.rx_wait == 1 and d.queues[RX].collect() == []
    before = d.queues[RX].added
    d.post(300)
    assert d.queues[RX].wants_kick(before)
    d.kick(RX)
    assert d.received() == [(bytes(10) + b"\4\0", FRAME)]


def test_a_queue_full_of_buffers_that_are_too_small_drops():
    nic = VirtioNet()
    d = Driver(nic, sizes=(4,))
    for _ in range(4):
        d.post(100)
    give(d, FRAME, FRAME[:200])
    assert nic.counters["rx_dropped_room"] == 1
    assert d.received() == [(bytes(10) + b"\3\0", FRAME[:200])]


@pytest.mark.parametrize("contract", ["1.2", "w7"])
def test_what_is_no_buffer_comes_back_empty(contract):
    nic = VirtioNet(contract=contract)
    d = Driver(nic)
    at, q = d.ram.take(4000), d.queues[RX]
    bad = [
        q.add([(at, 2000, False)]), q.add([(at, 12, False), (at + 12, 1900, True)]), q.add([(at, 9, True)]),
        q.add([(at, 0, True)]), q.add([(at, 1000, True), (at, 1000, False)]),
    ]  # fmt: skip
    split = q.add([(at, 9, True), (at + 9, 1900, True)])
    if contract == "w7":
        bad.append(split)
    good = d.post(2000)
    give(d, FRAME)
    used = q.collect()
    assert used[: len(bad)] == [(head, 0) for head in bad]
    assert used[len(bad) :] == [(good if contract == "w7" else split, d.header + len(FRAME))]
    assert nic.counters["rx_skipped_chains"] == len(bad) and nic.trouble == ""
    if contract == "1.2":
        assert d.ram.get(at, 12 + len(FRAME)) == bytes(10) + b"\1\0" + FRAME


def test_a_buffer_that_changed_after_it_was_posted_is_judged_anew():
    nic = VirtioNet(contract="w7")
    d = Driver(nic)
    first, second, third = d.post(2000), d.post(2000), d.post(2000)
    give(d, FRAME)
    d.queues[RX].descriptor(d.queues[RX].desc, second, 0x8000, 100, 0, 0)  # readable now
    give(d, FRAME)
    assert d.queues[RX].collect() == [(first, 10 + len(FRAME)), (second, 0), (third, 10 + len(FRAME))]


def test_longer_frames_pass_where_the_network_sends_them():
    nic = VirtioNet()
    nic.admit(9022)
    d = Driver(nic)
    for _ in range(12):
        d.post(1600)
    give(d, bytes(9022), bytes(9023), FRAME)
    assert nic.counters["rx_dropped_size"] == 1 and [f for _, f in d.received()] == [bytes(9022), FRAME]


@pytest.mark.parametrize("size", [0, 13, 1523, 4000])
def test_frames_of_a_wrong_size_are_dropped(size):
    nic = VirtioNet()
    d = Driver(nic)
    d.post(9000)
    give(d, bytes(size), FRAME)
    assert nic.counters["rx_dropped_size"] == 1 and [f for _, f in d.received()] == [FRAME]


def test_before_the_driver_is_ready_frames_wait():
    nic = VirtioNet()
    d = Driver(nic, start=False)
    give(d, FRAME)
    assert nic.port.rx_wait == 1
    d.start()
    d.post(2000)
    d.kick(RX)
    assert [f for _, f in d.received()] == [FRAME]


def test_without_mastering_the_bus_nothing_is_written():
    nic = VirtioNet()
    d = Driver(nic)
    d.post(2000)
    nic.port.master = 0
    before = bytes(d.ram.bytes)
    give(d, FRAME)
    assert bytes(d.ram.bytes) == before and len(nic.rx) == 1
    nic.port.master = 1
    d.kick(RX)
    assert [f for _, f in d.received()] == [FRAME]


def test_a_pulled_cable_loses_what_waits():
    nic = VirtioNet()
    d = Driver(nic)
    give(d, FRAME)
    nic.link(False)
    nic.access(LINK, ram=d.ram.bytes)
    give(d, FRAME)
    assert nic.counters["rx_dropped_link"] == 2 and nic.port.rx_wait == 0 and len(nic.rx) == 0
    nic.link(True)
    nic.access(LINK, ram=d.ram.bytes)
    d.post(2000)
    give(d, FRAME)
    assert [f for _, f in d.received()] == [FRAME]


def test_more_frames_than_one_turn_takes():
    nic = VirtioNet()
    d = Driver(nic)
    got = 0
    for _ in range(2):
        for _ in range(len(d.queues[RX].free)):
            d.post(100)
        give(d, *[FRAME[:60]] * 200)
        got += len(d.received())
    assert got == 400 and nic.counters["rx_frames"] == 400


@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("harm", [0, 1])
@pytest.mark.parametrize("agreed", [False, True])
def test_only_what_was_found_right_is_said_to_be(v6, harm, agreed):
    from .. import naive_offload as naive

    raw, l4, data = packet(v6, 500)
    (sound,) = naive.segments(raw, 14, l4, data, 1000, v6, False)
    frame = bytearray(sound)
    frame[-1] ^= harm
    d = Driver(VirtioNet(), None if agreed else PLAIN)
    d.post(2000)
    give(d, bytes(frame))
    ((head, got),) = d.received()
    assert got == bytes(frame) and head == bytes([2 if agreed and not harm else 0]) + bytes(9) + b"\1\0"


# The filter ----------------------------------------------------------------------------------------------------------
def passes(d: Driver, address: bytes, more: bytes = bytes(54)) -> bool:
    d.post(200)
    give(d, address + MINE[::-1] + more)
    return len(d.received()) == 1


MULTICAST, OTHER, BROADCAST = bytes.fromhex("01005e000001"), bytes.fromhex("020000000009"), b"\xff" * 6


def test_until_the_driver_says_otherwise_every_frame_passes():
    for accept in (PLAIN, None):
        d = Driver(VirtioNet(MINE), accept)
        assert all(passes(d, address) for address in (MINE, OTHER, MULTICAST, BROADCAST))


def table(unicast: list[bytes], multicast: list[bytes]) -> bytes:
    return b"\1\0" + b"".join(struct.pack("<I", len(t)) + b"".join(t) for t in (unicast, multicast))


def test_the_filter_follows_its_commands():
    nic = VirtioNet(MINE)
    d = Driver(nic)

    def passing() -> str:
        named = {"mine": MINE, "other": OTHER, "multi": MULTICAST, "all": BROADCAST}
        return " ".join(name for name, address in named.items() if passes(d, address))

    assert d.command(b"\0\0\0") == 0 and passing() == "mine all"
    assert d.command(b"\0\1\1") == 0 and passing() == "mine multi all"
    assert d.command(b"\0\1\0") == 0 and d.command(table([OTHER], [])) == 0 and passing() == "mine other all"
    assert d.command(table([], [bytes(6), MULTICAST])) == 0 and passing() == "mine multi all"
    assert d.command(b"\0\3\1") == 0 and passing() == "mine all"
    assert d.command(b"\0\5\1") == 0 and passing() == "mine"
    assert d.command(b"\0\2\1") == 0 and passing() == "mine other"
    assert d.command(b"\0\4\1") == 0 and passing() == ""
    assert d.command(b"\0\0\1") == 0 and passing() == "mine other multi all"
    for number in range(2, 6):
        assert d.command(bytes((0, number, 0))) == 0
    assert d.command(b"\0\0\0") == 0 and d.command(b"\1\1" + OTHER) == 0 and passing() == "other multi all"
    assert nic.registers["status"] & 1 and nic.counters["rx_dropped_filter"] == 17


def test_tables_longer_than_the_devices_let_all_pass():
    d = Driver(VirtioNet(MINE))
    assert d.command(b"\0\0\0") == 0
    assert d.command(table([bytes([2, 0, 0, 0, 1, i]) for i in range(65)], [])) == 0
    assert passes(d, OTHER) and not passes(d, MULTICAST)
    assert d.command(table([], [bytes([1, 0, 0, 0, 1, i]) for i in range(65)])) == 0
    assert not passes(d, OTHER) and passes(d, MULTICAST)
    full = [bytes([2, 0, 0, 0, 1, i]) for i in range(63)] + [OTHER]
    assert d.command(table(full, [])) == 0 and passes(d, OTHER) and passes(d, full[0]) and not passes(d, MULTICAST)


def test_vlans():
    d = Driver(VirtioNet(MINE))

    def tagged(vlan: int) -> bool:
        return passes(d, MINE, b"\x81\0" + struct.pack(">H", 0xE000 | vlan) + bytes(50))

    assert not tagged(5) and not tagged(4095) and passes(d, MINE)
    assert d.command(b"\2\0\5\0") == 0 and d.command(b"\2\0\xff\x0f") == 0
    assert tagged(5) and tagged(4095) and not tagged(37)
    assert d.command(b"\2\1\5\0") == 0
    assert not tagged(5) and tagged(4095)


@pytest.mark.parametrize(
    "data",
    [
        b"\0\6\1", b"\0\0", b"\1\1\2abc", b"\1\2abcdef", b"\2\0\0\x10", b"\2\2\5\0", b"\2\0\5", b"\3\1", b"\4\0\1\0",
        b"\5\0\0\0\0\0\0\0\0\0", b"\x77\0", table([OTHER], [])[:-1], b"\1\0\1\0\0\0" + OTHER,
        b"\1\0\xff\xff\xff\xff" + bytes(90), b"\1\0\0\0\0\0\xff\xff\xff\xff" + bytes(90),
    ],
)  # fmt: skip
def test_commands_that_make_no_sense_are_refused_and_change_nothing(data):
    nic = VirtioNet()
    d = Driver(nic)
    before = nic.fields()
    assert d.command(data) == 1 and nic.counters["control_errors"] == 1
    after = nic.fields()
    for name in ("promisc", "allmulti", "alluni", "nomulti", "mac", "vlans", "unicast_count", "multicast_count"):
        assert (before[name] == after[name]).all()


def test_commands_of_features_that_were_not_agreed_are_refused():
    d = Driver(VirtioNet(), {32, 17})
    for data in (b"\0\0\1", table([], []), b"\1\1abcdef", b"\2\0\1\0", b"\3\0"):
        assert d.command(data) == 1
    d = Driver(VirtioNet(), {32, 17, 18})
    assert d.command(b"\0\1\1") == 0 and d.command(b"\0\2\1") == 1


def test_a_command_without_room_for_the_answer_is_not_obeyed():
    nic = VirtioNet()
    d = Driver(nic)
    at = d.ram.take(16)
    q = d.queues[2]
    q.add([(at, 3, False)])
    q.add([(at, 1, True), (at, 3, False)])
    d.kick(2)
    assert [length for _, length in q.collect()] == [0, 0]
    assert nic.counters["control_errors"] == 2 and nic.state.promisc == 1
