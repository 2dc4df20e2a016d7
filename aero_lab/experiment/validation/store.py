"""Measurements in a file: what was measured on one machine is held against what is simulated on another."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UsageError
from .traffic import LOST, Arrivals

SCHEMA = 1
STEP = 100_000
"""Delays are kept to so many nanoseconds: a fiftieth of what the rule lets them differ by."""


def about() -> dict[str, Any]:
    """What made a measurement: the kernel, whose TCP it was, and the libraries."""
    found: dict[str, Any] = {"schema": SCHEMA, "kernel": platform.release(), "machine": platform.machine()}
    for name in ("aiortc", "aiohttp"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def save(path: str | os.PathLike[str], runs: Mapping[str, Sequence[Arrivals]], told: Mapping[str, Any]) -> None:
    """Write runs, by point: due times in ms, delays in steps of :data:`STEP`; ``told``: what :func:`about` says."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    columns: dict[str, list[Any]] = {name: [] for name in ("point", "repeat", "size", "due_ms", "delay")}
    for point, each in runs.items():
        for repeat, run in enumerate(each):
            count = len(run.delay)
            columns["point"].append(np.full(count, point, object))
            columns["repeat"].append(np.full(count, repeat, np.int16))
            columns["size"].append(np.full(count, run.size, np.int32))
            columns["due_ms"].append(np.rint((run.due - run.due[0]) / 1e6).astype(np.int32))
            columns["delay"].append(np.where(run.delay == LOST, LOST, np.rint(run.delay / STEP)).astype(np.int32))
    table = pa.table({name: np.concatenate(parts) for name, parts in columns.items()})
    table = table.replace_schema_metadata({"aero_lab": json.dumps(dict(told))})
    settings: dict[str, Any] = {
        "compression": "zstd",
        "compression_level": 19,
        "use_dictionary": ["point", "repeat"],
        "column_encoding": {name: "DELTA_BINARY_PACKED" for name in ("due_ms", "delay", "size")},
    }
    parquet.write_table(table, path, **settings)


def load(path: str | os.PathLike[str]) -> tuple[dict[str, list[Arrivals]], dict[str, Any]]:
    """Read them again: runs by point, and what made them. Raises :class:`~aero_lab.errors.UsageError`."""
    import pyarrow.parquet as parquet

    if not Path(path).is_file():
        raise UsageError(f"no measurements at {path}")
    try:
        table = parquet.read_table(path)
        told = json.loads((table.schema.metadata or {})[b"aero_lab"])
        frame = table.to_pandas()
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{path} holds no measurements: {' '.join(str(error).split())[:100]}") from None
    if told.get("schema") != SCHEMA:
        raise UsageError(f"{path} is of another version: {told.get('schema')}, not {SCHEMA}")
    found: dict[str, list[Arrivals]] = {}
    for (point, _), rows in frame.groupby(["point", "repeat"], sort=False):
        delay = rows["delay"].to_numpy().astype(np.int64)
        delay = np.where(delay == LOST, LOST, delay * STEP)
        due = rows["due_ms"].to_numpy().astype(np.int64) * 1_000_000
        found.setdefault(str(point), []).append(
            Arrivals(int(rows["size"].iloc[0]), due, delay)
        )  # fmt: skip
    return found, told
