"""The record ring as its layout tells it, byte by byte and one step after the other."""

from __future__ import annotations

import struct


class NaiveRing:
    """A ring of ``capacity`` bytes whose cursors stand at ``start``."""

    def __init__(self, capacity: int, start: int = 0):
        self.capacity = capacity
        self.head = self.tail = start
        self.data = bytearray(capacity)
        self.corrupt = self.corrupt_bytes = 0

    @property
    def used(self) -> int:
        return (self.tail - self.head) % (1 << 32)

    def push(self, payload: bytes) -> bool | None:
        """True, False when it is full, None when it never fits."""
        record = struct.pack("<I", len(payload)) + payload
        record += bytes(-len(record) % 4)
        if len(record) > self.capacity:
            return None
        at = self.tail % self.capacity
        skipped = self.capacity - at if len(record) > self.capacity - at else 0
        if self.used + skipped + len(record) > self.capacity:
            return False
        if skipped:
            if skipped >= 4:
                self.data[at : at + 4] = b"\xff\xff\xff\xff"
            at = 0
        self.data[at : at + len(record)] = record
        self.tail = (self.tail + skipped + len(record)) % (1 << 32)
        return True

    def pop(self) -> bytes | None:
        while self.used:
            at = self.head % self.capacity
            rest = self.capacity - at
            length = struct.unpack_from("<I", self.data, at)[0] if rest >= 4 else 0xFFFFFFFF
            if length == 0xFFFFFFFF and at and rest <= self.used:
                self.head = (self.head + rest) % (1 << 32)
                continue
            size = 4 + length + -length % 4
            if size > rest or size > self.used or length == 0xFFFFFFFF:
                self.corrupt += 1
                self.corrupt_bytes += self.used
                self.head = self.tail
                return None
            payload = bytes(self.data[at + 4 : at + 4 + length])
            self.head = (self.head + size) % (1 << 32)
            return payload
        return None
