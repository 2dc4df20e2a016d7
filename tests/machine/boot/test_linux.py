"""What the loader lays out, against the boot protocol; and one clear line for each kernel that cannot be had."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aero_lab.errors import Malformed, UsageError
from aero_lab.machine.boot import linux
from aero_lab.machine.boot.bzimage import read_kernel
from aero_lab.machine.boot.unpack import WINDOW, unpack

from .make import LINKED, PACKERS, bzimage, elf

MB = 1 << 20
TEXT, DATA = bytes(range(256)) * 40, b"data" * 300
VMLINUX = elf((LINKED, TEXT, len(TEXT)), (LINKED + 0x10000, DATA, 0x8000))


def memory(image, size):
    ram = bytearray(size)
    for address, data in image.pieces:
        assert not any(ram[address : address + len(data)]), "two pieces overlap"
        ram[address : address + len(data)] = data
    assert len(ram) == size
    return ram


@pytest.mark.parametrize("packing", PACKERS)
def test_a_kernel_lies_where_it_was_linked_and_is_told_what_the_protocol_says(packing):
    initrd = b"initrd!" * 1000
    image = linux(bzimage(VMLINUX, packing), initrd, "console=ttyS0 quiet", ram_bytes=64 * MB)
    ram = memory(image, 64 * MB)
    assert ram[LINKED : LINKED + len(TEXT)] == TEXT
    assert ram[LINKED + 0x10000 : LINKED + 0x10000 + len(DATA)] == DATA
    assert image.entry == LINKED
    params = ram[image.registers["esi"] :][:4096]
    assert params[0x1FE:0x200] == b"\x55\xaa" and params[0x202:0x206] == b"HdrS", "the setup header is copied"
    assert params[0x210] == 0xFF
    line, address, size = (struct.unpack_from("<I", params, at)[0] for at in (0x228, 0x218, 0x21C))
    assert ram[line : ram.index(0, line)] == b"console=ttyS0 quiet"
    assert ram[address : address + size] == initrd and address % 4096 == 0
    assert address + size > 63 * MB, "as high as it goes, out of the kernel's way"
    entries = [struct.unpack_from("<QQI", params, 0x2D0 + 20 * n) for n in range(params[0x1E8])]
    assert sum(size for _, size, kind in entries if kind == 1) == 64 * MB - (0x100000 - 0x9FC00)
    assert entries[-1] == (MB, 63 * MB, 1)
    assert all(b[0] >= a[0] + a[1] for a, b in zip(entries, entries[1:])), "in order, without overlap"


def test_segments_are_flat_and_protected_mode_is_on():
    image = linux(bzimage(VMLINUX), ram_bytes=32 * MB)
    ram = memory(image, 32 * MB)
    assert image.gdt_limit >= image.data + 7 and (image.code, image.data) == (0x10, 0x18)
    for selector, kind in ((image.code, 0xB), (image.data, 0x3)):
        low, high = struct.unpack_from("<II", ram, image.gdt_base + selector)
        base = low >> 16 | (high & 0xFF) << 16 | high & 0xFF000000
        limit = low & 0xFFFF | high & 0xF0000
        granular, big, present, ring, code = high >> 23 & 1, high >> 22 & 1, high >> 15 & 1, high >> 13 & 3, high >> 8
        assert (base, limit, granular, big, present, ring, code & 0x1F) == (0, 0xFFFFF, 1, 1, 1, 0, 0x10 | kind)
    assert image.cr0 & 1 and not image.cr0 >> 31 and not image.eflags & 0x200


def test_a_text_screen_is_told_of_when_there_is_one():
    with_screen = dict(linux(bzimage(VMLINUX), ram_bytes=32 * MB, screen=True).pieces)[0x10000]
    without = dict(linux(bzimage(VMLINUX), ram_bytes=32 * MB).pieces)[0x10000]
    assert (with_screen[6], with_screen[7], with_screen[0xE], with_screen[0xF]) == (3, 80, 25, 1)
    assert without[:0x40] == bytes(0x40)


def test_random_numbers_are_seeded_by_a_setup_data_entry():
    ram = memory(linux(bzimage(VMLINUX), ram_bytes=32 * MB, rng_seed=bytes(range(1, 33))), 32 * MB)
    (at,) = struct.unpack_from("<Q", ram, 0x10000 + 0x250)
    assert struct.unpack_from("<QII", ram, at) == (0, 9, 32) and ram[at + 16 : at + 48] == bytes(range(1, 33))
    plain = memory(linux(bzimage(VMLINUX), ram_bytes=32 * MB), 32 * MB)
    assert plain[0x10250:0x10258] == bytes(8)


def test_an_initrd_stays_below_what_the_kernel_can_reach():
    image = linux(bzimage(VMLINUX, initrd_max=0x1FFFFFF), b"x" * 5000, ram_bytes=256 * MB)
    assert image.initrd is not None
    address, size = image.initrd
    assert address + size <= 0x2000000 and size == 5000


def test_an_uncompressed_kernel_will_do():
    image = linux(VMLINUX, b"i", "quiet", ram_bytes=32 * MB)
    assert memory(image, 32 * MB)[LINKED : LINKED + 4] == TEXT[:4]


X86_64 = elf((LINKED, TEXT, len(TEXT)), machine=62, bits=64)
GOOD = bzimage(VMLINUX, "xz")


@pytest.mark.parametrize(
    ("kernel", "says"),
    [
        (b"", "neither a bzImage nor an ELF kernel"),
        (b"\x7fELF", "cut short"),
        (b"MZ" + bytes(4000), "neither a bzImage nor an ELF kernel"),
        (b"\x1f\x8b" + bytes(4000), "neither a bzImage nor an ELF kernel"),
        (bzimage(VMLINUX, version=0x204), "older than 2.10"),
        (bzimage(VMLINUX, loadflags=0), "zImage"),
        (bzimage(VMLINUX, xloadflags=1), "x86-64"),
        (bzimage(X86_64), "x86-64"),
        (elf((LINKED, TEXT, len(TEXT)), machine=40), "ARM"),
        (elf((LINKED, TEXT, len(TEXT)), machine=999), "machine 999"),
        (elf((LINKED, TEXT, len(TEXT)), entry=1), "lies in no segment"),
        (elf((LINKED, TEXT, len(TEXT) - 1)), "address space"),
        (elf(), "segments"),
        (VMLINUX[:-1], "segment 1 is cut short"),
        (elf((0x1000, TEXT, len(TEXT))), "below 1 MiB"),
        (GOOD[:-200], "cut short"),
        (GOOD[: len(GOOD) // 2], "cut short"),
        (bzimage(b"no elf" * 100), "magic number"),
        (bzimage(VMLINUX, "xz").replace(b"\xfd7zXZ", b"BZhxxx"), "bzip2 is not supported"),
        (bzimage(VMLINUX, "none").replace(b"\x7fELF", b"oops"), "unknown"),
        (GOOD[:-300] + b"\xff" * 8 + GOOD[-292:], "damaged"),
    ],
)
def test_a_kernel_that_cannot_be_had_is_one_clear_line(kernel, says, tmp_path):
    with pytest.raises(UsageError, match=says) as raised:
        linux(kernel, ram_bytes=64 * MB)
    assert "\n" not in str(raised.value)
    path = tmp_path / "vmlinuz"
    path.write_bytes(kernel)
    with pytest.raises(UsageError, match="vmlinuz.*" if "below" not in says else says):
        linux(path, ram_bytes=64 * MB)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cmdline": "a\nb"}, "one line"),
        ({"cmdline": "\0"}, "one line"),
        ({"cmdline": "é"}, "ASCII"),
        ({"cmdline": "x" * 2048}, "reads 2,047"),
        ({"ram_bytes": 17 * MB}, "need 19 MB of memory, the machine has 17"),
        ({"initrd": bytes(48 * MB)}, "need 67 MB of memory, the machine has 64"),
        ({"kernel": "/nowhere/vmlinuz"}, "/nowhere/vmlinuz: the kernel cannot be read"),
        ({"initrd": "/nowhere/initrd"}, "/nowhere/initrd: the initrd cannot be read"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(changes, says):
    arguments = {"kernel": GOOD, "initrd": None, "cmdline": "quiet", "ram_bytes": 64 * MB} | changes
    kernel, initrd, cmdline, ram = (arguments[name] for name in ("kernel", "initrd", "cmdline", "ram_bytes"))
    with pytest.raises(UsageError, match=says):
        linux(kernel, initrd, cmdline, ram_bytes=ram)


@given(st.binary(max_size=300), st.integers(0, len(GOOD)), st.sampled_from(["xz", "gzip", "zstd", "none"]))
def test_a_damaged_kernel_is_read_or_malformed_and_nothing_else(noise, at, packing):
    good = bzimage(VMLINUX, packing)
    data = good[:at] + noise + good[at + len(noise) :]
    try:
        kernel = read_kernel(data)
    except Malformed:
        return
    assert all(segment.size >= len(segment.data) for segment in kernel.program.segments)


@given(st.binary(max_size=5000), st.sampled_from(["gzip", "xz", "zstd"]), st.binary(max_size=40))
def test_unpacking_undoes_packing_and_ignores_what_follows(data, packing, after):
    packed = PACKERS[packing](data)
    assert unpack(packed + after, len(data)) == data
    if data:
        with pytest.raises(Malformed, match="larger than"):
            unpack(packed, len(data) - 1)
    with pytest.raises(Malformed, match="cut short|damaged"):
        unpack(packed[: len(packed) - 1], 1 << 20)


@pytest.mark.parametrize("packing", ["gzip", "xz", "zstd"])
def test_a_bomb_is_stopped_at_its_bound(packing):
    import tracemalloc

    bomb = PACKERS[packing](bytes(64 * MB))
    tracemalloc.start()
    with pytest.raises(Malformed, match="larger than 3,145,728 bytes"):
        unpack(bomb, 3 * MB)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24 * MB < WINDOW
