"""Clocks, and the scheduler of virtual time."""

import pytest

from aero_lab.clock import RealClock, Scheduler, VirtualClock
from aero_lab.errors import AeroLabError, UsageError
from aero_lab.limits import NEVER, SCHEDULER_TURNS, SECOND


class Alarm:
    """Works at given times and writes down when."""

    def __init__(self, name, times, log):
        self.name, self.times, self.log = name, list(times), log

    def poll_at(self, now):
        return self.times[0] if self.times else NEVER

    def step(self, now):
        self.log.append((now, self.name, self.times.pop(0)))


class Cell:
    """Passes tokens on to another cell, in the same instant."""

    def __init__(self, name, log):
        self.name, self.log, self.tokens, self.next = name, log, 0, None

    def poll_at(self, now):
        return now if self.tokens else NEVER

    def step(self, now):
        self.tokens -= 1
        self.log.append(self.name)
        if self.next is not None:
            self.next.tokens += 1


def test_real_clock_does_not_go_back():
    clock = RealClock()
    times = [clock.now() for _ in range(100)]
    assert times == sorted(times) and isinstance(times[0], int)


def test_virtual_clock_stands_still_and_never_goes_back():
    clock = VirtualClock(5)
    assert clock.now() == clock.now() == 5
    clock.advance_to(9)
    assert clock.now() == 9
    for wrong in (8, NEVER):
        with pytest.raises(UsageError):
            clock.advance_to(wrong)


def test_jumps_from_deadline_to_deadline_in_order_of_adding():
    log = []
    scheduler = Scheduler(VirtualClock())
    scheduler.add(Alarm("a", [10, 30, 10**15], log), Alarm("b", [10, 20, 30], log))
    assert scheduler.run(40)
    assert log == [(10, "a", 10), (10, "b", 10), (20, "b", 20), (30, "a", 30), (30, "b", 30)]
    assert scheduler.clock.now() == 40
    assert scheduler.instants == 3 and scheduler.steps == 5


def test_a_deadline_in_the_past_is_work_now():
    log = []
    scheduler = Scheduler(VirtualClock(100))
    scheduler.add(Alarm("late", [3], log))
    assert scheduler.run(100)
    assert log == [(100, "late", 3)]


def test_work_made_by_a_later_node_is_done_in_the_same_instant():
    log = []
    first, second = Cell("first", log), Cell("second", log)
    second.next = first
    second.tokens = 2
    scheduler = Scheduler(VirtualClock(7))
    scheduler.add(first, second)
    assert scheduler.run(7)
    assert log == ["second", "first", "second", "first"]
    assert scheduler.instants == 1


def test_condition_and_limit():
    log = []
    scheduler = Scheduler(VirtualClock())
    scheduler.add(Alarm("a", [SECOND * i for i in range(1, 10)], log))
    assert scheduler.run(lambda: len(log) == 3)
    assert scheduler.clock.now() == 3 * SECOND
    assert not scheduler.run(lambda: len(log) == 9, limit=5 * SECOND + 1)
    assert scheduler.clock.now() == 5 * SECOND + 1 and len(log) == 5
    assert not scheduler.run(6 * SECOND, limit=5 * SECOND + 2)
    assert scheduler.clock.now() == 5 * SECOND + 2
    assert not scheduler.run(1), "a time that is over never comes about"


def test_nothing_left_to_wait_for_is_told_not_waited_for():
    scheduler = Scheduler(VirtualClock())
    scheduler.add(Alarm("a", [5], []))
    assert not scheduler.run(lambda: False)
    assert scheduler.clock.now() == 5
    assert scheduler.run(50) and scheduler.clock.now() == 50


def test_a_node_that_spins_is_named():
    log = []
    spinner, quiet = Cell("the spinner", log), Cell("the quiet one", log)
    spinner.tokens, spinner.next = 1, spinner
    scheduler = Scheduler(VirtualClock())
    scheduler.add(quiet, spinner)
    with pytest.raises(AeroLabError, match="the spinner") as caught:
        scheduler.run(1)
    assert "quiet" not in str(caught.value)
    assert len(log) == SCHEDULER_TURNS


def test_nodes_come_once_and_go():
    log = []
    scheduler = Scheduler(VirtualClock())
    a = Alarm("a", [1, 2], log)
    scheduler.add(a)
    with pytest.raises(UsageError, match="a is already"):
        scheduler.add(a)
    scheduler.run(1)
    scheduler.remove(a)
    scheduler.run(5)
    assert log == [(1, "a", 1)]
