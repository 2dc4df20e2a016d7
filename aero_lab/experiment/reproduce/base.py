"""What a reproduction is, and what it reports: rows of *theirs* and *ours*, and a verdict."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from ...errors import AeroLabError
from ...tables import html_table, text_table

if TYPE_CHECKING:
    import pandas

Item = TypeVar("Item")
Progress = Callable[[int, int, str], None]
"""Called with how many runs are done, how many there are, and what is running."""


def silent(done: int, total: int, what: str) -> None:
    """No progress shown."""


@dataclass(frozen=True)
class Row:
    """One published figure beside ours."""

    case: str
    theirs: float | None
    ours: float | None
    """The mean over the seeds."""
    unit: str
    low: float | None = None
    high: float | None = None
    """Between what our seeds lie, where there are several (:func:`span`)."""
    ok: bool | None = None
    """Whether ours holds theirs; None where nothing is judged."""
    note: str = ""
    tolerance: float | None = None
    """How far off theirs ours may be, as a share of it, where that is what is judged."""
    line: str = ""
    x: float | None = None
    """Of which curve it is a point, and where along it, where the rows are curves (:attr:`Report.along`)."""

    @property
    def ratio(self) -> float | None:
        """Ours over theirs."""
        return self.ours / self.theirs if self.theirs and self.ours is not None else None


@dataclass
class Report:
    """What :func:`reproduce` returns: shows itself in a notebook and prints itself in a terminal."""

    name: str
    title: str
    source: str
    """Where the published figures stand."""
    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    """What explains the rows, one sentence or two each."""
    quick: bool = False
    seeds: int = 1
    along: str = ""
    """What the curves go along, with its unit."""

    @property
    def verdict(self) -> bool:
        """Whether everything that is judged holds."""
        judged = [row.ok for row in self.rows if row.ok is not None]
        return bool(judged) and all(judged)

    @property
    def last_line(self) -> str:
        """``verdict: yes`` or ``verdict: no``."""
        return f"verdict: {'yes' if self.verdict else 'no'}"

    def frame(self) -> pandas.DataFrame:
        """One row a figure; its title and what its curves go along are in ``attrs``."""
        import pandas

        out = pandas.DataFrame([{**asdict(row), "ratio": row.ratio} for row in self.rows])
        out.attrs.update(title=self.title, along=self.along)
        return out

    def document(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "schema": 1,
            "reproduction": self.name,
            "title": self.title,
            "source": self.source,
            "quick": self.quick,
            "seeds": self.seeds,
            "verdict": self.verdict,
            "rows": [{**asdict(row), "ratio": row.ratio} for row in self.rows],
            "notes": self.notes,
        }

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        spread = any(row.low is not None for row in self.rows)
        head = ["case", "theirs", "ours", "ratio", *(["our seeds"] if spread else []), "unit", "holds", "note"]
        body = []
        for row in self.rows:
            ratio = "" if row.ratio is None else f"{row.ratio:.3f}"
            between = "" if row.low is None or row.high is None else f"{number(row.low)} to {number(row.high)}"
            holds = "" if row.ok is None else "yes" if row.ok else "no"
            cells = [row.case, number(row.theirs), number(row.ours), ratio, *([between] if spread else [])]
            body.append([*cells, row.unit, holds, row.note])
        return head, body

    def text(self) -> str:
        """As a terminal shows it, the verdict in the last line."""
        head, body = self._cells()
        table = text_table(head, body, right=range(1, len(head) - 3))
        return "\n".join(
            [self.title, f"theirs: {self.source}", f"ours: {self._ours()}", "", table, "", *self.notes, self.last_line]
        )

    def _ours(self) -> str:
        seeds = "one seed" if self.seeds == 1 else f"{self.seeds} seeds"
        return f"virtual time, {seeds}{', the quick form' if self.quick else ''}"

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        head, body = self._cells()
        return html_table(head, body, f"{self.title} ({self._ours()}; {self.last_line})")


def number(value: float | None) -> str:
    """Four digits that matter, or nothing."""
    if value is None:
        return ""
    if value == 0 or 0.001 <= abs(value) < 1e6:
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:.3g}"


ONE_IN = 21
"""One draw in so many lies below twenty others of its kind, and one above."""


def span(values: Sequence[float]) -> tuple[float, float]:
    """Between what ``values`` lie: the least and the greatest of up to 40. Of more the outermost do not count, one in
    21 on each side: a span that gets wider with each seed would hold anything in the end."""
    ordered = sorted(values)
    outside = max((len(ordered) + 1) // ONE_IN - 1, 0)
    return ordered[outside], ordered[-1 - outside]


def spread(case: str, theirs: float, values: Sequence[float], unit: str, note: str = "") -> Row:
    """A row that holds when the published figure lies among ours."""
    low, high = span(values)
    return Row(case, theirs, sum(values) / len(values), unit, low, high, low <= theirs <= high, note)


def within(case: str, theirs: float, ours: float, tolerance: float, unit: str, note: str = "") -> Row:
    """A row that holds when ours is as theirs, give or take ``tolerance`` of it."""
    ok = abs(ours - theirs) <= tolerance * abs(theirs)
    return Row(case, theirs, ours, unit, ok=ok, note=note, tolerance=tolerance)


def failed(case: str, error: AeroLabError) -> Row:
    """The row of what came to no end: it holds nothing, whatever had come until then."""
    return Row(case, None, None, "", ok=False, note=str(error))


def each(
    run: Callable[[Item], Row], items: Iterable[Item], progress: Progress, what: str, name: Callable[[Item], str]
) -> list[Row]:
    """``run`` of every item, in order, on as many threads as there are processors: the compiled loop holds no lock. An
    item that fails is a row with its ``name`` and the error."""

    def one(item: Item) -> Row:
        try:
            return run(item)
        except AeroLabError as error:
            return failed(name(item), error)

    todo = list(items)
    out: list[Row] = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for result in pool.map(one, todo):
            out.append(result)
            progress(len(out), len(todo), what)
    return out
