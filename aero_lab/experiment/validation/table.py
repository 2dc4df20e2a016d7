"""Verdicts as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from .points import OUTSIDE, SEEDS, point
from .traffic import Arrivals
from .verdict import Verdict, compare

if TYPE_CHECKING:
    import pandas


def judge(real: Mapping[str, Sequence[Arrivals]], seeds: int = SEEDS) -> list[Verdict]:
    """Simulate every point that was measured and hold one against the other."""
    return [verdict for name, runs in real.items() for verdict in compare(name, runs, point(name).simulate(seeds))]


def table(verdicts: Iterable[Verdict]) -> pandas.DataFrame:
    """One row a figure of a point: what was measured, what was simulated, the rule's verdict (``yes``, ``no``, or
    nothing where none is asked for), and why where it is no."""
    import pandas

    rows = []
    for each in verdicts:
        rows.append(
            {
                "point": each.point,
                "figure": each.figure,
                "real": each.real.value,
                "real_low": each.real.low,
                "real_high": each.real.high,
                "simulated": each.simulated.value,
                "simulated_low": each.simulated.low,
                "simulated_high": each.simulated.high,
                "ratio": each.ratio,
                "within": ("yes" if each.within else "no") if each.judged else "",
                "why": "" if each.ok else OUTSIDE.get((each.point, each.figure), ""),
            }
        )
    return pandas.DataFrame(rows)
