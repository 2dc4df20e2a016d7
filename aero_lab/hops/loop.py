"""An asyncio loop whose timers are true to some ten microseconds.

``epoll_wait`` counts in milliseconds, so asyncio rounds its timers up to the next one: half a millisecond late on
average, which is a fortieth of a 20 ms link. ``select`` counts in microseconds and can wait for an epoll descriptor,
which is readable when it has something to tell. And Linux lets ordinary processes sleep 50 us longer than asked, unless
they say otherwise.
"""

from __future__ import annotations

import asyncio
import ctypes
import select
import selectors
from typing import Any

PR_SET_TIMERSLACK, SLACK = 29, 1
"""``prctl(2)``: nanoseconds that the kernel may add to a sleep; 0 would be the default of 50 us."""
_SELECTABLE = 1024
"""Descriptors from here on cannot be given to ``select``."""


def precise_loop() -> asyncio.AbstractEventLoop:
    """A new loop for this thread; on systems without epoll an ordinary one."""
    if not hasattr(selectors, "EpollSelector"):
        return asyncio.new_event_loop()
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, ctypes.c_ulong(SLACK), 0, 0, 0)

    class PreciseSelector(selectors.EpollSelector):
        def select(self, timeout: float | None = None) -> Any:
            if timeout is not None and timeout > 0 and self.fileno() < _SELECTABLE:
                select.select([self.fileno()], [], [], timeout)
                timeout = 0
            return super().select(timeout)

    return asyncio.SelectorEventLoop(PreciseSelector())
