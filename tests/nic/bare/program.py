"""Lists of steps for the bare driver, and the machines that run them: ours, and QEMU's."""

from __future__ import annotations

import functools
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from aero_lab.machine.machine import Machine
from aero_lab.nic.base import Nic

needs_nasm = pytest.mark.skipif(not shutil.which("nasm"), reason="nasm is not installed")
needs_qemu = pytest.mark.skipif(not shutil.which("qemu-system-i386"), reason="QEMU is not installed")

CODE, LIST, IDENTITY = 0x100000, 0x200000, 0x100020
END, WRITE, READ, PUT, GET, WAIT, POLL, CONFIG, STORM, WRITE8, MOVE, DELAY, WRITE16 = range(13)
E1000_ID = 0x100E8086


@functools.cache
def image() -> bytes:
    """The driver, assembled."""
    source = Path(__file__).with_name("driver.asm")
    done = subprocess.run(
        ["nasm", "-f", "bin", "-o", "/dev/stdout", str(source)], capture_output=True, check=True, timeout=60
    )  # fmt: skip
    return done.stdout


class Program:
    """Steps, one after the other."""

    def __init__(self, identity: int = E1000_ID):
        self.identity = identity
        self.steps: list[tuple[int, int, int, int]] = []

    def add(self, what: int, first: int = 0, second: int = 0, third: int = 0) -> Program:
        self.steps.append((what, first & 0xFFFFFFFF, second & 0xFFFFFFFF, third))
        return self

    def write(self, register: int, value: int, window: int = 0) -> Program:
        return self.add(WRITE, register, value, window)

    def read(self, *registers: int, window: int = 0) -> Program:
        for register in registers:
            self.add(READ, register, 0, window)
        return self

    def put(self, address: int, data: bytes) -> Program:
        data += bytes(-len(data) % 4)
        for at in range(0, len(data), 4):
            self.add(PUT, address + at, int.from_bytes(data[at : at + 4], "little"))
        return self

    def get(self, address: int, size: int) -> Program:
        for at in range(0, size, 4):
            self.add(GET, address + at)
        return self

    def bytes(self) -> bytes:
        """Driver and list as they lie in memory from ``CODE`` on."""
        raw = bytearray(image())
        raw[IDENTITY - CODE : IDENTITY - CODE + 4] = struct.pack("<I", self.identity)
        raw = raw.ljust(LIST - CODE, b"\0")
        return bytes(raw) + b"".join(struct.pack("<4I", *step) for step in [*self.steps, (END, 0, 0, 0)])


def numbers(text: str) -> list[int]:
    return [int(line, 16) for line in text.split() if len(line) == 8]


def load(program: Program, cards: Sequence[Nic], ram_mb: int = 4) -> Machine:
    """Our machine, about to run a program."""
    m = Machine(ram_mb, nics=list(cards))
    raw = program.bytes()
    m.write(CODE, raw)
    m.enter(struct.unpack_from("<I", raw, 28)[0])
    return m


def ours(program: Program, cards: Sequence[Nic], instructions: int = 50_000_000) -> tuple[list[int], Machine]:
    """What the driver said on our machine, and the machine."""
    m = load(program, cards)
    stop = m.run(instructions=instructions)
    assert stop == "exit", (stop, m.console.text[-200:])
    return numbers(m.console.text), m


def qemu(program: Program, folder: Path, device: str) -> list[int]:
    """What it said under QEMU."""
    kernel = folder / "bare"
    kernel.write_bytes(program.bytes())
    command = [
        "qemu-system-i386", "-accel", "tcg", "-icount", "shift=10,sleep=off",
        "-m", "16", "-nodefaults", "-display", "none", "-no-reboot",
        "-serial", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel", str(kernel), "-device", device,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    assert done.returncode == 0x43, done.stderr
    return numbers(done.stdout)
