"""Several flows over one line, each between two stacks of its own and with its own round-trip time."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ...errors import AeroLabError
from ...limits import NEVER, SECOND
from ...link.direction import LinkDirection
from ...link.stages import Delay, Rate
from ...rings.frame_ring import FrameRing
from ...stack import Connection, Stack, StackConfig, TcpConfig
from .pair import PORT, READER, SENDER
from .rules import Many

TURNS = 5_000_000


class Flow:
    """One sender and its reader; its packets carry its number over the line."""

    def __init__(self, number: int, tcp: TcpConfig, delays: tuple[int, int], rng: random.Random):
        config = StackConfig(role="guest", medium="ip", addresses=((SENDER, 24),), max_connections=1, tcp=tcp)
        self.number = number
        self.sender = Stack(config, rng, 0)
        self.reader = Stack(StackConfig(role="server", medium="ip", addresses=((READER, 24),), tcp=tcp), rng, 0)
        self.there = LinkDirection([Delay(delays[0])], rng, None, self.reader.rx, name="there")
        self.back = LinkDirection([Delay(delays[1])], rng, None, self.sender.rx, name="back")
        self.nodes = (self.sender, self.reader, self.there, self.back)
        self.reader.listen(PORT)
        self.sender.connect(READER, PORT, now=0)
        self.read = 0
        self.near: Connection | None = None
        self.far: Connection | None = None
        self.due = 0

    def turn(self, now: int, size: int) -> bool:
        """What is due, and both programs; whether the last byte of ``size`` has been read now."""
        before = self.read
        for node in self.nodes:
            if node.poll_at(now) <= now:
                node.step(now)
        self.sender.events()
        self.reader.events()
        self.near = self.near or next(iter(self.sender._connections.values()), None)
        self.far = self.far or next(iter(self.reader._connections.values()), None)
        if self.near and self.near.room:  # for as long as the others need
            self.near.write(bytes(self.near.room), now)
        if self.far and self.far.readable:
            come = self.far.readable
            self.read += come
            self.far.consume(come, now)
        self.due = min(node.poll_at(now) for node in self.nodes)
        return before < size <= self.read


def run(tcp: TcpConfig, size: int, rate: int, room: int, delays: Sequence[tuple[int, int]], seed: int = 1) -> Many:
    """A flow of ``size`` bytes for each pair of delays over a line of ``rate`` bit/s with ``room`` bytes of queue each
    way, all begun at once, until the slowest has read everything; the others go on until then."""
    rng = random.Random(seed)
    flows = [Flow(i, tcp, pair, rng) for i, pair in enumerate(delays)]
    lines = [LinkDirection([Rate(rate, room)], rng, name=name, arena=1 << 22) for name in ("there", "back")]
    offered = now = 0
    left = len(flows)
    for _ in range(TURNS):
        for flow in flows:
            if flow.due <= now:
                left -= flow.turn(now, size)
                for out, line in ((flow.sender.tx, lines[0]), (flow.reader.tx, lines[1])):
                    offered += _tag(out, line.input, flow.number, now)
        for line in lines:
            line.step(now)
        _spread(lines[0].output, [flow.there for flow in flows], flows, now)
        _spread(lines[1].output, [flow.back for flow in flows], flows, now)
        if not left:
            break
        due = min(*(flow.due for flow in flows), *(line.poll_at(now) for line in lines))
        if due >= NEVER:
            raise AeroLabError("the flows stand still")
        now = max(now, due)
    else:
        raise AeroLabError("the flows do not end")
    rates = [flow.read * SECOND / now for flow in flows]
    dropped = sum(line.counters["queue_full"] for line in lines)
    fairness = sum(rates) ** 2 / (len(rates) * sum(rate**2 for rate in rates))
    return Many(sum(rates), min(rates), max(rates), fairness, dropped / offered)


def _tag(source: FrameRing, target: FrameRing, number: int, now: int) -> int:
    """Move packets onto the line, marked with whose they are."""
    frames = source.pop_many(1 << 16) if len(source) else []
    for frame in frames:
        target.push(frame.data, now, flow=number)
    return len(frames)


def _spread(source: FrameRing, targets: list[LinkDirection], flows: list[Flow], now: int) -> None:
    """Packets that have left the line go on to their own flow's delay."""
    while len(source):
        for frame in source.pop_many(1 << 16):
            targets[frame.flow].input.push(frame.data, now, flow=frame.flow)
            flows[frame.flow].due = now
