"""What the client part of an option costs an emulated PC that shares its core.

The client process is bound to one core. On it run a bare PC, whose program never waits, and the client part of the
option; the guest whose frames go through that is in a process of its own on another core, because it stands for the
PC's own network stack, which every option has. The PC runs with the client part idle, then while the guest downloads
at a fixed rate, then idle again, and so on in short slices.

From each slice: instructions over the *processor* time of the PC's thread, times the share of the slice that the rest
of the process left it. On a core that the two have to themselves that is instructions over time; what other programs
of the machine take from both does not count.

How fast the core is drifts by more than most options cost, so a loaded slice is held against the idle ones right before
and after it: what it has of their mean is what the client part leaves the PC. The figure is the median of those shares,
with an interval for it that supposes nothing about how they scatter; ``loaded`` is that share of the idle median.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb
from statistics import median
from typing import Any

from ..engine import RealEngine
from ..errors import AeroLabError
from ..limits import MS, NEVER, SECOND
from ..rings.frame_ring import FrameRing
from ..transports.memory import SharedMemoryTransport
from .worker_guests import HostedGuest

PROGRAM = bytes.fromhex("31ff 8b850010 05379e d1c0 31d8 89c3 89850010 83c702 81e7ff0f ebe6")
"""A boot sector's work: 4 KiB of memory, a word at a time, each made of itself and the one before; for ever."""
ORIGIN, RAM_MB = 0x7C00, 2
ROUNDS, SLICE = 12, 0.1
"""Loaded slices, each between two idle ones, and how many seconds a slice takes."""
SETTLE = 0.05
"""Seconds after load began before anything is measured."""
QUIET, QUIET_LOOK, QUIET_AT_MOST = 0.05, 0.02, 1.0
"""Load has ended when the rest of the process takes less than this share of two looks, so many seconds each, in a row:
a slow option still fills the guest's window then. And seconds after which it is taken for ended."""
SURE = 0.95
"""Chance at least that the median lies in its interval."""
RATE = 5_000_000
"""Bytes a second that the guest downloads meanwhile: 40 Mbit/s."""
TICK = 10 * MS
"""The download is read so often, as much as is due: TCP's window then holds back the sender."""
BEHIND = 200 * MS
"""What a reader that came late still catches up with; what is older was more than the option carries here."""
PATIENCE = 30.0
"""Seconds for the other process to start, or to answer."""


class BesidePc(HostedGuest):
    """The guest of such a run, as the client process has it: the near end of a cable to another process."""

    def prepare(self, rng: random.Random) -> None:
        ours, theirs = SharedMemoryTransport.create_tickets()
        self._free = _bind()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "aero_lab.experiment.worker_mips"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=theirs.fds,
        )
        theirs.close()
        self.host = CableEnd(SharedMemoryTransport.attach(ours.text))
        self.engine.on_close(self._end)
        spec = {"ticket": theirs.text, "cores": sorted(self._free), "seed": rng.getrandbits(32)}
        self._tell({**spec, "profile": self.spec["profile"], "mtu": self.spec["mtu"]})

    def plug_in(self, rng: random.Random) -> Any:
        self.engine.driver.watch(self.host.end.wake_fd, self.host.end.clear_wake)
        return self.host

    def online(self, timeout: float) -> None:
        self._answer()

    def run(self, workload: str, parameters: dict[str, Any], timeout: float) -> Any:
        """Not a workload but the measurement, whatever it is called."""
        _bind_threads(self._free)
        return measure(lambda: self._ask("begin"), lambda: self._ask("end"))

    def _ask(self, word: str) -> int:
        self._tell({"do": word})
        return self._answer()

    def _tell(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()

    def _answer(self) -> int:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise AeroLabError("the guest's process ended before it answered")
        answer = json.loads(line)
        if "error" in answer:
            raise AeroLabError(answer["error"])
        return answer["bytes"]

    def _end(self) -> None:
        self.host.end.close()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.kill()
        self._process.wait()


class CableEnd:
    """A node that stands where a guest stands; the guest is at the other end of a cable."""

    mac = bytes(6)
    address = None

    def __init__(self, end: SharedMemoryTransport):
        self.end = end
        self.nic_tx = end.received
        self.nic_rx = FrameRing()
        self._told = 0

    def step(self, now: int) -> None:
        self.end.send(self.nic_rx, now)
        self._told = self.nic_tx.given - len(self.nic_tx)
        self.end.taken()

    def poll_at(self, now: int) -> int:
        waiting = len(self.nic_rx) and not self.end.stalled and not self.end.peer_closed
        return now if waiting or self.nic_tx.given - len(self.nic_tx) != self._told else NEVER

    def relink(self) -> None:
        """The cable stays in."""


@dataclass
class Mips:
    """What came of a measurement: a slice alone more than beside load, in turn."""

    alone: list[float]
    """Million instructions a second of the PC alone, a slice each."""
    beside: list[float]
    """The same beside the client part; each between two of :attr:`alone`."""
    rates: list[float]
    """What the guest downloaded meanwhile, Mbit/s: less than :data:`RATE` where the option cannot carry it here."""

    @property
    def shares(self) -> list[float]:
        """Of each slice beside load: what it has of the two around it."""
        around = zip(self.alone, self.alone[1:])
        return [2 * here / (before + after) for here, (before, after) in zip(self.beside, around)]

    def to_dict(self) -> dict[str, Any]:
        shares, idle = self.shares, median(self.alone)
        left, low, high = median(shares), *interval(shares)
        return {
            "idle": idle,
            "loaded": idle * left,
            "left": left,
            "left_low": low,
            "left_high": high,
            "mbps": median(self.rates),
            "idle_mips": self.alone,
            "loaded_mips": self.beside,
        }


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Where the median is that these are a sample of, with a chance of :data:`SURE` or more: between two of them, as
    each of a sample is above the median as often as below. Of fewer than six: from the least to the greatest."""
    ordered, cut, outside = sorted(values), 0, 0.0
    while cut < len(ordered) // 2:
        outside += 2 * comb(len(ordered), cut) / 2 ** len(ordered)
        if outside > 1 - SURE:
            break
        cut += 1
    place = max(cut - 1, 0)
    return ordered[place], ordered[-1 - place]


def measure(begin: Callable[[], int], end: Callable[[], int]) -> Mips:
    """Alternate slices; ``begin`` and ``end`` start and stop the load and return the bytes it has carried so far."""
    from ..cpu.state import CS, row
    from ..machine.machine import Machine

    machine = Machine(RAM_MB)
    machine.write(ORIGIN, PROGRAM)
    c = row(machine.core.cpu)
    c.eip, c.seg_sel[CS], c.seg_base[CS] = ORIGIN, 0, 0
    machine.core.refresh()
    _slice(machine)  # what is compiled and cached on the way is not the option's doing
    found = Mips([_slice(machine)], [], [])
    for _ in range(ROUNDS):
        begin()
        time.sleep(SETTLE)
        before, since = begin(), time.monotonic()
        found.beside.append(_slice(machine))
        found.rates.append((end() - before) * 8e-6 / (time.monotonic() - since))
        _quiet()
        found.alone.append(_slice(machine))
    return found


def _quiet() -> None:
    """Wait until the rest of this process has nothing to do any more."""
    until, calm = time.monotonic() + QUIET_AT_MOST, 0
    while calm < 2 and time.monotonic() < until:
        wall, used = time.monotonic(), time.process_time()
        time.sleep(QUIET_LOOK)
        calm = calm + 1 if time.process_time() - used < QUIET * (time.monotonic() - wall) else 0


def _slice(machine: Any) -> float:
    """Run the PC for a slice; MIPS, less the share that the rest of this process took."""
    count, wall, own, whole = machine.icount, time.monotonic(), time.thread_time(), time.process_time()
    machine.run(timeout=SLICE)
    count, wall = machine.icount - count, time.monotonic() - wall
    own, whole = time.thread_time() - own, time.process_time() - whole
    return count / own * max(0.0, 1 - (whole - own) / wall) / 1e6


def _bind() -> set[int]:
    """Bind this process to one core, where the system can; returns the others, or all where it has one."""
    if not hasattr(os, "sched_setaffinity"):
        return set()
    cores = os.sched_getaffinity(0)
    return cores - {max(cores)} or cores


def _bind_threads(free: set[int]) -> None:
    if not free:
        return
    core = os.sched_getaffinity(0) - free or free
    with contextlib.suppress(OSError):  # a thread that has just ended
        for thread in threading.enumerate():
            if thread.native_id is not None:
                os.sched_setaffinity(thread.native_id, core)


# The other process ------------------------------------------------------------------------------------------------


class Cable:
    """A node that joins a guest to the far end of the cable."""

    def __init__(self, guest: Any, end: SharedMemoryTransport):
        self.guest, self.end = guest, end

    def step(self, now: int) -> None:
        self.end.send(self.guest.nic_tx, now)
        if self.end.received.move_to(self.guest.nic_rx):
            self.end.taken()

    def poll_at(self, now: int) -> int:
        out = len(self.guest.nic_tx) and not self.end.stalled and not self.end.peer_closed
        into = len(self.end.received) and self.guest.nic_rx.has_room(1 << 16)
        return now if out or into else NEVER


@dataclass
class Load:
    """A download at a rate, for as long as it is wanted."""

    carried: int = 0
    wanted: bool = False

    def task(self, guest: Any, connected: threading.Event) -> Any:
        from ..guests.scripted.tasks import sleep_until

        socket = yield from guest.connect("source.lab", 19, guest.now + round(PATIENCE * SECOND))
        connected.set()
        pace = Pace(guest.now)
        while True:
            left = pace.due(guest.now, self.wanted)
            while left > 0 and self.wanted:
                piece = yield from socket.receive(min(left, 65536))
                if not piece:
                    return
                left -= len(piece)
                self.carried += len(piece)
            yield from sleep_until(pace.next(guest.now))


class Pace:
    """How many bytes are due: a rate since load began, whenever one comes to ask. Who is late gets what was missed, so
    that the rate is what it shall be, up to :data:`BEHIND`."""

    def __init__(self, now: int):
        self._paid = now
        """Up to when bytes were asked for."""

    def due(self, now: int, wanted: bool) -> int:
        """Bytes to read now."""
        since = max(self._paid, now - BEHIND) if wanted else now
        number = (now - since) * RATE // SECOND
        self._paid = since + number * SECOND // RATE
        return number

    def next(self, now: int) -> int:
        """When to ask again."""
        return now - now % TICK + TICK


def main() -> None:
    spec = json.loads(sys.stdin.readline())
    if spec["cores"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, spec["cores"])
    from ..compiled.registry import load_all
    from ..guests.scripted.guest import ScriptedGuest

    load_all()
    engine = RealEngine()
    load, connected = Load(), threading.Event()

    def plug_in() -> Any:
        end = SharedMemoryTransport.attach(spec["ticket"])
        engine.on_close(end.close)
        engine.driver.watch(end.wake_fd, end.clear_wake)
        guest = ScriptedGuest(spec["profile"], random.Random(spec["seed"]), engine.now(), mtu=spec["mtu"])
        engine.add(guest, Cable(guest, end))
        return guest

    def say(**answer: Any) -> None:
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()

    try:
        guest = engine.call(plug_in)
        limit = round(PATIENCE * SECOND)
        engine.run(lambda: guest.start(guest.wait_online(limit), "wait-online"), limit)
        engine.call(lambda: guest.start(load.task(guest, connected), "load"))
        if not connected.wait(PATIENCE):
            raise AeroLabError("the guest beside the PC found nothing to download from")
        say(bytes=0)
        for line in sys.stdin:
            load.wanted = json.loads(line)["do"] == "begin"
            say(bytes=load.carried)
    except AeroLabError as error:
        say(error=str(error))
    except (BrokenPipeError, KeyboardInterrupt):
        pass
    finally:
        engine.close()


if __name__ == "__main__":
    main()
