"""A driver in plain Python, written from the standard and not from the device: it lays out queues, posts buffers and
reads what comes back, byte by byte."""

from __future__ import annotations

import struct

import numpy as np

from aero_lab.nic.virtio_net import VirtioNet

COMMON, NOTIFY, ISR, CONFIG = 0x0000, 0x1000, 0x2000, 0x3000
RX, TX, CONTROL = 0, 1, 2


class Ram:
    """Guest memory, and whoever hands it out."""

    def __init__(self, size: int = 1 << 20):
        self.bytes = np.zeros(size, np.uint8)
        self.next = 0x1000

    def take(self, size: int, align: int = 16) -> int:
        at = -(-self.next // align) * align
        self.next = at + size
        assert self.next <= len(self.bytes)
        return at

    def put(self, at: int, data: bytes) -> None:
        self.bytes[at : at + len(data)] = np.frombuffer(data, np.uint8)

    def get(self, at: int, size: int) -> bytes:
        return bytes(self.bytes[at : at + size])

    def u16(self, at: int) -> int:
        return int.from_bytes(self.get(at, 2), "little")


class Queue:
    """One split virtqueue from the driver's side."""

    def __init__(self, ram: Ram, size: int, event_idx: bool, base: int = 0):
        self.ram, self.size, self.event_idx = ram, size, event_idx
        if base:  # the legacy layout: one block, the used ring at the next page
            self.desc = base
            self.avail = base + 16 * size
            self.used = (self.avail + 6 + 2 * size + 4095) & ~4095
        else:
            self.desc = ram.take(16 * size, 16)
            self.avail = ram.take(6 + 2 * size, 2)
            self.used = ram.take(6 + 8 * size, 4)
        self.free = list(range(size))
        self.added = self.seen = 0
        self.chains: dict[int, list[int]] = {}

    def descriptor(self, table: int, i: int, address: int, length: int, flags: int, following: int) -> None:
        self.ram.put(table + 16 * i, struct.pack("<QIHH", address & 2**64 - 1, length & 2**32 - 1, flags, following))

    def add(self, pieces: list[tuple[int, int, bool]], indirect: bool = False) -> int:
        """Make a chain of (address, length, device writes) available; its head."""
        if indirect:
            table = self.ram.take(16 * len(pieces))
            for i, (address, length, write) in enumerate(pieces):
                more = i + 1 < len(pieces)
                self.descriptor(
                    table, i, address, length, (1 if more else 0) | (2 if write else 0), i + 1 if more else 0
                )
            used = [self.free.pop(0)]
            self.descriptor(self.desc, used[0], table, 16 * len(pieces), 4, 0)
        else:
            used = [self.free.pop(0) for _ in pieces]
            for n, (i, (address, length, write)) in enumerate(zip(used, pieces, strict=True)):
                more = n + 1 < len(used)
                flags = (1 if more else 0) | (2 if write else 0)
                self.descriptor(self.desc, i, address, length, flags, used[n + 1] if more else 0)
        self.chains[used[0]] = used
        self.offer(used[0])
        return used[0]

    def offer(self, head: int) -> None:
        """Put any head into the available ring."""
        self.ram.put(self.avail + 4 + 2 * (self.added % self.size), struct.pack("<H", head))
        self.added += 1
        self.ram.put(self.avail + 2, struct.pack("<H", self.added & 0xFFFF))

    def wants_kick(self, before: int) -> bool:
        """Whether the device wants to hear that chains were added since there were ``before``."""
        if self.event_idx:
            event = self.ram.u16(self.used + 4 + 8 * self.size)
            return (self.added - event - 1) % 65536 < (self.added - before) % 65536
        return not self.ram.u16(self.used) & 1

    def collect(self) -> list[tuple[int, int]]:
        """Used elements since the last time: (head, bytes written). Their descriptors are free again."""
        out = []
        while self.seen % 65536 != self.ram.u16(self.used + 2):
            head, length = struct.unpack("<II", self.ram.get(self.used + 4 + 8 * (self.seen % self.size), 8))
            self.seen += 1
            self.free += self.chains.pop(head, [])
            out.append((head, length))
        return out

    def want_interrupt_at(self, index: int) -> None:
        self.ram.put(self.avail + 4 + 2 * self.size, struct.pack("<H", index & 0xFFFF))

    def quiet(self, on: bool) -> None:
        self.ram.put(self.avail, struct.pack("<H", int(on)))


class Driver:
    """Brings a device up as section 3.1.1 says, and sends and receives."""

    def __init__(self, nic: VirtioNet, accept: set[int] | None = None, sizes: tuple[int, ...] = (), start: bool = True):
        self.nic, self.ram = nic, Ram()
        nic.port.master = 1
        self.write(0x14, 0, 1)
        assert self.read(0x14, 1) == 0
        self.write(0x14, 1, 1)
        self.write(0x14, 3, 1)
        offered = 0
        for half in (0, 1):
            self.write(0x00, half, 4)
            offered |= self.read(0x04, 4) << 32 * half
        self.offered = {bit for bit in range(64) if offered >> bit & 1}
        self.features = self.offered if accept is None else self.offered & accept
        for half in (0, 1):
            self.write(0x08, half, 4)
            self.write(0x0C, sum(1 << bit for bit in self.features) >> 32 * half & 0xFFFFFFFF, 4)
        self.write(0x14, 0x0B, 1)
        self.agreed = bool(self.read(0x14, 1) & 8)
        self.header = 10 if nic.contract == "w7" else 12
        self.queues: list[Queue] = []
        if start:
            self.start(sizes)

    def start(self, sizes: tuple[int, ...] = ()) -> None:
        """Place all queues, and say that the driver is ready."""
        assert self.agreed
        for i in range(self.read(0x12, 2)):
            self.write(0x16, i, 2)
            if i < len(sizes):
                self.write(0x18, sizes[i], 2)
            q = Queue(self.ram, self.read(0x18, 2), 29 in self.features)
            for at, address in ((0x20, q.desc), (0x28, q.avail), (0x30, q.used)):
                self.write(at, address & 0xFFFFFFFF, 4)
                self.write(at + 4, address >> 32, 4)
            self.write(0x1C, 1, 2)
            assert self.read(0x1C, 2) == 1
            self.queues.append(q)
        self.write(0x14, 0x0F, 1)

    def read(self, at: int, size: int = 4) -> int:
        return self.nic.read(at, size, bar=self.nic.state.modern_bar)

    def write(self, at: int, value: int, size: int = 4, now: int = 0) -> None:
        self.nic.write(at, value, size, bar=self.nic.state.modern_bar, now=now, ram=self.ram.bytes)

    def kick(self, queue: int, now: int = 0) -> None:
        self.write(NOTIFY + 4 * queue, queue, 2, now)

    def poll(self, now: int = 0) -> None:
        self.nic.poll(now, self.ram.bytes)

    def isr(self) -> int:
        return self.read(ISR, 1)

    # Frames -----------------------------------------------------------------------------------------------------------
    def pieces(self, data: bytes, cuts: list[int], write: bool = False) -> list[tuple[int, int, bool]]:
        """``data`` in memory, cut into pieces at these places."""
        edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
        out = []
        for start, stop in zip(edges, edges[1:], strict=False):
            at = self.ram.take(max(stop - start, 1), 1)
            self.ram.put(at, data[start:stop])
            out.append((at, stop - start, write))
        return out

    def send(self, frame: bytes, header: bytes = b"", cuts: tuple[int, ...] = (12,), indirect: bool = False) -> int:
        """Hand a packet over and notify; its head."""
        whole = header.ljust(self.header, b"\0") + frame
        head = self.queues[TX].add(self.pieces(whole, list(cuts)), indirect)
        self.kick(TX)
        return head

    def sent(self) -> list[bytes]:
        return [frame.data for frame in self.nic.tx.pop_many(1 << 20)]

    def post(self, *sizes: int, indirect: bool = False) -> int:
        """Post a buffer for receiving, made of pieces; its head."""
        buffers = [(self.ram.take(max(size, 1), 1), size, True) for size in sizes]
        head = self.queues[RX].add(buffers, indirect)
        self.posted = getattr(self, "posted", {})
        self.posted[head] = buffers
        return head

    def received(self) -> list[tuple[bytes, bytes]]:
        """What came: (header, frame), put together again over as many buffers as the header says."""
        out = []
        used = self.queues[RX].collect()
        while used:
            head, length = used.pop(0)
            data = self._contents(head, length)
            for _ in range(struct.unpack("<H", data[10:12])[0] - 1 if self.header == 12 and len(data) >= 12 else 0):
                data += self._contents(*used.pop(0))
            out.append((data[: self.header], data[self.header :]))
        return out

    def _contents(self, head: int, length: int) -> bytes:
        return b"".join(self.ram.get(at, size) for at, size, _ in self.posted.pop(head))[:length]

    def command(self, data: bytes) -> int:
        """Give a command; the answer."""
        at, answer = self.ram.take(len(data), 1), self.ram.take(1, 1)
        self.ram.put(at, data)
        self.ram.put(answer, b"\xee")
        q = self.queues[CONTROL]
        q.add([(at, 2, False), (at + 2, len(data) - 2, False), (answer, 1, True)])
        self.kick(CONTROL)
        assert [length for _, length in q.collect()] == [1]
        return self.ram.get(answer, 1)[0]
