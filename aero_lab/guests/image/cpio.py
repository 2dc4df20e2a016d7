"""The archive an initramfs is: cpio, "newc" format, written so that the same files always give the same bytes.

Documentation/driver-api/early-userspace/buffer-format.rst of the kernel. Owner, time and inode numbers are fixed, files
are in the order of their names, and there are no hard links.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import Malformed, UsageError

MAGIC = b"070701"
TRAILER = "TRAILER!!!"
HEADER_SIZE = 110
BLOCK = 512
"""The archive is padded to a multiple, as cpio does."""
FILE, DIRECTORY, SYMLINK, CHARACTER = 0o100000, 0o040000, 0o120000, 0o020000
"""Types in ``mode``."""
TYPE_MASK = 0o170000
NAME_MOST = 4096
"""Bytes of a name with its zero: the kernel's PATH_MAX, beyond which it skips an entry."""


@dataclass(frozen=True)
class Entry:
    """One file of an archive.

    Parameters
    ----------
    name: without a leading slash.
    mode: type and permissions.
    data: content, or the target of a symbolic link.
    device: major and minor number of a device.
    """

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)

    @property
    def type(self) -> int:
        return self.mode & TYPE_MASK


def file(name: str, data: bytes, mode: int = 0o644) -> Entry:
    return Entry(name, FILE | mode, data)


def directory(name: str, mode: int = 0o755) -> Entry:
    return Entry(name, DIRECTORY | mode)


def symlink(name: str, target: str) -> Entry:
    return Entry(name, SYMLINK | 0o777, _bytes(target))


def character_device(name: str, major: int, minor: int, mode: int = 0o600) -> Entry:
    return Entry(name, CHARACTER | mode, device=(major, minor))


def write_cpio(entries: list[Entry]) -> bytes:
    """An archive of ``entries``, sorted by name; folders that are missing are added before what lies in them."""
    by_name: dict[str, Entry] = {}
    for entry in entries:
        check_name(entry.name)
        if entry.name in by_name:
            raise UsageError(f"{entry.name} is twice in the image")
        by_name[entry.name] = entry
    for entry in entries:
        for parent in parents(entry.name):
            there = by_name.setdefault(parent, directory(parent))
            if there.type == FILE:
                raise UsageError(f"{entry.name} lies in {parent}, which is a file")
    out = bytearray()
    for number, name in enumerate(sorted(by_name), 1):
        _write(out, by_name[name], number)
    _write(out, Entry(TRAILER, 0), 0)
    out += bytes(-len(out) % BLOCK)
    return bytes(out)


def check_name(name: str) -> None:
    parts = name.split("/")
    if not name or "\0" in name or any(part in ("", ".", "..") for part in parts) or len(_bytes(name)) >= NAME_MOST:
        raise UsageError(f"{name!r} is not a name a file of an image can have")


def parents(name: str) -> Iterator[str]:
    """Folders above ``name``, outermost first."""
    parts = name.split("/")
    for depth in range(1, len(parts)):
        yield "/".join(parts[:depth])


def _bytes(name: str) -> bytes:
    """A name as it lies in an archive; what was no UTF-8 in another one is the same bytes again."""
    return name.encode("utf-8", "surrogateescape")


def _write(out: bytearray, entry: Entry, number: int) -> None:
    name = _bytes(entry.name) + b"\0"
    links = 2 if entry.type == DIRECTORY else 1
    fields = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    out += MAGIC + b"".join(b"%08x" % field for field in fields) + name
    out += bytes(-len(out) % 4)
    out += entry.data
    out += bytes(-len(out) % 4)


def read_cpio(data: bytes) -> list[Entry]:
    """Entries of a newc archive, up to its trailer. Raises :class:`Malformed`."""
    entries: list[Entry] = []
    offset = 0
    while True:
        header = data[offset : offset + HEADER_SIZE]
        if len(header) < HEADER_SIZE:
            raise Malformed("cpio-short", "the archive is cut short")
        if header[:6] != MAGIC:
            raise Malformed("cpio-magic", f"no entry begins at {offset}")
        try:
            fields = [int(header[at : at + 8], 16) for at in range(6, HEADER_SIZE, 8)]
        except ValueError:
            raise Malformed("cpio-header", f"a field at {offset} is no number") from None
        mode, size, major, minor, name_size = fields[1], fields[6], fields[9], fields[10], fields[11]
        start = offset + HEADER_SIZE
        body = (start + name_size + 3) & ~3
        offset = (body + size + 3) & ~3
        if not 1 <= name_size <= NAME_MOST or min(fields) < 0 or body + size > len(data):
            raise Malformed("cpio-header", "an entry reaches beyond the archive")
        name = data[start : start + name_size - 1].decode("utf-8", "surrogateescape")
        if name == TRAILER:
            return entries
        entries.append(Entry(name, mode, data[body : body + size], (major, minor)))
