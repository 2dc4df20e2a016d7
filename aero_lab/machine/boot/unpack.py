"""Compressed bytes of every kind that kernels and packages come in, unpacked with a bound.

What is compressed is recognised by its first bytes. A stream that is cut short, damaged, or larger than its bound is
:class:`~aero_lab.errors.Malformed`; nothing else is raised, whatever the bytes.
"""

from __future__ import annotations

import io
import lzma
import zlib
from collections.abc import Callable
from typing import Any

from ...errors import Malformed

MAGICS = {
    "gzip": b"\x1f\x8b",
    "xz": b"\xfd7zXZ\0",
    "zstd": b"\x28\xb5\x2f\xfd",
    "bzip2": b"BZh",
    "lzma": b"\x5d\0\0",
    "lzo": b"\x89LZO",
    "lz4": b"\x02\x21\x4c\x18",
}
"""Name -> first bytes, as in the kernel's ``lib/decompress.c``."""

UNPACKED = ("gzip", "xz", "zstd")
"""Those that are unpacked here. Debian's kernels are xz, the usual alternatives of others gzip and zstd."""

WINDOW = 128 << 20
"""Most memory an xz or zstd stream may ask for: ``xz -9`` needs 65 MB, ``zstd --ultra --long`` 128 MB."""

CHUNK = 1 << 16


def kind_of(data: bytes) -> str | None:
    """Name of the compression ``data`` begins with, None if it is none that is known."""
    return next((name for name, magic in MAGICS.items() if data.startswith(magic)), None)


def unpack(data: bytes, most: int) -> bytes:
    """The content of one compressed stream; what follows the stream is ignored.

    Parameters
    ----------
    most: bytes it may come to.
    """
    with reader(data, most) as stream:
        return stream.read()


def reader(data: bytes, most: int) -> Reader:
    """A file to read the unpacked content of ``data`` from, piece by piece. See :func:`unpack`."""
    kind = kind_of(data)
    if kind not in UNPACKED:
        what = f"{kind} is not supported" if kind else "unknown"
        raise Malformed("compression", f"{what}; there is {', '.join(UNPACKED)}")
    return Reader(data, kind, most)


class Reader(io.RawIOBase):
    """The unpacked content of one stream, forward only. Raises :class:`Malformed` in ``read``."""

    def __init__(self, data: bytes, kind: str, most: int):
        self._source = memoryview(data)
        self._kind = kind
        self._most = most
        self._given = 0
        self._ready = b""
        self._decoder = _DECODERS[kind]()
        self._bite = _Zstd.BITE if kind == "zstd" else CHUNK

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            pieces = []
            while piece := self.read(CHUNK * 16):
                pieces.append(piece)
            return b"".join(pieces)
        pieces, wanted = [], size
        while wanted:
            if not self._ready:
                self._ready = self._next()
                if not self._ready:
                    break
            pieces.append(self._ready[:wanted])
            wanted -= len(pieces[-1])
            self._ready = self._ready[len(pieces[-1]) :]
        return b"".join(pieces)

    def _next(self) -> bytes:
        """Some more content, nothing at the end of the stream."""
        while not self._decoder.eof:
            piece = b""
            try:
                if self._decoder.needs_input:
                    piece = bytes(self._source[: self._bite])
                    self._source = self._source[self._bite :]
                    if not piece:
                        raise Malformed(self._kind, "the stream is cut short")
                found = self._decoder.decompress(piece, CHUNK * 16)
            except (lzma.LZMAError, zlib.error, MemoryError) as error:
                raise Malformed(self._kind, f"the stream is damaged ({error or 'memory'})") from None
            if found:
                self._given += len(found)
                if self._given > self._most:
                    raise Malformed(self._kind, f"the content is larger than {self._most:,} bytes")
                return found
        return b""


class _Gzip:
    """zlib's decoder with the manners of lzma's."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)
        self._waiting = b""

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._waiting

    def decompress(self, data: bytes, most: int) -> bytes:
        found = self._inner.decompress(self._waiting + data, most)
        self._waiting = self._inner.unconsumed_tail
        return found


class _Zstd:
    """The same for zstandard, whose decoder knows no bound: it gets so little at a time that little comes of it."""

    BITE = 64
    """Bytes of input at once: at most sixteen blocks, each of 128 KB (RFC 8878 section 3.1.1.2)."""
    needs_input = True

    def __init__(self) -> None:
        import zstandard

        self._error = zstandard.ZstdError
        self._inner = zstandard.ZstdDecompressor(max_window_size=WINDOW).decompressobj()

    @property
    def eof(self) -> bool:
        return self._inner.eof

    def decompress(self, data: bytes, most: int) -> bytes:
        try:
            return self._inner.decompress(data)
        except self._error as error:
            raise Malformed("zstd", f"the stream is damaged ({error})") from None


_DECODERS: dict[str, Callable[[], Any]] = {
    "gzip": _Gzip,
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=WINDOW),
    "zstd": _Zstd,
}
