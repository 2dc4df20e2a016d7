"""A guest on a whole network in virtual time: cable or link, LAN, NAT, far end with the lab's services."""

from __future__ import annotations

import random
import struct
from dataclasses import replace
from pathlib import Path

from aero_lab.clock import Scheduler, VirtualClock
from aero_lab.guests.scripted import ScriptedGuest, WorkloadResult
from aero_lab.guests.scripted.workloads import make
from aero_lab.lan import Lan
from aero_lab.limits import NEVER, SECOND
from aero_lab.link import Link
from aero_lab.rings import FrameRing
from aero_lab.worlds import FarEndWorld


class Cable:
    """Moves frames from one ring to another at once, and keeps copies."""

    def __init__(self, source: FrameRing, target: FrameRing, frames: list[tuple[int, bytes]] | None):
        self.source, self.target, self.frames = source, target, frames

    def step(self, now: int) -> None:
        if self.frames is None:
            self.source.move_to(self.target)
            return
        while len(self.source) and self.target.has_room(65600):
            for frame in self.source.pop_many(1):
                self.frames.append((now, frame.data))
                assert self.target.push(frame.data, now)

    def poll_at(self, now: int) -> int:
        return now if len(self.source) and self.target.has_room(65600) else NEVER


class Bench:
    """One guest and everything it can reach. ``frames`` holds ``(now, frame)`` of both directions when ``keep``."""

    def __init__(self, profile="linux", seed=1, link: Link | None = None, mtu=1500, keep=True, lan=None, **guest):
        self.clock = VirtualClock()
        self.scheduler = Scheduler(self.clock)
        self.frames: list[tuple[int, bytes]] = []
        chance = random.Random(seed)
        self.guest = ScriptedGuest(profile, random.Random(chance.random()), 0, mtu=mtu, **guest)
        world = FarEndWorld()
        config = replace(world.lan_config(mtu), **(lan or {}))
        rng = random.Random(chance.random())
        self.lan = Lan(config, lambda sink: world.make_egress(sink, rng, 0), random.Random(chance.random()), 0)
        frames = self.frames if keep else None
        nodes: list = [self.guest]
        if link is None:
            nodes += [Cable(self.guest.nic_tx, self.lan.rx, frames), Cable(self.lan.tx, self.guest.nic_rx, frames)]
        else:
            up, down = link.build(random.Random(chance.random()))
            nodes += [Cable(self.guest.nic_tx, up.input, frames), up, Cable(up.output, self.lan.rx, None)]
            nodes += [Cable(self.lan.tx, down.input, None), down, Cable(down.output, self.guest.nic_rx, frames)]
        self.scheduler.add(*nodes, self.lan)

    def run_task(self, generator, seconds: float = 600.0):
        """The result of a task, which must end within ``seconds`` of virtual time."""
        task = self.guest.start(generator)
        self.scheduler.run(lambda: task.done, self.clock.now() + round(seconds * SECOND))
        assert not self.guest.failures, self.guest.failures
        return task.value()

    def run(self, workload: str, seconds: float = 600.0, **parameters) -> WorkloadResult:
        """The result of a workload."""
        return self.run_task(make(workload, self.guest, **parameters), seconds)

    def wait(self, seconds: float) -> None:
        """Let time go by."""
        self.scheduler.run(self.clock.now() + round(seconds * SECOND))
        assert not self.guest.failures, self.guest.failures


def write_pcap(path: Path, frames: list[tuple[int, bytes]]) -> None:
    """A classic capture file with nanoseconds."""
    with path.open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1))
        for when, frame in frames:
            out.write(struct.pack("<IIII", *divmod(when, SECOND), len(frame), len(frame)) + frame)
