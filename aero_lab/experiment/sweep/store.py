"""Where the rows of a sweep are kept, so that one that was killed goes on where it stopped.

::

    store/
      sweep.json            version of the layout, digest of the program that made the rows
      rows-00000001.parquet rows, a piece at a time; a file that is there is whole
      lock                  held while a sweep writes

A row is known by the digest of its run's configuration. A piece is written under another name and renamed, so a sweep
that is killed at any instant loses the rows of the last moment and nothing else. Pieces are joined when there are many
of them, and at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...bounds import SWEEP_FLUSH_ROWS, SWEEP_FLUSH_SECONDS, SWEEP_PIECES, SWEEP_STORES
from ...errors import UsageError
from .rows import FAILED_WORKER, INTEGERS, MEASURED, Row, program

if TYPE_CHECKING:
    import pyarrow

VERSION = 1
"""Of the layout."""
ABOUT, LOCK = "sweep.json", "lock"
_PIECE = re.compile(r"rows-(\d{8})\.parquet")


def default_folder(keys: Sequence[str]) -> Path:
    """Where a sweep is kept that was not told where: beside the compiled kernels, by what it is made of."""
    import hashlib

    from ...compiled.cache import cache_dir

    name = hashlib.sha256("\n".join([program(), *keys]).encode()).hexdigest()[:32]
    return cache_dir() / "sweeps" / name


def tidy(folder: Path) -> None:
    """Of the stores that nobody chose a place for, keep the newest."""
    import shutil

    def age(path: Path) -> float:
        with contextlib.suppress(OSError):
            return path.stat().st_mtime
        return 0.0

    with contextlib.suppress(OSError):
        others = sorted((each for each in folder.parent.iterdir() if each != folder), key=age, reverse=True)
        for old in others[SWEEP_STORES - 1 :]:
            shutil.rmtree(old, ignore_errors=True)


class Store:
    """Rows on disk. A context manager: what was added is there when it ends, however it ends."""

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)
        self.rows: dict[str, Row] = {}
        """By key, those of earlier sweeps too."""
        self._new: list[Row] = []
        self._flushed = time.monotonic()
        self._pieces: list[Path] = []
        self._next = 1
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.folder / LOCK, "a+b")
        except OSError as error:
            raise UsageError(f"cannot keep a sweep in {self.folder}: {error.strerror or error}") from None
        try:
            self._take_lock()
            self._look_at()
            self._load()
        except BaseException:
            self._lock.close()
            raise

    def _take_lock(self) -> None:
        import fcntl

        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"another sweep is writing to {self.folder}: wait for it, or use another store") from None

    def _look_at(self) -> None:
        """Refuse what is no store, or that of another program."""
        about = self.folder / ABOUT
        mine = {"version": VERSION, "program": program()}
        try:
            text = about.read_text(encoding="utf-8")
        except FileNotFoundError:
            if any(path.name != LOCK for path in self.folder.iterdir()):
                raise UsageError(f"{self.folder} holds other files and no sweep: name a new folder") from None
            self._write(about, (json.dumps(mine) + "\n").encode())
            return
        except (OSError, ValueError):
            text = ""
        try:
            there = json.loads(text)
            version, made_by = there["version"], there["program"]
        except (ValueError, TypeError, KeyError):
            raise UsageError(f"{about} is not that of a sweep: name another folder") from None
        if version != VERSION:
            raise UsageError(f"{self.folder} is a store of version {version}, this program keeps version {VERSION}")
        if made_by != mine["program"]:
            raise UsageError(
                f"{self.folder} was made by another version of this program, whose runs may differ: name a new folder"
            )

    def _load(self) -> None:
        import pyarrow

        for path in sorted(self.folder.iterdir()):
            match = _PIECE.fullmatch(path.name)
            if match is None:
                if path.name.endswith(".part"):
                    path.unlink(missing_ok=True)  # of a sweep that was killed while it wrote
                continue
            try:
                rows = read_piece(path)
            except (OSError, ValueError, KeyError, pyarrow.ArrowException) as error:
                said = str(error).splitlines()
                raise UsageError(f"{path} cannot be read: {said[0] if said else type(error).__name__}") from None
            self.rows.update((row["key"], row) for row in rows)
            self._pieces.append(path)
            self._next = int(match[1]) + 1

    # Reading ----------------------------------------------------------------------------------------------------------

    def has(self, key: str, retry: bool = False) -> bool:
        """Whether a run need not be made. A failure is a result, unless it was that of a worker, or ``retry``."""
        row = self.rows.get(key)
        return row is not None and row["failed"] != FAILED_WORKER and (row["ok"] or not retry)

    # Writing ----------------------------------------------------------------------------------------------------------

    def add(self, row: Row) -> None:
        """Keep a row; on disk within moments."""
        self.rows[row["key"]] = row
        self._new.append(row)
        if len(self._new) >= SWEEP_FLUSH_ROWS or time.monotonic() - self._flushed >= SWEEP_FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is not on disk yet."""
        self._flushed = time.monotonic()
        if self._new:
            self._pieces.append(self._put(self._new))
            self._new = []
        if len(self._pieces) >= SWEEP_PIECES:
            self.join()

    def join(self) -> None:
        """Make one file of all pieces."""
        if len(self._pieces) < 2:
            return
        old, self._pieces = self._pieces, [self._put(list(self.rows.values()))]
        for path in old:  # killed here, a row is there twice, which is no harm
            path.unlink(missing_ok=True)

    def _put(self, rows: Iterable[Row]) -> Path:
        import io

        from pyarrow import parquet

        path = self.folder / f"rows-{self._next:08d}.parquet"
        self._next += 1
        buffer = io.BytesIO()
        parquet.write_table(to_table(rows), buffer, compression="zstd")
        self._write(path, buffer.getvalue())
        return path

    def _write(self, path: Path, data: bytes) -> None:
        part = path.with_name(path.name + ".part")
        try:
            with open(part, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except OSError as error:
            raise UsageError(f"cannot keep a sweep in {self.folder}: {error.strerror or error}") from None

    def close(self) -> None:
        """Write what is left, as one file, and let others in."""
        if not self._lock.closed:
            try:
                self.flush()
                self.join()
            finally:
                self._lock.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


# Parquet --------------------------------------------------------------------------------------------------------------


def schema() -> pyarrow.Schema:
    """Columns of a piece."""
    import pyarrow as pa

    text = pa.string()
    kinds: list[tuple[str, Any]] = [
        ("key", text), ("config", text), ("ok", pa.bool_()), ("error", text), ("failed", text),
    ]  # fmt: skip
    for name in MEASURED:
        kinds.append((name, pa.int64() if name in INTEGERS else pa.bool_() if name == "digest_ok" else pa.float64()))
    return pa.schema([*kinds, ("capture_sha256", text), ("extra", text)])


def to_table(rows: Iterable[Row]) -> pyarrow.Table:
    import pyarrow as pa

    return pa.Table.from_pylist(list(rows), schema=schema())


def read_piece(path: Path) -> list[Row]:
    """The rows of a piece; :class:`ValueError` for other columns."""
    from pyarrow import parquet

    table = parquet.read_table(path)
    if table.schema.names != schema().names:
        raise ValueError("it has other columns than a sweep's rows")
    return table.cast(schema()).to_pylist()


def read(folder: str | os.PathLike[str]) -> Mapping[str, Row]:
    """The rows of a store, by key."""
    if not (Path(folder) / ABOUT).exists():
        raise UsageError(f"there is no sweep in {os.fspath(folder)}")
    with Store(folder) as store:
        return dict(store.rows)
