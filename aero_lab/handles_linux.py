"""The Linux guest as the user handles it: Debian on the emulated PC.

It has no network card yet, so nothing of it passes through the lab's network: what it has is a console, a shell, and
the machine it runs on.
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from . import handles
from .errors import UsageError
from .handles import Guest
from .handles_qemu import Qemu

if TYPE_CHECKING:
    from .guests.linux.guest import LinuxGuest
    from .guests.linux.session import Completed
    from .lab import Lab
    from .machine.machine import Machine
    from .widgets.console import ConsoleView

OPTIONS = {"clock", "ram_mb", "seed", "kernel", "initrd", "cmdline", "fresh", "progress"}
"""What :func:`open_linux` takes."""
NO_NIC = "this guest has no network card: it is a PC with a console"


class Linux(Guest):
    """A Linux on the emulated PC, resumed from the snapshot of its first boot."""

    kind = "linux"
    networked = False
    _host: LinuxGuest

    @classmethod
    def plug_in(cls, lab: Lab, name: str, number: int, options: dict[str, Any]) -> Linux:
        clock = options.pop("clock", "instructions" if lab.virtual else "host")
        if lab.virtual and clock == "host":
            raise UsageError("in a lab in virtual time a machine's clock is its instructions")
        if unknown := sorted(set(options) - OPTIONS):
            what = f"{NO_NIC}, yet" if "nic" in unknown else f"a linux guest has no option {unknown[0]}"
            raise UsageError(f"{what}; there is {', '.join(sorted(OPTIONS))}")
        guest = cls(lab, name, open_linux(clock=clock, **options), None, None, ())
        weakref.finalize(guest, guest._host.close)
        lab._engine.on_close(guest._host.close)
        return guest

    def run(self, workload: str, *, timeout: float | None = None, **parameters: Any) -> Completed:
        """Run a shell command in the guest and wait for it.

        Parameters
        ----------
        workload: the command, in a shell of its own without input.
        timeout: seconds, 60 by default; then the command is ended and an error raised.

        Returns
        -------
        An object with ``output`` (text) and ``status`` (a number).
        """
        if parameters:
            raise UsageError(f"a command takes no {', '.join(parameters)}")
        return self._host.run(workload, timeout=60.0 if timeout is None else timeout)

    @property
    def console(self) -> ConsoleView:
        """The serial console: a widget that scrolls live and takes input."""
        from .widgets.console import ConsoleView

        if self._view is None:
            self._view = ConsoleView(self._host)
        return self._view

    _view: ConsoleView | None = None

    @property
    def machine(self) -> Machine:
        """The PC itself: registers, screenshot, disassembly, breakpoints, snapshots."""
        return self._host.machine

    @property
    def text(self) -> str:
        """What stands on the console, from power-on, as far as it is kept."""
        return self._host.text

    def type(self, text: str | bytes) -> None:
        """Type on the console."""
        self._host.type(text)

    def paused(self) -> Any:
        """A context in which the machine stands still: to save, fork or step it."""
        return self._host.paused()

    def save(self, path: str | os.PathLike[str]) -> int:
        """Write the whole machine to a file; its size. :meth:`aero_lab.Machine.load` reads it."""
        return self._host.save(path)

    def fork(self) -> LinuxGuest:
        """Another guest that goes on from here by itself, outside of the lab."""
        return self._host.fork()

    def close(self) -> None:
        """Stop the machine."""
        self._host.close()

    @property
    def lan(self) -> NoReturn:
        raise UsageError(NO_NIC)

    @property
    def mac(self) -> NoReturn:
        raise UsageError(NO_NIC)

    @property
    def address(self) -> None:
        return None

    @property
    def address6(self) -> None:
        return None

    @property
    def tunnel(self) -> dict[str, int]:
        return {}

    @property
    def counters(self) -> dict[str, int]:
        return {}

    def snapshot(self) -> NoReturn:
        raise UsageError(f"{NO_NIC}; save(path) writes the machine")

    def wait_online(self, timeout: float = 60.0) -> NoReturn:
        raise UsageError(NO_NIC)

    def relink(self) -> NoReturn:
        raise UsageError(NO_NIC)

    def __repr__(self) -> str:
        return f"<Guest {self.name}: Linux on the emulated PC, {self._host.state}>"


def open_linux(
    *,
    clock: str = "host",
    ram_mb: int | None = None,
    seed: int = 0,
    kernel: str | os.PathLike[str] | None = None,
    initrd: str | os.PathLike[str] | None = None,
    cmdline: str | None = None,
    fresh: bool = False,
    progress: bool = True,
) -> LinuxGuest:
    """A Linux guest without a lab; fetched, built and booted when that was never done.

    Parameters
    ----------
    clock: ``"host"``: it runs by itself, in a thread of its own; ``"instructions"``: it runs while it is asked
        something, the same each time.
    ram_mb: memory in megabytes, 128 by default.
    seed: of the machine.
    kernel, initrd, cmdline: your own instead of those of the image; the shell must prompt with ``"/ # "``.
    fresh: boot now, even where a snapshot could be resumed.
    progress: show bars.
    """
    from .compiled.registry import warmup
    from .guests.image.fetch import get_image
    from .guests.linux.boot import RAM_MB, Boot
    from .guests.linux.guest import LinuxGuest

    if clock not in ("host", "instructions"):
        raise UsageError(f"clock must be 'host' or 'instructions', not {clock!r}")
    changes: dict[str, Any] = {"ram_mb": RAM_MB if ram_mb is None else ram_mb, "seed": seed}
    if cmdline is not None:
        changes["cmdline"] = cmdline
    if kernel is None:
        image = get_image()
        boot = Boot(image.kernel, Path(initrd) if initrd is not None else image.initrd, **changes)
    else:
        boot = Boot(Path(kernel), Path(initrd) if initrd is not None else None, **changes)
        boot.check()
    warmup(progress, "cpu")
    start = boot.start if fresh else boot.resume
    return LinuxGuest(start(clock=clock, progress=progress))


HANDLES: dict[str, type[Guest]] = {**handles.HANDLES, "linux": Linux, "qemu": Qemu}
"""Kinds of guests by name."""
