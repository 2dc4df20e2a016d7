"""``bench cpu``: millions of guest instructions a second, bare and under Linux, beside other PC emulators.

Bare-metal programs (``bare/``) are boot sectors. The Linux cases need the image that ``aero-lab guest fetch linux`` and
``aero-lab guest build linux`` make, and type the same commands at the same shell everywhere. How many instructions
a piece of work takes is known from our own run, which is the same every time; each emulator's figure is that number
over the processor time of its process, ours over that of the measuring thread. ``boot`` in seconds is processor time
too: for us from the kernel's entry to the shell's prompt, for the others from the kernel's first line on, so that
unpacking it is not in it.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import AeroLabError
from .bare.ours import END, START, BareRun
from .bare.programs import RESULTS, image
from .emulators import EMULATORS, Emulator, SerialProcess
from .report import Progress, Result, chosen

if TYPE_CHECKING:
    from ..machine.machine import Machine

SAMPLES = 3
MOST = 1 << 36
"""Instructions after which a bare program is given up."""
PROMPT = b"/ # "
FIRST_LINE = b"Linux version"
EARLY = " earlyprintk=serial,ttyS0,115200"
"""What makes a kernel speak from its first line on."""
PREPARE = "for i in 1 2 3 4; do cat /bin/busybox; done > /tmp/z; cp /tmp/z /tmp/y"
GUEST_SECONDS = 120
"""Guest time a command may take."""


@dataclass(frozen=True)
class Case:
    name: str
    command: str | None = None
    """What is typed at the guest's shell; None for bare-metal programs and the boot."""


CASES = (
    Case("boot"),
    Case("md5", "md5sum /tmp/z /tmp/y"),
    Case("sha256", "sha256sum /tmp/z"),
    Case("gzip", "gzip -c /bin/busybox > /dev/null"),
    Case("shell", "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done"),
    *(Case(name) for name in RESULTS),
)


def chosen_cases(names: Sequence[str] | None) -> list[Case]:
    return chosen(CASES, names)


@dataclass
class Samples:
    """What one case gave: ours, and each peer's by name; and why there is nothing from a peer."""

    ours: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    peers: dict[str, list[float]] = field(default_factory=dict)
    peer_seconds: dict[str, list[float]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def results(self, case: str, peers: Sequence[Emulator], why: str | None = None) -> list[Result]:
        names = [p.name for p in peers] or [None]
        out = []
        for name in names:
            reason = why or (self.reasons.get(name) if name else None)
            found = self.peers.get(name, []) if name else []
            out.append(Result(case, "MIPS", self.ours, name, found, reason if not found else None))
        if case == "boot":
            for name in names:
                reason = why or (self.reasons.get(name) if name else None)
                found = self.peer_seconds.get(name, []) if name else []
                result = Result(case, "s", self.seconds, name, found, reason if not found else None)
                result.more_is_better = False
                out.append(result)
        return out

    def peer(self, peer: Emulator, work: Callable[[], tuple[int, float]]) -> None:
        """Take a sample of a peer that has not failed yet."""
        if peer.name in self.reasons:
            return
        try:
            instructions, seconds = work()
            if not seconds > 0:  # the system counts in ticks of some milliseconds
                raise AeroLabError("done before its time could be measured; give it more --seconds")
        except (AeroLabError, OSError) as error:
            self.reasons[peer.name] = f"{peer.name}: {error}"
            self.peers.pop(peer.name, None)
            self.peer_seconds.pop(peer.name, None)
            return
        self.peers.setdefault(peer.name, []).append(instructions / seconds / 1e6)
        self.peer_seconds.setdefault(peer.name, []).append(seconds)


class Bare:
    """One bare-metal program: how many instructions its rounds take, here and elsewhere."""

    def __init__(self, name: str, seconds: float):
        self.name, self.seconds = name, seconds / SAMPLES
        one, two = (self._ours(rounds) for rounds in (1, 2))
        self.round = two.instructions - one.instructions
        self.rest = one.instructions - self.round
        self._mips: dict[str, float] = {"": two.instructions / two.seconds / 1e6}

    def _ours(self, rounds: int) -> BareRun:
        done = BareRun(image(self.name, rounds)).run(MOST)
        if done.result != RESULTS[self.name]:
            raise AeroLabError(f"{self.name} came to {done.result:#x}, not {RESULTS[self.name]:#x}")
        return done

    def _rounds(self, who: str) -> int:
        return max(1, round(self._mips[who] * 1e6 * self.seconds / self.round))

    def ours(self) -> float:
        done = self._ours(self._rounds(""))
        self._mips[""] = done.instructions / done.seconds / 1e6
        return self._mips[""]

    def peer(self, peer: Emulator) -> tuple[int, float]:
        """A sample of a peer, whose speed is found out first."""
        if peer.name not in self._mips:
            self._mips[peer.name] = self._mips[""] / 4
            instructions, seconds = self._peer(peer)
            self._mips[peer.name] = instructions / max(seconds, 1e-3) / 1e6
        return self._peer(peer)

    def _peer(self, peer: Emulator) -> tuple[int, float]:
        rounds = self._rounds(peer.name)
        with tempfile.TemporaryDirectory() as folder:
            sector = Path(folder, "sector")
            sector.write_bytes(image(self.name, rounds))
            with peer.bare(sector) as running:
                begin, _ = running.wait(START)
                end, _ = running.wait(END)
                wanted = f"{RESULTS[self.name]:08x}".encode()
                running.wait(wanted)
        return self.rest + rounds * self.round, end - begin


def typed(command: str, number: int) -> tuple[bytes, bytes]:
    """What is typed to run a command, and what comes out when it is done; the mark is not in what is echoed."""
    return f"{command}; echo DO''NE-{number}\n".encode(), f"DONE-{number}".encode()


class OurLinux:
    """The guest on our machine, at its prompt."""

    def __init__(self, boot: Any):
        self.boot = boot
        self.machine: Machine | None = None
        self._number = 0

    def start(self) -> tuple[int, float]:
        """Boot: instructions and processor seconds from the kernel's entry to the prompt."""
        machine = self.boot.power_on()
        begin = time.thread_time()
        stop = machine.run(until=PROMPT, instructions=MOST)
        seconds = time.thread_time() - begin
        if stop != "text":
            raise AeroLabError(f"the guest did not boot: {stop.meaning}")
        if self.machine is None:
            self.machine = machine
            self.type(PREPARE)
        return machine.icount, seconds

    def type(self, command: str) -> tuple[int, float]:
        """Run a command: instructions and processor seconds."""
        if self.machine is None:
            self.start()
        assert self.machine is not None
        self._number += 1
        text, mark = typed(command, self._number)
        before, begin = self.machine.icount, time.thread_time()
        self.machine.console.write(text)
        stop = self.machine.run(until=mark, ns=GUEST_SECONDS * 10**9)
        seconds = time.thread_time() - begin
        if stop != "text":
            raise AeroLabError(f"{command!r} did not end in the guest: {stop.meaning}")
        done = self.machine.icount - before
        self.machine.run(until=PROMPT, ns=10**9)
        return done, seconds


class PeerLinux:
    """The same guest elsewhere."""

    def __init__(self, peer: Emulator, boot: Any):
        self.peer, self.boot = peer, boot
        self.running: SerialProcess | None = None
        self._number = 0

    def start(self) -> float:
        running = self.peer.boot(self.boot.kernel, self.boot.initrd, self.boot.cmdline + EARLY)
        keep = False
        try:
            begin, _ = running.wait(FIRST_LINE)
            end, _ = running.wait(PROMPT)
            keep = self.running is None
        finally:
            if not keep:
                running.__exit__()
        if keep:
            self.running = running
            self.type(PREPARE)
        return end - begin

    def type(self, command: str) -> float:
        if self.running is None:
            self.start()
        assert self.running is not None
        self._number += 1
        text, mark = typed(command, self._number)
        seen = len(self.running.output)
        begin, _ = self.running.wait(b"")
        self.running.send(text)
        end, _ = self.running.wait(mark, seen)
        self.running.wait(PROMPT, self.running.output.find(mark, seen))
        return end - begin

    def sample(self, command: str | None, instructions: int) -> tuple[int, float]:
        """What is known to take so many instructions, or the boot, and the processor seconds that it took."""
        return instructions, self.type(command) if command else self.start()

    def close(self) -> None:
        if self.running is not None:
            self.running.__exit__()


def linux_boot() -> tuple[Any, str | None]:
    """How the kept Linux image boots, or why it cannot."""
    from ..guests.image.store import Store
    from ..guests.linux.boot import Boot

    found = Store().image()
    if found is None:
        return None, "no Linux image here: aero-lab guest fetch linux, then aero-lab guest build linux"
    return Boot.of(found), None


def measure(seconds: float, cases: Sequence[str] | None, peers: bool, progress: Progress | None = None) -> list[Result]:
    """Measure the chosen cases; bare-metal programs run ``seconds`` each, in all their samples, Linux's as long as they
    take."""
    selected = chosen_cases(cases)
    others = EMULATORS if peers else ()
    reasons = {p.name: why for p in others if (why := p.missing())}
    results: list[Result] = []
    boot, why = linux_boot() if any(c.name not in RESULTS for c in selected) else (None, None)
    with contextlib.ExitStack() as stack:
        ours = OurLinux(boot)
        theirs = {p.name: PeerLinux(p, boot) for p in others if boot is not None}
        for other in theirs.values():
            stack.callback(other.close)
        for done, case in enumerate(selected):
            if progress is not None:
                progress(done, len(selected), case.name)
            samples = Samples(reasons=dict(reasons))
            if case.name in RESULTS:
                bare = Bare(case.name, seconds)
                for _ in range(SAMPLES):
                    samples.ours.append(bare.ours())
                    for p in others:
                        samples.peer(p, partial(bare.peer, p))
                results += samples.results(case.name, others)
                continue
            if boot is not None:
                for p in others:
                    if not p.linux:
                        samples.reasons.setdefault(p.name, f"{p.name} {p.why_no_linux}")
                for _ in range(SAMPLES):
                    count, spent = ours.type(case.command) if case.command else ours.start()
                    samples.ours.append(count / spent / 1e6)
                    samples.seconds.append(spent)
                    for p in others:
                        samples.peer(p, partial(theirs[p.name].sample, case.command, count))
            results += samples.results(case.name, others, why)
    if progress is not None:
        progress(len(selected), len(selected), "")
    return results
