"""The kernel as QEMU is given it: unpacked on the host, entered directly, like on the emulated PC.

QEMU's own way runs the kernel's decompressor in the guest, which takes longer than all the rest of a boot. So it gets
a Multiboot program instead: an ELF file with the pieces of :func:`aero_lab.machine.boot.linux` and a few instructions
of ours, which put the low ones in their places and enter the kernel.
"""

from __future__ import annotations

import struct
from dataclasses import replace

from ...machine.boot import BootImage
from ...machine.boot.linux import BOOT_PARAMS, HIGH, RAMDISK_IMAGE

STUB = 0x900000
"""Where our instructions lie: above low memory, below where kernels for this machine are linked."""
ALIGNED = 1 << 20
MULTIBOOT_MAGIC, MULTIBOOT_FLAGS = 0x1BADB002, 0
ELF_HEADER = struct.Struct("<16sHHIIIIIHHHHHH")
PROGRAM_HEADER = struct.Struct("<IIIIIIII")
PT_LOAD, EM_386, ET_EXEC = 1, 3, 2


def multiboot(image: BootImage) -> bytes:
    """A Multiboot program that enters ``image``."""
    image = _lowered(image)
    low = [(address, data) for address, data in image.pieces if address < HIGH]
    high = [(address, data) for address, data in image.pieces if address >= HIGH]
    segments = [(STUB, _stub(image, low)), *high]
    headers = ELF_HEADER.size + PROGRAM_HEADER.size * len(segments)
    # The loader looks for the Multiboot header in the first 8 KiB: our segment is the first.
    at = headers
    table = []
    for address, data in segments:
        table.append(PROGRAM_HEADER.pack(PT_LOAD, at, address, address, len(data), len(data), 7, 1))
        at += len(data)
    identity = b"\x7fELF" + bytes([1, 1, 1]) + bytes(9)
    head = ELF_HEADER.pack(
        identity, ET_EXEC, EM_386, 1, STUB + 12, ELF_HEADER.size, 0, 0, ELF_HEADER.size, PROGRAM_HEADER.size,
        len(segments), 0, 0, 0,
    )  # fmt: skip
    return b"".join([head, *table, *(data for _, data in segments)])


def _lowered(image: BootImage) -> BootImage:
    """The same with the initrd right behind the kernel instead of at the end of memory: QEMU loads all that lies
    between the first piece and the last."""
    if image.initrd is None:
        return image
    start, size = image.initrd
    others = [(address, data) for address, data in image.pieces if address != start]
    ramdisk = next(data for address, data in image.pieces if address == start)
    end = max(address + len(data) for address, data in others)
    place = min(-(-end // ALIGNED) * ALIGNED + 16 * ALIGNED, start)  # the kernel's own zeroed memory is in between
    pieces = []
    for address, data in others:
        if address == BOOT_PARAMS:
            data = data[:RAMDISK_IMAGE] + struct.pack("<I", place) + data[RAMDISK_IMAGE + 4 :]
        pieces.append((address, data))
    return replace(image, pieces=tuple(sorted([*pieces, (place, ramdisk)])), initrd=(place, size))


def _stub(image: BootImage, low: list[tuple[int, bytes]]) -> bytes:
    """Multiboot header, instructions, the low pieces: one segment at :data:`STUB`."""
    checksum = -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS) & 0xFFFFFFFF
    header = struct.pack("<III", MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, checksum)
    move = struct.Struct("<BIBIBI2s")
    tail = struct.Struct("<3sIBIH")
    size = len(header) + 2 + move.size * len(low) + tail.size + 12 + 4 * 5 + 1 + 6
    pointer = STUB + size  # of the descriptor table: limit, base
    data_at = pointer + 6
    code = bytearray(b"\xfa\xfc")  # cli; cld
    for address, data in low:  # mov esi, ..; mov edi, ..; mov ecx, ..; rep movsb
        code += move.pack(0xBE, data_at, 0xBF, address, 0xB9, len(data), b"\xf3\xa4")
        data_at += len(data)
    after = STUB + len(header) + len(code) + tail.size
    code += tail.pack(b"\x0f\x01\x15", pointer, 0xEA, after, image.code)  # lgdt [pointer]; jmp code:after
    code += struct.pack("<BI", 0xB8, image.data)  # mov eax, data
    code += b"\x8e\xd8\x8e\xc0\x8e\xe0\x8e\xe8\x8e\xd0"  # mov ds, es, fs, gs, ss
    code += struct.pack("<BIBI", 0xBE, image.registers["esi"], 0xBC, image.registers["esp"])  # mov esi; mov esp
    code += b"\x31\xdb\x31\xed\x31\xff"  # xor ebx, ebx; xor ebp, ebp; xor edi, edi
    code += struct.pack("<BIB", 0x68, image.entry, 0xC3)  # push entry; ret
    assert len(header) + len(code) <= size
    code += bytes(size - len(header) - len(code))
    return header + bytes(code) + struct.pack("<HI", image.gdt_limit, image.gdt_base) + b"".join(d for _, d in low)
