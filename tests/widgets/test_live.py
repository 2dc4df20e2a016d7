"""Displays that change: a bounded rate, one thread, an end with the last of them."""

from __future__ import annotations

import gc
import threading
import time
import weakref

from aero_lab.widgets import live as room
from aero_lab.widgets.live import Live, Shown, in_a_notebook

PATIENCE = 30.0


def wait(condition, what: str = "it") -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"{what} did not come about"
        time.sleep(0.01)


def display_threads() -> int:
    return sum(thread.name == "aero-lab-display" for thread in threading.enumerate())


def test_it_refreshes_on_a_thread_of_its_own_until_it_is_stopped():
    seen = []
    live = Live(lambda: seen.append(threading.current_thread().name), every=0.01)
    assert not live.running and not seen
    live.start()
    live.start()
    wait(lambda: len(seen) >= 3, "a third refresh")
    live.stop()
    after = len(seen)
    assert set(seen) == {"aero-lab-display"} and not live.running
    wait(lambda: display_threads() == 0, "the end of the thread")
    assert len(seen) == after == live.refreshes


def test_its_rate_is_bounded_however_often_it_is_asked():
    slow = Live(lambda: time.sleep(0.02), every=0.0)
    began = time.monotonic()
    slow.start()
    wait(lambda: slow.refreshes >= 5)
    slow.stop()
    # Each rested five times as long as it took, so five took at least this, on any machine.
    assert time.monotonic() - began >= 4 * 0.02 * (1 + room.SHARE)


def test_soon_does_not_wait_for_the_rate_and_is_not_lost_while_a_refresh_is_under_way():
    entered, go_on = threading.Event(), threading.Event()

    def refresh() -> None:
        entered.set()
        assert go_on.wait(PATIENCE)

    live = Live(refresh, every=1000.0)
    live.start()
    assert entered.wait(PATIENCE)
    live.soon()
    go_on.set()
    wait(lambda: live.refreshes == 2)
    began = time.monotonic()
    for _ in range(1000):
        live.soon()
    wait(lambda: live.refreshes == 3)
    for _ in range(1000):
        live.soon()
    wait(lambda: live.refreshes == 4)
    assert time.monotonic() - began >= room.LEAST
    live.stop()


def test_several_share_the_thread_and_one_that_fails_stops_alone():
    def fail() -> None:
        raise ValueError("broken")

    good, bad = Live(lambda: None, every=0.01), Live(fail, every=0.01)
    good.start()
    bad.start()
    wait(lambda: bad.error is not None)
    assert not bad.running
    wait(lambda: display_threads() == 1, "one thread for both")
    before = good.refreshes
    wait(lambda: good.refreshes > before + 2)
    good.stop()


def test_one_that_nobody_holds_goes_away():
    class Holder:
        def __init__(self) -> None:
            self.live = Live(self.refresh, every=0.01)

        def refresh(self) -> None: ...

    def forgotten() -> weakref.ref:
        holder = Holder()
        holder.live.start()
        wait(lambda: holder.live.refreshes > 1)
        return weakref.ref(holder)

    gone = forgotten()

    def freed() -> bool:
        gc.collect()
        return gone() is None

    wait(freed, "its end")
    wait(lambda: display_threads() == 0, "the end of the thread")


def test_stopping_from_inside_a_refresh_is_no_deadlock():
    def refresh() -> None:
        live.stop()

    live = Live(refresh, every=0.01)
    live.start()
    wait(lambda: live.refreshes == 1)
    assert not live.running


def test_plain_python_is_no_notebook_and_makes_no_widget():
    class Thing(Shown):
        def _repr_html_(self) -> str:
            return "<table></table>"

        def __repr__(self) -> str:
            return "thing"

    assert not in_a_notebook()
    assert Thing()._repr_mimebundle_() == {"text/plain": "thing", "text/html": "<table></table>"}
    assert Thing()._widget is None
