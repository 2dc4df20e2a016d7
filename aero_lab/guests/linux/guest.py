"""A Linux on the emulated PC, and the ways to use it.

Two kinds of time, two ways to drive it. With the instruction clock the machine stands still but while somebody asks
something of it, and the same questions give the same answers, bit by bit. With the host's clock a thread of its own
runs it, and sleeps when the guest does; the console is alive.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ...errors import UsageError
from ...limits import MTU_DEFAULT
from ...wire.address import mac_text
from .cable import Cable
from .session import PROMPT, Completed, NoAnswer, Session, printable

if TYPE_CHECKING:
    from ...machine.machine import Machine, Stop
    from ...rings import FrameRing

NO_NIC = "this guest has no network card: it is a PC with a console"
TAPE_MOST = 64 << 20
"""Bytes of console output that one command may write; further ones are not kept, and the command fails."""


class Tape:
    """What a console prints from a mark on."""

    def __init__(self, machine: Machine):
        self.machine = machine
        self._changed = threading.Condition()
        self._start = machine.console.size
        self._data = bytearray()
        self.ended: Stop | None = None
        self.error: BaseException | None = None
        machine.console.subscribe(self._hear)

    def _hear(self, data: bytes) -> None:
        with self._changed:
            if len(self._data) < TAPE_MOST:
                self._data += data
            self._changed.notify_all()

    def end(self, stop: Stop) -> None:
        """The machine goes on no more."""
        with self._changed:
            self.ended = stop
            self._changed.notify_all()

    def write(self, data: bytes | str) -> None:
        self.machine.console.write(data)

    def fail(self, error: BaseException) -> None:
        """The machine's thread ended by an error of ours."""
        with self._changed:
            self.error = error
            self._changed.notify_all()

    def mark(self) -> int:
        """Forget what was printed; the offset from here."""
        with self._changed:
            self._start += len(self._data)
            self._data.clear()
            return self._start

    def since(self, offset: int) -> bytes:
        with self._changed:
            return bytes(self._data[max(offset - self._start, 0) :])

    def find(self, text: bytes, offset: int, begin: int = 0) -> int:
        """Place of ``text`` in :meth:`since`, -1 when it is not there; ``begin``: where to start looking."""
        skipped = max(offset - self._start, 0)
        at = self._data.find(text, skipped + begin)
        return at - skipped if at >= 0 else -1


class DrivenLine(Tape):
    """The console of a machine that runs while somebody waits, in guest time."""

    def wait(self, text: bytes, offset: int, timeout: float) -> bool:
        if self.find(text, offset) >= 0:
            return True
        stop = self.machine.run(until=text, ns=round(timeout * 1e9))
        if stop.final:
            self.end(stop)
        return self.find(text, offset) >= 0


class LiveLine(Tape):
    """The console of a machine that runs by itself, in the host's time."""

    def wait(self, text: bytes, offset: int, timeout: float) -> bool:
        end = time.monotonic() + timeout
        seen = 0
        with self._changed:
            while self.find(text, offset, max(seen - len(text), 0)) < 0:
                left = end - time.monotonic()
                if left <= 0 or self.ended is not None or self.error is not None:
                    return False
                seen = len(self._data) - max(offset - self._start, 0)
                self._changed.wait(left)
        return True


TURN = 0.5
"""Seconds after which a machine's own thread looks whether its guest is still wanted."""


def _drive(guest: weakref.ref[LinuxGuest], machine: Machine, line: LiveLine) -> None:
    """The thread of a machine that runs by itself. It keeps the machine, not the guest: one that is forgotten ends."""
    me = threading.current_thread()
    try:
        while (owner := guest()) is not None and owner._thread is me:
            del owner
            stop = machine.run(timeout=TURN)
            if stop.final:
                line.end(stop)
                return
            owner = guest()
            if stop.reason == "breakpoint" and owner is not None:
                owner._thread = None
                return
    except BaseException as error:
        line.fail(error)


class LinuxGuest:
    """A machine whose Linux stands at a shell's prompt on the serial console.

    Parameters
    ----------
    machine: as :meth:`~aero_lab.guests.linux.boot.Boot.resume` gives it. Its clock decides: with ``"host"`` it runs in
        a thread of its own from now on.
    """

    def __init__(self, machine: Machine):
        self.machine = machine
        """The :class:`~aero_lab.machine.Machine`: registers, screenshot, breakpoints, snapshots."""
        self.live = machine.clock == "host"
        self._line: Any = (LiveLine if self.live else DrivenLine)(machine)
        self._session = Session(self._line)
        self._turn = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._actions: list[Callable[[], None]] = []
        self.cable: Any = Cable(machine, machine.nics[0]) if machine.nics else None
        """The cable of its network card, when it has one."""
        self._mac = machine.nics[0].mac if machine.nics else b""
        self.resume()

    # Running --------------------------------------------------------------------------------------------------------

    def run(self, command: str, *, timeout: float = 60.0) -> Completed:
        """Run a shell command in the guest, and wait for it.

        Each command has a shell of its own, without input.

        Parameters
        ----------
        timeout: seconds, of guest time with the instruction clock and of the host's with the host's; then the command
            is ended, and :class:`~aero_lab.guests.linux.session.NoAnswer` raised.

        Returns
        -------
        An object with ``output`` (text) and ``status`` (a number).
        """
        self._check()
        if not timeout > 0:
            raise UsageError(f"timeout must be more than 0 seconds, not {timeout}")
        with self._turn:
            try:
                return self._session.run(command, timeout)
            except NoAnswer as error:
                if self._line.ended is not None:
                    raise NoAnswer(f"the machine has stopped: {self._line.ended.meaning}") from error
                raise

    def type(self, text: str | bytes) -> None:
        """Type on the console; a machine that stands still gets it when it goes on."""
        self._check()
        self._line.write(text)

    def answer(self, text: str | bytes, ns: int) -> None:
        """Type, and let a machine that stands still go on for up to ``ns`` of guest time, until it prompts again."""
        if self._closing or self._line.ended is not None:
            return
        self._line.write(text)
        if not self.live and self._turn.acquire(blocking=False):
            try:
                self._line.wait(PROMPT, self._line.mark(), ns / 1e9)
            finally:
                self._turn.release()

    @property
    def text(self) -> str:
        """What stands on the console, from power-on, as far as it is kept."""
        return printable(self.machine.console.since(0))

    def _check(self) -> None:
        if self._closing:
            raise UsageError("this guest is closed")
        if self._line.error is not None:
            raise self._line.error
        if self._line.ended is not None:
            raise NoAnswer(f"the machine has stopped: {self._line.ended.meaning}")
        if self.live and self._thread is None:
            raise UsageError("this guest is paused: resume() it first")

    # The machine's own thread -----------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether the machine runs by itself just now."""
        return self._thread is not None and self._thread.is_alive()

    def resume(self) -> None:
        """Let a machine with the host's clock run by itself."""
        if self.live and self._thread is None and not self._closing and self._line.ended is None:
            arguments = (weakref.ref(self), self.machine, self._line)
            self._thread = threading.Thread(target=_drive, args=arguments, name="aero-lab-guest", daemon=True)
            self._thread.start()

    def pause(self) -> None:
        """Stop a machine that runs by itself, so that it can be looked at as a whole."""
        thread, self._thread = self._thread, None
        while thread is not None and thread.is_alive():
            self.machine.stop()
            thread.join(0.05)  # a stop that comes before the run has begun is not heard: then it is said again

    @contextlib.contextmanager
    def paused(self) -> Iterator[Machine]:
        """The machine, standing still for a while: to save, fork or step it."""
        with self._turn:
            was = self._thread is not None
            self.pause()
            try:
                yield self.machine
            finally:
                if was:
                    self.resume()

    # Its network card, as a node of a lab ---------------------------------------------------------------------------

    @property
    def mac(self) -> bytes:
        """The address of its network card."""
        return self._mac

    @property
    def nic_tx(self) -> FrameRing:
        return self._card.nic_tx

    @property
    def nic_rx(self) -> FrameRing:
        return self._card.nic_rx

    @property
    def _card(self) -> Any:
        if self.cable is None:
            raise UsageError(NO_NIC)
        return self.cable

    def attach(self, driver: Any, mac: bytes, backend: str = "queue", mtu: int = MTU_DEFAULT) -> None:
        """On the thread of a lab's loop: let it hear of frames. The card gets an address of its own with
        :meth:`go_online`."""
        self._mac = mac
        with self.paused():
            self.cable = Cable(self.machine, self._card.nic, backend, mtu)
            self.cable.attach(driver)

    def unplug(self) -> None:
        """When the lab's loop looks at nothing any more and the machine stands still: let go of what woke it."""
        if self.cable is not None:
            self.cable.close()

    def number_frames(self, first: int) -> None:
        """Give its frames the identities behind ``first``, every second number."""
        self._card.number_frames(first)

    def schedule(self, engine: Any, mac: bytes | None = None) -> None:
        """Go on in a lab's virtual time, as one of its nodes: this guest is to be put on the engine then."""
        from .scheduled import ScheduledLine, ScheduledMachine

        if self.live:
            raise UsageError("in virtual time a machine's clock is its instructions")
        self._mac = self._mac if mac is None else mac
        self.cable = ScheduledMachine(self.machine, engine.now())
        self._use(ScheduledLine(self.cable, engine), self._session.number)

    def _use(self, line: Any, number: int) -> None:
        self._line = line
        self._session = Session(line, number)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy of the lab takes along; the console's line and what waits for it are made again."""
        if self.live or not hasattr(self._line, "engine"):
            raise UsageError("only a guest in a lab in virtual time is copied with it")
        return {
            "machine": self.machine,
            "cable": self.cable,
            "engine": self._line.engine,
            "number": self._session.number,
            "mac": self._mac,
            "closing": self._closing,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        from .scheduled import ScheduledLine

        self.machine, self.cable, self.live = state["machine"], state["cable"], False
        self._mac, self._closing = state["mac"], state["closing"]
        self._turn, self._thread, self._actions = threading.Lock(), None, []
        self._use(ScheduledLine(self.cable, state["engine"]), state["number"])

    def go_online(self) -> None:
        """Have the guest bring its network up; the lease comes a moment later."""
        self.run(f"aero-net {mac_text(self._mac)}").check()

    def step(self, now: int) -> None:
        self._card.step(now)

    def poll_at(self, now: int) -> int:
        return self._card.poll_at(now)

    def run_on(self, horizon: int) -> int:
        """In virtual time: let the machine take its time."""
        return self.cable.run_on(horizon)

    def set_link(self, up: bool) -> None:
        """Plug the cable of its network card in, or pull it."""
        self._card.set_link(up)

    def relink(self) -> None:
        """Pull the cable, and plug it in again a little later; on the thread of the lab's loop."""
        self._card.relink()

    # Keeping ----------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> int:
        """Write the whole machine to a file; its size. :meth:`aero_lab.Machine.load` reads it."""
        with self.paused() as machine:
            return machine.save(path)

    def fork(self) -> LinuxGuest:
        """Another guest that goes on from here by itself."""
        with self.paused() as machine:
            twin = LinuxGuest(machine.fork())
        twin._session.number = self._session.number
        return twin

    def on_close(self, action: Callable[[], None]) -> None:
        """Have something done when the guest is closed."""
        self._actions.append(action)

    def close(self) -> None:
        """Stop the machine for good. May be called twice."""
        self._closing = True
        self.pause()
        while self._actions:
            self._actions.pop()()

    def __enter__(self) -> LinuxGuest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def state(self) -> str:
        """What it is doing, in a word or two."""
        if self._line.ended is not None:
            return self._line.ended.meaning
        return "closed" if self._closing else "running" if self.running else "standing still"

    def __repr__(self) -> str:
        return f"<LinuxGuest {self.state}: {self.machine!r}>"
