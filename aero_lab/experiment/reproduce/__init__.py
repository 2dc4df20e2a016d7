"""Published figures, reproduced in virtual time: theirs, ours, their ratio, a verdict.

One module each; ``reproduce(name)`` runs one, ``names()`` lists them. See docs/reproductions.md.
"""

from __future__ import annotations

import sys
from importlib import import_module

from ...compiled.registry import warmup
from ...errors import AeroLabError, UsageError
from .base import Progress, Report, Row, failed, silent

CATALOGUE = {
    "smoltcp": "smoltcp",
    "rfc9438": "rfc9438",
    "mathis": "mathis",
    "rfc3449": "rfc3449",
    "stop-and-wait": "stop_and_wait",
    "nagle": "nagle",
    "head-of-line": "head_of_line",
    "tcp-over-tcp": "tcp_over_tcp",
}
"""Names, and the modules that have ``TITLE``, ``SOURCE`` and ``run(seeds, quick, progress)``."""
SEEDS_MAX = 10_000


def names() -> dict[str, str]:
    """Every reproduction by name, with its title."""
    return {name: import_module(f".{module}", __name__).TITLE for name, module in CATALOGUE.items()}


def check(name: str, seeds: int | None) -> None:
    """Refuse what cannot be run, before anything runs."""
    if name not in CATALOGUE:
        raise UsageError(f"no reproduction {name!r}; there are {', '.join(CATALOGUE)}")
    if seeds is not None and (not isinstance(seeds, int) or not 1 <= seeds <= SEEDS_MAX):
        raise UsageError(f"seeds must be 1 to {SEEDS_MAX}, not {seeds!r}")


def reproduce(name: str, quick: bool = False, seeds: int | None = None, progress: Progress = silent) -> Report:
    """Run the reproduction ``name`` in virtual time.

    ``quick`` runs a part of its cases with few seeds, in seconds; ``seeds`` sets how many there are, where anything is
    random. The report has the rows, the notes and :attr:`~.base.Report.verdict`; a run that comes to no end is a row
    that does not hold.
    """
    check(name, seeds)
    warmup(sys.stderr.isatty(), "reproduce")
    module = import_module(f".{CATALOGUE[name]}", __name__)
    try:
        return module.run(seeds, quick, progress)
    except UsageError:
        raise
    except AeroLabError as error:  # a lab whose workload failed: nothing can be said of the others without it
        return Report(name, module.TITLE, module.SOURCE, [failed("a run of it", error)], quick=quick)


__all__ = ["CATALOGUE", "Report", "Row", "check", "names", "reproduce"]
