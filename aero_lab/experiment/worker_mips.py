"""What the client part of an option costs an emulated PC that shares its core.

The client process is bound to one core. On it run a bare PC, whose program never waits, and the client part of the
option; the guest whose frames go through that is in a process of its own on another core, because it stands for the
PC's own network stack, which every option has. First the PC runs with the client part idle, then while the guest
downloads at a fixed rate; slices of the two alternate.

From each slice: instructions over the *processor* time of the PC's thread, times the share of the slice that the rest
of the process left it. On a core that the two have to themselves that is instructions over time; what other programs
of the machine take from both does not count.
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
from dataclasses import dataclass, field
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
SLICES, SLICE = 3, 0.25
"""Slices of each kind, and how many seconds each takes."""
SETTLE = 0.1
"""Seconds after load began or ended before anything is measured: buffers drain and fill again."""
RATE = 5_000_000
"""Bytes a second that the guest downloads meanwhile: 40 Mbit/s."""
TICK = 10 * MS
"""The download is read so often, as much as is due: TCP's window then holds back the sender."""
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
    """What came of a measurement."""

    idle: float = 0.0
    """Million instructions a second of the PC alone."""
    loaded: float = 0.0
    """The same beside the client part."""
    mbps: float = 0.0
    """What the guest downloaded meanwhile, Mbit/s: less than :data:`RATE` where the option cannot carry it here."""
    details: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {"idle": self.idle, "loaded": self.loaded, "mbps": self.mbps, **self.details}


def measure(begin: Any, end: Any) -> Mips:
    """Alternate slices; ``begin`` and ``end`` start and stop the load and return the bytes it has carried so far."""
    from ..cpu.state import CS, row
    from ..machine.machine import Machine

    machine = Machine(RAM_MB)
    machine.write(ORIGIN, PROGRAM)
    c = row(machine.core.cpu)
    c.eip, c.seg_sel[CS], c.seg_base[CS] = ORIGIN, 0, 0
    machine.core.refresh()
    _slice(machine)  # what is compiled and cached on the way is not the option's doing
    idle, loaded, rates = [], [], []
    for _ in range(SLICES):
        idle.append(_slice(machine))
        begin()
        time.sleep(SETTLE)
        before, since = begin(), time.monotonic()
        loaded.append(_slice(machine))
        rates.append((end() - before) * 8e-6 / (time.monotonic() - since))
        time.sleep(SETTLE)
    details = {"idle_mips": idle, "loaded_mips": loaded}
    return Mips(median(idle), median(loaded), median(rates), details)


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
        while True:
            due = guest.now + TICK
            left = RATE * TICK // SECOND if self.wanted else 0
            while left > 0:
                piece = yield from socket.receive(min(left, 65536))
                if not piece:
                    return
                left -= len(piece)
                self.carried += len(piece)
            yield from sleep_until(max(due, guest.now))


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
