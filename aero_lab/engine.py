"""Engines: what turns the nodes of a lab, in real time or in virtual time.

Theory of operation
-------------------
A :class:`RealEngine` owns a thread with an asyncio loop of its own, because a notebook's loop stands still while a
cell runs. Nodes live on that thread alone; other threads reach them through :meth:`~RealEngine.call`, which runs a
function there and brings back what it returned or raised. An interrupt (Ctrl-C, the notebook's stop button) reaches
the user's thread, never the engine's: a wait ends, the engine goes on.

A :class:`VirtualEngine` has the same methods and no thread: whoever waits for a task drives the scheduler meanwhile.

Nothing outlives an engine that was closed: no thread, no descriptor, no timer. The thread is a daemon, so it does not
keep a process alive either.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any, Protocol, TypeVar

from .clock import Node, Scheduler, VirtualClock
from .driver import Driver
from .errors import AeroLabError
from .limits import NEVER, SECOND

T = TypeVar("T")


class Waitable(Protocol):
    """A task of a guest, as an engine sees it."""

    @property
    def done(self) -> bool: ...

    def cancel(self) -> None: ...

    def value(self) -> Any: ...


class EngineStopped(AeroLabError):
    """The engine was closed, or stopped because of a defect that is named."""


class TimedOut(AeroLabError):
    """A task took longer than it was allowed to."""


class RealEngine:
    """Turns nodes in real time on its own thread."""

    virtual = False

    def __init__(self, name: str = "aero-lab"):
        self._pid = os.getpid()
        self._ready = threading.Event()
        self._closing: list[Callable[[], None]] = []
        self._waiting: dict[Future, Waitable] = {}
        self._error: BaseException | None = None
        self._closed = False
        self._loaded = threading.Event()
        self._loaded.set()
        self._loop = asyncio.new_event_loop()
        self.driver = Driver(self._loop, failed=self._failed)
        self.driver.settled.append(self._look_at_tasks)
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()
        self._ready.wait()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    @property
    def closed(self) -> bool:
        return self._closed

    def now(self) -> int:
        """Nanoseconds of the machine's monotonic clock."""
        return self.driver.now()

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Run ``function(*args)`` on the engine's thread, give the nodes a turn, and return its result."""
        if threading.get_ident() == self._thread.ident:
            return function(*args)
        future: Future = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function(*args))
            except BaseException as error:
                future.set_exception(error)
            self.driver.wake()

        self._post(run)
        return self._result(future)

    def run(self, start: Callable[[], Waitable], timeout: int = NEVER) -> Any:
        """Start a task and wait for it; returns its value or raises what it raised.

        Parameters
        ----------
        start: called on the engine's thread, returns the task.
        timeout: nanoseconds; then the task is cancelled and :class:`TimedOut` raised.
        """
        future: Future = Future()

        def begin() -> None:
            try:
                self._waiting[future] = start()
            except BaseException as error:
                future.set_exception(error)
            self.driver.wake()

        self._post(begin)
        try:
            self._result(future, timeout)
        except TimeoutError:
            raise TimedOut(f"not done within {timeout / SECOND:g} s") from None
        finally:
            if not future.done():  # timed out or interrupted: the task must not go on unwatched
                future.cancel()
                self._post(self._abandon, future, quiet=True)
        return future.result().value()

    def add(self, *nodes: Node) -> None:
        """Add nodes; called on the engine's thread."""
        self.driver.add(*nodes)

    def load(self, kernels: Iterable[Any]) -> None:
        """Load kernels from the cache, one a turn of the loop and so between all other work: whoever comes first need
        not wait for them."""
        todo = iter(kernels)
        self._loaded.clear()

        def one() -> None:
            kernel = None if self._closed else next(todo, None)
            if kernel is None:
                self._loaded.set()
                return
            kernel.prepare()
            self._loop.call_soon(one)

        self._post(one, quiet=True)

    def loaded(self) -> None:
        """Wait until all that :meth:`load` was given is loaded."""
        while not self._closed and not self._loaded.wait(1.0):
            pass

    def on_close(self, function: Callable[[], None]) -> None:
        """Call ``function`` on the engine's thread when it closes; last registered, first called."""
        self._closing.append(function)

    def close(self) -> None:
        """Stop the nodes, close what they hold, end the thread. May be called twice, from any thread but its own."""
        if self._closed or os.getpid() != self._pid:  # after a fork the loop's descriptors are the parent's
            return
        self._closed = True
        self._post(self._loop.stop, quiet=True)
        self._thread.join()

    # On the engine's thread -----------------------------------------------------------------------------------------

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(self._ready.set)
        try:
            self._loop.run_forever()
        finally:
            self.driver.stop()
            for function in reversed(self._closing):
                try:
                    function()
                except Exception as error:
                    self._error = self._error or error
            for future, task in list(self._waiting.items()):
                task.cancel()
                self._finish(future, EngineStopped("the lab was closed"))
            self._waiting.clear()
            self._drain()
            self._loop.close()

    def _drain(self) -> None:
        """Let cancelled tasks of the loop and closing transports come to their end."""
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        pending = asyncio.all_tasks(self._loop)
        if pending:
            self._loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.run_until_complete(self._loop.shutdown_default_executor())

    def _look_at_tasks(self, now: int) -> None:
        if self._waiting:
            for future, task in [item for item in self._waiting.items() if item[1].done]:
                del self._waiting[future]
                self._finish(future, task)

    def _abandon(self, future: Future) -> None:
        task = self._waiting.pop(future, None)
        if task is not None:
            task.cancel()
            self.driver.wake()

    def _failed(self, error: BaseException) -> None:
        self._error = error
        for future in list(self._waiting):
            self._finish(future, self._stopped())
        self._waiting.clear()

    @staticmethod
    def _finish(future: Future, outcome: Any) -> None:
        if future.cancelled() or future.done():
            return
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    # On the caller's thread -----------------------------------------------------------------------------------------

    def _post(self, function: Callable[..., Any], *args: Any, quiet: bool = False) -> None:
        try:
            if self._error is not None and not quiet:
                raise self._stopped()
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # the loop is closed
            if not quiet:
                raise self._stopped() from None

    def _stopped(self) -> EngineStopped:
        if self._error is None:
            return EngineStopped("the lab is closed")
        stopped = EngineStopped(f"the lab stopped: {type(self._error).__name__}: {self._error}")
        stopped.__cause__ = self._error
        return stopped

    def _result(self, future: Future, timeout: int = NEVER) -> Any:
        left = None if timeout >= NEVER else timeout / SECOND
        while True:
            # Short waits, so that an engine that closes under us is noticed and an interrupt is taken at once.
            try:
                part = 0.5 if left is None else min(0.5, left)
                return future.result(part)
            except TimeoutError:
                if future.done():
                    raise
                if not self._thread.is_alive():
                    raise self._stopped() from None
                if left is not None:
                    left -= part
                    if left <= 0:
                        raise
            except CancelledError:
                raise self._stopped() from None


class VirtualEngine:
    """Turns nodes in virtual time, on the caller's thread, while somebody waits.

    Other threads may :meth:`call` meanwhile: they are served between two instants.
    """

    virtual = True

    def __init__(self, start: int = 0):
        self.clock = VirtualClock(start)
        self.scheduler = Scheduler(self.clock)
        self._closing: list[Callable[[], None]] = []
        self._turn = threading.RLock()  # whoever touches the nodes
        self._asked: deque[tuple[Future, Callable[[], Any]]] = deque()
        self.closed = False

    def take_over(self, scheduler: Scheduler, closing: list[Callable[[], None]]) -> None:
        """Go on with the nodes of another engine, or a copy of them, at their time."""
        self.scheduler, self.clock = scheduler, scheduler.clock
        self._closing = list(closing)

    def now(self) -> int:
        """Nanoseconds of virtual time."""
        return self.clock.now()

    def add(self, *nodes: Node) -> None:
        self.scheduler.add(*nodes)

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call the function where nothing else touches the nodes, and return its result."""
        future: Future | None = None
        while True:
            if self._turn.acquire(blocking=False):
                try:
                    if future is None or future.cancel():
                        return function(*args)
                finally:
                    self._turn.release()
            elif future is None:
                future = Future()
                self._asked.append((future, partial(function, *args)))
            try:
                return future.result(0.05)  # type: ignore[union-attr]
            except TimeoutError:
                if future.done():  # type: ignore[union-attr]
                    raise

    def _serve(self) -> None:
        """Between two instants: what other threads asked for."""
        while self._asked:
            future, function = self._asked.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except BaseException as error:
                    future.set_exception(error)

    def run(self, start: Callable[[], Waitable], timeout: int = NEVER) -> Any:
        """Start a task and drive the scheduler until it is done; ``timeout`` is virtual time."""
        if self.closed:
            raise EngineStopped("the lab is closed")

        def done() -> bool:
            if self._asked:
                self._serve()
            return task.done

        with self._turn:
            task = start()
            limit = NEVER if timeout >= NEVER else self.now() + timeout
            try:
                if not self.scheduler.run(done, limit):
                    raise TimedOut(
                        f"not done within {timeout / SECOND:g} s of virtual time"
                        if limit < NEVER
                        else "not done, and nothing more is going to happen"
                    )
            finally:
                if not task.done:
                    task.cancel()
                self._serve()
            return task.value()

    def until(self, condition: Callable[[], bool], duration: int) -> bool:
        """Let up to ``duration`` nanoseconds go by, until the condition holds; whether it came to hold."""
        if self.closed:
            raise EngineStopped("the lab is closed")

        def holds() -> bool:
            if self._asked:
                self._serve()
            return condition()

        with self._turn:
            try:
                return self.scheduler.run(holds, self.now() + duration)
            finally:
                self._serve()

    def advance(self, duration: int) -> None:
        """Let ``duration`` nanoseconds of virtual time go by."""
        self.until(lambda: False, duration)

    def loaded(self) -> None:
        """Nothing is loaded ahead of its use: virtual time does not wait for it."""

    def on_close(self, function: Callable[[], None]) -> None:
        """Call ``function`` when the engine closes; last registered, first called."""
        self._closing.append(function)

    def close(self) -> None:
        """Let go of what the nodes hold. May be called twice."""
        if not self.closed:
            self.closed = True
            for function in reversed(self._closing):
                function()
