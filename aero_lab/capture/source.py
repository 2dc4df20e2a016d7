"""Bytes of a capture file, in order, whether it is plain, gzip or zstd: read piece by piece, bounded, never raising.

Data that is broken gives what can be had before the break, to the byte, and :attr:`Source.error` then says what is
wrong. What a piece unpacks to is bounded by the piece that was asked for, so a small file cannot fill the memory.
gzip is the standard library's zlib, zstd is pyarrow's.
"""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
SKIPPABLE = tuple(bytes([0x50 + i, 0x2A, 0x4D, 0x18]) for i in range(16))
"""Beginnings of zstd frames that hold no data and may come first."""
PACKED = 64 << 10
"""Packed bytes read at once, and the largest piece that a broken zstd frame is tried in."""


class Source:
    """A plain file, or a buffer."""

    packing = ""
    """``gzip``, ``zstd`` or nothing."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.error: str | None = None
        """What is wrong with the packed data, once that was met."""

    def read_into(self, target: np.ndarray) -> int:
        """Fill an array of bytes; fewer only where the data ends."""
        done = 0
        view = memoryview(target)  # type: ignore[arg-type]
        while done < len(target):
            try:
                number = self._read(view[done:])
            except OSError as error:
                self.error = self.error or f"the file cannot be read on: {error}"
                number = 0
            if not number:
                break
            done += number
        return done

    def _read(self, view: memoryview) -> int:
        return self._file.readinto(view) or 0  # type: ignore[attr-defined]

    def close(self) -> None:
        self._file.close()


class Gzip(Source):
    """gzip data, of one member or several."""

    packing = "gzip"

    def __init__(self, file: BinaryIO):
        super().__init__(file)
        self._careful = False
        self._given = 0
        self._begin()

    def _begin(self) -> None:
        self._packed, self._piece = b"", PACKED
        self._member = zlib.decompressobj(31)
        self._began = self._over = False

    def _read(self, view: memoryview) -> int:
        try:
            data = self._next(len(view))
        except zlib.error as error:
            if self._careful:
                self._over, self.error = True, f"the gzip data is corrupt ({error})"
                return 0
            # What came with the error is lost: come back and take what there is byte by byte.
            self._file.seek(0)
            self._begin()
            self._careful, left = True, self._given
            while left:
                left -= len(self._next(min(left, PACKED)))
            self._piece = 1
            return self._read(view)
        view[: len(data)] = data
        self._given += len(data)
        return len(data)

    def _next(self, most: int) -> bytes:
        """Up to ``most`` unpacked bytes; none only at the end."""
        while not self._over:
            self._packed = self._packed or self._file.read(PACKED)
            if not self._packed:
                self._over = True
                if self._began:
                    self.error = "the gzip data is cut"
                break
            if not self._began:
                self._packed = self._packed.lstrip(b"\0")  # members may be padded with zeros
                if not self._packed:
                    continue
                self._member, self._began = zlib.decompressobj(31), True
            piece, rest = self._packed[: self._piece], self._packed[self._piece :]
            data = self._member.decompress(piece, most)
            self._packed = (self._member.unused_data if self._member.eof else self._member.unconsumed_tail) + rest
            self._began = not self._member.eof
            if data:
                return data
        return b""


class Zstd(Source):
    """zstd data, of one frame or several."""

    packing = "zstd"

    def __init__(self, file: BinaryIO):
        super().__init__(file)
        self._stream = self._before = self._open()
        self._position = 0
        self._piece = PACKED

    def _open(self):
        import pyarrow as pa

        self._file.seek(0)
        return pa.CompressedInputStream(pa.PythonFile(self._file, "r"), "zstd")

    def _read(self, view: memoryview) -> int:
        while True:
            try:
                data = self._stream.read(min(len(view), self._piece))
            except (OSError, ValueError) as error:  # pyarrow's are these
                # A piece that cannot be had whole is lost whole: come back and take what there is byte by byte.
                if self._piece == 1:
                    cut = "Truncated" in str(error)
                    self.error = self.error or (
                        "the zstd data is cut" if cut else f"the zstd data is corrupt ({error})"
                    )
                    return 0
                self._piece = 1
                self._return()
                continue
            self._position += len(data)
            view[: len(data)] = data
            return len(data)

    def _return(self) -> None:
        self._before = self._stream  # which would close the file if it went
        self._stream, left = self._open(), self._position
        while left:
            left -= len(self._stream.read(min(left, PACKED)))


def open_source(data: str | Path | bytes | np.ndarray) -> Source:
    """A source for a path, or for bytes that are in memory; packed data is known by how it begins."""
    if isinstance(data, bytes | np.ndarray):
        file: BinaryIO = io.BytesIO(data)  # type: ignore[arg-type]
    else:
        file = open(data, "rb")
    head = file.read(4)
    file.seek(0)
    if head[:2] == GZIP:
        return Gzip(file)
    if head == ZSTD or head in SKIPPABLE:
        return Zstd(file)
    return Source(file)
