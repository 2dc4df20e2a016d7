"""Debian packages, read without dpkg: an ``ar`` archive of two compressed tar archives (deb(5), deb-substvars apart).

Nothing is written anywhere: a package becomes a dictionary of the files that were asked for. Names that point outside
of the tree, and archives that are larger than their bounds, are refused.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable
from dataclasses import dataclass

from ...errors import Malformed
from ...machine.boot.unpack import Reader, reader
from .cpio import DIRECTORY, FILE, SYMLINK, Entry

AR_MAGIC = b"!<arch>\n"
AR_HEADER = 60
AR_MEMBERS = 16
"""Members of a package's archive that are read; there are three."""
CONTENT_MOST = 2 << 30
"""Bytes a package's files may come to; a kernel's come to 350 MB."""
FILE_MOST = 256 << 20
"""Bytes of one file that is kept."""
MEMBERS_MOST = 200_000
"""Files of a package; a kernel has 4,000."""
CONTROL_MOST = 16 << 20


@dataclass(frozen=True)
class Package:
    """A package: its control fields, and the files of it that were wanted, by name without a leading slash."""

    fields: dict[str, str]
    files: dict[str, Entry]

    @property
    def name(self) -> str:
        return self.fields["Package"]

    @property
    def version(self) -> str:
        return self.fields["Version"]

    @property
    def architecture(self) -> str:
        return self.fields["Architecture"]


def read_ar(data: bytes) -> dict[str, bytes]:
    """Members of an ``ar`` archive in the common format (ar(5)), by name."""
    if not data.startswith(AR_MAGIC):
        raise Malformed("ar-magic", "it is not an ar archive")
    members: dict[str, bytes] = {}
    offset = len(AR_MAGIC)
    while offset < len(data):
        header = data[offset : offset + AR_HEADER]
        if len(header) < AR_HEADER or header[58:60] != b"`\n":
            raise Malformed("ar-header", f"no member begins at {offset}")
        text = header[48:58].decode("ascii", "replace").strip()
        if not re.fullmatch(r"[0-9]+", text, re.ASCII):
            raise Malformed("ar-header", f"the size of a member is {text!r}")
        start, size = offset + AR_HEADER, int(text)
        if start + size > len(data):
            raise Malformed("ar-short", "the archive is cut short")
        name = header[:16].decode("ascii", "replace").rstrip().removesuffix("/")
        if name in members or len(members) == AR_MEMBERS:
            raise Malformed("ar-members", f"there are too many members, or {name!r} is twice there")
        members[name] = data[start : start + size]
        offset = start + size + (size & 1)
    return members


def read_deb(data: bytes, wanted: Callable[[str], bool] = lambda name: True) -> Package:
    """A package from its bytes, with those files for whose names ``wanted`` is true. Raises :class:`Malformed`."""
    members, fields = _read_outside(data)
    return Package(fields, read_tar(_member(members, "data.tar", CONTENT_MOST), wanted))


def read_control(data: bytes) -> Package:
    """A package without its files, which are not looked at."""
    return Package(_read_outside(data)[1], {})


def _read_outside(data: bytes) -> tuple[dict[str, bytes], dict[str, str]]:
    members = read_ar(data)
    if members.get("debian-binary", b"")[:2] != b"2.":
        raise Malformed("deb-version", "it is not a Debian package of format 2")
    control = read_tar(_member(members, "control.tar", CONTROL_MOST), lambda name: name == "control")
    if "control" not in control:
        raise Malformed("deb-control", "there is no control file")
    fields = read_fields(control["control"].data.decode("utf-8", "replace"))
    for name in ("Package", "Version", "Architecture"):
        if not fields.get(name):
            raise Malformed("deb-control", f"there is no field {name}")
    return members, fields


def _member(members: dict[str, bytes], stem: str, most: int) -> io.RawIOBase:
    for name, data in members.items():
        if name == stem:
            return io.BytesIO(data)  # type: ignore[return-value]
        if name.startswith(stem + "."):
            return reader(data, most)
    raise Malformed("deb-members", f"there is no {stem}")


def read_fields(text: str) -> dict[str, str]:
    """Fields of a control file's first paragraph (deb822(5)), continued lines joined."""
    fields: dict[str, str] = {}
    last = ""
    for line in text.splitlines():
        if not line.strip():
            break
        if line[0] in " \t":
            if last:
                fields[last] += "\n" + line.strip()
            continue
        name, colon, value = line.partition(":")
        if colon:
            last = name
            fields[last] = value.strip()
    return fields


def read_tar(stream: io.RawIOBase | Reader, wanted: Callable[[str], bool]) -> dict[str, Entry]:
    """Files, links and folders of a tar archive for whose names ``wanted`` is true. Hard links become copies."""
    found: dict[str, Entry] = {}
    try:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member) as archive:  # type: ignore[call-overload]
            for number, member in enumerate(archive):
                if number == MEMBERS_MOST:
                    raise Malformed("tar-members", f"there are more than {MEMBERS_MOST:,} files")
                name = clean(member.name)
                if not name or not wanted(name):
                    continue
                entry = _entry(archive, member, name, found)
                if entry is not None:
                    found[name] = entry
    except Malformed:
        raise
    except (tarfile.TarError, OSError, EOFError, ValueError, KeyError, IndexError, OverflowError) as error:
        raise Malformed("tar", f"the archive is damaged ({error})") from None
    return found


class _Member(tarfile.TarInfo):
    """A tar header whose extensions are bounded: their size is read into memory before anything is looked at."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE):
            if self.size > EXTENSION_MOST:
                raise Malformed("tar-extension", f"a header of {self.size:,} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]


EXTENSION_MOST = 1 << 20
"""Bytes of an extended header: names and attributes."""


def clean(name: str) -> str:
    """A member's name without what tar puts before it; empty for the root. Raises :class:`Malformed`."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise Malformed("tar-name", f"{name!r} points outside of the archive's tree")
    return "/".join(parts)


def _entry(archive: tarfile.TarFile, member: tarfile.TarInfo, name: str, found: dict[str, Entry]) -> Entry | None:
    mode = member.mode & 0o7777
    if member.isdir():
        return Entry(name, DIRECTORY | mode)
    if member.issym():
        return Entry(name, SYMLINK | 0o777, member.linkname.encode("utf-8", "surrogateescape"))
    if member.islnk():
        target = found.get(clean(member.linkname))
        if target is None:
            raise Malformed("tar-link", f"{name} is a link to {member.linkname!r}, which is not there")
        return Entry(name, target.mode, target.data)
    if not member.isreg():
        return None  # devices and pipes: no package that is used here has any
    if member.size > FILE_MOST:
        raise Malformed("tar-size", f"{name} has {member.size:,} bytes")
    content = archive.extractfile(member)
    data = content.read() if content is not None else b""
    if len(data) != member.size:
        raise Malformed("tar-short", "the archive is cut short")
    return Entry(name, FILE | mode, data)
