"""What a notebook types to read and write capture files; :mod:`.parquet` has the same for parquet.

A DataFrame of frames has no bytes. Those of :func:`read_pcap` and :func:`iter_capture` know the path of their file
(``attrs["path"]``), so any selection of their rows can be written: the bytes are taken from that file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bounds import CAPTURE_READ_BYTES
from ..errors import UsageError
from . import schema as s
from .capture import Block, Capture
from .pcap_reader import PcapReader, load_pcap
from .pcapng import write_capture_pcap, write_capture_pcapng
from .recorder import Recorder
from .source import open_source

if TYPE_CHECKING:
    import pandas as pd

GROUP_ROWS = 1 << 17
"""Rows of a group, unless told otherwise: some 23 MB with all columns."""
PARQUET = b"PAR1"


def _attrs(reader: PcapReader, path: str | Path) -> dict[str, Any]:
    return {
        "path": str(path), "meta": reader.meta, "drops": dict(reader.drops), "snap": reader.snap,
        "warning": reader.warning, "undissected": dict(reader.undissected),
    }  # fmt: skip


def read_pcap(
    path: str | Path, columns: Iterable[str] | None = None, most_bytes: int = CAPTURE_READ_BYTES
) -> pd.DataFrame:
    """Read a pcapng or pcap file, plain or packed (gzip, zstd): one row a frame, with the columns of
    ``docs/columns.md``.

    Parameters
    ----------
    path: the file.
    columns: names of the columns wanted; all by default.
    most_bytes: memory the table may take. Reading stops before, and the warning says so; :func:`iter_capture` goes
        through files of any size.

    Returns
    -------
    A DataFrame whose ``attrs`` have ``path``, ``meta`` (of the run that was recorded), ``drops`` (frames missing, by
    reason), ``snap``, ``undissected`` (frames by link type that is not understood) and ``warning``: None, or where the
    file breaks off. What comes before that is in the table.

    Raises :class:`~aero_lab.errors.UsageError` when the file is neither pcapng nor pcap.
    """
    from .frames import Dissection, Table, chosen_columns, take_in

    chosen = chosen_columns(columns)
    source = open_source(path)
    try:
        size = Path(path).stat().st_size if not source.packing else 0
        reader, dissection, table = PcapReader(source, str(path)), Dissection(), Table(chosen)
        most = most_bytes // (2 * table.row_size)
        for block in reader.blocks():
            wanted = table.count + block.count
            if wanted > most:
                reader.warning = (
                    f"stopped at byte {reader.position}, after {table.count} frames: the whole file takes more than "
                    f"{most_bytes:,} bytes of memory; iter_capture reads it in groups"
                )
                break
            if size > reader.position:  # files are much the same all along
                wanted = max(wanted, min(most, int(1.03 * wanted * size / reader.position)))
            table.reserve_for(wanted, block.count)
            take_in(dissection, table, block, table.count)
    finally:
        source.close()
    frames = table.frame(dissection.categories())
    frames.attrs.update(_attrs(reader, path))
    return frames


def iter_capture(
    path: str | Path, rows: int = GROUP_ROWS, columns: Iterable[str] | None = None
) -> Iterator[pd.DataFrame]:
    """Go through a capture file of any size in groups of rows: pcapng, pcap (plain, gzip, zstd) or parquet.

    The groups together are the rows of :func:`read_pcap` or :func:`.parquet.read_capture`: numbers, flows, causes and
    delays go on from group to group. Memory grows with the addresses and conversations of a file, not with its frames.
    A file that breaks off ends the iteration; the last group's ``attrs["warning"]`` says where.
    """
    if rows < 1:
        raise UsageError(f"a group needs at least 1 row, not {rows}")
    with open(path, "rb") as file:
        parquet = file.read(4) == PARQUET
    if parquet:
        from .parquet import iter_parquet

        return iter_parquet(path, rows, columns)
    from .frames import chosen_columns

    return _iter_pcap(path, rows, chosen_columns(columns))


def _iter_pcap(path: str | Path, rows: int, chosen: tuple[s.Column, ...]) -> Iterator[pd.DataFrame]:
    from .frames import Dissection, Table, take_in

    source = open_source(path)
    try:
        reader, dissection, table, first = PcapReader(source, str(path)), Dissection(), Table(chosen), 0

        def group() -> pd.DataFrame:
            frames = table.frame(dissection.categories())
            frames.attrs.update(_attrs(reader, path))
            return frames

        for block in reader.blocks(min(rows, 1 << 16)):
            done = 0
            while done < block.count:
                if table.count == rows:
                    yield group()
                    table = Table(chosen)
                table.reserve(rows)
                part = Block(
                    block.data, block.index, block.start + block.step * done, block.step,
                    min(block.count - done, rows - table.count),
                )  # fmt: skip
                take_in(dissection, table, part, first)
                done += part.count
                first += part.count
        yield group()
    finally:
        source.close()


def captured(frames: Any, source: Any = None) -> Capture:
    """Frames with their bytes: of a :class:`.capture.Capture`, a recorder, or a table of rows whose bytes are in
    ``source`` (a capture, a recorder or a path; the file that the table was read from by default)."""
    if isinstance(frames, Recorder):
        frames = frames.capture()
    if isinstance(frames, Capture):
        return frames
    import pandas as pd

    if not isinstance(frames, pd.DataFrame) or "frame_number" not in frames:
        raise UsageError("what is written is a capture, a recorder, or rows of one's frames() with their frame_number")
    source = frames.attrs.get("path") if source is None else source
    if source is None:
        raise UsageError("these rows know no file with their bytes: say source=, the capture they come from")
    whole = source if isinstance(source, Capture | Recorder) else load_pcap(source)
    return captured(whole).select(frames["frame_number"].to_numpy(np.int64))


def write_pcapng(path: str | Path, frames: Any, source: Any = None) -> Path:
    """Write frames as pcapng, packed where the name ends in ``.gz`` or ``.zst``. Returns the path.

    Parameters
    ----------
    path: the file.
    frames: a :class:`~aero_lab.capture.Capture`, a recorder such as ``lab.capture``, or rows of a DataFrame of frames.
    source: where the bytes of a DataFrame's rows are: a capture, a recorder or a file; by default the file that it was
        read from.

    The same capture gives the same bytes. What came from a file keeps that file's interfaces, comments and options.
    """
    return write_capture_pcapng(path, captured(frames, source))


def write_pcap(path: str | Path, frames: Any, source: Any = None) -> Path:
    """:func:`write_pcapng` in the classic format: one link layer, nanosecond times, no names, directions or
    comments."""
    return write_capture_pcap(path, captured(frames, source))
