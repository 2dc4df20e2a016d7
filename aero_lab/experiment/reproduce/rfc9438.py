"""RFC 9438's response function: the window that CUBIC and Reno hold at a loss ratio."""

from __future__ import annotations

from dataclasses import replace

from ...limits import MS, SECOND
from ...link.stages import Delay
from ...stack import TcpConfig
from ...stack.congestion import CUBIC_ALPHA, CUBIC_BETA, CUBIC_C
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
TOLERANCE = 0.12


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
    return pair.run(epochs * period * MSS, settle=settle * period * MSS)


def fluid(rtt_ms: int, period: int, both: bool, epochs: int = 60) -> float:
    """CUBIC's mean window by RFC 9438's own rules, step by step of one round trip, a loss each ``period`` segments.

    With ``both`` the window is at each moment the larger of cubic and Reno-friendly growth, and the latter opens by a
    whole segment once it is beyond the last maximum (section 4.3); else the larger of the two means.
    """

    def mean(cubic: bool, reno: bool) -> float:
        top, total, steps = float(RENO[2]), 0.0, 0
        for epoch in range(epochs):
            low = top * CUBIC_BETA
            k = ((top - low) / CUBIC_C) ** (1 / 3)
            window, friendly, sent, t = low, low, 0.0, 0.0
            while sent < period:
                t += rtt_ms / 1000
                friendly += 1.0 if both and friendly >= top else CUBIC_ALPHA
                growth = top + CUBIC_C * (t - k) ** 3
                window = max(window, min(growth, 1.5 * window) if cubic else 0.0, friendly if reno else 0.0)
                sent += window
                if epoch >= epochs // 2:
                    total, steps = total + window, steps + 1
            top = window
        return total / steps

    return mean(True, True) if both else max(mean(True, False), mean(False, True))


def run(seeds: int | None, quick: bool, progress: Progress) -> Report:
    """The tables down to a loss of 1e-6; the quick form goes to 1e-4. There is nothing random in it."""
    cases = [(table, exponent) for table in TABLES for exponent in ((2, 3, 4) if quick else (2, 3, 4, 5, 6))]

    def one(case: tuple[tuple[str, str, int, dict[int, int]], int]) -> Row:
        (name, congestion, rtt, theirs), exponent = case
        outcome = run_flow(
            congestion, rtt, 10**exponent, theirs[exponent], *((40, 80) if exponent < 4 else (SETTLE, EPOCHS))
        )
        window = outcome.settled_rate * rtt * MS / SECOND / MSS
        row = within(f"{name}, loss 1e-{exponent}", theirs[exponent], window, TOLERANCE, "segments")
        if row.ok or congestion != "cubic":
            return row
        with_both, apart = (fluid(rtt, 10**exponent, both) for both in (True, False))
        held = within("", with_both, window, TOLERANCE, "").ok and within("", theirs[exponent], apart, TOLERANCE, "").ok
        note = f"both growths at once: {with_both:.4g} by the model; each by itself: {apart:.4g}"
        return replace(row, ok=held, note=note)

    rows = each(one, cases, progress, "cases")
    notes = [
        "Ours is goodput times RTT over the segment size; exactly every n-th segment is lost, as the model has it.",
        "Where CUBIC's two growths lie close together the RFC's table has the larger of two means; the window itself "
        "is at each moment the larger of two windows, which is more. The note shows a model of it with and without.",
    ]
    return Report("rfc9438", TITLE, SOURCE, rows, notes, quick)
