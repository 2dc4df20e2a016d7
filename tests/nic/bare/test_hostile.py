"""Drivers that misuse the card, on the emulated PC: nothing hangs, nothing is touched outside the guest's memory, the
card says what the data sheet says, and afterwards it works."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from aero_lab.machine.machine import Machine
from aero_lab.nic.e1000 import E1000
from aero_lab.nic.e1000.names import OFFSETS as R

from .program import CODE, CONFIG, STORM, WRITE8, Program, load, needs_nasm, numbers
from .test_qemu import IN, OUT, RX, SELF, TX, bring_up, context, data, legacy, packet

pytestmark = [needs_nasm, pytest.mark.timeout(300)]

RAM_MB = 4
MARGIN = 1 << 16


class Caged:
    """A machine whose memory lies between canaries."""

    def __init__(self, program: Program):
        self.card = E1000()
        self.machine = load(program, [self.card], RAM_MB)
        size = RAM_MB << 20
        self.whole = np.full(size + 2 * MARGIN, 0xA5, np.uint8)
        ram = self.whole[MARGIN : MARGIN + size]
        ram[:] = self.machine.ram
        self.machine.ram = self.machine.core.ram = ram

    def run(self, instructions: int = 30_000_000) -> list[int]:
        """Run to the end, giving the card frames and taking its own all the while."""
        for turn in range(200):
            stop = self.machine.run(instructions=instructions // 200)
            for i in range(4):
                self.card.rx.push(SELF + bytes((turn + i + k) & 255 for k in range(60 + 97 * (turn % 20))))
            self.card.tx.pop_many(1000)
            if stop == "exit":
                break
        assert stop == "exit", stop
        assert (self.whole[:MARGIN] == 0xA5).all() and (self.whole[-MARGIN:] == 0xA5).all()
        return numbers(self.machine.console.text)


def works_afterwards(caged: Caged) -> None:
    """The same card, brought up as it should be, by a new program: loopback gives back what was sent."""
    again = bring_up(reset(Program()))
    again.put(OUT, packet())
    again.put(TX, legacy(OUT, 94)).write(R["TDT"], 1).get(RX + 8, 8).read(R["TDH"]).get(IN, 96)
    machine: Machine = caged.machine
    caged.card.rx.clear()
    machine.write(CODE, again.bytes())
    seen = machine.console.size
    machine.enter(struct.unpack_from("<I", again.bytes(), 28)[0])
    stop = machine.run(instructions=5_000_000)
    said = numbers(machine.console.since(seen).decode())
    assert stop == "exit" and said[0] & 0xFFFF == 94 and said[1] & 3 == 3 and said[2] == 1
    assert struct.pack(f"<{len(said) - 3}I", *said[3:])[:94] == packet()


def reset(program: Program) -> Program:
    return program.write(R["CTRL"], 1 << 26).write(R["IMC"], 0xFFFFFFFF)


def rings(program: Program, descriptors: list[bytes], n: int = 8) -> Program:
    """Rings at their places, transmitter and receiver on."""
    for i, raw in enumerate(descriptors):
        program.put(TX + 16 * i, raw)
    for i in range(n):
        program.put(RX + 16 * i, struct.pack("<QQ", IN + 2048 * i, 0))
    for name, value in {
        "RDBAL": RX, "RDLEN": 16 * n, "RDT": n - 1, "TDBAL": TX, "TDLEN": 16 * n, "RCTL": 0x8002 | 1 << 26, "TCTL": 2,
    }.items():  # fmt: skip
        program.write(R[name], value)
    return program


def kicked(program: Program, tail: int) -> Program:
    return program.write(R["TDT"], tail).read(R["TDH"])


TSO = [context((14, 24, 33), (34, 50, 0), 7, 54, 0, 100), data(OUT, 154, 13, popts=3)]
ABUSE = {
    "head equal to tail": (lambda p: kicked(rings(p, [legacy(OUT, 60)] * 8), 0), 0),
    "tail beyond the ring": (lambda p: kicked(rings(p, [legacy(OUT, 60)] * 8), 8), 0),
    "tail far beyond the ring": (lambda p: kicked(rings(p, [legacy(OUT, 60)] * 8), 0xFFFF), 0),
    "ring of length 0": (lambda p: kicked(rings(p, [legacy(OUT, 60)] * 8).write(R["TDLEN"], 0), 3), 0),
    "descriptors of length 0": (lambda p: kicked(rings(p, [legacy(OUT, 0)] * 8), 7), 7),
    "no end of packet": (lambda p: kicked(rings(p, [legacy(OUT, 60, 8)] * 8), 7), 7),
    "segmentation with mss 0": (lambda p: kicked(rings(p, TSO), 2), 2),
    "buffer beyond memory": (lambda p: kicked(rings(p, [legacy(RAM_MB << 20, 60)] * 8), 7), 7),
    "buffer at the edge": (lambda p: kicked(rings(p, [legacy((RAM_MB << 20) - 9, 60)] * 8), 7), 7),
    "buffer at the card's own registers": (lambda p: kicked(rings(p, [legacy(0xE0000000, 60)] * 8), 7), 7),
    "buffer at the end of all addresses": (lambda p: kicked(rings(p, [legacy((1 << 64) - 9, 60)] * 8), 7), 7),
    "ring beyond memory": (lambda p: kicked(rings(p, []).write(R["TDBAL"], RAM_MB << 20), 7), 7),
    "ring at the edge of memory": (lambda p: kicked(rings(p, []).write(R["TDBAL"], (RAM_MB << 20) - 64), 7), 7),
    "ring above 4 GB": (lambda p: kicked(rings(p, []).write(R["TDBAH"], 0xFFFFFFFF), 7), 7),
    "descriptors that point at themselves": (lambda p: kicked(rings(p, [legacy(TX, 128)] * 8), 7), 7),
    "the ring lies in the driver's code": (lambda p: kicked(rings(p, []).write(R["TDBAL"], CODE), 3), 3),
    "all lengths the largest": (lambda p: kicked(rings(p, [data(OUT, 0xFFFFF, 8)] * 8), 7), 7),
    "unknown descriptors": (lambda p: kicked(rings(p, [struct.pack("<QII", OUT, 0x2BF0003C, 0)] * 8), 7), 7),
}


@pytest.mark.parametrize("name", ABUSE)
def test_the_transmitter_misused(name):
    make, head = ABUSE[name]
    caged = Caged(make(Program()).read(R["STATUS"]))
    assert caged.run() == [head, 0x83]
    works_afterwards(caged)


BUFFERS = {
    "beyond memory": RAM_MB << 20, "edge": (RAM_MB << 20) - 9, "registers": 0xE0000000, "the ring itself": RX,
    "end of all addresses": (1 << 64) - 9, "null": 0, "sign": 1 << 63,
}  # fmt: skip


@pytest.mark.parametrize("name", BUFFERS)
@pytest.mark.parametrize("tail", [7, 8, 0xFFFF])
def test_the_receiver_misused(name, tail):
    program = rings(Program(), [])
    for i in range(8):
        program.put(RX + 16 * i, struct.pack("<QQ", BUFFERS[name], 0))
    program.write(R["RDT"], tail)
    for _ in range(300):
        program.read(R["RDH"]).write(R["ICS"], 0x80)
    caged = Caged(program)
    said = caged.run()
    assert max(said) < 8 and (tail < 8 or max(said) == 0)
    works_afterwards(caged)


def test_frames_stored_over_the_drivers_code_are_what_it_runs():
    """A buffer inside the code of the driver: the processor runs the new bytes, and falls, not the machine."""
    program = rings(Program(), [])
    for i in range(8):
        program.put(RX + 16 * i, struct.pack("<QQ", CODE + 256, 0))
    program.write(R["RDT"], 7)
    for _ in range(2000):
        program.read(R["RDH"])
    card = E1000()
    machine = load(program, [card], RAM_MB)
    machine.run(instructions=60_000)
    for _ in range(6):
        card.rx.push(SELF + b"\xf4" * 1000)
    stop = machine.run(instructions=20_000_000)
    assert stop in ("halted", "shutdown", "instructions")


@pytest.mark.parametrize("seed", range(6))
def test_storms_of_writes(seed):
    """Any value to any register, in the low ones and everywhere, and tails anywhere in between."""
    program = rings(Program(), [legacy(OUT, 60)] * 8)
    for i in range(8):
        program.add(STORM, 600, seed * 7919 + i, (0xFF, 0x1FF, 0x3FFF, 0x1FFFF)[i % 4])
        program.write(R["TDT"], (seed + i) & 7).write(R["RDT"], i).add(WRITE8, R["TCTL"], 0xFF)
    program.read(R["CTRL_EXT"])
    caged = Caged(program)
    assert len(caged.run()) == 1
    E1000.check(caged.card.fields())
    works_afterwards(caged)


def test_without_leave_of_pci_nothing_reaches_memory():
    program = rings(Program(), [legacy(OUT, 60)] * 8).add(CONFIG, 4, 3)
    kicked(program, 5)
    kicked(program.add(CONFIG, 4, 7), 6)
    caged = Caged(program)
    assert caged.run() == [0, 6]
