"""Linux entered directly, by the 32-bit boot protocol: what lies where in memory, and what the registers hold.

Documentation/x86/boot.rst, "32-bit Boot Protocol": flat segments from a GDT of ours, paging and interrupts off, ESI at
boot_params. boot_params is Documentation/x86/zero-page.rst: a copy of the kernel's setup header amid what a BIOS would
have told.

::

    0x01000  GDT                  0x0FFF0  stack (the kernel sets its own at once)
    0x10000  boot_params          0x20000  command line          0x30000  setup_data
    where it was linked (0x1000000)  kernel
    below the top of memory          initrd
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import Malformed, UsageError
from .bzimage import HEADER, Kernel, read_kernel

GDT, STACK, BOOT_PARAMS, CMDLINE, SETUP_DATA = 0x1000, 0xFFF0, 0x10000, 0x20000, 0x30000
CODE, DATA = 0x10, 0x18
"""Selectors the protocol prescribes (``__BOOT_CS``, ``__BOOT_DS``)."""
FLAT_CODE, FLAT_DATA = 0x00CF9B000000FFFF, 0x00CF93000000FFFF
"""Descriptors: base 0, limit 4 GiB, ring 0, 32 bits, accessed; execute/read and read/write."""
CR0_PROTECTED = 0x11
"""PE, and ET, which is fixed on every processor with an x87 inside."""
EFLAGS_RESET = 0x2
"""Only the bit that is always set."""

PAGE = 4096
LOW_END, EBDA, BIOS_ROM, HIGH = 0x9FC00, 0x9FC00, 0xF0000, 0x100000
"""Memory as PC BIOSes tell it: low memory up to the extended BIOS data area, then from 1 MiB on."""
RAM, RESERVED = 1, 2
"""Types of an e820 entry."""
FILE_MOST = 512 << 20
"""Bytes a kernel or initrd file may have."""

# Offsets in boot_params.
SCREEN_INFO, E820_ENTRIES, E820_TABLE = 0x000, 0x1E8, 0x2D0
VID_MODE, TYPE_OF_LOADER = 0x1FA, 0x210
RAMDISK_IMAGE, RAMDISK_SIZE, CMD_LINE_PTR = 0x218, 0x21C, 0x228
SETUP_DATA_PTR = 0x250
ALT_MEM_K = 0x1E0
SETUP_RNG_SEED = 9
"""Type of a setup_data entry: bytes for the kernel's random number generator (Linux 6.0; others skip it)."""
OTHER_LOADER = 0xFF
"""``type_of_loader`` of one that has no number."""

TUNED = (
    "cryptomgr.notests=1 noisapnp mitigations=off nokaslr acpi=off noapic nolapic pci=nomsi tsc=reliable lpj=400000 "
    "initcall_blacklist=load_system_certificate_list,load_revocation_certificate_list,blake2s_mod_init,"
    "crypto_kdf108_init,isapnp_init,init_kprobe_trace"
)
"""Words of a command line that leave out what costs an emulated machine most of its boot: self tests of ciphers, looks
for buses and controllers that this machine has not, certificates, calibrations. A sixteenth of the work is left."""
CONSOLE = "console=ttyS0"


@dataclass(frozen=True)
class BootImage:
    """Memory and registers at the moment of entering a kernel.

    Parameters
    ----------
    pieces: ``(physical address, bytes)``; all other memory is zero.
    entry: EIP.
    registers: general registers by name; those not named are 0.
    cmdline: the command line as given.
    """

    pieces: tuple[tuple[int, bytes], ...]
    entry: int
    registers: dict[str, int]
    cmdline: str
    gdt_base: int = GDT
    gdt_limit: int = 0x1F
    code: int = CODE
    data: int = DATA
    cr0: int = CR0_PROTECTED
    eflags: int = EFLAGS_RESET
    initrd: tuple[int, int] | None = field(default=None)
    """Address and size of the initrd."""

    @property
    def end(self) -> int:
        """First address after the last piece."""
        return max(address + len(data) for address, data in self.pieces)


def linux(
    kernel: bytes | str | os.PathLike[str],
    initrd: bytes | str | os.PathLike[str] | None = None,
    cmdline: str = f"{CONSOLE} {TUNED}",
    *,
    ram_bytes: int,
    screen: bool = False,
    rng_seed: bytes = b"",
) -> BootImage:
    """Lay out a Linux kernel for a machine with ``ram_bytes`` of memory. Raises :class:`UsageError` for a bad image.

    Parameters
    ----------
    kernel: a bzImage, or an uncompressed ELF kernel, for i386: a file or its bytes.
    initrd: an initramfs, or anything else the kernel takes; handed over as it is.
    cmdline: the kernel's command line, ASCII.
    screen: tell the kernel of a text screen of 80 columns and 25 lines at 0xB8000.
    rng_seed: what the kernel seeds its random numbers with, 32 bytes or more; without it programs that ask for some
        wait until the kernel has collected noise, and a machine whose time is its instructions has little.
    """
    name, data = read_file(kernel, "kernel")
    try:
        parsed = read_kernel(data)
    except Malformed as error:
        raise UsageError(f"{name}: {error}") from None
    ramdisk = read_file(initrd, "initrd")[1] if initrd is not None else b""
    return place(parsed, ramdisk, cmdline, ram_bytes, screen, rng_seed)


def place(
    kernel: Kernel, ramdisk: bytes, cmdline: str, ram_bytes: int, screen: bool = False, rng_seed: bytes = b""
) -> BootImage:
    """:func:`linux` with the files read."""
    line = _line(cmdline, kernel.cmdline_max)
    program = kernel.program
    if program.start < HIGH:
        raise UsageError(f"the kernel wants to be at {program.start:#x}, below 1 MiB, where this loader puts its own")
    kernel_end = max(program.end, program.start + kernel.init_size)
    pieces = [(segment.address, segment.data) for segment in program.segments if segment.data]
    top = min(ram_bytes, kernel.initrd_max + 1)
    start = (top - len(ramdisk)) & -PAGE
    if kernel_end > ram_bytes or (ramdisk and start < kernel_end):
        needed = -(-(kernel_end + len(ramdisk) + PAGE) >> 20)
        raise UsageError(f"this kernel and initrd need {needed} MB of memory, the machine has {ram_bytes >> 20}")
    params = bytearray(PAGE)
    params[HEADER : HEADER + len(kernel.header)] = kernel.header
    params[TYPE_OF_LOADER] = OTHER_LOADER
    _put(params, CMD_LINE_PTR, CMDLINE)
    _put(params, VID_MODE, 0xFFFF, 2)  # "normal": no mode was asked for
    _put(params, ALT_MEM_K, (ram_bytes - HIGH) >> 10)
    if ramdisk:
        _put(params, RAMDISK_IMAGE, start)
        _put(params, RAMDISK_SIZE, len(ramdisk))
        pieces.append((start, ramdisk))
    if rng_seed:
        _put(params, SETUP_DATA_PTR, SETUP_DATA, 8)
        pieces.append((SETUP_DATA, struct.pack("<QII", 0, SETUP_RNG_SEED, len(rng_seed)) + rng_seed))
    table = memory_map(ram_bytes)
    params[E820_ENTRIES] = len(table)
    for number, entry in enumerate(table):
        struct.pack_into("<QQI", params, E820_TABLE + 20 * number, *entry)
    if screen:
        _announce_screen(params)
    pieces += [
        (GDT, struct.pack("<4Q", 0, 0, FLAT_CODE, FLAT_DATA)),
        (BOOT_PARAMS, bytes(params)),
        (CMDLINE, line + b"\0"),
    ]
    return BootImage(
        pieces=tuple(sorted(pieces)),
        entry=program.entry,
        registers={"esi": BOOT_PARAMS, "esp": STACK},
        cmdline=cmdline,
        initrd=(start, len(ramdisk)) if ramdisk else None,
    )


def memory_map(ram_bytes: int) -> list[tuple[int, int, int]]:
    """What a BIOS would answer to INT 15h, AX=E820h: ``(start, size, type)``."""
    return [
        (0, LOW_END, RAM),
        (EBDA, 0xA0000 - EBDA, RESERVED),
        (BIOS_ROM, HIGH - BIOS_ROM, RESERVED),
        (HIGH, ram_bytes - HIGH, RAM),
    ]


def read_file(source: bytes | str | os.PathLike[str], what: str) -> tuple[str, bytes]:
    """Name and content of a file given by path or as bytes; :class:`UsageError` when it cannot be read."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"this {what}", bytes(source)
    path = Path(source)
    try:
        if path.stat().st_size > FILE_MOST:
            raise UsageError(f"{path}: a {what} larger than {FILE_MOST >> 20} MB is not read")
        return str(path), path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: the {what} cannot be read: {error.strerror or error}") from None


def _line(cmdline: str, most: int) -> bytes:
    try:
        line = cmdline.encode("ascii")
    except UnicodeEncodeError:
        raise UsageError("the kernel's command line must be ASCII") from None
    if b"\0" in line or b"\n" in line:
        raise UsageError("the kernel's command line must be one line")
    if len(line) > most:
        raise UsageError(f"the kernel's command line has {len(line):,} bytes; this kernel reads {most:,}")
    return line


def _announce_screen(params: bytearray) -> None:
    """screen_info (include/uapi/linux/screen_info.h): a colour VGA in text mode 3."""
    params[SCREEN_INFO + 0x06] = 3  # orig_video_mode
    params[SCREEN_INFO + 0x07] = 80  # orig_video_cols
    _put(params, SCREEN_INFO + 0x0A, 3, 2)  # orig_video_ega_bx: 256 KiB
    params[SCREEN_INFO + 0x0E] = 25  # orig_video_lines
    params[SCREEN_INFO + 0x0F] = 1  # orig_video_isVGA
    _put(params, SCREEN_INFO + 0x10, 16, 2)  # orig_video_points


def _put(target: bytearray, offset: int, value: int, size: int = 4) -> None:
    target[offset : offset + size] = value.to_bytes(size, "little")
