"""Packages and modules made by hand, with other tools than the readers use."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import tarfile

import zstandard

PACKERS = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def ar(members: dict[str, bytes]) -> bytes:
    out = b"!<arch>\n"
    for name, data in members.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    return out


def tar(files: dict[str, bytes | str | None], links: dict[str, str] | None = None) -> bytes:
    """Bytes are a file, text is a symbolic link's target, None a folder; ``links`` are hard links."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size, info.mode = len(content), 0o755 if "bin/" in name else 0o644
                archive.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.LNKTYPE, target
            archive.addfile(info)
    return out.getvalue()


def deb(
    name: str,
    files: dict[str, bytes | str | None],
    *,
    version: str = "1.0-1",
    architecture: str = "i386",
    packing: str = ".xz",
    links: dict[str, str] | None = None,
) -> bytes:
    control = f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nDescription: made\n by hand\n"
    pack = PACKERS[packing]
    return ar(
        {
            "debian-binary": b"2.0\n",
            f"control.tar{packing}": pack(tar({"./control": control.encode()})),
            f"data.tar{packing}": pack(tar(files, links)),
        }
    )


def module(name: str, depends: str = "", aliases: tuple[str, ...] = (), debug: bytes = b"d" * 5000) -> bytes:
    """A relocatable ELF file with a text, a .modinfo, a debug section before the symbols, and names."""
    info = b"\0".join(
        f"{key}={value}".encode()
        for key, value in [
            ("depends", depends),
            ("name", name),
            ("vermagic", "6.1 SMP "),
            *(("alias", a) for a in aliases),
        ]
    )
    parts = [
        ("", 0, b"", 0),
        (".text", 1, b"\xc3" * 77, 16),
        (".debug_info", 1, debug, 1),
        (".modinfo", 1, info + b"\0", 1),
        (".bss", 8, b"\0" * 64, 32),
        (".symtab", 2, struct.pack("<IIIBBH", 0, 0, 0, 0, 0, 0) + struct.pack("<IIIBBH", 1, 0, 77, 0x12, 0, 1), 4),
        (".strtab", 3, b"\0init_module\0", 1),
    ]
    names = b"\0"
    offsets = []
    for part, *_ in [*parts, (".shstrtab", 3, b"", 1)]:
        offsets.append(len(names) if part else 0)
        names += part.encode() + b"\0" if part else b""
    parts.append((".shstrtab", 3, names, 1))
    body, table = b"", b""
    for number, (_, kind, data, align) in enumerate(parts):
        if kind != 8:
            body += bytes(-(52 + len(body)) % max(align, 1))
        link = 6 if kind == 2 else 0
        table += struct.pack(
            "<10I",
            offsets[number],
            kind,
            0,
            0,
            52 + len(body),
            len(data),
            link,
            int(kind == 2),
            align,
            16 if kind == 2 else 0,
        )
        body += data if kind != 8 else b""
    body += bytes(-(52 + len(body)) % 4)
    ident = b"\x7fELF\1\1\1" + bytes(9)
    head = struct.pack("<HHIIIIIHHHHHH", 1, 3, 1, 0, 0, 52 + len(body), 0, 52, 0, 0, 40, len(parts), len(parts) - 1)
    return ident + head + body + table


def signed(module: bytes) -> bytes:
    signature = b"s" * 300
    return module + signature + bytes(8) + struct.pack(">I", len(signature)) + b"~Module signature appended~\n"
