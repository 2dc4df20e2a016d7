"""What ``aero-lab bench`` runs: each bench measures us and its peers in one interleaved run and reports ratios.

``run("stack", seconds=1.0)`` gives the JSON document of the bench contract as a ``dict``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from ..errors import UsageError
from .report import Progress, Result, document, table

__all__ = ["BENCHES", "Result", "check", "document", "run", "table"]


def _stack(seconds: float, cases: Sequence[str] | None, peers: bool, progress: Progress | None) -> list[Result]:
    from .stack import measure

    return measure(seconds, cases, peers, progress)


def _proxy(seconds: float, cases: Sequence[str] | None, peers: bool, progress: Progress | None) -> list[Result]:
    from .proxy import measure

    return measure(seconds, cases, peers, progress)


def _capture(seconds: float, cases: Sequence[str] | None, peers: bool, progress: Progress | None) -> list[Result]:
    from .capture import measure

    return measure(seconds, cases, peers, progress)


def _cpu(seconds: float, cases: Sequence[str] | None, peers: bool, progress: Progress | None) -> list[Result]:
    from .cpu import measure

    return measure(seconds, cases, peers, progress)


def _nic(seconds: float, cases: Sequence[str] | None, peers: bool, progress: Progress | None) -> list[Result]:
    from .nic import measure

    return measure(seconds, cases, peers, progress)


def _guest(seconds: float, cases: Sequence[str] | None, peers: bool, progress: Progress | None) -> list[Result]:
    from .guest import measure

    return measure(seconds, cases, peers, progress)


def _sim(seconds: float, cases: Sequence[str] | None, peers: bool, progress: Progress | None) -> list[Result]:
    from .sim import measure

    return measure(seconds, cases, peers, progress)


BENCHES: dict[str, Callable[..., list[Result]]] = {
    "stack": _stack, "proxy": _proxy, "capture": _capture, "cpu": _cpu, "nic": _nic, "guest": _guest,
    "sim": _sim,
}  # fmt: skip
"""Benches by name: functions of ``(seconds, cases, peers, progress)``."""
KERNELS = {"cpu": "cpu", "nic": "nic"}
"""Group of kernels that a bench needs, where that is not the network's."""


def check(name: str, seconds: float, cases: Sequence[str] | None = None) -> None:
    """Raise :class:`UsageError` for what :func:`run` would refuse, without measuring or compiling anything."""
    if name not in BENCHES:
        raise UsageError(f"no bench named {name!r}; there is {', '.join(BENCHES)}")
    if not seconds > 0:
        raise UsageError(f"seconds must be above 0, not {seconds:g}")
    import_module(f".{name}", __name__).chosen_cases(cases)


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
    check(name, seconds, cases)
    return document(name, BENCHES[name](seconds, cases, peers, progress))
