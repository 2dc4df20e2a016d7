"""A frame ring as one would write it without thinking of speed: a deque, and a sum of what each frame occupies."""

from collections import deque


class NaiveRing:
    def __init__(self, slots, arena):
        self.slots, self.arena = slots, arena
        self.waiting = deque()  # (frame, arena bytes it keeps from others)
        self.place = 0
        self.given = self.given_bytes = self.refused = self.refused_bytes = 0

    def _skip(self, size):
        if not self.waiting:
            self.place = 0  # an empty ring starts over
        return self.arena - self.place if self.place + size > self.arena else 0

    def has_room(self, size):
        if size > self.arena or len(self.waiting) == self.slots:
            return False
        used = sum(kept for _, kept in self.waiting)
        return not self.waiting or used + self._skip(size) + size <= self.arena

    def push(self, frame):
        size = len(frame[0])
        if not self.has_room(size):
            self.refused += 1
            self.refused_bytes += size
            return False
        rounded = -(-size // 8) * 8
        skip = self._skip(size)
        self.waiting.append((frame, skip + rounded))
        self.place = ((0 if skip else self.place) + rounded) % self.arena
        self.given += 1
        self.given_bytes += size
        return True

    def pop_many(self, most):
        return [self.waiting.popleft()[0] for _ in range(min(most, len(self.waiting)))]

    def move_to(self, other, most):
        moved = 0
        while moved < most and self.waiting and other.has_room(len(self.waiting[0][0][0])):
            other.push(self.waiting.popleft()[0])
            moved += 1
        return moved
