"""Medians and between what they lie, without assuming how the values are distributed.

The interval of a median is between two of the values themselves, the ``k``-th from either end: how many of ``n`` values
fall below the true median is a binomial count, whatever they are (Conover, *Practical Nonparametric Statistics*, 1999,
section 3.2). Nothing is drawn at random, so a table comes out the same every time. Fewer than six values cannot give
95 %: then the interval is from the least to the greatest, and ``level`` says how much that is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import comb
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import UsageError

if TYPE_CHECKING:
    import pandas


class Interval(NamedTuple):
    """A median and its interval."""

    n: int
    """Values."""
    median: float
    low: float
    high: float
    level: float
    """Probability that the interval holds the true median: that asked for or a little more, less where there are too
    few values."""


def median_interval(values: Iterable[float], level: float = 0.95) -> Interval:
    """The median of ``values`` with its interval; missing values do not count."""
    if not 0 < level < 1:
        raise UsageError(f"level must lie between 0 and 1, not {level!r}")
    ordered = sorted(float(v) for v in values if v is not None and v == v)
    n = len(ordered)
    if not n:
        nothing = float("nan")
        return Interval(0, nothing, nothing, nothing, 0.0)
    k, held = rank(n, level)
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    return Interval(n, middle, ordered[k - 1], ordered[n - k], held)


def rank(n: int, level: float) -> tuple[int, float]:
    """The largest ``k`` so that the ``k``-th value from either end holds the median at this level, and the level it
    gives; 1 where no ``k`` does."""
    below, best = 0, (1, 1 - 2 * 0.5**n)
    for k in range(1, n // 2 + 1):
        below += comb(n, k - 1)
        held = 1 - 2 * below / 2**n
        if held < level:
            break
        best = (k, held)
    return best


def intervals(frame: pandas.DataFrame, value: str, by: Sequence[str], level: float = 0.95) -> pandas.DataFrame:
    """One row a combination of the columns ``by``: ``n``, ``median``, ``low``, ``high`` and ``level`` of ``value``.

    Parameters
    ----------
    frame: one row a run, such as :func:`aero_lab.sweep` returns.
    value: column of the measurements.
    by: columns that tell combinations apart; missing ones are a value like any other.
    """
    import pandas

    by = [by] if isinstance(by, str) else list(by)
    missing = [name for name in (*by, value) if name not in frame]
    if missing:
        raise UsageError(f"this table lacks the columns {', '.join(missing)}")
    rows: list[dict[str, Any]] = []
    for key, group in frame.groupby(by, sort=False, dropna=False):
        where: Any = key if isinstance(key, tuple) else (key,)
        numbers: Any = pandas.to_numeric(group[value], errors="coerce")
        rows.append({**dict(zip(by, where)), **median_interval(numbers.astype("float64"), level)._asdict()})
    return pandas.DataFrame(rows, columns=[*by, *Interval._fields])
