"""Slow, plain models of the chips, written from their data sheets: a timer that counts clock by clock, a pair of
interrupt controllers with a list of priorities, a receive FIFO that is a deque."""

from __future__ import annotations

from collections import deque


class NaiveCounter:
    """One counter of an 8254, a clock at a time."""

    def __init__(self, gate: int):
        self.gate = gate
        self.mode = self.access = self.bcd = 0
        self.ce = 0
        self.out = 0
        self.cr: int | None = None
        self.fresh = False  # the count register was written and not loaded since
        self.loading = False  # the next clock loads the count register
        self.running = False
        self.first: int | None = None
        self.second_read = False
        self.latch: list[int] = []
        self.latched = False
        self.status: int | None = None
        self.rises = 0
        self.current = 0
        self.strobing = False

    @property
    def full(self) -> int:
        return 10000 if self.bcd else 65536

    def set_out(self, level: int) -> None:
        if level and not self.out:
            self.rises += 1
        self.out = level

    def control(self, access: int, mode: int, bcd: int) -> None:
        self.mode, self.access, self.bcd = (mode & 3 if mode > 5 else mode), access, bcd
        self.cr, self.loading, self.running, self.first, self.second_read = None, False, False, None, False
        self.latched, self.status, self.strobing = False, None, False
        self.set_out(0 if self.mode == 0 else 1)

    def write(self, byte: int) -> None:
        if self.access == 3 and self.first is None:
            self.first = byte
            if self.mode == 0:
                self.running, self.loading = False, False
                self.set_out(0)
            return
        value = {1: byte, 2: byte << 8}.get(self.access, 0)
        if self.access == 3:
            value = byte << 8 | (self.first or 0)
            self.first = None
        if self.bcd:
            value = (value >> 12) * 1000 + (value >> 8 & 15) * 100 + (value >> 4 & 15) * 10 + (value & 15)
        self.cr = value or self.full
        self.fresh = True
        if self.mode == 0:
            self.set_out(0)
            self.loading = True
        elif self.mode == 4 or (self.mode in (2, 3) and not self.running):
            self.loading = True

    def set_gate(self, gate: int) -> None:
        rising = gate and not self.gate
        self.gate = gate
        if self.mode in (2, 3):
            if not gate:
                self.set_out(1)
            elif rising and self.cr is not None:
                self.loading = True
        if self.mode in (1, 5) and rising and self.cr is not None:
            self.loading = True

    def reload(self) -> None:
        assert self.cr is not None
        self.current = self.cr
        self.fresh = False
        self.ce = self.cr & ~1 if self.mode == 3 else self.cr

    def clock(self) -> None:
        if self.strobing and (self.gate or self.mode == 5 or self.loading):
            self.set_out(1)
            self.strobing = False
        if self.loading:
            self.loading, self.running = False, True
            self.reload()
            if self.mode == 1:
                self.set_out(0)
            return
        if not self.running or (not self.gate and self.mode in (0, 2, 3, 4)):
            return
        if self.mode == 2:
            if self.ce == 1:
                self.reload()
                self.set_out(1)
            else:
                self.ce -= 1
                if self.ce == 1:
                    self.set_out(0)
        elif self.mode == 3:
            if self.out and self.current & 1:
                if self.ce == 0:
                    self.set_out(0)
                    self.reload()
                else:
                    self.ce -= 2
            else:
                self.ce -= 2
                if self.ce == 0:
                    self.set_out(1 - self.out)
                    self.reload()
        else:
            self.ce = (self.ce - 1) % self.full
            if self.ce == 0:
                if self.mode >= 4:
                    if self.mode >= 4:
                        self.set_out(0)
                        self.strobing = True
                else:
                    self.set_out(1)

    def value(self) -> int:
        if not self.bcd:
            return self.ce % 65536
        v = self.ce % 10000
        return v // 1000 << 12 | v // 100 % 10 << 8 | v // 10 % 10 << 4 | v % 10

    def null(self) -> bool:
        """The count written is not in the counting element yet."""
        return not self.running or self.loading or self.fresh


class NaivePic:
    """One 8259A."""

    def __init__(self) -> None:
        self.lines: set[int] = set()
        self.requests: set[int] = set()
        self.masked: set[int] = set()
        self.serving: set[int] = set()
        self.level: set[int] = set()
        self.order = list(range(8))  # highest priority first
        self.base = 0
        self.auto = self.rotate = self.special = self.nested = False
        self.read_serving = self.poll = False
        self.waiting: deque[str] = deque()

    def line(self, number: int, up: bool) -> None:
        if up:
            if number not in self.lines or number in self.level:
                self.requests.add(number)
            self.lines.add(number)
        else:
            self.lines.discard(number)
            self.requests.discard(number)

    def pending(self) -> int | None:
        for number in self.order:
            inert = self.special and number in self.masked
            busy = number in self.serving and not inert
            if busy and not (self.nested and number == 2):
                return None
            if number in self.requests and number not in self.masked:
                return number
            if busy:
                return None
        return None

    def lowest(self, number: int) -> None:
        at = self.order.index(number) + 1
        self.order = self.order[at:] + self.order[:at]

    def serve(self, number: int) -> None:
        if number not in self.level:
            self.requests.discard(number)
        if not self.auto:
            self.serving.add(number)
        elif self.rotate:
            self.lowest(number)

    def write(self, a0: int, value: int) -> None:
        if not a0 and value & 0x10:
            kept = (self.lines, self.level, self.base)
            self.__init__()
            self.lines, self.level, self.base = kept
            self.requests = self.lines & self.level
            self.waiting = deque(["icw2"] + ([] if value & 2 else ["icw3"]) + (["icw4"] if value & 1 else []))
        elif not a0 and value & 8:
            if value & 0x40:
                self.special = bool(value & 0x20)
            if value & 4:
                self.poll = True
            elif value & 2:
                self.read_serving = bool(value & 1)
        elif not a0:
            self.ocw2(value)
        elif self.waiting:
            what = self.waiting.popleft()
            if what == "icw2":
                self.base = value & 0xF8
            elif what == "icw4":
                self.auto, self.nested = bool(value & 2), bool(value & 16)
        else:
            self.masked = {n for n in range(8) if value >> n & 1}

    def ocw2(self, value: int) -> None:
        rotate, specific, end = value & 0x80, value & 0x40, value & 0x20
        if not end:
            if specific and rotate:
                self.lowest(value & 7)
            elif not specific:
                self.rotate = bool(rotate)
            return
        number: int | None = value & 7
        if not specific:
            candidates = [n for n in self.order if n in self.serving and not (self.special and n in self.masked)]
            number = candidates[0] if candidates else None
        if number is None:
            return
        self.serving.discard(number)
        if rotate:
            self.lowest(number)

    @staticmethod
    def bits(numbers: set[int]) -> int:
        return sum(1 << n for n in numbers)

    def read(self, a0: int) -> int:
        if self.poll:
            self.poll = False
            number = self.pending()
            if number is None:
                return 7
            self.serve(number)
            return 0x80 | number
        return self.bits(self.masked if a0 else self.serving if self.read_serving else self.requests)


class NaivePics:
    """Two of them, cascaded."""

    def __init__(self) -> None:
        self.chips = (NaivePic(), NaivePic())

    def settle(self) -> None:
        self.chips[0].line(2, self.chips[1].pending() is not None)

    @property
    def intr(self) -> bool:
        return self.chips[0].pending() is not None

    def acknowledge(self) -> int:
        first, second = self.chips
        number = first.pending()
        if number is None:
            return first.base + 7
        if number != 2:
            first.serve(number)
            vector = first.base + number
        else:
            behind = second.pending()
            if behind is not None:
                second.serve(behind)
            first.serve(2)
            first.line(2, False)
            vector = second.base + (7 if behind is None else behind)
        self.settle()
        return vector


class NaiveReceiver:
    """The receive side of a 16550: a deque and a trigger level."""

    LEVELS = (1, 4, 8, 14)

    def __init__(self) -> None:
        self.fifo: deque[int] = deque()
        self.line: deque[int] = deque()
        self.enabled = False
        self.level = 1
        self.idle_since: int | None = None
        self.late = False

    def fill(self, now: int) -> None:
        while self.line and len(self.fifo) < (16 if self.enabled else 1):
            self.fifo.append(self.line.popleft())
            self.idle_since = now

    def read(self, now: int) -> int | None:
        byte = self.fifo.popleft() if self.fifo else None
        self.late = False
        self.idle_since = now
        self.fill(now)
        return byte

    def timed_out(self, now: int, character: int) -> bool:
        """Whether nothing moved for four characters; once so, only a read ends it."""
        idle = self.idle_since
        if self.enabled and self.fifo and idle is not None and now >= idle + 4 * character:
            self.late = True
        return self.late
