"""Cooperative tasks: generators that wait for signals and deadlines, with time as a number.

Theory of operation
-------------------
A task is a generator. It does what it can do now, then yields a :class:`Wait`: the signals that may wake it and the
time at which it wants to go on anyway. The scheduler sends back True when a signal fired and False when the deadline
came. A signal says that something *may* have changed, so a waiting loop looks again::

    while not socket.readable:
        if not (yield Wait((socket.signal,), deadline)):
            raise TaskTimeout("no answer")

Nothing here knows the wall clock: :meth:`Tasks.run` is told ``now``, :meth:`Tasks.poll_at` says when it wants to be
called again. Tasks run in the order in which they were woken, so a run is repeatable. A task that goes on for ever at
one instant is cut off by :data:`aero_lab.limits.TASK_TURNS` and finds itself on the queue of the next step.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any

from ...errors import AeroLabError
from ...limits import NEVER, TASK_TURNS


class TaskError(AeroLabError):
    """A task could not do what it was asked for; ``reason`` is a short stable word."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class TaskTimeout(TaskError):
    """The time allowed for an operation is over."""

    def __init__(self, detail: str = ""):
        super().__init__("timeout", detail)


@dataclass(slots=True)
class Wait:
    """What a task yields: the signals that wake it, and the time (ns) at which it goes on without one."""

    signals: tuple[Signal, ...] = ()
    until: int = NEVER


TaskGenerator = Generator[Wait, bool, Any]
"""What a task is made of; ``yield from`` such generators calls them."""


class Signal:
    """Something that may have changed. Firing it wakes every task that waits for it, once."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: list[tuple[Task, int]] = []

    def fire(self) -> None:
        """Wake the tasks that wait."""
        if self.waiting:
            waiting, self.waiting = self.waiting, []
            for task, wait_id in waiting:
                task._wake(wait_id, True)

    def _add(self, task: Task, wait_id: int) -> None:
        # A task woken by something else leaves its entry behind; drop those before the list grows with them.
        if len(self.waiting) > 32:
            self.waiting = [(t, w) for t, w in self.waiting if t._wait_id == w]
        self.waiting.append((task, wait_id))


class Task:
    """A running generator. ``done`` when it has ended: then ``result`` or ``error`` holds what became of it."""

    __slots__ = ("_generator", "_tasks", "_wait_id", "done", "error", "finished", "name", "result")

    def __init__(self, tasks: Tasks, generator: TaskGenerator, name: str):
        self._tasks = tasks
        self._generator = generator
        self._wait_id = 0
        self.name = name
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.finished = Signal()
        """Fires when the task has ended."""

    def _wake(self, wait_id: int, fired: bool) -> None:
        if wait_id == self._wait_id and not self.done:
            self._wait_id += 1
            self._tasks._ready.append((self, fired))

    def _resume(self, fired: bool) -> None:
        try:
            wait = self._generator.send(fired) if self._wait_id else next(self._generator)
        except StopIteration as stop:
            self._end(stop.value, None)
        except Exception as error:  # the task's own affair: kept in it, never raised into the data path
            self._end(None, error)
        else:
            for signal in wait.signals:
                signal._add(self, self._wait_id)
            if wait.until < NEVER:
                self._tasks._arm(wait.until, self)

    def _end(self, result: Any, error: BaseException | None) -> None:
        self.done, self.result, self.error = True, result, error
        self._wait_id += 1
        self._tasks._ended(self)
        self.finished.fire()

    def cancel(self) -> None:
        """End the task now; its ``finally`` blocks run, its error says ``cancelled``."""
        if not self.done:
            self._generator.close()
            self._end(None, TaskError("cancelled", self.name))

    def value(self) -> Any:
        """The result of a task that is done; raises what it raised."""
        if not self.done:
            raise TaskError("not-done", self.name)
        if self.error is not None:
            raise self.error
        return self.result

    def __repr__(self) -> str:
        state = "running" if not self.done else f"failed: {self.error}" if self.error else "done"
        return f"<Task {self.name} {state}>"


class Tasks:
    """Runs tasks in time that others keep."""

    def __init__(self, failed: Callable[[Task], None] = lambda task: None) -> None:
        self._failed = failed
        """Told each task that ended with an error other than :class:`TaskError`: a mistake in its code."""
        self._ready: deque[tuple[Task, bool]] = deque()
        self._deadlines: list[tuple[int, int, Task, int]] = []
        self._order = 0
        self._running: dict[Task, None] = {}  # in order of starting

    def start(self, generator: TaskGenerator, name: str = "task") -> Task:
        """A new task; it first runs in the next :meth:`run`."""
        task = Task(self, generator, name)
        self._running[task] = None
        self._ready.append((task, True))
        return task

    def run(self, now: int) -> int:
        """Let every task that is due go on. Returns how many times one did; 0 when there was nothing to do."""
        turns = 0
        while turns < TASK_TURNS:
            while self._deadlines and self._deadlines[0][0] <= now:
                _, _, task, wait_id = heapq.heappop(self._deadlines)
                task._wake(wait_id, False)
            if not self._ready:
                break
            task, fired = self._ready.popleft()
            if not task.done:
                task._resume(fired)
                turns += 1
        return turns

    def poll_at(self, now: int) -> int:
        """``now`` when a task can go on, else the next deadline, else ``NEVER``."""
        if self._ready:
            return now
        # A deadline of a wait that is over is no reason to wake up.
        while self._deadlines and self._deadlines[0][3] != self._deadlines[0][2]._wait_id:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else NEVER

    def __len__(self) -> int:
        """Tasks that have not ended."""
        return len(self._running)

    def cancel_all(self) -> None:
        """End every task."""
        for task in list(self._running):
            task.cancel()

    def _arm(self, when: int, task: Task) -> None:
        self._order += 1
        heapq.heappush(self._deadlines, (when, self._order, task, task._wait_id))
        if len(self._deadlines) > 64 and len(self._deadlines) > 8 * len(self._running):
            self._deadlines = [entry for entry in self._deadlines if entry[3] == entry[2]._wait_id]
            heapq.heapify(self._deadlines)

    def _ended(self, task: Task) -> None:
        self._running.pop(task, None)
        if task.error is not None and not isinstance(task.error, TaskError):
            self._failed(task)


def sleep_until(when: int) -> TaskGenerator:
    """Go on at ``when`` (ns)."""
    yield Wait((), when)


def wait_for(
    condition: Callable[[], Any], signals: Iterable[Signal], until: int = NEVER, what: str = ""
) -> TaskGenerator:
    """Wait until ``condition()`` is true, looking whenever one of ``signals`` fires; returns its value.

    Raises :class:`TaskTimeout` naming ``what`` when ``until`` (ns) comes first.
    """
    signals = tuple(signals)
    while not (value := condition()):
        if not (yield Wait(signals, until)):
            if value := condition():
                break
            raise TaskTimeout(what)
    return value


def gather(tasks: Iterable[Task]) -> TaskGenerator:
    """Wait until all ``tasks`` have ended; returns their results in order, or raises the first error among them."""
    tasks = list(tasks)
    for task in tasks:
        while not task.done:
            yield Wait((task.finished,))
    return [task.value() for task in tasks]
