"""``aero-lab sweep``: a grid from a file, its rows to a file, a short table to the terminal."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ...analysis.intervals import intervals
from ...errors import UsageError
from ...tables import text_table
from ..record import check_target, machine, write_json
from . import run
from .spec import read

if TYPE_CHECKING:
    import pandas

SCHEMA = 1
"""Version of the JSON layout."""
SHOWN = ("goodput_mbps", "seconds", "rtt_ms", "udp_delay_ms", "udp_loss")
"""Measurements in the order in which they are looked for to be printed: the first three that there are."""
MOST_LINES = 60


def sweep_file(
    spec: Path,
    out: str | None = None,
    store: Path | None = None,
    workers: int | None = None,
    client: str | None = None,
    captures: Path | None = None,
    retry: bool = False,
    dry_run: bool = False,
    json_file: str | None = None,
) -> int:
    """Run the sweep of a file; returns the exit code."""
    found = read(spec)
    check_target(json_file)
    if out is not None and not out.endswith((".parquet", ".csv")):
        raise UsageError(f"--out is a .parquet or a .csv file, not {out!r}")
    check_target(out)
    for each in found.plan.left_out:
        typer.echo(f"left out: {each['option']} over {each['transport']}: {each['reason']}", err=True)
    if dry_run:
        typer.echo(f"{len(found.plan)} runs")
        return 0
    try:
        frame = run(
            found.plan, store=store, client=client, workers=workers, captures=captures, retry=retry, progress=True
        )  # fmt: skip
    except KeyboardInterrupt as stop:
        for note in getattr(stop, "__notes__", ()):
            typer.echo(f"aero-lab: {note}", err=True)
        raise
    if out is not None:
        write(frame, out)
    if json_file is not None:
        write_json(document(frame), json_file)
    if json_file != "-":
        typer.echo(summary(frame))
        before = frame.attrs["made_before"]
        told = [f"{len(frame)} runs", *([f"{before} of them made before"] if before else [])]
        told += [f"kept in {frame.attrs['store']}"] if frame.attrs["store"] else []
        typer.echo(", ".join(told))
    failed: Any = frame[~frame["ok"]]
    for error, number in failed["error"].value_counts().items():
        typer.echo(f"aero-lab: {number} run{'s' * (number != 1)} failed: {error}", err=True)
    return 1 if len(failed) else 0


def write(frame: pandas.DataFrame, target: str) -> None:
    """Write the table, as the name's ending says."""
    plain = frame.copy()
    plain.attrs = {}
    try:
        if target.endswith(".csv"):
            plain.to_csv(target, index=False)
        else:
            plain.to_parquet(target, index=False)
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror or error}") from None


def document(frame: pandas.DataFrame) -> dict[str, Any]:
    """The JSON document: schema, machine, runs; what was not measured is null."""
    text: Any = frame.to_json(orient="records", double_precision=15)
    runs = json.loads(text)
    return {"schema": SCHEMA, "machine": machine(), "left_out": frame.attrs["left_out"], "runs": runs}


def varied(frame: Any) -> list[str]:
    """Columns of the configuration that differ between runs."""
    first = list(frame.columns[: list(frame.columns).index("seed")])
    several = [name for name in first if name != "link" and frame[name].nunique(dropna=False) > 1]
    return several or ["option", "transport", "workload"]


def summary(frame: Any) -> str:
    """A line for each configuration: medians over the seeds, and between what they lie."""
    by = varied(frame)
    shown = [name for name in SHOWN if frame[name].notna().any()][:3]
    groups = [intervals(frame.assign(**{name: frame[name].where(frame["ok"])}), name, by) for name in shown]
    sizes = frame.groupby(by, sort=False, dropna=False)["ok"].agg(["sum", "size"]).reset_index()
    rows = []
    for number, counts in sizes.head(MOST_LINES).iterrows():
        cells = [_place(each) for each in counts[by]]
        cells.append(f"{counts['sum']}/{counts['size']}")
        # All three group alike, so their rows are in one order.
        cells += [_interval(group.iloc[number]) for group in groups]  # type: ignore[call-overload]
        rows.append(cells)
    text = text_table([*by, "ok", *shown], rows, right=range(len(by), len(by) + 1 + len(shown)))
    more = len(sizes) - len(rows)
    return text + (f"\n... and {more} more: see --out" if more > 0 else "")


def _place(value: Any) -> str:
    """A place on an axis; what a configuration does not have is a dash."""
    if isinstance(value, float):
        return "–" if math.isnan(value) else "none" if math.isinf(value) else f"{value:g}"
    return "–" if value is None else str(value)


def _interval(row: Any) -> str:
    if not row["n"]:
        return "–"
    middle = f"{row['median']:.4g}"
    return middle if row["low"] == row["high"] else f"{middle} ({row['low']:.4g} to {row['high']:.4g})"
