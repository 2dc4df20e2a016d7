"""A Linux under QEMU with its NIC in a lab: a node, and a shell on the serial console."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

from ...bounds import QEMU_BOOT_PATIENCE
from ...errors import AeroLabError, UsageError
from ...rings import FrameRing
from ..linux.guest import LiveLine
from ..linux.session import Completed, NoAnswer, Session, printable
from .command import Pc
from .machine import QemuMachine
from .nic import StreamNic

PROMPT = b"/ # "
"""What the image's shell says once it is there."""


class BootFailed(AeroLabError):
    """The guest did not reach its prompt. ``console`` is what it printed."""

    def __init__(self, message: str, console: str):
        super().__init__(message)
        self.console = console


class QemuGuest:
    """A Linux under QEMU whose shell stands at its prompt, once :meth:`boot` has returned. A node.

    Parameters
    ----------
    pc: kernel, command line, network card.
    program: which QEMU.
    netdev: what the NIC is connected to instead of a lab, in QEMU's words: then this is no node.
    """

    name = "qemu"
    live = True

    def __init__(self, pc: Pc, program: str | None = None, netdev: str | None = None):
        self.mac = pc.mac
        self.machine = QemuMachine(pc, program, netdev)
        """The :class:`~aero_lab.guests.qemu.machine.QemuMachine`."""
        self.nic = StreamNic(self.machine.frames, pc.mtu) if self.machine.frames is not None else None
        self._line = LiveLine(self.machine)  # type: ignore[arg-type]
        self._session = Session(self._line)
        self._turn = threading.Lock()
        self._actions: list[Callable[[], None]] = []

    def boot(self, timeout: float = QEMU_BOOT_PATIENCE) -> None:
        """Wait until the guest's shell is there; :class:`BootFailed` when it does not come."""
        until = time.monotonic() + timeout
        while PROMPT not in self.machine.console.since(0):
            if self.machine.ended or time.monotonic() > until:
                raise BootFailed(f"the guest did not get to its prompt: {self._trouble(timeout)}", self.text)
            self._line.wait(PROMPT, 0, 0.2)

    def _trouble(self, timeout: float) -> str:
        if self.machine.ended and self.machine.why:
            return f"QEMU ended: {self.machine.why}"
        last = [line for line in self.text.splitlines() if line.strip()][-1:]
        said = f"the last line on its console: {last[0].strip()!r}" if last else "its console is empty"
        return f"{'QEMU ended' if self.machine.ended else f'not within {timeout:g} s'}; {said}"

    # A node ---------------------------------------------------------------------------------------------------------

    @property
    def nic_tx(self) -> FrameRing:
        """Frames from the guest."""
        assert self.nic is not None
        return self.nic.nic_tx

    @property
    def nic_rx(self) -> FrameRing:
        """Frames to the guest."""
        assert self.nic is not None
        return self.nic.nic_rx

    def number_frames(self, first: int) -> None:
        """Give the guest's frames the identities behind ``first``."""
        assert self.nic is not None
        self.nic.number_frames(first)

    def attach(self, driver: Any) -> None:
        """Join a driver's loop, on its thread; then it may be added as a node."""
        assert self.nic is not None
        self.nic.attach(driver)

    def step(self, now: int) -> None:
        assert self.nic is not None
        self.nic.step(now)

    def poll_at(self, now: int) -> int:
        assert self.nic is not None
        return self.nic.poll_at(now)

    def set_link(self, up: bool) -> None:
        """Pull the cable, or plug it in: the guest's driver notices."""
        self._check()
        self.machine.set_link(up)

    def relink(self) -> None:
        """Pull the cable and plug it in again. Does not wait."""

        def relink() -> None:
            with contextlib.suppress(AeroLabError):  # it was closed meanwhile
                self.machine.set_link(False)
                self.machine.set_link(True)

        threading.Thread(target=relink, name="aero-lab-relink", daemon=True).start()

    @property
    def nic_counters(self) -> dict[str, int]:
        """Frames and bytes as they passed the NIC's socket."""
        return self.nic.counters if self.nic is not None else {}

    # Running --------------------------------------------------------------------------------------------------------

    def run(self, command: str, *, timeout: float = 60.0) -> Completed:
        """Run a shell command in the guest, and wait for it.

        Each command has a shell of its own, without input.

        Parameters
        ----------
        timeout: seconds; then the command is ended, and :class:`~aero_lab.guests.linux.session.NoAnswer` raised.
        """
        self._check()
        if not timeout > 0:
            raise UsageError(f"timeout must be more than 0 seconds, not {timeout}")
        with self._turn:
            try:
                return self._session.run(command, timeout)
            except NoAnswer as error:
                if self.machine.ended:
                    raise NoAnswer("the machine has stopped") from error
                raise

    @property
    def busy(self) -> bool:
        """Whether a command runs."""
        return self._turn.locked()

    def type(self, text: str | bytes) -> None:
        """Type on the console."""
        self._check()
        self.machine.console.write(text)

    def answer(self, text: str | bytes, ns: int) -> None:
        """Type, if there is somebody to type to."""
        if not self.machine.ended and not self.machine.closed:
            self.machine.console.write(text)

    @property
    def text(self) -> str:
        """What stands on the console, from power-on, as far as it is kept."""
        return printable(self.machine.console.since(0))

    def _check(self) -> None:
        if self.machine.closed:
            raise UsageError("this guest is closed")
        if self.machine.ended:
            why = self.machine.why
            raise NoAnswer("the machine has stopped" + (f": {why}" if why else ""))

    @property
    def state(self) -> str:
        """What it is doing, in a word or two."""
        return "closed" if self.machine.closed else "ended" if self.machine.ended else "running"

    # Life -----------------------------------------------------------------------------------------------------------

    def on_close(self, action: Callable[[], None]) -> None:
        """Have something done when the guest is closed."""
        self._actions.append(action)

    def close(self) -> None:
        """End QEMU; on the driver's thread where the guest is a node. May be called twice."""
        if self.nic is not None:
            self.nic.close()
        self.machine.close()
        while self._actions:
            self._actions.pop()()

    def __enter__(self) -> QemuGuest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<QemuGuest {self.state}: {self.machine!r}>"
