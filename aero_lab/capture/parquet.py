"""Columns in parquet files, with their schema and the run's description inside, written and read in groups of rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from . import schema as s

if TYPE_CHECKING:
    import pandas as pd

KEY = b"aero_lab"
GROUP_ROWS = 1 << 17
READ_ROWS = 1 << 22
"""Rows that are made a table at once where all are wanted."""
ATTRS = ("drops", "snap", "warning", "undissected")
"""What of a table's ``attrs`` goes into the file beside ``meta``."""


def write_capture(
    path: str | Path, frames: Any, meta: dict[str, Any] | None = None, group_rows: int = GROUP_ROWS
) -> Path:
    """Write columns as parquet. Returns the path.

    Parameters
    ----------
    path: the file.
    frames: a DataFrame of frames (all columns or some, and any others), a capture or recorder, or an iterable of
        DataFrames such as :func:`.files.iter_capture` gives: then no more than one is in memory.
    meta: of the run; by default what the frames bring.
    group_rows: rows of a group, which is what can be read at once.

    The file's metadata has, under ``aero_lab``, the schema version, ``meta``, what was dropped, and for each known
    column unit, Wireshark field and meaning as JSON; each parquet field has them as metadata of its own.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    if meta is None:
        meta = getattr(frames, "meta", None)
    if hasattr(frames, "frames"):
        frames = frames.frames()
    tables: Iterator[pd.DataFrame] = iter([frames] if isinstance(frames, pd.DataFrame) else frames)
    first = next(tables, None)
    if not isinstance(first, pd.DataFrame):
        raise UsageError("what is written is a DataFrame of frames, a capture, or an iterable of DataFrames")
    path = Path(path)
    about: dict[str, Any] = {}
    head = _arrow(first)
    schema = _described(head.schema, about)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        last = first
        writer.write_table(head.cast(schema), row_group_size=group_rows)
        for table in tables:
            last = table
            writer.write_table(_arrow(table).cast(schema), row_group_size=group_rows)
        about["meta"] = (last.attrs.get("meta") if meta is None else meta) or {}
        about |= {name: last.attrs[name] for name in ATTRS if last.attrs.get(name)}
        writer.add_key_value_metadata({KEY: json.dumps(about, sort_keys=True, default=str).encode()})
    return path


def _arrow(frames: pd.DataFrame) -> Any:
    """A table without pandas' own attributes; text by 32-bit numbers, whatever the groups need."""
    import pyarrow as pa

    plain = frames.copy(deep=False)
    plain.attrs = {}
    table = pa.Table.from_pandas(plain, preserve_index=False)
    for at, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            wide = pa.dictionary(pa.int32(), pa.string(), field.type.ordered)
            table = table.set_column(at, field.with_type(wide), table.column(at).cast(wide))
    return table


def _described(schema: Any, about: dict[str, Any]) -> Any:
    """The schema with what its columns mean; fills ``about`` with the same."""
    import pyarrow as pa

    described, fields = {}, []
    for field in schema:
        column = s.COLUMN.get(field.name)
        if column is not None:
            described[column.name] = {"unit": column.unit, "wireshark": column.wireshark, "meaning": column.meaning}
            field = field.with_metadata({k: v for k, v in described[column.name].items() if v})
        fields.append(field)
    about |= {"schema": s.SCHEMA_VERSION, "columns": described}
    return pa.schema(fields, metadata=schema.metadata)


def _open(path: str | Path) -> tuple[Any, dict[str, Any]]:
    """A parquet file of ours, and what it says about itself."""
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        _ = file.schema_arrow
    except FileNotFoundError:
        raise
    except Exception as error:  # native code says it in many ways
        raise UsageError(f"{path}: no parquet file, or a broken one ({_line(error)})") from None
    raw = (file.metadata.metadata or {}).get(KEY)
    if raw is None:
        raise UsageError(f"{path}: parquet, but no capture of aero_lab's")
    try:
        about = json.loads(raw)
        version = int(about["schema"])
    except (ValueError, RecursionError, KeyError, TypeError):
        raise UsageError(f"{path}: a capture whose description is broken") from None
    if version > s.SCHEMA_VERSION:
        raise UsageError(f"{path}: written by a newer version (schema {version}, this reads {s.SCHEMA_VERSION})")
    return file, about


def _line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def iter_parquet(path: str | Path, rows: int, columns: Iterable[str] | None = None) -> Iterator[pd.DataFrame]:
    """The rows of a file of :func:`write_capture`, ``rows`` at once. A file whose groups are broken gives those
    before, and the last table's ``attrs["warning"]`` says which was the first that could not be read."""
    import pandas as pd
    import pyarrow as pa

    from .frames import _FIXED

    file, about = _open(path)
    names = None if columns is None else list(columns)
    for name in names or ():
        if name not in file.schema_arrow.names:
            raise UsageError(f"{path}: no column {name!r}")
    attrs = {"path": str(path), "meta": about.get("meta") or {}} | {n: about[n] for n in ATTRS if n in about}

    def table(parts: list[Any]) -> pd.DataFrame:
        frames = pa.concat_tables(parts).unify_dictionaries().to_pandas()
        for name, texts in _FIXED.items():  # a group need not have them all
            if name in frames and isinstance(frames[name].dtype, pd.CategoricalDtype):
                frames[name] = frames[name].cat.set_categories(list(texts))
        frames.attrs = dict(attrs)
        return frames

    def groups() -> Iterator[pd.DataFrame]:
        waiting, number, done = [], 0, 0
        for group in range(file.num_row_groups):
            try:
                part = file.read_row_group(group, columns=names)
                table([part.slice(0, 1)])  # what pandas cannot take is as broken as what cannot be read
            except Exception as error:  # native code says it in many ways
                attrs["warning"] = f"the file is corrupt behind row {done + number}: {_line(error)}"
                break
            while number + len(part) >= rows:
                yield table([*waiting, part.slice(0, rows - number)])
                part, waiting, number, done = part.slice(rows - number), [], 0, done + rows
            if len(part):
                waiting.append(part)
                number += len(part)
        if waiting:
            yield table(waiting)

    held = None
    for following in groups():
        if held is not None:
            yield held
        held = following
    if held is None:
        try:
            schema = file.schema_arrow if names is None else pa.schema([file.schema_arrow.field(n) for n in names])
            held = table([schema.empty_table()])
        except Exception as error:
            raise UsageError(f"{path}: a capture whose description is broken ({_line(error)})") from None
    held.attrs = dict(attrs)  # type: ignore[assignment]
    yield held


def read_capture(path: str | Path, columns: Iterable[str] | None = None) -> pd.DataFrame:
    """Read a file of :func:`write_capture`: types and categories as they were; ``attrs`` has ``path``, ``meta``,
    ``drops`` and what else was known. A file with broken groups gives the rows before, and ``attrs["warning"]``."""
    import pandas as pd

    tables = list(iter_parquet(path, READ_ROWS, columns))
    if len(tables) == 1:
        return tables[0]
    attrs = tables[-1].attrs
    for name in tables[0].columns:
        if isinstance(tables[0][name].dtype, pd.CategoricalDtype):
            texts = tables[0][name].cat.categories
            for table in tables[1:]:
                texts = texts.append(table[name].cat.categories.difference(texts, sort=False))
            for table in tables:
                table[name] = table[name].cat.set_categories(texts)
    for table in tables:
        table.attrs = {}
    frames = pd.concat(tables, ignore_index=True)
    frames.attrs = attrs
    return frames
