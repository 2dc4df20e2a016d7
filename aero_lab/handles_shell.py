"""Guests with a shell, as the user handles them: what a Linux on the emulated PC and one under QEMU have in common.

Whatever it runs on, such a guest is told what to do over its serial console: shell commands, and the same workloads by
name that every other guest runs.
"""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING, Any

from .engine import TimedOut
from .errors import AeroLabError, UsageError
from .handles import Guest

if TYPE_CHECKING:
    from .guests.linux.session import Completed
    from .guests.scripted.workloads import WorkloadResult
    from .widgets.console import ConsoleView

COMMAND_PATIENCE = 60.0
"""Seconds that a command may take unless told otherwise."""
ASK_PATIENCE = 30.0
"""Seconds for the guest's own tools to say what an address is."""
ASK_EVERY = 0.1
"""Seconds between two questions of that kind, of the guest's time."""
ONLINE = 30.0
"""Seconds that a guest which was plugged in is given to get a lease, before anything is asked of it."""
INTERFACE = "eth0"


class Shell(Guest):
    """A guest with a serial console and a shell on it."""

    _view: ConsoleView | None = None
    _address: str | None = None
    _address6: str | None = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy of the lab has no view of the console open."""
        return {**vars(self), "_view": None}

    def run(self, workload: str, *, timeout: float | None = None, **parameters: Any) -> Any:
        """Run a workload by name, or else a shell command, and wait for it.

        Parameters
        ----------
        workload: ``"download"``, ``"upload"``, ``"parallel"``, ``"source"``, ``"sink"``, ``"burst"``, ``"rr"``,
            ``"ping"`` or ``"dns"`` alone is that workload; anything else is a command (:meth:`sh`).
        timeout: seconds; an hour for a workload and 60 for a command by default. Then it is ended and an error raised.
        parameters: of the workload, such as ``size="10MB"``, and ``family=6`` for IPv6; a command takes none.

        Returns
        -------
        A :class:`~aero_lab.guests.scripted.workloads.WorkloadResult`, or what :meth:`sh` returns.
        """
        from .guests.shell import workloads

        if workload in workloads.NAMES:
            return self._workload(workload, timeout, parameters)
        if parameters:
            known = ", ".join(workloads.WORKLOADS)
            raise UsageError(f"{workload!r} is none of the workloads {known}; a command takes no {_list(parameters)}")
        return self.sh(workload, timeout=timeout)

    def sh(self, command: str, *, timeout: float | None = None) -> Completed:
        """Run a shell command in the guest and wait for it.

        Parameters
        ----------
        command: for a shell of its own without input.
        timeout: seconds, 60 by default; then the command is ended and an error raised.

        Returns
        -------
        An object with ``output`` (text) and ``status`` (a number).
        """
        return self._host.run(command, timeout=COMMAND_PATIENCE if timeout is None else timeout)

    def _workload(self, name: str, timeout: float | None, parameters: dict[str, Any]) -> WorkloadResult:
        from .guests.linux.session import NotDone
        from .guests.shell import workloads

        try:
            return workloads.run(self._host.run, name, parameters, timeout)
        except NotDone:
            raise TimedOut(f"{name}: not done within {timeout or workloads.PATIENCE:g} s") from None

    # The console ----------------------------------------------------------------------------------------------------

    @property
    def console(self) -> ConsoleView:
        """The serial console: a widget that scrolls live and takes input."""
        from .widgets.console import ConsoleView

        if self._view is None:
            self._view = ConsoleView(self._host)
        return self._view

    @property
    def text(self) -> str:
        """What stands on the console, from power-on, as far as it is kept."""
        return self._host.text

    def type(self, text: str | bytes) -> None:
        """Type on the console."""
        self._host.type(text)

    def close(self) -> None:
        """Switch it off."""
        self._host.close()

    # The network ----------------------------------------------------------------------------------------------------

    @property
    def address(self) -> str | None:
        """IPv4 address, None before there is one. The guest is asked for it as long as it has none."""
        if self._address is None:
            self._ask()
        return self._address

    @property
    def address6(self) -> str | None:
        """IPv6 address that reaches beyond the link, None before a router advertised its prefix."""
        if self._address6 is None:
            self._ask()
        return self._address6

    def _ask(self) -> None:
        """Have the guest's own tools say what addresses it has, unless it is busy with something else."""
        if getattr(self._host, "busy", False):
            return
        try:
            said = self._host.run(f"ip -o addr show dev {INTERFACE} scope global", timeout=ASK_PATIENCE).output
        except AeroLabError:
            return
        found4, found6 = addresses(said)
        self._address, self._address6 = found4 or self._address, found6 or self._address6

    def wait_online(self, timeout: float = 60.0, family: int = 4) -> str:
        """Wait until the guest has an address of this family that reaches beyond the link; returns it."""
        until = self._clock() + timeout
        while True:
            said = self._host.run(f"ip -o addr show dev {INTERFACE} scope global", timeout=ASK_PATIENCE).output
            self._address, self._address6 = addresses(said)
            found = self._address6 if family == 6 else self._address
            if found is not None:
                return found
            if self._clock() > until:
                raise TimedOut(f"no IPv{family} address within {timeout:g} s")
            self._host.run(f"sleep {ASK_EVERY}", timeout=ASK_PATIENCE)

    def _get_online(self) -> None:
        """Once its network is there: give it time for a lease."""
        with contextlib.suppress(TimedOut):
            self.wait_online(ONLINE)

    def _clock(self) -> float:
        """Seconds of the lab's clock."""
        return self._lab.now / 1e9 if self._lab.virtual else time.monotonic()

    def set_link(self, up: bool) -> None:
        """Pull the cable out of the network card, or plug it in; the guest's driver notices."""
        self._host.set_link(up)


def addresses(said: str) -> tuple[str | None, str | None]:
    """IPv4 and IPv6 address in what ``ip -o addr`` prints, those left out that are not usable yet."""
    lines = [line for line in said.splitlines() if " tentative" not in line and " dadfailed" not in line]
    found = [re.search(rf"\b{family} ([0-9a-f.:]+)/", line) for family in ("inet", "inet6") for line in lines]
    texts = [match[1] for match in found if match]
    return next((t for t in texts if "." in t), None), next((t for t in texts if ":" in t), None)


def _list(parameters: dict[str, Any]) -> str:
    return ", ".join(parameters)
