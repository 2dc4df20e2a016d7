"""One direction of a link as one would write it without thinking of speed: objects, a list sorted when needed."""

import hashlib
import struct

from aero_lab.causes import Cause
from aero_lab.link import (
    Corrupt,
    Delay,
    Duplicate,
    GilbertElliott,
    Hold,
    Line,
    Loss,
    Outage,
    Rate,
    RecordedLoss,
    Reorder,
    Stall,
)
from aero_lab.link.chance import UNIT, quantiles

from .naive_line import NaiveLine


class Generator:
    """sfc32 by C. Doty-Humphrey."""

    def __init__(self, seed, kind, turn):
        digest = hashlib.sha256(f"{seed}/{kind}/{turn}".encode()).digest()
        self.a, self.b, self.c, self.counter = (int.from_bytes(digest[i : i + 4], "little") for i in (0, 4, 8, 12))

    def draw(self):
        out = (self.a + self.b + self.counter) % 2**32
        self.counter = (self.counter + 1) % 2**32
        self.a = self.b ^ (self.b >> 9)
        self.b = (self.c * 9) % 2**32
        self.c = (((self.c << 21) % 2**32 | self.c >> 11) + out) % 2**32
        return out

    def chance(self, p):
        return self.draw() < int(p * 2**32)

    def quantile(self, model, most):
        """Between two of 1025 quantiles, times ``most``; coarser for what takes over a minute."""
        table = struct.unpack("<1025q", quantiles(model))
        place, between = divmod(self.draw(), 2**22)
        value = table[place] + (table[place + 1] - table[place]) * between // 2**22
        return value * most // UNIT if most < 2**36 else value * (most // 4096) // 256


class NaiveDirection:
    """Unlimited memory; frames are ``(data, t_ns, id, flow, cause, flags)``."""

    def __init__(self, stages, seed, medium="message", start=0, most=512):
        turns = {}
        self.stages = []
        self.start = start
        self.line = None
        self.outage = 0
        for stage in stages:
            turns[stage.kind] = turns.get(stage.kind, 0) + 1
            generator = Generator(seed, stage.kind, turns[stage.kind])
            self.stages.append([stage, generator, 0, 0])  # ..., busy until or last due, rest of a nanosecond
            if isinstance(stage, Line):
                turn = turns[stage.kind]
                self.line = NaiveLine(stage, seed, turn, generator, self.wait, medium, start, most)
        self.waiting = []  # [due, order, next stage, frame]
        self.order = 0
        self.lost = self.queue_full = self.duplicated = self.reordered = self.held = self.corrupted = 0

    def wait(self, due, stage, frame):
        self.waiting.append((due, self.order, stage, frame))
        self.order += 1

    def advance(self, frame, at, now):
        due = now
        while at < len(self.stages) and due <= now:
            state = self.stages[at]
            stage, generator = state[:2]
            at += 1
            if isinstance(stage, Delay):
                due = now + stage.ns
                if stage.jitter and stage.model != "uniform":
                    due = max(now, due + generator.quantile(stage.model, stage.jitter))
                elif stage.jitter:
                    due += generator.draw() * (2 * stage.jitter + 1) // 2**32 - stage.jitter
                due = state[2] = max(due, state[2])
            elif isinstance(stage, Hold):
                if generator.chance(stage.p):
                    self.held += 1
                    due = now + stage.by_ns
                due = state[2] = max(due, state[2])
            elif isinstance(stage, Rate):
                busy, rest = (state[2], state[3]) if state[2] > now else (now, 0)
                bits = len(frame[0]) * 8 * 10**9 + rest
                due = busy + bits // stage.bits_per_s
                if busy > now and due - now > stage.queue_bytes * 8 * 10**9 // stage.bits_per_s:
                    self.queue_full += 1
                    return
                state[2], state[3] = due, bits % stage.bits_per_s
            elif isinstance(stage, Line):
                self.line.enqueue(frame, at, now)
                return
            elif isinstance(stage, Outage):
                due = self.up_again(state, now)
                if due > now and isinstance(stage, Stall):
                    self.held += 1
                elif due > now:
                    self.outage += 1
                    return
            elif isinstance(stage, GilbertElliott):
                lost = generator.chance(stage.bad if state[2] else stage.good)
                if generator.chance(stage.r if state[2] else stage.p):
                    state[2] = not state[2]
                if lost:
                    self.lost += 1
                    return
            elif isinstance(stage, RecordedLoss):
                state[2] += 1
                if stage.trace.lost[(state[2] - 1) % len(stage.trace.lost)]:
                    self.lost += 1
                    return
            elif generator.chance(stage.p):
                if isinstance(stage, Loss):
                    self.lost += 1
                    return
                if isinstance(stage, Duplicate):
                    self.duplicated += 1
                    self.wait(now, at, frame)
                    self.wait(now, at, (*frame[:4], int(Cause.DUPLICATE), frame[5]))
                    return
                elif isinstance(stage, Reorder):
                    self.reordered += 1
                    due = now + stage.by_ns
                elif isinstance(stage, Corrupt) and frame[0]:
                    self.corrupted += 1
                    data = bytearray(frame[0])
                    where = generator.draw() * len(data) // 2**32
                    data[where] ^= 1 + generator.draw() * 255 // 2**32
                    frame = (bytes(data), *frame[1:])
        self.wait(due, at, frame)

    def up_again(self, state, now):
        """When frames pass again: now, or the end of the outage."""
        stage, generator = state[:2]
        if not stage.random:
            begins = self.start + stage.first_ns
            if stage.every_ns and now > begins:
                begins += (now - begins) // stage.every_ns * stage.every_ns
            return begins + stage.lasts_ns if begins <= now < begins + stage.lasts_ns else now
        if not state[3]:
            state[3] = [self.start + generator.quantile("exponential", stage.first_ns)]
        while state[3][-1] <= now:  # moments at which it goes down, up, down, ...
            mean = stage.lasts_ns if len(state[3]) % 2 else stage.first_ns
            state[3].append(state[3][-1] + 1 + generator.quantile("exponential", mean))
        return now if len(state[3]) % 2 else state[3][-1]

    def due(self, now):
        out = []
        while True:
            timer = self.line.timer if self.line else None
            first = min(self.waiting) if self.waiting else None
            if timer is not None and timer <= now and (first is None or timer <= first[0]):
                self.line.serve(timer)
                continue
            if first is None or first[0] > now:
                return out
            self.waiting.remove(first)
            due, _, stage, frame = first
            if stage == len(self.stages):
                out.append((frame[0], due, *frame[2:]))
            else:
                self.advance(frame, stage, due)

    def step(self, frames, now):
        out = self.due(now)
        for frame in frames:
            self.advance(frame, 0, now)
        return out + self.due(now)

    def next(self):
        timers = [self.line.timer] if self.line and self.line.timer is not None else []
        return min(timers + [each[0] for each in self.waiting], default=None)

    @property
    def in_flight(self):
        queued = self.line.packets + bool(self.line.current) if self.line else 0
        return len(self.waiting) + queued
