"""The points at which what is simulated is held against what is real, and the measurements of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...errors import UsageError
from ...link import Link
from .habits import OFFERED, OURS, Habits
from .simulated import simulate
from .traffic import Arrivals, Traffic

SEEDS = 20
"""Simulated runs of a point."""
CARRIED = 1_000_000
"""What carrying packets between the two namespaces adds to a round trip, in ns: over a link of 20 ms the kernel's TCP
measures 20.4 to 21.5. The simulated link has it too."""


def paced(rate: float, size: int, seconds: float) -> Traffic:
    """So many messages a second for so long."""
    return Traffic(round(rate * seconds), size, round(1e9 / rate))


@dataclass(frozen=True)
class Point:
    """A transport, a link and what is sent."""

    name: str
    transport: str
    link: Link
    traffic: Traffic
    congestion: str = "cubic"
    """Of the WebSocket's TCP; a data channel has its own."""
    repeats: int = 1
    """Real runs, each with another seed."""
    note: str = field(default="", compare=False)
    """What it is there to show."""

    @property
    def settings(self) -> dict[str, Any]:
        """Of the simulated transport."""
        return {"congestion": self.congestion, "tls": False} if self.transport == "websocket" else {"sctp": "aiortc"}

    def simulate(self, seeds: int = SEEDS, habits: Habits = OURS) -> list[Arrivals]:
        """In virtual time, one run a seed."""
        link = replace(self.link, rtt=self.link.rtt + CARRIED)
        seeds_ = range(1, seeds + 1)
        return [simulate(self.transport, link, self.traffic, self.settings, seed, habits) for seed in seeds_]

    def measure(self, eager: bool = True) -> list[Arrivals]:
        """In real time, see :func:`~.real.measure`."""
        from .real import measure

        return [
            measure(self.transport, self.link, self.traffic, congestion=self.congestion, seed=seed, eager=eager)[0]
            for seed in range(1, self.repeats + 1)
        ]


def _tcp(name: str, link: str, traffic: Traffic, repeats: int = 1, note: str = "") -> list[Point]:
    link_ = Link.parse(link)
    return [Point(f"{name}-{cc}", "websocket", link_, traffic, cc, repeats, note) for cc in ("cubic", "reno")]


def _rtc(
    name: str,
    link: str,
    traffic: Traffic,
    transports: Sequence[str] = ("webrtc",),
    note: str = "",
    repeats: int = 1,
) -> list[Point]:
    link_ = Link.parse(link)
    return [Point(f"{name}-{each}", each, link_, traffic, repeats=repeats, note=note) for each in transports]


ALL = ("webrtc", "webrtc-unordered", "webrtc-lossy")
BULK = Traffic(7000, 1400)
SHORT = Traffic(250, 1200)
POINTS: tuple[Point, ...] = (
    *_tcp("messages-20ms-1%", "rtt=20ms, loss=1%", paced(100, 1000, 60), note="what one loss holds up"),
    *_tcp("messages-100ms-0.5%", "rtt=100ms, loss=0.5%", paced(50, 1200, 60), note="the same, far away"),
    *_tcp("messages-40ms-5%", "rtt=40ms, loss=5%", paced(60, 300, 60), note="losses of what was sent again, too"),
    *_tcp("bulk-10Mbit-40ms", "rtt=40ms, rate=10Mbit/s, queue=64KiB", BULK, note="a queue that overflows"),
    *_tcp("bulk-20ms-1%", "rtt=20ms, loss=1%", BULK, 5, note="congestion control against random loss"),
    *_rtc("messages-20ms-1%", "rtt=20ms, loss=1%", paced(100, 1000, 60), ALL, "what one loss holds up"),
    *_rtc("messages-40ms-5%", "rtt=40ms, loss=5%", paced(60, 300, 60), ALL, "losses of what was sent again, too"),
    *_rtc("messages-3.8Mbit-20ms", "rtt=20ms, rate=10Mbit/s", paced(400, 1200, 30), note="a line that is not full"),
    *_rtc("bulk-3Mbit-40ms", "rtt=40ms, rate=3Mbit/s, queue=64KiB", Traffic(2500, 1200), note="a queue that overflows"),
    *_rtc("bulk-10Mbit-10ms", "rtt=10ms, rate=10Mbit/s, queue=64KiB", SHORT, note="slow start ends in it", repeats=3),
)  # fmt: skip


def point(name: str) -> Point:
    """The one with this name; :class:`~aero_lab.errors.UsageError` names them all."""
    for each in POINTS:
        if each.name == name:
            return each
    raise UsageError(f"there is no point {name!r}; there is {', '.join(each.name for each in POINTS)}")


@dataclass(frozen=True)
class Why:
    """What is behind a figure that may fall outside the rule."""

    text: str
    habits: Habits | None = None
    """With these of Linux's habits switched on it is inside. None: chance; the simulated runs, one by one, lie on both
    sides of what was measured."""


_STEPS = Why(
    "About a tenth of the messages waits behind a loss or for a reduced window, so that the 90th percentile stands on "
    "the edge between those that wait and those that do not, and moves in steps of 20 ms, the gap between messages. A "
    "minute has 15 losses, which leaves the step to chance: the simulated runs, one by one, reach from 50 ms to 80 "
    "(cubic) and 135 (reno), and four real ones with cubic from 51 (11 losses) to 76 (20)."
)
_SEGMENTS = Why(
    "Linux counts the congestion window in segments, RFC 5681 and our TCP in bytes: after some losses a window of two "
    "or three segments stops Linux at as many small messages, and ours not.",
    Habits(segments=True, friendly=True),
)
_CUBIC = Why(
    "In the Reno-friendly region Linux's CUBIC grows by 0.53 segments a round trip for ever, where RFC 9438 section "
    "4.3 and our TCP go on with 1 once the window is back where it was. And Linux's reader offers some 80,000 bytes "
    "for five round trips before it sees that the program keeps up, which ends slow start at 55 segments; ours offers "
    "1 MiB, so that a run whose first loss is late gets much of its data through before it.",
    Habits(offered=OFFERED, friendly=True),
)
_FIRST = Why(
    "Where slow start ends decides how early half of the data is there. With Linux that is at the 55 segments that its "
    "reader offers for five round trips, if no loss came before; with ours at the first loss, wherever that is.",
    Habits(offered=OFFERED),
)
OUTSIDE: dict[tuple[str, str], Why] = {
    ("bulk-20ms-1%-reno", "p50_ms"): _FIRST,
    ("messages-100ms-0.5%-cubic", "p90_ms"): _STEPS,
    ("messages-100ms-0.5%-reno", "p90_ms"): _STEPS,
    ("messages-40ms-5%-cubic", "p90_ms"): _SEGMENTS,
    ("messages-40ms-5%-reno", "p90_ms"): _SEGMENTS,
    ("bulk-20ms-1%-cubic", "goodput_mbps"): _CUBIC,
    ("bulk-20ms-1%-cubic", "p50_ms"): _CUBIC,
    ("bulk-20ms-1%-cubic", "p90_ms"): _CUBIC,
}
"""Figures that may fall outside the rule, and the mechanism."""
