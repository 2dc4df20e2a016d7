"""``bench nic``: how many frames a second each model of a network card moves on one core, without a guest.

A compiled driver keeps the card busy. ``tx`` times the driver's descriptors, the card that gathers frames from memory
into its ring, and the driver that looks at what was done; ``tso`` the same for packets of 64 KB that the card cuts into
segments with checksums; ``rx`` the card that filters frames, verifies checksums and stores them, and the driver that
gives the buffers back. Filling and emptying the rings on the other side is not in the time.

Time is processor time of the measuring thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..errors import AeroLabError
from ..nic.base import Nic
from ..wire.frame import tcp_frame
from ..wire.tcp import ACK, Tcp
from .nic_e1000 import E1000Driver
from .nic_virtio import VirtioDriver
from .report import Progress, Result, chosen

SAMPLES = 5
BATCH = 64
"""Frames given to a card at once."""
FRAMES = 1 << 14
"""Frames sent in one round."""
PACKETS, MSS, PACKET = 64, 1448, 65226
"""Packets in a round of segmentation, payload of a segment, size of a packet."""
HEADER = 54
PEER, CARD = bytes.fromhex("02000000000f"), bytes.fromhex("525400123456")


class Driver(Protocol):
    """What a bench asks of a card's driver."""

    @property
    def nic(self) -> Nic: ...
    def put(self, data: bytes, slots: bool = True) -> None: ...
    def sends(self, frames: int, size: int, batch: int) -> int: ...
    def segments(self, packets: int, size: int, header: int, mss: int) -> int: ...
    def receives(self) -> int: ...


DRIVERS: dict[str, Callable[[], Driver]] = {"e1000": E1000Driver, "virtio-net": VirtioDriver}
"""Drivers by model."""


@dataclass(frozen=True)
class Case:
    model: str
    kind: str
    size: int

    @property
    def name(self) -> str:
        return f"nic/{self.model}/{self.kind}/{self.size}B"


CASES = tuple(
    Case(model, kind, size)
    for model in DRIVERS
    for kind, size in (("tx", 60), ("tx", 1514), ("tso", PACKET), ("rx", 60), ("rx", 1514))
)


def chosen_cases(names: Sequence[str] | None) -> list[Case]:
    """The cases whose names begin with one of ``names``; all when there are none."""
    return chosen(CASES, names)


def frame_of(size: int) -> bytes:
    """A TCP segment in a frame of ``size`` bytes, for the card."""
    data = bytes(i * 7 & 0xFF for i in range(size - HEADER))
    return tcp_frame(PEER, CARD, b"\x0a\0\0\2", b"\x0a\0\0\1", Tcp(80, 1024, 1, 1, ACK, 65535, payload=data))


class Bench:
    """A card at work."""

    def __init__(self, case: Case):
        self.case = case
        self.driver: Driver = DRIVERS[case.model]()
        self.frame = frame_of(case.size)
        self.driver.put(self.frame, case.kind == "tx")

    def tx(self) -> tuple[int, float]:
        start = time.thread_time()
        done = self.driver.sends(FRAMES, self.case.size, BATCH)
        return done, time.thread_time() - start

    def tso(self) -> tuple[int, float]:
        start = time.thread_time()
        done = self.driver.segments(PACKETS, self.case.size, HEADER, MSS)
        return done, time.thread_time() - start

    def rx(self) -> tuple[int, float]:
        ring = self.driver.nic.rx
        while len(ring) < BATCH * 4 and ring.push(self.frame):
            pass
        start = time.thread_time()
        done = self.driver.receives()
        return done, time.thread_time() - start

    def sample(self, seconds: float) -> float:
        """Frames a second, over rounds that took ``seconds`` of measured time."""
        one = getattr(self, self.case.kind)
        number, spent = 0, 0.0
        while spent < seconds:
            frames, took = one()
            if not frames:
                raise AeroLabError(f"{self.case.name}: nothing moved; {self.driver.nic.counters}")
            number, spent = number + frames, spent + took
        return number / spent

    def check(self, number: int) -> None:
        """What was measured was work done: as many frames as were given, none dropped."""
        counters = self.driver.nic.counters
        moved = counters["rx_frames" if self.case.kind == "rx" else "tx_frames"]
        if moved < number or self.driver.nic.port.bad_dma:
            raise AeroLabError(f"{self.case.name}: {moved} of {number} frames moved; {counters}")


def measure(
    seconds: float, cases: Sequence[str] | None = None, peers: bool = True, progress: Progress | None = None
) -> list[Result]:
    """Run the cases; there are no peers."""
    todo = chosen_cases(cases)
    tell: Progress = progress or (lambda done, total, what: None)
    results = []
    for done, case in enumerate(todo):
        tell(done, len(todo), case.name)
        bench = Bench(case)
        bench.sample(seconds / 20)  # memory is touched and kernels are loaded before anything is measured
        samples = [bench.sample(seconds / SAMPLES) for _ in range(SAMPLES)]
        bench.check(1)
        results.append(Result(case.name, "frames/s", samples, per_call=BATCH))
    tell(len(todo), len(todo), "")
    return results
