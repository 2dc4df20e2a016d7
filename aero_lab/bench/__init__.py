"""What ``aero-lab bench`` runs: each bench measures us and its peers in one interleaved run and reports ratios.

``run("stack", seconds=1.0)`` gives the JSON document of the bench contract as a ``dict``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import UsageError
from .report import Progress, Result, document, table

__all__ = ["BENCHES", "Result", "document", "run", "table"]


def _stack(seconds: float, cases: Sequence[str] | None, peers: bool, progress: Progress | None) -> list[Result]:
    from .stack import measure

    return measure(seconds, cases, peers, progress)


def _proxy(seconds: float, cases: Sequence[str] | None, peers: bool, progress: Progress | None) -> list[Result]:
    from .proxy import measure

    return measure(seconds, cases, peers, progress)


BENCHES: dict[str, Callable[..., list[Result]]] = {"stack": _stack, "proxy": _proxy}
"""Benches by name: functions of ``(seconds, cases, peers, progress)``."""


def run(
    name: str,
    seconds: float = 1.0,
    cases: Sequence[str] | None = None,
    peers: bool = True,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run a bench.

    Parameters
    ----------
    name: one of :data:`BENCHES`.
    seconds: how long each case is measured, in all its samples; peers take as long again.
    cases: names of cases, or beginnings of names; all when absent.
    peers: also measure the peers that are installed.
    progress: called with ``(done, total, what)``.

    Raises
    ------
    UsageError: there is no such bench or case.
    """
    if name not in BENCHES:
        raise UsageError(f"no bench named {name!r}; there are: {', '.join(BENCHES)}")
    if not seconds > 0:
        raise UsageError(f"seconds must be positive, not {seconds}")
    return document(name, BENCHES[name](seconds, cases, peers, progress))
