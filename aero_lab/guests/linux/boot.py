"""From an image to a machine that stands at its shell's prompt: booted once, resumed ever after.

A snapshot lies in the store beside the images, under a name made of everything it depends on: kernel, initrd, command
line, memory, and the code of machine and processor. It is taken in instruction-count time, so it is the same wherever
it was made, and goes on by whichever clock is asked for.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...compiled.cache import source_digest
from ...errors import AeroLabError, UsageError
from ...machine.boot import CONSOLE, TUNED, linux
from ...nic.models import MODELS, check_model, make_nic
from ..image.store import Image, Store, digest

if TYPE_CHECKING:
    from ...machine.machine import Machine

NO_DHCP = "dhcp=no"
"""Tells the image's init to leave the network alone: a lease belongs to the lab in which the guest goes on."""
PROMPT = b"/ # "
"""What the image's shell says once it is there."""
SETTLE = 50_000_000
"""Nanoseconds of guest time after the prompt: the shell is then waiting for its first key."""
BOOT_MOST = 20_000_000_000
"""Instructions after which a boot is given up: sixty times what it takes."""
BOOT_USUAL = 268_000_000
"""Instructions a boot takes, for the progress bar."""
SNAPSHOTS = 4
"""Snapshots kept; the one that was not used for longest goes first. Each has some 10 MB."""
RAM_MB = 128
"""Memory of a guest by default. The kernel takes 30 MB of it."""
ROOM = Path("snapshots")


class BootFailed(AeroLabError):
    """The guest did not reach its prompt. ``console`` is what it printed."""

    def __init__(self, message: str, console: str):
        super().__init__(message)
        self.console = console


@dataclass(frozen=True)
class Boot:
    """What a boot depends on.

    Parameters
    ----------
    kernel, initrd: files.
    cmdline: the kernel's command line.
    ram_mb: memory of the machine, in megabytes.
    seed: of the machine.
    ready: text on the console that says the guest is ready.
    nic: model of its network card; it has none unless told so. The snapshot has the driver loaded and no address yet.
    """

    kernel: Path
    initrd: Path | None
    cmdline: str = f"{CONSOLE} {TUNED}"
    ram_mb: int = RAM_MB
    seed: int = 0
    ready: bytes = PROMPT
    nic: str | None = None

    @classmethod
    def of(cls, image: Image, **changes: Any) -> Boot:
        """Booting an image of the store."""
        return cls(image.kernel, image.initrd, **changes)

    @property
    def key(self) -> str:
        """Name of what comes of it."""
        hashed = hashlib.sha256()
        parts = [
            source_digest("aero_lab.machine.machine"),
            self.cmdline,
            str(self.ram_mb),
            str(self.seed),
            self.ready.hex(),
        ]
        if self.nic is not None:
            check_model(self.nic)
            parts += [self.nic, source_digest(MODELS[self.nic].partition(":")[0])]
        for path in (self.kernel, self.initrd):
            try:
                parts.append(digest(path) if path is not None else "none")
            except OSError as error:
                raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
        for part in parts:
            hashed.update(part.encode() + b"\0")
        return hashed.hexdigest()[:20]

    @property
    def line(self) -> str:
        """The kernel's command line as it gets it."""
        return self.cmdline if self.nic is None else f"{self.cmdline} {NO_DHCP}"

    def check(self) -> None:
        """Raise :class:`UsageError` for files that cannot be booted; quick, and compiles nothing."""
        if self.nic is not None:
            check_model(self.nic)
        linux(self.kernel, self.initrd, self.line, ram_bytes=self.ram_mb << 20)

    def power_on(self, clock: str = "instructions") -> Machine:
        """A machine about to enter the kernel."""
        from ...machine.machine import Machine

        nics = [make_nic(self.nic)] if self.nic is not None else []
        machine = Machine(self.ram_mb, clock, self.seed, nics=nics)
        machine.load_linux(self.kernel, self.initrd, self.line)
        return machine

    def start(self, clock: str = "instructions", progress: bool = False) -> Machine:
        """A machine that has just booted, to its prompt; :class:`BootFailed` when it does not get there."""
        machine = self.power_on(clock)
        with _bar(machine, progress):
            stop = machine.run(until=self.ready, instructions=BOOT_MOST)
        if stop != "text":
            last = [line for line in machine.console.text.splitlines() if line.strip()][-1:]
            said = f"; the last line on its console: {last[0].strip()!r}" if last else "; its console is empty"
            raise BootFailed(f"the guest did not get to its prompt: {stop.meaning}{said}", machine.console.text)
        machine.run(ns=SETTLE)
        return machine

    def resume(self, store: Store | None = None, clock: str = "instructions", progress: bool = False) -> Machine:
        """A machine at its prompt from the snapshot of an earlier boot; booted now when there is none, and kept."""
        from ...machine.machine import Machine

        store = store or Store()
        path = store.root / ROOM / f"{self.key}.machine"
        machine = _load(Machine, path, clock)
        if machine is not None:
            return machine
        with store.locked():
            machine = _load(Machine, path, clock)  # another process may have made it meanwhile
            if machine is None:
                path.parent.mkdir(parents=True, exist_ok=True)
                self.start(progress=progress).save(path)
                _forget_old(path)
                machine = Machine.load(path, clock)
        return machine


def _load(kind: type[Machine], path: Path, clock: str) -> Machine | None:
    """The machine in a file; None when there is none, or what is there is of no use any more."""
    if not path.is_file():
        return None
    try:
        machine = kind.load(path, clock)
    except UsageError:
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return machine


def _forget_old(newest: Path) -> None:
    with contextlib.suppress(OSError):
        others = sorted(newest.parent.glob("*.machine"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in others[SNAPSHOTS:]:
            path.unlink()


@contextlib.contextmanager
def _bar(machine: Machine, progress: bool) -> Iterator[None]:
    """A progress bar of instructions, with the kernel's latest words."""
    if not progress:
        yield
        return
    from tqdm.auto import tqdm

    with tqdm(total=BOOT_USUAL, desc="booting", unit=" instructions", unit_scale=True, leave=False) as bar:

        def show(data: bytes) -> None:
            bar.update(max(min(machine.icount, BOOT_USUAL) - bar.n, 0))

        cancel = machine.console.subscribe(show)
        try:
            yield
        finally:
            cancel()
