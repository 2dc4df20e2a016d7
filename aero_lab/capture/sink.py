"""Where capture files are written: plain, or packed with gzip or zstd by the ending of the name."""

from __future__ import annotations

import gzip
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO


class Sink:
    """A file that is being written. The same bytes give the same file, packed or not."""

    def __init__(self, path: str | Path):
        name = str(path)
        self._file: BinaryIO = open(path, "wb")
        self._packer: Any = None
        if name.endswith(".gz"):
            self._packer = gzip.GzipFile("", "wb", 6, self._file, mtime=0)
        elif name.endswith(".zst"):
            import pyarrow as pa

            self._packer = pa.CompressedOutputStream(pa.PythonFile(self._file, "w"), "zstd")

    def write(self, data: bytes | memoryview) -> None:
        (self._packer or self._file).write(data)

    def flush(self) -> None:
        """Hand over to the system what was written. Packed data stays until there is enough of it to pack well."""
        if self._packer is None:
            self._file.flush()

    def close(self) -> None:
        try:
            if self._packer is not None:
                self._packer.close()
        finally:
            self._file.close()

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
