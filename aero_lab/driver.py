"""The driver of real time: nodes on one asyncio loop.

It is to the wall clock what :class:`aero_lab.clock.Scheduler` is to virtual time, and drives the same nodes in the same
way: whatever has work is stepped, turn after turn, until nothing has; then it sleeps until the least deadline or until
somebody calls :meth:`Driver.wake` (a socket became readable, the other process put messages into a ring, the user's
thread asked for something). After :data:`~aero_lab.limits.DRIVER_TURNS` turns in a row it lets the loop look at its
sockets before it goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .clock import Clock, Node, RealClock
from .limits import DRIVER_TURNS, NEVER, SECOND


class Driver:
    """Drives nodes in real time. Everything but :meth:`wake_threadsafe` is called on the loop's own thread.

    Parameters
    ----------
    loop: the loop to live on.
    failed: told once when a node raised, which is a defect of ours and not of a peer; the driver has stopped by then.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock | None = None,
        failed: Callable[[BaseException], None] | None = None,
    ):
        self.loop = loop
        self.clock = clock or RealClock()
        self.nodes: list[Node] = []
        self.settled: list[Callable[[int], None]] = []
        """Called with ``now`` after each round of work: the place to notice that a task is done."""
        self.error: BaseException | None = None
        self._failed = failed
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watched: list[int] = []
        self._stopped = False
        self._input = False

    def now(self) -> int:
        return self.clock.now()

    def add(self, *nodes: Node) -> None:
        """Add nodes; they get their first turn soon."""
        self.nodes.extend(nodes)
        self.wake()

    def remove(self, *nodes: Node) -> None:
        """Take nodes away; they are not stepped again."""
        self.nodes = [node for node in self.nodes if not any(node is gone for gone in nodes)]

    def watch(self, fd: int, readable: Callable[[], None] | None = None) -> None:
        """Wake when ``fd`` is readable; ``readable`` is called first and takes what makes it so."""

        def wake() -> None:
            if readable is not None:
                readable()
            self.wake()

        self.loop.add_reader(fd, wake)
        self._watched.append(fd)

    def wake(self) -> None:
        """Something came from outside: step every node once, as soon as the loop gets to it, whatever its deadline.

        Only the node itself can see what a socket holds, so it is not asked first. Cheap; many calls make one turn.
        """
        self._input = True
        self._again()

    def _again(self) -> None:
        if self._soon is None and not self._stopped:
            self._soon = self.loop.call_soon(self._round)

    def wake_threadsafe(self) -> None:
        """As :meth:`wake`, from any thread."""
        self.loop.call_soon_threadsafe(self.wake)

    def stop(self) -> None:
        """Step nothing any more and watch nothing; may be called twice."""
        self._stopped = True
        for handle in (self._soon, self._timer):
            if handle is not None:
                handle.cancel()
        self._soon = self._timer = None
        for fd in self._watched:
            self.loop.remove_reader(fd)
        self._watched.clear()

    def _round(self) -> None:
        self._soon = None
        try:
            deadline = self._turns()
            now = self.clock.now()
            for callback in self.settled:
                callback(now)
        except BaseException as error:
            self.error = error
            self.stop()
            if self._failed is not None:
                self._failed(error)
                return
            raise
        if self._stopped:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline <= now:
            self._again()
        elif deadline < NEVER:
            self._timer = self.loop.call_later((deadline - now) / SECOND, self._again)

    def _turns(self) -> int:
        """Step what has work; returns the next deadline, in the past when work was left over."""
        deadline = 0
        for _ in range(DRIVER_TURNS):
            now = self.clock.now()
            deadline = NEVER
            idle = True
            every, self._input = self._input, False
            for node in self.nodes:
                due = now if every else node.poll_at(now)
                if due <= now:
                    node.step(now)
                    idle = False
                elif due < deadline:
                    deadline = due
            if idle:
                return deadline
        return 0
