"""The bare driver on virtio-net: beside QEMU's device, and misusing ours on the emulated PC with canaries around its
memory."""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
import pytest

from aero_lab.nic.virtio_net import VirtioNet

from .program import CODE, POLL, WAIT, WRITE8, WRITE16, Program, load, needs_nasm, needs_qemu, numbers, ours, qemu

pytestmark = [needs_nasm, pytest.mark.timeout(300)]

MAC = "52:54:00:12:34:56"
IDENTITY = 0x10411AF4
DESC, AVAIL, USED, TABLE, OUT, IN = 0x300000, 0x301000, 0x302000, 0x303000, 0x310000, 0x320000
APART = 0x4000
"""Between the rings of one queue and those of the next."""
FRAME = b"\xff" * 6 + bytes(range(60))
RAM_MB, MARGIN = 4, 1 << 16


class Layout(NamedTuple):
    """Where a device has the parts of its interface."""

    window: int
    common: int
    notify: int
    isr: int
    config: int


OURS, QEMU = Layout(0, 0, 0x1000, 0x2000, 0x3000), Layout(4, 0, 0x3000, 0x1000, 0x2000)


class Steps(Program):
    """A program that speaks virtio."""

    def __init__(self, layout: Layout = OURS):
        super().__init__(IDENTITY)
        self.at = layout
        self.masks: list[int] = []
        """Which bits of each number it says are the field's that was read."""

    def reg(self, at: int, value: int, size: int = 4) -> Steps:
        self.add({1: WRITE8, 2: WRITE16, 4: 1}[size], self.at.common + at, value, self.at.window)
        return self

    def look(self, *places: int) -> Steps:
        for place in places:
            self.read(self.at.common + place, window=self.at.window)
            self.masks.append({0x14: 0xFF, 0x18: 0xFFFF, 0x1C: 0xFFFF}.get(place, 0xFFFFFFFF))
        return self

    def poll(self, place: int, bits: int) -> Steps:
        """Until a register has these bits."""
        self.add(POLL, self.at.common + place, bits, self.at.window)
        return self

    def look_isr(self) -> Steps:
        """Of the ISR its bit for the configuration: QEMU sets the other one with it."""
        self.read(self.at.isr, window=self.at.window)
        self.masks.append(2)
        return self

    def fetch(self, address: int, size: int) -> Steps:
        """Say what lies in memory."""
        self.get(address, size)
        self.masks += [0xFFFFFFFF] * (size // 4)
        return self

    def negotiate(self, features: int = 1 << 32 | 1 << 28) -> Steps:
        for status in (0, 1, 3):
            self.reg(0x14, status, 1)
        for half in (0, 1):
            self.reg(0x08, half).reg(0x0C, features >> 32 * half & 0xFFFFFFFF)
        return self.reg(0x14, 0x0B, 1)

    def bring_up(self, features: int = 1 << 32 | 1 << 28, size: int = 8) -> Steps:
        self.negotiate(features)
        for queue in (0, 1):
            self.reg(0x16, queue, 2).reg(0x18, size, 2)
            for at, place in ((0x20, DESC), (0x28, AVAIL), (0x30, USED)):
                self.reg(at, place + queue * APART).reg(at + 4, 0)
                self.put(place + queue * APART, bytes(256))
            self.reg(0x1C, 1, 2)
        return self.reg(0x14, 0x0F, 1)

    def descriptors(self, queue: int, rows: list[tuple[int, int, int, int]], table: int = 0) -> Steps:
        for i, row in enumerate(rows):
            self.put((table or DESC + queue * APART) + 16 * i, struct.pack("<QIHH", *row))
        return self

    def offer(self, queue: int, heads: list[int], index: int | None = None) -> Steps:
        """Put heads into the available ring, and notify."""
        ring = struct.pack("<HH", 0, len(heads) if index is None else index) + struct.pack(f"<{len(heads)}H", *heads)
        self.put(AVAIL + queue * APART, ring)
        self.add(WRITE16, self.at.notify + 4 * queue, queue, self.at.window)
        return self


def beside(make, tmp_path) -> list[int]:
    """What a program said on ours and on QEMU's, which is the same."""
    program = make(Steps(OURS))
    theirs = qemu(make(Steps(QEMU)), tmp_path, f"virtio-net-pci,disable-legacy=on,mac={MAC},romfile=")
    mine, _ = ours(program, [VirtioNet(MAC)])
    mine = [value & mask for value, mask in zip(mine, program.masks, strict=True)]
    assert mine == [value & mask for value, mask in zip(theirs, program.masks, strict=True)]
    return mine


@needs_qemu
def test_registers_say_what_qemus_say(tmp_path):
    def make(p: Steps) -> Steps:
        p.negotiate().look(0x14)
        for half in (0, 1, 2, 7):
            p.reg(0x08, half).look(0x08, 0x0C)
        p.reg(0x0C, 0xFFFFFFFF)
        for queue in (0, 1):
            p.reg(0x16, queue, 2).look(0x18, 0x1C).reg(0x20, 0x12345000 + queue).reg(0x24, queue).look(0x20, 0x24)
        p.read(p.at.config, window=p.at.window)
        p.masks.append(0xFFFFFFFF)
        p.bring_up().look(0x14).reg(0x16, 1, 2).look(0x18, 0x1C, 0x20, 0x24, 0x28, 0x30)
        p.reg(0x14, 0, 1).look(0x14).reg(0x16, 1, 2).look(0x18, 0x1C, 0x20, 0x28, 0x30)
        return p

    said = beside(make, tmp_path)
    assert said[0] & 0xFF == 0x0B and 0x12005452 in said


HARM = {
    "a cycle": ([(OUT, 40, 1, 1), (OUT, 40, 1, 0)], [0], None),
    "a link beyond the table": ([(OUT, 40, 1, 8)], [0], None),
    "a head beyond the table": ([(OUT, 72, 0, 0)], [8], None),
    "an index that jumped": ([(OUT, 72, 0, 0)], [0], 9),
    "an index that went back": ([(OUT, 72, 0, 0)], [0], 65535),
    "a table inside a table": ([(TABLE, 16, 4, 0)], [0], None),
    "a table of no length": ([(TABLE, 0, 4, 0)], [0], None),
    "a table of odd length": ([(TABLE, 17, 4, 0)], [0], None),
    "a link beyond a table": ([(TABLE + 64, 16, 4, 0)], [0], None),
    "a cycle in a table": ([(TABLE + 128, 32, 4, 0)], [0], None),
}


UNSEEN = ("an index that jumped", "an index that went back", "a table inside a table")
"""Harm that QEMU's device does not look for: it sends whatever heads there are, and takes an indirect table inside
another one for a buffer."""


def harmed(p: Steps, name: str, queue: int) -> Steps:
    rows, heads, index = HARM[name]
    p.bring_up().descriptors(queue, rows)
    p.descriptors(queue, [(TABLE, 16, 4, 0)], TABLE)
    p.descriptors(queue, [(OUT, 40, 1, 1)], TABLE + 64)
    p.descriptors(queue, [(OUT, 40, 1, 1), (OUT, 40, 1, 0)], TABLE + 128)
    return p.offer(queue, heads, index)


@needs_qemu
def test_broken_rings_end_as_with_qemus_device(tmp_path):
    """It asks for a reset, uses nothing, and works after one: status, configuration interrupt, used index."""

    seen = [name for name in HARM if name not in UNSEEN]

    def make(p: Steps) -> Steps:
        for name in seen:
            harmed(p, name, 1).poll(0x14, 0x40)  # QEMU looks at its queue in another thread, when that gets to run
            p.look(0x14).look_isr().fetch(USED + APART, 4)
        p.put(OUT, bytes(12) + FRAME)
        p.bring_up().descriptors(1, [(OUT, 12, 1, 1), (OUT + 12, len(FRAME), 0, 0)]).offer(1, [0])
        p.add(WAIT, USED + APART, 1 << 16)
        return p.look(0x14).fetch(USED + APART, 12)

    said = beside(make, tmp_path)
    for i, name in enumerate(seen):
        status, isr, used = said[3 * i : 3 * i + 3]
        assert (status, isr, used) == (0x4F, 2, 0), name
    assert said[-4] == 0x0F and said[-3:] == [1 << 16, 0, 0]


class Caged:
    """A machine whose memory lies between canaries."""

    def __init__(self, program: Program):
        self.card = VirtioNet(MAC)
        self.machine = load(program, [self.card], RAM_MB)
        size = RAM_MB << 20
        self.whole = np.full(size + 2 * MARGIN, 0xA5, np.uint8)
        ram = self.whole[MARGIN : MARGIN + size]
        ram[:] = self.machine.ram
        self.machine.ram = self.machine.core.ram = ram

    def run(self, instructions: int = 20_000_000) -> list[int]:
        """Run to the end, giving the card frames and taking its own all the while."""
        seen = self.machine.console.size
        for turn in range(200):
            for i in range(4):
                self.card.rx.push(bytes((turn + i + k) & 255 for k in range(60 + 97 * (turn % 20))))
            stop = self.machine.run(instructions=instructions // 200)
            self.sent = self.card.tx.pop_many(1000)
            if stop == "exit":
                break
        assert stop == "exit", stop
        assert (self.whole[:MARGIN] == 0xA5).all() and (self.whole[-MARGIN:] == 0xA5).all()
        VirtioNet.check(self.card.fields())
        return numbers(self.machine.console.since(seen).decode())

    def works_afterwards(self) -> None:
        """The same card, brought up as it should be, by a new program: a frame goes each way."""
        again = Steps().put(OUT, bytes(12) + FRAME)
        assert isinstance(again, Steps)
        again.bring_up().descriptors(1, [(OUT, 12 + len(FRAME), 0, 0)]).descriptors(0, [(IN, 2000, 2, 0)])
        again.offer(1, [0]).offer(0, [0]).add(WAIT, USED, 1 << 16)
        again.look(0x14).get(USED + APART, 4).get(USED, 12).get(IN + 12, 64)
        self.card.rx.clear()
        self.card.tx.clear()
        self.machine.write(CODE, again.bytes())
        seen = self.machine.console.size
        self.machine.enter(struct.unpack_from("<I", again.bytes(), 28)[0])
        assert self.machine.run(instructions=100_000) == "instructions"  # it waits for the frame
        self.card.rx.push(FRAME)
        assert self.machine.run(instructions=5_000_000) == "exit"
        said = numbers(self.machine.console.since(seen).decode())
        assert said[0] & 0xFF == 0x0F and said[1] == 1 << 16 and said[2] == 1 << 16
        assert said[4] == 12 + len(FRAME) and struct.pack("<16I", *said[5:]) == FRAME[:64]
        assert [frame.data for frame in self.card.tx.pop_many()] == [FRAME]


@pytest.mark.parametrize("queue", [0, 1])
@pytest.mark.parametrize("name", HARM)
def test_a_broken_ring_on_the_pc(name, queue):
    p = harmed(Steps(), name, queue)
    for _ in range(60):
        p.look(0x14)
    caged = Caged(p)
    assert caged.run()[-1] & 0xFF == 0x4F and caged.card.trouble
    caged.works_afterwards()


BUFFERS = {
    "beyond memory": RAM_MB << 20, "at the edge": (RAM_MB << 20) - 9, "the card's registers": 0xE0000000,
    "the ring itself": DESC, "the driver": CODE + 0x800, "the end of all addresses": (1 << 64) - 9, "sign": 1 << 63,
    "null": 0,
}  # fmt: skip


@pytest.mark.parametrize("name", BUFFERS)
def test_buffers_anywhere(name):
    """Sent from there and received there. What the used ring says, the status, and that the machine goes on."""
    p = Steps().put(OUT, bytes(12))
    assert isinstance(p, Steps)
    p.bring_up()
    for queue, write in ((1, 0), (0, 2)):
        rows = []
        for i in range(4):
            rows += [(OUT + 0x100 * i, 12, 1 | write, 2 * i + 1), (BUFFERS[name], 900, write, 0)]
        p.descriptors(queue, rows)
        if queue or name not in ("the ring itself", "the driver"):
            p.offer(queue, [0, 2, 4, 6])
    for _ in range(60):
        p.look(0x14)
    p.get(USED + APART, 4)
    caged = Caged(p)
    said = caged.run()
    assert said[-1] == 4 << 16 and said[-2] & 0xFF == 0x0F
    caged.works_afterwards()


@pytest.mark.parametrize("place", [RAM_MB << 20, (RAM_MB << 20) - 64, 0xE0000000, CODE, 0xFFFFFFF0])
@pytest.mark.parametrize("at", [0x20, 0x28, 0x30])
def test_rings_anywhere(place, at):
    p = Steps().bring_up().reg(0x14, 0, 1).negotiate()
    for queue in (0, 1):
        p.reg(0x16, queue, 2).reg(0x18, 8, 2)
        for each, base in ((0x20, DESC), (0x28, AVAIL), (0x30, USED)):
            p.reg(each, place if each == at and queue else base + queue * APART)
        p.reg(0x1C, 1, 2)
    p.reg(0x14, 0x0F, 1).descriptors(1, [(OUT, 72, 0, 0)])
    if (place, at) == (CODE, 0x30):
        p.offer(1, [], 0)
    else:
        p.offer(1, [0])
    for _ in range(20):
        p.look(0x14)
    caged = Caged(p)
    assert caged.run()[-1] & 0xBF == 0x0F
    caged.works_afterwards()


@pytest.mark.parametrize("seed", range(6))
def test_storms_of_writes(seed):
    """Any value to any register, between proper beginnings and notifications."""
    p = Steps()
    for i in range(6):
        p.bring_up().descriptors(1, [(OUT, 72, 0, 0)] * 8).descriptors(0, [(IN, 1600, 2, 0)] * 8)
        p.offer(0, [0, 1, 2, 3]).offer(1, [0, 1, 2])
        p.add(8, 500, seed * 7919 + i, (0xFF, 0x3FFF, 0x3F, 0x20FF)[i % 4])
        p.offer(1, [0, 1, 2, 3, 4, 5]).reg(0x16, i, 2)
    p.look(0x14)
    caged = Caged(p)
    assert len(caged.run()) == 1
    caged.works_afterwards()
