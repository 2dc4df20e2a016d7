"""The other end of the serial port: what the guest printed, and what is typed into it."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from .limits import CONSOLE_KEPT


class Console:
    """A terminal's line to the guest. Any thread may write and read.

    Offsets count the bytes that the guest has sent since power-on, so several readers can each keep their own place.
    """

    def __init__(self, wake: Callable[[], None] = lambda: None):
        self._wake = wake
        self._lock = Lock()
        self._kept = bytearray()
        self._first = 0  # offset of the first byte kept
        self._read = 0
        self._typed = bytearray()
        self._listeners: list[Callable[[bytes], None]] = []

    # The guest's side -------------------------------------------------------------------------------------------------
    def put(self, data: bytes) -> None:
        """The guest has printed ``data`` (the machine calls this)."""
        with self._lock:
            self._kept += data
            excess = len(self._kept) - CONSOLE_KEPT
            if excess > CONSOLE_KEPT // 4:  # not byte by byte
                del self._kept[:excess]
                self._first += excess
            listeners = list(self._listeners)
        for listener in listeners:
            listener(data)

    def take(self, most: int) -> bytes:
        """Up to ``most`` bytes that were typed (the machine calls this)."""
        with self._lock:
            data = bytes(self._typed[:most])
            del self._typed[:most]
        return data

    # The user's side --------------------------------------------------------------------------------------------------
    def write(self, data: bytes | str) -> None:
        """Type ``data``; the guest gets it as fast as its serial port takes it."""
        with self._lock:
            self._typed += data.encode() if isinstance(data, str) else data
        self._wake()

    def read(self) -> bytes:
        """What the guest has printed since the last :meth:`read`."""
        with self._lock:
            data = self._since(self._read)
            self._read = self.size
        return data

    def since(self, offset: int) -> bytes:
        """What the guest has printed from ``offset`` on, as far as it is kept."""
        with self._lock:
            return self._since(offset)

    def _since(self, offset: int) -> bytes:
        return bytes(self._kept[max(offset - self._first, 0) :])

    @property
    def size(self) -> int:
        """Bytes that the guest has printed since power-on: the offset of the next one."""
        return self._first + len(self._kept)

    @property
    def dropped(self) -> int:
        """Bytes no longer kept."""
        return self._first

    @property
    def waiting(self) -> int:
        """Bytes typed that the guest's serial port has not taken."""
        return len(self._typed)

    @property
    def text(self) -> str:
        """Everything kept of what the guest printed."""
        return self.since(0).decode("utf-8", "replace")

    def subscribe(self, listener: Callable[[bytes], None]) -> Callable[[], None]:
        """Call ``listener(data)``, in the thread that runs the machine, for whatever is printed from now on.

        Returns a function that ends this.
        """
        with self._lock:
            self._listeners.append(listener)

        def cancel() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return cancel

    def restore(self, text: bytes, size: int) -> None:
        """Take the place of a console that had printed ``size`` bytes, ``text`` the last of them."""
        with self._lock:
            self._kept = bytearray(text)
            self._first = max(size - len(text), 0)
            self._read = self.size

    def __repr__(self) -> str:
        return f"<Console {self.size} bytes printed, {self.waiting} waiting>"
