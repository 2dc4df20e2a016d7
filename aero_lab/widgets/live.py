"""Displays that change while a cell computes.

Theory of operation
-------------------
A kernel's main thread is busy while a cell computes, so nothing that waits for it can show how the cell is getting on.
What may be done from another thread is to *send*: setting a trait of an ipywidgets widget sends a comm message, which
ipykernel hands to its own output thread. What may not is to receive: a click is a message to the kernel, and waits for
the end of the cell. So a display has two kinds of code, and each belongs to one thread:

* ``refresh``, called here, on the one display thread of the process, by its rate and when asked for. It looks at
  what is to be shown (a lab through its engine) and sets the traits of *output* widgets. Nobody else sets those.
* callbacks of buttons and fields, called by ipykernel on the main thread between cells. They act, and ask for a
  refresh by :meth:`Live.soon`.

Setting a trait to what it is already sends nothing, so a display of something that rests costs no message. A refresh
that takes long is called less often: the thread is given at most a sixth of one core's time. A display that nobody
holds any more is dropped, and the thread ends with the last one.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

EVERY = 0.25
"""Seconds between two refreshes: four a second read as live and cost little."""
LEAST = 0.1
"""Seconds between two refreshes however often they are asked for."""
SHARE = 5
"""A refresh that took a time rests so many times as long at least."""


class Live:
    """Something shown that is refreshed until it is stopped, or until nobody holds it any more.

    Parameters
    ----------
    refresh: sets the traits of output widgets; called on the display thread. What it raises ends the display and is
        kept in :attr:`error`.
    every: seconds between two refreshes.
    """

    def __init__(self, refresh: Callable[[], Any], every: float = EVERY):
        self._refresh = refresh
        self.every = every
        self.error: BaseException | None = None
        self.refreshes = 0
        self._next = self._rested = 0.0
        self._asked = False
        self._running = False
        self._turn = threading.Lock()

    @property
    def running(self) -> bool:
        return self._running

    def start(self) -> None:
        """Refresh from now on; a second call does nothing."""
        if not self._running:
            self._running = True
            self._asked = True
            _display.add(self)

    def stop(self, last: bool = False) -> None:
        """Refresh no more; ``last``: once more, here. When this returns no refresh is under way."""
        self._running = False
        _display.remove(self)
        if threading.current_thread() is not _display.thread:
            with self._turn:
                if last and self.error is None:
                    self._refresh()

    def soon(self) -> None:
        """Refresh as soon as it has rested; many calls make one refresh, and one that is under way does not count."""
        self._asked = True
        _display.wake()

    @property
    def _due(self) -> float:
        return self._rested if self._asked else self._next

    def _turn_now(self) -> None:
        """On the display thread: one refresh."""
        with self._turn:
            if not self._running:
                return
            self._asked = False
            began = time.monotonic()
            try:
                self._refresh()
                self.refreshes += 1
            except Exception as error:
                self.error = error
                self._running = False
                _display.remove(self)
            ended = time.monotonic()
        self._rested = max(began + LEAST, ended + SHARE * (ended - began))
        self._next = max(began + self.every, self._rested)


class _Display:
    """The one thread that refreshes everything there is."""

    def __init__(self) -> None:
        self.thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._lives: list[weakref.ref[Live]] = []

    def add(self, live: Live) -> None:
        with self._lock:
            self._lives.append(weakref.ref(live))
            if self.thread is None or not self.thread.is_alive():  # after a fork there is none
                self.thread = threading.Thread(target=self._main, name="aero-lab-display", daemon=True)
                self.thread.start()
        self._changed.set()

    def remove(self, live: Live) -> None:
        with self._lock:
            self._lives = [each for each in self._lives if each() not in (None, live)]
        self._changed.set()

    def wake(self) -> None:
        self._changed.set()

    def _main(self) -> None:
        while True:
            self._changed.clear()
            with self._lock:
                self._lives = [each for each in self._lives if each() is not None]
                if not self._lives:
                    self.thread = None
                    return
                lives = tuple(self._lives)
            self._changed.wait(min(1.0, self._round(lives)))

    @staticmethod
    def _round(lives: tuple[weakref.ref[Live], ...]) -> float:
        """Refresh what is due; returns the seconds until the next is. Holds nothing when it returns."""
        wait = 1.0
        for each in lives:
            live = each()
            if live is None:
                continue
            if live._due <= time.monotonic():
                live._turn_now()
            wait = min(wait, live._due - time.monotonic())
        return max(0.01, wait)


_display = _Display()


def in_a_notebook() -> bool:
    """Whether there is a kernel that can tell a front end about widgets."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None


class Shown:
    """An object that a notebook shows as widgets, and everything else as a static table.

    A subclass makes its widgets in :meth:`_make`, once and only when a notebook asks; :meth:`_repr_html_` and
    ``__repr__`` are what is shown elsewhere, and in a notebook that was exported.
    """

    _widget: Any = None

    def _make(self) -> Any:
        raise NotImplementedError

    def _repr_html_(self) -> str:
        raise NotImplementedError

    @property
    def widget(self) -> Any:
        """The ipywidgets widget, to be put beside others."""
        if self._widget is None:
            self._widget = self._make()
        return self._widget

    def _shown(self) -> None:
        """Called whenever a notebook shows it."""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        bundle = {"text/plain": repr(self), "text/html": self._repr_html_()}
        if in_a_notebook():
            view = self.widget._repr_mimebundle_() or {}
            bundle.update({kind: value for kind, value in view.items() if kind != "text/plain"})
            self._shown()
        return bundle
