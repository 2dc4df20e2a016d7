"""Nagle's rule against delayed acknowledgements: write, write, read."""

from __future__ import annotations

from ...errors import AeroLabError
from ...limits import MS, NEVER
from ...link.stages import Delay
from ...stack import TcpConfig
from .base import Progress, Report, Row, failed, within
from .pair import Pair

TITLE = "Nagle's rule against delayed acknowledgements: write, write, read"
SOURCE = "RFC 896 and RFC 1122 section 4.2.3.2 to 4.2.3.4; a stall of the acknowledgement's delay, 200 ms at BSD's"
RTT = 20 * MS
PART, REPLY = 100, 100
REQUESTS = 20
TOLERANCE = 0.01
TURNS = 100_000
CASES = (
    # name, Nagle, delay of an acknowledgement in ms (0: none is delayed), writes; expected ms beyond one RTT
    ("Nagle, ACK delayed 200 ms, two writes", True, 200, 2, 200 + 20),
    ("Nagle, ACK delayed 40 ms, two writes", True, 40, 2, 40 + 20),
    ("Nagle, no ACK delayed, two writes", True, 0, 2, 20),
    ("Nagle off, ACK delayed 200 ms, two writes", False, 200, 2, 0),
    ("Nagle, ACK delayed 200 ms, one write", True, 200, 1, 0),
)


def exchange(nagle: bool, delay_ms: int, writes: int, requests: int = REQUESTS) -> float:
    """Milliseconds that a request of so many writes takes until its reply has come, over many; the first, whose
    acknowledgements a new connection may hurry, does not count."""
    tcp = TcpConfig(
        nagle=nagle,
        delack_time=max(delay_ms, 1) * MS,
        delack_segments=2 if delay_ms else 1,
        rto_min=1000 * MS,
    )
    pair = Pair([Delay(RTT // 2)], [Delay(RTT // 2)], tcp)
    near, far = pair.ends()
    started, asked, times = pair.now, 0, []
    for _ in range(TURNS):
        now, busy = pair.now, False
        if asked == len(times):
            if asked == requests:
                return sum(times[1:]) / (requests - 1) / MS
            started, asked, busy = now, asked + 1, True
            for _ in range(writes):
                near.write(bytes(PART), now)
        if far.readable >= writes * PART:
            busy = True
            far.consume(writes * PART, now)
            far.write(bytes(REPLY), now)
        if near.readable >= REPLY:
            busy = True
            near.consume(REPLY, now)
            times.append(now - started)
        due = pair.turn()
        if due >= NEVER:
            break
        if due > now and not busy and far.readable < writes * PART and near.readable < REPLY:
            pair.now = due
    raise AeroLabError("the exchange stands still")


def run(seeds: int | None, quick: bool, progress: Progress) -> Report:
    """The time of a request beyond one round trip. Nothing is random."""
    rows: list[Row] = []
    for name, nagle, delay, writes, stall in CASES:
        try:
            ours = exchange(nagle, delay, writes, 5 if quick else REQUESTS)
            rows.append(within(name, stall + RTT / MS, ours, TOLERANCE, "ms"))
        except AeroLabError as error:
            rows.append(failed(name, error))
        progress(len(rows), len(CASES), "cases")
    notes = [
        "A second small write waits for the acknowledgement of the first (Nagle), which waits for its timer since the "
        "other side has nothing to say yet: the request takes the delay and one more round trip. Without Nagle, with "
        "one write, or without a delay, nothing stalls."
    ]
    return Report("nagle", TITLE, SOURCE, rows, notes, quick)
