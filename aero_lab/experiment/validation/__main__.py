"""``python -m aero_lab.experiment.validation FILE [POINT ...]``: measure the points (all of them) over real transports,
and keep the measurements."""

from __future__ import annotations

import sys

from ...errors import AeroLabError
from .points import POINTS, point
from .store import about, save


def main(words: list[str]) -> int:
    """The command; its exit status."""
    if not words or words[0].startswith("-"):
        print("usage: python -m aero_lab.experiment.validation FILE [POINT ...]", file=sys.stderr)
        return 2
    try:
        chosen = [point(name) for name in words[1:]] or list(POINTS)
        runs = {}
        for each in chosen:
            runs[each.name] = each.measure()
            print(each.name, flush=True)
        save(words[0], runs, about())
    except AeroLabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
