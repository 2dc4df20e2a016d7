"""Verdicts as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from .habits import OURS
from .points import OUTSIDE, SEEDS, point
from .traffic import Arrivals
from .verdict import Estimate, Verdict, compare, figures

if TYPE_CHECKING:
    import pandas


def judge(real: Mapping[str, Sequence[Arrivals]], seeds: int = SEEDS) -> list[Verdict]:
    """Simulate every point that was measured and hold one against the other."""
    return [verdict for name, runs in real.items() for verdict in compare(name, runs, point(name).simulate(seeds))]


def explained(verdict: Verdict, real: Sequence[Arrivals], seeds: int = SEEDS) -> Verdict | None:
    """The verdict on a figure that is outside the rule once its mechanism is switched on; None when it has none.

    Where the reason is chance, the interval of what is simulated becomes that of single runs: from the least of them
    to the greatest.
    """
    why = OUTSIDE.get((verdict.point, verdict.figure))
    if why is None:
        return None
    runs = point(verdict.point).simulate(seeds, why.habits or OURS)
    (found,) = (each for each in compare(verdict.point, real, runs) if each.figure == verdict.figure)
    if why.habits is not None:
        return found
    single = [figures([run])[verdict.figure] for run in runs]
    return replace(found, simulated=Estimate(found.simulated.value, min(single), max(single)))


def holds(verdict: Verdict) -> bool:
    """Whether what :func:`explained` found explains it."""
    why = OUTSIDE[verdict.point, verdict.figure]
    if why.habits is not None:
        return verdict.within
    return verdict.simulated.low <= verdict.real.value <= verdict.simulated.high


def table(verdicts: Iterable[Verdict]) -> pandas.DataFrame:
    """One row a figure of a point: what was measured, what was simulated, the rule's verdict (``yes``, ``no``, or
    nothing where none is asked for), and why where it is no."""
    import pandas

    rows = []
    for each in verdicts:
        why = OUTSIDE.get((each.point, each.figure))
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
                "why": "" if each.ok or why is None else why.text,
            }
        )
    return pandas.DataFrame(rows)
