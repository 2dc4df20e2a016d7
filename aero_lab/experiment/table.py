"""A table of runs: shown in a terminal or a notebook, kept as JSON, parquet and a short report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..tables import html_table
from .columns import COLUMNS, every_run, is_number, summary, table_cells
from .record import Run, to_document, write_json

if TYPE_CHECKING:
    import pandas
    from rich.table import Table as RichTable


RUNS_ACROSS = 5
"""Up to so many runs stand beside each other in a terminal."""


class Table:
    """What :func:`aero_lab.compare` returns."""

    def __init__(
        self,
        runs: Sequence[Run],
        seed: int,
        folder: Path | None = None,
        left_out: Sequence[dict[str, str]] = (),
    ):
        self.runs = list(runs)
        self.seed = seed
        self.left_out = list(left_out)
        """Combinations that cannot be: ``option``, ``transport``, ``reason``."""
        self.folder = folder
        """Folder of the files, None when none were written."""
        self.files: list[Path] = []

    @property
    def ok(self) -> bool:
        """Whether every run succeeded."""
        return bool(self.runs) and all(run.ok for run in self.runs)

    @property
    def many(self) -> bool:
        """Whether there are more rows than stand beside each other in a terminal."""
        return len(self._cells()[1]) > RUNS_ACROSS

    def frame(self) -> pandas.DataFrame:
        """One row a run, all fields."""
        import pandas

        rows = [{k: v for k, v in run.to_dict().items() if k != "extra"} for run in self.runs]
        for row in rows:
            for name in ("settings", "transport_settings"):
                row[name] = ", ".join(f"{key}={value}" for key, value in row[name].items())
        return pandas.DataFrame(rows)

    def document(self) -> dict[str, Any]:
        """The JSON document; what was left out stands in it when there is something."""
        document = to_document(self.runs, self.seed)
        return {**document, "left_out": self.left_out} if self.left_out else document

    def medians(self) -> pandas.DataFrame:
        """One row a combination: the median of each measurement over its repeats, and beside each its spread, half the
        distance between the least and the greatest, in a column with ``_spread`` behind the name."""
        frame: Any = self.frame()
        frame["link"] = [run.link_name for run in self.runs]
        frame = frame[frame["ok"].astype(bool)]
        keys = ["option", "transport", "guest", "workload", "mode"]
        keys += [key for key in ("settings", "transport_settings", "link") if frame[key].nunique() > 1]
        measured = [name for name, _, _ in COLUMNS if name in frame and name not in keys and name != "ok"]
        numbers: Any = frame[measured].apply(pandas_numbers)
        groups: Any = numbers.groupby([frame[key] for key in keys], sort=False)
        out: Any = groups.median()
        spread = (groups.max() - groups.min()) / 2
        for name in measured:
            out[f"{name}_spread"] = spread[name]
        out.insert(0, "runs", groups.size())
        return out.dropna(axis="columns", how="all")

    def save_json(self, target: str) -> None:
        """Write the JSON document to a file, or to standard output for ``-``."""
        write_json(self.document(), target)

    def to_rich(self) -> RichTable:
        """For a terminal."""
        from rich.table import Table as RichTable

        headings, rows = self._cells()
        table = RichTable(title=self.title())
        if len(rows) <= RUNS_ACROSS:  # measurements down, runs across: fits a terminal
            table.add_column(headings[0], no_wrap=True)
            for row in rows:
                table.add_column(row[0], justify="right", min_width=_least(row))
            for number, heading in enumerate(headings[1:], 1):
                table.add_row(_flat(heading), *(row[number] for row in rows), end_section=headings[number] in ("mode",))
            return table
        for number, (heading, cell) in enumerate(zip(headings, rows[0])):
            least = _least([heading, *(row[number] for row in rows)])
            table.add_column(heading, justify="right" if is_number(cell) else "left", min_width=least)
        for row in rows:
            table.add_row(*row)
        return table

    def written(self) -> list[str]:
        """Names of the files, captures as their number when they are many."""
        captures = [path.name for path in self.files if path.suffix in (".pcapng", ".parquet") and path.stem != "runs"]
        rest = [path.name for path in self.files if path.name not in captures]
        return (captures if len(captures) < 9 else [f"{len(captures)} captures"]) + rest

    def title(self) -> str:
        """One line that tells what all runs share."""
        first = self.runs[0] if self.runs else None
        links = list(dict.fromkeys(run.link_name for run in self.runs))
        link = f"{len(links)} links" if len(links) > 1 else "no link" if links in ([], ["none"]) else f"link {links[0]}"
        return f"{first.guest if first else 'no'} guest, {link}, seed {self.seed}"

    def summary(self) -> list[tuple[str, list[str], list[list[str]]]]:
        """One row a cell, all workloads together, in parts: title, headings, rows."""
        return summary(self.runs)

    def every_run(self) -> list[tuple[str, list[str], list[list[str]]]]:
        """The printed table in parts that a page is wide enough for: title, headings, rows."""
        return every_run(self.runs)

    def summary_rich(self) -> list[RichTable]:
        """The same for a terminal."""
        from rich import box
        from rich.table import Table as RichTable

        tables = []
        for title, headings, rows in self.summary():
            table = RichTable(
                title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
            )
            numbers = [all(is_number(row[place]) for row in rows) for place in range(2, len(headings))]
            # The options head the rows of their transports: side by side they would leave no room for the figures.
            names = ["option", *(row[0] for row in rows), *(f"  {row[1]}" for row in rows)]
            table.add_column("option\n  transport", no_wrap=True, min_width=max(map(len, names)))
            for place, number in enumerate(numbers, 2):
                least = _least([headings[place], *(row[place] for row in rows)])
                table.add_column(headings[place], justify="right" if number else "left", min_width=least)
            before = None
            for row in rows:
                if row[0] != before:
                    table.add_row(row[0], *[""] * len(numbers), style="bold")
                before = row[0]
                table.add_row(f"  {row[1]}", *row[2:])
            tables.append(table)
        return tables

    def summary_markdown(self) -> str:
        """The same for a page."""
        parts = []
        for title, headings, rows in self.summary():
            parts += [f"**{title}**", "", *_markdown(headings, rows), ""]
        return "\n".join(parts).rstrip()

    def to_markdown(self) -> str:
        """For the report."""
        headings, rows = self._cells()
        return "\n".join(_markdown(headings, rows))

    def _repr_html_(self) -> str:
        return html_table(*self._cells(), self.title())

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        return table_cells(self.runs)

    def __repr__(self) -> str:
        headings, rows = self._cells()
        flat = [_flat(h) for h in headings]
        widths = [max(len(x) for x in column) for column in zip(flat, *rows)] if rows else [len(h) for h in flat]
        return "\n".join("  ".join(x.rjust(w) for x, w in zip(row, widths)) for row in [flat, *rows])

    def write(self, folder: Path) -> None:
        """Write ``runs.json``, ``runs.parquet`` and ``report.md`` into ``folder``."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.save_json(str(folder / "runs.json"))
        frame = self.frame()
        # The link is a dictionary with its own columns in JSON; parquet gets it as one text.
        frame["link"] = [None if run.link is None else repr(run.link) for run in self.runs]
        frame.to_parquet(folder / "runs.parquet")
        from .report import comparison_html

        (folder / "report.md").write_text(self.report(), encoding="utf-8")
        (folder / "report.html").write_text(comparison_html(self), encoding="utf-8")
        self.files += [folder / name for name in ("runs.json", "runs.parquet", "report.md", "report.html")]

    def report(self) -> str:
        """A short report in Markdown: the table, how it was measured, the machine, the captures."""
        machine = self.document()["machine"]
        lines = ["# aero-lab compare", "", self.title(), "", self.summary_markdown(), "", "## Runs", ""]
        lines += [self.to_markdown(), ""]
        failed = [run for run in self.runs if not run.ok]
        lines += [f"* **failed**: {run.label} {run.over} {run.workload}: {run.error}" for run in failed]
        lines += [f"* left out: {each['option']} over {each['transport']}: {each['reason']}" for each in self.left_out]
        lines += [
            "",
            "A dash was not measured. "
            + (
                "CPU is that of separate client and proxy processes, while the workload ran."
                if any(run.mode == "real" for run in self.runs)
                else "Virtual time: seconds are those of the simulated clock; the same seed gives the same bytes."
            ),
            "",
            "Captures (open in Wireshark; the interfaces are the guest's NIC and the tunnel's far end):",
            "",
        ]
        lines += [f"* `{Path(run.capture).name}`" for run in self.runs if run.capture]
        lines += ["", "Machine: " + ", ".join(f"{k} {v}" for k, v in machine.items()), ""]
        return "\n".join(lines)


def pandas_numbers(column: Any) -> Any:
    """A column of measurements as floats; what was not measured is missing."""
    import pandas

    return pandas.to_numeric(column, errors="coerce").astype(float)


def _markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(_flat(h) for h in headings) + " |"]
    lines.append(
        "|" + "|".join("---:" if all(is_number(row[n]) for row in rows) else "---" for n in range(len(headings))) + "|"
    )
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def _least(texts: Sequence[str]) -> int:
    """Characters that a column of these must have, so that a line ends between words and no figure is cut."""
    return max(len(word) for text in texts for word in text.split() or [""])


def _flat(heading: str) -> str:
    """A heading on one line."""
    return heading.replace("-\n", "").replace("\n", " ")
