"""RFC 3449: a link with a slow way back is stopped by its acknowledgements."""

from __future__ import annotations

from ...limits import MS, SECOND
from ...link.stages import Delay, Rate
from ...stack import TcpConfig
from .base import Progress, Report, Row, each, within
from .pair import Outcome, Pair

TITLE = "RFC 3449: an asymmetric link, stopped by its return path"
SOURCE = "RFC 3449 section 2.1: 10 Mbit/s down, 50 kbit/s up, 1000-byte packets, 40-byte acknowledgements: k = 8"
DOWN, UP = 10_000_000, 50_000
PACKET, ACK = 1000, 40
RATIO = (DOWN // UP) * ACK // PACKET
"""Their k: beyond one acknowledgement for so many segments the way back is full."""
EACH = (1, 2, 4, 6, 8, 12, 16)
TOLERANCE = 0.05


def run_flow(each_th: int, size: int, queue: int = 1 << 22) -> Outcome:
    """A download that acknowledges each so many-th segment, through a return path that loses none."""
    tcp = TcpConfig(
        mss=PACKET - 40,
        timestamps=False,
        congestion="none",
        nagle=False,
        send_buffer=1 << 18,
        recv_buffer=4 << 20,
        delack_segments=each_th,
        delack_time=10 * SECOND,
        rto_min=30 * SECOND,
        rto_initial=30 * SECOND,
    )
    there = [Rate(DOWN, 1 << 22), Delay(20 * MS)]
    back = [Rate(UP, queue), Delay(20 * MS)]
    return Pair(there, back, tcp).run(size, settle=size // 2).whole()


def run(seeds: int | None, quick: bool, progress: Progress) -> Report:
    """The rate over how seldom is acknowledged, against what either direction lets through. Nothing is random."""

    def named(each_th: int) -> str:
        return f"one ACK for {each_th} segments" if each_th > 1 else "one ACK for each segment"

    def one(each_th: int) -> Row:
        lets_through = min(DOWN, each_th * UP * PACKET // ACK)
        outcome = run_flow(each_th, 8_000_000 if quick else 20_000_000)
        ours = outcome.settled_rate * 8 * PACKET / (PACKET - 40)
        full = "the way back is full" if each_th < RATIO else "the way there is full"
        return within(named(each_th), lets_through / 1e6, ours / 1e6, TOLERANCE, "Mbit/s", full)

    rows = each(one, (1, 8, 16) if quick else EACH, progress, "cases", named)
    notes = [
        "Rates are of IP packets. Up to one acknowledgement for 8 segments the rate is that of the return path times "
        "25 times the segments that each acknowledges; beyond, the line down is the limit."
    ]
    return Report("rfc3449", TITLE, SOURCE, rows, notes, quick)
