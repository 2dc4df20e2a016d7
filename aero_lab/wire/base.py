"""What views and values are made of: field descriptors over a buffer, and checks of what a value may hold."""

from __future__ import annotations

from typing import Any, Final

from ..errors import Malformed, UsageError

Buffer = bytes | bytearray | memoryview
"""What parsers read. Results never alias it: addresses and payloads are copied out."""


class Uint:
    """A big-endian unsigned number of ``size`` bytes at a fixed offset of a view."""

    __slots__ = ("_end", "_start")

    def __init__(self, offset: int, size: int):
        self._start: Final = offset
        self._end: Final = offset + size

    def __get__(self, view: Any, owner: type | None = None) -> int:
        return int.from_bytes(view.buf[self._start : self._end], "big")


class Octets:
    """``size`` bytes at a fixed offset of a view, copied out."""

    __slots__ = ("_end", "_start")

    def __init__(self, offset: int, size: int):
        self._start: Final = offset
        self._end: Final = offset + size

    def __get__(self, view: Any, owner: type | None = None) -> bytes:
        return bytes(view.buf[self._start : self._end])


class View:
    """A reading window on one protocol unit. Subclasses check in ``_check`` everything their properties rely on."""

    __slots__ = ("buf",)

    def __init__(self, data: Buffer):
        self.buf = memoryview(data)
        """The whole unit, header and payload, uncopied."""
        self._check()

    def _check(self) -> None:
        raise NotImplementedError

    def _need(self, size: int, reason: str) -> None:
        """Raise :class:`Malformed` unless ``size`` bytes are there."""
        if len(self.buf) < size:
            raise Malformed(reason, f"{len(self.buf)} bytes, {size} needed")


def check_uint(name: str, value: int, bits: int) -> None:
    """Raise :class:`UsageError` unless ``value`` is an unsigned number of ``bits`` bits."""
    if not 0 <= value < 1 << bits:
        raise UsageError(f"{name} must be between 0 and {(1 << bits) - 1}, not {value}")


def check_octets(name: str, value: bytes, *sizes: int) -> None:
    """Raise :class:`UsageError` unless ``value`` is ``bytes`` of one of ``sizes`` lengths."""
    if not isinstance(value, bytes) or len(value) not in sizes:
        raise UsageError(f"{name} must be {' or '.join(map(str, sizes))} bytes, not {value!r}")


def check_payload(name: str, size: int, most: int) -> None:
    """Raise :class:`UsageError` when ``size`` bytes are more than the length field can tell."""
    if size > most:
        raise UsageError(f"{name} must be at most {most} bytes, not {size}")
