"""Mathis' law: the rate of Reno is C x MSS / (RTT x sqrt(p)), and what C is."""

from __future__ import annotations

from math import sqrt

from ...limits import MS, SECOND
from ...link.stages import Delay, Loss
from ...stack import TcpConfig
from .base import Progress, Report, Row, each, within
from .pair import Habits, Pair

TITLE = "Mathis 1997: rate = C MSS / (RTT sqrt(p)), the constant C"
SOURCE = "M. Mathis et al., The macroscopic behavior of the TCP congestion avoidance algorithm, 1997, table 1"
CONSTANTS = {("periodic", 1): 1.22, ("periodic", 2): 0.87, ("random", 1): 1.31, ("random", 2): 0.93}
"""By how losses come and how many segments an acknowledgement is for."""
MSS = 100
RTT = 100 * MS
PERIODS = (300, 1000, 3000)
"""One loss in so many segments."""
QUICK = (1000,)
"""At 300 the round trips of recovery take a share that hides a window reduced to 0.6 instead of 0.5."""
TOLERANCE = 0.1
SEEDS = 8
LOSSES, SETTLE = 250, 20
"""Losses in a run, and those that do not count."""


def constant(how: str, delack: int, period: int, seed: int, counting: bool, losses: int = LOSSES) -> float:
    """C of one run. Losses are seen by what is acknowledged behind them (RFC 6675), as in 1997; RACK's patience lets
    more be in flight when the window is halved."""
    tcp = TcpConfig(
        mss=MSS,
        timestamps=False,
        congestion="newreno",
        rack=False,
        send_buffer=1 << 18,
        recv_buffer=1 << 20,
        delack_segments=delack,
        delack_time=RTT,
    )
    there = [Delay(RTT // 2)] if how == "periodic" else [Loss(1 / period), Delay(RTT // 2)]
    lose_each = period if how == "periodic" else 0
    habits = Habits(ack_counting=counting)
    pair = Pair(there, [Delay(RTT // 2)], tcp, seed=seed, habits=habits, lose_each=lose_each)
    outcome = pair.run(losses * period * MSS, settle=SETTLE * period * MSS).whole()
    return outcome.settled_rate / MSS * RTT / SECOND * sqrt(1 / period)


def run(seeds: int | None, quick: bool, progress: Progress) -> Report:
    """All four constants, at three loss ratios; the quick form at one."""
    many = seeds or (2 if quick else SEEDS)
    cases = [
        (how, delack, period, counting)
        for how, delack in CONSTANTS
        for period in (QUICK if quick else PERIODS)
        for counting in ((False,) if delack == 1 else (True, False))
    ]

    def named(case: tuple[str, int, int, bool]) -> str:
        how, delack, period, counting = case
        acks = "each segment acknowledged" if delack == 1 else "each second one"
        return f"{how} loss 1/{period}, {acks}{', window opened by acknowledgements' if counting else ''}"

    def one(case: tuple[str, int, int, bool]) -> Row:
        how, delack, period, counting = case
        some = range(many if how == "random" else 1)
        values = [constant(how, delack, period, 1 + s, counting, 100 if quick else LOSSES) for s in some]
        theirs = CONSTANTS[how, delack]
        mean = sum(values) / len(values)
        row = within(named(case), theirs, mean, TOLERANCE, "")
        if delack == 2 and not counting:
            row = Row(row.case, row.theirs, row.ours, "", note="RFC 3465: bytes are counted, so no difference")
        return Row(**{**row.__dict__, "low": min(values), "high": max(values)})

    rows = each(one, cases, progress, "cases", named)
    notes = [
        "Theirs for delayed acknowledgements supposes a window that opens by one segment per window of "
        "acknowledgements. Ours counts bytes (RFC 3465), and so has the constant of undelayed ones; with the window "
        "opened by acknowledgements, switched on, it has theirs."
    ]
    return Report("mathis", TITLE, SOURCE, rows, notes, quick, many)
