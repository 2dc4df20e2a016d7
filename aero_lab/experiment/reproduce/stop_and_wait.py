"""Stop-and-wait against a window: what the TCP inside a browser's emulator is worth over distance."""

from __future__ import annotations

from dataclasses import replace

from ...limits import MS, SECOND
from ...link.stages import Delay, Rate
from ...stack import TcpConfig
from .base import Progress, Report, Row, each, within
from .pair import Outcome, Pair

TITLE = "Stop-and-wait against windowed TCP over RTT"
SOURCE = "v86's network adapter (one segment a round trip, whatever the window); RFC 7323 section 1.1 (window / RTT)"
RTTS = (2, 10, 20, 50, 100, 200)
MSS = 1460
WINDOWS = (1, 4, 44)
"""In segments; the last is what fits without window scaling."""
TOLERANCE = 0.02
RATE = 1_000_000_000
TCP = TcpConfig(mss=MSS, timestamps=False, congestion="none", delack_segments=1)
"""Each segment is acknowledged at once: a delayed acknowledgement would add its delay to every round trip of one
segment."""


def run_flow(segments: int, rtt_ms: int, stop: bool, size: int) -> Outcome:
    """A transfer with a window of so many segments; ``stop`` has one segment in flight all the same."""
    window = segments * MSS
    # The reader's buffer is larger than the window: with equal ones the last acknowledgement of a flight, written
    # before the program has read, would show less of it.
    tcp = replace(TCP, send_buffer=MSS if stop else window, recv_buffer=1 << 17)
    there = [Rate(RATE, 1 << 20), Delay(rtt_ms * MS // 2)]
    return Pair(there, there, tcp).run(size, settle=4 * window).whole()


def run(seeds: int | None, quick: bool, progress: Progress) -> Report:
    """Rate over RTT for both, against segment / RTT and window / RTT. There is nothing random in it."""
    rtts = (20, 100) if quick else RTTS
    cases = [(segments, rtt, stop) for rtt in rtts for segments in WINDOWS for stop in (True, False)]

    def named(case: tuple[int, int, bool]) -> str:
        segments, rtt, stop = case
        return f"{rtt} ms, window {segments} segments, {'stop-and-wait' if stop else 'windowed'}"

    def one(case: tuple[int, int, bool]) -> Row:
        segments, rtt, stop = case
        flight = (1 if stop else segments) * MSS
        # The line takes its time for a segment and for its acknowledgement, too.
        line = (MSS + 40 + 40) * 8 * SECOND // RATE
        theirs = flight * SECOND / (rtt * MS + line)
        ours = run_flow(segments, rtt, stop, (200 if quick else 1000) * flight).settled_rate
        name = "stop-and-wait" if stop else "windowed"
        row = within(named(case), theirs, ours, TOLERANCE, "B/s")
        return replace(row, line=f"{rtt} ms, {name}", x=segments)

    rows = each(one, cases, progress, "cases", named)
    notes = [
        "Stop-and-wait carries one segment a round trip whatever the window: at 100 ms 14.6 kB/s. A window that fits "
        f"without scaling is {WINDOWS[-1]} times that."
    ]
    return Report("stop-and-wait", TITLE, SOURCE, rows, notes, quick, along="window (segments)")
