"""The points at which what is simulated is held against what is real, and the measurements of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ...link import Link
from .simulated import simulate
from .traffic import Arrivals, Traffic

SEEDS = 20
"""Simulated runs of a point."""


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

    def simulate(self, seeds: int = SEEDS) -> list[Arrivals]:
        """In virtual time, one run a seed."""
        return [
            simulate(self.transport, self.link, self.traffic, self.settings, seed) for seed in range(1, seeds + 1)
        ]  # fmt: skip

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
    name: str, link: str, traffic: Traffic, transports: Sequence[str] = ("webrtc",), note: str = ""
) -> list[Point]:
    return [Point(f"{name}-{each}", each, Link.parse(link), traffic, note=note) for each in transports]


ALL = ("webrtc", "webrtc-unordered", "webrtc-lossy")
BULK = Traffic(7000, 1400)
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
)  # fmt: skip


def point(name: str) -> Point:
    """The one with this name."""
    return next(each for each in POINTS if each.name == name)


OUTSIDE: dict[tuple[str, str], str] = {}
"""Figures that fall outside the rule, and the mechanism."""
