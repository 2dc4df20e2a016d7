"""A selector that takes its descriptor when the first socket is watched.

Most connections of a server are idle: each would hold a descriptor that it has no use for, and there are not many.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable
from typing import Any

Ready = list[tuple[selectors.SelectorKey, int]]


class LateSelector:
    """The part of ``selectors.BaseSelector`` that an egress uses.

    Parameters
    ----------
    opened: told the descriptor when there is one.
    """

    def __init__(self, opened: Callable[[int], None] | None = None):
        self._opened = opened
        self._real: selectors.DefaultSelector | None = None
        self._closed = False

    @property
    def is_open(self) -> bool:
        """Whether it has its descriptor."""
        return self._real is not None

    def open(self) -> selectors.DefaultSelector:
        """Have it now; raises OSError when this process has none left."""
        if self._real is None:
            if self._closed:
                raise OSError("the selector is closed")
            self._real = selectors.DefaultSelector()
            if self._opened is not None:
                self._opened(self.fileno())
        return self._real

    def fileno(self) -> int:
        return self.open().fileno()  # type: ignore[attr-defined]

    def register(self, fileobj: Any, events: int, data: Any = None) -> None:
        self.open().register(fileobj, events, data)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> None:
        self.open().modify(fileobj, events, data)

    def unregister(self, fileobj: Any) -> None:
        if self._real is not None:
            self._real.unregister(fileobj)

    def select(self, timeout: float | None = None) -> Ready:
        """What is ready now; nothing, at once, while nothing is watched."""
        return self._real.select(timeout) if self._real is not None else []

    def close(self) -> None:
        self._closed = True
        if self._real is not None:
            self._real.close()
            self._real = None
