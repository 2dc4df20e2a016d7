"""What a loader needs of ELF: the segments of a 32-bit x86 program.

Tool Interface Standard (TIS) Executable and Linking Format, version 1.2; the i386 supplement of the System V ABI.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ...errors import Malformed

MAGIC = b"\x7fELF"
CLASS_32, LITTLE = 1, 1
MACHINES = {3: "i386", 8: "MIPS", 20: "PowerPC", 40: "ARM", 62: "x86-64", 183: "AArch64", 243: "RISC-V"}
"""``e_machine``: those whose kernels somebody may try."""
EM_386 = 3
PT_LOAD = 1
SEGMENTS = 64
"""Program headers read; a kernel has three or four."""

_EHDR = struct.Struct("<16sHHIIIIIHHHHHH")
_PHDR = struct.Struct("<IIIIIIII")


@dataclass(frozen=True)
class Segment:
    """A piece of a program: ``data`` at ``address`` (physical), zeros after it up to ``size``."""

    address: int
    size: int
    data: bytes


@dataclass(frozen=True)
class Program:
    """An executable: where it starts, and its segments in the order of the file."""

    entry: int
    segments: tuple[Segment, ...]

    @property
    def start(self) -> int:
        return min(segment.address for segment in self.segments)

    @property
    def end(self) -> int:
        return max(segment.address + segment.size for segment in self.segments)


def check_machine(data: bytes) -> None:
    """Raise :class:`Malformed` unless ``data`` begins like a little-endian 32-bit ELF file for i386."""
    if data[:4] != MAGIC:
        raise Malformed("elf", "it does not begin with ELF's magic number")
    if len(data) < _EHDR.size:
        raise Malformed("elf", "the header is cut short")
    order = "little" if data[5] == LITTLE else "big"
    machine = int.from_bytes(data[18:20], order)  # type: ignore[arg-type]
    if machine != EM_386 or data[4] != CLASS_32 or order != "little":
        name = MACHINES.get(machine, f"machine {machine}")
        raise Malformed("elf-machine", f"it is for {name}, and this machine is an i386")


def read_program(data: bytes) -> Program:
    """The segments of an executable that are loaded."""
    check_machine(data)
    (_, _, _, _, entry, table, _, _, _, each, count, *_) = _EHDR.unpack_from(data)
    if each != _PHDR.size or not 0 < count <= SEGMENTS or table + each * count > len(data):
        raise Malformed("elf-segments", "the table of segments is not where it should be")
    segments = []
    for number in range(count):
        kind, offset, _, physical, size, full, _, _ = _PHDR.unpack_from(data, table + number * each)
        if kind != PT_LOAD:
            continue
        if offset + size > len(data):
            raise Malformed("elf-segments", f"segment {number} is cut short")
        if full < size or physical + full > 1 << 32:
            raise Malformed("elf-segments", f"segment {number} does not fit the address space")
        segments.append(Segment(physical, full, data[offset : offset + size]))
    if not segments:
        raise Malformed("elf-segments", "there is none to load")
    program = Program(entry, tuple(segments))
    if not program.start <= entry < program.end:
        raise Malformed("elf-entry", f"{entry:#x} lies in no segment")
    return program
