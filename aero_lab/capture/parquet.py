"""Columns in parquet files, with their schema and the run's description inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from . import schema as s

if TYPE_CHECKING:
    import pandas as pd

KEY = b"aero_lab"


def save_parquet(path: str | Path, frames: pd.DataFrame, meta: dict[str, Any] | None = None) -> Path:
    """Write frames (all columns or some, and any others) to ``path``.

    The file's metadata has, under ``aero_lab``, the schema version, ``meta`` and for each known column unit, Wireshark
    field and meaning as JSON; each parquet field has them as metadata of its own.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frames, preserve_index=False)
    described = {}
    fields = []
    for field in table.schema:
        column = s.COLUMN.get(field.name)
        if column is not None:
            described[column.name] = {"unit": column.unit, "wireshark": column.wireshark, "meaning": column.meaning}
            field = field.with_metadata({k: v for k, v in described[column.name].items() if v})
        fields.append(field)
    about = {"schema": s.SCHEMA_VERSION, "meta": meta or {}, "columns": described}
    kept = dict(table.schema.metadata or {})
    kept[KEY] = json.dumps(about, sort_keys=True, default=str).encode()
    table = table.cast(pa.schema(fields, metadata=kept))
    path = Path(path)
    pq.write_table(table, path, compression="zstd")
    return path


def load_parquet(path: str | Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Frames and meta of a file written by :func:`save_parquet`, types and categories as they were."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    raw = (table.schema.metadata or {}).get(KEY)
    if raw is None:
        raise UsageError(f"{path}: parquet, but no capture of aero_lab's")
    about = json.loads(raw)
    if about.get("schema", 0) > s.SCHEMA_VERSION:
        raise UsageError(
            f"{path}: written by a newer version (schema {about['schema']}, this reads {s.SCHEMA_VERSION})"
        )
    return table.to_pandas(), about["meta"]
