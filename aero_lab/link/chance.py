"""Distributions as tables of quantiles: what the compiled stages draw jitter and random outages from."""

from __future__ import annotations

import math
import struct
from functools import cache
from statistics import NormalDist

BITS = 10
UNIT = 1 << 20
"""A table has 2^10 + 1 quantiles, in units of 2^-20; between two of them a distribution is linear."""
PARETO_SHAPE = 3.0
"""netem's: variance is finite, the third moment is not."""

JITTER_MODELS = ("uniform", "normal", "exponential", "pareto")


def _normal(u: float) -> float:
    return NormalDist().inv_cdf(u)


def _exponential(u: float) -> float:
    return -math.log(1.0 - u)


def _pareto(u: float) -> float:
    """Of mean 1, beginning at 0 (Lomax)."""
    return (PARETO_SHAPE - 1.0) * ((1.0 - u) ** (-1.0 / PARETO_SHAPE) - 1.0)


_INVERSE = {"normal": _normal, "exponential": _exponential, "pareto": _pareto}


@cache
def quantiles(model: str) -> bytes:
    """The table of a model in units of its standard deviation (normal) or mean; empty for ``uniform``.

    The ends are where the tail of half a step has its own quantile: a normal deviate ends at 3.3 deviations, an
    exponential one at 7.6 means, a Pareto one at 23.4.
    """
    inverse = _INVERSE.get(model)
    if inverse is None:
        return b""
    count = 1 << BITS
    edge = 0.5 / count
    at = [min(max(i / count, edge if model == "normal" else 0.0), 1.0 - edge) for i in range(count + 1)]
    return struct.pack(f"<{count + 1}q", *(round(inverse(u) * UNIT) for u in at))
