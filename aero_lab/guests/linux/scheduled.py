"""A machine on a lab's scheduler: in virtual time machine, network card, tunnel, network and far end advance together.

Theory of operation
-------------------
The machine's clock is its instructions, the lab's is its scheduler; they differ by a constant. When no other node has
work at the present instant, the machine runs on to the next of their deadlines, and breaks off at the very instruction
at which its card has sent a frame: that frame is the others' at that time. One for the machine is put into its card's
ring at the instant of its arrival, so a machine that sleeps is first brought there; as long as nothing comes, one that
sleeps is not touched at all.

Frames lie in rings of this node's on their way, and not in the card's: what the card sent at a later time than the
lab's must wait for it. When the tunnel takes nothing more they stay in the card's, and the guest's driver sees it full.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from ...errors import UsageError
from ...limits import NEVER, RING_ARENA, RING_SLOTS, SECOND
from ...machine import stop as why
from ...rings import FrameRing
from .cable import PULLED
from .guest import Tape

if TYPE_CHECKING:
    from ...machine.machine import Machine, Stop
    from ...nic.base import Nic

BLOCKED = 100_000
"""Nanoseconds that a machine runs on whose frames find no room, before it is looked at again."""


class ScheduledMachine:
    """A machine as a node that takes time (:class:`aero_lab.clock.Runner`).

    Parameters
    ----------
    machine: with the instruction clock; nobody else runs it.
    now: the lab's time.
    """

    name = "machine"

    def __init__(self, machine: Machine, now: int):
        if machine.clock != "instructions":
            raise UsageError("in virtual time a machine's clock is its instructions")
        self.machine = machine
        self.ahead = machine.now - now
        """The guest's time less the lab's, ns."""
        self.nic_tx, self.nic_rx = FrameRing(RING_SLOTS, RING_ARENA), FrameRing(RING_SLOTS, RING_ARENA)
        self.ended: Stop | None = None
        """Why the machine goes on no more."""
        self.runs = 0
        """How often it was let run."""
        self._asleep_until = -NEVER  # of the lab's time; it sleeps until then unless something comes
        self._pull = False
        self._plug_in_at = NEVER

    @property
    def nic(self) -> Nic | None:
        nics = self.machine.nics
        return nics[0] if nics else None

    @property
    def local(self) -> int:
        """The lab's time up to which the machine has run."""
        return self.machine.now - self.ahead

    # A node ---------------------------------------------------------------------------------------------------------

    def poll_at(self, now: int) -> int:
        nic = self.nic
        if nic is None or self.ended is not None:
            return NEVER
        due = self._plug_in_at
        if self._pull or (len(self.nic_rx) and nic.rx.has_room(self._first())):
            return now
        if len(nic.tx) and self._room():
            due = min(due, self.local)
        return due

    def step(self, now: int) -> None:
        nic = self.nic
        if nic is None or self.ended is not None:
            return
        if len(nic.tx) and self.local <= now:
            nic.tx.move_to(self.nic_tx)
        if self._pull or now >= self._plug_in_at or len(self.nic_rx):
            self.catch_up(now)
        if self._pull:
            self._pull, self._plug_in_at = False, now + PULLED
            nic.link(False)
        elif now >= self._plug_in_at:
            self._plug_in_at = NEVER
            nic.link(True)
        self.nic_rx.move_to(nic.rx)

    def run_on(self, horizon: int) -> int:
        """See :class:`aero_lab.clock.Runner`."""
        if self.ended is not None:
            return NEVER
        if self._asleep_until > horizon and not self.machine.console.waiting:
            return self._asleep_until
        nic, begin = self.nic, self.local
        blocked = False
        if nic is not None and len(nic.tx):
            if self._room():
                return begin  # sent, and the others' when the clock shows that time
            blocked = True
        if blocked or len(self.nic_rx):
            horizon = min(horizon, begin + BLOCKED)
        if begin >= horizon:
            return horizon
        self.runs += 1
        done = self.machine.run(ns=horizon - begin, frames=not blocked)
        if done.final or done.reason == why.BREAKPOINT:
            self.ended = done
            return self.local
        if done.reason == why.ASLEEP:
            self._asleep_until = NEVER
            return NEVER
        if done.reason == why.TIME:
            wakes = self.machine.wakes_at - self.ahead
            self._asleep_until = wakes if wakes > horizon else -NEVER
            return max(wakes, horizon)
        return self.local

    def catch_up(self, now: int) -> None:
        """Something comes to the machine: it is there at this time, and awake."""
        self._asleep_until = -NEVER
        behind = now - self.local
        if behind > 0:
            done = self.machine.run(ns=behind)
            if done.final:
                self.ended = done

    def _first(self) -> int:
        """Size of the first frame that waits for the card."""
        return len(self.nic_rx.peek_many(1)[0].data)

    def _room(self) -> bool:
        return self.nic_tx.has_room(RING_ARENA // RING_SLOTS)

    def number_frames(self, first: int) -> None:
        """Give its frames the identities behind ``first``, every second number."""
        if self.nic is not None:
            self.nic.number_frames(first)

    # The cable ------------------------------------------------------------------------------------------------------

    def set_link(self, up: bool) -> None:
        """Plug the cable in, or pull it."""
        nic = self.nic
        assert nic is not None
        self._pull, self._plug_in_at = False, NEVER
        self._asleep_until = -NEVER
        nic.link(up)

    def relink(self) -> None:
        """Pull the cable, and plug it in again a little later."""
        self._pull = True

    def close(self) -> None:
        """There is nothing to let go of."""

    def __repr__(self) -> str:
        return f"<ScheduledMachine {self.runs} runs: {self.machine!r}>"


class Clockwork(Protocol):
    """Who makes virtual time go by: the lab's engine."""

    def now(self) -> int: ...

    def until(self, condition: Callable[[], bool], duration: int) -> bool:
        """Let up to ``duration`` ns go by, until the condition holds; whether it came to hold."""
        ...


class ScheduledLine(Tape):
    """The console of a machine that runs while a lab's virtual time goes by."""

    def __init__(self, node: ScheduledMachine, engine: Clockwork):
        super().__init__(node.machine)
        self.node, self.engine = node, engine

    def write(self, data: bytes) -> None:
        self.node.catch_up(self.engine.now())
        super().write(data)

    def wait(self, text: bytes, offset: int, timeout: float) -> bool:
        if self.find(text, offset) >= 0:
            return True
        self.machine.watch(text)
        try:
            self.engine.until(_Printed(self, text, offset), round(timeout * SECOND))
        finally:
            self.machine.watch(None)
        if self.node.ended is not None:
            self.end(self.node.ended)
        return self.find(text, offset) >= 0


class _Printed:
    """Whether a text is printed, or the machine at its end; asked often."""

    def __init__(self, line: ScheduledLine, text: bytes, offset: int):
        self._line, self._text, self._offset = line, text, offset
        self._size = -1

    def __call__(self) -> bool:
        line, size = self._line, self._line.machine.console.size
        if line.node.ended is not None:
            return True
        if size == self._size:
            return False
        self._size = size
        return line.find(self._text, self._offset) >= 0
