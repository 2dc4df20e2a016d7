"""``python -m aero_lab.bench stack``: benches without the rest of the command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from ..errors import UsageError
from . import BENCHES, run, table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one bench, print its table and write its JSON. 0, or 2 with one line for a wrong argument."""
    parser = argparse.ArgumentParser(prog="aero-lab bench", description="Measure parts of aero_lab beside their peers.")
    parser.add_argument("name", help=f"what to measure: {', '.join(BENCHES)}")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each case (default: 1)")
    parser.add_argument("--case", action="append", metavar="NAME", help="only cases that begin so; may be repeated")
    parser.add_argument("--no-peers", action="store_true", help="leave the other implementations out")
    parser.add_argument("--json", metavar="FILE", help="write the results as JSON; '-' is standard output")
    chosen = parser.parse_args(arguments)

    def progress(done: int, total: int, what: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K{done}/{total} {what}", end="" if what else "\n", file=sys.stderr, flush=True)

    try:
        found = run(chosen.name, chosen.seconds, chosen.case, not chosen.no_peers, progress)
        text = json.dumps(found, indent=1) + "\n"
        if chosen.json == "-":
            sys.stdout.write(text)
            return 0
        if chosen.json:
            with open(chosen.json, "w", encoding="utf-8") as file:
                file.write(text)
    except (UsageError, OSError) as error:
        print(f"aero-lab bench: {error}", file=sys.stderr)
        return 2
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
