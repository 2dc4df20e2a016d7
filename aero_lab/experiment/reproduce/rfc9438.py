"""RFC 9438's response function: the window that CUBIC and Reno hold at a loss ratio."""

from __future__ import annotations

from dataclasses import replace

from ...limits import MS, SECOND
from ...link.stages import Delay
from ...stack import TcpConfig
from .base import Progress, Report, Row, each, within
from .pair import Outcome, Pair

TITLE = "RFC 9438: mean window of Reno and CUBIC at a loss ratio"
SOURCE = "RFC 9438 section 5.1, tables 1 and 2 (equations 5 and 6), in segments"
RENO = {2: 12, 3: 38, 4: 120, 5: 379, 6: 1200}
CUBIC_100MS = {2: 12, 3: 38, 4: 187, 5: 1054, 6: 5926}
CUBIC_10MS = {2: 12, 3: 38, 4: 120, 5: 379, 6: 1200}
"""Exponent of the loss ratio to segments. Where its own equation gives less, CUBIC holds Reno's window."""
TABLES = (
    ("Reno, RTT 100 ms", "newreno", 100, RENO),
    ("CUBIC, RTT 100 ms", "cubic", 100, CUBIC_100MS),
    ("CUBIC, RTT 10 ms", "cubic", 10, CUBIC_10MS),
)
MSS = 100
"""Small segments: the window is in segments, and bytes are only in the way."""
SETTLE, EPOCHS = 8, 12
"""Losses after which the window has found its course, and those of the whole run."""
TOLERANCE = 0.1


def run_flow(
    congestion: str, rtt_ms: int, period: int, start: int, settle: int = SETTLE, epochs: int = EPOCHS
) -> Outcome:
    """A flow that loses exactly every ``period``-th segment."""
    tcp = TcpConfig(
        mss=MSS,
        timestamps=False,
        congestion=congestion,
        send_buffer=1 << 20,
        recv_buffer=4 << 20,
        delack_segments=1,
    )
    half = [Delay(rtt_ms * MS // 2)]
    pair = Pair(half, half, tcp, lose_each=period)
    # Slow start would send a whole epoch at once, and take many epochs to come down.
    pair.end_slow_start_at(start)
    return pair.run(epochs * period * MSS, settle=settle * period * MSS).whole()


def run(seeds: int | None, quick: bool, progress: Progress) -> Report:
    """The tables down to a loss of 1e-6; the quick form goes to 1e-4. There is nothing random in it."""
    cases = [(table, exponent) for table in TABLES for exponent in ((2, 3, 4) if quick else (2, 3, 4, 5, 6))]

    def named(case: tuple[tuple[str, str, int, dict[int, int]], int]) -> str:
        return f"{case[0][0]}, loss 1e-{case[1]}"

    def one(case: tuple[tuple[str, str, int, dict[int, int]], int]) -> Row:
        (name, congestion, rtt, theirs), exponent = case
        outcome = run_flow(
            congestion, rtt, 10**exponent, theirs[exponent], *((40, 80) if exponent < 4 else (SETTLE, EPOCHS))
        )
        window = outcome.settled_rate * rtt * MS / SECOND / MSS
        row = within(named(case), theirs[exponent], window, TOLERANCE, "segments")
        return replace(row, line=name, x=10.0**-exponent)

    rows = each(one, cases, progress, "cases", named)
    notes = [
        "Ours is goodput times RTT over the segment size; exactly every n-th segment is lost, as the model has it.",
        "A flow begins with the published window, as one that has been on for long: losses that come exactly so often "
        "keep CUBIC in one of several courses. Begun far from it, the window may stay up to 10 % below.",
    ]
    return Report("rfc9438", TITLE, SOURCE, rows, notes, quick, along="loss (share of the segments)")
