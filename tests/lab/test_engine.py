"""Engines: results and errors cross the thread, interrupts and timeouts cancel, nothing is left behind."""

from __future__ import annotations

import _thread
import gc
import os
import threading
import time
from functools import partial

import pytest

from aero_lab.engine import EngineStopped, RealEngine, TimedOut, VirtualEngine
from aero_lab.limits import MS, NEVER, SECOND


class Countdown:
    """A node and a task in one: done after ``turns`` turns, or never when that is None."""

    def __init__(self, turns=3, error=None):
        self.turns, self.error, self.done, self.cancelled = turns, error, False, False

    def step(self, now):
        if self.turns is not None and not self.done:
            self.turns -= 1
            self.done = self.turns <= 0

    def poll_at(self, now):
        return NEVER if self.done or self.turns is None else now

    def cancel(self):
        self.cancelled = self.done = True

    def value(self):
        if self.error:
            raise self.error
        return 42


@pytest.fixture(params=[RealEngine, VirtualEngine])
def engine(request):
    engine = request.param()
    yield engine
    engine.close()


def start(engine, task):
    def begin():
        engine.add(task)
        return task

    return begin


def descriptors():
    return len(os.listdir("/dev/fd"))


def test_a_task_gives_its_value_or_its_error(engine):
    assert engine.run(start(engine, Countdown())) == 42
    with pytest.raises(ZeroDivisionError):
        engine.run(start(engine, Countdown(error=ZeroDivisionError())))


def test_call_brings_back_results_and_errors(engine):
    assert engine.call(lambda a, b: a + b, 1, 2) == 3
    with pytest.raises(KeyError):
        engine.call({}.__getitem__, "missing")


def test_a_timeout_cancels_the_task(engine):
    task = Countdown(turns=None)
    with pytest.raises(TimedOut):
        engine.run(start(engine, task), timeout=20 * MS)
    engine.call(lambda: None)
    assert task.cancelled


def test_start_may_raise(engine):
    def bad():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        engine.run(bad)


def test_closed_engines_say_so(engine):
    engine.close()
    engine.close()
    with pytest.raises(EngineStopped):
        engine.run(lambda: Countdown())


def test_virtual_time_jumps():
    class Sleeper(Countdown):
        def step(self, now):
            self.done = now >= 3600 * SECOND

        def poll_at(self, now):
            return NEVER if self.done else 3600 * SECOND

    engine = VirtualEngine()
    assert engine.run(start(engine, Sleeper())) == 42
    assert engine.now() == 3600 * SECOND
    engine.advance(SECOND)
    assert engine.now() == 3601 * SECOND


def test_virtual_engine_notices_that_nothing_will_happen():
    engine = VirtualEngine()
    with pytest.raises(TimedOut, match="nothing more"):
        engine.run(start(engine, Countdown(turns=None)))


def test_an_interrupt_ends_the_wait_not_the_engine():
    engine = RealEngine()
    task = Countdown(turns=None)
    timer = threading.Timer(0.2, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        engine.run(start(engine, task))
    timer.join()
    engine.call(lambda: None)
    assert task.cancelled
    assert engine.run(start(engine, Countdown())) == 42
    engine.close()


def test_a_node_that_raises_is_told_to_whoever_waits():
    class Broken(Countdown):
        def step(self, now):
            raise ZeroDivisionError("a defect")

    engine = RealEngine()
    with pytest.raises(EngineStopped, match="ZeroDivisionError: a defect") as caught:
        engine.run(start(engine, Broken()))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(EngineStopped, match="a defect"):
        engine.call(lambda: None)
    engine.close()


def test_closing_ends_a_wait_in_another_thread():
    engine = RealEngine()
    seen = []

    def wait():
        try:
            engine.run(start(engine, Countdown(turns=None)))
        except EngineStopped as error:
            seen.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while not engine._waiting:
        time.sleep(0.001)
    engine.close()
    thread.join(20)
    assert len(seen) == 1


def test_nothing_is_left_behind():
    RealEngine().close()
    gc.collect()
    threads, open_before = threading.active_count(), descriptors()
    for _ in range(5):
        engine = RealEngine()
        order = []
        engine.on_close(partial(order.append, 1))
        engine.on_close(partial(order.append, 2))
        engine.on_close(lambda: 1 / 0)
        engine.run(start(engine, Countdown()))
        engine.close()
        assert order == [2, 1]
    gc.collect()
    assert threading.active_count() == threads
    assert descriptors() == open_before


def test_a_forked_child_leaves_the_parents_engine_alone():
    engine = RealEngine()
    child = os.fork()
    if child == 0:
        engine.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert engine.run(start(engine, Countdown())) == 42
    engine.close()
