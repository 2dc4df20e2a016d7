"""A guest's serial console in this process's terminal."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...errors import UsageError

if TYPE_CHECKING:
    from ...machine.machine import Machine, Stop

LEAVE = b"\x1d"
"""Control-], as telnet has it: the one key that is not the guest's."""


def attach(machine: Machine, keyboard: int = 0, screen: int = 1) -> Stop:
    """Run ``machine`` with the terminal as its console, until the guest ends it or control-] is typed.

    Parameters
    ----------
    keyboard, screen: descriptors; the first must be a terminal.
    """
    if not os.isatty(keyboard):
        raise UsageError("a console needs a terminal to type in; give a command to run instead")
    left = threading.Event()
    cancel = machine.console.subscribe(lambda data: _write(screen, data))
    reader = threading.Thread(target=_type, args=(machine, keyboard, left), name="aero-lab terminal", daemon=True)
    try:
        with _raw(keyboard):
            reader.start()
            return machine.run(until=lambda _: left.is_set())
    finally:
        cancel()
        left.set()
        reader.join()


def _type(machine: Machine, keyboard: int, left: threading.Event) -> None:
    while not left.is_set():
        if not select.select([keyboard], [], [], 0.1)[0]:
            continue
        data = os.read(keyboard, 1024)
        typed, leave, _ = data.partition(LEAVE)
        if typed:
            machine.console.write(typed)
        if leave or not data:
            left.set()
            machine.stop()


def _write(screen: int, data: bytes) -> None:
    while data:
        data = data[os.write(screen, data) :]


@contextlib.contextmanager
def _raw(keyboard: int) -> Iterator[None]:
    """The terminal hands over every key as it is, and is what it was afterwards."""
    before = termios.tcgetattr(keyboard)
    try:
        tty.setraw(keyboard)
        yield
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
        print(file=sys.stderr)
