"""A table of runs: shown in a terminal or a notebook, kept as JSON, parquet and a short report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..tables import html_table
from .record import Run, cells, to_document, write_json

if TYPE_CHECKING:
    import pandas
    from rich.table import Table as RichTable


LABELS = 4
"""Leading columns of a table that say which run it is, and do not measure."""
RUNS_ACROSS = 5
"""Up to so many runs stand beside each other in a terminal."""


class Table:
    """What :func:`aero_lab.compare` returns."""

    def __init__(self, runs: Sequence[Run], seed: int, folder: Path | None = None):
        self.runs = list(runs)
        self.seed = seed
        self.folder = folder
        """Folder of the files, None when none were written."""
        self.files: list[Path] = []

    @property
    def ok(self) -> bool:
        """Whether every run succeeded."""
        return bool(self.runs) and all(run.ok for run in self.runs)

    def frame(self) -> pandas.DataFrame:
        """One row a run, all fields."""
        import pandas

        return pandas.DataFrame([{k: v for k, v in run.to_dict().items() if k != "extra"} for run in self.runs])

    def document(self) -> dict[str, Any]:
        """The JSON document."""
        return to_document(self.runs, self.seed)

    def save_json(self, target: str) -> None:
        """Write the JSON document to a file, or to standard output for ``-``."""
        write_json(self.document(), target)

    def to_rich(self) -> RichTable:
        """For a terminal."""
        from rich.table import Table as RichTable

        headings, rows = cells(self.runs)
        table = RichTable(title=self.title())
        if len(self.runs) <= RUNS_ACROSS:  # measurements down, runs across: fits a terminal
            table.add_column(headings[0])
            for row in rows:
                table.add_column(row[0], justify="right", no_wrap=True)
            for number, heading in enumerate(headings[1:], 1):
                table.add_row(_flat(heading), *(row[number] for row in rows), end_section=number == LABELS - 1)
            return table
        for heading, cell in zip(headings, rows[0]):
            table.add_column(heading, justify="right" if _numeric(cell) else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        return table

    def title(self) -> str:
        """One line that tells what all runs share."""
        from ..link import Link

        first = self.runs[0] if self.runs else None
        link = "no link" if first is None or not first.link else str(Link.from_dict(first.link))
        return f"{first.guest if first else 'no'} guest, {link}, seed {self.seed}"

    def to_markdown(self) -> str:
        """For the report."""
        headings, rows = cells(self.runs)
        lines = ["| " + " | ".join(_flat(h) for h in headings) + " |"]
        lines.append("|" + "---|" * len(headings))
        lines += ["| " + " | ".join(row) + " |" for row in rows]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return html_table(*cells(self.runs), self.title())

    def __repr__(self) -> str:
        headings, rows = cells(self.runs)
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
        (folder / "report.md").write_text(self.report(), encoding="utf-8")
        self.files += [folder / name for name in ("runs.json", "runs.parquet", "report.md")]

    def report(self) -> str:
        """A short report in Markdown: the table, how it was measured, the machine, the captures."""
        machine = self.document()["machine"]
        lines = ["# aero-lab compare", "", self.title(), "", self.to_markdown(), ""]
        failed = [run for run in self.runs if not run.ok]
        lines += [f"* **failed**: {run.option} {run.transport} {run.workload}: {run.error}" for run in failed]
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


def _flat(heading: str) -> str:
    """A heading on one line."""
    return heading.replace("-\n", "").replace("\n", " ")


def _numeric(cell: str) -> bool:
    return cell[:1].isdigit() or cell in ("–",)
