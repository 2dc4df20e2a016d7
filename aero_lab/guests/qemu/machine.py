"""A PC under QEMU as its owner holds it: a process, its serial console, its control channel.

Three connected Unix sockets go to QEMU as descriptors, so there is no path that somebody else could open, and no file
to be left behind: serial port, control (QMP), and the NIC's frames. A fourth goes to :mod:`.watch`, which ends QEMU
when it closes: when the machine is closed or forgotten, or its owner has died of whatever.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from pathlib import Path
from typing import IO

from ...bounds import QEMU_END_PATIENCE
from ...machine.console import Console
from . import watch
from .command import Pc, find, stream, version_of
from .qmp import Qmp


class QemuMachine:
    """A PC that runs under QEMU, from its start to its end.

    Parameters
    ----------
    pc: the PC.
    program: which QEMU; by default the first that is installed.
    netdev: what the NIC is connected to, in QEMU's words, such as ``"user"``; None: to :attr:`frames`.
    """

    clock = "host"

    def __init__(self, pc: Pc, program: str | None = None, netdev: str | None = None):
        self.pc = pc
        self.program = find(program)
        self.version = version_of(self.program) or ()
        self._typing = threading.Lock()
        self.console = Console(self._type)
        """The serial console: :class:`~aero_lab.machine.console.Console`."""
        self.frames: socket.socket | None = None
        """Our end of the NIC's socket; whoever uses it closes it."""
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(4)]
        (life, watched), (self._serial, serial), (control, monitor), (frames, nic) = pairs
        image = tempfile.TemporaryFile()  # nobody else's: it has no name
        theirs = (watched, serial, monitor, nic, image)
        self._said = tempfile.TemporaryFile()
        try:
            image.write(pc.image())
            image.flush()
            command = pc.command(
                self.program,
                image.fileno(),
                serial.fileno(),
                monitor.fileno(),
                netdev if netdev is not None else stream(nic.fileno()),
            )
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(Path(watch.__file__).resolve()), str(watched.fileno()), *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                pass_fds=[end.fileno() for end in theirs],
                start_new_session=True,  # Ctrl-C is for the owner
            )
        except BaseException:
            for end in (*theirs, life, self._serial, control, frames):
                end.close()
            self._said.close()
            raise
        for end in theirs:
            end.close()
        if netdev is None and pc.nic is not None:
            self.frames = frames
        else:
            frames.close()
        self.qmp = Qmp(control)
        self._ended = threading.Event()
        self._finalizer = weakref.finalize(self, _end, life, self._process, (self._serial, control), self._said)
        reader = threading.Thread(
            target=_read,
            args=(self._serial.dup(), weakref.ref(self.console), self._ended),
            name="aero-lab-qemu",
            daemon=True,
        )
        reader.start()

    # The console ----------------------------------------------------------------------------------------------------

    def _type(self) -> None:
        """Hand what was typed to QEMU, which takes it as fast as the guest's serial port does."""
        with self._typing:
            while data := self.console.take(4096):
                with contextlib.suppress(OSError):
                    self._serial.sendall(data)

    # Control --------------------------------------------------------------------------------------------------------

    def set_link(self, up: bool) -> None:
        """Pull the cable out of the NIC, or plug it in."""
        self.qmp.execute("set_link", name="nic", up=up)

    @property
    def pid(self) -> int:
        """The process that waits for QEMU, which is its child."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether QEMU has ended: the guest switched itself off, say."""
        return self._ended.is_set() or self._process.poll() is not None

    @property
    def why(self) -> str:
        """The last line QEMU wrote itself, for messages; empty when it wrote nothing."""
        return _last_line(self._said)

    def close(self) -> None:
        """End QEMU. May be called twice."""
        self._finalizer()

    @property
    def closed(self) -> bool:
        return not self._finalizer.alive

    def __repr__(self) -> str:
        state = "closed" if self.closed else "ended" if self.ended else "running"
        return f"<QemuMachine {'.'.join(map(str, self.version))}, {self.pc.nic or 'no NIC'}, {state}>"


def _read(serial: socket.socket, console: weakref.ref[Console], ended: threading.Event) -> None:
    """The thread that listens to a console, until its other end is closed or nobody wants to know any more."""
    with serial:
        while True:
            try:
                data = serial.recv(65536)
            except OSError:
                data = b""
            if not data:
                ended.set()
            listener = console()
            if listener is not None:
                listener.put(data)  # nothing, too, at the end: whoever waits looks again
            if not data or listener is None:
                return
            del listener


def _last_line(said: IO[bytes]) -> str:
    with contextlib.suppress(OSError, ValueError):
        said.seek(0)
        lines = [line for line in said.read(65536).decode("utf-8", "replace").splitlines() if line.strip()]
        return lines[-1].strip() if lines else ""
    return ""


def _end(life: socket.socket, process: subprocess.Popen, ends: tuple[socket.socket, ...], said: IO[bytes]) -> None:
    """Let go of the watcher, and see that it has gone."""
    life.close()
    until = time.monotonic() + QEMU_END_PATIENCE
    while process.poll() is None:
        if time.monotonic() > until:
            process.kill()  # its child dies with it
            process.wait()
            break
        time.sleep(0.002)
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)  # the thread that reads a copy of it wakes up
        end.close()
    said.close()
