"""What a file of a bench looks like.

::

    "AEROLAB\\n" | version u16 | program, 32 bytes | size u64 | digest, 32 bytes | contents

All numbers are little-endian. *Program* is a digest of the source of this package: a bench is the insides of its parts,
and goes on only among the parts it was made by. The digest (BLAKE2b) is over the contents, one zstd frame that says how
large it is unpacked. Everything is checked before anything is unpacked, and each thing that can be wrong is one line.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct

import zstandard

from ..bounds import BENCH_FILE
from ..compiled.cache import source_digest
from ..errors import UsageError

MAGIC, VERSION = b"AEROLAB\n", 1
_HEAD = struct.Struct("<8sH32sQ32s")
LEVEL = 3
Path = str | os.PathLike


def program() -> bytes:
    """What the parts of a bench are made by, in 32 bytes."""
    return bytes.fromhex(source_digest("aero_lab.forking"))


def write(path: Path, data: bytes) -> int:
    """Write a bench that was packed; the size of the file. An older file is replaced only by a whole new one."""
    name = os.fspath(path)
    if len(data) > BENCH_FILE:
        raise UsageError(f"{name}: the bench takes {len(data):,} bytes, a file of one at most {BENCH_FILE:,}")
    contents = zstandard.ZstdCompressor(level=LEVEL).compress(data)
    digest = hashlib.blake2b(contents, digest_size=32).digest()
    beside = f"{name}.{os.getpid()}.part"
    try:
        with open(beside, "wb") as file:
            file.write(_HEAD.pack(MAGIC, VERSION, program(), len(data), digest))
            file.write(contents)
        os.replace(beside, name)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise UsageError(f"{name}: the bench cannot be written: {error.strerror or error}") from None
    return _HEAD.size + len(contents)


def read(path: Path) -> bytes:
    """What was packed; :class:`UsageError` for anything that is not a whole bench of this very program."""
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            head = file.read(_HEAD.size)
            if head[: len(MAGIC)] != MAGIC:
                raise UsageError(f"{name} is no bench: it begins otherwise")
            if len(head) < _HEAD.size:
                raise UsageError(f"{name} is no whole bench: it is cut off")
            _, version, made_by, size, digest = _HEAD.unpack(head)
            if version != VERSION:
                raise UsageError(f"{name} is a bench of version {version}, this program reads version {VERSION}")
            if made_by != program():
                raise UsageError(f"{name} is a bench of another version of this program, which alone can go on with it")
            contents = file.read(BENCH_FILE + 1)
    except OSError as error:
        raise UsageError(f"{name}: the bench cannot be read: {error.strerror or error}") from None
    if hashlib.blake2b(contents, digest_size=32).digest() != digest:
        raise UsageError(f"{name} is no whole bench: it is damaged or cut off (its digest is wrong)")
    try:
        if not size == zstandard.frame_content_size(contents) <= BENCH_FILE:
            raise UsageError(f"{name} is no bench: its sizes do not fit")
        return zstandard.ZstdDecompressor().decompress(contents, max_output_size=size)
    except zstandard.ZstdError as error:
        raise UsageError(f"{name} is no bench: it is damaged ({error})") from None
