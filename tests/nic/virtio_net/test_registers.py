"""What a driver sees before a frame moves: capabilities, both register interfaces, negotiation, reset."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aero_lab.errors import UsageError
from aero_lab.nic.port import RESET
from aero_lab.nic.virtio_net import VirtioNet

from .driver import CONFIG, ISR, TX, Driver, Queue, Ram

MAC = "52:54:00:12:34:56"
CONTRACT = 1 << 32 | 1 << 28 | 1 << 16 | 1 << 5


def test_identity_and_windows_of_the_contract():
    f = VirtioNet(contract="w7", msix=False).function
    assert (f.vendor, f.product, f.subsystem, f.revision, f.class_code) == (0x1AF4, 0x1041, (0x1AF4, 1), 1, 0x020000)
    assert [(bar.size, bar.kind) for bar in f.bars if bar] == [(0x4000, "memory64")] and (f.slot, f.pin) == (8, 1)
    seen = []
    for capability in f.capabilities:
        kind, _, length, what, bar = capability.data[:5]
        offset, size = struct.unpack("<II", capability.data[8:16])
        assert kind == 9 and length == len(capability.data) and bar == 0
        seen.append((what, offset, size, capability.data[16:]))
    notify = struct.pack("<I", 4)
    assert seen == [(1, 0, 0x100, b""), (2, 0x1000, 0x100, notify), (3, 0x2000, 0x20, b""), (4, 0x3000, 0x100, b"")]
    assert not any(any(c.writable) for c in f.capabilities)


def test_transitional_devices_have_a_window_of_ports():
    """Where legacy drivers look for it; the contract has it elsewhere."""
    f = VirtioNet(transitional=True).function
    assert f.product == 0x1000 and f.revision == 0
    assert [bar and bar.kind for bar in f.bars] == ["io", None, None, None, "memory64"]
    assert {c.data[4] for c in f.capabilities} == {4}
    f = VirtioNet(transitional=True, contract="w7").function
    assert [(bar.size, bar.kind) for bar in f.bars if bar] == [(0x4000, "memory64"), (0x100, "io")]


def test_msix_has_its_table_in_the_window():
    nic = VirtioNet(msix=True)
    assert nic.function.capabilities[-1].data == bytes.fromhex("1100 0300 00380000 003c0000".replace(" ", ""))
    assert len(VirtioNet().function.capabilities) == 4


def test_mistakes_are_told():
    mistakes: tuple[dict[str, Any], ...] = (
        {"contract": "w8"}, {"mtu": 67}, {"mtu": 1501}, {"without": ("TSO",)}, {"without": ("VERSION_1",)},
        {"mac": "ff:ff:ff:ff:ff:ff"},
    )  # fmt: skip
    for wrong in mistakes:
        with pytest.raises(UsageError):
            VirtioNet(**wrong)


def test_the_contract_offers_what_it_offers():
    d = Driver(VirtioNet(MAC, contract="w7"), start=False)
    assert sum(1 << bit for bit in d.offered) == CONTRACT and d.agreed
    assert d.read(0x12, 2) == 2
    assert [d.read(CONFIG + i, 1) for i in range(12)] == [*bytes.fromhex("525400123456"), 1, 0, 1, 0, 0, 0]
    d.write(CONFIG, 0xFFFFFFFF)
    d.write(CONFIG + 6, 0, 1)
    assert d.read(CONFIG, 4) == 0x12005452 and d.read(CONFIG + 6, 2) == 1
    d.write(0x16, 0, 2)
    d.write(0x18, 16, 2)
    assert d.read(0x18, 2) == 256  # read only
    d.write(0x16, 1, 2)
    assert d.read(0x1E, 2) == 1


def test_what_serves_linux_best_and_what_can_be_left_out():
    nic = VirtioNet(MAC, mtu=1400)
    d = Driver(nic, start=False)
    assert {0, 1, 3, 5, 11, 12, 13, 15, 16, 17, 18, 19, 20, 21, 23, 28, 29, 32} <= d.offered and d.agreed
    assert d.read(CONFIG + 10, 2) == 1400 and d.read(0x12, 2) == 3 and "MTU" in nic.features
    d = Driver(VirtioNet(MAC, without=("CSUM", "CTRL_VQ", "MRG_RXBUF")), start=False)
    assert not d.offered & {0, 11, 12, 13, 15, 17, 18, 19, 20, 21, 23} and {1, 5, 16, 28, 29, 32} <= d.offered
    assert d.read(0x12, 2) == 2


def test_feature_words_beyond_the_second_are_empty():
    d = Driver(VirtioNet(), start=False)
    for half in (2, 3, 0xFFFFFFFF):
        d.write(0x00, half)
        d.write(0x08, half)
        d.write(0x0C, 0xFFFFFFFF)
        assert d.read(0x00) == d.read(0x08) == half and d.read(0x04) == d.read(0x0C) == 0


@pytest.mark.parametrize(
    ("accepted", "fine"),
    [
        ({32}, True),
        ({5, 16, 28}, False),  # not version 1
        ({32, 2}, False),  # not offered
        ({32, 34}, False),
        ({32, 11}, False),  # segmentation without checksums
        ({32, 0, 11}, True),
        ({32, 0, 13}, False),  # ECN without segmentation
        ({32, 0, 12, 13}, True),
        ({32, 18}, False),  # a filter without the queue to set it
        ({32, 17, 18}, True),
        ({32, 23}, False),
    ],
)
def test_features_are_refused_where_they_make_no_sense(accepted, fine):
    nic = VirtioNet()
    d = Driver(nic, start=False)
    d.write(0x14, 0, 1)
    for half in (0, 1):
        d.write(0x08, half)
        d.write(0x0C, sum(1 << bit for bit in accepted) >> 32 * half & 0xFFFFFFFF)
    d.write(0x14, 0x0B, 1)
    assert d.read(0x14, 1) == (0x0B if fine else 0x03)
    assert nic.counters["refused_features"] == (not fine)


def test_accepted_features_stay_until_a_reset():
    d = Driver(VirtioNet(), {32, 5}, start=False)
    d.write(0x08, 0)
    d.write(0x0C, 0)
    assert d.read(0x0C) == 1 << 5
    d.write(0x14, 0, 1)
    assert d.read(0x0C) == 0


def test_a_reset_takes_everything_back():
    nic = VirtioNet(MAC)
    d = Driver(nic)
    assert d.command(b"\1\1" + b"\2abcde") == 0
    assert d.read(CONFIG) == int.from_bytes(b"\2abc", "little")
    d.send(b"\xff" * 60)
    d.write(0x14, 0, 1)
    assert d.read(ISR, 1) == 0 and nic.port.intx == 0 and d.read(0x14, 1) == 0
    assert d.read(CONFIG) == int.from_bytes(nic.mac[:4], "little")
    for i in range(3):
        d.write(0x16, i, 2)
        assert (d.read(0x18, 2), d.read(0x1A, 2), d.read(0x1C, 2)) == (256, 0xFFFF, 0)
        assert [d.read(at) for at in range(0x20, 0x38, 4)] == [0] * 6
    assert nic.features == ()


def test_queues_that_are_not_there_read_zero():
    d = Driver(VirtioNet(contract="w7"), start=False)
    d.write(0x16, 2, 2)
    d.write(0x1C, 1, 2)
    d.write(0x20, 0x1000)
    assert [d.read(at) for at in range(0x18, 0x38, 4)] == [0] * 8
    assert d.read(0x16, 2) == 2


def test_undefined_places_read_zero_and_take_nothing():
    d = Driver(VirtioNet(), start=False)
    before = d.nic.fields()
    for at in (
        0x38,
        0xFC,
        0x100,
        0xFFC,
        0x1100,
        0x1FFC,
        0x2004,
        0x2020,
        0x2FFC,
        0x30FC,
        0x3100,
        0x37FC,
        0x3880,
        0x3FFC,
    ):
        d.write(at, 0xFFFFFFFF)
        assert d.read(at) == 0, hex(at)
    d.write(0x14, 0x0F, 4)  # not the width of the field
    d.write(0x20, 1, 1)
    d.write(0x22, 1, 2)
    after = d.nic.fields()
    assert all((before[name] == after[name]).all() for name in before)


@pytest.mark.parametrize("at", [0x20, 0x28, 0x30])
@pytest.mark.parametrize("harm", [1, 2, 4, 8])
def test_a_queue_that_lies_askew_is_not_enabled(at, harm):
    nic = VirtioNet()
    d = Driver(nic, start=False)
    for place in (0x20, 0x28, 0x30):
        d.write(place, 0x4000 + harm * (place == at))
    d.write(0x1C, 1, 2)
    fine = harm % {0x20: 16, 0x28: 2, 0x30: 4}[at] == 0
    assert d.read(0x1C, 2) == fine and nic.counters["refused_queues"] == (not fine)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 64, 255, 256, 257, 512, 32768, 65535])
def test_sizes_are_powers_of_two_and_no_larger_than_offered(size):
    d = Driver(VirtioNet(), start=False)
    d.write(0x18, size, 2)
    assert d.read(0x18, 2) == size
    d.write(0x1C, 1, 2)
    assert d.read(0x1C, 2) == (size in (1, 2, 64, 256))


def test_a_queue_in_use_does_not_move():
    d = Driver(VirtioNet())
    d.write(0x16, TX, 2)
    before = [d.read(at) for at in range(0x18, 0x38, 4)]
    for at, value, size in ((0x18, 8, 2), (0x1C, 0, 2), (0x20, 0x8000, 4), (0x2C, 1, 4), (0x30, 0x9000, 4)):
        d.write(at, value, size)
    assert [d.read(at) for at in range(0x18, 0x38, 4)] == before


@given(st.sampled_from([0x20, 0x28, 0x30]), st.integers(0, 2**64 - 1))
def test_addresses_of_64_bits_are_kept(at, address):
    nic = VirtioNet()
    nic.write(0x14, 1, 1)
    nic.write(at + 4, address >> 32)
    nic.write(at, address & 0xFFFFFFFF)
    assert (nic.read(at), nic.read(at + 4)) == (address & 0xFFFFFFFF, address >> 32)
    field = {0x20: "queue_desc", 0x28: "queue_driver", 0x30: "queue_device"}[at]
    assert nic.registers[f"rx.{field}"] % 2**64 == address


def test_pcis_reset_masks_all_messages():
    nic = VirtioNet(msix=True)
    nic.write(0x3800 + 12, 0)
    nic.write(0x3800, 0xFEE00007)
    nic.write(0x3808, 0x4041)
    assert [nic.read(0x3800 + at) for at in (0, 4, 8, 12)] == [0xFEE00004, 0, 0x4041, 0]
    nic.access(RESET)
    assert [nic.read(0x3800 + at) for at in (0, 4, 8, 12)] == [0, 0, 0, 1]


class Legacy:
    """A driver of the time before version 1: ports, and queues in one piece."""

    def __init__(self, nic: VirtioNet, features: int):
        self.nic, self.ram, self.bar = nic, Ram(), nic.state.legacy_bar
        nic.port.master = 1
        self.out(18, 0, 1)
        self.out(18, 1, 1)
        self.out(18, 3, 1)
        self.offered = self.into(0, 4)
        self.out(4, features, 4)
        self.queues = []
        for i in range(2):
            self.out(14, i, 2)
            size = self.into(12, 2)
            base = self.ram.take(16 * size + 8192 + 8 * size, 4096)
            self.queues.append(Queue(self.ram, size, False, base))
            self.out(8, base >> 12, 4)
            assert self.into(8, 4) == base >> 12
        self.out(18, 7, 1)

    def out(self, at, value, size):
        self.nic.write(at, value, size, bar=self.bar, ram=self.ram.bytes)

    def into(self, at, size):
        return self.nic.read(at, size, bar=self.bar)


@pytest.mark.parametrize("contract", ["1.2", "w7"])
def test_the_legacy_interface_carries_frames(contract):
    nic = VirtioNet(MAC, transitional=True, contract=contract)
    d = Legacy(nic, 1 << 5 | 1 << 16)
    assert d.offered >> 5 & 1 and d.into(4, 4) == 1 << 5 | 1 << 16 and d.into(18, 1) == 7
    assert bytes(d.into(20 + i, 1) for i in range(8)) == nic.mac + b"\1\0"
    data = d.ram.take(2000)
    d.ram.put(data + 10, b"\xff" * 6 + bytes(60))
    d.queues[1].add([(data, 10, False), (data + 10, 66, False)])
    d.out(16, 1, 2)
    assert [f.data for f in nic.tx.pop_many()] == [b"\xff" * 6 + bytes(60)]
    assert d.queues[1].collect() == [(0, 0)] and nic.port.intx == 1
    assert d.into(19, 1) == 1 and d.into(19, 1) == 0 and nic.port.intx == 0
    d.queues[0].add([(data, 10, True), (data + 10, 1514, True)])
    d.out(16, 0, 2)
    nic.rx.push(b"\xff" * 6 + b"legacy frame")
    nic.poll(0, d.ram.bytes)
    assert d.queues[0].collect() == [(0, 28)]
    assert d.ram.get(data, 28) == bytes(10) + b"\xff" * 6 + b"legacy frame"


def test_the_legacy_interface_lets_addresses_be_set_and_moves_aside_for_vectors():
    nic = VirtioNet(MAC, transitional=True, msix=True)
    d = Legacy(nic, 0)
    d.out(20, 0x03020102, 4)
    d.out(24, 0x0504, 2)
    assert nic.registers["status"] == 1 and [d.into(20 + i, 1) for i in range(6)] == [2, 1, 2, 3, 4, 5]
    nic.port.msix = 1
    assert [d.into(24 + i, 1) for i in range(6)] == [2, 1, 2, 3, 4, 5]
    d.out(20, 3, 2)
    d.out(14, 1, 2)
    d.out(22, 9, 2)
    assert (d.into(20, 2), d.into(22, 2)) == (3, 0xFFFF)
    d.out(22, 2, 2)
    assert d.into(22, 2) == 2 and d.into(20, 4) == 3 | 2 << 16
    d.out(8, 0, 4)
    assert d.into(8, 4) == 0 and nic.registers["tx.queue_enable"] == 0
    d.out(14, 7, 2)
    d.out(8, 5, 4)
    assert (d.into(12, 2), d.into(8, 4), d.into(14, 2)) == (0, 0, 7)
    d.out(16, 9, 2)
    d.out(18, 0, 1)
    assert d.into(18, 1) == 0


def test_registers_are_looked_at_without_touching_them():
    nic = VirtioNet(MAC)
    d = Driver(nic)
    d.send(b"\xff" * 60)
    before = nic.registers
    assert before["ISR"] == 1 and before["device_status"] == 15 and before["status"] == 1
    assert nic.registers == before and d.isr() == 1


def test_a_card_of_any_kind_is_kept_in_a_snapshot_of_its_machine(tmp_path):
    """Options, registers, queues and buffers that are held: the copy goes on where the card was."""
    from aero_lab.machine.machine import Machine

    nic = VirtioNet(MAC, transitional=True, mtu=1400, without=("CTRL_VQ", "MRG_RXBUF"), msix=True)
    d = Driver(nic, start=False)
    d.start()
    heads = [d.post(2000) for _ in range(3)]
    nic.rx.push(b"\xff" * 60)
    d.kick(0)
    nic.port.dirty_count = 0  # which a machine sees to after every call
    machine = Machine(4, nics=[nic])
    machine.write(0, d.ram.bytes.tobytes())
    machine.save(tmp_path / "one.machine")
    for copy in (Machine.load(tmp_path / "one.machine"), machine.fork()):
        (twin,) = copy.nics
        assert isinstance(twin, VirtioNet) and twin.options == nic.options and twin.function == nic.function
        before, after = nic.fields(), twin.fields()
        assert all((before[name] == after[name]).all() for name in before)
        twin.rx.push(b"\xff" * 61)
        twin.port.master = 1
        ram = copy.ram.copy()
        twin.poll(0, ram)
        queue = d.queues[0]
        used = ram[queue.used + 4 + 8 : queue.used + 20].tobytes()
        assert struct.unpack("<II", used) == (heads[1], 12 + 61)


def test_registers_from_a_file_are_looked_at():
    nic = VirtioNet(MAC)
    Driver(nic)
    good = nic.fields()
    nic.check(good)
    for name, value in (
        ("queue.held_count", 257), ("queue.held_first", -1), ("unicast_count", 65), ("multicast_count", -1),
        ("queue_select", -1), ("config_vector", 70000), ("queue.vector", -1), ("segment", 257), ("reason", 99),
        ("vectors", -1), ("status", 256), ("queue.desc", 8), ("queue.entries", 100), ("identity", -1),
    ):  # fmt: skip
        bad = {key: array.copy() for key, array in good.items()}
        bad[name][...] = value
        with pytest.raises(UsageError):
            nic.check(bad)
    with pytest.raises(UsageError, match="other options"):
        VirtioNet(MAC, mtu=1400).set_fields(good)
