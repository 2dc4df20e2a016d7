"""Guests that mean harm, or are mad: the machine ends with a reason or goes on as hardware would, and nothing else in
the process notices. With ``NUMBA_DISABLE_JIT=1`` every access to memory is checked against its bounds."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest

from aero_lab.compiled.registry import PLAIN
from aero_lab.machine import stop
from aero_lab.machine.machine import Machine

from .guest import CODE, DATA, IDT, gate, machine, word

INSTRUCTIONS = 3_000 if PLAIN else 200_000
SEEDS = range(4 if PLAIN else 40)


def survives(m: Machine, instructions: int = INSTRUCTIONS) -> stop.Stop:
    """Run; whatever happens has a name, and the machine can still be asked everything."""
    result = m.run(instructions=instructions, timeout=60)
    assert result.reason in stop.MEANING and result.reason != stop.TIMEOUT
    assert m.icount <= instructions and len(m.state_hash()) == 32
    assert repr(m.registers) and repr(m.disassemble()) and m.screenshot().text is not None
    return result


def test_exceptions_with_nobody_to_take_them_are_a_triple_fault():
    for code in ("0f0b", "cc", "31c9 f7f1", "8e d9", "cd80"):
        m = machine(code)
        m._cpu.idt_limit = 0
        assert m.run(instructions=100) == "shutdown", code
        assert m.run() == "shutdown"


@pytest.mark.parametrize("target", [0xFEB00000, 0x30000000, 0xFFFFFFF0, 0xE0000000])
def test_a_jump_into_a_device_or_into_nothing(target):
    """There is no code: what is fetched is no instruction, and without handlers the processor shuts down."""
    m = machine(b"\xb8" + struct.pack("<I", target) + b"\xff\xe0")
    assert survives(m) == "shutdown"


def test_reads_and_writes_beyond_memory():
    m = machine("a1 00000030 a3 00800000 c705 00000030 55aa55aa a1 00000030 a3 04800000 8b1d fdff1f00 891d 08800000 f4")
    assert survives(m) == "halted"
    assert word(m, DATA) == word(m, DATA + 4) == 0xFFFFFFFF and m.counters["mmio_lost"] >= 3


def test_code_that_writes_itself():
    """The next instruction, and one in the block that is running, are what was written."""
    m = machine("c605 0a001000 42 90 90 b8 00000000 40 a3 00800000 f4")
    assert m.read(CODE + 9, 1) == b"\xb8"
    assert survives(m) == "halted" and word(m, DATA) == 0x43
    m = machine("b9 64000000 8305 0b001000 01 b8 00000000 e2f2 a3 00800000 f4")
    assert m.read(CODE + 12, 1) == b"\xb8"
    m.write(CODE + 7, struct.pack("<I", CODE + 13))
    assert survives(m) == "halted" and word(m, DATA) == 100


def test_code_that_overwrites_all_of_memory_with_itself():
    m = machine("be 00001000 bf 20001000 b9 00000200 f3a4 ebfe")
    survives(m)


@pytest.mark.parametrize("seed", SEEDS)
def test_absurd_page_tables(seed):
    """Directories of random entries, tables inside themselves, beyond memory and over devices."""
    rng = random.Random(seed)
    m = machine("0f22d8 0f20c0 0d 00000080 0f22c0 a1 00800000 a3 00000080 ff05 00000000 ebfe")
    directory = rng.choice([0x10000, 0x1FF000, 0x3FFFF000, 0xFFFFF000])
    m.registers.eax = directory
    entries = [
        rng.choice([rng.getrandbits(32), rng.getrandbits(32) | 7, directory | 7, 0x10007, 0xFFFFF007, 0x87])
        for _ in range(1024)
    ]
    entries[0] = rng.choice([entries[0], 0x87, 0x11007])
    at = min(directory, 0x1FF000)
    m.write(at, struct.pack("<1024I", *entries))
    m.write(0x11000, struct.pack("<1024I", *[i << 12 | rng.choice([7, 5, 3, 1, 0x87]) for i in range(1024)]))
    m._cpu.cr4 = rng.choice([0, 0x10])
    for vector in range(32):
        gate(m, vector, CODE + rng.randrange(30))
    survives(m)


@pytest.mark.parametrize("seed", SEEDS)
def test_bytes_that_mean_nothing(seed):
    """Random bytes as code, as descriptor tables and as everything else, in every mode that they happen to reach."""
    rng = np.random.default_rng(seed)
    m = machine(rng.integers(0, 256, 4096, np.uint8).tobytes())
    m.write(0, rng.integers(0, 256, 0x9000, np.uint8).tobytes())
    for vector in range(256):
        gate(m, vector, CODE + int(rng.integers(0, 4096)))
    m._cpu.idt_base = IDT
    for part in range(4):
        if survives(m, m.icount + INSTRUCTIONS // 4).final:
            break
        m.registers.eip = CODE + int(rng.integers(0, 4096))
        assert part < 4


@pytest.mark.parametrize("seed", SEEDS)
def test_a_storm_of_port_accesses(seed):
    """Every port of the board, written and read at random, by the guest itself."""
    rng = random.Random(seed)
    ports = [
        0x20, 0x21, 0xA0, 0xA1, *range(0x40, 0x44), 0x60, 0x61, 0x64, 0x70, 0x71, 0x80, 0x192, *range(0x3F8, 0x400),
        0x4D0, 0x4D1, 0xCF8, *range(0xCFC, 0xD00), 0x3D4, 0x3D5, 0x3DA, 0xE9, 0x1F0,
    ]  # fmt: skip
    code = b""
    for _ in range(400):
        code += b"\x66\xba" + struct.pack("<H", rng.choice(ports)) + b"\xb8" + struct.pack("<I", rng.getrandbits(32))
        code += rng.choice([b"\xee", b"\xec", b"\xef", b"\xed", b"\x66\xef", b"\x66\xed", b"\xfb"])
    m = machine(code + b"\xe9" + struct.pack("<i", -len(code) - 5))
    for vector in range(256):
        gate(m, vector, CODE)
    result = survives(m)
    assert result.reason in ("instructions", "reset", "power-off", "exit", "shutdown")


def test_an_interrupt_storm_leaves_time_for_the_rest():
    """The shortest periods of both timers at once."""
    m = machine(
        "fa b011 e620 b020 e621 b004 e621 b001 e621 b000 e621 b011 e6a0 b028 e6a1 b002 e6a1 b001 e6a1 b000 e6a1"
        "b034 e643 b002 e640 b000 e640"
        "b00a e670 b023 e671 b00b e670 b042 e671"
        "fb 40 ebfd",
        rate=100,
    )
    handler = 0x101000
    m.write(handler, bytes.fromhex("50 b00c e670 e471 b020 e6a0 e620 58 cf"))
    for vector in range(0x20, 0x30):
        gate(m, vector, handler)
    assert survives(m) == "instructions" and m.counters["interrupts"] > INSTRUCTIONS // 40 and m.registers.eax > 0


def test_sleeping_without_an_interrupt_to_wait_for():
    assert machine("fa f4").run() == "halted"
    m = machine("b0ff e621 e6a1 fb f4 ebfd")
    assert m.run(ns=10**9) == "time" and m.icount < 20


def test_a_string_instruction_without_an_end():
    m = machine("b9 ffffffff bf 00001000 fc f3aa ebfe")
    survives(m)
    m = machine("66ba 8000 b9 ffffff7f be 00000000 f36e f4")
    survives(m)


def test_real_mode_at_the_reset_vector_finds_no_firmware():
    m = Machine(2)
    assert survives(m).reason in ("shutdown", "instructions")
