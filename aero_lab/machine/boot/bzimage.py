"""The bzImage: Linux's setup header, and the kernel packed behind it.

Documentation/x86/boot.rst of the kernel, "The Real-Mode Kernel Header". The compressed payload is unpacked here and its
ELF segments are placed; neither the real-mode code nor the kernel's own decompressor ever runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import Malformed
from .elf import MAGIC, Program, check_machine, read_program
from .unpack import unpack

SECTOR = 512
HEADER = 0x1F1
"""Where the setup header begins, in the file and in boot_params."""
BOOT_FLAG, HEADER_MAGIC, VERSION, LOADFLAGS = 0x1FE, 0x202, 0x206, 0x211
INITRD_ADDR_MAX, XLOADFLAGS, CMDLINE_SIZE = 0x22C, 0x236, 0x238
PAYLOAD_OFFSET, PAYLOAD_LENGTH, PREF_ADDRESS, INIT_SIZE = 0x248, 0x24C, 0x258, 0x260
HEADER_END = 0x268
"""End of the fields used here; a header of protocol 2.10 reaches as far."""
LOADED_HIGH = 1
XLF_KERNEL_64 = 1
OLDEST = 0x20A
"""Protocol 2.10 (Linux 2.6.31): the first that tells ``pref_address`` and ``init_size``."""
UNPACKED_MOST = 256 << 20
"""Bytes an unpacked kernel may have; Debian's has 18 MB."""
INITRD_MAX, CMDLINE_MAX = 0x37FFFFFF, 2047
"""What a plain ELF kernel, which has no header, is given: the usual limits of an i386 kernel."""


@dataclass(frozen=True)
class Kernel:
    """A kernel, ready to be placed.

    Parameters
    ----------
    header: the setup header for boot_params, from :data:`HEADER` on; empty for a plain ELF kernel.
    initrd_max: highest address an initrd may reach.
    cmdline_max: bytes of a command line, without the final zero.
    init_size: bytes it needs from its start on before it knows which memory is free, page tables included.
    """

    program: Program
    header: bytes
    initrd_max: int
    cmdline_max: int
    init_size: int


def read_kernel(data: bytes) -> Kernel:
    """A kernel from a bzImage or an uncompressed vmlinux. Raises :class:`Malformed`."""
    if data[:4] == MAGIC:
        program = read_program(data)
        return Kernel(program, b"", INITRD_MAX, CMDLINE_MAX, program.end - program.start)
    if len(data) < HEADER_END or data[HEADER_MAGIC : HEADER_MAGIC + 4] != b"HdrS" or _u16(data, BOOT_FLAG) != 0xAA55:
        raise Malformed("bzimage", "there is no Linux setup header: it is neither a bzImage nor an ELF kernel")
    version = _u16(data, VERSION)
    if version < OLDEST:
        raise Malformed("bzimage-version", f"boot protocol {_protocol(version)} is older than {_protocol(OLDEST)}")
    if not data[LOADFLAGS] & LOADED_HIGH:
        raise Malformed("bzimage-low", "it is a zImage, not a bzImage")
    if _u16(data, XLOADFLAGS) & XLF_KERNEL_64:
        raise Malformed("bzimage-machine", "it is for x86-64, and this machine is an i386")
    start = (1 + (data[HEADER] or 4)) * SECTOR + _u32(data, PAYLOAD_OFFSET)
    length = _u32(data, PAYLOAD_LENGTH)
    if not length:
        raise Malformed("bzimage-payload", "it tells of no payload")
    if start + length > len(data):
        raise Malformed("bzimage-payload", f"the file is cut short: {start + length:,} bytes, {len(data):,} there")
    payload = data[start : start + length]
    vmlinux = payload if payload[:4] == MAGIC else unpack(payload, UNPACKED_MOST)
    check_machine(vmlinux)
    end = HEADER_MAGIC + data[HEADER_MAGIC - 1]  # the jump over the header, whose operand is the header's size
    return Kernel(
        program=read_program(vmlinux),
        header=data[HEADER : max(end, HEADER_END)],
        initrd_max=_u32(data, INITRD_ADDR_MAX),
        cmdline_max=_u32(data, CMDLINE_SIZE),
        init_size=_u32(data, INIT_SIZE),
    )


def _protocol(version: int) -> str:
    return f"{version >> 8}.{version & 0xFF:02}"


def _u16(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 2], "little")


def _u32(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 4], "little")
