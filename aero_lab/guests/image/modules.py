"""Kernel modules: what they say of themselves, without what a running kernel never reads.

A module is an ELF relocatable file (TIS ELF 1.2) whose section ``.modinfo`` holds ``name=value`` strings. Behind it may
stand a signature (scripts/sign-file.c of the kernel).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import PurePosixPath

from ...errors import Malformed
from ...machine.boot.elf import check_machine
from ...machine.boot.unpack import kind_of, unpack

UNPACKED_MOST = 64 << 20
"""Bytes a module may have when unpacked; with all debug sections the largest have 40 MB."""
SECTIONS = 4096
"""Sections of a module that are looked at; function-per-section builds have 2,000."""
SIGNATURE_MAGIC = b"~Module signature appended~\n"
SIGNATURE_TAIL = 12
"""Bytes of ``struct module_signature``; the last four are the size of the signature, big-endian."""
SHT_NULL, SHT_NOBITS = 0, 8
DEBUG = (".debug", ".rel.debug", ".zdebug", ".rel.zdebug", ".BTF", ".rel.BTF", ".comment", ".gnu_debuglink")
"""First letters of the names of sections that only debuggers read."""

_EHDR = struct.Struct("<16sHHIIIIIHHHHHH")
_SHDR = struct.Struct("<IIIIIIIIII")


@dataclass(frozen=True)
class Module:
    """A kernel module: its name as the kernel calls it, the names of those it needs first, the devices it drives."""

    name: str
    depends: tuple[str, ...]
    aliases: tuple[str, ...]
    vermagic: str
    data: bytes
    """The ELF file without debug sections and signature."""


def is_module(path: str) -> bool:
    return PurePosixPath(path).name.partition(".ko")[1:] in (
        (".ko", ""),
        (".ko", ".xz"),
        (".ko", ".gz"),
        (".ko", ".zst"),
    )


def module_name(path: str) -> str:
    """Name of the module in a file, as the kernel calls it: ``virtio_pci`` for ``.../virtio-pci.ko.xz``."""
    return PurePosixPath(path).name.partition(".ko")[0].replace("-", "_")


def read_module(path: str, data: bytes) -> Module:
    """A module from the content of its file. Raises :class:`Malformed`."""
    if kind_of(data):
        data = unpack(data, UNPACKED_MOST)
    data = unsigned(data)
    check_machine(data)
    info = _modinfo(data)
    first = dict(reversed(info))
    depends = tuple(name.replace("-", "_") for name in first.get("depends", "").split(",") if name)
    aliases = tuple(value for key, value in info if key == "alias")
    name = first.get("name", module_name(path))
    return Module(name, depends, aliases, first.get("vermagic", "").strip(), strip(data))


def unsigned(data: bytes) -> bytes:
    """A module without the signature that may stand behind it."""
    if not data.endswith(SIGNATURE_MAGIC):
        return data
    tail = len(data) - len(SIGNATURE_MAGIC) - SIGNATURE_TAIL
    size = int.from_bytes(data[tail + 8 : tail + 12], "big") if tail >= 0 else 0
    if tail - size <= 0:
        raise Malformed("module-signature", "it is longer than the module")
    return data[: tail - size]


def in_order(modules: dict[str, Module], wanted: list[str]) -> list[Module]:
    """``wanted`` and all they need, each after what it needs. Raises :class:`Malformed` where one is missing."""
    done: dict[str, Module] = {}
    path: list[str] = []

    def visit(name: str) -> None:
        if name in done:
            return
        if name in path:
            raise Malformed("module-circle", f"{' needs '.join([*path, name])}")
        if name not in modules:
            raise Malformed("module-missing", f"{name}, needed by {path[-1] if path else 'the image'}, is not there")
        path.append(name)
        for need in modules[name].depends:
            visit(need)
        path.pop()
        done[name] = modules[name]

    for name in wanted:
        visit(name)
    return list(done.values())


def strip(data: bytes) -> bytes:
    """A relocatable file without debug sections.

    The headers of what goes stay, as unused ones: sections keep their numbers, and nothing that refers to one changes.
    """
    header = list(_EHDR.unpack_from(data))
    sections = _sections(data)
    out = bytearray(data[: _EHDR.size])
    for _, section in sections:
        kind, offset, size, align = section[1], section[4], section[5], section[8]
        if kind in (SHT_NULL, SHT_NOBITS):
            section[4] = len(out) if kind == SHT_NOBITS else 0
            continue
        out += bytes(-len(out) % max(align, 1))
        section[4] = len(out)
        out += data[offset : offset + size]
    out += bytes(-len(out) % 4)
    header[6] = len(out)
    for _, section in sections:
        out += _SHDR.pack(*section)
    _EHDR.pack_into(out, 0, *header)
    return bytes(out)


def _sections(data: bytes) -> list[tuple[str, list[int]]]:
    """Name and header of each section; those of :data:`DEBUG` emptied."""
    header = _EHDR.unpack_from(data)
    table, each, count, names = header[6], header[11], header[12], header[13]
    if each != _SHDR.size or not 0 < count <= SECTIONS or names >= count or table + each * count > len(data):
        raise Malformed("elf-sections", "the table of sections is not where it should be")
    sections = [list(_SHDR.unpack_from(data, table + number * each)) for number in range(count)]
    for section in sections:
        if section[1] not in (SHT_NULL, SHT_NOBITS) and section[4] + section[5] > len(data):
            raise Malformed("elf-sections", "a section is cut short")
        if section[8] & (section[8] - 1) or section[8] > ALIGN_MOST:
            raise Malformed("elf-sections", f"a section is aligned to {section[8]}")
    strings = sections[names]
    start, end = strings[4], strings[4] + strings[5]
    found = []
    for number, section in enumerate(sections):
        at = start + section[0]
        stop = data.find(b"\0", at, end)
        if not start <= at < end or stop < 0:
            raise Malformed("elf-sections", "a section's name lies outside of the names")
        name = data[at:stop].decode("ascii", "replace")
        if name.startswith(DEBUG) and number != names:
            section[1:] = [SHT_NULL, 0, 0, 0, 0, 0, 0, 0, 0]
        found.append((name, section))
    return found


ALIGN_MOST = 4096


def _modinfo(data: bytes) -> list[tuple[str, str]]:
    for name, section in _sections(data):
        if name == ".modinfo":
            text = data[section[4] : section[4] + section[5]].decode("ascii", "replace")
            pairs = (item.partition("=") for item in text.split("\0"))
            return [(key, value) for key, equals, value in pairs if equals]
    raise Malformed("module-info", "it has no section .modinfo, so it is no kernel module")
