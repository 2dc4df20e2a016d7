"""Kernels made by hand: just enough of ELF and bzImage, written without looking at the readers."""

from __future__ import annotations

import gzip
import lzma
import struct

import zstandard

LINKED = 0x1000000


def elf(*segments: tuple[int, bytes, int], entry: int | None = None, machine: int = 3, bits: int = 32) -> bytes:
    """An executable with segments ``(physical address, data, bytes in memory)``."""
    start = 52 + 32 * len(segments)
    table, body = b"", b""
    for address, data, size in segments:
        table += struct.pack("<8I", 1, start + len(body), 0xC0000000 + address, address, len(data), size, 5, 4096)
        body += data
    ident = b"\x7fELF" + bytes([1 if bits == 32 else 2, 1, 1]) + bytes(9)
    first = segments[0][0] if segments else 0
    entry = first if entry is None else entry
    head = struct.pack("<HHIIIIIHHHHHH", 2, machine, 1, entry, 52, 0, 0, 52, 32, len(segments), 40, 0, 0)
    return ident + head + table + body


PACKERS = {
    "gzip": gzip.compress,
    "xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32),
    "zstd": zstandard.ZstdCompressor().compress,
    "none": bytes,
}


def bzimage(
    vmlinux: bytes,
    packing: str = "gzip",
    *,
    version: int = 0x20F,
    loadflags: int = 1,
    xloadflags: int = 0,
    init_size: int = 0x200000,
    initrd_max: int = 0x7FFFFF00,
    cmdline_max: int = 2047,
    setup_sectors: int = 3,
    before: int = 64,
) -> bytes:
    """A bzImage: boot sector, setup sectors, ``before`` bytes of a decompressor, the payload with its size behind."""
    payload = PACKERS[packing](vmlinux) + struct.pack("<I", len(vmlinux))
    image = bytearray(512 * (setup_sectors + 1))
    image[0x1F1] = setup_sectors
    image[0x1FE:0x200] = b"\x55\xaa"
    image[0x200:0x202] = b"\xeb\x6a"  # jump to 0x202 + 0x6a, which is where the header ends
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, version)
    image[0x211] = loadflags
    struct.pack_into("<I", image, 0x22C, initrd_max)
    struct.pack_into("<H", image, 0x236, xloadflags)
    struct.pack_into("<I", image, 0x238, cmdline_max)
    struct.pack_into("<II", image, 0x248, before, len(payload))
    struct.pack_into("<Q", image, 0x258, LINKED)
    struct.pack_into("<I", image, 0x260, init_size)
    return bytes(image) + b"\x90" * before + payload
