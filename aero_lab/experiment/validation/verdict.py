"""Whether what was simulated is what was measured: goodput and percentiles of delay, with intervals, and the rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .traffic import Arrivals

WITHIN = 0.15
"""A value may be off by this share of the one measured..."""
WITHIN_MS = 5.0
"""... and a delay by so many milliseconds in any case."""
PERCENTILES = (50, 90, 99)
JUDGED = ("goodput_mbps", "p50_ms", "p90_ms")
"""The rest is told with its interval, and not judged."""
DRAWS = 200
"""Resamples behind an interval."""
BLOCK_NS = 2_000_000_000
"""Messages of so long are drawn together: what is lost holds up all that comes soon after."""


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


@dataclass(frozen=True)
class Verdict:
    """One figure of one point."""

    point: str
    figure: str
    real: Estimate
    simulated: Estimate
    judged: bool

    @property
    def ratio(self) -> float:
        """Simulated over real."""
        return self.simulated.value / self.real.value if self.real.value else float("nan")

    @property
    def difference(self) -> float:
        """Simulated less real."""
        return self.simulated.value - self.real.value

    @property
    def within(self) -> bool:
        """Whether the rule holds: within 15 %, or for a delay within 5 ms."""
        near = abs(self.difference) <= WITHIN * abs(self.real.value)
        return near or (self.figure.endswith("_ms") and abs(self.difference) <= WITHIN_MS)

    @property
    def ok(self) -> bool:
        """True for what is not judged."""
        return self.within or not self.judged


def figures(runs: Sequence[Arrivals]) -> dict[str, float]:
    """Goodput (mean over the runs), percentiles of delay over all messages of all runs, and the share that came."""
    delays = np.concatenate([run.delays_ms for run in runs])
    found = {"goodput_mbps": float(np.mean([run.goodput_mbps for run in runs]))}
    for percent in PERCENTILES:
        found[f"p{percent}_ms"] = float(np.percentile(delays, percent)) if len(delays) else float("nan")
    found["arrived"] = float(np.mean([run.arrived for run in runs]))
    return found


def estimate(runs: Sequence[Arrivals], seed: int = 1) -> dict[str, Estimate]:
    """The same with intervals.

    Several runs are drawn whole, with replacement. Of a single one the delays are drawn in blocks of consecutive
    messages; its goodput is one number and has no interval.
    """
    rng = np.random.default_rng(seed)
    value = figures(runs)
    drawn: dict[str, list[float]] = {name: [] for name in value}
    for _ in range(DRAWS):
        if len(runs) > 1:
            again = figures([runs[at] for at in rng.integers(0, len(runs), len(runs))])
        else:
            again = {**value, **_resampled(runs[0], rng)}
        for name, each in again.items():
            drawn[name].append(each)
    return {
        name: Estimate(value[name], *(float(np.nanpercentile(drawn[name], percent)) for percent in (2.5, 97.5)))
        for name in value
    }


def _resampled(run: Arrivals, rng: np.random.Generator) -> dict[str, float]:
    """Percentiles, and the share that came, of one draw of blocks."""
    count = len(run.delay)
    lasts = int(run.due[-1] - run.due[0])
    size = max(1, min(count, count * BLOCK_NS // lasts if lasts > 0 else 1))
    blocks = -(-count // size)
    starts = rng.integers(0, count - size + 1, blocks)
    delay = run.delay[(starts[:, None] + np.arange(size)).ravel()[:count]]
    there = delay[delay >= 0] / 1e6
    found = {f"p{percent}_ms": float(np.percentile(there, percent)) for percent in PERCENTILES if len(there)}
    return {**found, "arrived": len(there) / count}


def compare(point: str, real: Sequence[Arrivals], simulated: Sequence[Arrivals]) -> list[Verdict]:
    """Every figure of a point."""
    ours, theirs = estimate(simulated), estimate(real)
    return [Verdict(point, name, theirs[name], ours[name], name in JUDGED) for name in theirs]
