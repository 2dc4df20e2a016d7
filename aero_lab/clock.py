"""Clocks and the scheduler of virtual time. ``now`` is an int of nanoseconds everywhere.

A *node* is anything that lives on the bench: a stack, a link direction, a scripted guest, a LAN. It does not know
whether time is real. Whoever drives it calls ``step(now)`` when ``poll_at(now)`` is due, and again whenever something
was put into one of its rings. :class:`Scheduler` is the driver of virtual time: it steps what has work, and
when nothing has any it jumps to the next deadline. The driver of real time is the lab's own thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from .errors import AeroLabError, UsageError
from .limits import NEVER, SCHEDULER_TURNS, SECOND

RUN_ON = SECOND
"""Most that a runner works on in one go when nothing else is going to happen; then whoever waits looks again."""


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> int:
        """Nanoseconds; never goes back."""
        ...


class Node(Protocol):
    """What a scheduler drives."""

    def step(self, now: int) -> None:
        """Do all work that is due at ``now`` and move frames; never block, never raise on what a peer sent."""
        ...

    def poll_at(self, now: int) -> int:
        """Next deadline: ``<= now`` when there is work now, ``NEVER`` when only input can wake this node.

        Work that cannot be done (a frame that finds its output ring full) is not work: whoever empties that ring
        runs in the same instant, and the question is asked again after it did.
        """
        ...


class Runner(Node, Protocol):
    """A node that takes time to do its work: a machine. It is asked to run on when no node has work now."""

    def run_on(self, horizon: int) -> int:
        """Work on, up to ``horizon`` at most, and stop at once when something is there for others.

        Returns the time of that, or ``horizon``; when it sleeps the time until which it will, which may be later
        (``NEVER``: only input can wake it). What it has for others is theirs when the clock shows that time: its
        :meth:`poll_at` says so then. Nothing comes to a runner before the horizon but what others that run cause;
        where they can, it comes as late as this one is ahead.
        """
        ...


class RealClock:
    """The machine's monotonic clock, which has no relation to the time of day."""

    def __init__(self) -> None:
        from time import monotonic_ns  # the one door through which real time enters the core

        self._read = monotonic_ns

    def now(self) -> int:
        return self._read()


class VirtualClock:
    """A clock that stands still until it is told to advance."""

    def __init__(self, start: int = 0):
        self._now = start

    def now(self) -> int:
        return self._now

    def advance_to(self, when: int) -> None:
        """Set the time to ``when``; refused when that is in the past or :data:`~aero_lab.limits.NEVER`."""
        if not self._now <= when < NEVER:
            raise UsageError(f"virtual time cannot go from {self._now} to {when} ns")
        self._now = when


class Scheduler:
    """Drives nodes in virtual time, the same way in every run.

    At one instant the nodes that have work are stepped in the order in which they were added, turn after turn, until
    none has work left; then the clock jumps to the least deadline. A node that takes time (:class:`Runner`) runs on
    from now to that deadline first, and the clock follows it to where it stopped. Nothing depends on hashes, addresses
    or real time.
    """

    def __init__(self, clock: VirtualClock):
        self.clock = clock
        self.nodes: list[Node] = []
        self.runners: list[Any] = []
        """Those of the nodes that take time."""
        self.instants = 0
        """Instants at which something was stepped."""
        self.steps = 0
        """Calls of ``step``, over all nodes."""

    def add(self, *nodes: Node) -> None:
        """Add nodes behind those that are there; adding one twice is an error."""
        for node in nodes:
            if any(node is other for other in self.nodes):
                raise UsageError(f"{_name(node)} is already on this scheduler")
            self.nodes.append(node)
            if hasattr(node, "run_on"):
                self.runners.append(node)

    def remove(self, node: Node) -> None:
        """Take a node away; takes effect at the next turn."""
        self.nodes = [other for other in self.nodes if other is not node]
        self.runners = [other for other in self.runners if other is not node]

    def settle(self) -> int:
        """Step whatever has work at the present instant until nothing has; returns the next deadline.

        Raises :class:`~aero_lab.errors.AeroLabError`, naming the culprits, when work does not end within
        :data:`~aero_lab.limits.SCHEDULER_TURNS` turns.
        """
        now = self.clock.now()
        before = self.steps
        seen: list[Node] | None = None
        many = idle = 0  # how many nodes there are, and how many in a row had no work
        deadline = NEVER
        for _ in range(SCHEDULER_TURNS):
            nodes = self.nodes
            if nodes is not seen or len(nodes) != many:
                seen, many, idle, deadline = nodes, len(nodes), 0, NEVER
            for node in nodes:
                due = node.poll_at(now)
                if due <= now:
                    node.step(now)
                    self.steps += 1
                    idle, deadline = 0, NEVER
                    continue
                idle += 1
                if due < deadline:
                    deadline = due
                if idle >= many and nodes is self.nodes and len(nodes) == many:
                    self.instants += self.steps != before
                    return deadline
            if not nodes:
                return NEVER
        culprits = ", ".join(_name(node) for node in self.nodes if node.poll_at(now) <= now)
        raise AeroLabError(f"work at {now} ns of virtual time does not end: {culprits or 'a node'} asks on and on")

    def run(self, until: int | Callable[[], bool], limit: int = NEVER) -> bool:
        """Run until a time (all work due then is done) or until a condition holds.

        Parameters
        ----------
        until: time in ns, or a function that is asked whenever no node has work at the present instant.
        limit: time in ns after which nothing is done any more, whatever ``until`` says.

        Returns
        -------
        bool: True when ``until`` came about. False when ``limit`` came first (the clock then shows it) or when every
        node waits for input that nobody is going to give (the clock stays where it was).
        """
        condition = until if callable(until) else None
        last = limit if callable(until) else min(until, limit)
        if self.clock.now() > last:
            return False
        while True:
            deadline = self.settle()
            if condition is not None and condition():
                return True
            if self.runners and self.clock.now() < last:
                deadline = self._run_on(min(deadline, last), deadline)
            if deadline > last or deadline >= NEVER:
                break
            self.clock.advance_to(deadline)
        if last < NEVER:
            self.clock.advance_to(last)
        return condition is None and last == until

    def _run_on(self, horizon: int, deadline: int) -> int:
        """Let the runners work until something is there for a node; returns the next deadline of all."""
        horizon = min(horizon, self.clock.now() + RUN_ON)
        for runner in self.runners:
            there = runner.run_on(horizon)
            deadline = min(deadline, there)
            horizon = min(horizon, there)
        return deadline

    def __repr__(self) -> str:
        return f"<Scheduler {len(self.nodes)} nodes at {self.clock.now()} ns, {self.steps} steps>"


def _name(node: object) -> str:
    return str(getattr(node, "name", "") or repr(node))
