"""Cooperative tasks: signals, deadlines, errors, cancellation, and a bound on the turns of one step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aero_lab.guests.scripted.tasks import (
    Signal,
    TaskError,
    Tasks,
    TaskTimeout,
    Wait,
    gather,
    sleep_until,
    wait_for,
)
from aero_lab.limits import NEVER, TASK_TURNS


def test_a_task_sleeps_until_its_deadline():
    tasks, seen = Tasks(), []

    def sleeper():
        yield from sleep_until(50)
        seen.append("woke")
        return 7

    task = tasks.start(sleeper())
    assert tasks.poll_at(0) == 0
    tasks.run(0)
    assert tasks.poll_at(0) == 50 and not task.done
    tasks.run(49)
    assert not seen
    tasks.run(50)
    assert task.done and task.value() == 7 and tasks.poll_at(50) == NEVER and len(tasks) == 0


def test_a_signal_wakes_and_says_so_and_the_old_deadline_is_forgotten():
    tasks, signal, told = Tasks(), Signal(), []

    def waiter():
        told.append((yield Wait((signal,), 100)))
        told.append((yield Wait((signal,), 200)))

    tasks.start(waiter())
    tasks.run(0)
    signal.fire()
    tasks.run(10)
    assert told == [True] and tasks.poll_at(10) == 200
    tasks.run(100)
    assert told == [True]
    tasks.run(200)
    assert told == [True, False]


def test_tasks_woken_by_one_signal_run_in_the_order_in_which_they_waited():
    tasks, signal, order = Tasks(), Signal(), []

    def waiter(name):
        yield Wait((signal,))
        order.append(name)

    for name in "abc":
        tasks.start(waiter(name))
    tasks.run(0)
    signal.fire()
    tasks.run(0)
    assert order == ["a", "b", "c"]


def test_an_error_stays_in_its_task_and_the_others_go_on():
    tasks = Tasks()

    def bad():
        yield from sleep_until(1)
        raise ValueError("mine")

    def good():
        yield from sleep_until(2)
        return "fine"

    failing, working = tasks.start(bad()), tasks.start(good())
    tasks.run(0)
    tasks.run(1)
    tasks.run(2)
    assert isinstance(failing.error, ValueError) and working.value() == "fine"
    with pytest.raises(ValueError, match="mine"):
        failing.value()


def test_wait_for_looks_again_and_times_out():
    tasks, signal, box = Tasks(), Signal(), []

    def waiter():
        return (yield from wait_for(lambda: box and box[0], (signal,), 30, "the box"))

    first = tasks.start(waiter())
    tasks.run(0)
    signal.fire()  # nothing has changed
    tasks.run(1)
    assert not first.done
    box.append("thing")
    signal.fire()
    tasks.run(2)
    assert first.value() == "thing"

    box.clear()
    second = tasks.start(waiter())
    tasks.run(3)
    tasks.run(30)
    assert isinstance(second.error, TaskTimeout) and "the box" in str(second.error)


def test_gather_returns_in_order_or_raises():
    tasks = Tasks()

    def part(when, value):
        yield from sleep_until(when)
        if value is None:
            raise TaskError("broken")
        return value

    both = [tasks.start(part(20, "slow")), tasks.start(part(10, "quick"))]
    all_of = tasks.start(gather(both))
    for now in (0, 10, 20):
        tasks.run(now)
    assert all_of.value() == ["slow", "quick"]
    failing = tasks.start(gather([tasks.start(part(30, None))]))
    for now in (21, 30):
        tasks.run(now)
    assert isinstance(failing.error, TaskError) and failing.error.reason == "broken"


def test_cancelling_runs_the_finally_blocks():
    tasks, signal, closed = Tasks(), Signal(), []

    def holder():
        try:
            yield Wait((signal,))
        finally:
            closed.append(True)

    task = tasks.start(holder())
    tasks.run(0)
    tasks.cancel_all()
    assert closed == [True] and task.done and len(tasks) == 0
    signal.fire()
    assert tasks.run(1) == 0


def test_a_task_that_spins_is_cut_off_and_others_still_get_their_turn():
    tasks, done = Tasks(), []

    def spinner():
        while True:
            yield Wait((), 0)

    def other():
        done.append(True)
        yield from sleep_until(1)

    tasks.start(spinner())
    tasks.start(other())
    assert tasks.run(0) == TASK_TURNS
    assert done and tasks.poll_at(0) == 0


def test_signals_do_not_collect_waits_that_are_over():
    tasks, quiet, tick = Tasks(), Signal(), Signal()

    def waiter():
        while True:
            yield Wait((quiet, tick))

    tasks.start(waiter())
    tasks.run(0)
    for now in range(1000):
        tick.fire()
        tasks.run(now)
    assert len(quiet.waiting) < 64


@given(st.lists(st.integers(0, 100), max_size=30))
def test_deadlines_come_in_order(deadlines):
    tasks, woken = Tasks(), []

    def sleeper(when):
        yield from sleep_until(when)
        woken.append(when)

    for when in deadlines:
        tasks.start(sleeper(when))
    now = 0
    while (due := tasks.poll_at(now)) < NEVER:
        assert due >= now or due == 0
        now = max(now, due)
        tasks.run(now)
    assert woken == sorted(deadlines)
