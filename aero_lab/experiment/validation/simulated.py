"""The same messages in virtual time, over the transports that virtual time has."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from ...clock import Scheduler, VirtualClock
from ...limits import NEVER, SECOND
from ...link import Link
from ...paths.base import Channel
from ...rings.frame_ring import FrameRing
from ...transports.base import TransportEnd
from ...tunnels import Bench, Seeds, find
from .habits import OURS, Habits, take_on
from .traffic import STAMP, Arrivals, Traffic, read

SETTLE = SECOND
"""Between the first sign that the connection stands and the first message: what it took to make it is over."""
PROBE = SECOND // 10
"""A message that is not counted goes each so often until one has come."""
OPEN = 120 * SECOND
"""In so long the connection has to come about."""
PATIENCE = 600 * SECOND
"""Virtual time after the last message was due in which the rest may come."""
CHANNEL = Channel("l2", 65_535, "/l2", ("aero-l2-tunnel-v1",))


class Source:
    """Sends traffic by an end: first a sign of life until one has come, then each message when it is due or as soon
    as there is room."""

    name = "source"

    def __init__(self, end: TransportEnd, traffic: Traffic):
        self.end, self.traffic = end, traffic
        self.start: int | None = None
        """When the first message is due, once that is known."""
        self.next = 0
        self._probe = 0
        self._ring = FrameRing(64, 64 * (traffic.size + 8))

    def step(self, now: int) -> None:
        if self.start is None:
            if now >= self._probe and self._ring.has_room(STAMP):
                self._ring.push(Traffic(1, STAMP).message(self.traffic.count, now), now)
                self._probe = now + PROBE
        else:
            self._fill(self.start, now)
        self.end.send(self._ring, now)

    def _fill(self, start: int, now: int) -> None:
        traffic = self.traffic
        while self.next < traffic.count and (due := start + self.next * traffic.gap) <= now:
            if not self._ring.has_room(traffic.size):
                if not self.end.send(self._ring, now):
                    break
                continue
            self._ring.push(traffic.message(self.next, due), now)
            self.next += 1

    def poll_at(self, now: int) -> int:
        if len(self._ring):
            return NEVER if self.end.stalled else now
        if self.start is None:
            return max(now, self._probe)
        return max(now, self.start + self.next * self.traffic.gap) if self.next < self.traffic.count else NEVER


class Sink:
    """Takes what comes and notes when."""

    name = "sink"

    def __init__(self, end: TransportEnd):
        self.end = end
        self.seen: list[tuple[int, int, int]] = []

    def step(self, now: int) -> None:
        while some := self.end.received.pop_many(64):
            self.seen.extend((*read(each.data), now) for each in some)
        self.end.taken()

    def poll_at(self, now: int) -> int:
        return now if len(self.end.received) else NEVER


def simulate(
    transport: str,
    link: Link,
    traffic: Traffic,
    settings: Mapping[str, Any] | None = None,
    seed: int = 1,
    habits: Habits = OURS,
) -> Arrivals:
    """Send ``traffic`` upwards over a transport of virtual time.

    ``settings``: of the transport, as ``Lab(transport_settings=...)`` takes them. ``habits``: of a WebSocket's TCP.
    Raises :class:`~aero_lab.errors.UsageError` for what it does not know.
    """
    kind = find(transport, virtual=True)
    kind.check_settings(settings or {})
    clock = VirtualClock()
    engine: Any = SimpleNamespace(now=clock.now, virtual=True)
    path: Any = SimpleNamespace(letter="C", dials=False, channels=lambda mtu: (CHANNEL,))
    bench = Bench(engine, path, recorder=None, link=link, seed=seed, transport_settings=settings or {})  # type: ignore[arg-type]
    tunnels: Any = kind(bench)
    near, far, nodes = tunnels._ends(1)
    if habits != OURS:
        take_on(habits, tunnels.hops[1], near[CHANNEL.name], clock.now)
    source = Source(near[CHANNEL.name], traffic)
    sink = Sink(far[CHANNEL.name])
    scheduler = Scheduler(clock)
    scheduler.add(source, *nodes, sink)
    if scheduler.run(lambda: len(sink.seen) > 0, OPEN):
        source.start = clock.now() + SETTLE
        scheduler.run(source.start - 1)
        sink.seen.clear()
        scheduler.run(lambda: len(sink.seen) >= traffic.count, source.start + traffic.lasts + PATIENCE)
    return Arrivals.of(traffic, sink.seen)


__all__ = ["Seeds", "Sink", "Source", "simulate"]
