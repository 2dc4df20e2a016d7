"""smoltcp's network simulation: how fast one flow is over buffer size and loss, without congestion control."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import log

from ...limits import MS, SECOND, US
from ...link.stages import Delay, Loss, Rate
from ...stack import TcpConfig
from . import crowd, rules
from .base import Progress, Report, Row, each, number, span, spread, within
from .pair import OURS, Habits, Outcome, Pair

TITLE = "smoltcp netsim: one flow over buffer size and loss, no congestion control"
SOURCE = "smoltcp (0BSD), tests/snapshots/netsim__netsim.snap, commit 5393f8853a9e"
BYTES = 10 << 20
LOSS = (0.0, 0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
SINGLE_FLOW: dict[int, tuple[float, ...]] = {
    128: (1279.98, 1255.76, 1054.15, 886.36, 538.66, 227.84, 33.99, 7.18),
    256: (2559.91, 2507.27, 2100.03, 1770.30, 1070.71, 468.24, 66.71, 14.35),
    512: (5119.63, 5011.95, 4172.36, 3531.57, 2098.73, 942.38, 144.73, 29.45),
    1024: (10238.50, 10023.19, 8340.90, 7084.25, 4003.34, 1869.94, 290.74, 60.92),
    2048: (17535.11, 17171.82, 14093.50, 11963.68, 7399.06, 3416.41, 690.50, 126.57),
    4096: (35062.41, 33859.80, 26937.41, 21886.99, 14073.67, 7870.66, 1603.60, 401.79),
    8192: (77374.28, 72992.18, 58490.74, 46527.73, 29421.45, 15515.23, 3737.20, 710.80),
    16384: (161842.28, 159310.62, 127090.53, 104233.16, 55319.33, 27269.28, 7654.51, 1277.32),
    32768: (322944.88, 314779.73, 219670.76, 166587.86, 76626.48, 37774.62, 6079.34, 1156.40),
}
"""Bytes a second: 10 MiB one way, RTT 100 ms split evenly, MTU 1514 with the Ethernet header, unlimited rate,
independent random loss each way, equal send and receive buffers, ACK delay 10 ms, RTO initially and at least 1 s."""
MULTI_FLOW: dict[int, tuple[float, float, float, float, float]] = {
    1: (3449.54, 3449.54, 3449.54, 1.0, 0.4467),
    2: (6966.98, 3448.67, 3518.30, 0.9999, 0.4427),
    4: (12848.40, 3138.89, 3300.60, 0.9997, 0.4430),
    16: (52408.19, 2931.62, 3908.99, 0.9913, 0.4364),
    32: (94342.76, 2166.74, 4694.84, 0.9759, 0.4379),
    64: (167823.63, 2056.19, 3412.10, 0.9866, 0.4548),
}
"""By how many flows there are: bytes a second of all, of the slowest and the fastest; Jain's fairness; the share of
frames that the queue dropped. 2 MiB each over 200 Mbit/s behind 64 KiB, buffers of 256 KiB, each side's round-trip time
drawn from 50 to 150 ms, no loss on the wire."""
TCP = TcpConfig(
    mss=1460,
    timestamps=False,
    sack=False,
    congestion="none",
    rto_initial=SECOND,
    rto_min=SECOND,
    data_retries=0,
    syn_retries=1000,
    delack_time=10 * MS,
)
KEPT = Habits(kept_backoff=True)
BACK_N = replace(KEPT, go_back_n=True)
RING = replace(BACK_N, ring_cut=True)
PROBED = replace(RING, probe_at_once=True)
BATCHED = replace(PROBED, batched_ack=True)
THEIRS = replace(BATCHED, holes=4)
SWITCHES = (
    ("kept back-off", KEPT),
    ("go-back-N", BACK_N),
    ("segments cut by the ring", RING),
    ("a closed window probed at once", PROBED),
    ("one ACK for what came at once", BATCHED),
    ("four holes", THEIRS),
)
"""Habits of smoltcp's that ours has not, switched on one after the other."""
SHARED_TCP = replace(TCP, send_buffer=256 << 10, recv_buffer=256 << 10)
SHARED_BYTES, SHARED_RATE, SHARED_QUEUE = 2 << 20, 200_000_000, 64 << 10
LOSSLESS = 0.01
ITSELF = 0.001
"""How near a figure must come that is theirs again."""
SLOWEST = 0.75
"""Ours over theirs below which habits explain nothing. Theirs gains by asking about a closed window at once, up to a
fifth; all its other habits cost. What is slower still lacks something that theirs has."""
OTHERS = 5
"""Pairs of seeds beside theirs."""
SEEDS = 20


def run_flow(buffer: int, loss: float, seed: int = 1, habits: Habits = OURS, size: int = BYTES) -> Outcome:
    """One cell, one seed."""
    stages = [Loss(loss), Delay(50 * MS)] if loss else [Delay(50 * MS)]
    tcp = replace(TCP, send_buffer=buffer, recv_buffer=buffer)
    return Pair(stages, stages, tcp, seed=seed, habits=habits).run(size).whole()


def rates(buffer: int, loss: float, seeds: int, habits: Habits = OURS) -> list[float]:
    """Bytes a second of each seed; without loss they are all the same."""
    return [run_flow(buffer, loss, 1 + s, habits).bytes_per_second for s in range(seeds if loss else 1)]


def decisive(buffer: int, loss: float, seeds: int = 10) -> str:
    """The switch that changes the rate most, when all are put on one after the other."""
    means = [sum(rates(buffer, loss, seeds, habits)) for habits in (OURS, *(habits for _, habits in SWITCHES))]
    steps = [abs(log(after / before)) for before, after in pairwise(means)]
    return SWITCHES[steps.index(max(steps))][0]


def lucky(buffer: int, loss: float, theirs: float, values: list[float]) -> tuple[bool, str]:
    """Whether theirs is a draw that is among few of our ``values`` because of its random numbers: by its rules and with
    those it comes out itself, and with others what lies among ours."""
    own = rules.single(buffer, loss, BYTES)
    others = [rules.single(buffer, loss, BYTES, (2 * i, 2 * i + 1)) for i in range(1, OTHERS + 1)]
    low, high = span(values)
    held = abs(own - theirs) <= ITSELF * theirs and low <= sum(others) / OTHERS <= high
    return held, f"luck: by its rules {number(own)} with its random numbers, {among(others)} with others"


def among(values: list[float]) -> str:
    low, high = span(values)
    return f"{number(low)} to {number(high)}"


def named(buffer: int, loss: float) -> str:
    return f"{buffer} bytes, loss {loss:.1%}"


def cell(buffer: int, loss: float, seeds: int) -> Row:
    """Ours beside theirs. When theirs is not among our seeds, and ours not much slower, the same with all habits of
    theirs; when it is not among those either, whether that is luck."""
    theirs = SINGLE_FLOW[buffer][LOSS.index(loss)]
    case = named(buffer, loss)
    mine = rates(buffer, loss, seeds)
    if not loss:
        return within(case, theirs, mine[0], LOSSLESS, "B/s")
    row = spread(case, theirs, mine, "B/s")
    if row.ok:
        return row
    if sum(mine) / len(mine) < SLOWEST * theirs:
        return replace(row, note="slower than any habit of its TCP explains")
    values = rates(buffer, loss, seeds, THEIRS)
    note = f"with its habits {among(values)}, most by {decisive(buffer, loss)}"
    low, high = span(values)
    if low <= theirs <= high:
        return replace(row, ok=True, note=note)
    held, why = lucky(buffer, loss, theirs, values)
    return replace(row, ok=held, note=f"{note}; {why}")


def round_trips(flows: int) -> list[tuple[int, int]]:
    """Delays there and back of each flow as the published runs draw them, ns."""

    def delay(seed: int) -> int:
        return rules.drawn_rtt(rules.Numbers(seed)) * US // 2

    return [(delay(2 * i + 1), delay(2 * i)) for i in range(flows)]


def line(flows: int) -> str:
    return f"{flows} flow{'s' if flows > 1 else ''} on one line"


def together(flows: int) -> Row:
    """Several flows over one line, ours beside theirs; nothing is judged."""
    published = MULTI_FLOW[flows]
    ours = crowd.run(SHARED_TCP, SHARED_BYTES, SHARED_RATE, SHARED_QUEUE, round_trips(flows))
    theirs_too, ours_too = (
        f"{number(slowest)} to {number(fastest)} each, fairness {fairness:.3f}, {drops:.0%} dropped"
        for slowest, fastest, fairness, drops in (published[1:], ours.columns()[1:])
    )
    note = f"theirs {theirs_too}; ours {ours_too}"
    if flows == 1:
        there, back = ([Rate(SHARED_RATE, SHARED_QUEUE), Delay(delay)] for delay in round_trips(1)[0])
        back_n, all_of_them = (
            number(Pair(there, back, SHARED_TCP, habits=habits).run(SHARED_BYTES).whole().bytes_per_second)
            for habits in (BACK_N, THEIRS)
        )
        note += f"; ours with go-back-N {back_n} B/s, with all its habits {all_of_them} B/s"
    return Row(line(flows), published[0], ours.aggregate, "B/s", note=note)


def run(seeds: int | None, quick: bool, progress: Progress) -> Report:
    """The table. The quick form has a few of its cells."""
    many = seeds or SEEDS
    buffers = (2048, 4096, 16384) if quick else tuple(SINGLE_FLOW)
    losses = (0.0, 0.001, 0.01) if quick else LOSS
    cells = [(buffer, loss, many) for buffer in buffers for loss in losses]

    def one(case: tuple[int, float, int]) -> Row:
        return replace(cell(*case), line=f"loss {case[1]:.1%}", x=case[0])

    rows = each(one, cells, progress, "cells", lambda case: named(*case[:2]))
    rows += each(together, (1, 4) if quick else tuple(MULTI_FLOW), progress, "flows on one line", line)
    notes = [
        "Without loss a flow is stopped by its buffer and by Nagle's rule: a buffer that is no whole number of "
        "segments goes out in turns, one round trip with the whole segments, the next with all of it.",
        "A cell holds when theirs lies among our seeds. Where it does not, all habits of its TCP are switched on in "
        "ours: it must lie among those seeds, and the note names the habit that changes most. Ours must not be slower "
        f"than {SLOWEST} of theirs even so: hardly one of those habits gains anything.",
        "One draw in ten lies outside twenty others. Then its rules are followed one by one: with its random numbers "
        "they must give its figure, and with others figures whose mean lies among our seeds with the habits.",
        "Flows on one line (200 Mbit/s) are not judged. Whole windows of 256 KiB meet a queue of 64 KiB, and without "
        "congestion control they do so again and again. Ours goes on with the next hole at each partial "
        "acknowledgement (RFC 6582); theirs sends one segment for three duplicates, and after a timeout everything "
        "again, with a back-off that stays.",
    ]
    return Report("smoltcp", TITLE, SOURCE, rows, notes, quick, many, "buffer (bytes)")
