"""One direction of a link as one would write it without thinking of speed: objects, a list sorted when needed."""

import hashlib

from aero_lab.causes import Cause
from aero_lab.link import Corrupt, Delay, Duplicate, Hold, Loss, Rate, Reorder


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


class NaiveDirection:
    """Unlimited memory; frames are ``(data, t_ns, id, flow, cause, flags)``."""

    def __init__(self, stages, seed):
        turns = {}
        self.stages = []
        for stage in stages:
            turns[stage.kind] = turns.get(stage.kind, 0) + 1
            generator = Generator(seed, stage.kind, turns[stage.kind])
            self.stages.append([stage, generator, 0, 0])  # ..., busy until or last due, rest of a nanosecond
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
                if stage.jitter:
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

    def due(self, now):
        out = []
        while self.waiting:
            first = min(self.waiting)
            if first[0] > now:
                break
            self.waiting.remove(first)
            due, _, stage, frame = first
            if stage == len(self.stages):
                out.append((frame[0], due, *frame[2:]))
            else:
                self.advance(frame, stage, due)
        return out

    def step(self, frames, now):
        out = self.due(now)
        for frame in frames:
            self.advance(frame, 0, now)
        return out + self.due(now)

    def next(self):
        return min(self.waiting)[0] if self.waiting else None
