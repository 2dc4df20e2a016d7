"""What came: TSNs, gaps, duplicates, and when to say so (RFC 9260 section 6.2)."""

from __future__ import annotations

from bisect import bisect_right

from ...limits import NEVER
from .chunks import MOST_BLOCKS, Sack
from .constants import Constants

MASK = 0xFFFFFFFF


def unwrapped(value: int, near: int, bits: int = 32) -> int:
    """The number that ends in ``value`` and lies nearest to ``near``: serial numbers without end inside, with the
    arithmetic of RFC 1982 at the border."""
    half = 1 << bits - 1
    return near + ((value - near + half) & (1 << bits) - 1) - half


class Receiver:
    """TSNs of one direction. Numbers are unwrapped."""

    def __init__(self, constants: Constants, first: int):
        self._constants = constants
        self.cumulative = first - 1
        """Everything up to here came, or will not come any more."""
        self.blocks: list[list[int]] = []
        """First and last TSN of each run beyond a gap, ascending."""
        self.duplicates: list[int] = []
        self.due = NEVER
        """When a SACK has to go at the latest."""
        self.now_due = False
        """A SACK has to go now."""
        self._waiting = 0
        self._count = 0

    def take(self, tsn: int) -> bool:
        """A chunk came. False: it is a duplicate, or lies too far ahead."""
        if tsn == self.cumulative + 1:
            blocks = self.blocks
            if blocks and blocks[0][0] == tsn + 1:
                self.cumulative = blocks.pop(0)[1]
            else:
                self.cumulative = tsn
            return True
        if tsn <= self.cumulative:
            return self._again(tsn)
        if tsn - self.cumulative > 0xFFFF:  # gap blocks tell distances of 16 bits
            return False
        blocks = self.blocks
        at = bisect_right(blocks, [tsn, MASK << 32]) - 1  # the last block that begins at or before it
        if at >= 0 and tsn <= blocks[at][1]:
            return self._again(tsn)
        before = at >= 0 and blocks[at][1] == tsn - 1
        after = at + 1 < len(blocks) and blocks[at + 1][0] == tsn + 1
        if before and after:
            blocks[at][1] = blocks.pop(at + 1)[1]
        elif before:
            blocks[at][1] = tsn
        elif after:
            blocks[at + 1][0] = tsn
        elif len(blocks) < MOST_BLOCKS:
            blocks.insert(at + 1, [tsn, tsn])
        else:
            return False
        return True

    def _again(self, tsn: int) -> bool:
        if len(self.duplicates) < MOST_BLOCKS:
            self.duplicates.append(tsn)
        return False

    def forward(self, cumulative: int) -> bool:
        """What is missing up to ``cumulative`` will not come (RFC 3758 section 3.6). Whether that is news."""
        if not self.cumulative < cumulative <= self.cumulative + 0xFFFF:
            return False
        self.cumulative = cumulative
        blocks = self.blocks
        while blocks and blocks[0][0] <= self.cumulative + 1:
            self.cumulative = max(self.cumulative, blocks.pop(0)[1])
        return True

    def packet(self, now: int) -> None:
        """A packet with DATA (or FORWARD TSN) was taken in: decide when to tell."""
        self._waiting += 1
        if self.blocks or self.duplicates or self._waiting >= self._constants.sack_every or self._count == 0:
            self.now_due = True
        elif self.due == NEVER:
            self.due = now + self._constants.sack_delay

    def sack(self, a_rwnd: int, most: int = MOST_BLOCKS) -> Sack:
        """What to tell now: of gaps, the lowest first, and duplicates as many as fit a packet (section 6.2)."""
        base = self.cumulative
        gaps = tuple((first - base, last - base) for first, last in self.blocks[:most])
        twice = tuple(tsn & MASK for tsn in self.duplicates[: most - len(gaps)])
        self.duplicates.clear()
        self.due, self.now_due = NEVER, False
        self._waiting, self._count = 0, self._count + 1
        return Sack(base & MASK, a_rwnd, gaps, twice)
